"""Everyday use of each assignment, said once: five ordinary inputs, used as the assignment's own worked examples use them.

A solution is broken in everyday use when one of them gives another answer than the reference, raises, or does not end.
What it makes of bad arguments, half precision, empty inputs and the like is none of that.
"""

from __future__ import annotations

import functools
import itertools
import random
import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from catalogue import Solution, namespace
from torch import nn

from cs336lite.collectives import run
from cs336lite.course.paths import GRADED_MODULES
from cs336lite.course.stories import stories
from cs336lite.course.timing import Stopped, time_limit

INPUTS = 5
SECONDS = 20  # for all five, of which the reference takes less than one
END = "<|endoftext|>"


def bpe(my: SimpleNamespace, seed: int) -> Any:
    """Training on documents; a tokenizer with the reference's vocabulary for a text, its lines, and the way back.

    Of the merges those count that come before the first tie, less one that may be lacking or too much, and neither ties
    nor ids: what is learned is then as good.
    """
    text, known, pairs = untied_documents(seed)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        corpus.write_text(text, "utf-8", newline="")
        vocab, merges = my.train_bpe(corpus, 257 + UNTIED, [END])
    tokenizer, unseen = my.Tokenizer(known, pairs, [END]), documents(seed + 100, 12)
    ids = tokenizer.encode(unseen)
    lines = list(tokenizer.encode_iterable(unseen.splitlines(keepends=True)))
    back = tokenizer.decode(reference("a1_bpe").Tokenizer(known, pairs, [END]).encode(unseen))
    assert set(vocab.values()) >= {a + b for a, b in merges} and len(merges) > UNTIED - 3
    return merges[: UNTIED - 2], ids, lines, back


def attention(my: SimpleNamespace, seed: int) -> Any:
    """Attention with a mask; a causal layer with 8 heads and 2 of keys and values: a text at once, a step of training,
    the same text in pieces with a cache, and a padded batch."""
    draw = torch.Generator().manual_seed(seed)
    Q, K, V = (torch.randn(2, 4, 10, 16, generator=draw) for _ in "QKV")
    mask = torch.rand(10, 10, generator=draw) < 0.5
    mask |= torch.eye(10, dtype=torch.bool)
    layer, x = my.MultiHeadAttention(64, 8, 2), torch.randn(2, 10, 64, generator=draw)
    with torch.no_grad():
        weights = [p for _, p in sorted(layer.named_parameters())]
        for p in weights:
            p.copy_(torch.randn(p.shape, generator=draw) / 8)
    answers = [my.softmax(Q, dim=-1), *(my.scaled_dot_product_attention(Q, K, V, m) for m in (None, mask)), layer(x)]
    layer(x).square().mean().backward()
    answers += [p.grad for p in weights]
    cache, real = Pieces(), torch.arange(10) < torch.tensor([[10], [7]])
    answers += [torch.cat([layer(piece, cache=cache) for piece in x.split([4, 3, 1, 2], dim=1)], dim=1)]
    return [*answers, layer(x, mask=real[:, None, None, :])]


class Pieces:
    """Keys and values of all tokens so far: the cache of a2's own example."""

    k: Any = None
    v: Any = None

    @property
    def length(self) -> int:
        return 0 if self.k is None else self.k.shape[2]

    def update(self, k: Any, v: Any) -> tuple[Any, Any]:
        self.k = k if self.k is None else torch.cat([self.k, k], 2)
        self.v = v if self.v is None else torch.cat([self.v, v], 2)
        return self.k, self.v


