"""What many tests share: tiny models, one running app, and the option that runs a part of the slow tests."""

from __future__ import annotations

import argparse
import dataclasses
import re
import zlib
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from benchmarks.serving import Server, served
from lawm_core.model import LatentActionModel, ModelConfig
from lawm_core.models.blocks import BlockConfig
from lawm_core.models.bottlenecks import (
    DeterministicConfig,
    DiscreteConfig,
    NoisyConfig,
    SparseConfig,
    UnconstrainedConfig,
)
from lawm_core.models.decoder import DecoderConfig
from lawm_core.models.encoder import EncoderConfig
from lawm_core.models.family import FamilyConfig
from lawm_core.models.inverse_dynamics import InverseDynamicsConfig
from lawm_core.models.motion import MotionConfig
from lawm_core.models.sampler import SamplerConfig
from lawm_core.models.world_model import WorldModelConfig

TINY_BLOCK = BlockConfig(width=24, heads=2)
torch.set_num_threads(1)  # the toys are so small that sharing an operation between threads costs more than it saves


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--slow-part K/N`."""
    parser.addoption(
        "--slow-part",
        type=read_part,
        metavar="K/N",
        help="of the tests marked slow, run only part K of N (1 <= K <= N); a test's part depends on its node id alone",
    )


def read_part(text: str) -> tuple[int, int]:
    """Parse `K/N`. ArgumentTypeError unless 1 <= K <= N."""
    if not (found := re.fullmatch(r"(\d+)/(\d+)", text)) or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"K/N with 1 <= K <= N is needed, got {text}")
    return int(found[1]), int(found[2])


def is_in_part(node_id: str, part: int, parts: int) -> bool:
    """Return whether a test belongs to part `part` of `parts`. Every test belongs to exactly one part."""
    return zlib.crc32(node_id.encode()) % parts == part - 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the slow tests of all other parts."""
    if (chosen := config.getoption("slow_part")) is None:
        return
    others = [item for item in items if item.get_closest_marker("slow") and not is_in_part(item.nodeid, *chosen)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """With several workers, keep together what would otherwise be built twice: a file's fixtures, and the app."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return name_group(nodeid)

    return ByGroup(config, log)


def name_group(node_id: str) -> str:
    """Return which tests run in the same worker: all that visit the app, and otherwise those of one file."""
    path = node_id.partition("::")[0]
    return "app" if path.startswith(("tests/browser/", "tests/trust/")) else path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app in its own process, with the model and gallery that it ships. All tests share this one."""
    with served(folder=tmp_path_factory.mktemp("app")) as running:
        yield running


TINY_LIMITS = {
    "noisy": NoisyConfig(action_width=8),
    "sparse": SparseConfig(action_width=8, langevin_steps=10),
    "discrete": DiscreteConfig(action_width=8, least_codes=2, most_codes=8),
    "deterministic": DeterministicConfig(action_width=8),
    "unconstrained": UnconstrainedConfig(action_width=8),
}


def tiny_config(window: int = 8, families: tuple[str, ...] = ("noisy",)) -> ModelConfig:
    """A model of a few thousand weights: 32 px, 16 tokens a frame."""
    family = FamilyConfig(
        inverse_dynamics=InverseDynamicsConfig(
            block=TINY_BLOCK, depth=1, motion=MotionConfig(channels=8, radius=2), readout=4
        ),
        world_model=WorldModelConfig(
            block=TINY_BLOCK, motion_depth=1, correction_depth=1, window=window, place_width=4
        ),
        sampler=SamplerConfig(width=16, depth=1, readout=2, steps=4),
    )
    return ModelConfig(
        name="tiny",
        encoder=EncoderConfig(frame_size=32, width=64, channels=8, depth=1),
        decoder=DecoderConfig(block=TINY_BLOCK, depth=1, channels=8, conv_depth=1, window=window),
        families={name: dataclasses.replace(family, bottleneck=TINY_LIMITS[name]) for name in families},
    )


def shake(module: nn.Module, size: float = 0.1) -> None:
    """Gives every weight some noise, so that layers which start at zero take part."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * size)


def build_tiny_model() -> LatentActionModel:
    """An untrained model in which every part matters."""
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config())
    shake(model)
    return model.eval().requires_grad_(False)


@pytest.fixture
def tiny_model() -> LatentActionModel:
    """An untrained model in which every part matters."""
    return build_tiny_model()


@pytest.fixture
def frames() -> torch.Tensor:
    """frame_BTCHW of two clips of six frames for the tiny model."""
    return torch.rand(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
