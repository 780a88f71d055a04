"""Rows of a sweep: picked without mixing, chosen fairly, and a grid that was too narrow or too coarse is named."""

import doctest
import math

import pytest

from cs336lite.course import sweeps
from cs336lite.course.paths import CourseError
from cs336lite.course.sweeps import best, by_seed, interior

FINE = [1e-3 * 1.5**k for k in range(6)]


def row(arm: str, lr: float, seed: int, final: float | None) -> dict:
    return {"arm": arm, "lr": lr, "seed": seed, "final": final}


ROWS = [
    *[row("GELU", lr, seed, loss + seed / 100) for lr, loss in ((1, 2.4), (2, 2.2), (3, 2.3)) for seed in range(3)],
    *[row("ReLU", lr, seed, loss) for lr, loss in ((1, 2.1), (2, 2.2), (3, None)) for seed in range(3)],
]


def test_the_worked_example_is_what_the_module_prints():
    assert doctest.testmod(sweeps) == (0, 5)


def test_rows_are_chosen_by_what_was_set():
    assert by_seed(ROWS, arm="GELU", lr=2.0) == {0: 2.2, 1: 2.21, 2: 2.22}
    assert by_seed(ROWS, arm="GELU", lr=2, seed=range(1, 3)) == {1: 2.21, 2: 2.22}
    assert by_seed(ROWS, "lr", arm={"ReLU"}, final=2.1) == {0: 1, 1: 1, 2: 1}
    with pytest.raises(CourseError, match="two rows have seed 0 for arm 'GELU'"):
        by_seed(ROWS, arm="GELU")
    with pytest.raises(CourseError, match="none of 18 rows has arm 'gelu', lr 2"):
        by_seed(ROWS, arm="gelu", lr=2)
    with pytest.raises(CourseError, match="a row has no 'rate'; it has: 'arm', 'lr', 'seed', 'final'"):
        by_seed(ROWS, rate=2)


def test_the_best_setting_has_the_lowest_mean_over_the_seeds_of_the_choice():
    assert best(ROWS, "lr", arm="GELU") == 2 and best(ROWS, "lr", arm="ReLU") == 1
    lucky = [
        row("x", lr, seed, (2.0 if (lr, seed) == (9, 2) else 3.0) + lr / 100) for lr in (1, 9) for seed in range(4)
    ]
    assert best(lucky, "lr") == 9 and best(lucky, "lr", seed=(0, 1)) == 1
    assert best([row("x", lr, 0, 1.0) for lr in (3, 2)], "lr") == 2  # of equals the smallest


@pytest.mark.parametrize("end", [None, math.nan, math.inf])
def test_one_diverged_run_rules_a_setting_out(end):
    rows = [row("x", 1, 0, 3.0), row("x", 1, 1, 3.0), row("x", 2, 0, 1.0), row("x", 2, 1, end)]
    assert best(rows, "lr") == 1
    with pytest.raises(CourseError, match="with every lr from 2 to 2 a run diverged"):
        best(rows, "lr", lr=2)


def test_settings_on_different_seeds_are_not_compared():
    with pytest.raises(CourseError, match="lr 1 has seeds 0, 1 and lr 2 has 0: a fair choice needs the same seeds"):
        best([row("x", 1, 0, 3.0), row("x", 1, 1, 3.0), row("x", 2, 0, 1.0)], "lr")


@pytest.mark.parametrize("place", range(6))
def test_an_optimum_inside_a_fine_grid_is_one(place):
    found = interior(FINE[place], FINE[::-1])
    assert bool(found) == (0 < place < 5)
    assert ("smallest" in str(found), "largest" in str(found)) == (place == 0, place == 5)


def test_an_edge_says_what_to_add():
    assert str(interior(1.0, [1, 1.5, 2])).endswith("the optimum may lie below, add 0.667")
    assert str(interior(2, [1, 1.5, 2])).endswith("the optimum may lie above, add 3")


@pytest.mark.parametrize(
    ("grid", "added"),
    [([1, 1.5, 2, 8], "2.83, 4, 5.66"), ([1, 1.5, 2.4], "1.9"), ([1, 1.5, 2.25, 5.0625], "3.38")],
)
def test_a_coarse_grid_says_which_settings_are_missing(grid, added):
    found = interior(1.5, grid)
    assert not found and str(found).endswith(f"add {added}")
    assert interior(1.5, [*grid, *map(float, added.split(", "))]) and interior(1.5, grid, ratio=5)


def test_rates_as_people_write_them_are_a_fine_grid():
    assert interior(2.2, [1, 1.5, 2.2, 3.3, 5, 7.5, 11]) and not interior(2, [1, 2, 3])


def test_a_wrong_grid_is_refused():
    for grid in ([1, 2], [1, 1, 2], [0, 1, 2], [1, 2, math.inf], [1, 2, math.nan]):
        with pytest.raises(CourseError, match="at least 3 different numbers above 0"):
            interior(1, grid)
    with pytest.raises(CourseError, match=r"1\.2 is not in the grid 1, 1\.5, 2"):
        interior(1.2, [1, 1.5, 2])
