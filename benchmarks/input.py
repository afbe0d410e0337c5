"""How quickly do training batches come, from a cache and from shards, and what do both take on the disk?

    python benchmarks/input.py [--videos FOLDER] [--recipe nano] [--clips 16] [--frames 6] [--steps 12] [--out FILE]

Clips a second that each gives by itself; then steps of the recipe's first latent-action stage on drawn batches, each
drawn while the one before is learned from, against one after the other.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.ceiling import seconds_of_each
from benchmarks.telling import tell
from lawm_core.model import LatentActionModel
from lawm_core.runtime import pick_device
from lawm_core.training.ahead import DrawnAhead
from lawm_core.training.batches import PairSource
from lawm_core.training.recipes import RECIPES, Recipe, find_recipe
from lawm_core.training.trainer import Trainer
from lawm_core.worlds.clips import ClipWorld, build_cache, cache_config
from lawm_core.worlds.shard_writer import ShardConfig, write_shards


def clips_a_second(world: ClipWorld, given: argparse.Namespace, device: torch.device) -> float:
    """Of plain draws, one batch after another."""
    generator = torch.Generator(device).manual_seed(0)
    world.draw(given.clips, given.frames, generator)
    start = time.perf_counter()
    for _ in range(given.steps):
        world.draw(given.clips, given.frames, generator)
    return given.steps * given.clips / (time.perf_counter() - start)


def seconds_a_step(recipe: Recipe, world: ClipWorld, device: torch.device, steps: int) -> dict[str, float]:
    """Of training, with batches drawn ahead and in turn; both take turns in pieces of a few steps."""
    name = next(name for name in recipe.stages if name.startswith("lam"))
    stage, trainers = recipe.stages[name], {}
    with tempfile.TemporaryDirectory() as folder:
        for way, ahead in (("drawn ahead", True), ("drawn in turn", False)):
            torch.manual_seed(0)
            model = LatentActionModel(recipe.model).to(device)
            source = PairSource(stage.batch, world, device, seed=0)
            trainers[way] = Trainer(stage.objective(model), source, stage.trainer, Path(folder) / way)
            trainers[way].batches = DrawnAhead(source, ahead)

        def some(trainer: Trainer) -> None:
            for _ in range(steps):
                trainer.train_step()

        took = seconds_of_each({way: lambda t=t: some(t) for way, t in trainers.items()}, device, rounds=3)
    return {way: each / steps for way, each in took.items()}


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, default=ROOT / "assets" / "gallery")
    parser.add_argument("--recipe", choices=RECIPES, default="nano")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    device, recipe = pick_device(given.device), find_recipe(given.recipe)
    rate, size = recipe.model.frames_per_second, recipe.model.encoder.frame_size
    footage, figures = cache_config(rate, size), {"recipe": given.recipe, "frames a clip": given.frames}
    with tempfile.TemporaryDirectory() as place:
        homes = {"cache": build_cache(given.videos, Path(place) / "cache", footage), "shards": Path(place) / "shards"}
        start = time.perf_counter()
        told = write_shards(given.videos, homes["shards"], ShardConfig(footage=footage))
        figures["made into shards, videos a second"] = told["clips"] / (time.perf_counter() - start)
        for name, home in homes.items():
            world = ClipWorld(home, "train", rate, size)
            frames = int(world.length_C.sum()) + int(world.footage.lengths("val").sum())
            used = sum(path.stat().st_size for path in home.iterdir())
            figures[f"{name}, kB a second of video"] = used / 1e3 / (frames / footage.frames_per_second)
            figures[f"{name}, clips a second"] = clips_a_second(world, given, device)
            for way, took in seconds_a_step(recipe, world, device, max(1, given.steps // 4)).items():
                figures[f"{name}, {way}, s a step"] = took
    tell(figures, given.out)


if __name__ == "__main__":
    main()
