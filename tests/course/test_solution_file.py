"""A file of a solution is run as far as it can be, and a failed public check says all that there is to say."""

import contextlib
import importlib
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from cs336lite.course.check import CheckReport, run_checks
from cs336lite.course.paths import CourseError
from cs336lite.course.returned import last_return
from cs336lite.course.solution import run_file
from cs336lite.course.spec import CheckResult, LocalStudent, StudentError, check, load_spec

module = importlib.import_module("cs336lite.course.check")  # the package has a function of that name
DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class Pair:
    a: Later
    b: int = 2
class Later: pass
"""


def ran(tmp_path, source, name="solution.py"):
    path = tmp_path / name
    path.write_text(source)
    return run_file(path)


def cells(tmp_path, *sources):
    path = tmp_path / "a1_bpe.ipynb"
    made = [new_code_cell(source, metadata={"nbgrader": {"grade_id": f"c{i}"}}) for i, source in enumerate(sources)]
    nbformat.write(new_notebook(cells=made), path)
    return run_file(path, "a1_bpe")


def told(names, driver, *args):
    with pytest.raises(StudentError) as raised:
        LocalStudent(names).run(driver, *args)
    return str(raised.value)


# -- files ------------------------------------------------------------------------------------------------------------


def test_dataclasses_and_annotations_of_what_comes_later_work(tmp_path):
    names = ran(tmp_path, DATACLASS).names
    assert names["Pair"](1).b == 2
    assert names["Pair"].__annotations__["a"] == "Later"
    assert sys.modules[names["Pair"].__module__].Pair is names["Pair"]


def test_annotations_are_no_strings_unless_the_file_says_so(tmp_path):
    assert ran(tmp_path, "def f(x: int): pass").names["f"].__annotations__ == {"x": int}


@pytest.mark.parametrize(
    "line",
    [
        "print(undefined)",
        "open('/no/such/file')",
        "raise SystemExit(1)",
        "from .helpers import x",
        "1 / 0",
        "assert False",
    ],
)
def test_a_line_that_stops_takes_nothing_with_it(tmp_path, line):
    found = ran(tmp_path, f"a = 1\n{line}\nb = 2\n")
    assert (found.names["a"], found.names["b"]) == (1, 2)
    assert len(found.notes) == 1
    assert found.notes[0].startswith("line 2 of solution.py stopped with ")


def test_a_line_of_a_function_is_told_too(tmp_path):
    assert ran(tmp_path, "def f():\n    return [][1]\n\nf()\n").notes == (
        "line 2 of solution.py stopped with IndexError: list index out of range",
    )


def test_many_lines_that_stop_are_counted(tmp_path):
    notes = ran(tmp_path, "1 / 0\n" * 9).notes
    assert len(notes) == 4
    assert notes[-1] == "6 more lines stopped"


def test_an_endless_demonstration_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("cs336lite.course.solution.SECONDS", 0.2)
    found = ran(tmp_path, "while True:\n    try: 1\n    except Exception: pass\nb = 2\n")
    assert found.names["b"] == 2
    assert "endless loop" in found.notes[0]


def test_notebook_commands_do_nothing(tmp_path):
    source = "%precision 4\n!ls\nfiles = !ls\nget_ipython().run_line_magic('time', '')\nD = {\n  1: 2,  # so?\n}\n"
    found = ran(tmp_path, source)
    assert found.notes == ()
    assert found.names["D"] == {1: 2}


def test_exported_cells_of_a_notebook_are_run_with_commands_and_flags(tmp_path):
    found = cells(
        tmp_path,
        "from __future__ import annotations",
        "#| export\n%precision 3\n" + DATACLASS.replace("from __future__ import annotations", ""),
        "#| export\nx = 1\ny = undefined\n",
        "raise RuntimeError('no exported cell')",
    )
    assert found.names["Pair"](1).b == 2
    assert found.names["x"] == 1
    assert found.notes == ("line 3 of cell `c2` stopped with NameError: name 'undefined' is not defined",)


@pytest.mark.parametrize(("name", "data", "words"), [("x.py", "def f(:\n", "cannot be run: SyntaxError"), ("x.py", "a = 'é".encode("latin-1"), "cannot be read"),
                                                     ("x.ipynb", "{}", "is no notebook"), ("x.py", None, "no such file")])  # fmt: skip
def test_what_cannot_be_read_is_told(tmp_path, name, data, words):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(CourseError, match=words):
        run_file(path)


# -- what a failure says ----------------------------------------------------------------------------------------------


def call(student, *args):
    return student.f(*args)


def use(student, *args):
    a, b = student.f(*args)
    return a + b


def listed(student, *args):
    return list(student.Maker().make(*args))


def test_an_exception_is_told_with_its_text_and_its_line(tmp_path):
    names = ran(tmp_path, "def f(x):\n    y = x + 1\n    raise ValueError(f'too large: {y}')\n").names
    assert told(names, call, 4) == (
        "your code raised ValueError: too large: 5 (in `f`, line 3 of solution.py: raise ValueError(f'too large: {y}'))"
    )


def test_what_is_not_solved_is_named_where_another_exercise_asks_for_it(tmp_path):
    source = "class Maker:\n  def make(self, x): raise NotImplementedError\ndef f(x): return Maker().make(x)"
    said = "this exercise is not solved yet: `Maker.make` still raises NotImplementedError"
    assert told(ran(tmp_path, source).names, call, 1) == said


def test_the_line_is_that_of_the_cell(tmp_path):
    found = cells(tmp_path, "#| export\nz = 1\n", "#| export\n\ndef f(x):\n    return [][x]\n")
    assert "(in `f`, line 4 of cell `c1`: return [][x])" in told(found.names, call, 0)


@pytest.mark.parametrize(
    ("source", "driver", "said"),
    [
        ("def f(x): x + 1", use, "`f` returned None: is a `return` missing?"),
        ("def f(x): return 5", use, "`f` returned 5, which cannot be used here: TypeError: cannot unpack"),
        ("def f(x): return 1, 2, 3", use, "`f` returned (1, 2, 3), which cannot be used here: ValueError"),
        ("def g(x): return x\ndef f(x): g(x)", use, "`f` returned None: is a `return` missing?"),
        ("class Maker:\n  def make(self, x): pass", listed, "`make` returned None: is a `return` missing?"),
        ("class Maker:\n  def make(self): pass", listed, "`make` does not take the arguments that it is given here"),
        ("def f(): return 1, 2", use, "`f` does not take the arguments that it is given here: TypeError"),
        ("def f(x): return 1, 'a'", use, "what your code gave could not be used: TypeError: unsupported operand"),
        ("class Maker:\n  def make(self, x):\n    yield 1\n    yield None + 1", listed, "your code raised TypeError"),
    ],
)
def test_what_the_check_could_not_use_is_told_as_what_came(tmp_path, source, driver, said):
    assert told(ran(tmp_path, source).names, driver, 1).startswith(said)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(): pass", "it is None, or holds None. Is a `return` missing?"),
        ("def f(): return [None]", "it is None, or holds None. Is a `return` missing?"),
        (
            "def f(): return 'text'",
            "perhaps it has another form than the one asked for (TypeError in the check itself)",
        ),
    ],
)
def test_none_that_only_the_check_meets_is_told_as_a_missing_return(tmp_path, source, said):
    spec = tmp_path / "spec.py"
    spec.write_text(
        "from cs336lite.course.spec import check, expect\ndef ask(student): return student.f()\n"
        "@check('f', title='a sum')\ndef total(student, rng): expect(sum(student.run(ask)) == 3, 'wrong')"
    )
    [result] = run_checks(load_spec(spec), LocalStudent(ran(tmp_path, source).names))
    assert result.message == f"this check could not be finished with your answer: {said}"


def test_a_call_is_not_repeated_when_it_took_long(tmp_path):
    source = "n = 0\nimport time\ndef f(x):\n    global n\n    n += 1\n    t = time.process_time()\n    while time.process_time() < t + 1.1: pass\n"
    names = ran(tmp_path, source).names
    assert "could not be used" in told(names, use, 1)
    assert names["n"] == 1


def test_what_watches_is_gone_afterwards():
    before = sys.getprofile()
    assert last_return(lambda: 1 / 0, {}) is None
    assert sys.getprofile() is before


# -- many checks ------------------------------------------------------------------------------------------------------


def spec_of(tmp_path, names):
    lines = ["from cs336lite.course.spec import check, expect", "def ask(student): return student.f()"]
    for exercise, name in names:
        lines.append(f"@check({exercise!r}, title={name!r}, seconds=0.1)\ndef {name}(student, rng): student.run(ask)")
    path = tmp_path / "spec.py"
    path.write_text("\n".join(lines))
    return load_spec(path)


def test_after_an_endless_loop_the_exercise_is_not_asked_again(tmp_path, monkeypatch):
    spec = spec_of(tmp_path, [("one", "a"), ("one", "b"), ("one", "c"), ("two", "d"), ("three", "e"), ("four", "g")])
    calls = []

    def f():
        calls.append(1)
        while True:
            with contextlib.suppress(Exception):
                time.sleep(0.01)

    monkeypatch.setattr(module, "MOST_SECONDS", 0.35)
    results = run_checks(spec, LocalStudent({"f": f}))
    assert len(calls) == 2
    assert ["endless loop" in r.message for r in results] == [True, False, False, True, False, False]
    assert [r.message for r in results[1:3]] == [module.NOT_RUN] * 2
    assert [r.message for r in results[4:]] == [module.NO_TIME] * 2
    assert not any(r.passed for r in results)


def test_the_same_sentence_is_said_once():
    results = [CheckResult(f"e.{i}", f"e{i % 2}", f"title {i}", 0, 1, False, "not solved yet") for i in range(29)]
    report = CheckReport("a1_bpe", (*results, CheckResult("e.x", "e1", "other", 0, 1, False, "")), ("a note",))
    for shown in (repr(report), report._repr_html_()):
        assert shown.count("not solved yet") == 1
        assert "(and 28 more checks say the same (e1))" in shown
        assert "a note" in shown
        assert ("e.x" if shown == repr(report) else "other") in shown
        assert "0 of 30 public checks passed" in shown


def test_check_is_still_what_declares_one():
    assert check("e", title="t")(lambda student, rng: None).__check__.failed("why").message == "why"
