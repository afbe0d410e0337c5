"""Long requests that can be cancelled: after Cancel, the page gets a response at once, and the work stops soon."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from time import monotonic
from typing import TypeVar

import gradio as gr

MAX_WORKERS = 4
POLL_SECONDS = 0.1
# After a cancelled request, a page sends the request that waited behind it. Requests that arrive within this time after
# a Cancel are therefore cancelled too.
GRACE_SECONDS = 0.5
MAX_PAGES = 4096  # number of pages (counted once per kind of job) whose last Cancel is remembered

Result = TypeVar("Result")
Check = Callable[[], None]  # raises CancelledJobError if the job was cancelled
Handler = TypeVar("Handler", bound=Callable)


def job(kind: str) -> Callable[[Handler], Handler]:
    """Decorate a handler as a job of this kind, so that the queue knows which requests a Cancel applies to."""

    def decorate(handler: Handler) -> Handler:
        handler.job = kind
        return handler

    return decorate


class CancelledJobError(ValueError):
    """The user pressed Cancel."""

    def __init__(self) -> None:
        super().__init__("Cancelled. The previous result is kept.")


class Jobs:
    """The running jobs of all pages. A page has at most one job of each kind at a time.

    expedite: a function that is called with a page and a kind of job after a Cancel. It moves the page's waiting
    requests of that kind to the front of the queue, so that they end at once.
    """

    def __init__(self, expedite: Callable[[str, str], None] = lambda page, kind: None) -> None:
        self.expedite = expedite
        self._threads = ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="job")
        self._cancelled: OrderedDict[tuple[str, str], float] = OrderedDict()

    def cancel(self, kind: str, request: gr.Request) -> None:
        """Cancel the page's job of this kind, whether it is running or still waiting in the queue."""
        key = (request.session_hash or "", kind)
        self._cancelled[key] = monotonic() + GRACE_SECONDS
        self._cancelled.move_to_end(key)
        while len(self._cancelled) > MAX_PAGES:
            self._cancelled.popitem(last=False)
        self.expedite(*key)

    def run(
        self,
        kind: str,
        request: gr.Request,
        work: Callable[[Check], Result],
        on_wait: Callable[[], None] = lambda: None,
    ) -> Result:
        """Run `work` in another thread and return its result.

        work: takes a function `check` and calls it between its steps; `check` raises CancelledJobError after a Cancel.
        on_wait: called every POLL_SECONDS until `work` has finished, for example to report the time left.

        Raises CancelledJobError within POLL_SECONDS of a Cancel, even if the current step of the work takes longer.
        """
        key, arrived = (request.session_hash or "", kind), arrival_time(request)

        def check() -> None:
            if self._cancelled.get(key, 0.0) > arrived:
                raise CancelledJobError

        check()
        future = self._threads.submit(copy_context().run, work, check)  # gr.Progress needs the context
        while True:
            try:
                return future.result(timeout=POLL_SECONDS)
            except TimeoutError:
                if future.done():
                    raise  # the work itself raised this TimeoutError
                check()
                on_wait()


def arrival_time(request: gr.Request) -> float:
    """Return the time at which a request arrived, in seconds of the monotonic clock; the current time if unknown."""
    state = getattr(request.request, "state", None)
    return getattr(state, "arrived", None) or monotonic()
