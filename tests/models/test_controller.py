"""Controllers: who sees what, what a model keeps of them, and what they refuse."""

import pytest
import torch

from lawm_core.checkpoint import load_model, save_model
from lawm_core.model import LatentActionModel
from lawm_core.models.controller import ControllerConfig
from lawm_core.models.flow import flow_from_coefficients
from lawm_core.models.flow_reader import token_flow
from lawm_core.models.inverse_dynamics import FlowInverseDynamicsConfig
from lawm_core.models.place_reader import PlaceReader
from tests.conftest import TINY_BLOCK, shake, tiny_config
from tests.models.test_flow_world_model import tiny_flow_config

ROBOT = {"names": ("dx", "dy"), "units": ("m", "rad"), "limits": (0.1, 0.2), "spread": (0.05, 0.1), "block": TINY_BLOCK}


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config(families=("noisy", "discrete", "deterministic"))).eval()
    model.add_robot("seeing", ControllerConfig(**ROBOT))
    model.add_robot("asking", ControllerConfig(**ROBOT, kind="attention"))
    model.add_robot("blind", ControllerConfig(**ROBOT, kind="action"))
    shake(model)
    return model


def test_two_see_the_state_and_one_does_not(model):
    known_BUK = torch.randn(2, 3, 2)
    one, other = torch.randn(2, 2, 3, 16, 64).unbind(0)
    for robot in model.robots:
        assert not torch.allclose(model.control(known_BUK, one, robot), model.control(known_BUK, other, robot))
    assert model.robots == ("seeing", "asking")
    assert torch.equal(model.control(known_BUK, one, "blind"), model.control(known_BUK, other, "blind"))


@pytest.mark.parametrize("robot", ["seeing", "asking", "blind"])
def test_each_moment_is_answered_on_its_own(model, robot):
    known_BUK, state_BUND = torch.randn(2, 3, 2), torch.randn(2, 3, 16, 64)
    whole = model.control(known_BUK, state_BUND, robot, capacity=0.4)
    part = model.control(known_BUK[1:, 2:], state_BUND[1:, 2:], robot, capacity=0.4)
    assert whole.shape == (2, 3, 8) and torch.allclose(whole[1:, 2:], part, atol=1e-5)


def test_a_discrete_family_gets_codes(model):
    action_BUA = model.control(torch.randn(4, 3, 2), torch.randn(4, 3, 16, 64), "seeing", family="discrete")
    capacity_B = torch.ones(12)
    assert torch.equal(
        action_BUA.flatten(0, 1), model.member("discrete").bottleneck.settle(action_BUA.flatten(0, 1), capacity_B)
    )


@pytest.mark.parametrize("name", ["noisy", "sparse"])
def test_a_controller_of_places_starts_as_inverse_dynamics_that_sees_nothing_follow(name):
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config(families=(name,))).eval()
    model.add_robot("seeing", ControllerConfig(**ROBOT))
    shake(model)
    family, controller = model.member(name), model.controllers["seeing"][name]
    seen = family.inverse_dynamics
    for silent in (seen.embed_scores, seen.embed_flow, seen.coarse, controller.reader.flow):
        for weight in silent.parameters():
            weight.data.zero_()
    for weight in controller.embed[-1].parameters():
        weight.data.zero_()
    controller.start_from(family)
    state_B1ND, capacity_B = torch.randn(3, 1, 16, 64), torch.tensor([0.0, 0.4, 1.0])
    with torch.no_grad():
        seen_B1A = family.infer(state_B1ND.expand(-1, 2, -1, -1), capacity_B).action_BUA
        told_B1A = controller(torch.randn(3, 1, 2), state_B1ND, capacity_B)
    assert seen_B1A.std() > 0.01 and torch.allclose(told_B1A, seen_B1A, atol=1e-4)


def test_with_optical_flow_it_starts_as_inverse_dynamics_of_a_still_scene():
    model = LatentActionModel(tiny_flow_config()).eval()
    model.add_robot("seeing", ControllerConfig(**ROBOT))
    shake(model)
    family, controller = model.member("noisy"), model.controllers["seeing"]["noisy"]
    for silent in (family.inverse_dynamics.embed_flow, controller.reader.flow, controller.embed[-1]):
        for weight in silent.parameters():
            weight.data.zero_()
    controller.start_from(family)
    state_B1ND, capacity_B = torch.randn(3, 1, 16, 64), torch.tensor([0.0, 0.3, 0.6])
    with torch.no_grad():
        seen_B1A = family.infer(state_B1ND.expand(-1, 2, -1, -1), capacity_B, torch.zeros(3, 1, 2, 8, 8)).action_BUA
        told_B1A = controller(torch.randn(3, 1, 2), state_B1ND, capacity_B)
    assert seen_B1A.std() > 1e-3 and torch.allclose(told_B1A, seen_B1A, atol=1e-5)


def test_another_familys_controller_is_taken_over_in_the_own_language(model):
    first, second = (model.controllers["seeing"][name] for name in ("noisy", "discrete"))
    family = model.member("discrete")
    second.start_from(family, first)
    assert torch.equal(second.embed[0].weight, first.embed[0].weight)
    assert torch.equal(second.reader.blocks[0].mlp.widen.weight, first.reader.blocks[0].mlp.widen.weight)
    assert torch.equal(second.reader.out.weight, family.inverse_dynamics.out.weight)


def test_controllers_are_kept_with_the_model(model, tmp_path):
    again = load_model(save_model(model, tmp_path / "model"))
    known_BUK, state_BUND = torch.randn(1, 2, 2), torch.randn(1, 2, 16, 64)
    for robot in model.config.robots:
        for family in model.families:
            assert torch.equal(
                again.control(known_BUK, state_BUND, robot, family), model.control(known_BUK, state_BUND, robot, family)
            )
    assert again.robot("blind") == model.robot("blind")


def test_what_cannot_be_answered_is_named(model):
    state_BUND = torch.randn(1, 1, 16, 64)
    with pytest.raises(ValueError, match="robot 'arm' is not in model 'tiny'; it has: seeing, asking, blind"):
        model.control(torch.randn(1, 1, 2), state_BUND, "arm")
    with pytest.raises(ValueError, match="3 numbers an action came; seeing takes: dx, dy"):
        model.control(torch.randn(1, 1, 3), state_BUND, "seeing")
    with pytest.raises(ValueError, match="spreads above 0"):
        ControllerConfig(**{**ROBOT, "spread": (0.0, 1.0)})


def test_motion_of_parts_of_tokens_gives_the_cosines_that_inverse_dynamics_reads():
    geometry = tiny_flow_config().encoder
    reader = PlaceReader(FlowInverseDynamicsConfig(block=TINY_BLOCK, depth=1, readout=4), geometry, 2 * 8**2)
    assert (geometry.grid, geometry.cells, reader.waves, reader.places) == (4, 4, 8, 2)
    coefficient = torch.zeros(3, 2, 8, 8)
    coefficient[:, :, :2, :2] = torch.randn(3, 2, 2, 2)
    flow_X2HW = flow_from_coefficients(coefficient.flatten(1), 8, reader.grid * reader.places)
    told_XA = reader.encode_flow(token_flow(flow_X2HW * reader.cells_across, reader.grid))
    torch.testing.assert_close(told_XA, coefficient.flatten(1), atol=1e-4, rtol=0)
