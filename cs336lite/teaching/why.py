"""``cs336lite why``: run a submission's checks once more, and show what was asked, what came and where it went wrong.

For the instructor alone: it shows hidden inputs. The submission runs in the jail as in grading, nothing is recorded, and
whatever it says is shown as text.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cs336lite.course.border import lines, plain
from cs336lite.course.paths import CourseError
from cs336lite.grading.items import file_item, item_of
from cs336lite.grading.judge import Judge
from cs336lite.grading.limited import Exceeded, Failed, Limited, Limits, Lost
from cs336lite.grading.mistaken import Assignments
from cs336lite.grading.pools import TOLD, Item
from cs336lite.grading.structure import StructureCell, structure_of_gradebook, structure_of_source
from cs336lite.grading.submission import Submission
from cs336lite.teaching.classbook import number, open_gradebook, read_class

LIMITS = Limits(step_seconds=30, call_seconds=120)
MOST_EXCEEDED = 3  # checks whose answers take the looking process beyond its limits


@dataclass(frozen=True)
class Why:
    """What was seen of the checks that failed, or of those that were asked for. ``checks`` are the notes of `looking`."""

    assignment: str
    label: str
    submission: Submission
    checks: tuple[dict[str, Any], ...]
    shown: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()
    named: bool = False  # whether somebody asked for these checks: then more is shown of each

    @property
    def score(self) -> float:
        return sum(check["points"] for check in self.checks)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.submission.problem:
            yield Text(
                f"{self.assignment} · {self.label}: nothing could be run: {plain(self.submission.problem)}", "bold"
            )
            return
        failed = [check for check in self.checks if not check["passed"]]
        most = sum(check["max_points"] for check in self.checks)
        yield Text(
            f"{self.assignment} · {self.label}: {number(self.score)} / {number(most)}, "
            f"{len(failed)} of {len(self.checks)} checks fail",
            "bold",
        )
        for note in self.notes:
            yield Text(plain(note))
        for story in next((check["cells"] for check in self.shown if check["cells"]), []):
            yield Text("\n".join(["\nwhile the cells were run", *(f"  {line}" for line in self.story(story))]))
        for check in self.shown:
            yield from self.one(check)
        if self.shown:
            yield Text(
                "\nFor you alone: hidden inputs are shown here. Student code and its texts are as the student wrote them."
            )

    def one(self, check: dict[str, Any]) -> Iterator[Any]:
        mark, style = ("✓", "bold green") if check["passed"] else ("✗", "bold red")
        worth = f"{number(check['points'])} / {number(check['max_points'])}"
        yield Text(f"\n{mark} {check['id']} ({worth}): {check['title']}", style)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for about, what in self.told(check):
            grid.add_row(about, Text(lines(what, 200)))
        yield Padding(grid, (0, 0, 0, 2))

    def told(self, check: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Lines of a check: what each is about, and what it says."""
        if check["message"]:
            yield "told", check["message"]
        if check["stumbled"]:
            yield "stumbled", f"{check['stumbled']}\nthis was raised by the check itself, not by the student's code"
        calls = check["calls"] if self.named else check["calls"][-1:]
        if check["asked"] > len(calls) and calls:
            last = f"the last {len(calls)}" if len(calls) > 1 else "the last"
            yield "", f"({last} of {check['asked']} questions)"
        for call in calls:
            args = [f"{name} = {value}" if name else value for name, value in call["args"]]
            yield "asked", "\n".join([f"{call['driver']} ({place(call)})", *map(indented, args)])
            if call["error"]:
                told = call["error"] if call["error"] != check["message"] else ""
                yield "raised", "\n".join([*self.story(call["story"]), *filter(None, [told])]) or call["error"]
            else:
                yield "came", call["came"]
        where = check["where"]
        if where:
            yield "failed at", f"{place(where)}\n{indented(where['source'])}"
            for name, value in where["values"]:
                yield "", f"{name} = {indented(value, '  ').lstrip()}"
            if where["compared"]:
                came, expected, apart = where["compared"]
                yield "compared", "the last two values that did not agree:"
                yield "", f"  {indented(came).lstrip()}\n  {indented(expected).lstrip()}"
                yield "", apart
            elif where["difference"]:
                yield "", where["difference"]

    def story(self, told: Any) -> list[str]:
        """An exception as the student's process told it, with the lines of the student's code that it came by."""
        if not isinstance(told, dict) or not isinstance(told.get("kind"), str) or not isinstance(told.get("text"), str):
            return []
        if told["kind"] == "MissingName":  # the worker's own
            return []
        found = [f"{plain(told['kind'], 100)}: {lines(told['text'][:2000], 300, 6)}".rstrip(": ")]
        trace = told.get("trace")
        cells = dict(self.submission.cells)
        for step in trace[-12:] if isinstance(trace, list) else []:
            if not isinstance(step, list) or [type(x) for x in step] != [str, int, str]:
                continue
            file, line, function = step
            if file.startswith("<cell ") and file[6:-1] in cells:
                rows = cells[file[6:-1]].split("\n")
                source = plain(rows[line - 1], 120) if 0 < line <= len(rows) else ""
                cell = f"cell {file[6:-1]}, " if file[6:-1] else ""
                found.append(f"  {cell}line {line}, in {plain(function, 60)}: {source}")
            elif file == "<driver>":
                found.append(f"  the check's question, in {plain(function, 60)}")
            elif not file.endswith(("/worker.py", "/child.py", "/cells.py")):
                found.append(f"  {plain(Path(file).name, 60)}, line {line}, in {plain(function, 60)}")
        return found


