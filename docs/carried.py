"""MkDocs hook: adds pictures, the model card, its report and SECURITY.md to the site.

Pages link to files by their path in the repository, `../assets/page.png`. Links to files of the site are resolved;
links to other files are replaced by the file's name.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
CARRIED = (
    "assets/film.gif",
    "assets/map.png",
    "assets/page.png",
    "checkpoints/nano256/card.md",
    "checkpoints/nano256/report/report.md",
    "SECURITY.md",
)
LINK = re.compile(r"\[([^\]]*)\]\(\.\./([^)#\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the carried files to those of docs/."""
    for name in CARRIED:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Resolve links that leave docs/."""
    return LINK.sub(lambda link: resolve_link(link[1], link[2]), markdown)


def resolve_link(text: str, name: str) -> str:
    """Return a link to a carried file, or the name of another file."""
    if name in CARRIED:
        return f"[{text}]({name})"
    return text if text.strip("`") == name else f"{text} (`{name}`)"
