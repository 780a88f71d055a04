"""Make stock nbgrader judge with the grader of this course: two preprocessors and an exporter.

``assignments/nbgrader_config.py`` calls `configure`; from then on ``nbgrader autograde``, the formgrader's button
and ``nbgrader generate_feedback`` work as ever, but no student code runs in a kernel of the instructor's.
"""

from __future__ import annotations

import html
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import bleach
from jinja2 import pass_context
from nbconvert.exporters import HTMLExporter, NotebookExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook, new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Unicode

from cs336lite.course.text import CODE_STUB
from cs336lite.grading.submission import normalise, read_notebook, structure_of_gradebook, submission_of
from cs336lite.grading.verdicts import Judge, Verdict

PROBLEM_KEY = "cs336lite"
"""Where a sanitised notebook's metadata carries what was wrong with the submission, from one nbgrader pass to the next."""


def configure(config: Any, course: Path) -> None:
    """Set up an nbgrader course in ``course``: its folders, the student's stub, and the grader."""
    tools = str(Path(sys.executable).parent)  # nbgrader calls alembic by name, also where no environment is active
    if tools not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([tools, os.environ.get("PATH", "")])
    # nbgrader 0.9.6 adds its submissions in an order that SQLAlchemy 2.1 grumbles about, at no harm
    warnings.filterwarnings("ignore", message="Object of type <Submitted")
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.course_id = "cs336lite"
    config.CourseDirectory.db_url = f"sqlite:///{course / 'gradebook.db'}"
    config.Exchange.root = os.environ.get("CS336LITE_EXCHANGE", str(course / "exchange"))
    config.ClearSolutions.code_stub = {"python": CODE_STUB}
    config.Autograde.exporter_class = f"{__name__}.AnyNotebookExporter"
    config.Autograde.sanitize_preprocessors = [f"{__name__}.Sanitize"]
    config.Autograde.autograde_preprocessors = [
        f"{__name__}.JudgeCells",
        "nbgrader.preprocessors.SaveAutoGrades",
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    config.JudgeCells.course = str(course)
    config.GenerateFeedback.exporter_class = f"{__name__}.FeedbackExporter"
    if "CS336LITE_EXCHANGE" not in os.environ and os.access(course, os.W_OK):
        (course / "exchange").mkdir(exist_ok=True)


class AnyNotebookExporter(NotebookExporter):
    """Reads any file: one that is no notebook becomes an empty notebook that says so, and scores zero."""

    def from_filename(self, filename: str, resources: dict | None = None, **kw: Any) -> tuple[str, dict]:
        notebook, problem = read_notebook(Path(filename))
        if problem:
            node = new_notebook(metadata={PROBLEM_KEY: {"problem": problem}})
        elif is_sanitised(notebook, filename):
            return super().from_filename(filename, resources, **kw)
        else:
            node = new_notebook()
            node.metadata[PROBLEM_KEY] = {"raw": notebook}
        return self.from_notebook_node(node, resources, **kw)


SAFE_TAGS = frozenset(
    "a b blockquote br code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span strong sub sup "
    "table tbody td th thead tr ul".split()
)
SAFE_ATTRIBUTES = {"a": ["href", "title"], "td": ["align"], "th": ["align"], "div": ["class"], "span": ["class"]}


class FeedbackExporter(HTMLExporter):
    """nbgrader's feedback page, in which no markup of a submission runs, loads or leads to a script."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        page = super().markdown2html(context, source)
        safe = bleach.clean(page, tags=SAFE_TAGS, attributes=SAFE_ATTRIBUTES, protocols={"http", "https", "mailto"})
        return safe.replace("<table>", '<table class="table table-condensed" style="width: auto">')

    def _load_config(self, cfg: Any, **kwargs: Any) -> None:
        super()._load_config(cfg, **kwargs)
        self.exclude_anchor_links = True
        self.embed_images = False  # an image path of a submission's could name any file of the instructor's


def is_sanitised(notebook: dict[str, Any], filename: str) -> bool:
    """Whether nbgrader is in its second pass: the file is then one that `Sanitize` wrote into autograded/."""
    return Path(filename).resolve().parents[2].name == "autograded"


class Sanitize(NbGraderPreprocessor):
    """The released structure with the student's code; see `cs336lite.grading.submission.normalise`."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        carried = nb.metadata.get(PROBLEM_KEY, {})
        course = resources["nbgrader"]
        with Gradebook(course["db_url"]) as gradebook:
            structure = structure_of_gradebook(gradebook, course["notebook"], course["assignment"])
        clean, notes = normalise(carried.get("raw", {}), structure)
        problem = carried.get("problem", "")
        clean.metadata[PROBLEM_KEY] = {"problem": problem, "notes": [] if problem else notes}
        return clean, resources


class JudgeCells(NbGraderPreprocessor):
    """Writes the verdict into the grade cells: one line per check, and the points as the cell's result."""

    course = Unicode(help="The folder of the course, which holds hidden/").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        carried = nb.metadata.pop(PROBLEM_KEY, {})
        submission = submission_of(nb, carried.get("notes", ()))
        if carried.get("problem"):
            submission = type(submission)(problem=carried["problem"])
        with Judge(Path(self.course), resources["nbgrader"]["assignment"]) as judge:
            verdict = judge.judge(submission)
        for cell in nb.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
                if cell.metadata.get("nbgrader", {}).get("grade"):
                    write_verdict(cell, verdict)
        nb.cells.insert(0, new_markdown_cell(summary(verdict), id="verdict"))
        return nb, resources


def exercise_of(name: str) -> str:
    """The exercise that a grade cell judges: ``grade_train`` judges ``train``."""
    return name.removeprefix("grade_")


def write_verdict(cell: NotebookNode, verdict: Verdict) -> None:
    """Give a grade cell the outputs of its exercise: lines that a person reads and a number that nbgrader reads."""
    checks = verdict.exercise(exercise_of(cell.metadata.nbgrader["grade_id"]))
    available = float(cell.metadata.nbgrader["points"])
    total = sum(c.max_points for c in checks)
    points = round(available * sum(c.points for c in checks) / total, 6) if total else 0.0
    lines = [
        f"{'PASS' if c.passed else 'FAIL'}  {c.points:g}/{c.max_points:g}  {c.title}"
        + ("" if c.passed else f"\n      {c.message}")
        for c in checks
    ]
    cell.outputs = [
        new_output("stream", name="stdout", text="\n".join(lines) + "\n"),
        new_output("execute_result", data={"text/plain": repr(points)}, execution_count=1),
    ]
    cell.execution_count = 1


def summary(verdict: Verdict) -> str:
    """The head of a feedback page, in markdown: the score, each exercise, what was put right."""
    rows = ["| exercise | points | what to look at |", "|:---|:---|:---|"]
    for name in dict.fromkeys(c.exercise for c in verdict.checks):
        checks = verdict.exercise(name)
        points, total = sum(c.points for c in checks), sum(c.max_points for c in checks)
        first = next((html.escape(c.message) for c in checks if not c.passed), "all checks passed")
        rows.append(f"| {name} | {points:g} / {total:g} | {first.replace('|', '&#124;')} |")
    notes = "".join(f"\n- {html.escape(note)}" for note in verdict.notes)
    if notes:
        notes = f"\n\nPut right before judging, at no cost of points:\n{notes}"
    return f"## {verdict.assignment}: {verdict.score:g} of {verdict.max_score:g} points\n\n" + "\n".join(rows) + notes
