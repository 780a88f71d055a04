"""What stock nbgrader runs in place of a student's code: an exporter that reads any file, and two preprocessors (see `hooks`)."""

from __future__ import annotations

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
from cs336lite.grading.excused import read_excused
from cs336lite.grading.feedback_cells import exercise_of
from cs336lite.grading.find import note_on_others
from cs336lite.grading.judge import Judge
from cs336lite.grading.mistaken import Assignments
from cs336lite.grading.record import complete
from cs336lite.grading.reference import expect_full_marks
from cs336lite.grading.structure import normalise, structure_of_gradebook
from cs336lite.grading.submission import Submission, SubmittedNotebook, link_above, read_notebook, submission_of
from cs336lite.grading.timestamps import read_stamp

CARRIED = "cs336lite"
"""Where a notebook's metadata carries the submission and what was wrong with it, from one step of nbgrader to the next."""


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
