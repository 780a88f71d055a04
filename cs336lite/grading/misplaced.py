"""What lies in ``submitted/`` where no command looks: a folder too few, a folder too many, another name.

Nothing is guessed: whose work it is and for what may be plain to a person, and a wrong guess is a wrong grade. Each is
named, with the place where it belongs. Names are shown as text and no link is followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cs336lite.course.paths import GRADED_MODULES, CourseError
from cs336lite.grading.find import IGNORED, is_of_another, kind_of_file, shown
from cs336lite.grading.sharing import cannot_open

MOST = 10_000  # entries that are looked at
MOST_TOLD = 20


def misplaced(course: Path, assignment: str) -> list[str]:
    """A sentence for each piece of work in ``submitted/`` that belongs to an assignment, or may, and lies elsewhere."""
    said, more = [], 0
    for sentence in find_misplaced(course / "submitted", assignment):
        if len(said) < MOST_TOLD:
            said.append(sentence)
        else:
            more += 1
    return [*said, f"and {more} more files or folders in submitted/ that lie at no place for work"] if more else said


def find_misplaced(submitted: Path, assignment: str) -> Iterator[str]:
    if not submitted.is_dir():
        return
    try:
        found = entries(submitted)
    except OSError as error:
        raise CourseError(cannot_open(submitted, error)) from None
    for name, mode in found:
        if stat.S_ISREG(mode):
            if is_work(name, assignment):
                yield f"{shown(f'submitted/{name}')}: whose is it? {MOVE.format(f'submitted/STUDENT/{assignment}/')}"
            continue
        if not stat.S_ISDIR(mode):
            continue
        if (other := assignment_called(name)) is not None:
            if other == assignment:
                yield f"{shown(f'submitted/{name}/')}: a student's folder comes first. " + MOVE.format(
                    f"submitted/STUDENT/{assignment}/"
                )
            continue
        try:
            inner = list(entries(submitted / name))
        except OSError as error:
            yield cannot_open(submitted / name, error, shown(f"submitted/{name}/"))
            continue
        for entry, kind in inner:
            if entry == assignment and stat.S_ISDIR(kind):
                continue
            if stat.S_ISREG(kind) and is_work(entry, assignment):
                yield f"{shown(f'submitted/{name}/{entry}')} lies one folder too high. " + MOVE.format(
                    f"submitted/{name}/{assignment}/"
                )
            elif stat.S_ISDIR(kind) and assignment_called(entry) == assignment:
                yield f"{shown(f'submitted/{name}/{entry}/')} has another name than the assignment. " + CALL.format(
                    shown(assignment)
                )


MOVE = "Move what counts to `{}`, and grade again"
CALL = "Call the folder {}, and grade again"


def entries(folder: Path) -> list[tuple[str, int]]:
    """The names in a folder with their kinds, in order, but for what is hidden. Raises OSError."""
    found = []
    with os.scandir(folder) as scan:
        for _, entry in zip(range(MOST), scan):
            if not entry.name.startswith(".") and entry.name.casefold() not in IGNORED:
                found.append((entry.name, entry.stat(follow_symlinks=False).st_mode))
    return sorted(found)


def is_work(name: str, assignment: str) -> bool:
    """Whether a file may be work for an assignment: it has such an ending, and is not called like another one."""
    called = assignment_called(name.partition(".")[0])
    return bool(kind_of_file(name)) and not is_of_another(name, assignment) and called in (None, assignment)


def assignment_called(name: str) -> str | None:
    """The assignment that a name stands for: ``a4``, ``A4-Lion`` and ``a4_lion`` are one; None when it names none."""
    plain = name.casefold().replace("-", "_").replace(" ", "_")
    return next((a for a in GRADED_MODULES if plain in (a, a.partition("_")[0])), None)
