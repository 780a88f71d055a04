# Built from notebooks/text/appendix/07x_fused.py by `cs336lite build`: edit that file, not this one.
"""Triton kernels (融合算子) for a Transformer, each with a twin in plain PyTorch that does the same in more passes.

Functions named `plain_...` are the twins and run everywhere. Sums are in float32; results have the dtype of what is
given: float32, bfloat16 or float16. Under `torch.autocast` what contains matrix products gets autocast's dtype.

Built in notebooks/appendix/07x_fused.ipynb.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.library import custom_op

from cs336lite.backend import BACKEND as BACKEND
from cs336lite.backend import DEVICE as DEVICE
from cs336lite.backend import DTYPES as DTYPES
from cs336lite.backend import INTERPRETED as INTERPRETED
from cs336lite.backend import REASON as REASON
from cs336lite.backend import autocast as autocast
from cs336lite.backend import check as check
from cs336lite.backend import jit as jit
from cs336lite.backend import launch as launch
from cs336lite.backend import tl as tl
from cs336lite.backend import triton as triton


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
    """Programs for a kernel that treats a tensor as one row. Built in notebooks/appendix/07x_fused.ipynb."""
    return (max(1, -(-x.numel() // FLAT["BLOCK"])),)


def _like(x: Tensor, *_: object) -> Tensor:
    """What a compiler needs to know of a result: of the shape and dtype of the first argument, and contiguous."""
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@custom_op("cs336lite::add", mutates_args=())
def _add(x: Tensor, y: Tensor) -> Tensor:
    z = _like(x)
    launch(add_kernel, flat_grid(x), z, x.contiguous(), y.contiguous(), x.numel(), **FLAT)
    return z


_add.register_fake(_like)
_add.register_autograd(lambda ctx, dz: (dz, dz))


def add(x: Float[Tensor, "..."], y: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """x + y for tensors of one shape. Built in notebooks/appendix/07x_fused.ipynb."""
    check(x=x, y=y, same_shape=True)
    return x + y if BACKEND == "pytorch" else _add(x, y)


TILE = 2**16 if BACKEND == "interpreter" else 2**12
"""Elements that a program holds: a multiple of what 32 threads read at once; large where a program has a fixed cost."""

WIDEST = 2**15
"""The widest row that one program holds whole."""

CHUNK = 2**13
"""Columns that a program holds at once where it goes over a row in pieces."""


def rows_of(x: Tensor) -> Tensor:
    """x as (rows, n) with neighbours side by side in memory: a view if strides allow, else a copy.

    Built in notebooks/appendix/07x_fused.ipynb.
    """
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(-1) == 1 or x.shape[-1] == 1 else rows.contiguous()


def row_tiles(rows: int, n: int, widest: int = WIDEST) -> tuple[tuple[int], dict[str, int]]:
    """The grid and the tile shape for a kernel that works on whole rows. Built in notebooks/appendix/07x_fused.ipynb."""
    block = min(triton.next_power_of_2(n), widest)
    per_program = max(1, min(TILE // block, triton.next_power_of_2(rows)))
    tile = {"ROWS": per_program, "BLOCK": block, "num_warps": max(1, min(16, per_program * block // 512))}
    return (max(1, triton.cdiv(rows, per_program)),), tile


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


@jit
def softmax_backward_kernel(
    dx_ptr, dy_ptr, y_ptr, dy_stride, rows, n, ONE_TILE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """dx = y * (dy - sum(y * dy)); a row that fits into a tile is read once."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    if ONE_TILE:  # y and dy are read once
        col = tl.arange(0, BLOCK)[None, :]
        inside = (row < rows) & (col < n)
        y = tl.load(y_ptr + row * n + col, mask=inside, other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + row * dy_stride + col, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx_ptr + row * n + col, y * (dy - tl.sum(y * dy, axis=1)[:, None]), mask=inside)
        return
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


