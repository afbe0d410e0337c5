"""`FrameTransformer`, the transformer from which the networks of this package are built.

Its blocks can be conditioned by AdaLN-zero (Peebles & Xie, arXiv 2212.09748), with one condition vector for all tokens
of a frame, as in [LAWM §3].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lawm_core.models.attention import Attention, BlockConfig, grid_rotary
from lawm_core.models.kv_cache import AnyLayerCache, KeyValueCache

Modulation = tuple[Tensor, ...]  # shift, scale and gate of attention, then of the MLP, each (B, T, 1, D)


class Mlp(nn.Module):
    """An MLP with one hidden layer of width `hidden` and exact GELU.

    On a CPU, the exact GELU takes a third of the time of the tanh approximation.
    """

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(F.gelu(self.widen(x)))


class Block(nn.Module):
    """A pre-norm transformer block.

    If `condition_width` is not 0, the block has AdaLN-zero: shift, scale and gate of attention and of the MLP are a
    linear projection of a condition vector per frame. The projection is initialised to zero, which makes an untrained
    block the identity.
    """

    def __init__(self, config: BlockConfig, condition_width: int = 0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, elementwise_affine=not condition_width)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.width, elementwise_affine=not condition_width)
        self.mlp = Mlp(config.width, config.mlp_ratio * config.width)
        self.modulation = nn.Linear(condition_width, 6 * config.width) if condition_width else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x_BXD: Tensor,
        rotary: Tensor,
        frames: int = 1,
        window: int | None = None,
        condition_BTD: Tensor | None = None,
        cache: AnyLayerCache | None = None,
        modulation: Tensor | None = None,
    ) -> tuple[Tensor, AnyLayerCache]:
        """Return the output tokens (B, X, D) and the extended cache.

        x_BXD: tokens of `frames` frames, which attend frame-causally. With frames=1, all attend to each other.
        window: number of frames that a token attends to, including its own, or None for all.
        cache: keys and values of earlier frames.
        modulation: result of `modulate_by`, if it is already known; otherwise it is computed from `condition_BTD`.
        """
        if modulation is None and condition_BTD is not None:
            modulation = self.modulate_by(condition_BTD)
        assert (modulation is None) == (self.modulation is None), (
            "a condition must be given if and only if the block has AdaLN-zero"
        )
        chunks = None if modulation is None else modulation.chunk(6, dim=-1)
        mixed_BMXd, cache = self.attention.attend(*self.pre_attention(x_BXD, rotary, chunks), frames, window, cache)
        return self.post_attention(x_BXD, mixed_BMXd, chunks), cache

    def modulate_by(self, condition_BTD: Tensor) -> Tensor:
        """Return the shifts, scales and gates for a condition, concatenated to (B, T, 1, 6 * D)."""
        assert self.modulation is not None, "this block has no AdaLN-zero: build it with a condition_width"
        return self.modulation(F.silu(condition_BTD))[:, :, None]

    def pre_attention(
        self, x_BXD: Tensor, rotary: Tensor, modulation: Modulation | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Apply norm, modulation and projection. Return queries, keys and values, each (B, M, X, d).

        Shapes do not depend on the length of the cache, so compiled code can be reused while the cache grows.
        """
        if modulation is None:
            return self.attention.project_qkv(self.attention_norm(x_BXD), rotary)
        shift, scale, *_ = modulation
        x_BTND = modulate(self.attention_norm(x_BXD.unflatten(1, (shift.shape[1], -1))), shift, scale)
        return self.attention.project_qkv(x_BTND.flatten(1, 2), rotary)

    def post_attention(self, x_BXD: Tensor, mixed_BMXd: Tensor, modulation: Modulation | None) -> Tensor:
        """Apply the output projection of attention, the residual connections and the MLP. Return the output tokens.

        x_BXD: input tokens of the block. mixed_BMXd: result of `Attention.attend`. As in `pre_attention`, shapes do not
        depend on the length of the cache.
        """
        mixed_BXD = self.attention.project_out(mixed_BMXd)
        if modulation is None:
            x_BXD = x_BXD + mixed_BXD
            return x_BXD + self.mlp(self.mlp_norm(x_BXD))
        _, _, attention_gate, shift, scale, mlp_gate = modulation
        x_BTND = x_BXD.unflatten(1, (attention_gate.shape[1], -1))
        x_BTND = torch.addcmul(x_BTND, attention_gate, mixed_BXD.view_as(x_BTND))
        x_BTND = torch.addcmul(x_BTND, mlp_gate, self.mlp(modulate(self.mlp_norm(x_BTND), shift, scale)))
        return x_BTND.flatten(1, 2)


