"""What lecture 08 and its appendices build: fits find known constants again and refuse what they cannot know, plans keep budgets."""

import doctest
import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cs336lite import budgets, fits, planner, scaling
from cs336lite.accounting import active_parameters, training_flops
from cs336lite.fits import (
    Estimate,
    FitError,
    PowerLaw,
    Surface,
    bootstrap,
    bootstrap_profiles,
    estimate_surface,
    extrapolate,
    fit_power_law,
    fit_profile,
    fit_profiles,
    fit_surface,
    interval,
    slope_interval,
)
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.planner import FITTED, HARDWARE, Hardware, overtrained, plan, shape_near
from cs336lite.scaling import (
    CHINCHILLA,
    CHINCHILLA_PRINTED,
    CHINCHILLA_TABLE,
    KAPLAN_SIZE,
    REPLICATION,
    compute_optimal,
    isoflop_model,
    isoflop_run,
    kaplan_view,
    mup,
    mup_groups,
    train_mup,
)
from cs336lite.training import Tokens, TrainingConfig, World, begin, set_step, train

FEW = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
FIELDS = ("E", "A", "B", "alpha", "beta")


def grid(budgets=(1e19, 1e20, 1e21, 1e22), widen=3.0, count=7, law=REPLICATION):
    """Budgets, sizes and tokens of an IsoFLOP sweep around the best sizes of a law."""
    rows = [
        (c, compute_optimal(law, c).size * factor)
        for c in budgets
        for factor in np.geomspace(1 / widen, widen, count)
    ]  # fmt: skip
    flops, sizes = np.array(rows).T
    return flops, sizes, flops / 6 / sizes


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny models
    yield
    torch.set_num_threads(before)


def noisy(values, scale, seed=0):
    return values * np.exp(scale * np.random.default_rng(seed).standard_normal(len(values)))


@pytest.mark.parametrize("module", [fits, scaling, planner], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted >= 2
    assert result.failed == 0


# ------------------------------------------------------------------------------------------------------------ power laws


@FEW
@given(st.floats(1e-6, 1e6), st.floats(-1.5, 1.5), st.integers(3, 30))
def test_a_power_law_without_noise_is_found_exactly(coefficient, exponent, count):
    x = np.geomspace(1e15, 1e24, count)
    for huber in (None, 0.01):
        law = fit_power_law(x, PowerLaw(coefficient, exponent)(x), huber=huber)
        assert law.exponent == pytest.approx(exponent, abs=1e-8)
        assert law(1e20) == pytest.approx(coefficient * 1e20**exponent, rel=1e-6)


@FEW
@given(st.floats(-1, 1), st.integers(0, 10**6))
def test_with_noise_the_exponent_is_within_five_standard_errors(exponent, seed):
    x = np.geomspace(1e15, 1e24, 40)
    law = fit_power_law(x, noisy(2 * x**exponent, 0.1, seed))
    error = 0.1 / math.sqrt(((np.log(x) - np.log(x).mean()) ** 2).sum())
    assert abs(law.exponent - exponent) < 5 * error


def test_huber_is_not_dragged_by_outliers_and_least_squares_is():
    x = np.geomspace(1, 1e6, 13)
    y = noisy(x**0.5, 0.01)
    y[-2:] *= 20
    assert abs(fit_power_law(x, y, huber=0.01).exponent - 0.5) < 0.02 < fit_power_law(x, y).exponent - 0.5
    with pytest.raises(ValueError, match="huber is 0"):
        fit_power_law(x, y, huber=0.0)


@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        ([1, 2], [1, 2], "too few points: 2"),
        ([], [], "too few points: 0"),
        ([3, 3, 3], [1, 2, 3], "one x"),
        ([1, 2, 3], [1, math.nan, 3], r"y\[1\] is nan"),
        ([1, 2, math.inf], [1, 2, 3], r"x\[2\] is inf"),
        ([1, 2, 3], [1, 0, 3], r"y\[1\] is 0.0"),
        ([-1, 2, 3], [1, 2, 3], r"x\[0\] is -1.0"),
        ([1, 2, 3], [1, 2], "one length"),
        (np.array(["a", "b", "c"]), [1, 2, 3], "x must be numbers"),
        ([1e30, 1.1e30, 1.2e30], [1, 1e-12, 1e-24], "the coefficient no float"),
        (np.ones((1, 3)), np.ones((1, 3)), "one dimension"),
    ],
)
def test_what_is_no_power_law_is_refused_with_the_reason(x, y, why):
    with pytest.raises(FitError, match=why):
        fit_power_law(x, y)


def test_a_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    x, covered = np.geomspace(1, 1e4, 12), 0
    for seed in range(100):
        y = noisy(3 * x**0.5, 0.1, seed)
        law = fit_power_law(x, y)
        fits = bootstrap(lambda redrawn: fit_power_law(x, redrawn), law(x), y, parameters=2, draws=100, seed=seed)
        low, high = interval([fit.exponent for fit in fits])
        covered += low <= 0.5 <= high
    assert 85 <= covered <= 99  # of 100; 95 % intervals of a bootstrap with 12 points are a little short


