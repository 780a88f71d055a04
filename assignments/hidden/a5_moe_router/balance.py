"""What `balance` asks for: the load-balancing loss, from shares and mean probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import close
from cs336lite.course.spec import Fail, expect

from .asking import FRONT, ONE, WHY, judge_router_gradients, learning, one_factor, route
from .at_random import check
from .inputs import COEFFICIENT, drawn_apart, judge, known, near, normal, one_number, some_logits
from .readings import CUT, FACTOR, Readings, balance_of

NO_BALANCE = "the loss does not come near num_experts * sum of f_e P_e"


def loss_and_readings(student, rng, k: int, experts: int, n: int = 17, **options: Any) -> tuple[Tensor, Readings]:
    logits = some_logits(rng, n, experts)
    logits[experts:] += 1.5 * normal(rng, experts).float()  # some experts get more than others
    (said,) = route(student, k, logits, need=[ONE], **options)
    return one_number(said.balance, ONE), balance_of(logits, said.chosen(logits, k), said.weights)


@check("balance", points=1.5, title="num_experts times fractions times mean probabilities", seconds=5)
def fractions_times_probabilities(student, rng):
    for experts in (5, 8):
        loss, readings = loss_and_readings(student, rng, 1, experts, renormalize=False)
        if not near(loss, readings.right) and one_factor(student, rng, ONE):
            return  # a coefficient: told by the check of all together
        otherwise = "with k = 1 the loss is not num_experts * sum of f_e P_e"
        judge(loss, readings.right, otherwise, [(readings.bare, FACTOR), *readings.wrong])


@check("balance", points=1.5, title="fractions of all k * tokens assignments", seconds=5)
def fractions_of_assignments(student, rng):
    for k in (2, 3):
        loss, readings = loss_and_readings(student, rng, k, 6)
        if near(loss, readings.bare) or near(loss, readings.bare / 6):  # the factor: judged above
            continue
        if not near(loss, readings.right) and one_factor(student, rng, ONE):
            return
        otherwise = "with k > 1 the loss is not num_experts * sum of f_e P_e, with f_e the share of all assignments"
        judge(loss, readings.right, otherwise, readings.wrong)


@check("balance", points=1.5, title="its gradient is that of the probabilities", seconds=10)
def balance_has_a_gradient(student, rng):
    missing = "no gradient flows from the load-balancing loss: the probabilities P_e must not be detached"
    wrong = (
        "the gradient of the load-balancing loss is not that of its value: it flows through P_e, all of it, and not through "
        "the fractions f_e, which are counts"
    )
    judge_router_gradients(student, rng, ONE, 2, missing, wrong)


def right_loss(logits: Tensor) -> Tensor:
    """Of the two experts that each token likes best."""
    tokens = logits.flatten(0, -2)
    return balance_of(tokens, tokens.topk(2).indices, None).right


def expect_a_loss(losses: list[Tensor]) -> None:
    """Fail for what is no loss at all: the losses of different tokens are numbers, and differ."""
    expect(all(bool(loss.isfinite()) for loss in losses), "the load-balancing loss is not a finite number")
    differ = all(not close(losses[0], loss, 1e-6, 1e-6) for loss in losses[1:])
    expect(differ, "the loss does not depend on the tokens")


@check("balance", points=0.5, title="experts without tokens count", seconds=5)
def idle_experts_count(student, rng):

    def with_idle_experts() -> list[Tensor]:
        made = [some_logits(rng, 9, 6) for _ in range(2)]
        for logits, idle in zip(made, ([0, 2], [3, 5]), strict=True):
            logits[:, idle] = logits.amin(-1, keepdim=True) - torch.tensor([0.5, 1.0])
        return made

    first, last = drawn_apart(with_idle_experts, right_loss)
    problem = "the load-balancing loss fails when an expert gets no token: count with as many places as experts"
    (said,) = route(student, 2, first, need=[ONE], problem=problem)  # alone, so that a failure is that of this one
    (other,) = route(student, 2, last, need=[ONE], problem=problem)
    turned = torch.arange(5, -1, -1)
    (numbered,) = route(student, 2, last[:, turned], need=[ONE], problem=problem)
    losses = [one_number(one.balance, ONE) for one in (said, other, numbered)]
    expect_a_loss(losses[:2])
    readings = balance_of(first, said.chosen(first, 2), said.weights)
    for reading, cut in readings.wrong:
        expect(cut != CUT or not near(losses[0], reading), CUT)
    message = "the loss depends on the numbers of the experts: when the last ones get no token they still count"
    expect(near(losses[1], losses[2]), message)
    used = len(said.chosen(first, 2).unique())
    message = "num_experts is taken for the number of experts that got a token: idle ones count too"
    expect(not near(losses[0], used * readings.bare) or used == 6, message)
    expect(known(losses[0], readings.all) or one_factor(student, rng, ONE) > 0, NO_BALANCE)


@check("balance", points=1, title="one number for all tokens, in whatever dimensions", seconds=5)
def balance_over_all_tokens(student, rng):

    def texts_and_one() -> list[Tensor]:
        made = some_logits(rng, 3, 9, 5)
        made[:, 5:] += 2 * normal(rng, 3, 1, 5).float()  # each text has favourites of its own
        return [made, made[0]]

    logits, _ = drawn_apart(texts_and_one, right_loss)
    problem = "the load-balancing loss fails for x of the shape (batch, seq, d_model)"
    whole, flat, part = route(student, 2, logits, logits.flatten(0, 1), logits[0], need=[ONE], problem=problem)
    message = "the load-balancing loss must be one number of shape () for all tokens, not one for each text"
    expect(whole.balance.shape == (), message)
    losses = [one_number(one.balance, ONE) for one in (whole, flat, part)]
    expect_a_loss([losses[0], losses[2]])
    tokens = logits.flatten(0, 1)
    texts = [balance_of(text, flat.chosen(tokens, 2).view(3, 9, 2)[i], None) for i, text in enumerate(logits)]
    message = "(batch, seq, d_model) must give the loss of all tokens together, not a mean over texts of their losses"
    for factor in (1, 2):
        means = [factor * torch.stack(one).mean() for one in zip(*(text[:2] for text in texts), strict=True)]
        expect(near(losses[0], losses[1]) or not known(losses[0], means), message)
    message = "(batch, seq, d_model) gives another loss than the same tokens in a row: it is one of all tokens together"
    expect(near(losses[0], losses[1]), message)
    readings = balance_of(tokens, flat.chosen(tokens, 2), flat.weights).all
    expect(known(losses[1], readings) or one_factor(student, rng, ONE) > 0, NO_BALANCE)


@check("balance", points=19, title="together: the loss of ordinary tokens and its gradient", seconds=10)
def balance_together(student, rng):
    """With k = 2 the loss may be twice as large, as where fractions are those of tokens: that is judged above."""
    one = learning(student, rng, ONE, 2, 2, 9, problem=FRONT)
    right = balance_of(one.logits, one.indices, None).right
    factor = next((f for f in (1, 2) if near(one.value, f * right.detach())), 0)
    message = f"together the load-balancing loss is not num_experts * sum of f_e P_e for x (batch, seq, d_model); {WHY}"
    if not factor:
        own = one_factor(student, rng, ONE)
        expect(not (own and near(one.value, own * right.detach())), f"together the load-balancing loss {COEFFICIENT}")
        raise Fail(message)
    expect(one.fits(factor * right), f"together the load-balancing loss cannot teach yet: its gradient is wrong; {WHY}")
