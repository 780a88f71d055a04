"""The order of the rooms: the package → course → grading → teaching → the command line. Nobody imports from above."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter

import pytest
from conftest import ROOT

ROOMS = ("package", "course", "grading", "teaching", "cli")
"""From the ground up. The package is what lectures and assignments build, and what is written by hand beside it."""
SWEEPS = {
    ("cs336lite.stress", "cs336lite.course.tuning"),
    ("cs336lite.trials", "cs336lite.course.tuning"),
    ("cs336lite.trials", "cs336lite.course.data"),
}
"""Lectures declare their sweeps of hundreds of runs with the tools that keep records; no other module of theirs does."""
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "cs336lite").rglob("*.py"))
}


def room(module: str) -> str:
    """The room a module stands in."""
    first = module.split(".")[1] if "." in module else ""
    return first if first in ROOMS else "package"


def imports(module: str, *, late: bool = True) -> dict[str, int]:
    """The modules of ours that one imports, each with a line; without ``late`` those that its import needs."""
    found: dict[str, int] = {}

    def look(node: ast.AST) -> None:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else node.module for name in whole]
        for name in names:
            if name in FILES and name != module:
                found.setdefault(name, node.lineno)
        if not late and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if not late and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        for child in ast.iter_child_nodes(node):
            look(child)

    look(ast.parse(FILES[module].read_text(encoding="utf-8")))
    return found


def test_there_is_something_in_each_room():
    assert {room(module) for module in FILES} == {*ROOMS}


@pytest.mark.parametrize("which", ROOMS)
def test_a_room_imports_from_itself_and_from_below_alone(which):
    upward = {
        (module, other): f"{FILES[module].relative_to(ROOT)}:{line}: imports {other}"
        for module in FILES
        if room(module) == which
        for other, line in imports(module).items()
        if ROOMS.index(room(other)) > ROOMS.index(which)
    }
    assert [said for arrow, said in upward.items() if arrow not in SWEEPS] == []
    if which == "package":
        assert upward.keys() == SWEEPS, "an exception that nobody needs any more"


def test_no_module_needs_itself_to_be_imported():
    try:
        TopologicalSorter({module: imports(module, late=False) for module in FILES}).prepare()
    except CycleError as error:
        pytest.fail("a circle of imports: " + " → ".join(reversed(error.args[1])))


def test_the_imports_are_read(tmp_path, monkeypatch):
    for name, text in {
        "a": "import cs336lite.b\n\ndef f():\n    from cs336lite import c\n",
        "b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cs336lite.c import x\n",
        "c": "import os\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.setitem(FILES, f"cs336lite.{name}", tmp_path / f"{name}.py")
    assert imports("cs336lite.a") == {"cs336lite.b": 1, "cs336lite.c": 4}
    assert imports("cs336lite.a", late=False) == {"cs336lite.b": 1}
    assert imports("cs336lite.b") == {"cs336lite.c": 3} and imports("cs336lite.b", late=False) == {}
