"""Batches as frozen networks see them: states and flow, computed once and kept on disk.

Latent-action models and samplers train on a frozen encoder and a frozen flow reader. Those two and the drawing of
clips take more than half of a step on a CPU, and several stages ask for the same batches.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lawm_core.model import LatentActionModel
from lawm_core.saving import atomic_path
from lawm_core.shares import Share, share
from lawm_core.training.batches import Pairs, PairSource
from lawm_core.worlds.true_motion import Motion


@dataclass(frozen=True)
class Features:
    """States of a batch of pairs, the flow between the source's states, and the target's true motion.

    source_BTND, target_BTND; flow_BU2HW in frame widths, None for models that do not read flow; motion as in `Pairs`.
    """

    source_BTND: Tensor
    target_BTND: Tensor
    flow_BU2HW: Tensor | None
    motion: Motion | None

    def first(self, frames: int) -> Features:
        """The first frames of every clip."""
        steps = frames - 1
        motion = self.motion and Motion(
            *(x[:, :steps] for x in (self.motion.flow_BU2HW, self.motion.visible_BU1HW, self.motion.known_BU1HW))
        )
        flow_BU2HW = None if self.flow_BU2HW is None else self.flow_BU2HW[:, :steps]
        return Features(self.source_BTND[:, :frames], self.target_BTND[:, :frames], flow_BU2HW, motion)

    @staticmethod
    def join(parts: list[Features]) -> Features:
        """Several batches as one."""
        join = lambda name: torch.cat([getattr(part, name) for part in parts])
        return Features(
            join("source_BTND"),
            join("target_BTND"),
            None if parts[0].flow_BU2HW is None else join("flow_BU2HW"),
            None if parts[0].motion is None else Motion.join([part.motion for part in parts]),
        )


@torch.no_grad()
def see(model: LatentActionModel, pairs: Pairs | Features) -> Features:
    """The features of a batch; one that holds features already is returned as it is."""
    if isinstance(pairs, Features):
        return pairs
    both_BTCHW = torch.cat((pairs.source_BTCHW, pairs.target_BTCHW))
    model.encoder.eval()
    source_BTND, target_BTND = model.encode(both_BTCHW).float().chunk(2)
    return Features(source_BTND, target_BTND, model.read_flow(source_BTND), pairs.motion)


class FeatureSource:
    """A source of `Features` that repeats after `batches` batches, so that later ones are read from disk.

    Kept in half precision, a file for each batch shard, in a folder named after the batches' settings and the frozen
    weights. An interrupted run finds what it has stored; a damaged file is computed again.
    """

    def __init__(self, source: PairSource, model: LatentActionModel, folder: str | Path, batches: int) -> None:
        self.source, self.model, self.batches, self.device = source, model, batches, source.device
        self.folder = Path(folder) / f"features-{self._mark()}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def _mark(self) -> str:
        """A hash of what the features depend on."""
        reader = self.model.config.flow and asdict(self.model.config.flow)
        settings = [asdict(self.source.config), self.source.seed, self.batches, reader]
        about = hashlib.sha256(json.dumps(settings).encode())
        for part in filter(None, (self.model.encoder, self.model.flow_reader)):
            for name, tensor in part.state_dict().items():
                about.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
        return about.hexdigest()[:16]

    def draw(self, step: int, part: Share | None = None) -> Features:
        """The features of one step, those of this process's share where none is named."""
        part = part or share()
        self.source.config.demand_shared(part.count)
        each = self.source.config.lanes // part.count
        return Features.join([self._shard(step % self.batches, part.index * each + i) for i in range(each)])

    def _shard(self, batch: int, number: int) -> Features:
        path = self.folder / f"{batch:05}-{number:03}.safetensors"
        if (kept := self._load(path)) is not None:
            return kept
        features = see(self.model, self.source.draw(batch, Share(number, self.source.config.lanes)))
        tensors = {"source": features.source_BTND, "target": features.target_BTND}
        if features.flow_BU2HW is not None:
            tensors["flow"] = features.flow_BU2HW
        if features.motion is not None:
            motion = features.motion
            tensors |= {"motion": motion.flow_BU2HW, "visible": motion.visible_BU1HW, "known": motion.known_BU1HW}
        with atomic_path(path) as unfinished:
            save_file({name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}, unfinished)
        return self._load(path)  # the same numbers whether a batch is met for the first time or again

    def _load(self, path: Path) -> Features | None:
        try:
            kept = {name: tensor.to(self.device).float() for name, tensor in load_file(path).items()}
        except (SafetensorError, OSError):
            return None
        motion = Motion(kept["motion"], kept["visible"], kept["known"]) if "motion" in kept else None
        return Features(kept["source"], kept["target"], kept.get("flow"), motion)
