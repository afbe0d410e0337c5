"""Properties of transformer blocks with AdaLN-zero, of `FrameTransformer` and of its key-value cache."""

import pytest
import torch

from lawm_core.models.attention import BlockConfig, grid_positions, grid_rotary, rotary_angles
from lawm_core.models.kv_cache import KeyValueCache, LayerCache, RollingLayerCache
from lawm_core.models.transformer import Block, FrameTransformer, checkpoint_activations
from tests.conftest import shake

CONFIG = BlockConfig(width=48, heads=2)
GRID = 2  # 4 tokens per frame
ROTARY = rotary_angles(grid_positions(2, GRID), 24, 100.0)


# ---- blocks ---------------------------------------------------------------------------------------------------------


def test_an_untrained_conditioned_block_is_the_identity():
    torch.manual_seed(0)
    block, x_BXD = Block(CONFIG, condition_width=16), torch.randn(2, 8, 48)
    out, _ = block(x_BXD, ROTARY, 2, condition_BTD=torch.randn(2, 2, 16))
    assert torch.equal(out, x_BXD)


def test_a_condition_acts_on_its_own_frame_only():
    torch.manual_seed(0)
    block = Block(CONFIG, condition_width=16)
    torch.nn.init.normal_(block.modulation.weight)
    for weight in block.attention.out.parameters():  # without mixing between tokens, only the condition is left
        torch.nn.init.zeros_(weight)
    x_BXD, condition_BTD = torch.randn(1, 8, 48), torch.randn(1, 2, 16)
    before, _ = block(x_BXD, ROTARY, condition_BTD=condition_BTD)
    changed_BTD = condition_BTD.clone()
    changed_BTD[:, 1] += 1
    after, _ = block(x_BXD, ROTARY, condition_BTD=changed_BTD)
    assert torch.equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-3


def test_a_condition_is_needed_by_conditioned_blocks_only():
    x_BXD, condition_BTD = torch.randn(2, 8, 48), torch.randn(2, 2, 16)
    with pytest.raises(AssertionError, match="if and only if the block has AdaLN-zero"):
        Block(CONFIG, condition_width=16)(x_BXD, ROTARY, 2)
    with pytest.raises(AssertionError, match="has no AdaLN-zero"):
        Block(CONFIG)(x_BXD, ROTARY, 2, condition_BTD=condition_BTD)


# ---- FrameTransformer -----------------------------------------------------------------------------------------------


def build(depth: int = 2, **options) -> FrameTransformer:
    torch.manual_seed(0)
    transformer = FrameTransformer(CONFIG, depth, GRID, **options).eval().requires_grad_(False)
    shake(transformer, 0.2)
    return transformer


def random_tokens(frames: int = 6) -> torch.Tensor:
    return torch.randn(2, frames, GRID**2, 48, generator=torch.Generator().manual_seed(1))


def effect_of_frame(transformer: FrameTransformer, x_BTND: torch.Tensor, frame: int) -> torch.Tensor:
    """Return how much the output of each token changes with one token of a frame, (T, N)."""
    changed_BTND = x_BTND.clone()
    changed_BTND[:, frame, 0] = torch.randn_like(changed_BTND[:, frame, 0])
    return (transformer(x_BTND)[0] - transformer(changed_BTND)[0]).abs().amax(dim=(0, 3))


@pytest.mark.parametrize("chunks", [[1] * 6, [3, 1, 2], [5, 1]])
@pytest.mark.parametrize("window", [None, 1, 3, 16])
def test_cached_steps_equal_one_pass(window, chunks):
    transformer, x_BTND = build(condition_width=16, window=window, learned_positions=1), random_tokens()
    condition_BTD = torch.randn(2, 6, 16)
    expected, _ = transformer(x_BTND, condition_BTD)
    cache, parts, frames = None, [], 0
    for x, condition in zip(x_BTND.split(chunks, dim=1), condition_BTD.split(chunks, dim=1), strict=True):
        out, cache = transformer(x, condition, cache)
        parts.append(out)
        frames += x.shape[1]
        assert cache.frames == frames
        assert cache.kept_frames(GRID**2) == min(frames, frames if window is None else window - 1)
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("window", [None, 3])
def test_a_causal_transformer_does_not_depend_on_later_frames(window):
    effect_TN = effect_of_frame(build(window=window), random_tokens(), frame=3)
    assert effect_TN[:3].max() == 0 and effect_TN[3:].min() > 1e-4


def test_a_window_limits_the_frames_that_one_layer_attends_to():
    effect_TN = effect_of_frame(build(depth=1, window=3), random_tokens(), frame=0)
    assert effect_TN[:3].min() > 1e-4 and effect_TN[3:].max() == 0


