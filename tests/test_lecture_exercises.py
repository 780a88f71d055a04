"""Exercises of the lectures: wrong answers fail their checks, and are told what is wrong with them."""

import codecs
from functools import partial

import numpy as np
import pytest
import torch
from conftest import ROOT

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
