"""Grades into the files that Canvas and Moodle take back, and feedback pages into the archive that Moodle takes."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError
from cs336lite.teaching.classbook import Classbook, Row, count, number, read_class
from cs336lite.teaching.report import write
from cs336lite.teaching.tables import Matcher, Sheet, read_sheet, slug, write_sheet

CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Integration ID", "Root Account", "Section")
MOODLE = ("Identifier", "Grade")


@dataclass(frozen=True)
class Filled:
    """A table with grades: what was filled in, and who was not found on either side."""

    sheet: Sheet
    filled: int
    empty: tuple[str, ...]  # rows of students who have no grade
    strangers: tuple[str, ...]  # rows that are nobody of the class
    absent: tuple[str, ...]  # graded students without a row
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What to say, a line for each thing."""
        found = [f"{count(self.filled, 'grade')} filled in", *self.notes]
        for about, who in (
            ("left empty, for nothing is graded", self.empty),
            ("in the file, and nobody of the class", self.strangers),
            ("graded, and not in the file", self.absent),
        ):
            if who:
                found.append(f"{about} ({len(who)}): {', '.join(map(plain, who))}")
        return found


def scaled(row: Row, possible: float | None) -> float:
    if possible is None or not row.max_score or possible == row.max_score:
        return row.total
    return row.total / row.max_score * possible


def scale_note(book: Classbook, possible: float | None) -> list[str]:
    if possible is None or possible == book.max_score:
        return []
    return [f"the platform gives {number(possible)} points, the course {number(book.max_score)}: grades were scaled"]


def as_number(text: str) -> float | None:
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        return None


# -- Canvas ---------------------------------------------------------------------------------------------------------


def fill_canvas(book: Classbook, sheet: Sheet, column: str | None = None) -> Filled:
    """Canvas's exported gradebook with one assignment's column filled in, the others left out.

    Raises CourseError where the file is none, or no column is that of the assignment.
    """
    student = sheet.find("Student")
    if student is None or sheet.find("Section") is None:
        raise CourseError(
            f"{plain(sheet.path)} is no gradebook of Canvas: it has no columns `Student` and `Section`. In Canvas: Grades, Export"
        )
    fixed = [i for i, name in enumerate(sheet.columns) if name.strip() in CANVAS]
    possible_row = next((r for r in sheet.rows if r[student].strip().startswith("Points Possible")), None)
    if possible_row is None:
        raise CourseError(
            f"{plain(sheet.path)} has no row `Points Possible`: export the gradebook from Canvas once more"
        )
    writable = [
        i for i in range(len(sheet.columns)) if i not in fixed and "read only" not in possible_row[i].casefold()
    ]
    place, notes = canvas_column(book.assignment, sheet, writable, column), []
    if place is None:
        sheet = replace(sheet, columns=[*sheet.columns, book.assignment], rows=[[*row, ""] for row in sheet.rows])
        possible_row = next(r for r in sheet.rows if r[student].strip().startswith("Points Possible"))
        place = len(sheet.columns) - 1
        possible_row[place] = number(book.max_score)
        notes.append(f"no assignment is in the file: the column {book.assignment} is new, and Canvas asks about it")
    possible = as_number(possible_row[place])
    notes += [f"column: {plain(sheet.columns[place])}", *scale_note(book, possible)]
    matcher, filled, empty, strangers = Matcher(book.rows), 0, [], []
    rows = []
    for row in sheet.rows:
        new = [row[i] for i in (*fixed, place)]
        rows.append(new)
        about = row[student].strip()
        is_test = about.casefold() in ("student, test", "test student")
        if not any(sheet.cell(row, name) for name in ("ID", "SIS User ID", "SIS Login ID")) or is_test:
            continue  # no student: points possible, how grades are posted
        ids = [sheet.cell(row, "SIS Login ID"), sheet.cell(row, "SIS User ID")]
        found = matcher.find(ids=filter(None, ids), lms=sheet.cell(row, "ID"), name=about)
        if found is None:
            strangers.append(about)
        elif not found.graded:
            empty.append(found.label)
            new[-1] = ""
        else:
            new[-1], filled = number(scaled(found, possible)), filled + 1
    out = replace(sheet, columns=[sheet.columns[i] for i in (*fixed, place)], rows=rows)
    return Filled(out, filled, tuple(empty), tuple(strangers), absent(book, matcher), tuple(notes))


def canvas_column(assignment: str, sheet: Sheet, writable: list[int], wanted: str | None) -> int | None:
    """The place of the assignment's column; None where the file has no assignment at all. Raises CourseError."""
    titles = {i: re.sub(r"\s*\(\d+\)\s*$", "", sheet.columns[i]).strip() for i in writable}
    if wanted is not None:
        found = [i for i in writable if wanted in (sheet.columns[i].strip(), titles[i])]
        found = found or [i for i in writable if re.search(rf"\({re.escape(wanted)}\)\s*$", sheet.columns[i])]
    else:
        if not writable:
            return None
        short = slug(assignment.partition("_")[0])
        found = [i for i in writable if slug(titles[i]) == slug(assignment)]
        found = found or [i for i in writable if slug(assignment) in slug(titles[i])]
        found = found or [i for i in writable if re.match(rf"{short}\b", titles[i].casefold())]
    if len(found) != 1:
        known = ", ".join(plain(sheet.columns[i], 80) for i in writable)
        many = "several columns" if found else "no column"
        raise CourseError(
            f"{many} of {plain(sheet.path)} can be that of {plain(wanted or assignment)}: name it with --column; there are: {known}"
        )
    return found[0]


