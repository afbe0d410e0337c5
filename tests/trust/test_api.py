"""The API as scripts use it: names, defaults, files, and raised errors."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file

import lawm_core as lawm
from devtools.serving import ROOT, Server

PAIR = {"source": "sea-pan.mp4", "target": "dunes-pan.mp4"}
CITY = str(ROOT / "assets" / "gallery" / "city-zoom.mp4")


@pytest.fixture
def api(server: Server, tmp_path) -> Client:
    return Client(server.address, verbose=False, download_files=tmp_path)


@pytest.fixture
def endpoints(api) -> dict:
    """The API's description of its endpoints."""
    return api.view_api(return_format="dict", print_info=False)["named_endpoints"]


def test_every_endpoint_takes_inputs_by_name(api):
    actions = api.predict(source="sea-pan.mp4", api_name="/infer_actions")
    assert len(actions) == 15 and len(actions[0]) == 512
    video = api.predict(action=actions[:3], target="dunes-pan.mp4", api_name="/apply_action")
    assert Path(video).read_bytes()[4:8] == b"ftyp"
    positions = api.predict(action=actions, api_name="/project")
    assert len(positions) == 15 and len(positions[0]["nearest"]) == 8
    sweep = api.predict(**PAIR, family="noisy", api_name="/capacity_sweep")
    assert [row["capacity"] for row in sweep] == [0, 0.25, 0.5, 0.75, 1]
    assert sweep[-1]["prediction_gain"] > sweep[0]["prediction_gain"]


def test_a_transfer_gives_files_and_scores_and_its_replay_spec_gives_the_same_video(api):
    video, latents, spec, scores = api.predict(**PAIR, frames=8, capacity=0.8, api_name="/transfer")
    assert set(scores) >= {"prediction_gain", "action_effect", "cycle_ratio"}
    with np.load(latents) as saved:
        assert saved["action_UA"].shape == (7, 512) and set(saved) == {"action_UA", "replay_spec", "scores"}
    assert Path(spec).name == "replay.json"
    again = api.predict(spec=json.loads(Path(spec).read_text()), api_name="/replay")
    assert Path(again).read_bytes() == Path(video).read_bytes()


def test_a_video_can_replace_a_name(api):
    uploaded = api.predict(source_video=handle_file(CITY), frames=6, api_name="/infer_actions")
    assert uploaded == api.predict(source="city-zoom.mp4", frames=6, api_name="/infer_actions")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"source": "../../etc/passwd"}, "not in the gallery"),
        ({}, r"Either source \(a gallery file\) or source_video \(a video\) is required, got neither"),
        ({"source": "sea-pan.mp4", "family": "loud"}, "loud"),
        ({"source": "sea-pan.mp4", "family": "nosiy"}, "family must be one of noisy, sparse, discrete, got 'nosiy'"),
        ({"source": "sea-pan.mp4", "capacity": 3}, "capacity must be a number from 0 to 1, got 3"),
        ({"source": "sea-pan.mp4", "capacity": "high"}, "capacity must be a number from 0 to 1, got 'high'"),
        ({"source": "sea-pan.mp4", "frames": 1}, "frames must be a whole number from 2 to 32, got 1"),
        ({"source": "sea-pan.mp4", "frames": 2.5}, "frames must be a whole number from 2 to 32, got 2.5"),
        ({"source": "sea-pan.mp4", "frames": "8"}, "frames must be a whole number"),
        ({"source": "sea-pan.mp4", "source_start": -1}, "source_start must be a number of at least 0, got -1"),
        ({"source": "sea-pan.mp4", "source_start": True}, "source_start must be a number of at least 0, got True"),
        (
            {"source_video": "sea-pan.mp4"},
            r"source_video must be a file on your disk, passed as handle_file\('clip.mp4'\)",
        ),
        ({"source_video": {"path": "https://example.org/a.mp4"}}, "source_video must be a file on your disk"),
        ({"source": 7}, "source must be the name of a clip in the gallery, got 7"),
        ({"source": "seapan.mp4"}, r"not in the gallery \(similar: sea-pan.mp4"),
        ({"source": "sea-pan.mp4", "source_start": 1e6}, r"sea-pan\.mp4 .*1e\+06 s"),
    ],
)
def test_invalid_inputs_raise_an_error_that_names_them(api, inputs, message):
    with pytest.raises(Exception, match=message):
        api.predict(**inputs, api_name="/infer_actions")


