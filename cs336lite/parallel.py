# Built from notebooks/text/10_parallelism.py by `cs336lite build`: edit that file, not this one.
"""Parallel training in small: programs of ranks for data, sharded, tensor, pipeline and context parallelism, and a planner.

A program is a generator function that yields the requests of `cs336lite.collectives`. `run` runs it in one process, and
`run_processes` in real ones. Sizes are bytes, times are seconds.

Built in notebooks/10_parallelism.ipynb.
"""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from cs336lite.accounting import ModelShape, parameters, training_flops
from cs336lite.collectives import AllGather, AllReduce, Barrier, Receive, ReduceScatter, Send


def by_root(rank: int, world_size: int, tensor: Tensor) -> Generator:
    """An all-reduce the simple way: rank 0 receives every tensor, adds, and sends the sum to all.

    Built in notebooks/10_parallelism.ipynb.
    """
    if rank:
        yield Send(0, tensor)
        return (yield Receive(0))
    for source in range(1, world_size):
        tensor = tensor + (yield Receive(source))
    for to in range(1, world_size):
        yield Send(to, tensor)
    return tensor


def by_ring(rank: int, world_size: int, tensor: Tensor) -> Generator:
    """An all-reduce as one request; the driver counts its bytes and steps as those of a ring.

    Built in notebooks/10_parallelism.ipynb.
    """
    return (yield AllReduce(tensor))


