"""Public checks of a6_inference: run them as often as you like. The hidden checks judge the same things on other inputs.

One file, though a long one: it is handed out, and has to work alone.
"""

import torch

from cs336lite.course.show import expect_close, expect_equal
from cs336lite.course.spec import check, expect

HINTS = {
    "cache": [
        "Which numbers does an object need to know where the next token goes? And which of them does truncate change?",
        "At the first update: two empty tensors with room for max_length tokens. After that, write into a slice of each and "
        "return a slice of each. A position is the place less the padding of the row, and never below 0.",
        "stop = length + k.shape[2]; if stop > max_length raise; memory = k.new_empty(batch, kv, max_length, d_head); "
        "memory[:, :, length:stop] = k; length = stop; return memory[:, :, :stop]. mask: torch.arange(length + seq) >= "
        "padding[:, None], with two dimensions of 1 in the middle.",
    ],
    "sampling": [
        "Sort the probabilities once, in descending order, and all three filters become simple. How do you get back to ids?",
        "sort(descending=True, stable=True) gives values and order; scatter brings them back. top-p: a token stays when the "
        "ones before it do not yet reach p. For sample: how many ends of intervals lie at or below u?",
        "z = (z - z.amax(-1, keepdim=True)) / temperature. p[..., k:] = 0, then divide by the sum. before = p.cumsum(-1) - p; "
        "p.masked_fill(before >= top_p, 0), unless top_p is 1. p.masked_fill(p < min_p * p[..., :1], 0). sample: ends = "
        "cumsum divided by its last value, in float64; (ends <= u[..., None]).sum(-1).",
    ],
    "speculative": [
        "Which row of p judges draft i? And which one gives the token after n accepted drafts?",
        "Decide for all drafts at once: u[:-1] * q[i, x_i] < p[i, x_i]. The number before the first refusal is the sum of a "
        "cumulative product. Then there are two cases: n < k, and n = k.",
        "n = int(accepted.long().cumprod(0).sum()). left = p[k] if n == k, else (p[n] - q[n]).clamp(min=0). Divide left by its "
        "sum, draw with u[-1], and join draft[:n] with that token.",
    ],
    "paged": [
        "What must be known of a block, and what of a text? Draw the table of the assignment on paper and play it through.",
        "For each block a count of its owners, for each text a list of blocks and a number of tokens, and a list of free "
        "blocks. Work out how many blocks an append needs before it takes the first one.",
        "needed = ceil((length + new) / block_size) - len(table), and one more when length % block_size > 0 and the last block "
        "has more than one owner. If needed > free: ValueError. Otherwise take them, copy the shared block into one of them, "
        "and write token i into keys[table[i // block_size], i % block_size].",
    ],
    "quantize": [
        "What shape has the weight when a group is a dimension of its own? Along which one do you look for the greatest?",
        "weight.float().unflatten(1, (-1, group_size)) is (out, groups, group_size). The scale is the greatest absolute value "
        "of a group / 127. What happens when it is 0?",
        "safe = torch.where(scales > 0, scales, 1.0); q = (groups / safe[..., None]).round(), flattened, as int8. Back: the "
        "same unflatten, times scales[..., None], flattened.",
    ],
}


def pair(*numbers):
    """Keys and values (1, 1, seq, 1): the numbers, and the numbers plus 100."""
    k = torch.tensor(numbers, dtype=torch.float32).reshape(1, 1, -1, 1)
    return [k, k + 100]


def listed(tensor):
    return [round(x, 4) for x in tensor.flatten().tolist()]


# ---------------------------------------------------------------------------------------------------------------------
# 1 · cache


def run_cache(student, room, calls):
    """The keys, values and length after each call: a pair is an update, an integer a truncate."""
    cache, said = student.KVCache(room), []
    for call in calls:
        if isinstance(call, int):
            cache.truncate(call)
        else:
            k, v = cache.update(*call)
            said.append((k.clone(), v.clone(), cache.length))
    return said


