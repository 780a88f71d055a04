"""Words are strings: token number i is the character with code point i of a private alphabet, so that a merge is
`str.replace`, which goes from left to right without overlap, and a pair is a string of two characters."""

import json
import re as standard_re
from collections import Counter

import regex

FIRST = 0x10000  # token i is written chr(FIRST + i)
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class BadArgument(ValueError):
    pass


def written(data):
    return "".join(chr(FIRST + byte) for byte in data)


def train_bpe(input_path, vocab_size, special_tokens):
    names = tuple(special_tokens)
    for i, name in enumerate(names):
        if not name or name in names[:i]:
            raise BadArgument(f"special token {i} is empty or was given before")
    if vocab_size < 256 + len(names):
        raise BadArgument(f"vocab_size must be at least {256 + len(names)}")
    text = open(input_path, encoding="utf-8", errors="replace", newline="").read()
    texts = [text]
    if names:
        texts = standard_re.split("|".join(standard_re.escape(n) for n in sorted(names, key=len)[::-1]), text)
    times = Counter()
    for part in texts:
        times.update(regex.findall(GPT2, part))
    words = [[written(piece.encode()), n] for piece, n in times.items()]

    spelling = [bytes([i]) for i in range(256)]
    spell = lambda pair: (spelling[ord(pair[0]) - FIRST], spelling[ord(pair[1]) - FIRST])
    counts = Counter()
    for word, n in words:
        for i in range(len(word) - 1):
            counts[word[i : i + 2]] += n
    holders = {}
    for place, (word, _) in enumerate(words):
        for i in range(len(word) - 1):
            holders.setdefault(word[i : i + 2], set()).add(place)
    merges = []
    while len(merges) < vocab_size - 256 - len(names):
        top = max(counts.values(), default=0)
        if top < 1:
            break
        pair = max((p for p, n in counts.items() if n == top), key=spell)
        new = chr(FIRST + len(spelling))
        merges.append(spell(pair))
        spelling.append(b"".join(spell(pair)))
        for place in holders.pop(pair, ()):
            entry = words[place]
            word, n = entry
            if pair not in word:
                continue
            entry[0] = word.replace(pair, new)
            counts.subtract({p: n * k for p, k in Counter(word[i : i + 2] for i in range(len(word) - 1)).items()})
            for i in range(len(entry[0]) - 1):
                counts[entry[0][i : i + 2]] += n
                holders.setdefault(entry[0][i : i + 2], set()).add(place)
    vocab = {}
    for token in [n.encode() for n in names] + spelling:
        vocab[len(vocab)] = token
    return vocab, merges


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        self.tokens = dict(vocab)
        self.number = {v: k for k, v in vocab.items()}
        self.specials = {}
        for name in special_tokens or []:
            if name.encode() not in self.number:
                free = max(self.tokens) + 1
                self.tokens[free] = name.encode()
                self.number[name.encode()] = free
            self.specials[name] = self.number[name.encode()]
        # in the private alphabet: bytes, then merges by rank
        letter = {bytes([i]): chr(FIRST + i) for i in range(256)}
        self.letter_ids = {chr(FIRST + i): self.number.get(bytes([i])) for i in range(256)}
        self.rules = {}
        for a, b in merges:
            new = letter.setdefault(a + b, chr(FIRST + len(letter)))
            self.letter_ids[new] = self.number[a + b]
            self.rules[letter[a] + letter[b]] = len(self.rules), new
        self.remembered = {}

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        code, n = {}, 0
        for byte in range(256):
            if chr(byte).isprintable() and byte not in (0x20, 0xA0, 0xAD):
                code[chr(byte)] = byte
            else:
                code[chr(256 + n)] = byte
                n += 1
        back = lambda s: bytes(code[c] for c in s)
        with open(vocab_path, encoding="utf-8") as f:
            vocab = {number: back(token) for token, number in json.load(f).items()}
        with open(merges_path, encoding="utf-8") as f:
            next(f)
            merges = [tuple(back(part) for part in line.rstrip("\n").split(" ")) for line in f if line.strip()]
        return cls(vocab, merges, special_tokens)

    def word(self, piece):
        if piece not in self.remembered:
            word = written(piece.encode())
            while rules := [(self.rules[pair], pair) for pair in map("".join, zip(word, word[1:])) if pair in self.rules]:
                (_, new), pair = min(rules)
                word = word.replace(pair, new)
            self.remembered[piece] = [self.letter_ids[c] for c in word]
        return self.remembered[piece]

    def parts(self, text):
        """(text, special token or None) in turn, by `str.find`."""
        names = sorted(self.specials, key=len, reverse=True)
        while True:
            places = [(text.find(name), -len(name), name) for name in names if name in text]
            if not places:
                yield text, None
                return
            at, _, name = min(places)
            yield text[:at], name
            text = text[at + len(name) :]

    def encode(self, text):
        ids = []
        for plain, name in self.parts(text):
            for piece in regex.findall(GPT2, plain):
                ids.extend(self.word(piece))
            if name:
                ids.append(self.specials[name])
        return ids

    def encode_iterable(self, iterable):
        return Stream(self, iter(iterable))

    def decode(self, ids):
        ids = [*ids]
        unknown = set(ids) - self.tokens.keys()
        if unknown:
            raise BadArgument(f"ids {sorted(unknown)} are not in the vocabulary")
        return b"".join([self.tokens[i] for i in ids]).decode("utf-8", "replace")


class Stream:
    """An iterator written as a class: keeps whole what follows the last place that is safe."""

    def __init__(self, tokenizer, pieces):
        self.tokenizer, self.pieces, self.held, self.ready, self.over = tokenizer, pieces, "", [], False

    def __iter__(self):
        return self

    def __next__(self):
        while not self.ready:
            if self.over:
                raise StopIteration
            try:
                self.held += next(self.pieces)
                cut = self.safe()
            except StopIteration:
                self.over, cut = True, len(self.held)
            self.ready = self.tokenizer.encode(self.held[:cut])[::-1]
            self.held = self.held[cut:]
        return self.ready.pop()

    def safe(self):
        """Behind a place where white space follows a word and where no special token is open."""
        reach = max(map(len, self.tokenizer.specials), default=0)
        at = best = 0
        for plain, name in self.tokenizer.parts(self.held):
            end = min(at + len(plain), len(self.held) - reach)
            for border in regex.finditer(r"(?<=\S)(?=\s)", self.held[at : max(end, at) + 1]):
                if at + border.start() <= end:
                    best = at + border.start()
            at += len(plain) + len(name or "")
            if not name or at - len(name) > len(self.held) - reach:
                break
            best = at
        return best
