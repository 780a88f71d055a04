# Built from notebooks/text/01_tokenizer.py by `cs336lite build`: edit that file, not this one.
"""Characters, bytes and words as tokens; the pre-tokenisation patterns of GPT-2 and GPT-4; how to compare.

All tokenizers have the three members of `Tokenizer`. Byte-pair encoding is built in a1: see `cs336lite.bpe`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import index
from typing import Protocol, SupportsIndex, runtime_checkable

import regex


@runtime_checkable
class Tokenizer(Protocol):
    """What every tokenizer offers: text to ids and back, with 0 <= id < vocab_size.

    Built in notebooks/01_tokenizer.ipynb.
    """

    vocab_size: int

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Iterable[SupportsIndex]) -> str: ...


def checked(ids: Iterable[SupportsIndex], vocab_size: int) -> list[int]:
    """The ids as a list, each known to be in the vocabulary.

    Raises ValueError for the first id outside 0 <= id < vocab_size, and says where it stands; TypeError when an id is
    no whole number.

    Built in notebooks/01_tokenizer.ipynb.
    """
    ids = list(map(index, ids))
    for position, i in enumerate(ids):
        if not 0 <= i < vocab_size:
            raise ValueError(f"id {i} at position {position} is not in this vocabulary: ids are 0 to {vocab_size - 1}")
    return ids


def well_formed(text: str) -> str:
    """``text`` as UTF-8 can write it: a pair of surrogates becomes its character, a single one U+FFFD.

    Surrogates are code points that UTF-16 uses two by two. A file name or a PDF can leave them in a string.

    >>> well_formed("a\\ud83d\\ude42 \\ud83d")
    'a🙂 �'

    Built in notebooks/01_tokenizer.ipynb.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class CharacterTokenizer:
    """One token per Unicode code point; the id is the code point, so nothing has to be learned.

    >>> CharacterTokenizer().encode("Aé中")
    [65, 233, 20013]
    >>> CharacterTokenizer().decode([65, 233, 20013])
    'Aé中'

    Built in notebooks/01_tokenizer.ipynb.
    """

    vocab_size = 0x110000  # code points U+0000 to U+10FFFF

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in well_formed(text)]

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return well_formed("".join(chr(i) for i in checked(ids, self.vocab_size)))


class ByteTokenizer:
    """One token per byte of the text's UTF-8 form: 256 ids write any text there is.

    ``decode`` puts U+FFFD where the bytes are not UTF-8, as when the ids stop in the middle of a character.

    >>> ByteTokenizer().encode("Aé中")
    [65, 195, 169, 228, 184, 173]
    >>> ByteTokenizer().decode([228, 184, 173]), ByteTokenizer().decode([228, 184])
    ('中', '�')

    Built in notebooks/01_tokenizer.ipynb.
    """

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        return list(well_formed(text).encode("utf-8"))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return bytes(checked(ids, self.vocab_size)).decode("utf-8", errors="replace")


# GPT-2 (Radford et al. 2019), in the form that tiktoken writes it
GPT2_RULES = {
    "contraction": r"'(?:[sdmt]|ll|ve|re)",  # it's, we'll: small letters only
    "letters": r" ?\p{L}+",  # a word takes the space before it along
    "numbers": r" ?\p{N}+",  # a number of any length
    "other": r" ?[^\s\p{L}\p{N}]+",  # punctuation, symbols, emoji
    "space": r"\s+(?!\S)",  # a run of whitespace, but leaves the last one for the word behind it
    "rest": r"\s+",
}
GPT2_PATTERN = "|".join(GPT2_RULES.values())
# GPT-3.5 and GPT-4, tiktoken's cl100k_base; matches the same without its possessive quantifiers
CL100K_RULES = {
    "contraction": r"'(?i:[sdmt]|ll|ve|re)",  # IT'S too
    "letters": r"[^\r\n\p{L}\p{N}]?\p{L}+",  # one space, bracket, tab or dot before the letters comes along
    "numbers": r"\p{N}{1,3}",  # at most three digits, and no space
    "other": r" ?[^\s\p{L}\p{N}]+[\r\n]*",  # punctuation takes the end of the line along
    "end": r"\s+\Z",  # whitespace at the end of the text stays together
    "line ends": r"\s*[\r\n]+",
    "space": r"\s+(?!\S)",
    "rest": r"\s+",
}
CL100K_PATTERN = "|".join(CL100K_RULES.values())


