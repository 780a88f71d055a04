"""The public checks of the module that an export has written, in a process of its own: as a lecture will find it.

In the notebook a function may pass because of what other cells have left there.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from cs336lite.course.check import WAIT, public_spec, run_checks
from cs336lite.course.paths import GRADED_MODULES, CourseError
from cs336lite.course.solution import SECONDS, run_file
from cs336lite.course.spec import CheckResult, LocalStudent

__all__ = ["judge"]

NOT_JUDGED = "the public checks of the exported module could not be run"


def judge(root: Path, assignment: str) -> list[CheckResult]:
    """What the public checks say of the package's module of an assignment.

    Raises:
        CourseError: the module cannot be imported there, or the checks could not be run, or not to their end.
    """
    spec = public_spec(root, assignment)
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    most = 2 * SECONDS + WAIT * sum(item.seconds for item in spec)
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import main; main()", str(root), assignment],
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
            timeout=most,
        )
    except subprocess.TimeoutExpired:
        raise CourseError(f"{NOT_JUDGED}: they did not end within {most:.0f} s") from None
    try:
        stopped, results = json.loads(done.stdout.rstrip("\n").rpartition("\n")[2])
    except (ValueError, TypeError):
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise CourseError(f"{NOT_JUDGED}: {said}") from None
    if stopped:
        raise CourseError(f"a lecture cannot import it: {stopped[0]}")
    return [CheckResult(**result) for result in results]


def main() -> None:
    """In the other process: print what stopped the import, and the results, as one line of JSON; all else goes to stderr."""
    root, assignment = Path(sys.argv[1]), sys.argv[2]
    with contextlib.redirect_stdout(sys.stderr):
        ran = run_file(module_file(root, assignment), assignment)
        results = [] if ran.notes else run_checks(public_spec(root, assignment), LocalStudent(ran.names))
    print("\n" + json.dumps([ran.notes, [result.as_dict() for result in results]]), flush=True)


def module_file(root: Path, assignment: str) -> Path:
    return root / "cs336lite" / f"{GRADED_MODULES[assignment]}.py"
