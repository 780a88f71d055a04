r"""Hidden checks of a6_inference: 100 points.

Each exercise has one check of all of it together on ordinary input, which carries most of its points; the others say why,
and each looks at one thing alone. Nothing is judged by frequencies: random numbers are arguments, so distributions are
compared number by number, or case by case over a grid of random numbers, whose weights add up to probabilities.

The definitions that answers are compared with are slow and in float64, and stand here: attention over a whole text, filters
that look at one token after another, a paged cache that is a dict of lists. A check of something special begins with the
plain case, so that what does nothing does not pass it. All comparing is done here; drivers only call.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import ask, blame, close, either, like, list_of, same, some_tensor, tensor_of
from cs336lite.course.spec import Fail, check, drawn, expect

WARM = ("torch", "einops", "jaxtyping")
REFUSED = ()  # torch has no cache, no filters and no accept rule; softmax, sort and round are not what is asked
READ = {  # where to read on, by exercise
    "cache": "Section 1 of the assignment; in lecture 09 the section on what is kept",
    "sampling": (
        "Holtzman et al. 2019, section 3.1, and the line from 0 to 1 in section 2",
        "https://arxiv.org/abs/1904.09751",
    ),
    "speculative": ("Leviathan et al. 2022, algorithm 1 and appendix A.1", "https://arxiv.org/abs/2211.17192"),
    "paged": ("Kwon et al. 2023, PagedAttention, sections 4.2 and 4.4", "https://arxiv.org/abs/2309.06180"),
    "quantize": ("Dettmers et al. 2022, LLM.int8(), section 2.1", "https://arxiv.org/abs/2208.07339"),
}
MOST = 100_000
WHY = "checks of single parts that fail say why"


def generator(rng: random.Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.getrandbits(60))


def normal(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(rng))


def alike(answer: Any, right: Tensor, tolerance: float = 1e-5) -> bool:
    return close(answer, right.double(), tolerance, tolerance)


def relatively(answer: Any, right: Tensor) -> bool:
    """Nearly equal in proportion: of scales, which may be small."""
    return close(answer, right.double(), 0.0, 1e-4)


def judge(answer: Tensor, right: Tensor, otherwise: str, wrong: Iterable[tuple[str, Tensor]] = ()) -> None:
    """Fail unless ``answer`` is ``right``, with the message of the misconception that gives this answer."""
    if alike(answer, right):
        return
    for message, value in wrong:
        expect(alike(value, right) or not alike(answer, value), message)
    raise Fail(otherwise)


# ---------------------------------------------------------------------------------------------------------------------
# 1 · cache


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


# ---------------------------------------------------------------------------------------------------------------------
# 2 · sampling


def drive_probabilities(student, cases):
    return [student.token_probabilities(logits.clone(), **options).clone() for logits, options in cases]


def drive_sample(student, probabilities, u):
    return student.sample(probabilities, u).clone()


def law(z: Tensor, temperature: float = 1.0, top_k: Any = None, top_p: Any = None, min_p: Any = None) -> Tensor:
    """The distribution of one row of logits, token by token, in float64."""
    z = z.double()
    p = ((z - z.max()) / temperature).softmax(0)
    order = sorted(range(len(z)), key=lambda i: (-float(p[i]), i))
    if top_k is not None:
        p = only(p, order[:top_k])
    if top_p is not None and top_p < 1:
        kept, total = [], 0.0
        for i in order:
            if total >= top_p:
                break
            kept.append(i)
            total += float(p[i])
        p = only(p, kept)
    if min_p is not None:
        p = only(p, [i for i in order if p[i] >= min_p * p.max()])
    return p


def only(p: Tensor, kept: list[int]) -> Tensor:
    q = torch.zeros_like(p)
    q[kept] = p[kept]
    return q / q.sum()


def laws(z: Tensor, **options: Any) -> Tensor:
    return torch.stack([law(row, **options) for row in z])


@drawn
def some_logits(rng, rows: int, vocab: int, options: dict[str, Any] | tuple) -> Tensor:
    """Logits for which no threshold of these options is near a token."""
    options = dict(options)
    while True:
        z = normal(rng, rows, vocab) * 1.5
        before = laws(z, **{k: v for k, v in options.items() if k in ("temperature", "top_k")})
        p = before.sort(-1, descending=True).values
        gaps = p.diff(dim=-1).abs()
        clear = bool((gaps[p[:, :-1] > 0] > 1e-4).all())
        if options.get("top_p"):
            clear &= bool(((p.cumsum(-1) - options["top_p"]).abs() > 2e-3).all())
        if options.get("min_p"):
            clear &= bool(((p / p[:, :1] - options["min_p"]).abs() > 2e-3).all())
        if options.get("top_k") and options.get("top_p"):  # which of them comes first shows in some row
            alone, both = (
                laws(z, **{k: v for k, v in options.items() if k in names}).count_nonzero(-1)
                for names in (("temperature", "top_p", "min_p"), ("temperature", "top_k", "top_p", "min_p"))
            )
            clear &= bool((alone.clamp(max=options["top_k"]) != both).any())
        if clear:
            return z


def ask_law(student, z: Tensor, **options: Any) -> Tensor:
    return ask(student, [like(z)], drive_probabilities, [(z, options)])[0]


NOT_ONE = "what is left is not divided by its sum"


def expect_probabilities(student, rng: random.Random) -> None:
    """The softmax alone, by which all the rest is judged."""
    z = normal(rng, 3, 6)
    message = "without any option the probabilities are not softmax(logits) over the last dimension"
    judge(
        ask_law(student, z),
        laws(z),
        message,
        [("the softmax runs over the batch: it is over the vocabulary", z.double().softmax(0))],
    )


@check("sampling", points=1, title="temperature", seconds=5)
def temperature_divides(student, rng):
    expect_probabilities(student, rng)
    for temperature in (rng.uniform(0.4, 0.7), rng.uniform(1.5, 2.5)):
        z = normal(rng, 3, 6)
        p = laws(z)
        wrong = [
            ("temperature has no effect", p),
            ("logits are multiplied by the temperature: they are divided by it", laws(z * temperature)),
            ("probabilities are divided by the temperature: divide the logits, before the softmax", p / temperature),
            ("probabilities are divided by the temperature and by their sum: divide the logits", p),
        ]
        judge(
            ask_law(student, z, temperature=temperature),
            laws(z, temperature=temperature),
            "softmax(logits / temperature) is asked for",
            wrong,
        )


@check("sampling", points=1, title="top-k", seconds=5)
def top_k_keeps_k(student, rng):
    expect_probabilities(student, rng)
    k = rng.randint(2, 4)
    z = some_logits(rng, 4, 8, ())
    p = laws(z)
    last = p.flatten().sort(descending=True).values[k - 1]
    wrong = [
        ("top_k has no effect", p),
        (f"{NOT_ONE} after top_k", torch.where(laws(z, top_k=k) > 0, p, 0.0)),
        ("top_k keeps one token too few", laws(z, top_k=k - 1)),
        ("top_k keeps one token too many", laws(z, top_k=k + 1)),
        (
            "top_k keeps the least probable tokens",
            torch.stack([only(r, sorted(range(8), key=lambda i: float(r[i]))[:k]) for r in p]),
        ),
        ("top_k is taken over the whole batch: it is k of each row", torch.nan_to_num(torch.where(p >= last, p, 0.0))),
    ]
    judge(
        ask_law(student, z, top_k=k),
        laws(z, top_k=k),
        "top_k does not keep the k most probable tokens of each row",
        wrong,
    )
    z = normal(rng, 2, 5)
    with blame("a top_k above the size of the vocabulary fails: it keeps all", lambda: None):
        judge(
            ask_law(student, z, top_k=9), laws(z), "a top_k above the size of the vocabulary does not keep all tokens"
        )


@drawn
def wrong_top_p(rng, top_p: float) -> tuple[Tensor, Tensor, list[tuple[str, Tensor]]]:
    """Logits, their distribution, and those of misconceptions, of which no two are alike."""
    while True:
        z = some_logits(rng, 4, 8, (("top_p", top_p),))
        p, right = laws(z), laws(z, top_p=top_p)
        fewer, more, least = [], [], []
        for row, kept in zip(p, (right > 0).sum(-1).tolist(), strict=True):
            order = row.argsort(descending=True).tolist()
            fewer.append(only(row, order[: max(kept - 1, 1)]))
            more.append(only(row, order[: kept + 1]))
            up = row.sort().values.cumsum(0)
            least.append(only(row, row.argsort()[: int((up < top_p).sum()) + 1].tolist()))
        wrong = [
            ("top_p has no effect", p),
            ("top_p drops the token that reaches p: it is kept", torch.stack(fewer)),
            ("top_p keeps one token more than those that reach p", torch.stack(more)),
            (f"{NOT_ONE} after top_p", torch.where(right > 0, p, 0.0)),
            ("top_p keeps the least probable tokens: begin with the most probable", torch.stack(least)),
        ]
        values = [right, *(value for _, value in wrong)]
        if not any(alike(x, y) for x, y in combinations(values, 2)):
            return z, right, wrong


@check("sampling", points=1, title="top-p", seconds=5)
def top_p_reaches_p(student, rng):
    expect_probabilities(student, rng)
    top_p = round(rng.uniform(0.5, 0.7), 3)
    z, right, wrong = wrong_top_p(rng, top_p)
    judge(
        ask_law(student, z, top_p=top_p),
        right,
        "top_p does not keep the fewest tokens whose probabilities reach p",
        wrong,
    )
    k = rng.randint(3, 4)
    while True:
        z = some_logits(rng, 4, 8, (("top_k", k), ("top_p", top_p)))
        first_p = laws(laws(z, top_p=top_p).log(), top_k=k)
        if not alike(first_p, laws(z, top_k=k, top_p=top_p)):
            break
    both = laws(z, top_k=k, top_p=top_p)
    message = (
        "top_p after top_k looks at the probabilities before top_k: those that are left are divided by their sum first"
    )
    expect(alike(ask_law(student, z, top_k=k, top_p=top_p), both), message)


@check("sampling", points=0.5, title="min-p", seconds=5)
def min_p_of_the_greatest(student, rng):
    expect_probabilities(student, rng)
    m = round(rng.uniform(0.12, 0.2), 3)
    z = some_logits(rng, 4, 8, (("min_p", m),))
    p, right = laws(z), laws(z, min_p=m)
    wrong = [
        ("min_p has no effect", p),
        (
            "min_p is a share of the greatest probability, and here it is a probability",
            torch.stack([only(r, (r >= m).nonzero().flatten().tolist()) for r in p]),
        ),
        (f"{NOT_ONE} after min_p", torch.where(right > 0, p, 0.0)),
    ]
    judge(
        ask_law(student, z, min_p=m),
        right,
        "min_p does not keep the tokens with at least that share of the greatest probability",
        wrong,
    )


@drawn
def some_draws(rng, rows: int, vocab: int) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities with zeros in them, random numbers that are near no border, and the ids that they lead to."""
    p = torch.rand(rows, vocab, generator=generator(rng)).double() + 0.05
    p[torch.rand(rows, vocab, generator=generator(rng)) < 0.25] = 0
    p[:, vocab // 2] += 0.1
    p = (p / p.sum(-1, keepdim=True)).float()
    ends = (p.double() / p.double().sum(-1, keepdim=True)).cumsum(-1)
    u, ids = torch.empty(rows), torch.empty(rows, dtype=torch.int64)
    for row in range(rows):
        while True:
            x = rng.random()
            if bool(((ends[row] - x).abs() > 1e-3).all()):
                break
        u[row], ids[row] = x, next(i for i in range(vocab) if x < ends[row, i])
    return p, u, ids


def expect_ids(answer: Tensor, ids: Tensor, message: str) -> None:
    expect(answer.shape == ids.shape, "sample does not return one id for each u, in the shape of u")
    expect(answer.dtype == torch.int64, "sample does not return ids of the dtype int64")
    expect(same(answer, ids), message)


@check("sampling", points=1.5, title="drawing a token", seconds=5)
def draws_by_u(student, rng):
    p, u, ids = some_draws(rng, 60, 6)
    answer = ask(student, some_tensor(MOST), drive_sample, p, u)
    expect(not same(answer, p.argmax(-1)), "sample takes the most probable token, whatever u is")
    order = p.sort(dim=-1, descending=True, stable=True).indices
    sorted_ends = p.gather(-1, order).double().cumsum(-1)
    by_size = order.gather(-1, (sorted_ends <= u[:, None]).sum(-1, keepdim=True).clamp(max=5)).squeeze(-1)
    expect(
        not same(answer, by_size),
        "sample lays the probabilities out in the order of their size: it is the order of ids",
    )
    expect_ids(answer, ids, "sample does not return the first token whose cumulative probability exceeds u")
    shaped = ask(student, some_tensor(MOST), drive_sample, p.reshape(3, 20, 6), u.reshape(3, 20))
    expect_ids(shaped, ids.reshape(3, 20), "sample gives other ids when there are more dimensions in front")
    first = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0])
    for value, right in ((0.0, 1), (0.25, 3), (0.125, 1), (1 - 2**-24, 3)):
        answer = ask(student, some_tensor(MOST), drive_sample, first, torch.tensor(value))
        expect(answer.shape == (), "sample does not return a single id for one row and one u")
        expect(int(answer) in (1, 3), "sample draws a token of probability 0, where u is 0 or nearly 1 or at a border")
        expect(
            int(answer) == right, "u equal to a border belongs to the next token: intervals begin with their left end"
        )
    short = torch.full((30,), 1 / 30, dtype=torch.float32)
    short[-1], short[0] = 0, 2 / 30 - 1e-4  # the sum is a little below 1
    answer = ask(student, some_tensor(MOST), drive_sample, short, torch.tensor(1 - 2**-24))
    expect(0 <= int(answer) < 29, "sample draws a token of probability 0, or none, where rounded sums end below 1")


