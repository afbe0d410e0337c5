"""Measure how fast training batches are drawn from a cache and from shards, and how much disk space these take.

    python benchmarks/input.py [--videos FOLDER] [--recipe nano] [--clips 16] [--frames 6] [--steps 12] [--out FILE]

For either store, measures the clips per second that are drawn without training, and the seconds per step of the
recipe's first latent-action stage, with and without prefetching.
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

from benchmarks.ceiling import median_seconds_of_each
from benchmarks.results import write_results
from lawm_core.bulk.shard_writer import ShardConfig, write_shards
from lawm_core.data.clip_dataset import ClipDataset, build_cache, cache_config
from lawm_core.data.teacher_flow import build_flow
from lawm_core.model import LatentActionModel
from lawm_core.runtime import pick_device
from lawm_core.training.batches import PairSource
from lawm_core.training.prefetch import Prefetcher
from lawm_core.training.recipes import RECIPES, TrainingRecipe, find_recipe
from lawm_core.training.trainer import Trainer


def main() -> None:
    """Measure both stores, print a table and write JSON."""
    options = parse_options()
    device, recipe = pick_device(options.device), find_recipe(options.recipe)
    rate, size = recipe.model.frames_per_second, recipe.model.encoder.frame_size
    config = cache_config(rate, size, recipe.model.picture_size)
    results: dict[str, object] = {"recipe": options.recipe, "frames per clip": options.frames}
    with tempfile.TemporaryDirectory() as folder:
        stores = {
            "cache": build_cache(options.videos, Path(folder) / "cache", config),
            "shards": Path(folder) / "shards",
        }
        build_flow(stores["cache"])  # as training does; with shards, flow is computed whenever a clip is drawn
        start = time.perf_counter()
        counts = write_shards(options.videos, stores["shards"], ShardConfig(frames=config))
        results["writing shards, videos per second"] = counts["clips"] / (time.perf_counter() - start)
        for name, home in stores.items():
            dataset = ClipDataset(home, "train", rate, size)
            seconds = stored_frames(dataset) / config.frames_per_second
            used = sum(path.stat().st_size for path in home.iterdir())
            results[f"{name}, kB per second of video"] = used / 1e3 / seconds
            results[f"{name}, clips per second"] = clips_per_second(dataset, options, device)
            for way, step in seconds_per_step(recipe, dataset, device, max(1, options.steps // 4)).items():
                results[f"{name}, {way}, s per step"] = step
    write_results(results, options.out)


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, default=ROOT / "assets" / "gallery")
    parser.add_argument("--recipe", choices=RECIPES, default="nano")
    parser.add_argument("--clips", type=int, default=16, help="clips per batch (default 16)")
    parser.add_argument("--frames", type=int, default=6, help="frames per clip (default 6)")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def stored_frames(dataset: ClipDataset) -> int:
    """Return the number of frames of all splits in a data set's store."""
    return sum(int(dataset.store.lengths(split).sum()) for split in ("train", "val"))


def clips_per_second(dataset: ClipDataset, options: argparse.Namespace, device: torch.device) -> float:
    """Return how many clips per second are drawn, one batch after another."""
    generator = torch.Generator(device).manual_seed(0)
    dataset.draw(options.clips, options.frames, generator)
    start = time.perf_counter()
    for _ in range(options.steps):
        dataset.draw(options.clips, options.frames, generator)
    return options.steps * options.clips / (time.perf_counter() - start)


def seconds_per_step(
    recipe: TrainingRecipe, dataset: ClipDataset, device: torch.device, steps: int
) -> dict[str, float]:
    """Return the seconds of a training step with and without prefetching, which take turns of `steps` steps."""
    stage = next(stage for name, stage in recipe.stages.items() if name.startswith("lam"))
    trainers = {}
    with tempfile.TemporaryDirectory() as folder:
        for way, prefetch in (("with prefetching", True), ("without prefetching", False)):
            torch.manual_seed(0)
            model = LatentActionModel(recipe.model).to(device)
            source = PairSource(stage.batch, dataset, device, seed=0)
            trainers[way] = Trainer(stage.loss(model), source, stage.trainer, Path(folder) / way)
            trainers[way].batches = Prefetcher(source, prefetch)

        def take_steps(trainer: Trainer) -> None:
            for _ in range(steps):
                trainer.train_step()

        calls = {way: lambda trainer=trainer: take_steps(trainer) for way, trainer in trainers.items()}
        times = median_seconds_of_each(calls, device, rounds=3)
    return {way: seconds / steps for way, seconds in times.items()}


if __name__ == "__main__":
    main()
