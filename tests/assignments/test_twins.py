"""Every public check has a hidden twin: whoever fails what a student can run loses points where it is graded."""

import pytest
from catalogue import ROOT, judge, namespace, solutions, spec

from cs336lite.course.check import run_checks
from cs336lite.course.spec import LocalStudent

ASSIGNMENTS = sorted(path.stem for path in (ROOT / "assignments" / "public").glob("a*.py"))
KINDS = ("wrong", "trivial")
EACH = 20  # of so many solutions one is looked at in every run, and all of them among the slow tests


pytestmark = pytest.mark.usefixtures("one_thread")


def failed(assignment, solution):
    """The public checks that a solution fails, with their messages, as in a terminal.

    Solutions of the catalogue define what is graded, and not each step on the way to it: what is missing counts as open.
    """
    student = LocalStudent(namespace(solution.source, solution.name))
    return {
        r.id: r.message
        for r in run_checks(spec(assignment, "public"), student)
        if not r.passed and "is not defined" not in r.message
    }


def cases():
    for assignment in ASSIGNMENTS:
        found = [solution for kind in KINDS for solution in solutions(assignment, kind)]
        for number, solution in enumerate(found):
            marks = [pytest.mark.slow] if number % EACH or solution.heavy else []
            yield pytest.param(assignment, solution, id=f"{assignment}-{solution.name}", marks=marks)


@pytest.mark.parametrize(("assignment", "solution"), list(cases()))
def test_what_fails_a_public_check_fails_a_hidden_one(assignment, solution):
    public = failed(assignment, solution)
    if public:
        hidden = judge(spec(assignment, "hidden"), solution, "twins")
        assert hidden.failed, f"fails the public {', '.join(public)}, and no hidden check"


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_every_public_exercise_is_graded(assignment):
    assert set(spec(assignment, "public").exercises) <= set(spec(assignment, "hidden").exercises)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_right_solutions_pass_the_public_checks(assignment):
    for solution in solutions(assignment, "right")[:3]:
        assert not failed(assignment, solution), solution.name
