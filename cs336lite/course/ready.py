"""Whose code a lecture runs on, what stands in where an assignment is not done yet, and what comes next.

READY = whose("attention", "rope", lecture="03_architecture")    # in the first code cell: says whose they are

if READY.or_show("score patterns"):                # runs on the reader's modules; where they are not there yet, the
    ...                                            # cell shows what the course's own run of it has shown

finished("03_architecture")                        # the last cell: remembers it, and says what comes next
"""

from __future__ import annotations

import ast
import contextlib
import html
import importlib
import io
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336lite.course import progress
from cs336lite.course.check import public_spec, run_checks
from cs336lite.course.export import kept_beside
from cs336lite.course.module import missing
from cs336lite.course.paths import (
    GRADED_MODULES,
    CourseError,
    assignments,
    find_root,
    is_student_edition,
    own_root,
    read_json,
    step_notebook,
    steps,
)
from cs336lite.course.spec import LocalStudent

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["Next", "Ready", "finished", "have", "kept_outputs", "outputs_file", "unsolved", "whose"]

MOST_NAMES = 3  # of unsolved functions that one sentence lists


def unsolved(root: Path, name: str) -> list[str] | None:
    """Functions of an assignment's module that still raise NotImplementedError; None when there is no module."""
    path = root / "cs336lite" / f"{GRADED_MODULES[name]}.py"
    return missing(path.read_text(encoding="utf-8")) if path.exists() else None


def have(assignment: str, root: Path | None = None) -> bool:
    """Whether the package holds a complete solution of an assignment; says what is missing when it does not.

    Raises:
        CourseError: there is no such assignment.
    """
    root = root or own_root()
    name = next((known for known in GRADED_MODULES if assignment in (known, known.split("_")[0])), assignment)
    if name not in GRADED_MODULES:
        raise CourseError(f"there is no assignment {assignment!r}; the course has: {', '.join(GRADED_MODULES)}")
    if unsolved(root, name) == []:
        return True
    print(not_done(root, name))
    return False


def not_done(root: Path, name: str) -> str:
    """One sentence: what an assignment lacks, and what to do."""
    left = unsolved(root, name)
    if left is None:
        what = f"cs336lite/{GRADED_MODULES[name]}.py is missing"
    else:
        named = [one for one in left if not one.startswith("line ")] or left
        more = [f"and {len(named) - MOST_NAMES} more"] if len(named) > MOST_NAMES else []
        what = ", ".join([*named[:MOST_NAMES], *more])
    if name not in assignments(root):
        return f"{name} is not done yet ({what}): it comes with a newer edition."
    return (
        f"{name} is not done yet ({what}): solve {place_of(root, name)}, run its last cell, then restart this notebook."
    )


def place_of(root: Path, name: str) -> str:
    return step_notebook(root, name).relative_to(root).as_posix()


# -------------------------------------------------------------------------------------------------------- whose code runs


def whose(*modules: str, lecture: str, root: Path | None = None) -> Ready:
    """Say for each graded module whose code it is and what its public checks say of it; true when all are there.

    In a student edition the public checks run on the module that lectures import, so that the sentence is about this
    very code, not about a notebook that has gone on. The random state stays as it was.

    Args:
        modules: names of graded modules, such as ``"attention"``.
        lecture: the name of the lecture that asks.

    Raises:
        CourseError: a module is not an assignment's, or the package is another folder's than the notebook.
    """
    root = root or own_root()
    names = {module: name for name, module in GRADED_MODULES.items()}
    lacking = []
    for module in modules:
        if module not in names:
            raise CourseError(f"no assignment builds {module!r}; assignments build: {', '.join(names)}")
        there, told = standing(root, names[module], module)
        print(f"{module}: {told}")
        if not there:
            lacking.append(names[module])
    return Ready(root, lecture, tuple(lacking))


def standing(root: Path, name: str, module: str) -> tuple[bool, str]:
    """(whether a module can be used, whose it is) for an assignment and its module."""
    if unsolved(root, name) != []:
        return False, not_done(root, name)
    if not is_student_edition(root):
        return True, "the course's reference"
    if kept_beside(root, module).exists():
        return True, f"the course's reference, unlocked; yours waits in cs336lite/{kept_beside(root, module).name}"
    try:
        names = dict(vars(importlib.import_module(f"cs336lite.{module}")))
    except Exception as error:  # whatever a student's module raises
        return False, (
            f"yours, and it cannot be imported ({type(error).__name__}: {error}): "
            f"run {place_of(root, name)} again, its last cell too, then restart this notebook."
        )
    if name not in assignments(root):
        return True, "yours"
    with same_random_state(), contextlib.redirect_stdout(io.StringIO()):
        results = run_checks(public_spec(root, name), LocalStudent(names))
    right = sum(result.passed for result in results)
    told = f"yours, {right} of {len(results)} public checks passed"
    if right == len(results):
        return True, told
    return True, f'{told}. What follows may go wrong because of it: run check("{name}") in {place_of(root, name)}'


