"""Byte-pair encoding written as its definition reads: slow, short, and what the fast one is compared with."""

from collections import Counter
from itertools import pairwise

import regex

from cs336lite.bpe import PATTERN, gpt2_byte_to_unicode


def cut_at_special(text: str, special_tokens: list[str]) -> list[str]:
    """Text and special tokens by turns, character by character: leftmost, then longest."""
    parts, i = [""], 0
    while i < len(text):
        here = max((s for s in special_tokens if text.startswith(s, i)), key=len, default=None)
        if here is None:
            parts[-1] += text[i]
            i += 1
        else:
            parts += [here, ""]
            i += len(here)
    return parts  # ordinary text at even places, special tokens at odd ones


def merge(word: list, pair: tuple, new) -> list:
    out = []
    for token in word:
        if out and (out[-1], token) == pair:
            out[-1] = Made(new)
        else:
            out.append(token)
    return [token.value if isinstance(token, Made) else token for token in out]


class Made:
    """A token made in this pass, which cannot take part in it again."""

    def __init__(self, value) -> None:
        self.value = value

    def __eq__(self, other) -> bool:
        return False


def train(data: bytes, vocab_size: int, special_tokens: list[str], tie_break: str = "cs336"):
    """Counts every pair of every word again for each merge."""
    words = Counter()
    for text in cut_at_special(data.decode("utf-8", "replace"), special_tokens)[::2]:
        words.update(tuple(bytes([b]) for b in piece.encode()) for piece in regex.findall(PATTERN, text))
    shown = gpt2_byte_to_unicode()
    alphabet = sorted(range(256), key=lambda b: shown[b]) if tie_break == "huggingface" else range(256)
    number = {bytes([b]): i for i, b in enumerate(alphabet)}
    merges = []
    while len(merges) < vocab_size - 256 - len(special_tokens):
        counts = Counter()
        for word, n in words.items():
            for pair in pairwise(word):
                counts[pair] += n
        if not counts:
            break
        most = max(counts.values())
        ties = [pair for pair, n in counts.items() if n == most]
        best = max(ties) if tie_break == "cs336" else min(ties, key=lambda pair: (number[pair[0]], number[pair[1]]))
        merges.append(best)
        number.setdefault(best[0] + best[1], len(number))
        joined = Counter()
        for word, n in words.items():
            joined[tuple(merge(list(word), best, best[0] + best[1]))] += n
        words = joined
    tokens = [s.encode() for s in special_tokens] + [bytes([b]) for b in range(256)] + [a + b for a, b in merges]
    return dict(enumerate(tokens)), merges


def encode(text: str, vocab: dict[int, bytes], merges: list, special_tokens: list[str]) -> list[int]:
    """Tries every merge on every pre-token, in order."""
    id_of = {token: i for i, token in vocab.items()}
    ids = []
    for place, part in enumerate(cut_at_special(text, special_tokens)):
        if place % 2:
            ids.append(next(i for i, token in vocab.items() if token == part.encode()))
            continue
        for piece in regex.findall(PATTERN, part):
            word = [bytes([b]) for b in piece.encode()]
            for pair in merges:
                word = merge(word, pair, pair[0] + pair[1])
            ids.extend(id_of[token] for token in word)
    return ids
