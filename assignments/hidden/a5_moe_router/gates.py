"""What `gates` asks for: which experts are chosen, and their gates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cs336lite.course.spec import Fail, expect

from .asking import FRONT, WHY, Learning, field_readings, judge_router_gradients, learning, route, times_of
from .at_random import check
from .inputs import judge, known, near, some_logits
from .readings import gates_of, wrong_gates


def follows(indices: Tensor, logits: Tensor) -> bool:
    """Whether experts are chosen by their logits: most of them by the greatest, or by the least, or among the tokens."""
    k, order = indices.shape[-1], logits.argsort(-1)
    wanted = (order[:, -k:], order[:, :k], logits.softmax(0).topk(k, -1).indices)
    return any(float((indices[:, :, None] == one[:, None]).any(-1).double().mean()) > 0.5 for one in wanted)


def expect_a_choice(student, rng) -> None:
    """Fail for what does not choose at all, before a side of the choice is judged."""
    logits = some_logits(rng, 24, 12)
    (said,) = route(student, 2, logits, need=("indices", "weights"))
    expect(said.indices.shape == (24, 2), "indices must have the shape (..., k)")
    expect(said.indices.unique(dim=0).shape[0] > 1, "the choice of experts does not depend on the token")
    expect(bool((said.weights != 0).any()), "all gates are 0")
    expect(follows(said.indices, logits), "the choice of experts does not follow the logits")


@check("gates", points=1.5, title="the k most probable experts, in descending order", seconds=5)
def most_probable_first(student, rng):
    for k, experts in ((2, 5), (3, 6), (1, 4)):
        logits = some_logits(rng, 9, experts)
        (said,) = route(student, k, logits, need=["indices"])
        indices, order = said.indices, logits.argsort(-1)
        squeezed = k == 1 and indices.shape == (9,)  # judged with one expert, and all of them
        indices = indices.reshape(9, 1) if squeezed else indices
        expect(indices.shape == (9, k), "indices must have the shape (..., k)")
        expect(indices.dtype == torch.int64, "indices must be int64: they are numbers of experts, and have no gradient")
        expect(not torch.equal(indices, order[:, :k]), "the least probable experts are chosen")
        right = order.flip(-1)[:, :k]
        if torch.equal(indices, right):
            continue
        alike = torch.equal(indices.sort(-1).values, right.sort(-1).values)
        expect(not alike, "the right experts are chosen, but not in the order of descending probability")
        over_tokens = logits.argsort(0).argsort(0) >= 9 - k  # among the k greatest of its expert
        picks = bool(over_tokens.gather(-1, indices.clamp(0, experts - 1)).all())
        expect(not picks, "the choice is made among the tokens of an expert: choose among the experts of a token")
        raise Fail("the experts are not the k with the greatest probabilities")


def other_logits(answer: Tensor, logits: Tensor, indices: Tensor) -> str:
    """What is said of gates that are a softmax of the logits times a number; nothing of others."""
    times = times_of(answer, logits.double().gather(-1, indices))
    if times == 1:
        return ""
    return f": they are those of the logits times {times:.3g}, and softmax is taken of the logits as they are"


@check("gates", points=1, title="renormalised gates add up to 1", seconds=5)
def renormalised_gates(student, rng):
    for k in (2, 3):
        logits = some_logits(rng, 9, 6)
        (said,) = route(student, k, logits, need=["weights"], renormalize=True)
        indices = said.chosen(logits, k)
        p = gates_of(logits, indices)
        expect(said.weights.shape == p.shape, "weights must have the shape (..., k), as indices")
        message = "the gates do not add up to 1: with renormalize=True divide them by the sum of the chosen"
        wrong = [(p, message), *wrong_gates(logits, indices)]
        otherwise = f"the gates are not p_e / sum of the chosen p_j{other_logits(said.weights, logits, indices)}"
        judge(said.weights, p / p.sum(-1, keepdim=True), otherwise, wrong)


@check("gates", points=1, title="without renormalize: probabilities among all experts", seconds=5)
def gates_among_all(student, rng):
    for k in (2, 3, 1):
        logits = some_logits(rng, 9, 6)
        (said,) = route(student, k, logits, need=["weights"], renormalize=False)
        indices = said.chosen(logits, k)
        p = gates_of(logits, indices)
        if k == 1 and said.weights.shape == (9,):  # judged with one expert, and all of them
            said = said._replace(weights=said.weights.reshape(9, 1))
        expect(said.weights.shape == p.shape, "weights must have the shape (..., k), as indices")
        message = (
            "with renormalize=False the gates still add up to 1: softmax comes before top-k, over all experts, and nothing "
            "is divided"
        )
        wrong = [(p / p.sum(-1, keepdim=True), message), *wrong_gates(logits, indices)]
        otherwise = "with renormalize=False the gates are not the probabilities among all experts"
        judge(said.weights, p, f"{otherwise}{other_logits(said.weights, logits, indices)}", wrong)


@check("gates", points=1, title="one expert, and all of them", seconds=5)
def one_and_all(student, rng):
    for k, what in ((1, "top_k = 1"), (5, "top_k = num_experts")):
        logits = some_logits(rng, 7, 5)
        both = ("weights", "indices")
        (said,) = route(
            student, k, logits, need=both, problem=f"{what} fails: 1 <= top_k <= num_experts, both included"
        )
        message = f"{what}: weights and indices must have the shape (..., k), with a last dimension for k = 1 too"
        expect(said.weights.shape == (7, k) and said.indices.shape == (7, k), message)
        expect(bool((said.weights != 0).all()), f"{what}: a gate is 0")
        expect(bool(said.weights.isfinite().all()), f"{what}: a gate is not a number")
        if k == 5:
            every = bool((said.indices.sort(-1).values == torch.arange(5)).all())
            expect(every, "top_k = num_experts: every expert must be chosen once")
        readings = field_readings("weights", logits.double(), said.chosen(logits, k), True)
        expect(known(said.weights, readings), f"{what}: the gates are not those of the experts that are chosen")
    expect_a_choice(student, rng)


@check("gates", points=1, title="a token's experts are different ones", seconds=5)
def different_experts(student, rng):
    expect_a_choice(student, rng)
    tied = torch.cat((torch.zeros(4, 6), some_logits(rng, 6, 6)))
    tied[1, rng.sample(range(6), 2)] = 1.0
    tied[2, rng.sample(range(6), 4)] = 1.0
    tied[3, rng.sample(range(6), 5)] = 2.0
    alone = some_logits(rng, 6, 6) - 400 + 600 * torch.eye(6)  # all other probabilities are 0 in float32
    for logits, when in ((tied, "logits are equal"), (alone, "all other probabilities are 0")):
        problem = f"the router fails when {when}"
        (said,) = route(student, 3, logits, need=("indices", "weights"), renormalize=False, problem=problem)
        shape = said.indices.shape
        expect(shape == (len(logits), 3), f"more or fewer than k experts are chosen when {when}: exactly k")
        distinct = all(len(set(row)) == 3 for row in said.indices.tolist())
        expect(distinct, f"the same expert is chosen twice when {when}: a token's experts are k different ones")
        expect(bool(said.weights.isfinite().all()), f"the gates are not numbers when {when}")


@check("gates", points=1, title="gradients flow through the gates, and only there", seconds=10)
def gates_have_gradients(student, rng):
    missing = "no gradient flows through the gates: is there a detach, .data or no_grad on their way?"
    through = (
        "the gradient is not that of the gates that are returned: the choice of experts must not be made differentiable, "
        "nor a part of the gates detached"
    )
    divided = "the gradient is not that of a renormalised gate: is the sum that it is divided by detached?"
    judge_router_gradients(student, rng, "weights", 2, missing, through, renormalize=False)
    judge_router_gradients(student, rng, "weights", 2, missing, divided)


IN_A_ROW = (
    "tokens (batch, seq, d_model) get other gates than tokens in a row: softmax, top-k and sum run over the last dimension, "
    "dim=-1, whatever stands in front"
)


def right_gates(one: Learning, renormalize: bool = True) -> Tensor:
    return field_readings("weights", one.logits, one.indices, renormalize)[0]


def judge_gates_together(student, rng, k: int, **options: Any) -> None:
    """In whatever order a token's experts are named: that is judged above."""
    one = learning(student, rng, "weights", k, 2, 6, problem=FRONT, **options)
    logits, right = one.logits.detach(), right_gates(one, options.get("renormalize", True))
    chosen = torch.equal(one.indices.sort(-1).values, logits.topk(k, -1).indices.sort(-1).values)
    if not (chosen and near(one.value, right.detach())):
        row = learning(student, rng, "weights", k, 12, **options)
        in_a_row = right_gates(row, options.get("renormalize", True)).detach()
        best = row.logits.detach().topk(k, -1).indices.sort(-1).values
        alone = near(row.value, in_a_row) and torch.equal(row.indices.sort(-1).values, best)
        expect(not alone, IN_A_ROW)
    expect(chosen, f"together the router does not work yet: it chooses other experts than it should; {WHY}")
    if not options and not near(one.value, right.detach()) and near(one.value, right_gates(one, False).detach()):
        judge_gates_together(student, rng, k, renormalize=True)
        raise Fail("where renormalize is left out the gates are those of renormalize=False: its default is True")
    gates = f"together the router does not work yet: its gates are not those of its experts; {WHY}"
    expect(near(one.value, right.detach()), gates)
    expect(one.fits(right), f"together the router cannot learn yet: the gradients of its gates are wrong; {WHY}")


@check("gates", points=16.5, title="together: experts, gates and gradients of ordinary tokens", seconds=10)
def gates_together(student, rng):
    for k, renormalize in ((2, True), (2, False), (1, False)):
        judge_gates_together(student, rng, k, renormalize=renormalize)


@check("gates", points=4, title="together: the same where renormalize is left out", seconds=10)
def gates_by_default(student, rng):
    judge_gates_together(student, rng, 2)