@check("sampling", points=0.5, title="equal logits, top_p = 1, a temperature of 0 and near it", seconds=5)
def sampling_at_the_edges(student, rng):
    expect_probabilities(student, rng)
    z = normal(rng, 2, 6)
    z[:, 2:4] = z.max() + 1  # two are the greatest
    z += 100  # so that 100 / 2e-38 is more than float32 holds
    z[1] -= rng.uniform(20, 30)  # each row has a greatest logit of its own
    for temperature, what in ((0.0, "0"), (2e-38, "near 0")):
        with blame(f"a temperature of {what} fails", lambda: None):
            form = [some_tensor(MOST)]
            (p,) = ask(student, form, drive_probabilities, [(z, {"temperature": temperature})])
        expect(
            p.shape == z.shape and bool(p.isfinite().all()),
            f"a temperature of {what} gives numbers that are not finite",
        )
        if temperature == 0:
            right = torch.zeros(2, 6)
            right[:, 2] = 1
            expect(p.dtype == torch.float32, "a temperature of 0 gives no probabilities of the dtype float32")
            judge(p, right, "a temperature of 0 is greedy: probability 1 for the first of the greatest logits")
        else:
            right = torch.zeros(2, 6)
            right[:, 2:4] = 0.5
            judge(
                p,
                right,
                "a temperature near 0 does not leave the greatest logits alone: subtract the greatest before dividing",
            )
    same_everywhere = torch.zeros(2, 6) + rng.uniform(-3, 3)
    for options, kept in (({"top_k": 2}, 2), ({"top_p": 0.45}, 3)):
        right = torch.zeros(2, 6)
        right[:, :kept] = 1 / kept
        name = "top_k" if "top_k" in options else "top_p"
        p = ask_law(student, same_everywhere, **options)
        expect(
            not alike(p, torch.full((2, 6), 1 / 6)),
            f"{name} keeps all of several equal tokens: it keeps no more than it needs",
        )
        judge(p, right, f"of equal tokens {name} does not keep those with the lowest ids")
    message = "top_p keeps one token too many where the more probable ones reach p exactly"
    judge(ask_law(student, same_everywhere[:, :4], top_p=0.5), torch.tensor([[0.5, 0.5, 0, 0]] * 2), message)
    (p,) = ask(student, [some_tensor(MOST)], drive_probabilities, [(z, {"min_p": 1.0})])
    right = torch.zeros(2, 6)
    right[:, 2:4] = 0.5
    expect(alike(p, right), "min_p = 1 does not keep the greatest ones: a token with exactly that share stays")
    z = torch.cat([torch.tensor([12.0, 11.0]), -normal(rng, 30).abs() * 2 - 4])[None]
    p = ask_law(student, z, top_p=1.0)
    expect(bool((p > 0).all()), "top_p = 1 removes the least probable tokens: rounded sums reach 1 before the end")
    banned = normal(rng, 2, 6)
    banned[:, 1] = -torch.inf
    judge(ask_law(student, banned), laws(banned), "a logit of -inf is not a probability of 0")
    with blame("logits in bfloat16 fail", lambda: None):
        (p,) = ask(student, [some_tensor(MOST)], drive_probabilities, [(z.bfloat16(), {"temperature": 0.7})])
    expect(p.dtype == torch.float32, "probabilities of bfloat16 logits do not come in float32")
    judge(p, laws(z.bfloat16(), temperature=0.7), "probabilities of bfloat16 logits are not computed in float32")
    (p,) = ask(student, [some_tensor(MOST)], drive_probabilities, [(z.double(), {"temperature": 0.7})])
    expect(p.dtype == torch.float64, "probabilities of float64 logits do not come in float64")


