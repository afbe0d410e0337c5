"""A replay spec reproduces a result exactly, and specs that do not fit are rejected."""

import dataclasses
import json

import pytest
import torch

from lawm_core.transfer.replay import ClipReference, ReplaySpec, content_hash, montage, replay, run_spec
from lawm_core.transfer.script import ActionScript, ScriptStep, Term
from lawm_core.transfer.transfer import apply_actions, rest_action
from lawm_core.types import CheckpointError, VideoError
from lawm_core.video.files import read_clip, write_clip


@pytest.fixture
def folder(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for name in ("one", "two"):
        still = torch.rand(1, 3, 40, 40, generator=generator)
        write_clip(tmp_path / f"{name}.mp4", torch.cat([still.roll(2 * t, dims=-1) for t in range(12)]), 6)
    return tmp_path


def refer(folder, name: str) -> ClipReference:
    return ClipReference(file=f"{name}.mp4", sha256=content_hash(folder / f"{name}.mp4"), frames=6)


@pytest.fixture
def transferred(folder):
    """The spec of a transfer."""
    return ReplaySpec(
        model="tiny", fingerprint="abc", family="noisy", capacity=0.3,
        source=refer(folder, "one"), target=refer(folder, "two"),
    )  # fmt: skip


@pytest.fixture
def scripted(transferred):
    """The spec of a script."""
    step = ScriptStep(terms=(Term(action="a", weight=-2.0),), repeat=3)
    return dataclasses.replace(
        transferred, source=None, script=ActionScript(steps=(step, ScriptStep())), actions={"a": (0.1,) * 7 + (1 / 3,)}
    )


def test_json_round_trip_preserves_a_spec(transferred, scripted):
    for spec in (transferred, scripted):
        assert ReplaySpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("kind", ["transferred", "scripted"])
def test_replay_is_exact(tiny_model, folder, kind, request):
    spec = request.getfixturevalue(kind)
    clips = [
        r and read_clip(folder / r.file, frames_per_second=6, size=32, num_frames=6, trusted=True)
        for r in (spec.source, spec.target)
    ]
    first = run_spec(tiny_model, spec, *clips)
    again, montage_TCHW = replay(tiny_model, "abc", ReplaySpec.from_json(spec.to_json()), [folder / "nowhere", folder])
    assert torch.equal(first.frame_TCHW, again.frame_TCHW) and first.scores == again.scores
    assert torch.equal(montage(first, *clips), montage_TCHW)
    panels = 4 if spec.source else 3
    assert montage_TCHW.shape == (len(first.frame_TCHW), 3, 256, 256 * panels + 8 * (panels - 1))
    assert len(first.frame_TCHW) == (5 if kind == "scripted" else 6)


def test_rest_action_changes_nothing_and_another_action_does(tiny_model, folder):
    target = read_clip(folder / "two.mp4", frames_per_second=6, size=32, num_frames=6)
    rest_A = rest_action(tiny_model, target, family="noisy", capacity=0.3)
    still = apply_actions(tiny_model, target, rest_A.expand(3, -1), capacity=0.3)
    assert still.scores["action_effect"] < 1e-6 and len(still.frame_TCHW) == 4
    assert apply_actions(tiny_model, target, rest_A.expand(3, -1) + 1, capacity=0.3).scores["action_effect"] > 1e-4


def test_actions_of_another_width_are_rejected(tiny_model, folder):
    target = read_clip(folder / "two.mp4", frames_per_second=6, size=32, num_frames=6)
    for wrong in (torch.zeros(3, 5), torch.zeros(0, 8), torch.full((1, 8), float("nan"))):
        with pytest.raises(ValueError, match=r"shape \(U >= 1, 8\) and be finite, got shape"):
            apply_actions(tiny_model, target, wrong)


@pytest.mark.parametrize("width", [0, 1, 5])
def test_script_with_actions_of_another_width_is_rejected(tiny_model, folder, scripted, width):
    """Also of width 1, which would broadcast."""
    target = read_clip(folder / "two.mp4", frames_per_second=6, size=32, num_frames=6, trusted=True)
    with pytest.raises(ValueError, match=f"'a' must have 8 dimensions for tiny, got {width}"):
        run_spec(tiny_model, dataclasses.replace(scripted, actions={"a": (0.5,) * width}), None, target)


def test_another_model_and_other_or_missing_videos_are_rejected(tiny_model, transferred, folder):
    with pytest.raises(CheckpointError, match=r"model tiny \(fingerprint abc\), but this is tiny \(fingerprint xyz\)"):
        replay(tiny_model, "xyz", transferred, [folder])
    with pytest.raises(VideoError, match=r"one.mp4 is not in .*--videos"):
        replay(tiny_model, "abc", transferred, [folder / "nowhere"])
    (folder / "one.mp4").write_bytes((folder / "two.mp4").read_bytes())
    with pytest.raises(VideoError, match="differs from the video"):
        replay(tiny_model, "abc", transferred, [folder])
    outside = dataclasses.replace(transferred, source=dataclasses.replace(transferred.source, file="../one.mp4"))
    with pytest.raises(VideoError, match="without folders"):
        replay(tiny_model, "abc", outside, [folder])


def test_invalid_json_is_rejected_with_the_reason(transferred, scripted):
    fields = json.loads(transferred.to_json())
    for change, reason in (
        ({"format": 2}, "must be 1, got 2"),
        ({"evil": 1}, "no field 'evil'"),
        ({"capacity": "much"}, "capacity must be float, got 'much'"),
        ({"script": {"steps": []}}, "either a source or a script"),
    ):
        with pytest.raises(ValueError, match=reason):
            ReplaySpec.from_json(json.dumps(fields | change))
    for text in ("{", '"spec.json"'):
        with pytest.raises(ValueError, match="JSON"):
            ReplaySpec.from_json(text)
    with pytest.raises(ValueError, match="lacks"):
        ReplaySpec.from_json(json.dumps({k: v for k, v in fields.items() if k != "family"}))
    with pytest.raises(ValueError, match="'a' is missing"):
        dataclasses.replace(scripted, actions={})
