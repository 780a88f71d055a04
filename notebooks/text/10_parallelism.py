# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: parallel, minutes: 2, prerequisites: [09_inference, a7_parallel], device: CPU}
# ---

# %% [markdown]
# # 10 · Parallelism (并行)
#
# {badge} · prerequisites: 02, 03, 07, assignment a7 (sharding) · device: CPU
#
# A model of 405 billion parameters does not fit into one device, and one device would need thousands of years to
# train it. So many devices share the work, and then they must talk. This lecture shows who holds what, who says what
# to whom, and what it costs. All of it runs here, on ranks in one process and on real processes that talk through
# gloo.
#
# ## Questions
#
# 1. How many bytes does a sum over all devices cost, and how long does it take?
# 2. Does training on four devices give the same weights as training on one?
# 3. What must every device hold, and what can be shared out?
# 4. How can one layer be cut into pieces that compute at the same time?
# 5. How long do the devices of a pipeline wait?
# 6. How can a text that is too long for one device be attended to exactly?
# 7. Can the speed of a published training run be computed beforehand?
#
# The answers stand at the end, each with the numbers of your run. Write your guess in place of `None` before you run
# a cell below a **Predict** box. Four exercises ask for a few lines each; none is graded. Five cells run on your
# assignment a7; until you have it, they show what our own run has shown.

# %%
from itertools import pairwise

import numpy as np
from IPython.display import display
from scipy.optimize import nnls

from cs336lite.collectives import run, run_processes
from cs336lite.course import check, finished, hint, whose
from cs336lite.course.claims import claim, claims
from cs336lite.course.diagram import Diagram
from cs336lite.course.exercise import solution
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.sharding import ZeroOptimizer, average_gradients, one_forward_one_backward, ring_all_reduce

# some cells run on your a7; until you have it, they show what our own run has shown
READY = whose("sharding", lecture="10_parallelism")
YOURS = "this runs on your code: does check('a7_parallel') pass?"

# %% folded=true
#| export
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

# %% folded=true
torch.set_num_threads(1)
d = Diagram(92, 11.5)
for x, title, rows, color in (
    (1, "data: the batch is cut", ["batch 0", "batch 1"], "blue"),
    (24, "tensor: layers are cut", ["heads 0, 1", "heads 2, 3"], "orange"),
    (47, "pipeline: depth is cut", ["layers 0-3", "layers 4-7"], "green"),
    (70, "context: the text is cut", ["words 0-99", "words 100-199"], "purple"),
):
    d.text(x, 1, title, color="black")
    top = d.box(x, 2.2, f"rank 0\n{rows[0]}", width=17, height=2.6, color=color)
    low = d.box(x, 7, f"rank 1\n{rows[1]}", width=17, height=2.6, color=color)
    d.arrow(top.bottom, low.top, color="grey")
for x, words in ((1, "sum of gradients"), (24, "sum in each layer"), (47, "activations"), (70, "keys and values")):
    d.text(x, 10.6, f"sent: {words}")
d.show()

# %% [markdown]
# ## 1 · Collectives
#
# **What do devices say to each other?** A *rank* (进程编号) is one worker of a parallel program. Nearly all its messages are
# *collectives* (集合通信): every rank gives something, and every rank gets something. Four ranks hold the numbers 1, 2, 3
# and 4. After an *all-reduce* (全归约) each of them has 10.

# %% folded=true
d = Diagram(94, 19.5)
d.text(1, 0.8, "before")
d.text(40, 0.8, "after")
for y, name, given, got in (
    (1.6, "broadcast from rank 0", ["a", "-", "-"], ["a", "a", "a"]),
    (5.1, "all-reduce", ["a", "b", "c"], ["a+b+c"] * 3),
    (8.6, "reduce-scatter", ["a0 a1 a2", "b0 b1 b2", "c0 c1 c2"], ["a0+b0+c0", "a1+b1+c1", "a2+b2+c2"]),
    (12.1, "all-gather", ["a", "b", "c"], ["a b c"] * 3),
    (15.6, "all-to-all", ["a0 a1 a2", "b0 b1 b2", "c0 c1 c2"], ["a0 b0 c0", "a1 b1 c1", "a2 b2 c2"]),
):
    d.text(1, y + 0.5, name)
    d.row(1, y + 1.2, given, ["blue", "orange", "green"], widths=[10.5] * 3, gap=0.5)
    d.arrow((33.5, y + 1.85), (39.5, y + 1.85))
    d.row(40, y + 1.2, got, ["blue", "orange", "green"], widths=[12.5] * 3, gap=0.5)
    d.text(79, y + 1.85, "ranks 0, 1, 2")
d.show()

# %% [markdown]
# A program of a rank is a *generator* (生成器): it computes, yields a request, and goes on with the answer. So all ranks can
# take turns in one process, and the same program can run in real processes later.


# %%
def total(rank: int, world_size: int):
    """The sum of 1, 2, … over the ranks, which every rank gets."""
    answer = yield AllReduce(torch.tensor([rank + 1.0]))
    return answer.item()


print(run(total, 4).results)


# %% [markdown]
# The driver finds what would hang on a cluster. Here each rank waits for the next one, and none has sent anything:


# %%
def deadlock(rank: int, world_size: int):
    return (yield Receive((rank + 1) % world_size))


try:
    run(deadlock, 3)
except RuntimeError as error:
    print(error)

# %% [markdown]
# **The cost of a sum.** The simple way: all ranks send their tensor to rank 0, which adds and sends the sum back.
# Rank 0 then receives and sends everything, one message after the other. A *ring* (环形) shares this work. The tensor
# is cut into p chunks. In each of p − 1 steps every rank passes one chunk to its right neighbour, which adds its own:
# a reduce-scatter. In p − 1 more steps the finished chunks go round: an all-gather. Assignment a7 builds it out of
# single messages.
#
# The picture counts how many ranks have been added into each chunk that a rank holds.

