"""Who comes next: Gradio's queue, but with turns, so that nobody who sends many requests keeps the others waiting.

Requests of one visitor stay in their order. Among visitors comes first who has waited longest since the last turn, or
since the request where that is later: first by address, then by page, for many pages may share an address. Nobody may
fill the queue alone, nor leave answers without end lying about.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Set
from time import monotonic

import fastapi
import gradio as gr
from gradio.queueing import Event, EventQueue, Queue
from gradio.utils import LRUCache

WAITING = 32  # requests at most, of all visitors
WAITING_OF_ONE = 24  # of one address, so that there is always room for another; of one page, answers not fetched too
REMEMBERED = 4096  # visitors whose last turn is known
SESSIONS = 256  # pages for which answers are kept until they fetch them
CANCELLED = "cancelled"  # the queue of requests that only have to be told so
NAME_LENGTH = 64  # of a page's session, at most

FULL = "Too many requests are waiting just now. Nothing is lost; try again in a moment."
FULL_OF_ONE = f"{WAITING_OF_ONE} of your requests are waiting already. Nothing is lost; try again when some are done."
NO_NAME = f"A session's name has at most {NAME_LENGTH} letters."


class FairQueue(Queue):
    """Takes turns among visitors; refuses with a sentence for people.

    behind_proxy: whether a proxy in front of the page says where requests come from. in_order: queues that run several
    requests side by side, but of one page the next only when the last has ended: what was wished last is shown last.
    """

    def __init__(self, page: gr.Blocks, concurrency: int, behind_proxy: bool, in_order: Set[str]) -> None:
        super().__init__(
            live_updates=True,
            concurrency_count=page.max_threads,
            update_intervals=1,
            max_size=WAITING,
            blocks=page,
            default_concurrency_limit=concurrency,
        )
        self.behind_proxy, self.in_order = behind_proxy, in_order
        self.pending_messages_per_session = LRUCache(SESSIONS)
        self._served: OrderedDict[tuple[str, str], float] = OrderedDict()  # when an address or a page had its turn

    async def push(self, body, request: fastapi.Request, username: str | None) -> tuple:
        """As Gradio's; (False, why, "queue_full") where there is no room."""
        page = body.session_hash or ""
        request.state.arrived = monotonic()  # `app.jobs` compares it with the time of a Cancel
        if len(page) > NAME_LENGTH:
            return False, NO_NAME, "error"
        self._forget_sessions()
        unread = len(self.pending_event_ids_session.get(page, ()))
        if max(unread, self._waiting()[self._address(request)]) >= WAITING_OF_ONE:
            return False, FULL_OF_ONE, "queue_full"
        taken, answer, state = await super().push(body, request, username)
        return taken, FULL if state == "queue_full" else answer, state

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """The next to be run: of every queue the visitor's who has waited longest, in the order they came."""
        held: dict[str, list[Event]] = {}
        running = {(e.concurrency_id, e.session_hash) for job in self.active_jobs if job for e in job}
        for name, queue in self.event_queue_per_concurrency_id.items():
            queue.queue.sort(key=self._waiting_since)  # stable, so that one visitor's requests keep their order
            if name in self.in_order:
                held[name] = [event for event in queue.queue if (name, event.session_hash) in running]
                queue.queue[:] = [event for event in queue.queue if event not in held[name]]
        found = super().get_events()
        for name, events in held.items():
            self.event_queue_per_concurrency_id[name].queue += events
        for event in found[0] if found else ():
            for name in self._names(event):
                self._served[name] = monotonic()
                self._served.move_to_end(name)
        while len(self._served) > REMEMBERED:
            self._served.popitem(last=False)
        return found

    def hurry(self, page: str, job: str) -> None:
        """Bring a page's waiting requests of this kind of job to the front. They were cancelled, so nobody waits for
        what they do: their handlers answer at once. To be called in the event loop.
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
        """By address and by page: the last turn, or when the request came where that is later."""
        return tuple(max(event.enqueue_time, self._served.get(name, 0.0)) for name in self._names(event))

    def _names(self, event: Event) -> tuple[tuple[str, str], tuple[str, str]]:
        return ("address", self._address(event.request)), ("page", event.session_hash)

    def _address(self, request: fastapi.Request) -> str:
        """Where a request comes from."""
        forwarded = request.headers.get("x-forwarded-for", "").split(",")[0].strip() if self.behind_proxy else ""
        return forwarded[:NAME_LENGTH] or (request.client.host if request.client else "")

    def _waiting(self) -> Counter[str]:
        events = (event for queue in self.event_queue_per_concurrency_id.values() for event in queue.queue)
        return Counter(self._address(event.request) for event in events)

    def _forget_sessions(self) -> None:
        """Gradio keeps the names of answers that nobody can fetch any more."""
        if len(self.pending_event_ids_session) > 2 * SESSIONS:
            for page in set(self.pending_event_ids_session) - set(self.pending_messages_per_session):
                del self.pending_event_ids_session[page]


def queue_fairly(
    page: gr.Blocks, concurrency: int, behind_proxy: bool = False, in_order: Set[str] = frozenset()
) -> gr.Blocks:
    """The page with this queue in place of Gradio's own."""
    page.queue(api_open=False, max_size=WAITING, default_concurrency_limit=concurrency)  # nobody goes past the queue
    page._queue = FairQueue(page, concurrency, behind_proxy, in_order)
    return page
