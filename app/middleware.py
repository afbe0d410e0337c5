"""ASGI middleware that rejects malformed and oversized requests, and requests to routes that the page does not use.

Gradio answers some malformed requests (an unknown handler, too few values) with status 500, accepts bodies of any size,
and has routes for features that this page does not have; some of them run programs on uploads or keep files forever.
"""

from __future__ import annotations

import logging

import httpx
from gradio.route_utils import FnIndexInferError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_UPLOAD_BYTES = 64 * 2**20  # per file
FORM_BYTES = 2**20  # what an upload may have beyond its file: the other parts of the form
MAX_EVENT_BYTES = 8 * 2**20  # for any request except uploads
UPLOAD = "/gradio_api/upload"
DIRECT = ("/gradio_api/run/", "/gradio_api/api/")  # run a handler without the queue; Gradio returns 500 if it fails
UNUSED = "process_recording component_server deep_link vibe stream dev proxy custom_component".split()
CLOSED = tuple(f"/gradio_api/{name}" for name in UNUSED)
FILES = ("/gradio_api/file=", "/gradio_api/file/")
# Exceptions that Gradio raises while it parses a malformed request.
MALFORMED = (FnIndexInferError, AttributeError, LookupError, TypeError, ValueError, httpx.InvalidURL)

log = logging.getLogger(__name__)


class TooLargeError(Exception):
    """The body of a request exceeds its limit."""


class RequestFilter:
    """Passes valid requests on to the app; rejects and logs others."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, received, started = scope["path"], 0, False
        limit = MAX_UPLOAD_BYTES + FORM_BYTES if path == UPLOAD else MAX_EVENT_BYTES
        too_large = f"The request is too large: it must have at most {limit >> 20} MiB."

        async def count_bytes() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise TooLargeError
            return message

        async def send_response(message: Message) -> None:
            nonlocal started
            started = True
            if message.get("status") == 500 and path.startswith(DIRECT):
                message["status"] = 400
            await send(message)

        async def reject(status: int, detail: str, error: BaseException | None = None) -> None:
            log.warning("%s %s rejected with %d", scope["method"], ascii(path[:200]), status, exc_info=error)
            await JSONResponse({"detail": detail}, status)(scope, receive, send)

        if is_closed(path):
            return await reject(404, "Not found.")
        if declared_length(scope) > limit:
            return await reject(413, too_large)
        try:
            await self.app(scope, count_bytes, send_response)
        except TooLargeError:
            if started:
                raise
            await reject(413, too_large)
        except MALFORMED as error:
            if started:
                raise
            await reject(400, "The request is malformed.", error)


def is_closed(path: str) -> bool:
    """Return whether a path belongs to a feature that the page does not use, or requests a URL instead of a file."""
    return path.startswith(CLOSED) or (path.startswith(FILES) and "://" in path)


def declared_length(scope: Scope) -> int:
    """Return the Content-Length of a request in bytes; 0 if it has none or an invalid one."""
    length = Headers(scope=scope).get("content-length", "0")
    return int(length) if length.isdecimal() else 0