def test_the_interval_of_a_slope_covers_the_truth_as_often_as_it_says_even_with_four_points():
    x, covered = np.geomspace(1, 1e4, 4), 0
    for seed in range(400):
        low, high = slope_interval(x, noisy(3 * x**0.5, 0.1, seed))
        covered += low <= 0.5 <= high
    assert 366 <= covered <= 392  # of 400: three standard deviations about 380
    low, high = slope_interval(x, 3 * x**0.5)
    assert low == pytest.approx(0.5) == high
    wide, narrow = (slope_interval(x, noisy(x, 0.1), level) for level in (0.99, 0.5))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    with pytest.raises(FitError, match="too few points: 2"):
        slope_interval([1, 2], [1, 2])
    with pytest.raises(ValueError, match="level is 95"):
        slope_interval(x, x, 95)


def test_a_bootstrap_repeats_with_its_seed_and_says_when_most_draws_fail():
    x = np.geomspace(1, 100, 8)
    y = noisy(x, 0.1)
    draw = lambda seed: bootstrap(lambda z: fit_power_law(x, z), x, y, parameters=2, draws=5, seed=seed)  # noqa: E731
    assert draw(1) == draw(1) != draw(2)

    def never(_):
        raise FitError("no")

    with pytest.raises(FitError, match="only 0 of 5"):
        bootstrap(never, x, y, parameters=2, draws=5)


def test_errors_are_drawn_within_their_group():
    predicted, groups = np.ones(40), np.repeat([1, 2], 20)
    observed = np.where(groups == 1, noisy(predicted, 1e-6), noisy(predicted, 0.3))
    drawn = np.array(bootstrap(lambda z: z, predicted, observed, parameters=1, groups=groups, draws=20))
    assert np.abs(np.log(drawn[:, :20])).max() < 1e-4 < 0.1 < np.abs(np.log(drawn[:, 20:])).max()


# -------------------------------------------------------------------------------------------------------------- profiles


@FEW
@given(st.floats(1e3, 1e10), st.floats(0.05, 2), st.floats(1, 5))
def test_a_parabola_is_found_exactly(best, curvature, loss):
    sizes = best * np.geomspace(0.4, 3, 6)
    profile = fit_profile(1e20, sizes, 1e20 / 6 / sizes, loss + curvature * np.log(sizes / best) ** 2)
    assert profile.size == pytest.approx(best, rel=1e-5)
    assert (profile.loss, profile.curvature) == pytest.approx((loss, curvature), rel=1e-6)
    assert profile.tokens == pytest.approx(1e20 / 6 / best, rel=1e-5)
    assert profile(sizes) == pytest.approx(loss + curvature * np.log(sizes / best) ** 2)


def test_profiles_of_a_symmetric_law_give_its_exponent_with_a_tight_interval():
    law = Surface(E=1.5, A=400, B=400, alpha=0.3, beta=0.3)
    flops, sizes, tokens = grid(law=law)
    losses = noisy(law(sizes, tokens), 0.0005)
    iso, samples = fit_profiles(flops, sizes, tokens, losses), bootstrap_profiles(flops, sizes, tokens, losses)
    low, high = interval([sample.size.exponent for sample in samples])
    assert low < 0.5 < high and high - low < 0.1
    assert iso.size.exponent + iso.tokens.exponent == pytest.approx(1, abs=1e-6)
    assert [profile.flops for profile in iso.profiles] == [1e19, 1e20, 1e21, 1e22]


@pytest.mark.parametrize(
    ("sizes", "losses", "why"),
    [
        ([1, 2, 3], [2, 1, 2], "too few points: 3"),
        ([5, 5, 5, 5], [2, 1, 2, 3], "1 sizes: a parabola needs 3"),
        ([1, 1, 2, 2], [2, 2, 1, 1], "2 sizes: a parabola needs 3"),
        ([1, 2, 4, 8], [1, 2, 2, 1], "opens downwards"),
        ([1, 2, 4, 8], [1, 1, 1, 1], "scatter more than they curve"),
        ([1, 2, 4, 8], [4, 3, 2, 1], "scatter more than they curve"),
        ([1, 2, 4, 8], [1.00, 1.01, 1.00, 1.01], "scatter more than they curve"),
        ([1, 2, 4, 8], [1, 1.1, 1.4, 1.9], "edge or outside the sizes tried: add smaller"),
        ([1, 2, 4, 8], [1.9, 1.4, 1.1, 1], "edge or outside the sizes tried: add larger"),
        ([1, 2, 4, 8], [4, 2.5, 1.5, 1], "outside the sizes tried: add larger"),
        ([1, 2, 4, 8], [1, 1.5, 2.5, 4], "outside the sizes tried: add smaller"),
        ([1, 2, 4, 8], [1, 2, math.nan, 4], r"losses\[2\] is nan"),
    ],
)
def test_what_has_no_minimum_is_refused(sizes, losses, why):
    with pytest.raises(FitError, match=why):
        fit_profile(1e20, sizes, [1] * len(sizes), losses)


@FEW
@given(st.floats(1e3, 1e10), st.floats(0.1, 2), st.floats(-0.05, 0.05))
def test_a_cubic_is_found_exactly(best, curvature, skew):
    sizes = best * np.geomspace(0.3, 3, 7)
    x = np.log(sizes / best)
    profile = fit_profile(1e20, sizes, 1e20 / 6 / sizes, 3 + curvature * x**2 + skew * x**3, degree=3)
    assert profile.size == pytest.approx(best, rel=1e-5)
    assert (profile.loss, profile.curvature, profile.skew) == pytest.approx((3, curvature, skew), rel=1e-4, abs=1e-6)
    assert profile(sizes) == pytest.approx(3 + curvature * x**2 + skew * x**3)


