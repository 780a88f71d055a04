# Built from notebooks/text/09_inference.py by `cs336lite build`: edit that file, not this one.
"""An inference engine (推理引擎) in small: what a pass costs, writing with a cache, drafts, batches, pages, fewer bits.

Its inner parts are those of `cs336lite.decoding` (assignment a6). Shapes: tokens are (batch, seq) integers, logits
(batch, seq, vocab_size). Models are `cs336lite.model.Transformer` in evaluation mode. Costs are FLOPs, bytes and seconds.

Built in notebooks/09_inference.ipynb.
"""

import copy
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cs336lite import generation
from cs336lite.accounting import ModelShape, active_parameters, forward_flops, kv_cache_bytes
from cs336lite.decoding import KVCache, PagedCache, sample, speculative_step, token_probabilities


@dataclass(frozen=True)
class Cost:
    """What a forward pass costs: FLOPs, and the bytes that cross the memory bus."""

    flops: int
    bytes: int

    @property
    def intensity(self) -> float:
        """FLOPs per byte."""
        return self.flops / self.bytes

    def seconds(self, peak_flops: float, bandwidth: float) -> float:
        """The least time that a device with this peak (FLOP/s) and bandwidth (bytes/s) can take."""
        return max(self.flops / peak_flops, self.bytes / bandwidth)


def pass_cost(shape: ModelShape, batch: int, seq: int, *, past: int = 0, itemsize: int = 2) -> Cost:
    """The cost of ``seq`` new tokens in each of ``batch`` texts with ``past`` tokens in the cache. Decode: ``seq`` = 1.

    >>> tiny = ModelShape(vocab_size=10, context_length=8, d_model=4, num_layers=1, num_heads=2, d_ff=8)
    >>> pass_cost(tiny, batch=1, seq=1).flops, pass_cost(tiny, batch=1, seq=1).bytes
    (352, 376)

    Built in notebooks/09_inference.ipynb.
    """
    weights = itemsize * active_parameters(shape)
    cache = kv_cache_bytes(shape, batch, past + seq, itemsize=itemsize)
    return Cost(forward_flops(shape, batch, seq, past=past).total, weights + cache)


class ModelCache(generation.KVCache):
    """A `cs336lite.decoding.KVCache` for each layer; row i of the batch begins with ``padding[i]`` padding tokens.

    Built in notebooks/09_inference.ipynb.
    """

    def __init__(self, num_layers: int, max_length: int, padding: Int[Tensor, " batch"] | None = None) -> None:
        self.layers = [KVCache(max_length, padding=padding) for _ in range(num_layers)]

    def places(self, seq: int) -> dict[str, Tensor]:
        """What a model is told of the next ``seq`` tokens: their positions, and what is padding."""
        first = self.layers[0]
        mask = first.mask(seq)
        told = {"token_positions": first.positions(seq)}
        return told if mask is None else told | {"padding": mask[:, 0, 0]}

    def truncate(self, length: int) -> None:
        """Forget all tokens after the first ``length``."""
        for layer in self.layers:
            layer.truncate(length)


def check_room(model: nn.Module, prompt: int, length: int) -> None:
    """ValueError for a prompt of no tokens, and for texts longer than the model's context_length."""
    if prompt < 1:
        raise ValueError("the prompt is empty: give at least one token, such as the one that begins a text")
    if length > model.config.context_length:
        raise ValueError(f"{length} tokens, and the model's context_length is {model.config.context_length}")


@torch.no_grad()
def generate(
    model: nn.Module, tokens: Int[Tensor, "batch seq"], max_new_tokens: int, *, padding: Int[Tensor, " batch"] | None = None,
    generator: torch.Generator | None = None, **choice: Any,
) -> Int[Tensor, "batch longer"]:  # fmt: skip
    """``tokens`` and what the model adds. ``choice`` goes to `token_probabilities`; ``padding`` counts those at the left.

    ValueError for an empty prompt, and for more tokens than the model's context_length.

    Built in notebooks/09_inference.ipynb.
    """
    length = tokens.shape[1] + max_new_tokens
    check_room(model, tokens.shape[1], length)
    cache = ModelCache(model.config.num_layers, length, padding)
    new = tokens
    for _ in range(max_new_tokens):
        logits = model(new, cache=cache, **cache.places(new.shape[1]))[:, -1]  # prefill first, then one token each
        u = torch.rand(len(tokens), generator=generator)
        new = sample(token_probabilities(logits, **choice), u)[:, None]
        tokens = torch.cat((tokens, new), dim=1)
    return tokens


