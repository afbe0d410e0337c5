"""A robot whose pose is written into its picture, and a model that knows this: everything about it is exact."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from lawm_core.contracts import Rollout
from lawm_core.models.cache import KeyValueCache
from lawm_core.models.controller import ControllerConfig
from lawm_core.models.world_model import WorldModelConfig
from lawm_core.worlds.episodes import Labelled
from lawm_core.worlds.rover import moved

NUMBERS = 4  # of a pose and of an action


@dataclass(frozen=True)
class Now:
    """The pose, moved by what is told; `turns` as a rover does, in its own axes."""

    state_BND: torch.Tensor
    turns: bool
    controller: object = None
    family = SimpleNamespace(config=SimpleNamespace(world_model=WorldModelConfig()))
    past = KeyValueCache()

    def latent(self, told_BK):
        return told_BK

    def act(self, latent_BA):
        return self.step(latent_BA)

    def step(self, told_BK):
        if not self.turns:
            return Now(self.state_BND + F.pad(told_BK, (0, 192 - told_BK.shape[1]))[:, None], False)
        pose_BK = self.state_BND[:, 0, :3].double().numpy()
        ahead = torch.stack([torch.tensor(moved(p, a)) for p, a in zip(pose_BK, told_BK.double().numpy(), strict=True)])
        return Now(torch.cat((ahead.float()[:, None], self.state_BND[..., 3:]), dim=-1), True)

    def expand(self, copies):
        return Now(self.state_BND.repeat_interleave(copies, dim=0), self.turns)

    def follow(self, told_BHK):
        now, states = self, []
        for told_BK in told_BHK.unbind(dim=1):
            now = now.step(told_BK)
            states.append(now.state_BND)
        return torch.stack(states, dim=1)

    def roll(self, told_BHK):
        return Rollout(start_BND=self.state_BND, state_BUND=self.follow(told_BHK))


class DeafNow(Now):
    """What is told changes nothing."""

    def step(self, told_BK):
        return self

    def expand(self, copies):
        return DeafNow(self.state_BND.repeat_interleave(copies, dim=0), self.turns)


class Straight:
    """States are pixels; latent actions are known ones."""

    families, references, frames_per_second, frame_size, picture_size, device = (
        ("noisy",),
        (),
        6.0,
        8,
        8,
        torch.device("cpu"),
    )
    controllers = ("arm", "rover")

    def robot(self, name):
        count = 3 if name == "rover" else NUMBERS
        limits = (0.4, 0.2, 0.25) if name == "rover" else (0.1,) * count
        mean = (0.2, 0.0, 0.0) if name == "rover" else (0.0,) * count
        return ControllerConfig(
            names=("n",) * count, units=("m",) * count, limits=limits, mean=mean, spread=(0.08,) * count
        )

    def encode(self, frame_BTCHW):
        return frame_BTCHW.flatten(2)[..., None].transpose(2, 3)

    def render(self, rollout, _picture_BCHW):
        return self.decode(rollout.state_BUND)

    def decode(self, state_BTND):
        return state_BTND.unflatten(3, (3, 8, 8))[:, :, 0]

    def infer_actions(self, state_BTND, **_):
        return state_BTND[:, 1:, 0, :NUMBERS] - state_BTND[:, :-1, 0, :NUMBERS]

    def rollout(self, state_B1ND, action_BUA, **_):
        state_BUND = state_B1ND + F.pad(action_BUA.cumsum(dim=1), (0, 192 - NUMBERS))[:, :, None]
        return Rollout(start_BND=state_B1ND[:, 0], state_BUND=state_BUND)

    def begin(self, state_B1ND, robot, **_):
        return Now(state_B1ND[:, 0], turns=robot == "rover")

    def samplers(self, family):
        return ("learned", "prior")

    def sample_actions(self, state_BND, generator, **_):
        return 0.2 * torch.rand(len(state_BND), NUMBERS, generator=generator) - 0.1

    def dial(self, capacity, like):
        return torch.full((len(like),), capacity)

    def settle(self, action_BUA, family, capacity_B):
        return action_BUA


class Deaf(Straight):
    """Hears nothing."""

    def begin(self, state_B1ND, robot, **_):
        return DeafNow(state_B1ND[:, 0], turns=False)


class Walk:
    """Episodes of random actions, within a tenth; or of a rover that goes straight and turns at the end."""

    def __init__(self, turns=False):
        self.turns = turns

    def windows(self, frames, count, seed):
        generator = torch.Generator().manual_seed(seed + 12345)
        numbers, still = (3 if self.turns else NUMBERS), 3 * 8 * 8
        action_BUK = 0.2 * torch.rand(count, frames - 1, numbers, generator=generator) - 0.1
        if self.turns:
            action_BUK[:] = action_BUK[:, :1] + torch.tensor([0.2, 0.0, 0.0])
            action_BUK[:, :-1, 2] = 0
        pose_BTK = [torch.rand(count, numbers, generator=generator)]
        for told_BK in action_BUK.unbind(dim=1):
            now = Now(F.pad(pose_BTK[-1], (0, still - numbers))[:, None], self.turns)
            pose_BTK.append(now.step(told_BK).state_BND[:, 0, :numbers])
        pose_BTK = torch.stack(pose_BTK, dim=1)
        frame_BTX = torch.rand(count, 1, still, generator=generator).repeat(1, frames, 1)
        frame_BTX[..., :numbers] = pose_BTK
        return Labelled(frame_BTX.unflatten(2, (3, 8, 8)), action_BUK, pose_BTK)


class Simulated:
    """Simulates the scenes of a walk: what `Walk` says happened is what happens here."""

    def __init__(self, pieces):
        self.start_BCHW, self.opened = pieces.frame_BTCHW[:, 0], True

    def reset(self, seed):
        self.frame_CHW = self.start_BCHW[seed].clone()

    def step(self, action_K):
        self.frame_CHW = self.frame_CHW.clone()
        self.frame_CHW.view(-1)[:NUMBERS] += torch.from_numpy(action_K)
        return self.frame_CHW

    def demonstrate(self, frames):
        return iter(())

    def pose(self):
        return self.frame_CHW.reshape(-1)[:NUMBERS].numpy()

    def save(self):
        return self.frame_CHW

    def restore(self, moment):
        self.frame_CHW = moment

    def close(self):
        self.opened = False
