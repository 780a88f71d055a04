"""``cs336lite …``: one command a line of the table in the README; all logic is in `course`, `grading` and `teaching`.

A list of like things, so longer than other files: what each command takes, and the one call that does it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from cs336lite.course.border import harmless, lines
from cs336lite.course.paths import (
    CourseError,
    assignment_name,
    find_root,
    full_repository,
    hidden_checks,
    is_student_edition,
    write_atomic,
)


class Console(RichConsole):
    """A console on which no text can do more than be read: control characters of whatever is printed go."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
console = Console()

Assignment = Annotated[str, typer.Argument(help="an assignment, such as a1_bpe or a1")]


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


FOR_STUDENTS = (
    "lab",
    "status",
    "check",
    "hint",
    "reset",
    "solution",
    "submit",
    "feedback",
    "unlock",
    "update",
    "study",
)


def hide_what_is_not_for_students() -> None:
    """In a student edition the help lists what works there; `study` is for a self-learner's own copy."""
    with suppress(CourseError):
        root = find_root()
        left = FOR_STUDENTS if full_repository(root) else FOR_STUDENTS[:-1]
        for command in app.registered_commands if is_student_edition(root) else []:
            command.hidden = command.callback.__name__ not in left


def bar(items: Iterable, total: int, what: str) -> Iterator:
    """A progress bar on stderr, gone when done."""
    from tqdm.auto import tqdm

    return iter(tqdm(items, total=total, desc=what, leave=False, disable=not sys.stderr.isatty()))


@app.command()
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
        console.print(str(result), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if all(result.ok for result in results) else 1)


@app.command()
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
    console.print(said, markup=False, highlight=False, soft_wrap=True)


@app.command()
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
    console.print("\n".join(changed) or "nothing to change", markup=False, highlight=False, soft_wrap=True)


@app.command()
def results(
    lecture: Annotated[str, typer.Argument(help="a lecture, such as 04")],
    records: Annotated[list[str] | None, typer.Argument(help="records, such as 04_batch; by default all")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="processes that train")] = 1,
) -> None:
    """Train all runs of a lecture's recorded comparisons; a run that is done is kept, so a stopped one goes on."""
    from cs336lite.course.tuning import compute_all

    for said in compute_all(find_root(), lecture, jobs=jobs, only=records or ()):
        console.print(said, markup=False, highlight=False, soft_wrap=True)


@app.command()
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
    console.print(told(where, how), markup=False, highlight=False, soft_wrap=True)


@app.command()
def update(
    edition: Annotated[Path | None, typer.Argument(help="the newer edition, a folder or a .zip")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="change nothing; say what would happen")] = False,
) -> None:
    """Bring the student edition you work in up to a newer one; your work stays."""
    from cs336lite.course.update import update as run

    said = run(find_root(), edition, dry_run=dry_run)
    console.print(said, markup=False, highlight=False, soft_wrap=True)


@app.command()
def lab(
    arguments: Annotated[list[str] | None, typer.Argument(help="what JupyterLab gets, after --")] = None,
) -> None:
    """JupyterLab, at the page that says what to do next; commands of the course are on its path."""
    from cs336lite.course.lab import lab as run

    raise typer.Exit(run(find_root(), arguments or ()))


@app.command()
def study(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="change nothing; say what would happen")] = False,
) -> None:
    """For self-learners: make my/, your own copy without answers, or bring it up to date; your work stays."""
    from cs336lite.course.study import study as run

    console.print(run(find_root(), dry_run=dry_run), markup=False, highlight=False, soft_wrap=True)


@app.command()
def reset(
    notebook: Annotated[str, typer.Argument(help="a lecture or an assignment, such as 03 or a1")],
    exercise: Annotated[str | None, typer.Argument(help="one exercise; by default the whole notebook")] = None,
) -> None:
    """Put a notebook, or one exercise, back as it was given; what you had is kept beside it."""
    from cs336lite.course.reset import reset as run

    console.print(run(find_root(), notebook, exercise), markup=False, highlight=False, soft_wrap=True)


@app.command()
def solution(
    assignment: Assignment,
    exercise: Annotated[str, typer.Argument(help="an exercise")],
    give_up: Annotated[bool, typer.Option("--give-up", help="also before your checks pass")] = False,
) -> None:
    """Show the course's solution of an exercise, to compare with yours, where your copy of the course may show it."""
    from cs336lite.course.reference import show_solution as run

    console.print(run(assignment, exercise, give_up=give_up))


@app.command()
def submit(assignment: Assignment) -> None:
    """Hand in an assignment, where your edition knows nbgrader's exchange."""
    from cs336lite.course.handin import submit as run

    console.print(run(find_root(), assignment), markup=False, highlight=False, soft_wrap=True)


@app.command()
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


@app.command()
def hint(
    assignment: Assignment,
    exercise: Annotated[str | None, typer.Argument(help="an exercise; by default the first unsolved")] = None,
) -> None:
    """One more hint for an exercise."""
    from cs336lite.course.hint import hint as run

    console.print(repr(run(assignment, exercise)), markup=False, highlight=False)


@app.command()
def status() -> None:
    """What there is to read and to solve, and how far you are."""
    from cs336lite.course.status import status as run

    console.print(run())


@app.command()
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
    from cs336lite.grading import runner, table, verdicts

    if replay is not None:
        kept, new = verdicts.replay(replay, trust=trust)
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
        console.print(lines(remark), markup=False, highlight=False, soft_wrap=True)
    if failure is not None:
        raise failure


@app.command()
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
    console.print(lines(done), markup=False, highlight=False, soft_wrap=True)


@app.command()
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
    console.print(said, markup=False, highlight=False, soft_wrap=True)


@app.command()
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


@app.command()
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


@app.command()
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
        console.print(said, markup=False, highlight=False, soft_wrap=True)


@app.command()
def roster(
    file: Annotated[Path, typer.Argument(help="a class list: of Canvas, of Moodle, or nbgrader's own (.csv)")],
    by: Annotated[str | None, typer.Option("--id", help="what a student's id is: login, sis or email")] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="say what would change, and write nothing")] = False,
) -> None:
    """Put a class list into the roster of the gradebook. Nobody is removed."""
    from cs336lite.teaching.classlist import take

    for said in take(find_root() / "assignments", file, by, dry):
        console.print(said, markup=False, highlight=False, soft_wrap=True)


@app.command()
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
    console.print(
        run.command(root / "assignments", renew, export, source), markup=False, highlight=False, soft_wrap=True
    )


@app.command()
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
    console.print(said, markup=False, highlight=False, soft_wrap=True)


@app.command()
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


def needs_linux() -> None:
    if sys.platform != "linux":
        raise CourseError("grading runs on Linux: use a Linux container, or WSL on Windows (see the README)")


@app.command()
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

    console.print(run(find_root(), assignment, edition, export, source, undo), markup=False, soft_wrap=True)


@app.command()
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


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="where the simulated class lives")] = Path("demo"),
) -> None:
    """Teach and grade a simulated class, from build to feedback."""
    needs_linux()
    from cs336lite.teaching.demo import demo as run

    run(find_root(), folder, console)


if __name__ == "__main__":
    main()
