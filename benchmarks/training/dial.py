"""What does one model with a dial cost against a model for each setting?

    python benchmarks/training/dial.py --data VIDEOS [--model NAME] [--steps 700] [--out dial.json]

Trains four noisy families from nothing for the same steps on the same encoder: one with the dial, and one each at low,
middle and high strength throughout. Compares one-step errors under inferred actions on the val split, setting by
setting. A long run: four trainings.
"""

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
from lawm_core.evaluation.bench import Bench, Setting, SuiteConfig
from lawm_core.evaluation.idm import one_step
from lawm_core.model import LatentActionModel
from lawm_core.models.bottlenecks import NoisyBottleneck, NoisyConfig
from lawm_core.runtime import pick_device
from lawm_core.training.batches import PairSource
from lawm_core.training.recipes import nano
from lawm_core.training.trainer import Trainer
from lawm_core.worlds.clips import ClipWorld, build_cache, cache_config

CAPACITIES = (0.0, 0.5, 1.0)


def family_on(model: LatentActionModel, limit: NoisyConfig) -> LatentActionModel:
    """A fresh noisy family with this limit on the encoder of `model`."""
    torch.manual_seed(0)
    family = dataclasses.replace(model.config.families["noisy"], bottleneck=limit)
    fresh = LatentActionModel(dataclasses.replace(model.config, families={"noisy": family})).to(model.device)
    fresh.encoder.load_state_dict(model.encoder.state_dict())
    return fresh


def train(model: LatentActionModel, world: ClipWorld, steps: int, folder: str) -> None:
    """The recipe's own stage, shortened."""
    stage = nano().stages["lam-noisy"]
    source = PairSource(stage.batch, world, model.device, seed=0)
    Trainer(stage.objective(model), source, dataclasses.replace(stage.trainer, steps=steps), folder).run()
    model.eval().requires_grad_(False)


def main() -> None:
    """Trains, measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", help="whose encoder is used (default: the shipped model)")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    shipped = lawm.load_model(options.model, device=pick_device())
    home = build_cache(options.data, options.cache, cache_config(shipped.frames_per_second, shipped.frame_size))
    worlds = {s: ClipWorld(home, s, shipped.frames_per_second, shipped.frame_size) for s in ("train", "val")}
    dial = NoisyBottleneck(NoisyConfig())
    limits = {"dial": dial.config}
    for capacity in CAPACITIES:
        beta = dial.beta(torch.tensor(capacity)).item()
        limits[f"fixed at {capacity:g}"] = NoisyConfig(beta_low_capacity=beta, beta_high_capacity=beta)
    table: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, limit in limits.items():
            model = family_on(shipped, limit)
            train(model, worlds["train"], options.steps, f"{folder}/{name}")
            bench = Bench(model, worlds["val"], SuiteConfig())
            settings = CAPACITIES if name == "dial" else (float(name.rsplit(" ", 1)[1]),)
            with torch.inference_mode():
                errors = {c: one_step(bench, Setting("noisy", c))[0].mean for c in settings}
            table[name] = {f"{c:g}": error for c, error in errors.items()}
            print(json.dumps({name: table[name]}), flush=True)
    for capacity in CAPACITIES:
        dialled, fixed = table["dial"][f"{capacity:g}"], table[f"fixed at {capacity:g}"][f"{capacity:g}"]
        print(f"capacity {capacity:g}: dial {dialled:.4f}, fixed {fixed:.4f}, {dialled / fixed - 1:+.1%}")
    if options.out:
        options.out.write_text(json.dumps({"steps": options.steps, "error": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
