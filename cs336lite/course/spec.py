"""Write checks that judge a solution: the vocabulary shared by public and hidden checks.

A *check* is a function of a student and a random generator. It never touches the student's objects: it sends
a *driver* (a small self-contained function) to where the student's code lives and judges what comes back. The
same check therefore runs beside the student's code (``cs336lite check``) and across the wall of the grader.

    def merges_of(student, path, vocab_size):                  # a driver: runs next to the student's code
        return student.train_bpe(path, vocab_size, [])[1]

    @check("train", points=4, title="the most frequent pair is merged first")
    def first_merge(student, rng):                              # a check: runs where the answers are
        merges = student.run(merges_of, student.file(b"aab aab"), 257)
        expect(merges == [(b"a", b"a")], "the first merge is not the most frequent pair: count pairs over all words")
"""

from __future__ import annotations

import hashlib
import linecache
import pickle
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, wraps
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from cs336lite.course import loading
from cs336lite.course.border import chain, known_kind, own, plain
from cs336lite.course.student import Fail, LocalStudent, StudentError

__all__ = [
    "TOGETHER",
    "Check",
    "CheckResult",
    "Fail",
    "LocalStudent",
    "Spec",
    "StudentError",
    "check",
    "drawn",
    "expect",
    "known_kind",
    "load_spec",
]

TOGETHER = "together: "
"""Begins the title of a check of a whole exercise on ordinary input: that it fails, others explain."""

STUMBLED = "this check could not be finished with your answer"
"""Begins the message of a check that raised an exception of its own."""


def expect(condition: bool, message: str) -> None:
    """Fail the running check with ``message`` unless ``condition`` is exactly true."""
    if condition is not True:
        raise Fail(message)


class Student(Protocol):
    """What a check may ask of a solution."""

    def run(self, driver: Callable, *args: Any) -> Any:
        """The value of ``driver(namespace, *args)``, run where the student's code lives. Raises `StudentError`."""

    def cpu_seconds(self, driver: Callable, *args: Any) -> float:
        """The processor time of ``run(driver, *args)``, measured from outside the student's code."""

    def timed(self, driver: Callable, *args: Any) -> tuple[Any, float]:
        """The value of ``run(driver, *args)`` and the processor time that this very answer took."""

    def yardstick(self, driver: Callable, *args: Any) -> float:
        """The processor time of a driver that needs nothing of the student, where no code of the student ever ran."""

    def file(self, data: bytes) -> str:
        """The path of a file with these bytes that the student's code can read."""


@dataclass(frozen=True)
class Check:
    """One judged property of a solution. ``seconds`` is the processor time that its drivers may use together.

    ``files`` are the paths of all files of its assignment's checks.
    """

    id: str
    exercise: str
    points: float
    title: str
    function: Callable[[Student, random.Random], None]
    seconds: float
    files: tuple[str, ...] = ()

    def run(self, student: Student, seed: int | str) -> CheckResult:
        """Judge one student; the inputs drawn depend on ``seed`` and on this check alone."""
        digest = hashlib.sha256(f"{seed}/{self.id}".encode()).digest()
        fault = ""
        try:
            self.function(student, random.Random(int.from_bytes(digest[:8], "big")))
        except StudentError as problem:
            message = str(problem)
        except Fail as problem:
            message = str(problem) if isinstance(student, LocalStudent) else self.in_own_words(problem)
        except Exception as error:  # the check's own: a slip of its author, or an answer that nobody thought of
            fault = fault_of(error, self.files or (self.function.__code__.co_filename,))
            kind = known_kind(type(error).__name__)
            message = f"{STUMBLED}: perhaps it has another form than the one asked for ({kind} in the check itself)"
            if isinstance(student, LocalStudent) and "NoneType" in str(error):
                message = f"{STUMBLED}: it is None, or holds None. Is a `return` missing?"
            if not isinstance(student, LocalStudent):
                message += "; your instructor is told, and sees whether the check is to blame"
        else:
            return CheckResult(self.id, self.exercise, self.title, self.points, self.points, True, "")
        return self.failed(message, fault)

    def failed(self, message: str, fault: str = "") -> CheckResult:
        return CheckResult(self.id, self.exercise, self.title, 0.0, self.points, False, message, fault)

    def in_own_words(self, problem: Fail) -> str:
        """What a check says of code that is judged elsewhere: nothing that is not in the check's source; see `own`.

        The source is that of its assignment's checks and of whatever took part in raising the `Fail`.
        """
        files = dict.fromkeys([*self.files, self.function.__code__.co_filename])
        trace = problem.__traceback__
        while trace is not None:
            files[trace.tb_frame.f_code.co_filename] = None
            trace = trace.tb_next
        source = "\n".join("".join(linecache.getlines(file)) for file in files)
        told = [str(error) for error in chain(problem) if isinstance(error, StudentError)]
        return own(str(problem), source, told) if source.strip() else plain(problem)


