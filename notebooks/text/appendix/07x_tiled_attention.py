# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: flash, minutes: 1, prerequisites: [03b_variants], device: CPU or GPU}
# ---

# %% [markdown]
# # 07x · FlashAttention, forward and backward (appendix of lecture 07)
#
# {badge} · prerequisites: [07 · GPU kernels](../07_kernels.ipynb) · device: CPU, by Triton's interpreter; a GPU is used if there is one
#
# Exact attention in tiles whose memory is linear in the length: `cs336lite.flash`, and the same in PyTorch operations.
#
# The lecture read a forward pass for one head. Here are the rest: batches, heads that share keys and values, masks, ragged lengths,
# any strides, and the backward pass. Read section 2 beside the lecture's kernel, then section 3.

# %%
from cs336lite.course.diagram import Diagram

# %% folded=true
#| export
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
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.library import custom_op
from torch.nn.attention import SDPBackend, sdpa_kernel

from cs336lite.backend import BACKEND, DEVICE, INTERPRETED, autocast, check, jit, launch, tl, triton
from cs336lite.slots import Attend
from cs336lite.tiles import Choices, bucket_of, precision_of, tuned

# %% [markdown]
# ## 1 · Where things lie
#
# **Which matrix is mine?** A program belongs to one head of one sequence; both are counted by one number, since a second axis of a
# grid ends at 65,535. With GQA, `group` query heads read one head of keys. `of_head` finds where a head's matrix begins, `tile_at` the
# pointers to some of its rows. Both multiply strides in 64 bits.


# %%
#| export
@jit
def of_head(ptr, strides, which, heads, group):
    """Where the matrix of this program's head begins, when ``group`` heads share one; ``which`` counts heads of all sequences."""
    which = tl.cast(which, tl.int64)
    batch, head = which // heads, which % heads
    return ptr + batch * strides[0] + head // group * strides[1]


@jit
def tile_at(ptr, first, stride, ROWS: tl.constexpr, BLOCK_D: tl.constexpr):
    """Pointers to ROWS rows of a matrix, from row ``first`` on."""
    row = tl.cast(first, tl.int64) + tl.arange(0, ROWS)[:, None]
    return ptr + row * stride + tl.arange(0, BLOCK_D)[None, :]


# %%
#| export
@jit
def load_tile(
    ptr, first, stride, limit, ROWS: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, EDGE: tl.constexpr
):
    """Rows of a (limit, D) matrix, with zeros outside it. Without EDGE all rows lie inside and need no mask."""
    row, col = tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK_D)[None, :]
    ptrs = tile_at(ptr, first, stride, ROWS, BLOCK_D)
    if EDGE:
        tile = tl.load(ptrs, mask=(first + row < limit) & (col < D), other=0.0)
    elif BLOCK_D == D:
        tile = tl.load(ptrs)
    else:
        tile = tl.load(ptrs, mask=col < D, other=0.0)
    return tile.to(tl.float32) if INTERPRETED else tile  # the interpreter cannot multiply bfloat16


# %% [markdown]
# ### Whole tiles and edge tiles
#
# **Which tiles need a mask?** Only those that the diagonal or the end of the text cuts. `seen_by` gives two bounds for a tile of queries:
# up to the first, all queries see all keys, and no comparison is needed. From there to the second some see some. Keys behind it are
# never loaded. The loops below run once for each kind; `EDGE` is known to the compiler, which removes the mask from the first.

