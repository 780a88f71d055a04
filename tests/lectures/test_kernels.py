"""The modules that lecture 07 builds: every kernel against its twin in float64, on Triton's interpreter or a GPU.

And compiled for GPUs that are not there. The interpreter pays for each program, so sizes are small and ragged.
"""

import ast
import contextlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers import ROOT

from cs336lite import backend, compiled, flash, kernels, tiles
from cs336lite.flash import FlashAttend, flash_attention, plain_attention, tiled_attention
from cs336lite.kernels import BACKEND, DEVICE

FULL, HALF = torch.float32, torch.bfloat16
ROUNDINGS = {FULL: 40, HALF: 4, torch.float16: 8}
"""Units of the dtype's rounding at the largest entry: sums in another order, and an interpreter that truncates bfloat16."""

needs_triton = pytest.mark.skipif(BACKEND == "pytorch", reason="Triton is not installed: there is no kernel to run")
on_cpu = pytest.mark.skipif(DEVICE != "cpu", reason="only a CPU's memory is watched")
on_interpreter = pytest.mark.skipif(BACKEND != "interpreter", reason="only where Triton's interpreter runs")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def draw(*shape, dtype=FULL):
    return torch.randn(shape, device=DEVICE).to(dtype)


def agrees(ours, twin, *inputs, dtype=None):
    """Values and gradients equal the twin's in float64, to a few roundings; the result has the dtype of the input."""
    mine = [t.clone(memory_format=torch.preserve_format).requires_grad_() for t in inputs]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    found, wanted = ours(*mine), twin(*exact)
    assert found.shape == wanted.shape and found.dtype == (dtype or inputs[0].dtype)
    g = torch.randn_like(found)
    pairs = [("result", found, wanted)]
    gradients = zip(torch.autograd.grad(found, mine, g), torch.autograd.grad(wanted, exact, g.double()))
    pairs += [(f"gradient {i}", *pair) for i, pair in enumerate(gradients)]
    for name, a, b in pairs:
        units = (a.double() - b).abs().max() / (b.abs().max().clamp(min=1e-30) * torch.finfo(inputs[0].dtype).eps)
        assert units < ROUNDINGS[inputs[0].dtype], f"{name}: off by {units:.0f} roundings"


dtypes = pytest.mark.parametrize("dtype", [FULL, HALF], ids=["float32", "bfloat16"])

# ------------------------------------------------------------------------------------------------------- one row at a time


@dtypes
@pytest.mark.parametrize("shape", [(1,), (7,), (33, 77), (2, 3, 4, 5), (300_001,)], ids=str)
def test_add(shape, dtype):
    agrees(kernels.add, torch.add, draw(*shape, dtype=dtype), draw(*shape, dtype=dtype))


def test_add_of_tensors_with_other_strides():
    agrees(kernels.add, torch.add, draw(33, 20).T, draw(40, 33)[::2])


@dtypes
@pytest.mark.parametrize(
    "shape, dim", [((13, 301), -1), ((2, 5, 64), 1), ((1, 1), 0), ((70, 1_000), 0), ((9,), 0)], ids=str
)
def test_softmax(shape, dim, dtype):
    agrees(lambda x: kernels.softmax(x, dim), lambda x: x.softmax(dim), draw(*shape, dtype=dtype))


@dtypes
@pytest.mark.parametrize("widest", [16, 64, 256])
def test_softmax_of_rows_that_are_wider_than_a_tile(widest, dtype):
    rows = draw(5, 301, dtype=dtype)
    rows[1, :200] = -torch.inf
    rows[2] += 300  # overflows unless the maximum is taken off
    agrees(lambda x: kernels.softmax(x, widest=widest), lambda x: x.softmax(-1), rows)


@pytest.mark.parametrize("widest", [16, 512])
def test_a_fully_masked_row_gives_zeros_and_no_gradient(widest):
    x = draw(3, 50)
    x[1] = -torch.inf
    x.requires_grad_()
    y = kernels.softmax(x, widest=widest)
    y.square().sum().backward()
    assert (y[1] == 0).all() and (x.grad[1] == 0).all() and x.grad.isfinite().all()
    assert torch.allclose(y, kernels.plain_softmax(x))


def test_softmax_of_very_large_numbers():
    x = torch.tensor([[1e4, 0.0, -1e4], [1e38, 1e38, -1e38]], device=DEVICE)
    assert torch.equal(kernels.softmax(x), x.softmax(-1))


@dtypes
@pytest.mark.parametrize("shape", [(1, 3), (50, 77), (2, 3, 128), (9, 1_000)], ids=str)
def test_rms_norm(shape, dtype):
    agrees(kernels.rms_norm, kernels.plain_rms_norm, draw(*shape, dtype=dtype), draw(shape[-1], dtype=dtype))


@pytest.mark.parametrize("rows", [1, 3, 2_000])
def test_the_gradient_of_the_weight_sums_over_all_rows_of_all_programs(rows):
    agrees(kernels.rms_norm, kernels.plain_rms_norm, draw(rows, 130), draw(130))


def test_rms_norm_of_strided_rows_and_a_wider_weight():
    x, weight = draw(6, 8, 64)[:, ::2], draw(64)
    agrees(kernels.rms_norm, kernels.plain_rms_norm, x, weight)
    agrees(kernels.rms_norm, kernels.plain_rms_norm, draw(64, 40).T, draw(64))
    assert kernels.rms_norm(x.to(HALF), weight).dtype == HALF
    assert torch.allclose(kernels.rms_norm(x, weight, 1e-2), F.rms_norm(x, (64,), weight, 1e-2), atol=1e-5)


