"""Losses of the encoder: reconstruction of frames, also of warped ones, and masked latent prediction."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lawm_core.batch_slice import BatchSlice
from lawm_core.model import LatentActionModel
from lawm_core.models.attention import BlockConfig
from lawm_core.models.decoder import DecoderConfig, FrameDecoder
from lawm_core.models.feature_map import feature_map_from_tokens, tokens_from_feature_map
from lawm_core.models.flow import warp
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.transformer import FrameTransformer
from lawm_core.training.batches import PairBatch
from lawm_core.training.losses import Loss, add_noise, structural_loss


@dataclass(frozen=True, kw_only=True)
class ReconstructionLossConfig:
    """Config of `ReconstructionLoss`.

    noise: mean standard deviation of the noise that is added to states, so that imprecise predicted states can still be
    decoded. structural: weight of the structural loss, beside the L1 loss. probe: config of a decoder that is trained
    with the encoder and discarded afterwards; its picture size is set to the frame size.
    """

    noise: float = 0.1
    structural: float = 0.2
    probe: DecoderConfig = field(default_factory=lambda: DecoderConfig(depth=1, channels=32, conv_depth=1))


class ReconstructionLoss(Loss):
    """Trains the encoder so that a decoder can reconstruct frames from states, and from warped states.

    When the feature map of a state is warped, the result must decode to the frame warped in the same way (as in EQ-VAE,
    arXiv 2502.09509). Motion in the image then appears as the same motion in the state, which is what a world model has
    to predict.
    """

    def __init__(self, model: LatentActionModel, config: ReconstructionLossConfig) -> None:
        self.model, self.config, self.geometry = model, config, model.config.encoder
        probe = replace(config.probe, picture_size=self.geometry.frame_size)
        self.probe = FrameDecoder(probe, self.geometry).to(model.device)

    def trained(self) -> nn.Module:
        return nn.ModuleDict({"encoder": self.model.encoder, "probe": self.probe})

    def losses(self, batch: PairBatch, progress: float) -> dict[str, Tensor]:
        """Return the total `loss` and its terms: `pixel`, the L1 error, and `structural`, before its weight.

        They are computed on the first two frames of sources and targets. States and frames of the sources are warped by
        random flows. `progress` is not used.
        """
        frame_X1CHW = torch.cat((batch.source_BTCHW[:, :2], batch.target_BTCHW[:, :2])).flatten(0, 1)[:, None]
        subpatches = self.geometry.subpatches
        state_XND, true_XCHW = self.model.encoder(frame_X1CHW)[:, 0], frame_X1CHW[:, 0]
        half = len(state_XND) // 2
        flow_X2HW = affine_flow(half, self.geometry.frame_size, state_XND.device, batch.batch_slice)
        warped_XCHW = warp(feature_map_from_tokens(state_XND[:half], subpatches), shrink(flow_X2HW, self.geometry))
        state_XND = torch.cat((tokens_from_feature_map(warped_XCHW, subpatches), state_XND[half:]))
        true_XCHW = torch.cat((warp(true_XCHW[:half], flow_X2HW), true_XCHW[half:]))
        noisy_XND = add_noise(state_XND, self.config.noise, batch.batch_slice, stacks=2)
        frame_XCHW = self.probe(noisy_XND[:, None]).generated_BTCHW[:, 0].float()
        pixel = (frame_XCHW - true_XCHW).abs().mean()
        structural = structural_loss(frame_XCHW.clamp(0, 1), true_XCHW).mean()
        return {"loss": pixel + self.config.structural * structural, "pixel": pixel, "structural": structural}


def shrink(flow_X2HW: Tensor, geometry: FrameGeometry) -> Tensor:
    """Average a flow over the pixels of each sub-patch, which gives a flow at the resolution of the feature map."""
    return F.avg_pool2d(flow_X2HW, geometry.subpatch_pixels)


def affine_flow(flows: int, size: int, device: torch.device, batch_slice: BatchSlice, max_pan: float = 0.06) -> Tensor:
    """Return random small camera motions as flows in frame widths, flow_X2HW.

    flows: X, how many to draw; each is a pan, a zoom and a roll. size: height and width in pixels. max_pan: largest pan
    along each axis in frame widths. The relative change of size and the roll in radians are at most twice that number.
    """
    uniform = lambda *shape: 2 * batch_slice.rand(flows, *shape, device=device) - 1
    pan = uniform(2) * max_pan
    zoom, roll = (uniform(1, 1) * max_pan * 2 for _ in range(2))
    line = (torch.arange(size, device=device) + 0.5) / size - 0.5
    y, x = line[:, None].expand(size, size), line[None, :].expand(size, size)
    flow_x = pan[:, 0, None, None] + zoom * x - roll * y
    flow_y = pan[:, 1, None, None] + zoom * y + roll * x
    return torch.stack((flow_x, flow_y), dim=1)


@dataclass(frozen=True, kw_only=True)
class MaskedLossConfig:
    """Config of `MaskedLoss`.

    mask_ratio: fraction of the patches of each frame that are masked. ema_decay: decay per step of the exponential
    moving average that forms the target encoder's weights. reconstruction: weight of `ReconstructionLoss`; 0 for masked
    prediction alone. block, depth: config and number of the predictor's transformer blocks.
    """

    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=128, heads=4))
    depth: int = 2
    mask_ratio: float = 0.5
    ema_decay: float = 0.99
    reconstruction: float = 0.0


class MaskedPredictor(nn.Module):
    """Predicts the states of whole frames from the states of the same frames with masked patches."""

    def __init__(self, config: MaskedLossConfig, encoder: FrameGeometry) -> None:
        super().__init__()
        self.embed = nn.Linear(encoder.width, config.block.width)
        self.mask_token_D = nn.Parameter(torch.randn(config.block.width) * 0.02)
        self.transformer = FrameTransformer(config.block, config.depth, encoder.grid)
        self.out = nn.Linear(config.block.width, encoder.width)

    def forward(self, state_XND: Tensor, masked_XN: Tensor) -> Tensor:
        """Replace the states of masked tokens by a learned token and predict the states of all tokens, predicted_XND.

        masked_XN: True for masked tokens.
        """
        x_XND = torch.where(masked_XN[..., None], self.mask_token_D, self.embed(state_XND))
        return self.out(self.transformer(x_XND[:, None])[0][:, 0])


class MaskedLoss(Loss):
    """Masked latent prediction, as in V-JEPA 2 (Assran et al., arXiv 2506.09985).

    The encoder sees frames whose masked patches are grey. From its states, a small predictor predicts the states that a
    target encoder computes for the whole frames. The weights of the target encoder are an exponential moving average of
    the encoder's.
    """

    def __init__(self, model: LatentActionModel, config: MaskedLossConfig) -> None:
        self.model, self.config, self.geometry = model, config, model.config.encoder
        self.predictor = MaskedPredictor(config, self.geometry).to(model.device)
        self.target = copy.deepcopy(model.encoder).requires_grad_(False)
        self.reconstruction = ReconstructionLoss(model, ReconstructionLossConfig()) if config.reconstruction else None

    def trained(self) -> nn.Module:
        parts = {"encoder": self.model.encoder, "predictor": self.predictor, "target": self.target}
        return nn.ModuleDict(parts | ({"probe": self.reconstruction.probe} if self.reconstruction else {}))

    def losses(self, batch: PairBatch, progress: float) -> dict[str, Tensor]:
        """Return the total `loss` and its terms: `masked`, the L1 error of the predicted states of masked patches, and
        the terms of `ReconstructionLoss` if it is used.
        """
        frame_XCHW = torch.cat((batch.source_BTCHW[:, :2], batch.target_BTCHW[:, :2])).flatten(0, 1)
        grid, device = self.geometry.grid, frame_XCHW.device
        masked_XN = random_masks(len(frame_XCHW), grid, self.config.mask_ratio, device, batch.batch_slice)
        mask_X1HW = rearrange(masked_XN, "x (h w) -> x 1 h w", h=grid).float()
        mask_X1HW = F.interpolate(mask_X1HW, scale_factor=self.geometry.patch_size, mode="nearest")
        visible_XCHW = frame_XCHW * (1 - mask_X1HW) + 0.5 * mask_X1HW
        predicted_XND = self.predictor(self.model.encoder(visible_XCHW[:, None])[:, 0], masked_XN)
        with torch.no_grad():
            true_XND = self.target(frame_XCHW[:, None])[:, 0]
        masked = (predicted_XND - true_XND).abs().mean(dim=-1)[masked_XN].mean()
        if self.reconstruction is None:
            return {"loss": masked, "masked": masked}
        others = self.reconstruction.losses(batch, progress)
        return {"loss": masked + self.config.reconstruction * others.pop("loss"), "masked": masked, **others}

    @torch.no_grad()
    def before_step(self) -> None:
        """Update the weights of the target encoder, an exponential moving average of the encoder's.

        Weights are read directly, because `state_dict` would shard them again under FSDP2.
        """
        for target, online in zip(tensors_of(self.target), tensors_of(self.model.encoder), strict=True):
            target.lerp_(online.to(target.dtype), 1 - self.config.ema_decay)


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Return a module's parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


def random_masks(frames: int, grid: int, ratio: float, device: torch.device, batch_slice: BatchSlice) -> Tensor:
    """Return masked_XN, which is True for a fraction `ratio` of each frame's patches, in connected regions.

    frames: X, the number of frames; the first half are of sources, the second half of targets. grid: patches along each
    side of a frame.
    """
    side = max(2, grid // 2)
    coarse = batch_slice.rand(frames, 1, side, side, device=device, stacks=2)
    smooth_XN = F.interpolate(coarse, size=(grid, grid), mode="bilinear", align_corners=False).flatten(1)
    return smooth_XN.argsort(dim=1).argsort(dim=1) < round(ratio * grid * grid)
