"""The nbgrader course: run the stock commands from this folder (``nbgrader autograde a1_bpe`` and so on)."""

from pathlib import Path

from cs336lite.grading.hooks import configure

c = get_config()  # noqa: F821  (nbgrader provides it)

# For a class on this machine (see docs/teaching.md; until then the exchange is a folder for you alone, ../exchange):
# c.CourseDirectory.course_id = "cs336-2027"  # the course's name in the exchange, another one each term
# c.Exchange.root = "/srv/nbgrader/exchange"  # outside of this repository, and writable for everybody
# c.CourseDirectory.groupshared = True  # several graders with a common group

configure(c, Path(__file__).parent.resolve())
