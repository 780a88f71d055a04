"""Load checks: a file of them, or a folder with a file for each exercise.

A folder is a package, whose ``__init__.py`` names what is run, in this order: a file with all its checks, or one check of
a file that runs later than the others, and so is left out of them::

    ORDER = ("softmax", "masks", "positions", "masks.mask_with_a_cache")

Files take from each other what they share, as in ``from .inputs import draw``. The text of a folder is that of its files
one after another, each below a line ``# ==== train.py``. What runs is a text that was read once, whatever becomes of
the folder later; nothing is written beside it.
"""

from __future__ import annotations

import itertools
import linecache
import re
import sys
import traceback
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from cs336lite.course.paths import CourseError
from cs336lite.course.student import said

FIRST = "__init__.py"
MARK = "# ==== "
"""Begins the line above a file in the text of a folder."""


def text_of(path: Path) -> str:
    """The text of a file of checks, or of a folder of them.

    Raises:
        FileNotFoundError: there is neither.
        CourseError: a line of a file in the folder is like those between files.
    """
    if not path.is_dir():
        return path.read_text(encoding="utf-8")
    text = ""
    for file in sorted(path.glob("*.py"), key=lambda file: (file.name != FIRST, file.name)):
        body = file.read_text(encoding="utf-8")
        if re.search(f"(?m)^{MARK}", body):
            raise CourseError(
                f"{file}: no line may begin with {MARK!r}, as the line above each file does in their text"
            )
        text += f"{MARK}{file.name}\n{body}" + "\n" * (not body.endswith("\n"))
    return text


def is_folder(text: str) -> bool:
    """Whether a text is that of a folder."""
    return text.startswith(MARK)


def files_in(text: str) -> dict[str, str]:
    """The files of a folder by their names, from its text."""
    pieces = re.split(rf"(?m)^{MARK}(.*)\n", text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def load(path: Path, text: str) -> tuple[ModuleType, tuple[str, ...], list[Any]]:
    """Run a text of checks: its module (of a folder the package), the paths of its files, and its checks in order.

    Raises:
        CourseError: it cannot be run, with the file and the line to go to; or what `ORDER` says is not what is there.
    """
    # a name of its own each time: what a spec keeps by pickle is of the classes of that very loading
    name = re.sub(r"\W", "_", f"{path.parent.name}_{path.stem}_{next(_loaded)}")
    files = {name: (str(path), text)}
    if is_folder(text):
        if not text.startswith(f"{MARK}{FIRST}\n"):
            raise CourseError(f"{path} has no {FIRST}: it says what the checks are and in which order they run")
        parts = {file.removesuffix(".py"): (str(path / file), body) for file, body in files_in(text).items()}
        files = {name if part == "__init__" else f"{name}.{part}": told for part, told in parts.items()}
    paths = tuple(file for file, _ in files.values())
    for file, body in files.values():
        # drivers are sent as source: that of this very moment, also when the file is edited or gone later
        linecache.cache[file] = (len(body), None, body.splitlines(keepends=True), file)
    sys.meta_path.insert(0, finder := Snapshot(name, files))
    try:
        module = import_module(name)
        return module, paths, in_order(path, module, files) if is_folder(text) else checks_in(module)
    except CourseError:
        raise
    except SyntaxError as error:
        at = f"{error.filename}, line {error.lineno}"
        raise CourseError(f"the checks in {path} cannot be loaded: SyntaxError in {at}: {error.msg}") from None
    except Exception as error:
        told = said(error).replace(f"{name}.", "")
        raise CourseError(f"the checks in {path} cannot be loaded: {told}{line_in(error, paths)}") from error
    finally:
        sys.meta_path.remove(finder)


class Snapshot:
    """Imports the files of one loading, by module name ``(path, text)``, from memory."""

    def __init__(self, package: str, files: dict[str, tuple[str, str]]) -> None:
        self.package, self.files = package, files

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.files:
            return None
        return ModuleSpec(name, self, origin=self.files[name][0], is_package=name == self.package)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__, text = self.files[module.__name__]
        exec(compile(text, module.__file__, "exec"), vars(module))


def checks_in(module: ModuleType) -> list[Any]:
    return [value.__check__ for value in vars(module).values() if hasattr(value, "__check__")]


def in_order(path: Path, package: ModuleType, files: dict[str, tuple[str, str]]) -> list[Any]:
    """The checks of a folder, as `ORDER` in its package says. Raises CourseError when that does not name each once."""
    order = getattr(package, "ORDER", None)
    if not isinstance(order, tuple):
        raise CourseError(f"{path / FIRST} must say what is run, in this order: ORDER = (…), with names of files")
    found: list[Any] = []
    for entry in order:
        part, dot, one = str(entry).partition(".")
        if f"{package.__name__}.{part}" not in files:
            raise CourseError(f"{path / FIRST}: ORDER names {entry!r}, and there is no file {part}.py beside it")
        there = checks_in(import_module(f"{package.__name__}.{part}"))
        if dot:
            there = [check for check in there if check.function.__name__ == one]
        else:
            there = [check for check in there if f"{part}.{check.function.__name__}" not in order]
        if not there or any(check in found for check in there):
            raise CourseError(
                f"{path / FIRST}: ORDER names {entry!r}, which is {'named twice' if there else 'no check'}"
            )
        found += there
    for name, (file, _) in files.items():
        if name not in sys.modules:
            raise CourseError(f"{file} is used by no other file, and ORDER in {FIRST} does not name it")
        if lost := [check.id for check in checks_in(sys.modules[name]) if check not in found]:
            raise CourseError(f"{file}: ORDER in {FIRST} does not name {', '.join(lost)}")
    return found


def line_in(error: BaseException, paths: tuple[str, ...]) -> str:
    """Where in some files an exception came by last, as the end of a sentence; in a folder with the file."""
    last = [f for f in traceback.extract_tb(error.__traceback__, limit=200) if f.filename in paths][-1:]
    return "".join(
        f" ({Path(f.filename).name}, line {f.lineno})" if len(paths) > 1 else f" (line {f.lineno})" for f in last
    )


_loaded = itertools.count()
