"""Controllers: what they depend on, how they are initialised and stored, and which inputs raise."""

import pytest
import torch

from lawm_core.checkpoint import load_model, save_model
from lawm_core.model import LatentActionModel
from lawm_core.models.controller import MIN_GAIN, ControllerConfig, FlowController
from lawm_core.models.flow import flow_coefficients, flow_from_coefficients
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.inverse_dynamics import InverseDynamicsConfig, flow_tokens
from tests.conftest import TINY_BLOCK, build_tiny_model, shake, tiny_config

ROBOT = {"names": ("dx", "dy"), "units": ("m", "rad"), "limits": (0.1, 0.2), "std": (0.05, 0.1), "block": TINY_BLOCK}
KINDS = ("flow", "attention", "action")  # each is also the name of a robot with controllers of this kind


@pytest.fixture
def model() -> LatentActionModel:
    model = build_tiny_model(families=("noisy", "discrete", "deterministic"))
    for kind in KINDS:
        model.add_robot(kind, ControllerConfig(**ROBOT, kind=kind))
    shake(model.controllers)
    return model.eval().requires_grad_(False)


def test_actions_depend_on_the_state_unless_the_kind_is_action(model):
    noisy, robot_action_BUR = model.at(), torch.randn(2, 3, 2)
    states = torch.randn(2, 2, 3, 16, 64).unbind(0)
    for kind in KINDS:
        first, second = (noisy.control(robot_action_BUR, state_BUND, kind) for state_BUND in states)
        assert torch.equal(first, second) is (kind == "action"), kind
    assert model.robots == ("flow", "attention"), "robots whose controllers do not see the state are left out"


@pytest.mark.parametrize("kind", KINDS)
def test_transitions_are_independent_of_each_other(model, kind):
    noisy, robot_action_BUR, state_BUND = model.at("noisy", 0.4), torch.randn(2, 3, 2), torch.randn(2, 3, 16, 64)
    whole = noisy.control(robot_action_BUR, state_BUND, kind)
    part = noisy.control(robot_action_BUR[1:, 2:], state_BUND[1:, 2:], kind)
    assert whole.shape == (2, 3, 8) and torch.allclose(whole[1:, 2:], part, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_actions_depend_on_the_robot_action_and_on_capacity(model, kind):
    robot_action_BUR, state_BUND = torch.randn(2, 3, 2), torch.randn(2, 3, 16, 64)
    before = model.at("noisy", 0.4).control(robot_action_BUR, state_BUND, kind)
    assert not torch.allclose(model.at("noisy", 0.4).control(-robot_action_BUR, state_BUND, kind), before, atol=1e-4)
    assert not torch.allclose(model.at("noisy", 0.9).control(robot_action_BUR, state_BUND, kind), before, atol=1e-4)


def test_controllers_of_a_discrete_family_return_codes(model):
    discrete = model.at("discrete", 0.5)
    bottleneck = discrete.family.bottleneck
    torch.nn.init.normal_(bottleneck.code_ZA)
    bottleneck.idle_Z.zero_()
    action_BUA = discrete.control(torch.randn(4, 3, 2), torch.randn(4, 3, 16, 64), "flow")
    codes_ZA = bottleneck.code_ZA[: int(bottleneck.size(torch.tensor(0.5)))]
    assert torch.cdist(action_BUA.flatten(0, 1), codes_ZA).amin(dim=1).max() < 1e-5
    assert torch.equal(action_BUA, discrete.project(action_BUA))


@pytest.mark.parametrize("name", ["noisy", "sparse"])
def test_a_flow_controller_starts_as_inverse_dynamics_of_a_scene_at_rest(name):
    """Without the parts that inverse dynamics and the controller do not share, both give the same actions."""
    model = build_tiny_model(families=(name,))
    model.add_robot("flow", ControllerConfig(**ROBOT))
    shake(model.controllers)
    family, controller = model.families[name], model.controllers["flow"][name]
    for part in (family.inverse_dynamics.embed_flow, controller.flow, controller.embed[-1]):
        for weight in part.parameters():
            torch.nn.init.zeros_(weight)
    controller.start_from(family)
    state_B1ND, capacity_B = torch.randn(3, 1, 16, 64), torch.tensor([0.0, 0.25, 0.5])
    assert family.inverse_dynamics.correction_scale(capacity_B).min() > MIN_GAIN, "gains are not clamped here"
    with torch.no_grad():
        state_B2ND, flow_B12HW = state_B1ND.expand(-1, 2, -1, -1), torch.zeros(3, 1, 2, 8, 8)
        inferred_B1A = family.infer(state_B2ND, flow_B12HW, capacity_B).action_BUA
        controlled_B1A = controller(torch.randn(3, 1, 2), state_B1ND, capacity_B)
    assert inferred_B1A.std() > 1e-3 and torch.allclose(controlled_B1A, inferred_B1A, atol=1e-5)


def test_a_controller_can_start_from_that_of_another_family_with_its_own_readout(model):
    first, second = (model.controllers["flow"][name] for name in ("noisy", "discrete"))
    family = model.families["discrete"]
    second.start_from(family, first)
    assert torch.equal(second.embed[0].weight, first.embed[0].weight)
    own, other = (c.action_readout for c in (second, first))
    assert torch.equal(own.transformer.blocks[0].mlp.widen.weight, other.transformer.blocks[0].mlp.widen.weight)
    assert torch.equal(own.out.weight, family.inverse_dynamics.action_readout.out.weight)
    assert torch.equal(own.action_gain.gain_KA, family.inverse_dynamics.action_readout.action_gain.gain_KA)


def test_an_attention_controller_can_start_from_that_of_another_family(model):
    first, second = (model.controllers["attention"][name] for name in ("noisy", "discrete"))
    second.start_from(model.families["discrete"], first)
    for name, weight in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], weight), name


