"""Training on linked lists of token ids: every position knows its neighbours, a heap with outdated entries knows the
most frequent pair. Encoding runs a heap of ranks over the positions of a piece. No tuples of bytes are ever rebuilt."""

import heapq
import json
from array import array

import regex

TOKEN = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


class Descending:
    """A pair of byte strings that sorts the greatest first."""

    __slots__ = ("pair",)

    def __init__(self, pair):
        self.pair = pair

    def __lt__(self, other):
        return self.pair > other.pair


def plain_text(text, names):
    """The stretches of text between special tokens, found by hand."""
    names = sorted(names, key=lambda name: -len(name))
    start = at = 0
    while at < len(text):
        name = next((name for name in names if text.startswith(name, at)), None)
        if name is None:
            at += 1
            continue
        yield text[start:at], name
        start = at = at + len(name)
    yield text[start:], None


def train_bpe(input_path, vocab_size, special_tokens):
    if not all(special_tokens) or len(set(special_tokens)) != len(special_tokens):
        raise ValueError("special tokens must be different from each other and not empty")
    room = vocab_size - 256 - len(special_tokens)
    if room < 0:
        raise ValueError("vocab_size is too small for the bytes and the special tokens")
    with open(input_path, mode="rb") as handle:
        text = handle.read().decode("utf-8", "replace")

    frequency = {}
    for stretch, _ in plain_text(text, special_tokens):
        for match in TOKEN.finditer(stretch):
            frequency[match.group()] = frequency.get(match.group(), 0) + 1

    spelling = [bytes((b,)) for b in range(256)]
    token, left, right, weight = array("l"), array("l"), array("l"), array("l")
    for piece, times in frequency.items():
        data = piece.encode("utf-8")
        first = len(token)
        for offset, byte in enumerate(data):
            token.append(byte)
            left.append(first + offset - 1 if offset else -1)
            right.append(first + offset + 1 if offset + 1 < len(data) else -1)
            weight.append(times)

    total, places = {}, {}

    def add(i):
        pair = token[i], token[right[i]]
        total[pair] = total.get(pair, 0) + weight[i]
        places.setdefault(pair, []).append(i)
        return pair

    def push(pair):
        heapq.heappush(heap, (-total[pair], Descending((spelling[pair[0]], spelling[pair[1]])), pair))

    heap = []
    for i in range(len(token)):
        if right[i] >= 0:
            add(i)
    for pair in total:
        push(pair)

    merges = []
    while heap and len(merges) < room:
        count, _, pair = heapq.heappop(heap)
        if total.get(pair, 0) != -count or not count:
            continue
        a, b = pair
        new = len(spelling)
        spelling.append(spelling[a] + spelling[b])
        merges.append((spelling[a], spelling[b]))
        touched = set()
        for i in sorted(set(places.pop(pair))):
            j = right[i]
            if token[i] != a or j < 0 or token[j] != b:
                continue
            before, after = left[i], right[j]
            if before >= 0:
                old = token[before], a
                total[old] -= weight[i]
                touched.add(old)
            if after >= 0:
                old = b, token[after]
                total[old] -= weight[i]
                touched.add(old)
            token[i], token[j] = new, -1
            right[i] = after
            if after >= 0:
                left[after] = i
                touched.add(add(i))
            if before >= 0:
                touched.add(add(before))
        total.pop(pair, None)
        for changed in touched:
            if total.get(changed, 0) > 0:
                push(changed)
    tokens = [name.encode() for name in special_tokens] + spelling
    return dict(zip(range(len(tokens)), tokens)), merges


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=None):
        self._spelling = {i: bytes(token) for i, token in vocab.items()}
        number = {token: i for i, token in self._spelling.items()}
        self._byte = [number.get(bytes((b,))) for b in range(256)]
        self._join = {}
        for rank, (a, b) in enumerate(merges):
            self._join.setdefault((number[a], number[b]), (rank, number[a + b]))
        self._special = {}
        for name in special_tokens or ():
            data = name.encode()
            if data not in number:
                number[data] = 1 + max(self._spelling)
                self._spelling[number[data]] = data
            self._special[name] = number[data]

    @classmethod
    def from_files(cls, vocab_path, merges_path, special_tokens=None):
        visible = set(range(ord("!"), ord("~") + 1)) | set(range(0xA1, 0xAD)) | set(range(0xAE, 0x100))
        table, following = {}, 0x100
        for byte in range(256):
            if byte in visible:
                table[chr(byte)] = byte
            else:
                table[chr(following)] = byte
                following += 1
        with open(vocab_path, "rb") as handle:
            stored = json.loads(handle.read())
        vocab = {i: bytes(map(table.__getitem__, token)) for token, i in stored.items()}
        merges = []
        with open(merges_path, "rb") as handle:
            for line in handle.read().decode().split("\n"):
                if line and not line.startswith("#version"):
                    a, b = line.split()
                    merges.append((bytes(map(table.__getitem__, a)), bytes(map(table.__getitem__, b))))
        return cls(vocab, merges, special_tokens)

    def _piece(self, piece):
        ids = [self._byte[b] for b in piece.encode()]
        after = list(range(1, len(ids))) + [-1]
        before = [-1, *range(len(ids) - 1)]
        heap = []

        def look(i):
            if i >= 0 and after[i] >= 0 and (ids[i], ids[after[i]]) in self._join:
                heapq.heappush(heap, (self._join[ids[i], ids[after[i]]][0], i))

        for i in range(len(ids)):
            look(i)
        while heap:
            rank, i = heapq.heappop(heap)
            j = after[i]
            if ids[i] is None or j < 0 or self._join.get((ids[i], ids[j]), (-1, 0))[0] != rank:
                continue
            ids[i], ids[j] = self._join[ids[i], ids[j]][1], None
            after[i] = after[j]
            if after[j] >= 0:
                before[after[j]] = i
            look(before[i])
            look(i)
        return [i for i in ids if i is not None]

    def encode(self, text):
        out = []
        for stretch, name in plain_text(text, self._special):
            for match in TOKEN.finditer(stretch):
                out += self._piece(match.group())
            if name is not None:
                out.append(self._special[name])
        return out

    def encode_iterable(self, iterable):
        """Cuts at line ends inside words' neighbourhoods only when nothing behind the cut can change what is before."""
        longest = max([len(name) for name in self._special] + [1])
        pending = ""
        for chunk in iterable:
            pending += chunk
            while True:
                stop = len(pending) - longest  # a special token that begins before here is complete
                cut = self._cut(pending, stop)
                if cut <= 0:
                    break
                yield from self.encode(pending[:cut])
                pending = pending[cut:]
        yield from self.encode(pending)

    def _cut(self, text, stop):
        at, cut = 0, 0
        for stretch, name in plain_text(text, self._special):
            for i in range(max(at, 1), min(at + len(stretch), stop)):
                if i > at and not TOKEN_SPACE.match(text[i - 1]) and TOKEN_SPACE.match(text[i]):
                    cut = i
            at += len(stretch) + len(name or "")
            if name is None or at - len(name) > stop:
                break
            cut = at
        return cut

    def decode(self, ids):
        data = bytearray()
        for i in ids:
            try:
                data += self._spelling[i]
            except KeyError:
                raise ValueError(f"{i} is no id of this vocabulary") from None
        return data.decode(errors="replace")


TOKEN_SPACE = regex.compile(r"\s")
