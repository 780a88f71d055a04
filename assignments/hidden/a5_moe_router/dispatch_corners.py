"""What `dispatch` asks for in corners: idle experts, shapes, dtypes, gradients, arguments that stay."""

from __future__ import annotations

import torch
from torch import Tensor

from cs336lite.course.answers import ask, same
from cs336lite.course.spec import expect

from .asking import fits_gradient
from .at_random import check
from .dispatch import (
    PATHS,
    alike,
    carry,
    combined,
    expect_a_dispatch,
    expect_gradients,
    learned,
    multiple,
    resembles,
    some_experts,
    spread,
    twins,
)
from .inputs import SHAPE, judge, near, normal


def drive_no_such_expert(student, x, weights, indices, count):
    """Whether dispatch refuses indices with a ValueError: "taken", "refused", or "failed" with another exception."""
    try:
        student.dispatch(x, weights, indices, [lambda z: z + 1] * count)
    except ValueError:
        return "refused"
    except Exception:
        return "failed"
    return "taken"


@check("dispatch", points=0.5, title="no token is dropped", seconds=5)
def nothing_is_dropped(student, rng):
    experts, x, e = some_experts(rng, 4), alike(rng, 40), rng.randrange(4)
    expect_a_dispatch(student, rng)
    problem = "dispatch fails when all tokens want the same expert"
    (done,) = carry(student, experts, (x, torch.ones(40, 1), torch.full((40, 1), e)), problem=problem)
    expect(done.out.shape == x.shape, SHAPE)
    right = experts.of(x, e)
    lost = (done.out == 0).all(-1) | torch.isclose(done.out, x).all(-1)
    expect(not bool(lost.any()), "tokens are dropped when many want the same expert: there is no capacity here")
    judge(done.out, right, "when all tokens want the same expert their results are wrong")


@check("dispatch", points=0.5, title="experts with one token, and with none", seconds=5)
def idle_experts(student, rng):
    experts, x = some_experts(rng, 5), alike(rng, 5)
    for indices in ([1, 1, 1, 1, 3], [0, 2, 2, 2, 2]):  # in the order of experts, so that an error of order is not seen
        job = x, torch.ones(5, 1), torch.tensor(indices)[:, None]
        problem = "dispatch fails when an expert has a single token, or none"
        (done,) = carry(student, experts, job, problem=problem)
        matrix = "an expert is not given a matrix (n, d_model): for a single token n is 1"
        expect(all(len(shape) == 2 and shape[1] == 3 for _, shape, _ in done.calls), matrix)
        expect(done.out.shape == x.shape, SHAPE)
        kept = (done.out != 0).any(-1)  # one that is dropped where many want the same expert: judged above
        kept |= torch.bincount(job[2][:, 0], minlength=5)[job[2][:, 0]] == 1
        right = combined(*job, experts)
        if not near(done.out[kept], right[kept]):
            expect_a_dispatch(student, rng)
        judge(done.out[kept], right[kept], "the result is wrong when an expert has a single token, or none")


@check("dispatch", points=1, title="any dimensions in front, or none", seconds=5)
def any_dimensions(student, rng):
    experts = some_experts(rng, 4)
    x, weights, indices = spread(rng, 12, 4)
    (flat,) = carry(student, experts, (x, weights, indices))
    for front in ((12, 1), (2, 1, 6), (3, 4)):
        job = tuple(tensor.reshape(*front, -1) for tensor in (x, weights, indices))
        problem = "dispatch fails for x of the shape (batch, seq, d_model)"
        (done,) = carry(student, experts, job, problem=problem)
        expect(done.out.shape == job[0].shape, SHAPE)
        expect(near(done.out.reshape(12, 3), flat.out), "the result depends on the dimensions in front of d_model")
    problem = (
        "dispatch fails for tensors that are not contiguous, such as x.transpose(0, 1): use reshape in place of view"
    )
    (done,) = carry(student, experts, job, strided=True, problem=problem)
    expect(near(done.out.reshape(12, 3), flat.out), "the result of tensors that are not contiguous is another one")
    experts, pair = some_experts(rng, 2), torch.tensor(rng.sample(range(2), 2))
    problem = "dispatch fails for a single token"
    (row,) = carry(student, experts, (x[:1], weights[:1], pair[None]), problem=problem)
    message = "dispatch fails for a single token: x (d_model,) with weights and indices (k,)"
    (done,) = carry(student, experts, (x[0], weights[0], pair), problem=message)
    expect(row.out.shape == (1, 3) and done.out.shape == (3,), f"for a single token, {SHAPE}")
    expect(near(done.out, row.out[0]), "the result of a single token depends on the dimensions in front")
    expect_a_dispatch(student, rng)


