r"""Hidden checks of a1_bpe: 100 points, judged through `train_bpe` and `Tokenizer` alone.

Expected answers come from the slow trainer and encoder below, which follow the definition word by word. A misconception
is the same trainer with one part replaced, so a wrong answer can be recognised and named. Inputs are drawn afresh for
every course. Most points are for what people do with a tokenizer: an ordinary text is learned, encoded, streamed. All
other checks say why that fails. Each meets one difficulty and no other, and first asks whether a text without any is
learned, so that it never speaks of what it has not seen. What CS336 leaves open (ids, their order, an empty list of
special tokens) costs the points of its own check and of no other.
Inputs and expected answers follow from the seed alone, so both are remembered while a class is judged.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from string import ascii_letters, ascii_lowercase

import regex

from cs336lite.course.answers import anything, ask, dict_of, either, fits, list_of
from cs336lite.course.spec import Fail, StudentError, check, drawn, expect, known_kind

WARM = ("regex", "numpy")  # imported once, before a worker forks
WHERE_NAMED = ("torch",)  # for those who use it all the same
LECTURE = "notebooks/01_tokenizer.ipynb"
READ = {  # where to read on, by exercise
    "pretokenize": ("Lecture 01, section 3, Where does a word end?", LECTURE),
    "count_pairs": ("Lecture 01, section 5, Byte-pair encoding", LECTURE),
    "merge": ("Lecture 01, section 5, Byte-pair encoding", LECTURE),
    "train": ("Lecture 01, section 5, Byte-pair encoding", LECTURE),
    "encode": ("Lecture 01, section 5, Byte-pair encoding", LECTURE),
    "decode": ("Lecture 01, section 1, Text is characters, stored as bytes", LECTURE),
    "special_tokens": ("Lecture 01, section 6, Special tokens", LECTURE),
    "encode_iterable": ("Lecture 01, section 3, Where does a word end?", LECTURE),
}
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
ASCII_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
SEPARATORS = '\n\t0123456789!"#$%&()*+,-./:;=?@[]^_`{}~'  # one pre-token each between two words of ASCII letters

NO_DIGITS = dict.fromkeys(map(ord, "0123456789"))

Word = tuple[bytes, ...]
Pair = tuple[bytes, bytes]


ABSENT = "<|endoftext|>"  # given to most checks, in no text of theirs: an empty list has a check of its own

# ---------------------------------------------------------------------------------------------------------------------
# The definition, slowly: training


def cut(text: str, special_tokens: list[str]) -> list[str]:
    """Text, special token, text, …, text: cut at special tokens, the leftmost first and there the longest."""
    parts, start, at = [], 0, 0
    while at < len(text):
        here = [name for name in special_tokens if text.startswith(name, at)]
        if here:
            name = max(here, key=len)
            parts += [text[start:at], name]
            at = start = at + len(name)
        else:
            at += 1
    return [*parts, text[start:]]


def spell(piece: str) -> Word:
    return tuple(bytes([byte]) for byte in piece.encode())


def count(words: dict[Word, int]) -> dict[Pair, int]:
    counts: dict[Pair, int] = {}
    for word, number in words.items():
        for pair in pairwise(word):
            counts[pair] = counts.get(pair, 0) + number
    return counts


def merge(word: Word, pair: Pair) -> Word:
    merged, at = [], 0
    while at < len(word):
        width = 2 if word[at : at + 2] == pair else 1
        merged.append(b"".join(word[at : at + width]))
        at += width
    return tuple(merged)


def greatest(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    return max(counts, key=lambda pair: (counts[pair], pair))


@lru_cache(maxsize=16)
def count_words(data: bytes, special_tokens: tuple[str, ...], read, texts, split, spell) -> dict[Word, int]:
    """How often each pre-token occurs: `Trainer.words`."""
    words: dict[Word, int] = {}
    for text in texts(read(data), special_tokens):
        for piece in split(text):
            word = spell(piece)
            words[word] = words.get(word, 0) + 1
    return words


@dataclass(frozen=True)
class Trainer:
    """A trainer in parts, the right ones by default."""

    read: Callable[[bytes], str] = lambda data: data.decode("utf-8", errors="replace")
    texts: Callable[[str, list[str]], list[str]] = lambda text, names: cut(text, names)[0::2]
    split: Callable[[str], list[str]] = regex.compile(PATTERN).findall
    spell: Callable[[str], Word] = spell
    weigh: Callable[[int], int] = lambda number: number
    count: Callable[[dict[Word, int]], dict[Pair, int]] = count
    update: Callable[[dict[Pair, int], dict[Pair, int], Pair], dict[Pair, int]] = lambda kept, true, pair: true
    choose: Callable[[dict[Pair, int], list[Pair]], Pair] = greatest
    merge: Callable[[Word, Pair], Word] = merge

    @lru_cache(maxsize=2048)  # noqa: B019 - its instances are few and live as long as the module
    def merges(self, data: bytes, number: int, special_tokens: tuple[str, ...] = ()) -> tuple[Pair, ...]:
        """The first ``number`` merges, or fewer when no pair is left."""
        return tuple(self.learn(data, number, special_tokens))

    def words(self, data: bytes, special_tokens: tuple[str, ...] = ()) -> dict[Word, int]:
        """How often each pre-token occurs, as single bytes."""
        return count_words(data, special_tokens, self.read, self.texts, self.split, self.spell)

    def learn(self, data: bytes, number: int, special_tokens: tuple[str, ...]) -> list[Pair]:
        """What `merges` remembers."""
        words = {word: self.weigh(times) for word, times in self.words(data, special_tokens).items()}
        merges: list[Pair] = []
        counts = self.count(words)
        while counts and len(merges) < number:
            pair = self.choose(counts, merges)
            merges.append(pair)
            words = {self.merge(word, pair): times for word, times in words.items()}
            counts = self.update(counts, self.count(words), pair)
        return merges


RIGHT = Trainer()


class FromOne(Trainer):
    """Counts every pair of the text from 1, and those that merges make from 0; so none of the first is ever gone."""

    def learn(self, data: bytes, number: int, special_tokens: tuple[str, ...]) -> list[Pair]:
        words, merges = dict(self.words(data, special_tokens)), []
        first = dict.fromkeys(count(words), 0)
        while len(merges) < number and (counts := first | count(words)):
            merges.append(greatest({pair: times + (pair in first) for pair, times in counts.items()}, merges))
            words = {merge(word, merges[-1]): times for word, times in words.items()}
        return merges


# ---------------------------------------------------------------------------------------------------------------------
# Misconceptions of training: one part replaced


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


def cut_in_the_pattern(text: str, names: list[str]) -> list[str]:
    """Special tokens are one more alternative of the pattern, which finds them only where a pre-token begins."""
    parts = [""]
    for piece in regex.findall("|".join([*map(regex.escape, sorted(names, key=len, reverse=True)), PATTERN]), text):
        if piece in names:
            parts += [piece, ""]
        else:
            parts[-1] += piece
    return parts


def cut_by_patterns(text: str, names: list[str]) -> list[str]:
    """Special tokens are used as regular expressions."""
    try:
        return regex.split("(" + "|".join(f"(?:{name})" for name in names) + ")", text)
    except regex.error:
        return [text]


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
STRIPPED = replace(RIGHT, texts=lambda text, names: [part.strip() for part in cut(text, names)[0::2]])
IGNORING = replace(RIGHT, read=lambda data: data.decode("utf-8", errors="ignore"))
LATIN_1 = replace(RIGHT, read=lambda data: data.decode("latin-1"))
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
FIRST_LISTED = replace(RIGHT, texts=lambda text, names: cut_by_order(text, names)[0::2])
AS_PATTERNS = replace(RIGHT, texts=lambda text, names: cut_by_patterns(text, names)[0::2])
IN_THE_PATTERN = replace(RIGHT, texts=lambda text, names: cut_in_the_pattern(text, names)[0::2])
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
    (LOSES_THE_LAST, "a merge loses the last token of a word: it is copied, too, where it is merged with nothing"),
    (NOTHING_NEW, "pairs made by a merge are never counted: the new token forms new pairs with its neighbours"),
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


# ---------------------------------------------------------------------------------------------------------------------
# The definition, slowly: encoding


def bytes_of_a_piece(piece: str, merges: list[Pair]) -> Word:
    word = spell(piece)
    for pair in merges:  # in order of rank: what a merge makes can only be used by later ones
        word = merge(word, pair)
    return word


@dataclass(frozen=True)
class Encoder:
    """An encoder in parts, the right ones by default."""

    cut: Callable[[str, list[str]], list[str]] = cut
    split: Callable[[str], list[str]] = regex.compile(PATTERN).findall
    order: Callable[[list[Pair], dict[bytes, int]], list[Pair]] = lambda merges, ids: merges
    merge: Callable[[str, list[Pair]], Word] = bytes_of_a_piece
    number: Callable[[bytes, dict[bytes, int], list[Pair]], int] = lambda token, ids, merges: ids[token]
    number_specials: Callable[[list[str]], list[str]] = list

    def encode(
        self, vocab: dict[int, bytes], merges: list[Pair], text: str, names: list[str] | None = None
    ) -> list[int]:
        ids_of = {token: i for i, token in vocab.items()}
        for name in self.number_specials(names or []):
            ids_of.setdefault(name.encode(), len(ids_of))
        ordered = self.order(merges, ids_of)
        known: dict[str, list[int]] = {}
        ids: list[int] = []
        for i, part in enumerate(self.cut(text, names or [])):
            if i % 2:
                ids.append(ids_of[part.encode()])
                continue
            for piece in self.split(part):
                if piece not in known:
                    known[piece] = [self.number(token, ids_of, merges) for token in self.merge(piece, ordered)]
                ids += known[piece]
        return ids

    def encode_all(
        self, vocab: dict[int, bytes], merges: list[Pair], texts: list[str], names: list[str] | None = None
    ) -> list[list[int]] | None:
        """The ids of each text; None when the misconception needs a token that the vocabulary lacks."""
        known = self.remember(tuple(vocab.items()), tuple(merges), tuple(texts), tuple(names or ()))
        return None if known is None else [list(ids) for ids in known]

    @lru_cache(maxsize=256)  # noqa: B019 - its instances are few and live as long as the module
    def remember(self, vocab: tuple, merges: tuple, texts: tuple, names: tuple) -> tuple[tuple[int, ...], ...] | None:
        try:
            return tuple(tuple(self.encode(dict(vocab), list(merges), text, list(names))) for text in texts)
        except KeyError:
            return None


ENCODER = Encoder()


def vocab_of(merges: Sequence[Pair], special_tokens: Sequence[str] = (ABSENT,)) -> dict[int, bytes]:
    """A vocabulary to encode with: bytes, merges, special tokens."""
    names = [name.encode() for name in special_tokens]
    return dict(enumerate([*(bytes([byte]) for byte in range(256)), *(a + b for a, b in merges), *names]))


def gpt2_characters() -> dict[int, str]:
    """GPT-2's printable character for every byte: itself where it prints, otherwise the next free one from U+0100."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in prints]
    return {byte: chr(byte) for byte in prints} | {byte: chr(256 + i) for i, byte in enumerate(others)}


PRINTABLE = gpt2_characters()


def printable(token: bytes) -> str:
    return "".join(PRINTABLE[byte] for byte in token)


# ---------------------------------------------------------------------------------------------------------------------
# Misconceptions of encoding: one part replaced


def longest_match(piece: str, merges: list[Pair]) -> Word:
    tokens = {bytes([byte]) for byte in range(256)} | {a + b for a, b in merges}
    data, at, word = piece.encode(), 0, []
    while at < len(data):
        end = next(end for end in range(len(data), at, -1) if data[at:end] in tokens)
        word.append(data[at:end])
        at = end
    return tuple(word)


def known_first(piece: str, merges: list[Pair]) -> Word:
    return (piece.encode(),) if piece.encode() in {a + b for a, b in merges} else bytes_of_a_piece(piece, merges)


def step_by_step(choose: Callable[[list[int], list[int]], int]) -> Callable[[str, list[Pair]], Word]:
    """Merges one occurrence at a time: the one that ``choose`` picks from the places and the ranks of their pairs."""

    def merge_piece(piece: str, merges: list[Pair]) -> Word:
        ranks = {pair: rank for rank, pair in enumerate(merges)}
        word = spell(piece)
        while places := [at for at in range(len(word) - 1) if word[at : at + 2] in ranks]:
            at = choose(places, [ranks[word[at : at + 2]] for at in places])
            word = (*word[:at], word[at] + word[at + 1], *word[at + 2 :])
        return word

    return merge_piece


def merges_by(merge_word: Callable[[Word, Pair], Word]) -> Callable[[str, list[Pair]], Word]:
    def merge_piece(piece: str, merges: list[Pair]) -> Word:
        word = spell(piece)
        for pair in merges:
            word = merge_word(word, pair)
        return word

    return merge_piece


def cut_by_order(text: str, names: list[str]) -> list[str]:
    """The leftmost special token, but of several that begin there the one that comes first in the list."""
    if not names:
        return [text]
    return regex.split("(" + "|".join(regex.escape(name) for name in names) + ")", text)


def cut_one_after_another(text: str, names: list[str]) -> list[str]:
    """All of the longest special token first, wherever it stands, then the next."""
    parts = [text]
    for name in sorted(names, key=len, reverse=True):
        parts = [new for i, part in enumerate(parts) for new in ([part] if i % 2 else cut(part, [name]))]
    return parts


