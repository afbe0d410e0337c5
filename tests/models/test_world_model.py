"""Laws of rollouts."""

import pytest
import torch

from lawm_core.model import LatentActionModel
from tests.conftest import shake, tiny_config


def parts(window: int = 8, frames: int = 12):
    torch.manual_seed(0)
    world_model = LatentActionModel(tiny_config(window)).member("noisy").world_model.eval()
    shake(world_model)
    return world_model, torch.randn(2, frames, 16, 64), torch.randn(2, frames, 8), torch.tensor([0.2, 1.0])


def test_fresh_world_model_predicts_the_current_state_where_nothing_is_done():
    torch.manual_seed(0)
    world_model = LatentActionModel(tiny_config()).member("noisy").world_model
    state, action = torch.randn(2, 3, 16, 64), torch.zeros(2, 3, 8)
    predicted, _ = world_model(state, action, torch.ones(2))
    torch.testing.assert_close(predicted, state, atol=1e-5, rtol=0)


@pytest.mark.parametrize("window", [1, 3, 16])
def test_cached_steps_equal_one_pass(window):
    world_model, state, action, capacity = parts(window)
    whole, _ = world_model(state, action, capacity)
    past, steps = None, []
    for t in range(state.shape[1]):
        predicted, past = world_model(state[:, t : t + 1], action[:, t : t + 1], capacity, past)
        steps.append(predicted)
        assert past.kept_frames(16) <= window - 1
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-4, rtol=1e-4)


def recomputed_rollout(world_model, state, action, capacity):
    """The same law without a cache: everything so far goes through the network again for every frame."""
    for u in range(state.shape[1] - 1, action.shape[1]):
        predicted, _ = world_model(state, action[:, : u + 1], capacity)
        state = torch.cat((state, predicted[:, -1:]), dim=1)
    return state


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("window", [1, 3, 16])
@pytest.mark.parametrize("context", [1, 4, 12])
def test_cached_rollout_equals_recomputed(context, window, gradients):
    """Without gradients the past rolls in one place, with them it grows."""
    world_model, state, action, capacity = parts(window)
    with torch.set_grad_enabled(gradients):
        rolled = world_model.rollout(state[:, :context], action, capacity)
        again = recomputed_rollout(world_model, state[:, :context], action, capacity)
    torch.testing.assert_close(rolled[:, context - 1 :], again[:, context:], atol=1e-3, rtol=1e-3)


def test_a_past_that_rolls_leaves_the_one_it_came_from_alone():
    world_model, state, action, capacity = parts()
    _, past = world_model(state[:, :4], action[:, :4], capacity)
    before = [layer.key_BMXd.clone() for layer in past.layers]
    rolling = world_model.rolling(past, 2)
    first, rolling = world_model(state[:, 4:5], action[:, 4:5], capacity, rolling)
    held = rolling.nbytes
    assert held == past.nbytes // 4 * 5, "a frame more"
    grown, _ = world_model(state[:, 4:5], action[:, 4:5], capacity, past)
    torch.testing.assert_close(first, grown, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(layer.key_BMXd, kept) for layer, kept in zip(past.layers, before, strict=True))


def test_cache_expands_over_candidates():
    world_model, state, action, capacity = parts()
    _, past = world_model(state[:, :4], action[:, :4], capacity)
    three = lambda x: x.repeat_interleave(3, dim=0)
    many, _ = world_model(three(state[:, 4:5]), three(action[:, 4:5]), three(capacity), past.expand(3))
    one, _ = world_model(state[:, 4:5], action[:, 4:5], capacity, past)
    torch.testing.assert_close(many, three(one), atol=1e-5, rtol=1e-5)


def test_rollout_refuses_fewer_actions_than_states():
    world_model, state, action, capacity = parts()
    with pytest.raises(ValueError, match="5 context states came with 3 actions"):
        world_model.rollout(state[:, :5], action[:, :3], capacity)
