"""Statistics of the course: what is said of arms is right as often as it says, and nothing is said of what cannot be."""

import doctest
import math
import re
from itertools import count

import numpy as np
import pytest
from scipy import stats

from cs336lite.course import compare
from cs336lite.course.compare import comparisons, holm, mean_interval, paired, rerun
from cs336lite.course.paired_plot import difference_figure
from cs336lite.course.paths import CourseError

DRAWS = 4_000


def arm(values) -> dict[int, float]:
    return dict(enumerate(np.asarray(values).tolist()))


def pairs(n: int, effect: float, spread: float, draws: int = DRAWS, **options):
    """Differences of two arms with a true difference, on seeds whose own effect is ten times the spread."""
    random = np.random.default_rng(n)
    for _ in range(draws):
        seeds = random.normal(3, 10 * spread, n)
        a, b = (seeds + random.normal(0, spread / 2**0.5, n) for _ in "ab")
        yield paired(arm(a + effect), arm(b), **options)


def share(events) -> float:
    return float(np.mean(list(events)))


# ------------------------------------------------------------------------------------- as often right as it says, by simulation


@pytest.mark.parametrize("n", [3, 8])
def test_a_95_percent_interval_holds_the_true_difference_in_95_of_100_sweeps(n):
    assert 0.935 < share(found.interval.holds(0.3) for found in pairs(n, 0.3, 0.1)) < 0.965


def test_arms_that_do_not_differ_are_told_apart_in_5_of_100_sweeps():
    assert 0.04 < share(found.differs for found in pairs(5, 0, 0.1)) < 0.06