LONGEST_MATCH = Encoder(merge=longest_match)
LEFTMOST_PAIR = Encoder(merge=step_by_step(lambda places, ranks: places[0]))
LOWEST_ID = Encoder(
    order=lambda merges, ids: sorted(merges, key=lambda pair: ids[b"".join(pair)]),
    merge=step_by_step(lambda places, ranks: places[ranks.index(min(ranks))]),
)
HIGHEST_RANK = Encoder(merge=step_by_step(lambda places, ranks: places[ranks.index(max(ranks))]))
ENCODE_WHOLE = Encoder(split=lambda text: [text])
ENCODE_ASCII = Encoder(split=regex.compile(ASCII_PATTERN).findall)
ENCODE_FROM_THE_RIGHT = Encoder(merge=merges_by(merge_from_the_right))
ENCODE_ONLY_FIRST = Encoder(merge=merges_by(merge_once))
ENCODE_OVERLAPPING = Encoder(merge=merges_by(merge_with_overlap))
ENCODE_LOOKED_UP = Encoder(merge=known_first)
BYTES_ONLY = Encoder(merge=lambda piece, merges: spell(piece))
TRANSLATING = Encoder(cut=lambda text, names: cut(text.replace("\r\n", "\n").replace("\r", "\n"), names))
ASSUMED_IDS = Encoder(number=lambda token, ids, merges: rank_of(merges)(token))
NO_COMMENTS = Encoder(order=lambda merges, ids: [pair for pair in merges if not pair[0].startswith(b"#")])
PLAIN = Encoder(cut=lambda text, names: [text])
LISTED = Encoder(cut=cut_by_order)
ONE_AFTER_ANOTHER = Encoder(cut=cut_one_after_another)
ENCODE_AS_PATTERNS = Encoder(cut=cut_by_patterns)
ENCODE_IN_THE_PATTERN = Encoder(cut=cut_in_the_pattern)
SECOND_ONLY = Encoder(cut=lambda text, names: cut(text, names[1:2]))
SORTED_SPECIALS = Encoder(number_specials=sorted)

RANK = "merges must apply in order of their rank"
OF_ENCODING = [
    (BYTES_ONLY, f"no merge was applied here: {RANK} to the bytes of each pre-token"),
    (LONGEST_MATCH, f"the longest token of the vocabulary is taken from the left: that is not BPE, {RANK}"),
    (LEFTMOST_PAIR, f"the leftmost pair is merged first: {RANK}, the pair that training merged earliest first"),
    (HIGHEST_RANK, f"the latest merge is applied first: {RANK}, the earliest first"),
    (ENCODE_WHOLE, "merges cross the borders of pre-tokens: encode each piece that the pattern cuts on its own"),
    (ENCODE_ASCII, "only the letters a-z count as letters: use the regex module and \\p{L}, \\p{N}"),
    (ENCODE_FROM_THE_RIGHT, "a run of equal tokens is merged from the right: `aaa` is `aa`, `a`"),
    (ENCODE_ONLY_FIRST, "only the first occurrence of a pair in a piece is merged: merge them all"),
    (ENCODE_OVERLAPPING, "a token is used in two merges: occurrences that overlap cannot both be merged"),
    (TRANSLATING, "line ends were changed: every character of the text must be encoded as it is"),
    (ASSUMED_IDS, "ids are computed (byte value, 256 + rank): look every token up in the vocabulary that was given"),
]


# ---------------------------------------------------------------------------------------------------------------------
# Drivers: each runs where the student's code lives and must stand alone


def drive_training(student, path, vocab_size, special_tokens):
    answer = student.train_bpe(path, vocab_size, special_tokens)
    try:
        vocab, merges = answer if hasattr(answer[0], "items") else (answer[1], answer[0])
        turned = vocab is not answer[0]
        return {i: token for i, token in vocab.items()}, [tuple(pair) for pair in merges], turned
    except (TypeError, ValueError, AttributeError, LookupError):
        return None


def drive_merges(student, sizes, special_tokens, *paths):
    """The merges of one file after the other, up to one that raises. The exception is told when that is the first."""
    learnt = []
    for path, vocab_size, names in zip(paths, sizes, special_tokens, strict=True):
        try:
            answer = student.train_bpe(path, vocab_size, names)
        except Exception:
            if learnt:
                break
            raise
        try:
            vocab, merges = answer if hasattr(answer[0], "items") else (answer[1], answer[0])
            vocab.items()
            learnt.append([tuple(pair) for pair in merges])
        except (TypeError, ValueError, AttributeError, LookupError):
            learnt.append(None)
    return learnt


def drive_refusal(student, path, vocab_size, special_tokens):
    try:
        student.train_bpe(path, vocab_size, special_tokens)
    except NotImplementedError:
        raise
    except ValueError:
        return "ValueError"
    except Exception as error:
        return type(error).__name__
    return "nothing"


def drive_training_twice(student, path, vocab_size, special_tokens):
    """Two answers, one after the other, and the list of special tokens after that."""
    answers = []
    for _ in range(2):
        answer = student.train_bpe(path, vocab_size, special_tokens)
        try:
            vocab, merges = answer if hasattr(answer[0], "items") else (answer[1], answer[0])
            answers.append(({i: token for i, token in vocab.items()}, [tuple(pair) for pair in merges]))
        except (TypeError, ValueError, AttributeError, LookupError):
            return None
    return answers, list(special_tokens)


def drive_recount(student, words, passes):
    """What a full recount costs: count all pairs, find the greatest, go through all words to merge; ``passes`` times."""
    from itertools import pairwise

    words = {tuple(bytes([byte]) for byte in word): 1 for word in words.split(b"\n")}
    left, right = b"\x00", b"\x01"
    for _ in range(passes):
        counts = {}
        for word, number in words.items():
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + number
        max(counts, key=lambda pair: (counts[pair], pair))
        for word in words:
            merged, at = [], 0
            while at < len(word):
                if at < len(word) - 1 and word[at] == left and word[at + 1] == right:
                    merged.append(left + right)
                    at += 2
                else:
                    merged.append(word[at])
                    at += 1
    return passes


def drive_encoding(student, vocab, merges, special_tokens, texts):
    import json
    import operator

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    tokenizer = student.Tokenizer(vocab, merges, special_tokens) if special_tokens else student.Tokenizer(vocab, merges)
    answers = []
    for text in texts:
        ids = tokenizer.encode(text)
        ids = list(ids) if hasattr(ids, "__iter__") else [None]
        answers.append([operator.index(i) if hasattr(i, "__index__") else None for i in ids])
    return answers


def drive_files(student, vocab_path, merges_path, special_tokens, texts):
    import operator

    open_files = getattr(student.Tokenizer, "from_files", None)
    if open_files is None:
        return None
    tokenizer = (
        open_files(vocab_path, merges_path, special_tokens) if special_tokens else open_files(vocab_path, merges_path)
    )
    if not hasattr(tokenizer, "encode"):
        return tokenizer is None
    answers = []
    for text in texts:
        ids = tokenizer.encode(text)
        ids = list(ids) if hasattr(ids, "__iter__") else [None]
        answers.append([operator.index(i) if hasattr(i, "__index__") else None for i in ids])
    return answers


def drive_decoding(student, vocab, merges, special_tokens, ids, one_by_one):
    """The text of these ids, given as a list or one by one."""
    import json

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    tokenizer = student.Tokenizer(vocab, merges, special_tokens) if special_tokens else student.Tokenizer(vocab, merges)
    text = tokenizer.decode((i for i in ids) if one_by_one else ids)
    return str(text) if isinstance(text, str) else None


def drive_arguments(student, vocab, merges, special_tokens, text):
    """What a tokenizer makes of its arguments, and the ids that it gives for a text."""
    import json
    import operator

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    ids = student.Tokenizer(vocab, merges, special_tokens).encode(text)
    return [operator.index(i) for i in ids], list(vocab.items()), [tuple(pair) for pair in merges], list(special_tokens)


def drive_nothing_special(student, vocab, merges, texts):
    """The ids of each text without special tokens: not given, None, and an empty list."""
    import json
    import operator

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    answers = []
    for given in [(), (None,), ([],)]:
        tokenizer = student.Tokenizer(dict(vocab), merges, *given)
        answers.append([[operator.index(i) for i in tokenizer.encode(text)] for text in texts])
    return answers


def drive_unknown_ids(student, vocab, merges, unknown):
    """What becomes of each of the unknown ids among known ones: a kind of error and its text."""
    import json

    vocab = {int(i): token.encode("latin-1") for i, token in json.loads(vocab).items()}
    tokenizer = student.Tokenizer(vocab, merges)
    answers = []
    for i in unknown:
        try:
            tokenizer.decode([65, i, 66])
            answers.append(("nothing", ""))
        except NotImplementedError:
            raise
        except ValueError as error:
            answers.append(("ValueError", str(error)))
        except Exception as error:
            answers.append((type(error).__name__, ""))
    return answers


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


# ---------------------------------------------------------------------------------------------------------------------
# Asking and judging


MERGES = list_of(anything, least=0)  # pairs of what, `expect_pairs` says
VOCAB = dict_of(anything, anything, least=0)  # its types are judged by one check, with a message of its own
IDS = list_of(either(int, type(None)), least=0)  # None for what is no integer
NO_RETRY = ("Missing", "Unsolved", "TimeLimit", "MemoryLimit", "Died")

SHAPE = "train_bpe must return two things: a dict from id to bytes, and a list of pairs of bytes"
UNTRAINED = "this is judged when the first merges of a plain text are right, and they are not yet"
TOO_FEW = "there are pairs to merge, but not as many merges came back as vocab_size allows"
UNENCODED = "this is judged when the bytes of the ids are the text, and they are not yet"
NOT_THE_TEXT = "the ids do not spell the text: joined, the bytes of their tokens are another text"
MORE = 4  # merges asked for beyond those that are looked at: how many come back has a check of its own


def with_or_without(judge: Callable[[list[str]], None]) -> None:
    """Judge with a special token that no text holds, and if that fails with none: one of the two must be right.

    Whoever stumbles over an empty list, or has not come to special tokens yet, loses the points of that alone.
    """
    try:
        return judge([ABSENT])
    except (Fail, StudentError) as first:
        if not isinstance(first, StudentError) or first.kind not in NO_RETRY[2:]:
            try:
                return judge([])
            except (Fail, StudentError):
                pass
        raise


def explained(error: StudentError, problems: dict[str, str] | None) -> Exception:
    """An exception that betrays a misconception (by its type's name) as a message; any other as it is."""
    return Fail(problems[error.kind]) if problems and error.kind in problems else error


def learnt_merges(student, jobs: list[tuple[bytes, int, list[str]]], problems=None) -> Iterator[list[Pair]]:
    """The student's merges for each file, vocab_size and special tokens, of the right types.

    The vocabulary stays there: to send it takes longer than to learn it. ``problems`` explains exceptions, but not
    those of the first file: code that always fails is told that it fails, and no more.
    """
    jobs = [(student.file(data), vocab_size, names) for data, vocab_size, names in jobs]
    first = len(jobs)
    while jobs:
        paths, sizes, special_tokens = map(list, zip(*jobs, strict=True))
        form = list_of(either(MERGES, type(None)), most=len(jobs))
        try:
            answers = ask(student, form, drive_merges, sizes, special_tokens, *paths)
        except StudentError as error:
            raise explained(error, problems if len(jobs) < first else None) from error
        for merges in answers:
            expect(merges is not None, SHAPE)
            expect_pairs(merges)
            yield merges
        jobs = jobs[len(answers) :]  # asked once more, the next job tells why it failed


def trained(student, data: bytes, vocab_size: int, special_tokens: list[str], problems=None):
    """The student's ``(vocab, merges, whether they came in the other order)``, of the right types."""
    form = either([VOCAB, MERGES, bool], type(None))
    try:
        answer = ask(student, form, drive_training, student.file(data), vocab_size, special_tokens)
    except StudentError as error:
        raise explained(error, problems) from error
    expect(answer is not None, SHAPE)
    expect_pairs(answer[1])
    return answer


def expect_pairs(merges: list) -> None:
    expect(
        all(type(pair) is tuple and len(pair) == 2 and {*map(type, pair)} == {bytes} for pair in merges),
        "merges must be a list of pairs of bytes objects, such as (b'a', b'b'): not ids, not str",
    )


def expect_learning(merges: Sequence[Pair], data: bytes, number: int, names: Sequence[str] = ()) -> None:
    """Fail unless most of the first ``number`` merges are right, or all are those of a known misconception.

    What is asked beside the merges (sizes, ids, what is refused, …) says something only of who learns from the text.
    """
    task, found = (data, number, tuple(names)), tuple(merges[:number])
    right = RIGHT.merges(*task)
    if 2 * len({*found} & {*right}) <= len(right):
        expect(any(found == trainer.merges(*task) for trainer, _ in OF_TRAINING), UNTRAINED)


def expect_words_learnt(merges: Sequence[Pair], frequent: dict[Word, int], data: bytes, few: int) -> bool:
    """Fail unless these merges are learnt from the text; whether they join what stands in the frequent words.

    Only such merges cost what right ones cost. Whose counts are wrong may merge other pairs of the same words, and is
    judged by the cost all the same.
    """
    joined, words = [left + right for left, right in merges], [b"".join(word) for word in frequent]
    begins = merges[0:1] == [*RIGHT.merges(data, 1, (ABSENT,))]
    grows = 4 * sum(len(token) > 2 for token in joined) > len(joined)
    inside = all(any(token in word for word in words) for token in joined)
    if not (begins and grows and inside) and 2 * frequent_choices(frequent, merges) <= len(merges):
        expect_learning(merges, data, few, [ABSENT])
    return inside


@dataclass(frozen=True)
class Lesson:
    """A file to learn ``number`` merges from, and what to say when they are others than the definition's.

    ``wrong`` are misconceptions to be tried before the usual ones, ``otherwise`` is said when none explains the merges.
    ``names`` None stands for a special token that the file does not hold. ``explained`` False says no more than
    ``otherwise``: the file only shows whether another difficulty is met.
    """

    data: bytes
    number: int
    otherwise: str
    names: Sequence[str] | None = None
    wrong: Sequence[tuple[Trainer, str]] = ()
    explained: bool = True


