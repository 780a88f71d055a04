"""Tools around the notebooks: check, hint, status for students; build, release, unlock for those who keep the course."""

from cs336lite.course.check import check
from cs336lite.course.export import export_solution
from cs336lite.course.hint import hint
from cs336lite.course.status import have, status

__all__ = ["check", "export_solution", "have", "hint", "status"]
