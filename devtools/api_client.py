"""A client without a browser, which sends the same requests as the page's script and counts all HTTP statuses."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Response:
    """The response of a handler: its values, or an error. status: HTTP status of the request, 0 without a response."""

    status: int
    values: list = field(default_factory=list)
    error: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the handler has returned values."""
        return self.status == 200 and not self.error

    @property
    def problem(self) -> str:
        """The error, or the message that the page would show, which is the first value; empty if there is neither."""
        message = self.values[0] if self.values else None
        return self.error or (message.get("text", "") if isinstance(message, dict) else "")


class PageClient:
    """A session of the page. statuses: number of responses by HTTP status, including uploads and files."""

    def __init__(self, address: str) -> None:
        # One connection per request, because the server may close a connection just when it is used again.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(base_url=address, timeout=TIMEOUT_SECONDS, limits=limits)
        self.session, self.statuses = uuid.uuid4().hex[:12], Counter()
        self.config = self.get("/config").json()

    def close(self) -> None:
        """Close the HTTP client."""
        self.http.close()

    def get(self, path: str, **options) -> httpx.Response:
        """Send a GET request."""
        return self._count(self.http.get(path, **options))

    def post(self, path: str, **options) -> httpx.Response:
        """Send a POST request."""
        return self._count(self.http.post(path, **options))

    def upload(self, path: Path, name: str | None = None) -> dict | None:
        """Upload a file, under another name if one is given. Return it as an input's value; None if it was rejected."""
        with path.open("rb") as file:
            response = self.post("/gradio_api/upload", files={"files": (name or path.name, file)})
        if response.status_code != 200:
            return None
        return {"path": response.json()[0], "orig_name": name or path.name, "meta": {"_type": "gradio.FileData"}}

    def handler(self, name: str) -> dict:
        """Return the configuration of the handler with this name."""
        return next(d for d in self.config["dependencies"] if d["api_name"] == name)

    def queued_handlers(self) -> list[dict]:
        """Return the configurations of all handlers that run through the queue."""
        return [d for d in self.config["dependencies"] if d["queue"] is not False and d["backend_fn"]]

    def call(self, name: str | int, *values: object, event_data: object = None) -> Response:
        """Call a handler, by name or number, and wait for its response."""
        body = {
            "fn_index": self.handler(name)["id"] if isinstance(name, str) else name,
            "data": list(values), "event_data": event_data, "session_hash": self.session,
        }  # fmt: skip
        # Encoded here, because httpx rejects NaN, which hostile requests contain.
        joined = self.post(
            "/gradio_api/queue/join", content=json.dumps(body), headers={"content-type": "application/json"}
        )
        if joined.status_code != 200:
            return Response(status=joined.status_code, error=error_of(joined))
        return self._wait_for(joined.json()["event_id"])

    def _wait_for(self, event: str) -> Response:
        """Read the session's messages until the response to an event arrives."""
        end = time.monotonic() + TIMEOUT_SECONDS  # needed, because heartbeats keep the connection from timing out
        with self.http.stream("GET", f"/gradio_api/queue/data?session_hash={self.session}") as stream:
            self._count(stream)
            for line in stream.iter_lines():
                if time.monotonic() > end:
                    break
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed" and message.get("event_id") == event:
                    output = message.get("output") or {}
                    if message.get("success"):
                        return Response(status=200, values=output.get("data", []))
                    return Response(status=200, error=output.get("error") or "failed without a message")
        return Response(status=0, error="the connection ended, or timed out, before a response arrived")

    def _count(self, response: httpx.Response) -> httpx.Response:
        """Add a response to `statuses` and return it."""
        self.statuses[response.status_code] += 1
        return response


def error_of(response: httpx.Response) -> str:
    """Return why a request was rejected."""
    try:
        return str(response.json().get("detail", response.text))
    except ValueError:
        return response.text