def drive_options(student, logits, cases):
    said = []
    for options in cases:
        try:
            student.token_probabilities(logits, **options)
            said.append("taken")
        except ValueError:
            said.append("refused")
        except Exception:
            said.append("another")
    return said


@check("sampling", points=0.5, title="values that cannot be, and logits stay as they are", seconds=5)
def sampling_refuses(student, rng):
    expect_probabilities(student, rng)
    good = [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1.0}, {"min_p": 0.0}, {"min_p": 1.0}]
    bad = [{"temperature": -0.5}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"min_p": -0.1}, {"min_p": 1.1}]
    said = ask(student, list_of(str, len(good) + len(bad)), drive_options, normal(rng, 2, 6), good + bad)
    expect(said[: len(good)] == ["taken"] * len(good), "an option at the end of what is allowed is refused")
    for answer, options in zip(said[len(good) :], bad, strict=True):
        (name,) = options
        expect(answer == "refused", f"a {name} that cannot be must raise a ValueError")
    z = normal(rng, 2, 6)
    kept = ask(student, like(z), drive_kept, z, {"temperature": 0.7, "top_k": 3, "top_p": 0.8, "min_p": 0.1})
    expect(same(kept, z), "token_probabilities changes the logits that it is given")


def drive_kept(student, logits, options):
    student.token_probabilities(logits, **options)
    return logits


