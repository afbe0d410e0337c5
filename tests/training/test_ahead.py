"""Laws of drawing ahead: the same batches, the next one before it is asked for, errors where they belong."""

import threading

import pytest
import torch

from lawm_core.shares import Share
from lawm_core.training.ahead import DrawnAhead
from tests.training.test_trainer import trainer, weights

PART = Share(0, 1)


class Numbers:
    """A source whose batches are their own numbers; it notes what was drawn, and in which thread."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.drawn: list[tuple[int, bool]] = []
        self.done = threading.Event()

    def draw(self, step, part=None):
        self.drawn.append((step, threading.current_thread() is threading.main_thread()))
        self.done.set()
        if step == 7:
            raise ValueError("nothing to see at 7")
        return step


def test_the_next_part_is_drawn_before_it_is_asked_for_and_once():
    source = Numbers()
    batches = DrawnAhead(source, ahead=True)
    assert batches.draw(3, PART, (4, PART)) == 3
    source.done.clear()
    batches._next[1].result(timeout=10)
    assert source.drawn == [(3, True), (4, False)]
    assert batches.draw(4, PART, None) == 4
    assert source.drawn == [(3, True), (4, False)]


def test_what_was_drawn_for_nothing_is_not_taken_for_something_else():
    batches = DrawnAhead(Numbers(), ahead=True)
    batches.draw(3, PART, (4, PART))
    assert batches.draw(9, PART, (10, PART)) == 9
    assert batches.draw(10, Share(1, 2), None) == 10
    assert (10, True) in batches.source.drawn  # the other thread may still be at its own


def test_an_error_comes_where_the_part_is_asked_for():
    batches = DrawnAhead(Numbers(), ahead=True)
    batches.draw(6, PART, (7, PART))
    with pytest.raises(ValueError, match="nothing to see at 7"):
        batches.draw(7, PART, (8, PART))
    assert batches.draw(8, PART, None) == 8


def test_who_asks_for_it_has_batches_in_turn():
    source = Numbers()
    DrawnAhead(source, ahead=False).draw(3, PART, (4, PART))
    assert source.drawn == [(3, True)]


def test_training_ahead_is_training(tmp_path):
    runs = {ahead: trainer(tmp_path / str(ahead), "lam") for ahead in (True, False)}
    for ahead, (run, _) in runs.items():
        run.batches = DrawnAhead(run.source, ahead)
        for _ in range(3):
            run.train_step()
    one, other = (weights(model) for _, model in runs.values())
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
