"""Measure live sessions in a browser whose camera plays a clip: frame rate, delay, a full house, and memory.

    python benchmarks/live.py [--seconds 120] [--out FILE]

One visitor is live alone, then two at once, while a third one waits for a seat. The delay is the time from the moment a
camera frame is drawn and sent to the moment its picture is drawn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from imageio_ffmpeg import get_ffmpeg_exe
from playwright.sync_api import Page

from benchmarks.results import percentile, write_results
from devtools.browser import launch_chromium, page_opener
from devtools.serving import serve_app

CLIP = ROOT / "assets" / "gallery" / "sea-pan.mp4"
SAMPLE_SECONDS = 0.5


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="of the session of one visitor")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serve_app() as server:
        camera = Path(folder) / "camera.y4m"
        subprocess.run(
            [get_ffmpeg_exe(), "-loglevel", "error", "-i", CLIP, "-vf", "scale=320:240", "-r", "15", "-pix_fmt",
             "yuv420p", camera],
            check=True,
        )  # fmt: skip
        with launch_chromium(camera) as browser, page_opener(browser, server.address) as open_page:
            first = start(open_page())
            before = server.memory_bytes()
            alone = watch([first], options.seconds)[0]
            second = start(open_page())
            both = watch([first, second], options.seconds / 4)
            third = open_page()
            press_start(third)
            third.wait_for_function("document.querySelector('.live-status').textContent.includes('seats are taken')")
            waiting = third.inner_text(".live-status")
            memory = 100 * (server.memory_bytes() / before - 1)
    results: dict[str, object] = {
        "frames per second": alone["rate"],
        "delay, median s": percentile(alone["delays"], 0.5),
        "delay, p95 s": percentile(alone["delays"], 0.95),
        "frames per second of each of two": min(one["rate"] for one in both),
        "third visitor": waiting,
        "memory growth, %": memory,
    }
    write_results(results, options.out)


def press_start(page: Page) -> None:
    """Open the tab and press Start, with the camera."""
    page.get_by_role("tab", name="Live").click()
    page.get_by_label("Camera", exact=True).check()
    page.click("#start-live")


def start(page: Page) -> Page:
    """Start a live session and wait until it runs."""
    press_start(page)
    page.wait_for_function("Number(document.querySelector('#live .live').dataset.frames) > 20")
    return page


def watch(pages: list[Page], seconds: float) -> list[dict]:
    """Return frame rate and delays of each page over some seconds."""
    read = lambda page, name: float(page.get_attribute("#live .live", f"data-{name}"))
    begin, first, delays = time.monotonic(), [read(page, "frames") for page in pages], [[] for _ in pages]
    while time.monotonic() - begin < seconds:
        time.sleep(SAMPLE_SECONDS)
        for page, found in zip(pages, delays, strict=True):
            found.append(read(page, "delay") / 1000)
    duration = time.monotonic() - begin
    frames = [read(page, "frames") - start for page, start in zip(pages, first, strict=True)]
    return [{"rate": n / duration, "delays": found} for n, found in zip(frames, delays, strict=True)]


if __name__ == "__main__":
    main()
