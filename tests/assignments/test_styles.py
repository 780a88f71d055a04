"""Right work keeps its points, whatever its style: every style of `styles` through the grader, in every assignment."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest

from cs336lite.course.paths import hidden_checks
from cs336lite.course.spec import load_spec
from cs336lite.grading.budget import Budget
from cs336lite.grading.client import Worker
from cs336lite.grading.judge import Judge, needs_of
from cs336lite.grading.places import said
from cs336lite.grading.structure import structure_of_source
from cs336lite.grading.submission import Submission, read_submission

COURSE = Path(__file__).resolve().parents[2] / "assignments"
ASSIGNMENTS = ("a1_bpe", "a2_attention", "a3_rope", "a4_lion", "a5_moe_router", "a6_inference", "a7_parallel")
QUICK = "a2_attention"  # in which every style is run, though not judged, in each run of the tests
BUDGET = Budget(load_seconds=6.0, idle_seconds=6.0)  # demonstrations that never end are many here
FOLDER = Path(__file__).with_name("styles")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


def load(path: Path):
    spec = importlib.util.spec_from_file_location(f"styles_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MODULES = [load(path) for path in sorted(FOLDER.glob("*.py"))]
STYLES = {name: make for module in MODULES for name, make in module.STYLES.items()}
source_notebook = next(module.source_notebook for module in MODULES if hasattr(module, "source_notebook"))
CASES = [
    pytest.param(assignment, style, marks=() if number % len(ASSIGNMENTS) == place else pytest.mark.slow)
    for place, assignment in enumerate(ASSIGNMENTS)
    for number, style in enumerate(STYLES)  # each style in one assignment in each run of the tests
]


def submission_in(make: Callable, assignment: str, folder: Path) -> Submission:
    """The right solution in one style, written to a file and read from it."""
    made = make(source_notebook(COURSE, assignment), assignment)
    path = folder / ("bob.py" if isinstance(made, str) else f"{assignment}.ipynb")
    path.write_text(made if isinstance(made, str) else nbformat.writes(made), encoding="utf-8", newline="")
    return read_submission(path, structure_of_source(COURSE / "source" / assignment / f"{assignment}.ipynb"))


@pytest.mark.parametrize("assignment, style", CASES)
def test_right_work_keeps_its_points(judges, tmp_path, assignment, style):
    if assignment not in judges:
        judges[assignment] = Judge(COURSE, assignment, keep=False)
        judges[assignment].budget = BUDGET
    verdict = judges[assignment].judge(submission_in(STYLES[style], assignment, tmp_path))
    assert verdict.problem == ""
    assert {check.id: check.message for check in verdict.checks if not check.passed} == {}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(needs_of(load_spec(hidden_checks(COURSE, QUICK)))) as worker:
        yield worker


RUNS_WHOLE = [style for style in STYLES if not style.startswith(("demo", "colab", "file with", "file that"))]


@pytest.mark.parametrize("style", RUNS_WHOLE)
def test_every_statement_runs_as_it_did_for_the_student(worker, tmp_path, style):
    submission = submission_in(STYLES[style], QUICK, tmp_path)
    with worker.student(submission.cells, submission.name) as student:
        student.ensure_loaded()
        assert [said(trouble, submission.cells) for trouble in student.troubles] == []
