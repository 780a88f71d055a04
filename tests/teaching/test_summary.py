"""After a run a person reads who handed in, how it went, what failed most, and whose grade changed and why."""

import io
import sys
from collections import Counter
from dataclasses import replace

import pytest
from helpers import RIGHT, SMALL_SPEC, run, small_notebook, submit
from nbgrader.api import Gradebook
from rich.console import Console

from cs336lite.course.spec import CheckResult
from cs336lite.grading import runner, table
from cs336lite.grading.judge import Judge
from cs336lite.grading.runner import Graded, NotAllGraded
from cs336lite.grading.verdicts import Verdict
from cs336lite.teaching import history
from cs336lite.teaching.classbook import Points, Row, read_class
from cs336lite.teaching.history import Moment
from cs336lite.teaching.summary import after_run, students

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

WRONG = "def double(x):\n    return x * x"
ROSTER = {"ada": ("Ada", "Lovelace"), "bob": ("Bob", "Baker"), "cyd": ("Cyd", "Charisse"), "dan": ("Dan", "Dare")}


@pytest.fixture
def course(small_course):
    """A released course with a roster of four."""
    result = runner.nbgrader_api(small_course).generate_assignment("a1_bpe")
    assert result["success"], result
    with gradebook(small_course) as book:
        for student, (first, last) in ROSTER.items():
            book.update_or_create_student(student, first_name=first, last_name=last)
    return small_course


def gradebook(course):
    config = runner.course_config(course)
    return Gradebook(config.CourseDirectory.db_url, config.CourseDirectory.course_id)


def hand_in(course, when=None, **answers):
    for student, answer in answers.items():
        path = submit(course, student, small_notebook(*answer) if isinstance(answer, tuple) else answer)
        if when:
            path.with_name("timestamp.txt").write_text(when)


def graded(course, **options):
    everybody = runner.Whom(add=True)
    return after_run(course, "a1_bpe", runner.grade_class(course, "a1_bpe", whom=everybody), **options)


def shown(what, width=80):
    file = io.StringIO()
    Console(file=file, width=width).print(what)
    return file.getvalue()


def changes(summary):
    return {c.student: (c.old, c.new, c.reasons) for c in summary.changes}


def test_the_summary_names_who_is_missing_late_unreadable_and_what_failed(course):
    with gradebook(course) as book:
        book.update_or_create_assignment("a1_bpe", duedate="2026-01-05 12:00:00")
    hand_in(course, ada=RIGHT, bob=(WRONG, RIGHT[1]), cyd=b"{")
    (course / "submitted/ada/a1_bpe/timestamp.txt").write_text("2026-01-07 15:00:00 UTC")
    summary = graded(course)
    said = shown(summary)
    assert "3 of 4 handed in; mean 2.7, median 2, spread 2.5 of 6" in said
    assert "nothing from 1" in said and "Dan Dare (dan)" in said
    assert "late 1" in said and "Ada Lovelace (ada) 2 d 3 h" in said
    assert "not readable 1" in said and "Cyd Charisse (cyd): the file is not a notebook" in said
    assert "1 of 2  double.number: doubles a number" in said  # of those that could be read
    assert not summary.changes and "changed" not in said
    assert max(map(len, said.splitlines())) <= 80


def test_whose_grade_changed_and_why(course):
    hand_in(course, ada=RIGHT, bob=(WRONG, RIGHT[1]))
    assert changes(graded(course)) == {}
    assert changes(graded(course)) == {}
    hand_in(course, bob=RIGHT)
    assert changes(graded(course)) == {"bob": (2, 6, ("new submission",))}

    spec = course / "hidden" / "a1_bpe.py"
    hand_in(course, bob=("def double(x):\n    return 2 * int(x)", RIGHT[1]))
    assert changes(graded(course)) == {"bob": (6, 5, ("new submission",))}
    strict = spec.read_text()
    spec.write_text(SMALL_SPEC.replace('student.run(call, "ab") == "abab"', "student.run(call, 3) == 6"))
    summary = graded(course)
    assert changes(summary) == {"bob": (5, 6, ("changed checks: double.string",))}
    assert "Bob Baker (bob): 5 → 6, changed checks: double.string" in shown(summary, 100)
    spec.write_text(strict)
    assert changes(graded(course))["bob"] == (6, 5, ("changed checks: double.string",))


def test_a_score_by_hand_and_a_penalty_stand_beside_that_of_the_checks(course):
    hand_in(course, ada=RIGHT, bob=RIGHT)
    graded(course)
    with gradebook(course) as book:
        grade = book.find_grade("grade_halve", "a1_bpe", "a1_bpe", "ada")
        grade.manual_score, grade.needs_manual_grade = 0.5, False
        book.find_submission_notebook("a1_bpe", "a1_bpe", "bob").late_submission_penalty = 2.5
        book.db.commit()
    book = read_class(course, "a1_bpe")
    ada, bob = book.row("ada"), book.row("bob")
    assert (ada.auto, ada.by_hand, ada.penalty, ada.total) == (6, -1.5, 0, 4.5)
    assert (bob.auto, bob.by_hand, bob.penalty, bob.total) == (6, 0, 2.5, 3.5)
    results = [Graded(s, verdict(course), submission="x", kept="y.json") for s in ("ada", "bob")]
    summary = after_run(course, "a1_bpe", results)
    assert changes(summary)["ada"][2] == ("new submission", "graded by hand")
    lines = [line.split() for line in shown(summary, 100).splitlines()]
    assert ["Ada", "Lovelace", "(ada)", "6", "-1.5", "4.5", "/", "6"] in lines
    assert ["Bob", "Baker", "(bob)", "6", "−2.5", "3.5", "/", "6"] in lines


