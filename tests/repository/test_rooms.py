"""The order of the rooms: the package → course → grading → teaching → the command line. Nobody imports from above."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter

import pytest
from helpers import ROOT, script

architecture = script("docs/architecture.py")
FILES, ROOMS = architecture.FILES, architecture.ROOMS
imports, room, sweeps = architecture.imports, architecture.room, architecture.sweeps
ORDER = list(ROOMS)
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_there_is_something_in_each_room():
    assert {room(module) for module in FILES} == {*ROOMS}


@pytest.mark.parametrize("which", ROOMS)
def test_a_room_imports_from_itself_and_from_below_alone(which):
    upward = {
        (module, other): f"{FILES[module].relative_to(ROOT)}:{line}: imports {other}"
        for module in FILES
        if room(module) == which
        for other, line in imports(module).items()
        if ORDER.index(room(other)) > ORDER.index(which)
    }
    assert [said for arrow, said in upward.items() if arrow not in sweeps()] == []


def test_no_module_needs_itself_to_be_imported():
    try:
        TopologicalSorter({module: imports(module, late=False) for module in FILES}).prepare()
    except CycleError as error:
        pytest.fail("a circle of imports: " + " → ".join(reversed(error.args[1])))


def test_the_imports_are_read(tmp_path, monkeypatch):
    for name, text in {
        "a": "import cs336lite.b\n\ndef f():\n    from cs336lite import c\n",
        "b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cs336lite.c import x\n",
        "c": "import os\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.setitem(FILES, f"cs336lite.{name}", tmp_path / f"{name}.py")
    assert imports("cs336lite.a") == {"cs336lite.b": 1, "cs336lite.c": 4}
    assert imports("cs336lite.a", late=False) == {"cs336lite.b": 1}
    assert imports("cs336lite.b") == {"cs336lite.c": 3} and imports("cs336lite.b", late=False) == {}


def test_the_picture_is_that_of_the_code():
    drawn = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert drawn == architecture.draw().svg, "python docs/architecture.py draws it anew"
    below = {name: {other for one, other in architecture.arrows() if one == name} for name in ROOMS}
    assert all(ORDER.index(other) < ORDER.index(one) for one in below for other in below[one])
    assert below["grading"] == {"course", "package"} and not below["package"]


def test_from_the_readme_to_the_line_that_judges_in_five_opens():
    opens = re.findall(r"(?m)^\| (\d) \| \[.+?\]\((.+?)\) \| (.+?) \| `(.+?)` \|$", PAGE)
    assert [number for number, *_ in opens] == ["1", "2", "3", "4", "5"]
    files = [(ROOT / "docs" / path).resolve() for _, path, *_ in opens]
    assert files[0] == ROOT / "README.md" and files[-1].parents[1] == ROOT / "assignments" / "hidden"
    for file, (_, _, where, line) in zip(files, opens):
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".py":
            name = re.fullmatch(r"`(?:\w+\.)?(\w+)`", where)[1]
            text = re.search(rf"(?ms)^( *)def {name}\(.*?(?=^\1(?:def|class|@)|\Z)", text)[0]
        assert line in text, f"{file.name}: {where} has no line {line}"


def test_every_file_that_the_page_names_exists():
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
