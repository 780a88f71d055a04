"""The three ways to install agree, and nothing pulls what it should not."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from environment import ROOT, canonical, direct, environment, locked, parts, requirements
from packaging.requirements import Requirement

from cs336lite.course.leaks import INSTRUCTOR_TOOLS
from cs336lite.course.release import INSTRUCTOR_LINES


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
    for requirement in requirements((ROOT / "requirements.lock").read_text()):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==" and "*" not in specifier.version
        assert not canonical(requirement.name).startswith(("nvidia-", "cuda-")), "torch pins these itself"


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


def test_a_student_edition_installs_no_tools_of_ours():
    """The lock, pyproject and environment.yml of an edition agree, hold what the course needs, and nothing of the tests'."""
    course, tests = parts()
    cut = {
        name: re.sub(INSTRUCTOR_LINES, "", (ROOT / name).read_text())
        for name in ("requirements.lock", "pyproject.toml", "environment.yml")
    }
    light = locked(text=cut["requirements.lock"])
    assert set(course) <= set(light) and set(tests) & set(light) == {"psutil", "pyyaml"}  # which Jupyter asks for
    assert {"jupyterlab", "nbgrader", "torch"} <= set(light) and len(light) < len(locked())
    project = tomllib.loads(cut["pyproject.toml"])
    assert set(project["project"]["optional-dependencies"]) == {"data"} and "pytest" not in project["tool"]
    pins = yaml.safe_load(cut["environment.yml"])["dependencies"][-1]["pip"]
    assert pins == [*(f"{name}=={light[name]}{marker}" for name, marker in course.items()), "-e ."]


def test_the_light_lock_is_enough_for_all_that_an_edition_imports():
    """Each import of what an edition holds comes from Python itself, the course, or a package of the light lock."""
    light = set(locked(text=re.sub(INSTRUCTOR_LINES, "", (ROOT / "requirements.lock").read_text())))
    providers = importlib.metadata.packages_distributions()
    folders = (
        "cs336lite",
        "cs336lite/course",
        "notebooks/text",
        "notebooks/checks",
        "assignments/text",
        "assignments/public",
    )
    sources = [path for folder in folders for path in sorted((ROOT / folder).glob("*.py"))]
    seen = set()
    for path in sources:
        if path.name in INSTRUCTOR_TOOLS:
            continue
        for name in imported(path):
            seen.add(name)
            known = {canonical(found) for found in providers.get(name, [])}
            if name not in sys.stdlib_module_names and name not in OPTIONAL and name != "cs336lite":
                assert known & light, f"{path.name} imports {name}, which no student's environment has"
    assert {"torch", "nbgrader", "scipy", "IPython"} <= seen


OPTIONAL = {"datasets", "distributed", "transformers"}
"""What code asks for where it is there, and says so where it is not."""


def imported(path: Path) -> set[str]:
    """The packages that the code of a file, or of a text's cells, imports."""
    source = re.sub(r"(?m)^[%!].*$", "", path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found
