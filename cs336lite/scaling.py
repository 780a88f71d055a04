# Built from notebooks/text/08_scaling.py by `cs336lite build`: edit that file, not this one.
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


def isoflop_model(width: int, vocab_size: int = 256, context_length: int = 64) -> TransformerConfig:
    """A member of a family that differs in width only: 2 layers, 2 heads, SwiGLU of 8/3 width."""
    return TransformerConfig(
        vocab_size=vocab_size, context_length=context_length, d_model=width, num_layers=2, num_heads=2,
        d_ff=8 * round(width / 3), attend="sdpa",
    )  # fmt: skip


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


PF_DAY = 1e15 * 86_400  # Kaplan et al. count compute in days of 1e15 FLOP/s, and neither embeddings nor their FLOPs
KAPLAN_SIZE = PowerLaw(1.3e9 / PF_DAY**0.73, 0.73)  # arXiv 2001.08361, appendix A

# arXiv 2203.15556, table 3: sizes, and the FLOPs and tokens for which approach 1 calls them the best
CHINCHILLA_TABLE = {
    "sizes": (4e8, 1e9, 1e10, 6.7e10, 1.75e11, 2.8e11, 5.2e11, 1e12, 1e13),
    "flops": (1.92e19, 1.21e20, 1.23e22, 5.76e23, 3.85e24, 9.90e24, 3.43e25, 1.27e26, 1.30e28),
    "tokens": (8e9, 20.2e9, 205.1e9, 1.5e12, 3.7e12, 5.9e12, 11e12, 21.2e12, 216.2e12),
}


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
