"""Lion: step by step against lion-pytorch, by its definition, and as a training loop uses an optimizer."""

import copy
import doctest
import inspect
import io

import pytest
import torch
from helpers import spoken
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cs336lite import lion
from cs336lite.lion import (
    PIECE,
    Lion,
    lion_direction,
    lion_update_,
    lion_update_all_,
    lion_update_foreach_,
    lion_update_in_pieces_,
)

FAST = settings(derandomize=True, deadline=None, max_examples=60)
BETAS = st.sampled_from([(0.9, 0.99), (0.95, 0.98), (0.0, 0.5), (0.5, 0.0), (0.3, 0.9)])
SHAPES = [(40,), (5, 3), (), (1, 7, 2), (0,)]


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    return [nn.Parameter(numbers(*shape, seed=i, dtype=dtype)) for i, shape in enumerate(SHAPES)]


def give(params: list[nn.Parameter], step: int) -> None:
    """Gradients that depend on the step alone, of sizes that differ."""
    for i, p in enumerate(params):
        p.grad = numbers(*p.shape, seed=1_000 * step + i, dtype=p.dtype) * 10 ** (step % 3 - 1)


def definition(p, grads, lr, betas, weight_decay):
    """Algorithm 2 in plain Python, one number at a time: what p becomes, and the momentum."""
    p, m = p.item(), 0.0
    for g in grads:
        c = betas[0] * m + (1 - betas[0]) * g
        p = p * (1 - lr * weight_decay) - lr * ((c > 0) - (c < 0))
        m = betas[1] * m + (1 - betas[1]) * g
    return p, m


# ---------------------------------------------------------------------------------------------------------------------
# Against lion-pytorch and the definition


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.95, 0.98), (0.3, 0.9)])
def test_equals_lion_pytorch_step_by_step(betas, weight_decay, dtype):
    peers = pytest.importorskip("lion_pytorch")
    ours, theirs = parameters(dtype), parameters(dtype)
    options = {"lr": 0.01, "betas": betas, "weight_decay": weight_decay}
    us, them = Lion(ours, **options), peers.Lion(theirs, **options)
    for step in range(50):
        give(ours, step)
        give(theirs, step)
        us.step()
        them.step()
        for a, b in zip(ours, theirs):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)  # a sign that differs would show as 0.02
            torch.testing.assert_close(us.state[a]["exp_avg"], them.state[b]["exp_avg"], rtol=1e-5, atol=1e-6)


def test_checkpoints_move_to_lion_pytorch_and_back():
    peers = pytest.importorskip("lion_pytorch")
    ours, theirs = parameters(), parameters()
    us, them = Lion(ours, lr=0.01), peers.Lion(theirs, lr=0.01)
    for step in range(3):
        give(ours, step)
        us.step()
    for a, b in zip(theirs, ours):
        a.data.copy_(b)
    them.load_state_dict(copy.deepcopy(us.state_dict()))
    for step in range(3, 9):
        give(ours, step)
        give(theirs, step)
        us.step()
        them.step()
    fresh = Lion(theirs, lr=1.0)
    fresh.load_state_dict(them.state_dict())
    assert fresh.param_groups[0]["lr"] == 0.01
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(us.state[a]["exp_avg"], fresh.state[b]["exp_avg"])


