"""Blocks are written whole, from a heap of free ones; tokens are drawn by a loop; scales by einsum."""

import heapq
from collections import Counter

from _base import *


class KVCache(KVCache):
    """Both memories in one tensor."""

    def update(self, k, v):
        stop = self.length + k.shape[2]
        self.check_room(stop)
        if self.k is None:
            self.both = torch.stack([self.take(k), self.take(v)])
            self.k, self.v = self.both.unbind(0)
        self.both[:, :, :, self.length : stop] = torch.stack([k, v])
        self.length = stop
        return self.both[0, :, :, :stop], self.both[1, :, :, :stop]

    def positions(self, seq):
        places = self.places(seq)
        return places if self.padding is None else torch.relu(places - self.padding.unsqueeze(1))


def sample(probabilities, u):
    def one(row, x):
        x = x * sum(row)
        for i, p in enumerate(row):
            if x < p:
                return i
            x -= p
        return max(i for i, p in enumerate(row) if p > 0)

    rows = probabilities.double().reshape(-1, probabilities.shape[-1]).tolist()
    ids = [one(row, x) for row, x in zip(rows, u.double().reshape(-1).tolist())]
    return torch.tensor(ids).reshape(u.shape)


def draw(weights, u):
    return sample(weights / weights.sum(), u)


class PagedCache:
    def __init__(self, num_blocks, block_size, num_kv_heads, d_head, *, dtype=torch.float32):
        self.keys, self.values = (torch.zeros(num_blocks, block_size, num_kv_heads, d_head, dtype=dtype) for _ in "kv")
        self.size, self.heap, self.users, self.texts = block_size, list(range(num_blocks)), Counter(), {}

    @property
    def free_blocks(self):
        return len(self.heap)

    def get(self, seq):
        if seq not in self.texts:
            raise ValueError("no such text")
        return self.texts[seq]

    def new(self):
        seq = max(self.texts, default=-1) + 1 + len(self.users)
        self.texts[seq] = ([], 0)
        return seq

    def drop(self, block):
        self.users[block] -= 1
        if self.users[block] == 0:
            heapq.heappush(self.heap, block)

    def append(self, seq, k, v):
        table, length = self.get(seq)
        if not len(k):
            return
        start = length // self.size * self.size  # all from here on is written anew
        kept, old = table[: length // self.size], table[length // self.size :]
        alone = [block for block in old if self.users[block] == 1]
        needed = math.ceil((length + len(k) - start) / self.size) - len(alone)
        if needed > len(self.heap):
            raise ValueError("too few blocks")
        rows = [
            torch.cat([memory[old].flatten(0, 1)[: length - start], x])
            for memory, x in zip((self.keys, self.values), (k, v))
        ]
        for block in old:
            if block not in alone:
                self.users[block] -= 1
        taken = alone + [heapq.heappop(self.heap) for _ in range(needed)]
        for block in taken:
            self.users[block] = 1
        for memory, x in zip((self.keys, self.values), rows):
            for block, part in zip(taken, x.split(self.size)):
                memory[block, : len(part)] = part
        self.texts[seq] = (kept + taken, length + len(k))

    def read(self, seq):
        table, length = self.get(seq)
        return self.keys[table].flatten(0, 1)[:length], self.values[table].flatten(0, 1)[:length]

    def table(self, seq):
        return self.get(seq)[0]

    def fork(self, seq):
        table, length = self.get(seq)
        self.users.update(table)
        copy = self.new()
        self.texts[copy] = (list(table), length)
        return copy

    def free(self, seq):
        for block in self.get(seq)[0]:
            self.drop(block)
        del self.texts[seq]


def dequantize_int8(q, scales):
    return torch.einsum("ogs,og->ogs", cut(q.float(), q.shape[1] // scales.shape[1]), scales).flatten(1)
