"""Models on the Hub: a pushed model is the one that is loaded, and errors are reported."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import huggingface_hub
import pytest
import torch

from lawm_core.checkpoint import load_model, save_model
from lawm_core.cli.main import BAD_MODEL, main
from lawm_core.hub import fetch_model, push_model
from lawm_core.types import CheckpointError

ROOT = Path(__file__).resolve().parent.parent
COMMIT = "c" * 40


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A saved model with a card, a report and an unrelated file."""
    home = save_model(tiny_model, tmp_path / "tiny")
    (home / "card.md").write_text("# tiny\n\nA model for tests.\n")
    (home / "report").mkdir()
    (home / "report" / "report.json").write_text("{}")
    (home / "state.safetensors.part").write_bytes(b"of an interrupted write")
    return home


@pytest.fixture
def hub(monkeypatch):
    """Contents of a repository on the Hub by file name. Its own checks run; only requests are replaced."""
    old = ("model-09-of-09.safetensors", "report/old.json", "SHA256SUMS")
    contents: dict[str, bytes] = dict.fromkeys((*old, "notes/model.safetensors"), b"of an earlier model")

    def commit(self, repo_id, operations, **_):
        for operation in operations:
            if isinstance(operation, huggingface_hub.CommitOperationDelete):
                del contents[operation.path_in_repo]
            else:
                file = operation.path_or_fileobj
                contents[operation.path_in_repo] = file if isinstance(file, bytes) else Path(file).read_bytes()
        return huggingface_hub.CommitInfo(
            commit_url=f"https://huggingface.co/{repo_id}/commit/{COMMIT}", commit_message="", commit_description="",
            oid=COMMIT,
        )  # fmt: skip

    api = huggingface_hub.HfApi
    monkeypatch.setattr(api, "create_repo", lambda self, repo_id, **_: f"https://huggingface.co/{repo_id}")
    monkeypatch.setattr(api, "list_repo_files", lambda self, *_, **__: list(contents))
    monkeypatch.setattr(api, "create_commit", commit)
    return contents


def test_a_push_uploads_the_model_with_its_card_and_replaces_an_earlier_model(folder, hub):
    assert push_model(folder, "hub:someone/tiny") == "https://huggingface.co/someone/tiny"
    assert set(hub) == {
        "README.md", "SHA256SUMS", "card.md", "config.json", "model-01-of-01.safetensors", "report/report.json",
        "notes/model.safetensors",
    }  # fmt: skip
    page = hub["README.md"].decode()
    card = huggingface_hub.ModelCard(page)
    assert card.data.license == "apache-2.0" and "world-model" in card.data.tags
    assert page.endswith("# tiny\n\nA model for tests.\n")


def test_a_push_without_a_network_raises(folder, monkeypatch):
    def fail(*_, **__):
        raise httpx.HTTPError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    with pytest.raises(CheckpointError, match="hub:someone/tiny could not be uploaded: Name or service not known"):
        push_model(folder, "hub:someone/tiny")


def test_a_model_without_a_card_is_not_uploaded(folder, hub):
    (folder / "card.md").unlink()
    with pytest.raises(CheckpointError, match=r"no card\.md"):
        push_model(folder, "hub:someone/tiny")
    assert set(hub.values()) == {b"of an earlier model"}


@pytest.mark.parametrize("address", ["someone/tiny", "hub:tiny", "hub:a/b/c", "hub:", "hub:a/b@", "hub:../x y"])
def test_an_invalid_address_raises(folder, address):
    with pytest.raises(CheckpointError, match=r"address must be hub:owner/name or hub:owner/name@revision, got"):
        push_model(folder, address)


class Hub(http.server.BaseHTTPRequestHandler):
    """The requests of the Hub that a download needs: a repository's list of files, and the files."""

    files: dict[str, bytes]

    def do_HEAD(self):
        self.respond(with_body=False)

    def do_GET(self):
        self.respond(with_body=True)

    def respond(self, with_body: bool):
        path = self.path.split("?")[0]
        if path.startswith("/api/models/someone/tiny"):
            if "/tree/" in path:
                body = [{"type": "file", "path": n, "size": len(b), "oid": sha1(b)} for n, b in self.files.items()]
            else:
                body = {"id": "someone/tiny", "sha": COMMIT, "siblings": [{"rfilename": n} for n in self.files]}
            self.send(json.dumps(body).encode(), with_body, {"Content-Type": "application/json"})
        elif path.startswith("/someone/tiny/resolve/") and (name := path.split("/", 5)[5]) in self.files:
            body = self.files[name]
            self.send(body, with_body, {"ETag": f'"{sha1(body)}"', "X-Repo-Commit": COMMIT})
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def send(self, body: bytes, with_body: bool, headers: dict[str, str]):
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def endpoint(folder, hub):
    """URL of a local Hub that holds a pushed model."""
    push_model(folder, "hub:someone/tiny")
    Hub.files = hub
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fetch(endpoint: str, home: Path, address: str = "hub:someone/tiny") -> subprocess.CompletedProcess:
    """Fetch in another process: huggingface_hub reads the address of the Hub when it is imported."""
    code = f"from lawm_core.hub import fetch_model; print(fetch_model({address!r}))"
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | settings, cwd=ROOT, capture_output=True, text=True
    )


def test_a_pushed_model_is_loaded_unchanged_and_cached(tiny_model, endpoint, tmp_path):
    first = fetch(endpoint, tmp_path / "cache")
    assert first.returncode == 0, first.stderr[-2000:]
    again = load_model(Path(first.stdout.strip()))
    for name, weight in tiny_model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    offline = fetch("http://127.0.0.1:9", tmp_path / "cache")
    assert offline.stdout == first.stdout


def test_a_missing_repository_raises(endpoint, tmp_path):
    errors = fetch(endpoint, tmp_path / "cache", "hub:someone/nothing").stderr
    assert "CheckpointError: hub:someone/nothing could not be downloaded" in errors


def test_without_network_and_cache_fetching_fails_at_once(tmp_path):
    errors = fetch("http://127.0.0.1:9", tmp_path / "cache").stderr
    assert "CheckpointError: hub:someone/tiny is not in the local cache and the Hub cannot be reached" in errors


def test_models_from_the_hub_are_checked_as_local_ones(folder, monkeypatch, capsys):
    monkeypatch.setattr("lawm_core.model_folders.fetch_model", lambda address: folder)
    assert load_model("hub:someone/tiny").name == "tiny"
    shard = folder / "model-01-of-01.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x07")
    with pytest.raises(CheckpointError, match="SHA256SUMS"):
        load_model("hub:someone/tiny")
    assert main(["push", str(folder), "hub:someone/tiny"]) == BAD_MODEL
    assert "SHA256SUMS" in capsys.readouterr().err


def test_fetching_needs_a_complete_address():
    with pytest.raises(CheckpointError, match="hub:owner/name"):
        fetch_model("hub:tiny")
