"""Laws of attention, positions and AdaLN-zero."""

import pytest
import torch

from lawm_core.models import blocks
from lawm_core.models.blocks import (
    Attention,
    Block,
    BlockConfig,
    frame_causal_attention,
    grid_positions,
    rotary_angles,
    rotate,
)

CONFIG = BlockConfig(width=48, heads=2)


def test_fresh_adaln_zero_block_is_the_identity():
    torch.manual_seed(0)
    block = Block(CONFIG, condition_width=16)
    x_BXD = torch.randn(2, 8, 48)
    rotary = rotary_angles(grid_positions(2, 2), 24, 100.0)
    out, _ = block(x_BXD, rotary, 2, condition_BFC=torch.randn(2, 2, 16))
    assert torch.equal(out, x_BXD)


def test_condition_acts_on_its_own_frame_alone():
    torch.manual_seed(0)
    block = Block(CONFIG, condition_width=16)
    torch.nn.init.normal_(block.modulation.weight)
    block.attention.out.weight.data.zero_()  # without mixing between tokens, only the condition is left
    block.attention.out.bias.data.zero_()
    x_BXD, condition = torch.randn(1, 8, 48), torch.randn(1, 2, 16)
    rotary = rotary_angles(grid_positions(2, 2), 24, 100.0)
    before, _ = block(x_BXD, rotary, condition_BFC=condition)
    changed = condition.clone()
    changed[:, 1] += 1
    after, _ = block(x_BXD, rotary, condition_BFC=changed)
    assert torch.equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-3


def test_rotary_scores_depend_on_relative_position_only():
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 24), torch.randn(1, 1, 1, 24)

    def score(q_at: list[float], k_at: list[float]) -> torch.Tensor:
        turned_q = rotate(q, rotary_angles(torch.tensor([q_at]), 24, 100.0))
        turned_k = rotate(k, rotary_angles(torch.tensor([k_at]), 24, 100.0))
        return (turned_q * turned_k).sum()

    torch.testing.assert_close(score([1, 2, 3], [0, 4, 1]), score([6, 3, 10], [5, 5, 8]))
    assert abs(score([1, 2, 3], [0, 4, 1]) - score([1, 2, 3], [0, 4, 2])) > 1e-4


@pytest.mark.parametrize(("asking", "known", "window"), [(4, 4, None), (2, 4, 2), (4, 4, 3), (1, 3, None)])
def test_a_token_sees_its_frame_and_the_window_before_it(asking, known, window):
    """Against one product with a mask over everything."""
    torch.manual_seed(0)
    tokens = 3
    q, k, v = (
        torch.randn(2, 1, asking * tokens, 8),
        torch.randn(2, 1, known * tokens, 8),
        torch.randn(2, 1, known * tokens, 8),
    )
    age = torch.arange(known - asking, known)[:, None] - torch.arange(known)
    allowed = (age >= 0) & (age < (window or known))
    mask = allowed.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
    whole = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(frame_causal_attention(q, k, v, asking, window), whole)


def test_attention_with_a_past_equals_attention_over_everything():
    torch.manual_seed(0)
    attention = Attention(CONFIG).eval()
    x_BXD = torch.randn(1, 12, 48)
    rotary = rotary_angles(grid_positions(3, 2), 24, 100.0)
    whole, _ = attention(x_BXD, rotary, frames=3)
    _, past = attention(x_BXD[:, :8], rotary[:8], frames=2)
    late, _ = attention(x_BXD[:, 8:], rotary[8:], past=past)
    torch.testing.assert_close(late, whole[:, 8:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("width", "heads"), [(50, 4), (32, 8), (30, 2)])
def test_heads_that_cannot_rotate_are_refused(width, heads):
    with pytest.raises(ValueError, match="even number of channels"):
        BlockConfig(width=width, heads=heads)


@pytest.mark.parametrize("parts", [1 << 12, 1 << 30])
def test_attention_in_parts_is_attention(parts, monkeypatch):
    """As near to the float32 truth as bf16 is, for heads that lie in memory in any order."""
    monkeypatch.setattr(blocks, "CACHE_BYTES", parts)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, x, 3, 16, generator=generator).transpose(1, 2) for x in (16, 48, 48))
    true = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=0.3)
    ours = blocks.attend(*(x.bfloat16() for x in (q, k, v)), scale=0.3)
    assert ours.dtype == torch.bfloat16
    assert (ours - true).square().mean().sqrt() < 0.01 * true.std()
