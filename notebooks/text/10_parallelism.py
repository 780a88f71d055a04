# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: parallel, minutes: 2, prerequisites: [09_inference], device: CPU}
# ---

# %% [markdown]
# # 10 · Parallelism (并行)
#
# {badge} · prerequisites: 02, 03, 07 · device: CPU
#
# A model of 405 billion parameters does not fit into one device, and one device would need centuries to train it. So many
# devices share the work, and then they must talk. This lecture shows who holds what, who says what to whom, and what it
# costs. All of it runs here, on ranks in one process and on real processes that talk through gloo.
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
# The answers stand at the end, each with the numbers of your run. Write your guess in place of `None` before you run a cell
# below a **Predict** box. Four exercises ask for a few lines each; none is graded.

# %%
import numpy as np
from IPython.display import display

from cs336lite.collectives import run, run_processes
from cs336lite.course import check, finished, hint
from cs336lite.course.claims import claim, claims
from cs336lite.course.diagram import Diagram
from cs336lite.course.exercise import solution
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish

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
d.text(24, 0.8, "after")
before = [["a0 a1 a2", "b0 b1 b2", "c0 c1 c2"]]
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
# **The cost of a sum.** The simple way: all ranks send their tensor to rank 0, which adds and sends the sum back. Rank 0 then
# receives and sends everything, one message after the other. A *ring* (环形) shares this work. The tensor is cut into p
# chunks. In each of p − 1 steps every rank passes one chunk to its right neighbour, which adds its own: a
# reduce-scatter. In p − 1 more steps the finished chunks go round: an all-gather. You write this in assignment a7.
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
fig, ax = axes(xlabel="ranks", ylabel="MB sent by the busiest rank, tensor of 8 MB", size=(6.5, 3.2))
counts = [2, 3, 4, 6, 8, 12, 16]
for name, program, color, mark in (("through rank 0", by_root, "vermillion", "o"), ("ring", by_ring, "blue", "s")):
    ax.plot(
        counts, [max(run(program, p, big).sent) / 1e6 for p in counts], f"{mark}-", color=COLORS[color], label=name
    )
ax.set(title="A ring never sends more than twice the tensor")
ax.legend()
finish(fig)

# %% [markdown]
# **How long?** A message takes a *latency* (延迟) that does not depend on its size, and its bytes over the *bandwidth* (带宽).
# A ring of p ranks has $2(p-1)$ steps, each with a chunk of $n/p$ bytes:
# $t = 2(p-1)\,(\text{latency} + n / (p \cdot \text{bandwidth}))$.


# %% exercise="all_reduce_seconds" minutes=5 difficulty=1
def all_reduce_seconds(nbytes: float, ranks: int, latency: float, bandwidth: float) -> float:
    """Seconds of a ring all-reduce of so many bytes: latency in seconds a message, bandwidth in bytes a second."""
    ### BEGIN SOLUTION
    return 2 * (ranks - 1) * (latency + nbytes / ranks / bandwidth)
    ### END SOLUTION


# %%
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


# %% tags=["timing"]
SIZES = [4 * 4**i for i in range(4, 12)]  # 1 kB to 16 MB
seconds = np.max(run_processes(time_all_reduce, 2, SIZES).results, axis=0)
few, many = seconds[0], seconds[-1]
latency, bandwidth = few / 2, SIZES[-1] / (many - few)
fig, ax = axes(xlabel="bytes (logarithmic)", ylabel="milliseconds (logarithmic)", size=(6.5, 3.2))
ax.plot(SIZES, 1e3 * seconds, "o", color=COLORS["blue"], label="measured, 2 processes, least of 7")
model = [1e3 * all_reduce_seconds(n, 2, latency, bandwidth) for n in SIZES]
ax.plot(SIZES, model, "--", color=COLORS["vermillion"], label=f"{1e6 * latency:.0f} µs + bytes / {bandwidth / 1e9:.2f} GB/s")  # fmt: skip
ax.set(xscale="log", yscale="log", title="gloo on this machine: flat while latency counts, then a slope")
ax.legend()
display(finish(fig))
claim(
    1,
    "On this machine an all-reduce of 16 MB takes {times:.0f} times as long as one of 1 kB, which has 16,384 times fewer bytes.",
    lambda times: 1 < times < 8_000,
    times=many / few,
)

# %% [markdown]
# The line goes through the smallest and the largest size; the sizes between show how good two numbers are as a
# description. Below the bend, many small messages are a waste. That is why gradients are sent in buckets.
