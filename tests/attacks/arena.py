"""An arena for attacks: a small nbgrader course in which attackers, their honest twins and two bystanders are graded.

A family is a list of `Case`; `family` makes its tests. All of a family's notebooks are handed in as one class and graded
once, in a process of its own, by the whole pipeline: notebook in, gradebook out. Nothing is asked of the grader but
what an instructor asks of it.

An attack that wants to *do* something (read a file, start a process) tells through its score whether it could: see
`probe`, whose answer is right only when its attempt worked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import modes
import pytest

NAME = "arena"
LIMIT = 400  # seconds until a class that is still not graded counts as hung; far above what it takes
FULL = 10.0
BYSTANDERS = {"aa-right": FULL, "zz-half": 4.0}

SPEC = """
import torch

from cs336lite.course.spec import check, expect

WARM = ("torch",)


def call_double(student, x):
    return student.double(x)


def call_softmax(student, x, dim):
    return student.softmax(x, dim)


def call_count(student, path, word):
    return student.count(path, word)


@check("double", points=2, title="doubles a number", seconds=1)
def number(student, rng):
    for _ in range(2):
        n = rng.randrange(10**6, 10**9)
        got = student.run(call_double, n)
        expect(type(got) is int and got == 2 * n, "the result is not twice the number")


@check("double", points=2, title="doubles a text", seconds=1)
def text(student, rng):
    for _ in range(2):
        s = "".join(rng.choices("abcdefgh", k=12))
        expect(student.run(call_double, s) == s + s, "the result is not the text twice")


@check("softmax", points=3, title="softmax over a dimension", seconds=1)
def softmax(student, rng):
    numbers = torch.Generator().manual_seed(rng.randrange(2**31))
    for dim in (0, 1, -1):
        x = torch.randn(rng.randrange(3, 6), rng.randrange(6, 9), generator=numbers)
        y = student.run(call_softmax, x, dim)
        expect(torch.is_tensor(y) and y.shape == x.shape and y.dtype == x.dtype, "another shape or type is asked for")
        expect(torch.allclose(y, torch.softmax(x, dim), atol=1e-6), "the numbers are not those of a softmax")


@check("count", points=3, title="counts words in a file", seconds=1)
def count(student, rng):
    for _ in range(2):
        words = rng.choices(["red", "green", "blue"], k=rng.randrange(20, 60))
        got = student.run(call_count, student.file(" ".join(words).encode()), "red")
        expect(type(got) is int and got == words.count("red"), "the number of words is wrong")
"""

EXERCISES = {"double": 4, "softmax": 3, "count": 3}
RIGHT = {
    "double": "def double(x):\n    return x + x",
    "softmax": """import torch
def softmax(x, dim):
    e = torch.exp(x - x.max(dim, keepdim=True).values)
    return e / e.sum(dim, keepdim=True)""",
    "count": "def count(path, word):\n    with open(path) as file:\n        return file.read().split().count(word)",
}
UNSOLVED = {
    "double": "def double(x):\n    raise NotImplementedError",
    "softmax": "def softmax(x, dim):\n    raise NotImplementedError",
    "count": "def count(path, word):\n    raise NotImplementedError",
}


# -- notebooks --------------------------------------------------------------------------------------------------


def code(source: str, **nbgrader: Any) -> dict:
    meta = {"nbgrader": {"schema_version": 3, "task": False, **nbgrader}} if nbgrader else {}
    return {
        "cell_type": "code",
        "source": textwrap.dedent(source).strip("\n"),
        "metadata": meta,
        "outputs": [],
        "execution_count": None,
    }


def markdown(source: str, **more: Any) -> dict:
    return {"cell_type": "markdown", "source": source, "metadata": {}, **more}


def notebook(cells: Iterable[dict]) -> dict:
    cells = [{**cell, "id": f"c{number}"} for number, cell in enumerate(cells)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def book(answers: dict[str, str], before: tuple = (), after: tuple = ()) -> dict:
    """The assignment with these answers, and with cells of one's own (sources or whole cells) before and after them."""
    cells = [code("from cs336lite.course import check", grade=False, solution=False, locked=True, grade_id="setup")]
    cells += [code(c) if isinstance(c, str) else c for c in before]
    for name, points in EXERCISES.items():
        cells.append(code(answers[name], grade=False, solution=True, locked=False, grade_id=name))
        test = f'check("{NAME}", "{name}")'
        more = {"grade": True, "solution": False, "locked": True, "grade_id": f"grade_{name}", "points": points}
        cells.append(code(test, **more))
    cells += [code(c) if isinstance(c, str) else c for c in after]
    return notebook(cells)


