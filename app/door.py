"""What stands between the internet and Gradio: requests that no page would send are refused as such.

Gradio answers some malformed requests (a handler that does not exist, too few values) with its own traceback and a
status of 500, as if the server had failed; takes bodies of any size; fetches addresses that visitors name; and has
routes for parts that this page does not use, some of which run programs on visitors' files or keep them for ever.
"""

from __future__ import annotations

import logging

import httpx
from gradio import processing_utils
from gradio.route_utils import FnIndexInferError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UPLOAD_BYTES = 64 * 2**20  # of one file
SLACK_BYTES = 2**20  # what a form adds to its file
EVENT_BYTES = 8 * 2**20  # of any other request
UPLOAD = "/gradio_api/upload"
DIRECT = ("/gradio_api/run/", "/gradio_api/api/")  # handlers without a queue: Gradio says 500 for values they refuse
UNUSED = "process_recording component_server deep_link vibe stream dev proxy custom_component".split()
CLOSED = tuple(f"/gradio_api/{name}" for name in UNUSED)
FILES = ("/gradio_api/file=", "/gradio_api/file/")
# As Gradio raises them while it reads a request.
MALFORMED = (FnIndexInferError, AttributeError, LookupError, TypeError, ValueError, httpx.InvalidURL)

NOT_UNDERSTOOD, NOT_HERE = "This request cannot be understood.", "There is nothing here."

log = logging.getLogger(__name__)


class TooLargeError(Exception):
    """A body went on beyond its limit."""


class Door:
    """ASGI middleware. What it refuses is logged."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, as long as it is of a size and a shape."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, taken, started = scope["path"], 0, False
        limit = UPLOAD_BYTES + SLACK_BYTES if path == UPLOAD else EVENT_BYTES

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise TooLargeError
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            if message.get("status") == 500 and path.startswith(DIRECT):
                message["status"] = 400
            await send(message)

        async def refuse(status: int, said: str, why: BaseException | None = None) -> None:
            log.warning("%s %s refused with %d", scope["method"], ascii(path[:200]), status, exc_info=why)
            await JSONResponse({"detail": said}, status)(scope, receive, send)

        if is_closed(path):
            return await refuse(404, NOT_HERE)
        if told_length(scope) > limit:
            return await refuse(413, f"At most {limit >> 20} MiB can be sent.")
        try:
            await self.app(scope, counted, watched)
        except TooLargeError:
            if started:
                raise
            await refuse(413, f"At most {limit >> 20} MiB can be sent.")
        except MALFORMED as error:
            if started:
                raise
            await refuse(400, NOT_UNDERSTOOD, error)


def is_closed(path: str) -> bool:
    """Whether a path is of a part that the page does not use, or names an address where a file belongs."""
    return path.startswith(CLOSED) or (path.startswith(FILES) and "://" in path)


def told_length(scope: Scope) -> int:
    """How many bytes a request says it has; 0 where it does not say."""
    told = Headers(scope=scope).get("content-length", "0")
    return int(told) if told.isdecimal() else 0


async def fetch_nothing(url: str, cache_dir: str) -> str:
    """In place of Gradio's own, which downloads whatever address stands where a file is expected."""
    raise ValueError("An address came where a file is needed; upload the file itself.")


def fetch_no_addresses() -> None:
    """From now on no value that a visitor sends makes this process fetch anything."""
    processing_utils.async_ssrf_protected_download = fetch_nothing
