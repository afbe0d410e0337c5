"""The shipped model does what its card says: cheap versions of the measures, so that a bad checkpoint cannot land."""

import pytest

from lawm_core.checkpoint import list_models, load_model
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.twins import measure_twins


@pytest.fixture(scope="module")
def twins() -> dict[tuple[str, float, str], float]:
    """Figures of the default model on procedural twins, 8 frames rolled out from one, by family and capacity."""
    bench = Bench(load_model(), None, SuiteConfig(twins=16, capacities=(0.0, 1.0)))
    scores = measure_twins(bench, lambda fraction, what: None).scores
    return {(s.family, s.capacity, s.name): s.mean for s in scores if s.step is None}


def test_there_is_a_default_model_with_three_families_and_both_reference_lines():
    assert list_models()
    model = load_model()
    assert model.families == ("noisy", "sparse", "discrete") and set(model.references) == {
        "deterministic", "unconstrained",
    }  # fmt: skip
    assert all("learned" in model.samplers(family) for family in model.families)


@pytest.mark.parametrize("family", ["noisy", "sparse", "discrete"])
def test_actions_act_and_transfer_between_looks(twins, family):
    assert twins[family, 1.0, "camera_effect"] >= 0.35 and twins[family, 1.0, "camera_efficiency"] >= 0.7


@pytest.mark.parametrize("family", ["noisy", "sparse"])
def test_rollouts_stay_sharp_and_beat_a_still_picture(twins, family):
    assert twins[family, 1.0, "camera_edges"] >= 0.4 and twins[family, 1.0, "camera_against_still"] <= 0.7


@pytest.mark.parametrize("family", ["noisy", "sparse"])
def test_objects_act_too(twins, family):
    assert twins[family, 1.0, "objects_effect"] > 0.15 and twins[family, 1.0, "objects_efficiency"] > 0.3


@pytest.mark.parametrize("family", ["noisy", "sparse"])
def test_the_dial_begins_at_hardly_anything(twins, family):
    assert twins[family, 0.0, "camera_effect"] < 0.5 * twins[family, 1.0, "camera_effect"]
