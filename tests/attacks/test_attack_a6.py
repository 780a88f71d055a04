"""Attacks on the checks of a6_inference: answers without a cache, a distribution, a table or an integer behind them.

Each is judged as the grader judges, behind the wall, and gets at most what it earns; the reference gets everything.
"""

import sys
from pathlib import Path

import pytest
from catalogue import spec
from forging import FORGE, Attack, judging, without_work

from cs336lite import decoding

HIDDEN = spec("a6_inference", "hidden")
REFERENCE = Path(decoding.__file__).read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading runs on Linux")

NOTHING = """
for name in ("cache", "attention", "places", "shared", "changed_later", "refused", "bad_cut", "probabilities", "sample",
             "options", "kept", "speculative", "step_kept", "pages", "quantize", "dequantize", "group_sizes"):
    forged["drive_" + name] = lambda *args: []
"""

# In the right shapes, and with every refusal as it should be; ``number`` makes what is in them.
SHAPES = """
def numbers(*shape):
    return number(torch.empty(shape))


def refusals(wrong):
    return ["refused" if one else "taken" for one in wrong]


def so_far(pairs):
    return [numbers(*pairs[0][i].shape[:2], sum(pair[i].shape[2] for pair in pairs), pairs[0][i].shape[3]) for i in range(2)]


@instead
def drive_cache(max_length, padding, steps):
    said, pairs = [], []
    for step in steps:
        pairs = [*pairs, step] if len(step) == 2 else [[x[:, :, : step[0]] for x in pair] for pair in pairs[:1]]
        said.append(so_far(pairs) if len(step) == 2 else step[0])
    return said


@instead
def drive_attention(parts, xs, matrices, table, padding, max_length):
    return numbers(*xs.shape)


@instead
def drive_places(padding, before, seq):
    said, length = [], 0
    for count in before:
        length += count
        if padding is None:
            said.append([torch.arange(length, length + seq), None, length])
        else:
            said.append([numbers(3, seq).long(), numbers(3, 1, 1, length + seq) > 0, length])
    return said


@instead
def drive_shared(first, second, mark):
    return [numbers(*x.shape) for x in first]


@instead
def drive_changed_later(first, second):
    return first, so_far([first, second])


@instead
def drive_refused(room, pairs, bad, last):
    return "refused", 4, so_far([*pairs, last])


@instead
def drive_bad_cut(pair, lengths):
    return refusals(not 0 <= length <= pair[0].shape[2] for length in lengths)


@instead
def drive_probabilities(cases):
    return [numbers(*logits.shape).to(torch.promote_types(logits.dtype, torch.float32)) for logits, options in cases]


@instead
def drive_sample(probabilities, u):
    return numbers(*u.shape).long()


@instead
def drive_options(logits, cases):
    least = {"temperature": 0, "top_k": 1, "top_p": 1e-9, "min_p": 0}
    most = {"temperature": 9, "top_k": 99, "top_p": 1, "min_p": 1}
    return refusals(any(not least[name] <= x <= most[name] for name, x in options.items()) for options in cases)


@instead
def drive_kept(logits, options):
    return logits


@instead
def drive_speculative(cases):
    return [[[*draft.tolist(), 0] for u in us] for draft, q, p, us in cases]


@instead
def drive_step_kept(draft, q, p, u):
    return [draft, q, p, u]


@instead
def drive_pages(sizes, calls):
    said, lengths = [], []
    for name, *args in calls:
        if name in ("new", "fork"):
            lengths.append(0 if name == "new" else lengths[args[0]])
        elif name == "append":
            lengths[args[0]] += len(args[1])
        elif name in ("read", "memory"):
            said.append([numbers(lengths[args[0]], *sizes[2:]) for _ in range(2)])
        elif name in ("count", "table", "try"):
            said.append({"count": sizes[0], "table": [0], "try": "refused"}[name])
    return said


@instead
def drive_quantize(weight, group_size):
    q, scales = numbers(*weight.shape), numbers(weight.shape[0], weight.shape[1] // group_size)
    return [q.to(torch.int8), scales, numbers(*weight.shape), weight]


@instead
def drive_dequantize(q, scales):
    return numbers(*q.shape)


@instead
def drive_group_sizes(weight, sizes):
    return refusals(size < 1 or weight.shape[1] % size for size in sizes)
"""

