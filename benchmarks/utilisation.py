"""Measure what fraction of the hardware's rate is reached by training, rollouts and planning.

    python benchmarks/utilisation.py [--recipe nano256] [--device auto] [--clips 12] [--samples 32] [--no-compile]
    python benchmarks/utilisation.py --recipe large --device cuda --clips 16 --samples 300 --iterations 15

Measures steps of a recipe's first latent-action stage, a rollout that is decoded to frames, and a search for a plan
(CEM). All inputs are random states, so neither an encoder nor videos are needed. The hardware's rate is that of plain
matrix products in the same precision, measured in the same process.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.ceiling import count_operations, matrix_rate, median_seconds
from benchmarks.results import write_results
from lawm_core.data.motion_labels import Motion
from lawm_core.model import LatentActionModel, ModelConfig, join_predictions
from lawm_core.models.decoder import FrameDecoder, Reference
from lawm_core.models.family import Family
from lawm_core.models.flow_reader import FlowReader
from lawm_core.models.transformer import checkpoint_activations, compile_blocks
from lawm_core.planning.cem import CemConfig, independent_steps, plan_by_cem
from lawm_core.planning.costs import GoalStateCost
from lawm_core.planning.dynamics import WorldModelDynamics
from lawm_core.planning.rollout_state import start_rollout
from lawm_core.runtime import PRECISIONS, autocast, cast_linear_weights, pick_device, pick_precision
from lawm_core.training.features import FeatureBatch
from lawm_core.training.latent_action_loss import LatentActionLoss, LatentActionLossConfig
from lawm_core.training.optimizers import build_optimizers, clip_gradients
from lawm_core.training.recipes import RECIPES, TrainingRecipe, find_recipe

STEPS = 6  # training steps that are measured together, because the number of frames of a step is random
PARTS = ("training", "rollout and decoding", "planning")  # keys of the measured rates, in operations per second


def measure_training(recipe: TrainingRecipe, options: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Measure training steps (forward, backward and optimizers) on random features, and return the figures by name."""
    config, stage = recipe.model, recipe.stages["lam-noisy"]
    model = build_without_encoder(config, device)
    family = model.at("noisy").family
    loss = LatentActionLoss(model, LatentActionLossConfig(family="noisy"))
    optimizers = build_optimizers(family, stage.trainer.optimizer, options.precision)
    batch = random_features(config, options.clips, stage.batch.frames, stage.batch.motion_grid, device)

    def take_steps() -> None:
        for seed in range(STEPS):
            torch.manual_seed(seed)
            with autocast(device, options.precision):
                value = loss.losses(batch, 1.0)["loss"]
            value.backward()
            clip_gradients(family.parameters(), stage.trainer.optimizer.clip_norm)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

    operations = count_operations(take_steps)  # first, because the recomputation of checkpointing must not count
    if options.compile:
        compile_blocks(family, options.activation_checkpointing)
    elif options.activation_checkpointing:
        checkpoint_activations(family)
    seconds = median_seconds(take_steps, device, 1)
    return {
        "training, s per step": seconds / STEPS,
        "training, clips per second": options.clips * STEPS / seconds,
        "training": operations / seconds,
    }


def build_without_encoder(config: ModelConfig, device: torch.device) -> SimpleNamespace:
    """Return the parts of a model that the latent-action loss uses."""
    family = Family(config.families["noisy"], config.encoder).to(device)
    parts = SimpleNamespace(
        at=lambda _: SimpleNamespace(family=family),
        flow_reader=FlowReader(config.flow, config.encoder).to(device).requires_grad_(False),
    )
    # Detached, because PyTorch's operation counter fails on views of tensors with gradients. The flow needs none.
    parts.read_flow = lambda state_BTND: LatentActionModel.read_flow(parts, state_BTND.detach())
    return parts


