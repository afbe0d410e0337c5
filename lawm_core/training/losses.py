"""What each stage of training minimises. Every objective names its losses; the one called `loss` is the sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lawm_core.model import LatentActionModel
from lawm_core.models.cells import cells_from_tokens, displace, tokens_from_cells
from lawm_core.models.decoder import DecoderConfig, FrameDecoder
from lawm_core.shares import even_rows, normal_rows, row_numbers, share
from lawm_core.training.batches import Pairs


class Objective(Protocol):
    """Named losses of a batch, and the modules that they train. `progress` in [0, 1] is how far the run has come."""

    def losses(self, pairs: Pairs, progress: float) -> dict[str, Tensor]: ...

    def trained(self) -> nn.Module: ...

    def prepare(self) -> None:
        """What is done to the modules themselves, once before each step: in `losses` ranks may hold copies of them."""


def structural_loss(frame_XCHW: Tensor, true_XCHW: Tensor) -> Tensor:
    """1 - MS-SSIM over three scales (Wang et al. 2003), which asks for sharp structure where L1 allows blur."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

    betas, size = (0.3, 0.3, 0.4), 7
    # Local variances are differences of large numbers: in bf16 they are noise, and bright flat regions learn dots.
    with torch.autocast(frame_XCHW.device.type, enabled=False):
        likeness = ms_ssim(
            frame_XCHW.float(), true_XCHW.float(), data_range=1.0, betas=betas, kernel_size=size, sigma=1.0,
            normalize="relu", gaussian_kernel=True,
        )  # fmt: skip
    return 1 - likeness


def affine_flow(clips: int, size: int, like: Tensor, reach: float = 0.06) -> Tensor:
    """A random small pan, zoom and roll as a displacement field in frame widths, flow_X2HW."""
    chance = lambda *shape: 2 * even_rows(clips, *shape, device=like.device) - 1
    pan = chance(2) * reach
    zoom, roll = (chance(1, 1) * reach * 2 for _ in range(2))
    line = (torch.arange(size, device=like.device) + 0.5) / size - 0.5
    y, x = line[:, None].expand(size, size), line[None, :].expand(size, size)
    flow_x = pan[:, 0, None, None] + zoom * x - roll * y
    flow_y = pan[:, 1, None, None] + zoom * y + roll * x
    return torch.stack((flow_x, flow_y), dim=1)


def add_noise(state: Tensor, most: float, stacks: int = 1) -> Tensor:
    """States with noise of a standard deviation drawn for each row, up to twice `most`."""
    (rows, *shape), device = state.shape, state.device
    level = even_rows(rows, *[1] * len(shape), device=device, stacks=stacks) * 2 * most
    return state + level * normal_rows(rows, *shape, device=device, stacks=stacks)


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """noise: added to states, in their own standard deviations, so that near-misses decode to near-pictures.

    probe: a decoder for this stage alone; without one the model's own is trained.
    """

    noise: float = 0.1
    structural: float = 0.2
    probe: DecoderConfig | None = None