@check("sampling", points=19, title="together: a distribution out of logits, and tokens out of it", seconds=10)
def sampling_together(student, rng):
    kinds = [
        (("temperature", 0.8),),
        (("temperature", 1.3), ("top_k", 4)),
        (("temperature", 0.9), ("top_p", 0.8)),
        (("temperature", 1.2), ("min_p", 0.15)),
        (("temperature", 0.9), ("top_k", 6), ("top_p", 0.85), ("min_p", 0.05)),
    ]
    cases = [(some_logits(rng, 4, 9, kind), dict(kind)) for kind in kinds]
    answers = ask(student, [like(z) for z, _ in cases], drive_probabilities, cases)
    for (z, options), answer in zip(cases, answers, strict=True):
        names = " and ".join(options)
        message = f"together: the distribution with {names} is not the right one; {WHY}"
        expect(alike(answer, laws(z, **options), 1e-4), message)
    p, u, ids = some_draws(rng, 80, 7)
    message = f"together: sample does not return the tokens in whose parts u falls; {WHY}"
    expect_ids(ask(student, some_tensor(MOST), drive_sample, p, u), ids, message)


# ---------------------------------------------------------------------------------------------------------------------
# 3 · speculative decoding


def drive_speculative(student, cases):
    """The tokens for each row of random numbers, in each case."""
    said = []
    for draft, q, p, us in cases:
        said.append(
            [[int(token) for token in student.speculative_step(draft.clone(), q.clone(), p.clone(), u)] for u in us]
        )
    return said


