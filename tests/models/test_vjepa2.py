"""V-JEPA 2 as the encoder: the same classes at tiny size with random weights, and the whole chain on top of them."""

import dataclasses

import pytest
import torch
import transformers

from lawm_core.checkpoint import load_model, save_model
from lawm_core.contracts import CheckpointError, Clip
from lawm_core.evaluation.transfer import transfer
from lawm_core.model import LatentActionModel
from lawm_core.models.vjepa2 import VJepa2Config, VJepa2Encoder
from lawm_core.training import recipes
from lawm_core.training.batches import BatchConfig
from lawm_core.training.losses import LatentActionConfig, LatentActionObjective, PictureConfig, PictureObjective
from lawm_core.training.recipes import Recipe, StageRecipe, large
from lawm_core.training.runs import TrainingRun
from lawm_core.training.trainer import ExecutionConfig, TrainerConfig
from lawm_core.worlds.tracks import TwinConfig
from tests.conftest import shake, tiny_config
from tests.models.test_causality import EDITED, edit

SIZE = 32
ENCODER = VJepa2Config(frame_size=SIZE, patch_size=8, width=48, heads=2, depth=2)
FRAMES = torch.rand(2, 6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def build_encoder() -> VJepa2Encoder:
    torch.manual_seed(0)
    encoder = VJepa2Encoder(ENCODER).eval().requires_grad_(False)
    shake(encoder, 0.3)  # fresh weights are so small that nothing would be seen of anything
    return encoder


def config(families: tuple[str, ...] = ("noisy",)):
    return dataclasses.replace(tiny_config(families=families), name="tiny-vjepa2", encoder=ENCODER)


@pytest.fixture
def backbone(tmp_path):
    """A folder as transformers saves it, of the whole class, predictor and all."""
    torch.manual_seed(3)
    told = transformers.VJEPA2Config(
        patch_size=8, crop_size=SIZE, hidden_size=48, num_attention_heads=2, num_hidden_layers=2, mlp_ratio=4.0,
        pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1,
    )  # fmt: skip
    theirs = transformers.VJEPA2Model(told).eval()
    shake(theirs, 0.3)
    theirs.save_pretrained(tmp_path / "backbone")
    return tmp_path / "backbone", theirs


def test_states_are_causal_to_the_bit():
    encoder = build_encoder()
    before, after = encoder(FRAMES), encoder(edit(FRAMES))
    assert before.shape == (2, 6, ENCODER.tokens, 48)
    assert torch.equal(before[:, :EDITED], after[:, :EDITED])
    assert not torch.equal(before[:, EDITED:], after[:, EDITED:])


def test_with_attention_as_it_was_trained_the_future_leaks():
    """That the law above can fail."""
    encoder = build_encoder()
    encoder.network.config._attn_implementation = "sdpa"
    before, after = encoder(FRAMES), encoder(edit(FRAMES))
    assert (before[:, :EDITED] - after[:, :EDITED]).abs().max() > 1e-3


def test_states_know_the_past():
    encoder = build_encoder()
    changed = FRAMES.clone()
    changed[:, 0] = 1 - changed[:, 0]
    assert (encoder(FRAMES)[:, 3] - encoder(changed)[:, 3]).abs().max() > 1e-3


def test_weights_come_over_and_a_first_state_is_what_theirs_says(backbone):
    folder, theirs = backbone
    encoder = build_encoder()
    encoder.start_from(folder)
    first_B1CHW = FRAMES[:, :1]
    ours = encoder(first_B1CHW)[:, 0]
    seen = (first_B1CHW - encoder.colour_mean_C11) / encoder.colour_spread_C11
    said = theirs.get_vision_features(seen.repeat_interleave(2, dim=1))
    torch.testing.assert_close(ours, torch.nn.functional.layer_norm(said, (48,)), atol=1e-4, rtol=1e-4)


def test_what_cannot_be_loaded_says_why(backbone, tmp_path, monkeypatch):
    folder, _ = backbone
    wider = VJepa2Encoder(dataclasses.replace(ENCODER, width=96))
    with pytest.raises(CheckpointError, match="has hidden_size 48; this model needs 96"):
        wider.start_from(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for nowhere in (tmp_path / "nothing", "facebook/vjepa2-vitl-fpc64-256"):
        with pytest.raises(CheckpointError, match="could not be loaded from"):
            build_encoder().start_from(nowhere)


def test_a_model_comes_back_to_the_bit(tmp_path):
    torch.manual_seed(0)
    model = LatentActionModel(config()).eval()
    shake(model)
    again = load_model(save_model(model, tmp_path / "model"))
    assert again.config == model.config
    assert torch.equal(again.encode(FRAMES), model.encode(FRAMES))


@pytest.mark.parametrize("broken", [{"cells": 4}, {"heads": 5}, {"patch_size": 7}, {"depth": 0}])
def test_sizes_that_cannot_be_are_refused(broken):
    with pytest.raises(ValueError):
        dataclasses.replace(ENCODER, **broken)


def test_the_whole_chain_runs_on_it(backbone, tmp_path, monkeypatch):
    """Trained from a backbone's folder, saved, opened and used: the backbone's weights stay as they were."""
    folder, theirs = backbone
    batch = BatchConfig(clips=2, frames=4, twins=TwinConfig(frame_size=SIZE))
    stage = {"batch": batch, "trainer": TrainerConfig(steps=2, execution=ExecutionConfig(precision="float32"))}
    tiny = Recipe(
        model=config(families=("noisy", "sparse", "discrete")),
        stages={
            **{
                f"lam-{name}": StageRecipe(
                    **stage, objective=lambda m, name=name: LatentActionObjective(m, LatentActionConfig(family=name))
                )
                for name in ("noisy", "sparse", "discrete")
            },
            "decoder": StageRecipe(**stage, objective=lambda m: PictureObjective(m, PictureConfig())),
        },
        backbone="nowhere",
    )
    monkeypatch.setitem(recipes.RECIPES, "tiny", lambda: tiny)
    run = TrainingRun("tiny", None, tmp_path / "run", show=False, backbone=folder)
    for name in run.stages():
        assert run.train(name)["step"] == 2
    model = load_model(tmp_path / "run" / "model")
    for name, weight in theirs.encoder.state_dict().items():
        assert torch.equal(model.encoder.network.state_dict()[name], weight)
    clips = [Clip(frame_TCHW=clip, name=str(i), frames_per_second=6.0) for i, clip in enumerate(FRAMES)]
    for family in model.families:
        result = transfer(model, *clips, family=family, capacity=0.7)
        assert result.frame_TCHW.shape == (6, 3, SIZE, SIZE) and result.frame_TCHW.isfinite().all()


def test_a_recipe_that_learns_its_own_encoder_takes_no_backbone(tmp_path):
    with pytest.raises(ValueError, match="learns its own encoder"):
        TrainingRun("nano", None, tmp_path, backbone="somewhere")


def test_the_large_recipe_has_the_papers_sizes():
    with torch.device("meta"):
        model = LatentActionModel(large().model)
    sizes = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in model.named_children()}
    assert 300 < sizes["encoder"] < 310  # ViT-L
    world_model = sum(p.numel() for p in model.member("noisy").world_model.parameters()) / 1e6
    assert 24 * (12 + 6) * 1.024**2 < world_model < 1.1 * 24 * (12 + 6) * 1.024**2  # 24 layers, AdaLN's six vectors
    assert model.member("noisy").config.bottleneck.action_width == 128
    assert (model.frame_size, model.frames_per_second, model.config.encoder.tokens) == (256, 4.0, 256)
