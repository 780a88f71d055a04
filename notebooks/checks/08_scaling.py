"""Checks and hints of the exercises in lecture 08. Nothing here is graded: try as often as you like."""

import math

import numpy as np

from cs336lite.course.answers import ask
from cs336lite.course.show import expect_close
from cs336lite.course.spec import check, expect

HINTS = {
    "power_law": [
        "In logarithms the law is a straight line: fit a line to ln y against ln x.",
        "np.polyfit(np.log(x), np.log(y), 1) gives the slope first and the height second.",
        "The exponent is the slope, and k is exp of the height.",
    ],
    "steps_for": [
        "A step costs 6 FLOPs for each weight and each of its tokens.",
        "FLOPs of a step: 6 * size * batch_tokens. How many of these are in the budget?",
        "round(flops / (6 * size * batch_tokens))",
    ],
    "best_size": [
        "The parabola is one in ln(size), so fit it to np.log(sizes).",
        "np.polyfit(u, losses, 2) gives c2, c1, c0; the minimum is at u = -c1 / (2 * c2).",
        "That is the logarithm of the size: the answer is exp of it.",
    ],
    "suspect": [
        "Three questions, one after the other; the first that finds something gives the answer.",
        "Different sizes are np.unique(sizes); the parabola opens downwards when c2 <= 0.",
        "The minimum -c1 / (2 * c2) is a logarithm: compare it with np.log(sizes).min() and .max().",
    ],
    "best_split": [
        "N* is a factor times (flops / 6) to a power; which power belongs to N?",
        "The power is beta / (alpha + beta), and the factor (alpha * A / (beta * B)) ** (1 / (alpha + beta)).",
        "D follows from the budget: flops / 6 / N.",
    ],
}


def run_law(student, x, y):
    import numpy as np

    return [float(value) for value in student.power_law(np.array(x), np.array(y))]


@check("power_law", title="by hand")
def law_by_hand(student, rng):
    found = ask(student, [float, float], run_law, [1.0, 4.0, 16.0], [3.0, 6.0, 12.0], what="(k, a)")
    expect(abs(found[0] - 0.5) > 1e-6 or abs(found[1] - 3) > 1e-6, "k comes first, then a")
    expect(abs(found[0] - math.log(3)) > 1e-6, "the height of the line is ln k: take exp of it")
    expect_close(found[1], 0.5, "a of 3, 6, 12 at 1, 4, 16")
    expect_close(found[0], 3.0, "k of 3, 6, 12 at 1, 4, 16")


@check("power_law", title="with noise")
def law_with_noise(student, rng):
    a, k = rng.uniform(-1, 1), rng.uniform(0.5, 20)
    x = [10.0**i for i in range(8)]
    y = [k * value**a * math.exp(rng.gauss(0, 0.1)) for value in x]
    slope, height = np.polyfit(np.log(x), np.log(y), 1)
    found = ask(student, [float, float], run_law, x, y, what="(k, a)")
    expect_close(found[1], float(slope), "least squares in logarithms of both, all points", 1e-4)
    expect(abs(found[0] / math.exp(height) - 1) < 1e-4, "k is exp of the line's height where ln x is 0")


def run_steps(student, flops, size, batch_tokens):
    found = student.steps_for(flops, size, batch_tokens)
    return [float(found), isinstance(found, int)]


def steps(student, flops, size, batch_tokens):
    return ask(student, [float, bool], run_steps, flops, size, batch_tokens, what="the steps")


@check("steps_for", title="by hand")
def steps_by_hand(student, rng):
    found, whole = steps(student, 6e8, 1_000, 100)
    expect(
        abs(found - 3_000) > 1e-6, "forward alone is 2 FLOPs for a weight and a token; with the backward pass it is 6"
    )
    expect(abs(found - 100_000) > 1e-6, "those are tokens: a step has batch_tokens of them")
    expect_close(found, 1_000.0, "6e8 FLOPs, 1,000 weights, 100 tokens a step", 0.5)
    expect(whole, "steps are a whole number, an int")


@check("steps_for", title="to the nearest")
def steps_to_the_nearest(student, rng):
    size, whole = rng.randrange(1_000, 50_000), rng.randrange(10, 900)
    found, _ = steps(student, 6 * size * 1_024 * (whole + 0.8), size, 1_024)
    expect(abs(found - whole) > 1e-6, "round to the nearest whole number, not down")
    expect_close(found, whole + 1.0, f"{whole}.8 steps, rounded", 1e-6)


def run_size(student, sizes, losses):
    import numpy as np

    return float(student.best_size(np.array(sizes), np.array(losses)))


