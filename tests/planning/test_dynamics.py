"""Shared context, passes under a memory cap and controllers in the loop change how plans are computed, not what."""

import pytest
import torch

from lawm_core.model import LatentActionModel
from lawm_core.models.controller import ControllerConfig
from lawm_core.planning.dynamics import ControllerDynamics, SimulatorDynamics, WorldModelDynamics
from tests.conftest import TINY_BLOCK, shake, tiny_config
from tests.worlds.test_lerobot import ToyWorld

ROBOT = ControllerConfig(names=("dx", "dy"), units=("m", "m"), limits=(0.1, 0.1), spread=(0.05, 0.02), block=TINY_BLOCK)


@pytest.fixture(params=["noisy", "discrete"])
def model(request):
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config(families=(request.param,))).eval()
    shake(model, 0.07)  # as calm as trained weights are: wilder ones blow rounding up
    model.add_robot("toy", ROBOT)
    shake(model.controllers, 0.15)
    return model


def context(model, frames, clips=1):
    torch.manual_seed(1)
    state_BCND = model.encode(torch.rand(clips, frames, 3, 32, 32)).detach()
    return state_BCND, model.infer_actions(state_BCND).detach() if frames > 1 else None


def present(model, frames, robot=None):
    return model.begin(*context(model, frames), robot=robot)


@pytest.mark.parametrize("frames", [1, 3])
def test_shared_context_gives_what_repeated_context_gives(model, frames):
    state_1CND, action_1cA = context(model, frames)
    plan_SHA = torch.randn(5, 3, 8)
    shared = present(model, frames).expand(5).follow(plan_SHA)
    past_ScA = plan_SHA[:, :0] if action_1cA is None else action_1cA.expand(5, -1, -1)
    repeated = model.rollout(state_1CND.expand(5, -1, -1, -1), torch.cat((past_ScA, plan_SHA), dim=1)).state_BUND
    assert shared.shape == (5, 3, 16, 64) and torch.allclose(shared, repeated, atol=1e-4)


def test_passes_under_a_memory_cap_change_nothing(model):
    plan_SHA = torch.randn(7, 2, 8)
    roomy, tight = WorldModelDynamics(present(model, 3)), WorldModelDynamics(present(model, 3), memory_bytes=1)
    assert tight.chunk(2) == 1 < roomy.chunk(2)
    end_SND = roomy.unroll(plan_SHA)
    assert torch.allclose(end_SND, tight.unroll(plan_SHA), atol=1e-5) and end_SND.std(dim=0).mean() > 0.1


def test_a_controller_sees_each_state_it_acts_in(model):
    state_1CND, action_1cA = context(model, 2)
    plan_1HK = torch.randn(1, 2, 2) * 0.05
    states = present(model, 2, "toy").follow(plan_1HK)
    first = model.control(plan_1HK[:, :1], state_1CND[:, -1:], "toy")
    second = model.control(plan_1HK[:, 1:], states[:, :1], "toy")
    by_hand = model.rollout(state_1CND, torch.cat((action_1cA, first, second), dim=1)).state_BUND
    assert torch.allclose(states, by_hand, atol=1e-4)


def test_a_present_can_be_gone_on_from_twice(model):
    """Undo: steps taken from a present leave it as it was."""
    start = present(model, 3, "toy")
    left, right = torch.tensor([[0.1, 0.0]]), torch.tensor([[-0.1, 0.05]])
    once = start.step(left).step(right).state_BND
    start.step(right).step(right)
    assert torch.equal(start.step(left).step(right).state_BND, once)


def test_several_clips_step_together(model):
    state_BCND, action_BcA = context(model, 2, clips=3)
    told_BK = torch.randn(3, 2) * 0.05
    together = model.begin(state_BCND, action_BcA, robot="toy").step(told_BK).state_BND
    for b in range(3):
        alone = model.begin(state_BCND[b : b + 1], action_BcA[b : b + 1], robot="toy")
        assert torch.allclose(alone.step(told_BK[b : b + 1]).state_BND[0], together[b], atol=1e-5)


def test_a_context_needs_the_actions_between_its_states(model):
    state_1CND, action_1cA = context(model, 3)
    with pytest.raises(ValueError, match="3 context states came with 1"):
        model.begin(state_1CND, action_1cA[:, :1])


def test_the_simulator_goes_every_plan_from_the_same_moment():
    world = ToyWorld()
    world.reset(4)
    world.step(torch.tensor([1.0, 2.0]).numpy())
    plan_SHK = torch.randint(-2, 3, (6, 3, 2), generator=torch.Generator().manual_seed(0)).float()
    end_SND = SimulatorDynamics(world, world.save(), lambda frame_SCHW: frame_SCHW.flatten(2)).unroll(plan_SHK)
    for plan_HK, end_ND in zip(plan_SHK, end_SND, strict=True):
        again = ToyWorld()
        again.reset(4)
        again.step(torch.tensor([1.0, 2.0]).numpy())
        for action_K in plan_HK.numpy():
            frame_CHW = again.step(action_K)
        assert torch.equal(end_ND, frame_CHW.flatten(1))


def test_a_controller_alone_answers_with_its_latent_actions(model):
    state_11ND, _ = context(model, 1)
    known_S1K = torch.randn(5, 1, 2) * 0.05
    alone = ControllerDynamics(present(model, 1, "toy")).unroll(known_S1K)
    assert torch.allclose(alone, model.control(known_S1K, state_11ND.expand(5, -1, -1, -1), "toy"), atol=1e-5)
