"""Two-dimensional layouts of vectors: UMAP (McInnes et al., arXiv 1802.03426), which preserves neighbours, and PCA."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

MIN_VECTORS = 4  # the smallest number that UMAP can lay out


def umap_layout(vector_XA: Tensor, seed: int = 0) -> Tensor:
    """Compute positions with UMAP, position_X2 on the CPU. The result is deterministic given the seed.

    Uses cuML if it is installed and there is a GPU, otherwise umap-learn; their layouts differ. Raises ValueError for
    fewer than four vectors.
    """
    if len(vector_XA) < MIN_VECTORS:
        raise ValueError(f"a map needs at least {MIN_VECTORS} vectors, got {len(vector_XA)}.")
    # A wide spacing, because frames of one clip are similar and would be drawn on top of each other.
    neighbours = min(30, len(vector_XA) - 1)
    layout = load_umap()(n_neighbors=neighbours, min_dist=0.6, spread=1.5, random_state=seed)
    threads = torch.get_num_threads()
    try:
        position_X2 = layout.fit_transform(vector_XA.float().cpu().numpy())
    finally:
        torch.set_num_threads(threads)  # umap-learn shares OpenMP with torch and sets it to the number of cores
    # cuML returns NumPy or CuPy arrays, depending on its settings; `get` copies the latter from the GPU.
    array_X2 = position_X2.get() if hasattr(position_X2, "get") else position_X2
    return torch.from_numpy(np.array(array_X2, np.float32))


def umap_layout_in_subprocess(vector_XA: Tensor) -> Tensor:
    """Compute `umap_layout` in a process of its own, because UMAP and its compiler would keep 400 MB of memory.

    Raises RuntimeError with the output of the process if it fails.
    """
    given, packages = io.BytesIO(), [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    np.save(given, vector_XA.float().cpu().numpy())
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=given.getvalue(),
        capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, packages))},
    )
    if done.returncode:
        raise RuntimeError(f"UMAP failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return torch.from_numpy(np.load(io.BytesIO(done.stdout)))


def load_umap() -> Callable:
    """Return cuML's UMAP if it is installed and there is a GPU, otherwise umap-learn's."""
    if torch.cuda.is_available():
        with contextlib.suppress(ModuleNotFoundError):
            from cuml.manifold import UMAP  # pyright: ignore[reportMissingImports]

            return UMAP
    from umap import UMAP

    return partial(UMAP, n_jobs=1)


def pca_layout(vector_XA: Tensor) -> Tensor:
    """Compute positions along the first two principal components, position_X2 on the CPU."""
    centred_XA = (vector_XA.float() - vector_XA.float().mean(dim=0)).cpu()
    direction_2A = torch.linalg.svd(centred_XA, full_matrices=False).Vh[:2]
    # The sign of a component is arbitrary: its largest entry is made positive, so that maps agree between machines.
    largest_2 = direction_2A.abs().argmax(dim=1, keepdim=True)
    return centred_XA @ (direction_2A * direction_2A.gather(1, largest_2).sign()).T


if __name__ == "__main__":  # run by `umap_layout_in_subprocess`: vectors on stdin, positions on stdout
    vector_XA = torch.from_numpy(np.load(io.BytesIO(sys.stdin.buffer.read())))
    np.save(sys.stdout.buffer, umap_layout(vector_XA).numpy())
