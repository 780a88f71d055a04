"""Checks and hints of the exercises in lecture 03. Nothing here is graded: try as often as you like."""

import torch

from cs336lite.course.answers import ask, like, some_tensor
from cs336lite.course.show import expect_close, expect_equal
from cs336lite.course.spec import check, expect

HINTS = {
    "rms_norm": [
        "Square first, then the mean over the last dimension, then the root. Which shape has the mean?",
        "mean(-1, keepdim=True) keeps a dimension of 1, so that it divides each row. eps stands inside the root.",
        "x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * gain",
    ],
    "attend_one": [
        "One score for each key. Which product of K and q gives them all at once?",
        "K @ q has one number for each key. Divide by the root of the size of q, then softmax. The weights multiply V.",
        "torch.softmax(K @ q / len(q) ** 0.5, dim=0) @ V",
    ],
    "causal_mask": [
        "Write the matrix for three tokens on paper. In which half are the ones, and what is on the diagonal?",
        "A token sees itself, so the diagonal is True. torch has a function for the lower triangle.",
        "torch.ones(seq, seq, dtype=torch.bool).tril()",
    ],
    "llama_parameters": [
        "Which parts occur once, and which in each block? How many matrices has attention, how many the feed-forward network?",
        "A block: 4 matrices of d × d, 3 of d × d_ff, 2 gains of d. Once: embedding and output layer, V × d each.",
        "2 * V * d + num_layers * (4 * d * d + 3 * d * d_ff + 2 * d) + d: the last d is the gain of the norm at the end.",
    ],
}


def run_norm(student, x, gain):
    return student.rms_norm(x, gain)


def norm_of(student, x, gain):
    return ask(student, like(x), run_norm, x, gain, what="the norm")


@check("rms_norm", title="the vector of the lecture")
def one_and_seven(student, rng):
    x = torch.tensor([[1.0, 7.0, 1.0, 7.0], [7.0, 7.0, 1.0, 1.0]])
    found = norm_of(student, x, torch.ones(4))
    expect(
        not torch.allclose(found[0], torch.tensor([-1.0, 1.0, -1.0, 1.0]), atol=1e-3),
        "that is LayerNorm: RMSNorm does not subtract the mean",
    )
    expect(
        not torch.allclose(found[0], torch.tensor([0.1, 0.7, 0.1, 0.7]), atol=1e-3),
        "you divided by the root of the sum of squares, which is 10 here; the mean of the squares is asked for",
    )
    expect(
        not torch.allclose(found[0], torch.tensor([0.04, 0.28, 0.04, 0.28]), atol=1e-3),
        "you divided by the mean square, 25; its root is asked for",
    )
    expect_close(found[0], torch.tensor([0.2, 1.4, 0.2, 1.4]), "the root mean square of (1, 7, 1, 7) is 5")


@check("rms_norm", title="each row by itself, and the gain")
def rows(student, rng):
    x = torch.tensor([[[3.0, 3.0], [30.0, 30.0]]])
    found = norm_of(student, x, torch.ones(2))
    expect_close(found, torch.ones(1, 2, 2), "each row is divided by its own root mean square, over the last dimension")
    found = norm_of(student, x, torch.tensor([2.0, 5.0]))
    expect_close(found[0, 0], torch.tensor([2.0, 5.0]), "the gain multiplies each dimension, after the division")


@check("rms_norm", title="eps inside the root")
def tiny(student, rng):
    x = torch.zeros(1, 4)
    expect_close(norm_of(student, x, torch.ones(4)), x, "zeros stay zeros: eps prevents 0 / 0")
    x = torch.full((1, 4), 1e-3)
    wanted = 1e-3 / (1e-6 + 1e-5) ** 0.5
    expect_close(
        norm_of(student, x, torch.ones(4))[0, 0],
        torch.tensor(wanted),
        "eps is added to the mean square, inside the root",
    )


def run_attend(student, q, K, V):
    return student.attend_one(q, K, V)


