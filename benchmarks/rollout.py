"""Measure how much faster rollouts are with a key-value cache, and what fraction of the hardware's rate they reach.

    python benchmarks/rollout.py [--steps 8] [--layers 24] [--width 1024] [--tokens 256] [--device auto] [--out FILE]
    python benchmarks/rollout.py --model nano256 --steps 16

A cached rollout computes each frame once. A recomputed rollout sends all frames through the network again for each new
frame, as V-JEPA 2-AC's planner does. Both are compiled. By default, the world model has random weights and the size of
V-JEPA 2-AC. In float32, both rollouts must predict the same states. The hardware's rate is that of plain matrix
products.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.ceiling import count_operations, matrix_rate, median_seconds, median_seconds_of_each
from benchmarks.results import write_results
from lawm_core.checkpoint import load_model
from lawm_core.models.attention import BlockConfig
from lawm_core.models.bottlenecks import UnconstrainedConfig
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.kv_cache import KeyValueCache
from lawm_core.models.transformer import compile_blocks
from lawm_core.models.world_model import WorldModel, WorldModelConfig
from lawm_core.runtime import PRECISIONS, autocast, cast_linear_weights, pick_device, pick_precision

ACTION_WIDTH, PATCH_SIZE = 128, 16
MAX_DIFFERENCE = 1e-3  # between the rollouts in float32, relative to the standard deviation of the predicted states


def build_world_model(tokens: int, width: int, layers: int, window: int) -> WorldModel:
    """Return a world model with random weights and heads of 64 channels.

    Weights that are initialised with zero are random too. window: length of the attention window in frames.
    """
    torch.manual_seed(0)
    side = round(tokens**0.5) * PATCH_SIZE
    geometry = FrameGeometry(frame_size=side, patch_size=PATCH_SIZE, width=width, subpatches=1)
    config = WorldModelConfig(
        block=BlockConfig(width=width, heads=max(1, width // 64)), flow_patches=1,
        motion_depth=layers // 2, correction_depth=layers - layers // 2, window=window,
    )  # fmt: skip
    bottleneck = UnconstrainedConfig(action_width=ACTION_WIDTH).build()
    world_model = WorldModel(config, geometry, bottleneck).eval().requires_grad_(False)
    for weight in world_model.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.02)
    return world_model


def cached_rollout(world_model: WorldModel, context_BTND: Tensor, action_BUA: Tensor, capacity_B: Tensor) -> Tensor:
    """Return the predicted states, state_BUND, from a rollout with a key-value cache."""
    predictions = world_model.rollout(context_BTND, action_BUA, capacity_B)
    return torch.cat([prediction.state_BTND[:, -1:] for prediction in predictions], dim=1)


def recomputed_rollout(world_model: WorldModel, context_BTND: Tensor, action_BUA: Tensor, capacity_B: Tensor) -> Tensor:
    """Return the predicted states, state_BUND. For each of them, all previous frames are computed again."""
    context, state_BTND, carry = context_BTND.shape[1], context_BTND, None
    for u in range(context - 1, action_BUA.shape[1]):
        cache = KeyValueCache()
        if u:
            _, cache = world_model(state_BTND[:, :-1], action_BUA[:, :u], capacity_B)
        prediction, _ = world_model(
            state_BTND[:, -1:], action_BUA[:, u : u + 1], capacity_B, cache, carry, context_BTND[:, -1]
        )
        carry, state_BTND = prediction.carry, torch.cat((state_BTND, prediction.state_BTND), dim=1)
    return state_BTND[:, context:]


def random_inputs(world_model: WorldModel, steps: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the inputs of a rollout of one clip: a random state, random actions for all steps, and the capacity."""
    generator = torch.Generator().manual_seed(0)
    geometry = world_model.encoder_config
    state_B1ND = torch.randn(1, 1, geometry.tokens, geometry.width, generator=generator)
    action_BUA = torch.randn(1, steps, world_model.embed_action[0].in_features, generator=generator)
    return state_B1ND.to(device), action_BUA.to(device), torch.ones(1, device=device)


def largest_difference(world_model: WorldModel, steps: int, device: torch.device) -> float:
    """Return the largest difference between the states of both rollouts, relative to their standard deviation.

    The model must have float32 weights.
    """
    inputs = random_inputs(world_model, steps, device)
    cached, recomputed = cached_rollout(world_model, *inputs), recomputed_rollout(world_model, *inputs)
    return ((cached - recomputed).abs().max() / recomputed.std()).item()


@torch.inference_mode()
def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="name of a shipped model or a folder, instead of sizes")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=256, help="tokens per frame")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument(
        "--no-compile", dest="compile", action="store_false", help="do not compile, for machines without a C++ compiler"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = pick_device(options.device)
    precision = pick_precision(options.precision, device)
    if options.model:
        world_model = small = load_model(options.model).at().family.world_model
    else:
        world_model = build_world_model(options.tokens, options.width, options.layers, options.steps)
        small = build_world_model(options.tokens, options.width, 2, options.steps)
    difference = largest_difference(small.to(device), options.steps, device)
    if difference > MAX_DIFFERENCE:
        sys.exit(
            f"the cached and the recomputed rollout must differ by at most {MAX_DIFFERENCE:.0e} standard deviations, "
            f"got {difference:.1e}."
        )
    cast_linear_weights(world_model.to(device), precision)
    inputs = random_inputs(world_model, options.steps, device)
    with autocast(device, precision):
        cached = lambda: cached_rollout(world_model, *inputs)
        recomputed = lambda: recomputed_rollout(world_model, *inputs)
        operations, rate = count_operations(cached), matrix_rate(device, precision)
        eager_seconds = median_seconds(cached, device, options.repeats)
        if options.compile:
            compile_blocks(world_model)
        seconds = median_seconds_of_each({"cached": cached, "recomputed": recomputed}, device, options.repeats)
        rate = max(rate, matrix_rate(device, precision))  # other processes may have slowed down the first measurement
    write_results(
        {
            "sizes": options.model
            or f"{options.layers} layers, width {options.width}, {options.tokens} tokens per frame",
            "steps": options.steps,
            "precision": precision,
            "compiled": options.compile,
            "cached, not compiled, s": eager_seconds,
            "cached, s": seconds["cached"],
            "recomputed, s": seconds["recomputed"],
            "times faster": seconds["recomputed"] / seconds["cached"],
            "share of the matrix rate": operations / seconds["cached"] / rate,
            "matrix rate, TFLOP/s": rate / 1e12,
            "frames per second": options.steps / seconds["cached"],
            "largest difference, float32": difference,
        },
        options.out,
    )


if __name__ == "__main__":
    main()
