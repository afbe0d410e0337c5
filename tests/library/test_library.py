"""Action libraries can be built, resumed and loaded; invalid ones are rejected."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lawm_core.checkpoint import save_model
from lawm_core.library import build
from lawm_core.library.build import build_library
from lawm_core.library.library import LibraryConfig, load_library
from lawm_core.library.projection import pca_layout
from lawm_core.types import CheckpointError
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
    """A library in OUT/out with its parts, and its model in OUT/tiny; tests that change it work on a copy."""
    model, home = build_tiny_model(), tmp_path_factory.mktemp("library")
    save_model(model, home / "tiny")
    fractions = []
    library = build_library(
        model, videos, home / "out", CONFIG, home / "tiny", lambda fraction, _: fractions.append(fraction)
    )
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    return library


@pytest.fixture
def folder(built, tmp_path):
    """A copy of the library's folder."""
    return shutil.copytree(built.sprite.parent, tmp_path / "out")


def test_library_holds_every_transition_and_loads_unchanged(built, folder):
    assert len(built) == 10 and [c.frames for c in built.index.clips] == [6, 6]
    assert list(built.index.skipped) == ["broken.mp4"]
    loaded = load_library(folder)
    assert loaded.index == built.index
    assert torch.equal(loaded.action_PA, built.action_PA) and torch.equal(loaded.umap_P2, built.umap_P2)
    assert built.frame_P.tolist() == [0, 1, 2, 3, 4] * 2 and built.clip_P.tolist() == [0] * 5 + [1] * 5
    sheet = np.asarray(Image.open(loaded.sprite))
    assert sheet.shape == (4 * 8, 3 * 8, 3) and sheet[: 3 * 8].any()


def test_interrupted_build_continues_without_decoding_finished_clips(built, folder, tiny_model, videos, monkeypatch):
    (folder / "library.json").unlink()
    monkeypatch.setattr(build, "read_clip", lambda path, *_, **__: pytest.fail(f"{path} was decoded again"))
    monkeypatch.setattr(build, "list_videos", lambda _: [(videos / "a.mp4", ""), (videos / "b.mp4", "")])
    again = build_library(tiny_model, videos, folder, CONFIG, built.sprite.parent.parent / "tiny")
    assert torch.equal(again.action_PA, built.action_PA)


def test_library_actions_are_projected_to_their_own_positions(built):
    umap_X2, pca_X2 = built.project(built.action_PA[3:5])
    torch.testing.assert_close(umap_X2, built.umap_P2[3:5], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(pca_X2, built.pca_P2[3:5], atol=1e-3, rtol=1e-3)
    distance_XY, point_XY = built.nearest(built.action_PA[7:8], 3)
    assert point_XY[0, 0] == 7 and distance_XY[0].tolist() == sorted(distance_XY[0].tolist())


def test_prototypes_represent_clusters_largest_first(built):
    generator = torch.Generator().manual_seed(0)
    centres, sizes = torch.eye(3, 16) * 10, (20, 60, 40)
    clusters = [c + torch.randn(n, 16, generator=generator) for c, n in zip(centres, sizes, strict=True)]
    library = dataclasses.replace(built, action_PA=torch.cat(clusters))
    assert [int(p >= 20) + int(p >= 80) for p in library.prototypes(3)] == [1, 2, 0]


def test_too_few_transitions_are_rejected(built, tiny_model, videos, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(videos / "a.mp4", alone)
    with pytest.raises(ValueError, match="at least 4 transitions, got 2 from 1 videos"):
        build_library(tiny_model, alone, tmp_path / "out", LibraryConfig(frames=3), built.sprite.parent.parent / "tiny")


@pytest.mark.parametrize(
    "change", [{"capacity": 1.1}, {"capacity": -0.1}, {"frames": 1}, {"thumb_pixels": 7}, {"thumb_pixels": 257}]
)
def test_invalid_config_is_rejected(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be"):
        LibraryConfig(**change)


def damage(kind: str, folder) -> None:
    """Damage a library in one way."""
    index, tensors = json.loads((folder / "library.json").read_text()), load_file(folder / "library.safetensors")
    match kind:
        case "json":
            (folder / "library.json").write_text("{")
        case "format":
            (folder / "library.json").write_text(json.dumps(index | {"format": 7}))
        case "field":
            (folder / "library.json").write_text(json.dumps(index | {"evil": 1}))
        case "clip-in-another-folder":
            index["clips"][0]["name"] = "../a.mp4"
            (folder / "library.json").write_text(json.dumps(index))
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


REASONS = {
    "json": "", "format": "format must be 2, got 7", "field": "no field 'evil'",
    "clip-in-another-folder": "without folders", "tensor-missing": "umap_P2 is missing", "tensor-cut": "",
    "points-differ": r"umap_P2 must have shape \(10, 2\)", "shape": r"motion_P6 must have shape \(10, 6\)",
    "outside": "it has a point whose clip or frame", "not-finite": "pca_P2 must be finite",
    "sprite": "sprite.webp is missing",
}  # fmt: skip


@pytest.mark.parametrize("kind", REASONS)
def test_damaged_library_is_rejected_with_the_reason(folder, kind):
    damage(kind, folder)
    with pytest.raises(CheckpointError, match=f"out is not an action library: .*{REASONS[kind]}"):
        load_library(folder)


def test_pca_finds_the_two_directions_of_largest_variance():
    generator = torch.Generator().manual_seed(0)
    scale_A = torch.tensor([0.1, 5.0, 0.1, 2.0])
    vector_XA = torch.randn(200, 4, generator=generator) * scale_A
    position_X2 = pca_layout(vector_XA)
    for found_X, true_X in zip(position_X2.T, (vector_XA[:, 1], vector_XA[:, 3]), strict=True):
        assert abs(torch.corrcoef(torch.stack((found_X, true_X)))[0, 1]) > 0.99
