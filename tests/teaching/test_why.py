"""An instructor sees why a check fails: inputs, answers, the exception's text and the student's lines; nobody else does."""

import io
import json
import sys

import pytest
from helpers import RIGHT, SMALL_SPEC, run, small_notebook, submit
from rich.console import Console

from cs336lite.course.paths import CourseError
from cs336lite.course.spec import StudentError
from cs336lite.grading import runner
from cs336lite.grading.client import Worker
from cs336lite.grading.judge import Judge
from cs336lite.grading.remote import RemoteStudent
from cs336lite.grading.submission import Submission
from cs336lite.teaching import looking
from cs336lite.teaching.why import why

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

WRONG = "def double(x):\n    return x * x"
RAISES = "def helper(x):\n    raise ValueError(f'secret is {x}')\n\ndef double(x):\n    return helper(x)"


def shown(what, width=100):
    file = io.StringIO()
    Console(file=file, width=width).print(what)
    return file.getvalue()


def seen(course, student="ada", checks=()):
    return why(course, "a1_bpe", student, checks)


def test_inputs_answer_and_place_of_a_failed_check(small_course):
    submit(small_course, "ada", small_notebook(WRONG, RIGHT[1]))
    found = seen(small_course)
    assert [c["id"] for c in found.shown] == ["double.number", "double.string"]
    number = found.shown[0]
    (call,) = number["calls"]
    n = int(call["args"][0][1])
    assert call["came"] == str(n * n) and ["got", str(n * n)] in number["where"]["values"]
    said = shown(found)
    assert "a1_bpe · ada: 2 / 6, 2 of 3 checks fail" in said
    assert "✗ double.number (0 / 3): doubles a number" in said
    assert "the number is squared, not doubled" in said and "expect(got != n * n" in said
    assert "halves a number" not in said


def test_the_text_of_an_exception_and_the_lines_that_it_came_by(small_course):
    submit(small_course, "ada", small_notebook(RAISES, RIGHT[1]))
    found = seen(small_course)
    n = found.shown[0]["calls"][0]["args"][0][1]
    said = shown(found)
    assert f"ValueError: secret is {n}" in said
    assert "cell `double`, line 5, in double: return helper(x)" in said
    assert "cell `double`, line 2, in helper: raise ValueError(f'secret is {x}')" in said
    assert found.shown[0]["message"] == "your code raised ValueError (cell `double`, line 2)"


def test_what_a_cell_raised_before_anybody_asked(small_course):
    submit(small_course, "ada", small_notebook("raise RuntimeError('no such thing')\n" + RIGHT[0], RIGHT[1]))
    said = shown(seen(small_course))
    assert "RuntimeError: no such thing" in said and "line 1" in said


def test_grading_asks_for_no_text_and_keeps_none(small_course):
    with Judge(small_course, "a1_bpe") as judge:
        submission = Submission((("double", RAISES), ("halve", RIGHT[1])))
        judge.judge(submission)
        kept = judge.path(submission).read_text()
    assert json.loads(kept)["score"] == 2
    assert "secret is" not in kept.replace("secret is {x}", "")
    submit(small_course, "ada", small_notebook(RAISES, RIGHT[1]))
    before = sorted(p.name for p in (small_course / "verdicts" / "a1_bpe").glob("*"))
    seen(small_course)
    assert sorted(p.name for p in (small_course / "verdicts" / "a1_bpe").glob("*")) == before


def ask_double(student):
    return student.double(1)


@pytest.mark.parametrize("tell", [None, True])
def test_what_an_exception_says_is_sent_only_to_who_asks(tell, monkeypatch):
    """A graded submission is asked for none of its texts, by its cells or by its answers; ``why`` asks."""
    frames = []
    exchange = RemoteStudent.exchange

    def noted(self, frame, *args, **options):
        answer, seconds = exchange(self, frame, *args, **options)
        frames.append((b'"tell"' in frame, "secret is" in repr(answer)))
        return answer, seconds

    monkeypatch.setattr(RemoteStudent, "exchange", noted)
    cells = (("1", RAISES), ("2", "helper(2)"))
    with Worker() as worker, worker.student(cells) as student:
        if tell is not None:
            student.tell = tell
        student.begin(10)
        with pytest.raises(StudentError):
            student.run(ask_double)
    assert frames == [(bool(tell), bool(tell))] * 2


def test_the_checks_that_are_asked_for_also_when_they_pass(small_course):
    submit(small_course, "ada", small_notebook(*RIGHT))
    assert seen(small_course).shown == ()
    assert [c["id"] for c in seen(small_course, checks=["double"]).shown] == ["double.number", "double.string"]
    said = shown(seen(small_course, checks=["half"]))
    assert "✓ halve.half (2 / 2)" in said and "came" in said
    with pytest.raises(CourseError, match=r"there is no check 'tripple'; there are: double.number"):
        seen(small_course, checks=["tripple"])


