"""Laws of long requests: cancelled at once, wherever they are; nobody else's."""

from threading import Event
from types import SimpleNamespace

import pytest

from app import jobs
from app.jobs import CancelledJobError, Jobs


def request(page: str = "mine", arrived: float = 1.0):
    """A request of a page, as Gradio hands it to a handler."""
    return SimpleNamespace(session_hash=page, request=SimpleNamespace(state=SimpleNamespace(arrived=arrived)))


@pytest.fixture
def clock(monkeypatch):
    """The time, by hand."""
    now = SimpleNamespace(seconds=10.0)
    monkeypatch.setattr(jobs, "monotonic", lambda: now.seconds)
    return now


def test_a_job_returns_what_its_work_returns_or_raises_what_it_raises():
    assert Jobs().run("transfer", request(), lambda check: 7) == 7
    for error in (ValueError("no"), TimeoutError("the work's own")):

        def fail(check, error=error):
            raise error

        with pytest.raises(type(error), match=str(error)):
            Jobs().run("transfer", request(), fail)


def test_a_cancelled_job_answers_while_its_step_still_runs_and_stops_at_its_next_check(clock):
    some, going_on, stopped = Jobs(), Event(), Event()

    def work(check):
        some.cancel("transfer", request())
        going_on.wait(30)  # a long step
        try:
            check()
        except CancelledJobError:
            stopped.set()
            raise

    with pytest.raises(CancelledJobError, match="Cancelled"):
        some.run("transfer", request(), work)
    assert not stopped.is_set()
    going_on.set()
    assert stopped.wait(30)


def test_what_waited_when_cancel_was_pressed_is_cancelled_and_what_comes_later_runs(clock):
    some = Jobs()
    some.cancel("transfer", request())
    for arrived in (9.0, 10.0, 10.0 + jobs.GRACE_SECONDS / 2):
        with pytest.raises(CancelledJobError):
            some.run("transfer", request(arrived=arrived), lambda check: 7)
    assert some.run("transfer", request(arrived=10.0 + 2 * jobs.GRACE_SECONDS), lambda check: 7) == 7


def test_a_cancel_is_of_one_page_and_of_one_kind(clock):
    some = Jobs()
    some.cancel("transfer", request())
    assert some.run("transfer", request("another"), lambda check: 7) == 7
    assert some.run("plan", request(), lambda check: 7) == 7


def test_only_so_many_pages_are_remembered(clock, monkeypatch):
    monkeypatch.setattr(jobs, "PAGES", 3)
    some = Jobs()
    for page in "abcde":
        some.cancel("transfer", request(page))
    assert [page for page, _ in some._cancelled] == ["c", "d", "e"]


def test_the_time_is_told_meanwhile():
    told, done = [], Event()
    tell = lambda: (told.append(1), len(told) > 2 and done.set())
    Jobs().run("plan", request(), lambda check: done.wait(30), tell)
    assert len(told) >= 3
