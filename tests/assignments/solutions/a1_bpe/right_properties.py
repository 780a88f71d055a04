"""Small classes with properties, a lattice of words by pair, and integers for tokens; special tokens by a trie."""

from __future__ import annotations

import json
import pathlib
from collections import defaultdict
from dataclasses import dataclass, field

import regex

PIECES = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", regex.UNICODE)


class Trie:
    def __init__(self, names):
        self.root = {}
        for name in names:
            node = self.root
            for character in name:
                node = node.setdefault(character, {})
            node[""] = name

    def longest(self, text, at):
        """The longest name at a place, and whether the text ended while a longer one was still possible."""
        node, best = self.root, None
        while True:
            best = node.get("", best)
            if at == len(text):
                return best, any(key for key in node)
            if text[at] not in node:
                return best, False
            node, at = node[text[at]], at + 1

    def walk(self, text):
        """Yields (start, end, name or None, open): stretches in order; ``open`` when more text could change this."""
        start = at = 0
        while at < len(text):
            name, open_ = self.longest(text, at) if self.root else (None, False)
            if open_:
                yield start, at, None, False
                yield at, len(text), None, True
                return
            if name:
                yield start, at, None, False
                yield at, at + len(name), name, False
                start = at = at + len(name)
            else:
                at += 1
        yield start, at, None, False

    def stretches(self, text):
        """As `walk`, but the text ends here: (stretch, name or None)."""
        start = at = 0
        while at < len(text):
            name, _ = self.longest(text, at)
            if name:
                yield text[start:at], name
                start = at = at + len(name)
            else:
                at += 1
        yield text[start:], None


@dataclass
class Word:
    ids: list[int]
    times: int

    @property
    def pairs(self):
        return list(zip(self.ids[:-1], self.ids[1:]))


@dataclass
class Corpus:
    words: list[Word]
    spelling: list[bytes] = field(default_factory=lambda: [bytes([b]) for b in range(256)])
    counts: defaultdict = field(default_factory=lambda: defaultdict(int))
    homes: defaultdict = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self):
        for i in range(len(self.words)):
            self.enter(i, +1)

    def enter(self, i, sign):
        word = self.words[i]
        for pair in word.pairs:
            self.counts[pair] += sign * word.times
            if sign > 0:
                self.homes[pair].add(i)
            elif self.counts[pair] == 0:
                del self.counts[pair]

    @property
    def best(self):
        key = lambda pair: (self.counts[pair], self.spelling[pair[0]], self.spelling[pair[1]])
        return max(self.counts, key=key, default=None)

    def merge(self, pair):
        self.spelling.append(self.spelling[pair[0]] + self.spelling[pair[1]])
        new = len(self.spelling) - 1
        for i in self.homes.pop(pair):
            self.enter(i, -1)
            ids, at = self.words[i].ids, 0
            while at + 1 < len(ids):
                if ids[at] == pair[0] and ids[at + 1] == pair[1]:
                    ids[at : at + 2] = [new]
                at += 1
            self.enter(i, +1)
        return self.spelling[pair[0]], self.spelling[pair[1]]


def train_bpe(input_path, vocab_size, special_tokens):
    names = list(special_tokens)
    if vocab_size < 256 + len(names) or len({*names, ""}) != len(names) + 1:
        raise ValueError("vocab_size must hold all bytes and special tokens, and these must be distinct and not empty")
    text = pathlib.Path(input_path).read_bytes().decode("utf-8", errors="replace")
    times = defaultdict(int)
    for stretch, _ in Trie(names).stretches(text):
        for piece in PIECES.findall(stretch):
            times[piece] += 1
    corpus = Corpus([Word(list(piece.encode()), n) for piece, n in times.items()])
    merges = []
    for _ in range(vocab_size - 256 - len(names)):
        if (pair := corpus.best) is None:
            break
        merges.append(corpus.merge(pair))
    return dict(enumerate([name.encode() for name in names] + corpus.spelling)), merges


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        self._tokens = {**vocab}
        self._merges = [tuple(pair) for pair in merges]
        self._special = {}
        for name in special_tokens or []:
            known = [i for i, token in vocab.items() if token == name.encode()]
            self._special[name] = known[0] if known else max(self._tokens) + 1
            self._tokens[self._special[name]] = name.encode()
        self._trie = Trie(self._special)
        ids = self.ids
        self._joins = {(ids[a], ids[b]): (rank, ids[a + b]) for rank, (a, b) in reversed(list(enumerate(self._merges)))}

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        byte = {c: b for b, c in enumerate(cls._alphabet())}
        stored = json.loads(pathlib.Path(vocab_path).read_bytes())
        rows = pathlib.Path(merges_path).read_text("utf-8").split("\n")[1:]
        unfold = lambda token: bytes([byte[c] for c in token])
        return cls(
            vocab={i: unfold(token) for token, i in stored.items()},
            merges=[(unfold(a), unfold(b)) for a, b in (row.split(" ") for row in rows if row)],
            special_tokens=special_tokens,
        )

    @staticmethod
    def _alphabet():
        spare = iter(range(256, 512))
        return [chr(b) if 33 <= b < 127 or 160 < b < 173 or b > 173 else chr(next(spare)) for b in range(256)]

    @property
    def ids(self):
        return {token: i for i, token in self._tokens.items()}

    def _encode_piece(self, piece):
        single = self._singles
        ids = [single[b] for b in piece.encode()]
        while True:
            ranks = [(self._joins[pair], pair) for pair in zip(ids, ids[1:]) if pair in self._joins]
            if not ranks:
                return ids
            (_, new), pair = min(ranks)
            out, i = [], 0
            while i < len(ids):
                if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
                    out.append(new)
                    i += 2
                else:
                    out.append(ids[i])
                    i += 1
            ids = out

    @property
    def _singles(self):
        if not hasattr(self, "_kept"):
            ids = self.ids
            self._kept = [ids.get(bytes([b])) for b in range(256)]
        return self._kept

    def encode(self, text):
        out = []
        for stretch, name in self._trie.stretches(text):
            for piece in PIECES.findall(stretch):
                out.extend(self._encode_piece(piece))
            if name:
                out.append(self._special[name])
        return tuple(out)

    def encode_iterable(self, iterable):
        rest = ""
        for chunk in iterable:
            rest += chunk
            done = 0
            for start, end, name, open_ in self._trie.walk(rest):
                if open_:
                    break
                if name:
                    done = end
                    continue
                spots = [m.start() for m in regex.finditer(r"(?<=\S)\s", rest[start:end])]
                if spots:
                    done = start + spots[-1]
            yield from self.encode(rest[:done])
            rest = rest[done:]
        yield from self.encode(rest)

    def decode(self, ids):
        parts = []
        for i in ids:
            if i not in self._tokens:
                raise ValueError(f"the vocabulary has no id {i}")
            parts.append(self._tokens[i])
        return str(b"".join(parts), "utf-8", "replace")
