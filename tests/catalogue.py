"""The catalogue of solutions: right, wrong, trivial and hollow answers to an assignment, judged by its checks.

``tests/assignments/solutions/aN_topic/`` holds them as plain Python. A file's name tells what it is: ``right_*`` gets full
marks, ``trivial_*`` none, and ``wrong_*`` fails exactly the checks that its docstring lists::

    fails: train.ties_go_to_the_greatest_pair, train.whole_runs_agree
    names: ties are broken by first occurrence

The message of the first check listed must hold the text after ``names:``. Where it matters what a mistake costs, a line
``points: 55-70`` says within which bounds its score must lie; ``may: …`` lists checks that it fails with some seeds only.
``hollow_*`` solves nothing and pretends to:
another algorithm by the right name, constants, what only looks different. It gets at most the points that its docstring
grants, and says why when these are more than a few::

    most: 14
    because: it refuses bad arguments, which is asked for

``heavy: …`` says why judging one takes very long: such a solution is judged among the slow tests alone.

A line ``from _base import *`` stands for
the text of ``_base.py``, and ``_hollow`` for that of ``_hollow.py``, so that `Solution.source` is always a submission that
stands alone.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

from cs336lite.course.paths import hidden_checks
from cs336lite.course.spec import CheckResult, LocalStudent, Spec, load_spec

ROOT = Path(__file__).resolve().parents[1]
SOLUTIONS = ROOT / "tests" / "assignments" / "solutions"
BASE_LINE = "from _base import *\n"
SHARED = re.compile(r"^from (_\w+) import \*\n", re.MULTILINE)


@dataclass(frozen=True)
class Solution:
    """One file of the catalogue: ``source`` is what a student would hand in."""

    path: Path
    source: str
    fails: tuple[str, ...]
    names: str
    most: float | None = None
    because: str = ""
    points: tuple[float, float] | None = None
    may: tuple[str, ...] = ()
    heavy: str = ""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def kind(self) -> str:
        """``right``, ``wrong``, ``trivial`` or ``hollow``."""
        return self.path.stem.split("_")[0]


def field(docstring: str, key: str) -> str:
    """The rest of the docstring's line that begins with ``key:``; empty when there is none."""
    start = f"{key}:"
    return next((line.removeprefix(start).strip() for line in docstring.splitlines() if line.startswith(start)), "")


def read_solution(path: Path) -> Solution:
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text)) or ""
    text = SHARED.sub(lambda line: (path.parent / f"{line[1]}.py").read_text(encoding="utf-8"), text)
    fails, may = (
        tuple(part.strip() for part in field(docstring, key).split(",") if part.strip()) for key in ("fails", "may")
    )
    most = field(docstring, "most")
    because = field(docstring, "because")
    low, dash, high = field(docstring, "points").partition("-")
    points = (float(low), float(high if dash else low)) if low else None
    most_points = float(most) if most else None
    heavy = field(docstring, "heavy")
    return Solution(path, text, fails, field(docstring, "names"), most_points, because, points, may, heavy)


def solutions(assignment: str, kind: str = "") -> list[Solution]:
    """The catalogue of an assignment, or those of one kind, by name."""
    folder = SOLUTIONS / assignment
    return [read_solution(path) for path in sorted(folder.glob(f"{kind}*_*.py")) if not path.stem.startswith("_")]


@functools.cache  # of one file loaded twice, the first can no longer keep what it has drawn
def spec(assignment: str, side: str) -> Spec:
    """The ``hidden`` or the ``public`` checks of an assignment."""
    course = ROOT / "assignments"
    return load_spec(hidden_checks(course, assignment) if side == "hidden" else course / side / f"{assignment}.py")


def parts(checks: Spec) -> list[ModuleType]:
    """The files of a folder of checks, as modules."""
    inside = f"{checks.module.__name__}."
    return [one for one in vars(checks.module).values() if getattr(one, "__name__", "").startswith(inside)]


def defined(checks: Spec) -> SimpleNamespace:
    """Whatever the files of a folder of checks define."""
    return SimpleNamespace(**{name: value for part in parts(checks) for name, value in vars(part).items()})


def namespace(source: str, name: str = "submission") -> dict[str, Any]:
    """What a plain Python submission defines, run as a module of its own."""
    module = ModuleType(f"solution_{name}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    exec(compile(source, f"<{name}>", "exec"), vars(module))
    return vars(module)


class DetachedStudent(LocalStudent):
    """Runs drivers as the grader does: from their source alone, with values that can be sent, and notes what was sent."""

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__(names)
        self.sent: list[Any] = []
        self.paths: set[str] = set()

    def run(self, driver: Callable, *args: Any) -> Any:
        self.sent.append([arg for arg in args if not (isinstance(arg, str) and arg in self.paths)])
        alone: dict[str, Any] = {}
        exec(code_of(driver), alone)
        answer = super().run(alone[driver.__name__], *(wired(arg) for arg in args))
        return wired(answer)

    def file(self, data: bytes) -> str:
        self.sent.append(data)
        path = super().file(data)
        self.paths.add(path)
        return path


@functools.cache  # the drivers of an assignment are few, and to find their lines takes as long as to run some of them
def code_of(driver: Callable) -> CodeType:
    """A driver's source alone, compiled: it must need nothing of its file."""
    return compile(textwrap.dedent(inspect.getsource(driver)), f"<{driver.__name__}>", "exec")


def wired(value: Any) -> Any:
    """A copy of a value as it arrives on the other side; TypeError for one that cannot be sent."""
    import torch

    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if type(value) in (list, tuple):
        return type(value)(wired(item) for item in value)
    if type(value) is dict:
        return {wired(key): wired(item) for key, item in value.items()}
    if isinstance(value, torch.Tensor):
        return value.clone()
    raise TypeError(f"{type(value).__name__} cannot be sent between a check and a solution")


@dataclass(frozen=True)
class Judgement:
    """What the checks said of one solution, and everything that they sent to it."""

    results: tuple[CheckResult, ...]
    sent: tuple[Any, ...]

    @property
    def score(self) -> float:
        return sum(result.points for result in self.results)

    @property
    def faults(self) -> dict[str, str]:
        """The exceptions that checks raised themselves, by id."""
        return {result.id: result.fault for result in self.results if result.fault}

    @property
    def failed(self) -> dict[str, str]:
        """The message of each check that failed, by id."""
        return {result.id: result.message for result in self.results if not result.passed}


def judge(checks: Spec, solution: Solution | dict[str, Any], seed: int | str) -> Judgement:
    """Judge a solution of the catalogue, or the names that a module defines, by the checks of a spec."""
    student = DetachedStudent(solution if isinstance(solution, dict) else namespace(solution.source, solution.name))
    try:
        results = tuple(one.run(student, seed) for one in checks)
    finally:
        student.close()
    return Judgement(results, tuple(student.sent))


def words_of(value: Any, least: int = 4) -> set[str]:
    """The words of ``least`` letters and digits or more in all strings, bytes and numbers that a value holds."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple)):
        return {word for item in value for word in words_of(item, least)}
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="ignore")
    return set(re.findall(rf"\w{{{least},}}", str(value)))