def rope(my: SimpleNamespace, seed: int) -> Any:
    """A batch of heads in both layouts and its gradients, from 0 on and from anywhere, and a part of each head."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 4, 12, 16, generator=draw, requires_grad=True)
    anywhere = torch.randint(0, 80, (2, 1, 12), generator=draw)
    answers = []
    for turn in (my.RotaryPositionalEmbedding(10_000.0, 16, 100), my.RotaryPositionalEmbedding(10_000.0, 16, 100, layout="half")):  # fmt: skip
        for positions in (torch.arange(12), anywhere):
            turned = turn(x, positions)
            answers += [turned, torch.autograd.grad(turned.pow(3).sum(), x)[0]]
    part = my.RotaryPositionalEmbedding(10_000.0, 8, 100)
    return [*answers, my.rotate_part(part, x, torch.arange(12), 8)]


def lion(my: SimpleNamespace, seed: int) -> Any:
    """A short training with decay, and the same update of lists of tensors."""
    draw = torch.Generator().manual_seed(seed)
    weights = [nn.Parameter(torch.randn(6, 5, generator=draw)), nn.Parameter(torch.randn(5, generator=draw))]
    x, y = torch.randn(20, 6, generator=draw), torch.randn(20, 5, generator=draw)
    optimizer = my.Lion(weights, lr=0.01, weight_decay=0.1)
    for _ in range(12):
        optimizer.zero_grad()
        (x @ weights[0] + weights[1] - y).square().mean().backward()
        optimizer.step()
    params, grads, momenta = ([torch.randn(30, generator=draw) for _ in range(3)] for _ in range(3))
    my.lion_update_foreach_(params, grads, momenta, 0.01, (0.9, 0.99), 0.1)
    return [w.detach() for w in weights], params, momenta


def router(my: SimpleNamespace, seed: int) -> Any:
    """A step of training of a layer with 8 experts, of which each token of (batch, seq, d_model) takes 2."""
    draw = torch.Generator().manual_seed(seed)
    route, x = my.TopKRouter(16, 8, 2), torch.randn(3, 10, 16, generator=draw, requires_grad=True)
    weights = [torch.randn(16, 16, generator=draw, requires_grad=True) for _ in range(8)]
    (gate,) = [p for p in route.parameters() if p.shape == (8, 16)]
    with torch.no_grad():
        gate.copy_(torch.randn(8, 16, generator=draw) / 4)
    gates, indices, logits, balance, z = in_order(route(x))
    out = my.dispatch(x, gates, indices, [functools.partial(torch.matmul, other=w) for w in weights])
    loss = out.square().mean() + 0.1 * balance + 0.1 * z
    return [gates, indices, logits, balance, z, out, *torch.autograd.grad(loss, [x, gate, *weights])]


def in_order(said: Any) -> list[Any]:
    """What a router says, by the names that were asked for, else in its own order: a name costs its own points."""
    names = ("weights", "indices", "logits", "load_balancing_loss", "z_loss")
    if all(hasattr(said, name) for name in names):
        return [getattr(said, name) for name in names]
    return list(said.values() if isinstance(said, dict) else said if isinstance(said, tuple) else vars(said).values())


def inference(my: SimpleNamespace, seed: int) -> Any:
    """A prompt and some tokens in both caches, a distribution and its tokens, drafts, and weights to int8 and back."""
    draw = torch.Generator().manual_seed(seed)
    new = [torch.randn(2, 2, n, 4, generator=draw) for n in (7, 1, 1, 3)]
    cache, answers = my.KVCache(16), []
    for k in new:
        answers += [cache.positions(k.shape[2]), cache.update(k, -k)]
    padded = my.KVCache(16, padding=torch.tensor([0, 3]))
    for k in new:
        answers += [padded.positions(k.shape[2]), padded.mask(k.shape[2]), padded.update(k, -k)]
    z = 3 * torch.randn(4, 50, generator=draw)
    p = my.token_probabilities(z, temperature=0.8, top_k=20, top_p=0.9)
    answers += [
        p,
        *(my.token_probabilities(z, **one) for one in ({"min_p": 0.1}, {"top_k": 5}, {})),
        my.sample(p, torch.rand(4, generator=draw)),
    ]
    mine, target = torch.randn(3, 6, generator=draw).softmax(-1), torch.randn(4, 6, generator=draw).softmax(-1)
    answers += [
        my.speculative_step(torch.randint(0, 6, (3,), generator=draw), mine, target, torch.rand(4, generator=draw))
        for _ in range(20)
    ]
    paged = my.PagedCache(40, 4, 2, 4)
    prompt, k = paged.new(), torch.randn(10, 2, 4, generator=draw)
    paged.append(prompt, k, -k)
    texts = [prompt, *(paged.fork(prompt) for _ in range(2))]
    for text in 3 * texts:
        one = torch.randn(1, 2, 4, generator=draw)
        paged.append(text, one, -one)
    answers += [paged.free_blocks, *(paged.read(text) for text in texts)]
    paged.free(texts[1])
    q, scales = my.quantize_int8(torch.randn(6, 64, generator=draw), 32)
    return [*answers, paged.free_blocks, paged.read(texts[2]), q, scales, my.dequantize_int8(q, scales)]


def parallel(my: SimpleNamespace, seed: int) -> Any:
    """Four ranks: a sum by the ring and its bytes, gradients and their buckets, three steps of ZeRO and the moments that
    it keeps, a feed-forward there and back; and the orders of four stages."""
    draw = torch.Generator().manual_seed(seed)
    shapes, ranks = [(6, 4), (6,), (4, 6), (2,)], 4
    flat = [torch.randn(24, generator=draw) for _ in range(ranks)]
    drawn = [[torch.randn(shape, generator=draw) for shape in shapes] for _ in range(ranks)]
    start = [torch.randn(shape, generator=draw) for shape in shapes]
    x, upstream = torch.randn(2, 5, 8, generator=draw), torch.randn(2, 5, 8, generator=draw)
    w1, w2 = torch.randn(12, 8, generator=draw), torch.randn(8, 12, generator=draw)

    def summed(rank: int, world_size: int) -> Any:
        return (yield from my.ring_all_reduce(rank, world_size, flat[rank].clone()))

    def with_gradients(rank: int) -> list[nn.Parameter]:
        parameters = [nn.Parameter(p.clone()) for p in start]
        for p, grad in zip(parameters, drawn[rank]):
            p.grad = grad.clone()
        return parameters

    def averaged(rank: int, world_size: int) -> Any:
        parameters = with_gradients(rank)
        yield from my.average_gradients(rank, world_size, parameters, 130)
        return [p.grad for p in parameters]

    def stepped(rank: int, world_size: int) -> Any:
        parameters = with_gradients(rank)
        optimizer = my.ZeroOptimizer(rank, world_size, parameters, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
        for _ in range(3):
            for p, grad in zip(parameters, drawn[rank]):
                p.grad = grad.clone()
            yield from optimizer.step()
        moments = [m for kept in optimizer.optimizer.state.values() for m in kept.values() if m.ndim]
        return sum(m.numel() for m in moments), [p.detach().clone() for p in parameters]

    def layer(rank: int, world_size: int) -> Any:
        parts = my.shard(w1, rank, world_size, 0), my.shard(w2, rank, world_size, 1)
        y = yield from my.feed_forward(rank, world_size, x, *parts)
        back = yield from my.feed_forward_backward(rank, world_size, x, *parts, upstream)
        return y, back

    def parallel_layers(rank: int, world_size: int) -> Any:
        wide, narrow = (cut.chunk(world_size, dim)[rank] for cut, dim in ((w1, 0), (w2, 1)))
        h = yield from my.column_forward(rank, world_size, x, wide)
        y = yield from my.row_forward(rank, world_size, h, narrow)
        after = yield from my.row_backward(rank, world_size, h, narrow, upstream)
        before = yield from my.column_backward(rank, world_size, x, wide, after[0])
        return h, y, after, before

    outcomes = [run(program, ranks) for program in (summed, averaged, stepped, layer, parallel_layers)]
    orders = [my.one_forward_one_backward(stage, ranks, 8) for stage in range(ranks)]
    buckets = sum(event.rank == 0 for event in outcomes[1].trace)
    return [[outcome.results for outcome in outcomes], [outcomes[i].sent for i in (0, 3, 4)], buckets, orders]


EVERYDAY = {
    "a1_bpe": bpe,
    "a2_attention": attention,
    "a3_rope": rope,
    "a4_lion": lion,
    "a5_moe_router": router,
    "a6_inference": inference,
    "a7_parallel": parallel,
}


def documents(seed: int, count: int) -> str:
    """Some stories with marks between them, a number, contractions and a letter beyond ASCII."""
    year = random.Random(seed).randrange(1900, 2000)
    return END.join([*stories(count, seed), f"In {year}, naïve people said: it's all there, isn't it?\n\nIt wasn't.\n"])


UNTIED = 20  # merges


@functools.cache
def untied_documents(seed: int) -> tuple[str, dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Documents of which the first `UNTIED` merges are the same however ties are broken; a vocabulary of theirs, and its merges."""
    train = reference("a1_bpe").train_bpe
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        for again in itertools.count():
            corpus.write_text(documents(seed + 1000 * again, 60), "utf-8", newline="")
            vocab, merges = train(corpus, 257 + 80, [END])
            if merges[:UNTIED] == train(corpus, 257 + UNTIED, [END], tie_break="huggingface")[1]:
                return corpus.read_text("utf-8"), vocab, merges


