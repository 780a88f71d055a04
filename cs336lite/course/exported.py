"""The public checks of the module that an export has written, in a process of its own: as a lecture will find it.

In the notebook a function may pass because of what other cells have left there. The count is kept in
``.cs336lite/exported.json`` with the module's hash, so that a lecture can say what the code it uses is worth without
running all checks again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from cs336lite.course.check import WAIT, public_spec, run_checks
from cs336lite.course.paths import GRADED_MODULES, CourseError, read_json, write_atomic
from cs336lite.course.solution import SECONDS, run_file
from cs336lite.course.spec import CheckResult, LocalStudent

__all__ = ["judge", "passed"]

NOT_JUDGED = "the public checks of the exported module could not be run"


def judge(root: Path, assignment: str) -> list[CheckResult]:
    """What the public checks say of the package's module of an assignment, and keep how many passed.

    Raises:
        CourseError: the checks could not be run, or not to their end.
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
        results = [CheckResult(**result) for result in json.loads(done.stdout.rstrip("\n").rpartition("\n")[2])]
    except (ValueError, TypeError):
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise CourseError(f"{NOT_JUDGED}: {said}") from None
    keep(root, assignment, sum(r.passed for r in results), len(results))
    return results


def main() -> None:
    """In the other process: print the results as one line of JSON; whatever the module prints goes to stderr."""
    root, assignment = Path(sys.argv[1]), sys.argv[2]
    with contextlib.redirect_stdout(sys.stderr):
        ran = run_file(module_file(root, assignment), assignment)
        results = run_checks(public_spec(root, assignment), LocalStudent(ran.names))
    print("\n" + json.dumps([result.as_dict() for result in results]), flush=True)


def passed(root: Path, assignment: str) -> tuple[int, int] | None:
    """(public checks that passed, all of them) when the module was exported; None when it is no longer that module."""
    row = counts(root).get(assignment)
    if not isinstance(row, dict) or row.get("module") != fingerprint(root, assignment):
        return None
    right, of = row.get("passed"), row.get("of")
    return (right, of) if isinstance(right, int) and isinstance(of, int) else None


def keep(root: Path, assignment: str, right: int, of: int) -> None:
    row = {"module": fingerprint(root, assignment), "passed": right, "of": of}
    with contextlib.suppress(OSError):  # then it is not remembered, and that is all
        write_atomic(counts_file(root), json.dumps({**counts(root), assignment: row}, indent=1))


def counts(root: Path) -> dict:
    data = read_json(counts_file(root), {})
    return data if isinstance(data, dict) else {}


def counts_file(root: Path) -> Path:
    return root / ".cs336lite" / "exported.json"


def module_file(root: Path, assignment: str) -> Path:
    return root / "cs336lite" / f"{GRADED_MODULES[assignment]}.py"


def fingerprint(root: Path, assignment: str) -> str:
    """The hash of the module's file; empty where there is none."""
    try:
        return hashlib.sha256(module_file(root, assignment).read_bytes()).hexdigest()
    except OSError:
        return ""
