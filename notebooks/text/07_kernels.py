# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: gpu_model, minutes: 2, prerequisites: [02_tensors, 03b_variants], device: CPU or GPU}
# ---

# %% [markdown]
# # 07 · GPU kernels (GPU 算子)
#
# {badge} · prerequisites: 02, 03b, some NumPy · device: CPU, by Triton's interpreter; a GPU is used if there is one
#
# A model is a list of operations. Each reads its inputs from memory and writes its result back, and on a GPU most of the
# time of most operations goes there. A *kernel* (核函数) of your own can do several operations while the numbers are on the
# chip. You will write some in [Triton](https://triton-lang.org), and read FlashAttention whole. They run on a CPU, slowly,
# in Triton's interpreter, and unchanged on a GPU. Triton runs on Linux, and on Windows inside WSL. Where it is missing, the
# cells that need it show what the course's own run has shown.
#
# ## Questions
#
# 1. Why does it matter which numbers lie side by side in memory?
# 2. How is a kernel timed, and what spoils the measurement?
# 3. What is a program, what is a tile, and how much memory traffic does an addition cause?
# 4. What does fusion (融合) save, and compared with what?
# 5. Can softmax know its maximum and its sum after a single pass?
# 6. Why are matrix products computed in tiles?
# 7. Is FlashAttention exact, and what does it save?
# 8. How many programs fit on a multiprocessor at once?
#
# The answers stand at the end, each with the numbers of your run. Write your guess in place of `None` before you run a cell
# below a **Predict** box. Six exercises ask for a few lines each, in the manner of
# [Triton-Puzzles](https://github.com/srush/Triton-Puzzles). None is graded.

# %%
import itertools
import time

import numpy as np
import torch
import torch.nn.functional as F

from cs336lite.backend import BACKEND, DEVICE, REASON, jit, tl, triton
from cs336lite.course import check, finished, hint
from cs336lite.course.claims import claim, claims
from cs336lite.course.diagram import Diagram
from cs336lite.course.exercise import solution
from cs336lite.course.kernel_lab import Kernels, asked, compiled, fetched, operation_bytes, watch
from cs336lite.course.measure import best_seconds, reveal
from cs336lite.course.plot import COLORS, axes, finish

KERNELS = Kernels("07_kernels")  # true where they can run
INTERPRETED = BACKEND == "interpreter"
torch.manual_seed(0)
torch.set_num_threads(1)
print(f"{BACKEND}: {REASON}")

# %% folded=true
#| export
"""What a GPU's hardware does with a kernel, in plain numbers: banks of shared memory, programs on a multiprocessor, tiles.

Nothing here needs a GPU or Triton. Built in notebooks/07_kernels.ipynb.
"""

from collections import Counter
from collections.abc import Sequence

# %% [markdown]
# ## 1 · Where the time goes
#
# **Why is moving numbers the expensive part?** An H100 has 132 *streaming multiprocessors* (SM, 流多处理器). Each keeps what
# it works on in registers and in *shared memory* (共享内存). Everything else comes over the L2 cache from HBM (显存), and every
# step away is larger, slower and further.

# %% folded=true
layers = ["registers", "shared memory, L1", "L2 cache", "HBM"]
fig, panels = axes(1, 3, ylabel="layer of an H100", size=(9, 2.5), sharey=True)
for ax, title, unit, values in (
    (panels[0], "Size", "MB", [33, 30, 50, 80_000]),
    (panels[1], "Bandwidth, all together", "TB/s", [0, 30, 6, 3.35]),
    (panels[2], "Wait for a number", "clocks", [1, 30, 260, 480]),
):
    bars = ax.barh(layers, values, color=[COLORS[c] for c in ("green", "sky_blue", "orange", "vermillion")])
    ax.bar_label(bars, [f"{v:,}" if v else "" for v in values], padding=3, fontsize=9)
    ax.set(title=title, xlabel=f"{unit} (logarithmic)", xscale="log")
    ax.set_xlim(0.5, max(values) * 40)
panels[0].invert_yaxis()
for ax in panels[1:]:
    ax.set_ylabel(" ")
finish(fig)

# %% [markdown]
# Sizes and HBM's bandwidth are NVIDIA's (H100 SXM). It publishes no bandwidth of registers. Shared memory gives 128 bytes a
# clock on each SM. L2's bandwidth and the waits are orders
# of magnitude: NVIDIA does not publish them, and those who measure (such as arXiv 2402.13499) differ by half and more.
#
# An SM runs *warps* (线程束) of 32 threads that execute one instruction together. While one warp waits for memory, another
# runs: with waits of hundreds of clocks, many must be ready.
#
# Memory comes in *sectors* of 32 bytes. When the threads of a warp read neighbours, everything that was fetched is used:
# the access is *coalesced* (合并访存). By hand: 32 threads read 32 float32 numbers, 128 bytes. Side by side they lie in 4
# sectors. Two apart, they lie in 8, and half of what is fetched is thrown away.

