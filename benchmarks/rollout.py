"""Is the key/value cache worth it, and how near to the hardware's limit does a rollout come?

    python benchmarks/rollout.py [--steps 8] [--layers 24] [--width 1024] [--tokens 256] [--device auto] [--out FILE]
    python benchmarks/rollout.py --model nano --steps 16

A rollout that feeds each frame once, against one that sends its whole past through the network again for each new
frame, as V-JEPA 2-AC's planner does; both compiled. The sizes are V-JEPA 2-AC's unless a model is named. Same weights,
same run; that both predict the same is checked in float32, at few layers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.ceiling import matrix_rate, operations, seconds, seconds_of_each
from benchmarks.telling import tell
from lawm_core.checkpoint import load_model
from lawm_core.models.blocks import BlockConfig, compile_blocks
from lawm_core.models.bottlenecks import UnconstrainedConfig, build_bottleneck
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.world_model import WorldModel, WorldModelConfig
from lawm_core.runtime import PRECISIONS, autocast, cast_linear_weights, pick_device, pick_precision

ACTION, PATCH = 128, 16
NEAR = 1e-3  # how far two ways to the same predictions may differ in float32 anywhere, of their spread


def build_world_model(tokens: int, width: int, layers: int, window: int) -> WorldModel:
    """A world model of given sizes with random weights, those that start at zero too; heads of 64."""
    torch.manual_seed(0)
    geometry = FrameGeometry(frame_size=round(tokens**0.5) * PATCH, patch_size=PATCH, width=width, cells=1)
    config = WorldModelConfig(
        block=BlockConfig(width=width, heads=max(1, width // 64)),
        motion_depth=layers // 2, correction_depth=layers - layers // 2, window=window,
    )  # fmt: skip
    bottleneck = build_bottleneck(UnconstrainedConfig(action_width=ACTION))
    world_model = WorldModel(config, geometry, bottleneck).eval().requires_grad_(False)
    for weight in world_model.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.02)
    return world_model


def recomputed(world_model: WorldModel, state_B1ND: Tensor, action_BUA: Tensor, capacity_B: Tensor) -> Tensor:
    """Every frame so far goes through the network again for each new one."""
    state_BTND = state_B1ND
    for u in range(action_BUA.shape[1]):
        predicted_BFND, _ = world_model(state_BTND, action_BUA[:, : u + 1], capacity_B)
        state_BTND = torch.cat((state_BTND, predicted_BFND[:, -1:]), dim=1)
    return state_BTND[:, 1:]


def inputs(world_model: WorldModel, steps: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """A state, an action a step, and the whole of the dial, for one clip."""
    generator = torch.Generator().manual_seed(0)
    geometry = world_model.encoder_config
    state_B1ND = torch.randn(1, 1, geometry.tokens, geometry.width, generator=generator)
    action_BUA = torch.randn(1, steps, world_model.embed_action[0].in_features, generator=generator)
    return state_B1ND.to(device), action_BUA.to(device), torch.ones(1, device=device)


def farthest(world_model: WorldModel, steps: int, device: torch.device) -> float:
    """The largest difference of both ways in float32, over the predictions' spread."""
    given = inputs(world_model, steps, device)
    cached, again = world_model.rollout(*given), recomputed(world_model, *given)
    return ((cached - again).abs().max() / again.std()).item()


@torch.inference_mode()
def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a shipped model's name or a folder, instead of sizes")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="for want of a C++ compiler")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    device = pick_device(given.device)
    precision = pick_precision(given.precision, device)
    if given.model:
        world_model = small = load_model(given.model).member(None).world_model
    else:
        world_model = build_world_model(given.tokens, given.width, given.layers, given.steps)
        small = build_world_model(given.tokens, given.width, 2, given.steps)
    difference = farthest(small.to(device), given.steps, device)
    if difference > NEAR:
        sys.exit(f"the two rollouts differ by {difference:.1e} of the predictions' spread; {NEAR:.0e} is allowed")
    cast_linear_weights(world_model.to(device), precision)
    state, action, capacity = inputs(world_model, given.steps, device)
    with autocast(device, precision):
        fast = lambda: world_model.rollout(state, action, capacity)
        slow = lambda: recomputed(world_model, state, action, capacity)
        work, ceiling = operations(fast), matrix_rate(device, precision)
        eager = seconds(fast, device, given.repeats)
        if given.compile:
            compile_blocks(world_model)
        took = seconds_of_each({"cached": fast, "recomputed": slow}, device, given.repeats)
        cached, again = took["cached"], took["recomputed"]
        ceiling = max(ceiling, matrix_rate(device, precision))  # a machine that was busy before may be free now
    tell(
        {
            "sizes": given.model or f"{given.layers} layers, width {given.width}, {given.tokens} tokens a frame",
            "steps": given.steps,
            "precision": precision,
            "compiled": given.compile,
            "cached, not compiled, s": eager,
            "cached, s": cached,
            "recomputed, s": again,
            "times faster": again / cached,
            "share of the matrix rate": work / cached / ceiling,
            "matrix rate, TFLOP/s": ceiling / 1e12,
            "frames a second": given.steps / cached,
            "largest difference, float32": difference,
        },
        given.out,
    )


if __name__ == "__main__":
    main()
