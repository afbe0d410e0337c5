"""Past states and a latent action to the next state, by flow first [LAWM §2, §3].

The world model predicts for each frame a backward flow and a visibility. Flows are composed back to a reference frame,
so what was visible there is resampled once, however long the rollout; what was not visible is generated. Related:
first-order motion model (Siarohin et al. 2019), LFDM (Ni et al. 2023), SAVP (Lee et al. 2018); composition with
visibility as in this file is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.action_conditioned import ActionConditioned, ActionTerms
from lawm_core.models.blocks import BlockConfig, grid_rotary
from lawm_core.models.bottlenecks.base import Bottleneck
from lawm_core.models.cache import KeyValueCache
from lawm_core.models.cells import cells_from_tokens, tokens_from_cells
from lawm_core.models.dial import CapacityGain, dial_settings
from lawm_core.models.encoder import ResidualConv
from lawm_core.models.flow import (
    Carry,
    expected_variance,
    flow_from_coefficients,
    resample,
    resize_flow,
    visibility,
    wave_count,
)
from lawm_core.models.geometry import FrameGeometry

VISIBLE_AT_FIRST = 4.0  # logit of visibility before training
# Corrections of the flow are learned in tenths of a place. AdamW changes a weight by its learning rate, whatever the
# gradient, so in whole places each step would add noise of half a pixel to a flow that is nearly right from the start.
CORRECTION_UNIT = 0.1


@dataclass(frozen=True, kw_only=True)
class FlowWorldModelConfig:
    """motion_depth blocks before the flow, correction_depth blocks after it; window in frames.

    flow_places: places a side of a token at which corrections of the flow are made; the flow itself has one at each
    cell of the state. token_channels: what tokens tell the convolutions at each place. place_width: width of the action
    embedding at each token.
    """

    kind: str = "flow"
    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=192, heads=6))
    motion_depth: int = 2
    correction_depth: int = 2
    window: int = 8
    place_width: int = 16
    flow_places: int = 4
    token_channels: int = 8
    conv_channels: int = 32

    @property
    def depth(self) -> int:
        """All blocks."""
        return self.motion_depth + self.correction_depth


@dataclass(frozen=True)
class Prediction:
    """Predicted states and how they were made, for F frames.

    state_BFND: the predictions. flow_BF2HW, visible_logit_BF1HW: of this step alone. carry: composed back to the
    reference, clips and frames merged. generated_BFND: the states as they would be if nothing were visible.
    """

    state_BFND: Tensor
    flow_BF2HW: Tensor
    visible_logit_BF1HW: Tensor
    carry: Carry
    generated_BFND: Tensor


class FlowWorldModel(ActionConditioned):
    """p(s_t+1 | s_0..t, z_t), teacher forced on many frames at once or one frame at a time with a cache."""

    def __init__(self, config: FlowWorldModelConfig, encoder: FrameGeometry, bottleneck: Bottleneck) -> None:
        action_width, capacity_K = bottleneck.config.action_width, dial_settings()
        self.grid, self.places = encoder.grid * encoder.cells, encoder.grid * config.flow_places
        self.waves = wave_count(action_width, self.grid)
        variance_A = expected_variance(action_width, self.waves)
        super().__init__(config, encoder, action_width, bottleneck.first_trust(capacity_K, variance_A))
        width, places = config.block.width, config.flow_places**2
        self.token_motion = nn.Linear(width, (2 + config.token_channels) * places)
        ratio = max(1, encoder.cells // config.flow_places)  # state cells a side of a place of the flow
        self.shrink = ratio
        seen = encoder.cell_channels * ratio**2 + config.token_channels + 2
        self.local_motion = nn.Sequential(
            nn.Conv2d(seen, config.conv_channels, 3, padding=1, padding_mode="replicate"),
            ResidualConv(config.conv_channels),
            nn.GELU(),
            nn.Conv2d(config.conv_channels, 4, 3, padding=1, padding_mode="replicate"),
        )
        self.correction_gain = CapacityGain(bottleneck.first_correction(capacity_K), 1)
        self.embed_moved = nn.Linear(encoder.width, width)
        self.correction_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.correction_modulation = nn.Linear(width, 2 * width)
        self.correction = nn.Linear(width, encoder.width)
        with torch.no_grad():
            self.token_motion.weight[: 2 * places].zero_()
            self.token_motion.bias.zero_()
        for layer in (self.motion_modulation, self.local_motion[-1], self.correction_modulation, self.correction):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        state_BFND: Tensor,
        action_BFA: Tensor,
        capacity_B: Tensor,
        past: KeyValueCache | None = None,
        carry: Carry | None = None,
        reference_BND: Tensor | None = None,
    ) -> tuple[Prediction, KeyValueCache]:
        """F frames, each with the action that leaves it, to the F states that follow.

        past: earlier frames of the same clips; the returned cache includes these frames, up to the window. carry and
        reference_BND: of the one frame given, in a rollout. Without them each given frame is its own reference.
        """
        terms = self.prepare(action_BFA, capacity_B)
        return self.advance(state_BFND, terms, past or KeyValueCache(), carry, reference_BND)

    def correction_gains(self, capacity_B: Tensor) -> Tensor:
        """How much is added to what an action encodes, (B, 1)."""
        return self.correction_gain(capacity_B)

    def encoded_flow(self, action_BFA: Tensor) -> Tensor:
        """The flow of an action's first numbers, which are its cosine coefficients, in frame widths."""
        coefficient_XK = action_BFA[..., : 2 * self.waves**2].flatten(0, 1)
        flow_X2HW = flow_from_coefficients(coefficient_XK, self.waves, self.grid)
        return flow_X2HW.unflatten(0, (len(action_BFA), -1))

    def advance(
        self,
        state_BFND: Tensor,
        terms: ActionTerms,
        past: KeyValueCache,
        carry: Carry | None = None,
        reference_BND: Tensor | None = None,
    ) -> tuple[Prediction, KeyValueCache]:
        """`forward` with the terms of its actions."""
        batch, frames, tokens, _ = state_BFND.shape
        assert carry is None or frames == 1, "a rollout goes on one frame at a time"
        rotary = grid_rotary(self.config.block, frames, self.encoder_config.grid, past.frames, state_BFND.device)
        x_BXD = (self.embed_state(state_BFND) + terms.token_BFND).flatten(1, 2)
        layers: list = []
        for index, block in enumerate(self.blocks):
            if index == self.config.motion_depth:
                flow_X2HW, logit_X1HW, moved_XCHW = self.predict_motion(state_BFND, x_BXD, terms)
                carry = carry or Carry.start(batch * frames, self.grid, state_BFND.device)
                carry = carry.step(flow_X2HW, visibility(logit_X1HW))
                reference_BFND = state_BFND if reference_BND is None else reference_BND[:, None]
                carried_XCHW = resample(self._cells(reference_BFND), carry.flow_X2HW)
                # Pixel errors must not choose what counts as visible: they would hedge wrong motion with blur.
                visible_X1HW = F.interpolate(
                    carry.visible_X1HW.detach(), size=carried_XCHW.shape[-2:], mode="bilinear", align_corners=False
                )
                # The cache depends on states alone, not on what the reference is: `carried_XCHW` stays out of it.
                x_BXD = x_BXD + self.embed_moved(self._tokens(moved_XCHW, batch)).flatten(1, 2)
            layer_past = past.layers[index] if past.layers else None
            ahead = terms.blocks[index] if terms.blocks else None
            x_BXD, present = block(
                x_BXD, rotary, frames, self.config.window, terms.condition_BFC, layer_past, modulation_BF1X=ahead
            )
            layers.append(present.last((self.config.window - 1) * tokens))
        correction_BFND = self.correction(self.modulated(self.correction_norm, x_BXD, terms.correction_BF1X))
        generated_XCHW = moved_XCHW + self._cells(correction_BFND).float()
        state_XCHW = torch.lerp(generated_XCHW, carried_XCHW, visible_X1HW)
        prediction = Prediction(
            state_BFND=self._tokens(state_XCHW, batch),
            flow_BF2HW=flow_X2HW.unflatten(0, (batch, frames)),
            visible_logit_BF1HW=logit_X1HW.unflatten(0, (batch, frames)),
            carry=carry,
            generated_BFND=self._tokens(generated_XCHW, batch),
        )
        return prediction, KeyValueCache(tuple(layers), past.frames + frames)

    def predict_motion(self, state_BFND: Tensor, x_BXD: Tensor, terms: ActionTerms) -> tuple[Tensor, Tensor, Tensor]:
        """This step's flow_X2HW, its visible_logit_X1HW, and the state warped by a first guess, moved_XCHW.

        Coarsely the flow is what the action encodes. Convolutions that see the warped state place it at the edges of
        what moves, by a factor on the flow's difference from its mean: where nothing or everything moves, they cannot
        do harm. What the action leaves out is added. Both count less the more the action says: at full capacity the
        action's own flow generalises better.
        """
        token_BFNY = self.token_motion(self.modulated(self.motion_norm, x_BXD, terms.motion_BF1X))
        side = self.config.flow_places
        both_XYHW = rearrange(
            token_BFNY.float(), "b f (h w) (c i j) -> (b f) c (h i) (w j)", h=self.encoder_config.grid, i=side, j=side
        )
        gain_X111 = terms.correction_gain_BF1[..., None, None].flatten(0, 1)
        unit_X111 = gain_X111 * (CORRECTION_UNIT / self.places)
        flow_X2HW = terms.flow_BF2HW.flatten(0, 1) + resize_flow(both_XYHW[:, :2], self.grid) * unit_X111
        moved_XCHW = resample(self._cells(state_BFND), flow_X2HW)
        coarse_X2HW = F.avg_pool2d(flow_X2HW, self.shrink)
        seen = (F.pixel_unshuffle(moved_XCHW, self.shrink), both_XYHW[:, 2:], coarse_X2HW * self.places)
        local_X4HW = resize_flow(self.local_motion(torch.cat(seen, dim=1)), self.grid).float()
        factor_X1HW, added_X2HW, logit_X1HW = local_X4HW.split((1, 2, 1), dim=1)
        own_X2HW = flow_X2HW - flow_X2HW.mean(dim=(2, 3), keepdim=True)
        flow_X2HW = flow_X2HW + factor_X1HW * gain_X111 * own_X2HW + added_X2HW * unit_X111
        return flow_X2HW, logit_X1HW + VISIBLE_AT_FIRST, moved_XCHW

    def _cells(self, state_BFND: Tensor) -> Tensor:
        return cells_from_tokens(state_BFND.flatten(0, 1), self.encoder_config.cells).float()

    def _tokens(self, cell_XCHW: Tensor, batch: int) -> Tensor:
        return rearrange(tokens_from_cells(cell_XCHW, self.encoder_config.cells), "(b f) n d -> b f n d", b=batch)

    def rollout(self, state_BCND: Tensor, action_BUA: Tensor, capacity_B: Tensor) -> list[Prediction]:
        """Feed predictions back: C context states and U >= C actions to predictions of U states.

        The first prediction holds the C teacher-forced states (each follows a given state), the others one state each.
        The last context state is the reference from then on.
        """
        frames, actions = state_BCND.shape[1], action_BUA.shape[1]
        if not 1 <= frames <= actions:
            raise ValueError(f"a rollout needs 1 <= context states <= actions, got {frames} states, {actions} actions.")
        given, *later = self.prepare(action_BUA, capacity_B).split([frames] + [1] * (actions - frames))
        prediction, past = self.advance(state_BCND, given, KeyValueCache())
        out, carry, reference_BND = [prediction], last_carry(prediction.carry, frames), state_BCND[:, -1]
        if later and not torch.is_grad_enabled():  # what gradients come back to may not be written over
            past = self.rolling(past, actions - frames)
        for terms in later:
            prediction, past = self.advance(out[-1].state_BFND[:, -1:], terms, past, carry, reference_BND)
            carry = prediction.carry
            out.append(prediction)
        return out


def last_carry(carry: Carry, frames: int) -> Carry:
    """Of clips with several frames each, the carry of every clip's last frame."""
    return Carry(*(x[frames - 1 :: frames] for x in (carry.flow_X2HW, carry.visible_X1HW)))
