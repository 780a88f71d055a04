"""Checks and hints of the exercises in lecture 04. Nothing here is graded: try as often as you like."""

import math

import torch

from cs336lite.course.answers import ask, list_of, tensor_of
from cs336lite.course.show import expect_close
from cs336lite.course.spec import check, expect

HINTS = {
    "adamw_step": [
        "Four lines: the two means, the two corrections, the move. The table above has all of them.",
        "m and v are kept as they are, without the correction; the corrected ones are used for this step alone.",
        "p * (1 - lr * weight_decay) - lr * m_hat / (v_hat.sqrt() + eps), and return it with the new m and v.",
    ],
    "edge": [
        "Look at the middle of low and high. On which side of it is the edge?",
        "If the middle diverges, the edge lies below: the middle becomes the new high. Else it becomes the new low.",
        "Repeat it `tries` times, and return the middle of what is left.",
    ],
    "noise_scale": [
        "Two equations, two unknowns. Subtract one from the other, and the signal is gone.",
        "noise = (square_small - square_large) / (1 / small - 1 / large)",
        "signal = square_large - noise / large; the answer is noise / signal.",
    ],
    "steps_saved": [
        "Write S for the batch and for twice the batch, and divide.",
        "S_min is in both, so it cancels.",
        "(1 + critical / batch) / (1 + critical / (2 * batch))",
    ],
}


def run_adamw(student, gradients, lr, weight_decay):
    p, m, v = torch.tensor([1.0, -2.0]), torch.zeros(2), torch.zeros(2)
    found = []
    for t, g in enumerate(gradients, 1):
        before = [p.clone(), g.clone(), m.clone(), v.clone()]
        arguments = [p, g, m, v]
        p, m, v = student.adamw_step(p, g, m, v, t, lr, weight_decay=weight_decay)
        kept = all(torch.equal(x, y) for x, y in zip(arguments, before))
        found += [p, m, v, torch.tensor([float(kept)])]
    return found


def wanted_adamw(gradients, lr, weight_decay):
    p = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.AdamW([p], lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=weight_decay)
    steps = []
    for g in gradients:
        p.grad = g.clone()
        optimizer.step()
        steps.append(p.detach().clone())
    return steps


def drawn_gradients(rng, steps=3):
    made = torch.Generator().manual_seed(rng.randrange(1_000))
    return [torch.randn(2, generator=made) + 0.5 for _ in range(steps)]


def moved(student, gradients, lr, weight_decay):
    return ask(student, list_of(tensor_of(None)), run_adamw, gradients, lr, weight_decay, what="p, m and v")


@check("adamw_step", title="the first step")
def first_step(student, rng):
    gradients = drawn_gradients(rng, 1)
    p, m, v, _ = moved(student, gradients, 0.1, 0.0)
    start, g = torch.tensor([1.0, -2.0]), gradients[0]
    expect(
        not torch.allclose(m, g, atol=1e-6),
        "the m that is kept is the mean itself; the corrected one is for this step alone",
    )
    expect(not torch.allclose(p, start + 0.1 * g.sign(), atol=1e-4), "the weight went uphill: subtract the move")
    slow = start - 0.1 * (0.1 * g) / (0.05 * g**2).sqrt()
    expect(not torch.allclose(p, slow, atol=1e-4), "the means begin at 0: divide them by 1 - beta ** t")
    expect(not torch.allclose(p, start - 0.1 * g / (g**2), atol=1e-4), "the root of v is missing")
    expect_close(p, wanted_adamw(gradients, 0.1, 0.0)[0], "p after one step of size 0.1", 1e-4)
    expect_close(m, 0.1 * g, "m after one step", 1e-4)
    expect_close(v, 0.05 * g**2, "v after one step", 1e-4)


@check("adamw_step", title="three steps")
def three_steps(student, rng):
    gradients = drawn_gradients(rng)
    found = moved(student, gradients, 0.1, 0.0)
    for t, wanted in enumerate(wanted_adamw(gradients, 0.1, 0.0), 1):
        expect_close(found[4 * (t - 1)], wanted, f"p after step {t}; t counts from 1, and both powers are t", 1e-4)


