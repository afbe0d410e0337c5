"""Features that are kept are those that are computed, and stages learn from them as from frames."""

import dataclasses

import pytest
import torch

from lawm_core.checkpoint import save_model, start_from
from lawm_core.contracts import CheckpointError
from lawm_core.model import LatentActionModel
from lawm_core.models.bottlenecks import SparseConfig
from lawm_core.shares import Share
from lawm_core.training.batches import BatchConfig, PairSource
from lawm_core.training.features import FeatureSource, see
from lawm_core.training.flow_losses import FlowActionConfig, FlowActionObjective
from lawm_core.worlds.tracks import TwinConfig
from tests.conftest import tiny_config
from tests.models.test_flow_world_model import build, tiny_flow_config

BATCH = BatchConfig(
    clips=4, lanes=2, frames=3, twin_share=1.0, motion_grid=8, figure_share=0.5, twins=TwinConfig(frame_size=32)
)


def source(seed: int = 0) -> PairSource:
    return PairSource(BATCH, None, torch.device("cpu"), seed)


def test_kept_features_are_the_computed_ones(tmp_path):
    model = build()
    kept, computed = FeatureSource(source(), model, tmp_path, 3).draw(1), see(model, source().draw(1))
    torch.testing.assert_close(kept.source_BTND, computed.source_BTND, atol=5e-3, rtol=1e-3)
    torch.testing.assert_close(kept.flow_BU2HW, computed.flow_BU2HW, atol=5e-3, rtol=0)
    torch.testing.assert_close(kept.motion.flow_BU2HW, computed.motion.flow_BU2HW, atol=1e-3, rtol=0)
    assert kept.first(2).flow_BU2HW.shape[1] == 1 and kept.first(2).motion.visible_BU1HW.shape[1] == 1


def test_batches_repeat_and_are_computed_once(tmp_path, monkeypatch):
    model = build()
    features = FeatureSource(source(), model, tmp_path, 2)
    first, other = features.draw(0), features.draw(1)
    monkeypatch.setattr(features.source, "draw", lambda *_: 1 / 0)
    again = FeatureSource(source(), model, tmp_path, 2)
    monkeypatch.setattr(again.source, "draw", lambda *_: 1 / 0)
    for drawn in (features.draw(2), again.draw(4)):
        assert torch.equal(drawn.target_BTND, first.target_BTND)
    assert not torch.equal(first.target_BTND, other.target_BTND)


def test_ranks_see_the_batch_between_them(tmp_path):
    features = FeatureSource(source(), build(), tmp_path, 2)
    whole, halves = features.draw(0), [features.draw(0, Share(i, 2)) for i in range(2)]
    assert torch.equal(whole.source_BTND, torch.cat([half.source_BTND for half in halves]))


def test_other_weights_and_other_batches_have_features_of_their_own(tmp_path):
    model = build()
    one = FeatureSource(source(), model, tmp_path, 2).folder
    assert FeatureSource(source(1), model, tmp_path, 2).folder != one
    with torch.no_grad():
        model.encoder.head.weight.add_(0.1)
    assert FeatureSource(source(), model, tmp_path, 2).folder != one


def test_a_damaged_file_is_computed_again(tmp_path):
    features = FeatureSource(source(), build(), tmp_path, 1)
    before = features.draw(0)
    for path in features.folder.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(features.draw(0).source_BTND, before.source_BTND)


def test_a_stage_learns_from_features_as_from_frames(tmp_path):
    model = build().requires_grad_(True)
    objective = FlowActionObjective(model, FlowActionConfig(family="noisy"))
    losses = []
    for batch in (source().draw(0), FeatureSource(source(), model, tmp_path, 1).draw(0)):
        torch.manual_seed(0)
        losses.append(objective.losses(batch, 0.5)["loss"])
    torch.testing.assert_close(*losses, atol=1e-2, rtol=1e-2)


def test_a_fresh_model_takes_over_the_parts_that_fit(tmp_path):
    trained, config = build(), tiny_flow_config()
    save_model(trained, tmp_path, half=True)
    other = dataclasses.replace(config.families["noisy"], bottleneck=SparseConfig(action_width=8))
    decoder = dataclasses.replace(config.decoder, channels=12)
    fresh = LatentActionModel(
        dataclasses.replace(config, families=config.families | {"sparse": other}, decoder=decoder)
    )
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    assert set(start_from(fresh, tmp_path)) == {"encoder", "flow_reader", "noisy"}
    for name, tensor in fresh.state_dict().items():
        own = name.startswith(("decoder", "members.sparse"))
        torch.testing.assert_close(tensor, before[name] if own else trained.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_a_front_end_of_another_size_is_refused(tmp_path):
    save_model(LatentActionModel(tiny_config()), tmp_path)
    with pytest.raises(CheckpointError, match="holds no"):
        start_from(build(), tmp_path)
