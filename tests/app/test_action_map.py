"""The action map: points are transitions, whatever the family and capacity."""

import pytest
import torch

import lawm_core as lawm
from app.action_map import ActionMap
from lawm_core.checkpoint import save_model
from lawm_core.library.build import build_library
from lawm_core.library.library import LibraryConfig
from tests.conftest import build_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    folder = tmp_path_factory.mktemp("clips")
    for name in ("one", "two", "three"):
        still = torch.rand(1, 3, 40, 40, generator=generator)
        lawm.write_clip(folder / f"{name}.mp4", torch.cat([still.roll(2 * t, dims=-1) for t in range(8)]), 6)
    return folder


@pytest.fixture(scope="module")
def action_map(folder, tmp_path_factory):
    model, out = build_tiny_model(), tmp_path_factory.mktemp("library")
    save_model(model, out / "tiny")
    config = LibraryConfig(frames=7, capacity=0.8, thumb_pixels=8)
    return ActionMap(model, build_library(model, folder, out / "out", config, out / "tiny"), folder)


def test_actions_are_the_librarys_at_its_setting_and_inferred_at_others(action_map):
    own_PA, other_PA = action_map.actions("noisy", 0.8), action_map.actions("noisy", 0.2)
    assert own_PA is action_map.library.action_PA and other_PA.shape == own_PA.shape
    assert (own_PA - other_PA).abs().max() > 1e-3
    assert action_map.actions("noisy", 0.2) is other_PA
    bound = action_map.model.at("noisy", 0.8)
    again_PA = torch.cat([bound.infer_actions(state_X2ND)[:, 0] for state_X2ND in action_map.states().split(64)])
    torch.testing.assert_close(again_PA, own_PA, atol=1e-4, rtol=1e-4)


def test_without_its_clips_a_library_keeps_its_own_actions(action_map, tmp_path):
    without = ActionMap(action_map.model, action_map.library, tmp_path / "empty")
    assert not without.has_clips and without.actions("noisy", 0.2) is action_map.library.action_PA
    with pytest.raises(ValueError, match="does not have the clips of the action map"):
        without.sample_actions("noisy", 0.2, 4)


def test_invalid_points_raise(action_map):
    assert action_map.check_point(3) == 3 and action_map.check_point(3.0) == 3
    for invalid in (-1, len(action_map), 1.5, "3", None, True, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"A point must be a whole number from 0 to {len(action_map) - 1}, got"):
            action_map.check_point(invalid)


def test_neighbours_comparison_points_and_names(action_map):
    action_A = action_map.actions("noisy", 0.8)[4]
    assert action_map.neighbours(action_A, "noisy", 0.8, count=3)[0] == 4
    other, clip_P = action_map.comparison_point(4), action_map.library.clip_P
    assert other == action_map.comparison_point(4) and clip_P[other] != clip_P[4]
    assert action_map.name(4) in {f"{n}, frames 5 to 6" for n in ("one", "two", "three")}
    assert action_map.motion_summary(4)


def test_novelty_is_low_for_library_actions_and_high_for_actions_far_from_all(action_map):
    own_PA = action_map.actions("noisy", 0.8)
    assert action_map.novelty(own_PA[:3]) == 0
    assert action_map.novelty(own_PA[:3] + 100) == 1
