"""Code that the ablations share: each trains noisy families from scratch for a short time.

The encoder, the flow reader and the decoder are the frozen ones of a trained model.
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
from lawm_core.data.clip_dataset import ClipDataset, open_dataset
from lawm_core.model import LatentActionModel
from lawm_core.models.bottlenecks import NoisyConfig
from lawm_core.runtime import pick_device
from lawm_core.training.batches import PairSource
from lawm_core.training.latent_action_loss import LatentActionLoss, LatentActionLossConfig
from lawm_core.training.recipes import StageConfig, find_recipe
from lawm_core.training.trainer import Trainer

FROZEN_PARTS = ("encoder", "flow_reader", "decoder")


def parse_options(description: str, steps: int) -> argparse.Namespace:
    """Parse the command line of an ablation. steps: default of --steps."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of videos")
    parser.add_argument("--model", required=True, help="a model of a recipe; its frozen parts are used")
    parser.add_argument("--steps", type=int, default=steps, help=f"steps of each training (default {steps})")
    parser.add_argument("--clips", type=int, default=8, help="clips per batch (default 8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path, help="JSON file of the results; variants in it are not trained again")
    return parser.parse_args()


# ---- results --------------------------------------------------------------------------------------------------------


def read_results(options: argparse.Namespace) -> dict[str, dict]:
    """Return the results in the file --out by variant; none if they are of other numbers of steps, clips or seed."""
    if not (options.out and options.out.is_file()):
        return {}
    found = json.loads(options.out.read_text())
    same = all(found.get(key) == value for key, value in _budget(options).items())
    return found["variants"] if same else {}


def save_result(options: argparse.Namespace, results: dict[str, dict], name: str, result: dict) -> None:
    """Add the result of a variant to `results`, print it, and write all results to --out."""
    results[name] = result
    print(json.dumps({name: result}), flush=True)
    if options.out:
        options.out.write_text(json.dumps(_budget(options) | {"variants": results}, indent=1) + "\n")


def _budget(options: argparse.Namespace) -> dict[str, int]:
    """Return the options that must be equal for results to be comparable."""
    return {"steps": options.steps, "clips": options.clips, "seed": options.seed}


# ---- training -------------------------------------------------------------------------------------------------------


def open_model_and_data(options: argparse.Namespace) -> tuple[LatentActionModel, dict[str, ClipDataset]]:
    """Return the model whose frozen parts are used, and the data sets of the splits `train` and `val`."""
    model = lawm.load_model(options.model, device=pick_device())
    return model, {split: open_split(model, options.data, options.cache, split) for split in ("train", "val")}


def open_split(model: LatentActionModel, folder: Path, cache: Path, split: str) -> ClipDataset:
    """Return one split of a folder of videos. The split `train` comes with the teacher's flow."""
    rate, size = model.frames_per_second, model.frame_size
    return open_dataset(folder, cache, split, rate, size, picture_size=model.picture_size, with_flow=split == "train")


def find_stage(model: LatentActionModel) -> StageConfig:
    """Return the stage of a model's recipe that trains the noisy family."""
    return find_recipe(model.name).stages["lam-noisy"]


def train_variant(
    trained: LatentActionModel,
    dataset: ClipDataset,
    options: argparse.Namespace,
    bottleneck: NoisyConfig | None = None,
    batch: dict[str, object] | None = None,
    loss: dict[str, object] | None = None,
) -> LatentActionModel:
    """Train a noisy family from scratch as the recipe does, but for fewer steps, and return its model.

    The last three arguments are what the variant changes. bottleneck: instead of the trained family's. batch: fields of
    `PairBatchConfig`. loss: fields of `LatentActionLossConfig`.
    """
    torch.manual_seed(options.seed)
    family = trained.config.families["noisy"]
    family = dataclasses.replace(family, bottleneck=bottleneck or family.bottleneck, sampler=None)
    config = dataclasses.replace(trained.config, families={"noisy": family}, robots={}, policies={})
    model = LatentActionModel(config).to(trained.device)
    for part in FROZEN_PARTS:
        getattr(model, part).load_state_dict(getattr(trained, part).state_dict())
    stage = find_stage(trained)
    pairs = dataclasses.replace(stage.batch, clips=options.clips, num_shards=1, **(batch or {}))
    source = PairSource(pairs, dataset, model.device, options.seed)
    variant_loss = LatentActionLoss(model, LatentActionLossConfig(family="noisy", **(loss or {})))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(variant_loss, source, dataclasses.replace(stage.trainer, steps=options.steps), folder)
        trainer.run()
    if trainer.step < options.steps:  # after Ctrl-C or SIGTERM
        raise SystemExit(f"training stopped at step {trainer.step} of {options.steps}; this variant has no result.")
    return model.eval().requires_grad_(False)