def test_without_causality_every_token_attends_everywhere():
    transformer, x_BTND = build(depth=1, causal=False), random_tokens(3)
    for frame in range(3):
        assert effect_of_frame(transformer, x_BTND, frame).min() > 1e-4, f"a token does not see frame {frame}"
    rotary = grid_rotary(CONFIG, 3, GRID)
    expected, _ = transformer.blocks[0](x_BTND.flatten(1, 2), rotary, frames=1)
    assert torch.equal(transformer(x_BTND)[0].flatten(1, 2), expected)


@pytest.mark.parametrize("positions", [1, 3])
def test_learned_positions_are_added_to_the_tokens(positions):
    """With 1, all frames share them; otherwise each frame has its own."""
    transformer, x_BTND = build(learned_positions=positions), random_tokens(3)
    assert transformer.position_TND.shape == (positions, GRID**2, 48)
    found, _ = transformer(x_BTND)
    position_TND, transformer.position_TND = transformer.position_TND, None
    assert torch.equal(found, transformer(x_BTND + position_TND)[0])
    assert not torch.allclose(found, transformer(x_BTND)[0], atol=1e-3)


def test_a_transformer_has_no_learned_positions_by_default():
    assert build().position_TND is None and not any("position" in name for name in build().state_dict())


def test_precomputed_modulations_change_nothing():
    transformer, x_BTND, condition_BTD = build(condition_width=16), random_tokens(), torch.randn(2, 6, 16)
    modulations = [block.modulate_by(condition_BTD) for block in transformer.blocks]
    expected, _ = transformer(x_BTND, condition_BTD)
    assert torch.equal(transformer(x_BTND, modulations=modulations)[0], expected)


def test_activation_checkpointing_changes_neither_outputs_nor_gradients():
    transformer, x_BTND, condition_BTD = build(condition_width=16), random_tokens(), torch.randn(2, 6, 16)
    transformer.requires_grad_(True)

    def run() -> tuple[torch.Tensor, list[torch.Tensor]]:
        out, _ = transformer(x_BTND, condition_BTD)
        return out, list(torch.autograd.grad(out.square().sum(), list(transformer.parameters())))

    expected, expected_gradients = run()
    checkpoint_activations(transformer)
    found, gradients = run()
    assert torch.equal(found, expected)
    assert all(map(torch.equal, gradients, expected_gradients))


# ---- key-value cache ------------------------------------------------------------------------------------------------


def test_a_rolling_cache_gives_the_results_of_a_growing_cache():
    """Over more frames than the window, so that the ring buffer wraps around."""
    transformer, x_BTND = build(window=3), random_tokens(8)
    _, cache = transformer(x_BTND[:, :2])
    rolling = cache.rolling(depth=2, capacity_tokens=3 * GRID**2)
    for frame in range(2, 8):
        expected, cache = transformer(x_BTND[:, frame : frame + 1], cache=cache)
        found, rolling = transformer(x_BTND[:, frame : frame + 1], cache=rolling)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_rolling_cache_leaves_its_source_unchanged_and_reuses_its_memory():
    transformer, x_BTND = build(window=3), random_tokens()
    _, cache = transformer(x_BTND[:, :2])
    before = [layer.key_BMXd.clone() for layer in cache.layers]
    rolling = cache.rolling(depth=2, capacity_tokens=3 * GRID**2)
    for frame in range(2, 6):
        _, rolling = transformer(x_BTND[:, frame : frame + 1], cache=rolling)
        assert rolling.nbytes == cache.nbytes // 2 * 3
    assert all(torch.equal(layer.key_BMXd, key) for layer, key in zip(cache.layers, before, strict=True))


def test_a_rolling_cache_takes_whole_frames_only():
    layer = RollingLayerCache(capacity_tokens=6)
    keys = torch.randn(1, 1, 4, 8)
    layer.append(keys, keys)
    with pytest.raises(AssertionError, match="wrap around"):
        layer.append(keys, keys)


def test_a_cache_is_repeated_along_the_batch_and_split_and_joined_by_layers():
    layers = tuple(LayerCache(*torch.randn(2, 2, 1, 4, 8)) for _ in range(3))
    cache = KeyValueCache(layers, frames=1)
    repeated = cache.repeat(3)
    assert torch.equal(repeated.layers[0].key_BMXd, layers[0].key_BMXd.repeat_interleave(3, dim=0))
    assert repeated.frames == 1 and repeated.nbytes == 3 * cache.nbytes
    first, second = cache.split(1)
    assert first.layers == layers[:1] and second.layers == layers[1:]
    assert KeyValueCache.join(first, second) == cache
    with pytest.raises(AssertionError, match="one rollout only"):
        cache.rolling(depth=3, capacity_tokens=8).repeat(2)
