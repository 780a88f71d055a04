"""NumPy and plain Python wherever tensors are not asked for."""

import numpy as np
import torch


class KVCache:
    def __init__(self, max_length, *, padding=None):
        self.room, self.pad, self.length, self.store = max_length, padding, 0, None

    def update(self, k, v):
        n = k.size(2)
        if self.length + n > self.room:
            raise ValueError(f"no room for {n} more")
        if self.store is None:
            self.store = [torch.empty(x.size(0), x.size(1), self.room, x.size(3), dtype=x.dtype) for x in (k, v)]
        for memory, x in zip(self.store, (k, v)):
            memory.narrow(2, self.length, n).copy_(x)
        self.length += n
        return tuple(memory.narrow(2, 0, self.length) for memory in self.store)

    def positions(self, seq):
        places = np.arange(self.length, self.length + seq)
        if self.pad is not None:
            places = np.maximum(places[None] - np.asarray(self.pad)[:, None], 0)
        return torch.from_numpy(places.astype(np.int64))

    def mask(self, seq):
        if self.pad is None:
            return None
        rows = [[place >= pad for place in range(self.length + seq)] for pad in self.pad.tolist()]
        return torch.tensor(rows).view(len(rows), 1, 1, -1)

    def truncate(self, length):
        if length not in range(self.length + 1):
            raise ValueError(f"{length} of {self.length} tokens")
        self.length = length


def one_row(z, temperature, top_k, top_p, min_p):
    if temperature == 0:
        p = np.zeros_like(z)
        p[z.argmax()] = 1
        return p
    with np.errstate(over="ignore"):
        p = np.exp((z - z.max()) / temperature)
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    if top_k is not None:
        p[order[top_k:]] = 0
        p /= p.sum()
    if top_p is not None and top_p < 1:
        total, kept = 0.0, 0
        while kept < len(p) and total < top_p:
            total += p[order[kept]]
            kept += 1
        p[order[kept:]] = 0
        p /= p.sum()
    if min_p is not None:
        p[p < min_p * p.max()] = 0
        p /= p.sum()
    return p


def token_probabilities(logits, *, temperature=1.0, top_k=None, top_p=None, min_p=None):
    allowed = [
        temperature >= 0,
        top_k is None or top_k >= 1,
        top_p is None or 0 < top_p <= 1,
        min_p is None or 0 <= min_p <= 1,
    ]
    if not all(allowed):
        raise ValueError("an option is out of range")
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    rows = logits.double().numpy().reshape(-1, logits.shape[-1])
    found = np.stack([one_row(row.copy(), temperature, top_k, top_p, min_p) for row in rows])
    return torch.from_numpy(found.reshape(logits.shape)).to(dtype)


def sample(probabilities, u):
    rows, numbers = probabilities.double().reshape(-1, probabilities.shape[-1]).numpy(), u.double().reshape(-1).numpy()
    ids = []
    for row, x in zip(rows, numbers):
        there = np.flatnonzero(row)
        ends = np.cumsum(row[there]) / row.sum()
        ids.append(there[min(np.searchsorted(ends, x, side="right"), len(there) - 1)])
    return torch.tensor(np.array(ids)).reshape(u.shape)


def speculative_step(draft, q, p, u):
    kept = []
    for i, x in enumerate(draft):
        if u[i] * q[i][x] >= p[i][x]:
            left = np.maximum(p[i].double().numpy() - q[i].double().numpy(), 0)
            last = sample(torch.from_numpy(left / left.sum()), u[-1])
            return torch.tensor([*kept, int(last)])
        kept.append(int(x))
    return torch.tensor([*kept, int(sample(p[-1], u[-1]))])


class PagedCache:
    def __init__(self, num_blocks, block_size, num_kv_heads, d_head, *, dtype=torch.float32):
        self.size = block_size
        self.keys, self.values = torch.zeros(2, num_blocks, block_size, num_kv_heads, d_head, dtype=dtype)
        self.owners = np.zeros(num_blocks, dtype=int)
        self.texts = {}
        self.made = 0

    @property
    def free_blocks(self):
        return int((self.owners == 0).sum())

    def text(self, seq):
        try:
            return self.texts[seq]
        except KeyError:
            raise ValueError(f"no text {seq}") from None

    def new(self):
        self.made += 1
        self.texts[f"text {self.made}"] = {"blocks": [], "length": 0}
        return f"text {self.made}"

    def append(self, seq, k, v):
        text = self.text(seq)
        blocks, start, end = text["blocks"], text["length"], text["length"] + len(k)
        partial = start % self.size != 0 and len(k) > 0
        copy = partial and self.owners[blocks[-1]] > 1
        more = int(np.ceil(end / self.size)) - len(blocks)
        free = np.flatnonzero(self.owners == 0)[: more + copy]
        if len(free) < more + copy:
            raise ValueError("no blocks left")
        self.owners[free] = 1
        free = free.tolist()
        if copy:
            old, blocks[-1] = blocks[-1], free.pop(0)
            self.owners[old] -= 1
            self.keys[blocks[-1]] = self.keys[old]
            self.values[blocks[-1]] = self.values[old]
        blocks.extend(free)
        for i in range(start, end):
            at = blocks[i // self.size], i % self.size
            self.keys[at], self.values[at] = k[i - start], v[i - start]
        text["length"] = end

    def read(self, seq):
        text = self.text(seq)
        return tuple(x[text["blocks"]].flatten(0, 1)[: text["length"]] for x in (self.keys, self.values))

    def table(self, seq):
        return self.text(seq)["blocks"].copy()

    def fork(self, seq):
        text = self.text(seq)
        copy = self.new()
        self.texts[copy] = {"blocks": text["blocks"].copy(), "length": text["length"]}
        self.owners[text["blocks"]] += 1
        return copy

    def free(self, seq):
        self.owners[self.text(seq)["blocks"]] -= 1
        del self.texts[seq]


def quantize_int8(weight, group_size):
    if group_size <= 0 or weight.shape[1] % group_size != 0:
        raise ValueError("group_size")
    groups = weight.float().numpy().reshape(len(weight), -1, group_size)
    scales = np.abs(groups).max(-1) / np.float32(127)
    q = np.rint(groups / np.where(scales == 0, 1, scales)[..., None])
    return torch.from_numpy(q.reshape(weight.shape).astype(np.int8)), torch.from_numpy(scales)


def dequantize_int8(q, scales):
    size = q.shape[1] // scales.shape[1]
    return torch.from_numpy(q.numpy().astype(np.float32) * np.repeat(scales.numpy(), size, axis=1))
