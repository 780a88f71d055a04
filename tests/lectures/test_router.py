"""The router and dispatch: against definitions token by token, Mixtral's layer as an oracle, and finite differences."""

import doctest
import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cs336lite import router
from cs336lite.router import RouterOutput, TopKRouter, dispatch, load_balancing_loss, router_z_loss, top_k_gates

FAST = settings(derandomize=True, deadline=None, max_examples=60)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def affine(number, d=4, seed=0, dtype=torch.float64):
    """Experts that are affine maps, so that a gate before one differs from a gate after it."""
    made = nn.ModuleList(nn.Linear(d, d, dtype=dtype) for _ in range(number))
    for i, parameter in enumerate(made.parameters()):
        parameter.data = normal(*parameter.shape, seed=1000 * seed + i + 1, dtype=dtype)
    return made


def one_by_one(x, weights, indices, experts):
    """What dispatch must give, token by token."""
    rows = [
        sum(w * experts[e](token[None])[0] for w, e in zip(gates, chosen.tolist()))
        for token, gates, chosen in zip(x, weights, indices)
    ]
    return torch.stack(rows)


def job(n, k, number, d=4, seed=0):
    """Tokens, gates and experts at random, different ones for each token."""
    indices = normal(n, number, seed=seed + 2).argsort(-1)[:, :k]
    return normal(n, d, seed=seed), normal(n, k, seed=seed + 1), indices


def test_examples_in_the_docstrings():
    found = doctest.testmod(router)
    assert found.attempted >= 6 and found.failed == 0


# ------------------------------------------------------------------------------------------------------------------ gates


@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 3, 6)])
@pytest.mark.parametrize("k", [1, 2, 6])
def test_gates_by_their_definition(shape, k, renormalize):
    logits = normal(*shape)
    weights, indices, probabilities = top_k_gates(logits, k, renormalize)
    order = logits.argsort(-1, descending=True)[..., :k]
    assert torch.equal(indices, order) and indices.dtype == torch.int64
    chosen = torch.softmax(logits, -1).gather(-1, order)
    torch.testing.assert_close(weights, chosen / chosen.sum(-1, keepdim=True) if renormalize else chosen)
    torch.testing.assert_close(probabilities, torch.softmax(logits, -1))


def test_renormalised_gates_are_the_softmax_of_the_chosen_logits():
    logits = normal(7, 8)
    weights, indices, _ = top_k_gates(logits, 2)
    torch.testing.assert_close(weights, logits.gather(-1, indices).softmax(-1))


@FAST
@given(st.lists(st.sampled_from([-300.0, -1.0, 0.0, 0.5, 200.0]), min_size=1, max_size=7), st.data())
def test_ties_and_vanishing_probabilities_give_different_experts(values, data):
    k = data.draw(st.integers(1, len(values)))
    weights, indices, probabilities = top_k_gates(torch.tensor(values), k, renormalize=False)
    assert len(set(indices.tolist())) == k
    assert sorted(weights.tolist(), reverse=True) == weights.tolist() == probabilities[indices].tolist()
    assert weights.tolist() == probabilities.sort(descending=True).values[:k].tolist()


@pytest.mark.parametrize("renormalize", [True, False])
def test_gradients_of_gates(renormalize):
    assert torch.autograd.gradcheck(lambda h: top_k_gates(h, 2, renormalize)[0], normal(4, 5).requires_grad_())


def test_a_single_renormalised_gate_says_nothing():
    logits = normal(4, 5).requires_grad_()
    (top_k_gates(logits, 1)[0] * normal(4, 1)).sum().backward()
    torch.testing.assert_close(logits.grad, torch.zeros(4, 5, dtype=torch.float64))


# ----------------------------------------------------------------------------------------------------------------- losses


