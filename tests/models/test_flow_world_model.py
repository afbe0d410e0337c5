"""Properties of rollouts by flow."""

import dataclasses

import pytest
import torch

from lawm_core.model import LatentActionModel, join_predictions
from lawm_core.models.cache import KeyValueCache
from lawm_core.models.flow import visibility
from lawm_core.models.flow_reader import FlowReaderConfig
from lawm_core.models.flow_world_model import FlowWorldModelConfig
from lawm_core.models.inverse_dynamics import FlowInverseDynamicsConfig
from lawm_core.models.picture_decoder import PictureDecoderConfig
from tests.conftest import TINY_BLOCK, shake, tiny_config


def tiny_flow_config(window: int = 8):
    """The tiny model with flow: sees 32 px as 16 tokens, draws 64 px."""
    config = tiny_config(window)
    family = dataclasses.replace(
        config.families["noisy"],
        inverse_dynamics=FlowInverseDynamicsConfig(block=TINY_BLOCK, depth=1, flow_places=2, readout=4),
        world_model=FlowWorldModelConfig(
            block=TINY_BLOCK, motion_depth=1, correction_depth=1, window=window, place_width=4, flow_places=2,
            token_channels=4, conv_channels=8,
        ),
    )  # fmt: skip
    decoder = PictureDecoderConfig(picture_size=64, block=TINY_BLOCK, depth=1, channels=8, conv_depth=1, window=window)
    flow = FlowReaderConfig(channels=8, coarse_channels=8, radius=2, fine_radius=1, fine_channels=8)
    return dataclasses.replace(config, families={"noisy": family}, decoder=decoder, flow=flow)


def build(window: int = 8, shaken: bool = True) -> LatentActionModel:
    torch.manual_seed(0)
    model = LatentActionModel(tiny_flow_config(window))
    if shaken:
        shake(model, 0.05)
    return model.eval().requires_grad_(False)


def inputs(frames: int = 9):
    generator = torch.Generator().manual_seed(1)
    state = torch.randn(2, frames, 16, 64, generator=generator)
    return state, torch.randn(2, frames, 8, generator=generator) * 2, torch.tensor([0.2, 1.0])


def test_a_fresh_model_under_no_action_stands_still():
    model = build(shaken=False)
    state, action, _ = inputs()
    rollout = model.rollout(state[:, :1], torch.zeros_like(action))
    torch.testing.assert_close(rollout.state_BUND, state[:, :1].expand_as(rollout.state_BUND), atol=1e-5, rtol=0)
    assert rollout.flow_BU2HW.abs().max() == 0 and rollout.visible_BU1HW.min() > 0.8


