"""Planning suites on toys with known answers; trajectory errors of hand-made trajectories; reports in parts."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lawm_core.evaluation import planning
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.latent_planning import measure_planning_latents
from lawm_core.evaluation.planning import measure_planning_arm, measure_planning_rover
from lawm_core.evaluation.report import write_report
from lawm_core.evaluation.suites import SUITES, suites_for
from lawm_core.evaluation.trajectories import trajectory_errors
from tests.evaluation.toy_robots import Deaf, Simulated, Straight, Walk

CONFIG = SuiteConfig(capacities=(1.0,), episodes=5)


def run(suite, model, episodes, robot, config=CONFIG):
    """Run a suite; return its means by family and name, and its result."""
    result = suite(Bench(model, None, config, {robot: episodes}), lambda *_: None)
    return {(s.family, s.name): s.mean for s in result.scores}, result


def test_perfect_world_model_plans_the_arm_almost_without_error():
    scores, result = run(measure_planning_arm, Straight(), Walk(), "arm")
    assert scores["noisy", "error_vs_zero"] < 0.06 and scores["zero", "error_vs_zero"] == pytest.approx(1)
    assert scores["random", "error_vs_zero"] > 0.5
    start, goal, end = next(iter(result.pictures.values()))[0]
    assert (end - goal).abs().max() < 0.02 < (start - goal).abs().max()


def test_perfect_world_model_drives_the_rover_to_the_goal():
    scores, _ = run(measure_planning_rover, Straight(), Walk(turns=True), "rover")
    assert scores["noisy", "error_vs_zero"] < 0.35 and scores["noisy", "rpe"] < 0.1
    assert scores["zero", "rpe"] > 0.15 and scores["mean", "ate"] < scores["zero", "ate"]
    assert scores["noisy straight", "error_vs_zero"] < 0.35  # these episodes turn only at the end


def test_world_model_that_ignores_actions_plans_at_random():
    scores, _ = run(measure_planning_arm, Deaf(), Walk(), "arm")
    assert scores["noisy", "error_vs_zero"] > 0.6


def test_oracle_plans_in_the_simulator(monkeypatch, caplog):
    episodes = Walk().windows(4, 5, CONFIG.seed)
    episodes = replace(episodes, scene_B2=torch.tensor([[b, 0] for b in range(5)]))
    dataset, simulator = SimpleNamespace(windows=lambda *_: episodes), Simulated(episodes)
    monkeypatch.setattr(planning, "build_robot", lambda *_, **__: simulator)
    scores, _ = run(measure_planning_arm, Deaf(), dataset, "arm")
    assert scores["oracle", "error_vs_zero"] < 0.3 < 0.6 < scores["noisy", "error_vs_zero"]
    assert not simulator.opened
    episodes.pose_BTR[:] += 0.1
    simulator.opened = True
    scores, _ = run(measure_planning_arm, Deaf(), dataset, "arm")
    assert "scene 0 differs from the recorded one" in caplog.text and not simulator.opened
    assert ("oracle", "error_vs_zero") not in scores and scores["zero", "error_vs_zero"] == pytest.approx(1)


def test_plans_in_latent_actions_reach_the_goal_and_have_robot_actions():
    scores, _ = run(measure_planning_latents, Straight(), Walk(), "arm")
    for space in ("robot_actions", "prior", "learned"):
        assert scores["noisy", f"arm_{space}_goal_distance"] < 0.1, space
        assert scores["noisy", f"arm_{space}_error_vs_zero"] < 0.15, space
    scores, _ = run(measure_planning_latents, Deaf(), Walk(), "arm")
    assert scores["noisy", "arm_learned_goal_distance"] == pytest.approx(1)
    assert scores["noisy", "arm_learned_error_vs_zero"] > 0.6


def test_plans_are_deterministic():
    first, again = (run(measure_planning_arm, Straight(), Walk(), "arm")[0] for _ in range(2))
    assert first == again


def test_report_shows_the_papers_figures_beside_ours(tmp_path):
    config = SuiteConfig(capacities=(0.0, 0.5, 1.0), episodes=2, plan_iterations=2)
    _, result = run(measure_planning_arm, Straight(), Walk(), "arm", config)
    write_report(tmp_path, {"name": "toy"}, {}, config, {"planning_arm": result})
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert [line.split("|")[-2].strip() for line in lines if line.startswith("| noisy")] == ["0.49", "0.11", "0.10"]
    assert any(line.startswith("| zero |  |") for line in lines)


def test_report_can_be_written_in_parts(tmp_path):
    config = SuiteConfig(capacities=(1.0,), episodes=2, plan_iterations=2)
    finer = replace(config, plan_iterations=3)
    _, arm = run(measure_planning_arm, Straight(), Walk(), "arm", config)
    _, rover = run(measure_planning_rover, Straight(), Walk(turns=True), "rover", finer)
    read = lambda: json.loads((tmp_path / "report.json").read_text())
    write_report(tmp_path, {"name": "toy"}, {"videos": 2}, config, {"planning_arm": arm, "planning_rover": rover})
    whole = read()["suites"]
    write_report(tmp_path, {"name": "toy"}, {"videos": 2}, config, {"planning_arm": arm})
    assert list(read()["suites"]) == ["planning_arm"]
    write_report(tmp_path, {"name": "toy"}, {"videos": 2}, finer, {"planning_rover": rover}, add=True)
    report = read()
    assert report["suites"] == whole
    assert {name: settings["plan_iterations"] for name, settings in report["settings"].items()} == {
        "planning_arm": 2,
        "planning_rover": 3,
    }
    tables = (tmp_path / "report.md").read_text()
    assert "Do plans move the arm" in tables and "Do plans drive the rover" in tables
    with pytest.raises(ValueError, match="choose another --out"):
        write_report(tmp_path, {"name": "another"}, {"videos": 2}, config, {"planning_arm": arm}, add=True)
    assert read() == report
    for content in ("[]", "{", json.dumps(report | {"settings": {}})):
        (tmp_path / "report.json").write_text(content)
        with pytest.raises(ValueError, match="not a valid report"):
            write_report(tmp_path, {"name": "toy"}, {"videos": 2}, config, {"planning_arm": arm}, add=True)


def test_suites_depend_on_the_robots():
    assert suites_for(()) == list(SUITES)
    assert suites_for(("arm",)) == [*SUITES, "controller", "planning_arm", "planning_latents"]


def test_missing_episodes_of_a_robot_are_reported():
    with pytest.raises(ValueError, match="needs labelled episodes of rover"):
        measure_planning_rover(Bench(Straight(), None, CONFIG, {"arm": Walk()}), lambda *_: None)


def test_trajectory_errors_of_known_trajectories():
    line = np.column_stack((np.arange(1.0, 9), np.zeros(8)))
    assert trajectory_errors(line, line) == (0, 0)
    shifted = line + np.array((0.3, 0.4))
    assert trajectory_errors(shifted, line) == (pytest.approx(0.5), pytest.approx(0, abs=1e-9))  # nothing is aligned
    faster = line * np.array((1.5, 1))
    ate = np.sqrt(np.mean((0.5 * np.arange(1, 9)) ** 2))
    assert trajectory_errors(faster, line) == (pytest.approx(ate), pytest.approx(0.5))
    with_yaw = np.pad(line, ((0, 0), (0, 1)), constant_values=0.7)
    assert trajectory_errors(with_yaw, line) == (0, 0)  # yaw is ignored
    with pytest.raises(ValueError, match="same length of at least 2, got 3 and 8"):
        trajectory_errors(line[:3], line)
