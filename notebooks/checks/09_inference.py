"""Checks and hints of the exercises in lecture 09. Nothing here is graded: try as often as you like."""

import torch

from cs336lite.course.answers import ask, like, list_of, tensor_of
from cs336lite.course.show import expect_close, expect_equal
from cs336lite.course.spec import check, expect

HINTS = {
    "cache_bytes": [
        "Which numbers does one token leave in one layer?",
        "A key and a value of d_head numbers for each head of keys and values, in every layer, itemsize bytes a number.",
        "2 * num_layers * num_kv_heads * d_head * tokens * itemsize",
    ],
    "left_pad": [
        "How many tokens does each prompt lack to be as long as the longest?",
        "That number is the padding of its row, and so many times fill comes before the prompt.",
        "padding = [longest - len(p) for p in prompts], and a row is [fill] * n + p; both as torch.int64 tensors.",
    ],
    "penalise": [
        "Only the ids that were written change. What must happen to a negative logit, so that it becomes less likely?",
        "Divide positive logits by the penalty and multiply negative ones. An id that was written twice is penalised once.",
        "ids = torch.unique(written); z = logits[ids]; put torch.where(z > 0, z / penalty, z * penalty) there, in a copy.",
    ],
    "tokens_per_pass": [
        "How probable is it that the second token comes from this pass? And the third?",
        "Token i + 1 needs i guesses that were all kept: alpha ** i. The first is there in any case.",
        "sum(alpha**i for i in range(k + 1)), which is (1 - alpha ** (k + 1)) / (1 - alpha) below 1",
    ],
    "wasted_share": [
        "How many row-steps does one batch take? How many of them write something?",
        "A batch takes as many steps as its longest answer has tokens, with as many rows as it has answers.",
        "1 - sum(lengths) / sum(max(batch) * len(batch) for batch in batches)",
    ],
    "asymmetric": [
        "Where do the levels begin and end? How far apart are they?",
        "2 ** bits levels have 2 ** bits - 1 steps between them. The code of a weight is (w - low) / step, rounded.",
        "low + step * ((w - low) / step).round(), with amin and amax over the last dimension, keepdim=True. A group of "
        "equal weights has step 0: divide by 1 there.",
    ],
}


def run_bytes(student, *sizes):
    return student.cache_bytes(*sizes)


@check("cache_bytes", title="one token of a small model")
def small_model(student, rng):
    found = ask(student, int, run_bytes, 3, 5, 3, 1, 4, what="the number of bytes")
    expect(found != 180, "a token leaves a key and a value: twice as much")
    expect(found != 120, "all layers keep keys and values")
    expect(found != 90, "itemsize is missing: a number takes so many bytes")
    expect_equal(found, 360, "3 layers, 5 heads of 3 numbers, one token, 4 bytes a number")


@check("cache_bytes", title="many tokens, bfloat16")
def many_tokens(student, rng):
    tokens = rng.randrange(100, 5_000)
    found = ask(student, int, run_bytes, 80, 8, 128, tokens, what="the number of bytes")
    expect_equal(found, 327_680 * tokens, f"Llama 2 70B, {tokens} tokens")


def run_pad(student, *arguments):
    tokens, padding = student.left_pad(*arguments)
    return tokens, padding


@check("left_pad", title="three prompts")
def three(student, rng):
    a, b = rng.randrange(1, 50), rng.randrange(50, 99)
    form = (tensor_of(3, 3, dtype=torch.int64), tensor_of(3, dtype=torch.int64))
    tokens, padding = ask(student, form, run_pad, [[a], [b, a, b], [a, b]], what="the pair of tokens and padding")
    right = torch.tensor([[a, 0, 0], [b, a, b], [a, b, 0]])
    expect(not torch.equal(tokens, right), "that is padded on the right: the next token would stand behind the padding")
    expect_equal(tokens.tolist(), [[0, 0, a], [b, a, b], [0, a, b]], "each prompt stands at the right end of its row")
    expect(padding.tolist() != [1, 3, 2], "that is how long the prompts are; padding counts what stands before them")
    expect_equal(padding.tolist(), [2, 0, 1], "how many padding tokens each row begins with")


@check("left_pad", title="another fill, and prompts that stay as they are")
def fill(student, rng):
    prompts = [[5, 6], [7]]
    form = (tensor_of(2, 2, dtype=torch.int64), tensor_of(2, dtype=torch.int64))
    tokens, _ = ask(student, form, run_pad, prompts, 9, what="the pair of tokens and padding")
    expect_equal(tokens.tolist(), [[5, 6], [9, 7]], "fill stands before the shorter prompt")
    kept = ask(student, list_of(list_of(int)), pad_and_keep, prompts, what="the prompts afterwards")
    expect_equal(kept, [[5, 6], [7]], "the prompts themselves stay as they are: make new lists")


def pad_and_keep(student, prompts):
    student.left_pad(prompts)
    return prompts


def run_penalty(student, logits, written, penalty):
    return student.penalise(logits, written, penalty)


@check("penalise", title="positive and negative logits")
def both_signs(student, rng):
    z = torch.tensor([3.0, -1.0, 2.0, -4.0, 0.0])
    found = ask(student, like(z), run_penalty, z, torch.tensor([0, 1, 4]), 2.0, what="the logits")
    _, divided, *others, _ = found.tolist()
    expect(divided != -0.5, "a negative logit that is divided becomes larger, and its token likelier: multiply it")
    expect(others == [2, -4], "tokens that were not written keep their logits")
    expect_close(found, torch.tensor([1.5, -2.0, 2.0, -4.0, 0.0]), "written are 0, 1 and 4, the penalty is 2")


