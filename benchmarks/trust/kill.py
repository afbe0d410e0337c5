"""Does training survive kill -9?

    python benchmarks/trust/kill.py [--kills 40] [--steps 60] [--out kill.json]

Trains a small model once undisturbed, and once killed and gone on with, saving after every step: every second death is
at a random moment, the others as soon as a save has begun. After each death the last save must open, at the step of the
one before or later; in the end weights, optimizers and step must be those of the undisturbed run, to the byte.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.telling import tell

SAVE, PROGRESS = "state.safetensors", "progress.json"
STARTING = 60.0  # seconds that a child may take until its first save of its own


def main() -> None:
    """Measures, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        return train(given.train, given.steps)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), given.kills, given.steps, given.seed)
    tell(figures, given.out)


def train(folder: Path, steps: int) -> None:
    """What a child does: goes on to the last step, saving after each."""
    from dataclasses import replace

    import torch

    from lawm_core.model import LatentActionModel
    from lawm_core.training.batches import PairSource
    from lawm_core.training.recipes import nano
    from lawm_core.training.trainer import Trainer, TrainerConfig

    torch.manual_seed(0)
    torch.set_num_threads(1)
    recipe = nano()
    first = next(iter(recipe.model.families))
    model = LatentActionModel(replace(recipe.model, families={first: recipe.model.families[first]}))
    stage = recipe.stages["encoder"]
    source = PairSource(replace(stage.batch, clips=2, lanes=1), None, torch.device("cpu"), seed=0)
    config = TrainerConfig(steps=steps, optimizer=stage.trainer.optimizer, save_every=1)
    trainer = Trainer(stage.objective(model.requires_grad_(True)), source, config, folder)
    trainer.resume()
    trainer.run(show=False)


def measure(folder: Path, kills: int, steps: int, seed: int) -> dict[str, int | bool]:
    """Both runs, and what was found after every death."""
    straight, stopped, chance = folder / "straight", folder / "stopped", random.Random(seed)
    start(straight, steps).wait()
    done = in_save = lost = 0  # deaths, those that left a half-written file, and saves that did not hold
    last = -1
    while done < kills:
        process = start(stopped, steps)
        if not saved_anew(stopped, process):
            break  # it came to its end
        if done % 2:
            time.sleep(chance.uniform(0, 1.0))
        else:
            wait_for_a_save(stopped, process)
        if process.poll() is not None:
            break  # it came to its end on its own
        process.send_signal(signal.SIGKILL)
        process.wait()
        done += 1
        in_save += bool(half_written(stopped))
        step = read_step(stopped)
        lost += step is None or step < last
        last = max(last, -1 if step is None else step)
    start(stopped, steps).wait()
    same = (straight / SAVE).read_bytes() == (stopped / SAVE).read_bytes()
    left = len(half_written(stopped))
    return {
        "deaths": done, "deaths within a save": in_save, "saves lost or broken": lost,
        "ends as the undisturbed run, to the byte": same, "half-written files left": left,
    }  # fmt: skip


def half_written(folder: Path) -> list[Path]:
    """What a save that was cut off has left."""
    return [path for name in (SAVE, PROGRESS) for path in folder.glob(f".{name}.*")]


def start(folder: Path, steps: int) -> subprocess.Popen:
    """A child that trains."""
    command = [sys.executable, __file__, "--train", str(folder), "--steps", str(steps)]
    return subprocess.Popen(command, cwd=ROOT)


def saved_anew(folder: Path, process: subprocess.Popen) -> bool:
    """Waits for a child's first save of its own; False where it ends without one."""
    before, end = stamp(folder), time.monotonic() + STARTING
    while stamp(folder) == before:
        if process.poll() is not None:
            return False
        if time.monotonic() > end:
            raise SystemExit(f"no save within {STARTING:g} s")
        time.sleep(0.01)
    return True


def wait_for_a_save(folder: Path, process: subprocess.Popen) -> None:
    """Returns while a save is being written, or where the child has ended."""
    while process.poll() is None and not half_written(folder):
        time.sleep(0.0005)


def stamp(folder: Path) -> int:
    """When the save was written; 0 where there is none."""
    return (folder / SAVE).stat().st_mtime_ns if (folder / SAVE).is_file() else 0


def read_step(folder: Path) -> int | None:
    """The step of the last save with every tensor read; None where it does not open."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return int(load_file(folder / SAVE)["step"])
    except (OSError, SafetensorError, KeyError):
        return None


if __name__ == "__main__":
    main()
