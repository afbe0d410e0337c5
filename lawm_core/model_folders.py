"""Model folders by name, without torch: which models there are, where one lies, and which families it has."""

from __future__ import annotations

from pathlib import Path

from lawm_core.contracts import CheckpointError
from lawm_core.hub import fetch_model, is_on_hub, parse
from lawm_core.schema import read_json_file

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"


def list_models(folder: str | Path = SHIPPED) -> list[str]:
    """Names of the models in `folder`, the default first (the one named in default.txt, else the first by name)."""
    folder = Path(folder)
    names = sorted(p.parent.name for p in folder.glob("*/config.json"))
    default = folder / "default.txt"
    if default.is_file() and (first := default.read_text().strip()) in names:
        names.remove(first)
        names.insert(0, first)
    return names


def find_model(name: str | Path | None) -> Path:
    """The folder of a model given by shipped name, by path, as `hub:owner/name`, or as None for the default.

    Raises CheckpointError where there is none.
    """
    if is_on_hub(name):
        return fetch_model(name)
    if name is None:
        names = list_models()
        if not names:
            raise CheckpointError(f"no model is shipped in {SHIPPED.name}/; train one (make train) or name a folder.")
        name = names[0]
    for folder in (Path(name), SHIPPED / str(name)):
        if (folder / "config.json").is_file():
            return folder
    raise CheckpointError(
        f"model {str(name)!r} is neither a folder with config.json nor one of: "
        f"{', '.join(list_models()) or 'none shipped'}."
    )


def check_model(name: str | Path | None, families: tuple[str, ...] = ()) -> None:
    """Raise what can be said of a model before it is loaded, and before anything is fetched.

    CheckpointError where there is no such model, ValueError where it lacks one of the families. Of a model on the Hub
    only the address is checked.
    """
    if is_on_hub(name):
        parse(name)
        return
    folder = find_model(name)
    present = read_families(folder)
    if present and (unknown := [family for family in families if family not in present]):
        raise ValueError(f"family must be one of {', '.join(present)} for {folder.name}, got {unknown[0]!r}.")


def read_families(folder: Path) -> tuple[str, ...]:
    """Names of the bottleneck families in a folder's config.json; none where it cannot be read: loading says why."""
    try:
        return tuple(read_json_file(folder / "config.json")["families"])
    except (OSError, ValueError, TypeError, LookupError):
        return ()