@dtypes
def test_swiglu(dtype):
    agrees(kernels.swiglu, kernels.plain_swiglu, draw(3, 50, 77, dtype=dtype), draw(3, 50, 77, dtype=dtype))
    agrees(kernels.swiglu, kernels.plain_swiglu, draw(77, 5, dtype=dtype).T, draw(5, 154, dtype=dtype)[:, ::2])


@dtypes
def test_swiglu_feed_forward(dtype):
    inputs = draw(2, 7, 16), draw(40, 16) / 4, draw(40, 16) / 4, draw(16, 40) / 6
    inputs = [t.to(dtype) for t in inputs]
    agrees(kernels.swiglu_feed_forward, kernels.plain_swiglu_feed_forward, *inputs)


# ------------------------------------------------------------------------------------------------------------------ losses


def targets_of(n, vocab):
    targets = torch.randint(0, vocab, (n,), device=DEVICE)
    targets[::7] = kernels.IGNORE
    return targets


@dtypes
@pytest.mark.parametrize("n, vocab", [(1, 2), (70, 1_000), (3, 20_000)])
def test_cross_entropy(n, vocab, dtype):
    targets = targets_of(n, vocab)
    targets[0] = vocab - 1
    pair = (lambda x: kernels.cross_entropy(x, targets)), lambda x: F.cross_entropy(x, targets)
    agrees(*pair, draw(n, vocab, dtype=dtype), dtype=FULL)


def test_cross_entropy_of_large_logits_and_of_a_slice():
    targets = targets_of(9, 50)
    pair = (lambda x: kernels.cross_entropy(x, targets)), lambda x: F.cross_entropy(x, targets)
    agrees(*pair, draw(9, 50) * 1_000)
    x = draw(9, 80)
    assert torch.allclose(kernels.cross_entropy(x[:, :50], targets), F.cross_entropy(x[:, :50], targets))


@dtypes
@pytest.mark.parametrize("chunk", [1, 32, 69, 70, None])
def test_linear_cross_entropy_in_chunks(chunk, dtype):
    targets = targets_of(70, 100)
    pair = (
        lambda h, w: kernels.linear_cross_entropy(h, w, targets, chunk=chunk),
        lambda h, w: F.cross_entropy(h @ w.T, targets),
    )
    agrees(*pair, draw(70, 24, dtype=dtype), draw(100, 24, dtype=dtype) / 4, dtype=FULL)


def test_linear_cross_entropy_scales_its_gradients_and_leaves_out_those_that_nobody_wants():
    hidden, weight, targets = draw(9, 8).requires_grad_(), draw(30, 8), targets_of(9, 30)
    (3 * kernels.linear_cross_entropy(hidden, weight, targets, chunk=4)).backward()
    exact = hidden.detach().clone().requires_grad_()
    (3 * F.cross_entropy(exact @ weight.T, targets)).backward()
    assert weight.grad is None and torch.allclose(hidden.grad, exact.grad, atol=1e-6)
    with torch.no_grad():
        assert kernels.linear_cross_entropy(hidden, weight, targets).isfinite()


