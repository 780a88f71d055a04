"""Make stock nbgrader judge with the grader of this course: two preprocessors and an exporter.

``assignments/nbgrader_config.py`` calls `configure`; from then on ``nbgrader autograde``, the formgrader's button
and ``nbgrader generate_feedback`` work as ever, but no student code runs in a kernel of the instructor's.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbformat.v4 import new_notebook
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade
from traitlets import Bool, Unicode

from cs336lite.course.paths import CourseError
from cs336lite.course.regions import CODE_STUB
from cs336lite.grading import backups, exchange, sharing
from cs336lite.grading.excused import read_excused
from cs336lite.grading.feedback import FeedbackExporter
from cs336lite.grading.feedback_cells import exercise_of
from cs336lite.grading.find import note_on_others
from cs336lite.grading.judge import Judge
from cs336lite.grading.mistaken import Assignments
from cs336lite.grading.record import SECRET, TIMESTAMP, complete
from cs336lite.grading.reference import expect_full_marks
from cs336lite.grading.structure import normalise, structure_of_gradebook
from cs336lite.grading.submission import Submission, SubmittedNotebook, link_above, read_notebook, submission_of
from cs336lite.grading.timestamps import put_right, read_stamp

__all__ = ["AnyNotebookExporter", "FeedbackExporter", "JudgeCells", "Sanitize", "configure"]

CARRIED = "cs336lite"
"""Where a notebook's metadata carries the submission and what was wrong with it, from one step of nbgrader to the next."""


