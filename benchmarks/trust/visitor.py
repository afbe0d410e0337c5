"""A visitor without a browser, who speaks to the page as its own script does and notes every answer."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

UPLOAD = "upload"  # the choice that stands for an uploaded file
PATIENCE = 120.0  # seconds that an answer may take


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a request: its values, or why there are none. status: of HTTP, of the request itself; 0 where the
    answer to one that was taken never came.
    """

    status: int
    values: list = field(default_factory=list)
    refusal: str = ""

    @property
    def served(self) -> bool:
        """Whether there are values."""
        return self.status == 200 and not self.refusal


class Visitor:
    """One page's session. statuses: how many answers of which HTTP status there were, uploads and files included."""

    def __init__(self, address: str) -> None:
        # A connection for each request: one that is kept may be closed by the server just when it is used again.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(base_url=address, timeout=PATIENCE, limits=limits)
        self.session, self.statuses = uuid.uuid4().hex[:12], Counter()
        self.config = self.get("/config").json()

    def close(self) -> None:
        """Lets the connection go."""
        self.client.close()

    def get(self, path: str, **how) -> httpx.Response:
        """A plain request."""
        return self._note(self.client.get(path, **how))

    def post(self, path: str, **how) -> httpx.Response:
        """A plain request with a body."""
        return self._note(self.client.post(path, **how))

    def upload(self, path: Path, name: str | None = None) -> dict | None:
        """A file on the server, as events name it; None where it was refused."""
        with path.open("rb") as file:
            answer = self.post("/gradio_api/upload", files={"files": (name or path.name, file)})
        if answer.status_code != 200:
            return None
        return {"path": answer.json()[0], "orig_name": name or path.name, "meta": {"_type": "gradio.FileData"}}

    def download(self, file: dict) -> bytes:
        """A result's file."""
        return self.get(f"/gradio_api/file={file['path']}").content

    def event(self, name: str) -> int:
        """The number of a handler, by its name."""
        return next(d["id"] for d in self.config["dependencies"] if d["api_name"] == name)

    def ask(self, name: str | int, *values: object, told: object = None) -> Answer:
        """One event and its answer; name: a handler's name or number, told: what the event itself says."""
        body = {
            "fn_index": self.event(name) if isinstance(name, str) else name,
            "data": list(values), "event_data": told, "session_hash": self.session,
        }  # fmt: skip
        # By hand, since httpx would refuse NaN, which a hostile visitor may well send.
        joined = self.post(
            "/gradio_api/queue/join", content=json.dumps(body), headers={"content-type": "application/json"}
        )
        if joined.status_code != 200:
            return Answer(status=joined.status_code, refusal=reason(joined))
        return self._answer(joined.json()["event_id"])

    def _answer(self, event: str) -> Answer:
        """Waits for what becomes of an event."""
        end = time.monotonic() + PATIENCE  # the page's heartbeat keeps the line open for ever
        with self.client.stream("GET", f"/gradio_api/queue/data?session_hash={self.session}") as stream:
            self._note(stream)
            for line in stream.iter_lines():
                if time.monotonic() > end:
                    break
                said = json.loads(line[5:]) if line.startswith("data:") else {}
                if said.get("msg") == "process_completed" and said.get("event_id") == event:
                    output = said.get("output") or {}
                    if said.get("success"):
                        return Answer(status=200, values=output.get("data", []))
                    return Answer(status=200, refusal=output.get("error") or "nothing said")
        return Answer(status=0, refusal="the answer never came")

    def _note(self, response: httpx.Response) -> httpx.Response:
        self.statuses[response.status_code] += 1
        return response


def reason(response: httpx.Response) -> str:
    """Why a request was not taken."""
    try:
        return str(response.json().get("detail", response.text))
    except ValueError:
        return response.text
