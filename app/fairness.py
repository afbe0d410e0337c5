"""Who comes next: Gradio's queue, but with turns, so that nobody who sends many requests keeps the others waiting.

Requests of one visitor stay in their order. Among visitors the one served longest ago comes first: first by address,
then by page, for many pages may share an address. Nobody may fill the queue alone.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from time import monotonic

import fastapi
import gradio as gr
from gradio.queueing import Event, Queue

WAITING = 32  # requests at most, of all visitors
WAITING_OF_ONE = 24  # of one address, so that there is always room for another
REMEMBERED = 4096  # visitors whose last turn is known

FULL = "Too many requests are waiting just now. Nothing is lost; try again in a moment."
FULL_OF_ONE = f"{WAITING_OF_ONE} of your requests are waiting already. Nothing is lost; try again when some are done."


class FairQueue(Queue):
    """Takes turns among visitors; refuses with a sentence for people."""

    def __init__(self, page: gr.Blocks, concurrency: int) -> None:
        super().__init__(
            live_updates=True,
            concurrency_count=page.max_threads,
            update_intervals=1,
            max_size=WAITING,
            blocks=page,
            default_concurrency_limit=concurrency,
        )
        self._served: OrderedDict[str, float] = OrderedDict()  # when an address or a page last had its turn

    async def push(self, body, request: fastapi.Request, username: str | None) -> tuple:
        """As Gradio's; (False, why, "queue_full") where there is no room."""
        if self._waiting()[address_of(request)] >= WAITING_OF_ONE:
            return False, FULL_OF_ONE, "queue_full"
        taken, answer, state = await super().push(body, request, username)
        return taken, FULL if state == "queue_full" else answer, state

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """The next to be run: of every queue the visitor's who had a turn longest ago, in the order they came."""
        for queue in self.event_queue_per_concurrency_id.values():
            queue.queue.sort(key=self._last_turns)  # stable, so that one visitor's requests keep their order
        found = super().get_events()
        for event in found[0] if found else ():
            for name in (address_of(event.request), event.session_hash):
                self._served[name] = monotonic()
                self._served.move_to_end(name)
        while len(self._served) > REMEMBERED:
            self._served.popitem(last=False)
        return found

    def _last_turns(self, event: Event) -> tuple[float, float]:
        return self._served.get(address_of(event.request), 0.0), self._served.get(event.session_hash, 0.0)

    def _waiting(self) -> Counter[str]:
        events = (event for queue in self.event_queue_per_concurrency_id.values() for event in queue.queue)
        return Counter(address_of(event.request) for event in events)


def address_of(request: fastapi.Request) -> str:
    """Where a request comes from, as far as a proxy in front of the page tells."""
    forwarded = request.headers.get("x-forwarded-for", "").split(",")[0].strip()
    return forwarded or (request.client.host if request.client else "")


def queue_fairly(page: gr.Blocks, concurrency: int) -> gr.Blocks:
    """The page with this queue in place of Gradio's own."""
    page.queue(api_open=False, max_size=WAITING, default_concurrency_limit=concurrency)  # nobody goes past the queue
    page._queue = FairQueue(page, concurrency)
    return page
