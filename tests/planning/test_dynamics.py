"""Shared context, passes under a memory cap and controllers in the loop change how plans are computed, not what."""

import pytest
import torch

from lawm_core.model import LatentActionModel
from lawm_core.models.controller import ControllerConfig
from lawm_core.planning.dynamics import DynamicsConfig, WorldModelDynamics
from tests.conftest import TINY_BLOCK, shake, tiny_config

ROBOT = ControllerConfig(names=("dx", "dy"), units=("m", "m"), limits=(0.1, 0.1), spread=(0.05, 0.02), block=TINY_BLOCK)


@pytest.fixture(params=["noisy", "discrete"])
def model(request):
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config(families=(request.param,))).eval()
    model.add_robot("toy", ROBOT)
    shake(model, 0.15)
    return model


def present(model, frames):
    torch.manual_seed(1)
    state_CND = model.encode(torch.rand(1, frames, 3, 32, 32))[0].detach()
    action_cA = model.infer_actions(state_CND[None])[0].detach() if frames > 1 else torch.zeros(0, 8)
    return state_CND, action_cA


@pytest.mark.parametrize("frames", [1, 3])
def test_shared_context_gives_what_repeated_context_gives(model, frames):
    state_CND, action_cA = present(model, frames)
    member = model.member(None)
    plan_SHA = torch.randn(5, 3, 8)
    shared = WorldModelDynamics(member, state_CND, action_cA, DynamicsConfig(bf16=False)).states(plan_SHA)
    action_SUA = torch.cat((action_cA.expand(5, -1, -1), plan_SHA), dim=1)
    repeated = model.rollout(state_CND.expand(5, -1, -1, -1), action_SUA)
    assert shared.shape == (5, 3, 16, 64) and torch.allclose(shared, repeated, atol=1e-4)


def test_passes_under_a_memory_cap_change_nothing(model):
    state_CND, action_cA = present(model, 3)
    member, plan_SHA = model.member(None), torch.randn(7, 2, 8)
    roomy = WorldModelDynamics(member, state_CND, action_cA, DynamicsConfig(bf16=False))
    tight = WorldModelDynamics(member, state_CND, action_cA, DynamicsConfig(bf16=False, memory_bytes=1))
    assert tight.chunk(2) == 1 < roomy.chunk(2)
    assert torch.allclose(roomy.unroll(plan_SHA), tight.unroll(plan_SHA), atol=1e-5)


def test_a_controller_sees_each_state_it_acts_in(model):
    state_CND, action_cA = present(model, 2)
    member, controller = model.member(None), model.controllers["toy"][model.families[0]]
    dynamics = WorldModelDynamics(member, state_CND, action_cA, DynamicsConfig(bf16=False), controller)
    plan_SHK = torch.randn(1, 2, 2) * 0.05
    states = dynamics.states(plan_SHK)
    first = model.control(plan_SHK[:, :1], state_CND[None, -1:], "toy")
    second = model.control(plan_SHK[:, 1:], states[:, :1], "toy")
    by_hand = model.rollout(state_CND[None], torch.cat((action_cA[None], first, second), dim=1))
    assert torch.allclose(states, by_hand, atol=1e-4)


def test_a_context_needs_the_actions_between_its_states(model):
    state_CND, action_cA = present(model, 3)
    with pytest.raises(ValueError, match="3 context states came with 1"):
        WorldModelDynamics(model.member(None), state_CND, action_cA[:1], DynamicsConfig())
