"""`cs336lite new`: what it writes is built, passes its own checks, and is told apart from usual mistakes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from catalogue import SOLUTIONS, judge, namespace, read_solution
from helpers import ROOT
from miniature import edit, files_of, make_course

from cs336lite.course import new, points
from cs336lite.course.leaks import TOP
from cs336lite.course.paths import CourseError
from cs336lite.course.spec import load_spec
from cs336lite.course.text import read_text

NAME = "a8_averages"


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A course in miniature with a new assignment and a new lecture, built by a command of its own."""
    root = make_course(tmp_path_factory.mktemp("new") / "course")
    for name in TOP:
        shutil.copy(ROOT / "cs336lite" / name, root / "cs336lite" / name)
    for name in ("cli", "grading"):
        shutil.copytree(ROOT / "cs336lite" / name, root / "cs336lite" / name, dirs_exist_ok=True)
    (root / "tests" / "assignments").mkdir(parents=True)
    for name in (
        "conftest.py",
        "helpers.py",
        "warm.py",
        "typed.py",
        "catalogue.py",
        "assignments/everyday.py",
        "assignments/test_catalogue.py",
    ):
        shutil.copy(ROOT / "tests" / name, root / "tests" / name)
    for words in (["assignment", NAME, "--after", "2"], ["lecture", "11_memory"], ["build", NAME, "11"]):
        said = ours(root, "cs336lite.cli", *(words if words[0] == "build" else ["new", *words]))
        assert said.returncode == 0, said.stdout + said.stderr
    return root


def ours(root: Path, *words: str) -> subprocess.CompletedProcess:
    """Run a module of the course in ``root``."""
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"}
    return subprocess.run([sys.executable, "-m", *words], cwd=root, env=environment, capture_output=True, text=True)


def test_what_is_new_is_built_at_its_place(course):
    said = ours(course, "cs336lite.cli", "build", "--check", NAME, "11")
    assert said.returncode == 0, said.stdout
    for module in ("averages", "memory"):
        assert (course / "cs336lite" / f"{module}.py").read_text(encoding="utf-8").startswith("# Built from ")
    notebook = (course / "notebooks" / "11_memory.ipynb").read_text(encoding="utf-8")
    assert "half of the weight is gone after 7 steps" in notebook and '"output_type": "error"' not in notebook


def test_the_reference_passes_and_each_mistake_is_named(course):
    graded = load_spec(course / "assignments" / "hidden" / f"{NAME}.py")
    shown = load_spec(course / "assignments" / "public" / f"{NAME}.py")
    folder = course / SOLUTIONS.relative_to(ROOT) / NAME
    catalogue = [read_solution(path) for path in sorted(folder.glob("*_*.py"))]
    assert {one.kind for one in catalogue} == {"right", "trivial", "wrong", "hollow"}
    assert {*graded.exercises} == {*shown.exercises} == {*shown.hints} == {*graded.module.READ}
    for one in catalogue:
        for seed in range(5):
            judged = judge(graded, one, seed)
            assert not judged.faults, one.name
            if one.kind == "right":
                assert judged.score == 100 and not judge(shown, one, seed).failed
            elif one.kind == "wrong":
                assert {*judged.failed} == {*one.fails} and one.names in judged.failed[one.fails[0]], one.name
            else:
                assert judged.score <= (one.most or 0), one.name
    assert {fails for one in catalogue for fails in one.fails} == {check.id for check in graded}


def test_the_reference_passes_the_public_checks_as_a_student_runs_them(course):
    said = ours(course, "cs336lite.cli", "check", NAME)
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_exercise_of_the_lecture_passes_and_a_mistake_does_not(course):
    text = (course / "notebooks" / "text" / "11_memory.py").read_text(encoding="utf-8")
    source = text.split('# %% exercise="half_life"')[1].split("\n", 1)[1].split("# %%")[0]
    shown = load_spec(course / "notebooks" / "checks" / "11_memory.py")
    mistaken = source.replace("return steps", "return steps + 1")
    assert mistaken != source and not judge(shown, namespace(source), 0).failed
    assert {*judge(shown, namespace(mistaken), 0).failed} == {check.id for check in shown}


def test_the_tests_that_are_written_pass(course):
    """Those of the files, and those of every catalogue, but for its size: a person has yet to write more."""
    wanted = f"({NAME} or a8 or memory) and not large and not twenty_more and not poison"
    said = ours(course, "pytest", "-q", "-p", "no:cacheprovider", "tests", "-k", wanted)
    assert said.returncode == 0 and " passed" in said.stdout, said.stdout[-3000:]


def test_points_are_changed_in_one_place(course, tmp_path):
    text, hidden = tmp_path / f"{NAME}.py", tmp_path / "hidden.py"
    shutil.copy(course / "assignments" / "text" / f"{NAME}.py", text)
    shutil.copy(course / "assignments" / "hidden" / f"{NAME}.py", hidden)
    assert points.follow(read_text(text), hidden) == []
    edit(hidden, "points=70", "points=45.5")
    assert len(points.differences(read_text(text), hidden, "hidden.py")) == 2
    changed = points.follow(read_text(text), hidden)
    assert len(changed) == 4 and all(said.endswith("100 is now 75.5") for said in changed)
    assert points.differences(read_text(text), hidden, "hidden.py") == []
    edit(hidden, 'check("average", points=45.5', 'check("another", points=45.5')
    edit(hidden, 'check("average", points=30', 'check("another", points=30')
    with pytest.raises(CourseError, match=r"`average` is worth points, and hidden\.py has no check of it"):
        points.follow(read_text(text), hidden)


@pytest.mark.parametrize(
    ("write", "name", "problem"),
    [
        (new.new_lecture, "topic", "a name looks like 11_topic"),
        (new.new_lecture, "11_Topic", "a name looks like 11_topic"),
        (new.new_lecture, "11_class", "a name looks like 11_topic"),
        (new.new_lecture, "02_other", "there is a lecture 02 already: 02_counts"),
        (new.new_lecture, "11_course", "there is a cs336lite.course already"),
        (new.new_assignment, "8_topic", "a name looks like a8_topic"),
        (new.new_assignment, "a1_topic", "there is an assignment a1 already"),
        (new.new_assignment, "a8_bpe_", "there is no lecture 5"),
    ],
)
def test_what_cannot_be_made_is_told_and_nothing_is_written(tmp_path, write, name, problem):
    root = make_course(tmp_path / "course")
    before = files_of(root)
    with pytest.raises(CourseError, match=problem):
        write(root, name, **({"after": 5} if write is new.new_assignment else {}))
    assert files_of(root) == before


def test_nothing_is_written_over(tmp_path):
    root = make_course(tmp_path / "course")
    (root / "assignments" / "public" / f"{NAME}.py").write_text("mine", encoding="utf-8")
    before = files_of(root)
    with pytest.raises(
        CourseError, match=r"assignments/public/a8_averages\.py is there already, and nothing was written"
    ):
        new.new_assignment(root, NAME, after=2)
    assert files_of(root) == before
