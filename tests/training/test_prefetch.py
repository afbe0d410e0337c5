"""Prefetching changes when batches are drawn, and nothing else."""

import threading

import pytest
import torch

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.training.prefetch import Prefetcher
from tests.training.toy_stages import assert_equal_weights, build_trainer


class StepSource:
    """A source whose batches are the numbers of their steps. It records the steps and whether the main thread drew."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.drawn: list[tuple[int, bool]] = []

    def draw(self, step, batch_slice):
        self.drawn.append((step, threading.current_thread() is threading.main_thread()))
        if step == 7:
            raise ValueError("step 7 cannot be drawn")
        return step


def test_next_batch_is_drawn_once_and_in_the_background():
    source = StepSource()
    batches = Prefetcher(source)
    assert batches.draw(3, WHOLE_BATCH, (4, WHOLE_BATCH)) == 3
    batches._next[1].result(timeout=10)
    assert source.drawn == [(3, True), (4, False)]
    assert batches.draw(4, WHOLE_BATCH, None) == 4
    assert source.drawn == [(3, True), (4, False)]


def test_prefetched_batch_is_not_returned_for_another_step_or_slice():
    batches = Prefetcher(StepSource())
    batches.draw(3, WHOLE_BATCH, (4, WHOLE_BATCH))
    assert batches.draw(9, WHOLE_BATCH, (10, WHOLE_BATCH)) == 9
    assert batches.draw(10, BatchSlice(1, 2), None) == 10
    assert (10, True) in batches.source.drawn  # the background thread may still be drawing its own


def test_error_is_raised_when_the_batch_is_requested():
    batches = Prefetcher(StepSource())
    batches.draw(6, WHOLE_BATCH, (7, WHOLE_BATCH))
    with pytest.raises(ValueError, match="step 7 cannot be drawn"):
        batches.draw(7, WHOLE_BATCH, (8, WHOLE_BATCH))
    assert batches.draw(8, WHOLE_BATCH, None) == 8


def test_prefetching_can_be_switched_off():
    source = StepSource()
    Prefetcher(source, enabled=False).draw(3, WHOLE_BATCH, (4, WHOLE_BATCH))
    assert source.drawn == [(3, True)]


def test_training_with_prefetching_is_bit_identical(tmp_path):
    models = []
    for enabled in (True, False):
        trainer, model = build_trainer(tmp_path / str(enabled), execution={"grad_accum_steps": 2})
        trainer.batches = Prefetcher(trainer.source, enabled)
        for _ in range(3):
            trainer.train_step()
        models.append(model)
    assert_equal_weights(*models)
