r"""Hidden checks of a3_rope: 100 points, judged through the class and the four functions that the assignment names.

A rotary embedding is linear, so asking it for the unit vectors gives the whole matrix $R_m$ of each position. Each check
reads one property off these matrices (which dimensions form pairs, how fast, in which direction), or compares answers
of one solution with each other (position 7 in a batch with position 7 in a row). So a solution that turns the wrong way
loses the points of the direction, and not those of speeds, layouts or positions. A misconception has a message of its
own. `rotary_attention` and `rotate_part` are given a rotation of ours, so they do not suffer from a wrong class.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

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
    return a.shape == b.shape and bool((a.double() - b.double()).abs().max() < tolerance)


Call = tuple[Tensor, Tensor]


def expect_turned(x: Tensor, answer: Tensor) -> None:
    expect(not close(answer, x, 1e-6), "x comes back as it is: nothing is turned, though its position is not 0")
    expect(not close(answer, torch.zeros_like(answer), 1e-6), "the result is zero")


def ask(student, setting: Setting, calls: list[Call], layout: str | None = None, problems=None) -> list[Tensor]:
    """The answers to some (x, positions) that are in order; ``problems`` maps an exception's name to what to say of it."""
    try:
        answers = student.run(drive_rope, *setting.arguments, layout, calls)
    except StudentError as error:
        if problems and error.kind in problems:
            raise Fail(problems[error.kind]) from None
        if error.kind == "IndexError":
            raise Fail("a position below max_seq_len raises an IndexError: a table needs max_seq_len rows") from None
        raise
    expect(isinstance(answers, list) and len(answers) == len(calls), "forward must return a tensor")
    for (x, _), answer in zip(calls, answers):
        expect(isinstance(answer, Tensor), "forward must return a tensor")
        expect(answer.shape == x.shape, "forward must return a tensor of the shape of x")
        expect(answer.is_floating_point(), "forward must return floating-point numbers, as x holds")
        expect_turned(x, answer)
    return [answer.detach() for answer in answers]


