"""The mixture of experts of lecture 06: equal to a slow loop, to Mixtral, and to itself on two processes."""

import copy
import doctest
import math
import os
import pickle
import shutil
import subprocess
import sys
import textwrap

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from cs336lite import moe
from cs336lite.accounting import ModelShape, parameters
from cs336lite.layers import FeedForward
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.moe import (
    PRESETS,
    ROUTERS,
    BiasedRouter,
    ExpertChoiceRouter,
    Experts,
    GroupedLinear,
    HashRouter,
    MoE,
    PolicyRouter,
    RoutedTransformer,
    combine,
    expert_load,
    grouped_mm,
    log_probability,
    mixtures,
    padded_mm,
    reinforce,
    sort_by_expert,
    total_and_active,
    with_capacity,
)
from cs336lite.router import RouterOutput, TopKRouter
from cs336lite.training import Experiment, Tokens, TrainingConfig, describe, sweep, train

TINY = TransformerConfig(vocab_size=50, context_length=16, d_model=16, num_layers=2, num_heads=2, d_ff=24)
SHORT = TrainingConfig(steps=4, batch_size=4, lr=1e-2, eval_batches=2)


@pytest.fixture(autouse=True)
def same_numbers(one_thread):
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def data():
    return Tokens([(7 * i * i) % 50 for i in range(3_000)])


def made(moe_, config=TINY, seed=0):
    return RoutedTransformer(config.replace(feed_forward=moe_), torch.Generator().manual_seed(seed))


def tokens(batch=2, seq=10, seed=0):
    return torch.randint(50, (batch, seq), generator=torch.Generator().manual_seed(seed))


def slow(experts, x, weights, indices):
    """The definition: a loop over tokens and over their experts."""
    rows = []
    for t in range(len(x)):
        row = torch.zeros_like(x[t])
        for w, e in zip(weights[t], indices[t].tolist()):
            if e >= 0:
                h = F.silu(experts.gate.weight[e] @ x[t]) * (experts.up.weight[e] @ x[t])
                row = row + w * (experts.down.weight[e] @ h)
        rows.append(row)
    return torch.stack(rows)


def routed(indices, weights=None):
    weights = torch.rand(indices.shape) if weights is None else weights
    return RouterOutput(weights, indices, torch.zeros(len(indices), 1), torch.zeros(()), torch.zeros(()))


# Dispatch.

PLACES = {
    "two different": torch.tensor([[0, 3], [3, 1], [1, 0], [3, 2], [0, 1]]),
    "all to one": torch.full((5, 1), 2),
    "some empty": torch.tensor([[-1, 3], [3, -1], [-1, -1], [0, 3], [0, -1]]),
    "the same twice": torch.tensor([[1, 1], [0, 1], [1, 1], [2, 2], [3, 0]]),
    "none at all": torch.full((5, 2), -1),
}


