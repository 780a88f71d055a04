"""Right work keeps its points, whatever its style: every style of `styles` through the grader, in every assignment."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from cs336lite.grading.client import Budget
from cs336lite.grading.submission import read_submission, structure_of_source
from cs336lite.grading.verdicts import Judge

ROOT = Path(__file__).resolve().parents[1]
ASSIGNMENTS = ("a1_bpe", "a2_attention", "a3_rope", "a4_lion", "a5_moe_router")
QUICK = "a2_attention"  # the assignment in which every style is tried in each run of the tests
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
    pytest.param(assignment, style, marks=() if assignment == QUICK else pytest.mark.slow)
    for assignment in ASSIGNMENTS
    for style in STYLES
]


@pytest.fixture(scope="module")
def judges() -> Iterator[dict[str, Judge]]:
    found: dict[str, Judge] = {}
    yield found
    for judge in found.values():
        judge.close()


@pytest.mark.parametrize("assignment, style", CASES)
def test_right_work_keeps_its_points(judges, tmp_path, assignment, style):
    course = ROOT / "assignments"
    if assignment not in judges:
        judges[assignment] = Judge(course, assignment, keep=False)
        judges[assignment].budget = BUDGET
    made = STYLES[style](source_notebook(course, assignment), assignment)
    path = tmp_path / ("bob.py" if isinstance(made, str) else f"{assignment}.ipynb")
    path.write_text(made if isinstance(made, str) else nbformat.writes(made), encoding="utf-8", newline="")
    structure = structure_of_source(course / "source" / assignment / f"{assignment}.ipynb")
    verdict = judges[assignment].judge(read_submission(path, structure))
    assert verdict.problem == ""
    assert {check.id: check.message for check in verdict.checks if not check.passed} == {}
