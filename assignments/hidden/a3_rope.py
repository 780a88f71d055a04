r"""Hidden checks of a3_rope: 100 points, judged through the class and the four functions that the assignment names.

A rotary embedding is linear, so asking it for the unit vectors gives the whole matrix $R_m$ of each position. Each check
reads one property off these matrices (which dimensions form pairs, how fast, in which direction), or compares answers
of one solution with each other (position 7 in a batch with position 7 in a row). So a solution that turns the wrong way
loses the points of the direction, and not those of speeds, layouts or positions. A misconception has a message of its
own. `rotary_attention` and `rotate_part` are given a rotation of ours, so they do not suffer from a wrong class.

What only agrees with itself is no rotation yet. So every check of the class first sees something turn (`Probe`): two
dimensions that walk round a circle as the position grows, at whatever speed, in whatever direction, and random vectors
that are turned as the unit vectors are.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cs336lite.course import answers as given
from cs336lite.course.answers import anything, ask, fits, like, list_of, same
from cs336lite.course.spec import Fail, StudentError, check, drawn, expect

WARM = ("torch", "einops", "jaxtyping")  # what a worker imports once, before it forks
REFUSED = ("torch.onnx.ops.rotary_embedding", "*rotary*")
PAPER = "https://arxiv.org/abs/2104.09864"
READ = {  # where to read on, by exercise
    "angles": ("RoFormer (arXiv 2104.09864), section 3.2.2, General form", PAPER),
    "rotation": ("RoFormer (arXiv 2104.09864), section 3.4.2, Computational efficient realization", PAPER),
    "layouts": "Section 3 of the assignment, Two layouts",
    "positions": "Section 4 of the assignment, Any positions",
    "module": "Section 5 of the assignment; in the manual of PyTorch, register_buffer of torch.nn.Module",
    "relative": ("RoFormer (arXiv 2104.09864), section 3.2.1, 2D case", PAPER),
    "partial": "Section 7 of the assignment, A part of the head",
}

INDIFFERENT = "the position makes no difference: every place is turned alike"
NOTHING_TURNS = "nothing turns: no two dimensions go round a circle in equal steps as the position grows"
UNEQUAL = "not every vector is turned alike: a rotation of a sum must be the sum of the rotations of its parts"


# ---------------------------------------------------------------------------------------------------------------------
# Asking


def drive_rope(student, theta, d_k, max_seq_len, layout, calls):
    import torch

    options = {"layout": layout} if layout else {}
    rope = student.RotaryPositionalEmbedding(theta, d_k, max_seq_len, **options)
    answers = [rope(x, positions) for x, positions in calls]
    return [answer if isinstance(answer, torch.Tensor) else None for answer in answers]


@dataclass(frozen=True)
class Setting:
    """The arguments of an embedding."""

    theta: float
    d_k: int
    max_seq_len: int

    @property
    def arguments(self) -> tuple[float, int, int]:
        return self.theta, self.d_k, self.max_seq_len

    @property
    def speeds(self) -> Tensor:
        """The angle of each pair at position 1, in float64."""
        return self.theta ** (-torch.arange(0, self.d_k, 2, dtype=torch.float64) / self.d_k)


def some_setting(rng: random.Random, max_seq_len: int, sizes: tuple[int, ...] = (6, 8, 10)) -> Setting:
    """A base so small that even the slowest pair turns visibly within a few positions."""
    return Setting(round(rng.uniform(20, 60), 2), rng.choice(sizes), max_seq_len)


def vectors(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(rng.getrandbits(48)))


def close(a: Tensor, b: Tensor, tolerance: float = 1e-3) -> bool:
    """Are two tensors of the same shape nearly equal? Never where one is not a number."""
    return given.close(a, b, tolerance)


Call = tuple[Tensor, Tensor]


def expect_turned(x: Tensor, answer: object) -> Tensor:
    """The answer, when it can be one to an x of which not all positions are 0."""
    expect(isinstance(answer, Tensor), "forward must return a tensor")
    expect(answer.shape == x.shape, "forward must return a tensor of the shape of x")
    expect(answer.is_floating_point(), "forward must return floating-point numbers, as x holds")
    answer = answer.detach()
    wide = answer.double()
    expect(bool(wide.isfinite().all()), "the result holds nan or infinity")
    message = "x comes back as it is: nothing is turned, though its position is not 0"
    expect(bool((wide - x.double()).abs().max() > 1e-6), message)
    expect(bool(wide.abs().max() > 1e-6), "the result is zero")
    return answer


def rotated(student, setting: Setting, calls: list[Call], layout: str | None = None, problems=None) -> list[Tensor]:
    """The answers to some (x, positions) that are in order; ``problems`` maps an exception's name to what to say of it."""
    try:
        answers = ask(student, list_of(anything, len(calls)), drive_rope, *setting.arguments, layout, calls)
    except StudentError as error:
        if problems and error.kind in problems:
            raise Fail(problems[error.kind]) from None
        if error.kind == "IndexError":
            raise Fail("a position below max_seq_len raises an IndexError: a table needs max_seq_len rows") from None
        raise
    return [expect_turned(x, answer) for (x, _), answer in zip(calls, answers, strict=True)]


