"""Hostile files give a clip or an error with the file's name and a reason, and never end this process."""

import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lawm_core.types import Clip, VideoError
from lawm_core.video.files import read_clip, write_clip
from tests.video.conftest import numbered

TOOL = Path(__file__).resolve().parents[2].parent / "shared" / "tools" / "hostile_videos.py"


def own_cases(folder: Path, mutants: int) -> list[dict]:
    """Write a small set of hostile files, for a checkout without the shared tool."""
    write_clip(folder / "normal.mp4", numbered(40), 10)
    write_clip(folder / "normal.webm", numbered(40), 10)
    write_clip(folder / "normal.gif", numbered(40), 10)
    data = (folder / "normal.mp4").read_bytes()
    cases = [{"file": f"normal.{suffix}", "expect": "frames"} for suffix in ("mp4", "webm", "gif")]

    def add(name: str, content: bytes, expect: str) -> None:
        (folder / name).write_bytes(content)
        cases.append({"file": name, "expect": expect})

    add("text.mp4", b"hello, this is text, not video\n", "refuse")
    add("empty.mp4", b"", "refuse")
    add("header_only.mp4", data[:200], "refuse")
    add("truncated.mp4", data[: len(data) * 3 // 4], "either")
    for name, box, offset, value in [
        ("lie_sample_count.mp4", b"stts", 12, b"\x7f\xff\xff\xff"),
        ("lie_duration.mp4", b"mvhd", 20, b"\xff\xff\xff\xff"),
        ("lie_size_zero.mp4", b"avc1", 28, b"\0\0\0\0"),
        ("lie_size_30000.mp4", b"avc1", 28, b"\x75\x30\x75\x30"),
    ]:
        at = data.find(box) + offset
        add(name, data[:at] + value + data[at + 4 :], "either")
    draw = random.Random(7)
    for index in range(mutants):
        suffix = ("mp4", "webm", "gif")[index % 3]
        mutant = bytearray((folder / f"normal.{suffix}").read_bytes())
        for _ in range(draw.choice([1, 10, 100])):
            mutant[draw.randrange(min(len(mutant), draw.choice([2048, 10**9])))] = draw.randrange(256)
        add(f"mutant_{index:03d}.{suffix}", bytes(mutant), "either")
    return cases


def tool_cases(folder: Path, mutants: int) -> list[dict]:
    subprocess.run([sys.executable, TOOL, folder, "--mutants", str(mutants)], check=True)
    return json.loads((folder / "cases.json").read_text())


def unexpected(folder: Path, cases: list[dict]) -> list[tuple[str, str]]:
    """Return files with an unexpected outcome, with that outcome. Every clip and every error is checked here."""

    def outcome(case: dict) -> str:
        name = case["file"]
        try:
            clip = read_clip(folder / name, 5, 64)
        except VideoError as error:
            assert str(error).startswith(name) and len(str(error)) > len(name) + 10, str(error)
            return "refuse"
        assert isinstance(clip, Clip) and len(clip.frame_TCHW) >= 2 and clip.frame_TCHW.shape[1:] == (3, 64, 64)
        assert clip.frame_TCHW.min() >= 0 and clip.frame_TCHW.max() <= 1
        return "frames"

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(outcome, cases))
    return [(c["file"], o) for c, o in zip(cases, outcomes, strict=True) if c["expect"] not in ("either", o)]


@pytest.mark.slow
def test_hostile_files_give_frames_or_a_reason(tmp_path):
    """Use the shared tool if it is beside the checkout, else our own cases."""
    cases = (tool_cases if TOOL.exists() else own_cases)(tmp_path, 100)
    assert len(cases) >= 100 and unexpected(tmp_path, cases) == []


def test_a_few_hostile_files_give_frames_or_a_reason(tmp_path):
    assert unexpected(tmp_path, own_cases(tmp_path, 12)) == []
