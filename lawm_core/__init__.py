"""LAWM Explorer's core: latent actions from one video, applied to another.

    import lawm_core as lawm
    model = lawm.load_model()
    clip = lawm.read_clip("walk.mp4", frames_per_second=model.frames_per_second, size=model.picture_size, num_frames=16)

Method: Garrido et al., Learning Latent Action World Models In The Wild, arXiv 2601.05230, cited as [LAWM §n].

Letters in the names of tensors: B clips, T frames, U = T - 1 transitions, N tokens a frame, D state width, A action
width, C colour (or channels), H W pixels (or cells), F frames that go through a network at once, P numbers a place (or
that a plan is searched by), K choices, neighbours or numbers of a known action, M heads, S stills or sampled plans of
H steps, E elites, I iterations, R resamples, X merged axes, Y what is foretold from X. `state_BTND` is a state for
every clip, frame and token.

Layers, each may import those to its right only (a test holds it):
cli, commands, arguments > training, evaluation > checkpoint > model > models, planning, worlds > video > contracts,
runtime, saving, schema, shares, hub, model_folders, sketch.

Importing this package imports nothing else: each public name brings its module along when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers
    from lawm_core.checkpoint import fingerprint, load_model, save_model
    from lawm_core.contracts import CheckpointError, Clip, Plan, Rollout, Transfer, VideoError
    from lawm_core.evaluation.library import ActionLibrary, load_library
    from lawm_core.evaluation.meaning import say_motion
    from lawm_core.evaluation.paper import paper_ratios
    from lawm_core.evaluation.projection import umap_places, umap_places_apart
    from lawm_core.evaluation.recipe import ClipReference, Recipe, content_hash, film, lanes, perform
    from lawm_core.evaluation.script import ActionScript, ScriptStep, Term, read_script
    from lawm_core.evaluation.transfer import apply_actions, transfer, try_actions
    from lawm_core.model import LatentActionModel, ModelConfig
    from lawm_core.model_folders import find_model, list_models
    from lawm_core.models.controller import ControllerConfig
    from lawm_core.planning.cem import CemConfig, free_search, known_search, plan_by_cem, plan_steps, search_by_cem
    from lawm_core.planning.dynamics import WorldModelDynamics
    from lawm_core.planning.objectives import GoalState
    from lawm_core.planning.present import Present
    from lawm_core.runtime import describe_hardware
    from lawm_core.video.files import read_clip, read_picture, write_clip
    from lawm_core.video.film import enlarge
    from lawm_core.video.listing import ListedClip, clips_here, read_listing
    from lawm_core.video.paths import PICTURE_SUFFIXES, VIDEO_SUFFIXES
    from lawm_core.worlds.robots import build_robot
    from lawm_core.worlds.simulator import SimulatorError

__all__ = [
    "PICTURE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "ActionLibrary",
    "ActionScript",
    "CemConfig",
    "CheckpointError",
    "Clip",
    "ClipReference",
    "ControllerConfig",
    "GoalState",
    "LatentActionModel",
    "ListedClip",
    "ModelConfig",
    "Plan",
    "Present",
    "Recipe",
    "Rollout",
    "ScriptStep",
    "SimulatorError",
    "Term",
    "Transfer",
    "VideoError",
    "WorldModelDynamics",
    "apply_actions",
    "build_robot",
    "clips_here",
    "content_hash",
    "describe_hardware",
    "enlarge",
    "film",
    "find_model",
    "fingerprint",
    "free_search",
    "known_search",
    "lanes",
    "list_models",
    "load_library",
    "load_model",
    "paper_ratios",
    "perform",
    "plan_by_cem",
    "plan_steps",
    "read_clip",
    "read_listing",
    "read_picture",
    "read_script",
    "save_model",
    "say_motion",
    "search_by_cem",
    "transfer",
    "try_actions",
    "umap_places",
    "umap_places_apart",
    "write_clip",
]

# The same names for the interpreter (PEP 562): module, and what is public of it.
_EXPORTS = {
    "checkpoint": ("fingerprint", "load_model", "save_model"),
    "contracts": ("CheckpointError", "Clip", "Plan", "Rollout", "Transfer", "VideoError"),
    "evaluation.library": ("ActionLibrary", "load_library"),
    "evaluation.meaning": ("say_motion",),
    "evaluation.paper": ("paper_ratios",),
    "evaluation.projection": ("umap_places", "umap_places_apart"),
    "evaluation.recipe": ("ClipReference", "Recipe", "content_hash", "film", "lanes", "perform"),
    "evaluation.script": ("ActionScript", "ScriptStep", "Term", "read_script"),
    "evaluation.transfer": ("apply_actions", "transfer", "try_actions"),
    "model": ("LatentActionModel", "ModelConfig"),
    "model_folders": ("find_model", "list_models"),
    "models.controller": ("ControllerConfig",),
    "planning.cem": ("CemConfig", "free_search", "known_search", "plan_by_cem", "plan_steps", "search_by_cem"),
    "planning.dynamics": ("WorldModelDynamics",),
    "planning.objectives": ("GoalState",),
    "planning.present": ("Present",),
    "runtime": ("describe_hardware",),
    "video.files": ("read_clip", "read_picture", "write_clip"),
    "video.film": ("enlarge",),
    "video.paths": ("PICTURE_SUFFIXES", "VIDEO_SUFFIXES"),
    "video.listing": ("ListedClip", "clips_here", "read_listing"),
    "worlds.robots": ("build_robot",),
    "worlds.simulator": ("SimulatorError",),
}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import the module of a public name on first use; the name is then an ordinary attribute."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    """Public names are listed before they are first used."""
    return sorted({*globals(), *__all__})