def largest_allocation(function):
    """Bytes of the largest piece of memory that was asked for, inside operations too."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    return max(e.nbytes() for e in profile.profiler.kineto_results.events() if e.name() == "[memory]")


@on_cpu
def test_the_logits_are_never_whole():
    hidden, weight, targets = draw(512, 8).requires_grad_(), draw(1_000, 8).requires_grad_(), targets_of(512, 1_000)

    def both():
        kernels.linear_cross_entropy(hidden, weight, targets, chunk=64).backward()

    assert 64 * 1_000 * 4 <= largest_allocation(both) < 128 * 1_000 * 4


# ----------------------------------------------------------------------------------------------------------- RoPE and Lion


def tables(length, d):
    angles = torch.outer(torch.arange(length).float(), 10_000 ** -(torch.arange(0, d, 2) / d)).to(DEVICE)
    return angles.cos(), angles.sin()


@dtypes
@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize("d", [2, 12, 64])
def test_rope(layout, d, dtype):
    cos, sin = tables(30, d)
    for positions in (torch.arange(20), torch.randint(0, 30, (2, 1, 20))):
        positions = positions.to(DEVICE)
        pair = [lambda x, f=f, p=positions: f(x, cos, sin, p, layout) for f in (kernels.rope, kernels.plain_rope)]
        agrees(*pair, draw(2, 20, 3, d, dtype=dtype).transpose(1, 2))


@pytest.mark.parametrize("shape", [(5, 8), (2, 5, 8), (2, 3, 4, 5, 8)], ids=str)
def test_rope_takes_any_number_of_dimensions(shape):
    cos, sin = tables(9, 8)
    at = torch.arange(4, 9, device=DEVICE)
    x = draw(*shape)
    assert torch.allclose(kernels.rope(x, cos, sin, at), kernels.plain_rope(x, cos, sin, at), atol=1e-6)


@needs_triton
def test_a_position_beyond_the_table_gives_nan_and_not_other_memory():
    cos, sin = tables(4, 8)
    y = kernels.rope(draw(6, 8), cos, sin, torch.arange(-1, 5, device=DEVICE))
    assert y[1:5].isfinite().all() and y[[0, 5]].isnan().all()


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_the_rope_module_is_that_of_a3(layout):
    from cs336lite.rope import RotaryPositionalEmbedding

    ours = kernels.RotaryPositionalEmbedding(10_000.0, 16, 40, DEVICE, layout=layout)
    theirs = RotaryPositionalEmbedding(10_000.0, 16, 40, DEVICE, layout=layout)
    x, at = draw(2, 3, 9, 16), torch.arange(5, 14, device=DEVICE)
    assert torch.allclose(ours(x, at), theirs(x, at), atol=1e-6) and not ours.state_dict()


@dtypes
def test_lion_step(dtype):
    p, g, m = (draw(33, 70, dtype=dtype) for _ in range(3))
    g[0] = m[0] = 0  # the sign of 0 is 0
    ours, exact = [p.clone(), g, m.clone()], [t.double() for t in (p, g, m)]
    options = {"lr": 0.02, "betas": (0.9, 0.98), "weight_decay": 0.3}
    kernels.lion_step(*ours, **options)
    kernels.plain_lion_step(*exact, **options)
    for a, b in zip(ours, exact):
        assert (a.double() - b).abs().max() <= 2 * torch.finfo(dtype).eps * b.abs().max()
    assert torch.equal(ours[1], g)


def test_lion_does_not_hide_a_nan():
    p, g, m = draw(5), draw(5), draw(5)
    g[2] = torch.nan
    kernels.lion_step(p, g, m, lr=0.1)
    assert p.isnan().tolist() == m.isnan().tolist() == [False, False, True, False, False]


def test_the_optimizer_takes_the_steps_of_a4():
    from cs336lite.lion import Lion

    start, gradients = [draw(7, 5), draw(3)], [[draw(7, 5), draw(3)] for _ in range(4)]
    found = []
    for make in (Lion, kernels.Lion):
        params = [torch.nn.Parameter(t.clone()) for t in start]
        optimizer = make([{"params": params[:1], "lr": 0.05}, {"params": params[1:]}], lr=0.01, weight_decay=0.1)
        for step in gradients:
            for p, g in zip(params, step):
                p.grad = g.clone()
            optimizer.step()
        found.append(params)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found))
    with pytest.raises(ValueError, match="out of range"):
        kernels.Lion(found[0], lr=-1.0)


# ---------------------------------------------------------------------------------------------------------- matrix product


@dtypes
@pytest.mark.parametrize("m, k, n", [(1, 1, 1), (150, 70, 130), (128, 128, 128), (5, 300, 260)])
def test_matmul(m, k, n, dtype):
    agrees(tiles.matmul, torch.matmul, draw(m, k, dtype=dtype), draw(k, n, dtype=dtype))


def test_matmul_takes_any_strides():
    agrees(tiles.matmul, torch.matmul, draw(60, 50).T, draw(140, 60).T)
    agrees(tiles.matmul, torch.matmul, draw(50, 120)[:, ::2], draw(60, 8)[:, ::2])
    assert tiles.matmul(draw(0, 5), draw(5, 3)).shape == (0, 3)


@needs_triton
@pytest.mark.parametrize("group", [1, 3, 8])
def test_grouped_order_visits_every_tile_once(group):
    rows, cols = 7, 5
    seen = torch.zeros(rows * cols, dtype=torch.int32, device=DEVICE)
    visit[(rows * cols,)](seen, rows, cols, GROUP=group)
    assert sorted(seen.tolist()) == list(range(rows * cols))
    first = [divmod(tile, cols) for tile in seen.tolist()[: group * 2]]
    if group < rows:
        assert [row for row, _ in first] == list(range(group)) * 2 and first[-1][1] == 1


@kernels.jit
def visit(seen_ptr, rows, cols, GROUP: kernels.tl.constexpr):
    program = kernels.tl.program_id(0)
    row, col = tiles.tile_of(program, rows, cols, GROUP)
    kernels.tl.store(seen_ptr + program, row * cols + col)


# --------------------------------------------------------------------------------------------------------------- attention

SHAPES = {  # batch, heads, kv_heads, q, k, d, causal
    "one query": (1, 2, 1, 1, 300, 16, True),
    "less than a tile": (2, 2, 2, 9, 9, 8, True),
    "whole tiles": (1, 1, 1, 256, 256, 32, True),
    "GQA, ragged": (1, 4, 2, 150, 150, 24, True),
    "MQA, not causal": (1, 3, 1, 150, 140, 64, False),
    "more keys": (1, 2, 1, 70, 200, 40, True),
    "more queries": (1, 1, 1, 200, 70, 16, True),
    "many more queries": (1, 1, 1, 290, 3, 16, True),
}


def attention_inputs(batch, heads, kv_heads, q, k, d, dtype=FULL):
    Q = draw(batch, q, heads, d, dtype=dtype).transpose(1, 2)  # as a model has it: not contiguous
    return Q, draw(batch, kv_heads, k, d, dtype=dtype), draw(batch, k, kv_heads, d, dtype=dtype).transpose(1, 2)


@dtypes
@pytest.mark.parametrize("attention", [flash_attention, tiled_attention], ids=["flash", "tiled"])
@pytest.mark.parametrize("name", SHAPES)
def test_attention(name, attention, dtype):
    *shape, causal = SHAPES[name]
    pair = [lambda q, k, v, f=f: f(q, k, v, causal=causal) for f in (attention, plain_attention)]
    agrees(*pair, *attention_inputs(*shape, dtype=dtype))


@pytest.mark.parametrize("attention", [flash_attention, tiled_attention], ids=["flash", "tiled"])
@pytest.mark.parametrize("mask_shape", [(150, 150), (2, 1, 1, 150), (2, 2, 150, 150), (1, 1, 150, 1)], ids=str)
def test_attention_with_an_extra_mask(attention, mask_shape):
    mask = torch.rand(mask_shape, device=DEVICE) > 0.4
    pair = [lambda q, k, v, f=f: f(q, k, v, mask) for f in (attention, plain_attention)]
    agrees(*pair, *attention_inputs(2, 2, 1, 150, 150, 16))


@pytest.mark.parametrize("attention", [flash_attention, tiled_attention], ids=["flash", "tiled"])
def test_a_query_that_sees_nothing_gets_zeros_and_gives_no_gradient(attention):
    Q, K, V = (t.requires_grad_() for t in attention_inputs(1, 2, 2, 140, 140, 16))
    mask = torch.ones(1, 1, 140, 140, dtype=torch.bool, device=DEVICE)
    mask[..., 7, :] = False
    out = attention(Q, K, V, mask)
    dq, *_ = gradients = torch.autograd.grad(out.square().sum(), (Q, K, V))
    assert (out[:, :, 7] == 0).all() and (dq[:, :, 7] == 0).all() and all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("attention", [flash_attention, tiled_attention], ids=["flash", "tiled"])
def test_attention_takes_another_scale_and_large_scores(attention):
    pair = [lambda q, k, v, f=f: f(q, k, v, scale=3.0) for f in (attention, plain_attention)]
    agrees(*pair, *attention_inputs(1, 1, 1, 140, 140, 16))


def test_no_query_sees_a_later_key():
    Q, K, V = attention_inputs(1, 1, 1, 150, 150, 16)
    before = flash_attention(Q, K, V)
    K[..., 100:, :], V[..., 100:, :] = 1e4, 1e4
    after = flash_attention(Q, K, V)
    assert torch.equal(before[..., :100, :], after[..., :100, :]) and not torch.equal(before, after)


@needs_triton
def test_flash_attention_keeps_one_number_for_each_query():
    kept = []
    Q, K, V = (t.requires_grad_() for t in attention_inputs(1, 2, 1, 150, 150, 16))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        out = flash_attention(Q, K, V)
    assert sorted(kept) == sorted([Q.numel(), K.numel(), V.numel(), out.numel(), 2 * 150])


@on_cpu
def test_the_memory_of_tiled_attention_is_linear_in_the_length():
    def largest(length):
        Q, K, V = (t.requires_grad_() for t in attention_inputs(1, 1, 1, length, length, 8))
        return largest_allocation(lambda: tiled_attention(Q, K, V).sum().backward())

    assert largest(4_096) <= 2 * largest(2_048) and largest(4_096) < 4_096**2


# -------------------------------------------------------------------------------------------------------------- bad inputs

GOOD = {"x": (4, 8), "y": (4, 8)}
BAD = {
    "dtypes differ": (lambda: kernels.add(draw(3), draw(3, dtype=HALF)), TypeError, "same dtype"),
    "shapes differ": (lambda: kernels.add(draw(3), draw(1)), ValueError, "y has shape"),
    "an integer": (lambda: kernels.softmax(torch.arange(3, device=DEVICE)), TypeError, "x is torch.int64"),
    "float64": (lambda: kernels.softmax(draw(3).double()), TypeError, "float64"),
    "another device": (lambda: kernels.softmax(torch.empty(3, device="meta")), ValueError, "meta"),
    "a weight that does not fit": (lambda: kernels.rms_norm(draw(3, 8), draw(7)), ValueError, "does not fit"),
    "rows too wide": (lambda: kernels.rms_norm(draw(1, 2**16), draw(2**16)), ValueError, "wider than"),
    "gate and up": (lambda: kernels.swiglu(draw(3), draw(4)), ValueError, "up has shape"),
    "feed-forward": (
        lambda: kernels.swiglu_feed_forward(draw(3, 8), draw(9, 8), draw(9, 8), draw(9, 8)),
        ValueError,
        "do not fit together",
    ),
    "targets of int32": (lambda: kernels.cross_entropy(draw(3, 5), torch.zeros(3).int()), TypeError, "int64"),
    "too few targets": (lambda: kernels.cross_entropy(draw(3, 5), torch.zeros(2).long()), ValueError, "for 3 rows"),
    "hidden and weight": (
        lambda: kernels.linear_cross_entropy(draw(3, 5), draw(4, 6), torch.zeros(3).long()),
        ValueError,
        "give",
    ),
    "an odd d": (lambda: kernels.rope(draw(3, 5), *tables(3, 4), torch.arange(3)), ValueError, "tables"),
    "a layout": (lambda: kernels.rope(draw(3, 4), *tables(3, 4), torch.arange(3), "both"), ValueError, "layout"),
    "matmul": (lambda: tiles.matmul(draw(3, 4), draw(5, 3)), ValueError, "cannot multiply"),
    "heads": (
        lambda: flash_attention(draw(1, 3, 4, 8), draw(1, 2, 4, 8), draw(1, 2, 4, 8)),
        ValueError,
        "cannot share",
    ),
    "no heads": (lambda: flash_attention(draw(3, 4, 8), draw(3, 4, 8), draw(3, 4, 8)), ValueError, "batch, heads"),
    "a float mask": (
        lambda: flash_attention(*[draw(1, 1, 4, 8)] * 3, torch.zeros(4, 4, device=DEVICE)),
        TypeError,
        "mask is torch.float32|Bool",
    ),
    "a mask of another size": (
        lambda: flash_attention(*[draw(1, 1, 4, 8)] * 3, torch.ones(5, 4, dtype=torch.bool, device=DEVICE)),
        ValueError,
        "does not broadcast",
    ),
    "a large head": (lambda: flash_attention(*[draw(1, 1, 2, 512)] * 3), ValueError, "256 at most"),
}


@needs_triton
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_before_any_launch(name, monkeypatch):
    call, kind, message = BAD[name]

    def launch(*args, **options):
        raise AssertionError("launched")

    for module in (kernels, tiles, flash):
        monkeypatch.setattr(module, "launch", launch)
    with pytest.raises(kind) as problem:
        call()
    if "jaxtyping" not in type(problem.value).__module__:  # where annotations are checked, they may speak first
        problem.match(message)


# ---------------------------------------------------------------------------------------------------------- in lecture 03's


def models(**slots):
    from cs336lite.model import Transformer, TransformerConfig

    config = TransformerConfig(
        vocab_size=61, context_length=40, d_model=32, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=48
    )
    made = [Transformer(c, torch.Generator().manual_seed(0)).to(DEVICE) for c in (config, config.replace(**slots))]
    made[1].load_state_dict(made[0].state_dict())
    return made


@pytest.mark.parametrize("name", ["flash_attention", "tiled_attention"])
def test_heads_that_share_keys_reach_the_kernel_without_copies(monkeypatch, name):
    seen, kernel = [], getattr(flash, name)

    def counted(Q, K, V, mask, **options):
        seen.append((Q.shape[1], K.shape[1], V.shape[1]))
        return kernel(Q, K, V, mask, **options)

    monkeypatch.setattr(flash, name, counted)
    plain, fast = models(attend=FlashAttend(tiled=name == "tiled_attention"))
    tokens = torch.randint(0, 61, (2, 9), device=DEVICE)
    assert torch.allclose(plain(tokens), fast(tokens), atol=1e-4) and seen == [(4, 2, 2)] * 2


SLOTS = {"norm": kernels.RMSNorm, "feed_forward": kernels.feed_forward, "loss": kernels.linear_cross_entropy}


@pytest.mark.parametrize("attend", [FlashAttend(), FlashAttend(tiled=True), FlashAttend(causal=False)], ids=repr)
def test_a_model_with_all_slots_filled_equals_the_one_without(attend):
    plain, filled = models(attend=attend, **SLOTS)
    tokens, targets = torch.randint(0, 61, (2, 2, 37), device=DEVICE)
    targets[0, :5] = kernels.IGNORE
    losses = [model.loss(tokens, targets) for model in (plain, filled)]
    for loss in losses:
        loss.backward()
    assert torch.isclose(*losses, atol=1e-5)
    wanted = dict(plain.named_parameters())
    assert [*wanted] == [name for name, _ in filled.named_parameters()]
    for name, p in filled.named_parameters():
        assert torch.allclose(p.grad, wanted[name].grad, atol=1e-5), name
    assert torch.allclose(plain(tokens), filled(tokens), atol=1e-4)


def test_the_feed_forward_says_what_it_cannot_do():
    with pytest.raises(ValueError, match="activation='gelu'"):
        models(feed_forward=kernels.feed_forward, activation="gelu")


# ------------------------------------------------------------------------------------------------- in ordinary training

FILLED = {
    "norm": {"norm": kernels.RMSNorm},
    "feed-forward": {"feed_forward": kernels.feed_forward},
    "loss": {"loss": kernels.linear_cross_entropy},
    "flash": {"attend": FlashAttend()},
    "tiled": {"attend": FlashAttend(tiled=True)},
    "all": {**SLOTS, "attend": FlashAttend()},
}


@pytest.mark.parametrize("name", FILLED)
def test_training_in_bfloat16_with_fused_parts_equals_training_without(name):
    tokens, targets = torch.randint(0, 61, (2, 2, 37), device=DEVICE)
    losses = []
    for model in models(**FILLED[name]):
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        for _ in range(3):
            with torch.autocast(DEVICE, torch.bfloat16):
                loss = model.loss(tokens, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert all(p.grad.dtype == FULL and p.grad.isfinite().all() for p in model.parameters())
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize("name", [None, *FILLED])
def test_the_course_trains_in_bfloat16_with_fused_parts(name):
    from cs336lite.training import Tokens, TrainingConfig, train

    model = models(**FILLED.get(name, {}))[1]
    config = TrainingConfig(steps=4, batch_size=2, seq=24, lr=3e-3, precision="bfloat16", eval_batches=1)
    data = Tokens([i % 7 for i in range(2_000)])  # a text that is soon known
    metrics = train(model, config, data, validation=data, device=DEVICE).metrics
    assert len(metrics) == 4 and metrics[-1]["loss"] < metrics[0]["loss"] - 0.1
    assert metrics[-1]["validation"] < metrics[0]["loss"]
    assert all(p.dtype == FULL and p.isfinite().all() for p in model.parameters())


def test_no_gradient_of_the_loss_is_computed_where_none_is_recorded(monkeypatch):
    hidden, weight, targets = draw(9, 8).requires_grad_(), draw(30, 8).requires_grad_(), targets_of(9, 30)
    monkeypatch.setattr(kernels, "_logit_gradients", None)  # a call would be an error
    with torch.no_grad():
        kernels.linear_cross_entropy(hidden, weight, targets)
    with pytest.raises(TypeError):
        kernels.linear_cross_entropy(hidden, weight, targets)


def test_float16_gradients_are_rounded_after_the_scale_of_a_scaler_only():
    hidden, weight = draw(512, 16, dtype=torch.float16), draw(2_000, 16, dtype=torch.float16) / 4
    targets, found = torch.randint(0, 2_000, (512,), device=DEVICE), []
    for h, w in ((hidden, weight), (hidden.float(), weight.float())):
        h, w = h.clone().requires_grad_(), w.clone().requires_grad_()
        loss = kernels.linear_cross_entropy(h, w, targets, chunk=512)
        found.append([g.float() for g in torch.autograd.grad(loss * 65_536.0, (h, w))])
    for a, b in zip(*found):
        assert a.isfinite().all() and (a - b).norm() < 2e-3 * b.norm()


def narrow_products(source):
    """Products with a stride or with the width of a row in which neither factor has 64 bits, by line."""
    found = []
    for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
        if [ast.unparse(d) for d in function.decorator_list] != ["jit"]:
            continue
        wide = set()

        def is_wide(node, wide=wide):
            return "int64" in ast.unparse(node) or any(isinstance(n, ast.Name) and n.id in wide for n in ast.walk(node))

        assignments = (node for node in ast.walk(function) if isinstance(node, ast.Assign))
        for assign in sorted(assignments, key=lambda node: node.lineno):
            target, value = assign.targets[0], assign.value
            both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            for name, what in zip(target.elts, value.elts) if both else [(target, value)]:
                if isinstance(name, ast.Name) and is_wide(what):
                    wide.add(name.id)
        for node in ast.walk(function):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
                sides = [ast.unparse(side) for side in (node.left, node.right)]
                address = any("stride" in side or side in ("n", "pairs", "q_len", "k_len") for side in sides)
                if address and not (is_wide(node.left) or is_wide(node.right)):
                    found.append(f"{function.name}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("module", [kernels, tiles, flash], ids=lambda module: module.__name__)
def test_every_product_that_makes_an_address_has_64_bits(module):
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert narrow_products(source) == []
    assert len(narrow_products(source.replace("tl.int64", "tl.int32"))) >= 3  # the search itself sees them


@on_interpreter
@pytest.mark.slow
def test_elements_beyond_31_bits_are_reached(monkeypatch):
    """In a piece of memory of which nothing is touched but the rows; each is computed without its strides, too."""
    far = torch.empty(2**31 + 2**10, dtype=HALF)

    def rows(shape, strides):
        x = far.as_strided(shape, strides)
        return x.copy_(torch.randn(shape)), x.clone(memory_format=torch.contiguous_format)

    cos, sin = tables(4, 16)
    at, weight, targets = torch.arange(2), draw(16, dtype=HALF), torch.tensor([3, 4])
    calls = {
        "rope": (lambda x: kernels.rope(x, cos, sin, at), (2, 1, 2, 16), (16, 16, 2**31, 1)),
        "softmax": (kernels.softmax, (2, 16), (2**31, 1)),
        "rms_norm": (lambda x: kernels.rms_norm(x, weight), (2, 16), (2**31, 1)),
        "cross_entropy": (lambda x: kernels.cross_entropy(x, targets), (2, 16), (2**31, 1)),
        "matmul, columns": (lambda x: tiles.matmul(x, x.T), (3, 3), (3, 2**30)),
        "matmul, steps": (lambda x: tiles.matmul(x, x.T), (3, 17), (20, 2**27)),
        "flash": (lambda x: flash_attention(x, x, x), (1, 2, 3, 16), (0, 16, 2**30, 1)),
    }
    monkeypatch.setattr(tiles.tuned_matmul, "configs", [backend.triton.Config({"M": 16, "N": 16, "K": 16, "GROUP": 1})])
    for name, (call, shape, strides) in calls.items():
        x, near = (t.requires_grad_() for t in (t.detach() for t in rows(shape, strides)))
        found, wanted = call(x), call(near)
        assert torch.equal(found, wanted), name
        found, wanted = (
            torch.autograd.grad(out.float().square().sum(), t)[0] for out, t in ((found, x), (wanted, near))
        )
        assert torch.equal(found, wanted), name


def test_every_grid_has_one_axis(monkeypatch):
    """CUDA's second axis ends at 65,535, which 2,048 sequences of 32 heads exceed."""
    seen = []

    def launch(kernel, grid, *args, **options):
        seen.append(len(grid({"M": 32, "N": 32}) if callable(grid) else grid))

    monkeypatch.setattr(flash, "launch", launch)
    monkeypatch.setattr(kernels, "launch", launch)
    flash_attention(*(t.requires_grad_() for t in attention_inputs(1, 2, 1, 9, 9, 8))).sum().backward()
    kernels.rope(draw(2, 3, 4, 8), *tables(4, 8), torch.arange(4, device=DEVICE))
    assert seen == [1] * 5


