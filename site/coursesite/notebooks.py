"""Pages of lectures, appendices and assignments: their executed notebooks, and what a reader can do with them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from cs336lite.course.plan import Item

from .folding import page_cells, raw
from .links import Links, page_of
from .mistakes import Place

__all__ = ["Page", "label", "notebook_page"]


@dataclass(frozen=True)
class Page:
    """A notebook as a page: where it lies, its title, its sections with their Markdown, and the notebook that Sphinx reads."""

    path: str
    title: str
    sections: list[tuple[Place, str]]
    notebook: NotebookNode


def label(page: str, number: int) -> str:
    """The anchor of a section: letters, digits and hyphens, so that it stays as it is in the address."""
    return f"s-{re.sub(r'[^a-z0-9]+', '-', Path(page).stem.lower())}-{number}"


def notebook_page(item: Item, notebook: NotebookNode, links: Links, released: str) -> Page:
    """The page of an item from its executed, or released, notebook.

    Args:
        released: the notebook that a reader downloads, as a path in the site.
    """
    file, path = item.notebook.relative_to(links.root).as_posix(), page_of(item)
    cells = page_cells(notebook) if item.kind != "assignment" else list(notebook.cells)
    title, heading, number, sections = "", "", 0, []
    shown, ways = [], " · ".join(ways_to_run(item, links, path, released))
    for cell in cells:
        if cell.cell_type == "markdown" and not cell.source.startswith("```{raw}"):
            pieces = []
            for part in re.split(r"(?m)^(?=#{1,6} )", fenced(cell.source)):
                if found := re.match(r"#{1,6} (.+)", part):
                    heading, number = re.sub(r"[*`]", "", found[1]).strip(), number + 1
                    title = title or heading
                    pieces.append(f"({label(path, number)})=\n")
                pieces.append(part)
                if part.strip():
                    sections.append((Place(path, title, label(path, max(number, 1)), heading), unfenced(part)))
            cell.source = links.markdown(unfenced("".join(pieces)), file, path)
            cell.pop("attachments", None)
        elif cell.cell_type == "code":
            sections += [(Place(path, title, label(path, max(number, 1)), heading), text) for text in docstrings(cell)]
            for output in cell.outputs:
                if "text/html" in output.get("data", {}):
                    output.data["text/html"] = links.html(output.data["text/html"], file, path)
        shown.append(cell)
        if len(shown) == 1:
            shown.append(bar(item, ways))
        if "exercise" in cell.metadata.get("cs336lite", {}):
            shown.append(nbformat.v4.new_markdown_cell(f"*Write it in the notebook ({ways}).*"))
    page = nbformat.v4.new_notebook(cells=shown, metadata={"kernelspec": notebook.metadata.get("kernelspec", {})})
    return Page(path, title, sections, page)


def ways_to_run(item: Item, links: Links, path: str, released: str) -> list[str]:
    """Links, in HTML, to the notebook of a page: to download it, to open it elsewhere, and how to run it."""
    found = {"download": links.to(released, path)}
    if links.repository and item.kind != "assignment":  # the assignment in the repository is solved
        notebook = item.notebook.relative_to(links.root).as_posix()
        found |= {"Colab": links.colab(notebook), "Binder": links.binder(notebook)}
    found["how to run it"] = links.to("guides/learning.html", path)
    return [f'<a href="{link}"{" download" * (name == "download")}>{name}</a>' for name, link in found.items()]


def bar(item: Item, ways: str) -> NotebookNode:
    """What can be done with a page: take its notebook along, open it elsewhere, show all answers."""
    button = '<button class="all-answers" type="button" hidden>Show all answers</button>'
    return raw(f'<p class="page-bar">Notebook: {ways} {button if item.kind != "assignment" else ""}</p>')


def docstrings(cell: NotebookNode) -> list[str]:
    return re.findall(r'(?s)"""(.*?)"""', cell.source)


def fenced(source: str) -> str:
    """The text with the ``#`` of blocks of code hidden, which are no headings."""
    return re.sub(r"(?s)```.*?```", lambda block: block[0].replace("#", "\0"), source)


def unfenced(source: str) -> str:
    return source.replace("\0", "#")
