"""check, hint and status, as functions and as commands, on the small course."""

import importlib
import json
import signal
import sys
import time

import pytest
from helpers import RIGHT, run

from cs336lite.course import check, hint, status, timing
from cs336lite.course import paths as paths_module
from cs336lite.course.check import CheckReport, run_checks
from cs336lite.course.paths import EDITION_MARKER, CourseError, assignment_name, find_root, write_atomic
from cs336lite.course.spec import LocalStudent, load_spec

HINTS = '\nHINTS = {"double": ["add", "x to itself", "x plus x"], "halve": ["share"]}\n'


@pytest.fixture
def root(small_course):
    public = small_course / "public" / "a1_bpe.py"
    public.write_text(public.read_text() + HINTS)
    return small_course.parent


def answer(tmp_path, *cells):
    path = tmp_path / "answer.py"
    path.write_text("\n\n".join(cells))
    return path


def test_check_counts_what_passed_and_says_that_hidden_checks_follow(root, tmp_path):
    report = check("a1", solution=answer(tmp_path, *RIGHT), root=root)
    assert report.passed
    assert report.summary == "3 of 3 public checks passed; the hidden checks follow when you hand in"
    assert json.loads((root / ".cs336lite" / "progress.json").read_text())["checks"]["a1_bpe"]["double"] == [2, 2]


def test_one_exercise_alone_is_checked(root, tmp_path):
    report = check(
        "a1_bpe", "halve", solution=answer(tmp_path, "def double(x): raise NotImplementedError", RIGHT[1]), root=root
    )
    assert report.passed and len(report.results) == 1


def test_a_wrong_answer_is_told_as_html_and_as_text(root, tmp_path):
    report = check("a1_bpe", solution=answer(tmp_path, "def double(x): return x * x", RIGHT[1]), root=root)
    assert not report.passed
    assert "the number is squared, not doubled" in report._repr_html_() and "not yet" in report._repr_html_()
    assert "NOT YET  double.number  the number is squared" in repr(report)


def test_markup_in_a_message_is_shown_and_not_rendered():
    from cs336lite.course.spec import CheckResult

    page = CheckReport("a", (CheckResult("e.c", "e", "<b>t</b>", 0, 1, False, "use <script>"),))._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_an_unsolved_exercise_and_a_missing_name_are_told_apart(root, tmp_path):
    report = check("a1_bpe", solution=answer(tmp_path, "def double(x): raise NotImplementedError"), root=root)
    messages = {r.id: r.message for r in report.results}
    assert "not solved yet" in messages["double.number"]
    assert "`halve` is not defined" in messages["halve.half"]


def test_an_endless_loop_is_stopped(tmp_path, small_course):
    spec = load_spec(small_course / "hidden" / "a1_bpe.py")

    def forever(x):
        while True:
            time.sleep(0.01)

    results = run_checks(spec, LocalStudent({"double": forever, "halve": lambda n: n // 2}), "double")
    assert [r.passed for r in results] == [False, False]
    assert "endless loop" in results[0].message


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="there is no alarm")
@pytest.mark.parametrize(("rings", "whole"), [(1, True), (timing.MOST_WAITS, True), (timing.MOST_WAITS + 1, False)])
def test_an_import_is_not_cut_off_by_a_limit_unless_it_has_no_end(tmp_path, monkeypatch, rings, whole):
    (tmp_path / "imported_late.py").write_text(
        f"import signal\nfor _ in range({rings}):\n    signal.raise_signal(signal.SIGALRM)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "imported_late", raising=False)
    reached = []
    with pytest.raises(timing.Stopped, match="stopped after 1000 s"), timing.time_limit(1000):
        reached.append(importlib.import_module("imported_late").whole)
        signal.raise_signal(signal.SIGALRM)
    assert reached == [True] * whole


def test_hints_come_one_by_one_and_are_remembered(root):
    assert hint("a1_bpe", "double", root=root).layers == ("add",)
    assert "2 more" in repr(hint("a1_bpe", "double", root=root)).replace("1 more", "2 more")
    third = hint("a1_bpe", "double", root=root)
    assert third.layers == ("add", "x to itself", "x plus x")
    assert hint("a1_bpe", "double", root=root).footer == "that was the last hint"


def test_a_hint_without_an_exercise_is_for_the_first_unsolved(root, tmp_path):
    assert hint("a1", root=root).exercise == "double"
    check("a1_bpe", "double", solution=answer(tmp_path, *RIGHT), root=root)
    assert hint("a1", root=root).exercise == "halve"


def test_a_damaged_progress_file_is_no_obstacle(root):
    (root / ".cs336lite").mkdir()
    (root / ".cs336lite" / "progress.json").write_text("{")
    assert hint("a1", root=root).layers == ("add",)


def test_status_tells_how_far_one_is(root, tmp_path):
    check("a1_bpe", "double", solution=answer(tmp_path, *RIGHT), root=root)
    (root / "cs336lite" / "bpe.py").write_text(
        'def halve(x):\n    raise NotImplementedError("a1_bpe: this exercise is not solved yet")\n'
    )
    (step,) = status(root).steps
    assert step.name == "a1_bpe" and step.state == "1 of 2 exercises" and not step.done
    (root / EDITION_MARKER).write_text("{}")
    assert status(root).steps[0].state == "restore it from the course; 1 of 2 exercises; not in the package yet"
    assert "a1_bpe" in status(root)._repr_html_()


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda root: check("a9", root=root),
            "there is no assignment or lecture 'a9' with exercises; there are: a1_bpe",
        ),
        (lambda root: check("a1", "triple", root=root), "it has: double, halve"),
        (lambda root: check("a1", solution=root / "none.py", root=root), "no such file"),
        (lambda root: hint("a1", "triple", root=root), "it has them for: double, halve"),
    ],
)
def test_a_mistake_is_told_with_what_there_is(root, call, words):
    with pytest.raises(CourseError, match=words):
        call(root)


def test_the_command_exits_1_when_a_check_fails_and_0_when_all_pass(root, tmp_path):
    right, wrong = answer(tmp_path, *RIGHT), tmp_path / "wrong.py"
    wrong.write_text("def double(x): return x")
    passed = run("cs336lite", "check", "a1", "--file", str(right), cwd=root)
    assert passed.returncode == 0 and "3 of 3 public checks passed" in passed.stdout, passed.stderr
    failed = run("cs336lite", "check", "a1", "--file", str(wrong), cwd=root)
    assert failed.returncode == 1 and "not yet" in failed.stdout
    broken = tmp_path / "broken.py"
    broken.write_text("def double(x:\n  pass")
    told = run("cs336lite", "check", "a1", "--file", str(broken), cwd=root)
    assert told.returncode == 2 and "SyntaxError" in told.stderr and "Traceback" not in told.stderr


def test_doctor_lists_every_layer(root):
    result = run("cs336lite", "doctor", cwd=root)
    assert result.returncode == 0
    for name in ("own process", "rlimits", "seccomp", "Landlock", "bubblewrap"):
        assert name in result.stdout
    for promise in ("process with limits", "write nowhere", "emptied", "threads", "our words"):
        assert promise in result.stdout


def test_the_root_is_found_from_inside_and_else_is_the_packages_own(root, tmp_path_factory):
    assert find_root(root / "assignments" / "hidden") == root
    assert (find_root(tmp_path_factory.mktemp("elsewhere")) / "pyproject.toml").exists()
    assert assignment_name(root, "a1") == "a1_bpe"


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, "old")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(paths_module.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
