"""Masked latent prediction for the encoder: what is hidden must be foretold in state space, as in V-JEPA 2.

The encoder sees frames with blocks of patches greyed out; a small predictor fills in the states that a slow copy of the
encoder gives for the whole frames (Assran et al., arXiv 2506.09985). With `reconstruction`, states must decode as well.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.model import LatentActionModel
from lawm_core.models.blocks import Block, BlockConfig, grid_rotary
from lawm_core.models.encoder import EncoderConfig
from lawm_core.shares import even_rows
from lawm_core.training.batches import Pairs
from lawm_core.training.losses import Objective, ReconstructionConfig, ReconstructionObjective


@dataclass(frozen=True, kw_only=True)
class MaskedConfig:
    """hidden: share of patches greyed out. slowness: how much of itself the slow copy keeps at each step.

    reconstruction: weight of decoding the states as well; 0 leaves masked prediction alone.
    """

    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=128, heads=4))
    depth: int = 2
    hidden: float = 0.5
    slowness: float = 0.99
    reconstruction: float = 0.0


class Predictor(nn.Module):
    """States of a frame with holes to states of the whole frame."""

    def __init__(self, config: MaskedConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config, self.grid = config, encoder.grid
        self.embed = nn.Linear(encoder.width, config.block.width)
        self.hole = nn.Parameter(torch.randn(config.block.width) * 0.02)
        self.blocks = nn.ModuleList(Block(config.block) for _ in range(config.depth))
        self.out = nn.Linear(config.block.width, encoder.width)

    def forward(self, state_XND: Tensor, hidden_XN: Tensor) -> Tensor:
        """state_XND with the tokens marked in hidden_XN replaced by one learned token, to predicted_XND."""
        x_XND = torch.where(hidden_XN[..., None], self.hole, self.embed(state_XND))
        rotary = grid_rotary(self.config.block, 1, self.grid, device=x_XND.device)
        for block in self.blocks:
            x_XND, _ = block(x_XND, rotary)
        return self.out(x_XND)


class MaskedObjective(Objective):
    """The encoder, a predictor that is thrown away after training, and, where asked for, the decoder."""

    def __init__(self, model: LatentActionModel, config: MaskedConfig) -> None:
        self.model, self.config = model, config
        self.predictor = Predictor(config, model.config.encoder).to(model.device)
        self.slow = copy.deepcopy(model.encoder).requires_grad_(False)
        self.pictures = ReconstructionObjective(model, ReconstructionConfig())

    def trained(self) -> nn.Module:
        parts = {"encoder": self.model.encoder, "predictor": self.predictor, "slow": self.slow}
        return nn.ModuleDict(parts | ({"decoder": self.model.decoder} if self.config.reconstruction else {}))

    def losses(self, pairs: Pairs, progress: float) -> dict[str, Tensor]:
        """`masked`, error of the states foretold in the holes, and with reconstruction its own losses."""
        frame_XCHW = torch.cat((pairs.source_BTCHW[:, :2], pairs.target_BTCHW[:, :2])).flatten(0, 1)
        hidden_XN = hide_blocks(len(frame_XCHW), self.model.config.encoder.grid, self.config.hidden, frame_XCHW.device)
        holes_X1HW = rearrange(hidden_XN, "x (h w) -> x 1 h w", h=self.predictor.grid).float()
        holes_X1HW = F.interpolate(holes_X1HW, scale_factor=self.model.config.encoder.patch_size, mode="nearest")
        seen_XCHW = frame_XCHW * (1 - holes_X1HW) + 0.5 * holes_X1HW
        predicted_XND = self.predictor(self.model.encoder(seen_XCHW[:, None])[:, 0], hidden_XN)
        with torch.no_grad():
            true_XND = self.slow(frame_XCHW[:, None])[:, 0]
        masked = (predicted_XND - true_XND).abs().mean(dim=-1)[hidden_XN].mean()
        if not self.config.reconstruction:
            return {"loss": masked, "masked": masked}
        pictures = self.pictures.losses(pairs, progress)
        return {"loss": masked + self.config.reconstruction * pictures.pop("loss"), "masked": masked, **pictures}

    @torch.no_grad()
    def prepare(self) -> None:
        """The slow copy follows. Not by state_dict, at which FSDP2 would cut the weights up again."""
        for slow, fast in zip(held(self.slow), held(self.model.encoder), strict=True):
            slow.lerp_(fast.to(slow.dtype), 1 - self.config.slowness)


def held(module: nn.Module) -> list[Tensor]:
    """A module's weights and statistics."""
    return [*module.parameters(), *module.buffers()]


def hide_blocks(frames: int, grid: int, share: float, device: torch.device) -> Tensor:
    """hidden_XN, of sources on top of targets: about this share of a frame's patches, in blobs rather than specks."""
    side = max(2, grid // 2)
    rough = even_rows(frames, 1, side, side, device=device, stacks=2)
    smooth_XN = F.interpolate(rough, size=(grid, grid), mode="bilinear", align_corners=False).flatten(1)
    count = round(share * grid * grid)
    return smooth_XN.argsort(dim=1).argsort(dim=1) < count
