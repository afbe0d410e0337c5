"""How fast does the page feel?

    python benchmarks/page.py [--clicks 50] [--points 20000] [--out page.json]

Starts the app, opens it in headless Chromium and measures, as a person would feel it: server ready, page usable, a
click on the map to the decoded frames on screen, pointing to the pair of frames, a change of capacity to new frames,
steps shown while a robot is driven by a held key, and a map of many points drawn and lassoed. Counts requests that
leave the origin while the page stays open a minute.
Needs the packages of requirements-dev.txt and Chromium.
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
from playwright.sync_api import Page, sync_playwright

import lawm_core as lawm
from benchmarks.serving import served
from benchmarks.telling import tell
from lawm_core.evaluation.librarian import write_library
from tests.browser.conftest import find_chromium

QUIET = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PLACE = """
(point) => {
  const plot = document.querySelector('#action-map .map-plot'), trace = plot.data[0];
  const i = trace.customdata.indexOf(point), { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.c2p(trace.x[i]), box.top + yaxis._offset + yaxis.c2p(trace.y[i])];
}
"""
POINTS = "Number(document.querySelector('#action-map .map')?.dataset.points ?? 0)"
RESULT = "document.querySelector('#lanes .lanes').dataset.result"
DRIVEN = {"rover": "ArrowUp", "arm": "w"}  # a key of each robot
SHOWN = "(document.querySelector('#preview .lanes').dataset.result ?? null)"


def open_page(browser, address: str) -> tuple[Page, float, list[str]]:
    """The page with its first result, the seconds that took, and requests that left the origin."""
    page, foreign = browser.new_page(viewport={"width": 1280, "height": 1000}), []
    inside = (address, "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(inside) else foreign.append(request.url))
    start = time.monotonic()
    page.goto(address)
    page.wait_for_selector("#lanes [data-result]")
    return page, time.monotonic() - start, foreign


def seconds_until(page: Page, act, changed: str, old: object) -> float:
    """From an act until an expression has changed."""
    start = time.monotonic()
    act()
    page.wait_for_function(f"old => ({changed}) !== old", arg=old, polling=10)
    return time.monotonic() - start


def open_map(page: Page, points: int) -> float:
    """Opens the map after a look at the page; the seconds until it is drawn."""
    page.wait_for_timeout(4000)
    return seconds_until(page, lambda: page.click("#tab-action-map"), f"{POINTS} >= {points}", False)


def measure_clicks(page: Page, clicks: int) -> tuple[list[float], list[float]]:
    """Seconds from pointing to the pair, and from clicking to decoded frames, point by point."""
    count, hovers, answers = int(page.evaluate(POINTS)), [], []
    chance = random.Random(0)
    page.wait_for_timeout(3000)
    for point in chance.sample(range(count), clicks):
        x, y = page.evaluate(PLACE, point)
        page.mouse.move(x + 40, y + 40)
        page.wait_for_timeout(150)
        old = page.evaluate("document.querySelector('#action-map .map-hover').dataset.point ?? ''")
        start = time.monotonic()
        page.mouse.move(x, y)
        page.wait_for_function("!document.querySelector('#action-map .map-hover').hidden", polling=5)
        if page.evaluate("document.querySelector('#action-map .map-hover').dataset.point ?? ''") != old:
            hovers.append(time.monotonic() - start)
        shown = page.evaluate(SHOWN)
        chosen = page.input_value("#action-map .map-point")
        seconds = time.monotonic()
        page.mouse.click(x, y)
        page.wait_for_timeout(20)
        if page.input_value("#action-map .map-point") == chosen:
            continue  # the same point lay on top
        page.wait_for_function(f"old => ({SHOWN}) !== old", arg=shown, polling=10)
        answers.append(time.monotonic() - seconds)
    return hovers, answers


def measure_capacity(page: Page) -> list[float]:
    """Seconds from letting go of the dial to new frames."""
    page.click("#tab-transfer")
    slider, out = page.locator("#capacity input[type=range]"), []
    for share in (0.1, 0.9, 0.35, 0.65, 0.2, 0.8, 0.5):
        box = slider.bounding_box()
        old = page.get_attribute("#lanes .lanes", "data-result")
        at = (box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        out.append(seconds_until(page, lambda at=at: page.mouse.click(*at), RESULT, old))
        page.wait_for_timeout(1500)  # a look at the frames; their files are written meanwhile
    return out


def measure_driving(page: Page, robot: str) -> float:
    """Steps shown a second while a key is held, world model and simulator side by side."""
    page.click("#tab-drive")
    page.locator(f"#robot input[value={robot}]").check()
    drive = "(document.querySelector('#drive .drive')?.dataset.drive ?? null)"
    seconds_until(page, lambda: page.click("#begin-drive"), drive, page.evaluate(drive))
    page.focus("#drive .drive")
    page.keyboard.down(DRIVEN[robot])
    steps = "Number(document.querySelector('#drive .drive').dataset.steps)"
    page.wait_for_function(f"{steps} >= 8", polling=5)
    before, start = page.evaluate(steps), time.monotonic()
    page.wait_for_function(f"{steps} >= 48", polling=5)
    rate = (page.evaluate(steps) - before) / (time.monotonic() - start)
    page.keyboard.up(DRIVEN[robot])
    page.wait_for_timeout(1500)
    return rate


def many_points(folder: Path, points: int) -> Path:
    """A library of so many points in clouds, with the shipped one's clips and sprite."""
    shipped = lawm.load_library(ROOT / "assets" / "library")
    pick = torch.randint(len(shipped), (points,), generator=torch.Generator().manual_seed(0))
    noise = torch.randn(points, 2, generator=torch.Generator().manual_seed(1))
    names = ("action_PA", "clip_P", "frame_P", "motion_P6")
    tensors = {name: getattr(shipped, name)[pick] for name in names}
    tensors |= {"umap_P2": shipped.umap_P2[pick] + noise, "pca_P2": shipped.pca_P2[pick] + noise}
    write_library(folder, shipped.index, tensors, shipped.sprite.read_bytes())
    return folder


