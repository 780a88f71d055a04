"""``cs336lite lab``: JupyterLab on this copy of the course, at the page that says what to do next.

In its terminals and notebooks ``cs336lite`` and ``nbgrader`` are on the path. A student edition shows none of nbgrader's
tools for instructors. What JupyterLab reads for that lies in ``.cs336lite/jupyter``, so the environment stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat

from cs336lite.course.check import public_spec
from cs336lite.course.handin import CONFIG
from cs336lite.course.paths import (
    CourseError,
    assignments,
    full_repository,
    is_student_edition,
    read_json,
    write_atomic,
)
from cs336lite.course.status import Status, status

__all__ = ["lab", "settings", "write_start_page"]

PAGE = "start.ipynb"
CELL = "from cs336lite.course import status\n\nstatus()"

HOW = """\
## How it works
- A lecture: run it cell by cell (Shift+Enter). Guess where it says **Predict**, solve its exercises. Its last cell says what
  comes next.
- An assignment: `check("{name}", "{exercise}")` runs the public checks of an exercise, `hint("{name}", "{exercise}")` gives one more
  hint. Save (Ctrl+S) and run the last cell: it puts your code into `cs336lite/`, and lectures use it.
- Times are what most people take. Run the cell above at any time to see where you are.

In a terminal (File > New > Terminal):

| command | what it does |
|---|---|
| `cs336lite status` | the next step, what is done, and the hours that are left |
| `cs336lite check {name}` | the public checks of an assignment |
| `cs336lite hint {name} {exercise}` | one more hint for an exercise |
| `cs336lite reset 01` | a notebook as it was given; yours is kept beside it |
| `cs336lite reset {name} {exercise}` | the same for one exercise |
{more}

