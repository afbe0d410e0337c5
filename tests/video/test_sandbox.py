"""Sandbox: same frames as without it, and an error when the child process dies."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from lawm_core.types import VideoError
from lawm_core.video import sandbox
from lawm_core.video.decode_types import DecodeLimits
from lawm_core.video.files import probe_video, read_clip
from tests.video.conftest import ffmpeg, numbers


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """After each test there is no child process, not even a zombie, and no temporary file."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = children()
    yield
    assert children() == before and not os.listdir(folder)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Replace the child process by a script and count how often it starts."""

    def install(body: str):
        script, count = tmp_path / "child.py", tmp_path / "starts"
        script.write_text(f"import json, os, sys\nopen({str(count)!r}, 'a').write('x')\n{body}\n")
        monkeypatch.setattr(sandbox.decoder_process, "__file__", str(script))
        return lambda: len(count.read_text())

    return install


def test_sandboxed_and_trusted_frames_are_identical(tmp_path, counting_mp4):
    ffmpeg("-i", counting_mp4, tmp_path / "a.gif")
    ffmpeg("-display_rotation", 90, "-i", counting_mp4, "-c", "copy", tmp_path / "turned.mp4")
    for path in (counting_mp4, tmp_path / "a.gif", tmp_path / "turned.mp4"):
        for start in (0.0, 2.5):
            sandboxed = read_clip(path, 7, 24, num_frames=10, start_seconds=start)
            trusted = read_clip(path, 7, 24, num_frames=10, start_seconds=start, trusted=True)
            assert torch.equal(sandboxed.frame_TCHW, trusted.frame_TCHW)
            assert sandboxed.file_seconds == trusted.file_seconds
        assert probe_video(path) == probe_video(path, trusted=True)


def test_the_decoder_process_does_not_import_torch(counting_mp4):
    program = (
        f"import sys; sys.path += {[sandbox.ROOT, *sys.path]!r}\n"
        "from lawm_core.video import decode, decoder_process; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_decoder_process_has_no_secrets_in_its_environment(counting_mp4, stand_in, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    stand_in("print(json.dumps({'refusal': ' '.join(sorted(os.environ))}))")
    with pytest.raises(VideoError) as caught:
        read_clip(counting_mp4, 10, 32)
    assert "OMP_NUM_THREADS" in str(caught.value) and "HF_TOKEN" not in str(caught.value)


def test_a_hung_process_is_killed_with_its_children(counting_mp4, stand_in):
    pids = counting_mp4.with_name("pids")
    stand_in(
        f"pid = os.fork()\nopen({str(pids)!r}, 'a').write(str(os.getpid()) + ' ')\n"
        "import time, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
    )
    with pytest.raises(
        VideoError, match=r"counting.mp4 could not be decoded safely: the decoder exceeded its time limit"
    ):
        read_clip(counting_mp4, 10, 32, limits=DecodeLimits(wall_seconds=1.5))
    for pid in pids.read_text().split():
        await_end(Path(f"/proc/{pid}/stat"))


def await_end(status: Path) -> None:
    """Wait until a process is gone, or a zombie that init has yet to reap. A kill takes a moment to arrive."""
    for _ in range(1000):
        try:
            if status.read_text().rsplit(") ")[1][0] in "ZX":
                return
        except OSError:
            return
        time.sleep(0.01)
    pytest.fail(f"{status} still runs")


@pytest.mark.parametrize("body", ["os.abort()", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 11)", "sys.exit(3)"])
def test_a_dying_process_raises_an_error(counting_mp4, stand_in, body):
    starts = stand_in(body)
    with pytest.raises(VideoError, match=r"counting.mp4 could not be decoded safely: the decoder (crashed|failed)"):
        read_clip(counting_mp4, 10, 32)
    assert starts() == 1
    with pytest.raises(VideoError, match="safely"):
        probe_video(counting_mp4)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "print('not json')",
        "print('[]')",
        "print('{' * 100000)",
        "print(json.dumps({'shape': [10**9, 10**9, 10**9, 3], 'orientation': {}, 'seconds': 1}))",
        "print(json.dumps({'shape': [-1, -1, 4, 3], 'orientation': {}}), flush=True); os.write(1, bytes(12))",
        "print(json.dumps({'shape': [2, 4, 4, 3], 'orientation': {}, 'seconds': 1})); print('short')",
        "print(json.dumps({'shape': [2, 4], 'orientation': {}, 'seconds': 1}), flush=True); os.write(1, bytes(8))",
        "print('{}')",
        "print(json.dumps({'shape': 'wide'}))",
        "print(json.dumps({'info': 'text'}))",
    ],
)
def test_an_invalid_reply_raises_an_error(counting_mp4, stand_in, body):
    stand_in(body)
    with pytest.raises(VideoError, match="safely"):
        read_clip(counting_mp4, 10, 32)
    with pytest.raises(VideoError, match="safely"):
        probe_video(counting_mp4)


def test_the_decoder_process_respects_its_limits(counting_mp4):
    too_little = [
        {"address_space_bytes": 2**26},  # memory
        {"wall_seconds": 0.01},
    ]
    for limits in too_little:
        with pytest.raises(VideoError, match=r"counting.mp4 (could not be decoded safely|needs more memory)"):
            read_clip(counting_mp4, 10, 32, limits=DecodeLimits(**limits))
    assert len(read_clip(counting_mp4, 10, 32).frame_TCHW) == 50  # and the next request works


def test_processor_time_is_limited(tmp_path):
    path = tmp_path / "slow.mp4"  # several seconds of decoding
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=30:d=20", "-preset", "ultrafast", "-crf", 30, path)
    with pytest.raises(VideoError, match=r"slow.mp4 could not be decoded safely: the decoder exceeded its time limit"):
        read_clip(path, 30, 32, limits=DecodeLimits(cpu_seconds=1, max_cpu_seconds=1))


def test_the_error_names_the_variable_that_raises_the_time_limit(counting_mp4, monkeypatch):
    monkeypatch.setenv("LAWM_DECODE_SECONDS", "7")
    unattended = DecodeLimits.unattended()
    assert (unattended.max_cpu_seconds, unattended.wall_seconds) == (7, 21)
    with pytest.raises(VideoError, match="exceeded its time limit; set LAWM_DECODE_SECONDS above 7 to allow more"):
        read_clip(counting_mp4, 10, 32, limits=dataclasses.replace(unattended, wall_seconds=0.01))
    for bad in ("x", "0", "-3", "2.5", ""):
        monkeypatch.setenv("LAWM_DECODE_SECONDS", bad)
        with pytest.raises(ValueError, match="LAWM_DECODE_SECONDS must be a positive whole number"):
            DecodeLimits.unattended()


def test_reading_is_thread_safe(counting_mp4):
    with ThreadPoolExecutor(4) as pool:
        clips = list(pool.map(lambda start: read_clip(counting_mp4, 10, 16, 5, start / 10), range(8)))
    assert [numbers(clip.frame_TCHW) for clip in clips] == [list(range(s, s + 5)) for s in range(8)]
