"""What experiments that train share: a short training of a fresh noisy family on a shipped model's encoder."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import lawm_core as lawm
from lawm_core.model import LatentActionModel
from lawm_core.models.bottlenecks import NoisyConfig
from lawm_core.runtime import pick_device
from lawm_core.training.batches import PairSource
from lawm_core.training.losses import LatentActionConfig, LatentActionObjective
from lawm_core.training.recipes import nano
from lawm_core.training.trainer import Trainer
from lawm_core.worlds.clips import ClipWorld, open_world


def options(about: str, steps: int) -> argparse.Namespace:
    """The command line of an experiment."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True, help="a model of the recipe nano, whose encoder is used")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--clips", type=int, default=8, help="of a batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def read_arms(given: argparse.Namespace) -> dict[str, dict]:
    """What --out holds of the same experiment already: a run that was stopped goes on with the arms that are left."""
    if not (given.out and given.out.is_file()):
        return {}
    found = json.loads(given.out.read_text())
    same = all(found.get(key) == value for key, value in _budget(given).items())
    return found["arms"] if same else {}


def keep_arm(given: argparse.Namespace, table: dict[str, dict], name: str, figures: dict) -> None:
    """Adds an arm to the table, prints it and writes the table down."""
    table[name] = figures
    print(json.dumps({name: figures}), flush=True)
    if given.out:
        given.out.write_text(json.dumps(_budget(given) | {"arms": table}, indent=1) + "\n")


def _budget(given: argparse.Namespace) -> dict[str, int]:
    return {"steps": given.steps, "clips": given.clips, "seed": given.seed}


def shipped_and_worlds(given: argparse.Namespace) -> tuple[LatentActionModel, dict[str, ClipWorld]]:
    """The model whose encoder is used, and the train and val splits."""
    shipped = lawm.load_model(given.model, device=pick_device())
    rate, size = shipped.frames_per_second, shipped.frame_size
    return shipped, {split: open_world(given.data, given.cache, split, rate, size) for split in ("train", "val")}


def train_arm(
    shipped: LatentActionModel,
    world: ClipWorld,
    steps: int,
    clips: int,
    limit: NoisyConfig | None = None,
    batch: dict[str, object] | None = None,
    objective: dict[str, object] | None = None,
    seed: int = 0,
) -> LatentActionModel:
    """A noisy family trained from nothing as the recipe does, shortened; each arm changes one thing."""
    torch.manual_seed(seed)
    family = dataclasses.replace(shipped.config.families["noisy"], bottleneck=limit or NoisyConfig(), sampler=None)
    model = LatentActionModel(dataclasses.replace(shipped.config, families={"noisy": family})).to(shipped.device)
    model.encoder.load_state_dict(shipped.encoder.state_dict())
    model.decoder.load_state_dict(shipped.decoder.state_dict())
    stage = nano().stages["lam-noisy"]
    source = PairSource(
        dataclasses.replace(stage.batch, clips=clips, lanes=1, **(batch or {})), world, model.device, seed
    )
    aim = LatentActionObjective(model, LatentActionConfig(family="noisy", **(objective or {})))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(aim, source, dataclasses.replace(stage.trainer, steps=steps), folder)
        trainer.run()
    if trainer.step < steps:  # a run that was told to stop ends early: nothing may be measured on it
        raise SystemExit(f"stopped at step {trainer.step} of {steps}; this arm is not kept.")
    return model.eval().requires_grad_(False)
