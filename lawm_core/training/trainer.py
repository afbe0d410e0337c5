"""One trainer for every stage: it draws, steps, logs, saves and resumes; what is learned comes from an Objective."""

from __future__ import annotations

import csv
import json
import math
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from lawm_core.checkpoint import write_tensors, write_text
from lawm_core.contracts import CheckpointError
from lawm_core.runtime import autocast
from lawm_core.training.batches import PairSource
from lawm_core.training.losses import Objective
from lawm_core.training.optimizers import OptimizerConfig, build_optimizers, learning_rate_scale

STATE, PROGRESS = "state.safetensors", "progress.json"


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """steps set the schedule; a time budget may stop a run early, and a resume goes on from there."""

    steps: int = 3000
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    save_every: int = 250
    bf16: bool = True
    seed: int = 0


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
    """

    def __init__(self, objective: Objective, source: PairSource, config: TrainerConfig, folder: str | Path) -> None:
        self.objective, self.source, self.config = objective, source, config
        self.module, self.device = objective.trained(), source.device
        self.optimizers = build_optimizers(self.module, config.optimizer)
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (STATE, PROGRESS):
            for part in self.folder.glob(f".{name}.*"):  # of a run that was killed while it saved
                part.unlink()
        self.step = 0
        self._stopping = False

    def run(self, minutes: float | None = None, show: bool = True) -> dict[str, float]:
        """Trains to the last step, the time budget, SIGTERM or Ctrl-C; returns a running mean of the losses."""
        deadline = time.monotonic() + 60 * minutes if minutes is not None else math.inf
        before = self._catch_signals()
        recent: dict[str, float] = {}
        bar = tqdm(total=self.config.steps, initial=self.step, disable=not show, smoothing=0.05, unit="step")
        try:
            while self.step < self.config.steps and not self._stopping and time.monotonic() < deadline:
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
        """One step on one batch. A loss that is not finite stops the run with the step that caused it."""
        config = self.config
        torch.manual_seed(config.seed * 7_919 + self.step)
        pairs = self.source.draw(self.step)
        self.module.train()
        with autocast(self.device, config.bf16):
            losses = self.objective.losses(pairs, self.step / config.steps)
        self._demand_finite("loss", losses["loss"])
        losses["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), config.optimizer.clip_norm)
        self._demand_finite("length of the gradient", norm)  # before it can spoil the weights
        scale = learning_rate_scale(self.step, config.steps, config.optimizer)
        for optimizer in self.optimizers:
            peak = config.optimizer.muon_rate if isinstance(optimizer, torch.optim.Muon) else config.optimizer.adam_rate
            for group in optimizer.param_groups:
                group["lr"] = peak * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return {name: value.item() for name, value in losses.items()}

    def _demand_finite(self, name: str, value: torch.Tensor) -> None:
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"the {name} is {value.item()} at step {self.step} (seed {self.config.seed}, which with the step draws "
                f"its batch again); the last good state in {self.folder} is kept."
            )

    # ---- saving -----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Weights and optimizers in one file; the step is in the same file's name space, so they cannot part."""
        tensors = {f"module.{n}": t.detach().cpu().contiguous() for n, t in self.module.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for index, slots in optimizer.state_dict()["state"].items():
                for slot, value in slots.items():
                    tensors[f"optimizer.{i}.{index}.{slot}"] = torch.as_tensor(value).detach().cpu().contiguous()
        tensors["step"] = torch.tensor(self.step)
        write_tensors(self.folder / STATE, tensors)
        write_text(self.folder / PROGRESS, json.dumps({"step": self.step, "config": asdict(self.config)}, indent=1))

    def resume(self) -> bool:
        """Continues from the folder's last save; False if there is none. CheckpointError if it is not of this run."""
        path = self.folder / STATE
        if not path.is_file():
            return False
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except SafetensorError as error:
            raise CheckpointError(f"{path} is damaged ({error}); remove it to begin anew.") from None
        weights = {n.removeprefix("module."): t for n, t in tensors.items() if n.startswith("module.")}
        try:
            self.module.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{path} is of another model or stage: {error}") from None
        if "step" not in tensors:
            raise CheckpointError(f"{path} does not say at which step it was saved; remove it to begin anew.")
        for i, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in tensors.items():
                if name.startswith(f"optimizer.{i}."):
                    index, slot = name.split(".")[2:]
                    state.setdefault(int(index), {})[slot] = tensor
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step = int(tensors["step"])
        return True

    def _log(self, losses: dict[str, float]) -> None:
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
