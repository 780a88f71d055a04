"""The matrix of each position, read off the unit vectors: which dimensions form pairs, how fast, which way."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cs336lite.course.answers import ORDINARY
from cs336lite.course.spec import Fail, StudentError, expect

from .asking import KNOWN, LIMIT, SHORT, Call, Layout, Setting, close, expect_turned, right_turn, rotated, vectors

INDIFFERENT = "the position makes no difference: every place is turned alike"
STILL = "some pairs stay as they are: all d_k / 2 pairs of a vector turn, each at its own speed"
NOTHING_TURNS = "nothing turns: no two dimensions go round a circle in equal steps as the position grows"
BESIDE = (
    "a vector is turned in another way when other positions stand beside its own: each goes by its own position alone"
)
UNEQUAL = "not every vector is turned alike: a rotation of a sum must be the sum of the rotations of its parts"


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
    for edges in (found[:6], found[:6].mT):  # columns, then rows
        steps = torch.complex(edges[:, :, None].expand(-1, -1, edges.shape[1], -1), edges[:, None]).diff(dim=0)
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


def expect_turned_alone(student, rng, setting: Setting, layout: Layout = None) -> None:
    """Fail where what becomes of a vector depends on which other positions stand beside its own."""
    x, places = some_probe(rng, setting).others, torch.arange(6)
    whole, part = rotated(student, setting, [(x, places), (x[:, 2:], places[2:])], layout)
    expect(close(whole[:, 2:], part, 0.05), BESIDE)


def loses(matrix: Tensor) -> bool:
    """Does nearly nothing become of some unit vector?"""
    lengths = matrix.norm(dim=0)
    return bool(lengths.min() < lengths.max() / 10)


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


def exchanged(found: Tensor, setting: Setting) -> bool:
    """Do sines stand where cosines belong? Then every position, 0 too, is turned by a quarter less the angle."""
    angles = torch.arange(len(found), dtype=torch.float64)[:, None] * setting.speeds
    return has_cosines(found, math.pi / 2 - angles, 0.05) or has_cosines(found, math.pi / 2 + angles, 0.05)


def is_another_order(matrix: Tensor) -> bool:
    """Does it move every dimension to some place and change none?"""
    places = (matrix - 1).abs() < 1e-3
    moves = bool((places.sum(dim=0) == 1).all()) and bool((places.sum(dim=1) == 1).all())
    return moves and close(matrix, places.double()) and not bool(places.diagonal().all())


def expect_refused(answer: object, wanted: str, message: str) -> None:
    """The answer is ``wanted``, and neither another exception nor a tensor."""
    expect(isinstance(answer, str) and answer != "nothing", message)
    expect(answer == wanted, f"{message}; it raises {answer if answer in KNOWN else 'something else'}")
