"""A fair queue: users take turns, so that many requests of one user do not delay the others.

Requests of one page keep their order. The next request is taken from the address that has waited longest since its last
turn, and among the pages of this address, from the one that has waited longest. The number of waiting requests per
address is limited, so that no client can fill the queue alone.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Set
from time import monotonic

import fastapi
import gradio as gr
from gradio.queueing import Event, EventQueue, Queue
from gradio.utils import LRUCache

from app.gradio_patches import replace_queue

MAX_WAITING = 32  # waiting requests of all users together
MAX_WAITING_PER_ADDRESS = 24  # also the limit of responses that a page has not fetched
MAX_TURNS = 4096  # addresses and pages whose last turn is remembered
MAX_SESSIONS = 256  # pages whose responses are kept until they are fetched
CANCELLED = "cancelled"  # name of the queue of cancelled requests
MAX_NAME_LENGTH = 64  # characters of the name of a session or an address

QUEUE_FULL = "The server is busy. Nothing is lost; try again in a moment."
ADDRESS_FULL = (
    f"{MAX_WAITING_PER_ADDRESS} of your requests are already waiting. Nothing is lost; try again when some are done."
)
NAME_TOO_LONG = f"The name of a session must have at most {MAX_NAME_LENGTH} characters."


class FairQueue(Queue):
    """Gradio's queue with turns and limits per address.

    behind_proxy: whether to take addresses from X-Forwarded-For. in_order: names of queues that run several requests at
    once, but never two of the same page, so that its last request is also answered last.
    """

    def __init__(self, page: gr.Blocks, concurrency: int, behind_proxy: bool, in_order: Set[str]) -> None:
        super().__init__(
            live_updates=True,
            concurrency_count=page.max_threads,
            update_intervals=1,
            max_size=MAX_WAITING,
            blocks=page,
            default_concurrency_limit=concurrency,
        )
        self.behind_proxy, self.in_order = behind_proxy, in_order
        self.pending_messages_per_session = LRUCache(MAX_SESSIONS)
        self._last_turn: OrderedDict[tuple[str, str], float] = OrderedDict()  # times, by ("address" or "page", name)

    async def push(self, body, request: fastapi.Request, username: str | None) -> tuple:
        """Add a request, and return what Gradio's method returns: (accepted, response or message, state).

        The state of a rejected request is "queue_full" if the queue or the address has reached its limit, or if the
        page has too many responses that it has not fetched; it is "error" if the name of the session is too long.
        """
        page = body.session_hash or ""
        request.state.arrived = monotonic()  # `app.jobs` compares it with the time of a Cancel
        if len(page) > MAX_NAME_LENGTH:
            return False, NAME_TOO_LONG, "error"
        self._forget_sessions()
        unread = len(self.pending_event_ids_session.get(page, ()))
        if max(unread, self._waiting()[self._address(request)]) >= MAX_WAITING_PER_ADDRESS:
            return False, ADDRESS_FULL, "queue_full"
        accepted, response, state = await super().push(body, request, username)
        return accepted, QUEUE_FULL if state == "queue_full" else response, state

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """Return the next events to run, as Gradio's method does, after sorting each queue by waiting time."""
        held: dict[str, list[Event]] = {}
        running = {(e.concurrency_id, e.session_hash) for job in self.active_jobs if job for e in job}
        for name, queue in self.event_queue_per_concurrency_id.items():
            queue.queue.sort(key=self._waiting_since)  # a stable sort keeps the order within a page
            if name in self.in_order:
                held[name] = [event for event in queue.queue if (name, event.session_hash) in running]
                queue.queue[:] = [event for event in queue.queue if event not in held[name]]
        found = super().get_events()
        for name, events in held.items():
            self.event_queue_per_concurrency_id[name].queue += events
        for event in found[0] if found else ():
            for key in self._keys(event):
                self._last_turn[key] = monotonic()
                self._last_turn.move_to_end(key)
        while len(self._last_turn) > MAX_TURNS:
            self._last_turn.popitem(last=False)
        return found

    def expedite(self, page: str, job: str) -> None:
        """Run a page's waiting requests of this kind of job at once. Must be called in the event loop.

        These requests were cancelled, so their handlers return at once. They move to a queue of their own, which has no
        limit, and delay no other requests.
        """
        for name, queue in list(self.event_queue_per_concurrency_id.items()):
            cancelled = [e for e in queue.queue if e.session_hash == page and getattr(e.fn.fn, "job", None) == job]
            if not cancelled or name == CANCELLED:
                continue
            queue.queue[:] = [event for event in queue.queue if event not in cancelled]
            for event in cancelled:
                event.concurrency_id = CANCELLED
            front = self.event_queue_per_concurrency_id.setdefault(CANCELLED, EventQueue(CANCELLED, None))
            front.queue += cancelled

    def _waiting_since(self, event: Event) -> tuple[float, ...]:
        """Return two times: since when the event's address has waited, and since when its page has waited.

        Each is the event's arrival or the last turn, whichever is later, in seconds of the monotonic clock.
        """
        return tuple(max(event.enqueue_time, self._last_turn.get(key, 0.0)) for key in self._keys(event))

    def _keys(self, event: Event) -> tuple[tuple[str, str], tuple[str, str]]:
        """Return the keys of the event's address and of its page in `_last_turn`."""
        return ("address", self._address(event.request)), ("page", event.session_hash)

    def _address(self, request: fastapi.Request) -> str:
        """Return the address that a request comes from."""
        forwarded = request.headers.get("x-forwarded-for", "").split(",")[0].strip() if self.behind_proxy else ""
        return forwarded[:MAX_NAME_LENGTH] or (request.client.host if request.client else "")

    def _waiting(self) -> Counter[str]:
        """Return the number of waiting requests by address."""
        events = (event for queue in self.event_queue_per_concurrency_id.values() for event in queue.queue)
        return Counter(self._address(event.request) for event in events)

    def _forget_sessions(self) -> None:
        """Remove the event ids of sessions whose responses were dropped; Gradio would keep these ids for ever."""
        if len(self.pending_event_ids_session) > 2 * MAX_SESSIONS:
            for page in set(self.pending_event_ids_session) - set(self.pending_messages_per_session):
                del self.pending_event_ids_session[page]


def use_fair_queue(
    page: gr.Blocks, concurrency: int, behind_proxy: bool = False, in_order: Set[str] = frozenset()
) -> FairQueue:
    """Replace the page's queue by a fair one and return it. Requests that bypass the queue are rejected.

    concurrency: default number of requests of the same queue that run at once. behind_proxy, in_order: see `FairQueue`.
    """
    page.queue(api_open=False, max_size=MAX_WAITING, default_concurrency_limit=concurrency)
    queue = FairQueue(page, concurrency, behind_proxy, in_order)
    replace_queue(page, queue)
    return queue