# %% folded=true
d = Diagram(92, 9.3)
states = [
    ("start", ["1111", "1111", "1111", "1111"]),
    ("after 1 step", ["1112", "2111", "1211", "1121"]),
    ("after 2 steps", ["1132", "2113", "3211", "1321"]),
    ("after 3 steps", ["1432", "2143", "3214", "4321"]),
]
for place, (name, rows) in enumerate(states):
    x = 9 + 21 * place
    d.text(x, 1, name)
    for rank, row in enumerate(rows):
        colors = ["green" if n == "4" else "orange" if n > "1" else "grey" for n in row]
        d.row(x, 2 + 1.5 * rank, list(row), colors, widths=[4] * 4, gap=0.3)
for rank in range(4):
    d.text(1, 2.65 + 1.5 * rank, f"rank {rank}")
d.text(9, 8.6, "columns: chunks 0 to 3 · number: how many ranks are added in it · green: finished")
d.show()


# %%
#| export
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


# %% [markdown]
# **Predict.** Eight ranks add tensors of 8 MB. How many MB does the busiest rank send the simple way? And in a ring?

# %%
guess_root = guess_ring = None  # MB

big = torch.ones(2_000_000)
root, ring = run(by_root, 8, big), run(by_ring, 8, big)

# %% folded=true
# run this cell to compare your guess
because = {64: "rank 0 keeps its own: it sends to seven others", 8: "that is what each of the others sends"}
reveal("busiest rank, simple way (MB)", max(root.sent) / 1e6, guess_root, within=1.01, because=because)
because = {7: "that is the reduce-scatter alone; the all-gather sends as much again", 16: "nearly: a rank never sends one chunk of eight"}  # fmt: skip
reveal("busiest rank, ring (MB)", max(ring.sent) / 1e6, guess_ring, within=1.01, because=because)
print(f"steps: {root.steps} and {ring.steps}, but a step of the ring moves an eighth of the bytes")
claim(
    1,
    "With 8 ranks the busiest rank sends {root:.0f} MB of an 8 MB sum through one rank, and {ring:.0f} MB in a ring: 2 (p − 1) / p times the tensor.",
    lambda root, ring: root == 56 and abs(ring - 2 * 8 * 7 / 8) < 1e-9,
    root=max(root.sent) / 1e6,
    ring=max(ring.sent) / 1e6,
)

# %% folded=true
fig, ax = axes(xlabel="ranks", ylabel="MB sent by the busiest rank", size=(6.5, 3.4))
counts = [2, 3, 4, 6, 8, 12, 16]
for name, program, color, mark in (("through rank 0", by_root, "vermillion", "o"), ("ring", by_ring, "blue", "s")):
    ax.plot(counts, [max(run(program, p, big).sent) / 1e6 for p in counts], f"{mark}-", color=COLORS[color], label=name)
ax.set(title="A sum of 8 MB: a ring never sends more than twice the tensor")
ax.legend()
finish(fig)

# %% [markdown]
# Through rank 0 the line rises with each rank. The ring's comes near 16 MB and never gets there.
#
# These bytes are the driver's, by formula. The ring of a7 is made of single messages, so they can be looked at one by
# one. Four ranks add ten numbers of 4 bytes. Ten does not divide by four: two chunks have three numbers, and two have
# two.

# %%
if READY.or_show("ring"):
    small = run(ring_all_reduce, 4, torch.arange(10.0))
    steps = np.zeros((4, small.steps), dtype=int)
    for message in small.trace:
        steps[message.rank, message.step] += message.bytes
        assert message.to == (message.rank + 1) % 4, YOURS
    rings = {p: run(ring_all_reduce, p, big) for p in counts}
    for p, one in rings.items():
        assert one.messages == [2 * (p - 1)] * p and torch.equal(one.results[0], p * big), YOURS

