"""Every exercise without its idea: a cache without memory, the softmax alone, the target asked without drafts, a dict.

most: 6
because: refusals, borders and the blocks' arithmetic are a few points of their own
"""

import torch


class KVCache:
    def __init__(self, max_length, *, padding=None):
        self.length, self.padding = 0, padding

    def update(self, k, v):
        self.length += k.shape[2]
        return k, v

    def positions(self, seq):
        return torch.arange(seq)

    def mask(self, seq):
        return None

    def truncate(self, length):
        if not 0 <= length <= self.length:
            raise ValueError
        self.length = length


def token_probabilities(logits, **options):
    if options.get("temperature", 1.0) < 0:
        raise ValueError
    return logits.float().softmax(-1)


def sample(probabilities, u):
    return probabilities.argmax(-1)


def speculative_step(draft, q, p, u):
    return p[0].argmax()[None]


class PagedCache:
    def __init__(self, num_blocks, block_size, num_kv_heads, d_head, *, dtype=torch.float32):
        self.keys = self.values = torch.zeros(num_blocks, block_size, num_kv_heads, d_head)
        self.rows, self.size = {}, block_size

    @property
    def free_blocks(self):
        return len(self.keys) - sum(len(self.table(seq)) for seq in self.rows)

    def new(self):
        self.rows[len(self.rows)] = (torch.zeros(0, *self.keys.shape[2:]),) * 2
        return len(self.rows) - 1

    def append(self, seq, k, v):
        self.rows[seq] = k, v

    def read(self, seq):
        return self.rows[seq]

    def table(self, seq):
        return list(range(-(-len(self.rows[seq][0]) // self.size)))

    def fork(self, seq):
        self.rows[len(self.rows)] = self.rows[seq]
        return len(self.rows) - 1

    def free(self, seq):
        del self.rows[seq]


def quantize_int8(weight, group_size):
    return weight.to(torch.int8), torch.ones(len(weight), weight.shape[1] // max(group_size, 1))


def dequantize_int8(q, scales):
    return q.float()
