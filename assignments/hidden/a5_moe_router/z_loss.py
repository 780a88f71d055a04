"""What `z_loss` asks for: the mean square of logsumexp."""

from __future__ import annotations

from torch import Tensor

from cs336lite.course.answers import close
from cs336lite.course.spec import Fail, expect

from .asking import FRONT, WHY, Z, judge_router_gradients, learning, one_factor, route
from .at_random import check
from .inputs import COEFFICIENT, drawn_apart, judge, known, near, normal, one_number, some_logits
from .readings import LOGSUMEXP, z_readings


@check("z_loss", points=1, title="the mean of logsumexp squared", seconds=5)
def mean_of_squares(student, rng):
    for experts in (5, 8):
        logits = some_logits(rng, 9, experts) + 2 * normal(rng, 9, 1).float()
        (said,) = route(student, 2, logits, need=[Z])
        right, wrong = z_readings(logits)
        if not near(one_number(said.z, Z), right) and one_factor(student, rng, Z):
            return  # a coefficient: told by the check of all together
        judge(one_number(said.z, "z_loss"), right, "the z-loss is not the mean over tokens of logsumexp squared", wrong)


@check("z_loss", points=1, title="over the experts, in whatever dimensions", seconds=5)
def z_over_experts(student, rng):

    def texts_and_one() -> list[Tensor]:
        made = some_logits(rng, 3, 6, 5) + 2 * normal(rng, 3, 6, 1).float()
        return [made, made[0]]

    logits, _ = drawn_apart(texts_and_one, lambda one: z_readings(one.flatten(0, -2))[0])
    problem = "the z-loss fails for x of the shape (batch, seq, d_model)"
    whole, flat, part = route(student, 2, logits, logits.flatten(0, 1), logits[0], need=[Z], problem=problem)
    expect(whole.z.shape == (), "the z-loss must be one number of shape () for all tokens, not one for each text")
    losses = [one_number(one.z, "z_loss") for one in (whole, flat, part)]
    expect(all(bool(loss.isfinite()) for loss in losses), "the z-loss is not a finite number")
    expect(not close(losses[0], losses[2], 1e-6, 1e-6), "the z-loss does not depend on the tokens")
    message = f"(batch, seq, d_model) must give the z-loss of all tokens together: {LOGSUMEXP} and dim=-1"
    expect(near(losses[0], losses[1]), message)
    right, wrong = z_readings(logits.flatten(0, 1))
    expect(
        known(losses[1], [right, *(value for value, _ in wrong)]) or one_factor(student, rng, Z) > 0,
        "the z-loss does not come near the mean over tokens of logsumexp squared",
    )


@check("z_loss", points=1, title="logits of any size", seconds=5)
def z_of_large_logits(student, rng):
    for shift in (300.0, -300.0):
        logits = some_logits(rng, 7, 5) + shift
        (said,) = route(student, 2, logits, need=[Z])
        loss = one_number(said.z, Z)
        message = "large logits overflow, or vanish, in exp: use a logsumexp that subtracts the greatest logit first"
        expect(bool(loss.isfinite()), message)
        right, wrong = z_readings(logits)
        readings = [right, *(value for value, _ in wrong)]  # the wrong ones: judged above
        if not known(loss, readings):
            factor = one_factor(student, rng, Z)
            expect(
                factor > 0 and near(loss, right * factor), "the z-loss is not right for large logits: are they cut off?"
            )


@check("z_loss", points=1, title="its gradient", seconds=10)
def z_has_a_gradient(student, rng):
    missing = "no gradient flows from the z-loss: is there a detach, .data or no_grad?"
    wrong = "the gradient of the z-loss is not that of its value: is a part of it detached?"
    judge_router_gradients(student, rng, Z, 2, missing, wrong)


@check("z_loss", points=5, title="together: the loss of ordinary tokens and its gradient", seconds=10)
def z_together(student, rng):
    one = learning(student, rng, Z, 2, 2, 6, problem=FRONT)
    right = z_readings(one.logits)[0]
    message = (
        f"together the z-loss is not the mean of logsumexp squared for x of the shape (batch, seq, d_model); {WHY}"
    )
    if not near(one.value, right.detach()):
        factor = one_factor(student, rng, Z)
        expect(not (factor and near(one.value, factor * right.detach())), f"together the z-loss {COEFFICIENT}")
        raise Fail(message)
    expect(one.fits(right), f"together the z-loss cannot teach yet: its gradient is wrong; {WHY}")