# %% folded=true
if READY.or_show("ring, drawn"):
    fig, (left, right) = axes(1, 2, size=(10, 3.4))
    left.imshow(steps, cmap="Blues", vmin=0, vmax=20)
    for rank, row in enumerate(steps):
        for step, count in enumerate(row):
            left.text(step, rank, count, ha="center", va="center")
    left.set(xticks=range(6), xticklabels=range(1, 7), yticks=range(4), xlabel="step (1 to 3 reduce-scatter, 4 to 6 all-gather)", ylabel="rank", title="Bytes that each rank sends, ten float32")  # fmt: skip
    smooth = np.linspace(2, 16, 100)
    right.plot(smooth, 16 * (smooth - 1) / smooth, color=COLORS["black"], label="formula, 2 (p − 1) / p · 8 MB")
    right.plot(
        counts, [one.sent[0] / 1e6 for one in rings.values()], "o", color=COLORS["blue"], label="counted, a7's ring"
    )
    for p, one in rings.items():
        right.annotate(one.messages[0], (p, one.sent[0] / 1e6), (0, -14), textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
    right.set(
        xlabel="ranks",
        ylabel="MB sent by each rank",
        ylim=(6, 17),
        title="A sum of 8 MB; small numbers: messages of a rank",
    )
    right.legend(loc="lower right")
    display(finish(fig))
    display(
        claim(
            1,
            "Counted message by message, the ring of a7 sends the bytes of the formula within {off:.3f} %, on 2 to 16 ranks; with 16 it takes {messages} messages a rank.",
            lambda off, messages: off < 0.01 and messages == 30,
            off=100 * max(abs(sent / (16e6 * (p - 1) / p) - 1) for p, one in rings.items() for sent in one.sent),
            messages=rings[16].messages[0],
        )
    )

# %% [markdown]
# In every step every rank sends one chunk, so no link is idle. The bytes level off, and the messages go on growing:
# with many ranks and small tensors a ring waits for its latency.
#
# **How long?** A message takes a *latency* (延迟) that does not depend on its size, and its bytes over the *bandwidth* (带宽).
# A ring of p ranks has $2(p-1)$ steps, each with a chunk of $n/p$ bytes:
# $t = 2(p-1)\,(\text{latency} + n / (p \cdot \text{bandwidth}))$.


# %% exercise="all_reduce_seconds" minutes=5 difficulty=1
def all_reduce_seconds(nbytes: float, ranks: int, latency: float, bandwidth: float) -> float:
    """Seconds of a ring all-reduce of so many bytes: latency in seconds a message, bandwidth in bytes a second."""
    ### BEGIN SOLUTION
    return 2 * (ranks - 1) * (latency + nbytes / ranks / bandwidth)
    ### END SOLUTION


# %% folded=true
#| export
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


# %% tags=["timing"] folded=true
SIZES = [4 * 4**i for i in range(4, 12)]  # 1 kB to 16 MB
seconds = np.max(run_processes(time_all_reduce, 2, SIZES).results, axis=0)
few, many = seconds[0], seconds[-1]
design = np.stack([np.full(len(SIZES), 2.0), np.array(SIZES)], axis=1) / seconds[:, None]
latency, per_byte = nnls(design, np.ones(len(SIZES)))[0]  # the smallest relative errors; neither is negative
bandwidth = 1 / max(per_byte, 1e-12)
fig, ax = axes(xlabel="bytes (logarithmic)", ylabel="milliseconds (logarithmic)", size=(6.5, 3.2))
ax.plot(SIZES, 1e3 * seconds, "o", color=COLORS["blue"], label="measured, 2 processes, least of 7")
model = [1e3 * all_reduce_seconds(n, 2, latency, bandwidth) for n in SIZES]
ax.plot(SIZES, model, "--", color=COLORS["vermillion"], label=f"2 × {1e6 * latency:.0f} µs + bytes / {bandwidth / 1e9:.2f} GB/s")  # fmt: skip
ax.set(xscale="log", yscale="log", title="An all-reduce through gloo: latency first, then bytes")
ax.legend()
display(finish(fig))
claim(
    1,
    "On this machine an all-reduce of 16 MB takes {times:.0f} times as long as one of 1 kB, which has 16,384 times fewer bytes.",
    lambda times: 1 < times < 8_000,
    times=many / few,
)

# %% [markdown]
# Two numbers describe the times roughly: on a busy machine a point can lie a factor of two away, and the processes
# share its caches and cores, as devices with links of their own do not. Below the bend, many small messages are a
# waste. That is why gradients are sent in buckets.
#
# ## 2 · Data parallel (数据并行)
#
# **What if every rank has the whole model?** Each takes its part of the batch and computes a gradient. The gradient of the
# whole batch is the mean of these, if the parts are equally large. So one all-reduce, divided by p, and every rank takes
# the same step. By hand: gradients 2 and 4 of two halves of a batch; the sum is 6, the mean 3, and each rank steps by 3.


# %%
#| export
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


# %%
draw = torch.Generator().manual_seed(0)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 10))
batches = [(torch.randn(32, 16, generator=draw), torch.randint(10, (32,), generator=draw)) for _ in range(20)]
alone = run(train_replicas, 1, net, batches, 0.1).results[0]
four = run(train_replicas, 4, net, batches, 0.1)
apart = run_processes(train_replicas, 2, net, batches, 0.1)
differences = [(other.results[0] - alone).abs().max().item() for other in (four, apart)]
same = all(torch.equal(four.results[0], other) for other in four.results)
moved = (alone - parameters_to_vector(net.parameters()).detach()).abs().max().item()
claim(
    2,
    "After 20 steps, weights that moved by up to {moved:.2f} differ from those of one process by at most {four:.0e} on four ranks and {apart:.0e} on two real processes.",
    lambda moved, four, apart: moved > 0.01 and four < 1e-5 and apart < 1e-5 and same,
    moved=moved,
    four=differences[0],
    apart=differences[1],
)

# %% [markdown]
# They are not equal bit for bit, because sums in another order round differently. The ranks among themselves
# *are* equal bit for bit, and must be: nothing would ever bring them together again.
#
# **Buckets and overlap.** The backward pass finishes the gradients of the last layer first. They can be sent while earlier
# layers are still computed. One message for each parameter would pay the latency too often; so gradients are collected in
# *buckets* (桶) of some megabytes. A bucket is sent when it is full, and the link carries one after the other.
#
# By hand: three layers take 2 s each in the backward pass, and 3 s each to send. One after the other: 6 + 9 = 15 s.
# Overlapped, the first bucket is ready at 2 s, and the link is busy for 9 s from then on.


# %% exercise="overlapped" minutes=10 difficulty=2
def overlapped(backward: list[float], sending: list[float]) -> float:
    """When the last bucket has arrived: bucket i is ready when the first i + 1 backward times are over, and the link
    carries one bucket at a time, in order."""
    ### BEGIN SOLUTION
    ready = done = 0.0
    for work, send in zip(backward, sending):
        ready += work
        done = max(done, ready) + send
    return done
    ### END SOLUTION


# %% [markdown]
# **Predict.** Twelve layers take 10 ms each in the backward pass, and their gradients 8 ms each to send. How many ms are
# left to wait when the backward pass is over?

# %%
guess = None  # ms

left = overlapped([10.0] * 12, [8.0] * 12) - 120

# %% folded=true
# run this cell to compare your guess
because = {96: "that is without overlap", 0: "the gradients of the last layer computed can be sent only after it"}
reveal("ms left", left, guess, within=1, because=because)
claim(
    2,
    "Twelve layers of 10 ms backward and 8 ms of sending end {left:.0f} ms after the backward pass with overlap and {naive:.0f} ms after it without.",
    lambda left, naive: left < naive / 10,
    left=left,
    naive=12 * 8,
)

# %% folded=true
fig, ax = axes(xlabel="milliseconds", ylabel="how gradients are sent", size=(7.5, 3.0))
groups = (("one message at the end", 1), ("3 buckets, overlapped", 3), ("12 buckets, overlapped", 12))
for row, (_, count) in enumerate(groups):
    each, end = 12 // count, 0.0
    for i in range(count):
        ax.barh(2 * row, 10 * each, left=10 * each * i, color=COLORS["blue"], edgecolor="white", height=0.8)
        begin = max(end, 10 * each * (i + 1))
        end = begin + 8 * each
        ax.barh(2 * row + 0.8, 8 * each, left=begin, color=COLORS["orange"], edgecolor="white", height=0.6)
ax.barh(0, 0, color=COLORS["blue"], label="backward")
ax.barh(0, 0, color=COLORS["orange"], label="sending")
ax.set(yticks=[0.4, 2.4, 4.4], yticklabels=[name for name, _ in groups], title="Sending hides behind the backward pass")
ax.legend(loc="upper right")
finish(fig)