def measure_lasso(page: Page) -> float:
    """Seconds from letting go of a lasso around half of the map to decoded frames."""
    page.select_option("#action-map .map-drag", "lasso")
    page.wait_for_timeout(1500)
    box = page.locator("#action-map .map-plot").bounding_box()
    left, top, right, low = box["x"] + 20, box["y"] + 20, box["x"] + box["width"] / 2, box["y"] + box["height"] - 20
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, low), (left, low), (left, top)):
        page.mouse.move(x, y, steps=6)
    return seconds_until(page, page.mouse.up, SHOWN, None)


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of all lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Measures, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clicks", type=int, default=50)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    figures: dict[str, float] = {}
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find_chromium(), args=QUIET)
        with served() as server:
            page, usable, foreign = open_page(browser, server.address)
            opened = time.monotonic()
            figures |= {"server ready, s": server.ready_seconds, "page usable, s": usable}
            figures["map drawn, s"] = open_map(page, 100)
            hovers, answers = measure_clicks(page, given.clicks)
            figures |= {"clicks": len(answers), "click to frames, median s": statistics.median(answers)}
            figures |= {"click to frames, p95 s": percentile(answers, 0.95), "hover, p95 s": percentile(hovers, 0.95)}
            figures["capacity to frames, median s"] = statistics.median(measure_capacity(page))
            for robot in DRIVEN:
                figures[f"{robot} driven, steps shown a second"] = measure_driving(page, robot)
            page.wait_for_timeout(max(0.0, 60 - (time.monotonic() - opened)) * 1000)
            figures["requests that left the origin in a minute"] = len(foreign)
        with tempfile.TemporaryDirectory() as folder:
            library = many_points(Path(folder), given.points)
            with served("--library", str(library)) as server:
                page, _, _ = open_page(browser, server.address)
                figures[f"{given.points} points drawn, s"] = open_map(page, given.points)
                figures[f"{given.points} points, lasso to frames, s"] = measure_lasso(page)
        browser.close()
    tell(figures, given.out)


if __name__ == "__main__":
    main()
