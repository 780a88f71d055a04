"""``cs336lite reset``: a notebook, or one exercise of it, as it was given. What you had is kept beside it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from cs336lite.course.export import read_notebook
from cs336lite.course.paths import (
    GRADED_MODULES,
    CourseError,
    is_appendix,
    is_student_edition,
    original,
    step_notebook,
    steps,
    way,
    write_atomic,
)
from cs336lite.course.update import free

__all__ = ["pristine", "reset"]

RELOAD = "If it is open in JupyterLab, take File > Reload Notebook from Disk, then restart its kernel."


def reset(root: Path, name: str, exercise: str | None = None) -> str:
    """Put a notebook back as it was given, or the cells of one exercise; says what was done and where yours is.

    The module that your last export wrote stays in the package until you export again.

    Args:
        root: a student edition, or the full repository, whose originals are in git.
        name: ``"03"``, ``"03_architecture"``, ``"a1"``, ``"02x"``.
        exercise: as ``"train"``; by default the whole notebook.

    Raises:
        CourseError: no such notebook or exercise, its original is missing, or nothing can be written.
    """
    path, first = found(root, name)
    given = first_version(root, path)
    now = path.read_bytes() if path.exists() else None
    if exercise is not None and now is not None:
        content, what = with_exercise(path, given, exercise), f"{exercise} in {path.relative_to(root)}"
    else:
        content, what = given, f"{path.relative_to(root)}"
    if content is None or now == content:
        return f"{what} is as it was given: there is nothing to reset"
    kept = None
    try:
        if now is not None:
            kept = root / free(root, path.relative_to(root).as_posix(), "mine")
            write_atomic(kept, now)
        write_atomic(path, content)
    except OSError as error:
        raise CourseError(f"{path} cannot be reset ({error.strerror}): nothing was lost") from None
    told = f"; what you had is kept as {kept.relative_to(root)}" if kept else ""
    package = " Your code in the package stays until you run the last cell again." if first in GRADED_MODULES else ""
    return f"{what} is as it was given{told}.{package} {RELOAD}"


def found(root: Path, text: str) -> tuple[Path, str]:
    """The notebook that is called so, and its full name. Raises CourseError with those that there are."""
    names = {*steps(root), *(path.stem for path in original(root, "*").parent.glob("*.ipynb"))}  # also what was deleted
    names |= {path.stem for path in (root / "notebooks" / "appendix").glob("*.ipynb") if is_appendix(path.stem)}
    known = {name: place(root, name) for name in names}
    for name in way(known):
        if text in (name, name.split("_")[0]):
            return known[name], name
    raise CourseError(f"there is no notebook {text!r}; there are: {', '.join(way(known)) or 'none'}")


def place(root: Path, name: str) -> Path:
    return root / "notebooks" / "appendix" / f"{name}.ipynb" if is_appendix(name) else step_notebook(root, name)


def first_version(root: Path, path: Path) -> bytes:
    """A notebook as it was given: in an edition from its folder of originals, in a clone from git."""
    if not is_student_edition(root):
        if (content := committed(root, path)) is None:
            raise CourseError(f"git has no {path.relative_to(root)} here, so there is nothing to reset it to")
        return content
    try:
        return original(root, path.stem).read_bytes()
    except OSError:
        raise CourseError(
            f"this edition has no original of {path.stem}: take the notebook out of the edition's .zip, or bring this "
            "edition up to a newer one with `cs336lite update`"
        ) from None


def committed(root: Path, path: Path) -> bytes | None:
    """A file of the course as git has it; None outside a clone."""
    command = ["git", "-C", str(root), "show", f"HEAD:./{path.relative_to(root).as_posix()}"]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def pristine(root: Path, path: Path) -> bytes:
    """A file of the course as git has it, whatever a reader has done to it since; outside a clone, as it is."""
    content = committed(root, path)
    return path.read_bytes() if content is None else content


def with_exercise(path: Path, given: bytes, exercise: str) -> bytes | None:
    """The notebook with the cells of one exercise as they were given; None when they are already."""
    notebook = read_notebook(path)
    wanted = exercises(nbformat.reads(given.decode(), as_version=4))
    if exercise not in wanted:
        raise CourseError(f"{path.stem} has no exercise {exercise!r}; it has: {', '.join(wanted) or 'none'}")
    present, changed = exercises(notebook), False
    if len(present.get(exercise, [])) != len(wanted[exercise]):
        raise CourseError(
            f"the cell of {exercise} is not in {path.name} any more, or more than once: reset the whole notebook, and take "
            "what you need from the copy that is kept"
        )
    for cell, first in zip(present[exercise], wanted[exercise]):
        if cell.source != first.source:
            changed, cell.source, cell.outputs, cell.execution_count = True, first.source, [], None
    return (nbformat.writes(notebook, version=4).rstrip("\n") + "\n").encode() if changed else None


def exercises(notebook: NotebookNode) -> dict[str, list[NotebookNode]]:
    """The cells that a reader writes, by exercise: of an assignment or of a lecture."""
    cells: dict[str, list[NotebookNode]] = {}
    for cell in notebook.cells:
        graded, asked = cell.metadata.get("nbgrader", {}), cell.metadata.get("cs336lite", {})
        name = graded.get("grade_id") if graded.get("solution") and not graded.get("grade") else asked.get("exercise")
        if cell.cell_type == "code" and name:
            cells.setdefault(name, []).append(cell)
    return cells
