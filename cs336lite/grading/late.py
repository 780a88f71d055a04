"""Penalties for late work: what nbgrader's late policy says, computed anew in every run.

A due date, an extension or the policy may have changed since a submission was recorded, so nothing of this is kept. The
policy is a class as nbgrader's manual describes it (``late_policy.py`` in the course folder, and
``c.AssignLatePenalties.plugin_class = "late_policy.Late"``); it is imported as nbgrader does, from the course folder first.
"""

from __future__ import annotations

import importlib
import logging
import math
import sys
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import TraitError

from cs336lite.course.paths import CourseError

if TYPE_CHECKING:
    from nbgrader.preprocessors import AssignLatePenalties


@dataclass(frozen=True)
class Standing:
    """What the gradebook holds of a student's submission. Points; seconds; ``score`` is what counts, the penalty taken off."""

    student: str
    score: float
    max_score: float
    auto_score: float
    manual: bool  # whether a person gave a score
    needs_manual_grade: bool
    penalty: float
    seconds_late: float  # beyond the due date with its extension
    extension_seconds: float | None


def seconds_late(submission: Any) -> float:
    """nbgrader's ``total_seconds_late``, which fails where there is an extension and no due date any more."""
    if submission.timestamp is None or submission.assignment.duedate is None:
        return 0.0
    return float(submission.total_seconds_late)


def standing_of(submission: Any) -> Standing:
    """What is recorded of one of nbgrader's submissions."""
    grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
    penalty = penalty_of(submission)
    return Standing(
        submission.student_id,
        round(sum(notebook.score for notebook in submission.notebooks) - penalty, 6),
        sum(notebook.max_score for notebook in submission.notebooks),
        sum(grade.auto_score or 0.0 for grade in grades),
        any(grade.manual_score is not None for grade in grades),
        any(grade.needs_manual_grade for grade in grades),
        penalty,
        seconds_late(submission),
        None if submission.extension is None else submission.extension.total_seconds(),
    )


def penalty_of(submission: Any) -> float:
    return sum(notebook.late_submission_penalty or 0.0 for notebook in submission.notebooks)


class LatePolicy:
    """The late policy of a course's configuration. Raises CourseError when it cannot be imported."""

    def __init__(self, course: Path, config: Any) -> None:
        named = config.AssignLatePenalties.get("plugin_class")
        self.name = named if isinstance(named, str) else getattr(named, "__name__", "the late policy")
        if isinstance(named, str):
            import_from(course, named)
        self.course, self.config = course, config
        if config.AssignLatePenalties or config.LateSubmissionPlugin:  # else it is nbgrader's own, which needs no trial
            _ = self.nbgrader

    @cached_property
    def nbgrader(self) -> AssignLatePenalties:
        """nbgrader's preprocessor with the policy. Raises CourseError when it is none."""
        from nbgrader.preprocessors import AssignLatePenalties  # which takes half a second

        try:
            made = AssignLatePenalties(config=self.config)
            made.log.setLevel(logging.ERROR)  # its policies say for each submission that they are asked
            made.init_plugin()
            return made
        except TraitError:
            raise CourseError(
                f"{self.name} is no late policy: c.AssignLatePenalties.plugin_class in nbgrader_config.py names a subclass "
                "of nbgrader.plugins.BasePlugin with a method late_submission_penalty"
            ) from None
        except Exception as error:
            raise CourseError(f"the late policy {self.name} cannot be made: {told(error, self.course)}") from None

    def settle(self, submission: Any) -> bool:
        """Set a submission's penalties to what they are now; whether that changed one. The caller commits.

        Raises CourseError when the policy does.
        """
        late, changed = seconds_late(submission), False
        for notebook in submission.notebooks:
            penalty = self.penalty(submission.student_id, notebook, late) if late > 0 else None
            if (notebook.late_submission_penalty or 0.0) != (penalty or 0.0):
                changed = True
            if notebook.late_submission_penalty != penalty:
                notebook.late_submission_penalty = penalty
        return changed

    def penalty(self, student: str, notebook: Any, late: float) -> float | None:
        policy = self.nbgrader.plugin_inst
        try:
            penalty = policy.late_submission_penalty(student, notebook.score, late)
            penalty = None if penalty is None else float(penalty)
        except Exception as error:
            raise CourseError(f"the late policy {self.name} failed: {told(error, self.course)}") from None
        if penalty is None:
            return None
        if math.isnan(penalty):
            raise CourseError(f"the late policy {self.name} gave no number")
        return self.nbgrader._check_late_penalty(notebook, penalty)


def import_from(course: Path, name: str) -> None:
    """Import the module of a policy as nbgrader's commands do when they are started in the course folder."""
    module = name.rpartition(".")[0]
    top = module.partition(".")[0]
    here = course / f"{top}.py"
    loaded = getattr(sys.modules.get(top), "__file__", None)
    if here.is_file() and loaded is not None and Path(loaded).resolve() != here.resolve():
        del sys.modules[top]  # another course's
    folder = str(course)
    sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
    importlib.invalidate_caches()
    try:
        found = importlib.import_module(module) if module else None
    except Exception as error:
        raise CourseError(f"the late policy {name} cannot be imported: {told(error, course)}") from None
    finally:
        sys.path.remove(folder)
        sys.path.append(folder)  # what it imports later, and nothing that the grader imports
    if found is None or not hasattr(found, name.rpartition(".")[2]):
        raise CourseError(
            f"the late policy {name} cannot be imported: c.AssignLatePenalties.plugin_class in nbgrader_config.py names a "
            "module and a class in it, such as late_policy.Late in late_policy.py"
        )


def told(error: Exception, course: Path) -> str:
    """An error in an instructor's own file, with the line that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next(((f.filename, f.lineno) for f in reversed(frames) if Path(f.filename).is_relative_to(course)), None)
    if isinstance(error, SyntaxError) and error.filename:
        place = error.filename, error.lineno
    where = f" ({Path(place[0]).name}, line {place[1]})" if place else ""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message}{where}"
