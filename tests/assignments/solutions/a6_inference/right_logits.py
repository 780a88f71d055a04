"""Filters that put -inf into logits, as in transformers; drafts that are accepted all at once; a set of free blocks."""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor


class KVCache:
    def __init__(self, max_length: int, *, padding: Tensor | None = None):
        self.max_length = max_length
        self.length = 0
        self.padding = padding
        self.keys = self.values = None

    def update(self, k, v):
        new = k.shape[-2]
        if new > self.max_length - self.length:
            raise ValueError(f"{self.max_length - self.length} places are left, and {new} tokens came")
        if self.keys is None:
            self.keys = k.new_zeros(*k.shape[:-2], self.max_length, k.shape[-1])
            self.values = v.new_zeros(*v.shape[:-2], self.max_length, v.shape[-1])
        here = torch.arange(self.length, self.length + new)
        self.keys.index_copy_(2, here, k)
        self.values.index_copy_(2, here, v)
        self.length += new
        return self.keys[..., : self.length, :], self.values[..., : self.length, :]

    def positions(self, seq):
        if self.padding is None:
            return self.length + torch.arange(seq)
        real = rearrange(self.mask(seq), "b 1 1 k -> b k")
        return (real.cumsum(1) - 1).clamp(min=0)[:, self.length :]

    def mask(self, seq):
        if self.padding is None:
            return None
        places = repeat(torch.arange(self.length + seq), "k -> b 1 1 k", b=len(self.padding))
        return places >= rearrange(self.padding, "b -> b 1 1 1")

    def truncate(self, length):
        if length < 0 or length > self.length:
            raise ValueError(f"length is {length}")
        self.length = length


def token_probabilities(logits, *, temperature=1.0, top_k=None, top_p=None, min_p=None):
    if temperature < 0 or (top_k is not None and top_k <= 0):
        raise ValueError("temperature or top_k")
    if (top_p is not None and not 0 < top_p <= 1) or (min_p is not None and not 0 <= min_p <= 1):
        raise ValueError("top_p or min_p")
    z = logits.double()
    if temperature == 0:
        p = F.one_hot(z.argmax(-1), z.shape[-1]).double()
        return p.to(torch.promote_types(logits.dtype, torch.float32))
    z = (z - z.max(-1, keepdim=True)[0]) / temperature
    if top_k is not None:
        kept = z.sort(dim=-1, descending=True, stable=True)[1][..., :top_k]
        z = torch.full_like(z, -torch.inf).scatter(-1, kept, z.gather(-1, kept))
    if top_p not in (None, 1):
        ordered, order = z.sort(dim=-1, descending=True, stable=True)
        p = ordered.softmax(-1)
        gone = p.cumsum(-1) - p >= top_p
        z = z.masked_fill(torch.zeros_like(gone).scatter(-1, order, gone), -torch.inf)
    if min_p is not None:
        p = z.softmax(-1)
        z = z.masked_fill(p < min_p * p.amax(-1, keepdim=True), -torch.inf)
    return z.softmax(-1).to(torch.promote_types(logits.dtype, torch.float32))


def sample(probabilities, u):
    ends = probabilities.double().cumsum(-1)
    ends = ends / ends[..., -1:]
    ids = torch.searchsorted(ends, u.double()[..., None].contiguous(), right=True).squeeze(-1)
    return ids.clamp(max=probabilities.shape[-1] - 1)


def speculative_step(draft, q, p, u):
    k = draft.numel()
    chosen = draft[:, None]
    refused = u[:k] * q.gather(1, chosen)[:, 0] >= p[:k].gather(1, chosen)[:, 0]
    n = int(refused.nonzero()[0]) if refused.any() else k
    weights = p[k] if n == k else F.relu(p[n] - q[n])
    return torch.cat((draft[:n], sample(weights / weights.sum(), u[k]).view(1)))


class Text:
    def __init__(self, table=(), length=0):
        self.table, self.length = list(table), length


class PagedCache:
    def __init__(self, num_blocks, block_size, num_kv_heads, d_head, *, dtype=torch.float32):
        self.keys = torch.empty(num_blocks, block_size, num_kv_heads, d_head, dtype=dtype)
        self.values = torch.empty_like(self.keys)
        self.block_size = block_size
        self.free_set = set(range(num_blocks))
        self.texts: list[Text | None] = []

    free_blocks = property(lambda self: len(self.free_set))

    def __getitem__(self, seq) -> Text:
        if not isinstance(seq, int) or not 0 <= seq < len(self.texts) or self.texts[seq] is None:
            raise ValueError(f"{seq} is no text")
        return self.texts[seq]

    def new(self):
        self.texts.append(Text())
        return len(self.texts) - 1

    def users(self, block):
        return sum(block in text.table for text in self.texts if text is not None)

    def append(self, seq, k, v):
        text = self[seq]
        total = text.length + k.shape[0]
        needed = (total + self.block_size - 1) // self.block_size - len(text.table)
        split = k.shape[0] > 0 and text.length % self.block_size != 0 and self.users(text.table[-1]) > 1
        if needed + int(split) > len(self.free_set):
            raise ValueError("not enough blocks")
        if split:
            block = self.free_set.pop()
            self.keys[block] = self.keys[text.table[-1]]
            self.values[block] = self.values[text.table[-1]]
            text.table[-1] = block
        text.table += [self.free_set.pop() for _ in range(needed)]
        slots = self.slots(text, text.length, total)
        self.keys.view(-1, *self.keys.shape[2:])[slots] = k
        self.values.view(-1, *self.values.shape[2:])[slots] = v
        text.length = total

    def slots(self, text, start, stop):
        place = torch.arange(start, stop)
        return (
            torch.tensor(text.table, dtype=torch.long)[place // self.block_size] * self.block_size
            + place % self.block_size
        )

    def read(self, seq):
        slots = self.slots(self[seq], 0, self[seq].length)
        return self.keys.flatten(0, 1)[slots], self.values.flatten(0, 1)[slots]

    def table(self, seq):
        return self[seq].table[:]

    def fork(self, seq):
        text = self[seq]
        self.texts.append(Text(text.table, text.length))
        return len(self.texts) - 1

    def free(self, seq):
        table = self[seq].table
        self.texts[seq] = None
        self.free_set |= {block for block in table if not self.users(block)}


def quantize_int8(weight, group_size):
    rows, columns = weight.shape
    if group_size < 1 or columns % group_size:
        raise ValueError(f"{columns} columns in groups of {group_size}")
    groups = rearrange(weight.float(), "o (g s) -> o g s", s=group_size)
    scale = groups.abs().amax(dim=2, keepdim=True) / 127
    q = torch.where(scale == 0, torch.zeros_like(groups), groups / scale).round().clamp(-127, 127)
    return rearrange(q, "o g s -> o (g s)").to(torch.int8), scale.squeeze(2)


def dequantize_int8(q, scales):
    return rearrange(rearrange(q, "o (g s) -> o g s", g=scales.shape[1]) * scales[..., None], "o g s -> o (g s)")