def unit_vectors(d_k: int, number: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Every unit vector at each of ``number`` places, of shape (d_k, number, d_k)."""
    return torch.eye(d_k, dtype=dtype)[:, None, :].expand(d_k, number, d_k).contiguous()


def as_matrices(answer: Tensor) -> Tensor:
    """What unit vectors became, as one matrix a place: (places, d_k, d_k), a column for each unit vector."""
    return answer.double().permute(1, 2, 0)


def weighing_one(x: Tensor) -> Tensor:
    """``x`` moved so that the numbers of each vector add up to 1, as those of a unit vector do.

    Where something is wrongly added to all that is turned, it then counts once, in these as in the unit vectors.
    """
    return x + (1 - x.sum(dim=-1, keepdim=True)) / x.shape[-1]


def turned_by(found: Tensor, x: Tensor) -> Tensor:
    """Vectors ``x`` of `weighing_one`, each turned by the matrix that stands at its place."""
    return (found @ x.double()[..., None])[..., 0]


def goes_round(found: Tensor) -> bool:
    """Do two numbers of some row or column walk round a circle, in equal steps, as the position grows?

    Whatever the speed, the direction, the pair, the first angle, the length, and the middle of the circle are. Of a path
    of complex numbers the steps must be alike in length, and each must be turned against the last one by the same angle.
    """
    for vectors in (found[:6], found[:6].mT):  # columns, then rows
        steps = torch.complex(vectors[:, :, None].expand(-1, -1, vectors.shape[1], -1), vectors[:, None]).diff(dim=0)
        lengths = steps.abs()
        moves = lengths.amin(dim=0) > 1e-4
        turns = steps[1:] / torch.where(moves, steps[:-1], 1)
        even = (turns - turns[0]).abs().amax(dim=0) < 0.05
        alike = (turns[0].abs() - 1).abs() < 0.03
        bent = turns[0].imag.abs() > (lengths[0] / 10).clamp_min(1e-3)  # not along a line, nor round a vast circle
        if bool((moves & alike & even & bent).any()):
            return True
    return False


@dataclass(frozen=True)
class Probe:
    """Questions that show whether something turns: all unit vectors, and others, at the positions 0, 1, 2, …"""

    units: Tensor  # (d_k, places, d_k)
    others: Tensor  # (3, places, d_k)

    @property
    def calls(self) -> list[Call]:
        places = torch.arange(self.units.shape[1])
        return [(self.units, places), (self.others, places)]

    def read(self, answers: list) -> Tensor:
        """The matrices of the positions, from answers that nobody has looked at; fails where nothing turns."""
        return self.judge(*(expect_turned(x, answer) for (x, _), answer in zip(self.calls, answers, strict=True)))

    def judge(self, units: Tensor, others: Tensor) -> Tensor:
        """The same, from answers that are in order."""
        found = as_matrices(units)
        expect(not close(found[1], found[2]), INDIFFERENT)
        expect(goes_round(found), NOTHING_TURNS)
        expect(close(others, turned_by(found, self.others), 0.05), UNEQUAL)
        return found


def some_probe(rng: random.Random, setting: Setting, number: int = 6) -> Probe:
    return Probe(unit_vectors(setting.d_k, number), weighing_one(vectors(rng, 3, number, setting.d_k)))


def matrices(student, rng, setting: Setting, number: int = 6, layout: str | None = None, problems=None) -> Tensor:
    """The matrices of the positions 0 to ``number - 1``, of which at least some pair turns."""
    probe = some_probe(rng, setting, number)
    return probe.judge(*rotated(student, setting, probe.calls, layout, problems))


def matrices_and(student, rng, setting: Setting, call: Call, number: int = 6, problems=None) -> tuple[Tensor, Tensor]:
    """The same, and what the same embedding answers to one more call."""
    probe = some_probe(rng, setting, number)
    *answers, answer = rotated(student, setting, [*probe.calls, call], problems=problems)
    return probe.judge(*answers), answer


def rotations(setting: Setting, number: int) -> Tensor:
    """The right matrices of the positions 0 to ``number - 1``."""
    angles = torch.arange(number)[:, None] * setting.speeds
    found = torch.zeros(number, setting.d_k, setting.d_k, dtype=torch.float64)
    for i, (first, second) in enumerate(neighbours(setting.d_k)):
        found[:, first, first] = found[:, second, second] = angles[:, i].cos()
        found[:, second, first] = angles[:, i].sin()
        found[:, first, second] = -angles[:, i].sin()
    return found


def since(found: Tensor) -> Tensor:
    """The turn between the first position and each other one, whatever the first one is."""
    return found[0].T @ found


def pairs_of(matrix: Tensor) -> list[tuple[int, int]] | None:
    """Which dimensions a matrix turns into each other, in order; None when they do not form pairs."""
    seen = (matrix.abs() > 1e-5) | (matrix.T.abs() > 1e-5)
    seen.fill_diagonal_(False)
    partners = [row.nonzero().flatten().tolist() for row in seen]
    if any(len(partner) != 1 for partner in partners):
        return None
    return sorted({(min(i, j), max(i, j)) for i, (j,) in enumerate(partners)})


def neighbours(d_k: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(0, d_k, 2)]


def halves(d_k: int) -> list[tuple[int, int]]:
    return [(i, i + d_k // 2) for i in range(d_k // 2)]


def order_of_halves(d_k: int) -> list[int]:
    """Where the dimensions of the layout "half" stand in "interleaved"."""
    return [*range(0, d_k, 2), *range(1, d_k, 2)]


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 1: angles

EXPONENT = "the speed of pair i is theta ** (-2i / d_k)"


def wrong_speeds(setting: Setting) -> list[tuple[Tensor, str]]:
    """Misconceptions of the speeds, and what to say of them."""
    theta, d_k = setting.theta, setting.d_k
    i = torch.arange(d_k // 2, dtype=torch.float64)
    return [
        (10_000.0 ** (-2 * i / d_k), "theta is ignored: the base is the argument, not always 10,000"),
        (theta ** (-i / d_k), f"the exponent is half as large as it should be: {EXPONENT}, with i = 0, 1, 2, …"),
        (theta ** (-4 * i / d_k), f"the exponent is twice as large as it should be: {EXPONENT}; is 2 in it twice?"),
        (theta ** (-2 * (i + 1) / d_k), f"pairs are counted from 1: {EXPONENT}, and the first pair is i = 0"),
        (theta ** (-2 * i / (d_k - 2)), f"the exponent is divided by d_k - 2: {EXPONENT}"),
        (theta ** (2 * i / d_k), f"the exponent has the wrong sign, so later pairs turn faster: {EXPONENT}"),
        (torch.ones_like(i), f"all pairs turn at the same speed: {EXPONENT}"),
        (2 * math.pi * setting.speeds, "the angles are multiplied by 2 pi: they are radians, not full turns"),
        (setting.speeds * math.pi / 180, "the angles are taken for degrees: they are radians"),
        (1 - 2 * i / d_k, f"the speeds fall in equal steps: {EXPONENT}, each smaller than the last by the same factor"),
    ]


def shows(found: Tensor, speeds: Tensor) -> bool:
    """Do the matrices of positions 0, 1, … turn by these speeds, whichever pairs, in whichever direction?

    The cosine of every angle must stand on the diagonal. Also where something else is wrong with the matrix: the first
    position is not 0, or the lengths are not kept.
    """
    expected = torch.arange(1, len(found), dtype=torch.float64)[:, None] * speeds
    readings = [found, found / found.norm(dim=-2, keepdim=True).clamp_min(1e-9), since(found)]
    return any(has_cosines(reading[1:], expected, 2e-3) for reading in readings)


def has_cosines(found: Tensor, angles: Tensor, tolerance: float) -> bool:
    """Does the cosine of each angle stand on the diagonal of its matrix?"""
    diagonal = found.diagonal(dim1=-2, dim2=-1)
    return bool(((diagonal[:, :, None] - angles.cos()[:, None, :]).abs() < tolerance).any(dim=1).all())


@check("angles", points=7, title="the speed of pair i is theta ** (-2i / d_k)", seconds=5)
def speeds_of_the_pairs(student, rng):
    for _ in range(2):
        setting = some_setting(rng, 32)
        found = matrices(student, rng, setting)
        if shows(found, setting.speeds):
            continue
        for speeds, message in wrong_speeds(setting):
            expect(not shows(found, speeds), message)
        raise Fail(f"pairs do not turn by m * theta ** (-2i / d_k): {EXPONENT}, times the position")


@check("angles", points=4, title="position 0 is not turned", seconds=5)
def nothing_turns_at_position_zero(student, rng):
    setting = some_setting(rng, 32)
    found = matrices(student, rng, setting)
    start = found[0] / found[0].norm(dim=0).clamp_min(1e-9)
    if not close(start, torch.eye(setting.d_k)):
        message = "vectors at position 0 are changed: the angle is m times the speed, and m begins at 0"
        expect(not close(found[1] @ found[0], found[2]), f"positions are off by one: {message}")
        raise Fail(message)


@check("angles", points=4, title="angles stay exact near position 100,000", seconds=20)
def angles_are_exact_far_away(student, rng):
    setting = some_setting(rng, 101_000, (4,))
    start = rng.randrange(100_000, 100_900)
    places = torch.arange(6)
    probe = some_probe(rng, setting)
    kinds = [torch.float32, torch.bfloat16]
    calls = probe.calls + [(unit_vectors(4, 6, kind), places + start) for kind in kinds]
    *answers, exact, rounded = rotated(student, setting, calls)
    near, far = probe.judge(*answers), [as_matrices(exact), as_matrices(rounded)]
    message = "near position 100,000 neighbouring positions can no longer be told apart"
    reason = "compute the angles in float32, and cast the result to the dtype of x"
    right = setting.speeds * (places + start)[:, None]
    for found in far:
        # Like the same steps near 0, whatever the solution makes of these; or with the right cosines.
        if not close(since(found), since(near), 0.15) and not has_cosines(found, right, 0.15):
            expect(
                found is far[0],
                f"{message}: angles are computed in the dtype of x, whose numbers lie far apart there; {reason}",
            )
            raise Fail(f"{message}: {reason}")


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 2: rotation


@check("rotation", points=4, title="neighbouring dimensions form pairs", seconds=5)
def neighbours_form_pairs(student, rng):
    setting = some_setting(rng, 32)
    found = pairs_of(matrices(student, rng, setting)[1])
    expect(
        found != halves(setting.d_k),
        'dimension i is paired with i + d_k / 2, which is the layout "half": by default pair i is (2i, 2i + 1)',
    )
    expect(found == neighbours(setting.d_k), "dimensions 2i and 2i + 1 must form a pair, and be mixed with no other")


@check("rotation", points=4, title="pairs turn counter-clockwise", seconds=5)
def pairs_turn_counter_clockwise(student, rng):
    setting = some_setting(rng, 32)
    turn = since(matrices(student, rng, setting))[1]
    pairs = pairs_of(turn) or neighbours(setting.d_k)
    sines = torch.stack([turn[second, first] for first, second in pairs])
    message = "pairs turn clockwise: the new first is x cos - y sin, and the new second x sin + y cos"
    expect(bool(sines.abs().max() > 1e-3), "no sine stands where the first of a pair becomes a part of the second")
    expect(bool(sines[0] > -1e-3), f"the sign of the sine is wrong, so {message}")
    backwards = (sines + setting.speeds.sin()).abs() < 1e-4
    expect(not bool(backwards.any()), f"some {message}")


@check("rotation", points=3, title="each pair turns at its own speed", seconds=5)
def each_pair_has_its_own_speed(student, rng):
    setting = some_setting(rng, 32)
    found = matrices(student, rng, setting)
    turn = since(found)[1]
    pairs = pairs_of(turn)
    expect(pairs is not None, "dimensions are not turned in pairs: two of them, mixed with no other")
    cosines = torch.tensor([[float(turn[j, j]) for j in pair] for pair in pairs])
    message = "the two dimensions of a pair are turned by the angles of two pairs: cosines and sines must lie in the layout of x"
    mixed = (cosines[..., None] - setting.speeds.cos()).abs().amin(dim=-1).max() < 1e-4  # each of some pair
    expect(close(cosines[:, 0], cosines[:, 1]) or not bool(mixed), message)
    if not shows(found, setting.speeds):
        return  # judged in exercise 1
    steps = cosines[:, 0].diff()
    message = "pair i does not turn at the i-th speed: the first pair is the fastest"
    expect(bool((steps > -1e-5).all()), message)


@check("rotation", points=5, title="lengths stay as they are", seconds=5)
def lengths_are_kept(student, rng):
    setting = some_setting(rng, 32)
    x = weighing_one(vectors(rng, 3, 7, setting.d_k))
    found, answer = matrices_and(student, rng, setting, (x, torch.arange(7)), 7)
    expect(close(answer, turned_by(found, x), 0.05), UNEQUAL)
    message = "a rotation keeps the length of every vector, and yours does not"
    if not close(answer.double().norm(dim=-1), x.double().norm(dim=-1)):
        pairs = torch.stack((x[..., 0::2], x[..., 1::2]), dim=-1).double()
        angles = torch.arange(7, dtype=torch.float64)[:, None] * setting.speeds
        first = pairs[..., 0] * angles.cos() - pairs[..., 1] * angles.sin()
        overwritten = torch.stack((first, first * angles.sin() + pairs[..., 1] * angles.cos()), dim=-1).flatten(-2)
        reason = "the first of a pair is overwritten before the second is computed from it"
        expect(not close(answer, overwritten), f"{message}: {reason}")
        raise Fail(f"{message}: the new first is x cos - y sin, and the new second x sin + y cos")


@check("rotation", points=2, title="the dtype of x comes back", seconds=5)
def dtype_is_kept(student, rng):
    setting = some_setting(rng, 32)
    found = matrices(student, rng, setting)
    x = weighing_one(vectors(rng, 2, 5, setting.d_k))
    kinds = [torch.float32, torch.bfloat16, torch.float64]
    message = "x of another dtype than float32 is refused"
    problems = dict.fromkeys(["RuntimeError", "TypeError", "ValueError"], f"{message}: models compute in bfloat16 too")
    answers = rotated(student, setting, [(x.to(kind), torch.arange(5)) for kind in kinds], problems=problems)
    for answer, kind in zip(answers, kinds, strict=True):
        expect(close(answer, turned_by(found[:5], x), 0.2), "x of another dtype than float32 is turned in another way")
        expect(answer.dtype == kind, "the result has another dtype than x: cast it back at the end")


def drive_unchanged(student, theta, d_k, max_seq_len, calls):
    import torch

    rope = student.RotaryPositionalEmbedding(theta, d_k, max_seq_len)
    calls = [(x.clone(), positions.clone()) for x, positions in calls]
    answers = [rope(x, positions) for x, positions in calls]
    answers = [answer if isinstance(answer, torch.Tensor) else None for answer in answers]
    return [[answer, x, positions] for answer, (x, positions) in zip(answers, calls, strict=True)]


@check("rotation", points=2, title="x and the positions stay as they are", seconds=5)
def inputs_stay_as_they_are(student, rng):
    setting = some_setting(rng, 32)
    probe = some_probe(rng, setting)
    form = list_of([anything, anything, anything], len(probe.calls))
    found = ask(student, form, drive_unchanged, *setting.arguments, probe.calls)
    for (x, positions), (_, x_after, positions_after) in zip(probe.calls, found, strict=True):
        expect(same(x_after, x), "x is changed in place: write the result into a new tensor")
        expect(same(positions_after, positions), "token_positions are changed in place")
    probe.read([answer for answer, _, _ in found])


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 3: layouts

NO_LAYOUT = "the keyword argument layout is not accepted: it is 'interleaved' or 'half'"


@check("layouts", points=6, title='layout="half" pairs i with i + d_k / 2', seconds=5)
def half_is_the_same_rotation_elsewhere(student, rng):
    setting = some_setting(rng, 32)
    order = order_of_halves(setting.d_k)
    default = matrices(student, rng, setting)
    named = matrices(student, rng, setting, layout="interleaved", problems={"TypeError": NO_LAYOUT})
    found = matrices(student, rng, setting, layout="half", problems={"TypeError": NO_LAYOUT})
    expect(close(named, default), 'layout="interleaved" is the default, and must give the same')
    moved = default[:, order][:, :, order]
    if pairs_of(default[1]) == halves(setting.d_k):  # wrong, but judged in exercise 2
        moved = default
    if close(found, moved) or close(found, rotations(setting, 6)[:, order][:, :, order]):
        return
    pairs = pairs_of(found[1])
    expect(
        pairs != neighbours(setting.d_k), 'with layout="half" pair i is still (2i, 2i + 1): make it (i, i + d_k / 2)'
    )
    expect(pairs == halves(setting.d_k), 'with layout="half" dimension i must be mixed with i + d_k / 2, and no other')
    raise Fail("pair i does not turn by the same angle in the two layouts: only the places of its dimensions differ")


def drive_permutations(student, name, calls):
    function = getattr(student, name)
    return [function(x) if dim is None else function(x, dim=dim) for x, dim in calls]


def judge_permutation(student, name: str, x: Tensor, right: list[int], back: list[int]) -> None:
    (answer,) = ask(student, [anything], drive_permutations, name, [(x, None)])
    expect(isinstance(answer, Tensor) and answer.shape == x.shape, f"{name} must return a tensor of the shape of x")
    expect(not same(answer, x), f"{name} gives x back as it is")
    expect(not same(answer, x[..., back]), f"{name} goes the other way: the two functions are exchanged")
    first = x[..., [*range(0, len(right), 2), *range(len(right) - 1, 0, -2)]]
    expect(not same(answer, first), "the second dimensions of the pairs come in reversed order")
    expect(same(answer, x[..., right]), f"{name} does not put pair i where the other layout has it")


def both_orders(d_k: int) -> tuple[list[int], list[int]]:
    order = order_of_halves(d_k)
    return order, sorted(range(d_k), key=order.__getitem__)


@check("layouts", points=3, title="from interleaved to half", seconds=5)
def interleaved_to_half_permutes(student, rng):
    d_k = rng.choice([6, 10, 12])
    judge_permutation(student, "interleaved_to_half", vectors(rng, 2, 3, d_k), *both_orders(d_k))


@check("layouts", points=3, title="from half to interleaved", seconds=5)
def half_to_interleaved_permutes(student, rng):
    d_k = rng.choice([6, 10, 12])
    judge_permutation(student, "half_to_interleaved", vectors(rng, 2, 3, d_k), *reversed(both_orders(d_k)))


@check("layouts", points=3, title="along any dimension", seconds=5)
def any_dimension_can_be_permuted(student, rng):
    d_k = rng.choice([6, 10, 12])
    x = vectors(rng, d_k, 4, d_k, 2)
    orders = both_orders(d_k)
    for name in ("interleaved_to_half", "half_to_interleaved"):
        calls = [(x, 2), (x, -2), (x, 0)]
        answers = ask(student, list_of(anything, len(calls)), drive_permutations, name, calls)
        for answer, dim in zip(answers, (2, 2, 0), strict=True):
            expect(isinstance(answer, Tensor), f"{name} must return a tensor")
            permuted = [same(answer, x.index_select(dim, torch.tensor(one))) for one in orders]
            message = (
                "dim is ignored or misread: the rows of a weight are permuted along another dimension than the last"
            )
            expect(any(permuted), message)  # the right way round is judged above


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 4: positions. What one solution says in different ways must agree: positions 0, 1, 2, … in one row are known.

IGNORED = "token_positions are ignored: the places 0, 1, 2, … in the sequence are used instead"
FIRST_ROW = "batched positions are ignored: the positions of the first row are used for the whole batch"
LENGTH = 24


@dataclass(frozen=True)
class Places:
    """Vectors, and the positions they are asked at."""

    setting: Setting
    x: Tensor  # (batch, seq, d_k)
    positions: Tensor  # (batch, seq), each below LENGTH


def some_places(rng: random.Random, batch: int, seq: int) -> Places:
    """Positions that do not grow by one, some more than once, so drawn that the usual shortcuts give something else."""
    setting = some_setting(rng, LENGTH + 2)
    rows = []
    for row in range(batch):
        chosen = rng.sample(range(2, LENGTH - 8), seq - 1)
        rows.append([3 + row, *chosen[: seq - 2], 3 + row])
        while rows[-1] == sorted(rows[-1]):
            rng.shuffle(rows[-1])
    return Places(setting, weighing_one(vectors(rng, batch, seq, setting.d_k)), torch.tensor(rows))


def agree(a: Tensor, b: Tensor) -> bool:
    """Is that the same rotation? A position more or less makes far more of a difference than rounding."""
    return close(a, b, 0.05)


@check("positions", points=5, title="positions in any order", seconds=5)
def positions_in_any_order(student, rng):
    places = some_places(rng, 1, 6)
    x, positions = places.x[0], places.positions[0]
    found, answer = matrices_and(student, rng, places.setting, (x, positions), LENGTH)
    if not agree(answer, turned_by(found[positions], x)):
        expect(not agree(answer, turned_by(found[:6], x)), IGNORED)
        start = int(positions[0])
        reason = "only the first position is used, and the rest counted on from there"
        from_start = turned_by(found[start : start + 6], x)
        expect(not agree(answer, from_start), f"{reason}: positions need not grow by one")
        raise Fail("positions that do not grow by one give other rotations than the same positions in order")


NOT_ACCEPTED = "are not accepted: their shape broadcasts to that of x without d_k"


@check("positions", points=5, title="each row of a batch has its own positions", seconds=5)
def rows_have_their_own_positions(student, rng):
    places = some_places(rng, 3, 5)
    x, positions = places.x, places.positions
    found = matrices(student, rng, places.setting, LENGTH)
    problems = dict.fromkeys(
        ["RuntimeError", "ValueError", "EinopsError"], f"positions of shape (batch, seq) {NOT_ACCEPTED}"
    )
    (answer,) = rotated(student, places.setting, [(x, positions)], problems=problems)
    right = turned_by(found[positions], x)
    if not agree(answer, right):
        expect(not agree(answer, turned_by(found[:5], x)), IGNORED)
        first = turned_by(found[positions[:1].expand(3, 5)], x)
        expect(not agree(answer[1:], first[1:]) and not agree(answer[0], right[0]), FIRST_ROW)
        raise Fail("positions of shape (batch, seq) give other rotations than each row by itself")


@check("positions", points=4, title="positions (batch, 1, seq) for x (batch, heads, seq, d_k)", seconds=5)
def heads_share_the_positions_of_their_row(student, rng):
    places = some_places(rng, 3, 5)
    x = torch.stack((places.x, places.x.flip(-1)), dim=1)  # two heads that are not alike
    found = matrices(student, rng, places.setting, LENGTH)
    shapes = [places.positions[:, None], places.positions[:, None].expand(-1, 2, -1).contiguous()]
    kinds = ["RuntimeError", "ValueError", "EinopsError", "IndexError"]
    problems = dict.fromkeys(
        kinds, f"positions of shape (batch, 1, seq) for x of shape (batch, heads, seq, d_k) {NOT_ACCEPTED}"
    )
    answers = rotated(student, places.setting, [(x, positions) for positions in shapes], problems=problems)
    right = turned_by(found[places.positions][:, None], x)
    for answer in answers:
        if not agree(answer, right):
            expect(not agree(answer, turned_by(found[:5], x)), IGNORED)
            expect(not agree(answer[0], right[0]), FIRST_ROW)
            raise Fail("heads are not turned by the positions of their own row of the batch")


@check("positions", points=2, title="max_seq_len - 1 is a position", seconds=10)
def the_last_position_is_known(student, rng):
    length = rng.randrange(5_000, 6_000)
    setting = some_setting(rng, length, (4,))
    message = (
        "the last positions below max_seq_len are refused: a table needs max_seq_len rows, neither fewer nor fixed"
    )
    problems = dict.fromkeys(["IndexError", "ValueError", "RuntimeError"], message)
    x, last = vectors(rng, 4, 4), torch.arange(length - 4, length)
    _, answer = matrices_and(student, rng, setting, (x, last), problems=problems)
    longer = Setting(setting.theta, setting.d_k, 2 * length)
    (right,) = rotated(student, longer, [(x, last)], problems=problems)
    expect(close(answer, right, 0.02), "the rotation at one position depends on max_seq_len, which is only a limit")


KNOWN = {kind.__name__ for kind in (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError)}


def drive_refusals(student, theta, d_k, max_seq_len, calls):
    import torch

    rope = student.RotaryPositionalEmbedding(theta, d_k, max_seq_len)
    answers = []
    for x, positions in calls:
        try:
            answer = rope(x, positions)
            answers.append(answer if isinstance(answer, torch.Tensor) else "nothing")
        except (ValueError, IndexError):
            answers.append("refused")
        except NotImplementedError:
            raise
        except Exception as error:
            answers.append(type(error).__name__)
    return answers


def expect_refused(answer: object, wanted: str, message: str) -> None:
    """The answer is ``wanted``, and neither another exception nor a tensor."""
    expect(isinstance(answer, str) and answer != "nothing", message)
    expect(answer == wanted, f"{message}; it raises {answer if answer in KNOWN else 'something else'}")


def judge_refusals(student, rng: random.Random, outside: Callable[[int], list[int]], message: str) -> None:
    length = rng.randrange(12, 40)
    setting = some_setting(rng, length)
    found = matrices(student, rng, setting)
    asked = [[1, 2, 3], [3, 4, 5]]  # these are positions
    for position in outside(length):
        asked += [[1, position, 2], [position] * 3]
    rng.shuffle(asked)
    calls = [(weighing_one(vectors(rng, 3, setting.d_k)), torch.tensor(positions)) for positions in asked]
    answers = ask(student, list_of(anything, len(calls)), drive_refusals, *setting.arguments, calls)
    for (x, positions), answer in zip(calls, answers, strict=True):
        if int(positions.min()) >= 0 and int(positions.max()) < length:
            expect(answer != "refused", "positions below max_seq_len are refused too")
            answer = expect_turned(x, answer)
            ignoring = agree(answer, turned_by(found[:3], x))  # is judged above
            expect(ignoring or agree(answer, turned_by(found[positions], x)), UNEQUAL)
        else:
            expect_refused(answer, "refused", message)


@check("positions", points=2, title="max_seq_len and beyond are refused", seconds=5)
def positions_too_far_are_refused(student, rng):
    message = "a position of max_seq_len or more must raise a ValueError (or an IndexError)"
    judge_refusals(student, rng, lambda length: [length, length + 3], message)


@check("positions", points=2, title="negative positions are refused", seconds=5)
def negative_positions_are_refused(student, rng):
    message = (
        "a negative position must raise a ValueError: as an index it would silently mean a row counted from the end"
    )
    judge_refusals(student, rng, lambda length: [-1, -3], message)


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 5: the module


@drawn
def a_whole_rotation(rng) -> tuple[Setting, Call, Tensor]:
    """Heads that share the positions of their row, and what they become, worked out in float64."""
    setting = some_setting(rng, 64)
    x = vectors(rng, 2, 3, 5, setting.d_k)
    positions = torch.tensor([rng.sample(range(60), 5) for _ in range(2)])[:, None]
    angles = positions[..., None] * setting.speeds
    first, second = x[..., 0::2].double(), x[..., 1::2].double()
    right = torch.empty_like(x, dtype=torch.float64)
    right[..., 0::2] = first * angles.cos() - second * angles.sin()
    right[..., 1::2] = first * angles.sin() + second * angles.cos()
    return setting, (x, positions), right


@check("module", points=5, title="a whole rotation agrees", seconds=5)
def whole_rotations_agree(student, rng):
    setting, call, right = a_whole_rotation(rng)
    (answer,) = rotated(student, setting, [call])
    message = (
        "the parts together do not give the rotation of exercises 1, 2 and 4: what the other checks find is felt here"
    )
    expect(close(answer, right), message)


def drive_state(student, theta, d_k, max_seq_len, calls):
    rope = student.RotaryPositionalEmbedding(theta, d_k, max_seq_len)
    answers = [rope(x, positions) for x, positions in calls]
    parameters = [name for name, _ in rope.named_parameters()]
    saved = [name for name in rope.state_dict() if name not in parameters]
    return answers, len(parameters), len(saved), bool(answers[0].requires_grad)


def state_of(student, rng: random.Random) -> tuple[int, int, bool]:
    setting = some_setting(rng, 32)
    probe = some_probe(rng, setting)
    form = [list_of(anything, len(probe.calls)), int, int, bool]
    answers, *state = ask(student, form, drive_state, *setting.arguments, probe.calls)
    probe.read(answers)
    return tuple(state)


@check("module", points=2, title="no parameters", seconds=5)
def there_are_no_parameters(student, rng):
    parameters, _, learns = state_of(student, rng)
    expect(parameters == 0, "cosines, sines or speeds are parameters: an optimizer would change them; keep a buffer")
    expect(learns is False, "the result asks for gradients though x does not: nothing in this module is learned")


@check("module", points=2, title="nothing in state_dict", seconds=5)
def state_dict_is_empty(student, rng):
    _, saved, _ = state_of(student, rng)
    expect(
        saved == 0, "state_dict is not empty: register_buffer(..., persistent=False) keeps a buffer out of checkpoints"
    )


def drive_converted(student, theta, d_k, max_seq_len, calls, rows):
    import torch

    number = max(rows) + 1
    answers = []
    for convert in (False, True):
        rope = student.RotaryPositionalEmbedding(theta, d_k, max_seq_len)
        if convert:
            rope = rope.to(torch.bfloat16)
        x = torch.eye(d_k)[:, None, :].expand(d_k, number, d_k)  # float32, as cosines and sines should be
        far = rope(x.contiguous(), torch.arange(number))[:, rows]
        answers.append([far, *(rope(x.clone(), positions.clone()) for x, positions in calls)])
    return answers


@drawn
def rounding_that_shows(rng) -> tuple[float, int]:
    """A base of which the speeds, rounded to bfloat16, have gone astray by a radian or two after so many positions."""
    while True:
        setting, number = some_setting(rng, 2_000, (6,)), rng.randrange(1_500, 1_990)
        astray = (setting.speeds.bfloat16().double() - setting.speeds).abs() * number
        if 1.0 < float(astray[1:].max()) < 2.0:
            return setting.theta, number


@check("module", points=3, title="as exact after .to(torch.bfloat16)", seconds=10)
def a_converted_module_is_as_exact(student, rng):
    theta, number = rounding_that_shows(rng)
    setting = Setting(theta, 6, 2_000)
    probe = some_probe(rng, setting)
    rows = [0, 1, number - 2, number - 1, number]
    form = list_of(list_of(anything, 1 + len(probe.calls)), 2)
    found = ask(student, form, drive_converted, *setting.arguments, probe.calls, rows)
    plain, converted = (as_matrices(expect_turned(unit_vectors(6, 5), far)) for far, *_ in found)
    near = probe.read(found[0][1:])
    expect(close(plain[:2], near[:2], 0.05), UNEQUAL)
    message = (
        "after model.to(torch.bfloat16) the angles are wrong: that call rounds every buffer of floating-point numbers"
    )
    expect(
        close(converted, plain, 0.1), f"{message}; keep cosines and sines, or compute the angles from theta in forward"
    )


def drive_made(student, asked):
    import torch

    answers = []
    for arguments, options, calls in asked:
        try:
            rope = student.RotaryPositionalEmbedding(*arguments, **options)
        except NotImplementedError:
            raise
        except Exception as error:
            answers.append("ValueError" if isinstance(error, ValueError) else type(error).__name__)
            continue
        try:
            found = [rope(x, positions) for x, positions in calls]
            answers.append([answer if isinstance(answer, torch.Tensor) else None for answer in found])
        except NotImplementedError:
            raise
        except Exception:
            answers.append("nothing")  # it was made, though it is of no use
    return answers


def judge_making(student, rng: random.Random, right: list, wrong: list, message: str, problems=None) -> None:
    """Of embeddings with these (d_k, options) the ``right`` ones turn, and the ``wrong`` ones cannot be made."""
    layout = "half" if problems else None
    matrices(student, rng, some_setting(rng, 32), layout=layout, problems=problems)
    cases = [(True, *case) for case in right] + [(False, *case) for case in wrong]
    rng.shuffle(cases)
    settings = [Setting(round(rng.uniform(20, 60), 2), d_k, 16) for _, d_k, _ in cases]
    probes = [some_probe(rng, setting) for setting in settings]
    asked = [
        (setting.arguments, options, probe.calls)
        for setting, probe, (_, _, options) in zip(settings, probes, cases, strict=True)
    ]
    answers = ask(student, list_of(anything, len(cases)), drive_made, asked)
    for probe, (is_right, _, _), answer in zip(probes, cases, answers, strict=True):
        if is_right:
            expect(answer != "ValueError", f"what is in order is refused too: {message}")
            probe.read(fits(answer, list_of(anything, len(probe.calls))))
        else:
            expect_refused(answer, "ValueError", message)


@check("module", points=2, title="an odd d_k is refused", seconds=5)
def odd_sizes_are_refused(student, rng):
    message = "an odd d_k leaves a dimension without a partner: raise a ValueError when the module is made"
    wrong = [(size, {}) for size in (rng.choice([5, 7, 9]), 1)]
    judge_making(student, rng, [(rng.choice([6, 8]), {})], wrong, message)


@check("module", points=1, title="an unknown layout is refused", seconds=5)
def unknown_layouts_are_refused(student, rng):
    message = "a layout other than 'interleaved' and 'half' must raise a ValueError when the module is made"
    wrong = [(8, {"layout": layout}) for layout in ("".join(rng.choices("bcdgjkmpqvwxz", k=6)), "halves")]
    right = [(8, {"layout": layout}) for layout in ("interleaved", "half")]
    judge_making(student, rng, right, wrong, message, {"TypeError": NO_LAYOUT})


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 6: attention that sees distances. The rotation is ours, here and beside the student's code.


def turned(x: Tensor, positions: Tensor) -> Tensor:
    """A rotation like the student's, with theta 50."""
    angles = positions[..., None] * 50.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    first, second = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)


