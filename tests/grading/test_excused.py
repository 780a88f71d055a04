"""Checks that are left out, or given to everybody: by one file, for whole exercises too, and taken back."""

import json
import sys

import pytest
from helpers import RIGHT, run, small_notebook, submit

from cs336lite.course.paths import CourseError
from cs336lite.course.spec import CheckResult
from cs336lite.grading import runner, table
from cs336lite.grading.excused import FILE, Excused, Rule, excuse, read_excused
from cs336lite.grading.verdicts import Verdict

A1 = "a1_bpe"


def result(name, points, most, message=""):
    exercise = name.partition(".")[0]
    return CheckResult(name, exercise, name, points, most, points == most, message)


BEFORE = Verdict(
    A1,
    5.0,
    10.0,
    (
        result("train.first", 0.0, 2.0, "wrong first"),
        result("train.second", 3.0, 3.0),
        result("train.third", 0.0, 1.0, "wrong third"),
        result("encode.one", 2.0, 2.0),
        result("encode.two", 0.0, 2.0, "wrong two"),
    ),
)
OUT, GIVEN = Rule("exclude", "no\nline"), Rule("everybody", "it is ours")


def points(rules):
    after = Excused(rules).apply(BEFORE)
    assert after.max_score == 10 and after.score == pytest.approx(sum(c.points for c in after.checks))
    assert sum(c.max_points for c in after.exercise("train")) == pytest.approx(6)
    assert sum(c.max_points for c in after.exercise("encode")) == pytest.approx(4)
    return after, {c.id: (c.points, c.max_points) for c in after.checks}


def test_what_is_left_out_makes_the_others_worth_more():
    after, found = points({"train.first": OUT})
    assert found["train.first"] == (0, 0) and found["train.second"] == (4.5, 4.5) and found["train.third"] == (0, 1.5)
    assert after.score == 6.5 and after.first_message == "wrong third"
    first = after.checks[0]
    assert first.passed and first.message == "" and first.excused == "counts for nobody: no line"
    assert after.provenance["exceptions"] == {"train.first": "counts for nobody: no\nline"}
    assert BEFORE.checks[0].max_points == 2  # as it was judged


def test_what_is_given_to_everybody_counts_as_passed():
    after, found = points({"train.first": GIVEN, "encode": GIVEN})
    assert found["train.first"] == (2, 2) and found["encode.two"] == (2, 2) and after.score == 9
    assert [c.id for c in after.checks if not c.passed] == ["train.third"]
    assert after.checks[4].excused == "given to everybody: it is ours"


def test_an_exercise_of_which_all_is_left_out_is_given_to_everybody():
    for rules in ({"encode": OUT}, {"encode.one": OUT, "encode.two": OUT}):
        after, found = points(rules)
        assert found["encode.two"] == (2, 2) and after.score == 7
        assert after.checks[4].excused == "given to everybody: no line"
    assert points({"encode.one": OUT, "encode.two": GIVEN})[1]["encode.two"] == (4, 4)


def test_no_rule_changes_nothing_and_an_unknown_one_is_told():
    assert Excused().apply(BEFORE) is BEFORE
    with pytest.raises(CourseError, match=r"'train\.forth'"):
        Excused({"train.forth": OUT}).apply(BEFORE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a1_bpe", "cannot be read"),
        ('[a9_nothing.x]\nrule = "exclude"\nwhy = "w"', "no assignment 'a9_nothing'"),
        ('a1_bpe = "exclude"', "no assignment 'a1_bpe'"),
        ('[a1_bpe.double]\nrule = "forget"\nwhy = "w"', 'needs rule = "exclude"'),
        ('[a1_bpe.double.number]\nrule = "exclude"\nwhy = "w"', "put the name of a check in quotes"),
        ('[a1_bpe.double]\nrule = "exclude"', "needs why"),
        ('[a1_bpe.double]\nrule = "exclude"\nwhy = " "', "needs why"),
        ('[a1_bpe.double]\nrule = "exclude"\nwhy = "w"\npoints = 3', "'points', which means nothing"),
    ],
)
def test_a_file_that_cannot_be_understood_is_one_sentence(tmp_path, text, words):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CourseError) as caught:
        read_excused(tmp_path, A1)
    assert words in str(caught.value) and FILE in str(caught.value)


