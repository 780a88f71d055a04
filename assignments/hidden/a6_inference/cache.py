"""What `cache` asks for: keys and values so far, at their places, in memory of the cache's own."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from cs336lite.course.answers import ask, blame, either, list_of, same, some_tensor, tensor_of
from cs336lite.course.spec import Fail, check, expect

from .inputs import MOST, WHY, alike, normal


def drive_cache(student, max_length, padding, steps):
    """What each step gives: update the pair, truncate the length."""
    cache = student.KVCache(max_length) if padding is None else student.KVCache(max_length, padding=padding)
    said = []
    for step in steps:
        if len(step) == 2:
            k, v = cache.update(*step)
            said.append([k.clone(), v.clone()])
        else:
            cache.truncate(step[0])
            said.append(int(cache.length))
    return said


def drive_attention(student, parts, xs, matrices, table, padding, max_length):
    """Attention over texts that come in parts: keys and values from the cache, positions and mask as it says."""
    import torch

    cache = student.KVCache(max_length) if padding is None else student.KVCache(max_length, padding=padding)
    outputs, start = [], 0
    for seq in parts:
        positions, mask = cache.positions(seq), cache.mask(seq)
        x = xs[:, start : start + seq] + table[positions]
        q, k, v = ((x @ m).unflatten(2, (2, -1)).transpose(1, 2) for m in matrices)
        keys, values = cache.update(k, v)
        scores = q @ keys.transpose(2, 3) / q.shape[-1] ** 0.5
        places = torch.arange(start + seq)
        scores = scores.masked_fill(places > places[start:, None], -1e30)
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e30)
        outputs.append((scores.softmax(-1) @ values).transpose(1, 2).flatten(2))
        start += seq
    return torch.cat(outputs, dim=1)


def full_forward(x: Tensor, matrices: list[Tensor], table: Tensor) -> Tensor:
    """The same for one whole text (seq, d), without a cache, in float64."""
    x = (x + table[: len(x)]).double()
    q, k, v = ((x @ m.double()).unflatten(1, (2, -1)).transpose(0, 1) for m in matrices)
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(torch.ones(len(x), len(x)).triu(1).bool(), -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def some_pairs(rng: random.Random, *seqs: int, batch: int = 2) -> list[list[Tensor]]:
    return [[normal(rng, batch, 2, seq, 3), normal(rng, batch, 2, seq, 3)] for seq in seqs]


def joined(pairs: list[list[Tensor]], place: int) -> Tensor:
    return torch.cat([pair[place] for pair in pairs], dim=2)


def expect_all_so_far(said: list[Tensor], pairs: list[list[Tensor]], room: int) -> None:
    """What update has returned is all keys and all values so far."""
    for place, name in enumerate(("keys", "values")):
        answer, right, new = said[place], joined(pairs, place), pairs[-1][place]
        other = joined(pairs, 1 - place)
        expect(
            len(pairs) == 1 or not alike(answer, new),
            f"update returns the new {name} alone: return those of all tokens so far",
        )
        expect(
            answer.shape[-2:-1] != (room,) or right.shape[2] == room,
            "update returns all places of the memory, max_length of them: return those that hold a token",
        )
        expect(not alike(answer, other), "update returns keys and values in the other order: the keys come first")
        expect(answer.shape == right.shape, f"update returns {name} of another shape than (batch, kv, length, d_head)")
        if not alike(answer, right):
            first = pairs[0][place]
            expect(len(pairs) > 1, f"the first update does not return the {name} that it is given")
            kept = alike(answer[:, :, : first.shape[2]], first)
            expect(kept, f"the first {name} are gone after the second update: write behind what is there")
            raise Fail(f"update does not return the {name} of all tokens, in the order in which they came")


def update_with(student, rng: random.Random, seqs: tuple[int, ...], room: int, padding: Tensor | None = None) -> None:
    pairs = some_pairs(rng, *seqs)
    said = ask(student, list_of([some_tensor(MOST)] * 2, len(pairs)), drive_cache, room, padding, pairs)
    for number, answer in enumerate(said, 1):
        expect_all_so_far(answer, pairs[:number], room)


def expect_a_cache(student, rng: random.Random) -> None:
    update_with(student, rng, (3, 1, 2), 9)


def drive_places(student, padding, before, seq):
    """Positions and mask of the next tokens, after as many keys as said."""
    import torch

    cache = student.KVCache(20) if padding is None else student.KVCache(20, padding=padding)
    said = []
    for count in before:
        if count:
            cache.update(torch.zeros(3, 1, count, 2), torch.zeros(3, 1, count, 2))
        mask = cache.mask(seq)
        said.append([cache.positions(seq).clone(), mask if mask is None else mask.clone(), int(cache.length)])
    return said


@check("cache", points=2, title="positions and mask with left padding", seconds=5)
def left_padding(student, rng):
    seq, first = rng.randint(2, 3), rng.randint(5, 6)
    form = list_of([some_tensor(MOST), either(type(None), some_tensor(MOST)), int], 2)
    for number, (positions, mask, length) in enumerate(ask(student, form, drive_places, None, [0, first], seq)):
        start = number * first
        expect(length == start, "length is not the number of tokens that update was given")
        right = torch.arange(start, start + seq)
        expect(positions.shape == right.shape, "positions(seq) of a cache without padding has not the shape (seq,)")
        expect(
            start == 0 or not alike(positions, right - start),
            "positions(seq) begins at 0 after tokens came: it goes on at length",
        )
        expect(alike(positions, right), "positions(seq) is not length, length + 1, ... without padding")
        expect(mask is None, "mask(seq) is None without padding")
    padding = torch.tensor(rng.sample(range(4), 3))
    for number, (positions, mask, _) in enumerate(ask(student, form, drive_places, padding, [0, first], seq)):
        start = number * first
        expect(
            tuple(positions.shape) == (3, seq), "positions(seq) of a cache with padding has not the shape (batch, seq)"
        )
        places = torch.arange(start, start + seq)
        behind = places - padding[:, None]
        expect(
            not alike(positions, places.expand(3, seq)),
            "positions(seq) counts the padding: a row's first token has position 0",
        )
        expect(not bool((positions < 0).any()), "positions(seq) is below 0 for padding: it is 0 there")
        expect(
            alike(positions, behind.clamp(min=0)),
            "positions(seq) is not the place less the padding of the row, and 0 for padding",
        )
        right = torch.arange(start + seq) >= padding[:, None]
        expect(mask is not None, "mask(seq) is None though there is padding")
        expect(mask.dtype == torch.bool, "mask(seq) is not of the dtype torch.bool: True is a token, False is padding")
        flat = mask.reshape(3, -1) if mask.numel() % 3 == 0 else mask
        expect(
            start == 0 or flat.shape != (3, seq),
            "mask(seq) has places for the new tokens alone: (batch, 1, 1, length + seq) is asked for",
        )
        expect(not same(flat, ~right), "mask(seq) is True for padding: True is a token")
        expect(tuple(mask.shape) == (3, 1, 1, start + seq), "mask(seq) has not the shape (batch, 1, 1, length + seq)")
        expect(same(flat, right), "mask(seq) is not False for exactly the places of padding, on the left of each row")


def drive_shared(student, first, second, mark):
    """Marks in what the second update returned, and what the first one had returned."""
    cache = student.KVCache(first[0].shape[2] + second[0].shape[2] + 2)
    early, late = cache.update(*first), cache.update(*second)
    for x in late:
        x.fill_(mark)
    return [x.clone() for x in early]


@check("cache", points=1.5, title="it grows in place", seconds=5)
def grows_in_place(student, rng):
    expect_a_cache(student, rng)
    first, second = some_pairs(rng, 3, 2)
    mark = rng.uniform(5, 9)
    for answer in ask(student, [some_tensor(MOST)] * 2, drive_shared, first, second, mark):
        message = "what update returns are no views of one memory: take it once, write with memory[:, :, a:b] = k, return memory[:, :, :b]"
        expect(alike(answer, torch.full_like(first[0], mark)), message)
    pairs = [[x.bfloat16() for x in pair] for pair in some_pairs(rng, 3, 1)]
    said = ask(student, list_of([some_tensor(MOST)] * 2, 2), drive_cache, 9, None, pairs)
    for place, answer in enumerate(said[1]):
        message = "the memory has another dtype than what is written into it: that of k and of v"
        expect(answer.dtype == torch.bfloat16 and alike(answer, joined(pairs, place)), message)


def drive_changed_later(student, first, second):
    cache = student.KVCache(first[0].shape[2] + second[0].shape[2])
    cache.update(*first)
    given = [x.clone() for x in first]
    for x in first:
        x.fill_(100.0)
    return given, [x.clone() for x in cache.update(*second)]


@check("cache", points=1, title="what it is given is copied, and stays as it is", seconds=5)
def keeps_a_copy(student, rng):
    expect_a_cache(student, rng)
    for pairs in (some_pairs(rng, 3, 2), some_pairs(rng, 1, 1)):
        form = [[some_tensor(MOST)] * 2] * 2
        given, said = ask(student, form, drive_changed_later, *pairs)
        for place in range(2):
            expect(alike(given[place], pairs[0][place]), "update changes what it is given")
            message = "what is done to k and v after update changes the cache: copy them into its own memory"
            expect(alike(said[place], joined(pairs, place)), message)


def drive_refused(student, room, pairs, bad, last):
    """Whether more than the room is refused, and what the cache then has."""
    cache = student.KVCache(room)
    for pair in pairs:
        cache.update(*pair)
    try:
        cache.update(*bad)
        said = "taken"
    except ValueError:
        said = "refused"
    except Exception:
        said = "another"
    return said, int(cache.length), [x.clone() for x in cache.update(*last)]


@check("cache", points=1, title="no room left", seconds=5)
def no_room(student, rng):
    expect_a_cache(student, rng)
    room = rng.randint(6, 8)
    update_with(student, rng, (4, room - 4), room)
    pairs = some_pairs(rng, 3, 1)
    (bad,) = some_pairs(rng, room - 3)
    (last,) = some_pairs(rng, room - 4)
    form = [str, int, [some_tensor(MOST)] * 2]
    with blame("an update that must be refused leaves a cache that no longer works", lambda: None):
        said, length, after = ask(student, form, drive_refused, room, pairs, bad, last)
    expect(said != "taken", "more tokens than max_length are taken: raise a ValueError")
    expect(said == "refused", "more tokens than max_length raise another exception than ValueError")
    expect(length == 4, "a refused update has changed length: look before anything changes")
    for place in range(2):
        right = torch.cat([joined(pairs, place), last[place]], dim=2)
        expect(alike(after[place], right), "a refused update has changed the cache: look before anything changes")


def drive_bad_cut(student, pair, lengths):
    said = []
    for length in lengths:
        cache = student.KVCache(9)
        cache.update(*pair)
        try:
            cache.truncate(length)
            said.append("taken")
        except ValueError:
            said.append("refused")
        except Exception:
            said.append("another")
    return said


@check("cache", points=1, title="truncate takes tokens back", seconds=5)
def truncate(student, rng):
    expect_a_cache(student, rng)
    first, second, third = some_pairs(rng, 5, 1, 2)
    cut = rng.randint(2, 4)
    steps = [first, second, [cut], third, [0], second]
    pair = [some_tensor(MOST)] * 2
    said = ask(student, [pair, pair, int, pair, int, pair], drive_cache, 9, None, steps)
    expect(said[2] == cut and said[4] == 0, "length is not what truncate was given")
    for place in range(2):
        right = torch.cat([first[place][:, :, :cut], third[place]], dim=2)
        expect(alike(said[3][place], right), "after truncate(n) an update does not go on behind the first n tokens")
        expect(alike(said[5][place], second[place]), "after truncate(0) an update does not begin anew")
    some = ask(student, list_of(str, 4), drive_bad_cut, first, [5, 0, 6, -1])
    expect(some[:2] == ["taken", "taken"], "truncate refuses a length that the cache has")
    expect(
        some[2:] == ["refused", "refused"],
        "truncate to more tokens than there are, or below 0, must raise a ValueError",
    )


@check(
    "cache", points=18.5, title="together: prefill and decode as a full forward, texts padded on the left", seconds=10
)
def cache_together(student, rng):
    update_with(student, rng, (4, 1, 1, 2), 12)
    for padded in (False, True):
        batch, length = 3, 9
        padding = torch.tensor(rng.sample(range(4), batch)) if padded else None
        xs, table = normal(rng, batch, length, 6), normal(rng, 20, 6)
        matrices = [normal(rng, 6, 8) / 2 for _ in range(3)]
        parts = [5, 1, 1, 2]
        given = (parts, xs, matrices, table, padding, 12)
        answer = ask(student, tensor_of(batch, length, 8), drive_attention, *given)
        for row in range(batch):
            begin = int(padding[row]) if padded else 0
            right = full_forward(xs[row, begin:], matrices, table)
            where = "texts padded on the left" if padded else "texts without padding"
            message = f"together: attention over this cache is not that of a full forward, in {where}; {WHY}"
            expect(alike(answer[row, begin:], right, 1e-3), message)
