"""What is special to the checks of a5_moe_router; its catalogue is judged in `test_catalogue`."""

import random

import pytest
import torch
from catalogue import defined, judge, solutions, spec

from cs336lite import router
from cs336lite.course.spec import Fail

A5 = "a5_moe_router"
HIDDEN, PUBLIC = spec(A5, "hidden"), spec(A5, "public")
RIGHT, WRONG, TRIVIAL = (solutions(A5, kind) for kind in ("right", "wrong", "trivial"))
POINTS = {"gates": 27, "balance": 25, "z_loss": 9, "router": 8, "dispatch": 31}


pytestmark = pytest.mark.usefixtures("one_thread")


def by_name(found):
    return [pytest.param(solution, id=solution.name) for solution in found]


# ---------------------------------------------------------------------------------------------------------------------
# The form of the specs, and the catalogue


def test_each_exercise_is_mostly_paid_together():
    for exercise, points in POINTS.items():
        together = [
            one.points for one in HIDDEN if one.exercise == exercise and one.function.__name__.endswith("together")
        ]
        assert len(together) == 1 and (together[0] > points / 2 or exercise == "router"), exercise
    assert all(list(HIDDEN.exercises)[i] == name for i, name in enumerate(POINTS))


# ---------------------------------------------------------------------------------------------------------------------
# What is special to a5: how inputs are drawn, and the definitions of right


def flatten(value):
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from flatten(item)
    elif isinstance(value, torch.Tensor):
        yield value


def test_inputs_follow_the_seed_alone():
    first, again, other = ([t.double() for t in flatten(judge(HIDDEN, vars(router), seed).sent)] for seed in (1, 1, 2))
    assert len(first) > 100 and len(first) == len(again) and all(map(torch.equal, first, again))
    real = [(a, b) for a, b in zip(first, other) if not torch.equal(2 * a, (2 * a).round())]  # no gate, no indices
    assert len(real) > 50 and not any(a.shape == b.shape and torch.equal(a, b) for a, b in real)
    assert sum(t.numel() * t.itemsize for t in first) < 2_000_000


def test_of_two_misconceptions_near_an_answer_the_nearer_one_is_named():
    names = defined(HIDDEN)
    right, far, near = (torch.tensor(value, dtype=torch.float64) for value in (1.0, 2.0001, 2.00001))
    for order in ([(far, "far"), (near, "near")], [(near, "near"), (near.clone(), "the same"), (far, "far")]):
        with pytest.raises(Fail, match="near"):
            names.judge(torch.tensor(2.00001), right, "neither", order)


def test_a_gate_is_far_from_singular_and_a_rounded_gradient_points_the_same_way():
    names = defined(HIDDEN)
    for seed in range(200):
        weight = names.symmetric_weight(random.Random(seed))
        assert torch.equal(weight, weight.mT) and torch.linalg.eigvalsh(weight)[0] > 0.3
    gradient = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    for factor, noise, fits in ((1, 0.1, True), (1.5, 0.1, True), (-1, 0.1, False), (3, 0, False), (1, 1, False)):
        other = factor * gradient + noise * gradient.flip(0)
        assert names.fits_gradient(other, gradient, short=True) is fits, (factor, noise)
        assert not names.fits_gradient(other, gradient) or (factor, noise) == (1, 0)


@pytest.mark.parametrize("shape", [(9, 6), (3, 9, 5), (4, 6)])
def test_logits_lie_apart_and_leave_no_expert_idle(shape):
    for seed in range(30):
        logits = defined(HIDDEN).some_logits(random.Random(seed), *shape)
        assert logits.sort(-1).values.diff(dim=-1).min() > 0.249
        liked = logits.argmax(-1).reshape(-1, shape[-2])
        assert all(set(text.tolist()) >= set(range(min(shape[-2:]))) for text in liked)


