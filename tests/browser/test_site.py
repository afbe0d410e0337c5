"""The documentation site in a browser: no other servers, light and dark, wide and narrow."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from devtools.browser import is_foreign
from tests.test_docs import PAGES, build_site

pytestmark = pytest.mark.browser
SHOWN = [*PAGES, "checkpoints/nano256/card.md"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without printing; the search index is sent once the event is set."""

    index_may_be_sent = threading.Event()

    def do_GET(self) -> None:
        """Serve a file."""
        if self.path.endswith("search_index.json"):
            self.index_may_be_sent.wait()
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def site_address(tmp_path_factory) -> Iterator[str]:
    """URL of the built site."""
    folder = build_site(tmp_path_factory.mktemp("site"))
    Quiet.index_may_be_sent.set()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def address_of(site_address: str, name: str) -> str:
    """Return the URL of a page, named as in docs/."""
    return site_address + name.replace(".md", ".html")


@pytest.fixture
def open_site(browser, site_address):
    """A function that opens a page; at the end there must have been no errors and no requests to other servers."""
    contexts, errors = [], []

    def open_at(name: str, scheme: str = "light", width: int = 1280):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and errors.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: errors.append(f"script: {error}"))
        page.on("request", lambda r: is_foreign(r.url, site_address) and errors.append(f"other server: {r.url}"))
        page.goto(address_of(site_address, name))
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert not errors, errors


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_every_page_is_accessible_and_has_its_pictures(open_site, site_address, scheme):
    page, wrong = open_site("index.md", scheme), []
    for name in SHOWN:
        page.goto(address_of(site_address, name))
        if page.evaluate("document.documentElement.dataset.bsTheme") != scheme:
            wrong.append((name, f"is not {scheme}"))
        if not page.evaluate("[...document.images].every(i => i.naturalWidth > 0)"):
            wrong.append((name, "lacks a picture"))
        found = Axe().run(page, options={"runOnly": ["color-contrast", "image-alt", "link-name", "duplicate-id-aria"]})
        if found.violations_count:
            wrong.append((name, found.generate_report()))
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong)


def test_every_page_fits_a_phone(open_site, site_address):
    page, widths = open_site("index.md", width=390), {}
    for name in SHOWN:
        page.goto(address_of(site_address, name))
        widths[name] = page.evaluate("document.documentElement.scrollWidth")
    assert max(widths.values()) <= 390, widths


@pytest.mark.parametrize("is_early", [False, True])
def test_the_search_finds_a_function(open_site, is_early):
    Quiet.index_may_be_sent.clear()
    page = open_site("index.md")
    if not is_early:
        Quiet.index_may_be_sent.set()
        page.wait_for_function("'min_search_length' in window")
    page.get_by_role("link", name="Search").click()
    query = page.locator("#mkdocs-search-query")
    expect(query).to_be_focused()
    page.keyboard.type("plan_by_cem")
    page.keyboard.press("Enter")
    expect(query).to_have_value("plan_by_cem")
    found = page.locator("#mkdocs-search-results a").first
    assert not (is_early and found.is_visible())
    Quiet.index_may_be_sent.set()
    found.wait_for()
    assert "api.html#lawm_core" in found.get_attribute("href")
