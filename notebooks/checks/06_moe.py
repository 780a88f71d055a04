"""Checks and hints of the exercises in lecture 06. Nothing here is graded: try as often as you like."""

import torch

from cs336lite.course.answers import ask, like, tensor_of
from cs336lite.course.show import expect_close
from cs336lite.course.spec import check, expect

HINTS = {
    "sort_by_expert": [
        "Flatten first: place p of the flat tensor belongs to token p // k.",
        "The order is that of a sort of the experts' numbers; what is asked for are the places, not the sorted numbers.",
        "torch.argsort(flat, stable=True) and torch.bincount(flat, minlength=num_experts).",
    ],
    "bias_step": [
        "All that matters is on which side of the mean an expert's load lies.",
        "torch.sign is -1, 0 or 1; the mean is counts.sum() / len(counts).",
        "bias + rate * torch.sign(mean - counts)",
    ],
    "kept": [
        "For each place you need to know how many places before it went to the same expert.",
        "F.one_hot(flat, num_experts).cumsum(dim=0) counts for every expert; gather picks the count of the place's own.",
        "The first place of an expert then has the count 1: keep those with count <= capacity, in the shape of chosen.",
    ],
    "hash_load": [
        "An id that occurs often brings all its occurrences to its k experts.",
        "index_add adds the counts of all ids to the experts in a column of the table; do it for each column.",
        "At the end divide by the sum of all loads, so that the shares add up to 1.",
    ],
    "all_to_all_bytes": [
        "Each token has k rows to send; which share of them goes to another device?",
        "1 - 1 / devices of them leave. A device also sends back the answers to as many rows that came to it.",
        "2 * tokens * top_k * (1 - 1 / devices) * d_model * bytes_each",
    ],
}


def drawn(rng, n, k, experts):
    made = torch.Generator().manual_seed(rng.randrange(10_000))
    return torch.rand(n, experts, generator=made).argsort(dim=-1)[:, :k]


def run_sort(student, chosen, num_experts):
    order, counts = student.sort_by_expert(chosen, num_experts)
    return torch.cat([order.flatten(), counts.flatten()])


def sorted_places(student, chosen, num_experts):
    found = ask(
        student,
        tensor_of(None, dtype=torch.int64),
        run_sort,
        chosen,
        num_experts,
        what="order and counts, one behind the other",
    )
    expect(
        len(found) == chosen.numel() + num_experts,
        f"there are {chosen.numel()} places in the order and {num_experts} counts, one for each expert, used or not",
    )
    return found[: chosen.numel()].long(), found[chosen.numel() :].long()


@check("sort_by_expert", title="by hand")
def sort_by_hand(student, rng):
    order, counts = sorted_places(student, torch.tensor([[2, 0], [0, 1]]), 3)
    expect(order.tolist() != [0, 0, 1, 2], "those are the sorted experts: return the places where they stood")
    expect(order.tolist() != [0, 1, 1, 0], "places of the flat tensor are asked for, not the tokens")
    expect(order.tolist() == [1, 2, 3, 0], "((2, 0), (0, 1)) sorted by expert: the places 1, 2, 3, 0")
    expect(counts.tolist() == [2, 1, 1], "expert 0 has two places, the others one each")


@check("sort_by_expert", title="stable, with an idle expert")
def sort_stable(student, rng):
    chosen = drawn(rng, 40, 2, 5)
    order, counts = sorted_places(student, chosen, 6)
    flat = chosen.flatten()
    expect(bool((flat[order].diff() >= 0).all()), "the experts must rise along the order")
    expect(torch.equal(order, flat.argsort(stable=True)), "places of one expert keep their order: stable=True")
    expect(counts.tolist() == [int((flat == e).sum()) for e in range(6)], "counts: how many places each expert has")


def run_bias(student, bias, counts, rate):
    return student.bias_step(bias, counts, rate)


@check("bias_step", title="by hand")
def bias_by_hand(student, rng):
    bias, counts = torch.zeros(3), torch.tensor([8, 4, 0])
    found = ask(student, like(bias), run_bias, bias, counts, 0.01, what="the bias")
    expect(not torch.allclose(found, torch.tensor([0.01, 0.0, -0.01])), "the sign: a busy expert's bias goes down")
    expect(
        not torch.allclose(found, torch.tensor([-0.04, 0.0, 0.04])), "a fixed step, however far the load is: its sign"
    )
    expect_close(found, torch.tensor([-0.01, 0.0, 0.01]), "places (8, 4, 0) at a rate of 0.01")


@check("bias_step", title="from where it stands")
def bias_goes_on(student, rng):
    bias = torch.tensor([0.5, -0.2, 0.1, 0.0])
    counts, rate = torch.tensor([1, 2, 3, 11]), rng.randrange(1, 9) / 100
    found = ask(student, like(bias), run_bias, bias, counts, rate, what="the bias")
    wanted = bias + rate * torch.tensor([1.0, 1.0, 1.0, -1.0])
    expect(not torch.allclose(found, wanted - bias), "the step is added to the bias that came in")
    median = bias + rate * torch.tensor([1.0, 1.0, -1.0, -1.0])
    expect(not torch.allclose(found, median), "compare with the mean load, not with the median")
    expect_close(found, wanted, "the mean of (1, 2, 3, 11) is 4.25")


