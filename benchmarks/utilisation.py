"""What share of the hardware's rate do training, rollouts and planning use?

    python benchmarks/utilisation.py [--recipe nano] [--device auto] [--clips 16] [--samples 32] [--no-compile]
    python benchmarks/utilisation.py --recipe large --device cuda --clips 16 --samples 300 --iterations 15

Everything starts from states, made by chance, so no encoder and no video is needed: steps of a recipe's first
latent-action stage, a rollout with its pictures, and a search (CEM) for a plan. Shares are of the rate of plain matrix
products in the same precision, measured in the same process.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lawm_core as lawm
from benchmarks.ceiling import matrix_rate, operations, seconds
from benchmarks.telling import tell
from lawm_core.models.blocks import compile_blocks, recompute_blocks
from lawm_core.models.decoder import FrameDecoder
from lawm_core.models.family import Family
from lawm_core.planning.present import begin
from lawm_core.runtime import PRECISIONS, autocast, cast_linear_weights, pick_device, pick_precision
from lawm_core.training.batches import Pairs
from lawm_core.training.losses import LatentActionConfig, LatentActionObjective
from lawm_core.training.optimizers import build_optimizers, clip_gradients
from lawm_core.training.recipes import RECIPES, Recipe, find_recipe

STEPS = 6  # of training, timed: their lengths are drawn, so one tells little


def train_share(recipe: Recipe, given: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Steps on states made by chance: forward, backward, optimizers."""
    geometry, stage = recipe.model.encoder, recipe.stages["lam-noisy"]
    family = Family(recipe.model.families["noisy"], geometry).to(device)
    states = SimpleNamespace(encoder=nn.Identity(), member=lambda _: family)
    objective = LatentActionObjective(states, LatentActionConfig(family="noisy", cycle=0.3, lean=0.5))
    optimizers = build_optimizers(family, stage.trainer.optimizer, given.precision)
    shape = (given.clips, stage.batch.frames, geometry.tokens, geometry.width)
    pairs = Pairs(torch.randn(shape, device=device), torch.randn(shape, device=device))

    def steps() -> None:
        for seed in range(STEPS):
            torch.manual_seed(seed)
            with autocast(device, given.precision):
                loss = objective.losses(pairs, 1.0)["loss"]
            loss.backward()
            clip_gradients(family.parameters(), stage.trainer.optimizer.clip_norm)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

    work = operations(steps)  # of the model: what is computed again is not counted again
    if given.compile:
        compile_blocks(family, given.recompute)
    elif given.recompute:
        recompute_blocks(family)
    took = seconds(steps, device, 1)
    return {"training, s a step": took / STEPS, "training, clips a second": given.clips * STEPS / took} | {
        "training": work / took
    }


@torch.inference_mode()
def rollout_share(recipe: Recipe, given: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """One clip, from one state to its pictures; then a search with many candidates."""
    model = recipe.model
    family = cast_linear_weights(Family(model.families["noisy"], model.encoder).to(device).eval(), given.precision)
    decoder = cast_linear_weights(FrameDecoder(model.decoder, model.encoder).to(device).eval(), given.precision)
    if given.compile:
        compile_blocks(family)
        compile_blocks(decoder)
    geometry, width = model.encoder, family.config.bottleneck.action_width
    state_BCND = torch.randn(1, 1, geometry.tokens, geometry.width, device=device)
    action_BUA, capacity_B = torch.randn(1, given.frames, width, device=device), torch.ones(1, device=device)

    def pictures() -> None:
        with autocast(device, given.precision):
            decoder(family.world_model.rollout(state_BCND, action_BUA, capacity_B).float())

    present = begin(family, state_BCND, None, capacity_B, precision=given.precision)
    dynamics = lawm.WorldModelDynamics(present, memory_bytes=given.memory * 2**20)
    search = lawm.free_search(torch.ones(width, device=device), given.steps)
    config = lawm.CemConfig(samples=given.samples, iterations=given.iterations)
    goal = lawm.GoalState(torch.randn(geometry.tokens, geometry.width, device=device))
    plan = lambda: lawm.plan_by_cem(dynamics, goal, search, config, torch.Generator(device).manual_seed(1))
    shown, planned = seconds(pictures, device), seconds(plan, device, 1)
    return {
        "rollout and pictures, frames a second": given.frames / shown,
        "rollout and pictures": operations(pictures) / shown,
        "planning, s a plan": planned,
        "planning": operations(plan) / planned,
    }


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="nano")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="of a plan")
    parser.add_argument("--memory", type=int, default=512, help="MiB that candidates of one pass may take")
    parser.add_argument("--recompute", action="store_true", help="training with activations computed twice")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="for want of a C++ compiler")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    device, recipe = pick_device(given.device), find_recipe(given.recipe)
    torch.manual_seed(0)
    given.precision = pick_precision(given.precision, device)
    before = matrix_rate(device, given.precision)
    found = train_share(recipe, given, device) | rollout_share(recipe, given, device)
    ceiling = max(before, matrix_rate(device, given.precision))  # a machine that was busy before may be free now
    figures: dict[str, object] = {"recipe": given.recipe, "clips": given.clips, "samples": given.samples}
    figures |= {"precision": given.precision, "compiled": given.compile, "matrix rate, TFLOP/s": ceiling / 1e12}
    for name, value in found.items():
        if name in ("training", "rollout and pictures", "planning"):
            name, value = f"{name}, share of the matrix rate", value / ceiling
        figures[name] = value
    tell(figures, given.out)


if __name__ == "__main__":
    main()
