"""Training batches: what a pair shows, and how a batch is split."""

from dataclasses import replace

import pytest
import torch

from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.data.mixture import MixedDataset, VideoDataset
from lawm_core.data.motion_labels import Motion
from lawm_core.training.batches import PairBatchConfig, PairSource
from tests.training.toy_stages import CPU, PAIRS, draw

ONE_SHARD = replace(PAIRS, num_shards=1)


class PlainDataset(VideoDataset):
    """Clips of one brightness, in which the content moves by `flow` frame widths."""

    def __init__(self, brightness: float, flow: float = 0.0, size: int = 32) -> None:
        self.brightness, self.flow, self.size = brightness, flow, size

    def draw(self, clips, frames, generator):
        return torch.full((clips, frames, 3, self.size, self.size), self.brightness)

    def draw_with_motion(self, clips, frames, generator, grid):
        ones = torch.ones(clips, frames - 1, 1, grid, grid)
        return self.draw(clips, frames, generator), Motion(self.flow * ones.repeat(1, 1, 2, 1, 1), ones, ones)

    def stills(self, per_clip, size):
        return torch.full((per_clip, 3, size, size), self.brightness)


# ---- pairs ----------------------------------------------------------------------------------------------------------


def test_batches_are_a_function_of_seed_and_step():
    one, two = (PairSource(ONE_SHARD, None, CPU, seed=4) for _ in range(2))
    assert torch.equal(one.draw(7).source_BTCHW, two.draw(7).source_BTCHW)
    assert not torch.equal(one.draw(7).source_BTCHW, one.draw(8).source_BTCHW)


def test_without_cross_pairs_and_recoloring_each_clip_explains_itself():
    without = replace(ONE_SHARD, cross_pair_fraction=0.0)
    plain, recolored = draw(replace(without, recolor_fraction=0.0)), draw(replace(without, recolor_fraction=1.0))
    cross = draw(ONE_SHARD)
    assert torch.equal(plain.source_BTCHW, plain.target_BTCHW)
    for pairs in (recolored, cross):
        assert torch.equal(pairs.target_BTCHW, plain.target_BTCHW)
        assert ((pairs.source_BTCHW - pairs.target_BTCHW).abs().mean(dim=(1, 2, 3, 4)) > 0.02).all()


def test_a_fraction_of_synthetic_pairs_are_cross_pairs():
    pairs = draw(replace(ONE_SHARD, clips=40, recolor_fraction=0.0, cross_pair_fraction=0.3))
    itself = [torch.equal(s, t) for s, t in zip(pairs.source_BTCHW, pairs.target_BTCHW, strict=True)]
    assert 20 < sum(itself) < 36


def test_real_clips_fill_the_batch_beside_synthetic_pairs():
    config = replace(PAIRS, clips=8, synthetic_fraction=0.5, recolor_fraction=0.0)
    batch = PairSource(config, PlainDataset(0.25), CPU, seed=0).draw(0)
    is_real_B = (batch.target_BTCHW == 0.25).flatten(1).all(dim=1)
    assert is_real_B.tolist() == [False, True] * 4  # one of each kind in every shard
    assert torch.equal(batch.source_BTCHW[is_real_B], batch.target_BTCHW[is_real_B])


def test_clips_without_motion_labels_are_drawn_without_them():
    batch = PairSource(replace(PAIRS, motion_grid=0), PlainDataset(0.25), CPU, seed=0).draw(0)
    assert batch.motion is None


# ---- mixtures -------------------------------------------------------------------------------------------------------


def test_mixture_draws_clips_with_their_own_motion():
    mixture = MixedDataset([PlainDataset(0.2, flow=0.1), PlainDataset(0.8, flow=-0.3)], [1.0, 3.0])
    frame_BTCHW, motion = mixture.draw_with_motion(400, 2, torch.Generator().manual_seed(0), 4)
    dark_B = frame_BTCHW[:, 0, 0, 0, 0] < 0.5
    assert 60 < dark_B.sum() < 140  # a quarter, by weight
    torch.testing.assert_close(motion.flow_BU2HW[:, 0, 0, 0, 0], torch.where(dark_B, 0.1, -0.3))
    assert len(motion.visible_BU1HW) == len(motion.known_BU1HW) == 400