@custom_op("cs336lite::softmax", mutates_args=())
def _softmax(x: Tensor, widest: int) -> Tensor:
    flat, y = rows_of(x), _like(x)
    rows, n = flat.shape
    grid, tile = row_tiles(rows, n, widest if n <= widest else min(widest, CHUNK))
    launch(softmax_kernel if n <= widest else online_softmax_kernel, grid, y, flat, flat.stride(0), rows, n, **tile)
    return y


@custom_op("cs336lite::softmax_backward", mutates_args=())
def _softmax_backward(dy: Tensor, y: Tensor, widest: int) -> Tensor:
    flat, dx = rows_of(dy), _like(y)
    rows, n = flat.shape
    one = n <= widest
    grid, tile = row_tiles(rows, n, widest if one else min(widest, CHUNK))
    launch(softmax_backward_kernel, grid, dx, flat, y.contiguous(), flat.stride(0), rows, n, one, **tile)
    return dx


def _keep_softmax(ctx, inputs, output) -> None:
    ctx.save_for_backward(output)
    ctx.widest = inputs[1]


def _gradient_of_softmax(ctx, dy):
    return _softmax_backward(dy, *ctx.saved_tensors, ctx.widest), None


_softmax.register_fake(_like)
_softmax_backward.register_fake(_like)
_softmax.register_autograd(_gradient_of_softmax, setup_context=_keep_softmax)


