"""Where things lie: the repository root, its rooms, and the names that connect assignments with modules."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import index
from pathlib import Path

from cs336lite.course.border import lines
from cs336lite.scratch import part_of

EDITION_MARKER = ".cs336lite-edition"
"""A file at the root of a student edition; the full repository has none."""

MY = "my"
"""The folder of a clone that holds a self-learner's own copy of the course, a student edition (`course/study.py`)."""

GRADED_MODULES = {
    "a1_bpe": "bpe",
    "a2_attention": "attention",
    "a3_rope": "rope",
    "a4_lion": "lion",
    "a5_moe_router": "router",
    "a6_inference": "decoding",
    "a7_parallel": "sharding",
}
"""Which module of the package each assignment builds."""

AFTER_LECTURE = {
    "a1_bpe": 1,
    "a2_attention": 2,
    "a3_rope": 2,
    "a4_lion": 3,
    "a5_moe_router": 5,
    "a6_inference": 8,
    "a7_parallel": 9,
}
"""The number of the lecture after which each assignment is done: this and `way` are the order of the course."""

PAGES = ("99_your_model",)
"""Notebooks on the way that are no lectures: to play with, without questions and claims."""

LAST = 1_000
"""The place of what has none yet: behind all lectures."""


class CourseError(Exception):
    """A mistake of the user's, told in one paragraph: what was wrong, where, and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the paragraph, without the calls that led to it."""
        return f"{type(self).__name__}: {lines(self)}".split("\n")


def is_root(folder: Path) -> bool:
    return (folder / "cs336lite").is_dir() and (folder / "assignments").is_dir()


def find_root(start: str | Path | None = None) -> Path:
    """The course folder that holds ``start`` (by default the current folder), else the one this package lies in.

    Raises:
        CourseError: neither is inside a course folder.
    """
    here = Path(start or Path.cwd()).resolve()
    package = Path(__file__).resolve().parents[2]
    for folder in (here, *here.parents, package):
        if is_root(folder):
            return folder
    raise CourseError(f"no course here: {here} lies in no folder with both cs336lite/ and assignments/; cd into one")


def own_root() -> Path:
    """`find_root` for code in a notebook, sure that its ``import cs336lite`` takes the package of the same folder.

    Raises:
        CourseError: the notebook lies in a student edition, and the package that it imports lies elsewhere.
    """
    root, package = find_root(), Path(__file__).resolve().parents[2]
    if is_student_edition(root) and root != package:
        raise CourseError(
            f"this notebook belongs to {root}, but its cs336lite is the one in {package}: your code would not be used. "
            f"Start JupyterLab with `make lab` in {root}"
        )
    return root


def is_student_edition(root: Path) -> bool:
    return (root / EDITION_MARKER).exists()


def full_repository(root: Path) -> Path | None:
    """The clone that a self-learner's own copy of the course lies in; None for any other copy."""
    clone = root.parent
    mine = root.name == MY and is_student_edition(root)
    return clone if mine and is_root(clone) and not is_student_edition(clone) else None


def original(root: Path, name: str) -> Path:
    """In an edition, a notebook as it was given, for `course/reset.py`; JupyterLab does not show the folder."""
    return root / "notebooks" / ".originals" / f"{name}.ipynb"


def assignments(root: Path) -> list[str]:
    """Names of the assignments that exist in this copy of the course, in order."""
    return [name for name in GRADED_MODULES if (root / "assignments" / "public" / f"{name}.py").exists()]


def hidden_checks(course: Path, name: str) -> Path:
    """Where the hidden checks of an assignment lie: the folder ``hidden/a1_bpe``, or the file ``hidden/a1_bpe.py``.

    ``course`` is the folder ``assignments``. Of an assignment without checks it is the path of the file.

    Raises:
        CourseError: there are both.
    """
    file, folder = course / "hidden" / f"{name}.py", course / "hidden" / name
    if not any(folder.glob("*.py")):
        return file
    if file.exists():
        raise CourseError(f"{file} and the folder {folder} both hold the checks of {name}: delete one of them")
    return folder


def assignment_name(root: Path, text: str) -> str:
    """The full name for ``a1_bpe`` or its short form ``a1``.

    Raises:
        CourseError: no such assignment, with the ones that exist.
    """
    known = assignments(root)
    matches = [name for name in known if text in (name, name.split("_")[0])]
    if not matches:
        raise CourseError(f"there is no assignment {text!r}; there are: {', '.join(known) or 'none'}")
    return matches[0]


