"""Common kinds of files are read as ffmpeg reads them: frame on screen at each time, orientation, shape and colour.

Every frame of the test scene has a hue of its own.
"""

import re
import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from lawm_core.types import VideoError
from lawm_core.video import decode
from lawm_core.video.decode_types import decode_size
from lawm_core.video.files import probe_video, read_clip, read_frames
from lawm_core.video.timeline import frames_on_screen
from lawm_core.video.transforms import to_square
from tests.video.conftest import ffmpeg

SIZE = 48
RATE = 6.0
NEAR = 3 / 255
SECONDS = 5


def scene(seconds: float = SECONDS, size: str = "160x120", more: str = "") -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d={seconds},hue=h=n*37{more}"]


X264 = "-c:v libx264 -crf 12 -preset veryfast -pix_fmt yuv420p".split()
OPEN_GOP = [*X264, "-x264-params", "open-gop=1:keyint=25:bframes=3"]
KINDS = {
    "open_gop.mp4": OPEN_GOP,
    "open_gop.mov": OPEN_GOP,
    "open_gop.mkv": OPEN_GOP,
    "open_gop.ts": OPEN_GOP,
    "hevc.ts": "-c:v libx265 -x265-params log-level=error:pools=1:keyint=25 -crf 14 -preset ultrafast".split(),
    "mpeg2.ts": "-c:v mpeg2video -q:v 2 -g 12".split(),
    "mpeg2_b.mov": "-c:v mpeg2video -q:v 2 -g 12 -bf 2".split(),
    "mpeg2_b.mpg": "-c:v mpeg2video -q:v 2 -g 12 -bf 2".split(),
    "mpeg4_b.mp4": "-c:v mpeg4 -q:v 2 -g 12 -bf 2".split(),
    "mpeg4_b.avi": "-c:v mpeg4 -q:v 2 -g 12 -bf 2".split(),
    "wmv2.wmv": "-c:v wmv2 -q:v 2 -g 12".split(),
    "mjpeg.asf": "-c:v mjpeg -q:v 3 -pix_fmt yuvj420p".split(),
    "grey_qtrle.mov": "-vf format=gray -c:v qtrle -pix_fmt gray".split(),
    "palette.avi": "-vf format=pal8 -c:v rawvideo".split(),
    "palette_smc.mov": "-vf split[a][b];[a]palettegen[p];[b][p]paletteuse -c:v smc".split(),
    "wide_pixels.mp4": ["-vf", "setsar=2/1", *X264],
    "wide_pixels.webm": "-vf setsar=4/3 -c:v libvpx-vp9 -cpu-used 8 -crf 12 -b:v 0".split(),
    "frames_between.ogv": "-c:v libtheora -q:v 8".split(),
}


def reference(path: Path) -> tuple[np.ndarray, torch.Tensor]:
    """Return ffmpeg's own frames: start_X in seconds from the first frame on, and frame_XCHW."""
    info = probe_video(path)
    width, height = decode_size(info.width, info.height, SIZE)
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", str(path), "-vf",
        f"showinfo,scale={width}:{height}:flags=bicubic", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt",
        "rgb24", "-",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True)
    start_X = np.array([float(t) for t in re.findall(rb"pts_time:(-?[\d.]+)", done.stderr)])
    byte_XHWC = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    return start_X - start_X[0], to_square(torch.from_numpy(byte_XHWC.copy()), SIZE)


def largest_difference(path: Path) -> float:
    """Return the largest mean difference of a frame from ffmpeg's, at five start times and over the whole file."""
    start_X, true_XCHW = reference(path)
    worst = 0.0
    for start in np.linspace(0, start_X[-1] - 0.6, 5).tolist():
        clip = read_clip(path, RATE, SIZE, num_frames=3, start_seconds=start, trusted=True)
        index_T = frames_on_screen(start_X, start + np.arange(3) / RATE, 2e-3)
        worst = max(worst, (clip.frame_TCHW - true_XCHW[index_T]).abs().mean(dim=(1, 2, 3)).max().item())
    whole_TCHW = torch.cat(list(read_frames(path, RATE, 2 * SIZE, trusted=True)))
    assert abs(len(whole_TCHW) - start_X[-1] * RATE) <= 2
    index_T = frames_on_screen(start_X, np.arange(len(whole_TCHW)) / RATE, 2e-3)
    off_T = (to_square(whole_TCHW.permute(0, 2, 3, 1), SIZE) - true_XCHW[index_T]).abs().mean(dim=(1, 2, 3))
    return max(worst, off_T.max().item())


@pytest.mark.parametrize("name", KINDS)
def test_frames_are_those_that_ffmpeg_shows(tmp_path, name):
    ffmpeg(*scene(), *KINDS[name], tmp_path / name)
    assert largest_difference(tmp_path / name) < NEAR


def test_pixels_that_are_not_square_become_so(tmp_path):
    ffmpeg(*scene(2), "-vf", "setsar=2/1", *X264, tmp_path / "a.mp4")
    info = probe_video(tmp_path / "a.mp4")
    assert (info.width, info.height) == (320, 120)


