"""A wrong check is the instructor's error: the reference is judged first, and nothing is graded when it fails."""

import json
import shutil
import sys

import pytest
from helpers import RIGHT, run, small_notebook, submit

from cs336lite.course.paths import CourseError
from cs336lite.course.spec import LocalStudent, load_spec
from cs336lite.grading import runner, table

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
A1 = "a1_bpe"


@pytest.fixture
def released(small_course):
    assert runner.nbgrader_api(small_course).generate_assignment(A1)["success"]
    for name, answers in {"ada": RIGHT, "bo": ("def double(x):\n    return x * x", RIGHT[1])}.items():
        submit(small_course, name, small_notebook(*answers))
    return small_course


def mend(course, old, new):
    path = course / "hidden" / f"{A1}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def recorded(course):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        return {s.student.id: (s.score, s.max_score) for s in gradebook.assignment_submissions(A1)}


NUMBER = 'expect(got == 2 * n, "the result is not twice the number")'


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (NUMBER.replace("got == ", "gott == "), ("double.number", "NameError (gott)", "line 13", "gott == 2 * n")),
        (NUMBER.replace("2 * n,", "random.Random(n).nothing(),"), ("double.number", "NameError (random)")),
        (NUMBER.replace("got ==", "rng.randrang(3) =="), ("AttributeError (randrang)",)),
        (NUMBER.replace("got ==", "json_of(3) =="), ("NameError (json_of)",)),
        ("import no_such_module", ("ModuleNotFoundError (no_such_module)",)),
        ("assert n < 0", ("AssertionError in a1_bpe.py, line 13: assert n < 0",)),
        ("ask(student, 3, call, n)", ("TypeError in a1_bpe.py, line 13",)),
        (NUMBER.replace("2 * n", "3 * n"), ("double.number: the result is not twice the number",)),
    ],
)
def test_a_wrong_check_fails_the_reference_and_is_named(small_course, wrong, words):
    mend(small_course, NUMBER, wrong)
    mend(small_course, "import check, expect", "import check, expect; from cs336lite.course.answers import ask")
    right = LocalStudent({"double": lambda x: x + x})
    result = next(iter(load_spec(small_course / "hidden" / f"{A1}.py"))).run(right, 0)
    assert not result.passed and all(word in f"{result.id}: {result.fault or result.message}" for word in words)


@pytest.mark.parametrize("wrong", ["gott == 2 * n", "got == 3 * n"])
def test_a_wrong_check_grades_nobody(released, wrong):
    mend(released, "got == 2 * n", wrong)
    with pytest.raises(CourseError, match="nothing was graded or recorded") as caught:
        runner.grade_class(released, A1)
    assert "double.number: " in str(caught.value)
    assert recorded(released) == {} and not list((released / "autograded").glob("*"))
    with pytest.raises(CourseError, match="nothing was graded"):
        runner.grade_files(released, A1, [released / "submitted" / "ada" / A1 / f"{A1}.ipynb"])


def test_the_command_says_it_and_the_stock_command_records_nothing(released):
    mend(released, NUMBER, NUMBER.replace("got ==", "gott =="))
    result = run("cs336lite", "grade", A1, cwd=released)
    assert result.returncode == 2 and "NameError (gott)" in result.stderr and "Traceback" not in result.stderr
    result = run("nbgrader", "autograde", A1, cwd=released)
    assert result.returncode != 0 and "NameError (gott)" in result.stderr
    assert {score for score, _ in recorded(released).values()} <= {0.0}  # what nbgrader itself makes before it converts
    assert not (released / "autograded" / "ada" / A1 / f"{A1}.ipynb").exists()
    mend(released, "gott ==", "got ==")
    assert run("cs336lite", "grade", A1, cwd=released).returncode == 0
    assert recorded(released) == {"ada": (6, 6), "bo": (2, 6)}


def test_a_syntax_error_in_the_checks_is_one_sentence(released):
    mend(released, "def half(student, rng):", "def half(student, rng)")
    result = run("cs336lite", "grade", A1, cwd=released)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert f"{A1}.py, line 20: expected ':'" in " ".join(result.stderr.split())
    with pytest.raises(CourseError, match="line 20"):
        load_spec(released / "hidden" / f"{A1}.py")
    with pytest.raises(CourseError, match=r"cannot be loaded: ZeroDivisionError.*\(line 2\)"):
        load_spec("somewhere.py", "x = 1\nx / 0\n")


def test_the_reference_is_judged_once_for_each_state_of_the_checks(released, monkeypatch):
    runner.grade_class(released, A1)
    kept = list((released / "verdicts" / A1).glob("*.json"))
    assert len(kept) == 3
    monkeypatch.setattr(runner, "judge_in", lambda *_: pytest.fail("judged twice"))
    runner.grade_class(released, A1)
    monkeypatch.undo()
    mend(released, NUMBER, NUMBER.replace("got ==", "gott =="))
    for _ in range(2):
        with pytest.raises(CourseError):
            runner.grade_class(released, A1)
    assert len(list((released / "verdicts" / A1).glob("*.json"))) == 3  # of a reference that failed, none is kept


