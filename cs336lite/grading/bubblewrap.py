"""The outermost layer, where bubblewrap is installed: a worker in namespaces of its own.

It sees no other process, no network, and of the file system the folders that it reads, mounted read-only: nothing can
be written there, so nothing is left for the next submission. The worker itself is process 1, and there is no /proc: all
processes inside are the worker, which nobody may look into, and children with the filter of seccomp. seccomp and
Landlock (see `jail`) hold inside all the same: each layer is there for the day on which another has a hole.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

from cs336lite.grading import surroundings

NAMESPACES = ("--unshare-pid", "--as-pid-1", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
PROCESSOR = "/proc/cpuinfo"  # all of /proc that libraries ask for as they are imported
USERS = ("--unshare-user", "--uid", str(surroundings.NOBODY), "--gid", str(surroundings.NOBODY))
# the first that works here is taken: root needs no user namespace (and the worker then leaves root behind),
# others need one, closed to further ones where bubblewrap is new enough; a setuid bubblewrap needs none
WAYS = ((), (*USERS, "--disable-userns"), USERS)


@functools.cache
def way() -> tuple[str, ...] | None:
    """How namespaces can be had on this machine, by trying; None when they cannot."""
    program = shutil.which("bwrap")
    if program is None:
        return None
    for users in WAYS if os.geteuid() == 0 else (*WAYS[1:], ()):
        trial = [program, *NAMESPACES, *users, "--ro-bind", "/", "/", "--die-with-parent", "true"]
        try:
            done = subprocess.run(trial, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        except BlockingIOError:
            raise  # no more processes for now: that says nothing about namespaces
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return (program, *NAMESPACES, *users)
    return None


def changes_user() -> bool:
    """Whether a worker in these namespaces is another user already. Needs a `way`."""
    return USERS[0] in way()


def command(folder: Path) -> list[str]:
    """What to put before a command so that it runs in namespaces and sees ``folder``. Needs a `way`."""
    shown = [*surroundings.roots(), str(folder), *filter(os.path.exists, [PROCESSOR])]
    parents = {str(parent) for path in [*shown, *surroundings.DEVICES] for parent in Path(path).parents}
    line = [*way(), "--die-with-parent", "--new-session"]
    for parent in sorted(parents - {"/"}):
        line += ["--dir", parent]  # those that a mount makes by itself are closed to other users
    for path in shown:
        line += ["--ro-bind", path, path]
    for link in ("/lib", "/lib64"):
        if os.path.islink(link):
            line += ["--symlink", os.readlink(link), link]
    empty = str(folder / "empty")
    for path in surroundings.hidden_paths():
        line += ["--ro-bind", empty if os.path.isdir(path) else os.devnull, path]
    for device in surroundings.DEVICES:
        line += ["--dev-bind", device, device]
    return [*line, "--chdir", str(folder), "--remount-ro", "/"]