Chinese terms stand in brackets, for readers who search for them. Where they show as boxes, your system has no Chinese font:
install one, such as [Noto Sans CJK](https://fonts.google.com/noto/specimen/Noto+Sans+SC) (`apt install fonts-noto-cjk`).
"""
FULL = """\
This is the whole course, solutions included. To solve the assignments yourself, run `make study` in the folder of the course: \
it makes `my/`, a copy without answers that is yours to change.
"""
STUDY = """\
This folder, `my/`, is yours: nothing here collides with a `git pull`. What you have not written yet is missing in the package
here, and lectures say so where they need it.
"""
MORE = {
    "full": "| `cs336lite study` | makes `my/`, or brings it up to a newer version of the course; your work stays |",
    "study": """\
| `cs336lite solution {name} {exercise}` | the course's solution, once your checks pass; `--give-up` shows it before |
| `cs336lite unlock {name}` | use the course's module here, yours waits; `--undo` takes yours again |
| `cs336lite study` | after a `git pull`: brings this folder up to date; your work stays |""",
    "edition": """\
| `cs336lite submit {name}`, `cs336lite feedback {name}` | hand in, fetch the feedback (where the course uses nbgrader's exchange) |
| `cs336lite solution {name} {exercise}` | the course's solution, once your instructor has unlocked it |
| `cs336lite update NEW_EDITION.zip` | a newer edition into this one; your work stays |""",
}


def lab(root: Path, arguments: Sequence[str] = ()) -> int:
    """Start JupyterLab on a copy of the course, with the start page open; its exit status.

    Args:
        root: of the copy.
        arguments: what JupyterLab gets besides, such as ``--no-browser``.
    """
    os.chdir(root)
    said = write_start_page(root)
    if said:
        print(said)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    page = [f"--LabApp.default_url=/lab/tree/{PAGE}"] if (root / PAGE).is_file() else []
    command += [*page, *arguments]
    if os.name == "posix":
        os.execve(sys.executable, command, environment(root))
    return subprocess.run(command, env=environment(root), check=False).returncode


def environment(root: Path) -> dict[str, str]:
    """The environment of JupyterLab and of all that is started in it."""
    programs = str(Path(sys.executable).parent)
    settings(root)
    put = {"PATH": programs, "JUPYTER_CONFIG_PATH": str(root / ".cs336lite" / "jupyter")}
    if full_repository(root):  # also what a cell starts in another folder takes this copy's modules
        put["PYTHONPATH"] = str(root)
    return os.environ | {
        name: os.pathsep.join(filter(None, [first, os.environ.get(name)])) for name, first in put.items()
    }


def settings(root: Path) -> Path:
    """Write what JupyterLab reads: no question about news, and in an edition no tools for instructors. The folder of it."""
    edition, exchange = is_student_edition(root), (root / CONFIG).exists()
    hidden = ["formgrader", "create-assignment", "course-list"] * edition
    hidden += ["assignment-list", "menu"] * (edition and not exchange)
    plugins = {f"@jupyter/nbgrader:{name}": True for name in hidden}
    servers = {f"nbgrader.server_extensions.{name.replace('-', '_')}": False for name in hidden if name in SERVED}
    # no login shell, which would set the path anew
    shell = {"terminado_settings": {"shell_command": [os.environ.get("SHELL") or "sh"]}} if os.name == "posix" else {}
    folder = root / ".cs336lite" / "jupyter"
    files = {
        "labconfig/page_config.json": {"disabledExtensions": plugins},
        "labconfig/default_setting_overrides.json": {
            "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
        },
        "jupyter_server_config.json": {"ServerApp": shell},
        "jupyter_server_config.d/cs336lite.json": {
            "ServerApp": {"jpserver_extensions": servers}
        },  # of extensions alone
    }
    try:
        for name, content in files.items():
            write_atomic(folder / name, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise CourseError(
            f"nothing can be written into {folder} ({error.strerror}): work in a folder of yours"
        ) from None
    return folder


SERVED = {"formgrader", "course-list", "assignment-list"}
"""The parts of nbgrader that have a part in the server, too."""


def write_start_page(root: Path) -> str:
    """Write ``start.ipynb``: what to do next, as of now. Returns a sentence where that cannot be done, else nothing.

    A page in which somebody has written is left alone.
    """
    path = root / PAGE
    cells = start_cells(root, status(root))
    page = nbformat.v4.new_notebook(cells=cells)
    page.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    page.metadata["cs336lite"] = {"page": digest([cell.source for cell in cells])}
    if path.exists() and not is_ours(path):
        return f"{PAGE} holds something of yours and is left as it is: rename it, and `make lab` makes a new one"
    try:
        write_atomic(path, nbformat.writes(page) + "\n")
    except OSError as error:
        return f"{PAGE} cannot be written ({error.strerror})"
    return ""


def is_ours(path: Path) -> bool:
    """Whether the cells of a page are as they were written; outputs do not count."""
    page = read_json(path, {})
    try:
        sources = ["".join(cell["source"]) for cell in page["cells"]]
        return page["metadata"]["cs336lite"]["page"] == digest([source for source in sources if source])
    except (KeyError, TypeError):
        return False


def digest(sources: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def start_cells(root: Path, found: Status) -> list[nbformat.NotebookNode]:
    """The cells of the start page; ids are fixed, so that the page is the same when nothing has changed."""
    kind = "study" if full_repository(root) else "edition" if is_student_edition(root) else "full"
    head = f"# Start here\n\n**{head_with_link(found)}**\n\n" + {"full": FULL, "study": STUDY}.get(kind, "")
    table = nbformat.v4.new_output(
        "execute_result", data={"text/html": found.html(root), "text/plain": repr(found)}, execution_count=1
    )
    return [
        nbformat.v4.new_markdown_cell(head.strip(), id="next"),
        nbformat.v4.new_code_cell(CELL, id="status", execution_count=1, outputs=[table]),
        nbformat.v4.new_markdown_cell(how(root, kind), id="how"),
    ]


def how(root: Path, kind: str) -> str:
    """How the course is used, with the first assignment of this copy as the example."""
    name = next(iter(assignments(root)), None)
    exercise = next(iter(public_spec(root, name).exercises)) if name else "train"
    return (HOW.strip() + "\n").replace("{more}", MORE[kind]).format(name=name or "a1_bpe", exercise=exercise)


def head_with_link(found: Status) -> str:
    """The sentence that says what is next, its notebook a link."""
    step = found.next
    return found.head if step is None else found.head.replace(step.notebook, f"[{step.notebook}]({step.notebook})", 1)