def place(told: dict[str, Any]) -> str:
    return f"hidden/{plain(told['file'], 100)}, line {told['line']}"


def indented(text: str, by: str = "  ") -> str:
    return "\n".join(by + line for line in text.split("\n"))


def why(course: Path, assignment: str, target: str, wanted: Iterable[str] = (), *, trust: bool = False) -> Why:
    """Run the checks on a student's submission (or a file's) and keep what failed, or the checks named in ``wanted``.

    Raises:
        CourseError: there is no such student, file or check, or nothing could be run through no fault of the code.
    """
    label, item = submission_of(course, assignment, target)
    if item.failure is not None:
        raise CourseError(f"{label}: {item.failure}")
    submission = item.submission
    if submission.problem:
        return Why(assignment, label, submission, (), ())
    with Judge(course, assignment, trust=trust) as judge:
        kept = judge.kept(submission)
        checks, names = run(judge, submission, list(wanted))
    shown = [c for c in checks if (c["id"] in names if names else not c["passed"])]
    notes = list(submission.notes)
    if kept is not None:
        now = {check["id"]: check["passed"] for check in checks}
        if other := [c.id for c in kept.checks if now.get(c.id, c.passed) != c.passed]:
            notes.append(f"otherwise than when it was graded: {', '.join(other)}")
    return Why(assignment, label, submission, tuple(checks), tuple(shown), tuple(notes), bool(names))