@check("cache", title="three tokens, then one, then one")
def grows(student, rng):
    said = student.run(run_cache, 8, [pair(1, 2, 3), pair(4), pair(5)])
    for (k, v, length), upto in zip(said, (3, 4, 5)):
        wanted = list(range(1, upto + 1))
        expect_equal(listed(k), [float(x) for x in wanted], f"after {upto} tokens the keys must be all of them")
        expect_equal(listed(v), [100.0 + x for x in wanted], f"after {upto} tokens the values must be all of them")
        expect_equal(length, upto, "cache.length counts the tokens")
        expect_equal(tuple(k.shape), (1, 1, upto, 1), "(batch, kv, length, d_head) is the shape of the keys")


@check("cache", title="taking tokens back, and no more room")
def back(student, rng):
    said = student.run(run_cache, 4, [pair(1, 2, 3), 1, pair(7, 8, 9)])
    expect_equal(listed(said[-1][0]), [1.0, 7.0, 8.0, 9.0], "update([1, 2, 3]), truncate(1), update([7, 8, 9]) give")
    for calls, what in (
        ([pair(1, 2, 3), pair(4, 5)], "5 tokens with room for 4"),
        ([pair(1), 2], "truncate(2) of 1 token"),
    ):
        expect_equal(student.run(run_refused, "KVCache", [4], calls), "ValueError", f"{what} must raise a ValueError")


def run_refused(student, name, args, calls):
    thing = getattr(student, name)(*args)
    for call in calls[:-1]:
        thing.update(*call)
    try:
        thing.truncate(calls[-1]) if isinstance(calls[-1], int) else thing.update(*calls[-1])
    except Exception as error:
        return "ValueError" if isinstance(error, ValueError) else type(error).__name__
    return "nothing"


def run_memory(student):
    import torch

    k = torch.ones(1, 1, 2, 1)
    cache = student.KVCache(4)
    first, _ = cache.update(k, k)
    k.fill_(5.0)
    kept = first.flatten().tolist()
    second, _ = cache.update(torch.full((1, 1, 1, 1), 3.0), torch.zeros(1, 1, 1, 1))
    second.fill_(7.0)
    return kept, first.flatten().tolist()


@check("cache", title="one memory, and its own")
def memory(student, rng):
    kept, first = student.run(run_memory)
    expect_equal(kept, [1.0, 1.0], "k was set to 5 after update(k, v), and the cache must still hold")
    message = "what the second update returned was set to 7, and the first one returned a view of the same places"
    expect_equal(first, [7.0, 7.0], message)


def run_padding(student, padding, first, seq):
    import torch

    cache = student.KVCache(9, padding=None if padding is None else torch.tensor(padding))
    if first:
        cache.update(torch.zeros(2, 1, first, 1), torch.zeros(2, 1, first, 1))
    return cache.positions(seq), cache.mask(seq)


@check("cache", title="the table with padding [0, 2]")
def padding(student, rng):
    positions, mask = student.run(run_padding, None, 4, 2)
    expect_equal(positions, torch.tensor([4, 5]), "without padding the 2 positions after 4 tokens are")
    expect(mask is None, "without padding there is no mask: None")
    positions, mask = student.run(run_padding, [0, 2], 0, 4)
    expect_equal(positions, torch.tensor([[0, 1, 2, 3], [0, 0, 0, 1]]), "the positions of the prompt are")
    wanted = torch.tensor([[True] * 4, [False, False, True, True]])[:, None, None]
    expect_equal(mask, wanted, "the mask of the prompt is")
    positions, mask = student.run(run_padding, [0, 2], 4, 1)
    expect_equal(positions, torch.tensor([[4], [2]]), "the positions of the next token are")
    wanted = torch.tensor([[True] * 5, [False, False, True, True, True]])[:, None, None]
    expect_equal(mask, wanted, "the mask with the next token is")


# ---------------------------------------------------------------------------------------------------------------------
# 2 · sampling

FOUR = torch.tensor([[0.5, 0.3, 0.15, 0.05]])


def run_law(student, logits, options):
    return student.token_probabilities(logits, **options)


