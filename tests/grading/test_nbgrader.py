"""The stock nbgrader commands, one after another, on a1_bpe: from the source notebook to the student's feedback."""

import csv
import getpass
import json
import shutil
import sys

import pytest
from helpers import ROOT, run

ASSIGNMENT = "a1_bpe"
pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux"),
    pytest.mark.skipif(shutil.which("id") is None, reason="nbgrader needs a user name"),
]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of the course, with nothing handed in."""
    course = tmp_path_factory.mktemp("nbgrader") / "course"
    for name in ("source", "hidden", "public"):
        shutil.copytree(ROOT / "assignments" / name, course / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "assignments" / "nbgrader_config.py", course)
    return course


@pytest.fixture(scope="module")
def desk(course):
    """A student's folder, which knows the exchange and nothing else of the course."""
    desk = course.parent / "student"
    desk.mkdir()
    exchange = course.parent / "exchange"
    (desk / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.Exchange.root = {str(exchange)!r}\nc.CourseDirectory.course_id = 'cs336lite'\n"
        f"c.Exchange.cache = {str(desk / 'cache')!r}\n"
    )
    return desk


def nbgrader(*arguments, cwd):
    result = run("nbgrader", *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stderr


def test_from_source_to_feedback(course, desk):
    nbgrader("generate_assignment", ASSIGNMENT, cwd=course)
    released = course / "release" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    text = released.read_text()
    assert "BEGIN SOLUTION" not in text and "NotImplementedError" in text
    nbgrader("release_assignment", ASSIGNMENT, cwd=course)

    nbgrader("fetch_assignment", ASSIGNMENT, cwd=desk)
    mine = desk / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    solve(mine, course / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb")
    nbgrader("submit", ASSIGNMENT, cwd=desk)

    nbgrader("collect", ASSIGNMENT, cwd=course)
    me = getpass.getuser()
    assert (course / "submitted" / me / ASSIGNMENT / f"{ASSIGNMENT}.ipynb").exists()
    # a second student never started, and a third handed in something that is no notebook
    for student, content in (("idle", text), ("broken", "my notebook ate my homework")):
        folder = course / "submitted" / student / ASSIGNMENT
        folder.mkdir(parents=True)
        (folder / f"{ASSIGNMENT}.ipynb").write_text(content)
        (folder / "timestamp.txt").write_text("2026-01-01 00:00:00 UTC")
        (folder / "submission_secret.txt").write_text(student)  # what `nbgrader submit` leaves, for release_feedback

    nbgrader("autograde", ASSIGNMENT, cwd=course)
    nbgrader("generate_feedback", ASSIGNMENT, cwd=course)
    nbgrader("release_feedback", ASSIGNMENT, cwd=course)
    nbgrader("fetch_feedback", ASSIGNMENT, cwd=desk)
    pages = list((desk / ASSIGNMENT / "feedback").rglob("*.html"))
    assert len(pages) == 1 and "100 of 100 points" in pages[0].read_text()

    nbgrader("export", cwd=course)
    with (course / "grades.csv").open() as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores == {me: 100.0, "idle": 0.0, "broken": 0.0}


def solve(notebook, source):
    """Fill in the solution cells as the source has them, and nothing else."""
    answers = {
        cell["metadata"]["nbgrader"]["grade_id"]: cell["source"]
        for cell in json.loads(source.read_text())["cells"]
        if cell["metadata"].get("nbgrader", {}).get("solution")
    }
    content = json.loads(notebook.read_text())
    for cell in content["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if name in answers:
            cell["source"] = answers[name]
    notebook.chmod(0o644)
    notebook.write_text(json.dumps(content))
