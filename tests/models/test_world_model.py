"""Properties of predictions and rollouts."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from lawm_core.model import LatentActionModel, join_predictions
from lawm_core.models.kv_cache import KeyValueCache
from lawm_core.models.world_model import WorldModel
from tests.conftest import build_tiny_model, tiny_config

TOKENS = 16


def build(window: int = 8, noise: float = 0.05) -> WorldModel:
    return build_tiny_model(noise, window=window).families["noisy"].world_model


def random_inputs(frames: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Return state_BTND, action_BTA and capacity_B of two clips."""
    generator = torch.Generator().manual_seed(1)
    state_BTND = torch.randn(2, frames, TOKENS, 64, generator=generator)
    return state_BTND, torch.randn(2, frames, 8, generator=generator) * 2, torch.tensor([0.2, 1.0])


# ---- before training ------------------------------------------------------------------------------------------------


def test_an_untrained_model_predicts_no_change_without_action():
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config()).eval().requires_grad_(False)
    state_BTND, action_BTA, _ = random_inputs()
    rollout = model.at().rollout(state_BTND[:, :1], torch.zeros_like(action_BTA))
    still_BUND = state_BTND[:, :1].expand_as(rollout.state_BUND)
    torch.testing.assert_close(rollout.state_BUND, still_BUND, atol=1e-5, rtol=0)
    assert rollout.flow_BU2HW.abs().max() == 0 and rollout.visible_BU1HW.min() > 0.8


def test_an_untrained_model_teacher_forced_predicts_each_given_state_without_action():
    torch.manual_seed(0)
    world_model = LatentActionModel(tiny_config()).families["noisy"].world_model.requires_grad_(False)
    state_BTND, action_BTA, capacity_B = random_inputs()
    prediction, _ = world_model(state_BTND, torch.zeros_like(action_BTA), capacity_B)
    torch.testing.assert_close(prediction.state_BTND, state_BTND, atol=1e-5, rtol=0)
    torch.testing.assert_close(prediction.generated_BTND, state_BTND, atol=1e-5, rtol=0)


@pytest.mark.parametrize("capacity", [0.0, 0.5, 1.0])
def test_an_action_that_encodes_a_pan_is_decoded_as_the_pan_before_training(capacity):
    """The action is what inverse dynamics infers before training."""
    torch.manual_seed(0)
    config = tiny_config()
    bottleneck = dataclasses.replace(config.families["noisy"].bottleneck, action_width=32)
    family = dataclasses.replace(config.families["noisy"], bottleneck=bottleneck)
    model = LatentActionModel(dataclasses.replace(config, families={"noisy": family})).eval().requires_grad_(False)
    world_model, capacity_B = model.families["noisy"].world_model, torch.tensor([capacity])
    flow_BT2HW = torch.zeros(1, 1, 2, 16, 16)
    flow_BT2HW[:, :, 0] = 0.1
    action_BTA = model.at("noisy", capacity).infer_actions(torch.randn(1, 2, TOKENS, 64), flow_BT2HW)
    action_BTA = action_BTA / world_model.action_gain(capacity_B)[:, None]
    terms = world_model.prepare(action_BTA, capacity_B)
    torch.testing.assert_close(terms.flow_BT2HW, flow_BT2HW, atol=1e-3, rtol=0)


def test_corrections_of_a_pan_start_at_zero_at_full_capacity():
    """Whatever tokens and convolutions add: a factor on the deviation from the mean leaves uniform motion unchanged."""
    world_model = build(noise=0)
    for part in (world_model.token_motion, world_model.local_motion):
        for weight in part.parameters():
            nn.init.normal_(weight)
    state_BTND, action_BTA, capacity_B = random_inputs(1)
    action_BTA = torch.zeros_like(action_BTA)
    action_BTA[..., 0] = 3.0  # the constant cosine
    token_BTND = torch.randn(2, 1, TOKENS, world_model.config.block.width)
    predict = lambda terms: world_model.predict_motion(state_BTND, token_BTND, terms)[0]
    full = world_model.prepare(action_BTA, torch.ones_like(capacity_B))
    torch.testing.assert_close(predict(full), full.flow_BT2HW[:, 0], atol=1e-5, rtol=0)
    low = world_model.prepare(action_BTA, torch.zeros_like(capacity_B))
    assert (predict(low) - low.flow_BT2HW[:, 0]).abs().max() > 0.01


