"""Checks and hints of the exercises in lecture 10. Nothing here is graded: try as often as you like."""

from cs336lite.course.answers import ask
from cs336lite.course.show import expect_close
from cs336lite.course.spec import check, expect

HINTS = {
    "all_reduce_seconds": [
        "How many steps has a ring of p ranks, and how many bytes does a step move?",
        "2 (p - 1) steps, each with nbytes / p bytes and one latency.",
        "2 * (ranks - 1) * (latency + nbytes / ranks / bandwidth)",
    ],
    "overlapped": [
        "Two clocks: when is bucket i ready, and when is the link free?",
        "A bucket starts at the later of the two, and the link is free again when it has arrived.",
        "for each pair: ready += work; done = max(done, ready) + send",
    ],
    "zero_bytes": [
        "Which of the three parts does each stage divide by the number of ranks?",
        "Stage 1 the optimizer (12), stage 2 the gradient (2) as well, stage 3 the weight (2) as well.",
        "Divide a part by ranks when stage >= 1, >= 2, >= 3, add the parts, and multiply by num_parameters.",
    ],
    "bubble": [
        "How long does a stage work on m microbatches, and how long does it wait for the others?",
        "It works m units and waits p - 1 units; the share is of the whole time.",
        "(stages - 1) / (microbatches + stages - 1)",
    ],
}


def run_seconds(student, *arguments):
    return float(student.all_reduce_seconds(*arguments))


@check("all_reduce_seconds", title="four ranks")
def four_ranks(student, rng):
    found = ask(student, float, run_seconds, 400.0, 4, 2.0, 100.0, what="the seconds")
    expect(abs(found - 36) > 1e-9, "a step moves one chunk, a p-th of the bytes, and not the whole tensor")
    expect(abs(found - 9) > 1e-9, "that is the reduce-scatter alone: the all-gather has as many steps")
    expect(abs(found - 24) > 1e-9, "a ring of p ranks has p - 1 steps each way, not p")
    expect_close(found, 18.0, "400 bytes, 4 ranks, latency 2 s, 100 bytes a second: 6 steps of 2 + 1 s")


@check("all_reduce_seconds", title="one rank, and other sizes")
def other_sizes(student, rng):
    found = ask(student, float, run_seconds, 1e6, 1, 1.0, 1e6, what="the seconds")
    expect_close(found, 0.0, "one rank sends nothing")
    p, n = rng.randrange(2, 9), rng.randrange(1, 9) * 1e6
    found = ask(student, float, run_seconds, n, p, 1e-3, 1e8, what="the seconds")
    expect_close(found, 2 * (p - 1) * (1e-3 + n / p / 1e8), f"{n:.0f} bytes, {p} ranks, 1 ms, 100 MB/s")


def run_overlapped(student, backward, sending):
    return float(student.overlapped(backward, sending))


@check("overlapped", title="the example")
def the_example(student, rng):
    found = ask(student, float, run_overlapped, [2.0, 2.0, 2.0], [3.0, 3.0, 3.0], what="the time")
    expect(abs(found - 15) > 1e-9, "that is without overlap: the first bucket is sent while later layers compute")
    expect(abs(found - 9) > 1e-9, "the link carries one bucket at a time: the second waits for the first")
    expect_close(found, 11.0, "three layers of 2 s backward and 3 s sending")


@check("overlapped", title="a slow layer, and a link that waits")
def slow_layer(student, rng):
    a = float(rng.randrange(5, 50))
    found = ask(student, float, run_overlapped, [1.0, a, 1.0], [1.0, 1.0, 2.0], what="the time")
    expect(abs(found - 5) > 1e-9, "a bucket cannot be sent before its gradients are ready")
    expect_close(found, a + 4, f"layers of 1, {a:g} and 1 s, sending 1, 1 and 2 s")
    found = ask(student, float, run_overlapped, [], [], what="the time")
    expect_close(found, 0.0, "nothing to send takes no time")


def run_zero(student, *arguments):
    return float(student.zero_bytes(*arguments))


@check("zero_bytes", title="each stage")
def each_stage(student, rng):
    n = 8 * rng.randrange(10, 99)
    for stage, wanted in ((0, 16.0), (1, 7.0), (2, 5.5), (3, 4.0)):
        found = ask(student, float, run_zero, n, 4, stage, what="the bytes")
        expect(
            stage != 2 or abs(found - 14.5 * n) > 1e-6, "stage 2 shares the optimizer's bytes as well as stage 1 does"
        )
        expect_close(found, wanted * n, f"{n} parameters, 4 ranks, stage {stage}")


@check("zero_bytes", title="one rank")
def one_rank(student, rng):
    for stage in range(4):
        found = ask(student, float, run_zero, 10, 1, stage, what="the bytes")
        expect_close(found, 160.0, f"10 parameters on one rank, stage {stage}: nobody to share with")


def run_bubble(student, stages, microbatches):
    return float(student.bubble(stages, microbatches))


@check("bubble", title="a few stages")
def few_stages(student, rng):
    p, m = rng.randrange(3, 9), rng.randrange(9, 30)
    found = ask(student, float, run_bubble, p, m, what="the share")
    expect(abs(found - (p - 1) / m) > 1e-9, "that is the waiting over the working time: divide by the whole time")
    expect(abs(found - p / (m + p)) > 1e-9, "a stage waits p - 1 units, not p")
    expect_close(found, (p - 1) / (m + p - 1), f"{p} stages, {m} microbatches")
    found = ask(student, float, run_bubble, 2, 1, what="the share")
    expect_close(found, 0.5, "two stages and one microbatch: each works half of the time")


@check("bubble", title="one stage")
def one_stage(student, rng):
    found = ask(student, float, run_bubble, 1, rng.randrange(1, 9), what="the share")
    expect_close(found, 0.0, "one stage waits for nobody")