def judge_merges(student, rng, *lessons: Lesson, problems: dict[str, str] | None = None) -> None:
    """Compare the merges of each lesson with the definition's; name the misconception that explains a difference.

    A plain text comes first: what is wrong there is said, and nothing else.
    """
    lessons, confirmed = (Lesson(frequent_pairs(rng), 6, UNTRAINED), *lessons), confirmation(student, rng)
    beside = [lesson_beside_merges(rng), *pairs_that_share_letters(rng)]

    def judge(absent: list[str]) -> None:
        named = [replace(one, names=absent if one.names is None else one.names) for one in lessons]
        jobs = [(one.data, 256 + len(one.names) + one.number + MORE, list(one.names)) for one in named]
        for lesson, merges in zip(named, learnt_merges(student, jobs, problems), strict=True):
            judge_lesson(lesson, tuple(merges[: lesson.number]), confirmed, lambda: goes_wrong_beside(student, beside))

    with_or_without(judge)


BESIDE = (
    "in plain words of letters the first merge is right, and later ones go wrong: a merge joins two tokens and no "
    "more; then the pairs beside it must lose the word's count, and the new pairs gain it, once for each place"
)


@drawn
def lesson_beside_merges(rng) -> bytes:
    """Words of letters in which no pair stands twice, each often: only what a merge does to its neighbours is difficult."""

    def make() -> bytes:
        alphabet = letters(rng, 7)
        words = ["".join(rng.sample(alphabet, rng.randint(4, 7))) for _ in range(40)]
        return scattered(rng, rng.choices(words, [1 / (i + 1) for i in range(40)], k=400))

    def good(data: bytes) -> bool:
        neutral = (SMALLEST, ONCE_PER_WORD, REPLACING, WHOLE)
        return agree(data, BESIDE_MERGES, *neutral) and differ(data, 1, UNWEIGHTED)

    return draw(make, good)


BESIDE_MERGES = 6


def goes_wrong_beside(student, texts: list[bytes]) -> bool:
    """Whether of plain words the first merge is learnt, and not all of the next ones are."""
    for names in ([ABSENT], []):
        numbers = [BESIDE_MERGES, *[3] * (len(texts) - 1)]
        jobs = [(data, 256 + len(names) + number, names) for data, number in zip(texts, numbers, strict=True)]
        with suppress(StudentError, Fail):
            for (data, _, _), number, merges in zip(jobs, numbers, learnt_merges(student, jobs), strict=True):
                right = RIGHT.merges(data, number)
                if merges[:1] == [right[0]] and len(merges) == number and tuple(merges) != right:
                    return True
            return False
    return False


@drawn
def text_of_everything(rng) -> bytes:
    """A text with all that training can get wrong."""
    words = [word.replace("e", rng.choice(["e", "e", "é"])) for word in small_language(rng, 6, 60)]
    words += [letter * rng.randint(3, 7) for letter in letters(rng, 8)]
    lines = [ordinary_text(rng, ordinary_words(rng, 30), 12), " ".join(words * 2), " ".join(rng.choices(words, k=80))]
    return "\r\n".join(lines).encode()


CONFIRMED = 60  # merges


def alike(merges: Sequence[Pair], others: Sequence[Pair]) -> tuple[int, int]:
    """How many merges two trainers have made alike before the first that is another one, and how many in all."""
    both = min(len(merges), len(others))
    other = (i for i in range(both) if merges[i] != others[i])
    return next(other, both), len({*merges} & {*others})


Explanations = list[tuple[Trainer, str]]


def confirmation(student, rng) -> Callable[[Explanations, Sequence[str]], str]:
    """Of misconceptions that explain some merges, the message of the one that best explains another text, too; or "".

    A few merges of one file may be those of a misconception by chance: then none explains the other text better than
    having no misconception does. Where it does not show, or nothing is learned, there is nothing to say against the first.
    """
    data, answers = text_of_everything(rng), {}

    def confirmed(found: Explanations, names: Sequence[str]) -> str:
        names = tuple(names)
        if names not in answers:
            answers[names] = ()
            try:
                (answers[names],) = learnt_merges(student, [(data, 256 + len(names) + CONFIRMED, list(names))])
            except StudentError as error:
                answers[names] = () if error.kind in NO_RETRY else None
            except Fail:
                pass
        if answers[names] is None:
            return ""  # code that raises is not explained by a misconception that does not
        right = RIGHT.merges(data, CONFIRMED, names)
        fits = [(alike(answers[names], one.merges(data, CONFIRMED, names)), message) for one, message in found]
        best, message = max(fits, key=lambda pair: pair[0])
        shows = found[0][0].merges(data, CONFIRMED, names) != right
        return message if not shows or not answers[names] or best > alike(answers[names], right) else ""

    return confirmed


def judge_lesson(
    lesson: Lesson, merges: tuple[Pair, ...], confirmed: Callable[..., str], beside: Callable[[], bool]
) -> None:
    task = lesson.data, lesson.number, tuple(lesson.names)
    right = RIGHT.merges(*task)
    if merges == right:
        return
    expect(lesson.explained, lesson.otherwise)
    expect(len(merges) >= len(right), TOO_FEW)
    turned = tuple((second, first) for first, second in right)
    expect(merges != turned, "the two tokens of each merge are exchanged: the left one comes first")
    found = [(one, message) for one, message in [*lesson.wrong, *OF_TRAINING] if merges == one.merges(*task)]
    if found and (message := confirmed(found, lesson.names)):
        raise Fail(message)
    expect(lesson.otherwise == UNTRAINED or not beside(), BESIDE)
    # only ties are wrong where each merge, after all before it, joins one of the most frequent pairs
    expect(frequent_choices(RIGHT.words(*task[0::2]), merges) < len(merges), f"ties are broken wrongly: {TIES}")
    raise Fail(lesson.otherwise)


def frequent_choices(words: dict[Word, int], merges: Sequence[Pair]) -> int:
    """How many of these merges, each made in its turn, join a pair that is one of the most frequent."""
    found = 0
    for pair in merges:
        counts = count(words)
        found += counts.get(pair) == max(counts.values(), default=0)
        words = {merge(word, pair): times for word, times in words.items()}
    return found


def as_text(vocab: dict[int, bytes]) -> str:
    """A vocabulary in the form in which drivers get it, which takes less time to send than a dict of bytes."""
    return json.dumps({i: token.decode("latin-1") for i, token in vocab.items()})


PLAIN_MERGES = [(b"n", b"o"), (b"no", b"w")]
PLAIN_TEXTS = ["now on"]
IDLE_MERGES = [(b"\x01", b"\x02")]  # apply to no text of ours; an empty list may be taken for an untrained tokenizer
NO_PLAIN_WORD = "this is judged when an ordinary word is encoded rightly, and it is not yet"


def encoded(student, vocab, merges, special_tokens, texts: list[str], problems=None) -> list[list[int]]:
    form = list_of(IDS, len(texts))
    try:
        answers = ask(student, form, drive_encoding, as_text(vocab), merges, special_tokens, texts)
    except StudentError as error:
        if problems and error.kind in problems:  # only where an ordinary word is encoded
            plain = as_text(vocab_of(PLAIN_MERGES, [ABSENT]))
            ask(student, list_of(IDS, 1), drive_encoding, plain, PLAIN_MERGES, None, ["now on"])
        raise explained(error, problems) from error
    expect(all(type(i) is int for ids in answers for i in ids), "encode must return a list of ints")
    return answers


def judge_ids(
    answers: list[list[int]],
    vocab: dict[int, bytes],
    merges: list[Pair],
    texts: list[str],
    otherwise: str,
    special_tokens: list[str] | None = None,
    wrong: list[tuple[Encoder, str]] | None = None,
) -> None:
    """Compare ids with the definition's; name the misconception that explains all of them."""
    if answers == ENCODER.encode_all(vocab, merges, texts, special_tokens):
        return
    for encoder, message in [*(wrong or []), *OF_ENCODING]:
        if answers == encoder.encode_all(vocab, merges, texts, special_tokens):
            raise Fail(message)
    if not special_tokens:
        spelt = all(spelling(ids, vocab) == text.encode() for ids, text in zip(answers, texts, strict=True))
        expect(spelt, NOT_THE_TEXT)
    raise Fail(otherwise)


def spelling(ids: list[int], vocab: dict[int, bytes]) -> bytes | None:
    """The bytes of these ids; None when the vocabulary lacks one."""
    return b"".join(map(vocab.__getitem__, ids)) if vocab.keys() >= {*ids} else None


def judge_encoding(student, vocab, merges, texts: list[str], otherwise: str, *, wrong=None, problems=None) -> None:
    """Encode texts without special tokens, with a tokenizer that may have one; first an ordinary word."""
    plain = vocab_of(PLAIN_MERGES)

    def judge(names: list[str]) -> None:
        answers = encoded(student, plain, PLAIN_MERGES, names or None, PLAIN_TEXTS)
        judge_ids(answers, plain, PLAIN_MERGES, PLAIN_TEXTS, NO_PLAIN_WORD)
        answers = encoded(student, vocab, merges, names or None, texts, problems)
        judge_ids(answers, vocab, merges, texts, otherwise, None, wrong)

    with_or_without(judge)


# ---------------------------------------------------------------------------------------------------------------------
# Drawing inputs


def draw(make: Callable[[], bytes | str | list], good: Callable[..., bool]):
    """The first input made that is good for its purpose."""
    for _ in range(500):
        made = make()
        if good(made):
            return made
    raise AssertionError("no suitable input was found")


def agree(data: bytes, number: int, *trainers: Trainer, special_tokens: tuple[str, ...] = ()) -> bool:
    """Whether these trainers' merges are the right ones: their difficulty does not show in this input."""
    right = RIGHT.merges(data, number, special_tokens)
    return all(trainer.merges(data, number, special_tokens) == right for trainer in trainers)


def differ(data: bytes, number: int, *trainers: Trainer, special_tokens: tuple[str, ...] = ()) -> bool:
    """Whether all of these trainers go wrong on this input."""
    right = RIGHT.merges(data, number, special_tokens)
    return all(trainer.merges(data, number, special_tokens) != right for trainer in trainers)


def letters(rng: random.Random, number: int, alphabet: str = ascii_lowercase) -> list[str]:
    return rng.sample(alphabet, number)


def planted(rng: random.Random, hot: dict[str, int], *, before: str = "", after: str = "", bare: str = "") -> list[str]:
    """Distinct words in which each string of ``hot`` stands so many times among letters that are rare.

    Pairs inside the strings are frequent, all others rare, and each word occurs once: neither weights nor what
    happens at the borders of words has a part in the first merges. ``bare`` takes letters out of the rare ones.
    """
    used = set("".join(hot)) | set(bare)
    rare = [letter for letter in ascii_letters if letter not in used]
    words: list[str] = []
    for string, times in hot.items():
        frames = rng.sample([(a, b) for a in rare for b in rare], times)
        words += [before + a + string + b + after for a, b in frames]
    rng.shuffle(words)
    return words


def scattered(rng: random.Random, words: list[str]) -> bytes:
    """A file of these words, between separators of so many kinds that no pair across a border is frequent."""
    return "".join(word + rng.choice(SEPARATORS) for word in words).encode()


def spread(rng: random.Random, number: int, low: int, step: int) -> list[int]:
    """Well separated counts in random order."""
    counts = [low + step * i + rng.randrange(max(step - 1, 1)) for i in range(number)]
    rng.shuffle(counts)
    return counts


def random_name(rng: random.Random) -> str:
    """A name for a special token without any character that means something in a regular expression."""
    return "<" + "".join(rng.choices(ascii_lowercase, k=rng.randint(4, 8))) + ">"


def small_language(rng: random.Random, number_of_letters: int, number_of_words: int) -> list[str]:
    """Words over a few letters, so that merges build on merges."""
    alphabet = letters(rng, number_of_letters)
    return ["".join(rng.choices(alphabet, k=rng.randint(2, 9))) for _ in range(number_of_words)]


def learnt(rng: random.Random, number_of_letters: int = 5, number: int = 24) -> tuple[list[str], list[Pair]]:
    """Words of a small language and merges learnt from them, all with different results."""

    def make() -> tuple[list[str], list[Pair]]:
        words = small_language(rng, number_of_letters, 60)
        return words, list(RIGHT.merges(" ".join(words).encode(), number))

    return draw(make, lambda made: len({a + b for a, b in made[1]}) == number)


COMMON = """the of and to in that it was he for on with as his they be at one have this from or had by not but what were
we when your can said there use an each which she do how their if will up other about out many then them these so some
her would make like him into time has look two more write go see way could my than first been call who its now find
long down day did get come made may part""".split()


def invented_words(rng: random.Random, number: int) -> list[str]:
    """Words as a language may have them, in none of which a pair of letters stands twice."""

    def word() -> str:
        starts, middles, ends = "bcdfghlmnprstvwy", "aeiou", ["", "n", "r", "s", "st", "nd", "l", "ck", "ng"]
        syllables = [rng.choice(starts) + rng.choice(middles) + rng.choice(ends) for _ in range(rng.randint(1, 3))]
        return "".join(syllables)

    def simple(word: str) -> bool:
        pairs = [*pairwise(word)]
        return len({*pairs}) == len(pairs)

    found: dict[str, None] = {}
    while len(found) < number:
        found[draw(word, simple)] = None
    return list(found)


def sentences(rng: random.Random, lexicon: list[str], number: int) -> Iterator[str]:
    """Sentences with commas, quotes, numbers and contractions, in ASCII."""
    weights = [1 / (place + 3) for place in range(len(lexicon))]
    for _ in range(number):
        words = rng.choices(lexicon, weights, k=rng.randint(5, 14))
        words[0] = words[0].capitalize()
        at = rng.randrange(1, len(words))
        words[at] = rng.choice(
            [words[at]] * 6 + [f"{words[at]},", f"{words[at]}'s", f'"{words[at]}"', str(rng.randint(2, 1999)), "don't"]
        )
        yield " ".join(words) + rng.choice("....!?")