def test_controllers_are_saved_with_the_model(model, tmp_path):
    loaded = load_model(save_model(model, tmp_path / "model"))
    robot_action_BUR, state_BUND = torch.randn(1, 2, 2), torch.randn(1, 2, 16, 64)
    for robot in model.config.robots:
        for family in model.family_names:
            expected, found = (m.at(family).control(robot_action_BUR, state_BUND, robot) for m in (model, loaded))
            assert torch.equal(found, expected)
    assert loaded.robot("action") == model.robot("action")


def test_unknown_robots_and_actions_of_another_width_raise(model):
    noisy, state_BUND = model.at(), torch.randn(1, 1, 16, 64)
    unknown = "robot must be one of flow, attention, action for tiny, got 'arm'"
    with pytest.raises(ValueError, match=unknown):
        noisy.control(torch.randn(1, 1, 2), state_BUND, "arm")
    with pytest.raises(ValueError, match=unknown):
        noisy.start_rollout(state_BUND, robot="arm")
    with pytest.raises(ValueError, match=r"an action of flow has 2 dimensions \(dx, dy\), got 3"):
        noisy.control(torch.randn(1, 1, 3), state_BUND, "flow")
    with pytest.raises(ValueError, match="robot must be one of no robot for tiny"):
        LatentActionModel(tiny_config()).robot("arm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std": (0.0, 1.0)}, "std must be above 0 for every action dimension"),
        ({"units": ("m",)}, "must have the same length of at least 1"),
        ({"kind": "telepathy"}, "kind must be one of flow, attention, action, got 'telepathy'"),
    ],
)
def test_invalid_configs_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        ControllerConfig(**ROBOT | changes)


def test_the_flow_of_tokens_is_encoded_as_inverse_dynamics_encodes_flow():
    geometry = FrameGeometry(frame_size=32, patch_size=8, width=64, subpatches=4)
    sizes = InverseDynamicsConfig(block=TINY_BLOCK, depth=1, readout=4)
    controller = FlowController(ControllerConfig(**ROBOT), geometry, 2 * 8**2, sizes)
    assert (controller.basis_size, controller.patches, controller.map_size) == (8, 2, 16)
    coefficient = torch.zeros(3, 2, 8, 8)
    coefficient[:, :, :2, :2] = torch.randn(3, 2, 2, 2)
    flow_X2HW = flow_from_coefficients(coefficient.flatten(1), 8, geometry.grid * controller.patches)
    action_XA = controller.encode_flow(flow_tokens(flow_X2HW * controller.map_size, geometry.grid))
    torch.testing.assert_close(action_XA, coefficient.flatten(1), atol=1e-4, rtol=0)
    torch.testing.assert_close(action_XA, flow_coefficients(flow_X2HW, 8), atol=1e-4, rtol=0)
