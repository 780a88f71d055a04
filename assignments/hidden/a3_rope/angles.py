"""What `angles` asks for: how fast each pair turns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cs336lite.course.answers import ORDINARY, same
from cs336lite.course.spec import Fail, StudentError, check, expect

from .asking import LIMIT, SHORT, Layout, Setting, answers_plainly, close, rotated, some_setting, vectors
from .matrices import (
    STILL,
    as_matrices,
    backwards_from,
    distance,
    each_layout,
    exchanged,
    has_cosines,
    is_another_order,
    loses,
    matrices,
    matrices_and,
    misfit,
    readings,
    shows,
    since,
    some_stay,
    unit_vectors,
)

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


def has_sines(found: Tensor, angles: Tensor, tolerance: float) -> bool:
    """Does the sine of each angle stand somewhere in its matrix, with whatever sign?"""
    return distance(angles.sin().abs(), found.flatten(1).abs()) < tolerance


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
