r"""Hidden checks of a3_rope: 100 points, judged through the class and the four functions that the assignment names.

Each exercise ends with one check *together*: ordinary input, judged by the formula, with its gradient. These carry 40
points. The checks before them say why. A rotary embedding is linear, so asking it for the unit vectors gives the whole
matrix $R_m$ of each position. A check that diagnoses reads one property off these matrices (which dimensions form pairs,
how fast, in which direction), or compares answers of one solution with each other (position 7 in a batch with position 7
in a row). So a solution that turns the wrong way loses the points of the direction and of what is wrong for it as a
whole, and not those of speeds or positions. `rotary_attention` and `rotate_part` are given a rotation of ours, so they do
not suffer from a wrong class.

What only agrees with itself is no rotation yet. So every check of the class first sees something turn (`Probe`): two
dimensions that walk round a circle as the position grows, at whatever speed, in whatever direction, and random vectors
that are turned as the unit vectors are. What only goes wrong in a special case is told as that only when the plain call
works (`rotated`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from cs336lite.course import answers as given
from cs336lite.course.answers import ORDINARY, anything, ask, blame, either, fits, like, list_of, same
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
SHORT = 32
LIMIT = "the rotation at one position depends on max_seq_len, which is only a limit"
STILL = "some pairs stay as they are: all d_k / 2 pairs of a vector turn, each at its own speed"
NOTHING_TURNS = "nothing turns: no two dimensions go round a circle in equal steps as the position grows"
UNEQUAL = "not every vector is turned alike: a rotation of a sum must be the sum of the rotations of its parts"


# ---------------------------------------------------------------------------------------------------------------------
# Asking


def drive_rope(student, jobs, how, forms):
    """Makes an embedding for each job and calls it; ``how`` says what is looked at.

    Where a call raises an exception it is made again, with the same vectors in other ``forms``: "full" are positions for
    each vector of x, "any" further x of two, three or four dimensions; "as they are" makes no other call.
    """
    import torch

    kind, base = student.RotaryPositionalEmbedding, torch.nn.Module

    def in_rows(rope, x, positions):
        rows = zip(x.reshape(-1, *x.shape[-2:]), positions.reshape(-1, x.shape[-2]), strict=True)
        return torch.stack([rope(*row) for row in rows]).reshape(x.shape)

    def in_batches(rope, x, positions):
        several = x.reshape(-1, *x.shape[-2:])
        if x.dim() > 2:
            positions = positions.reshape(several.shape[:-1])
        return rope(several, positions).reshape(x.shape)

    def in_heads(rope, x, positions):
        several = x.reshape(-1, 1, *x.shape[-2:])
        if x.dim() > 2:
            positions = positions.reshape(several.shape[:-1])
        return rope(several, positions).reshape(x.shape)

    def turn(rope, x, positions):
        try:
            return rope(x, positions)
        except NotImplementedError:
            raise
        except Exception as error:
            if forms == "as they are":
                raise
            full = positions.expand(x.shape[:-1]).clone() if positions.shape != x.shape[:-1] else positions
            others = [lambda rope, x, positions: rope(x, positions)]
            others += [in_rows, in_batches, in_heads] if forms == "any" else []
            for other in others:
                try:
                    return other(rope, x, full)
                except Exception:
                    continue
            if forms == "any" and positions.dim() == 1:
                try:
                    return rope(x.reshape(-1, 1, *x.shape[-2:]), positions).reshape(x.shape)
                except Exception:
                    pass
            raise error

    found = []
    for arguments, options, calls in jobs:
        try:
            if how == "plain" or not (isinstance(kind, type) and issubclass(kind, base)):
                rope = kind(*arguments, **options)
            else:  # super().__init__() may be missing: judged by a check of its own
                rope = kind.__new__(kind, *arguments, **options)
                base.__init__(rope)
                rope.__init__(*arguments, **options)
        except NotImplementedError:
            raise
        except Exception as error:
            if how not in ("made", "kept"):
                raise
            found.append("ValueError" if isinstance(error, ValueError) else type(error).__name__)
            continue
        if how == "converted":
            rope = rope.to(torch.bfloat16)
        answers = []
        for x, positions, *weights in calls:
            try:
                if weights:
                    leaf = x.clone().requires_grad_()
                    answer = turn(rope, leaf * 1, positions)
                    gradient = None
                    if isinstance(answer, torch.Tensor) and answer.requires_grad and answer.shape == x.shape:
                        (answer * weights[0]).sum().backward()
                        gradient = leaf.grad
                    answer = [answer.detach() if isinstance(answer, torch.Tensor) else None, gradient]
                else:
                    answer = turn(rope, x, positions)
                    answer = answer if isinstance(answer, torch.Tensor) else None
                    if how == "unchanged":
                        answer = [answer, x, positions]
            except NotImplementedError:
                raise
            except Exception as error:
                if how == "made":
                    answer = None
                elif how == "refused":
                    refused = isinstance(error, (ValueError, IndexError))
                    answer = "refused" if refused else type(error).__name__
                else:
                    raise
            answers.append(answer)
        if how == "state":
            parameters = [name for name, _ in rope.named_parameters()]
            saved = [name for name in rope.state_dict() if name not in parameters]
            answers = [
                answers,
                len(parameters),
                len(saved),
                isinstance(answers[0], torch.Tensor) and answers[0].requires_grad,
            ]
        if how == "kept":
            tensors = [*rope.buffers(), *(value for value in vars(rope).values() if isinstance(value, torch.Tensor))]
            answers = [tensor.device.type for tensor in tensors][:8]
        found.append(answers)
    return found


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
    expect(answer is not None, "forward returns no tensor: is a return missing?")
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


KNOWN = {*ORDINARY, "IndexError", "KeyError"}  # exceptions that a message may name
Layout = str | None


def job(setting: Setting, calls: list, layout: Layout = None) -> tuple:
    return setting.arguments, {"layout": layout} if layout else {}, calls


def rotated(
    student, setting: Setting, calls: list[Call], layout: Layout = None, problem: str = "", forms: str = ""
) -> list[Tensor]:
    """The answers to some (x, positions) that are in order, in any of the ``forms`` of `drive_rope`.

    Where the calls raise an exception, and the same do not with float32 at the positions 0, 1, 2, …, ``problem`` is said of
    it. A check that has one judges the form, so calls are made as they are, unless it says otherwise.
    """

    def plain() -> None:
        same = [(x.float(), torch.arange(x.shape[-2])) for x, _ in calls]
        ask(student, anything, drive_rope, [job(setting, same, layout)], "", "full")

    told = blame(problem, plain) if problem else nullcontext()
    forms = forms or ("as they are" if problem else "any")
    with told:
        form = [list_of(anything, len(calls))]
        (answers,) = ask(student, form, drive_rope, [job(setting, calls, layout)], "", forms)
    return [expect_turned(x, answer) for (x, _), answer in zip(calls, answers, strict=True)]


def answers_plainly(student, setting: Setting) -> bool:
    """Does a call raise nothing that needs nothing but the class and its forward? Raises what it raises."""
    calls = [(torch.ones(3, setting.d_k), torch.arange(3))]
    ask(student, [list_of(anything, 1)], drive_rope, [job(setting, calls)], "", "as they are")
    return True


def each_layout(student, rng: random.Random, setting: Setting, judge: Callable[[Layout], None]) -> None:
    """Judges the default, and "half" too where that turns something at all; where not, it is told in exercise 3."""
    judge(None)
    if not half_turns(student, rng, setting):
        return
    try:
        judge("half")
    except Fail as problem:
        raise Fail(f'with layout="half": {problem}') from problem


def half_turns(student, rng: random.Random, setting: Setting) -> bool:
    """Does something turn with layout="half"?"""
    try:
        matrices(student, rng, setting, layout="half")
    except Fail:
        return False
    except StudentError as error:
        if error.is_a(*ORDINARY):
            return False
        raise
    return True


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


def matrices(student, rng, setting: Setting, number: int = 6, layout: Layout = None, problem: str = "") -> Tensor:
    """The matrices of the positions 0 to ``number - 1``, of which at least some pair turns."""
    return matrices_and(student, rng, setting, [], number, layout, problem)[0]


def matrices_and(
    student, rng, setting: Setting, calls: list[Call], number: int = 6, layout: Layout = None, problem: str = ""
) -> tuple[Tensor, list[Tensor]]:
    """The same, and what the same embedding answers to some more calls."""
    probe = some_probe(rng, setting, number)
    units, others, *answers = rotated(student, setting, [*probe.calls, *calls], layout, problem)
    try:
        return probe.judge(units, others), answers
    except Fail as fail:
        if str(fail) == INDIFFERENT and setting.max_seq_len > SHORT:
            matrices(student, rng, replace(setting, max_seq_len=SHORT), number, layout)
            raise Fail(LIMIT) from fail  # with a short one the position does make a difference
        raise


def rotations(setting: Setting, number: int) -> Tensor:
    """The right matrices of the positions 0 to ``number - 1``."""
    angles = torch.arange(number)[:, None] * setting.speeds
    found = torch.zeros(number, setting.d_k, setting.d_k, dtype=torch.float64)
    for i, (first, second) in enumerate(neighbours(setting.d_k)):
        found[:, first, first] = found[:, second, second] = angles[:, i].cos()
        found[:, second, first] = angles[:, i].sin()
        found[:, first, second] = -angles[:, i].sin()
    return found


def loses(matrix: Tensor) -> bool:
    """Does nearly nothing become of some unit vector?"""
    lengths = matrix.norm(dim=0)
    return bool(lengths.min() < lengths.max() / 10)


def one_step(found: Tensor) -> Tensor:
    """The turn from position 0 to 1, whatever position 0 is."""
    return found[1] if loses(found[0]) else since(found)[1]


def right_turn(setting: Setting, x: Tensor, positions: Tensor, layout: Layout = None) -> Tensor:
    """What x becomes by the formula, in float64; with minus the positions, the gradient of that."""
    angles = positions[..., None] * setting.speeds
    cos, sin = angles.cos(), angles.sin()
    first, second = x.double().chunk(2, dim=-1) if layout == "half" else (x[..., 0::2].double(), x[..., 1::2].double())
    pair = first * cos - second * sin, first * sin + second * cos
    return torch.cat(pair, dim=-1) if layout == "half" else torch.stack(pair, dim=-1).flatten(-2)


TOGETHER = "together, on ordinary input, this does not give the rotation of the formula yet"
WHY = "the other checks of exercises 1 to 5 say why; where none of them does, work out a few numbers by hand"
NO_GRADIENT = "no gradient comes back to x: is forward without gradients (no_grad, detach, data, numpy)? A model cannot learn through it"


def with_gradient(
    student, setting: Setting, x: Tensor, positions: Tensor, weights: Tensor, layout: Layout = None, forms="full"
):
    """The answer to x, and the gradient at x of its sum weighed by ``weights``."""
    asked = [job(setting, [(x, positions, weights)], layout)]
    (((answer, gradient),),) = ask(student, [[[anything, anything]]], drive_rope, asked, "", forms)
    answer = expect_turned(x, answer)
    expect(gradient is not None, NO_GRADIENT)
    return answer, fits(gradient, like(x), "the gradient")


def judge_together(student, rng: random.Random, setting: Setting, asked: list[tuple], layout: Layout = None) -> None:
    """Are x of some shapes at some positions turned by the formula, and their gradients back again?

    A table that is rounded is told elsewhere; here it would hide what is right.
    """
    for shape, positions in asked:
        x, weights = vectors(rng, *shape, setting.d_k), vectors(rng, *shape, setting.d_k)
        answer, gradient = with_gradient(student, setting, x, positions, weights, layout)
        expect(close(answer, right_turn(setting, x, positions, layout), ROUNDED), f"{TOGETHER}: {WHY}")
        back = right_turn(setting, weights, -positions, layout)
        expect(
            close(gradient, back, ROUNDED),
            "together the values are right, and the gradient that comes back to x is not",
        )


ROUNDED = 0.15  # what bfloat16 in cosines, or in angles below 16, makes of numbers up to 4 or 5


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


def only_neighbours_mix(found: Tensor) -> bool:
    """Whether most pairs of neighbours turn, and no two other dimensions are mixed. A pair may turn all the way round."""
    seen = found[1:].abs().amax(dim=0) > 1e-5
    blocks = torch.block_diag(*[torch.ones(2, 2)] * (len(seen) // 2)).bool()
    turning = seen[range(0, len(seen), 2), range(1, len(seen), 2)]
    return not bool((seen & ~blocks).any()) and 2 * int(turning.sum()) > len(turning)


def some_stay(found: Tensor) -> bool:
    """Whether some dimensions stay as they are at all positions, beside others that turn in pairs."""
    eye = torch.eye(found.shape[-1], dtype=found.dtype)
    stays = ((found - eye).abs().amax(dim=(0, 1)) < 1e-6) & ((found - eye).abs().amax(dim=(0, 2)) < 1e-6)
    rest = found[1][~stays][:, ~stays]
    return bool(stays.any()) and pairs_of(rest) is not None


def backwards_from(found: Tensor, setting: Setting) -> int | None:
    """The position of which the first matrix is, where the others are those of the positions before it; else None."""
    for last in range(len(found) - 1, setting.max_seq_len):
        if close(found[0], rotation(setting, last), 0.01):
            runs = all(close(found[m], rotation(setting, last - m), 0.01) for m in range(len(found)))
            return last if runs else None
    return None


def rotation(setting: Setting, position: int) -> Tensor:
    """The right matrix of a position."""
    return as_matrices(right_turn(setting, unit_vectors(setting.d_k, 1), torch.tensor([position])))[0]


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
        (setting.speeds / setting.max_seq_len, "the positions are divided by max_seq_len, which is only a limit"),
        (2 * setting.speeds, f"pairs turn twice as far as they should: {EXPONENT}; are they turned two times?"),
        (1 - 2 * i / d_k, f"the speeds fall in equal steps: {EXPONENT}, each smaller than the last by the same factor"),
    ]


def readings(found: Tensor) -> list[Tensor]:
    """Matrices as they are, with columns of length 1, and since the first position: that one may be wrong, or lengths."""
    return [found, found / found.norm(dim=-2, keepdim=True).clamp_min(1e-9), since(found)]


def shows(found: Tensor, speeds: Tensor) -> bool:
    """Do the matrices of positions 0, 1, … turn by these speeds, whichever pairs, in whichever direction?"""
    return misfit(found, speeds) < 0.05


def misfit(found: Tensor, speeds: Tensor, both_ways: bool = False) -> float:
    """How far the cosines of these angles are from what stands on the diagonals of the positions 1, 2, …

    Little also where something else is wrong with the matrix: the first position is not 0, or lengths are not kept.
    ``both_ways``: nothing else may stand on the diagonals.
    """
    cosines = (torch.arange(1, len(found), dtype=torch.float64)[:, None] * speeds).cos()
    diagonals = [reading[1:].diagonal(dim1=-2, dim2=-1) for reading in readings(found)]
    return min(max(distance(cosines, one), distance(one, cosines) if both_ways else 0.0) for one in diagonals)


def distance(wanted: Tensor, found: Tensor) -> float:
    """Of the numbers in the rows of ``wanted`` the greatest distance to the nearest in the same row of ``found``."""
    return float((found[:, :, None] - wanted[:, None, :]).abs().amin(dim=1).max())


def has_cosines(found: Tensor, angles: Tensor, tolerance: float) -> bool:
    """Does the cosine of each angle stand on the diagonal of its matrix?"""
    return distance(angles.cos(), found.diagonal(dim1=-2, dim2=-1)) < tolerance


def has_sines(found: Tensor, angles: Tensor, tolerance: float) -> bool:
    """Does the sine of each angle stand somewhere in its matrix, with whatever sign?"""
    return distance(angles.sin().abs(), found.flatten(1).abs()) < tolerance


def exchanged(found: Tensor, setting: Setting) -> bool:
    """Do sines stand where cosines belong? Then every position, 0 too, is turned by a quarter less the angle."""
    angles = torch.arange(len(found), dtype=torch.float64)[:, None] * setting.speeds
    return has_cosines(found, math.pi / 2 - angles, 0.05) or has_cosines(found, math.pi / 2 + angles, 0.05)


def is_another_order(matrix: Tensor) -> bool:
    """Does it move every dimension to some place and change none?"""
    places = (matrix - 1).abs() < 1e-3
    moves = bool((places.sum(dim=0) == 1).all()) and bool((places.sum(dim=1) == 1).all())
    return moves and close(matrix, places.double()) and not bool(places.diagonal().all())


@check("angles", points=3, title="the speed of pair i is theta ** (-2i / d_k)", seconds=5)
def speeds_of_the_pairs(student, rng):
    for _ in range(2):
        setting = some_setting(rng, 32)
        judge_speeds(matrices(student, rng, setting), setting, wrong_speeds(setting))


def judge_speeds(found: Tensor, setting: Setting, known: Sequence[tuple[Tensor, str]]) -> None:
    """Of the speeds that are known, those that fit best; rounding is told by a check of its own."""
    if misfit(found, setting.speeds) < 2e-3:
        return
    full_turns = misfit(found, 2 * math.pi * setting.speeds, both_ways=True) < 0.05  # they bring the first pair back
    expect(full_turns or not some_stay(found), STILL)
    fits = [(misfit(found, one, both_ways=True), said) for one, said in [(setting.speeds, ""), *known]]
    off, message = min(fits, key=lambda pair: pair[0])
    expect(off > 0.05 or message == "", message)
    if shows(found, setting.speeds):
        return
    angles = torch.arange(1, len(found), dtype=torch.float64)[:, None] * setting.speeds
    expect(  # with the right sines the speeds are right, and the turning is not
        exchanged(found, setting) or has_sines(found[1:], angles, 0.01),
        f"the result does not show the angles m * theta ** (-2i / d_k): {EXPONENT}; or what exercise 2 makes of them "
        "hides them",
    )


@check("angles", points=2, title="position 0 is not turned", seconds=5)
def nothing_turns_at_position_zero(student, rng):
    setting = some_setting(rng, 32)
    found = matrices(student, rng, setting)
    if loses(found[0]):
        return  # told in exercise 2
    start = found[0] / found[0].norm(dim=0)
    if close(start, torch.eye(setting.d_k), 0.02) or is_another_order(start):  # the order is judged in exercise 2
        return
    expect(
        not exchanged(found, setting), "cosine and sine are exchanged: at the angle 0 the cosine is 1 and the sine 0"
    )
    if (last := backwards_from(found, setting)) is not None:
        raise Fail(f"positions are counted backwards: position 0 is turned by the angles of position {last}")
    if close(found[1] @ found[0], found[2], 0.05):
        raise Fail("positions are off by one: the first one is 0, and its angles are 0")
    raise Fail("vectors at position 0 are changed, though cosines of its angles are 1 and sines 0")


@check("angles", points=2, title="cosines and sines are as exact as float32", seconds=5)
def cosines_are_exact(student, rng):
    setting = some_setting(rng, 32, (8, 10))

    def judge(layout: Layout) -> None:
        x = vectors(rng, 6, setting.d_k)
        found, (answer,) = matrices_and(student, rng, setting, [(x, torch.arange(6))], layout=layout)
        if answer.dtype.itemsize < x.itemsize:
            return  # the result is rounded: told in exercise 2
        expected = torch.arange(1, 6, dtype=torch.float64)[:, None] * setting.speeds
        seen = [reading[1:] for reading in readings(found) if has_cosines(reading[1:], expected, 0.05)]
        sines = [one for one in seen if has_sines(one, expected, 4e-5) or not has_sines(one, expected, 0.05)]
        if not seen or any(has_cosines(one, expected, 4e-5) for one in sines):
            return  # exact; or so wrong that it is told by another check
        for kind, name in ((torch.bfloat16, "bfloat16"), (torch.float16, "float16")):
            narrow = same(found.to(kind).double(), found)
            expect(
                not narrow, f"cosines and sines are rounded to {name}: angles, cosines and sines are float32 or better"
            )
        raise Fail("cosines and sines are not as exact as float32: what on the way to them is rounded?")

    each_layout(student, rng, setting, judge)


@check("angles", points=2, title="angles stay exact near position 100,000", seconds=20)
def angles_are_exact_far_away(student, rng):
    setting = some_setting(rng, 101_000, (4,))
    start = rng.randrange(100_000, 100_900)
    places = torch.arange(6)
    near = matrices(student, rng, Setting(setting.theta, 4, SHORT))
    same_module = matrices(student, rng, setting)
    expect(close(since(same_module)[1], since(near)[1], 0.05) or loses(near[0]), LIMIT)
    message = "near position 100,000 neighbouring positions can no longer be told apart"
    right = setting.speeds * (places + start)[:, None]
    for kind in (torch.float32, torch.bfloat16):
        try:
            (far,) = rotated(student, setting, [(unit_vectors(4, 6, kind), places + start)])
        except StudentError as error:
            if error.is_a(*ORDINARY) and answers_plainly(student, setting):
                continue  # told in exercise 4, and for bfloat16 in exercise 2
            raise
        found = as_matrices(far)
        if not close(near.norm(dim=-2), near[0].norm(dim=-2).expand(6, -1), 0.02):
            return  # no rotation, so steps cannot be compared: told in exercise 2
        # Like the same steps near 0, whatever the solution makes of these; or with the right cosines.
        if not close(since(found), since(near), 0.15) and not has_cosines(found, right, 0.15):
            reason = "compute the angles in float32, and cast the result to the dtype of x"
            narrow = "angles are computed in the dtype of x, whose numbers lie far apart there"
            expect(kind is torch.float32, f"{message}: {narrow}; {reason}")
            steps = (found[1:] - found[:-1]).abs().amax(dim=(-2, -1))
            expect(
                bool((steps < 0.05).any()),
                "near position 100,000 the angles are others than near 0: is something cut off from them, or rounded?",
            )
            raise Fail(f"{message}: {reason}")


@check("angles", points=6, title="together: a head with theta 10,000 turns by the right angles", seconds=10)
def ordinary_heads_turn_at_the_right_speeds(student, rng):
    for theta, d_k in ((10_000.0, 8), (500_000.0, 6)):
        setting = Setting(theta, d_k, rng.randrange(64, 90))
        # Slow pairs hardly move within so few positions, so the reasons cannot be told apart here.
        judge_speeds(matrices(student, rng, setting, 32), setting, known=())


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 2: rotation


@check("rotation", points=2, title="neighbouring dimensions form pairs", seconds=5)
def neighbours_form_pairs(student, rng):
    setting = some_setting(rng, 32)
    found = matrices(student, rng, setting)
    expect(
        not is_another_order(found[0]),
        "dimensions come back in another order: take 2i and 2i + 1 as a pair, and put the two side by side again "
        "(torch.stack on a new last axis, then flatten), as they were in x",
    )
    if only_neighbours_mix(found):
        return
    pairs = pairs_of(found[1])
    expect(not some_stay(found), STILL)
    expect(
        pairs != halves(setting.d_k),
        'dimension i is paired with i + d_k / 2, which is the layout "half": by default pair i is (2i, 2i + 1)',
    )
    expect(pairs == neighbours(setting.d_k), "dimensions 2i and 2i + 1 must form a pair, and be mixed with no other")


@check("rotation", points=3, title="pairs turn counter-clockwise", seconds=5)
def pairs_turn_counter_clockwise(student, rng):
    setting = some_setting(rng, 32)
    found = matrices(student, rng, setting)
    if exchanged(found, setting) or backwards_from(found, setting) is not None:
        return  # told in exercise 1
    turn = one_step(found)
    pairs = pairs_of(turn) or neighbours(setting.d_k)
    sines = torch.stack([turn[second, first] for first, second in pairs])
    message = "pairs turn clockwise: the new first is x cos - y sin, and the new second x sin + y cos"
    expect(bool(sines.abs().max() > 1e-3), "no sine stands where the first of a pair becomes a part of the second")
    expect(bool(sines[0] > -1e-3), f"the sign of the sine is wrong, so {message}")
    backwards = (sines + setting.speeds.sin()).abs() < 1e-4
    expect(not bool(backwards.any()), f"some {message}")


@check("rotation", points=1, title="each pair turns at its own speed", seconds=5)
def each_pair_has_its_own_speed(student, rng):
    setting = some_setting(rng, 32)
    found = matrices(student, rng, setting)
    turn = one_step(found)
    pairs = pairs_of(turn)
    if pairs is None and only_neighbours_mix(found):
        return  # some pair does not turn at all: told in exercise 1
    expect(not some_stay(found), STILL)
    expect(pairs is not None, "dimensions are not turned in pairs: two of them, mixed with no other")
    cosines = torch.tensor([[float(turn[j, j]) for j in pair] for pair in pairs])
    message = "the two dimensions of a pair are turned by the angles of two pairs: cosines and sines must lie in the layout of x"
    mixed = (cosines[..., None] - setting.speeds.cos()).abs().amin(dim=-1).max() < 0.01  # each of some pair
    alike = close(cosines[:, 0], cosines[:, 1], 0.02)
    expect(alike or not bool(mixed), message)
    if not alike or not shows(found, setting.speeds):
        return  # told by the check of lengths, or in exercise 1
    steps = cosines[:, 0].diff()
    message = "pair i does not turn at the i-th speed: the first pair is the fastest"
    expect(bool((steps > -0.01).all()), message)


@check("rotation", points=2, title="lengths stay as they are", seconds=5)
def lengths_are_kept(student, rng):
    setting = some_setting(rng, 32)
    x = weighing_one(vectors(rng, 3, 7, setting.d_k))
    found, (answer,) = matrices_and(student, rng, setting, [(x, torch.arange(7))], 7)
    expect(close(answer, turned_by(found, x), 0.05), UNEQUAL)
    lengths = x.double().norm(dim=-1)
    if not close(answer.double().norm(dim=-1) / lengths, torch.ones(3, 7), 0.01):
        message = "a rotation keeps the length of every vector, and yours does not"
        pairs = torch.stack((x[..., 0::2], x[..., 1::2]), dim=-1).double()
        angles = torch.arange(7, dtype=torch.float64)[:, None] * setting.speeds
        first = pairs[..., 0] * angles.cos() - pairs[..., 1] * angles.sin()
        overwritten = torch.stack((first, first * angles.sin() + pairs[..., 1] * angles.cos()), dim=-1).flatten(-2)
        reason = "the first of a pair is overwritten before the second is computed from it"
        expect(not close(answer, overwritten, ROUNDED), f"{message}: {reason}")
        raise Fail(f"{message}: the new first is x cos - y sin, and the new second x sin + y cos")


@check("rotation", points=1, title="the dtype of x comes back", seconds=5)
def dtype_is_kept(student, rng):
    setting = some_setting(rng, 32)
    x = weighing_one(vectors(rng, 2, 5, setting.d_k))

    def judge(layout: Layout) -> None:
        found = matrices(student, rng, setting, layout=layout)[:5]
        for kind in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
            message = "x in bfloat16, float16 or float64 raises an exception, and x in float32 does not"
            (answer,) = rotated(student, setting, [(x.to(kind), torch.arange(5))], layout, message, "any")
            expect(close(answer, turned_by(found, x), 0.2), "x of another dtype than float32 is turned in another way")
            expect(answer.dtype == kind, "the result has another dtype than x: cast it back at the end")

    each_layout(student, rng, setting, judge)


BETTER = "compute in the better of the dtypes of x and of the cosines"


@check("rotation", points=1, title="computed in the better of the dtypes", seconds=5)
def float64_stays_exact(student, rng):
    setting = some_setting(rng, 32)
    units, x = unit_vectors(setting.d_k, 5, torch.float64), vectors(rng, 30, 5, setting.d_k).double() / 3

    def judge(layout: Layout) -> None:
        places = torch.arange(5)
        matrices(student, rng, setting, layout=layout)
        try:
            seen, answer = rotated(student, setting, [(units, places), (x, places)], layout)
        except StudentError as error:
            if error.is_a(*ORDINARY):
                return  # told in the check of dtypes
            raise
        expected = turned_by(as_matrices(seen), x)
        if close(answer, expected, 1e-3):  # where not, it is no rotation: told by the checks above
            message = f"x in float64 is turned in float32 or less: {BETTER}"
            expect(answer.dtype == torch.float32 or close(answer, expected, 1e-12), message)
        for kind in (torch.bfloat16, torch.float16):
            given = x.to(kind)
            try:
                (answer,) = rotated(student, setting, [(given, places)], layout)
            except StudentError as error:
                if error.is_a(*ORDINARY):
                    continue  # told in the check of dtypes
                raise
            table = as_matrices(seen)
            expected = turned_by(table, given)
            if close(answer, expected, 0.1) and not same(table.to(kind).double(), table):  # a rough table: exercise 1
                off = (answer.double() - expected).abs() - 0.6 * torch.finfo(kind).eps * expected.abs()
                message = (
                    f"x in bfloat16 or float16 is turned in numbers as rough: {BETTER}, and round once, at the end"
                )
                expect(bool(off.max() < 1e-4), message)

    each_layout(student, rng, setting, judge)


@check("rotation", points=1, title="x and the positions stay as they are", seconds=5)
def inputs_stay_as_they_are(student, rng):
    setting = some_setting(rng, 32)

    def judge(layout: Layout) -> None:
        probe = some_probe(rng, setting)
        form = list_of([anything, anything, anything], len(probe.calls))
        (found,) = ask(student, [form], drive_rope, [job(setting, probe.calls, layout)], "unchanged", "any")
        probe.read([answer for answer, _, _ in found])
        for (x, positions), (_, x_after, positions_after) in zip(probe.calls, found, strict=True):
            expect(same(x_after, x), "x is changed in place: write the result into a new tensor")
            expect(same(positions_after, positions), "token_positions are changed in place")

    each_layout(student, rng, setting, judge)


@check("rotation", points=1, title="gradients reach x", seconds=5)
def gradients_come_back(student, rng):
    setting = some_setting(rng, 32)
    x, weights = vectors(rng, 2, 6, setting.d_k), vectors(rng, 2, 6, setting.d_k)

    def judge(layout: Layout) -> None:
        found = matrices(student, rng, setting, layout=layout)
        plain = partial(answers_plainly, student, setting)
        with blame("with an x that asks for gradients forward, or the way back through it, raises an exception", plain):
            answer, gradient = with_gradient(student, setting, x, torch.arange(6), weights, layout, "any")
        if close(answer, turned_by(found, x), ROUNDED):
            expected = (found.mT @ weights.double()[..., None])[..., 0]
            expect(close(gradient, expected, ROUNDED), "the gradient at x is not that of what forward gives back")

    each_layout(student, rng, setting, judge)


@check("rotation", points=8, title="together: a batch of heads, as a model has it", seconds=10)
def whole_rotations_agree(student, rng):
    setting = some_setting(rng, 64, (8, 12))
    judge_together(student, rng, setting, [((2, 3, 7), torch.arange(7)), ((2, 5), torch.arange(5))])


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 3: layouts


def expect_layouts(student, setting: Setting) -> None:
    """An embedding can be made with a layout by name; whether it works is another question."""
    message = "the keyword argument layout is not accepted: it is 'interleaved' or 'half'"
    with blame({"TypeError": message}, partial(answers_plainly, student, setting)):
        ask(student, [list_of(anything, 0)], drive_rope, [job(setting, [], "half")], "", "any")


@check("layouts", points=2, title='layout="half" pairs i with i + d_k / 2', seconds=5)
def half_is_the_same_rotation_elsewhere(student, rng):
    setting = some_setting(rng, 32)
    order = order_of_halves(setting.d_k)
    default = matrices(student, rng, setting)
    expect_layouts(student, setting)
    named = matrices(student, rng, setting, layout="interleaved")
    found = matrices(student, rng, setting, layout="half")
    expect(close(named, default), 'layout="interleaved" is the default, and must give the same')
    moved = default[:, order][:, :, order]
    if pairs_of(default[1]) == halves(setting.d_k):  # wrong, but judged in exercise 2
        moved = default
    if close(found, moved) or close(found, rotations(setting, 6)[:, order][:, :, order], 0.02):
        return
    expect(
        not is_another_order(found[0]),
        'with layout="half" dimensions come back in another order: cut x into its two halves, and join the two halves with '
        "torch.cat, no other way",
    )
    pairs = pairs_of(found[1])
    expect(
        pairs != neighbours(setting.d_k), 'with layout="half" pair i is still (2i, 2i + 1): make it (i, i + d_k / 2)'
    )
    expect(pairs == halves(setting.d_k), 'with layout="half" dimension i must be mixed with i + d_k / 2, and no other')
    raise Fail("pair i does not turn by the same angle in the two layouts: only the places of its dimensions differ")


def drive_permutations(student, name, calls):
    function = getattr(student, name)
    return [function(x) if dim is None else function(x, dim=dim) for x, dim in calls]


def judge_permutation(student, name: str, xs: list[Tensor], right: list[int], back: list[int]) -> None:
    answers = ask(student, list_of(anything, len(xs)), drive_permutations, name, [(x, None) for x in xs])
    for x, answer in zip(xs, answers, strict=True):
        expect(isinstance(answer, Tensor) and answer.shape == x.shape, f"{name} must return a tensor of the shape of x")
        for dim in range(x.dim() - 1):
            moved = [same(answer, x.index_select(dim, torch.tensor(one))) for one in both_orders(x.shape[dim])]
            expect(not any(moved), f"{name} permutes another dimension than the last when dim is left out")
        expect(not same(answer, x), f"{name} gives x back as it is")
        expect(not same(answer, x[..., back]), f"{name} goes the other way: the two functions are exchanged")
        first = x[..., [*range(0, len(right), 2), *range(len(right) - 1, 0, -2)]]
        expect(not same(answer, first), "the second dimensions of the pairs come in reversed order")
        expect(same(answer, x[..., right]), f"{name} does not put pair i where the other layout has it")


def both_orders(d_k: int) -> tuple[list[int], list[int]]:
    order = order_of_halves(d_k)
    return order, sorted(range(d_k), key=order.__getitem__)


@check("layouts", points=2, title="from interleaved to half", seconds=5)
def interleaved_to_half_permutes(student, rng):
    d_k = rng.choice([6, 10, 12])
    xs = [vectors(rng, 4, 6, d_k), vectors(rng, 4, d_k), vectors(rng, d_k)]
    judge_permutation(student, "interleaved_to_half", xs, *both_orders(d_k))


@check("layouts", points=2, title="from half to interleaved", seconds=5)
def half_to_interleaved_permutes(student, rng):
    d_k = rng.choice([6, 10, 12])
    xs = [vectors(rng, 4, 6, d_k), vectors(rng, 4, d_k), vectors(rng, d_k)]
    judge_permutation(student, "half_to_interleaved", xs, *reversed(both_orders(d_k)))


@check("layouts", points=1, title="along any dimension", seconds=5)
def any_dimension_can_be_permuted(student, rng):
    d_k = rng.choice([6, 10, 12])
    x = vectors(rng, d_k, 4, d_k, 2)
    orders = both_orders(d_k)
    for name in ("interleaved_to_half", "half_to_interleaved"):
        calls = [(x, 2), (x, -2), (x, 0)]
        problem = f"{name} raises an exception when dim is given, and not when it is left out"
        with blame(problem, partial(ask, student, anything, drive_permutations, name, [(x.mT, None)])):
            last, *answers = ask(
                student, list_of(anything, 4), drive_permutations, name, [(x.movedim(2, -1), -1), *calls]
            )
        permuted = [x.index_select(2, torch.tensor(one)) for one in orders]
        message = f"{name} does not permute a dimension as it should yet, so other dimensions cannot be judged: the checks above say why"
        expect(any(same(last, one.movedim(2, -1)) for one in permuted), message)  # the right way round is judged above
        for answer, dim in zip(answers, (2, 2, 0), strict=True):
            expect(isinstance(answer, Tensor), f"{name} must return a tensor")
            permuted = [same(answer, x.index_select(dim, torch.tensor(one))) for one in orders]
            message = (
                "dim is ignored or misread: the rows of a weight are permuted along another dimension than the last"
            )
            expect(any(permuted), message)


def drive_moved(student, weight, factors):
    import torch

    answers = []
    for name in ("interleaved_to_half", "half_to_interleaved"):
        leaf = weight.clone().requires_grad_()
        answer = getattr(student, name)(leaf, dim=1)
        gradient = None
        if isinstance(answer, torch.Tensor) and answer.requires_grad and answer.shape == weight.shape:
            (answer * factors).sum().backward()
            gradient = leaf.grad
        answers.append([answer.detach() if isinstance(answer, torch.Tensor) else None, gradient])
    return answers


@check("layouts", points=3, title="together: the weights of a projection move, and back", seconds=5)
def weights_move_both_ways(student, rng):
    heads, d_head, d_model = 3, rng.choice([6, 8, 10]), 4
    weight, factors = vectors(rng, heads, d_head, d_model), vectors(rng, heads, d_head, d_model)
    answers = ask(student, list_of([anything, anything], 2), drive_moved, weight, factors)
    there, back = both_orders(d_head)
    for (answer, gradient), order, backwards in zip(answers, (there, back), (back, there), strict=True):
        message = "together, on the rows of each head of a projection, the two permutations are not right yet: the checks above say why"
        expect(same(answer, weight[:, order]), message)
        expect(close(gradient, factors[:, backwards]), "no gradient, or a wrong one, comes back through a permutation")


@check("layouts", points=5, title='together: heads with layout="half"', seconds=10)
def whole_halves_agree(student, rng):
    setting = some_setting(rng, 64, (8, 12))
    expect_layouts(student, setting)
    asked = [((2, 3, 7), torch.arange(7)), ((5,), torch.arange(5))]
    judge_together(student, rng, setting, asked, layout="half")


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


@check("positions", points=2, title="positions in any order", seconds=5)
def positions_in_any_order(student, rng):
    places = some_places(rng, 1, 6)
    x, positions = places.x[0], places.positions[0]

    def judge(layout: Layout) -> None:
        found, (answer,) = matrices_and(student, rng, places.setting, [(x, positions)], LENGTH, layout)
        if not agree(answer, turned_by(found[positions], x)):
            expect(not agree(answer, turned_by(found[:6], x)), IGNORED)
            start = int(positions[0])
            reason = "only the first position is used, and the rest counted on from there"
            from_start = turned_by(found[start : start + 6], x)
            expect(not agree(answer, from_start), f"{reason}: positions need not grow by one")
            raise Fail("positions that do not grow by one give other rotations than the same positions in order")

    each_layout(student, rng, places.setting, judge)


NOT_ACCEPTED = "are not accepted: their shape broadcasts to that of x without d_k"


@check("positions", points=2, title="each row of a batch has its own positions", seconds=5)
def rows_have_their_own_positions(student, rng):
    places = some_places(rng, 3, 5)
    x, positions = places.x, places.positions

    def judge(layout: Layout) -> None:
        found = matrices(student, rng, places.setting, LENGTH, layout)
        problem = f"positions of shape (batch, seq) {NOT_ACCEPTED}"
        (answer,) = rotated(student, places.setting, [(x, positions)], layout, problem)
        right = turned_by(found[positions], x)
        if not agree(answer, right):
            expect(not agree(answer, turned_by(found[:5], x)), IGNORED)
            first = turned_by(found[positions[:1].expand(3, 5)], x)
            expect(not agree(answer[1:], first[1:]) and not agree(answer[0], right[0]), FIRST_ROW)
            raise Fail("positions of shape (batch, seq) give other rotations than each row by itself")

    each_layout(student, rng, places.setting, judge)


@check("positions", points=2, title="positions (batch, 1, seq) for x (batch, heads, seq, d_k)", seconds=5)
def heads_share_the_positions_of_their_row(student, rng):
    places = some_places(rng, 3, 5)
    x = torch.stack((places.x, places.x.flip(-1)), dim=1)  # two heads that are not alike
    shapes = [places.positions[:, None], places.positions[:, None].expand(-1, 2, -1).contiguous()]

    def judge(layout: Layout) -> None:
        found = matrices(student, rng, places.setting, LENGTH, layout)
        problem = f"positions of shape (batch, 1, seq) for x of shape (batch, heads, seq, d_k) {NOT_ACCEPTED}"
        calls = [(x, positions) for positions in shapes]
        answers = rotated(student, places.setting, calls, layout, problem)
        right = turned_by(found[places.positions][:, None], x)
        for answer in answers:
            if not agree(answer, right):
                expect(not agree(answer, turned_by(found[:5], x)), IGNORED)
                expect(not agree(answer[0], right[0]), FIRST_ROW)
                raise Fail("heads are not turned by the positions of their own row of the batch")

    each_layout(student, rng, places.setting, judge)


@check("positions", points=2, title="x of any number of dimensions", seconds=5)
def any_number_of_dimensions(student, rng):
    setting = some_setting(rng, LENGTH + 2)
    shapes = [(5,), (1, 5), (2, 3, 2, 5), (2, 1, 2, 2, 5)]
    xs = [weighing_one(vectors(rng, *shape, setting.d_k)) for shape in shapes]

    def judge(layout: Layout) -> None:
        found = matrices(student, rng, setting, layout=layout)
        problem = "x with two, three, five or six dimensions raises an exception: every dimension before the last two is a batch"
        places = torch.arange(5)
        plain = [(vectors(rng, 2, 2, 5, setting.d_k), places)]
        with blame(problem, lambda: rotated(student, setting, plain, layout, forms="full")):
            answers = rotated(student, setting, [(x, places) for x in xs], layout, forms="full")
        for x, answer in zip(xs, answers, strict=True):
            message = "vectors are turned in another way when x has two, three, five or six dimensions"
            expect(agree(answer, turned_by(found[:5], x)), message)

    each_layout(student, rng, setting, judge)


@check("positions", points=2, title="max_seq_len - 1 is a position", seconds=10)
def the_last_position_is_known(student, rng):
    length = rng.randrange(5_000, 6_000)
    setting = some_setting(rng, length, (4,))
    message = (
        "the last positions below max_seq_len raise an exception: position m is row m of a table of max_seq_len rows"
    )
    x, last = vectors(rng, 4, 4), torch.arange(length - 4, length)
    matrices(student, rng, setting)
    (answer,) = rotated(student, setting, [(x, last)], problem=message, forms="any")
    longer = Setting(setting.theta, setting.d_k, 2 * length)
    (right,) = rotated(student, longer, [(x, last)], problem=message, forms="any")
    expect(close(answer, right, 0.02), LIMIT)


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
    (answers,) = ask(student, [list_of(anything, len(calls))], drive_rope, [job(setting, calls)], "refused", "any")
    for (x, positions), answer in zip(calls, answers, strict=True):
        if int(positions.min()) >= 0 and int(positions.max()) < length:
            expect(answer != "refused", "positions below max_seq_len are refused too")
            answer = expect_turned(x, answer)
            ignoring = agree(answer, turned_by(found[:3], x))  # is judged above
            expect(ignoring or agree(answer, turned_by(found[positions], x)), UNEQUAL)
        else:
            expect_refused(answer, "refused", message)


@check("positions", points=1, title="max_seq_len and beyond are refused", seconds=5)
def positions_too_far_are_refused(student, rng):
    message = "a position of max_seq_len or more must raise a ValueError (or an IndexError)"
    judge_refusals(student, rng, lambda length: [length, length + 3], message)


@check("positions", points=1, title="negative positions are refused", seconds=5)
def negative_positions_are_refused(student, rng):
    message = (
        "a negative position must raise a ValueError: as an index it would silently mean a row counted from the end"
    )
    judge_refusals(student, rng, lambda length: [-1, -3], message)


@check("positions", points=8, title="together: a batch whose rows stand anywhere", seconds=10)
def whole_batches_agree(student, rng):
    setting = some_setting(rng, 64, (8, 12))
    rows = torch.tensor([rng.sample(range(1, 16), 5) for _ in range(3)])  # further off, rounded angles go astray
    judge_together(student, rng, setting, [((3, 5), rows), ((3, 2, 5), rows[:, None])])


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 5: the module


@check("module", points=2, title="super().__init__() is called", seconds=5)
def it_is_a_module(student, rng):
    setting = some_setting(rng, 32)
    probe = some_probe(rng, setting)
    message = "super().__init__() is missing, or does not come first: without it a module can neither keep buffers nor be called"
    with blame({"AttributeError": message}, partial(answers_plainly, student, setting)):
        form = [list_of(anything, len(probe.calls))]
        (answers,) = ask(student, form, drive_rope, [job(setting, probe.calls)], "plain", "any")
    probe.read(answers)


def state_of(student, rng: random.Random) -> tuple[int, int, bool]:
    setting = some_setting(rng, 32)
    probe = some_probe(rng, setting)
    form = [[list_of(anything, len(probe.calls)), int, int, bool]]
    ((answers, *state),) = ask(student, form, drive_rope, [job(setting, probe.calls)], "state", "any")
    probe.read(answers)
    return tuple(state)


@check("module", points=1, title="no parameters", seconds=5)
def there_are_no_parameters(student, rng):
    parameters, _, learns = state_of(student, rng)
    expect(parameters == 0, "cosines, sines or speeds are parameters: an optimizer would change them; keep a buffer")
    expect(learns is False, "the result asks for gradients though x does not: nothing in this module is learned")


@check("module", points=1, title="nothing in state_dict", seconds=5)
def state_dict_is_empty(student, rng):
    _, saved, _ = state_of(student, rng)
    expect(
        saved == 0, "state_dict is not empty: register_buffer(..., persistent=False) keeps a buffer out of checkpoints"
    )


@check("module", points=1, title="device says where tables lie", seconds=5)
def tables_lie_on_the_device(student, rng):
    setting = some_setting(rng, 32)

    def judge(layout: Layout) -> None:
        matrices(student, rng, setting, layout=layout)
        arguments, options, _ = job(setting, [], layout)
        asked = [(arguments, {**options, "device": "meta"}, [])]
        (kept,) = ask(student, [either(str, list_of(str, least=0, most=8))], drive_rope, asked, "kept", "any")
        expect(kept != "TypeError", "the argument device is not accepted")
        expect(
            isinstance(kept, str) or set(kept) <= {"meta"}, "device is ignored: what the module keeps lies elsewhere"
        )

    each_layout(student, rng, setting, judge)


@drawn
def rounding_that_shows(rng) -> tuple[float, int]:
    """A base of which the speeds, rounded to bfloat16, have gone astray by a radian or two after so many positions."""
    while True:
        setting, number = some_setting(rng, 2_000, (6,)), rng.randrange(1_500, 1_990)
        astray = (setting.speeds.bfloat16().double() - setting.speeds).abs() * number
        if 1.0 < float(astray[1:].max()) < 2.0:
            return setting.theta, number


@check("module", points=2, title="as exact after .to(torch.bfloat16)", seconds=10)
def a_converted_module_is_as_exact(student, rng):
    theta, number = rounding_that_shows(rng)
    setting = Setting(theta, 6, 2_000)
    units = unit_vectors(6, 5)  # float32, as cosines and sines should be
    places = torch.tensor([0, 1, number - 2, number - 1, number])

    def judge(layout: Layout) -> None:
        plain, others = matrices(student, rng, setting, layout=layout), []
        for how in ("", "converted"):
            (((answer,),)) = ask(
                student, [[anything]], drive_rope, [job(setting, [(units, places)], layout)], how, "any"
            )
            others.append(as_matrices(expect_turned(units, answer)))
        expect(close(others[0][:2], plain[:2], 0.05), UNEQUAL)
        message = (
            "after model.to(torch.bfloat16) the angles are wrong: that call rounds every buffer of floating-point numbers, "
            "and of complex ones it leaves the real part"
        )
        expect(
            close(others[1], others[0], 0.1),
            f"{message}; keep cosines and sines, or compute the angles from theta in forward",
        )

    each_layout(student, rng, setting, judge)


def judge_making(student, rng: random.Random, right: list, wrong: list, message: str) -> None:
    """Of embeddings with these (d_k, options) the ``right`` ones turn, and the ``wrong`` ones cannot be made."""
    cases = [(True, *case) for case in right] + [(False, *case) for case in wrong]
    rng.shuffle(cases)
    settings = [Setting(round(rng.uniform(20, 60), 2), d_k, 16) for _, d_k, _ in cases]
    probes = [some_probe(rng, setting) for setting in settings]
    asked = [
        (setting.arguments, options, probe.calls)
        for setting, probe, (_, _, options) in zip(settings, probes, cases, strict=True)
    ]
    answers = ask(student, list_of(anything, len(cases)), drive_rope, asked, "made", "any")
    for probe, (is_right, _, _), answer in zip(probes, cases, answers, strict=True):
        if is_right:
            expect(answer != "ValueError", f"what is in order is refused too: {message}")
            probe.read(fits(answer, list_of(anything, len(probe.calls))))
        else:
            expect_refused(answer, "ValueError", message)


@check("module", points=1, title="an odd d_k is refused", seconds=5)
def odd_sizes_are_refused(student, rng):
    message = "an odd d_k leaves a dimension without a partner: raise a ValueError when the module is made"
    matrices(student, rng, some_setting(rng, 32))
    wrong = [(size, {}) for size in (rng.choice([5, 7, 9]), 1)]
    judge_making(student, rng, [(rng.choice([6, 8]), {})], wrong, message)


@check("module", points=1, title="an unknown layout is refused", seconds=5)
def unknown_layouts_are_refused(student, rng):
    setting = some_setting(rng, 32)
    matrices(student, rng, setting)
    right = [(8, {"layout": "half"})] if half_turns(student, rng, setting) else []
    try:
        matrices(student, rng, setting, layout="interleaved")
        right.append((8, {"layout": "interleaved"}))
    except Fail:
        pass  # told in exercise 3
    except StudentError as error:
        if error.is_a("TypeError"):
            return  # no layout is accepted: told in exercise 3
        raise
    message = "a layout other than 'interleaved' and 'half' must raise a ValueError when the module is made"
    wrong = [(8, {"layout": layout}) for layout in ("".join(rng.choices("bcdgjkmpqvwxz", k=6)), "halves")]
    judge_making(student, rng, right, wrong, message)


@check("module", points=6, title="together: queries and keys of a model, and their scores", seconds=10)
def scores_of_a_model_agree(student, rng):
    setting = Setting(10_000.0, 16, 128)
    positions = torch.arange(10)
    q, k, w = (vectors(rng, 2, 2, 10, 16) for _ in range(3))
    turned_q, gradient = with_gradient(student, setting, q, positions, w)
    turned_k, _ = with_gradient(student, setting, k, positions, w)
    right_q, right_k = right_turn(setting, q, positions), right_turn(setting, k, positions)
    scores, right = turned_q.double() @ turned_k.double().mT, right_q @ right_k.mT
    expect(close(turned_q, right_q, ROUNDED) and close(scores, right, 8 * ROUNDED), f"{TOGETHER}: {WHY}")
    back = right_turn(setting, w, -positions)
    expect(
        close(gradient, back, ROUNDED), "together the values are right, and the gradient that comes back to x is not"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 6: attention that sees distances. The rotation is ours, here and beside the student's code.


def turned(x: Tensor, positions: Tensor) -> Tensor:
    """A rotation like the student's, with theta 50."""
    angles = positions[..., None] * 50.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    first, second = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)


