# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: scaling, minutes: 2, prerequisites: [02_tensors, 04_hyperparameters], device: CPU}
# ---

# %% [markdown]
# # 08 · Scaling laws (缩放定律)
#
# **2 minutes to run on 2 cores · prerequisites: 02, 04 · device: CPU (a GPU is used if there is one)**
#
# You have a budget of FLOPs and one attempt. Which model do you train, and on how many tokens? Nobody can try it out at
# full size. So people train many small models, fit a law to their losses, and let the law choose the large one. You
# will do all of it here: write the fits, make the runs, ask for a plan, and then find out how wrong the law was on a
# run that it had not seen.
#
# ## By the end you will have shown
#
# 1. **A fit finds the constants again** that made-up losses were drawn from, and says how far it can be trusted; it
#    refuses what cannot be fitted.
# 2. **At a fixed budget the loss has a best size**, and that size grows as a power of the budget: in runs made here,
#    with an interval for the exponent.
# 3. **The published constants of Chinchilla do not give Chinchilla**; those of its replication do.
# 4. **Kaplan and Chinchilla differ by what they count**: the same law, seen without embeddings and at small sizes, has
#    Kaplan's exponent, not Chinchilla's. Our own runs move the same way.
# 5. **A larger run is foretold before it is trained**, and how far off that was.
# 6. **10²¹ FLOPs: which model, how many tokens, which learning rate, how many days** on which hardware.
# 7. **A model that will be used a lot should be smaller and trained longer**: half the best size costs little.
# 8. **In µP the good learning rates stay where they are** when the model gets wider; in the usual parametrisation they
#    move.
#
# Every claim is followed by a cell that measures it and stops with an error if it is false. Before a measurement there
# is a **Predict**: write your number in place of `None` before you run the cell.

# %% [markdown]
# ## Setup

# %%
import os

from cs336lite.course import finished, whose
from cs336lite.course.data import data_folder, default_corpus
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.course.results import recorded, source
from cs336lite.training import describe, sweep

HAVE_MODEL = whose("attention", "rope", lecture="08_scaling")  # without them the lecture goes on with recorded runs

YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"


# %% [markdown]
# What all of it rests on: logarithms, least squares, and the costs of lecture 02.