def absent(book: Classbook, matcher: Matcher) -> tuple[str, ...]:
    return tuple(row.label for row in book.graded if row.student not in matcher.used)


# -- Moodle ---------------------------------------------------------------------------------------------------------


def fill_moodle(book: Classbook, sheet: Sheet) -> tuple[Filled, dict[str, tuple[str, str]]]:
    """Moodle's grading worksheet with grades and comments, and each student's participant: ``(number, full name)``.

    Raises CourseError where the file is none.
    """
    identifier, grade = (sheet.find(name) for name in MOODLE)
    if identifier is None or grade is None:
        raise CourseError(
            f"{plain(sheet.path)} is no grading worksheet of Moodle: it has no columns `Identifier` and `Grade`. In the "
            "assignment's settings allow the offline grading worksheet, then: View all submissions, Download grading "
            "worksheet, with Moodle in English"
        )
    comments, changeable = sheet.find("Feedback comments"), sheet.find("Grade can be changed")
    matcher, filled, empty, strangers, shut, notes = Matcher(book.rows), 0, [], [], [], []
    people: dict[str, tuple[str, str]] = {}
    rows = [list(row) for row in sheet.rows]
    for row in rows:
        name, email = sheet.cell(row, "Full name"), sheet.cell(row, "Email address")
        ids = [sheet.cell(row, "Username"), sheet.cell(row, "ID number")]
        found = matcher.find(ids=filter(None, ids), email=email, name=name)
        digits = re.search(r"\d+", row[identifier])
        if found is None:
            strangers.append(name or row[identifier])
            continue
        if digits:
            people[found.student] = digits[0], name or found.name or found.student
        if not found.graded:
            empty.append(found.label)
        elif changeable is not None and row[changeable].strip().casefold() == "no":
            shut.append(found.label)
        else:
            most = sheet.cell(row, "Maximum grade")
            value = number(scaled(found, as_number(most)))
            row[grade] = value.replace(".", ",") if "," in most else value
            notes = notes or scale_note(book, as_number(most))
            if comments is not None:
                row[comments] = comment(found)
            filled += 1
    notes += [f"locked in Moodle, and left ({len(shut)}): {', '.join(shut)}"] if shut else []
    out = replace(sheet, rows=rows)
    return Filled(out, filled, tuple(empty), tuple(strangers), absent(book, matcher), tuple(notes)), people


def comment(row: Row) -> str:
    """A line on how a grade is made."""
    parts = [f"{name} {number(p.score)} / {number(p.max_score)}" for name, p in row.exercises.items()]
    late = f"; late penalty {number(row.penalty)}" if row.penalty else ""
    return f"{', '.join(parts)}{late}"


def feedback_zip(course: Path, assignment: str, people: dict[str, tuple[str, str]]) -> tuple[bytes, int]:
    """Feedback pages in the form of Moodle's own downloads: to upload as feedback files in a zip; and how many."""
    file, pages = io.BytesIO(), 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for student, (participant, name) in sorted(people.items()):
            page = course / "feedback" / student / assignment / f"{assignment}.html"
            if page.is_file() and not page.is_symlink():
                person = re.sub(r"[^\w .'-]|_", " ", plain(name, 100)).strip() or "student"
                archive.writestr(f"{person}_{participant}_assignsubmission_file_/{assignment}.html", page.read_bytes())
                pages += 1
    return file.getvalue(), pages


# -- the command ----------------------------------------------------------------------------------------------------


def export(
    course: Path,
    assignment: str,
    canvas: Path | None,
    moodle: Path | None,
    out: Path,
    column: str | None = None,
    feedback: Path | None = None,
) -> list[str]:
    """Write grades in a platform's own file; what to say of it. Raises CourseError."""
    if (canvas is None) == (moodle is None):
        raise CourseError("name the file that the platform gave: --canvas GRADEBOOK.csv or --moodle WORKSHEET.csv")
    given = canvas or moodle
    if out.exists() and given.exists() and out.samefile(given):
        raise CourseError(f"{plain(out)} is the platform's own file: name another one to write, and keep this one")
    book, sheet = read_class(course, assignment), read_sheet(given)
    if canvas is not None:
        if feedback is not None:
            raise CourseError("--feedback is for Moodle: Canvas takes no feedback pages from a file")
        filled = fill_canvas(book, sheet, column)
        write(out, write_sheet(filled.sheet))
        return [f"{out}: to upload in Canvas (Grades, Import)", *filled.lines()]
    filled, people = fill_moodle(book, sheet)
    write(out, write_sheet(filled.sheet))
    said = [f"{out}: to upload in Moodle (View all submissions, Upload grading worksheet)", *filled.lines()]
    if feedback is not None:
        data, pages = feedback_zip(course, assignment, people)
        write(feedback, data)
        said.append(f"{feedback}: {count(pages, 'page')}, for Upload multiple feedback files in a zip")
    return said
