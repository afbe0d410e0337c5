"""The API as a script meets it: names, defaults, files, and errors that are raised."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file

import lawm_core as lawm
from benchmarks.serving import ROOT, Server

PAIR = {"source": "sea-pan.mp4", "target": "dunes-pan.mp4"}


@pytest.fixture
def client(server: Server, tmp_path) -> Client:
    return Client(server.address, verbose=False, download_files=tmp_path)


def test_every_endpoint_answers_by_the_names_of_its_inputs(client):
    actions = client.predict(source="sea-pan.mp4", api_name="/infer_actions")
    assert len(actions) == 15 and len(actions[0]) == 512
    film = client.predict(action=actions[:3], target="dunes-pan.mp4", api_name="/apply_action")
    assert Path(film).read_bytes()[4:8] == b"ftyp"
    places = client.predict(action=actions, api_name="/project")
    assert len(places) == 15 and len(places[0]["nearest"]) == 8
    sweep = client.predict(**PAIR, family="noisy", api_name="/capacity_sweep")
    assert [row["capacity"] for row in sweep] == [0, 0.25, 0.5, 0.75, 1]
    assert sweep[-1]["prediction_gain"] > sweep[0]["prediction_gain"]


def test_a_transfer_gives_files_and_scores_and_its_recipe_gives_the_same_film(client):
    video, latents, recipe, scores = client.predict(**PAIR, frames=8, capacity=0.8, api_name="/transfer")
    assert set(scores) >= {"prediction_gain", "action_effect", "cycle_ratio"}
    assert np.load(latents)["action_UA"].shape == (7, 512)
    again = client.predict(recipe=json.loads(Path(recipe).read_text()), api_name="/replay")
    assert Path(again).read_bytes() == Path(video).read_bytes()


def test_a_video_takes_the_place_of_a_name(client):
    own = handle_file(str(ROOT / "assets" / "gallery" / "city-zoom.mp4"))
    mine = client.predict(source_video=own, frames=6, api_name="/infer_actions")
    assert mine == client.predict(source="city-zoom.mp4", frames=6, api_name="/infer_actions")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"source": "../../etc/passwd"}, "not in the gallery"),
        ({}, "source and source_video: neither came"),
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
            r"source_video must be a file on your disk, sent as handle_file\('clip.mp4'\)",
        ),
        ({"source_video": {"path": "https://example.org/a.mp4"}}, "source_video must be a file on your disk"),
        ({"source": 7}, "source must be the name of a clip in the gallery, got 7"),
        ({"source": "seapan.mp4"}, r"not in the gallery \(close to it: sea-pan.mp4"),
        ({"source": "sea-pan.mp4", "source_start": 1e6}, "cannot be read from"),
    ],
)
def test_what_is_wrong_is_raised(client, wrong, says):
    with pytest.raises(Exception, match=says):
        client.predict(**wrong, api_name="/infer_actions")


def test_a_name_and_a_video_at_once_are_refused(client):
    own = handle_file(str(ROOT / "assets" / "gallery" / "city-zoom.mp4"))
    with pytest.raises(Exception, match="both came"):
        client.predict(source="sea-pan.mp4", source_video=own, api_name="/infer_actions")
    for action, says in (
        ([[1.0, 2.0]], "512 are needed"),
        ([[1e30] + [0.0] * 511], "from -10000 to 10000"),
        ([[True] * 512], "must be a list of numbers"),
        ([[0.0] * 512] * 513, "1 to 512 actions"),
    ):
        with pytest.raises(Exception, match=says):
            client.predict(action=action, api_name="/project")


def test_what_is_left_out_and_what_is_none_are_the_default(client):
    given = {"source": "sea-pan.mp4", "capacity": None, "family": None, "frames": None, "source_start": None}
    assert client.predict(**given, api_name="/infer_actions") == client.predict(
        source="sea-pan.mp4", api_name="/infer_actions"
    )


def test_a_target_needs_one_frame_and_a_source_two(client, tmp_path):
    frame_TCHW = torch.rand(6, 3, 1, 1).expand(-1, -1, 64, 64).contiguous()
    lawm.write_clip(tmp_path / "short.mp4", frame_TCHW, 6)
    short = handle_file(str(tmp_path / "short.mp4"))
    late = {"target_video": short, "target_start": 0.9}
    *_, scores = client.predict(source="sea-pan.mp4", frames=3, **late, api_name="/transfer")
    assert scores["prediction_gain"] > 0
    with pytest.raises(Exception, match="needs at least 2 frames, got 1"):
        client.predict(source_video=short, source_start=0.9, api_name="/infer_actions")


def test_a_recipe_of_own_videos_is_replayed_with_them(client):
    own = handle_file(str(ROOT / "assets" / "gallery" / "city-zoom.mp4"))
    given = {"source": "sea-pan.mp4", "target_video": own, "frames": 4}
    video, _, saved, _ = client.predict(**given, api_name="/transfer")
    recipe = json.loads(Path(saved).read_text())
    recipe["target"]["file"] = "mine.mp4"  # which the gallery does not have
    with pytest.raises(Exception, match=r"target, mine\.mp4, is not in the gallery; send it as target_video"):
        client.predict(recipe=recipe, api_name="/replay")
    again = client.predict(recipe=recipe, target_video=own, api_name="/replay")
    assert Path(again).read_bytes() == Path(video).read_bytes()
    for wrong, says in (
        (saved, "not its path or text"),
        ({**recipe, "format": 9}, "format must be"),
        ([], "JSON object"),
    ):
        with pytest.raises(Exception, match=says):
            client.predict(recipe=wrong, api_name="/replay")
    del recipe["family"]
    with pytest.raises(Exception, match="lacks the field 'family'"):
        client.predict(recipe=recipe, api_name="/replay")


def test_every_input_has_a_default_and_every_result_a_name(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for name, endpoint in endpoints.items():
        for parameter in endpoint["parameters"]:
            needed = parameter["parameter_name"] in ("action", "recipe")
            assert parameter["parameter_has_default"] != needed, (name, parameter["parameter_name"])
        assert all(not told["label"].startswith("value_") for told in endpoint["returns"]), name


def test_every_endpoint_is_documented_with_an_example(client):
    text = (ROOT / "docs" / "endpoints.md").read_text()
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert len(endpoints) == 6
    for name, endpoint in endpoints.items():
        assert f"## {name[1:]}\n" in text and f'api_name="{name}"' in text, name
        known = {parameter["parameter_name"] for parameter in endpoint["parameters"]}
        (example,) = re.findall(rf'client\.predict\(([^`]*?)api_name="{name}"', text)
        assert set(re.findall(r"(\w+)=", example)) <= known, name
