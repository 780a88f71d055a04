"""The ways in which a grader may run on a machine: as root or not, with bubblewrap or without. `make attacks` tries each.

A run of the tests takes its mode from the variable `CS336LITE_ATTACKS_AS`; without it, attacks are graded as whoever
runs the tests, with what is installed.

    python tests/attacks/modes.py [--other] [PYTEST OPTIONS]     every mode that is possible here, or those but the present one
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "CS336LITE_ATTACKS_AS"
ORDINARY = 65534  # whom root becomes to be an ordinary user


@dataclass(frozen=True)
class Mode:
    """Who grades, and whether bubblewrap is found on the PATH."""

    name: str
    root: bool
    bubblewrap: bool

    def options(self, home: Path | None = None) -> dict[str, Any]:
        """What `subprocess.Popen` needs to start a grader in this mode, with a home of its own."""
        environment = dict(os.environ)
        if not self.bubblewrap:
            environment["PATH"] = str(Path(sys.executable).parent)
        more: dict[str, Any] = {}
        if self.is_another():
            more = {"user": ORDINARY, "group": ORDINARY, "extra_groups": []}
            environment |= {
                "USER": "nobody",
                "LOGNAME": "nobody",
                "HOME": str(home or "/"),
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            environment["TORCHINDUCTOR_CACHE_DIR"] = str((home or Path("/")) / "tmp" / "torchinductor")
        return {"env": environment, **more}

    def is_another(self) -> bool:
        """Whether the grader is another user than the tests."""
        return not self.root and os.geteuid() == 0

    def hand_over(self, home: Path) -> None:
        """Give a folder and all that is in it to the user of this mode."""
        if self.is_another():
            for path in [home, *home.rglob("*")]:
                os.chown(path, ORDINARY, ORDINARY, follow_symlinks=False)

    @functools.cached_property
    def impossible(self) -> str:
        """Why nothing can be graded in this mode on this machine; empty when it can."""
        from cs336lite.grading import bubblewrap, surroundings

        if self.root and os.geteuid() != 0:
            return "these tests do not run as root"
        if self.is_another():
            needed = [*surroundings.roots(), sys.executable, bubblewrap.__file__, __file__]
            closed = [path for path in needed if not surroundings.open_to_others(path)]
            if closed:
                return f"an ordinary user may not read {closed[0]}"
        if self.bubblewrap:
            code = "import sys; from cs336lite.grading import bubblewrap; sys.exit(bubblewrap.way() is None)"
            if subprocess.run(
                [sys.executable, "-c", code], capture_output=True, check=False, **self.options()
            ).returncode:
                return "bubblewrap is not installed, or may not make namespaces"
        return ""


MODES = (
    Mode("root, bubblewrap", root=True, bubblewrap=True),
    Mode("root, no bubblewrap", root=True, bubblewrap=False),
    Mode("ordinary user, bubblewrap", root=False, bubblewrap=True),
    Mode("ordinary user, no bubblewrap", root=False, bubblewrap=False),
)


def present() -> Mode:
    """The mode in which this run of the tests is to grade."""
    if name := os.environ.get(VARIABLE):
        return next(mode for mode in MODES if mode.name == name)
    from cs336lite.grading import bubblewrap

    return next(m for m in MODES if (m.root, m.bubblewrap) == (os.geteuid() == 0, bubblewrap.way() is not None))


def main() -> None:
    other = "--other" in sys.argv
    options = [option for option in sys.argv[1:] if option != "--other"] or [str(Path(__file__).parent)]
    now, failed = present(), []
    for mode in MODES:
        if other and mode == now:
            continue
        if mode.impossible:
            print(f"== {mode.name}: not possible here: {mode.impossible}", flush=True)
            continue
        print(f"== {mode.name}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options], env={**os.environ, VARIABLE: mode.name}, check=False
        )
        if done.returncode:
            failed.append(mode.name)
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
