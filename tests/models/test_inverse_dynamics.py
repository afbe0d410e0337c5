"""Inverse dynamics: actions start as the coefficients of the flow and are corrected by what the tokens show."""

import dataclasses

import torch
import torch.nn.functional as F

from lawm_core.model import LatentActionModel
from lawm_core.models.feature_map import tokens_from_feature_map
from lawm_core.models.flow import flow_coefficients
from lawm_core.models.inverse_dynamics import CORRECTION_UNIT, encode_flow, flow_tokens
from tests.conftest import build_tiny_model, tiny_config

ACTION_WIDTH = 32  # 4 x 4 cosines
CAPACITY = torch.tensor([0.0, 0.4, 1.0])


def untrained(family: str = "noisy") -> LatentActionModel:
    """Return a model without added noise and with actions of ACTION_WIDTH dimensions."""
    torch.manual_seed(0)
    config = tiny_config(families=(family,))
    bottleneck = dataclasses.replace(config.families[family].bottleneck, action_width=ACTION_WIDTH)
    families = {family: dataclasses.replace(config.families[family], bottleneck=bottleneck)}
    return LatentActionModel(dataclasses.replace(config, families=families)).eval().requires_grad_(False)


def random_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """Return state_BTND and flow_BU2HW of 3 clips of 3 frames."""
    generator = torch.Generator().manual_seed(1)
    state_BTND = torch.randn(3, 3, 16, 64, generator=generator)
    return state_BTND, torch.randn(3, 2, 2, 16, 16, generator=generator) * 0.05


def test_untrained_actions_are_the_coefficients_of_the_flow():
    inverse_dynamics = untrained().families["noisy"].inverse_dynamics
    state_BTND, flow_BU2HW = random_inputs()
    input_BUX = inverse_dynamics(state_BTND, flow_BU2HW, CAPACITY)
    expected = flow_coefficients(flow_BU2HW.flatten(0, 1), 4).unflatten(0, (3, 2))
    torch.testing.assert_close(input_BUX[..., :ACTION_WIDTH], expected)
    assert input_BUX.shape == (3, 2, 2 * ACTION_WIDTH) and input_BUX[..., ACTION_WIDTH:].abs().max() == 0


def test_unused_action_dimensions_start_at_zero():
    action_XA = encode_flow(torch.randn(5, 2, 16, 16), basis_size=3, action_width=ACTION_WIDTH)
    assert action_XA.shape == (5, ACTION_WIDTH) and action_XA[:, 18:].abs().max() == 0 < action_XA[:, :18].abs().min()


def test_corrections_decrease_with_capacity_and_vanish_at_full_capacity():
    inverse_dynamics = untrained().families["noisy"].inverse_dynamics
    state_BTND, flow_BU2HW = random_inputs()
    before = inverse_dynamics(state_BTND, flow_BU2HW, CAPACITY)
    torch.nn.init.ones_(inverse_dynamics.action_readout.out.bias)
    correction_B = (inverse_dynamics(state_BTND, flow_BU2HW, CAPACITY) - before).mean(dim=(1, 2))
    torch.testing.assert_close(correction_B, CORRECTION_UNIT * (1 - CAPACITY), atol=1e-6, rtol=0)
    torch.testing.assert_close(inverse_dynamics.correction_scale(CAPACITY)[:, 0], correction_B, atol=1e-6, rtol=0)


def test_corrections_depend_on_both_states_on_the_flow_and_on_capacity():
    inverse_dynamics = build_tiny_model().families["noisy"].inverse_dynamics
    state_BTND, flow_BU2HW = random_inputs()
    flow_BU2HW[:, :, :, ::2] *= -1  # with high frequencies, which the few coefficients do not hold
    before = inverse_dynamics(state_BTND, flow_BU2HW, CAPACITY)
    for frame in (0, 2):
        changed_BTND = state_BTND.clone()
        changed_BTND[:, frame] = torch.randn_like(changed_BTND[:, frame])
        difference_BU = (inverse_dynamics(changed_BTND, flow_BU2HW, CAPACITY) - before).abs().amax(dim=2)
        transition = min(frame, 1)
        assert difference_BU[:, transition].min() > 1e-4 and difference_BU[:, 1 - transition].max() == 0
    readout = inverse_dynamics.action_readout
    readout.action_gain.gain_KA.zero_()  # only the correction is left
    corrections = [inverse_dynamics(state_BTND, flow_BU2HW, c) for c in (CAPACITY, torch.tensor([0.1, 0.5, 0.9]))]
    assert (corrections[0] - corrections[1]).abs().amax(dim=(1, 2)).min() > 1e-5
    without_flow = inverse_dynamics(state_BTND, torch.zeros_like(flow_BU2HW), CAPACITY)
    assert (corrections[0] - without_flow).abs().amax(dim=(1, 2)).min() > 1e-5


def test_gradients_reach_the_readout_before_training():
    inverse_dynamics = untrained().families["noisy"].inverse_dynamics.requires_grad_(True)
    state_BTND, flow_BU2HW = random_inputs()
    inverse_dynamics(state_BTND, flow_BU2HW, CAPACITY).square().sum().backward()
    readout = inverse_dynamics.action_readout
    assert readout.out.weight.grad.abs().max() > 0 and readout.action_gain.gain_KA.grad.abs().max() > 0


def test_an_action_inferred_from_a_shift_shifts_another_clip_before_training():
    """Inverse dynamics encodes a flow as the world model decodes it, without any training."""
    noisy = untrained().at("noisy")
    generator = torch.Generator().manual_seed(3)
    maps = F.interpolate(torch.randn(2, 64, 3, 3, generator=generator), size=12, mode="bicubic")
    crop = lambda x: maps[..., 2:10, 2 + x : 10 + x]  # 8 x 8, of which each token covers 2 x 2
    state_BTND = torch.stack([tokens_of(crop(x)) for x in (0, 1)], dim=1)
    flow_BU2HW = torch.zeros(1, 1, 2, 16, 16)
    flow_BU2HW[:, :, 0] = 1 / 8
    action_BUA = noisy.infer_actions(state_BTND[:1], flow_BU2HW)
    predicted_BND = noisy.rollout(state_BTND[1:, :1], action_BUA).state_BUND[:, 0]
    start_BND, true_BND = state_BTND[1:, 0], state_BTND[1:, 1]
    assert (predicted_BND - true_BND).abs().mean() < 0.5 * (start_BND - true_BND).abs().mean()


def tokens_of(map_XCHW: torch.Tensor) -> torch.Tensor:
    """Return tokens of 64 channels, (X, 16, 64), whose sub-patches are a map of 8 x 8 positions repeated to 16 x 16."""
    return tokens_from_feature_map(map_XCHW[:, :4].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), 4)


def test_flow_tokens_gather_the_vectors_inside_each_token():
    flow_X2HW = torch.arange(2.0 * 8 * 8).view(1, 2, 8, 8)
    token_XNC = flow_tokens(flow_X2HW, grid=4)
    assert token_XNC.shape == (1, 16, 8)
    assert torch.equal(token_XNC[0, 1 * 4 + 2], flow_X2HW[0, :, 2:4, 4:6].flatten())
