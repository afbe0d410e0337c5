"""Laws of fetching clips: what is kept is whole and right, whatever the server does."""

import hashlib
import http.server
import threading
from contextlib import contextmanager
from typing import ClassVar

import pytest

from lawm_core.cli import USAGE, main
from lawm_core.contracts import DownloadError
from lawm_core.video.download import download
from lawm_core.video.listing import LISTING, ListedClip, clips_here, pull, read_listing

CONTENT = bytes(range(256)) * 3000
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT as its path says: /good, /cut (ends early, every time), /plain (no ranges), /long, /wrong ..."""

    asked: ClassVar[list[str | None]] = []

    def do_GET(self):
        way = self.path.split("/")[1]
        self.asked.append(self.headers.get("Range"))
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
        self.wfile.write(body[:200_000] if way in ("cut", "plain") and start == 0 and len(self.asked) == 1 else
                         body[:200_000] if way == "cut" else body)  # fmt: skip

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with serving() as address:
        yield address


@contextmanager
def serving():
    Server.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def fetch(server, way, path, **changes):
    download(f"{server}/{way}/clip.mp4", path, **({"size": len(CONTENT), "sha256": SUM, "pause_seconds": 0} | changes))


def test_a_file_comes_whole_with_progress(server, tmp_path):
    told = []
    fetch(server, "good", tmp_path / "clip.mp4", progress=told.append)
    assert (tmp_path / "clip.mp4").read_bytes() == CONTENT
    assert told == sorted(told) and told[-1] == len(CONTENT) and len(told) > 2
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_connection_that_is_cut_goes_on_where_it_was(server, tmp_path):
    fetch(server, "cut", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == CONTENT
    assert Server.asked == [None, "bytes=200000-", "bytes=400000-", "bytes=600000-"]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    fetch(server, "plain", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == CONTENT
    assert Server.asked == [None, "bytes=200000-"]


def test_what_an_earlier_call_brought_is_not_fetched_again(server, tmp_path):
    (tmp_path / ".clip.mp4.part").write_bytes(CONTENT[:300_000])
    fetch(server, "good", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == CONTENT
    assert Server.asked == ["bytes=300000-"]


@pytest.mark.parametrize(
    ("way", "words", "requests"),
    [
        ("wrong", f"other bytes than were listed: SHA-256 .*, needed {SUM}", 1),
        ("endless", None, 1),  # what came first is right, and no more is taken
        ("long", f"has {len(CONTENT) + 4} bytes; {len(CONTENT)} were listed", 1),
        ("lies", f"has {len(CONTENT) + 5} bytes; {len(CONTENT)} were listed", 1),
        ("gone", "answered 404", 1),
        ("busy", "after 4 tries without progress: it answered 503", 4),
        ("stuck", "after 4 tries without progress: the connection ended after 0 of", 4),
    ],
)
def test_a_server_that_misbehaves_leaves_nothing_wrong_behind(server, tmp_path, way, words, requests):
    path = tmp_path / "clip.mp4"
    if words is None:
        fetch(server, way, path)
        assert path.read_bytes() == CONTENT
    else:
        with pytest.raises(DownloadError, match=words):
            fetch(server, way, path)
        assert not path.exists()
    assert len(Server.asked) == requests
    assert all(p.stat().st_size <= len(CONTENT) for p in tmp_path.iterdir())


def test_a_wrong_file_is_fetched_from_its_start_the_next_time(server, tmp_path):
    with pytest.raises(DownloadError):
        fetch(server, "wrong", tmp_path / "clip.mp4")
    assert not list(tmp_path.iterdir())
    fetch(server, "good", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == CONTENT


def test_nobody_at_the_address_is_said(tmp_path):
    with serving() as address:
        pass
    with pytest.raises(DownloadError, match="4 tries without progress"):
        fetch(address, "good", tmp_path / "clip.mp4")


# ---- lists ----------------------------------------------------------------------------------------------------------


def listed(address: str, way: str = "good", **changes) -> dict:
    return {
        "name": way, "address": f"{address}/{way}/clip.mp4", "bytes": len(CONTENT), "sha256": SUM, "licence": "CC0-1.0",
        "attribution": "A. Maker", "source": "https://example.org/clip", "words": "A clip",
    } | changes  # fmt: skip


def as_toml(*tables: dict) -> str:
    return "\n".join("[[clip]]\n" + "\n".join(f"{k} = {v!r}" for k, v in table.items()) for table in tables)


def test_the_projects_own_list_reads_and_is_openly_licensed():
    clips = read_listing(LISTING)
    assert len(clips) >= 8
    assert {clip.licence for clip in clips} <= {"MIT", "Apache-2.0", "CC-BY-4.0", "CC0-1.0"}
    assert all(clip.address.startswith("https://") for clip in clips)


def test_one_that_fails_does_not_hold_up_the_others(server, tmp_path, monkeypatch):
    monkeypatch.setattr("lawm_core.video.download.time.sleep", lambda _: None)
    clips = [ListedClip(**listed(server, way)) for way in ("gone", "good", "wrong", "cut")]
    failed = pull(clips, tmp_path)
    assert set(failed) == {"gone", "wrong"}
    assert [clip.name for clip in clips_here(clips, tmp_path)] == ["good", "cut"]
    asked = len(Server.asked)
    assert set(pull(clips[1:2], tmp_path)) == set()
    assert len(Server.asked) == asked, "what is here and right is not asked for again"


def test_a_clip_that_changed_on_the_disk_is_fetched_again(server, tmp_path):
    clips = [ListedClip(**listed(server))]
    (tmp_path / "good.mp4").write_bytes(b"y" * len(CONTENT))
    assert pull(clips, tmp_path) == {}
    assert (tmp_path / "good.mp4").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../out"}, "small letters"),
        ({"name": ".hidden"}, "small letters"),
        ({"address": "file:///etc/passwd.mp4"}, "no http or https"),
        ({"address": "https://example.org/größe.mp4"}, "writes with %"),
        ({"address": "https://example.org/clip.exe"}, "ends in '.exe'"),
        ({"bytes": 0}, "needed: 1 to"),
        ({"bytes": 2**40}, "needed: 1 to"),
        ({"bytes": "many"}, "needed: Bytes"),
        ({"sha256": SUM[:-1]}, "not 64 hex digits"),
        ({"licence": ""}, "needs a licence"),
        ({"attribution": " "}, "needs a licence and an attribution"),
        ({"colour": "red"}, "no field 'colour'"),
    ],
)
def test_a_list_that_is_wrong_is_refused_with_the_reason(tmp_path, changes, words):
    (tmp_path / "list.toml").write_text(as_toml(listed("https://example.org") | changes))
    with pytest.raises(ValueError, match=words):
        read_listing(tmp_path / "list.toml")


def test_a_name_that_comes_twice_is_refused(tmp_path):
    (tmp_path / "list.toml").write_text(as_toml(listed("https://example.org"), listed("https://example.org")))
    with pytest.raises(ValueError, match="good more than once"):
        read_listing(tmp_path / "list.toml")


def test_the_command_pulls_tells_and_fails_loudly(server, tmp_path, capsys):
    listing, out = tmp_path / "list.toml", tmp_path / "lent"
    listing.write_text(as_toml(listed(server), listed(server, "gone")))
    asked = ["gallery", "pull", "--listing", str(listing), "--out", str(out)]
    assert main([*asked, "--only", "good"]) == 0
    assert '"here": true' in capsys.readouterr().out
    assert main(asked) == USAGE
    told = capsys.readouterr()
    assert "1 of 2 clips could not be had" in told.err and "404" in told.err
    assert (out / "good.mp4").read_bytes() == CONTENT
    assert main([*asked, "--only", "nothing"]) == USAGE
    assert "nothing is not in" in capsys.readouterr().err