# %% [markdown]
# The single message leaves all of its sending to the end; three buckets hide most of it, and twelve hide all but the
# last. These are times of a model in which a message has no latency and sending does not slow down computing. On real
# devices both share memory bandwidth, and buckets of about 25 MB are a usual compromise (PyTorch DDP, 2006.15704).
#
# How does a program know that a gradient is ready? PyTorch calls a *hook* (钩子) as soon as the backward pass has made
# it. The hook below starts an all-reduce and does not wait. This needs real processes, since only there can a message
# travel while something computes.


# %%
#| export
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


# %% tags=["timing"]
deep = nn.Sequential(*(nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(8)), nn.Linear(16, 10))
weights, shares = run_processes(train_overlapped, 2, deep, batches[:7], 0.1).results[0]
once = run(train_replicas, 1, deep, batches[:7], 0.1).results[0]
first, *_, last = np.median(shares, axis=0)
claim(
    2,
    "With hooks the first of {sums} sums begins when {first:.0f} % of the backward pass are over, the last at {last:.0f} %, and seven steps end within {far:.0e} of one process.",
    lambda sums, first, last, far: sums == 18 and first < 50 < last and far < 1e-5,
    sums=len(shares[0]),
    first=100 * first,
    last=100 * last,
    far=(weights - once).abs().max().item(),
)

# %% [markdown]
# So nearly all sums have company: there is still something to compute while they travel. Whether that hides them
# depends on the link, and on whether sending takes the processor's time, as it does here.
#
# The hooks send each gradient alone. The buckets of a7 in a training, on two real processes:


# %%
def train_buckets(rank, world_size, model, batches, lr, bucket_bytes):
    parameters = list(model.parameters())
    for x, y in batches:
        model.zero_grad()
        F.cross_entropy(model(x.chunk(world_size)[rank]), y.chunk(world_size)[rank]).backward()
        yield from average_gradients(rank, world_size, parameters, bucket_bytes)
        with torch.no_grad():
            for parameter in parameters:
                parameter -= lr * parameter.grad
    return parameters_to_vector(parameters).detach()


# %%
if READY.or_show("buckets"):
    real = run_processes(train_buckets, 2, net, batches, 0.1, 3_000)
    by_size = {size: run(train_buckets, 2, net, batches[:1], 0.1, size) for size in (1, 3_000, 1_000_000)}
    sums = {size: sum(event.rank == 0 for event in one.trace) for size, one in by_size.items()}
    assert len({tuple(one.sent) for one in by_size.values()}) == 1, YOURS
    display(
        claim(
            2,
            "Bucketed on two real processes, 20 steps end within {far:.0e} of one process; a step takes {each} all-reduces one by one, {some} with buckets of 3 kB and {one} with one bucket, for the same bytes.",
            lambda far, each, some, one: far < 1e-5 and each > some > one == 1,
            far=(real.results[0] - alone).abs().max().item(),
            each=sums[1],
            some=sums[3_000],
            one=sums[1_000_000],
        )
    )

# %% [markdown]
# ## 3 · Sharding the state (ZeRO, FSDP)
#
# **Why should every rank keep everything?** In mixed precision a parameter takes 2 bytes for its weight, 2 for its
# gradient and 12 for Adam: a float32 copy of the weight and two moments. All replicas hold the same 16 bytes. ZeRO
# (1910.02054) cuts them into p *shards* (分片): stage 1 the 12 bytes of the optimizer, stage 2 the gradient as well,
# stage 3 also the weight. Stage 3 is what PyTorch calls FSDP (2304.11277).
#
# By hand: 8 parameters on 4 ranks, stage 1: 8 · 2 + 8 · 2 + 8 · 12 / 4 = 56 bytes a rank, instead of 128.


# %% exercise="zero_bytes" minutes=6 difficulty=1
def zero_bytes(num_parameters: int, ranks: int, stage: int) -> float:
    """Bytes of weights (2), gradients (2) and optimizer (12) on each rank; stage 0 shares nothing, 1 to 3 as ZeRO does."""
    ### BEGIN SOLUTION
    weight, grad, optimizer = 2, 2, 12
    if stage >= 1:
        optimizer /= ranks
    if stage >= 2:
        grad /= ranks
    if stage >= 3:
        weight /= ranks
    return num_parameters * (weight + grad + optimizer)
    ### END SOLUTION


# %% [markdown]
# **Predict.** A model of 70 billion parameters on 64 devices: how many GB does each hold with stage 1? And with stage 3?

# %%
guess_first = guess_third = None  # GB

held = {stage: zero_bytes(70_000_000_000, 64, stage) / 1e9 for stage in range(4)}

# %% folded=true
# run this cell to compare your guess
because = {17.5: "that is stage 3: stage 1 leaves weights and gradients whole", 1120: "that is without sharding"}
reveal("stage 1, GB", held[1], guess_first, within=1.05, because=because, shown=f"{held[1]:.0f}")
because = {293: "that is stage 1", 1120: "that is without sharding"}
reveal("stage 3, GB", held[3], guess_third, within=1.05, because=because)
claim(
    3,
    "Of 70 billion parameters on 64 devices each holds {none:,.0f} GB without sharding, {first:.0f} GB with stage 1, {second:.0f} with stage 2 and {third:.1f} with stage 3.",
    lambda none, first, second, third: none > first > second > third,
    none=held[0], first=held[1], second=held[2], third=held[3],
)  # fmt: skip

# %% folded=true
fig, ax = axes(xlabel="ranks (logarithmic)", ylabel="GB on each rank (logarithmic)", size=(6.5, 3.3))
counts = [1, 2, 4, 8, 16, 32, 64, 128, 256]
for stage, (color, mark) in enumerate((("black", "o"), ("blue", "s"), ("orange", "^"), ("green", "D"))):
    y = [zero_bytes(70_000_000_000, p, stage) / 1e9 for p in counts]
    ax.plot(counts, y, f"{mark}-", color=COLORS[color], label=f"stage {stage}" if stage else "replicas")
ax.axhline(80, color=COLORS["vermillion"], linestyle="--", label="a device of 80 GB")
ax.set(xscale="log", yscale="log", title="70 billion parameters, 16 bytes each: only stage 3 goes on falling")
ax.legend(loc="lower left")
finish(fig)

# %% [markdown]
# The dashed line is the memory of one device. Stages 1 and 2 flatten where the parts that are not cut remain.
#
# Stage 1 is a7's `ZeroOptimizer`. It runs on AdamW here, and we count the bytes of the moments that each rank really holds.


