import math

import torch


class KVCache:
    """In parts, so that a wrong solution replaces one of them."""

    def __init__(self, max_length, *, padding=None):
        self.max_length, self.padding = max_length, padding
        self.length, self.k, self.v = 0, None, None

    def check_room(self, stop):
        if stop > self.max_length:
            raise ValueError("there is no room")

    def take(self, x):
        return x.new_zeros(x.shape[0], x.shape[1], self.max_length, x.shape[3])

    def write(self, memory, x, stop):
        memory[:, :, self.length : stop] = x
        return memory

    def seen(self, memory, x):
        return memory[:, :, : self.length]

    def update(self, k, v):
        stop = self.length + k.shape[2]
        self.check_room(stop)
        if self.k is None:
            self.k, self.v = self.take(k), self.take(v)
        self.k, self.v = self.write(self.k, k, stop), self.write(self.v, v, stop)
        self.length = stop
        return self.seen(self.k, k), self.seen(self.v, v)

    def places(self, seq):
        return torch.arange(self.length, self.length + seq)

    def behind(self, places):
        return (places - self.padding[:, None]).clamp(min=0)

    def positions(self, seq):
        return self.places(seq) if self.padding is None else self.behind(self.places(seq))

    def real(self, seq):
        return torch.arange(self.length + seq) >= self.padding[:, None]

    def mask(self, seq):
        return None if self.padding is None else self.real(seq)[:, None, None, :]

    def truncate(self, length):
        if length < 0 or length > self.length:
            raise ValueError("the cache cannot be cut there")
        self.length = length


def refuse_options(temperature, top_k, top_p, min_p):
    if temperature < 0:
        raise ValueError("temperature")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError("top_p")
    if min_p is not None and not 0 <= min_p <= 1:
        raise ValueError("min_p")


def heated(z, temperature):
    z = z - z.max(dim=-1, keepdim=True).values
    return torch.softmax(z / temperature, dim=-1)


def greedy(z):
    return torch.zeros_like(z).scatter_(-1, z.argmax(-1, keepdim=True), 1.0)


def normalised(p):
    return p / p.sum(-1, keepdim=True)


def by_rank(p):
    """The place of each token among the most probable ones."""
    return p.sort(dim=-1, descending=True, stable=True).indices.argsort(-1)


def keep_k(p, k):
    return normalised(torch.where(by_rank(p) < k, p, 0.0))


def keep_p(p, top_p):
    if top_p == 1:
        return p
    ordered, order = p.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    return normalised(torch.where((before < top_p).gather(-1, order.argsort(-1)), p, 0.0))


def keep_min(p, min_p):
    return normalised(torch.where(p >= min_p * p.max(-1, keepdim=True).values, p, 0.0))


def as_float(z):
    return z if z.dtype == torch.float64 else z.float()


def token_probabilities(logits, *, temperature=1.0, top_k=None, top_p=None, min_p=None):
    refuse_options(temperature, top_k, top_p, min_p)
    z = as_float(logits)
    if temperature == 0:
        return greedy(z)
    p = heated(z, temperature)
    if top_k is not None:
        p = keep_k(p, top_k)
    if top_p is not None:
        p = keep_p(p, top_p)
    if min_p is not None:
        p = keep_min(p, min_p)
    return p


def ends_of(p):
    ends = p.double().cumsum(-1)
    return ends / ends[..., -1:]


def sample(probabilities, u):
    ends = ends_of(probabilities)
    return (ends <= u.double().unsqueeze(-1)).sum(-1)


def accepts(u, q, p):
    return bool(u * q < p)


def in_place_of(p, q, x):
    return (p - q).clamp(min=0)


def after_all(p, k):
    return p[k]


def draw(weights, u):
    return sample(weights / weights.sum(), u)


