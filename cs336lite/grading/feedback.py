"""The page that a student gets back: score and checks first, then the notebook as it was judged.

The page is one file that loads nothing and holds no script: mathematics is drawn here, styles and pictures lie inside, and
a policy in its head forbids the rest. Every text goes through a template that escapes it, or through `feedback_text`.
"""

from __future__ import annotations

import copy
import functools
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from markupsafe import Markup
from nbconvert.exporters import Exporter, HTMLExporter
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from cs336lite.course.paths import CourseError
from cs336lite.grading.feedback_cells import HEAD_ID, VERDICT_KEY, exercise_of
from cs336lite.grading.feedback_exercises import exercises_of
from cs336lite.grading.feedback_text import address_of, coloured, new_page, safe_markdown, svg
from cs336lite.grading.handed import MARK
from cs336lite.grading.limited import Exceeded, Failed, Limits, Lost, Shared
from cs336lite.grading.submission import NUMBER
from cs336lite.grading.whose import whose

STYLES, TEMPLATE = (Path(__file__).with_name(f"feedback.{kind}") for kind in ("css", "html.jinja"))


class FeedbackExporter(HTMLExporter):
    """The feedback page, in place of nbgrader's: score and checks first, then the notebook as it was judged."""

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        nb, resources = Exporter.from_notebook_node(self, nb, resources, **kw)  # nbgrader's preprocessors, no template
        course = resources.get("nbgrader", {})
        known = ("assignment", "score", "max_score", "late_penalty")
        course = {key: course[key] for key in known if key in course} | {"whose": whose(course)}
        try:
            return PAINTER.call(f"{__name__}:page_of", nbformat.writes(nb), course), resources
        except Exceeded:  # whatever it is made of: its text is shown as it was written
            return page(as_written(nb), course), resources
        except (Lost, Failed) as error:
            raise CourseError(f"the page could not be made: {error}") from None


PAINTER = Shared(Limits(step_seconds=20, call_seconds=20, answer_bytes=24 << 20), ready=f"{__name__}:get_ready")
"""The process that makes pages; one for each process that asks, started at the first page."""


def get_ready() -> None:
    """What takes long the first time: matplotlib looks for fonts."""
    with suppress(Exception):
        svg("x", 12)


def page_of(notebook: str, course: dict[str, Any]) -> str:
    """`page` of a notebook's text. Runs in a process with limits."""
    return page(nbformat.reads(notebook, as_version=4), course)


def as_written(nb: NotebookNode) -> NotebookNode:
    """A notebook of which no text is to be rendered or coloured."""
    shown = copy.deepcopy(nb)
    for cell in shown.cells:
        cell.metadata["as_written"] = True
    return shown


def page(nb: NotebookNode, course: dict[str, Any]) -> str:
    """The page of a graded notebook. ``course`` holds nbgrader's assignment, score, max_score and late_penalty, and what
    `whose` says.

    A notebook that was graded without `add_head` is shown with the plain outputs of its grade cells.
    """
    verdict = nb.metadata.get(VERDICT_KEY) or {}
    new_page()
    cells = [cell for cell in nb.cells if not (verdict and cell.get("id") == HEAD_ID)]
    exercises = exercises_of(cells, verdict)
    score, most = course.get("score", verdict.get("score", 0)), course.get("max_score", verdict.get("max_score", 0))
    shown = [
        {
            "kind": cell.cell_type,
            "name": name,
            "number": cell.metadata.get(NUMBER, ""),
            "grade": exercises.get(exercise_of(name)) if known.get("grade") and not known.get("solution") else None,
            "mine": bool(known.get("solution")),
            "body": body_of(cell),
            **shown_outputs(cell),
        }
        for cell in cells
        if cell.cell_type in ("code", "markdown")
        for known in [cell.metadata.get("nbgrader", {})]
        for name in [str(known.get("grade_id", ""))]
    ]
    for index, cell in enumerate(shown):  # where the text of an exercise begins: the markdown before its cell
        if cell["name"] in exercises:
            before = next((c for c in reversed(shown[:index]) if c["kind"] == "markdown"), cell)
            before.setdefault("anchor", f"text-{cell['name']}")
            exercises[cell["name"]]["text"] = before["anchor"]
    return template().render(
        assignment=course.get("assignment") or verdict.get("assignment", ""),
        score=score,
        most=most,
        part=min(100, max(0, 100 * score / most)) if most else 0,
        penalty=course.get("late_penalty") or 0,
        about=course.get("whose", {}),
        by_hand=[e for e in exercises.values() if abs(e["points"] - e["judged"]) > LEAST_POINTS],
        problem=verdict.get("problem", ""),
        notes=verdict.get("notes", []),
        exercises=list(exercises.values()),
        cells=shown,
        styles=STYLES.read_text(encoding="utf-8") + HtmlFormatter(style="xcode").get_style_defs(".highlight"),
    )


def body_of(cell: NotebookNode) -> Markup:
    if cell.metadata.get("as_written"):
        return Markup("<pre>{}</pre>").format(cell.source)
    return coloured(cell.source) if cell.cell_type == "code" else safe_markdown(cell.source, cell.get("attachments"))


def shown_outputs(cell: NotebookNode) -> dict[str, Any]:
    """The texts and the pictures of a cell's outputs; nothing else of them is shown. ``handed_in`` when they were."""
    outputs = cell.get("outputs", [])
    handed_in = bool(outputs) and outputs[0].get("text") == MARK
    shown = []
    for output in outputs[handed_in:]:
        data = output.get("data", {})
        text = output.get("text") or data.get("text/plain", "")
        text = text if isinstance(text, str) else "".join(map(str, text))
        address = address_of(data)
        if text or address:
            shown.append({"picture": address, "text": text, "error": output.get("name") == "stderr"})
    return {"handed_in": handed_in, "outputs": shown}


def said(text: str) -> Markup:
    """A message as it is, with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(Markup.escape(text))))


def points(value: Any) -> str:
    return f"{round(float(value), 2):g}"


LEAST_POINTS = 0.005  # what `points` does not show is no difference


@functools.cache
def template() -> jinja2.Template:
    """The page, to be filled in."""
    found = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    found.filters |= {"points": points, "said": said}
    return found.from_string(TEMPLATE.read_text(encoding="utf-8"))
