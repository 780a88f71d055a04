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

from cs336lite.course.regions import CODE_STUB
from cs336lite.grading import backups, exchange, sharing
from cs336lite.grading.timestamps import SECRET, TIMESTAMP, put_right

PREPROCESSORS = "cs336lite.grading.preprocessors"


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
    config.Autograde.exporter_class = f"{PREPROCESSORS}.AnyNotebookExporter"
    config.Autograde.sanitize_preprocessors = [f"{PREPROCESSORS}.Sanitize"]
    config.Autograde.autograde_preprocessors = [
        f"{PREPROCESSORS}.JudgeCells",
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
    config.GenerateFeedback.exporter_class = "cs336lite.grading.feedback.FeedbackExporter"
    config.GenerateFeedback.post_convert_hook = f"{__name__}.remove_what_is_no_page"
    # formgrader's own pages: markdown of students is cut down to what is safe, as it is in feedback
    # and each page has an allowance, since a server draws it that others wait for
    config.HTMLExporter.preprocessors = ["cs336lite.grading.feedback_text.NewPage"]
    config.HTMLExporter.filters = {
        "markdown2html": "cs336lite.grading.feedback_text.safe_markdown_of_cell",
        "highlight_code": "cs336lite.grading.feedback_text.coloured_code",
    }


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