# %%
def train_zero(rank, world_size, model, batches):
    made = []
    parameters = list(model.parameters())
    optimizer = ZeroOptimizer(rank, world_size, parameters, lambda own: made.append(torch.optim.AdamW(own)) or made[0])
    for x, y in batches:
        model.zero_grad()
        F.cross_entropy(model(x.chunk(world_size)[rank]), y.chunk(world_size)[rank]).backward()
        yield from optimizer.step()
    moments = [x for state in made[0].state.values() for x in state.values() if x.ndim]
    return parameters_to_vector(parameters).detach(), sum(x.nbytes for x in moments)


# %%
if READY.or_show("ZeRO-1"):
    first, shared = run(train_zero, 1, net, batches), run(train_zero, 4, net, batches)
    replicas = run(train_replicas, 4, net, batches, 0.1)
    display(
        claim(
            3,
            "With the ZeRO-1 of a7 on four ranks each holds {held:,} bytes of moments instead of {whole:,}, the weights end within {far:.0e}, and a rank sends {extra:.1f} % more than replicas do.",
            lambda held, whole, far, extra: whole / 4 <= held <= whole / 4 + 8 and far < 1e-4 and abs(extra) < 0.5,
            held=max(nbytes for _, nbytes in shared.results),
            whole=first.results[0][1],
            far=(shared.results[0][0] - first.results[0][0]).abs().max().item(),
            extra=100 * (max(shared.sent) / max(replicas.sent) - 1),
        )
    )

# %% [markdown]
# The moments shrink to a fourth, and a step sends what an all-reduce sends: its two halves, with the update between them.
#
# Stage 3 in a program: a rank keeps its shard of all weights. Before it can compute, the ranks gather the
# weights; after the backward pass a reduce-scatter brings each rank the sum of its shard's gradient, and it updates that.


# %%
#| export
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


