"""Commands of students and self-learners: read, solve, check, hand in, keep up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cs336lite.cli.console import Assignment, Console, console, say
from cs336lite.course.paths import find_root

commands = typer.Typer()


@commands.command()
def update(
    edition: Annotated[Path | None, typer.Argument(help="the newer edition, a folder or a .zip")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="change nothing; say what would happen")] = False,
) -> None:
    """Bring the student edition you work in up to a newer one; your work stays."""
    from cs336lite.course.update import update as run

    said = run(find_root(), edition, dry_run=dry_run)
    say(said)


@commands.command()
def lab(
    arguments: Annotated[list[str] | None, typer.Argument(help="what JupyterLab gets, after --")] = None,
) -> None:
    """JupyterLab, at the page that says what to do next; commands of the course are on its path."""
    from cs336lite.course.lab import lab as run

    raise typer.Exit(run(find_root(), arguments or ()))


@commands.command()
def study(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="change nothing; say what would happen")] = False,
) -> None:
    """For self-learners: make my/, your own copy without answers, or bring it up to date; your work stays."""
    from cs336lite.course.study import study as run

    say(run(find_root(), dry_run=dry_run))


@commands.command()
def reset(
    notebook: Annotated[str, typer.Argument(help="a lecture or an assignment, such as 03 or a1")],
    exercise: Annotated[str | None, typer.Argument(help="one exercise; by default the whole notebook")] = None,
) -> None:
    """Put a notebook, or one exercise, back as it was given; what you had is kept beside it."""
    from cs336lite.course.reset import reset as run

    say(run(find_root(), notebook, exercise))


@commands.command()
def solution(
    assignment: Assignment,
    exercise: Annotated[str, typer.Argument(help="an exercise")],
    give_up: Annotated[bool, typer.Option("--give-up", help="also before your checks pass")] = False,
) -> None:
    """Show the course's solution of an exercise, to compare with yours, where your copy of the course may show it."""
    from cs336lite.course.reference import show_solution as run

    console.print(run(assignment, exercise, give_up=give_up))


@commands.command()
def submit(assignment: Assignment) -> None:
    """Hand in an assignment, where your edition knows nbgrader's exchange."""
    from cs336lite.course.handin import submit as run

    say(run(find_root(), assignment))


@commands.command()
def check(
    assignment: Assignment,
    exercise: Annotated[str | None, typer.Argument(help="one exercise; by default all")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="a notebook or .py to check instead; its code is run as you")
    ] = None,
) -> None:
    """Run the public checks. Exit status 1 when one fails.

    The code that is checked is run as you, with nothing around it: it can do whatever you can. For work of others there
    is `cs336lite grade`.
    """
    from cs336lite.course.check import check as run
    from cs336lite.course.check import word_of_warning

    if file is not None and (warning := word_of_warning(find_root(), file)):
        Console(stderr=True).print(warning, markup=False, highlight=False, soft_wrap=True)
    result = run(assignment, exercise, solution=file)
    console.print(result)
    raise typer.Exit(0 if result.passed else 1)


@commands.command()
def hint(
    assignment: Assignment,
    exercise: Annotated[str | None, typer.Argument(help="an exercise; by default the first unsolved")] = None,
) -> None:
    """One more hint for an exercise."""
    from cs336lite.course.hint import hint as run

    console.print(repr(run(assignment, exercise)), markup=False, highlight=False)


@commands.command()
def status() -> None:
    """What there is to read and to solve, and how far you are."""
    from cs336lite.course.status import status as run

    console.print(run())