@FAST
@given(
    start=st.integers(-8, 8),
    grads=st.lists(st.sampled_from([-10.0, -1.0, -0.125, 0.0, 0.125, 1.0, 10.0]), min_size=1, max_size=12),
    betas=BETAS,
    weight_decay=st.sampled_from([0.0, 0.5]),
)
def test_the_algorithm_is_the_definition(start, grads, betas, weight_decay):
    p, momentum = torch.tensor([float(start)], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    # A direction of 0 that rounding makes nearly 0 would be a coin toss here.
    m = 0.0
    for g in grads:
        c = betas[0] * m + (1 - betas[0]) * g
        if c != 0 and abs(c) < 1e-9:
            return
        m = betas[1] * m + (1 - betas[1]) * g
    expected = definition(p, grads, 0.25, betas, weight_decay)
    for g in grads:
        lion_update_(p, torch.tensor([g], dtype=torch.float64), momentum, 0.25, betas, weight_decay)
    assert (p.item(), momentum.item()) == pytest.approx(expected, abs=1e-9)


def test_signs_of_tiny_huge_and_no_gradients():
    grad = torch.tensor([0.0, -0.0, 1e-38, -1e38, 0.0])
    momentum = torch.tensor([0.0, 0.0, 0.0, 0.0, 1e-30])
    assert lion_direction(grad, momentum, 0.9).tolist() == [0, 0, 1, -1, 1]


def test_bfloat16_momentum_is_rounded_once():
    grad, momentum = numbers(1_000, dtype=torch.bfloat16), numbers(1_000, seed=1, dtype=torch.bfloat16)
    exact = (0.99 * momentum.double() + 0.01 * grad.double()).bfloat16()
    lion_update_(numbers(1_000, dtype=torch.bfloat16), grad, momentum, 0.1, (0.9, 0.99), 0.0)
    assert float((momentum != exact).float().mean()) < 0.01  # as float32 rounds on the way


# ---------------------------------------------------------------------------------------------------------------------
# In pieces, in lists


def triple(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [numbers(*shape, seed=seed + i, dtype=dtype) for i in range(3)]


OPTIONS = (0.25, (0.9, 0.99), 0.1)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 7])
def test_pieces_make_no_difference(size):
    whole = triple(size)
    pieces = [t.clone() for t in whole]
    lion_update_(*whole, *OPTIONS)
    lion_update_in_pieces_(*pieces, *OPTIONS)
    assert all(torch.equal(a, b) for a, b in zip(whole, pieces))


@pytest.mark.parametrize("turned", [(0,), (1,), (2,), (0, 1, 2)])
def test_tensors_that_lie_otherwise_in_memory(turned, monkeypatch):
    monkeypatch.setattr(lion, "PIECE", 16)
    whole = triple(8, 6)
    others = [t.clone().T.contiguous().T if i in turned else t.clone() for i, t in enumerate(whole)]
    lion_update_(*whole, *OPTIONS)
    lion_update_in_pieces_(*others, *OPTIONS)
    assert all(torch.equal(a, b) for a, b in zip(whole, others))


