"""The gradebook before it is used: whether it is there, whole, and nbgrader's of today; and its errors in plain words."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import nbgrader.api
from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from cs336lite.course.paths import CourseError
from cs336lite.grading.sharing import Stop, cannot_write

BUSY_SECONDS = 60  # that a program waits for another one to finish writing


def file_of(url: str) -> Path | None:
    """The file of a gradebook; None when it is no SQLite database, which we leave to its own server."""
    where = make_url(url)
    if where.get_backend_name() != "sqlite" or not where.database or where.database == ":memory:":
        return None
    return Path(where.database)


@event.listens_for(Engine, "connect")
def wait_for_others(connection: object, _: object) -> None:
    """Let every connection of this process to a gradebook wait for other programs."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")


# -- before it is opened ----------------------------------------------------------------------------------------


def check(course: Path, assignment: str, file: Path) -> None:
    """Whether a gradebook can be used; nbgrader would make a new one in place of one that is lost.

    Raises CourseError in a sentence that says what to do.
    """
    tables = tables_of(file)
    if tables is None or not any(tables.values()):
        if work := work_done(course):
            state = "is missing" if tables is None else "is empty"
            raise CourseError(f"the gradebook {file} {state}, although {work}. {how_to_go_back(course)}")
        raise CourseError(
            f"there is no gradebook {file} yet, so it does not know {assignment}: release it first "
            f"(`nbgrader generate_assignment {assignment}`)"
        )
    expected = {name: set(table.columns.keys()) for name, table in nbgrader.api.Base.metadata.tables.items()}
    if any(not columns <= tables.get(name, set()) for name, columns in expected.items()):
        raise CourseError(
            f"the gradebook {file} was made by an older nbgrader, or by another program: run `nbgrader db upgrade` in {course}, "
            "which keeps a copy of it"
        )


def tables_of(file: Path) -> dict[str, set[str]] | None:
    """The columns of each table; None when there is no file. Raises CourseError for what is no whole database."""
    if not file.exists():
        return None
    if not file.is_file():
        raise CourseError(f"the gradebook {file} is no file: move it away. {how_to_go_back(file.parent)}")
    with (
        told(file),
        closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as opened,
    ):
        found = opened.execute("PRAGMA quick_check(1)").fetchone()
        if found != ("ok",):
            raise sqlite3.DatabaseError("malformed")
        names = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: {column[1] for column in opened.execute(f'PRAGMA table_info("{name}")')} for name in names}


def work_done(course: Path) -> str:
    """What shows that there was a gradebook, in words; empty when nothing does."""
    from cs336lite.grading import backups

    graded = len(list(course.glob("autograded/*/*/*.ipynb")))
    if graded:
        return f"autograded/ holds {graded} graded notebook{'s' if graded > 1 else ''}"
    if backups.kept(course):
        return "backups/ holds copies of it"
    return "verdicts/ holds verdicts" if any(course.glob("verdicts/*/*.json")) else ""


def check_grades(course: Path, assignment: str, recorded: int) -> None:
    """Whether the grades of an assignment are still there. Raises CourseError for a gradebook that was made anew."""
    graded = len(list(course.glob(f"autograded/*/{assignment}/{assignment}.ipynb")))
    if graded and not recorded:
        raise CourseError(
            f"the gradebook holds no grade of {assignment}, although autograded/ holds {graded}: it was made anew, and what "
            f"people had entered is lost. {how_to_go_back(course)}, or, to grade all of it anew, remove "
            f"autograded/*/{assignment}"
        )


def how_to_go_back(course: Path) -> str:
    from cs336lite.grading import backups

    if names := backups.kept(course):
        return f"Put a copy back: `cs336lite restore` lists them, `cs336lite restore {names[-1].name}` takes the newest"
    return "Put a copy of it back (gradebook.db from your own backup)"


# -- while it is open -------------------------------------------------------------------------------------------


@contextmanager
def told(file: Path | None) -> Iterator[None]:
    """An error of SQLite's in here is told as a Stop: the next submission would meet it as well."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise Stop(in_words(file, cause)) from None


def in_words(file: Path | None, error: BaseException | None) -> str:
    """What an error of a database means, and what to do."""
    what, where = str(error), "" if file is None else f" {file}"
    if not isinstance(error, sqlite3.Error):
        return f"the gradebook cannot be used: {what}"
    if "locked" in what or "busy" in what:
        return (
            f"the gradebook{where} is in use by another program for more than {BUSY_SECONDS} seconds: close it (formgrader, "
            "another `nbgrader`, a browser of databases), then run the same command again"
        )
    if "full" in what or "readonly" in what or "unable to open" in what or "I/O" in what or "authoriz" in what:
        kind = {"full": errno.ENOSPC, "I/O": errno.EIO}.get(
            next((k for k in ("full", "I/O") if k in what), ""), errno.EACCES
        )
        problem = OSError(kind, what)
        return f"the gradebook{where} cannot be written: {cannot_write(file.parent if file else Path(), problem)}"
    if "malformed" in what or "not a database" in what or "corrupt" in what:
        back = how_to_go_back(file.parent) if file else "Put a copy of it back"
        return f"the gradebook{where} is damaged ({what}). {back}"
    if "no such" in what or "no column" in what:
        return f"the gradebook{where} was made by an older nbgrader ({what}): run `nbgrader db upgrade` beside it"
    return f"the gradebook{where} cannot be used: {what}"
