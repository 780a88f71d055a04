"""What a submission finds around it: the course's packages, a library without answers, an empty environment.

A verdict must not depend on what else an instructor has installed, and a package that solves an exercise must not be
there. So the jail holds the packages that the course itself depends on, and no others.
"""

from __future__ import annotations

import functools
import glob
import importlib.metadata
import itertools
import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

NOBODY = 65534
FIRST_STRANGER, STRANGERS = 1_900_000_000, 64  # no user of any machine has such a number; so many for a process
PACKAGE_FOLDERS = ("site-packages", "dist-packages")
SHUT_PACKAGES = frozenset({"scipy", "triton"})  # lectures need them and no assignment does: each has a softmax
MORE_PACKAGES = ("beartype", "hypothesis", "psutil", "pyyaml")
"""What `requirements.lock` brings besides, that people use and that holds no answer."""
STAND_INS = ("files", "handles", "processes", "pools", "queues", "torch", "turns")
"""What stands in for what the jail has not: the modules ``pretend_*.py``."""
PROGRAMS = (
    *("worker.py", "child.py", "cells.py", "jail.py", "reader.py", "refusal.py", "shell.py", "wire.py"),
    *(f"pretend_{name}.py" for name in STAND_INS),
    "../course/returned.py",
)
"""The untrusted side; each loads without the package."""

GRADED_WITHOUT = {
    "processes": "no program can be started when work is graded, and no process but those of `multiprocessing`",
    "files": "when work is graded, files can be written beside the notebook and in the temporary folder, nowhere else",
    "an end": "this waits for ever, since every process that was started has ended",
    "the file": "when work is graded, the only files are Python's, those that a check gives, and what your code wrote",
}
"""What a stand-in may refuse, and what is said of it."""

LECTURE_MODULES = {
    "a2_attention": ("tokenizer", "costs", "accounting", "slots"),
    "a3_rope": ("tokenizer", "costs", "accounting", "slots"),
    "a4_lion": ("tokenizer", "costs", "accounting", "slots", "layers"),
    "a5_moe_router": ("tokenizer", "costs", "accounting", "slots", "layers"),
    "a6_inference": (
        *("tokenizer", "costs", "accounting", "slots", "layers"),
        *("backend", "kernels", "tiles", "flash", "compiled", "gpu_model"),
    ),
    "a7_parallel": ("collectives",),
}
"""Which modules of the course a submission may import: those that lectures and appendices before it build, unless they hold
an answer to it or need a module that an assignment builds or a package that is not there (`fits` needs scipy); and `slots`
and `collectives`, which a2 and a7 import and are written by hand.
a1 has none: lecture 01's `tokenizer` learns merges. a7 has `collectives` alone: it needs no other."""


def site_folders() -> list[str]:
    """The folders of installed packages, without what .pth files add (an editable cs336lite among them)."""
    return [p for p in sys.path if p.endswith(PACKAGE_FOLDERS) and os.path.isdir(p)]


@functools.cache
def course_packages() -> frozenset[str] | None:
    """The names in the package folders that belong to what cs336lite depends on; None when that cannot be told."""
    found: dict[str, importlib.metadata.Distribution | None] = {}
    todo = ["cs336lite", *MORE_PACKAGES]
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found or name in SHUT_PACKAGES:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
            continue
        for line in found[name].requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    if found["cs336lite"] is None:
        return None
    del found["cs336lite"]
    names = set()
    for distribution in filter(None, found.values()):
        for line in (distribution.read_text("RECORD") or "").splitlines():
            first, folder, _ = line.partition("/")
            names.add(first if folder else first.split(",")[0])
    return frozenset(names - {"..", "__pycache__", ""})


@functools.cache
def readable_paths() -> list[str]:
    """Every file and folder that a submission may read: Python, the system's libraries, the course's packages.

    Package folders are opened entry by entry, wherever they lie: what they hold beside the course's packages is shut.
    """
    open_packages = [e.path for folder in site_folders() for e in os.scandir(folder) if is_open(e.name)]
    return [path for root in system_paths() for path in pieces(root, package_folders(root))] + sorted(open_packages)


@functools.cache
def hidden_paths() -> list[str]:
    """What lies inside the folders of `roots` and is shut all the same."""
    ours = {os.path.realpath(folder) for folder in site_folders()}
    foreign = [p for root in system_paths() for p in package_folders(root) if os.path.realpath(p) not in ours]
    shut = [e.path for folder in site_folders() for e in os.scandir(folder) if not is_open(e.name)]
    return foreign + sorted(p for p in shut if not p.endswith((".dist-info", ".pth")))  # the text of these tells little


@functools.cache
def shut_modules() -> list[str]:
    """The modules that are installed here and that no submission may import."""
    names = {e.name.partition(".")[0] for folder in site_folders() for e in os.scandir(folder) if not is_open(e.name)}
    ours = {e.name.partition(".")[0] for folder in site_folders() for e in os.scandir(folder) if is_open(e.name)}
    return sorted(name for name in names - ours - {"cs336lite"} if name.isidentifier() and name != "__pycache__")


