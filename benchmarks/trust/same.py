"""Does the same request give the same bytes?

    python benchmarks/trust/same.py [--clips 6] [--out same.json]

Two processes that know nothing of each other compute latents, transfers and their files, previews of single actions and
a library with its map from the same clips; every one must be the same, to the byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.telling import tell

GALLERY = ROOT / "assets" / "gallery"
CAPACITIES = (0.0, 0.6, 1.0)


def main() -> None:
    """Measures, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--digest", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.digest:
        given.digest.write_text(json.dumps(digests(given.clips)))
        return
    with tempfile.TemporaryDirectory() as folder:
        first, second = (in_a_process(Path(folder) / f"{i}.json", given.clips) for i in range(2))
    kinds = Counter(name.split()[0] for name in first)
    figures = {f"{kind}: compared": count for kind, count in kinds.items()}
    figures["different"] = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    tell(figures, given.out)


def in_a_process(out: Path, clips: int) -> dict[str, str]:
    """What a fresh process finds."""
    command = [sys.executable, __file__, "--digest", str(out), "--clips", str(clips)]
    subprocess.run(command, cwd=ROOT, check=True)
    return json.loads(out.read_text())


def digests(count: int) -> dict[str, str]:
    """SHA-256 of everything, by a name that begins with its kind."""
    import lawm_core as lawm
    from app.piece import Piece
    from app.studio import Studio
    from lawm_core.evaluation.librarian import build_library
    from lawm_core.evaluation.library import LibraryConfig

    model, found = lawm.load_model(), {}
    studio = Studio(model, GALLERY, lawm.fingerprint())
    clips = sorted(GALLERY.glob("*.mp4"))[:count]
    for i, path in enumerate(clips):
        piece, other = Piece.of(path, frames=12), Piece.of(clips[i - 1], frames=12)
        for family in model.families:
            for at in CAPACITIES:
                action_UA = studio.infer_actions(piece, family=family, capacity=at)
                found[f"latents {path.name} {family} {at}"] = digest(action_UA.numpy().tobytes())
        files = studio.export(studio.transfer(piece, other))
        found |= {f"result {path.name} {kind}": digest(file.read_bytes()) for kind, file in vars(files).items()}
        action_UA = studio.infer_actions(piece)
        shown = studio.preview(action_UA[0], action_UA[-1], other)
        found |= {f"preview {path.name} {lane.name}": digest(lane.sheet) for lane in shown.lanes}
    with tempfile.TemporaryDirectory() as folder:
        (videos := Path(folder) / "videos").mkdir()
        for path in clips:
            (videos / path.name).symlink_to(path)
        build_library(model, videos, Path(folder) / "shelf", LibraryConfig(frames=20))
        files = sorted(p for p in (Path(folder) / "shelf").iterdir() if p.is_file())
        found |= {f"library {file.name}": digest(file.read_bytes()) for file in files}
    return found


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    main()