def test_large_tensors_are_taken_in_pieces(monkeypatch):
    sizes = []
    update = lion.lion_update_
    monkeypatch.setattr(lion, "PIECE", 16)
    monkeypatch.setattr(lion, "lion_update_", lambda p, *rest: sizes.append(p.numel()) or update(p, *rest))
    p = nn.Parameter(numbers(10, 5))
    p.grad = numbers(10, 5, seed=1)
    Lion([p]).step()
    assert sizes == [16, 16, 16, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lists_are_the_same_as_one_by_one(dtype):
    alone = [triple(*shape, seed=10 * i, dtype=dtype) for i, shape in enumerate(SHAPES)]
    lists = [[t.clone() for t in column] for column in zip(*alone)]
    for tensors in alone:
        lion_update_(*tensors, *OPTIONS)
    lion_update_foreach_(*lists, *OPTIONS)
    for column, row in zip(lists, zip(*alone)):
        for a, b in zip(column, row):  # on a CPU the operations on lists round a factor to bfloat16 first
            torch.testing.assert_close(a, b, rtol=0, atol=0 if dtype == torch.float32 else 2**-5)


def operations(function, *args) -> int:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls += 1
            return func(*args, **(kwargs or {}))

    with Count() as count:
        function(*args)
    return count.calls


def test_lists_take_as_many_operations_as_one_tensor():
    counts = {
        n: operations(lion_update_foreach_, *([numbers(4) for _ in range(n)] for _ in range(3)), *OPTIONS)
        for n in (1, 50)
    }
    assert counts[1] == counts[50] <= 6


def test_devices_decide(monkeypatch):
    called = []
    monkeypatch.setattr(lion, "lion_update_in_pieces_", lambda p, *_: called.append(("piece", p.dtype)))
    monkeypatch.setattr(lion, "lion_update_foreach_", lambda ps, *_: called.append((len(ps), ps[0].dtype)))
    meta = [torch.empty(2, device="meta", dtype=d) for d in (torch.float32, torch.bfloat16, torch.float32)]
    everything = [*meta, torch.zeros(2)]
    lion_update_all_(everything, everything, everything, *OPTIONS)
    assert called == [("piece", torch.float32), (2, torch.float32), (1, torch.bfloat16)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu():
    here, there = parameters(), [nn.Parameter(p.detach().cuda()) for p in parameters()]
    us, them = Lion(here, lr=0.01, weight_decay=0.1), Lion(there, lr=0.01, weight_decay=0.1)
    for step in range(10):
        give(here, step)
        for a, b in zip(here, there):
            b.grad = a.grad.cuda()
        us.step()
        them.step()
    for a, b in zip(here, there):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# As a training loop uses it


def test_groups_keep_their_own_values_and_schedulers_change_them():
    p, q = (nn.Parameter(torch.tensor([2.0])) for _ in range(2))
    optimizer = Lion([{"params": [p], "lr": 0.5}, {"params": [q], "weight_decay": 0.5, "betas": (0.0, 0.0)}], lr=0.25)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    for _ in range(2):
        p.grad, q.grad = torch.ones(1), torch.ones(1)
        optimizer.step()
        scheduler.step()
    assert p.item() == pytest.approx(2 - 0.5 - 0.25)
    assert q.item() == pytest.approx((2 * (1 - 0.125) - 0.25) * (1 - 0.0625) - 0.125)


def test_missing_gradients_leave_parameters_alone():
    p, q = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Lion([p, q], lr=0.25, weight_decay=0.5)
    q.grad = torch.ones(3)
    optimizer.step()
    assert p.tolist() == [1, 1, 1] and not optimizer.state[p]
    assert q.tolist() == [0.625] * 3
    optimizer.zero_grad()
    optimizer.step()
    assert q.tolist() == [0.625] * 3


def test_closures():
    p = nn.Parameter(torch.tensor([2.0]))
    optimizer = Lion([p], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert float(optimizer.step(closure).detach()) == 4
    assert p.item() == 1.5
    assert optimizer.step() is None


def test_parameters_change_in_place_and_nothing_is_recorded():
    p = nn.Parameter(numbers(6))
    other, optimizer = p.detach(), Lion([p], lr=0.1, weight_decay=0.1)
    for step in range(3):
        p.grad = numbers(6, seed=step) * torch.ones(6, requires_grad=True)
        kept = p.grad.detach().clone()
        optimizer.step()
        assert torch.equal(p.grad, kept)
    assert torch.equal(other, p.detach()) and p.is_leaf and p.requires_grad
    assert not optimizer.state[p]["exp_avg"].requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_momenta_have_the_dtype_of_their_parameters(dtype):
    p = nn.Parameter(numbers(6, dtype=dtype))
    p.grad = numbers(6, seed=1, dtype=dtype)
    optimizer = Lion([p], lr=0.1)
    optimizer.step()
    assert p.dtype == optimizer.state[p]["exp_avg"].dtype == dtype


def test_a_saved_run_goes_on_as_if_it_had_not_stopped():
    straight, stopped = parameters(), parameters()
    one, other = (Lion(ps, lr=0.01, betas=(0.5, 0.9), weight_decay=0.1) for ps in (straight, stopped))
    for step in range(12):
        if step == 6:
            file = io.BytesIO()
            torch.save(other.state_dict(), file)
            file.seek(0)
            stopped = [nn.Parameter(p.detach().clone()) for p in stopped]
            other = Lion(stopped)
            other.load_state_dict(torch.load(file, weights_only=True))
        give(straight, step)
        give(stopped, step)
        one.step()
        other.step()
    assert all(torch.equal(a, b) for a, b in zip(straight, stopped))


def test_a_model_learns():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)), numbers(64, 4)
    y, optimizer, losses = x.prod(dim=1, keepdim=True), Lion(model.parameters(), lr=3e-3, weight_decay=0.01), []
    for _ in range(200):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


# ---------------------------------------------------------------------------------------------------------------------
# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -0.1}, "lr is -0.1"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"betas": (1.0, 0.9)}, "betas are"),
        ({"betas": (0.9, -0.1)}, "betas are"),
        ({"betas": (0.9,)}, "betas are"),
    ],
)
def test_bad_arguments_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        Lion([nn.Parameter(torch.ones(1))], **options)
    with pytest.raises(ValueError, match=message):
        Lion([{"params": [nn.Parameter(torch.ones(1))], **options}])
    optimizer = Lion([nn.Parameter(torch.ones(1))])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], **options})
    assert len(optimizer.param_groups) == 1


