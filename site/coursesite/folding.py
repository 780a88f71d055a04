"""A lecture's notebook as the cells of a page: answers to predictions folded, figures described, exercises linked."""

from __future__ import annotations

import json
import re

import nbformat
from nbformat import NotebookNode

from cs336lite.course.form import is_folded, is_predict, predictions, revealed_guesses

from .alt import alt_text

__all__ = ["answer_cells", "page_cells", "split_after"]

ANSWER = (
    '<details class="answer"><summary>Show the answer</summary>\n<div class="answer-body">',
    "</div>\n</details>",
)
BORDER = re.compile(r"^(#{1,6} |\*\*(Predict|Try it|Exercise)|<details)")


def raw(html: str) -> NotebookNode:
    """A cell of HTML."""
    return nbformat.v4.new_markdown_cell(f"```{{raw}} html\n{html}\n```")


def page_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells of a page: of each prediction the code stands in sight, and its outputs and what is said of them are folded."""
    notebook = nbformat.from_dict(json.loads(json.dumps(notebook)))
    cells, heading, number = [], "", 0
    answers = dict(answer_cells(notebook))
    while number < len(notebook.cells):
        cell = notebook.cells[number]
        heading = last_heading(cell, heading)
        if number in answers:
            cells += folded_answer(notebook.cells[number : answers[number] + 1], heading)
            number = answers[number] + 1
            after = notebook.cells[number] if number < len(notebook.cells) else None
            if after is not None and after.cell_type == "markdown":
                inside, after.source = split_after(after.source)
                if inside:
                    cells.append(nbformat.v4.new_markdown_cell(inside))
            cells.append(raw(ANSWER[1]))
            continue
        number += 1
        if cell.cell_type == "code":
            dressed(cell, heading)
        if cell.source.strip():
            cells.append(cell)
    return cells


def answer_cells(notebook: NotebookNode) -> list[tuple[int, int]]:
    """(first, last) cell of what answers each prediction: from the first code cell below it to the last `reveal`."""
    found = []
    for i, (_, below) in predictions(notebook):
        if not below:
            continue
        first = next(j for j in range(i + 1, len(notebook.cells)) if notebook.cells[j] is below[0])
        last = first
        for j in range(first, len(notebook.cells)):
            cell = notebook.cells[j]
            if cell.cell_type == "markdown" and (is_predict(cell) or re.search(r"(?m)^#+ ", cell.source)):
                break
            if cell.cell_type == "code" and revealed_guesses(cell):
                last = j
        found.append((first, last))
    return found


def folded_answer(stretch: list[NotebookNode], heading: str) -> list[NotebookNode]:
    """The cells of an answer up to the end of its fold, which stays open: code in sight first, what it shows folded."""
    seen = 0
    while seen < len(stretch) and stretch[seen].cell_type == "code" and not is_folded(stretch[seen]):
        seen += 1
    shown, outputs = [], []
    for cell in stretch[:seen]:
        if cell.outputs:
            below = nbformat.from_dict(json.loads(json.dumps(cell)))
            dressed(below, heading)
            below.metadata["tags"] = [*below.metadata.get("tags", []), "remove-input"]
            outputs.append(below)
        cell.outputs = []
        shown.append(cell)
    for cell in stretch[seen:]:
        if cell.cell_type == "code":
            dressed(cell, heading)
        outputs.append(cell)
    return [*shown, raw(ANSWER[0]), *outputs]


def split_after(source: str) -> tuple[str, str]:
    """What below an answer speaks of it, and the rest: the paragraphs before a heading, a question or a task.

    A paragraph that stands right above the next question leads to that one.

    >>> split_after("So it is three.\\n\\n## 2 · Words")
    ('So it is three.', '## 2 · Words')
    >>> split_after("So it is.\\n\\nTake another.\\n\\n**Predict.** How many?")
    ('So it is.', 'Take another.\\n\\n**Predict.** How many?')
    """
    paragraphs = re.split(r"\n\s*\n", source.strip())
    border = next((i for i, text in enumerate(paragraphs) if BORDER.match(text)), len(paragraphs))
    if border < len(paragraphs) and paragraphs[border].startswith("**Predict") and border > 1:
        border -= 1
    if any(text.count("```") % 2 or text.count("$$") % 2 for text in paragraphs[:border]):
        return "", source  # a block goes on over an empty line
    return "\n\n".join(paragraphs[:border]), "\n\n".join(paragraphs[border:])


def dressed(cell: NotebookNode, heading: str) -> None:
    """Tags and settings of MyST-NB for a code cell: folded code, and words for its figures."""
    tags = list(cell.metadata.get("tags", []))
    if "solution" in tags:
        settings = {"code_prompt_show": "Show a solution", "code_prompt_hide": "Hide the solution"}
    else:
        settings = {"code_prompt_show": "Show the code", "code_prompt_hide": "Hide the code"}
    if is_folded(cell):
        tags.append("hide-input")
    if any("image/png" in output.get("data", {}) for output in cell.outputs):
        settings["image"] = {"alt": alt_text(cell.source, heading)}
    cell.metadata["tags"] = tags
    cell.metadata["mystnb"] = settings


def last_heading(cell: NotebookNode, before: str) -> str:
    if cell.cell_type != "markdown":
        return before
    found = re.findall(r"(?m)^#+ (.+)$", cell.source)
    return found[-1].strip() if found else before
