"""The shipped model does what its card says: cheap versions of the measures, so that a bad checkpoint cannot land."""

import pytest

from lawm_core.checkpoint import list_models, load_model
from lawm_core.evaluation.bench import Bench, SuiteConfig
from lawm_core.evaluation.twins import measure_twins


@pytest.fixture(scope="module")
def twins() -> dict[str, float]:
    """Figures of the default model on procedural twins, 8 frames rolled out from one."""
    bench = Bench(load_model(), None, SuiteConfig(twins=24, capacities=(1.0,), families=("noisy",)))
    return {s.name: s.mean for s in measure_twins(bench, lambda fraction, what: None).scores if s.step is None}


def test_there_is_a_default_model():
    assert list_models()


def test_actions_act_and_transfer_between_looks(twins):
    assert twins["camera_effect"] >= 0.2 and twins["camera_efficiency"] >= 0.5


def test_rollouts_stay_sharp_and_beat_a_still_picture(twins):
    assert twins["camera_edges"] >= 0.4 and twins["camera_against_still"] <= 0.8


def test_objects_act_too(twins):
    assert twins["objects_effect"] > 0.1 and twins["objects_efficiency"] > 0.3