def random_features(
    config: ModelConfig, clips: int, frames: int, motion_grid: int, device: torch.device
) -> FeatureBatch:
    """Return a batch of random states with small random flow, in which everything is visible."""
    geometry, steps = config.encoder, frames - 1
    state_2BTND = torch.randn(2, clips, frames, geometry.tokens, geometry.width, device=device)
    flow = lambda grid: torch.randn(clips, steps, 2, grid, grid, device=device) * 0.02
    visible_BU1HW = torch.ones(clips, steps, 1, motion_grid, motion_grid, device=device)
    motion = Motion(flow(motion_grid), visible_BU1HW, visible_BU1HW)
    return FeatureBatch(*state_2BTND, flow(geometry.map_size), motion)


@torch.inference_mode()
def measure_inference(recipe: TrainingRecipe, options: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Measure a rollout of one clip that is decoded to frames, and a search for a plan; return the figures by name."""
    config = recipe.model
    family = cast_linear_weights(Family(config.families["noisy"], config.encoder).to(device).eval(), options.precision)
    decoder = cast_linear_weights(FrameDecoder(config.decoder, config.encoder).to(device).eval(), options.precision)
    if options.compile:
        compile_blocks(family)
        compile_blocks(decoder)
    geometry, width, size = config.encoder, family.action_width, config.picture_size
    state_B1ND = torch.randn(1, 1, geometry.tokens, geometry.width, device=device)
    action_BUA = torch.randn(1, options.frames, width, device=device)
    picture_BCHW, capacity_B = torch.rand(1, 3, size, size, device=device), torch.ones(1, device=device)

    def roll_out_and_decode() -> None:
        with autocast(device, options.precision):
            predictions = family.world_model.rollout(state_B1ND, action_BUA, capacity_B)
            rollout = join_predictions(state_B1ND[:, 0], predictions)
            decoder.render(rollout.state_BUND, Reference(picture_BCHW, rollout.flow_BU2HW, rollout.visible_BU1HW))

    start = start_rollout(family, state_B1ND, None, capacity_B, precision=options.precision)
    dynamics = WorldModelDynamics(start, memory_bytes=options.memory * 2**20)
    space = independent_steps(torch.ones(width, device=device), options.steps)
    cem = CemConfig(samples=options.samples, elites=min(10, options.samples), iterations=options.iterations)
    goal = GoalStateCost(torch.randn(geometry.tokens, geometry.width, device=device))
    plan = lambda: plan_by_cem(dynamics, goal, space, cem, torch.Generator(device).manual_seed(1))
    rollout_seconds, plan_seconds = median_seconds(roll_out_and_decode, device), median_seconds(plan, device, 1)
    return {
        "rollout and decoding, frames per second": options.frames / rollout_seconds,
        "rollout and decoding": count_operations(roll_out_and_decode) / rollout_seconds,
        "planning, s per plan": plan_seconds,
        "planning": count_operations(plan) / plan_seconds,
    }


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="nano256")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--clips", type=int, default=12, help="clips per training step")
    parser.add_argument("--frames", type=int, default=16, help="frames of the rollout")
    parser.add_argument("--samples", type=int, default=32, help="candidates per iteration of the search")
    parser.add_argument("--iterations", type=int, default=2, help="iterations of the search")
    parser.add_argument("--steps", type=int, default=3, help="steps of a plan")
    parser.add_argument("--memory", type=int, default=512, help="MiB for candidates that are rolled out at once")
    parser.add_argument("--activation-checkpointing", action="store_true", help="use it in training")
    parser.add_argument(
        "--no-compile", dest="compile", action="store_false", help="do not compile, for machines without a C++ compiler"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device, recipe = pick_device(options.device), find_recipe(options.recipe)
    torch.manual_seed(0)
    options.precision = pick_precision(options.precision, device)
    rate = matrix_rate(device, options.precision)
    measured = measure_training(recipe, options, device) | measure_inference(recipe, options, device)
    rate = max(rate, matrix_rate(device, options.precision))  # others may have slowed down the first measurement
    results: dict[str, object] = {"recipe": options.recipe, "clips": options.clips, "samples": options.samples}
    results |= {"precision": options.precision, "compiled": options.compile, "matrix rate, TFLOP/s": rate / 1e12}
    for name, value in measured.items():
        is_rate = name in PARTS
        results[f"{name}, share of the matrix rate" if is_rate else name] = value / rate if is_rate else value
    write_results(results, options.out)


if __name__ == "__main__":
    main()