def split_pattern(text: str, pattern: str = GPT2_PATTERN) -> list[str]:
    """The pieces that a pattern cuts a text into, in order; joined, they are the text again.

    Raises ValueError when the pattern skips a character, which would then be lost.

    >>> split_pattern("We'll pay 12345!")
    ['We', "'ll", ' pay', ' 12345', '!']
    >>> split_pattern("We'll pay 12345!", CL100K_PATTERN)
    ['We', "'ll", ' pay', ' ', '123', '45', '!']

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


def first_merges(
    vocab: Mapping[int, bytes], merges: list[tuple[bytes, bytes]], vocab_size: int
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """The BPE vocabulary and merges that training would have given had it stopped at ``vocab_size``.

    ``vocab`` must hold its merged tokens at the end, in order, as `cs336lite.bpe.train_bpe` leaves them.
    Raises ValueError when ``vocab_size`` is more than there is, or less than the tokens that are no merges.

    >>> vocab = {0: b"a", 1: b"b", 2: b"ab", 3: b"abb"}
    >>> first_merges(vocab, [(b"a", b"b"), (b"ab", b"b")], 3)
    ({0: b'a', 1: b'b', 2: b'ab'}, [(b'a', b'b')])

    Built in notebooks/01_tokenizer.ipynb.
    """
    base = len(vocab) - len(merges)
    if not base <= vocab_size <= len(vocab):
        raise ValueError(f"vocab_size is {vocab_size}, but this vocabulary can be cut to {base} to {len(vocab)} tokens")
    return {i: vocab[i] for i in range(vocab_size)}, merges[: vocab_size - base]


@dataclass(frozen=True)
class Compression:
    """What one tokenizer makes of one text. Lengths in characters (code points), UTF-8 bytes and tokens.

    Built in notebooks/01_tokenizer.ipynb.
    """

    scheme: str
    text: str
    vocab_size: int
    characters: int
    bytes: int
    tokens: int
    lossless: bool

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / self.tokens

    @property
    def tokens_per_character(self) -> float:
        return self.tokens / self.characters


def compare(tokenizers: Mapping[str, Tokenizer], texts: Mapping[str, str]) -> list[Compression]:
    """Every tokenizer on every text (`well_formed`), by their names. Raises ValueError for an empty text.

    >>> [row] = compare({"bytes": ByteTokenizer()}, {"Chinese": "你好"})
    >>> row.tokens, row.bytes_per_token, row.tokens_per_character, row.lossless
    (6, 1.0, 3.0, True)

    Built in notebooks/01_tokenizer.ipynb.
    """
    rows = []
    for scheme, tokenizer in tokenizers.items():
        for name, text in texts.items():
            if not text:
                raise ValueError(f"the text {name!r} is empty: it has no bytes per token")
            text = well_formed(text)
            ids = tokenizer.encode(text)
            lengths = len(text), len(text.encode("utf-8")), len(ids)
            rows.append(Compression(scheme, name, tokenizer.vocab_size, *lengths, tokenizer.decode(ids) == text))
    return rows


def bytes_per_token(tokenizer: Tokenizer, text: str) -> float:
    """UTF-8 bytes of the text divided by its tokens: higher is shorter. Raises ValueError for an empty text.

    >>> bytes_per_token(CharacterTokenizer(), "你好吗yes")
    2.0

    Built in notebooks/01_tokenizer.ipynb.
    """
    return compare({"": tokenizer}, {"": text})[0].bytes_per_token