def test_a_cubic_sees_a_lopsided_valley_where_a_parabola_errs():
    law = Surface(E=1.8, A=2e4, B=600, alpha=0.55, beta=0.3)
    best = compute_optimal(law, 1e20)
    sizes = best.size * np.geomspace(1 / 8, 8, 9)
    two, three = (fit_profile(1e20, sizes, 1e20 / 6 / sizes, law(sizes, 1e20 / 6 / sizes), degree=d) for d in (2, 3))
    assert abs(math.log(three.size / best.size)) < abs(math.log(two.size / best.size)) / 3


def lopsided(best):
    """Losses at the sizes 1, 2, 4, 8, 16, with their minimum where ln(size) is ``best``."""
    x = np.log([1, 2, 4, 8, 16]) - best
    return 2 + 0.2 * x**2 + 0.01 * x**3


@pytest.mark.parametrize(
    ("sizes", "losses", "why"),
    [
        ([1, 2, 4, 8], [2, 1, 1, 2], "too few points: 4"),
        ([1, 2, 4, 4, 4], [2, 1, 2, 2, 2], "3 sizes: a cubic needs 4"),
        ([1, 2, 4, 8, 16], lopsided(3.2), "edge or outside the sizes tried: add larger"),
        ([1, 2, 4, 8, 16], lopsided(-0.5), "edge or outside the sizes tried: add smaller"),
        ([1, 2, 4, 8, 16], [5, 3.4, 2.6, 2.3, 2.1], "the cubic has no minimum"),
        ([1, 2, 4, 8, 16], [1, 2, 3, 2, 1], "opens downwards"),
        ([1, 2, 4, 8, 16], [2, 1, math.nan, 1, 2], r"losses\[2\] is nan"),
    ],
)
def test_a_cubic_refuses_what_has_no_minimum_inside(sizes, losses, why):
    with pytest.raises(FitError, match=why):
        fit_profile(1e20, sizes, [1] * len(sizes), losses, degree=3)


def test_two_budgets_are_too_few_for_a_law():
    flops, sizes, tokens = grid(budgets=(1e20, 1e21))
    with pytest.raises(FitError, match="too few points: 2"):
        fit_profiles(flops, sizes, tokens, REPLICATION(sizes, tokens))


@pytest.mark.parametrize("apart", [1e-15, 1e-12, 1e-6, 0.009])
def test_budgets_that_are_equal_but_for_rounding_are_one(apart):
    flops, sizes, tokens = grid(count=8)
    losses = REPLICATION(sizes, tokens)
    right = fit_profiles(flops, sizes, tokens, losses)
    jittered = flops * (1 + apart * np.linspace(0, 1, 8)[np.arange(len(flops)) % 8])
    found = fit_profiles(jittered, sizes, tokens, losses)
    assert [p.size for p in found.profiles] == pytest.approx([p.size for p in right.profiles])
    assert [p.flops for p in found.profiles] == pytest.approx([1e19, 1e20, 1e21, 1e22])
    assert len(bootstrap_profiles(jittered, sizes, tokens, noisy(losses, 1e-4), draws=2)) == 2
    with pytest.raises(FitError, match="too few points: 1 different budgets"):
        fit_profiles(jittered[:8], sizes[:8], tokens[:8], losses[:8])


def test_a_flat_profile_with_noise_is_mostly_refused_and_a_curved_one_is_not():
    sizes, flat, curved = np.geomspace(1, 16, 6), 0, 0
    for seed in range(200):
        for curvature in (0, 0.1):
            losses = 3 + curvature * np.log(sizes / 4) ** 2 + 0.01 * np.random.default_rng(seed).standard_normal(6)
            try:
                fit_profile(1e20, sizes, 1e20 / 6 / sizes, losses)
            except FitError:
                continue
            flat, curved = flat + (curvature == 0), curved + (curvature > 0)
    assert flat <= 12 and curved == 200  # 5 % of 200, less those with a minimum outside


# -------------------------------------------------------------------------------------------------------------- surfaces


@settings(FEW, max_examples=10)
@given(st.floats(0.2, 2.5), st.floats(0.25, 0.6), st.floats(0.25, 0.6), st.floats(0.1, 0.6), st.floats(0.1, 0.6))
def test_a_surface_without_noise_is_found_exactly(E, alpha, beta, by_size, by_tokens):
    """``by_size`` and ``by_tokens`` are what the two terms come to in the middle of the runs."""
    _, sizes, tokens = grid(widen=8, count=8)
    middle = [math.exp(np.log(column).mean()) for column in (sizes, tokens)]
    law = Surface(E, by_size * middle[0] ** alpha, by_tokens * middle[1] ** beta, alpha, beta)
    found = fit_surface(sizes, tokens, law(sizes, tokens))
    for name in FIELDS:
        assert getattr(found, name) == pytest.approx(getattr(law, name), rel=1e-3), name


