"""V-JEPA 2 as the encoder [LAWM §3]: Meta's weights by `transformers`' classes, made frame-causal.

A state is a tubelet. Every frame is shown twice, so that each has a state of its own; what `transformers` runs for
attention is replaced by ours, in which no token sees a later tubelet. The weights were trained with full attention:
seeing less is a shift that the paper accepts. States are normalised token by token, as V-JEPA 2-AC does (Assran et al.,
arXiv 2506.09985).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.contracts import CheckpointError
from lawm_core.hub import first_line
from lawm_core.models.blocks import frame_causal_attention
from lawm_core.models.geometry import FrameGeometry

ATTENTION = "frame_causal"  # the name under which transformers knows our attention
VITL = "facebook/vjepa2-vitl-fpc64-256"  # on the Hub
COLOUR_MEAN, COLOUR_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as it was trained


@dataclass(frozen=True, kw_only=True)
class VJepa2Config(FrameGeometry):
    """ViT-L by default. A cell is a token: inside one, V-JEPA 2's channels have no places."""

    kind: str = "vjepa2"
    frame_size: int = 256
    patch_size: int = 16
    width: int = 1024
    cells: int = 1
    heads: int = 16
    depth: int = 24
    mlp_ratio: int = 4
    tubelet: int = 2  # frames a state is made of

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads or self.width // self.heads < 6 or min(self.depth, self.tubelet, self.mlp_ratio) < 1:
            raise ValueError(
                f"width {self.width}, heads {self.heads}, depth {self.depth}, tubelet {self.tubelet}, mlp_ratio "
                f"{self.mlp_ratio}: heads must divide width into parts of at least 6, the others be 1 or more."
            )
        if self.cells != 1:
            raise ValueError(f"cells came as {self.cells}; a token of V-JEPA 2 is one cell.")


class VJepa2Encoder(nn.Module):
    """frame_BTCHW in [0, 1] to state_BTND, each of its own frame and earlier ones. Fresh weights are random."""

    def __init__(self, config: VJepa2Config) -> None:
        super().__init__()
        self.config = config
        hub = load_transformers()
        told = {
            "patch_size": config.patch_size, "crop_size": config.frame_size, "tubelet_size": config.tubelet,
            "hidden_size": config.width, "num_attention_heads": config.heads, "num_hidden_layers": config.depth,
            "mlp_ratio": float(config.mlp_ratio),
            "pred_hidden_size": 12, "pred_num_attention_heads": 1, "pred_num_hidden_layers": 1,  # made, then left out
        }  # fmt: skip
        whole = hub.VJEPA2Model._from_config(hub.VJEPA2Config(**told), attn_implementation=ATTENTION)
        self.network = whole.encoder
        for name, value in (("colour_mean_C11", COLOUR_MEAN), ("colour_spread_C11", COLOUR_SPREAD)):
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)

    def forward(self, frame_BTCHW: Tensor) -> Tensor:
        """Raises ValueError for frames of another size than the model's."""
        size = self.config.frame_size
        if frame_BTCHW.ndim != 5 or tuple(frame_BTCHW.shape[2:]) != (3, size, size):
            raise ValueError(f"frames came as {tuple(frame_BTCHW.shape)}; needed: (clips, frames, 3, {size}, {size}).")
        seen_BTCHW = ((frame_BTCHW - self.colour_mean_C11) / self.colour_spread_C11).repeat_interleave(
            self.config.tubelet, dim=1
        )
        token_BXD = self.network(pixel_values_videos=seen_BTCHW).last_hidden_state
        token_BXD = F.layer_norm(token_BXD.float(), (self.config.width,))
        return rearrange(token_BXD, "b (t n) d -> b t n d", n=self.config.tokens)

    @torch.no_grad()
    def start_from(self, source: str | Path) -> None:
        """Takes over the weights of a V-JEPA 2 in transformers' form: a folder, or a repository on the Hub.

        Raises CheckpointError where there is none, or it is of other sizes.
        """
        hub = load_transformers()
        try:
            given = hub.VJEPA2Model.from_pretrained(source, use_safetensors=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"V-JEPA 2 could not be loaded from {str(source)!r}; needed: a folder with config.json and "
                f"model.safetensors, or a repository on the Hub and a network to reach it. It said: {first_line(error)}"
            ) from None
        told, needed = given.config, self.network.config
        for name in ("patch_size", "crop_size", "tubelet_size", "hidden_size", "num_hidden_layers", "mlp_ratio",
                     "num_attention_heads"):  # fmt: skip
            if getattr(told, name) != getattr(needed, name):
                raise CheckpointError(
                    f"{str(source)!r} has {name} {getattr(told, name)}; this model needs {getattr(needed, name)}."
                )
        self.network.load_state_dict(given.encoder.state_dict())


def attend_frame_causally(
    module: nn.Module, q_BMXd: Tensor, k_BMXd: Tensor, v_BMXd: Tensor, _mask: None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Our attention in the form that transformers calls: mixed_BXMd, and no weights to look at."""
    frames = q_BMXd.shape[2] // module.grid_size**2
    mixed_BMXd = frame_causal_attention(q_BMXd, k_BMXd, v_BMXd, frames, scale=scaling)
    return mixed_BMXd.transpose(1, 2), None


def load_transformers() -> Any:
    """The package, with our attention known to it; loaded only where a model asks for it, since it is large."""
    try:
        import transformers
    except ImportError:
        raise CheckpointError("this model's encoder is V-JEPA 2; it needs: pip install transformers") from None
    transformers.AttentionInterface.register(ATTENTION, attend_frame_causally)
    return transformers
