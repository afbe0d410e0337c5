"""Many numbers to two, for looking at: neighbours stay neighbours (UMAP, McInnes et al., arXiv 1802.03426)."""

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


def umap_places(vector_XA: Tensor, seed: int = 0) -> Tensor:
    """A place in the plane for each vector, place_X2 on the CPU; the same for the same vectors and seed.

    On a GPU by cuML, where both are there: of the same kind as umap-learn's, but not the same places. Raises ValueError
    for fewer than four vectors, which UMAP cannot lay out.
    """
    if len(vector_XA) < 4:
        raise ValueError(f"{len(vector_XA)} vectors came; a map needs at least 4.")
    # Frames of one clip are alike; with UMAP's usual spacing they would lie on each other.
    neighbours = min(30, len(vector_XA) - 1)
    layout = pick_umap()(n_neighbors=neighbours, min_dist=0.6, spread=1.5, random_state=seed)
    threads = torch.get_num_threads()
    try:
        mapped = layout.fit_transform(vector_XA.float().cpu().numpy())
    finally:
        torch.set_num_threads(threads)  # umap-learn's OpenMP is torch's too: it leaves as many as there are cores
    # cuML answers in NumPy's arrays or in CuPy's, as it is set; those are fetched from the GPU.
    return torch.from_numpy(np.array(mapped.get() if hasattr(mapped, "get") else mapped, np.float32))


def umap_places_apart(vector_XA: Tensor) -> Tensor:
    """As `umap_places`, in a process of its own: UMAP and its compiler would take 400 MB of this one for good."""
    given, packages = io.BytesIO(), [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    np.save(given, vector_XA.float().cpu().numpy())
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=given.getvalue(),
        capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, packages))},
    )
    if done.returncode:
        raise RuntimeError(f"UMAP failed in its process: {done.stderr.decode(errors='replace')[-2000:]}")
    return torch.from_numpy(np.load(io.BytesIO(done.stdout)))


def main() -> None:
    """The process of `umap_places_apart`: vectors from stdin, places to stdout."""
    vector_XA = torch.from_numpy(np.load(io.BytesIO(sys.stdin.buffer.read())))
    np.save(sys.stdout.buffer, umap_places(vector_XA).numpy())


def pick_umap() -> Callable:
    """cuML's UMAP where it is installed and there is a GPU, else umap-learn's."""
    if torch.cuda.is_available():
        with contextlib.suppress(ModuleNotFoundError):
            from cuml.manifold import UMAP

            return UMAP
    from umap import UMAP

    return partial(UMAP, n_jobs=1)


def pca_places(vector_XA: Tensor) -> Tensor:
    """Each vector on the two directions in which all vary most, place_X2; at once, where UMAP takes seconds."""
    centred_XA = vector_XA.float() - vector_XA.float().mean(dim=0)
    _, _, direction_AA = torch.linalg.svd(centred_XA.cpu(), full_matrices=False)
    direction_2A = direction_AA[:2]
    # A direction's sign is free; fixed here, so that a map does not flip between machines.
    most_2 = direction_2A.abs().argmax(dim=1, keepdim=True)
    return centred_XA.cpu() @ (direction_2A * direction_2A.gather(1, most_2).sign()).T


if __name__ == "__main__":
    main()