class CountedDraft:
    """A draft that has counted what follows the last ``order - 1`` tokens, and shorter contexts where that is new.

    Each count is joined with ``strength`` times what the shorter context says; order 0 knows nothing.

    >>> CountedDraft([0, 1, 0, 1, 0], order=2, vocab_size=2)([1]).tolist()
    [0.8666666746139526, 0.13333334028720856]

    Built in notebooks/09_inference.ipynb.
    """

    def __init__(self, tokens: Sequence[int], order: int, vocab_size: int, strength: float = 1.0) -> None:
        self.order, self.strength = order, strength
        self.known: dict[tuple[int, ...], Tensor] = {(): torch.full((vocab_size,), 1 / vocab_size)}
        self.after: list[dict[tuple[int, ...], list[tuple[int, int]]]] = [{} for _ in range(order)]
        for n, after in enumerate(self.after, 1):
            for gram, count in Counter(zip(*(tokens[i:] for i in range(n)))).items():
                after.setdefault(gram[:-1], []).append((gram[-1], count))

    def __call__(self, text: Sequence[int]) -> Float[Tensor, " vocab"]:
        """The probabilities of the token after ``text``."""
        longest = min(len(text), self.order - 1)
        return self.probabilities(tuple(text[len(text) - longest :])) if self.order else self.known[()]

    def probabilities(self, context: tuple[int, ...]) -> Float[Tensor, " vocab"]:
        key = (-1, *context)  # () itself is the even distribution
        if key not in self.known:
            prior = self.probabilities(context[1:]) if context else self.known[()]
            seen = self.after[len(context)].get(context, [])
            p = self.strength * prior
            for token, count in seen:
                p[token] += count
            self.known[key] = p / p.sum()
        return self.known[key]


@dataclass(frozen=True)
class Speculated:
    """A text that was written with a draft, the passes of the target that it took, and how many guesses were kept."""

    tokens: list[int]
    passes: int
    guessed: int
    kept: int


@torch.no_grad()
def speculative_generate(
    model: nn.Module, draft: Callable[[list[int]], Tensor], prompt: list[int], max_new_tokens: int, k: int, *,
    generator: torch.Generator | None = None, **choice: Any,
) -> Speculated:  # fmt: skip
    """As `generate` for one text, with ``k`` guesses by ``draft(text) -> probabilities (vocab,)`` in each pass.

    Built in notebooks/09_inference.ipynb.
    """
    text, stop = list(prompt), len(prompt) + max_new_tokens
    check_room(model, len(text), stop)
    cache, passes, guessed, kept = ModelCache(model.config.num_layers, stop), 0, 0, 0
    while len(text) < stop:
        n, q, guesses = min(k, stop - len(text) - 1), [], []
        u = torch.rand(2 * n + 1, generator=generator)
        for i in range(n):
            q.append(draft(text + guesses))
            guesses.append(int(sample(q[-1], u[i])))
        new = torch.tensor([text[cache.length :] + guesses])  # what the cache lacks: the prompt, or the last token
        p = token_probabilities(model(new, cache=cache)[0, -n - 1 :], **choice)
        made = speculative_step(torch.tensor(guesses, dtype=torch.int64), torch.stack(q) if q else p[:0], p, u[n:])
        text += made.tolist()
        cache.truncate(len(text) - 1)  # guesses that were refused leave no trace
        passes, guessed, kept = passes + 1, guessed + n, kept + len(made) - 1
    return Speculated(text, passes, guessed, kept)


@dataclass(frozen=True)
class Request:
    """When a request arrives (seconds), the tokens of its prompt, and those of its answer."""

    arrival: float
    prompt: int
    new: int


def draw_requests(n: int, a_second: float, seed: int = 0, mean_new: float = 40.0) -> list[Request]:
    """Requests that arrive independently of each other, so many a second; answers are exponential, at most 256 tokens.

    Built in notebooks/09_inference.ipynb.
    """
    draw = torch.Generator().manual_seed(seed)
    gaps, lengths = -torch.rand(2, n, generator=draw, dtype=torch.float64).log()
    prompts = torch.randint(16, 129, (n,), generator=draw)
    new = (mean_new * lengths).ceil().clamp(1, 256).long()
    arrivals = (gaps / a_second).cumsum(0)
    return [Request(*one) for one in zip(arrivals.tolist(), prompts.tolist(), new.tolist())]