@FAST
@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 10**6), st.data())
def test_balance_by_its_definition(tokens, experts, seed, data):
    k = data.draw(st.integers(1, experts))
    probabilities = normal(tokens, experts, seed=seed).softmax(-1)
    indices = normal(tokens, experts, seed=seed + 1).argsort(-1)[:, :k]
    loss = 0.0
    for e in range(experts):
        loss += experts * float((indices == e).sum()) / (k * tokens) * float(probabilities[:, e].mean())
    assert load_balancing_loss(probabilities, indices).item() == pytest.approx(loss)
    uniform = torch.full((tokens, experts), 1 / experts)
    assert load_balancing_loss(uniform, indices).item() == pytest.approx(1)


def test_balance_of_everything_on_one_expert_is_the_number_of_experts():
    probabilities = torch.eye(8)[[3] * 5]
    assert load_balancing_loss(probabilities, torch.full((5, 1), 3)).item() == 8


def test_balance_has_the_gradient_of_the_probabilities_alone():
    probabilities = normal(6, 4).softmax(-1).requires_grad_()
    indices = torch.tensor([[0, 1], [0, 2], [0, 1], [2, 0], [1, 0], [0, 2]])
    load_balancing_loss(probabilities, indices).backward()
    shares = torch.tensor([6, 3, 3, 0]) / 12
    torch.testing.assert_close(probabilities.grad, (4 * shares / 6).double().expand(6, 4))


def test_z_loss():
    logits = normal(2, 5, 6)
    torch.testing.assert_close(router_z_loss(logits), logits.exp().sum(-1).log().square().mean())
    assert router_z_loss(torch.full((3, 4), 1e4)).item() == pytest.approx(1e8, rel=1e-3)
    assert torch.autograd.gradcheck(router_z_loss, normal(3, 4).requires_grad_())


# ------------------------------------------------------------------------------------------------------------- the module


def module(*arguments, seed=0, **options):
    made = TopKRouter(*arguments, **options)
    made.gate.weight.data = normal(*made.gate.weight.shape, seed=seed, dtype=torch.float32)
    return made


def test_the_signature_is_that_of_the_plan():
    made = inspect.signature(TopKRouter.__init__).parameters
    assert list(made)[1:4] == ["d_model", "num_experts", "top_k"]
    assert {n: p.default for n, p in made.items() if p.kind is p.KEYWORD_ONLY} == {"renormalize": True}
    assert RouterOutput._fields == ("weights", "indices", "logits", "load_balancing_loss", "z_loss")
    assert list(inspect.signature(dispatch).parameters) == ["x", "weights", "indices", "experts"]
    assert {n: tuple(p.shape) for n, p in TopKRouter(6, 4, 2).named_parameters()} == {"gate.weight": (4, 6)}


@pytest.mark.parametrize("top_k", [0, -1, 5])
def test_a_choice_that_cannot_be_made_is_told(top_k):
    with pytest.raises(ValueError, match="1 to 4 of 4 experts"):
        TopKRouter(6, 4, top_k)


@pytest.mark.parametrize("front", [(), (1,), (5,), (2, 3), (2, 1, 3)])
def test_any_dimensions_in_front(front):
    made, x = module(6, 4, 2), normal(*front, 6, dtype=torch.float32)
    out, flat = made(x), made(x.reshape(-1, 6))
    assert out.weights.shape == out.indices.shape == (*front, 2) and out.logits.shape == (*front, 4)
    for got, row in zip(out[:3], flat[:3]):
        torch.testing.assert_close(got.reshape(row.shape), row)
    for got, row in zip(out[3:], flat[3:]):
        torch.testing.assert_close(got, row)
        assert got.shape == ()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("converted", [True, False])
def test_float32_or_better(dtype, converted):
    made, x = module(16, 8, 2), normal(5, 16, seed=9).to(dtype)
    made = made.to(dtype) if converted else made
    out = made(x)
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert {z.dtype for z in (out.weights, out.logits, out.load_balancing_loss, out.z_loss)} == {expected}
    torch.testing.assert_close(out.logits.double(), x.double() @ made.gate.weight.double().T, atol=1e-5, rtol=1e-5)


