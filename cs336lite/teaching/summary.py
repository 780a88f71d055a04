"""What a person wants to know after a run: who handed in, how it went, what failed most, whose grade changed and why."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError
from cs336lite.course.spec import TOGETHER
from cs336lite.grading.runner import Graded
from cs336lite.grading.table import Lines, excused_of, stumbled_of, warning_of
from cs336lite.grading.verdicts import Verdict
from cs336lite.teaching import history
from cs336lite.teaching.classbook import Classbook, Row, count, duration, number, read_class
from cs336lite.teaching.history import Change

SMALL_CLASS = 25  # students who are listed without being asked for
NAMED = 8  # students in a line of the summary
FAILS = 8  # checks that fail most


@dataclass(frozen=True)
class Rate:
    """How often a check failed, and what it said most often."""

    id: str
    exercise: str
    title: str
    points: float
    failed: int
    of: int
    message: str = ""


@dataclass(frozen=True)
class Summary:
    """A class after a run. ``verdicts`` are those of the run, by student; ``notes`` what else there is to know."""

    book: Classbook
    verdicts: dict[str, Verdict]
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    verbose: bool = False
    since: str = ""  # when the run before was
    rates: list[Rate] = field(default_factory=list)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bar = "█" if options.encoding.lower().startswith("utf") else "#"
        yield Text(headline(self.book), "bold")
        yield from rows_of(list(self.said(bar)))
        graded = [row for row in self.book.graded if row.student in self.verdicts or self.verbose]
        if graded and (self.verbose or len(graded) <= SMALL_CLASS):
            yield students(graded, self.verdicts)
        elif graded:
            name = self.book.assignment
            yield Text(f"all students: --verbose, or `cs336lite report {name} --html FILE`, `--csv FILE`", "dim")
        for note in self.notes:
            yield Text(note, "bold")
        for problem in self.problems:
            yield Text(problem, "bold red")

    def said(self, bar: str) -> Iterator[tuple[str, RenderableType]]:
        """The lines of the summary: what each is about, and what it says."""
        book, most = self.book, 10**6 if self.verbose else NAMED
        unread = [row for row in book.graded if row.student in self.verdicts and self.verdicts[row.student].problem]
        if book.missing:
            yield f"nothing from {len(book.missing)}", some([row.label for row in book.missing], most)
        if book.late:
            fines = (f" (−{number(row.penalty)})" if row.penalty else "" for row in book.late)
            late = [f"{row.label} {duration(row.late)}{fine}" for row, fine in zip(book.late, fines)]
            yield f"late {len(late)}", some(late, most)
        if unread:
            told = [f"{row.label}: {self.verdicts[row.student].problem}" for row in unread]
            yield f"not readable {len(unread)}", some(told, most, "; ")
        if by_hand := [row.label for row in book.graded if row.needs_person]:
            yield f"to grade by hand {len(by_hand)}", some(by_hand, most)
        if unknown := [row.label for row in book.graded if row.known and not row.name and has_names(book)]:
            yield f"without a name {len(unknown)}", some(unknown, most)
        if book.ungraded:
            yield f"not graded {len(book.ungraded)}", some([row.label for row in book.ungraded], most)
        if any(counts := book.histogram()):
            yield "scores", Text("\n".join(histogram(counts, book.max_score, bar)))
        failing = [rate for rate in self.rates if rate.failed]
        if failing:
            shown = failing if self.verbose else failing[:FAILS]
            most_failed = "\n".join(f"{r.failed:>3} of {r.of}  {r.id}: {r.title}" for r in shown)
            yield "fails most", Text(most_failed, no_wrap=True, overflow="ellipsis")
        if self.changes:
            names = book.names
            lines = [
                f"{names.get(c.student, plain(c.student))}: {number(c.old)} → {number(c.new)}, {', '.join(c.reasons)}"
                for c in self.changes[:most]
            ]
            rest = [f"and {len(self.changes) - most} more"] if len(self.changes) > most else []
            yield f"changed {len(self.changes)}", Text("\n".join([*lines, *rest]))
        elif self.since:
            yield "changed 0", Text(f"no grade since {self.since}")


def after_run(course: Path, assignment: str, graded: list[Graded], *, verbose: bool = False) -> Summary:
    """The summary of a run that graded these, which is noted in the history. Raises CourseError."""
    book = read_class(course, assignment)
    rows = {row.student: row for row in book.rows}
    there = [g for g in graded if g.label in rows and rows[g.label].graded]
    verdicts = {g.label: g.verdict for g in there}
    problems = [said for said in (warning_of(graded), stumbled_of(assignment, graded, book.names)) if said]
    changes, since = [], ""
    try:
        since = max((m.when for moments in history.read(course, assignment).values() for m in moments[-1:]), default="")
        moments = (history.moment(rows[g.label], g.verdict, g.submission, g.kept) for g in there)
        changes = history.note(course, assignment, moments)
    except CourseError as error:
        problems.append(str(error))
    names = book.names
    notes = [f"{names.get(g.label, plain(g.label))}: {g.note}" for g in graded if g.note]
    if len(notes) > NAMED and not verbose:
        notes = [*notes[:NAMED], f"and {count(len(notes) - NAMED, 'note')} more of this kind (--verbose shows them)"]
    notes += [said] if (said := excused_of(graded)) else []
    return Summary(
        book,
        verdicts,
        tuple(sorted(changes, key=lambda c: (c.new - c.old, c.student))),
        tuple(notes),
        tuple(problems),
        verbose,
        local_time(since),
        rates(verdicts.values()),
    )


def rates(verdicts: Iterable[Verdict]) -> list[Rate]:
    """How often each check failed, the most frequent first; submissions that could not be read are not counted."""
    about, failed, of = {}, Counter(), Counter()
    said: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        if verdict.problem:
            continue
        for check in verdict.checks:
            about[check.id] = check
            of[check.id] += 1
            if not check.passed:
                failed[check.id] += 1
                said.setdefault(check.id, Counter())[check.message] += 1
    found = [
        Rate(
            c.id, c.exercise, c.title, c.max_points, failed[i], of[i], said[i].most_common(1)[0][0] if i in said else ""
        )
        for i, c in about.items()
    ]
    return sorted(found, key=lambda rate: (-rate.failed, rate.title.startswith(TOGETHER)))


def local_time(when: str) -> str:
    """A time of the history as the clock on the wall has it, to the minute; empty for none."""
    try:
        seconds = time.mktime(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (ValueError, OverflowError):
        return ""


def headline(book: Classbook) -> str:
    handed_in = len(book.rows) - len(book.missing)
    said = f"{book.assignment}: {handed_in} of {len(book.rows)} handed in"
    if stats := book.statistics():
        said += f"; mean {stats['mean']:.1f}, median {number(stats['median'])}, spread {stats['spread']:.1f}"
        said += f" of {number(book.max_score)}"
    return said


def has_names(book: Classbook) -> bool:
    return any(row.name for row in book.rows)


def some(items: list[str], most: int, between: str = ", ") -> Text:
    rest = f" and {len(items) - most} more" if len(items) > most else ""
    return Text(between.join(map(plain, items[:most])) + rest)


def histogram(counts: list[int], max_score: float, bar: str, width: int = 30) -> Iterator[str]:
    """One line for each tenth of the points, from the first that somebody has: how many have so many."""
    step, most = max_score / len(counts), max(counts)
    first = next(i for i, amount in enumerate(counts) if amount)
    for i, amount in enumerate(counts[first:], first):
        to = number(max_score) if i == len(counts) - 1 else f"<{number(step * (i + 1))}"
        length = max(1, round(amount / most * width)) if amount else 0
        yield f"{number(step * i):>4} to {to:<5} {bar * length} {amount or ''}".rstrip()


def rows_of(said: list[tuple[str, RenderableType]]) -> Iterator[RenderableType]:
    if said:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for about, what in said:
            grid.add_row(Text(f"  {about}"), what)
        yield grid


def students(rows: list[Row], verdicts: dict[str, Verdict]) -> RenderableType:
    """A line a student: what counts, of what it is made where that is not the checks alone, and the first message."""
    hand, fine = any(row.by_hand for row in rows), any(row.penalty for row in rows)
    columns = ("checks",) * (hand or fine) + ("by hand",) * hand + ("late",) * fine
    lines = []
    for row in rows:
        made = [number(row.auto)] if hand or fine else []
        made += [f"{row.by_hand:+g}" if row.by_hand else ""] if hand else []
        made += [f"−{number(row.penalty)}" if row.penalty else ""] if fine else []
        whole = row.total >= row.max_score
        score = Text(f"{number(row.total)} / {number(row.max_score)}", "green" if whole else "")
        verdict = verdicts.get(row.student)
        lines.append((row.label, (*map(Text, made), score), verdict.first_message if verdict else ""))
    return Group(Text(""), Lines(("student", *columns, "score"), lines))
