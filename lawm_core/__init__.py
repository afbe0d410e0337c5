"""LAWM Explorer's core: latent actions from one video, applied to another.

    import lawm_core as lawm
    model = lawm.load_model()
    clip = lawm.read_clip("walk.mp4", frames_per_second=model.frames_per_second, size=model.picture_size, num_frames=16)

Method: Garrido et al., Learning Latent Action World Models In The Wild, arXiv 2601.05230, cited as [LAWM §n].

Shape suffixes of tensors: B: clips. T: frames. U = T - 1: transitions. N: tokens per frame. D: width of a token. A:
width of a latent action. R: width of a robot action. C: channels. H, W: height and width. M: attention heads. d: width
of a head. S: sampled plans. K: planned steps (in capacity.py, capacities of a grid). E: elites. J: handles of a drag.
I: iterations. V: search variables. Z: codes. P: points of a map. X, Y: axes of any other size, such as merged ones. A
digit is a fixed size. For example, `state_BTND` has one state of width D for every clip, frame and token.

Layers, from the top down. A module imports from its own layer and from the layers to its right only, which a test
checks: cli > bulk > evaluation, training > transfer, library, dragging > checkpoint > model > planning > simulation >
data > models > video > types, runtime, registry, schema, atomic_files, batch_slice, hub, model_folders, meta_init.

Importing this package imports no other module of it: each public name loads its module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers
    from lawm_core.batch_slice import BatchSlice
    from lawm_core.checkpoint import fingerprint, load_model, save_model
    from lawm_core.data.gallery import GalleryClip, downloaded_clips, read_gallery
    from lawm_core.data.mixture import VideoDataset
    from lawm_core.dragging.drag import DragStep, count_steps, drag
    from lawm_core.dragging.handle import MAX_HANDLES, Handle
    from lawm_core.evaluation.paper import paper_ratios
    from lawm_core.library.library import ActionLibrary, load_library
    from lawm_core.library.motion_summary import describe_motion
    from lawm_core.library.projection import umap_layout, umap_layout_in_subprocess
    from lawm_core.model import BoundFamily, LatentActionModel, ModelConfig
    from lawm_core.model_folders import find_model, list_models
    from lawm_core.models.attention import BlockConfig
    from lawm_core.models.bottlenecks import Bottleneck, BottleneckConfig, BottleneckOutput
    from lawm_core.models.controller import ControllerConfig
    from lawm_core.models.decoder import DecoderConfig
    from lawm_core.models.encoder import ConvEncoderConfig
    from lawm_core.models.family import FamilyConfig
    from lawm_core.models.flow_reader import FlowReaderConfig
    from lawm_core.models.geometry import FrameGeometry
    from lawm_core.models.inverse_dynamics import InverseDynamicsConfig
    from lawm_core.models.world_model import WorldModelConfig
    from lawm_core.planning.cem import CemConfig, SearchSpace, iterate_cem, plan_by_cem, plan_steps, robot_search_space
    from lawm_core.planning.costs import GoalStateCost
    from lawm_core.planning.dynamics import WorldModelDynamics
    from lawm_core.planning.rollout_state import RolloutState
    from lawm_core.runtime import describe_hardware
    from lawm_core.simulation.robots import build_robot
    from lawm_core.simulation.simulator import SimulatorError
    from lawm_core.training.batches import PairBatch, PairBatchConfig, PairSource
    from lawm_core.training.features import FeatureBatch
    from lawm_core.training.losses import Loss
    from lawm_core.training.optimizers import OptimizerConfig
    from lawm_core.training.recipes import Schedule, StageConfig, TrainingRecipe, standard_recipe
    from lawm_core.training.run import RunConfig, TrainingRun
    from lawm_core.training.trainer import ExecutionConfig, Trainer, TrainerConfig
    from lawm_core.transfer.live import LiveFrame, LiveTransfer
    from lawm_core.transfer.replay import ClipReference, ReplaySpec, content_hash, montage, panels, run_spec
    from lawm_core.transfer.script import ActionScript, ScriptStep, Term, read_script
    from lawm_core.transfer.transfer import apply_actions, transfer_actions, try_actions
    from lawm_core.types import CheckpointError, Clip, Plan, Rollout, Transfer, VideoError
    from lawm_core.video.files import read_clip, read_picture, write_clip
    from lawm_core.video.montage import enlarge
    from lawm_core.video.paths import PICTURE_SUFFIXES, VIDEO_SUFFIXES

__all__ = [
    "MAX_HANDLES",
    "PICTURE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "ActionLibrary",
    "ActionScript",
    "BatchSlice",
    "BlockConfig",
    "Bottleneck",
    "BottleneckConfig",
    "BottleneckOutput",
    "BoundFamily",
    "CemConfig",
    "CheckpointError",
    "Clip",
    "ClipReference",
    "ControllerConfig",
    "ConvEncoderConfig",
    "DecoderConfig",
    "DragStep",
    "ExecutionConfig",
    "FamilyConfig",
    "FeatureBatch",
    "FlowReaderConfig",
    "FrameGeometry",
    "GalleryClip",
    "GoalStateCost",
    "Handle",
    "InverseDynamicsConfig",
    "LatentActionModel",
    "LiveFrame",
    "LiveTransfer",
    "Loss",
    "ModelConfig",
    "OptimizerConfig",
    "PairBatch",
    "PairBatchConfig",
    "PairSource",
    "Plan",
    "ReplaySpec",
    "Rollout",
    "RolloutState",
    "RunConfig",
    "Schedule",
    "ScriptStep",
    "SearchSpace",
    "SimulatorError",
    "StageConfig",
    "Term",
    "Trainer",
    "TrainerConfig",
    "TrainingRecipe",
    "TrainingRun",
    "Transfer",
    "VideoDataset",
    "VideoError",
    "WorldModelConfig",
    "WorldModelDynamics",
    "apply_actions",
    "build_robot",
    "content_hash",
    "count_steps",
    "describe_hardware",
    "describe_motion",
    "downloaded_clips",
    "drag",
    "enlarge",
    "find_model",
    "fingerprint",
    "iterate_cem",
    "list_models",
    "load_library",
    "load_model",
    "montage",
    "panels",
    "paper_ratios",
    "plan_by_cem",
    "plan_steps",
    "read_clip",
    "read_gallery",
    "read_picture",
    "read_script",
    "robot_search_space",
    "run_spec",
    "save_model",
    "standard_recipe",
    "transfer_actions",
    "try_actions",
    "umap_layout",
    "umap_layout_in_subprocess",
    "write_clip",
]

# Public names by module, for the interpreter (PEP 562).
_EXPORTS = {
    "batch_slice": ("BatchSlice",),
    "checkpoint": ("fingerprint", "load_model", "save_model"),
    "data.gallery": ("GalleryClip", "downloaded_clips", "read_gallery"),
    "data.mixture": ("VideoDataset",),
    "dragging.drag": ("DragStep", "count_steps", "drag"),
    "dragging.handle": ("MAX_HANDLES", "Handle"),
    "evaluation.paper": ("paper_ratios",),
    "library.library": ("ActionLibrary", "load_library"),
    "library.motion_summary": ("describe_motion",),
    "library.projection": ("umap_layout", "umap_layout_in_subprocess"),
    "model": ("BoundFamily", "LatentActionModel", "ModelConfig"),
    "model_folders": ("find_model", "list_models"),
    "models.attention": ("BlockConfig",),
    "models.bottlenecks": ("Bottleneck", "BottleneckConfig", "BottleneckOutput"),
    "models.controller": ("ControllerConfig",),
    "models.decoder": ("DecoderConfig",),
    "models.encoder": ("ConvEncoderConfig",),
    "models.family": ("FamilyConfig",),
    "models.flow_reader": ("FlowReaderConfig",),
    "models.geometry": ("FrameGeometry",),
    "models.inverse_dynamics": ("InverseDynamicsConfig",),
    "models.world_model": ("WorldModelConfig",),
    "planning.cem": ("CemConfig", "SearchSpace", "iterate_cem", "plan_by_cem", "plan_steps", "robot_search_space"),
    "planning.costs": ("GoalStateCost",),
    "planning.dynamics": ("WorldModelDynamics",),
    "planning.rollout_state": ("RolloutState",),
    "runtime": ("describe_hardware",),
    "simulation.robots": ("build_robot",),
    "simulation.simulator": ("SimulatorError",),
    "training.batches": ("PairBatch", "PairBatchConfig", "PairSource"),
    "training.features": ("FeatureBatch",),
    "training.losses": ("Loss",),
    "training.optimizers": ("OptimizerConfig",),
    "training.recipes": ("Schedule", "StageConfig", "TrainingRecipe", "standard_recipe"),
    "training.run": ("RunConfig", "TrainingRun"),
    "training.trainer": ("ExecutionConfig", "Trainer", "TrainerConfig"),
    "transfer.live": ("LiveFrame", "LiveTransfer"),
    "transfer.replay": ("ClipReference", "ReplaySpec", "content_hash", "montage", "panels", "run_spec"),
    "transfer.script": ("ActionScript", "ScriptStep", "Term", "read_script"),
    "transfer.transfer": ("apply_actions", "transfer_actions", "try_actions"),
    "types": ("CheckpointError", "Clip", "Plan", "Rollout", "Transfer", "VideoError"),
    "video.files": ("read_clip", "read_picture", "write_clip"),
    "video.montage": ("enlarge",),
    "video.paths": ("PICTURE_SUFFIXES", "VIDEO_SUFFIXES"),
}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module of a public name on first use. Later uses find the name as an ordinary attribute."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    """Return all names of the package, including public names that have not been used yet."""
    return sorted({*globals(), *__all__})
