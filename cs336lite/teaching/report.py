"""``cs336lite report``: an assignment on one page, as a table of numbers, or the history of one student.

Nothing is judged and nothing is recorded: a report reads the gradebook and the verdicts that are kept.
"""

from __future__ import annotations

import csv
import io
import itertools
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError, write_atomic
from cs336lite.grading.excused import read_excused
from cs336lite.grading.verdicts import Verdict
from cs336lite.teaching import history
from cs336lite.teaching.classbook import Classbook, number, read_class
from cs336lite.teaching.history import Change, Moment, why
from cs336lite.teaching.summary import Rate, Summary, local_time, rates


@dataclass(frozen=True)
class Report:
    """What is known of an assignment: the class, the last verdict on each student, and every change of a grade."""

    book: Classbook
    verdicts: dict[str, Verdict]
    moments: dict[str, list[Moment]]

    @property
    def rates(self) -> list[Rate]:
        return rates(self.verdicts.values())

    @property
    def changes(self) -> list[tuple[str, Change]]:
        """``(when, change)`` of all grades that became others, the latest first."""
        found = []
        for student, moments in self.moments.items():
            for old, new in itertools.pairwise(moments):
                if old.total != new.total:
                    found.append((new.when, Change(student, old.total, new.total, why(old, new))))
        return sorted(found, key=lambda one: (one[0], one[1].student), reverse=True)

    def summary(self) -> Summary:
        return Summary(self.book, self.verdicts, rates=self.rates, verbose=False)


def report(course: Path, assignment: str) -> Report:
    """Read all that there is. Raises CourseError."""
    book, moments = read_class(course, assignment), history.read(course, assignment)
    verdicts, excused = {}, read_excused(course, assignment)
    for row in book.graded:
        if row.student in moments:
            verdict = history.verdict_of(course, assignment, moments[row.student][-1])
            if verdict is not None:
                verdicts[row.student] = excused.apply(verdict)
    return Report(book, verdicts, moments)


# -- a table of numbers ---------------------------------------------------------------------------------------------


def as_csv(found: Report) -> str:
    """One row a student: for each exercise what the checks gave and what a person gave, then penalty and total."""
    book, file = found.book, io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = ["student", "first and last name", "email", "state", "handed in", "days late"]
    for exercise in book.exercises:
        columns += [f"{exercise} (checks)", f"{exercise} (by hand)", f"{exercise} (of)"]
    writer.writerow([*columns, "checks", "by hand", "penalty", "total", "of"])
    for row in book.rows:
        state = "graded" if row.graded else "not graded" if row.handed_in else "missing"
        state = "needs manual grade" if row.needs_person else state
        cells = [row.student, row.name, row.email, state, row.timestamp, number(row.late / 86400) if row.graded else ""]
        for exercise, most in book.exercises.items():
            points = row.exercises.get(exercise)
            there = points is not None
            cells += [number(points.auto) if there else ""]
            cells += [number(points.score) if there and points.by_hand else "", number(most)]
        sums = (row.auto, row.by_hand, row.penalty, row.total)
        cells += [number(x) for x in sums] if row.graded else [""] * 4
        writer.writerow([*map(harmless, cells), number(book.max_score)])
    return file.getvalue()


def harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    cell = plain(cell)
    return f"'{cell}" if cell[:1] in tuple("=+-@") and not is_number(cell) else cell


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def write(path: Path, text: str | bytes) -> None:
    """Write a file for its owner alone: it holds names and grades. Raises CourseError where that cannot be."""
    try:
        write_atomic(path, text, mode=0o600)
    except OSError as error:
        raise CourseError(f"{path} cannot be written: {error.strerror}") from None


def write_all(course: Path, assignment: str, html: Path | None, csv_file: Path | None) -> list[RenderableType]:
    """Write what is asked for; what to say of it: without files, the summary. Raises CourseError."""
    found = report(course, assignment)
    said: list[RenderableType] = []
    if csv_file is not None:
        write(csv_file, "\ufeff" + as_csv(found))  # so that a spreadsheet reads it as UTF-8
        said.append(f"{csv_file}: {len(found.book.rows)} students")
    if html is not None:
        from cs336lite.teaching.page import as_html

        write(html, as_html(found, course, html))
        said.append(f"{html}: one page, which holds names and grades")
    return said or [found.summary()]


# -- one student ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Past:
    """Every version of a student's work that was judged, and what it got."""

    label: str
    assignment: str
    moments: tuple[Moment, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        best = max(self.moments, key=lambda one: one.total)
        yield Text(
            f"{self.assignment} · {self.label}: judged {len(self.moments)} times, "
            f"now {number(self.moments[-1].total)}, at best {number(best.total)} of {number(best.max_score)}",
            "bold",
        )
        table = Table(box=box.SIMPLE_HEAD)
        wide = options.max_width >= 100
        for column in ("judged", *(["handed in"] if wide else []), "score"):
            table.add_column(column, no_wrap=True)
        table.add_column("what is different", overflow="fold")
        table.add_column("verdict", no_wrap=True)
        before = None
        for one in self.moments:
            made = f"{number(one.total)} / {number(one.max_score)}"
            came = [one.timestamp[:16]] if wide else []
            cells = (local_time(one.when), *came, made, differs(before, one), one.verdict[:8])
            table.add_row(*(Text(plain(cell)) for cell in cells))
            before = one
        yield table
        folder = f"verdicts/{self.assignment}"
        yield Text(
            f"verdicts lie in {folder}/, by the beginning of their name; each holds the code that was judged", "dim"
        )


def differs(old: Moment | None, new: Moment) -> str:
    """Why a moment is noted, and which checks turned out otherwise."""
    if old is None:
        count = len(new.failed)
        return new.problem or (f"{count} checks fail: {listed(new.failed)}" if count else "all checks pass")
    said = list(why(old, new)) if old.total != new.total or old.submission != new.submission else []
    mended = [i for i in old.failed if i not in new.failed]
    broken = [i for i in new.failed if i not in old.failed]
    said += [f"passes now: {listed(mended)}"] if mended else []
    said += [f"fails now: {listed(broken)}"] if broken else []
    return "; ".join(said) or "judged anew, the same result"


def listed(ids: list[str] | dict[str, float], most: int = 4) -> str:
    names = [plain(i, 60) for i in ids]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def past(course: Path, assignment: str, student: str) -> Past:
    """The history of a student, by id or by name. Raises CourseError when there is none."""
    found = report(course, assignment)
    names = {row.student: row.name for row in found.book.rows}
    same = [s for s, name in names.items() if student.casefold() in (s.casefold(), name.casefold())]
    student = same[0] if len(same) == 1 else student
    moments = found.moments.get(student)
    if not moments:
        there = "handed in something that was never graded here" if student in names else "is on no roster"
        raise CourseError(f"there is no history of {plain(student)} in {assignment}: that student {there}")
    return Past(found.book.names.get(student, plain(student)), assignment, tuple(moments))
