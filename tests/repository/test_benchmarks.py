"""The table of `make bench`: each ratio with its target, from benchmarks that are started one after another."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers import ROOT, script

FOLDER = ROOT / "benchmarks"
sys.path.append(str(FOLDER))
import all as every
import targets

GOOD = """
import sys
from targets import told
told("ours over theirs", 0.5 + len(sys.argv), at_most=2)
told("speed of theirs", 1.25, at_least=1)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of small benchmarks in the place of the real ones."""
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "broken.py").write_text("raise SystemExit(3)", encoding="utf-8")
    monkeypatch.setattr(every, "HERE", tmp_path)
    monkeypatch.setattr(every, "QUICK", {"good": ("--rounds", "1"), "broken": ()})
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER), str(ROOT)]))
    return tmp_path


def test_every_benchmark_is_run_and_tells_a_ratio():
    found = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    assert {name for name, text in found.items() if "add_argument(" in text} - {"all"} == every.QUICK.keys()
    for name, options in every.QUICK.items():
        assert "told(" in found[name], name
        for option in options[::2]:
            assert f'add_argument("{option}"' in found[name], f"{name} {option}"


@pytest.mark.parametrize(
    ("value", "target", "reached"),
    [
        (0.99, {"at_least": 1}, False),
        (1.0, {"at_least": 1}, True),
        (1.0, {"at_most": 1}, True),
        (1.01, {"at_most": 1}, False),
    ],
)
def test_a_ratio_reaches_its_target(value, target, reached, tmp_path, monkeypatch):
    assert targets.told("x", value, **target) is reached  # nobody listens
    monkeypatch.setenv(targets.FILE, str(tmp_path / "told"))
    assert targets.told("x", value, **target) is reached
    (kept,) = targets.read(tmp_path / "told")
    assert kept.reached is reached and kept.value == value and [kept.target] == [*target.values()]


@pytest.mark.parametrize("target", [{}, {"at_least": 1, "at_most": 2}])
def test_a_ratio_has_one_target(target):
    with pytest.raises(ValueError, match="x: a ratio has one target"):
        targets.told("x", 1, **target)


def test_one_that_fails_does_not_stop_the_others(folder):
    found = every.run_all(["broken", "good"], False, folder)
    assert [(status, len(ratios)) for status, ratios in found.values()] == [(3, 0), (0, 2)]
    assert [ratio.reached for ratio in found["good"][1]] == [True, True]
    (folder / "quick").mkdir()
    quick = every.run_all(["good"], True, folder / "quick")["good"][1]
    assert [ratio.value for ratio in quick] == [3.5, 1.25] and not quick[0].reached  # the options have arrived


def test_the_table_shows_ratio_target_and_whether_it_is_reached(folder, monkeypatch, capsys):
    for arguments, status in ((["good"], 0), (["good", "--quick"], 1), ([], 1)):
        monkeypatch.setattr(sys, "argv", ["all.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            every.main()
        assert stop.value.code == status
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any("ours over theirs" in row and "1.50" in row and "≤ 2" in row and "reached" in row for row in rows)
    assert any("ours over theirs" in row and "3.50" in row and "missed" in row for row in rows)
    assert any("broken" in row and "no ratio, exit status 3" in row for row in rows)


def test_an_unknown_name_is_told():
    run = subprocess.run(
        [sys.executable, FOLDER / "all.py", "nonsense"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 2 and "no such benchmark: nonsense; there are bpe, grading" in run.stderr


def test_what_a_class_costs_follows_from_two_classes():
    grading = script("benchmarks/grading.py")
    parts = {"stock": grading.apart({5: 27.0, 20: 93.0}), "ours": grading.apart({5: 6.0, 20: 12.0})}
    assert parts == {"stock": pytest.approx((5.0, 4.4)), "ours": pytest.approx((4.0, 0.4))}
    assert grading.of_classes(parts)[60] == {"stock": pytest.approx(269.0), "ours": pytest.approx(28.0)}
    once, each = grading.apart({4: 5.0, 8: 4.9})  # less for more of them: the machine was busy
    assert each == grading.NOISE and once == pytest.approx(5.0, abs=0.01)
