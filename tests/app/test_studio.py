"""Laws of the studio: kept by content, bounded in bytes, polite about what it cannot use, and free of Gradio."""

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
from app import atlas, cache, gallery, pictures, piece, studio, views
from app.cache import ByteCache
from app.components import facts
from app.gallery import read_gallery
from app.piece import FRAMES, Piece
from app.studio import EXPORT_ENDS, Export, Studio, write_export

SIDE = 32  # of the tiny model's frames


def moving_square(frames: int = 40, shift: int = 1, level: float = 0.9) -> torch.Tensor:
    """A bright square that slides over grey."""
    frame_TCHW = torch.full((frames, 3, 64, 64), 0.3)
    for t in range(frames):
        frame_TCHW[t, :, 20:40, (t * shift) % 40 : (t * shift) % 40 + 20] = level
    return frame_TCHW


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A gallery of two clips and a pair."""
    folder = tmp_path_factory.mktemp("gallery")
    lawm.write_clip(folder / "slide.mp4", moving_square(), 12)
    lawm.write_clip(folder / "leap.mp4", moving_square(shift=3, level=0.6), 12)
    clips = [
        {"file": f, "title": f, "about": "a square", "made_by": "a field that the page does not know"}
        for f in ("slide.mp4", "leap.mp4", "gone.mp4")
    ]
    pairs = [
        {"title": "one", "source": "slide.mp4", "target": "leap.mp4", "about": "look"},
        {"title": "lost", "source": "slide.mp4", "target": "gone.mp4", "about": ""},
    ]
    (folder / "gallery.json").write_text(json.dumps({"clips": clips, "pairs": pairs}))
    return folder


def pair(folder: Path) -> tuple[Piece, Piece]:
    """The gallery's two clips."""
    return Piece.of(folder / "slide.mp4"), Piece.of(folder / "leap.mp4")


@pytest.fixture
def desk(tiny_model, folder):
    return Studio(tiny_model, folder)


