"""Exercises of lectures: their cells, their checks and hints, and whose function later cells use."""

import json
import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from helpers import run
from miniature import edit, make_course
from nbclient import NotebookClient

from cs336lite.course.build import build
from cs336lite.course.check import check
from cs336lite.course.hint import hint
from cs336lite.course.paths import CourseError, exercise_book
from cs336lite.course.plan import read_items
from cs336lite.course.release import release
from cs336lite.course.status import status

EXERCISE = '''
# %% exercise="shortest" minutes=5 difficulty=2
def shortest(text: str) -> str:
    """The shortest word."""
    ### BEGIN SOLUTION
    return min(words(text), key=len)
    ### END SOLUTION

# %%
print("later:", shortest("three one"))
'''
HEAD = "from cs336lite.course import check\nfrom cs336lite.course.exercise import solution\n"
CHECKS = '''\
"""Checks."""

from cs336lite.course.spec import check, expect

HINTS = {"shortest": ["look at max", "min with a key"]}


@check("shortest", title="two words")
def two(student, rng):
    expect(student.run(lambda s, text: s.shortest(text), "three one") == "one", "that is not the shortest word")


@check("shortest", title="one word")
def one(student, rng):
    expect(student.run(lambda s, text: s.shortest(text), "three") == "three", "one word is the shortest")
'''
TEXT, BOOK = "notebooks/text/01_words.py", "notebooks/checks/01_words.py"


def with_exercise(folder: Path) -> Path:
    root = make_course(folder)
    edit(root / TEXT, 'print(words("one two"))', HEAD + 'print(words("one two"))')
    with (root / TEXT).open("a", encoding="utf-8") as file:
        file.write(EXERCISE)
    (root / "notebooks" / "checks").mkdir()
    (root / BOOK).write_text(CHECKS, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    root = with_exercise(tmp_path_factory.mktemp("exercise") / "course")
    assert [str(report) for report in build(root, progress=False) if not report.ok] == []
    return root


@pytest.fixture
def course(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "course"))


def cells(root: Path):
    notebook = nbformat.read(root / "notebooks" / "01_words.ipynb", as_version=4)
    at = next(i for i, cell in enumerate(notebook.cells) if "exercise" in cell.metadata.get("cs336lite", {}))
    return notebook, at


def ran_with(root: Path, body: str, env: dict) -> tuple[str, str]:
    """What the reader's cell showed and what everything after it printed, with this body of the function."""
    notebook, at = cells(root)
    stub = notebook.cells[at].source
    start, end = stub.index("    # YOUR CODE HERE"), stub.index("\n\n\ncheck(")
    notebook.cells[at].source = stub[:start] + body + stub[end:]
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(root / "notebooks")}})
    client.execute(env={**os.environ, "PYTHONPATH": str(root), **env})
    shown = json.dumps(notebook.cells[at].outputs)
    return shown, "".join(o.get("text", "") for cell in notebook.cells[at + 1 :] for o in cell.get("outputs", []))


def test_an_exercise_is_a_line_the_readers_cell_and_a_folded_answer(built):
    notebook, at = cells(built)
    told, stub, answer = notebook.cells[at - 1 : at + 2]
    assert told.source.startswith("**Exercise** `shortest` · difficulty ●●○ · about 5 minutes")
    assert "raise NotImplementedError" in stub.source and "min(words" not in stub.source
    assert stub.source.endswith('\n\n\ncheck("01_words", "shortest")')
    assert answer.source.startswith('@solution("01_words")\ndef shortest') and "SOLUTION" not in answer.source
    assert answer.metadata.jupyter.source_hidden is True
    assert "later: one" in notebook.cells[at + 2].outputs[0].text


def test_unsolved_wrong_and_right_answers_of_a_reader(course):
    for body, shown, printed in [
        (
            "    # YOUR CODE HERE\n    raise NotImplementedError()",
            "not solved yet",
            "the course's, because yours passes 0 of 2",
        ),
        ('    return "one"', "one word is the shortest", "the course's, because yours passes 1 of 2"),
        ("    return sorted(words(text), key=len)[0]", "2 of 2 checks passed", "shortest: yours, 2 of 2 checks passed"),
    ]:
        seen, after = ran_with(course, body, {})
        assert shown in seen and printed in after and "later: one" in after
    assert "1 of 1 exercises" in str(status(course))