def time_all_reduce(rank: int, world_size: int, sizes: Sequence[int], repeats: int = 7) -> Generator:
    """Seconds of an all-reduce for each size in bytes: the shortest of so many.

    Built in notebooks/10_parallelism.ipynb.
    """
    found = []
    for size in sizes:
        times, x = [], torch.zeros(size // 4)
        for _ in range(repeats):
            yield Barrier()
            start = time.perf_counter()
            yield AllReduce(x)
            times.append(time.perf_counter() - start)
        found.append(min(times))
    return found


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of the mean cross-entropy of classes y (n,) given x, all parameters one behind the other.

    Built in notebooks/10_parallelism.ipynb.
    """
    loss = F.cross_entropy(model(x), y)
    return parameters_to_vector(torch.autograd.grad(loss, list(model.parameters())))


def train_replicas(rank: int, world_size: int, model: nn.Module, batches: Sequence, lr: float) -> Generator:
    """Data parallel, the naive way: SGD steps on batches (x, y), the whole gradient in one all-reduce. The weights, flat.

    Built in notebooks/10_parallelism.ipynb.
    """
    weights = parameters_to_vector(model.parameters()).detach()
    for x, y in batches:
        own = gradient(model, x.chunk(world_size)[rank], y.chunk(world_size)[rank])
        weights -= lr * (yield AllReduce(own)) / world_size
        vector_to_parameters(weights, model.parameters())
    return weights


def train_overlapped(rank: int, world_size: int, model: nn.Module, batches: Sequence, lr: float) -> Generator:
    """Data parallel, overlapped: a hook starts each gradient's all-reduce while the backward pass goes on.

    It calls torch.distributed itself, so it runs in `run_processes` alone. (the weights; of each step, the shares of the
    backward pass that were over when its sums began.) Built in notebooks/10_parallelism.ipynb.
    """
    begun: list[float] = []
    flying: list[dist.Work] = []

    def hook(parameter: nn.Parameter) -> None:
        begun.append(time.perf_counter())
        flying.append(dist.all_reduce(parameter.grad, async_op=True))

    handles = [parameter.register_post_accumulate_grad_hook(hook) for parameter in model.parameters()]
    shares = []
    for x, y in batches:
        model.zero_grad()
        loss = F.cross_entropy(model(x.chunk(world_size)[rank]), y.chunk(world_size)[rank])
        begun.clear(), flying.clear()
        start = time.perf_counter()
        loss.backward()
        end = time.perf_counter()
        for work in flying:
            work.wait()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= lr * parameter.grad / world_size
        shares.append([(moment - start) / (end - start) for moment in begun])
    for handle in handles:
        handle.remove()
    yield Barrier()
    return parameters_to_vector(model.parameters()).detach(), shares


def padded(flat: Tensor, parts: int) -> tuple[Tensor, ...]:
    """A flat tensor in equal parts, zeros at its end where it does not divide.

    >>> padded(torch.tensor([1, 2, 3]), 2)
    (tensor([1, 2]), tensor([3, 0]))

    Built in notebooks/10_parallelism.ipynb.
    """
    return F.pad(flat, (0, -len(flat) % parts)).chunk(parts)


def train_sharded(rank: int, world_size: int, model: nn.Module, batches: Sequence, lr: float) -> Generator:
    """Fully sharded data parallel: SGD with momentum 0.9, each rank keeps a shard. (the weights, floats held in between).

    Built in notebooks/10_parallelism.ipynb.
    """
    whole = parameters_to_vector(model.parameters()).detach()
    shard = padded(whole, world_size)[rank].clone()
    momentum = torch.zeros_like(shard)
    for x, y in batches:
        weights = torch.cat((yield AllGather(shard)))[: len(whole)]
        vector_to_parameters(weights, model.parameters())
        own = gradient(model, x.chunk(world_size)[rank], y.chunk(world_size)[rank])
        total = yield ReduceScatter(list(padded(own, world_size)))
        momentum = 0.9 * momentum + total / world_size
        shard = shard - lr * momentum
    return torch.cat((yield AllGather(shard)))[: len(whole)], shard.numel() + momentum.numel()


def heads_output(x: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, heads: int) -> Tensor:
    """Causal attention of x (seq, d) with matrices q, k, v (d, width) and o (width, d) for so many heads.

    Built in notebooks/10_parallelism.ipynb.
    """
    q, k, v = (rearrange(x @ w, "seq (heads d_head) -> heads seq d_head", heads=heads) for w in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return rearrange(mixed, "heads seq d_head -> seq (heads d_head)") @ o


def parallel_heads(rank: int, world_size: int, x: Tensor, weights: Sequence[Tensor], heads: int, upstream: Tensor):
    """`heads_output` with the heads cut among ranks: (output, gradient of x, gradients of the rank's part of the weights).

    ``upstream`` is the output's gradient. Built in notebooks/10_parallelism.ipynb.
    """
    x = x.detach().requires_grad_()
    own = [w.chunk(world_size, dim=1)[rank] for w in weights[:3]] + [weights[3].chunk(world_size)[rank]]
    own = [w.detach().requires_grad_() for w in own]
    part = heads_output(x, *own, heads // world_size)
    output = yield AllReduce(part)  # g
    part.backward(upstream)
    d_x = yield AllReduce(x.grad)  # f
    return output, d_x, [w.grad for w in own]


def sequence_parallel(
    rank: int, world_size: int, x: Tensor, gain: Tensor, weights: Sequence[Tensor], heads: int, upstream: Tensor
) -> Generator:
    """`heads_output` of an RMSNorm: heads are cut among ranks inside, tokens outside.

    (the rank's tokens of the output, and of the gradient of x; the gradient of gain.) Built in notebooks/10_parallelism.ipynb.
    """
    x, gain = x.chunk(world_size)[rank].detach().requires_grad_(), gain.detach().requires_grad_()
    own = [w.chunk(world_size, dim=1)[rank] for w in weights[:3]] + [weights[3].chunk(world_size)[rank]]
    normed = F.rms_norm(x, x.shape[-1:], gain)
    whole = torch.cat((yield AllGather(normed))).requires_grad_()
    part = heads_output(whole, *own, heads // world_size)
    output = yield ReduceScatter(part.chunk(world_size))
    part.backward(torch.cat((yield AllGather(upstream.chunk(world_size)[rank]))))
    normed.backward((yield ReduceScatter(whole.grad.chunk(world_size))))
    return output, x.grad, (yield AllReduce(gain.grad))


def vocabulary_loss(rank: int, world_size: int, hidden: Tensor, output: Tensor, targets: Tensor) -> Generator:
    """The mean cross-entropy of targets (n,), from hidden (n, d) and the rank's rows of output (vocab, d); no logit is sent.

    Built in notebooks/10_parallelism.ipynb.
    """
    rows = output.chunk(world_size)
    first, rows = sum(map(len, rows[:rank])), rows[rank]
    logits = hidden @ rows.T
    top = yield AllReduce(logits.amax(dim=1), op="max")
    total = yield AllReduce((logits - top[:, None]).exp().sum(dim=1))
    column = (targets - first).clamp(0, len(rows) - 1)
    here = (targets >= first) & (targets < first + len(rows))
    right = yield AllReduce(torch.where(here, logits.gather(1, column[:, None])[:, 0], 0.0))
    return (top + total.log() - right).mean()


Pass = tuple[str, int]  # ("forward" or "backward", which microbatch)


def gpipe(stages: int, microbatches: int) -> list[list[Pass]]:
    """For each stage the order of its passes: all forward, then all backward from the last microbatch on.

    Built in notebooks/10_parallelism.ipynb.
    """
    numbers = range(microbatches)
    return [[("forward", m) for m in numbers] + [("backward", m) for m in reversed(numbers)] for _ in range(stages)]


def timeline(orders: Sequence[Sequence[Pass]], forward: float = 1.0, backward: float = 2.0) -> list[dict]:
    """For each stage {pass: (start, end)}, when each starts as soon as its stage is free and what it needs is there.

    A forward pass needs that of the stage before, a backward pass that of the stage behind, and its own forward pass.
    Raises ValueError when no stage can go on.

    >>> timeline(gpipe(2, 1), 1.0, 1.0)[0]
    {('forward', 0): (0.0, 1.0), ('backward', 0): (3.0, 4.0)}

    Built in notebooks/10_parallelism.ipynb.
    """
    done: list[dict] = [{} for _ in orders]
    while any(len(made) < len(order) for made, order in zip(done, orders, strict=True)):
        before = sum(map(len, done))
        for stage, order in enumerate(orders):
            for kind, m in order[len(done[stage]) :]:
                needed = [(stage, ("forward", m))] if kind == "backward" else []
                other = stage + (1 if kind == "backward" else -1)
                needed += [(other, (kind, m))] if 0 <= other < len(orders) else []
                if any(one not in done[at] for at, one in needed):
                    break
                free = max((end for _, end in done[stage].values()), default=0.0)
                start = max([free, *(done[at][one][1] for at, one in needed)])
                done[stage][kind, m] = (start, start + (forward if kind == "forward" else backward))
        if sum(map(len, done)) == before:
            raise ValueError(f"no stage can go on; each has done so many passes: {[len(made) for made in done]}")
    return done


def waiting_share(line: Sequence[dict]) -> float:
    """The share of the time from the first start to the last end in which the stages wait.

    Built in notebooks/10_parallelism.ipynb.
    """
    spans = [span for made in line for span in made.values()]
    return 1 - sum(end - start for start, end in spans) / len(line) / max(end for _, end in spans)


def pipeline(rank: int, world_size: int, stages: Sequence[nn.Module], x: Tensor, y: Tensor, microbatches: int):
    """GPipe on one batch: the rank's gradient, flat, and the most microbatches whose activations it held.

    Built in notebooks/10_parallelism.ipynb.
    """
    stage, last, kept = stages[rank], rank == world_size - 1, []
    for part in x.chunk(microbatches):
        given = part if rank == 0 else (yield Receive(rank - 1))
        kept.append((given.requires_grad_(), stage(given)))
        if not last:
            yield Send(rank + 1, kept[-1][1])
    most = len(kept)
    for right in reversed(y.chunk(microbatches)):
        given, made = kept.pop()
        if last:
            (F.cross_entropy(made, right) / microbatches).backward()
        else:
            made.backward((yield Receive(rank + 1)))
        if rank:
            yield Send(rank - 1, given.grad)
    return parameters_to_vector(p.grad for p in stage.parameters()), most


def ring_attention(rank: int, world_size: int, q: Tensor, k: Tensor, v: Tensor) -> Generator:
    """Causal attention of q, k, v (heads, seq, d_head) by ranks that each hold a part of the tokens: the rank's output.

    Built in notebooks/10_parallelism.ipynb.
    """
    positions = torch.arange(q.shape[1]).chunk(world_size)
    q, k, v = (one.chunk(world_size, dim=1)[rank] for one in (q, k, v))
    output, weight = torch.zeros_like(q), torch.full(q.shape[:2], -torch.inf)
    for hop in range(world_size):
        owner = (rank - hop) % world_size
        if owner <= rank:  # later tokens are not attended to
            later = positions[owner] > positions[rank][:, None]
            scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(later, -torch.inf)
            part = scores.logsumexp(dim=-1)
            both = torch.logaddexp(weight, part)
            output = output * (weight - both).exp()[..., None] + (scores - both[..., None]).exp() @ v
            weight = both
        if hop < world_size - 1:
            yield Send((rank + 1) % world_size, torch.stack([k, v]))
            k, v = yield Receive((rank - 1) % world_size)
    return output


@dataclass(frozen=True)
class Cluster:
    """Devices: peak FLOP/s, bytes of memory, and bytes a second of each device's links within a node and between nodes."""

    peak_flops: float
    memory: float
    within: float
    between: float


@dataclass(frozen=True)
class Split:
    """How many ranks share a layer (tensor), the depth (pipeline) and the batch (data); v pieces of the model a rank."""

    tensor: int
    pipeline: int
    data: int
    interleave: int = 1

    @property
    def devices(self) -> int:
        return self.tensor * self.pipeline * self.data


@dataclass(frozen=True)
class Plan:
    """Seconds of a step by part, bytes of a rank, and the share of the peak that useful FLOPs reach (MFU)."""

    seconds: dict[str, float]
    bytes: dict[str, float]
    mfu: float


def plan(
    shape: ModelShape, sequences: int, split: Split, cluster: Cluster, *, recompute: bool, efficiency: float = 0.6
) -> Plan:
    """What a step on so many sequences of full length costs, one sequence a microbatch, ZeRO-1, bfloat16.

    ``recompute``: each layer keeps its input alone and runs forward twice. Raises ValueError when the batch does not divide.

    Built in notebooks/10_parallelism.ipynb.
    """
    t, p, d = split.tensor, split.pipeline, split.data
    if sequences % d:
        raise ValueError(f"{sequences} sequences do not divide among {d} replicas")
    micro, seq, layers = sequences // d, shape.context_length, shape.num_layers / p
    useful = training_flops(shape, sequences, seq).total
    computing = useful * (4 / 3 if recompute else 1) / split.devices / cluster.peak_flops / efficiency
    activation = 2 * seq * shape.d_model
    sums = (6 if recompute else 4) * layers * micro * 2 * (t - 1) / t * activation / cluster.within
    idle = (computing + sums) * (p - 1) / micro / split.interleave
    own = parameters(shape) / t / p
    exchange = 2 * (d - 1) / d * 2 * own / cluster.between
    seconds = {"compute": computing, "tensor": sums, "bubble": idle, "data": exchange}
    inside = seq * shape.d_model * 34 / t  # of one layer, attention's scores not kept (2205.05198)
    kept = min(p, micro) * layers * (activation if recompute else inside)
    memory = {"weights, gradients": 4 * own, "optimizer": 12 * own / d, "activations": kept + inside}
    return Plan(seconds, memory, useful / sum(seconds.values()) / split.devices / cluster.peak_flops)