# Tensors far larger than what is asked for, and answers that are no plain numbers.
ENORMOUS = """
number = lambda t: torch.ones(3 << 20, 1, 1, 1, dtype=torch.int8)
"""
NO_REFUSALS = """
class Trusting(KVCache):
    def update(self, k, v):
        self.max_length = max(self.max_length, self.length + k.shape[2])
        return super().update(k, v)


KVCache = Trusting
"""

# Answers of zeros, and a torch whose comparisons say yes: what judges runs in another process.
YES = """
def yes(*args, **options):
    return True


class Right(int):
    __eq__ = __le__ = __ge__ = yes
    __ne__ = lambda self, other: False
    __hash__ = int.__hash__


for name in ("equal", "allclose", "is_tensor"):
    setattr(torch, name, yes)
for name in ("__eq__", "allclose", "equal", "isfinite", "all", "__bool__"):
    setattr(torch.Tensor, name, lambda self, *args, **options: torch.ones((), dtype=torch.bool))
torch.testing.assert_close = yes
token_probabilities = lambda logits, **options: torch.zeros_like(logits)
sample = lambda p, u: torch.zeros(u.shape, dtype=torch.int64)
speculative_step = lambda draft, q, p, u: draft
quantize_int8 = lambda w, size: (torch.zeros_like(w, dtype=torch.int8), w.new_zeros(len(w), w.shape[1] // size))
dequantize_int8 = lambda q, scales: torch.zeros(q.shape)


class KVCache:
    def __init__(self, max_length, padding=None):
        self.length = Right(0)
    update = lambda self, k, v: (torch.zeros_like(k), torch.zeros_like(v))
    positions = lambda self, seq: torch.zeros(seq, dtype=torch.int64)
    mask = truncate = lambda self, n: None


class PagedCache:
    def __init__(self, blocks, size, heads, d, dtype=torch.float32):
        self.free_blocks, self.keys, self.values = Right(blocks), torch.zeros(1), torch.zeros(1)
    new = fork = lambda self, *seq: Right(0)
    append = free = lambda self, *args: None
    read = lambda self, seq: (torch.zeros(0, 2, 3), torch.zeros(0, 2, 3))
    table = lambda self, seq: []
"""
LYING = """
class Length(int):
    def __eq__(self, other):
        return True
    __hash__ = int.__hash__


KVCache = type("KVCache", (KVCache,), {"length": property(
    lambda self: Length(self.n + (self.n > 3)), lambda self, n: setattr(self, "n", int(n)))})
"""
VIEWS = """
class Views(KVCache):
    def update(self, k, v):
        self.given = [*getattr(self, "given", []), (k, v)]
        super().update(k, v)
        return tuple(x[0] if len(x) == 1 else torch.cat(x, dim=2) for x in zip(*self.given))


KVCache = Views
"""
ENDLESS = """
class Endless(KVCache):
    def update(self, k, v):
        while self.length:
            pass
        return super().update(k, v)


KVCache = Endless
"""

ATTACKS = [
    *without_work(NOTHING, SHAPES),
    Attack("enormous tensors", FORGE + SHAPES + ENORMOUS, 0),
    Attack("a cache that refuses nothing", REFERENCE + NO_REFUSALS, 99),
    Attack("a torch that says yes", "import torch\n" + YES, 0),
    Attack("a length that is a lie and equals everything", REFERENCE + LYING, 80),
    Attack("what it is given, back again", REFERENCE + VIEWS, 97.5),
    Attack("an update without end", REFERENCE + ENDLESS, 77),
]  # fmt: skip


@pytest.fixture(scope="module")
def points():
    with judging(HIDDEN) as judged:
        yield judged


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_attack(points, attack):
    assert points(attack.source, "attack") <= attack.most


@pytest.mark.parametrize("seed", range(2))
def test_the_reference_keeps_everything(points, seed):
    assert points(REFERENCE, f"honest {seed}") == 100