def test_lion_takes_strided_parameters_and_refuses_sparse_gradients():
    p, g, m = draw(4, 3).T, draw(3, 4), draw(3, 4)
    exact = [p.double(), g.double(), m.double()]
    kernels.lion_step(p, g, m, lr=0.1, weight_decay=0.2)
    kernels.plain_lion_step(*exact, lr=0.1, weight_decay=0.2)
    assert torch.allclose(p.double(), exact[0], atol=1e-6) and torch.allclose(m.double(), exact[2], atol=1e-6)
    table = torch.nn.Embedding(5, 4, sparse=True, device=DEVICE)
    table(torch.tensor([1], device=DEVICE)).sum().backward()
    with pytest.raises(RuntimeError, match="sparse"):
        kernels.Lion(table.parameters()).step()


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


GPU_TILES = {"tuned_forward": flash.FORWARD, "tuned_dq": flash.FOR_QUERIES, "tuned_dkv": flash.FOR_KEYS}
LARGEST, SMALLEST = max, min


@on_interpreter
@pytest.mark.parametrize("d, dtype", [(64, HALF), slow(80, HALF), slow(96, FULL), slow(128, HALF), slow(256, HALF)])
@pytest.mark.parametrize("pick", [LARGEST, slow(SMALLEST)])
def test_attention_with_the_tiles_of_a_gpu(monkeypatch, d, dtype, pick):
    width = backend.triton.next_power_of_2(d) * (4 if dtype == FULL else 1)
    for name, choices in GPU_TILES.items():
        serving = choices[min(most for most in choices if width <= most)]
        tile = pick((tile for tile, *_ in serving), key=lambda tile: tile["M"] * tile["N"])
        monkeypatch.setattr(getattr(flash, name), "configs", [backend.triton.Config(tile)])
    pair = [lambda q, k, v, f=f: f(q, k, v) for f in (flash_attention, plain_attention)]
    agrees(*pair, *attention_inputs(1, 8, 1, 150, 150, d, dtype=dtype))