# %%
#| export
"""Scaling laws: fit them to runs, ask them what to train with a budget, and find out how wrong they are.

N is the number of weights that a token is multiplied by (`accounting.active_parameters`), D the number of tokens
trained on, C = 6 N D the FLOPs of training; a loss is in nats per token. What the runs do not determine is a
`FitError`, never a number.

Built in notebooks/08_scaling.ipynb.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.optimize import least_squares, minimize_scalar

from cs336lite import accounting
from cs336lite.accounting import ModelShape, active_parameters, training_flops
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.training import Experiment, Tokens, TrainingConfig, generator, parameter_groups, train

# %%
#| export
Numbers = Sequence[int | float] | np.ndarray
LARGEST = math.log(np.finfo(float).max)


class FitError(ValueError):
    """These runs do not determine the law that was asked for."""


def _positive(**numbers: Any) -> None:
    """ValueError that names the first number that is not finite and above 0."""
    for name, number in numbers.items():
        if not (isinstance(number, Real) and 0 < number < math.inf):
            raise ValueError(f"{name} is {number!r}, but must be a number, finite and above 0")


def _array(name: str, values: Numbers) -> np.ndarray:
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError, OverflowError) as problem:
        raise FitError(f"{name} must be numbers: {problem}") from None


# %%
torch.set_num_threads(1)  # small models: several threads wait for each other more than they help

# %% [markdown]
# ## 1 · Power laws (幂律)
#
# A *power law* says that a quantity is multiplied by the same factor each time another is doubled:
#
# $$y = k\,x^a \qquad\Longleftrightarrow\qquad \ln y = \ln k + a \ln x,$$
#
# a straight line in logarithms, so fitting is drawing a line. Two things go wrong in practice. One bad run drags the
# line: squares make a large error count far too much. The *Huber loss* is a square for small errors and straight beyond
# $\delta$. And a slope without an interval says nothing: five points always have one.


# %%
#| export
def _columns(least: int, **columns: Numbers) -> list[np.ndarray]:
    """The columns as float arrays: of one length, at least ``least``, every number finite and above 0."""
    arrays = {name: _array(name, values) for name, values in columns.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise FitError(f"the columns need one dimension and one length, not {shapes}")
    for name, array in arrays.items():
        wrong = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
        if wrong.size:
            raise FitError(f"{name}[{wrong[0]}] is {array[wrong[0]]}: every value must be finite and above 0")
    if len(array) < least:
        raise FitError(f"too few points: {len(array)}, and this law needs at least {least}")
    return list(arrays.values())


@dataclass(frozen=True)
class PowerLaw:
    """y = coefficient * x ** exponent."""

    coefficient: float
    exponent: float

    def __call__(self, x: Any) -> Any:  # a number or an array
        return self.coefficient * x**self.exponent


# %%
#| export
def fit_power_law(x: Numbers, y: Numbers, *, huber: float | None = None) -> PowerLaw:
    """The straight line through the logarithms: ln y = ln coefficient + exponent * ln x.

    Least squares; with ``huber``, an error above this many natural logarithms counts by its size and not its square, so
    that an outlier cannot drag the line away. FitError: fewer than 3 points, a single x, a value not finite or not > 0, a
    coefficient too large for a float.

    >>> law = fit_power_law([1, 10, 100], [2, 20, 200])
    >>> round(law.coefficient, 6), round(law.exponent, 6)
    (2.0, 1.0)
    """
    u, v = (np.log(column) for column in _columns(3, x=x, y=y))
    middle = u.mean()  # around the middle, slope and height do not pull at each other
    if np.ptp(u) < 1e-9:
        raise FitError("all points have one x: any exponent fits")
    line = np.polyfit(u - middle, v, 1)
    if huber is not None:
        line = _huber(lambda p: p[0] * (u - middle) + p[1] - v, line, huber).x
    slope, height = line.tolist()
    if abs(height - slope * middle) > LARGEST:
        raise FitError(f"the exponent would be {slope:.3g}, and the coefficient no float: are x and y what you meant?")
    return PowerLaw(math.exp(height - slope * middle), slope)


# %%
#| export
def _huber(
    errors: Callable, start: np.ndarray, delta: float, slopes: Callable | str = "2-point", **options: Any
) -> Any:
    """Parameters with the least sum of Huber losses: squares up to delta, straight lines beyond."""
    _positive(huber=delta)
    exact = {"xtol": 1e-12, "ftol": 1e-12, "gtol": 1e-12, "max_nfev": 500}
    return least_squares(errors, start, slopes, loss="huber", f_scale=delta, x_scale="jac", **exact, **options)


def _check_level(level: int | float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but must be between 0 and 1: 0.95 for 95 %")


def interval(values: Numbers, level: int | float = 0.95) -> tuple[float, float]:
    """The middle ``level`` of the values, a percentile interval. FitError: no values, or one that is not finite.

    >>> interval(range(101), level=0.5)
    (25.0, 75.0)
    """
    values = _array("values", values)
    if not values.size or not np.isfinite(values).all():
        raise FitError(f"an interval needs values that are all finite, not {values}")
    _check_level(level)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# %% [markdown]
# The interval comes from the *bootstrap* (自助法): pretend that the fit is the truth, add errors drawn from those that
# really occurred, fit again, many times. How far the answers scatter is how little the points determined.


# %%
#| export
def bootstrap(
    fit: Callable[[np.ndarray], Any], predicted: Numbers, observed: Numbers, *,
    parameters: int, groups: Numbers | None = None, draws: int = 200, seed: int = 0,
) -> list:  # fmt: skip
    """Fits to ``draws`` sets of made-up observations: predictions times errors that are drawn from those that occurred.

    Errors are ratios, drawn with replacement within a group, and made larger by sqrt(n / (n - parameters)), because a
    fit bends towards its own points. FitError when fewer than half of the sets can be fitted.
    """
    _positive(draws=draws)
    predicted, observed = _columns(parameters + 1, predicted=predicted, observed=observed)
    errors, rng = np.log(observed / predicted), np.random.default_rng(seed)
    groups, fits = np.zeros(len(errors)) if groups is None else np.asarray(groups), []
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for _ in range(draws):
        drawn = np.empty_like(errors)
        for rows in members:
            wider = math.sqrt(len(rows) / max(len(rows) - parameters, 1))
            drawn[rows] = wider * rng.choice(errors[rows], len(rows))
        fits.append(_or_none(fit, predicted * np.exp(drawn)))
    return _most(fits)


# %%
#| export
def _or_none(fit: Callable[[np.ndarray], Any], observed: np.ndarray) -> Any:
    try:
        return fit(observed)
    except FitError:
        return None


def _most(fits: list) -> list:
    kept = [fit for fit in fits if fit is not None]
    if 2 * len(kept) < len(fits):
        raise FitError(f"only {len(kept)} of {len(fits)} redrawn samples can be fitted: the runs say too little")
    return kept


# %% [markdown]
# Try it where the truth is known: exponent 0.5, twelve points with 5 % of noise, one of them a run that went wrong.
#
# **Predict.** Least squares against Huber: which exponents?

# %%
guess = None  # (least squares, Huber)

rng = np.random.default_rng(0)
x = np.geomspace(1e18, 1e22, 12)
y = 0.1 * x**0.5 * np.exp(0.05 * rng.standard_normal(12))
y[-1] *= 3  # a run that diverged half-way
plain, robust = fit_power_law(x, y), fit_power_law(x, y, huber=0.05)
reveal("exponents", (round(plain.exponent, 3), round(robust.exponent, 3)), guess)
assert abs(robust.exponent - 0.5) < 0.02 < abs(plain.exponent - 0.5)

fits = bootstrap(lambda redrawn: fit_power_law(x, redrawn, huber=0.05), robust(x), y, parameters=2)
low, high = interval([law.exponent for law in fits])
print(f"95 % interval of the Huber fit: {low:.3f} to {high:.3f}")
assert low < 0.5 < high

# %% [markdown]
# What cannot be fitted is refused, with the reason:

# %%
bad = {
    "two points": ([1, 2], [1, 2]),
    "one size": ([5, 5, 5], [1, 2, 3]),
    "a run that diverged": ([1, 2, 3], [1, math.nan, 3]),
    "a negative loss": ([1, 2, 3], [1, -2, 3]),
}
for what, points in bad.items():
    try:
        fit_power_law(*points)
        raise AssertionError(what)
    except FitError as problem:
        print(f"{what}: {problem}")

# %% [markdown]
# ## 2 · One budget, many sizes
#
# Training costs about $C = 6ND$ FLOPs (lecture 02): $N$ weights that a token is multiplied by, $D$ tokens. Fix $C$. A
# large model sees few tokens and is undertrained; a small one sees many and has no room for what they say. In between
# lies the best. Hoffmann et al. (2022, *Chinchilla*) draw this *IsoFLOP profile* (等算力曲线) at several budgets, put a
# parabola in $\ln N$ through each, and read off the minima (their approach 2).


# %%
#| export
@dataclass(frozen=True)
class Profile:
    """Loss against size at one budget: loss + curvature * ln(N / size) ** 2, with its minimum at ``size``."""

    flops: float
    size: float
    tokens: float
    loss: float
    curvature: float

    def __call__(self, sizes: Any) -> Any:
        return self.loss + self.curvature * np.log(sizes / self.size) ** 2


# %%
#| export
def _parabola(u: np.ndarray, losses: np.ndarray, level: int | float, where: str) -> tuple[float, float, float]:
    """(u, loss) of the minimum, and the curvature. FitError as `fit_profile`."""
    middle = u.mean()
    (c2, c1, c0), spread = np.polyfit(u - middle, losses, 2, cov="unscaled")
    scatter = np.std(losses - np.polyval([c2, c1, c0], u - middle)) * math.sqrt(len(u) / (len(u) - 3))
    doubt = stats.t.ppf(level, len(u) - 3) * scatter + 1e-9 * losses.mean()  # rounding
    if abs(c2) <= doubt * math.sqrt(spread[0, 0]):
        raise FitError(f"{where} the losses scatter more than they curve: add runs, or sizes further apart")
    if c2 < 0:
        raise FitError(f"{where} the parabola opens downwards: there is no best size")
    best = -c1 / (2 * c2)
    if not u.min() + 1e-6 < best + middle < u.max() - 1e-6:
        raise FitError(
            f"{where} the minimum is at the edge or outside the sizes tried: add {'larger' if best > 0 else 'smaller'} ones"
        )
    return float(best + middle), float(c0 - c2 * best**2), float(c2)


# %%
#| export
def fit_profile(
    flops: int | float, sizes: Numbers, tokens: Numbers, losses: Numbers, *, level: int | float = 0.95
) -> Profile:  # fmt: skip
    """The parabola through the losses of one budget (Hoffmann et al. 2022, approach 2).

    FitError: fewer than 4 runs or 3 sizes, no minimum, or one that is a guess: not between the sizes tried, or with a
    curvature that scatter alone would give more often than in 1 - ``level`` of all cases.
    """
    _positive(flops=flops)
    _check_level(level)
    sizes, tokens, losses = _columns(4, sizes=sizes, tokens=tokens, losses=losses)
    u, where = np.log(sizes), f"at {flops:.3g} FLOPs"
    if len(np.unique(sizes)) < 3:
        raise FitError(f"{where} there are {len(np.unique(sizes))} sizes: a parabola needs 3")
    best, loss, curvature = _parabola(u, losses, level, where)
    at_best = np.polyval(np.polyfit(u - u.mean(), np.log(tokens), 2), best - u.mean())
    return Profile(float(flops), math.exp(best), math.exp(at_best), loss, curvature)


# %%
#| export
@dataclass(frozen=True)
class IsoFlops:
    """A profile for each budget, and through their minima the best N and the best D as power laws of C."""

    profiles: tuple[Profile, ...]
    size: PowerLaw
    tokens: PowerLaw


def _budgets(flops: np.ndarray) -> np.ndarray:
    """For each run the smallest FLOPs within 1 %: whole steps make runs of one budget differ a little."""
    least = []
    for c in np.unique(flops):
        least += [] if least and c <= 1.01 * least[-1] else [c]
    return np.array(least)[np.searchsorted(least, flops, side="right") - 1]


# %%
#| export


def fit_profiles(
    flops: Numbers, sizes: Numbers, tokens: Numbers, losses: Numbers, *, level: int | float = 0.95
) -> IsoFlops:  # fmt: skip
    """Parabolas for runs grouped by ``flops``, to 1 %, and power laws through the minima; FitError as `fit_profile`."""
    flops, *rest = _columns(4, flops=flops, sizes=sizes, tokens=tokens, losses=losses)
    flops = _budgets(flops)
    budgets = np.unique(flops)
    if len(budgets) < 3:
        raise FitError(f"too few points: {len(budgets)} different budgets, and a law needs at least 3")
    profiles = tuple(fit_profile(c, *(column[flops == c] for column in rest), level=level) for c in budgets)
    size = fit_power_law(budgets, [profile.size for profile in profiles])
    return IsoFlops(profiles, size, fit_power_law(budgets, [profile.tokens for profile in profiles]))


# %%
#| export
def bootstrap_profiles(
    flops: Numbers, sizes: Numbers, tokens: Numbers, losses: Numbers, *, draws: int = 200, seed: int = 0
) -> list[IsoFlops]:
    """`fit_profiles` on redrawn losses; errors are drawn among the runs of one budget."""
    flops, sizes, tokens, losses = _columns(4, flops=flops, sizes=sizes, tokens=tokens, losses=losses)
    flops = _budgets(flops)
    curve = {profile.flops: profile for profile in fit_profiles(flops, sizes, tokens, losses).profiles}
    predicted = [curve[budget](size) for budget, size in zip(flops, sizes)]
    again = partial(fit_profiles, flops, sizes, tokens, level=0.5)  # the runs themselves have passed
    return bootstrap(again, predicted, losses, parameters=3, groups=flops, draws=draws, seed=seed)


# %% [markdown]
# ### The runs
#
# A family that differs only in width, on bytes of the course's corpus. Each run has the learning-rate schedule of its
# own length: a run that is cut off from a longer one has not cooled down, and looks worse than it is.
#
# The best learning rate depends on the width, and a sweep that tunes it for one size flatters that size (arXiv
# 2406.19146). We use 0.24 / width, and look below whether half or twice that is better.


# %%
#| export
def isoflop_model(width: int, vocab_size: int = 256, context_length: int = 64) -> TransformerConfig:
    """A member of a family that differs in width only: 2 layers, 2 heads, SwiGLU of 8/3 width."""
    return TransformerConfig(
        vocab_size=vocab_size, context_length=context_length, d_model=width, num_layers=2, num_heads=2,
        d_ff=8 * round(width / 3), attend="sdpa",
    )  # fmt: skip


# %%
#| export
def isoflop_run(width: int, flops: int | float, seed: int = 0, *, lr_times_width: float = 0.24) -> Experiment:
    """The experiment that trains this width until 6 N D = flops, in batches of 16 sequences."""
    _positive(width=width, flops=flops, lr_times_width=lr_times_width)
    model = isoflop_model(width)
    steps = round(flops / (6 * active_parameters(model.shape) * 16 * model.context_length))
    _positive(steps=steps)
    training = TrainingConfig(
        steps=steps,
        batch_size=16,
        lr=lr_times_width / width,
        warmup=steps // 10,
        final_lr=0.1,
        eval_batches=64,
        seed=seed,
    )
    return Experiment(
        model, training, f"{flops:.2e} FLOPs, width {width}, seed {seed}, lr {lr_times_width / width:.2g}"
    )


# %%
GRID = {  # FLOPs: widths
    1e10: (8, 12, 16, 20, 24),
    3e10: (8, 12, 16, 20, 28),
    9e10: (16, 20, 28, 36),
    2.7e11: (20, 28, 36, 48),
}
SEEDS = {1e10: 3, 3e10: 3, 9e10: 3, 2.7e11: 2}
GRID_RUNS = [(width, flops, seed) for flops in GRID for width in GRID[flops] for seed in range(SEEDS[flops])]


def trained(runs: list[tuple], cache: bool = True) -> list[dict]:
    """What came of each run: (width, FLOPs, seed), or with lr times width besides. What is cached is not run again."""
    ids = np.frombuffer(default_corpus().read_bytes(), dtype=np.uint8)
    data, heldout = Tokens(ids[: len(ids) * 9 // 10]), Tokens(ids[len(ids) * 9 // 10 :])
    where = {"jobs": int(os.environ.get("CS336LITE_JOBS", 1)), "dask": os.environ.get("CS336LITE_DASK")}
    where |= {"cache": data_folder() / "08_scaling", "progress": True} if cache else {"progress": False, "jobs": 1}
    experiments = [run_of(*run) for run in runs]
    done = sweep(experiments, data, validation=heldout, **where)
    return [row(*each) for each in zip(runs, experiments, done)]


# %%
def run_of(width: int, flops: float, seed: int, lr_times_width: float = 0.24) -> Experiment:
    return isoflop_run(width, flops, seed, lr_times_width=lr_times_width)


def row(run: tuple, experiment: Experiment, done: Any) -> dict:
    """A run as a line of a table."""
    model, training, (width, flops, seed, *_) = experiment.model, experiment.training, run
    tokens = training.steps * training.batch_size * model.context_length
    size = {"size": active_parameters(model.shape), "embedding": model.vocab_size * width, "tokens": tokens}
    return {"flops": flops, "width": width, "seed": seed, "lr": training.lr, **size, "loss": done.final}


# %% [markdown]
# The whole sweep takes about ten minutes of one idle core, so the lecture reads what was recorded. To make it again, in
# two processes, or on a dask cluster (`CS336LITE_DASK=tcp://scheduler:8786`); what is done is kept, so it may be
# stopped:
#
#     CS336LITE_JOBS=2 CS336LITE_RECOMPUTE=08_isoflop.json jupyter execute notebooks/08_scaling.ipynb

# %%
configuration = describe([run_of(*run) for run in GRID_RUNS])
RUNS = recorded("08_isoflop.json", lambda: trained(GRID_RUNS), configuration)
print(source("08_isoflop.json"))


def column(name: str, rows: list[dict] = RUNS) -> np.ndarray:
    return np.array([run[name] for run in rows])


N, D, L, C = column("size"), column("tokens"), column("loss"), column("flops")
print(f"{len(RUNS)} runs, {sum(6 * N * D):.2g} FLOPs, losses from {L.min():.2f} to {L.max():.2f} nats a byte")
assert len(GRID) >= 4 and all(len(widths) >= 4 for widths in GRID.values()) and len(RUNS) >= 4 * 4 * 2

# %% [markdown]
# A record is worth what it can be checked by. Here is the smallest budget again, one seed of it, trained now.

# %% tags=["timing"]
smallest = [run for run in GRID_RUNS if run[1] == min(GRID) and run[2] == 0]
for run in smallest if HAVE_MODEL.or_show("smallest budget") else []:
    (now,) = trained([run], cache=False)
    (kept,) = [old for old in RUNS if all(old[name] == now[name] for name in ("flops", "width", "seed"))]
    print(f"width {now['width']:>2}: recorded {kept['loss']:.4f}, now {now['loss']:.4f}")
    assert abs(kept["loss"] - now["loss"]) < 0.1, YOURS  # another processor or version rounds otherwise

# %% [markdown]
# **Predict.** The budget grows by 27 from the smallest to the largest. By how much does the best size grow?

# %%
guess = None  # times

iso = fit_profiles(C, N, D, L)
redrawn = bootstrap_profiles(C, N, D, L)
small, large = iso.profiles[0], iso.profiles[-1]
reveal("the best size grows by", f"{large.size / small.size:.1f} times", guess)
for profile in iso.profiles:
    print(
        f"{profile.flops:.1e} FLOPs: best N {profile.size:8,.0f}, D {profile.tokens:10,.0f}, "
        f"{profile.tokens / profile.size:5.0f} tokens a weight, loss {profile.loss:.3f}"
    )
a, (low, high) = iso.size.exponent, interval([each.size.exponent for each in redrawn])
b = iso.tokens.exponent
print(f"N grows as C^{a:.2f} (95 % interval {low:.2f} to {high:.2f}), D as C^{b:.2f}")
assert small.size < large.size and 0 < low < a < high < 1 and abs(a + b - 1) < 0.02

# %%
fig, (left, right) = axes(1, 2, size=(9, 3.6), title="IsoFLOP profiles of models trained here, and their minima")
colors = list(COLORS.values())
for profile, color in zip(iso.profiles, colors):
    here = profile.flops == C
    left.plot(N[here], L[here], "o", color=color, markersize=4)
    grid = np.geomspace(N[here].min(), N[here].max())
    left.plot(grid, profile(grid), color=color, label=f"{profile.flops:.1e}")
    left.plot(profile.size, profile.loss, "*", color=color, markersize=13, markeredgecolor="white")
left.set(xscale="log", xlabel="weights N", ylabel="validation loss (nats per byte)")
left.set_xticks([4e3, 1e4, 2e4, 4e4, 8e4], ["4k", "10k", "20k", "40k", "80k"])
left.set_xticks([], minor=True)
left.legend(title="FLOPs")
budgets, ahead = [profile.flops for profile in iso.profiles], np.geomspace(8e9, 1e12)
for sample in redrawn:
    right.plot(ahead, sample.size(ahead), color=COLORS["sky_blue"], alpha=0.05)
right.plot(ahead, iso.size(ahead), color=COLORS["blue"], label=f"N ∝ C^{a:.2f}")
right.plot(
    budgets, [profile.size for profile in iso.profiles], "*", color=COLORS["vermillion"], markersize=11, label="minima"
)
right.set(xscale="log", yscale="log", xlabel="FLOPs C", ylabel="best size N (weights)")
finish(fig)

# %% [markdown]
# Was the learning rate fair to every size? Half and twice the rule, at the second budget:

# %%
OTHER_RATES = [(width, 3e10, 0, rate) for width in (28, 12) for rate in (0.12, 0.48)]
RATES = recorded("08_rates.json", lambda: trained(OTHER_RATES), describe([run_of(*run) for run in OTHER_RATES]))
for width in (12, 28):
    here = [run for run in RUNS if (run["flops"], run["width"], run["seed"]) == (3e10, width, 0)]
    tried = sorted([*here, *(run for run in RATES if run["width"] == width)], key=lambda run: run["lr"])
    print(f"width {width:>2}: " + ", ".join(f"{run['loss']:.3f} at {run['lr']:.4f}" for run in tried))
    assert here[0]["loss"] < min(run["loss"] for run in tried) + 0.1

# %% [markdown]
# ## 3 · One law for all runs
#
# Approach 3 of the same paper fits all runs at once, with a law for every $N$ and $D$:
#
# $$L(N, D) = E + \frac{A}{N^\alpha} + \frac{B}{D^\beta}$$
#
# $E$ is what no model can remove, the second term is what a finite model adds, the third what finite data adds. On a
# budget $C=6ND$ the best split has a closed form: $\alpha A / N^\alpha = \beta B / D^\beta$, so
#
# $$N^* = G \left(\tfrac{C}{6}\right)^{\frac{\beta}{\alpha + \beta}}, \quad D^* = \tfrac{C}{6} / N^*, \quad
# G = \left(\tfrac{\alpha A}{\beta B}\right)^{\frac{1}{\alpha + \beta}}.$$


# %%
#| export
@dataclass(frozen=True)
class Surface:
    """L(N, D) = E + A / N ** alpha + B / D ** beta (Hoffmann et al. 2022)."""

    E: int | float  # what no model and no data removes: the entropy of the text
    A: int | float
    B: int | float
    alpha: int | float
    beta: int | float

    def __call__(self, size: Any, tokens: Any) -> Any:
        return self.E + self.A / size**self.alpha + self.B / tokens**self.beta

    @property
    def size_exponent(self) -> float:  # the best N grows as C to this power, the best D as C to the rest
        return self.beta / (self.alpha + self.beta)


# the paper prints 1.69, 0.34 and 0.28; these digits are those of its source, and give its exponents
CHINCHILLA = Surface(E=1.6934, A=406.4, B=410.7, alpha=0.3392, beta=0.2849)  # arXiv 2203.15556, approach 3
REPLICATION = Surface(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)  # the same runs, arXiv 2404.10102


# %%
#| export
@dataclass(frozen=True)
class Allocation:
    """A size, a number of tokens and the loss that is expected of them."""

    size: float
    tokens: float
    loss: float


def compute_optimal(surface: Surface, flops: int | float) -> Allocation:
    """The size and tokens of least loss with 6 N D = flops: where alpha A / N^alpha = beta B / D^beta.

    ValueError: a budget, or a constant but E, that is not finite and above 0.

    >>> best = compute_optimal(REPLICATION, 5.76e23)     # Chinchilla's budget; it had 70e9 and 1.4e12
    >>> f"{best.size:.2g} {best.tokens:.2g} {best.loss:.2f}"
    '7.2e+10 1.3e+12 1.97'
    """
    s = surface
    _positive(flops=flops, A=s.A, B=s.B, alpha=s.alpha, beta=s.beta)
    g = (s.alpha * s.A / (s.beta * s.B)) ** (1 / (s.alpha + s.beta))
    size = float(g * (flops / 6) ** s.size_exponent)
    tokens = float(flops / 6 / size)
    return Allocation(size, tokens, s(size, tokens))


# %% [markdown]
# The fit minimises the Huber loss of $\ln L$. It is not convex, so it starts from the best points of a grid; for given
# $\alpha$, $\beta$, $E$ the rest is linear. Two traps: an optimiser that stops early, since errors of a percent make tiny
# sums (section 4 has a famous case), and runs in which $N$ and $D$ always grow together, so that nobody can tell which
# of them helped.


# %%
#| export
def fit_surface(
    sizes: Numbers, tokens: Numbers, losses: Numbers, *, huber: float = 1e-3, starts: int = 12, near: Surface | None = None
) -> Surface:  # fmt: skip
    """The `Surface` with the least sum of Huber losses of ln L, from the best ``starts`` of a grid, or from ``near``.

    FitError: fewer than 6 runs, 5 pairs of size and tokens, or 3 of either; sizes and tokens on one line, so that the two
    cannot be told apart; losses that do not fall with size or with tokens, or not clearly: a law without that term must
    have errors so much larger that scatter alone would do it in 5 % of all cases (F test). ``near``, for redrawn losses,
    trusts that.
    """
    _positive(huber=huber, starts=starts)
    sizes, tokens, losses = _columns(6, sizes=sizes, tokens=tokens, losses=losses)
    u, v = np.log(sizes), np.log(tokens)
    _check_apart(u, v)
    middle = u.mean(), v.mean()
    u, v, target = u - middle[0], v - middle[1], np.log(losses)
    first = _starts(u, v, losses, starts) if near is None else [_packed(near, *middle)]
    errors, slopes = lambda p: _log_loss(p, u, v) - target, lambda p: _slopes(p, u, v)
    best = _best(errors, first, huber, slopes)
    surface = _unpacked(best.x, *middle)
    if near is None:
        _check_terms(best, lambda i: _best(errors, _without(i, [best.x, *first[:2]]), huber, slopes, without=i))
    return surface


# %%
#| export
BOUNDS = ([-50, -50, -50, 0, 0], [50, 50, 50, 5, 5])  # of (ln A, ln B, ln E, alpha, beta); exponents end well inside


def _best(
    errors: Callable, starts: list[np.ndarray], huber: float, slopes: Callable, without: int | None = None
) -> Any:  # fmt: skip
    """The fit of least cost from these starts; ``without`` a term: 0 for that of the size, 1 for that of the tokens."""
    low, high = map(list, BOUNDS)
    if without is not None:
        high[without] = -48  # its logarithm: nothing
    return min((_huber(errors, p, huber, slopes, bounds=(low, high)) for p in starts), key=lambda fit: fit.cost)


def _without(term: int, starts: list[np.ndarray]) -> list[np.ndarray]:
    return [np.where(np.arange(5) == term, -49.0, p) for p in starts]


# %%
#| export
def _check_apart(u: np.ndarray, v: np.ndarray) -> None:
    """FitError when what sizes and tokens do cannot be told apart; these are their logarithms."""
    for name, column in (("sizes", u), ("tokens", v)):
        if len(np.unique(column)) < 3:
            raise FitError(f"{len(np.unique(column))} different {name}: the law needs at least 3")
    if len(pairs := np.unique(np.stack([u, v]), axis=1).T) < 5:
        raise FitError(f"{len(pairs)} different pairs of size and tokens: the law has 5 constants")
    if abs(np.corrcoef(u, v)[0, 1]) > 0.9999:
        raise FitError("sizes and tokens lie on one line: what each of them does cannot be told apart")


def _check_terms(best: Any, without: Callable[[int], Any]) -> None:
    """FitError when the losses are told about as well without one of the two terms, as an F test has it."""
    size, free = np.abs(best.fun).sum(), len(best.fun) - 5
    for term, name in enumerate(("size", "tokens")):
        gain = (np.abs(without(term).fun).sum() - size) / 2
        if gain <= stats.f.ppf(0.95, 2, free) * size / free:
            raise FitError(f"the losses do not fall clearly with {name}: they scatter as much as that term explains")


# %%
#| export
def _terms(p: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The three terms of the loss; p = (ln A, ln B, ln E, alpha, beta), with A and B taken at the middle of the runs."""
    return np.exp(p[0] - p[3] * u), np.exp(p[1] - p[4] * v), np.exp(p[2])