def run(judge: Judge, submission: Submission, wanted: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Notes on all checks, and the ids of those that are wanted."""
    cells = [list(cell) for cell in submission.cells]
    done: list[dict[str, Any]] = []
    ids: list[str] = []
    exceeded = 0
    while True:
        with Limited(LIMITS) as process:
            try:
                layers, budget = list(judge.layers), asdict(judge.budget)
                here = "cs336lite.teaching.looking"
                opening = judge.source, judge.seed, judge.trust, layers, budget
                about = process.call(f"{here}:open_bench", str(judge.source_path), *opening, bounded=False)
                ids = named(wanted, about)
                process.begin(f"{here}:look", cells, submission.name, len(done), ids)
                if finish(process, done):
                    return done, ids
            except Exceeded as limit:
                exceeded += 1
                if len(done) == len(about) or exceeded > MOST_EXCEEDED:
                    return done, ids
                check = about[len(done)]
                message = f"the answer could not be judged: {TOLD[limit.what]}"
                nothing = {"calls": [], "asked": 0, "where": {}, "stumbled": "", "cells": []}
                points = {"points": 0.0, "max_points": check["points"], "passed": False, "message": message}
                done.append({**check, **points, **nothing})
                if len(done) == len(about):
                    return done, ids
            except (Lost, Failed) as error:
                raise CourseError(f"the checks could not be run: {plain(error)}") from None


def finish(process: Limited, done: list[dict[str, Any]]) -> bool:
    """Take notes until there are no more. Raises Exceeded, Lost, Failed and CourseError."""
    while True:
        while not process.connection.poll(Limited.PAUSE):
            process.look()
        kind, value = process.receive()
        if kind == "value":
            return True
        if "seen" in value:
            done.append(value["seen"])


def named(wanted: list[str], about: list[dict[str, Any]]) -> list[str]:
    """The ids of checks that somebody named: by id, by its last part, or all of an exercise. Raises CourseError."""
    found = []
    for name in wanted:
        exact = [c["id"] for c in about if name in (c["id"], c["id"].partition(".")[2], c["exercise"])]
        some = exact or [c["id"] for c in about if name.lower() in c["id"].lower()]
        if not some:
            close = difflib.get_close_matches(name, [c["id"] for c in about], 3, 0.4)
            there = close or [c["id"] for c in about]
            raise CourseError(f"there is no check {plain(name)!r}; there are: {', '.join(there)}")
        found += some
    return list(dict.fromkeys(found))


def submission_of(course: Path, assignment: str, target: str) -> tuple[str, Item]:
    """The submission of a student or in a file, and what to call it. Raises CourseError."""
    path = Path(target)
    if path.suffix or path.is_file():
        if not path.is_file():
            raise CourseError(f"no such file: {plain(target)}")
        source = course / "source" / assignment / f"{assignment}.ipynb"
        structure = structure_of_source(source) if source.exists() else []
        return plain(path), file_item(0, path.resolve(), assignment, structure, Assignments(course))
    student, label = student_of(course, assignment, target)
    return label, item_of(course / "submitted" / student / assignment, assignment, structure_of(course, assignment))


def student_of(course: Path, assignment: str, target: str) -> tuple[str, str]:
    """The id of a student who handed in, and how to call them; ``target`` is the id or the name. Raises CourseError."""
    there = sorted(path.parent.name for path in (course / "submitted").glob(f"*/{assignment}") if path.is_dir())
    try:
        rows = read_class(course, assignment).rows
    except CourseError:
        rows = ()
    names, known = {row.student: row.label for row in rows}, {row.student: row.name for row in rows}
    if target in there:
        return target, names.get(target, plain(target))
    same = [s for s in there if known.get(s) and target.casefold() in (known[s].casefold(), s.casefold())]
    if len(same) == 1:
        return same[0], names[same[0]]
    if target in known:
        raise CourseError(
            f"{names[target]} handed in nothing for {assignment}: submitted/{plain(target)}/ has no {assignment}/"
        )
    close = difflib.get_close_matches(target, [*there, *known.values()], 3, 0.5)
    meant = f"; did you mean {' or '.join(map(plain, close))}?" if close else ""
    raise CourseError(f"there is no student {plain(target)!r} who handed in {assignment}{meant}")


def structure_of(course: Path, assignment: str) -> list[StructureCell]:
    """The structure that was released; that of the source where the gradebook has none."""
    from nbgrader.api import MissingEntry

    try:
        with open_gradebook(course) as gradebook:
            return structure_of_gradebook(gradebook, assignment, assignment, course)
    except (CourseError, MissingEntry):
        source = course / "source" / assignment / f"{assignment}.ipynb"
        return structure_of_source(source) if source.exists() else []