@check("attend_one", title="a query that all keys answer alike")
def alike(student, rng):
    q, K, V = torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 1.0], [0.0, -2.0]]), torch.tensor([[2.0], [4.0]])
    found = ask(student, some_tensor(10), run_attend, q, K, V, what="what the query receives")
    expect(
        tuple(found.shape) == (1,),
        f"one vector of the size of a value is asked for, (1,), and yours is {tuple(found.shape)}",
    )
    expect_close(found, torch.tensor([3.0]), "both scores are 0, so both weights are 1/2")


@check("attend_one", title="the scale, the softmax, the values")
def scaled(student, rng):
    draw = torch.Generator().manual_seed(rng.randrange(10**6))
    q, K, V = torch.randn(16, generator=draw), torch.randn(5, 16, generator=draw), torch.randn(5, 3, generator=draw)
    found = ask(student, some_tensor(10), run_attend, q, K, V, what="what the query receives")
    expect(
        tuple(found.shape) == (3,),
        f"a vector of the size of a value is asked for, (3,), and yours is {tuple(found.shape)}",
    )
    unscaled = torch.softmax(K @ q, 0) @ V
    expect(not torch.allclose(found, unscaled, atol=1e-4), "divide the scores by the root of the size of q")
    by_size = torch.softmax(K @ q / 16, 0) @ V
    expect(not torch.allclose(found, by_size, atol=1e-4), "you divided by the size of q; its root is asked for")
    expect(not torch.allclose(found, (K @ q / 4) @ V, atol=1e-4), "the softmax is missing: weights add up to 1")
    expect_close(found, torch.softmax(K @ q / 4, 0) @ V, "the softmax of the scores weighs the values")


def run_mask(student, seq):
    return student.causal_mask(seq)


@check("causal_mask", title="three tokens")
def three(student, rng):
    found = ask(student, like(torch.ones(3, 3, dtype=torch.bool)), run_mask, 3, what="the mask")
    wanted = torch.ones(3, 3, dtype=torch.bool).tril()
    expect(not torch.equal(found, wanted.mT), "rows are queries and columns are keys: yours sees what comes later")
    expect(not torch.equal(found, ~wanted), "True means that the query may attend; yours is True where it may not")
    expect(not torch.equal(found, wanted.tril(-1)), "a token sees itself, too: the diagonal is True")
    expect(
        not torch.equal(found, torch.ones(3, 3, dtype=torch.bool).tril(1)),
        "each token sees the next one, which it has to predict: the diagonal is the last that is True",
    )
    expect_equal(found.int().tolist(), [[1, 0, 0], [1, 1, 0], [1, 1, 1]], "itself and what is before it")


@check("causal_mask", title="other lengths")
def lengths(student, rng):
    for seq in (1, rng.randrange(4, 20)):
        wanted = torch.ones(seq, seq, dtype=torch.bool).tril()
        found = ask(student, like(wanted), run_mask, seq, what="the mask")
        expect(torch.equal(found, wanted), f"with {seq} tokens the mask is not the lower triangle")


def run_count(student, *sizes):
    return student.llama_parameters(*sizes)


@check("llama_parameters", title="a model of two blocks")
def two_blocks(student, rng):
    found = ask(student, int, run_count, 10, 4, 2, 6, what="the number of parameters")
    parts = {"block": 4 * 16 + 3 * 24 + 8, "tables": 2 * 40}
    right = parts["tables"] + 2 * parts["block"] + 4
    expect(found != right - 40, "the output layer is a matrix of its own, as large as the embedding")
    expect(found != right - 4, "one norm is missing: it stands behind the last block, before the output layer")
    expect(found != right - 2 * 8, "each block has two norms with a gain of d_model numbers")
    expect(found != right - 2 * 8 - 4, "norms have parameters, too: a gain of d_model numbers each")
    expect(found != right - 2 * 24, "a gated network has three matrices: gate, up and down")
    expect(found != right - parts["block"], "num_layers blocks, each with its own weights")
    expect_equal(found, right, "vocabulary 10, d_model 4, two blocks, d_ff 6")


@check("llama_parameters", title="Llama 7B")
def seven(student, rng):
    found = ask(student, int, run_count, 32_000, 4_096, 32, 11_008, what="the number of parameters")
    expect_equal(found, 6_738_415_616, "Llama 7B")
