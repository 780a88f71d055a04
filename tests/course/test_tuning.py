"""Comparisons of lectures: each arm at its own best rate, other seeds for the choice than for the report, one command."""

import json
import math
import sys
import types

import pytest

from cs336lite.course import tuning
from cs336lite.course.paths import CourseError
from cs336lite.course.tuning import Crossed, Tuned, compute_all, declared, reported

GRID = (6.8e-3, 1e-2, 1.5e-2)
ARMS = {"base": {}, "deep": {"layers": 8}}


def run_of(arm, changes, lr, seed):
    return {"arm": arm, "lr": lr, "seed": seed, "layers": changes.get("layers", 2)}


def train(run, optimum=1e-2):
    return {"final": abs(math.log(run["lr"] / optimum)) + run["seed"] / 1000, "curve": [1.0], "seconds": 3.0}


def tuned(optimum=1e-2, name="99_depth", **more):
    return Tuned(name, ARMS, run_of, lambda run: train(run, optimum), grid=GRID, setting={"steps": 10}, **more)


@pytest.fixture(autouse=True)
def data_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CS336LITE_DATA", str(tmp_path / "data"))


@pytest.mark.parametrize(("optimum", "found"), [(4e-3, 4.53e-3), (2.6e-2, 2.25e-2), (1.3e-3, 1.34e-3)])
def test_a_grid_is_widened_until_the_best_rate_lies_inside(optimum, found):
    comparison = tuned(optimum)
    result = comparison.compute()
    for arm in ARMS:
        chosen = result["chosen"][arm]
        assert chosen["inside"] and chosen["lr"] == pytest.approx(found)
        assert chosen["grid"] == sorted(chosen["grid"]) and set(GRID) <= set(chosen["grid"])
    assert not set(comparison.tuning) & set(comparison.reporting)
    assert {arm: tuple(runs) for arm, runs in reported(result, comparison.reporting).items()} == dict.fromkeys(
        ARMS, comparison.reporting
    )
    assert set(result["rows"][0]) == {"arm", "lr", "seed", "final", "curve"}  # seconds say how busy a machine was


def test_arms_keep_their_order_when_one_is_widened_longer_and_may_begin_at_rates_of_their_own():
    optima = {"base": 6e-2, "deep": 1e-3}
    comparison = Tuned(
        "99_own", ARMS, run_of, lambda run: train(run, optima[run["arm"]]),
        grid={"base": GRID, "deep": (6.8e-4, 1e-3, 1.5e-3)},
    )  # fmt: skip
    chosen = comparison.compute()["chosen"]
    assert list(chosen) == ["base", "deep"] and len(chosen["deep"]["grid"]) == 3 < len(chosen["base"]["grid"])
    assert comparison.configuration["first grid"] == {"base": list(GRID), "deep": [6.8e-4, 1e-3, 1.5e-3]}


def test_a_grid_that_may_not_be_widened_says_where_the_optimum_may_lie():
    chosen = tuned(1.0, widen=0).compute()["chosen"]["base"]
    assert not chosen["inside"] and "the optimum may lie above" in chosen["why"]


def test_a_rate_that_diverges_is_not_chosen():
    comparison = Tuned(
        "99_diverges", ARMS, run_of, lambda run: train(run) | ({"final": None} if run["lr"] > 9e-3 else {}), grid=GRID
    )
    assert comparison.compute()["chosen"]["base"] == {
        "lr": 6.8e-3, "inside": True, "grid": [4.53e-3, *GRID],
        "why": "0.0068 lies inside the grid from 0.00453 to 0.015, whose neighbours are at most × 1.5 apart",
    }  # fmt: skip