Case = tuple[Tensor, Tensor, Tensor, Tensor]


def steps(student, cases: list[Case]) -> list[list[list[int]]]:
    parts = [list_of(list_of(int, least=0, most=40), len(us)) for *_, us in cases]
    return ask(student, parts, drive_speculative, cases)


def right_step(draft: Tensor, q: Tensor, p: Tensor, u: Tensor) -> list[int]:
    """The accept rule, token by token (2211.17192, algorithm 1)."""
    kept = []
    for i, x in enumerate(draft.tolist()):
        if not float(u[i]) * float(q[i, x]) < float(p[i, x]):
            return [*kept, drawn_from((p[i].double() - q[i].double()).clamp(min=0), float(u[-1]))]
        kept.append(x)
    return [*kept, drawn_from(p[len(kept)].double(), float(u[-1]))]


def drawn_from(weights: Tensor, u: float) -> int:
    ends = weights.cumsum(0) / weights.sum()
    return next(i for i in range(len(ends)) if u < float(ends[i]) and float(weights[i]) > 0)


@drawn
def a_pair(rng, vocab: int = 4) -> tuple[Tensor, Tensor]:
    """(p, q) in sixteenths, such that a grid of sixteenths hits every interval of accepting and of drawing exactly."""
    while True:
        cuts = sorted(rng.sample(range(17 + vocab - 2), vocab - 1))
        counts = [b - a - 1 for a, b in zip([-1, *cuts], [*cuts, 16 + vocab - 1], strict=True)]
        p = torch.tensor(counts) / 16
        q = torch.tensor(rng.sample([8, 4, 2, 2], 4)) / 16
        more = int(((p - q).clamp(min=0).sum() * 16).item())
        if more in (4, 8):
            return p, q


GRID = (torch.arange(16) + 0.5) / 16


@check("speculative", points=2, title="which drafts are accepted", seconds=10)
def acceptance(student, rng):
    p, q = (torch.rand(40, 5, generator=generator(rng)) + 0.05 for _ in range(2))
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    cases, wanted, ratios = [], [], []
    for i in range(40):
        x = i % 5
        ratio = float(p[i, x] / q[i, x])
        us = [ratio * 0.98, ratio * 1.02] if ratio < 0.95 else [0.98 * min(ratio, 1.0)]
        last = rng.random()
        while x in (drawn_from(w.double(), last) for w in (p[i], q[i], (p[i] - q[i]).abs())):
            last = rng.random()  # so that a draft that comes out has been accepted, whatever else takes its place
        cases.append(
            (torch.tensor([x]), q[i : i + 1], torch.stack([p[i], p[i]]), torch.tensor([[u, last] for u in us]))
        )
        wanted.append([True, False][: len(us)])
        ratios.append(ratio)
    found = [[row[:1] == [i % 5] for row in rows] for i, rows in enumerate(steps(student, cases))]
    flat = []
    for row, right, r in zip(found, wanted, ratios, strict=True):
        flat += [(a, b, r) for a, b in zip(row, right, strict=True)]
    expect(any(a for a, *_ in flat), "no draft is ever accepted")
    expect(not all(a for a, *_ in flat), "every draft is accepted: x is accepted with probability min(1, p(x) / q(x))")
    below = [(a, b) for a, b, r in flat if r < 0.95]
    expect(
        not all(a != b for a, b in below),
        "drafts are accepted where u is above p(x) / q(x): they are where it is below",
    )
    greedy = all(a == (r >= 1) for a, _, r in flat)
    expect(not greedy, "drafts with p(x) < q(x) are always refused: they are accepted with probability p(x) / q(x)")
    message = "drafts are accepted with probability p(x), or less: it is p(x) / q(x), for they were drawn from q"
    expect(any(a for a, _ in below), message)
    expect(all(a == b for a, b, _ in flat), "a draft is not accepted exactly where u * q(x) < p(x)")
    never = torch.tensor([0.5, 0.0, 0.5]), torch.tensor([[0.25, 0.5, 0.25]])
    (rows,) = steps(student, [(torch.tensor([1]), never[1], torch.stack([never[0]] * 2), torch.tensor([[0.0, 0.3]]))])
    expect(len(rows[0]) == 1, "a draft that the target never says is accepted when u is 0: the comparison is <, not <=")


LAST = 1 - 2**-20  # with this number every draft that can be refused is
FILLED = "the place of a refused draft is filled from "


