"""Folders of videos: manifests in common formats, and files that cannot be read."""

import os

import pytest

from lawm_core.data.clip_dataset import ClipCacheConfig, build_cache
from lawm_core.data.folders import check_readable_videos, list_videos
from lawm_core.types import VideoError
from tests.video.conftest import ffmpeg


def test_without_a_manifest_every_tenth_video_is_in_val(tmp_path):
    for i in range(12):
        (tmp_path / f"{i:02d}.mp4").touch()
    assert [p.name for p, _ in list_videos(tmp_path, "val")] == ["09.mp4"]
    assert len(list_videos(tmp_path)) == 12


@pytest.mark.parametrize("make", [lambda p: p / "none", lambda p: p])
def test_a_folder_without_videos_raises_an_error(tmp_path, make):
    with pytest.raises(ValueError, match=r"must be a folder of videos|has no video"):
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
def test_manifests_of_common_formats_are_read(tmp_path, text):
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
    assert [(p.name, split) for p, split in list_videos(tmp_path)] == [("a.mp4", "train"), ("b c.mp4", "val")]
    assert [p.name for p, _ in list_videos(tmp_path, "val")] == ["b c.mp4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"path,split\na.mp4,train\n",
            r"manifest\.csv, line 1: the columns must include file, and may include split, got path, split",
        ),
        (b"file,split\na.mp4,train\n ,val\n", r"manifest\.csv, line 3: the column file is empty"),
        ("file,split\nä.mp4,train\n".encode("latin-1"), r"manifest\.csv is not UTF-8 text"),
    ],
)
def test_invalid_manifests_raise_an_error_with_the_line(tmp_path, content, message):
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list_videos(tmp_path)


@pytest.mark.parametrize("name", ["a.m4v", "b.MTS", "c.3gp", "d.ts", "e.ogv", "f.wmv", "g.apng"])
def test_folders_list_all_suffixes_of_videos(tmp_path, name):
    (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    assert [p.name for p, _ in list_videos(tmp_path)] == [name]


@pytest.fixture
def mixed(tmp_path):
    """Two videos, a broken link, and a text file with the name of a video."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=48x48:r=12:d=2", folder / name)
    os.symlink("/nowhere.mp4", folder / "gone.mp4")
    (folder / "text.mp4").write_text("hello")
    return folder


def test_unreadable_files_are_skipped_with_a_reason(mixed, tmp_path):
    home = build_cache(mixed, tmp_path / "cache", ClipCacheConfig(frames_per_second=6.0, short_side=32))
    index = (home / "index.json").read_text()
    assert "gone.mp4 does not exist" in index and "text.mp4 is not a readable video" in index
    assert index.count('"offset"') == 2


def test_a_folder_without_readable_videos_raises_an_error_with_the_reasons(mixed, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (mixed / name).unlink()
    with pytest.raises(
        VideoError, match=r"videos has no video that can be read\. gone\.mp4 does not exist.*text\.mp4 is"
    ):
        build_cache(mixed, tmp_path / "cache", ClipCacheConfig(frames_per_second=6.0, short_side=32))
    assert not list((tmp_path / "cache").glob("clips-*"))
    check_readable_videos(mixed, 1, {"a.mp4": "a.mp4 is broken."})