def drive_attention(student, calls, factors):
    """The answer to each call, and with ``factors`` the gradients at q, k and v of its sum weighed by them."""
    import torch

    class Rope(torch.nn.Module):
        def forward(self, x, token_positions):
            angles = token_positions[..., None] * 50.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
            first, second = x[..., 0::2], x[..., 1::2]
            cos, sin = angles.cos(), angles.sin()
            return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)

    answers = []
    for q, k, v, *positions in calls:
        leaves = [x.clone().requires_grad_(factors is not None) for x in (q, k, v)]
        answer = student.rotary_attention(Rope(), *(leaf * 1 for leaf in leaves), *positions)
        gradients = []
        learns = factors is not None and isinstance(answer, torch.Tensor) and answer.requires_grad
        if learns and answer.shape == factors.shape:
            (answer * factors).sum().backward()
            gradients = [leaf.grad for leaf in leaves]
        answers.append([answer.detach() if isinstance(answer, torch.Tensor) else None, gradients])
    return answers


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
    q, k, v = (vectors(rng, 2, 2, size, d_k) for size in (queries, keys, keys))
    q_at = torch.tensor([rng.sample(range(20, 40), queries) for _ in range(2)])[:, None]
    k_at = torch.tensor([rng.sample(range(1, 18), keys) for _ in range(2)])[:, None]
    return heard(q, k, v, q_at, k_at)