@check("adamw_step", title="weight decay")
def decays(student, rng):
    gradients = drawn_gradients(rng, 1)
    p = moved(student, gradients, 0.1, 0.5)[0]
    free, start = wanted_adamw(gradients, 0.1, 0.0)[0], torch.tensor([1.0, -2.0])
    expect(not torch.allclose(p, free, atol=1e-5), "the weights do not decay: p * (1 - lr * weight_decay)")
    expect(not torch.allclose(p, free - 0.5 * start, atol=1e-4), "decay is multiplied by the learning rate, too")
    mixed = wanted_l2(gradients[0], 0.1, 0.5)
    wanted = wanted_adamw(gradients, 0.1, 0.5)[0]
    if not torch.allclose(mixed, wanted, atol=1e-4):
        expect(not torch.allclose(p, mixed, atol=1e-4), "decay went into the gradient, where v divides it away: that is Adam with L2, not AdamW")  # fmt: skip
    expect_close(p, wanted, "p after one step with decay 0.5", 1e-4)


def wanted_l2(g, lr, weight_decay):
    start = torch.tensor([1.0, -2.0])
    return start - lr * (g + weight_decay * start).sign()


@check("adamw_step", title="nothing else is changed")
def unchanged(student, rng):
    found = moved(student, drawn_gradients(rng), 0.1, 0.1)
    kept = all(bool(found[i] == 1) for i in range(3, len(found), 4))
    expect(kept, "an argument was changed in place: make new tensors, without *= and without names that end in _")


def run_edge(student, place, low, high, tries):
    return float(student.edge(lambda rate: rate > place, low, high, tries))


@check("edge", title="finds the edge")
def finds_the_edge(student, rng):
    place = rng.uniform(0.1, 0.9)
    found = ask(student, float, run_edge, place, 0.0, 1.0, 30, what="the edge")
    expect(
        found > 1e-6 and found < 1 - 1e-6,
        "the search went the wrong way: a middle that diverges is a new high, else a new low",
    )
    expect(abs(found - place) < 1e-3, f"the edge is at {place:.3f}, and the search found {found:.3f}")


@check("edge", title="halves each time")
def halves(student, rng):
    place = rng.uniform(0.30, 0.34)
    found = ask(student, float, run_edge, place, 0.0, 1.0, 3, what="the edge")
    expect(
        abs(found - place) <= 1 / 8 + 1e-9,
        f"after 3 halvings the answer is within 1/8 of the edge; it is {abs(found - place):.3f} away",
    )
    expect(abs(found - place) > 1e-6, "3 halvings cannot find it so exactly: do as many as `tries` says")


def run_scale(student, *arguments):
    return float(student.noise_scale(*arguments))


@check("noise_scale", title="the example above")
def example(student, rng):
    found = ask(student, float, run_scale, 5.0, 2.0, 4, 16, what="the noise scale")
    expect(not math.isclose(found, 1 / 16, rel_tol=1e-6), "that is signal over noise: turn it round")
    expect(
        not math.isclose(found, 8.0, rel_tol=1e-6),
        "divided by the squared norm of the large batch, which still has noise in it",
    )
    expect(math.isclose(found, 16, rel_tol=1e-4), f"16 sequences, and {found:.4g} came")


@check("noise_scale", title="two other batches")
def other_batches(student, rng):
    signal, noise = rng.uniform(0.5, 2), rng.uniform(5, 50)
    small, large = rng.randrange(2, 6), rng.randrange(20, 60)
    squares = signal + noise / small, signal + noise / large
    found = ask(student, float, run_scale, *squares, small, large, what="the noise scale")
    expect(math.isclose(found, noise / signal, rel_tol=1e-4), f"{noise / signal:.4g} sequences, and {found:.4g} came")


def run_saved(student, batch, critical):
    return float(student.steps_saved(batch, critical))


@check("steps_saved", title="below, at and above the critical batch")
def saved(student, rng):
    for batch, critical in ((1, 1_000_000), (16, 16), (1_000_000, 1)):
        found = ask(student, float, run_saved, batch, critical, what="the factor")
        wanted = (1 + critical / batch) / (1 + critical / (2 * batch))
        expect(
            not math.isclose(found, 1 / wanted, rel_tol=1e-6) or wanted < 1.001,
            "that is the other way round: how many times *fewer* steps is above 1",
        )
        expect(
            math.isclose(found, wanted, rel_tol=1e-4),
            f"batch {batch:,}, critical {critical:,}: {wanted:.4f}, and {found:.4f} came",
        )