@pytest.mark.parametrize("indices", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("sizes", [(16, 24, torch.float32), (6, 10, torch.float32), (16, 24, torch.float64)], ids=str)
def test_values_and_gradients_are_those_of_the_slow_loop(indices, sizes):
    d, d_ff, dtype = sizes
    experts = Experts(4, d, d_ff).to(dtype)
    x, weights = torch.randn(5, d, dtype=dtype, requires_grad=True), torch.rand(indices.shape, requires_grad=True)
    direction, inputs = torch.randn(5, d, dtype=dtype), [x, weights, *experts.parameters()]
    found, wanted = experts(x, weights, indices), slow(experts, x, weights, indices)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    if (indices < 0).all():
        assert not found.any()
        return
    gradients = [torch.autograd.grad(y, inputs, direction) for y in (found, wanted)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("counts", [[3, 0, 5], [8, 0, 0], [0, 0, 8], [0, 0, 0]], ids=str)
def test_grouped_and_padded_products_are_those_of_each_expert(counts):
    x, weight = torch.randn(sum(counts), 8), torch.randn(3, 4, 8)
    wanted = torch.cat([part @ w.T for part, w in zip(x.split(counts), weight)])
    for product in (grouped_mm, padded_mm):
        torch.testing.assert_close(product(x, weight, torch.tensor(counts)), wanted)


def test_aligned_float32_goes_to_the_grouped_product_of_torch(monkeypatch):
    called = []
    monkeypatch.setattr(moe, "padded_mm", lambda *a: called.append(a) or padded_mm(*a))
    grouped_mm(torch.randn(4, 8), torch.randn(2, 4, 8), torch.tensor([1, 3]))
    assert not called
    grouped_mm(torch.randn(4, 7), torch.randn(2, 4, 7), torch.tensor([1, 3]))
    assert called


def test_the_number_of_torch_calls_does_not_grow_with_tokens_nor_with_experts():
    def calls(n, num_experts):
        experts, router = Experts(num_experts, 16, 24), TopKRouter(16, num_experts, 2)
        with torch.profiler.profile() as seen:
            out = router(x := torch.randn(n, 16))
            experts(x, out.weights, out.indices)
        return sum(event.name in ("aten::_grouped_mm", "aten::index_select", "aten::bmm") for event in seen.events())

    assert calls(8, 4) == calls(300, 4) == calls(300, 32)


def test_autocast_computes_the_experts_in_bfloat16():
    layer = GroupedLinear(2, 16, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(5, 16), torch.tensor([2, 3])).dtype == torch.bfloat16
        model = made(MoE(d_ff=16))
        model.loss(tokens(), tokens(seed=1)).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_gates_stay_float32_and_outputs_have_the_dtype_of_x():
    layer = MoE(d_ff=16)(TINY).bfloat16()
    x = torch.randn(3, 4, 16).bfloat16()
    assert layer.router(x).weights.dtype == torch.float32 and layer(x).dtype == torch.bfloat16
    layer.capacity = 0.5
    assert layer(x).dtype == torch.bfloat16


# Capacity.


def test_beyond_capacity_the_later_tokens_are_dropped():
    indices = torch.tensor([[0, 1], [0, 2], [0, 1], [0, 3]])
    kept = with_capacity(routed(indices), num_experts=4, factor=1.0).indices
    assert kept.tolist() == [[0, 1], [0, 2], [-1, 1], [-1, 3]]
    assert indices.tolist()[3] == [0, 3]  # the router's answer is left alone
    assert torch.equal(with_capacity(routed(indices), 4, 2.0).indices, indices)


def test_what_is_dropped_passes_by_the_layer_and_its_share_is_told():
    layer = MoE(d_ff=16, num_experts=4, top_k=1, capacity=0.5)(TINY)
    y = layer(torch.randn(40, 16))
    assert (y == 0).all(dim=-1).sum() == 40 - round(40 * layer.load.sum().item()) >= 20
    assert layer.load.max() <= 5 / 40 + 1e-6


# Routers.


@pytest.mark.parametrize("name", ROUTERS)
def test_every_router_trains_in_the_slot_and_every_parameter_gets_a_gradient(name, data):
    model = made(MoE(d_ff=16, num_experts=4, router=name))
    model.loss(tokens(4, 16), tokens(4, 16, seed=1)).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [n for n in without if "experts" not in n], without
    run = train(model, SHORT, data, validation=data, observe=expert_load)
    assert math.isfinite(run.final)
    share = sum(run.values(f"load.1.{e}") for e in range(4))
    assert share == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", ROUTERS)
def test_a_model_is_copied_and_pickled_after_a_step(name):
    model = made(MoE(d_ff=16, router=name))
    model.loss(tokens(), tokens(seed=1))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other.eval()(tokens()), model.eval()(tokens()))


def test_any_module_may_route_and_a_layer_of_one_expert_is_a_dense_network(data):
    class Everything(torch.nn.Module):
        def forward(self, x):
            ones = torch.ones(len(x), 1)
            return RouterOutput(ones, torch.zeros(len(x), 1, dtype=torch.int64), ones, ones.sum() * 0, ones.sum() * 0)

    layer = MoE(num_experts=1, top_k=1, d_ff=24, router=lambda d, e, k: Everything())(TINY)
    dense, x = FeedForward(16, 24), torch.randn(2, 3, 16)
    dense.load_state_dict({f"{n}.weight": getattr(layer.experts, n).weight[0] for n in ("gate", "up", "down")})
    torch.testing.assert_close(layer(x), dense(x))


def test_shared_experts_see_every_token_with_weight_one():
    layer, x = MoE(d_ff=8, num_experts=4, shared=2)(TINY), torch.randn(2, 3, 16)
    together = layer(x)
    shared, layer.shared = layer.shared, None
    torch.testing.assert_close(together, layer(x) + shared(x))
    assert shared.up.weight.shape == (16, 16)


def test_expert_choice_gives_every_expert_the_same_and_sees_the_future():
    router, x = ExpertChoiceRouter(16, 4, 2), torch.randn(12, 16)
    out = router(x)
    assert [int((out.indices == e).sum()) for e in range(4)] == [6] * 4
    chosen = torch.stack([row.topk(6).indices.sort().values for row in out.logits.softmax(-1).T])
    assert all(chosen[e].tolist() == (out.indices[:, e] == e).nonzero().flatten().tolist() for e in range(4))
    changed = x.clone()
    changed[-1] = 5 * router.scores.gate.weight[0]  # the last token now wants expert 0 most
    assert not torch.equal(router(changed).indices[:-1], out.indices[:-1])


@pytest.mark.parametrize("name", sorted(set(ROUTERS) - {"expert_choice"}))
def test_the_other_routers_do_not_see_the_future_nor_with_capacity(name):
    for capacity in (None, 0.7):
        model, x = made(MoE(d_ff=16, router=name, capacity=capacity)).eval(), tokens(1, 12)
        changed = x.clone()
        changed[:, 8:] = (changed[:, 8:] + 1) % 50
        torch.testing.assert_close(model(x)[:, :8], model(changed)[:, :8])


def test_the_bias_moves_selection_towards_even_loads_and_not_the_gates():
    router = BiasedRouter(16, 4, 1, rate=0.01)
    x = torch.randn(400, 16) + 1
    first = torch.bincount(router(x).indices.flatten(), minlength=4)
    assert not router.bias.any()
    router.after_step()
    assert router.bias.abs().tolist() == pytest.approx([0.01] * 4)
    assert torch.equal(router.bias > 0, first < 100)
    for _ in range(300):
        router(x)
        router.after_step()
    out, bias = router.eval()(x), router.bias.clone()
    after = torch.bincount(out.indices.flatten(), minlength=4)
    assert after.max() < 130 < first.max() and torch.equal(router.bias, bias)  # in evaluation it stays
    torch.testing.assert_close(out.weights, torch.ones(400, 1))
    two = BiasedRouter(16, 4, 2).eval()
    two.bias[:] = torch.tensor([9.0, 9.0, 0.0, 0.0])
    out = two(x)
    assert set(out.indices.flatten().tolist()) == {0, 1}
    affinity = out.logits.sigmoid().gather(-1, out.indices)
    torch.testing.assert_close(out.weights, affinity / affinity.sum(-1, keepdim=True))


def biases(model):
    return torch.stack([layer.router.bias for layer in mixtures(model)])


def test_the_bias_moves_once_a_step_by_all_that_passed_in_training():
    whole, parts, x = *(BiasedRouter(16, 4, 1, rate=0.01) for _ in range(2)), torch.randn(40, 16) + 1
    parts.load_state_dict(whole.state_dict())
    whole(x)
    for part in x.split([1, 20, 0, 19]):
        parts(part)
        parts.eval()(torch.randn(100, 16))  # counts for nothing
        parts.train()
    whole.after_step(), parts.after_step()
    assert torch.equal(whole.bias, parts.bias) and whole.bias.any()
    parts.after_step()  # nothing has passed since
    assert torch.equal(whole.bias, parts.bias)
    assert set(whole.state_dict()) == {"bias", "scores.gate.weight"}


@pytest.mark.parametrize("top_k", [1, 2])
def test_a_batch_in_parts_trains_the_bias_router_as_the_whole_batch(top_k, data):
    config, runs = TINY.replace(feed_forward=MoE(num_experts=4, top_k=top_k, router="bias", z=0.01)), []
    for parts in (1, 2, 4):
        training = TrainingConfig(steps=5, batch_size=4, lr=1e-2, accumulation=parts)
        runs.append(train(config, training, data, device="cpu"))
    assert biases(runs[0].model).any()
    for run in runs[1:]:
        torch.testing.assert_close(run.values("loss"), runs[0].values("loss"), atol=1e-5, rtol=0)
        torch.testing.assert_close(biases(run.model), biases(runs[0].model))


def checkpointed(model, reentrant):
    for layer in mixtures(model):
        plain = layer.forward
        layer.forward = lambda x, padding=None, f=plain: checkpoint(f, x, padding, use_reentrant=reentrant)
    return model


def after_a_batch(model, at_once):
    """Losses of two unequal parts of a batch, all gradients, what was counted, and all buffers after a step."""
    torch.manual_seed(0)
    losses = []
    for part in tokens(4).split([3, 1]):
        losses.append(model.loss(part, part.roll(1)) * len(part) / 4)
        if not at_once:
            losses[-1].backward()
    if at_once:
        sum(losses).backward()
    routers = [layer.router for layer in mixtures(model) if isinstance(layer.router, BiasedRouter)]
    counts = [router.counts for router in routers]
    for router in routers:
        router.after_step()
    return [loss.detach() for loss in losses], [p.grad for p in model.parameters()], counts, list(model.buffers())


@pytest.mark.parametrize(("reentrant", "at_once"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("name", ["topk", "bias", "hash", "policy"])
def test_activation_checkpointing_changes_nothing(name, reentrant, at_once):
    if name == "hash" and at_once:
        pytest.skip("its table is asked for the last ids")
    given = MoE(d_ff=16, num_experts=4, router=name, balance=0.5, z=0.5, policy_coefficient=0.5, capacity=1.5)
    wanted = after_a_batch(made(given), at_once)
    torch.testing.assert_close(after_a_batch(checkpointed(made(given), reentrant), at_once), wanted)


def test_passes_that_are_mixed_in_reentrant_checkpointing_are_told():
    model = checkpointed(made(MoE(d_ff=16, num_experts=4)), reentrant=True)
    with pytest.raises(RuntimeError, match="auxiliary_loss is of another pass: checkpoint with use_reentrant=False"):
        after_a_batch(model, at_once=True)


def test_hash_routes_a_token_to_the_same_experts_everywhere_and_asks_for_ids():
    model = made(MoE(d_ff=16, router="hash"))
    model(torch.tensor([[3, 4, 3, 3]]))
    router = mixtures(model)[1].router
    indices = router(torch.zeros(4, 16)).indices
    assert torch.equal(indices[0], indices[2]) and torch.equal(indices[0], indices[3])
    assert (router.table[:, 0] != router.table[:, 1]).all()
    with pytest.raises(ValueError, match="RoutedTransformer"):
        router(torch.zeros(5, 16))
    plain = Transformer(TINY.replace(feed_forward=MoE(d_ff=16, router="hash")))
    with pytest.raises(ValueError, match="token ids"):
        plain(tokens())


def test_probabilities_of_draws_without_replacement_sum_to_one():
    logits = torch.randn(1, 4)
    pairs = torch.tensor([[[i, j]] for i in range(4) for j in range(4) if i != j])
    total = sum(log_probability(logits, pair).exp() for pair in pairs)
    torch.testing.assert_close(total, torch.ones(1))


def test_the_policy_draws_by_its_probabilities_and_is_greedy_in_evaluation():
    router = PolicyRouter(4, 4, 1)
    router.scores.gate.weight.data = torch.eye(4) * torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    x = torch.ones(20_000, 4)
    drawn = torch.bincount(router(x).indices.flatten(), minlength=4) / 20_000
    assert drawn.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.02)
    assert (router.eval()(x).indices == 3).all()


def test_reinforce_is_an_unbiased_direction():
    logits = torch.zeros(100_000, 3).requires_grad_()
    indices = torch.randint(3, (100_000, 1))
    rewards = torch.tensor([0.0, 0.0, 1.0])[indices.flatten()]
    reinforce(log_probability(logits, indices), rewards).backward()
    step = -logits.grad.sum(0)
    mean = torch.tensor([-1 / 9, -1 / 9, 2 / 9]) / rewards.std()  # p_j (r_j - sum p r), by hand
    torch.testing.assert_close(step, mean, atol=0.02, rtol=0)


def test_one_reward_or_none_teaches_nothing():
    for n in (0, 1):
        log_p = torch.randn(n, requires_grad=True)
        loss = reinforce(log_p, torch.randn(n))
        loss.backward()
        assert loss.item() == 0 and not log_p.grad.any()


def test_the_loss_of_a_policy_is_that_of_the_targets_that_count():
    model = made(MoE(d_ff=16, router="policy", balance=0.0, policy_coefficient=0.0)).eval()
    x, targets = tokens(), tokens(seed=1)
    half = torch.where(torch.arange(10) < 5, -100, targets)
    wanted = F.cross_entropy(model(x)[:, 5:].flatten(0, 1), targets[:, 5:].flatten())
    torch.testing.assert_close(model.loss(x, half), wanted)
    for layer in mixtures(model):
        layer.router.coefficient = 1.0
    rewards = -F.cross_entropy(model(x)[:, 5:].flatten(0, 1), targets[:, 5:].flatten(), reduction="none")
    for layer in mixtures(model):
        wanted = wanted + reinforce(layer.router.log_probability.view(2, 10)[:, 5:].flatten(), rewards)
    torch.testing.assert_close(model.loss(x, half), wanted)


def test_the_loss_slot_serves_a_policy_too():
    config = TINY.replace(loss=lambda hidden, weight, targets: hidden.sum() * 0 + 7)
    model = made(MoE(d_ff=16, router="policy", balance=0.0, policy_coefficient=0.0), config)
    assert model.loss(tokens(), tokens(seed=1)).item() == 7


def test_the_policy_is_taught_by_rewards_alone():
    model = made(MoE(d_ff=16, router="policy", balance=0.0))
    gate = mixtures(model)[0].router.scores.gate.weight
    model.loss(tokens(), tokens(seed=1)).backward()
    assert gate.grad.any()
    for layer in mixtures(model):
        layer.router.coefficient = 0.0
    gate.grad = None
    model.loss(tokens(), tokens(seed=1)).backward()
    assert not gate.grad.any()


# Padding, and no tokens at all.


@pytest.mark.parametrize("changes", [{}, {"capacity": 0.75}, {"shared": 1}], ids=str)
@pytest.mark.parametrize("name", ROUTERS)
def test_padding_changes_nothing(name, changes):
    if name == "expert_choice" and "capacity" in changes:
        pytest.skip("not for expert choice")
    model = made(MoE(d_ff=16, num_experts=4, router=name, balance=1.0, z=0.1, bias_rate=0.1, **changes))
    model.train(name != "policy")  # which draws in training
    text, targets, real = tokens(1, 8), tokens(1, 8, seed=1), torch.arange(14)[None] >= 6
    alone, loads = model.loss(text, targets), [layer.load for layer in mixtures(model)]
    padded = [F.pad(rows, (6, 0), value=value) for rows, value in ((text, 0), (targets, -100))]
    where = (real.cumsum(1) - 1).clamp(min=0)
    torch.testing.assert_close(model.loss(*padded, padding=real, token_positions=where), alone)
    torch.testing.assert_close([layer.load for layer in mixtures(model)], loads)
    if name == "bias":
        assert mixtures(model)[0].router.counts.sum() == 2 * 2 * 8  # two passes, two experts for a token
    before = {"cache": model.new_cache(16), "token_positions": where[:, :10], "padding": real[:, :10]}
    if name != "expert_choice" and not changes:
        model.eval()
        whole = model(padded[0], padding=real, token_positions=where)[:, 10:]
        model(padded[0][:, :10], **before)
        after = before | {"token_positions": where[:, 10:], "padding": real}
        torch.testing.assert_close(model(padded[0][:, 10:], **after), whole)


def test_the_answer_to_padding_is_zero_and_padding_is_boolean():
    layer, x = MoE(d_ff=16, shared=1)(TINY), torch.randn(2, 3, 16)
    real = torch.tensor([[False, True, True], [True, False, True]])
    y = layer(x, padding=real)
    assert not y[~real].any()
    torch.testing.assert_close(y[real], layer(x)[real])
    for wrong in (real.long(), real[:, :2]):
        with pytest.raises(ValueError, match=r"give bool \[2, 3\]"):
            layer(x, padding=wrong)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x, padding=real).sum().backward()


def test_a_hash_knows_the_tokens_of_its_stack():
    config = TINY.replace(num_encoder_layers=1)
    model = made(MoE(d_ff=16, num_experts=4, router="hash"), config)
    model(tokens(), source=tokens(2, 7, seed=1), source_padding=torch.arange(7).expand(2, 7) < torch.tensor([[7], [5]]))
    assert [len(layer.router.tokens) for layer in mixtures(model)] == [12, 20, 20]


@pytest.mark.parametrize("changes", [{}, {"capacity": 1.0}, {"shared": 1, "z": 0.1}], ids=str)
@pytest.mark.parametrize("name", ROUTERS)
def test_no_tokens_pass_through_with_a_loss_of_0(name, changes):
    if name == "expert_choice" and "capacity" in changes:
        pytest.skip("not for expert choice")
    layer = MoE(d_ff=16, num_experts=4, router=name, **changes)(TINY)
    if name == "hash":
        layer.router.tokens = torch.zeros(0, dtype=torch.int64)
    for shape, padding in (
        ((0, 3, 16), None),
        ((2, 0, 16), None),
        ((0, 16), None),
        ((2, 3, 16), torch.zeros(2, 3) > 0),
    ):
        y = layer(torch.randn(shape), padding=padding)
        assert y.shape == shape and not y.any() and not layer.load.any() and layer.auxiliary_loss.item() == 0
        (y.sum() + layer.auxiliary_loss).backward()
    assert not any(p.grad.any() for p in layer.experts.parameters())


# Compiled: in a process of its own, since torch.compile cannot follow the checks of annotations.

COMPILED = """
    import sys, torch
    from cs336lite.model import TransformerConfig
    from cs336lite.moe import MoE, RoutedTransformer, grouped_mm, mixtures

    torch.set_num_threads(1)
    name, backend = sys.argv[1:]
    tiny = TransformerConfig(vocab_size=50, context_length=16, d_model=16, num_layers=1, num_heads=2, d_ff=24)
    given = MoE(num_experts=4, router=name, shared=1, balance=0.5)
    model = RoutedTransformer(tiny.replace(feed_forward=given), torch.Generator().manual_seed(0)).train(name != "policy")
    x = torch.randint(50, (2, 10), generator=torch.Generator().manual_seed(0))
    found = []
    for loss in (model.loss, torch.compile(model.loss, backend=backend)):
        model.zero_grad()
        value = loss(x, x.roll(1))
        value.backward()
        found.append([value.detach(), *(p.grad.clone() for p in model.parameters())])
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)
    assert name != "bias" or mixtures(model)[0].router.counts.sum() == 2 * 2 * 20
    for dtype in (torch.float32, torch.bfloat16):
        rows, weight, counts = torch.randn(6, 16, dtype=dtype), torch.randn(3, 8, 16, dtype=dtype), torch.tensor([2, 0, 4])
        compiled = torch.compile(grouped_mm, backend=backend)(rows, weight, counts)
        torch.testing.assert_close(compiled, grouped_mm(rows, weight, counts))
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("bias", "aot_eager"),
        *(pytest.param(name, "aot_eager", marks=pytest.mark.slow) for name in ("topk", "expert_choice", "hash", "policy")),
        pytest.param("topk", "inductor", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_compiled_model_gives_the_same(name, backend, tmp_path):
    if backend == "inductor" and not shutil.which("g++"):
        pytest.skip("inductor needs a compiler")
    (tmp_path / "compiled.py").write_text(textwrap.dedent(COMPILED))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(tmp_path / "compiled.py"), name, backend]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Models, presets, configuration.


def test_the_auxiliary_losses_are_added_with_their_coefficients():
    parts = []
    for balance, z in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.25)):
        model = made(MoE(d_ff=16, balance=balance, z=z))
        parts.append(model.loss(tokens(), tokens(seed=1)).item())
        outputs = []
        for layer in mixtures(model):
            layer.router.register_forward_hook(lambda m, a, out, seen=outputs: seen.append(out))
        model(tokens())
    assert parts[1] - parts[0] == pytest.approx(0.5 * sum(o.load_balancing_loss.item() for o in outputs), abs=1e-4)
    assert parts[2] - parts[0] == pytest.approx(0.25 * sum(o.z_loss.item() for o in outputs), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "total", "active"), [("mixtral-8x7b", 46.7e9, 12.9e9), ("deepseek-moe-16b", 16.4e9, 2.8e9)]
)
def test_presets_have_the_published_counts(name, total, active):
    with torch.device("meta"):
        model = RoutedTransformer(PRESETS[name])
    found = total_and_active(model)
    assert found == (pytest.approx(total, rel=0.003), pytest.approx(active, rel=0.011))
    assert len(mixtures(model)) == PRESETS[name].num_layers - PRESETS[name].feed_forward.dense_layers


def test_counts_agree_with_the_accounting_of_lecture_02():
    config = TINY.replace(feed_forward=MoE(num_experts=8, top_k=2))
    shape = ModelShape(**{**vars(config.shape), "num_experts": 8, "top_k": 2})
    total, active = total_and_active(made(config.feed_forward))
    assert total == parameters(shape)
    assert total - active == 2 * 6 * 3 * 16 * 24


def test_the_first_blocks_may_be_dense_and_weights_have_the_deviation_of_the_model():
    model = made(MoE(d_ff=64, num_experts=16, dense_layers=1), TINY.replace(d_model=64))
    assert isinstance(model.decoder.blocks[0].feed_forward, FeedForward) and len(mixtures(model)) == 1
    experts = mixtures(model)[0].experts
    assert experts.gate.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert experts.down.weight.std().item() == pytest.approx(0.01, rel=0.1)  # / sqrt(2 layers)
    assert model.decoder.blocks[0].feed_forward.down.weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_a_configuration_is_an_experiment(data):
    experiments = [
        Experiment(TINY.replace(feed_forward=MoE(d_ff=8, balance=b)), SHORT, observe=expert_load) for b in (0, 1)
    ]
    runs = sweep(experiments, data, validation=data, progress=False)
    assert [r.values("load.0.0").shape for r in runs] == [(4,)] * 2
    assert describe(experiments[0].model) != describe(experiments[1].model)
    assert pickle.loads(pickle.dumps(experiments[0].model)) == experiments[0].model


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"router": "topp"}, "topk, bias, expert_choice, hash, policy"),
        ({"top_k": 9}, "top_k is 9, and there are 8 experts"),
        ({"top_k": 0}, "top_k is 0"),
        ({"capacity": 0.0}, "capacity is 0.0"),
        ({"capacity": 1.0, "router": "expert_choice"}, "expert choice"),
        ({"capacity": math.nan}, "capacity is nan"),
        ({"shared": -1}, "shared is -1"),
        ({"num_experts": 0}, "num_experts is 0: give a whole number, at least 1"),
        ({"d_ff": 0}, "d_ff is 0"),
        ({"dense_layers": -1}, "dense_layers is -1"),
        ({"balance": -0.1}, "balance is -0.1: give a number, at least 0"),
        ({"z": math.nan}, "z is nan"),
        ({"bias_rate": math.inf}, "bias_rate is inf"),
        ({"policy_coefficient": -1}, "policy_coefficient is -1"),
    ],
)
def test_what_cannot_be_is_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        MoE(**changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"router": "policy"}, "a policy is nothing that a plain Transformer knows: make a RoutedTransformer"),
        ({"router": PolicyRouter}, "a policy is nothing"),
        ({"dense_layers": 1}, "dense_layers=1 is nothing"),
    ],
)
def test_what_a_plain_transformer_would_not_use_is_refused(changes, problem):
    config = TINY.replace(feed_forward=MoE(d_ff=16, **changes))
    with pytest.raises(ValueError, match=problem):
        Transformer(config)
    model = RoutedTransformer(config)
    assert model.config == config
    assert MoE(d_ff=16, **changes)(TINY).experts.num_experts == 8  # a layer of one's own, without a model


def test_what_no_model_can_use_is_refused():
    with pytest.raises(ValueError, match="dense_layers is 3, and the model has 2 blocks"):
        made(MoE(dense_layers=3))
    with pytest.raises(ValueError, match="an encoder lacks"):
        made(MoE(router="policy"), TINY.replace(num_encoder_layers=1))
    with pytest.raises(ValueError, match="not for expert choice"):
        MoE(router=ExpertChoiceRouter, capacity=1.0)(TINY)
    with pytest.raises(ValueError, match="capacity is 0: give a number above 0"):
        with_capacity(routed(torch.zeros(2, 1, dtype=torch.int64)), 2, 0)
    with pytest.raises(ValueError, match="top_k is 5, and there are 4 experts"):
        HashRouter(50, 4, 5)
    for router in (BiasedRouter, ExpertChoiceRouter, PolicyRouter):
        with pytest.raises(ValueError, match="top_k is 5"):
            router(16, 4, 5)


def test_a_tiny_mixtral_gives_the_logits_of_hugging_face():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=32,
            rms_norm_eps=1e-5, tie_word_embeddings=False, initializer_range=0.2,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        )
    ).eval()  # fmt: skip
    ours = made(
        MoE(num_experts=4),
        PRESETS["mixtral-8x7b"].replace(
            vocab_size=50, context_length=32, d_model=32, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=48
        ),
    ).eval()
    state = {}
    for name, value in theirs.state_dict().items():
        name = name.removeprefix("model.")
        for old, new in (
            ("layers.", "decoder.blocks."), ("self_attn", "attention"), ("input_layernorm", "norms.attention"),
            ("post_attention_layernorm", "norms.feed_forward"), ("mlp.gate.weight", "feed_forward.router.gate.weight"),
            ("mlp.experts.down_proj", "feed_forward.experts.down.weight"), ("embed_tokens", "embedding"), ("lm_head", "output"),
        ):  # fmt: skip
            name = name.replace(old, new)
        if name.endswith("gate_up_proj"):
            for part, half in zip(("gate", "up"), value.chunk(2, dim=1)):
                state[name.replace("mlp.experts.gate_up_proj", f"feed_forward.experts.{part}.weight")] = half
        else:
            state["decoder.norm.weight" if name == "norm.weight" else name] = value
    ours.load_state_dict(state)
    with torch.no_grad():
        found, wanted = ours(tokens()), theirs(tokens()).logits
    assert wanted.std() > 0.3
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


# Expert parallelism.

TWO = """
    import sys, torch, torch.distributed as dist
    from cs336lite.moe import BiasedRouter, MoE, ExpertParallel
    from cs336lite.model import TransformerConfig

    torch.set_num_threads(1)
    rank, folder = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    tiny = TransformerConfig(vocab_size=50, context_length=16, d_model=16, num_layers=2, num_heads=2, d_ff=24)
    torch.manual_seed(0)
    layer, x = MoE(num_experts=6)(tiny), torch.randn(7, 16)
    direction = torch.randn(7, 16)
    mine = slice(0, 4) if rank == 0 else slice(4, 7)  # not even as many tokens
    layer.experts = ExpertParallel(layer.experts)
    part = x[mine].clone().requires_grad_()
    y = layer(part)
    y.backward(direction[mine])
    local = layer.experts.local
    grads = {name: p.grad for name, p in local.named_parameters()}
    router = BiasedRouter(16, 4, 1, rate=0.5)
    router.scores.gate.weight.data = direction[:4]
    router(part)
    router.after_step(lambda counts: dist.all_reduce(counts) or counts)
    saved = {"y": y.detach(), "x": part.grad, "router": layer.router.gate.weight.grad, "bias": router.bias, **grads}
    torch.save(saved, f"{folder}/{rank}.pt")
    try:
        ExpertParallel(MoE(num_experts=3)(tiny).experts)
    except ValueError as problem:
        assert "3 experts do not divide among 2 processes" in str(problem)
    else:
        raise SystemExit("nothing was raised")
    dist.destroy_process_group()
"""


@pytest.mark.timeout(300)
def test_two_processes_with_half_of_the_experts_each_equal_one(tmp_path):
    (tmp_path / "two.py").write_text(textwrap.dedent(TWO))
    command = [sys.executable, str(tmp_path / "two.py")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "GLOO_SOCKET_IFNAME": "lo"}
    if sys.platform != "linux":
        environment.pop("GLOO_SOCKET_IFNAME")
    running = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=240)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))

    torch.manual_seed(0)
    layer, x = MoE(num_experts=6)(TINY), torch.randn(7, 16)
    x.requires_grad_()
    y = layer(x)
    y.backward(direction := torch.randn(7, 16))
    router = BiasedRouter(16, 4, 1, rate=0.5)
    router.scores.gate.weight.data = direction[:4]
    router(x)
    router.after_step()
    assert torch.equal(first["bias"], router.bias) and torch.equal(second["bias"], router.bias)
    for name, whole in {"y": y, "x": x.grad, **{n: p.grad for n, p in layer.experts.named_parameters()}}.items():
        torch.testing.assert_close(torch.cat((first[name], second[name])), whole)
    torch.testing.assert_close(first["router"] + second["router"], layer.router.gate.weight.grad)
    assert first["gate.weight"].shape == (3, 24, 16)  # whole matrices, half of the experts


def test_the_examples_in_the_docstrings_run():
    found = doctest.testmod(moe)
    assert found.attempted >= 3 and found.failed == 0


def test_combine_is_a_scatter_when_places_are_empty():
    indices = torch.tensor([[0, -1], [1, 0]])
    order, counts = sort_by_expert(indices, 2)
    assert counts.tolist() == [2, 1]
    y = combine(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[0.5, 9.0], [1.0, 10.0]]), order, torch.zeros(2, 1))
    assert y.tolist() == [[0.5], [1.0 * 4 + 10 * 2]]


def test_a_hash_table_is_part_of_the_state_and_drawn_from_its_seed():
    one, same, other = HashRouter(50, 8, 2), HashRouter(50, 8, 2), HashRouter(50, 8, 2, seed=1)
    assert torch.equal(one.table, same.table) and not torch.equal(one.table, other.table)
    assert "table" in one.state_dict()
