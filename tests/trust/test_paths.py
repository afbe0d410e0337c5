"""No route leads out of the served folders, and the server fetches no URL."""

import socket
import threading
from pathlib import Path

import pytest

from app.middleware import UNUSED
from devtools.hostile_inputs import ROUTES, SECRET, SECRET_TEXT

FIRST_BYTES = 65536


def get_raw(address: str, route: str) -> bytes:
    """Return the first bytes of a response, without a client that would normalise the route."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.settimeout(8)  # some responses start late
        connection.sendall(f"GET {route} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while len(received) < FIRST_BYTES:
            try:
                part = connection.recv(FIRST_BYTES)
            except TimeoutError:
                break  # an endless stream
            if not part:
                break
            received += part
            connection.settimeout(0.5)
    return received


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_reads_other_files(server, route):
    response = get_raw(server.address, route)
    status = int(response.split()[1])
    assert status < 500 and SECRET_TEXT.encode() not in response and server.is_running()
    if "etc" in route and "session" not in route:
        assert status >= 400


@pytest.fixture
def trap():
    """A server that must not receive any request: a URL on it, and the requests that it received."""
    requests, stop = [], threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)

        def watch():
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    continue
                requests.append(connection.recv(100))
                connection.close()

        thread = threading.Thread(target=watch)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x.mp4", requests
        stop.set()
        thread.join()


def test_no_url_in_a_request_is_fetched(client, trap):
    url, requests = trap
    kinds = [
        {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}},
        {"path": SECRET, "url": url, "meta": {"_type": "gradio.FileData"}},
        {"url": url}, url,
    ]  # fmt: skip
    for video in kinds:
        for name in ("open_upload", "load_script"):
            assert SECRET_TEXT not in str(client.call(name, video))
        response = client.call("infer_actions", None, video, 0, 6, "noisy", 1.0)
        assert not response.succeeded and SECRET_TEXT not in response.error
    client.get(f"/gradio_api/proxy={url}")
    client.get(f"/gradio_api/file={url}")
    assert requests == []


def test_no_public_url_is_fetched(client):
    """Gradio itself rejects private addresses, so this needs a public one; it is rejected before it is used."""
    url = "https://example.com/clip.mp4"
    video = {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}}
    assert not client.call("infer_actions", None, video, 0, 6, "noisy", 1.0).succeeded
    for route in ("/gradio_api/file=", "/gradio_api/file/"):
        assert client.get(route + url).status_code == 404


@pytest.mark.parametrize("name", UNUSED)
def test_routes_of_unused_features_are_closed(client, name):
    for response in (client.get(f"/gradio_api/{name}"), client.post(f"/gradio_api/{name}", files={"file": b"x"})):
        assert response.status_code == 404 and response.json() == {"detail": "Not found."}


def test_invalid_headers_and_forms_do_not_fail_the_server(client):
    assert client.get("/config", headers={"x-forwarded-host": "a:b"}).status_code < 500
    assert client.post("/gradio_api/upload?upload_id=x", files={"files": (None, "text")}).status_code < 500


def test_files_that_were_not_uploaded_cannot_be_used(client):
    for path in (SECRET, "app/main.py", str(Path("assets/gallery/ball-hops.mp4").resolve())):
        video = {"path": path, "meta": {"_type": "gradio.FileData"}}
        response = client.call("infer_actions", None, video, 0, 6, "noisy", 1.0)
        assert not response.succeeded, path


def test_uploads_stay_in_their_folder_whatever_their_name(client, server, tmp_path):
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"not a video")
    for name in ("../../evil.mp4", "..\\..\\evil.mp4", "/etc/evil.mp4", "a/../../evil.mp4", "\u202egpj.mp4", "x" * 300):
        uploaded = client.upload(file, name)
        if uploaded is not None:
            assert Path(uploaded["path"]).resolve().is_relative_to(server.folder / "uploads")


def test_uploads_that_are_too_large_are_rejected(client, tmp_path):
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(70 * 2**20)
    assert client.upload(large) is None and 413 in client.statuses