def test_the_command_writes_what_is_read_and_takes_it_back(small_course):
    said = excuse(small_course, A1, "string", "exclude", 'the "text" says\nnothing \\ of it: ä')
    assert said.startswith("double.string of a1_bpe: counts for nobody") and "nothing is judged anew" in said
    excuse(small_course, A1, "halve", "everybody", "unclear")
    rules = read_excused(small_course, A1).rules
    assert rules["double.string"] == Rule("exclude", 'the "text" says nothing \\ of it: ä')
    assert rules["halve"] == Rule("everybody", "unclear")
    assert read_excused(small_course, "a2_attention").rules == {}
    excuse(small_course, A1, "double.string", "", "")
    assert read_excused(small_course, A1).rules.keys() == {"halve"}
    for name, rule, why, words in (
        ("nothing", "exclude", "w", "there are: double.number"),
        ("double", "exclude", " ", "--why"),
        ("double", "", "", "nothing to take back"),
    ):
        with pytest.raises(CourseError, match=words):
            excuse(small_course, A1, name, rule, why)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
def test_terminal_page_and_gradebook_agree_and_nothing_is_judged_anew(small_course):
    from nbgrader.api import Gradebook

    def recorded():
        with Gradebook(f"sqlite:///{small_course / 'gradebook.db'}") as gradebook:
            return {s.student.id: (s.score, s.max_score) for s in gradebook.assignment_submissions(A1)}

    assert runner.nbgrader_api(small_course).generate_assignment(A1)["success"]
    submit(small_course, "ada", small_notebook(*RIGHT))
    submit(small_course, "bo", small_notebook("def double(x):\n    return 2 * int(x)", RIGHT[1]))
    submit(small_course, "cy", b"no notebook")
    runner.grade_class(small_course, A1)
    assert recorded() == {"ada": (6, 6), "bo": (5, 6), "cy": (0, 6)}
    kept = {path: path.read_bytes() for path in (small_course / "verdicts").rglob("*.json")}

    command = ("cs336lite", "excuse", A1, "double.string", "--exclude", "--why", "strings were not asked for")
    assert run(*command, cwd=small_course).returncode == 0
    report = small_course / "report.json"
    result = run("cs336lite", "grade", A1, "--json", str(report), cwd=small_course)
    assert result.returncode == 0, result.stderr
    assert "double.string counts for nobody: strings were not asked for" in result.stdout
    assert [entry["score"] for entry in json.loads(report.read_text())] == [6, 6, 0]
    assert recorded() == {"ada": (6, 6), "bo": (6, 6), "cy": (0, 6)}
    assert runner.nbgrader_api(small_course).generate_feedback(A1, force=True)["success"]
    page = (small_course / "feedback" / "bo" / A1 / f"{A1}.html").read_text()
    assert "6 of 6 points" in page and "counts for nobody: strings were not asked for" in page and "left out" in page
    assert "all checks passed" in page and "your code raised" not in page

    excuse(small_course, A1, "double.string", "", "")
    excuse(small_course, A1, "halve", "everybody", "unclear")
    result = run("nbgrader", "autograde", A1, "--force", cwd=small_course)
    assert result.returncode == 0, result.stderr
    assert recorded() == {"ada": (6, 6), "bo": (5, 6), "cy": (2, 6)}
    graded = runner.grade_class(small_course, A1)
    assert [g.verdict.score for g in graded] == [6, 5, 2]
    assert table.excused_of(graded) == "halve.half given to everybody: unclear"
    assert {path: path.read_bytes() for path in (small_course / "verdicts").rglob("*.json")} == kept

    excuse(small_course, A1, "halve", "", "")
    runner.grade_class(small_course, A1)
    assert recorded() == {"ada": (6, 6), "bo": (5, 6), "cy": (0, 6)}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
def test_a_wrong_check_can_be_left_out_until_it_is_mended(small_course):
    spec = small_course / "hidden" / f"{A1}.py"
    spec.write_text(spec.read_text().replace("got == 2 * n", "gott == 2 * n"))
    path = submit(small_course, "ada", small_notebook(*RIGHT))
    with pytest.raises(CourseError, match="excuse a1_bpe CHECK --exclude"):
        runner.grade_files(small_course, A1, [path])
    excuse(small_course, A1, "number", "exclude", "it has a mistake")
    assert runner.grade_files(small_course, A1, [path])[0].verdict.score == 6


def test_the_command_lists_and_wants_to_know_what_to_do(small_course):
    excuse(small_course, A1, "halve", "everybody", "unclear")
    result = run("cs336lite", "excuse", "a1", cwd=small_course)
    assert "double.number (3)\n" in result.stdout and "halve.half (2): given to everybody: unclear" in result.stdout
    result = run("cs336lite", "excuse", "a1", "halve", cwd=small_course)
    assert result.returncode == 2 and "say one of" in result.stderr
