"""Print environment.yml: the direct dependencies of pyproject.toml at the versions of requirements.lock.

``python tests/repository/environment.py FULL LIGHT`` prints requirements.lock instead: what the course and its students need first,
then, between the lines that `release` cuts out, what only the tests need.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
HEAD = """\
# The conda path: conda env create -f environment.yml && conda activate cs336lite
# Made by `make lock` from pyproject.toml and requirements.lock; a test compares them.
name: cs336lite
channels: [conda-forge]
dependencies:
  - python=3.12
  - pip
  - pip:
"""


ONLY_HERE = "# >>> not in the student edition\n{}# <<< not in the student edition\n"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(text: str) -> list[Requirement]:
    """What the lines of a lock ask for; comments left out."""
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


def parted(full: str, light: str) -> str:
    """A lock whose last part, of packages that the light one does not name, is cut out of a student edition."""
    students = {canonical(requirement.name) for requirement in requirements(light)}
    lines = [line for line in full.splitlines(keepends=True) if not line.startswith("#")]
    ours = [line for line in lines if canonical(Requirement(line.strip()).name) not in students]
    return "".join(line for line in lines if line not in ours) + ONLY_HERE.format("".join(ours))


def locked(python: str = "3.12", text: str | None = None) -> dict[str, str]:
    """Package name to version, as the lock (or another text of its form) has it for a version of Python."""
    place = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    found = {}
    for requirement in requirements((ROOT / "requirements.lock").read_text() if text is None else text):
        if requirement.marker is None or requirement.marker.evaluate(place):
            found[canonical(requirement.name)] = next(iter(requirement.specifier)).version
    return found


def direct() -> dict[str, str]:
    """The direct dependencies, the tests' included, in order: name to where each is wanted, a marker or nothing."""
    return {name: marker for part in parts() for name, marker in part.items()}


def parts() -> tuple[dict[str, str], dict[str, str]]:
    """The direct dependencies of the course, and those of its tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"], project["optional-dependencies"]["test"]
    first, second = (
        {canonical(r.name): f"; {r.marker}" if r.marker else "" for r in map(Requirement, part)} for part in wanted
    )
    return first, second


def environment() -> str:
    versions = locked()

    def pins(part: Iterable[tuple[str, str]]) -> str:
        return "".join(f"      - {name}=={versions[name]}{marker}\n" for name, marker in part)

    course, tests = (pins(part.items()) for part in parts())
    return f"{HEAD}{course}{ONLY_HERE.format(tests)}      - -e .\n"


if __name__ == "__main__":
    texts = [Path(name).read_text() for name in sys.argv[1:]]
    print(parted(*texts) if texts else environment(), end="")
