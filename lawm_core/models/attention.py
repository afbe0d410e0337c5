"""Attention: rotary position embeddings, frame-causal self-attention and cross-attention.

In frame-causal attention [LAWM §3], a token attends to the tokens of its own frame and of earlier frames. Rotary
embeddings on three axes (time, row, column) follow V-JEPA 2, except that they rotate pairs of adjacent channels, which
is an exact rotation (Su et al., RoFormer, arXiv 2104.09864).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.kv_cache import AnyLayerCache, LayerCache

CACHE_BYTES = 4 << 20  # size of the attention scores that are computed at a time, so that they fit into the CPU cache


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """Sizes of a transformer block.

    width: D, the number of channels per token.
    heads: number of attention heads. width / heads must be an even integer of at least 6.
    mlp_ratio: hidden width of the MLP divided by `width`.
    rotary_base: rotary frequencies decrease from 1 to about 1 / rotary_base radian per token. It is small because
        grids have only 8 to 32 tokens per side.
    """

    width: int
    heads: int
    mlp_ratio: int = 4
    rotary_base: float = 100.0

    def __post_init__(self) -> None:
        head_width = self.width // self.heads
        if self.width % self.heads or head_width % 2 or head_width < 6:
            raise ValueError(
                f"width / heads must be an even integer of at least 6, got {self.width} / {self.heads} = "
                f"{self.width / self.heads:g}."
            )


# ---- positions ------------------------------------------------------------------------------------------------------


def grid_positions(frames: int, grid: int, first_frame: int = 0, device: torch.device | None = None) -> Tensor:
    """Return position_X3, the frame, row and column of each token, frame by frame; X = frames * grid**2.

    grid: number of tokens per side of a frame. first_frame: number of the first frame.
    """
    frame_T = torch.arange(first_frame, first_frame + frames, device=device, dtype=torch.float32)
    side = torch.arange(grid, device=device, dtype=torch.float32)
    return torch.cartesian_prod(frame_T, side, side)


def rotary_angles(position_X3: Tensor, head_width: int, base: float) -> Tensor:
    """Return cosine and sine of the rotation of each pair of adjacent channels, (X, 1, head_width / 2, 2).

    Each of the three axes rotates head_width // 6 pairs; the remaining pairs are not rotated.
    """
    pairs = head_width // 6
    frequency = base ** (-torch.arange(pairs, device=position_X3.device, dtype=torch.float32) / pairs)
    angle = rearrange(position_X3[:, :, None] * frequency, "x three pair -> x (three pair)")
    angle = F.pad(angle, (0, head_width // 2 - angle.shape[1]))
    return torch.stack((angle.cos(), angle.sin()), dim=-1)[:, None]


@lru_cache(maxsize=64)
def grid_rotary(
    config: BlockConfig, frames: int, grid: int, first_frame: int = 0, device: torch.device | None = None
) -> Tensor:
    """Return the `rotary_angles` of `grid_positions`. Results are cached and must not be modified in place."""
    with torch.inference_mode(False):  # tensors made in inference mode cannot be used in training
        position_X3 = grid_positions(frames, grid, first_frame, device)
        return rotary_angles(position_X3, config.width // config.heads, config.rotary_base)


def rotate(x_BXMd: Tensor, rotary: Tensor) -> Tensor:
    """Rotate each pair of adjacent channels by the angle of its token, in float32: bf16 would round positions.

    rotary: result of `rotary_angles`, with axes that broadcast to those of x_BXMd.

    A complex product needs only one pass over memory. The compiler does not support complex numbers, but fuses the
    operations of the product that is written out.
    """
    pair = x_BXMd.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        (real, imaginary), (cosine, sine) = pair.unbind(-1), rotary.unbind(-1)
        return torch.stack((real * cosine - imaginary * sine, real * sine + imaginary * cosine), dim=-1).flatten(-2)
    product = torch.view_as_complex(pair) * torch.view_as_complex(rotary)
    return torch.view_as_real(product).flatten(-2)


# ---- attention ------------------------------------------------------------------------------------------------------


def frame_causal_attention(
    q_BMXd: Tensor, k_BMYd: Tensor, v_BMYd: Tensor, frames: int, window: int | None = None, scale: float | None = None
) -> Tensor:
    """Attend from each token to all tokens of its own frame and of earlier frames. Return mixed_BMXd.

    frames: number of frames that the queries hold. They are the last frames of the keys.
    window: number of frames that a token attends to, including its own, or None for all.
    scale: factor of the scores, by default d ** -0.5.

    Frames are processed one by one. No mask is needed, memory is linear in the number of frames, and later frames
    cannot influence earlier ones, not even by rounding.
    """
    tokens = q_BMXd.shape[2] // frames
    key_frames = k_BMYd.shape[2] // tokens
    if frames == 1 and key_frames <= (window or key_frames):  # a rollout usually takes this path
        return scaled_dot_product(q_BMXd, k_BMYd, v_BMYd, scale)
    mixed = []
    for end, query_BMNd in enumerate(q_BMXd.split(tokens, dim=2), start=key_frames - frames + 1):
        visible = slice(max(0, end - (window or end)) * tokens, end * tokens)
        mixed.append(
            scaled_dot_product(query_BMNd, k_BMYd[:, :, visible], v_BMYd[:, :, visible], scale).transpose(1, 2)
        )
    # Concatenated so that a token's heads are adjacent in memory: `project_out` then merges them without a copy.
    return torch.cat(mixed, dim=1).transpose(1, 2)


def scaled_dot_product(q_BMXd: Tensor, k_BMYd: Tensor, v_BMYd: Tensor, scale: float | None = None) -> Tensor:
    """Return mixed_BMXd, the attention of X queries to all of Y keys.

    It is computed by PyTorch, or by `cache_blocked_attention` in bf16 on a CPU if no gradient is needed.
    """
    tensors, same_heads = (q_BMXd, k_BMYd, v_BMYd), q_BMXd.shape[:2] == k_BMYd.shape[:2]
    on_cpu = q_BMXd.device.type == "cpu" and q_BMXd.dtype == torch.bfloat16
    if on_cpu and same_heads and not any(x.requires_grad for x in tensors):
        return cache_blocked_attention(*tensors, scale)
    return F.scaled_dot_product_attention(*tensors, scale=scale)


def cache_blocked_attention(q_BMXd: Tensor, k_BMYd: Tensor, v_BMYd: Tensor, scale: float | None = None) -> Tensor:
    """Compute attention by two matrix products, for only as many heads at a time as have scores that fit the CPU cache.

    On a CPU without matrix units, this is 1.2 to 1.9 times as fast as PyTorch's attention in bf16, for 64 to 256
    queries and 192 to 2048 keys. Scores are rounded to bf16 between the products. The error is 0.005 standard
    deviations of the output; that of PyTorch's attention is 0.004.
    """
    batch, queries, keys = q_BMXd.shape[0], q_BMXd.shape[2], k_BMYd.shape[2]
    q, k, v = (x.flatten(0, 1) for x in (q_BMXd * (scale or q_BMXd.shape[-1] ** -0.5), k_BMYd, v_BMYd))
    mixed, heads = torch.empty_like(q), max(1, CACHE_BYTES // (2 * queries * keys))
    for some in (slice(first, first + heads) for first in range(0, len(q), heads)):
        weight = torch.bmm(q[some], k[some].transpose(1, 2)).softmax(dim=-1)
        torch.bmm(weight, v[some], out=mixed[some])
    return mixed.unflatten(0, (batch, -1))


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions, normalised queries and keys, and an optional key-value cache."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.heads = config.heads
        head_width = config.width // config.heads
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.query_norm = nn.RMSNorm(head_width)
        self.key_norm = nn.RMSNorm(head_width)
        self.out = nn.Linear(config.width, config.width)

    def project_qkv(self, x_BXD: Tensor, rotary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each (B, M, X, d)."""
        qkv = self.query_key_value(x_BXD).unflatten(-1, (3, self.heads, -1))
        qk, v = qkv.split((2, 1), dim=2)  # queries and keys are normalised and rotated together
        weight = torch.stack((self.query_norm.weight, self.key_norm.weight))[:, None]
        qk = F.rms_norm(qk.float(), weight.shape[-1:]) * weight
        q, k = rotate(qk, rotary[:, None]).to(v.dtype).unbind(dim=2)
        return q.transpose(1, 2), k.transpose(1, 2), v[:, :, 0].transpose(1, 2)

    @staticmethod
    def attend(
        q_BMXd: Tensor, k_BMXd: Tensor, v_BMXd: Tensor, frames: int, window: int | None, cache: AnyLayerCache | None
    ) -> tuple[Tensor, AnyLayerCache]:
        """Attend to the given frames and to the cached ones before them. Return mixed_BMXd and the extended cache."""
        cache = LayerCache(k_BMXd, v_BMXd) if cache is None else cache.append(k_BMXd, v_BMXd)
        return frame_causal_attention(q_BMXd, cache.key_BMXd, cache.value_BMXd, frames, window), cache

    def project_out(self, mixed_BMXd: Tensor) -> Tensor:
        """Merge the heads and return their projection, (B, X, D)."""
        return self.out(rearrange(mixed_BMXd, "b m x d -> b x (m d)"))

    def forward(
        self,
        x_BXD: Tensor,
        rotary: Tensor,
        frames: int = 1,
        window: int | None = None,
        cache: AnyLayerCache | None = None,
    ) -> tuple[Tensor, AnyLayerCache]:
        """Return the output tokens (B, X, D) and the extended cache."""
        mixed_BMXd, cache = self.attend(*self.project_qkv(x_BXD, rotary), frames, window, cache)
        return self.project_out(mixed_BMXd), cache


class CrossAttention(nn.Module):
    """Multi-head attention from X tokens to Y other tokens, with normalised queries and keys, without positions."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.heads = config.heads
        head_width = config.width // config.heads
        self.query = nn.Linear(config.width, config.width)
        self.key_value = nn.Linear(config.width, 2 * config.width)
        self.query_norm = nn.RMSNorm(head_width)
        self.key_norm = nn.RMSNorm(head_width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x_BXD: Tensor, other_BYD: Tensor) -> Tensor:
        """Return the output tokens, (B, X, D)."""
        q = rearrange(self.query(x_BXD), "b x (m d) -> b m x d", m=self.heads)
        k, v = rearrange(self.key_value(other_BYD), "b y (two m d) -> two b m y d", two=2, m=self.heads)
        q, k = self.query_norm(q.float()).to(v.dtype), self.key_norm(k.float()).to(v.dtype)
        return self.out(rearrange(F.scaled_dot_product_attention(q, k, v), "b m x d -> b x (m d)"))
