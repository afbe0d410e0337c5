"""Live sessions: frames move a picture, seats are taken in turn, and anything else ends with a reason."""

import asyncio
import json
import struct

import pytest
import torch
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import lawm_core as lawm
from app import live_socket
from app.clip_selection import ClipSelection
from app.live import MAX_RECORDED, MAX_SESSIONS, LiveDesk, LiveSettings, Seats
from app.live_socket import live_route
from app.studio import Studio
from tests.conftest import build_tiny_model

FRAME = bytes(3 * 32 * 32)


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Studio:
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "gallery.json").write_text('{"clips": [], "pairs": []}')
    return Studio(build_tiny_model(), folder)


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> ClipSelection:
    path = tmp_path_factory.mktemp("clips") / "noise.mp4"
    lawm.write_clip(path, torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)), 6)
    return ClipSelection.of(path)


@pytest.fixture
def desk(studio) -> LiveDesk:
    return LiveDesk(studio)


@pytest.fixture
def session(desk, target):
    return desk.open(target, "noisy", 1.0)


def frames(count: int) -> list[bytes]:
    """Return different frames of noise as raw bytes."""
    generator = torch.Generator().manual_seed(1)
    return [bytes(torch.randint(0, 256, (len(FRAME),), generator=generator).tolist()) for _ in range(count)]


# ---- sessions -------------------------------------------------------------------------------------------------------


def test_frames_move_the_picture(desk, session):
    replies = [desk.push(session, frame) for frame in frames(3)]
    assert all(0 <= struct.unpack("<f", reply[:4])[0] <= 1 and reply[4:6] == b"\xff\xd8" for reply in replies)
    assert replies[1] != replies[2]


def test_only_recorded_actions_are_kept(desk, session):
    desk.push(session, FRAME)
    desk.push(session, FRAME)
    assert session.recorded == []
    desk.update(session, {"recording": True})
    for _ in range(MAX_RECORDED + 2):
        desk.push(session, FRAME)
    assert len(session.recorded) == MAX_RECORDED and len(session.recorded[0]) == desk.studio.model.at().action_width
    desk.update(session, {"capacity": 0.5})  # actions of another setting would not fit
    assert session.recorded == []


def test_restart_returns_to_the_picture(desk, session):
    first = desk.push(session, FRAME)
    for frame in frames(3):
        desk.push(session, frame)
    desk.update(session, {"restart": True})
    assert desk.push(session, FRAME) == first


@pytest.mark.parametrize(
    "values", [{"strength": 9}, {"smoothing": 1}, {"capacity": "high"}, {"family": "unknown"}, {"evil": 1}, [], None]
)
def test_invalid_settings_raise_and_change_nothing(desk, session, values):
    before = session.settings
    with pytest.raises(ValueError):
        desk.update(session, values)
    assert session.settings == before


def test_the_oldest_session_is_dropped(desk, target):
    tokens = [desk.open(target, "noisy", 1.0).token for _ in range(MAX_SESSIONS + 1)]
    with pytest.raises(ValueError, match="This live session has ended"):
        desk.find(tokens[0])
    assert desk.find(tokens[1]).token == tokens[1]


def test_settings_have_defaults_within_their_ranges():
    assert LiveSettings(family="noisy", capacity=0.5).updated({"strength": 2}).strength == 2


# ---- seats ----------------------------------------------------------------------------------------------------------


def test_seats_are_taken_in_the_order_of_arrival():
    async def scenario():
        seats, order, reports = Seats(count=1), [], []

        async def report(before, seconds):
            reports.append((before, seconds))

        async def visit(name, leave):
            async with seats.seat(report):
                order.append(name)
                await leave.wait()

        leaves = [asyncio.Event() for _ in range(3)]
        visits = []
        for name, leave in enumerate(leaves):
            visits.append(asyncio.create_task(visit(name, leave)))
            await asyncio.sleep(0)
        assert order == [0] and [before for before, _ in reports] == [0, 1]
        assert reports[0][1] <= 60 < reports[1][1] <= 120
        visits[1].cancel()  # leaves the queue
        await asyncio.sleep(0)
        leaves[0].set()
        await asyncio.sleep(0.05)
        assert order == [0, 2]
        leaves[2].set()
        await asyncio.gather(*visits, return_exceptions=True)

    asyncio.run(scenario())


def test_one_who_waits_ends_one_turn_the_oldest():
    async def scenario():
        seats = Seats(count=2, turn_seconds=0.0)

        async def report(before, seconds):
            pass

        async def wait():
            async with seats.seat(report):
                await asyncio.sleep(10)

        async with seats.seat(report) as oldest:
            async with seats.seat(report) as youngest:
                waiting = asyncio.create_task(wait())
                await asyncio.sleep(0)
                assert seats.is_over(oldest) and not seats.is_over(youngest)
        waiting.cancel()

    asyncio.run(scenario())


