"""The three ways to install agree, and nothing pulls what it should not."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from environment import ROOT, canonical, direct, environment, locked
from packaging.requirements import Requirement


def test_environment_yml_is_what_the_lock_says():
    assert (ROOT / "environment.yml").read_text() == environment()
    pins = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    assert "torch==2.13.0" in pins and pins[-1] == "-e ."


def test_the_lock_satisfies_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for python in ("3.11", "3.12", "3.13"):
        versions = locked(python)
        for text in project["dependencies"] + project["optional-dependencies"]["test"]:
            requirement = Requirement(text)
            assert requirement.specifier.contains(versions[canonical(requirement.name)]), (python, text)


def test_every_line_of_the_lock_is_one_exact_version():
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        (specifier,) = Requirement(line).specifier
        assert specifier.operator == "==" and "*" not in specifier.version
        assert not canonical(Requirement(line).name).startswith(("nvidia-", "cuda-")), "torch pins these itself"


def test_what_the_course_was_asked_to_use_is_there():
    assert {"torch", "jupyterlab", "einops", "matplotlib", "nbgrader", "regex", "pytest"} <= set(direct())


def test_no_file_names_a_path_of_the_machine_it_was_made_on():
    skip = {".git", ".venv", "demo", "build", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis"}
    home = str(Path.home())
    places = [p for p in (home, str(ROOT)) if len(Path(p).parts) > 2] + ["/root/"]  # not /, /root, /tmp
    for path in ROOT.rglob("*"):
        if (
            path.is_file()
            and not skip & set(path.relative_to(ROOT).parts)
            and path.suffix in (".py", ".ipynb", ".md", ".yml", ".toml", ".json")
        ):
            text = path.read_text(encoding="utf-8")
            for place in places:
                assert place not in text or path == Path(__file__), f"{path} names {place}"


PYTHON = """#!/bin/sh
case "$*" in
*"-m venv"*) echo "$@" >> made; mkdir -p .venv/bin; cp python .venv/bin/python;;
*"-m pip"*) ;;
*"print(sys.version_info"*) echo "(3, 99)";;
*) exec {real} "$@";;
esac
"""
BROKEN = "#!/bin/sh\nexit 1\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
@pytest.mark.parametrize(
    "found, ready, asked, made",
    [
        (None, False, False, True),
        (PYTHON, True, False, False),  # there already
        (PYTHON, False, False, False),  # its installation was cut off: it goes on
        (BROKEN, False, False, True),  # too old, without pip, or gone
        (BROKEN, True, False, True),
        (PYTHON, True, True, True),  # of another version than the one asked for
    ],
)
def test_make_uses_a_venv_that_fits_and_else_makes_one(tmp_path, found, ready, asked, made):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    files = {"python": PYTHON, ".venv/bin/python": found, ".venv/ready": "" if ready else None}
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name, text in files.items():
        if text is not None:
            (tmp_path / name).write_text(text.format(real=sys.executable))
            (tmp_path / name).chmod(0o755)
    makefile = (tmp_path / "Makefile").read_text().replace("PYTHON ?= python3\n", "PYTHON ?= ./python\n")
    (tmp_path / "Makefile").write_text(makefile)
    command = ["make", ".venv/ready", *["PYTHON=./python"] * asked]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made").exists() is made and (tmp_path / ".venv" / "ready").exists()
    if made:
        assert (tmp_path / "made").read_text() == "-m venv --clear .venv\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_says_that_python_is_too_old(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    old = f'#!/bin/sh\nshift\nexec {sys.executable} -c "import sys; sys.version_info = (3, 10, 1); $1"\n'
    (tmp_path / "python").write_text(old)
    (tmp_path / "python").chmod(0o755)
    done = subprocess.run(["make", ".venv/ready", "PYTHON=./python"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "needs Python 3.11 or newer, and ./python is 3.10" in done.stderr
    assert not (tmp_path / ".venv").exists()
