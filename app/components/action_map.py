"""The action map: every transition of a library as a point, with its two frames at the pointer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import gradio as gr
from torch import Tensor

from app.atlas import Atlas
from app.components import build_piece

PLOTLY = Path(find_spec("plotly").origin).parent / "package_data" / "plotly.min.js"


def static_paths(atlas: Atlas | None) -> list[Path]:
    """Files that the map's script fetches."""
    return [PLOTLY, *([atlas.library.sprite] if atlas else [])]


def address(path: Path) -> str:
    """Where a static file is, from the page's root on, which a proxy may have moved (`served` in shared.js)."""
    return f"gradio_api/file={path}"


def build_map(atlas: Atlas, elem_id: str) -> gr.HTML:
    """The map with nothing chosen."""
    layers = {"paths": [], "sampled": None, "places": None, "note": ""}
    return build_piece(
        "action_map", map_value(), elem_id=elem_id, atlas=map_props(atlas), plotly=address(PLOTLY), **layers
    )


def map_props(atlas: Atlas) -> dict:
    """What never changes: points, their clips, places and meanings."""
    library, config = atlas.library, atlas.library.index.config
    right, down, speed = library.motion_P6[:, 0], library.motion_P6[:, 1], library.motion_P6[:, 5]
    return {
        "clip": library.clip_P.tolist(),
        "frame": library.frame_P.tolist(),
        "clips": [{"name": Path(c.name).stem, "frames": c.frames, "first": c.first_thumb} for c in library.index.clips],
        "places": {"umap": columns(library.umap_P2), "pca": columns(library.pca_P2)},
        "speed": rounded(speed),
        "heading": [round(math.atan2(d, r), 3) for r, d in zip(right.tolist(), down.tolist(), strict=True)],
        "size": rounded(library.action_PA.norm(dim=1)),
        "words": [atlas.words(point) for point in range(len(atlas))],
        "sprite": address(library.sprite),
        "across": library.index.thumbs_across,
        "note": f"{len(atlas)} transitions of {len(library.index.clips)} clips, laid out by their actions at "
        f"{config.family} {config.capacity:.2f}.",
    }


def map_value(selected: int | None = None, chosen: Sequence[int] = (), neighbours: Sequence[int] = ()) -> dict:
    """What is chosen: one point with its neighbours, or a group."""
    return {"selected": selected, "chosen": list(chosen), "neighbours": list(neighbours)}


def layer(**layers: object) -> dict:
    """An update of one layer that leaves the choice alone: paths, sampled, places or note."""
    return gr.update(**layers)


def path_value(role: str, umap_X2: Tensor, pca_X2: Tensor) -> dict:
    """A clip's way over the map."""
    return {"role": role, "umap": columns(umap_X2), "pca": columns(pca_X2)}


def columns(place_X2: Tensor) -> dict:
    """Places as the map's script wants them."""
    return {"x": rounded(place_X2[:, 0]), "y": rounded(place_X2[:, 1])}


def rounded(value_X: Tensor) -> list[float]:
    """Numbers short enough to send."""
    return [round(v, 3) for v in value_X.tolist()]