def verdict(course):
    from cs336lite.grading.submission import Submission

    with Judge(course, "a1_bpe") as judge:
        return judge.judge(Submission((("double", RIGHT[0]), ("halve", RIGHT[1]))))


def test_a_large_class_is_told_shortly_and_wholly_when_asked(course):
    verdict(course)
    for number in range(40):
        hand_in(course, **{f"s{number:02}": RIGHT if number % 2 else (WRONG, RIGHT[1])})
    short = shown(graded(course))
    assert len(short.splitlines()) < 30 and "s27" not in short and "--verbose" in short
    assert "40 of 44 handed in" in short and "20 of 40  double.number" in short
    assert "s27" in shown(graded(course, verbose=True))


def test_the_command_says_it_and_keeps_file_names_whole(course, tmp_path):
    hand_in(course, ada=RIGHT)
    said = run("cs336lite", "grade", "a1_bpe", cwd=course, COLUMNS="80")
    assert said.returncode == 0 and "1 of 4 handed in" in said.stdout and "\x1b" not in said.stdout, said.stderr
    for name in ("a4_lion_of_somebody.ipynb", f"{'long' * 20}.ipynb"):
        (tmp_path / name).write_bytes((course / "submitted/ada/a1_bpe/a1_bpe.ipynb").read_bytes())
        said = run("cs336lite", "grade", "a1_bpe", name, cwd=tmp_path, COLUMNS="80" if len(name) < 80 else "100")
        assert name in said.stdout, said.stdout


def test_every_reason_is_named():
    old = Moment("ada", "2026-01-01T00:00:00Z", "s1", "v1", "c1", "x1", failed={"a.b": 0.0}, total=1.0)
    whys = {
        "new submission": replace(old, submission="s2", failed={}),
        "changed checks: a.b": replace(old, spec="c2", failed={}),
        "new seed: a.b": replace(old, seed="x2", failed={}),
        "judged anew: a.b": replace(old, verdict="v2", failed={}),
        "excused: a.c": replace(old, rules={"a.c": "counts for nobody"}),
        "points of checks changed": replace(old, auto=2.0),
        "late penalty 0 → 10": replace(old, penalty=10.0),
        "graded by hand": replace(old, by_hand=-1.0),
        "the gradebook was changed": replace(old, total=2.0),
    }
    assert {said: history.why(old, new) for said, new in whys.items()} == {said: (said,) for said in whys}
    assert history.why(old, replace(old, submission="s2", penalty=2.5)) == ("new submission", "late penalty 0 → 2.5")


def test_a_damaged_history_is_no_reason_to_fail(course):
    hand_in(course, ada=RIGHT, bob=RIGHT)
    graded(course)
    path = history.path_of(course, "a1_bpe")
    first, second = path.read_text().splitlines()
    path.write_text(f'{first}\n{{"student": 3}}\n[]\n{second[:20]}')
    assert set(history.read(course, "a1_bpe")) == {"ada"}
    assert changes(graded(course)) == {}
    assert set(history.read(course, "a1_bpe")) == {"ada", "bob"}
    assert path.stat().st_mode & 0o077 == 0


def test_who_could_not_be_graded_is_named(course, monkeypatch):
    hand_in(course, ada=RIGHT, bob=RIGHT)
    from cs336lite.grading.record import Recorder

    record = Recorder.record

    def fails(self, entry):
        if entry.student == "bob":
            raise OSError("no")
        record(self, entry)

    monkeypatch.setattr(Recorder, "record", fails)
    with pytest.raises(NotAllGraded) as caught:
        runner.grade_class(course, "a1_bpe")
    said = shown(after_run(course, "a1_bpe", caught.value.graded))
    assert "not graded 1" in said and "Bob Baker (bob)" in said


def test_long_names_have_a_line_of_their_own(course):
    label = "/".join(["folder"] * 10) + "/a1_bpe.ipynb"
    said = shown(table.of_grades("a1_bpe", [Graded(label, verdict(course))]), 100)
    assert label in said.splitlines() and "6 / 6" in said


MESSAGE = (
    "ties are broken by first occurrence: between pairs with the same count the greatest pair of byte strings wins"
)


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("length", [8, 20, 30, 40, 48, 70])
def test_no_letter_is_lost_at_the_edge(width, length):
    """Neither of a label nor of a message, however long the label is."""
    label = "x" * length
    failed = CheckResult("train.ties", "train", "ties", 0, 100, False, MESSAGE)
    found = Verdict("a1_bpe", 90.5, 100, (failed,))
    exercises = {"train": Points(90.5, 80.25, 0.0, 100.0)}
    row = Row(label, handed_in=True, graded=True, exercises=exercises, penalty=12.5)
    for what in (table.of_grades("a1_bpe", [Graded(label, found)]), students([row], {label: found})):
        said = shown(what, width)
        assert max(map(len, said.splitlines())) <= width
        letters = Counter("".join(said.split()))
        assert not Counter(MESSAGE.replace(" ", "") + label) - letters, said