def test_logits_beyond_float16():
    made = module(4, 3, 2).half()
    made.gate.weight.data.fill_(100.0)
    out = made(torch.full((2, 4), 1000.0, dtype=torch.float16))
    assert out.logits.tolist() == [[4e5] * 3] * 2 and out.z_loss.isfinite()


def test_autocast_does_not_round_logits():
    made, x = module(16, 8, 2), normal(5, 16, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = made(x)
    assert torch.equal(out.logits, made(x).logits) and out.logits.dtype == torch.float32


def test_gradients_reach_tokens_and_gate_from_every_output():
    for field in ("weights", "load_balancing_loss", "z_loss"):
        made, x = module(6, 4, 2), normal(5, 6, dtype=torch.float32).requires_grad_()
        value = getattr(made(x), field)
        (value * normal(*value.shape, seed=3, dtype=torch.float32)).sum().backward()
        assert x.grad.abs().sum() > 1e-4 and made.gate.weight.grad.abs().sum() > 1e-4, field


# --------------------------------------------------------------------------------------------------------------- dispatch


@pytest.mark.parametrize(("n", "k", "number"), [(1, 1, 1), (7, 1, 3), (7, 2, 3), (5, 4, 4), (2, 2, 64), (40, 3, 5)])
def test_dispatch_token_by_token(n, k, number):
    x, weights, indices = job(n, k, number)
    experts = affine(number)
    torch.testing.assert_close(dispatch(x, weights, indices, experts), one_by_one(x, weights, indices, experts))


@FAST
@given(st.integers(0, 6), st.integers(1, 3), st.integers(1, 5), st.integers(0, 10**6))
def test_dispatch_for_any_indices(n, k, number, seed):
    """Experts twice in a row, idle ones, no tokens at all."""
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randint(number, (n, k), generator=generator)
    x, weights, experts = normal(n, 4, seed=seed), normal(n, k, seed=seed + 1), affine(number, seed=7)
    out = dispatch(x, weights, indices, experts)
    assert out.shape == x.shape
    if n:
        torch.testing.assert_close(out, one_by_one(x, weights, indices, experts))


@pytest.mark.parametrize("front", [(), (1,), (12,), (3, 4), (2, 1, 6)])
def test_dispatch_in_any_dimensions(front):
    count = torch.Size(front).numel()
    x, weights, indices = job(count, 2, 5)
    experts = affine(5)
    shaped = dispatch(*(z.reshape(*front, -1) for z in (x, weights, indices)), experts)
    assert shaped.shape == (*front, 4)
    torch.testing.assert_close(shaped.reshape(count, 4), dispatch(x, weights, indices, experts))


def counted(number):
    """Experts that double, and what each call got."""
    calls = []

    def expert(e):
        def compute(z):
            calls.append((e, tuple(z.shape), z.dtype))
            return 2 * z

        return compute

    return [expert(e) for e in range(number)], calls


@pytest.mark.parametrize("n", [10, 1000])
def test_each_expert_is_called_once_with_its_own_tokens(n):
    x, weights, indices = job(n, 2, 4)
    experts, calls = counted(6)
    dispatch(x.bfloat16(), weights, indices, experts)
    assert [(e, shape[0]) for e, shape, _ in calls] == [(e, int((indices == e).sum())) for e in range(4)]
    assert {(shape[1], dtype) for _, shape, dtype in calls} == {(4, torch.bfloat16)}


def test_the_work_is_that_of_k_experts_a_token():
    flops = []
    for number in (4, 64):
        with FlopCounterMode(display=False) as counter:
            dispatch(*job(50, 2, number), affine(number))
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1] == 2 * 50 * 2 * 4 * 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dispatch_keeps_the_dtype_and_its_arguments(dtype):
    x, weights, indices = job(9, 2, 4)
    given_ones = x.to(dtype), weights.float(), indices
    before = [z.clone() for z in given_ones]
    out = dispatch(*given_ones, affine(4, dtype=dtype))
    assert out.dtype == dtype and all(map(torch.equal, given_ones, before))
    exact = dispatch(*given_ones[:1], weights, indices, affine(4, dtype=dtype)).double()
    torch.testing.assert_close(out.double(), exact, atol=0.05, rtol=0.05)


