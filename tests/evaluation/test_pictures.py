"""Measures of pictures on toys that try to fool them, and the suite on a tiny model with flow."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from lawm_core.contracts import Rollout
from lawm_core.evaluation.bench import QUICK, Bench
from lawm_core.evaluation.flow import GRID, flow_errors, measure_flow
from lawm_core.evaluation.metrics import edge_agreement, sharpness
from lawm_core.evaluation.pictures import MEASURES, STEPS, at_size, measure_pictures
from lawm_core.video.files import write_clip
from lawm_core.worlds.clips import open_world
from lawm_core.worlds.tracks import TwinConfig
from lawm_core.worlds.true_motion import true_motion
from lawm_core.worlds.twins import TwinWorld
from tests.models.test_flow_world_model import build

NAMES = ("sharpness", "edges64", "edges256")


@pytest.fixture(scope="module")
def picture():
    """A picture with detail at all scales, 256 px."""
    generator = torch.Generator().manual_seed(0)
    return TwinWorld(TwinConfig(frame_size=256, noise=0.0)).draw(1, 2, generator).first_BTCHW[:, 0]


def measured(shown, true):
    return {name: MEASURES[name](shown, true).item() for name in MEASURES}


def test_the_truth_scores_one(picture):
    scores = measured(picture, picture)
    assert all(scores[name] == pytest.approx(1, abs=1e-4) for name in (*NAMES, "ssim")) and scores["l1"] == 0


def test_blur_is_neither_sharp_nor_edged(picture):
    scores = measured(F.avg_pool2d(F.pad(picture, (8,) * 4, mode="replicate"), 17, stride=1), picture)
    assert scores["sharpness"] < 0.7 and scores["edges256"] < 0.6 and scores["edges64"] < 0.9


def test_grey_scores_nothing(picture):
    scores = measured(torch.full_like(picture, 0.5), picture)
    assert all(abs(scores[name]) < 1e-6 for name in NAMES)


def test_noise_is_too_sharp_and_adds_no_edges(picture):
    """What makes a picture look sharp without being right shows as a sharpness above one."""
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    scores = measured(picture + noise, picture)
    assert scores["sharpness"] > 1.5 and abs(scores["edges256"] - 1) < 0.2


def test_a_sharp_picture_in_the_wrong_place_keeps_no_edges(picture):
    scores = measured(picture.roll(40, dims=3), picture)
    assert scores["sharpness"] == pytest.approx(1, abs=0.05) and scores["edges64"] < 0.3


def test_edges_and_sharpness_are_ratios(picture):
    """Half the contrast is half the gradient, in both."""
    half = picture * 0.5 + 0.25
    assert edge_agreement(half, picture).item() == pytest.approx(0.5, abs=1e-4)
    assert sharpness(half, picture).item() == pytest.approx(0.5, abs=1e-4)


def test_small_pictures_are_enlarged_and_large_ones_averaged(picture):
    assert at_size(picture, 64).shape[-1] == 64 and at_size(at_size(picture, 64), 256).shape[-1] == 256
    torch.testing.assert_close(at_size(picture, 64), F.avg_pool2d(picture, 4))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    drawn = TwinWorld(TwinConfig(frame_size=96)).draw(2, 18, torch.Generator().manual_seed(2))
    for number, frame_TCHW in enumerate(drawn.first_BTCHW):
        write_clip(folder / f"{number}.mp4", frame_TCHW, 6.0)
    return open_world(folder, folder / "cache", "train", 6.0, 32, picture_size=256)


def test_the_suite_measures_frames_warps_and_what_is_carried(world):
    result = measure_pictures(Bench(build(), world, QUICK), lambda *_: None)
    found = {(s.family, s.capacity, s.name): s.mean for s in result.scores}
    for family, capacity in (("copying", None), ("noisy", 1.0), ("noisy, warping alone", 1.0)):
        assert {name for f, c, name in found if (f, c) == (family, capacity)} >= {
            f"{measure}_{step}" for measure in MEASURES for step in STEPS
        }
    assert all(0 <= found["noisy", 1.0, f"carried_{step}"] <= 1 for step in STEPS)
    assert found["copying", None, "sharpness_1"] == pytest.approx(1, abs=0.2)
    assert found["noisy", 1.0, "flicker"] >= 0 and len(result.pictures) == 2


class TrueFlow:
    """A model that reads the flow it is given, to check the measure."""

    name, frame_size, picture_size, device, flow_reader = "true", 128, 128, torch.device("cpu"), object()

    def __init__(self, flow_B2HW):
        self.flow_B2HW = flow_B2HW

    def encode(self, frame_BTCHW):
        return torch.zeros(len(frame_BTCHW), 2, 1, 1)

    def infer_actions(self, state_BTND, **_):
        return state_BTND[:, :1, :, 0]

    def read_flow(self, state_BTND):
        return self.flow_B2HW[:, None]

    def rollout(self, state_BTND, action_BUA):
        return Rollout(start_BND=state_BTND[:, 0], state_BUND=state_BTND, flow_BU2HW=self.flow_B2HW[:, None] + 1 / 128)


def test_flow_errors_are_in_pixels_and_leave_out_what_was_hidden():
    generator = torch.Generator().manual_seed(0)
    world = TwinWorld(TwinConfig(frame_size=32))
    track = world.draw_track(3, 2, generator)
    frame_BTCHW, outlines = world.show(track, generator)
    motion = true_motion(track, outlines, GRID)
    wild = motion.flow_BU2HW[:, 0] + 9 * (1 - motion.visible_BU1HW[:, 0])
    model = SimpleNamespace(model=TrueFlow(wild), encode=TrueFlow(wild).encode)
    errors = flow_errors(model, frame_BTCHW, motion)
    assert errors["read"].max() < 1e-4
    torch.testing.assert_close(errors["predicted"], torch.full((3,), 2**0.5), atol=1e-4, rtol=0)


def test_the_flow_suite_reports_every_kind(world):
    result = measure_flow(Bench(build(), world, QUICK), lambda *_: None)
    kinds = {"camera", "objects", "real"}
    assert {s.name for s in result.scores} == {f"{k}_{n}" for k in kinds for n in ("read", "predicted", "zero")}
    assert all(s.mean >= 0 for s in result.scores)