@functools.cache
def reference(assignment: str) -> SimpleNamespace:
    return SimpleNamespace(**vars(import_module(f"cs336lite.{GRADED_MODULES[assignment]}")))


@functools.cache
def right_answers(assignment: str) -> list[Any]:
    return [EVERYDAY[assignment](reference(assignment), seed) for seed in range(INPUTS)]


def broken_in_everyday_use(assignment: str, solution: Solution) -> bool:
    """Whether a solution gives one of `INPUTS` ordinary inputs another answer than the reference does."""
    right = right_answers(assignment)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with time_limit(SECONDS):
                names = SimpleNamespace(**namespace(solution.source, f"everyday_{solution.name}"))
                return not all(alike(EVERYDAY[assignment](names, seed), one) for seed, one in enumerate(right))
        except (Exception, Stopped):
            return True


def alike(got: Any, right: Any) -> bool:
    """Whether two answers are the same, numbers that are not whole within what float32 rounds."""
    if isinstance(right, torch.Tensor):
        same = isinstance(got, torch.Tensor) and got.shape == right.shape
        return same and torch.allclose(got.detach().double(), right.detach().double(), rtol=1e-4, atol=1e-5)
    if isinstance(right, dict):
        return isinstance(got, dict) and got == right
    if isinstance(right, (list, tuple)):
        got = got if isinstance(got, (list, tuple)) else list(got)
        return isinstance(got, (list, tuple)) and len(got) == len(right) and all(map(alike, got, right))
    return bool(got == right)