def expect_law(student, p, options, wanted, what):
    expect_close(student.run(run_law, p.log(), options), torch.tensor([wanted]), what, 1e-5)


@check("sampling", title="temperature, by hand")
def heat(student, rng):
    expect_law(student, FOUR, {}, [0.5, 0.3, 0.15, 0.05], "without options it is a softmax")
    squares = [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]
    expect_law(
        student, FOUR, {"temperature": 0.5}, squares, "T = 0.5 squares the probabilities and divides by their sum"
    )
    expect_law(student, FOUR, {"temperature": 0.0}, [1.0, 0, 0, 0], "T = 0 puts everything on the greatest")
    p = student.run(run_law, FOUR.log() + 100, {"temperature": 2e-38})
    expect_close(
        p, torch.tensor([[1.0, 0, 0, 0]]), "T = 2e-38 and logits of about 100 are as good as greedy, and no NaN"
    )


@check("sampling", title="top-k, top-p, min-p, by hand")
def filters(student, rng):
    expect_law(student, FOUR, {"top_k": 2}, [0.625, 0.375, 0, 0], "top_k=2 of 0.5, 0.3, 0.15, 0.05")
    expect_law(student, FOUR, {"top_p": 0.79}, [0.625, 0.375, 0, 0], "0.5 and 0.3 reach top_p=0.79")
    expect_law(student, FOUR, {"top_p": 0.81}, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0], "top_p=0.81 needs a third")
    expect_law(
        student, FOUR, {"min_p": 0.2}, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0], "min_p=0.2 asks for 0.1 at least"
    )
    both = {"top_k": 2, "top_p": 0.6}
    expect_law(student, FOUR, both, [1.0, 0, 0, 0], "top_k=2 leaves 0.625 and 0.375, and 0.625 reaches top_p=0.6 alone")
    mixed = FOUR[:, [2, 0, 3, 1]]
    expect_law(student, mixed, {"top_k": 2}, [0, 0.625, 0, 0.375], "the ids keep their places")


@check("sampling", title="equal tokens, and values that are not allowed")
def ties(student, rng):
    equal = torch.full((1, 4), 0.25)
    expect_law(student, equal, {"top_k": 2}, [0.5, 0.5, 0, 0], "of four equal tokens top_k=2 keeps the first two")
    expect_law(student, equal, {"top_p": 0.4}, [0.5, 0.5, 0, 0], "of four equal tokens two reach top_p=0.4")
    for name, value in (("temperature", -1.0), ("top_k", 0), ("top_p", 0.0), ("top_p", 1.2), ("min_p", 2.0)):
        expect_equal(student.run(run_option, {name: value}), "ValueError", f"{name}={value} must raise a ValueError")


def run_option(student, options):
    import torch

    try:
        student.token_probabilities(torch.zeros(1, 4), **options)
    except Exception as error:
        return "ValueError" if isinstance(error, ValueError) else type(error).__name__
    return "nothing"


def run_sample(student, p, u):
    return student.sample(p, u)


@check("sampling", title="the line from 0 to 1")
def line(student, rng):
    p, u = torch.tensor([[0.5, 0.3, 0.2]] * 4), torch.tensor([0.0, 0.2, 0.6, 0.99])
    expect_equal(student.run(run_sample, p, u), torch.tensor([0, 0, 1, 2]), "0.5, 0.3, 0.2 with u = 0, 0.2, 0.6, 0.99")
    p, u = torch.tensor([[0.0, 0.25, 0.75, 0.0]] * 3), torch.tensor([0.0, 0.25, 0.9999999])
    message = "0, 0.25, 0.75, 0 with u = 0, 0.25, 0.9999999: 0 is never drawn, and 0.25 belongs to the next one"
    expect_equal(student.run(run_sample, p, u), torch.tensor([1, 2, 2]), message)


# ---------------------------------------------------------------------------------------------------------------------
# 3 · speculative


def run_step(student, draft, q, p, u):
    return [int(token) for token in student.speculative_step(draft, q, p, u)]