class ReconstructionObjective(Objective):
    """Encoder and decoder together: states that decode, and that still decode after their cells are displaced.

    Displaced states must give the displaced picture (the idea of EQ-VAE, arXiv 2502.09509): motion in the picture is
    then motion in the state, which is what a world model has to predict.
    """

    def __init__(self, model: LatentActionModel, config: ReconstructionConfig) -> None:
        self.model, self.config = model, config
        self.decoder = FrameDecoder(config.probe, model.encoder.config) if config.probe else model.decoder
        self.decoder.to(model.device)

    def trained(self) -> nn.Module:
        return nn.ModuleDict({"encoder": self.model.encoder, "decoder": self.decoder})

    def losses(self, pairs: Pairs, progress: float) -> dict[str, Tensor]:
        """`pixel`, mean absolute error, and `structural`, of both looks' first two frames, half of them displaced."""
        frame_X1CHW = torch.cat((pairs.source_BTCHW[:, :2], pairs.target_BTCHW[:, :2])).flatten(0, 1)[:, None]
        encoder = self.model.encoder.config
        state_XND = self.model.encoder(frame_X1CHW)[:, 0]
        half = len(state_XND) // 2
        true_XCHW = frame_X1CHW[:, 0]
        flow = affine_flow(half, encoder.frame_size, state_XND)
        cell_flow = F.avg_pool2d(flow, encoder.cell_pixels) * (encoder.grid * encoder.cells)
        moved_XND = tokens_from_cells(
            displace(cells_from_tokens(state_XND[:half], encoder.cells), cell_flow), encoder.cells
        )
        true_XCHW = torch.cat((displace(true_XCHW[:half], flow * encoder.frame_size), true_XCHW[half:]))
        state_XND = torch.cat((moved_XND, state_XND[half:]))
        noisy_XND = add_noise(state_XND, self.config.noise, stacks=2)
        frame_XCHW = self.decoder.raw(noisy_XND[:, None])[:, 0].float()
        pixel = (frame_XCHW - true_XCHW).abs().mean()
        structural = structural_loss(frame_XCHW.clamp(0, 1), true_XCHW)
        return {"loss": pixel + self.config.structural * structural, "pixel": pixel, "structural": structural}


@dataclass(frozen=True, kw_only=True)
class LatentActionConfig:
    """warm_up: share of the run over which the bottleneck's price rises; dear from the start, latents stay unused.

    single_share: share of batches rolled out from one frame, where the past cannot stand in for the action. Their
    length is drawn anew, from one step to all: long ones alone teach blur, since a blurred guess errs least far ahead.
    cycle: weight of the way there and back: actions inferred again from the target's first predicted step must explain
    the source's first step.
    lean: power of the capacities drawn evenly; below 1 higher ones are met more often.
    """

    family: str = "noisy"
    warm_up: float = 0.2
    single_share: float = 0.7
    cycle: float = 0.0
    lean: float = 1.0


class LatentActionObjective(Objective):
    """Inverse dynamics and world model together, on a frozen encoder's states [LAWM §2].

    L1 between predicted and true states, teacher forced over the context and on the model's own predictions after it,
    plus the bottleneck's cost. Actions come from the source, states from the target: what both share is what happens.
    """

    def __init__(self, model: LatentActionModel, config: LatentActionConfig) -> None:
        self.model, self.config = model, config
        self.family = model.member(config.family)

    def trained(self) -> nn.Module:
        return self.family

    def losses(self, pairs: Pairs, progress: float) -> dict[str, Tensor]:
        """`error`, of the predicted states; `cost`, of the actions; `copying`, the error over that of copying."""
        frames = pairs.target_BTCHW.shape[1]
        single = torch.rand(()).item() < self.config.single_share or frames < 3
        if single:
            frames = int(torch.randint(2, frames + 1, ()).item())
        context = 1 if single else int(torch.randint(2, frames, ()).item())
        source_BTCHW, target_BTCHW = pairs.source_BTCHW[:, :frames], pairs.target_BTCHW[:, :frames]
        with torch.no_grad():
            both_BTND = self.model.encoder.eval()(torch.cat((source_BTCHW, target_BTCHW))).float()
        source_BTND, target_BTND = both_BTND.chunk(2)
        # A little beyond both ends, so that the ends themselves are met as often as what lies between them.
        clips, device = len(target_BTND), target_BTND.device
        together = self.family.bottleneck.batch_capacity
        chance_S = torch.rand(1, device=device) if together else even_rows(clips, device=device)
        even_S = (1.2 * chance_S - 0.1).clamp(0, 1)
        capacity_B = (even_S**self.config.lean).expand(clips)
        inferred = self.family.infer(source_BTND, capacity_B)
        predicted_BUND = self.family.world_model.rollout(target_BTND[:, :context], inferred.action_BUA, capacity_B)
        error = (predicted_BUND.float() - target_BTND[:, 1:]).abs().mean()
        known_BTND = target_BTND[:, :1] if context == 1 else target_BTND[:, :-1]
        copying = (known_BTND - target_BTND[:, 1:]).abs().mean()
        cost = inferred.cost_BU.mean() * min(1.0, 0.02 + progress / self.config.warm_up)
        losses = {"loss": error + cost, "error": error, "cost": cost, "copying": error / copying}
        if self.config.cycle:
            losses["cycle"] = self.there_and_back(source_BTND, target_BTND, predicted_BUND, capacity_B)
            losses["loss"] = losses["loss"] + self.config.cycle * losses["cycle"]
        return losses | inferred.notes

    def there_and_back(
        self, source_BTND: Tensor, target_BTND: Tensor, predicted_BUND: Tensor, capacity_B: Tensor
    ) -> Tensor:
        """Error of the source's first step under the action inferred from the target's first predicted step."""
        moved_BTND = torch.cat((target_BTND[:, :1], predicted_BUND[:, :1].float()), dim=1)
        action_BUA = self.family.infer(moved_BTND, capacity_B).action_BUA
        back_BUND = self.family.world_model.rollout(source_BTND[:, :1], action_BUA, capacity_B)
        return (back_BUND.float() - source_BTND[:, 1:2]).abs().mean()


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """rollout_share: of the batch, decoded from a world model's own predictions instead of the true states; whose, is
    drawn anew for each batch.
    """

    noise: float = 0.1
    structural: float = 0.2
    rollout_share: float = 0.5


