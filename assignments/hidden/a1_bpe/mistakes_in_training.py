"""Misconceptions of training: the trainer of the definition with one part replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import regex

from .definition import ABSENT, ASCII_PATTERN, PATTERN, RIGHT, FromOne, Pair, Trainer, Word, cut, printable


def rank_of(merges: list[Pair]) -> Callable[[bytes], int]:
    """Ids as training hands them out: bytes first, then merges in order."""
    ids = {bytes([byte]): byte for byte in range(256)} | {a + b: 256 + i for i, (a, b) in enumerate(merges)}
    return ids.__getitem__


def greatest_ids(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    rank = rank_of(merges)
    return max(counts, key=lambda pair: (counts[pair], rank(pair[0]), rank(pair[1])))


def smallest_ids(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    rank = rank_of(merges)
    return min(counts, key=lambda pair: (-counts[pair], rank(pair[0]), rank(pair[1])))


def smallest(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    return min(counts, key=lambda pair: (-counts[pair], pair))


def first_seen(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    return max(counts, key=counts.__getitem__)


def last_seen(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    return max(reversed(counts), key=counts.__getitem__)


def rarest(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    return min(counts, key=lambda pair: (counts[pair], pair))


def greatest_joined(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    return max(counts, key=lambda pair: (counts[pair], b"".join(pair)))


def greatest_printable(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    return max(counts, key=lambda pair: (counts[pair], printable(pair[0]), printable(pair[1])))


def greatest_inverted(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    """As a heap of (-count, bytes turned round) gives it: of a token and a longer one that begins with it, the shorter."""

    def turned(token: bytes) -> tuple[int, ...]:
        return tuple(255 - byte for byte in token)

    return min(counts, key=lambda pair: (-counts[pair], turned(pair[0]), turned(pair[1])))


def greatest_written(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    return max(counts, key=lambda pair: (counts[pair], repr(pair)))


def greatest_decoded(errors: str) -> Callable[[dict[Pair, int], list[Pair]], Pair]:
    def choose(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
        return max(counts, key=lambda pair: (counts[pair], *(token.decode("utf-8", errors) for token in pair)))

    return choose


def count_once_per_word(words: dict[Word, int]) -> dict[Pair, int]:
    counts: dict[Pair, int] = {}
    for word, number in words.items():
        for pair in dict.fromkeys(pairwise(word)):
            counts[pair] = counts.get(pair, 0) + number
    return counts


def count_without_overlap(words: dict[Word, int]) -> dict[Pair, int]:
    counts: dict[Pair, int] = {}
    for word, number in words.items():
        free_at: dict[Pair, int] = {}
        for at, pair in enumerate(pairwise(word)):
            if at >= free_at.get(pair, 0):
                counts[pair] = counts.get(pair, 0) + number
                free_at[pair] = at + 2
    return counts


def never_lowered(kept: dict[Pair, int], true: dict[Pair, int], merged: Pair) -> dict[Pair, int]:
    pairs = [*kept, *(pair for pair in true if pair not in kept)]
    return {pair: max(kept.get(pair, 0), true.get(pair, 0)) for pair in pairs if pair != merged}


def nothing_new(kept: dict[Pair, int], true: dict[Pair, int], merged: Pair) -> dict[Pair, int]:
    return {pair: true[pair] for pair in kept if pair in true}


def merge_from_the_right(word: Word, pair: Pair) -> Word:
    merged, end = [], len(word)
    while end > 0:
        width = 2 if word[max(end - 2, 0) : end] == pair else 1
        merged.append(b"".join(word[end - width : end]))
        end -= width
    return tuple(reversed(merged))


def merge_once(word: Word, pair: Pair) -> Word:
    for at in range(len(word) - 1):
        if word[at : at + 2] == pair:
            return (*word[:at], b"".join(pair), *word[at + 2 :])
    return word


def merge_with_overlap(word: Word, pair: Pair) -> Word:
    merged: list[bytes] = []
    used = False
    for at, token in enumerate(word):
        if word[at : at + 2] == pair:
            merged.append(b"".join(pair))
            used = True
        elif not used:
            merged.append(token)
        else:
            used = False
    return tuple(merged)


def merge_eats_the_next(word: Word, pair: Pair) -> Word:
    """Goes three tokens on where two were merged."""
    merged, at = [], 0
    while at < len(word):
        found = word[at : at + 2] == pair
        merged.append(b"".join(pair) if found else word[at])
        at += 3 if found else 1
    return tuple(merged)


def merge_keeps_the_second(word: Word, pair: Pair) -> Word:
    """Steps over one token where two were merged."""
    return tuple(b"".join(pair) if word[at : at + 2] == pair else word[at] for at in range(len(word)))


def merge_loses_the_last(word: Word, pair: Pair) -> Word:
    """Ends one token too early."""
    merged, at = [], 0
    while at < len(word) - 1:
        found = word[at : at + 2] == pair
        merged.append(b"".join(pair) if found else word[at])
        at += 2 if found else 1
    return tuple(merged)


def merge_by_replacing_text(word: Word, pair: Pair) -> Word:
    """Replaces in a text with tokens parted by a mark, not looking whether the left token begins there."""
    mark = b"\xff"  # never a byte of UTF-8
    return tuple(mark.join(word).replace(mark.join(pair), b"".join(pair)).split(mark))


def in_lines(text: str) -> list[str]:
    """Pre-tokens of each line by itself."""
    return [piece for line in regex.findall(r"[^\n]*\n|[^\n]+", text) for piece in regex.findall(PATTERN, line)]


WHOLE = replace(RIGHT, split=lambda text: [text])
SPACES = replace(RIGHT, split=str.split)
LINES = replace(RIGHT, split=lambda text: text.splitlines(keepends=True))
ASCII = replace(RIGHT, split=regex.compile(ASCII_PATTERN).findall)
CHARACTERS = replace(RIGHT, spell=lambda piece: tuple(character.encode() for character in piece))
TRANSLATED = replace(RIGHT, read=lambda data: data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n"))
LOWERED = replace(RIGHT, read=lambda data: data.decode("utf-8", errors="replace").lower())
UNWEIGHTED = replace(RIGHT, weigh=lambda number: 1)
ONCE_PER_WORD = replace(RIGHT, count=count_once_per_word)
WITHOUT_OVERLAP = replace(RIGHT, count=count_without_overlap)
STALE = replace(RIGHT, update=never_lowered)
NOTHING_NEW = replace(RIGHT, update=nothing_new)
FROM_THE_RIGHT = replace(RIGHT, merge=merge_from_the_right)
ONLY_FIRST = replace(RIGHT, merge=merge_once)
OVERLAPPING = replace(RIGHT, merge=merge_with_overlap)
FROM_ONE = FromOne()
EATS_THE_NEXT = replace(RIGHT, merge=merge_eats_the_next)
KEEPS_THE_SECOND = replace(RIGHT, merge=merge_keeps_the_second)
LOSES_THE_LAST = replace(RIGHT, merge=merge_loses_the_last)
REPLACING = replace(RIGHT, merge=merge_by_replacing_text)
SMALLEST = replace(RIGHT, choose=smallest)
FIRST_SEEN = replace(RIGHT, choose=first_seen)
LAST_SEEN = replace(RIGHT, choose=last_seen)
GREATEST_IDS = replace(RIGHT, choose=greatest_ids)
SMALLEST_IDS = replace(RIGHT, choose=smallest_ids)
GREATEST_JOINED = replace(RIGHT, choose=greatest_joined)
GREATEST_PRINTABLE = replace(RIGHT, choose=greatest_printable)
RAREST = replace(RIGHT, choose=rarest)
SPECIALS_AS_TEXT = replace(RIGHT, texts=lambda text, names: [text])
SPECIALS_REMOVED = replace(RIGHT, texts=lambda text, names: ["".join(cut(text, names)[0::2])])
ONE_NAME_KNOWN = replace(RIGHT, texts=lambda text, names: cut(text, [ABSENT])[0::2])
BY_LINES = replace(RIGHT, split=in_lines)
GREATEST_INVERTED = replace(RIGHT, choose=greatest_inverted)
GREATEST_WRITTEN = replace(RIGHT, choose=greatest_written)
GREATEST_DECODED = replace(RIGHT, choose=greatest_decoded("replace"))
GREATEST_IGNORING = replace(RIGHT, choose=greatest_decoded("ignore"))

ACROSS = "merges cross the borders of pre-tokens: cut the text with the pattern and merge inside each piece only"
TIES = "between pairs with the same count the greatest pair of byte strings wins"
OF_TRAINING = [
    (WHOLE, ACROSS),
    (LINES, "a whole line is taken as one pre-token: cut the text with the pattern and merge inside each piece only"),
    (SPACES, "words are cut off the space in front of them, which is lost or stands alone: a pre-token keeps it"),
    (LOWERED, "the text was changed to lower case: the file's exact bytes count"),
    (ASCII, "only the letters a-z count as letters: use the regex module and \\p{L}, \\p{N}"),
    (CHARACTERS, "training starts from whole characters: it must start from the single bytes of their UTF-8 form"),
    (TRANSLATED, "line ends were changed while reading: open the file in binary mode, or with newline=''"),
    (BY_LINES, "the text is cut at its line ends: white space goes on behind them, and a pre-token with it"),
    (UNWEIGHTED, "each distinct word is counted once: add the word's count, not 1, for each of its pairs"),
    (ONCE_PER_WORD, "a pair is counted once per word: count every position at which it stands"),
    (WITHOUT_OVERLAP, "overlapping pairs are left out of the count: three equal tokens in a row hold two pairs"),
    (STALE, "stale counts: after a merge the pairs that it destroyed, left and right of it, are still counted"),
    (FROM_ONE, "counts begin at 1: the first time that a pair is met it counts 1, not 2"),
    (EATS_THE_NEXT, "a merge takes three tokens, and one of them is lost: go on behind the two that were merged"),
    (KEEPS_THE_SECOND, "after a merge the second of its tokens is still there: step over both"),
    (LOSES_THE_LAST, "a merge loses the last token of a word: it is copied, too, where it is merged with nothing"),
    (
        NOTHING_NEW,
        "pairs made by a merge never come up: the new token forms new pairs with its neighbours; count them, and put them into a heap where you have one",
    ),
    (
        FROM_THE_RIGHT,
        "a run of equal tokens is merged from the right: go from left to right, so that `aaa` is `aa`, `a`",
    ),
    (ONLY_FIRST, "only the first occurrence in a word is merged: merge them all"),
    (OVERLAPPING, "a token is used in two merges: occurrences that overlap cannot both be merged"),
    (REPLACING, "tokens are torn apart: replacing inside joined text also hits the tail of a longer token"),
    (FIRST_SEEN, f"ties are broken by first occurrence: {TIES}"),
    (LAST_SEEN, f"ties are broken by last occurrence: {TIES}"),
    (SMALLEST, f"ties go to the smallest pair: {TIES}"),
    (
        GREATEST_IDS,
        f"ties are broken by token ids: {TIES}, and a merged token has a high id but not always great bytes",
    ),
    (SMALLEST_IDS, f"ties are broken by token ids: {TIES}"),
    (GREATEST_JOINED, f"ties compare the joined bytes: {TIES}; compare the left tokens first, then the right ones"),
    (GREATEST_PRINTABLE, f"ties compare GPT-2's printable characters: {TIES}; a space is a small byte (0x20)"),
    (
        GREATEST_INVERTED,
        f"ties turn the bytes round to find the greatest: {TIES}, and `ab` is greater than `a`, but `a` comes first when "
        "each byte is taken from 255",
    ),
    (GREATEST_WRITTEN, f"ties compare how bytes are written (repr): {TIES}, and é is written with a backslash"),
    (GREATEST_DECODED, f"ties compare decoded text: {TIES}, and half a character cannot be decoded"),
    (GREATEST_IGNORING, f"ties compare decoded text: {TIES}, and half a character cannot be decoded"),
    (RAREST, "the rarest pair is merged first: it is the most frequent one"),
]


def named(trainer: Trainer) -> list[tuple[Trainer, str]]:
    """One misconception with its message, to be tried before the others."""
    return [(other, message) for other, message in OF_TRAINING if other is trainer]