def wrong(*, before: tuple = (), after: tuple = (), **answers: str) -> dict:
    """A notebook that solves nothing but what ``answers`` solve."""
    return book({**UNSOLVED, **answers}, before, after)


def right(*, before: tuple = (), after: tuple = (), **answers: str) -> dict:
    """A notebook that solves everything, with other ``answers`` where given."""
    return book({**RIGHT, **answers}, before, after)


def graded_cells(nb: dict) -> list[dict]:
    return [cell for cell in nb["cells"] if cell["metadata"].get("nbgrader", {}).get("grade")]


PROBE = """
import ctypes, errno, fcntl, glob, mmap, os, signal, socket, struct, subprocess, sys, tempfile, threading, time
libc = ctypes.CDLL(None, use_errno=True)
COURSE, HOME = "@COURSE@", "@HOME@"
def attempt():
{body}
try:
    WORKED = bool(attempt())
except BaseException:
    WORKED = False
"""
PROBED = "def double(x):\n    if not WORKED:\n        raise RuntimeError\n    return x + x"


def probe(body: str) -> dict:
    """A notebook that solves nothing; its `double` is right only when ``body`` returned something true."""
    return wrong(before=(PROBE.format(body=textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")),), double=PROBED)


def innocent(body: str) -> dict:
    """The twin of a probe: all is solved, provided that ``body`` returns something true."""
    return right(before=(PROBE.format(body=textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")),), double=PROBED)


# -- cases ------------------------------------------------------------------------------------------------------

Content = dict | bytes | Callable[[Path], None]
"""A submission: a notebook, the bytes of the file, or a function that fills the submitted folder."""


@dataclass(frozen=True)
class Case:
    """An attack and its honest twin.

    ``earned`` is what the attack's notebook honestly solves; ``swap`` replaces its file while the class is graded.
    """

    name: str
    attack: Content | None
    twin: Content | None = None
    earned: float = 0.0
    swap: dict | None = None


def put(course: Path, student: str, content: Content) -> None:
    """Hand in, where ``nbgrader collect`` would put it."""
    folder = course / "submitted" / student / NAME
    folder.mkdir(parents=True)
    if callable(content):
        content(folder)
    else:
        (folder / f"{NAME}.ipynb").write_bytes(as_bytes(content, course))


def as_bytes(content: dict | bytes, course: Path) -> bytes:
    if isinstance(content, bytes):
        return content
    return json.dumps(content).replace("@COURSE@", str(course)).replace("@HOME@", str(course.parent)).encode()


def make_course(home: Path) -> Path:
    course = home / "course"
    (course / "hidden").mkdir(parents=True)
    (course / "hidden" / f"{NAME}.py").write_text(SPEC)
    config = "from pathlib import Path\nfrom cs336lite.grading.hooks import configure\n"
    (course / "nbgrader_config.py").write_text(f"{config}configure(get_config(), Path(__file__).parent.resolve())\n")
    source = course / "source" / NAME / f"{NAME}.ipynb"
    source.parent.mkdir(parents=True)
    marked = {name: f"### BEGIN SOLUTION\n{answer}\n### END SOLUTION" for name, answer in RIGHT.items()}
    source.write_text(json.dumps(book(marked)))
    (home / "precious.txt").write_text("precious")
    (home / "precious.txt").chmod(0o666)  # nothing but the jail guards it
    (home / "tmp").mkdir()
    for folder in (home, home / "tmp"):
        folder.chmod(0o755)  # the grader may run submissions as another user
    return course


@functools.cache
def jailed() -> str:
    """Why attacks on the machine cannot be tried here; empty when they can."""
    if sys.platform != "linux":
        return "grading runs on Linux"
    from cs336lite.grading import doctor

    holds = {layer.name for layer in doctor.layers() if layer.holds}
    missing = {"Landlock", "seccomp"} - holds
    return f"{' and '.join(sorted(missing))} not to be had on this machine" if missing else ""


@dataclass(frozen=True)
class How:
    """How a family is graded: with pages of feedback, by trust, where the kernel has an older Landlock (0: none)."""

    feedback: bool = False
    trust: bool = False
    landlock: int | None = None
    mode: modes.Mode = dataclasses.field(default_factory=modes.present)


def family(
    name: str, cases: list[Case], feedback: bool = False, machine: bool = False, how: How | None = None
) -> tuple[Callable, ...]:
    """The fixture ``outcome`` and the three tests of a family; ``machine``: it attacks what the jail protects."""
    assert len({case.name for case in cases}) == len(cases)
    how = how or How(feedback)
    reason = "" if sys.platform == "linux" else "grading runs on Linux"
    reason = reason or how.mode.impossible or (jailed() if machine else "")
    skip = pytest.mark.skipif(bool(reason), reason=reason)

    @pytest.fixture(scope="module")
    def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
        return graded_once(name, cases, how, tmp_path_factory)

    attacks = [case for case in cases if case.attack is not None]

    @skip
    @pytest.mark.parametrize("case", attacks, ids=[case.name for case in attacks])
    def test_attack(outcome: dict[str, Any], case: Case) -> None:
        score = outcome["scores"].get(f"{case.name}-attack")
        assert score is not None, f"no grade was recorded: {outcome['error']}"
        assert score <= case.earned, f"{score} points, {case.earned} earned"
        assert score >= 0, f"{score} points"

    twins = [case for case in cases if case.twin is not None]

    @skip
    @pytest.mark.parametrize("case", twins, ids=[case.name for case in twins])
    def test_twin(outcome: dict[str, Any], case: Case) -> None:
        student = f"{case.name}-twin"
        score = outcome["scores"].get(student)
        assert score is not None, f"no grade was recorded: {outcome['error']}"
        assert score == FULL, f"an honest student gets {score}: {outcome['messages'].get(student)}"

    @skip
    @pytest.mark.parametrize("what", ["error", "bystanders", "grades", "points", "changed", "leaks", "left"])
    def test_class(outcome: dict[str, Any], what: str) -> None:
        if what == "bystanders":
            assert {name: outcome["scores"].get(name) for name in BYSTANDERS} == BYSTANDERS
        elif what == "grades":
            assert sorted(outcome["scores"]) == sorted(outcome["students"])
        elif what == "points":
            assert set(outcome["max_scores"].values()) == {FULL}
        else:  # why the run failed, what was altered, what was let out, what was left behind
            assert not outcome[what], outcome[what]

    return outcome, test_attack, test_twin, test_class


# -- grading ----------------------------------------------------------------------------------------------------


def graded_once(
    name: str, cases: list[Case], how: How, factory: pytest.TempPathFactory | None = None
) -> dict[str, Any]:
    """The outcome of a family. Processes of one test run that share its tests share its grading too."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if factory is None or run is None:
        return grade(cases, how)
    shared = factory.getbasetemp().parent
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = shared / f"{name}-{run}.json"
        if not result.exists():
            result.write_text(json.dumps(grade(cases, how)))
        return json.loads(result.read_text())


def grade(cases: list[Case], how: How | None = None) -> dict[str, Any]:
    """Hand in, grade and look at everything that should, and that should not, have changed."""
    how = how or How()
    home = Path(tempfile.mkdtemp(prefix="cs336lite-arena-")).resolve()
    try:
        course = make_course(home)
        for case in cases:
            for kind, content in (("attack", case.attack), ("twin", case.twin)):
                if content is not None:
                    put(course, f"{case.name}-{kind}", content)
        put(course, "aa-right", right())
        put(course, "zz-half", wrong(double=RIGHT["double"]))
        swaps = {f"{case.name}-attack": case.swap for case in cases if case.swap is not None}
        (home / "swaps.json").write_text(json.dumps(swaps))
        output = home / "outcome.json"
        log = home / "log.txt"
        settings = json.dumps({"feedback": how.feedback, "trust": how.trust, "landlock": how.landlock})
        options = how.mode.options(home)
        options["env"] |= {"TMPDIR": str(home / "tmp"), "SECRET_OF_THE_INSTRUCTOR": "environment-secret"}
        how.mode.hand_over(home)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, __file__, str(course), str(output), settings],
                **options,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        outcome: dict[str, Any] = {"scores": {}, "max_scores": {}, "messages": {}, "pages": {}, "autograded": {}}
        outcome["formgrader"] = {}
        outcome |= {
            "changed": [],
            "leaks": [],
            "error": f"the run ended with {process.returncode}: {log.read_bytes()[-3000:]!r}",
        }
        if output.exists():
            outcome |= json.loads(output.read_text())
        outcome["students"] = sorted(p.name for p in (course / "submitted").iterdir())
        outcome["left"] = left_behind(home)
        return outcome
    finally:
        shutil.rmtree(home, ignore_errors=True)


def left_behind(home: Path) -> list[str]:
    """Processes of the run that still live after a while, and what it left in its temporary folder."""
    end = time.monotonic() + 10
    while (processes := processes_of(home)) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # the analysis of torch's own caches is no business of the grader's
    files = [p.name for p in (home / "tmp").iterdir() if not p.name.startswith("torchinductor")]
    return [f"process {pid}" for pid in processes] + files


def processes_of(home: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            dead = (path / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
            if not dead and int(path.name) != os.getpid() and os.fsencode(str(home)) in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


# -- in the process that grades ---------------------------------------------------------------------------------


def snapshot(course: Path) -> dict[str, str]:
    """Content, kind, mode and time of every file that no submission has any business with."""
    found = {}
    places = [course / place for place in ("hidden", ".secret/seed", "submitted", "source", "nbgrader_config.py")]
    for place in [*places, course.parent / "precious.txt"]:
        for path in [place, *sorted(place.rglob("*"))]:
            if "__pycache__" in path.parts or not (path.exists() or path.is_symlink()):
                continue
            state = path.lstat()
            regular = path.is_file() and not path.is_symlink()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16] if regular else ""
            owner = (state.st_uid, state.st_gid, state.st_nlink if regular else 0)
            found[str(path)] = f"{digest} {state.st_mode:o} {owner} {state.st_mtime_ns if regular else ''}"
    return found


def quick_budgets() -> None:
    """Let cells that never end and answers that never come be told sooner than in a real class, if that is possible."""
    from cs336lite.grading import client
    from cs336lite.grading.judge import Judge

    names = {field.name for field in dataclasses.fields(client.Budget)}
    wanted = {"load_seconds": 2.0, "submission_seconds": 8.0, "idle_seconds": 2.0}
    budget = client.Budget(**{name: value for name, value in wanted.items() if name in names})
    Judge.BUDGET = budget


def older_kernel(landlock: int) -> None:
    """Let the jails of this run find an older Landlock than the kernel's, or none (0)."""
    from cs336lite.grading.judge import Judge

    layers = [f"Landlock {landlock}" if name == "Landlock" else name for name in Judge.LAYERS]
    Judge.LAYERS = tuple(layers)


def swapping(course: Path, swaps: dict[str, dict]) -> Callable:
    """A progress callback that exchanges files while the class is judged, and again while it is recorded."""
    first = {student: (course / "submitted" / student / NAME / f"{NAME}.ipynb").read_bytes() for student in swaps}

    def exchange(turn: int) -> None:
        for student, second in swaps.items():
            path = course / "submitted" / student / NAME / f"{NAME}.ipynb"
            draft = path.with_suffix(".draft")
            draft.write_bytes(as_bytes(second, course) if turn % 2 == 0 else first[student])
            draft.replace(path)

    def progress(items: Iterable, total: int, what: str) -> Iterator:
        exchange(0)
        for number, item in enumerate(items):
            yield item
            exchange(number + 1)
        exchange(0)

    return progress


def main() -> None:
    from cs336lite.course.paths import CourseError
    from cs336lite.grading import exchange, runner
    from cs336lite.grading.seed import course_seed

    course, output, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    feedback = settings["feedback"]
    swaps = json.loads((course.parent / "swaps.json").read_text())
    api = runner.nbgrader_api(course)
    released = api.generate_assignment(NAME)
    assert released["success"], released
    course_seed(course)
    exchange.guard(course, exchange.of_course(course, runner.course_config(course)))  # closed to others, as by each run
    before = snapshot(course)
    outcome: dict[str, Any] = {"error": ""}
    try:
        how = runner.How(jobs=2, trust=settings["trust"])
        graded = runner.grade_class(course, NAME, how=how, **({"progress": swapping(course, swaps)} if swaps else {}))
        outcome["layers"] = sorted(
            {tuple(g.verdict.provenance.get("layers", ())) for g in graded if not g.verdict.problem}
        )
        outcome["messages"] = {g.label: [c.message for c in g.verdict.checks if not c.passed] for g in graded}
    except CourseError as error:
        outcome["error"] = str(error)
    after = snapshot(course)
    swapped = tuple(str(course / "submitted" / student) for student in swaps)
    differ = sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))
    aside = {"timestamp.txt", "timestamp-unreadable.txt"}  # what cannot be read as a time is put aside, see `put_right`
    changed = [p for p in differ if not (Path(p).name in aside and p.startswith(str(course / "submitted")))]
    outcome["changed"] = [p for p in changed if not (swapped and p.startswith(swapped))]
    outcome |= gradebook_of(course)
    secrets = [(course / ".secret" / "seed").read_text().strip(), 'the result is not twice the number")']
    outcome["leaks"] = leaks(course / "autograded", secrets)
    outcome["autograded"] = {
        student: path.read_text()
        for student in (outcome["scores"] if feedback else swaps)
        if (path := course / "autograded" / student / NAME / f"{NAME}.ipynb").is_file()
    }
    if feedback:
        made = api.generate_feedback(NAME, force=True)
        outcome["error"] = outcome["error"] or (
            "" if made["success"] else f"feedback: {(made.get('error') or made['log'])[-6000:]}"
        )
        pages = sorted((course / "feedback").glob(f"*/{NAME}/{NAME}.html"))
        outcome["pages"] = {page.parents[1].name: page.read_text() for page in pages}
        outcome["leaks"] += leaks(course / "feedback", secrets)
        outcome["formgrader"] = {}
        exporter = formgrader_exporter(api)
        for student in outcome["autograded"]:
            try:
                outcome["formgrader"][student] = formgrader_page(exporter, course, student)
            except Exception as error:  # the instructor would see status 500
                outcome["error"] += f"\nformgrader, {student}: {type(error).__name__}: {error}"
    output.with_suffix(".draft").write_text(json.dumps(outcome))
    output.with_suffix(".draft").replace(output)


def formgrader_exporter(api: Any) -> Any:
    """What makes the formgrader's pages, configured as nbgrader's FormgradeExtension does it."""
    from nbconvert.exporters import HTMLExporter
    from nbgrader.server_extensions.formgrader import handlers
    from traitlets.config import Config

    config = Config(api.config)
    config.HTMLExporter.template_name = "formgrade"
    config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    return HTMLExporter(config=config)


def formgrader_page(exporter: Any, course: Path, student: str) -> str:
    """What the formgrader shows an instructor of a submission."""
    names = "submission_id notebook_id assignment_id student student_id base_url last_name first_name notebook_path"
    resources = dict.fromkeys([*names.split(), "mathjax_url", "keyword_for_next"], "") | {"index": 0, "total": 1}
    path = course / "autograded" / student / NAME / f"{NAME}.ipynb"
    return exporter.from_filename(str(path), resources=resources)[0]


def gradebook_of(course: Path) -> dict[str, Any]:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        submissions = gradebook.assignment_submissions(NAME)
        ungraded = {s.student.id for s in submissions for n in s.notebooks for g in n.grades if g.auto_score is None}
        return {
            "scores": {s.student.id: s.score for s in submissions if s.student.id not in ungraded},
            "max_scores": {s.student.id: s.max_score for s in submissions},
        }


def leaks(folder: Path, secrets: list[str]) -> list[str]:
    """Files below a folder that hold one of the secrets."""
    found = [p for p in folder.rglob("*") if p.is_file()]
    return [str(p.relative_to(folder)) for p in found if any(s in p.read_text(errors="replace") for s in secrets)]


if __name__ == "__main__":
    quick_budgets()
    if (landlock := json.loads(sys.argv[3])["landlock"]) is not None:
        older_kernel(landlock)
    main()
