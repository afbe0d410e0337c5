"""The shipped model does what its card says: quick versions of the evaluation, so that a bad checkpoint is noticed."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lawm_core.checkpoint import load_model
from lawm_core.data.episodes import EpisodeDataset, build_episodes
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.controller import measure_controller
from lawm_core.evaluation.image_quality import resize_frames
from lawm_core.evaluation.metrics import edge_agreement, sharpness
from lawm_core.evaluation.synthetic import measure_synthetic
from lawm_core.model import LatentActionModel
from lawm_core.model_folders import list_models
from lawm_core.video.files import read_clip

ASSETS = Path(__file__).resolve().parent.parent / "assets"
QUICK = "noisy"  # the family that is measured in every run

Scores = Callable[[str], dict[tuple[float, str], float]]  # from a family to scores by capacity and name


def each(*families: str) -> pytest.MarkDecorator:
    """Run a test for each family; all but QUICK are slow."""
    return pytest.mark.parametrize(
        "family", [pytest.param(name, marks=() if name == QUICK else pytest.mark.slow) for name in families]
    )


def test_the_default_model_has_three_families_and_decodes_256_pixels():
    assert list_models()
    model = load_model()
    assert model.family_names == ("noisy", "sparse", "discrete") and model.reference_names == ()
    assert (model.frame_size, model.picture_size) == (128, 256)
    assert all("learned" in model.at(family).samplers for family in model.family_names)


# ---- synthetic pairs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def synthetic_scores() -> Scores:
    """Scores on synthetic pairs, 8 frames rolled out from one."""
    model = load_model()

    @functools.cache
    def measure(family: str) -> dict[tuple[float, str], float]:
        clips = 6 if family == QUICK else 16
        config = SuiteConfig(families=(family,), synthetic_clips=clips, capacities=(0.0, 1.0))
        scores = measure_synthetic(Bench(model, None, config), lambda fraction, what: None).scores
        return {(score.capacity, score.name): score.mean for score in scores if score.step is None}

    return measure


@each("noisy", "sparse", "discrete")
def test_actions_have_an_effect_and_transfer_to_another_appearance(synthetic_scores, family):
    scores = synthetic_scores(family)
    assert scores[1.0, "camera_effect"] >= 0.35 and scores[1.0, "camera_efficiency"] >= 0.7


@each("noisy", "sparse")
def test_rollouts_keep_edges_and_are_better_than_a_still_frame(synthetic_scores, family):
    scores = synthetic_scores(family)
    assert scores[1.0, "camera_edge_agreement"] >= 0.4 and scores[1.0, "camera_error_vs_copying"] <= 0.7


@each("noisy", "sparse")
def test_actions_of_objects_have_an_effect_and_transfer(synthetic_scores, family):
    scores = synthetic_scores(family)
    assert scores[1.0, "objects_effect"] > 0.15 and scores[1.0, "objects_efficiency"] > 0.3


@each("noisy", "sparse")
def test_actions_have_little_effect_at_capacity_0(synthetic_scores, family):
    scores = synthetic_scores(family)
    assert scores[0.0, "camera_effect"] < 0.5 * scores[1.0, "camera_effect"]


# ---- robots ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def robot_scores(tmp_path_factory) -> Callable[[str, str], dict[str, float]]:
    """Scores of a family on a robot's sample episodes: rollouts of two seconds at capacity 1."""
    model, cache = load_model(), tmp_path_factory.mktemp("cache")

    @functools.cache
    def measure(family: str, robot: str) -> dict[str, float]:
        folder = ASSETS / "robots" / robot
        episodes = EpisodeDataset(build_episodes(folder, cache, model.frames_per_second, model.picture_size), "val")
        config = SuiteConfig(families=(family,), capacities=(1.0,), episodes=8)
        bench = Bench(model, None, config, {robot: episodes})
        return {score.name: score.mean for score in measure_controller(bench, lambda *_: None).scores}

    return measure


def test_every_family_has_controllers_of_both_robots():
    model = load_model()
    assert model.robots == ("arm", "rover") == tuple(model.controllers)
    for robot in model.robots:
        assert tuple(model.controllers[robot]) == model.family_names


ROBOTS = pytest.mark.parametrize("robot", ["arm", pytest.param("rover", marks=pytest.mark.slow)])


@ROBOTS
@each("noisy", "sparse", "discrete")
def test_inferred_actions_predict_two_seconds_of_a_robot(robot_scores, robot, family):
    """State error relative to repeating the first frame."""
    error = robot_scores(family, robot)[f"{robot}_idm_error_vs_copying"]
    assert error <= {"noisy": 0.75, "sparse": 0.9, "discrete": 1.25}[family]


@ROBOTS
@each("noisy", "sparse", "discrete")
def test_robot_actions_move_the_scene_as_far_as_inferred_actions(robot_scores, robot, family):
    scores = robot_scores(family, robot)
    assert 0.7 < scores[f"{robot}_motion_ratio"] < 1.4 and scores[f"{robot}_error_ratio"] < 2.2


# ---- real clips -----------------------------------------------------------------------------------------------------


@each("noisy", "sparse")
def test_rollouts_stay_sharp_with_edges_in_the_right_places(family):
    """A clip under its own actions; a clip without motion stays still."""
    model = load_model()
    moving, calm = (
        read_clip(ASSETS / "gallery" / f"{name}.mp4", model.frames_per_second, 256, 9).frame_TCHW
        for name in ("tiles-roll", "hills-calm")
    )
    rolled_out, still = (own_rollout(model, frame_TCHW, family) for frame_TCHW in (moving, calm))
    agreement = edge_agreement(resize_frames(rolled_out[7:], 64), resize_frames(moving[8:], 64))
    agreement_of_copy = edge_agreement(resize_frames(moving[:1], 64), resize_frames(moving[8:], 64))
    assert 0.85 < sharpness(rolled_out[7:], moving[8:]) < 1.1
    assert agreement > 0.6 > agreement_of_copy, (agreement, agreement_of_copy)
    assert (still - calm[:1]).abs().mean() < 0.02


@torch.inference_mode()
def own_rollout(model: LatentActionModel, frame_TCHW: Tensor, family: str) -> Tensor:
    """Return the frames after the first under the actions inferred from the clip itself, frame_UCHW."""
    bound, state_1TND = model.at(family), model.encode(frame_TCHW[None])
    rollout = bound.rollout(state_1TND[:, :1], bound.infer_actions(state_1TND))
    return model.render(rollout, frame_TCHW[None, 0])[0]
