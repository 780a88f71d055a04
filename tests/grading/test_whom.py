"""Whose work is graded, and what is asked: rosters, misplaced files, another assignment's notebook, files nobody may read."""

import json
import sys
from pathlib import Path

import pytest
from helpers import RIGHT, run, small_notebook, submit
from nbgrader.api import Gradebook

from cs336lite.course.paths import CourseError
from cs336lite.grading import runner, submission
from cs336lite.grading.misplaced import misplaced
from cs336lite.grading.mistaken import Assignments
from cs336lite.grading.submission import SubmittedCell, SubmittedNotebook

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


@pytest.fixture
def released(small_course):
    assert runner.nbgrader_api(small_course).generate_assignment("a1_bpe")["success"]
    return small_course


def book(course):
    return Gradebook(f"sqlite:///{course / 'gradebook.db'}")


def students(course):
    with book(course) as gradebook:
        return {student.id for student in gradebook.students}


def grade(course, **whom):
    """What is told, and what is asked."""
    said = []
    try:
        runner.grade_class(course, "a1_bpe", whom=runner.Whom(**whom), tell=said.append)
    except runner.NotAllGraded as question:
        return "\n".join(said), str(question)
    return "\n".join(said), ""


def test_a_course_without_a_roster_takes_whoever_hands_in(released):
    submit(released, "ada", small_notebook(*RIGHT))
    assert grade(released) == ("", "")
    submit(released, "bo", small_notebook(*RIGHT))
    assert grade(released) == ("new in the gradebook: `bo`", "")
    assert students(released) == {"ada", "bo"}


def test_whom_an_imported_roster_does_not_know_is_a_question(released):
    with book(released) as gradebook:
        gradebook.add_student("ada", first_name="Ada")
    for student in ("ada", "adda"):
        submit(released, student, small_notebook(*RIGHT))
    said, asked = grade(released)
    assert said == "" and "`adda` is not on the roster" in asked and "--add-students" in asked
    assert students(released) == {"ada"} and not (released / "autograded" / "adda").exists()
    assert grade(released, add=True) == ("new in the gradebook: `adda`", "")
    assert grade(released) == ("", "")
    with book(released) as gradebook:  # a student who has left does not come back
        gradebook.remove_student("adda")
    assert "`adda` is not on the roster" in grade(released)[1] and students(released) == {"ada"}


@pytest.mark.parametrize("create", [True, False])
def test_the_configuration_has_the_last_word_on_new_students(released, create):
    with (released / "nbgrader_config.py").open("a") as config:
        config.write(f"\nget_config().Autograde.create_student = {create}\n")
    with book(released) as gradebook:
        gradebook.add_student("ada", first_name="Ada")
    for student in ("ada", "adda"):
        submit(released, student, small_notebook(*RIGHT))
    said, asked = grade(released)
    assert students(released) == ({"ada", "adda"} if create else {"ada"})
    assert (said, bool(asked)) == (("new in the gradebook: `adda`", False) if create else ("", True))


def test_some_students_alone_and_anew(released, monkeypatch):
    for student in ("ada", "bo", "[cy]"):
        submit(released, student, small_notebook(f"# {student}\n{RIGHT[0]}", RIGHT[1]))
    runner.grade_class(released, "a1_bpe", whom=runner.Whom(("ada", "[cy]")))
    assert students(released) == {"ada", "[cy]"}
    judged, submit_ = [], runner.Processes.submit
    monkeypatch.setattr(runner.Processes, "submit", lambda self, item: judged.append(item.label) or submit_(self, item))
    runner.grade_class(released, "a1_bpe", whom=runner.Whom(("ada",)))
    assert judged == []
    runner.grade_class(released, "a1_bpe", whom=runner.Whom(("ada",)), how=runner.How(force=True))
    assert judged == ["ada"]
    with pytest.raises(CourseError, match=r"no submission of a1_bpe by adda: .* did you mean ada\?"):
        runner.grade_class(released, "a1_bpe", whom=runner.Whom(("adda",)))


def test_students_and_files_are_not_named_together(released):
    path = submit(released, "ada", small_notebook(*RIGHT))
    result = run("cs336lite", "grade", "a1", str(path), "--student", "ada", cwd=released)
    assert result.returncode == 2 and "for a collected class" in result.stderr


# -- at the wrong place -----------------------------------------------------------------------------------------


def test_work_at_the_wrong_place_is_named_with_the_right_one(released):
    submitted = released / "submitted"
    submit(released, "ada", small_notebook(*RIGHT))
    for place in (
        "bo.ipynb",
        "cy/a1_bpe.ipynb",
        "a1_bpe/di/a1_bpe.ipynb",
        "ed/a1/a1_bpe.ipynb",
        "fay/A1-BPE/x.ipynb",
        "gus/homework.zip",
        "gus/a4_lion.ipynb",  # another's assignment
        "hal/a4_lion/a4_lion.ipynb",
        "notes.txt",
        ".DS_Store",
        "ada/.ipynb_checkpoints/a1_bpe.ipynb",
    ):
        (submitted / place).parent.mkdir(parents=True, exist_ok=True)
        (submitted / place).write_text("{}")
    said = misplaced(released, "a1_bpe")
    assert [sentence.split("`")[1] for sentence in said] == [
        "submitted/a1_bpe/",
        "submitted/bo.ipynb",
        "submitted/cy/a1_bpe.ipynb",
        "submitted/ed/a1/",
        "submitted/fay/A1-BPE/",
        "submitted/gus/homework.zip",
    ]
    assert said[2].endswith("Move what counts to `submitted/cy/a1_bpe/`, and grade again")
    said, asked = grade(released)
    assert "submitted/cy/a1_bpe.ipynb" in asked and students(released) == {"ada"}
    assert grade(released, students=("ada",)) == ("", "")


