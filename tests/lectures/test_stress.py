"""Runs under stress of lecture 05: twins differ by their bad batches alone, and a run that diverges is told as one."""

import json
import math

import pytest
from torch import nn

from cs336lite import stress
from cs336lite.stress import BAD, followed, outlined, run_of, train_stressed

SHORT = {"steps": 12, "warmup": 2}


def short(lr: float = 1e-2, seed: int = 1, **changes) -> dict:
    return run_of("arm", {**SHORT, **changes}, lr, seed)


def test_a_run_says_what_every_step_was_and_ends_with_a_held_out_loss():
    told = train_stressed(short())
    assert len(told["loss"]) == len(told["norm"]) == 12
    assert told["loss"][-1] < told["loss"][0] - 0.2 and told["final"] < math.log(256)
    assert [row[0] for row in told["watched"]] == [0]
    assert told == train_stressed(short()) != train_stressed(short(seed=2))


def test_twins_are_one_run_until_the_bad_batch():
    clean, bad = train_stressed(short()), train_stressed(short(bad=[6]))
    assert clean["loss"][:6] == bad["loss"][:6]
    assert bad["loss"][6] > clean["loss"][6] + 0.5  # noise is worse than text
    assert bad["loss"][7] != clean["loss"][7]  # and what it did stays


def test_clipping_shortens_the_steps_of_plain_descent():
    free, clipped = (train_stressed(short(0.1, optimizer="sgd", clip=clip)) for clip in (None, 0.1))
    assert free["norm"][0] == clipped["norm"][0] > 0.1  # the norm before clipping is what is told
    assert free["loss"][-1] < clipped["loss"][-1] - 0.1


@pytest.mark.parametrize("what", ["loss", "norm"])
def test_what_is_not_finite_ends_a_run_and_is_plain_json(monkeypatch, what):
    if what == "norm":
        real = nn.utils.clip_grad_norm_
        monkeypatch.setattr(stress.nn.utils, "clip_grad_norm_", lambda *given: real(*given) * math.inf)
    else:
        monkeypatch.setattr(stress.Transformer, "loss", lambda self, x, y: self.output.weight.sum() * math.nan)
    told = outlined(short())
    assert told["final"] is None and told["loss"] == [] and len(told["watched"]) == 0
    json.dumps(told, allow_nan=False)


def test_what_follows_a_bad_batch_is_cut_out_of_the_run(monkeypatch):
    made = {"loss": [float(step) for step in range(1_000)], "norm": [0.0] * 1_000, "final": 1.0, "watched": []}
    monkeypatch.setattr(stress, "train_stressed", lambda run: dict(made))
    told = followed(short())
    assert [part[0] for part in told["after"]] == [step + 1 for step in BAD]
    assert {len(part) for part in told["after"]} == {stress.AFTER}
    assert told["series"]["loss"] == made["loss"] and followed(short(seed=5))["series"] is None
    assert outlined(short())["curve"][:2] == [24.5, 74.5]
