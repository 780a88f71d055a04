"""The last cell of an assignment: what was run against what is saved, and the public checks on what was exported."""

from __future__ import annotations

import builtins
import functools
import importlib
import re
import sys
from types import ModuleType

import pytest
from test_export import CODE_STUB, HELPED, SOLVED, _indent, edition, run_cells, write_notebook  # noqa: F401

from cs336lite.course.check import check
from cs336lite.course.last_cell import export_solution, export_student
from cs336lite.course.paths import CourseError
from cs336lite.course.saved import Kernel
from cs336lite.course.solution import run_file

NOTEBOOK = "assignments/a1_bpe/a1_bpe.ipynb"
PUBLIC = """
from cs336lite.course.spec import check, expect


def drive_count(student, word):
    return dict(student.count_pairs(word))


def drive_train(student, word):
    return student.Trainer().train(word)


@check("count_pairs", title="each pair is counted")
def counted(student, rng):
    expect(student.run(drive_count, "aab") == {("a", "a"): 1, ("a", "b"): 1}, "a pair is missing")


@check("train", title="the greatest pair comes")
def greatest(student, rng):
    expect(student.run(drive_train, "aab") == ("a", "b"), "another pair came")
"""


@pytest.fixture
def checked(edition):  # noqa: F811
    """The edition, with public checks."""
    (edition / "assignments" / "public").mkdir()
    (edition / "assignments/public/a1_bpe.py").write_text(PUBLIC, encoding="utf-8")
    return edition


def exported(root, cells: list[str], kernel: Kernel):
    write_notebook(root / NOTEBOOK, cells)
    return export_student("a1_bpe", root=root, kernel=kernel)


# -- what was run, and what is saved ----------------------------------------------------------------------------------

EMPTY = "#| export\nclass Marker(list):\n    size = 1"
CACHED = "#| export\nimport functools\n\n@functools.lru_cache\ndef cached(x):\n    return 1"
OPAQUE = "#| export\nimport functools\n\ndef plain(x):\n    return x\n\nopaque = functools.partial(plain, 1)"


@pytest.mark.parametrize(
    ("name", "cell", "old", "new"),
    [
        ("LIMIT", SOLVED[0], "LIMIT = 3", "LIMIT = 4"),
        ("LIMIT", SOLVED[0], "LIMIT = 3", "LIMIT: int = 3"),
        ("count_pairs", SOLVED[1], "word[1:]", "word[2:]"),
        ("Trainer", SOLVED[2], "return max(", "return min("),
        ("Marker", EMPTY, "size = 1", "size = 2"),
        ("cached", CACHED, "return 1", "return 2"),
        ("opaque", OPAQUE, "plain, 1", "plain, 2"),
    ],
)
def test_what_was_run_and_is_not_saved_is_named_and_nothing_is_exported(edition, name, cell, old, new):  # noqa: F811
    saved = [*SOLVED, *([] if cell in SOLVED else [cell])]
    edited = [source.replace(old, new) for source in saved]
    assert edited != saved
    before = (edition / "cs336lite" / "bpe.py").read_bytes()
    with pytest.raises(
        CourseError, match=rf"does not hold `{name}` as you have run it last\. Save the notebook \(Ctrl"
    ):
        exported(edition, saved, run_cells([*saved, *edited]))
    with pytest.raises(CourseError, match="If it is saved, you have changed it since you ran it"):
        exported(edition, edited, run_cells(saved))  # the same from the other side: saved, and not run
    assert (edition / "cs336lite" / "bpe.py").read_bytes() == before
    assert new in exported(edition, edited, run_cells([*saved, *edited])).written[0].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "kernel",
    [
        Kernel(),  # restarted, and nothing run
        Kernel({"count_pairs": functools.partial(dict)}, ("import os\nfrom x import count_pairs",)),
        Kernel({"count_pairs": dict, "LIMIT": 4}, ("", "not ( python", "%%html\n<b>")),
        run_cells([source.replace("(zip", "( zip") + "  # so" for source in SOLVED]),
        run_cells([SOLVED[0], SOLVED[0].replace("3", "4"), *SOLVED]),  # changed, and changed back
    ],
)
def test_what_cannot_be_known_or_differs_in_layout_counts_as_saved(edition, kernel):  # noqa: F811
    result = exported(edition, SOLVED, kernel)
    assert result.written and len(result.messages) == 1


def test_a_module_is_loaded_again_when_it_is_the_one_that_was_written(edition, tmp_path, monkeypatch):  # noqa: F811
    """A module of another copy of the package has not changed, and those who hold its classes keep them."""
    again = []
    monkeypatch.setattr(importlib, "reload", again.append)
    for place, expected in ((tmp_path / "elsewhere", 0), (edition, 1)):
        loaded = ModuleType("cs336lite.bpe")
        loaded.__file__ = str(place / "cs336lite" / "bpe.py")
        monkeypatch.setitem(sys.modules, "cs336lite.bpe", loaded)
        exported(edition, SOLVED, Kernel())
        assert len(again) == expected


