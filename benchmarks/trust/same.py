"""Check that equal requests have equal results, byte for byte.

    python benchmarks/trust/same.py [--clips 6] [--out same.json]

Two processes compute, from the same clips, latent actions, transfers and their files, previews of single actions, and a
library with its map. All results of both must be equal.
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

from benchmarks.results import write_results

GALLERY = ROOT / "assets" / "gallery"
CAPACITIES = (0.0, 0.6, 1.0)


def main() -> None:
    """Compare both processes, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--digest", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.digest:
        options.digest.write_text(json.dumps(compute_digests(options.clips)))
        return
    with tempfile.TemporaryDirectory() as folder:
        first, second = (run_process(Path(folder) / f"{i}.json", options.clips) for i in range(2))
    kinds = Counter(name.split()[0] for name in first)
    results: dict[str, object] = {f"{kind}: compared": count for kind, count in kinds.items()}
    results["different"] = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    write_results(results, options.out)


def run_process(out: Path, clips: int) -> dict[str, str]:
    """Return the digests that a new process computes."""
    command = [sys.executable, __file__, "--digest", str(out), "--clips", str(clips)]
    subprocess.run(command, cwd=ROOT, check=True)
    return json.loads(out.read_text())


def compute_digests(count: int) -> dict[str, str]:
    """Return the SHA-256 of every result by its name, which begins with the kind of the result."""
    import lawm_core as lawm
    from app.clip_selection import ClipSelection
    from app.studio import Studio
    from lawm_core.library.build import build_library
    from lawm_core.library.library import LibraryConfig

    model, digests = lawm.load_model(), {}
    studio = Studio(model, GALLERY, lawm.fingerprint())
    clips = sorted(GALLERY.glob("*.mp4"))[:count]
    for i, path in enumerate(clips):
        selection, other = ClipSelection.of(path, frames=12), ClipSelection.of(clips[i - 1], frames=12)
        for family in model.family_names:
            for capacity in CAPACITIES:
                action_UA = studio.infer_actions(selection, family=family, capacity=capacity)
                digests[f"latents {path.name} {family} {capacity}"] = digest(action_UA.numpy().tobytes())
        files = studio.export(studio.transfer(selection, other))
        digests |= {f"result {path.name} {kind}": digest(file.read_bytes()) for kind, file in vars(files).items()}
        action_UA = studio.infer_actions(selection)
        preview = studio.preview(action_UA[0], action_UA[-1], other)
        digests |= {f"preview {path.name} {panel.name}": digest(panel.sheet) for panel in preview.panels}
    with tempfile.TemporaryDirectory() as folder:
        (videos := Path(folder) / "videos").mkdir()
        for path in clips:
            (videos / path.name).symlink_to(path)
        build_library(model, videos, Path(folder) / "library", LibraryConfig(frames=20))
        files = sorted(path for path in (Path(folder) / "library").iterdir() if path.is_file())
        digests |= {f"library {file.name}": digest(file.read_bytes()) for file in files}
    return digests


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes in hex."""
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    main()
