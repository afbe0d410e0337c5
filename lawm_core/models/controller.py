"""Controllers, which map a robot action and the state in which it is taken to a latent action [LAWM §3].

The effect of a robot action on the image depends on where the camera stands, which only the state shows. Without the
state, a controller can at best predict the average over all cameras, which is close to no motion.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from einops import rearrange
from torch import Tensor, nn

from lawm_core.models.attention import BlockConfig, CrossAttention
from lawm_core.models.capacity import CapacityEmbedding, capacity_grid
from lawm_core.models.encoder import zero_init
from lawm_core.models.family import Family
from lawm_core.models.flow import flow_basis_size
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.inverse_dynamics import ActionReadout, InverseDynamicsConfig, encode_flow
from lawm_core.models.transformer import FrameTransformer, Mlp

KINDS = ("flow", "attention", "action")
ACTION_ONLY = "_action_only"  # suffix of robots whose controllers do not see the state, such as `arm_action_only`
# Smallest initial gain of a readout. Inverse dynamics can have a gain of 0, with which a readout could not learn.
MIN_GAIN = 0.01


@dataclass(frozen=True, kw_only=True)
class ControllerConfig:
    """The action dimensions of a robot, and the kind and size of its controller.

    names, units: name and unit of each action dimension.
    limits: largest absolute value of each action dimension.
    mean, std: mean and standard deviation of each action dimension in the training data.
    kind: `flow` predicts the flow at every token and encodes it as inverse dynamics does; in `attention`, the action
        attends to the tokens of the state; `action` does not see the state.
    block: block size of `attention` and `action`. The blocks of `flow` have the size of inverse dynamics.
    depth: number of blocks; for `flow`, at most as many as inverse dynamics has.
    """

    names: tuple[str, ...] = ("dx", "dy")
    units: tuple[str, ...] = ("m", "m")
    limits: tuple[float, ...] = (1.0, 1.0)
    mean: tuple[float, ...] = (0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0)
    kind: str = "flow"
    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=128, heads=4))
    depth: int = 1

    def __post_init__(self) -> None:
        counts = {len(self.names), len(self.units), len(self.limits), len(self.mean), len(self.std)}
        if len(counts) > 1 or not self.names:
            raise ValueError(
                f"names, units, limits, mean and std must have the same length of at least 1, got {self.names}, "
                f"{self.units}, {self.limits}, {self.mean} and {self.std}."
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0 for every action dimension, got {self.std}.")
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}.")

    @property
    def sees_state(self) -> bool:
        """Whether the latent action depends on the state."""
        return self.kind != "action"


class Controller(nn.Module):
    """Base class of controllers. It embeds robot actions, divided by their standard deviation, as `width` features."""

    std_R: Tensor

    def __init__(self, config: ControllerConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("std_R", torch.tensor(config.std))
        self.embed = nn.Sequential(
            nn.Linear(len(config.names), width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )

    def predict(self, robot_action_BUR: Tensor, state_BUND: Tensor, capacity_B: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the latent actions action_BUA and the predicted flow, or None from controllers without flow.

        The flow flow_BUNC is in sub-patches and holds the flow vectors of each token in the order of `flow_tokens`.
        """
        raise NotImplementedError

    def forward(self, robot_action_BUR: Tensor, state_BUND: Tensor, capacity_B: Tensor) -> Tensor:
        """Return latent actions action_BUA for robot actions and the states in which they are taken."""
        return self.predict(robot_action_BUR, state_BUND, capacity_B)[0]

    def start_from(self, family: Family, other: Controller | None = None) -> None:
        """Initialise from the trained family of this controller.

        other: trained controller of the same robot for another family. If given, its weights are copied.
        """
        if other is not None:
            self.load_state_dict(other.state_dict())


