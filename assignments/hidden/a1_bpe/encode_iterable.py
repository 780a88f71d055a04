"""What `encode_iterable` asks for: the ids of the joined text, read no further than it must."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress

import regex

from cs336lite.course.answers import ask, either, list_of
from cs336lite.course.spec import Fail, StudentError, check, drawn, expect

from .asking import IDLE_MERGES, IDS, as_text, encoded, explained, spelling, with_or_without
from .definition import ABSENT, ENCODER, Pair, vocab_of
from .inputs import draw, letters, ordinary_text, ordinary_words, random_name, small_language


def drive_pieces(student, vocab, merges, special_tokens, streams):
    import json
    import operator

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    tokenizer = student.Tokenizer(vocab, merges, special_tokens) if special_tokens else student.Tokenizer(vocab, merges)
    answers = []
    for pieces in streams:
        ids = tokenizer.encode_iterable(piece for piece in pieces)
        ids = list(ids) if hasattr(ids, "__iter__") else [None]
        answers.append([operator.index(i) if hasattr(i, "__index__") else None for i in ids])
    return answers


def drive_file(student, vocab, merges, special_tokens, path, size):
    """The ids of an open file, which gives its lines; with a size, those of the same text in blocks of so many letters."""
    import json
    import operator

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    tokenizer = student.Tokenizer(vocab, merges, special_tokens) if special_tokens else student.Tokenizer(vocab, merges)
    with open(path, encoding="utf-8", newline="") as file:
        ids = tokenizer.encode_iterable(iter(lambda: file.read(size), "") if size else file)
        ids = list(ids) if hasattr(ids, "__iter__") else [None]
        return [operator.index(i) if hasattr(i, "__index__") else None for i in ids]


def drive_reading(student, vocab, merges, special_tokens, pieces):
    """Whether a piece is read before the first id is asked for, and the ids that are out when, after these pieces, more is
    asked for. Nobody here knows how the text goes on."""
    import json
    import operator

    class Enough(BaseException):
        """Goes through all handlers of the student's, with the ids that are out by now."""

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    tokenizer = student.Tokenizer(vocab, merges, special_tokens) if special_tokens else student.Tokenizer(vocab, merges)
    ids, begun, early = [], [], True

    def stream():
        begun.append(True)
        yield from pieces
        raise Enough(*ids)

    try:
        answer = tokenizer.encode_iterable(stream())
        early = bool(begun)
        for i in answer if hasattr(answer, "__iter__") else [None]:
            ids.append(operator.index(i) if hasattr(i, "__index__") else None)
    except Enough as enough:
        return early, list(enough.args)
    return early, ids if ids == [None] else []  # more was never asked for, or the answer is nothing to iterate over


def random_cuts(rng: random.Random, text: str, number: int) -> list[str]:
    """``text`` in pieces, some of them empty."""
    places = sorted(rng.choices(range(len(text) + 1), k=number))
    return [text[i:j] for i, j in zip([0, *places], [*places, len(text)], strict=True)]


def simple_merges(rng: random.Random, strings: list[str]) -> list[Pair]:
    """Merges that make these strings of two bytes, of which no two compete for a byte of the texts drawn here."""
    pairs = [string.encode() for string in rng.sample(strings, len(strings))]
    return [(pair[:1], pair[1:]) for pair in pairs]


JOINED_WRONG = "this is judged when encode gives the right ids for these texts as a whole, and it does not yet"

WRONG_USE = ("AttributeError", "TypeError", "IndexError", "KeyError", "ValueError")
ONLY_FILES = "encode_iterable works with an open file alone: it is given any iterable of strings, so only go through it"


def streamed(student, vocab, merges, special_tokens, streams: list[list[str]]) -> list[list[int]]:
    form = list_of(IDS, len(streams))
    try:
        answers = ask(student, form, drive_pieces, as_text(vocab), merges, special_tokens, streams)
    except StudentError as error:
        if error.kind in WRONG_USE:  # said only where an open file works
            path = student.file("".join(max(streams, key=len)).encode())
            with suppress(StudentError):
                ask(student, IDS, drive_file, as_text(vocab), merges, special_tokens, path, 0)
                raise Fail(ONLY_FILES) from error
        raise
    expect(all(type(i) is int for ids in answers for i in ids), "encode_iterable must yield ints")
    return answers


def judge_streams(student, answers, vocab, merges, streams: list[list[str]], otherwise: str, names=None) -> None:
    texts = ["".join(pieces) for pieces in streams]
    right = ENCODER.encode_all(vocab, merges, texts, names)
    if answers == right:
        return
    expect(any(answers), "no ids come out: yield those of the text, and at its end those of what is left")
    expect(encoded(student, vocab, merges, names, texts) == right, JOINED_WRONG)
    each = iter(ENCODER.encode_all(vocab, merges, [piece for pieces in streams for piece in pieces], names))
    alone = [[i for _ in pieces for i in next(each)] for pieces in streams]
    expect(answers != alone, "each piece is encoded on its own: words and special tokens may go on in the next piece")
    beginnings = all(ids == whole[: len(ids)] for ids, whole in zip(answers, right, strict=True))
    spelt = all(spelling(ids, vocab) == text.encode() for ids, text in zip(answers, texts, strict=True))
    expect(not beginnings, "the end of the text is lost: encode what is left when the iterable ends")
    expect(spelt, "the ids do not spell the pieces joined: something is added, lost or changed where pieces end")
    raise Fail(otherwise)


