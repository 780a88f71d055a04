"""A right solution in small parts, so that a wrong one is this one with one part put wrong.

A file of the catalogue that begins with ``from _base import *`` is judged with this text in place of that line: it
is then a whole solution. Every part that a misconception may touch is a method of `Training` or `Tokenizer`.
"""

import json
from collections import Counter, defaultdict

import regex

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def special_pattern(special_tokens):
    """Matches the leftmost special token, the longest where several begin; None without special tokens."""
    longest_first = sorted(special_tokens, key=len, reverse=True)
    return regex.compile("|".join(regex.escape(name) for name in longest_first)) if longest_first else None


def pretokenize(text, special_tokens=()):
    pattern = special_pattern(special_tokens)
    texts = pattern.split(text) if pattern else [text]
    return [piece for part in texts for piece in regex.findall(PATTERN, part)]


def count_pairs(words):
    counts = {}
    for word, times in words.items():
        for pair in zip(word, word[1:]):
            counts[pair] = counts.get(pair, 0) + times
    return counts


def merge_pair(word, pair):
    merged, at = [], 0
    while at < len(word):
        if word[at : at + 2] == pair:
            merged.append(pair[0] + pair[1])
            at += 2
        else:
            merged.append(word[at])
            at += 1
    return tuple(merged)


