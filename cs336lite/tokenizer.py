# Built from notebooks/text/01_tokenizer.py by `cs336lite build`: edit that file, not this one.
"""Characters, bytes and words as tokens, and the pre-tokenisation patterns of GPT-2 and GPT-4.

All tokenizers have `encode`, `decode` and `vocab_size`. Byte-pair encoding is built in a1: see `cs336lite.bpe`.
"""

from collections import Counter
from collections.abc import Iterable
from operator import index
from typing import SupportsIndex

import regex


def well_formed(text: str) -> str:
    """``text`` as UTF-8 can write it: a pair of surrogates becomes its character, a single one U+FFFD.

    Surrogates are code points that UTF-16 uses two by two. A file name or a PDF can leave them in a string.

    >>> well_formed("a\\ud83d\\ude42 \\ud83d")
    'a🙂 �'

    Built in notebooks/01_tokenizer.ipynb.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def checked(ids: Iterable[SupportsIndex], vocab_size: int) -> list[int]:
    """The ids as a list. Raises ValueError for the first that is not in the vocabulary, TypeError for no whole number.

    Built in notebooks/01_tokenizer.ipynb.
    """
    ids = list(map(index, ids))
    for position, i in enumerate(ids):
        if not 0 <= i < vocab_size:
            raise ValueError(f"id {i} at position {position} is not in this vocabulary: ids are 0 to {vocab_size - 1}")
    return ids


class CharacterTokenizer:
    """One token per Unicode code point.

    >>> CharacterTokenizer().encode("Aé中")
    [65, 233, 20013]

    Built in notebooks/01_tokenizer.ipynb.
    """

    vocab_size = 0x110000  # code points U+0000 to U+10FFFF

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in well_formed(text)]

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return well_formed("".join(chr(i) for i in checked(ids, self.vocab_size)))


class ByteTokenizer:
    """One token per byte of the text's UTF-8 form. ``decode`` puts U+FFFD where the bytes are not UTF-8.

    >>> ByteTokenizer().encode("Aé中")
    [65, 195, 169, 228, 184, 173]

    Built in notebooks/01_tokenizer.ipynb.
    """

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        return list(well_formed(text).encode("utf-8"))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return bytes(checked(ids, self.vocab_size)).decode("utf-8", errors="replace")


# GPT-2 (Radford et al. 2019)
GPT2_RULES = {
    "contraction": r"'(?:[sdmt]|ll|ve|re)",  # it's, we'll: small letters only
    "letters": r" ?\p{L}+",  # \p{L} is any letter of any script; a word takes the space before it along
    "numbers": r" ?\p{N}+",  # a number of any length
    "other": r" ?[^\s\p{L}\p{N}]+",  # punctuation, symbols, emoji
    "space": r"\s+(?!\S)",  # white space, but it leaves the last one for the word behind it
    "rest": r"\s+",
}
GPT2_PATTERN = "|".join(GPT2_RULES.values())


def split_pattern(text: str, pattern: str = GPT2_PATTERN) -> list[str]:
    """The pieces that a pattern cuts a text into, in order; joined, they are the text again.

    Raises ValueError when the pattern skips a character, which would then be lost.

    >>> split_pattern("We'll pay 12345!")
    ['We', "'ll", ' pay', ' 12345', '!']

    Built in notebooks/01_tokenizer.ipynb.
    """
    pieces, end = [], 0
    for match in regex.finditer(pattern, text):
        if match.start() != end:
            break
        if match.group():
            pieces.append(match.group())
            end = match.end()
    if end != len(text):
        raise ValueError(f"the pattern skips {text[end]!r} at position {end}: give it a rule for every character")
    return pieces


class WordTokenizer:
    """One token per piece of `split_pattern` in a training text, numbered by falling frequency; else ``<unk>``, id 0.

    >>> words = WordTokenizer("one two two three three three")
    >>> ids = words.encode("one two four three")
    >>> ids, words.decode(ids), words.vocab_size
    ([3, 2, 0, 1], 'one two<unk> three', 4)

    Built in notebooks/01_tokenizer.ipynb.
    """

    def __init__(self, text: str, pattern: str = GPT2_PATTERN) -> None:
        counts = Counter(split_pattern(well_formed(text), pattern))
        self.pattern, self.pieces = pattern, ["<unk>", *(piece for piece, _ in counts.most_common())]
        self.ids = {piece: i for i, piece in enumerate(self.pieces)}
        self.vocab_size = len(self.pieces)

    def encode(self, text: str) -> list[int]:
        return [self.ids.get(piece, 0) for piece in split_pattern(well_formed(text), self.pattern)]

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return "".join(self.pieces[i] for i in checked(ids, self.vocab_size))


# GPT-3.5 and GPT-4: cl100k_base of tiktoken, in its own words. X++ takes all it can and gives nothing back: it is faster.
CL100K_RULES = {
    "contraction": r"'(?i:[sdmt]|ll|ve|re)",  # IT'S too
    "letters": r"[^\r\n\p{L}\p{N}]?+\p{L}++",  # one space, bracket, tab or dot before the letters comes along
    "numbers": r"\p{N}{1,3}+",  # at most three digits, and no space
    "other": r" ?[^\s\p{L}\p{N}]++[\r\n]*+",  # punctuation takes the end of the line along
    "end": r"\s++$",  # white space at the end of the text stays together
    "line ends": r"\s*[\r\n]",
    "space": r"\s+(?!\S)",
    "rest": r"\s",
}
CL100K_PATTERN = "|".join(CL100K_RULES.values())
