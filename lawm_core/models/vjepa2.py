"""V-JEPA 2 as a frame-causal encoder [LAWM §3], with Meta's weights and the classes of `transformers`.

V-JEPA 2 computes one state from `tubelet` frames. Each frame is therefore repeated `tubelet` times, so that it has a
state of its own. The attention of `transformers` is replaced by `frame_causal_attention`, in which no token attends to
a later frame. The weights were trained with full attention; the paper accepts this difference. States are
layer-normalised, as in V-JEPA 2-AC (Assran et al., arXiv 2506.09985).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.hub import first_line
from lawm_core.models.attention import frame_causal_attention
from lawm_core.models.encoder import check_frames
from lawm_core.models.geometry import FrameGeometry
from lawm_core.types import CheckpointError

ATTENTION = "frame_causal"  # name under which `attend_frame_causally` is registered in transformers
VITL = "facebook/vjepa2-vitl-fpc64-256"  # repository on the Hub
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # normalisation in pretraining
SIZES = {  # fields of transformers' VJEPA2Config, and the fields of VJepa2Config that have the same values
    "patch_size": "patch_size", "crop_size": "frame_size", "tubelet_size": "tubelet", "hidden_size": "width",
    "num_attention_heads": "heads", "num_hidden_layers": "depth", "mlp_ratio": "mlp_ratio",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VJepa2Config(FrameGeometry):
    """Config of V-JEPA 2, by default ViT-L. Tokens have no sub-patches.

    heads, depth, mlp_ratio: sizes of its transformer.
    tubelet: number of input frames per state, which is also how often each frame is repeated.
    """

    kind: str = "vjepa2"
    frame_size: int = 256
    patch_size: int = 16
    width: int = 1024
    subpatches: int = 1
    heads: int = 16
    depth: int = 24
    mlp_ratio: int = 4
    tubelet: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads or self.width // self.heads < 6:
            raise ValueError(f"width / heads must be an integer of at least 6, got {self.width} / {self.heads}.")
        if min(self.depth, self.tubelet, self.mlp_ratio) < 1:
            raise ValueError(
                f"depth, tubelet and mlp_ratio must be at least 1, "
                f"got {self.depth}, {self.tubelet} and {self.mlp_ratio}."
            )
        if self.subpatches != 1:
            raise ValueError(f"subpatches must be 1 for V-JEPA 2, got {self.subpatches}.")

    def build(self) -> VJepa2Encoder:
        """Return an encoder with random weights."""
        return VJepa2Encoder(self)


class VJepa2Encoder(nn.Module):
    """Encodes frame_BTCHW in [0, 1] as state_BTND. Each state depends on its own frame and earlier ones only."""

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, config: VJepa2Config) -> None:
        super().__init__()
        self.config = config
        hub = load_transformers()
        sizes = {theirs: getattr(config, ours) for theirs, ours in SIZES.items()} | {
            "mlp_ratio": float(config.mlp_ratio)
        }
        # The class of transformers also builds a predictor. The smallest one is built, and not kept.
        predictor = {"pred_hidden_size": 12, "pred_num_attention_heads": 1, "pred_num_hidden_layers": 1}
        whole = hub.VJEPA2Model._from_config(hub.VJEPA2Config(**sizes, **predictor), attn_implementation=ATTENTION)
        self.network = whole.encoder
        for name, value in (("mean_C11", IMAGENET_MEAN), ("std_C11", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)

    def forward(self, frame_BTCHW: Tensor) -> Tensor:
        """Return the states of frames. Raises ValueError if their size is not that of the config."""
        check_frames(frame_BTCHW, self.config.frame_size)
        frame_BTCHW = ((frame_BTCHW - self.mean_C11) / self.std_C11).repeat_interleave(self.config.tubelet, dim=1)
        token_BXD = self.network(pixel_values_videos=frame_BTCHW).last_hidden_state
        token_BXD = F.layer_norm(token_BXD.float(), (self.config.width,))
        return rearrange(token_BXD, "b (t n) d -> b t n d", n=self.config.tokens)

    @torch.no_grad()
    def load_pretrained(self, source: str | Path) -> None:
        """Load V-JEPA 2 weights in the format of transformers.

        source: a folder or a repository on the Hub. Raises CheckpointError if the weights cannot be loaded, or if their
        sizes differ from the config.
        """
        hub = load_transformers()
        try:
            given = hub.VJEPA2Model.from_pretrained(source, use_safetensors=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"V-JEPA 2 could not be loaded from {str(source)!r}: {first_line(error)} "
                "Pass a folder with config.json and model.safetensors, or a repository on the Hub "
                "(needs a network connection)."
            ) from None
        for name in SIZES:
            theirs, needed = getattr(given.config, name), getattr(self.network.config, name)
            if theirs != needed:
                raise CheckpointError(
                    f"{str(source)!r} has {name}={theirs}, but this model needs {name}={needed}. "
                    f"Pass V-JEPA 2 weights of that size."
                )
        self.network.load_state_dict(given.encoder.state_dict())


def attend_frame_causally(
    module: Any, q_BMXd: Tensor, k_BMXd: Tensor, v_BMXd: Tensor, _mask: None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Compute frame-causal attention, with the signature that transformers requires.

    Returns mixed_BXMd, and None in place of the attention weights.
    """
    frames = q_BMXd.shape[2] // module.grid_size**2
    mixed_BMXd = frame_causal_attention(q_BMXd, k_BMXd, v_BMXd, frames, scale=scaling)
    return mixed_BMXd.transpose(1, 2), None


def load_transformers() -> Any:
    """Import transformers, register frame-causal attention in it, and return the module.

    It is a large package, so it is imported only when needed. Raises CheckpointError if it is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise CheckpointError(
            "V-JEPA 2 needs the package transformers, which is not installed: pip install transformers"
        ) from None
    transformers.AttentionInterface.register(ATTENTION, attend_frame_causally)
    return transformers
