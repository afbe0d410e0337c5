"""The trainer of every stage: it draws batches, takes optimizer steps, logs losses, and saves and loads checkpoints."""

from __future__ import annotations

import csv
import math
import shutil
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from lawm_core.batch_slice import BatchSlice
from lawm_core.models.transformer import checkpoint_activations, compile_blocks
from lawm_core.runtime import (
    PRECISIONS,
    autocast,
    is_distributed,
    main_process_first,
    pick_shared_precision,
    rank,
    requested_precision,
    sum_over_ranks,
    world_size,
)
from lawm_core.training.losses import Loss
from lawm_core.training.optimizers import Muon, OptimizerConfig, build_optimizers, clip_gradients, learning_rate_scale
from lawm_core.training.parallel import gradient_sync, parallelize
from lawm_core.training.prefetch import BatchSource, Prefetcher
from lawm_core.training.training_state import (
    PROGRESS,
    UNFINISHED,
    UNSHARDED,
    TrainingState,
    find_state,
    read_precision,
    read_state,
    write_state,
)
from lawm_core.types import CheckpointError


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How training steps are computed. Results are the same up to rounding, except with gradient accumulation.

    parallel: how ranks share the model, `ddp` or `fsdp`. sharded_checkpoint: each rank saves its own shards of the
    training state. activation_checkpointing: recompute the activations of blocks in the backward pass, to save memory.
    compile: compile blocks, for speed.

    grad_accum_steps: number of micro-batches whose gradients are accumulated in each step, to save memory. Above 1,
    batch statistics are computed over one micro-batch of all ranks instead of the whole batch. These are the VCM cost,
    codebook counts, means, standard deviations and the divisors of weighted means.

    precision: `auto`, `float32` or `bf16`, see `runtime.pick_precision`. Weights and optimizer state are float32 in any
    case. Raises ValueError if grad_accum_steps or precision is invalid.
    """

    parallel: str = "ddp"
    sharded_checkpoint: bool = False
    grad_accum_steps: int = 1
    precision: str = "auto"
    activation_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.grad_accum_steps < 1:
            raise ValueError(f"grad_accum_steps must be at least 1, got {self.grad_accum_steps}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}.")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Config of a `Trainer`.

    steps: number of steps, which is also the length of the learning-rate schedule. A time limit can end a run earlier;
    it can then be resumed. optimizer: learning rates and schedule. save_every: steps between checkpoints. seed: of all
    random numbers. execution: how steps are computed.
    """

    steps: int = 3000
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    save_every: int = 250
    seed: int = 0
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)


class Deadline:
    """A time limit that several trainings in a row share. It starts when it is created.

    minutes: the limit; None for no limit.
    """

    def __init__(self, minutes: float | None) -> None:
        self.end = None if minutes is None else time.monotonic() + 60 * minutes

    def minutes_left(self) -> float | None:
        """Return the remaining minutes, at least 0; None if there is no limit."""
        return None if self.end is None else max(0.0, self.end - time.monotonic()) / 60


