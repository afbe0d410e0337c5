"""V-JEPA 2 as the encoder, at a tiny size with random weights, and a whole training on top of it."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
import transformers

from lawm_core.checkpoint import load_model, save_model
from lawm_core.data.motion_tracks import SyntheticConfig
from lawm_core.meta_init import MetaInit
from lawm_core.model import LatentActionModel, ModelConfig
from lawm_core.models.vjepa2 import VJepa2Config, VJepa2Encoder
from lawm_core.training import recipes
from lawm_core.training.batches import PairBatchConfig
from lawm_core.training.decoder_loss import DecoderLoss, DecoderLossConfig
from lawm_core.training.flow_reader_loss import FlowReaderLoss
from lawm_core.training.latent_action_loss import LatentActionLoss, LatentActionLossConfig
from lawm_core.training.recipes import StageConfig, TrainingRecipe
from lawm_core.training.run import RunConfig, TrainingRun
from lawm_core.training.trainer import ExecutionConfig, TrainerConfig
from lawm_core.transfer.transfer import transfer_actions
from lawm_core.types import CheckpointError, Clip
from tests.conftest import shake, tiny_config
from tests.models.test_causality import EDITED, edit

SIZE = 32
ENCODER = VJepa2Config(frame_size=SIZE, patch_size=4, width=48, heads=2, depth=2)
FRAMES = torch.rand(2, 6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def build_encoder() -> VJepa2Encoder:
    torch.manual_seed(0)
    encoder = VJepa2Encoder(ENCODER).eval().requires_grad_(False)
    shake(encoder, 0.3)  # initial weights are so small that no token would depend on another
    return encoder


def config(families: tuple[str, ...] = ("noisy",)) -> ModelConfig:
    """Return the config of a tiny model on ENCODER that decodes frames of twice the size."""
    tiny = tiny_config(families=families, picture_size=2 * SIZE)
    families = {  # a token is one sub-patch, so flow has the resolution of tokens
        name: dataclasses.replace(
            family,
            inverse_dynamics=dataclasses.replace(family.inverse_dynamics, flow_patches=1),
            world_model=dataclasses.replace(family.world_model, flow_patches=1),
        )
        for name, family in tiny.families.items()
    }
    return dataclasses.replace(tiny, name="tiny-vjepa2", encoder=ENCODER, families=families)


@pytest.fixture
def pretrained(tmp_path):
    """A folder as transformers saves it, with the predictor, and the saved model."""
    torch.manual_seed(3)
    sizes = transformers.VJEPA2Config(
        patch_size=4, crop_size=SIZE, hidden_size=48, num_attention_heads=2, num_hidden_layers=2, mlp_ratio=4.0,
        pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1,
    )  # fmt: skip
    original = transformers.VJEPA2Model(sizes).eval()
    shake(original, 0.3)
    original.save_pretrained(tmp_path / "pretrained")
    return tmp_path / "pretrained", original


def test_states_are_causal_to_the_bit():
    encoder = build_encoder()
    before, after = encoder(FRAMES), encoder(edit(FRAMES))
    assert before.shape == (2, 6, ENCODER.tokens, 48)
    assert torch.equal(before[:, :EDITED], after[:, :EDITED])
    assert not torch.equal(before[:, EDITED:], after[:, EDITED:])


def test_with_the_original_attention_states_depend_on_later_frames():
    """Shows that the test above can fail."""
    encoder = build_encoder()
    encoder.network.config._attn_implementation = "sdpa"
    before, after = encoder(FRAMES), encoder(edit(FRAMES))
    assert (before[:, :EDITED] - after[:, :EDITED]).abs().max() > 1e-3


def test_states_depend_on_earlier_frames():
    encoder = build_encoder()
    changed = FRAMES.clone()
    changed[:, 0] = 1 - changed[:, 0]
    assert (encoder(FRAMES)[:, 3] - encoder(changed)[:, 3]).abs().max() > 1e-3


def test_the_first_state_equals_that_of_the_original_model(pretrained):
    folder, original = pretrained
    encoder = build_encoder()
    encoder.load_pretrained(folder)
    first_B1CHW = FRAMES[:, :1]
    normalised = (first_B1CHW - encoder.mean_C11) / encoder.std_C11
    features = original.get_vision_features(normalised.repeat_interleave(2, dim=1))
    expected = F.layer_norm(features, (48,))
    torch.testing.assert_close(encoder(first_B1CHW)[:, 0], expected, atol=1e-4, rtol=1e-4)


def test_weights_of_another_size_or_from_nowhere_raise(pretrained, tmp_path, monkeypatch):
    folder, _ = pretrained
    wider = VJepa2Encoder(dataclasses.replace(ENCODER, width=96))
    with pytest.raises(CheckpointError, match="has hidden_size=48, but this model needs hidden_size=96"):
        wider.load_pretrained(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for nowhere in (tmp_path / "nothing", "facebook/vjepa2-vitl-fpc64-256"):
        with pytest.raises(CheckpointError, match="V-JEPA 2 could not be loaded from"):
            build_encoder().load_pretrained(nowhere)


def test_a_loaded_model_encodes_the_same_to_the_bit(tmp_path):
    torch.manual_seed(0)
    model = LatentActionModel(config()).eval()
    shake(model)
    loaded = load_model(save_model(model, tmp_path / "model"))
    assert loaded.config == model.config
    assert torch.equal(loaded.encode(FRAMES), model.encode(FRAMES))


@pytest.mark.parametrize("sizes", [{"subpatches": 4}, {"heads": 5}, {"patch_size": 7}, {"depth": 0}])
def test_invalid_sizes_raise(sizes):
    with pytest.raises(ValueError, match="must be"):
        dataclasses.replace(ENCODER, **sizes)


def test_a_run_trains_saves_and_transfers_with_a_pretrained_encoder(pretrained, tmp_path, monkeypatch):
    """The weights of the encoder do not change."""
    folder, original = pretrained
    names = ("noisy", "sparse", "discrete")
    batch = PairBatchConfig(clips=2, frames=4, motion_grid=8, scenes=SyntheticConfig(frame_size=SIZE))
    large_batch = dataclasses.replace(batch, scenes=SyntheticConfig(frame_size=2 * SIZE))
    stage = lambda loss, batch=batch: StageConfig(batch=batch, trainer=TrainerConfig(steps=2), loss=loss)
    lam = lambda name: stage(lambda model: LatentActionLoss(model, LatentActionLossConfig(family=name)))
    recipe = TrainingRecipe(
        model=config(families=names),
        stages={
            "flow": stage(FlowReaderLoss),
            **{f"lam-{name}": lam(name) for name in names},
            "decoder": stage(lambda model: DecoderLoss(model, DecoderLossConfig()), large_batch),
        },
        pretrained_encoder="nowhere",
    )
    monkeypatch.setitem(recipes.RECIPES, "tiny", lambda: recipe)
    run_config = RunConfig(
        show_progress=False, pretrained_encoder=str(folder), execution=ExecutionConfig(precision="float32")
    )
    run = TrainingRun("tiny", tmp_path / "run", run_config)
    for name in run.stages():
        assert run.train(name)["step"] == 2
    model = load_model(tmp_path / "run" / "model")
    for name, weight in original.encoder.state_dict().items():
        assert torch.equal(model.encoder.network.state_dict()[name], weight)
    large = F.interpolate(FRAMES.flatten(0, 1), scale_factor=2).unflatten(0, (2, 6))
    clips = [Clip(frame_TCHW=clip, name=str(i), frames_per_second=6.0) for i, clip in enumerate(large)]
    for family in model.family_names:
        result = transfer_actions(model, *clips, family=family, capacity=0.7)
        assert result.frame_TCHW.shape == (6, 3, 2 * SIZE, 2 * SIZE) and result.frame_TCHW.isfinite().all()


def test_a_recipe_that_trains_its_own_encoder_takes_no_pretrained_one(tmp_path):
    with pytest.raises(ValueError, match="recipe 'nano' trains its own encoder and takes no pretrained one"):
        TrainingRun("nano", tmp_path, RunConfig(pretrained_encoder="somewhere"))


def test_the_large_recipe_has_the_papers_sizes():
    with MetaInit(max_bytes=2**30):
        model = LatentActionModel(recipes.large().model)
    sizes = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in model.named_children()}
    assert 300 < sizes["encoder"] < 310  # ViT-L
    world_model = model.families["noisy"].world_model
    count = sum(p.numel() for p in world_model.parameters()) / 1e6
    assert 24 * (12 + 6) * 1.024**2 < count < 1.1 * 24 * (12 + 6) * 1.024**2  # 24 layers with AdaLN's six vectors
    assert model.families["noisy"].action_width == recipes.ACTION_WIDTH
    assert world_model.config.depth == 24 and world_model.config.window == 16
    assert (model.frame_size, model.frames_per_second, model.config.encoder.tokens) == (256, 4.0, 256)