@pytest.mark.parametrize(
    "matrix", [(-1, 0, 0, 1, 160, 0), (1, 0, 0, -1, 0, 120), (0, 1, 1, 0, 0, 0), (0, -1, -1, 0, 120, 160)]
)
def test_mirrored_display_matrices_are_applied(tmp_path, matrix):
    ffmpeg(*scene(2), *X264, tmp_path / "flat.mp4")
    data = bytearray((tmp_path / "flat.mp4").read_bytes())
    at = data.find(b"tkhd")
    offset = at + 8 + (20 if data[at + 4] == 0 else 32) + 16
    a, b, c, d, x, y = (int(value * 65536) for value in matrix)
    data[offset : offset + 36] = struct.pack(">9i", a, b, 0, c, d, 0, x, y, 1 << 30)
    (tmp_path / "mirrored.mp4").write_bytes(data)
    assert largest_difference(tmp_path / "mirrored.mp4") < NEAR


@pytest.mark.parametrize(("marked", "width"), [(0, 80), (1, 160)])
def test_of_two_streams_the_one_that_ffmpeg_chooses_is_read(tmp_path, marked, width):
    ffmpeg(
        *scene(2, "80x80"), *scene(2), "-map", "0:v", "-map", "1:v", *X264, f"-disposition:v:{1 - marked}", "0",
        f"-disposition:v:{marked}", "default", tmp_path / "two.mp4",
    )  # fmt: skip
    assert probe_video(tmp_path / "two.mp4").width == width
    assert largest_difference(tmp_path / "two.mp4") < NEAR


@pytest.mark.parametrize("shift", [[], ["-output_ts_offset", "90000"]])
def test_concatenated_transport_streams_are_read_in_one_timeline(tmp_path, shift):
    ffmpeg(*scene(3), *X264, "-g", "25", *shift, tmp_path / "a.ts")
    ffmpeg(*scene(3, more="+180,negate"), *X264, "-g", "25", tmp_path / "b.ts")
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    assert probe_video(joined).seconds == pytest.approx(6, abs=0.3) and not probe_video(joined).continuous
    assert largest_difference(joined) < NEAR


def test_a_file_whose_audio_is_longer_ends_with_its_last_frame(tmp_path):
    path = tmp_path / "long_sound.webm"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x64:r=12:d=50", "-f", "lavfi", "-i", "sine=d=52", "-c:v", "libvpx-vp9",
        "-cpu-used", "8", "-g", "60", "-c:a", "libopus", path,
    )  # fmt: skip
    assert sum(len(part) for part in read_frames(path, 12.0, 64)) == 600
    with pytest.raises(VideoError, match=r"cannot be read from 50\.5 s"):
        read_clip(path, 12.0, 64, 8, start_seconds=50.5)


def test_skipping_unneeded_frames_does_not_change_the_others(tmp_path, monkeypatch):
    ffmpeg(*scene(), *X264, "-x264-params", "keyint=50:bframes=3", tmp_path / "a.mp4")
    quick = read_clip(tmp_path / "a.mp4", RATE, SIZE, trusted=True).frame_TCHW
    monkeypatch.setattr(decode, "SKIPPING_CODECS", ())
    assert torch.equal(quick, read_clip(tmp_path / "a.mp4", RATE, SIZE, trusted=True).frame_TCHW)


VERIFIED = {
    "closed.mp4": [*X264, "-x264-params", "open-gop=0:keyint=25:bframes=3"],
    "closed.mkv": [*X264, "-x264-params", "open-gop=0:keyint=25:bframes=3"],
    "closed.mov": "-c:v libx265 -x265-params log-level=error:pools=1:keyint=25:open-gop=0 -preset ultrafast".split(),
    "closed.webm": "-c:v libvpx-vp9 -cpu-used 8 -crf 12 -b:v 0 -g 25".split(),
}


@pytest.mark.parametrize("name", VERIFIED)
def test_decord_reads_verified_kinds_correctly(tmp_path, name, monkeypatch):
    """Same frames as PyAV; colours differ slightly, because decord ignores the position of chroma."""
    ffmpeg(*scene(), *VERIFIED[name], tmp_path / name)
    used = []
    read = decode.decode_decord
    monkeypatch.setattr(decode, "decode_decord", lambda *given: used.append(1) or read(*given))
    for start in (0.0, 1.3, 3.1):
        monkeypatch.setenv("LAWM_READER", "pyav")
        own = read_clip(tmp_path / name, RATE, SIZE, 4, start, trusted=True).frame_TCHW
        monkeypatch.setenv("LAWM_READER", "decord")
        other = read_clip(tmp_path / name, RATE, SIZE, 4, start, trusted=True).frame_TCHW
        assert (own - other).abs().mean(dim=(1, 2, 3)).max() < 4 / 255
    assert len(used) == 3


@pytest.mark.parametrize("name", ["open_gop.mp4", "open_gop.ts", "mpeg4_b.mp4", "mpeg2_b.mov", "mjpeg.asf", "wmv2.wmv"])
def test_decord_is_not_used_for_kinds_that_it_reads_wrongly(tmp_path, name, monkeypatch):
    ffmpeg(*scene(3), *KINDS[name], tmp_path / name)
    monkeypatch.setenv("LAWM_READER", "decord")
    monkeypatch.setattr(decode, "decode_decord", lambda *_: pytest.fail("decord was used"))
    assert largest_difference(tmp_path / name) < NEAR


def test_an_unknown_reader_raises_an_error(tmp_path, monkeypatch):
    ffmpeg(*scene(1), *X264, tmp_path / "a.mp4")
    monkeypatch.setenv("LAWM_READER", "opencv")
    with pytest.raises(ValueError, match="LAWM_READER must be one of pyav, decord, got 'opencv'"):
        read_clip(tmp_path / "a.mp4", RATE, SIZE)
