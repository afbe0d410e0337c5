"""Models on the Hugging Face Hub: the same folders as on disk, with the card as the page's README."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from lawm_core.contracts import CheckpointError

MARK = "hub:"  # before what lies there: hub:owner/name, or hub:owner/name@revision
ADDRESS = re.compile(r"hub:([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?")
FILES = ["config.json", "*.safetensors", "SHA256SUMS", "card.md", "report/*"]
TAGS = ["world-model", "latent-actions", "video"]


def is_on_hub(name: object) -> bool:
    """Whether a model's name says that it lies on the Hub."""
    return isinstance(name, str) and name.startswith(MARK)


def fetch_model(address: str) -> Path:
    """A model folder from `hub:owner/name`, kept in the Hub's own cache: asked for again, it is not fetched again.

    Raises CheckpointError where the address, the repository or the network is not as needed.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

    repository, revision = parse(address)
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=FILES))
    except LocalEntryNotFoundError:
        raise CheckpointError(
            f"{address} is not in the Hub's cache here, and the Hub cannot be reached; needed: a network, or a folder."
        ) from None
    except (OSError, ValueError, HTTPError) as error:  # what the Hub's own errors derive from
        raise CheckpointError(f"{address} could not be fetched: {first_line(error)}") from None


def push_model(folder: str | Path, address: str, private: bool = False) -> str:
    """Uploads a model folder to `hub:owner/name`, which is made where there is none; returns its page.

    card.md becomes the page's README. Raises CheckpointError; to write, the Hub needs a token (`hf auth login`).
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCardData
    from huggingface_hub.errors import HTTPError

    folder, (repository, revision) = Path(folder), parse(address)
    card = folder / "card.md"
    if not card.is_file():
        raise CheckpointError(f"{folder} has no card.md; what others load should say what it is and can do.")
    about = ModelCardData(license="apache-2.0", library_name="lawm-explorer", tags=TAGS)
    text = f"---\n{about.to_yaml()}\n---\n\n{card.read_text(encoding='utf-8')}"
    new = {path.relative_to(folder).as_posix(): path for pattern in FILES for path in sorted(folder.glob(pattern))}
    hub, place = HfApi(), {"repo_id": repository, "revision": revision}
    try:
        page = hub.create_repo(repository, private=private, exist_ok=True)
        ours = lambda name: any(PurePosixPath(f"/{name}").match(f"/{pattern}") for pattern in FILES)
        old = {name for name in hub.list_repo_files(**place) if ours(name)} - set(new)
        # In one commit, and without what is left of an earlier model: nobody is to load a mixture of two.
        hub.create_commit(
            **place,
            operations=[
                CommitOperationAdd("README.md", text.encode()),
                *(CommitOperationAdd(name, path) for name, path in new.items()),
                *(CommitOperationDelete(name) for name in sorted(old)),
            ],
            commit_message="A model of LAWM Explorer",
        )
    except (OSError, ValueError, HTTPError) as error:
        raise CheckpointError(f"{address} could not be written: {first_line(error)}") from None
    return str(page)


def parse(address: str) -> tuple[str, str | None]:
    """Repository and revision."""
    if not (found := ADDRESS.fullmatch(address)):
        raise CheckpointError(f"{address!r} came; on the Hub a model is called {MARK}owner/name, or with @revision.")
    return found[1], found[2]


def first_line(error: Exception) -> str:
    """What an error says first."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
