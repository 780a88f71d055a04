"""Exercises of the lectures: wrong answers fail their checks, and are told what is wrong with them."""

import codecs
import math
from functools import partial

import numpy as np
import pytest
import torch
from helpers import ROOT

from cs336lite.course.check import public_spec, run_checks
from cs336lite.course.spec import LocalStudent


def told(lecture: str, exercise: str, source: str, **names) -> list[str]:
    """The messages of the checks that an answer fails."""
    namespace = dict(names)
    exec(source, namespace)
    results = run_checks(public_spec(ROOT, lecture), LocalStudent(namespace), exercise)
    return [result.message for result in results if not result.passed]


def to_bytes(text):
    return [bytes([byte]) for byte in text.encode()]


def join(word, pair):
    made = []
    for token in word:
        if made and (made[-1], token) == pair:
            made[-1] += token
        else:
            made.append(token)
    return made


in_01 = partial(told, "01_tokenizer", to_bytes=to_bytes, join=join, codecs=codecs)

SPELL = "def spell(text, merges):\n w = {start}\n for p in {merges}:\n  {step}\n return {result}"
STREAM = (
    "def stream(tokens):\n d = codecs.getincrementaldecoder('utf-8')(errors='replace')\n"
    " for t in tokens: yield d.decode(t)\n yield d.decode(b'', final=True)"
)
HELD_BACK_TOO_LONG = """
def stream(tokens):
    kept = b""
    for token in tokens:
        kept += token
        try:
            text, kept = kept.decode(), b""
            yield text
        except UnicodeDecodeError:
            pass
    yield kept.decode(errors="replace")
"""


def spell(start="to_bytes(text)", merges="merges", step="w = join(w, p)", result="w"):
    return SPELL.format(start=start, merges=merges, step=step, result=result)


def best(key):
    return f"def best_pair(counts): return max(counts, key={key})"


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        ("utf8_length", "def utf8_length(c): return 1 if c < 128 else 2 if c < 2048 else 3 if c < 65536 else 4"),
        ("best_pair", "def best_pair(counts): return sorted((n, pair) for pair, n in counts.items())[-1][1]"),
        ("spell", spell()),
        ("group_digits", "def group_digits(n): return ([] if not n else group_digits(n[:-3]) + [n[-3:]])"),
        ("stream", STREAM),
    ],
)
def test_right_answers_in_other_words_pass(exercise, source):
    assert in_01(exercise, source) == []


