"""Properties of rotary positions and of frame-causal attention."""

import pytest
import torch
import torch.nn.functional as F

from lawm_core.models import attention
from lawm_core.models.attention import (
    Attention,
    BlockConfig,
    CrossAttention,
    cache_blocked_attention,
    frame_causal_attention,
    grid_positions,
    rotary_angles,
    rotate,
    scaled_dot_product,
)

CONFIG = BlockConfig(width=48, heads=2)


def test_rotary_scores_depend_on_relative_positions_only():
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 1, 24), torch.randn(1, 1, 1, 24)

    def score(q_position: list[float], k_position: list[float]) -> torch.Tensor:
        rotated_q = rotate(q, rotary_angles(torch.tensor([q_position]), 24, 100.0))
        rotated_k = rotate(k, rotary_angles(torch.tensor([k_position]), 24, 100.0))
        return (rotated_q * rotated_k).sum()

    torch.testing.assert_close(score([1, 2, 3], [0, 4, 1]), score([6, 3, 10], [5, 5, 8]))
    assert abs(score([1, 2, 3], [0, 4, 1]) - score([1, 2, 3], [0, 4, 2])) > 1e-4


@pytest.mark.parametrize(("query_frames", "key_frames", "window"), [(4, 4, None), (2, 4, 2), (4, 4, 3), (1, 3, None)])
def test_frame_causal_attention_equals_masked_attention(query_frames, key_frames, window):
    """The mask lets a token see its own frame and the `window` - 1 frames before it."""
    torch.manual_seed(0)
    tokens = 3
    q = torch.randn(2, 1, query_frames * tokens, 8)
    k, v = torch.randn(2, 2, 1, key_frames * tokens, 8)
    age = torch.arange(key_frames - query_frames, key_frames)[:, None] - torch.arange(key_frames)
    visible = (age >= 0) & (age < (window or key_frames))
    mask = visible.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(frame_causal_attention(q, k, v, query_frames, window), expected)


def test_attention_with_a_cache_equals_attention_to_all_tokens():
    torch.manual_seed(0)
    layer = Attention(CONFIG).eval()
    x_BXD = torch.randn(1, 12, 48)
    rotary = rotary_angles(grid_positions(3, 2), 24, 100.0)
    whole, _ = layer(x_BXD, rotary, frames=3)
    _, cache = layer(x_BXD[:, :8], rotary[:8], frames=2)
    last, _ = layer(x_BXD[:, 8:], rotary[8:], cache=cache)
    torch.testing.assert_close(last, whole[:, 8:], atol=1e-5, rtol=1e-5)


def test_positions_continue_where_earlier_frames_end():
    assert torch.equal(grid_positions(2, 3, first_frame=4), grid_positions(6, 3)[4 * 9 :])


def test_cross_attention_does_not_depend_on_the_order_of_the_other_tokens():
    torch.manual_seed(0)
    layer = CrossAttention(CONFIG).eval()
    x_BXD, other_BYD = torch.randn(2, 3, 48), torch.randn(2, 5, 48)
    torch.testing.assert_close(layer(x_BXD, other_BYD.flip(1)), layer(x_BXD, other_BYD), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(layer(x_BXD, other_BYD[:, :4]), layer(x_BXD, other_BYD), atol=1e-3)


@pytest.mark.parametrize(("width", "heads"), [(50, 4), (32, 8), (30, 2)])
def test_head_widths_without_rotary_pairs_raise(width, heads):
    with pytest.raises(ValueError, match=f"must be an even integer of at least 6, got {width} / {heads}"):
        BlockConfig(width=width, heads=heads)


@pytest.mark.parametrize("cache_bytes", [1 << 12, 1 << 30])
def test_cache_blocked_attention_is_as_accurate_as_bf16(cache_bytes, monkeypatch):
    """For any number of heads at a time, and for heads that are not contiguous in memory."""
    monkeypatch.setattr(attention, "CACHE_BYTES", cache_bytes)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, x, 3, 16, generator=generator).transpose(1, 2) for x in (16, 48, 48))
    expected = F.scaled_dot_product_attention(q, k, v, scale=0.3)
    found = cache_blocked_attention(*(x.bfloat16() for x in (q, k, v)), scale=0.3)
    assert found.dtype == torch.bfloat16
    assert (found - expected).square().mean().sqrt() < 0.01 * expected.std()


def test_cache_blocked_attention_is_used_for_bf16_without_gradients(monkeypatch):
    calls = []
    monkeypatch.setattr(attention, "cache_blocked_attention", lambda *given: calls.append(given))
    q = torch.randn(1, 2, 4, 8)
    scaled_dot_product(q, q, q)
    scaled_dot_product(*[q.bfloat16().requires_grad_(True)] * 3)
    assert not calls
    scaled_dot_product(*[q.bfloat16()] * 3)
    assert len(calls) == 1