def unit_vectors(d_k: int, number: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Every unit vector at each of ``number`` places, of shape (d_k, number, d_k)."""
    return torch.eye(d_k, dtype=dtype)[:, None, :].expand(d_k, number, d_k).contiguous()


def as_matrices(answer: Tensor) -> Tensor:
    """What unit vectors became, as one matrix a place: (places, d_k, d_k), a column for each unit vector."""
    return answer.double().permute(1, 2, 0)


def matrices(student, setting: Setting, number: int, layout: str | None = None, problems=None) -> Tensor:
    """The matrices of the positions 0 to ``number - 1``."""
    call = unit_vectors(setting.d_k, number), torch.arange(number)
    found = as_matrices(ask(student, setting, [call], layout, problems)[0])
    expect(bool(found.isfinite().all()), "the result holds nan or infinity")
    return found


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
        found = matrices(student, setting, 6)
        if shows(found, setting.speeds):
            continue
        for speeds, message in wrong_speeds(setting):
            expect(not shows(found, speeds), message)
        raise Fail(f"pairs do not turn by m * theta ** (-2i / d_k): {EXPONENT}, times the position")


@check("angles", points=4, title="position 0 is not turned", seconds=5)
def nothing_turns_at_position_zero(student, rng):
    setting = some_setting(rng, 32)
    found = matrices(student, setting, 4)
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
    kinds = [torch.float32, torch.bfloat16]
    calls = [(unit_vectors(4, 6), places)] + [(unit_vectors(4, 6, kind), places + start) for kind in kinds]
    near, *far = (as_matrices(answer) for answer in ask(student, setting, calls))
    expect(not close(near[1], near[2]), INDIFFERENT)
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
    found = pairs_of(matrices(student, setting, 2)[1])
    expect(
        found != halves(setting.d_k),
        'dimension i is paired with i + d_k / 2, which is the layout "half": by default pair i is (2i, 2i + 1)',
    )
    expect(found == neighbours(setting.d_k), "dimensions 2i and 2i + 1 must form a pair, and be mixed with no other")


@check("rotation", points=4, title="pairs turn counter-clockwise", seconds=5)
def pairs_turn_counter_clockwise(student, rng):
    setting = some_setting(rng, 32)
    turn = since(matrices(student, setting, 2))[1]
    pairs = pairs_of(turn) or neighbours(setting.d_k)
    sines = torch.stack([turn[second, first] for first, second in pairs])
    message = "pairs turn clockwise: the new first is x cos - y sin, and the new second x sin + y cos"
    expect(bool(sines[0] > -1e-3), f"the sign of the sine is wrong, so {message}")
    backwards = (sines + setting.speeds.sin()).abs() < 1e-4
    expect(not bool(backwards.any()), f"some {message}")


@check("rotation", points=3, title="each pair turns at its own speed", seconds=5)
def each_pair_has_its_own_speed(student, rng):
    setting = some_setting(rng, 32)
    found = matrices(student, setting, 4)
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
    x = vectors(rng, 3, 7, setting.d_k)
    (answer,) = ask(student, setting, [(x, torch.arange(7))])
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
    x = vectors(rng, 2, 5, setting.d_k)
    kinds = [torch.float32, torch.bfloat16, torch.float64]
    message = "x of another dtype than float32 is refused"
    problems = dict.fromkeys(["RuntimeError", "TypeError", "ValueError"], f"{message}: models compute in bfloat16 too")
    answers = ask(student, setting, [(x.to(kind), torch.arange(5)) for kind in kinds], problems=problems)
    for answer, kind in zip(answers, kinds):
        expect(answer.dtype == kind, "the result has another dtype than x: cast it back at the end")


def drive_unchanged(student, theta, d_k, max_seq_len, x, positions):
    import torch

    x, positions = x.clone(), positions.clone()
    before = x.clone(), positions.clone()
    answer = student.RotaryPositionalEmbedding(theta, d_k, max_seq_len)(x, positions)
    same = torch.equal(x, before[0]) and x.dtype == before[0].dtype, torch.equal(positions, before[1])
    return answer if isinstance(answer, torch.Tensor) else None, *same


@check("rotation", points=2, title="x and the positions stay as they are", seconds=5)
def inputs_stay_as_they_are(student, rng):
    setting = some_setting(rng, 32)
    x = vectors(rng, 2, 5, setting.d_k)
    answer, x_same, positions_same = student.run(drive_unchanged, *setting.arguments, x, torch.arange(1, 6))
    expect(isinstance(answer, Tensor) and answer.shape == x.shape, "forward must return a tensor of the shape of x")
    expect(x_same, "x is changed in place: write the result into a new tensor")
    expect(positions_same, "token_positions are changed in place")
    expect_turned(x, answer)


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 3: layouts

NO_LAYOUT = "the keyword argument layout is not accepted: it is 'interleaved' or 'half'"


@check("layouts", points=6, title='layout="half" pairs i with i + d_k / 2', seconds=5)
def half_is_the_same_rotation_elsewhere(student, rng):
    setting = some_setting(rng, 32)
    order = order_of_halves(setting.d_k)
    default = matrices(student, setting, 4)
    named = matrices(student, setting, 4, "interleaved", {"TypeError": NO_LAYOUT})
    found = matrices(student, setting, 4, "half", {"TypeError": NO_LAYOUT})
    expect(close(named, default), 'layout="interleaved" is the default, and must give the same')
    moved = default[:, order][:, :, order]
    if pairs_of(default[1]) == halves(setting.d_k):  # wrong, but judged in exercise 2
        moved = default
    if close(found, moved) or close(found, rotations(setting, 4)[:, order][:, :, order]):
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
    (answer,) = student.run(drive_permutations, name, [(x, None)])
    expect(isinstance(answer, Tensor) and answer.shape == x.shape, f"{name} must return a tensor of the shape of x")
    expect(not torch.equal(answer, x), f"{name} gives x back as it is")
    expect(not torch.equal(answer, x[..., back]), f"{name} goes the other way: the two functions are exchanged")
    first = x[..., [*range(0, len(right), 2), *range(len(right) - 1, 0, -2)]]
    expect(not torch.equal(answer, first), "the second dimensions of the pairs come in reversed order")
    expect(torch.equal(answer, x[..., right]), f"{name} does not put pair i where the other layout has it")


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
        answers = student.run(drive_permutations, name, calls)
        for answer, dim in zip(answers, (2, 2, 0), strict=True):
            expect(isinstance(answer, Tensor), f"{name} must return a tensor")
            permuted = [torch.equal(answer, x.index_select(dim, torch.tensor(one))) for one in orders]
            message = (
                "dim is ignored or misread: the rows of a weight are permuted along another dimension than the last"
            )
            expect(any(permuted), message)  # the right way round is judged above


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 4: positions. What one solution says in different ways must agree: positions 0, 1, 2, … in one row are known.

IGNORED = "token_positions are ignored: the places 0, 1, 2, … in the sequence are used instead"


@dataclass(frozen=True)
class Places:
    """Vectors, the positions they are asked at, and what the same solution says of all positions in one row."""

    setting: Setting
    long: Tensor  # (batch, length, d_k), asked at 0, 1, 2, …
    positions: Tensor  # (batch, seq), each below length

    @property
    def x(self) -> Tensor:
        """The vectors at the positions, (batch, seq, d_k)."""
        return self.at(self.long, self.positions)

    @staticmethod
    def at(rows: Tensor, positions: Tensor) -> Tensor:
        return rows.gather(1, positions[..., None].expand(*positions.shape, rows.shape[-1]))

    @property
    def along(self) -> Call:
        return self.long, torch.arange(self.long.shape[1])

    @property
    def ignoring(self) -> Call:
        return self.x, torch.arange(self.positions.shape[1])


def some_places(rng: random.Random, batch: int, seq: int) -> Places:
    """Positions that do not grow by one, some more than once, so drawn that the usual shortcuts give something else."""
    length = 24
    setting = some_setting(rng, length + 2)
    rows = []
    for row in range(batch):
        chosen = rng.sample(range(2, length - 8), seq - 1)
        rows.append([3 + row, *chosen[: seq - 2], 3 + row])
        while rows[-1] == sorted(rows[-1]):
            rng.shuffle(rows[-1])
    return Places(setting, vectors(rng, batch, length, setting.d_k), torch.tensor(rows))


@check("positions", points=5, title="positions in any order", seconds=5)
def positions_in_any_order(student, rng):
    places = some_places(rng, 1, 6)
    x, positions = places.x[0], places.positions[0]
    start = int(positions[0]) + torch.arange(6)
    calls = [(places.long[0], places.along[1]), (x, torch.arange(6)), (x, start), (x, positions)]
    along, ignoring, from_start, answer = ask(student, places.setting, calls)
    right = along[positions]
    expect(not close(right, ignoring), INDIFFERENT)
    if not close(answer, right):
        expect(not close(answer, ignoring), IGNORED)
        reason = "only the first position is used, and the rest counted on from there"
        expect(not close(answer, from_start), f"{reason}: positions need not grow by one")
        raise Fail("positions that do not grow by one give other rotations than the same positions in order")


NOT_ACCEPTED = "are not accepted: their shape broadcasts to that of x without d_k"


@check("positions", points=5, title="each row of a batch has its own positions", seconds=5)
def rows_have_their_own_positions(student, rng):
    places = some_places(rng, 3, 5)
    problems = dict.fromkeys(
        ["RuntimeError", "ValueError", "EinopsError"], f"positions of shape (batch, seq) {NOT_ACCEPTED}"
    )
    calls = [places.along, places.ignoring, (places.x, places.positions)]
    along, ignoring, answer = ask(student, places.setting, calls, problems=problems)
    right = places.at(along, places.positions)
    expect(not close(right, ignoring), INDIFFERENT)
    if not close(answer, right):
        expect(not close(answer, ignoring), IGNORED)
        alike = [
            close(answer[1:], asked_as(student, places, places.positions[:1].expand(3, 5))[1:]),
            close(answer[0], right[0]),
        ]
        message = "batched positions are ignored: the positions of the first row are used for the whole batch"
        expect(not any(alike), message)
        raise Fail("positions of shape (batch, seq) give other rotations than each row by itself")


def asked_as(student, places: Places, positions: Tensor) -> Tensor:
    """The answer when each row is asked alone, one after the other, at these positions."""
    rows = ask(student, places.setting, [(x, where) for x, where in zip(places.x, positions)])
    return torch.stack(rows)


@check("positions", points=4, title="positions (batch, 1, seq) for x (batch, heads, seq, d_k)", seconds=5)
def heads_share_the_positions_of_their_row(student, rng):
    places = some_places(rng, 3, 5)
    heads = 2
    long, x = (t[:, None].expand(-1, heads, -1, -1).contiguous() for t in (places.long, places.x))
    flips = torch.tensor([1.0, -1.0])[:, None, None]  # so that heads are not alike
    long, x = long * flips, x * flips
    shapes = [places.positions[:, None], places.positions[:, None].expand(-1, heads, -1).contiguous()]
    calls = [(long, places.along[1]), (x, places.ignoring[1])] + [(x, positions) for positions in shapes]
    kinds = ["RuntimeError", "ValueError", "EinopsError", "IndexError"]
    problems = dict.fromkeys(
        kinds, f"positions of shape (batch, 1, seq) for x of shape (batch, heads, seq, d_k) {NOT_ACCEPTED}"
    )
    along, ignoring, *answers = ask(student, places.setting, calls, problems=problems)
    right = torch.stack([places.at(along[:, head], places.positions) for head in range(heads)], dim=1)
    expect(not close(right, ignoring), INDIFFERENT)
    for answer in answers:
        expect(close(answer, right) or not close(answer, ignoring), IGNORED)
        first = close(answer[0], right[0]) and not close(answer, right)
        expect(not first, "batched positions are ignored: the positions of the first row are used for the whole batch")
        expect(close(answer, right), "heads are not turned by the positions of their own row of the batch")


@check("positions", points=2, title="max_seq_len - 1 is a position", seconds=10)
def the_last_position_is_known(student, rng):
    length = rng.randrange(5_000, 6_000)
    setting = some_setting(rng, length, (4,))
    message = (
        "the last positions below max_seq_len are refused: a table needs max_seq_len rows, neither fewer nor fixed"
    )
    problems = dict.fromkeys(["IndexError", "ValueError", "RuntimeError"], message)
    x, last = vectors(rng, 4, 4), torch.arange(length - 4, length)
    (answer,) = ask(student, setting, [(x, last)], problems=problems)
    longer = Setting(setting.theta, setting.d_k, 2 * length)
    (right,) = ask(student, longer, [(x, last)], problems=problems)
    expect(close(answer, right, 0.02), "the rotation at one position depends on max_seq_len, which is only a limit")


def drive_refusals(student, theta, d_k, max_seq_len, x, asked):
    rope = student.RotaryPositionalEmbedding(theta, d_k, max_seq_len)
    kinds = []
    for positions in asked:
        try:
            rope(x, positions)
            kinds.append("nothing")
        except (ValueError, IndexError):
            kinds.append("refused")
        except NotImplementedError:
            raise
        except Exception as error:
            kinds.append(type(error).__name__)
    return kinds


def judge_refusals(student, rng: random.Random, outside: Callable[[int], list[int]], message: str) -> None:
    length = rng.randrange(12, 40)
    setting = some_setting(rng, length)
    x = vectors(rng, 3, setting.d_k)
    ask(student, setting, [(x, torch.tensor([4, 1, 2]))])
    asked = []
    for position in outside(length):
        asked += [torch.tensor([1, position, 2]), torch.tensor([position] * 3)]
    for kind in student.run(drive_refusals, *setting.arguments, x, asked):
        expect(kind != "nothing", message)
        expect(kind == "refused", f"{message}; it raises {kind if kind.isidentifier() else 'something else'}")


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
    (answer,) = ask(student, setting, [call])
    message = (
        "the parts together do not give the rotation of exercises 1, 2 and 4: what the other checks find is felt here"
    )
    expect(close(answer, right), message)


def drive_state(student, theta, d_k, max_seq_len, x, positions):
    rope = student.RotaryPositionalEmbedding(theta, d_k, max_seq_len)
    answer = rope(x, positions)
    parameters = [name for name, _ in rope.named_parameters()]
    saved = [name for name in rope.state_dict() if name not in parameters]
    return answer, len(parameters), len(saved), bool(answer.requires_grad)


def state_of(student, rng: random.Random) -> tuple[int, int, bool]:
    setting = some_setting(rng, 32)
    x = vectors(rng, 4, setting.d_k)
    answer, *state = student.run(drive_state, *setting.arguments, x, torch.arange(1, 5))
    expect(isinstance(answer, Tensor) and answer.shape == x.shape, "forward must return a tensor of the shape of x")
    expect_turned(x, answer)
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


def drive_converted(student, theta, d_k, max_seq_len, rows):
    import torch

    number = max(rows) + 1
    answers = []
    for convert in (False, True):
        rope = student.RotaryPositionalEmbedding(theta, d_k, max_seq_len)
        if convert:
            rope = rope.to(torch.bfloat16)
        x = torch.eye(d_k)[:, None, :].expand(d_k, number, d_k)  # float32, as cosines and sines should be
        answers.append(rope(x.contiguous(), torch.arange(number))[:, rows])
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
    rows = [0, 1, number - 2, number - 1, number]
    answers = student.run(drive_converted, theta, 6, 2_000, rows)
    expect(len(answers) == 2 and all(isinstance(one, Tensor) for one in answers), "forward must return a tensor")
    plain, converted = (as_matrices(one) for one in answers)
    expect(plain.shape == converted.shape == (5, 6, 6), "forward must return a tensor of the shape of x")
    expect(not close(plain[1], plain[0]), INDIFFERENT)
    message = (
        "after model.to(torch.bfloat16) the angles are wrong: that call rounds every buffer of floating-point numbers"
    )
    expect(
        close(converted, plain, 0.1), f"{message}; keep cosines and sines, or compute the angles from theta in forward"
    )


def drive_made(student, arguments, options):
    kinds = []
    for argument, option in zip(arguments, options):
        try:
            student.RotaryPositionalEmbedding(*argument, **option)
            kinds.append("nothing")
        except ValueError:
            kinds.append("ValueError")
        except NotImplementedError:
            raise
        except Exception as error:
            kinds.append(type(error).__name__)
    return kinds


def judge_making(student, rng: random.Random, arguments: list, options: list, message: str, problems=None) -> None:
    setting = some_setting(rng, 32)
    layout = "half" if problems else None
    ask(student, setting, [(vectors(rng, 3, setting.d_k), torch.arange(3))], layout, problems)
    for kind in student.run(drive_made, arguments, options):
        expect(kind != "nothing", message)
        expect(kind == "ValueError", f"{message}; it raises {kind if kind.isidentifier() else 'something else'}")


@check("module", points=2, title="an odd d_k is refused", seconds=5)
def odd_sizes_are_refused(student, rng):
    message = "an odd d_k leaves a dimension without a partner: raise a ValueError when the module is made"
    arguments = [(100.0, size, 16) for size in (rng.choice([5, 7, 9]), 1)]
    judge_making(student, rng, arguments, [{}] * 2, message)


@check("module", points=1, title="an unknown layout is refused", seconds=5)
def unknown_layouts_are_refused(student, rng):
    message = "a layout other than 'interleaved' and 'half' must raise a ValueError when the module is made"
    options = [{"layout": "".join(rng.choices("bcdgjkmpqvwxz", k=6))}, {"layout": "halves"}]
    judge_making(student, rng, [(100.0, 8, 16)] * 2, options, message, {"TypeError": NO_LAYOUT})


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
    kinds: list[tuple[str, str, str]]
    answers: Tensor  # one of each kind

    def gives(self, answer: Tensor, **wanted: str) -> bool:
        """Is this the answer of some attention whose scale, turn or values are as wanted?"""
        names = ("scale", "turn", "values")
        return any(
            close(answer, other)
            for kind, other in zip(self.kinds, self.answers)
            if all(wanted.get(name, one) == one for name, one in zip(names, kind))
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
            weights = (q_turned @ k_turned.transpose(-2, -1) * factor).softmax(dim=-1)
            kinds += [(scale, turn, name) for name in values]
            answers += [weights @ value for value in values.values()]
    return Heard((q, k, v, q_at, k_at), kinds, torch.stack(answers))


def attended(student, questions: list[Heard]) -> list[Tensor]:
    answers = student.run(drive_attention, [question.call for question in questions])
    for question, answer in zip(questions, answers, strict=True):
        q, v = question.call[0], question.call[2]
        expect(isinstance(answer, Tensor), "rotary_attention must return a tensor")
        expect(answer.shape == (*q.shape[:-1], v.shape[-1]), "rotary_attention must return (..., queries, d_v)")
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


@check("relative", points=2, title="queries and keys have positions of their own", seconds=5)
def each_has_its_own_positions(student, rng):
    for question in (something_heard(rng, 3, 3), something_heard(rng, 2, 4)):
        (answer,) = attended(student, [question])
        if question.gives(answer, turn="right"):
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
    if not question.gives(answer, scale="right"):
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
    before = x.clone()
    answer = student.rotate_part(Rope(), x, positions, rotary_dim)
    return answer if isinstance(answer, torch.Tensor) else None, torch.equal(x, before)


def asked_part(student, rng: random.Random, d_head: int, rotary_dim: int) -> tuple[Tensor, Tensor, Tensor, bool]:
    """x, its positions, the answer, and whether x is still what it was."""
    x = vectors(rng, 2, 3, 4, d_head)
    positions = torch.tensor([rng.sample(range(1, 20), 4) for _ in range(2)])[:, None]
    answer, same = student.run(drive_part, x, positions, rotary_dim)
    expect(isinstance(answer, Tensor), "rotate_part must return a tensor")
    expect(answer.shape != x.shape or not close(answer, x, 1e-6), "x comes back as it is: nothing is turned")
    expect(not close(answer, torch.zeros_like(answer), 1e-6), "the result is zero")
    return x, positions, answer, same


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
    if not torch.equal(rest, x[..., 4:]):
        expect(not close(rest, turned(x, positions)[..., 4:]), "the whole head is turned: leave the rest as it is")
        raise Fail("the dimensions from rotary_dim on must stay as they are, at their places")


@check("partial", points=1, title="the part may be all of the head", seconds=5)
def the_part_may_be_all(student, rng):
    x, positions, answer = whole_head(student, rng, 6, 6)
    expect(close(answer, turned(x, positions)), "with rotary_dim as large as the head, the result must be rope(x)")


@check("partial", points=1, title="x stays as it is", seconds=5)
def x_stays_as_it_is(student, rng):
    _, _, _, same = asked_part(student, rng, 10, 4)
    expect(same, "x is changed in place: put the result into a new tensor")
