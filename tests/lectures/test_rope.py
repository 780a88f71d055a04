"""Rotary position embedding: against complex numbers in float64, by its properties, and as a module in a model."""

import copy
import inspect
import math

import numpy as np
import pytest
import torch
from helpers import spoken
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cs336lite import rope
from cs336lite.rope import (
    PartialRotaryPositionalEmbedding,
    RotaryPositionalEmbedding,
    half_to_interleaved,
    interleaved_to_half,
    look_up,
    rotary_attention,
    rotate_halves,
    rotate_pairs,
    rotate_part,
    rotation_angles,
)

FAST = settings(derandomize=True, deadline=None, max_examples=60)
LAYOUTS = ["interleaved", "half"]
SIZES = st.sampled_from([2, 4, 6, 16, 64])


def oracle(x: torch.Tensor, positions: torch.Tensor, theta: float, layout: str = "interleaved") -> np.ndarray:
    """The definition in NumPy, by complex numbers and one position at a time."""
    x, d_k = x.detach().double().numpy(), x.shape[-1]
    positions = np.broadcast_to(positions.numpy(), x.shape[:-1])
    out = np.empty_like(x)
    for place in np.ndindex(*x.shape[:-1]):
        for i in range(d_k // 2):
            first, second = (2 * i, 2 * i + 1) if layout == "interleaved" else (i, i + d_k // 2)
            turned = complex(x[place][first], x[place][second]) * np.exp(
                1j * float(positions[place]) * theta ** (-2 * i / d_k)
            )
            out[place][first], out[place][second] = turned.real, turned.imag
    return out


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def places(*shape: int, below: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, below, shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------------------------
# Against the definition


@pytest.mark.parametrize("layout", LAYOUTS)
@FAST
@given(d_k=SIZES, theta=st.sampled_from([1.0, 10.0, 10_000.0, 500_000.0]), seed=st.integers(0, 10**6))
def test_the_rotation_is_the_definition(layout, d_k, theta, seed):
    x, positions = numbers(2, 3, d_k, seed=seed), places(2, 3, below=500, seed=seed)
    turned = RotaryPositionalEmbedding(theta, d_k, 500, layout=layout)(x, positions)
    np.testing.assert_allclose(turned.numpy(), oracle(x, positions, theta, layout), atol=2e-6, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_positions_far_away_are_as_exact(layout):
    x, positions = numbers(4, 8), torch.tensor([99_997, 100_000, 123_456, 131_071])
    turned = RotaryPositionalEmbedding(10_000.0, 8, 131_072, layout=layout)(x, positions)
    np.testing.assert_allclose(turned.numpy(), oracle(x, positions, 10_000.0, layout), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-7), (torch.float16, 2**-10)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_low_precision_is_the_exact_result_rounded_once(dtype, tolerance, layout):
    x, positions = numbers(4, 8).to(dtype), torch.tensor([3, 40_000, 99_999, 100_000])
    turned = RotaryPositionalEmbedding(10_000.0, 8, 100_001, layout=layout)(x, positions)
    assert turned.dtype == dtype
    expected = oracle(x, positions, 10_000.0, layout)
    np.testing.assert_allclose(turned.float().numpy(), expected, rtol=tolerance, atol=tolerance / 4)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 1, 5), (2, 3, 5), (1, 1, 1), (2, 1, 1)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_positions_broadcast(shape, layout):
    x, positions = numbers(2, 3, 5, 6), places(*shape, below=40)
    turned = RotaryPositionalEmbedding(100.0, 6, 40, layout=layout)(x, positions)
    np.testing.assert_allclose(turned.numpy(), oracle(x, positions, 100.0, layout), atol=2e-6)


def test_positions_of_another_integer_type():
    x, module = numbers(5, 6), RotaryPositionalEmbedding(100.0, 6, 40)
    positions = places(5, below=40)
    assert torch.equal(module(x, positions.int()), module(x, positions))


def test_no_tokens_at_all():
    module = RotaryPositionalEmbedding(100.0, 6, 40)
    assert module(torch.empty(2, 0, 6), torch.empty(0, dtype=torch.int64)).shape == (2, 0, 6)
    assert module(torch.empty(0, 3, 6), torch.arange(3)).shape == (0, 3, 6)


def test_angles():
    angles = rotation_angles(torch.tensor([[0, 1], [7, 100_000]]), 6, 1_000.0)
    assert angles.shape == (2, 2, 3) and angles.dtype == torch.float64
    np.testing.assert_allclose(angles[1].numpy(), [[7, 0.7, 0.07], [1e5, 1e4, 1e3]], rtol=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# Properties


@pytest.mark.parametrize("layout", LAYOUTS)
@FAST
@given(m=st.integers(0, 400), n=st.integers(0, 400), shift=st.integers(0, 599), seed=st.integers(0, 10**6))
def test_scores_depend_on_the_distance_alone(layout, m, n, shift, seed):
    q, k = numbers(1, 16, seed=seed), numbers(1, 16, seed=seed + 1)
    module = RotaryPositionalEmbedding(10_000.0, 16, 1_000, layout=layout)
    score, later = (
        float((module(q, torch.tensor([m + s])) * module(k, torch.tensor([n + s]))).sum()) for s in (0, shift)
    )
    assert score == pytest.approx(later, abs=2e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_turns_add_up_and_keep_lengths(layout):
    x, module = numbers(9, 16), RotaryPositionalEmbedding(10_000.0, 16, 100, layout=layout)
    first, second = places(9, below=50, seed=1), places(9, below=50, seed=2)
    torch.testing.assert_close(module(module(x, first), second), module(x, first + second), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(module(x, first).norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(module(x, torch.zeros(9, dtype=torch.int64)), x)


def test_a_quarter_turn_is_counter_clockwise():
    cos, sin = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    assert rotate_pairs(torch.tensor([1.0, 0, 7, 8]), cos, sin).tolist() == [0, 1, 7, 8]
    assert rotate_halves(torch.tensor([1.0, 7, 0, 8]), cos, sin).tolist() == [0, 7, 1, 8]


def test_gradients_turn_back():
    """The transpose of a rotation is the rotation by the opposite angle."""
    positions, module = torch.tensor([3, 17, 39]), RotaryPositionalEmbedding(50.0, 6, 64)
    x, upstream = numbers(3, 6).requires_grad_(), numbers(3, 6, seed=1)
    module(x, positions).backward(upstream)
    torch.testing.assert_close(module(x.grad, positions), upstream)
    double = numbers(3, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: module(x, positions), double)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_stay_as_they_are(layout):
    x, positions = numbers(2, 5, 6), places(2, 5, below=40)
    kept = x.clone(), positions.clone()
    RotaryPositionalEmbedding(100.0, 6, 40, layout=layout)(x, positions)
    assert torch.equal(x, kept[0]) and torch.equal(positions, kept[1])


# ---------------------------------------------------------------------------------------------------------------------
# Layouts


@FAST
@given(d_k=SIZES, dim=st.sampled_from([0, 1, 2, -1, -2, -3]))
def test_the_permutations_undo_each_other_along_any_dimension(d_k, dim):
    x = numbers(*(d_k if i == dim % 3 else 3 for i in range(3)))
    order = [*range(0, d_k, 2), *range(1, d_k, 2)]
    assert torch.equal(interleaved_to_half(x, dim), x.index_select(dim, torch.tensor(order)))
    assert torch.equal(half_to_interleaved(interleaved_to_half(x, dim), dim), x)
    assert torch.equal(interleaved_to_half(half_to_interleaved(x, dim), dim), x)


@FAST
@given(d_k=SIZES, seed=st.integers(0, 10**6))
def test_the_layouts_are_one_rotation_in_two_orders(d_k, seed):
    x, positions = numbers(7, d_k, seed=seed), places(7, below=300, seed=seed)
    interleaved, half = (RotaryPositionalEmbedding(1_000.0, d_k, 300, layout=layout) for layout in LAYOUTS)
    turned = half(interleaved_to_half(x), positions)
    torch.testing.assert_close(turned, interleaved_to_half(interleaved(x, positions)), atol=1e-6, rtol=1e-6)


def test_the_half_layout_is_that_of_rotate_half():
    """x * cos + rotate_half(x) * sin with doubled tables, as Hugging Face writes it."""
    x, positions = numbers(5, 8), torch.arange(5)
    angles = rotation_angles(positions, 8, 10_000.0).float().repeat(1, 2)
    rotated = torch.cat((-x[:, 4:], x[:, :4]), dim=-1)
    module = RotaryPositionalEmbedding(10_000.0, 8, 5, layout="half")
    torch.testing.assert_close(module(x, positions), x * angles.cos() + rotated * angles.sin())


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def test_bad_arguments_are_told():
    for d_k in (5, 1, 0):
        with pytest.raises(ValueError, match=f"d_k is {d_k}"):
            RotaryPositionalEmbedding(100.0, d_k, 8)
    with pytest.raises(ValueError, match="layout is 'spiral'"):
        RotaryPositionalEmbedding(100.0, 4, 8, layout="spiral")


@pytest.mark.parametrize("position", [-1, -8, 8, 1_000])
def test_positions_outside_are_told(position):
    module = RotaryPositionalEmbedding(100.0, 4, 8)
    for positions in ([position, 3], [3, position]):
        with pytest.raises(ValueError, match=rf"{position}.* from 0 to 7"):
            module(numbers(2, 4), torch.tensor(positions))
    with pytest.raises(ValueError, match="0 to 7"):
        look_up(numbers(8, 2), torch.tensor(position))
    assert module(numbers(2, 4), torch.tensor([7, 0])).shape == (2, 4)


def test_shapes_that_do_not_fit_are_told():
    module = RotaryPositionalEmbedding(100.0, 4, 8)
    with pytest.raises(ValueError, match="6 dimensions in its last place, and d_k is 4"):
        module(numbers(2, 6), torch.arange(2))
    with pytest.raises(ValueError, match=r"\(2, 3\) do not broadcast to \(3,\)"):
        module(numbers(3, 4), torch.zeros(2, 3, dtype=torch.int64))


# ---------------------------------------------------------------------------------------------------------------------
# In a model


class Model(nn.Module):
    def __init__(self, **options) -> None:
        super().__init__()
        self.weight = nn.Parameter(numbers(8, 8))
        self.rope = RotaryPositionalEmbedding(10_000.0, 8, 4_000, **options)


def test_nothing_to_learn_and_nothing_to_save():
    module = RotaryPositionalEmbedding(100.0, 4, 8)
    assert list(module.parameters()) == [] and module.state_dict() == {}
    assert not module(numbers(2, 4), torch.arange(2)).requires_grad
    assert list(Model().state_dict()) == ["weight"]
    Model().load_state_dict(Model().state_dict())


@pytest.mark.parametrize("convert", ["bfloat16", "half", "double", "to"])
def test_a_converted_model_turns_as_exactly(convert):
    model, x, positions = Model(), numbers(4, 8), torch.tensor([0, 1, 3_001, 3_999])
    before = model.rope(x, positions)
    after = model.to(torch.bfloat16) if convert == "to" else getattr(model, convert)()
    assert after is model and model.rope.table.dtype == torch.float32
    assert torch.equal(model.rope(x, positions), before)
    assert model.rope(x.bfloat16(), positions).dtype == torch.bfloat16


def test_devices():
    x, positions = numbers(3, 8), torch.tensor([5, 0, 2])
    plain = Model().rope(x, positions)
    on_meta = Model(device="meta").rope
    assert on_meta.table.is_meta
    assert on_meta(x.to("meta"), positions.to("meta")).shape == (3, 8)
    with torch.device("meta"):
        inside = RotaryPositionalEmbedding(10_000.0, 8, 16)
    assert torch.isfinite(inside.to_empty(device="cpu")(x, positions)).all()
    on_meta.to_empty(device="cpu")  # as a model is made that is filled from a checkpoint
    assert torch.equal(on_meta(x, positions), plain)
    moved = Model().to("meta").rope
    assert moved.table.is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu():
    x, positions = numbers(2, 3, 8), torch.tensor([5, 0, 2])
    plain = RotaryPositionalEmbedding(10_000.0, 8, 16)(x, positions)
    for module in (
        RotaryPositionalEmbedding(10_000.0, 8, 16, device="cuda"),
        RotaryPositionalEmbedding(10_000.0, 8, 16).cuda(),
    ):
        turned = module(x.cuda(), positions.cuda())
        assert turned.is_cuda
        torch.testing.assert_close(turned.cpu(), plain)


def test_copies_do_not_share_what_they_keep():
    one = RotaryPositionalEmbedding(100.0, 4, 8)
    other = copy.deepcopy(one)
    other.table.zero_()
    assert torch.equal(one(numbers(2, 4), torch.zeros(2, dtype=torch.int64)), numbers(2, 4))


# ---------------------------------------------------------------------------------------------------------------------
# Attention, and a part of the head


def test_attention_sees_distances_only():
    module = RotaryPositionalEmbedding(100.0, 6, 200)
    q, k, v = numbers(2, 3, 6), numbers(2, 5, 6, seed=1), numbers(2, 5, 4, seed=2)
    q_at, k_at = torch.tensor([[9, 4, 6], [1, 2, 3]]), torch.tensor([0, 8, 2, 5, 1])
    heard = rotary_attention(module, q, k, v, q_at, k_at)
    turned_q, turned_k = oracle(q, q_at, 100.0), oracle(k, k_at, 100.0)
    weights = np.exp(np.einsum("bqd,bkd->bqk", turned_q, turned_k) / math.sqrt(6))
    expected = np.einsum("bqk,bkd->bqd", weights / weights.sum(-1, keepdims=True), v.numpy())
    np.testing.assert_allclose(heard.numpy(), expected, atol=1e-5)
    torch.testing.assert_close(rotary_attention(module, q, k, v, q_at + 90, k_at + 90), heard, atol=1e-5, rtol=0)
    assert not torch.allclose(rotary_attention(module, q, k, v, q_at + 1, k_at), heard, atol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rotary_dim", [2, 8, 16])
def test_a_part_of_the_head_is_turned(rotary_dim, layout):
    x, positions = numbers(2, 3, 5, 16), places(2, 1, 5, below=40)
    kept = x.clone()
    module = RotaryPositionalEmbedding(100.0, rotary_dim, 40, layout=layout)
    for turned in (
        rotate_part(module, x, positions, rotary_dim),
        PartialRotaryPositionalEmbedding(module, rotary_dim)(x, positions),
    ):
        assert torch.equal(x, kept)
        assert torch.equal(turned[..., rotary_dim:], x[..., rotary_dim:])
        expected = oracle(x[..., :rotary_dim], positions, 100.0, layout)
        np.testing.assert_allclose(turned[..., :rotary_dim].numpy(), expected, atol=2e-6)


def test_the_partial_module_keeps_nothing_either():
    module = PartialRotaryPositionalEmbedding(RotaryPositionalEmbedding(100.0, 4, 8), 4)
    assert list(module.parameters()) == [] and module.state_dict() == {}


# ---------------------------------------------------------------------------------------------------------------------
# The module's own words


def test_the_examples_in_docstrings_run():
    import doctest

    result = doctest.testmod(rope)
    assert result.attempted >= 5 and result.failed == 0


def test_tensors_are_annotated():
    """`make test` checks these annotations while it runs (jaxtyping and beartype)."""
    tensors = [rotation_angles, rotate_pairs, rotate_halves, look_up, rotary_attention, rotate_part]
    for function in [*tensors, RotaryPositionalEmbedding.forward, PartialRotaryPositionalEmbedding.forward]:
        hints = inspect.get_annotations(inspect.unwrap(function))
        assert {"jaxtyping"} <= {getattr(hint, "__module__", "") for hint in hints.values()}, function.__name__


TOLD = {
    **{f"Rope({theta}, 4, 8)": "ValueError: theta is" for theta in ("0.0", "-1e4", "float('nan')", "float('inf')")},
    "Rope(1e4, 4, 0)": "ValueError: max_seq_len is 0",
    "rotation_angles(torch.arange(3), 4, 0.0)": "ValueError: theta is 0.0",
    "Rope(1e4, 4, 8)(torch.arange(4)[None], torch.tensor([3]))": "TypeError: x is torch.int64",
    "Rope(1e4, 4, 8, layout='half')(torch.arange(4)[None], torch.tensor([3]))": "TypeError: x is torch.int64",
    "Rope(1e4, 4, 8)(torch.ones(1, 4), torch.tensor([3.0]))": "TypeError: token_positions are torch.float32",
    "Rope(1e4, 4, 8)(torch.ones(1, 4), torch.tensor([True]))": "TypeError: token_positions are torch.bool",
    "Rope(1e4, 4, 8)(torch.ones(0, 4), torch.arange(0)).shape": "torch.Size([0, 4])",
}


def test_what_makes_no_sense_is_told():
    setup = "import torch\nfrom cs336lite.rope import RotaryPositionalEmbedding as Rope, rotation_angles"
    for (call, want), found in zip(TOLD.items(), spoken(setup, list(TOLD)), strict=True):
        assert found.startswith(want), (call, found)