class Trainer:
    """Trains the modules of a loss and writes checkpoints, progress.json and log.csv to `folder`.

    The random numbers of a step depend only on the seed and the step, so a resumed run is bit-identical to an
    uninterrupted one on the same device. On several ranks, started by torchrun, the steps are the same up to rounding.
    """

    def __init__(self, loss: Loss, source: BatchSource, config: TrainerConfig, folder: str | Path) -> None:
        self.loss, self.source, self.config = loss, source, config
        self.batches = Prefetcher(source)
        execution = config.execution
        if execution.compile:
            compile_blocks(loss.trained(), execution.activation_checkpointing)
        elif execution.activation_checkpointing:
            checkpoint_activations(loss.trained())
        self.device, self.loss_module = source.device, parallelize(loss, execution.parallel, source.device)
        wrapped: Any = getattr(self.loss_module, "module", self.loss_module)  # DDP wraps the module, FSDP2 does not
        self.module: nn.Module = wrapped.trained
        for part in self.module.modules():
            if hasattr(part, "ema_scale"):  # moving averages are updated once per micro-batch, not per step
                setattr(part, "ema_scale", 1 / execution.grad_accum_steps)  # noqa: B010
        self.precision = pick_shared_precision(execution.precision, self.device)
        self.optimizers = build_optimizers(self.module, config.optimizer, self.precision)
        self.state = TrainingState(self.module, self.optimizers)
        self.folder = Path(folder)
        with main_process_first():
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)  # left by a run that was killed while saving
            for name in (UNSHARDED, PROGRESS):
                for part in self.folder.glob(f".{name}.*"):
                    part.unlink()
        self.step = 0
        self._saved: tuple[int, Path] | None = None
        self._stopping = False

    def run(self, minutes: float | None = None, show_progress: bool = True) -> dict[str, float]:
        """Train and save a checkpoint. Return exponential moving averages of the losses, by name.

        The training ends at the last step, at the time limit, or after the current step on SIGTERM or Ctrl-C. minutes:
        time limit; None for no limit. Raises FloatingPointError if a loss or gradient is not finite.
        """
        deadline = time.monotonic() + 60 * minutes if minutes is not None else math.inf
        handlers = self._catch_signals()
        recent: dict[str, float] = {}
        hidden = not show_progress or rank() > 0
        bar = tqdm(total=self.config.steps, initial=self.step, disable=hidden, smoothing=0.05, unit="step")
        try:
            while self.step < self.config.steps and self._all_continue(time.monotonic() < deadline):
                losses = self.train_step()
                for name, value in losses.items():
                    recent[name] = value if name not in recent else 0.98 * recent[name] + 0.02 * value
                if self.step % 20 == 0:
                    self._log(recent)
                    bar.set_postfix({n: f"{v:.4g}" for n, v in recent.items()}, refresh=False)
                bar.update()
                if self.step % self.config.save_every == 0:
                    self.save()
        finally:
            bar.close()
            for name, handler in handlers.items():
                signal.signal(name, handler)
        self.save()
        return recent

    def train_step(self) -> dict[str, float]:
        """Take one optimizer step. Return its losses and `gradient`, the norm of the gradient before clipping.

        Raises FloatingPointError if the loss or the gradient is not finite.
        """
        config = self.config
        self.loss.before_step()
        self.module.train()
        micro_batches = [self._micro_batch(index) for index in range(config.execution.grad_accum_steps)]
        mean = torch.stack([torch.stack(list(losses.values())) for losses in micro_batches]).mean(dim=0)
        losses = dict(zip(micro_batches[0], sum_over_ranks(mean) / world_size(), strict=True))
        self._check_finite("loss", losses["loss"])
        norm = clip_gradients(self.module.parameters(), config.optimizer.clip_norm)
        self._check_finite("gradient norm", norm)  # before the weights become NaN
        scale = learning_rate_scale(self.step, config.steps, config.optimizer)
        for optimizer in self.optimizers:
            peak = config.optimizer.muon_rate if isinstance(optimizer, Muon) else config.optimizer.adam_rate
            for group in optimizer.param_groups:
                group["lr"] = peak * scale * group.get("lr_scale", 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return {name: value.item() for name, value in (losses | {"gradient": norm}).items()}

    def _micro_batch(self, index: int) -> dict[str, torch.Tensor]:
        """Accumulate the gradients of micro-batch number `index` of this step and return its losses.

        Every micro-batch starts from the same state of the random generator, so that the random numbers of a step do
        not depend on how its batch is split (see `BatchSlice`).
        """
        config, count = self.config, self.config.execution.grad_accum_steps
        torch.manual_seed(config.seed * 7_919 + self.step)
        with gradient_sync(self.loss_module, last=index + 1 == count):
            batch = self.batches.draw(self.step, self._slice(index), self._next(index))
            with autocast(self.device, self.precision):
                losses = self.loss_module(batch, self.step / config.steps)
            (losses["loss"] / count).backward()
        return {name: value.detach().float() for name, value in losses.items()}

    def _slice(self, index: int) -> BatchSlice:
        """Return the batch slice of micro-batch number `index` on this rank."""
        count = self.config.execution.grad_accum_steps
        return BatchSlice(rank() * count + index, world_size() * count)

    def _next(self, index: int) -> tuple[int, BatchSlice] | None:
        """Return the step and the batch slice of the micro-batch after number `index`; None at the end of the run."""
        later, index = divmod(index + 1, self.config.execution.grad_accum_steps)
        return None if self.step + later == self.config.steps else (self.step + later, self._slice(index))

    def _all_continue(self, in_time: bool) -> bool:
        """Return whether all ranks go on training. All stop as soon as one has to.

        Ranks must stop after the same step, because one that goes on alone would wait for the others forever. in_time:
        whether this rank is within the time limit.
        """
        stops = self._stopping or not in_time
        return not (sum_over_ranks(torch.tensor(float(stops), device=self.device)) if is_distributed() else stops)

    def _check_finite(self, name: str, value: torch.Tensor) -> None:
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"the {name} is {value.item()} at step {self.step} with seed {self.config.seed}. Resume from the last "
                f"checkpoint in {self.folder} with a lower learning rate or another seed."
            )

    # ---- saving -----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Save weights, optimizer state and step, unless this step is already saved. Every rank must call this."""
        if self._saved is None or self._saved[0] != self.step or not self._saved[1].exists():
            metadata = {"config": asdict(self.config), "precision": self.precision}
            sharded = self.config.execution.sharded_checkpoint
            self._saved = self.step, write_state(self.state, self.step, self.folder, sharded, metadata)

    def resume(self) -> bool:
        """Load the current checkpoint, of either format and written by any number of ranks. Return False if there is
        none.

        Raises CheckpointError if the checkpoint is damaged, if it belongs to another model or stage, or if it was
        trained in another precision and no precision was requested explicitly.
        """
        if (path := find_state(self.folder)) is None:
            return False
        self._check_precision()
        self.step = read_state(self.state, path)
        return True

    def _check_precision(self) -> None:
        """Raise CheckpointError if the automatic precision differs from that of the checkpoint.

        The run would otherwise change its precision unnoticed and no longer be bit-identical.
        """
        saved = read_precision(self.folder)
        if saved not in (None, self.precision) and requested_precision(self.config.execution.precision) == "auto":
            raise CheckpointError(
                f"{self.folder} was trained in {saved}; the automatic choice on this machine is {self.precision}. Pass "
                f"--precision {saved} to continue in the same precision, or --precision {self.precision} to switch. "
                "Checkpoints store float32 in both cases, so they lose no accuracy."
            )

    def _log(self, losses: dict[str, float]) -> None:
        if rank() > 0:
            return
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", *losses])
            writer.writerow([self.step, *(f"{v:.6g}" for v in losses.values())])

    def _catch_signals(self) -> dict:
        """Make Ctrl-C and SIGTERM end the run after the current step. Return the earlier handlers, by signal.

        In other threads than the main thread, handlers cannot be set; the result is then empty.
        """

        def stop(*_: object) -> None:
            self._stopping = True

        try:
            return {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:
            return {}
