"""``nbgrader zip_collect`` for the archives that Moodle and Canvas give: who is meant by a file, as the roster says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nbgrader.plugins import FileNameCollectorPlugin
from traitlets import List

from cs336lite.course.border import plain
from cs336lite.teaching.classbook import Row, name_of
from cs336lite.teaching.tables import Matcher, folded

MOODLE = re.compile(r"(?P<name>[^_/]+)_(?P<number>\d+)_assignsubmission_file_(?P<file>.*)")
CANVAS = re.compile(r"(?P<name>[^_/]+?)(?:_LATE)?_(?P<lms>\d+)_\d+_(?P<file>.+)")


class Collector(FileNameCollectorPlugin):
    """Reads ``Ada Lovelace_123_assignsubmission_file_/a1_bpe.ipynb`` (Moodle, in folders or not) and
    ``lovelaceada_456_789_a1_bpe.ipynb`` (Canvas, also with ``_LATE``): the student is whom the roster knows by that name or
    number. A pattern in ``named_regexp`` comes first, as in nbgrader."""

    valid_ext = List([".ipynb", ".py"], help="List of valid submission filename extensions to collect.").tag(
        config=True
    )

    def collect(self, submitted_file: str) -> dict[str, str] | None:
        if self.named_regexp:
            return super().collect(submitted_file)
        path = Path(submitted_file)
        if path.suffix not in self.valid_ext:
            return None
        for part in (path.name, path.parent.name):
            if found := MOODLE.fullmatch(part):
                student = self.student(found["name"])
            elif part == path.name and (found := CANVAS.fullmatch(part)):
                student = self.student(found["name"], found["lms"])
            else:
                continue
            if student is None:
                self.log.warning(
                    "%s is nobody of the roster, or several: add the student (`cs336lite roster FILE`), or put the file "
                    "into submitted/ by hand",
                    plain(found["name"]),
                )
                return None
            return {"student_id": student, "file_id": self.parent.coursedir.assignment_id}
        self.log.warning("%s is named neither as Moodle nor as Canvas name files", plain(path.name))
        return None

    def student(self, name: str, lms: str = "") -> str | None:
        """The id of the one student with this name or this number. Canvas writes last and first name in one word."""
        people = self.people()
        found = Matcher(people).find(lms=lms, name=name)
        if found is None:
            turned = [row for row in people if self.in_one_word(row) == folded(name)]
            found = turned[0] if len(turned) == 1 else None
        return found.student if found is not None else None

    def in_one_word(self, row: Row) -> str:
        first, _, last = row.name.rpartition(" ")
        return folded(self.last_first.get(row.student, last + first))

    def people(self) -> list[Row]:
        if not hasattr(self, "known"):
            from nbgrader.api import Gradebook

            with Gradebook(self.parent.coursedir.db_url, self.parent.coursedir.course_id) as gradebook:
                students: list[Any] = list(gradebook.students)
                self.last_first = {s.id: f"{s.last_name or ''}{s.first_name or ''}" for s in students}
                self.known = [Row(s.id, name_of(s), s.email or "", s.lms_user_id or "") for s in students]
        return self.known
