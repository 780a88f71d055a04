"""What a change goes through: hooks before a commit, the workflow, make's targets, the types of what is written by hand."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import tomllib

import pytest
import yaml
from helpers import ROOT

from cs336lite import __version__
from cs336lite.course.module import BUILT_LINE

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
LONGEST = 350  # lines of a file that is written by hand
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_hooks_are_tools_of_this_course():
    hooks = {hook["id"]: hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert hooks.keys() == {"ruff-check", "ruff-format", "whitespace", "build"}
    assert all(hook["language"] == "system" for hook in hooks.values())  # no version but the lock's
    assert "build --check" in hooks["build"]["entry"] and hooks["build"]["pass_filenames"] is False
    looked_at = re.compile(hooks["build"]["files"])
    assert all(looked_at.search(name) for name in ("notebooks/text/01_tokenizer.py", "cs336lite/cli/student.py"))


def test_the_hook_for_white_space_finds_it(tmp_path):
    (entry,) = [
        h["entry"] for r in read(".pre-commit-config.yaml")["repos"] for h in r["hooks"] if h["id"] == "whitespace"
    ]
    git = lambda *words: subprocess.run([*words], cwd=tmp_path, capture_output=True, text=True)  # noqa: E731
    git("git", "init", "-q")
    for text, status in (("x = 1\n", 0), ("x = 1 \n", 2)):
        (tmp_path / "a.py").write_text(text, encoding="utf-8")
        git("git", "add", "a.py")
        assert git(*entry.split()).returncode == status


def test_the_workflow_runs_all_checks_on_each_python():
    (job,) = read(".github/workflows/test.yml")["jobs"].values()
    python = job["strategy"]["matrix"]["python"]
    tested = re.search(r"for version in ([\d. ]+); do", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))[1].split()
    assert python == tested == ["3.11", "3.12", "3.13"]
    assert any(step.get("run") == ".ci/run" for step in job["steps"])
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR


def test_the_forms_of_an_issue_can_be_filled_in():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.name != "config.yml":
            assert form["name"] and form["description"]
            ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
            assert ids and len(ids) == len({*ids}) and all(p["attributes"] for p in form["body"])


def test_version_and_licence_are_the_same_everywhere():
    cited = read("CITATION.cff")
    assert cited["version"] == PROJECT["project"]["version"] == __version__
    assert cited["license"] == PROJECT["project"]["license"]
    assert re.search(rf"(?m)^## .*{re.escape(__version__)}", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))


def test_every_target_says_what_it_does():
    targets = re.search(r"(?m)^\.PHONY: (lab .+)$", MAKEFILE)[1].split()
    said = dict(re.findall(r"(?m)^([a-z-]+):.*?## (.+)$", MAKEFILE))
    assert said.keys() == {*targets}
    assert sorted(targets) == sorted({*re.findall(r"(?m)^([a-z-]+):(?!.*\bTESTS = )", MAKEFILE)})


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_help_lists_them():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in shown.splitlines() if line[:1].isalpha()} >= {"demo", "test", "types", "bench"}


def test_what_mypy_leaves_out_exists():
    left = [
        name for part in PROJECT["tool"]["mypy"]["overrides"] if part.get("ignore_errors") for name in part["module"]
    ]
    for name in left:
        path = ROOT / name.removesuffix(".*").replace(".", "/")
        assert path.is_dir() if name.endswith(".*") else path.with_suffix(".py").is_file(), name
    assert all((ROOT / name).exists() for name in PROJECT["tool"]["mypy"]["files"])


@pytest.mark.slow
def test_the_types_hold():
    pytest.importorskip("mypy", reason="mypy comes with `make types`")
    checked = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert checked.returncode == 0, checked.stdout


def test_all_that_lies_in_the_package_is_shipped():
    """A file that is no Python needs a pattern in `pyproject.toml`."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    shipped = {
        path
        for package, globs in patterns.items()
        for pattern in globs
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    tracked = subprocess.run(
        ["git", "ls-files", "cs336lite"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert [name for name in tracked if not name.endswith(".py") and ROOT / name not in shipped] == []


@pytest.mark.parametrize("folder", ["cs336lite", "benchmarks", "docs", "site"])
def test_a_long_file_says_why_it_is_one(folder):
    """What is longer than a sitting is two things, or says in its docstring why not ("One file because ...")."""
    found = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".js", ".css", ".jinja")]
    written = {path: path.read_text(encoding="utf-8") for path in found}
    long = [path for path, text in written.items() if text.count("\n") > LONGEST and not text.startswith(BUILT_LINE)]
    assert written and [p.relative_to(ROOT).as_posix() for p in long if not gives_a_reason(written[p])] == []


def gives_a_reason(text: str) -> bool:
    return re.match(r'"""(?:(?!""").)*?\bOne file because ', text, re.DOTALL) is not None


def test_a_reason_is_one_in_the_docstring():
    assert gives_a_reason('"""Keys.\n\nOne file because the parts call each other.\n"""\nX = 1\n')
    assert not gives_a_reason('"""Keys."""\n\nX = """One file because it says so."""\n')