# ---- cache ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 3, 16])
def test_cached_steps_equal_one_pass(window):
    world_model, (state_BTND, action_BTA, capacity_B) = build(window), random_inputs()
    whole, _ = world_model(state_BTND, action_BTA, capacity_B)
    cache, parts = None, []
    for t in range(state_BTND.shape[1]):
        part, cache = world_model(state_BTND[:, t : t + 1], action_BTA[:, t : t + 1], capacity_B, cache)
        parts.append(part)
        assert cache.frames == t + 1 and cache.kept_frames(TOKENS) <= window - 1
    for name in ("state_BTND", "flow_BT2HW", "visible_logit_BT1HW", "generated_BTND"):
        joined = torch.cat([getattr(part, name) for part in parts], dim=1)
        torch.testing.assert_close(joined, getattr(whole, name), atol=1e-4, rtol=1e-4)


def recomputed_rollout(
    world_model: WorldModel, context_BTND: Tensor, action_BUA: Tensor, capacity_B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Roll out by sending all frames through the network again for every new frame.

    Return the predicted state_BUND and the last frame's flow_X2HW and visible_X1HW.
    """
    context, state_BTND, carry = context_BTND.shape[1], context_BTND, None
    for u in range(context - 1, action_BUA.shape[1]):
        cache = KeyValueCache()
        if u:  # each frame but the last is its own reference
            _, cache = world_model(state_BTND[:, :-1], action_BUA[:, :u], capacity_B)
        last = (state_BTND[:, -1:], action_BUA[:, u : u + 1])
        prediction, _ = world_model(*last, capacity_B, cache, carry, context_BTND[:, -1])
        carry = prediction.carry
        state_BTND = torch.cat((state_BTND, prediction.state_BTND), dim=1)
    return state_BTND[:, context:], carry.flow_X2HW, carry.visible_X1HW


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("window", [1, 3, 16])
@pytest.mark.parametrize("context", [1, 4, 9])
def test_cached_rollout_equals_recomputed(context, window, gradients):
    """Without gradients the cache is a ring buffer; with gradients it grows."""
    world_model, (state_BTND, action_BTA, capacity_B) = build(window), random_inputs()
    context_BTND = state_BTND[:, :context]
    with torch.set_grad_enabled(gradients):
        predictions = world_model.rollout(context_BTND, action_BTA, capacity_B)
        state_BUND, flow_X2HW, visible_X1HW = recomputed_rollout(world_model, context_BTND, action_BTA, capacity_B)
    rollout = join_predictions(context_BTND[:, -1], predictions)
    torch.testing.assert_close(rollout.state_BUND, state_BUND, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(rollout.flow_BU2HW[:, -1], flow_X2HW, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(rollout.visible_BU1HW[:, -1], visible_X1HW, atol=1e-4, rtol=1e-3)


def test_a_rolling_cache_leaves_its_source_unchanged():
    world_model, (state_BTND, action_BTA, capacity_B) = build(), random_inputs()
    _, cache = world_model(state_BTND[:, :4], action_BTA[:, :4], capacity_B)
    before = [layer.key_BMXd.clone() for layer in cache.layers]
    fifth = (state_BTND[:, 4:5], action_BTA[:, 4:5], capacity_B)
    found, rolling = world_model(*fifth, world_model.rolling_cache(cache, steps=2))
    assert rolling.nbytes == cache.nbytes // 4 * 5, "one frame more"
    expected, _ = world_model(*fifth, cache)
    torch.testing.assert_close(found.state_BTND, expected.state_BTND, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(layer.key_BMXd, key) for layer, key in zip(cache.layers, before, strict=True))


def test_a_repeated_cache_serves_several_candidates():
    world_model, (state_BTND, action_BTA, capacity_B) = build(), random_inputs()
    _, cache = world_model(state_BTND[:, :4], action_BTA[:, :4], capacity_B)
    fifth = (state_BTND[:, 4:5], action_BTA[:, 4:5], capacity_B)
    repeat = lambda x: x.repeat_interleave(3, dim=0)
    found, _ = world_model(*map(repeat, fifth), cache.repeat(3))
    expected, _ = world_model(*fifth, cache)
    torch.testing.assert_close(found.state_BTND, repeat(expected.state_BTND), atol=1e-5, rtol=1e-5)


def test_the_cache_does_not_depend_on_the_reference():
    """Otherwise a rollout could not be recomputed from its states."""
    world_model, (state_BTND, action_BTA, capacity_B) = build(), random_inputs(2)
    first = (state_BTND[:, :1], action_BTA[:, :1], capacity_B)
    one, own_cache = world_model(*first)
    other, other_cache = world_model(*first, reference_BND=state_BTND[:, 1])
    assert not torch.equal(one.state_BTND, other.state_BTND)
    for own, layer in zip(own_cache.layers, other_cache.layers, strict=True):
        assert torch.equal(own.key_BMXd, layer.key_BMXd) and torch.equal(own.value_BMXd, layer.value_BMXd)


# ---- rollouts -------------------------------------------------------------------------------------------------------


def test_rollout_is_causal():
    noisy, (state_BTND, action_BTA, _) = build_tiny_model(0.05).at(), random_inputs()
    before = noisy.rollout(state_BTND[:, :2], action_BTA)
    changed_BTA = action_BTA.clone()
    changed_BTA[:, 5:] += 1.0
    after = noisy.rollout(state_BTND[:, :2], changed_BTA)
    assert torch.equal(before.state_BUND[:, :4], after.state_BUND[:, :4])
    assert torch.equal(before.flow_BU2HW[:, :4], after.flow_BU2HW[:, :4])
    assert not torch.equal(before.state_BUND[:, 4:], after.state_BUND[:, 4:])


def test_stepwise_rollout_equals_one_rollout_and_can_be_continued_from_any_step():
    noisy, (state_BTND, action_BTA, _) = build_tiny_model(0.05).at("noisy", 0.5), random_inputs()
    whole = noisy.rollout(state_BTND[:, :1], action_BTA)
    states = [noisy.start_rollout(state_BTND[:, :1])]
    for action_BA in action_BTA.unbind(dim=1):
        states.append(states[-1].apply(action_BA))
    for name in ("state_BUND", "flow_BU2HW", "visible_BU1HW"):
        stepwise = torch.cat([getattr(state.current, name) for state in states[1:]], dim=1)
        torch.testing.assert_close(stepwise, getattr(whole, name), atol=1e-4, rtol=1e-4)
    continued_BUND = states[4].predict(action_BTA[:, 4:])
    torch.testing.assert_close(continued_BUND, whole.state_BUND[:, 4:], atol=1e-4, rtol=1e-4)


def test_rollouts_of_clips_do_not_depend_on_each_other():
    world_model, (state_BTND, action_BTA, capacity_B) = build(), random_inputs()
    together = world_model.rollout(state_BTND[:, :3], action_BTA, capacity_B)
    alone = world_model.rollout(state_BTND[1:, :3], action_BTA[1:], capacity_B[1:])
    for one, part in zip(together, alone, strict=True):
        torch.testing.assert_close(one.state_BTND[1:], part.state_BTND, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("states", "actions"), [(5, 3), (0, 3)])
def test_rollout_with_fewer_actions_than_states_or_without_states_raises(states, actions):
    world_model, (state_BTND, action_BTA, capacity_B) = build(), random_inputs()
    with pytest.raises(ValueError, match=f"got {states} context states and {actions} actions"):
        world_model.rollout(state_BTND[:, :states], action_BTA[:, :actions], capacity_B)


def test_flow_patches_finer_than_the_state_raise():
    config = tiny_config()
    family = config.families["noisy"]
    finer = dataclasses.replace(family, world_model=dataclasses.replace(family.world_model, flow_patches=8))
    with pytest.raises(ValueError, match="flow_patches must divide the encoder's subpatches=4, got 8"):
        LatentActionModel(dataclasses.replace(config, families={"noisy": finer}))


# ---- training -------------------------------------------------------------------------------------------------------


def test_errors_of_states_have_no_gradient_to_visibility():
    """Visibility means "was this visible?". A pixel error would teach it to hide wrong motion."""
    world_model, (state_BTND, action_BTA, capacity_B) = build().requires_grad_(True), random_inputs(3)
    prediction, _ = world_model(state_BTND, action_BTA, capacity_B)
    (prediction.state_BTND - state_BTND).abs().mean().backward()
    factor, added, visible = world_model.local_motion[-1].weight.grad.split((1, 2, 1))
    assert visible.abs().max() == 0 and factor.abs().max() > 0 and added.abs().max() > 0