@check("encode_iterable", points=1, title="the ids are those of the joined text, wherever it is cut")
def equals_encode_on_the_joined_text(student, rng):
    names = letters(rng, 8, "abcdfghijknopquwxyz")
    pairs = [a + b for a, b in zip(names[:4], names[4:], strict=True)]
    common = [*pairs, " " + names[4], "'l", "'s", "!?"]
    parts = [*pairs, *pairs, *names, *names, " ", " ", "  ", "   ", "\n", "\r\n", " \n", "'ll", "'s", "'re", "!?", " ?"]
    parts += ["12", "🙂", "\t", "\u00a0", "\n\n", "\n\n", "\n  "]
    streams = []
    for _ in range(6):
        text = "".join(rng.choices(parts, k=30))
        streams += [list(text), random_cuts(rng, text, 12), [text]]
    streams += [[], [""], [names[0] + "'", "l", "l"], [" ", " ", names[1]], list(pairs[0])]
    streams += [["a\n", "\n", "b"], ["a\n", "\n", "\n", " b"], ["a ", " ", " b"], ["a ", " ", ""], ["a\n", "  b"]]
    white = [simple_merges(rng, common + more) for more in (["\r\n", " \n"], ["\n\n", "  "])]
    message = "the ids depend on where the text is cut: keep back what the next piece can still change (words, runs of spaces, 'll)"

    def judge(special: list[str]) -> None:
        for merges in white:
            answers = streamed(student, vocab_of(merges), merges, special or None, streams)
            judge_streams(student, answers, vocab_of(merges), merges, streams, message, special)

    with_or_without(judge)


@check("encode_iterable", points=0.5, title="special tokens may be cut by the borders of pieces")
def special_tokens_across_borders(student, rng):
    name = random_name(rng)
    other = "@" + "".join(letters(rng, 4)) + " @"
    spaced = f"{name} {other}"  # another one with white space behind it: not every place behind a word is safe
    names = [name, name + name, other, spaced]
    parts = [*names, name[:3], " ", "  ", "\n", *small_language(rng, 5, 6)]
    vocab = vocab_of(IDLE_MERGES, names)
    streams = [list(name + name + name), [name, name], [name[:2], name[2:] + "x"], [" ", name, " "], [name[:-1]]]
    streams += [[name, " ", other], list(f"x {spaced} {name} y"), list(f"{name} {other[:-1]} {spaced}")]
    for _ in range(6):
        text = "".join(rng.choices(parts, k=16))
        streams += [list(text), random_cuts(rng, text, 8)]
    answers = streamed(student, vocab, IDLE_MERGES, names, streams)
    message = (
        "a special token cut by the border of two pieces is not found: keep back the text in which one may have begun"
    )
    judge_streams(student, answers, vocab, IDLE_MERGES, streams, message, names)
    judge_white_space_before(student, name)


def judge_white_space_before(student, name: str) -> None:
    """Fail where white space is cut in two because a special token stands behind it. Before a word it is judged above."""
    merges = [(b" ", b" "), (b"\n", b"\n")]
    vocab = vocab_of(merges, [name])

    def right(behind: str) -> bool:
        texts = [f"x{white}{behind}y zz {behind}" for white in ("  ", "\n\n", "\n\n ")]  # a merge each
        streams = [pieces for text in texts for pieces in (list(text), [text[:3], text[3:]], [text])]
        expected = ENCODER.encode_all(vocab, merges, ["".join(pieces) for pieces in streams], [name])
        return streamed(student, vocab, merges, [name], streams) == expected

    message = "white space right before a special token is cut in two: it ends there, so all of it stays together"
    expect(right(name) or not right("q"), message)


