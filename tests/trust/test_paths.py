"""No way out of the folders that are served, and no way to make the server fetch anything."""

import socket
import threading
from pathlib import Path

import pytest
from gradio import processing_utils

from app.door import UNUSED, fetch_no_addresses
from benchmarks.trust.strange import ROUTES, SECRET, TELLING

FIRST_BYTES = 65536


def asked(address: str, route: str) -> bytes:
    """The first bytes of an answer to a route that no client would mend on the way."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as line:
        line.settimeout(8)  # some answers are slow to begin
        line.sendall(f"GET {route} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        out = b""
        while len(out) < FIRST_BYTES:
            try:
                part = line.recv(FIRST_BYTES)
            except TimeoutError:
                break  # a stream that goes on and on
            if not part:
                break
            out += part
            line.settimeout(0.5)
    return out


@pytest.mark.parametrize("route", ROUTES)
def test_routes_that_try_to_get_out_give_nothing(server, route):
    answer = asked(server.address, route)
    status = int(answer.split()[1])
    assert status < 500 and TELLING.encode() not in answer and server.alive()
    if "etc" in route and "session" not in route:
        assert status >= 400


@pytest.fixture
def bait():
    """A server that nobody may be sent to: its address, and what was asked of it."""
    visits, stop = [], threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(0.2)

        def watch():
            while not stop.is_set():
                try:
                    line, _ = door.accept()
                except OSError:
                    continue
                visits.append(line.recv(100))
                line.close()

        thread = threading.Thread(target=watch)
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/x.mp4", visits
        stop.set()
        thread.join()


def test_no_address_in_a_request_is_fetched(visitor, bait):
    address, visits = bait
    kinds = [
        {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}},
        {"path": SECRET, "url": address, "meta": {"_type": "gradio.FileData"}},
        {"url": address}, address,
    ]  # fmt: skip
    for video in kinds:
        for name in ("open_upload", "load"):
            assert TELLING not in str(visitor.ask(name, video))
        answer = visitor.ask("infer_actions", None, video, 0, 6, "noisy", 1.0)
        assert not answer.served and TELLING not in answer.refusal
    visitor.get(f"/gradio_api/proxy={address}")
    visitor.get(f"/gradio_api/file={address}")
    assert visits == []


def test_no_public_address_is_asked_for_either(visitor):
    """Gradio refuses private addresses by itself, so the law needs one of the world outside: it is refused unread."""
    address = "https://example.com/clip.mp4"
    video = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}
    assert not visitor.ask("infer_actions", None, video, 0, 6, "noisy", 1.0).served
    for route in ("/gradio_api/file=", "/gradio_api/file/"):
        assert visitor.get(route + address).status_code == 404


def test_fetching_is_switched_off_for_every_address():
    fetch = processing_utils.async_ssrf_protected_download
    try:
        fetch_no_addresses()
        with pytest.raises(ValueError, match="upload the file itself"):
            processing_utils.ssrf_protected_download("https://example.com/clip.mp4", "/tmp")
    finally:
        processing_utils.async_ssrf_protected_download = fetch


@pytest.mark.parametrize("name", UNUSED)
def test_parts_that_the_page_does_not_use_are_closed(visitor, name):
    for answer in (visitor.get(f"/gradio_api/{name}"), visitor.post(f"/gradio_api/{name}", files={"file": b"x"})):
        assert answer.status_code == 404 and "nothing here" in answer.text


def test_headers_and_forms_of_no_sense_are_refused(visitor):
    assert visitor.get("/config", headers={"x-forwarded-host": "a:b"}).status_code < 500
    assert visitor.post("/gradio_api/upload?upload_id=x", files={"files": (None, "text")}).status_code < 500


def test_a_path_on_the_server_is_no_upload(visitor, server):
    """Files that were not uploaded cannot be named, the model's and our own source among them."""
    for path in (SECRET, "app/main.py", str(Path("assets/gallery/ball-hops.mp4").resolve())):
        video = {"path": path, "meta": {"_type": "gradio.FileData"}}
        answer = visitor.ask("infer_actions", None, video, 0, 6, "noisy", 1.0)
        assert not answer.served, path


def test_an_upload_keeps_within_its_folder(visitor, server, tmp_path):
    evil = tmp_path / "clip.mp4"
    evil.write_bytes(b"not a video")
    for name in ("../../evil.mp4", "..\\..\\evil.mp4", "/etc/evil.mp4", "a/../../evil.mp4", "\u202egpj.mp4", "x" * 300):
        kept = visitor.upload(evil, name)
        if kept is not None:
            assert Path(kept["path"]).resolve().is_relative_to(server.folder / "uploads")


def test_uploads_beyond_the_limit_are_refused(visitor, tmp_path):
    big = tmp_path / "big.mp4"
    with big.open("wb") as file:
        file.truncate(70 * 2**20)
    assert visitor.upload(big) is None and 413 in visitor.statuses
