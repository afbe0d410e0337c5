"""Live sessions: pictures that follow a stream of frames, and the seats that limit how many run at once."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from time import monotonic

import torch
from torch import Tensor

import lawm_core as lawm
from app.clip_selection import ClipSelection
from app.pictures import draw_sheet, from_bytes
from app.studio import Studio

SEATS = 2  # sessions that run at once
TURN_SECONDS = 60.0  # after which a session ends if others wait
MAX_SESSIONS = 64  # open sessions, running or not; the oldest is dropped
MAX_WAITING = 20  # people who wait for a seat
REPORT_SECONDS = 1.0  # between messages to someone who waits
MAX_RECORDED = 64  # actions of a recording; scripts have the same limit
PIXELS = 320  # height and width of the pictures that are sent
CHANNELS = 3

Report = Callable[[int, float], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """What can change while a session runs.

    strength: factor of the actions, in [0, 3]. smoothing: weight of earlier actions in a moving average, in [0, 0.95].
    family, capacity: see `LatentActionModel.at`. recording: whether actions are recorded.

    Raises ValueError for a value of another type or out of range; family and capacity are checked by the model.
    """

    family: str
    capacity: float
    strength: float = 1.0
    smoothing: float = 0.0
    recording: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (("capacity", 0, 1), ("strength", 0, 3), ("smoothing", 0, 0.95)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], got {repr(value)[:40]}.")
        if not isinstance(self.family, str) or not isinstance(self.recording, bool):
            raise ValueError("family must be a name and recording must be true or false.")

    def updated(self, values: object) -> LiveSettings:
        """Return these settings with other values, given by name. Raises ValueError for unknown names."""
        names = {f.name for f in fields(self)}
        if not isinstance(values, dict) or not set(values) <= names:
            raise ValueError(f"Settings must be an object with any of {', '.join(sorted(names))}.")
        return replace(self, **values)


@dataclass
class LiveSession:
    """A picture that follows a stream. token: secret that identifies the session.

    recorded: actions since the recording was started, at the setting of the session at that time. is_connected: whether
    a socket uses the session; only one may.
    """

    token: str
    transfer: lawm.LiveTransfer
    settings: LiveSettings
    recorded: list[Tensor] = field(default_factory=list)
    is_connected: bool = False


class LiveDesk:
    """Opens sessions, and moves their pictures."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.sessions: OrderedDict[str, LiveSession] = OrderedDict()

    @property
    def frame_bytes(self) -> int:
        """Size in bytes of a frame of the stream: RGB bytes, row by row, at the model's frame size."""
        return CHANNELS * self.studio.model.frame_size**2

    def open(self, target: ClipSelection, family: str, capacity: float) -> LiveSession:
        """Open a session that starts from the target's first frame."""
        settings = LiveSettings(family=family, capacity=capacity)
        picture_CHW = self.studio.open_clip(target).frame_TCHW[0]
        with self.studio.model_lock:
            transfer = lawm.LiveTransfer(self.studio.model.at(family, capacity), picture_CHW)
        session = LiveSession(secrets.token_urlsafe(24), transfer, settings)
        self.sessions[session.token] = session
        while len(self.sessions) > MAX_SESSIONS:
            self.sessions.popitem(last=False)
        return session

    def find(self, token: object) -> LiveSession:
        """Return an open session. Raises ValueError if there is none with this token."""
        session = self.sessions.get(token) if isinstance(token, str) else None
        if session is None:
            raise ValueError("This live session has ended. Press Start again.")
        return session

    def update(self, session: LiveSession, values: object) -> None:
        """Change the settings of a session, or return to its picture with {"restart": true}. Raises ValueError."""
        if values == {"restart": True}:
            with self.studio.model_lock:
                session.transfer.restart()
            return
        settings = session.settings.updated(values)
        bound = self.studio.model.at(settings.family, settings.capacity)
        changed = (settings.family, settings.capacity) != (session.settings.family, session.settings.capacity)
        if changed or (settings.recording and not session.settings.recording):
            session.recorded = []
        with self.studio.model_lock:
            session.transfer.rebind(bound)
        session.settings = settings

    def push(self, session: LiveSession, frame: bytes) -> bytes:
        """Take a frame of the stream, and return the moved picture as the fraction carried over and a JPEG.

        frame: see `frame_bytes`; it is used and discarded. The fraction has 4 bytes (little-endian float32). Raises
        ValueError for a frame of another size.
        """
        if len(frame) != self.frame_bytes:
            raise ValueError(f"A frame must have {self.frame_bytes} bytes, got {len(frame)}.")
        size, settings = self.studio.model.frame_size, session.settings
        byte_HWC = torch.frombuffer(bytearray(frame), dtype=torch.uint8).view(size, size, CHANNELS)
        with self.studio.model_lock:
            shown = session.transfer.push(from_bytes(byte_HWC.permute(2, 0, 1)), settings.strength, settings.smoothing)
        if settings.recording and shown.action_A is not None and len(session.recorded) < MAX_RECORDED:
            session.recorded.append(shown.action_A)
        jpeg = draw_sheet(shown.frame_CHW[None], PIXELS, columns=1, quality=85)
        return struct.pack("<f", shown.carried_fraction) + jpeg


class Seats:
    """A limited number of seats, taken in the order of arrival. Used in one event loop."""

    def __init__(self, count: int = SEATS, turn_seconds: float = TURN_SECONDS) -> None:
        self.count, self.turn_seconds = count, turn_seconds
        self._taken: dict[asyncio.Event, float] = {}  # when each seat was taken, the first one first
        self._waiting: deque[asyncio.Event] = deque()

    @asynccontextmanager
    async def seat(self, report: Report) -> AsyncIterator[asyncio.Event]:
        """Wait for a seat, and hold it during the block.

        report: called every second while waiting, with the number of people before this one and the estimated time to
        wait in seconds. Raises ValueError if too many people wait already.
        """
        seat = asyncio.Event()  # set when it is this one's turn
        if len(self._waiting) >= MAX_WAITING:
            raise ValueError(f"{MAX_WAITING} people are waiting already. Please try again later.")
        self._waiting.append(seat)
        self._call()
        try:
            while not seat.is_set():
                before = self._waiting.index(seat)
                await report(before, self._estimate(before))
                with suppress(TimeoutError):
                    await asyncio.wait_for(seat.wait(), REPORT_SECONDS)
            yield seat
        finally:
            self._taken.pop(seat, None)
            if seat in self._waiting:
                self._waiting.remove(seat)
            self._call()

    def _call(self) -> None:
        """Give free seats to those who have waited longest."""
        while self._waiting and len(self._taken) < self.count:
            seat = self._waiting.popleft()
            self._taken[seat] = monotonic()
            seat.set()

    def _estimate(self, before: int) -> float:
        """Return how long someone waits who has so many people before them, if all take their full turn."""
        rest = [max(0.0, self.turn_seconds - (monotonic() - taken)) for taken in self._taken.values()]
        rounds, place = divmod(before, self.count)
        return rest[place] + rounds * self.turn_seconds

    def is_over(self, seat: asyncio.Event) -> bool:
        """Return whether a turn is over: it has lasted its time, and someone waits who has no older turn to follow."""
        oldest = list(self._taken)[: len(self._waiting)]
        return seat in oldest and monotonic() - self._taken[seat] >= self.turn_seconds