def speculative_step(draft, q, p, u):
    tokens = []
    for i, x in enumerate(draft.tolist()):
        if not accepts(u[i], q[i, x], p[i, x]):
            tokens.append(int(draw(in_place_of(p[i], q[i], x), u[-1])))
            return torch.tensor(tokens)
        tokens.append(x)
    tokens.append(int(draw(after_all(p, len(draft)), u[-1])))
    return torch.tensor(tokens)


class PagedCache:
    def __init__(self, num_blocks, block_size, num_kv_heads, d_head, *, dtype=torch.float32):
        self.num_blocks, self.block_size = num_blocks, block_size
        self.keys = torch.zeros(num_blocks, block_size, num_kv_heads, d_head, dtype=dtype)
        self.values = torch.zeros(num_blocks, block_size, num_kv_heads, d_head, dtype=dtype)
        self.counts = [0] * num_blocks
        self.tables, self.lengths, self.number = {}, {}, 0

    @property
    def free_blocks(self):
        return self.counts.count(0)

    def known(self, seq):
        if seq not in self.tables:
            raise ValueError("there is no such text")

    def take(self):
        block = self.counts.index(0)
        self.counts[block] = 1
        return block

    def new(self):
        self.number += 1
        self.tables[self.number], self.lengths[self.number] = [], 0
        return self.number

    def must_copy(self, seq, count):
        table = self.tables[seq]
        return count > 0 and self.lengths[seq] % self.block_size > 0 and self.counts[table[-1]] > 1

    def blocks_for(self, length):
        return math.ceil(length / self.block_size)

    def check_blocks(self, seq, count):
        needed = self.blocks_for(self.lengths[seq] + count) - len(self.tables[seq]) + self.must_copy(seq, count)
        if needed > self.free_blocks:
            raise ValueError("too few blocks")

    def copy_last(self, seq):
        table = self.tables[seq]
        old, new = table[-1], self.take()
        self.keys[new], self.values[new] = self.keys[old], self.values[old]
        self.counts[old] -= 1
        table[-1] = new

    def place(self, seq, i):
        return self.tables[seq][i // self.block_size], i % self.block_size

    def append(self, seq, k, v):
        self.known(seq)
        self.check_blocks(seq, len(k))
        if self.must_copy(seq, len(k)):
            self.copy_last(seq)
        while len(self.tables[seq]) < self.blocks_for(self.lengths[seq] + len(k)):
            self.tables[seq].append(self.take())
        for one, other in zip(k, v):
            block, place = self.place(seq, self.lengths[seq])
            self.keys[block, place], self.values[block, place] = one, other
            self.lengths[seq] += 1

    def read(self, seq):
        self.known(seq)
        places = [self.place(seq, i) for i in range(self.lengths[seq])]
        blocks, offsets = ([pair[i] for pair in places] for i in range(2))
        return self.keys[blocks, offsets], self.values[blocks, offsets]

    def table(self, seq):
        self.known(seq)
        return list(self.tables[seq])

    def fork(self, seq):
        self.known(seq)
        copy = self.new()
        self.tables[copy], self.lengths[copy] = list(self.tables[seq]), self.lengths[seq]
        for block in self.tables[seq]:
            self.counts[block] += 1
        return copy

    def free(self, seq):
        self.known(seq)
        for block in self.tables.pop(seq):
            self.counts[block] -= 1
        del self.lengths[seq]


def check_size(weight, group_size):
    if group_size < 1 or weight.shape[1] % group_size:
        raise ValueError("the rows cannot be cut")


def cut(weight, group_size):
    return weight.reshape(weight.shape[0], -1, group_size)


def scales_of(groups):
    scales = groups.abs().amax(-1) / 127
    scales[scales == 0] = 1.0
    return scales


def integers(x):
    return x.round().to(torch.int8)


def quantize_int8(weight, group_size):
    check_size(weight, group_size)
    groups = cut(weight.float(), group_size)
    scales = scales_of(groups)
    return integers(groups / scales[..., None]).reshape(weight.shape), scales


def dequantize_int8(q, scales):
    groups = q.float().reshape(*scales.shape, -1)
    return (groups * scales[..., None]).reshape(q.shape)