def test_every_arm_at_every_rate():
    comparison = Crossed("99_basin", ARMS, run_of, train, grid=GRID, seeds=(1, 2))
    rows = comparison.compute()["rows"]
    assert [(row["arm"], row["lr"], row["seed"]) for row in rows] == [
        (arm, lr, seed) for arm in ARMS for lr in GRID for seed in (1, 2)
    ]
    assert comparison.least == 12 and comparison.configuration == {"arms": ARMS, "grid": GRID, "seeds": (1, 2)}


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with one lecture, whose module declares two comparisons."""
    texts = tmp_path / "notebooks" / "text"
    texts.mkdir(parents=True)
    (texts / "99_depth.py").write_text(
        "# ---\n# jupyter:\n#   cs336lite: {module: depth}\n# ---\n\n# %% [markdown]\n# # 99 · Depth\n\n"
        "# %%\n#| export\nX = 1\n"
    )
    (texts / "98_none.py").write_text((texts / "99_depth.py").read_text().replace("depth", "none"))
    module, counted = types.ModuleType("cs336lite.depth"), []
    depth = tuned()
    module.DEPTH = Tuned(
        depth.name, ARMS, run_of, lambda run: counted.append(run) or train(run), grid=GRID, setting={"steps": 10}
    )
    module.BASIN, module.again = Crossed("99_basin", ARMS, run_of, train, grid=GRID), module.DEPTH
    monkeypatch.setitem(sys.modules, "cs336lite.depth", module)
    monkeypatch.setitem(sys.modules, "cs336lite.none", types.ModuleType("cs336lite.none"))
    return tmp_path, counted


def test_one_command_computes_all_that_a_lecture_declares_and_goes_on_where_it_was(course):
    root, counted = course
    assert [one.name for one in declared(["depth"])] == ["99_depth", "99_basin"]
    said = list(compute_all(root, "99", progress=False))
    assert said == ["notebooks/results/99_depth.json: written", "notebooks/results/99_basin.json: written"]
    record = json.loads((root / "notebooks" / "results" / "99_depth.json").read_text())
    assert record["configuration"]["steps"] == 10 and record["result"]["chosen"]["base"]["lr"] == 1e-2
    assert len(counted) == tuned().least == 16
    list(compute_all(root, "99_depth", only=["99_depth"], progress=False))
    assert len(counted) == 16  # every run was kept


def test_the_record_is_what_the_notebook_reads(course, monkeypatch):
    root, _ = course
    list(compute_all(root, "99", progress=False))
    monkeypatch.setenv("CS336LITE_BUILD", "1")  # another configuration is an error
    found = tuned().recorded(folder=root / "notebooks" / "results")
    assert found["chosen"]["deep"]["lr"] == 1e-2
    with pytest.raises(CourseError, match="another configuration"):
        tuned(reporting=(1, 2, 3)).recorded(folder=root / "notebooks" / "results")


def test_a_mistake_is_said(course):
    root, _ = course
    for lecture, only, jobs, said in (
        ("97", (), 1, "there is no lecture 97"),
        ("98", (), 1, "the modules of 98_none declare no sweeps"),
        ("99", ("99_width",), 1, "99_depth has no 99_width; it has 99_depth, 99_basin"),
        ("99", (), 0, "jobs is 0: at least one process computes"),
    ):
        with pytest.raises(CourseError, match=said):
            list(compute_all(root, lecture, only=only, jobs=jobs, progress=False))
    assert not (root / "notebooks" / "results").exists()


def test_the_bar_counts_the_runs_of_all_and_grows_when_a_grid_is_widened(course, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(tuning, "tqdm", lambda **how: seen.append(Bar(**how)) or seen[-1])
    root, _ = course
    list(compute_all(root, "99"))
    assert (seen[0].total, seen[0].n) == (46, 46)
    module = sys.modules["cs336lite.depth"]
    module.DEPTH = module.again = tuned(4e-3, "99_wider")
    list(compute_all(root, "99"))
    assert seen[1].n == seen[1].total == 16 + 4  # 0.00453 and 0.00302 for each arm; what was kept before is not counted


class Bar:
    def __init__(self, total, **how):
        self.total, self.n = total, 0

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        return None

    def set_description(self, said):
        pass

    def refresh(self):
        pass

    def update(self, n=1):
        self.n += n
