"""What `rotation` asks for: pairs that turn, in the right direction, and nothing else."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from cs336lite.course.answers import ORDINARY, anything, ask, blame, list_of, same
from cs336lite.course.spec import Fail, StudentError, check, expect

from .asking import (
    ROUNDED,
    Layout,
    answers_plainly,
    close,
    job,
    judge_together,
    rotated,
    some_setting,
    vectors,
    with_gradient,
)
from .drivers import drive_rope
from .matrices import (
    STILL,
    UNEQUAL,
    as_matrices,
    backwards_from,
    each_layout,
    exchanged,
    expect_turned_alone,
    halves,
    is_another_order,
    loses,
    matrices,
    matrices_and,
    neighbours,
    pairs_of,
    shows,
    since,
    some_probe,
    some_stay,
    turned_by,
    unit_vectors,
    weighing_one,
)


def one_step(found: Tensor) -> Tensor:
    """The turn from position 0 to 1, whatever position 0 is."""
    return found[1] if loses(found[0]) else since(found)[1]


def only_neighbours_mix(found: Tensor) -> bool:
    """Whether most pairs of neighbours turn, and no two other dimensions are mixed. A pair may turn all the way round."""
    seen = found[1:].abs().amax(dim=0) > 1e-5
    blocks = torch.block_diag(*[torch.ones(2, 2)] * (len(seen) // 2)).bool()
    turning = seen[range(0, len(seen), 2), range(1, len(seen), 2)]
    return not bool((seen & ~blocks).any()) and 2 * int(turning.sum()) > len(turning)


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
            if not close(answer, turned_by(found, x), 0.2):
                expect_turned_alone(student, rng, setting, layout)
                raise Fail("x of another dtype than float32 is turned in another way")
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