def _log_loss(p: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.log(sum(_terms(p, u, v)))


def _slopes(p: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Derivatives of `_log_loss` by p, a row for each run."""
    a, b, e = _terms(p, u, v)
    return np.stack([a, b, e + 0 * u, -u * a, -v * b], axis=1) / (a + b + e)[:, None]


def _packed(s: Surface, u: float, v: float) -> np.ndarray:
    return np.array([math.log(s.A) - s.alpha * u, math.log(s.B) - s.beta * v, math.log(s.E), s.alpha, s.beta])


# %%
#| export
def _starts(u: np.ndarray, v: np.ndarray, losses: np.ndarray, count: int) -> list[np.ndarray]:
    """The best of a grid over alpha, beta and E, where A and B are the best for these: a linear problem."""
    found = []
    for alpha in (0.1, 0.2, 0.35, 0.5, 0.8, 1.2):
        for beta in (0.1, 0.2, 0.35, 0.5, 0.8, 1.2):
            for share in (0.1, 0.4, 0.7, 0.9):
                E = share * losses.min()
                terms = np.stack([np.exp(-alpha * u), np.exp(-beta * v)], axis=1)
                A, B = np.maximum(np.linalg.lstsq(terms, losses - E)[0], 1e-3 * losses.min())
                p = np.array([math.log(A), math.log(B), math.log(E), alpha, beta])
                found.append((np.abs(_log_loss(p, u, v) - np.log(losses)).sum(), len(found), p))
    return [p for *_, p in sorted(found, key=lambda start: start[:2])[:count]]


def _unpacked(p: np.ndarray, u: float, v: float) -> Surface:
    """The surface of these parameters. FitError where a term does not fall."""
    for name, exponent in (("size", p[3]), ("tokens", p[4])):
        if not 1e-3 < exponent < 4.9:
            raise FitError(f"the losses do not fall with {name} as a power law: the exponent would be {exponent:.2g}")
    logs = np.array([p[2], p[0] + p[3] * u, p[1] + p[4] * v])
    if logs.max() > LARGEST:
        raise FitError("a constant would be no float: are the sizes and tokens what you meant?")
    return Surface(*np.exp(logs).tolist(), float(p[3]), float(p[4]))


# %%
#| export
@dataclass(frozen=True)
class Estimate:
    """A surface, others that the runs allow as well (bootstrap), and the errors of the fit as logarithms."""

    surface: Surface
    samples: tuple[Surface, ...]
    errors: tuple[float, ...]

    def interval(self, of: Callable[[Surface], float], level: int | float = 0.95) -> tuple[float, float]:
        """Between which values ``of(surface)`` lies: an exponent, a size, a loss."""
        return interval([of(sample) for sample in self.samples], level)

    def run_interval(self, size: int | float, tokens: int | float, level: int | float = 0.95) -> tuple[float, float]:
        """Between which losses one more run of this size lies: doubt about the law, and the scatter of runs."""
        noise = np.resize(np.exp(self.errors), len(self.samples))
        return interval([sample(size, tokens) * factor for sample, factor in zip(self.samples, noise)], level)


# %%
#| export
def estimate_surface(
    sizes: Numbers, tokens: Numbers, losses: Numbers, *, huber: float = 1e-3, draws: int = 200, seed: int = 0
) -> Estimate:  # fmt: skip
    """`fit_surface`, and again on redrawn losses; FitError as there."""
    sizes, tokens, losses = _columns(6, sizes=sizes, tokens=tokens, losses=losses)
    best = fit_surface(sizes, tokens, losses, huber=huber)
    predicted = best(sizes, tokens)

    def again(redrawn: np.ndarray) -> Surface:
        return fit_surface(sizes, tokens, redrawn, huber=huber, near=best)

    samples = bootstrap(again, predicted, losses, parameters=5, draws=draws, seed=seed)
    return Estimate(best, tuple(samples), tuple(np.log(losses / predicted).tolist()))


# %% [markdown]
# First where the truth is known. We draw losses from published constants, at 60 sizes and lengths, with 0.5 % of noise.
#
# **Predict.** How far is the exponent $a = \beta / (\alpha + \beta)$ off? And the constant $A$?

# %%
guess = None  # percent (a, A)

rng = np.random.default_rng(0)
sizes, budget = np.tile(np.geomspace(1e8, 1e10, 12), 5), np.repeat(np.geomspace(1e19, 1e22, 5), 12)
truth, tokens = REPLICATION, budget / 6 / sizes
exact = fit_surface(sizes, tokens, truth(sizes, tokens))
noisy = estimate_surface(sizes, tokens, truth(sizes, tokens) * np.exp(0.005 * rng.standard_normal(60)))
print("without noise", exact)
print("with noise   ", noisy.surface)
off = [abs(f(noisy.surface) / f(truth) - 1) for f in (lambda s: s.size_exponent, lambda s: s.A)]
reveal("off by, in percent", [round(100 * x, 1) for x in off], guess)
for name, of in {"a": lambda s: s.size_exponent, "E": lambda s: s.E, "A": lambda s: s.A}.items():
    low, high = noisy.interval(of)
    print(f"{name}: truth {of(truth):.4g}, fitted {of(noisy.surface):.4g}, 95 % interval {low:.4g} to {high:.4g}")
assert all(abs(getattr(exact, name) / getattr(truth, name) - 1) < 1e-3 for name in ("E", "A", "B", "alpha", "beta"))
assert low < truth.A < high and off[0] < off[1]

# %% [markdown]
# The exponents and the best split come out well long before $A$ and $B$ do: these stand for sizes of one weight and
# one token, a hundred million times outside the runs. Do not compare them between papers.
#
# Now our own runs. **Predict.** Does the law agree with the parabolas about the exponent?

# %%
guess = None  # (a of the parabolas, a of the law)

ours = estimate_surface(N, D, L)
law, (low, high) = ours.surface, ours.interval(lambda s: s.size_exponent)
print(f"L = {law.E:.2f} + {law.A:.3g} / N^{law.alpha:.2f} + {law.B:.3g} / D^{law.beta:.2f}")
reveal("exponents of the best size", (round(iso.size.exponent, 2), round(law.size_exponent, 2)), guess)
print(f"95 % interval of the law's: {low:.2f} to {high:.2f}; typical error of a run {100 * np.std(ours.errors):.1f} %")
for profile in iso.profiles:
    best = compute_optimal(law, profile.flops)
    print(f"{profile.flops:.1e} FLOPs: best size {profile.size:8,.0f} by parabola, {best.size:8,.0f} by law")
assert low < iso.size.exponent < high

# %% [markdown]
# ## 4 · Kaplan, Chinchilla, and what was counted
#
# Kaplan et al. (2020, 2001.08361) found $N^* \propto C^{0.73}$: ten times the compute, a model 5.4 times as large, and
# the time's models were built so. Hoffmann et al. found $C^{0.5}$: 3.2 times. Their table of compute-optimal runs
# (approach 1):


# %%
#| export
PF_DAY = 1e15 * 86_400  # Kaplan et al. count compute in days of 1e15 FLOP/s, and neither embeddings nor their FLOPs
KAPLAN_SIZE = PowerLaw(1.3e9 / PF_DAY**0.73, 0.73)  # arXiv 2001.08361, appendix A

# arXiv 2203.15556, table 3: sizes, and the FLOPs and tokens for which approach 1 calls them the best
CHINCHILLA_TABLE = {
    "sizes": (4e8, 1e9, 1e10, 6.7e10, 1.75e11, 2.8e11, 5.2e11, 1e12, 1e13),
    "flops": (1.92e19, 1.21e20, 1.23e22, 5.76e23, 3.85e24, 9.90e24, 3.43e25, 1.27e26, 1.30e28),
    "tokens": (8e9, 20.2e9, 205.1e9, 1.5e12, 3.7e12, 5.9e12, 11e12, 21.2e12, 216.2e12),
}


# %%
table = {name: np.array(values) for name, values in CHINCHILLA_TABLE.items()}
by_size = fit_power_law(table["flops"], table["sizes"])
by_tokens = fit_power_law(table["flops"], table["tokens"])
print(f"Chinchilla's table: N as C^{by_size.exponent:.3f}, D as C^{by_tokens.exponent:.3f}")
print("tokens a weight:", ", ".join(f"{ratio:.1f}" for ratio in table["tokens"] / table["sizes"]))
assert abs(by_size.exponent - 0.5) < 0.005 and abs(by_tokens.exponent - 0.5) < 0.005

# %% [markdown]
# Approach 3 of the same paper printed constants of a law like ours. Besiroglu et al. (2024, 2404.10102) read the runs
# off its figure and fitted them again: the printed law does not fit them, its intervals would need hundreds of
# thousands of runs, and the optimiser had stopped too early.
#
# **Predict.** Chinchilla had 70 billion weights, 1.4 trillion tokens and 5.76e23 FLOPs. What does each law advise?

# %%
guess = None  # weights, in billions: (printed constants, replication, Kaplan)

budget = 5.76e23
advice = {
    "printed constants": compute_optimal(CHINCHILLA, budget).size,
    "replication": compute_optimal(REPLICATION, budget).size,
}
advice["approach 1"], advice["Kaplan"] = by_size(budget), KAPLAN_SIZE(budget)
for name, size in advice.items():
    print(f"{name:<18} {size / 1e9:6.0f} billion weights, {budget / 6 / size**2:6.1f} tokens a weight")
reveal("in billions", [round(size / 1e9) for size in advice.values()], guess)
assert abs(advice["replication"] / 70e9 - 1) < 0.1 and advice["printed constants"] < 0.65 * 70e9
assert advice["Kaplan"] > 5 * advice["approach 1"]
print(f"exponents: printed {CHINCHILLA.size_exponent:.2f}, replication {REPLICATION.size_exponent:.2f}, Kaplan 0.73")

# %% [markdown]
# ### Why Kaplan's exponent was so large
#
# Kaplan counted weights and FLOPs without embeddings, and measured at small sizes, where embeddings are most of the
# model. Pearce & Song (2024, 2406.12907) take Chinchilla's law for the truth and look at it through Kaplan's counts. An
# embedding grows with the width, and the width as the cube root of the rest: $N_\text{whole} = N + \omega N^{1/3}$,
# with $\omega = 47{,}491$ for a vocabulary of 32,000. Compute-optimal runs then lie on a curve, and the exponent is its
# slope.


# %%
#| export
def kaplan_view(surface: Surface, sizes: Numbers, embedding: int | float) -> tuple[np.ndarray, np.ndarray]:
    """Compute-optimal runs as one sees them who counts no embeddings: FLOPs 6 N D for each non-embedding size N.

    The whole model has N + embedding * N ** (1/3) weights, since an embedding grows with the width (arXiv 2406.12907).
    """
    (n,) = _columns(1, sizes=sizes)
    if not 0 <= embedding < math.inf:
        raise ValueError(f"embedding is {embedding}, but must be finite and not negative")
    whole = n + embedding * n ** (1 / 3)
    growth = (n + embedding / 3 * n ** (1 / 3)) / whole  # d ln whole / d ln n
    s = surface
    tokens = (s.beta * s.B * whole**s.alpha / (s.alpha * s.A * growth)) ** (1 / s.beta)
    return 6 * n * tokens, tokens


# %% [markdown]
# **Predict.** The truth is 0.51. Which exponent does Kaplan see, between 768 and 1.5 billion weights?

# %%
guess = None  # exponent

sizes = np.geomspace(768, 1.5e9, 50)  # Kaplan's range
seen = {name: kaplan_view(s, sizes, 47_491) for name, s in (("printed", CHINCHILLA), ("replication", REPLICATION))}
found = {name: fit_power_law(flops, sizes).exponent for name, (flops, _) in seen.items()}
reveal("exponents seen", {name: round(a, 2) for name, a in found.items()}, guess)
large = np.geomspace(1e11, 1e13, 20)
far = fit_power_law(kaplan_view(REPLICATION, large, 47_491)[0], large).exponent
print(
    f"at 1e11 to 1e13 weights, where embeddings are a sliver: {far:.2f}; counted whole: {REPLICATION.size_exponent:.2f}"
)
assert all(0.7 < a < 0.8 for a in found.values()) and abs(far - REPLICATION.size_exponent) < 0.02

flops = seen["replication"][0]
fig, ax = axes(xlabel="FLOPs without embeddings", ylabel="weights without embeddings", size=(6.4, 3.4))
ax.plot(flops, sizes, color=COLORS["blue"], linewidth=2.5, label="Chinchilla's law, Kaplan's counts")
ax.plot(flops, KAPLAN_SIZE(flops), "--", color=COLORS["vermillion"], label="Kaplan: C^0.73")
whole = [compute_optimal(REPLICATION, c).size for c in flops]
ax.plot(
    flops, whole, ":", color=COLORS["black"], label=f"Chinchilla's law, all counted: C^{REPLICATION.size_exponent:.2f}"
)
ax.set(xscale="log", yscale="log", title="One law, two ways to count")
finish(fig)

# %% [markdown]
# Porian et al. (2024, 2406.19146) trained the models and name three causes: the FLOPs of the last layer left out, a
# warmup too long for small models, and hyperparameters not tuned to the size. Cosine decay to the right length, which
# Hoffmann et al. suspected, mattered little. All agree on about 0.5.
#
# Do our runs show it too? We fit them again with $N$ counted without the output layer.
#
# **Predict.** Is the exponent larger or smaller than before?

# %%
guess = None  # "larger" or "smaller"

bare = N - column("embedding")
without = estimate_surface(bare, D, L)
low, high = without.interval(lambda s: s.size_exponent)


def change(redrawn: np.ndarray) -> float:
    """How the exponent differs between the two counts of the same losses."""
    other = fit_surface(bare, D, redrawn, near=without.surface)
    return other.size_exponent - fit_surface(N, D, redrawn, near=law).size_exponent


both = (round(law.size_exponent, 2), round(without.surface.size_exponent, 2))
reveal("exponents, all counted and without output layer", both, guess)
print(
    f"share of the output layer: {1 - min(bare / N):.0%} in the smallest, {1 - max(bare / N):.0%} in the largest model"
)
changes = interval(bootstrap(change, law(N, D), L, parameters=5))
print(f"95 % interval without: {low:.2f} to {high:.2f}; of the difference: {changes[0]:+.2f} to {changes[1]:+.2f}")
assert changes[0] > 0

# %% [markdown]
# ## 5 · A prediction before the run
#
# Now the test that matters. The runs above end at 2.7e11 FLOPs. We ask for three times as much: the parabolas choose
# the size, the law says the loss. Both are fixed before the run begins.


# %%
#| export
@dataclass(frozen=True)
class Forecast:
    """What smaller runs foretold of one run, with a 95 % interval, and what it came to."""

    size: float
    tokens: float
    predicted: float
    interval: tuple[float, float]
    observed: float

    @property
    def miss(self) -> float:
        return self.observed - self.predicted


# %%
#| export
def extrapolate(
    sizes: Numbers, tokens: Numbers, losses: Numbers, *, above: int | float, draws: int = 200, seed: int = 0
) -> list[Forecast]:  # fmt: skip
    """Forecasts of the runs of more than ``above`` FLOPs (6 N D), from a surface that is fitted to the others.

    FitError where those others do not determine one, or where there is nothing to foretell.
    """
    sizes, tokens, losses = _columns(6, sizes=sizes, tokens=tokens, losses=losses)
    later = 6 * sizes * tokens > above
    if not later.any():
        raise FitError(f"no run has more than {above:.3g} FLOPs: nothing is held out")
    law = estimate_surface(sizes[~later], tokens[~later], losses[~later], draws=draws, seed=seed)
    runs = zip(sizes[later].tolist(), tokens[later].tolist(), losses[later].tolist())
    return [Forecast(n, d, law.surface(n, d), law.run_interval(n, d), loss) for n, d, loss in runs]


# %% [markdown]
# **Predict.** The law fits its own runs to within about 4 %. How far off will it be on a run three times as large?

# %%
guess = None  # percent

LARGER = 8.1e11
width = min(range(16, 96, 8), key=lambda w: abs(math.log(active_parameters(isoflop_model(w).shape) / iso.size(LARGER))))
planned = run_of(width, LARGER, 0)
size = active_parameters(planned.model.shape)
tokens = planned.training.steps * planned.training.batch_size * planned.model.context_length
low, high = ours.run_interval(size, tokens)
print(f"before: {LARGER:.1e} FLOPs, width {width}, {size:,} weights, {tokens:,} tokens")
print(f"before: loss {law(size, tokens):.3f}, 95 % interval {low:.3f} to {high:.3f}")

# %%
larger_runs = [(width, LARGER, seed) for seed in (0, 1)]
AFTER = recorded("08_larger.json", lambda: trained(larger_runs), describe([run_of(*run) for run in larger_runs]))
everything = RUNS + AFTER
forecasts = extrapolate(*(column(name, everything) for name in ("size", "tokens", "loss")), above=1.01 * max(GRID))
for forecast in forecasts:
    low, high = forecast.interval
    print(
        f"foretold {forecast.predicted:.3f} ({low:.3f} to {high:.3f}), "
        f"came to {forecast.observed:.3f}: {forecast.miss:+.3f}"
    )
miss = np.mean([forecast.miss for forecast in forecasts])
reveal("off by", f"{100 * miss / forecasts[0].predicted:+.1f} %", guess)
print(source("08_larger.json"))
assert abs(miss) < 0.15 * forecasts[0].predicted  # near,
assert all(forecast.observed < forecast.interval[0] for forecast in forecasts)  # and yet outside

lowest = fit_power_law([profile.flops for profile in iso.profiles], [profile.loss for profile in iso.profiles])
print(f"afterwards: a power law through the lowest losses, without E: {lowest(LARGER):.3f}")
assert abs(lowest(LARGER) - forecasts[0].observed) < abs(miss)

# %% [markdown]
# The run came out better than the law said, and below its interval. A law without $E$, a mere power of $C$ through the
# lowest losses, would have been closer; we know that only afterwards. The runs are too far from $E$ to determine it, and
# whatever the fit takes for $E$ no larger run can get below.
#
# And a run that is in no record: a fit to the three smaller budgets foretells one of the largest, which is trained now.

# %% tags=["timing"]
if HAVE_MODEL.or_show("a larger run"):
    (now,) = trained([(48, 2.7e11, 2)], cache=False)
    smaller = [run for run in RUNS if run["flops"] < 2.7e11]
    (told,) = extrapolate(*(column(name, [*smaller, now]) for name in ("size", "tokens", "loss")), above=1e11)
    low, high = told.interval
    print(f"foretold {told.predicted:.3f} ({low:.3f} to {high:.3f}), came to {told.observed:.3f}: {told.miss:+.3f}")
    assert abs(told.miss) < 0.15 * told.predicted, YOURS

# %% [markdown]
# And how does the miss grow with the distance? Fit to the smaller budgets only, and foretell all larger ones.

# %%
fig, ax = axes(
    xlabel="FLOPs of the run foretold / largest FLOPs fitted", ylabel="loss observed − foretold (nats)", size=(6.4, 3.4)
)
names, last = ("size", "tokens", "loss"), 0
for above, color in zip(sorted(GRID)[1:], (COLORS["vermillion"], COLORS["orange"], COLORS["blue"])):
    found = extrapolate(*(column(name, everything) for name in names), above=1.01 * above)
    ratio = [6 * f.size * f.tokens / above for f in found]
    ax.plot(ratio, [f.miss for f in found], "o", color=color, markersize=5, label=f"fitted up to {above:.1e}")
    worst = max(abs(f.miss) for f in found)
    inside = np.mean([f.interval[0] <= f.observed <= f.interval[1] for f in found])
    print(
        f"fitted up to {above:.1e}: worst miss {worst:.3f} nats, "
        f"{inside:.0%} of {len(found)} runs inside their interval"
    )
    assert inside < 0.7
ax.axhline(0, color=COLORS["black"], linewidth=1)
ax.set(xscale="log", title="Extrapolation error of held-out runs")
ax.set_xticks([3, 9, 27], ["3", "9", "27"])
ax.set_xticks([], minor=True)
finish(fig)

# %% [markdown]
# Nearly all runs come out better than foretold, and far fewer than 95 % fall inside their 95 % interval, whichever
# budgets are fitted. The interval knows the scatter of runs and the doubt about the five constants, and nothing about
# whether the law has the right form. A law that fits every run to 4 % can miss the next ones by 12 %.
#
# ## 6 · The planner
#
# Now the question of the beginning, for a budget that somebody pays for. The law (the replication, unless you give your
# own) gives $N$ and $D$; a shape near $N$ comes from lecture 04's aspect ratio; lecture 02 gives FLOPs with attention's
# square, memory and days. Learning rate and batch are power laws too, here those of DeepSeek LLM (2401.02954), which
# were fitted at 1e17 to 2e19 FLOPs.


# %%
#| export
@dataclass(frozen=True)
class Hardware:
    """A device: FLOP/s of dense matrix products in bfloat16 (float32 on a CPU), and bytes of memory."""

    name: str
    peak_flops: float
    memory: float


HARDWARE = {
    "H100": Hardware("NVIDIA H100 SXM", 989e12, 80e9),
    "H200": Hardware("NVIDIA H200 SXM", 989e12, 141e9),
    "A100": Hardware("NVIDIA A100 SXM", 312e12, 80e9),
    "RTX 4090": Hardware("NVIDIA GeForce RTX 4090", 165e12, 24e9),
    "CPU core": Hardware("one core of a laptop, about", 7e10, 8e9),
}
"""Peaks of the makers' data sheets, without sparsity."""

# best peak learning rate and tokens in a batch as power laws of C (DeepSeek LLM, arXiv 2401.02954)
LEARNING_RATE, BATCH_TOKENS = PowerLaw(0.3118, -0.1250), PowerLaw(0.2920, 0.3271)


# %%
#| export
def shape_near(
    size: int | float, vocab_size: int = 32_000, context_length: int = 2_048, aspect: int | float = 128
) -> ModelShape:
    """A Llama-like shape (SwiGLU, tied embeddings) of about this many weights, with d_model / num_layers about aspect.

    ValueError when the vocabulary alone takes more, or no width up to 32,640 is near the aspect.

    >>> shape = shape_near(7e9)
    >>> shape.d_model, shape.num_layers, shape.num_heads, round(active_parameters(shape) / 1e9, 1)
    (4224, 32, 33, 7.0)
    """
    _positive(size=size, vocab_size=vocab_size, context_length=context_length, aspect=aspect)
    found = []
    for d in [*range(8, 128, 8), *range(128, 1_024, 64), *range(1_024, 32_768, 128)]:
        head = 8 if d < 128 else 64 if d < 1_024 else 128
        d_ff = 8 * round(d / 3) if d < 128 else 64 * round(d / 24)
        block = 4 * d**2 + 3 * d * d_ff  # queries, keys, values, outputs; gate, up, down
        layers = max(1, round((size - vocab_size * d) / block))
        off = abs(math.log((vocab_size * d + layers * block) / size))
        found.append((20 * max(off - 0.02, 0) + abs(math.log(d / layers / aspect)), off, d, layers, d // head, d_ff))
    _, off, d, layers, heads, d_ff = min(found)
    if off > 0.5 or (d == 32_640 and layers > 4 * d / aspect):
        raise ValueError(f"no shape has about {size:.3g} weights, a vocabulary of {vocab_size}, an aspect of {aspect}")
    return ModelShape(vocab_size, context_length, d, layers, heads, d_ff, glu=True, tied_embeddings=True)


# %%
#| export
@dataclass(frozen=True)
class Plan:
    """What to train with a budget. ``str`` gives it as a table."""

    flops: int | float  # of training
    shape: ModelShape
    size: int  # weights that a token is multiplied by
    tokens: int | float
    loss: float
    loss_interval: tuple[float, float] | None  # None when the law came without samples
    learning_rate: float
    batch_tokens: int
    steps: int
    devices: int
    hardware: Hardware
    days: float
    state_bytes: int  # weights, gradients and AdamW, over all devices together
    device_bytes: float  # on each: its share of the state, and the activations of one sequence
    inference_tokens: int | float = 0

    def __str__(self) -> str:
        return "\n".join(f"{name:<14}{value}" for name, value in _rows(self))


# %%
#| export
def _rows(p: Plan) -> list[tuple[str, str]]:
    s, gb, doubt, fits = p.shape, 1e9, p.loss_interval, p.device_bytes <= p.hardware.memory
    hours = 24 * p.days
    took = f"{p.days:.3g} days" if p.days >= 1 else f"{hours:.3g} hours" if hours >= 1 else f"{60 * hours:.3g} minutes"
    return [
        ("model", f"{p.size:.3g} weights: {s.num_layers} layers, d_model {s.d_model}, {s.num_heads} heads, d_ff {s.d_ff}"),
        ("tokens", f"{p.tokens:.3g}, {p.tokens / p.size:.3g} for each weight"),
        ("FLOPs", f"{p.flops:.3g}" + (f", and {2 * p.size * p.inference_tokens:.3g} of use" if p.inference_tokens else "")),
        ("loss", f"{p.loss:.4g} nats" + (f", 95 % interval {doubt[0]:.4g} to {doubt[1]:.4g}" if doubt else "")),
        ("training", f"{p.steps:,} steps of {p.batch_tokens:,} tokens, learning rate {p.learning_rate:.2g}"),
        ("time", f"{took} on {p.devices} x {p.hardware.name}"),
        ("memory", f"{p.state_bytes / gb:.3g} GB of state in all, {p.device_bytes / gb:.3g} GB a device of "
         f"{p.hardware.memory / gb:.3g}" + ("" if fits else ": does not fit, take more devices")),
    ]  # fmt: skip


# %%
#| export
def _device(hardware: str | Hardware, devices: int | float, mfu: int | float) -> Hardware:
    """The hardware of that name. KeyError, ValueError as `plan`."""
    if isinstance(hardware, str) and hardware not in HARDWARE:
        raise KeyError(f"no hardware {hardware!r}: there is {', '.join(HARDWARE)}, or give a Hardware of your own")
    device = HARDWARE[hardware] if isinstance(hardware, str) else hardware
    _positive(devices=devices, mfu=mfu, peak_flops=device.peak_flops, memory=device.memory)
    if mfu > 1:
        raise ValueError(f"mfu is {mfu}, but is a share of the peak: 0.4 for 40 %")
    if devices % 1:
        raise ValueError(f"devices is {devices}, but must be a whole number")
    return device


# %%
#| export
def plan(
    flops: int | float, law: Surface | Estimate = REPLICATION, *, hardware: str | Hardware = "H100", devices: int = 8,
    mfu: int | float = 0.4, vocab_size: int = 32_000, context_length: int = 2_048, aspect: int | float = 128,
    inference_tokens: int | float = 0,
) -> Plan:  # fmt: skip
    """The model and the tokens that make the most of a budget, what that takes, and the loss to expect.

    With ``inference_tokens`` the budget only says how good the model must be: as the best one for it. Size and tokens
    are then those of least cost over training and use. State is split evenly over the devices (ZeRO, FSDP), blocks are
    computed again in the backward pass, in bfloat16 with float32 masters. KeyError for hardware that has no name here,
    ValueError for numbers that make no sense; ``mfu`` is a share, 0.4 for 40 %.

    >>> plan(1e21).shape.num_layers, round(plan(1e21).tokens / 1e9), round(plan(1e21).days, 1)
    (24, 53, 3.7)
    """
    device = _device(hardware, devices, mfu)
    surface = law.surface if isinstance(law, Estimate) else law
    best = compute_optimal(surface, flops)
    if inference_tokens:
        best = overtrained(surface, best.loss, inference_tokens)
    shape = shape_near(best.size, vocab_size, context_length, aspect)
    return _planned(law, best, shape, device, devices, mfu, flops, inference_tokens)


# %%
#| export
def _planned(law: Surface | Estimate, best: Allocation, shape: ModelShape, device: Hardware, devices: int, mfu: float,
             flops: int | float, inference_tokens: int | float) -> Plan:  # fmt: skip
    size, seq = active_parameters(shape), shape.context_length
    a_token = training_flops(shape, 1, seq).total / seq  # attention's square included, so the budget is kept
    tokens = best.tokens if inference_tokens else flops / a_token
    spent = a_token * tokens
    batch = seq * max(1, round(BATCH_TOKENS(spent) / seq))
    state = accounting.training_memory(shape, "adamw", "mixed").total
    kept = accounting.activation_bytes(shape, 1, seq, itemsize=2, recompute="block")
    surface, doubt = law, None
    if isinstance(law, Estimate):
        surface, doubt = law.surface, law.run_interval(size, tokens)
    return Plan(
        flops=spent, shape=shape, size=size, tokens=tokens, loss=surface(size, tokens), loss_interval=doubt,
        learning_rate=LEARNING_RATE(spent), batch_tokens=batch, steps=math.ceil(tokens / batch),
        devices=devices, hardware=device,
        days=accounting.training_days(spent, devices=devices, peak_flops=device.peak_flops, mfu=mfu),
        state_bytes=state, device_bytes=state / devices + kept, inference_tokens=inference_tokens,
    )  # fmt: skip


# %% [markdown]
# **Predict.** 10²¹ FLOPs on 8 H100s: how many weights, tokens, days?

# %%
guess = None  # (weights, tokens, days)

answer = plan(1e21)
print(answer)
reveal("weights, tokens, days", (f"{answer.size:.2g}", f"{answer.tokens:.2g}", round(answer.days, 1)), guess)
assert 2e9 < answer.size < 4e9 and 15 < answer.tokens / answer.size < 25 and 3 < answer.days < 5
assert abs(answer.flops / 1e21 - 1) < 1e-9

# %% [markdown]
# The loss has no interval: published constants come without the runs behind them. With a fit of your own it has one,
# and you know from section 5 what that is worth. Here is the next budget for models like ours, on one core of a laptop,
# from all runs, the large ones too.

# %%
updated = estimate_surface(*(column(name, everything) for name in ("size", "tokens", "loss")))
next_budget = plan(1e13, updated, hardware="CPU core", devices=1, mfu=0.3, vocab_size=256, context_length=64, aspect=48)
print(next_budget)
low, high = next_budget.loss_interval
assert low < next_budget.loss < high

for name, devices in (("RTX 4090", 1), ("A100", 64), ("H100", 1_024)):
    big = plan(5.76e23, hardware=name, devices=devices)
    print(
        f"\nChinchilla's budget on {devices} × {name}: {big.days:,.0f} days, "
        f"{big.device_bytes / 1e9:,.0f} GB a device of {big.hardware.memory / 1e9:.0f}"
    )

# %% [markdown]
# ## 7 · Too small on purpose
#
# *Compute-optimal* counts training only. A model is then used: 2 N FLOPs for each token it reads or writes. If it
# serves many, a smaller one that was trained longer is cheaper over its life and just as good (Sardana et al. 2024,
# 2401.00448). Llama 3 8B saw 15 trillion tokens, about 1,900 for each weight.
#
# How much does it cost to be smaller? At one budget the profile is flat around its minimum:
#
# **Predict.** 10²¹ FLOPs: a model of half the best size, trained twice as long. How much higher is its loss?

# %%
guess = None  # percent

best = compute_optimal(REPLICATION, 1e21)
for times in (1, 1 / 2, 1 / 4, 1 / 8):
    loss = REPLICATION(best.size * times, best.tokens / times)
    print(
        f"{times:5.3f} of the size: {best.tokens / best.size / times**2:7.0f} tokens a weight, "
        f"loss {loss:.3f}, {loss / best.loss - 1:+.1%}"
    )
half = REPLICATION(best.size / 2, best.tokens * 2)
reveal("half the size", f"{half / best.loss - 1:+.2%}", guess)
assert half / best.loss < 1.01


# %%
#| export
def overtrained(surface: Surface, loss: int | float, inference_tokens: int | float) -> Allocation:
    """Size and tokens that reach ``loss`` with the least FLOPs over a model's life: 6 N D + 2 N inference_tokens.

    With no inference this is the compute-optimal run; the more a model is used, the smaller and longer trained it
    should be (Sardana et al. 2024, arXiv 2401.00448). ValueError: a loss that the surface never reaches.
    """
    s = surface
    if not s.E < loss < math.inf or not 0 <= inference_tokens < math.inf:
        raise ValueError(
            f"the loss {loss} must be above {s.E}, and inference_tokens {inference_tokens} not negative, both finite"
        )
    least = math.log(s.A / (loss - s.E)) / s.alpha  # the size that would need endless data

    def tokens(size: float) -> float:
        return (s.B / (loss - s.E - s.A / size**s.alpha)) ** (1 / s.beta)

    def cost(x: float) -> float:
        size = math.exp(least + math.exp(x))
        return math.log(size) + math.log(6 * tokens(size) + 2 * inference_tokens)

    size = math.exp(
        least + math.exp(minimize_scalar(cost, bounds=(-12, 3), method="bounded", options={"xatol": 1e-9}).x)
    )
    return Allocation(size, tokens(size), float(loss))


# %% [markdown]
# **Predict.** The model is to be as good as the best one of 10²¹ FLOPs, and will read and write 10¹² tokens, 17 times
# what it was trained on. What is its size, as a share of the compute-optimal one?

# %%
guess = None  # share

for inference in (0, 1e11, 1e12, 1e13):
    choice = overtrained(REPLICATION, best.loss, inference)
    life = 6 * choice.size * choice.tokens + 2 * choice.size * inference
    plain = 1e21 + 2 * best.size * inference
    print(
        f"{inference:6.0e} tokens of use: {choice.size:.2g} weights, {choice.tokens / choice.size:5.0f} tokens each, "
        f"training {6 * choice.size * choice.tokens / 1e21:.2f} of the budget, life {life / plain:.0%} of the FLOPs"
    )
choice = overtrained(REPLICATION, best.loss, 1e12)
reveal("share of the compute-optimal size", f"{choice.size / best.size:.2f}", guess)
assert abs(overtrained(REPLICATION, best.loss, 0).size / best.size - 1) < 1e-3 and choice.size < 0.5 * best.size
print(plan(1e21, inference_tokens=1e12))

# %% [markdown]
# ## 8 · µP: a learning rate that stays
#
# A law for the best size is of no use if every size needs its own search for a learning rate. The *maximal update
# parametrisation* (最大更新参数化, µP; Yang et al. 2022, 2203.03466, table 3) scales initialisation and learning rate of each
# matrix with its width, so that updates change activations equally much in every width. Then the best learning rate of
# a narrow model is the best of a wide one. With Adam, for a model $r$ times as wide as a base:
#
# | | initial deviation | learning rate |
# |---|---|---|
# | embedding, norms | same | same |
# | matrices of the blocks | $1/\sqrt r$ | $1/r$ |
# | output layer | $1/r$ | $1/r$ |


# %%
#| export
def _follows_width(name: str, parameter: torch.Tensor) -> bool:
    """Whether a parameter has a width of the model as its input: the matrices of the blocks, and the output layer."""
    return parameter.ndim > 1 and not name.startswith("embedding") and ".positions." not in name


def mup(model: Transformer, base_width: int) -> Transformer:
    """Give a new model, in place, the start of the maximal update parametrisation (arXiv 2203.03466, table 3); the model.

    At ``base_width`` nothing changes. In a model r times as wide, matrices inside the blocks get smaller by sqrt(r) and the
    output layer by r. `mup_groups` has the learning rates that belong to it. Heads should keep their size. ValueError for
    tied embeddings, which cannot be both.
    """
    _positive(base_width=base_width)
    if model.config.tied_embeddings:
        raise ValueError("with tied embeddings one matrix would have to be scaled in two ways")
    ratio = model.config.d_model / base_width
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if _follows_width(name, parameter):
                parameter.div_(ratio if name.startswith("output") else math.sqrt(ratio))
    return model


def mup_groups(model: Transformer, weight_decay: float, *, base_width: int) -> list[dict[str, Any]]:
    """Parameter groups for ``train(groups=partial(mup_groups, base_width=16))``: what `mup` scales learns at 1 / r of the rate.

    The others are as in `training.parameter_groups`.
    """
    _positive(base_width=base_width)
    slower = [p for name, p in model.named_parameters() if _follows_width(name, p) and p.requires_grad]
    taken = {id(p) for p in slower}
    groups = [{"params": slower, "weight_decay": weight_decay, "lr_scale": base_width / model.config.d_model}]
    for group in parameter_groups(model, weight_decay):
        groups.append(group | {"params": [p for p in group["params"] if id(p) not in taken]})
    return [group for group in groups if group["params"]]


# %%
#| export
def train_mup(
    model: TransformerConfig, config: TrainingConfig, data: Tokens, validation: Tokens, base_width: int
) -> float:  # fmt: skip
    """The validation loss after training in the maximal update parametrisation; infinite when it diverged.

    With ``base_width`` the model's own width this is the usual parametrisation.
    """

    def groups(model: Transformer, weight_decay: float) -> list[dict[str, Any]]:
        found = mup_groups(model, weight_decay, base_width=base_width)
        return [group | {"fused": False} for group in found]  # PyTorch's fused AdamW rounds otherwise than the records

    made = mup(Transformer(model, generator(config.seed, 0, purpose=1)), base_width)  # drawn as `train` draws it
    return train(made, config, data, validation=validation, groups=groups).final


# %%
WIDTHS, BASE = (16, 48, 144), 16
RATE_GRID = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


def transfer(width: int, lr: float, base: int, seed: int) -> float:
    """The loss of one short run; heads stay at 16, so that a wider model has more of them."""
    model = isoflop_model(width).replace(num_heads=width // 16)
    training = TrainingConfig(steps=80, batch_size=8, lr=lr, warmup=8, weight_decay=0.0, eval_batches=32, seed=seed)
    ids = np.frombuffer(default_corpus().read_bytes(), dtype=np.uint8)
    data, heldout = Tokens(ids[: len(ids) * 9 // 10]), Tokens(ids[len(ids) * 9 // 10 :])
    return min(train_mup(model, training, data, heldout, base), 99.0)  # 99 for a run that diverged


def transfers(seeds: tuple[int, ...]) -> list[list]:
    """[parametrisation, width, learning rate, seed, loss] of every run; at the base width the two are one."""
    cases = [("standard", w, w) for w in WIDTHS] + [("µP", w, BASE) for w in WIDTHS if w != BASE]
    return [[how, w, lr, s, transfer(w, lr, base, s)] for s in seeds for how, w, base in cases for lr in RATE_GRID]


# %% [markdown]
# **Predict.** The good learning rates at width 16 are known. At width 144, nine times as wide, where are they in the usual
# parametrisation, and where in µP?

# %%
TRANSFER = recorded("08_mup.json", lambda: transfers((0, 1, 2)), [WIDTHS, BASE, RATE_GRID, "80 steps of 8 x 64", 3])
print(source("08_mup.json"))


def losses_of(how: str, width: int) -> list[float]:
    """Mean loss over the seeds at each learning rate."""
    how = "standard" if width == BASE else how
    return [float(np.mean([loss for *run, _, loss in TRANSFER if run == [how, width, lr]])) for lr in RATE_GRID]


# %%
guess = None  # (usual, µP), as a multiple of those of width 16


def basin(how: str, width: int) -> list[float]:
    """The learning rates whose loss is within 0.1 nats of the best."""
    losses = losses_of(how, width)
    return [lr for lr, loss in zip(RATE_GRID, losses) if loss < min(losses) + 0.1]


centre = {(how, w): math.exp(np.log(basin(how, w)).mean()) for how in ("standard", "µP") for w in WIDTHS}
for how in ("standard", "µP"):
    for w in WIDTHS:
        good = ", ".join(f"{lr:g}" for lr in basin(how, w))
        print(
            f"{how:<9} width {w:>3}: good rates {good}; centre {centre[how, w]:.3f}; best loss {min(losses_of(how, w)):.2f}"
        )
moved = {how: centre[how, 144] / centre[how, 16] for how in ("standard", "µP")}
reveal("multiples", {how: round(times, 2) for how, times in moved.items()}, guess)
assert moved["standard"] < 1 / 3 < 1 / 2 < moved["µP"]

# %%
fig, panels = axes(1, 2, size=(9, 3.3), sharey=True, title="Loss against learning rate at three widths")
for ax, (how, title) in zip(panels, {"standard": "usual parametrisation", "µP": "µP, base width 16"}.items()):
    for width, color in zip(WIDTHS, COLORS.values()):
        ax.plot(RATE_GRID, losses_of(how, width), "o-", color=color, label=f"width {width}")
    ax.set(xscale="log", xlabel="learning rate", ylabel="validation loss (nats per byte)", ylim=(2.6, 4.9))
    ax.set_title(title, fontsize=10)
finish(fig)

# %% tags=["timing"]
if HAVE_MODEL.or_show("one of them again"):  # one of them again
    (kept,) = [loss for *run, loss in TRANSFER if run == ["µP", 48, 1e-2, 0]]
    now = transfer(48, 1e-2, BASE, 0)
    print(f"µP, width 48, learning rate 0.01: recorded {kept:.4f}, now {now:.4f}")
    assert abs(now - kept) < 0.1, YOURS

# %% [markdown]
# Seeds differ by a tenth of a nat, so look at the basin of good rates and not at the best one. In the usual
# parametrisation it moves to the left: at a rate of 0.001 the wide model is at its best and the narrow one has hardly
# begun. In µP the left sides of the three curves lie on each other, since a step changes the model equally much in every
# width. But µP moves the basin, it does not deepen it: here the usual parametrisation, tuned for its width, ends lower.
#
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | Chinchilla: 20 tokens for each weight | A rule near 1e22 to 1e24 FLOPs, for one corpus and tokenizer. The replication says 27 at 1e17 FLOPs and 17 at 1e25; the printed constants 15 and 76. Our models, on bytes: 49 to 74. |
# | Kaplan was wrong because his learning-rate schedules did not decay | That was the guess of 2203.15556. Counting (2406.12907), warmup, the last layer and tuning (2406.19146) explain it. |
# | A and B can be compared between papers | They are values at one weight and one token. Compare exponents, or losses within the range of the runs. |
# | The loss goes to zero with scale | It goes to E, and E is an extrapolation too. |
# | A narrow interval makes a good prediction | It holds if the law has the right form. Ours missed by more than its interval allowed: section 5. |
# | Compute-optimal is the best model to train | For training alone. Llama 3 8B had about 1,900 tokens a weight. |
# | Scaling laws say what a model can do | They say its loss. What it can do at that loss is another question. |
# | In µP nothing depends on width | The learning rate and initialisation do not; depth, batch size, weight decay and training length are not covered by it. |
#
# ## What you built
#
# `cs336lite.scaling`: `fit_power_law`, `bootstrap`, `interval`; `fit_profile`, `fit_profiles`, `bootstrap_profiles`;
# `Surface`, `fit_surface`, `estimate_surface`, `compute_optimal`, `kaplan_view`; `isoflop_model`, `isoflop_run`,
# `extrapolate`; `overtrained`, `shape_near`, `plan`, `HARDWARE`; `mup`, `mup_groups`, `train_mup`. What cannot be
# fitted is a `FitError`.
#
# ## Limits
#
# - Our models have a few thousand to some ten thousand weights and read bytes of a small corpus of simple stories,
#   documentation and some Chinese. The exponents are those of this family on this text, at these budgets, and of nothing
#   else.
# - $C = 6ND$ leaves out attention's square, which would add 18 to 55 % to the FLOPs of models as narrow as ours. The
#   planner counts it.
# - No run is longer than its 3.6 MB of training text; with several passes over the data the law changes (2305.16264).
# - Two or three seeds, one learning-rate rule, one batch size. The bootstrap draws errors as if they were alike in all
#   runs of a group; the doubt about the form of the law is not in any interval here.
# - The planner's law, learning rate and batch size come from other people's models. Hardware is a peak and a
#   utilisation that you must know; 0.4 is a good one. Networks, failures and data loading are not in it.
#
# ## Sources
#
# Kaplan et al. 2020 (arXiv 2001.08361) · Hoffmann et al. 2022 (2203.15556) · Besiroglu et al. 2024 (2404.10102) ·
# Pearce & Song 2024 (2406.12907) · Porian et al. 2024 (2406.19146) · DeepSeek LLM 2024 (2401.02954) · Sardana et al.
# 2024 (2401.00448) · Muennighoff et al. 2023 (2305.16264) · Yang et al. 2022, µP (2203.03466) · Llama 3 (2407.21783).
#
# ## Next
#
# Assignment **a6_inference**: the parts of a machine that writes with a trained model. Lecture **09 · inference** builds
# it. Beyond this course: parallelism, data, alignment.

# %%
finished("08_scaling")
