"""The shipped model does what its card says: cheap versions of the measures, so that a bad checkpoint cannot land."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lawm_core.checkpoint import load_model
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.controller import measure_controller
from lawm_core.evaluation.metrics import edge_agreement, sharpness
from lawm_core.evaluation.pictures import at_size
from lawm_core.evaluation.twins import measure_twins
from lawm_core.model_folders import list_models
from lawm_core.video.files import read_clip
from lawm_core.worlds.episodes import EpisodeWorld, build_episodes

ROBOTS = Path(__file__).resolve().parent.parent / "assets" / "robots"
QUICK = "noisy"  # the family that is measured in every run


def each(*families: str) -> pytest.MarkDecorator:
    """Run a test for each family; all but QUICK are slow."""
    return pytest.mark.parametrize(
        "family", [pytest.param(f, marks=() if f == QUICK else pytest.mark.slow) for f in families]
    )


@pytest.fixture(scope="module")
def twins() -> Callable[[str], dict[tuple[float, str], float]]:
    """A function that returns a family's figures on procedural twins, 8 frames rolled out from one, by capacity."""
    model = load_model()

    @functools.cache
    def measure(family: str) -> dict[tuple[float, str], float]:
        bench = Bench(
            model, None, SuiteConfig(families=(family,), twins=6 if family == QUICK else 16, capacities=(0.0, 1.0))
        )
        scores = measure_twins(bench, lambda fraction, what: None).scores
        return {(s.capacity, s.name): s.mean for s in scores if s.step is None}

    return measure


def test_there_is_a_default_model_with_three_families_that_draws_256_pixels():
    assert list_models()
    model = load_model()
    assert model.families == ("noisy", "sparse", "discrete") and model.references == ()
    assert (model.frame_size, model.picture_size) == (128, 256)
    assert all("learned" in model.samplers(family) for family in model.families)


@each("noisy", "sparse", "discrete")
def test_actions_act_and_transfer_between_looks(twins, family):
    assert twins(family)[1.0, "camera_effect"] >= 0.35 and twins(family)[1.0, "camera_efficiency"] >= 0.7


@each("noisy", "sparse")
def test_rollouts_stay_sharp_and_beat_a_still_picture(twins, family):
    assert twins(family)[1.0, "camera_edges"] >= 0.4 and twins(family)[1.0, "camera_against_still"] <= 0.7


@each("noisy", "sparse")
def test_objects_act_too(twins, family):
    assert twins(family)[1.0, "objects_effect"] > 0.15 and twins(family)[1.0, "objects_efficiency"] > 0.3


@each("noisy", "sparse")
def test_the_dial_begins_at_hardly_anything(twins, family):
    assert twins(family)[0.0, "camera_effect"] < 0.5 * twins(family)[1.0, "camera_effect"]


@pytest.fixture(scope="module")
def driven(tmp_path_factory) -> Callable[[str, str], dict[str, float]]:
    """A function that returns a family's figures on a robot's sample episodes: two seconds of known actions, at
    capacity 1.
    """
    model, cache = load_model(), tmp_path_factory.mktemp("cache")

    @functools.cache
    def measure(family: str, robot: str) -> dict[str, float]:
        home = build_episodes(ROBOTS / robot, cache, model.frames_per_second, model.picture_size)
        labelled = {robot: EpisodeWorld(home, "val")}
        bench = Bench(model, None, SuiteConfig(families=(family,), capacities=(1.0,), episodes=8), labelled)
        return {s.name: s.mean for s in measure_controller(bench, lambda *_: None).scores if s.family == family}

    return measure


def test_both_robots_can_be_driven_in_every_family():
    model = load_model()
    assert model.robots == ("arm", "rover") == tuple(model.controllers)


@pytest.mark.parametrize("robot", ["arm", pytest.param("rover", marks=pytest.mark.slow)])
@each("noisy", "sparse", "discrete")
def test_known_actions_foretell_two_seconds(driven, robot, family):
    """Errors under known actions, over that of repeating the frame."""
    assert driven(family, robot)[f"{robot}_still"] <= {"noisy": 0.75, "sparse": 0.9, "discrete": 1.25}[family]


@each("noisy", "sparse")
def test_rollouts_carry_detail_over_and_move_it_as_the_clip_does(family):
    """A clip under its own actions: as sharp as the clip, in the right places, and still where nothing happens."""
    model = load_model()
    clip, calm = (
        read_clip(ROBOTS.parent / "gallery" / f"{name}.mp4", model.frames_per_second, 256, 9).frame_TCHW
        for name in ("tiles-roll", "hills-calm")
    )
    moved, still = (own_rollout(model, frame_TCHW, family) for frame_TCHW in (clip, calm))
    kept = edge_agreement(at_size(moved[7:], 64), at_size(clip[8:], 64))
    copied = edge_agreement(at_size(clip[:1], 64), at_size(clip[8:], 64))
    assert 0.85 < sharpness(moved[7:], clip[8:]) < 1.1 and kept > 0.6 > copied, (kept, copied)
    assert (still - calm[:1]).abs().mean() < 0.02


def own_rollout(model, frame_TCHW, family):
    """The frames after the first under the actions inferred from the clip itself, frame_UCHW."""
    with torch.inference_mode():
        state_1TND = model.encode(frame_TCHW[None])
        rollout = model.rollout(state_1TND[:, :1], model.infer_actions(state_1TND, family), family)
        return model.render(rollout, frame_TCHW[None, 0])[0]