def drive_attention(student, calls):
    import torch

    class Rope(torch.nn.Module):
        def forward(self, x, token_positions):
            angles = token_positions[..., None] * 50.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
            first, second = x[..., 0::2], x[..., 1::2]
            cos, sin = angles.cos(), angles.sin()
            return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)

    answers = [student.rotary_attention(Rope(), *call) for call in calls]
    return [answer if isinstance(answer, torch.Tensor) else None for answer in answers]


@dataclass(frozen=True)
class Heard:
    """A question about attention, and the answers of right and wrong attention, by what is wrong."""

    call: tuple[Tensor, ...]
    kinds: list[dict[str, str]]
    answers: Tensor  # one of each kind

    def gives(self, answer: Tensor, **wanted: str) -> bool:
        """Is this the answer of some attention whose scale, turn, values or softmax are as wanted?"""
        expect(answer.shape == self.answers.shape[1:], "rotary_attention must return (..., queries, d_v)")
        is_this = ((self.answers.double() - answer.double()).abs().flatten(1).amax(dim=1) <= 1e-3).tolist()
        return any(
            found and all(kind[name] == one for name, one in wanted.items())
            for kind, found in zip(self.kinds, is_this, strict=True)
        )


@drawn
def something_heard(rng, queries: int, keys: int) -> Heard:
    d_k = 6
    q, k, v = vectors(rng, 2, queries, d_k), vectors(rng, 2, keys, d_k), vectors(rng, 2, keys, d_k)
    q_at = torch.tensor([rng.sample(range(20, 40), queries) for _ in range(2)])
    k_at = torch.tensor([rng.sample(range(1, 18), keys) for _ in range(2)])
    turns = {
        "right": (turned(q, q_at), turned(k, k_at)),
        "none": (q, k),
        "only q": (turned(q, q_at), k),
        "only k": (q, turned(k, k_at)),
    }
    if queries == keys:
        turns["all by q"] = turned(q, q_at), turned(k, q_at)
        turns["all by k"] = turned(q, k_at), turned(k, k_at)
        turns["exchanged"] = turned(q, k_at), turned(k, q_at)
    values = {"right": v, "turned": turned(v, k_at)}
    scales = {"right": d_k**-0.5, "none": 1.0, "d_k": 1 / d_k}
    kinds, answers = [], []
    for scale, factor in scales.items():
        for turn, (q_turned, k_turned) in turns.items():
            scores = q_turned @ k_turned.transpose(-2, -1) * factor
            weights = {"over keys": scores.softmax(dim=-1), "over queries": scores.softmax(dim=-2)}
            if queries == keys:
                later = torch.ones(queries, keys, dtype=torch.bool).triu(1)
                weights["masked"] = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
            for softmax, weight in weights.items():
                kinds += [{"scale": scale, "turn": turn, "values": name, "softmax": softmax} for name in values]
                answers += [weight @ value for value in values.values()]
    return Heard((q, k, v, q_at, k_at), kinds, torch.stack(answers))


