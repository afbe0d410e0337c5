"""Touch: drags become actions of a script, and invalid drags raise."""

import json

import gradio as gr
import pytest
import torch

import lawm_core as lawm
from app.clip_selection import ClipSelection
from app.components.choices import choice_value, upload_choice
from app.studio import Studio
from app.tabs.selection import UPLOAD
from app.tabs.touch import TouchHandlers, check_steps, drag_script, title_panels
from app.touch import Toucher, parse_handles
from tests.conftest import build_tiny_model

DRAG = {"x": 0.4, "y": 0.5, "dx": 0.1, "dy": 0.05}


@pytest.fixture(scope="module")
def toucher(tmp_path_factory) -> Toucher:
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "gallery.json").write_text('{"clips": [], "pairs": []}')
    return Toucher(Studio(build_tiny_model(noise=0.0), folder))


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> ClipSelection:
    path = tmp_path_factory.mktemp("clips") / "noise.mp4"
    lawm.write_clip(path, torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)), 6)
    return ClipSelection.of(path)


def test_a_drag_is_played_as_a_script(toucher, target):
    dragged = toucher.drag(target, parse_handles([DRAG]), 4, "noisy", 1.0)
    assert dragged.view.result.frame_TCHW.shape[0] == 5 and len(dragged.actions) == 4
    assert dragged.reached_J2.shape == (1, 2)
    value = drag_script(dragged)
    assert [step["terms"][0]["action"] for step in value["steps"]] == list(value["actions"])
    assert (value["family"], value["capacity"]) == ("noisy", 1.0)
    assert "Dragged" in [panel.title for panel in title_panels(dragged).panels]


def test_the_preview_is_the_end_of_the_drag(toucher, target):
    frame_CHW, reached_J2 = toucher.preview(target, parse_handles([DRAG]), "noisy", 1.0)
    whole = toucher.drag(target, parse_handles([DRAG]), 1, "noisy", 1.0)
    assert frame_CHW.shape == (3, 32, 32)
    torch.testing.assert_close(reached_J2, whole.reached_J2, atol=1e-5, rtol=0)
    torch.testing.assert_close(frame_CHW, whole.view.result.frame_TCHW[-1], atol=0.01, rtol=0)  # exact to 8 bits


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "Drag a part of the picture first"),
        ([], "Drag a part of the picture first"),
        ([DRAG] * 17, "1 to 16 drags"),
        ([{"x": 0.5}], "must have x and y"),
        ([{**DRAG, "evil": 1}], "must have x and y, and may have dx, dy, radius, roll, zoom"),
        ([{**DRAG, "dx": "far"}], "dx of a handle must be in"),
        (["drag"], "must have x and y"),
    ],
)
def test_invalid_drags_raise(value, says):
    with pytest.raises(ValueError, match=says):
        parse_handles(value)


@pytest.mark.parametrize("value", [1, 17, 2.5, "8", None, True, float("nan")])
def test_invalid_numbers_of_frames_raise(value):
    with pytest.raises(ValueError, match="Frames must be a whole number from 2 to 16"):
        check_steps(value)


def test_the_page_does_not_see_paths(toucher, target):
    handlers = TouchHandlers(toucher.studio, None)
    choice = choice_value(UPLOAD, upload_choice(UPLOAD, "mine.mp4", "", ""))
    message, shown = handlers.show_target("touch", choice, str(target.path), 0, "noisy", 1.0)
    assert message["text"] == "" and str(target.path) not in json.dumps(shown)
    assert handlers.show_target("map", choice, str(target.path), 0, "noisy", 1.0)[1] == gr.skip()


def test_errors_become_messages_and_the_page_can_go_on(toucher):
    drags = {"handles": "nonsense", "number": 5}
    message, moved = TouchHandlers(toucher.studio, None).preview_drags(drags, None, None, 0, "noisy", 1.0)
    assert "No target is chosen" in message["text"] and moved["moved"]["number"] == 5
