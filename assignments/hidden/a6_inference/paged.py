"""What `paged` asks for: blocks that are counted, shared, copied when written to, and free again."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import ask, blame, list_of, some_tensor
from cs336lite.course.spec import Fail, check, expect

from .inputs import MOST, WHY, alike, normal


def drive_pages(student, sizes, calls, dtype=None):
    """What a row of calls says; texts are named by the order in which they were made."""
    import torch

    kind = {} if dtype is None else {"dtype": getattr(torch, dtype)}
    cache = student.PagedCache(*sizes, **kind)
    seqs, said = [], []
    for name, *args in calls:
        if name == "new":
            seqs.append(cache.new())
        elif name == "fork":
            seqs.append(cache.fork(seqs[args[0]]))
        elif name == "free":
            cache.free(seqs[args[0]])
        elif name == "append":
            cache.append(seqs[args[0]], *args[1:])
        elif name == "try":
            try:
                getattr(cache, args[0])(*([987654321] if args[1] is None else [seqs[args[1]]]), *args[2:])
                said.append("taken")
            except ValueError:
                said.append("refused")
            except Exception:
                said.append("another")
        elif name == "read":
            said.append([x.clone() for x in cache.read(seqs[args[0]])])
        elif name == "count":
            said.append(int(cache.free_blocks))
        elif name == "table":
            said.append([int(block) for block in cache.table(seqs[args[0]])])
        elif name == "memory":
            table = [int(block) for block in cache.table(seqs[args[0]])]
            rows = [x[table].flatten(0, 1).clone() for x in (cache.keys, cache.values)]
            said.append(rows if table else [torch.zeros(0), torch.zeros(0)])
    return said


SHOWN = {
    "read": [some_tensor(MOST)] * 2,
    "memory": [some_tensor(MOST)] * 2,
    "count": int,
    "table": list_of(int, least=0, most=1000),
    "try": str,
}
HEADS = (2, 3)  # heads, and the size of a head


def pages(student, blocks: int, size: int, calls: list[list]) -> list[Any]:
    return ask(student, [SHOWN[c[0]] for c in calls if c[0] in SHOWN], drive_pages, [blocks, size, *HEADS], calls)


def some_rows(rng: random.Random, count: int) -> list[Tensor]:
    return [normal(rng, count, *HEADS), normal(rng, count, *HEADS)]


def expect_rows(said: list[Tensor], right: list[Tensor], message: str) -> None:
    for answer, one in zip(said, right, strict=True):
        expect(answer.shape == one.shape, "read does not return keys and values of the shape (tokens, kv, d_head)")
        expect(alike(answer, one), message)


COUNTED = "this is judged when a text, and a copy of it, take the blocks that their tokens need, and they do not yet"
PLAIN = "read does not return the keys and values that were appended, in order: nothing more can be judged"


def expect_pages(student, rng: random.Random) -> None:
    """One text, in one block."""
    rows = some_rows(rng, 2)
    (said,) = pages(student, 6, 4, [["new"], ["append", 0, *rows], ["read", 0]])
    expect_rows(said, rows, PLAIN)


@check("paged", points=1.5, title="a block when it is needed, and tokens where the table says", seconds=5)
def blocks_counted(student, rng):
    expect_pages(student, rng)
    size = rng.randint(3, 4)
    calls: list[list] = [["new"], ["count"]]
    parts = [some_rows(rng, n) for n in (size - 1, 1, 0, 1, 2 * size - 1, 2)]
    for rows in parts:
        calls += [["append", 0, *rows], ["count"], ["table", 0], ["memory", 0]]
    said = pages(student, 12, size, calls)
    expect(said[0] == 12, "an empty text has a block: it has none before its first token")
    length = 0
    for number, rows in enumerate(parts):
        length += len(rows[0])
        count, table, memory = said[1 + 3 * number : 4 + 3 * number]
        right = -(-length // size)
        full = length % size == 0
        expect(12 - count == len(table), "free_blocks and the length of the table do not add up to num_blocks")
        expect(
            not full or len(table) != right + 1,
            "a full block asks for the next one at once: it is taken with the next token",
        )
        expect(len(table) == right, "a text of n tokens has not exactly n / block_size blocks, rounded up")
        expect(
            len(set(table)) == len(table) and set(table) <= set(range(12)),
            "a table holds a block twice, or one that there is not",
        )
        together = [torch.cat([part[place] for part in parts[: number + 1]]) for place in range(2)]
        for answer, one in zip(memory, together, strict=True):
            expect(
                answer.dim() == 3 and alike(answer[:length], one),
                "token i does not stand in block table[i // block_size], place i % block_size, of keys and values",
            )
    rows = [x.bfloat16() for x in some_rows(rng, 3)]
    calls = [["new"], ["append", 0, *rows], ["read", 0]]
    with blame("a PagedCache that is given a dtype fails", lambda: None):
        (said,) = ask(student, [[some_tensor(MOST)] * 2], drive_pages, [6, 4, *HEADS], calls, "bfloat16")
    message = "keys or values have another dtype than the one that PagedCache was given"
    expect(all(x.dtype == torch.bfloat16 for x in said), message)


@check("paged", points=1, title="copy on write", seconds=5)
def copy_on_write(student, rng):
    expect_pages(student, rng)
    size = 4
    prompt, one, two, three = (some_rows(rng, n) for n in (6, 1, 1, 3))
    calls = [
        ["new"],
        ["append", 0, *prompt],
        ["fork", 0],
        ["count"],
        ["append", 1, *one],
        ["count"],
        ["append", 0, *two],
    ]
    calls += [
        ["count"],
        ["read", 0],
        ["read", 1],
        ["table", 0],
        ["table", 1],
        ["append", 1, *three],
        ["read", 1],
        ["read", 0],
    ]
    said = pages(student, 12, size, calls)
    if said[0] != 10:
        (before,) = pages(student, 12, size, [["new"], ["append", 0, *prompt], ["count"]])
        expect(said[0] == before, "fork takes blocks: it shares those that there are")
        raise Fail(COUNTED)
    first, second = ([torch.cat([a, b]) for a, b in zip(prompt, rows, strict=True)] for rows in (two, one))
    message = "what is appended to a copy changes the text that it was made of, or the other way round: copy a shared block before writing"
    expect_rows(said[3], first, message)
    expect_rows(said[4], second, message)
    expect(said[1] != 8, "an append to a copy copies all its blocks: only the last one is written to")
    expect(said[1] == 9, "the first append to a copy does not take exactly one block, that of the copied one")
    expect(said[2] == 9, "a block that belongs to one text alone is copied all the same")
    expect(
        said[5][0] == said[6][0] and said[5][1] != said[6][1],
        "a copy does not share its first block and have a last one of its own",
    )
    expect_rows(said[7], [torch.cat([a, b]) for a, b in zip(second, three, strict=True)], message)
    expect_rows(said[8], first, message)
    full, more = some_rows(rng, size), some_rows(rng, 1)
    calls = [["new"], ["append", 0, *full], ["fork", 0], ["append", 1, *more], ["count"], ["read", 1], ["read", 0]]
    said = pages(student, 6, size, calls)
    expect(said[0] == 4, "a full block is copied when a copy goes on: nothing is written to it")
    calls = [["new"], ["append", 0, *prompt], ["fork", 0], ["append", 1, *some_rows(rng, 0)], ["count"]]
    (count,) = pages(student, 6, size, calls)
    expect(count == 4, "an append of no tokens copies a block: nothing is written")
    expect_rows(said[1], [torch.cat([a, b]) for a, b in zip(full, more, strict=True)], message)
    expect_rows(said[2], full, message)


@check("paged", points=1, title="free gives blocks back", seconds=5)
def freed(student, rng):
    expect_pages(student, rng)
    rows, more, other = some_rows(rng, 5), some_rows(rng, 2), some_rows(rng, 9)
    calls = [["new"], ["append", 0, *rows], ["free", 0], ["count"], ["new"], ["append", 1, *rows], ["read", 1]]
    count, said = pages(student, 12, 4, calls)
    expect(count == 12, "the blocks of a freed text are not free again")
    expect_rows(said, rows, "a text that comes after a freed one does not read what it was given")
    calls = [["new"], ["append", 0, *rows], ["free", 0], ["new"], ["append", 1, *other], ["read", 1]]
    (said,) = pages(student, 3, 4, calls)
    expect_rows(said, other, "a text that takes the blocks of a freed one does not read what it was given")
    calls = [
        ["new"],
        ["append", 0, *rows],
        ["fork", 0],
        ["free", 0],
        ["count"],
        ["new"],
        ["append", 2, *other],
        ["read", 1],
    ]
    calls += [["table", 1], ["append", 1, *more], ["table", 1], ["count"], ["free", 1], ["count"]]
    count, said, before, after, again, end = pages(student, 7, 4, calls)
    message = "a block that a copy still has is given away when the first text is freed: count its owners"
    if count != 5:
        (alone,) = pages(student, 7, 4, [["new"], ["append", 0, *rows], ["fork", 0], ["count"]])
        raise Fail(message if count > alone else COUNTED)
    expect_rows(said, rows, message)
    expect(
        before == after and again == 2,
        "a block whose other owner was freed is copied all the same: it belongs to one text alone",
    )
    expect(end == 4, "the blocks of a copy are not free again when it is freed last")
    calls = [["new"], ["append", 0, *rows], ["free", 0], ["try", "free", 0], ["try", "read", 0], ["try", "fork", 0]]
    calls += [["try", "table", None], ["count"]]
    *refused, count = pages(student, 5, 4, calls)
    expect(
        refused == ["refused"] * 4,
        "a text that was freed, or never was, must be a ValueError in free, read, fork and table",
    )
    expect(count == 5, "a block is free twice after a second free")


@check("paged", points=1, title="too few blocks", seconds=5)
def no_blocks(student, rng):
    expect_pages(student, rng)
    rows, many, few, last = (some_rows(rng, n) for n in (5, 8, 3, 4))
    calls = [["new"], ["append", 0, *rows], ["try", "append", 0, *many], ["count"], ["read", 0], ["append", 0, *few]]
    calls += [["count"], ["new"], ["append", 1, *last], ["count"], ["read", 0]]
    message = "an append that is refused has changed something: count what is needed before anything is taken"
    plain = [one for one in calls if one[0] != "try"]
    with blame({"ValueError": message}, lambda: pages(student, 3, 4, plain)):
        said = pages(student, 3, 4, calls)
    expect(said[0] != "taken", "more tokens than there are blocks for are taken: raise a ValueError")
    expect(said[0] == "refused", "too few blocks raise another exception than ValueError")
    expect(said[1] == 1, message)
    expect_rows(said[2], rows, message)
    expect(said[3] == 1 and said[4] == 0, message)
    expect_rows(said[5], [torch.cat([a, b]) for a, b in zip(rows, few, strict=True)], message)
    (one,) = (some_rows(rng, 1),)
    calls = [
        ["new"],
        ["append", 0, *rows],
        ["fork", 0],
        ["try", "append", 1, *one],
        ["read", 0],
        ["read", 1],
        ["count"],
    ]
    calls += [["free", 0], ["append", 1, *one], ["read", 1]]
    said = pages(student, 2, 4, calls)
    expect(said[0] == "refused", "an append that must copy a shared block, with no free one, is not a ValueError")
    expect_rows(said[1], rows, message)
    expect_rows(said[2], rows, message)
    expect(said[3] == 0, message)
    expect_rows(said[4], [torch.cat([a, b]) for a, b in zip(rows, one, strict=True)], message)


@check("paged", points=10.5, title="together: several texts, copies among them", seconds=10)
def paged_together(student, rng):
    size = rng.randint(3, 5)
    texts: dict[int, list[Tensor]] = {}
    calls: list[list] = []
    wanted: list[list[Tensor]] = []
    number = parent = child = 0

    def made(rows: list[Tensor]) -> int:
        nonlocal number
        texts[number] = rows
        number += 1
        return number - 1

    for _ in range(2):
        calls.append(["new"])
        made(some_rows(rng, 0))
    for step in range(34):
        if step in (8, 14, 20):
            calls.append(["fork", parent])
            child = made([x.clone() for x in texts[parent]])
        elif step == 24:  # what it has in common with its copy stays
            calls.append(["free", parent])
            del texts[parent]
        elif step == 26:
            calls.append(["new"])
            made(some_rows(rng, 0))
        else:
            after = {9: parent, 15: parent, 21: parent, 10: child, 16: child, 22: child, 27: number - 1}
            seq, count = after.get(step, rng.choice(sorted(texts))), rng.randint(1, 4)  # both go on, in turn
            if step in (7, 13, 19):  # is copied next: a full block and one that is begun, or, in the middle, full ones
                parent, begun = seq, 0 if step == 13 else rng.randint(1, size - 1)
                count = size + (begun - len(texts[seq][0])) % size
            rows = some_rows(rng, count)
            calls.append(["append", seq, *rows])
            texts[seq] = [torch.cat([a, b]) for a, b in zip(texts[seq], rows, strict=True)]
        if step % 6 == 5 or step == 33:
            for seq, rows in texts.items():
                calls.append(["read", seq])
                wanted.append([x.clone() for x in rows])
    for said, right in zip(pages(student, 120, size, calls), wanted, strict=True):
        expect_rows(said, right, f"together: a text does not read what was appended to it; {WHY}")
