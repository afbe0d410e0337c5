"""Every suite by name: what a model can do, in figures with intervals, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.controller import measure_controller
from lawm_core.evaluation.cycle import measure_cycle
from lawm_core.evaluation.flow import measure_flow
from lawm_core.evaluation.idm import measure_idm
from lawm_core.evaluation.latent_planning import measure_planning_latents
from lawm_core.evaluation.leakage import measure_leakage
from lawm_core.evaluation.locality import measure_locality
from lawm_core.evaluation.pictures import measure_pictures
from lawm_core.evaluation.planning import measure_planning_arm, measure_planning_rover
from lawm_core.evaluation.sampling import measure_sampling
from lawm_core.evaluation.scores import Progress, SuiteResult
from lawm_core.evaluation.twins import measure_twins
from lawm_core.model import LatentActionModel
from lawm_core.worlds.clips import ClipWorld
from lawm_core.worlds.episodes import EpisodeWorld

Suite = Callable[[Bench, Progress], SuiteResult]

SUITES: dict[str, Suite] = {
    "idm": measure_idm,
    "pictures": measure_pictures,
    "leakage": measure_leakage,
    "cycle": measure_cycle,
    "twins": measure_twins,
    "locality": measure_locality,
    "sampling": measure_sampling,
}
ROBOT_SUITES: dict[str, Suite] = {
    "controller": measure_controller,
    "planning_arm": measure_planning_arm,
    "planning_rover": measure_planning_rover,
    "planning_latents": measure_planning_latents,
}
FLOW_SUITES: dict[str, Suite] = {"flow": measure_flow}  # of models that read optical flow
ALL_SUITES = SUITES | FLOW_SUITES | ROBOT_SUITES


def suites_for(robots: Collection[str]) -> list[str]:
    """Names of the suites that can be run where there are labelled episodes of these robots."""
    of_robots = ["controller", *(f"planning_{robot}" for robot in robots), "planning_latents"] if robots else []
    return [*SUITES, *(name for name in ROBOT_SUITES if name in of_robots)]


def run_suites(
    model: LatentActionModel,
    world: ClipWorld | None,
    config: SuiteConfig,
    names: Sequence[str] = tuple(SUITES),
    progress: Progress | None = None,
    labelled: dict[str, EpisodeWorld] | None = None,
    baselines: dict[str, LatentActionModel] | None = None,
) -> dict[str, SuiteResult]:
    """The named suites' results. `progress(fraction, what)` is told as it goes; ValueError names suites there are.

    labelled: episodes of robots, for the suites that measure known actions; baselines: what their plans stand beside.
    """
    if unknown := [n for n in names if n not in ALL_SUITES]:
        raise ValueError(f"suite {unknown[0]!r} is not one of: {', '.join(ALL_SUITES)}.")
    bench, results = Bench(model, world, config, labelled, baselines), {}
    for i, name in enumerate(names):

        def tell(fraction: float, what: str, name: str = name, start: int = i) -> None:
            if progress:
                progress((start + fraction) / len(names), f"{name}: {what}")

        results[name] = ALL_SUITES[name](bench, tell)
    return results
