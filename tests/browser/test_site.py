"""The site of docs/ in a browser: alone, in light and dark, wide and narrow."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import is_foreign
from tests.test_docs import PAGES, build_site

pytestmark = pytest.mark.browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site_address(tmp_path_factory) -> Iterator[str]:
    """Where the built site answers."""
    folder = build_site(tmp_path_factory.mktemp("site"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture
def open_site(browser, site_address):
    """A function that opens a page; at the end nothing may have gone wrong in silence or been asked of others."""
    contexts, wrongs = [], []

    def open_at(name: str, scheme: str = "light", width: int = 1280):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: said.type == "error" and wrongs.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: wrongs.append(f"script: {error}"))
        page.on("request", lambda r: is_foreign(r.url, site_address) and wrongs.append(f"left the origin: {r.url}"))
        page.goto(site_address + name.replace(".md", ".html"))
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert not wrongs


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [*PAGES, "checkpoints/nano/card.md"])
def test_a_page_stands_alone_and_can_be_read_by_everyone(open_site, name, scheme):
    page = open_site(name, scheme)
    assert page.evaluate("document.documentElement.dataset.bsTheme") == scheme
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
    found = Axe().run(page, options={"runOnly": ["color-contrast", "image-alt", "link-name", "duplicate-id-aria"]})
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("name", [*PAGES, "checkpoints/nano/card.md"])
def test_a_page_fits_a_phone(open_site, name):
    page = open_site(name, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_is_searched_for_is_found(open_site):
    page = open_site("index.md")
    page.get_by_role("link", name="Search").click()
    page.locator("#mkdocs-search-query").press_sequentially("plan_by_cem")
    page.locator("#mkdocs-search-results a").first.wait_for()
    assert "api.html#lawm_core" in page.locator("#mkdocs-search-results a").first.get_attribute("href")
