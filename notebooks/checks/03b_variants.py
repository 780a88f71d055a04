"""Checks and hints of the exercises in lecture 03b. Nothing here is graded: try as often as you like."""

import torch

from cs336lite.course.answers import anything, ask, like
from cs336lite.course.show import expect_close, expect_equal
from cs336lite.course.spec import check, expect

HINTS = {
    "add_part": [
        "Read the four formulas above. In which two does the part f read a normalised copy of x?",
        "Only post-norm norms the sum. The three others keep x as it is and add to it: x + something.",
        'norm(x + f(x)) for "post", x + f(norm(x)) for "pre", x + norm(f(norm(x))) for "double", x + norm(f(x)) for "branch".',
    ],
    "gpt2_into_llama": [
        "Go through the sentence above from left to right: norm, biases, network, positions, output layer.",
        "The fields are norm, bias, activation, positions and tied_embeddings. Which names may they have? Look at the cell of switches.",
        '{"norm": "rmsnorm", "bias": False, "activation": "swiglu", "positions": "rope_half", "tied_embeddings": False}',
    ],
    "gqa_parameters": [
        "Begin with lecture 03's Llama: which of the four matrices of attention become smaller, and by which factor?",
        "A head has d_model / num_heads numbers. W_K and W_V have num_kv_heads times as many rows; W_Q and W_O stay d × d.",
        "2 * V * d + layers * (2 * d * d + 2 * d * kv_heads * (d // heads) + 3 * d * d_ff + 2 * d) + d",
    ],
    "slowed_theta": [
        "The slowest pair has the speed theta ** (-(d - 2) / d). Which theta makes it 1 / factor of that?",
        "Write new ** (-(d - 2) / d) = theta ** (-(d - 2) / d) / factor and solve for new.",
        "theta * factor ** (d / (d - 2))",
    ],
}


def run_add(student, x, placement):
    """The part triples and adds 1, the norm halves and adds 2: every order of the two gives another result."""
    return student.add_part(x, lambda y: 3 * y + 1, lambda y: y / 2 + 2, placement)


PLACED = {  # by hand, with f(y) = 3 y + 1 and N(y) = y / 2 + 2
    "post": lambda x: (4 * x + 1) / 2 + 2,
    "pre": lambda x: x + 3 * (x / 2 + 2) + 1,
    "double": lambda x: x + (3 * (x / 2 + 2) + 1) / 2 + 2,
    "branch": lambda x: x + (3 * x + 1) / 2 + 2,
}
SAID = {
    "post": "post-norm norms the sum of x and f(x), and nothing else",
    "pre": "pre-norm gives f a normalised copy, and adds what comes out to x itself",
    "double": "double norm gives f a normalised copy and norms what comes out; x itself is added as it is",
    "branch": "the norm in the branch stands behind f, which reads x itself",
}


def added(student, x, placement):
    return ask(student, like(x), run_add, x, placement, what=f"the stream with placement {placement!r}")


def judge(student, rng, placement):
    x = torch.tensor([[float(rng.randrange(2, 9)), -1.5], [0.5, float(rng.randrange(10, 20))]])
    found = added(student, x, placement)
    wanted = PLACED[placement](x)
    for other, formula in PLACED.items():
        same = torch.allclose(found, formula(x))
        expect(other == placement or not same, f"that is the formula of {other!r}: {SAID[placement]}")
    lost = placement != "post" and torch.allclose(found, wanted - x)
    expect(not lost, "x itself is missing: what the part gives is added to the stream")
    expect_close(found, wanted, SAID[placement])


@check("add_part", title="post-norm")
def post(student, rng):
    judge(student, rng, "post")


@check("add_part", title="pre-norm")
def pre(student, rng):
    judge(student, rng, "pre")


@check("add_part", title="double norm")
def double(student, rng):
    judge(student, rng, "double")


@check("add_part", title="the norm in the branch")
def branch(student, rng):
    judge(student, rng, "branch")


LLAMA = {
    "norm": "rmsnorm",
    "bias": False,
    "activation": "swiglu",
    "positions": "rope_half",
    "tied_embeddings": False,
}
IN_WORDS = {
    "norm": "Llama divides by the root mean square",
    "bias": "Llama's matrices have no biases",
    "activation": "Llama's network is gated, and the gate's function is SiLU",
    "positions": "Llama turns queries and keys; its files in Hugging Face's format hold the layout of two halves",
    "tied_embeddings": "Llama's output layer is a matrix of its own",
}