@check("best_size", title="by hand")
def size_by_hand(student, rng):
    found = ask(student, float, run_size, [1_000.0, 4_000.0, 16_000.0], [2.3, 2.0, 2.3], what="the best size")
    expect(abs(found - math.log(4_000)) > 1e-3, "that is the logarithm of the size: take exp of it")
    expect(abs(found / 8_500 - 1) > 0.15, "the parabola is one in ln(size), not in size")
    expect(abs(found / 4_000 - 1) < 1e-6, "1,000, 4,000 and 16,000 with 2.3, 2.0 and 2.3: the geometric middle is best")


@check("best_size", title="a minimum between two sizes")
def size_between(student, rng):
    best = rng.uniform(3e3, 9e3)
    sizes = [2e3, 4e3, 8e3, 16e3, 24e3]
    losses = [2 + 0.2 * math.log(size / best) ** 2 for size in sizes]
    found = ask(student, float, run_size, sizes, losses, what="the best size")
    expect(
        found not in sizes, "that is the best of the sizes that were tried: the parabola's minimum lies between them"
    )
    expect(abs(found / best - 1) < 1e-4, "the minimum of c2 u² + c1 u + c0 is at u = -c1 / (2 c2)")


def run_suspect(student, sizes, losses):
    import numpy as np

    return str(student.suspect(np.array(sizes), np.array(losses)))


def suspected(student, sizes, losses):
    return ask(student, str, run_suspect, sizes, losses, what="the verdict")


@check("suspect", title="a good valley")
def good_valley(student, rng):
    best = rng.uniform(4e3, 12e3)
    sizes = [2e3, 4e3, 8e3, 16e3]
    found = suspected(student, sizes, [2 + 0.3 * math.log(size / best) ** 2 for size in sizes])
    expect(found == "fine", "four sizes around a minimum, and the parabola opens upwards: nothing is wrong")


@check("suspect", title="seeds are not sizes")
def seeds_are_not_sizes(student, rng):
    found = suspected(student, [2e3, 2e3, 4e3, 4e3, 8e3], [2.3, 2.31, 2.1, 2.12, 2.2])
    expect(found == "too few sizes", "five runs, but three different sizes: count different ones")


@check("suspect", title="the worst size")
def worst_size(student, rng):
    found = suspected(student, [2e3, 4e3, 8e3, 16e3], [2.1, 2.25, 2.26, 2.12])
    expect(found == "opens downwards", "the losses are highest in the middle: the extremum is the worst size")


@check("suspect", title="a minimum outside")
def outside(student, rng):
    best, sizes = 4e4 * rng.uniform(1, 2), [2e3, 4e3, 8e3, 16e3]
    for name, centre in (("largest", best), ("smallest", 8e7 / 4 / best)):
        found = suspected(student, sizes, [2 + 0.1 * math.log(size / centre) ** 2 for size in sizes])
        expect(found == "minimum outside", f"the minimum lies beyond the {name} size that was tried")


def run_split(student, *numbers):
    return [float(value) for value in student.best_split(*numbers)]


@check("best_split", title="by hand")
def split_by_hand(student, rng):
    size, tokens = ask(student, [float, float], run_split, 7.0, 7.0, 0.5, 0.5, 6e10, what="(N, D)")
    expect(abs(size / math.sqrt(6e10) - 1) > 1e-6, "6 N D is the budget: divide it by 6 first")
    expect(abs(size / 1e5 - 1) < 1e-6, "A = B and alpha = beta = 1/2: N is the root of C / 6")
    expect(abs(tokens / 1e5 - 1) < 1e-6, "D is C / 6 / N")


@check("best_split", title="no other split is better")
def none_better(student, rng):
    A, B, alpha, beta = rng.uniform(100, 900), rng.uniform(300, 3_000), rng.uniform(0.25, 0.4), rng.uniform(0.42, 0.6)
    flops = 10 ** rng.uniform(18, 24)
    size, tokens = ask(student, [float, float], run_split, A, B, alpha, beta, flops, what="(N, D)")
    expect(size > 0 and abs(6 * size * tokens / flops - 1) < 1e-6, "6 N D must be the budget")
    g = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    swapped = g * (flops / 6) ** (alpha / (alpha + beta))
    expect(abs(size / swapped - 1) > 1e-6, "the power of C in N is beta / (alpha + beta): the other one belongs to D")
    expect(abs(size * g**2 / (g * (flops / 6) ** (beta / (alpha + beta))) - 1) > 1e-6, "the factor is upside down")
    loss = A / size**alpha + B / tokens**beta
    better = [A / (f * size) ** alpha + B / (tokens / f) ** beta for f in (0.98, 1.02)]
    expect(
        loss < min(better),
        "another size at the same budget has a lower loss: alpha A / N^alpha must equal beta B / D^beta",
    )
