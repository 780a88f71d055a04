"""Commands of authors: build, new texts, points, recorded results, the student edition."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cs336lite.cli.console import Assignment, say
from cs336lite.course.paths import CourseError, assignment_name, find_root, hidden_checks, is_student_edition

commands = typer.Typer()


@commands.command()
def build(
    names: Annotated[list[str] | None, typer.Argument(help="notebooks to build; by default all")] = None,
    check: Annotated[bool, typer.Option("--check", help="write nothing; report what is out of step")] = False,
    execute: Annotated[bool, typer.Option("--execute", help="with --check: run the notebooks and compare")] = False,
    force: Annotated[bool, typer.Option("--force", help="discard hand edits of built files")] = False,
) -> None:
    """Texts to executed notebooks to modules."""
    from cs336lite.course.build import build as run

    results = run(find_root(), names or None, check=check, execute=execute, force=force)
    for result in results:
        say(str(result))
    raise typer.Exit(0 if all(result.ok for result in results) else 1)


@commands.command()
def new(
    kind: Annotated[str, typer.Argument(help="assignment or lecture")],
    name: Annotated[str, typer.Argument(help="such as a8_topic or 11_topic; the topic names the module it builds")],
    after: Annotated[int | None, typer.Option("--after", help="assignment: the lecture after which it is done")] = None,
) -> None:
    """Write the files of a new assignment or lecture, with one worked exercise that passes its checks."""
    from cs336lite.course.new import new_assignment, new_lecture

    if kind not in ("assignment", "lecture"):
        raise CourseError(f"new what? An assignment or a lecture, and not {kind!r}")
    if (kind == "assignment") != (after is not None):
        raise CourseError(
            "an assignment needs --after, the number of its lecture; a lecture stands where its number says"
        )
    said = new_assignment(find_root(), name, after=after) if after is not None else new_lecture(find_root(), name)
    say(said)


@commands.command()
def points(assignment: Assignment) -> None:
    """Put the points of the hidden checks, the one place to change them, into the text of an assignment."""
    from cs336lite.course.points import follow
    from cs336lite.course.text import read_text

    root = find_root()
    if is_student_edition(root):
        raise CourseError("a student edition has no texts: this command needs the full repository")
    name = assignment_name(root, assignment)
    course = root / "assignments"
    changed = follow(read_text(course / "text" / f"{name}.py"), hidden_checks(course, name))
    say("\n".join(changed) or "nothing to change")


@commands.command()
def results(
    lecture: Annotated[str, typer.Argument(help="a lecture, such as 04")],
    records: Annotated[list[str] | None, typer.Argument(help="records, such as 04_batch; by default all")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="processes that train")] = 1,
) -> None:
    """Train all runs of a lecture's recorded comparisons; a run that is done is kept, so a stopped one goes on."""
    from cs336lite.course.tuning import compute_all

    for said in compute_all(find_root(), lecture, jobs=jobs, only=records or ()):
        say(said)


@commands.command()
def release(
    destination: Annotated[Path, typer.Argument(help="a new folder for the student edition")],
    archive: Annotated[bool, typer.Option("--archive", help="also write it as one .zip file")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", help="this assignment, and others named so")] = None,
    exchange: Annotated[
        Path | None, typer.Option("--exchange", help="where students hand in with nbgrader; by default as configured")
    ] = None,
    course_id: Annotated[str | None, typer.Option("--course-id", help="the course's name in the exchange")] = None,
) -> None:
    """Write the student edition: everything but the answers."""
    from cs336lite.course.release import release as run
    from cs336lite.teaching.editions import hand_in, told

    root = find_root()
    how = hand_in(root, exchange, course_id)
    where = run(root, destination, archive=archive, only=only, hand_in=how)
    say(told(where, how))
