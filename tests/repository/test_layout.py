"""Where a test lies can be guessed: the folders are those of the package, and CONTRIBUTING says what is in each."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from helpers import ROOT

TESTS = ROOT / "tests"
SECTION = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## Tests\n")[1].split("\n## ")[0]
DESCRIBED = re.findall(r"(?m)^\| `(\w+)` \| .+ \|$", SECTION)
ROOMS = {
    "lectures": ROOT / "cs336lite",
    **{room: ROOT / "cs336lite" / room for room in ("course", "grading", "teaching")},
}


def modules(room: str) -> set[str]:
    """The modules of a room, its packages among them; not the other rooms."""
    return {path.stem for path in ROOMS[room].iterdir() if path.suffix == ".py" or path.is_dir()} - {*ROOMS}


def misplaced(tests: Path) -> list[str]:
    """Tests that lie where nobody looks for them, each with the place where somebody would."""
    found = []
    for path in sorted(tests.rglob("test_*.py")):
        name, folder = path.stem.removeprefix("test_"), path.parent.relative_to(tests).as_posix()
        named_after = {room for room in ROOMS if name in modules(room)}
        if re.match(r"a\d+_", name):
            named_after = {"assignments"}
        if folder not in DESCRIBED or folder not in (named_after or {folder}):
            found.append(f"{path.relative_to(tests)}: {' or '.join(sorted(named_after or DESCRIBED))}")
    return found


def test_every_test_lies_in_its_folder():
    assert misplaced(TESTS) == []


def test_every_folder_is_described_once_and_holds_tests():
    assert sorted(DESCRIBED) == sorted({path.parent.name for path in TESTS.rglob("test_*.py")})


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("test_feedback.py", "test_feedback.py: grading"),
        ("course/test_feedback.py", "course/test_feedback.py: grading"),
        ("course/test_attention.py", "course/test_attention.py: lectures"),
        ("grading/test_hugging_face.py", "grading/test_hugging_face.py: course"),
        ("lectures/test_a1_checks.py", "lectures/test_a1_checks.py: assignments"),
        ("grading/deeper/test_feedback.py", "grading/deeper/test_feedback.py: grading"),
    ],
)
def test_one_that_lies_elsewhere_is_found(tmp_path, path, said):
    for place in (path, "grading/test_feedback.py", "course/test_reference.py", "attacks/test_anything.py"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    assert misplaced(tmp_path) == [said]


def test_no_two_files_that_tests_import_have_one_name():
    """Tests put these folders on the path, in whichever order they run: of two files of one name, the first would be both."""
    folders = [TESTS, *(TESTS / name for name in DESCRIBED), ROOT / "benchmarks", ROOT / "site"]
    names = Counter(path.stem for folder in folders for path in folder.glob("*.py"))
    assert [name for name, times in names.items() if times > 1] == []
