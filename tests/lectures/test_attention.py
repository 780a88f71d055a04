"""Attention: against the library's own as oracles, and for what the library does not give."""

import doctest
import inspect
import itertools

import pytest
import torch
from helpers import spoken
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cs336lite import attention
from cs336lite.attention import (
    Cache,
    MultiHeadAttention,
    causal_mask,
    padding_mask,
    positions_of,
    repeat_kv,
    scaled_dot_product_attention,
    softmax,
)
from cs336lite.slots import Attend

FAST = settings(derandomize=True, deadline=None, max_examples=60)
INF = float("inf")


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def module(*args, seed=0, **options) -> MultiHeadAttention:
    """A module in float64 whose weights are large enough for attention to have something to choose."""
    made = MultiHeadAttention(*args, **options).double()
    for number, parameter in enumerate(made.parameters()):
        parameter.data = normal(*parameter.shape, seed=1000 * seed + number) * parameter.shape[-1] ** -0.5 * 1.5
    return made


class Turn(nn.Module):
    """A stand-in for rotary positions that shows where a token stands; it counts its calls."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, token_positions):
        self.seen.append(token_positions.broadcast_to(x.shape[:-1]))
        angle = token_positions.to(x.dtype)[..., None] * torch.linspace(0.1, 1, x.shape[-1] // 2, dtype=x.dtype)
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


class Growing:
    """The simplest cache."""

    def __init__(self):
        self.length, self.given, self.all = 0, [], None

    def update(self, k, v):
        self.given.append((k, v))
        self.all = (k, v) if self.all is None else tuple(torch.cat(pair, 2) for pair in zip(self.all, (k, v)))
        self.length += k.shape[2]
        return self.all


# ---------------------------------------------------------------------------------------------------------------- softmax


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e300])
def test_softmax_equals_the_library(dim, scale):
    x = normal(2, 3, 4) * scale
    torch.testing.assert_close(softmax(x, dim), torch.softmax(x, dim))


@FAST
@given(st.lists(st.floats(-1e6, 1e6) | st.just(-INF), min_size=1, max_size=8), st.floats(-1e6, 1e6))
def test_softmax_properties(scores, shift):
    x = torch.tensor(scores, dtype=torch.float64)
    weights = softmax(x, 0)
    assert weights.min() >= 0 and weights.sum().item() == pytest.approx(0 if x.isneginf().all() else 1)
    torch.testing.assert_close(softmax(x + shift, 0), weights, atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(softmax(x.flip(0), 0), weights.flip(0))
    assert (weights[x.isneginf()] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_softmax_keeps_the_dtype_and_its_input(dtype):
    x = normal(5, 7).to(dtype)
    before = x.clone()
    weights = softmax(x, -1)
    assert weights.dtype == dtype and torch.equal(x, before)
    torch.testing.assert_close(weights, torch.softmax(x, -1))


def test_softmax_of_a_long_row_in_float16():
    """The sum, 70,000, is more than a float16 holds."""
    assert softmax(torch.zeros(70_000, dtype=torch.float16), 0).float().sum() == pytest.approx(1, rel=0.02)


def test_softmax_gradients():
    x = normal(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: softmax(z, 0), x)
    assert torch.autograd.gradcheck(lambda z: softmax(z, -1), x)


def test_rows_of_minus_infinity_give_zeros_and_no_gradient():
    x = normal(3, 4)
    x[1], x[2, 0] = -INF, -INF
    x.requires_grad_()
    weights = softmax(x, -1)
    assert (weights[1] == 0).all() and weights[2, 0] == 0
    (weights * 1e6 * normal(3, 4, seed=1)).sum().backward()
    assert (x.grad[1] == 0).all() and x.grad.isfinite().all()


def test_nan_is_not_hidden():
    assert softmax(torch.tensor([0.0, float("nan")]), 0).isnan().all()


# ------------------------------------------------------------------------------------------------------------- attention

FRONTS = [((), (), ()), ((2,), (2,), (2,)), ((2, 3), (2, 3), (2, 3)), ((2, 3), (3,), ()), ((2, 1), (1, 3), (2, 3))]


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_the_library(front, masked):
    Q, K, V = (normal(*f, *size, seed=i) for i, (f, size) in enumerate(zip(front, ((4, 6), (5, 6), (5, 3)))))
    mask = normal(4, 5, seed=3) > -0.5 if masked else None
    if masked:
        mask[:, 2] = True
    both = torch.broadcast_shapes(*front)
    library = F.scaled_dot_product_attention(*(z.expand(*both, *z.shape[-2:]) for z in (Q, K, V)), attn_mask=mask)
    torch.testing.assert_close(scaled_dot_product_attention(Q, K, V, mask), library)


@pytest.mark.parametrize("shape", [(4, 5), (2, 1, 1, 5), (1, 3, 4, 5), (2, 3, 4, 1), (5,)])
def test_masks_broadcast(shape):
    Q, K, V = normal(2, 3, 4, 6), normal(2, 3, 5, 6, seed=1), normal(2, 3, 5, 6, seed=2)
    mask = normal(*shape, seed=4) > 0
    whole = scaled_dot_product_attention(Q, K, V, mask.expand(2, 3, 4, 5))
    torch.testing.assert_close(scaled_dot_product_attention(Q, K, V, mask), whole)


def test_a_mask_may_have_more_dimensions_than_the_queries():
    Q, K, V, mask = normal(4, 6), normal(5, 6), normal(5, 3), normal(2, 4, 5) > 0
    assert scaled_dot_product_attention(Q, K, V, mask).shape == (2, 4, 3)


def test_a_query_without_keys_gets_zeros_and_finite_gradients():
    inputs = [normal(3, 4, seed=i).requires_grad_() for i in range(3)]
    mask = torch.ones(3, 3, dtype=torch.bool)
    mask[1] = False
    out = scaled_dot_product_attention(*inputs, mask)
    assert (out[1] == 0).all() and (out[0] != 0).any()
    out.square().sum().backward()
    assert all(z.grad.isfinite().all() for z in inputs)
    assert (inputs[0].grad[1] == 0).all()


def test_masked_keys_never_matter():
    Q, K, V = normal(4, 6), normal(5, 6, seed=1), normal(5, 3, seed=2)
    mask = torch.arange(5) < 3
    out = scaled_dot_product_attention(Q, K, V, mask)
    K[3:], V[3:] = 1e8, 1e8
    torch.testing.assert_close(scaled_dot_product_attention(Q, K, V, mask), out)
    torch.testing.assert_close(scaled_dot_product_attention(Q, K[:3], V[:3]), out)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_attention_keeps_the_dtype_and_its_inputs(dtype):
    inputs = [normal(2, 4, 8, seed=i).to(dtype) for i in range(3)] + [normal(4, 4, seed=3) > 0]
    before = [z.clone() for z in inputs]
    out = scaled_dot_product_attention(*inputs)
    assert out.dtype == dtype and all(map(torch.equal, inputs, before))
    exact = scaled_dot_product_attention(*(z.double() for z in inputs[:3]), inputs[3])
    torch.testing.assert_close(out.double(), exact, atol=4 * torch.finfo(dtype).eps, rtol=4 * torch.finfo(dtype).eps)


def test_attention_gradients():
    inputs = [normal(2, 3, 4, seed=i).requires_grad_() for i in range(3)]
    mask = torch.ones(3, 3, dtype=torch.bool).tril()
    assert torch.autograd.gradcheck(lambda *z: scaled_dot_product_attention(*z, mask), inputs)


@FAST
@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6))
def test_attention_does_not_know_the_order_of_keys(q, k, d, seed):
    Q, K, V = normal(q, d, seed=seed), normal(k, d, seed=seed + 1), normal(k, 2, seed=seed + 2)
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    out = scaled_dot_product_attention(Q, K, V)
    torch.testing.assert_close(scaled_dot_product_attention(Q, K[order], V[order]), out)
    assert (out <= V.amax(0) + 1e-9).all() and (out >= V.amin(0) - 1e-9).all()


# ---------------------------------------------------------------------------------------------------------- small functions


@pytest.mark.parametrize(("kv", "heads"), [(1, 4), (2, 4), (4, 4), (3, 6), (2, 6)])
def test_repeat_kv(kv, heads):
    x = normal(2, kv, 3, 4)
    repeated = repeat_kv(x, heads)
    assert repeated.shape == (2, heads, 3, 4)
    for head in range(heads):
        assert torch.equal(repeated[:, head], x[:, head // (heads // kv)])


@FAST
@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 100))
def test_causal_mask_by_its_definition(seq, past, start):
    mask = causal_mask(torch.arange(start, start + seq), past)
    assert mask.tolist() == [[j <= past + i for j in range(past + seq)] for i in range(seq)]
    batch = torch.stack([torch.arange(seq), torch.arange(seq) + start])
    assert torch.equal(causal_mask(batch, past), mask.expand(2, 1, seq, past + seq))


def test_causal_mask_follows_positions_not_places():
    assert causal_mask(torch.tensor([2, 0, 1])).int().tolist() == [[1, 1, 1], [0, 1, 0], [0, 1, 1]]


def test_padding_mask():
    mask = padding_mask(torch.tensor([0, 2, 4]), 4)
    assert mask.shape == (3, 1, 1, 4) and mask.sum(-1).flatten().tolist() == [0, 2, 4]
    assert mask[1, 0, 0].tolist() == [True, True, False, False]


def test_positions_of():
    x, cache = torch.zeros(2, 3, 8), Growing()
    assert positions_of(x).tolist() == [0, 1, 2]
    cache.length = 7
    assert isinstance(cache, Cache) and positions_of(x, None, cache).tolist() == [7, 8, 9]
    given_ones = torch.tensor([[4, 5, 6], [0, 1, 2]])
    assert positions_of(x, given_ones, cache) is given_ones


# ------------------------------------------------------------------------------------------------------------- the module


def library_twin(ours: MultiHeadAttention) -> nn.MultiheadAttention:
    bias = ours.q_proj.bias is not None
    twin = nn.MultiheadAttention(
        ours.q_proj.in_features, ours.num_heads, bias=bias, batch_first=True, dtype=torch.float64
    )
    twin.in_proj_weight.data = torch.cat([ours.q_proj.weight, ours.k_proj.weight, ours.v_proj.weight])
    twin.out_proj.weight.data = ours.o_proj.weight.data
    if bias:
        twin.in_proj_bias.data = torch.cat([ours.q_proj.bias, ours.k_proj.bias, ours.v_proj.bias])
        twin.out_proj.bias.data = ours.o_proj.bias.data
    return twin


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [1, 3])
def test_module_equals_the_library(heads, causal, bias):
    ours, x = module(12, heads, causal=causal, bias=bias), normal(2, 5, 12)
    mask = ~torch.ones(5, 5, dtype=torch.bool).tril() if causal else None
    theirs = library_twin(ours)(x, x, x, attn_mask=mask, need_weights=False)[0]
    torch.testing.assert_close(ours(x), theirs)


def test_cross_attention_equals_the_library():
    ours, x, context = module(12, 3, rope=Turn()), normal(2, 4, 12), normal(2, 7, 12, seed=1)
    padding = padding_mask(torch.tensor([3, 7]), 7)
    theirs = library_twin(ours)(x, context, context, key_padding_mask=~padding[:, 0, 0], need_weights=False)[0]
    torch.testing.assert_close(ours(x, context=context, mask=padding), theirs)
    assert ours.rope.seen == []


@pytest.mark.parametrize(("heads", "kv"), [(4, 1), (4, 2), (6, 3)])
def test_grouped_heads_equal_the_library(heads, kv):
    ours, x = module(12, heads, kv, d_head=4), normal(2, 5, 12)
    q, k, v = (p(x).unflatten(-1, (-1, 4)).transpose(1, 2) for p in (ours.q_proj, ours.k_proj, ours.v_proj))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(ours(x), ours.o_proj(out.transpose(1, 2).flatten(2)))
    assert ours.k_proj.weight.shape == ours.v_proj.weight.shape == (kv * 4, 12)


def test_parameters_are_those_of_the_interface():
    assert {n: tuple(p.shape) for n, p in MultiHeadAttention(8, 4, 2).named_parameters()} == {
        "q_proj.weight": (8, 8),
        "k_proj.weight": (4, 8),
        "v_proj.weight": (4, 8),
        "o_proj.weight": (8, 8),
    }
    wide = MultiHeadAttention(8, 3, d_head=5, bias=True).state_dict()
    assert wide["q_proj.weight"].shape == (15, 8) and wide["o_proj.weight"].shape == (8, 15)
    assert {name for name in wide if name.endswith("bias")} == {f"{name}_proj.bias" for name in "qkvo"}


def test_the_signature_is_that_of_the_plan():
    made = inspect.signature(MultiHeadAttention.__init__).parameters
    assert list(made)[1:4] == ["d_model", "num_heads", "num_kv_heads"]
    assert {n: p.default for n, p in made.items() if p.kind is p.KEYWORD_ONLY} == {
        "d_head": None,
        "rope": None,
        "qk_norm": None,
        "attend": scaled_dot_product_attention,
        "causal": True,
        "bias": False,
    }
    called = inspect.signature(MultiHeadAttention.forward).parameters
    assert [n for n, p in called.items() if p.kind is p.KEYWORD_ONLY] == ["context", "mask", "token_positions", "cache"]


@pytest.mark.parametrize("arguments", [(8, 4, 3), (10, 4), (8, 4, 0), (8, 4, 8)])
def test_sizes_that_do_not_fit_are_told(arguments):
    with pytest.raises(ValueError, match="heads"):
        MultiHeadAttention(*arguments)


def test_nobody_sees_the_future():
    layer, x = module(12, 3), normal(1, 6, 12)
    for token in range(6):
        changed = x.clone()
        changed[:, token] += 1
        moved = (layer(changed) - layer(x)).abs().amax((0, 2)) > 1e-9
        assert moved.tolist() == [i >= token for i in range(6)]


@pytest.mark.parametrize("shape", [(5, 5), (2, 1, 1, 5), (1, 3, 5, 5), (2, 3, 5, 5)])
@pytest.mark.parametrize("causal", [False, True])
def test_masks_are_combined_by_and(shape, causal):
    layer, x = module(12, 3, causal=causal), normal(2, 5, 12)
    mask = normal(*shape, seed=5) > 0
    before = mask.clone()
    allowed = mask & torch.ones(5, 5, dtype=torch.bool).tril() if causal else mask
    layer.causal = False
    expected = layer(x, mask=allowed.expand(2, 3, 5, 5))
    layer.causal = causal
    torch.testing.assert_close(layer(x, mask=mask), expected)
    assert torch.equal(mask, before)


def test_rope_gets_every_layout_of_positions():
    layer, x = module(12, 3, 1, rope=Turn()), normal(2, 4, 12)
    offset = layer(x, token_positions=torch.arange(4) + 9)
    torch.testing.assert_close(offset, layer(x))  # only differences of positions count, in the causal mask as well
    each = torch.tensor([[0, 1, 2, 3], [5, 7, 9, 11]])
    both = layer(x, token_positions=each)
    for row in range(2):
        torch.testing.assert_close(both[row : row + 1], layer(x[row : row + 1], token_positions=each[row]))
    assert not torch.allclose(both[1], layer(x)[1])


def test_tokens_may_stand_in_any_order():
    layer, x, order = module(12, 3, rope=Turn()), normal(2, 5, 12), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(layer(x[:, order], token_positions=order), layer(x)[:, order])


@FAST
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.sampled_from([(4, None), (4, 2), (4, 1)]))
def test_pieces_with_a_cache_give_what_the_whole_gives(cuts, heads):
    layer, x = (
        module(8, *heads, d_head=4, rope=Turn(), qk_norm=lambda size: nn.LayerNorm(size)),
        normal(2, sum(cuts), 8),
    )
    cache = Growing()
    pieces = [layer(piece, cache=cache) for piece in x.split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), layer(x))
    assert all(k.shape == v.shape == (2, heads[1] or 4, n, 4) for (k, v), n in zip(cache.given, cuts))


def test_padding_on_the_left_with_a_cache():
    """Two texts of different length, the shorter one filled up in front: each gives what it gives alone."""
    layer, x = module(8, 2, rope=Turn()), normal(2, 6, 8)
    pads, cache = torch.tensor([0, 2]), Growing()
    positions = (torch.arange(6) - pads[:, None]).clamp(min=0)
    real = (torch.arange(6) >= pads[:, None])[:, None, None]
    first = layer(x[:, :4], token_positions=positions[:, :4], mask=real[..., :4], cache=cache)
    steps = [
        layer(x[:, i : i + 1], token_positions=positions[:, i : i + 1], mask=real[..., : i + 1], cache=cache)
        for i in (4, 5)
    ]
    out = torch.cat([first, *steps], 1)
    torch.testing.assert_close(out[:1], layer(x[:1]))
    torch.testing.assert_close(out[1:, 2:], layer(x[1:, 2:]))


def test_the_cache_gets_turned_keys_that_are_not_repeated():
    layer, x, cache = module(8, 4, 2, rope=Turn()), normal(2, 3, 8), Growing()
    layer(x, cache=cache)
    (k, v), keys = cache.given[0], layer.k_proj(x).unflatten(-1, (2, 2)).transpose(1, 2)
    torch.testing.assert_close(k, Turn()(keys, torch.arange(3)))
    torch.testing.assert_close(v, layer.v_proj(x).unflatten(-1, (2, 2)).transpose(1, 2))


def test_qk_norm_is_made_twice_and_works_head_by_head_before_rope():
    sizes = []

    def factory(size):
        sizes.append(size)
        return nn.LayerNorm(size, dtype=torch.float64)

    layer, x = module(12, 3, qk_norm=factory, rope=Turn()), normal(2, 4, 12)
    assert sizes == [4, 4] and len(list(layer.parameters())) == 8
    q, k, v = (p(x).unflatten(-1, (3, 4)).transpose(1, 2) for p in (layer.q_proj, layer.k_proj, layer.v_proj))
    q, k = (Turn()(norm(z), torch.arange(4)) for norm, z in ((layer.q_norm, q), (layer.k_norm, k)))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(layer(x), layer.o_proj(out.transpose(1, 2).flatten(2)))


def test_attend_is_a_slot():
    seen = []

    def fast(Q, K, V, mask):
        seen.append((Q.shape, K.shape, V.shape, mask))
        return F.scaled_dot_product_attention(Q, K, V, attn_mask=mask)

    plain, x = module(12, 6, 2), normal(2, 5, 12)
    slot = module(12, 6, 2, attend=fast)
    torch.testing.assert_close(slot(x), plain(x))
    assert seen[0][0] == seen[0][1] == seen[0][2] == (2, 6, 5, 2)
    assert seen[0][3].dtype == torch.bool
    slot(x[:, :1])
    assert seen[1][3] is None  # a single token needs no mask


def test_a_slot_that_says_so_gets_shared_heads_as_they_are():
    """Keys and values of two heads arrive, not six copies; with a context and with a cache, too."""

    seen = []

    class Shared(Attend):
        shares_heads = True

        def __call__(self, Q, K, V, mask):
            seen.append((Q.shape[1], K.shape[1], V.shape[1], K.shape[2]))
            return F.scaled_dot_product_attention(Q, K, V, attn_mask=mask, enable_gqa=True)

    plain, x, other = module(12, 6, 2), normal(2, 5, 12), normal(2, 7, 12, seed=1)
    slot = module(12, 6, 2, attend=Shared())
    for read in ({}, {"context": other}):
        torch.testing.assert_close(slot(x, **read), plain(x, **read))
        wanted, found = (torch.autograd.grad(layer(x, **read).sum(), layer.parameters()) for layer in (plain, slot))
        torch.testing.assert_close(found, wanted)
    cache = Growing()
    parts = torch.cat([slot(part, cache=cache) for part in x.split([4, 1], dim=1)], dim=1)
    torch.testing.assert_close(parts, plain(x))
    assert [*dict.fromkeys(seen)] == [(6, 2, 2, 5), (6, 2, 2, 7), (6, 2, 2, 4)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_module_keeps_the_dtype(dtype):
    layer, x = module(8, 2, rope=Turn()).to(dtype), normal(2, 4, 8).to(dtype)
    before = x.clone()
    assert layer(x).dtype == dtype and torch.equal(x, before)


def test_gradients_reach_every_parameter():
    layer, x = module(8, 4, 2, bias=True, qk_norm=lambda size: nn.LayerNorm(size)), normal(2, 4, 8).requires_grad_()
    layer(x).square().sum().backward()
    # a bias of the keys moves all scores of a query alike; without a qk_norm after it, it would have no effect
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in layer.parameters())
    small = module(4, 2)
    assert torch.autograd.gradcheck(small, normal(1, 3, 4).requires_grad_())


def test_a_module_of_modules_is_saved_and_loaded(tmp_path):
    ours, other, x = module(8, 2, seed=1), module(8, 2, seed=2), normal(1, 3, 8)
    torch.save(ours.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert torch.equal(ours(x), other(x))


# ------------------------------------------------------------------------------------------------------------ as a module


def test_the_examples_in_docstrings_run():
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [t for t in finder.find(attention, globs=vars(attention).copy()) if t.examples]
    assert {t.name.split(".")[-1] for t in tests} >= {"softmax", "scaled_dot_product_attention", "causal_mask"}
    for test in tests:
        assert doctest.DocTestRunner().run(test).failed == 0, test.name


def test_public_functions_say_shapes():
    public = [f for n, f in vars(attention).items() if inspect.isfunction(f) and f.__module__ == attention.__name__]
    assert len(public) >= 6
    for function in [*public, MultiHeadAttention.forward]:
        assert "Float" in str(inspect.signature(function)) or "Int" in str(inspect.signature(function)), function


@pytest.mark.parametrize(
    "call",
    [
        lambda: scaled_dot_product_attention(torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(2, 4)),
        lambda: scaled_dot_product_attention(torch.zeros(2, 3), torch.zeros(4, 3), torch.zeros(5, 3)),
        lambda: scaled_dot_product_attention(*itertools.repeat(torch.zeros(2, 3), 3), torch.zeros(2, 2)),
    ],
)
def test_shapes_that_do_not_fit_raise(call):
    with pytest.raises(Exception):  # noqa: B017 - jaxtyping's error under its import hook, torch's own without
        call()


TOLD = {
    "softmax(torch.tensor([1, 2]), -1)": "TypeError: softmax needs floating-point scores, and these are torch.int64",
    "softmax(torch.zeros(2, 0), -1).shape": "torch.Size([2, 0])",
    "softmax(torch.zeros(0, 2), 0).shape": "torch.Size([0, 2])",
    "attend(q, q[:, :0], q[:, :0]).tolist()": "[[[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]",
    "attend(q[:, :0], q, q).shape": "torch.Size([1, 0, 2])",
    "attend(q.long(), q, q)": "TypeError: Q, K and V are torch.int64, torch.float32 and torch.float32",
    "attend(q, q, q, torch.zeros(3, 3))": "TypeError: mask is torch.float32, and must be torch.bool",
    "attend(q, q, q, torch.ones(3, 3, dtype=torch.int64))": "TypeError: mask is torch.int64, and must be torch.bool",
    "layer(x[:, :0]).shape": "torch.Size([2, 0, 4])",
    "layer(x[:0]).shape": "torch.Size([0, 3, 4])",
    "layer(x, mask=torch.zeros(3, 3))": "TypeError: mask is torch.float32",
    "layer(x[:1], context=x)": "ValueError: x is (1, 3) (batch, seq), and with its mask, context and cache (2, 3)",
    "layer(x[:1], mask=torch.ones(2, 1, 3, 3, dtype=torch.bool))": "ValueError: x is (1, 3) (batch, seq), and with",
    "MultiHeadAttention(4, 2, d_head=0)": "ValueError: a head has 0 dimensions",
}


def test_what_makes_no_sense_is_told_and_what_is_empty_is_right():
    setup = """
import torch
from cs336lite.attention import MultiHeadAttention, softmax, scaled_dot_product_attention as attend
q, x, layer = torch.ones(1, 3, 2), torch.ones(2, 3, 4), MultiHeadAttention(4, 2)
"""
    for (call, want), found in zip(TOLD.items(), spoken(setup, list(TOLD)), strict=True):
        assert found.startswith(want), (call, found)
