"""States to pictures, carrying over what a reference picture shows.

For people only: no gradient of the latent-action model ever comes from here [LAWM §3]. The reference picture is warped
once, at full resolution, by the flow of the rollout; a mask chooses between it and a generated picture. The mask means
"was this seen in the reference?" and is trained on visibility alone: trained on pixel errors it fades to the generated
picture wherever the motion may be wrong, which is blur.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm_core.models.blocks import BlockConfig
from lawm_core.models.cells import cells_from_tokens
from lawm_core.models.decoder import ContextDecoder
from lawm_core.models.encoder import ResidualConv, arrange_for_convolutions
from lawm_core.models.flow import inside_frame, resample, resize_flow, visibility
from lawm_core.models.geometry import FrameGeometry

CORRECTION_UNIT = 0.05  # of the flow's correction: AdamW's steps, whatever the gradient, then move details little


@dataclass(frozen=True, kw_only=True)
class PictureDecoderConfig:
    """picture_size in pixels, a multiple of the encoder's frame size. reach: the largest correction of the flow, in
    frame widths. window: frames that a token sees, its own included.
    """

    kind: str = "reference"
    picture_size: int = 256
    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=128, heads=4))
    depth: int = 2
    channels: int = 40
    conv_depth: int = 3
    window: int = 8
    reach: float = 0.02


@dataclass(frozen=True)
class Reference:
    """A picture to carry over, and where each place of every frame is in it.

    picture_BCHW in [0, 1]. flow_BT2HW: backward flow to the picture, in frame widths. visible_BT1HW: 0 to 1.
    """

    picture_BCHW: Tensor
    flow_BT2HW: Tensor
    visible_BT1HW: Tensor


@dataclass(frozen=True)
class Drawn:
    """Pictures and what they are made of.

    picture_BTCHW: not clamped. generated_BTCHW, carried_BTCHW: the two that are blended. carried_logit_BT1HW: of the
    mask; its `visibility` is 1 where the picture is carried over.
    """

    picture_BTCHW: Tensor
    generated_BTCHW: Tensor
    carried_BTCHW: Tensor
    carried_logit_BT1HW: Tensor


class PictureDecoder(ContextDecoder):
    """(state_BTND, Reference or None) to pictures; each from its own and earlier states, and the reference."""

    def __init__(self, config: PictureDecoderConfig, encoder: FrameGeometry) -> None:
        super().__init__(config, encoder)
        self.side = encoder.grid * encoder.cells  # resolution of the convolutions
        self.ratio = config.picture_size // self.side
        pixels = self.ratio**2
        state_channels = 2 * encoder.cell_channels
        conv = lambda i, o: nn.Conv2d(i, o, 3, padding=1, padding_mode="replicate")
        self.stem = conv(state_channels + 3 * pixels + 3, config.channels)
        self.body = nn.Sequential(*(ResidualConv(config.channels) for _ in range(config.conv_depth)))
        self.head = conv(config.channels, 4 * pixels)  # detail of the generated picture, and the mask
        self.flow_head = conv(config.channels, 2)
        self.smooth = nn.Conv2d(state_channels, 3, 1)  # detail starts at nothing over a smooth picture
        for layer in (self.head, self.flow_head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, state_BTND: Tensor, reference: Reference | None = None) -> Drawn:
        """Draw every frame. Without a reference everything is generated."""
        (batch, frames), cells, size = state_BTND.shape[:2], self.encoder_config.cells, self.config.picture_size
        both_BTND = (state_BTND, self.context(state_BTND))
        state_XCHW = torch.cat([cells_from_tokens(s.flatten(0, 1), cells) for s in both_BTND], dim=1)
        if reference is None:
            carried_XCHW = state_XCHW.new_zeros(batch * frames, 3, size, size, dtype=torch.float32)
            flow_X2HW = carried_XCHW.new_zeros(batch * frames, 2, self.side, self.side)
            visible_X1HW = flow_X2HW[:, :1]
        else:
            picture_XCHW = reference.picture_BCHW.float().repeat_interleave(frames, dim=0)
            flow_X2HW = resize_flow(reference.flow_BT2HW.flatten(0, 1), self.side)
            visible_X1HW = resize_flow(reference.visible_BT1HW.flatten(0, 1), self.side)
            carried_XCHW = resample(picture_XCHW, flow_X2HW)
        seen_XCHW = F.pixel_unshuffle(carried_XCHW * 2 - 1, self.ratio) * visible_X1HW
        motion = torch.cat((flow_X2HW * 8, visible_X1HW), dim=1)
        x_XCHW = torch.cat((state_XCHW, seen_XCHW.to(state_XCHW.dtype), motion.to(state_XCHW.dtype)), dim=1)
        x_XCHW = F.gelu(self.body(self.stem(arrange_for_convolutions(x_XCHW))))
        detail_X4HW = F.pixel_shuffle(self.head(x_XCHW), self.ratio).float()
        smooth = F.interpolate(
            self.smooth(state_XCHW).float(), scale_factor=self.ratio, mode="bilinear", align_corners=False
        )
        generated_XCHW = (smooth + detail_X4HW[:, :3]) * 0.5 + 0.5
        if reference is None:
            logit_X1HW, picture_XCHW = torch.full_like(detail_X4HW[:, 3:], -20.0), generated_XCHW
        else:
            step_X2HW = torch.tanh(self.flow_head(x_XCHW).float() * CORRECTION_UNIT)
            flow_X2HW = flow_X2HW + self.config.reach * step_X2HW
            carried_XCHW = resample(picture_XCHW, flow_X2HW)
            prior_X1HW = F.interpolate(visible_X1HW, scale_factor=self.ratio, mode="bilinear", align_corners=False)
            logit_X1HW = detail_X4HW[:, 3:] + torch.logit(prior_X1HW.clamp(0.02, 0.98))
            share_X1HW = visibility(logit_X1HW.detach()) * inside_frame(resize_flow(flow_X2HW, size))
            picture_XCHW = torch.lerp(generated_XCHW, carried_XCHW, share_X1HW)
        parts = (picture_XCHW, generated_XCHW, carried_XCHW, logit_X1HW)
        return Drawn(*(x.unflatten(0, (batch, frames)) for x in parts))
