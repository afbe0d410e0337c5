"""The page behind a proxy that serves it under a path, as hosts of many apps do."""

import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from devtools.browser import page_opener
from devtools.serving import free_port, serve_app

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HOP_HEADERS = {"host", "connection", "transfer-encoding", "content-length", "content-encoding"}  # not forwarded


@pytest.fixture(scope="module")
def behind_proxy() -> Iterator[str]:
    """URL of the page under /lawm."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GRADIO_ROOT_PATH", "/lawm")
        with serve_app() as server, Proxy(server.address, "/lawm") as address:
            yield address


class Proxy:
    """Forwards requests under a path to an app, and its responses as they arrive."""

    def __init__(self, target: str, path: str) -> None:
        self.target, self.path = target, path

    def __enter__(self) -> str:
        client = httpx.AsyncClient(base_url=self.target, timeout=None)

        async def forward(request: Request) -> StreamingResponse:
            headers = {k: v for k, v in request.headers.items() if k not in HOP_HEADERS}
            headers |= {"x-forwarded-host": request.headers["host"], "x-forwarded-proto": "http"}
            url = httpx.URL(path="/" + request.path_params["rest"], query=request.url.query.encode())
            sent = client.build_request(request.method, url, headers=headers, content=await request.body())
            response = await client.send(sent, stream=True)
            kept = {k: v for k, v in response.headers.items() if k not in HOP_HEADERS}
            return StreamingResponse(response.aiter_bytes(), response.status_code, kept)

        # Gradio requests its icon from the host's root, whatever the path.
        routes = [
            Route(self.path + "/{rest:path}", forward, methods=["GET", "POST", "HEAD"]),
            Route("/favicon.ico", lambda request: Response(status_code=204)),
        ]
        port = free_port()
        self.server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=port, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.05)
        return f"http://127.0.0.1:{port}{self.path}/"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)


def test_transfer_map_and_curves_work_under_a_path(browser, behind_proxy):
    with page_opener(browser, behind_proxy) as open_page:
        page = open_page()
        key = page.get_attribute("#panels .panels", "data-result")
        page.locator("#pairs .choice[aria-pressed=false]").first.click()
        page.wait_for_function("old => document.querySelector('#panels .panels').dataset.result !== old", arg=key)
        page.get_by_role("tab", name="Action map").click()
        page.wait_for_selector("#action-map .map[data-points]")
        page.get_by_role("tab", name="Capacity").click()
        page.wait_for_selector("#curves .js-plotly-plot, #curves svg")
        assert page.locator("#curves .js-plotly-plot").count() and page.evaluate("Boolean(window.Plotly)")
