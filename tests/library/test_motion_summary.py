"""Known camera motions are recovered from states and described in words."""

import pytest
import torch

from lawm_core.library.motion_summary import camera_flow_basis, describe_motion, summarize_motion
from lawm_core.model import LatentActionModel
from lawm_core.models.feature_map import feature_map_from_tokens, tokens_from_feature_map
from lawm_core.models.flow import warp
from tests.conftest import tiny_config


def move_states(state_XND: torch.Tensor, model, motion: tuple[float, float, float, float]) -> torch.Tensor:
    """Return states whose image moves by (right, down, zoom, roll), in the units of `summarize_motion`."""
    encoder = model.config.encoder
    flow_HW2 = (camera_flow_basis(encoder.map_size) @ torch.tensor(motion)).view(encoder.map_size, encoder.map_size, 2)
    backward_X2HW = -flow_HW2.permute(2, 0, 1)[None].expand(len(state_XND), -1, -1, -1)
    map_XCHW = feature_map_from_tokens(state_XND, encoder.subpatches)
    return tokens_from_feature_map(warp(map_XCHW, backward_X2HW), encoder.subpatches)


def smooth_states(model, count: int = 6) -> torch.Tensor:
    """Return states of blurred noise, which have gradients everywhere."""
    noise = torch.rand(count, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    size = (model.frame_size,) * 2
    frame_XCHW = torch.nn.functional.interpolate(noise, size=size, mode="bicubic").clamp(0, 1)
    return model.encode(frame_XCHW[:, None])[:, 0]


@pytest.fixture
def untrained_model():
    """A model whose flow reader uses its least-squares steps only, because untrained features match nothing."""
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config()).eval().requires_grad_(False)
    model.flow_reader.log_sharpness.fill_(-9.0)
    return model


def test_camera_motions_are_recovered(untrained_model):
    before_XND = smooth_states(untrained_model)
    still = summarize_motion(untrained_model, before_XND, before_XND)
    assert still[:, 5].max() == 0 and describe_motion(still[0]) == "almost still"
    for i, motion in enumerate([(0.03, 0, 0, 0), (0, -0.03, 0, 0), (0, 0, 0.06, 0), (0, 0, 0, -0.06)]):
        motion_X6 = summarize_motion(untrained_model, before_XND, move_states(before_XND, untrained_model, motion))
        mean_4 = motion_X6[:, :4].mean(dim=0)
        assert mean_4.abs().argmax() == i and 0.3 < mean_4[i] / motion[i] < 1.5


def test_descriptions_name_the_largest_component_first():
    motion_X6 = torch.tensor(
        [
            [0.04, -0.01, 0, 0, 0.1, 0.05], [0, 0, -0.1, 0, 0.1, 0.05], [0.001, 0, 0, 0, 0.9, 0.05],
            [0, 0.01, 0.018, 0.0524, 0.1, 0.05],
        ]
    )  # fmt: skip
    assert [describe_motion(motion_6) for motion_6 in motion_X6] == [
        "shifts right 4.0 %, shifts up 1.0 %",
        "zooms out 10.0 %",
        "objects move separately",
        "rotates clockwise 3.0°, shifts down 1.0 %",
    ]
