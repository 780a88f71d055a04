"""Small models, data and runs for the tests of the training engine."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cs336lite import experiments
from cs336lite.model import TransformerConfig
from cs336lite.training import (
    Experiment,
    Tokens,
    TrainingConfig,
    World,
    describe,
    write_tokens,
)

TINY = TransformerConfig(vocab_size=50, context_length=16, d_model=16, num_layers=1, num_heads=2, d_ff=24)
DROPPING = TINY.replace(dropout=0.2)
SHORT = TrainingConfig(steps=6, batch_size=4, lr=1e-2, warmup=2, eval_batches=2)
HERE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def data() -> Tokens:
    drawn = np.random.default_rng(0).zipf(1.5, 4_000) % 50
    return Tokens(drawn.astype(np.uint16))


@pytest.fixture(scope="module")
def heldout() -> Tokens:
    return Tokens((np.random.default_rng(1).zipf(1.5, 2_000) % 50).astype(np.uint16))


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Crash(Exception):
    pass


def crash_at(step: int, at: int, model: nn.Module) -> dict:
    if at == step:
        raise Crash
    return {}


class OneBadGradient(nn.Module):
    """Its loss is always finite. The gradient of step ``bad`` is not: the root of 0 has none."""

    def __init__(self, bad: int, loss: float = 1.0):
        super().__init__()
        self.weight, self.bad, self.passes = nn.Parameter(torch.full((4, 2), loss)), bad, 0

    def loss(self, tokens, targets):
        self.passes += 1
        root = (self.weight * (0 if self.passes == self.bad else 1)).abs().sqrt()
        return torch.where(self.weight > 1e9, root, self.weight.square()).mean()

    def forward(self, tokens):
        return torch.zeros(*tokens.shape, 50)


GRID = [Experiment(TINY, replace(SHORT, lr=lr, seed=seed), f"{lr}") for lr in (1e-3, 1e-2) for seed in (0, 1)]


@pytest.fixture
def counted(monkeypatch):
    """How often something was trained; at ``counted.stop`` the machine fails."""
    real = experiments.train

    def train(*args, **kwargs):
        if train.count == train.stop:
            raise Crash
        train.count += 1
        return real(*args, **kwargs)

    train.count, train.stop = 0, None
    monkeypatch.setattr(experiments, "train", train)
    return train


@pytest.fixture
def job(tmp_path, data):
    """A file for `training.main`, and where its metrics are."""

    def write(name: str, **changes) -> tuple[str, list[dict]]:
        write_tokens(tmp_path / "data.npy", data.ids.tolist(), 50)
        path = tmp_path / f"{name}.json"
        said = {
            "model": {k: v for k, v in describe(TINY)["TransformerConfig"].items()},
            "training": {"steps": 6, "batch_size": 8, "lr": 1e-2, "accumulation": 2, "eval_batches": 2},
            "data": str(tmp_path / "data.npy"),
            "validation": str(tmp_path / "data.npy"),
            "log": str(tmp_path / f"{name}.jsonl"),
        }
        path.write_text(json.dumps(said | changes))
        return str(path)

    return write


def read_log(tmp_path, name: str) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