def test_a_name_together_with_a_video_raises(api):
    with pytest.raises(Exception, match="is required, got both"):
        api.predict(source="sea-pan.mp4", source_video=handle_file(CITY), api_name="/infer_actions")


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([[1.0, 2.0]], "An action must have 512 numbers, got 2"),
        ([[1e30] + [0.0] * 511], r"must be in \[-10000, 10000\]"),
        ([[True] * 512], "must be a list of numbers"),
        ([[0.0] * 512] * 513, "must be a list of 1 to 512 actions"),
    ],
)
def test_invalid_actions_raise(api, action, message):
    with pytest.raises(Exception, match=message):
        api.predict(action=action, api_name="/project")


def test_none_means_the_default(api):
    inputs = {"source": "sea-pan.mp4", "capacity": None, "family": None, "frames": None, "source_start": None}
    assert api.predict(**inputs, api_name="/infer_actions") == api.predict(
        source="sea-pan.mp4", api_name="/infer_actions"
    )


def test_a_target_needs_one_frame_and_a_source_two(api, tmp_path):
    frame_TCHW = torch.rand(6, 3, 1, 1).expand(-1, -1, 64, 64).contiguous()
    lawm.write_clip(tmp_path / "short.mp4", frame_TCHW, 6)
    short = handle_file(str(tmp_path / "short.mp4"))
    *_, scores = api.predict(source="sea-pan.mp4", frames=3, target_video=short, target_start=0.9, api_name="/transfer")
    assert scores["prediction_gain"] > 0
    with pytest.raises(Exception, match="at least 2 frames are needed to infer an action, got 1"):
        api.predict(source_video=short, source_start=0.9, api_name="/infer_actions")


def test_a_replay_takes_videos_that_are_not_in_the_gallery(api):
    inputs = {"source": "sea-pan.mp4", "target_video": handle_file(CITY), "frames": 4}
    video, _, saved, _ = api.predict(**inputs, api_name="/transfer")
    spec = json.loads(Path(saved).read_text())
    spec["target"]["file"] = "mine.mp4"  # not in the gallery
    with pytest.raises(Exception, match=r"The target, mine\.mp4, is not in the gallery\. Pass it as target_video"):
        api.predict(spec=spec, api_name="/replay")
    again = api.predict(spec=spec, target_video=handle_file(CITY), api_name="/replay")
    assert Path(again).read_bytes() == Path(video).read_bytes()


def test_an_invalid_replay_spec_raises(api):
    _, _, saved, _ = api.predict(**PAIR, frames=8, capacity=0.8, api_name="/transfer")
    spec = json.loads(Path(saved).read_text())
    for invalid, message in (
        (saved, "not its path or text"),
        ({**spec, "format": 9}, "format of a replay spec must be 1, got 9"),
        ([], "JSON object"),
        ({name: value for name, value in spec.items() if name != "family"}, "lacks the field 'family'"),
    ):
        with pytest.raises(Exception, match=message):
            api.predict(spec=invalid, api_name="/replay")


def test_every_input_has_a_default_and_every_output_a_name(endpoints):
    for name, endpoint in endpoints.items():
        for parameter in endpoint["parameters"]:
            is_required = parameter["parameter_name"] in ("action", "spec")
            assert parameter["parameter_has_default"] != is_required, (name, parameter["parameter_name"])
        assert all(not output["label"].startswith("value_") for output in endpoint["returns"]), name


def test_every_endpoint_is_documented_with_an_example(endpoints):
    text = (ROOT / "docs" / "endpoints.md").read_text()
    assert len(endpoints) == 6
    for name, endpoint in endpoints.items():
        assert f"## {name[1:]}\n" in text and f'api_name="{name}"' in text, name
        names = {parameter["parameter_name"] for parameter in endpoint["parameters"]}
        (example,) = re.findall(rf'client\.predict\(([^`]*?)api_name="{name}"', text)
        assert set(re.findall(r"(\w+)=", example)) <= names, name