def roots() -> list[str]:
    """The folders in which all readable paths lie: few, for the layers that cannot take hundreds of rules."""
    return [*system_paths(), *site_folders()]


@functools.cache
def is_open(entry: str) -> bool:
    """Whether an entry of a package folder belongs to the course's packages."""
    known = course_packages()
    return not entry.endswith(".pth") and (known is None or entry in known)


@functools.cache
def package_folders(root: str) -> list[str]:
    """The folders of installed packages below a folder of the system's."""
    found = [glob.glob(os.path.join(root, depth, name)) for depth in ("", "*", "*/*") for name in PACKAGE_FOLDERS]
    return [p for group in found for p in group if not os.path.islink(os.path.dirname(p))]


def pieces(root: str, without: list[str]) -> list[str]:
    """A folder as the largest parts of it that leave some folders out."""
    if root in without:
        return []
    if not any(path.startswith(root + os.sep) for path in without):
        return [root]
    return [p for name in sorted(os.listdir(root)) for p in pieces(os.path.join(root, name), without)]


@functools.cache
def system_paths() -> list[str]:
    """What Python and its libraries read while they run, and nothing of anybody's own; no links."""
    library = sysconfig.get_paths()["stdlib"]
    shared = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime"]
    shared.append("/sys/devices/system/cpu")  # which instructions the processor has
    paths = [interpreter(), library, os.path.join(sys.base_prefix, "lib"), *shared]
    real = dict.fromkeys(os.path.realpath(p) for p in paths if os.path.exists(p))
    return [p for p in real if not any(p.startswith(other + os.sep) for other in real)]


def interpreter() -> str:
    """The Python that runs submissions, without the links of a virtual environment."""
    return os.path.realpath(sys.executable)


DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def environment(home: Path) -> dict[str, str]:
    """An environment that tells nothing of the instructor's, with hashing and threads made steady."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(home / "matplotlib"),  # empty, and so it stays: see `worker.pretend_writable`
    }


QUIET = Path(__file__).with_name("quiet")
"""The tools of the course, ``cs336lite.course``, as they are when work is graded."""


def lecture_modules(names: Iterable[str]) -> list[Path]:
    """The files of modules that submissions may import, and that of the package."""
    package = Path(__file__).resolve().parents[1]
    return [package / f"{name}.py" for name in ("__init__", *names)]


@functools.cache
def course_modules() -> frozenset[str]:
    """The full names of all modules that lie in the package beside its folders."""
    package = Path(__file__).resolve().parents[1]
    return frozenset(f"cs336lite.{file.stem}" for file in package.glob("*.py")) - {"cs336lite.__init__"}


def prepare(folder: Path, modules: Iterable[str] = ()) -> None:
    """Fill a worker's folder: its programs, a `cs336lite` of quiet tools and of these modules, and of nothing else."""
    for name in ("inputs", "matplotlib", "empty"):
        (folder / name).mkdir()
    (folder / "worker").mkdir()
    for name in PROGRAMS:
        shutil.copy(Path(__file__).parent / name, folder / "worker" / Path(name).name)
    package = folder / "library" / "cs336lite"
    shutil.copytree(QUIET, package / "course", ignore=shutil.ignore_patterns("__pycache__"))
    for module in lecture_modules(modules):
        shutil.copy(module, package / module.name)


def open_up(folder: Path) -> None:
    """Let every user read a worker's folder, whatever this process's umask: the worker may be another user."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def open_to_others(path: str) -> bool:
    """Whether any user of the machine may reach and read a file or folder."""
    try:
        mode = os.stat(path).st_mode
        parents = [os.stat(parent).st_mode for parent in Path(path).absolute().parents]
    except OSError:
        return False
    return bool(mode & 0o004) and all(mode & 0o001 for mode in parents)


def stranger() -> int:
    """A user that a root process may become and that owns nothing: one for each worker, where numbers reach so far.

    The kernel counts threads by user, so those of one submission should not use up another's.
    """
    with open("/proc/self/uid_map") as file:
        known = [tuple(map(int, line.split())) for line in file]
    user = FIRST_STRANGER + STRANGERS * os.getpid() + next(_strangers) % STRANGERS
    return user if any(inside <= user < inside + length for inside, _, length in known) else NOBODY


_strangers = itertools.count()


def counts_by_namespace() -> bool:
    """Whether the kernel counts a user's threads in each user namespace by itself (Linux 5.14)."""
    major, minor = re.match(r"(\d+)\.(\d+)", platform.release()).groups()
    return (int(major), int(minor)) >= (5, 14)


def threads_of_user(user: int) -> int:
    """How many threads a user runs now, all processes together."""
    found = Path("/proc").glob("[0-9]*")
    return sum(threads_of(int(process.name)) for process in found if owner(process) == user)


def owner(path: Path) -> int | None:
    """Who owns a file; None when there is none."""
    try:
        return path.stat().st_uid
    except OSError:
        return None


def threads_of(process: int) -> int:
    """How many threads a process runs now; none when it has ended."""
    try:
        return len(os.listdir(f"/proc/{process}/task"))
    except OSError:
        return 0
