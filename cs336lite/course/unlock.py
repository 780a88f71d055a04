"""``cs336lite unlock aN``: the reference of one assignment for a student edition, after the deadline.

An instructor unlocks an edition at hand, or writes one small file that students apply. A self-learner unlocks in ``my/``,
from the clone around it. The student's own module waits beside the reference, as ``bpe_student.py``, and ``--undo``
puts it back.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from cs336lite.course.export import kept_beside
from cs336lite.course.module import in_edition
from cs336lite.course.paths import (
    GRADED_MODULES,
    CourseError,
    assignment_name,
    full_repository,
    is_student_edition,
    write_atomic,
)

ORIGIN = (
    "The file came whole, as its hash shows; who wrote it no hash can tell: take such files from your instructor alone"
)
_FIRST_LINE = re.compile(r"# cs336lite unlocks (?P<name>\w+), sha256 (?P<sha>[0-9a-f]{64})\n")


def unlock(
    root: Path,
    assignment: str,
    edition: Path | None = None,
    export: Path | None = None,
    source: Path | None = None,
    undo: bool = False,
) -> str:
    """Unlock the reference of an assignment, or lock it again; returns what was done, in a sentence.

    Args:
        root: the full repository (an instructor) or a student edition (a student).
        assignment: its name, as "a1_bpe" or "a1".
        edition: instructor: the student edition to unlock.
        export: instructor: where to write the file for students; by default ``build/aN.unlock.py``.
        source: student: the instructor's file.
        undo: put the student's own module back.

    Raises:
        CourseError: options that do not belong together, a file that is not whole, or an assignment that is unlocked
            already, or not at all.
    """
    name = assignment_name(root, assignment)
    if clone := full_repository(root):
        if edition or export or source:
            raise CourseError(
                f"in your own copy of the course it is `cs336lite unlock {name}`, and --undo takes yours again"
            )
        return _lock(root, name) if undo else _apply(root, name, _reference(clone, name))
    if is_student_edition(root):
        if edition or export:
            raise CourseError(
                "--edition and --export are for the full repository; a student gives --from FILE or --undo"
            )
        if undo == bool(source):
            raise CourseError(
                f"say either `cs336lite unlock {name} --from FILE`, with your instructor's file, or --undo"
            )
        return _lock(root, name) if undo else f"{_apply(root, name, _read(Path(source), name))}. {ORIGIN}"
    if source:
        raise CourseError("--from is for a student edition; the modules of the full repository are the references")
    if edition:
        if export:
            raise CourseError("give either --edition or --export, not both")
        edition = Path(edition).resolve()
        if not is_student_edition(edition):
            raise CourseError(f"{edition} is no student edition: name a folder that `cs336lite release` wrote")
        return _lock(edition, name) if undo else _apply(edition, name, _reference(root, name))
    if undo:
        raise CourseError("nothing is locked in the full repository: --undo goes with --edition DIR")
    path = export_unlock(root, name, export)
    return f"wrote {path}: give it to the students, who run `cs336lite unlock {name} --from {path.name}`"


def export_unlock(root: Path, assignment: str, path: Path | None = None) -> Path:
    """Write the file that unlocks an assignment in any student edition; returns its path."""
    name = assignment_name(root, assignment)
    path = Path(path) if path else root / "build" / f"{name}.unlock.py"
    if path.is_dir():
        path = path / f"{name}.unlock.py"
    reference = _reference(root, name)
    sha = hashlib.sha256(reference.encode()).hexdigest()
    write_atomic(path, f"# cs336lite unlocks {name}, sha256 {sha}\n{reference}")
    return path


def _reference(root: Path, name: str) -> str:
    """The reference as its text says it now, for an edition, without the line that names the text."""
    from cs336lite.course.plan import plan

    for item in plan(root):
        if item.name == name:
            return in_edition(item.modules[GRADED_MODULES[name]].partition("\n")[2])
    raise CourseError(f"{name} has no text: assignments/text/{name}.py is missing")


def _read(path: Path, name: str) -> str:
    """The reference in an instructor's file, known to be whole and for this assignment."""
    try:
        written = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CourseError(f"there is no file {path}") from None
    except (UnicodeDecodeError, OSError, ValueError):
        written = ""
    first = _FIRST_LINE.match(written)
    if not first:
        raise CourseError(f"{path} unlocks nothing: it must be a file that an instructor's `cs336lite unlock` wrote")
    if first["name"] != name:
        raise CourseError(
            f"{path} unlocks {first['name']}, not {name}: `cs336lite unlock {first['name']} --from {path}`"
        )
    reference = written[first.end() :]
    if hashlib.sha256(reference.encode()).hexdigest() != first["sha"]:
        raise CourseError(f"{path} was changed or cut off on its way: fetch it again")
    return reference


def _apply(edition: Path, name: str, reference: str) -> str:
    module = GRADED_MODULES[name]
    target, kept = edition / "cs336lite" / f"{module}.py", kept_beside(edition, module)
    if kept.exists():
        raise CourseError(f"{name} is unlocked already: {kept} holds the student's module; --undo puts it back")
    if not target.exists():
        raise CourseError(f"{target} is missing: restore it from the course before unlocking")
    write_atomic(kept, target.read_bytes())
    write_atomic(
        target,
        f"# Reference of {name}, unlocked; your own module waits in {kept.name}, and `cs336lite unlock {name} --undo` "
        f"brings it back.\n{reference}",
    )
    return f"{name} is unlocked: cs336lite/{target.name} is the reference, and your own waits in cs336lite/{kept.name}"


def _lock(edition: Path, name: str) -> str:
    module = GRADED_MODULES[name]
    target, kept = edition / "cs336lite" / f"{module}.py", kept_beside(edition, module)
    if not kept.exists():
        raise CourseError(f"{name} is not unlocked here: there is no {kept}")
    os.replace(kept, target)
    return f"cs336lite/{target.name} is your own module again"
