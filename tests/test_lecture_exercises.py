"""Exercises of the lectures: wrong answers fail their checks, and are told what is wrong with them."""

import codecs
from functools import partial

import pytest
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
