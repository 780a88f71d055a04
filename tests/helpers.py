"""What tests share: commands of this environment, and a small course of one tiny assignment that is quick to grade."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import warm

from cs336lite.course.plan import Item, plan

ROOT = Path(__file__).resolve().parents[1]
QUICK = "CS336LITE_TESTS_QUICK"  # the variable that names the folder of `quicken`


@functools.cache
def planned() -> tuple[Item, ...]:
    """The texts of this course as `plan` orders them. It takes some seconds, so a process of the tests asks once."""
    return tuple(plan(ROOT))


def script(path: str) -> ModuleType:
    """A script of the repository as a module of its own name, whichever others of its file's name have been imported."""
    spec = importlib.util.spec_from_file_location(path.removesuffix(".py").replace("/", "_"), ROOT / path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL_SPEC = """
WARM = ()  # torch takes two seconds
from cs336lite.course.spec import check, expect

def call(student, *args):
    return student.double(*args)

@check("double", points=3, title="doubles a number", seconds=1)
def number(student, rng):
    n = rng.randrange(10**6)
    got = student.run(call, n)
    expect(got != n * n, "the number is squared, not doubled")
    expect(got == 2 * n, "the result is not twice the number")

@check("double", points=1, title="doubles a string", seconds=1)
def string(student, rng):
    expect(student.run(call, "ab") == "abab", "a string doubled is itself twice")

@check("halve", points=2, title="halves a number")
def half(student, rng):
    n = rng.randrange(10**6)
    expect(student.run(halve, 2 * n) == n, "the result is not half the number")

def halve(student, n):
    return student.halve(n)
"""


SPEAK = """
import json, sys
setup, calls = json.load(sys.stdin)
exec(setup)
for call in calls:
    try:
        print(json.dumps(str(eval(call))))
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def spoken(setup: str, calls: list[str]) -> list[str]:
    """What each expression gives, or its error, in a process of its own: there jaxtyping does not speak first."""
    run = subprocess.run(
        [sys.executable, "-c", SPEAK], input=json.dumps([setup, calls]), capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def code(source: str, **nbgrader) -> dict:
    meta = {"nbgrader": {"schema_version": 3, "task": False, **nbgrader}} if nbgrader else {}
    return {"cell_type": "code", "source": source, "metadata": meta, "outputs": [], "execution_count": None}


def notebook(*cells: dict) -> dict:
    for number, cell in enumerate(cells):
        cell["id"] = f"c{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": list(cells), "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def solution_cell(name: str, source: str) -> dict:
    return code(source, grade=False, solution=True, locked=False, grade_id=name)


def grade_cell(name: str, points: float) -> dict:
    return code(
        f'check("a1_bpe", "{name}")', grade=True, solution=False, locked=True, grade_id=f"grade_{name}", points=points
    )


def small_notebook(double: str, halve: str) -> dict:
    """A submission of the small course; its two answers as source."""
    return notebook(
        code("from cs336lite.course import check", grade=False, solution=False, locked=True, grade_id="setup"),
        solution_cell("double", double),
        grade_cell("double", 4),
        solution_cell("halve", halve),
        grade_cell("halve", 2),
    )


RIGHT = ("def double(x):\n    return x + x", "def halve(x):\n    return x // 2")


def make_small_course(folder: Path) -> Path:
    """An nbgrader course of one tiny assignment, released (named a1_bpe so that the command line knows it)."""
    course = folder / "assignments"
    (course / "hidden").mkdir(parents=True)
    (course / "hidden" / "a1_bpe.py").write_text(SMALL_SPEC)
    (course / "public").mkdir()
    (course / "public" / "a1_bpe.py").write_text(SMALL_SPEC)
    (folder / "cs336lite").mkdir()
    shutil.copy(ROOT / "assignments" / "nbgrader_config.py", course / "nbgrader_config.py")
    marked = [answer.replace("return", "### BEGIN SOLUTION\n    return") + "\n    ### END SOLUTION" for answer in RIGHT]
    source = course / "source" / "a1_bpe" / "a1_bpe.ipynb"
    source.parent.mkdir(parents=True)
    source.write_text(json.dumps(small_notebook(*marked)))
    return course


def submit(course: Path, student: str, content: dict | bytes | str) -> Path:
    """Put a submission where ``nbgrader collect`` would."""
    path = course / "submitted" / student / "a1_bpe" / "a1_bpe.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


ALEMBIC = """\
#!/bin/sh
case "$*" in *" heads") ;; *) exec {real} "$@" ;; esac
[ -s {kept} ] && exec cat {kept}
[ -w {folder} ] || exec {real} "$@"  # another user
{real} "$@" > {kept}.$$ && mv {kept}.$$ {kept} && exec cat {kept}
"""
NO_GRAMMAR = 'raise ImportError("left out: it takes a second to import, and nobody here checks addresses")\n'


def quicken(folder: Path) -> None:
    """Save what nbgrader does again and again: alembic's answer, asked for with each new gradebook, is kept for a run; and a
    grammar of addresses, which jsonschema imports, is left out in `run`, as the package leaves it out for itself.
    """
    tools = Path(sys.executable).parent
    folder.mkdir()
    program = folder / "alembic"
    program.write_text(
        ALEMBIC.format(
            real=shlex.quote(str(tools / "alembic")),
            kept=shlex.quote(str(folder / "heads")),
            folder=shlex.quote(str(folder)),
        )
    )
    program.chmod(0o755)
    (folder / "rfc3987_syntax.py").write_text(NO_GRAMMAR)
    os.environ[QUICK] = str(folder)
    os.environ["PATH"] = os.pathsep.join([str(folder), str(tools), os.environ.get("PATH", os.defpath)])


def quickened(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment in which nbgrader leaves out what `quicken` says; its programs are on the path."""
    before = filter(None, [environment.get("PYTHONPATH")])
    return {**environment, "PYTHONPATH": os.pathsep.join([os.environ[QUICK], *before])}


def run(*command: str, cwd: Path, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess:
    """Run a command of this environment (``nbgrader``, ``cs336lite``, ``python``) and capture what it says."""
    whole = {**os.environ, "COLUMNS": "200", **environment}
    if warm.can_run(command, cwd, whole):
        return warm.run(command, cwd, whole, timeout)
    if command[0] == "nbgrader":
        whole = quickened(whole)
    return subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        cwd=cwd,
        env=whole,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def dedent(text: str) -> str:
    return textwrap.dedent(text).strip("\n")
