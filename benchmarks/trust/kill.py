"""Check that training can be resumed after it was killed with kill -9.

    python benchmarks/trust/kill.py [--kills 40] [--steps 60] [--out kill.json]

Trains a small model twice, with a checkpoint after every step: once without interruption, and once killed and resumed
repeatedly. Every second kill comes at a random moment, the others as soon as the writing of a checkpoint has begun.
After each kill, the checkpoint must be readable and must not be of an earlier step than after the kill before. At the
end, weights, optimizer state and step of both runs must be equal, byte for byte.
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

from benchmarks.results import write_results

STATE, PROGRESS = "state.safetensors", "progress.json"
START_SECONDS = 60.0  # limit for a process to write its first checkpoint


def main() -> None:
    """Run the experiment, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        return train(options.train, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), options.kills, options.steps, options.seed)
    write_results(results, options.out)


def train(folder: Path, steps: int) -> None:
    """Resume training from the last checkpoint, if any, and train to the last step, with a checkpoint after each step.

    This is what the process that is killed runs.
    """
    from dataclasses import replace

    import torch

    from lawm_core.model import LatentActionModel
    from lawm_core.training.batches import PairSource
    from lawm_core.training.recipes import nano
    from lawm_core.training.trainer import Trainer, TrainerConfig

    torch.manual_seed(0)
    torch.set_num_threads(1)
    recipe = nano()
    model = LatentActionModel(replace(recipe.model, families={"noisy": recipe.model.families["noisy"]}))
    stage = recipe.stages["encoder"]
    source = PairSource(replace(stage.batch, clips=2, num_shards=1), None, torch.device("cpu"), seed=0)
    config = TrainerConfig(steps=steps, optimizer=stage.trainer.optimizer, save_every=1)
    trainer = Trainer(stage.loss(model), source, config, folder)
    trainer.resume()
    trainer.run(show_progress=False)


def measure(folder: Path, kills: int, steps: int, seed: int) -> dict[str, object]:
    """Run both trainings, check the checkpoint after every kill, and return the figures by name."""
    straight, killed, random_source = folder / "straight", folder / "killed", random.Random(seed)
    start(straight, steps).wait()
    done = while_saving = lost = 0
    last = -1
    while done < kills:
        process = start(killed, steps)
        if not wait_for_new_checkpoint(killed, process):
            break  # the process has finished
        if done % 2:
            time.sleep(random_source.uniform(0, 1.0))
        else:
            wait_for_writing(killed, process)
        if process.poll() is not None:
            break  # the process has finished before it could be killed
        process.send_signal(signal.SIGKILL)
        process.wait()
        done += 1
        while_saving += bool(unfinished_files(killed))
        step = read_step(killed)
        lost += step is None or step < last
        last = max(last, -1 if step is None else step)
    start(killed, steps).wait()
    return {
        "kills": done,
        "kills while saving": while_saving,
        "checkpoints lost or damaged": lost,
        "equal to the uninterrupted run, byte for byte": (straight / STATE).read_bytes()
        == (killed / STATE).read_bytes(),
        "unfinished files left": len(unfinished_files(killed)),
    }


def unfinished_files(folder: Path) -> list[Path]:
    """Return the temporary files of a checkpoint that is being written, or whose writing was interrupted."""
    return [path for name in (STATE, PROGRESS) for path in folder.glob(f".{name}.*")]


def start(folder: Path, steps: int) -> subprocess.Popen:
    """Start a process that trains."""
    command = [sys.executable, __file__, "--train", str(folder), "--steps", str(steps)]
    return subprocess.Popen(command, cwd=ROOT)


def wait_for_new_checkpoint(folder: Path, process: subprocess.Popen) -> bool:
    """Wait until a process has written its first checkpoint. Return False if it ends without one."""
    before, end = modified_at(folder), time.monotonic() + START_SECONDS
    while modified_at(folder) == before:
        if process.poll() is not None:
            return False
        if time.monotonic() > end:
            raise SystemExit(f"the training process wrote no checkpoint within {START_SECONDS:g} s.")
        time.sleep(0.01)
    return True


def wait_for_writing(folder: Path, process: subprocess.Popen) -> None:
    """Wait until a checkpoint is being written, or until the process has ended."""
    while process.poll() is None and not unfinished_files(folder):
        time.sleep(0.0005)


def modified_at(folder: Path) -> int:
    """Return the time at which the checkpoint was written, in nanoseconds; 0 without a checkpoint."""
    return (folder / STATE).stat().st_mtime_ns if (folder / STATE).is_file() else 0


def read_step(folder: Path) -> int | None:
    """Return the step of the checkpoint after reading every tensor; None if it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return int(load_file(folder / STATE)["step"])
    except (OSError, SafetensorError, KeyError):
        return None


if __name__ == "__main__":
    main()
