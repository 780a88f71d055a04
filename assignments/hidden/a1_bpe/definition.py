"""The definition, slowly: training and encoding, word by word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import regex

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
ASCII_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
SEPARATORS = '\n\t0123456789!"#$%&()*+,-./:;=?@[]^_`{}~'  # one pre-token each between two words of ASCII letters

Word = tuple[bytes, ...]
Pair = tuple[bytes, bytes]

ABSENT = "<|endoftext|>"  # given to most checks, in no text of theirs: an empty list has a check of its own


BYTES = [bytes([byte]) for byte in range(256)]


def cut(text: str, special_tokens: list[str]) -> list[str]:
    """Text, special token, text, …, text: cut at special tokens, the leftmost first and there the longest."""
    names = sorted(special_tokens, key=len, reverse=True)
    return regex.split(f"({'|'.join(map(regex.escape, names))})", text) if names else [text]


def spell(piece: str) -> Word:
    return tuple(map(BYTES.__getitem__, piece.encode()))


def count(words: dict[Word, int]) -> dict[Pair, int]:
    counts: dict[Pair, int] = {}
    for word, number in words.items():
        for pair in pairwise(word):
            counts[pair] = counts.get(pair, 0) + number
    return counts


def merge(word: Word, pair: Pair) -> Word:
    if pair[0] not in word or pair[1] not in word:  # most words, and this is soon seen
        return word
    merged, at = [], 0
    while at < len(word):
        width = 2 if word[at : at + 2] == pair else 1
        merged.append(b"".join(word[at : at + width]))
        at += width
    return tuple(merged)


def greatest(counts: dict[Pair, int], merges: list[Pair]) -> Pair:
    most = max(counts.values())
    return max(pair for pair, times in counts.items() if times == most)


@lru_cache(maxsize=16)
def count_words(data: bytes, special_tokens: tuple[str, ...], read, texts, split, spell) -> dict[Word, int]:
    """How often each pre-token occurs: `Trainer.words`."""
    words: dict[Word, int] = {}
    for piece, number in Counter(piece for text in texts(read(data), special_tokens) for piece in split(text)).items():
        word = spell(piece)
        words[word] = words.get(word, 0) + number
    return words


def merges_by_changes(words: dict[Word, int], number: int) -> list[Pair]:
    """What `Trainer.learn` gives with right parts, sooner: a merge counts only the words anew that hold its pair.

    A pair that occurs no more is gone, and which of them was met first makes no difference to `greatest`.
    """
    words, merges = dict(words), []
    counts = count(words)
    while counts and len(merges) < number:
        pair = greatest(counts, merges)
        merges.append(pair)
        for word in [word for word in words if pair[0] in word and pair in pairwise(word)]:
            times, merged = words.pop(word), merge(word, pair)
            words[merged] = times
            for lost in pairwise(word):
                counts[lost] -= times
            for made in pairwise(merged):
                counts[made] = counts.get(made, 0) + times
            for lost in {*pairwise(word)}:
                if not counts[lost]:
                    del counts[lost]
    return merges


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
        right = RIGHT.spell, RIGHT.count, RIGHT.update, RIGHT.choose, RIGHT.merge
        if (self.spell, self.count, self.update, self.choose, self.merge) == right and len(words) > 1:
            return merges_by_changes(words, number)
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
