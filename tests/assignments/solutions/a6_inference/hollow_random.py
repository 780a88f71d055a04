"""Random numbers in the right shapes.

most: 3
"""

import torch


class KVCache:
    def __init__(self, max_length, *, padding=None):
        self.length, self.padding = 0, padding

    def update(self, k, v):
        self.length += k.shape[2]
        return tuple(torch.randn(*x.shape[:2], self.length, x.shape[3]) for x in (k, v))

    def positions(self, seq):
        shape = (seq,) if self.padding is None else (len(self.padding), seq)
        return torch.randint(0, 9, shape)

    def mask(self, seq):
        return None if self.padding is None else torch.rand(len(self.padding), 1, 1, self.length + seq) < 0.5

    def truncate(self, length):
        self.length = length


def token_probabilities(logits, **options):
    return torch.rand_like(logits).softmax(-1)


def sample(probabilities, u):
    return torch.randint(0, probabilities.shape[-1], u.shape)


def speculative_step(draft, q, p, u):
    return torch.randint(0, p.shape[1], (int(torch.randint(1, len(p) + 1, ())),))


class PagedCache:
    free_blocks = 3

    def __init__(self, num_blocks, block_size, num_kv_heads, d_head, *, dtype=torch.float32):
        self.keys = self.values = torch.randn(num_blocks, block_size, num_kv_heads, d_head)
        self.lengths = []

    def new(self):
        self.lengths.append(0)
        return len(self.lengths) - 1

    def append(self, seq, k, v):
        self.lengths[seq] += len(k)

    def read(self, seq):
        return tuple(torch.randn(self.lengths[seq], *self.keys.shape[2:]) for _ in range(2))

    def table(self, seq):
        return [0]

    def fork(self, seq):
        self.lengths.append(self.lengths[seq])
        return len(self.lengths) - 1

    def free(self, seq):
        pass


def quantize_int8(weight, group_size):
    return torch.randint(-127, 128, weight.shape).to(torch.int8), torch.rand(
        len(weight), weight.shape[1] // max(group_size, 1)
    )


def dequantize_int8(q, scales):
    return torch.randn(q.shape)