@drawn
def a_refusal(rng) -> tuple[int, Tensor, Tensor, list[int], list[tuple[str, list[int]]]]:
    """A draft x with q and p, what replaces it for each number of the grid, and what misconceptions put there: all differ."""
    while True:
        p, q = a_pair(rng)
        x = int((q - p).argmax())
        rest = p.clone()
        rest[x] = 0
        more = (p - q).clamp(min=0)
        laws = {
            f"{FILLED}p: it is filled from max(p - q, 0), divided by its sum": p,
            f"{FILLED}q": q,
            f"{FILLED}p without that draft: it is max(p - q, 0), divided by its sum": rest,
            f"{FILLED}|p - q|: where q is greater there is nothing": (p - q).abs(),
        }
        right, *others = ([drawn_from(w.double(), float(u)) for u in GRID] for w in (more, *laws.values()))
        first = [drawn_from(more.double(), LAST)] * len(GRID)
        message = "the token at the end is drawn with the random number of the draft: it is drawn with the last one"
        wrong = [*zip(laws, others, strict=True), (message, first)]
        if not any(a == b for a, b in combinations([right, *others, first], 2)):
            return x, p, q, right, wrong


@check("speculative", points=2, title="what takes the place of a refused draft", seconds=10)
def replacement(student, rng):
    for _ in range(3):
        x, p, q, right, wrong = a_refusal(rng)
        us = torch.stack([torch.full((len(GRID),), LAST), GRID], dim=1)
        (rows,) = steps(student, [(torch.tensor([x]), q[None], torch.stack([p, p.flip(0)]), us)])
        expect(all(rows), "a step returns no token: there is always one")
        got = [row[0] for row in rows]
        expect(not all(token == x for token in got), "a refused draft is kept")
        if got == right:
            continue
        for message, tokens in wrong:
            expect(got != tokens, message)
        message = "max(p - q, 0), divided by its sum, with the last random number"
        raise Fail(f"the place of a refused draft is not filled from {message}")


def drive_step_kept(student, draft, q, p, u):
    student.speculative_step(draft, q, p, u)
    return [draft, q, p, u]


@check("speculative", points=2, title="all accepted, all refused, no draft", seconds=10)
def both_ends(student, rng):
    k = rng.randint(2, 3)
    p = torch.rand(k + 1, 5, generator=generator(rng)) + 0.05
    p /= p.sum(-1, keepdim=True)
    draft = torch.tensor([rng.randrange(5) for _ in range(k)])
    us = torch.cat([torch.full((8, k), 0.999), (torch.arange(8)[:, None] + 0.5) / 8], dim=1)
    (rows,) = steps(student, [(draft, p[:k].clone(), p, us)])
    whole = draft.tolist()
    message = "when all drafts are accepted there are no more tokens than drafts: one from the last row of p is missing"
    expect(not all(row == whole for row in rows), message)
    expect(all(row[:k] == whole for row in rows), "a draft with p(x) = q(x) does not come out: it is always accepted")
    expect(all(len(row) == k + 1 for row in rows), "when all k drafts are accepted there are not k + 1 tokens")
    last, before = ([drawn_from(p[i].double(), float(u[-1])) for u in us] for i in (k, k - 1))
    got = [row[-1] for row in rows]
    expect(got == last or got != before, "the token after the last draft is drawn from p[k - 1]: it comes from p[k]")
    expect(got == last, "the token after the last draft is not drawn from p[k] with the last random number")
    never = p.clone()
    never[torch.arange(k), draft] = 0
    never /= never.sum(-1, keepdim=True)
    (rows,) = steps(student, [(draft, p[:k].clone(), never, us)])
    expect(
        all(len(row) == 1 for row in rows), "after the first refused draft more tokens come: those after it are dropped"
    )
    with blame("a step without drafts (k = 0) fails", lambda: None):
        (rows,) = steps(student, [(draft[:0], p[:0], p[k:], us[:, k:])])
    expect([row for row in rows] == [[token] for token in last], "a step without drafts is not one token from p[0]")
    form = [like(draft), like(p[:k]), like(p), like(us[0])]
    kept = ask(student, form, drive_step_kept, draft, p[:k], p, us[0])
    expect(
        all(same(a, b) for a, b in zip(kept, (draft, p[:k], p, us[0]), strict=True)),
        "speculative_step changes what it is given",
    )


@check("speculative", points=19, title="together: exactly the target's distribution", seconds=20)
def speculative_together(student, rng):
    p, q = a_pair(rng)
    after = a_pair(rng)[0]
    grid = torch.cartesian_prod(GRID, GRID)
    cases = [(torch.tensor([x]), q[None], torch.stack([p, after]), grid) for x in range(4)]
    said = steps(student, cases)
    first = torch.zeros(4, dtype=torch.float64)
    for x, rows in enumerate(said):
        for row in rows:
            expect(
                bool(row) and all(0 <= token < 4 for token in row),
                "a step returns no token, or one that is not in the vocabulary",
            )
            first[row[0]] += float(q[x]) / 256
    message = (
        "together: summed over all drafts and random numbers, the first token does not have the target's distribution; "
    )
    expect(close(first, p.double(), 1e-9), message + WHY)
    message = f"together: a step does not return the tokens that the rule gives for its random numbers; {WHY}"
    for (draft, one, both, us), rows in zip(cases, said, strict=True):
        expect(rows == [right_step(draft, one, both, u) for u in us], message)
    several = []
    for _ in range(12):
        pairs = [a_pair(rng) for _ in range(3)]
        ps, qs = torch.stack([*(pair[0] for pair in pairs), after]), torch.stack([pair[1] for pair in pairs])
        draft = torch.tensor([drawn_from(row.double(), rng.random()) for row in qs])
        us = torch.tensor([[rng.choice(GRID.tolist()) for _ in range(4)] for _ in range(24)])
        several.append((draft, qs, ps, us))
    for (draft, qs, ps, us), rows in zip(several, steps(student, several), strict=True):
        wanted = [right_step(draft, qs, ps, u) for u in us]
        expect(rows == wanted, "together: with three drafts " + message.removeprefix("together: "))


