"""Commands of instructors, from a collected submission to a learning platform; students have `feedback` and `unlock` of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cs336lite.cli.console import Assignment, bar, console, needs_linux, say
from cs336lite.course.border import lines
from cs336lite.course.paths import CourseError, assignment_name, find_root, is_student_edition, write_atomic

commands = typer.Typer()


@commands.command()
def grade(
    assignment: Annotated[str | None, typer.Argument(help="an assignment, such as a1_bpe or a1")] = None,
    submissions: Annotated[list[Path] | None, typer.Argument(help="files; by default the collected class")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="processes that judge")] = 1,
    dask: Annotated[str | None, typer.Option("--dask", metavar="ADDRESS", help="judge on this dask scheduler")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="a new jail for each submission (slower)")] = False,
    trust: Annotated[
        bool, typer.Option("--trust-submissions", help="grade even where too few layers of protection hold")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write the results here")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="list every student, whatever the class's size")
    ] = False,
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="VERDICT", help="judge a verdict again that was kept here")
    ] = None,
    students: Annotated[
        list[str] | None, typer.Option("--student", metavar="ID", help="only this student; may be given several times")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="judge and record anew, though nothing has changed")] = False,
    add: Annotated[
        bool, typer.Option("--add-students", help="also grade whom the roster does not know, and add them to it")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="also grade what looks like another assignment's work")
    ] = False,
) -> None:
    """Grade a collected class, or single files.

    Without files the class in submitted/ goes into the gradebook; files (.ipynb, .py) are judged and nothing is
    recorded. What was graded before and has not changed is left as it is, so a run that was cut off goes on. The exit
    status is 0 whatever the scores; --replay runs the checks that lie beside the verdict, in specs/, and exits 1 when the
    new verdict differs.
    """
    needs_linux()
    from cs336lite.grading import runner, table
    from cs336lite.grading.judge import replay as judge_again

    if replay is not None:
        kept, new = judge_again(replay, trust=trust)
        console.print(table.of_replay(kept, new))
        raise typer.Exit(0 if kept.checks == new.checks else 1)
    if assignment is None:
        raise CourseError("which assignment? For example: cs336lite grade a1_bpe")
    if strict:
        from cs336lite.grading import bubblewrap

        if bubblewrap.way() is None:
            raise CourseError("--strict needs bubblewrap (apt-get install bubblewrap); see `cs336lite doctor`")
    root = find_root()
    course, name = root / "assignments", assignment_name(root, assignment)
    how = runner.How(jobs, dask, trust, strict, force)
    if submissions and (students or add or anyway):
        raise CourseError("--student, --add-students and --anyway are for a collected class, and files were named")
    whom = runner.Whom(tuple(students or ()), add, anyway)
    failure, remarks = None, []
    try:
        if submissions:
            graded = runner.grade_files(course, name, submissions, how=how, progress=bar)
        else:
            graded = runner.grade_class(course, name, how=how, progress=bar, whom=whom, tell=remarks.append)
    except runner.NotAllGraded as error:
        graded, failure = error.graded, error
    if json_file is not None:
        write_atomic(json_file, json.dumps([g.verdict.as_json(g.label) for g in graded], indent=1) + "\n")
    if submissions:
        console.print(table.of_grades(name, graded))
    else:
        from cs336lite.teaching.summary import after_run

        console.print(after_run(course, name, graded, verbose=verbose))
    for remark in remarks:
        say(lines(remark))
    if failure is not None:
        raise failure


@commands.command()
def feedback(
    assignment: Assignment,
    students: Annotated[
        list[str] | None, typer.Option("--student", metavar="ID", help="only this student; may be given several times")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="make each page anew, though nothing has changed")] = False,
    release: Annotated[bool, typer.Option(help="put the pages into the exchange, for fetch_feedback")] = True,
) -> None:
    """Make the feedback pages that are missing or out of date, and release them; in a student edition, fetch yours."""
    root = find_root()
    name = assignment_name(root, assignment)
    done: object
    if is_student_edition(root):
        from cs336lite.course.handin import feedback as fetch

        done = fetch(root, name)
    else:
        needs_linux()
        from cs336lite.teaching.handback import hand_back

        done = hand_back(
            root / "assignments", name, students=students or (), force=force, release=release, progress=bar
        )
    say(lines(done))


@commands.command()
def excuse(
    assignment: Assignment,
    check: Annotated[str | None, typer.Argument(help="a check or a whole exercise; by default list them")] = None,
    exclude: Annotated[bool, typer.Option("--exclude", help="it counts for nobody")] = False,
    everybody: Annotated[bool, typer.Option("--everybody", help="it is given to everybody")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="it counts again as it was judged")] = False,
    why: Annotated[str, typer.Option("--why", help="the reason, which students read")] = "",
) -> None:
    """Leave a check out, or give its points to everybody, from the next `cs336lite grade` on.

    What is left out makes the other checks of its exercise worth more; an exercise of which all is left out is given to
    everybody. Nothing is judged anew. The rules stand in assignments/exceptions.toml.
    """
    from cs336lite.grading import excused

    root = find_root()
    course, name = root / "assignments", assignment_name(root, assignment)
    if check is not None and exclude + everybody + undo != 1:
        raise CourseError("say one of --exclude, --everybody and --undo")
    rule = excused.EXCLUDE if exclude else excused.EVERYBODY if everybody else ""
    said = excused.excuse(course, name, check, rule, why) if check else excused.excused_checks(course, name)
    say(said)


@commands.command()
def why(
    assignment: Assignment,
    student: Annotated[str, typer.Argument(help="a student's id or name, or a file")],
    checks: Annotated[list[str] | None, typer.Argument(help="checks or exercises; by default those that fail")] = None,
    trust: Annotated[
        bool, typer.Option("--trust-submissions", help="run even where too few layers of protection hold")
    ] = False,
) -> None:
    """Show the instructor why checks fail: inputs, answers, exceptions. The submission runs in the jail."""
    needs_linux()
    from cs336lite.teaching.why import why as run

    root = find_root()
    console.print(run(root / "assignments", assignment_name(root, assignment), student, checks or (), trust=trust))


@commands.command()
def report(
    assignment: Assignment,
    html: Annotated[Path | None, typer.Option("--html", help="write one page with figures here")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="write a row for each student here")] = None,
    student: Annotated[str | None, typer.Option("--student", help="every judged version of one student's work")] = None,
) -> None:
    """What is known of an assignment: the class on a page, as a table, or the history of a student. Nothing is judged."""
    from cs336lite.teaching import report as reports

    root = find_root()
    course, name = root / "assignments", assignment_name(root, assignment)
    if student is not None:
        console.print(reports.past(course, name, student))
        return
    for said in reports.write_all(course, name, html, csv):
        console.print(said, soft_wrap=isinstance(said, str), markup=False, highlight=False)


@commands.command()
def export(
    assignment: Assignment,
    out: Annotated[Path, typer.Option("--out", "-o", help="the file to write")],
    canvas: Annotated[Path | None, typer.Option("--canvas", help="the gradebook that Canvas exported")] = None,
    moodle: Annotated[Path | None, typer.Option("--moodle", help="the grading worksheet of Moodle")] = None,
    column: Annotated[str | None, typer.Option("--column", help="Canvas: the assignment's column")] = None,
    feedback: Annotated[
        Path | None, typer.Option("--feedback", help="Moodle: write feedback pages as .zip here")
    ] = None,
) -> None:
    """Fill grades into the file of a learning platform, to be uploaded there."""
    from cs336lite.teaching.lms import export as run

    root = find_root()
    name = assignment_name(root, assignment)
    for said in run(root / "assignments", name, canvas, moodle, out, column, feedback):
        say(said)


@commands.command()
def roster(
    file: Annotated[Path, typer.Argument(help="a class list: of Canvas, of Moodle, or nbgrader's own (.csv)")],
    by: Annotated[str | None, typer.Option("--id", help="what a student's id is: login, sis or email")] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="say what would change, and write nothing")] = False,
) -> None:
    """Put a class list into the roster of the gradebook. Nobody is removed."""
    from cs336lite.teaching.classlist import take

    for said in take(find_root() / "assignments", file, by, dry):
        say(said)


@commands.command()
def seed(
    renew: Annotated[bool, typer.Option("--renew", help="make a new one, and keep the old one")] = False,
    export: Annotated[Path | None, typer.Option("--export", help="write it here, for another machine")] = None,
    source: Annotated[Path | None, typer.Option("--import", help="take the one that --export wrote")] = None,
) -> None:
    """Say when the secret seed of the hidden inputs was made and its fingerprint, or make a new one, as for a new term.

    Machines that grade one course need one seed: compare the fingerprints, and carry the seed over with --export, --import.
    """
    needs_linux()
    from cs336lite.grading import seed as run

    root = find_root()
    if is_student_edition(root):
        raise CourseError("a student edition has no seed: it belongs to the full repository")
    say(run.command(root / "assignments", renew, export, source))


@commands.command()
def restore(
    copy: Annotated[str | None, typer.Argument(help="one of the copies; by default they are listed")] = None,
) -> None:
    """Put a copy of the gradebook back; one is made before each recording. The present gradebook is kept."""
    needs_linux()
    from cs336lite.grading import backups as run

    root = find_root()
    if is_student_edition(root):
        raise CourseError("a student edition has no gradebook: it belongs to the full repository")
    said = run.restore(root / "assignments", copy) if copy else run.listed(root / "assignments")
    say(said)


@commands.command()
def similar(
    assignment: Assignment,
    submissions: Annotated[list[Path] | None, typer.Argument(help="files; by default the collected class")] = None,
    threshold: Annotated[float, typer.Option("--threshold", min=0, max=1, help="list what shares this much")] = 0.5,
    against: Annotated[
        list[Path] | None, typer.Option("--against", help="a folder of other work, as of last year's course")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="also write all pairs here")] = None,
) -> None:
    """List submissions that share most of their structure: places to look, no proof."""
    from cs336lite.grading.similar import similar as run
    from cs336lite.teaching.classbook import names_of

    root = find_root()
    name = assignment_name(root, assignment)
    course = root / "assignments"
    found = run(
        course, name, submissions or None, threshold=threshold, progress=bar, against=against, names=names_of(course)
    )
    if csv is not None:
        write_atomic(csv, found.as_csv(), mode=0o600)
    console.print(found)


@commands.command()
def unlock(
    assignment: Assignment,
    edition: Annotated[Path | None, typer.Option("--edition", help="instructor: the student edition to unlock")] = None,
    export: Annotated[Path | None, typer.Option("--export", help="instructor: write a file for students here")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="student: the file, from your instructor alone")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="put the student's own module back")] = False,
) -> None:
    """Open one reference to students after the deadline.

    The student's own module is kept beside the reference, and --undo puts it back. The hash in the file shows that it came
    whole, not who wrote it.
    """
    from cs336lite.course.unlock import unlock as run

    say(run(find_root(), assignment, edition, export, source, undo))


@commands.command()
def doctor() -> None:
    """Try each layer of protection on this machine, and what all of them guarantee."""
    if sys.platform == "win32":
        needs_linux()
    from cs336lite.grading import doctor as medic
    from cs336lite.grading import runner, table

    course = find_root() / "assignments"
    console.print(table.of_layers(medic.layers()))
    console.print(table.of_guarantees(medic.guarantees()))
    promises = medic.promises(course, runner.course_config(course))
    console.print(table.of_guarantees(promises, "the course and its exchange"))


@commands.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="where the simulated class lives")] = Path("demo"),
) -> None:
    """Teach and grade a simulated class, from build to feedback."""
    needs_linux()
    from cs336lite.teaching.demo import demo as run

    run(find_root(), folder, console)
