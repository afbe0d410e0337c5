"""The page behind a proxy that serves it under a path of its own, as hosts of many apps do."""

import socket
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

from benchmarks.serving import served
from tests.browser.conftest import pages

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HOP = {"host", "connection", "transfer-encoding", "content-length", "content-encoding"}  # headers of one hop alone


@pytest.fixture(scope="module")
def behind_proxy() -> Iterator[str]:
    """The address of the page under /lawm."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GRADIO_ROOT_PATH", "/lawm")
        with served() as server, proxy(server.address, "/lawm") as address:
            yield address


class proxy:
    """Passes requests under a path on to an app, answers as they come."""

    def __init__(self, target: str, path: str) -> None:
        self.target, self.path = target, path

    def __enter__(self) -> str:
        client = httpx.AsyncClient(base_url=self.target, timeout=None)

        async def forward(request: Request) -> StreamingResponse:
            headers = {k: v for k, v in request.headers.items() if k not in HOP}
            headers |= {"x-forwarded-host": request.headers["host"], "x-forwarded-proto": "http"}
            url = httpx.URL(path="/" + request.path_params["rest"], query=request.url.query.encode())
            sent = client.build_request(request.method, url, headers=headers, content=await request.body())
            answer = await client.send(sent, stream=True)
            kept = {k: v for k, v in answer.headers.items() if k not in HOP}
            return StreamingResponse(answer.aiter_bytes(), answer.status_code, kept)

        # Gradio names its icon from the host's root on, whatever the path.
        routes = [
            Route(self.path + "/{rest:path}", forward, methods=["GET", "POST", "HEAD"]),
            Route("/favicon.ico", lambda request: Response(status_code=204)),
        ]
        app = Starlette(routes=routes)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.05)
        return f"http://127.0.0.1:{port}{self.path}/"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)


def test_maps_transfers_and_curves_work_under_a_path(browser, behind_proxy):
    opened = pages(browser, behind_proxy)
    page = next(opened)(link=behind_proxy)
    key = page.get_attribute("#lanes .lanes", "data-result")
    page.locator("#pairs .choice[aria-pressed=false]").first.click()
    page.wait_for_function("old => document.querySelector('#lanes .lanes').dataset.result !== old", arg=key)
    page.get_by_role("tab", name="Action map").click()
    page.wait_for_selector("#action-map .map[data-points]")
    page.get_by_role("tab", name="Capacity").click()
    page.wait_for_selector("#curves .js-plotly-plot, #curves svg")
    assert page.locator("#curves .js-plotly-plot").count() and page.evaluate("Boolean(window.Plotly)")
    next(opened, None)
