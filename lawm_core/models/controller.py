"""A known action, and the state it is done in, to the latent action that means it [LAWM §3].

What a command does to a picture depends on where the camera stands, which the state shows: a controller that sees the
action alone can only answer with the average over all cameras, which is close to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from lawm_core.models.blocks import Block, BlockConfig, CrossAttention, Mlp, grid_rotary
from lawm_core.models.dial import CapacityEmbedding
from lawm_core.models.geometry import FrameGeometry
from lawm_core.models.inverse_dynamics import FlowInverseDynamicsConfig, InverseDynamicsConfig
from lawm_core.models.place_reader import PlaceReader

KINDS = ("places", "attention", "action")
ACTION_ONLY = "_action_only"  # what a robot is called, `arm_action_only`, whose controllers see the action alone


@dataclass(frozen=True, kw_only=True)
class ControllerConfig:
    """names, units, limits: of a known action's numbers; mean, spread: their averages and standard deviations in the
    data.

    kind: `places` and `attention` see the previous state, `action` only the action. block: of the latter two; `places`
    has the sizes of its family's inverse dynamics, and at most `depth` of its blocks.
    """

    names: tuple[str, ...] = ("dx", "dy")
    units: tuple[str, ...] = ("m", "m")
    limits: tuple[float, ...] = (1.0, 1.0)
    mean: tuple[float, ...] = (0.0, 0.0)
    spread: tuple[float, ...] = (1.0, 1.0)
    kind: str = "places"
    block: BlockConfig = field(default_factory=lambda: BlockConfig(width=128, heads=4))
    depth: int = 1

    def __post_init__(self) -> None:
        counts = {len(self.names), len(self.units), len(self.limits), len(self.mean), len(self.spread)}
        if len(counts) > 1 or not self.names or min(self.spread) <= 0 or self.kind not in KINDS:
            raise ValueError(
                f"names {self.names}, units {self.units}, limits {self.limits}, mean {self.mean}, "
                f"spread {self.spread}, kind "
                f"{self.kind!r}; needed: one of each for every number, spreads above 0, a kind of: {', '.join(KINDS)}."
            )


class Controller(nn.Module):
    """By its kind, `places`: every token of the previous state is told the action and answers for its own place;
    `attention`: the embedded action asks the tokens, after self-attention among them, what it means here [LAWM §3].
    """

    def __init__(
        self,
        config: ControllerConfig,
        encoder: FrameGeometry,
        action_width: int,
        reading: InverseDynamicsConfig | FlowInverseDynamicsConfig,
    ) -> None:
        """reading: sizes of the inverse dynamics whose answers are to be met."""
        super().__init__()
        self.config, self.grid = config, encoder.grid
        width = reading.block.width if config.kind == "places" else config.block.width
        self.register_buffer("spread_K", torch.tensor(config.spread))
        self.embed = nn.Sequential(
            nn.Linear(len(config.names), width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )
        if config.kind == "places":
            reading = replace(reading, depth=min(config.depth, reading.depth))
            self.reader = PlaceReader(reading, encoder, action_width)
            return
        self.capacity = CapacityEmbedding(width)
        self.sees = config.kind == "attention"
        if self.sees:
            self.embed_state = nn.Linear(encoder.width, width)
            self.place_ND = nn.Parameter(torch.randn(encoder.tokens, width) * 0.02)
            self.blocks = nn.ModuleList(Block(config.block) for _ in range(config.depth))
            self.state_norm, self.action_norm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.ask = CrossAttention(config.block)
        self.mix_norm = nn.LayerNorm(width)
        self.mix = Mlp(width, config.block.mlp_ratio * width)
        self.out = nn.Linear(width, action_width)

    def forward(self, known_BUK: Tensor, state_BUND: Tensor, capacity_B: Tensor) -> Tensor:
        """Known actions and the states they are done in, to latent actions: action_BUA."""
        return self.tell(known_BUK, state_BUND, capacity_B)[0]

    def tell(self, known_BUK: Tensor, state_BUND: Tensor, capacity_B: Tensor) -> tuple[Tensor, Tensor | None]:
        """action_BUA, and from a controller of places the motion it expects, flow_BUNP in state cells."""
        clips, steps = known_BUK.shape[:2]
        told_BUW = self.embed(known_BUK / self.spread_K)
        if self.config.kind == "places":
            return self.reader(told_BUW, state_BUND, capacity_B)
        told_BUW = told_BUW + self.capacity(capacity_B)[:, None]
        if self.sees:
            seen_XNW = self.look(state_BUND.flatten(0, 1))
            told_X1W = told_BUW.flatten(0, 1)[:, None]
            told_BUW = (told_X1W + self.ask(self.action_norm(told_X1W), seen_XNW)).view(clips, steps, -1)
        return self.out(told_BUW + self.mix(self.mix_norm(told_BUW))), None

    def start_from(self, family: nn.Module, other: Controller | None = None) -> None:
        """Begins where a trained `Family` stands: a controller of places takes over how it reads a state. other: what
        another family's controller of the same robot has learned is taken over too.
        """
        if other is not None:
            self.load_state_dict(other.state_dict())
        if self.config.kind == "places":
            self.reader.speak_as(family) if other is not None else self.reader.start_from(family)

    def look(self, state_XND: Tensor) -> Tensor:
        """A state's tokens once they have looked at each other, (X, N, width)."""
        rotary = grid_rotary(self.config.block, 1, self.grid, device=state_XND.device)
        x_XNW = self.embed_state(state_XND) + self.place_ND
        for layer in self.blocks:
            x_XNW, _ = layer(x_XNW, rotary)
        return self.state_norm(x_XNW)