# %%
single, sharded = run(train_sharded, 1, net, batches, 0.1), run(train_sharded, 4, net, batches, 0.1)
n = len(alone)
part = -(-n // 4)
formula = 4 * 3 * part * (2 * len(batches) + 1)  # float32, to three others: two collectives a step, one at the end
apart = (sharded.results[0][0] - single.results[0][0]).abs().max().item()
claim(
    3,
    "Four ranks hold {share:.0f} % of the weights and moments each, send {sent:,} bytes as the formula says, and end within {apart:.0e} of one process.",
    lambda share, sent, apart: abs(share - 25) < 0.5 and sent == formula and apart < 1e-5,
    share=100 * sharded.results[0][1] / single.results[0][1],
    sent=sharded.sent[0],
    apart=apart,
)

# %% [markdown]
# A reduce-scatter and an all-gather are an all-reduce, so these bytes are no more than those of replicas. Real FSDP
# gathers one layer at a time, so that it never holds the whole model, and gathers again for the backward pass. Then
# it sends one and a half times as much. Stages 1 and 2 send what replicas send.
#
# ## 4 · Tensor parallel (张量并行)
#
# **What if one layer is too large?** Then it is cut. Attention has a natural cut: its heads. Each rank takes the
# columns of $W_Q, W_K, W_V$ of its own heads, and the rows of $W_O$ that read them. No rank needs another one until
# the end, where the parts of the output are added: one all-reduce. A feed-forward network is cut in the same way,
# columns first and then rows (a7).

# %% folded=true
d = Diagram(92, 8.4)
x = d.box(1, 3.4, "x\non all ranks", height=2, color="grey")
for y, rank, color in ((0.8, 0, "blue"), (5.6, 1, "orange")):
    first = d.box(26, y, f"Wq Wk Wv\nheads of rank {rank}", width=20, height=2, color=color)
    second = d.box(50, y, f"Wo, rows\nof rank {rank}", width=14, height=2, color=color)
    d.arrow(x.right, first.left, color="grey")
    d.arrow(first.right, second.left, color=color)
    d.arrow(second.right, (75, 4.4), color=color)
d.box(75, 3.4, "sum\non all ranks", height=2, color="green")
d.text(15, 7.9, "f: backward sum")
d.text(66, 7.9, "g: forward sum")
d.show()

# %% [markdown]
# In the backward pass the picture turns around. The output's gradient is the same on all ranks, so at g nothing is
# sent. Each rank then has *its heads' part* of the gradient of x, and at f these parts are added. Megatron-LM
# (1909.08053) calls the two places f and g: one all-reduce forward and one backward for attention, and as many for
# the feed-forward.


# %%
#| export
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


# %%
x, upstream = torch.randn(24, 32, generator=draw), torch.randn(24, 32, generator=draw)
matrices = [torch.randn(32, 32, generator=draw) / 32**0.5 for _ in range(4)]
[(y1, dx1, grads1)] = run(parallel_heads, 1, x, matrices, 8, upstream).results
cut = run(parallel_heads, 4, x, matrices, 8, upstream)
y4, dx4, _ = cut.results[0]
columns = torch.cat([grads[0] for _, _, grads in cut.results], dim=1)
far = max((a - b).abs().max().item() for a, b in ((y4, y1), (dx4, dx1), (columns, grads1[0])))
claim(
    4,
    "Eight heads on four ranks give the output and gradients of one process within {far:.0e}, for {sent:,} bytes a rank: two all-reduces of an activation.",
    lambda far, sent: far < 1e-4 and sent == 2 * 2 * 3 * x.nbytes // 4,
    far=far,
    sent=cut.sent[0],
)

# %% [markdown]
# These sums stand *inside* every layer, and nothing can be computed meanwhile. So tensor parallelism stays within a
# node of fast links. **Sequence parallel** (2205.05198): norms and dropout work on each token alone, so between two
# layers each rank can keep the tokens of its own. The all-reduce becomes a reduce-scatter before the norm and an
# all-gather after it: the same bytes, and a p-th of the activations. In the backward pass each is replaced by the
# other.


# %%
#| export
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


# %%
gain = 1 + torch.randn(32, generator=draw) / 4
[(y1, dx1, dg1)] = run(sequence_parallel, 1, x, gain, matrices, 8, upstream).results
cut_too = run(sequence_parallel, 4, x, gain, matrices, 8, upstream)
outs, dxs, dgs = zip(*cut_too.results)
far = max((a - b).abs().max().item() for a, b in ((torch.cat(outs), y1), (torch.cat(dxs), dx1), (dgs[0], dg1)))
claim(
    4,
    "With tokens cut around the norm, output and gradients are those of one process within {far:.0e}; a rank keeps {rows} of {all} tokens and sends {more} bytes more, the gradient of the norm's gain.",
    lambda far, rows, all, more: far < 1e-4 and rows == all // 4 and more == 2 * 3 * gain.nbytes // 4,
    far=far,
    rows=len(outs[0]),
    all=len(x),
    more=cut_too.sent[0] - cut.sent[0],
)

# %% [markdown]
# **The output layer** has a row for each token of the vocabulary, and its logits are the largest activation of all.
# Each rank keeps its rows. The loss needs three numbers a position: the maximum, the sum of exponentials, and the
# logit of the right token.


# %%
#| export
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


# %%
hidden, output = torch.randn(64, 32, generator=draw), torch.randn(1000, 32, generator=draw)
targets = torch.randint(1000, (64,), generator=draw)
split = run(vocabulary_loss, 4, hidden, output, targets)
plain = F.cross_entropy(hidden @ output.T, targets).item()
claim(
    4,
    "The loss over a vocabulary on four ranks is {split:.4f} as on one, {plain:.4f}, and sends {share:.1f} % of the bytes that gathering the logits would.",
    lambda split, plain, share: abs(split - plain) < 1e-4 and share < 2,
    split=split.results[0].item(),
    plain=plain,
    share=100 * split.sent[0] / (4 * 64 * 750),
)

# %% [markdown]
# ## 5 · Pipeline (流水线并行)
#
# **What if the layers are shared out instead?** Rank 0 has the first layers, rank 1 the next ones. Only activations
# at the borders are sent. But rank 1 waits until rank 0 is done. So a batch is cut into *microbatches* (微批次): while
# rank 1 works on the first, rank 0 takes the second. In GPipe (1811.06965) all microbatches go forward, then all come
# back. The time in which a rank waits is the *bubble* (流水线气泡).
#
# By hand: two stages, one microbatch, every pass 1 s. Forward on rank 0, forward on rank 1, backward on 1, backward
# on 0: 4 s, of which each rank works 2 s. Half of the time is bubble.


# %%
#| export
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


# %% exercise="bubble" minutes=8 difficulty=2
def bubble(stages: int, microbatches: int) -> float:
    """The share of the time in which each stage waits, when all stages take equally long."""
    ### BEGIN SOLUTION
    return (stages - 1) / (microbatches + stages - 1)
    ### END SOLUTION


# %% [markdown]
# **Predict.** Four stages and eight microbatches: how many percent of the time does each stage wait?

# %%
guess = None  # percent

line = timeline(gpipe(4, 8))
waits = {(p, m): waiting_share(timeline(gpipe(p, m))) for p in (2, 4, 8) for m in (1, 4, 8, 32)}

# %% folded=true
# run this cell to compare your guess
because = {37.5: "that is the bubble in units of work: divide by the whole time", 50: "that would be as many microbatches as stages less one"}  # fmt: skip
reveal("percent of the time", 100 * waits[4, 8], guess, within=1.05, because=because, shown=f"{100 * waits[4, 8]:.1f}")
worst = max(abs(share - bubble(p, m)) for (p, m), share in waits.items())
claim(
    5,
    "In 12 time lines of GPipe the measured bubble is (p − 1) / (m + p − 1) within {worst:.0e}: {few:.0f} % with 4 stages and 8 microbatches, {many:.0f} % with 32.",
    lambda worst, few, many: worst < 1e-9 and many < few,
    worst=worst,
    few=100 * waits[4, 8],
    many=100 * waits[4, 32],
)

# %% folded=true
fig, ax = axes(xlabel="time (forward pass of a microbatch = 1)", ylabel="stage", size=(8, 2.7))
for stage, made in enumerate(line):
    for (kind, m), (start, end) in made.items():
        color = COLORS["blue" if kind == "forward" else "orange"]
        ax.barh(stage, end - start, left=start, color=color, edgecolor="white", height=0.85)
        ax.text((start + end) / 2, stage, str(m), ha="center", va="center", fontsize=8, color="white" if kind == "forward" else "black")  # fmt: skip
ax.set(yticks=range(4), title="GPipe, 4 stages, 8 microbatches: forward blue, backward orange, waiting white")
ax.invert_yaxis()
finish(fig)

# %% [markdown]
# GPipe keeps the activations of all m microbatches until they come back. **1F1B** (one forward, one backward;
# 1806.03377, 2104.04473) starts the first backward pass as soon as it can. Its bubble is the same, but stage s holds
# at most p − s microbatches. The order is in a7. *Interleaved* schedules give each rank v pieces of the model and
# divide the bubble by v, for v times the messages. *Zero-bubble* schedules (2401.10241) cut the backward pass in two
# and fill the gaps with the part that nobody waits for.
#
# The order of a7 on the same stages and times; compare it with GPipe's picture above:

# %% folded=true
if READY.or_show("1F1B"):
    orders = {"GPipe": gpipe(4, 8), "1F1B": [one_forward_one_backward(stage, 4, 8) for stage in range(4)]}
    lines = {name: timeline(order) for name, order in orders.items()}
    fig, (left, right) = axes(1, 2, size=(10, 3))
    for stage, made in enumerate(lines["1F1B"]):
        for (kind, m), (start, end) in made.items():
            color = COLORS["blue" if kind == "forward" else "orange"]
            left.barh(stage, end - start, left=start, color=color, edgecolor="white", height=0.85)
            left.text((start + end) / 2, stage, str(m), ha="center", va="center", fontsize=7, color="white" if kind == "forward" else "black")  # fmt: skip
    left.set(yticks=range(4), xlabel="time (forward pass = 1)", ylabel="stage", title="1F1B: forward blue, backward orange")  # fmt: skip
    left.invert_yaxis()
    kept = {name: [max(np.cumsum([1 if kind == "forward" else -1 for kind, _ in order])) for order in one] for name, one in orders.items()}  # fmt: skip
    for shift, (name, color) in zip((-0.2, 0.2), (("GPipe", "black"), ("1F1B", "sky_blue"))):
        right.bar(np.arange(4) + shift, kept[name], 0.38, color=COLORS[color], label=name)
    right.set(
        xticks=range(4), ylim=(0, 11), xlabel="stage", ylabel="microbatches held at most", title="Activation memory"
    )
    right.legend(loc="upper right", ncols=2)
    display(finish(fig))
    display(
        claim(
            5,
            "1F1B as in a7 waits {ours:.1f} % of the time and GPipe {theirs:.1f} %; its first stage holds the activations of {few} microbatches instead of {many}, its last of {last}.",
            lambda ours, theirs, few, many, last: abs(ours - theirs) < 1e-9 and (few, many, last) == (4, 8, 1),
            ours=100 * waiting_share(lines["1F1B"]),
            theirs=100 * waiting_share(lines["GPipe"]),
            few=kept["1F1B"][0],
            many=kept["GPipe"][0],
            last=kept["1F1B"][-1],
        )
    )

# %% [markdown]
# The bubble has moved and is as long as before. What is saved is memory: it no longer grows with the number of
# microbatches, so there can be more of them, and then the bubble shrinks.
#
# Now with numbers in it: a pipeline of real layers.


# %%
#| export
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


# %%
torch.manual_seed(1)
sizes = [16, 32, 32, 32, 10]
stages = [nn.Sequential(nn.Linear(a, b), nn.Tanh()) for a, b in pairwise(sizes)]
x, y = batches[0]
whole = gradient(nn.Sequential(*stages), x, y)
found = run(pipeline, 4, stages, x.clone(), y, 8)
far = (torch.cat([grads for grads, _ in found.results]) - whole).abs().max().item()
claim(
    5,
    "A pipeline of four ranks and eight microbatches gives the gradient of one process within {far:.0e}; GPipe held the activations of {most} microbatches.",
    lambda far, most: far < 1e-6 and most == 8,
    far=far,
    most=found.results[0][1],
)

# %% [markdown]
# The gradients are those of one process to rounding. And GPipe held all eight, as the bars said.
#
# ## 6 · Context parallel: ring attention (环形注意力)
#
# **What if one text is too long?** Then each rank takes a part of its tokens. Everything but attention works on each
# token alone. For attention, keys and values travel around a ring, and every rank adds each part to its running
# result, as FlashAttention does with its tiles (lecture 07): two softmax averages become one when each is weighted by
# its sum of exponentials. Nothing is approximated (2310.01889).
#
# By hand: scores 0 on one rank, 0 and 0 on another. The averages a and b have sums of exponentials 1 and 2, so
# together (1 a + 2 b) / 3.


# %%
#| export
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


# %%
q, k, v = (torch.randn(2, 64, 8, generator=draw) for _ in range(3))
exact = F.scaled_dot_product_attention(q, k, v, is_causal=True)
around = run(ring_attention, 4, q, k, v)
far = (torch.cat(around.results, dim=1) - exact).abs().max().item()
claim(
    6,
    "Ring attention on four ranks is attention within {far:.0e}; each rank held {share:.0f} % of the keys and values at a time and sent {sent:,} bytes.",
    lambda far, share, sent: far < 1e-5 and sent == 3 * 2 * k.nbytes // 4 and share == 25,
    far=far,
    share=100 * len(around.results[0][0]) / 64,
    sent=around.sent[0],
)

# %% folded=true
fig, ax = axes(xlabel="part of the keys", ylabel="rank (part of the queries)", size=(4.6, 3.4))
work = np.array([[2 if key < query else key == query for key in range(4)] for query in range(4)])
ax.imshow(work, cmap="Blues", vmin=0, vmax=3)
for query in range(4):
    for key in range(4):
        ax.text(key, query, ["none", "half", "all"][int(work[query, key])], ha="center", va="center")
ax.set(xticks=range(4), yticks=range(4), title="Causal work of each rank: uneven")
finish(fig)

# %% [markdown]
# The last of four ranks has seven times the work of the first. So real systems give each rank a part from the front
# and one from the back: with 2p parts, rank r takes parts r and 2p − 1 − r (Llama 3, 2407.21783, section 3.3.2).
#
# ## 7 · A planner
#
# **Which split for which cluster?** Now the pieces make a plan. Compute: the FLOPs of lecture 02 over all devices, at
# 60 % of their peak. That share is an **assumed** efficiency, the same for every run; neither of the two papers below
# gives it. Tensor parallel: two all-reduces in each pass of a layer, over the links within a node. Pipeline: the
# bubble, divided by v for interleaved stages. Data parallel: a reduce-scatter of gradients and an all-gather of
# weights between nodes, here without overlap.


# %%
#| export
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


# %% [markdown]
# Four runs of Megatron-LM on A100s (2104.04473, table 1; they recompute, and count that work) and two of Llama 3 405B
# on H100s (2407.21783, table 4). Their numbers are teraFLOP/s of a device. **Assumed**, because the papers do not say
# it in these tables: one sequence a microbatch, Llama's 16 pipeline ranks with eight pieces each, and links of 300
# and 25 GB/s (A100), 450 and 50 GB/s (H100) each way.
#
# **Predict.** 1,008 billion parameters on 3,072 A100s, whose peak is 312 teraFLOP/s, recomputed work counted. How
# many teraFLOP/s does our planner say that each device reaches?

# %%
guess = None  # teraFLOP/s of a device

A100 = Cluster(312e12, 80e9, 300e9, 25e9)
H100 = Cluster(989e12, 80e9, 450e9, 50e9)


def megatron(heads, d_model, layers):
    return ModelShape(51_200, 2_048, d_model, layers, heads, 4 * d_model, bias=True, tied_embeddings=True)


LLAMA_405B = ModelShape(128_256, 8_192, 16_384, 126, 128, 53_248, num_kv_heads=8, glu=True)
RUNS = [  # name, shape, sequences a step, split, cluster, recompute, published teraFLOP/s
    ("18 B", megatron(48, 6_144, 40), 1_024, Split(8, 1, 32), A100, True, 135),
    ("76 B", megatron(80, 10_240, 60), 1_792, Split(8, 4, 32), A100, True, 140),
    ("310 B", megatron(128, 16_384, 96), 2_160, Split(8, 16, 15), A100, True, 155),
    ("1008 B", megatron(160, 25_600, 128), 3_072, Split(8, 64, 6), A100, True, 163),
    ("405 B, 8k GPUs", LLAMA_405B, 2_048, Split(8, 16, 64, 8), H100, False, 430),
    ("405 B, 16k GPUs", LLAMA_405B, 2_048, Split(8, 16, 128, 8), H100, False, 400),
]
plans = {name: plan(*rest[:4], recompute=rest[4]) for name, *rest in RUNS}
ours = {name: plans[name].mfu * cluster.peak_flops / 1e12 * (4 / 3 if again else 1) for name, _, _, _, cluster, again, _ in RUNS}  # fmt: skip

# %% folded=true
# run this cell to compare your guess
because = {"too large": "60 % of the peak is 187, and sums, the bubble and gradients take time on top"}
reveal("planned, teraFLOP/s", ours["1008 B"], guess, within=1.15, because=because, shown=f"{ours['1008 B']:.0f}")
fig, (left, right) = axes(1, 2, size=(9.4, 3.6))
rows = np.arange(len(RUNS))
left.barh(rows - 0.2, [run_[-1] for run_ in RUNS], 0.38, color=COLORS["black"], label="published")
left.barh(rows + 0.2, list(ours.values()), 0.38, color=COLORS["sky_blue"], label="planned")
left.set(yticks=rows, yticklabels=list(ours), xlabel="teraFLOP/s of a device", ylabel="parameters", title="Published and planned", xlim=(0, 620))  # fmt: skip
left.invert_yaxis()
left.legend(loc="upper right")
start = np.zeros(len(RUNS))
for part, color in (("compute", "blue"), ("tensor", "orange"), ("bubble", "vermillion"), ("data", "green")):
    share = np.array([100 * one.seconds[part] / sum(one.seconds.values()) for one in plans.values()])
    right.barh(rows, share, left=start, color=COLORS[color], label=part)
    start += share
right.set(yticks=rows, yticklabels=[], ylabel="the same runs", xlabel="planned share of a step (%)", title="Where the time goes", ylim=(6.9, -0.6))  # fmt: skip
right.legend(loc="lower center", ncols=4, fontsize=8)
display(finish(fig))
factor = max(max(ours[r[0]] / r[-1], r[-1] / ours[r[0]]) for r in RUNS)
held = {name: sum(one.bytes.values()) / 1e9 for name, one in plans.items()}
claim(
    7,
    "With one assumed efficiency the planner is within a factor of {factor:.2f} of six published runs; on devices of 80 GB it plans {small:.0f} to {large:.0f} GB for Megatron's four, and {llama:.0f} GB for Llama's first.",
    lambda factor, small, large, llama: factor < 1.3 and 0 < small < large < 80 and llama > large,
    factor=factor,
    small=min(list(held.values())[:4]),
    large=max(list(held.values())[:4]),
    llama=held["405 B, 8k GPUs"],
)

# %% [markdown]
# For Llama the planner asks for more memory than a device has, and yet the run happened. Its 34 bytes of activations
# for each number of the residual stream are those of a GPT with dropout (2205.05198). Llama has none, and its
# trainers free tensors as early as they can.
#
# The planner leaves out overlap, stragglers, loading of data and checkpoints, and one assumed efficiency stands for
# all kernels. It shows what limits a split. Whether it would choose the better of two splits of one run was not
# tested here.
#
# **Try it**: give the model of 1,008 billion parameters an interleaved pipeline with two pieces. Which part shrinks,
# and by how much?
#
# ## Answers
#
# Every sentence below was tested on the numbers in it while this notebook ran; a false one would have stopped its cell.

# %%
claims()

# %% [markdown]
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | An all-reduce over more ranks costs proportionally more bytes | In a ring a rank sends less than twice the tensor, however many there are; the number of steps grows. |
# | ZeRO needs more communication than data parallel | Stages 1 and 2 send as much as an all-reduce; stage 3 one and a half times as much (1910.02054). |
# | Data parallel training is exact | It is exact up to the order of sums, and the ranks are equal bit for bit among themselves. |
# | 1F1B has a smaller bubble than GPipe | The same bubble; it holds fewer activations. |
# | Ring attention approximates | It is exact; what is uneven is the causal work. |
#
# ## What you built
#
# `cs336lite.parallel`: `train_replicas` and `train_sharded`; `parallel_heads` and `vocabulary_loss`; `gpipe`,
# `timeline` and `pipeline`; `ring_attention`; `Cluster`, `Split` and `plan`. They run on `cs336lite.collectives`, in
# one process or in many.
#
# ## Limits
#
# - Everything ran on one processor. Bytes and results carry over; times do not.
# - Bytes of collectives are counted by the ring's formulas. Libraries choose other algorithms too, trees for small
#   messages and sums inside the switch.
# - The models are small, and each kind of parallelism stands alone. Real runs combine three or four.
# - Experts can be shared out, too. Their all-to-all is in lecture 06.
#
# ## Exercises for longer evenings
#
# - Write `train_sharded` layer by layer, with a second all-gather in the backward pass, and compare the bytes.
# - Balance `ring_attention` with a part from the front and one from the back of the text for each rank.
#
# ## Sources
#
# Rajbhandari et al. 2019, ZeRO (arXiv 1910.02054) · Zhao et al. 2023, FSDP (2304.11277) · Li et al. 2020, PyTorch DDP
# (2006.15704) · Shoeybi et al. 2019, Megatron-LM (1909.08053) · Narayanan et al. 2021 (2104.04473) · Korthikanti et
# al. 2022 (2205.05198) · Huang et al. 2018, GPipe (1811.06965) · Harlap et al. 2018, PipeDream (1806.03377) · Qi et
# al. 2023, zero bubble (2401.10241) · Liu et al. 2023, ring attention (2310.01889) · Llama team 2024 (2407.21783).
#
# ## Next
#
# [Appendix 10x](appendix/10x_real_tools.ipynb) does the same with PyTorch's own tools: torchrun, DDP, FSDP2, DTensor.
#
# On the page **99 · your own model** the parts that you have written become one model, which you train and read.

# %%
finished("10_parallelism")