class FrameTransformer(nn.Module):
    """A transformer over the tokens of T frames, from x_BTND to x_BTND, with rotary position embeddings.

    grid: number of tokens per side of a frame.
    condition_width: width of the AdaLN condition, or 0 for blocks without a condition.
    window: number of frames that a token attends to, including its own, or None for all.
    causal: if True, tokens attend frame-causally; if False, all tokens attend to each other.
    learned_positions: number of frames with a learned vector for each token, in addition to rotary embeddings. If it is
        1, all frames share these vectors; if it is 0, there are none.
    """

    def __init__(
        self,
        config: BlockConfig,
        depth: int,
        grid: int,
        *,
        condition_width: int = 0,
        window: int | None = None,
        causal: bool = True,
        learned_positions: int = 0,
    ) -> None:
        super().__init__()
        self.config, self.grid, self.window, self.causal = config, grid, window, causal
        self.position_TND = (
            nn.Parameter(torch.randn(learned_positions, grid**2, config.width) * 0.02) if learned_positions else None
        )
        self.blocks = nn.ModuleList(Block(config, condition_width) for _ in range(depth))

    def modulations(self, condition_BTD: Tensor) -> list[Tensor]:
        """Return the result of `Block.modulate_by` for each block."""
        return [block.modulate_by(condition_BTD) for block in self.blocks if isinstance(block, Block)]

    @torch.no_grad()
    def load_positions(self, other: FrameTransformer) -> None:
        """Copy the learned positions of another transformer of the same size."""
        if self.position_TND is not None and other.position_TND is not None:
            self.position_TND.copy_(other.position_TND)

    def forward(
        self,
        x_BTND: Tensor,
        condition_BTD: Tensor | None = None,
        cache: KeyValueCache | None = None,
        modulations: Sequence[Tensor] = (),
    ) -> tuple[Tensor, KeyValueCache]:
        """Return the output tokens, and the cache to pass with the next frames.

        condition_BTD: AdaLN condition of each frame, if the blocks have one.
        cache: keys and values of earlier frames.
        modulations: result of `modulations`, if it is already known; otherwise computed from `condition_BTD`.
        """
        cache = cache or KeyValueCache()
        frames, tokens = x_BTND.shape[1:3]
        if self.position_TND is not None:
            x_BTND = x_BTND + self.position_TND
        rotary = grid_rotary(self.config, frames, self.grid, cache.frames, x_BTND.device)
        x_BXD, layers = x_BTND.flatten(1, 2), []
        for index, block in enumerate(self.blocks):
            x_BXD, layer = block(
                x_BXD,
                rotary,
                frames if self.causal else 1,
                self.window,
                condition_BTD,
                cache.layers[index] if cache.layers else None,
                modulations[index] if modulations else None,
            )
            layers.append(layer if self.window is None else layer.keep_last((self.window - 1) * tokens))
        return x_BXD.unflatten(1, (frames, tokens)), KeyValueCache(tuple(layers), cache.frames + frames)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Apply shift and scale of AdaLN: x * (1 + scale) + shift."""
    return torch.addcmul(shift, x, 1 + scale)


# ---- memory and speed in training -----------------------------------------------------------------------------------


def checkpoint_activations(module: nn.Module) -> nn.Module:
    """Let the backward pass recompute the activations of each block instead of storing them. Return the module.

    Results are the same. Training needs less memory, and about a third more time.
    """
    for block in (part for part in module.modules() if isinstance(part, Block)):
        block.forward = recomputed(block.forward)  # pyright: ignore[reportAttributeAccessIssue]
    return module


def compile_blocks(module: nn.Module, activation_checkpointing: bool = False, **options: Any) -> nn.Module:
    """Compile two parts of each block, the one before attention and the one after it. Return the module.

    Results are equal up to rounding. The first call of each shape is slow, and on CPUs PyTorch needs a C++ compiler.

    activation_checkpointing: if True, the compiled parts store only their inputs and recompute activations in the
        backward pass. Forward pass and recomputation are compiled together, so that both round in the same way.
    options: arguments of `torch.compile`.
    """
    for block in (part for part in module.modules() if isinstance(part, Block)):
        halves = block.pre_attention, block.post_attention
        halves = map(recomputed, halves) if activation_checkpointing else halves
        # Clip lengths vary from step to step. With static shapes, PyTorch would recompile until it reaches its limit.
        block.pre_attention, block.post_attention = (compile_function(h, **options) for h in halves)
    return module


def compile_function(function: Callable[..., Any], dynamic: bool = True, **options: Any) -> Callable[..., Any]:
    """Return the compiled function. By default, shapes are dynamic: a new clip length needs no recompilation."""
    return torch.compile(function, dynamic=dynamic, **options)


def recomputed(function: Callable[..., object]) -> Callable[..., object]:
    """Return the function with activation checkpointing. The function must not draw random numbers."""
    return partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)
