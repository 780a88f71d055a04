"""No loop that changes a word: recursion, folds and generators."""

import json
from collections import Counter
from functools import lru_cache, reduce
from itertools import accumulate, chain, count
from pathlib import Path

import regex as re

SPLIT = re.compile(r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")

adjacent = lambda word: zip(word, word[1:])
letters = lambda piece: tuple(bytes([b]) for b in piece.encode("utf-8"))
sections = lambda text, names: (
    re.split("(" + "|".join(map(re.escape, sorted(names, key=len, reverse=True))) + ")", text) if names else [text]
)


def join(word, pair):
    def step(done, token):
        if done and done[-1] == pair[0] and token == pair[1]:
            done[-1:] = [pair, None]  # closed: what was just made takes no part
        else:
            done += [token]
        return done

    return tuple(pair[0] + pair[1] if t is pair else t for t in reduce(step, word, []) if t is not None)


def refuse(problem):
    raise ValueError(problem)


def train_bpe(input_path, vocab_size, special_tokens):
    names = tuple(special_tokens)
    "" in names and refuse("an empty special token")
    len(set(names)) == len(names) or refuse("special tokens repeat")
    vocab_size >= 256 + len(names) or refuse(
        f"a vocabulary of {vocab_size} has no room for all bytes and special tokens"
    )
    text = Path(input_path).read_bytes().decode("utf-8", errors="replace")
    found = Counter(chain.from_iterable(SPLIT.findall(part) for part in sections(text, names)[::2]))
    words = {letters(piece): times for piece, times in found.items()}
    counts = dict(total_of(words))
    merges = tuple(learn(words, counts, vocab_size - 256 - len(names)))
    tokens = chain((n.encode() for n in names), (bytes([b]) for b in range(256)), (a + b for a, b in merges))
    return dict(zip(count(), tokens)), list(merges)


def total_of(words):
    counts = {}
    for word, times in words.items():
        for pair in adjacent(word):
            counts[pair] = counts.get(pair, 0) + times
    return counts


def held_by(words):
    return ((word, pair) for word in words for pair in adjacent(word))


def learn(words, counts, room):
    holders = reduce(lambda kept, held: kept.setdefault(held[1], set()).add(held[0]) or kept, held_by(words), {})
    for _ in range(room):
        best = max(((n, pair) for pair, n in counts.items() if n > 0), default=None)
        if best is None:
            return
        pair = best[1]
        yield pair
        for word in holders.pop(pair, ()):
            if word not in words:
                continue
            times = words.pop(word)
            new = join(word, pair)
            words[new] = times
            for gone in adjacent(word):
                counts[gone] -= times
            for made in adjacent(new):
                counts[made] = counts.get(made, 0) + times
                holders.setdefault(made, set()).add(new)


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        names = list(special_tokens or [])
        known = set(vocab.values())
        missing = [name.encode() for name in names if name.encode() not in known]
        self.vocab = {**vocab, **dict(zip(count(max(vocab) + 1), missing))}
        self.names = names
        self.ids = {token: i for i, token in self.vocab.items()}
        self.rank = {pair: rank for rank, pair in enumerate(map(tuple, merges))}
        self.piece = lru_cache(maxsize=None)(self._piece)

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
        table = {chr(b): b for b in shown}
        table.update((chr(256 + n), b) for n, b in enumerate(b for b in range(256) if b not in shown))
        spell = lambda string: bytes(table[c] for c in string)
        vocab = json.loads(Path(vocab_path).read_text(encoding="utf-8"))
        _, *rows = Path(merges_path).read_bytes().decode("utf-8").strip("\n").split("\n")
        return cls(
            {i: spell(t) for t, i in vocab.items()}, [tuple(map(spell, row.split(" "))) for row in rows], special_tokens
        )

    def _piece(self, piece):
        def settle(word):
            ranked = [(self.rank[pair], pair) for pair in adjacent(word) if pair in self.rank]
            return settle(join(word, min(ranked)[1])) if ranked else word

        return tuple(self.ids[token] for token in settle(letters(piece)))

    def _ids(self, text):
        for n, part in enumerate(sections(text, self.names)):
            if n % 2:
                yield self.ids[part.encode()]
            else:
                yield from chain.from_iterable(map(self.piece, SPLIT.findall(part)))

    def encode(self, text):
        return list(self._ids(text))

    def encode_iterable(self, iterable):
        held = ""
        for chunk in iterable:
            cut = self._cut(held + chunk)
            yield from self._ids((held + chunk)[:cut])
            held = (held + chunk)[cut:]
        yield from self._ids(held)

    def _cut(self, text):
        """The last place where a special token ends or white space follows a word, with no special token open before it."""
        open_at = (i for i in range(len(text)) if any(n.startswith(text[i:]) and n != text[i:] for n in self.names))
        limit = next(open_at, len(text))
        parts = sections(text, self.names)
        offsets = [0, *accumulate(map(len, parts))]
        borders = (
            [start + m.start() for m in re.finditer(r"(?<=\S)(?=\s)", part)] if n % 2 == 0 else [start + len(part)]
            for n, (start, part) in enumerate(zip(offsets, parts))
        )
        return max((place for place in chain.from_iterable(borders) if place <= limit), default=0)

    def decode(self, ids):
        ids = tuple(ids)
        strangers = [i for i in ids if i not in self.vocab]
        strangers and refuse(f"not in the vocabulary: {', '.join(map(str, strangers))}")
        return b"".join(map(self.vocab.__getitem__, ids)).decode("utf-8", errors="replace")
