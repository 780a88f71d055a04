"""The pages that look things up: API, map, the modules of the grader."""

from __future__ import annotations

import ast
from pathlib import Path

from cs336lite.course.map import users
from cs336lite.course.paths import GRADED_MODULES
from cs336lite.course.plan import Item

from .glossary import Term
from .links import page_of
from .notebooks import Page

__all__ = ["api_pages", "glossary_page", "map_page", "module_table", "way_table"]


def first_line(path: Path) -> str:
    """What the docstring of a module says first."""
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.split("\n\n")[0].split())


def api_pages(root: Path, edition: Path, items: list[Item]) -> dict[str, str]:
    """Markdown by page: one for each module that a text of the course builds, and for each tool that notebooks use.

    Docstrings come from a student edition, in which graded modules are stubs: nothing on these pages is an answer.
    """
    pages, built = {}, {module: item for item in items for module in item.modules}
    package = edition / "cs336lite"
    tools = [
        f"course.{path.stem}"
        for path in sorted((package / "course").glob("*.py"))
        if "__all__" in path.read_text(encoding="utf-8") and path.stem != "__init__"
    ]
    for module in [*built, *tools]:
        lines = [f"# cs336lite.{module}", ""]
        if module in built:
            item = built[module]
            where = "the assignment" if module in GRADED_MODULES.values() else "the notebook"
            lines += [f"Built in {where} [{item.name}](/{page_of(item)}).", ""]
        lines += ["```{eval-rst}", f".. automodule:: cs336lite.{module}", "   :members:", "```", ""]
        pages[f"reference/api/{module}.md"] = "\n".join(lines)

    def listed(modules: list[str]) -> list[str]:
        rows = []
        for module in modules:
            doc = first_line(package.joinpath(*module.split(".")).with_suffix(".py"))
            rows.append(f"| [`{module}`](api/{module}.md) | {doc.replace('|', chr(92) + '|')} |")
        return ["| module | what it is |", "|---|---|", *rows]

    text = ["# The package", "", "What the course builds, in the order of the course, from docstrings."]
    text += ["Modules that an assignment builds are shown as students get them: what to write, and no answer.", ""]
    text += [*listed(list(built)), "", "## Tools of the course", ""]
    text += [
        "What notebooks and commands use: checks, hints, figures, predictions, statistics, text to learn from.",
        "",
        *listed(tools),
    ]
    hidden = "\n".join(["```{toctree}", ":hidden:", "", *(f"api/{m}" for m in [*built, *tools]), "```"])
    pages["reference/api.md"] = "\n".join([*text, "", hidden, ""])
    return pages


def map_page(root: Path, pages: dict[str, Page]) -> str:
    """The map as a picture and, for readers who cannot see it, as a table with links."""
    found = users(root)
    lines = ["# The map", "", "What each lecture, appendix and assignment builds (square), and where it is used (dot)."]
    alt = "; ".join(f"{module}: built in {names[0]}, used in {len(names) - 1} more" for module, names in found.items())
    lines += ["", "```{image} /map.png", f":alt: {alt}", "```", "", "| module | built in | used in |", "|---|---|---|"]
    for module, (builder, *others) in found.items():
        links = [f"[{name.split('_')[0]}](/{pages[name].path})" for name in (builder, *others)]
        lines.append(f"| [`{module}`](api/{module}.md) | {links[0]} | {', '.join(links[1:])} |")
    return "\n".join(lines) + "\n"


def module_table(folder: Path) -> str:
    """The modules of a folder and what each says of itself."""
    rows = [
        f"| `{path.stem}` | {first_line(path)} |" for path in sorted(folder.glob("*.py")) if path.stem != "__init__"
    ]
    return "\n".join(["| module | what it is |", "|---|---|", *rows])


def way_table(order: list[str], items: dict[str, Item], pages: dict[str, Page]) -> str:
    """The course in its order: what each step is, builds and takes."""
    rows = ["| step | what it is | builds | your time |", "|---|---|---|---|"]
    for name in order:
        item, course = items[name], items[name].text.course
        minutes = course["effort"]["minutes"] if "effort" in course else course["minutes"]
        hours = f"{max(1, round(minutes / 30)) / 2:g} h"
        title = pages[name].title
        title = title.split(" · ", 1)[-1]
        modules = ", ".join(f"[`{module}`](reference/api/{module}.md)" for module in item.modules)
        rows.append(f"| **{name.split('_')[0]}** | [{title}]({pages[name].path}) | {modules} | {hours} |")
    return "\n".join(rows)


def glossary_page(terms: list[Term]) -> str:
    """The glossary in Markdown: English, Chinese, and the pages where a term is explained."""
    lines = [
        "# Glossary (术语表)",
        "",
        "English terms of the course with their Chinese, gathered from its texts. The first link is",
    ]
    lines += ["where a term is met first.", "", "| English | 中文 | where |", "|---|---|---|"]
    for term in terms:
        where = ", ".join(f"[{Path(page).stem.split('_')[0]}](#{anchor})" for page, anchor, _ in term.places[:4])
        lines.append(f"| {term.english.replace('<', '&lt;')} | {'、'.join(term.chinese)} | {where} |")
    return "\n".join(lines) + "\n"
