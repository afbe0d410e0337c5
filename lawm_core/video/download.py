"""One file from an address, of a size and a sum that are known before: cut off, it goes on; wrong, it is not kept."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from lawm_core.contracts import DownloadError
from lawm_core.schema import sum_of

TRIES = 4  # in a row that brought nothing new
PATIENCE_SECONDS = 30.0  # with a server that says nothing
CHUNK = 2**16
AGENT = "lawm-explorer"


def download(
    address: str,
    path: Path,
    size: int,
    sha256: str,
    progress: Callable[[int], object] | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
    pause_seconds: float = 1.0,
) -> None:
    """Brings `size` bytes to `path`, which has them whole and right or does not exist.

    What has come lies beside it, in .NAME.part, and a later call goes on from there where the server lets it. Never
    more than `size` bytes are written. progress: told the bytes that are here. Raises DownloadError.
    """
    part = path.with_name(f".{path.name}.part")
    if part.is_file() and part.stat().st_size > size:
        part.unlink()
    tries, most = TRIES, length(part)
    while length(part) < size:
        try:
            fetch(address, part, size, progress, patience_seconds)
            why = f"the connection ended after {length(part)} of {size} bytes"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:  # it will say the same again
                raise DownloadError(f"{address} answered {error.code} {error.reason}.") from None
            why = f"it answered {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            why = str(getattr(error, "reason", error)) or type(error).__name__
        if length(part) <= most and not (tries := tries - 1):
            raise DownloadError(f"{address} could not be had, after {TRIES} tries without progress: {why}.")
        if length(part) > most:  # further than ever: a server that starts anew each time does not count
            tries, most = TRIES, length(part)
        if length(part) < size:
            time.sleep(pause_seconds)
    if not is_whole(part, size, sha256):
        found = sum_of(part)
        part.unlink()
        raise DownloadError(f"{address} gave other bytes than were listed: SHA-256 {found}, needed {sha256}.")
    part.replace(path)


def fetch(
    address: str, part: Path, size: int, progress: Callable[[int], object] | None, patience_seconds: float
) -> None:
    """One request, for what is missing; all that comes is written, up to `size`."""
    here = length(part)
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=patience_seconds) as answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {here}-")
        told = answer.headers.get("Content-Length")
        if told and told.isdigit() and int(told) + (here if goes_on else 0) != size:
            whole = int(told) + (here if goes_on else 0)
            raise DownloadError(f"{address} has {whole} bytes; {size} were listed.")
        with part.open("ab" if goes_on else "wb") as file:
            here = file.tell()
            while here < size and (chunk := answer.read(min(CHUNK, size - here))):
                here += file.write(chunk)
                if progress:
                    progress(here)


def is_whole(path: Path, size: int, sha256: str) -> bool:
    """Whether a file is there, of that length and sum."""
    return length(path) == size and sum_of(path) == sha256


def length(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0