def test_arms_that_differ_by_the_bound_are_called_the_same_in_at_most_5_of_100_sweeps():
    """Just 5 when the spread is small beside the bound, on either side of zero; fewer when it is not."""
    for effect, draws in ((0.02, DRAWS), (-0.02, DRAWS // 2)):
        assert 0.04 < share(found.same for found in pairs(8, effect, 0.01, draws, within=0.02)) < 0.06
    assert share(found.same for found in pairs(8, 0.02, 0.04, DRAWS // 4, within=0.02)) < 0.05


def test_arms_that_are_the_same_are_called_so_when_there_are_runs_enough():
    assert share(found.same for found in pairs(8, 0, 0.01, 500, within=0.02)) > 0.99
    assert share(found.same for found in pairs(3, 0, 0.04, 500, within=0.02)) < 0.05  # and not when there are not


@pytest.mark.parametrize("effects", [(0, 0, 0, 0, 0), (9, 9, 0, 0, 0)])
def test_holm_finds_a_difference_by_chance_in_5_of_100_families(effects):
    """With differences that are real and without: the chance is for those that are not."""
    random = np.random.default_rng(0)
    x = random.normal(np.array(effects)[:, None], 1, (DRAWS, len(effects), 8))
    corrected = np.array([holm(p) for p in stats.ttest_1samp(x, 0, axis=-1).pvalue])
    null = np.array(effects) == 0
    assert (corrected[:, ~null] < 0.05).all()
    assert 0.035 < share((corrected[:, null] < 0.05).any(axis=1)) < 0.055


def test_the_comparisons_of_a_family_are_corrected_together():
    """Five arms that are the same as the first: one of them is told apart in far fewer than 5 · 5 of 100 sweeps."""
    random = np.random.default_rng(1)

    def sweep() -> dict[str, dict[int, float]]:
        seeds = random.normal(3, 1, 6)
        return {name: arm(seeds + random.normal(0, 0.1, 6)) for name in "abcdef"}

    families = [comparisons(sweep(), within=0.1) for _ in range(400)]
    assert share(any(found.differs for found in family) for family in families) < 0.05
    for found in families[:20]:
        alone = [paired_again(one) for one in found]
        assert [one.p for one in found] == holm([one.p for one in alone])
        assert [one.p_same for one in found] == holm([one.p_same for one in alone])


def paired_again(found):
    return paired(found.by_seed, dict.fromkeys(found.by_seed, 0.0), within=found.within)


@pytest.mark.parametrize("n", [3, 8])
def test_further_runs_of_an_arm_stay_in_their_bound(n):
    random = np.random.default_rng(2)
    runs = random.normal(2, 0.1, (DRAWS, n + 4))
    kept = [(rerun(row[:n], runs=4, level=0.9), row[n:]) for row in runs]
    one = [rerun(row[:n], level=0.9).holds(row[n]) for row in runs]
    assert 0.885 < share(one) < 0.915
    assert share(all(map(bound.holds, later)) for bound, later in kept) > 0.9


# --------------------------------------------------------------------------------------------------------- against scipy


def test_numbers_are_those_of_scipy():
    random = np.random.default_rng(3)
    a, b = random.normal(size=(2, 9))
    found, known = paired(arm(a), arm(b), within=0.8), stats.ttest_rel(a, b)
    assert found.p == pytest.approx(known.pvalue) and found.mean == pytest.approx((a - b).mean())
    assert found.interval[:] == pytest.approx((found.mean, (known.confidence_interval().high - found.mean)))
    sides = [stats.ttest_1samp(a - b, -0.8, alternative="greater"), stats.ttest_1samp(a - b, 0.8, alternative="less")]
    assert found.p_same == pytest.approx(max(side.pvalue for side in sides))
    low, high = stats.t.interval(0.9, 8, a.mean(), stats.sem(a))
    assert (mean_interval(a, level=0.9).low, mean_interval(a, level=0.9).high) == pytest.approx((low, high))


def test_holm_by_hand():
    """The example of R's p.adjust; with equals; never above 1 and never in another order than what came in."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04]) and holm([0.7, 0.9]) == [1, 1] and holm([0.3]) == [0.3]
    for wrong in ([], [1.2], [math.nan], [-0.1]):
        with pytest.raises(CourseError, match="between 0 and 1"):
            holm(wrong)


# ------------------------------------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ({1: 2.0, 2: 2.1, 3: 2.2}, {1: 2.0, 2: 2.1, 4: 2.2}, "only a has 3; only b has 4"),
        ({1: 2.0, 2: 2.1, 3: 2.2}, {1: 2.0, 2: 2.1}, r"\(only a has 3\): run both on all"),
        ({1: 2.0, 2: 2.1}, {1: 2.0, 2: 2.3}, "2 runs are too few for an interval: run at least 3"),
        ({1: 2.0, 2: math.nan, 3: 2.2}, {1: 2.0, 2: 2.1, 3: 2.2}, "a with seed 2 is nan, no finite number"),
        ({1: 2.0, 2: 2.1, 3: 2.2}, {1: 2.0, 2: 2.1, 3: math.inf}, "b with seed 3 is inf"),
        ({1: 2.0, 2: 2.1, 3: 2.2}, {1: 2.0, 2: None, 3: 2.2}, "b with seed 2 is None"),
        ({1: 2.0, 2: 2.1, 3: 2.2}, {1: 1.9, 2: 2.0, 3: 2.1}, "a − b is 0.1 nats with every seed"),
        ({1: 2.0, 2: 2.1, 3: 2.2}, {1: 2.0, 2: 2.1, 3: 2.2}, "do both names stand for the same runs"),
        ([2.0, 2.1, 2.2], {1: 2.0, 2: 2.1, 3: 2.2}, "a is a list: give {seed: result}"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(a, b, told):
    with pytest.raises(CourseError, match=told) as refused:
        paired(a, b)
    assert "\n" not in str(refused.value)


def test_pairs_are_made_by_seed_and_not_by_order():
    a, b = {1: 1.0, 2: 2.0, 3: 4.0}, {3: 3.0, 1: 0.5, 2: 1.75}
    assert paired(a, b).by_seed == {1: 0.5, 2: 0.25, 3: 1.0}


def test_options_and_families_that_make_no_sense_are_refused():
    x = {"a": arm([1, 2, 4]), "b": arm([1, 3, 3]), "c": arm([0, 0, 1])}
    for within in (0, -0.1, math.nan, math.inf):
        with pytest.raises(CourseError, match="bound for equivalence"):
            paired(x["a"], x["b"], within=within)
    with pytest.raises(CourseError, match="level"):
        paired(x["a"], x["b"], level=95)
    with pytest.raises(CourseError, match="at least 2"):
        comparisons({"a": x["a"]})
    with pytest.raises(CourseError, match="no arm 'd'"):
        comparisons(x, [("a", "d")])
    with pytest.raises(CourseError, match="compared twice"):
        comparisons(x, [("a", "b"), ("b", "a")])
    with pytest.raises(CourseError, match="no spread"):
        rerun([2.0, 2.0, 2.0])
    with pytest.raises(CourseError, match="at least 1"):
        rerun([2.0, 2.1, 2.0], runs=0)


# --------------------------------------------------------------------------------------------------------- what it says


def test_the_worked_example_is_what_the_module_prints():
    assert doctest.testmod(compare, optionflags=doctest.NORMALIZE_WHITESPACE) == (0, 6)


NOISE = np.array([-1, -0.5, 0.5, 1, 0.2, -0.2]) / 100


@pytest.mark.parametrize(
    ("effect", "within", "verdict"),
    [
        (-0.1, None, "a is lower"),
        (0.1, None, "b is lower"),
        (0.1, 0.02, "b is lower"),
        (0.0, None, "cannot be told apart, which does not show that they are the same"),
        (0.001, 0.03, r"the same within 0.03 nats \(TOST p < 0.001\)"),
        (0.001, 0.005, r"cannot be told apart, nor shown to be the same within 0.005 nats \(TOST p = 0.1\d\)"),
        (-0.02, 0.05, r"a is lower, by less than 0.05 nats \(TOST p < 0.001\)"),
    ],
)
def test_a_verdict_says_what_was_shown_and_no_more(effect, within, verdict):
    found = paired(arm(2 + NOISE + effect), arm([2] * 6), within=within)
    assert re.fullmatch(verdict, found.verdict) and str(found).endswith(f"; {found.verdict}")


def test_decimals_follow_the_width_and_hide_no_side():
    wide, narrow = arm([0.3, -0.5, 0.9, 0.1]), arm(0.12 + NOISE / 10)
    zero = arm([0, 0, 0, 0])
    assert str(paired(wide, zero)).startswith("a − b: +0.2 nats, 95 % interval −0.7 to +1.1, n = 4 seeds, p = 0.54;")
    assert "+0.1200 nats, 95 % interval +0.1192 to +0.1208" in str(paired(narrow, dict.fromkeys(range(6), 0)))
    for step in count(1):  # an interval that just misses zero says so, and so does its p
        found = paired({s: x + step / 1000 for s, x in wide.items()}, zero)
        if found.interval.low > 0:
            break
    low = str(found).split("interval ")[1].split(" to")[0]
    p = float(str(found).split("p = ")[1].split(";")[0])
    assert float(low) > 0 and p < 0.05 and found.differs


# --------------------------------------------------------------------------------------------------------- the figure


def test_a_figure_shows_all_seeds_the_interval_zero_and_the_bound(monkeypatch):
    drawn = []
    monkeypatch.setattr("cs336lite.course.paired_plot.finish", drawn.append)
    x = {"GELU": arm(2 + NOISE), "SwiGLU": arm(1.9 - NOISE), "ReLU": arm([2.0] * 6)}
    found = comparisons(x, within=0.02)
    difference_figure(found, title="SwiGLU is lower")
    ax = drawn[0].axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["SwiGLU − GELU", "ReLU − GELU"]
    points = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 6]
    assert [list(p) for p in points] == [list(one.by_seed.values()) for one in found]
    ends = [bar.get_segments()[0][:, 0].tolist() for bar in ax.collections]
    assert ends == [pytest.approx([one.interval.low, one.interval.high]) for one in found]
    assert any(list(line.get_xdata()) == [0, 0] for line in ax.lines)
    named = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert named == ["the same within 0.02 nats", "one seed (n = 6)", "mean, 95 % interval"]
    assert ax.get_xlabel() == "difference in validation loss (nats)"


def test_a_figure_of_one_difference_has_one_legend_and_different_units_no_figure():
    one = paired(arm(2 + NOISE), arm([2.0] * 6))
    assert difference_figure(one).png[:4] == b"\x89PNG"
    with pytest.raises(CourseError, match="one unit"):
        difference_figure([one, paired(arm(2 + NOISE), arm([2.0] * 6), unit="bits")])
    with pytest.raises(CourseError, match="one unit"):
        difference_figure([])