@pytest.mark.parametrize("directive", ["", "#| export\n"])
def test_a_name_that_two_cells_define_is_told_when_the_other_one_was_run_last(edition, directive):  # noqa: F811
    other = directive + "def count_pairs(word):\n    return Counter()"
    ran_last = SOLVED[1] if directive else other  # of two exported cells the later one is exported
    cells = [*SOLVED[:2], other, SOLVED[2]]
    assert len(exported(edition, cells, run_cells([*cells, SOLVED[1] if not directive else other])).messages) == 1
    result = exported(edition, cells, run_cells([*cells, ran_last]))
    first, second = (3, 2) if directive else (2, 3)
    assert result.written
    told = rf"`count_pairs` stands in two cells: exported is that of a1_bpe.ipynb, cell {first} .* last is a1_bpe.ipynb, cell {second} "
    assert len(result.messages) == 2 and re.search(told, result.messages[1])


# -- the public checks on what was exported ---------------------------------------------------------------------------


def said(root, cells: list[str], capsys) -> str:
    write_notebook(root / NOTEBOOK, cells)
    export_solution("a1_bpe", root=root)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    return out.replace("\n  ", " ")  # lines are broken between words, and go on indented


def test_what_is_right_is_told_with_what_lectures_do_with_it(checked, capsys):
    told = said(checked, [*SOLVED, '#| export\nprint("[1, 2]")'], capsys)
    assert "Exported a1_bpe.ipynb, as it is saved, to cs336lite/bpe.py.\n" in told
    assert "2 of 2 public checks pass on the exported code.\nLectures that you start from now on use it;" in told
    assert "restart its kernel" in told and "not yet" not in told


def test_what_works_only_in_the_notebook_fails_where_it_is_exported(checked, capsys, monkeypatch):
    monkeypatch.setattr(builtins, "helper", dict, raising=False)  # as some cell of the notebook has left it
    told = said(checked, [SOLVED[0], HELPED, SOLVED[2]], capsys)
    assert "0 of 2 public checks pass on the exported code. not yet: count_pairs.counted: " in told
    assert "NameError: name 'helper' is not defined (in `count_pairs`, line" in told and "of bpe.py" in told
    assert "Lectures use it as it is, so what they show may be wrong" in told


def test_what_can_be_imported_only_in_the_notebook_is_told_with_its_line(checked, capsys, monkeypatch):
    monkeypatch.setattr(builtins, "helper", dict, raising=False)
    told = said(checked, [*SOLVED, "#| export\nTABLE = helper()"], capsys)
    assert "It is exported, but a lecture cannot import it: line " in told
    assert " of bpe.py stopped with NameError: name 'helper' is not defined." in told


def test_what_is_not_solved_is_no_failure_and_lectures_go_on_without(checked, capsys):
    half = f"#| export\nclass Trainer:\n    def train(self, word):\n{_indent(CODE_STUB, 8)}"
    told = said(checked, [*SOLVED[:2], half], capsys)
    assert "Not solved yet: Trainer.train.\n1 of 2 public checks pass on the exported code.\n" in told
    assert told.endswith("Lectures go on without it until all of it is solved.\n") and "not yet:" not in told


def test_a_module_that_ends_its_process_is_exported_and_told(checked, capsys):
    cells = [*SOLVED, "#| export\nimport sys\n\nif 'IPython' not in sys.modules and 'pytest' not in sys.modules:\n"]
    cells[-1] += "    import os\n\n    os._exit(3)"
    told = said(checked, cells, capsys)
    assert "It is exported, but the public checks of the exported module could not be run: exit status 3." in told


def test_without_public_checks_the_export_is_all(edition, capsys):  # noqa: F811
    assert said(edition, SOLVED, capsys) == "Exported a1_bpe.ipynb, as it is saved, to cs336lite/bpe.py.\n"


# -- the terminal ------------------------------------------------------------------------------------------------------


def test_the_check_in_a_terminal_takes_helper_cells_along_too(checked):
    helper = "demo = 1\n\n\ndef helper(x):\n    return 1 / demo2(x)\n\n\ndef demo2(x):\n    return 0"
    path = write_notebook(checked / NOTEBOOK, [SOLVED[0], "%time 1", HELPED, SOLVED[2], helper])
    ran = run_file(path, "a1_bpe")
    assert {"helper", "demo2"} <= ran.names.keys() and "demo" not in ran.names and ran.notes == ()
    report = check("a1_bpe", "count_pairs", solution=path, root=checked)
    assert "ZeroDivisionError" in repr(report) and "(in `helper`, line 5 of cell 5: return 1 / demo2(x))" in repr(
        report
    )
