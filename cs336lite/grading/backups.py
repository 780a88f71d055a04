"""Copies of the gradebook, made before it is changed, and the way back to one.

Kept are the last `LAST` copies, and of each day the first: what everybody had entered until that day.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from cs336lite.course.paths import CourseError
from cs336lite.grading import gradebook, sharing
from cs336lite.grading.locks import only_writer
from cs336lite.scratch import part_of

LAST = 10
DAYS = 200  # so many days, at most
OFTEN = 3600  # seconds
NAME = re.compile(r"gradebook-(\d{4}-\d\d-\d\d)T\d{6}Z(?:-\d+)?\.db")  # the time is UTC


def kept(course: Path) -> list[Path]:
    """The copies that there are, the oldest first."""
    found = [path for path in (course / "backups").glob("gradebook-*.db") if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.name[:28], len(path.name), path.name))


def back_up(course: Path, file: Path, rights: sharing.Rights, *, thinned: bool = True) -> Path:
    """Copy a gradebook as it is now, also while others use it, unless the newest copy is the same.

    Gives the newest copy. Raises Stop when it cannot be made.
    """
    folder = course / "backups"
    with sharing.told(folder), gradebook.told(file):
        sharing.make_folder(folder, rights)
        with part_of(folder / "gradebook") as part:
            copy(file, part)
            before = kept(course)
            if before and same(before[-1], part):
                return before[-1]
            part.chmod(rights.file)
            new = free_name(folder)
            os.replace(part, new)
        if thinned:
            thin(course)
    return new


def back_up_now_and_then(course: Path) -> None:
    """What `back_up` does, for nbgrader's own commands, which record one submission after another: once an hour."""
    file, copies = course / "gradebook.db", kept(course)
    if file.is_file() and not (copies and time.time() - copies[-1].stat().st_mtime < OFTEN):
        back_up(course, file, sharing.rights_of(course))


def copy(source: Path, target: Path) -> None:
    """Make a database the copy of another, by SQLite's own means: what is written meanwhile is in it wholly or not at all."""
    with (
        closing(
            sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=gradebook.BUSY_SECONDS)
        ) as old,
        closing(sqlite3.connect(target, timeout=gradebook.BUSY_SECONDS)) as new,
    ):
        try:
            old.backup(new)
        except sqlite3.OperationalError as error:
            if "full" not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None


def same(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:  # another assistant's, who does not share it
        return False


def free_name(folder: Path) -> Path:
    """A name for a copy that is made now, later than those that are there."""
    name = f"gradebook-{time.strftime('%Y-%m-%dT%H%M%SZ', time.gmtime())}"
    names = (f"{name}{end}.db" for end in ("", *(f"-{number}" for number in range(2, 10_000))))
    return next(folder / name for name in names if not (folder / name).exists())


def thin(course: Path) -> None:
    """Remove the copies that are neither among the last nor the first of a day."""
    copies = kept(course)
    first: dict[str, Path] = {}
    for path in copies:
        first.setdefault(NAME.fullmatch(path.name)[1], path)
    stay = {*copies[-LAST:], *list(first.values())[-DAYS:]}
    for path in copies:
        if path not in stay:
            path.unlink(missing_ok=True)


# -- the way back -----------------------------------------------------------------------------------------------


def listed(course: Path) -> str:
    """The copies, for a person: name, size, number of grades."""
    lines = [f"{path.name}  {path.stat().st_size / 1e6:6.2f} MB  {grades(path)}" for path in kept(course)]
    if not lines:
        return f"there are no copies of the gradebook in {course / 'backups'} yet: one is made before each recording"
    return "\n".join([*lines, f"`cs336lite restore {kept(course)[-1].name}` puts the newest back"])


def grades(path: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            (scores, manual), *_ = opened.execute("SELECT COUNT(auto_score), COUNT(manual_score) FROM grade")
        return f"{scores} scores, {manual} of them with one that a person gave"
    except sqlite3.Error as error:
        return f"cannot be read ({error})"


def restore(course: Path, name: str) -> str:
    """Make a copy the gradebook again, and keep the present one beside the copies; says what was done.

    Raises CourseError: there is no such copy, it is damaged, or somebody is recording.
    """
    source = next((path for path in kept(course) if path.name == Path(name).name), None)
    if source is None:
        raise CourseError(f"there is no copy {name!r} in {course / 'backups'}: `cs336lite restore` lists them")
    from cs336lite.grading.nbgrader_api import course_config

    rights = sharing.rights_of(course)
    file = gradebook.file_of(course_config(course).CourseDirectory.db_url)
    if file is None:
        raise CourseError("the gradebook of this course is no SQLite file: its own server keeps copies of it")
    with only_writer(course, rights=rights), sharing.told(file.parent), gradebook.told(file):
        if not gradebook.tables_of(source):
            raise CourseError(f"the copy {source} is empty: take another one")
        try:
            whole = bool(gradebook.tables_of(file))
        except sharing.Stop as stop:
            if "damaged" not in str(stop):
                raise
            whole = False
        if whole:
            aside = f"the present one is kept as {back_up(course, file, rights, thinned=False).name}"
            copy(source, file)  # whoever has it open sees the change
        else:
            aside = put_aside(file, rights)
            with part_of(file) as part:
                copy(source, part)
                part.chmod(rights.file)
                os.replace(part, file)
    return (
        f"the gradebook is {source.name} again; {aside}. What was graded after it was made is recorded again by "
        "`cs336lite grade`; scores and comments that people entered since are in the one that is kept"
    )


def put_aside(file: Path, rights: sharing.Rights) -> str:
    """Move a damaged gradebook, with its journals, to another name; what became of it, for a sentence."""
    there = file.exists()
    stamp = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
    for end in ("-journal", "-wal", "-shm", ""):
        part = file.with_name(file.name + end)
        if part.exists():
            part.replace(file.with_name(f"{file.name}.damaged-{stamp}{end}"))
    return f"the damaged one is kept as {file.name}.damaged-{stamp}" if there else "there was none"
