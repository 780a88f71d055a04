"""Tools around the notebooks: check, hint, status for students; build, release, unlock for those who keep the course."""

import sys

# jsonschema, on which nbformat rests, would build a grammar of international web addresses when it is imported: 1.5 s
# of every command and of the first cell of every notebook, for a check that no notebook has
sys.modules.setdefault("rfc3987_syntax", None)

from cs336lite.course.check import check
from cs336lite.course.hint import hint
from cs336lite.course.last_cell import export_solution
from cs336lite.course.ready import finished, have, whose
from cs336lite.course.status import status

__all__ = ["check", "export_solution", "finished", "have", "hint", "status", "whose"]