@pytest.mark.parametrize("law", [CHINCHILLA, REPLICATION], ids=["printed", "replication"])
@pytest.mark.parametrize("seed", range(3))
def test_with_noise_and_outliers_the_published_laws_come_out_within_their_intervals(law, seed):
    _, sizes, tokens = grid(widen=8, count=10, law=law)
    losses = noisy(law(sizes, tokens), 0.003, seed)
    losses[[3, 17]] *= 1.1  # runs that went wrong
    found = estimate_surface(sizes, tokens, losses, draws=60)
    assert found.surface.size_exponent == pytest.approx(law.size_exponent, abs=0.03)
    for of in (lambda s: s.E, lambda s: s.size_exponent, lambda s: s(7e10, 1.4e12)):
        low, high = found.interval(of, level=0.998)
        assert low <= of(law) <= high


def test_any_start_leads_to_the_same_place():
    _, sizes, tokens = grid(widen=8)
    losses = noisy(REPLICATION(sizes, tokens), 0.002)
    best, near = fit_surface(sizes, tokens, losses), fit_surface(sizes, tokens, losses, near=CHINCHILLA)
    assert [getattr(near, f) for f in FIELDS] == pytest.approx([getattr(best, f) for f in FIELDS], rel=1e-3)


def test_what_determines_no_surface_is_refused():
    _, sizes, tokens = grid()
    losses = REPLICATION(sizes, tokens)
    for rows, why in (
        (slice(5), "too few points: 5"),
        (np.isclose(sizes, sizes[3]), "too few points: 1"),
    ):
        with pytest.raises(FitError, match=why):
            fit_surface(sizes[rows], tokens[rows], losses[rows])
    one = np.full_like(sizes, 1e9)
    with pytest.raises(FitError, match="1 different sizes"):
        fit_surface(one, tokens, REPLICATION(one, tokens))
    with pytest.raises(FitError, match="2 different tokens"):
        fit_surface(sizes, np.where(sizes > 1e9, 1e9, 1e10), losses)
    with pytest.raises(FitError, match="on one line"):
        fit_surface(sizes, 20 * sizes, REPLICATION(sizes, 20 * sizes))
    with pytest.raises(FitError, match="on one line"):  # a single budget
        fit_surface(sizes[:7], tokens[:7], losses[:7])
    with pytest.raises(FitError, match="do not fall with"):
        fit_surface(sizes, tokens, 1 / losses)
    seeds = np.tile([0, 9, 18, 5], 3)  # four runs, each with three seeds
    with pytest.raises(FitError, match="4 different pairs of size and tokens: the law has 5 constants"):
        fit_surface(sizes[seeds], tokens[seeds], losses[seeds])
    for wrong in (math.nan, math.inf, 0, -1):
        spoilt = losses.copy()
        spoilt[4] = wrong
        with pytest.raises(FitError, match=r"losses\[4\]"):
            fit_surface(sizes, tokens, spoilt)


def small_grid():
    sizes, tokens = (column.ravel() for column in np.meshgrid([1e6, 3e6, 1e7, 3e7], [1e8, 3e8, 1e9]))
    return sizes, tokens, np.random.default_rng(0).standard_normal(12)


@pytest.mark.parametrize(
    ("losses", "why"),
    [
        (lambda n, d, noise: 2 + 0.01 * noise, "do not fall"),
        (lambda n, d, noise: 2 + 400 / n**0.35 + 0.02 * noise, "do not fall (clearly )?with tokens"),
        (lambda n, d, noise: 2 + 400 / d**0.3 + 0.02 * noise, "do not fall (clearly )?with size"),
    ],
)
def test_noise_and_a_term_that_is_not_there_give_no_surface(losses, why):
    sizes, tokens, noise = small_grid()
    with pytest.raises(FitError, match=why):
        fit_surface(sizes, tokens, losses(sizes, tokens, noise))


def test_a_law_is_found_in_few_runs_with_an_outlier():
    sizes, tokens, noise = small_grid()
    losses = CHINCHILLA(sizes, tokens)
    losses[0] *= 1.5
    assert fit_surface(sizes, tokens, losses).size_exponent == pytest.approx(CHINCHILLA.size_exponent, abs=0.01)
    losses = CHINCHILLA(sizes, tokens) * np.exp(0.02 * noise)
    assert fit_surface(sizes, tokens, losses).size_exponent == pytest.approx(CHINCHILLA.size_exponent, abs=0.25)


def recorded(*names):
    kept = [json.loads((ROOT / "notebooks" / "results" / f"{name}.json").read_text(encoding="utf-8")) for name in names]
    runs = [run for record in kept for run in record["result"]["rows"]]
    return {key: np.array([run[key] for run in runs]) for key in runs[0]}


@pytest.mark.parametrize("above", [4e10, 1e12])  # two budgets, and all
def test_the_recorded_runs_determine_a_surface_at_every_budget_and_count(above):
    runs = recorded("08_isoflop", "08_larger")
    here = runs["flops"] < above
    sizes, tokens, losses, embedding = (runs[key][here] for key in ("size", "tokens", "final", "embedding"))
    assert 0.2 < fit_surface(sizes, tokens, losses).size_exponent < 0.8
    assert 0.2 < fit_surface(sizes - embedding, tokens, losses).size_exponent < 0.9