@on_interpreter
@dtypes
def test_rows_with_the_tiles_of_a_gpu(monkeypatch, dtype):
    monkeypatch.setattr(kernels, "TILE", 2**12)
    monkeypatch.setattr(kernels, "FLAT", {"BLOCK": 2_048})
    x, y = draw(70, 301, dtype=dtype), draw(70, 301, dtype=dtype)
    targets, (cos, sin) = targets_of(70, 301), tables(70, 64)
    at = torch.arange(70, device=DEVICE)
    agrees(kernels.add, torch.add, x, y)
    agrees(kernels.softmax, lambda x: x.softmax(-1), x)
    agrees(kernels.rms_norm, kernels.plain_rms_norm, x, draw(301, dtype=dtype))
    agrees(kernels.swiglu, kernels.plain_swiglu, x, y)
    agrees(lambda x: kernels.cross_entropy(x, targets), lambda x: F.cross_entropy(x, targets), x, dtype=FULL)
    pair = [lambda x, f=f: f(x, cos, sin, at) for f in (kernels.rope, kernels.plain_rope)]
    agrees(*pair, draw(2, 3, 70, 64, dtype=dtype))
    p, g, m = (draw(3_000, dtype=dtype) for _ in range(3))
    exact = [t.double() for t in (p, g, m)]
    kernels.lion_step(p, g, m, lr=0.02)
    kernels.plain_lion_step(*exact, lr=0.02)
    assert (p.double() - exact[0]).abs().max() <= 2 * torch.finfo(dtype).eps * exact[0].abs().max()


