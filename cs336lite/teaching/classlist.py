"""A class list of Canvas or Moodle, or nbgrader's own, into the roster: students with names, addresses and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError
from cs336lite.teaching.classbook import count, open_gradebook
from cs336lite.teaching.tables import Sheet, read_sheet


@dataclass(frozen=True)
class Person:
    """A student as a class list has them."""

    id: str
    first_name: str
    last_name: str
    email: str
    lms_user_id: str


IDS = {
    "login": ("SIS Login ID", "Login ID", "Username", "id"),
    "sis": ("SIS User ID", "SIS ID", "ID number"),
    "email": ("Email address", "Email", "email"),
}
"""Which columns can be the id of a student, by what it is called on the command line."""


def people_of(sheet: Sheet, by: str | None = None) -> tuple[list[Person], list[str]]:
    """The students of a class list, and the rows that name none.

    ``by`` says what the id is (see `IDS`); by default the login, else the number, else the address up to its ``@``.
    """
    if by is not None and by not in IDS:
        raise CourseError(f"a student's id can be one of: {', '.join(IDS)}; not {plain(by)!r}")
    named = sheet.find("Student", "Full name", "First name", "first_name", "Name") is not None
    if not named or not any(sheet.find(*columns) is not None for columns in IDS.values()):
        raise CourseError(
            f"{plain(sheet.path)} is no class list: it needs a name and a login, a number or an email address; "
            f"its columns are: {', '.join(plain(column, 60) for column in sheet.columns[:12])}"
        )
    found, left = [], []
    for row in sheet.rows:
        whole = sheet.cell(row, "Student", "Full name", "Name")
        if whole.startswith("Points Possible") or whole.casefold() in ("student, test", "test student"):
            continue
        first, last = sheet.cell(row, "First name", "first_name"), sheet.cell(row, "Last name", "Surname", "last_name")
        if not (first or last):
            first, last = parts_of(whole)
        email = sheet.cell(row, *IDS["email"])
        login, number = sheet.cell(row, *IDS["login"]), sheet.cell(row, *IDS["sis"])
        id_ = {"login": login, "sis": number, "email": email, None: login or number or email.partition("@")[0]}[by]
        email = email or (login if "@" in login else "")
        if not id_ or "/" in id_ or id_ != plain(id_, 128) or id_.startswith("."):
            if any((whole, first, last, id_)):
                left.append(whole or f"{first} {last}".strip() or id_)
            continue
        lms = sheet.cell(row, "lms_user_id") or (sheet.cell(row, "ID") if sheet.find("Student") is not None else "")
        found.append(Person(id_, plain(first, 128), plain(last, 128), plain(email, 128), plain(lms, 128)))
    return found, left


def parts_of(name: str) -> tuple[str, str]:
    """First and last name of ``Lovelace, Ada`` or ``Ada Lovelace``."""
    if "," in name:
        last, _, first = name.partition(",")
        return first.strip(), last.strip()
    first, _, last = name.strip().rpartition(" ")
    return (first, last) if first else (last, "")


def take(course: Path, path: Path, by: str | None = None, dry: bool = False) -> list[str]:
    """Put a class list into the roster: who is new is added, who is there gets what the list says. Nobody is removed.

    Returns what to say. Raises CourseError.
    """
    people, left = people_of(read_sheet(path), by)
    twice = sorted({p.id for p in people if sum(p.id == q.id for q in people) > 1})
    if twice:
        raise CourseError(f"{plain(path)} names several people by one id: {', '.join(map(plain, twice[:10]))}")
    if not people:
        raise CourseError(f"{plain(path)} names no student")
    with open_gradebook(course) as gradebook:
        there = {s.id: Person(s.id, *(getattr(s, k) or "" for k in FIELDS)) for s in gradebook.students}
        new = [p for p in people if p.id not in there]
        other = [p for p in people if p.id in there and merged(there[p.id], p) != there[p.id]]
        for person in [] if dry else [*new, *other]:
            known = merged(there[person.id], person) if person.id in there else person
            gradebook.update_or_create_student(person.id, **{k: getattr(known, k) or None for k in FIELDS})
    said = [
        f"{count(len(people), 'student')} in the list: {len(new)} new, {len(other)} changed, {len(people) - len(new) - len(other)} as before"
    ]
    if dry:
        said.append("nothing was written (--dry-run)")
    missing = sorted(set(there) - {p.id for p in people})
    if missing:
        said.append(f"on the roster and not in the list ({len(missing)}): {', '.join(map(plain, missing))}")
    if left:
        said.append(f"passed over, for they have no id ({len(left)}): {', '.join(map(plain, left))}")
    return said


FIELDS = ("first_name", "last_name", "email", "lms_user_id")


def merged(old: Person, new: Person) -> Person:
    """What a list says, and what is known already where it says nothing."""
    return Person(old.id, *(getattr(new, k) or getattr(old, k) for k in FIELDS))
