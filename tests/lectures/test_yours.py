"""An assert of a lecture that can fail through a reader's own code says so, and names the check to run.

A lecture runs before its assignments are solved, so what runs on a reader's code stands behind `have` or `whose`. An
assert behind one of them has a message with ``check('a2_attention')`` for each assignment that is asked about.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from helpers import ROOT

from cs336lite.course.paths import GRADED_MODULES
from cs336lite.course.text import read_text

TEXTS = sorted((ROOT / "notebooks" / "text").rglob("[0-9]*_*.py"))
OF_MODULE = {module: name for name, module in GRADED_MODULES.items()}


def asked(node: ast.AST, guards: dict[str, set[str]]) -> set[str]:
    """The assignments that an expression asks about, itself or by a name that holds an answer; "?" where it hides them."""
    found: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            found |= guards.get(part.id, set())
        elif isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id in ("have", "whose"):
            named = {argument.value if isinstance(argument, ast.Constant) else "?" for argument in part.args}
            found |= {OF_MODULE.get(name, name) for name in named}
    return found


def guarded_asserts(source: str) -> Iterator[tuple[ast.Assert, set[str], dict[str, str]]]:
    """(assert, assignments that it stands behind, the texts that have names) for each one that is guarded."""
    guards: dict[str, set[str]] = {}
    texts: dict[str, str] = {}

    def walk(body: list[ast.stmt], behind: set[str]) -> Iterator:
        for node in body:
            if isinstance(node, ast.Assign):
                names = [part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)]
                answer = asked(node.value, guards) if asks(node.value) else set()
                guards.update(dict.fromkeys(names, answer))
                if isinstance(node.value, (ast.Constant, ast.JoinedStr)):
                    texts.update(dict.fromkeys(names, written(node.value, texts)))
            if isinstance(node, ast.Assert) and behind:
                yield node, behind, texts
            condition = getattr(node, "test", None) or getattr(node, "iter", None)
            inside = behind | (asked(condition, guards) if condition is not None else set())
            for part in ("body", "orelse", "finalbody"):
                yield from walk(getattr(node, part, []), inside)
            for handler in getattr(node, "handlers", []):
                yield from walk(handler.body, inside)

    yield from walk(ast.parse(source).body, set())


def asks(value: ast.expr) -> bool:
    """Does an expression hold the answer of `have` or `whose`, and not what was computed when it was yes?"""
    return any(isinstance(part, ast.Name) and part.id in ("have", "whose") for part in ast.walk(value))


def written(message: ast.expr | None, texts: dict[str, str]) -> str:
    """The text of a message, with the names in it replaced by what they stand for."""
    parts = ast.walk(message) if message is not None else []
    return " ".join(
        str(part.value) if isinstance(part, ast.Constant) else texts.get(part.id, "")
        for part in parts
        if isinstance(part, (ast.Constant, ast.Name))
    )


def unsaid(source: str) -> list[str]:
    """Asserts of a lecture's code behind a guard that do not name the checks of what they run on."""
    found = []
    for node, behind, texts in guarded_asserts(source):
        named = set(re.findall(r"check\('(\w+)'\)", written(node.msg, texts)))
        if not named or not named <= set(GRADED_MODULES) or not behind - {"?"} <= named:
            found.append(ast.unparse(node.test))
    return found


GUARD = 'READY = all([have("a2_attention"), have("a3_rope")])\n'
SAYS = "YOURS = \"this runs on your code: do check('a2_attention') and check('a3_rope') pass?\"\n"


@pytest.mark.parametrize(
    "source",
    [
        GUARD + "if READY:\n    assert x",
        GUARD + "if READY:\n    for i in y:\n        assert x, 'no'",
        GUARD + "with z:\n    if READY and other:\n        assert x, YOURS",
        GUARD + "if READY:\n    assert x, \"check('a2_attention')\"",
        GUARD + "if READY:\n    assert x, \"check('a2_attention'), check('a3_rope'), check('a9_none')\"",
        GUARD + "for run in runs if READY else []:\n    assert x",
        'if all([have("a2_attention")]):\n    try:\n        y\n    except E:\n        assert x',
        'READY = whose("attention", "rope", lecture="03")\nif READY.or_show("a"):\n    assert x',
        'A, B = (whose(*m, lecture="04") for m in ((1,), (2,)))\nif (A & B).or_show("a"):\n    assert x, "wrong"',
    ],
)
def test_an_assert_on_a_readers_code_that_does_not_say_so_is_found(source):
    assert unsaid(source) == ["x"]


@pytest.mark.parametrize(
    "source",
    [
        GUARD + "assert x",
        GUARD + SAYS + "if READY:\n    assert x, YOURS",
        GUARD + SAYS + "for run in runs if READY else []:\n    assert x, f'{run}: {YOURS}'",
        GUARD + "students = train() if READY else {}\nif students:\n    assert x",
        SAYS + 'A, B = (whose(*m, lecture="04") for m in ((1,), (2,)))\nif (A & B).or_show("a"):\n    assert x, YOURS',
        'ready = whose("attention", lecture="07")\nif ready.or_show("a"):\n    assert x, "your check(\'a2_attention\')"',
    ],
)
def test_one_that_says_so_or_runs_on_the_courses_code_is_not(source):
    assert unsaid(source) == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_asserts_on_a_readers_code_name_the_check_to_run(path):
    source = "\n".join(cell.source for cell in read_text(path).notebook.cells if cell.cell_type == "code")
    assert unsaid(source) == []


def test_the_lectures_have_such_asserts():
    """So that a guard of another form is not taken for none."""
    sources = ["\n".join(c.source for c in read_text(path).notebook.cells if c.cell_type == "code") for path in TEXTS]
    assert sum(len(list(guarded_asserts(source))) for source in sources) > 30
