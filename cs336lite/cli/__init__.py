"""``cs336lite …``: the commands of authors, students and instructors; all logic is in the other rooms.

A command says what it takes, and makes the one call that does it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import typer

from cs336lite.cli import author, instructor, student
from cs336lite.cli.console import Console
from cs336lite.course.border import lines
from cs336lite.course.paths import CourseError, find_root, full_repository, is_student_edition

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
GROUPS = (author.commands, student.commands, instructor.commands)
"""In the order of the help."""
for group in GROUPS:
    app.add_typer(group)


def main() -> None:
    """Run a command; a mistake of the user's ends with a message and status 2."""
    hide_what_is_not_for_students()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # whatever the terminal can show, no letter ends a command
    try:
        app()
    except CourseError as error:
        told = f"cs336lite: {lines(error)}"
        Console(stderr=True).print(told, style="bold", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("cs336lite."):
            raise
        Console(stderr=True).print("cs336lite: this command needs the full repository", style="bold", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("\ninterrupted: run the same command again to go on", markup=False)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def hide_what_is_not_for_students() -> None:
    """In a student edition the help lists what works there; `study` is for a self-learner's own copy."""
    with suppress(CourseError):
        root = find_root()
        left = {"feedback", "unlock"} | {command.callback.__name__ for command in student.commands.registered_commands}
        left -= set() if full_repository(root) else {"study"}
        for group in GROUPS if is_student_edition(root) else ():
            for command in group.registered_commands:
                command.hidden = command.callback.__name__ not in left
