"""Transformer parts, the only copy: rotary positions, frame-causal attention, AdaLN-zero.

Block-causal attention and frame-wise AdaLN-zero follow [LAWM §3]; the three-axis rotary split follows V-JEPA 2, in the
interleaved form, which is a true rotation (reference: Su et al., RoFormer, arXiv 2104.09864).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lawm_core.models.cache import LayerPast, Past

CACHE_BYTES = 4 << 20  # of scores at once, on CPUs
Six = tuple[Tensor, ...]  # AdaLN's shift, scale and gate, for attention and for the MLP, each (B, F, 1, D)


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """Size of a transformer block; `heads` must divide `width` into even parts of at least 6 for three rotary axes."""

    width: int
    heads: int
    mlp_ratio: int = 4
    rotary_base: float = 100.0  # the slowest rotary wave, in tokens; grids here are 8 to 32 tokens wide

    def __post_init__(self) -> None:
        head_width = self.width // self.heads
        if self.width % self.heads or head_width % 2 or head_width < 6:
            raise ValueError(
                f"width {self.width} with {self.heads} heads gives heads of {self.width / self.heads:g}; "
                "each needs an even number of channels, at least 6."
            )


# ---- positions ------------------------------------------------------------------------------------------------------


def grid_positions(frames: int, grid: int, first_frame: int = 0, device: torch.device | None = None) -> Tensor:
    """(frame, row, column) of every token of `frames` frames, frame by frame: position_X3, X = frames * grid * grid."""
    frame_T = torch.arange(first_frame, first_frame + frames, device=device, dtype=torch.float32)
    side_G = torch.arange(grid, device=device, dtype=torch.float32)
    return torch.cartesian_prod(frame_T, side_G, side_G)


def rotary_angles(position_X3: Tensor, head_width: int, base: float) -> Tensor:
    """How far positions on three axes turn each pair of channels, cosine and sine: turn_X1P2, with P = head_width / 2
    pairs and room for heads.

    Each axis turns an equal even share of the channels; channels left over do not turn.
    """
    pairs = head_width // 6
    wave_P = base ** (-torch.arange(pairs, device=position_X3.device, dtype=torch.float32) / pairs)
    angle_XP = rearrange(position_X3[:, :, None] * wave_P, "x a p -> x (a p)")
    angle_XP = F.pad(angle_XP, (0, head_width // 2 - angle_XP.shape[1]))
    return torch.stack((angle_XP.cos(), angle_XP.sin()), dim=-1)[:, None]


@lru_cache(maxsize=64)
def grid_rotary(
    config: BlockConfig, frames: int, grid: int, first_frame: int = 0, device: torch.device | None = None
) -> Tensor:
    """Return a block's `rotary_angles` of `grid_positions`, computed once for each size. Do not change it in place."""
    with torch.inference_mode(False):  # what is computed in inference mode could not be used in training
        position_X3 = grid_positions(frames, grid, first_frame, device)
        return rotary_angles(position_X3, config.width // config.heads, config.rotary_base)


def rotate(x_BXMd: Tensor, turn_X1P2: Tensor) -> Tensor:
    """Turns adjacent channel pairs by their token's angles; float32 in and out, since bf16 would round positions.

    A product of complex numbers: one pass over memory, where sines and cosines apart take several; but for a compiler,
    which fuses those and leaves complex numbers as they are.
    """
    pair_BXMP2 = x_BXMd.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        (one, other), (cosine, sine) = pair_BXMP2.unbind(-1), turn_X1P2.unbind(-1)
        return torch.stack((one * cosine - other * sine, one * sine + other * cosine), dim=-1).flatten(-2)
    product_BXMP = torch.view_as_complex(pair_BXMP2) * torch.view_as_complex(turn_X1P2)
    return torch.view_as_real(product_BXMP).flatten(-2)


# ---- attention and blocks -------------------------------------------------------------------------------------------


def frame_causal_attention(
    q_BMXd: Tensor, k_BMYd: Tensor, v_BMYd: Tensor, frames: int, window: int | None = None, scale: float | None = None
) -> Tensor:
    """Attention in which a token sees its own frame and up to `window` - 1 frames before it (all, for None).

    The last `frames` frames of the keys ask, X / frames tokens each. Frame by frame: no mask is ever held, memory grows
    with frames and not with their square, nothing is computed for pairs that may not meet, and what comes later cannot
    reach a frame even by rounding.
    """
    tokens = q_BMXd.shape[2] // frames
    known = k_BMYd.shape[2] // tokens
    if frames == 1 and known <= (window or known):  # the usual step of a rollout: nothing to cut
        return attend(q_BMXd, k_BMYd, v_BMYd, scale)
    mixed = []
    for end, asking_BMNd in enumerate(q_BMXd.split(tokens, dim=2), start=known - frames + 1):
        seen = slice(max(0, end - (window or end)) * tokens, end * tokens)
        mixed.append(attend(asking_BMNd, k_BMYd[:, :, seen], v_BMYd[:, :, seen], scale).transpose(1, 2))
    return torch.cat(mixed, dim=1).transpose(1, 2)  # in memory, heads lie next to each other as `tell` merges them


def attend(q_BMXd: Tensor, k_BMYd: Tensor, v_BMYd: Tensor, scale: float | None = None) -> Tensor:
    """What X queries find among Y keys that all of them see, mixed_BMXd: PyTorch's attention, or on CPUs in bf16, where
    no gradients come back, ours.
    """
    tensors, alike = (q_BMXd, k_BMYd, v_BMYd), q_BMXd.shape[:2] == k_BMYd.shape[:2]
    on_cpu = q_BMXd.device.type == "cpu" and q_BMXd.dtype == torch.bfloat16
    if on_cpu and alike and not any(x.requires_grad for x in tensors):
        return attend_in_cache(*tensors, scale)
    return F.scaled_dot_product_attention(*tensors, scale=scale)


def attend_in_cache(q_BMXd: Tensor, k_BMYd: Tensor, v_BMYd: Tensor, scale: float | None = None) -> Tensor:
    """Attention as two plain products, for as many heads at once as a processor's cache holds scores of.

    1.2 to 1.9 times as fast as PyTorch's own in bf16 on a CPU without matrix units, at 64 to 256 queries of 192 to 2048
    keys; at 64 of 64, where either takes less than a tenth of a millisecond, slower. Scores are rounded to bf16 between
    the products, where its own keeps them in float32: errors of .005 of the spread where its own has .004.
    """
    batch, queries, keys = q_BMXd.shape[0], q_BMXd.shape[2], k_BMYd.shape[2]
    q_PXd, k_PYd, v_PYd = (x.flatten(0, 1) for x in (q_BMXd * (scale or q_BMXd.shape[-1] ** -0.5), k_BMYd, v_BMYd))
    mixed_PXd, heads = torch.empty_like(q_PXd), max(1, CACHE_BYTES // (2 * queries * keys))
    for some in (slice(first, first + heads) for first in range(0, len(q_PXd), heads)):
        share_PXY = torch.bmm(q_PXd[some], k_PYd[some].transpose(1, 2)).softmax(dim=-1)
        torch.bmm(share_PXY, v_PYd[some], out=mixed_PXd[some])
    return mixed_PXd.unflatten(0, (batch, -1))


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions, normalised queries and keys, and an optional past."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.heads = config.heads
        head_width = config.width // config.heads
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.query_norm = nn.RMSNorm(head_width)
        self.key_norm = nn.RMSNorm(head_width)
        self.out = nn.Linear(config.width, config.width)

    def ask(self, x_BXD: Tensor, rotary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, M, X, d)."""
        qkv_BX3Md = self.query_key_value(x_BXD).unflatten(-1, (3, self.heads, -1))
        qk_BX2Md, v_BX1Md = qkv_BX3Md.split((2, 1), dim=2)  # queries and keys go through norm and rotation together
        weight_2Md = torch.stack((self.query_norm.weight, self.key_norm.weight))[:, None]
        qk_BX2Md = F.rms_norm(qk_BX2Md.float(), weight_2Md.shape[-1:]) * weight_2Md
        q, k = rotate(qk_BX2Md, rotary[:, None]).to(v_BX1Md.dtype).unbind(dim=2)
        return q.transpose(1, 2), k.transpose(1, 2), v_BX1Md[:, :, 0].transpose(1, 2)

    @staticmethod
    def look(
        q_BMXd: Tensor, k_BMXd: Tensor, v_BMXd: Tensor, frames: int, window: int | None, past: Past | None
    ) -> tuple[Tensor, Past]:
        """What queries find among these frames and the past, mixed_BMXd; and what is now kept."""
        present = LayerPast(k_BMXd, v_BMXd) if past is None else past.add(k_BMXd, v_BMXd)
        return frame_causal_attention(q_BMXd, present.key_BMXd, present.value_BMXd, frames, window), present

    def tell(self, mixed_BMXd: Tensor) -> Tensor:
        """What was found, to the stream, (B, X, D)."""
        return self.out(rearrange(mixed_BMXd, "b m x d -> b x (m d)"))

    def forward(
        self, x_BXD: Tensor, rotary: Tensor, frames: int = 1, window: int | None = None, past: Past | None = None
    ) -> tuple[Tensor, Past]:
        """Returns the mixed tokens and what this layer now keeps, the past included."""
        mixed_BMXd, present = self.look(*self.ask(x_BXD, rotary), frames, window, past)
        return self.tell(mixed_BMXd), present


class CrossAttention(nn.Module):
    """Questions asked of other tokens, which carry their own places; multi-head, normalised queries and keys."""

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
        """What each of X tokens finds among the Y others, (B, X, D)."""
        q = rearrange(self.query(x_BXD), "b x (m d) -> b m x d", m=self.heads)
        k, v = rearrange(self.key_value(other_BYD), "b y (two m d) -> two b m y d", two=2, m=self.heads)
        q, k = self.query_norm(q.float()).to(v.dtype), self.key_norm(k.float()).to(v.dtype)
        return self.out(rearrange(F.scaled_dot_product_attention(q, k, v), "b m x d -> b x (m d)"))


class Mlp(nn.Module):
    """Two linear layers with GELU between: the exact one, which CPUs compute in a third of its approximation's time."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(F.gelu(self.widen(x)))


class Block(nn.Module):
    """Attention, then an MLP, each on normalised tokens and added to the stream.

    With `condition_width`, AdaLN-zero [Peebles & Xie, arXiv 2212.09748]: six vectors a frame shift, scale and gate the
    frame's own tokens. Their layer starts at zero, so a fresh block is the identity.
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
        condition_BFC: Tensor | None = None,
        past: Past | None = None,
        modulation_BF1X: Tensor | None = None,
    ) -> tuple[Tensor, Past]:
        """x_BXD holds F frames of X / F tokens; condition_BFC one vector a frame. modulation_BF1X: what `modulate_by`
        makes of the condition, where that is already computed.

        A token sees its own frame and, where `frames` says that there are several, up to `window` - 1 before it.
        """
        six = None
        if self.modulation is not None:
            modulation_BF1X = self.modulate_by(condition_BFC) if modulation_BF1X is None else modulation_BF1X
            six = modulation_BF1X.chunk(6, dim=-1)
        mixed_BMXd, present = self.attention.look(*self.before(x_BXD, rotary, six), frames, window, past)
        return self.after(x_BXD, mixed_BMXd, six), present

    def modulate_by(self, condition_BFC: Tensor) -> Tensor:
        """Return the shifts, scales and gates that a condition gives, modulation_BF1X with X = 6 widths."""
        return self.modulation(F.silu(condition_BFC))[:, :, None]

    def before(self, x_BXD: Tensor, rotary: Tensor, six: Six | None) -> tuple[Tensor, Tensor, Tensor]:
        """All that comes before tokens meet: queries, keys and values. Its shapes know nothing of the past."""
        if six is None:
            return self.attention.ask(self.attention_norm(x_BXD), rotary)
        shift, scale, *_ = six
        calm_BFND = modulate(self.attention_norm(x_BXD.unflatten(1, (shift.shape[1], -1))), shift, scale)
        return self.attention.ask(calm_BFND.flatten(1, 2), rotary)

    def after(self, x_BXD: Tensor, mixed_BMXd: Tensor, six: Six | None) -> Tensor:
        """All that comes after they have met: the stream. Its shapes know nothing of the past either."""
        mixed_BXD = self.attention.tell(mixed_BMXd)
        if six is None:
            x_BXD = x_BXD + mixed_BXD
            return x_BXD + self.mlp(self.mlp_norm(x_BXD))
        _, _, gate_a, shift_m, scale_m, gate_m = six
        x_BFND = x_BXD.unflatten(1, (gate_a.shape[1], -1))
        x_BFND = torch.addcmul(x_BFND, gate_a, mixed_BXD.view_as(x_BFND))
        x_BFND = torch.addcmul(x_BFND, gate_m, self.mlp(modulate(self.mlp_norm(x_BFND), shift_m, scale_m)))
        return x_BFND.flatten(1, 2)


def recompute_blocks(module: nn.Module) -> nn.Module:
    """Lets blocks keep what enters them alone, and compute the rest again when gradients come back: the same numbers in
    less memory and about a third more time. Itself.
    """
    for block in (part for part in module.modules() if isinstance(part, Block)):
        block.forward = computed_again(block.forward)
    return module


def compile_blocks(module: nn.Module, recompute: bool = False, **how: object) -> nn.Module:
    """Compiles what every block does before and after tokens meet, for speed; the same to rounding. Itself.

    The first call of each shape takes long, and PyTorch needs a C++ compiler on CPUs. how: as `torch.compile` takes it.
    recompute: these two halves keep what enters them alone, beside what attention keeps. One graph holds a half with
    its second computing, so that both are the same whatever else has been compiled meanwhile.
    """
    for block in (part for part in module.modules() if isinstance(part, Block)):
        halves = block.before, block.after
        before, after = map(computed_again, halves) if recompute else halves
        # Clips differ in length from step to step: fixed shapes would be compiled anew until PyTorch gives up.
        block.before, block.after = (torch.compile(half, **{"dynamic": True} | how) for half in (before, after))
    return module


def computed_again(work: Callable[..., object]) -> Callable[..., object]:
    """The same, which keeps what enters it and is done once more when gradients come back. It draws nothing."""
    return partial(checkpoint, work, use_reentrant=False, preserve_rng_state=False)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """AdaLN's affine step, with the scale around one."""
    return torch.addcmul(shift, x, 1 + scale)
