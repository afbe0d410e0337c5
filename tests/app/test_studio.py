"""The studio: results are cached by content within limits, invalid requests raise, and nothing imports Gradio."""

import ast
import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import lawm_core as lawm
from app import action_map, cache, clip_selection, gallery, pictures, startup, studio, views
from app.cache import ByteCache
from app.clip_selection import FRAMES, ClipSelection
from app.components import facts
from app.gallery import read_gallery
from app.studio import Export, Studio, write_export

SIZE = 32  # of the tiny model's frames


def moving_square(frames: int = 40, shift: int = 1, level: float = 0.9) -> torch.Tensor:
    """Return frames of a square that moves over grey."""
    frame_TCHW = torch.full((frames, 3, 64, 64), 0.3)
    for t in range(frames):
        frame_TCHW[t, :, 20:40, (t * shift) % 40 : (t * shift) % 40 + 20] = level
    return frame_TCHW


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A gallery of two clips and a pair; of a third clip and another pair, the file is missing."""
    folder = tmp_path_factory.mktemp("gallery")
    lawm.write_clip(folder / "slide.mp4", moving_square(), 12)
    lawm.write_clip(folder / "leap.mp4", moving_square(shift=3, level=0.6), 12)
    clips = [
        {"file": f, "title": f, "about": "a square", "made_by": "a field that the page does not use"}
        for f in ("slide.mp4", "leap.mp4", "gone.mp4")
    ]
    pairs = [
        {"title": "one", "source": "slide.mp4", "target": "leap.mp4", "about": "the square"},
        {"title": "incomplete", "source": "slide.mp4", "target": "gone.mp4", "about": ""},
    ]
    (folder / "gallery.json").write_text(json.dumps({"clips": clips, "pairs": pairs}))
    return folder


@pytest.fixture
def slide(folder) -> ClipSelection:
    return ClipSelection.of(folder / "slide.mp4")


@pytest.fixture
def leap(folder) -> ClipSelection:
    return ClipSelection.of(folder / "leap.mp4")


@pytest.fixture
def desk(tiny_model, folder) -> Studio:
    return Studio(tiny_model, folder)


def test_the_studio_and_its_parts_do_not_import_gradio():
    for module in (studio, clip_selection, gallery, cache, pictures, views, action_map, startup):
        tree = ast.parse(Path(module.__file__).read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {n for n in names if n.split(".")[0] in ("gradio", "plotly") or n.startswith("lawm_core.")}, module


# ---- clips ----------------------------------------------------------------------------------------------------------


def test_a_clip_opened_twice_is_the_same_object(desk, slide):
    first = desk.open_clip(slide)
    assert desk.open_clip(slide) is first
    assert desk.open_clip(ClipSelection.of(slide.path, 0.5)) is not first
    assert first.frame_TCHW.shape == (FRAMES, 3, SIZE, SIZE)


def test_a_changed_file_is_read_again(desk, tmp_path):
    path = tmp_path / "mine.mp4"
    lawm.write_clip(path, moving_square(), 12)
    before = desk.open_clip(ClipSelection.of(path))
    lawm.write_clip(path, moving_square(level=0.5), 12)
    assert not torch.equal(desk.open_clip(ClipSelection.of(path)).frame_TCHW, before.frame_TCHW)


def test_threads_that_open_the_same_clip_get_the_same_object(desk, leap):
    with ThreadPoolExecutor(4) as pool:
        clips = list(pool.map(lambda _: desk.open_clip(leap), range(8)))
    assert len({id(clip) for clip in clips}) == 1


def test_invalid_files_raise_and_the_studio_continues(desk, slide, leap, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no video" * 100)
    for attempt in (
        lambda: desk.open_clip(ClipSelection.of(broken)),
        lambda: desk.draw_thumbnail(broken),
        lambda: desk.transfer(ClipSelection.of(broken), leap),
        lambda: desk.open_clip(ClipSelection.of(tmp_path / "none.mp4")),
    ):
        with pytest.raises(lawm.VideoError, match=r"(broken|none)\.mp4"):
            attempt()
    assert desk.transfer(slide, leap).panels.frames == FRAMES


@pytest.mark.parametrize("start", [-1, float("nan"), float("inf")])
def test_a_start_that_is_no_time_raises(slide, start):
    with pytest.raises(ValueError, match="The start must be at least 0 seconds, got"):
        ClipSelection.of(slide.path, start)


def test_numbers_of_frames_are_bounded_and_have_a_default(desk, slide, leap):
    for frames in (1, 33, -5):
        with pytest.raises(ValueError, match=rf"number of frames must be in \[2, 32\], got {frames}"):
            ClipSelection.of(slide.path, frames=frames)
    default = ClipSelection.of("x.mp4")
    assert ClipSelection.of("x.mp4", None, None) == default == ClipSelection.of("x.mp4", 0.0, float("nan"))
    assert desk.transfer(ClipSelection.of(slide.path, frames=5), leap).panels.frames == 5


# ---- gallery --------------------------------------------------------------------------------------------------------


def test_only_names_of_the_gallery_lead_to_files(desk):
    for name in ("../gallery.json", "/etc/passwd", "gone.mp4", "gallery.json", ""):
        with pytest.raises(ValueError, match="not in the gallery"):
            desk.gallery.path(name)


def test_entries_whose_file_is_missing_are_skipped(folder, tmp_path):
    found = read_gallery(folder)
    assert [video.file for video in found.videos] == ["slide.mp4", "leap.mp4"]
    assert [pair.title for pair in found.pairs] == ["one"]
    assert found.pair_index("slide.mp4", "leap.mp4") == 0 and found.pair_index("leap.mp4", "slide.mp4") is None
    assert read_gallery(tmp_path).videos == ()


def test_downloaded_clips_are_in_the_gallery_if_they_can_be_decoded_in_the_sandbox(
    tiny_model, folder, tmp_path, caplog, monkeypatch
):
    copy, external = tmp_path / "gallery", tmp_path / "gallery" / "external"
    shutil.copytree(folder, copy)
    external.mkdir()
    shutil.copy(folder / "slide.mp4", external / "walk.mp4")
    (external / "broken.mp4").write_bytes(b"no video at all")
    sizes = {name: (external / f"{name}.mp4").stat().st_size for name in ("walk", "broken")}
    (tmp_path / "gallery.toml").write_text(
        "".join(
            f'[[clip]]\nname = "{name}"\nurl = "https://example.org/{name}.mp4"\nbytes = {sizes.get(name, 9)}\n'
            f'sha256 = "{"0" * 64}"\nlicence = "CC-BY-4.0"\nattribution = "A. Maker"\n'
            f'source = "https://example.org"\ntitle = "A {name}"\n'
            for name in ("walk", "broken", "absent")
        )
    )
    opened = []
    read = lawm.read_clip
    monkeypatch.setattr(
        lawm, "read_clip", lambda path, **options: opened.append((path, options["trusted"])) or read(path, **options)
    )
    desk = Studio(tiny_model, copy)
    assert [video.file for video in desk.gallery.videos] == ["slide.mp4", "leap.mp4", "walk.mp4"]
    assert desk.gallery.videos[-1].title == "A walk" and desk.gallery.videos[-1].about == "A. Maker. CC-BY-4.0."
    assert desk.gallery.path("walk.mp4") == external / "walk.mp4"
    assert "broken.mp4" in caplog.text
    desk.draw_gallery()
    desk.open_clip(ClipSelection.of(desk.gallery.path("walk.mp4")))
    assert all(trusted == (path.parent == copy) for path, trusted in opened)


# ---- results --------------------------------------------------------------------------------------------------------


def test_an_equal_transfer_is_computed_once(desk, slide, leap, monkeypatch):
    first = desk.transfer(slide, leap)
    monkeypatch.setattr(lawm, "run_spec", lambda *a, **k: pytest.fail("computed again"))
    assert desk.transfer(slide, leap).panels is first.panels


def test_every_clip_and_setting_has_its_own_result(desk, slide, leap):
    results = [
        desk.transfer(slide, leap),
        desk.transfer(leap, slide),
        desk.transfer(slide, leap, capacity=0.5),
        desk.transfer(ClipSelection.of(slide.path, frames=8), leap),
        desk.transfer(ClipSelection.of(slide.path, 0.5), leap),
        desk.transfer(slide, ClipSelection.of(leap.path, 0.5)),
    ]
    assert len({view.key for view in results}) == len(results)


def test_a_transfer_has_four_panels_and_a_change_for_each_frame(desk, slide, leap):
    fractions = []
    view = desk.transfer(slide, leap, progress=lambda fraction, description: fractions.append(fraction))
    assert [panel.name for panel in view.panels.panels] == ["source", "target", "transfer", "control"]
    assert all(panel.sheet.startswith(b"\xff\xd8") and panel.frames == FRAMES for panel in view.panels.panels)
    assert [panel.first_predicted for panel in view.panels.panels] == [None, None, 1, 1]
    assert view.panels.frames == FRAMES and view.panels.change_T[0] == pytest.approx(0, abs=1e-6)
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1


@pytest.mark.parametrize("setting", [{"capacity": 1.5}, {"capacity": float("nan")}, {"family": "unknown"}])
def test_settings_out_of_range_raise(desk, slide, leap, setting):
    with pytest.raises(ValueError, match=r"capacity must be in|family must be one of"):
        desk.transfer(slide, leap, **setting)


def test_a_short_source_gives_a_short_transfer(desk, leap, tmp_path):
    short = tmp_path / "short.mp4"
    lawm.write_clip(short, moving_square(frames=6), 6)
    view = desk.transfer(ClipSelection.of(short), leap)
    assert view.panels.frames == len(view.source.frame_TCHW) < FRAMES
    assert "the clip ends there; 16 were requested" in facts.describe_inputs(view)[0]
    assert desk.export(view).video.is_file()


def test_a_preview_shows_no_motion_an_action_and_another_one(desk, leap):
    one, two = torch.full((8,), 0.5), torch.zeros(8)
    panels = desk.preview(one, two, leap, steps=5, other_name="that one")
    assert [panel.name for panel in panels.panels] == ["control", "action", "other"] and panels.frames == 6
    assert panels.panels[2].note == "that one" and panels.change_T[0] == pytest.approx(0, abs=1e-6)
    assert panels.key != desk.preview(two, one, leap, steps=5).key


def test_a_sweep_is_the_same_transfer_at_each_setting(desk, slide, leap):
    low, high = desk.sweep(slide, leap, [("noisy", 0.0), ("noisy", 1.0)])
    assert [low.result.capacity, high.result.capacity] == [0.0, 1.0]
    assert high.panels is desk.transfer(slide, leap, capacity=1.0).panels
    assert not torch.equal(low.result.frame_TCHW, high.result.frame_TCHW)
    panels = views.draw_sweep([low, high], ["Low", "High"])
    assert [panel.title for panel in panels.panels] == ["Source", "Low", "High"]


# ---- caches ---------------------------------------------------------------------------------------------------------


def test_caches_are_bounded_in_bytes(tiny_model, folder, slide, leap):
    clip_bytes = FRAMES * 3 * SIZE * SIZE * 4
    small = Studio(tiny_model, folder, clip_cache_bytes=2 * clip_bytes, view_cache_bytes=0)
    for start in (0.0, 0.2, 0.4, 0.6):
        small.open_clip(ClipSelection.of(slide.path, start))
        assert small.clips.used_bytes <= 2 * clip_bytes
    assert len(small.clips) == 2
    assert small.transfer(slide, leap).panels.frames == FRAMES
    assert len(small.views) == 0


def test_the_least_recently_used_value_is_removed_first():
    values: ByteCache[str] = ByteCache(20)
    values.put("a", "A", 10)
    values.put("b", "B", 10)
    assert values.get("a") == "A"
    values.put("c", "C", 10)
    assert values.get("b") is None and values.get("a") == "A" and values.used_bytes == 20
    assert values.put("a", "another", 10) == "A"
    assert values.put("large", "L", 21) == "L" and values.get("large") is None
    with pytest.raises(ValueError, match="max_bytes must be at least 0, got -1"):
        ByteCache(-1)


def test_a_cached_result_takes_a_quarter_of_the_memory_and_its_files_are_equal(desk, slide, leap, tmp_path):
    view = desk.transfer(slide, leap)
    unpacked = view.size_bytes - view.panels.size_bytes
    assert desk.views.used_bytes - view.panels.size_bytes <= unpacked / 4
    written = []
    for name, one in (("fresh", view), ("cached", desk.cached_view(view.key))):
        paths = [tmp_path / f"{name}.{suffix}" for suffix in ("mp4", "npz", "json")]
        files = Export(video=paths[0], latents=paths[1], replay_spec=paths[2])
        write_export(files, one)
        actions = dict(np.load(files.latents))["action_UA"].tobytes()
        written.append((files.video.read_bytes(), files.replay_spec.read_bytes(), actions))
    assert written[0] == written[1]
    assert desk.cached_view("unknown") is None


# ---- export and replay ----------------------------------------------------------------------------------------------


def test_an_export_has_the_panels_the_latent_actions_and_the_replay_spec(desk, slide, leap):
    view = desk.transfer(slide, leap, capacity=0.7)
    files = desk.export(view)
    clip = lawm.read_clip(files.video, frames_per_second=6, size=64, trusted=True)
    assert len(clip.frame_TCHW) == FRAMES
    with np.load(files.latents, allow_pickle=False) as saved:
        assert np.array_equal(saved["action_UA"], view.result.action_UA.numpy())
        assert json.loads(str(saved["scores"])) == view.result.scores
        spec = json.loads(str(saved["replay_spec"]))
    assert spec["source"]["file"] == "slide.mp4" and spec["capacity"] == 0.7
    assert files.replay_spec.name == "replay.json" and json.loads(files.replay_spec.read_text()) == spec
    assert desk.export(view) == files


def test_an_export_of_a_script_has_three_panels_and_its_replay_spec(desk, leap):
    step = lawm.ScriptStep(terms=(lawm.Term(action="jump"),), repeat=3)
    script, actions = lawm.ActionScript(steps=(step,)), {"jump": (0.5,) * 8, "unused": (1.0,) * 8}
    view = desk.play(script, actions, leap)
    assert [panel.name for panel in view.panels.panels] == ["target", "script", "control"] and view.panels.frames == 4
    assert desk.play(script, actions, leap).panels is view.panels
    files = desk.export(view)
    saved = lawm.ReplaySpec.from_json(files.replay_spec.read_text())
    assert saved == dataclasses.replace(view.spec, hardware=lawm.describe_hardware(torch.device("cpu")))
    assert set(saved.actions) == {"jump"}
    with pytest.raises(ValueError, match="empty"):
        desk.play(lawm.ActionScript(), {}, leap)
    with pytest.raises(ValueError, match="'jump' is missing"):
        desk.play(script, {}, leap)


def test_a_replay_gives_the_same_video_and_needs_the_original_clips(desk, slide, leap):
    files = desk.export(desk.transfer(slide, leap))
    spec = json.loads(files.replay_spec.read_text())
    assert desk.replay(spec).read_bytes() == files.video.read_bytes()
    with pytest.raises(ValueError, match=r"slide\.mp4 differs from the target of the original result"):
        desk.replay(spec, target=str(slide.path))
    with pytest.raises(ValueError, match=r"The target, mine\.mp4, is not in the gallery. Pass it as target_video"):
        desk.replay({**spec, "target": {**spec["target"], "file": "mine.mp4"}})
    with pytest.raises(ValueError, match="The replay spec was made with tiny \\(0123"):
        desk.replay({**spec, "fingerprint": "0123"})


# ---- warnings and scores --------------------------------------------------------------------------------------------


def test_appearance_transfer_is_the_fraction_of_the_sources_colours(desk, slide, leap):
    view = desk.transfer(slide, leap)
    dark, bright = torch.full((4, 3, SIZE, SIZE), 0.1), torch.full((4, 3, SIZE, SIZE), 0.9)

    def fraction_of(frame_TCHW: torch.Tensor) -> float:
        result = dataclasses.replace(view.result, frame_TCHW=frame_TCHW, control_TCHW=dark)
        source = dataclasses.replace(view.source, frame_TCHW=bright)
        return views.appearance_transfer(dataclasses.replace(view, result=result, source=source))

    assert fraction_of(dark) == 0 and fraction_of(bright) == pytest.approx(1, abs=1e-3)
    assert fraction_of((dark + bright) / 2) == pytest.approx(0.5, abs=1e-3)


def test_results_that_may_mislead_have_a_warning(desk, slide, leap):
    view = desk.transfer(slide, leap)

    def warnings_at(gain: float) -> list[str]:
        result = dataclasses.replace(view.result, scores={**view.result.scores, "prediction_gain": gain})
        return desk.warnings(dataclasses.replace(view, result=result))

    assert any("explain almost none" in warning for warning in warnings_at(0.0))
    assert not any("explain almost none" in warning for warning in warnings_at(0.5))
    still = dataclasses.replace(view.source, frame_TCHW=view.source.frame_TCHW[:1].expand(4, -1, -1, -1))
    assert any("hardly moves" in warning for warning in desk.warnings(dataclasses.replace(view, source=still)))
    assert facts.describe_scores(dataclasses.replace(view, source=still))[0]["number"] == "–"
    assert "%" in facts.describe_scores(view)[0]["number"]
    bright, dark = torch.full((4, 3, SIZE, SIZE), 0.9), torch.full((4, 3, SIZE, SIZE), 0.1)
    leaky = dataclasses.replace(view.result, frame_TCHW=bright, control_TCHW=dark)
    source = dataclasses.replace(view.source, frame_TCHW=bright)
    warnings = desk.warnings(dataclasses.replace(view, result=leaky, source=source))
    assert any("takes on 100 % of the source's colours" in warning for warning in warnings)


def test_scores_have_units_and_a_scale(desk, slide, leap):
    view = desk.transfer(slide, leap)
    scores = {"prediction_gain": 0.62, "action_effect": 0.046, "cycle_ratio": 1.4567, "carried_fraction": 0.87}
    shown = dataclasses.replace(view, result=dataclasses.replace(view.result, scores=scores))
    lines = [f"{line['name']}: {line['number']} {line['scale']}" for line in facts.describe_scores(shown)]
    assert lines == [
        "Explained motion: 62 % (100 % = perfect)",
        "How much changed: 4.6 % (small)",
        "Cycle error: 1.46 × (1 = nothing lost, higher is worse)",
        "Carried over: 87 % of the pixels",
    ]
    assert [facts.percent(fraction) for fraction in (-0.001, -0.12, 1.0)] == ["0 %", "−12 %", "100 %"]