def test_a_build_is_nobodys_progress(built):
    assert "0 of 1 exercises" in str(status(built))


def test_hints_come_one_by_one_and_a_check_belongs_into_the_notebook(course):
    assert hint("01", root=course).layers == ("look at max",)
    assert hint("01_words", "shortest", root=course).layers == ("look at max", "min with a key")
    with pytest.raises(CourseError, match=r"checked in its notebook: .* notebooks/01_words.ipynb"):
        check("01_words", "shortest", root=course)
    with pytest.raises(CourseError, match="no exercise 'longest'; it has: shortest"):
        check("01_words", "longest", root=course)
    with pytest.raises(CourseError, match=r"no assignment or lecture '03' with exercises; there are: a1_bpe, 01_words"):
        exercise_book(course, "03")


def test_the_command_line_says_so_in_one_line(course):
    result = run("cs336lite", "check", "01_words", cwd=course, PYTHONPATH=str(course))
    assert result.returncode == 2 and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("minutes=5 ", "", "needs minutes=NUMBER from 1 to 60, not None"),
        ("minutes=5", "minutes=500", "needs minutes=NUMBER from 1 to 60, not 500"),
        ("difficulty=2", "difficulty=4", "needs difficulty=1 to 3, not 4"),
        ('exercise="shortest"', 'exercise="longest"', "must define one function, and it has this name"),
        ('exercise="shortest"', 'exercise="shortest" locked="x"', "neither graded nor locked"),
        ("    ### BEGIN SOLUTION\n", "", "END SOLUTION without"),
        ("# %% exercise", "# %% minutes=3\n1\n\n# %% exercise", "belong to an exercise cell"),
        (EXERCISE, EXERCISE * 2, "the exercise 'shortest' stands here twice"),
        (EXERCISE, "\n# %%\n1\n", r"is about \['shortest'\], and no cell says"),
    ],
)
def test_a_mistake_in_a_text_is_named_with_its_line(course, old, new, problem):
    edit(course / TEXT, old, new)
    assert re.search(rf"(?s)01_words.py:\d+: .*{problem}", str(read_items(course)[1]["01_words"]))


def test_an_exercise_without_checks_is_named(course):
    (course / BOOK).unlink()
    assert "has no checks or no hints" in str(read_items(course)[1]["01_words"])


def test_the_courses_own_answer_must_pass_its_checks(course):
    edit(course / TEXT, "min(words(text), key=len)", "max(words(text), key=len)")
    report = str(build(course, ["01"], progress=False)[0])
    assert "the course's own shortest fails shortest.two: that is not the shortest word" in report


def test_what_a_check_shows_is_the_same_when_it_is_run_again(built):
    assert [
        str(report) for report in build(built, ["01"], check=True, execute=True, progress=False) if not report.ok
    ] == []


def test_changed_checks_run_the_lecture_again(course):
    edit(course / BOOK, "one word is the shortest", "one word alone is the shortest")
    assert "older than" in str(build(course, ["01"], check=True, progress=False)[0])


def test_an_assignment_has_no_such_exercises(course):
    with (course / "assignments" / "text" / "a1_bpe.py").open("a", encoding="utf-8") as file:
        file.write(EXERCISE)
    assert "an ungraded exercise belongs to a lecture" in str(read_items(course)[1]["a1_bpe"])


def test_a_student_edition_has_exercise_checks_and_answer(course, tmp_path):
    edition = release(course, tmp_path / "edition")
    assert (edition / BOOK).read_text(encoding="utf-8") == CHECKS
    notebook, at = cells(edition)
    assert "raise NotImplementedError" in notebook.cells[at].source and "@solution" in notebook.cells[at + 1].source
    assert "0 of 1 exercises" in str(status(edition))