def attended(student, questions: list[Heard]) -> list[Tensor]:
    calls = [question.call for question in questions]
    answers = ask(student, list_of(anything, len(calls)), drive_attention, calls)
    for question, answer in zip(questions, answers, strict=True):
        q, v = question.call[0], question.call[2]
        expect(isinstance(answer, Tensor), "rotary_attention must return a tensor")
        expect(answer.shape == (*q.shape[:-1], v.shape[-1]), "rotary_attention must return (..., queries, d_v)")
        expect(bool(answer.isfinite().all()), "the result of rotary_attention holds nan or infinity")
        expect(not close(answer, torch.zeros_like(answer), 1e-6), "rotary_attention returns zeros")
        expect(
            answer.shape != v.shape or v.shape[-2] == 1 or not close(answer, v, 1e-6),
            "the values come back as they are",
        )
    return answers


@check("relative", points=4, title="values are not turned", seconds=5)
def values_are_not_turned(student, rng):
    question, alone = something_heard(rng, 3, 3), something_heard(rng, 1, 1)
    answers = attended(student, [question, alone])
    message = "values are turned too: only queries and keys are, for V is what a token says, wherever it stands"
    expect(not question.gives(answers[0], values="turned") or question.gives(answers[0], values="right"), message)
    expect(not close(answers[1], turned(alone.call[2], alone.call[4])), message)
    expect(not close(answers[1], turned(alone.call[2], alone.call[3])), message)
    expect(close(answers[1], alone.call[2]), "with a single key the weight is 1, and the result must be its value")
    expect(question.gives(answers[0]), "the result is not a sum of values, weighed by a softmax of the scores")


