"""Misconceptions of encoding: the encoder of the definition with one part replaced."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import regex

from .definition import ASCII_PATTERN, Encoder, Pair, Word, cut, merge, spell
from .mistakes_in_training import merge_from_the_right, merge_once, merge_with_overlap, rank_of


def longest_match(piece: str, merges: list[Pair]) -> Word:
    tokens = {bytes([byte]) for byte in range(256)} | {a + b for a, b in merges}
    data, at, word = piece.encode(), 0, []
    while at < len(data):
        end = next(end for end in range(len(data), at, -1) if data[at:end] in tokens)
        word.append(data[at:end])
        at = end
    return tuple(word)


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


def first_of_all(piece: str, merges: list[Pair]) -> Word:
    """Merges the pair of the lowest rank, and no other after it."""
    word = spell(piece)
    found = next((pair for pair in merges if pair in pairwise(word)), None)
    return merge(word, found) if found else word


LONGEST_MATCH = Encoder(merge=longest_match)
LEFTMOST_PAIR = Encoder(merge=step_by_step(lambda places, ranks: places[0]))
HIGHEST_RANK = Encoder(merge=step_by_step(lambda places, ranks: places[ranks.index(max(ranks))]))
ONE_MERGE = Encoder(merge=first_of_all)
ENCODE_WHOLE = Encoder(split=lambda text: [text])
ENCODE_ASCII = Encoder(split=regex.compile(ASCII_PATTERN).findall)
ENCODE_FROM_THE_RIGHT = Encoder(merge=merges_by(merge_from_the_right))
ENCODE_ONLY_FIRST = Encoder(merge=merges_by(merge_once))
ENCODE_OVERLAPPING = Encoder(merge=merges_by(merge_with_overlap))
BYTES_ONLY = Encoder(merge=lambda piece, merges: spell(piece))
TRANSLATING = Encoder(cut=lambda text, names: cut(text.replace("\r\n", "\n").replace("\r", "\n"), names))
ASSUMED_IDS = Encoder(number=lambda token, ids, merges: rank_of(merges)(token))

RANK = "merges must apply in order of their rank"
OF_ENCODING = [
    (BYTES_ONLY, f"no merge was applied here: {RANK} to the bytes of each pre-token"),
    (LONGEST_MATCH, f"the longest token of the vocabulary is taken from the left: that is not BPE, {RANK}"),
    (LEFTMOST_PAIR, f"the leftmost pair is merged first: {RANK}, the pair that training merged earliest first"),
    (HIGHEST_RANK, f"the latest merge is applied first: {RANK}, the earliest first"),
    (ONE_MERGE, "only one of the merges is applied to a piece: go on until none of its pairs can be merged"),
    (ENCODE_WHOLE, "merges cross the borders of pre-tokens: encode each piece that the pattern cuts on its own"),
    (ENCODE_ASCII, "only the letters a-z count as letters: use the regex module and \\p{L}, \\p{N}"),
    (ENCODE_FROM_THE_RIGHT, "a run of equal tokens is merged from the right: `aaa` is `aa`, `a`"),
    (ENCODE_ONLY_FIRST, "only the first occurrence of a pair in a piece is merged: merge them all"),
    (ENCODE_OVERLAPPING, "a token is used in two merges: occurrences that overlap cannot both be merged"),
    (TRANSLATING, "line ends were changed: every character of the text must be encoded as it is"),
    (ASSUMED_IDS, "ids are computed (byte value, 256 + rank): look every token up in the vocabulary that was given"),
]
