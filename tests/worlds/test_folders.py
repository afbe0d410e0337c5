"""Folders of videos: manifests as people save them, and files that cannot be read."""

import os

import pytest

from lawm_core.contracts import VideoError
from lawm_core.worlds.clips import ClipCacheConfig, build_cache
from lawm_core.worlds.folders import demand_readable, list_videos
from tests.video.conftest import ffmpeg


def test_without_a_manifest_every_tenth_is_for_measuring(tmp_path):
    for i in range(12):
        (tmp_path / f"{i:02d}.mp4").touch()
    assert [p.name for p, _ in list_videos(tmp_path, "val")] == ["09.mp4"]
    assert len(list_videos(tmp_path)) == 12


@pytest.mark.parametrize("make", [lambda p: p / "none", lambda p: p])
def test_a_folder_without_videos_is_refused(tmp_path, make):
    with pytest.raises(ValueError, match=r"not a folder|holds no video"):
        list_videos(make(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "file,split\na.mp4,train\nb c.mp4,val\n",
        "\ufefffile,split\r\na.mp4,train\r\nb c.mp4,val\r\n",
        "file;split;licence\na.mp4;train;CC BY, 4.0\nb c.mp4;val;CC0\n",
        "split\tfile\ntrain\ta.mp4\nval\tb c.mp4\n",
        "File,SPLIT\na.mp4,Train\nb c.mp4,VAL\n",
        'file, split\n\na.mp4, train\n"b c.mp4" , val\n\n',
        "file,split\na.mp4\nb c.mp4,val",
    ],
)
def test_manifests_are_read_as_people_save_them(tmp_path, text):
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
    assert [(p.name, split) for p, split in list_videos(tmp_path)] == [("a.mp4", "train"), ("b c.mp4", "val")]
    assert [p.name for p, _ in list_videos(tmp_path, "val")] == ["b c.mp4"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"path,split\na.mp4,train\n", r"manifest\.csv, line 1: the columns are path, split; needed: file"),
        (b"file,split\na.mp4,train\n ,val\n", r"manifest\.csv, line 3: the column file is empty"),
        ("file,split\nä.mp4,train\n".encode("latin-1"), r"manifest\.csv is not UTF-8 text"),
    ],
)
def test_manifests_that_cannot_be_read_are_refused_by_line(tmp_path, content, says):
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(ValueError, match=says):
        list_videos(tmp_path)


@pytest.mark.parametrize("name", ["a.m4v", "b.MTS", "c.3gp", "d.ts", "e.ogv", "f.wmv", "g.apng"])
def test_the_suffixes_of_the_reader_are_those_of_folders(tmp_path, name):
    (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    assert [p.name for p, _ in list_videos(tmp_path)] == [name]


@pytest.fixture
def mixed(tmp_path):
    """Two videos, a link to nowhere and a text that calls itself a video."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=48x48:r=12:d=2", folder / name)
    os.symlink("/nowhere.mp4", folder / "gone.mp4")
    (folder / "words.mp4").write_text("hello")
    return folder


def test_what_cannot_be_read_is_left_out_and_named(mixed, tmp_path):
    world = build_cache(mixed, tmp_path / "cache", ClipCacheConfig(frames_per_second=6.0, short_side=32))
    index = (world / "index.json").read_text()
    assert "gone.mp4 does not exist" in index and "words.mp4 is not a readable video" in index
    assert index.count('"offset"') == 2


def test_a_folder_of_which_nothing_can_be_read_gives_the_reasons(mixed, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (mixed / name).unlink()
    with pytest.raises(
        VideoError, match=r"videos holds no video that can be read\. gone\.mp4 does not exist.*words\.mp4 is"
    ):
        build_cache(mixed, tmp_path / "cache", ClipCacheConfig(frames_per_second=6.0, short_side=32))
    assert not list((tmp_path / "cache").glob("clips-*"))
    demand_readable(mixed, 1, {"a.mp4": "a.mp4 is broken."})