@pytest.mark.parametrize(
    ("exercise", "source", "message"),
    [
        ("utf8_length", "def utf8_length(c): return 1 + (c > 0x80) + (c > 0x800) + (c > 0x10000)", ">= and not >"),
        ("utf8_length", "def utf8_length(c): return 1 + (c >= 80) + (c >= 800) + (c >= 10000)", "are hexadecimal"),
        ("utf8_length", "def utf8_length(c): return (c.bit_length() + 7) // 8", "where a character begins"),
        ("utf8_length", "def utf8_length(c): pass", "is a `return` missing"),
        ("best_pair", best("counts.get"), "you took the first"),
        ("best_pair", best("lambda p: (counts[p], p[0])"), "the second parts decide"),
        ("best_pair", best("lambda p: (counts[p], p[0] + p[1])"), "part by part"),
        ("best_pair", best("lambda p: p"), "the count comes first"),
        ("best_pair", "def best_pair(counts): return max(counts.values())", "return the pair that has it"),
        ("best_pair", "def best_pair(counts): return max(counts.items(), key=lambda i: i[::-1])", "without its count"),
        ("spell", spell(start="list(text)"), "begin with to_bytes"),
        ("spell", spell(step="join(w, p)"), "keep what it returns"),
        ("spell", spell(merges="reversed(merges)"), "b c was learned before a b"),
        ("spell", spell(step="return join(w, p)"), "a later merge was left out"),
        ("spell", spell(result="b''.join(w)"), "not the text joined again"),
        ("group_digits", "def group_digits(n): return [n[i:i + 3] for i in range(0, len(n), 3)]", "from the left"),
        ("group_digits", "def group_digits(n): return f'{int(n):,}'.split(',')", "zeros in front"),
        ("group_digits", "def group_digits(n): return list(map(int, f'{int(n):,}'.split(',')))", "no number"),
        ("stream", "def stream(tokens): return b''.join(tokens).decode(errors='replace')", "returned one text"),
        ("stream", "def stream(tokens): yield b''.join(tokens).decode(errors='replace')", "after each token"),
        ("stream", STREAM.replace("stream(", "lazy(") + "\ndef stream(tokens): return list(lazy(tokens))", "nothing came out"),
        ("stream", STREAM.rpartition("\n")[0], "never became a character and are lost"),
        ("stream", "def stream(tokens):\n for t in tokens: yield t.decode(errors='replace')", "hold them back"),
        ("stream", "def stream(tokens): yield from tokens", "decode the bytes"),
        ("stream", HELD_BACK_TOO_LONG, "hold back 0xE4 alone"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_told_what_is_wrong(exercise, source, message):
    assert any(message in said for said in in_01(exercise, source)), in_01(exercise, source)


in_04 = partial(told, "04_hyperparameters", torch=torch, np=np)

ADAMW = """
def adamw_step(p, g, m, v, t, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g ** 2
    mean, square = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return p * (1 - lr * weight_decay) - lr * mean / (square.sqrt() + eps), m, v
"""
EDGE = """
def edge(diverges, low, high, tries=20):
    for _ in range(tries):
        middle = (low + high) / 2
        if diverges(middle):
            high = middle
        else:
            low = middle
    return (low + high) / 2
"""
SCALE = """
def noise_scale(square_small, square_large, small, large):
    noise = (square_small - square_large) / (1 / small - 1 / large)
    return noise / (square_large - noise / large)
"""
SAVED = "def steps_saved(batch, critical): return (1 + critical / batch) / (1 + critical / (2 * batch))"


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        ("adamw_step", ADAMW),
        ("adamw_step", ADAMW.replace("m = betas[0] * m + (1 - betas[0]) * g", "m = m.lerp(g, 1 - betas[0])")),
        ("adamw_step", ADAMW.replace("p * (1 - lr * weight_decay) -", "p - lr * weight_decay * p -")),
        ("edge", EDGE),
        ("edge", EDGE.replace("return (low + high) / 2", "return low")),
        ("noise_scale", SCALE),
        ("steps_saved", SAVED),
        ("steps_saved", "def steps_saved(batch, critical): return 2 * (batch + critical) / (2 * batch + critical)"),
    ],
)
def test_right_answers_to_04_in_other_words_pass(exercise, source):
    assert in_04(exercise, source) == []


@pytest.mark.parametrize(
    ("exercise", "source", "message"),
    [
        ("adamw_step", ADAMW.replace(", m, v\n", ", mean, square\n"), "the m that is kept is the mean itself"),
        ("adamw_step", ADAMW.replace("- lr * mean", "+ lr * mean"), "uphill"),
        (
            "adamw_step",
            ADAMW.replace("(1 - betas[0] ** t), v", "1, v").replace("(1 - betas[1] ** t)", "1"),
            "divide them by",
        ),
        ("adamw_step", ADAMW.replace("square.sqrt()", "square"), "the root of v is missing"),
        ("adamw_step", ADAMW.replace(" ** t", ""), "p after step"),
        ("adamw_step", ADAMW.replace("p * (1 - lr * weight_decay)", "p"), "do not decay"),
        ("adamw_step", ADAMW.replace("lr * weight_decay", "weight_decay"), "multiplied by the learning rate"),
        (
            "adamw_step",
            ADAMW.replace("m = betas[0]", "g = g + weight_decay * p\n    m = betas[0]", 1).replace(
                "p * (1 - lr * weight_decay)", "p"
            ),
            "not AdamW",
        ),
        ("adamw_step", ADAMW.replace("m = betas[0] * m +", "m *= betas[0]\n    m = m +"), "changed in place"),
        ("edge", EDGE.replace("if diverges", "if not diverges"), "wrong way"),
        ("edge", EDGE.replace("range(tries)", "range(1)"), "the search found"),
        ("edge", EDGE.replace("range(tries)", "range(50)"), "as many as `tries`"),
        (
            "noise_scale",
            SCALE.replace("noise / (square_large - noise / large)", "(square_large - noise / large) / noise"),
            "turn it round",
        ),
        (
            "noise_scale",
            SCALE.replace("noise / (square_large - noise / large)", "noise / square_large"),
            "still has noise",
        ),
        (
            "steps_saved",
            "def steps_saved(batch, critical): return (1 + critical / (2 * batch)) / (1 + critical / batch)",
            "other way round",
        ),
        ("steps_saved", "def steps_saved(batch, critical): return 2.0", "2.0000 came"),
    ],
)
def test_a_wrong_answer_to_04_is_told_what_is_wrong(exercise, source, message):
    assert source not in (ADAMW, EDGE, SCALE)
    assert any(message in said for said in in_04(exercise, source)), in_04(exercise, source)


in_05 = partial(told, "05_stability", torch=torch, F=torch.nn.functional, np=np)

Z_LOSS = "def z_loss(x, t, zeta):\n z = torch.logsumexp(x, -1)\n return {}"
CLIP = "def clip_all(gs, most):\n n = {}\n return [g * min(1.0, most / float(n)) for g in gs]"


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        ("z_loss", Z_LOSS.format("F.cross_entropy(x, t) + zeta * (z * z).mean()")),
        ("capped", "def capped(x, cap): return torch.tanh(x.mul(1 / cap)).mul(cap)"),
        ("clip_all", CLIP.format("torch.cat([g.flatten() for g in gs]).norm()")),
        ("robust_jump", "def robust_jump(v, b):\n m = np.median(b)\n return (v - m) / np.median(np.abs(np.array(b) - m)) / 1.4826"),
    ],
)  # fmt: skip
def test_right_answers_to_05_in_other_words_pass(exercise, source):
    assert in_05(exercise, source) == []