def test_a_check_that_stumbles_is_told_as_one(small_course):
    spec = small_course / "hidden" / "a1_bpe.py"
    spec.write_text(SMALL_SPEC.replace("expect(got != n * n,", "expect(got[0] != n * n,"))
    submit(small_course, "ada", small_notebook(*RIGHT))
    said = shown(seen(small_course))
    assert "stumbled TypeError: 'int' object is not subscriptable" in " ".join(said.split()) and "check itself" in said
    spec.write_text("def broken(")
    with pytest.raises(CourseError, match="cannot be loaded: SyntaxError"):
        seen(small_course)


def test_students_by_name_files_and_whom_there_is_not(small_course, tmp_path):
    assert runner.nbgrader_api(small_course).generate_assignment("a1_bpe")["success"]
    with runner.nbgrader_api(small_course).gradebook as gradebook:
        gradebook.update_or_create_student("ada", first_name="Ada", last_name="Lovelace")
        gradebook.update_or_create_student("bob", first_name="Bob", last_name="Baker")
    submit(small_course, "ada", small_notebook(WRONG, RIGHT[1]))
    assert "Ada Lovelace (ada)" in shown(seen(small_course, "ada lovelace"))
    with pytest.raises(CourseError, match=r"Bob Baker .* handed in nothing"):
        seen(small_course, "bob")
    with pytest.raises(CourseError, match=r"no student 'adda'.*did you mean ada"):
        seen(small_course, "adda")
    file = tmp_path / "one.py"
    file.write_text(RAISES)
    assert "ValueError: secret is" in shown(why(small_course, "a1_bpe", str(file)))
    with pytest.raises(CourseError, match="no such file"):
        why(small_course, "a1_bpe", str(tmp_path / "none.py"))
    (tmp_path / "bad.ipynb").write_text("{")
    assert "nothing could be run" in shown(why(small_course, "a1_bpe", str(tmp_path / "bad.ipynb")))


HOSTILE = [
    "class E(Exception):\n    def __str__(self): raise SystemExit\ndef double(x): raise E()",
    "def double(x): raise ValueError('\\x1b[31m\\x00' + 'x' * 10**7)",
    "class E(ValueError): pass\nE.__name__ = '\\x1b]0;' * 99\ndef double(x): raise E('[bold]a[/bold]')",
    "def double(x):\n    if x == 'ab': return ['z' * 100] * 10**5\n    return double(x)",
    "import os\ndef double(x): os._exit(1)",
    "def double(x):\n    while True: pass",
]


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
def test_what_a_student_writes_is_text_and_bounded(small_course, answer):
    submit(small_course, "ada", small_notebook(answer, RIGHT[1]))
    found = seen(small_course)
    said = shown(found)
    assert found.score == 2 and len(said) < 20_000
    run_ = "".join(c for c in said if not c.isprintable() and c != "\n")
    assert run_ == "", repr(run_)


def test_the_command(small_course):
    submit(small_course, "ada", small_notebook(WRONG, RIGHT[1]))
    said = run("cs336lite", "why", "a1", "ada", "double.number", cwd=small_course)
    assert said.returncode == 0 and "asked" in said.stdout and "double.string" not in said.stdout, said.stderr
    said = run("cs336lite", "why", "a1", "nobody", cwd=small_course)
    assert said.returncode == 2 and "Traceback" not in said.stderr and "no student 'nobody'" in said.stderr


def test_where_two_tensors_differ():
    torch = pytest.importorskip("torch")
    a, b = torch.zeros(2, 3), torch.zeros(2, 3)
    b[1, 2] = 0.5
    assert looking.difference(a, b) == "1 of 6 numbers differ, most at [1, 2]: 0 and 0.5"
    b[0, 1] = float("nan")
    assert looking.difference(a, b) == "2 of 6 numbers differ, most at [0, 1]: 0 and nan"
    assert looking.difference(a, torch.zeros(2)) == "shapes (2, 3) and (2,)"
    assert looking.difference([1, 2], [1, 3]) == "first at [1]: 2 and 3"
    assert looking.difference([1, 2], [1, 2, 3]) == "lengths 2 and 3"
    assert looking.short(a, {}) == "float32 (2, 3)\n[[0., 0., 0.],\n [0., 0., 0.]]"
    assert looking.short([a], {}) == "[float32 (2, 3) [0, 0, 0, 0, …]]"
    assert looking.short(torch.tensor(2.0), {}) == "float32 () 2.0"
    assert looking.short("/x/input-1", {"/x/input-1": b"aab"}) == "<file of 3 bytes: b'aab'>"
    assert len(looking.short([["x" * 1000] * 1000] * 1000, {})) < 600