def run_kept(student, chosen, num_experts, capacity):
    return student.kept(chosen, num_experts, capacity).to(torch.int64)


@check("kept", title="the picture")
def kept_picture(student, rng):
    chosen = torch.tensor([[0], [0], [1], [0], [2], [0]])
    found = ask(student, tensor_of(6, 1, dtype=torch.int64), run_kept, chosen, 3, 2, what="the mask").flatten().tolist()
    expect(found != [0, 0, 0, 1, 0, 1], "True means kept; that is the mask of the dropped")
    expect(found != [1, 0, 1, 0, 1, 0], "the first two of expert 0 are kept: count from 1, or compare with <")
    expect(found != [1, 1, 1, 1, 1, 0], "a capacity of 2 keeps two of expert 0, not three")
    expect(
        found == [1, 1, 1, 0, 1, 0], "experts 0, 0, 1, 0, 2, 0 with a capacity of 2: the second to last 0s do not fit"
    )


@check("kept", title="two choices a token")
def kept_two(student, rng):
    chosen, capacity = drawn(rng, 30, 2, 4), rng.randrange(5, 12)
    found = ask(student, tensor_of(30, 2, dtype=torch.int64), run_kept, chosen, 4, capacity, what="the mask")
    wanted, first = (torch.zeros(30, 2, dtype=torch.int64) for _ in range(2))
    for mask, places in ((wanted, [(i, j) for i in range(30) for j in range(2)]), (first, [(i, j) for j in range(2) for i in range(30)])):  # fmt: skip
        used = [0] * 4
        for i, j in places:
            used[chosen[i, j]] += 1
            mask[i, j] = used[chosen[i, j]] <= capacity
    expect(
        torch.equal(wanted, first) or not torch.equal(found, first),
        "that is GShard's order, first choices before second ones; here a token's second choice comes before the next token",
    )
    expect(
        torch.equal(found, wanted), f"each expert keeps its first {capacity} places, in the order of the flat tensor"
    )


def run_hash(student, counts, table, num_experts):
    return torch.as_tensor(student.hash_load(counts, table, num_experts)).double()


@check("hash_load", title="by hand")
def hash_by_hand(student, rng):
    counts, table = torch.tensor([6, 3, 1]), torch.tensor([[1], [0], [1]])
    found = ask(student, tensor_of(3), run_hash, counts, table, 3, what="the loads").double()
    expect(not torch.allclose(found, torch.tensor([1 / 3, 2 / 3, 0.0]).double()), "count an id as often as it occurs")
    expect(not torch.allclose(found, torch.tensor([3.0, 7.0, 0.0]).double()), "shares: divide by the sum")
    expect_close(
        found, torch.tensor([0.3, 0.7, 0.0]).double(), "ids 6, 3 and 1 times, table 1, 0, 1, three experts", 1e-5
    )


@check("hash_load", title="two experts an id")
def hash_two(student, rng):
    table = drawn(rng, 20, 2, 6)
    counts = torch.tensor([rng.randrange(0, 50) for _ in range(20)])
    found = ask(student, tensor_of(6), run_hash, counts, table, 6, what="the loads").double()
    wanted = torch.tensor([sum(int(counts[i]) for i in range(20) if e in table[i].tolist()) for e in range(6)]).double()
    expect(
        not torch.allclose(found, wanted / counts.sum(), rtol=1e-4), "the shares of all places add up to 1, not to k"
    )
    only = torch.tensor([sum(int(counts[i]) for i in range(20) if e == int(table[i, 0])) for e in range(6)]).double()
    expect(not torch.allclose(found, only / only.sum(), rtol=1e-4), "all k columns of the table count")
    expect_close(found, wanted / wanted.sum(), "the shares of all places", 1e-5)


def run_bytes(student, tokens, top_k, d_model, devices, bytes_each):
    return float(student.all_to_all_bytes(tokens, top_k, d_model, devices, bytes_each))


@check("all_to_all_bytes", title="by hand")
def bytes_by_hand(student, rng):
    found = ask(student, float, run_bytes, 4, 1, 8, 2, 2, what="the bytes")
    expect(abs(found - 32) > 1e-9, "rows go there and answers come back: twice as much")
    expect(abs(found - 128) > 1e-9, "half of the experts are on the same device: those rows stay")
    expect_close(found, 64.0, "4 tokens, one expert each, 8 numbers of 2 bytes, 2 devices", 1e-9)


@check("all_to_all_bytes", title="other sizes")
def bytes_else(student, rng):
    tokens, k, d, devices = rng.randrange(10, 99), rng.randrange(2, 7), 16 * rng.randrange(1, 9), rng.randrange(3, 9)
    found = ask(student, float, run_bytes, tokens, k, d, devices, 4, what="the bytes")
    wanted = 8 * tokens * k * d * (1 - 1 / devices)
    expect(abs(found - wanted / k) > 1e-6 * wanted, "each token has k rows")
    expect(abs(found - wanted / 2) > 1e-6 * wanted, "use bytes_each: here a number has 4 bytes")
    expect_close(found, wanted, f"{tokens} tokens, k = {k}, {d} numbers of 4 bytes, {devices} devices", 1e-6 * wanted)
    expect(ask(student, float, run_bytes, 5, 2, 8, 1, 2, what="the bytes") == 0, "on one device nothing is sent")
