"""What a site was made of, as one hash: so that a test knows whether the pages are those of the files as they are now."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .links import GUIDES

__all__ = ["STAMP", "stamp"]

STAMP = "made-of.txt"
SOURCES = (
    ("notebooks", "**/*.ipynb"),
    ("assignments", "source/**/*.ipynb"),
    ("cs336lite", "**/*.py"),
    ("site", "**/*.*"),
    ("assets", "*"),
)


def stamp(root: Path) -> str:
    """A hash of all files that a site is made of."""
    files = [root / name for name in (*GUIDES, "LICENSE")]
    files += [path for folder, pattern in SOURCES for path in (root / folder).glob(pattern)]
    files = [path for path in files if path.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(root).as_posix().encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
