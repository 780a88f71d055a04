"""The kernels of lecture 07 at the sizes at which they are timed, each with its inputs, its peers and its twin."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cs336lite import flash, kernels, tiles

HALF = torch.bfloat16


@dataclass
class Job:
    """One kernel at one size: contenders are functions of the same inputs; the first is ours, ``twin`` the truth."""

    kernel: str
    size: str
    inputs: list[Tensor]
    contenders: dict[str, Callable]
    twin: Callable
    bytes: float = 0  # that the forward pass has to move; and both passes
    bytes_both: float = 0
    flops: float = 0
    flops_both: float = 0
    point: str = ""  # its name on the lecture's roofline, if it is there


def draw(*shape: int, dtype: torch.dtype = HALF, grad: bool = True) -> Tensor:
    return torch.randn(shape, device=kernels.DEVICE).to(dtype).requires_grad_(grad)


def peers(**found: Callable | None) -> dict[str, Callable]:
    return {name: function for name, function in found.items() if function is not None}


def compiled(function: Callable) -> Callable | None:
    return torch.compile(function, dynamic=False) if kernels.BACKEND == "gpu" else None


def liger(name: str) -> Callable | None:
    """A function of Liger-Kernel, where it is installed."""
    try:
        from liger_kernel.transformers import functional
    except ImportError:
        return None
    return getattr(functional, name, None)


def sdpa(backend: SDPBackend) -> Callable:
    def attend(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(Q, K, V, is_causal=True, enable_gqa=Q.shape[1] != K.shape[1])

    return attend


def elementwise(large: bool) -> Iterator[Job]:
    """The kernels whose time is their bytes."""
    for rows, n in [(8_192, 1_024), (8_192, 4_096), (8_192, 8_192)] if large else [(40, 100)]:
        size, unit = f"{rows:,} × {n:,}", rows * n * 2
        yield Job("add", size, [draw(rows, n), draw(rows, n)], peers(ours=kernels.add, eager=torch.add), torch.add,
                  3 * unit, 3 * unit, rows * n, point="add" if n == 4_096 else "")  # fmt: skip
        eager = lambda x: x.softmax(-1)  # noqa: E731
        yield Job("softmax", size, [draw(rows, n)],
                  peers(ours=kernels.softmax, eager=eager, compile=compiled(eager), liger=liger("liger_softmax")), eager,
                  2 * unit, 5 * unit, 5 * rows * n, point="softmax" if n == 4_096 else "")  # fmt: skip
        eager = lambda x, w: F.rms_norm(x, w.shape, w, 1e-5)  # noqa: E731
        other = liger("liger_rms_norm")
        yield Job("RMSNorm", size, [draw(rows, n), draw(n)],
                  peers(ours=kernels.rms_norm, eager=eager, compile=compiled(eager),
                        liger=other and (lambda x, w, f=other: f(x, w, 1e-5))), eager,
                  2 * unit, 5 * unit, 5 * rows * n, point="RMSNorm" if n == 4_096 else "")  # fmt: skip
        eager = lambda g, u: F.silu(g) * u  # noqa: E731
        yield Job("SwiGLU", size, [draw(rows, n), draw(rows, n)],
                  peers(ours=kernels.swiglu, eager=eager, compile=compiled(eager), liger=liger("liger_swiglu")), eager,
                  3 * unit, 9 * unit, 5 * rows * n, point="SwiGLU" if n == 4_096 else "")  # fmt: skip


def rotations(large: bool) -> Iterator[Job]:
    for batch, heads, seq, d in [(4, 32, 4_096, 128)] if large else [(1, 2, 30, 16)]:
        angles = torch.outer(torch.arange(seq).float(), 10_000 ** -(torch.arange(0, d, 2) / d)).to(kernels.DEVICE)
        cos, sin = angles.cos(), angles.sin()
        at, unit = torch.arange(seq, device=kernels.DEVICE), batch * heads * seq * d * 2
        for layout in ("interleaved", "half"):
            twin = lambda x, c=cos, s=sin, p=at, kind=layout: kernels.plain_rope(x, c, s, p, kind)  # noqa: E731
            ours = lambda x, c=cos, s=sin, p=at, kind=layout: kernels.rope(x, c, s, p, kind)  # noqa: E731
            yield Job(f"RoPE, {layout}", f"{batch} × {heads} × {seq:,} × {d}", [draw(batch, heads, seq, d)],
                      peers(ours=ours, eager=twin, compile=compiled(twin)), twin, 2 * unit, 4 * unit,
                      3 * unit / 2, point="RoPE" if layout == "interleaved" else "")  # fmt: skip


def losses(large: bool) -> Iterator[Job]:
    for n, vocab in [(8_192, 32_000), (4_096, 128_256)] if large else [(30, 300)]:
        targets = torch.randint(0, vocab, (n,), device=kernels.DEVICE)
        unit = n * vocab * 2
        twin = lambda x, t=targets: F.cross_entropy(x.float() if x.dtype != torch.float64 else x, t)  # noqa: E731
        other = liger("liger_cross_entropy")
        yield Job("cross-entropy", f"{n:,} × {vocab:,}", [draw(n, vocab)],
                  peers(ours=lambda x, t=targets: kernels.cross_entropy(x, t), eager=twin, compile=compiled(twin),
                        liger=other and (lambda x, t=targets, f=other: f(x.clone(), t))), twin,
                  unit, 3 * unit, 4 * n * vocab, point="cross-entropy" if vocab == 128_256 else "")  # fmt: skip
    for n, d, vocab in [(8_192, 4_096, 128_256)] if large else [(30, 16, 300)]:
        targets = torch.randint(0, vocab, (n,), device=kernels.DEVICE)
        twin = lambda h, w, t=targets: kernels.plain_linear_cross_entropy(h, w, t)  # noqa: E731
        other = liger("liger_fused_linear_cross_entropy")
        inputs = [draw(n, d), (draw(vocab, d, grad=False) / d**0.5).requires_grad_()]
        yield Job("linear cross-entropy", f"{n:,} × {d:,} × {vocab:,}", inputs,
                  peers(ours=lambda h, w, t=targets: kernels.linear_cross_entropy(h, w, t), eager=twin,
                        compile=compiled(twin), liger=other and (lambda h, w, t=targets, f=other: f(h, w, t))),
                  twin, flops=2 * n * d * vocab, flops_both=6 * n * d * vocab)  # fmt: skip


def products(large: bool) -> Iterator[Job]:
    for m in (1_024, 2_048, 4_096, 8_192) if large else (150,):
        yield Job("matmul", f"{m:,}³", [draw(m, m), draw(m, m)], peers(ours=tiles.matmul, cublas=torch.matmul),
                  torch.matmul, flops=2 * m**3, flops_both=6 * m**3, point="matmul 4096" if m == 4_096 else "")  # fmt: skip


def attentions(large: bool) -> Iterator[Job]:
    shapes = [(4, 16, 16, t, d) for t in (1_024, 4_096, 16_384) for d in (64, 128)] if large else [(1, 4, 2, 150, 16)]
    shapes += [(4, 32, 8, 4_096, 128)] * large
    backends = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
                "efficient": SDPBackend.EFFICIENT_ATTENTION}  # fmt: skip
    for batch, heads, kv_heads, t, d in shapes:
        qkv = [draw(batch, heads, t, d), draw(batch, kv_heads, t, d), draw(batch, kv_heads, t, d)]
        others = {f"sdpa {name}": sdpa(b) for name, b in backends.items()} if large else {}
        flops = 4 * batch * heads * t * t * d / 2  # causal: half of it
        at = "FlashAttention 4096, d 128" if (heads, t, d) == (16, 4_096, 128) else ""
        yield Job("FlashAttention", f"B{batch} H{heads}/{kv_heads} T{t:,} d{d}", qkv,
                  {"ours": flash.flash_attention, **others}, flash.plain_attention if t <= 4_096 else others["sdpa flash"],
                  flops=flops, flops_both=3.5 * flops, point=at)  # fmt: skip


def jobs(large: bool) -> Iterator[Job]:
    for kind in (elementwise, rotations, losses, products, attentions):
        yield from kind(large)