@drawn
def a_long_stream(rng, names: tuple[str, ...] = ()) -> tuple[list[Pair], list[str]]:
    """Some 40 kB in 80 pieces, half of which are more than two buffers of a file; most tokens are long, so that they
    are few."""
    *eight_letters, a, b, c, d = letters(rng, 12)
    eight = "".join(eight_letters)
    twos = [eight[i : i + 2] for i in (0, 2, 4, 6)]
    halves = [*twos, eight[:4], eight[4:], eight, eight * 2]
    merges = simple_merges(rng, [a + b, " " + c])
    merges += [(token[: len(token) // 2].encode(), token[len(token) // 2 :].encode()) for token in halves]
    parts = [*[eight * 2] * 24, *twos, a, b, c, d, a + b]
    words = ["".join(rng.choices(parts, k=rng.randint(2, 3))) for _ in range(60)]
    words += [word + rng.choice(names) for word in words[:16] if names]
    return merges, ["".join(" " + word for word in rng.choices(words, k=20)) for _ in range(80)]


def judge_reading(student, rng, names: Sequence[str], in_text: Sequence[str] = (), small: bool = False) -> None:
    """``small``: the beginning of the stream, in pieces of single letters."""
    merges, pieces = a_long_stream(rng, tuple(in_text))
    if small:
        pieces = list("".join(pieces[:4]))
    where = "given in pieces of single letters, " if small else ""
    vocab, text = vocab_of(merges, [ABSENT, *in_text]), "".join(pieces)
    part = rng.randint(60, 76) * len(pieces) // 80  # the rest is not sent: what came out before it cannot depend on it
    pieces = pieces[:part]
    form = [bool, list_of(either(int, type(None)), least=0, most=len("".join(pieces).encode()))]
    try:
        early, ids = ask(student, form, drive_reading, as_text(vocab), merges, list(names), pieces)
    except StudentError:
        streamed(student, vocab, merges, list(names), [pieces[:2]])  # fails too where any iterable does
        raise
    expect(all(type(i) is int for i in ids), "encode_iterable must yield ints")
    expect(
        len(ids) > 0,
        f"{where}the whole input is read before the first id comes out: yield the ids of what is complete while reading on",
    )
    (right,) = ENCODER.encode_all(vocab, merges, [text], list(names))
    if ids != right[: len(ids)]:
        if small:
            return  # that is judged by itself
        expect(encoded(student, vocab, merges, list(names), [text]) == [right], JOINED_WRONG)
        raise Fail("the ids of a long stream are not those of the joined text")
    expect(
        len("".join(pieces)) - sum(len(vocab[i]) for i in ids) < len(text) // 2,
        f"{where}much more text is held than needed: yield the ids of what is complete while reading on",
    )
    expect(not early, "the first piece is read when encode_iterable is called: read nothing before an id is asked for")


@check("encode_iterable", points=2, title="it yields while it reads")
def reads_only_what_it_needs(student, rng):
    with_or_without(lambda names: judge_reading(student, rng, names))
    with_or_without(lambda names: judge_reading(student, rng, names, small=True))


@check("encode_iterable", points=1, title="it yields while it reads text with special tokens")
def reads_on_beside_special_tokens(student, rng):
    name = random_name(rng)
    names = [name, f"{name[:-1]} {name[1:]}"]
    judge_reading(student, rng, names, names)
    judge_reading(student, rng, names, names, small=True)


@drawn
def lines_of_text(rng) -> tuple[list[Pair], str]:
    """Paragraphs, and merges of which no two compete for a letter: whatever the order, the ids are the same."""

    def make() -> tuple[list[Pair], str]:
        text = ordinary_text(rng, ordinary_words(rng), 60)
        lefts, rights = rng.sample("aeiou", 5), rng.sample("nrstdl", 6)
        merges = [(left.encode(), right.encode()) for left in lefts for right in rights]
        return [*rng.sample(merges, 16), (b" ", b"t"), (b" ", b"d"), (b"\n", b"\n")], text

    def good(made: tuple[list[Pair], str]) -> bool:
        text = made[1]
        blocks = [text[i : i + BLOCK] for i in range(0, len(text), BLOCK)]
        ends_in_a_first_word = any(regex.search(r"\S\n\n\p{L}+$", block) for block in blocks)
        return text.count("\n\n") > 2 and "\n\n\n" not in text and ends_in_a_first_word

    return draw(make, good)


BLOCK = 64  # characters read at once by those who do not read lines


def judge_file(student, rng, size: int, otherwise: str) -> None:
    """The ids of an open file, read line by line as Python reads it, or in blocks of ``size`` letters."""
    merges, text = lines_of_text(rng)
    vocab, path = vocab_of(merges), student.file(text.encode())
    pieces = [text[i : i + size] for i in range(0, len(text), size)] if size else text.splitlines(keepends=True)
    problem = "encode_iterable fails with an open file: it is given any iterable of strings, and a file gives its lines"

    def judge(names: list[str]) -> None:
        try:
            ids = ask(student, IDS, drive_file, as_text(vocab), merges, names, path, size)
        except StudentError as error:
            streamed(student, vocab, merges, names or None, [pieces])  # lists of strings work, else that is told
            raise explained(error, dict.fromkeys(WRONG_USE, problem)) from error
        expect(all(type(i) is int for i in ids), "encode_iterable must yield ints")
        judge_streams(student, [ids], vocab, merges, [pieces], otherwise, names)

    with_or_without(judge)


@check("encode_iterable", points=5, title="together: the lines of a file")
def lines_of_a_file(student, rng):
    judge_file(student, rng, 0, "an open file gives other ids than its text as a whole")


@check("encode_iterable", points=0.5, title="a file in blocks, which end anywhere")
def blocks_of_a_file(student, rng):
    judge_file(student, rng, BLOCK, "a text in blocks of 64 letters gives other ids than the text as a whole")