@pytest.mark.parametrize(
    ("exercise", "source", "message"),
    [
        ("z_loss", Z_LOSS.format("(z - x.gather(-1, t[:, None])[:, 0]).sum()"), "the mean is asked for"),
        ("z_loss", Z_LOSS.format("F.nll_loss(z[:, None] - x, t)"), "the sign is wrong"),
        ("z_loss", Z_LOSS.format("F.cross_entropy(x, t) + zeta * z.mean()"), "not squared"),
        ("z_loss", Z_LOSS.format("F.cross_entropy(x, t) + zeta * z.mean() ** 2"), "then take the mean"),
        ("z_loss", Z_LOSS.format("F.cross_entropy(x, t)"), "the spring is missing"),
        ("z_loss", "def z_loss(x, t, zeta):\n z = x.exp().sum(-1).log()\n return (z - x.gather(-1, t[:, None])[:, 0] + zeta * z * z).mean()", "overflows"),
        ("capped", "def capped(x, cap): return x.clamp(-cap, cap)", "that cuts"),
        ("capped", "def capped(x, cap): return torch.tanh(x / cap)", "multiply by the cap again"),
        ("capped", "def capped(x, cap): return cap * torch.tanh(x)", "divide by the cap inside"),
        ("clip_all", "def clip_all(gs, most): return [g * min(1.0, most / float(g.norm())) for g in gs]", "not one for each"),
        ("clip_all", CLIP.format("sum(g.norm() for g in gs)"), "root of the sum of squares"),
        ("clip_all", CLIP.format("sum((g**2).sum() for g in gs)"), "take the root"),
        ("clip_all", "def clip_all(gs, most):\n n = torch.cat(gs).norm()\n return [g * most / n for g in gs]", "nothing is made longer"),
        ("clip_all", "def clip_all(gs, most):\n n = torch.cat(gs).norm()\n return [g.mul_(min(1.0, most / float(n))) for g in gs]", "were changed"),
        ("robust_jump", "def robust_jump(v, b):\n m = np.median(b)\n return (v - m) / np.median(np.abs(np.array(b) - m))", "1.4826 is missing"),
        ("robust_jump", "def robust_jump(v, b):\n m = np.median(b)\n return (v - m) / np.median(np.abs(np.array(b) - m)) * 1.4826", "divide by 1.4826"),
        ("robust_jump", "def robust_jump(v, b):\n m = np.median(b)\n return abs(v - m) / np.median(np.abs(np.array(b) - m)) / 1.4826", "keep the sign"),
    ],
)  # fmt: skip
def test_a_wrong_answer_to_05_is_told_what_is_wrong(exercise, source, message):
    assert any(message in said for said in in_05(exercise, source)), in_05(exercise, source)


in_06 = partial(told, "06_moe", torch=torch, F=torch.nn.functional, np=np)

