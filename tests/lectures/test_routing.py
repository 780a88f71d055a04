"""The runs of lecture 06: arms cost the same, tables differ, a policy is judged as it should be, divergence is told as such."""

import json
import math

import pytest
import torch

from cs336lite import routing
from cs336lite.accounting import parameters
from cs336lite.model import Transformer
from cs336lite.moe import HashRouter, MoELayer, PolicyRouter, RoutedTransformer, mixtures, total_and_active
from cs336lite.routing import (
    BALANCE,
    CAPACITY,
    FINE,
    OTHERS,
    ROUTERS,
    config_of,
    look,
    run_of,
    train_mixture,
    train_routed,
)

ARMS = {arm: changes for one in (ROUTERS, BALANCE, CAPACITY, OTHERS, FINE) for arm, changes in one.arms.items()}


def short(seed: int = 1, steps: int = 6, **changes) -> dict:
    return run_of("arm", changes, 1e-2, seed) | {"training": {**routing.TRAINING, "steps": steps, "warmup": 2}}


def experts_of(arm: str) -> tuple[int, int]:
    """(stored, active) parameters of the feed-forward part of an arm, without its router."""
    model = RoutedTransformer(config_of(run_of(arm, ARMS[arm], 1e-2, 1)))
    total, active = total_and_active(model)
    gates = sum(p.numel() for name, p in model.named_parameters() if "router" in name)
    bare = parameters(Transformer(config_of(run_of("dense", {"dense": 1}, 1e-2, 1)))) - 2 * 3 * 32
    return total - gates - bare, active - gates - bare


def test_every_mixture_computes_and_stores_what_its_dense_twins_do():
    assert experts_of("dense, 128") == (2 * 3 * 32 * 128,) * 2
    assert experts_of("dense, 512") == (2 * 3 * 32 * 512,) * 2
    for arm in ARMS:
        if "dense" not in arm:
            assert experts_of(arm) == (2 * 3 * 32 * 512, 2 * 3 * 32 * 128), arm


def test_a_hash_router_has_another_table_in_each_block_and_with_each_seed():
    tables = [
        part.table
        for seed in (1, 2)
        for part in RoutedTransformer(config_of(short(seed, router="hash"))).modules()
        if isinstance(part, HashRouter)
    ]
    assert len(tables) == 4 and len({tuple(t.flatten().tolist()) for t in tables}) == 4
    again = RoutedTransformer(config_of(short(1, router="hash")))
    assert torch.equal(next(p for p in again.modules() if isinstance(p, HashRouter)).table, tables[0])


def test_a_run_is_the_same_again_and_tells_what_the_lecture_reads():
    told = train_routed(short())
    assert told == train_routed(short()) and told["final"] != train_routed(short(seed=2))["final"]
    assert len(told["load"]) == len(told["log_z"]) == 2 and told["drawn"] is None
    assert all(sum(block) == pytest.approx(1, abs=1e-3) for block in told["load"])
    json.dumps(told, allow_nan=False)


def test_a_capacity_drops_and_its_loads_say_how_much():
    told = train_routed(short(capacity=1.0))
    assert all(0.3 < sum(block) < 1 and max(block) <= 0.126 for block in told["load"])


def test_the_controller_of_a_bias_is_told_of_each_step():
    model, losses = train_mixture(short(router="bias", bias_rate=0.01))
    assert len(losses) == 6 and all(layer.router.bias.abs().max() >= 0.01 for layer in mixtures(model))


def test_a_policy_is_judged_greedy_and_one_that_is_never_taught_drawing():
    taught, never = (train_routed(short(router="policy", policy_coefficient=c)) for c in (0.1, 0.0))
    assert taught["final"] != taught["drawn"] and never["final"] == never["drawn"]
    model, _ = train_mixture(short(router="policy"))
    assert not any(part.training for part in model.modules() if isinstance(part, PolicyRouter))


def test_the_router_z_loss_holds_log_z_down():
    free, held = (look(train_mixture(short(steps=30, z=z))[0])["log_z"] for z in (0.0, 1.0))
    assert all(b < 0.9 * a for a, b in zip(free, held))


def test_a_loss_that_is_not_finite_ends_a_run_and_is_plain_json(monkeypatch):
    monkeypatch.setattr(routing.RoutedTransformer, "loss", lambda self, x, y: self.output.weight.sum() * math.nan)
    told = train_routed(short())
    assert told["final"] is None
    json.dumps(told, allow_nan=False)


def test_an_observer_sees_every_step():
    seen = []
    train_mixture(short(steps=3), lambda step, model: seen.append((step, len(mixtures(model)))))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert isinstance(mixtures(train_mixture(short(steps=1))[0])[0], MoELayer)