def test_studio_and_its_parts_import_no_gradio():
    for module in (studio, piece, gallery, cache, pictures, views, atlas):
        tree = ast.parse(Path(module.__file__).read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {n for n in names if n.split(".")[0] in ("gradio", "plotly") or n.startswith("lawm_core.")}, module


def test_a_clip_opened_twice_is_the_same_object(desk, folder):
    first = desk.open_clip(Piece.of(folder / "slide.mp4"))
    assert desk.open_clip(Piece.of(folder / "slide.mp4")) is first
    assert desk.open_clip(Piece.of(folder / "slide.mp4", 0.5)) is not first
    assert first.frame_TCHW.shape == (FRAMES, 3, SIDE, SIDE)


def test_a_changed_file_under_the_same_name_is_read_again(desk, tmp_path):
    path = tmp_path / "mine.mp4"
    lawm.write_clip(path, moving_square(), 12)
    before = desk.open_clip(Piece.of(path))
    lawm.write_clip(path, moving_square(level=0.5), 12)
    assert not torch.equal(desk.open_clip(Piece.of(path)).frame_TCHW, before.frame_TCHW)


def test_a_transfer_asked_twice_is_computed_once(desk, folder, monkeypatch):
    first = desk.transfer(*pair(folder))
    monkeypatch.setattr(lawm, "perform", lambda *a, **k: pytest.fail("computed again"))
    assert desk.transfer(*pair(folder)).shown is first.shown


def test_threads_that_ask_for_the_same_get_the_same_object(desk, folder):
    with ThreadPoolExecutor(4) as pool:
        clips = list(pool.map(lambda _: desk.open_clip(Piece.of(folder / "leap.mp4")), range(8)))
    assert len({id(clip) for clip in clips}) == 1


def test_every_setting_has_its_own_result(desk, folder):
    slide, leap = pair(folder)
    views = [
        desk.transfer(slide, leap),
        desk.transfer(leap, slide),
        desk.transfer(slide, leap, capacity=0.5),
        desk.transfer(Piece.of(slide.path, frames=8), leap),
        desk.transfer(Piece.of(slide.path, 0.5), leap),
        desk.transfer(slide, Piece.of(leap.path, 0.5)),
    ]
    assert len({view.key for view in views}) == len(views)


def test_a_view_holds_four_lanes_and_an_effect_for_each_frame(desk, folder):
    told = []
    view = desk.transfer(*pair(folder), progress=lambda f, what: told.append(f))
    assert [lane.name for lane in view.shown.lanes] == ["source", "target", "transfer", "control"]
    assert all(lane.sheet.startswith(b"\xff\xd8") and lane.frames == FRAMES for lane in view.shown.lanes)
    assert view.shown.frames == FRAMES and view.shown.effect_T[0] == pytest.approx(0, abs=1e-6)
    assert told == sorted(told) and told[0] == 0 and told[-1] == 1


def test_caches_hold_no_more_bytes_than_they_may(tiny_model, folder):
    clip_bytes = FRAMES * 3 * SIDE * SIDE * 4
    small = Studio(tiny_model, folder, clip_cache_bytes=2 * clip_bytes, view_cache_bytes=0)
    for start in (0.0, 0.2, 0.4, 0.6):
        small.open_clip(Piece.of(folder / "slide.mp4", start))
        assert small.clips.used_bytes <= 2 * clip_bytes
    assert len(small.clips) == 2
    assert small.transfer(*pair(folder)).shown.frames == FRAMES
    assert len(small.views) == 0


def test_the_least_recently_used_goes_first():
    kept: ByteCache[str] = ByteCache(20)
    kept.keep("a", "A", 10)
    kept.keep("b", "B", 10)
    assert kept.get("a") == "A"
    kept.keep("c", "C", 10)
    assert kept.get("b") is None and kept.get("a") == "A" and kept.used_bytes == 20
    assert kept.keep("a", "another", 10) == "A"
    assert kept.keep("large", "L", 21) == "L" and kept.get("large") is None


def test_a_broken_file_is_refused_and_the_studio_goes_on(desk, folder, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no video" * 100)
    for attempt in (
        lambda: desk.open_clip(Piece.of(broken)),
        lambda: desk.draw_thumbnail(broken),
        lambda: desk.transfer(Piece.of(broken), pair(folder)[1]),
        lambda: desk.open_clip(Piece.of(tmp_path / "none.mp4")),
    ):
        with pytest.raises(lawm.VideoError, match=r"(broken|none)\.mp4"):
            attempt()
    assert desk.transfer(*pair(folder)).shown.frames == FRAMES


@pytest.mark.parametrize("start", [-1, float("nan"), float("inf")])
def test_moments_that_are_none_are_refused(folder, start):
    with pytest.raises(ValueError, match="start"):
        Piece.of(folder / "slide.mp4", start)


def test_lengths_are_bounded_and_an_empty_field_means_the_usual(desk, folder):
    for frames in (1, 33, -5):
        with pytest.raises(ValueError, match=r"length.*2 to 32"):
            Piece.of(folder / "slide.mp4", frames=frames)
    assert Piece.of("x.mp4", None, None) == Piece.of("x.mp4", 0.0, float("nan")) == Piece.of("x.mp4")
    slide, leap = pair(folder)
    assert desk.transfer(Piece.of(slide.path, frames=5), leap).shown.frames == 5


@pytest.mark.parametrize("settings", [{"capacity": 1.5}, {"capacity": float("nan")}, {"family": "unheard of"}])
def test_settings_out_of_range_are_refused(desk, folder, settings):
    with pytest.raises(ValueError, match=r"capacity|family"):
        desk.transfer(*pair(folder), **settings)


def test_only_gallery_names_lead_to_files(desk):
    for name in ("../gallery.json", "/etc/passwd", "gone.mp4", "gallery.json", ""):
        with pytest.raises(ValueError, match="gallery"):
            desk.gallery.path(name)


def test_the_gallery_leaves_out_what_is_not_there(folder, tmp_path):
    found = read_gallery(folder)
    assert [clip.file for clip in found.clips] == ["slide.mp4", "leap.mp4"]
    assert [pair.title for pair in found.pairs] == ["one"]
    assert found.pair_index("slide.mp4", "leap.mp4") == 0 and found.pair_index("leap.mp4", "slide.mp4") is None
    assert read_gallery(tmp_path).clips == ()


def test_an_export_holds_the_lanes_and_the_latents(desk, folder):
    view = desk.transfer(*pair(folder), capacity=0.7)
    files = desk.export(view)
    clip = lawm.read_clip(files.video, frames_per_second=6, size=64, trusted=True)
    assert len(clip.frame_TCHW) == FRAMES
    with np.load(files.latents, allow_pickle=False) as saved:
        assert np.array_equal(saved["action_UA"], view.result.action_UA.numpy())
        recipe = json.loads(str(saved["recipe"]))
    assert recipe["source"]["file"] == "slide.mp4" and recipe["capacity"] == 0.7
    assert desk.export(view) == files


def test_a_short_source_gives_a_short_transfer(desk, folder, tmp_path):
    short = tmp_path / "short.mp4"
    lawm.write_clip(short, moving_square(frames=6), 6)
    view = desk.transfer(Piece.of(short), pair(folder)[1])
    assert view.shown.frames == len(view.source.frame_TCHW) < FRAMES
    assert desk.export(view).video.is_file()


def test_an_export_of_a_script_has_three_lanes_and_its_recipe(desk, folder):
    step = lawm.ScriptStep(terms=(lawm.Term(action="jump"),), repeat=3)
    script, actions = lawm.ActionScript(steps=(step,)), {"jump": (0.5,) * 8, "unused": (1.0,) * 8}
    view = desk.play(script, actions, pair(folder)[1])
    assert [lane.name for lane in view.shown.lanes] == ["target", "script", "control"] and view.shown.frames == 4
    assert desk.play(script, actions, pair(folder)[1]).shown is view.shown
    files = desk.export(view)
    saved = lawm.Recipe.from_json(files.recipe.read_text())
    assert saved == dataclasses.replace(view.recipe, hardware=lawm.describe_hardware(torch.device("cpu")))
    assert set(saved.actions) == {"jump"}
    with pytest.raises(ValueError, match="empty"):
        desk.play(lawm.ActionScript(), {}, pair(folder)[1])
    with pytest.raises(ValueError, match="'jump' is not among"):
        desk.play(script, {}, pair(folder)[1])


def test_a_preview_shows_one_action_beside_none_and_another(desk, folder):
    one, two = torch.full((8,), 0.5), torch.zeros(8)
    shown = desk.preview(one, two, pair(folder)[1], steps=5, other_name="that one")
    assert [lane.name for lane in shown.lanes] == ["control", "action", "random"] and shown.frames == 6
    assert shown.lanes[2].note == "that one" and shown.effect_T[0] == pytest.approx(0, abs=1e-6)
    assert shown.key != desk.preview(two, one, pair(folder)[1], steps=5).key


def test_a_sweep_is_the_same_transfer_at_each_setting(desk, folder):
    told = []
    views = desk.sweep(
        *pair(folder),
        [("noisy", 0.0), ("noisy", 1.0)],
        progress=lambda f, w: told.append(f),
    )
    assert [view.result.capacity for view in views] == [0.0, 1.0] and told[-1] == 1.0
    assert views[1].shown is desk.transfer(*pair(folder), capacity=1.0).shown
    assert not torch.equal(views[0].result.frame_TCHW, views[1].result.frame_TCHW)


def test_a_transfer_that_turns_into_the_source_is_seen(desk, folder):
    view = desk.transfer(*pair(folder))
    dark, bright = torch.full((4, 3, SIDE, SIDE), 0.1), torch.full((4, 3, SIDE, SIDE), 0.9)

    def with_frames(moved: torch.Tensor) -> float:
        result = dataclasses.replace(view.result, frame_TCHW=moved, control_TCHW=dark)
        source = dataclasses.replace(view.source, frame_TCHW=bright)
        return views.look_taken(dataclasses.replace(view, result=result, source=source))

    assert with_frames(dark) == 0 and with_frames(bright) == pytest.approx(1, abs=1e-3)
    assert with_frames((dark + bright) / 2) == pytest.approx(0.5, abs=1e-3)


def test_a_careful_reader_is_warned(desk, folder):
    view = desk.transfer(*pair(folder))

    def with_scores(gain: float) -> list[str]:
        result = dataclasses.replace(view.result, scores={**view.result.scores, "prediction_gain": gain})
        return desk.warnings(dataclasses.replace(view, result=result))

    assert any("hardly anything" in said for said in with_scores(0.0))
    assert not any("hardly anything" in said for said in with_scores(0.5))
    still = dataclasses.replace(view.source, frame_TCHW=view.source.frame_TCHW[:1].expand(4, -1, -1, -1))
    assert any("nothing moves" in said for said in desk.warnings(dataclasses.replace(view, source=still)))
    assert facts.score_lines(dataclasses.replace(view, source=still))[0]["figure"] == "–"
    assert "%" in facts.score_lines(view)[0]["figure"]
    bright, dark = torch.full((4, 3, SIDE, SIDE), 0.9), torch.full((4, 3, SIDE, SIDE), 0.1)
    leaky = dataclasses.replace(view.result, frame_TCHW=bright, control_TCHW=dark)
    source = dataclasses.replace(view.source, frame_TCHW=bright)
    assert any("takes on" in said for said in desk.warnings(dataclasses.replace(view, result=leaky, source=source)))


def test_the_carried_share_is_told_where_a_model_carries(desk, folder):
    view = desk.transfer(*pair(folder))
    assert len(facts.score_lines(view)) == 3
    scores = view.result.scores | {"carried_share": 0.87}
    carrying = dataclasses.replace(view, result=dataclasses.replace(view.result, scores=scores))
    assert facts.score_lines(carrying)[-1]["figure"] == "87 %"


def test_lent_clips_join_the_gallery_where_they_are_and_can_be_decoded(
    tiny_model, folder, tmp_path, caplog, monkeypatch
):
    home = tmp_path / "gallery"
    shutil.copytree(folder, home)
    (home / "lent").mkdir()
    shutil.copy(folder / "slide.mp4", home / "lent" / "walk.mp4")
    (home / "lent" / "broken.mp4").write_bytes(b"no video at all")
    sizes = {name: (home / "lent" / f"{name}.mp4").stat().st_size for name in ("walk", "broken")}
    (tmp_path / "gallery.toml").write_text(
        "".join(
            f'[[clip]]\nname = "{name}"\naddress = "https://example.org/{name}.mp4"\nbytes = {sizes.get(name, 9)}\n'
            f'sha256 = "{"0" * 64}"\nlicence = "CC-BY-4.0"\nattribution = "A. Maker"\n'
            f'source = "https://example.org"\nwords = "A {name}"\n'
            for name in ("walk", "broken", "absent")
        )
    )
    guarded = []
    read = lawm.read_clip
    monkeypatch.setattr(
        lawm, "read_clip", lambda path, **how: guarded.append((path, how["trusted"])) or read(path, **how)
    )
    desk = Studio(tiny_model, home)
    assert [clip.file for clip in desk.gallery.clips] == ["slide.mp4", "leap.mp4", "walk.mp4"]
    assert desk.gallery.clips[-1].about == "A. Maker. CC-BY-4.0."
    assert desk.gallery.path("walk.mp4") == home / "lent" / "walk.mp4"
    assert "broken.mp4" in caplog.text
    desk.draw_gallery()
    desk.open_clip(Piece.of(desk.gallery.path("walk.mp4")))
    assert all(trusted == (path.parent == home) for path, trusted in guarded)


def test_a_kept_result_takes_a_quarter_and_its_files_are_the_same(desk, folder):
    view = desk.transfer(*pair(folder))
    plain = view.size_bytes - view.shown.size_bytes
    assert desk.views.used_bytes - view.shown.size_bytes <= plain / 4
    fresh, kept = dataclasses.replace(view), desk.view(view.key)
    made = []
    for number, one in enumerate((fresh, kept)):
        files = Export(**{kind: folder / f"{number}{end}" for kind, end in EXPORT_ENDS.items()})
        write_export(files, one)
        made.append(
            (files.video.read_bytes(), files.recipe.read_bytes(), dict(np.load(files.latents))["action_UA"].tobytes())
        )
    assert made[0] == made[1]
    assert desk.view("of nobody") is None
