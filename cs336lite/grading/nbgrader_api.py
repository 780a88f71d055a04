"""nbgrader as a library: its configuration of this course, and its API, which says nothing on its own."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cs336lite.course.paths import CourseError


def course_config(course: Path) -> Any:
    """The configuration of nbgrader's commands when they are started in the course folder."""
    from traitlets.config import Config

    from cs336lite.grading.hooks import configure
    from cs336lite.grading.late import told

    config = Config()
    extra = course / "nbgrader_config.py"
    with in_folder(course), quietly():
        if not extra.exists():
            configure(config, course)
            return config
        try:
            exec(compile(extra.read_text(), str(extra), "exec"), {"get_config": lambda: config, "__file__": str(extra)})
        except (CourseError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise CourseError(f"nbgrader_config.py cannot be used: {told(error, course)}") from None
    return config


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Nothing but errors in nbgrader's log while this lasts: the log may be a command's, which has a level of its own."""
    log = logging.getLogger("traitlets")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def nbgrader_api(course: Path) -> Any:
    """nbgrader's own API, configured as its command line is when started in the course folder."""
    from nbgrader.apps import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory

    config = course_config(course)
    with in_folder(course):
        return NbGraderAPI(CourseDirectory(config=config), config=config)


def last_error(result: dict[str, Any]) -> str:
    """The last line that says anything in what an nbgrader command logged."""
    lines = [line for line in (result.get("error") or result.get("log") or "").strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
