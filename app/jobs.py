"""Long requests that can be cancelled: the page gets its answer at once, and the work stops at its next check."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from time import monotonic
from typing import TypeVar

import gradio as gr

WORKERS = 4
POLL_SECONDS = 0.1
# A page sends the request that waited behind a cancelled one right after it; that one is cancelled as well.
GRACE_SECONDS = 0.5
PAGES = 4096  # pages whose last Cancel is remembered

Result = TypeVar("Result")
Check = Callable[[], None]
Handler = TypeVar("Handler", bound=Callable)


def job(kind: str) -> Callable[[Handler], Handler]:
    """Mark a handler as a job of this kind, so that the queue knows which requests a Cancel means."""

    def mark(handler: Handler) -> Handler:
        handler.job = kind
        return handler

    return mark


class CancelledJobError(ValueError):
    """The visitor pressed Cancel."""

    def __init__(self) -> None:
        super().__init__("Cancelled. The previous result stays.")


class Jobs:
    """The long requests of every page. A page has at most one job of each kind at a time."""

    def __init__(self, hurry: Callable[[str, str], None] = lambda page, kind: None) -> None:
        """hurry: brings a page's waiting requests of a kind to the front, to be answered at once."""
        self.hurry = hurry
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="job")
        self._cancelled: OrderedDict[tuple[str, str], float] = OrderedDict()

    def cancel(self, kind: str, request: gr.Request) -> None:
        """Cancel the page's job of this kind, whether it runs or still waits in the queue."""
        key = (request.session_hash or "", kind)
        self._cancelled[key] = monotonic() + GRACE_SECONDS
        self._cancelled.move_to_end(key)
        while len(self._cancelled) > PAGES:
            self._cancelled.popitem(last=False)
        self.hurry(*key)

    def run(
        self,
        kind: str,
        request: gr.Request,
        work: Callable[[Check], Result],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Result:
        """Return what `work` returns. It is given a function to call between its steps, which raises once the job is
        cancelled. meanwhile: is called every POLL_SECONDS until then, for example to report the time left.

        Raises CancelledJobError within POLL_SECONDS of a Cancel, however long the step that is under way still takes.
        """
        key, arrived = (request.session_hash or "", kind), arrival(request)

        def check() -> None:
            if self._cancelled.get(key, 0.0) > arrived:
                raise CancelledJobError

        check()
        job = self._threads.submit(copy_context().run, work, check)  # Gradio's progress is found through the context
        while True:
            try:
                return job.result(timeout=POLL_SECONDS)
            except TimeoutError:
                if job.done():
                    raise  # the work's own
                check()
                meanwhile()


def arrival(request: gr.Request) -> float:
    """When the request arrived at the server, by the monotonic clock; now, where nobody noted it."""
    state = getattr(request.request, "state", None)
    return getattr(state, "arrived", None) or monotonic()