@check("relative", points=2, title="queries and keys have positions of their own", seconds=5)
def each_has_its_own_positions(student, rng):
    for question in (something_heard(rng, 3, 3), something_heard(rng, 2, 4)):
        (answer,) = attended(student, [question])
        if question.gives(answer, turn="right", softmax="over keys"):
            continue
        expect(not question.gives(answer, turn="none"), "queries and keys are not turned: attention sees no distances")
        one = question.gives(answer, turn="only q") or question.gives(answer, turn="only k")
        expect(
            not one,
            "only one of queries and keys is turned, so scores depend on where both stand, not on their distance",
        )
        both = question.gives(answer, turn="all by q") or question.gives(answer, turn="all by k")
        expect(not both, "queries and keys are turned by the same positions: each has its own")
        expect(not question.gives(answer, turn="exchanged"), "the positions of queries and keys are exchanged")
        raise Fail("the result is not attention with queries turned by q_positions and keys by k_positions")


@check("relative", points=2, title="softmax over keys of scores divided by the root of d_k", seconds=5)
def scores_are_scaled(student, rng):
    question = something_heard(rng, 3, 3)
    (answer,) = attended(student, [question])
    if not question.gives(answer, scale="right", softmax="over keys"):
        expect(not question.gives(answer, scale="none"), "scores are not scaled: divide them by the root of d_k")
        expect(not question.gives(answer, scale="d_k"), "scores are divided by d_k: divide them by its root")
        raise Fail("the result is not softmax over the keys, times the values")


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 7: a part of the head


