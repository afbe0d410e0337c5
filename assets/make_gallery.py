"""Make the gallery's clips from formulas and simulated robots.

python assets/make_gallery.py [scene ...]

`painting/listing.py` lists the clips. A Scene (`scene.py`) has a background (`sceneries.py`), objects (`things.py`) and
a Motion (`motions.py`); a Shot (`robots.py`) films a simulated robot. The same files give the same pictures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lawm_core.video.files import write_clip
from painting.listing import PAIRS, SCENES
from painting.motions import RATE

FOLDER = Path(__file__).resolve().parent / "gallery"


def write_listing() -> None:
    """Write gallery.json."""
    clips = [{"file": f"{s.file}.mp4", "title": s.title, "about": s.about} for s in SCENES]
    pairs = [vars(p) | {"source": f"{p.source}.mp4", "target": f"{p.target}.mp4"} for p in PAIRS]
    listing = json.dumps({"clips": clips, "pairs": pairs}, indent=2, ensure_ascii=False)
    (FOLDER / "gallery.json").write_text(listing + "\n", encoding="utf-8")


def main(names: list[str]) -> None:
    """Film the named scenes, or all, and write the listing."""
    unknown = set(names) - {scene.file for scene in SCENES}
    if unknown:
        raise SystemExit(f"No scene is called {', '.join(sorted(unknown))}; see SCENES in painting/listing.py.")
    FOLDER.mkdir(exist_ok=True)
    for scene in SCENES:
        if not names or scene.file in names:
            write_clip(FOLDER / f"{scene.file}.mp4", scene.film(), RATE)
    write_listing()


if __name__ == "__main__":
    main(sys.argv[1:])
