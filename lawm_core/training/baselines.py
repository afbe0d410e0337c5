"""What planning is measured against, on the same labelled data: a world model that is told known actions from its
start, in the role of V-JEPA 2-AC, and a goal-conditioned policy, in the role of NoMaD [LAWM §4.7, §4.8].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lawm_core.checkpoint import load_model, save_model
from lawm_core.model import LatentActionModel, ModelConfig
from lawm_core.models.bottlenecks import UnconstrainedConfig
from lawm_core.models.policy import PolicyConfig
from lawm_core.planning.cem import plan_steps
from lawm_core.runtime import pick_device
from lawm_core.training.controller import LabelledConfig, LabelledSource
from lawm_core.training.controllers import describe_robot, sided
from lawm_core.training.losses import Objective
from lawm_core.training.optimizers import OptimizerConfig
from lawm_core.training.trainer import Deadline, ExecutionConfig, Trainer, TrainerConfig
from lawm_core.worlds.episodes import EpisodeWorld, Labelled, build_episodes
from lawm_core.worlds.lerobot import LabelConfig

LABELLED = "labelled"  # the one family of a model of baselines


@dataclass(frozen=True, kw_only=True)
class KnownActionConfig:
    """single_share: of batches that are rolled out from one frame, of a length drawn anew, as latent actions are."""

    robot: str = "arm"
    single_share: float = 0.7


class KnownActionObjective(Objective):
    """A world model with an embedding of known actions, both from nothing; no latent action is ever inferred."""

    def __init__(self, model: LatentActionModel, config: KnownActionConfig) -> None:
        model.robot(config.robot)
        self.model, self.config = model, config
        self.world_model = model.member(LABELLED).world_model
        self.embed = model.controllers[config.robot][LABELLED]

    def trained(self) -> nn.Module:
        return nn.ModuleDict({"world_model": self.world_model, "embed": self.embed})

    def losses(self, labelled: Labelled, progress: float) -> dict[str, Tensor]:
        """`error`: state L1, teacher forced over the context and on the model's own predictions after it."""
        with torch.no_grad():
            state_BTND = self.model.encoder.eval()(labelled.frame_BTCHW).float()
        frames = state_BTND.shape[1]
        single = torch.rand(()).item() < self.config.single_share or frames < 3
        if single:
            frames = int(torch.randint(2, frames + 1, ()).item())
        context = 1 if single else int(torch.randint(2, frames, ()).item())
        state_BTND, known_BUK = state_BTND[:, :frames], labelled.action_BUK[:, : frames - 1]
        capacity_B = torch.ones(len(state_BTND), device=state_BTND.device)
        action_BUA = self.embed(known_BUK, state_BTND[:, :-1], capacity_B)
        predicted_BUND = self.world_model.rollout(state_BTND[:, :context], action_BUA, capacity_B)
        error = (predicted_BUND.float() - state_BTND[:, 1:]).abs().mean()
        copying = (state_BTND[:, :1] - state_BTND[:, 1:]).abs().mean()
        return {"loss": error, "error": error, "copying": error / copying}


class PolicyObjective(Objective):
    """Imitation: what was done between a frame and the one `steps` later, told from the two of them."""

    def __init__(self, model: LatentActionModel, robot: str) -> None:
        self.model, self.policy = model, model.policies[robot]

    def trained(self) -> nn.Module:
        return self.policy

    def losses(self, labelled: Labelled, progress: float) -> dict[str, Tensor]:
        """`missed`: squared distance to what was done, in units of the data's spread."""
        with torch.no_grad():
            ends_B2ND = self.model.encoder.eval()(labelled.frame_BTCHW[:, [0, -1]]).float()
        plan_BHK = self.policy(ends_B2ND[:, 0], ends_B2ND[:, 1]).float()
        missed = ((plan_BHK - labelled.action_BUK) / self.policy.spread_K).square().mean()
        return {"loss": missed, "missed": missed}


def baseline_model(shipped: LatentActionModel) -> LatentActionModel:
    """The shipped model's encoder and decoder with one fresh family of the same sizes."""
    sizes = shipped.member(None).config
    family = replace(sizes, sampler=None, bottleneck=UnconstrainedConfig(action_width=sizes.bottleneck.action_width))
    config: ModelConfig = replace(
        shipped.config, name=f"{shipped.name}-baselines", families={LABELLED: family}, robots={}, policies={}
    )
    model = LatentActionModel(config).to(shipped.device)
    model.encoder.load_state_dict(shipped.encoder.state_dict())
    model.decoder.load_state_dict(shipped.decoder.state_dict())
    return model


def train_baselines(
    out: str | Path,
    robot: str,
    data: str | Path,
    shipped: LatentActionModel,
    cache: str | Path = "cache",
    world_steps: int = 1500,
    policy_steps: int = 1500,
    minutes: float | None = None,
    resume: bool = False,
    device: str = "auto",
    show: bool = True,
    precision: str = "auto",
    labels: LabelConfig | None = None,
) -> dict[str, float]:
    """Trains both baselines of a robot and keeps them as a model in OUT; the last losses by name.

    minutes: for both together.
    """
    out, device = Path(out), pick_device(device)
    home = build_episodes(data, cache, shipped.frames_per_second, shipped.frame_size, labels)
    world, told, deadline = EpisodeWorld(home, "train"), {}, Deadline(minutes)
    steps = plan_steps(robot)
    torch.manual_seed(0)
    model = baseline_model(shipped.to(device)).requires_grad_(True)
    model.add_robot(robot, describe_robot(robot, world, "action"))
    about = model.robot(robot)
    model.add_policy(robot, PolicyConfig(steps=steps, mean=about.mean, spread=about.spread))
    rates = OptimizerConfig(muon_rate=0.012, adam_rate=8e-4)
    stages = {
        LABELLED: (KnownActionObjective(model, KnownActionConfig(robot=robot)), 16, 6, world_steps),
        "policy": (PolicyObjective(model, robot), 64, steps + 1, policy_steps),
    }
    for name, (objective, clips, frames, count) in stages.items():
        batch = LabelledConfig(clips=clips, frames=frames, sided=sided(robot))
        source = LabelledSource(batch, world, device, 0)
        config = TrainerConfig(steps=count, optimizer=rates, execution=ExecutionConfig(precision=precision))
        trainer = Trainer(objective, source, config, out / f"{robot}-{name}")
        if resume:
            trainer.resume()
        told[name] = trainer.run(deadline.minutes_left(), show=show).get("loss", 0.0)
    save_model(model, out / robot)
    return told


def load_baselines(out: str | Path, robot: str, device: str | torch.device = "cpu") -> LatentActionModel:
    """A robot's baselines, as `train_baselines` left them. Raises CheckpointError."""
    return load_model(Path(out) / robot, device=device)