def configure(config: Any, course: Path) -> None:
    """Set up an nbgrader course in ``course``: its folders, the exchange, the student's stub, and the grader.

    What the configuration says already of ``CourseDirectory.course_id`` and ``Exchange.root`` stays.
    """
    tools = str(Path(sys.executable).parent)  # nbgrader calls alembic by name, also where no environment is active
    if tools not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([tools, os.environ.get("PATH", "")])
    # nbgrader 0.9.6 adds its submissions in an order that SQLAlchemy 2.1 grumbles about, at no harm
    warnings.filterwarnings("ignore", message="Object of type <Submitted")
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.db_url = f"sqlite:///{course / 'gradebook.db'}"
    exchange.prepare(config, course)
    config.ClearSolutions.code_stub = {"python": CODE_STUB}
    config.Autograde.exporter_class = f"{__name__}.AnyNotebookExporter"
    config.Autograde.sanitize_preprocessors = [f"{__name__}.Sanitize"]
    config.Autograde.autograde_preprocessors = [
        f"{__name__}.JudgeCells",
        "nbgrader.preprocessors.SaveAutoGrades",
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    config.JudgeCells.course = config.Sanitize.course = str(course)
    config.ZipCollectApp.collector_plugin = "cs336lite.teaching.collector.Collector"  # archives of Moodle and Canvas
    config.Autograde.pre_convert_hook = f"{__name__}.remove_what_is_no_file"
    config.GenerateFeedback.force = True  # else nbgrader leaves the page of a submission that was graded anew as it was
    config.ExchangeFactory.release_feedback = "cs336lite.teaching.handback.ReleaseFeedback"
    config.Autograde.post_convert_hook = f"{__name__}.share_what_was_graded"
    config.GenerateFeedback.exporter_class = f"{__name__}.FeedbackExporter"
    config.GenerateFeedback.post_convert_hook = f"{__name__}.remove_what_is_no_page"
    # formgrader's own pages: markdown of students is cut down to what is safe, as it is in feedback
    # and each page has an allowance, since a server draws it that others wait for
    config.HTMLExporter.preprocessors = ["cs336lite.grading.feedback_text.NewPage"]
    config.HTMLExporter.filters = {
        "markdown2html": "cs336lite.grading.feedback_text.safe_markdown_of_cell",
        "highlight_code": "cs336lite.grading.feedback_text.coloured_code",
    }


class AnyNotebookExporter(NotebookExporter):
    """Reads any file: one that is no notebook becomes an empty notebook that says so, and scores zero."""

    def from_filename(self, filename: str, resources: dict | None = None, **kw: Any) -> tuple[str, dict]:
        path = Path(filename).absolute()
        if path.parents[2].name == "autograded":  # nbgrader's second pass: `Sanitize` wrote this file
            return super().from_filename(filename, resources, **kw)
        problem = link_above(path, path.parents[2])
        if not problem:
            notebook, problem = read_notebook(path, parts=True)
        node = new_notebook()
        note = note_on_others(path.parent, path.name, path.stem)
        carried = {"problem": problem} if problem else {"notebook": notebook.as_metadata()}
        dated = read_stamp(path.parent).when is not None
        node.metadata[CARRIED] = {**carried, "notes": [note] if note else [], "dated": dated}
        return self.from_notebook_node(node, resources, **kw)


class Sanitize(NbGraderPreprocessor):
    """The released structure with the student's code; see `cs336lite.grading.structure.normalise`."""

    course = Unicode(help="The folder of the course, which holds source/").tag(config=True)
    anyway = Bool(False, help="Grade what looks like another assignment's work, too").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        carried = nb.metadata[CARRIED]
        course = resources["nbgrader"]
        with Gradebook(course["db_url"]) as gradebook:
            structure = structure_of_gradebook(gradebook, course["notebook"], course["assignment"], Path(self.course))
            if not carried["dated"]:  # nbgrader keeps the time of an earlier submission
                gradebook.find_submission(course["assignment"], course["student"]).timestamp = None
                gradebook.db.commit()
        submitted = SubmittedNotebook.from_metadata(carried.get("notebook", {}))
        others = Assignments(Path(self.course), {course["assignment"]: structure})
        if (remark := others.remark(submitted, course["assignment"])) and not self.anyway:
            raise CourseError(f"{course['student']}: {remark} (c.Sanitize.anyway = True grades it all the same)")
        clean, notes = normalise(submitted, structure)
        notes = [remark, *notes] if remark else notes
        problem = carried.get("problem", "")
        clean.metadata[CARRIED] = {
            "problem": problem,
            "notes": [*carried.get("notes", []), *([] if problem else notes)],
        }
        return clean, resources


class JudgeCells(NbGraderPreprocessor):
    """Writes the verdict into the grade cells: one line per check, and the points as the cell's result."""

    course = Unicode(help="The folder of the course, which holds hidden/").tag(config=True)
    trust_submissions = Bool(False, help="Judge even where too few layers of protection hold").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        carried = nb.metadata.pop(CARRIED)
        problem = carried["problem"]
        notes = tuple(carried["notes"])
        submission = Submission(problem=problem, notes=notes) if problem else submission_of(nb, notes)
        assignment = resources["nbgrader"]["assignment"]
        course, cells = Path(self.course), [cell for cell in nb.cells if is_grade(cell)]
        excused = read_excused(course, assignment)
        promised = {exercise_of(c.metadata.nbgrader["grade_id"]): float(c.metadata.nbgrader["points"]) for c in cells}
        with Judge(course, assignment, trust=self.trust_submissions) as judge:
            expect_full_marks(judge, excused, promised)
            complete(nb, excused.apply(judge.judge(submission)))
        return nb, resources


def remove_what_is_no_file(assignment: str, student: str, notebooks: list[str]) -> None:
    """Before nbgrader copies a submission's files: remove links and the like, which could name files of others.

    nbgrader calls it with the notebooks that it is about to grade, all in one submission. Then the gradebook is copied.
    """
    for folder in {Path(notebook).absolute().parent for notebook in notebooks}:
        for path in folder.rglob("*"):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                path.unlink()
        put_right(folder)
    for course in {Path(notebook).absolute().parents[3] for notebook in notebooks}:
        backups.back_up_now_and_then(course)


def share_what_was_graded(assignment: str, student: str, notebooks: list[str]) -> None:
    """After nbgrader has graded a submission: in a shared course its folders are the group's as well."""
    for notebook in map(Path, notebooks):
        course = notebook.absolute().parents[3]
        sharing.settle_below(course, course / "autograded" / notebook.parts[-3], sharing.rights_of(course))


def remove_what_is_no_page(assignment: str, student: str, notebooks: list[str]) -> None:
    """After nbgrader has made feedback: remove the files of the submission that it put beside the page.

    Those that nbgrader lays there itself stay: release_feedback reads them.
    """
    for notebook in map(Path, notebooks):
        course = notebook.absolute().parents[3]
        folder = course / "feedback" / notebook.parts[-3] / assignment
        for path in folder.rglob("*"):
            if not path.is_dir() and path.suffix != ".html" and path.name not in (TIMESTAMP, SECRET):
                path.unlink()
        sharing.settle_below(course, folder.parent, sharing.rights_of(course))
