"""The action map: points are transitions, whatever the dial says."""

import pytest
import torch

import lawm_core as lawm
from app.atlas import Atlas
from lawm_core.checkpoint import save_model
from lawm_core.evaluation.librarian import build_library
from lawm_core.evaluation.library import LibraryConfig
from tests.conftest import build_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    home = tmp_path_factory.mktemp("clips")
    for name in ("one", "two", "three"):
        still = torch.rand(1, 3, 40, 40, generator=generator)
        lawm.write_clip(home / f"{name}.mp4", torch.cat([still.roll(2 * t, dims=-1) for t in range(8)]), 6)
    return home


@pytest.fixture(scope="module")
def atlas(folder, tmp_path_factory):
    model, out = build_tiny_model(), tmp_path_factory.mktemp("library")
    save_model(model, out / "tiny")
    config = LibraryConfig(frames=7, capacity=0.8, thumb_pixels=8)
    return Atlas(model, build_library(model, folder, out / "out", config, out / "tiny"), folder)


def test_actions_follow_the_dial_and_are_the_librarys_own_at_its_setting(atlas):
    own_PA, other_PA = atlas.actions("noisy", 0.8), atlas.actions("noisy", 0.2)
    assert own_PA is atlas.library.action_PA and other_PA.shape == own_PA.shape
    assert (own_PA - other_PA).abs().max() > 1e-3
    assert atlas.actions("noisy", 0.2) is other_PA
    again_PA = torch.cat([atlas.model.infer_actions(p, "noisy", 0.8)[:, 0] for p in atlas.states().split(64)])
    torch.testing.assert_close(again_PA, own_PA, atol=1e-4, rtol=1e-4)


def test_without_its_clips_a_library_keeps_its_own_setting(atlas, tmp_path):
    lonely = Atlas(atlas.model, atlas.library, tmp_path / "empty")
    assert not lonely.has_clips and lonely.actions("noisy", 0.2) is atlas.library.action_PA


def test_points_are_checked(atlas):
    assert atlas.point(3) == 3 and atlas.point(3.0) == 3
    for wrong in (-1, len(atlas), 1.5, "3", None, True, float("nan")):
        with pytest.raises(ValueError, match="point"):
            atlas.point(wrong)


def test_neighbours_others_and_names(atlas):
    action_A = atlas.actions("noisy", 0.8)[4]
    assert atlas.neighbours(action_A, "noisy", 0.8, count=3)[0] == 4
    other = atlas.other(4)
    assert other == atlas.other(4) and atlas.library.clip_P[other] != atlas.library.clip_P[4]
    assert atlas.name(4) in {f"{n}, 4 to 5" for n in ("one", "two", "three")} and atlas.words(4)


def test_what_is_unlike_everything_is_odd(atlas):
    own_PA = atlas.actions("noisy", 0.8)
    assert atlas.oddity(own_PA[:3]) == 0
    assert atlas.oddity(own_PA[:3] + 100) == 1
