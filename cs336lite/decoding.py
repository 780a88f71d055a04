# Built from assignments/text/a6_inference.py by `cs336lite build`: edit that file, not this one.
"""The inner parts of an inference engine (推理引擎): a KV cache, sampling, speculative decoding, pages, int8 weights.

Holtzman et al. 2019, https://arxiv.org/abs/1904.09751 (top-p); Leviathan et al. 2022, https://arxiv.org/abs/2211.17192
(speculative decoding); Kwon et al. 2023, https://arxiv.org/abs/2309.06180 (paged cache).

Shapes: ``batch`` texts, ``kv`` heads of keys and values, ``seq`` tokens, ``d_head`` the size of a head, ``vocab`` the
vocabulary. Random numbers are arguments, uniform in [0, 1): nothing here draws one.

Built in assignments/source/a6_inference/a6_inference.ipynb.
"""

import torch
from jaxtyping import Bool, Float, Int, Int8, Shaped
from torch import Tensor


class KVCache:
    """Keys and values of one layer, in memory for ``max_length`` tokens. A `cs336lite.attention.Cache`.

    ``padding`` says how many padding tokens each row of the batch begins with.

    >>> cache = KVCache(8)
    >>> k, v = cache.update(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    >>> tuple(k.shape), cache.length, cache.positions(2).tolist()
    ((1, 2, 3, 4), 3, [3, 4])
    """

    def __init__(self, max_length: int, *, padding: Int[Tensor, " batch"] | None = None) -> None:
        self.max_length, self.padding, self.length = max_length, padding, 0
        self.memory: tuple[Tensor, Tensor] | None = None

    def update(
        self, k: Shaped[Tensor, "batch kv seq d_head"], v: Shaped[Tensor, "batch kv seq dv"]
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values of new tokens; returns those of all tokens so far, as views of the memory.

        Raises ValueError when there is no room, and for another batch, heads, size or dtype than before.
        """
        left, stop = self.max_length - self.length, self.length + k.shape[2]
        if stop > self.max_length:
            raise ValueError(f"{k.shape[2]} tokens came, and of {self.max_length} places {left} are left")
        if self.memory is None:
            self.memory = tuple(x.new_empty(*x.shape[:2], self.max_length, x.shape[3]) for x in (k, v))
        for kept, new in zip(self.memory, (k, v)):
            if (kept.shape[:2], kept.shape[3], kept.dtype) != (new.shape[:2], new.shape[3], new.dtype):
                raise ValueError(
                    f"the cache holds {tuple(kept.shape)} {kept.dtype}: make another one for another batch"
                )
        for kept, new in zip(self.memory, (k, v)):
            kept[:, :, self.length : stop] = new
        self.length = stop
        return self.memory[0][:, :, :stop], self.memory[1][:, :, :stop]

    def positions(self, seq: int) -> Int[Tensor, "*batch seq"]:
        """Where the next ``seq`` tokens of each text stand; a padding token has position 0."""
        device = None if self.padding is None else self.padding.device
        places = torch.arange(self.length, self.length + seq, device=device)
        return places if self.padding is None else (places - self.padding[:, None]).clamp(min=0)

    def mask(self, seq: int) -> Bool[Tensor, "batch 1 1 k"] | None:
        """Which of all places, with the next ``seq`` tokens, hold a token and no padding; None without padding."""
        if self.padding is None:
            return None
        places = torch.arange(self.length + seq, device=self.padding.device)
        return (places >= self.padding[:, None])[:, None, None]

    def truncate(self, length: int) -> None:
        """Forget all tokens after the first ``length``. Raises ValueError for a length that the cache does not have."""
        if not 0 <= length <= self.length:
            raise ValueError(f"the cache holds {self.length} tokens, and cannot be cut to {length}")
        self.length = length


def token_probabilities(
    logits: Float[Tensor, "*batch vocab"],
    *,
    temperature: int | float = 1.0,
    top_k: int | None = None,
    top_p: int | float | None = None,
    min_p: int | float | None = None,
) -> Float[Tensor, "*batch vocab"]:
    """softmax(logits / temperature), of which top-k, top-p (1904.09751) and min-p (2407.01082) leave the likely tokens.

    Computed in float32, or in float64 for float64 logits. Raises ValueError for values that none of them can have.

    >>> z = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    >>> [round(p, 3) for p in token_probabilities(z, top_k=2).tolist()]
    [0.625, 0.375, 0.0, 0.0]
    """
    if not temperature >= 0:
        raise ValueError(f"temperature is {temperature}, and must be at least 0")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}, and must be at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}, and must be above 0 and at most 1")
    if min_p is not None and not 0 <= min_p <= 1:
        raise ValueError(f"min_p is {min_p}, and must be from 0 to 1")
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature == 0:
        return torch.nn.functional.one_hot(z.argmax(dim=-1), z.shape[-1]).to(z.dtype)
    z = (z - z.amax(dim=-1, keepdim=True)) / temperature  # the greatest is 0, so nothing overflows upwards
    p, order = z.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        p[..., top_k:] = 0
        p = p / p.sum(dim=-1, keepdim=True)
    if top_p is not None and top_p < 1:
        before = p.cumsum(dim=-1) - p  # what the more probable ones have together
        p = p.masked_fill(before >= top_p, 0)
        p = p / p.sum(dim=-1, keepdim=True)
    if min_p is not None:
        p = p.masked_fill(p < min_p * p[..., :1], 0)
        p = p / p.sum(dim=-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, order, p)


def sample(probabilities: Float[Tensor, "*batch vocab"], u: Float[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
    """The token in whose part of the line from 0 to 1 each ``u`` falls; never one of probability 0.

    >>> sample(torch.tensor([[0.5, 0.3, 0.2]] * 3), torch.tensor([0.2, 0.5, 0.99])).tolist()
    [0, 1, 2]
    """
    ends = probabilities.double().cumsum(dim=-1)
    ends = ends / ends[..., -1:]  # exactly 1 at the end
    return (ends <= u.double()[..., None]).sum(dim=-1)


def speculative_step(
    draft: Int[Tensor, " k"], q: Float[Tensor, "k vocab"], p: Float[Tensor, "places vocab"], u: Float[Tensor, " places"]
) -> Int[Tensor, " tokens"]:
    """The drafts that are accepted and one token more, distributed exactly as the target's own (2211.17192, algorithm 1).

    ``p`` and ``u`` have one row more than ``q``: the target's distribution after all drafts, and the number to draw with.

    >>> p, q = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.75, 0.25]])
    >>> [speculative_step(torch.tensor([0]), q, p, torch.tensor([u, 0.1])).tolist() for u in (0.6, 0.7)]
    [[0, 0], [1]]
    """
    places = torch.arange(len(draft), device=draft.device)
    accepted = u[:-1] * q[places, draft] < p[places, draft]
    n = int(accepted.long().cumprod(dim=0).sum())  # how many before the first refusal
    left = p[n]
    if n < len(draft):
        more = (p[n] - q[n]).clamp(min=0)
        left = more if bool(more.any()) else p[n]  # p and q that rounding alone tells apart
    return torch.cat([draft[:n], sample(left / left.sum(), u[-1])[None]])


class PagedCache:
    """Keys and values of many texts in blocks of ``block_size`` tokens, which texts with one beginning share (2309.06180).

    >>> cache = PagedCache(num_blocks=6, block_size=2, num_kv_heads=1, d_head=4)
    >>> a = cache.new()
    >>> cache.append(a, torch.zeros(3, 1, 4), torch.zeros(3, 1, 4))
    >>> b = cache.fork(a)
    >>> cache.append(b, torch.ones(1, 1, 4), torch.ones(1, 1, 4))
    >>> len(cache.table(a)), cache.table(a)[0] == cache.table(b)[0], cache.free_blocks
    (2, True, 3)
    """

    def __init__(
        self, num_blocks: int, block_size: int, num_kv_heads: int, d_head: int, *, dtype: torch.dtype = torch.float32
    ) -> None:
        self.block_size = block_size
        self.keys = torch.zeros(num_blocks, block_size, num_kv_heads, d_head, dtype=dtype)
        self.values = torch.zeros_like(self.keys)
        self.owners = [0] * num_blocks  # how many texts have each block
        self.free_list = list(range(num_blocks))[::-1]
        self.tables: dict[int, list[int]] = {}
        self.lengths: dict[int, int] = {}
        self.last = -1  # the number that the newest text got

    @property
    def free_blocks(self) -> int:
        """How many blocks belong to no text."""
        return len(self.free_list)

    def new(self) -> int:
        """An empty text."""
        self.last += 1
        self.tables[self.last], self.lengths[self.last] = [], 0
        return self.last

    def append(self, seq: int, k: Float[Tensor, "tokens kv d_head"], v: Float[Tensor, "tokens kv d_head"]) -> None:
        """Add tokens to a text. Raises ValueError, with nothing changed, when too few blocks are free."""
        table = self.table(seq)
        length = self.lengths[seq]
        stop = length + len(k)
        shared = len(k) > 0 and length % self.block_size > 0 and self.owners[table[-1]] > 1
        needed = -(-stop // self.block_size) - len(table) + shared
        if needed > len(self.free_list):
            raise ValueError(f"{needed} more blocks are needed, and {len(self.free_list)} are free")
        taken = [self.free_list.pop() for _ in range(needed)]
        for block in taken:
            self.owners[block] = 1
        if shared:
            old, table[-1] = table[-1], taken.pop()
            self.owners[old] -= 1
            for memory in (self.keys, self.values):
                memory[table[-1]] = memory[old]
        table += taken
        places = torch.arange(length, stop)
        blocks = torch.tensor(table, dtype=torch.int64)[places // self.block_size]
        self.keys[blocks, places % self.block_size] = k
        self.values[blocks, places % self.block_size] = v
        self.tables[seq], self.lengths[seq] = table, stop

    def read(self, seq: int) -> tuple[Float[Tensor, "tokens kv d_head"], Float[Tensor, "tokens kv d_head"]]:
        """The keys and values of all tokens of a text, in order."""
        blocks = torch.tensor(self.table(seq), dtype=torch.int64)
        return tuple(memory[blocks].flatten(0, 1)[: self.lengths[seq]] for memory in (self.keys, self.values))

    def table(self, seq: int) -> list[int]:
        """The blocks of a text, in the order of its tokens. Raises ValueError for a text that there is not."""
        if seq not in self.tables:
            raise ValueError(f"there is no text {seq}: it was freed, or never was")
        return list(self.tables[seq])

    def fork(self, seq: int) -> int:
        """A new text that begins as this one; they share all blocks until one of them writes."""
        table, copy = self.table(seq), self.new()
        for block in table:
            self.owners[block] += 1
        self.tables[copy], self.lengths[copy] = table, self.lengths[seq]
        return copy

    def free(self, seq: int) -> None:
        """Forget a text; its blocks are free when no other text has them."""
        for block in self.table(seq):
            self.owners[block] -= 1
            if not self.owners[block]:
                self.free_list.append(block)
        del self.tables[seq], self.lengths[seq]


def quantize_int8(
    weight: Float[Tensor, "out in"], group_size: int
) -> tuple[Int8[Tensor, "out in"], Float[Tensor, "out groups"]]:
    """(q, scales): each group of a row as integers from -127 to 127 times its scale, max |w| / 127.

    Raises ValueError unless the rows can be cut into groups of ``group_size``.

    >>> q, scales = quantize_int8(torch.tensor([[1.0, -0.5, 0.0, 254.0]]), 2)
    >>> q.tolist(), [round(s, 4) for s in scales[0].tolist()]
    ([[127, -64, 0, 127]], [0.0079, 2.0])
    """
    if group_size < 1 or weight.shape[1] % group_size:
        raise ValueError(f"rows of {weight.shape[1]} cannot be cut into groups of {group_size}")
    groups = weight.float().unflatten(1, (-1, group_size))
    scales = groups.abs().amax(dim=-1) / 127
    safe = torch.where(scales > 0, scales, 1.0)
    q = (groups / safe[..., None]).round().clamp(-127, 127)
    return q.flatten(1).to(torch.int8), safe


def dequantize_int8(q: Int8[Tensor, "out in"], scales: Float[Tensor, "out groups"]) -> Float[Tensor, "out in"]:
    """The weights that integers and scales stand for, in float32.

    >>> dequantize_int8(torch.tensor([[127, -64]], dtype=torch.int8), torch.tensor([[0.5]])).tolist()
    [[63.5, -32.0]]
    """
    groups = q.float().unflatten(1, (scales.shape[1], -1))
    return (groups * scales[..., None].float()).flatten(1)
