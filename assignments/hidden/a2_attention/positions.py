"""What `positions` asks for: rope at given positions, and a cache.

The last token is judged wherever the causal mask does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cs336lite.course.spec import Fail, check, expect

from .asking import expect_shape, judge, judge_together, near, only
from .definition import (
    causal_of,
    join_right,
    module_of,
    split_by_view,
    split_interleaved,
    split_right,
    turned,
    weights_for,
)
from .inputs import drawn, normal, one_head
from .module import (
    OUTPUT,
    attended_anyhow,
    attends_alone,
    forgiven,
    last,
    like_any,
    mask_taken,
    masks_of,
    outputs,
    seen_by,
    uncaused,
)


def whole(tensor: Tensor) -> Tensor:
    return tensor


@drawn
def turned_module(rng) -> tuple[Any, ...]:
    weights = weights_for(rng, 8, 2, 2, 4)
    return weights, normal(rng, 3, 5, 8)


def turning(positions: Tensor, keys: Tensor | None = None) -> Callable:
    """A ``prepare`` that turns queries by ``positions`` and keys by these, or by others."""
    keys = positions if keys is None else keys

    def turn(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        at, of = (p[:, None] if p.ndim == 2 else p for p in (positions, keys))
        return turned(q, at), turned(k, of), v

    return turn


@check("positions", points=1.5, title="rope turns queries and keys")
def rope_turns(student, rng):
    weights, x = turned_module(rng)
    at = torch.arange(5)
    said = outputs(student, 8, 2, {"causal": False, "stand_ins": ["rope"]}, weights, [{"x": x}])
    out = said["out"][0]
    expect(len(said["rope"]) > 0, "rope is not used: queries and keys must be turned by it")

    def other(prepare: Callable) -> Callable[[], Tensor]:
        return lambda: module_of(x, weights, 2, prepare=prepare)

    def flat(z: Tensor) -> Tensor:
        return split_right(turned(join_right(z), at), 2)

    wrong = [
        (other(lambda q, k, v: (q, k, v)), "what rope returns is not used: it gives back the turned tensor"),
        (other(lambda q, k, v: (turned(q, at), k, v)), "only the queries are turned: rope applies to the keys as well"),
        (other(lambda q, k, v: (q, turned(k, at), v)), "only the keys are turned: rope applies to the queries as well"),
        (
            other(lambda q, k, v: (turned(q, at), turned(k, at), turned(v, at))),
            "rope turns the values too: only queries and keys",
        ),
        (
            other(lambda q, k, v: (flat(q), flat(k), v)),
            "rope turns all heads together: split first, each head is turned by itself",
        ),
        (other(turning(at + 1)), "positions are counted from 1: the first token stands at 0"),
    ]
    expected = module_of(x, weights, 2, prepare=turning(at))
    if forgiven(out, expected, x, weights, 2, prepare=turning(at)):
        return
    judge(out, expected, "queries and keys are not turned by the positions 0, 1, 2, …", wrong, what=OUTPUT, at=last)


def turned_anyhow(
    x: Tensor, weights: dict, at: Tensor, source: Tensor | None = None, keys: Tensor | None = None
) -> list:
    """The output of one head, for what is turned, right or wrong: `rope_turns` judges that, and here positions are."""
    both = turning(at, keys)

    def of(turn: Callable) -> list[Callable[[], Tensor]]:
        return attended_anyhow(x, weights, context=source, prepare=turn)

    def values_too(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        return *both(q, k, v)[:2], both(q, v, k)[1]

    return [
        *of(both),
        *of(values_too),
        *of(lambda q, k, v: (both(q, k, v)[0], k, v)),
        *of(lambda q, k, v: (q, both(q, k, v)[1], v)),
        *of(lambda q, k, v: (q, k, v)),
    ]


@check("positions", points=0.5, title="positions that are given")
def given_positions(student, rng):
    weights, x = one_head(rng, 5)
    one = torch.arange(5) + rng.randrange(3, 9)
    each = torch.stack([torch.arange(5) + start for start in rng.sample(range(9), 2)])
    for given in (one, each):
        calls = [{"x": x, "token_positions": given}]
        said = uncaused(student, 4, 1, {"stand_ins": ["rope"]}, weights, calls)
        told = told_to_rope(said, 2)
        message = "token_positions has no effect: rope gets other positions"
        expect(not all(positions == [[*range(5)]] * 2 for positions in told), message)
        message = "rope must get the positions that are given, (seq,) or (batch, seq)"
        expect(all(positions == given.expand(2, 5).tolist() for positions in told), message)
        makes = turned_anyhow(x, weights, given)
        expect(like_any(said["out"][0], x, makes), f"{message}: the output is that of others")
    plain, moved = outputs(student, 4, 1, {}, weights, [{"x": x}, {"x": x, "token_positions": one}])["out"]
    expect_shape(moved, x.shape, OUTPUT)
    makes = [make for mask in masks_of(5) for make in attended_anyhow(x, weights, allowed=mask[None, None])]
    expect(like_any(plain, x, makes, at=whole), "this is judged when one head attends without rope")
    message = (
        "the causal mask compares given positions with the numbers of the keys: compare them with the positions of the "
        "keys, or tokens see those after them"
    )
    expect(near(moved, plain), message)


def two_orders(rng) -> list[list[int]]:
    """Of five positions: two, neither of which is 0, 1, 2, … ."""
    while True:
        orders = [rng.sample(range(5), 5) for _ in range(2)]
        if len({*map(tuple, orders), tuple(range(5))}) == 3:
            return orders


@check("positions", points=0.5, title="positions in any order: who sees whom")
def positions_in_any_order(student, rng):
    weights, x = one_head(rng, 5)
    _, at_once = outputs(student, 4, 1, {}, weights, [{"x": x}, {"x": x, "token_positions": torch.arange(5)}])["out"]
    taken = mask_taken(student, x, weights)  # right or wrong
    expect_shape(at_once, x.shape, OUTPUT)
    expect(near(at_once, seen_by(x, weights, taken)), "this is judged when positions 0, 1, 2, … change nothing")
    orders = torch.tensor(two_orders(rng))
    for given in (orders, orders[0]):
        (out,) = outputs(student, 4, 1, {}, weights, [{"x": x, "token_positions": given}])["out"]
        each = given.expand(2, 5)
        if near(out, module_of(x, weights, 1, allowed=(each[:, None] <= each[..., None])[:, None])):
            continue  # right here, whatever the mask is otherwise
        rows = [taken[order][:, order] for order in each]
        wrong = [
            (
                lambda: seen_by(x, weights, taken),
                "the causal mask goes by the order of the tokens: it is p_j <= p_i, by the positions that are given",
            ),
            (
                lambda rows=rows: seen_by(x, weights, rows[0]),
                "the positions of the first text make the causal mask of all of them",
            ),
        ]
        expected = module_of(x, weights, 1, allowed=torch.stack(rows)[:, None])
        message = "with positions in any order, a token must see those at its position or before: p_j <= p_i"
        judge(out, expected, message, wrong, what=OUTPUT)


def told_to_rope(said: dict, batch: int) -> list[list[list[int]]]:
    """The positions in each call of rope, for each text of the batch in order, whatever the layout of the heads."""
    expect(len(said["rope"]) > 0, "rope is not used: queries and keys must be turned by it")
    fit = all(at.numel() % batch == 0 for at in said["rope"])
    expect(fit, "rope must get a part of each text: (batch, num_heads, seq, d_head)")
    return [[sorted(set(text)) for text in positions.reshape(batch, -1).tolist()] for positions in said["rope"]]


@drawn
def pieces_of_text(rng) -> tuple[Any, ...]:
    """A text in pieces, for one head without rope."""
    weights, x = one_head(rng, 8)
    cuts = rng.choice([[3, 2, 1, 2], [2, 3, 1, 2], [3, 1, 2, 2]])
    return weights, list(x.split(cuts, dim=1)), x


@check("positions", points=1, title="in pieces or at once: who sees whom")
def pieces_see_what_came_before(student, rng):
    weights, pieces, x = pieces_of_text(rng)
    calls = [{"x": piece, "cache": True} for piece in pieces]
    uncaused(student, 4, 1, {}, weights, calls)  # if this fails, it is not the causal mask
    problems = dict.fromkeys(
        ["RuntimeError", "ValueError", "IndexError"],
        "with a cache there are more keys than queries: the causal mask has a row for each query, a column for each key",
    )
    said = outputs(student, 4, 1, {}, weights, calls, problems)
    expect(len(said["cache"]) > 0, "the cache is not used: cache.update takes new keys and values and returns all")
    out = said["out"]
    for answer, piece in zip(out, pieces, strict=True):
        expect_shape(answer, piece.shape, OUTPUT)
    taken = mask_taken(student, x, weights)
    ends = torch.tensor([piece.shape[1] for piece in pieces]).cumsum(0).tolist()
    parts = [
        module_of(piece, weights, 1, context=x[:, :end], allowed=taken[None, None, end - piece.shape[1] : end, :end])
        for piece, end in zip(pieces, ends, strict=True)
    ]
    if near(torch.cat(out, 1), torch.cat(parts, 1)):
        return
    if near(torch.cat([part[:, -1] for part in out]), torch.cat([part[:, -1] for part in parts])):
        raise Fail("with a cache, tokens see those after them: the causal mask must begin after what is in the cache")
    first = causal_of(8)[: pieces[1].shape[1], : ends[1]]
    if near(out[1], module_of(pieces[1], weights, 1, allowed=first[None, None], context=x[:, : ends[1]])):
        raise Fail("with a cache, tokens do not see all that comes before them: the causal mask begins at 0 again")
    alone = [seen_by(piece, weights, causal_of(piece.shape[1])) for piece in pieces]
    message = "what the cache returns is not used: keys of earlier pieces are lost"
    expect(not near(torch.cat(out, 1), torch.cat(alone, 1)), message)
    raise Fail("a text in pieces, with a cache, must give what it gives at once")


@check("positions", points=0.5, title="in pieces or at once: positions")
def positions_with_a_cache(student, rng):
    weights, x = one_head(rng, 6)
    x = x[:1]
    calls = [{"x": piece, "cache": True} for piece in x.split([3, 1, 2], dim=1)]
    said = outputs(student, 4, 1, {"causal": False, "stand_ins": ["rope"]}, weights, calls)
    told = [only(positions) for positions in told_to_rope(said, 1)]
    expect(len(said["cache"]) > 0, "the cache is not used: cache.update takes new keys and values and returns all")
    expect([0] not in told and [0, 1] not in told, "positions begin at 0 in every piece: number on from cache.length")
    ahead = "positions run ahead: read cache.length before cache.update changes it"
    expect([3, 4, 5] not in told and [4] not in told and [6, 7] not in told, ahead)
    right = [[0, 1, 2], [3], [4, 5], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]  # all keys at once: the next check's affair
    number_on = "the tokens of a piece must be numbered on from cache.length"
    expect(all(positions in right for positions in told) and [3] in told and [4, 5] in told, number_on)
    at = torch.arange(6)
    for out, (start, end) in zip(said["out"], ((0, 3), (3, 4), (4, 6)), strict=True):
        own, piece = at[start:end], x[:, start:end]
        kept = turned_anyhow(piece, weights, own, x[:, :end], at[:end])
        lost = turned_anyhow(piece, weights, own)  # what the cache returns is not used: another check's affair
        expect(like_any(out, piece, [*kept, *lost]), f"{number_on}: the output is that of others")


@check("positions", points=1, title="what the cache is given")
def what_the_cache_is_given(student, rng):
    attends_alone(student, rng)
    weights = weights_for(rng, 8, 4, 2, 2)
    x = normal(rng, 3, 5, 8)
    options = {"stand_ins": ["rope"], "num_kv_heads": 2}
    said = outputs(student, 8, 4, options, weights, [{"x": x, "cache": True}])
    expect(len(said["cache"]) > 0, "the cache is not used: cache.update takes new keys and values and returns all")
    expect(len(said["cache"]) == 1, "cache.update must be called once a call")
    k, v = said["cache"][0]
    repeated = "the cache gets keys and values that are repeated already: repeat after update, or it saves no memory"
    expect(list(k.shape) != [3, 4, 5, 2], repeated)
    shape = "the cache gets keys and values of the shape (batch, num_kv_heads, seq, d_head)"
    expect(list(k.shape) == [3, 2, 5, 2] and list(v.shape) == [3, 2, 5, 2], shape)
    keys, values = (split_right(x @ weights[f"{name}_proj.weight"].mT, 2) for name in "kv")
    at = torch.arange(5)
    plain = near(k, keys) or near(k, split_by_view(x @ weights["k_proj.weight"].mT, 2))
    expect(not (plain and said["rope"]), "the cache gets keys that rope has not turned: turn them first, once for all")
    expect(not plain, "the keys in the cache are not turned: rope is not used")
    swapped = near(k, values) or near(v, turned(keys, at))
    expect(not swapped, "the cache gets values in place of keys: update(k, v)")
    expect(not near(v, turned(values, at)), "rope turns the values too: only queries and keys")
    by_view = [split_by_view(x @ weights[f"{name}_proj.weight"].mT, 2) for name in "kv"]
    dealt = [split_interleaved(x @ weights[f"{name}_proj.weight"].mT, 2) for name in "kv"]
    message = "the cache gets other keys and values than those of this call: of x, projected, and the keys turned"
    known = [(keys, values), by_view, dealt]
    expect(any(near(k, turned(old, at)) and near(v, new) for old, new in known), message)


@check("positions", points=5, title="together: a text in pieces, as when one is written")
def generation_together(student, rng):
    weights = weights_for(rng, 8, 4, 2, 2)
    x = 0.5 * normal(rng, 2, 7, 8)  # turning makes scores large: an exp of them must not overflow
    options = {"num_kv_heads": 2, "stand_ins": ["rope", "default"]}
    calls = [{"x": piece, "cache": True, "dtype": "float32"} for piece in x.split([3, 2, 1, 1], dim=1)]
    out = outputs(student, 8, 4, options, weights, calls)["out"]
    for answer, call in zip(out, calls, strict=True):
        expect_shape(answer, call["x"].shape, OUTPUT)
    expected = module_of(x, weights, 4, 2, allowed=causal_of(7)[None, None], prepare=turning(torch.arange(7)))
    where = "a text in pieces, with rope, a cache and shared heads, and your own attention"
    judge_together(torch.cat(out, 1), expected, where, OUTPUT)
