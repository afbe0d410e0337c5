"""A headless Chromium that opens the running app."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.jobs import GRACE_SECONDS
from devtools.browser import WAIT_MILLISECONDS, find_chromium, launch_chromium, page_opener
from devtools.serving import Server

expect.set_options(timeout=WAIT_MILLISECONDS)


def wait_after_cancel(page: Page) -> None:
    """Wait as long as new requests are cancelled too, because they may have waited behind the cancelled one."""
    page.wait_for_timeout(1000 * GRACE_SECONDS + 100)


@pytest.fixture(scope="session")
def address(server: Server) -> str:
    """URL of the running app."""
    return server.address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Without it, tests fail instead of being skipped."""
    if find_chromium() is None:
        pytest.fail("Chromium is not installed: apt-get update && apt-get install -y chromium", pytrace=False)
    with launch_chromium() as browser:
        yield browser


@pytest.fixture
def open_page(browser, address) -> Iterator[Callable[..., Page]]:
    """A function that opens the page with its first result; at the end there must have been no errors."""
    with page_opener(browser, address) as opener:
        yield opener
