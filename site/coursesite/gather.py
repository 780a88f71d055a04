"""All sources of the site in one folder, for Sphinx."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import nbformat

from cs336lite.course.leaks import leaks
from cs336lite.course.paths import CourseError, way
from cs336lite.course.plan import Item, plan
from cs336lite.course.release import release

from . import mistakes, reference
from .fonts import chinese_characters, write_fonts
from .glossary import glossary
from .links import GUIDES, Links
from .notebooks import Page, notebook_page
from .stamp import STAMP, stamp

__all__ = ["finished", "gather"]


def gather(root: Path, folder: Path, *, repository: str = "", branch: str = "main") -> list[Item]:
    """Write everything that Sphinx reads into a new folder; the texts of the course, in its order.

    Raises:
        CourseError: the course is not in step, or a student edition of it would show an answer.
    """
    site = root / "site"
    folder.mkdir(parents=True)
    for name in ("coursesite", "static"):
        shutil.copytree(site / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(site / "conf.py", folder)
    edition = release(root, folder / "edition")
    items = {item.name: item for item in plan(root)}
    order = way(items)
    links = Links(root, list(items.values()), repository, branch)
    pages = {name: _page(root, edition, items[name], links, folder) for name in order}
    for page in pages.values():
        _write(folder / page.path, nbformat.writes(page.notebook, version=4))
    sections = [section for name in order for section in pages[name].sections]

    texts = reference.api_pages(root, edition, list(items.values()))
    texts["reference/map.md"] = reference.map_page(root, pages)
    shutil.copy(root / "assets" / "map.png", folder / "map.png")
    names = tomllib.loads((site / "glossary.toml").read_text(encoding="utf-8"))
    parts = [(p.path, p.title, [(place.anchor, text) for place, text in p.sections]) for p in pages.values()]
    texts["reference/glossary.md"] = reference.glossary_page(glossary(parts, names))
    texts["reference/mistakes.md"] = mistakes.index(mistakes.read(site / "mistakes.toml"), sections)
    fill = {
        "first": pages[order[0]].path,
        "way": reference.way_table(order, items, pages),
        "steps": "\n".join(pages[name].path.removesuffix(".ipynb") for name in order),
        "grading": reference.module_table(root / "cs336lite" / "grading"),
        "teaching": reference.module_table(root / "cs336lite" / "teaching"),
    }
    for path in sorted((site / "pages").rglob("*.md")):
        source = path.read_text(encoding="utf-8")
        texts[path.relative_to(site / "pages").as_posix()] = re.sub(r"%(\w+)%", lambda found: fill[found[1]], source)
    for file, page in GUIDES.items():
        if page not in texts:
            texts[page] = links.markdown((root / file).read_text(encoding="utf-8"), file, page)
    for page, text in texts.items():
        _write(folder / page, text)
    for name in ("grader.svg",):
        shutil.copy(root / "assets" / name, folder / "guides" / name)
    said = [*texts.values(), *(nbformat.writes(page.notebook, version=4) for page in pages.values())]
    said += [path.read_text(encoding="utf-8") for path in sorted((edition / "cs336lite").rglob("*.py"))]  # docstrings
    write_fonts(
        folder / "static" / "fonts", chinese_characters(re.sub(r"\\u([0-9a-f]{4})", _character, t) for t in said)
    )
    year = re.search(r"(?m)^Copyright.*$", (root / "LICENSE").read_text(encoding="utf-8"))
    told = {"edition": str(edition), "copyright": re.sub(r"(?i)copyright( \(c\))? ", "", year[0]) if year else ""}
    _write(folder / "gathered.json", json.dumps(told))
    return list(items.values())


def _character(found: re.Match) -> str:
    return chr(int(found[1], 16))


def _page(root: Path, edition: Path, item: Item, links: Links, folder: Path) -> Page:
    """The page of an item, and the notebook to download beside it: as a student has it, without answers."""
    if item.kind == "assignment":
        given = edition / "assignments" / item.name / f"{item.name}.ipynb"
    else:
        given = edition / item.notebook.relative_to(root)
    shown = item.notebook if item.kind != "assignment" else given
    download = f"notebooks/{item.name}.ipynb"
    (folder / "released" / "notebooks").mkdir(parents=True, exist_ok=True)
    shutil.copy(given, folder / "released" / download)
    return notebook_page(item, nbformat.read(shown, as_version=4), links, download)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def finished(root: Path, out: Path, items: list[Item]) -> None:
    """Search the pages for the answers to these texts, take away what only Sphinx needs, and note what they are made of.

    Raises:
        CourseError: a page shows an answer of graded work.
    """
    for name in (".buildinfo", "objects.inv"):
        (out / name).unlink(missing_ok=True)
    (out / ".nojekyll").touch()  # GitHub Pages leaves out folders such as _static otherwise
    if found := leaks(root, out, items, rendered=True):
        raise CourseError("no site was made: a page shows an answer\n" + "\n".join(f"  {line}" for line in found[:20]))
    (out / STAMP).write_text(stamp(root) + "\n")
