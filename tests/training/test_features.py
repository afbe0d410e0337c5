"""Cached features equal computed ones, and stages train on them as on frames."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from lawm_core.batch_slice import BatchSlice
from lawm_core.checkpoint import init_from, save_model
from lawm_core.data.mixture import VideoDataset
from lawm_core.model import LatentActionModel
from lawm_core.models.bottlenecks import SparseConfig
from lawm_core.training.batches import PairSource
from lawm_core.training.features import FeatureSource, compute_features
from lawm_core.training.latent_action_loss import LatentActionLoss, LatentActionLossConfig
from lawm_core.types import CheckpointError
from tests.training.toy_stages import CPU, PAIRS, build_model

BATCH = replace(PAIRS, num_shards=2, figure_fraction=0.5)


def source(seed: int = 0) -> PairSource:
    return PairSource(BATCH, None, CPU, seed)


@pytest.fixture
def model() -> LatentActionModel:
    return build_model(("noisy",), shaken=True).requires_grad_(False)


def test_cached_features_equal_computed_ones(tmp_path, model):
    cached = FeatureSource(source(), model, tmp_path, 3).draw(1)
    computed = compute_features(model, source().draw(1))
    torch.testing.assert_close(cached.source_BTND, computed.source_BTND, atol=5e-3, rtol=1e-3)
    torch.testing.assert_close(cached.target_BTND, computed.target_BTND, atol=5e-3, rtol=1e-3)
    torch.testing.assert_close(cached.flow_BU2HW, computed.flow_BU2HW, atol=5e-3, rtol=0)
    for name in ("flow_BU2HW", "visible_BU1HW", "known_BU1HW"):
        torch.testing.assert_close(getattr(cached.motion, name), getattr(computed.motion, name), atol=1e-3, rtol=0)
    assert compute_features(model, cached) is cached


def test_first_frames_have_their_own_transitions(tmp_path, model):
    features = compute_features(model, source().draw(1))
    first = features.first(2)
    assert torch.equal(first.source_BTND, features.source_BTND[:, :2])
    assert torch.equal(first.flow_BU2HW, features.flow_BU2HW[:, :1])
    assert torch.equal(first.motion.visible_BU1HW, features.motion.visible_BU1HW[:, :1])


def test_batches_repeat_and_are_computed_once(tmp_path, model, monkeypatch):
    features = FeatureSource(source(), model, tmp_path, 2)
    first, other = features.draw(0), features.draw(1)
    later_run = FeatureSource(source(), model, tmp_path, 2)
    monkeypatch.setattr(PairSource, "draw", lambda *_: pytest.fail("a cached batch was drawn again"))
    for batch in (features.draw(2), later_run.draw(4)):
        assert torch.equal(batch.target_BTND, first.target_BTND)
    assert not torch.equal(first.target_BTND, other.target_BTND)


def test_slices_make_up_the_batch(tmp_path, model):
    features = FeatureSource(source(), model, tmp_path, 2)
    whole, halves = features.draw(0), [features.draw(0, BatchSlice(index, 2)) for index in range(2)]
    assert torch.equal(whole.source_BTND, torch.cat([half.source_BTND for half in halves]))
    assert [half.batch_slice for half in halves] == [BatchSlice(0, 2), BatchSlice(1, 2)]


def test_other_weights_and_other_batches_have_their_own_features(tmp_path, model):
    folder = FeatureSource(source(), model, tmp_path, 2).folder
    assert FeatureSource(source(1), model, tmp_path, 2).folder != folder
    assert FeatureSource(source(), model, tmp_path, 3).folder != folder
    with torch.no_grad():
        model.encoder.head.weight.add_(0.1)
    assert FeatureSource(source(), model, tmp_path, 2).folder != folder


class Grey(VideoDataset):
    """Clips of one grey."""

    def __init__(self, grey: float) -> None:
        self.grey = grey

    def draw(self, clips: int, frames: int, generator: torch.Generator) -> torch.Tensor:
        return torch.full((clips, frames, 3, 32, 32), self.grey)

    def stills(self, per_clip: int, size: int) -> torch.Tensor:
        return torch.full((per_clip, 3, size, size), self.grey)


def test_another_data_set_has_its_own_features(tmp_path, model):
    real = replace(BATCH, synthetic_fraction=0.0, motion_grid=0, recolor_fraction=0.0)
    folders = [FeatureSource(PairSource(real, Grey(g), CPU, 0), model, tmp_path, 2).folder for g in (0.2, 0.2, 0.6)]
    assert folders[0] == folders[1] != folders[2]


def test_damaged_file_is_computed_again(tmp_path, model):
    features = FeatureSource(source(), model, tmp_path, 1)
    before = features.draw(0)
    for path in features.folder.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(features.draw(0).source_BTND, before.source_BTND)


def test_stage_trains_on_features_as_on_frames(tmp_path, model):
    loss = LatentActionLoss(model, LatentActionLossConfig(family="noisy"))
    losses = []
    for batch in (source().draw(0), FeatureSource(source(), model, tmp_path, 1).draw(0)):
        torch.manual_seed(0)
        losses.append(loss.losses(batch, 0.5)["loss"])
    torch.testing.assert_close(*losses, atol=1e-2, rtol=1e-2)


# ---- init_from ------------------------------------------------------------------------------------------------------


def test_new_model_takes_over_the_parts_that_fit(tmp_path, model):
    save_model(model, tmp_path, half=True)
    config = model.config
    sparse = dataclasses.replace(config.families["noisy"], bottleneck=SparseConfig(action_width=8))
    decoder = dataclasses.replace(config.decoder, channels=12)
    families = config.families | {"sparse": sparse}
    new = LatentActionModel(dataclasses.replace(config, families=families, decoder=decoder))
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    assert set(init_from(new, tmp_path)) == {"encoder", "flow_reader", "noisy"}
    for name, tensor in new.state_dict().items():
        expected = before if name.startswith(("decoder", "families.sparse")) else model.state_dict()
        torch.testing.assert_close(tensor, expected[name], atol=1e-3, rtol=1e-3)


def test_encoder_of_another_size_is_refused(tmp_path, model):
    save_model(model, tmp_path)
    encoder = dataclasses.replace(model.config.encoder, channels=12)
    with pytest.raises(CheckpointError, match=r"has no encoder\.\S+ of shape"):
        init_from(LatentActionModel(dataclasses.replace(model.config, encoder=encoder)), tmp_path)
