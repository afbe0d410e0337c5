"""Download of a file with a known size and SHA-256: interrupted downloads continue, wrong content is deleted."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from lawm_core.schema import file_sha256
from lawm_core.types import DownloadError

MAX_TRIES = 4  # in a row without progress
TIMEOUT_SECONDS = 30.0  # for a server that sends nothing
CHUNK_BYTES = 2**16
USER_AGENT = "lawm-explorer"


def download(
    url: str,
    path: Path,
    size: int,
    sha256: str,
    progress: Callable[[int], object] | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    pause_seconds: float = 1.0,
) -> None:
    """Download a file of `size` bytes to `path`, which is only written once it is complete and has this SHA-256.

    Received bytes are kept beside it in .NAME.part, and a later call continues from there if the server allows it. At
    most `size` bytes are written.

    progress: called with the number of bytes received so far. timeout_seconds: how long to wait for a server that sends
    nothing. pause_seconds: pause between two tries. Raises DownloadError if the server refuses the request, if
    MAX_TRIES tries in a row make no progress, or if the server sends another file.
    """
    part = path.with_name(f".{path.name}.part")
    if part.is_file() and part.stat().st_size > size:
        part.unlink()
    tries, furthest = MAX_TRIES, file_size(part)
    while file_size(part) < size:
        try:
            request_rest(url, part, size, progress, timeout_seconds)
            reason = f"the connection ended after {file_size(part)} of {size} bytes"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:  # another try would give the same answer
                raise DownloadError(f"{url} answered {error.code} {error.reason}.") from None
            reason = f"it answered {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if file_size(part) > furthest:  # a server that restarts every time makes no progress
            tries, furthest = MAX_TRIES, file_size(part)
        elif not (tries := tries - 1):
            raise DownloadError(
                f"{url} could not be downloaded after {MAX_TRIES} tries without progress: {reason}. Try again later."
            )
        if file_size(part) < size:
            time.sleep(pause_seconds)
    if not is_complete(part, size, sha256):
        found = file_sha256(part)
        part.unlink()
        raise DownloadError(f"{url} must have SHA-256 {sha256}, got {found}. The downloaded file was deleted.")
    part.replace(path)


def request_rest(
    url: str, part: Path, size: int, progress: Callable[[int], object] | None, timeout_seconds: float
) -> None:
    """Send one request for the missing bytes, and append them to `part`, up to `size` bytes in total.

    If the server sends the whole file instead, `part` is overwritten. Raises DownloadError if the server declares
    another size.
    """
    start = file_size(part)
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
        if answer.status != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0  # the server sends the whole file
        declared = answer.headers.get("Content-Length")
        if declared and declared.isdigit() and int(declared) + start != size:
            raise DownloadError(f"{url} must have {size} bytes, got {int(declared) + start}.")
        with part.open("ab" if start else "wb") as file:
            done = file.tell()
            while done < size and (chunk := answer.read(min(CHUNK_BYTES, size - done))):
                done += file.write(chunk)
                if progress:
                    progress(done)


def is_complete(path: Path, size: int, sha256: str) -> bool:
    """Return whether a file exists with this size in bytes and this SHA-256."""
    return file_size(path) == size and file_sha256(path) == sha256


def file_size(path: Path) -> int:
    """Return the size of a file in bytes, 0 if it does not exist."""
    return path.stat().st_size if path.is_file() else 0