def plain_softmax(x: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """Softmax; a row of -inf alone gives zeros. Built in notebooks/appendix/07x_fused.ipynb."""
    z = x if x.dtype == torch.float64 else x.float()
    nothing = (z == -torch.inf).all(dim, keepdim=True)
    return z.masked_fill(nothing, 0).softmax(dim).masked_fill(nothing, 0).to(x.dtype)


def softmax(x: Float[Tensor, "..."], dim: int = -1, *, widest: int = WIDEST) -> Float[Tensor, "..."]:
    """Softmax along ``dim``, one kernel forward, one backward; a row of -inf alone gives zeros.

    Rows above ``widest`` (a power of two) are read twice, with the online sum. Built in notebooks/appendix/07x_fused.ipynb.
    """
    check(x=x)
    if BACKEND == "pytorch" or x.numel() == 0:
        return plain_softmax(x, dim)
    return _softmax(x.movedim(dim, -1), widest).movedim(-1, dim)


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
    tl.store(dw_ptr + tl.program_id(0).to(tl.int64) * n + col, tl.sum(dw, axis=0)[None, :], mask=col < n)


def programs_at_once(x: Tensor) -> int:
    """Programs that keep the device busy when each works on many rows. Built in notebooks/appendix/07x_fused.ipynb."""
    return 4 * torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 4


@custom_op("cs336lite::rms_norm", mutates_args=())
def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The result, and r for each row."""
    flat, y = rows_of(x), _like(x)
    rows, n = flat.shape
    r = torch.empty(rows, dtype=torch.float32, device=x.device)
    grid, tile = row_tiles(rows, n)
    launch(rms_norm_kernel, grid, y, r, flat, weight.contiguous(), flat.stride(0), rows, n, eps, **tile)
    return y, r


@custom_op("cs336lite::rms_norm_backward", mutates_args=())
def _rms_norm_backward(dy: Tensor, x: Tensor, weight: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    dx, dy, x = _like(x), rows_of(dy), rows_of(x)
    rows, n = x.shape
    grid, tile = row_tiles(rows, n)
    programs = min(grid[0], programs_at_once(x))
    dw = torch.empty(programs, n, dtype=torch.float32, device=x.device)
    strides = dy.stride(0), x.stride(0)
    launch(rms_norm_backward_kernel, (programs,), dx, dw, dy, x, weight.contiguous(), r, *strides, rows, n, **tile)
    return dx, dw.sum(0).to(weight.dtype)


def _keep_rms_norm(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:2], output[1])
    ctx.mark_non_differentiable(output[1])


def _gradient_of_rms_norm(ctx, dy, _):
    return *_rms_norm_backward(dy, *ctx.saved_tensors), None


_rms_norm.register_fake(lambda x, weight, eps: (_like(x), x.new_empty(x.shape[:-1].numel(), dtype=torch.float32)))
_rms_norm_backward.register_fake(lambda dy, x, weight, r: (_like(x), _like(weight)))
_rms_norm.register_autograd(_gradient_of_rms_norm, setup_context=_keep_rms_norm)


def plain_rms_norm(
    x: Float[Tensor, "*rows d"], weight: Float[Tensor, " d"], eps: float = 1e-5
) -> Float[Tensor, "*rows d"]:
    """x / sqrt(mean(x**2) + eps) * weight, one operation after the other. Built in notebooks/appendix/07x_fused.ipynb."""
    z = x.double() if x.dtype == torch.float64 else x.float()
    return (z * torch.rsqrt(z.square().mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def rms_norm(x: Float[Tensor, "..."], weight: Float[Tensor, "..."], eps: float = 1e-5) -> Float[Tensor, "..."]:
    """x / sqrt(mean(x**2) + eps) * weight along the last dimension (arXiv 1910.07467), forward and backward fused.

    The weight may be float32 beside an x of fewer bits. Built in notebooks/appendix/07x_fused.ipynb.
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
    return _rms_norm(x, weight, eps)[0]


class RMSNorm(nn.Module):
    """The norm slot of a model: ``norm=RMSNorm``; parameter ``weight``. Built in notebooks/appendix/07x_fused.ipynb."""

    def __init__(self, d: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(d)), eps

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return rms_norm(x, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


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


def plain_swiglu(gate: Float[Tensor, "..."], up: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """silu(gate) * up in two passes. Built in notebooks/appendix/07x_fused.ipynb."""
    g, u = (t if t.dtype == torch.float64 else t.float() for t in (gate, up))
    return (F.silu(g) * u).to(gate.dtype)


@custom_op("cs336lite::swiglu", mutates_args=())
def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    h = _like(gate)
    if BACKEND == "pytorch":
        return h.copy_(plain_swiglu(gate, up))
    launch(swiglu_kernel, flat_grid(h), h, gate.contiguous(), up.contiguous(), h.numel(), **FLAT)
    return h


@custom_op("cs336lite::swiglu_backward", mutates_args=())
def _swiglu_backward(dh: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """h, dgate, dup"""
    parts = _like(gate), _like(gate), _like(gate)
    if BACKEND == "pytorch":
        g, u, d = gate.float(), up.float(), dh.float()
        s = torch.sigmoid(g)
        found = g * s * u, d * u * s * (1 + g * (1 - s)), d * g * s
        return tuple(part.copy_(value) for part, value in zip(parts, found))
    inputs = dh.contiguous(), gate.contiguous(), up.contiguous()
    launch(swiglu_backward_kernel, flat_grid(gate), *parts, *inputs, gate.numel(), **FLAT)
    return parts


def _gradient_of_swiglu(ctx, dh):
    return _swiglu_backward(dh, *ctx.saved_tensors)[1:]


_swiglu.register_fake(_like)
_swiglu_backward.register_fake(lambda dh, gate, up: (_like(gate), _like(gate), _like(gate)))
_swiglu.register_autograd(_gradient_of_swiglu, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))


def swiglu(gate: Float[Tensor, "..."], up: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """silu(gate) * up (arXiv 2002.05202); keeps only its inputs for the backward pass.

    Built in notebooks/appendix/07x_fused.ipynb.
    """
    check(gate=gate, up=up, same_shape=True)
    return _swiglu(gate, up)


@custom_op("cs336lite::swiglu_feed_forward", mutates_args=())
def _feed_forward(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The result, and gate(x) and up(x)."""
    x = x.contiguous()
    with torch.autocast(x.device.type, enabled=False):
        gate, up = F.linear(x, w_gate), F.linear(x, w_up)
        return F.linear(_swiglu(gate, up), w_down), gate, up


@custom_op("cs336lite::swiglu_feed_forward_backward", mutates_args=())
def _feed_forward_backward(
    dy: Tensor, x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor, gate: Tensor, up: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dx, (dy, x, gate, up) = _like(x), (t.reshape(-1, t.shape[-1]) for t in (dy, x, gate, up))
    with torch.autocast(x.device.type, enabled=False):
        h, dgate, dup = _swiglu_backward(dy @ w_down, gate, up)
        torch.addmm(dgate @ w_gate, dup, w_up, out=dx.view(x.shape))
        return dx, dgate.T @ x, dup.T @ x, dy.T @ h


def _shapes_of_feed_forward(x, w_gate, w_up, w_down):
    return _like(x), *(x.new_empty(*x.shape[:-1], len(w_gate)) for _ in range(2))


def _keep_feed_forward(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs, *output[1:])  # not their product: it is computed again
    ctx.mark_non_differentiable(*output[1:])


def _gradient_of_feed_forward(ctx, dy, *_):
    return _feed_forward_backward(dy, *ctx.saved_tensors)


_feed_forward.register_fake(_shapes_of_feed_forward)
_feed_forward_backward.register_fake(lambda dy, *inputs: tuple(_like(t) for t in inputs[:4]))
_feed_forward.register_autograd(_gradient_of_feed_forward, setup_context=_keep_feed_forward)


def plain_swiglu_feed_forward(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """What `swiglu_feed_forward` computes, through autograd. Built in notebooks/appendix/07x_fused.ipynb."""
    return F.linear(F.silu(F.linear(x, w_gate)) * F.linear(x, w_up), w_down)


def swiglu_feed_forward(
    x: Float[Tensor, "..."], w_gate: Float[Tensor, "..."], w_up: Float[Tensor, "..."], w_down: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """down(silu(gate(x)) * up(x)), which keeps gate(x) and up(x) and computes their product again in the backward pass.

    x (..., d_model), w_gate and w_up (d_ff, d_model), w_down (d_model, d_ff). Built in notebooks/appendix/07x_fused.ipynb.
    """
    x, w_gate, w_up, w_down = autocast(x, w_gate, w_up, w_down)
    check(x=x, w_gate=w_gate, w_up=w_up, w_down=w_down)
    if not w_gate.shape == w_up.shape == w_down.T.shape or w_gate.shape[1] != x.shape[-1]:
        shapes = {name: tuple(t.shape) for name, t in (("x", x), ("gate", w_gate), ("up", w_up), ("down", w_down))}
        raise ValueError(f"these shapes do not fit together: {shapes}")
    return _feed_forward(x, w_gate, w_up, w_down)[0]


class SwiGLU(nn.Module):
    """A feed-forward network with the names of lecture 03's, on `swiglu_feed_forward`."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(d_model, d_ff, bias=False), nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return swiglu_feed_forward(x, self.gate.weight, self.up.weight, self.down.weight)


def feed_forward(config: object) -> SwiGLU:
    """The feed_forward slot: a `SwiGLU` of the sizes of a TransformerConfig. Built in notebooks/appendix/07x_fused.ipynb.

    Raises ValueError if the configuration asks for what it does not do: another activation, biases, dropout.
    """
    if config.activation != "swiglu" or config.bias or config.dropout:
        raise ValueError(
            "this feed-forward is swiglu without bias and dropout, but the configuration says "
            f"activation={config.activation!r}, bias={config.bias}, dropout={config.dropout}"
        )
    return SwiGLU(config.d_model, config.d_ff)


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
    known = (target >= 0) & (target < n)  # nothing is read outside the row
    logit = tl.load(x_ptr + row * x_stride + target, mask=known, other=float("nan")).to(tl.float32)
    tl.store(lse_ptr + row, lse, mask=row < rows)
    tl.store(loss_ptr + row, tl.where(target == IGNORE, 0.0, lse - logit), mask=row < rows)


@jit
def cross_entropy_backward_kernel(
    dx_ptr, x_ptr, lse_ptr, target_ptr, scale_ptr, dx_stride, x_stride, rows, n,
    IGNORE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """dx = (softmax(x) - one_hot(target)) * scale; dx may be x itself."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    lse = tl.load(lse_ptr + row, mask=row < rows, other=0.0)
    target = tl.load(target_ptr + row, mask=row < rows, other=IGNORE)
    scale = tl.where((target >= 0) & (target < n), tl.load(scale_ptr).to(tl.float32), float("nan"))
    scale = tl.where(target == IGNORE, 0.0, scale)
    for start in range(0, n, BLOCK):
        col = start + tl.arange(0, BLOCK)[None, :]
        inside = (row < rows) & (col < n)
        x = tl.load(x_ptr + row * x_stride + col, mask=inside, other=-float("inf")).to(tl.float32)
        dx = (tl.exp(x - lse) - tl.where(col == target, 1.0, 0.0)) * scale
        tl.store(dx_ptr + row * dx_stride + col, dx, mask=inside)


IGNORE = -100
"""The target that counts for nothing, as in torch.nn.functional.cross_entropy."""


def _of_targets(targets: Tensor, n: int, values: Tensor) -> Tensor:
    """The values, but 0 where the target is IGNORE, and nan where it is another one outside the vocabulary."""
    known = torch.where((targets >= 0) & (targets < n), values, torch.nan)
    return torch.where(targets == IGNORE, 0.0, known)


def _losses(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each row, 0 where the target is IGNORE, and its log-sum-exp; both float32."""
    if BACKEND == "pytorch":
        lse = logits.float().logsumexp(-1)
        logit = logits.gather(-1, targets.clamp(0, logits.shape[1] - 1)[:, None])[:, 0].float()
        return _of_targets(targets, logits.shape[1], lse - logit), lse
    rows, n = logits.shape
    loss, lse = (torch.empty(rows, dtype=torch.float32, device=logits.device) for _ in range(2))
    grid, tile = row_tiles(rows, n, CHUNK)
    launch(log_sum_exp_kernel, grid, loss, lse, logits, targets, logits.stride(0), rows, n, IGNORE, **tile)
    return loss, lse


def _logit_gradients(out: Tensor, logits: Tensor, lse: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """(softmax(logits) - one_hot(targets)) * scale, written into ``out``."""
    if BACKEND == "pytorch":
        gradient = torch.exp(logits.float() - lse[:, None])
        gradient[torch.arange(len(targets)), targets.clamp(0, logits.shape[1] - 1)] -= 1
        return out.copy_(gradient * _of_targets(targets, logits.shape[1], scale.float())[:, None])
    rows, n = logits.shape
    grid, tile = row_tiles(rows, n, CHUNK)
    strides = out.stride(0), logits.stride(0)
    launch(cross_entropy_backward_kernel, grid, out, logits, lse, targets, scale, *strides, rows, n, IGNORE, **tile)
    return out


@custom_op("cs336lite::cross_entropy", mutates_args=())
def _cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean, the log-sum-exp of each row, and how many targets count."""
    loss, lse = _losses(rows_of(logits), targets.contiguous())
    count = (targets != IGNORE).sum()
    return loss.sum() / count, lse, count


@custom_op("cs336lite::cross_entropy_backward", mutates_args=())
def _cross_entropy_backward(logits: Tensor, lse: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    return _logit_gradients(_like(logits), rows_of(logits), lse, targets.contiguous(), scale)


def _shapes_of_cross_entropy(logits, targets):
    return logits.new_empty((), dtype=torch.float32), logits.new_empty(len(logits), dtype=torch.float32), targets.new_empty(())  # fmt: skip


def _keep_cross_entropy(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs, *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _gradient_of_cross_entropy(ctx, d, *_):
    logits, targets, lse, count = ctx.saved_tensors
    return _cross_entropy_backward(logits, lse, targets, d / count), None


_cross_entropy.register_fake(_shapes_of_cross_entropy)
_cross_entropy_backward.register_fake(_like)
_cross_entropy.register_autograd(_gradient_of_cross_entropy, setup_context=_keep_cross_entropy)


def _check_targets(targets: Tensor, rows: int, device: torch.device) -> None:
    if targets.dtype != torch.int64:
        raise TypeError(f"targets are {targets.dtype}: give int64")
    if targets.shape != (rows,) or targets.device != device:
        raise ValueError(f"targets {tuple(targets.shape)} on {targets.device} for {rows} rows on {device}")


def plain_cross_entropy(logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """The mean over targets other than -100, in float32. Built in notebooks/appendix/07x_fused.ipynb."""
    return F.cross_entropy(logits if logits.dtype == torch.float64 else logits.float(), targets, ignore_index=IGNORE)


def cross_entropy(logits: Float[Tensor, "..."], targets: Int[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean of -log softmax(logits)[target] over the targets other than -100; logits (n, vocab), targets (n,) int64.

    Reads the logits once forward, once backward, and keeps no probabilities. A target outside the vocabulary
    makes the loss nan. Built in notebooks/appendix/07x_fused.ipynb.
    """
    check(logits=logits)
    if logits.ndim != 2:
        raise ValueError(f"logits have shape {tuple(logits.shape)}: give (n, vocab)")
    _check_targets(targets, len(logits), logits.device)
    return _cross_entropy(logits, targets)[0]


@custom_op("cs336lite::linear_cross_entropy", mutates_args=())
def _linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int, for_hidden: bool, for_weight: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The mean, the gradients of its sum that are asked for (else empty), and how many targets count."""
    d_hidden = torch.empty_like(hidden if for_hidden else hidden[:0], memory_format=torch.contiguous_format)
    d_weight = torch.zeros(weight.shape if for_weight else 0, dtype=torch.float32, device=weight.device)
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    one, targets = torch.ones_like(total), targets.contiguous()
    with torch.autocast(hidden.device.type, enabled=False):
        for some, target, at in zip(hidden.split(chunk), targets.split(chunk), range(0, len(hidden), chunk)):
            logits = some @ weight.T  # (chunk, vocab): the only logits there ever are
            loss, lse = _losses(logits, target)
            total += loss.sum()
            if for_hidden or for_weight:  # not yet divided by the count: float16 would lose small ones
                d_logits = _logit_gradients(logits, logits, lse, target, one)
            if for_hidden:
                torch.mm(d_logits, weight, out=d_hidden[at : at + chunk])
            if for_weight:
                d_weight += d_logits.T @ some  # float32, so that many chunks lose nothing
    count = (targets != IGNORE).sum()
    return total / count, d_hidden, d_weight, count


@_linear_cross_entropy.register_fake
def _shapes_of_linear_cross_entropy(hidden, weight, targets, chunk, for_hidden, for_weight):
    d_hidden = _like(hidden if for_hidden else hidden[:0])
    d_weight = weight.new_empty(weight.shape if for_weight else 0, dtype=torch.float32)
    return hidden.new_empty((), dtype=torch.float32), d_hidden, d_weight, targets.new_empty(())


def _keep_linear_cross_entropy(ctx, inputs, output) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.dtype, ctx.wanted = inputs[1].dtype, inputs[-2:]


def _gradient_of_linear_cross_entropy(ctx, d, *_):
    *gradients, count = ctx.saved_tensors
    scale = d.float() / count  # with the factor of a GradScaler, before anything is rounded
    found = ((g.float() * scale).to(ctx.dtype) if wanted else None for g, wanted in zip(gradients, ctx.wanted))
    return *found, None, None, None, None


_linear_cross_entropy.register_autograd(_gradient_of_linear_cross_entropy, setup_context=_keep_linear_cross_entropy)


def plain_linear_cross_entropy(
    hidden: Float[Tensor, "n d_model"], weight: Float[Tensor, "vocab d_model"], targets: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """All logits, then their loss. Built in notebooks/appendix/07x_fused.ipynb."""
    return plain_cross_entropy(hidden @ weight.T, targets)


def linear_cross_entropy(
    hidden: Float[Tensor, "..."], weight: Float[Tensor, "..."], targets: Int[Tensor, "..."], *, chunk: int | None = None
) -> Float[Tensor, ""]:
    """The loss slot: `cross_entropy` of ``hidden @ weight.T``, ``chunk`` rows of logits at a time, never all.

    hidden (n, d_model), weight (vocab, d_model), targets (n,) int64. The gradients are made in the forward pass, while
    a chunk's logits are there; by default a chunk's logits take about as many bytes as ``hidden``.
    Built in notebooks/appendix/07x_fused.ipynb.
    """
    hidden, weight = autocast(hidden, weight)
    check(hidden=hidden, weight=weight)
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(f"hidden {tuple(hidden.shape)} and weight {tuple(weight.shape)}: give (n, d), (vocab, d)")
    _check_targets(targets, len(hidden), hidden.device)
    if chunk is None:
        chunk = max(256, -(-hidden.numel() // len(weight)))
    wanted = (torch.is_grad_enabled() and t.requires_grad for t in (hidden, weight))
    return _linear_cross_entropy(hidden, weight, targets, chunk, *wanted)[0]


@jit
def rope_kernel(
    y_ptr, x_ptr, cos_ptr, sin_ptr, position_ptr, y_strides, x_strides, position_strides, heads, seq, pairs, limit, sign,
    INTERLEAVED: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Turn the pairs of ROWS tokens of one head by their angles; sign -1 turns back, which is the backward pass."""
    tile, which = tl.program_id(0) % tl.cdiv(seq, ROWS), tl.program_id(0).to(tl.int64) // tl.cdiv(seq, ROWS)
    batch, head = which // heads, which % heads
    row = tile * ROWS + tl.arange(0, ROWS)[:, None].to(tl.int64)
    pair = tl.arange(0, BLOCK)[None, :]
    inside = (row < seq) & (pair < pairs)
    at = position_ptr + batch * position_strides[0] + head * position_strides[1] + row * position_strides[2]
    position = tl.load(at, mask=row < seq, other=0).to(tl.int64)
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


def _as_4d(x: Tensor) -> Tensor:
    """(batch, heads, seq, d) of a tensor (..., seq, d), a view wherever strides allow."""
    while x.ndim < 4:
        x = x.unsqueeze(0 if x.ndim == 2 else 1)
    return x if x.ndim == 4 else x.flatten(0, -4)


def _for_turned(x: Tensor) -> tuple[Tensor, Tensor]:
    """x as (batch, heads, seq, d), and an empty tensor of this shape with x's order in memory, if neighbours stay so."""
    x4 = _as_4d(x if x.stride(-1) == 1 else x.contiguous())
    y4 = torch.empty_like(x4)
    return x4, y4 if y4.stride(-1) == 1 else torch.empty_like(x4, memory_format=torch.contiguous_format)


@custom_op("cs336lite::rope", mutates_args=())
def _rope(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, layout: str, sign: int) -> Tensor:
    (x4, y4), at = _for_turned(x), _as_4d(positions.expand(x.shape[:-1])[..., None])[..., 0]
    batch, heads, seq, d = x4.shape
    block = triton.next_power_of_2(d // 2)
    rows = max(1, min(TILE // block, triton.next_power_of_2(seq)))
    strides = y4.stride()[:3], x4.stride()[:3], at.stride()
    sizes = heads, seq, d // 2, len(cos), sign, layout == "interleaved"
    grid = (triton.cdiv(seq, rows) * batch * heads,)  # one axis: CUDA's second ends at 65,535
    tables = cos.contiguous(), sin.contiguous()
    launch(rope_kernel, grid, y4, x4, *tables, at, *strides, *sizes, ROWS=rows, BLOCK=block, num_warps=8)
    return y4.view(x.shape)


def _keep_rope(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[1:4])  # not x: a rotation is undone without it
    ctx.layout, ctx.sign = inputs[4:]


def _gradient_of_rope(ctx, dy):
    return _rope(dy, *ctx.saved_tensors, ctx.layout, -ctx.sign), None, None, None, None, None


_rope.register_fake(lambda x, *_: _for_turned(x)[1].view(x.shape))
_rope.register_autograd(_gradient_of_rope, setup_context=_keep_rope)


def plain_rope(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor, layout: str = "interleaved") -> Tensor:
    """What `rope` computes, as products of complex numbers. Built in notebooks/appendix/07x_fused.ipynb."""
    z = x if x.dtype == torch.float64 else x.float()
    pairs = z.unflatten(-1, (-1, 2)) if layout == "interleaved" else z.unflatten(-1, (2, -1)).mT
    turned = torch.view_as_complex(pairs.contiguous()) * torch.complex(cos, sin)[positions]  # e^(i angle)
    pairs = torch.view_as_real(turned)
    return (pairs if layout == "interleaved" else pairs.mT).flatten(-2).to(x.dtype)


def rope(
    x: Float[Tensor, "..."], cos: Float[Tensor, "..."], sin: Float[Tensor, "..."], positions: Int[Tensor, "..."],
    layout: str = "interleaved",
) -> Float[Tensor, "..."]:  # fmt: skip
    """x (..., seq, d) with each pair turned by the angle whose cosine and sine are in row ``positions`` of the tables.

    cos, sin (max_seq_len, d / 2) float32; positions broadcast to x.shape[:-1]; "interleaved" pairs (0, 1), (2, 3), ...,
    "half" pairs (i, i + d / 2). Built in notebooks/appendix/07x_fused.ipynb.
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
    return _rope(x, cos, sin, positions, layout, 1)


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


@torch.no_grad()
def plain_lion_step(
    p: Tensor, g: Tensor, m: Tensor, *, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
) -> None:
    """What `lion_step` does, in one operation after the other. Built in notebooks/appendix/07x_fused.ipynb."""
    wide = [t if t.dtype == torch.float64 else t.float() for t in (p, g, m)]
    u = betas[0] * wide[2] + (1 - betas[0]) * wide[1]
    p.copy_(wide[0] * (1 - lr * weight_decay) - lr * u.sign())
    m.copy_(betas[1] * wide[2] + (1 - betas[1]) * wide[1])


@custom_op("cs336lite::lion_step", mutates_args=("p", "m"))
def _lion_step(p: Tensor, g: Tensor, m: Tensor, lr: float, beta1: float, beta2: float, shrink: float) -> None:
    dense_p, dense_m = p.contiguous(), m.contiguous()  # copies if strides ask for them, which are copied back
    launch(lion_kernel, flat_grid(p), dense_p, g.contiguous(), dense_m, p.numel(), lr, shrink, beta1, beta2, **FLAT)
    for t, dense in ((p, dense_p), (m, dense_m)):
        if dense is not t:
            t.copy_(dense)


@torch.no_grad()
def lion_step(
    p: Tensor, g: Tensor, m: Tensor, *, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
) -> None:
    """One step of Lion (arXiv 2302.06675) on a parameter, its gradient and its momentum; p and m are changed in place.

    Computed in float32, rounded once. ValueError for tensors that are not dense. Built in notebooks/appendix/07x_fused.ipynb.
    """
    check(p=p, g=g, m=m, same_shape=True)
    if BACKEND == "pytorch" or p.numel() == 0:
        return plain_lion_step(p, g, m, lr=lr, betas=betas, weight_decay=weight_decay)
    if p.layout != torch.strided or g.layout != torch.strided or m.layout != torch.strided:
        raise ValueError("p, g and m must be dense: Lion's momentum and decay change every entry")
    _lion_step(p, g, m, lr, *betas, 1 - lr * weight_decay)


class Lion(torch.optim.Optimizer):
    """Lion with one kernel for each parameter. Built in notebooks/appendix/07x_fused.ipynb."""

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
                if p.grad.is_sparse:
                    raise RuntimeError("Lion does not take sparse gradients: its momentum changes every entry")
                if not self.state[p]:
                    self.state[p]["exp_avg"] = torch.zeros_like(p, memory_format=torch.contiguous_format)
                lion_step(p, p.grad, self.state[p]["exp_avg"], **options)
        return loss
