"""Checks and hints of the exercises in lecture 05. Nothing here is graded: try as often as you like."""

import torch

from cs336lite.course.answers import ask, like, list_of, tensor_of
from cs336lite.course.show import expect_close
from cs336lite.course.spec import check, expect

HINTS = {
    "z_loss": [
        "Compute log Z of each token first; both terms need it.",
        "torch.logsumexp(logits, dim=-1) is log Z, and logits.gather(-1, targets[:, None])[:, 0] the logit of each target.",
        "The mean over tokens of log_z - target + zeta * log_z ** 2.",
    ],
    "capped": [
        "Divide by the cap, bend, and multiply by the cap again.",
        "tanh lies between -1 and 1, and is nearly x where x is small.",
        "cap * torch.tanh(x / cap)",
    ],
    "clip_all": [
        "One norm for all gradients together: the root of the sum of all squares.",
        "All of them are multiplied by one factor, most / norm, and by 1 where the norm is small enough.",
        "factor = min(1, most / norm), and [g * factor for g in gradients]; new tensors, not the old ones changed.",
    ],
    "robust_jump": [
        "Two medians: one of the numbers, one of their distances from the first.",
        "statistics.median(before) is the middle; the distances are abs(x - middle).",
        "(value - middle) / (1.4826 * median of the distances)",
    ],
}


def run_z(student, logits, targets, zeta):
    return student.z_loss(logits, targets, zeta)


def drawn_logits(rng):
    made = torch.Generator().manual_seed(rng.randrange(1_000))
    return 2 * torch.randn(6, 9, generator=made) + 3, torch.randint(9, (6,), generator=made)


@check("z_loss", title="without a spring")
def no_spring(student, rng):
    logits, targets = drawn_logits(rng)
    found = ask(student, tensor_of(), run_z, logits, targets, 0.0, what="the loss")
    wanted = torch.nn.functional.cross_entropy(logits, targets)
    expect(not torch.allclose(found, 6 * wanted), "that is the sum over the tokens: the mean is asked for")
    expect(not torch.allclose(found, -wanted), "the sign is wrong: log Z minus the logit of the target")
    expect_close(found, wanted, "with zeta 0 it is the cross entropy", 1e-4)


@check("z_loss", title="with a spring")
def spring(student, rng):
    logits, targets = drawn_logits(rng)
    found = ask(student, tensor_of(), run_z, logits, targets, 0.1, what="the loss")
    z, plain = torch.logsumexp(logits, -1), torch.nn.functional.cross_entropy(logits, targets)
    expect(not torch.allclose(found, plain + 0.1 * z.mean()), "log Z is not squared")
    expect(not torch.allclose(found, plain + 0.1 * z.mean() ** 2), "square log Z of each token, then take the mean")
    expect(not torch.allclose(found, plain), "the spring is missing: zeta * (log Z)^2")
    expect_close(found, plain + 0.1 * (z**2).mean(), "cross entropy + zeta * mean of (log Z)^2", 1e-4)


@check("z_loss", title="large logits")
def large(student, rng):
    found = ask(student, tensor_of(finite=False), run_z, torch.full((1, 4), 1_000.0), torch.tensor([2]), 0.0, what="the loss")  # fmt: skip
    expect(bool(found.isfinite()), "exp of 1,000 overflows: torch.logsumexp subtracts the largest logit first")
    expect_close(found, torch.tensor(4.0).log(), "four equal logits", 1e-3)


def run_cap(student, x, cap):
    return student.capped(x, cap)


@check("capped", title="small, at the cap and large")
def cap_values(student, rng):
    cap = float(rng.randrange(20, 60))
    x = torch.tensor([[-1e4, -cap, 0.01], [0.5, cap, 1e4]])
    found = ask(student, like(x), run_cap, x, cap, what="the bent numbers")
    expect(not torch.allclose(found, x.clamp(-cap, cap)), "that cuts; a soft cap bends, with tanh")
    expect(
        not torch.allclose(found, torch.tanh(x / cap)), "multiply by the cap again: small numbers stay what they are"
    )
    expect(not torch.allclose(found, cap * torch.tanh(x)), "divide by the cap inside tanh")
    expect_close(found, cap * torch.tanh(x / cap), f"cap {cap:g}", 1e-3)


def run_clip(student, gradients, most):
    before = [g.clone() for g in gradients]
    found = list(student.clip_all(gradients, most))
    return [*found, torch.tensor([float(all(torch.equal(a, b) for a, b in zip(before, gradients)))])]


def clipped(student, gradients, most):
    *found, untouched = ask(student, list_of(tensor_of(None)), run_clip, gradients, most, what="the gradients")
    expect(bool(untouched), "the gradients that came in were changed: return new tensors")
    expect(len(found) == len(gradients), "as many gradients come out as went in")
    return found


@check("clip_all", title="by hand")
def by_hand(student, rng):
    first, second = clipped(student, [torch.tensor([3.0, 0.0]), torch.tensor([4.0])], 1.0)
    expect(not torch.allclose(first, torch.tensor([1.0, 0.0])), "one norm over all of them, and not one for each")
    expect(not torch.allclose(first, torch.tensor([3 / 7, 0.0])), "the norm is the root of the sum of squares")
    expect(not torch.allclose(first, torch.tensor([3 / 25, 0.0])), "take the root of the sum of squares")
    expect_close(first, torch.tensor([0.6, 0.0]), "(3, 0) and (4), clipped at 1")
    expect_close(second, torch.tensor([0.8]), "(3, 0) and (4), clipped at 1")


@check("clip_all", title="short gradients stay")
def short(student, rng):
    (found,) = clipped(student, [torch.tensor([0.3, -0.4])], float(rng.randrange(1, 9)))
    expect_close(found, torch.tensor([0.3, -0.4]), "the norm is 0.5, below the limit: nothing is made longer")


def run_jump(student, value, before):
    return float(student.robust_jump(value, before))


@check("robust_jump", title="by hand")
def jump_by_hand(student, rng):
    found = ask(student, float, run_jump, 6.0, [2.0, 3.0, 3.0, 4.0, 9.0], what="the jump")
    expect(abs(found - 3) > 1e-6, "1.4826 is missing: it makes the median distance a standard deviation")
    expect(abs(found - 3 * 1.4826) > 1e-6, "divide by 1.4826 times the median distance")
    expect(abs(found - (6 - 4.2) / 1.4826) > 1e-3, "the middle is the median, not the mean")
    expect_close(found, 3 / 1.4826, "6 after 2, 3, 3, 4, 9", 1e-6)


@check("robust_jump", title="below the median")
def below(student, rng):
    lift = float(rng.randrange(1, 9))
    found = ask(student, float, run_jump, 1.0 + lift, [2.0 + lift, 3.0 + lift, 4.0 + lift], what="the jump")
    expect(found < 0, "a number below the median has no jump upwards: keep the sign")
    expect_close(found, -2 / 1.4826, "two below the median, with a median distance of 1", 1e-6)
