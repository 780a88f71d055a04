"""What `sampling` asks for: a distribution with its filters, and the token that a random number draws from it.

One file, though a long one: all its checks compare with the one `law` below.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import ask, blame, like, list_of, same, some_tensor
from cs336lite.course.spec import Fail, check, drawn, expect

from .inputs import MOST, WHY, alike, generator, normal


def judge(answer: Tensor, right: Tensor, otherwise: str, wrong: Iterable[tuple[str, Tensor]] = ()) -> None:
    """Fail unless ``answer`` is ``right``, with the message of the misconception that gives this answer."""
    if alike(answer, right):
        return
    for message, value in wrong:
        expect(alike(value, right) or not alike(answer, value), message)
    raise Fail(otherwise)


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
    if not alike(ask_law(student, z, top_k=k, top_p=top_p), both):
        expect(alike(ask_law(student, z, top_k=k), laws(z, top_k=k)), "top_p after top_k is judged when top_k is right")
        raise Fail(message)


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


def expect_temperature(student, rng: random.Random) -> None:
    z = normal(rng, 3, 6)
    right = alike(ask_law(student, z, temperature=0.7), laws(z, temperature=0.7))
    expect(right, "this is judged when a temperature of 0.7 divides the logits, and it does not yet")


@check("sampling", points=0.5, title="equal logits, top_p = 1, a temperature of 0 and near it", seconds=5)
def sampling_at_the_edges(student, rng):
    expect_probabilities(student, rng)
    z = normal(rng, 2, 6)
    z[:, 2:4] = z.max() + 1  # two are the greatest
    z += 100  # so that 100 / 2e-38 is more than float32 holds
    z[1] -= rng.uniform(20, 30)  # each row has a greatest logit of its own
    for temperature, what in ((0.0, "of 0"), (2e-38, "near 0")):
        with blame(f"a temperature {what} fails", lambda: None):
            form = [some_tensor(MOST)]
            (p,) = ask(student, form, drive_probabilities, [(z, {"temperature": temperature})])
        expect(
            p.shape == z.shape and bool(p.isfinite().all()),
            f"a temperature {what} gives numbers that are not finite",
        )
        if temperature == 0:
            right = torch.zeros(2, 6)
            right[:, 2] = 1
            expect(p.dtype == torch.float32, "a temperature of 0 gives no probabilities of the dtype float32")
            judge(p, right, "a temperature of 0 is greedy: probability 1 for the first of the greatest logits")
        else:
            right = torch.zeros(2, 6)
            right[:, 2:4] = 0.5
            if not alike(p, right):
                expect_temperature(student, rng)
                raise Fail(
                    "a temperature near 0 does not leave the greatest logits alone: subtract the greatest before dividing"
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
        if not alike(p, right):
            number = (p > 0).sum(-1)
            expect(bool((number == kept).all()), f"of equal tokens {name} does not keep as many as it should")
            expect(bool((p[:, :kept] == 0).any()), f"{NOT_ONE} after {name}, of equal tokens")
            raise Fail(f"of equal tokens {name} does not keep those with the lowest ids")
    two = torch.tensor([rng.sample([0.0] * 20 + [2.0] * 24, 44) for _ in range(8)])
    most, least = (((two == size) & ((two == size).cumsum(dim=-1) <= 9)).float() / 9 for size in (2.0, 0.0))
    p = ask_law(student, two, top_k=9)
    if not alike(p, least):  # that is judged above
        judge(p, most, "of many equal tokens top_k does not keep those with the lowest ids: sort with stable=True")
    message = "top_p keeps one token too many where the more probable ones reach p exactly"
    judge(ask_law(student, same_everywhere[:, :4], top_p=0.5), torch.tensor([[0.5, 0.5, 0, 0]] * 2), message)
    (p,) = ask(student, [some_tensor(MOST)], drive_probabilities, [(z, {"min_p": 1.0})])
    right = torch.zeros(2, 6)
    right[:, 2:4] = 0.5
    message = "min_p = 1 does not keep the greatest ones and no others: a token with exactly that share stays"
    expect(alike(p, right), message)
    z = torch.cat([torch.tensor([[12.0, 11.0]] * 8), -normal(rng, 8, 30).abs() * 2 - 4], dim=1)
    p = ask_law(student, z, top_p=1.0)
    expect(bool((p > 0).all()), "top_p = 1 removes the least probable tokens: rounded sums reach 1 before the end")
    banned = normal(rng, 2, 6)
    banned[:, 1] = -torch.inf
    judge(ask_law(student, banned), laws(banned), "a logit of -inf is not a probability of 0")
    with blame("logits in bfloat16 fail", lambda: None):
        (p,) = ask(student, [some_tensor(MOST)], drive_probabilities, [(z.bfloat16(), {"temperature": 0.7})])
    expect(p.dtype == torch.float32, "probabilities of bfloat16 logits do not come in float32")
    if not alike(p, laws(z.bfloat16(), temperature=0.7)):
        expect_temperature(student, rng)
        raise Fail("probabilities of bfloat16 logits are not computed in float32")
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
