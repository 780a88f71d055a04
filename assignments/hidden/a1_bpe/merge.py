"""What `merge` asks for: each occurrence of the pair becomes one token, from left to right."""

from __future__ import annotations

from string import ascii_lowercase

from cs336lite.course.spec import check, drawn

from .asking import Lesson, judge_merges
from .inputs import agree, differ, draw, letters, planted, scattered
from .mistakes_in_training import (
    FROM_THE_RIGHT,
    LOWERED,
    ONCE_PER_WORD,
    ONLY_FIRST,
    OVERLAPPING,
    REPLACING,
    SMALLEST,
    UNWEIGHTED,
    WHOLE,
)


@drawn
def pairs_to_merge_twice(rng) -> list[bytes]:
    def make() -> bytes:
        a, b, c, d, x = letters(rng, 5)
        words = planted(rng, {a + b + x + a + b: 20, c + d: 13}, bare=x)
        return scattered(rng, [word.replace(x, rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ")) for word in words])

    def good(data: bytes) -> bool:
        return agree(data, 2, SMALLEST, WHOLE, UNWEIGHTED, ONCE_PER_WORD) and differ(data, 2, ONLY_FIRST)

    return [draw(make, good) for _ in range(2)]


@check("merge", points=2, title="every occurrence in a word is merged")
def merges_every_occurrence(student, rng):
    message = "where a word holds a pair twice the merges go wrong: is it merged in both places, and are all its neighbours counted anew?"
    judge_merges(student, rng, *(Lesson(data, 2, message) for data in pairs_to_merge_twice(rng)))


@drawn
def runs_of_one_letter(rng) -> list[bytes]:
    """Short runs beside another pair, and long runs alone."""

    def make() -> bytes:
        a, c, d = letters(rng, 3)
        return scattered(rng, planted(rng, {a * 3: 24, c + d: 14}))

    def good(data: bytes) -> bool:
        neutral = (SMALLEST, WHOLE, UNWEIGHTED, ONCE_PER_WORD)
        return agree(data, 3, *neutral) and differ(data, 3, FROM_THE_RIGHT, OVERLAPPING)

    short = draw(make, good)
    run = rng.choice(ascii_lowercase) * rng.choice([71, 75, 87, 91, 103])
    return [short, "\n".join([run] * rng.randint(2, 5)).encode()]


@check("merge", points=2, title="runs of one character merge from left to right, without overlap")
def runs_merge_from_left_to_right(student, rng):
    message = "runs of one character go wrong: merge from left to right and go on behind the merged pair; where two merged tokens stand side by side, they are each other's neighbours"
    judge_merges(student, rng, *(Lesson(data, 3, message) for data in runs_of_one_letter(rng)))


@drawn
def ends_of_longer_tokens(rng) -> list[bytes]:
    def make() -> bytes:
        x, a, b, p, q = letters(rng, 5)
        return scattered(rng, planted(rng, {x + a: 30, x + a + b: 14, a + b: 22, p + q: 8}))

    def good(data: bytes) -> bool:
        return agree(data, 4, SMALLEST, WHOLE, UNWEIGHTED, LOWERED) and differ(data, 4, REPLACING)

    return [draw(make, good) for _ in range(2)]


@check("merge", points=2, title="only two whole tokens are joined")
def joins_only_whole_tokens(student, rng):
    wrong = [(REPLACING, "the pair was also merged where its left part is only the end of a longer token")]
    message = "where a token ends with the left part of a pair the merges go wrong: are whole tokens compared?"
    judge_merges(student, rng, *(Lesson(data, 4, message, wrong=wrong) for data in ends_of_longer_tokens(rng)))
