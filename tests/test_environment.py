"""The three ways to install agree, and nothing pulls what it should not."""

import tomllib
from pathlib import Path

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
