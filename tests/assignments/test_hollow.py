"""Solutions that solve nothing and pretend to: another algorithm by the right name, constants, what only looks different.

They get next to nothing, because each check asks for something that only the right idea gives. That can hold only as
long as no check takes an answer unasked: the rules for hidden checks are looked at here, too.
"""

import ast

import pytest
from catalogue import ROOT, judge, solutions, spec

ASSIGNMENTS = sorted(path.stem for path in (ROOT / "assignments" / "hidden").glob("a*"))
HOLLOW = [(name, solution) for name in ASSIGNMENTS for solution in solutions(name, "hollow")]
FEW = 6


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_each_assignment_has_hollow_solutions(assignment):
    assert [solution for name, solution in HOLLOW if name == assignment]


EACH = pytest.mark.parametrize(
    ("assignment", "solution"), [pytest.param(*one, id=f"{one[0]}-{one[1].name}") for one in HOLLOW]
)


@EACH
def test_hollow_solutions_get_no_more_than_they_deserve(assignment, solution):
    assert solution.most is not None, "a line `most:` is missing"
    assert solution.most <= FEW or solution.because, "more than a few points, and no line `because:`"
    judgement = judge(spec(assignment, "hidden"), solution, "hollow")
    earned = {result.id: result.points for result in judgement.results if result.points}
    assert judgement.score <= solution.most, earned


@pytest.mark.slow
@EACH
def test_hollow_solutions_get_no_more_with_another_seed(assignment, solution):
    scores = {seed: judge(spec(assignment, "hidden"), solution, seed).score for seed in range(20)}
    assert max(scores.values()) <= solution.most, scores


# ---------------------------------------------------------------------------------------------------------------------
# Rules for hidden checks


def asked_by_hand(source: str) -> list[int]:
    """The lines that ask a student for an answer and not for its form: ``student.run`` outside of ``ask``."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr == "run"
        and isinstance(node.value, ast.Name)
        and node.value.id == "student"
    ]


def loose_zips(source: str) -> list[int]:
    """The lines that zip without ``strict=True``: of lists of different lengths some parts would not be looked at."""
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    zips = [call for call in calls if call.func.id == "zip"]
    return [call.lineno for call in zips if not any(is_strict(keyword) for keyword in call.keywords)]


def is_strict(keyword: ast.keyword) -> bool:
    return keyword.arg == "strict" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_hidden_checks_ask_for_the_form_of_each_answer(assignment):
    assert asked_by_hand(spec(assignment, "hidden").source) == []


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_hidden_checks_zip_what_is_of_one_length(assignment):
    assert loose_zips(spec(assignment, "hidden").source) == []


def test_the_rules_see_what_breaks_them():
    assert asked_by_hand("def f(student):\n    ask(student, int, g)\n    h = student.run\n    student.run(g)") == [3, 4]
    assert loose_zips("zip(a, b)\nzip(a, b, strict=True)\nzip(a, b, strict=False)\n[1 for _ in zip(a)]") == [1, 3, 4]