def test_the_checks_definitions_agree_with_the_reference():
    checks, rng = defined(HIDDEN), random.Random(5)
    logits = checks.normal(rng, 12, 6)
    weights, indices, probabilities = router.top_k_gates(logits, 3, renormalize=False)
    assert torch.allclose(checks.gates_of(logits, indices), weights)
    readings = checks.balance_of(logits, indices, weights)
    assert torch.allclose(readings.right, router.load_balancing_loss(probabilities, indices))
    right, wrong = checks.z_readings(logits)
    assert torch.allclose(right, router.router_z_loss(logits))
    for value, message in [*wrong, *readings.wrong, (readings.bare, "")]:
        assert not torch.isclose(value, right) and not torch.isclose(value, readings.right), message
    experts = checks.some_experts(rng, 6)
    x = checks.normal(rng, 12, 3).float()
    ours = router.dispatch(x.double(), weights, indices, [lambda z, e=e: experts.of(z, e) for e in range(6)])
    assert torch.allclose(checks.combined(x, weights, indices, experts), ours)


# ---------------------------------------------------------------------------------------------------------------------
# Public checks: what they say of small functions that are wrong


def plus(name, change):
    """The reference with one function changed: ``change`` gets the right one."""
    return {**vars(router), name: change(getattr(router, name))}


def over_tokens(right):
    return lambda x, weights, indices, experts: torch.stack(
        [right(*(z[None] for z in row), experts)[0] for row in zip(x, weights, indices)]
    )


@pytest.mark.parametrize(
    ("name", "change", "check", "message"),
    [
        ("top_k_gates", lambda f: lambda h, k, r=True: f(h, k, True), "by_hand", "do not add up to 1"),
        ("top_k_gates", lambda f: lambda h, k, r=True: f(h, k, False), "by_hand", "divided by their sum"),
        ("top_k_gates", lambda f: lambda h, k, r=True: f(h.detach(), k, r), "gates_gradient", "no gradient flows"),
        ("top_k_gates", lambda f: lambda h, k, r=True: (f(h, k, r)[0], f(h, 1)[1].expand(*h.shape[:-1], k), f(h, 1)[2]),
         "different", "chosen twice"),
        ("load_balancing_loss", lambda f: lambda p, i: f(p, i) / p.shape[-1], "uniform", "the factor num_experts"),
        ("load_balancing_loss", lambda f: lambda p, i: f(p, i) * i.shape[-1], "uniform", "divide by k * tokens"),
        ("load_balancing_loss", lambda f: lambda p, i: f(p.detach(), i), "balance_gradient", "must not be detached"),
        ("router_z_loss", lambda f: lambda h: h.logsumexp(-1).mean(), "z_by_hand", "the squares are missing"),
        ("router_z_loss", lambda f: lambda h: h.exp().sum(-1).log().square().mean(), "large", "is infinite here"),
        ("dispatch", lambda f: lambda x, w, i, e: f(x, w, i.sort(0).values, e), "one_expert", "21, 301, 2001"),
        ("dispatch", over_tokens, "few_calls", "gather their tokens"),
        ("dispatch", lambda f: lambda x, w, i, e: f(x.float(), w, i, e), "shapes", "in the dtype of x"),
        ("dispatch", lambda f: lambda x, w, i, e: f(x, w.detach(), i, e), "dispatch_gradients", "must flow to x"),
    ],
)  # fmt: skip
def test_public_checks_name_the_mistake(name, change, check, message):
    failed = judge(PUBLIC, plus(name, change), 0).failed
    said = {key.split(".")[1]: text for key, text in failed.items()}
    assert message in said[check]


class Short(router.TopKRouter):
    def forward(self, x):
        return router.RouterOutput(*(z.to(x.dtype) if z.is_floating_point() else z for z in super().forward(x)))


class Biased(router.TopKRouter):
    def __init__(self, d_model, num_experts, top_k, **options):
        super().__init__(d_model, num_experts, top_k, **options)
        self.gate = torch.nn.Linear(d_model, num_experts)


@pytest.mark.parametrize(
    ("mistaken", "check", "message"),
    [(Short, "in_float32", "must be float32"), (Biased, "parameter", "without a bias")],
)
def test_public_checks_name_the_mistakes_of_a_module(mistaken, check, message):
    assert message in judge(PUBLIC, {**vars(router), "TopKRouter": mistaken}, 0).failed[f"router.{check}"]


# ---------------------------------------------------------------------------------------------------------------------
# As a class meets them: the notebook that is handed out, and the worker that answers are graded in
