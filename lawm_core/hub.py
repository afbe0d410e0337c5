"""Models on the Hugging Face Hub. A repository has the files of a model folder, and card.md is also its README."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TypeGuard

from lawm_core.types import CheckpointError

PREFIX = "hub:"  # addresses are hub:owner/name or hub:owner/name@revision
ADDRESS = re.compile(r"hub:([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?")
FILES = ["config.json", "*.safetensors", "SHA256SUMS", "card.md", "report/*"]
TAGS = ["world-model", "latent-actions", "video"]


def is_on_hub(name: object) -> TypeGuard[str]:
    """Return whether a model's name is an address on the Hub."""
    return isinstance(name, str) and name.startswith(PREFIX)


def fetch_model(address: str) -> Path:
    """Download a model from `hub:owner/name` into the local Hugging Face cache and return its folder.

    Raises CheckpointError if the address is wrong or the model cannot be downloaded.
    """
    from httpx import HTTPError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, revision = parse(address)
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=FILES))
    except LocalEntryNotFoundError:
        raise CheckpointError(
            f"{address} is not in the local cache and the Hub cannot be reached. Check the network, or pass a folder."
        ) from None
    except (OSError, ValueError, HTTPError) as error:  # base classes of the Hub's errors
        raise CheckpointError(f"{address} could not be downloaded: {first_line(error)}") from None


def push_model(folder: str | Path, address: str, private: bool = False) -> str:
    """Upload a model folder to `hub:owner/name`, created if necessary, and return its URL.

    card.md becomes the README. A token with write access is needed (`hf auth login`). private: whether a new repository
    is private. Raises CheckpointError if there is no card.md or the upload fails.
    """
    from httpx import HTTPError
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCardData

    folder, (repository, revision) = Path(folder), parse(address)
    card = folder / "card.md"
    if not card.is_file():
        raise CheckpointError(f"{folder} has no card.md. Write one that describes the model before publishing it.")
    about = ModelCardData(license="apache-2.0", library_name="lawm-explorer", tags=TAGS)
    text = f"---\n{about.to_yaml()}\n---\n\n{card.read_text(encoding='utf-8')}"
    new = {path.relative_to(folder).as_posix(): path for pattern in FILES for path in sorted(folder.glob(pattern))}
    hub, place = HfApi(), {"repo_id": repository, "revision": revision}
    try:
        page = hub.create_repo(repository, private=private, exist_ok=True)
        ours = lambda name: any(PurePosixPath(f"/{name}").match(f"/{pattern}") for pattern in FILES)
        old = {name for name in hub.list_repo_files(**place) if ours(name)} - set(new)
        # One commit that also deletes files of an earlier model, so that a mixture of two is never loaded.
        hub.create_commit(
            **place,
            operations=[
                CommitOperationAdd("README.md", text.encode()),
                *(CommitOperationAdd(name, path) for name, path in new.items()),
                *(CommitOperationDelete(name) for name in sorted(old)),
            ],
            commit_message="Upload model",
        )
    except (OSError, ValueError, HTTPError) as error:
        raise CheckpointError(f"{address} could not be uploaded: {first_line(error)}") from None
    return str(page)


def parse(address: str) -> tuple[str, str | None]:
    """Return repository and revision (or None) of an address. Raises CheckpointError if it is not an address."""
    if not (found := ADDRESS.fullmatch(address)):
        raise CheckpointError(f"address must be {PREFIX}owner/name or {PREFIX}owner/name@revision, got {address!r}.")
    return found[1], found[2]


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
