"""The decoder from states to frames. Frames are for viewing: the decoder's loss does not train actions [LAWM §3].

A reference frame is warped once, at full resolution, by the flow of the rollout. A mask blends it with a generated
frame. The mask is the visibility of each pixel in the reference frame, and is trained on true visibility only. Trained
on pixel errors, it would choose the blurred generated frame wherever the motion may be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm_core.models.attention import BlockConfig
from lawm_core.models.encoder import ResidualConv, channels_last, conv3, zero_init
from lawm_core.models.feature_map import feature_map_from_tokens
from lawm_core.models.flow import inside_frame, resize_flow, visibility, warp
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.transformer import FrameTransformer

# Factor of the learned flow correction. An AdamW step changes each weight by about the learning rate, however small the
# gradient; a small factor keeps the steps of the correction small.
CORRECTION_UNIT = 0.05
FRAMES_AT_ONCE = 8  # frames that `render` decodes at a time


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Sizes of the decoder.

    picture_size: height and width of decoded frames in pixels, a multiple of the encoder's map_size.
    block, depth: size and number of transformer blocks.
    channels, conv_depth: channels and number of residual convolutions.
    window: number of frames that a token attends to, including its own.
    max_flow_correction: largest change of the reference's flow by the decoder, in frame widths.
    """

    picture_size: int = 256
    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=128, heads=4))
    depth: int = 2
    channels: int = 40
    conv_depth: int = 3
    window: int = 8
    max_flow_correction: float = 0.02


@dataclass(frozen=True)
class Reference:
    """A frame from which pixels are carried, and where each position of the decoded frames lies in it.

    picture_BCHW: the reference frame at picture size, in [0, 1].
    flow_BT2HW: backward flow from each decoded frame to the reference frame, in frame widths.
    visible_BT1HW: visibility in the reference frame, from 0 to 1.
    """

    picture_BCHW: Tensor
    flow_BT2HW: Tensor
    visible_BT1HW: Tensor


@dataclass(frozen=True)
class DecodedFrames:
    """Decoded frames and the parts that they are blended from.

    frame_BTCHW: the decoded frames, not clamped to [0, 1].
    generated_BTCHW: frames as generated from the states.
    carried_BTCHW: the warped reference frame.
    carried_logit_BT1HW: logit of the blending mask. Its `visibility` is 1 where pixels come from the reference frame,
        and 0 where they are generated.
    """

    frame_BTCHW: Tensor
    generated_BTCHW: Tensor
    carried_BTCHW: Tensor
    carried_logit_BT1HW: Tensor


