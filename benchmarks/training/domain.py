"""Does unlabelled video of the robot improve its controller and its plans? The paper's Table S3, for the arm.

    python benchmarks/training/domain.py --data VIDEOS --labels ARM --val-labels ARM --model runs/nano/model

Continues the training of a model's noisy family four times for the same number of steps. Of the real clips, 0, 10, 50
or 100 % are from the arm's videos. Then trains a controller on each result, in the same way, and evaluates rollouts and
plans. This takes as long as four trainings.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

from ablation import find_stage, open_split, read_results, save_result

import lawm_core as lawm
from lawm_core.data.episodes import EpisodeDataset, build_episodes
from lawm_core.data.mixture import MixedDataset
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.controller import measure_controller
from lawm_core.evaluation.planning import measure_planning_arm
from lawm_core.model import LatentActionModel
from lawm_core.training.batches import PairSource
from lawm_core.training.controllers import LabelledRunConfig, train_controllers
from lawm_core.training.latent_action_loss import LatentActionLoss, LatentActionLossConfig
from lawm_core.training.trainer import Trainer

FRACTIONS = (0.0, 0.1, 0.5, 1.0)
COLUMNS = {  # columns of the table: name of the score, title
    "arm_idm_error": "error with inferred actions, 2 s",
    "arm_idm_error_vs_copying": "relative to copying",
    "arm_error_ratio": "error with robot actions / inferred",
    "delta_xyz": "plans: delta-xyz, m",
    "error_vs_zero": "relative to no action",
}


def main() -> None:
    """Train and evaluate at every fraction, and print a table."""
    options = parse_options()
    results = read_results(options)
    for fraction in FRACTIONS:
        name = f"{fraction:.0%}"
        if name not in results:
            with tempfile.TemporaryDirectory() as folder:
                save_result(options, results, name, measure_fraction(options, fraction, Path(folder)))
    text = markdown(options, {f"{fraction:.0%}": results[f"{fraction:.0%}"] for fraction in FRACTIONS})
    print(text)
    if options.out:
        options.out.with_suffix(".md").write_text(text)


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of videos")
    parser.add_argument("--labels", type=Path, required=True, help="LeRobotDataset v3.0 folder of the arm")
    parser.add_argument("--val-labels", type=Path, required=True, help="episodes to evaluate, of at least 2 s each")
    parser.add_argument("--model", required=True, help="a model of a recipe")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--clips", type=int, default=8, help="clips per batch (default 8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--controller-steps", type=int, default=400)
    parser.add_argument("--samples", type=int, default=64, help="samples of CEM (default 64)")
    parser.add_argument("--iterations", type=int, default=6, help="iterations of CEM (default 6)")
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path, help="JSON file of the results; fractions in it are not trained again")
    return parser.parse_args()


def markdown(options: argparse.Namespace, results: dict[str, dict]) -> str:
    """Return a Markdown text with the protocol, and a table of the scores with confidence intervals."""
    lines = [["fraction of arm video", *COLUMNS.values()], ["---"] * (1 + len(COLUMNS))]
    for name, result in results.items():
        scores = (f"{mean:.3f} ({low:.3f} to {high:.3f})" for mean, low, high in (result[key] for key in COLUMNS))
        lines.append([name, *scores])
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"""# Unlabelled video of the robot

The paper's Table S3, for a simulated arm. A noisy family that has seen no robot continues for {options.steps} steps of
{options.clips} clips, half of them synthetic pairs; of the others, the given fraction is unlabelled video of the arm.
Each variant then trains a controller for {options.controller_steps} steps and is evaluated at capacity 1 on
{options.episodes} held-out episodes: errors of states after two seconds under inferred actions and under robot actions,
and plans by CEM with {options.samples} samples and {options.iterations} iterations. Brackets: 95 % bootstrap intervals.
One seed ({options.seed}). In the paper, delta-xyz is 0.14 m without in-domain video and 0.06 m with 10 to 100 % of it.

{rows}
"""


def measure_fraction(options: argparse.Namespace, fraction: float, folder: Path) -> dict[str, list[float]]:
    """Train a family with this fraction of arm video, and a controller for it; return their scores at capacity 1.

    Each score is its mean and the low and high end of its confidence interval.
    """
    model = lawm.load_model(options.model).requires_grad_(True)
    train_family(options, model, fraction, folder / "lam")
    lawm.save_model(model, folder / "model")
    controller = LabelledRunConfig(
        robot="arm", data=options.labels, cache=options.cache, steps=options.controller_steps
    )  # fmt: skip
    train_controllers(folder, controller, ["noisy"])
    config = SuiteConfig(
        families=("noisy",), capacities=(1.0,), episodes=options.episodes, plan_samples=options.samples,
        plan_iterations=options.iterations, oracle_episodes=0,
    )  # fmt: skip
    held_out = open_episodes(model, options.val_labels, options.cache, "val")
    bench = Bench(lawm.load_model(folder / "model"), None, config, {"arm": held_out})
    scores = [
        score
        for measure in (measure_controller, measure_planning_arm)
        for score in measure(bench, lambda *_: None).scores
        if score.family == "noisy" and score.step is None
    ]
    return {score.name: [score.mean, score.low, score.high] for score in scores}


def train_family(options: argparse.Namespace, model: LatentActionModel, fraction: float, folder: Path) -> None:
    """Continue the training of the noisy family, with this fraction of the real clips from the arm's videos."""
    stage = find_stage(model)
    videos = open_split(model, options.data, options.cache, "train")
    arm = open_episodes(model, options.labels, options.cache, "train")
    mixture = MixedDataset([videos, arm], [1 - fraction, fraction]).resized(model.frame_size)
    batch = dataclasses.replace(stage.batch, clips=options.clips, num_shards=1)
    source = PairSource(batch, mixture, model.device, options.seed)
    loss = LatentActionLoss(model, LatentActionLossConfig(family="noisy", warm_up=0.05))
    slower = dataclasses.replace(stage.trainer.optimizer, muon_rate=0.004, adam_rate=3e-4)
    trainer = Trainer(loss, source, dataclasses.replace(stage.trainer, steps=options.steps, optimizer=slower), folder)
    trainer.run()
    if trainer.step < options.steps:  # after Ctrl-C or SIGTERM
        raise SystemExit(f"training stopped at step {trainer.step} of {options.steps}; this fraction has no result.")


def open_episodes(model: LatentActionModel, folder: Path, cache: Path, split: str) -> EpisodeDataset:
    """Return one split of labelled episodes at a model's frame rate and picture size."""
    return EpisodeDataset(build_episodes(folder, cache, model.frames_per_second, model.picture_size), split)


if __name__ == "__main__":
    main()