def ordinary_text(rng: random.Random, lexicon: list[str], number: int) -> str:
    """Paragraphs of such sentences."""
    text = ""
    for sentence in sentences(rng, lexicon, number):
        text += sentence + rng.choice([" ", " ", " ", "\n", "\n\n"])
    return text.strip() + "\n"


def ordinary_words(rng: random.Random, number: int = 110) -> list[str]:
    """Words of a text, the frequent ones first."""
    return rng.sample(COMMON[:40], 40) + rng.sample([*COMMON[40:], *invented_words(rng, number)], number)


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 1: pre-tokenise


@drawn
def borders_with_frequent_pairs(rng) -> bytes:
    def make() -> bytes:
        last, *first = letters(rng, 4)
        words = []
        for start, times in zip(first, (24, 16, 9), strict=True):
            words += [start + word[0] + word[-1] + last for word in planted(rng, {start: times}, bare=last)]
        rng.shuffle(words)
        return ("".join(" " + word for word in words) + "\n").encode()

    return draw(make, lambda d: agree(d, 3, UNWEIGHTED, SMALLEST, STALE) and differ(d, 3, WHOLE, SPACES, LINES))


def plain_borders(rng) -> Lesson:
    """Words with a space in front: who does not cut there hears of that, and of nothing else."""
    message = "a text of words with the space in front gives wrong merges: does a pre-token keep that space, and end before the next?"
    return Lesson(borders_with_frequent_pairs(rng), 3, message)


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


IN_ASCII = "this is judged when the same text in letters a-z gives the right merges, and it does not yet"


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


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 2: count pairs


@drawn
def words_of_different_weight(rng) -> bytes:
    def make() -> bytes:
        a, b, c, d, e, f = letters(rng, 6)
        few, many = rng.randint(34, 40), rng.randint(22, 26)
        words = planted(rng, {a + b: many, c + d: 14}, bare=e + f) + [e + f] * few
        rng.shuffle(words)
        return scattered(rng, words)

    return draw(make, lambda d: agree(d, 3, SMALLEST, WHOLE) and differ(d, 3, UNWEIGHTED))


@check("count_pairs", points=2, title="a word's pairs count as often as the word occurs")
def weighs_words_by_their_count(student, rng):
    message = "a text in which one word comes again and again gives wrong merges: does each time count, before a merge and after it?"
    judge_merges(student, rng, Lesson(words_of_different_weight(rng), 3, message))


