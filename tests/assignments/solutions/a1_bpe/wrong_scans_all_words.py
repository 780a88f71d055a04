"""Keeps counts, but looks through all words for the pair, and through all merges to encode one.

fails: train.does_not_scan_all_words, encode.costs_what_the_text_is_long
names: goes through all words
points: 97
"""

import json
import os
from collections import Counter

import regex as re

PAT = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def split_special(text, special_tokens):
    if not special_tokens:
        return [text]
    by_length = sorted(special_tokens, key=lambda s: len(s), reverse=True)
    return re.split("|".join([re.escape(s) for s in by_length]), text)


def pretokenize(text, special_tokens=()):
    return [m.group() for part in split_special(text, special_tokens) for m in re.finditer(PAT, part)]


def count_pairs(words):
    pairs = Counter()
    for word, n in words.items():
        for i in range(len(word) - 1):
            pairs[word[i], word[i + 1]] += n
    return pairs


def merge_pair(word, pair):
    new_word = []
    i = 0
    while i < len(word):
        if i < len(word) - 1 and word[i] == pair[0] and word[i + 1] == pair[1]:
            new_word.append(pair[0] + pair[1])
            i += 2
        else:
            new_word.append(word[i])
            i += 1
    return tuple(new_word)


def train_bpe(input_path, vocab_size, special_tokens):
    if vocab_size < 256 + len(special_tokens):
        raise ValueError("vocab_size too small")
    if len(special_tokens) != len(set(special_tokens)):
        raise ValueError("duplicate special tokens")
    if "" in special_tokens:
        raise ValueError("empty special token")
    with open(os.fspath(input_path), "rb") as f:
        text = f.read().decode("utf-8", errors="replace")
    words = Counter()
    for piece in pretokenize(text, special_tokens):
        words[tuple(bytes([b]) for b in piece.encode("utf-8"))] += 1
    vocab = {}
    for s in special_tokens:
        vocab[len(vocab)] = s.encode("utf-8")
    for b in range(256):
        vocab[len(vocab)] = bytes([b])
    pairs = count_pairs(words)
    merges = []
    while len(vocab) < vocab_size:
        pairs = +pairs
        if not pairs:
            break
        best = max(pairs.items(), key=lambda item: (item[1], item[0]))[0]
        merges.append(best)
        vocab[len(vocab)] = best[0] + best[1]
        changed = {}
        for word, n in words.items():
            new_word = merge_pair(word, best)
            if len(new_word) != len(word):
                changed[word] = new_word
        for word, new_word in changed.items():
            n = words.pop(word)
            words[new_word] += n
            for pair in zip(word, word[1:]):
                pairs[pair] -= n
            for pair in zip(new_word, new_word[1:]):
                pairs[pair] += n
    return vocab, merges


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        self.vocab = dict(vocab)
        self.merges = list(merges)
        self.special_tokens = special_tokens if special_tokens is not None else []
        for s in self.special_tokens:
            if s.encode("utf-8") not in self.vocab.values():
                self.vocab[len(self.vocab)] = s.encode("utf-8")
        self.inverse = {v: k for k, v in self.vocab.items()}
        self.cache = {}

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        bs = list(range(ord("!"), ord("~") + 1)) + list(range(ord("¡"), ord("¬") + 1)) + list(range(ord("®"), ord("ÿ") + 1))
        to_byte = {chr(b): b for b in bs}
        n = 0
        for b in range(256):
            if b not in bs:
                to_byte[chr(256 + n)] = b
                n += 1
        with open(vocab_path, encoding="utf-8") as f:
            vocab = {v: bytes([to_byte[c] for c in k]) for k, v in json.load(f).items()}
        merges = []
        with open(merges_path, encoding="utf-8") as f:
            for i, line in enumerate(f):
                if i == 0 and line.startswith("#version"):
                    continue
                a, b = line.split()
                merges.append((bytes([to_byte[c] for c in a]), bytes([to_byte[c] for c in b])))
        return cls(vocab, merges, special_tokens)

    def encode_word(self, word):
        if word not in self.cache:
            tokens = tuple(bytes([b]) for b in word.encode("utf-8"))
            for pair in self.merges:
                tokens = merge_pair(tokens, pair)
            self.cache[word] = [self.inverse[t] for t in tokens]
        return self.cache[word]

    def encode(self, text):
        if self.special_tokens:
            by_length = sorted(self.special_tokens, key=lambda s: -len(s))
            parts = re.split("(" + "|".join(re.escape(s) for s in by_length) + ")", text)
        else:
            parts = [text]
        ids = []
        for part in parts:
            if part in self.special_tokens:
                ids.append(self.inverse[part.encode("utf-8")])
            else:
                for m in re.finditer(PAT, part):
                    ids += self.encode_word(m.group())
        return ids

    def encode_iterable(self, iterable):
        # A special token can reach back over its whole length; before that, a space behind a word is a safe place.
        reach = max((len(s) for s in self.special_tokens), default=1)
        names = sorted(self.special_tokens, key=len, reverse=True)
        buffer = ""
        for text in iterable:
            buffer += text
            limit = len(buffer) - reach
            cut = 0
            inside = [(m.start(), m.end()) for m in re.finditer("|".join(map(re.escape, names)) or "(?!)", buffer, overlapped=True)]
            for m in re.finditer(r"(?<=\S)(?=\s)", buffer):
                if m.start() <= limit and not any(a < m.start() < b for a, b in inside):
                    cut = m.start()
            if cut:
                yield from self.encode(buffer[:cut])
                buffer = buffer[cut:]
        yield from self.encode(buffer)

    def decode(self, ids):
        result = b""
        for i in ids:
            if i not in self.vocab:
                raise ValueError("unknown token id: " + str(i))
            result += self.vocab[i]
        return result.decode("utf-8", errors="replace")