# %% folded=true
d = Diagram(92, 8.6)
for y, stride, name in ((0.6, 1, "coalesced: stride 1"), (4.6, 4, "strided: stride 4")):
    d.text(1, y, f"{name}; 8 threads of the warp, sectors of 8 float32 numbers")
    for i in range(32):
        read = i % stride == 0 and i // stride < 8
        wide = 2.6
        d.box(2 + wide * i + 0.8 * (i // 8), y + 1.4, color="blue" if read else "grey", width=wide - 0.25, height=0.9)
    touched = 1 if stride == 1 else 4
    for sector in range(touched):
        left = 2 + (8 * 2.6 + 0.8) * sector
        d.line((left, y + 2.7), (left + 20.5, y + 2.7), color="vermillion", width=3)
d.text(66, 3.3, "fetched: 1 sector", color="vermillion")
d.text(66, 7.9, "fetched: 4 sectors", color="vermillion")
d.show()

# %% [markdown]
# ### Exercise 1: count sectors


# %% exercise="sectors" minutes=6 difficulty=1
def sectors(stride: int, itemsize: int = 4) -> int:
    """How many 32-byte sectors a warp touches: thread i of 32 reads the number at byte i * stride * itemsize."""
    ### BEGIN SOLUTION
    return len({i * stride * itemsize // 32 for i in range(32)})
    ### END SOLUTION


# %% [markdown]
# **Predict.** A warp reads float32 numbers that lie 8 apart. Which percentage of the fetched bytes does it use?

# %%
guess = None  # percent

STRIDES = (1, 2, 4, 8, 16, 32)
used = {stride: 100 * 32 * 4 / (32 * sectors(stride)) for stride in STRIDES}

# %% folded=true
# run this cell to compare your guess
because = {100 / 8 / 4: "a number has 4 bytes: a sector holds 8 of them", 100: "neighbours in the warp are not neighbours in memory here"}  # fmt: skip
reveal("percent used", used[8], guess, within=1.05, because=because, shown=f"{used[8]:.1f}")
fig, ax = axes(xlabel="stride (numbers of 4 bytes)", ylabel="used of what is fetched (%)", size=(6.4, 2.8))
ax.bar([str(stride) for stride in STRIDES], list(used.values()), color=COLORS["blue"])
ax.set(title="One warp of 32 threads, sectors of 32 bytes")
finish(fig)

# %% [markdown]
# From a stride of 8 on, every number has a sector of its own and it cannot get worse. A column of a matrix that is stored
# row by row is such an access. That is why kernels below let threads run along rows.
#
# ## 2 · How to measure
#
# **What does a stopwatch show?** Four things spoil a timing:
#
# - **The first call** compiles, allocates and fills caches. *Warm up*: call, and throw the time away.
# - **A GPU works on after the call has returned.** Without `torch.cuda.synchronize()`, or a pair of *events*, you time
#   the launch.
# - **The cache.** A second run finds its input in the L2 cache. In a model it would not. *Flush*: write something large
#   in between.
# - **Other programs.** Repeat, let contenders take turns, and take the median or the least.
#
# On a GPU, `triton.testing.do_bench(f)` does all of it: warm-up, events, a flush before each call, the median. On a CPU
# the same rules hold, without the events.


# %% tags=["timing"]
def once(function) -> float:
    """Seconds of one call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def cold_and_warm(function, flush) -> tuple[float, float]:
    """The least seconds of a call after a flush of the cache, and right after another call."""
    cold = min((flush(), once(function))[1] for _ in range(5))
    warm = min((function(), once(function))[1] for _ in range(5))
    return cold, warm


large = torch.zeros(48 * 2**20)  # 192 MB: more than most caches
x = torch.randn(2**17)  # half a megabyte
cold, warm = cold_and_warm(lambda: x + 1, lambda: large.add_(1))
print(f"x + 1 on half a megabyte: {1e6 * cold:.0f} µs after a flush, {1e6 * warm:.0f} µs with warm caches")

# %% [markdown]
# A call has a price of its own, too. **Predict.** How many times as long *per number* does `x + 1` take with 10 numbers as
# with a million?

# %% tags=["timing"]
guess = None  # times

SIZES = [10, 100, 1_000, 10_000, 100_000, 1_000_000]
inputs = [torch.randn(n) for n in SIZES]
took = best_seconds(*(lambda x=x: x + 1 for x in inputs), least=0.05)
per_number = [1e9 * t / n for t, n in zip(took, SIZES)]

# %% folded=true tags=["timing"]
# run this cell to compare your guess
times = per_number[0] / per_number[-1]
reveal("times as long a number", times, guess, within=2, because={"too small": "with 10 numbers nearly all of the time is the call itself"}, shown=f"{times:.0f}")  # fmt: skip
print(claim(2, "Small sizes time the call and not the work: with 10 numbers an addition takes {times:.0f} times as long per number as with a million.", lambda times: times > 10, times=times))  # fmt: skip
fig, ax = axes(xlabel="numbers", ylabel="nanoseconds a number", size=(6.4, 2.8))
ax.loglog(SIZES, per_number, "o-", color=COLORS["blue"])
ax.set(title="x + 1 on this machine, least of many calls")
finish(fig)

# %% [markdown]
# A GPU's launch costs a few microseconds, in which an H100 could move 10 MB or more. Fusing saves launches as well as
# bytes.
#
# **To measure the kernels on a GPU**, run one command in the full repository: `python benchmarks/kernels.py`. It
# compares results first, times each kernel beside PyTorch, `torch.compile` and known libraries, and writes a file.
# This lecture has no GPU and shows no GPU's time. It shows what holds without one: bytes, which the interpreter
# counts, and what the compiler makes of the source.
#
# ## 3 · Vector add: the form of every kernel
#
# **What do you write?** One **program** (程序), which works on one **tile** (块) of numbers; a *grid* of programs covers
# the tensor. A program asks which one it is, works out the addresses of its tile, loads, computes, stores. A *mask*
# hides what lies beyond the end. By hand, 10 numbers in tiles of 4: program 2 has offsets 8, 9, 10, 11, and its mask
# lets 8 and 9 through.

# %% folded=true
d = Diagram(92, 7.4)
d.text(1, 0.7, "x_ptr + program · BLOCK + arange(0, BLOCK), with BLOCK = 4 and n = 10")
for i in range(12):
    color = ("blue", "orange", "green")[i // 4] if i < 10 else "grey"
    d.box(2 + 5.4 * i + 2 * (i // 4), 3.6, str(i), width=5, color=color)
for program, color in enumerate(("blue", "orange", "green")):
    left = 2 + 23.6 * program
    d.box(left, 1.6, f"program {program}", width=21.2, color=color)
    d.arrow((left + 10.6, 2.9), (left + 10.6, 3.5))
d.text(60, 5.7, "mask: 10 and 11 are not", color="grey")
d.text(60, 6.6, "there, and not read", color="grey")
d.show()


# %%
@jit
def add_kernel(z_ptr, x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)  # the offsets of my tile
    x = tl.load(x_ptr + i, mask=i < n)
    y = tl.load(y_ptr + i, mask=i < n)
    tl.store(z_ptr + i, x + y, mask=i < n)


def add(x, y, block: int = 1024):
    """x + y, both contiguous and of one shape."""
    z = torch.empty_like(x)
    add_kernel[(triton.cdiv(x.numel(), block),)](z, x, y, x.numel(), BLOCK=block)
    return z


x, y = torch.randn(30_000, device=DEVICE), torch.randn(30_000, device=DEVICE)
assert not KERNELS or torch.equal(add(x, y), x + y)

# %% [markdown]
# `BLOCK` is a `tl.constexpr`: known when the kernel is compiled, and a power of two. **Predict.** 30,000 numbers in
# tiles of 1,024: how many programs run? How many bytes do they load and store?

# %%
guess_programs = guess_bytes = None

seen = watch(lambda: add(x, y)) if INTERPRETED else []

# %% folded=true
# run this cell to compare your guess
if KERNELS.or_show("programs of the addition") and INTERPRETED:
    programs, moved = len({one.program for one in seen}), asked(seen)
    reveal(
        "programs",
        programs,
        guess_programs,
        within=1,
        because={29: "29 tiles hold 29,696 numbers; the rest needs one more"},
    )
    reveal("bytes", moved, guess_bytes, within=1, because={4 * 3 * 1024 * 30: "masked elements are not read", 4 * 30_000: "three tensors: two are read, one is written"})  # fmt: skip
    print(claim(3, "{programs} programs with a tile each add 30,000 numbers, and move {moved:,} bytes: two tensors read, one written, nothing twice.", lambda programs, moved: programs == -(-30_000 // 1024) and moved == 3 * 4 * 30_000, programs=programs, moved=moved))  # fmt: skip
elif KERNELS:
    print(claim(3, "{n:,} sums of programs on this GPU are right.", lambda n: n == 30_000, n=int((add(x, y) == x + y).sum())))  # fmt: skip

# %% [markdown]
# The interpreter runs the same source in NumPy, program after program, so every load can be written down. Sectors can be
# counted, too. Here a program reads a column of a matrix, and then a row.


# %%
@jit
def sum_kernel(out_ptr, x_ptr, stride, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i * stride, mask=i < BLOCK)
    tl.store(out_ptr + i, x, mask=i < 1)


def share(stride: int) -> float:
    """Percent of the fetched bytes that loads of 64 numbers so far apart use."""
    square, out = torch.randn(64, 64, device=DEVICE), torch.empty(64, device=DEVICE)
    loads = [one for one in watch(lambda: sum_kernel[(1,)](out, square, stride, BLOCK=64)) if one.kind == "load"]
    return 100 * asked(loads) / fetched(loads)


# %%
if INTERPRETED:
    row, column = share(1), share(64)
    print(claim(1, "A program that reads a row uses {row:.0f} % of the sectors it touches, one that reads a column {column:.1f} %.", lambda row, column: row > 85 and column < 15, row=row, column=column))  # fmt: skip
else:
    print(claim(1, "With a stride of 8 numbers a warp uses {used:.1f} % of what it fetches.", lambda used: used < 15, used=used[8]))  # fmt: skip

# %% [markdown]
# ## 4 · Softmax in one reading
#
# **What does a fused kernel save?** Written out in PyTorch's basic operations, softmax is five: maximum, difference,
# exponential, sum, quotient. Each reads from memory and writes back. A program that holds a row on the chip reads it
# once and writes once.

# %% folded=true
d = Diagram(92, 9)
d.text(1, 0.7, "x_ptr + row · n + arange(0, BLOCK): n = 6 columns, BLOCK = 8")
for r, color in enumerate(("blue", "orange", "green")):
    d.box(1, 1.6 + 1.7 * r, f"program {r}", width=12, color=color)
    d.arrow((13.2, 2.25 + 1.7 * r), (17, 2.25 + 1.7 * r))
    for c in range(8):
        d.box(
            17.5 + 5.4 * c, 1.6 + 1.7 * r, str(6 * r + c) if c < 6 else "−∞", width=5, color=color if c < 6 else "grey"
        )
d.text(63, 2.3, "max, exp, sum, quotient")
d.text(63, 3.3, "happen in registers")
d.text(17.5, 7.4, "masked columns get −∞ (other=): they change neither the maximum nor the sum", color="grey")
d.show()

# %% [markdown]
# ### Exercise 2: a row for each program
#
# The specification is `x.softmax(dim=1)`, for `x` of shape (rows, n) stored row by row, and `BLOCK` at least `n`.
# Logits may be as large as 1,000. Use `tl.max`, `tl.exp`, `tl.sum`.


# %% exercise="softmax_rows" minutes=12 difficulty=2
def softmax_rows(y_ptr, x_ptr, n, BLOCK: tl.constexpr):
    """Program r writes the softmax of row r of x to row r of y."""
    ### BEGIN SOLUTION
    row, col = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + col, mask=col < n, other=-float("inf"))
    powers = tl.exp(x - tl.max(x, axis=0))
    tl.store(y_ptr + row * n + col, powers / tl.sum(powers, axis=0), mask=col < n)
    ### END SOLUTION


# %%
def softmax_in_steps(x):
    powers = torch.exp(x - x.amax(dim=1, keepdim=True))
    return powers / powers.sum(dim=1, keepdim=True)


softmax_kernel = jit(softmax_rows)


def fused_softmax(x):
    y = torch.empty_like(x)
    softmax_kernel[(len(x),)](y, x, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return y


x = torch.randn(64, 500, device=DEVICE)
if KERNELS.or_show("error of softmax"):
    worst = (fused_softmax(x).double() - x.double().softmax(1)).abs().max().item()
    print(f"largest error {worst:.1e}")

# %% [markdown]
# Which comparison is fair? `torch.softmax` is one fused kernel already. So three contenders stand in a row, their
# bytes counted the same way: inputs read plus outputs written, in units of `x`.
#
# **Predict.** How many units does softmax in steps move? And how many does `torch.softmax`?

# %%
guess_steps = guess_torch = None  # units of x

units = {
    "in steps": operation_bytes(lambda: softmax_in_steps(x)) / x.nbytes,
    "torch.softmax": operation_bytes(lambda: x.softmax(1)) / x.nbytes,
}
if INTERPRETED:
    units["our kernel"] = asked(watch(lambda: fused_softmax(x))) / x.nbytes

# %% folded=true
# run this cell to compare your guess
because = {10: "the maximum and the sum write a single number for each row", "too small": "each of the five operations reads its input again"}  # fmt: skip
reveal("in steps", units["in steps"], guess_steps, within=1.06, because=because, shown=f"{units['in steps']:.1f}")
reveal("torch.softmax", units["torch.softmax"], guess_torch, within=1.06, because={"too large": "it is fused: one reading, one writing"}, shown=f"{units['torch.softmax']:.1f}")  # fmt: skip
print(claim(4, "Softmax in steps moves {steps:.1f} times the bytes of x, torch.softmax {fused:.1f}: a kernel of one's own saves {saved:.1f} times against the steps, and nothing against a library that has fused already.", lambda steps, fused, saved: steps > 3 * fused and fused == 2 and saved > 3, steps=units["in steps"], fused=units["torch.softmax"], saved=units["in steps"] / units["torch.softmax"]))  # fmt: skip

# %% [markdown]
# So a kernel pays where no fused one exists, or where it can swallow its neighbours. `torch.compile` finds many such
# fusions by itself and writes Triton kernels like yours; it is the peer to beat. It has no number here, because this
# count sees PyTorch's operations and not what lies inside the code that a compiler made; on a GPU, the full
# repository's `benchmarks/kernels.py` times it beside our kernels.
#
# ## 5 · RMSNorm
#
# **The second of this kind.** $y_i = x_i\, w_i / \sqrt{\overline{x^2} + \varepsilon}$, with one gain $w_i$ for each
# column. By hand: $x = (3, 4)$ and $w = (1, 2)$. The mean square is 12.5, its root 3.54, so $y = (0.85, 2.26)$.
#
# ### Exercise 3: reduce, then scale
#
# The specification is `F.rms_norm(x, (n,), w, eps)`. Think about `other=`: which value leaves a sum of squares
# unchanged? And the mean is over `n` numbers, not over `BLOCK`.


# %% exercise="rms_rows" minutes=12 difficulty=2
def rms_rows(y_ptr, x_ptr, w_ptr, n, eps, BLOCK: tl.constexpr):
    """Program r writes x[r] * w / sqrt(mean(x[r] ** 2) + eps) to y[r]."""
    ### BEGIN SOLUTION
    row, col = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + col, mask=col < n, other=0.0)
    w = tl.load(w_ptr + col, mask=col < n, other=0.0)
    r = 1 / tl.sqrt(tl.sum(x * x, axis=0) / n + eps)
    tl.store(y_ptr + row * n + col, x * r * w, mask=col < n)
    ### END SOLUTION


# %%
rms_kernel = jit(rms_rows)


def fused_rms(x, w):
    y = torch.empty_like(x)
    rms_kernel[(len(x),)](y, x, w, x.shape[1], 1e-5, BLOCK=triton.next_power_of_2(x.shape[1]))
    return y


w = torch.rand(500, device=DEVICE) + 0.5
logits, targets = torch.randn(64, 500), torch.randint(0, 500, (64,))
rows = {
    "softmax": [units["in steps"], units["torch.softmax"]],
    "RMSNorm": [operation_bytes(f) / x.nbytes for f in (lambda: x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-5) * w, lambda: F.rms_norm(x, (500,), w, 1e-5))],
    "cross-entropy": [operation_bytes(f) / logits.nbytes for f in (lambda: -softmax_in_steps(logits).log()[range(64), targets].mean(), lambda: F.cross_entropy(logits, targets))],
}  # fmt: skip
if KERNELS.or_show("error of RMSNorm"):
    print(f"largest error {(fused_rms(x, w) - F.rms_norm(x, (500,), w, 1e-5)).abs().max().item():.1e}")

# %% folded=true
fig, ax = axes(xlabel="bytes moved, in units of the input (forward)", ylabel="operation", size=(7, 3))
for shift, color, name, i in (
    (-0.2, "sky_blue", "basic operations, one by one", 0),
    (0.2, "vermillion", "PyTorch's own function", 1),
):
    ax.barh(np.arange(3) + shift, [rows[n][i] for n in rows], 0.38, color=COLORS[color], label=name)
ours = {"softmax": asked(watch(lambda: fused_softmax(x))) / x.nbytes, "RMSNorm": asked(watch(lambda: fused_rms(x, w))) / x.nbytes} if INTERPRETED else {}  # fmt: skip
if ours:
    ax.plot(list(ours.values()), range(2), "D", color=COLORS["black"], label="our kernels")
ax.set(
    yticks=range(3),
    yticklabels=list(rows),
    title="Forward: in steps, by PyTorch, by us",
    ylim=(2.6, -0.6),
    xlim=(0, 19),
)
ax.legend(loc="upper right")
finish(fig)

# %% [markdown]
# Every bar counts whole inputs and outputs of each operation that PyTorch ran on this CPU; a library function that is
# several operations inside shows as several. `F.rms_norm` is such a case where a backend has no fused kernel. Our
# RMSNorm reads $w$ again in each program, so it lies a unit higher; on a GPU the L2 cache serves these reads.
#
# The backward pass of RMSNorm also needs a sum over *rows* for $w$. [The appendix](appendix/07x_fused.ipynb) does it:
# a fixed number of programs each sum over their share of the rows, and one short sum joins them.
#
# ## 6 · Online softmax (在线 softmax)
#
# **What if a row does not fit on the chip?** It comes in pieces, and the maximum is known only at the end. One pass
# for the maximum and one for the sum? Milakov and Gimelshein (arXiv 1805.02867) need one. Keep the maximum *so far*,
# $m$, and the sum relative to it, $s$. When a piece brings a larger maximum $m'$, correct the sum:
#
# $$s \leftarrow s\, e^{m - m'} + \sum_i e^{x_i - m'}, \qquad m \leftarrow m'$$
#
# By hand, with powers of 2 instead of $e$, for the row 1, 2, 4, 3 in pieces of two. First piece: $m = 2$, $s = 2^{-1}
# + 2^0 = 1.5$. Second piece: $m' = 4$, so $s = 1.5 \cdot 2^{2-4} + 2^0 + 2^{-1} = 1.875$. All at once: $2^{-3} +
# 2^{-2} + 1 + 2^{-1} = 1.875$.
#
# ### Exercise 4: the step


# %% exercise="online_step" minutes=10 difficulty=3
def online_step(m, s, piece):
    """(m, s) after one more piece, a tensor (k,): m the maximum so far, s the sum of exp(x - m). It begins at (-inf, 0)."""
    ### BEGIN SOLUTION
    new = torch.maximum(m, piece.max())
    return new, s * torch.exp(m - new) + torch.exp(piece - new).sum()
    ### END SOLUTION


# %% [markdown]
# **Predict.** A row of 64 random numbers that grow slowly, in pieces of 8. After the first piece, how often does the
# maximum grow, so that the sum must be corrected?

# %%
guess = None  # times

row = torch.randn(64, generator=torch.Generator().manual_seed(3)).double() + torch.linspace(0, 2, 64).double()
m, s = torch.tensor(-torch.inf, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
history = []
for piece in row.split(8):
    m, s = online_step(m, s, piece)
    history.append((m.item(), s.item()))
tops, sums = zip(*history)
corrected = sum(b > a for a, b in itertools.pairwise(tops))

# %% folded=true
# run this cell to compare your guess
reveal("corrections", corrected, guess, within=1, because={7: "only a piece with a new maximum corrects the sum"})
error = abs((m + s.log() - torch.logsumexp(row, 0)).item())
print(claim(5, "One pass over 8 pieces, corrected {corrected} times, gives the logarithm of the sum of exponentials to {error:.0e}.", lambda corrected, error: error < 1e-12 and corrected >= 1, corrected=corrected, error=error))  # fmt: skip
fig, (left, right) = axes(1, 2, xlabel="piece", size=(7.8, 3))
left.plot(np.repeat(np.arange(1, 9), 8), row, ".", color=COLORS["sky_blue"], label="numbers of the piece")
left.step(range(1, 9), tops, where="mid", color=COLORS["vermillion"], label="maximum so far, m")
left.set(ylabel="value", title="The maximum", ylim=(-3, 6))
left.legend(loc="upper left", fontsize=8)
right.plot(range(1, 9), sums, "o-", color=COLORS["blue"])
right.set(ylabel="s, sum of exp(x − m)", title="The sum, relative to it", ylim=(0, None))
finish(fig)

# %% [markdown]
# Where the maximum jumps, the sum falls: what was summed before is worth less in the new units. Nothing is
# approximate; it is the same number, summed in another order.
#
# ## 7 · Matrix product in tiles
#
# **Why tiles?** A program that computed one number of $C = AB$ would read a row of $A$ and a column of $B$ for it,
# $2K$ numbers. A program that computes a tile of $M \times N$ reads $M + N$ strips of length $K$ for $MN$ numbers. By
# hand: tiles of $2 \times 2$ halve the reading, tiles of $100 \times 100$ read a hundred times less.

# %% folded=true
d = Diagram(92, 10.4)
d.grid(2, 5, [["a"] * 6] * 2, "orange", width=3)
d.text(2, 8.4, "A: M rows, a step of K at a time →", color="orange")
d.grid(34, 1, [["b"] * 2] * 6, "green", width=3)
d.text(46, 1.6, "B: N columns,", color="green")
d.text(46, 2.5, "a step of K at a time ↓", color="green")
d.box(56, 5, "C: one tile, M × N,\nin registers", width=22, height=2.6, color="blue")
d.arrow((41, 6.3), (55.6, 6.3), "dot, add up")
d.text(2, 9.6, "a_ptr + row[:, None] · K + k[None, :]      b_ptr + k[:, None] · N + col[None, :]")
d.show()

# %% [markdown]
# ### Exercise 5: the loop
#
# The specification is `a @ b`, for `a` (m, k) and `b` (k, n), both stored row by row, and sizes that are multiples of
# the tile. Program $(i, j)$ makes the tile of rows $iT \ldots iT + T - 1$ and columns $jT \ldots$; the loop goes over
# `k` in steps of `T`. Use `tl.dot(a, b, total, input_precision="ieee")`.


# %% exercise="matmul_tile" minutes=15 difficulty=3
def matmul_tile(c_ptr, a_ptr, b_ptr, m, n, k, T: tl.constexpr):
    """Program (i, j) writes tile (i, j) of c = a @ b; tiles are (T, T), in a loop over k."""
    ### BEGIN SOLUTION
    row, col = tl.program_id(0) * T + tl.arange(0, T), tl.program_id(1) * T + tl.arange(0, T)
    total = tl.zeros((T, T), tl.float32)
    for first in range(0, k, T):
        inner = first + tl.arange(0, T)
        a = tl.load(a_ptr + row[:, None] * k + inner[None, :], mask=inner[None, :] < k)
        b = tl.load(b_ptr + inner[:, None] * n + col[None, :], mask=inner[:, None] < k)
        total = tl.dot(a, b, total, input_precision="ieee")
    tl.store(c_ptr + row[:, None] * n + col[None, :], total, mask=row[:, None] < m)
    ### END SOLUTION


# %%
matmul_kernel = jit(matmul_tile)


def tiled_product(a, b, tile: int):
    c = torch.empty(len(a), b.shape[1], device=a.device)
    matmul_kernel[(len(a) // tile, b.shape[1] // tile)](c, a, b, len(a), b.shape[1], a.shape[1], T=tile)
    return c


a, b = torch.randn(128, 128, device=DEVICE), torch.randn(128, 128, device=DEVICE)
if KERNELS.or_show("error of the product"):
    print(f"largest error {(tiled_product(a, b, 32) - a @ b).abs().max().item():.1e}")

# %% [markdown]
# **Predict.** The product of two 128 × 128 matrices: with tiles of 16 the programs load some number of bytes. With
# tiles of 64, how many times fewer?

# %%
guess = None  # times

TILES = (16, 32, 64, 128)
if INTERPRETED:
    loaded = {t: asked([one for one in watch(lambda t=t: tiled_product(a, b, t)) if one.kind == "load"]) for t in TILES}
else:
    loaded = {t: 2 * 4 * 128**3 // t for t in TILES}

# %% folded=true
# run this cell to compare your guess
because = {16: "a tile of 64 × 64 has 16 times the numbers, and reads 4 times as much for them"}
reveal("times fewer", loaded[16] / loaded[64], guess, within=1, because=because)
print(claim(6, "Tiles four times as wide load {times:.0f} times fewer bytes for the same product.", lambda times: times == 4, times=loaded[16] / loaded[64]))  # fmt: skip
fig, ax = axes(xlabel="tile", ylabel="loaded (units of one matrix)", size=(6.4, 2.8))
ax.bar([f"{t} × {t}" for t in TILES], [loaded[t] / a.nbytes for t in TILES], color=COLORS["blue"])
ax.set(title="A product of 128 × 128: larger tiles, fewer loads")
finish(fig)

# %% [markdown]
# The limit is room: the tile of $C$ stays in registers, and tiles of $A$ and $B$ wait in shared memory. Larger
# products also choose an *order* of programs so that those that run at the same time share strips in the L2 cache;
# [the appendix](appendix/07x_matmul.ipynb) draws it.
#
# ## 8 · FlashAttention
#
# **What is left to fuse?** Attention's scores are $T \times T$ for every head: written, read by softmax, written,
# read again. FlashAttention (arXiv 2205.14135) never makes them whole. A program owns a tile of queries, walks over
# tiles of keys and values, and keeps three things for each query: the maximum so far $m$, the sum $s$ and the output
# $O$, all relative to $m$. A new tile of scores $S$ corrects all of them with the step of section 6:
#
# $$O \leftarrow O\, e^{m - m'} + e^{S - m'} V$$

# %% folded=true
d = Diagram(92, 10.6)
q = d.box(1, 3.6, "Q tile: M queries\nstays on the chip", width=22, height=2.4, color="blue")
keys = d.row(29, 1, ["K0 V0", "K1 V1", "K2 V2"], ["green", "orange", "grey"], widths=[14] * 3)
d.text(73, 1.65, "one after another")
step = d.box(34, 3.6, "S = Q Kᵀ: M × N numbers,\nthen forgotten", width=28, height=2.4, color="grey")
d.arrow(q.right, step.left)
d.arrow((48, 2.4), step.top)
state = d.row(29, 7.4, ["m: maximum", "s: sum", "O: output"], "vermillion", widths=[13, 13, 14])
d.arrow(step.bottom, (48, 7.3))
d.text(50, 6.7, "correct by exp(m − m'), add")
d.line((68.9, 8), (74, 8), color="vermillion")
d.line((74, 8), (74, 4.8), color="vermillion")
d.arrow((74, 4.8), (62.4, 4.8), color="vermillion")
d.text(75, 6, "next tile", color="vermillion")
d.text(1, 9.9, "after the last tile: write O / s, and log-sum-exp = m + log s, one number for each query")
d.show()


# %%
@jit
def flash_kernel(o_ptr, lse_ptr, q_ptr, k_ptr, v_ptr, T, scale, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    """Causal attention of one head: q, k, v, o are (T, D), stored row by row. A program owns M queries."""
    row, d = tl.program_id(0) * M + tl.arange(0, M), tl.arange(0, D)
    q = tl.load(q_ptr + row[:, None] * D + d[None, :], mask=row[:, None] < T, other=0.0)  # (M, D)
    m = tl.full((M,), -float("inf"), tl.float32)
    s = tl.zeros((M,), tl.float32)
    o = tl.zeros((M, D), tl.float32)
    for first in range(0, tl.minimum(T, tl.program_id(0) * M + M), N):  # keys after my last query: never loaded
        col = first + tl.arange(0, N)
        k = tl.load(k_ptr + col[:, None] * D + d[None, :], mask=col[:, None] < T, other=0.0)  # (N, D)
        v = tl.load(v_ptr + col[:, None] * D + d[None, :], mask=col[:, None] < T, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale  # (M, N), on the chip only
        scores = tl.where(col[None, :] <= row[:, None], scores, -float("inf"))
        new = tl.maximum(m, tl.max(scores, axis=1))
        shrink = tl.exp(m - new)
        p = tl.exp(scores - new[:, None])
        s = s * shrink + tl.sum(p, axis=1)
        o = o * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
        m = new
    tl.store(o_ptr + row[:, None] * D + d[None, :], (o / s[:, None]).to(o_ptr.dtype.element_ty), mask=row[:, None] < T)
    tl.store(lse_ptr + row, m + tl.log(s), mask=row < T)


# %% [markdown]
# Read it line by line beside the picture: load the queries once, loop, correct, add, divide at the very end. What
# this short kernel leaves out (batches, shared heads, other masks, unmasked tiles without a comparison) is in the
# appendix.


# %%
def flash(q, k, v, tile: int = 32):
    """Causal attention of one head, (T, D) with D a power of two from 16 on: the output and the log-sum-exp (T,)."""
    o, lse = torch.empty_like(q), torch.empty(len(q), device=q.device)
    grid = (triton.cdiv(len(q), tile),)
    flash_kernel[grid](o, lse, q, k, v, len(q), q.shape[1] ** -0.5, D=q.shape[1], M=tile, N=tile)
    return o, lse


def attention_in_steps(q, k, v):
    hidden = torch.ones(len(q), len(q), dtype=torch.bool, device=q.device).triu(1)
    return ((q @ k.T) * q.shape[1] ** -0.5).masked_fill(hidden, -torch.inf).softmax(1) @ v


q, k, v = (torch.randn(150, 32, device=DEVICE) for _ in range(3))  # 150: no multiple of the tile
exact = attention_in_steps(q.double(), k.double(), v.double())
sdpa = F.scaled_dot_product_attention(q[None, None], k[None, None], v[None, None], is_causal=True)[0, 0]
if KERNELS.or_show("error of attention"):
    errors = {"flash": (flash(q, k, v)[0] - exact).abs().max().item(), "SDPA": (sdpa - exact).abs().max().item(), "in steps": (attention_in_steps(q, k, v) - exact).abs().max().item()}  # fmt: skip
    print({name: f"{error:.1e}" for name, error in errors.items()})
    print(claim(7, "FlashAttention is exact to rounding: its largest error against float64 is {flash:.0e}, of PyTorch's own fused attention {sdpa:.0e}. It is tiled, it recomputes in the backward pass, and it does not hash.", lambda flash, sdpa: flash < 10 * max(sdpa, 1e-7), flash=errors["flash"], sdpa=errors["SDPA"]))  # fmt: skip

# %% [markdown]
# ### Exercise 6: which tiles does a causal program visit?
#
# A tile of keys is *skipped* when no query of the program sees any of it, *whole* when all its queries see all of it,
# and *at the edge* otherwise. Only edge tiles need the mask. Query $i$ sees keys $0 \ldots i$.


# %% exercise="tile_counts" minutes=10 difficulty=3
def tile_counts(program: int, keys: int, M: int, N: int) -> tuple[int, int, int]:
    """(whole, edge, skipped) tiles of N keys for queries program * M ... program * M + M - 1; keys is a multiple of N."""
    ### BEGIN SOLUTION
    first, last = program * M, program * M + M - 1
    whole = min((first + 1) // N, keys // N)
    visited = min(last // N + 1, keys // N)
    return whole, visited - whole, keys // N - visited
    ### END SOLUTION


# %% [markdown]
# **Predict.** 1,024 queries and keys in tiles of 128 × 128: which percentage of all tiles is skipped?

# %%
guess = None  # percent

counts = np.array([tile_counts(program, 1_024, 128, 128) for program in range(8)])
whole, edge, skipped = 100 * counts.sum(0) / counts.sum()

# %% folded=true
# run this cell to compare your guess
reveal("percent skipped", skipped, guess, within=1.03, because={50: "the diagonal's own tiles are not skipped: half less half a diagonal"}, shown=f"{skipped:.1f}")  # fmt: skip
fig, ax = axes(xlabel="program (tile of queries)", ylabel="tiles of keys", size=(6.4, 2.9))
bottom = np.zeros(8)
for i, (name, color) in enumerate((("whole", "blue"), ("at the edge", "orange"), ("skipped", "sky_blue"))):
    ax.bar(range(8), counts[:, i], bottom=bottom, color=COLORS[color], label=name)
    bottom += counts[:, i]
ax.set(title="1,024 queries and keys, causal, tiles of 128", ylim=(0, 11))
ax.legend(ncols=3, loc="upper left")
finish(fig)

# %% [markdown]
# What does it save? Count what crosses to memory as the text grows: the kernel in the interpreter, the steps
# operation by operation.

# %%
LENGTHS = (128, 256, 512)
moved = {"in steps": [], "flash": []}
for T in LENGTHS:
    q, k, v = (torch.randn(T, 32, device=DEVICE) for _ in range(3))
    moved["in steps"].append(operation_bytes(lambda: attention_in_steps(q, k, v)) / 1e6)  # noqa: B023
    if INTERPRETED:
        moved["flash"].append(asked(watch(lambda: flash(q, k, v, 64))) / 1e6)  # noqa: B023
    else:
        moved["flash"].append(4 * 32 * (2 * T + 2 * 64 * sum(range(1, T // 64 + 1))) / 1e6)
kept = {"in steps": [4 * T * T / 1e3 for T in LENGTHS], "flash": [4 * T / 1e3 for T in LENGTHS]}

# %% folded=true
fig, (left, right) = axes(1, 2, xlabel="length (tokens)", size=(7.8, 3))
for (name, values), style in zip(moved.items(), ("s--", "o-")):
    left.plot(LENGTHS, values, style, label=name)
    right.plot(LENGTHS, kept[name], style, label=name)
left.set(yscale="log", ylabel="moved, forward (MB)", title="Bytes moved")
right.set(yscale="log", ylabel="kept besides Q, K, V, O (kB)", title="Kept for the backward pass")
for ax in (left, right):
    ax.set_xticks(LENGTHS, [str(T) for T in LENGTHS])
print(claim(7, "At 512 tokens, one head of 32 numbers, attention in steps moves {times:.1f} times the bytes of the flash kernel.", lambda times: times > 4, times=moved["in steps"][-1] / moved["flash"][-1]))  # fmt: skip
finish(fig)

# %% [markdown]
# What is *kept* is linear in the length: one number for each query, where the steps keep the probabilities. FLOPs
# still grow with the square.
#
# **The backward pass** computes the probabilities again, tile by tile, $P = e^{S - L}$ with the log-sum-exp $L$. Who
# owns what decides everything: two programs must not add to the same place. So one kernel makes dQ, a program for
# each tile of *queries*; another makes dK and dV, a program for each tile of *keys*.

# %% folded=true
d = Diagram(92, 9.4)
for x, title, horizontal in (
    (2, "dQ: a program owns a row of tiles", True),
    (50, "dK, dV: a program owns a column", False),
):
    d.text(x, 0.7, title)
    for r in range(4):
        for c in range(4):
            color = "grey" if c > r else ("blue", "orange", "green", "purple")[r if horizontal else c]
            label = "" if c > r else str(r if horizontal else c)
            d.box(x + 7 * c, 1.6 + 1.5 * r, label, width=6.6, color=color)
    d.text(x, 8.6, "↓ tiles of queries   → tiles of keys")
d.text(32, 3, "number:", color="black")
d.text(32, 3.9, "the program", color="black")
d.text(32, 5, "grey: skipped", color="grey")
d.show()

# %% [markdown]
# These two kernels compute the scores once each, seven matrix products together where the forward pass has two. The
# appendix [07x](appendix/07x_tiled_attention.ipynb) builds them.
#
# ## 9 · What fits on a multiprocessor
#
# **What does the compiler make of it?** It needs no GPU. For an H100 it says how many registers each thread takes,
# how much shared memory a program, and whether something was *spilled* (溢出) to memory because registers ran out. An
# SM has 65,536 registers, 228 KiB of shared memory and room for 2,048 threads, so these numbers bound how many
# programs live there at once.
#
# - **Occupancy** (占用率) is the share of those 2,048 threads that are resident. A kernel that waits for memory wants
#   it high; large matrix products are fast with an eighth of it, and everything in registers.
# - **Warps.** A program of 128 threads is 4 warps, each with its own next instruction. An SM issues for at most 4
#   of its 64 warps in one clock.
# - **Divergence** (分支发散): when threads of a warp take two branches, both run one after another. In Triton branches
#   are for whole programs, and `tl.where` computes both sides: 2 evaluations for each element.
# - **Bank conflicts** (存储体冲突): shared memory has 32 banks of 4 bytes. Threads of a warp that meet in one bank take
#   turns, at worst 32.


# %%
#| export
def bank_conflicts(stride: int, banks: int = 32) -> int:
    """Turns that 32 threads take to read 4-byte numbers ``stride`` apart from shared memory; 1 is no conflict.

    >>> bank_conflicts(1), bank_conflicts(2), bank_conflicts(33)
    (1, 2, 1)

    ValueError for a stride below 1. Built in notebooks/07_kernels.ipynb.
    """
    if stride < 1:
        raise ValueError(f"the stride is {stride}: it must be 1 or more")
    return max(Counter(thread * stride % banks for thread in range(32)).values())


def resident_programs(
    threads: int, registers: int, shared: int, *, sm_registers: int = 65_536, sm_shared: int = 233_472, sm_threads: int = 2_048
) -> int:  # fmt: skip
    """Programs that one SM holds at once; ``registers`` of a thread, ``shared`` bytes. The limits are an H100's.

    Registers are given out in eights, and each program takes 1 KiB of shared memory more.

    >>> resident_programs(threads=256, registers=32, shared=0)
    8

    Built in notebooks/07_kernels.ipynb.
    """
    by_registers = sm_registers // (threads * -(-registers // 8) * 8)
    return min(by_registers, sm_shared // (shared + 1_024), sm_threads // threads, 32)


# %% [markdown]
# **Predict.** 32 threads read a column of a tile in shared memory whose rows have 8 numbers: how many turns? And with
# rows of 9?

# %%
guess_8 = guess_9 = None  # turns

turns = {stride: bank_conflicts(stride) for stride in range(1, 41)}

# %% folded=true
# run this cell to compare your guess
reveal(
    "rows of 8",
    turns[8],
    guess_8,
    within=1,
    because={1: "the column meets only every eighth bank: 4 of 32", 32: "they meet 4 banks, not one"},
)
reveal(
    "rows of 9",
    turns[9],
    guess_9,
    within=1,
    because={"too large": "9 and 32 share no factor: the column meets all 32 banks"},
)
fig, ax = axes(xlabel="stride (4-byte numbers)", ylabel="turns for one warp", size=(6.8, 2.8))
ax.bar(list(turns), list(turns.values()), color=COLORS["blue"])
ax.set(title="Conflicts in 32 banks: powers of two are the worst")
finish(fig)

# %% [markdown]
# Now our own kernels, in bfloat16, for an H100. It takes a few seconds: the compiler runs in a process of its own.

# %%
FLOAT, HALF, INT = "*fp32", "*bf16", "i32"
if KERNELS.or_show("what the compiler says"):
    made = {
        "add, 1,024": compiled(add_kernel, {"z_ptr": HALF, "x_ptr": HALF, "y_ptr": HALF, "n": INT}, {"BLOCK": 1_024}),
        "softmax, 4,096": compiled(softmax_kernel, {"y_ptr": FLOAT, "x_ptr": FLOAT, "n": INT}, {"BLOCK": 4_096}),
    }
    pointers = dict.fromkeys(("o_ptr", "q_ptr", "k_ptr", "v_ptr"), HALF) | {"lse_ptr": FLOAT, "T": INT, "scale": "fp32"}
    for tile, d_head, warps in ((64, 64, 4), (128, 64, 8), (128, 128, 8), (128, 128, 4)):
        constants = {"D": d_head, "M": tile, "N": 64}
        made[f"flash, {tile} × 64, d {d_head}, {warps} warps"] = compiled(
            flash_kernel, pointers, constants, warps=warps
        )
    resident = {name: resident_programs(one.threads, one.registers, one.shared) for name, one in made.items()}
    for name, one in made.items():
        print(
            f"{name:<32} {one.registers:>3} registers, {one.stack:>4} B of stack, {one.shared / 1024:5.1f} KiB shared"
        )

# %% folded=true
if KERNELS.or_show("occupancy"):
    fig, ax = axes(xlabel="resident threads (% of 2,048)", ylabel="kernel and tile", size=(7.4, 3))
    share_of = [100 * resident[name] * made[name].threads / 2_048 for name in made]
    bars = ax.barh(range(len(made)), share_of, color=COLORS["blue"])
    ax.bar_label(bars, [f"{n} program{'s' * (n > 1)}" for n in resident.values()], padding=3)
    ax.set(
        yticks=range(len(made)),
        yticklabels=list(made),
        xlim=(0, 125),
        title="Occupancy on an H100, from the compiled kernels",
    )
    ax.set_xticks(range(0, 101, 25))
    ax.invert_yaxis()
    names = list(made)
    print(claim(8, "Compiled for an H100, {add} programs of the addition fit on a multiprocessor, and {flash} of the flash kernel with tiles of 128 × 64 and heads of 128 numbers.", lambda add, flash: 1 <= flash < add, add=resident[names[0]], flash=resident["flash, 128 × 64, d 128, 8 warps"]))  # fmt: skip
    finish(fig)

# %% [markdown]
# The addition keeps little, so many programs fit, and they hide each other's waits. The flash kernel trades occupancy
# for tiles: more numbers in registers, fewer loads. A *stack* above zero is local memory, where the compiler puts
# what found no register. Compare the last two rows: the same tile on half the threads needs twice the registers of
# each.
#
# ## Answers
#
# Every sentence below was tested on the numbers in it while this notebook ran; a false one would have stopped its cell.

# %%
claims() if KERNELS.or_show("answers") else None

# %% [markdown]
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | FlashAttention hashes tokens into buckets | That is Reformer (2001.04451). FlashAttention is exact, tiled, and recomputes in the backward pass (2205.14135). |
# | FlashAttention makes attention linear | Its memory. Its FLOPs grow with the square, and the backward pass has more of them. |
# | Fusion saves computation | It saves bytes and launches; recomputing even adds FLOPs. |
# | A custom kernel beats PyTorch | It beats a chain of operations. `torch.softmax` is fused already, and `torch.compile` fuses chains. |
# | Higher occupancy is faster | For kernels that wait for memory. The fastest products run with few, large programs. |
# | Online softmax is an approximation | It is the same number, summed in another order. |
# | A kernel that is right in the interpreter is right on a GPU | Races, alignment and compiler limits show only there. |
#
# ## What you built
#
# In this notebook: kernels for addition, softmax, RMSNorm, a matrix product and a FlashAttention forward. In
# `cs336lite.gpu_model`: `bank_conflicts` and `resident_programs`. The kernels that train a model, with backward
# passes, all dtypes and shared heads, are built in five appendices: [where kernels run](appendix/07x_backend.ipynb),
# [fused kernels](appendix/07x_fused.ipynb), [matrix products](appendix/07x_matmul.ipynb),
# [FlashAttention](appendix/07x_tiled_attention.ipynb), [compiled without a GPU](appendix/07x_without_a_gpu.ipynb).
#
# ## Limits
#
# - No time here is a GPU's. Bytes are what programs ask for; caches make some of them cheap.
# - The interpreter runs programs one after another, so no race can show.
# - Sectors and banks are simple models. Hopper has asynchronous copies (TMA) and warp specialisation besides
#   (2407.08608).
# - The kernels of this lecture take contiguous tensors of fewer than 2³¹ numbers, and the product and attention
#   only some sizes.
#
# ## Exercises for longer evenings
#
# - Give `softmax_rows` several rows for each program. For which `n` does that help, and why?
# - Write softmax of long rows with `online_step` as a kernel: two passes over the row, the second one writes.
# - Split `flash_kernel`'s loop in two, whole tiles without a comparison and edge tiles with one. Your `tile_counts`
#   gives the bounds.
#
# ## Sources
#
# Tillet et al. 2019, *Triton*, MAPL · FlashAttention (arXiv 2205.14135), FlashAttention-2 (2307.08691),
# FlashAttention-3 (2407.08608) · Milakov and Gimelshein, online softmax (1805.02867) · Luo et al., Hopper measured
# (2402.13499) · RMSNorm (1910.07467) · Reformer (2001.04451) · NVIDIA H100 data sheet, CUDA C++ programming guide,
# Hopper tuning guide.
#
# ## Next
#
# Lecture **08 · scaling**: how large, for how long, on which budget.

# %%
finished("07_kernels")