class FrameDecoder(nn.Module):
    """Decodes states, with an optional reference frame. Each frame depends on its own state and earlier ones only."""

    def __init__(self, config: DecoderConfig, encoder: FrameGeometry) -> None:
        super().__init__()
        self.config, self.encoder_config = config, encoder
        self.embed = nn.Linear(encoder.width, config.block.width)
        self.transformer = FrameTransformer(config.block, config.depth, encoder.grid, window=config.window)
        self.unembed = nn.Linear(config.block.width, encoder.width)
        self.ratio = config.picture_size // encoder.map_size
        pixels, state_channels = self.ratio**2, 2 * encoder.subpatch_channels
        self.stem = conv3(state_channels + 3 * pixels + 3, config.channels)
        self.body = nn.Sequential(*(ResidualConv(config.channels) for _ in range(config.conv_depth)))
        self.head = conv3(config.channels, 4 * pixels)  # detail of the generated frame, and the logit of the mask
        self.flow_head = conv3(config.channels, 2)
        self.smooth = nn.Conv2d(state_channels, 3, 1)  # a smooth frame to which detail, zero before training, is added
        zero_init(self.unembed, self.head, self.flow_head)

    def forward(self, state_BTND: Tensor, reference: Reference | None = None) -> DecodedFrames:
        """Decode the frames of all states. Without a reference, all pixels are generated."""
        parts = self.decode_frames(*self.per_frame_inputs(state_BTND, reference))
        return DecodedFrames(*(x.unflatten(0, state_BTND.shape[:2]) for x in parts))

    @torch.no_grad()
    def render(self, state_BTND: Tensor, reference: Reference | None = None, skip: int = 0) -> tuple[Tensor, Tensor]:
        """Return frame_BTCHW in [0, 1] and the fraction of each frame that is carried from the reference, (B, T).

        The first `skip` frames of each clip are context for the others and are not decoded. Only a few frames are
        decoded at a time, which needs much less memory than `forward`.
        """
        batch, frames, carried = (len(state_BTND), state_BTND.shape[1] - skip), [], []
        inputs = (
            x.unflatten(0, state_BTND.shape[:2])[:, skip:].flatten(0, 1)
            for x in self.per_frame_inputs(state_BTND, reference)
        )
        for chunk in zip(*(x.split(FRAMES_AT_ONCE) for x in inputs), strict=True):
            frame_XCHW, _, _, logit_X1HW = self.decode_frames(*chunk)
            frames.append(frame_XCHW.float().clamp(0, 1))
            carried.append(visibility(logit_X1HW.float()).mean(dim=(1, 2, 3)))
        return torch.cat(frames).unflatten(0, batch), torch.cat(carried).unflatten(0, batch)

    def per_frame_inputs(self, state_BTND: Tensor, reference: Reference | None) -> list[Tensor]:
        """Return the arguments of `decode_frames` for all frames of all clips, merged into one axis."""
        both_BTND = (state_BTND, self.context(state_BTND))
        maps = [feature_map_from_tokens(s.flatten(0, 1), self.encoder_config.subpatches) for s in both_BTND]
        inputs = [torch.cat(maps, dim=1)]
        if reference is not None:
            fields = (reference.flow_BT2HW, reference.visible_BT1HW)
            inputs += [resize_flow(field.flatten(0, 1), self.encoder_config.map_size) for field in fields]
            inputs.append(reference.picture_BCHW.float().repeat_interleave(state_BTND.shape[1], dim=0))
        return inputs

    def decode_frames(
        self,
        state_XCHW: Tensor,
        flow_X2HW: Tensor | None = None,
        visible_X1HW: Tensor | None = None,
        picture_XCHW: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decode X frames. Return their frame_XCHW, generated_XCHW, carried_XCHW and carried_logit_X1HW.

        state_XCHW: feature maps of the states and of the result of `context`, concatenated along channels.
        flow_X2HW, visible_X1HW, picture_XCHW: the reference of each frame, as in `Reference`, or None. Flow and
            visibility have the resolution of the feature map.
        """
        size, map_size = self.config.picture_size, self.encoder_config.map_size
        if flow_X2HW is None or visible_X1HW is None or picture_XCHW is None:
            carried_XCHW = state_XCHW.new_zeros(len(state_XCHW), 3, size, size, dtype=torch.float32)
            flow_X2HW = carried_XCHW.new_zeros(len(state_XCHW), 2, map_size, map_size)
            visible_X1HW = flow_X2HW[:, :1]
        else:
            carried_XCHW = warp(picture_XCHW, flow_X2HW)
        seen_XCHW = F.pixel_unshuffle(carried_XCHW * 2 - 1, self.ratio) * visible_X1HW
        motion_X3HW = torch.cat((flow_X2HW * 8, visible_X1HW), dim=1)
        x_XCHW = torch.cat((state_XCHW, seen_XCHW.to(state_XCHW.dtype), motion_X3HW.to(state_XCHW.dtype)), dim=1)
        x_XCHW = F.gelu(self.body(self.stem(channels_last(x_XCHW))))
        detail_X4HW = F.pixel_shuffle(self.head(x_XCHW), self.ratio).float()
        smooth_XCHW = F.interpolate(
            self.smooth(state_XCHW).float(), scale_factor=self.ratio, mode="bilinear", align_corners=False
        )
        generated_XCHW = (smooth_XCHW + detail_X4HW[:, :3]) * 0.5 + 0.5
        if picture_XCHW is None:
            return generated_XCHW, generated_XCHW, carried_XCHW, torch.full_like(detail_X4HW[:, 3:], -20.0)
        step_X2HW = torch.tanh(self.flow_head(x_XCHW).float() * CORRECTION_UNIT)
        flow_X2HW = flow_X2HW + self.config.max_flow_correction * step_X2HW
        carried_XCHW = warp(picture_XCHW, flow_X2HW)
        prior_X1HW = F.interpolate(visible_X1HW, scale_factor=self.ratio, mode="bilinear", align_corners=False)
        logit_X1HW = detail_X4HW[:, 3:] + torch.logit(prior_X1HW.clamp(0.02, 0.98))
        mask_X1HW = visibility(logit_X1HW.detach()) * inside_frame(resize_flow(flow_X2HW, size))
        return torch.lerp(generated_XCHW, carried_XCHW, mask_X1HW), generated_XCHW, carried_XCHW, logit_X1HW

    def context(self, state_BTND: Tensor) -> Tensor:
        """Return features of each token, (B, T, N, D), that depend on its own frame and earlier ones."""
        x_BTND, _ = self.transformer(self.embed(state_BTND))
        return self.unembed(x_BTND)
