"""The WebSocket of live sessions: frames in, moved pictures out.

The page sends a binary message for each frame (`LiveDesk.frame_bytes`) and text messages with settings
(`LiveDesk.update`). For each frame that is used, the server answers with a binary message (`LiveDesk.push`). Frames
that arrive while another one is computed replace each other, so delay does not build up.

Text messages from the server are JSON objects: {"seat": true}, {"before": people, "seconds": estimate} while waiting,
and {"end": reason} before the server closes the socket.
"""

from __future__ import annotations

import asyncio
import json
import logging
from urllib.parse import urlsplit

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.live import LiveDesk, LiveSession, Seats

PATH = "/live"
IDLE_SECONDS = 15.0  # without a frame, after which a session is closed
MAX_TEXT = 2000  # characters of a text message
POLICY, UNSUPPORTED, NORMAL = 1008, 1003, 1000  # codes of RFC 6455

log = logging.getLogger(__name__)


class EndError(Exception):
    """The session ends. The message tells the user why."""


class Inbox:
    """The messages of one socket: the newest frame that was not used yet, and all settings in order."""

    def __init__(self, socket: WebSocket, max_bytes: int) -> None:
        self._socket, self._max_bytes = socket, max_bytes
        self._frame: bytes | None = None
        self._settings: list[object] = []
        self._error: Exception | None = None
        self._arrived = asyncio.Event()

    async def read(self) -> None:
        """Read messages until the socket is closed or a message is invalid."""
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message.get("code", NORMAL))
                self._take(message.get("bytes"), message.get("text"))
                self._arrived.set()
        except (EndError, WebSocketDisconnect) as error:
            self._error = error
            self._arrived.set()

    def _take(self, frame: bytes | None, text: str | None) -> None:
        if frame is not None:
            if len(frame) != self._max_bytes:
                raise EndError(f"A frame must have {self._max_bytes} bytes, got {len(frame)}.")
            self._frame = frame
        elif text is not None:
            if len(text) > MAX_TEXT or len(self._settings) > 100:
                raise EndError("The page sent too many or too large settings.")
            try:
                self._settings.append(json.loads(text))
            except ValueError:
                raise EndError("Settings must be JSON.") from None

    async def next(self) -> tuple[list[object], bytes | None]:
        """Wait for messages; return the settings and the newest frame that have arrived since the last call.

        Raises EndError if nothing arrives for IDLE_SECONDS or a message was invalid, and WebSocketDisconnect.
        """
        try:
            await asyncio.wait_for(self._arrived.wait(), IDLE_SECONDS)
        except TimeoutError:
            raise EndError("No frame arrived for a while. Press Start to continue.") from None
        self._arrived.clear()
        if self._error is not None:
            raise self._error
        settings, frame, self._settings, self._frame = self._settings, self._frame, [], None
        return settings, frame

    def check(self) -> None:
        """Raise the error that has ended the reading, if any."""
        if self._error is not None:
            raise self._error


def live_route(desk: LiveDesk, seats: Seats) -> WebSocketRoute:
    """Return the route of live sessions."""

    async def live(socket: WebSocket) -> None:
        if not is_own_page(socket):
            log.warning("A live session from another origin was rejected.")
            return await socket.close(POLICY)
        await socket.accept()
        inbox = Inbox(socket, desk.frame_bytes)
        reading = asyncio.create_task(inbox.read())
        code, reason = NORMAL, ""
        try:
            session = desk.find(socket.query_params.get("token"))
            await run_session(socket, inbox, session, desk, seats)
        except WebSocketDisconnect:
            return
        except (EndError, ValueError) as error:
            code, reason = UNSUPPORTED if isinstance(error, ValueError) else NORMAL, str(error)
        except Exception:
            log.exception("A live session failed")
            code, reason = 1011, "Internal error. Press Start again."
        finally:
            reading.cancel()
        await close(socket, code, reason)

    return WebSocketRoute(PATH, live)


async def run_session(socket: WebSocket, inbox: Inbox, session: LiveSession, desk: LiveDesk, seats: Seats) -> None:
    """Wait for a seat, then answer frames until the session ends."""

    async def report(before: int, seconds: float) -> None:
        inbox.check()
        await socket.send_json({"before": before, "seconds": round(seconds)})

    if session.is_connected:
        raise EndError("This live session is open in another window.")
    session.is_connected = True
    try:
        async with seats.seat(report) as seat:
            await socket.send_json({"seat": True})
            while True:
                settings, frame = await inbox.next()
                if seats.is_over(seat):
                    raise EndError("Your turn is over, because others are waiting. Press Start to queue again.")
                for values in settings:
                    await asyncio.to_thread(desk.update, session, values)
                if frame is not None:
                    await socket.send_bytes(await asyncio.to_thread(desk.push, session, frame))
    finally:
        session.is_connected = False


async def close(socket: WebSocket, code: int, reason: str) -> None:
    """Tell the page why the session ends, and close the socket. A page that has left is ignored."""
    try:
        await socket.send_json({"end": reason})
        await socket.close(code)
    except (RuntimeError, WebSocketDisconnect):
        pass


def is_own_page(socket: WebSocket) -> bool:
    """Return whether a socket was opened by a page of this server. Programs without a browser send no origin."""
    origin = socket.headers.get("origin")
    hosts = {socket.headers.get("host"), socket.headers.get("x-forwarded-host")}
    return origin is None or urlsplit(origin).netloc in hosts
