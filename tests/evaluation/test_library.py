"""Libraries of actions: built, resumed, read back, and refused when they are broken."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lawm_core.checkpoint import save_model
from lawm_core.contracts import CheckpointError
from lawm_core.evaluation import librarian
from lawm_core.evaluation.librarian import build_library
from lawm_core.evaluation.library import LibraryConfig, load_library
from lawm_core.evaluation.projection import pca_places
from lawm_core.video.files import write_clip
from tests.conftest import build_tiny_model

CONFIG = LibraryConfig(frames=6, thumb_pixels=8)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    home = tmp_path_factory.mktemp("videos")
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        still = torch.rand(1, 3, 40, 40, generator=generator)
        write_clip(home / f"{name}.mp4", torch.cat([still.roll(2 * t, dims=-1) for t in range(8)]), 6)
    (home / "broken.mp4").write_text("not a video")
    return home


@pytest.fixture(scope="module")
def built(videos, tmp_path_factory):
    """A library and the folder that holds it, its model and its parts; tests that change it work on a copy."""
    model, home = build_tiny_model(), tmp_path_factory.mktemp("library")
    save_model(model, home / "tiny")
    told = []
    library = build_library(
        model, videos, home / "out", CONFIG, home / "tiny", lambda fraction, what: told.append(fraction)
    )
    assert told == sorted(told) and told[-1] == 1.0
    return library


@pytest.fixture
def home(built, tmp_path):
    """A copy of the library's folder."""
    return shutil.copytree(built.sprite.parent, tmp_path / "out")


def test_a_library_is_what_the_model_infers_and_comes_back(built, home):
    assert len(built) == 10 and [c.frames for c in built.index.clips] == [6, 6]
    assert list(built.index.refused) == ["broken.mp4"]
    again = load_library(home)
    assert again.index == built.index
    assert torch.equal(again.action_PA, built.action_PA) and torch.equal(again.umap_P2, built.umap_P2)
    assert built.frame_P.tolist() == [0, 1, 2, 3, 4] * 2 and built.clip_P.tolist() == [0] * 5 + [1] * 5
    sheet = np.asarray(Image.open(again.sprite))
    assert sheet.shape == (4 * 8, 3 * 8, 3) and sheet[: 3 * 8].any()


def test_a_stopped_build_goes_on_where_it_was(built, home, tiny_model, videos, monkeypatch):
    (home / "library.json").unlink()
    read = []
    monkeypatch.setattr(librarian, "read_clip", lambda path, **_: read.append(path.name) or pytest.fail(path.name))
    monkeypatch.setattr(librarian, "list_videos", lambda folder: [(videos / "a.mp4", ""), (videos / "b.mp4", "")])
    again = build_library(tiny_model, videos, home, CONFIG, built.sprite.parent.parent / "tiny")
    assert torch.equal(again.action_PA, built.action_PA) and not read


def test_its_own_actions_are_placed_where_they_are(built):
    umap_X2, pca_X2 = built.place(built.action_PA[3:5])
    torch.testing.assert_close(umap_X2, built.umap_P2[3:5], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(pca_X2, built.pca_P2[3:5], atol=1e-3, rtol=1e-3)
    distance_XK, point_XK = built.nearest(built.action_PA[7:8], 3)
    assert point_XK[0, 0] == 7 and distance_XK[0].tolist() == sorted(distance_XK[0].tolist())


def test_prototypes_stand_for_clusters_large_ones_first(built):
    generator = torch.Generator().manual_seed(0)
    centre_KA = torch.eye(3, 16) * 10
    action_PA = torch.cat(
        [c + torch.randn(n, 16, generator=generator) for c, n in zip(centre_KA, (20, 60, 40), strict=True)]
    )
    library = built.__class__(**{**vars(built), "action_PA": action_PA})
    assert [int(p >= 20) + int(p >= 80) for p in library.prototypes(3)] == [1, 2, 0]


def test_too_few_transitions_are_said(built, tiny_model, videos, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(videos / "a.mp4", alone)
    with pytest.raises(ValueError, match=r"2 transitions.*1 videos.*needs 4"):
        build_library(tiny_model, alone, tmp_path / "out", LibraryConfig(frames=3), built.sprite.parent.parent / "tiny")


def broken(kind: str, folder) -> None:
    """Breaks a library in one way."""
    index, tensors = json.loads((folder / "library.json").read_text()), load_file(folder / "library.safetensors")
    match kind:
        case "json":
            (folder / "library.json").write_text("{")
        case "format":
            (folder / "library.json").write_text(json.dumps(index | {"format": 7}))
        case "field":
            (folder / "library.json").write_text(json.dumps(index | {"evil": 1}))
        case "tensor-missing":
            save_file({n: t for n, t in tensors.items() if n != "umap_P2"}, folder / "library.safetensors")
        case "tensor-cut":
            (folder / "library.safetensors").write_bytes((folder / "library.safetensors").read_bytes()[:-40])
        case "points-differ":
            save_file(tensors | {"umap_P2": tensors["umap_P2"][1:].clone()}, folder / "library.safetensors")
        case "shape":
            save_file(tensors | {"motion_P6": tensors["umap_P2"].clone()}, folder / "library.safetensors")
        case "outside":
            save_file(tensors | {"frame_P": tensors["frame_P"] + 3}, folder / "library.safetensors")
        case "not-finite":
            save_file(tensors | {"pca_P2": tensors["pca_P2"] * float("nan")}, folder / "library.safetensors")
        case "sprite":
            (folder / "sprite.webp").unlink()
        case _:
            raise AssertionError(kind)


FAULTS = "json format field tensor-missing tensor-cut points-differ shape outside not-finite sprite".split()


@pytest.mark.parametrize("kind", FAULTS)
def test_a_broken_library_is_refused_with_a_reason(home, kind):
    broken(kind, home)
    with pytest.raises(CheckpointError, match="out is not a library of actions: "):
        load_library(home)


def test_pca_finds_the_two_directions_that_vary_most():
    generator = torch.Generator().manual_seed(0)
    scale_A = torch.tensor([0.1, 5.0, 0.1, 2.0])
    vector_XA = torch.randn(200, 4, generator=generator) * scale_A
    place_X2 = pca_places(vector_XA)
    for found, true in zip(place_X2.T, (vector_XA[:, 1], vector_XA[:, 3]), strict=True):
        assert abs(torch.corrcoef(torch.stack((found, true)))[0, 1]) > 0.99
