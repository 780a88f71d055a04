"""What the grader does not import, and that it is there for whoever asks for it."""

import pytest
from helpers import ROOT, run

GRADES = """
import sys
import cs336lite.cli
from cs336lite.grading import exchange, hooks, late, record, roster, runner, table
from cs336lite.teaching import summary
late.LatePolicy(None, __import__("traitlets").config.Config())
"""
LIMITED = """
import sys
from cs336lite.grading import put_off
put_off("cs336lite.course")
from cs336lite.grading import bench, limited, submission
"""
NOT_NEEDED = {
    GRADES: ("nbconvert", "nbgrader.preprocessors", "nbgrader.exchange", "nbgrader.server_extensions", "torch"),
    LIMITED: ("nbformat", "nbgrader.api", "sqlalchemy", "cs336lite.course.status", "torch"),
}


def said(program: str) -> str:
    result = run("python", "-c", program, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("program", [GRADES, LIMITED], ids=["grade", "limited"])
def test_what_takes_long_to_import_and_is_not_needed_is_not_imported(program):
    assert said(f"{program}\nprint([name for name in {NOT_NEEDED[program]} if name in sys.modules])") == "[]"


def test_the_own_code_of_a_package_is_run_when_something_of_it_is_asked_for():
    assert (
        said("""
import sys
import cs336lite.grading, nbgrader, nbgrader.utils
assert "nbgrader.server_extensions" not in sys.modules
from nbgrader import utils
assert nbgrader.utils is utils and "nbgrader.server_extensions" not in sys.modules
assert nbgrader._jupyter_server_extension_points()[0]["module"] == "nbgrader"
assert "nbgrader.server_extensions" in sys.modules and type(nbgrader) is type(sys)
try:
    nbgrader.nothing
except AttributeError:
    print("well")
""")
        == "well"
    )


def test_a_package_that_was_imported_already_stays_as_it_is():
    assert said("import nbgrader, sys; import cs336lite.grading; print(type(nbgrader) is type(sys))") == "True"
