"""Laws of reading motion, and of the first language that actions have for it."""

import torch

from lawm_core.model import LatentActionModel
from lawm_core.models.cells import low_waves
from lawm_core.models.motion import refine_flow
from tests.conftest import tiny_config


def fresh() -> LatentActionModel:
    torch.manual_seed(0)
    return LatentActionModel(tiny_config()).eval().requires_grad_(False)


def test_low_waves_are_orthonormal_and_the_first_is_flat():
    wave_PN = low_waves(grid=8, waves=5)
    torch.testing.assert_close(wave_PN @ wave_PN.T, torch.eye(25), atol=1e-5, rtol=0)
    assert wave_PN[0].std() < 1e-6


def test_reader_finds_a_shift_before_any_training():
    model = fresh()
    picture = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    picture = torch.nn.functional.interpolate(picture[..., ::3, ::3], size=48, mode="bicubic").clamp(0, 1)
    # The later frame shows what lay two cells (4 pixels) to the right.
    frame_BTCHW = torch.stack((picture[..., 8:40, 8:40], picture[..., 8:40, 12:44]), dim=1)
    state = model.encode(frame_BTCHW)
    _, flow_XN2 = model.member("noisy").inverse_dynamics.motion(state[:, 0], state[:, 1])
    right, down = flow_XN2.mean(dim=(0, 1)).tolist()
    assert 1.2 < right < 2.8 and abs(down) < 0.5


def test_still_states_give_no_motion():
    model = fresh()
    state = model.encode(torch.rand(1, 1, 3, 32, 32)).expand(-1, 2, -1, -1)
    _, flow_XN2 = model.member("noisy").inverse_dynamics.motion(state[:, 0], state[:, 1])
    assert flow_XN2.mean(dim=1).abs().max() < 0.1


def test_an_action_of_a_shift_moves_another_picture_the_same_way_before_any_training():
    model = fresh()
    generator = torch.Generator().manual_seed(3)
    source, target = (
        torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12, generator=generator), size=48, mode="bicubic")
        for _ in range(2)
    )
    crop = lambda p, x: p[..., 8:40, 8 + x : 40 + x].clamp(0, 1)
    action = model.infer_actions(model.encode(torch.stack((crop(source, 0), crop(source, 4)), dim=1)))
    state = model.encode(torch.stack((crop(target, 0), crop(target, 4)), dim=1))
    moved = model.rollout(state[:, :1], action).state_BUND
    assert (moved - state[:, 1:]).abs().mean() < 0.8 * (state[:, :1] - state[:, 1:]).abs().mean()


def test_least_squares_finds_part_of_a_cell():
    line = torch.arange(32) / 3.0
    before = (torch.sin(line)[None, :] + torch.cos(line)[:, None])[None, None].expand(1, 2, 32, 32)
    after = (torch.sin(line + 0.4 / 3)[None, :] + torch.cos(line)[:, None])[None, None].expand(1, 2, 32, 32)
    flow_X2HW = refine_flow(before, after, torch.zeros(1, 2, 8, 8), stiffness=1e-4)
    assert abs(flow_X2HW[:, 0, 1:-1, 1:-1].mean() - 0.4) < 0.05 and abs(flow_X2HW[:, 1].mean()) < 0.05


def test_flat_regions_do_not_move():
    flat = torch.ones(1, 2, 32, 32)
    assert torch.equal(refine_flow(flat, flat, torch.zeros(1, 2, 8, 8)), torch.zeros(1, 2, 8, 8))