SORT = "def sort_by_expert(chosen, n):\n f = chosen.flatten()\n return {}"
BIAS = "def bias_step(bias, counts, rate): return {}"
KEPT = "def kept(chosen, n, capacity):\n f = chosen.flatten()\n m = F.one_hot(f, n).cumsum(0).gather(1, f[:, None])[:, 0]\n return {}"
HASH = "def hash_load(counts, table, n):\n w = F.one_hot(table, n).sum(1) * counts[:, None]\n return {}"
SENT = "def all_to_all_bytes(tokens, top_k, d_model, devices, bytes_each=2): return {}"


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        ("sort_by_expert", SORT.format("f.sort(stable=True).indices, (f[:, None] == torch.arange(n)).sum(0)")),
        ("bias_step", BIAS.format("torch.where(counts > counts.float().mean(), bias - rate, torch.where(counts < counts.float().mean(), bias + rate, bias))")),
        ("kept", KEPT.format("(m < capacity + 1).reshape(chosen.shape)")),
        ("hash_load", HASH.format("w.sum(0) / w.sum()")),
        ("all_to_all_bytes", SENT.format("2 * bytes_each * d_model * tokens * top_k * (devices - 1) / devices")),
    ],
)  # fmt: skip
def test_right_answers_to_06_in_other_words_pass(exercise, source):
    assert in_06(exercise, source) == []


@pytest.mark.parametrize(
    ("exercise", "source", "message"),
    [
        ("sort_by_expert", SORT.format("f.sort(stable=True).values, torch.bincount(f, minlength=n)"), "those are the sorted experts"),
        ("sort_by_expert", SORT.format("f.argsort(stable=True) // chosen.shape[1], torch.bincount(f, minlength=n)"), "not the tokens"),
        ("sort_by_expert", SORT.format("f.argsort(stable=True), torch.bincount(f)"), "used or not"),
        ("sort_by_expert", SORT.format("torch.flip(torch.flip(f, [0]).argsort(stable=True, descending=True), [0]).neg() + len(f) - 1, torch.bincount(f, minlength=n).flip(0)"), "counts"),
        ("sort_by_expert", SORT.format("torch.cat([torch.where(f == e)[0].flip(0) for e in range(n)]), torch.bincount(f, minlength=n)"), "stable=True"),
        ("bias_step", BIAS.format("bias - rate * torch.sign(counts.float().mean() - counts)"), "the sign"),
        ("bias_step", BIAS.format("bias + rate * (counts.float().mean() - counts)"), "a fixed step"),
        ("bias_step", BIAS.format("rate * torch.sign(counts.float().mean() - counts)"), "added to the bias"),
        ("bias_step", BIAS.format("bias + rate * torch.sign(counts.float().quantile(0.5) - counts)"), "not with the median"),
        ("kept", KEPT.format("(m > capacity).view_as(chosen)"), "mask of the dropped"),
        ("kept", KEPT.format("(m < capacity).view_as(chosen)"), "count from 1"),
        ("kept", KEPT.format("(m <= capacity + 1).view_as(chosen)"), "not three"),
        ("kept", "def kept(chosen, n, capacity):\n f = chosen.T.flatten()\n m = F.one_hot(f, n).cumsum(0).gather(1, f[:, None])[:, 0]\n return (m <= capacity).view(chosen.T.shape).T", "GShard's order"),
        ("hash_load", HASH.format("F.one_hot(table, n).sum((0, 1)) / table.numel()"), "as often as it occurs"),
        ("hash_load", HASH.format("w.sum(0).float()"), "divide by the sum"),
        ("hash_load", HASH.format("w.sum(0) / counts.sum()"), "not to k"),
        ("hash_load", "def hash_load(counts, table, n):\n w = F.one_hot(table[:, 0], n) * counts[:, None]\n return w.sum(0) / w.sum()", "all k columns"),
        ("all_to_all_bytes", SENT.format("bytes_each * d_model * tokens * top_k * (devices - 1) / devices"), "answers come back"),
        ("all_to_all_bytes", SENT.format("2.0 * bytes_each * d_model * tokens * top_k"), "those rows stay"),
        ("all_to_all_bytes", SENT.format("2 * bytes_each * d_model * tokens * (devices - 1) / devices"), "k rows"),
        ("all_to_all_bytes", SENT.format("4 * d_model * tokens * top_k * (devices - 1) / devices"), "use bytes_each"),
    ],
)  # fmt: skip
def test_a_wrong_answer_to_06_is_told_what_is_wrong(exercise, source, message):
    assert any(message in said for said in in_06(exercise, source)), in_06(exercise, source)


in_08 = partial(told, "08_scaling", np=np, math=math)

