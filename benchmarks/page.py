"""Measure how fast the page responds, in headless Chromium.

    python benchmarks/page.py [--clicks 50] [--points 20000] [--out page.json]

Measures the time until the server is ready, until the page shows its first result, from a click on the map to the
decoded frames, from hovering over a point to its pair of frames, and from a change of capacity to new frames; the steps
per second of a drive while a key is held; and the time to draw a map with many points and to select an area of it.
Counts requests to other servers while the page is open for a minute. Requires the packages of requirements-dev.txt and
Chromium.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch
from playwright.sync_api import Browser, Page

import lawm_core as lawm
from benchmarks.results import percentile, write_results
from devtools.browser import POINT_COUNT, POINT_POSITION, RESULT, is_foreign, launch_chromium
from devtools.serving import serve_app
from lawm_core.library.build import write_library

RESULT_KEY = "document.querySelector('#panels .panels').dataset.result"
PREVIEW_KEY = "(document.querySelector('#preview .panels').dataset.result ?? null)"
HOVERED = "document.querySelector('#action-map .map-hover').dataset.point ?? ''"
KEYS = {"rover": "ArrowUp", "arm": "w"}  # the key to hold for each robot


def open_page(browser: Browser, address: str) -> tuple[Page, float, list[str]]:
    """Return the page with its first result, the seconds until then, and a list of requests to other servers."""
    page, foreign = browser.new_page(viewport={"width": 1280, "height": 1000}), []
    page.on("request", lambda request: is_foreign(request.url, address) and foreign.append(request.url))
    start = time.monotonic()
    page.goto(address)
    page.wait_for_selector(RESULT)
    return page, time.monotonic() - start, foreign


def seconds_until(page: Page, act, expression: str, old: object) -> float:
    """Call `act`, and return the seconds until a JavaScript expression no longer has the value `old`."""
    start = time.monotonic()
    act()
    page.wait_for_function(f"old => ({expression}) !== old", arg=old, polling=10)
    return time.monotonic() - start


def open_map(page: Page, points: int) -> float:
    """Open the map and return the seconds until it is drawn."""
    page.wait_for_timeout(4000)
    return seconds_until(page, lambda: page.click("#tab-action-map"), f"{POINT_COUNT} >= {points}", False)


def measure_clicks(page: Page, clicks: int) -> tuple[list[float], list[float]]:
    """Return the seconds from hovering over points to their frames, and from clicking on them to decoded frames."""
    hovers, responses = [], []
    page.wait_for_timeout(3000)
    for point in random.Random(0).sample(range(int(page.evaluate(POINT_COUNT))), clicks):
        x, y = page.evaluate(POINT_POSITION, point)
        page.mouse.move(x + 40, y + 40)
        page.wait_for_timeout(150)
        hovered, start = page.evaluate(HOVERED), time.monotonic()
        page.mouse.move(x, y)
        page.wait_for_function("!document.querySelector('#action-map .map-hover').hidden", polling=5)
        if page.evaluate(HOVERED) != hovered:
            hovers.append(time.monotonic() - start)
        key, selected = page.evaluate(PREVIEW_KEY), page.input_value("#action-map .map-point")
        start = time.monotonic()
        page.mouse.click(x, y)
        page.wait_for_timeout(20)
        if page.input_value("#action-map .map-point") == selected:
            continue  # the point on top of this one was already selected
        page.wait_for_function(f"old => ({PREVIEW_KEY}) !== old", arg=key, polling=10)
        responses.append(time.monotonic() - start)
    return hovers, responses


def measure_capacity(page: Page) -> list[float]:
    """Return the seconds from releasing the capacity slider to new frames."""
    page.click("#tab-transfer")
    slider, seconds = page.locator("#capacity input[type=range]"), []
    for fraction in (0.1, 0.9, 0.35, 0.65, 0.2, 0.8, 0.5):
        box = slider.bounding_box()
        key = page.get_attribute("#panels .panels", "data-result")
        at = (box["x"] + box["width"] * fraction, box["y"] + box["height"] / 2)
        seconds.append(seconds_until(page, lambda at=at: page.mouse.click(*at), RESULT_KEY, key))
        page.wait_for_timeout(1500)  # until the files of the result are written
    return seconds


def measure_driving(page: Page, robot: str) -> float:
    """Return the steps per second of a drive while a key is held. Each step runs the world model and the simulator."""
    page.click("#tab-drive")
    page.locator(f"#robot input[value={robot}]").check()
    drive = "(document.querySelector('#drive .drive')?.dataset.drive ?? null)"
    seconds_until(page, lambda: page.click("#start-drive"), drive, page.evaluate(drive))
    page.focus("#drive .drive")
    page.keyboard.down(KEYS[robot])
    steps = "Number(document.querySelector('#drive .drive').dataset.steps)"
    page.wait_for_function(f"{steps} >= 8", polling=5)
    before, start = page.evaluate(steps), time.monotonic()
    page.wait_for_function(f"{steps} >= 48", polling=5)
    rate = (page.evaluate(steps) - before) / (time.monotonic() - start)
    page.keyboard.up(KEYS[robot])
    page.wait_for_timeout(1500)
    return rate


def write_large_library(folder: Path, points: int) -> Path:
    """Write a library with many points, which are those of the shipped library at slightly different positions.

    The clips and thumbnails are those of the shipped library. Returns the folder.
    """
    shipped = lawm.load_library(ROOT / "assets" / "library")
    pick = torch.randint(len(shipped), (points,), generator=torch.Generator().manual_seed(0))
    noise = torch.randn(points, 2, generator=torch.Generator().manual_seed(1))
    names = ("action_PA", "clip_P", "frame_P", "motion_P6")
    tensors = {name: getattr(shipped, name)[pick] for name in names}
    tensors |= {"umap_P2": shipped.umap_P2[pick] + noise, "pca_P2": shipped.pca_P2[pick] + noise}
    write_library(folder, shipped.index, tensors, shipped.sprite.read_bytes())
    return folder


def measure_area(page: Page) -> float:
    """Select half of the map as an area, and return the seconds until the frames of the preview are decoded."""
    page.select_option("#action-map .map-mouse", "lasso")
    page.wait_for_timeout(1500)
    box = page.locator("#action-map .map-plot").bounding_box()
    left, top, right, low = box["x"] + 20, box["y"] + 20, box["x"] + box["width"] / 2, box["y"] + box["height"] - 20
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, low), (left, low), (left, top)):
        page.mouse.move(x, y, steps=6)
    return seconds_until(page, page.mouse.up, PREVIEW_KEY, None)


def measure_page(browser: Browser, clicks: int) -> dict[str, float]:
    """Return all measurements of the page with the shipped library."""
    with serve_app() as server:
        page, shown, foreign = open_page(browser, server.address)
        opened = time.monotonic()
        results = {"server ready, s": server.ready_seconds, "page usable, s": shown}
        results["map drawn, s"] = open_map(page, 100)
        hovers, responses = measure_clicks(page, clicks)
        results |= {"clicks": len(responses), "click to frames, median s": statistics.median(responses)}
        results |= {"click to frames, p95 s": percentile(responses, 0.95), "hover, p95 s": percentile(hovers, 0.95)}
        results["capacity to frames, median s"] = statistics.median(measure_capacity(page))
        for robot in KEYS:
            results[f"{robot}, steps per second"] = measure_driving(page, robot)
        page.wait_for_timeout(max(0.0, 60 - (time.monotonic() - opened)) * 1000)
        results["requests to other servers in a minute"] = len(foreign)
    return results


def measure_large_map(browser: Browser, points: int) -> dict[str, float]:
    """Return the measurements of a map with many points."""
    with tempfile.TemporaryDirectory() as folder:
        library = write_large_library(Path(folder), points)
        with serve_app("--library", str(library)) as server:
            page, _, _ = open_page(browser, server.address)
            drawn = open_map(page, points)
            return {f"{points} points, drawn, s": drawn, f"{points} points, area to frames, s": measure_area(page)}


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clicks", type=int, default=50)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with launch_chromium() as browser:
        results = measure_page(browser, options.clicks) | measure_large_map(browser, options.points)
    write_results(results, options.out)


if __name__ == "__main__":
    main()
