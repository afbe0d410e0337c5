"""The world model, which predicts the next state from past states and a latent action [LAWM §2, §3].

For each frame it predicts a backward flow and a visibility. The flows of all steps are composed into one flow to a
reference frame. What is visible in the reference frame is warped from it, once, however long the rollout; the rest is
generated. Related work: first-order motion model (Siarohin et al. 2019), LFDM (Ni et al. 2023), SAVP (Lee et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.attention import BlockConfig
from lawm_core.models.bottlenecks.base import Bottleneck
from lawm_core.models.capacity import CapacityEmbedding, CapacityGain, capacity_grid
from lawm_core.models.encoder import ResidualConv, conv3, zero_init
from lawm_core.models.feature_map import feature_map_from_tokens, tokens_from_feature_map
from lawm_core.models.flow import (
    Carry,
    expected_variance,
    flow_basis_size,
    flow_from_coefficients,
    resize_flow,
    visibility,
    warp,
)
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.kv_cache import KeyValueCache
from lawm_core.models.transformer import FrameTransformer, modulate

INIT_VISIBLE_LOGIT = 4.0  # before training, almost everything is visible
# Networks output flow corrections in tenths of a flow patch. An AdamW step changes each weight by about the learning
# rate, however small the gradient. If the unit were a whole patch, every step would add noise of half a pixel to a flow
# that is nearly right from the start.
CORRECTION_UNIT = 0.1


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig:
    """Sizes of the world model.

    motion_depth: number of blocks that predict the flow.
    correction_depth: number of blocks that generate what cannot be warped.
    window: number of frames that a token attends to, including its own.
    place_width: number of features that each token receives from the action.
    flow_patches: each token predicts flow_patches x flow_patches flow corrections.
    token_channels: features per flow patch that tokens pass on to the convolutions that refine the flow.
    conv_channels: channels of these convolutions.
    """

    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=192, heads=6))
    motion_depth: int = 2
    correction_depth: int = 2
    window: int = 8
    place_width: int = 16
    flow_patches: int = 4
    token_channels: int = 8
    conv_channels: int = 32

    @property
    def depth(self) -> int:
        """Total number of blocks."""
        return self.motion_depth + self.correction_depth


@dataclass(frozen=True)
class ActionTerms:
    """Inputs of the prediction of T frames that depend only on actions and capacity.

    A rollout computes them once for all its frames.

    token_BTND: vector that is added to each token.
    flow_BT2HW: flow that the actions encode.
    motion_BT1D, correction_BT1D: AdaLN shift and scale, concatenated, of the tokens from which the flow corrections
        and the generated states are read.
    condition_BTD: AdaLN condition of the blocks.
    gain_BT1: factor of the flow corrections.
    modulations: result of `Block.modulate_by` for each block; empty if the blocks compute it from the condition.
    """

    token_BTND: Tensor
    flow_BT2HW: Tensor
    motion_BT1D: Tensor
    correction_BT1D: Tensor
    condition_BTD: Tensor
    gain_BT1: Tensor
    modulations: tuple[Tensor, ...] = ()

    def split(self, frames: list[int]) -> list[ActionTerms]:
        """Split along time into consecutive groups; frames[i] is the number of frames in group i."""
        *tensors, modulations = (getattr(self, f.name) for f in fields(self))
        parts = [tensor.split(frames, dim=1) for tensor in (*tensors, *modulations)]
        return [ActionTerms(*p[: len(tensors)], modulations=p[len(tensors) :]) for p in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Prediction:
    """Predicted states of T frames and the parts that they are blended from.

    state_BTND: the predicted states.
    flow_BT2HW: backward flow from each predicted frame to the frame before it.
    visible_logit_BT1HW: logit of the probability that a position was visible in the frame before.
    carry: flow and visibility from each predicted frame to its reference frame. The first axis of its tensors has
        length B * T, clips and frames merged.
    generated_BTND: the states as they would be if nothing were visible in the reference frame.
    """

    state_BTND: Tensor
    flow_BT2HW: Tensor
    visible_logit_BT1HW: Tensor
    carry: Carry
    generated_BTND: Tensor


class WorldModel(nn.Module):
    """Predicts the next state from all states so far and a latent action, p(s_t+1 | s_0..t, z_t).

    It processes many true states at once (teacher forcing), or one frame at a time with a cache. Before training, the
    prediction for an action of zeros is the current state.
    """

    def __init__(self, config: WorldModelConfig, encoder: FrameGeometry, bottleneck: Bottleneck) -> None:
        super().__init__()
        if encoder.subpatches % config.flow_patches:
            raise ValueError(
                f"flow_patches must divide the encoder's subpatches={encoder.subpatches}, got {config.flow_patches}."
            )
        self.config, self.encoder_config = config, encoder
        width, grid, action_width = config.block.width, encoder.grid, bottleneck.config.action_width
        self.map_size, self.patches = encoder.map_size, grid * config.flow_patches
        self.basis_size = flow_basis_size(action_width, self.map_size)
        variance_A = expected_variance(action_width, self.basis_size)
        self.embed_state = nn.Linear(encoder.width, width)
        self.position_ND = nn.Parameter(torch.randn(encoder.tokens, width) * 0.02)
        self.embed_action = nn.Sequential(nn.Linear(action_width, width), nn.SiLU(), nn.Linear(width, width))
        self.capacity = CapacityEmbedding(width)
        self.action_gain = CapacityGain(bottleneck.init_gain(capacity_grid(), variance_A), action_width)
        self.action_places = nn.Linear(action_width, encoder.tokens * config.place_width)
        self.embed_places = nn.Linear(config.place_width, width)
        transformer = lambda depth: FrameTransformer(
            config.block, depth, grid, condition_width=width, window=config.window
        )
        self.motion_transformer = transformer(config.motion_depth)
        self.motion_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.motion_modulation = nn.Linear(width, 2 * width)
        self.token_motion = nn.Linear(width, (2 + config.token_channels) * config.flow_patches**2)
        self.subpatches_per_patch = encoder.subpatches // config.flow_patches
        input_channels = encoder.subpatch_channels * self.subpatches_per_patch**2 + config.token_channels + 2
        self.local_motion = nn.Sequential(
            conv3(input_channels, config.conv_channels),
            ResidualConv(config.conv_channels),
            nn.GELU(),
            conv3(config.conv_channels, 4),
        )
        self.correction_gain = CapacityGain(bottleneck.init_correction_gain(capacity_grid()), 1)
        self.embed_warped = nn.Linear(encoder.width, width)
        self.correction_transformer = transformer(config.correction_depth)
        self.correction_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.correction_modulation = nn.Linear(width, 2 * width)
        self.correction = nn.Linear(width, encoder.width)
        with torch.no_grad():
            self.token_motion.weight[: 2 * config.flow_patches**2].zero_()
            self.token_motion.bias.zero_()
        zero_init(self.motion_modulation, self.local_motion[-1], self.correction_modulation, self.correction)

    def forward(
        self,
        state_BTND: Tensor,
        action_BTA: Tensor,
        capacity_B: Tensor,
        cache: KeyValueCache | None = None,
        carry: Carry | None = None,
        reference_BND: Tensor | None = None,
    ) -> tuple[Prediction, KeyValueCache]:
        """Predict the state that follows each of T frames; action t leads from frame t to the next.

        cache: keys and values of earlier frames of the same clips.
        carry, reference_BND: for one step of a rollout (T = 1), the carry from the given frame to the reference frame
            and the state of the reference frame. Without them, each given frame is the reference of its prediction.

        Returns the prediction and a cache that also holds these frames, as many as the next frame's window needs.
        """
        return self.advance(state_BTND, self.prepare(action_BTA, capacity_B), cache, carry, reference_BND)

    def prepare(self, action_BTA: Tensor, capacity_B: Tensor) -> ActionTerms:
        """Compute the inputs of `advance` that depend only on actions and capacity."""
        action_BTA = action_BTA * self.action_gain(capacity_B)[:, None]
        condition_BTD = self.embed_action(action_BTA) + self.capacity(capacity_B)[:, None]
        place_BTNC = rearrange(self.action_places(action_BTA), "b t (n c) -> b t n c", c=self.config.place_width)
        active_BTD = F.silu(condition_BTD)
        # In training, each block computes its own modulation: FSDP2 gathers a block's weights only while it runs.
        modulations = (
            ()
            if torch.is_grad_enabled()
            else tuple(
                modulation
                for transformer in (self.motion_transformer, self.correction_transformer)
                for modulation in transformer.modulations(condition_BTD)
            )
        )
        return ActionTerms(
            token_BTND=self.embed_places(place_BTNC) + self.position_ND,
            flow_BT2HW=self.decode_flow(action_BTA),
            motion_BT1D=self.motion_modulation(active_BTD)[:, :, None],
            correction_BT1D=self.correction_modulation(active_BTD)[:, :, None],
            condition_BTD=condition_BTD,
            gain_BT1=self.correction_gain(capacity_B)[:, None].expand(-1, action_BTA.shape[1], -1),
            modulations=modulations,
        )

    def decode_flow(self, action_BTA: Tensor) -> Tensor:
        """Return flow_BT2HW, the flow whose cosine coefficients are the first dimensions of the actions."""
        coefficient = action_BTA[..., : 2 * self.basis_size**2].flatten(0, 1)
        flow_X2HW = flow_from_coefficients(coefficient, self.basis_size, self.map_size)
        return flow_X2HW.unflatten(0, (len(action_BTA), -1))

    def advance(
        self,
        state_BTND: Tensor,
        terms: ActionTerms,
        cache: KeyValueCache | None = None,
        carry: Carry | None = None,
        reference_BND: Tensor | None = None,
    ) -> tuple[Prediction, KeyValueCache]:
        """Do the same as `forward`, given the result of `prepare` instead of actions and capacity."""
        batch, frames = state_BTND.shape[:2]
        assert carry is None or frames == 1, f"with a carry, states must be of one frame at a time, got {frames}"
        depth = self.config.motion_depth
        motion_cache, correction_cache = (cache or KeyValueCache()).split(depth)
        x_BTND = self.embed_state(state_BTND) + terms.token_BTND
        x_BTND, motion_cache = self.motion_transformer(
            x_BTND, terms.condition_BTD, motion_cache, terms.modulations[:depth]
        )
        flow_X2HW, logit_X1HW, warped_XCHW = self.predict_motion(state_BTND, x_BTND, terms)
        carry = carry or Carry.start(batch * frames, self.map_size, state_BTND.device)
        carry = carry.step(flow_X2HW, visibility(logit_X1HW))
        reference_BTND = state_BTND if reference_BND is None else reference_BND[:, None]
        carried_XCHW = warp(self._feature_map(reference_BTND), carry.flow_X2HW)
        # Detached: visibility is trained on true visibility only. Trained on the error of the states, it would call
        # content hidden wherever the motion may be wrong, and replace it by blur.
        visible_X1HW = F.interpolate(
            carry.visible_X1HW.detach(), size=carried_XCHW.shape[-2:], mode="bilinear", align_corners=False
        )
        # `carried_XCHW` is no input of the tokens, because their cache must not depend on the reference frame.
        x_BTND = x_BTND + self.embed_warped(self._tokens(warped_XCHW, batch))
        x_BTND, correction_cache = self.correction_transformer(
            x_BTND, terms.condition_BTD, correction_cache, terms.modulations[depth:]
        )
        x_BTND = modulate(self.correction_norm(x_BTND), *terms.correction_BT1D.chunk(2, dim=-1))
        generated_XCHW = warped_XCHW + self._feature_map(self.correction(x_BTND)).float()
        state_XCHW = torch.lerp(generated_XCHW, carried_XCHW, visible_X1HW)
        prediction = Prediction(
            state_BTND=self._tokens(state_XCHW, batch),
            flow_BT2HW=flow_X2HW.unflatten(0, (batch, frames)),
            visible_logit_BT1HW=logit_X1HW.unflatten(0, (batch, frames)),
            carry=carry,
            generated_BTND=self._tokens(generated_XCHW, batch),
        )
        return prediction, KeyValueCache.join(motion_cache, correction_cache)

    def predict_motion(self, state_BTND: Tensor, x_BTND: Tensor, terms: ActionTerms) -> tuple[Tensor, Tensor, Tensor]:
        """Predict the flow from each next frame to the given frame.

        A first estimate is the flow that the action encodes plus a correction from each token. The state is warped by
        it and given to convolutions, which refine the estimate in two ways. They scale its deviation from the mean
        flow, which aligns it with the edges of moving objects and leaves uniform motion as it is. They also add a
        second correction. All corrections have a learned gain, which is initialised to decrease with capacity, because
        at full capacity the flow that the action encodes generalises better alone.

        Returns flow_X2HW, the logit of its visibility_X1HW, and warped_XCHW, the feature map of the given state warped
        by the first estimate.
        """
        x_BTND = modulate(self.motion_norm(x_BTND), *terms.motion_BT1D.chunk(2, dim=-1))
        side = self.config.flow_patches
        token_XCHW = rearrange(
            self.token_motion(x_BTND).float(), "b t (h w) (c i j) -> (b t) c (h i) (w j)",
            h=self.encoder_config.grid, i=side, j=side,
        )  # fmt: skip
        gain_X111 = terms.gain_BT1[..., None, None].flatten(0, 1)
        unit_X111 = gain_X111 * (CORRECTION_UNIT / self.patches)
        flow_X2HW = terms.flow_BT2HW.flatten(0, 1) + resize_flow(token_XCHW[:, :2], self.map_size) * unit_X111
        warped_XCHW = warp(self._feature_map(state_BTND), flow_X2HW)
        coarse_X2HW = F.avg_pool2d(flow_X2HW, self.subpatches_per_patch)
        seen = (
            F.pixel_unshuffle(warped_XCHW, self.subpatches_per_patch), token_XCHW[:, 2:], coarse_X2HW * self.patches
        )  # fmt: skip
        local_X4HW = resize_flow(self.local_motion(torch.cat(seen, dim=1)), self.map_size).float()
        factor_X1HW, added_X2HW, logit_X1HW = local_X4HW.split((1, 2, 1), dim=1)
        deviation_X2HW = flow_X2HW - flow_X2HW.mean(dim=(2, 3), keepdim=True)
        flow_X2HW = flow_X2HW + factor_X1HW * gain_X111 * deviation_X2HW + added_X2HW * unit_X111
        return flow_X2HW, logit_X1HW + INIT_VISIBLE_LOGIT, warped_XCHW

    def rollout(self, context_BTND: Tensor, action_BUA: Tensor, capacity_B: Tensor) -> list[Prediction]:
        """Predict U states from T context states and U >= T actions; each prediction is the input of the next.

        Returns 1 + U - T predictions. The first holds T states, each of which follows a true context state (teacher
        forcing). Each of the others holds one state. Their reference frame is the last context frame. Raises
        ValueError if there are no context states, or more of them than actions.
        """
        frames, actions = context_BTND.shape[1], action_BUA.shape[1]
        if not 1 <= frames <= actions:
            raise ValueError(
                f"A rollout needs at least one context state and at least as many actions as context states, "
                f"got {frames} context states and {actions} actions."
            )
        given, *later = self.prepare(action_BUA, capacity_B).split([frames] + [1] * (actions - frames))
        prediction, cache = self.advance(context_BTND, given)
        predictions, carry, reference_BND = [prediction], prediction.carry.last_frame(frames), context_BTND[:, -1]
        if later and not torch.is_grad_enabled():  # the backward pass needs tensors that are not overwritten
            cache = self.rolling_cache(cache, actions - frames)
        for terms in later:
            prediction, cache = self.advance(predictions[-1].state_BTND[:, -1:], terms, cache, carry, reference_BND)
            carry = prediction.carry
            predictions.append(prediction)
        return predictions

    def rolling_cache(self, cache: KeyValueCache, steps: int) -> KeyValueCache:
        """Return a copy of a cache with memory allocated in advance, for one rollout of `steps` more steps."""
        tokens = self.encoder_config.tokens
        frames = min(self.config.window, cache.kept_frames(tokens) + steps)
        return cache.rolling(self.config.depth, frames * tokens)

    def _feature_map(self, state_BTND: Tensor) -> Tensor:
        return feature_map_from_tokens(state_BTND.flatten(0, 1), self.encoder_config.subpatches).float()

    def _tokens(self, map_XCHW: Tensor, batch: int) -> Tensor:
        tokens_XND = tokens_from_feature_map(map_XCHW, self.encoder_config.subpatches)
        return rearrange(tokens_XND, "(b t) n d -> b t n d", b=batch)