def test_mixture_in_a_batch_keeps_each_clip_with_its_motion():
    config = replace(PAIRS, clips=64, synthetic_fraction=0.0, recolor_fraction=0.0)
    mixture = MixedDataset([PlainDataset(0.2, flow=0.1), PlainDataset(0.8, flow=-0.3)], [1.0, 1.0])
    batch = PairSource(config, mixture, CPU, seed=0).draw(0)
    dark_B = batch.target_BTCHW[:, 0, 0, 0, 0] < 0.5
    assert 0 < dark_B.sum() < 64
    torch.testing.assert_close(batch.motion.flow_BU2HW[:, 0, 0, 0, 0], torch.where(dark_B, 0.1, -0.3))


def test_mixture_of_different_sizes_is_drawn_at_the_size_that_a_stage_needs():
    mixture = MixedDataset([PlainDataset(0.2, 0.1, size=48), PlainDataset(0.8, -0.3, size=20)], [1.0, 1.0])
    for size in (32, 64):
        resized = mixture.resized(size)
        frame_BTCHW, motion = resized.draw_with_motion(16, 2, torch.Generator().manual_seed(0), 4)
        assert frame_BTCHW.shape == (16, 2, 3, size, size)
        dark_B = frame_BTCHW[:, 0, 0, 0, 0] < 0.5
        torch.testing.assert_close(motion.flow_BU2HW[:, 0, 0, 0, 0], torch.where(dark_B, 0.1, -0.3))
        assert resized.draw(3, 2, torch.Generator().manual_seed(0)).shape == (3, 2, 3, size, size)
    assert mixture.resized(64).stills(2, 10).shape == (4, 3, 10, 10)


# ---- slices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 4])
def test_slices_make_up_the_batch(count):
    source = PairSource(PAIRS, None, CPU, seed=0)
    whole, slices = source.draw(3), [source.draw(3, BatchSlice(index, count)) for index in range(count)]
    assert [part.batch_slice for part in slices] == [BatchSlice(index, count) for index in range(count)]
    assert whole.batch_slice == WHOLE_BATCH
    for name in ("source_BTCHW", "target_BTCHW"):
        assert torch.equal(torch.cat([getattr(part, name) for part in slices]), getattr(whole, name))
    flow_BU2HW = torch.cat([part.motion.flow_BU2HW for part in slices])
    assert torch.equal(flow_BU2HW, whole.motion.flow_BU2HW)


def test_impossible_splits_are_refused():
    with pytest.raises(
        ValueError, match="clips must be a positive multiple of num_shards, got clips=4 and num_shards=3"
    ):
        PairBatchConfig(clips=4, num_shards=3)
    with pytest.raises(ValueError, match=r"num_shards=4 must be divisible by world_size \* grad_accum_steps = 3"):
        PairSource(PAIRS, None, CPU, seed=0).draw(0, BatchSlice(0, 3))


@pytest.mark.parametrize("kind", ["rand", "randn"])
def test_random_numbers_of_a_row_do_not_depend_on_the_split(kind):
    def drawn(count: int) -> torch.Tensor:
        """Numbers of a batch of 8 sources followed by 8 targets, drawn by `count` slices one after another."""
        parts = []
        for index in range(count):
            torch.manual_seed(1)
            part = getattr(BatchSlice(index, count), kind)(16 // count, 3, device=CPU, stacks=2)
            parts.append(part.unflatten(0, (2, -1)))
        return torch.cat(parts, dim=1).flatten(0, 1)

    whole = drawn(1)
    assert all(torch.equal(drawn(count), whole) for count in (2, 4, 8))
    assert len(whole.unique()) == whole.numel()
    assert abs(whole.mean() - (0.5 if kind == "rand" else 0.0)) < 0.5
