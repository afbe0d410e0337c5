"""Reader and writer of video files: correct frames by time stamp, correct pixels, or an error with the reason."""

import math
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from lawm_core.types import VideoError
from lawm_core.video import containers
from lawm_core.video.decode_types import DecodeLimits
from lawm_core.video.files import MAX_FRAMES, probe_video, read_clip, read_frames, write_clip
from lawm_core.video.transforms import resize
from tests.video.conftest import ffmpeg, numbered, numbers


def read(path: Path, rate: float = 10, size: int = 32, **options):
    return read_clip(path, rate, size, trusted=True, **options)


def picture(height: int = 48, width: int = 64, count: int = 3) -> torch.Tensor:
    """Return smooth colour frames whose four corners differ."""
    y_H, x_W = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    frame_CHW = torch.stack([x_W.expand(height, width), y_H.expand(height, width), (1 - x_W) * y_H])
    return frame_CHW.expand(count, 3, height, width).contiguous()


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10((a - b).square().mean().item() + 1e-12)


# Time


def test_at_the_files_own_rate_each_frame_comes_once(counting_mp4):
    clip = read(counting_mp4)
    assert numbers(clip.frame_TCHW) == list(range(50))
    assert clip.file_seconds == pytest.approx(5, abs=0.01) and clip.name == "counting.mp4"


def test_a_lower_rate_skips_and_a_higher_rate_repeats(counting_mp4):
    assert numbers(read(counting_mp4, 2.5).frame_TCHW) == list(range(0, 50, 4))
    assert numbers(read(counting_mp4, 4).frame_TCHW) == [int(i * 2.5) for i in range(20)]
    assert numbers(read(counting_mp4, 30, num_frames=9).frame_TCHW) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("start", [0.05, 0.3, 1.0, 2.1, 2.95, 3.7])
def test_the_first_frame_is_the_one_on_screen_at_the_start(counting_mp4, start):
    clip = read(counting_mp4, 5, num_frames=4, start_seconds=start)
    assert numbers(clip.frame_TCHW) == [int((start + i / 5) * 10 + 0.02) for i in range(4)]
    assert clip.start_seconds == start


def test_the_clip_is_shorter_if_the_file_ends_earlier(counting_mp4):
    assert numbers(read(counting_mp4, num_frames=99, start_seconds=4.5).frame_TCHW) == [45, 46, 47, 48, 49]


def test_a_variable_frame_rate_is_read_by_time_stamp(tmp_path, counting_mp4):
    path = tmp_path / "variable.mp4"  # frames 0 to 19, then every fifth
    ffmpeg("-i", counting_mp4, "-vf", "select='lt(n,20)+not(mod(n,5))'", "-fps_mode", "vfr", "-crf", 8, path)
    expected = [n if n < 20 else n - n % 5 for n in range(46)]
    assert numbers(read(path).frame_TCHW)[:46] == expected
    assert numbers(read(path, num_frames=8, start_seconds=2.3).frame_TCHW) == expected[23:31]


def test_frames_hidden_by_an_edit_list_stay_hidden(tmp_path, counting_mp4):
    path = tmp_path / "cut.mp4"  # cut between key frames without re-encoding, as phones do
    ffmpeg("-ss", 1.0, "-i", counting_mp4, "-c", "copy", path)
    assert numbers(read(path).frame_TCHW) == list(range(10, 50))


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_time_counts_from_the_first_frames_time_stamp(tmp_path, counting_mp4, suffix):
    path = tmp_path / f"late.{suffix}"
    ffmpeg("-itsoffset", 7, "-i", counting_mp4, "-c", "copy", path)
    assert numbers(read(path, 5, num_frames=4, start_seconds=3).frame_TCHW) == [30, 32, 34, 36]


@pytest.mark.parametrize("rate", [10, 12, 24, 30, 50])
def test_each_frame_of_a_gif_comes_once_despite_rounded_time_stamps(tmp_path, rate):
    write_clip(tmp_path / "a.gif", numbered(40), rate)
    assert numbers(read(tmp_path / "a.gif", rate).frame_TCHW) == list(range(40))


