"""Measures of frames cannot be fooled by blur, noise or misplaced edges; their suites run on a tiny model."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from lawm_core.data.clip_dataset import open_dataset
from lawm_core.data.motion_labels import true_motion
from lawm_core.data.motion_tracks import SyntheticConfig
from lawm_core.data.synthetic_pairs import SyntheticScenes
from lawm_core.evaluation.bench import QUICK, Bench
from lawm_core.evaluation.flow import GRID, flow_errors, measure_flow
from lawm_core.evaluation.image_quality import MEASURES, STEPS, measure_pictures, resize_frames
from lawm_core.evaluation.metrics import edge_agreement, sharpness
from lawm_core.types import Rollout
from lawm_core.video.files import write_clip
from tests.conftest import build_tiny_model

NAMES = ("sharpness", "edge_agreement64", "edge_agreement256")


@pytest.fixture(scope="module")
def picture():
    """A frame with detail at all scales, 256 px."""
    generator = torch.Generator().manual_seed(0)
    return SyntheticScenes(SyntheticConfig(frame_size=256, noise=0.0)).draw(1, 2, generator).first_BTCHW[:, 0]


def measure(frame, true):
    """Return every measure of a frame."""
    return {name: function(frame, true).item() for name, function in MEASURES.items()}


def test_ground_truth_has_perfect_scores(picture):
    scores = measure(picture, picture)
    assert all(scores[name] == pytest.approx(1, abs=1e-4) for name in (*NAMES, "ssim")) and scores["l1"] == 0


def test_blur_lowers_sharpness_and_edge_agreement(picture):
    scores = measure(F.avg_pool2d(F.pad(picture, (8,) * 4, mode="replicate"), 17, stride=1), picture)
    assert scores["sharpness"] < 0.7 and scores["edge_agreement256"] < 0.6 and scores["edge_agreement64"] < 0.9


def test_grey_has_neither_sharpness_nor_edges(picture):
    scores = measure(torch.full_like(picture, 0.5), picture)
    assert all(abs(scores[name]) < 1e-6 for name in NAMES)


def test_noise_has_a_sharpness_above_one_and_adds_no_edges(picture):
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    scores = measure(picture + noise, picture)
    assert scores["sharpness"] > 1.5 and abs(scores["edge_agreement256"] - 1) < 0.2


def test_misplaced_sharp_frame_has_no_edge_agreement(picture):
    scores = measure(picture.roll(40, dims=3), picture)
    assert scores["sharpness"] == pytest.approx(1, abs=0.05) and scores["edge_agreement64"] < 0.3


def test_edge_agreement_and_sharpness_are_proportional_to_contrast(picture):
    half = picture * 0.5 + 0.25
    assert edge_agreement(half, picture).item() == pytest.approx(0.5, abs=1e-4)
    assert sharpness(half, picture).item() == pytest.approx(0.5, abs=1e-4)


def test_small_frames_are_enlarged_and_large_ones_averaged(picture):
    small = resize_frames(picture, 64)
    assert small.shape[-1] == 64 and resize_frames(small, 256).shape[-1] == 256
    torch.testing.assert_close(small, F.avg_pool2d(picture, 4))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    pairs = SyntheticScenes(SyntheticConfig(frame_size=96)).draw(2, 18, torch.Generator().manual_seed(2))
    for number, frame_TCHW in enumerate(pairs.first_BTCHW):
        write_clip(folder / f"{number}.mp4", frame_TCHW, 6.0)
    return open_dataset(folder, folder / "cache", "train", 6.0, 32, picture_size=256)


def test_pictures_suite_measures_frames_baselines_and_carried_fraction(dataset):
    result = measure_pictures(Bench(build_tiny_model(), dataset, QUICK), lambda *_: None)
    found = {(s.family, s.capacity, s.name): s.mean for s in result.scores}
    for family, capacity in (("copying", None), ("noisy", 1.0), ("noisy, warping only", 1.0)):
        assert {name for f, c, name in found if (f, c) == (family, capacity)} >= {
            f"{name}_{step}" for name in MEASURES for step in STEPS
        }
    assert all(0 <= found["noisy", 1.0, f"carried_fraction_{step}"] <= 1 for step in STEPS)
    assert found["copying", None, "sharpness_1"] == pytest.approx(1, abs=0.2)
    assert found["noisy", 1.0, "flicker"] >= 0 and len(result.pictures) == 2
    for rows in result.pictures.values():  # ground truth and prediction of each clip, both from the given frame on
        assert torch.equal(rows[0::2, 0], rows[1::2, 0]) and not torch.equal(rows[0::2, 1], rows[1::2, 1])


class TrueFlow:
    """A model that reads a given flow, and predicts the same flow shifted by one pixel down and right."""

    frame_size, device = 128, torch.device("cpu")

    def __init__(self, flow_B2HW):
        self.flow_B2HW = flow_B2HW

    def at(self, capacity):
        return self

    def encode(self, frame_BTCHW):
        return torch.zeros(len(frame_BTCHW), 2, 1, 1)

    def infer_actions(self, state_BTND):
        return state_BTND[:, :1, :, 0]

    def read_flow(self, state_BTND):
        return self.flow_B2HW[:, None]

    def rollout(self, state_BTND, action_BUA):
        flow_BU2HW = self.flow_B2HW[:, None] + 1 / 128
        return Rollout(
            start_BND=state_BTND[:, 0], state_BUND=state_BTND, flow_BU2HW=flow_BU2HW, visible_BU1HW=flow_BU2HW[:, :, :1]
        )


def test_flow_errors_are_in_pixels_and_exclude_hidden_positions():
    generator = torch.Generator().manual_seed(0)
    scenes = SyntheticScenes(SyntheticConfig(frame_size=32))
    track = scenes.draw_track(3, 2, generator)
    frame_BTCHW, outlines = scenes.render_with_outlines(track, generator)
    motion = true_motion(track, outlines, GRID)
    model = TrueFlow(motion.flow_BU2HW[:, 0] + 9 * (1 - motion.visible_BU1HW[:, 0]))
    errors = flow_errors(SimpleNamespace(model=model, encode=model.encode), frame_BTCHW, motion)
    assert errors["read"].max() < 1e-4
    torch.testing.assert_close(errors["predicted"], torch.full((3,), 2**0.5), atol=1e-4, rtol=0)


def test_flow_suite_reports_every_kind_of_scene(dataset):
    result = measure_flow(Bench(build_tiny_model(), dataset, QUICK), lambda *_: None)
    kinds = {"camera", "objects", "real"}
    assert {s.name for s in result.scores} == {f"{k}_{n}" for k in kinds for n in ("read", "predicted", "zero")}
    assert all(s.mean >= 0 for s in result.scores)