def way(names: Iterable[str]) -> list[str]:
    """Names of lectures, appendices and assignments in the order of the course.

    A lecture comes first, then its appendices, then its second part (``03b``) with those of its own, then the
    assignments that are done after all of it. Whatever shows the course to a reader takes its order from here:
    `steps`, README's table, the map, what a lecture says at its end.

    >>> way(["a2_attention", "03b_variants", "03x_positions", "03_architecture", "02_tensors", "02x_shapes"])
    ['02_tensors', '02x_shapes', 'a2_attention', '03_architecture', '03x_positions', '03b_variants']
    """

    def place(name: str) -> tuple[int, str, bool, str]:
        if name.startswith("a"):
            return AFTER_LECTURE.get(name, LAST), "~", False, name
        number = re.match(r"(\d+)([a-w]?)", name)
        return int(number[1]) if number else LAST, number[2] if number else "", is_appendix(name), name

    return sorted(names, key=place)


def steps(root: Path) -> list[str]:
    """Names of the lectures and assignments of this copy of the course, in order: what there is to read and to do."""
    folder = root / "notebooks"
    found = {path.stem for where in ("*.ipynb", "text/*.py") for path in folder.glob(where)}
    return way([*(name for name in found if re.fullmatch(r"\d\d[a-w]?_\w+", name)), *assignments(root)])


def step_notebook(root: Path, name: str) -> Path:
    """The notebook of a lecture or an assignment, which a person opens."""
    return assignment_notebook(root, name) if name in GRADED_MODULES else root / "notebooks" / f"{name}.ipynb"


def lectures(root: Path) -> list[str]:
    """Names of the lectures that have exercises of their own, in order."""
    return sorted(path.stem for path in (root / "notebooks" / "checks").glob("[0-9]*_*.py"))


def is_appendix(name: str) -> bool:
    """Whether a text is called like an appendix, ``02x_shapes``, and not like its lecture, ``02_tensors``."""
    return re.match(r"\d\d[a-w]?x_", name) is not None


def exercise_book(root: Path, text: str) -> str:
    """The full name of the assignment, or of the lecture with exercises, that is called so: ``a1``, ``01_tokenizer``.

    Raises:
        CourseError: there is neither, with those that exist.
    """
    known = [*assignments(root), *lectures(root)]
    matches = [name for name in known if text in (name, name.split("_")[0])]
    if not matches:
        raise CourseError(
            f"there is no assignment or lecture {text!r} with exercises; there are: {', '.join(known) or 'none'}"
        )
    return matches[0]


def assignment_notebook(root: Path, name: str) -> Path:
    """The notebook a person works in: the student's in an edition, the solved source in the full repository."""
    if is_student_edition(root):
        return root / "assignments" / name / f"{name}.ipynb"
    return root / "assignments" / "source" / name / f"{name}.ipynb"


def data_folder() -> Path:
    """Where corpora are kept: ``CS336LITE_DATA`` when it is set, else the platform's cache folder for cs336lite."""
    import pooch

    return Path(os.environ.get("CS336LITE_DATA") or pooch.os_cache("cs336lite")).expanduser()


def make_folder(folder: str | Path | None) -> Path:
    """A folder for corpora, by default `data_folder`, made where it is missing.

    Raises:
        CourseError: it cannot be made.
    """
    folder = data_folder() if folder is None else Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseError(
            f"cannot make the data folder {folder}: {error}; set CS336LITE_DATA to another one"
        ) from error
    return folder


@contextmanager
def told_of_the_disk(name: str, folder: Path) -> Iterator[None]:
    """A CourseError where a file cannot be written into the data folder, or what is there cannot be read."""
    try:
        yield
    except OSError as error:
        raise CourseError(
            f"cannot write {name} into {folder} ({error}): make room there, or set CS336LITE_DATA to another folder"
        ) from error


def whole_number(name: str, value: object, least: int, example: str) -> int:
    """``value`` as an int, whatever kind of whole number it is; ValueError, with an example, for anything else."""
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ValueError(f"{name} is {value!r}: ask for a whole number of bytes, at least {least:,}, such as {example}")
    return number


def write_atomic(path: Path, data: str | bytes, mode: int = 0o644, *, replace: bool = True) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never half of either.

    With ``replace=False`` a file that is there stays as it is: of several writers the first one's holds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with part_of(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)
        part.chmod(mode)
        if replace:
            os.replace(part, path)
        else:
            with suppress(FileExistsError):
                os.link(part, path)


def read_json(path: Path, default):
    """The JSON value in a file, or ``default`` when there is no readable one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, MemoryError):
        return default
