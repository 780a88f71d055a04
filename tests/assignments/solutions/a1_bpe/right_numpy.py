"""The whole corpus as one array of token numbers, with a barrier between words: counting and merging are array
operations over every position. Weights are an array of the same length, and the counts of changed pairs are taken
from the places around each merge."""

import json
from collections import Counter

import numpy as np
import regex

PIECE = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
BARRIER = -1


def by_hand(text, names):
    """Alternates text and special tokens."""
    names = sorted(names, key=len, reverse=True)
    begin, out = 0, []
    starts = {name[0] for name in names}
    i = 0
    while i < len(text):
        if text[i] in starts:
            for name in names:
                if text[i : i + len(name)] == name:
                    out += [text[begin:i], name]
                    begin = i + len(name)
                    i = begin - 1
                    break
        i += 1
    return [*out, text[begin:]]


def leftmost_free(places):
    """Of places where a pair of two equal tokens stands, those that a pass from left to right merges."""
    keep, last = [], -2
    for place in places.tolist():
        if place > last + 1:
            keep.append(place)
            last = place
    return np.array(keep, dtype=np.int64)


def train_bpe(input_path, vocab_size, special_tokens):
    names = list(special_tokens)
    if any(len(name) == 0 for name in names):
        raise ValueError("special tokens must not be empty")
    if len(set(names)) != len(names):
        raise ValueError("special tokens must be distinct")
    if vocab_size - len(names) < 256:
        raise ValueError("no room for all bytes")
    text = np.fromfile(input_path, dtype=np.uint8).tobytes().decode("utf-8", errors="replace")
    pieces = Counter(piece for part in by_hand(text, names)[::2] for piece in PIECE.findall(part))
    line, weight = [BARRIER], [0]
    for piece, n in pieces.items():
        line += [*piece.encode(), BARRIER]
        weight += [n] * (len(line) - len(weight))
    line, weight = np.array(line, dtype=np.int64), np.array(weight, dtype=np.int64)
    spelling = [bytes([b]) for b in range(256)]
    counts = {}
    for a, b, n in zip(line[:-1].tolist(), line[1:].tolist(), weight[:-1].tolist()):
        if a != BARRIER and b != BARRIER:
            counts[a, b] = counts.get((a, b), 0) + n
    merges = []
    while counts and len(merges) < vocab_size - len(names) - 256:
        a, b = max(counts, key=lambda p: (counts[p], spelling[p[0]], spelling[p[1]]))
        new = len(spelling)
        places = np.flatnonzero((line[:-1] == a) & (line[1:] == b))
        if a == b:
            places = leftmost_free(places)
        around = np.unique(np.concatenate([places - 1, places, places + 1]))
        change(counts, line, weight, around, -1)
        merged = line.copy()
        merged[places] = new
        gone = np.zeros(len(line), dtype=bool)
        gone[places + 1] = True
        line, weight = merged[~gone], weight[~gone]
        placed = places - np.arange(len(places))
        change(counts, line, weight, np.unique(np.concatenate([placed - 1, placed])), +1)
        merges.append((spelling[a], spelling[b]))
        spelling.append(spelling[a] + spelling[b])
    return {i: token for i, token in enumerate([*map(str.encode, names), *spelling])}, merges


def change(counts, line, weight, places, sign):
    places = places[(places >= 0) & (places < len(line) - 1)]
    for a, b, n in zip(line[places].tolist(), line[places + 1].tolist(), weight[places].tolist()):
        if a != BARRIER and b != BARRIER:
            counts[a, b] = counts.get((a, b), 0) + sign * n
            if counts[a, b] == 0:
                del counts[a, b]


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        self.names = list(special_tokens or ())
        self.table = dict(vocab)
        self.look_up = {token: i for i, token in self.table.items()}
        for name in self.names:
            token = name.encode()
            if token not in self.look_up:
                self.look_up[token] = len(self.table)
                self.table[len(self.table)] = token
        self.order = {}
        for rank, (a, b) in enumerate(merges):
            self.order.setdefault((self.look_up[a], self.look_up[b]), rank)
        self.result = [self.look_up[a + b] for a, b in merges]

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        plain = np.r_[33:127, 161:173, 174:256].tolist()
        hidden = [b for b in range(256) if b not in plain]
        number = dict(zip(map(chr, plain + list(range(256, 256 + len(hidden)))), plain + hidden))
        decode = lambda token: bytes(number[c] for c in token)
        with open(vocab_path, encoding="utf-8") as stored:
            vocab = {int(i): decode(token) for token, i in json.load(stored).items()}
        with open(merges_path, encoding="utf-8") as stored:
            pairs = [line[:-1].split(" ") for line in stored][1:]
        return cls(vocab, [(decode(a), decode(b)) for a, b in pairs], special_tokens)

    def encode(self, text):
        ids = []
        for i, part in enumerate(by_hand(text, self.names)):
            if i % 2:
                ids.append(self.look_up[part.encode()])
            else:
                for piece in PIECE.findall(part):
                    ids.extend(self.merge([self.look_up[bytes([b])] for b in piece.encode()]))
        return np.array(ids, dtype=np.int64)

    def merge(self, ids):
        while len(ids) > 1:
            ranks = [self.order.get(pair, len(self.result)) for pair in zip(ids, ids[1:])]
            best = min(ranks)
            if best == len(self.result):
                break
            out, skip = [], False
            for i, token in enumerate(ids):
                if skip:
                    skip = False
                elif i < len(ranks) and ranks[i] == best:
                    out.append(self.result[best])
                    skip = True
                else:
                    out.append(token)
            ids = out
        return ids

    def encode_iterable(self, iterable):
        text = ""
        for more in iterable:
            text += more
            cut = self.border(text)
            if cut:
                yield from self.encode(text[:cut])
                text = text[cut:]
        yield from self.encode(text)

    def border(self, text):
        """The last white space behind something else that lies outside special tokens, complete or begun."""
        end = len(text)
        cut = at = 0
        for i, part in enumerate(by_hand(text, self.names)):
            for j in range(at, at + len(part)):
                if any(len(text) - j < len(name) and name.startswith(text[j:]) for name in self.names):
                    end = min(end, j)
                    break
            if i % 2 and at + len(part) <= end:
                cut = at + len(part)
            elif not i % 2:
                for j in range(at + 1, min(at + len(part), end)):
                    if regex.match(r"\s", text[j]) and not regex.match(r"\s", text[j - 1]):
                        cut = j
            at += len(part)
            if end < at:
                break
        return cut

    def decode(self, ids):
        ids = [int(i) for i in ids]
        for i in ids:
            if i not in self.table:
                raise ValueError(f"id {i} is unknown")
        return b"".join(self.table[i] for i in ids).decode("utf-8", errors="replace")
