"""What `pretokenize` asks for: merges that stay inside pre-tokens, of any script, of the file's exact bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from string import ascii_lowercase

from cs336lite.course.spec import check, drawn

from .asking import Lesson, judge_merges, plain_borders
from .definition import RIGHT, SEPARATORS
from .inputs import agree, differ, draw, letters, planted, scattered, spread
from .mistakes_in_training import (
    ACROSS,
    ASCII,
    BY_LINES,
    CHARACTERS,
    SMALLEST,
    STALE,
    TRANSLATED,
    UNWEIGHTED,
    WHOLE,
    named,
)

NO_DIGITS = dict.fromkeys(map(ord, "0123456789"))

IGNORING = replace(RIGHT, read=lambda data: data.decode("utf-8", errors="ignore"))
LATIN_1 = replace(RIGHT, read=lambda data: data.decode("latin-1"))


@check("pretokenize", points=1.5, title="merges stay inside pre-tokens")
def merges_stay_inside_pre_tokens(student, rng):
    judge_merges(student, rng, plain_borders(rng))


@drawn
def texts_for_the_pattern(rng) -> list[bytes]:
    """Contractions, numbers, punctuation, runs of spaces."""
    a, b, c, d = letters(rng, 4, "bcfghjknpqwxyz")  # none of the letters of 's, 't, 'm, 'd, 'll, 've, 're
    low, high = rng.sample("123456789", 2)
    mark, other = rng.sample("!#$%&*+:;=?@~", 2)
    crossing, inside = rng.randint(24, 30), rng.randint(14, 18)

    def contractions() -> list[str]:
        return [word + rng.choice(["'s", "'s", "'t"]) for word in planted(rng, {a + b: 40}, bare="stmdlvre")]

    def numbers() -> list[str]:
        return [word[:-1] + low for word in planted(rng, {c + d: crossing})] + [low + high] * inside

    def punctuation() -> list[str]:
        letter_pairs = [word[:-1] for word in planted(rng, {c + d: crossing + 5})]
        marked = [word + mark + other for word in letter_pairs[5:]]
        return letter_pairs[:5] + marked + [f" {mark}"] * inside

    def spaces() -> list[str]:
        return ["   " + word[1:] for word in planted(rng, {a: 40, b: 12})]

    def written(make: Callable[[], list[str]], number: int, glue: str) -> bytes:
        def write() -> bytes:
            words = make()
            return "".join(word + rng.choice(glue) for word in rng.sample(words, len(words))).encode()

        return draw(write, lambda d: agree(d, number, SMALLEST))

    return [
        written(contractions, 2, SEPARATORS),
        written(numbers, 2, SEPARATORS.translate(NO_DIGITS)),
        written(punctuation, 3, "\n\t"),
        written(spaces, 2, "."),
    ]


@check("pretokenize", points=1, title="pre-tokens follow GPT-2's pattern")
def follows_the_pattern(student, rng):
    messages = [
        (2, "a text with contractions gives wrong merges: are 's, 't and 're pre-tokens of their own?"),
        (2, "a text with numbers gives wrong merges: are letters and digits cut apart?"),
        (
            3,
            "a text with punctuation gives wrong merges: do letters end where it begins, and does one space belong to it?",
        ),
        (2, "a text with runs of spaces gives wrong merges: does the last one belong to the word behind it?"),
    ]
    wrong = [(WHOLE, ACROSS)]
    texts = texts_for_the_pattern(rng)
    judge_merges(
        student,
        rng,
        plain_borders(rng),
        *(Lesson(data, *expected, wrong=wrong) for data, expected in zip(texts, messages, strict=True)),
    )


def in_ascii(data: bytes) -> bytes:
    """The same text with two plain letters for each letter of two bytes: it holds all other difficulties."""
    others = sorted({letter for letter in data.decode() if not letter.isascii()})
    plain = {ord(letter): "Q" + ascii_lowercase[i] for i, letter in enumerate(others)}
    return data.decode().translate(plain).encode()


IN_ASCII = "this is judged when the same text in plain ASCII letters gives the right merges, and it does not yet"


@drawn
def cyrillic_letters(rng) -> bytes:
    block = range(0x430, 0x440)  # their first byte is the same, so that counts differ and no tie comes up

    def make() -> bytes:
        characters, mark = rng.sample(block, 5), rng.choice("!?;")
        words = []
        for code, times in zip(characters, spread(rng, 5, 8, 4), strict=True):
            words += [word[0] + word[-1] + chr(code) + mark for word in planted(rng, {chr(code): times})]
        return scattered(rng, rng.sample(words, len(words)))

    def good(data: bytes) -> bool:
        neutral = (SMALLEST, UNWEIGHTED, STALE)
        return agree(data, 5, *neutral) and agree(in_ascii(data), 5, *neutral) and differ(data, 5, ASCII, CHARACTERS)

    return draw(make, good)


@drawn
def letters_with_accents(rng) -> bytes:
    def make() -> bytes:
        accent, near = rng.sample("àâçèéêëîïñôûü", 2)
        letter = rng.choice("bcdfghjk")
        return scattered(rng, planted(rng, {letter + accent: 24, accent: 12, near: 16}))

    def good(data: bytes) -> bool:
        neutral = (SMALLEST, WHOLE, UNWEIGHTED, STALE)
        return agree(data, 2, *neutral) and agree(in_ascii(data), 2, *neutral) and differ(data, 2, ASCII, CHARACTERS)

    return draw(make, good)


@check("pretokenize", points=1, title="letters of every script are letters, and training starts from bytes")
def letters_of_every_script(student, rng):
    cyrillic = "a text with Cyrillic letters gives wrong merges: they are letters as well, two bytes each"
    accents = "a text with accents gives wrong merges: letters with accents are letters as well, two bytes each"
    first, second = cyrillic_letters(rng), letters_with_accents(rng)
    judge_merges(
        student,
        rng,
        plain_borders(rng),
        Lesson(in_ascii(first), 5, IN_ASCII, explained=False),
        Lesson(first, 5, cyrillic, wrong=named(ASCII)),
        Lesson(in_ascii(second), 2, IN_ASCII, explained=False),
        Lesson(second, 2, accents, wrong=named(ASCII)),
    )


@drawn
def windows_line_ends(rng) -> bytes:
    def make() -> bytes:
        a, b, c, d = letters(rng, 4)
        words = planted(rng, {a + b: 18, c + d: 14})
        rng.shuffle(words)
        runs = rng.sample([x + y + z for x in " \t\v\f" for y in " \t\v\f" for z in " \t\v\f"], len(words))
        return "".join(
            word + run + "\r\n" + rng.choice(" \t\v\f") for word, run in zip(words, runs, strict=True)
        ).encode()

    return draw(make, lambda d: agree(d, 3, SMALLEST, WHOLE, UNWEIGHTED) and differ(d, 3, TRANSLATED))


@drawn
def text_with_zeros(rng) -> bytes:
    def make() -> bytes:
        a, b, c = letters(rng, 3)
        mark, *others = rng.sample("!#$%&*+,-./:;=?@^_{}~", 21)
        words = planted(rng, {a + b: 12}, bare=c)
        words += [
            mark.join([word[0], "\0" + other + c]) for word, other in zip(planted(rng, {c: 20}), others, strict=True)
        ]
        return scattered(rng, rng.sample(words, len(words)))

    return draw(make, lambda d: agree(d, 2, SMALLEST) and b"\0" in b"".join(sum(RIGHT.merges(d, 2), ())))


@drawn
def empty_lines(rng) -> bytes:
    def make() -> bytes:
        a, b, c = letters(rng, 3)
        words = planted(rng, {a + b: 14, c: 10})
        runs = rng.sample([x + y + z for x in " \t\v\f" for y in " \t\v\f" for z in " \t\v\f"], len(words))
        return "".join(word + "\n\n" + run + " " for word, run in zip(words, runs, strict=True)).encode()

    return draw(make, lambda d: agree(d, 1, SMALLEST, STALE, UNWEIGHTED) and differ(d, 1, BY_LINES))


@check("pretokenize", points=1, title="line ends and control characters reach the tokenizer as they are")
def line_ends_are_kept(student, rng):
    message = "a text with the line ends \\r\\n gives wrong merges: learn from the file's exact bytes, all of them"
    zeros = "a text with bytes of value 0 gives wrong merges: they are bytes like any other"
    empty = "a text with empty lines gives wrong merges: white space that is several line ends long is one pre-token"
    judge_merges(
        student,
        rng,
        plain_borders(rng),
        Lesson(windows_line_ends(rng), 3, message, wrong=named(BY_LINES)),
        Lesson(text_with_zeros(rng), 2, zeros),
        Lesson(empty_lines(rng), 1, empty, wrong=named(BY_LINES)),
    )


@drawn
def undecodable_bytes(rng) -> bytes:
    marker = "\x00"  # stands for the invalid byte until the file is bytes
    bad = bytes([rng.randrange(0xF8, 0x100)])

    def make() -> bytes:
        a, b = letters(rng, 2)
        marks = rng.sample([x + "{}" + y for x in "!#$%&*+,-./:;=?@" for y in "!#$%&*+,-./:;=?@"], 32)
        words = [marks.pop().format(marker) for _ in range(24)] + [marks.pop().format("\ufffc") for _ in range(8)]
        words += planted(rng, {a + b: 12})
        rng.shuffle(words)
        return "".join(word + rng.choice("\n\t0123456789") for word in words).encode().replace(marker.encode(), bad)

    # the third merge would be one of a pair that the second has destroyed, for who still counts it
    return draw(make, lambda d: agree(d, 2, SMALLEST, WHOLE, UNWEIGHTED, STALE) and differ(d, 2, IGNORING, LATIN_1))


@check("pretokenize", points=0.5, title="bytes that are not UTF-8 are read as U+FFFD")
def undecodable_bytes_are_replaced(student, rng):
    message = (
        "a text with bytes that are not UTF-8 goes wrong: decode with errors='replace', so that each becomes U+FFFD"
    )
    wrong = [(IGNORING, f"bytes were dropped: {message}"), (LATIN_1, f"the text was read as Latin-1: {message}")]
    lesson = Lesson(undecodable_bytes(rng), 2, message, wrong=wrong)
    judge_merges(student, rng, lesson, problems={"UnicodeDecodeError": message})
