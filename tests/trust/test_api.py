"""The API as a script meets it: names, defaults, files, and errors that are raised."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file

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
        ({"source": "sea-pan.mp4", "capacity": 3}, "apacity|maximum"),
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
    with pytest.raises(Exception, match="needed"):
        client.predict(action=[[1.0, 2.0]], api_name="/project")


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
