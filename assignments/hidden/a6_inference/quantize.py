"""What `quantize` asks for: whole numbers and the scale of each group, and back."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import ask, blame, close, list_of, same, some_tensor
from cs336lite.course.spec import Fail, check, drawn, expect

from .inputs import MOST, WHY, alike, generator


def relatively(answer: Any, right: Tensor) -> bool:
    """Nearly equal in proportion: of scales, which may be small."""
    return close(answer, right.double(), 0.0, 1e-4)


def drive_quantize(student, weight, group_size):
    q, scales = student.quantize_int8(weight, group_size)
    return [q.clone(), scales.clone(), student.dequantize_int8(q, scales).clone(), weight]


def drive_dequantize(student, q, scales):
    return student.dequantize_int8(q, scales).clone()


@drawn
def some_weights(rng, out: int, groups: int, size: int) -> Tensor:
    """Weights between two integers, none of which lies near one or near the middle; the groups are of different sizes."""
    reach = (10 ** (torch.rand(out, groups, 1, generator=generator(rng)) * 2 - 1)).double()
    q = torch.randint(-126, 127, (out, groups, size), generator=generator(rng)).double()
    q[..., 0] = torch.where(torch.rand(out, groups, generator=generator(rng)) < 0.5, -127.0, 127.0)
    off = torch.rand(out, groups, size, generator=generator(rng)).double() * 0.6 - 0.3
    off += 0.1 * off.sign()
    off[..., 0] = 0
    places = torch.rand(out, groups, size, generator=generator(rng)).argsort(-1)
    return ((q + off) * reach / 127).gather(-1, places).flatten(1).float()


def right_quantize(weight: Tensor, size: int) -> tuple[Tensor, Tensor]:
    groups = weight.double().unflatten(1, (-1, size))
    scales = groups.abs().amax(-1) / 127
    return (groups / scales.clamp(min=1e-30)[..., None]).round().flatten(1), scales


FORM = [some_tensor(MOST)] * 4


def expect_form(q: Tensor, scales: Tensor, weight: Tensor, size: int) -> None:
    expect(q.shape == weight.shape and q.dtype == torch.int8, "q is not an int8 tensor of the shape of the weight")
    expect(
        tuple(scales.shape) == (weight.shape[0], weight.shape[1] // size),
        "scales have not the shape (out, in // group_size)",
    )


def expect_a_quantization(student, rng: random.Random) -> None:
    """One row, one group, whose integers differ when they are cut off or rounded down."""
    while True:
        weight = some_weights(rng, 1, 1, 8)
        right, scale = right_quantize(weight, 8)
        whole = weight.double() / scale
        whole += 1e-3 * whole.sign()  # the greatest is 127, and not a little less
        cut, down = whole.trunc(), (whole + 2e-3).floor()
        if not any(alike(x, y) for x, y in combinations((right, cut, down), 2)):
            break
    q, scales, back, _ = ask(student, FORM, drive_quantize, weight, 8)
    expect(
        q.shape == weight.shape and scales.numel() == 1, "one row of one group does not give q (1, in) and one scale"
    )
    expect(not relatively(scales, scale * 127 / 128), "the scale is max |w| / 128: it is max |w| / 127")
    expect(not relatively(scales, scale * 127), "the scale is max |w|: it is divided by 127")
    expect(
        not relatively(scales, (weight.amax() - weight.amin()).double().reshape(1, 1) / 255),
        "the scale is the whole range / 255: symmetric is max |w| / 127",
    )
    expect(relatively(scales.reshape(1, 1), scale), "the scale of one group is not max |w| / 127")
    expect(not alike(q, cut), "integers are cut off: round to the nearest one")
    expect(not alike(q, down), "integers are rounded down: round to the nearest one")
    expect(alike(q, right), "q is not round(w / scale)")
    expect(alike(back.reshape(1, 8), right * scale, 1e-4), "dequantize_int8 does not return q * scale")


@check("quantize", points=1, title="a scale for each group of a row", seconds=5)
def groups_of_a_row(student, rng):
    expect_a_quantization(student, rng)
    weight = some_weights(rng, 4, 4, 4)
    q, scales, _, _ = ask(student, FORM, drive_quantize, weight, 4)
    expect_form(q, scales, weight, 4)
    right = right_quantize(weight, 4)[1]
    rows = right.amax(-1, keepdim=True).expand(4, 4)
    expect(not relatively(scales, rows), "one scale serves a whole row: each group has its own")
    down = weight.double().unflatten(0, (-1, 4)).abs().amax(1) / 127
    across = weight.double().reshape(4, 4, 4).abs().amax(1) / 127
    expect(
        not relatively(scales.flatten(), down.flatten()), "groups run down the columns: they are neighbours in a row"
    )
    expect(not relatively(scales, across), "a group holds every n-th weight of a row: it holds neighbours")
    expect(relatively(scales, right), "the scales are not those of group_size neighbours in each row")
    _, scales, _, _ = ask(student, FORM, drive_quantize, weight * 1e-4, 4)
    message = "small weights get too large a scale: nothing is added to it, whatever the group holds"
    expect(relatively(scales, right_quantize(weight * 1e-4, 4)[1]), message)


@check("quantize", points=1, title="a group of zeros", seconds=5)
def zero_group(student, rng):
    expect_a_quantization(student, rng)
    weight = some_weights(rng, 3, 2, 4)
    _, scales, _, _ = ask(student, FORM, drive_quantize, weight, 4)
    usual = relatively(scales, right_quantize(weight, 4)[1])
    weight[1, :4] = 0
    q, scales, back, _ = ask(student, FORM, drive_quantize, weight, 4)
    expect_form(q, scales, weight, 4)
    expect(bool(scales.isfinite().all()), "the scale of a group of zeros is not finite")
    expect(bool((q[1, :4] == 0).all()), "a group of zeros does not become integers of 0")
    expect(
        bool(back.isfinite().all()) and bool((back[1, :4] == 0).all()), "a group of zeros does not come back as zeros"
    )
    right, scale = right_quantize(weight, 4)
    there = scale > 0
    if not relatively(scales[there], scale[there]):
        expect(usual, "this is judged when the scales of groups without zeros are right")
        raise Fail("a group of zeros changes the scales of others")
    expect(alike(q, right), "a group of zeros changes the integers of others")


@check("quantize", points=0.5, title="dtypes, and the weight stays as it is", seconds=5)
def quantize_dtypes(student, rng):
    expect_a_quantization(student, rng)
    weight = some_weights(rng, 4, 2, 8)
    for name in ("float32", "bfloat16", "float16"):
        given = weight.to(getattr(torch, name))
        with blame(f"weights in {name} fail", lambda: None):
            q, scales, back, after = ask(student, FORM, drive_quantize, given, 8)
        expect(
            scales.dtype == torch.float32 and back.dtype == torch.float32,
            f"for weights in {name} scales or weights do not come back in float32",
        )
        right, scale = right_quantize(given, 8)
        expect(name != "float32" or relatively(scales, scale), "this is judged when the scales of groups are right")
        expect(relatively(scales, scale), f"the scales of weights in {name} are rounded: compute in float32")
        near = (q.double() - right).abs().amax() <= 1 and (q.double() - right).abs().mean() < 0.05
        expect(bool(near), f"the integers of weights in {name} are not computed in float32")
        expect(same(after, given), "quantize_int8 changes the weight that it is given")


def drive_group_sizes(student, weight, sizes):
    said = []
    for size in sizes:
        try:
            student.quantize_int8(weight, size)
            said.append("taken")
        except ValueError:
            said.append("refused")
        except Exception:
            said.append("another")
    return said


@check("quantize", points=0.5, title="rows that cannot be cut", seconds=5)
def rows_that_cannot_be_cut(student, rng):
    expect_a_quantization(student, rng)
    said = ask(student, list_of(str, 6), drive_group_sizes, some_weights(rng, 2, 3, 4), [1, 12, 5, 24, 0, -4])
    expect(said[:2] == ["taken"] * 2, "a group of one weight, or of a whole row, is refused")
    message = "a group_size that does not divide the rows, or is below 1, must raise a ValueError"
    expect(said[2:] == ["refused"] * 4, message)


@check("quantize", points=7, title="together: to int8 and back", seconds=5)
def quantize_together(student, rng):
    size = rng.choice([4, 8])
    weight = some_weights(rng, 6, 4, size)
    q, scales, back, _ = ask(student, FORM, drive_quantize, weight, size)
    expect_form(q, scales, weight, size)
    right, scale = right_quantize(weight, size)
    expect(relatively(scales, scale), f"together: the scales are not those of the groups; {WHY}")
    expect(alike(q, right), f"together: the integers are not round(w / scale); {WHY}")
    whole = (right.unflatten(1, (-1, size)) * scale[..., None]).flatten(1)
    expect(back.shape == weight.shape, "together: the weights do not come back in their shape")
    expect(alike(back, whole, 1e-4), f"together: the weights that come back are not integers times scales; {WHY}")
    bound = scale.repeat_interleave(size, dim=1) / 2
    expect(
        bool(((back - weight).abs() <= bound * 1.001).all()), f"together: an error is larger than half a scale; {WHY}"
    )
    other = torch.randint(-127, 128, (3, 12), generator=generator(rng)).to(torch.int8)
    factors = torch.rand(3, 3, generator=generator(rng)) + 0.1
    given = (other.double().unflatten(1, (3, 4)) * factors.double()[..., None]).flatten(1)
    answer = ask(student, some_tensor(MOST), drive_dequantize, other, factors)
    expect(
        alike(answer, given, 1e-4),
        f"together: dequantize_int8 of other integers and scales is not their product; {WHY}",
    )