@contextlib.contextmanager
def same_random_state() -> Iterator[None]:
    """Give every generator that a notebook shares with us back the state that it had."""
    numpy, torch = (sys.modules.get(name) for name in ("numpy", "torch"))
    python, arrays = random.getstate(), numpy and numpy.random.get_state()
    tensors = torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(python)
        if numpy:
            numpy.random.set_state(arrays)
        if torch:
            torch.set_rng_state(tensors)


# ---------------------------------------------------------------------------------------------------- what stands in for it


@dataclass(frozen=True)
class Ready:
    """True when the modules that some cells of a lecture need are there."""

    root: Path
    lecture: str
    lacking: tuple[str, ...]  # assignments that are not done

    def __bool__(self) -> bool:
        return not self.lacking

    def __and__(self, other: Ready) -> Ready:
        return Ready(self.root, self.lecture, tuple(dict.fromkeys((*self.lacking, *other.lacking))))

    def or_show(self, name: str) -> bool:
        """True when a cell can run; where it cannot, say what it needs and show what the course's own run has shown.

        Args:
            name: of the cell, as no other cell of the lecture has it.
        """
        if self:
            return True
        places = " and ".join(place_of(self.root, needed) for needed in self.lacking)
        kept = read_json(outputs_file(self.root, self.lecture), {})
        outputs = kept.get(name) if isinstance(kept, dict) else None
        told = " The course's own run shows:" if outputs else ""
        print(f"Not run yet: solve {places} first.{told}")
        show(outputs or [])
        return False


def outputs_file(root: Path, lecture: str) -> Path:
    """Where an edition keeps what the course's own run of a lecture has shown in cells that need an assignment."""
    return root / "notebooks" / "outputs" / f"{lecture}.json"


def kept_outputs(notebook: NotebookNode) -> dict[str, list[dict[str, Any]]]:
    """The outputs of the cells of a lecture that call `or_show`, by the names that they give.

    Raises:
        CourseError: two cells give the same name.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for cell in notebook.cells:
        for name in shown_names(cell.source) if cell.cell_type == "code" else []:
            if name in found:
                raise CourseError(f"two cells of this lecture say or_show({name!r}): give one of them another name")
            found[name] = cell.outputs
    return {name: outputs for name, outputs in found.items() if outputs}


def shown_names(source: str) -> list[str]:
    """What a cell's calls of `or_show` name."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    calls = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "or_show"]
    return [str(call.args[0].value) for call in calls if call.args and isinstance(call.args[0], ast.Constant)]


def show(outputs: list[dict[str, Any]]) -> None:
    """Show a notebook cell's outputs in the cell that runs."""
    from IPython.display import display

    for output in outputs:
        if output.get("output_type") == "stream":
            print(output.get("text", ""), end="")
        else:
            display(output.get("data", {}), raw=True)


# --------------------------------------------------------------------------------------------------------- what comes next


@dataclass(frozen=True)
class Next:
    """The step that comes after a lecture. Shows itself as a link in a notebook, and as a line in a terminal."""

    name: str  # "" after the last
    place: str

    def __repr__(self) -> str:
        if not self.name:
            return "That was the last step of the course. status() shows what you have left out."
        return f"Next: {self.name}, in {self.place}. status() shows the whole way."

    def _repr_html_(self) -> str:
        if not self.name:
            return f"<p>{html.escape(repr(self))}</p>"
        link = f'<a href="../{html.escape(self.place)}">{html.escape(self.name)}</a>'
        return f"<p>Next: {link}. <code>status()</code> shows the whole way.</p>"


def finished(lecture: str, *, root: Path | None = None) -> Next:
    """The last cell of a lecture: remember that it has run to its end, and say what comes next on the way.

    Raises:
        CourseError: there is no such lecture.
    """
    root = root or find_root()
    order = steps(root)
    if lecture not in order or lecture in GRADED_MODULES:
        known = ", ".join(name for name in order if name not in GRADED_MODULES)
        raise CourseError(f"there is no lecture {lecture!r}; there are: {known or 'none'}")
    if "CS336LITE_BUILD" not in os.environ:  # a build is nobody's progress
        progress.record_read(root, lecture)
    after = order[order.index(lecture) + 1 :]
    return Next(after[0], place_of(root, after[0])) if after else Next("", "")