def heard(q: Tensor, k: Tensor, v: Tensor, q_at: Tensor, k_at: Tensor) -> Heard:
    (queries, d_k), keys = q.shape[-2:], k.shape[-2]
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


def attended(student, calls: list[tuple[Tensor, ...]], problem: str = "") -> list[Tensor]:
    plain = partial(attended, student, PLAIN_CALL)
    with blame(problem, plain) if problem else nullcontext():
        found = ask(student, list_of([anything, []], len(calls)), drive_attention, calls, None)
    answers = [answer for answer, _ in found]
    for (q, _, v, *_), answer in zip(calls, answers, strict=True):
        expect(isinstance(answer, Tensor), "rotary_attention must return a tensor")
        expect(answer.shape == (*q.shape[:-1], v.shape[-1]), "rotary_attention must return (..., queries, d_v)")
        expect(bool(answer.isfinite().all()), "the result of rotary_attention holds nan or infinity")
        expect(not close(answer, torch.zeros_like(answer), 1e-6), "rotary_attention returns zeros")
        expect(
            answer.shape != v.shape or v.shape[-2] == 1 or not close(answer, v, 1e-6),
            "the values come back as they are",
        )
    return answers


PLAIN_CALL = [
    (*(torch.linspace(-1, 1, 2 * 2 * 3 * 6).sin().reshape(2, 2, 3, 6) * i for i in (1, 2, 3)), *[torch.arange(3)] * 2)
]


