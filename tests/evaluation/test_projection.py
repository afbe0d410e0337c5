"""Maps are laid out on a GPU by cuML where both are there, and by umap-learn where either is not."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from lawm_core.evaluation.projection import umap_places, umap_places_apart

ASKED = {"n_neighbors": 11, "min_dist": 0.6, "spread": 1.5, "random_state": 3}


class OnGpu:
    """A CuPy array: nothing reads it but `get`."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def get(self) -> np.ndarray:
        return self._array


@pytest.fixture
def vector_XA():
    return torch.randn(12, 5, generator=torch.Generator().manual_seed(0))


def stand_in(package: str, answer, monkeypatch) -> list[dict]:
    """A package that lays points out by their first two numbers, and what it was asked for."""
    asked = []

    class UMAP:
        def __init__(self, **options) -> None:
            asked.append(options)

        def fit_transform(self, vector_XA):
            assert isinstance(vector_XA, np.ndarray) and vector_XA.dtype == np.float32
            return answer(vector_XA[:, :2])

    for name in (package, f"{package}.manifold"):
        module = ModuleType(name)
        module.UMAP = UMAP
        monkeypatch.setitem(sys.modules, name, module)
    return asked


@pytest.mark.parametrize("answer", [np.asarray, OnGpu, lambda place_X2: place_X2.astype(np.float64)])
def test_on_a_gpu_cuml_lays_out_and_places_come_back(vector_XA, answer, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked = stand_in("cuml", answer, monkeypatch)
    place_X2 = umap_places(vector_XA, seed=3)
    assert asked == [ASKED]
    assert place_X2.device.type == "cpu" and place_X2.dtype == torch.float32
    assert torch.equal(place_X2, vector_XA[:, :2])


@pytest.mark.parametrize("missing", ["a GPU", "cuml"])
def test_without_either_umap_learn_does(vector_XA, missing, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: missing != "a GPU")
    elsewhere = stand_in("cuml", np.asarray, monkeypatch)
    if missing == "cuml":
        monkeypatch.setitem(sys.modules, "cuml", None)  # as Python has it for a package that is not there
        monkeypatch.delitem(sys.modules, "cuml.manifold")
    asked = stand_in("umap", np.asarray, monkeypatch)
    assert torch.equal(umap_places(vector_XA, seed=3), vector_XA[:, :2])
    assert asked == [ASKED | {"n_jobs": 1}] and not elsewhere


def test_a_broken_cuml_is_not_passed_over(vector_XA, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    stand_in("cuml", np.asarray, monkeypatch)
    del sys.modules["cuml.manifold"].UMAP
    with pytest.raises(ImportError, match="UMAP"):
        umap_places(vector_XA)


def test_it_leaves_the_number_of_threads_as_it_was(vector_XA):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            umap_places(vector_XA)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_too_few_vectors_are_said():
    with pytest.raises(ValueError, match="3 vectors came"):
        umap_places(torch.zeros(3, 5))


def test_a_process_of_its_own_finds_the_same_places_and_leaves_no_umap_here(vector_XA, monkeypatch):
    module = sys.modules.pop("umap", None)
    try:
        place_X2 = umap_places_apart(vector_XA)
        assert "umap" not in sys.modules
    finally:
        if module is not None:
            sys.modules["umap"] = module
    torch.testing.assert_close(place_X2, umap_places(vector_XA))
    with pytest.raises(RuntimeError, match="a map needs at least 4"):
        umap_places_apart(torch.zeros(3, 5))
