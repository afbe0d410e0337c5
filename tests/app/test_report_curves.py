"""Reports as curves."""

import json

from app.report_curves import CURVES, read_curves
from lawm_core.evaluation.report import CHAPTERS


def score(name: str, mean: float, family: str = "noisy", capacity: float | None = 0.0, step: int | None = None) -> dict:
    setting = {"family": family, "capacity": capacity, "step": step}
    return {"name": name, "mean": mean, "low": mean - 0.1, "high": mean + 0.1, **setting}


def test_a_report_becomes_lines_and_reference_lines(tmp_path):
    idm = [score("error", 0.2, capacity=1.0), score("error", 0.3), score("error", 0.1, "unconstrained", None)]
    idm += [score("error", 9.0, step=1), score("psnr", 30.0)]
    cycle = [score("cycle_ratio", 1.1, family) for family in ("noisy", "sparse")]
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"suites": {"idm": idm, "cycle": cycle}}))
    curves = read_curves(path)
    assert [c["key"] for c in curves] == ["error", "cycle"]
    assert [p["mean"] for p in curves[0]["lines"]["noisy"]] == [0.3, 0.2]
    assert curves[0]["references"] == {"unconstrained": 0.1}
    assert curves[1]["paper"] == {"noisy": [1.13, 1.34], "sparse": [1.20, 1.30]} and not curves[0]["paper"]


def test_a_missing_or_invalid_report_has_no_curves(tmp_path):
    assert read_curves(tmp_path / "none.json") == []
    for text in ("{", "[]", '{"suites": 3}', '{"suites": {"idm": [{"name": "error"}]}}'):
        (tmp_path / "broken.json").write_text(text)
        assert read_curves(tmp_path / "broken.json") == []


def test_every_curve_is_in_the_report():
    assert all(curve.score in CHAPTERS[curve.suite].columns for curve in CURVES)
