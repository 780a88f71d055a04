"""``cs336lite submit`` and ``cs336lite feedback`` in a student edition: nbgrader's exchange, from any folder of it.

An edition that was released for an exchange has an ``nbgrader_config.py`` at its root and in ``assignments/``, so that
nbgrader's own commands and JupyterLab's assignment list work there as well.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336lite.course.border import plain
from cs336lite.course.manifest import Manifest
from cs336lite.course.paths import CourseError, assignment_name, is_student_edition

CONFIG = "nbgrader_config.py"
COURSE_ID = "cs336lite"
UPLOAD = "upload {notebook} where your instructor says"

TEMPLATE = '''\
"""Where your work is handed in; nbgrader reads this when it is started in this folder."""

from pathlib import Path

c = get_config()
c.CourseDirectory.course_id = {course_id!r}
c.Exchange.root = {exchange!r}
c.Exchange.assignment_dir = str(Path(__file__).resolve().parent{below})
# of an assignment's folder, what is handed in: not checkpoints, data, a text that came later, or what a reset kept
c.CourseDirectory.include = ["*.ipynb", "*.py"]
c.CourseDirectory.ignore = [
    ".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback", "* (new).ipynb", "* (mine*).ipynb", "nbgrader_config.py"
]
c.CourseDirectory.max_dir_size = 10**8  # kB, of which nearly all is left out
'''


@dataclass(frozen=True)
class HandIn:
    """Through which folder, and under which name of the course, an edition's work is handed in.

    Raises:
        CourseError: a name that cannot be one, or a relative path.
    """

    exchange: Path
    course_id: str = COURSE_ID

    def __post_init__(self) -> None:
        if problem := problem_of_course_id(self.course_id):
            raise CourseError(f"the name of the course, {plain(self.course_id)!r}, {problem}")
        text = str(self.exchange)
        if not self.exchange.is_absolute() or not text.isprintable():
            raise CourseError(f"the exchange {plain(text)!r} must be a whole path, as students see it: /srv/exchange")

    def files(self) -> dict[str, str]:
        """The files of an edition that say it, by path."""
        fill = {"course_id": self.course_id, "exchange": str(self.exchange)}
        return {
            CONFIG: TEMPLATE.format(below=' / "assignments"', **fill),
            f"assignments/{CONFIG}": TEMPLATE.format(below="", **fill),
        }


def problem_of_course_id(name: str) -> str:
    """Why a course cannot have this name in an exchange, where it is the name of a folder; empty when it can."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}", name) and name == name.strip():
        return ""
    return "must be letters, digits, blanks, and any of . _ - (no +, no /)"


def submit(root: Path, assignment: str) -> str:
    """Hand in an assignment of a student edition; what was handed in, in a paragraph.

    Raises:
        CourseError: this is no student edition or has no exchange, the notebook is missing, or the exchange does not
            take it.
    """
    name = assignment_name(root, assignment)
    config = configuration(root, name)
    notebook = root / "assignments" / name / f"{name}.ipynb"
    if not notebook.is_file():
        raise CourseError(f"there is no {notebook}: that is the file that is handed in")
    course = Path(config.Exchange.root) / config.CourseDirectory.course_id
    if not (course / "outbound" / name).is_dir():
        raise CourseError(
            f"{name} cannot be handed in yet: your instructor has not released it in the exchange {course}"
        )
    sent = exchange(root, "Submit", config, name)
    told = (
        f"{name} was handed in at {sent.timestamp} ({size(notebook)}, {notebook.relative_to(root)}). You may hand in "
        f"again; the last one counts. `cs336lite feedback {name}` fetches the feedback once there is some."
    )
    if Manifest.of(root).changed(notebook.relative_to(root).as_posix(), notebook.read_bytes()):
        return told
    return f"{told}\nIts cells are still as you were given them: if you have solved any, save the notebook and hand in again."


def feedback(root: Path, assignment: str) -> str:
    """Fetch the feedback on what was handed in of an assignment; where the pages are, in a paragraph.

    Raises:
        CourseError: this is no student edition or has no exchange, or nothing was handed in or released.
    """
    name = assignment_name(root, assignment)
    config = configuration(root, name)
    course = Path(config.Exchange.root) / config.CourseDirectory.course_id
    if not (course / "feedback").is_dir():
        return f"there is no feedback on {name} yet"
    fetched = exchange(root, "FetchFeedback", config, name)
    handed_in = list(Path(fetched.cache_path).glob(f"*+{name}+*"))
    if not handed_in:
        raise CourseError(f"nothing of {name} was handed in by you from this machine: `cs336lite submit {name}`")
    if not fetched.feedback_files:
        return f"there is no feedback on {name} yet ({len(handed_in)} handed in)"
    folder = Path(fetched.dest_path).relative_to(root)
    pages = [f"  {folder / when / f'{page}.html'}" for page, when, _ in sorted(fetched.feedback_files)]
    return "\n".join([f"feedback on {name}, to open in a browser:", *pages])


def configuration(root: Path, name: str) -> Any:
    """What the edition's ``nbgrader_config.py`` says."""
    if not is_student_edition(root):
        raise CourseError("this is the full repository; work is handed in from a student edition")
    notebook = f"assignments/{name}/{name}.ipynb"
    if not (root / CONFIG).is_file():
        raise CourseError(f"this edition does not say where work is handed in: {UPLOAD.format(notebook=notebook)}")
    if sys.platform == "win32":
        raise CourseError(f"nbgrader's exchange is not for Windows: {UPLOAD.format(notebook=notebook)}")
    from traitlets.config import PyFileConfigLoader

    try:
        config = PyFileConfigLoader(CONFIG, path=str(root)).load_config()
    except Exception as error:  # whatever a person wrote there
        raise CourseError(f"{root / CONFIG} cannot be read: {type(error).__name__}: {plain(error)}") from None
    folder = Path(str(config.Exchange.root))
    if not folder.is_dir() or not os.access(folder, os.X_OK):
        raise CourseError(
            f"the exchange {folder} cannot be reached from here: work on the machine of your course, or "
            + UPLOAD.format(notebook=notebook)
        )
    return config


def exchange(root: Path, kind: str, config: Any, name: str) -> Any:
    """Run one of nbgrader's exchange commands; the object that did it.

    Raises:
        CourseError: what nbgrader says when it cannot.
    """
    from nbgrader.auth import Authenticator
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.exchange import ExchangeError, ExchangeFactory

    config.CourseDirectory.assignment_id = name
    with quiet():
        try:
            factory = ExchangeFactory(config=config)
            done = getattr(factory, kind)(
                coursedir=CourseDirectory(config=config), authenticator=Authenticator(config=config), config=config
            )
            done.start()
        except ExchangeError as error:
            raise CourseError(f"{name}: {plain(error)}") from None
        except KeyError:
            raise CourseError("your user has no name on this machine, so nbgrader cannot tell who hands in") from None
        except (OSError, RuntimeError) as error:
            raise CourseError(f"{name}: {plain(getattr(error, 'strerror', None) or error)}") from None
    return done


@contextmanager
def quiet() -> Iterator[None]:
    """nbgrader's own lines are left out: we say what happened."""
    log = logging.getLogger("traitlets")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def size(path: Path) -> str:
    count = path.stat().st_size
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"