@drawn
def pairs_twice_in_a_word(rng) -> bytes:
    def make() -> bytes:
        a, b, c, d, x = letters(rng, 5)
        times = rng.randint(12, 15)
        words = planted(rng, {a + b + x + a + b: times, c + d: times + times // 2}, bare=x)
        return scattered(rng, [word.replace(x, rng.choice("ÀÂÇÈÉÊËÎÏÑÔÛÜ".lower() + "AEIOU")) for word in words])

    return draw(make, lambda d: agree(d, 2, SMALLEST, WHOLE, UNWEIGHTED) and differ(d, 2, ONCE_PER_WORD))


@drawn
def four_in_a_row(rng) -> bytes:
    def make() -> bytes:
        a, c, d = letters(rng, 3)
        times = rng.randint(12, 15)
        return scattered(rng, planted(rng, {a * 4: times, c + d: 2 * times + times // 2}))

    wrong = [WITHOUT_OVERLAP, ONCE_PER_WORD]
    return draw(make, lambda d: agree(d, 2, SMALLEST, WHOLE, UNWEIGHTED) and differ(d, 2, *wrong))


@check("count_pairs", points=2, title="every position counts, overlapping ones too")
def counts_every_position(student, rng):
    twice = "a text with words that hold a pair twice gives wrong merges: it counts twice there"
    runs = "a text with four equal letters in a row gives wrong merges: they hold three pairs"
    judge_merges(
        student,
        rng,
        Lesson(pairs_twice_in_a_word(rng), 2, twice),
        Lesson(four_in_a_row(rng), 2, runs, wrong=named(WITHOUT_OVERLAP)),
    )


@drawn
def pairs_that_share_letters(rng) -> list[bytes]:
    """Pairs with a frequent neighbour, once on their right and once on their left."""

    def make(turned: bool) -> bytes:
        x, y, z, p, q = letters(rng, 5)
        three, two = (z + x + y, z + x) if turned else (x + y + z, y + z)
        hot = {
            three: rng.randint(19, 21),
            x + y: rng.randint(8, 10),
            two: rng.randint(4, 6),
            p + q: rng.randint(14, 16),
        }
        return scattered(rng, planted(rng, hot))

    def good(data: bytes) -> bool:
        return agree(data, 3, SMALLEST, WHOLE, UNWEIGHTED) and differ(data, 3, STALE, NOTHING_NEW)

    return [draw(lambda turned=turned: make(turned), good) for turned in (False, True, False, True)]


@check("count_pairs", points=2, title="counts follow the merges made so far")
def follows_earlier_merges(student, rng):
    message = (
        "where pairs share letters the merges go wrong: does a merge remove the pairs beside it, and make new ones?"
    )
    judge_merges(student, rng, *(Lesson(data, 3, message) for data in pairs_that_share_letters(rng)))


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 3: merge


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
        return agree(data, 4, SMALLEST, WHOLE, UNWEIGHTED) and differ(data, 4, REPLACING)

    return [draw(make, good) for _ in range(2)]


@check("merge", points=2, title="only two whole tokens are joined")
def joins_only_whole_tokens(student, rng):
    wrong = [(REPLACING, "the pair was also merged where its left part is only the end of a longer token")]
    message = "where a token ends with the left part of a pair the merges go wrong: are whole tokens compared?"
    judge_merges(student, rng, *(Lesson(data, 4, message, wrong=wrong) for data in ends_of_longer_tokens(rng)))


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 4: train


@drawn
def frequent_pairs(rng) -> bytes:
    """A file whose first six merges are of six letter pairs with different counts, for nearly every trainer."""

    def make() -> bytes:
        names = letters(rng, 12)
        strings = [a + b for a, b in zip(names[:6], names[6:], strict=True)]
        return scattered(rng, planted(rng, dict(zip(strings, spread(rng, 6, 10, 4), strict=True))))

    return draw(make, lambda d: agree(d, 6, SMALLEST, WHOLE, UNWEIGHTED))


@drawn
def ties(rng) -> list[bytes]:
    """Ties of letters, of a merged token, of tokens that join differently, of a space, of letters of two bytes."""
    neutral = (WHOLE, UNWEIGHTED, ONCE_PER_WORD)
    simple = [SMALLEST, FIRST_SEEN, LAST_SEEN]

    def single() -> bytes:
        names = letters(rng, 8)
        return scattered(rng, planted(rng, {a + b: 15 for a, b in zip(names[:4], names[4:], strict=True)}))

    def merged() -> bytes:  # the token merged later has the greater id and the smaller bytes
        low, high = sorted(letters(rng, 2, "bcdefghijklmnopqrstuvwxy"))
        a, b, c, d = letters(rng, 4, "".join(sorted(set(ascii_lowercase) - {low, high})))
        return scattered(rng, planted(rng, {high + a: 24, low + b: 18, high + a + c: 12, low + b + d: 12}))

    def begins() -> bytes:  # (b"ab", b"c") is greater than (b"a", b"d"): `ab` is, which begins with `a`
        low, middle, high = sorted(letters(rng, 3))
        first = rng.choice(sorted(set(ascii_lowercase) - {low, middle, high}))
        return scattered(rng, planted(rng, {first + high: 20, first + high + low: 12, first + middle: 12}))

    def joined() -> bytes:  # and even where b"abc" is smaller than b"ad"
        low, middle, high = sorted(letters(rng, 3))
        first = rng.choice(sorted(set(ascii_lowercase) - {low, middle, high}))
        return scattered(rng, planted(rng, {first + low: 20, first + low + middle: 12, first + high: 12}))

    def spaced() -> bytes:  # a space is a small byte, but a late character in GPT-2's printable alphabet
        a, b, c = letters(rng, 3)
        words = planted(rng, {a + b: 15}, bare=c)
        words += [" " + word[1:] for word in planted(rng, {c: 15}, bare=a + b)]
        rng.shuffle(words)
        return scattered(rng, words)

    def high() -> bytes:  # letters of two bytes, and of one
        return scattered(rng, planted(rng, {rng.choice("àâçèéêëî"): 15, rng.choice("жзийклмн"): 15, "xy"[::-1]: 15}))

    def all_differ(data: bytes) -> bool:
        trainers = (RIGHT, GREATEST_WRITTEN, GREATEST_DECODED, GREATEST_IGNORING)
        return len({trainer.merges(data, 3) for trainer in trainers}) == len(trainers)

    return [
        draw(single, lambda d: agree(d, 4, *neutral) and differ(d, 4, *simple)),
        draw(merged, lambda d: agree(d, 4, *neutral, STALE) and differ(d, 4, SMALLEST, GREATEST_IDS)),
        draw(
            begins,
            lambda d: agree(d, 3, *neutral, STALE, GREATEST_JOINED) and differ(d, 3, SMALLEST, GREATEST_INVERTED),
        ),
        draw(joined, lambda d: agree(d, 3, *neutral, STALE) and differ(d, 3, SMALLEST, GREATEST_JOINED)),
        draw(spaced, lambda d: agree(d, 2, *neutral) and differ(d, 2, GREATEST_PRINTABLE)),
        draw(high, lambda d: agree(d, 3, *neutral, STALE) and all_differ(d)),
    ]


@check("train", points=2, title="ties go to the greatest pair of byte strings")
def ties_go_to_the_greatest_pair(student, rng):
    likely = [[], named(GREATEST_IDS), named(GREATEST_INVERTED), named(GREATEST_JOINED), named(GREATEST_PRINTABLE)]
    likely.append([*named(GREATEST_WRITTEN), *named(GREATEST_DECODED), *named(GREATEST_IGNORING)])
    message = "a text with pairs that are equally frequent gives wrong merges"
    tasks = zip(ties(rng), (4, 4, 3, 3, 2, 3), likely, strict=True)
    judge_merges(student, rng, *(Lesson(data, number, message, wrong=wrong) for data, number, wrong in tasks))


@check("train", points=1, title="ids: special tokens, then the 256 bytes, then merges in order")
def ids_are_in_order(student, rng):
    names = sorted({random_name(rng) for _ in range(4)}, key=len, reverse=True)[: rng.randint(2, 3)]
    data = frequent_pairs(rng) + names[0].encode()
    vocab, merges, turned = trained(student, data, 256 + len(names) + 6, names)
    expect(len(merges) > 0, "there are pairs to merge, but no merges came back")
    expect_learning(merges, data, min(6, len(merges)), names)
    expect(not turned, "the merges came first: train_bpe returns the vocabulary, then the merges")
    expect(
        all(type(i) is int for i in vocab), "the vocabulary must map ids to bytes: its keys are ints, its values bytes"
    )
    expect(all(type(t) is bytes for t in vocab.values()), "the values of the vocabulary must be bytes objects")
    specials = [name.encode() for name in names]
    singles = [bytes([byte]) for byte in range(256)]
    joined = [left + right for left, right in merges]
    if vocab == dict(enumerate([*specials, *singles, *joined])):
        return
    for tokens, message in [
        ([*singles, *specials, *joined], "special tokens come after the bytes: they take the first ids"),
        ([*singles, *joined, *specials], "special tokens come last: they take the first ids"),
        ([*singles, *joined], "special tokens are missing from the vocabulary: they take the first ids"),
        ([*specials, *joined, *singles], "merges come before the bytes: first special tokens, then bytes, then merges"),
        ([*specials, *singles], "merged tokens are missing from the vocabulary"),
        (
            [*sorted(specials), *singles, *joined],
            "special tokens were sorted: they take ids in the order in which they are given",
        ),
    ]:
        expect(vocab != dict(enumerate(tokens)), message)
    ids = "the ids of the vocabulary are not 0, 1, 2, … without a gap"
    expect(set(vocab) == set(range(len(vocab))), ids)
    raise Fail("the vocabulary is not special tokens in the order given, then bytes 0 to 255, then merges in order")


@check("train", points=2, title="vocab_size counts special tokens and bytes too")
def vocab_size_is_the_whole_size(student, rng):
    names = sorted({random_name(rng) for _ in range(4)})[:3]
    data, number = frequent_pairs(rng), rng.randint(5, 9)
    jobs = [(data, 256 + len(names) + number, names), (data, 256 + 1 + number + 2, [ABSENT]), (data, 256 + 3, names)]
    merges, others, none = learnt_merges(student, jobs)
    expect(len(merges) > 0, "there are pairs to merge, but no merges came back")
    expect_learning(merges, data, min(5, len(merges)), names)
    sizes = len(merges) - number, len(others) - number - 2
    expect(sizes != (3, 1), "special tokens were not counted: the vocabulary is larger than vocab_size")
    expect(sizes != (-1, -1), "one merge is missing: the vocabulary must reach vocab_size, not vocab_size - 1")
    expect(sizes != (1, 1), "there is one merge too many: the vocabulary must end at vocab_size")
    expect(max(sizes) <= 0, "too many merges: vocab_size counts the special tokens and the 256 bytes too")
    expect(min(sizes) >= 0, "too few merges: vocab_size - 256 - number of special tokens were possible")
    expect(none == [], "the smallest vocabulary, 256 bytes and the special tokens, has no merges")


@check("train", points=1, title="an empty list of special tokens is allowed")
def no_special_tokens_are_needed(student, rng):
    data = frequent_pairs(rng)
    jobs = [(data, 256 + 1 + 6 + MORE, [ABSENT]), (data, 256 + 6 + MORE, [])]
    message = (
        "with an empty list of special tokens training fails: an empty pattern matches everywhere, and [][0] is nothing"
    )
    kinds = ["IndexError", "ValueError", "TypeError", "error", "PatternError", "AttributeError", "KeyError"]
    answers = []
    for merges, names in zip(learnt_merges(student, jobs, dict.fromkeys(kinds, message)), ([ABSENT], []), strict=True):
        answers.append(merges[:6])
        if names:
            expect_learning(merges, data, 6, names)
    wrong = "with an empty list of special tokens other merges come out: then the text must not be cut at all"
    expect(answers[0] == answers[1], wrong)


@check("train", points=1, title="training ends when no pair is left, and an empty file is no error")
def stops_when_no_pair_is_left(student, rng):
    number = rng.randint(5, 9)  # the first merge begins with the greatest letter, and has a neighbour on its left
    word = draw(lambda: "".join(letters(rng, number)), lambda word: 0 < word.index(max(word)) < number - 1)
    files = [(word.encode(), len(word) - 1), (b"", 0), (word[0].encode(), 0)]
    problem = "training raised an exception when no pair was left: it must end there with a smaller vocabulary"
    kinds = ["ValueError", "IndexError", "KeyError", "StopIteration", "TypeError", "RuntimeError", "AttributeError"]
    problems, plain = dict.fromkeys(kinds, problem), frequent_pairs(rng)

    def judge(names: list[str]) -> None:
        (first,) = learnt_merges(student, [(plain, 256 + len(names) + 6 + MORE, names)])
        expect_learning(first, plain, 6, names)
        if files[0][1] > 1:  # what fails before the end is no failure at the end
            trained(student, files[0][0], 256 + len(names) + files[0][1] - 1, names)
        for data, number in files:
            vocab, merges, _ = trained(student, data, 256 + 40, names, problems)
            pairs = frequent_choices(RIGHT.words(data), merges)
            gone = "pairs are merged that no longer stand anywhere: end when no pair is left"
            expect(pairs == len(merges) or pairs < number, gone)
            expect(pairs == len(merges), "a merge joins two tokens that the merges before it have not left side by side")
            expect(number == 0 or len(merges) > 0, "a pair that occurs once is a pair too: go on until no pair is left")
            expect(len(merges) == number, "training must go on until every word is one token, and end there")
            expect(
                len(vocab) == 256 + len(names) + number,
                "the vocabulary holds special tokens, the 256 bytes and one token for each merge, even for an empty file",
            )

    with_or_without(judge)


def judge_refusals(student, rng, *jobs: tuple[int, list[str], str]) -> None:
    """Each vocab_size and list of special tokens must be refused, by a trainer that learns when they are good."""
    data, names = frequent_pairs(rng), sorted({random_name(rng) for _ in range(8)})[:2]
    (merges,) = learnt_merges(student, [(data, 256 + 2 + 6 + MORE, names)])
    expect(len(merges) > 0, "there are pairs to merge, but no merges came back")
    expect_learning(merges, data, min(6, len(merges)), names)
    path = student.file(data)
    for size, names, what in jobs:
        outcome = ask(student, str, drive_refusal, path, size, names)
        expect(outcome != "nothing", f"{what} was accepted: raise a ValueError that says what is wrong")
        expect(
            outcome == "ValueError", f"{what} raised {known_kind(outcome)}: raise a ValueError that says what is wrong"
        )


@check("train", points=0.5, title="a vocab_size that is too small is refused with a ValueError")
def small_sizes_are_refused(student, rng):
    names = sorted({random_name(rng) for _ in range(8)})[:3]
    below = (rng.randint(1, 200), names[:1], "a vocab_size below 256")
    small = "a vocab_size below 256 + number of special tokens"
    judge_refusals(student, rng, below, (255 + 3, names, small), (256, names[:1], small))


@check("train", points=0.5, title="a special token that is given twice is refused with a ValueError")
def double_tokens_are_refused(student, rng):
    one, two = sorted({random_name(rng) for _ in range(8)})[:2]
    judge_refusals(student, rng, (300, [one, two, one], "a special token that is given twice"))


@check("train", points=0.5, title="an empty special token is refused with a ValueError")
def empty_tokens_are_refused(student, rng):
    judge_refusals(student, rng, (300, [random_name(rng), ""], "an empty special token"))


@drawn
def names_in_no_order(rng) -> list[str]:
    """Special tokens, one of which is a longer form of another, not ordered by length or by letters."""
    names = sorted({random_name(rng) for _ in range(6)}, key=len)
    names = [names[0], names[-1], names[2], names[0][:-1] + "longer>"]
    orders = [sorted(names, key=key, reverse=turned) for key in (len, str) for turned in (False, True)]
    return draw(lambda: rng.sample(names, len(names)), lambda shuffled: all(shuffled != order for order in orders))


@drawn
def frequent_pairs_and_a_language(rng) -> bytes:
    def make() -> bytes:
        return frequent_pairs(rng) + " ".join(small_language(rng, 3, 6)).encode()

    return draw(make, lambda d: agree(d, 6, SMALLEST, WHOLE, UNWEIGHTED))


@check("train", points=1, title="arguments are left unchanged, and a second call gives the same answer")
def arguments_are_left_unchanged(student, rng):
    names = names_in_no_order(rng)
    data = frequent_pairs_and_a_language(rng)
    form = either([list_of([VOCAB, MERGES], 2), list_of(str, least=0)], type(None))
    answer = ask(student, form, drive_training_twice, student.file(data), 256 + len(names) + 16, list(names))
    expect(answer is not None, SHAPE)
    (first, second), after = answer
    for vocab, merges in (first, second):
        expect_pairs(merges)
        simple = {*map(type, [*vocab, *vocab.values()])} <= {int, bytes, str}
        expect(simple, "the vocabulary must map ids to bytes: its keys are ints, its values bytes")
    expect(len(first[1]) > 0, "there are pairs to merge, but no merges came back")
    expect_learning(first[1], data, min(6, len(first[1])), names)
    expect(
        after == names, "the list special_tokens was changed by train_bpe: work on a copy, sorted(…) instead of .sort()"
    )
    again = "a second call with the same arguments gives another answer: something is kept between calls"
    expect(first == second, again)


@drawn
def small_languages(rng) -> list[bytes]:
    """Files in which each misconception of importance goes wrong somewhere."""
    wrong = [WHOLE, SPACES, UNWEIGHTED, ONCE_PER_WORD, WITHOUT_OVERLAP, STALE, FROM_THE_RIGHT, ONLY_FIRST, REPLACING]
    wrong += [SMALLEST, FIRST_SEEN, LAST_SEEN, GREATEST_IDS, GREATEST_JOINED, GREATEST_PRINTABLE]

    def make() -> list[bytes]:
        files = []
        for number_of_letters in (3, 5, 8):
            words = small_language(rng, number_of_letters, 30)
            words = rng.choices(words, weights=[1 / (i + 1) for i in range(len(words))], k=120)
            files.append(" ".join(words).encode())
        return files

    def good(files: list[bytes]) -> bool:
        right = [RIGHT.merges(data, 25) for data in files]
        return all(any(t.merges(data, 25) != merges for data, merges in zip(files, right, strict=True)) for t in wrong)

    return draw(make, good)


@drawn
def text_without_ties(rng) -> bytes:
    """Ordinary text, of which the first merges are of pairs that are all more frequent than the others."""

    def make() -> bytes:
        return ordinary_text(rng, ordinary_words(rng), 500).encode()

    def good(data: bytes) -> bool:
        neutral = (SMALLEST, ONCE_PER_WORD, WITHOUT_OVERLAP, FROM_THE_RIGHT, ONLY_FIRST, OVERLAPPING, REPLACING)
        wrong = (UNWEIGHTED, STALE, NOTHING_NEW)
        return agree(data, 20, *neutral) and differ(data, 20, *wrong)

    return draw(make, good)


NOT_YET = "the checks of single difficulties say why; if all of them pass, compare your merges one by one with the slow trainer's"


@check("train", points=15.5, title="together: an ordinary text is learned")
def an_ordinary_text_is_learned(student, rng):
    message = f"the merges of an ordinary text are not the right ones yet: {NOT_YET}"
    judge_merges(student, rng, Lesson(text_without_ties(rng), 20, message))


@drawn
def documents_with_ties(rng) -> bytes:
    """Ordinary text in many short documents, each with a special token behind it."""

    def make() -> bytes:
        lexicon = ordinary_words(rng)
        documents = [ordinary_text(rng, lexicon, rng.randint(1, 4)) for _ in range(70)]
        return "".join(document + ABSENT + "\n" for document in documents).encode()

    def good(data: bytes) -> bool:
        names = (ABSENT,)
        return agree(data, 100, SPECIALS_REMOVED, special_tokens=names) and differ(
            data, 100, SPECIALS_AS_TEXT, SMALLEST, special_tokens=names
        )

    return draw(make, good)


@drawn
def random_words(rng) -> bytes:
    """Words of twenty letters, for a run of merges long enough to meet every disorder of a queue."""
    words = small_language(rng, 20, 220)
    return " ".join(rng.choices(words, weights=[1 / (i + 1) for i in range(len(words))], k=900)).encode()


@check("train", points=4, title="together: long runs on documents and on random words, with ties")
def long_runs_agree(student, rng):
    documents = f"a long run on documents goes wrong: {NOT_YET}"
    words = f"a run of many merges on random words goes wrong: {NOT_YET}"
    judge_merges(
        student,
        rng,
        Lesson(documents_with_ties(rng), 100, documents, [ABSENT]),
        *(Lesson(data, 25, words) for data in small_languages(rng)),
        Lesson(random_words(rng), 200, words),
    )


@drawn
def frequent_and_rare_words(rng) -> tuple[dict[str, int], list[str]]:
    """Words that win every merge, with their counts, and words that none touches: each of their 169 pairs is rare."""
    cold = letters(rng, 13)
    hot = [letter for letter in ascii_lowercase if letter not in cold]
    filler = ["".join(rng.choices(cold, k=30)) for _ in range(300)]
    return {"".join(rng.choices(hot, k=9)): rng.randint(150, 210) for _ in range(12)}, filler


@drawn
def written_anew(rng, hot: tuple[tuple[str, int], ...], filler: tuple[str, ...]) -> tuple[bytes, dict[Word, int]]:
    """A file of these words in another order and with other letters, which costs the same; its frequent words."""
    letter = str.maketrans(ascii_lowercase, "".join(rng.sample(ascii_lowercase, 26)))
    words = [*filler, *(word for word, times in hot for _ in range(times))]
    data = "\n".join(rng.sample(words, len(words))).translate(letter)
    return data.encode(), {spell(word.translate(letter)): times for word, times in hot}


@check("train", points=2, title="a merge costs what it changes: no full recount", seconds=120)
def does_not_recount_everything(student, rng):
    hot, filler = frequent_and_rare_words(rng)
    few, many, passes = 4, 44, 11
    least = dict.fromkeys(("recount", "recounts", "few", "many"), float("inf"))  # a busy machine only adds to a time

    def recount(name: str, times: int) -> None:  # where no code of the student's ever ran
        least[name] = min(least[name], student.yardstick(drive_recount, "\n".join(filler).encode(), times))

    def learn(name: str, number: int) -> None:  # another file each time, so that nothing can be known before
        data, frequent = written_anew(rng, tuple(hot.items()), tuple(filler))
        job = drive_merges, [256 + 1 + number], [[ABSENT]], student.file(data)
        answer, seconds = student.timed(*job)
        (merges,) = fits(answer, list_of(either(MERGES, type(None)), 1))
        expect(merges is not None, SHAPE)
        expect_pairs(merges)
        expect(abs(len(merges) - number) <= 1, TOO_FEW)  # who is off by one has paid for that
        expect_words_learnt(merges, frequent, data, few)
        least[name] = min(least[name], seconds)

    for _ in range(2):
        recount("recount", 1)
        learn("many", many)
        if least["many"] / many < least["recount"] / 4:
            return  # a merge is cheap even if it is charged with reading the file
    for rounds in range(1, 6):
        recount("recount", 1)
        recount("recounts", passes)
        learn("few", few)
        learn("many", many)
        per_recount = max(min(least["recount"], (least["recounts"] - least["recount"]) / (passes - 1)), 1e-9)
        # what a run of few merges takes beyond reason is not taken off a run of many
        per_merge = (least["many"] - min(least["few"], (few + 4) * per_recount)) / (many - few)
        ratio = per_merge / per_recount
        if ratio < 0.6 or ratio > (3 if rounds < 3 else 1):  # beyond what noise can do
            break
    if ratio < 0.85:  # going through all words to find the pair costs up to 0.7, counting all pairs again more than 1
        return
    raise Fail(
        "each merge costs as much as counting all pairs again: change the counts of words that hold the pair and of no others, "
        "and hold a word that stands often only once"
    )


@drawn
def words_that_no_merge_touches(rng) -> tuple[dict[str, int], list[str]]:
    """Words that win every merge, with their counts, and thousands of others, of which each pair is rarer than these."""
    cold = letters(rng, 13)
    hot = [letter for letter in ascii_lowercase if letter not in cold]
    filler = draw(lambda: ["".join(rng.choices(cold, k=5)) for _ in range(8000)], lambda made: len({*made}) > 7000)
    return {"".join(rng.choices(hot, k=9)): rng.randint(300, 400) for _ in range(12)}, filler


@check("train", points=2, title="a merge leaves alone the words that do not hold its pair", seconds=120)
def does_not_scan_all_words(student, rng):
    hot, filler = words_that_no_merge_touches(rng)
    few, many, small = 4, 54, 300
    least: dict[tuple[int, int], float] = {}  # the least time for so many words and merges

    def learn(words: int, number: int) -> None:
        data, frequent = written_anew(rng, tuple(hot.items()), tuple(filler[:words]))
        answer, seconds = student.timed(drive_merges, [256 + 1 + number], [[ABSENT]], student.file(data))
        (merges,) = fits(answer, list_of(either(MERGES, type(None)), 1))
        expect(merges is not None, SHAPE)
        expect_pairs(merges)
        expect(abs(len(merges) - number) <= 1, TOO_FEW)
        if not expect_words_learnt(merges, frequent, data, few):
            raise OtherWords
        least[words, number] = min(seconds, least.get((words, number), seconds))

    def recount(passes: int) -> None:
        seconds = student.yardstick(drive_recount, "\n".join(filler).encode(), passes)
        least[0, passes] = min(seconds, least.get((0, passes), seconds))

    share = 1.0
    for rounds in range(9):  # more of them where it is not clear: a busy machine only adds to a time
        for passes in (1, 5):
            recount(passes)
        try:
            for number in (few, many):
                for words in (small, len(filler)):
                    learn(words, number)
        except OtherWords:
            return  # wrong counts, for which other checks take points: these merges have to go through many words
        once = max((least[0, 5] - least[0, 1]) / 4, 1e-9)
        # what a run of few merges or on few words takes beyond reason is not taken off the others
        work_of_all = least[len(filler), many] - min(least[len(filler), few], 40 * once)
        work_of_few = least[small, many] - min(least[small, few], 40 * once)
        touched = min(work_of_few, (many - few) * once / 20)
        share = (work_of_all - touched) / (many - few) / once
        clear = share < SCANNED / 2 or (rounds > 1 and share < SCANNED) or (rounds > 3 and share > 4 * SCANNED)
        if clear:
            break
    expect(
        share < SCANNED or (work_of_all - work_of_few) / (many - few) / once > SCANNED,
        "a merge costs far more than changing the few words that hold its pair: keep each distinct word once, with its count",
    )
    expect(
        share < SCANNED,
        "each merge goes through all words, also those without its pair: keep for each pair the words that hold it",
    )


class OtherWords(Exception):
    """The merges are of words that no right merge touches."""


SCANNED = 0.06  # of a full recount: the greatest of all pairs takes up to 0.02, going through all words 0.15 and more


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 5: encode


@drawn
def words_of_many_merges(rng) -> list[tuple[list[Pair], list[str]]]:
    def make() -> tuple[list[Pair], list[str]]:
        words, merges = learnt(rng, 4)
        alphabet, vocab = sorted(set("".join(words))), vocab_of(merges)

        def plain(word: str) -> bool:  # without the difficulties of runs
            right = ENCODER.encode(vocab, merges, word)
            return all(e.encode(vocab, merges, word) == right for e in (ENCODE_FROM_THE_RIGHT, ENCODE_ONLY_FIRST))

        def word() -> str:
            return draw(lambda: "".join(rng.choices(alphabet, k=rng.randint(3, 12))), plain)

        return merges, [" ".join(word() for _ in range(8)) for _ in range(4)]

    def good(made: tuple[list[Pair], list[str]]) -> bool:  # each misconception gives ids of its own
        merges, texts = made
        encoders = (ENCODER, LONGEST_MATCH, LEFTMOST_PAIR, HIGHEST_RANK, BYTES_ONLY)
        ids = [[encoder.encode(vocab_of(merges), merges, text) for text in texts] for encoder in encoders]
        return all(one != other for i, one in enumerate(ids) for other in ids[:i])

    return [draw(make, good) for _ in range(2)]


@check("encode", points=2, title="merges apply in order of rank")
def merges_apply_by_rank(student, rng):
    message = f"the ids are not those of the merges: {RANK}, each everywhere it fits"
    for merges, texts in words_of_many_merges(rng):
        vocab = vocab_of(merges)
        judge_encoding(student, vocab, merges, texts, message)


@check("encode", points=1, title="merges stay inside pre-tokens")
def stays_inside_pre_tokens(student, rng):
    a, b, c = letters(rng, 3)
    (digit, *number), mark = rng.sample("0123456789", 5), rng.choice("!#%&*+:;=?@~")
    merges = [
        (x.encode(), y.encode())
        for x, y in [(a, " "), (b, digit), (c, mark), (" ", " "), (" ", b), ("'", "s"), (c, "'")]
    ]
    merges += [(b"'", b"S"), (number[2].encode(), number[3].encode())]
    texts = [f"{a} {b}{digit} {c}{mark}", f"{a}   {b} {c}'s", f"{b}{digit}{digit}{b}{mark}{c}  "]
    texts += [f"{c}'S {''.join(number)}"]
    rng.shuffle(texts)
    vocab = vocab_of(merges)
    message = "words beside spaces, digits and punctuation get wrong ids: cut with the same pattern as in training"
    judge_encoding(student, vocab, merges, texts, message)


@check("encode", points=1, title="long runs of one character")
def runs_of_one_character(student, rng):
    one = rng.choice(ascii_lowercase).encode()
    merges = [(one, one), (one * 2, one * 2)]
    other = rng.choice("äöüßéñ")
    merges += [(other.encode()[:1], other.encode()[1:]), (other.encode(), other.encode())]
    vocab = vocab_of(merges)
    texts = [one.decode() * n for n in (3, 5, 7, rng.randint(8, 60), rng.randint(900, 1500))]
    texts += [other * n for n in (3, rng.randint(60, 120))]
    judge_encoding(
        student, vocab, merges, texts, "runs of one character go wrong: merge from left to right, without overlap"
    )


def timed_encoding(student, merges: list[Pair], vocab: dict[int, bytes], text: str) -> float:
    """The processor time of encoding a text, believed only with ids that spell it and are as few."""

    def ask_timed(names: list[str] | None) -> float:
        answer, seconds = student.timed(drive_encoding, as_text(vocab), merges, names, [text])
        (ids,) = fits(answer, list_of(IDS, 1))
        (right,) = BY_RANK.encode_all(vocab, merges, [text])  # which merge comes first is not judged here
        expect(spelling(ids, vocab) == text.encode() and 10 * len(ids) <= 11 * len(right), UNTIMED)
        return seconds

    try:
        return ask_timed(None)
    except (Fail, StudentError) as error:
        if isinstance(error, StudentError) and error.kind in NO_RETRY:
            raise
        return ask_timed([ABSENT])


UNTIMED = "the time is measured when the ids of a long text are right, and they are not yet"
BY_RANK = Encoder(merge=lambda piece, merges: by_rank(piece, merges))


def by_rank(piece: str, merges: list[Pair]) -> Word:
    """What the definition gives, looking only for merges that the word can have."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    word = spell(piece)
    while found := {*pairwise(word)} & ranks.keys():
        word = merge(word, min(found, key=ranks.__getitem__))
    return word


def grows(times: Callable[[int], float], small: int, large: int, most: float) -> bool:
    """Whether the least of a few times for a large input is more than ``most`` times that for a small one."""
    least = {small: float("inf"), large: float("inf")}
    for rounds in range(5):
        for size in (small, large):
            least[size] = min(least[size], times(size))
        ratio = least[large] / max(least[small], 1e-6)
        if ratio < most or (rounds > 0 and ratio > 1.4 * most):
            break
    return ratio >= most


def grows_plainly(times: Callable[[int], float], small: int, large: int, most: float) -> bool:
    """Whether it `grows` beyond doubt: twice by far, and with times that no disturbance makes."""
    for _ in range(2):
        seconds = times(large)
        if seconds < LONG or seconds < 1.4 * most * times(small):
            return False
    return True


LONG = 0.1  # seconds: to encode a short text takes some thousandths


@check(
    "encode",
    points=1,
    title="encoding costs what the text is long, not its square nor the number of merges",
    seconds=120,
)
def costs_what_the_text_is_long(student, rng):
    def run(length: int) -> float:
        one = rng.choice(ascii_lowercase).encode()
        merges = [(one, one), (one * 2, one * 2)]
        return timed_encoding(student, merges, vocab_of(merges), one.decode() * length)

    quadratic = "four times as long a run of one character takes far more than four times as long: look only at what a merge changes"
    # linear: 4 times as long, quadratic: 16 times, which shows in a short text already where that takes long
    expect(not grows_plainly(run, 500, 2_000, 9), quadratic)
    expect(not grows(run, 2_000, 8_000, 9), quadratic)
    merges, words = merges_of_many_letters(rng)

    def encode_with(number: int) -> float:  # what a few words cost, most of it to make the tokenizer, does not count
        vocab = vocab_of(merges[:number])
        few, many = " ".join(rng.sample(words, 10)), " ".join(rng.sample(words, 300))
        once = [timed_encoding(student, merges[:number], vocab, text) for text in (few, many)]
        return max(once[1] - once[0], 0.002)

    all_merges = (
        "with more merges each word takes longer, also by merges that it does not hold: look up the pairs of the word"
    )
    expect(not grows(encode_with, 500, len(merges), 5), all_merges)


@drawn
def merges_of_many_letters(rng) -> tuple[list[Pair], list[str]]:
    """Thousands of merges, and words of random letters to which few of them apply."""
    twos = rng.sample([(a, b) for a in ascii_lowercase for b in ascii_lowercase], 500)
    threes = [(a + b, c) for a, b in twos for c in ascii_lowercase]
    merges = [*twos, *rng.sample(threes, 4_400)]
    unique = {a + b: (a.encode(), b.encode()) for a, b in merges}
    return list(unique.values()), ["".join(rng.choices(ascii_lowercase, k=8)) for _ in range(500)]


INGREDIENTS = (
    *(
        "the",
        "Straße",
        "naïve",
        "e\u0301",
        "日本語",
        "汉字，",
        "。",
        "Привет",
        "עברית",
        "हिन्दी",
        "ﬁ",
        "Å",
        "１２",
        "½",
        "x²",
    ),
    *(
        "🙂",
        "👩‍👩‍👧",
        "🇨🇭",
        "\r\n",
        "\r",
        "\n\n",
        "\t",
        "\u00a0",
        "\u2003",
        "\x00",
        "\ufeff",
        "\ufffd",
        "  ",
        " ",
        " ",
        "'ll",
        "…",
    ),
)


FIXED = ["a\r\nb\r\n", "".join(INGREDIENTS)]


@drawn
def many_scripts(rng) -> tuple[list[Pair], list[str]]:
    """Texts in which no merge fits across the border of two pre-tokens: that is asked elsewhere."""

    def make() -> tuple[list[Pair], list[str]]:
        sample = "".join(rng.choices(INGREDIENTS, k=400))
        merges = RIGHT.merges(sample.encode(), 30)
        merges = list({a + b: (a, b) for a, b in reversed(merges)}.values())[::-1]
        return merges, ["".join(rng.choices(INGREDIENTS, k=40)) for _ in range(6)] + FIXED

    def good(made: tuple[list[Pair], list[str]]) -> bool:
        merges, texts = made
        ids = [encoder.encode_all(vocab_of(merges), merges, texts) for encoder in (ENCODER, ENCODE_WHOLE, ENCODE_ASCII)]
        return ids[0] == ids[1] != ids[2]

    return draw(make, good)


@check("encode", points=1, title="text of every script, emoji and line ends")
def text_of_every_script(student, rng):
    merges, texts = many_scripts(rng)
    vocab = vocab_of(merges)
    problem = "encode raised an exception for text that is not plain ASCII: encode the UTF-8 bytes of each pre-token"
    problems = dict.fromkeys(
        ["KeyError", "UnicodeEncodeError", "UnicodeDecodeError", "ValueError", "IndexError"], problem
    )
    lost = "the ids do not spell the text: text that is not plain ASCII, or white space, is lost or changed"
    ends = "line ends were changed: every character of the text must be encoded as it is"
    ascii_only = "text of many scripts gets wrong ids: the regex module knows the letters (\\p{L}) and digits (\\p{N}) of all of them"

    def judge(names: list[str]) -> None:
        plain = vocab_of(PLAIN_MERGES)
        answers = encoded(student, plain, PLAIN_MERGES, names or None, PLAIN_TEXTS)
        judge_ids(answers, plain, PLAIN_MERGES, PLAIN_TEXTS, NO_PLAIN_WORD)
        answers = encoded(student, vocab, merges, names or None, texts, problems)
        for ids, text in zip(answers, texts, strict=True):
            expect(set(ids) <= set(vocab), "encode returned ids that the vocabulary lacks")
            whole = spelling(ids, vocab)
            expect(whole != text.replace("\r\n", "\n").replace("\r", "\n").encode() or "\r" not in text, ends)
            expect(whole == text.encode(), lost)
        judge_ids(answers, vocab, merges, texts, ascii_only)

    with_or_without(judge)


@drawn
def a_shuffled_vocabulary(rng) -> tuple[list[str], list[Pair], dict[int, bytes]]:
    def make():
        merges, words = [], []
        names = letters(rng, 18)
        for x, y, z in zip(names[0::3], names[1::3], names[2::3], strict=True):
            # the pair on the left has the lower rank
            merges += [(x.encode(), y.encode()), (y.encode(), z.encode())]
            words += [x + y + z, y + z, x + y]
        rng.shuffle(words)
        ids = rng.sample(range(257 + len(merges)), 257 + len(merges))
        return words, merges, dict(zip(ids, vocab_of(merges).values(), strict=True))

    def good(made) -> bool:
        words, merges, vocab = made
        right = ENCODER.encode(vocab, merges, " ".join(words))
        return all(e.encode(vocab, merges, " ".join(words)) != right for e in (ASSUMED_IDS, LOWEST_ID))

    return draw(make, good)


@check("encode", points=1, title="ids come from the vocabulary, whatever its order")
def ids_come_from_the_vocabulary(student, rng):
    words, merges, vocab = a_shuffled_vocabulary(rng)
    texts = [" ".join(words[:9]), " ".join(words)]
    message = "ids are computed (byte value, 256 + rank): look every token up in the vocabulary that was given"
    by_id = [(LOWEST_ID, f"merges are ordered by their ids in the vocabulary: {RANK} in the list of merges")]
    otherwise = (
        "in a vocabulary in another order the ids are wrong: look each token up, and apply merges in the list's order"
    )
    problems = {"KeyError": message, "IndexError": message}
    judge_encoding(student, vocab, merges, texts, otherwise, wrong=by_id, problems=problems)


@check("encode", points=1, title="only merges make tokens")
def only_merges_make_tokens(student, rng):
    a, b, c, d = letters(rng, 4)
    merges = [(b, c), (a, b), (a + b, c), (c, d)]  # b c comes first, so that a b c is never one token
    merges = [(x.encode(), y.encode()) for x, y in merges]
    texts = [a + b + c, f"{a}{b}{c} {b}{c}", a + b + c + a]
    message = "a word that stands in the vocabulary as a whole was looked up there: only its merges make tokens"
    otherwise = f"words that stand in the vocabulary as a whole get wrong ids: {RANK}"
    wrong = [(ENCODE_LOOKED_UP, message), (LEFTMOST_PAIR, otherwise), (LONGEST_MATCH, otherwise)]
    judge_encoding(student, vocab_of(merges), merges, texts, otherwise, wrong=wrong)


@check("encode", points=1, title="no text, one character, no special tokens")
def nothing_at_all(student, rng):
    character = rng.choice(ascii_letters)
    vocab, merges, texts = vocab_of(PLAIN_MERGES), PLAIN_MERGES, ["", character, " ", "now now"]
    problem = "encode raised an exception for a very short text: an empty text has no ids, and a single byte no pair"
    kinds = ["ValueError", "IndexError", "KeyError", "TypeError", "StopIteration", "RuntimeError"]

    def judge(names: list[str]) -> None:
        judge_ids(encoded(student, vocab, merges, names or None, texts[3:]), vocab, merges, texts[3:], NO_PLAIN_WORD)
        answers = encoded(student, vocab, merges, names or None, texts, dict.fromkeys(kinds, problem))
        expect(answers[0] == [], "an empty text must give an empty list")
        expect(answers[1:3] == [[ord(character)], [32]], "a text of one byte must give the id of this byte")

    with_or_without(judge)
    none = "without special tokens encode goes wrong: they may be left out, None, or an empty list, and then nothing is cut"
    kinds += ["AttributeError", "error", "PatternError"]
    try:
        given = ask(student, list_of(list_of(IDS, 4), 3), drive_nothing_special, as_text(vocab), merges, texts)
    except StudentError as error:
        raise explained(error, dict.fromkeys(kinds, none)) from error
    expect(all(answers == ENCODER.encode_all(vocab, merges, texts) for answers in given), none)


@check("encode", points=0.5, title="from_files reads GPT-2's vocab.json and merges.txt")
def reads_gpt2_files(student, rng):
    a, b, c = letters(rng, 3)
    name = random_name(rng)
    merges = [(b"#", b"#"), (b" ", a.encode()), (a.encode(), b.encode()), (b" " + a.encode(), b.encode())]
    merges += [("é".encode()[:1], "é".encode()[1:]), (b"\n", b"\n"), (b"##", b"!")]
    ids = rng.sample(range(257 + len(merges)), 257 + len(merges))
    ids[256:-1] = sorted(ids[256:-1])  # merges in order of rank
    vocab = dict(zip(ids, vocab_of(merges, [name]).values(), strict=True))
    as_json = json.dumps({printable(token): i for i, token in vocab.items()}, ensure_ascii=rng.random() < 0.5)
    lines = ["#version: 0.2", *(f"{printable(x)} {printable(y)}" for x, y in merges)]
    paths = student.file(as_json.encode()), student.file(("\n".join(lines) + "\n").encode())
    texts = [f"{a}{b} {a}{b}{c}é é\n\n", f"## {a} ##!{b}", f" {c}é{a}{b}\r\n"]
    problem = "the files could not be read: vocab.json maps strings of GPT-2's characters to ids, merges.txt holds two such strings a line"
    kinds = ["KeyError", "ValueError", "JSONDecodeError", "UnicodeDecodeError", "IndexError", "AttributeError"]
    wrong = [(NO_COMMENTS, "merges that begin with # were skipped: only the first line, #version, is no merge")]
    message = "a tokenizer read from GPT-2's files gives wrong ids: turn every character back into its byte, and keep the merges in order"

    def judge(names: list[str], texts: list[str], message: str) -> None:
        judge_ids(encoded(student, vocab, merges, names, texts), vocab, merges, texts, ALREADY, names)
        form = either(list_of(IDS, len(texts)), type(None), bool)
        try:
            answers = ask(student, form, drive_files, *paths, names, texts)
        except StudentError as error:
            raise explained(error, dict.fromkeys(kinds, problem)) from error
        expect(answers is not None, "`Tokenizer.from_files` is not defined")
        expect(answers is not True, "`Tokenizer.from_files` returned None: it must return the tokenizer")
        expect(answers is not False, "`Tokenizer.from_files` returned no tokenizer: what comes back has no `encode`")
        expect(all(type(i) is int for ids in answers for i in ids), "encode must return a list of ints")
        judge_ids(answers, vocab, merges, texts, message, names, wrong)

    try:
        judge([], texts, message)
    except (Fail, StudentError):
        judge([name], texts, message)
        needed = "from_files fails without special tokens: like the tokenizer's own, they may be left out"
        expect(not encoded_rightly(student, vocab, merges, [], texts), needed)
    text = [f"{a}{name}{b}"]
    if encoded_rightly(student, vocab, merges, [name], text):
        judge([name], text, "special tokens given to from_files were not used")


ALREADY = "this is judged when a tokenizer with the same vocabulary and merges gives the right ids, and it does not yet"


def encoded_rightly(student, vocab, merges, names: list[str], texts: list[str]) -> bool:
    """Whether special tokens are solved: what else is asked of them is asked of those only who have come there."""
    try:
        return encoded(student, vocab, merges, names, texts) == ENCODER.encode_all(vocab, merges, texts, names)
    except (Fail, StudentError):
        return False


@drawn
def text_and_its_merges(rng) -> tuple[list[Pair], list[str]]:
    """Merges learned from ordinary text, and other text of the same words and of new ones."""

    def make() -> tuple[list[Pair], list[str]]:
        lexicon = ordinary_words(rng)
        merges = RIGHT.merges(ordinary_text(rng, lexicon, 200).encode(), 100)
        merges = list({a + b: (a, b) for a, b in reversed(merges)}.values())[::-1]
        other = [*lexicon, *invented_words(rng, 60)]
        return merges, [ordinary_text(rng, other, 12) for _ in range(3)]

    def good(made: tuple[list[Pair], list[str]]) -> bool:
        merges, texts = made
        vocab = vocab_of(merges)
        wrong = (LONGEST_MATCH, LEFTMOST_PAIR, HIGHEST_RANK, BYTES_ONLY)
        right = ENCODER.encode_all(vocab, merges, texts)
        return right == BY_RANK.encode_all(vocab, merges, texts) and all(
            encoder.encode_all(vocab, merges, texts) != right for encoder in wrong
        )

    return draw(make, good)


@check("encode", points=17.5, title="together: an ordinary text is encoded")
def an_ordinary_text_is_encoded(student, rng):
    merges, texts = text_and_its_merges(rng)
    message = "the ids of an ordinary text are not the right ones yet: the checks of single difficulties say why"
    judge_encoding(student, vocab_of(merges), merges, texts, message)


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 6: decode


def decoded(student, vocab, merges, special_tokens, ids: list[int], problems=None, one_by_one=False) -> str | None:
    """What decode returns; None when that is no str."""
    form = either(str, type(None))
    try:
        return ask(student, form, drive_decoding, as_text(vocab), merges, special_tokens, ids, one_by_one)
    except StudentError as error:
        raise explained(error, problems) from error


def decode_plainly(student, rng) -> dict[int, bytes]:
    """A vocabulary, with which plain letters are decoded rightly; else what is asked beside that is not judged."""
    vocab, word = vocab_of(IDLE_MERGES), "".join(letters(rng, 6))
    answer = decoded(student, vocab, IDLE_MERGES, None, list(word.encode()))
    expect(answer is not None, "decode must return a str")
    expect(answer == word, "decode does not give the text of plain letters back")
    return vocab


@check("decode", points=1, title="bytes are joined before they are decoded", seconds=5)
def joins_bytes_before_decoding(student, rng):
    vocab = decode_plainly(student, rng)
    text = "".join(rng.choices("日本語汉字тест🙂😀éßñ", k=12)) + rng.choice(ascii_letters)
    message = (
        "a character whose bytes lie in several tokens is lost: join the bytes of all ids first, then decode them once"
    )
    answer = decoded(student, vocab, IDLE_MERGES, None, list(text.encode()), {"UnicodeDecodeError": message})
    expect(answer is not None, "decode must return a str")
    expect(answer == text, message)


@check("decode", points=1, title="bytes that are not UTF-8 become U+FFFD", seconds=5)
def invalid_utf8_is_replaced(student, rng):
    vocab = decode_plainly(student, rng)
    data = b""
    for _ in range(6):
        data += rng.choice(ascii_letters).encode() + bytes([rng.choice([*range(0x80, 0xC0), *range(0xF8, 0x100)])])
    message = "bytes that are not UTF-8 must become U+FFFD: decode with errors='replace'"
    answer = decoded(student, vocab, IDLE_MERGES, None, list(data), {"UnicodeDecodeError": message})
    expect(answer is not None, "decode must return a str")
    expect(answer != data.decode(errors="ignore"), f"bytes were dropped: {message}")
    expect(answer == data.decode(errors="replace"), message)


@check("decode", points=1, title="ids may come one by one", seconds=5)
def ids_may_come_one_by_one(student, rng):
    vocab, word = decode_plainly(student, rng), "".join(letters(rng, 9))
    message = "ids may be any iterable, also one that can be gone through only once: make a list of them first"
    problems = dict.fromkeys(["TypeError", "AttributeError", "IndexError", "ValueError"], message)
    answer = decoded(student, vocab, IDLE_MERGES, None, list(word.encode()), problems, one_by_one=True)
    expect(answer == word, message)


@check("decode", points=0.5, title="an unknown id is a ValueError that names it", seconds=5)
def unknown_id_is_named(student, rng):
    vocab = decode_plainly(student, rng)
    asked = [len(vocab), rng.randint(10**5, 10**6), -1]
    answers = ask(student, list_of([str, str], len(asked)), drive_unknown_ids, as_text(vocab), IDLE_MERGES, asked)
    for unknown, (kind, text) in zip(asked, answers, strict=True):
        expect(kind != "nothing", "an id that the vocabulary lacks was accepted: raise a ValueError that names it")
        expect(kind == "ValueError", f"an unknown id raised {known_kind(kind)}: raise a ValueError that names the id")
        expect(str(unknown) in text, "the ValueError for an unknown id must name the id in its text")


@check("decode", points=2.5, title="together: an ordinary text comes back")
def an_ordinary_text_comes_back(student, rng):
    merges, texts = text_and_its_merges(rng)
    merges += [(letter.encode()[:1], letter.encode()[1:]) for letter in "éüж"]
    vocab = vocab_of(merges)
    for text in [*texts, " Größe".replace("ö", "ü").replace("ß", "é") + "жñ " + texts[0][:40]]:
        (ids,) = ENCODER.encode_all(vocab, merges, [text])
        answer = decoded(student, vocab, merges, None, ids)
        expect(answer is not None, "decode must return a str")
        expect(answer == text, "the ids of an ordinary text do not give this text back")


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 7: special tokens


@drawn
def letters_beside_special_tokens(rng) -> tuple[list[str], bytes]:
    def make():
        names = sorted({random_name(rng) for _ in range(12)})
        a, b, p, q = letters(rng, 4, "ghjkqvwxz")
        rare = [letter for letter in ascii_letters if letter not in {a, b, p, q}]
        parts = []
        for _ in range(40):
            parts.append(rng.choice(rare) + a + rng.choice(names) + b + rng.choice(rare) + rng.choice(SEPARATORS))
        parts += [word + rng.choice(SEPARATORS) for word in planted(rng, {p + q: 24})]
        rng.shuffle(parts)
        return names, "".join(parts).encode()

    def good(made) -> bool:
        names, data = made
        return agree(data, 1, SMALLEST, UNWEIGHTED, special_tokens=tuple(names)) and differ(
            data, 1, SPECIALS_REMOVED, special_tokens=tuple(names)
        )

    return draw(make, good)


def frequent_name(
    rng, names: Sequence[str], wrong: Sequence[Trainer], before: Sequence[str] = "QXZ", inside: str = ""
) -> bytes:
    """A file in which the last of these special tokens stands often, beside words that are learned; ``inside`` is one."""
    letters_of_names = "".join(names)

    def make() -> bytes:
        p, q, r, s = letters(rng, 4, "".join(sorted(set(ascii_lowercase) - set(letters_of_names))))
        hot = {p + q: 18, r + s: 12} | ({inside: 25} if inside else {})
        words = planted(rng, hot, bare="".join(filter(str.isascii, letters_of_names)))
        words += [rng.choice(before) + names[-1] for _ in range(40)]
        rng.shuffle(words)
        return scattered(rng, words)

    def good(data: bytes) -> bool:
        task = data, 2
        return agree(*task, SMALLEST, UNWEIGHTED, special_tokens=tuple(names)) and differ(
            *task, *wrong, special_tokens=tuple(names)
        )

    return draw(make, good)


@drawn
def frequent_special_tokens(rng) -> list[tuple[list[str], bytes]]:
    """The usual special token, and another one."""
    name = random_name(rng)
    return [([known], frequent_name(rng, [known], [SPECIALS_AS_TEXT])) for known in (ABSENT, name)]


@drawn
def white_space_beside_special_tokens(rng) -> tuple[list[str], bytes]:
    """A file of many parts that begin with a space, behind which the same letter stands."""
    name = random_name(rng)

    def make() -> bytes:
        a, p, q = letters(rng, 3, "".join(sorted(set(ascii_lowercase) - set(name))))
        rare = [letter for letter in ascii_letters if letter not in name + a + p + q]
        parts = [f"{name} {a}{x}{y}" for x, y in rng.sample([(x, y) for x in rare for y in rare], 30)]
        words = planted(rng, {p + q: 18}, bare=name + a)
        return ("".join(word + rng.choice("\n\t") for word in words) + "".join(parts)).encode()

    def good(data: bytes) -> bool:
        names = (name,)
        return agree(data, 2, SMALLEST, UNWEIGHTED, special_tokens=names) and differ(
            data, 2, STRIPPED, special_tokens=names
        )

    return [name], draw(make, good)


AS_TEXT = "special tokens are counted in training: cut the text at them first, and count only what lies between"
SWALLOWED = "a special token behind punctuation is not found: cut the text at special tokens before the pattern sees it"


@check("special_tokens", points=2, title="training cuts the text at special tokens, and does not count them")
def training_cuts_the_text(student, rng):
    beside, data = letters_beside_special_tokens(rng)
    removed = "special tokens were removed, but the text was not cut: what stands left and right of one must not merge"
    others = "special tokens other than <|endoftext|> are treated as text in training: cut at those that are given"
    message = "a text with special tokens gives wrong merges: cut it at them before anything is counted"
    likely = [(SPECIALS_AS_TEXT, AS_TEXT), (IN_THE_PATTERN, SWALLOWED), (SPECIALS_REMOVED, removed)]
    (usual, its_data), (names, other_data) = frequent_special_tokens(rng)
    judge_merges(
        student,
        rng,
        Lesson(its_data, 2, message, usual, likely),
        Lesson(other_data, 2, message, names, [(SPECIALS_AS_TEXT, others), *likely]),
        Lesson(data, 1, message, beside, likely),
    )
    try:
        judge_merges(student, rng, plain_borders(rng))
    except (Fail, StudentError):
        return  # the space in front of a word is lost everywhere, for which another check takes points
    names, data = white_space_beside_special_tokens(rng)
    lost = "white space beside special tokens is lost: it is text, too, and a space belongs to the word behind it"
    judge_merges(student, rng, Lesson(data, 2, message, names, [(STRIPPED, lost), *likely]))


@drawn
def difficult_names(rng) -> list[tuple[list[str], bytes]]:
    """Names that are patterns, of which one begins another, behind punctuation, in other letters than ASCII."""
    name, middle = random_name(rng), "".join(letters(rng, 2))
    longer = name + "".join(letters(rng, 3)) + ">"
    pattern = rng.choice([f"[{middle}]", f"<|{middle}|>", f"{middle}+*", f"({middle}.?)"])
    foreign = "<" + "".join(rng.sample("äöüéèñçжзи字典", 5)) + ">"
    marked = f"<|{middle}|>"
    return [
        ([marked], frequent_name(rng, [marked], [IN_THE_PATTERN], "!?;")),
        ([pattern], frequent_name(rng, [pattern], [AS_PATTERNS], inside=middle)),
        ([name, longer], frequent_name(rng, [name, longer], [FIRST_LISTED])),
        ([foreign], frequent_name(rng, [foreign], [SPECIALS_AS_TEXT])),
    ]


@check("special_tokens", points=1, title="in training, too, names are literal, the longest first, and of any letters")
def training_finds_any_name(student, rng):
    patterns = "special tokens are used as regular expressions in training: escape their names, they mean themselves"
    listed = "the shorter of two special tokens was taken where the longer one stands: leftmost, then longest"
    tasks = [
        ("a special token behind punctuation is not cut out in training", [(IN_THE_PATTERN, SWALLOWED)]),
        ("a special token whose name holds signs such as | or [ is not cut out in training", [(AS_PATTERNS, patterns)]),
        ("of two special tokens at one place not the longest is cut out in training", [(FIRST_LISTED, listed)]),
        ("a special token with letters beyond ASCII is not cut out in training", []),
    ]
    lessons = zip(difficult_names(rng), tasks, strict=True)
    problems = dict.fromkeys(["error", "PatternError"], patterns)
    judge_merges(
        student,
        rng,
        *(Lesson(data, 2, message, names, likely) for (names, data), (message, likely) in lessons),
        problems=problems,
    )


AS_EXPRESSIONS = "special tokens are used as regular expressions: escape their names"


def usual_token_is_found(student) -> None:
    """Words with the usual special token between them are encoded; else nothing is said of what is more difficult."""
    texts, vocab = ["now", f"now{ABSENT}now", f"{ABSENT}{ABSENT} now\n{ABSENT}"], vocab_of(PLAIN_MERGES)
    (word,) = encoded(student, vocab, PLAIN_MERGES, [ABSENT], texts[:1])
    judge_ids([word], vocab, PLAIN_MERGES, texts[:1], NO_PLAIN_WORD)
    failed = "encode fails on a text that holds <|endoftext|>: find the name as it stands, escaped, and give its one id"
    problems = dict.fromkeys(["error", "PatternError", "KeyError", "IndexError", "TypeError", "ValueError"], failed)
    answers = encoded(student, vocab, PLAIN_MERGES, [ABSENT], texts, problems)
    (known,), new = ENCODER.encode(vocab, [], ABSENT, [ABSENT]), len(vocab)
    anew = [[new if i == known else i for i in ids] for ids in ENCODER.encode_all(vocab, PLAIN_MERGES, texts, [ABSENT])]
    expect(answers != anew, "a special token that the vocabulary holds is given a new id: it keeps the one that it has")
    plain = (PLAIN, "special tokens are encoded as ordinary text: each is one id")
    wrong = [(ENCODE_AS_PATTERNS, AS_EXPRESSIONS), plain]
    judge_ids(answers, vocab, PLAIN_MERGES, texts, "a text with <|endoftext|> gets wrong ids", [ABSENT], wrong)


@check("special_tokens", points=1, title="the names of special tokens are taken literally")
def names_are_literal(student, rng):
    middle = "".join(letters(rng, 4))
    names = [f"<|{middle}|>", f"[{middle}]", f"{middle}.*", f"({middle}", "\\d", f"${middle}^"]
    rng.shuffle(names)
    vocab, plain = (
        vocab_of(IDLE_MERGES, names),
        [(PLAIN, "special tokens are encoded as ordinary text: each is one id")],
    )
    pieces = [*names, middle, middle[0], "7", "$", "|", f"{middle}xy"]
    texts = ["".join(rng.choices(pieces, k=14)) for _ in range(4)] + ["".join(names)]
    behind = [f"a!{names[0]} ?{names[0]}b", f"x.{names[0]}"]
    usual_token_is_found(student)
    problems = dict.fromkeys(["error", "PatternError"], AS_EXPRESSIONS)
    swallowed = [(ENCODE_IN_THE_PATTERN, SWALLOWED), (ENCODE_AS_PATTERNS, AS_EXPRESSIONS), *plain]
    answers = encoded(student, vocab, IDLE_MERGES, names, behind, problems)
    judge_ids(
        answers, vocab, IDLE_MERGES, behind, "behind punctuation a special token gets wrong ids", names, swallowed
    )
    message = "special tokens are used as regular expressions: escape their names, they mean themselves"
    problems = dict.fromkeys(["error", "PatternError", "KeyError", "TypeError"], message)
    answers = encoded(student, vocab, IDLE_MERGES, names, texts, problems)
    judge_ids(answers, vocab, IDLE_MERGES, texts, message, names, swallowed)


@check("special_tokens", points=1, title="overlapping special tokens: leftmost, then longest")
def leftmost_then_longest(student, rng):
    usual_token_is_found(student)
    name, inner = random_name(rng), "".join(letters(rng, 3))
    left, right = f"@{inner}=", f"={inner[::-1]}@@@"
    wrong = [
        (ENCODE_IN_THE_PATTERN, SWALLOWED),
        (PLAIN, "special tokens are encoded as ordinary text: each is one id"),
        (
            LISTED,
            "a shorter special token was taken where a longer one stands: leftmost, then longest, whatever their order",
        ),
        (
            ONE_AFTER_ANOTHER,
            "a longer special token further right was preferred: the leftmost comes first, then the longest",
        ),
    ]
    message = (
        "special tokens that overlap are matched wrongly: the leftmost first, and of those that begin there the longest"
    )
    texts = [
        f"{name}{name}",
        f"{inner}{name}{name}{name} {inner}",
        f"x{left}{right[1:]} {right}",
        name[:-1] + left + name,
    ]
    listed = [name, left, right, name + name]
    vocab = vocab_of(IDLE_MERGES, listed)
    apart, names = [f"{inner} {left} {inner}", f"{inner} {right}"], [left, right]
    answers = encoded(student, vocab, IDLE_MERGES, names, apart)
    judge_ids(
        answers, vocab, IDLE_MERGES, apart, "a text with special tokens of other names gets wrong ids", names, wrong
    )
    for names in (listed, rng.sample(listed, len(listed))):
        answers = encoded(student, vocab, IDLE_MERGES, names, texts)
        judge_ids(answers, vocab, IDLE_MERGES, texts, message, names, wrong)


@check("special_tokens", points=1, title="a special token that the vocabulary lacks gets the next free id")
def missing_ones_get_the_next_free_ids(student, rng):
    usual_token_is_found(student)
    names = sorted({random_name(rng) for _ in range(9)})
    rng.shuffle(names)
    known, first, second = names[0], names[1][:-1] + "aa>", names[2][:-1] + "b>"
    a, b = letters(rng, 2)
    merges = [(a.encode(), b.encode())]
    vocab = vocab_of(merges, [known])
    given = [first, known, second]  # the second one is the one that the vocabulary holds
    texts = [f"{a}{b}{first}{known}{second}{a}", f"{second}{first}"]
    message = "a special token that the vocabulary lacks must be added with the next free id, in the order given"
    problems = dict.fromkeys(["KeyError", "ValueError", "IndexError"], message)
    answers = encoded(student, vocab, merges, given, texts, problems)
    wrong = [
        (PLAIN, "special tokens are encoded as ordinary text: each is one id"),
        (SECOND_ONLY, "a special token that the vocabulary lacks is not recognised"),
        (SORTED_SPECIALS, f"ids were given in sorted order: {message}"),
    ]
    judge_ids(answers, vocab, merges, texts, message, given, wrong)
    ids = [len(vocab), len(vocab) - 1, len(vocab) + 1]
    text = decoded(student, vocab, merges, given, ids, problems)
    expect(text is not None, "decode must return a str")
    expect(text == first + known + second, "decode does not give special tokens back, or not those that were added")


@check("special_tokens", points=1, title="the tokenizer leaves its arguments as they are")
def tokenizer_leaves_its_arguments(student, rng):
    names = names_in_no_order(rng)
    vocab = vocab_of(PLAIN_MERGES, names[1:])
    form = [IDS, list_of([int, bytes], least=0), list_of([bytes, bytes], least=0), list_of(str, least=0)]
    plain = vocab_of(PLAIN_MERGES)
    judge_encoding(student, plain, PLAIN_MERGES, PLAIN_TEXTS, NO_PLAIN_WORD)
    _, entries, merges, after = ask(student, form, drive_arguments, as_text(vocab), PLAIN_MERGES, names, "now")
    expect(after == names, "the tokenizer changed the list special_tokens that it was given: work on a copy")
    expect(
        dict(entries) == vocab and len(entries) == len(vocab),
        "the tokenizer changed the vocabulary that it was given: copy it",
    )
    expect(merges == PLAIN_MERGES, "the tokenizer changed the list of merges that it was given: work on a copy")


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 8: encode_iterable


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


@check("encode_iterable", points=1, title="special tokens may be cut by the borders of pieces")
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


def judge_reading(student, rng, names: Sequence[str], in_text: Sequence[str] = ()) -> None:
    merges, pieces = a_long_stream(rng, tuple(in_text))
    vocab, text = vocab_of(merges, [ABSENT, *in_text]), "".join(pieces)
    pieces = pieces[: rng.randint(60, 76)]  # the rest is not sent: what came out before it cannot depend on it
    form = [bool, list_of(either(int, type(None)), least=0, most=len("".join(pieces).encode()))]
    try:
        early, ids = ask(student, form, drive_reading, as_text(vocab), merges, list(names), pieces)
    except StudentError:
        streamed(student, vocab, merges, list(names), [pieces[:2]])  # fails too where any iterable does
        raise
    expect(all(type(i) is int for i in ids), "encode_iterable must yield ints")
    expect(
        len(ids) > 0,
        "the whole input is read before the first id comes out: yield the ids of what is complete while reading on",
    )
    (right,) = ENCODER.encode_all(vocab, merges, [text], list(names))
    if ids != right[: len(ids)]:
        expect(encoded(student, vocab, merges, list(names), [text]) == [right], JOINED_WRONG)
        raise Fail("the ids of a long stream are not those of the joined text")
    expect(
        len("".join(pieces)) - sum(len(vocab[i]) for i in ids) < len(text) // 2,
        "much more text is held than needed: yield the ids of what is complete while reading on",
    )
    expect(not early, "the first piece is read when encode_iterable is called: read nothing before an id is asked for")


@check("encode_iterable", points=2, title="it yields while it reads")
def reads_only_what_it_needs(student, rng):
    with_or_without(lambda names: judge_reading(student, rng, names))


@check("encode_iterable", points=1, title="it yields while it reads text with special tokens")
def reads_on_beside_special_tokens(student, rng):
    name = random_name(rng)
    names = [name, f"{name[:-1]} {name[1:]}"]
    judge_reading(student, rng, names, names)


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


@check("encode_iterable", points=4, title="together: the lines of a file")
def lines_of_a_file(student, rng):
    judge_file(student, rng, 0, "an open file gives other ids than its text as a whole")


@check("encode_iterable", points=1, title="a file in blocks, which end anywhere")
def blocks_of_a_file(student, rng):
    judge_file(student, rng, BLOCK, "a text in blocks of 64 letters gives other ids than the text as a whole")