@dataclass(frozen=True)
class CheckResult:
    """What a check said. Its texts are `plain`, whoever made them.

    ``fault`` is for the instructor: the exception that the check itself raised, and its line; see `fault_of`.
    ``excused`` says why the check counts for nobody, or as passed for everybody: see `grading.exceptions`.
    """

    id: str
    exercise: str
    title: str
    points: float
    max_points: float
    passed: bool
    message: str
    fault: str = ""
    excused: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "exercise", "title", "message", "fault", "excused"):
            object.__setattr__(self, name, plain(getattr(self, name)))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def fault_of(error: BaseException, files: tuple[str, ...]) -> str:
    """What an exception of a check tells its author: the kind, the missing name, the last line in one of its files.

    Never the exception's own text, which can hold what was drawn or answered.
    """
    trace, filename, line = error.__traceback__, files[0], 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in files:
            filename, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    name = getattr(error, "name", None) if isinstance(error, (NameError, AttributeError, ImportError)) else None
    source = linecache.getline(filename, line)
    named = f" ({name})" if isinstance(name, str) and re.search(rf"\b{re.escape(name)}\b", source) else ""
    shown = f": {plain(source, 80)}" if source.strip() else ""
    return f"{known_kind(type(error).__name__)}{named} in {Path(filename).name}, line {line}{shown}"


def check(exercise: str, *, points: float = 0, title: str, seconds: float = 10) -> Callable:
    """Declare a check of one exercise. Its id is ``exercise.function_name``."""

    def decorate(function: Callable) -> Callable:
        function.__check__ = Check(f"{exercise}.{function.__name__}", exercise, points, title, function, seconds)  # type: ignore[attr-defined]
        return function

    return decorate


def drawn(draw: Callable) -> Callable:
    """Remember what a function of a random generator draws, so that a class judged with one seed has it drawn once.

        @drawn
        def some_words(rng):            # inputs, and what is expected of them: whatever depends on the seed alone
            words = rng.sample(WORDS, 5)
            return words, slow_answer(words)

    Called again with ``rng`` in the same state, it gives an equal value at once and leaves ``rng`` in the state in which
    the first call left it. Every call returns a fresh copy, so that nobody can change what the next one gets. The value
    must be one that pickle can copy; further arguments must be hashable. Each function remembers 32 values.
    """

    @lru_cache(maxsize=32)
    def remember(state: tuple, *args: Any) -> bytes:
        rng = random.Random()
        rng.setstate(state)
        return pickle.dumps((draw(rng, *args), rng.getstate()))

    @wraps(draw)
    def drawn_once(rng: random.Random, *args: Any) -> Any:
        value, state = pickle.loads(remember(rng.getstate(), *args))
        rng.setstate(state)
        return value

    return drawn_once


@dataclass(frozen=True)
class Spec:
    """The checks of one assignment, in the order in which they run."""

    name: str
    module: ModuleType
    source: str
    checks: tuple[Check, ...] = field(default=())
    files: tuple[str, ...] = field(default=())
    path: Path = Path()

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    @property
    def max_points(self) -> float:
        return sum(c.points for c in self.checks)

    @property
    def exercises(self) -> dict[str, float]:
        """Exercise names in order, with the points of each."""
        totals: dict[str, float] = {}
        for c in self.checks:
            totals[c.exercise] = totals.get(c.exercise, 0) + c.points
        return totals

    @property
    def hints(self) -> dict[str, list[str]]:
        """Hints by exercise, from a nudge to nearly the answer."""
        return getattr(self.module, "HINTS", {})


def load_spec(path: str | Path, source: str | None = None) -> Spec:
    """The spec in a file of checks or in a folder of them, or in the text that either had (`loading.text_of`).

    Raises:
        FileNotFoundError: there is neither.
        CourseError: it cannot be run; with the line to go to.
    """
    path = Path(path)
    source = loading.text_of(path) if source is None else source
    module, files, checks = loading.load(path, source)
    return Spec(path.stem, module, source, tuple(replace(check, files=files) for check in checks), files, path)