# ---------------------------------------------------------------------------------------------------------------------
# 4 · paged cache


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
    expect(said[0] == 10, "fork takes blocks: it shares those that there are")
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
    expect(count == 5, message)
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


# ---------------------------------------------------------------------------------------------------------------------
# 5 · quantize


def drive_quantize(student, weight, group_size):
    q, scales = student.quantize_int8(weight, group_size)
    return [q.clone(), scales.clone(), student.dequantize_int8(q, scales).clone(), weight]


def drive_dequantize(student, q, scales):
    return student.dequantize_int8(q, scales).clone()


@drawn
def some_weights(rng, out: int, groups: int, size: int) -> Tensor:
    """Weights between two integers, none of which lies near one or near the middle; the groups are of different sizes."""
    reach = (10 ** (torch.rand(out, groups, 1, generator=generator(rng)) * 2 - 1)).double()
    q = torch.randint(-126, 127, (out, groups, size), generator=generator(rng)).double()
    q[..., 0] = torch.where(torch.rand(out, groups, generator=generator(rng)) < 0.5, -127.0, 127.0)
    off = torch.rand(out, groups, size, generator=generator(rng)).double() * 0.6 - 0.3
    off += 0.1 * off.sign()
    off[..., 0] = 0
    places = torch.rand(out, groups, size, generator=generator(rng)).argsort(-1)
    return ((q + off) * reach / 127).gather(-1, places).flatten(1).float()


def right_quantize(weight: Tensor, size: int) -> tuple[Tensor, Tensor]:
    groups = weight.double().unflatten(1, (-1, size))
    scales = groups.abs().amax(-1) / 127
    return (groups / scales.clamp(min=1e-30)[..., None]).round().flatten(1), scales


FORM = [some_tensor(MOST)] * 4


