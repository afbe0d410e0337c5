"""Make the README's pictures and film of the page, in headless Chromium.

    python assets/make_pictures.py            # page.png, map.png and film.gif beside this file
    python assets/make_pictures.py page map   # only these

Requires the packages of requirements-dev.txt and Chromium.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import imageio.v3 as imageio
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page

from devtools.browser import POINT_COUNT, RESULT, launch_chromium
from devtools.serving import serve_app

FILM_WIDTH, FRAMES_PER_SECOND = 820, 8


def open_page(browser: Browser, address: str, width: int, height: int, scheme: str = "light") -> Page:
    """Return the page while its first result plays."""
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    page.goto(address)
    page.wait_for_selector(RESULT)
    page.wait_for_timeout(1500)
    return page


def open_map(page: Page, point: int) -> None:
    """Open the map, select a point and wait for its preview."""
    page.click("#tab-action-map")
    page.wait_for_function(f"{POINT_COUNT} > 100")
    page.fill("#action-map .map-point", str(point))
    page.press("#action-map .map-point", "Enter")
    page.wait_for_selector("#preview .panels[data-result]")
    page.evaluate("document.activeElement.blur()")


def make_page(browser: Browser, address: str) -> None:
    """Write page.png: the page as it opens."""
    page = open_page(browser, address, 1440, 1000)
    page.focus("#panels .panels")
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.evaluate("document.activeElement.blur()")
    page.screenshot(path=FOLDER / "page.png")


def make_map(browser: Browser, address: str) -> None:
    """Write map.png: the action map, in dark mode."""
    page = open_page(browser, address, 1440, 1000, "dark")
    open_map(page, 100)
    page.wait_for_timeout(2500)
    page.screenshot(path=FOLDER / "map.png")


class Film:
    """Screenshots of a page at a constant rate."""

    def __init__(self, page: Page) -> None:
        self.page, self.frames = page, []

    def record(self, seconds: float) -> None:
        """Record the page for some seconds."""
        for _ in range(round(seconds * FRAMES_PER_SECOND)):
            picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            height = round(picture.height * FILM_WIDTH / picture.width)
            self.frames.append(picture.resize((FILM_WIDTH, height), Image.Resampling.LANCZOS))
            self.page.wait_for_timeout(1000 / FRAMES_PER_SECOND / 2)

    def write(self, path: Path) -> None:
        """Write a GIF with one palette for all frames, so that colours do not flicker."""
        sheet = Image.fromarray(np.concatenate([np.asarray(f)[::3, ::3] for f in self.frames[::4]]))
        palette = sheet.quantize(128, method=Image.Quantize.MEDIANCUT)
        drawn = [f.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB") for f in self.frames]
        imageio.imwrite(path, np.stack([np.asarray(f) for f in drawn]), duration=1000 / FRAMES_PER_SECOND, loop=0)


def make_film(browser: Browser, address: str) -> None:
    """Write film.gif: a transfer, another pair, an action of the map, a script."""
    page = open_page(browser, address, 1180, 820)
    film = Film(page)
    film.record(3)
    key = page.get_attribute("#panels .panels", "data-result")
    page.locator("#pairs .choice").nth(4).click()
    page.wait_for_function("old => document.querySelector('#panels .panels').dataset.result !== old", arg=key)
    film.record(3.5)
    open_map(page, 100)
    page.wait_for_timeout(1500)
    film.record(3)
    page.click("#tab-compose")
    page.focus("#script .script")
    for number, steps in (("2", 1), ("5", 2), ("7", 3)):
        page.keyboard.press(number)
        page.wait_for_function("n => document.querySelector('#script .script').dataset.steps == n", arg=steps)
        film.record(0.6)
    for _ in range(3):
        page.locator("#script .edit-more").nth(1).click()
        film.record(0.4)
    page.wait_for_timeout(1500)
    film.record(3)
    film.write(FOLDER / "film.gif")


PICTURES = {"page": make_page, "map": make_map, "film": make_film}


def main() -> None:
    """Make the named pictures, or all."""
    names = sys.argv[1:] or list(PICTURES)
    with launch_chromium() as browser, serve_app() as server:
        for name in names:
            PICTURES[name](browser, server.address)


if __name__ == "__main__":
    main()
