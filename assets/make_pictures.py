"""Takes the README's pictures and film from the real page, in headless Chromium.

    python assets/make_pictures.py            # page.png, map.png and film.gif beside this file
    python assets/make_pictures.py page map   # only these

Needs the packages of requirements-dev.txt and Chromium.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent
sys.path[:0] = [str(HOME.parent), str(HOME.parent / "benchmarks")]

import imageio.v3 as imageio
import numpy as np
from page import QUIET
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from serving import served

from tests.browser.conftest import find_chromium

FILM_WIDTH, FILM_RATE = 820, 8


def opened(browser: Browser, address: str, width: int, height: int, scheme: str = "light") -> Page:
    """The page with its first result playing."""
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    page.goto(address)
    page.wait_for_selector("#lanes [data-result]")
    page.wait_for_timeout(1500)
    return page


def open_map(page: Page, point: int) -> None:
    """The map with a point chosen and its preview playing."""
    page.click("#tab-action-map")
    page.wait_for_function("Number(document.querySelector('#action-map .map')?.dataset.points ?? 0) > 100")
    page.fill("#action-map .map-point", str(point))
    page.press("#action-map .map-point", "Enter")
    page.wait_for_selector("#preview .lanes[data-result]")
    page.evaluate("document.activeElement.blur()")


def take_page(browser: Browser, address: str) -> None:
    """The first view."""
    page = opened(browser, address, 1440, 1000)
    page.focus("#lanes .lanes")
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.evaluate("document.activeElement.blur()")
    page.screenshot(path=HOME / "page.png")


def take_map(browser: Browser, address: str) -> None:
    """The action map, dark."""
    page = opened(browser, address, 1440, 1000, "dark")
    open_map(page, 100)
    page.wait_for_timeout(2500)
    page.screenshot(path=HOME / "map.png")


class Film:
    """Frames of the page at a steady rate."""

    def __init__(self, page: Page) -> None:
        self.page, self.frames = page, []

    def roll(self, seconds: float) -> None:
        """Keeps filming while the page moves."""
        for _ in range(round(seconds * FILM_RATE)):
            picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            height = round(picture.height * FILM_WIDTH / picture.width)
            self.frames.append(picture.resize((FILM_WIDTH, height), Image.Resampling.LANCZOS))
            self.page.wait_for_timeout(1000 / FILM_RATE / 2)

    def write(self, path: Path) -> None:
        """One palette for all frames, so that nothing flickers."""
        sheet = Image.fromarray(np.concatenate([np.asarray(f)[::3, ::3] for f in self.frames[::4]]))
        palette = sheet.quantize(128, method=Image.Quantize.MEDIANCUT)
        drawn = [f.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB") for f in self.frames]
        imageio.imwrite(path, np.stack([np.asarray(f) for f in drawn]), duration=1000 / FILM_RATE, loop=0)


def take_film(browser: Browser, address: str) -> None:
    """A transfer, another pair, an action from the map, a script."""
    page = opened(browser, address, 1180, 820)
    film = Film(page)
    film.roll(3)
    old = page.get_attribute("#lanes .lanes", "data-result")
    page.locator("#pairs .choice").nth(4).click()
    page.wait_for_function("old => document.querySelector('#lanes .lanes').dataset.result !== old", arg=old)
    film.roll(3.5)
    open_map(page, 100)
    page.wait_for_timeout(1500)
    film.roll(3)
    page.click("#tab-compose")
    page.focus("#script .script")
    for key, steps in (("2", 1), ("5", 2), ("7", 3)):
        page.keyboard.press(key)
        page.wait_for_function("n => document.querySelector('#script .script').dataset.steps == n", arg=steps)
        film.roll(0.6)
    for _ in range(3):
        page.locator("#script .deed-more").nth(1).click()
        film.roll(0.4)
    page.wait_for_timeout(1500)
    film.roll(3)
    film.write(HOME / "film.gif")


TAKES = {"page": take_page, "map": take_map, "film": take_film}


def main() -> None:
    """The named pictures, or all."""
    names = sys.argv[1:] or list(TAKES)
    with sync_playwright() as play, served() as server:
        browser = play.chromium.launch(executable_path=find_chromium(), args=QUIET)
        for name in names:
            TAKES[name](browser, server.address)
        browser.close()


if __name__ == "__main__":
    main()
