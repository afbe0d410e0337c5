"""One trainer for every stage: it draws, steps, logs, saves and resumes; what is learned comes from an Objective."""

from __future__ import annotations

import csv
import math
import shutil
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from lawm_core.contracts import CheckpointError
from lawm_core.models.blocks import compile_blocks, recompute_blocks
from lawm_core.runtime import (
    PRECISIONS,
    autocast,
    first_rank_first,
    many_ranks,
    pick_shared_precision,
    rank,
    ranks,
    requested_precision,
    sum_over_ranks,
)
from lawm_core.shares import Share, taking
from lawm_core.training.ahead import DrawnAhead, Source
from lawm_core.training.losses import Objective
from lawm_core.training.optimizers import Muon, OptimizerConfig, build_optimizers, clip_gradients, learning_rate_scale
from lawm_core.training.parallel import spread, waiting
from lawm_core.training.state import (
    PROGRESS,
    UNFINISHED,
    WHOLE,
    TrainingState,
    find_state,
    read_precision,
    read_state,
    write_state,
)


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How steps are computed; what they compute stays the same, to rounding.

    parallel: how many ranks share the work, `ddp` or `fsdp`. pieces: each rank saves its own part of the state.
    passes: a rank takes its share of a batch in so many, for memory; statistics of the batch (a sparse family's spread,
    a codebook's counts, the encoder's and the sampler's mean and spread) are then of one pass of all ranks.
    precision: `auto`, `float32` or `bf16` (`runtime.pick_precision`); weights and optimizer state are always float32.
    recompute: blocks keep what enters them and compute the rest again on the way back, for memory. compiled: what
    blocks do with each token is compiled, for speed; with recompute, they keep what attention needs too.
    """

    parallel: str = "ddp"
    pieces: bool = False
    passes: int = 1
    precision: str = "auto"
    recompute: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ValueError(f"passes came as {self.passes}; needed: 1 or more.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}.")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """steps set the schedule; a time budget may stop a run early, and a resume goes on from there."""

    steps: int = 3000
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    save_every: int = 250
    seed: int = 0
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)


class Deadline:
    """A time budget for several trainings in a row, in minutes; None is as long as it takes."""

    def __init__(self, minutes: float | None) -> None:
        self.end = None if minutes is None else time.monotonic() + 60 * minutes

    def minutes_left(self) -> float | None:
        """What the next training may take, 0 or more."""
        return None if self.end is None else max(0.0, self.end - time.monotonic()) / 60


class Trainer:
    """Trains an objective in `folder`, which holds state.safetensors, progress.json and log.csv.

    Every random draw of a step comes from (seed, step), so a run that was stopped continues bit for bit on one device.
    Started on many ranks by torchrun, it takes the same steps with the batch shared out, to rounding.
    """

    def __init__(self, objective: Objective, source: Source, config: TrainerConfig, folder: str | Path) -> None:
        self.objective, self.source, self.config = objective, source, config
        self.batches = DrawnAhead(source)
        how = config.execution
        if how.compiled:
            compile_blocks(objective.trained(), how.recompute)
        elif how.recompute:
            recompute_blocks(objective.trained())
        self.device, self.stage = source.device, spread(objective, how.parallel, source.device)
        self.module = getattr(self.stage, "module", self.stage).trained
        self.precision = pick_shared_precision(how.precision, self.device)
        self.optimizers = build_optimizers(self.module, config.optimizer, self.precision)
        self.state = TrainingState(self.module, self.optimizers)
        self.folder = Path(folder)
        with first_rank_first():
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)  # of a run that was killed while it saved
            for name in (WHOLE, PROGRESS):
                for part in self.folder.glob(f".{name}.*"):
                    part.unlink()
        self.step = 0
        self._saved: tuple[int, Path] | None = None
        self._stopping = False

    def run(self, minutes: float | None = None, show: bool = True) -> dict[str, float]:
        """Trains to the last step, the time budget, SIGTERM or Ctrl-C; returns a running mean of the losses."""
        deadline = time.monotonic() + 60 * minutes if minutes is not None else math.inf
        before = self._catch_signals()
        recent: dict[str, float] = {}
        show = show and rank() == 0
        bar = tqdm(total=self.config.steps, initial=self.step, disable=not show, smoothing=0.05, unit="step")
        try:
            while self.step < self.config.steps and self._all_go_on(time.monotonic() < deadline):
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
            for name, handler in before.items():
                signal.signal(name, handler)
        self.save()
        return recent

    def train_step(self) -> dict[str, float]:
        """One step on one batch: its losses, and `gradient`, the length of theirs before it was cut.

        A loss that is not finite stops the run with the step that caused it.
        """
        config = self.config
        self.objective.prepare()
        self.module.train()
        passes = [self._take_pass(one_pass) for one_pass in range(config.execution.passes)]
        told = torch.stack([torch.stack(list(losses.values())) for losses in passes]).mean(dim=0)
        told = dict(zip(passes[0], sum_over_ranks(told) / ranks(), strict=True))
        self._demand_finite("loss", told["loss"])
        norm = clip_gradients(self.module.parameters(), config.optimizer.clip_norm)
        self._demand_finite("length of the gradient", norm)  # before it can spoil the weights
        scale = learning_rate_scale(self.step, config.steps, config.optimizer)
        for optimizer in self.optimizers:
            peak = config.optimizer.muon_rate if isinstance(optimizer, Muon) else config.optimizer.adam_rate
            for group in optimizer.param_groups:
                group["lr"] = peak * scale * group.get("rate_share", 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return {name: value.item() for name, value in (told | {"gradient": norm}).items()}

    def _take_pass(self, one_pass: int) -> dict[str, torch.Tensor]:
        """Adds a pass's gradients to what is there; its losses. Chance is the same in each, but for the rows' own."""
        config, passes = self.config, self.config.execution.passes
        torch.manual_seed(config.seed * 7_919 + self.step)
        with taking(one_pass, passes) as part, waiting(self.stage, more=one_pass + 1 < passes):
            pairs = self.batches.draw(self.step, part, self._after(one_pass))
            with autocast(self.device, self.precision):
                losses = self.stage(pairs, self.step / config.steps)
            (losses["loss"] / passes).backward()
        return {name: value.detach().float() for name, value in losses.items()}

    def _after(self, one_pass: int) -> tuple[int, Share] | None:
        """Which part of which batch comes after this pass; None at the end of the run."""
        later, pass_then = divmod(one_pass + 1, self.config.execution.passes)
        if self.step + later == self.config.steps:
            return None
        with taking(pass_then, self.config.execution.passes) as part:
            return self.step + later, part

    def _all_go_on(self, in_time: bool) -> bool:
        """Whether every rank has time and was not told to stop: they stop together, or some would wait for ever."""
        stops = self._stopping or not in_time
        return not (sum_over_ranks(torch.tensor(float(stops), device=self.device)) if many_ranks() else stops)

    def _demand_finite(self, name: str, value: torch.Tensor) -> None:
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"the {name} is {value.item()} at step {self.step} (seed {self.config.seed}, which with the step draws "
                f"its batch again); the last good state in {self.folder} is kept."
            )

    # ---- saving -----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Weights and optimizers; the step is in the same place, so they cannot part. Every rank has to call.

        Nothing is done where this very step is saved already.
        """
        if self._saved is None or self._saved[0] != self.step or not self._saved[1].exists():
            about = {"config": asdict(self.config), "precision": self.precision}
            self._saved = (
                self.step,
                write_state(self.state, self.step, self.folder, self.config.execution.pieces, about),
            )

    def resume(self) -> bool:
        """Continues from the folder's last save, in either form and of any number of ranks; False if there is none.

        CheckpointError if it is not of this run, or if it was computed in another precision and none was asked for.
        """
        if (place := find_state(self.folder)) is None:
            return False
        self._check_precision()
        self.step = read_state(self.state, place)
        return True

    def _check_precision(self) -> None:
        """Let nobody change a run's precision unawares: it goes on from there, but not to the same bits."""
        saved = read_precision(self.folder)
        if saved not in (None, self.precision) and requested_precision(self.config.execution.precision) == "auto":
            raise CheckpointError(
                f"{self.folder} was trained in {saved}; the automatic choice on this machine is {self.precision}. Pass "
                f"--precision {saved} to continue as before, or --precision {self.precision} to convert the run: "
                "weights and optimizer state are float32 in both, so nothing is lost."
            )

    def _log(self, losses: dict[str, float]) -> None:
        if rank() > 0:
            return
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as lines:
            writer = csv.writer(lines)
            if new:
                writer.writerow(["step", *losses])
            writer.writerow([self.step, *(f"{v:.6g}" for v in losses.values())])

    def _catch_signals(self) -> dict:
        """Ctrl-C and SIGTERM end the run after the step in hand, with a save; only the main thread may ask for that."""

        def stop(*_: object) -> None:
            self._stopping = True

        try:
            return {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:
            return {}
