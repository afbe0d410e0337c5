"""Planning suites against worlds whose answers are known, and the trajectory errors against hand-made ones."""

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
from lawm_core.evaluation.suites import suites_for
from lawm_core.evaluation.trajectories import trajectory_errors
from tests.evaluation.toy_robots import Deaf, Simulated, Straight, Walk

CONFIG = SuiteConfig(capacities=(1.0,), episodes=5)


def told(suite, model, world, name, config=CONFIG):
    result = suite(Bench(model, None, config, {name: world}), lambda *_: None)
    return {(s.family, s.name): s.mean for s in result.scores}, result


def test_a_perfect_world_model_plans_the_arm_to_nearly_no_error():
    scores, result = told(measure_planning_arm, Straight(), Walk(), "arm")
    assert scores["noisy", "relative"] < 0.06 and scores["zero", "relative"] == pytest.approx(1)
    assert scores["random", "relative"] > 0.5
    start, goal, end = next(iter(result.pictures.values()))[0]
    assert (end - goal).abs().max() < 0.02 < (start - goal).abs().max()


def test_a_perfect_world_model_drives_the_rover_there():
    scores, _ = told(measure_planning_rover, Straight(), Walk(turns=True), "rover")
    assert scores["noisy", "relative"] < 0.35 and scores["noisy", "rpe"] < 0.1
    assert scores["zero", "rpe"] > 0.15 and scores["mean", "ate"] < scores["zero", "ate"]
    assert scores["noisy straight", "relative"] < 0.35  # this rover turns at the end alone


def test_a_world_model_that_hears_nothing_plans_by_chance():
    scores, _ = told(measure_planning_arm, Deaf(), Walk(), "arm")
    assert scores["noisy", "relative"] > 0.6


def test_the_oracle_plans_in_the_world_itself(monkeypatch, caplog):
    pieces = Walk().windows(4, 5, CONFIG.seed)
    pieces = replace(pieces, scene_B2=torch.tensor([[b, 0] for b in range(5)]))
    world = Simulated(pieces)
    monkeypatch.setattr(planning, "build_robot", lambda *_, **__: world)
    scores, _ = told(measure_planning_arm, Deaf(), SimpleNamespace(windows=lambda *_: pieces), "arm")
    assert scores["oracle", "relative"] < 0.3 < 0.6 < scores["noisy", "relative"] and not world.opened
    pieces.pose_BTK[:] += 0.1
    scores, _ = told(measure_planning_arm, Deaf(), SimpleNamespace(windows=lambda *_: pieces), "arm")
    assert "scene 0 is another one here" in caplog.text
    assert ("oracle", "relative") not in scores and scores["zero", "relative"] == pytest.approx(1)


def test_ways_are_found_in_latent_actions_and_read_back():
    scores, _ = told(measure_planning_latents, Straight(), Walk(), "arm")
    for how in ("known", "prior", "learned"):
        assert scores["noisy", f"arm_{how}_goal"] < 0.1 and scores["noisy", f"arm_{how}_missed"] < 0.15, how
    scores, _ = told(measure_planning_latents, Deaf(), Walk(), "arm")
    assert scores["noisy", "arm_learned_goal"] == pytest.approx(1) and scores["noisy", "arm_learned_missed"] > 0.6


def test_plans_are_the_same_every_time():
    first, again = (told(measure_planning_arm, Straight(), Walk(), "arm")[0] for _ in range(2))
    assert first == again


def test_the_report_has_the_papers_numbers_beside_ours(tmp_path):
    config = SuiteConfig(capacities=(0.0, 0.5, 1.0), episodes=2, plan_iterations=2)
    _, result = told(measure_planning_arm, Straight(), Walk(), "arm", config)
    write_report(tmp_path, {"name": "toy"}, {}, config, {"planning_arm": result})
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert [line.split("|")[-2].strip() for line in lines if line.startswith("| noisy")] == ["0.49", "0.11", "0.10"]
    assert any(line.startswith("| zero |  |") for line in lines)


def test_a_report_is_measured_in_parts(tmp_path):
    config = SuiteConfig(capacities=(1.0,), episodes=2, plan_iterations=2)
    finer = replace(config, plan_iterations=3)
    _, arm = told(measure_planning_arm, Straight(), Walk(), "arm", config)
    _, rover = told(measure_planning_rover, Straight(), Walk(turns=True), "rover", finer)
    write_report(tmp_path, {"name": "toy"}, {"videos": 2}, config, {"planning_arm": arm, "planning_rover": rover})
    whole = json.loads((tmp_path / "report.json").read_text())["suites"]
    write_report(tmp_path, {"name": "toy"}, {"videos": 2}, config, {"planning_arm": arm})
    assert list(json.loads((tmp_path / "report.json").read_text())["suites"]) == ["planning_arm"]
    write_report(tmp_path, {"name": "toy"}, {"videos": 2}, finer, {"planning_rover": rover}, add=True)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["suites"] == whole
    assert {name: kept["plan_iterations"] for name, kept in report["settings"].items()} == {
        "planning_arm": 2,
        "planning_rover": 3,
    }
    tables = (tmp_path / "report.md").read_text()
    assert "Do plans move the arm" in tables and "Do plans drive the rover" in tables
    with pytest.raises(ValueError, match="only to a report of the same"):
        write_report(tmp_path, {"name": "another"}, {"videos": 2}, config, {"planning_arm": arm}, add=True)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(ValueError, match="not a report that can be added to"):
        write_report(tmp_path, {"name": "toy"}, {"videos": 2}, config, {"planning_arm": arm}, add=True)


def test_all_suites_are_those_that_the_robots_allow():
    assert not {"controller", "planning_arm", "planning_rover"} & set(suites_for(()))
    assert suites_for(("arm",))[-3:] == ["controller", "planning_arm", "planning_latents"]


def test_a_suite_needs_its_robot():
    with pytest.raises(ValueError, match="labelled episodes is needed"):
        measure_planning_rover(Bench(Straight(), None, CONFIG, {"arm": Walk()}), lambda *_: None)


def test_trajectory_errors_by_hand():
    way = np.column_stack((np.arange(1.0, 9), np.zeros(8)))
    assert trajectory_errors(way, way) == (0, 0)
    shifted = way + np.array((0.3, 0.4))
    assert trajectory_errors(shifted, way) == (pytest.approx(0.5), pytest.approx(0, abs=1e-9))  # nothing is aligned
    faster = way * np.array((1.5, 1))
    ate = np.sqrt(np.mean((0.5 * np.arange(1, 9)) ** 2))
    assert trajectory_errors(faster, way) == (pytest.approx(ate), pytest.approx(0.5))
    with pytest.raises(ValueError, match="ways of 3 and 8 poses"):
        trajectory_errors(way[:3], way)
    assert torch.is_tensor(torch.tensor(trajectory_errors(np.pad(way, ((0, 0), (0, 1))), way)))  # a yaw is let be