NO_ATTENTION = (
    "the result is no attention yet in which values could be told from turned ones: softmax over the keys of scores "
    "divided by the root of d_k, times the values"
)


@check("relative", points=1, title="values are not turned", seconds=5)
def values_are_not_turned(student, rng):
    question, alone = something_heard(rng, 3, 3), something_heard(rng, 1, 1)
    answers = attended(student, [question.call, alone.call])
    message = "values are turned too: only queries and keys are, for V is what a token says, wherever it stands"
    expect(not question.gives(answers[0], values="turned") or question.gives(answers[0], values="right"), message)
    expect(not close(answers[1], turned(alone.call[2], alone.call[4])), message)
    expect(not close(answers[1], turned(alone.call[2], alone.call[3])), message)
    expect(close(answers[1], alone.call[2]), "with a single key the weight is 1, and the result must be its value")
    expect(question.gives(answers[0]), NO_ATTENTION)


@check("relative", points=1, title="softmax over keys of scores divided by the root of d_k", seconds=5)
def scores_are_scaled(student, rng):
    question = something_heard(rng, 3, 3)
    (answer,) = attended(student, [question.call])
    if not question.gives(answer, scale="right", softmax="over keys"):
        expect(not question.gives(answer, scale="none"), "scores are not scaled: divide them by the root of d_k")
        expect(not question.gives(answer, scale="d_k"), "scores are divided by d_k: divide them by its root")
        expect(
            not question.gives(answer, softmax="over queries"),
            "softmax is over the queries: the weights of each query add up to 1",
        )
        raise Fail("the result is not softmax over the keys of scores divided by the root of d_k, times the values")