def test_a_seat_that_becomes_free_goes_to_the_one_who_waits_not_to_a_newcomer():
    async def scenario():
        seats, order = Seats(count=1), []

        async def report(before, seconds):
            pass

        async def visit(name):
            async with seats.seat(report):
                order.append(name)
                await asyncio.sleep(0.01)

        async with seats.seat(report):
            waiting = asyncio.create_task(visit("waiting"))
            await asyncio.sleep(0)
        newcomer = asyncio.create_task(visit("newcomer"))  # before the one who waits has noticed
        await asyncio.gather(waiting, newcomer)
        assert order == ["waiting", "newcomer"] and not seats._taken

    asyncio.run(scenario())


def test_a_turn_ends_only_if_others_wait():
    async def scenario():
        seats = Seats(count=1, turn_seconds=0.0)

        async def report(before, seconds):
            pass

        async def wait():
            async with seats.seat(report):
                pass

        async with seats.seat(report) as seat:
            assert not seats.is_over(seat)
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            assert seats.is_over(seat)
        await waiting

    asyncio.run(scenario())


# ---- socket ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def seats() -> Seats:
    return Seats(count=1)


@pytest.fixture
def client(desk, seats) -> TestClient:
    return TestClient(Starlette(routes=[live_route(desk, seats)]))


def connect(client, token, **headers):
    return client.websocket_connect(f"/live?token={token}", headers=headers)


def end_of(socket) -> str:
    """Return the reason in the last message of a socket."""
    reason = socket.receive_json()["end"]
    with pytest.raises(WebSocketDisconnect):
        socket.receive_json()
    return reason


def test_a_socket_answers_frames(client, session):
    with connect(client, session.token, origin="http://testserver") as socket:
        assert socket.receive_json() == {"seat": True}
        socket.send_text(json.dumps({"strength": 2.0}))
        for frame in frames(2):
            socket.send_bytes(frame)
            assert socket.receive_bytes()[4:6] == b"\xff\xd8"
    assert session.settings.strength == 2.0


def test_a_second_visitor_waits_and_is_told_how_long(client, desk, session, target):
    other = desk.open(target, "noisy", 1.0)
    with connect(client, session.token) as first:
        assert first.receive_json() == {"seat": True}
        with connect(client, other.token) as second:
            assert second.receive_json() == {"before": 0, "seconds": 60}
            first.close()
            while "before" in (message := second.receive_json()):
                pass
            assert message == {"seat": True}


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"123", "A frame must have 3072 bytes, got 3"),
        (FRAME + b"1", "A frame must have 3072 bytes, got 3073"),
        ("not json", "Settings must be JSON"),
        ('{"strength": 100}', "strength must be in"),
        ("1" * 3000, "too large settings"),
    ],
)
def test_invalid_messages_end_the_session_with_a_reason(client, session, sent, says):
    with connect(client, session.token) as socket:
        assert socket.receive_json() == {"seat": True}
        socket.send_bytes(sent) if isinstance(sent, bytes) else socket.send_text(sent)
        assert says in end_of(socket)


def test_an_unknown_token_is_refused(client):
    with connect(client, "guess") as socket:
        assert "This live session has ended" in end_of(socket)


def test_a_session_is_live_in_one_window_only(client, session):
    with connect(client, session.token) as first:
        assert first.receive_json() == {"seat": True}
        with connect(client, session.token) as second:
            assert "open in another window" in end_of(second)


def test_too_many_visitors_are_refused(client, desk, session, target, monkeypatch):
    monkeypatch.setattr("app.live.MAX_WAITING", 0)
    with connect(client, session.token) as socket:
        assert "0 people are waiting already" in end_of(socket)


def test_another_origin_is_refused(client, session):
    with pytest.raises(WebSocketDisconnect), connect(client, session.token, origin="https://evil.example"):
        pass


def test_a_silent_page_is_disconnected(client, session, monkeypatch):
    monkeypatch.setattr(live_socket, "IDLE_SECONDS", 0.05)
    with connect(client, session.token) as socket:
        assert socket.receive_json() == {"seat": True}
        assert "No frame arrived for a while" in end_of(socket)


def test_a_seat_is_free_again_after_a_lost_connection(client, desk, seats, session, target):
    for _ in range(3):
        with connect(client, desk.open(target, "noisy", 1.0).token) as socket:
            assert socket.receive_json() == {"seat": True}
            socket.send_bytes(FRAME)
    with connect(client, session.token) as socket:
        assert socket.receive_json() == {"seat": True}


def test_a_flood_of_frames_does_not_queue(client, session):
    with connect(client, session.token) as socket:
        assert socket.receive_json() == {"seat": True}
        for frame in frames(50):
            socket.send_bytes(frame)
        socket.send_text("end")
        answers = 0
        while (message := socket.receive()).get("bytes") is not None:
            answers += 1
        assert answers < 50 and "Settings must be JSON" in message["text"]
