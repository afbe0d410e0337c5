"""Features of training batches: the states and flow that frozen networks compute, cached on disk.

Families and their samplers are trained on the outputs of a frozen encoder and a frozen flow reader. On a CPU, computing
these outputs and drawing clips takes more than half of a training step, and several stages use the same batches.
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

from lawm_core.atomic_files import atomic_path
from lawm_core.batch_slice import WHOLE_BATCH, BatchSlice
from lawm_core.data.motion_labels import Motion
from lawm_core.model import LatentActionModel
from lawm_core.training.batches import HasMotion, PairBatch, PairSource


@dataclass(frozen=True)
class FeatureBatch(HasMotion):
    """The features of a batch of pairs, see `PairBatch`.

    source_BTND, target_BTND: states. flow_BU2HW: flow between the states of the source, in frame widths, from the flow
    reader. motion: optical flow and visibility of the targets, if the batch has them. batch_slice: the slice of the
    whole batch that this is.
    """

    source_BTND: Tensor
    target_BTND: Tensor
    flow_BU2HW: Tensor
    motion: Motion | None
    batch_slice: BatchSlice = WHOLE_BATCH

    def first(self, frames: int) -> FeatureBatch:
        """Return the batch with every clip cut to its first `frames` frames."""
        steps = frames - 1
        motion = self.motion and Motion(
            *(x[:, :steps] for x in (self.motion.flow_BU2HW, self.motion.visible_BU1HW, self.motion.known_BU1HW))
        )
        return FeatureBatch(
            self.source_BTND[:, :frames],
            self.target_BTND[:, :frames],
            self.flow_BU2HW[:, :steps],
            motion,
            self.batch_slice,
        )


@torch.no_grad()
def compute_features(model: LatentActionModel, batch: PairBatch | FeatureBatch) -> FeatureBatch:
    """Return the features of a batch of pairs. A batch of features is returned unchanged."""
    if isinstance(batch, FeatureBatch):
        return batch
    model.encoder.eval()
    source_BTND, target_BTND = model.encode(torch.cat((batch.source_BTCHW, batch.target_BTCHW))).float().chunk(2)
    return FeatureBatch(source_BTND, target_BTND, model.read_flow(source_BTND), batch.motion, batch.batch_slice)


class FeatureSource:
    """A source of feature batches that caches a fixed number of batches on disk and repeats them.

    Step i returns batch i modulo `batches`. Features are stored in half precision, with one file for each shard, in a
    subfolder of `folder` that is named after the batch config and the frozen weights. An interrupted run continues with
    the files that it has stored. A damaged file is computed again.
    """

    def __init__(self, source: PairSource, model: LatentActionModel, folder: str | Path, batches: int) -> None:
        self.source, self.model, self.batches, self.device = source, model, batches, source.device
        self.folder = Path(folder) / f"features-{self._fingerprint()}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def _fingerprint(self) -> str:
        """Return a hash of the batch config, the seed, the number of batches, the frozen weights and the data set.

        The data set is represented by the first frames that are drawn from it.
        """
        settings = [asdict(self.source.config), self.source.seed, self.batches, asdict(self.model.config.flow)]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for part in (self.model.encoder, self.model.flow_reader):
            for name, tensor in part.state_dict().items():
                digest.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
        first = self.source.draw(0, BatchSlice(0, self.source.config.num_shards))
        for frame_BTCHW in (first.source_BTCHW, first.target_BTCHW):
            digest.update((255 * frame_BTCHW).round().byte().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def draw(self, step: int, batch_slice: BatchSlice = WHOLE_BATCH) -> FeatureBatch:
        """Return the features of a slice of the batch of a step. Raises ValueError if the batch cannot be split that
        way.
        """
        self.source.config.check_divisible(batch_slice.count)
        each = self.source.config.num_shards // batch_slice.count
        shards = [self._shard(step % self.batches, batch_slice.index * each + i) for i in range(each)]
        tensors = {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}
        motion = Motion(tensors["motion"], tensors["visible"], tensors["known"]) if "motion" in tensors else None
        return FeatureBatch(tensors["source"], tensors["target"], tensors["flow"], motion, batch_slice)

    def _shard(self, batch: int, number: int) -> dict[str, Tensor]:
        path = self.folder / f"{batch:05}-{number:03}.safetensors"
        try:
            return self._load(path)
        except (SafetensorError, OSError):  # missing or damaged
            pass
        pairs = self.source.draw(batch, BatchSlice(number, self.source.config.num_shards))
        features = compute_features(self.model, pairs)
        tensors = {"source": features.source_BTND, "target": features.target_BTND, "flow": features.flow_BU2HW}
        if motion := features.motion:
            tensors |= {"motion": motion.flow_BU2HW, "visible": motion.visible_BU1HW, "known": motion.known_BU1HW}
        with atomic_path(path) as unfinished:
            save_file({name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}, unfinished)
        return self._load(path)  # so that the first use has the same rounding as later ones

    def _load(self, path: Path) -> dict[str, Tensor]:
        return {name: tensor.to(self.device).float() for name, tensor in load_file(path).items()}
