"""What `layouts` asks for: which dimensions form a pair, neighbours or halves."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from cs336lite.course.answers import anything, ask, blame, list_of, same
from cs336lite.course.spec import Fail, check, expect

from .asking import Setting, answers_plainly, close, job, judge_together, some_setting, vectors
from .drivers import drive_rope
from .matrices import halves, is_another_order, matrices, neighbours, pairs_of


def rotations(setting: Setting, number: int) -> Tensor:
    """The right matrices of the positions 0 to ``number - 1``."""
    angles = torch.arange(number)[:, None] * setting.speeds
    found = torch.zeros(number, setting.d_k, setting.d_k, dtype=torch.float64)
    for i, (first, second) in enumerate(neighbours(setting.d_k)):
        found[:, first, first] = found[:, second, second] = angles[:, i].cos()
        found[:, second, first] = angles[:, i].sin()
        found[:, first, second] = -angles[:, i].sin()
    return found


def order_of_halves(d_k: int) -> list[int]:
    """Where the dimensions of the layout "half" stand in "interleaved"."""
    return [*range(0, d_k, 2), *range(1, d_k, 2)]


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
    for permute in (student.interleaved_to_half, student.half_to_interleaved):
        leaf = weight.clone().requires_grad_()
        answer = permute(leaf, dim=1)
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
