"""What autograding leaves in a notebook: lines in its grade cells, and a head that sums up."""

from __future__ import annotations

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output

from cs336lite.course.border import markdown
from cs336lite.grading.verdicts import Verdict

VERDICT_KEY = "cs336lite_verdict"
"""Where a graded notebook's metadata carries the verdict and what to read, from autograding to the page."""
HEAD_ID = "verdict"
"""The id of the cell that `add_head` puts in front; the page has a better head."""


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
        f"{'NOTE' if c.excused else 'PASS' if c.passed else 'FAIL'}  {c.points:g}/{c.max_points:g}  {c.title}"
        + ("\n      " + (c.excused or c.message) if c.excused or not c.passed else "")
        for c in checks
    ]
    cell.outputs = [
        new_output("stream", name="stdout", text="\n".join(lines) + "\n"),
        new_output("execute_result", data={"text/plain": repr(points)}, execution_count=1),
    ]
    cell.execution_count = 1


def add_head(nb: NotebookNode, verdict: Verdict) -> None:
    """Put `summary` in front of a graded notebook, and into its metadata what the page is made of."""
    nb.metadata[VERDICT_KEY] = {
        "assignment": verdict.assignment,
        "score": verdict.score,
        "max_score": verdict.max_score,
        "problem": verdict.problem,
        "notes": list(verdict.notes),
        "checks": [{**c.as_dict(), "fault": ""} for c in verdict.checks],  # which is for the instructor's terminal
        "read": verdict.read,
    }
    nb.cells.insert(0, new_markdown_cell(summary(verdict), id=HEAD_ID))


def summary(verdict: Verdict) -> str:
    """The head of a graded notebook, in markdown: the score, each exercise, what was put right."""
    rows = ["| exercise | points | what to look at |", "|:---|:---|:---|"]
    for name in dict.fromkeys(c.exercise for c in verdict.checks):
        checks = verdict.exercise(name)
        points, total = sum(c.points for c in checks), sum(c.max_points for c in checks)
        first = next((c.message for c in checks if not c.passed), "all checks passed")
        rows.append(f"| {markdown(name)} | {points:g} / {total:g} | {markdown(first)} |")
    notes = "".join(f"\n- {markdown(note)}" for note in verdict.notes)
    excused = "".join(f"\n- {markdown(c.title)}: {markdown(c.excused)}" for c in verdict.checks if c.excused)
    if excused:
        excused = f"\n\nNot counted as judged:\n{excused}"
    if notes:
        notes = f"\n\nPut right before judging, at no cost of points:\n{notes}"
    return (
        f"## {markdown(verdict.assignment)}: {verdict.score:g} of {verdict.max_score:g} points\n\n"
        + "\n".join(rows)
        + excused
        + notes
    )