def test_gradients_of_dispatch():
    x, weights, indices = job(5, 2, 3)
    matrices = normal(3, 4, 4, seed=5)

    def run(x, weights, matrices):
        return dispatch(x, weights, indices, [lambda z, e=e: (z @ matrices[e]).tanh() for e in range(3)])

    assert torch.autograd.gradcheck(run, [z.requires_grad_() for z in (x, weights, matrices)])


@pytest.mark.parametrize("index", [4, -1])
def test_an_expert_that_there_is_not_is_told(index):
    with pytest.raises(ValueError, match=f"an index is {index}, and there are 4 experts"):
        dispatch(normal(2, 4), torch.ones(2, 1), torch.tensor([[0], [index]]), affine(4))


# -------------------------------------------------------------------------------------------------------------- no tokens


@pytest.mark.parametrize("front", [(0,), (2, 0), (0, 3)])
def test_no_tokens_pass_through_with_losses_of_0(front):
    made, experts = module(4, 3, 2), affine(3, dtype=torch.float32)
    x = torch.zeros(*front, 4, requires_grad=True)
    out = made(x)
    assert out.weights.shape == out.indices.shape == (*front, 2) and out.logits.shape == (*front, 3)
    assert out.load_balancing_loss.item() == out.z_loss.item() == 0
    y = dispatch(x, out.weights, out.indices, experts)
    assert y.shape == x.shape
    (y.sum() + out.load_balancing_loss + out.z_loss).backward()
    assert x.grad.shape == x.shape and not made.gate.weight.grad.any()


@pytest.mark.parametrize("k", [0, 4])
def test_gates_of_more_experts_than_there_are_are_told(k):
    with pytest.raises(ValueError, match=f"top_k is {k}, and there are 3 experts"):
        top_k_gates(normal(2, 3), k)


# --------------------------------------------------------------------------------------------------------------- together


def test_the_layer_is_mixtrals():
    """The same weights in the layer of the Hugging Face library give the same output."""
    modeling = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    from transformers import MixtralConfig

    config = MixtralConfig(hidden_size=8, intermediate_size=12, num_local_experts=4, num_experts_per_tok=2)
    config._experts_implementation = "eager"
    theirs = modeling.MixtralSparseMoeBlock(config)
    for i, parameter in enumerate(theirs.parameters()):
        parameter.data = normal(*parameter.shape, seed=i, dtype=torch.float32) * 0.5
    ours = TopKRouter(8, 4, 2)
    ours.gate.weight.data = theirs.gate.weight.data.clone()
    up, down = theirs.experts.gate_up_proj, theirs.experts.down_proj

    def expert(e):
        def compute(z):
            gate, value = (z @ up[e].T).chunk(2, -1)
            return (nn.functional.silu(gate) * value) @ down[e].T

        return compute

    x = normal(2, 7, 8, dtype=torch.float32)
    routed = ours(x)
    out = dispatch(x, routed.weights, routed.indices, [expert(e) for e in range(4)])
    torch.testing.assert_close(out, theirs(x))


def test_balancing_spreads_tokens():
    """Gradient descent on the balancing loss alone ends at even loads, from a router that likes one expert."""
    made, x = module(16, 8, 2), normal(400, 16, dtype=torch.float32) + 1
    made.gate.weight.data[0] += 0.5
    adam = torch.optim.Adam(made.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        out = made(x)
        losses.append(out.load_balancing_loss.item())
        adam.zero_grad()
        out.load_balancing_loss.backward()
        adam.step()
    load = torch.bincount(made(x).indices.flatten(), minlength=8) / 800
    assert losses[0] > 1.5 and losses[-1] < 1.1
    assert load.max() < 0.25