# %% folded=true
d = Diagram(92, 7.6)
d.text(1, 0.7, "queries 4 to 7 of a causal text, tiles of 2 keys")
for r in range(4):
    d.text(2, 2.35 + 1.2 * r, f"query {4 + r}")
    for c in range(10):
        kind = "blue" if c < 4 else "orange" if c < 8 else "grey"
        seen = c <= 4 + r
        d.box(14 + 5.2 * c + 0.6 * (c // 2), 1.6 + 1.2 * r, "" if seen else "·", width=5, height=1.1,
              color=kind if seen or kind == "grey" else "yellow")  # fmt: skip
d.text(14, 7.2, "whole: no mask", color="blue")
d.text(37, 7.2, "at the edge: · is masked", color="orange")
d.text(62, 7.2, "never loaded", color="grey")
d.show()


# %%
#| export
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
        seen = tl.load(
            mask_ptr + row.to(tl.int64) * mask_strides[2] + col.to(tl.int64) * mask_strides[3], mask=inside, other=0
        )
        scores = tl.where(seen != 0, scores, -float("inf"))
    return scores


# %%
#| export
@jit
def seen_by(first, M: tl.constexpr, q_len, k_len, CAUSAL: tl.constexpr, N: tl.constexpr):
    """For queries first to first + M: up to which key, a multiple of N, all see all; and up to which any sees any."""
    whole, stop = k_len // N * N, k_len
    if CAUSAL:
        past = k_len - q_len
        whole = tl.minimum(whole, tl.maximum(first + past + 1, 0) // N * N)
        stop = tl.minimum(stop, tl.maximum(first + M + past, 0))
    return whole, stop


# %% [markdown]
# ## 2 · Forward
#
# **What does a program own?** M queries of one head, and with them M rows of the output. It holds for each query the running maximum, the
# running sum and the output so far, walks over tiles of keys and values, and divides at the very end. It leaves one number for each
# query: the logarithm of the sum. Scores are in units of log 2, because GPUs have an instruction for powers of 2.


# %%
#| export
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
#| export
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
#| export
@jit
def flash_forward_kernel(
    o_ptr, lse_ptr, q_ptr, k_ptr, v_ptr, mask_ptr, o_strides, q_strides, k_strides, v_strides, mask_strides,
    heads, group, q_len, k_len, scale, bucket, D: tl.constexpr, BLOCK_D: tl.constexpr, CAUSAL: tl.constexpr,
    MASK: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """M queries of one head against all keys that they see: tiles that are seen whole, then those at the edge."""
    tile, which = tl.program_id(0) % tl.cdiv(q_len, M), tl.program_id(0).to(tl.int64) // tl.cdiv(q_len, M)
    tile = tl.cdiv(q_len, M) - 1 - tile  # the last queries see most keys: begin with them
    row = tile * M + tl.arange(0, M)
    k_ptr, v_ptr = of_head(k_ptr, k_strides, which, heads, group), of_head(v_ptr, v_strides, which, heads, group)
    mask_ptr = of_head(mask_ptr, mask_strides, which, heads, 1)
    q = load_tile(of_head(q_ptr, q_strides, which, heads, 1), tile * M, q_strides[2], q_len, M, D, BLOCK_D, True)
    acc, total = tl.zeros((M, BLOCK_D), tl.float32), tl.zeros((M,), tl.float32)
    top = tl.full((M,), -float("inf"), tl.float32)
    whole, stop = seen_by(tile * M, M, q_len, k_len, CAUSAL, N)
    for EDGE in tl.static_range(2):
        acc, top, total = attend_to_tiles(
            acc, top, total, q, k_ptr, v_ptr, mask_ptr, row, whole * EDGE, stop * EDGE + whole * (1 - EDGE), q_len,
            k_len, k_strides[2], v_strides[2], mask_strides, scale, D, BLOCK_D, CAUSAL, MASK, EDGE, PRECISION, N,
        )  # fmt: skip
    lse_ptr += which * q_len
    o_ptr = of_head(o_ptr, o_strides, which, heads, 1)
    write_output(o_ptr, lse_ptr, acc, top, total, tile, o_strides[2], q_len, M, D, BLOCK_D)


# %% [markdown]
# ## 3 · Backward
#
# **What must be known of a query?** With $P = e^{S - L}$ made again from the log-sum-exp $L$, and $dP = dO\,V^\top$, the gradient of the
# scores is $dS = P\,(dP - \delta)$, where $\delta = \sum_j dO_j O_j$ is one number for each query. A short kernel computes $\delta$ first.
#
# Then two kernels, because two sums run in different directions. $dQ = dS\,K$ sums over keys, so a program owns a tile of queries.
# $dK = dS^\top Q$ and $dV = P^\top dO$ sum over queries, so a program owns a tile of keys. Nobody adds to another's tile, no
# atomic operations are needed, and two runs give the same bits. The price: scores are computed in both, which makes seven products
# where FlashAttention-2 has five.

# %% folded=true
d = Diagram(92, 9)
for x, title, by_row in ((2, "dQ: program = tile of queries", True), (50, "dK, dV: program = tile of keys", False)):
    d.text(x, 0.7, title)
    for r in range(4):
        for c in range(4):
            owner = r if by_row else c
            color = "grey" if c > r else ("blue", "orange", "green", "purple")[owner]
            d.box(x + 7.2 * c, 1.5 + 1.5 * r, "" if c > r else str(owner), width=6.8, height=1.4, color=color)
    d.text(x, 8.2, "down: queries, across: keys, grey: never seen", color="grey")
d.arrow((31.4, 2.2), (40, 2.2), "sum")
d.arrow((80.5, 2), (80.5, 7.2), "sum")
d.show()


# %%
#| export
@jit
def flash_delta_kernel(
    delta_ptr, o_ptr, do_ptr, o_strides, do_strides, heads, q_len,
    D: tl.constexpr, BLOCK_D: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """delta = sum(dO * O) of each query: what the backward pass of softmax subtracts."""
    tile, which = tl.program_id(0) % tl.cdiv(q_len, M), tl.program_id(0).to(tl.int64) // tl.cdiv(q_len, M)
    first = tile * M
    o = load_tile(of_head(o_ptr, o_strides, which, heads, 1), first, o_strides[2], q_len, M, D, BLOCK_D, True)
    do = load_tile(of_head(do_ptr, do_strides, which, heads, 1), first, do_strides[2], q_len, M, D, BLOCK_D, True)
    row = first + tl.arange(0, M)
    delta = tl.sum(o.to(tl.float32) * do.to(tl.float32), axis=1)
    tl.store(delta_ptr + which * q_len + row, delta, mask=row < q_len)


# %% [markdown]
# ### dQ: a row of tiles
#
# The program loads its queries and their dO once, then walks over the keys that they see. The probabilities need no running maximum
# any more: the log-sum-exp is known.


# %%
#| export
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
#| export
@jit
def flash_dq_kernel(
    dq_ptr, lse_ptr, delta_ptr, do_ptr, q_ptr, k_ptr, v_ptr, mask_ptr, dq_strides, do_strides, q_strides, k_strides,
    v_strides, mask_strides, heads, group, q_len, k_len, scale, factor, bucket, D: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, MASK: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """dQ of M queries of one head; ``factor`` is the scale of the scores without the log 2."""
    tile, which = tl.program_id(0) % tl.cdiv(q_len, M), tl.program_id(0).to(tl.int64) // tl.cdiv(q_len, M)
    first = (tl.cdiv(q_len, M) - 1 - tile) * M
    row, flat = first + tl.arange(0, M), which * q_len
    q = load_tile(of_head(q_ptr, q_strides, which, heads, 1), first, q_strides[2], q_len, M, D, BLOCK_D, True)
    do = load_tile(of_head(do_ptr, do_strides, which, heads, 1), first, do_strides[2], q_len, M, D, BLOCK_D, True)
    lse = tl.load(lse_ptr + flat + row, mask=row < q_len, other=float("inf"))
    delta, dq = tl.load(delta_ptr + flat + row, mask=row < q_len, other=0.0), tl.zeros((M, BLOCK_D), tl.float32)
    k_ptr, v_ptr = of_head(k_ptr, k_strides, which, heads, group), of_head(v_ptr, v_strides, which, heads, group)
    whole, stop = seen_by(first, M, q_len, k_len, CAUSAL, N)
    for EDGE in tl.static_range(2):
        dq = dq_from_tiles(dq, q, do, lse, delta, k_ptr, v_ptr, of_head(mask_ptr, mask_strides, which, heads, 1), row,
            whole * EDGE, stop * EDGE + whole * (1 - EDGE), q_len, k_len, k_strides[2], v_strides[2], mask_strides,
            scale, D, BLOCK_D, CAUSAL, MASK, EDGE, PRECISION, N)  # fmt: skip
    ptrs = tile_at(of_head(dq_ptr, dq_strides, which, heads, 1), first, dq_strides[2], M, BLOCK_D)
    inside = (row[:, None] < q_len) & (tl.arange(0, BLOCK_D)[None, :] < D)
    tl.store(ptrs, (dq * factor).to(dq_ptr.dtype.element_ty), mask=inside)


# %% [markdown]
# ### dK and dV: a column of tiles
#
# The program loads its keys and values once, then walks over all queries that see them, of every head of the group that shares them. Tiles
# are (keys, queries) here, so no transpose of scores is needed. Two accumulators live in registers at once, and registers are what
# this kernel runs out of first: its tiles are the smallest.


# %%
#| export
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
#| export
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
#| export
@jit
def flash_dkv_kernel(
    dk_ptr, dv_ptr, lse_ptr, delta_ptr, do_ptr, q_ptr, k_ptr, v_ptr, mask_ptr, dk_strides, dv_strides, do_strides,
    q_strides, k_strides, v_strides, mask_strides, kv_heads, group, q_len, k_len, scale, factor, bucket,
    D: tl.constexpr, BLOCK_D: tl.constexpr, CAUSAL: tl.constexpr, MASK: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """dK and dV of N keys: summed over the queries that see them, of every head that shares them."""
    tile, which = tl.program_id(0) % tl.cdiv(k_len, N), tl.program_id(0).to(tl.int64) // tl.cdiv(k_len, N)
    first, heads = tile * N, kv_heads * group
    k = load_tile(of_head(k_ptr, k_strides, which, kv_heads, 1), first, k_strides[2], k_len, N, D, BLOCK_D, True)
    v = load_tile(of_head(v_ptr, v_strides, which, kv_heads, 1), first, v_strides[2], k_len, N, D, BLOCK_D, True)
    dk, dv = tl.zeros((N, BLOCK_D), tl.float32), tl.zeros((N, BLOCK_D), tl.float32)
    for member in range(group):
        head = which * group + member  # counts query heads of all sequences
        dk, dv = dkv_from_head(
            dk, dv, k, v, of_head(q_ptr, q_strides, head, heads, 1), of_head(do_ptr, do_strides, head, heads, 1),
            lse_ptr + head * q_len, delta_ptr + head * q_len, of_head(mask_ptr, mask_strides, head, heads, 1), first,
            q_len, k_len, q_strides[2], do_strides[2], mask_strides, scale, D, BLOCK_D, CAUSAL, MASK, PRECISION, M, N,
        )  # fmt: skip
    inside = (first + tl.arange(0, N)[:, None] < k_len) & (tl.arange(0, BLOCK_D)[None, :] < D)
    for_dk = tile_at(of_head(dk_ptr, dk_strides, which, kv_heads, 1), first, dk_strides[2], N, BLOCK_D)
    for_dv = tile_at(of_head(dv_ptr, dv_strides, which, kv_heads, 1), first, dv_strides[2], N, BLOCK_D)
    tl.store(for_dk, (dk * factor).to(dk_ptr.dtype.element_ty), mask=inside)
    tl.store(for_dv, dv.to(dv_ptr.dtype.element_ty), mask=inside)


# %% [markdown]
# ## 4 · Which tiles
#
# **What bounds them?** Registers and shared memory. The lists below were compiled for an H100 with heads of 64, 128 and 256 in 16 bits;
# choices whose stack frame was not empty, which means that registers were *spilled* (溢出) to memory, were taken out. For dK and dV, 64
# queries at once always spilled, so that 32 are the most. The last choices have less than 99 KiB of shared memory, as much as an RTX 30
# or RTX 40 has.

# %%
#| export
HERE = {"M": 128, "N": 128}  # the interpreter's cost is per tile


def _tiles(*shapes: tuple[int, int, int, int]) -> list[tuple[dict[str, int], int, int]]:
    """From (queries, keys, warps, stages)."""
    return [({"M": m, "N": n}, warps, stages) for m, n, warps, stages in shapes]


FORWARD: Choices = {  # by the size of a head; in float32 a head counts four times
    64: _tiles((128, 128, 8, 3), (128, 64, 8, 3), (128, 64, 4, 3), (64, 64, 4, 3), (64, 32, 8, 2)),
    128: _tiles((128, 128, 8, 3), (128, 64, 8, 3), (64, 64, 4, 3), (64, 32, 8, 2)),
    256: _tiles((64, 32, 8, 2), (32, 32, 4, 1)),
    1024: _tiles((32, 32, 4, 1)),
}
FOR_QUERIES: Choices = {
    64: _tiles((128, 64, 8, 3), (128, 64, 8, 2), (128, 32, 4, 3), (64, 64, 4, 2), (64, 32, 4, 2)),
    128: _tiles((128, 64, 8, 3), (128, 64, 8, 2), (64, 64, 4, 2), (64, 32, 4, 2)),
    256: _tiles((32, 32, 4, 1)),
    1024: _tiles((16, 16, 4, 1)),
}
FOR_KEYS: Choices = {
    64: _tiles((32, 128, 8, 2), (32, 64, 4, 2)),
    128: _tiles((32, 64, 8, 1), (32, 32, 4, 1)),
    1024: _tiles((16, 16, 4, 1)),
}
KEY = ["bucket", "D", "CAUSAL", "MASK", "PRECISION", "group"]
tuned_forward = tuned(flash_forward_kernel, FORWARD, HERE, KEY)
tuned_dq = tuned(flash_dq_kernel, FOR_QUERIES, HERE, KEY)
tuned_dkv = tuned(flash_dkv_kernel, FOR_KEYS, HERE, KEY)


# %% [markdown]
# ## 5 · Operators
#
# **What does PyTorch see?** Two operators, one for each direction. What goes between them is Q, K, V, the output and one number for each
# query: no scores, no probabilities. As in the [appendix on fused kernels](07x_fused.ipynb), a fake version tells shapes to
# `torch.compile`.


# %%
#| export
def _options(q: Tensor, causal: bool, mask: Tensor | None) -> dict[str, object]:
    """What the three kernels are told alike."""
    d = q.shape[-1]
    block = max(16, triton.next_power_of_2(d))  # the tensor cores' least
    return {"D": d, "BLOCK_D": block, "CAUSAL": causal, "MASK": mask is not None, "PRECISION": precision_of(q)}


def _rows_side_by_side(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _mask_of(mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor:
    """The mask as bytes, (batch, heads, q, k), a view; without one something that a kernel can be given and never reads."""
    return q if mask is None else mask.expand(*q.shape[:3], k.shape[2]).view(torch.uint8)


@custom_op("cs336lite::flash_attention", mutates_args=())
def _flash(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """The output and the log-sum-exp (batch, heads, q), in units of log 2."""
    q, k, v = (_rows_side_by_side(t) for t in (q, k, v))
    (batch, heads, q_len, _), (kv_heads, k_len) = q.shape, k.shape[1:3]
    o, extra = torch.empty_like(q), _mask_of(mask, q, k)
    lse = q.new_empty(batch, heads, q_len, dtype=torch.float32)
    strides = (t.stride() for t in (o, q, k, v, extra))
    sizes = heads, heads // kv_heads, q_len, k_len, scale / math.log(2), bucket_of(q_len, k_len)
    grid = lambda tile: (triton.cdiv(q_len, tile["M"]) * batch * heads,)  # noqa: E731
    launch(tuned_forward, grid, o, lse, q, k, v, extra, *strides, *sizes, **_options(q, causal, mask))
    return o, lse


# %%
#| export
@custom_op("cs336lite::flash_attention_backward", mutates_args=())
def _flash_backward(
    do: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    do, q, k, v = (_rows_side_by_side(t) for t in (do, q, k, v))
    (batch, heads, q_len, d), (kv_heads, k_len) = q.shape, k.shape[1:3]
    options, extra = _options(q, causal, mask), _mask_of(mask, q, k)
    delta, dq, dk, dv = (torch.empty_like(t) for t in (lse, q, k, v))
    block = options["BLOCK_D"]
    launch(flash_delta_kernel, (triton.cdiv(q_len, 64) * batch * heads,), delta, o, do, o.stride(), do.stride(), heads,
           q_len, d, block, 64)  # fmt: skip
    group, sizes = heads // kv_heads, (q_len, k_len, scale / math.log(2), scale, bucket_of(q_len, k_len))
    inputs = lse, delta, do, q, k, v, extra
    strides = tuple(t.stride() for t in (do, q, k, v, extra))
    grid = lambda tile: (triton.cdiv(q_len, tile["M"]) * batch * heads,)  # noqa: E731
    launch(tuned_dq, grid, dq, *inputs, dq.stride(), *strides, heads, group, *sizes, **options)
    grid = lambda tile: (triton.cdiv(k_len, tile["N"]) * batch * kv_heads,)  # noqa: E731
    launch(tuned_dkv, grid, dk, dv, *inputs, dk.stride(), dv.stride(), *strides, kv_heads, group, *sizes, **options)
    return dq, dk, dv


# %%
#| export
def _keep_attention(ctx, inputs, output) -> None:
    q, k, v, mask, ctx.causal, ctx.scale = inputs
    ctx.save_for_backward(q, k, v, *output, mask)  # no scores, no probabilities
    ctx.mark_non_differentiable(output[1])


def _gradient_of_flash(ctx, do, _):
    return *_flash_backward(do, *ctx.saved_tensors, ctx.causal, ctx.scale), None, None, None


@_flash.register_fake
def _shapes_of_flash(q, k, v, mask, causal, scale):
    o = torch.empty_like(_rows_side_by_side(q))
    return o, q.new_empty(q.shape[:3], dtype=torch.float32)


@_flash_backward.register_fake
def _shapes_of_flash_backward(do, q, k, v, o, lse, mask, causal, scale):
    return tuple(torch.empty_like(_rows_side_by_side(t)) for t in (q, k, v))


_flash.register_autograd(_gradient_of_flash, setup_context=_keep_attention)


# %% [markdown]
# ## 6 · In use
#
# **Whom is it compared with?** `plain_attention` is PyTorch's own unfused path, the judge of the tests. `flash_attention` checks what it is
# given, then launches.


# %%
#| export
def plain_attention(
    Q: Float[Tensor, "..."], K: Float[Tensor, "..."], V: Float[Tensor, "..."], mask: Bool[Tensor, "..."] | None = None,
    *, causal: bool = True, scale: float | None = None,
) -> Float[Tensor, "..."]:  # fmt: skip
    """Attention by PyTorch's own unfused path, the whole matrix of scores in float32.

    Built in notebooks/appendix/07x_tiled_attention.ipynb.
    """
    q, k, v = (t if t.dtype == torch.float64 else t.float() for t in (Q, K, V))
    if causal:
        below = torch.ones(Q.shape[2], K.shape[2], dtype=torch.bool, device=Q.device).tril(K.shape[2] - Q.shape[2])
        mask = below if mask is None else mask & below
    with sdpa_kernel(SDPBackend.MATH):
        out = F.scaled_dot_product_attention(q, k, v, mask, scale=scale, enable_gqa=True)
    return out.to(Q.dtype)


# %%
#| export
def _check_attention(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None, here: bool = True) -> None:
    """Raise what is wrong with the arguments, before anything is launched; ``here``: by a kernel."""
    check(Q=Q, K=K, V=V, here=here)

    def shapes() -> str:
        return f"Q {tuple(Q.shape)}, K {tuple(K.shape)}, V {tuple(V.shape)}"

    if (
        not Q.ndim == K.ndim == V.ndim == 4
        or K.shape != V.shape
        or Q.shape[0] != K.shape[0]
        or Q.shape[3] != K.shape[3]
    ):
        raise ValueError(f"{shapes()}: give (batch, heads, q, d) and twice (batch, kv_heads, k, d)")
    if K.shape[1] == 0 or Q.shape[1] % K.shape[1]:
        raise ValueError(f"{shapes()}: {Q.shape[1]} heads cannot share {K.shape[1]} heads of keys evenly")
    if Q.shape[3] > 256:
        raise ValueError(f"{shapes()}: heads of {Q.shape[3]} are larger than the kernels' tiles, 256 at most")
    if mask is None:
        return
    if mask.dtype != torch.bool or mask.device != Q.device:
        raise TypeError(f"the mask is {mask.dtype} on {mask.device}: give bool, True = may attend, on {Q.device}")
    wanted = (*Q.shape[:3], K.shape[2])
    if mask.ndim > 4 or any(size not in (1, most) for size, most in zip(mask.shape[::-1], wanted[::-1])):
        raise ValueError(f"{shapes()}: a mask {tuple(mask.shape)} does not broadcast to (batch, heads, q, k)")


# %%
#| export
def flash_attention(
    Q: Float[Tensor, "..."], K: Float[Tensor, "..."], V: Float[Tensor, "..."], mask: Bool[Tensor, "..."] | None = None,
    *, causal: bool = True, scale: float | None = None,
) -> Float[Tensor, "..."]:  # fmt: skip
    """softmax(Q K^T * scale) V in tiles, forward and backward; any length, d up to 256; scale is 1 / sqrt(d) by default.

    Without Triton it is `tiled_attention`. Built in notebooks/appendix/07x_tiled_attention.ipynb.
    """
    Q, K, V = autocast(Q, K, V)
    _check_attention(Q, K, V, mask)
    if BACKEND == "pytorch" or Q.numel() == 0 or K.numel() == 0:
        return tiled_attention(Q, K, V, mask, causal=causal, scale=scale)
    return _flash(Q, K, V, mask, causal, Q.shape[-1] ** -0.5 if scale is None else scale)[0]


# %% [markdown]
# ## 7 · The same in PyTorch
#
# **Does the idea need Triton?** No. `tiled_attention` walks over tiles with PyTorch's own products, so that memory is linear in the length
# on any device. It is what `flash_attention` falls back to where Triton is missing. A tile of scores, about 1 MB, stays in the cache.

# %%
#| export
QUERIES, KEYS, HEADS = 64, 512, 8
"""The tiles of `tiled_attention`: scores of so many queries, keys and key heads at once, about 1 MB, stay in the cache."""

HIDDEN = torch.finfo(torch.float32).min
"""A score that is not seen: finite, so that the softmax of a tile in which nothing is seen is no nan."""


def _scores(q, k, row: int, col: int, past: int, causal: bool, mask) -> Tensor:
    """q k^T of a tile, (kv, group * queries, keys): queries from ``row``, keys from ``col`` on."""
    scores = torch.bmm(q.flatten(1, 2), k.mT)
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
#| export
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
#| export
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
            p = _scores(tile, k[:, at], row, col, past, causal, mask).sub_(known).exp_()  # the probabilities, again
            dv[:, at].baddbmm_(p.mT, out)
            ds = torch.bmm(out, v[:, at].mT).sub_(delta).mul_(p)
            into.baddbmm_(ds, k[:, at])
            dk[:, at].baddbmm_(ds.mT, tile.flatten(1, 2))
        dq[:, :, rows] = into.mul_(scale).view_as(tile)


# %%
#| export
def _some_heads(mask: Tensor | None, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of a few heads at a time: (kv, group, q, d) of tensors with query heads, (kv, k, d) of the others; last the
    mask, (kv, group, q, k) or None."""
    kv_heads = tensors[0].shape[1]
    for batch in range(len(tensors[0])):
        for head in range(0, kv_heads, HEADS):
            at = slice(head, head + HEADS)
            yield *(t[batch, at] for t in tensors), None if mask is None else mask[batch, at]


# %%
#| export
@custom_op("cs336lite::tiled_attention", mutates_args=())
def _tiled(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """The output and the log-sum-exp: q and the output (batch, kv, group, q, d), k and v (batch, kv, k, d)."""
    o, lse = _shapes_of_tiled(q, k, v, mask, causal, scale)
    with torch.autocast(q.device.type, enabled=False):
        for *some, of_mask in _some_heads(mask, o, lse, q, k, v):
            _tiled_forward(*some, of_mask, causal, scale)
    return o, lse


@custom_op("cs336lite::tiled_attention_backward", mutates_args=())
def _tiled_gradients(
    do: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    gradients = tuple(torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (q, k, v))
    with torch.autocast(do.device.type, enabled=False):
        for *some, of_mask in _some_heads(mask, *gradients, do, q, k, v, o, lse):
            _tiled_backward(*some, of_mask, causal, scale)
    return gradients


# %%
#| export
@_tiled.register_fake
def _shapes_of_tiled(q, k, v, mask, causal, scale):
    o = torch.empty_like(q, memory_format=torch.contiguous_format)
    return o, q.new_empty(*q.shape[:-1], 1)


@_tiled_gradients.register_fake
def _shapes_of_tiled_gradients(do, q, k, v, o, lse, mask, causal, scale):
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (q, k, v))


def _gradient_of_tiled(ctx, do, _):
    return *_tiled_gradients(do, *ctx.saved_tensors, ctx.causal, ctx.scale), None, None, None


_tiled.register_autograd(_gradient_of_tiled, setup_context=_keep_attention)


# %%
#| export
def tiled_attention(
    Q: Float[Tensor, "..."], K: Float[Tensor, "..."], V: Float[Tensor, "..."], mask: Bool[Tensor, "..."] | None = None,
    *, causal: bool = True, scale: float | None = None,
) -> Float[Tensor, "..."]:  # fmt: skip
    """`flash_attention`'s algorithm in PyTorch: exact, never all scores at once, for any device. Sums in float32.

    Built in notebooks/appendix/07x_tiled_attention.ipynb.
    """
    Q, K, V = autocast(Q, K, V)
    _check_attention(Q, K, V, mask, here=False)
    heads = K.shape[1], Q.shape[1] // K.shape[1]
    if mask is not None:
        mask = mask.expand(*Q.shape[:3], K.shape[2]).unflatten(1, heads)
    wide = (t if t.dtype == torch.float64 else t.float() for t in (Q.unflatten(1, heads), K, V))
    out = _tiled(*wide, mask, causal, Q.shape[-1] ** -0.5 if scale is None else scale)[0]
    return out.flatten(1, 2).to(Q.dtype)


# %% [markdown]
# ## 8 · The slot
#
# A model takes it as ``attend=FlashAttend()``. It says that it puts the causal mask on, so no mask is built, and that it reads shared
# heads as they are, so keys and values are not repeated for each query head.


# %%
#| export
@dataclass(frozen=True)
class FlashAttend(Attend):
    """The attend slot of a model, attend(Q, K, V, mask): `flash_attention`, or with ``tiled`` `tiled_attention`.

    With ``causal`` the model leaves the causal mask to it. Heads that share keys and values come as they are, not repeated
    (``shares_heads``). Built in notebooks/appendix/07x_tiled_attention.ipynb.
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
Q, K, V = (torch.randn(1, heads, 20, 16, device=DEVICE) for heads in (4, 2, 2))
assert torch.allclose(flash_attention(Q, K, V), plain_attention(Q, K, V), atol=1e-5)
print("attention in tiles equals attention with all scores")
