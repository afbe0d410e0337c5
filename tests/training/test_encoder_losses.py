"""Losses of the encoder: reconstruction with equivariance, and masked latent prediction."""

import pytest
import torch
import torch.nn.functional as F

from lawm_core.batch_slice import WHOLE_BATCH
from lawm_core.models.decoder import DecodedFrames
from lawm_core.models.encoder import ConvEncoderConfig
from lawm_core.models.feature_map import feature_map_from_tokens, tokens_from_feature_map
from lawm_core.training.batches import PairBatch
from lawm_core.training.encoder_losses import (
    ReconstructionLoss,
    ReconstructionLossConfig,
    affine_flow,
    random_masks,
    shrink,
)
from tests.training.toy_stages import CPU, PROBE, build_model, draw, masked_loss


def reconstruction_loss(**changes: object) -> ReconstructionLoss:
    return ReconstructionLoss(build_model(shaken=True), ReconstructionLossConfig(probe=PROBE, **changes))


# ---- reconstruction -------------------------------------------------------------------------------------------------


def test_probe_decodes_the_frame_size_and_is_no_part_of_the_model():
    loss = reconstruction_loss()
    assert loss.probe.config.picture_size == 32 and loss.model.picture_size == 64
    in_model = {id(weight) for weight in loss.model.parameters()}
    assert not in_model & {id(weight) for weight in loss.probe.parameters()}


def test_reconstruction_trains_encoder_and_probe():
    loss = reconstruction_loss()
    losses = loss.losses(draw(), 0.0)
    torch.testing.assert_close(losses["loss"], losses["pixel"] + 0.2 * losses["structural"])
    losses["loss"].backward()
    trained = {name.partition(".")[0] for name, weight in loss.model.named_parameters() if weight.grad is not None}
    assert trained == {"encoder"}
    assert loss.probe.head.weight.grad.abs().max() > 0


@pytest.mark.parametrize("warped", [True, False])
def test_warped_states_must_decode_to_warped_frames(monkeypatch, warped):
    """With an encoder that averages each sub-patch, states move as frames do; the loss is small only if both move."""
    loss = ReconstructionLoss(build_model(), ReconstructionLossConfig(probe=PROBE, noise=0.0))
    geometry = loss.geometry
    pixels, channels, subpatches = geometry.subpatch_pixels, geometry.subpatch_channels, geometry.subpatches

    def encode(frame_X1CHW: torch.Tensor) -> torch.Tensor:
        small_XCHW = F.pad(F.avg_pool2d(frame_X1CHW[:, 0], pixels), (0, 0, 0, 0, 0, channels - 3))
        return tokens_from_feature_map(small_XCHW, subpatches)[:, None]

    def decode(state_X1ND: torch.Tensor) -> DecodedFrames:
        small_XCHW = feature_map_from_tokens(state_X1ND[:, 0], subpatches)[:, :3]
        frame_X1CHW = F.interpolate(small_XCHW, scale_factor=pixels, mode="bilinear")[:, None]
        return DecodedFrames(frame_X1CHW, frame_X1CHW, frame_X1CHW, frame_X1CHW[:, :, :1])

    monkeypatch.setattr(loss, "probe", decode)
    monkeypatch.setattr(loss.model.encoder, "forward", encode)
    if not warped:
        monkeypatch.setattr("lawm_core.training.encoder_losses.shrink", lambda *given: 0 * shrink(*given))
    torch.manual_seed(0)
    smooth_BTCHW = F.interpolate(torch.rand(8, 6, 4, 4), size=(32, 32), mode="bicubic").unflatten(1, (2, 3))
    pixel = loss.losses(PairBatch(smooth_BTCHW, smooth_BTCHW), 0.0)["pixel"]
    assert pixel < 0.01 if warped else pixel > 0.02


def test_affine_flows_are_small_and_have_the_same_meaning_at_the_feature_map():
    flow_X2HW = affine_flow(64, 32, CPU, WHOLE_BATCH)
    assert flow_X2HW.shape == (64, 2, 32, 32) and 0.05 < flow_X2HW.abs().max() < 0.06 + 0.12
    geometry = ConvEncoderConfig(frame_size=32)
    small_X2HW = shrink(flow_X2HW, geometry)
    assert small_X2HW.shape[-1] == geometry.map_size
    torch.testing.assert_close(small_X2HW.mean(dim=(2, 3)), flow_X2HW.mean(dim=(2, 3)), atol=1e-5, rtol=1e-4)


# ---- masked latent prediction ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_masks_hide_the_given_fraction_in_connected_regions(ratio):
    torch.manual_seed(0)
    masked_XN = random_masks(50, 8, ratio, CPU, WHOLE_BATCH)
    assert (masked_XN.sum(dim=1) == ratio * 64).all()
    grid = masked_XN.unflatten(1, (8, 8))
    same = (grid[:, :, 1:] == grid[:, :, :-1]).float().mean()
    independent = ratio**2 + (1 - ratio) ** 2
    assert same > independent + 0.15


def test_masked_prediction_trains_encoder_and_predictor_but_not_the_target():
    loss = masked_loss(build_model(shaken=True))
    losses = loss.losses(draw(), 0.0)
    assert losses["loss"] == losses["masked"]
    losses["loss"].backward()
    trained = {name.partition(".")[0] for name, weight in loss.model.named_parameters() if weight.grad is not None}
    assert trained == {"encoder"}
    assert loss.predictor.mask_token_D.grad.abs().max() > 0
    assert all(weight.grad is None for weight in loss.target.parameters())


def test_mixed_loss_is_the_weighted_sum():
    losses = masked_loss(build_model(shaken=True), reconstruction=3.0).losses(draw(), 0.0)
    expected = losses["masked"] + 3.0 * (losses["pixel"] + 0.2 * losses["structural"])
    torch.testing.assert_close(losses["loss"], expected)


def test_target_encoder_is_a_moving_average_of_the_encoder():
    loss = masked_loss(build_model(), ema_decay=0.75)
    before = loss.target.head.weight.clone()
    with torch.no_grad():
        loss.model.encoder.head.weight.add_(1.0)
        loss.model.encoder.std.add_(1.0)
    loss.before_step()
    torch.testing.assert_close(loss.target.head.weight, before + 0.25)
    torch.testing.assert_close(loss.target.std, torch.tensor(1.25))
    assert not loss.target.head.weight.requires_grad