@dataclass(frozen=True)
class StepCosts:
    """Seconds of a decode step, ``step + step_row * rows``, and of a prefill, ``prefill + prefill_token * tokens``."""

    step: float
    step_row: float
    prefill: float
    prefill_token: float


def simulate(
    requests: list[Request], costs: StepCosts, slots: int, *, continuous: bool = True
) -> list[tuple[float, float]]:
    """Seconds from each arrival to the first token and to the last, in the order of the requests (by arrival).

    Built in notebooks/09_inference.ipynb.
    """
    waiting, running, now, rows = deque(range(len(requests))), {}, 0.0, 0  # running: {request: tokens to come}
    first, last = [0.0] * len(requests), [0.0] * len(requests)
    while waiting or running:
        if not running:
            now, rows = max(now, requests[waiting[0]].arrival), 0
        may_join = continuous or not running
        while may_join and waiting and len(running) < slots and requests[waiting[0]].arrival <= now:
            i = waiting.popleft()
            now += costs.prefill + costs.prefill_token * requests[i].prompt  # which gives the first token
            first[i] = last[i] = now
            running[i] = requests[i].new - 1
        rows = len(running) if continuous else max(rows, len(running))  # a static batch keeps rows that are done
        running = {i: left for i, left in running.items() if left}
        now += costs.step + costs.step_row * rows if running else 0.0
        for i in running:
            running[i], last[i] = running[i] - 1, now
        running = {i: left for i, left in running.items() if left}
    return [(a - r.arrival, b - r.arrival) for a, b, r in zip(first, last, requests)]


