"""Recipes: what was made can be made again, and nothing else passes for it."""

import dataclasses
import json

import pytest
import torch

from lawm_core.contracts import CheckpointError, VideoError
from lawm_core.evaluation.recipe import ClipReference, Recipe, content_hash, film, perform, replay, rest_action
from lawm_core.evaluation.script import ActionScript, ScriptStep, Term
from lawm_core.evaluation.transfer import apply_actions
from lawm_core.video.files import read_clip, write_clip


@pytest.fixture
def folder(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for name in ("one", "two"):
        still = torch.rand(1, 3, 40, 40, generator=generator)
        write_clip(tmp_path / f"{name}.mp4", torch.cat([still.roll(2 * t, dims=-1) for t in range(12)]), 6)
    return tmp_path


def reference(folder, name: str) -> ClipReference:
    return ClipReference(file=f"{name}.mp4", sha256=content_hash(folder / f"{name}.mp4"), frames=6)


@pytest.fixture
def recipe(folder):
    return Recipe(
        model="tiny", fingerprint="abc", family="noisy", capacity=0.3,
        source=reference(folder, "one"), target=reference(folder, "two"),
    )  # fmt: skip


@pytest.fixture
def scripted(recipe):
    step = ScriptStep(terms=(Term(action="a", weight=-2.0),), repeat=3)
    return dataclasses.replace(
        recipe, source=None, script=ActionScript(steps=(step, ScriptStep())), actions={"a": (0.1,) * 7 + (1 / 3,)}
    )


def test_a_recipe_survives_text(recipe, scripted):
    for one in (recipe, scripted):
        assert Recipe.from_json(one.to_json()) == one


@pytest.mark.parametrize("kind", ["recipe", "scripted"])
def test_replayed_is_the_same(tiny_model, folder, kind, request):
    recipe = request.getfixturevalue(kind)
    clips = [
        r and read_clip(folder / r.file, frames_per_second=6, size=32, num_frames=6, trusted=True)
        for r in (recipe.source, recipe.target)
    ]
    first = perform(tiny_model, recipe, *clips)
    again, film_TCHW = replay(tiny_model, "abc", Recipe.from_json(recipe.to_json()), [folder / "nowhere", folder])
    assert torch.equal(first.frame_TCHW, again.frame_TCHW) and first.scores == again.scores
    assert torch.equal(film(first, *clips), film_TCHW)
    lanes = 4 if recipe.source else 3
    assert film_TCHW.shape == (len(first.frame_TCHW), 3, 256, 256 * lanes + 8 * (lanes - 1))
    assert (len(first.frame_TCHW) == 5) if kind == "scripted" else (len(first.frame_TCHW) == 6)


def test_rest_changes_nothing_and_an_action_does(tiny_model, folder):
    target = read_clip(folder / "two.mp4", frames_per_second=6, size=32, num_frames=6)
    rest_A = rest_action(tiny_model, target, "noisy", 0.3)
    still = apply_actions(tiny_model, target, rest_A.expand(3, -1), capacity=0.3)
    assert still.scores["action_effect"] < 1e-6 and len(still.frame_TCHW) == 4
    assert apply_actions(tiny_model, target, rest_A.expand(3, -1) + 1, capacity=0.3).scores["action_effect"] > 1e-4


def test_actions_of_another_width_are_refused(tiny_model, folder):
    target = read_clip(folder / "two.mp4", frames_per_second=6, size=32, num_frames=6)
    for wrong in (torch.zeros(3, 5), torch.zeros(0, 8), torch.full((1, 8), float("nan"))):
        with pytest.raises(ValueError, match="needed: at least one, of 8 finite numbers"):
            apply_actions(tiny_model, target, wrong)


@pytest.mark.parametrize("width", [0, 1, 5])
def test_a_script_with_actions_of_another_width_is_refused(tiny_model, folder, scripted, width):
    """Also one of a single number, which would pass for eight."""
    target = read_clip(folder / "two.mp4", frames_per_second=6, size=32, num_frames=6, trusted=True)
    with pytest.raises(ValueError, match=f"'a' has {width} numbers; tiny needs 8"):
        perform(tiny_model, dataclasses.replace(scripted, actions={"a": (0.5,) * width}), None, target)


def test_another_model_another_video_or_none_is_said(tiny_model, recipe, folder):
    with pytest.raises(CheckpointError, match=r"made with tiny abc; this is tiny xyz"):
        replay(tiny_model, "xyz", recipe, [folder])
    with pytest.raises(VideoError, match=r"one.mp4 is not in .*--videos"):
        replay(tiny_model, "abc", recipe, [folder / "nowhere"])
    (folder / "one.mp4").write_bytes((folder / "two.mp4").read_bytes())
    with pytest.raises(VideoError, match="another video"):
        replay(tiny_model, "abc", recipe, [folder])
    outside = dataclasses.replace(recipe, source=dataclasses.replace(recipe.source, file="../one.mp4"))
    with pytest.raises(VideoError, match="not a plain file name"):
        replay(tiny_model, "abc", outside, [folder])


def test_what_does_not_fit_is_said(recipe, scripted):
    fields = json.loads(recipe.to_json())
    for change, why in (
        ({"format": 2}, "format must be 1, got 2"),
        ({"evil": 1}, "no field 'evil'"),
        ({"capacity": "much"}, "capacity is 'much'"),
        ({"script": {"steps": []}}, "either a source or a script"),
    ):
        with pytest.raises(ValueError, match=why):
            Recipe.from_json(json.dumps(fields | change))
    with pytest.raises(ValueError, match="JSON"):
        Recipe.from_json("{")
    with pytest.raises(ValueError, match="lacks"):
        Recipe.from_json(json.dumps({k: v for k, v in fields.items() if k != "family"}))
    with pytest.raises(ValueError, match="'a' is not among"):
        dataclasses.replace(scripted, actions={})
