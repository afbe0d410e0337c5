"""The trainer: every stage learns, stops cleanly and resumes bit for bit."""

import json
import os
import signal

import pytest
import torch

from lawm_core.training.optimizers import OptimizerConfig
from lawm_core.training.trainer import Deadline, ExecutionConfig
from tests.training.toy_stages import LOSSES, assert_equal_weights, assert_resumes, build_trainer

TRAINED = {  # parts of a model that each stage changes
    "encoder": {"encoder"},
    "masked": {"encoder"},
    "mixed": {"encoder"},
    "flow": {"flow_reader"},
    "noisy": {"families.noisy"},
    "sparse": {"families.sparse"},
    "discrete": {"families.discrete"},
    "decoder": {"decoder"},
    "sampler": {"families.noisy.sampler"},
}
RESTANDARDIZED = ("discrete", "sampler")  # a codebook or moving averages change what their losses are measured in


@pytest.mark.parametrize("stage", list(LOSSES))
def test_resume_is_bit_identical(tmp_path, stage):
    assert_resumes(lambda name: build_trainer(tmp_path / name, stage)[0])


@pytest.mark.parametrize("stage", list(LOSSES))
def test_every_stage_reduces_its_loss_and_changes_nothing_else(tmp_path, stage):
    slow = OptimizerConfig(muon_rate=0.005, adam_rate=2e-3, warm_up=0.1)
    trainer, model = build_trainer(tmp_path, stage, steps=40, optimizer=slow)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batch = trainer.source.draw(0)

    def loss() -> float:
        torch.manual_seed(1)
        trainer.module.train()
        with torch.no_grad():
            return trainer.loss.losses(batch, 1.0)["loss"].item()

    first = loss()
    trainer.run(show_progress=False)
    assert stage in RESTANDARDIZED or loss() < first
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    for part in TRAINED[stage]:
        assert any(name.startswith(f"{part}.") for name in changed)
    assert all(name.startswith(tuple(f"{part}." for part in TRAINED[stage])) for name in changed)


# ---- stopping -------------------------------------------------------------------------------------------------------


def test_time_limit_stops_with_a_checkpoint(tmp_path):
    trainer, _ = build_trainer(tmp_path, steps=100_000)
    trainer.run(minutes=0.01, show_progress=False)
    saved = json.loads((tmp_path / "progress.json").read_text())["step"]
    assert 0 < saved < 100_000 and trainer.step == saved
    resumed, _ = build_trainer(tmp_path, steps=100_000)
    assert resumed.resume() and resumed.step == saved


def test_signal_ends_the_run_after_the_current_step(tmp_path):
    trainer, _ = build_trainer(tmp_path, steps=100_000)
    step = trainer.train_step

    def step_then_signal():
        if trainer.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step()

    trainer.train_step = step_then_signal
    trainer.run(show_progress=False)
    assert trainer.step == 3 and json.loads((tmp_path / "progress.json").read_text())["step"] == 3


def test_deadline_is_shared_by_several_trainings(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("lawm_core.training.trainer.time.monotonic", lambda: now[0])
    deadline = Deadline(2.0)
    now[0] += 90
    assert deadline.minutes_left() == pytest.approx(0.5)
    now[0] += 90
    assert deadline.minutes_left() == 0 and Deadline(None).minutes_left() is None


def test_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    trainer, _ = build_trainer(tmp_path)
    trainer.train_step()
    trainer.save()
    good = (tmp_path / "state.safetensors").read_bytes()
    trainer.loss.losses = lambda batch, progress: {"loss": torch.tensor(float("nan"), requires_grad=True)}
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1"):
        trainer.run(show_progress=False)
    assert (tmp_path / "state.safetensors").read_bytes() == good


def test_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path):
    trainer, model = build_trainer(tmp_path)
    trainer.train_step()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer.module.world_model.embed_state.weight.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(FloatingPointError, match="gradient norm is nan at step 1 with seed 0"):
        trainer.train_step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# ---- execution ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grad_accum_steps": 0}, "grad_accum_steps must be at least 1, got 0"),
        ({"precision": "float16"}, "precision must be one of auto, float32, bf16, got 'float16'"),
    ],
)
def test_impossible_execution_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ExecutionConfig(**change)


@pytest.mark.parametrize("stage", ["encoder", "discrete", "sampler"])
def test_trainer_sets_ema_scale(tmp_path, stage):
    """Every module with moving averages must know how many micro-batches update it in one step."""
    for micro_batches in (4, 1):
        trainer, _ = build_trainer(tmp_path, stage, execution={"grad_accum_steps": micro_batches})
        scales = [part.ema_scale for part in trainer.module.modules() if hasattr(part, "ema_scale")]
        assert scales and set(scales) == {1 / micro_batches}


@pytest.mark.parametrize("stage", ["encoder", "mixed", "discrete", "sampler"])
def test_moving_averages_move_by_steps_and_not_by_micro_batches(tmp_path, stage):
    """Each micro-batch resembles the batch; at the full rate, four of them would move averages four times as far."""
    moved = {}
    for micro_batches in (1, 4):
        execution = {"grad_accum_steps": micro_batches}
        trainer, model = build_trainer(tmp_path / str(micro_batches), stage, execution=execution)
        averages = {"encoder": ("std",), "mixed": ("std",), "discrete": ("idle_Z", "use_Z"), "sampler": ("std_A",)}
        named = {n: x for n, x in model.named_buffers() if n.rpartition(".")[2] in averages[stage]}
        before = {name: x.clone() for name, x in named.items()}
        for _ in range(2):
            trainer.train_step()
        moved[micro_batches] = {name: (x - before[name]).abs().max().item() for name, x in named.items()}
    changed = {name: distance for name, distance in moved[1].items() if distance > 0}
    assert changed
    for name, distance in changed.items():
        assert 0.5 * distance < moved[4][name] < 2 * distance, name


@pytest.mark.parametrize("stage", list(LOSSES))
def test_every_stage_takes_micro_batches(tmp_path, stage):
    """Losses with batch statistics too, which are then of one micro-batch."""
    trainer, _ = build_trainer(tmp_path, stage, execution={"grad_accum_steps": 2})
    steps = [trainer.train_step() for _ in range(2)]
    values = torch.tensor([(step["loss"], step["gradient"]) for step in steps])
    assert values.isfinite().all() and (values > 0).all()


def saved_bytes(trainer) -> int:
    """Bytes that a step stores for its backward pass; storage of weights and shared storage count once."""
    held = {}

    def count(x: torch.Tensor) -> torch.Tensor:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        trainer.train_step()
    for weight in trainer.module.parameters():
        held.pop(weight.untyped_storage().data_ptr(), None)
    return sum(held.values())


def test_activation_checkpointing_gives_the_same_steps_in_less_memory(tmp_path):
    plain, model = build_trainer(tmp_path / "plain")
    sparing, other = build_trainer(tmp_path / "sparing", execution={"activation_checkpointing": True})
    assert saved_bytes(sparing) < 0.9 * saved_bytes(plain)
    plain.run(show_progress=False)
    sparing.run(show_progress=False)
    assert_equal_weights(model, other)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_steps_are_equal_up_to_rounding(tmp_path, checkpointing):
    plain, _ = build_trainer(tmp_path / "plain")
    execution = {"compile": True, "activation_checkpointing": checkpointing}
    compiled, _ = build_trainer(tmp_path / "compiled", execution=execution)
    for _ in range(3):
        expected, found = plain.train_step(), compiled.train_step()
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert saved_bytes(compiled) < (0.9 if checkpointing else 1.0) * saved_bytes(plain)
