"""The action map: a plot with one point for each transition of a library; hovering shows its two frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import gradio as gr
from torch import Tensor

from app.action_map import ActionMap
from app.components import build_component

PLOTLY = Path(find_spec("plotly").origin).parent / "package_data" / "plotly.min.js"


def static_paths(action_map: ActionMap | None) -> list[Path]:
    """Return the files that the scripts of the page fetch."""
    return [PLOTLY, *([action_map.library.sprite] if action_map else [])]


def static_url(path: Path) -> str:
    """Return the URL of a static file, relative to the page's root.

    A proxy may serve the page under another path, so `fullUrl` in shared.js adds the root in the browser.
    """
    return f"gradio_api/file={path}"


def build_map(action_map: ActionMap, elem_id: str) -> gr.HTML:
    """Build the map without a selection."""
    layers = {"paths": [], "generated": None, "positions": None, "note": ""}
    return build_component(
        "action_map", map_value(), elem_id=elem_id, map=map_props(action_map), plotly=static_url(PLOTLY), **layers
    )


def map_props(action_map: ActionMap) -> dict:
    """Return the data of the map that never change: points, clips, positions and motion summaries."""
    library, config = action_map.library, action_map.library.index.config
    right, down, speed = library.motion_P6[:, 0], library.motion_P6[:, 1], library.motion_P6[:, 5]
    clips = library.index.clips
    return {
        "clip": library.clip_P.tolist(),
        "frame": library.frame_P.tolist(),
        "clips": [
            {"name": title, "frames": clip.frames, "first": clip.first_thumb}
            for title, clip in zip(action_map.clip_titles, clips, strict=True)
        ],
        "positions": {"umap": columns(library.umap_P2), "pca": columns(library.pca_P2)},
        "speed": rounded(speed),
        "direction": [round(math.atan2(d, r), 3) for r, d in zip(right.tolist(), down.tolist(), strict=True)],
        "norm": rounded(library.action_PA.norm(dim=1)),
        "motion": [f"Image: {action_map.motion_summary(point)}" for point in range(len(action_map))],
        "sprite": static_url(library.sprite),
        "columns": library.index.sprite_columns,
        "note": f"{len(action_map)} transitions of {len(clips)} clips, arranged by their actions (bottleneck "
        f"{config.family}, capacity {config.capacity:.2f}).",
    }


def map_value(selected: int | None = None, area: Sequence[int] = (), neighbours: Sequence[int] = ()) -> dict:
    """Return a selection, which is the value of the map: one point and its neighbours, or the points of an area."""
    return {"selected": selected, "area": list(area), "neighbours": list(neighbours)}


def layer_update(**layers: object) -> dict:
    """Return an update of some layers (paths, generated, positions, note) that keeps the selection."""
    return gr.update(**layers)


def path_value(role: str, umap_X2: Tensor, pca_X2: Tensor) -> dict:
    """Return the path of a clip over the map, given the positions of its actions. role: "source" or "target"."""
    return {"role": role, "umap": columns(umap_X2), "pca": columns(pca_X2)}


def columns(position_X2: Tensor) -> dict:
    """Return positions as lists of their x and y coordinates, as the map's script takes them."""
    return {"x": rounded(position_X2[:, 0]), "y": rounded(position_X2[:, 1])}


def rounded(value_X: Tensor) -> list[float]:
    """Return numbers rounded to three decimals, so that less data is sent."""
    return [round(value, 3) for value in value_X.tolist()]