def run_switches(student):
    return {str(name): value for name, value in dict(student.gpt2_into_llama()).items()}


def switches_of(student):
    found = ask(student, anything, run_switches, what="the table of switches")
    expect(isinstance(found, dict), "a dict is asked for: {field: value}")
    return found


@check("gpt2_into_llama", title="the fields")
def fields(student, rng):
    found = switches_of(student)
    for name in LLAMA:
        expect(name in found, f"the field {name} is missing: {IN_WORDS[name]}")
    for name in found:
        expect(name in LLAMA, f"{str(name)[:40]} is a size, or stands in both models at the same place: leave it out")


@check("gpt2_into_llama", title="where they stand")
def values(student, rng):
    found = switches_of(student)
    expect(
        found.get("activation") != "silu", "SiLU is the function of the gate; the unit with three matrices is swiglu"
    )
    expect(
        found.get("positions") != "rope",
        "rope is the interleaved layout; Hugging Face's files hold the halves: rope_half",
    )
    for name, value in LLAMA.items():
        expect(found.get(name) == value and type(found.get(name)) is type(value), f"{name}: {IN_WORDS[name]}")


def run_count(student, *sizes):
    return student.gqa_parameters(*sizes)


@check("gqa_parameters", title="a model of two blocks")
def two_blocks(student, rng):
    vocabulary, d, layers, d_ff, heads, kv_heads = 10, 8, 2, 12, 4, 2
    found = ask(student, int, run_count, vocabulary, d, layers, d_ff, heads, kv_heads, what="the number of parameters")
    shared = d * kv_heads * (d // heads)
    right = 2 * vocabulary * d + layers * (2 * d * d + 2 * shared + 3 * d * d_ff + 2 * d) + d
    expect(found != right + layers * 2 * (d * d - shared), "W_K and W_V have rows for num_kv_heads heads only")
    expect(found != right + layers * (d * d - shared), "both W_K and W_V are smaller, not one of them")
    expect(found != right - layers * 2 * (d * d - shared), "W_Q and W_O stay d × d: only keys and values are shared")
    expect(found != right - vocabulary * d, "the output layer is a matrix of its own, as large as the embedding")
    expect(found != right - d, "one norm is missing: it stands behind the last block, before the output layer")
    expect(found != right - layers * 2 * d, "each block has two norms with a gain of d_model numbers")
    expect(found != right - layers * d * d_ff, "a gated network has three matrices: gate, up and down")
    expect_equal(found, right, "vocabulary 10, d_model 8, two blocks, d_ff 12, 4 heads, 2 of keys and values")


@check("gqa_parameters", title="Llama 2 7B and 70B")
def llamas(student, rng):
    found = ask(student, int, run_count, 32_000, 4_096, 32, 11_008, 32, 32, what="the number of parameters")
    expect_equal(found, 6_738_415_616, "Llama 2 7B, where every head has keys and values of its own")
    found = ask(student, int, run_count, 32_000, 8_192, 80, 28_672, 64, 8, what="the number of parameters")
    expect_equal(found, 68_976_648_192, "Llama 2 70B")


def run_theta(student, theta, d_head, factor):
    return float(student.slowed_theta(theta, d_head, factor))


@check("slowed_theta", title="a head of four numbers")
def four(student, rng):
    found = ask(student, float, run_theta, 10_000.0, 4, 8.0, what="theta")
    expect(abs(found - 80_000) > 1, "that makes theta 8 times larger; the speed is a power of theta, -(d - 2) / d")
    expect(abs(found - 10_000 / 64) > 1, "a smaller theta turns the pairs faster; they shall turn more slowly")
    expect(abs(found - 10_000 * 8**0.5) > 1, "the exponent is upside down: d / (d - 2)")
    expect(abs(found / 640_000 - 1) < 1e-6, "8 ** (4 / 2) = 64 times 10,000")


@check("slowed_theta", title="the slowest pair turns so much more slowly")
def slowest(student, rng):
    for d_head, factor in ((12, 8.0), (128, float(rng.randrange(2, 20)))):
        found = ask(student, float, run_theta, 10_000.0, d_head, factor, what="theta")
        expect(found > 0, "theta is above 0")
        before, after = (theta ** (-(d_head - 2) / d_head) for theta in (10_000.0, found))
        expect(
            abs(before / after / factor - 1) < 1e-6,
            f"with a head of {d_head} numbers the slowest pair turns {before / after:.3g} times more slowly, and {factor:g} are asked for",
        )
