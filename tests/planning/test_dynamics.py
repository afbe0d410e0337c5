"""A shared context, chunks and controllers in the loop do not change the states that a plan leads to."""

import pytest
import torch
from torch import Tensor

from lawm_core.model import LatentActionModel
from lawm_core.models.controller import ControllerConfig
from lawm_core.planning.dynamics import ControllerDynamics, SimulatorDynamics, WorldModelDynamics
from lawm_core.planning.rollout_state import RolloutState
from tests.conftest import TINY_BLOCK, build_tiny_model, shake
from tests.toy_world import ToyWorld

ROBOT = ControllerConfig(names=("dx", "dy"), units=("m", "m"), limits=(0.1, 0.1), std=(0.05, 0.02), block=TINY_BLOCK)


@pytest.fixture(params=["noisy", "discrete"])
def model(request) -> LatentActionModel:
    """Weights are as small as trained ones: larger ones would amplify rounding."""
    model = build_tiny_model(0.05, families=(request.param,))
    model.add_robot("toy", ROBOT)
    shake(model.controllers, 0.15)
    return model.eval().requires_grad_(False)


def context(model: LatentActionModel, frames: int, clips: int = 1) -> tuple[Tensor, Tensor | None]:
    """Return state_BTND of random frames and the actions between them, None for one frame."""
    torch.manual_seed(1)
    state_BTND = model.encode(torch.rand(clips, frames, 3, 32, 32))
    return state_BTND, model.at().infer_actions(state_BTND) if frames > 1 else None


def start(model: LatentActionModel, frames: int, robot: str | None = None) -> RolloutState:
    return model.at().start_rollout(*context(model, frames), robot=robot)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_shared_context_equals_a_repeated_one(model, frames):
    state_1TND, action_1UA = context(model, frames)
    plan_SKA = torch.randn(5, 3, 8)
    shared_SKND = start(model, frames).repeat(5).predict(plan_SKA)
    before_SUA = plan_SKA[:, :0] if action_1UA is None else action_1UA.expand(5, -1, -1)
    action_SUA = torch.cat((before_SUA, plan_SKA), dim=1)
    repeated_SKND = model.at().rollout(state_1TND.expand(5, -1, -1, -1), action_SUA).state_BUND
    assert shared_SKND.shape == (5, 3, 16, 64) and torch.allclose(shared_SKND, repeated_SKND, atol=1e-4)


def test_predict_returns_the_states_of_rollout(model):
    plan_1KA = torch.randn(1, 3, 8)
    rollout = start(model, 2).rollout(plan_1KA)
    assert torch.equal(rollout.state_BUND, start(model, 2).predict(plan_1KA))
    assert rollout.flow_BU2HW.shape == (1, 3, 2, 16, 16) and rollout.visible_BU1HW.shape == (1, 3, 1, 16, 16)
    assert torch.equal(rollout.start_BND, context(model, 2)[0][:, -1])


def test_chunks_within_a_memory_limit_change_nothing(model):
    plan_SKA = torch.randn(7, 2, 8)
    at_once = WorldModelDynamics(start=start(model, 3))
    one_by_one = WorldModelDynamics(start=start(model, 3), memory_bytes=1)
    assert one_by_one.chunk_size(2) == 1 < 7 < at_once.chunk_size(2)
    final_SND = at_once.unroll(plan_SKA)
    assert torch.allclose(final_SND, one_by_one.unroll(plan_SKA), atol=1e-5) and final_SND.std(dim=0).mean() > 0.1


def test_a_controller_sees_each_state_in_which_it_acts(model):
    bound, (state_1TND, action_1UA) = model.at(), context(model, 2)
    plan_1KR = torch.randn(1, 2, 2) * 0.05
    state_1KND = start(model, 2, "toy").predict(plan_1KR)
    first = bound.control(plan_1KR[:, :1], state_1TND[:, -1:], "toy")
    second = bound.control(plan_1KR[:, 1:], state_1KND[:, :1], "toy")
    expected_1KND = bound.rollout(state_1TND, torch.cat((action_1UA, first, second), dim=1)).state_BUND
    assert torch.allclose(state_1KND, expected_1KND, atol=1e-4)


def test_a_rollout_can_be_continued_from_any_earlier_state(model):
    """Steps do not change the state that they start from, so undo means keeping a list."""
    first = start(model, 3, "toy")
    left, right = torch.tensor([[0.1, 0.0]]), torch.tensor([[-0.1, 0.05]])
    once = first.step(left).step(right).state_BND
    first.step(right).step(right)
    first.predict(torch.stack((right, left), dim=1))
    assert torch.equal(first.step(left).step(right).state_BND, once)


def test_clips_of_a_batch_are_independent(model):
    state_BTND, action_BUA = context(model, 2, clips=3)
    control_BR = torch.randn(3, 2) * 0.05
    together_BND = model.at().start_rollout(state_BTND, action_BUA, robot="toy").step(control_BR).state_BND
    for b in range(3):
        alone = model.at().start_rollout(state_BTND[b : b + 1], action_BUA[b : b + 1], robot="toy")
        assert torch.allclose(alone.step(control_BR[b : b + 1]).state_BND[0], together_BND[b], atol=1e-5)


def test_a_reset_reference_is_the_current_state(model):
    """Nothing is moved or hidden relative to it, and the cache of earlier frames is kept."""
    moved = start(model, 2).apply(torch.randn(1, 8))
    reset = moved.reset_reference()
    assert torch.equal(reset.reference_BND, moved.state_BND) and reset.cache is moved.cache
    assert reset.carry.flow_X2HW.abs().max() == 0 and reset.visible_fraction == 1 > moved.visible_fraction
    assert torch.equal(reset.current.start_BND, reset.current.state_BUND[:, 0])


def test_a_context_without_the_actions_between_its_states_raises(model):
    state_1TND, action_1UA = context(model, 3)
    with pytest.raises(ValueError, match="3 context states need 2 actions between them, got 1"):
        model.at().start_rollout(state_1TND, action_1UA[:, :1])
    with pytest.raises(ValueError, match="3 context states need 2 actions between them, got 0"):
        model.at().start_rollout(state_1TND)


def test_the_simulator_executes_every_plan_from_the_same_state():
    def world_after_one_step() -> ToyWorld:
        world = ToyWorld()
        world.reset(4)
        world.step(torch.tensor([1.0, 2.0]).numpy())
        return world

    world = world_after_one_step()
    plan_SKR = torch.randint(-2, 3, (6, 3, 2), generator=torch.Generator().manual_seed(0)).float()
    final_SND = SimulatorDynamics(world, world.save(), lambda frame_SCHW: frame_SCHW.flatten(2)).unroll(plan_SKR)
    for plan_KR, final_ND in zip(plan_SKR, final_SND, strict=True):
        alone = world_after_one_step()
        frame_CHW = [alone.step(action_R) for action_R in plan_KR.numpy()][-1]
        assert torch.equal(final_ND, frame_CHW.flatten(1))


def test_controller_dynamics_return_latent_actions(model):
    state_11ND, _ = context(model, 1)
    plan_S1R = torch.randn(5, 1, 2) * 0.05
    latent_S1A = ControllerDynamics(start(model, 1, "toy")).unroll(plan_S1R)
    expected_S1A = model.at().control(plan_S1R, state_11ND.expand(5, -1, -1, -1), "toy")
    assert torch.allclose(latent_S1A, expected_S1A, atol=1e-5)
