"""Baselines for planning, trained on the same labelled data as controllers [LAWM §4.7, §4.8].

They are a world model that takes robot actions instead of latent actions, in the role of V-JEPA 2-AC, and a
goal-conditioned policy, in the role of NoMaD.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lawm_core.checkpoint import load_model, save_model
from lawm_core.data.episodes import EpisodeDataset, LabelledBatch, build_episodes
from lawm_core.model import LatentActionModel
from lawm_core.models.bottlenecks import UnconstrainedConfig
from lawm_core.models.policy import PolicyConfig
from lawm_core.planning.cem import plan_steps
from lawm_core.runtime import pick_device
from lawm_core.training.controller_loss import LabelledBatchConfig, LabelledSource
from lawm_core.training.controllers import LabelledRunConfig, describe_robot, mirrored_dims
from lawm_core.training.losses import Loss
from lawm_core.training.optimizers import OptimizerConfig
from lawm_core.training.trainer import Deadline, ExecutionConfig, Trainer, TrainerConfig

LABELLED = "labelled"  # name of the only family in a model of baselines
DEFAULT_STEPS = 1500


@dataclass(frozen=True, kw_only=True)
class RobotActionLossConfig:
    """Config of `RobotActionLoss`.

    robot: name of the robot. single_frame_fraction: see `LatentActionLossConfig`.
    """

    robot: str = "arm"
    single_frame_fraction: float = 0.7


class RobotActionLoss(Loss):
    """Trains a world model and an embedding of robot actions from scratch. No latent action is inferred."""

    def __init__(self, model: LatentActionModel, config: RobotActionLossConfig) -> None:
        self.model, self.config = model, config
        bound = model.at(LABELLED)
        self.world_model, self.embed = bound.family.world_model, bound.controller(config.robot)

    def trained(self) -> nn.Module:
        return nn.ModuleDict({"world_model": self.world_model, "embed": self.embed})

    def losses(self, batch: LabelledBatch, progress: float) -> dict[str, Tensor]:
        """Return `error`, which is also the total `loss`, and `copying`.

        `error` is the L1 error of predicted states. The first frames, the context, are given as true states; after
        them, each state is predicted from predicted ones. `copying` is the error divided by the error of copying the
        first frame; it is only logged. `progress` is not used.
        """
        with torch.no_grad():
            state_BTND = self.model.encoder.eval()(batch.frame_BTCHW).float()
        frames, context = state_BTND.shape[1], 1
        if torch.rand(()).item() < self.config.single_frame_fraction or frames < 3:
            frames = int(torch.randint(2, frames + 1, ()).item())
        else:
            context = int(torch.randint(2, frames, ()).item())
        state_BTND, robot_action_BUR = state_BTND[:, :frames], batch.action_BUR[:, : frames - 1]
        capacity_B = torch.ones(len(state_BTND), device=state_BTND.device)
        action_BUA = self.embed(robot_action_BUR, state_BTND[:, :-1], capacity_B)
        predictions = self.world_model.rollout(state_BTND[:, :context], action_BUA, capacity_B)
        predicted_BUND = torch.cat([p.state_BTND for p in predictions], dim=1)
        error = (predicted_BUND.float() - state_BTND[:, 1:]).abs().mean()
        copying = (state_BTND[:, :1] - state_BTND[:, 1:]).abs().mean()
        return {"loss": error, "error": error, "copying": error / copying}


class PolicyLoss(Loss):
    """Imitation: from the first and the last frame of a clip, the policy predicts all robot actions in between."""

    def __init__(self, model: LatentActionModel, robot: str) -> None:
        self.model, self.policy = model, model.policies[robot]

    def trained(self) -> nn.Module:
        return self.policy

    def losses(self, batch: LabelledBatch, progress: float) -> dict[str, Tensor]:
        """Return `missed`, which is also the total `loss`: the mean squared error of the predicted actions, in units of
        their standard deviation in the data. `progress` is not used.
        """
        with torch.no_grad():
            ends_B2ND = self.model.encoder.eval()(batch.frame_BTCHW[:, [0, -1]]).float()
        plan_BKR = self.policy(ends_B2ND[:, 0], ends_B2ND[:, 1]).float()
        missed = ((plan_BKR - batch.action_BUR) / self.policy.std_R).square().mean()
        return {"loss": missed, "missed": missed}


def baseline_model(model: LatentActionModel) -> LatentActionModel:
    """Return a model with the encoder, flow reader and decoder of another model and a single untrained family.

    The family, named `labelled`, has the sizes of the other model's default family and an unconstrained bottleneck.
    """
    sizes = model.at().family.config
    bottleneck = UnconstrainedConfig(action_width=sizes.bottleneck.action_width)
    family = replace(sizes, sampler=None, bottleneck=bottleneck)
    config = replace(model.config, name=f"{model.name}-baselines", families={LABELLED: family}, robots={}, policies={})
    baselines = LatentActionModel(config).to(model.device)
    for part in ("encoder", "flow_reader", "decoder"):
        getattr(baselines, part).load_state_dict(getattr(model, part).state_dict())
    return baselines


def train_baselines(out: str | Path, config: LabelledRunConfig, shipped: LatentActionModel) -> dict[str, float]:
    """Train both baselines of a robot and save them to OUT/ROBOT, as one model.

    shipped: the model whose encoder, flow reader and decoder they use. Returns moving averages of the losses at the end
    of the training: `labelled` for the world model and `policy`.
    """
    out, device, robot = Path(out), pick_device(config.device), config.robot
    home = build_episodes(config.data, config.cache, shipped.frames_per_second, shipped.frame_size, config.labels)
    dataset, losses, deadline = EpisodeDataset(home, "train"), {}, Deadline(config.minutes)
    steps = plan_steps(robot)
    torch.manual_seed(0)
    model = baseline_model(shipped.to(device)).requires_grad_(True)
    model.add_robot(robot, describe_robot(robot, dataset, "action"))
    about = model.robot(robot)
    model.add_policy(robot, PolicyConfig(steps=steps, mean=about.mean, std=about.std))
    stages = {
        LABELLED: (RobotActionLoss(model, RobotActionLossConfig(robot=robot)), 16, 6),
        "policy": (PolicyLoss(model, robot), 64, steps + 1),
    }
    for name, (loss, clips, frames) in stages.items():
        batch = LabelledBatchConfig(clips=clips, frames=frames, mirrored_dims=mirrored_dims(robot))
        trainer_config = TrainerConfig(
            steps=config.steps or DEFAULT_STEPS,
            optimizer=OptimizerConfig(muon_rate=0.012, adam_rate=8e-4),
            execution=ExecutionConfig(precision=config.precision),
        )
        trainer = Trainer(loss, LabelledSource(batch, dataset, device, 0), trainer_config, out / f"{robot}-{name}")
        if config.resume:
            trainer.resume()
        losses[name] = trainer.run(deadline.minutes_left(), config.show_progress).get("loss", 0.0)
    save_model(model, out / robot)
    return losses


def load_baselines(out: str | Path, robot: str, device: str | torch.device = "cpu") -> LatentActionModel:
    """Load the baselines of a robot that `train_baselines` saved in the folder `out`.

    Raises CheckpointError if they are missing or damaged.
    """
    return load_model(Path(out) / robot, device=device)