class PictureObjective(Objective):
    """The decoder alone, on states of a frozen encoder and on rollouts of a frozen world model."""

    def __init__(self, model: LatentActionModel, config: PictureConfig) -> None:
        self.model, self.config = model, config

    def trained(self) -> nn.Module:
        return self.model.decoder

    @torch.no_grad()
    def states(self, frame_BTCHW: Tensor) -> Tensor:
        """What the decoder will be shown, state_BTND: some clips rolled out from their first frame."""
        state_BTND = self.model.encoder.eval()(frame_BTCHW).float()
        clips, device = len(state_BTND), state_BTND.device
        whole = clips * share().count
        place_B = torch.randperm(whole)[row_numbers(clips)].to(device)
        pick = (place_B < round(whole * self.config.rollout_share)).nonzero()[:, 0]
        family = self.model.families[int(torch.randint(len(self.model.families), ()).item())]
        capacity_B = even_rows(clips, device=device)[pick]
        if len(pick):
            some_BTND = state_BTND[pick]
            member = self.model.member(family).eval()
            action_BUA = member.infer(some_BTND, capacity_B).action_BUA
            future_BUND = member.world_model.rollout(some_BTND[:, :1], action_BUA, capacity_B).float()
            state_BTND = state_BTND.index_copy(0, pick, torch.cat((some_BTND[:, :1], future_BUND), dim=1))
        return add_noise(state_BTND, self.config.noise)

    def losses(self, pairs: Pairs, progress: float) -> dict[str, Tensor]:
        """`pixel`, mean absolute error, and `structural`, over all frames."""
        # Half of the clips in their own colours, half in others.
        number_B = torch.tensor(row_numbers(len(pairs.target_BTCHW)), device=pairs.target_BTCHW.device)
        own = number_B % 2 == 0
        true_BTCHW = torch.where(own[:, None, None, None, None], pairs.target_BTCHW, pairs.source_BTCHW)
        frame_BTCHW = self.model.decoder.raw(self.states(true_BTCHW)).float()
        pixel = (frame_BTCHW - true_BTCHW).abs().mean()
        structural = structural_loss(frame_BTCHW.flatten(0, 1).clamp(0, 1), true_BTCHW.flatten(0, 1))
        return {"loss": pixel + self.config.structural * structural, "pixel": pixel, "structural": structural}