class FlowController(Controller):
    """Predicts the flow at each token under the robot action, and encodes this flow as a latent action.

    The flow is trained with a target at each token. With the latent action as the only target, the network would learn
    slowly where the arm is in the image and how it moves. The readout from tokens to latent actions is initialised
    from inverse dynamics.
    """

    def __init__(
        self, config: ControllerConfig, encoder: FrameGeometry, action_width: int, sizes: InverseDynamicsConfig
    ) -> None:
        """sizes: config of the inverse dynamics whose latent actions are predicted."""
        super().__init__(config, sizes.block.width)
        sizes = replace(sizes, depth=min(config.depth, sizes.depth))
        self.grid, self.map_size, self.action_width = encoder.grid, encoder.map_size, action_width
        self.basis_size = flow_basis_size(action_width, encoder.map_size)
        self.patches = flow_patches(self.basis_size, encoder.grid)
        self.embed_state = nn.Linear(encoder.width, sizes.block.width)
        init_gain_K = torch.ones_like(capacity_grid())
        self.action_readout = ActionReadout(sizes, encoder, action_width, action_width, init_gain_K)
        self.flow = nn.Linear(sizes.block.width, 2 * self.patches**2)
        zero_init(self.flow)

    def predict(self, robot_action_BUR: Tensor, state_BUND: Tensor, capacity_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latent actions action_BUA and the predicted flow flow_BUNC."""
        clips, steps = robot_action_BUR.shape[:2]
        condition_BUD = self.embed(robot_action_BUR / self.std_R)
        condition_BUD = condition_BUD + self.action_readout.capacity(capacity_B)[:, None]
        x_XND = self.action_readout(self.embed_state(state_BUND.flatten(0, 1)), condition_BUD.flatten(0, 1))
        flow_XNC = self.flow(x_XND)
        action_BUA = self.action_readout.read(x_XND, self.encode_flow(flow_XNC), capacity_B)
        return action_BUA, flow_XNC.unflatten(0, (clips, steps))

    def encode_flow(self, flow_XNC: Tensor) -> Tensor:
        """Encode the flow of all tokens as a latent action, action_XA."""
        side = self.patches
        flow_X2HW = rearrange(flow_XNC, "x (h w) (c i j) -> x c (h i) (w j)", h=self.grid, i=side, j=side)
        return encode_flow(flow_X2HW / self.map_size, self.basis_size, self.action_width)

    @torch.no_grad()
    def start_from(self, family: Family, other: Controller | None = None) -> None:
        """Initialise from the inverse dynamics of the family, without its weights for the next state.

        other: trained controller of the same robot for another family. If given, most weights are copied from it, and
        only those that depend on the bottleneck come from the family.
        """
        super().start_from(family, other)
        source, target = family.inverse_dynamics.action_readout, self.action_readout
        if other is None:
            embed = family.inverse_dynamics.embed_states
            self.embed_state.weight.copy_(embed.weight[:, : self.embed_state.in_features])
            self.embed_state.bias.copy_(embed.bias)
            target.transformer.load_positions(source.transformer)
            for own, taken in zip(target.transformer.blocks, source.transformer.blocks, strict=False):
                own.load_state_dict(taken.state_dict())
            for name in ("norm", "readout"):
                getattr(target, name).load_state_dict(getattr(source, name).state_dict())
        for name in ("capacity", "action_gain"):
            getattr(target, name).load_state_dict(getattr(source, name).state_dict())
        target.out.weight.copy_(source.out.weight[: self.action_width])
        target.out.bias.copy_(source.out.bias[: self.action_width])
        target.correction_gain.gain_KA.copy_(
            family.inverse_dynamics.correction_scale(capacity_grid()).clamp_min(MIN_GAIN)
        )
        for weight in (*target.out.parameters(), *target.action_gain.parameters()):
            weight.mul_(family.bottleneck.input_scale)  # the bottleneck's actions are its inputs times this scale


class AttentionController(Controller):
    """The controller of the paper: the embedded robot action attends to the tokens of the state [LAWM §3].

    The tokens first attend to each other. For the kind `action`, the part that reads the state is left out.
    """

    def __init__(self, config: ControllerConfig, encoder: FrameGeometry, action_width: int) -> None:
        width = config.block.width
        super().__init__(config, width)
        self.capacity = CapacityEmbedding(width)
        if config.sees_state:
            self.embed_state = nn.Linear(encoder.width, width)
            self.transformer = FrameTransformer(config.block, config.depth, encoder.grid, learned_positions=1)
            self.state_norm, self.action_norm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.cross_attention = CrossAttention(config.block)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = Mlp(width, config.block.mlp_ratio * width)
        self.out = nn.Linear(width, action_width)

    def predict(self, robot_action_BUR: Tensor, state_BUND: Tensor, capacity_B: Tensor) -> tuple[Tensor, None]:
        """Return the latent actions action_BUA, and None because no flow is predicted."""
        x_BUD = self.embed(robot_action_BUR / self.std_R) + self.capacity(capacity_B)[:, None]
        if self.config.sees_state:
            state_XND = self.transformer(self.embed_state(state_BUND.flatten(0, 1))[:, None])[0][:, 0]
            x_X1D = x_BUD.flatten(0, 1)[:, None]
            x_X1D = x_X1D + self.cross_attention(self.action_norm(x_X1D), self.state_norm(state_XND))
            x_BUD = x_X1D.view_as(x_BUD)
        return self.out(x_BUD + self.mlp(self.mlp_norm(x_BUD))), None


def build_controller(
    config: ControllerConfig, encoder: FrameGeometry, action_width: int, sizes: InverseDynamicsConfig
) -> Controller:
    """Return an untrained controller of the config's kind. sizes: config of the family's inverse dynamics."""
    if config.kind == "flow":
        return FlowController(config, encoder, action_width, sizes)
    return AttentionController(config, encoder, action_width)


def flow_patches(basis_size: int, grid: int) -> int:
    """Return the number of flow vectors per side of a token, so that a frame has at least `basis_size` per side.

    grid: number of tokens per side of a frame.
    """
    return -(-basis_size // grid)