def one_step(student, draft, q, p, u):
    draft = torch.tensor(draft, dtype=torch.int64)
    q = torch.tensor(q).reshape(len(draft), -1) if q else torch.zeros(0, len(p[0]))
    return student.run(run_step, draft, q, torch.tensor(p), torch.tensor(u))


@check("speculative", title="one draft, by hand")
def by_hand(student, rng):
    q, p = [[0.75, 0.25]], [[0.5, 0.5], [0.5, 0.5]]
    expect_equal(
        one_step(student, [0], q, p, [0.6, 0.7]), [0, 1], "u = 0.6 < 0.5 / 0.75 accepts draft 0, and 0.7 draws 1"
    )
    expect_equal(one_step(student, [0], q, p, [0.7, 0.1]), [1], "u = 0.7 refuses draft 0, and only 1 has p > q")
    expect_equal(one_step(student, [1], q, p, [0.99, 0.1]), [1, 0], "draft 1 has p > q and is always accepted")


@check("speculative", title="three drafts")
def three(student, rng):
    q = [[0.5, 0.25, 0.25]] * 3
    p = [[0.25, 0.5, 0.25], [0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.0, 0.0, 1.0]]
    expect_equal(
        one_step(student, [1, 0, 2], q, p, [0.9, 0.9, 0.9, 0.3]),
        [1, 0, 2, 2],
        "all three are accepted, and p[3] says 2",
    )
    expect_equal(
        one_step(student, [1, 0, 0], q, p, [0.9, 0.9, 0.6, 0.3]), [1, 0, 2], "the third is refused: 0.6 > 0.25 / 0.5"
    )
    expect_equal(
        one_step(student, [0, 0, 2], q, p, [0.6, 0.1, 0.1, 0.3]), [1], "the first is refused: the others are dropped"
    )


@check("speculative", title="no draft, and a draft that the target never says")
def none(student, rng):
    expect_equal(one_step(student, [], [], [[0.5, 0.5]], [0.7]), [1], "without drafts it is one token from p[0]")
    said = one_step(student, [0], [[1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]], [0.0, 0.5])
    expect_equal(said, [1], "p(0) is 0, so draft 0 is refused even when u is 0")


# ---------------------------------------------------------------------------------------------------------------------
# 4 · paged


def run_paged(student, blocks, size, calls):
    """What calls give; keys (tokens, 1, 1) are written as lists of numbers."""
    import torch

    def rows(numbers):
        return torch.tensor(numbers, dtype=torch.float32).reshape(-1, 1, 1)

    cache, texts, said = student.PagedCache(blocks, size, 1, 1), [], []
    for name, *args in calls:
        if name in ("new", "fork"):
            texts.append(cache.new() if name == "new" else cache.fork(texts[args[0]]))
        elif name == "append":
            cache.append(texts[args[0]], rows(args[1]), rows([-x for x in args[1]]))
        elif name == "free":
            cache.free(texts[args[0]])
        elif name == "count":
            said.append(int(cache.free_blocks))
        elif name == "blocks":
            said.append(len(cache.table(texts[args[0]])))
        elif name == "read":
            k, v = cache.read(texts[args[0]])
            said.append([k.flatten().tolist(), v.flatten().tolist()])
        else:
            try:
                getattr(cache, name.removeprefix("bad "))(
                    texts[args[0]], *(rows(x) for x in args[1:] for _ in range(2))
                )
                said.append("nothing")
            except Exception as error:
                said.append("ValueError" if isinstance(error, ValueError) else type(error).__name__)
    return said


def both(*numbers):
    return [[float(x) for x in numbers], [-float(x) for x in numbers]]


