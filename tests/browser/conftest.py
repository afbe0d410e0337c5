"""A headless Chromium that opens the running app."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.serving import Server

WAIT_MILLISECONDS = 90_000
expect.set_options(timeout=WAIT_MILLISECONDS)  # as long as actions on a page wait; slow machines are not a failure
QUIET = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()


@pytest.fixture(scope="session")
def address(server: Server) -> str:
    """The URL of the running app."""
    return server.address


def find_chromium() -> str | None:
    """Where Chromium is, under any of its names."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser() -> Browser:
    """Chromium. A missing browser is a failure: tests that nobody runs hold nothing."""
    path = find_chromium()
    if path is None:
        pytest.fail("no Chromium found; install it: apt-get update && apt-get install -y chromium", pytrace=False)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """A function that opens the page with its first result; at the end nothing may have gone wrong in silence."""
    yield from pages(browser, address)


def pages(browser: Browser, address: str) -> Iterator:
    """What `open_page` is, for the app at an address."""
    contexts, wrongs = [], []

    def open_at(
        width: int = 1280, height: int = 900, scheme: str = "light", link: str = "", motion: str = "reduce"
    ) -> Page:
        # Without reduced motion each result plays in a loop, which takes most of a core that tests would wait for.
        size = {"width": width, "height": height}
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion=motion)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MILLISECONDS)
        page.on("console", lambda said: said.type == "error" and wrongs.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: wrongs.append(f"script: {error}"))
        page.on("request", lambda r: is_foreign(r.url, address) and wrongs.append(f"left the origin: {r.url}"))
        page.goto(link or address)
        page.wait_for_selector("#lanes [data-result]", state="attached")  # a link may open another view
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert not wrongs


def is_foreign(url: str, address: str) -> bool:
    """Whether a request goes anywhere but to the app."""
    return not url.startswith((address, "data:", "blob:"))