class PagedLayer:
    """Pages of one layer as attention sees them: the texts of a batch, padded on the left to the longest."""

    def __init__(self, pages: PagedCache) -> None:
        self.pages, self.texts, self.length = pages, [], 0

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (batch, num_kv_heads, seq, d_head) to the texts; keys and values of all tokens, zeros where padding is."""
        for text, new_k, new_v in zip(self.texts, k, v):
            self.pages.append(text, new_k.transpose(0, 1), new_v.transpose(0, 1))
        read = [self.pages.read(text) for text in self.texts]
        full = [k.new_zeros(len(read), self.length + k.shape[2], *k.shape[1::2]) for _ in range(2)]
        for row, pair in enumerate(read):
            for memory, one in zip(full, pair):
                memory[row, memory.shape[1] - len(one) :] = one
        return full[0].transpose(1, 2), full[1].transpose(1, 2)


@dataclass
class Answer:
    """A text in the engine: its tokens, where it ends, the log-probability of each token that was drawn."""

    tokens: list[int]
    stop: int
    pages: list[int] = field(default_factory=list)  # its number in the pages of each layer
    logprobs: list[float] = field(default_factory=list)


class Engine:
    """Continuous batching over pages: `add` prompts, then `step` until `run` is through. ``n`` answers share their prompt.

    A text is admitted when there are blocks for its longest answer, so none has to be stopped half-way.

    Built in notebooks/09_inference.ipynb.
    """

    def __init__(
        self, model: nn.Module, num_blocks: int, block_size: int = 16, slots: int = 8, *,
        generator: torch.Generator | None = None, **choice: Any,
    ) -> None:  # fmt: skip
        c = model.config
        kv_heads = c.num_kv_heads or c.num_heads
        pages = [PagedCache(num_blocks, block_size, kv_heads, c.head_size) for _ in range(c.num_layers)]
        self.cache = ModelCache(0, 0)
        self.cache.layers = [PagedLayer(one) for one in pages]
        self.model, self.slots, self.generator, self.choice = model, slots, generator, choice
        self.num_blocks, self.block_size, self.passes = num_blocks, block_size, 0
        self.waiting: deque[list[Answer]] = deque()
        self.running: list[Answer] = []

    def blocks(self, answer: Answer) -> int:
        """The blocks that a text may come to need."""
        return -(-answer.stop // self.block_size)

    def add(self, prompt: list[int], max_new_tokens: int, n: int = 1) -> list[Answer]:
        """Queue ``n`` answers to a prompt; their tokens are there after `run`. ValueError for what can never fit."""
        answers = [Answer(list(prompt), len(prompt) + max_new_tokens) for _ in range(n)]
        check_room(self.model, len(prompt), answers[0].stop)
        if n > self.slots or n * self.blocks(answers[0]) > self.num_blocks:
            raise ValueError(
                f"{n} answers of {answers[0].stop} tokens do not fit: {self.slots} slots, {self.num_blocks} blocks"
            )
        self.waiting.append(answers)
        return answers

    def run(self) -> None:
        """Serve until every answer is written."""
        while self.waiting or self.running:
            self.step()

    @torch.no_grad()
    def step(self) -> None:
        """Admit what fits, then write one token in every running text."""
        while self.waiting and self.fits(self.waiting[0]):
            self.prefill(self.waiting.popleft())
        self.leave()
        if self.running:
            self.draw(self.running, self.forward([[answer.tokens[-1]] for answer in self.running], self.running))
            self.leave()

    def fits(self, answers: list[Answer]) -> bool:
        promised = sum(map(self.blocks, [*self.running, *answers]))
        return len(self.running) + len(answers) <= self.slots and promised <= self.num_blocks

    def prefill(self, answers: list[Answer]) -> None:
        """Read a prompt once; all answers to it begin with its pages."""
        first, *others = answers
        pages = [layer.pages for layer in self.cache.layers]
        first.pages = [one.new() for one in pages]
        logits = self.forward([first.tokens], [first])
        for other in others:
            other.pages = [one.fork(number) for one, number in zip(pages, first.pages)]
        self.running += answers
        self.draw(answers, logits.expand(len(answers), -1))

    def forward(self, new: list[list[int]], answers: list[Answer]) -> Float[Tensor, "batch vocab"]:
        """Logits after the new tokens of each text, whose earlier ones lie in its pages."""
        past = torch.tensor([len(answer.tokens) - len(tokens) for answer, tokens in zip(answers, new)])
        longest, seq = int(past.max()), len(new[0])
        for i, layer in enumerate(self.cache.layers):
            layer.texts, layer.length = [answer.pages[i] for answer in answers], longest
        places = {
            "token_positions": past[:, None] + torch.arange(seq),
            "padding": torch.arange(longest + seq) >= (longest - past)[:, None],
        }
        self.passes += 1
        return self.model(torch.tensor(new), cache=self.cache, **places)[:, -1]

    def draw(self, answers: list[Answer], logits: Float[Tensor, "batch vocab"]) -> None:
        p = token_probabilities(logits, **self.choice)
        tokens = sample(p, torch.rand(len(answers), generator=self.generator))
        for answer, token, of_it in zip(answers, tokens.tolist(), p):
            answer.tokens.append(token)
            answer.logprobs.append(math.log(of_it[token]))

    def leave(self) -> None:
        """Texts that are written free their pages."""
        for answer in [one for one in self.running if len(one.tokens) == one.stop]:
            self.running.remove(answer)
            for layer, number in zip(self.cache.layers, answer.pages):
                layer.pages.free(number)


def symmetric(groups: Float[Tensor, "... group"], bits: int) -> Float[Tensor, "... group"]:
    """Groups as they come back from integers in -(2 ** (bits - 1) - 1) ... 2 ** (bits - 1) - 1 and one scale each.

    >>> symmetric(torch.tensor([0.25, -1.0, 0.5, 3.0]), bits=3).tolist()
    [0.0, -1.0, 0.0, 3.0]

    Built in notebooks/09_inference.ipynb.
    """
    steps = 2 ** (bits - 1) - 1
    scale = groups.abs().amax(dim=-1, keepdim=True) / steps
    return (groups / torch.where(scale > 0, scale, 1.0)).round() * scale


def requantized(model: nn.Module, rule: Callable[[Tensor], Tensor], group_size: int | None) -> nn.Module:
    """A copy of a model whose matrices in the blocks went through ``rule`` in groups along their rows (None: whole rows).

    Built in notebooks/09_inference.ipynb.
    """
    made = copy.deepcopy(model)
    for block in made.decoder.blocks:
        for layer in block.modules():
            if isinstance(layer, nn.Linear):
                rows = layer.weight.data
                layer.weight.data = rule(rows.unflatten(1, (-1, group_size or rows.shape[1]))).flatten(1)
    return made


def bits_per_weight(bits: int, group_size: int, numbers: int = 1) -> float:
    """Bits of a weight with its share of the group's ``numbers`` (scale, offset) in 16 bits.

    >>> bits_per_weight(4, 32)
    4.5

    Built in notebooks/09_inference.ipynb.
    """
    return bits + 16 * numbers / group_size
