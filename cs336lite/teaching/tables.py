"""Tables that learning platforms write, and who is meant by a row of one."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError
from cs336lite.teaching.classbook import Row

LARGEST = 50 << 20  # bytes of a table


@dataclass(frozen=True)
class Sheet:
    """A table as it was read: its columns, its rows (each as long as the columns), and what stood between cells."""

    path: Path
    columns: list[str]
    rows: list[list[str]]
    delimiter: str = ","

    def find(self, *names: str) -> int | None:
        """The place of the first column with one of these names; case and blanks around do not count."""
        known = [column.strip().casefold() for column in self.columns]
        return next((known.index(name.casefold()) for name in names if name.casefold() in known), None)

    def cell(self, row: list[str], *names: str) -> str:
        place = self.find(*names)
        return "" if place is None else row[place].strip()


def read_sheet(path: Path) -> Sheet:
    """A CSV file, whichever sign is between its cells. Raises CourseError."""
    try:
        if path.stat().st_size > LARGEST:
            raise CourseError(f"{plain(path)} is larger than {LARGEST >> 20} MiB: that is no list of a class")
        data = path.read_bytes()
    except OSError as error:
        raise CourseError(f"{plain(path)} cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(map(str.strip, row))
        ]
    except csv.Error as error:
        raise CourseError(f"{plain(path)} is no CSV file: {error}") from None
    if not rows or len(rows[0]) < 2:
        raise CourseError(
            f"{plain(path)} is no CSV file with a row of column names: export it from the platform as CSV"
        )
    width = len(rows[0])
    return Sheet(path, rows[0], [(row + [""] * width)[:width] for row in rows[1:]], delimiter)


def write_sheet(sheet: Sheet) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=sheet.delimiter, lineterminator="\r\n")
    writer.writerows([sheet.columns, *sheet.rows])
    return file.getvalue()


# -- who is meant ---------------------------------------------------------------------------------------------------


def folded(name: str) -> str:
    """A name without case, accents, signs: only to compare."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in letters if letter.isalnum())


def turned(name: str) -> str:
    """``Lovelace, Ada`` as ``Ada Lovelace``."""
    last, comma, first = name.partition(",")
    return f"{first.strip()} {last.strip()}" if comma else name


@dataclass
class Matcher:
    """Finds the student of a row: by what is sure first, by a name only where one student alone has it."""

    rows: Iterable[Row]
    used: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = list(self.rows)

    def by(self, key: Callable[[Row], str], wanted: str) -> Row | None:
        if not wanted:
            return None
        found = [row for row in self.rows if key(row) == wanted]
        return found[0] if len(found) == 1 else None

    def find(self, *, ids: Iterable[str] = (), email: str = "", lms: str = "", name: str = "") -> Row | None:
        """The one student who is meant, or None. Whoever was found is not found again."""
        tries: list[tuple[Callable[[Row], str], str]] = []
        for id_ in ids:
            tries += [(lambda row: row.student.casefold(), id_.casefold())]
            tries += [(lambda row: row.email.casefold(), id_.casefold())] if "@" in id_ else []
        tries += [(lambda row: row.email.casefold(), email.casefold()), (lambda row: row.lms, lms)]
        local = {id_.partition("@")[0].casefold() for id_ in (*ids, email) if "@" in id_}
        tries += [(lambda row: row.student.casefold(), one) for one in sorted(local)]
        tries += [(lambda row: folded(row.name), folded(turned(name)))]
        for key, wanted in tries:
            row = self.by(key, wanted)
            if row is not None and row.student not in self.used:
                self.used[row.student] = name
                return row
        return None


def slug(title: str) -> str:
    return re.sub(r"[\W_]+", "", title.casefold())
