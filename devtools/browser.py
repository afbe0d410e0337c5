"""Headless Chromium that opens the app, with a selector and JavaScript expressions to read from its page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

WAIT_MILLISECONDS = 90_000  # a slow machine is not a failure
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run --use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
).split()
RESULT = "#panels [data-result]"  # present once a result is on the page
# JavaScript expressions: number of points on the map, and the position of a point on the screen.
POINT_COUNT = "Number(document.querySelector('#action-map .map')?.dataset.points ?? 0)"
POINT_POSITION = """
(point) => {
  const plot = document.querySelector('#action-map .map-plot'), trace = plot.data[0];
  const i = trace.customdata.indexOf(point), { xaxis, yaxis } = plot._fullLayout, box = plot.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.c2p(trace.x[i]), box.top + yaxis._offset + yaxis.c2p(trace.y[i])];
}
"""


def find_chromium() -> str | None:
    """Return the path of Chromium or Chrome, or None if neither is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def launch_chromium(camera: Path | None = None) -> Iterator[Browser]:
    """Run a headless Chromium. Raises FileNotFoundError if it is not installed.

    camera: a .y4m or .mjpeg file that its camera plays in a loop; by default, the camera shows a test pattern.
    """
    if (path := find_chromium()) is None:
        raise FileNotFoundError("Chromium is not installed. Install it: apt-get update && apt-get install -y chromium")
    with sync_playwright() as play:
        options = [*OPTIONS, f"--use-file-for-fake-video-capture={camera}"] if camera else OPTIONS
        browser = play.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


def is_foreign(url: str, address: str) -> bool:
    """Return whether a URL belongs to a server other than that of `address`."""
    return not url.startswith((address, "data:", "blob:"))


@contextmanager
def page_opener(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Yield a function that opens the app's page and waits for its first result.

    Raises AssertionError at the end if there were errors in the console or in scripts, or requests to other servers.
    """
    contexts, errors = [], []

    def open_page(
        width: int = 1280, height: int = 900, scheme: str = "light", link: str = "", motion: str = "reduce"
    ) -> Page:
        # Without reduced motion, each result plays in a loop, which takes most of a core.
        size = {"width": width, "height": height}
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion=motion)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MILLISECONDS)
        page.on("console", lambda message: message.type == "error" and errors.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: errors.append(f"script: {error}"))
        page.on("request", lambda r: is_foreign(r.url, address) and errors.append(f"other server: {r.url}"))
        page.goto(link or address)
        page.wait_for_selector(RESULT, state="attached")  # not visible if a link opens another tab
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors, errors
