"""The table of all evaluation suites, and the function that runs them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from lawm_core.data.clip_dataset import ClipDataset
from lawm_core.data.episodes import EpisodeDataset
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.controller import measure_controller
from lawm_core.evaluation.cycle import measure_cycle
from lawm_core.evaluation.flow import measure_flow
from lawm_core.evaluation.idm import measure_idm
from lawm_core.evaluation.image_quality import measure_pictures
from lawm_core.evaluation.latent_planning import measure_planning_latents
from lawm_core.evaluation.leakage import measure_leakage
from lawm_core.evaluation.locality import measure_locality
from lawm_core.evaluation.planning import measure_planning_arm, measure_planning_rover
from lawm_core.evaluation.sampling import measure_sampling
from lawm_core.evaluation.scores import Progress, SuiteResult
from lawm_core.evaluation.synthetic import measure_synthetic
from lawm_core.model import LatentActionModel

Suite = Callable[[Bench, Progress], SuiteResult]

SUITES: dict[str, Suite] = {
    "idm": measure_idm,
    "pictures": measure_pictures,
    "flow": measure_flow,
    "leakage": measure_leakage,
    "cycle": measure_cycle,
    "synthetic": measure_synthetic,
    "locality": measure_locality,
    "sampling": measure_sampling,
}
ROBOT_SUITES: dict[str, Suite] = {
    "controller": measure_controller,
    "planning_arm": measure_planning_arm,
    "planning_rover": measure_planning_rover,
    "planning_latents": measure_planning_latents,
}


def suites_for(robots: Collection[str]) -> list[str]:
    """Return the names of the suites that can run if there are labelled episodes of these robots."""
    of_robots = ["controller", *(f"planning_{robot}" for robot in robots), "planning_latents"] if robots else []
    return [*SUITES, *(name for name in ROBOT_SUITES if name in of_robots)]


def run_suites(
    model: LatentActionModel,
    dataset: ClipDataset | None,
    config: SuiteConfig,
    names: Sequence[str] = tuple(SUITES),
    progress: Progress | None = None,
    labelled: dict[str, EpisodeDataset] | None = None,
    baselines: dict[str, LatentActionModel] | None = None,
) -> dict[str, SuiteResult]:
    """Run suites and return their results by name.

    names: the suites to run; by default all that need no robot episodes. progress: called with the fraction done and a
    description. For the other arguments see `Bench`. Raises ValueError if a suite is unknown, or if the data that it
    measures were not passed.
    """
    suites, report = SUITES | ROBOT_SUITES, progress or (lambda fraction, what: None)
    if unknown := [name for name in names if name not in suites]:
        raise ValueError(f"suite must be one of {', '.join(suites)}, got {unknown[0]!r}.")
    bench, results = Bench(model, dataset, config, labelled, baselines), {}
    for i, name in enumerate(names):

        def report_suite(fraction: float, what: str, name: str = name, i: int = i) -> None:
            report((i + fraction) / len(names), f"{name}: {what}")

        results[name] = suites[name](bench, report_suite)
    return results