@check("penalise", title="once each, in a copy")
def once(student, rng):
    z = torch.tensor([4.0, -2.0, 1.0])
    found = ask(student, like(z), run_penalty, z, torch.tensor([0, 0, 1, 0]), 2.0, what="the logits")
    expect(found[0].item() not in (1.0, 0.5), "a token that was written three times is penalised once")
    expect_close(found, torch.tensor([2.0, -4.0, 1.0]), "written are 0, 0, 1, 0")
    kept = ask(student, like(z), penalty_and_keep, z, torch.tensor([0, 1]), what="the argument afterwards")
    expect(torch.equal(kept, z), "the argument was changed: work on a copy")
    found = ask(student, like(z), run_penalty, z, torch.zeros(0, dtype=torch.int64), 2.0, what="the logits")
    expect(torch.equal(found, z), "with nothing written the logits stay as they are")


def penalty_and_keep(student, logits, written):
    student.penalise(logits, written, 2.0)
    return logits


def run_tokens(student, alpha, k):
    return float(student.tokens_per_pass(alpha, k))


@check("tokens_per_pass", title="half of the guesses are kept")
def half(student, rng):
    found = ask(student, float, run_tokens, 0.5, 2, what="the number of tokens")
    expect(abs(found - 2) > 1e-9, "a guess behind a refused one is thrown away too: the second needs alpha ** 2")
    expect(abs(found - 0.75) > 1e-9, "the target adds a token of its own: one is certain")
    expect(abs(found - 1.5) > 1e-9, "the sum has k + 1 parts, from alpha ** 0 to alpha ** k")
    expect_close(found, 1.75, "alpha 0.5 and two guesses: 1 + 0.5 + 0.25")


@check("tokens_per_pass", title="none and all")
def ends(student, rng):
    k = rng.randrange(3, 9)
    for alpha, wanted in ((0.0, 1.0), (1.0, k + 1.0)):
        found = ask(student, float, run_tokens, alpha, k, what="the number of tokens")
        expect_close(found, wanted, f"alpha {alpha:g} and {k} guesses")
    found = ask(student, float, run_tokens, 0.7, 0, what="the number of tokens")
    expect_close(found, 1.0, "without guesses a pass gives one token")


def run_wasted(student, lengths, slots):
    return float(student.wasted_share(lengths, slots))


@check("wasted_share", title="one batch")
def one_batch(student, rng):
    found = ask(student, float, run_wasted, [2, 8, 3, 3], 4, what="the share")
    expect(abs(found - 16) > 1e-9, "the share is asked for: divide by all row-steps")
    expect_close(found, 0.5, "answers of 2, 8, 3 and 3 tokens in four slots: 16 of 32")
    found = ask(student, float, run_wasted, [2, 6], 2, what="the share")
    expect(abs(found - 2 / 3) > 1e-6, "that is the share that is used")
    expect_close(found, 1 / 3, "answers of 2 and 6 tokens in two slots: 4 of 12")


@check("wasted_share", title="several batches, the last one smaller")
def several(student, rng):
    found = ask(student, float, run_wasted, [1, 3, 5, 5, 4], 2, what="the share")
    for other in (3 / 21, 1 / 19):
        expect(abs(found - other) > 1e-6, "answers are not sorted: they are served in the order in which they came")
    expect(abs(found - 6 / 24) > 1e-6, "a last batch of one answer has one row")
    expect(abs(found - 7 / 25) > 1e-6, "each batch ends with its own longest answer")
    expect_close(found, 0.1, "batches (1, 3), (5, 5), (4): 2 of 20 row-steps")
    found = ask(student, float, run_wasted, [4, 4], 8, what="the share")
    expect_close(found, 0.0, "two equal answers waste nothing, also when six slots stay empty")


def run_rounding(student, groups, bits):
    return student.asymmetric(groups, bits)


@check("asymmetric", title="the example, 2 bits")
def example(student, rng):
    groups = torch.tensor([[-0.1, 0.25, 0.5], [1.0, 3.0, 4.0]])
    found = ask(student, like(groups), run_rounding, groups, 2, what="the weights")
    steps = abs(found[0, 1].item() - 0.2) > 1e-6 and abs(found[0, 2].item() - 0.5) < 1e-6
    expect(steps or torch.allclose(found, groups), "2 ** bits levels have 2 ** bits - 1 steps between them")
    expect(not torch.allclose(found, groups), "nothing was rounded")
    expect_close(found, torch.tensor([[-0.1, 0.3, 0.5], [1.0, 3.0, 4.0]]), "levels of (-0.1, 0.25, 0.5) are 0.2 apart")


@check("asymmetric", title="each group has its own levels")
def groups_apart(student, rng):
    groups = torch.stack([torch.linspace(0, 15, 16), torch.linspace(100, 400, 16)])[None]
    found = ask(student, like(groups), run_rounding, groups, 4, what="the weights")
    expect(found.shape == groups.shape, "the shape stays")
    expect_close(
        found, groups, "sixteen weights that are 16 levels of 4 bits come back as they are, in each group", 1e-3
    )


@check("asymmetric", title="a group of equal weights")
def equal_weights(student, rng):
    groups = torch.tensor([[0.25, 0.25], [0.0, 0.0]])
    found = ask(student, like(groups, finite=False), run_rounding, groups, 4, what="the weights")
    expect(bool(found.isfinite().all()), "equal weights have step 0, and something was divided by it")
    expect_close(found, groups, "equal weights come back as they are")