def expect_form(q: Tensor, scales: Tensor, weight: Tensor, size: int) -> None:
    expect(q.shape == weight.shape and q.dtype == torch.int8, "q is not an int8 tensor of the shape of the weight")
    expect(
        tuple(scales.shape) == (weight.shape[0], weight.shape[1] // size),
        "scales have not the shape (out, in // group_size)",
    )


def expect_a_quantization(student, rng: random.Random) -> None:
    """One row, one group, whose integers differ when they are cut off or rounded down."""
    while True:
        weight = some_weights(rng, 1, 1, 8)
        right, scale = right_quantize(weight, 8)
        whole = weight.double() / scale
        whole += 1e-3 * whole.sign()  # the greatest is 127, and not a little less
        cut, down = whole.trunc(), (whole + 2e-3).floor()
        if not any(alike(x, y) for x, y in combinations((right, cut, down), 2)):
            break
    q, scales, back, _ = ask(student, FORM, drive_quantize, weight, 8)
    expect(
        q.shape == weight.shape and scales.numel() == 1, "one row of one group does not give q (1, in) and one scale"
    )
    expect(not relatively(scales, scale * 127 / 128), "the scale is max |w| / 128: it is max |w| / 127")
    expect(not relatively(scales, scale * 127), "the scale is max |w|: it is divided by 127")
    expect(
        not relatively(scales, (weight.amax() - weight.amin()).double().reshape(1, 1) / 255),
        "the scale is the whole range / 255: symmetric is max |w| / 127",
    )
    expect(relatively(scales.reshape(1, 1), scale), "the scale of one group is not max |w| / 127")
    expect(not alike(q, cut), "integers are cut off: round to the nearest one")
    expect(not alike(q, down), "integers are rounded down: round to the nearest one")
    expect(alike(q, right), "q is not round(w / scale)")
    expect(alike(back.reshape(1, 8), right * scale, 1e-4), "dequantize_int8 does not return q * scale")


@check("quantize", points=1, title="a scale for each group of a row", seconds=5)
def groups_of_a_row(student, rng):
    expect_a_quantization(student, rng)
    weight = some_weights(rng, 4, 4, 4)
    q, scales, _, _ = ask(student, FORM, drive_quantize, weight, 4)
    expect_form(q, scales, weight, 4)
    right = right_quantize(weight, 4)[1]
    rows = right.amax(-1, keepdim=True).expand(4, 4)
    expect(not relatively(scales, rows), "one scale serves a whole row: each group has its own")
    down = weight.double().unflatten(0, (-1, 4)).abs().amax(1) / 127
    across = weight.double().reshape(4, 4, 4).abs().amax(1) / 127
    expect(
        not relatively(scales.flatten(), down.flatten()), "groups run down the columns: they are neighbours in a row"
    )
    expect(not relatively(scales, across), "a group holds every n-th weight of a row: it holds neighbours")
    expect(relatively(scales, right), "the scales are not those of group_size neighbours in each row")
    _, scales, _, _ = ask(student, FORM, drive_quantize, weight * 1e-4, 4)
    message = "small weights get too large a scale: nothing is added to it, whatever the group holds"
    expect(relatively(scales, right_quantize(weight * 1e-4, 4)[1]), message)


@check("quantize", points=1, title="a group of zeros", seconds=5)
def zero_group(student, rng):
    expect_a_quantization(student, rng)
    weight = some_weights(rng, 3, 2, 4)
    weight[1, :4] = 0
    q, scales, back, _ = ask(student, FORM, drive_quantize, weight, 4)
    expect_form(q, scales, weight, 4)
    expect(bool(scales.isfinite().all()), "the scale of a group of zeros is not finite")
    expect(bool((q[1, :4] == 0).all()), "a group of zeros does not become integers of 0")
    expect(
        bool(back.isfinite().all()) and bool((back[1, :4] == 0).all()), "a group of zeros does not come back as zeros"
    )
    right, scale = right_quantize(weight, 4)
    there = scale > 0
    expect(relatively(scales[there], scale[there]), "a group of zeros changes the scales of others")
    expect(alike(q, right), "a group of zeros changes the integers of others")


@check("quantize", points=0.5, title="dtypes, and the weight stays as it is", seconds=5)
def quantize_dtypes(student, rng):
    expect_a_quantization(student, rng)
    weight = some_weights(rng, 4, 2, 8)
    for name in ("float32", "bfloat16", "float16"):
        given = weight.to(getattr(torch, name))
        with blame(f"weights in {name} fail", lambda: None):
            q, scales, back, after = ask(student, FORM, drive_quantize, given, 8)
        expect(
            scales.dtype == torch.float32 and back.dtype == torch.float32,
            f"for weights in {name} scales or weights do not come back in float32",
        )
        right, scale = right_quantize(given, 8)
        expect(relatively(scales, scale), f"the scales of weights in {name} are rounded: compute in float32")
        near = (q.double() - right).abs().amax() <= 1 and (q.double() - right).abs().mean() < 0.05
        expect(bool(near), f"the integers of weights in {name} are not computed in float32")
        expect(same(after, given), "quantize_int8 changes the weight that it is given")


def drive_group_sizes(student, weight, sizes):
    said = []
    for size in sizes:
        try:
            student.quantize_int8(weight, size)
            said.append("taken")
        except ValueError:
            said.append("refused")
        except Exception:
            said.append("another")
    return said


@check("quantize", points=0.5, title="rows that cannot be cut", seconds=5)
def rows_that_cannot_be_cut(student, rng):
    expect_a_quantization(student, rng)
    said = ask(student, list_of(str, 6), drive_group_sizes, some_weights(rng, 2, 3, 4), [1, 12, 5, 24, 0, -4])
    expect(said[:2] == ["taken"] * 2, "a group of one weight, or of a whole row, is refused")
    message = "a group_size that does not divide the rows, or is below 1, must raise a ValueError"
    expect(said[2:] == ["refused"] * 4, message)


@check("quantize", points=7, title="together: to int8 and back", seconds=5)
def quantize_together(student, rng):
    size = rng.choice([4, 8])
    weight = some_weights(rng, 6, 4, size)
    q, scales, back, _ = ask(student, FORM, drive_quantize, weight, size)
    expect_form(q, scales, weight, size)
    right, scale = right_quantize(weight, size)
    expect(relatively(scales, scale), f"together: the scales are not those of the groups; {WHY}")
    expect(alike(q, right), f"together: the integers are not round(w / scale); {WHY}")
    whole = (right.unflatten(1, (-1, size)) * scale[..., None]).flatten(1)
    expect(back.shape == weight.shape, "together: the weights do not come back in their shape")
    expect(alike(back, whole, 1e-4), f"together: the weights that come back are not integers times scales; {WHY}")
    bound = scale.repeat_interleave(size, dim=1) / 2
    expect(
        bool(((back - weight).abs() <= bound * 1.001).all()), f"together: an error is larger than half a scale; {WHY}"
    )
    other = torch.randint(-127, 128, (3, 12), generator=generator(rng)).to(torch.int8)
    factors = torch.rand(3, 3, generator=generator(rng)) + 0.1
    given = (other.double().unflatten(1, (3, 4)) * factors.double()[..., None]).flatten(1)
    answer = ask(student, some_tensor(MOST), drive_dequantize, other, factors)
    expect(
        alike(answer, given, 1e-4),
        f"together: dequantize_int8 of other integers and scales is not their product; {WHY}",
    )