def test_the_recorded_runs_determine_their_profiles():
    runs = recorded("08_isoflop")
    columns = [runs[key] for key in ("flops", "size", "tokens", "final")]
    iso, redrawn = fit_profiles(*columns), bootstrap_profiles(*columns)
    low, high = interval([sample.size.exponent for sample in redrawn])
    assert 0 < low < iso.size.exponent < high < 1 and len(redrawn) > 150


@pytest.mark.parametrize(
    ("call", "why"),
    [
        *((lambda c=c: compute_optimal(REPLICATION, c), "flops is") for c in (0, -1e20, math.nan, math.inf)),
        (lambda: compute_optimal(Surface(1, -1, 1, 0.3, 0.3), 1e20), "A is -1"),
        *((lambda c=c: plan(c), "flops is") for c in (0, -1, math.nan)),
        *((lambda n=n: fits.positive(flops=n), "flops is .*must be a number") for n in ("1e21", None, 1j)),
        *((lambda m=m: plan(1e21, mfu=m), "mfu is") for m in (0, -0.4, 40, 1.01, math.nan)),
        *((lambda n=n: plan(1e21, devices=n), "devices is") for n in (0, -8)),
        (lambda: plan(1e21, hardware=Hardware("none", 0.0, 1.0)), "peak_flops is 0"),
        (lambda: plan(1e21, inference_tokens=-1), "inference_tokens -1"),
        (lambda: plan(1e21, vocab_size=0), "vocab_size is 0"),
        (lambda: plan(1e30), "no shape has about"),
        *((lambda n=n: shape_near(n), "size is") for n in (0, -5, math.nan, math.inf)),
        (lambda: shape_near(1e18), "no shape has about"),
        (lambda: shape_near(1e9, aspect=0), "aspect is 0"),
        *((lambda x=x: overtrained(REPLICATION, x, 0), "must be above") for x in (math.nan, math.inf, -1)),
        (lambda: overtrained(REPLICATION, 2.0, math.inf), "inference_tokens inf"),
        (lambda: interval([]), "needs values"),
        (lambda: interval([1, math.nan]), "finite"),
        *((lambda p=p: interval([1, 2], level=p), "level is") for p in (0, 1, 2, 95)),
        *(
            (lambda p=p: fit_profile(1e20, [1, 2, 4, 8], [1] * 4, [2, 1, 1, 2], level=p), "level is")
            for p in (0, 1, 95)
        ),
        (lambda: fit_power_law([1, 2, 10**400], [1, 2, 3]), "x must be numbers"),
        (lambda: bootstrap(len, [1, 2, 3], [1, 2, 3], parameters=1, draws=0), "draws is 0"),
        (lambda: fit_profile(1e20, [1, 2, 4, 8], [1] * 4, [2, 1, 1, 2], degree=4), "degree is 4"),
        (lambda: fit_profile(0, [1, 2, 4, 8], [8, 4, 2, 1], [2, 1, 1, 2]), "flops is 0"),
        (lambda: fit_power_law([1, 2, 3], [1, 2, 3], huber=math.inf), "huber is inf"),
        (lambda: kaplan_view(REPLICATION, [1e6], -1), "embedding is -1"),
        (lambda: isoflop_run(16, 0), "flops is 0"),
        (lambda: isoflop_run(16, 1e3), "steps is 0"),
        (lambda: mup(Transformer(SMALL), 0), "base_width is 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_by_name(call, why):
    with pytest.raises(ValueError, match=why):
        call()


@FEW
@given(st.floats(1e10, 1e26), st.sampled_from([CHINCHILLA, REPLICATION, Surface(1, 50, 900, 0.25, 0.5)]))
def test_no_other_size_of_the_same_budget_is_better_than_the_best(flops, law):
    best = compute_optimal(law, flops)
    assert 6 * best.size * best.tokens == pytest.approx(flops)
    for factor in (0.5, 0.99, 1.01, 2):
        assert law(best.size * factor, best.tokens / factor) > best.loss
    power = math.log(compute_optimal(law, 2 * flops).size / best.size, 2)
    assert power == pytest.approx(law.size_exponent)


# ------------------------------------------------------------------------------------------------------ published figures


def test_chinchilla_and_kaplan_as_published():
    flops, sizes, tokens = (CHINCHILLA_TABLE[name] for name in ("flops", "sizes", "tokens"))
    assert round(fit_power_law(flops, sizes).exponent, 2) == round(fit_power_law(flops, tokens).exponent, 2) == 0.5
    assert np.array(flops) == pytest.approx(6 * np.array(sizes) * np.array(tokens), rel=0.06)
    assert round(CHINCHILLA.size_exponent, 2) == 0.46 and round(1 - CHINCHILLA.size_exponent, 2) == 0.54
    assert (
        round(REPLICATION.size_exponent, 3) == 0.513
    )  # 0.512 in the text of the replication, from unrounded constants
    gopher = 5.76e23  # the budget of Gopher and Chinchilla
    assert compute_optimal(REPLICATION, gopher).size == pytest.approx(70e9, rel=0.05)
    assert 18 < compute_optimal(REPLICATION, gopher).tokens / compute_optimal(REPLICATION, gopher).size < 22
    assert compute_optimal(CHINCHILLA, gopher).size == pytest.approx(40e9, rel=0.05)
    printed = compute_optimal(CHINCHILLA_PRINTED, gopher)
    assert printed.size == pytest.approx(32e9, rel=0.02) and printed.tokens / printed.size == pytest.approx(
        93, rel=0.01
    )
    gopher_loss, chinchilla_loss = CHINCHILLA(280e9, 300e9), CHINCHILLA(70e9, 1.4e12)
    assert gopher_loss == pytest.approx(1.967, abs=0.002) and gopher_loss - chinchilla_loss > 0.04
    assert KAPLAN_SIZE(1e15 * 86_400) == pytest.approx(1.3e9)  # one PF-day
    assert KAPLAN_SIZE(10.0) / KAPLAN_SIZE(1.0) == pytest.approx(5.37, abs=0.01)


def test_counted_without_embeddings_the_same_law_has_kaplans_exponent():
    sizes = np.geomspace(768, 1.5e9, 30)
    for law in (CHINCHILLA, REPLICATION):
        flops, tokens = kaplan_view(law, sizes, 47_491)
        assert 0.7 < fit_power_law(flops, sizes).exponent < 0.8
        whole = sizes + 47_491 * sizes ** (1 / 3)
        for i in (3, 15, 28):  # brute force: no other size with these FLOPs has a lower loss
            others = sizes[i] * np.array([0.97, 1.03])
            there = law(others + 47_491 * others ** (1 / 3), flops[i] / 6 / others)
            assert there.min() > law(whole[i], tokens[i])
        flops, _ = kaplan_view(law, sizes, 0)
        assert fit_power_law(flops, sizes).exponent == pytest.approx(law.size_exponent)


# ------------------------------------------------------------------------------------------- over-training and the planner


def test_without_use_the_cheapest_is_compute_optimal_and_with_use_smaller_and_longer():
    best = compute_optimal(REPLICATION, 1e21)
    assert overtrained(REPLICATION, best.loss, 0).size == pytest.approx(best.size, rel=1e-4)
    sizes = []
    for use in (0, 1e10, 1e11, 1e12, 1e13, 1e15):
        choice = overtrained(REPLICATION, best.loss, use)
        assert REPLICATION(choice.size, choice.tokens) == pytest.approx(best.loss)
        sizes.append(choice.size)
        cost = 6 * choice.size * choice.tokens + 2 * choice.size * use
        for factor in (0.97, 1.03):  # of equal loss, but dearer
            size = choice.size * factor
            tokens = (REPLICATION.B / (best.loss - REPLICATION.E - REPLICATION.A / size**REPLICATION.alpha)) ** (
                1 / REPLICATION.beta
            )
            assert 6 * size * tokens + 2 * size * use > cost
    assert sizes == sorted(sizes, reverse=True)
    for loss, use in ((REPLICATION.E, 0), (1.0, 0), (2.0, -1)):
        with pytest.raises(ValueError, match="must be above"):
            overtrained(REPLICATION, loss, use)


@FEW
@given(st.floats(1e17, 1e25), st.sampled_from(sorted(HARDWARE)), st.integers(1, 4096))
def test_a_plan_keeps_its_budget_and_is_near_the_best(flops, hardware, devices):
    made = plan(flops, hardware=hardware, devices=devices)
    a_token = training_flops(made.shape, 1, 2_048).total / 2_048
    assert made.flops == pytest.approx(flops) == pytest.approx(a_token * made.tokens)
    assert (
        made.size == active_parameters(made.shape) == pytest.approx(compute_optimal(REPLICATION, flops).size, rel=0.1)
    )
    assert made.loss == REPLICATION(made.size, made.tokens) < compute_optimal(REPLICATION, flops / 3).loss
    assert made.days * 86_400 * devices * HARDWARE[hardware].peak_flops * 0.4 == pytest.approx(flops)
    assert made.steps == math.ceil(made.tokens / made.batch_tokens) and made.batch_tokens % 2_048 == 0
    assert made.state_bytes >= 16 * made.size and made.device_bytes > made.state_bytes / devices
    assert ("does not fit" in str(made)) == (made.device_bytes > HARDWARE[hardware].memory)
    assert made.loss_interval is None


def test_the_plan_for_1e21_flops():
    made = plan(1e21)
    assert (made.shape.num_layers, made.shape.d_model, made.shape.num_heads) == (24, 3_072, 24)
    assert 50e9 < made.tokens < 60e9 and round(made.days, 1) == 3.7
    assert made.learning_rate == pytest.approx(7.4e-4, rel=0.01) and made.batch_tokens == pytest.approx(
        2.16e6, rel=0.01
    )
    assert "24 layers" in str(made) and "3.66 days on 8 x NVIDIA H100" in str(made)
    twice = plan(1e21, devices=16, mfu=0.2)
    assert twice.days == pytest.approx(made.days) and twice.device_bytes < made.device_bytes


def test_a_plan_for_a_model_that_is_used_is_smaller_and_as_good():
    once, used = plan(1e21), plan(1e21, inference_tokens=1e12)
    assert used.size < 0.5 * once.size and used.tokens > 4 * once.tokens
    assert used.loss == pytest.approx(once.loss, rel=0.01)
    assert used.flops + 2 * used.size * 1e12 < once.flops + 2 * once.size * 1e12
    assert "of use" in str(used) and "of use" not in str(once)


def test_a_plan_from_ones_own_runs_has_an_interval_and_its_own_hardware():
    _, sizes, tokens = grid(widen=8)
    law = estimate_surface(sizes, tokens, noisy(REPLICATION(sizes, tokens), 0.003), draws=50)
    made = plan(1e23, law, hardware=Hardware("abacus", 1e9, 1e6), devices=2)
    low, high = made.loss_interval
    assert low < made.loss < high and 0.01 < high - low < 0.2
    assert "abacus" in str(made) and "95 % interval" in str(made) and "does not fit" in str(made)
    with pytest.raises(KeyError, match=r"H1000.*H100, H200"):
        plan(1e21, hardware="H1000")


@pytest.mark.parametrize("size", [3e4, 1e6, 1.3e8, 7e9, 7e10, 4e11])
def test_a_shape_has_about_the_size_asked_for(size):
    shape = shape_near(size, vocab_size=256 if size < 1e6 else 32_000 if size > 1e7 else 2_000)
    assert active_parameters(shape) == pytest.approx(size, rel=0.1)
    assert (shape.d_model % shape.num_heads == 0 and 0.3 < shape.d_model / shape.num_layers / 128 < 3) or size < 1e7


@pytest.mark.parametrize("flops", [1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24])
def test_heads_come_in_eights_and_a_plan_says_how_far_its_rate_is_extrapolated(flops):
    made = plan(flops)
    assert made.shape.num_heads % 8 == 0 == made.shape.d_model % made.shape.num_heads
    assert made.extrapolated == pytest.approx(max(1, flops / FITTED[1]))
    assert ("extrapolated" in str(made)) == (flops > 2e20)
    assert plan(1e13, vocab_size=64, hardware="CPU core").extrapolated == pytest.approx(1e4)


def test_a_vocabulary_larger_than_the_model_is_refused():
    with pytest.raises(ValueError, match="vocabulary of 100000"):
        shape_near(1e4, vocab_size=100_000)


# --------------------------------------------------------------------------------------------------------- extrapolation


def test_held_out_runs_are_predicted_from_the_smaller_ones_only():
    flops, sizes, tokens = grid(widen=8, budgets=(1e18, 1e19, 1e20, 1e21, 1e23))
    losses = noisy(REPLICATION(sizes, tokens), 0.002)
    told = extrapolate(sizes, tokens, losses, above=2e21, draws=60)
    assert [f.size for f in told] == pytest.approx(sizes[flops > 2e21])
    assert all(abs(f.miss) < 0.02 and f.interval[0] < f.predicted < f.interval[1] for f in told)
    assert sum(f.interval[0] <= f.observed <= f.interval[1] for f in told) >= 5  # of 7
    changed = np.where(flops > 2e21, 2 * losses, losses)  # what is held out has no part in the fit
    again = extrapolate(sizes, tokens, changed, above=2e21, draws=60)
    assert [f.predicted for f in again] == [f.predicted for f in told]
    with pytest.raises(FitError, match="nothing is held out"):
        extrapolate(sizes, tokens, losses, above=1e30)
    with pytest.raises(FitError, match="too few points"):
        extrapolate(sizes, tokens, losses, above=1)


def test_the_interval_of_a_run_is_wider_than_that_of_the_law():
    _, sizes, tokens = grid(widen=8)
    found = estimate_surface(sizes, tokens, noisy(REPLICATION(sizes, tokens), 0.01), draws=100)
    assert isinstance(found, Estimate)
    law, run = found.interval(lambda s: s(1e9, 1e10)), found.run_interval(1e9, 1e10)
    assert run[1] - run[0] > 1.5 * (law[1] - law[0])


# ------------------------------------------------------------------------------------------------------------ runs and µP


def test_an_isoflop_run_spends_its_budget():
    for width, flops in ((8, 1e10), (16, 3e10), (48, 2.7e11)):
        run = isoflop_run(width, flops, seed=3)
        tokens = run.training.steps * run.training.batch_size * run.model.context_length
        assert 6 * active_parameters(run.model.shape) * tokens == pytest.approx(flops, rel=0.01)
        assert run.training.lr == 0.24 / width and run.training.seed == 3
        model = Transformer(run.model)
        inside = sum(p.numel() for p in model.parameters() if p.ndim > 1) - model.embedding.weight.numel()
        assert active_parameters(run.model.shape) == inside


def test_the_recorded_sweep_has_runs_on_both_sides_of_every_minimum_and_equal_seeds():
    kept = json.loads((ROOT / "notebooks" / "results" / "08_isoflop.json").read_text(encoding="utf-8"))
    runs = kept["result"]["rows"]
    flops, sizes, tokens, losses = (
        np.array([run[name] for run in runs]) for name in ("flops", "size", "tokens", "final")
    )
    profiles = {profile.flops: profile for profile in fit_profiles(flops, sizes, tokens, losses).profiles}
    assert len(profiles) >= 4
    for budget, profile in profiles.items():
        here = sizes[flops == budget]
        assert here.min() < profile.size < here.max() and len(set(here)) >= 4
        cells = {(run["width"], run["seed"]) for run in runs if run["flops"] == budget}
        assert cells == {(width, seed) for width in budgets.GRID[budget] for seed in budgets.SEEDS}
    for run in runs:
        made = isoflop_run(run["width"], run["flops"], run["seed"])
        assert run["size"] == active_parameters(made.model.shape) and math.isfinite(run["final"])
        assert 6 * run["size"] * run["tokens"] == pytest.approx(run["flops"], rel=0.01)
        assert run["lr"] == made.training.lr
    assert {"command", "date", "device", "python", "torch"} <= kept["provenance"].keys()


DATA = Tokens(torch.randint(17, (2_000,), generator=torch.Generator().manual_seed(0)).numpy())
SMALL = TransformerConfig(vocab_size=17, context_length=8, d_model=16, num_layers=2, num_heads=2, d_ff=24)
SHORT = TrainingConfig(steps=4, batch_size=4, lr=1e-2, weight_decay=0.0, eval_batches=2)


def test_at_the_base_width_mup_is_the_usual_parametrisation():
    usual = train(SMALL, SHORT, DATA, validation=DATA).final
    assert train_mup(SMALL, SHORT, DATA, DATA, base_width=16) == pytest.approx(usual, rel=1e-5)


def test_mup_scales_starts_and_updates_with_the_width():
    plain, wide = (
        Transformer(SMALL, torch.Generator().manual_seed(0)),
        Transformer(SMALL, torch.Generator().manual_seed(0)),
    )
    assert mup(wide, base_width=4) is wide  # four times as wide as the base
    state = begin(wide, SHORT, World(0, 1, torch.device("cpu")), partial(mup_groups, base_width=4))
    factors = {id(p): group["lr_scale"] for group in state.optimizer.param_groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in mup_groups(wide, 0.3, base_width=4) for p in group["params"]}
    before = {name: p.detach().clone() for name, p in wide.named_parameters()}
    for (name, p), q in zip(plain.named_parameters(), wide.parameters()):
        inside = p.ndim > 1 and not name.startswith("embedding")
        expected = 1 if not inside else 4 if name == "output.weight" else 2
        assert torch.allclose(q * expected, p), name
        assert factors[id(q)] == (1 / 4 if inside else 1) and decays[id(q)] == (0.3 if p.ndim > 1 else 0)
        q.grad = torch.ones_like(q)
    state.step = SHORT.steps // 2
    rate = set_step(state)
    state.optimizer.step()
    for name, q in wide.named_parameters():  # the first update of Adam is the learning rate
        moved = (before[name] - q).abs().max().item()
        assert moved == pytest.approx(rate * factors[id(q)], rel=1e-3), name
    assert 0 < rate < SHORT.lr


def test_tables_of_positions_are_read_and_not_multiplied_so_mup_leaves_them():
    config = SMALL.replace(positions="learned")
    plain, wide = (Transformer(config, torch.Generator().manual_seed(0)) for _ in range(2))
    table = mup(wide, base_width=4).decoder.positions.tables[0].weight
    assert torch.equal(table, plain.decoder.positions.tables[0].weight)
    (scale,) = [
        group.get("lr_scale", 1)
        for group in mup_groups(wide, 0.1, base_width=4)
        if any(p is table for p in group["params"])
    ]
    assert scale == 1


@pytest.mark.parametrize(
    ("declared", "arm"), [(budgets.ISOFLOP, "1.0e+10 FLOPs, width 20"), (budgets.TRANSFER, "width 16")]
)
def test_lecture_08_has_the_losses_that_were_recorded(declared, arm):
    """One of them to the last digit where the record was made, and as near as rounding leaves it elsewhere."""
    kept = json.loads((ROOT / "notebooks" / "results" / f"{declared.name}.json").read_text(encoding="utf-8"))["result"]
    (run,) = declared.runs(arm, declared.rates(arm)[:1], declared.seeds[:1])
    (row,) = [row for row in kept["rows"] if all(row[name] == run[name] for name in ("arm", "lr", "seed"))]
    assert declared.train(run)["final"] == pytest.approx(row["final"], abs=1e-3)


def test_a_run_that_diverges_is_recorded_without_a_number():
    assert budgets.finite(math.inf) is None and budgets.finite(math.nan) is None and budgets.finite(2.0) == 2.0


def test_mup_updates_change_the_logits_equally_at_any_width():
    """The point of the parametrisation: after some steps, what the output layer adds does not grow with the width."""
    grown = {}
    for how in ("standard", "mup"):
        for width in (16, 128):
            config = SMALL.replace(d_model=width, num_heads=width // 8, d_ff=24 * width // 16)
            training = TrainingConfig(steps=3, batch_size=4, lr=0.02, weight_decay=0.0, clip=None)
            base = 16 if how == "mup" else width
            model = mup(Transformer(config, torch.Generator().manual_seed(0)), base)
            model = train(model, training, DATA, groups=partial(mup_groups, base_width=base)).model
            inputs, _ = DATA.batch(8, 8, torch.Generator().manual_seed(1))
            grown[how, width] = model(inputs).std().item()
    assert grown["standard", 128] > 3 * grown["standard", 16]
    assert grown["mup", 128] < 2 * grown["mup", 16]


def test_tied_embeddings_are_refused_by_mup():
    with pytest.raises(ValueError, match="tied"):
        mup(Transformer(SMALL.replace(tied_embeddings=True)), 16)


def test_a_run_that_diverges_has_an_infinite_loss():
    broken = TrainingConfig(steps=30, batch_size=4, lr=1e30, weight_decay=0.0, clip=None, eval_batches=1)
    assert train_mup(isoflop_model(16, 17, 8), broken, DATA, DATA, base_width=16) == math.inf