# ------------------------------------------------------------------------------------------------------ torch.compile

UNDER_COMPILE = ["add", "softmax", "rms_norm", "swiglu", "swiglu_feed_forward", "cross_entropy", "linear_cross_entropy"]
UNDER_COMPILE += ["rope", "matmul", "flash_attention", "flash_attention, mask", "tiled_attention", "lion_step", "model"]


@pytest.fixture(scope="module")
def under_compile():
    """What kernels_under_compile.py says: for each call, and each operator, nothing or what is wrong."""
    said = in_a_new_process(Path(__file__).with_name("kernels_under_compile.py"))  # code without a file is not compiled
    return {name: wrong for line in said.splitlines() for name, wrong in json.loads(line).items()}


@needs_triton
@pytest.mark.parametrize("name", UNDER_COMPILE)
def test_torch_compile_takes_it_without_a_break_and_gives_the_same_numbers(name, under_compile):
    assert under_compile[name] == ""


@needs_triton
def test_pytorch_finds_no_fault_with_any_operator(under_compile):
    told = {name.removeprefix("operator "): wrong for name, wrong in under_compile.items() if "operator" in name}
    source = "".join(inspect.getsource(module) for module in (kernels, tiles, flash))
    made = {name.removesuffix("_backward") for name in re.findall(r'custom_op\("cs336lite::(\w+)"', source)}
    assert told.keys() == made and not any(told.values()), told


