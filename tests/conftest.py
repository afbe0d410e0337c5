"""Shared fixtures: tiny models, one running app, and the option that runs a part of the slow tests."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from devtools.serving import Server, serve_app
from lawm_core.model import LatentActionModel, ModelConfig
from lawm_core.models.action_sampler import SamplerConfig
from lawm_core.models.attention import BlockConfig
from lawm_core.models.bottlenecks import (
    DeterministicConfig,
    DiscreteConfig,
    NoisyConfig,
    SparseConfig,
    UnconstrainedConfig,
)
from lawm_core.models.decoder import DecoderConfig
from lawm_core.models.encoder import ConvEncoderConfig
from lawm_core.models.family import FamilyConfig
from lawm_core.models.flow_reader import FlowReaderConfig
from lawm_core.models.inverse_dynamics import InverseDynamicsConfig
from lawm_core.models.world_model import WorldModelConfig

TINY_BLOCK = BlockConfig(width=24, heads=2)
torch.set_num_threads(1)  # the models are so small that splitting an operation between threads costs more than it saves


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--slow-part K/N`."""
    parser.addoption(
        "--slow-part",
        type=read_part,
        metavar="K/N",
        help="of the tests marked slow, run only part K of N (1 <= K <= N); the part depends on the node id alone",
    )


def read_part(text: str) -> tuple[int, int]:
    """Parse `K/N`. Raises ArgumentTypeError unless 1 <= K <= N."""
    if not (found := re.fullmatch(r"(\d+)/(\d+)", text)) or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"must be K/N with 1 <= K <= N, got {text}")
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
    """Run the tests of one file in one worker, and all tests of the app in another, so that fixtures are built once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return name_group(nodeid)

    return ByGroup(config, log)


def name_group(node_id: str) -> str:
    """Return the group of a test; a group runs in one worker: all tests of the app, otherwise the tests of one file."""
    path = node_id.partition("::")[0]
    return "app" if path.startswith(("tests/browser/", "tests/trust/")) else path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app in a process of its own, with the shipped model and gallery. All tests share it."""
    with serve_app(folder=tmp_path_factory.mktemp("app")) as running:
        yield running


TINY_BOTTLENECKS = {
    "noisy": NoisyConfig(action_width=8),
    "sparse": SparseConfig(action_width=8, langevin_steps=10),
    "discrete": DiscreteConfig(action_width=8, min_codes=2, max_codes=8),
    "deterministic": DeterministicConfig(action_width=8),
    "unconstrained": UnconstrainedConfig(action_width=8),
}


def tiny_config(window: int = 8, families: tuple[str, ...] = ("noisy",), picture_size: int = 32) -> ModelConfig:
    """Return the config of a model with some ten thousand weights: 32 px frames of 16 tokens, 64 channels per token.

    window: of the world model and the decoder. picture_size: of decoded frames, in pixels.
    """
    family = FamilyConfig(
        inverse_dynamics=InverseDynamicsConfig(block=TINY_BLOCK, depth=1, flow_patches=2, readout=4),
        world_model=WorldModelConfig(
            block=TINY_BLOCK, motion_depth=1, correction_depth=1, window=window, place_width=4, flow_patches=2,
            token_channels=4, conv_channels=8,
        ),
        sampler=SamplerConfig(width=16, depth=1, readout=2, steps=4),
    )  # fmt: skip
    return ModelConfig(
        name="tiny",
        encoder=ConvEncoderConfig(frame_size=32, width=64, channels=8, depth=1),
        flow=FlowReaderConfig(channels=8, coarse_channels=8, radius=2, fine_radius=1, fine_channels=8),
        decoder=DecoderConfig(
            picture_size=picture_size, block=TINY_BLOCK, depth=1, channels=8, conv_depth=1, window=window
        ),
        families={name: dataclasses.replace(family, bottleneck=TINY_BOTTLENECKS[name]) for name in families},
    )


def shake(module: nn.Module, size: float = 0.1) -> None:
    """Add Gaussian noise to every weight, so that layers initialised to zero have an effect."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * size)


def build_tiny_model(noise: float = 0.1, **config) -> LatentActionModel:
    """Return a frozen model of `tiny_config(**config)` in evaluation mode, with noise on every weight."""
    torch.manual_seed(0)
    model = LatentActionModel(tiny_config(**config))
    shake(model, noise)
    return model.eval().requires_grad_(False)


@pytest.fixture
def tiny_model() -> LatentActionModel:
    """A tiny model with random weights, none of them zero."""
    return build_tiny_model()


@pytest.fixture
def frames() -> torch.Tensor:
    """frame_BTCHW of two clips of six frames for the tiny model."""
    return torch.rand(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


EXTERNAL_MODULE = """
from dataclasses import dataclass
from lawm_core.models.bottlenecks import BottleneckConfig, ReferenceBottleneck

@dataclass(frozen=True, kw_only=True)
class ScaledConfig(BottleneckConfig):
    kind: str = "{module}:ScaledConfig"
    factor: float = 2.0

    def build(self):
        return ReferenceBottleneck(self, scale=self.factor)

class NotAConfig:
    pass
"""


@pytest.fixture
def external_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a module outside the package with a bottleneck, `ScaledConfig`. Nothing has imported it yet."""
    name = f"external_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / "external_modules"
    folder.mkdir()
    (folder / f"{name}.py").write_text(EXTERNAL_MODULE.format(module=name))
    monkeypatch.syspath_prepend(str(folder))
    yield name
    sys.modules.pop(name, None)
