"""Jobs: a cancelled job returns at once, wherever it is, and no other job is affected."""

from threading import Event
from types import SimpleNamespace

import pytest

from app import jobs
from app.jobs import CancelledJobError, Jobs


def request(page: str = "page", arrived: float = 1.0):
    """Return a page's request as Gradio passes it to a handler."""
    return SimpleNamespace(session_hash=page, request=SimpleNamespace(state=SimpleNamespace(arrived=arrived)))


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set by hand."""
    now = SimpleNamespace(seconds=10.0)
    monkeypatch.setattr(jobs, "monotonic", lambda: now.seconds)
    return now


def test_a_job_returns_or_raises_what_its_work_does():
    assert Jobs().run("transfer", request(), lambda check: 7) == 7
    for error in (ValueError("no"), TimeoutError("of the work itself")):

        def fail(check, error=error):
            raise error

        with pytest.raises(type(error), match=str(error)):
            Jobs().run("transfer", request(), fail)


def test_a_cancelled_job_returns_during_a_long_step_and_its_work_stops_at_the_next_check(clock):
    running, go_on, stopped = Jobs(), Event(), Event()

    def work(check):
        running.cancel("transfer", request())
        go_on.wait(30)  # a long step
        try:
            check()
        except CancelledJobError:
            stopped.set()
            raise

    with pytest.raises(CancelledJobError, match="Cancelled"):
        running.run("transfer", request(), work)
    assert not stopped.is_set()
    go_on.set()
    assert stopped.wait(30)


def test_a_cancel_applies_to_waiting_requests_and_not_to_later_ones(clock):
    running = Jobs()
    running.cancel("transfer", request())
    for arrived in (9.0, 10.0, 10.0 + jobs.GRACE_SECONDS / 2):
        with pytest.raises(CancelledJobError):
            running.run("transfer", request(arrived=arrived), lambda check: 7)
    assert running.run("transfer", request(arrived=10.0 + 2 * jobs.GRACE_SECONDS), lambda check: 7) == 7


def test_a_cancel_applies_to_one_page_and_one_kind(clock):
    running = Jobs()
    running.cancel("transfer", request())
    assert running.run("transfer", request("another page"), lambda check: 7) == 7
    assert running.run("plan", request(), lambda check: 7) == 7


def test_the_number_of_remembered_pages_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(jobs, "MAX_PAGES", 3)
    running = Jobs()
    for page in "abcde":
        running.cancel("transfer", request(page))
    assert [page for page, _ in running._cancelled] == ["c", "d", "e"]


def test_on_wait_is_called_until_the_result_is_there():
    calls, done = [], Event()
    on_wait = lambda: (calls.append(1), len(calls) > 2 and done.set())
    Jobs().run("plan", request(), lambda check: done.wait(30), on_wait)
    assert len(calls) >= 3