def test_zero_is_allowed():
    p = nn.Parameter(torch.ones(1))
    p.grad = torch.ones(1)
    Lion([p], lr=0.0, betas=(0.0, 0.0), weight_decay=0.0).step()
    assert p.item() == 1


def test_what_was_computed_is_no_parameter():
    with pytest.raises(ValueError, match="non-leaf"):
        Lion([nn.Parameter(torch.ones(1)) * 2])


def test_sparse_gradients_raise_before_anything_changes():
    p, q = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Lion([{"params": [p]}, {"params": [q]}], lr=0.5)
    p.grad = torch.ones(3)
    q.grad = torch.sparse_coo_tensor([[1]], [1.0], (3,), check_invariants=True)
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()
    assert p.tolist() == q.tolist() == [1, 1, 1] and not optimizer.state


# ---------------------------------------------------------------------------------------------------------------------
# The module's own words


def test_the_examples_in_docstrings_run():
    result = doctest.testmod(lion)
    assert result.attempted >= 3 and result.failed == 0


def test_tensors_are_annotated():
    """`make test` checks these annotations while it runs (jaxtyping and beartype)."""
    for function in (lion_direction, lion_update_, lion_update_in_pieces_):
        hints = inspect.get_annotations(inspect.unwrap(function))
        assert {"jaxtyping"} <= {getattr(hint, "__module__", "") for hint in hints.values()}, function.__name__


TOLD = {
    "Lion(p, lr=inf)": "ValueError: lr is inf: it must be 0 or more, and finite",
    "Lion(p, lr=nan)": "ValueError: lr is nan",
    "Lion(p, lr=torch.tensor(nan))": "ValueError: lr is nan",
    "Lion(p, weight_decay=inf)": "ValueError: weight_decay is inf",
    "Lion(p, lr='0.01')": "TypeError: lr is '0.01': it must be a number",
    "Lion(p, lr=None)": "TypeError: lr is None",
    "Lion(p, lr=torch.tensor([0.01]))": "TypeError: lr is tensor([0.0100]): it must be a number, or a tensor without",
    "Lion(p).add_param_group({'params': p, 'lr': inf})": "ValueError: lr is inf",
    "Lion(p, lr=torch.tensor(0.5)).param_groups[0]['lr']": "0.5",
    "Lion(p, lr=numpy.float32(0.5)).param_groups[0]['lr']": "0.5",
}


def test_rates_that_make_no_sense_are_told():
    setup = """
import numpy, torch
from cs336lite.lion import Lion
p, inf, nan = [torch.nn.Parameter(torch.ones(1))], float("inf"), float("nan")
"""
    for (call, want), found in zip(TOLD.items(), spoken(setup, list(TOLD)), strict=True):
        assert found.removeprefix("tensor(").startswith(want), (call, found)
