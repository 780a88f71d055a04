"""What `positions` asks for: any positions, in any shape.

What one solution says in different ways must agree: positions 0, 1, 2, … in one row are known.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cs336lite.course.answers import anything, ask, blame, list_of
from cs336lite.course.spec import Fail, check, expect

from .asking import LIMIT, Layout, Setting, close, expect_turned, job, judge_together, rotated, some_setting, vectors
from .drivers import drive_rope
from .matrices import (
    UNEQUAL,
    each_layout,
    expect_refused,
    expect_turned_alone,
    matrices,
    matrices_and,
    turned_by,
    weighing_one,
)

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
            raise Fail("with positions of shape (batch, seq) a vector is not turned by the position at its own place")

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
            if not agree(answer, turned_by(found[:5], x)):
                expect_turned_alone(student, rng, setting, layout)
                raise Fail("vectors are turned in another way when x has two, three, five or six dimensions")

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
            if not ignoring and not agree(answer, turned_by(found[positions], x)):
                expect_turned_alone(student, rng, setting)
                raise Fail(UNEQUAL)
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
