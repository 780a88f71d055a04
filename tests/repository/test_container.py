"""The Dockerfile and the devcontainer name what exists; no Docker daemon is needed here."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import PurePosixPath

from environment import locked
from helpers import ROOT
from typer.main import get_command

from cs336lite.cli import app
from cs336lite.course.release import INSTRUCTOR_LINES

LINES = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text())).splitlines()
STEPS = [line.split(maxsplit=1) for line in LINES if line.strip()]


def test_the_image_copies_what_exists_and_starts_a_command_of_the_course():
    sources = [name for step, rest in STEPS if step == "COPY" for name in rest.split()[1:-1]]
    assert "requirements.lock" in sources and all((ROOT / name).exists() for name in sources)
    command = next(json.loads(rest) for step, rest in STEPS if step == "CMD")
    assert command[0] == "cs336lite" and command[1] in get_command(app).commands
    python = re.search(r"python:3\.(\d+)", dict(STEPS)["FROM"])
    assert 11 <= int(python[1]) <= 13


def test_the_image_installs_the_light_lock():
    """The command of the Dockerfile cuts the lock as `release` does, and finds torch in it."""
    cut = re.search(r"sed ('[^']+') /tmp/requirements.lock", (ROOT / "Dockerfile").read_text())[1]
    light = subprocess.run(
        ["sed", *shlex.split(cut), "requirements.lock"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert light == re.sub(INSTRUCTOR_LINES, "", (ROOT / "requirements.lock").read_text())
    assert len(re.findall(r"(?m)^torch==", light)) == 1 and "pytest" not in locked(text=light)


def test_nothing_secret_and_no_readers_work_goes_into_the_image():
    """Whatever git ignores is left out of the image as well, or is none of ours."""
    left_out = set((ROOT / ".dockerignore").read_text().split())
    ignored = [line for line in (ROOT / ".gitignore").read_text().splitlines() if line and not line.startswith("#")]
    covered = {name.strip("/").removeprefix("**/") for name in left_out}
    small = {"assignments/release", "assignments/exchange", "assignments/*.csv", ".nbgrader.log"}
    assert {line.strip("/") for line in ignored} - covered <= small
    assert {"assignments/.secret", "assignments/gradebook.db*", "assignments/submitted", "my"} <= left_out
    assert ".git" not in left_out  # `cs336lite reset` reads it


def test_the_devcontainer_uses_the_same_image_and_environment():
    about = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert (ROOT / ".devcontainer" / about["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (ROOT / ".devcontainer" / about["build"]["context"]).resolve() == ROOT
    text = (ROOT / "Dockerfile").read_text()
    interpreter = PurePosixPath(about["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"])
    assert f"venv {interpreter.parents[1]}" in text and f"{interpreter.parent}:" in text
    assert about["postCreateCommand"].startswith(f"{interpreter} -m pip install")
    assert f" {about['remoteUser']}\n" in text or f"USER {about['remoteUser']}" in text
    assert str(about["forwardPorts"][0]) in text
