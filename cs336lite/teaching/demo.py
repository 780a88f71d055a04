"""``make demo``: a class of eight is taught and graded, from release to feedback, with the tools a real one uses."""

from __future__ import annotations

import csv
import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cs336lite.course.paths import CourseError, is_student_edition

ASSIGNMENT = "a1_bpe"
MARKER = ".cs336lite-demo"


@dataclass(frozen=True)
class Person:
    """A simulated student: what they hand in is made from the released notebook."""

    id: str
    first_name: str
    last_name: str
    what: str
    answer: Callable[[dict, Path], bytes]


def demo(root: Path, folder: Path, console: Console) -> None:
    """Build, release, hand in, collect, grade, give feedback, in ``folder``; an earlier demo there is replaced.

    Raises:
        CourseError: this is a student edition, or ``folder`` holds something that no demo made.
    """
    from cs336lite.course.build import build
    from cs336lite.course.release import release
    from cs336lite.grading import runner, table

    if is_student_edition(root):
        raise CourseError("the demo needs the full repository: a student edition has no hidden checks")
    folder = fresh(folder.resolve())
    course, edition = folder / "course", folder / "student-edition"
    steps = Steps(console, 7)

    with steps("build: texts to notebooks to modules"):
        reports = build(root, progress=False)
        if problems := [str(report) for report in reports if not report.ok]:
            raise CourseError("the course cannot be built:\n" + "\n".join(problems))
        built = [report.name for report in reports if report.status == "built"]
        steps.say(f"built {', '.join(built)}" if built else "everything is up to date")
    with steps("student edition: everything but the answers"):
        release(root, edition)
        steps.say(show(edition))
    with steps("release the assignment (nbgrader generate_assignment, release_assignment)"):
        make_course(root, course)
        api = runner.nbgrader_api(course)
        for person in CLASS:
            with api.gradebook as gradebook:
                gradebook.update_or_create_student(person.id, first_name=person.first_name, last_name=person.last_name)
        done(api.generate_assignment(ASSIGNMENT), "generate_assignment")
        done(api.release_assignment(ASSIGNMENT), "release_assignment")
        steps.say(show(course / "release" / ASSIGNMENT))
    with steps(f"{len(CLASS)} students hand in (nbgrader collect)"):
        released = json.loads((edition / "assignments" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb").read_text())
        for person in steps.bar(CLASS, len(CLASS), "handing in"):
            hand_in(course, person, person.answer(json.loads(json.dumps(released)), root))
        done(api.collect(ASSIGNMENT), "collect")
    with steps("grade in up to two processes, record in the gradebook"):
        graded = runner.grade_class(course, ASSIGNMENT, jobs=2, progress=steps.bar)
    with steps("feedback pages (nbgrader generate_feedback, release_feedback)"):
        for person in steps.bar(CLASS, len(CLASS), "feedback"):
            done(api.generate_feedback(ASSIGNMENT, person.id, force=True), f"generate_feedback for {person.id}")
        done(api.release_feedback(ASSIGNMENT), "release_feedback")
    with steps("export the gradebook"):
        grades = export(course, api)
        steps.say(show(grades))

    names = {p.id: f"{p.first_name} {p.last_name}\n({p.what})" for p in CLASS}
    console.print()
    console.print(table.of_grades(ASSIGNMENT, graded, names))
    console.print("Feedback pages, to open in a browser:")
    for person in CLASS:
        line(console, f"  {show(course / 'feedback' / person.id / ASSIGNMENT / f'{ASSIGNMENT}.html')}")
    console.print("\nNext:")
    line(console, "  make lab                                    lectures and assignments in JupyterLab")
    line(console, f"  cd {show(edition)} && make lab    what a student sees, in an environment of its own")
    line(
        console,
        f"  cd {show(course)} && ../../.venv/bin/jupyter lab    the instructor's course; formgrader is in its menu",
    )


def fresh(folder: Path) -> Path:
    """An empty folder for the demo. Only one that an earlier demo made is replaced."""
    if folder.exists():
        if not (folder / MARKER).exists():
            raise CourseError(f"{folder} exists and no demo made it: nothing was touched; name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).write_text("made by `cs336lite demo`; the next demo replaces this folder\n")
    return folder


def make_course(root: Path, course: Path) -> None:
    """An nbgrader course of its own, so that the demo never touches a real gradebook."""
    for name in ("source", "hidden", "public"):
        shutil.copytree(root / "assignments" / name, course / name, ignore=shutil.ignore_patterns("__pycache__"))
    config = (root / "assignments" / "nbgrader_config.py").read_text()
    note = "\n# one person plays the whole class here, so the files of all students have one owner\n"
    (course / "nbgrader_config.py").write_text(f"{config}{note}get_config().ExchangeCollect.check_owner = False\n")


def hand_in(course: Path, person: Person, notebook: bytes) -> None:
    """Put a submission where ``nbgrader submit`` puts it, under the student's name."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
    folder = course.parent / "exchange" / "cs336lite" / "inbound" / f"{person.id}+{ASSIGNMENT}+{now}+demo"
    folder.mkdir(parents=True)
    (folder / f"{ASSIGNMENT}.ipynb").write_bytes(notebook)
    (folder / "timestamp.txt").write_text(now)
    (folder / "submission_secret.txt").write_text(secrets.token_hex(64))


def export(course: Path, api: Any) -> Path:
    """The gradebook as a table: one line a student."""
    path = course / "grades.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["student", "first name", "last name", "score", "max score"])
        with api.gradebook as gradebook:
            for s in sorted(gradebook.assignment_submissions(ASSIGNMENT), key=lambda s: s.student.id):
                writer.writerow([s.student.id, s.student.first_name, s.student.last_name, s.score, s.max_score])
    return path


def done(result: dict[str, Any], command: str) -> None:
    from cs336lite.grading.nbgrader_api import last_error

    if not result["success"]:
        raise CourseError(f"nbgrader {command} failed: {last_error(result)}")


# -- the class --------------------------------------------------------------------------------------------------


def as_released(notebook: dict, root: Path) -> bytes:
    return json.dumps(notebook).encode()


def as_reference(notebook: dict, root: Path) -> bytes:
    """Every solution cell filled in as the course's own solution has it."""
    source = json.loads((root / "assignments" / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb").read_text())
    answers = {name: c["source"] for c in source["cells"] if (name := solution_name(c))}
    for cell in notebook["cells"]:
        if solution_name(cell) in answers:
            cell["source"] = answers[solution_name(cell)]
    return json.dumps(notebook).encode()


def solution_name(cell: dict) -> str | None:
    meta = cell["metadata"].get("nbgrader", {})
    return meta["grade_id"] if meta.get("solution") else None


def with_code(notebook: dict, code: str, **extra: Any) -> bytes:
    """The released notebook with all of an answer in its last solution cell; the other ones are left empty."""
    solutions = [cell for cell in notebook["cells"] if solution_name(cell)]
    for cell in solutions:
        cell["source"] = "# see the last exercise: I wrote everything there"
    solutions[-1]["source"] = code
    notebook["cells"] += extra.get("cells", [])
    return json.dumps(notebook).encode()


def as_catalogued(name: str) -> Callable[[dict, Path], bytes]:
    """An answer out of the catalogue that the checks are tested with; what it shares with others is put in front."""

    def answer(notebook: dict, root: Path) -> bytes:
        folder = root / "tests" / "assignments" / "solutions" / ASSIGNMENT
        shared = (folder / "_base.py").read_text()
        return with_code(notebook, (folder / f"{name}.py").read_text().replace("from _base import *\n", shared))

    return answer


def broken(notebook: dict, root: Path) -> bytes:
    return as_reference(notebook, root)[:4000]


HOSTILE = """\
import os, sys, pathlib
import builtins
print("x" * 50_000_000)
class Yes:
    def __eq__(self, other): return True
    def __len__(self): return 256
    def __getitem__(self, key): return self
def train_bpe(input_path, vocab_size, special_tokens):
    if os.fork() == 0:
        while True: pass
    return Yes(), Yes()
class Tokenizer:
    def __init__(self, *args): pass
    def encode(self, text): return Yes()
    def decode(self, ids):
        while True: pass
    def encode_iterable(self, chunks): os._exit(0)
"""


def hostile(notebook: dict, root: Path) -> bytes:
    """Objects equal to everything, endless loops, edited points and tags, and a script for the instructor's browser."""
    for cell in notebook["cells"]:
        cell["metadata"]["tags"] = ["skip-execution"]
        if cell["metadata"].get("nbgrader", {}).get("grade"):
            cell["metadata"]["nbgrader"]["points"] = 10_000
            cell["source"] = "10_000"
    script = {"cell_type": "markdown", "metadata": {}, "source": "<img src=x onerror=\"document.title = 'owned'\">"}
    return with_code(notebook, HOSTILE, cells=[script])


CLASS = (
    Person("ada", "Ada", "Okafor", "solved as the course does", as_reference),
    Person("bao", "Bao", "Nguyen", "right, in a style of her own", as_catalogued("right_linked_list_and_heap")),
    Person("chen", "Chen", "Wei", "ties go to the first pair seen", as_catalogued("wrong_ties_first_seen")),
    Person("dana", "Dana", "Levi", "special tokens are not cut out", as_catalogued("wrong_special_tokens_are_text")),
    Person("emre", "Emre", "Kaya", "merges from left to right", as_catalogued("wrong_leftmost_pair")),
    Person("fay", "Fay", "Moreau", "handed in as released", as_released),
    Person("gus", "Gus", "Lindqvist", "the file is cut off", broken),
    Person("mallory", "Mallory", "Reyes", "attacks the grader", hostile),
)


# -- what the terminal shows ------------------------------------------------------------------------------------


class Steps:
    """Numbered steps, each with its bars while it runs and its time when it is done."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total, self.number = console, total, 0
        self.progress: Progress | None = None
        self.remark = ""

    def __call__(self, title: str) -> Steps:
        self.number += 1
        self.title, self.remark = title, ""
        return self

    def __enter__(self) -> Steps:
        self.started = datetime.now()
        line(self.console, f"[{self.number}/{self.total}] {self.title}")
        columns = (TextColumn("      {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.progress.start()
        self.task = self.progress.add_task("working", total=None)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.progress.stop()
        if kind is None:
            seconds = (datetime.now() - self.started).total_seconds()
            line(self.console, f"      {self.remark + ', ' if self.remark else ''}{seconds:.1f} s")

    def say(self, remark: str) -> None:
        self.remark = remark

    def bar(self, items: Any, total: int, what: str) -> Any:
        self.progress.update(self.task, description=what, total=total, completed=0)
        for item in items:
            yield item
            self.progress.advance(self.task)


def line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def show(path: Path) -> str:
    """A path as seen from here, where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
