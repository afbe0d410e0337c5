"""What the site shows of the rest of the repository: pictures, and the shipped model's card with its reports.

A file that MkDocs runs while the site is built. Pages link to files as they lie, `../assets/page.png`; links to what
the site has lead there, and others become the file's name.
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
    """Adds what is carried to the files of docs/."""
    for name in CARRIED:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links out of docs/ as the site has them."""
    return LINK.sub(lambda link: lead(link[1], link[2]), markdown)


def lead(words: str, name: str) -> str:
    """A link to what is carried; the name of a file that is not."""
    if name in CARRIED:
        return f"[{words}]({name})"
    return words if words.strip("`") == name else f"{words} (`{name}`)"
