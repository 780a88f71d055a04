"""What `speculative` asks for: a step whose tokens are distributed as the large model's own."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from cs336lite.course.answers import ask, blame, close, like, list_of, same
from cs336lite.course.spec import Fail, check, drawn, expect

from .inputs import WHY, generator


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
    (rows,) = steps(student, [(torch.tensor([1]), never[1], torch.stack([never[0]] * 2), torch.tensor([[0.0, 0.1]]))])
    expect(
        rows[0][:1] != [1], "a draft that the target never says is accepted when u is 0: the comparison is <, not <="
    )


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
        most = [int(more.argmax())] * len(GRID)
        right, *others = ([drawn_from(w.double(), float(u)) for u in GRID] for w in (more, *laws.values()))
        first = [drawn_from(more.double(), LAST)] * len(GRID)
        message = "the token at the end is drawn with the random number of the draft: it is drawn with the last one"
        greatest = "the token at the end is the most probable one, whatever the last number is: it is drawn with it"
        wrong = [*zip(laws, others, strict=True), (message, first), (greatest, most)]
        if not any(a == b for a, b in combinations([right, *others, first, most], 2)):
            return x, p, q, right, wrong


@check("speculative", points=2, title="what takes the place of a refused draft", seconds=10)
def replacement(student, rng):
    for _ in range(3):
        x, p, q, right, wrong = a_refusal(rng)
        us = torch.stack([torch.full((len(GRID),), LAST), GRID], dim=1)
        (rows,) = steps(student, [(torch.tensor([x]), q[None], torch.stack([p, p.flip(0)]), us)])
        expect(all(rows), "a step returns no token: there is always one")
        got = [row[0] for row in rows]
        expect(not all(token == x for token in got), "a draft that must be refused is kept")
        if got == right:
            continue
        for message, tokens in wrong:
            expect(got != tokens, message)
        message = "max(p - q, 0), divided by its sum, with the last random number"
        raise Fail(f"the place of a refused draft is not filled from {message}")


def drive_step_kept(student, draft, q, p, u):
    student.speculative_step(draft, q, p, u)
    return [draft, q, p, u]


def a_target(rng, k: int, lasts: Tensor) -> tuple[Tensor, list[int], list[int]]:
    """p of k + 1 rows, and what ``lasts`` draw from its last row and from the one before: neither the same, nor what they
    draw from the last row in the order of its size."""
    while True:
        p = torch.rand(k + 1, 5, generator=generator(rng)) + 0.05
        p /= p.sum(-1, keepdim=True)
        sizes, ids = p[k].double().sort(descending=True)
        last, before, by_size = ([drawn_from(law, float(u)) for u in lasts] for law in (*p[[k, k - 1]].double(), sizes))
        if last not in (before, [int(ids[place]) for place in by_size]):
            return p, last, before


@check("speculative", points=2, title="all accepted, all refused, no draft", seconds=10)
def both_ends(student, rng):
    k, lasts = rng.randint(2, 3), (torch.arange(8) + 0.5) / 8
    p, last, before = a_target(rng, k, lasts)
    draft = torch.tensor([rng.randrange(5) for _ in range(k)])
    us = torch.cat([torch.full((8, k), 0.999), lasts[:, None]], dim=1)
    (rows,) = steps(student, [(draft, p[:k].clone(), p, us)])
    whole = draft.tolist()
    message = "when all drafts are accepted there are no more tokens than drafts: one from the last row of p is missing"
    expect(not all(row == whole for row in rows), message)
    expect(all(row[:k] == whole for row in rows), "a draft with p(x) = q(x) does not come out: it is always accepted")
    expect(all(len(row) == k + 1 for row in rows), "when all k drafts are accepted there are not k + 1 tokens")
    got = [row[-1] for row in rows]
    expect(got == last or got != before, "the token after the last draft is drawn from p[k - 1]: it comes from p[k]")
    expect(got == last, "the token after the last draft is not drawn from p[k] with the last random number")
    never = p.clone()
    never[torch.arange(k), draft] = 0
    never /= never.sum(-1, keepdim=True)
    (rows,) = steps(student, [(draft, p[:k].clone(), never, us)])
    expect(
        all(len(row) == 1 for row in rows),
        "more tokens come after the first draft that must be refused: it is replaced, and those after it are dropped",
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