def test_a_short_window_of_a_long_file_decodes_few_frames(tmp_path, monkeypatch):
    path = tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=10:d=600", "-preset", "ultrafast", "-g", 50, path)
    decoded, frames = 0, containers.decoded_frames

    def counted(*arguments):
        nonlocal decoded
        for frame in frames(*arguments):
            decoded += 1
            yield frame

    monkeypatch.setattr(containers, "decoded_frames", counted)
    assert len(read(path, num_frames=10, start_seconds=500).frame_TCHW) == 10
    assert decoded <= 1 + 50 + 10 + 2  # probe, from the key frame, window, next frame


def test_reading_to_the_end_stops_at_max_frames(counting_mp4):
    assert len(read(counting_mp4, 200, size=16).frame_TCHW) == MAX_FRAMES


# Space


@pytest.mark.parametrize("turn", [0, 90, 180, -90])
def test_rotated_files_are_turned_upright(tmp_path, turn):
    write_clip(tmp_path / "flat.mp4", picture(), 10)
    ffmpeg("-display_rotation", turn, "-i", tmp_path / "flat.mp4", "-c", "copy", tmp_path / "turned.mp4")
    expected = torch.rot90(picture()[..., 8:56], turn // 90, dims=(-2, -1))
    assert psnr(read(tmp_path / "turned.mp4", size=48).frame_TCHW, expected) > 32
    assert psnr(read(tmp_path / "turned.mp4", size=20).frame_TCHW, resize(expected, 20)) > 32
    info = probe_video(tmp_path / "turned.mp4", trusted=True)
    assert (info.width, info.height) == ((64, 48) if turn % 180 == 0 else (48, 64))


@pytest.mark.parametrize(("height", "width"), [(96, 200), (200, 96), (480, 270)])
def test_the_centre_crop_is_the_same_at_every_decode_size(tmp_path, height, width):
    side, source = min(height, width), picture(height, width)
    write_clip(tmp_path / "a.mp4", source, 10)
    top, left = (height - side) // 2, (width - side) // 2
    expected = resize(source[..., top : top + side, left : left + side], 32)
    assert psnr(read(tmp_path / "a.mp4", size=32).frame_TCHW, expected) > 32


def test_resizing_is_antialiased(tmp_path):
    board_HW = ((torch.arange(256)[:, None] + torch.arange(256)) % 2).float()
    write_clip(tmp_path / "board.mp4", board_HW.expand(2, 3, 256, 256), 10)
    frame_TCHW = read(tmp_path / "board.mp4", size=30).frame_TCHW[..., 2:-2, 2:-2]
    assert frame_TCHW.std() < 0.02 and abs(frame_TCHW.mean() - 0.5) < 0.03


FORMATS = {
    "mp4": ["-c:v", "libx264"],
    "mov": ["-c:v", "libx264"],
    "mkv": ["-c:v", "libx264"],
    "webm": ["-c:v", "libvpx-vp9", "-crf", "10", "-b:v", "0", "-cpu-used", "5"],
    "avi": ["-c:v", "mjpeg", "-q:v", "2"],
    "gif": ["-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse"],
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_format_gives_the_same_frames(tmp_path, counting_mp4, suffix):
    path = tmp_path / f"format.{suffix}"
    ffmpeg("-i", counting_mp4, *FORMATS[suffix], path)
    clip = read(path, 5, num_frames=8, start_seconds=1)
    assert numbers(clip.frame_TCHW) == list(range(10, 26, 2))
    assert clip.frame_TCHW.dtype == torch.float32 and clip.frame_TCHW.shape == (8, 3, 32, 32)
    info = probe_video(path, trusted=True)
    assert (info.width, info.height) == (64, 48)
    assert info.seconds == pytest.approx(5, abs=0.11) and info.frames_per_second == pytest.approx(10, abs=0.01)


# Writing


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (50, 70), (33, 47), (97, 64)])
def test_writing_keeps_the_size(tmp_path, suffix, height, width):
    write_clip(tmp_path / f"a{suffix}", picture(height, width), 10)
    info = probe_video(tmp_path / f"a{suffix}", trusted=True)
    if suffix == ".mp4":  # H.264 needs even sides: one repeated row or column
        height, width = height + height % 2, width + width % 2
    assert (info.height, info.width) == (height, width)