@check("dispatch", points=0.5, title="the dtype of x", seconds=5)
def dtype_of_x(student, rng):
    experts = some_experts(rng, 4)
    x, weights, indices = spread(rng, 12, 4)
    (wide,) = carry(student, experts, (x, weights, indices))
    for name in ("bfloat16", "float16", "float64"):
        problem = f"x in {name} fails beside weights in float32"
        (done,) = carry(student, experts, (x.to(getattr(torch, name)), weights, indices), problem=problem)
        expect(done.out.dtype == getattr(torch, name), "the result has another dtype than x: the gates are float32")
        given = all(dtype == name for _, _, dtype in done.calls)
        expect(given, "an expert is given tokens in another dtype than that of x: its parameters do not go with them")
        expect(done.out.shape == wide.out.shape, SHAPE)
        off = (done.out.double() - wide.out.double()).abs().max() / wide.out.abs().max()
        expect(float(off) < 0.05, f"x in {name} gives another result than in float32")
    expect_a_dispatch(student, rng)


def dispatched(x: Tensor, weights: Tensor, indices: Tensor, matrices: Tensor) -> list[Tensor]:
    """What dispatch returns for experts z -> tanh(z @ matrix), and what wrong gates make of it, judged by themselves."""

    def of(gates: Tensor, before: Tensor) -> Tensor:
        given = (before[..., None] * x[:, None])[:, :, None]
        return (gates[..., None] * (given @ matrices[indices]).tanh().squeeze(-2)).sum(-2)

    order = indices.flatten().argsort(stable=True)
    by_expert = weights.flatten()[order].view_as(weights)
    back = weights.flatten()[order.argsort()].view_as(weights)
    ones = torch.ones_like(weights)
    gates = (weights, weights / weights.sum(-1, keepdim=True), by_expert, back)
    return [*(of(one, ones) for one in gates), of(ones, weights), of(weights, weights)]


@check("dispatch", points=0.5, title="gradients to tokens, gates and experts", seconds=10)
def dispatch_has_gradients(student, rng):
    factor = normal(rng, 1, 3).float().expand(8, 3).clone()  # one for all tokens, in whatever order
    unknown = "the gradient through dispatch is judged where tokens get what their expert returns, times a gate"
    for k in (2, 1):  # how the results of a token are put together is judged by itself
        x, weights, indices = spread(rng, 8, 4, k)
        first = normal(rng, 4, 3, 3).float()
        out, gradients = learned(student, x, weights, indices, first, second=None, factor=factor)
        expect_gradients(gradients)
        inputs = [tensor.double().requires_grad_() for tensor in (x, weights, first)]
        readings = dispatched(*inputs[:2], indices, inputs[2])
        right = next((one for one in readings if resembles(out, one.detach())), None)
        if right is not None:
            break
    expect(right is not None, unknown)
    total = multiple(out, right.detach()) * (right * factor).sum()
    for name, gradient, one in zip(PATHS, gradients, torch.autograd.grad(total, inputs), strict=True):
        wrong = f"the gradient through dispatch to {name} is not that of what it computes: is a part detached?"
        expect(fits_gradient(gradient, one), wrong)


@check("dispatch", points=0.5, title="what is given stays as it is", seconds=5)
def arguments_stay(student, rng):
    job = spread(rng, 12, 4)
    (done,) = carry(student, some_experts(rng, 4), job)
    now = zip(("x", "weights", "indices"), done.job, job, strict=True)
    changed = [name for name, after, before in now if not same(after, before)]
    expect(not changed, f"dispatch changes {', '.join(changed)}: is an operation in place?")
    expect_a_dispatch(student, rng)


@check("dispatch", points=0.5, title="an expert that stands twice in a row counts twice", seconds=5)
def twice_in_a_row(student, rng):
    one, x, weights = some_experts(rng, 1), alike(rng, 4), torch.full((4, 2), rng.uniform(0.2, 0.6))
    same = twins(one, 2)
    rows = ([[0, 0], [1, 1]], [[0, 1], [1, 0]])  # the two experts are the same, so the results are too
    twice, beside = carry(student, same, *((x, weights, torch.tensor(two + two)) for two in rows))
    message = (
        "an expert that stands twice in a row of indices counts once, and both of its gates should: an assignment by index, "
        "as out[tokens] += y or scatter, keeps one of two for the same place, and argmax finds one place"
    )
    expect(twice.out.shape == x.shape, SHAPE)
    expect(not near(2 * twice.out, beside.out), message)
    message = "an expert that stands twice in a row of indices gives another result than two experts that are alike"
    expect(near(twice.out, beside.out), message)
    expect_a_dispatch(student, rng)


@check("dispatch", points=0.5, title="ValueError for an expert that there is not", seconds=5)
def no_such_expert(student, rng):
    x, weights, indices = spread(rng, 6, 3)
    expect_a_dispatch(student, rng)
    said = ask(student, str, drive_no_such_expert, x, weights, indices, 3)
    expect(said == "taken", "dispatch fails with indices that are all right")
    for wrong, what in ((3, "as great as the number of experts"), (-1, "below 0")):
        bad = indices.clone()
        bad[rng.randrange(6), rng.randrange(2)] = wrong
        said = ask(student, str, drive_no_such_expert, x, weights, bad, 3)
        expect(said != "taken", f"dispatch takes an index {what}: raise a ValueError for an expert that there is not")
        expect(said == "refused", f"dispatch refuses an index {what} with another exception than ValueError")
