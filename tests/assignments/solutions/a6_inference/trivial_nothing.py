"""Everything returns None."""


class KVCache:
    length = 0

    def __init__(self, max_length, *, padding=None):
        pass

    def update(self, k, v):
        return None

    positions = mask = truncate = lambda self, seq: None


def token_probabilities(logits, **options):
    return None


def sample(probabilities, u):
    return None


def speculative_step(draft, q, p, u):
    return None


class PagedCache:
    free_blocks = 0

    def __init__(self, *sizes, dtype=None):
        pass

    def new(self):
        return None

    read = table = fork = free = lambda self, seq: None

    def append(self, seq, k, v):
        return None


def quantize_int8(weight, group_size):
    return None


def dequantize_int8(q, scales):
    return None