@pytest.mark.parametrize(("suffix", "floor"), [(".mp4", 36), (".webm", 34), (".gif", 28)])
def test_a_round_trip_keeps_pixels_and_frame_rate(tmp_path, suffix, floor):
    source = picture(64, 64, count=6)
    source = (source + torch.linspace(0, 0.1, 6).view(6, 1, 1, 1)).clamp(0, 1)
    write_clip(tmp_path / f"a{suffix}", source, 12.5)
    clip = read(tmp_path / f"a{suffix}", 12.5, size=64)
    assert len(clip.frame_TCHW) == 6 and psnr(clip.frame_TCHW, source) > floor


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_output_is_deterministic_and_leaves_no_other_files(tmp_path, suffix):
    source = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name in ("a", "b"):
        write_clip(tmp_path / f"{name}{suffix}", source, 10)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert sorted(os.listdir(tmp_path)) == [f"a{suffix}", f"b{suffix}"]


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"old")

    def broken(part, *_):
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("lawm_core.video.files._write_encoded", broken)
    monkeypatch.setattr("lawm_core.video.files._write_gif", broken)
    with pytest.raises(OSError, match="disk full"):
        write_clip(tmp_path / f"a{suffix}", picture(), 10)
    assert os.listdir(tmp_path) == [f"a{suffix}"] and (tmp_path / f"a{suffix}").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "frames", "rate", "says"),
    [
        ("a.mp4", torch.rand(2, 1, 16, 16), 10, r"\(2, 1, 16, 16\)"),
        ("a.mp4", torch.rand(3, 16, 16), 10, r"\(3, 16, 16\)"),
        ("a.mp4", torch.zeros(2, 3, 16, 16, dtype=torch.uint8), 10, "uint8"),
        ("a.mp4", torch.full((2, 3, 16, 16), math.nan), 10, "not finite"),
        ("a.mp4", torch.zeros(0, 3, 16, 16), 10, r"\(0, 3, 16, 16\)"),
        ("a.mp4", torch.rand(2, 3, 16, 16), 0, "frames_per_second must be a finite number above 0, got 0"),
        ("a.gif", torch.rand(2, 3, 16, 16), 60, "at most 50"),
        ("a.txt", torch.rand(2, 3, 16, 16), 10, r"a\.txt must end in \.mp4, \.webm or \.gif, got \.txt"),
        ("nowhere/a.mp4", torch.rand(2, 3, 16, 16), 10, "folder 'nowhere'"),
    ],
)
def test_invalid_output_raises_an_error_with_the_reason(tmp_path, name, frames, rate, says):
    with pytest.raises(ValueError, match=says):
        write_clip(tmp_path / name, frames, rate)
    assert not os.listdir(tmp_path)


# Errors


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"frames_per_second": 0}, "frames_per_second must be a finite number above 0, got 0"),
        ({"frames_per_second": math.nan}, "frames_per_second must be a finite number above 0, got nan"),
        ({"size": -1}, "size must be a finite number above 0, got -1"),
        ({"num_frames": 1}, "num_frames must be at least 2, or None for all, got 1"),
        ({"start_seconds": -0.1}, "start_seconds must be a finite number of at least 0, got -0.1"),
        ({"start_seconds": math.inf}, "start_seconds must be a finite number of at least 0, got inf"),
    ],
)
def test_arguments_out_of_range_raise_value_error(counting_mp4, options, says):
    with pytest.raises(ValueError, match=says) as caught:
        read_clip(counting_mp4, **{"frames_per_second": 10, "size": 32, **options})
    assert not isinstance(caught.value, VideoError)


