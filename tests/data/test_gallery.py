"""Downloads of clips: files are complete and correct whatever the server does."""

import hashlib
import http.server
import threading
from contextlib import contextmanager
from typing import ClassVar

import pytest

from lawm_core.cli.main import USAGE, main
from lawm_core.data.download import download
from lawm_core.data.gallery import LISTING, GalleryClip, download_gallery, downloaded_clips, read_gallery
from lawm_core.types import DownloadError

CONTENT = bytes(range(256)) * 3000
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT as the path says: /good, /cut (ends early every time), /plain (no ranges), /long, /wrong ..."""

    ranges: ClassVar[list[str | None]] = []

    def do_GET(self):
        way = self.path.split("/")[1]
        self.ranges.append(self.headers.get("Range"))
        if way in ("gone", "busy"):
            self.send_error({"gone": 404, "busy": 503}[way])
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if way != "plain" else 0
        body = {"wrong": b"x" * len(CONTENT), "long": CONTENT + b"more", "endless": CONTENT * 9}.get(way, CONTENT)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if way == "lies":
            self.send_header("Content-Length", str(len(body) + 5))
        elif way != "endless":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        body = body[start:]
        if way == "stuck":
            return
        self.wfile.write(body[:200_000] if way in ("cut", "plain") and start == 0 and len(self.ranges) == 1 else
                         body[:200_000] if way == "cut" else body)  # fmt: skip

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with serving() as address:
        yield address


@contextmanager
def serving():
    Server.ranges = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def fetch(server, way, path, **changes):
    download(f"{server}/{way}/clip.mp4", path, **({"size": len(CONTENT), "sha256": SUM, "pause_seconds": 0} | changes))


def test_a_download_is_complete_and_reports_progress(server, tmp_path):
    progress = []
    fetch(server, "good", tmp_path / "clip.mp4", progress=progress.append)
    assert (tmp_path / "clip.mp4").read_bytes() == CONTENT
    assert progress == sorted(progress) and progress[-1] == len(CONTENT) and len(progress) > 2
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_an_interrupted_download_continues_where_it_stopped(server, tmp_path):
    fetch(server, "cut", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == CONTENT
    assert Server.ranges == [None, "bytes=200000-", "bytes=400000-", "bytes=600000-"]


def test_a_server_without_ranges_sends_the_whole_file_again(server, tmp_path):
    fetch(server, "plain", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == CONTENT
    assert Server.ranges == [None, "bytes=200000-"]


def test_bytes_of_an_earlier_call_are_not_downloaded_again(server, tmp_path):
    (tmp_path / ".clip.mp4.part").write_bytes(CONTENT[:300_000])
    fetch(server, "good", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == CONTENT
    assert Server.ranges == ["bytes=300000-"]


@pytest.mark.parametrize(
    ("way", "message", "requests"),
    [
        ("wrong", f"must have SHA-256 {SUM}, got ", 1),
        ("endless", None, 1),  # the first bytes are correct, and no more are read
        ("long", f"must have {len(CONTENT)} bytes, got {len(CONTENT) + 4}", 1),
        ("lies", f"must have {len(CONTENT)} bytes, got {len(CONTENT) + 5}", 1),
        ("gone", "answered 404", 1),
        ("busy", "after 4 tries without progress: it answered 503", 4),
        ("stuck", "after 4 tries without progress: the connection ended after 0 of", 4),
    ],
)
def test_a_faulty_server_never_leaves_a_wrong_file(server, tmp_path, way, message, requests):
    path = tmp_path / "clip.mp4"
    if message is None:
        fetch(server, way, path)
        assert path.read_bytes() == CONTENT
    else:
        with pytest.raises(DownloadError, match=message):
            fetch(server, way, path)
        assert not path.exists()
    assert len(Server.ranges) == requests
    assert all(p.stat().st_size <= len(CONTENT) for p in tmp_path.iterdir())


def test_after_wrong_content_the_next_call_starts_from_zero(server, tmp_path):
    with pytest.raises(DownloadError):
        fetch(server, "wrong", tmp_path / "clip.mp4")
    assert not list(tmp_path.iterdir())
    fetch(server, "good", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == CONTENT


def test_a_server_that_does_not_answer_raises_an_error(tmp_path):
    with serving() as address:
        pass
    with pytest.raises(DownloadError, match="4 tries without progress"):
        fetch(address, "good", tmp_path / "clip.mp4")


# ---- lists ----------------------------------------------------------------------------------------------------------


def fields(server: str, way: str = "good", **changes) -> dict:
    return {
        "name": way, "url": f"{server}/{way}/clip.mp4", "bytes": len(CONTENT), "sha256": SUM, "licence": "CC0-1.0",
        "attribution": "A. Maker", "source": "https://example.org/clip", "title": "A clip",
    } | changes  # fmt: skip


def as_toml(*tables: dict) -> str:
    return "\n".join("[[clip]]\n" + "\n".join(f"{k} = {v!r}" for k, v in table.items()) for table in tables)


def test_the_shipped_list_is_valid_and_openly_licensed():
    clips = read_gallery(LISTING)
    assert len(clips) >= 8
    assert {clip.licence for clip in clips} <= {"MIT", "Apache-2.0", "CC-BY-4.0", "CC0-1.0"}
    assert all(clip.url.startswith("https://") for clip in clips)


def test_a_failed_download_does_not_stop_the_others(server, tmp_path, monkeypatch):
    monkeypatch.setattr("lawm_core.data.download.time.sleep", lambda _: None)
    clips = [GalleryClip(**fields(server, way)) for way in ("gone", "good", "wrong", "cut")]
    failed = download_gallery(clips, tmp_path)
    assert set(failed) == {"gone", "wrong"}
    assert [clip.name for clip in downloaded_clips(clips, tmp_path)] == ["good", "cut"]
    requests = len(Server.ranges)
    assert set(download_gallery(clips[1:2], tmp_path)) == set()
    assert len(Server.ranges) == requests, "a complete file is not requested again"


def test_a_changed_file_is_downloaded_again(server, tmp_path):
    clips = [GalleryClip(**fields(server))]
    (tmp_path / "good.mp4").write_bytes(b"y" * len(CONTENT))
    assert download_gallery(clips, tmp_path) == {}
    assert (tmp_path / "good.mp4").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../out"}, "name must be 1 to 64 lower-case letters"),
        ({"name": ".hidden"}, "name must be 1 to 64 lower-case letters"),
        ({"url": "file:///etc/passwd.mp4"}, "url must be an http or https URL"),
        ({"url": "https://example.org/größe.mp4"}, "escaped with %"),
        ({"url": "https://example.org/clip.exe"}, "url must end in .*, got '.exe'"),
        ({"bytes": 0}, "bytes must be in"),
        ({"bytes": 2**40}, "bytes must be in"),
        ({"bytes": "many"}, "bytes must be Bytes, got 'many'"),
        ({"sha256": SUM[:-1]}, "sha256 must be 64 hex digits"),
        ({"licence": ""}, "licence must be an SPDX name"),
        ({"attribution": " "}, "attribution must be a text that is not blank, got ' '"),
        ({"colour": "red"}, "no field 'colour'"),
    ],
)
def test_an_invalid_list_raises_an_error_with_the_reason(tmp_path, changes, message):
    (tmp_path / "list.toml").write_text(as_toml(fields("https://example.org") | changes))
    with pytest.raises(ValueError, match=message):
        read_gallery(tmp_path / "list.toml")


def test_a_repeated_name_raises_an_error(tmp_path):
    (tmp_path / "list.toml").write_text(as_toml(fields("https://example.org"), fields("https://example.org")))
    with pytest.raises(ValueError, match="good more than once"):
        read_gallery(tmp_path / "list.toml")


def test_the_command_downloads_lists_and_reports_failures(server, tmp_path, capsys):
    listing, out = tmp_path / "list.toml", tmp_path / "external"
    listing.write_text(as_toml(fields(server), fields(server, "gone")))
    command = ["gallery", "pull", "--listing", str(listing), "--out", str(out)]
    assert main([*command, "--only", "good"]) == 0
    assert '"downloaded": true' in capsys.readouterr().out
    assert main(command) == USAGE
    error = capsys.readouterr().err
    assert "1 of 2 clips could not be downloaded" in error and "404" in error
    assert (out / "good.mp4").read_bytes() == CONTENT
    assert main([*command, "--only", "nothing"]) == USAGE
    assert "--only must be one of good, gone, got nothing" in capsys.readouterr().err