@pytest.mark.parametrize("window", [1, 3, 16])
def test_cached_steps_equal_one_pass(window):
    world_model = build(window).member("noisy").world_model
    state, action, capacity = inputs()
    whole, _ = world_model(state, action, capacity)
    past, steps = None, []
    for t in range(state.shape[1]):
        predicted, past = world_model(state[:, t : t + 1], action[:, t : t + 1], capacity, past)
        steps.append(predicted.state_BFND)
        assert past.kept_frames(16) <= window - 1
    torch.testing.assert_close(torch.cat(steps, dim=1), whole.state_BFND, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("context", [1, 4])
@pytest.mark.parametrize("gradients", [False, True])
def test_a_cached_rollout_equals_a_recomputed_one(context, gradients):
    """Recomputed: for every frame the whole past goes through the network again, without a cache."""
    world_model = build(3).member("noisy").world_model
    state, action, capacity = inputs()
    with torch.set_grad_enabled(gradients):
        rolled = join_predictions(state[:, context - 1], world_model.rollout(state[:, :context], action, capacity))
    known, carry = state[:, :context], None
    for u in range(context - 1, action.shape[1]):
        terms = world_model.prepare(action[:, : u + 1], capacity)
        past = KeyValueCache()
        if u:  # all frames but the last one fill the cache, each its own reference
            _, past = world_model(known[:, :-1], action[:, :u], capacity)
        *_, last = terms.split([1] * (u + 1))
        predicted, _ = world_model.advance(known[:, -1:], last, past, carry, state[:, context - 1])
        carry = predicted.carry
        known = torch.cat((known, predicted.state_BFND), dim=1)
    torch.testing.assert_close(rolled.state_BUND, known[:, context:], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(rolled.flow_BU2HW[:, -1], carry.flow_X2HW, atol=1e-4, rtol=1e-3)


def test_a_rollout_split_in_two_and_continued_equals_one_rollout():
    model = build()
    state, action, _ = inputs()
    whole = model.rollout(state[:, :1], action, capacity=0.5)
    present = model.begin(state[:, :1], capacity=0.5)
    middle = None
    for u in range(action.shape[1]):
        present = present.act(action[:, u])
        middle = present if u == 3 else middle
    torch.testing.assert_close(present.rollout.state_BUND, whole.state_BUND[:, -1:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(present.rollout.flow_BU2HW, whole.flow_BU2HW[:, -1:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(present.rollout.visible_BU1HW, whole.visible_BU1HW[:, -1:], atol=1e-5, rtol=1e-4)
    again = middle.follow(action[:, 4:])
    torch.testing.assert_close(again, whole.state_BUND[:, 4:], atol=1e-4, rtol=1e-4)


def test_later_actions_and_states_change_nothing_before_them():
    model = build()
    state, action, _ = inputs()
    before = model.rollout(state[:, :2], action)
    action = action.clone()
    action[:, 5:] += 1.0
    after = model.rollout(state[:, :2], action)
    assert torch.equal(before.state_BUND[:, :4], after.state_BUND[:, :4])
    assert not torch.equal(before.state_BUND[:, 4:], after.state_BUND[:, 4:])


def test_an_action_that_encodes_a_pan_carries_the_state_by_it():
    """Before any training: what inverse dynamics encodes first is what the world model acts out first."""
    torch.manual_seed(0)
    config = tiny_flow_config()
    noisy = dataclasses.replace(config.families["noisy"].bottleneck, action_width=32)
    family = dataclasses.replace(config.families["noisy"], bottleneck=noisy)
    model = LatentActionModel(dataclasses.replace(config, families={"noisy": family})).eval()
    world_model = model.member("noisy").world_model
    flow = torch.zeros(1, 1, 2, 16, 16)
    flow[:, :, 0] = 0.1
    state = torch.randn(1, 2, 16, 64)
    with torch.no_grad():
        raw = model.member("noisy").inverse_dynamics(state, flow, torch.ones(1))
        gain = world_model.trust(torch.ones(1))[:, None]
        terms = world_model.prepare(raw[..., :32] / gain, torch.ones(1))
    torch.testing.assert_close(terms.flow_BF2HW, flow, atol=1e-3, rtol=0)


def test_at_full_capacity_corrections_of_a_pan_begin_at_nothing():
    """Whatever tokens and convolutions say: a factor on the difference from the mean leaves uniform motion alone."""
    world_model = build(shaken=False).member("noisy").world_model
    with torch.no_grad():
        for layer in (world_model.token_motion, *world_model.local_motion.parameters()):
            for weight in layer.parameters() if isinstance(layer, torch.nn.Module) else [layer]:
                weight.normal_()
        state, action, capacity = inputs(1)
        action = torch.zeros_like(action)
        action[..., 0] = 3.0  # the slowest cosine
        terms = world_model.prepare(action, torch.ones_like(capacity))
        tokens = torch.randn(len(state), state.shape[2], world_model.config.block.width)
        flow, _, _ = world_model.predict_motion(state, tokens, terms)
        torch.testing.assert_close(flow, terms.flow_BF2HW[:, 0], atol=1e-5, rtol=0)
        low = world_model.predict_motion(state, tokens, world_model.prepare(action, torch.zeros_like(capacity)))[0]
        assert (low - flow).abs().max() > 0.01


def test_pixel_errors_do_not_move_visibility():
    """Visibility means "was this seen"; an error of states must not teach it to hedge."""
    world_model = build().member("noisy").world_model.requires_grad_(True)
    state, action, capacity = inputs(3)
    predicted, _ = world_model(state, action, capacity)
    (predicted.state_BFND - state).abs().mean().backward()
    head = world_model.local_motion[-1].weight.grad
    factor, added, visible = head.split((1, 2, 1))
    assert visible.abs().max() == 0 and factor.abs().max() > 0 and added.abs().max() > 0


def test_what_is_probably_visible_stays_visible_over_many_steps():
    logit = torch.tensor([-9.0, -1.2, 0.0, 1.2, 9.0])
    assert torch.equal(visibility(logit)[[0, 1, 3, 4]], torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert visibility(logit)[2] == 0.5