def _make(name: str, folder: Path, counting_mp4: Path) -> None:
    path = folder / name
    if name == "folder.mp4":
        path.mkdir()
    elif name == "fifo.mp4":
        os.mkfifo(path)
    elif name == "empty.mp4":
        path.touch()
    elif name == "text.mp4":
        path.write_text("hello, this is text")
    elif name == "list.mp4":  # a play list cannot make the decoder open another file
        path.write_text(f"ffconcat version 1.0\nfile {counting_mp4.name}\n")
    elif name == "sound.mp4":
        ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", path)
    elif name == "one.mp4":
        write_clip(path, picture(count=1), 10)
    elif name == "tiny.mp4":
        write_clip(path, picture(8, 8), 10)


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.mp4", "does not exist"),
        ("folder.mp4", "is a folder"),
        ("fifo.mp4", "not a regular file"),
        ("empty.mp4", "0 bytes"),
        ("text.mp4", "not a readable video"),
        ("list.mp4", "not a readable video"),
        ("sound.mp4", "has audio but no video stream"),
        ("one.mp4", "gives 1 frame .* at least 2 are needed. Choose a longer video"),
        ("tiny.mp4", "8 x 8 pixels; each side must have at least 16"),
    ],
)
def test_unusable_files_raise_an_error_with_name_and_reason(tmp_path, counting_mp4, trusted, name, says):
    _make(name, tmp_path, counting_mp4)
    with pytest.raises(VideoError, match=says) as caught:
        read_clip(tmp_path / name, 10, 32, trusted=trusted)
    assert str(caught.value).startswith(name) and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_video_of_one_frame_is_enough_for_a_target(tmp_path, counting_mp4, trusted):
    _make("one.mp4", tmp_path, counting_mp4)
    clip = read_clip(tmp_path / "one.mp4", 10, 32, trusted=trusted, min_frames=1)
    assert clip.frame_TCHW.shape == (1, 3, 32, 32)
    with pytest.raises(VideoError, match=r"one\.mp4 gives 1 frame at 10 frames per second; an action needs at least 2"):
        next(read_frames(tmp_path / "one.mp4", 10, 32, trusted))


def test_a_picture_is_enough_for_a_target_but_not_for_a_source(tmp_path):
    path = tmp_path / "photo.JPG"
    Image.new("RGB", (90, 60), (250, 120, 10)).save(path, "JPEG")
    clip = read_clip(path, 10, 32, num_frames=8, start_seconds=3.0, min_frames=1)
    assert clip.frame_TCHW.shape == (1, 3, 32, 32) and (clip.start_seconds, clip.file_seconds) == (0, 0)
    assert clip.frame_TCHW[0, 0].mean() > 0.9 > 0.6 > clip.frame_TCHW[0, 1].mean()
    with pytest.raises(VideoError, match=r"photo\.JPG is not a readable video"):
        read_clip(path, 10, 32)


@pytest.mark.parametrize("start", [5.0, 7.5, 1e9])
def test_a_start_after_the_end_raises_an_error_with_the_duration(counting_mp4, start):
    with pytest.raises(VideoError, match=r"counting.mp4 is 5.00 s long"):
        read(counting_mp4, start_seconds=start)


def test_a_frame_rate_too_low_for_two_frames_raises_an_error(counting_mp4):
    with pytest.raises(VideoError, match=r"gives 1 frame from 4 s on at 0\.5 frames per second"):
        read(counting_mp4, 0.5, start_seconds=4)


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ({"max_bytes": 100}, "at most 0 MiB are allowed"),
        ({"max_side": 50}, "64 x 48 pixels; at most 50"),
        ({"max_pixels": 1000}, "1000 in total"),
        ({"max_seconds": 2}, "declares 5 s; at most 2 s"),
        ({"max_declared_frames": 20}, "declares 50 frames; at most 20"),
        ({"max_reply_bytes": 100_000}, "would give [0-9]+ frames at this size; request at most"),
    ],
)
def test_files_over_a_limit_raise_an_error_that_names_it(counting_mp4, limit, says):
    with pytest.raises(VideoError, match=says):
        read(counting_mp4, limits=DecodeLimits(**limit))