@check("relative", points=1, title="queries and keys have positions of their own", seconds=5)
def each_has_its_own_positions(student, rng):
    for question in (something_heard(rng, 3, 3), something_heard(rng, 2, 4)):
        (answer,) = attended(student, [question.call])
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
        raise Fail(
            "the result is not attention over the keys, with queries turned by q_positions and keys by k_positions"
        )


def right_attention(q: Tensor, k: Tensor, v: Tensor, q_at: Tensor, k_at: Tensor) -> Tensor:
    return (turned(q, q_at) @ turned(k, k_at).mT / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


BATCHES = [(), (4,), (2, 1, 2), (1, 2, 2, 1)]  # the four of (1, 4), or the first of them, in other shapes


@check("relative", points=1, title="any number of dimensions", seconds=5)
def attention_takes_any_batch(student, rng):
    xs = vectors(rng, 4, 4, 6), vectors(rng, 4, 4, 6), vectors(rng, 4, 4, 6)
    places = torch.tensor(rng.sample(range(20, 40), 4)), torch.tensor(rng.sample(range(1, 18), 4))
    (known,) = attended(student, [(*(x[None] for x in xs), *places)])
    message = "with four dimensions the result is no attention that could be compared: the checks above say why"
    expect(heard(*xs, *places).gives(known[0]), message)
    calls = [(*((x.reshape(*batch, *x.shape[1:]) if batch else x[0]) for x in xs), *places) for batch in BATCHES]
    problem = "q, k and v of two, three, five or six dimensions raise an exception, and of four they do not"
    for answer in attended(student, calls, problem):
        message = "with two, three, five or six dimensions the result is another one than with four"
        flat = answer.reshape(-1, 4, 6)
        expect(close(flat, known[0, : len(flat)], 1e-3), message)


@check("relative", points=4, title="together: attention of a batch of heads", seconds=5)
def whole_attention_agrees(student, rng):
    q, k, v = vectors(rng, 2, 3, 4, 8), vectors(rng, 2, 3, 6, 8), vectors(rng, 2, 3, 6, 8)
    q_at = torch.tensor([rng.sample(range(20, 40), 4) for _ in range(2)])[:, None]
    k_at = torch.tensor([rng.sample(range(1, 18), 6) for _ in range(2)])[:, None]
    factors = vectors(rng, 2, 3, 4, 8)
    form = [[anything, list_of(anything, least=0, most=3)]]
    ((answer, gradients),) = ask(student, form, drive_attention, [(q, k, v, q_at, k_at)], factors)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    right = right_attention(*leaves, q_at, k_at)
    (right * factors).sum().backward()
    message = "together, on ordinary input, this is not the attention of the formula yet: the checks above say why"
    expect(close(answer, right.detach(), 1e-3), message)
    expect(len(gradients) == 3, "the values are right, and no gradient comes back to q, k and v")
    for gradient, leaf in zip(gradients, leaves, strict=True):
        expect(close(gradient, leaf.grad, 1e-3), "the values are right, and the gradients of q, k or v are not")


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 7: a part of the head


def drive_part(student, x, positions, rotary_dim, factors):
    import torch

    class Rope(torch.nn.Module):
        def forward(self, x, token_positions):
            angles = token_positions[..., None] * 50.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
            first, second = x[..., 0::2], x[..., 1::2]
            cos, sin = angles.cos(), angles.sin()
            return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)

    leaf = x.clone().requires_grad_(factors is not None)
    given = leaf * 1
    answer = student.rotate_part(Rope(), given, positions, rotary_dim)
    gradient = None
    if factors is not None and isinstance(answer, torch.Tensor) and answer.requires_grad and answer.shape == x.shape:
        (answer * factors).sum().backward()
        gradient = leaf.grad
    return answer.detach() if isinstance(answer, torch.Tensor) else None, given.detach(), gradient