class Training:
    """Keeps counts up to date, touching only the words that hold the merged pair."""

    def check(self, vocab_size, special_tokens):
        if any(not name for name in special_tokens):
            raise ValueError("a special token is empty")
        if len(set(special_tokens)) < len(special_tokens):
            raise ValueError("a special token is given twice")
        if vocab_size < 256 + len(special_tokens):
            raise ValueError(f"vocab_size {vocab_size} is below 256 bytes and {len(special_tokens)} special tokens")

    def read(self, path):
        with open(path, "rb") as file:
            return file.read().decode("utf-8", errors="replace")

    def pieces(self, text, special_tokens):
        return pretokenize(text, special_tokens)

    def spell(self, piece):
        return tuple(bytes([byte]) for byte in piece.encode())

    def weigh(self, times):
        return times

    def pairs(self, word):
        return zip(word, word[1:])

    def merge(self, word, pair):
        return merge_pair(word, pair)

    def choose(self, counts, merges):
        return max(counts, key=lambda pair: (counts[pair], pair))

    def number_of_merges(self, vocab_size, special_tokens):
        return vocab_size - 256 - len(special_tokens)

    def first_tokens(self, special_tokens):
        return [*(name.encode() for name in special_tokens), *(bytes([byte]) for byte in range(256))]

    def vocabulary(self, special_tokens, merges):
        return dict(enumerate([*self.first_tokens(special_tokens), *(left + right for left, right in merges)]))

    def nothing_left(self):
        return True

    def lower(self, counts, pair, times):
        counts[pair] -= times
        if counts[pair] <= 0:
            del counts[pair]

    def run(self, path, vocab_size, special_tokens):
        self.check(vocab_size, special_tokens)
        words, times, counts, where = [], [], {}, defaultdict(set)
        for piece, number in Counter(self.pieces(self.read(path), special_tokens)).items():
            words.append(self.spell(piece))
            times.append(self.weigh(number))
            for pair in self.pairs(words[-1]):
                counts[pair] = counts.get(pair, 0) + times[-1]
                where[pair].add(len(words) - 1)
        merges = []
        while len(merges) < self.number_of_merges(vocab_size, special_tokens):
            if not counts and self.nothing_left():
                break
            pair = self.choose(counts, merges)
            merges.append(pair)
            for i in sorted(where.pop(pair, ())):
                old, words[i] = words[i], self.merge(words[i], pair)
                if old == words[i]:
                    continue
                for gone in self.pairs(old):
                    self.lower(counts, gone, times[i])
                for made in self.pairs(words[i]):
                    counts[made] = counts.get(made, 0) + times[i]
                    where[made].add(i)
        return self.vocabulary(special_tokens, merges), merges


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        self.bytes_of = dict(vocab)
        self.id_of = {token: i for i, token in vocab.items()}
        self.special_tokens = list(special_tokens or [])
        self.add_special_tokens()
        self.pattern = self.special_pattern()
        self.rank_of = self.ranks(merges)
        self.known = {}

    def add_special_tokens(self):
        for name in self.special_tokens:
            if name.encode() not in self.id_of:
                self.id_of[name.encode()] = max(self.bytes_of) + 1
                self.bytes_of[self.id_of[name.encode()]] = name.encode()

    def special_pattern(self):
        return special_pattern(self.special_tokens)

    def ranks(self, merges):
        return {tuple(pair): rank for rank, pair in enumerate(merges)}

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        byte_of = cls.gpt2_bytes()
        with open(vocab_path, encoding="utf-8") as file:
            vocab = {i: bytes(byte_of[c] for c in token) for token, i in json.load(file).items()}
        with open(merges_path, encoding="utf-8", newline="\n") as file:
            lines = cls.lines_with_merges(file.read().split("\n"))
        merges = [tuple(bytes(byte_of[c] for c in token) for token in line.split(" ")) for line in lines]
        return cls(vocab, merges, special_tokens)

    @staticmethod
    def lines_with_merges(lines):
        return [line for line in lines[1:] if line]

    @staticmethod
    def gpt2_bytes():
        prints = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in prints]
        return {chr(byte): byte for byte in prints} | {chr(256 + i): byte for i, byte in enumerate(others)}

    def tokens(self, piece):
        """Merges the pair of lowest rank, everywhere, until none is left."""
        word = tuple(bytes([byte]) for byte in piece.encode())
        while len(word) > 1:
            pair = min(zip(word, word[1:]), key=lambda pair: self.rank_of.get(pair, float("inf")))
            if pair not in self.rank_of:
                break
            word = self.merge(word, pair)
        return word

    def merge(self, word, pair):
        return merge_pair(word, pair)

    def pieces(self, text):
        return regex.findall(PATTERN, text)

    def token_id(self, token):
        return self.id_of[token]

    def encode_text(self, text):
        for piece in self.pieces(text):
            if piece not in self.known:
                self.known[piece] = [self.token_id(token) for token in self.tokens(piece)]
            yield from self.known[piece]

    def encode(self, text):
        return self.encode_all(text)

    def encode_all(self, text):
        ids, at = [], 0
        for match in self.pattern.finditer(text) if self.pattern else ():
            ids.extend(self.encode_text(text[at : match.start()]))
            ids.append(self.id_of[match.group().encode()])
            at = match.end()
        ids.extend(self.encode_text(text[at:]))
        return ids

    def encode_iterable(self, iterable):
        """Keeps back what the text to come can still change."""
        held = ""
        for piece in iterable:
            held += piece
            cut = self.safe_cut(held)
            yield from self.encode_all(held[:cut])
            held = held[cut:]
        yield from self.encode_all(held)

    def safe_cut(self, text):
        """The last place at which text to come changes nothing before it: behind a special token that cannot become
        longer, or where white space follows something else."""
        cut = start = 0
        while (match := self.pattern.search(text, start) if self.pattern else None) and not self.may_grow(
            text, match.start()
        ):
            cut = start = match.end()
        end = min((at for at in range(start, len(text)) if self.may_grow(text, at)), default=len(text))
        for border in regex.finditer(r"(?<=\S)(?=\s)", text[:end], pos=start):
            cut = border.start()
        return cut

    def may_grow(self, text, at):
        """Whether a special token may begin here that is not complete yet."""
        return any(len(text) - at < len(name) and name.startswith(text[at:]) for name in self.special_tokens)

    def decode(self, ids):
        ids = list(ids)
        for i in ids:
            if i not in self.bytes_of:
                self.unknown(i)
        return self.text(b"".join(self.bytes_of[i] for i in ids))

    def unknown(self, i):
        raise ValueError(f"id {i} is not in the vocabulary")

    def text(self, data):
        return data.decode("utf-8", errors="replace")


def train_bpe(input_path, vocab_size, special_tokens):
    return Training().run(input_path, vocab_size, special_tokens)
