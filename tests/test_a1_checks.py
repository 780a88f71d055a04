"""The checks of a1 judged by its catalogue: right answers get full marks, each mistake costs what it should.

The catalogue holds solutions of many kinds (see `catalogue`); here every one of them meets every hidden check.
"""

import json
import sys

import catalogue
import nbformat
import pytest
from catalogue import ROOT, judge, solutions

import cs336lite.bpe
from cs336lite.grading.client import Worker
from cs336lite.grading.submission import Submission, read_submission, structure_of_source

ASSIGNMENT = "a1_bpe"
POINTS = {
    "pretokenize": 10,
    "count_pairs": 10,
    "merge": 10,
    "train": 30,
    "encode": 15,
    "decode": 5,
    "special_tokens": 10,
    "encode_iterable": 10,
}
SMALL_FUNCTIONS = ("pretokenize", "count_pairs", "merge")


@pytest.fixture(scope="module")
def hidden():
    return catalogue.spec(ASSIGNMENT, "hidden")


@pytest.fixture(scope="module")
def public():
    return catalogue.spec(ASSIGNMENT, "public")


def ids(chosen):
    return [solution.name for solution in chosen]


def score(results):
    return sum(result.points for result in results.values())


RIGHT, WRONG, TRIVIAL = (solutions(ASSIGNMENT, kind) for kind in ("right", "wrong", "trivial"))


def test_the_catalogue_is_large_enough():
    assert len(RIGHT) >= 5 and len(WRONG) >= 12 and len(TRIVIAL) >= 3


def test_points_are_those_of_the_assignment(hidden):
    assert hidden.exercises == POINTS
    notebook = nbformat.read(ROOT / "assignments" / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb", as_version=4)
    cells = [cell.metadata.nbgrader for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert {cell.grade_id.removeprefix("grade_"): cell.points for cell in cells} == POINTS


def test_every_exercise_has_public_checks_and_three_hints(public):
    assert list(public.exercises) == list(POINTS)
    assert {name: len(layers) for name, layers in public.hints.items()} == dict.fromkeys(POINTS, 3)


@pytest.mark.parametrize("seed", range(3))
def test_the_reference_gets_full_marks(hidden, public, seed):
    names = vars(cs336lite.bpe)
    assert score(judge(hidden, names, seed)) == 100
    assert all(result.passed for result in judge(public, names, seed).values())


@pytest.mark.parametrize("solution", RIGHT, ids=ids(RIGHT))
def test_a_right_answer_gets_full_marks_in_any_style(hidden, public, solution):
    results = judge(hidden, solution, "a course")
    assert score(results) == 100, [f"{r.id}: {r.message}" for r in results.values() if not r.passed]
    small = catalogue.namespace(solution.source).keys() & {"pretokenize", "count_pairs", "merge_pair"}
    for result in judge(public, solution, 0).values():
        assert result.passed or (not small and result.exercise in SMALL_FUNCTIONS), f"{result.id}: {result.message}"


@pytest.mark.parametrize("solution", WRONG, ids=ids(WRONG))
def test_a_mistake_fails_the_checks_meant_for_it_and_no_other(hidden, solution):
    assert solution.fails and solution.names, "a wrong solution says which checks it fails, and with which message"
    results = judge(hidden, solution, "a course")
    assert {name for name, result in results.items() if not result.passed} == set(solution.fails)
    assert solution.names in results[solution.fails[0]].message
    assert score(results) < 100


@pytest.mark.parametrize("solution", TRIVIAL, ids=ids(TRIVIAL))
def test_nothing_is_earned_by_doing_nothing(hidden, solution):
    assert score(judge(hidden, solution, "a course")) == 0


def test_the_notebook_as_released_scores_zero(hidden, tmp_path):
    from cs336lite.course.release import generate

    folder = generate(ROOT, [ASSIGNMENT], tmp_path)[ASSIGNMENT]
    submission = read_submission(folder / f"{ASSIGNMENT}.ipynb")
    source = "\n\n".join(text for _, text in submission.cells if "check(" not in text and "status()" not in text)
    names: dict = {}
    for _, text in submission.cells:
        try:
            exec(text, names)
        except Exception:
            continue
    assert "train_bpe" in names and "BEGIN SOLUTION" not in source
    assert score(judge(hidden, names, "a course")) == 0


@pytest.mark.parametrize("seed", range(20))
def test_other_inputs_give_the_same_verdict(hidden, seed):
    right = next(solution for solution in RIGHT if solution.name == "right_in_parts")
    assert score(judge(hidden, right, seed)) == 100


@pytest.mark.parametrize("name", ["wrong_ties_first_seen", "wrong_leftmost_pair", "wrong_special_tokens_as_listed"])
def test_no_message_shows_an_input_or_an_expected_value(hidden, name):
    """What a hidden check sends is drawn at random: none of it may turn up in what the student is told."""
    solution = next(s for s in WRONG if s.name == name)
    student = catalogue.DetachedStudent(catalogue.namespace(solution.source))
    results = [check.run(student, "a course") for check in hidden]
    student.close()
    drawn = {text for text in strings(student.sent) if len(text) >= 6}
    for result in results:
        assert not [text for text in drawn if text in result.message], result.message


def strings(value):
    """All strings and byte strings inside a value, and the words of longer ones."""
    if isinstance(value, str | bytes):
        text = value if isinstance(value, str) else value.decode(errors="replace")
        yield from text.split()
    elif isinstance(value, dict):
        for pair in value.items():
            yield from strings(list(pair))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")
def test_behind_the_wall_the_verdicts_are_the_same(hidden):
    """A right answer and a wrong one, across the wire and inside the jail."""
    structure = structure_of_source(ROOT / "assignments" / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb")
    source = read_submission(ROOT / "assignments" / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb", structure)
    wrong = next(s for s in WRONG if s.name == "wrong_ties_first_seen")
    with Worker() as worker:
        for submission, fails in ((source, ()), (Submission((("1", wrong.source),)), wrong.fails)):
            with worker.student(submission.cells) as student:
                results = []
                for check in hidden:
                    student.begin(check.seconds)
                    results.append(check.run(student, "a course"))
            assert {r.id for r in results if not r.passed} == set(fails), json.dumps([r.message for r in results])