def drive_part(student, x, positions, rotary_dim):
    import torch

    class Rope(torch.nn.Module):
        def forward(self, x, token_positions):
            angles = token_positions[..., None] * 50.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
            first, second = x[..., 0::2], x[..., 1::2]
            cos, sin = angles.cos(), angles.sin()
            return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)

    x = x.clone()
    answer = student.rotate_part(Rope(), x, positions, rotary_dim)
    return answer if isinstance(answer, torch.Tensor) else None, x


def asked_part(student, rng: random.Random, d_head: int, rotary_dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, its positions, the answer, in which something is what rope makes of a part of x, and x after that."""
    x = vectors(rng, 2, 3, 4, d_head)
    positions = torch.tensor([rng.sample(range(1, 20), 4) for _ in range(2)])[:, None]
    answer, after = ask(student, [anything, like(x)], drive_part, x, positions, rotary_dim)
    expect(isinstance(answer, Tensor), "rotate_part must return a tensor")
    shapes = [(*x.shape[:-1], size) for size in (d_head, rotary_dim)]
    expect(answer.shape in shapes, "rotate_part must return a tensor of the shape of x")
    expect(bool(answer.isfinite().all()), "the result holds nan or infinity")
    expect(answer.shape != x.shape or not close(answer, x, 1e-6), "x comes back as it is: nothing is turned")
    expect(not close(answer, torch.zeros_like(answer), 1e-6), "the result is zero")
    expect(holds_a_turn(answer, x, positions, rotary_dim), "no part of the result is what rope makes of a part of x")
    return x, positions, answer, after


def holds_a_turn(answer: Tensor, x: Tensor, positions: Tensor, size: int) -> bool:
    """Are some dimensions of the answer, side by side, some of the first, of the last or of all of x, turned?"""
    parts = [turned(part, positions) for part in (x[..., :size], x[..., -size:], x)]
    places = range(answer.shape[-1] - size + 1)
    starts = [(part, start) for part in parts for start in range(part.shape[-1] - size + 1)]
    return any(
        close(answer[..., place : place + size], part[..., start : start + size])
        for part, start in starts
        for place in places
    )


def whole_head(student, rng: random.Random, d_head: int, rotary_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same, when the answer has the shape of x."""
    x, positions, answer, _ = asked_part(student, rng, d_head, rotary_dim)
    dropped = answer.shape == (*x.shape[:-1], rotary_dim) and rotary_dim < d_head
    expect(not dropped, "the dimensions that are not turned are dropped: put them back behind the others")
    expect(answer.shape == x.shape, "rotate_part must return a tensor of the shape of x")
    return x, positions, answer


@check("partial", points=3, title="the first part is turned", seconds=5)
def the_first_part_is_turned(student, rng):
    x, positions, answer = whole_head(student, rng, 10, 4)
    part, right = answer[..., :4], turned(x[..., :4], positions)
    if not close(part, right):
        expect(
            not close(part, turned(x, positions)[..., :4]), "the whole head is given to rope: it is made for rotary_dim"
        )
        expect(
            not close(part, x[..., :4]),
            "the first rotary_dim dimensions are left as they are: turn these, not the last",
        )
        raise Fail("the first rotary_dim dimensions are not what rope makes of them")


@check("partial", points=2, title="the rest stays as it is", seconds=5)
def the_rest_stays(student, rng):
    x, positions, answer = whole_head(student, rng, 10, 4)
    rest = answer[..., 4:]
    if not same(rest, x[..., 4:]):
        expect(not close(rest, turned(x, positions)[..., 4:]), "the whole head is turned: leave the rest as it is")
        raise Fail("the dimensions from rotary_dim on must stay as they are, at their places")


@check("partial", points=1, title="the part may be all of the head", seconds=5)
def the_part_may_be_all(student, rng):
    x, positions, answer = whole_head(student, rng, 6, 6)
    expect(close(answer, turned(x, positions)), "with rotary_dim as large as the head, the result must be rope(x)")


@check("partial", points=1, title="x stays as it is", seconds=5)
def x_stays_as_it_is(student, rng):
    x, _, _, after = asked_part(student, rng, 10, 4)
    expect(same(after, x), "x is changed in place: put the result into a new tensor")