# ------------------------------------------------------------------------------------------------- machines of other kinds


def in_a_new_process(code, **environment):
    """What Python prints that runs some code, or a file."""
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(kernels.__file__).parents[1]),
        "CUDA_VISIBLE_DEVICES": "",
        **environment,
    }
    env = {name: value for name, value in env.items() if value is not None}
    command = [sys.executable, code] if isinstance(code, Path) else [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


USE = """
import torch, cs336lite.kernels as k, cs336lite.tiles as t, cs336lite.flash as f
x, w = torch.randn(5, 12, requires_grad=True), torch.ones(12, requires_grad=True)
q = torch.randn(1, 2, 9, 8, requires_grad=True)
y = k.rms_norm(k.softmax(k.add(x, x)), w).sum() + k.swiglu(x, x).sum() + t.matmul(x, x.T).sum()
y = y + f.flash_attention(q, q[:, :1], q[:, :1]).sum() + k.linear_cross_entropy(x, x, torch.arange(5), chunk=2)
y = y + k.swiglu_feed_forward(x, torch.ones(4, 12), torch.ones(4, 12), torch.ones(12, 4)).sum()
y = y + k.rope(x, torch.ones(5, 6), torch.zeros(5, 6), torch.arange(5)).sum() + k.cross_entropy(x, torch.arange(5))
y.backward()
k.lion_step(x.detach(), x.grad, x.grad.clone(), lr=0.1)
assert y.isfinite() and x.grad.isfinite().all()
print(k.BACKEND)
"""


def test_without_triton_every_function_is_its_twin():
    hide = "import sys; sys.modules['triton'] = None\n"
    assert in_a_new_process(hide + USE, TRITON_INTERPRET=None).split() == ["pytorch"]


@on_interpreter
def test_without_a_gpu_the_interpreter_is_chosen_even_if_triton_was_imported_before():
    early = "import torch.utils.flop_counter, triton.language\n"
    assert in_a_new_process(early + USE, TRITON_INTERPRET=None).split() == ["interpreter"]


def test_no_module_leaves_a_variable_or_a_cuda_context():
    code = "import os, torch, cs336lite.flash; print('TRITON_INTERPRET' in os.environ or torch.cuda.is_initialized())"
    assert in_a_new_process(code, TRITON_INTERPRET=None).strip() == "False"


def spills(made):
    return {f"{c.kernel} {c.tile}": c.stack for c in made if c.stack}


@on_interpreter
def test_every_kernel_compiles_for_an_h100_and_none_spills():
    """The source that the interpreter runs, through Triton's compiler and NVIDIA's assembler; the first choice of tiles."""
    made = compiled.compiled_kernels(90)
    source = "".join(inspect.getsource(module) for module in (backend, kernels, tiles, flash))
    programs = {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
    assert {c.kernel for c in made} == {name for name in programs if name.endswith("_kernel")}
    assert all(c.programs() >= 1 and c.shared <= compiled.SHARED[90] for c in made)
    assert spills(made) == {}


@on_interpreter
@pytest.mark.slow
def test_no_choice_of_tiles_for_attention_spills_on_an_h100():
    made = compiled.compiled_kernels(90, every=True, only=["flash 64", "flash 128", "flash 256"])
    assert len({(c.kernel, str(c.tile)) for c in made}) > 25 and spills(made) == {}


@on_interpreter
@pytest.mark.slow
@pytest.mark.parametrize("capability, dtype", [(80, "bfloat16"), (86, "bfloat16"), (86, "float32")])
def test_some_choice_of_tiles_fits_on_each_kind_of_gpu(capability, dtype):
    """A100, and cards with 99 KiB of shared memory: the autotuner passes over what does not fit, and something does."""
    made = compiled.compiled_kernels(capability, every=True, dtype=dtype)
    for kernel, width in {(c.kernel, c.tile.get("BLOCK_D")) for c in made}:
        choices = [c for c in made if (c.kernel, c.tile.get("BLOCK_D")) == (kernel, width)]
        assert choices[-1].shared <= compiled.SHARED[capability], (kernel, width)  # the last serves small sizes alone


class Refusing:
    """Stands for a kernel and for a tensor on a GPU."""

    is_cuda, device = True, "cuda:0"

    def __getitem__(self, grid):
        def run(*args, **options):
            raise backend.errors.OutOfResources(163_840, 101_376, "shared memory")

        return run


@needs_triton
@pytest.mark.parametrize(
    "capability, message",
    [((8, 6), "163,840 of shared memory, and this GPU has 101,376: give"), ((7, 5), "8.0 or later")],
)
def test_a_gpu_that_is_too_small_or_too_old_is_told_so(monkeypatch, capability, message):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    with pytest.raises(RuntimeError, match=message):
        backend.launch(Refusing(), (1,), Refusing())


def test_the_benchmark_checks_that_its_contenders_are_right():
    """benchmarks/kernels.py --check: each kernel beside PyTorch's own function, at sizes for this machine."""
    command = [sys.executable, str(ROOT / "benchmarks" / "kernels.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "roundings of bfloat16" in line]
    assert len(lines) == 10 and all("'ours'" in line for line in lines)


# ------------------------------------------------------------------------------------------------------------ documentation


@pytest.mark.parametrize("module", [backend, kernels, tiles, flash, compiled], ids=lambda m: m.__name__)
def test_everything_public_is_documented(module):
    assert len(Path(module.__file__).read_text().splitlines()) < 900
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_"):
            assert (getattr(value, "fn", value)).__doc__, name


@pytest.mark.parametrize("outside", [-1, 7, 1_000_000])
def test_a_target_outside_the_vocabulary_makes_the_loss_nan_and_reads_nothing_else(outside):
    around = torch.full((6, 7), 100.0)  # what lies before and behind the rows must not be seen
    around[2:4] = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    logits = around[2:4].detach().requires_grad_()
    for targets in ([3, outside], [outside, 3]):
        loss = kernels.cross_entropy(logits, torch.tensor(targets))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isnan() and gradient[targets.index(outside)].isnan().all()
        assert gradient[targets.index(3)].isfinite().all()
        hidden, weight = torch.randn(2, 4), torch.randn(7, 4)
        assert kernels.linear_cross_entropy(hidden, weight, torch.tensor(targets)).isnan()
    loss = kernels.cross_entropy(logits, torch.tensor([3, -100]))
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, torch.tensor([3, -100])))
