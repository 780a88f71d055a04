# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: kernels, minutes: 3, prerequisites: [02_tensors, 03b_variants], device: CPU or GPU}
# ---

# %% [markdown]
# # 07 · GPU kernels (GPU 算子)
#
# **3 minutes to run on 2 cores · prerequisites: 02, 03b, some NumPy · device: CPU, by Triton's interpreter; a GPU is used if there is one**
#
# A model is a list of operations, and each of them reads its inputs from memory and writes its result back. On a GPU
# most of the time goes there. A *kernel* (核函数) of your own does several operations while the numbers are on the chip.
# You will write nine of them in [Triton](https://triton-lang.org), up to FlashAttention with its backward pass. They run
# here on a CPU, slowly, through Triton's interpreter, and unchanged on a GPU.
#
# ## By the end you will have shown
#
# 1. **Each kernel equals its twin in plain PyTorch**, forward and backward, checked against float64, on sizes that fit
#    no tile.
# 2. **Fusion (融合) saves bytes, not FLOPs**: counted load by load, the kernels move up to several times fewer bytes.
# 3. **Softmax needs one pass to know its maximum and its sum** (*online softmax*).
# 4. **What is cheap to compute again need not be kept**: SwiGLU keeps a half less, and a loss over a large vocabulary
#    never holds all its logits.
# 5. **FlashAttention is exact, and its memory is linear in the length**; the plain one's is quadratic.
# 6. **The order of programs decides what is read twice** in a matrix product.
# 7. **The same source compiles for a GPU that is not here**: its registers and shared memory say how many programs fit.
#
# Every claim is followed by a cell that measures it and stops with an error if it is false. Speeds on a GPU are recorded
# by `benchmarks/kernels.py`; where none have been recorded yet, the lecture says so and shows none.

# %% [markdown]
# ## Setup

# %%
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from cs336lite.accounting import saved_bytes
from cs336lite.course import finished, whose
from cs336lite.course.measure import reveal
from cs336lite.course.paths import find_root
from cs336lite.course.plot import COLORS, axes, finish

torch.manual_seed(0)
torch.set_num_threads(1)


# %% [markdown]
# ## 1 · What a GPU is, for who writes kernels
#
# An H100 (SXM) has 132 *streaming multiprocessors* (SM, 流多处理器). Each runs *warps* (线程束) of 32 threads that execute
# one instruction together. Memory comes in layers:
#
# | layer | size on an H100 | who sees it | bandwidth |
# |---|---|---|---|
# | registers (寄存器) | 256 KiB an SM, 255 numbers a thread at most | one thread | – |
# | shared memory (共享内存) | 228 KiB an SM | the threads of one program | 128 bytes a clock and SM |
# | L2 cache | 50 MB | all | – |
# | HBM (显存) | 80 GB | all | 3.35 TB/s |
#
# A dash: NVIDIA publishes no figure. 3.35 TB/s against 989 TFLOP/s in bfloat16 means 295 FLOPs for each byte (lecture
# 02). In Triton you write one **program** (程序), which works on one **tile** (块) with vector operations; a grid of programs
# covers the tensor, and the compiler spreads a tile over threads, registers and shared memory.
#
# **Coalescing** (合并访存). Memory is fetched in *sectors* of 32 bytes. When the 32 threads of a warp read neighbours, all
# that is fetched is used. **Predict.** A warp reads 32 float32 numbers that lie 8 apart: which share of the fetched bytes
# does it use?

# %%
guess = None  # percent


