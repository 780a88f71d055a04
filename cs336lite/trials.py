# Built from notebooks/text/03b_variants.py by `cs336lite build`: edit that file, not this one.
"""One change at a time: small Transformers trained on the default corpus, for fair comparisons (消融实验).

An *arm* is a configuration that differs from `BASE` in one switch. `train_variant` trains one, `sweep` all of them: the
learning rate of each arm is chosen with `TUNING` seeds on a grid whose neighbours are × 1.5 apart, widened until the best
one lies inside, and the arm is reported with `REPORTING` seeds. `course.compare` then compares arms seed by seed.

Built in notebooks/03b_variants.ipynb.
"""

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from cs336lite.course.data import SEPARATOR, default_corpus
from cs336lite.course.kept import kept
from cs336lite.course.sweeps import best, by_seed, interior
from cs336lite.generation import generate as generate
from cs336lite.generation import next_tokens as next_tokens
from cs336lite.layers import RMSNorm
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.positions import BOUNDED as BOUNDED

BASE = {
    "vocab_size": 256, "context_length": 128, "d_model": 48, "num_layers": 6, "num_heads": 4, "d_ff": 128,
    "init_std": 0.144,
}  # fmt: skip
"""Pre-norm, RMSNorm, SwiGLU, RoPE, no biases, serial blocks, a pair of key and value heads for each query head.

Matrices begin with the deviation 1 / sqrt(d_model), which keeps the size of a vector."""

TRAINING = {"steps": 500, "batch": 16, "seq": 64, "warmup": 50}
"""Steps of 1,024 bytes; the rate rises for ``warmup`` steps, then falls linearly to 0."""

ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    "post-norm": {"norm_placement": "post"},
    "double norm": {"norm_placement": "double"},
    "norm in the branch": {"norm_placement": "branch"},
    "norm in the branch, QK-norm": {"norm_placement": "branch", "qk_norm": "RMSNorm"},  # as in OLMo 2
    "LayerNorm": {"norm": "layernorm"},
    "ReLU": {"activation": "relu", "d_ff": 192},  # two matrices of 4 d have the parameters of three of 8/3 d
    "GELU": {"activation": "gelu", "d_ff": 192},
    "biases": {"bias": True},
    "parallel": {"parallel": True},
    "GQA, 2 of 4": {"num_kv_heads": 2, "d_ff": 144},  # what is saved in keys and values goes into the width
    "MQA, 1 of 4": {"num_kv_heads": 1, "d_ff": 152},
    "sinusoids": {"positions": "sinusoidal", "embedding_scale": 48**0.5},
    "learned positions": {"positions": "learned"},
    "ALiBi": {"positions": "alibi"},
    "no positions": {"positions": "none"},
    "no warmup": {"warmup": 1},
    "post-norm, no warmup": {"norm_placement": "post", "warmup": 1},
    "started small": {"init_std": 0.02},  # GPT-2's deviation, which suits wider models
    "norm in the branch, started small": {"norm_placement": "branch", "init_std": 0.02},
    "GELU, started small": {"activation": "gelu", "d_ff": 192, "init_std": 0.02},
}
"""What differs from `BASE` and `TRAINING`, by the arm's name."""

GRID = (6.8e-3, 1e-2, 1.5e-2)
TUNING, REPORTING = (101,), (1, 2, 3, 4, 5, 6, 7, 8)


@cache
def texts() -> tuple[Tensor, Tensor]:
    """The bytes to learn from and those held out: every second document of the default corpus, and 200,000 of the others."""
    documents = default_corpus().read_text(encoding="utf-8").split(SEPARATOR)
    learned, held = ("".join(documents[i::2]).encode() for i in (0, 1))
    return tuple(torch.from_numpy(np.frombuffer(text, np.uint8).astype(np.int64)) for text in (learned, held[:200_000]))


@torch.no_grad()
def held_out_loss(model: Transformer, seq: int, pieces: int = 400) -> float:
    """Nats a byte on so many pieces of held-out text, the same for every model."""
    held = texts()[1]
    starts = torch.linspace(0, len(held) - seq - 1, pieces).long()[:, None]
    losses = [
        F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).item()
        for batch in held[starts + torch.arange(seq + 1)].split(50)
    ]
    return sum(losses) / len(losses)


def config_of(run: Mapping[str, Any]) -> TransformerConfig:
    """The configuration of a run, which is plain JSON and has a norm by its name."""
    named = {"qk_norm": RMSNorm} if run["config"].get("qk_norm") == "RMSNorm" else {}
    return TransformerConfig(**run["config"] | named)


def train_model(run: Mapping[str, Any]) -> tuple[Transformer | None, list[float], float]:
    """(model, training loss every 50 steps, seconds) of ``run``, {arm, lr, seed, config, training}; None if it diverged."""
    config, t, seq = config_of(run), run["training"], run["training"]["seq"]
    draw, learned = torch.Generator().manual_seed(run["seed"]), texts()[0]
    model, curve, started = Transformer(config, draw), [], time.perf_counter()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    for step in range(t["steps"]):
        optimizer.param_groups[0]["lr"] = run["lr"] * min((step + 1) / t["warmup"], 1 - step / t["steps"])
        batch = learned[torch.randint(len(learned) - seq, (t["batch"], 1), generator=draw) + torch.arange(seq + 1)]
        loss = model.loss(batch[:, :-1], batch[:, 1:])
        if not loss.isfinite():
            return None, curve, time.perf_counter() - started
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0:
            curve.append(round(loss.item(), 4))
    return model.eval(), curve, time.perf_counter() - started


