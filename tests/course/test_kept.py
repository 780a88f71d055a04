"""A sweep that is stopped goes on where it was."""

import math

import pytest

from cs336lite.course.kept import kept
from cs336lite.course.paths import CourseError

RUNS = [{"arm": arm, "seed": seed} for arm in "ab" for seed in (1, 2)]


def double(run):
    return {"final": 2 * run["seed"]}


def test_every_run_is_computed_once_and_rows_come_in_the_order_of_the_runs(tmp_path):
    seen = []

    def compute(run):
        seen.append(run)
        return double(run)

    rows = kept("words", RUNS, compute, folder=tmp_path, progress=False)
    assert rows == [run | {"final": 2 * run["seed"]} for run in RUNS] and seen == RUNS
    turned = [dict(reversed(run.items())) for run in reversed(RUNS)]  # the order of names says nothing
    assert kept("words", turned, compute, folder=tmp_path, progress=False) == rows[::-1] and seen == RUNS


def test_what_was_done_before_an_error_is_kept_and_half_a_line_is_not(tmp_path):
    def fails_at_b(run):
        if run["arm"] == "b":
            raise RuntimeError("stopped")
        return double(run)

    with pytest.raises(RuntimeError, match="stopped"):
        kept("words", RUNS, fails_at_b, folder=tmp_path, progress=False)
    path = tmp_path / "words.jsonl"
    assert len(path.read_text().splitlines()) == 2
    whole = path.read_text()
    path.write_text(whole[:-9])  # killed while it wrote
    seen = []
    rows = kept("words", RUNS, lambda run: seen.append(run) or double(run), folder=tmp_path, progress=False)
    assert seen == RUNS[1:] and [row["final"] for row in rows] == [2, 4, 2, 4]
    assert len([line for line in path.read_text().splitlines() if line.endswith("}}")]) == 4


def test_another_argument_is_another_run(tmp_path):
    kept("words", RUNS, double, folder=tmp_path, progress=False)
    seen = []
    longer = [*RUNS, {"arm": "c", "seed": 1}]
    kept("words", longer, lambda run: seen.append(run) or double(run), folder=tmp_path, progress=False)
    assert seen == [{"arm": "c", "seed": 1}]


def test_two_processes_give_what_one_gives(tmp_path):
    runs = [{"seed": seed} for seed in range(3)]
    rows = kept("squares", runs, square, jobs=2, folder=tmp_path, progress=False)
    assert rows == [{"seed": seed, "final": seed**2, "threads": 1} for seed in range(3)]


def square(run):
    import torch

    return {"final": run["seed"] ** 2, "threads": torch.get_num_threads()}


@pytest.mark.parametrize(
    ("runs", "jobs", "said"),
    [
        ([{"a": 1}, {"a": 1}], 1, "a run stands twice"),
        ([{"a": math.nan}], 1, "plain JSON"),
        ([{"a": {1}}], 1, "plain JSON"),
        ([{"a": 1}], 0, "at least one process"),
    ],
)
def test_what_is_no_sweep_is_refused_and_nothing_is_written(tmp_path, runs, jobs, said):
    with pytest.raises(CourseError, match=said):
        kept("words", runs, double, jobs=jobs, folder=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_result_that_is_no_number_stops_the_sweep(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        kept("words", RUNS[:1], lambda run: {"final": math.inf}, folder=tmp_path, progress=False)
    assert not (tmp_path / "words.jsonl").read_text()