def used_share(stride: int, itemsize: int = 4, sector: int = 32) -> float:
    """The share of fetched bytes that a warp uses when its threads read numbers ``stride`` apart."""
    address = np.arange(32) * stride * itemsize
    return 32 * itemsize / (sector * len(np.unique(address // sector)))


share = {stride: used_share(stride) for stride in (1, 2, 4, 8, 16, 32)}
reveal("used, by stride", {stride: f"{100 * s:.0f} %" for stride, s in share.items()}, guess)
assert share[1] == 1 and share[8] == share[32] == 1 / 8

fig, (left, right) = axes(1, 2, size=(7.6, 3.2))
levels = {"HBM": 80e9, "L2": 50e6, "shared": 132 * 228 * 2**10, "registers": 132 * 2**18}
left.plot([size / 1e6 for size in levels.values()], list(levels), "o", markersize=9, color=COLORS["vermillion"])
left.set(xscale="log", xlabel="size of the whole layer (MB)", ylabel="layer", title="Little of it is near")
left.margins(y=0.2)
tile = np.arange(12)[:, None] // 4 * 3 + np.arange(18)[None, :] // 6
right.imshow(tile % 2 + tile / 9, cmap="cividis")
right.set(xlabel="column", ylabel="row", title="9 tiles, 9 programs")
finish(fig)

# %% [markdown]
# ### Where the programs run
#
# | machine | `BACKEND` | what happens |
# |---|---|---|
# | NVIDIA GPU, Triton | `"gpu"` | the kernels are compiled and run there, on CUDA tensors |
# | no GPU, Triton | `"interpreter"` | Triton's interpreter runs them on the CPU, program after program, in NumPy: right and slow |
# | no Triton (macOS, Windows) | `"pytorch"` | each function calls its twin (对照实现) in plain PyTorch |
#
# Triton reads the variable `TRITON_INTERPRET` when it is *imported* and when a kernel is *defined*. So the module sets
# it first, where there is no GPU and you have not set it yourself, and says what it chose.


# %%
#| export
"""Triton kernels (融合算子) for a Transformer, each with a twin in plain PyTorch that does the same in more passes.

`BACKEND` says where they run: "gpu", "interpreter" (Triton's, on the CPU) or "pytorch" (no Triton: the twins). Without
a GPU, importing this module sets the environment variable TRITON_INTERPRET to 1 unless it is set, because Triton reads
it when it is imported. Functions named `plain_...` are the twins and run everywhere. Sums are in float32; results have
the dtype of what is given: float32, bfloat16 or float16.
"""

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


# %%
#| export
def _import(name: str) -> ModuleType | None:
    """The module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


HAS_GPU = torch.cuda.is_available() and torch.version.hip is None
if not HAS_GPU and "TRITON_INTERPRET" not in os.environ:
    os.environ["TRITON_INTERPRET"] = "1"
    for name in [n for n, m in sys.modules.items() if m and n.partition(".")[0] == "triton" and "._C" not in n]:
        del sys.modules[name]  # torch may have imported it, without its interpreter
triton = _import("triton")
tl = _import("triton.language") or SimpleNamespace(constexpr=lambda value: value)  # annotations below need the name


# %%
#| export
def _reason() -> tuple[str, str]:
    """Where kernels run, and why."""
    if triton is None:
        return "pytorch", "Triton is not installed: every function is its twin in plain PyTorch"
    if not isinstance(tl.sum, triton.runtime.jit.JITFunction):  # what Triton's own functions became at its import
        return "interpreter", "no GPU: Triton's interpreter runs the kernels on the CPU"
    if HAS_GPU:
        return "gpu", f"compiled for {torch.cuda.get_device_name()}"
    return "pytorch", "no GPU, and TRITON_INTERPRET says that Triton's interpreter is not wanted"


BACKEND = _reason()[0]
REASON = _reason()[1]
DEVICE = "cuda" if BACKEND == "gpu" else "cpu"
INTERPRETED = tl.constexpr(BACKEND == "interpreter")


# %%
#| export
def jit(kernel: Callable) -> object:
    """`triton.jit`, or nothing where there is no Triton. Built in notebooks/07_kernels.ipynb."""
    kernel = inspect.unwrap(kernel)  # Triton reads the source: without what a type checker has put around it
    return kernel if triton is None else triton.jit(kernel)


def launch(
    kernel: object, grid: tuple[int, ...] | Callable[[dict], tuple[int, ...]], *args: object, **options: object
) -> None:
    """Run one program of the kernel for each point of the grid, on the device of the first argument.

    Built in notebooks/07_kernels.ipynb.
    """
    with torch.cuda.device(args[0].device) if args[0].is_cuda else nullcontext():
        kernel[grid](*args, **options)


# %%
#| export
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def check(*, same_shape: bool = False, here: bool = True, **tensors: Tensor) -> None:
    """Raise what is wrong with the arguments of a kernel, by name, before anything is launched.

    Raises TypeError for a dtype that no kernel takes or dtypes that differ, ValueError for different devices, a device
    on which the kernels do not run (unless not ``here``), or (``same_shape``) different shapes. Built in notebooks/07_kernels.ipynb.
    """
    first, *others = tensors
    x = tensors[first]
    for name, tensor in tensors.items():
        if here and tensor.dtype not in DTYPES:
            raise TypeError(f"{name} is {tensor.dtype}: the kernels take float32, bfloat16 and float16")
        if here and BACKEND != "pytorch" and tensor.device.type != DEVICE:
            raise ValueError(f"{name} is on {tensor.device}, but the kernels run on {DEVICE} here ({REASON})")
    for name in others:
        if tensors[name].dtype != x.dtype:
            raise TypeError(f"{name} is {tensors[name].dtype} and {first} is {x.dtype}: give both the same dtype")
        if tensors[name].device != x.device:
            raise ValueError(f"{name} is on {tensors[name].device} and {first} on {x.device}")
        if same_shape and tensors[name].shape != x.shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)} and {first} {tuple(x.shape)}")


# %%
print(f"BACKEND is {BACKEND!r}: {REASON}")
assert BACKEND in ("gpu", "interpreter", "pytorch") and (BACKEND == "interpreter") == bool(INTERPRETED)


# %% [markdown]
# ### How we check
#
# `compare` runs a kernel and its twin forward and backward, the twin in float64, and returns the largest error as a
# multiple of the rounding error of the dtype at that size. A result that is right but summed in another order is within
# a few units; a wrong one is thousands away.


# %%
def compare(ours: Callable, twin: Callable, *inputs: torch.Tensor) -> float:
    """Largest error of the result and of all gradients, in units of the dtype's rounding at the largest entry."""
    mine = [t.clone().requires_grad_() for t in inputs]
    exact = [t.double().requires_grad_() for t in inputs]
    found, wanted = ours(*mine), twin(*exact)
    g = torch.randn_like(found)
    pairs = [(found, wanted)]
    pairs += zip(torch.autograd.grad(found, mine, g), torch.autograd.grad(wanted, exact, g.double()))
    eps = torch.finfo(inputs[0].dtype).eps
    return max(((a.double() - b).abs().max() / (b.abs().max() * eps)).item() for a, b in pairs)


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, device=DEVICE).to(dtype)


errors = {}  # kernel -> units of rounding, float32 and bfloat16

# %% [markdown]
# ### How we count bytes
#
# The interpreter performs every load and store that a program asks for, so they can be counted: `kernel_bytes`. For the
# twins, `eager_bytes` counts what each PyTorch operation reads and writes; views are free.


# %%
def kernel_bytes(function: Callable[[], object]) -> int | None:
    """Bytes that programs load and store in ``function()``, counted by the interpreter; None where it does not run."""
    if BACKEND != "interpreter":
        return None
    from triton.runtime.interpreter import interpreter_builder as builder

    moved = []

    def counted(method: Callable) -> Callable:
        def access(pointers, *rest, **options):
            mask = next((r.data for r in rest if getattr(r, "data", None) is not None and r.data.dtype == bool), None)
            size = pointers.get_element_ty().primitive_bitwidth // 8
            moved.append(size * int(np.broadcast_to(mask, pointers.data.shape).sum()))
            return method(pointers, *rest, **options)

        return access

    names = ("create_masked_load", "create_masked_store")
    with patch.multiple(builder, **{name: counted(getattr(builder, name)) for name in names}):
        function()
    return sum(moved)


# %%
class _Traffic(TorchDispatchMode):
    """Adds up the bytes that operations read and write."""

    total = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in op._schema.returns)
        if not is_view and "empty" not in str(op):
            tensors = [t for t in (*args, *(out if isinstance(out, tuple | list) else [out])) if torch.is_tensor(t)]
            self.total += sum(min(t.nbytes, t.untyped_storage().nbytes()) for t in tensors)
        return out


def eager_bytes(function: Callable[[], object]) -> int:
    """Bytes that PyTorch's operations read and write in ``function()``."""
    with _Traffic() as traffic:
        function()
    return traffic.total


# %% [markdown]
# ## 2 · Vector add: the form of every kernel
#
# A program asks which one it is (`tl.program_id`), works out the offsets of its tile (`tl.arange`), loads under a mask
# that hides what lies beyond the end, computes, and stores. `tl.constexpr` arguments are known when it is compiled; tile
# shapes are such, and powers of two.


# %%
#| export
@jit
def add_kernel(z_ptr, x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    """z = x + y, one block of elements for each program."""
    start = tl.program_id(0).to(tl.int64) * BLOCK  # 64 bits: a tensor may have more than 2**31 elements
    i = start + tl.arange(0, BLOCK)
    inside = i < n
    x = tl.load(x_ptr + i, mask=inside)
    y = tl.load(y_ptr + i, mask=inside)
    tl.store(z_ptr + i, x.to(tl.float32) + y.to(tl.float32), mask=inside)


FLAT = {"BLOCK": 2**16} if BACKEND == "interpreter" else {"BLOCK": 2048, "num_warps": 8}


def flat_grid(x: Tensor) -> tuple[int]:
    """Programs for a kernel that treats a tensor as one row. Built in notebooks/07_kernels.ipynb."""
    return (max(1, -(-x.numel() // FLAT["BLOCK"])),)


# %%
#| export
class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        x, y = x.contiguous(), y.contiguous()
        z = torch.empty_like(x)
        launch(add_kernel, flat_grid(x), z, x, y, x.numel(), **FLAT)
        return z

    @staticmethod
    def backward(ctx, dz):
        return dz, dz


def add(x: Float[Tensor, "..."], y: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """x + y for tensors of one shape. Built in notebooks/07_kernels.ipynb."""
    check(x=x, y=y, same_shape=True)
    return x + y if BACKEND == "pytorch" else _Add.apply(x, y)


# %% [markdown]
# **Predict.** 100,003 numbers in float32: how many bytes does the kernel move, and how many programs run with blocks of
# 2,048?

# %%
guess = None  # (bytes, programs)

x, y = draw(100_003), draw(100_003)
assert torch.equal(add(x, y), x + y)
errors["add"] = [compare(add, lambda x, y: x + y, draw(33, 77, dtype=d), draw(33, 77, dtype=d)) for d in DTYPES[:2]]
moved = kernel_bytes(lambda: add(x, y))
reveal("bytes, programs", (moved, -(-100_003 // 2_048)), guess)
assert moved in (None, 3 * 4 * 100_003)
try:
    add(x, y[:-1])
except ValueError as problem:
    print("checked before any launch:", problem)

# %% [markdown]
# ## 3 · Fused softmax
#
# In PyTorch operations, softmax is four: maximum, difference and exponential, sum, quotient. Each reads a whole matrix,
# and three write one. Fused, a program holds rows on the chip: one read, one write.
#
# ### Exercise 1: fill in the kernel
#
# *Difficulty 2 of 5, 10 minutes, not graded.* The line in the middle is yours. The check says what is wrong.


# %%
@jit
def my_softmax_kernel(y_ptr, x_ptr, n, BLOCK: tl.constexpr):
    row, col = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + col, mask=col < n, other=-float("inf"))
    y = x  # your lines: tl.max, tl.exp, tl.sum
    tl.store(y_ptr + row * n + col, y, mask=col < n)


def check_softmax(kernel: Callable, block: int = 64) -> str:
    """What is wrong with a softmax kernel (y, x, n, BLOCK) of one row for each program, or that it is right."""
    if BACKEND == "pytorch":
        return "Triton is not here: the exercise needs Linux, with or without a GPU"
    x = draw(4, 50) * 3
    x[1] += 200
    y = torch.full_like(x, torch.nan)
    kernel[(4,)](y, x, 50, BLOCK=block)
    if not y[1].isfinite().all() and y[0].isfinite().all():
        return "not yet: large numbers overflow; subtract the row's maximum before you take the exponential"
    if not torch.allclose(y.sum(1), torch.ones_like(y.sum(1)), atol=1e-4):
        return "not yet: the rows do not sum to 1; divide by the sum of the exponentials"
    return "right" if torch.allclose(y, x.softmax(1), atol=1e-5) else "not yet: the sums are 1, but the numbers differ"


print(check_softmax(my_softmax_kernel))

# %% [markdown]
# Ours takes several rows at once (small rows leave a program little to do), gives zeros for a row of $-\infty$ alone (a
# query that may attend to nothing), and computes in float32 whatever comes in.


# %%
#| export
TILE = 2**16 if BACKEND == "interpreter" else 2**12
"""Elements that a program holds: a multiple of what 32 threads read at once; large where a program has a fixed cost."""

WIDEST = 2**15
"""The widest row that one program holds whole."""

CHUNK = 2**13
"""Columns that a program holds at once where it goes over a row in pieces."""


# %%
#| export
def rows_of(x: Tensor) -> Tensor:
    """x as (rows, n) with neighbours side by side in memory: a view if strides allow, else a copy.

    Built in notebooks/07_kernels.ipynb.
    """
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(-1) == 1 or x.shape[-1] == 1 else rows.contiguous()


def row_tiles(rows: int, n: int, widest: int = WIDEST) -> tuple[tuple[int], dict[str, int]]:
    """The grid and the tile shape for a kernel that works on whole rows. Built in notebooks/07_kernels.ipynb."""
    block = min(triton.next_power_of_2(n), widest)
    per_program = max(1, min(TILE // block, triton.next_power_of_2(rows)))
    tile = {"ROWS": per_program, "BLOCK": block, "num_warps": max(1, min(16, per_program * block // 512))}
    return (max(1, triton.cdiv(rows, per_program)),), tile


# %%
#| export
@jit
def softmax_kernel(y_ptr, x_ptr, x_stride, rows, n, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Softmax of ROWS rows that fit into a tile: one read, one write."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    col = tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (col < n)
    x = tl.load(x_ptr + row * x_stride + col, mask=inside, other=-float("inf")).to(tl.float32)
    top = tl.max(x, axis=1)[:, None]
    powers = tl.exp(x - tl.where(top == -float("inf"), 0.0, top))
    total = tl.sum(powers, axis=1)[:, None]
    tl.store(y_ptr + row * n + col, powers / tl.where(total == 0, 1.0, total), mask=inside)


# %% [markdown]
# ### Online softmax (在线 softmax), step by step
#
# A row that is wider than a tile must be read in pieces. The maximum is known only at the end; do we need one pass for
# it and one for the sum? No (Milakov and Gimelshein, arXiv 1805.02867). Keep the maximum *so far*, $m$, and the sum
# relative to it, $s$. When a piece brings a larger maximum $m'$, correct the sum:
#
# $$s \leftarrow s\, e^{m - m'} + \sum_i e^{x_i - m'}, \qquad m \leftarrow m'$$
#
# ### Exercise 2: the step
#
# *Difficulty 3 of 5, 10 minutes, not graded.* Fill in `my_step`, in plain numbers first.


# %%
def my_step(m: float, s: float, piece: Sequence[float]) -> tuple[float, float]:
    """The maximum and the sum of exp(x - maximum) of everything so far, after one more piece."""
    return m, s  # your lines: max, np.exp, sum


def check_step(step: Callable) -> str:
    """What is wrong with an online step, or that it is right."""
    x = np.array([0.5, -1.0, 3.0, 2.0, 700.0, 699.0, -5.0, 1.0])
    m, s = -np.inf, 0.0
    with np.errstate(all="ignore"):
        for piece in x.reshape(4, 2):
            m, s = step(m, s, piece)
        wanted = np.exp(x - x.max()).sum()
        if m != x.max():
            return "not yet: m must end as the largest number of all pieces"
        if not np.isfinite(s):
            return "not yet: the sum overflows; every exponent must be relative to the new maximum"
        if abs(s - wanted) > 1e-9:
            return "not yet: what was summed before is relative to the old maximum; multiply it by exp(old - new)"
    return "right"


print(check_step(my_step))

# %% [markdown]
# Here it is at work on one row of 64 numbers in pieces of 8. **Predict.** How often is the sum corrected downwards?

# %%
guess = None

row = torch.randn(64, generator=torch.Generator().manual_seed(3)).double() + torch.linspace(0, 2, 64).double()
m, s, history = torch.tensor(-torch.inf), torch.tensor(0.0), []
for piece in row.split(8):
    new = torch.maximum(m, piece.max())
    shrink = torch.exp(m - new)
    m, s = new, s * shrink + torch.exp(piece - new).sum()
    history.append((m.item(), s.item(), shrink.item()))
tops, sums, shrinks = zip(*history)
reveal("corrections after the first piece", sum(0 < f < 1 for f in shrinks[1:]), guess)
assert torch.isclose(s, torch.exp(row - row.max()).sum()) and m == row.max()

fig, (left, right) = axes(1, 2, xlabel="piece", size=(7.6, 3))
left.plot(np.repeat(np.arange(1, 9), 8), row, ".", color=COLORS["sky_blue"], label="numbers of the piece")
left.step(range(1, 9), tops, where="mid", color=COLORS["vermillion"], label="maximum so far")
left.set(ylabel="value", title="The maximum grows ...", ylim=(-4, 4.5))
right.plot(range(1, 9), sums, "o-", color=COLORS["blue"], label="sum relative to it")
right.plot(range(1, 9), shrinks, "s--", color=COLORS["green"], label="factor on the old sum")
right.set(ylabel="sum, factor", title="... and the sum is corrected", ylim=(0, 14))
finish(fig)


# %%
#| export
@jit
def online_step(top, total, x):
    """The running maximum and the running sum of exp(x - top) along axis 1, after one more tile x."""
    new = tl.maximum(top, tl.max(x, axis=1)[:, None])
    safe = tl.where(new == -float("inf"), 0.0, new)  # nothing but -inf so far: avoid inf - inf
    total = total * tl.exp(top - safe) + tl.sum(tl.exp(x - safe), axis=1)[:, None]
    return new, total


@jit
def online_softmax_kernel(y_ptr, x_ptr, x_stride, rows, n, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Softmax of rows of any length: one pass for maximum and sum together, one to write."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    top, total = tl.full((ROWS, 1), -float("inf"), tl.float32), tl.zeros((ROWS, 1), tl.float32)
    for start in range(0, n, BLOCK):
        col = start + tl.arange(0, BLOCK)[None, :]
        x = tl.load(x_ptr + row * x_stride + col, mask=(row < rows) & (col < n), other=-float("inf")).to(tl.float32)
        top, total = online_step(top, total, x)
    top, total = tl.where(total == 0, 0.0, top), tl.where(total == 0, 1.0, total)
    for start in range(0, n, BLOCK):
        col = start + tl.arange(0, BLOCK)[None, :]
        x = tl.load(x_ptr + row * x_stride + col, mask=(row < rows) & (col < n), other=-float("inf")).to(tl.float32)
        tl.store(y_ptr + row * n + col, tl.exp(x - top) / total, mask=(row < rows) & (col < n))


# %%
#| export
@jit
def softmax_backward_kernel(dx_ptr, dy_ptr, y_ptr, dy_stride, rows, n, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """dx = y * (dy - sum(y * dy)); where a row fits into a tile, its second read comes from the cache."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    total = tl.zeros((ROWS, 1), tl.float32)
    for start in range(0, n, BLOCK):
        col = start + tl.arange(0, BLOCK)[None, :]
        inside = (row < rows) & (col < n)
        y = tl.load(y_ptr + row * n + col, mask=inside, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + row * dy_stride + col, mask=inside, other=0.0).to(tl.float32)
        total += tl.sum(y * dy, axis=1)[:, None]
    for start in range(0, n, BLOCK):
        col = start + tl.arange(0, BLOCK)[None, :]
        inside = (row < rows) & (col < n)
        y = tl.load(y_ptr + row * n + col, mask=inside, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + row * dy_stride + col, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx_ptr + row * n + col, y * (dy - total), mask=inside)


# %%
#| export
class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, widest):
        flat = rows_of(x)
        rows, n = flat.shape
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        grid, tile = row_tiles(rows, n, widest if n <= widest else min(widest, CHUNK))
        launch(softmax_kernel if n <= widest else online_softmax_kernel, grid, y, flat, flat.stride(0), rows, n, **tile)
        ctx.save_for_backward(y)
        ctx.widest = widest
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        flat = rows_of(dy)
        rows, n = flat.shape
        dx = torch.empty_like(y)
        grid, tile = row_tiles(rows, n, min(ctx.widest, CHUNK))
        launch(softmax_backward_kernel, grid, dx, flat, y, flat.stride(0), rows, n, **tile)
        return dx, None


# %%
#| export
def plain_softmax(x: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """Softmax; a row of -inf alone gives zeros. Built in notebooks/07_kernels.ipynb."""
    z = x if x.dtype == torch.float64 else x.float()
    nothing = (z == -torch.inf).all(dim, keepdim=True)
    return z.masked_fill(nothing, 0).softmax(dim).masked_fill(nothing, 0).to(x.dtype)


def softmax(x: Float[Tensor, "..."], dim: int = -1, *, widest: int = WIDEST) -> Float[Tensor, "..."]:
    """Softmax along ``dim``, one kernel forward, one backward; a row of -inf alone gives zeros.

    Rows above ``widest`` (a power of two) are read twice, with the online sum. Built in notebooks/07_kernels.ipynb.
    """
    check(x=x)
    if BACKEND == "pytorch" or x.numel() == 0:
        return plain_softmax(x, dim)
    return _Softmax.apply(x.movedim(dim, -1), widest).movedim(-1, dim)


# %% [markdown]
# **Predict.** Softmax of 256 × 1,000 in float32: how many times fewer bytes does the kernel move than the four operations?
# And the online one, with rows too wide for its tile?

# %%
guess = None  # (fused, online)


def four_operations(x: torch.Tensor) -> torch.Tensor:
    powers = torch.exp(x - x.amax(1, keepdim=True))
    return powers / powers.sum(1, keepdim=True)


rows = draw(13, 301)
rows[3] = -torch.inf
errors["softmax"] = [compare(softmax, plain_softmax, rows.to(d)) for d in DTYPES[:2]]
errors["online softmax"] = [compare(lambda x: softmax(x, widest=64), plain_softmax, rows.to(d)) for d in DTYPES[:2]]
assert (softmax(rows)[3] == 0).all() and softmax(rows.T, dim=0).T.allclose(softmax(rows))

x = draw(256, 1_000)
unfused, fused = eager_bytes(lambda: four_operations(x)), kernel_bytes(lambda: softmax(x))
online = kernel_bytes(lambda: softmax(x, widest=256))
if BACKEND == "interpreter":
    reveal("times fewer", (f"{unfused / fused:.1f}", f"{unfused / online:.1f}"), guess)
    assert fused == 2 * x.nbytes and online == 3 * x.nbytes and unfused > 3 * fused

# %% [markdown]
# ## 4 · RMSNorm, forward and backward
#
# $y = x\, r\, w$ with $r = 1/\sqrt{\overline{x^2} + \varepsilon}$. With $\hat x = x r$ and $g = w\, \partial\ell/\partial y$, the
# backward pass is
#
# $$\frac{\partial\ell}{\partial x} = r\,\big(g - \hat x\, \overline{g \hat x}\big), \qquad \frac{\partial\ell}{\partial w} = \sum_{\text{rows}} \frac{\partial\ell}{\partial y}\, \hat x$$
#
# Only $r$ is kept, one number a row. The sum for $w$ crosses rows, so programs must work together: a fixed number of them
# each sum over their share of the rows, and one short sum joins them. No atomic additions, so it is the same every time.


# %%
#| export
@jit
def rms_norm_kernel(y_ptr, r_ptr, x_ptr, w_ptr, x_stride, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """y = x * r * w with r = 1 / sqrt(mean(x**2) + eps); r, one number for each row, is kept for the backward pass."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    col = tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (col < n)
    x = tl.load(x_ptr + row * x_stride + col, mask=inside, other=0.0).to(tl.float32)
    w = tl.load(w_ptr + col, mask=col < n, other=0.0).to(tl.float32)
    r = tl.rsqrt(tl.sum(x * x, axis=1)[:, None] / n + eps)
    tl.store(r_ptr + row, r, mask=row < rows)
    tl.store(y_ptr + row * n + col, x * r * w, mask=inside)


# %%
#| export
@jit
def rms_norm_backward_kernel(
    dx_ptr, dw_ptr, dy_ptr, x_ptr, w_ptr, r_ptr, dy_stride, x_stride, rows, n, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """dx for all rows, and one row of dw for each program: the sum over the rows that it worked on."""
    col = tl.arange(0, BLOCK)[None, :]
    w = tl.load(w_ptr + col, mask=col < n, other=0.0).to(tl.float32)
    dw = tl.zeros((ROWS, BLOCK), tl.float32)
    for start in range(tl.program_id(0) * ROWS, rows, tl.num_programs(0) * ROWS):
        row = start + tl.arange(0, ROWS)[:, None].to(tl.int64)
        inside = (row < rows) & (col < n)
        x = tl.load(x_ptr + row * x_stride + col, mask=inside, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + row * dy_stride + col, mask=inside, other=0.0).to(tl.float32)
        r = tl.load(r_ptr + row, mask=row < rows, other=0.0)
        unit, wdy = x * r, w * dy
        dw += dy * unit
        dx = r * (wdy - unit * (tl.sum(wdy * unit, axis=1)[:, None] / n))
        tl.store(dx_ptr + row * n + col, dx, mask=inside)
    tl.store(dw_ptr + tl.program_id(0) * n + col, tl.sum(dw, axis=0)[None, :], mask=col < n)


# %%
#| export
def programs_at_once(x: Tensor) -> int:
    """Programs that keep the device busy when each works on many rows. Built in notebooks/07_kernels.ipynb."""
    return 4 * torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 4


def _rms_norm_backward(dy, x, weight, r):
    dy, x = rows_of(dy), rows_of(x)
    rows, n = x.shape
    grid, tile = row_tiles(rows, n)
    programs = min(grid[0], programs_at_once(x))
    dx = torch.empty(rows, n, dtype=x.dtype, device=x.device)
    dw = torch.empty(programs, n, dtype=torch.float32, device=x.device)
    strides = dy.stride(0), x.stride(0)
    launch(rms_norm_backward_kernel, (programs,), dx, dw, dy, x, weight, r, *strides, rows, n, **tile)
    return dx, dw.sum(0).to(weight.dtype)


# %%
#| export
class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        flat, weight = rows_of(x), weight.contiguous()
        rows, n = flat.shape
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        r = torch.empty(rows, dtype=torch.float32, device=x.device)
        grid, tile = row_tiles(rows, n)
        launch(rms_norm_kernel, grid, y, r, flat, weight, flat.stride(0), rows, n, eps, **tile)
        ctx.save_for_backward(x, weight, r)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        dx, dw = _rms_norm_backward(dy, *ctx.saved_tensors)
        return dx.view(dy.shape), dw, None


# %%
#| export
def plain_rms_norm(
    x: Float[Tensor, "*rows d"], weight: Float[Tensor, " d"], eps: float = 1e-5
) -> Float[Tensor, "*rows d"]:
    """x / sqrt(mean(x**2) + eps) * weight, one operation after the other. Built in notebooks/07_kernels.ipynb."""
    z = x.double() if x.dtype == torch.float64 else x.float()
    return (z * torch.rsqrt(z.square().mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def rms_norm(x: Float[Tensor, "..."], weight: Float[Tensor, "..."], eps: float = 1e-5) -> Float[Tensor, "..."]:
    """x / sqrt(mean(x**2) + eps) * weight along the last dimension (arXiv 1910.07467), forward and backward fused.

    The weight may be float32 beside an x of fewer bits. Built in notebooks/07_kernels.ipynb.
    """
    check(x=x)
    check(weight=weight)
    if weight.shape != x.shape[-1:] or weight.device != x.device:
        raise ValueError(
            f"weight {tuple(weight.shape)} on {weight.device} does not fit x {tuple(x.shape)} on {x.device}"
        )
    if x.shape[-1] > WIDEST:
        raise ValueError(f"rows of {x.shape[-1]} are wider than a program can hold: {WIDEST} at most")
    if BACKEND == "pytorch" or x.numel() == 0:
        return plain_rms_norm(x, weight, eps)
    return _RMSNorm.apply(x, weight, eps)


# %%
#| export
class RMSNorm(nn.Module):
    """The norm slot of a model: ``norm=RMSNorm``; parameter ``weight``. Built in notebooks/07_kernels.ipynb."""

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(d)), eps

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return rms_norm(x, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


# %%
for d in DTYPES[:2]:
    error = compare(rms_norm, plain_rms_norm, draw(3, 50, 77, dtype=d), draw(77, dtype=d))
    errors.setdefault("rms_norm", []).append(error)
strided, gain = draw(4, 6, 128)[:, ::2], torch.ones(128, device=DEVICE)  # rows with a stride
assert torch.allclose(rms_norm(strided, gain), F.rms_norm(strided, (128,), eps=1e-5), atol=1e-5)
print("largest error in units of rounding, float32 and bfloat16:", [f"{e:.1f}" for e in errors["rms_norm"]])

# %% [markdown]
# ## 5 · SwiGLU, and computing again what is cheap
#
# $h = \mathrm{silu}(g) \odot u$ with $g = x W_g$, $u = x W_u$, then $y = h W_d$. Autograd keeps $g$, $u$, $\mathrm{silu}(g)$ and
# $h$. But $h$ costs a few FLOPs a number to compute again, while $g$ and $u$ cost whole matrix products. So: keep the
# results of linear layers, compute the rest again. That is what Llama's trainers did, with a backward function written
# by hand in place of autograd's (arXiv 2302.13971, section 2.4).


# %%
#| export
@jit
def swiglu_kernel(h_ptr, gate_ptr, up_ptr, n, BLOCK: tl.constexpr):
    """h = silu(gate) * up."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(gate_ptr + i, mask=i < n, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + i, mask=i < n, other=0.0).to(tl.float32)
    tl.store(h_ptr + i, gate * tl.sigmoid(gate) * up, mask=i < n)


@jit
def swiglu_backward_kernel(h_ptr, dgate_ptr, dup_ptr, dh_ptr, gate_ptr, up_ptr, n, BLOCK: tl.constexpr):
    """The gradients of gate and up, and h once more: computed again instead of kept."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(gate_ptr + i, mask=i < n, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + i, mask=i < n, other=0.0).to(tl.float32)
    dh = tl.load(dh_ptr + i, mask=i < n, other=0.0).to(tl.float32)
    s = tl.sigmoid(gate)
    tl.store(h_ptr + i, gate * s * up, mask=i < n)
    tl.store(dgate_ptr + i, dh * up * s * (1 + gate * (1 - s)), mask=i < n)
    tl.store(dup_ptr + i, dh * gate * s, mask=i < n)


# %%
#| export
def plain_swiglu(gate: Float[Tensor, "..."], up: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """silu(gate) * up in two passes. Built in notebooks/07_kernels.ipynb."""
    g, u = (t if t.dtype == torch.float64 else t.float() for t in (gate, up))
    return (F.silu(g) * u).to(gate.dtype)


def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    if BACKEND == "pytorch":
        return plain_swiglu(gate, up)
    h = torch.empty_like(gate)
    launch(swiglu_kernel, flat_grid(h), h, gate, up, h.numel(), **FLAT)
    return h


def _swiglu_backward(dh: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """h, dgate, dup"""
    if BACKEND == "pytorch":
        g, u, d = gate.float(), up.float(), dh.float()
        s = torch.sigmoid(g)
        parts = g * s * u, d * u * s * (1 + g * (1 - s)), d * g * s
        return tuple(part.to(gate.dtype) for part in parts)
    parts = tuple(torch.empty_like(gate) for _ in range(3))
    launch(swiglu_backward_kernel, flat_grid(gate), *parts, dh.contiguous(), gate, up, gate.numel(), **FLAT)
    return parts


# %%
#| export
class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate, up):
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        return _swiglu(gate, up)

    @staticmethod
    @once_differentiable
    def backward(ctx, dh):
        return _swiglu_backward(dh, *ctx.saved_tensors)[1:]


def swiglu(gate: Float[Tensor, "..."], up: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """silu(gate) * up (arXiv 2002.05202); keeps only its inputs for the backward pass.

    Built in notebooks/07_kernels.ipynb.
    """
    check(gate=gate, up=up, same_shape=True)
    return _SwiGLU.apply(gate, up)


# %%
#| export
class _SwiGLUFeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w_gate, w_up, w_down):
        gate, up = F.linear(x, w_gate), F.linear(x, w_up)
        ctx.save_for_backward(x, w_gate, w_up, w_down, gate, up)
        return F.linear(_swiglu(gate, up), w_down)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, w_gate, w_up, w_down, gate, up = ctx.saved_tensors
        h, dgate, dup = _swiglu_backward(dy @ w_down, gate, up)
        dy, h, dgate, dup, flat = (t.flatten(0, -2) for t in (dy, h, dgate, dup, x))
        dx = torch.addmm(dgate @ w_gate, dup, w_up)
        return dx.view(x.shape), dgate.T @ flat, dup.T @ flat, dy.T @ h


def plain_swiglu_feed_forward(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """What `swiglu_feed_forward` computes, through autograd. Built in notebooks/07_kernels.ipynb."""
    return F.linear(F.silu(F.linear(x, w_gate)) * F.linear(x, w_up), w_down)


# %%
#| export
def swiglu_feed_forward(
    x: Float[Tensor, "..."], w_gate: Float[Tensor, "..."], w_up: Float[Tensor, "..."], w_down: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """down(silu(gate(x)) * up(x)), which keeps gate(x) and up(x) and computes their product again in the backward pass.

    x (..., d_model), w_gate and w_up (d_ff, d_model), w_down (d_model, d_ff). Built in notebooks/07_kernels.ipynb.
    """
    check(x=x, w_gate=w_gate, w_up=w_up, w_down=w_down)
    if not w_gate.shape == w_up.shape == w_down.T.shape or w_gate.shape[1] != x.shape[-1]:
        shapes = {name: tuple(t.shape) for name, t in (("x", x), ("gate", w_gate), ("up", w_up), ("down", w_down))}
        raise ValueError(f"these shapes do not fit together: {shapes}")
    return _SwiGLUFeedForward.apply(x, w_gate, w_up, w_down)


class SwiGLU(nn.Module):
    """A feed-forward network with the names of lecture 03's, on `swiglu_feed_forward`."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(d_model, d_ff, bias=False), nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return swiglu_feed_forward(x, self.gate.weight, self.up.weight, self.down.weight)


# %%
#| export
def feed_forward(config: object) -> SwiGLU:
    """The feed_forward slot: a `SwiGLU` of the sizes of a TransformerConfig. Built in notebooks/07_kernels.ipynb.

    Raises ValueError if the configuration asks for what it does not do: another activation, biases, dropout.
    """
    if config.activation != "swiglu" or config.bias or config.dropout:
        raise ValueError(
            "this feed-forward is swiglu without bias and dropout, but the configuration says "
            f"activation={config.activation!r}, bias={config.bias}, dropout={config.dropout}"
        )
    return SwiGLU(config.d_model, config.d_ff)


# %% [markdown]
# **Predict.** d_model 64, d_ff 256, 512 tokens, float32: how many bytes does each version keep for the backward pass
# besides input and weights?

# %%
guess = None  # (autograd, ours)

weights = [draw(256, 64) / 8, draw(256, 64) / 8, draw(64, 256) / 16]
for d in DTYPES[:2]:
    small = [w[:40, :16] if len(w) == 256 else w[:16, :40] for w in weights]
    small = [draw(3, 5, 16, dtype=d), *(w.to(d) for w in small)]
    errors.setdefault("swiglu", []).append(compare(swiglu, plain_swiglu, draw(7, 99, dtype=d), draw(7, 99, dtype=d)))
    errors.setdefault("feed-forward", []).append(compare(swiglu_feed_forward, plain_swiglu_feed_forward, *small))
x = draw(512, 64).requires_grad_()
leaves = [w.requires_grad_() for w in weights]
kept = {f: saved_bytes(lambda f=f: f(x, *leaves)) for f in (plain_swiglu_feed_forward, swiglu_feed_forward)}
inputs = x.nbytes + sum(w.nbytes for w in leaves)
kept = [(total - inputs) // (512 * 256 * 4) for total in kept.values()]
reveal("kept, in units of tokens × d_ff", kept, guess)
assert kept == [4, 2]

# %% [markdown]
# ## 6 · The loss without the logits
#
# The output layer of a model with 128,256 tokens makes, for 8,192 tokens, a billion logits: 4 GB in float32, and as much
# again for probabilities and gradients. Yet the loss needs of each row one number, its log-sum-exp, and the gradient is
#
# $$\frac{\partial\ell}{\partial z} = \frac{\mathrm{softmax}(z) - \mathrm{onehot}(t)}{n}$$
#
# which can be written over the logits. So take the tokens in chunks (分块): logits of a chunk, their loss, their
# gradient in place, at once multiplied into the gradients of hidden states and weight; then the next. The gradients are
# ready before the backward pass asks. (Liger-Kernel does this, arXiv 2410.10989.)


# %%
#| export
@jit
def log_sum_exp_kernel(
    loss_ptr, lse_ptr, x_ptr, target_ptr, x_stride, rows, n,
    IGNORE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """log(sum(exp(x))) of each row with the online sum, and the loss, log-sum-exp minus the target's logit."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    top, total = tl.full((ROWS, 1), -float("inf"), tl.float32), tl.zeros((ROWS, 1), tl.float32)
    for start in range(0, n, BLOCK):
        col = start + tl.arange(0, BLOCK)[None, :]
        x = tl.load(x_ptr + row * x_stride + col, mask=(row < rows) & (col < n), other=-float("inf")).to(tl.float32)
        top, total = online_step(top, total, x)
    lse = top + tl.log(tl.where(total == 0, 1.0, total))
    target = tl.load(target_ptr + row, mask=row < rows, other=IGNORE)
    counts = target != IGNORE
    logit = tl.load(x_ptr + row * x_stride + target, mask=counts, other=0.0).to(tl.float32)
    tl.store(lse_ptr + row, lse, mask=row < rows)
    tl.store(loss_ptr + row, tl.where(counts, lse - logit, 0.0), mask=row < rows)


# %%
#| export
@jit
def cross_entropy_backward_kernel(
    dx_ptr, x_ptr, lse_ptr, target_ptr, scale_ptr, dx_stride, x_stride, rows, n,
    IGNORE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dx = (softmax(x) - one_hot(target)) * scale; dx may be x itself."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    lse = tl.load(lse_ptr + row, mask=row < rows, other=0.0)
    target = tl.load(target_ptr + row, mask=row < rows, other=IGNORE)
    scale = tl.where(target == IGNORE, 0.0, tl.load(scale_ptr).to(tl.float32))
    for start in range(0, n, BLOCK):
        col = start + tl.arange(0, BLOCK)[None, :]
        inside = (row < rows) & (col < n)
        x = tl.load(x_ptr + row * x_stride + col, mask=inside, other=-float("inf")).to(tl.float32)
        dx = (tl.exp(x - lse) - tl.where(col == target, 1.0, 0.0)) * scale
        tl.store(dx_ptr + row * dx_stride + col, dx, mask=inside)


# %%
#| export
IGNORE = -100
"""The target that counts for nothing, as in torch.nn.functional.cross_entropy."""


def _losses(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each row, 0 where the target is IGNORE, and its log-sum-exp; both float32."""
    if BACKEND == "pytorch":
        lse = logits.float().logsumexp(-1)
        logit = logits.gather(-1, targets.clamp(min=0)[:, None])[:, 0].float()
        return torch.where(targets == IGNORE, 0.0, lse - logit), lse
    rows, n = logits.shape
    loss, lse = torch.empty(2, rows, dtype=torch.float32, device=logits.device)
    grid, tile = row_tiles(rows, n, CHUNK)
    launch(log_sum_exp_kernel, grid, loss, lse, logits, targets, logits.stride(0), rows, n, IGNORE, **tile)
    return loss, lse


# %%
#| export
def _logit_gradients(out: Tensor, logits: Tensor, lse: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """(softmax(logits) - one_hot(targets)) * scale, written into ``out``."""
    if BACKEND == "pytorch":
        gradient = torch.exp(logits.float() - lse[:, None])
        gradient[torch.arange(len(targets)), targets.clamp(min=0)] -= 1
        return out.copy_(gradient * torch.where(targets == IGNORE, 0.0, scale.float())[:, None])
    rows, n = logits.shape
    grid, tile = row_tiles(rows, n, CHUNK)
    strides = out.stride(0), logits.stride(0)
    launch(cross_entropy_backward_kernel, grid, out, logits, lse, targets, scale, *strides, rows, n, IGNORE, **tile)
    return out


# %%
#| export
class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets):
        loss, lse = _losses(logits, targets)
        count = (targets != IGNORE).sum()
        ctx.save_for_backward(logits, lse, targets, count)
        return loss.sum() / count

    @staticmethod
    @once_differentiable
    def backward(ctx, d):
        logits, lse, targets, count = ctx.saved_tensors
        return _logit_gradients(torch.empty_like(logits), logits, lse, targets, d / count), None


# %%
#| export
def _check_targets(targets: Tensor, rows: int, device: torch.device) -> None:
    if targets.dtype != torch.int64:
        raise TypeError(f"targets are {targets.dtype}: give int64")
    if targets.shape != (rows,) or targets.device != device:
        raise ValueError(f"targets {tuple(targets.shape)} on {targets.device} for {rows} rows on {device}")


def plain_cross_entropy(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """The mean over targets other than -100, in float32. Built in notebooks/07_kernels.ipynb."""
    return F.cross_entropy(logits if logits.dtype == torch.float64 else logits.float(), targets, ignore_index=IGNORE)


def cross_entropy(logits: Float[Tensor, "..."], targets: Int[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean of -log softmax(logits)[target] over the targets other than -100; logits (n, vocab), targets (n,) int64.

    Reads the logits once forward, once backward, and keeps no probabilities. A target outside the vocabulary is not
    found out. Built in notebooks/07_kernels.ipynb.
    """
    check(logits=logits)
    if logits.ndim != 2:
        raise ValueError(f"logits have shape {tuple(logits.shape)}: give (n, vocab)")
    _check_targets(targets, len(logits), logits.device)
    return _CrossEntropy.apply(rows_of(logits), targets.contiguous())


# %%
#| export
class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, targets, chunk):
        wanted = hidden.requires_grad, weight.requires_grad
        scale = 1 / (targets != IGNORE).sum()
        d_hidden = torch.empty_like(hidden) if any(wanted) else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for some, target, at in zip(hidden.split(chunk), targets.split(chunk), range(0, len(hidden), chunk)):
            logits = some @ weight.T  # (chunk, vocab): the only logits there ever are
            loss, lse = _losses(logits, target)
            total += loss.sum()
            if any(wanted):
                d_logits = _logit_gradients(logits, logits, lse, target, scale)
                torch.mm(d_logits, weight, out=d_hidden[at : at + chunk])
            if wanted[1]:
                d_weight += d_logits.T @ some  # float32, so that many chunks lose nothing
        ctx.save_for_backward(d_hidden, None if d_weight is None else d_weight.to(weight.dtype))
        return total * scale

    @staticmethod
    @once_differentiable
    def backward(ctx, d):
        return *(None if t is None else t * d.to(t.dtype) for t in ctx.saved_tensors), None, None


# %%
#| export
def plain_linear_cross_entropy(
    hidden: Float[Tensor, "n d_model"], weight: Float[Tensor, "vocab d_model"], targets: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """All logits, then their loss. Built in notebooks/07_kernels.ipynb."""
    return plain_cross_entropy(hidden @ weight.T, targets)


def linear_cross_entropy(
    hidden: Float[Tensor, "..."], weight: Float[Tensor, "..."], targets: Int[Tensor, "..."], *, chunk: int | None = None
) -> Float[Tensor, ""]:
    """The loss slot: `cross_entropy` of ``hidden @ weight.T``, ``chunk`` rows of logits at a time, never all.

    hidden (n, d_model), weight (vocab, d_model), targets (n,) int64. The gradients are made in the forward pass, while
    a chunk's logits are there; by default a chunk's logits take about as many bytes as ``hidden``.
    Built in notebooks/07_kernels.ipynb.
    """
    check(hidden=hidden, weight=weight)
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(f"hidden {tuple(hidden.shape)} and weight {tuple(weight.shape)}: give (n, d), (vocab, d)")
    _check_targets(targets, len(hidden), hidden.device)
    if chunk is None:
        chunk = max(256, -(-hidden.numel() // len(weight)))
    return _LinearCrossEntropy.apply(hidden, weight, targets.contiguous(), chunk)


# %%
class _Live(TorchDispatchMode):
    """Follows the storages that operations make, and how many bytes of them are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive, self.peak = {}, 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        self.alive = {key: (ref, size) for key, (ref, size) in self.alive.items() if not ref.expired()}
        given = {t.untyped_storage()._cdata for t in args if torch.is_tensor(t)}
        for t in out if isinstance(out, tuple | list) else [out]:
            storage = t.untyped_storage() if torch.is_tensor(t) else None
            if storage is not None and storage._cdata not in given:
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return out


# %%
def peak_bytes(function: Callable[[], object]) -> int:
    """The most memory that was taken at once during ``function()``, beyond what there was before.

    On a CPU: of the tensors that operations return; what a fused operation takes inside is not seen.
    """
    if DEVICE == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        return torch.cuda.max_memory_allocated() - before
    with _Live() as live:
        function()
    return live.peak


# %% [markdown]
# **Predict.** 2,048 tokens, d_model 64, vocabulary 8,192, float32: all logits take 64 MiB. What is the peak of forward
# and backward, whole and in chunks?

# %%
guess = None  # MiB (whole, chunks)

some = torch.randint(0, 1_000, (70,), device=DEVICE)
some[::7] = IGNORE
pair = (lambda z: cross_entropy(z, some)), lambda z: plain_cross_entropy(z, some)
errors["cross-entropy"] = [compare(*pair, draw(70, 1_000, dtype=d)) for d in DTYPES[:2]]
pair = (lambda h, w: linear_cross_entropy(h, w, some, chunk=32)), lambda h, w: plain_linear_cross_entropy(h, w, some)
inputs = draw(70, 32), draw(1_000, 32) / 5
errors["linear cross-entropy"] = [compare(*pair, *(t.to(d) for t in inputs)) for d in DTYPES[:2]]

hidden, weight = draw(2_048, 64).requires_grad_(), (draw(8_192, 64) / 8).requires_grad_()
target = torch.randint(0, 8_192, (2_048,), device=DEVICE)
losses = plain_linear_cross_entropy, linear_cross_entropy
peaks = [peak_bytes(lambda f=f: f(hidden, weight, target).backward()) / 2**20 for f in losses]
reveal("peak in MiB, whole and in chunks", [f"{p:.0f}" for p in peaks], guess)
assert peaks[0] > 2 * 64 and peaks[1] < peaks[0] / 4

# %% [markdown]
# ## 7 · RoPE and Lion
#
# **RoPE** (a3) turns pairs of numbers by an angle. Undoing a rotation is turning by the opposite angle, so the backward
# pass is the same kernel with the sign of the sine changed, and keeps nothing of $x$. The position comes through
# strides, so that neither a transposed tensor nor broadcast positions are copied.


# %%
#| export
@jit
def rope_kernel(
    y_ptr, x_ptr, cos_ptr, sin_ptr, position_ptr, y_strides, x_strides, position_strides, heads, seq, pairs, limit, sign,
    INTERLEAVED: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Turn the pairs of ROWS tokens of one head by their angles; sign -1 turns back, which is the backward pass."""
    batch, head = tl.program_id(1).to(tl.int64) // heads, tl.program_id(1).to(tl.int64) % heads
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    pair = tl.arange(0, BLOCK)[None, :]
    inside = (row < seq) & (pair < pairs)
    at = position_ptr + batch * position_strides[0] + head * position_strides[1] + row * position_strides[2]
    position = tl.load(at, mask=row < seq, other=0)
    known = inside & (position >= 0) & (position < limit)  # elsewhere the result is nan, not somebody else's memory
    cos = tl.load(cos_ptr + position * pairs + pair, mask=known, other=float("nan"))
    sin = tl.load(sin_ptr + position * pairs + pair, mask=known, other=float("nan")) * sign
    first = 2 * pair if INTERLEAVED else pair
    second = first + 1 if INTERLEAVED else first + pairs
    x_ptr += batch * x_strides[0] + head * x_strides[1] + row * x_strides[2]
    y_ptr += batch * y_strides[0] + head * y_strides[1] + row * y_strides[2]
    a = tl.load(x_ptr + first, mask=inside).to(tl.float32)
    b = tl.load(x_ptr + second, mask=inside).to(tl.float32)
    tl.store(y_ptr + first, a * cos - b * sin, mask=inside)
    tl.store(y_ptr + second, a * sin + b * cos, mask=inside)


# %%
#| export
def _as_4d(x: Tensor) -> Tensor:
    """(batch, heads, seq, d) of a tensor (..., seq, d), a view wherever strides allow."""
    while x.ndim < 4:
        x = x.unsqueeze(0 if x.ndim == 2 else 1)
    return x if x.ndim == 4 else x.flatten(0, -4)


def _turn(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, layout: str, sign: int) -> Tensor:
    x4 = _as_4d(x if x.stride(-1) == 1 else x.contiguous())
    batch, heads, seq, d = x4.shape
    at = _as_4d(positions.expand(x.shape[:-1])[..., None])[..., 0]
    y = torch.empty_like(x4)
    y = y if y.stride(-1) == 1 else torch.empty_like(x4, memory_format=torch.contiguous_format)
    block = triton.next_power_of_2(d // 2)
    rows = max(1, min(TILE // block, triton.next_power_of_2(seq)))
    strides = y.stride()[:3], x4.stride()[:3], at.stride()
    sizes = heads, seq, d // 2, len(cos), sign, layout == "interleaved"
    grid = triton.cdiv(seq, rows), batch * heads
    launch(rope_kernel, grid, y, x4, cos, sin, at, *strides, *sizes, ROWS=rows, BLOCK=block, num_warps=8)
    return y.view(x.shape)


# %%
#| export
class _RoPE(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, cos, sin, positions, layout):
        ctx.save_for_backward(cos, sin, positions)  # not x: a rotation is undone without it
        ctx.layout = layout
        return _turn(x, cos, sin, positions, layout, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        return _turn(dy, *ctx.saved_tensors, ctx.layout, -1), None, None, None, None


def plain_rope(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, layout: str = "interleaved") -> Tensor:
    """What `rope` computes, as products of complex numbers. Built in notebooks/07_kernels.ipynb."""
    z = x if x.dtype == torch.float64 else x.float()
    pairs = z.unflatten(-1, (-1, 2)) if layout == "interleaved" else z.unflatten(-1, (2, -1)).mT
    turned = torch.view_as_complex(pairs.contiguous()) * torch.complex(cos, sin)[positions]  # e^(i angle)
    pairs = torch.view_as_real(turned)
    return (pairs if layout == "interleaved" else pairs.mT).flatten(-2).to(x.dtype)


# %%
#| export
def rope(
    x: Float[Tensor, "..."], cos: Float[Tensor, "..."], sin: Float[Tensor, "..."], positions: Int[Tensor, "..."],
    layout: str = "interleaved",
) -> Float[Tensor, "..."]:  # fmt: skip
    """x (..., seq, d) with each pair turned by the angle whose cosine and sine are in row ``positions`` of the tables.

    cos, sin (max_seq_len, d / 2) float32; positions broadcast to x.shape[:-1]; "interleaved" pairs (0, 1), (2, 3), ...,
    "half" pairs (i, i + d / 2). Built in notebooks/07_kernels.ipynb.
    """
    check(x=x)
    check(cos=cos, sin=sin, same_shape=True)
    if layout not in ("interleaved", "half"):
        raise ValueError(f"layout is {layout!r}: give 'interleaved' or 'half'")
    if x.ndim < 2 or x.shape[-1] % 2 or cos.shape[1:] != (x.shape[-1] // 2,) or cos.dtype != torch.float32:
        raise ValueError(
            f"x {tuple(x.shape)} asks for float32 tables (max_seq_len, {x.shape[-1] // 2}), not {cos.shape}"
        )
    if positions.is_floating_point() or not {cos.device, positions.device} == {x.device}:
        raise ValueError(f"positions are {positions.dtype} on {positions.device}: give integers on {x.device}")
    if BACKEND == "pytorch" or x.numel() == 0:
        return plain_rope(x, cos, sin, positions, layout)
    return _RoPE.apply(x, cos.contiguous(), sin.contiguous(), positions, layout)


# %%
#| export
class RotaryPositionalEmbedding(nn.Module):
    """a3's module on `rope`: the same arguments, ``forward(x, token_positions)``, nothing in its state_dict."""

    def __init__(self, theta: float, d_k: int, max_seq_len: int, device=None, *, layout: str = "interleaved") -> None:
        super().__init__()
        powers = torch.arange(0, d_k, 2, device=device, dtype=torch.float64) / d_k
        angles = torch.outer(torch.arange(max_seq_len, device=device, dtype=torch.float64), theta**-powers)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)
        self.layout = layout

    def forward(self, x: Float[Tensor, "..."], token_positions: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
        return rope(x, self.cos, self.sin, token_positions, self.layout)


# %% [markdown]
# **Lion** (a4) reads a parameter, its gradient and its momentum, and writes two of them: five passes at least. Written
# with PyTorch operations it makes several times as many.


# %%
#| export
@jit
def lion_kernel(p_ptr, g_ptr, m_ptr, n, lr, shrink, beta1, beta2, BLOCK: tl.constexpr):
    """Parameter and momentum, in place: three reads and two writes for a whole step."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    p = tl.load(p_ptr + i, mask=i < n, other=0.0).to(tl.float32)
    g = tl.load(g_ptr + i, mask=i < n, other=0.0).to(tl.float32)
    m = tl.load(m_ptr + i, mask=i < n, other=0.0).to(tl.float32)
    u = beta1 * m + (1 - beta1) * g
    sign = tl.where(u > 0, 1.0, tl.where(u < 0, -1.0, u))  # 0 stays 0, and nan is not hidden
    tl.store(p_ptr + i, p * shrink - lr * sign, mask=i < n)
    tl.store(m_ptr + i, beta2 * m + (1 - beta2) * g, mask=i < n)


# %%
#| export
@torch.no_grad()
def plain_lion_step(
    p: Tensor, g: Tensor, m: Tensor, *, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
) -> None:
    """What `lion_step` does, in one operation after the other. Built in notebooks/07_kernels.ipynb."""
    wide = [t if t.dtype == torch.float64 else t.float() for t in (p, g, m)]
    u = betas[0] * wide[2] + (1 - betas[0]) * wide[1]
    p.copy_(wide[0] * (1 - lr * weight_decay) - lr * u.sign())
    m.copy_(betas[1] * wide[2] + (1 - betas[1]) * wide[1])


# %%
#| export
@torch.no_grad()
def lion_step(
    p: Tensor, g: Tensor, m: Tensor, *, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
) -> None:
    """One step of Lion (arXiv 2302.06675) on a parameter, its gradient and its momentum; p and m are changed in place.

    Computed in float32, rounded once. Built in notebooks/07_kernels.ipynb.
    """
    check(p=p, g=g, m=m, same_shape=True)
    if BACKEND == "pytorch" or p.numel() == 0:
        return plain_lion_step(p, g, m, lr=lr, betas=betas, weight_decay=weight_decay)
    if not p.is_contiguous() or not m.is_contiguous():
        raise ValueError("p and m are changed in place: both must be contiguous")
    launch(lion_kernel, flat_grid(p), p, g.contiguous(), m, p.numel(), lr, 1 - lr * weight_decay, *betas, **FLAT)


# %%
#| export
class Lion(torch.optim.Optimizer):
    """Lion with one kernel for each parameter. Built in notebooks/07_kernels.ipynb."""

    def __init__(self, params, lr: float = 1e-4, betas=(0.9, 0.99), weight_decay: float = 0.0) -> None:
        if lr < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr {lr}, betas {betas} and weight_decay {weight_decay}: out of range")
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], object] | None = None) -> object:
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            options = {name: group[name] for name in ("lr", "betas", "weight_decay")}
            for p in (p for p in group["params"] if p.grad is not None):
                if not self.state[p]:
                    self.state[p]["exp_avg"] = torch.zeros_like(p, memory_format=torch.contiguous_format)
                lion_step(p, p.grad, self.state[p]["exp_avg"], **options)
        return loss


# %% [markdown]
# **Predict.** How many times fewer bytes does the fused step of Lion move?

# %%
guess = None

angles = torch.outer(torch.arange(64.0), 10_000 ** -(torch.arange(8) / 8)).to(DEVICE)
at = torch.arange(20, device=DEVICE)
for layout in ("interleaved", "half"):
    tables = angles.cos(), angles.sin(), at, layout
    pair = (lambda x, t=tables: rope(x, *t)), lambda x, t=tables: plain_rope(x, *t)
    found = [compare(*pair, draw(2, 20, 3, 16, dtype=d).transpose(1, 2)) for d in DTYPES[:2]]
    errors[f"rope, {layout}"] = found
p, g, m = draw(300, 100), draw(300, 100), draw(300, 100)
options = {"lr": 0.01, "weight_decay": 0.1}
once, twice = [p.clone(), g, m.clone()], [p.clone(), g, m.clone()]
plain_lion_step(*once, **options)
lion_step(*twice, **options)
assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(once, twice))
lion = [eager_bytes(lambda: plain_lion_step(*once, **options)), kernel_bytes(lambda: lion_step(*once, **options))]
if BACKEND == "interpreter":
    reveal("times fewer bytes", f"{lion[0] / lion[1]:.1f}", guess)
    assert lion[1] == 5 * p.nbytes and lion[0] > 2 * lion[1]

# %% [markdown]
# All fused kernels together, forward and backward, against operation after operation:

# %%
x, y, w = (draw(128, 512).requires_grad_() for _ in range(3))
gain, labels = torch.ones(512, device=DEVICE, requires_grad=True), torch.randint(0, 512, (128,), device=DEVICE)


def rms_by_operations(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * gain


jobs = {
    "softmax": (lambda: four_operations(x), lambda: softmax(x)),
    "RMSNorm": (lambda: rms_by_operations(x, gain), lambda: rms_norm(x, gain)),
    "SwiGLU": (lambda: y * torch.sigmoid(y) * w, lambda: swiglu(y, w)),
    "cross-entropy": (lambda: -(four_operations(x).log()[range(128), labels]).mean(), lambda: cross_entropy(x, labels)),
}
bytes_moved = {}
for name, (unfused, fused) in jobs.items():
    counts = [count(lambda f=f: f().sum().backward()) for count, f in ((eager_bytes, unfused), (kernel_bytes, fused))]
    bytes_moved[name] = [c and c / x.nbytes for c in counts]
bytes_moved["Lion"] = [c and c / p.nbytes for c in lion]

# %%
fig, ax = axes(xlabel="bytes moved, in units of one tensor", ylabel="operation", size=(6.4, 3.2))
names = list(bytes_moved)
ax.barh(
    np.arange(5) + 0.2, [bytes_moved[n][0] for n in names], 0.38, color=COLORS["sky_blue"], label="PyTorch operations"
)
if BACKEND == "interpreter":
    fused_bars = [bytes_moved[n][1] for n in names]
    ax.barh(np.arange(5) - 0.2, fused_bars, 0.38, color=COLORS["vermillion"], label="one kernel each way")
    assert all(fused < unfused / 2 for unfused, fused in bytes_moved.values())
    assert bytes_moved["SwiGLU"][1] == 9  # forward 3, backward 6: with h computed again
ax.set(yticks=range(5), yticklabels=names, title="The same result, fewer bytes")
finish(fig)

# %% [markdown]
# ## 8 · Matrix product: tiles and their order
#
# A program computes one tile of $C$. It walks along $K$: loads a tile of $A$ and one of $B$, multiplies them on the tensor
# cores (`tl.dot`), adds up in float32. Each number of $A$ is read once for every *column of tiles*, not for every column:
# with tiles of 128, 128 times less often.
#
# Some 132 programs run at the same time, and what one has read is in the L2 cache for the others. In row-major order
# they share rows of $A$ and touch all of $B$. In *grouped* order, down a few rows before the next column, they form a
# block, and touch less.


# %%
#| export tiles
@jit
def tile_of(program, tiles_m, tiles_n, GROUP: tl.constexpr):
    """Row and column of a program's tile: down GROUP rows, then the next column, so that neighbours share operands."""
    in_group = GROUP * tiles_n
    first = program // in_group * GROUP
    height = tl.minimum(tiles_m - first, GROUP)
    return first + program % in_group % height, program % in_group // height


# %%
#| export tiles
@jit
def matmul_kernel(
    c_ptr, a_ptr, b_ptr, m, n, k, bucket, c_strides, a_strides, b_strides,
    PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """One (M, N) tile of C = A B, summed over tiles of K; ``bucket`` is for the choice of tiles only."""
    tile_m, tile_n = tile_of(tl.program_id(0), tl.cdiv(m, M), tl.cdiv(n, N), GROUP)
    row, col = (tile_m * M + tl.arange(0, M)).to(tl.int64), (tile_n * N + tl.arange(0, N)).to(tl.int64)
    inner = tl.arange(0, K)
    a_ptrs = a_ptr + (row % m)[:, None] * a_strides[0] + inner[None, :] * a_strides[1]  # wrapped round: no mask needed
    b_ptrs = b_ptr + inner[:, None] * b_strides[0] + (col % n)[None, :] * b_strides[1]
    total = tl.zeros((M, N), tl.float32)
    for start in range(0, k, K):
        a = tl.load(a_ptrs, mask=inner[None, :] < k - start, other=0.0)
        b = tl.load(b_ptrs, mask=inner[:, None] < k - start, other=0.0)
        if INTERPRETED:  # it cannot multiply bfloat16
            a, b = a.to(tl.float32), b.to(tl.float32)
        total = tl.dot(a, b, total, input_precision=PRECISION)
        a_ptrs += K * a_strides[1]
        b_ptrs += K * b_strides[0]
    c_ptrs = c_ptr + row[:, None] * c_strides[0] + col[None, :] * c_strides[1]
    tl.store(c_ptrs, total.to(c_ptr.dtype.element_ty), mask=(row[:, None] < m) & (col[None, :] < n))


# %%
#| export tiles
def tuned(kernel: object, gpu: list[tuple[dict[str, int], int, int]], here: dict[str, int], key: list[str]) -> object:
    """The kernel with its tile sizes: on a GPU the best of ``gpu``, (tiles, warps, stages), measured on first use and
    kept on disk for each value of ``key``; on the interpreter ``here``. Built in notebooks/07_kernels.ipynb.
    """
    if triton is None:
        return kernel
    configs = [triton.Config(tiles, num_warps=warps, num_stages=stages) for tiles, warps, stages in gpu]
    if BACKEND == "interpreter":
        configs = [triton.Config(here)]

    def fit(configs: list, arguments: dict, **_: object) -> list:
        """The last for small sizes, which are not worth a search; few for float32, whose products fill the registers."""
        wide = next(iter(arguments.values())).dtype == torch.float32
        small = max(arguments["bucket"] // 100**i % 100 for i in range(3)) < 10  # nothing above 512
        return configs[-1:] if small else [c for c in configs if not wide or c.kwargs["M"] * c.kwargs["N"] <= 64 * 64]

    prune = {"early_config_prune": fit}
    return triton.autotune(configs, key=key, prune_configs_by=prune, cache_results=True)(kernel)


# %%
#| export tiles
MATMUL_TILES = [
    ({"M": 128, "N": 256, "K": 64, "GROUP": 8}, 8, 3),
    ({"M": 256, "N": 128, "K": 64, "GROUP": 8}, 8, 3),
    ({"M": 128, "N": 128, "K": 64, "GROUP": 8}, 4, 4),
    ({"M": 128, "N": 128, "K": 32, "GROUP": 8}, 8, 3),
    ({"M": 128, "N": 64, "K": 64, "GROUP": 8}, 4, 4),
    ({"M": 64, "N": 64, "K": 32, "GROUP": 8}, 4, 4),
]
tuned_matmul = tuned(matmul_kernel, MATMUL_TILES, {"M": 128, "N": 128, "K": 128, "GROUP": 8}, ["bucket"])


def precision_of(x: Tensor) -> str:
    """How a kernel multiplies float32: exactly, or in TF32 if torch.set_float32_matmul_precision allows it.

    Built in notebooks/07_kernels.ipynb.
    """
    return "ieee" if x.dtype != torch.float32 or torch.get_float32_matmul_precision() == "highest" else "tf32"


def bucket_of(*sizes: int) -> int:
    """One number for sizes of about this magnitude: a choice of tiles serves them all. Built in notebooks/07_kernels.ipynb."""
    return sum((size - 1).bit_length() * 100**i for i, size in enumerate(sizes))


# %%
#| export tiles
def _matmul(a: Tensor, b: Tensor) -> Tensor:
    (m, k), n = a.shape, b.shape[1]
    c = torch.empty(m, n, dtype=a.dtype, device=a.device)

    def grid(tile: dict) -> tuple[int]:
        return (triton.cdiv(m, tile["M"]) * triton.cdiv(n, tile["N"]),)

    sizes = m, n, k, bucket_of(m, n, k)
    launch(tuned_matmul, grid, c, a, b, *sizes, c.stride(), a.stride(), b.stride(), PRECISION=precision_of(a))
    return c


class _Matmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return _matmul(a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx, dc):
        a, b = ctx.saved_tensors
        return _matmul(dc, b.T), _matmul(a.T, dc)  # the strides say "transposed": nothing is copied


# %%
#| export tiles
def matmul(a: Float[Tensor, "..."], b: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The product of (m, k) and (k, n) with any strides, summed in float32. Built in notebooks/07_kernels.ipynb."""
    check(a=a, b=b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"cannot multiply {tuple(a.shape)} by {tuple(b.shape)}: give (m, k) and (k, n)")
    if BACKEND == "pytorch" or 0 in (*a.shape, *b.shape):
        return a @ b
    return _Matmul.apply(a, b)


# %% [markdown]
# **Predict.** 64 × 64 tiles of C, 132 programs at once: how many strips of A and of B do the first 132 touch, in
# row-major order and in groups of 8?

# %%
guess = None  # (row-major, grouped)


def strips(group: int, tiles: int = 64, at_once: int = 132) -> tuple[int, np.ndarray]:
    """How many strips of A and B the programs that run first need, and in which order tiles are made."""
    order = np.zeros((tiles, tiles))
    for program in range(tiles * tiles):  # tile_of in plain numbers
        first = program // (group * tiles) * group
        order[first + program % (group * tiles) % group, program % (group * tiles) // group] = program
    row, col = np.nonzero(order < at_once)
    return len(set(row)) + len(set(col)), order


(row_major, one), (grouped, eight) = strips(1), strips(8)
reveal("strips", (row_major, grouped), guess)
assert row_major == 3 + 64 and grouped == 8 + 17
fig, panels = axes(1, 2, xlabel="column of tiles", ylabel="row of tiles (first 20 of 64)", size=(6.8, 3.2))
for ax, order, title in zip(panels, (one, eight), ("row after row: 67 strips", "groups of 8: 25 strips")):
    ax.imshow(np.where(order < 132, 132 - order, np.nan)[:20], cmap="viridis", aspect=2)
    ax.set_title("132 programs, " + title, fontsize=9)
finish(fig)

# %%
for d in DTYPES[:2]:  # ragged, and the second operand transposed
    error = compare(matmul, lambda a, b: a @ b, draw(150, 70, dtype=d), draw(170, 70, dtype=d).T)
    errors.setdefault("matmul", []).append(error)
print("largest error in units of rounding:", [f"{e:.1f}" for e in errors["matmul"]])

# %% [markdown]
# ## 9 · FlashAttention
#
# Attention's scores are $T \times T$ for every head: written, read by softmax, written, read again. FlashAttention
# (arXiv 2205.14135) never makes them whole. A program takes a tile of queries, walks over the tiles of keys and values,
# and keeps of all that it saw a running maximum, a running sum and a running output, corrected as in section 3:
#
# $$O \leftarrow O\, e^{m - m'} + e^{S - m'} V$$
#
# **Nothing is approximate, and nothing is hashed** (that is Reformer, 2001.04451). It is exact attention, in tiles.
# FlashAttention-2 (2307.08691) gives each program one tile of queries, divides once at the end, and splits the
# keys into tiles that are seen whole, tiles at the causal diagonal, and tiles that nobody sees, which are skipped.
#
# **Predict.** 1,024 queries and keys, tiles of 128: which share of the tiles is skipped by a causal mask, and which
# share needs the mask at all?

# %%
guess = None  # percent (skipped, masked)

tiles = 8
kind = np.array([[0 if k > q else (1 if k == q else 2) for k in range(tiles)] for q in range(tiles)])
skipped, masked = (kind == 0).mean(), (kind == 1).mean()
reveal("skipped, masked", (f"{100 * skipped:.0f} %", f"{100 * masked:.0f} %"), guess)
assert skipped == 28 / 64 and masked == 8 / 64
fig, ax = axes(xlabel="tile of keys", ylabel="tile of queries", size=(4.6, 3.6), title="Skipped, masked, seen whole")
ax.imshow(kind, cmap="cividis")
for q in range(tiles):
    ax.text(q, q, "mask", ha="center", va="center", fontsize=8)
finish(fig)

# %% [markdown]
# For the backward pass only the output and one number for each query are kept, the log-sum-exp $L$. Tile by tile the
# probabilities are computed again, $P = e^{S - L}$, and with $D_i = \sum_j dO_{ij} O_{ij}$
#
# $$dV = P^\top dO, \quad dP = dO\, V^\top, \quad dS = P \odot (dP - D), \quad dQ = dS\, K, \quad dK = dS^\top Q$$
#
# One kernel makes dQ, a program for each tile of queries; another makes dK and dV, a program for each tile of keys, which
# also sums over the query heads that share it (GQA). So no two programs write to one place, and nothing is atomic.


# %%
#| export flash
"""FlashAttention-2 (arXiv 2205.14135, 2307.08691): exact attention in tiles, whose memory is linear in the length.

Q (batch, heads, q, d); K and V (batch, kv_heads, k, d), where query heads share keys and values in turn: head h reads
h // (heads / kv_heads). Only the output and one number for each query, its log-sum-exp, are kept for the backward pass.
Causal means: query i sees keys up to i + k - q, so that queries stand at the end of the keys, as in decoding.
A mask is boolean, True = may attend, and broadcasts to (batch, heads, q, k). A query that sees nothing gets zeros.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch.nn.attention import SDPBackend, sdpa_kernel


# %%
#| export flash
@jit
def of_head(ptr, strides, heads, group):
    """Where the matrix of this program's head begins, when ``group`` heads share one; program_id(1) counts heads."""
    batch, head = tl.program_id(1).to(tl.int64) // heads, tl.program_id(1).to(tl.int64) % heads
    return ptr + batch * strides[0] + head // group * strides[1]


@jit
def tile_at(ptr, first, stride, ROWS: tl.constexpr, BLOCK_D: tl.constexpr):
    """Pointers to ROWS rows of a matrix, from row ``first`` on."""
    inner = tl.arange(0, ROWS)[:, None] * stride + tl.arange(0, BLOCK_D)[None, :]
    return ptr + tl.cast(first, tl.int64) * stride + inner


# %%
#| export flash
@jit
def load_tile(
    ptr, first, stride, limit, ROWS: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, EDGE: tl.constexpr
):
    """Rows of a (limit, D) matrix, with zeros outside it. Without EDGE all rows lie inside and need no mask."""
    row, col = tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK_D)[None, :]
    ptrs = ptr + tl.cast(first, tl.int64) * stride + (row * stride + col)
    if EDGE:
        tile = tl.load(ptrs, mask=(first + row < limit) & (col < D), other=0.0)
    elif BLOCK_D == D:
        tile = tl.load(ptrs)
    else:
        tile = tl.load(ptrs, mask=col < D, other=0.0)
    return tile.to(tl.float32) if INTERPRETED else tile  # the interpreter cannot multiply bfloat16


# %%
#| export flash
@jit
def hide(
    scores, row, col, q_len, k_len, mask_ptr, mask_strides, CAUSAL: tl.constexpr, MASK: tl.constexpr, EDGE: tl.constexpr
):
    """-inf where query ``row`` does not see key ``col``."""
    if EDGE:
        seen = (col < k_len) & (row < q_len)
        if CAUSAL:
            seen = seen & (col <= row + (k_len - q_len))
        scores = tl.where(seen, scores, -float("inf"))
    if MASK:
        inside = (row < q_len) & (col < k_len)
        seen = tl.load(mask_ptr + row.to(tl.int64) * mask_strides[2] + col * mask_strides[3], mask=inside, other=0)
        scores = tl.where(seen != 0, scores, -float("inf"))
    return scores


# %%
#| export flash
@jit
def seen_by(first, M: tl.constexpr, q_len, k_len, CAUSAL: tl.constexpr, N: tl.constexpr):
    """For queries first to first + M: up to which key, a multiple of N, all see all; and up to which any sees any."""
    whole, stop = k_len // N * N, k_len
    if CAUSAL:
        past = k_len - q_len
        whole = tl.minimum(whole, tl.maximum(first + past + 1, 0) // N * N)
        stop = tl.minimum(stop, tl.maximum(first + M + past, 0))
    return whole, stop


# %%
#| export flash
@jit
def attend_to_tiles(
    acc, top, total, q, k_ptr, v_ptr, mask_ptr, row, start, stop, q_len, k_len, k_stride, v_stride, mask_strides, scale,
    D: tl.constexpr, BLOCK_D: tl.constexpr, CAUSAL: tl.constexpr, MASK: tl.constexpr, EDGE: tl.constexpr,
    PRECISION: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """The online softmax over the keys from start to stop: acc and total are relative to the running maximum top."""
    for first in range(start, stop, N):
        k = load_tile(k_ptr, first, k_stride, k_len, N, D, BLOCK_D, EDGE)
        scores = (
            tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        )  # in units of log 2: GPUs have an instruction for exp2
        col = first + tl.arange(0, N)[None, :]
        scores = hide(scores, row[:, None], col, q_len, k_len, mask_ptr, mask_strides, CAUSAL, MASK, EDGE)
        new = tl.maximum(top, tl.max(scores, axis=1))
        safe = tl.where(new == -float("inf"), 0.0, new)  # nothing seen so far: avoid inf - inf
        powers, shrink = tl.exp2(scores - safe[:, None]), tl.exp2(top - safe)
        v = load_tile(v_ptr, first, v_stride, k_len, N, D, BLOCK_D, EDGE)
        acc = tl.dot(powers.to(v.dtype), v, acc * shrink[:, None], input_precision=PRECISION)
        total, top = total * shrink + tl.sum(powers, axis=1), new
    return acc, top, total


# %%
#| export flash
@jit
def write_output(
    o_ptr, lse_ptr, acc, top, total, tile, o_stride, q_len, M: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr
):
    """The output, divided by the sum at last, and the log-sum-exp in units of log 2; +inf for who sees nothing."""
    row, col = tile * M + tl.arange(0, M), tl.arange(0, BLOCK_D)[None, :]
    some = tl.where(total == 0, 1.0, total)
    out = (acc / some[:, None]).to(o_ptr.dtype.element_ty)
    tl.store(tile_at(o_ptr, tile * M, o_stride, M, BLOCK_D), out, mask=(row[:, None] < q_len) & (col < D))
    tl.store(lse_ptr + row, tl.where(total == 0, float("inf"), top + tl.log2(some)), mask=row < q_len)


# %%
#| export flash
@jit
def flash_forward_kernel(
    o_ptr, lse_ptr, q_ptr, k_ptr, v_ptr, mask_ptr, o_strides, q_strides, k_strides, v_strides, mask_strides,
    heads, group, q_len, k_len, scale, bucket, D: tl.constexpr, BLOCK_D: tl.constexpr, CAUSAL: tl.constexpr,
    MASK: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """M queries of one head against all keys that they see: tiles that are seen whole, then those at the edge."""
    tile = tl.num_programs(0) - 1 - tl.program_id(0)  # the last queries see most keys: begin with them
    row = tile * M + tl.arange(0, M)
    k_ptr, v_ptr = of_head(k_ptr, k_strides, heads, group), of_head(v_ptr, v_strides, heads, group)
    mask_ptr = of_head(mask_ptr, mask_strides, heads, 1)
    q = load_tile(of_head(q_ptr, q_strides, heads, 1), tile * M, q_strides[2], q_len, M, D, BLOCK_D, True)
    acc, total = tl.zeros((M, BLOCK_D), tl.float32), tl.zeros((M,), tl.float32)
    top = tl.full((M,), -float("inf"), tl.float32)
    whole, stop = seen_by(tile * M, M, q_len, k_len, CAUSAL, N)
    for EDGE in tl.static_range(2):
        acc, top, total = attend_to_tiles(
            acc, top, total, q, k_ptr, v_ptr, mask_ptr, row, whole * EDGE, stop * EDGE + whole * (1 - EDGE), q_len,
            k_len, k_strides[2], v_strides[2], mask_strides, scale, D, BLOCK_D, CAUSAL, MASK, EDGE, PRECISION, N,
        )  # fmt: skip
    lse_ptr += tl.program_id(1).to(tl.int64) * q_len
    o_ptr = of_head(o_ptr, o_strides, heads, 1)
    write_output(o_ptr, lse_ptr, acc, top, total, tile, o_strides[2], q_len, M, D, BLOCK_D)


# %%
#| export flash
@jit
def flash_delta_kernel(
    delta_ptr, o_ptr, do_ptr, o_strides, do_strides, heads, q_len,
    D: tl.constexpr, BLOCK_D: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """delta = sum(dO * O) of each query: what the backward pass of softmax subtracts."""
    first = tl.program_id(0) * M
    o = load_tile(of_head(o_ptr, o_strides, heads, 1), first, o_strides[2], q_len, M, D, BLOCK_D, True)
    do = load_tile(of_head(do_ptr, do_strides, heads, 1), first, do_strides[2], q_len, M, D, BLOCK_D, True)
    row = first + tl.arange(0, M)
    delta = tl.sum(o.to(tl.float32) * do.to(tl.float32), axis=1)
    tl.store(delta_ptr + tl.program_id(1).to(tl.int64) * q_len + row, delta, mask=row < q_len)


# %%
#| export flash
@jit
def dq_from_tiles(
    dq, q, do, lse, delta, k_ptr, v_ptr, mask_ptr, row, start, stop, q_len, k_len, k_stride, v_stride, mask_strides,
    scale, D: tl.constexpr, BLOCK_D: tl.constexpr, CAUSAL: tl.constexpr, MASK: tl.constexpr, EDGE: tl.constexpr,
    PRECISION: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Add what the keys from start to stop give to dQ; the probabilities are computed again from the log-sum-exp."""
    for first in range(start, stop, N):
        k = load_tile(k_ptr, first, k_stride, k_len, N, D, BLOCK_D, EDGE)
        v = load_tile(v_ptr, first, v_stride, k_len, N, D, BLOCK_D, EDGE)
        col = first + tl.arange(0, N)[None, :]
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        scores = hide(scores, row[:, None], col, q_len, k_len, mask_ptr, mask_strides, CAUSAL, MASK, EDGE)
        ds = tl.exp2(scores - lse[:, None]) * (tl.dot(do, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        dq += tl.dot(ds.to(k.dtype), k, input_precision=PRECISION)
    return dq


# %%
#| export flash
@jit
def flash_dq_kernel(
    dq_ptr, lse_ptr, delta_ptr, do_ptr, q_ptr, k_ptr, v_ptr, mask_ptr, dq_strides, do_strides, q_strides, k_strides,
    v_strides, mask_strides, heads, group, q_len, k_len, scale, factor, bucket, D: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, MASK: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """dQ of M queries of one head; ``factor`` is the scale of the scores without the log 2."""
    first = (tl.num_programs(0) - 1 - tl.program_id(0)) * M
    row, flat = first + tl.arange(0, M), tl.program_id(1).to(tl.int64) * q_len
    q = load_tile(of_head(q_ptr, q_strides, heads, 1), first, q_strides[2], q_len, M, D, BLOCK_D, True)
    do = load_tile(of_head(do_ptr, do_strides, heads, 1), first, do_strides[2], q_len, M, D, BLOCK_D, True)
    lse = tl.load(lse_ptr + flat + row, mask=row < q_len, other=float("inf"))
    delta, dq = tl.load(delta_ptr + flat + row, mask=row < q_len, other=0.0), tl.zeros((M, BLOCK_D), tl.float32)
    k_ptr, v_ptr = of_head(k_ptr, k_strides, heads, group), of_head(v_ptr, v_strides, heads, group)
    whole, stop = seen_by(first, M, q_len, k_len, CAUSAL, N)
    for EDGE in tl.static_range(2):
        dq = dq_from_tiles(dq, q, do, lse, delta, k_ptr, v_ptr, of_head(mask_ptr, mask_strides, heads, 1), row,
            whole * EDGE, stop * EDGE + whole * (1 - EDGE), q_len, k_len, k_strides[2], v_strides[2], mask_strides,
            scale, D, BLOCK_D, CAUSAL, MASK, EDGE, PRECISION, N)  # fmt: skip
    ptrs = tile_at(of_head(dq_ptr, dq_strides, heads, 1), first, dq_strides[2], M, BLOCK_D)
    inside = (row[:, None] < q_len) & (tl.arange(0, BLOCK_D)[None, :] < D)
    tl.store(ptrs, (dq * factor).to(dq_ptr.dtype.element_ty), mask=inside)


# %%
#| export flash
@jit
def dkv_from_tiles(
    dk, dv, k, v, q_ptr, do_ptr, lse_ptr, delta_ptr, mask_ptr, col, start, stop, q_len, k_len, q_stride, do_stride,
    mask_strides, scale, D: tl.constexpr, BLOCK_D: tl.constexpr, CAUSAL: tl.constexpr, MASK: tl.constexpr,
    EDGE: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Add what the queries from start to stop of one head give to dK and dV; tiles are (keys, queries) here."""
    for first in range(start, stop, M):
        q = load_tile(q_ptr, first, q_stride, q_len, M, D, BLOCK_D, EDGE)
        do = load_tile(do_ptr, first, do_stride, q_len, M, D, BLOCK_D, EDGE)
        row = first + tl.arange(0, M)
        lse = tl.load(lse_ptr + row, mask=row < q_len, other=float("inf"))
        delta = tl.load(delta_ptr + row, mask=row < q_len, other=0.0)
        scores = tl.dot(k, tl.trans(q), input_precision=PRECISION) * scale
        scores = hide(scores, row[None, :], col[:, None], q_len, k_len, mask_ptr, mask_strides, CAUSAL, MASK, EDGE)
        powers = tl.exp2(scores - lse[None, :])
        dv += tl.dot(powers.to(do.dtype), do, input_precision=PRECISION)
        ds = powers * (tl.dot(v, tl.trans(do), input_precision=PRECISION) - delta[None, :])
        dk += tl.dot(ds.to(q.dtype), q, input_precision=PRECISION)
    return dk, dv


# %%
#| export flash
@jit
def dkv_from_head(
    dk, dv, k, v, q_ptr, do_ptr, lse_ptr, delta_ptr, mask_ptr, first, q_len, k_len, q_stride, do_stride, mask_strides,
    scale, D: tl.constexpr, BLOCK_D: tl.constexpr, CAUSAL: tl.constexpr, MASK: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """All queries of one head: those at the diagonal, those that see all keys of the tile, and the ragged rest."""
    start, full = 0, q_len // M * M
    whole = start
    if CAUSAL:
        past = k_len - q_len
        start = tl.maximum(first - past, 0) // M * M
        whole = tl.minimum(tl.cdiv(tl.maximum(first + N - 1 - past, 0), M) * M, full)
    dk, dv = dkv_from_tiles(
        dk, dv, k, v, q_ptr, do_ptr, lse_ptr, delta_ptr, mask_ptr, first + tl.arange(0, N), start, whole, q_len, k_len,
        q_stride, do_stride, mask_strides, scale, D, BLOCK_D, CAUSAL, MASK, True, PRECISION, M)  # fmt: skip
    dk, dv = dkv_from_tiles(
        dk, dv, k, v, q_ptr, do_ptr, lse_ptr, delta_ptr, mask_ptr, first + tl.arange(0, N), whole, full, q_len, k_len,
        q_stride, do_stride, mask_strides, scale, D, BLOCK_D, CAUSAL, MASK, False, PRECISION, M)  # fmt: skip
    return dkv_from_tiles(
        dk, dv, k, v, q_ptr, do_ptr, lse_ptr, delta_ptr, mask_ptr, first + tl.arange(0, N), full, q_len, q_len, k_len,
        q_stride, do_stride, mask_strides, scale, D, BLOCK_D, CAUSAL, MASK, True, PRECISION, M)  # fmt: skip


# %%
#| export flash
@jit
def flash_dkv_kernel(
    dk_ptr, dv_ptr, lse_ptr, delta_ptr, do_ptr, q_ptr, k_ptr, v_ptr, mask_ptr, dk_strides, dv_strides, do_strides,
    q_strides, k_strides, v_strides, mask_strides, kv_heads, group, q_len, k_len, scale, factor, bucket,
    D: tl.constexpr, BLOCK_D: tl.constexpr, CAUSAL: tl.constexpr, MASK: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """dK and dV of N keys: summed over the queries that see them, of every head that shares them."""
    first, batch = tl.program_id(0) * N, tl.program_id(1).to(tl.int64) // kv_heads
    k = load_tile(of_head(k_ptr, k_strides, kv_heads, 1), first, k_strides[2], k_len, N, D, BLOCK_D, True)
    v = load_tile(of_head(v_ptr, v_strides, kv_heads, 1), first, v_strides[2], k_len, N, D, BLOCK_D, True)
    dk, dv = tl.zeros((N, BLOCK_D), tl.float32), tl.zeros((N, BLOCK_D), tl.float32)
    for member in range(group):
        head = tl.program_id(1).to(tl.int64) % kv_heads * group + member
        flat = (batch * kv_heads * group + head) * q_len
        dk, dv = dkv_from_head(
            dk, dv, k, v, q_ptr + batch * q_strides[0] + head * q_strides[1], do_ptr + batch * do_strides[0] + head * do_strides[1], lse_ptr + flat, delta_ptr + flat,
            mask_ptr + batch * mask_strides[0] + head * mask_strides[1], first, q_len, k_len, q_strides[2], do_strides[2],
            mask_strides, scale, D, BLOCK_D, CAUSAL, MASK, PRECISION, M, N)  # fmt: skip
    inside = (first + tl.arange(0, N)[:, None] < k_len) & (tl.arange(0, BLOCK_D)[None, :] < D)
    for_dk = tile_at(of_head(dk_ptr, dk_strides, kv_heads, 1), first, dk_strides[2], N, BLOCK_D)
    for_dv = tile_at(of_head(dv_ptr, dv_strides, kv_heads, 1), first, dv_strides[2], N, BLOCK_D)
    tl.store(for_dk, (dk * factor).to(dk_ptr.dtype.element_ty), mask=inside)
    tl.store(for_dv, dv.to(dv_ptr.dtype.element_ty), mask=inside)


# %%
#| export flash
HERE = {"M": 128, "N": 128}  # the interpreter's cost is per tile


def _tiles(*shapes: tuple[int, int, int, int]) -> list[tuple[dict[str, int], int, int]]:
    """From (queries, keys, warps, stages)."""
    return [({"M": m, "N": n}, warps, stages) for m, n, warps, stages in shapes]


FORWARD = _tiles((128, 128, 8, 3), (128, 64, 8, 3), (128, 64, 4, 3), (64, 64, 4, 3), (64, 32, 4, 2))
FOR_KEYS = _tiles((64, 128, 8, 3), (64, 128, 8, 2), (32, 128, 4, 3), (64, 64, 4, 2), (32, 64, 4, 2), (32, 32, 4, 1))
FOR_QUERIES = _tiles((128, 64, 8, 3), (128, 64, 8, 2), (128, 32, 4, 3), (64, 64, 4, 2), (64, 32, 4, 2), (32, 32, 4, 1))
KEY = ["bucket", "D", "CAUSAL", "MASK"]
tuned_forward = tuned(flash_forward_kernel, FORWARD, HERE, KEY)
tuned_dq = tuned(flash_dq_kernel, FOR_QUERIES, HERE, KEY)
tuned_dkv = tuned(flash_dkv_kernel, FOR_KEYS, HERE, KEY)


# %%
#| export flash
def _options(q: Tensor, causal: bool, mask: Tensor | None) -> dict[str, object]:
    """What the three kernels are told alike."""
    d = q.shape[-1]
    block = max(16, triton.next_power_of_2(d))  # the tensor cores' least
    return {"D": d, "BLOCK_D": block, "CAUSAL": causal, "MASK": mask is not None, "PRECISION": precision_of(q)}


def _rows_side_by_side(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """The output and the log-sum-exp (batch, heads, q), in units of log 2."""
    (batch, heads, q_len, _), (kv_heads, k_len) = q.shape, k.shape[1:3]
    o = torch.empty_like(q)
    lse = torch.empty(batch, heads, q_len, dtype=torch.float32, device=q.device)
    extra = q if mask is None else mask
    strides = (t.stride() for t in (o, q, k, v, extra))
    sizes = heads, heads // kv_heads, q_len, k_len, scale / math.log(2), bucket_of(q_len, k_len)
    grid = lambda tile: (triton.cdiv(q_len, tile["M"]), batch * heads)  # noqa: E731
    launch(tuned_forward, grid, o, lse, q, k, v, extra, *strides, *sizes, **_options(q, causal, mask))
    return o, lse


# %%
#| export flash
def _backward(do, q, k, v, o, lse, mask, causal: bool, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    (batch, heads, q_len, d), (kv_heads, k_len) = q.shape, k.shape[1:3]
    options, extra = _options(q, causal, mask), q if mask is None else mask
    delta, dq, dk, dv = torch.empty_like(lse), torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    block = options["BLOCK_D"]
    launch(flash_delta_kernel, (triton.cdiv(q_len, 64), batch * heads), delta, o, do, o.stride(), do.stride(), heads,
           q_len, d, block, 64)  # fmt: skip
    group, sizes = heads // kv_heads, (q_len, k_len, scale / math.log(2), scale, bucket_of(q_len, k_len))
    inputs = lse, delta, do, q, k, v, extra
    strides = tuple(t.stride() for t in (do, q, k, v, extra))
    grid = lambda tile: (triton.cdiv(q_len, tile["M"]), batch * heads)  # noqa: E731
    launch(tuned_dq, grid, dq, *inputs, dq.stride(), *strides, heads, group, *sizes, **options)
    grid = lambda tile: (triton.cdiv(k_len, tile["N"]), batch * kv_heads)  # noqa: E731
    launch(tuned_dkv, grid, dk, dv, *inputs, dk.stride(), dv.stride(), *strides, kv_heads, group, *sizes, **options)
    return dq, dk, dv


# %%
#| export flash
class _Flash(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, mask, causal, scale):
        q, k, v = (_rows_side_by_side(t) for t in (q, k, v))
        o, lse = _forward(q, k, v, mask, causal, scale)
        ctx.save_for_backward(q, k, v, o, lse, mask)  # no scores, no probabilities
        ctx.causal, ctx.scale = causal, scale
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx, do):
        q, k, v, o, lse, mask = ctx.saved_tensors
        do = _rows_side_by_side(do)
        return *_backward(do, q, k, v, o, lse, mask, ctx.causal, ctx.scale), None, None, None


# %%
#| export flash
def plain_attention(
    Q: Float[Tensor, "..."], K: Float[Tensor, "..."], V: Float[Tensor, "..."], mask: Bool[Tensor, "..."] | None = None,
    *, causal: bool = True, scale: float | None = None,
) -> Float[Tensor, "..."]:  # fmt: skip
    """Attention by PyTorch's own unfused path, the whole matrix of scores in float32.

    Built in notebooks/07_kernels.ipynb.
    """
    q, k, v = (t if t.dtype == torch.float64 else t.float() for t in (Q, K, V))
    if causal:
        below = torch.ones(Q.shape[2], K.shape[2], dtype=torch.bool, device=Q.device).tril(K.shape[2] - Q.shape[2])
        mask = below if mask is None else mask & below
    with sdpa_kernel(SDPBackend.MATH):
        out = F.scaled_dot_product_attention(q, k, v, mask, scale=scale, enable_gqa=True)
    return out.to(Q.dtype)


# %%
#| export flash
def _check_attention(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None, here: bool = True) -> None:
    """Raise what is wrong with the arguments, before anything is launched; ``here``: by a kernel."""
    check(Q=Q, K=K, V=V, here=here)
    shapes = f"Q {tuple(Q.shape)}, K {tuple(K.shape)}, V {tuple(V.shape)}"
    if (
        not Q.ndim == K.ndim == V.ndim == 4
        or K.shape != V.shape
        or Q.shape[0] != K.shape[0]
        or Q.shape[3] != K.shape[3]
    ):
        raise ValueError(f"{shapes}: give (batch, heads, q, d) and twice (batch, kv_heads, k, d)")
    if K.shape[1] == 0 or Q.shape[1] % K.shape[1]:
        raise ValueError(f"{shapes}: {Q.shape[1]} heads cannot share {K.shape[1]} heads of keys evenly")
    if Q.shape[3] > 256:
        raise ValueError(f"{shapes}: heads of {Q.shape[3]} are larger than the kernels' tiles, 256 at most")
    if mask is None:
        return
    if mask.dtype != torch.bool or mask.device != Q.device:
        raise TypeError(f"the mask is {mask.dtype} on {mask.device}: give bool, True = may attend, on {Q.device}")
    try:
        mask.expand(Q.shape[0], Q.shape[1], Q.shape[2], K.shape[2])
    except RuntimeError:
        raise ValueError(f"{shapes}: a mask {tuple(mask.shape)} does not broadcast to (batch, heads, q, k)") from None


# %%
#| export flash
def flash_attention(
    Q: Float[Tensor, "..."], K: Float[Tensor, "..."], V: Float[Tensor, "..."], mask: Bool[Tensor, "..."] | None = None,
    *, causal: bool = True, scale: float | None = None,
) -> Float[Tensor, "..."]:  # fmt: skip
    """softmax(Q K^T * scale) V in tiles, forward and backward; any length, d up to 256; scale is 1 / sqrt(d) by default.

    Without Triton it is `tiled_attention`. Built in notebooks/07_kernels.ipynb.
    """
    _check_attention(Q, K, V, mask)
    if BACKEND == "pytorch" or Q.numel() == 0 or K.numel() == 0:
        return tiled_attention(Q, K, V, mask, causal=causal, scale=scale)
    if mask is not None:
        mask = mask.expand(*Q.shape[:3], K.shape[2]).view(torch.uint8)
    return _Flash.apply(Q, K, V, mask, causal, Q.shape[-1] ** -0.5 if scale is None else scale)


# %% [markdown]
# ### The same in plain PyTorch
#
# Without a GPU the interpreter is far too slow to train on. So the same algorithm once more, in PyTorch operations on tiles
# that stay in the processor's cache: `tiled_attention`. It joins tiles by their log-sum-exp: if two parts of the keys give
# outputs $O_1, O_2$ with $L_1, L_2$, then all of them give $L = \log(e^{L_1} + e^{L_2})$ and $O = O_1 e^{L_1 - L} + O_2 e^{L_2 -
# L}$. That is online softmax in another form.


# %%
#| export flash
QUERIES, KEYS, HEADS = 128, 384, 4
"""The tiles of `tiled_attention`: scores of so many queries, keys and key heads at once, about 1 MB, stay in the cache."""

HIDDEN = torch.finfo(torch.float32).min
"""A score that is not seen: finite, so that the softmax of a tile in which nothing is seen is no nan."""


def _scores(q, k, row: int, col: int, past: int, causal: bool, mask, less: Tensor | None = None) -> Tensor:
    """q k^T - less of a tile, (kv, group * queries, keys): queries from ``row``, keys from ``col`` on."""
    flat = q.flatten(1, 2)
    scores = torch.bmm(flat, k.mT) if less is None else torch.baddbmm(-less, flat, k.mT)
    (group, rows), cols = q.shape[1:3], k.shape[1]
    tile = scores.unflatten(1, (group, rows))
    first = max(col, row + past + 1)  # from this key on, some of the queries must not look
    if causal and first < col + cols:
        hidden = torch.ones(rows, col + cols - first, dtype=torch.bool, device=q.device).triu_(row + past + 1 - first)
        tile[..., first - col :].masked_fill_(hidden, HIDDEN)
    if mask is not None:
        tile.masked_fill_(~mask[..., row : row + rows, col : col + cols], HIDDEN)
    return scores


# %%
#| export flash
def _tiled_forward(o, lse, q, k, v, mask, causal: bool, scale: float) -> None:
    """Fill o (kv, group, q, d) and lse (kv, group, q, 1) for some heads: q as o, k and v (kv, k, d)."""
    past = k.shape[1] - q.shape[2]
    for row in range(0, q.shape[2], QUERIES):
        tile = q[:, :, row : row + QUERIES] * scale
        stop = min(k.shape[1], max(0, row + tile.shape[2] + past)) if causal else k.shape[1]
        acc = torch.zeros_like(tile).flatten(1, 2)
        known = torch.full_like(acc[..., :1], HIDDEN)  # the log-sum-exp so far
        for col in range(0, stop, KEYS):
            at = slice(col, min(col + KEYS, stop))
            scores = _scores(tile, k[:, at], row, col, past, causal, mask)
            top = scores.amax(-1, keepdim=True)
            torch.softmax(scores, -1, out=scores)
            more = top - scores.amax(-1, keepdim=True).log()  # the greatest probability is 1 / sum(exp(scores - top))
            new = torch.logaddexp(known, more)
            acc.mul_((known - new).exp_()).addcmul_(torch.bmm(scores, v[:, at]), (more - new).exp_())
            known = new
        nothing = known < HIDDEN / 2
        o[:, :, row : row + QUERIES] = acc.masked_fill_(nothing, 0).view_as(tile)
        lse[:, :, row : row + QUERIES] = known.masked_fill_(nothing, torch.inf).view(*tile.shape[:3], 1)


# %%
#| export flash
def _tiled_backward(dq, dk, dv, do, q, k, v, o, lse, mask, causal: bool, scale: float) -> None:
    """Add the gradients of some heads to dq, dk, dv, all zero; shapes as in `_tiled_forward`."""
    past = k.shape[1] - q.shape[2]
    for row in range(0, q.shape[2], QUERIES):
        rows = slice(row, row + QUERIES)
        tile, out = q[:, :, rows] * scale, do[:, :, rows].flatten(1, 2)
        stop = min(k.shape[1], max(0, row + tile.shape[2] + past)) if causal else k.shape[1]
        delta = (out * o[:, :, rows].flatten(1, 2)).sum(-1, keepdim=True)
        known, into = lse[:, :, rows].flatten(1, 2), torch.zeros_like(out)
        for col in range(0, stop, KEYS):
            at = slice(col, min(col + KEYS, stop))
            p = _scores(tile, k[:, at], row, col, past, causal, mask, less=known).exp_()  # the probabilities, again
            dv[:, at].baddbmm_(p.mT, out)
            ds = torch.baddbmm(-delta, out, v[:, at].mT).mul_(p)
            into.baddbmm_(ds, k[:, at])
            dk[:, at].baddbmm_(ds.mT, tile.flatten(1, 2))
        dq[:, :, rows] = into.mul_(scale).view_as(tile)


# %%
#| export flash
def _some_heads(group: int, mask: Tensor | None, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of a few heads at a time: (kv, group, q, d) of tensors with query heads, (kv, k, d) of the others; last the
    mask, (kv, group, q, k) or None."""
    kv_heads = tensors[0].shape[1]
    for batch in range(len(tensors[0])):
        for head in range(0, kv_heads, HEADS):
            at = slice(head, head + HEADS)
            yield *(t[batch, at] for t in tensors), None if mask is None else mask[batch, at]


# %%
#| export flash
class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, mask, causal, scale):
        o, lse = torch.empty_like(q), torch.empty(*q.shape[:-1], 1, dtype=q.dtype, device=q.device)
        for *some, of_mask in _some_heads(q.shape[2], mask, o, lse, q, k, v):
            _tiled_forward(*some, of_mask, causal, scale)
        ctx.save_for_backward(q, k, v, o, lse, mask)
        ctx.causal, ctx.scale = causal, scale
        return o

    @staticmethod
    @once_differentiable
    def backward(ctx, do):
        *saved, mask = ctx.saved_tensors
        gradients = [torch.zeros_like(t) for t in saved[:3]]
        for *some, of_mask in _some_heads(do.shape[2], mask, *gradients, do, *saved):
            _tiled_backward(*some, of_mask, ctx.causal, ctx.scale)
        return *gradients, None, None, None


# %%
#| export flash
def tiled_attention(
    Q: Float[Tensor, "..."], K: Float[Tensor, "..."], V: Float[Tensor, "..."], mask: Bool[Tensor, "..."] | None = None,
    *, causal: bool = True, scale: float | None = None,
) -> Float[Tensor, "..."]:  # fmt: skip
    """`flash_attention`'s algorithm in PyTorch: exact, never all scores at once, for any device. Sums in float32.

    Built in notebooks/07_kernels.ipynb.
    """
    _check_attention(Q, K, V, mask, here=False)
    heads = K.shape[1], Q.shape[1] // K.shape[1]
    if mask is not None:
        mask = mask.expand(*Q.shape[:3], K.shape[2]).unflatten(1, heads)
    wide = (t if t.dtype == torch.float64 else t.float() for t in (Q.unflatten(1, heads), K, V))
    out = _Tiled.apply(*wide, mask, causal, Q.shape[-1] ** -0.5 if scale is None else scale)
    return out.flatten(1, 2).to(Q.dtype)


# %%
#| export flash
@dataclass(frozen=True)
class FlashAttend:
    """The attend slot of a model, attend(Q, K, V, mask): `flash_attention`, or with ``tiled`` `tiled_attention`.

    With ``causal`` the model leaves the causal mask to it. Heads that share keys and values come as they are, not repeated
    (``shares_heads``). Built in notebooks/07_kernels.ipynb.
    """

    causal: bool = True
    tiled: bool = False
    shares_heads = True

    @property
    def masks_causally(self) -> bool:
        return self.causal

    def __call__(self, Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None = None) -> Tensor:
        return (tiled_attention if self.tiled else flash_attention)(Q, K, V, mask, causal=self.causal)


# %%
shapes = {  # batch, query heads, key heads, queries, keys, d
    "flash, GQA, ragged": (1, 4, 2, 150, 150, 24),
    "flash, more keys": (1, 2, 1, 70, 200, 40),
    "flash, more queries": (1, 1, 1, 200, 70, 16),
}
for name, (batch, heads, kv_heads, q, k, d) in shapes.items():
    for dtype in DTYPES[:2]:
        Q = draw(batch, q, heads, d, dtype=dtype).transpose(1, 2)
        K, V = draw(batch, kv_heads, k, d, dtype=dtype), draw(batch, kv_heads, k, d, dtype=dtype)
        errors.setdefault(name, []).append(compare(flash_attention, plain_attention, Q, K, V))
        errors.setdefault(name.replace("flash", "tiled"), []).append(compare(tiled_attention, plain_attention, Q, K, V))

Q, K, V = (draw(1, 2, 140, 16) for _ in range(3))
may = torch.rand(1, 1, 140, 140, device=DEVICE) > 0.3
may[0, 0, 7] = False  # a query that may attend to nothing
for attention in (flash_attention, tiled_attention):
    out = attention(Q, K, V, may)
    assert (out[:, :, 7] == 0).all() and torch.allclose(out, plain_attention(Q, K, V, may), atol=1e-5)

# %% [markdown]
# ### All errors
#
# **Predict.** How large is the largest error, in units of rounding? (A wrong sign somewhere would be millions.)

# %%
guess = None  # (float32, bfloat16)

for name, (full, half) in errors.items():
    print(f"{name:<24}{full:8.1f}{half:8.1f}")
worst = [max(e[i] for e in errors.values()) for i in (0, 1)]
reveal("largest", [f"{w:.1f}" for w in worst], guess)
assert len(errors) >= 15 and worst[0] < 100 and worst[1] < 20

# %% [markdown]
# ### Memory and time against length
#
# Measured here with `tiled_attention`, which runs at full speed on a CPU, beside attention by four operations and
# PyTorch's own fused kernel. **Predict.** From 512 to 2,048 tokens, by which factor does the memory of each grow?


# %%
def by_operations(Q: torch.Tensor, K: torch.Tensor, V: torch.Tensor) -> torch.Tensor:
    T = Q.shape[2]
    hidden = torch.ones(T, T, dtype=torch.bool, device=Q.device).triu(1)
    return ((Q @ K.mT) * Q.shape[3] ** -0.5).masked_fill(hidden, -torch.inf).softmax(-1) @ V


def gradients(attention: Callable, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(attention(*inputs).sum(), inputs)


# %% tags=["timing"]
ways = {
    "four operations": by_operations,
    "PyTorch's fused kernel": lambda Q, K, V: F.scaled_dot_product_attention(Q, K, V, is_causal=True),
    "ours, tiled": flash_attention if BACKEND == "gpu" else tiled_attention,
}
lengths, memory, seconds = (256, 512, 1_024, 2_048), {n: [] for n in ways}, {n: [] for n in ways}
for T in lengths:
    Q, K, V = (draw(1, 4, T, 64).requires_grad_() for _ in range(3))
    for name, attention in ways.items():
        memory[name].append(peak_bytes(lambda: gradients(attention, Q, K, V)) / 2**20)  # noqa: B023
        start = time.perf_counter()
        gradients(attention, Q, K, V)
        torch.cuda.synchronize() if DEVICE == "cuda" else None
        seconds[name].append(time.perf_counter() - start)

# %% tags=["timing"]
guess = None  # (four operations, fused, ours)

growth = {name: m[-1] / m[1] for name, m in memory.items()}
reveal("growth from 512 to 2,048", {name: f"{g:.1f}" for name, g in growth.items()}, guess)
assert growth["four operations"] > 10 and growth["ours, tiled"] < 5
assert memory["ours, tiled"][-1] < memory["four operations"][-1] / 4

fig, (left, right) = axes(1, 2, xlabel="length (tokens)", size=(7.8, 3.2))
for (name, values), line in zip(memory.items(), ("s--", "^:", "o-")):
    left.plot(lengths, values, line, label=name)
    right.plot(lengths, [1_000 * s for s in seconds[name]], line, label=name)
left.set(xscale="log", yscale="log", ylabel="peak memory (MiB)", title="Memory, forward and backward")
right.set(xscale="log", yscale="log", ylabel="time (ms), here", title="Time")
for ax in (left, right):
    ax.set_xticks(lengths, labels=[f"{T:,}" for T in lengths])
    ax.minorticks_off()
finish(fig)

# %% [markdown]
# Memory of the first grows with the square, of the others with the length. FLOPs grow with the square for all three, and
# the backward pass of the tiled ones does a quarter more of them (5 products instead of 4): they are still faster,
# because what they do not move counts for more.
#
# ## 10 · In the model
#
# Lecture 03's model has slots for all of this; a configuration fills them, and the parameters keep their names.

# %%
from cs336lite.model import Transformer, TransformerConfig

config = TransformerConfig(
    vocab_size=61, context_length=32, d_model=32, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=48
)
fused = config.replace(norm=RMSNorm, attend=FlashAttend(), feed_forward=feed_forward, loss=linear_cross_entropy)
YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"
tokens, labels = torch.randint(0, 61, (2, 2, 29), device=DEVICE)
ready = whose("attention", "rope", lecture="07_kernels")  # your attention and your RoPE are in the model
if ready.or_show("the whole model"):
    models = [Transformer(c, torch.Generator().manual_seed(0)).to(DEVICE) for c in (config, fused)]
    models[1].load_state_dict(models[0].state_dict())
    losses = [model.loss(tokens, labels) for model in models]
    for loss in losses:
        loss.backward()
    wanted = dict(models[0].named_parameters())
    gap = max((p.grad - wanted[name].grad).abs().max().item() for name, p in models[1].named_parameters())
    print(f"loss {losses[0].item():.6f}, with kernels {losses[1].item():.6f}; largest gap of a gradient {gap:.1e}")
    assert torch.isclose(*losses, atol=1e-5) and gap < 1e-5, YOURS

# %% [markdown]
# ## 11 · Where each kernel lies on the roofline
#
# Intensity is FLOPs per byte (lecture 02), and both are known from the shapes: bytes as counted above, FLOPs by hand. At
# the left of the ridge only bytes matter; there a kernel can be judged by the share of the bandwidth that it reaches.
#
# **Predict.** Which of the kernels lie right of the ridge of an H100, 295 FLOPs per byte?

# %%
guess = None

T, D, V_SIZE = 4_096, 4_096, 128_256  # bfloat16: 2 bytes a number
INTENSITY = {  # FLOPs per byte of a forward pass
    "add": 1 / 6,
    "Lion": 10 / 20,  # in float32
    "RoPE": 3 / 4,
    "softmax": 5 / 4,  # 5 FLOPs a number, 2 bytes read, 2 written
    "SwiGLU": 5 / 6,
    "RMSNorm": 5 / 4,
    "cross-entropy": 4 / 2,  # reads the logits once
    "matmul 4096": 2 * T * D * D / (2 * 3 * T * D),
    "FlashAttention 4096, d 128": 4 * T * T / 2 * 128 / (2 * 4 * T * 128),
}
PEAK, BANDWIDTH = 989e12, 3.35e12  # H100 SXM, bfloat16 dense (NVIDIA's data sheet)
right_of_it = [name for name, i in INTENSITY.items() if i > PEAK / BANDWIDTH]
reveal("right of the ridge", right_of_it, guess)
assert right_of_it == ["matmul 4096", "FlashAttention 4096, d 128"]

# %% [markdown]
# ### Recorded on a GPU
#
# `python benchmarks/kernels.py` on a machine with a GPU measures each kernel against PyTorch, `torch.compile` and known
# libraries, checks in the same run that the results are right, and writes `notebooks/results/kernels_<device>.json`. The
# next cells draw what is there.


# %%
def recorded() -> list[dict]:
    """What benchmarks/kernels.py has written on GPUs."""
    folder = find_root() / "notebooks" / "results"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("kernels_*.json"))]


# %%
RUNS = recorded()
for run in RUNS:
    print(f"{run['device']}, {run['date']}, torch {run['torch']}, triton {run['triton']}")
if not RUNS:
    print("Pending: no GPU has been measured yet. What follows are bounds from a data sheet and no measurement.")

fig, ax = axes(xlabel="arithmetic intensity (FLOP/byte)", ylabel="TFLOP/s", size=(7.2, 4))
grid = np.geomspace(0.1, 10_000, 100)
ax.plot(grid, np.minimum(PEAK, BANDWIDTH * grid) / 1e12, color=COLORS["black"], label="bound: H100, data sheet")
for name, intensity in INTENSITY.items():
    bound = min(PEAK, BANDWIDTH * intensity) / 1e12
    ax.plot([intensity] * 2, [0.1, bound], ":", color=COLORS["sky_blue"], linewidth=1)
    beside = ("left", 1.04) if name in ("RMSNorm", "SwiGLU") else ("right", 1)  # two have close neighbours
    ax.text(intensity * beside[1], 0.12, name, rotation=90, fontsize=8, ha=beside[0], va="bottom")
for run, color in zip(RUNS, list(COLORS.values())[1:]):
    points = [(INTENSITY[k], v["tflops"]) for k, v in run["roofline"].items() if k in INTENSITY]
    ax.plot(*zip(*points), "o", color=color, label=f"measured: {run['device']}")
ax.set(
    xscale="log", yscale="log", title="Seven of nine are bound by memory" + ("" if RUNS else "; measurements pending")
)
finish(fig)

# %%
for run in RUNS:
    print(run["device"])
    for row in run["rows"]:
        times = ", ".join(f"{peer} {ms:.3f}" for peer, ms in row["milliseconds"].items())
        print(f"  {row['kernel']:<22}{row['size']:<26}{times} ms")
if not RUNS:
    print("Pending: run `python benchmarks/kernels.py` on a machine with a GPU.")

# %% [markdown]
# ## 12 · Compiled for a GPU that is not here
#
# The interpreter shows that a kernel is right, not that it compiles. But the compiler needs no GPU. From the same source
# it makes code for an H100, and NVIDIA's own tool tells what that takes. An SM has 65,536 registers and 228 KiB of shared
# memory, so a program's needs bound how many fit side by side: the *occupancy* (占用率). While one waits for memory,
# another computes. A matrix product prefers one large tile with everything in registers; a kernel that only moves bytes
# wants many programs. What does not fit into registers is *spilled* (溢出) to memory, which is slow.
#
# It must be another process, because Triton is imported either with the interpreter or with the compiler.


# %%
#| export compiled
"""The kernels compiled for an NVIDIA GPU that need not be there: ``python -m cs336lite.compiled 90`` prints, for each
kernel and choice of tiles, the registers and the shared memory that it takes.

A process of its own, because Triton is imported either with its interpreter or with its compiler. Nothing is run.
"""

import re
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import asdict


# %%
#| export compiled
@dataclass(frozen=True)
class Compiled:
    """What one compiled kernel takes of a GPU. Built in notebooks/07_kernels.ipynb."""

    kernel: str
    tile: dict[str, int]
    threads: int
    registers: int  # of each thread
    spilled: int  # bytes of each thread that do not fit into registers and go to memory
    shared: int  # bytes of each program

    def programs(self, registers: int = 65_536, shared: int = 233_472, threads: int = 2_048) -> int:
        """Programs that one streaming multiprocessor holds at once; the limits are those of an H100."""
        by_registers = registers // (self.threads * -(-self.registers // 8) * 8)
        return min(by_registers, shared // (self.shared + 1_024), threads // self.threads, 32)


# %%
#| export compiled
class _Driver:
    """Stands for a GPU: it says which one is compiled for, and can do nothing else."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        return 0


# %%
#| export compiled
def _resources(cubin: bytes) -> dict[str, int]:
    """What NVIDIA's own tool says about a compiled kernel."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        said = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    return {name: int(value) for name, value in re.findall(r"(REG|STACK):(\d+)", said.stdout)}


# %%
#| export compiled
TILE_NAMES = ("ROWS", "BLOCK", "BLOCK_D", "M", "N", "K", "num_warps", "num_stages")


def _compiled(kernel: object, made: object, options: dict[str, object]) -> Compiled:
    used, tile = _resources(made.asm["cubin"]), {k: v for k, v in options.items() if k in TILE_NAMES}
    return Compiled(
        kernel.fn.__name__, tile, made.metadata.num_warps * 32, used["REG"], used["STACK"], made.metadata.shared
    )


# %%
#| export compiled
@contextmanager
def compiling(capability: int, every: bool = False) -> Iterator[list[Compiled]]:
    """Inside, a launch compiles and runs nothing; the list grows by what it compiled, ``every`` choice of tiles or one.

    Only in a process of its own, without the interpreter (TRITON_INTERPRET=0). Built in notebooks/07_kernels.ipynb.
    """
    found: list[Compiled] = []
    kernels, tuners = triton.runtime.jit.JITFunction, triton.runtime.autotuner.Autotuner
    compile_only = kernels.run

    def note(kernel, *args, warmup, **options):
        found.append(_compiled(kernel, compile_only(kernel, *args, warmup=True, **options), options))

    def choices(tuner, *args, **options):
        tuner.nargs = dict(zip(tuner.arg_names, args))
        fitting = tuner.prune_configs(options)
        for config in fitting if every else fitting[:1]:
            tuner.fn.run(*args, **options, **config.all_kwargs())

    triton.runtime.driver.set_active(_Driver(capability))
    with patch.object(kernels, "run", note), patch.object(tuners, "run", choices):
        yield found


# %%
#| export compiled
def _workload(dtype: torch.dtype) -> dict[str, Callable[[], Tensor | None]]:
    """A call of every kernel, with sizes of a small model."""
    from cs336lite import flash, kernels, tiles

    def draw(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=dtype).requires_grad_()

    angles, at, targets = torch.zeros(512, 64), torch.arange(512), torch.zeros(64, dtype=torch.int64)
    seen = torch.ones(150, 150, dtype=torch.bool)
    return {
        "add": lambda: kernels.add(draw(512, 1_024), draw(512, 1_024)),
        "softmax": lambda: kernels.softmax(draw(512, 4_096)),
        "wide softmax": lambda: kernels.softmax(draw(4, 40_000)),
        "rms_norm": lambda: kernels.rms_norm(draw(512, 4_096), draw(4_096)),
        "swiglu": lambda: kernels.swiglu(draw(512, 1_024), draw(512, 1_024)),
        "cross_entropy": lambda: kernels.cross_entropy(draw(64, 128_256), targets),
        "rope": lambda: kernels.rope(draw(2, 8, 512, 128), angles, angles, at),
        "lion_step": lambda: kernels.lion_step(*(draw(512, 1_024).detach() for _ in range(3)), lr=0.1),
        "matmul": lambda: tiles.matmul(draw(1_024, 1_024), draw(1_024, 2_048)),
        "flash 64": lambda: flash.flash_attention(draw(1, 8, 1_024, 64), *(draw(1, 2, 1_024, 64) for _ in range(2))),
        "flash 128": lambda: flash.flash_attention(draw(1, 8, 1_024, 128), *(draw(1, 2, 1_024, 128) for _ in range(2))),
        "flash, mask": lambda: flash.flash_attention(*(draw(1, 2, 150, 40) for _ in range(3)), seen, causal=False),
    }


# %%
#| export compiled
def main(capability: int, every: bool = False, dtype: torch.dtype = torch.bfloat16) -> None:
    """Compile all kernels and print one line of JSON for each. Built in notebooks/07_kernels.ipynb."""
    from cs336lite import flash, kernels, tiles

    for module in (kernels, tiles, flash):
        module.BACKEND = "gpu"  # tensors lie on the CPU, and nobody looks into them
    with compiling(capability, every) as found:
        for call in _workload(dtype).values():
            result = call()
            if result is not None:
                result.backward(torch.ones_like(result))
    for one in found:
        print(json.dumps(asdict(one)))


# %%
#| export compiled
def compiled_kernels(capability: int = 90, *, every: bool = False, dtype: str = "bfloat16") -> list[Compiled]:
    """What each kernel takes on a GPU of this compute capability (80: A100, 90: H100), found out in a new process.

    Built in notebooks/07_kernels.ipynb.
    """
    command = [sys.executable, "-m", "cs336lite.compiled", str(capability), dtype, *["every"] * every]
    environment = {**os.environ, "TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [Compiled(**json.loads(line)) for line in done.stdout.splitlines()]


# %%
#| export compiled
if __name__ == "__main__" and "".join(sys.argv[1:2]).isdigit():  # a notebook is called __main__ too
    main(int(sys.argv[1]), "every" in sys.argv, getattr(torch, sys.argv[2]))

# %% [markdown]
# **Predict.** How many programs of FlashAttention's forward kernel with d = 128 (tiles of 128 × 128, three in flight) fit on
# one SM? And of the vector addition, 256 threads each?

# %%
guess = None  # (FlashAttention, add)

if BACKEND == "interpreter":
    made = compiled_kernels(90)
    print(f"{'kernel':<32}{'threads':>8}{'registers':>11}{'spilled':>9}{'shared':>9}{'programs an SM':>16}")
    for one in {(c.kernel, str(c.tile)): c for c in made}.values():
        print(f"{one.kernel:<32}{one.threads:>8}{one.registers:>11}{one.spilled:>9}{one.shared:>9}{one.programs():>16}")
    flash_d128 = [c for c in made if c.kernel == "flash_forward_kernel" and c.tile["BLOCK_D"] == 128]
    reveal("programs", (flash_d128[0].programs(), made[0].programs()), guess)
    assert len({c.kernel for c in made}) == 17 and all(c.shared <= 227 * 1024 for c in made)
    assert flash_d128[0].programs() == 1 and made[0].programs() == 8
else:
    print("compiled when it is first run on a GPU, or there is no Triton: nothing to show")

# %% [markdown]
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | FlashAttention hashes tokens into buckets | That is Reformer (2001.04451). FlashAttention is exact, tiled, and recomputes in the backward pass (2205.14135): equal to rounding, above. |
# | FlashAttention makes attention linear | Its memory. Its FLOPs grow with the square, and the backward pass has more of them, not fewer. |
# | Fusion saves computation | It saves bytes; SwiGLU's and FlashAttention's backward passes even compute more. |
# | Normalisation: 0.17 % of FLOPs, 25.5 % of time | For a BERT encoder layer on a V100, and the class includes softmax (2007.00072). Fusing is what makes it smaller. |
# | RMSNorm is 40 % faster | 7 % to 64 % in the paper (1910.07467), and against an unfused LayerNorm. Fused, both move the same bytes. |
# | Higher occupancy is faster | For kernels that wait for memory. The fastest matrix products run with one program an SM. |
# | Online softmax is an approximation | It is the same number, summed in another order. |
# | A kernel that is right in the interpreter is right on a GPU | Races, alignment and compiler limits show only there; and the interpreter rounds bfloat16 towards zero. |

# %% [markdown]
# ## What you built
#
# `cs336lite.kernels`: `BACKEND`, `jit`, `launch`; `add`, `softmax`, `rms_norm`, `swiglu`, `swiglu_feed_forward`,
# `cross_entropy`, `linear_cross_entropy`, `rope`, `lion_step`, their twins `plain_...`; for the model's slots `RMSNorm`,
# `feed_forward`, `linear_cross_entropy`; `RotaryPositionalEmbedding` and `Lion` with the interfaces of a3 and a4.
# `cs336lite.tiles`: `matmul`. `cs336lite.flash`: `flash_attention`, `tiled_attention`, `FlashAttend` for the slot.
# `cs336lite.compiled`: `compiled_kernels`.
#
# ## Limits
#
# - The interpreter runs programs one after the other: no race can show, and its time says nothing about a GPU's.
# - It truncates where it converts to bfloat16; GPUs round to nearest. Hence the wider errors above.
# - float32 products are exact float32 unless `torch.set_float32_matmul_precision` allows TF32: right and slow.
# - Tiles are chosen on first use on each kind of GPU, among a handful; Hopper's asynchronous copies (TMA) and warp
#   specialisation, which the fastest kernels use (2407.08608), are left out.
# - No dropout in attention, no second derivatives, heads up to 256.
#
# ## Sources
#
# Tillet et al. 2019, *Triton*, MAPL · FlashAttention (arXiv 2205.14135), FlashAttention-2 (2307.08691),
# FlashAttention-3 (2407.08608) · Milakov and Gimelshein, online softmax (1805.02867) · Rabe and Staats (2112.05682) ·
# Liger-Kernel (2410.10989) · Llama (2302.13971) · RMSNorm (1910.07467) · GLU variants (2002.05202) · Lion (2302.06675) ·
# Ivanov et al. (2007.00072) · Reformer (2001.04451) · NVIDIA H100 data sheet and Hopper tuning guide.
#
# ## Next
#
# Lecture **08 · scaling**: how large, for how long, on which budget.

# %%
finished("07_kernels")
