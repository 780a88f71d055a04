"""A run of the tests: its folders, what it must not leave, the types that it checks; and the fixtures that tests share.

Plain helpers are in helpers.py.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jaxtyping
import pytest
from helpers import ROOT, make_small_course, quicken

from cs336lite import scratch
from cs336lite.course.module import built_modules

if TYPE_CHECKING:
    from cs336lite.grading.judge import Judge

jaxtyping.install_import_hook([f"cs336lite.{name}" for name in (*built_modules(ROOT), "slots")], "typed.check")
RUN = pytest.StashKey[scratch.Scratch]()
LEFT = pytest.StashKey[list[str]]()
OURS = ("cs336lite-*", "tmp*", "pymp-*", "input-*")
"""Names in the temporary directory that only this course, or the standard library on its behalf, gives."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give a run, and each of its processes, a temporary directory and a data folder that go when it ends."""
    if hasattr(config, "workerinput"):  # a process of pytest-xdist, below the folder of the run
        folder = Path(tempfile.gettempdir(), config.workerinput["workerid"])
        folder.mkdir()
    else:
        scratch.sweep()  # of runs that were killed
        config.stash[RUN] = scratch.Scratch("tests")
        folder = config.stash[RUN].path
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "torchinductor"))  # the processes share it
        quicken(folder / "bin")
    folder.chmod(0o711)  # a grader's worker is another user, and passes through
    os.environ |= {"TMPDIR": str(folder), "CS336LITE_DATA": str(folder / "data")}
    tempfile.tempdir = None  # as at the start: to be looked up


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that left something of ours in the temporary directory."""
    scratched = session.config.stash.get(RUN, None)
    if scratched is not None:
        folders = [scratched.path, *scratched.path.glob("gw*")]
        left = sorted(str(p.relative_to(scratched.path)) for f in folders for name in OURS for p in f.glob(name))
        session.config.stash[LEFT] = left
        if left and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name in config.stash.get(LEFT, []):
        terminalreporter.write_line(f"LEFT in the temporary directory: {name}", red=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUN in config.stash:
        config.stash[RUN].close()


@pytest.fixture(scope="session")
def real_edition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student edition of this course, its .zip file beside it. All processes of a run share it: copy it to change it."""
    import fcntl  # not on Windows

    from cs336lite.course.release import release

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_TESTRUNUID" in os.environ else base
    with (shared / "edition.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        edition = shared / "edition" / "my-course"
        return edition if edition.exists() else release(ROOT, edition, archive=True).with_suffix("")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch with one thread, as in the grader; the tensors of the checks are too small for more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_course(tmp_path: Path) -> Path:
    """See `make_small_course`."""
    return make_small_course(tmp_path)


@pytest.fixture(scope="module")
def judges() -> Iterator[dict[str, Judge]]:
    """The judges that the tests of a file make, by assignment: each is made once, and closed after the last test."""
    found: dict[str, Judge] = {}
    yield found
    for judge in found.values():
        judge.close()