LINE = "def power_law(x, y):\n a, b = np.polyfit({}, {}, 1)\n return {}"
VALLEY = "def best_size(n, l):\n c2, c1, _ = np.polyfit({}, l, 2)\n return {}"
SUSPECT = (
    "def suspect(n, l):\n if {}: return 'too few sizes'\n c2, c1, _ = np.polyfit(np.log(n), l, 2)\n"
    " if {}: return 'opens downwards'\n u = -c1 / (2 * c2)\n return 'fine' if {} else 'minimum outside'"
)
SPLIT = "def best_split(A, B, a, b, C):\n n = {} * (C / {}) ** ({})\n return n, {}"
FACTOR, POWER = "(a * A / (b * B)) ** (1 / (a + b))", "b / (a + b)"


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        ("power_law", "def power_law(x, y):\n u, v = np.log(x), np.log(y)\n a = np.cov(u, v)[0, 1] / u.var(ddof=1)\n return np.exp(v.mean() - a * u.mean()), a"),
        ("steps_for", "def steps_for(flops, size, batch_tokens): return int(flops / 6 / size / batch_tokens + 0.5)"),
        ("best_size", "def best_size(n, l):\n p = np.polynomial.Polynomial.fit(np.log(n), l, 2)\n return float(np.exp(p.deriv().roots()[0]))"),
        ("suspect", SUSPECT.format("len(set(n.tolist())) < 4", "c2 <= 0", "n.min() < np.exp(u) < n.max()")),
        ("best_split", SPLIT.format(FACTOR, 6, POWER, "C / 6 / n")),
    ],
)  # fmt: skip
def test_right_answers_to_08_in_other_words_pass(exercise, source):
    assert in_08(exercise, source) == []


@pytest.mark.parametrize(
    ("exercise", "source", "message"),
    [
        ("power_law", LINE.format("np.log(x)", "np.log(y)", "a, math.exp(b)"), "k comes first"),
        ("power_law", LINE.format("np.log(x)", "np.log(y)", "b, a"), "take exp of it"),
        ("power_law", LINE.format("x", "y", "b, a"), "a of 3, 6, 12"),
        ("steps_for", "def steps_for(f, n, b): return round(f / (2 * n * b))", "with the backward pass it is 6"),
        ("steps_for", "def steps_for(f, n, b): return round(f / (6 * n))", "those are tokens"),
        ("steps_for", "def steps_for(f, n, b): return int(f / (6 * n * b))", "not down"),
        ("steps_for", "def steps_for(f, n, b): return f / (6 * n * b)", "an int"),
        ("best_size", VALLEY.format("np.log(n)", "-c1 / (2 * c2)"), "take exp of it"),
        ("best_size", VALLEY.format("n", "-c1 / (2 * c2)"), "not in size"),
        ("best_size", "def best_size(n, l): return n[l.argmin()]", "lies between them"),
        ("suspect", SUSPECT.format("len(n) < 4", "c2 <= 0", "n.min() < np.exp(u) < n.max()"), "count different ones"),
        ("suspect", SUSPECT.format("len(set(n.tolist())) < 4", "False", "n.min() < np.exp(u) < n.max()"), "the worst size"),
        ("suspect", SUSPECT.format("len(set(n.tolist())) < 4", "c2 <= 0", "np.exp(u) < n.max()"), "beyond the smallest"),
        ("suspect", SUSPECT.format("len(set(n.tolist())) < 4", "c2 <= 0", "n.min() < np.exp(u)"), "beyond the largest"),
        ("suspect", "def suspect(n, l): return 'minimum outside'", "nothing is wrong"),
        ("best_split", SPLIT.format(FACTOR, 1, POWER, "C / 6 / n"), "divide it by 6"),
        ("best_split", SPLIT.format(FACTOR, 6, POWER, "C / n"), "D is C / 6 / N"),
        ("best_split", SPLIT.format(FACTOR, 6, "a / (a + b)", "C / 6 / n"), "belongs to D"),
        ("best_split", SPLIT.format("(b * B / (a * A)) ** (1 / (a + b))", 6, POWER, "C / 6 / n"), "upside down"),
        ("best_split", SPLIT.format("1", 6, POWER, "C / 6 / n"), "has a lower loss"),
    ],
)  # fmt: skip
def test_wrong_answers_to_08_are_told_what_is_wrong(exercise, source, message):
    assert any(message in said for said in in_08(exercise, source)), in_08(exercise, source)
