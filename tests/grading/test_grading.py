"""From a file to a verdict, and from a class to a gradebook, on a course that is quick to grade."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from helpers import RIGHT, run, small_notebook, submit

from cs336lite.course.paths import CourseError
from cs336lite.course.spec import CheckResult
from cs336lite.grading import runner
from cs336lite.grading.judge import Judge, replay
from cs336lite.grading.seed import course_seed
from cs336lite.grading.submission import Submission, read_submission
from cs336lite.grading.verdicts import Verdict, read_verdict

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

CLASS = {
    "ada": (small_notebook(*RIGHT), 6),
    "bo": (small_notebook("def double(x):\n    return x * x", RIGHT[1]), 2),
    "cy": (small_notebook("raise NotImplementedError", "raise NotImplementedError"), 0),
    "di": (b"not a notebook", 0),
    "ed": (small_notebook("def double(x):\n    while True: pass", RIGHT[1]), 2),
    "fay": (small_notebook("import os\ndef double(x):\n    os._exit(0)", RIGHT[1]), 2),
    "gus": (small_notebook("print('x' * 100_000_000)\n" + RIGHT[0], "def halve(x:"), 4),
    "hal": ({**small_notebook(*RIGHT), "cells": small_notebook(*RIGHT)["cells"][1::2]}, 6),
}


@pytest.fixture
def released(small_course):
    result = runner.nbgrader_api(small_course).generate_assignment("a1_bpe")
    assert result["success"], result
    return small_course


def test_nbgrader_finds_alembic_where_no_environment_is_active(small_course, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert shutil.which("alembic") is None
    runner.course_config(small_course)
    assert shutil.which("alembic") == str(Path(sys.executable).with_name("alembic"))


def submission(course, content):
    return read_submission(submit(course, "someone", content))


def test_a_right_answer_gets_all_points(small_course):
    with Judge(small_course, "a1_bpe") as judge:
        verdict = judge.judge(submission(small_course, CLASS["ada"][0]))
    assert (verdict.score, verdict.max_score, verdict.first_message) == (6, 6, "")
    assert verdict.provenance["seed"] and verdict.provenance["spec"]


def test_a_wrong_answer_loses_its_points_with_the_name_of_the_mistake(small_course):
    with Judge(small_course, "a1_bpe") as judge:
        verdict = judge.judge(submission(small_course, CLASS["bo"][0]))
    assert [c.passed for c in verdict.checks] == [False, False, True]
    assert verdict.checks[0].message == "the number is squared, not doubled"
    assert verdict.checks[1].message == "your code raised TypeError (cell 2, line 2)"


def test_the_first_message_is_that_of_a_cause():
    def failed(title, message):
        return CheckResult(f"train.{message}", "train", title, 0.0, 1.0, False, message)

    whole, cause = failed("together: a text", "it goes wrong"), failed("ties", "ties go to the greatest pair")
    assert Verdict("a1_bpe", 0.0, 2.0, (whole, cause)).first_message == "ties go to the greatest pair"
    assert Verdict("a1_bpe", 0.0, 1.0, (whole,)).first_message == "it goes wrong"


def test_what_had_to_be_left_out_is_told_and_costs_nothing(small_course):
    answers = ("import os\nos._exit(0)\n" + RIGHT[0], RIGHT[1])
    for _ in range(2):  # the second time it is a kept one
        with Judge(small_course, "a1_bpe") as judge:
            verdict = judge.judge(submission(small_course, small_notebook(*answers)))
        assert verdict.score == 6
        assert verdict.notes == ("cell 2 ended or crashed the process on line 2: it was left out",)
    assert replay(next((small_course / "verdicts" / "a1_bpe").glob("*.json")))[1].notes == verdict.notes


def test_an_answer_of_another_shape_fails_its_check_and_no_other(small_course):
    (small_course / "hidden" / "a1_bpe.py").write_text(
        "from cs336lite.course.spec import check, expect\n"
        "def f(student): return student.f()\n"
        "@check('e', points=1, title='t')\n"
        "def pair(student, rng): expect(student.run(f)[0][1] == 2, 'm')\n"
        "@check('e', points=1, title='t')\n"
        "def some(student, rng): expect(student.run(f) == 3, 'm')\n"
    )
    with Judge(small_course, "a1_bpe") as judge:
        verdict = judge.judge(Submission((("1", "def f(): return 3"),)))
    assert [c.passed for c in verdict.checks] == [False, True]
    assert "could not be finished" in verdict.checks[0].message and "TypeError" in verdict.checks[0].message
    assert verdict.checks[0].fault.startswith("TypeError in a1_bpe.py, line 4")


def test_a_verdict_is_kept_and_a_changed_spec_or_cell_is_judged_anew(small_course, monkeypatch):
    answer = submission(small_course, CLASS["ada"][0])
    with Judge(small_course, "a1_bpe") as judge:
        first, path = judge.judge(answer), judge.path(answer)
    assert path.exists() and path.stat().st_mode & 0o077 == 0
    with Judge(small_course, "a1_bpe") as judge:
        monkeypatch.setattr(judge, "judge_anew", lambda _: pytest.fail("judged twice"))
        assert judge.judge(answer) == first
        assert judge.path(Submission((("2", "x"),))) != path
    spec = small_course / "hidden" / "a1_bpe.py"
    spec.write_text(spec.read_text() + "\n# changed\n")
    assert Judge(small_course, "a1_bpe").path(answer) != path


@pytest.mark.parametrize("content", ["", "{", '{"checks": 3}', '{"checks": [], "nonsense": 1}', "[]"])
def test_a_damaged_verdict_file_is_judged_anew(small_course, content):
    answer = submission(small_course, CLASS["ada"][0])
    with Judge(small_course, "a1_bpe") as judge:
        judge.judge(answer)
        judge.path(answer).write_text(content)
        assert judge.judge(answer).score == 6
        assert read_verdict(judge.path(answer)).score == 6


def test_hidden_inputs_differ_between_courses_and_not_between_runs(small_course, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(small_course, other)
    seed = course_seed(small_course)
    assert course_seed(small_course) == seed
    assert course_seed(other) != seed
    assert (small_course / ".secret" / "seed").stat().st_mode & 0o077 == 0


def test_two_processes_judge_as_one_does(small_course):
    files = [submit(small_course, name, content) for name, (content, _) in CLASS.items()]
    alone = runner.grade_files(small_course, "a1_bpe", files)
    shutil.rmtree(small_course / "verdicts")
    pair = runner.grade_files(small_course, "a1_bpe", files, jobs=2)
    assert [g.verdict.score for g in alone] == [score for _, score in CLASS.values()]
    assert [g.verdict.checks for g in pair] == [g.verdict.checks for g in alone]


def test_files_that_cannot_be_submissions_are_the_callers_mistake(small_course, tmp_path):
    (tmp_path / "essay.txt").write_text("x")
    for path, words in ((tmp_path / "no.py", "no such file"), (tmp_path / "essay.txt", "notebook")):
        with pytest.raises(CourseError, match=words):
            runner.grade_files(small_course, "a1_bpe", [path])


def scores_in(course):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        return {s.student.id: s.score for s in gradebook.assignment_submissions("a1_bpe")}


def test_a_class_is_graded_into_the_gradebook(released):
    for name, (content, _) in CLASS.items():
        submit(released, name, content)
    graded = runner.grade_class(released, "a1_bpe", jobs=2)
    expected = {name: score for name, (_, score) in CLASS.items()}
    assert {g.label: g.verdict.score for g in graded} == expected
    assert scores_in(released) == expected
    # grading again changes nothing, and a new hand-in of one changes that one
    submit(released, "bo", CLASS["ada"][0])
    runner.grade_class(released, "a1_bpe")
    assert scores_in(released) == {**expected, "bo": 6}
    api = runner.nbgrader_api(released)
    assert api.generate_feedback("a1_bpe", force=True)["success"]
    page = (released / "feedback" / "bo" / "a1_bpe" / "a1_bpe.html").read_text()
    assert "6 of 6 points" in page
    page = (released / "feedback" / "di" / "a1_bpe" / "a1_bpe.html").read_text()
    assert "no JSON" in page


def test_the_stock_command_gives_the_same_grades(released):
    for name in ("ada", "bo", "di"):
        submit(released, name, CLASS[name][0])
    result = run("nbgrader", "autograde", "a1_bpe", cwd=released)
    assert result.returncode == 0, result.stderr
    assert scores_in(released) == {name: CLASS[name][1] for name in ("ada", "bo", "di")}


def test_a_notebook_cannot_grade_itself(released):
    cheat = small_notebook("raise NotImplementedError", "raise NotImplementedError")
    for cell in cheat["cells"]:
        cell["metadata"]["tags"] = ["skip-execution"]
        if cell["metadata"]["nbgrader"].get("grade"):
            cell["metadata"]["nbgrader"]["points"] = 1000
            cell["source"] = "1000"
            cell["outputs"] = [
                {"output_type": "execute_result", "data": {"text/plain": "1000"}, "metadata": {}, "execution_count": 1}
            ]
        cell["metadata"]["nbgrader"]["schema_version"] = 99
    submit(released, "mallory", cheat)
    submit(released, "ada", CLASS["ada"][0])
    runner.grade_class(released, "a1_bpe")
    assert scores_in(released) == {"mallory": 0, "ada": 6}


def test_no_markup_of_a_submission_reaches_the_feedback_page(released):
    cheat = small_notebook(*RIGHT)
    evil = "<script>document.title='owned'</script><img src=x onerror=alert(1)> $a < b$"
    cheat["cells"].append({"cell_type": "markdown", "source": evil, "metadata": {}, "id": "md"})
    cheat["cells"].append({"cell_type": "raw", "source": evil, "metadata": {"format": "text/html"}, "id": "raw"})
    cheat["cells"][1]["source"] += f"\n# {evil}"
    submit(released, "mallory", cheat)
    runner.grade_class(released, "a1_bpe")
    assert runner.nbgrader_api(released).generate_feedback("a1_bpe", force=True)["success"]
    page = (released / "feedback" / "mallory" / "a1_bpe" / "a1_bpe.html").read_text()
    assert "<script>document.title" not in page and "<img src=x onerror" not in page
    assert "6 of 6 points" in page


def test_what_is_missing_is_told(small_course, released):
    with pytest.raises(CourseError, match="collect them first"):
        runner.grade_class(released, "a1_bpe")
    with pytest.raises(CourseError, match="no hidden checks"):
        Judge(released, "a9_nothing")
    (small_course / "gradebook.db").unlink()
    submit(small_course, "ada", CLASS["ada"][0])
    with pytest.raises(CourseError, match="release it first"):
        runner.grade_class(small_course, "a1_bpe")


def test_the_json_has_the_form_that_others_rely_on(small_course):
    right, wrong = (submit(small_course, name, CLASS[name][0]) for name in ("ada", "bo"))
    report = small_course / "out" / "report.json"
    result = run("cs336lite", "grade", "a1", str(right), str(wrong), "--json", str(report), cwd=small_course)
    assert result.returncode == 0, result.stderr
    first, second = json.loads(report.read_text())
    assert set(first) == {"submission", "score", "max_score", "checks"}
    assert (first["submission"], first["score"], first["max_score"]) == (str(right), 6, 6)
    assert second["checks"][0] == {
        "id": "double.number",
        "points": 0.0,
        "max_points": 3,
        "passed": False,
        "message": "the number is squared, not doubled",
    }


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["grade", "a7"], "there is no assignment"),
        (["grade", "a1_bpe", "nowhere.py"], "no such file"),
        (["grade", "a1_bpe"], "no submissions"),
        (["grade"], "which assignment?"),
        (["grade", "a1_bpe", "--jobs", "0"], "--jobs"),
        (["nonsense"], "No such command"),
    ],
)
def test_bad_use_is_told_with_status_2_and_no_traceback(small_course, arguments, words):
    result = run("cs336lite", *arguments, cwd=small_course)
    assert result.returncode == 2
    assert words in result.stderr + result.stdout and "Traceback" not in result.stderr
