"""Find model folders by name, without importing torch."""

from __future__ import annotations

from pathlib import Path

from lawm_core.hub import fetch_model, is_on_hub, parse
from lawm_core.schema import read_json_file
from lawm_core.types import CheckpointError

PACKAGE = Path(__file__).resolve().parent
# In an installed package the checkpoints are package data, in a checkout they lie beside the package.
SHIPPED = PACKAGE / "checkpoints" if (PACKAGE / "checkpoints").is_dir() else PACKAGE.parent / "checkpoints"


def list_models(folder: str | Path = SHIPPED) -> list[str]:
    """Return names of the models in `folder`, the default first.

    The default is the model that default.txt in the folder names or, without that file, the first by name.
    """
    folder = Path(folder)
    names = sorted(p.parent.name for p in folder.glob("*/config.json"))
    default = folder / "default.txt"
    if default.is_file() and (first := default.read_text().strip()) in names:
        names.remove(first)
        names.insert(0, first)
    return names


def find_model(name: str | Path | None) -> Path:
    """Return the folder of a model.

    name: name of a shipped model, a folder, `hub:owner/name`, which is downloaded if necessary, or None for the default
    model. Raises CheckpointError if there is no such model.
    """
    if is_on_hub(name):
        return fetch_model(name)
    if name is None:
        names = list_models()
        if not names:
            raise CheckpointError(f"no model found in {SHIPPED}; train one (make train) or pass a folder.")
        name = names[0]
    for folder in (Path(name), SHIPPED / str(name)):
        if (folder / "config.json").is_file():
            return folder
    raise CheckpointError(
        f"model must be a folder with config.json or one of {', '.join(list_models()) or 'none'}, got {str(name)!r}."
    )


def check_model(name: str | Path | None, families: tuple[str, ...] = ()) -> None:
    """Check that a model and its families exist, before the model is loaded or downloaded.

    Raises CheckpointError if there is no such model, ValueError if it lacks one of the families. For a model on the Hub
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
    """Return the names of the families in a folder's config.json.

    If the file cannot be read, the result is empty: `load_model` reports the reason later.
    """
    try:
        return tuple(read_json_file(folder / "config.json")["families"])
    except (OSError, ValueError, TypeError, LookupError):
        return ()
