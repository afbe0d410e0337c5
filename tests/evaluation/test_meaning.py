"""Motion in words: known motions are read as what they are."""

import pytest
import torch

from lawm_core.evaluation.meaning import Motion, camera_motions, read_motion, say_motion
from lawm_core.model import LatentActionModel
from lawm_core.models.cells import cells_from_tokens, displace, tokens_from_cells
from lawm_core.models.motion import spread_flow
from tests.conftest import tiny_config
from tests.models.test_flow_world_model import tiny_flow_config


def moved(state_XND: torch.Tensor, model, motion: tuple[float, float, float, float]) -> torch.Tensor:
    """States whose content moves by (right, down, zoom, roll), in the units of `Motion`."""
    encoder = model.config.encoder
    flow_N2 = (camera_motions(encoder.grid) @ torch.tensor(motion)).view(encoder.grid, encoder.grid, 2)
    flow_X2HW = -flow_N2.permute(2, 0, 1)[None].expand(len(state_XND), -1, -1, -1) * encoder.grid * encoder.cells
    cells_XCHW = displace(cells_from_tokens(state_XND, encoder.cells), spread_flow(flow_X2HW, encoder.cells))
    return tokens_from_cells(cells_XCHW, encoder.cells)


def smooth_states(model, count: int = 6) -> torch.Tensor:
    """States of blurred noise: something to find everywhere, and slopes that least squares can follow."""
    noise = torch.rand(count, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    size = (model.frame_size,) * 2
    frame_XCHW = torch.nn.functional.interpolate(noise, size=size, mode="bicubic").clamp(0, 1)
    return model.encode(frame_XCHW[:, None])[:, 0]


@pytest.fixture(params=[tiny_config, tiny_flow_config])
def fresh_model(request):
    """Untrained, but what reads motion finds it from the start."""
    torch.manual_seed(0)
    model = LatentActionModel(request.param()).eval().requires_grad_(False)
    if model.flow_reader is not None:
        model.flow_reader.log_sharpness.fill_(-9.0)  # features of chance match nothing: least squares alone
    return model


def test_camera_motions_are_read_back(fresh_model):
    before_XND = smooth_states(fresh_model)
    still = read_motion(fresh_model, before_XND, before_XND)
    assert still.speed_X.max() == 0 and say_motion(still.stacked()[0]) == "almost still"
    for i, motion in enumerate([(0.03, 0, 0, 0), (0, -0.03, 0, 0), (0, 0, 0.06, 0), (0, 0, 0, -0.06)]):
        read = read_motion(fresh_model, before_XND, moved(before_XND, fresh_model, motion))
        got_X4 = torch.cat((read.pan_X2, read.zoom_X[:, None], read.roll_X[:, None]), dim=1).mean(dim=0)
        assert got_X4.abs().argmax() == i and got_X4[i] * motion[i] > 0
        assert 0.3 < got_X4[i] / motion[i] < 1.5


def test_words_name_the_strongest_first():
    motion = Motion(
        torch.tensor([[0.04, -0.01], [0.0, 0.0], [0.001, 0.0]]),
        torch.tensor([0.0, -0.1, 0.0]),
        torch.tensor([0.0, 0.0, 0.0]),
        torch.tensor([0.1, 0.1, 0.9]),
        torch.tensor([0.05, 0.05, 0.05]),
    )
    assert say_motion(motion.stacked()[0]) == "moves right 4.0 %, moves up 1.0 %"
    assert say_motion(motion.stacked()[1]) == "shrinks 10.0 %"
    assert say_motion(motion.stacked()[2]) == "parts move on their own"
