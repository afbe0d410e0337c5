"""UMAP layouts are computed by cuML if it is installed and there is a GPU, otherwise by umap-learn."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from lawm_core.library.projection import umap_layout, umap_layout_in_subprocess

OPTIONS = {"n_neighbors": 11, "min_dist": 0.6, "spread": 1.5, "random_state": 3}


class GpuArray:
    """A CuPy array: only `get` reads it."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def get(self) -> np.ndarray:
        return self._array


@pytest.fixture
def vector_XA():
    return torch.randn(12, 5, generator=torch.Generator().manual_seed(0))


def install_fake(package: str, convert, monkeypatch) -> list[dict]:
    """Install a package whose layout is the first two dimensions; return the list of options it is called with."""
    options_of_calls = []

    class UMAP:
        def __init__(self, **options) -> None:
            options_of_calls.append(options)

        def fit_transform(self, vector_XA):
            assert isinstance(vector_XA, np.ndarray) and vector_XA.dtype == np.float32
            return convert(vector_XA[:, :2])

    for name in (package, f"{package}.manifold"):
        module = ModuleType(name)
        module.UMAP = UMAP
        monkeypatch.setitem(sys.modules, name, module)
    return options_of_calls


@pytest.mark.parametrize("convert", [np.asarray, GpuArray, lambda array: array.astype(np.float64)])
def test_cuml_is_used_on_a_gpu_and_results_are_on_the_cpu(vector_XA, convert, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    calls = install_fake("cuml", convert, monkeypatch)
    position_X2 = umap_layout(vector_XA, seed=3)
    assert calls == [OPTIONS]
    assert position_X2.device.type == "cpu" and position_X2.dtype == torch.float32
    assert torch.equal(position_X2, vector_XA[:, :2])


@pytest.mark.parametrize("missing", ["a GPU", "cuml"])
def test_umap_learn_is_used_without_a_gpu_or_cuml(vector_XA, missing, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: missing != "a GPU")
    cuml_calls = install_fake("cuml", np.asarray, monkeypatch)
    if missing == "cuml":
        monkeypatch.setitem(sys.modules, "cuml", None)  # how Python marks a package that is not installed
        monkeypatch.delitem(sys.modules, "cuml.manifold")
    calls = install_fake("umap", np.asarray, monkeypatch)
    assert torch.equal(umap_layout(vector_XA, seed=3), vector_XA[:, :2])
    assert calls == [OPTIONS | {"n_jobs": 1}] and not cuml_calls


def test_broken_cuml_is_an_error(vector_XA, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    install_fake("cuml", np.asarray, monkeypatch)
    del sys.modules["cuml.manifold"].UMAP
    with pytest.raises(ImportError, match="UMAP"):
        umap_layout(vector_XA)


def test_number_of_threads_is_unchanged(vector_XA):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            umap_layout(vector_XA)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_too_few_vectors_are_rejected():
    with pytest.raises(ValueError, match="at least 4 vectors, got 3"):
        umap_layout(torch.zeros(3, 5))


def test_subprocess_computes_the_same_layout_without_importing_umap_here(vector_XA):
    module = sys.modules.pop("umap", None)
    try:
        position_X2 = umap_layout_in_subprocess(vector_XA)
        assert "umap" not in sys.modules
    finally:
        if module is not None:
            sys.modules["umap"] = module
    torch.testing.assert_close(position_X2, umap_layout(vector_XA))
    with pytest.raises(RuntimeError, match="at least 4 vectors, got 3"):
        umap_layout_in_subprocess(torch.zeros(3, 5))
