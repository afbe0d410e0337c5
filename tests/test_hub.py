"""Laws of models on the Hub: what is pushed is what is loaded, and what goes wrong is said."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import huggingface_hub
import pytest
import torch

from lawm_core.checkpoint import load_model, save_model
from lawm_core.cli import BAD_MODEL, main
from lawm_core.contracts import CheckpointError
from lawm_core.hub import fetch_model, push_model

ROOT = Path(__file__).resolve().parent.parent
COMMIT = "c" * 40


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A saved model with a card and a report."""
    home = save_model(tiny_model, tmp_path / "tiny")
    (home / "card.md").write_text("# tiny\n\nA model for tests.\n")
    (home / "report").mkdir()
    (home / "report" / "report.json").write_text("{}")
    (home / "state.safetensors.part").write_bytes(b"left by something else")
    return home


@pytest.fixture
def hub(monkeypatch):
    """What a commit would bring to the Hub, by name; everything before the commit is huggingface_hub's own."""
    old = ("model-09-of-09.safetensors", "report/old.json", "SHA256SUMS")
    there: dict[str, bytes] = dict.fromkeys((*old, "notes/model.safetensors"), b"of an earlier model")

    def commit(self, repo_id, operations, **_):
        for operation in operations:
            if isinstance(operation, huggingface_hub.CommitOperationDelete):
                del there[operation.path_in_repo]
            else:
                content = operation.path_or_fileobj
                there[operation.path_in_repo] = content if isinstance(content, bytes) else Path(content).read_bytes()
        return huggingface_hub.CommitInfo(
            commit_url=f"https://huggingface.co/{repo_id}/commit/{COMMIT}", commit_message="", commit_description="",
            oid=COMMIT,
        )  # fmt: skip

    api = huggingface_hub.HfApi
    monkeypatch.setattr(api, "create_repo", lambda self, repo_id, **_: f"https://huggingface.co/{repo_id}")
    monkeypatch.setattr(api, "list_repo_files", lambda self, *_, **__: list(there))
    monkeypatch.setattr(api, "create_commit", commit)
    return there


def test_a_push_brings_the_model_its_card_and_nothing_else(folder, hub):
    assert push_model(folder, "hub:someone/tiny") == "https://huggingface.co/someone/tiny"
    assert set(hub) == {
        "README.md", "SHA256SUMS", "card.md", "config.json", "model-01-of-01.safetensors", "report/report.json",
        "notes/model.safetensors",
    }  # fmt: skip
    page = hub["README.md"].decode()
    card = huggingface_hub.ModelCard(page)
    assert card.data.license == "apache-2.0" and "world-model" in card.data.tags
    assert page.endswith("# tiny\n\nA model for tests.\n")


def test_a_push_without_a_network_is_said(folder, monkeypatch):
    def nobody(*_, **__):
        raise huggingface_hub.errors.HTTPError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", nobody)
    with pytest.raises(CheckpointError, match="hub:someone/tiny could not be written: Name or service not known"):
        push_model(folder, "hub:someone/tiny")


def test_a_model_without_a_card_is_not_pushed(folder, hub):
    (folder / "card.md").unlink()
    with pytest.raises(CheckpointError, match=r"no card\.md"):
        push_model(folder, "hub:someone/tiny")
    assert set(hub.values()) == {b"of an earlier model"}


@pytest.mark.parametrize("address", ["someone/tiny", "hub:tiny", "hub:a/b/c", "hub:", "hub:a/b@", "hub:../x y"])
def test_an_address_that_is_none_is_refused(folder, address):
    with pytest.raises(CheckpointError, match="hub:owner/name"):
        push_model(folder, address)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as a download asks for: a repository's list of files, and the files."""

    files: dict[str, bytes]

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, whole: bool):
        path = self.path.split("?")[0]
        if path.startswith("/api/models/someone/tiny"):
            if "/tree/" in path:
                body = [{"type": "file", "path": n, "size": len(b), "oid": sum_of(b)} for n, b in self.files.items()]
            else:
                body = {"id": "someone/tiny", "sha": COMMIT, "siblings": [{"rfilename": n} for n in self.files]}
            self.send(json.dumps(body).encode(), whole, {"Content-Type": "application/json"})
        elif path.startswith("/someone/tiny/resolve/") and (name := path.split("/", 5)[5]) in self.files:
            body = self.files[name]
            self.send(body, whole, {"ETag": f'"{sum_of(body)}"', "X-Repo-Commit": COMMIT})
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def send(self, body: bytes, whole: bool, headers: dict[str, str]):
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if whole:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def sum_of(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def endpoint(folder, hub):
    """A Hub at a local address, with what a push brought there."""
    push_model(folder, "hub:someone/tiny")
    Hub.files = hub
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fetched(endpoint: str, home: Path, address: str = "hub:someone/tiny") -> subprocess.CompletedProcess:
    """In a process of its own: where the Hub is, is read when huggingface_hub is imported."""
    code = f"from lawm_core.hub import fetch_model; print(fetch_model({address!r}))"
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | settings, cwd=ROOT, capture_output=True, text=True
    )


def test_what_was_pushed_loads_and_is_kept_without_a_network(tiny_model, endpoint, tmp_path):
    first = fetched(endpoint, tmp_path / "cache")
    assert first.returncode == 0, first.stderr[-2000:]
    again = load_model(Path(first.stdout.strip()))
    for name, weight in tiny_model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    offline = fetched("http://127.0.0.1:9", tmp_path / "cache")
    assert offline.stdout == first.stdout


def test_a_repository_that_is_not_there_is_said(endpoint, tmp_path):
    told = fetched(endpoint, tmp_path / "cache", "hub:someone/nothing").stderr
    assert "CheckpointError: hub:someone/nothing could not be fetched" in told


def test_no_network_is_said_and_not_waited_for(tmp_path):
    told = fetched("http://127.0.0.1:9", tmp_path / "cache").stderr
    assert "CheckpointError: hub:someone/tiny is not in the Hub's cache here, and the Hub cannot be reached" in told


def test_loading_by_an_address_goes_through_the_same_checks(folder, monkeypatch, capsys):
    monkeypatch.setattr("lawm_core.model_folders.fetch_model", lambda address: folder)
    assert load_model("hub:someone/tiny").name == "tiny"
    shard = folder / "model-01-of-01.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x07")
    with pytest.raises(CheckpointError, match="SHA256SUMS"):
        load_model("hub:someone/tiny")
    assert main(["push", str(folder), "hub:someone/tiny"]) == BAD_MODEL
    assert "SHA256SUMS" in capsys.readouterr().err


def test_fetching_needs_a_whole_address():
    with pytest.raises(CheckpointError, match="hub:owner/name"):
        fetch_model("hub:tiny")
