"""What stands between the internet and Gradio: requests that no page would send are refused as such.

Gradio answers some malformed requests (a handler that does not exist, too few values) with its own traceback and a
status of 500, as if the server had failed, and takes bodies of any size. Here they are the sender's fault: 400 and 413.
"""

from __future__ import annotations

import logging

from gradio.route_utils import FnIndexInferError
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UPLOAD_BYTES = 64 * 2**20  # of one file
SLACK_BYTES = 2**20  # what a form adds to its file
EVENT_BYTES = 8 * 2**20  # of any other request
UPLOADS = ("/gradio_api/upload", "/gradio_api/component_server")
DIRECT = ("/gradio_api/run/", "/gradio_api/api/")  # handlers without a queue: Gradio says 500 for values they refuse
MALFORMED = (FnIndexInferError, LookupError, TypeError, ValueError)  # as Gradio raises them while it reads a request

NOT_UNDERSTOOD = "This request cannot be understood."

log = logging.getLogger(__name__)


class TooLargeError(Exception):
    """A body went on beyond its limit."""


class Door:
    """ASGI middleware. Whatever it refuses is logged in one line."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, as long as it is of a size and a shape."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, taken, started = scope["path"], 0, False
        limit = UPLOAD_BYTES + SLACK_BYTES if path.startswith(UPLOADS) else EVENT_BYTES

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

        async def refuse(status: int, why: str) -> None:
            log.warning("%s %s refused with %d: %s", scope["method"], path[:200], status, " ".join(why[:200].split()))
            said = f"At most {limit >> 20} MiB can be sent." if status == 413 else NOT_UNDERSTOOD
            await JSONResponse({"detail": said}, status)(scope, receive, send)

        if told_length(scope) > limit:
            return await refuse(413, f"{told_length(scope)} bytes")
        try:
            await self.app(scope, counted, watched)
        except (*MALFORMED, TooLargeError) as error:
            if started:
                raise
            large = isinstance(error, TooLargeError)
            await refuse(413 if large else 400, f"{type(error).__name__}: {error}")


def told_length(scope: Scope) -> int:
    """How many bytes a request says it has; 0 where it does not say."""
    told = Headers(scope=scope).get("content-length", "0")
    return int(told) if told.isdecimal() else 0