def asked_part(student, x: Tensor, positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The answer, in which something is what rope makes of a part of x, and x after that."""
    answer, after, _ = ask(student, [anything, like(x), type(None)], drive_part, x, positions, size, None)
    expect(isinstance(answer, Tensor), "rotate_part must return a tensor")
    shapes = [(*x.shape[:-1], some) for some in (x.shape[-1], size)]
    expect(answer.shape in shapes, "rotate_part must return a tensor of the shape of x")
    expect(bool(answer.isfinite().all()), "the result holds nan or infinity")
    expect(answer.shape != x.shape or not close(answer, x, 1e-6), "x comes back as it is: nothing is turned")
    expect(not close(answer, torch.zeros_like(answer), 1e-6), "the result is zero")
    expect(holds_a_turn(answer, x, positions, size), "no part of the result is what rope makes of a part of x")
    return answer, after


def heads_and_places(rng: random.Random, d_head: int) -> tuple[Tensor, Tensor]:
    return vectors(rng, 1, 4, 5, d_head), torch.tensor(rng.sample(range(1, 20), 5))


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


def judge_part(x: Tensor, positions: Tensor, answer: Tensor, size: int) -> None:
    """Is the first part turned, and the rest as it was?"""
    dropped = answer.shape == (*x.shape[:-1], size) and size < x.shape[-1]
    expect(not dropped, "the dimensions that are not turned are dropped: put them back behind the others")
    expect(answer.shape == x.shape, "rotate_part must return a tensor of the shape of x")
    part, rest = answer[..., :size], answer[..., size:]
    whole = turned(x, positions)
    if not close(part, turned(x[..., :size], positions)):
        expect(not close(part, whole[..., :size]), "the whole head is given to rope: it is made for rotary_dim")
        expect(
            not close(part, x[..., :size]),
            "the first rotary_dim dimensions are left as they are: turn these, not the last",
        )
        raise Fail("the first rotary_dim dimensions are not what rope makes of them")
    if not same(rest, x[..., size:]):
        expect(not close(rest, whole[..., size:]), "the whole head is turned: leave the rest as it is")
        raise Fail("the dimensions from rotary_dim on must stay as they are, at their places")


@check("partial", points=1, title="the first part is turned, the rest stays as it is", seconds=5)
def the_first_part_is_turned(student, rng):
    x, positions = heads_and_places(rng, 10)
    answer, _ = asked_part(student, x, positions, 4)
    judge_part(x, positions, answer, 4)


@check("partial", points=1, title="the part may be all of the head", seconds=5)
def the_part_may_be_all(student, rng):
    x, positions = heads_and_places(rng, 6)
    problem = "with rotary_dim as large as the head an exception is raised: then nothing is left to put behind"
    with blame(problem, partial(asked_part, student, x, positions, 4)):
        answer, _ = asked_part(student, x, positions, 6)
    expect(close(answer, turned(x, positions)), "with rotary_dim as large as the head, the result must be rope(x)")


@check("partial", points=1, title="any number of dimensions", seconds=5)
def a_part_of_any_batch(student, rng):
    x, positions = heads_and_places(rng, 10)
    known, _ = asked_part(student, x, positions, 4)
    for batch in BATCHES:
        given = x.reshape(*batch, *x.shape[2:]) if batch else x[0, 0]
        with blame(
            "x of two, three, five or six dimensions raises an exception, and of four it does not", lambda: known
        ):
            answer, _ = asked_part(student, given, positions, 4)
        flat = answer.reshape(-1, *known.shape[2:])
        message = "with two, three, five or six dimensions the result is another one than with four"
        expect(close(flat, known[0, : len(flat)]), message)


@check("partial", points=1, title="x stays as it is", seconds=5)
def x_stays_as_it_is(student, rng):
    x, positions = heads_and_places(rng, 10)
    _, after = asked_part(student, x, positions, 4)
    expect(same(after, x), "x is changed in place: put the result into a new tensor")


@check("partial", points=3, title="together: a quarter of each head", seconds=5)
def whole_parts_agree(student, rng):
    x, factors = vectors(rng, 2, 3, 5, 16), vectors(rng, 2, 3, 5, 16)
    positions = torch.tensor([rng.sample(range(1, 20), 5) for _ in range(2)])[:, None]
    form = [anything, like(x), anything]
    answer, _, gradient = ask(student, form, drive_part, x, positions, 4, factors)
    right = torch.cat((turned(x[..., :4], positions), x[..., 4:]), dim=-1)
    message = "together, on ordinary input, this is not the first part turned and the rest behind it: the checks above say why"
    expect(close(answer, right), message)
    back = torch.cat((turned(factors[..., :4], -positions), factors[..., 4:]), dim=-1)
    expect(gradient is not None, "the values are right, and no gradient comes back to x")
    expect(close(gradient, back), "the values are right, and the gradient of x is not")