def test_a_check_that_stumbles_over_one_answer_is_told_to_both(released):
    mend(released, NUMBER, "expect([got][n * n == got] == 2 * n, 'not twice')")  # who squares meets an IndexError
    mend(released, 'expect(got != n * n, "the number is squared, not doubled")', "")
    graded = runner.grade_class(released, A1)
    assert recorded(released) == {"ada": (6, 6), "bo": (2, 6)}
    check = graded[1].verdict.checks[0]
    assert "could not be finished" in check.message and "your instructor is told" in check.message
    said = table.stumbled_of(A1, graded, {"bo": "Bo \x1b[31mB"})
    assert "double.number: IndexError in a1_bpe.py, line 13" in said and "\x1b" not in said and "(Bo" in said
    assert "ada" not in said and "cs336lite why a1_bpe" in said
    result = run("cs336lite", "grade", A1, cwd=released)
    assert result.returncode == 0 and "IndexError in a1_bpe.py, line 13" in result.stdout
    notebook = (released / "autograded" / "bo" / A1 / f"{A1}.ipynb").read_text()
    assert "not twice" not in notebook  # the line of the check is for the terminal


def test_what_a_fault_says_holds_nothing_of_the_answer(tmp_path):
    path = tmp_path / "spec.py"
    path.write_text(
        "from cs336lite.course.spec import check\n\n"
        "@check('e', points=1, title='t')\n"
        "def look(student, rng):\n    return {}[student.run(call)]\n\n"
        "@check('e', points=1, title='t')\n"
        "def attribute(student, rng):\n    return getattr(rng, student.run(call))\n\n"
        "def call(student):\n    return student.answer\n"
    )
    student = LocalStudent({"answer": "hidden_input"})
    for one in load_spec(path):
        result = one.run(student, 0)
        assert result.fault and "hidden_input" not in result.fault + result.message


def test_other_points_in_the_gradebook_are_refused_until_it_is_made_anew(released):
    runner.grade_class(released, A1)
    mend(released, "points=3", "points=5")
    with pytest.raises(CourseError, match="double: 4 in the gradebook, 6 in the checks") as caught:
        runner.grade_class(released, A1)
    assert f"nbgrader generate_assignment {A1} --force" in str(caught.value)
    assert recorded(released) == {"ada": (6, 6), "bo": (2, 6)}
    result = run("nbgrader", "autograde", A1, "--force", cwd=released)
    assert result.returncode != 0 and "4 in the gradebook, 6 in the checks" in result.stderr

    source = released / "source" / A1 / f"{A1}.ipynb"
    node = json.loads(source.read_text())
    node["cells"][2]["metadata"]["nbgrader"]["points"] = 6
    source.write_text(json.dumps(node))
    result = run("nbgrader", "generate_assignment", A1, "--force", cwd=released)
    assert result.returncode == 0, result.stderr
    graded = runner.grade_class(released, A1)
    assert {g.label: (g.verdict.score, g.verdict.max_score) for g in graded} == {"ada": (8, 8), "bo": (2, 8)}
    assert recorded(released) == {"ada": (8, 8), "bo": (2, 8)}
    assert runner.nbgrader_api(released).generate_feedback(A1, force=True)["success"]
    assert "8 of 8 points" in (released / "feedback" / "ada" / A1 / f"{A1}.html").read_text()


def test_exercises_that_only_one_side_has_are_named(released):
    mend(released, '@check("halve"', '@check("third"')
    with pytest.raises(CourseError) as caught:
        runner.grade_class(released, A1)
    assert "halve: 2 in the gradebook, and no check" in str(caught.value)
    assert "third: 2 in the checks, and not in the gradebook" in str(caught.value)


def test_a_reference_that_cannot_be_read_or_is_wrong_is_told(released):
    source = released / "source" / A1 / f"{A1}.ipynb"
    whole = source.read_text()
    source.write_text(json.dumps(small_notebook("def double(x):\n    return 3 * x", RIGHT[1])))
    with pytest.raises(CourseError, match=r"double\.number: the result is not twice"):
        runner.grade_class(released, A1)
    source.write_text("nothing")
    with pytest.raises(CourseError, match=r"a1_bpe.ipynb cannot be read .* makes it anew"):
        runner.grade_files(released, A1, [released / "submitted" / "ada" / A1 / f"{A1}.ipynb"])
    source.write_text(whole)
    assert len(runner.grade_class(released, A1)) == 2


def test_a_course_without_its_source_is_graded_all_the_same(released):
    shutil.rmtree(released / "source")
    assert [g.verdict.score for g in runner.grade_class(released, A1)] == [6, 2]


def test_only_the_modules_that_an_assignment_hands_out_judge_it_anew(tmp_path, monkeypatch):
    from cs336lite.grading import judge, surroundings

    layers, real = tmp_path / "layers.py", surroundings.lecture_modules
    monkeypatch.setattr(
        surroundings, "lecture_modules", lambda names: [*real([]), *([layers] if "layers" in names else [])]
    )
    versions = {}
    for text in ("", "# a comment"):
        layers.write_text(text)
        for name in ("a1_bpe", "a2_attention", "a4_lion"):
            versions.setdefault(name, set()).add(judge.grader_version.__wrapped__(name))
    assert {name: len(found) for name, found in versions.items()} == {"a1_bpe": 1, "a2_attention": 1, "a4_lion": 2}