def test_no_link_is_followed_and_names_are_text(released, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a1_bpe.ipynb").write_text("{}")
    (released / "submitted").mkdir()
    (released / "submitted" / "ada").symlink_to(tmp_path / "outside")
    (released / "submitted" / "x\x1b[31m.ipynb").write_text("{}")
    (said,) = misplaced(released, "a1_bpe")
    assert "\x1b" not in said


def test_where_all_is_misplaced_the_error_says_so(released):
    (released / "submitted" / "ada").mkdir(parents=True)
    (released / "submitted" / "ada" / "a1_bpe.ipynb").write_text("{}")
    with pytest.raises(CourseError, match="one folder too high"):
        grade(released)


# -- another assignment's ---------------------------------------------------------------------------------------


@pytest.fixture
def two(released):
    """A second assignment beside the first one."""
    source = released / "source" / "a4_lion" / "a4_lion.ipynb"
    source.parent.mkdir()
    text = (released / "source" / "a1_bpe" / "a1_bpe.ipynb").read_text()
    source.write_text(text.replace("double", "lion").replace("halve", "tame"))
    return released


LION = "def lion(x):\n    return x"


def plain_notebook(*sources):
    return SubmittedNotebook(tuple(SubmittedCell("code", source, None) for source in sources))


def test_whose_work_a_notebook_is(two):
    others = Assignments(two)
    assert others.other(plain_notebook(LION), "a1_bpe") == "a4_lion"
    assert others.other(plain_notebook(LION, RIGHT[0]), "a1_bpe") == ""  # something of its own
    assert others.other(plain_notebook("print(1)"), "a1_bpe") == ""
    named = SubmittedNotebook((SubmittedCell("code", "raise NotImplementedError", "grade_lion"),))
    assert others.other(named, "a1_bpe") == "a4_lion" and others.other(named, "a4_lion") == ""
    assert others.other(SubmittedNotebook((SubmittedCell("code", "", "setup"),)), "a1_bpe") == ""  # both have it


def test_anothers_notebook_is_a_question_and_no_zero(two):
    wrong = json.loads(json.dumps(small_notebook(*RIGHT)).replace("double", "lion").replace("halve", "tame"))
    submit(two, "ada", wrong)
    submit(two, "bo", small_notebook(*RIGHT))
    assert "ada: this is the work for a4_lion, not for a1_bpe" in grade(two)[1]
    assert students(two) == {"bo"}
    result = run("nbgrader", "autograde", "a1_bpe", cwd=two)
    assert result.returncode == 1 and "this is the work for a4_lion" in result.stderr
    assert not (two / "autograded" / "ada" / "a1_bpe").exists()
    assert grade(two, students=("ada",), anyway=True) == ("", "")
    graded = (two / "autograded" / "ada" / "a1_bpe" / "a1_bpe.ipynb").read_text()
    assert "this is the work for a4\\\\_lion, not for a1\\\\_bpe" in graded or "this is the work for a4_lion" in graded
    (alone,) = runner.grade_files(two, "a1_bpe", [two / "submitted" / "ada" / "a1_bpe" / "a1_bpe.ipynb"])
    assert alone.verdict.notes[0] == "this is the work for a4_lion, not for a1_bpe"


# -- not to be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error, words",
    [(PermissionError(13, "Permission denied"), "denied"), (OSError(5, "Input/output error"), "output error")],
)
def test_a_file_that_cannot_be_read_is_no_fault_of_its_author(tmp_path, monkeypatch, error, words):
    def refuse(*_):
        raise error

    monkeypatch.setattr(submission.os, "open", refuse)
    with pytest.raises(CourseError, match=f"x.ipynb cannot be read .*{words}"):
        submission.read_file(str(tmp_path / "x.ipynb"))


def test_one_that_may_not_be_read_is_not_graded(released, monkeypatch):
    submit(released, "ada", small_notebook(*RIGHT))
    submit(released, "bo", small_notebook(*RIGHT))
    reading = submission.READER.call

    def read(function, name):
        if "/bo/" in name:  # as an ordinary user meets a file with mode 0; root may read all
            raise submission.unreadable(Path(name), PermissionError(13, "Permission denied"))
        return reading(function, name)

    monkeypatch.setattr(submission.READER, "call", read)
    assert "bo: a1_bpe.ipynb cannot be read (Permission denied)" in grade(released)[1]
    assert students(released) == {"ada"}