def train_variant(run: Mapping[str, Any]) -> dict[str, Any]:
    """The held-out loss that one training came to, its curve, and its seconds; ``final`` is None where it diverged."""
    model, curve, seconds = train_model(run)
    final = None if model is None else held_out_loss(model, run["training"]["seq"])
    final = final if final is not None and np.isfinite(final) else None
    return {"final": final, "curve": curve, "seconds": round(seconds, 1)}


BINS = ((0, 32), (32, 64), (64, 128), (128, 256), (256, 512))
"""Positions over which a loss is averaged: the first two lie within the training length."""

FURTHER = ("base", "sinusoids", "learned positions", "ALiBi", "no positions")
"""Arms that differ in how they tell positions; ``base`` is RoPE."""


@torch.no_grad()
def losses_by_position(model: Transformer, pieces: int = 60) -> list[float] | None:
    """Nats a byte in each of `BINS`, on held-out text; None when the model knows no such position."""
    held, seq = texts()[1], BINS[-1][1]
    starts = torch.linspace(0, len(held) - seq - 1, pieces).long()[:, None]
    try:
        found = [
            F.cross_entropy(rearrange(model(batch[:, :-1]), "b t v -> b v t"), batch[:, 1:], reduction="none")
            for batch in held[starts + torch.arange(seq + 1)].split(20)
        ]
    except ValueError:
        return None
    mean = torch.cat(found).mean(0)
    return [mean[start:stop].mean().item() for start, stop in BINS]


def read_further(run: Mapping[str, Any]) -> dict[str, Any]:
    """Train on short sequences, read long ones: ``bins``, and for RoPE ``ntk``, the same with its slow pairs slowed down.

    NTK-aware scaling multiplies theta by s ** (d / (d - 2)), here with s = 8: the slowest pair turns 8 times as slowly,
    the fastest as before, and nothing is trained again.
    """
    config, longer = run["config"], BINS[-1][1]
    if config.get("positions") != "learned":  # tables of angles can be made longer, learned rows cannot
        config = config | {"context_length": longer}
    model, _, _ = train_model({**run, "config": config})
    found = {"bins": None if model is None else losses_by_position(model), "ntk": None}
    if model is not None and model.config.positions == "rope":
        d, s = model.config.head_size, longer / run["training"]["seq"]
        slowed = Transformer(model.config.replace(rope_theta=model.config.rope_theta * s ** (d / (d - 2))))
        slowed.load_state_dict(model.state_dict())
        found["ntk"] = losses_by_position(slowed.eval())
    return found


def run_of(arm: str, lr: float, seed: int, changes: Mapping[str, Any], training: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of one training: what does not belong to the configuration belongs to the training."""
    own = {name: value for name, value in changes.items() if name in training}
    config = BASE | {name: value for name, value in changes.items() if name not in training}
    return {"arm": arm, "lr": lr, "seed": seed, "config": config, "training": {**training, **own}}


def sweep(
    arms: Mapping[str, Mapping[str, Any]] = ARMS, *, grid: tuple[float, ...] = GRID,
    tuning: tuple[int, ...] = TUNING, reporting: tuple[int, ...] = REPORTING, training: Mapping[str, Any] = TRAINING, name: str = "03b_variants",
    jobs: int = 1, widen: int = 6,
) -> dict[str, Any]:  # fmt: skip
    """Choose each arm's rate and report it: {"chosen": {arm: {lr, inside, why, grid}}, "rows": [...]}, one row a training.

    A grid whose best rate is at an end is widened for that arm, up to ``widen`` times. Runs are kept in the data folder, so
    that the sweep can be stopped and goes on where it was. With ``jobs`` it takes so many processes.
    """
    grids, rows, chosen = {arm: list(grid) for arm in arms}, {}, {}
    for left in range(widen, -1, -1):  # how often a grid may still be widened
        waiting = [arm for arm in arms if arm not in chosen]
        runs = [run_of(arm, lr, seed, arms[arm], training) for arm in waiting for lr in grids[arm] for seed in tuning]
        rows |= {(row["arm"], row["lr"], row["seed"]): row for row in kept(name, runs, train_variant, jobs=jobs)}
        for arm in waiting:
            lr, ends = (
                best(rows.values(), "lr", arm=arm, seed=tuning, lr=tuple(grids[arm])),
                sorted(grids[arm])[:: len(grids[arm]) - 1],
            )
            if lr not in ends or not left:
                inside = interior(lr, grids[arm])
                chosen[arm] = {"lr": lr, "inside": bool(inside), "why": str(inside), "grid": sorted(grids[arm])}
            else:
                grids[arm].append(float(f"{lr / 1.5 if lr == ends[0] else lr * 1.5:.3g}"))
    runs = [run_of(arm, chosen[arm]["lr"], seed, arms[arm], training) for arm in arms for seed in reporting]
    rows |= {(row["arm"], row["lr"], row["seed"]): row for row in kept(name, runs, train_variant, jobs=jobs)}
    return {"chosen": {arm: chosen[arm] for arm in arms}, "rows": [told(row) for row in rows.values()]}


def told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what the configuration of the record says already, and without its seconds, which say how busy the machine was."""
    return {name: row[name] for name in ("arm", "lr", "seed", "final", "curve")}


def reported(found: Mapping[str, Any], reporting: tuple[int, ...] = REPORTING) -> dict[str, dict[int, float]]:
    """{arm: {seed: final}} of a sweep, of the reporting seeds at the chosen rate."""
    return {
        arm: by_seed(found["rows"], arm=arm, lr=chosen["lr"], seed=reporting) for arm, chosen in found["chosen"].items()
    }