@check("paged", title="the table of the assignment")
def story(student, rng):
    calls = [["new"], ["append", 0, [1, 2, 3]], ["count"], ["fork", 0], ["count"], ["append", 1, [8]], ["count"]]
    calls += [["append", 0, [9]], ["count"], ["read", 0], ["read", 1], ["free", 0], ["count"], ["read", 1]]
    said = student.run(run_paged, 6, 2, calls)
    names = ("3 tokens in blocks of 2", "fork", "an append to B", "an append to A")
    for name, got, wanted in zip(names, said, (4, 4, 3, 3)):
        expect_equal(got, wanted, f"free blocks of 6 after {name}")
    expect_equal(said[4], both(1, 2, 3, 9), "A has read")
    expect_equal(said[5], both(1, 2, 3, 8), "B has read")
    expect_equal(said[6], 4, "free blocks after A is freed")
    expect_equal(said[7], both(1, 2, 3, 8), "B after A is freed has read")


@check("paged", title="a full block, and the next token")
def border(student, rng):
    calls = [["new"], ["count"], ["append", 0, [1, 2]], ["blocks", 0], ["append", 0, [3]], ["blocks", 0]]
    calls += [["append", 0, []], ["append", 0, [4, 5, 6, 7]], ["blocks", 0], ["read", 0]]
    said = student.run(run_paged, 6, 2, calls)
    expect_equal(said[0], 6, "an empty text has no block: free blocks")
    expect_equal(said[1:4], [1, 2, 4], "blocks of a text with 2, 3 and 7 tokens, in blocks of 2")
    expect_equal(said[4], both(1, 2, 3, 4, 5, 6, 7), "the text reads")


@check("paged", title="too few blocks, and texts that are gone")
def refuses(student, rng):
    calls = [
        ["new"],
        ["append", 0, [1, 2, 3]],
        ["bad append", 0, [4, 5, 6]],
        ["read", 0],
        ["count"],
        ["append", 0, [4]],
        ["free", 0],
    ]
    calls += [["count"], ["bad free", 0], ["bad read", 0]]
    said = student.run(run_paged, 2, 2, calls)
    expect_equal(said[0], "ValueError", "6 tokens with 2 blocks of 2 must raise a ValueError")
    expect_equal(said[1:3], [both(1, 2, 3), 0], "and nothing has changed: the text and the free blocks are")
    expect_equal(said[3], 2, "free blocks after the only text is freed")
    expect_equal(said[4:], ["ValueError"] * 2, "free and read of a freed text must raise a ValueError")


# ---------------------------------------------------------------------------------------------------------------------
# 5 · quantize


def run_quantize(student, weight, size):
    q, scales = student.quantize_int8(weight, size)
    return q, scales, student.dequantize_int8(q, scales)


@check("quantize", title="the row of the assignment")
def row(student, rng):
    q, scales, weights = student.run(run_quantize, torch.tensor([[1.0, -0.5, 0.0, 254.0]]), 2)
    expect_equal(q, torch.tensor([[127, -64, 0, 127]], dtype=torch.int8), "(1, -0.5) and (0, 254) as integers are")
    expect_close(scales, torch.tensor([[1 / 127, 2.0]]), "the scales are 1 / 127 and 254 / 127", 1e-6)
    expect_close(weights, torch.tensor([[1.0, -64 / 127, 0.0, 254.0]]), "times their scales they are", 1e-5)


@check("quantize", title="zeros, and 16 bits")
def special(student, rng):
    _, scales, weights = student.run(run_quantize, torch.tensor([[0.0, 0.0, 3.0, -3.0]]).bfloat16(), 2)
    expect_close(weights, torch.tensor([[0.0, 0.0, 3.0, -3.0]]), "zeros stay zeros, and 3 stays 3", 1e-5)
    expect(bool(scales.isfinite().all()), "a scale is infinite or NaN: what is 0 / 0?")
    expect_equal((scales.dtype, weights.dtype), (torch.float32, torch.float32), "float32 comes back for bfloat16")


def run_cut(student, size):
    import torch

    try:
        student.quantize_int8(torch.ones(2, 6), size)
    except Exception as error:
        return "ValueError" if isinstance(error, ValueError) else type(error).__name__
    return "nothing"


@check("quantize", title="groups that do not fit")
def fits(student, rng):
    for size in (4, 0):
        expect_equal(student.run(run_cut, size), "ValueError", f"rows of 6 in groups of {size} must raise a ValueError")
