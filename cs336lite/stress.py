# Built from notebooks/text/05_stability.py by `cs336lite build`: edit that file, not this one.
"""Small Transformers trained under stress, for lecture 05: bad batches, high learning rates, norms left out.

Built in notebooks/05_stability.ipynb.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cs336lite.course.tuning import Crossed
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.stability import QKNorm, SoftCappedAttention, ZLoss, monitor, watch
from cs336lite.trials import held_out_loss, texts

MODEL = {
    "vocab_size": 256, "context_length": 64, "d_model": 48, "num_layers": 2, "num_heads": 2, "d_ff": 128,
    "init_std": 0.144, "attend": "sdpa",
}  # fmt: skip
"""Lecture 03's base with two blocks: 80,112 parameters."""

TRAINING = {
    "steps": 1_000, "batch": 8, "seq": 64, "warmup": 50, "optimizer": "adamw", "weight_decay": 0.1, "clip": 1.0,
    "bad": [],
}  # fmt: skip
"""Steps of 512 bytes; the rate rises for ``warmup`` steps, then falls linearly to 0. At the steps ``bad`` the batch is noise."""

BAD, AFTER = (300, 450, 600), 50
"""Steps (from 0) whose batch may be random bytes, and how many steps after each are looked at."""

SLOTS = {"QKNorm": QKNorm(), "cap": SoftCappedAttention(50.0), "no norm": nn.Identity}
"""What a recorded configuration, which is plain JSON, names."""


def config_of(config: Mapping[str, Any]) -> TransformerConfig:
    """The configuration of a run, whose slots have the names of `SLOTS`, and whose ``loss`` is the coefficient of z-loss."""
    named = {slot: SLOTS[config[slot]] for slot in ("qk_norm", "attend", "norm") if config.get(slot) in SLOTS}
    return TransformerConfig(**{**config, **named, "loss": ZLoss(config["loss"]) if "loss" in config else None})


def optimizer_of(model: nn.Module, training: Mapping[str, Any]) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum 0.9."""
    if training["optimizer"] == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9)
    return torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=training["weight_decay"], fused=True)


def seen_by(watched: Transformer, model: Transformer, batch: Tensor) -> dict[str, float]:
    """What `monitor` reads when a watched copy of the model reads a batch, (n, seq + 1)."""
    watched.load_state_dict(model.state_dict())
    with torch.no_grad():
        watched.loss(batch[:, :-1], batch[:, 1:])
    return monitor(0, watched)


def train_stressed(run: Mapping[str, Any]) -> dict[str, Any]:
    """Train ``run``, {arm, lr, seed, config, training}, and tell how it went.

    ``final`` is the held-out loss in nats a byte, None where a loss or gradient was not finite; ``loss`` and ``norm`` have the training
    loss and the gradient norm before clipping of every step, and ``watched`` a row every 50 steps: the step, the largest
    attention logit, log Z and the largest output logit on held-out bytes.
    """
    config, t, seq = config_of(run["config"]), run["training"], run["training"]["seq"]
    draw, (learned, held) = torch.Generator().manual_seed(run["seed"]), texts()
    model, watched = Transformer(config, draw), Transformer(watch(config))
    optimizer, told = optimizer_of(model, t), {"final": None, "loss": [], "norm": [], "watched": []}
    looked_at = held[: 8 * (seq + 1)].view(8, seq + 1)
    for step in range(t["steps"]):
        optimizer.param_groups[0]["lr"] = run["lr"] * min((step + 1) / t["warmup"], 1 - step / t["steps"])
        batch = learned[torch.randint(len(learned) - seq, (t["batch"], 1), generator=draw) + torch.arange(seq + 1)]
        if step in t["bad"]:
            noise = torch.Generator().manual_seed(run["seed"] + step)  # of its own: later batches stay the same
            batch = torch.randint(256, batch.shape, generator=noise)
        loss = model.loss(batch[:, :-1], batch[:, 1:])
        if not loss.isfinite():
            return told
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), t["clip"] or math.inf)
        if not norm.isfinite():
            return told
        optimizer.step()
        told["loss"].append(round(loss.item(), 3))
        told["norm"].append(float(f"{norm.item():.3g}"))
        if step % 50 == 0:
            seen = seen_by(watched, model, looked_at)
            row = [seen[name] for name in ("attention_logit", "log_z", "output_logit")]
            told["watched"].append([step] + [round(x, 2) if math.isfinite(x) else None for x in row])
    final = held_out_loss(model.eval(), seq)
    return {**told, "final": round(final, 4) if math.isfinite(final) else None}


def followed(run: Mapping[str, Any]) -> dict[str, Any]:
    """`train_stressed`, and ``after``: the training loss of the `AFTER` steps behind each of `BAD`.

    ``series`` has loss and gradient norm of every step, for AdamW and the first four seeds.
    """
    told = train_stressed(run)
    told["after"] = [told["loss"][step + 1 : step + 1 + AFTER] for step in BAD]
    kept = run["training"]["optimizer"] == "adamw" and run["seed"] <= 4
    return {**told, "series": {"loss": told["loss"], "norm": told["norm"]} if kept else None}


def outlined(run: Mapping[str, Any]) -> dict[str, Any]:
    """`train_stressed`, and ``curve``: the mean training loss of every 50 steps."""
    told = train_stressed(run)
    return {**told, "curve": [round(sum(part) / len(part), 3) for part in _parts(told["loss"], 50)]}


def _parts(values: list[float], size: int) -> list[list[float]]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def run_of(arm: str, changes: Mapping[str, Any], lr: float, seed: int) -> dict[str, Any]:
    """The arguments of one training: what does not belong to the configuration belongs to the training."""
    own = {name: value for name, value in changes.items() if name in TRAINING}
    config = MODEL | {name: value for name, value in changes.items() if name not in TRAINING}
    return {"arm": arm, "lr": lr, "seed": seed, "config": config, "training": {**TRAINING, **own}}


SETTING = {"model": MODEL, "training": TRAINING}


RATES = (1e-2, 5e-2, 0.25)
OUTLINE = ("arm", "lr", "seed", "final", "curve", "watched")

ATTENTION = Crossed(
    "05_attention", {"plain": {}, "QK-norm": {"qk_norm": "QKNorm"}, "soft cap 50": {"attend": "cap"}}, run_of, outlined,
    grid=RATES, columns=OUTLINE, setting=SETTING,
)  # fmt: skip
"""Cures for large attention logits at high learning rates."""


Z_LOSS = Crossed(
    "05_zloss",
    {
        "decay": {}, "no decay": {"weight_decay": 0.0}, "no decay, z-loss 1e-4": {"weight_decay": 0.0, "loss": 1e-4},
        "no decay, z-loss 1e-2": {"weight_decay": 0.0, "loss": 1e-2},
    },
    run_of, outlined, grid=(1e-2,), columns=OUTLINE, setting=SETTING,
)  # fmt: skip
"""log Z with z-loss and without, with weight decay and without."""


NORMS = Crossed(
    "05_norms",
    {
        "pre-norm": {}, "post-norm": {"norm_placement": "post"}, "double norm": {"norm_placement": "double"},
        "no norm": {"norm": "no norm"},
    },
    run_of, outlined, grid=(1e-2, 0.1), columns=OUTLINE, setting=SETTING,
)  # fmt: skip
"""Where the norms stand, at high learning rates."""


BATCH_ARMS = {
    f"{name}, {'clipped' if clip else 'not clipped'}, {'bad batches' if bad else 'clean'}": {
        "optimizer": optimizer, "clip": clip, "bad": bad,
    }
    for name, optimizer in (("AdamW", "adamw"), ("SGD", "sgd"))
    for clip in (None, 1.0)
    for bad in ([], list(BAD))
}  # fmt: skip

BAD_BATCH = Crossed(
    "05_bad_batch", BATCH_ARMS, run_of, followed,
    grid={arm: (1e-2,) if arm.startswith("AdamW") else (0.1,) for arm in BATCH_ARMS}, seeds=(1, 2, 3, 4, 5),
    columns=("arm", "lr", "seed", "final", "after", "series"), setting=SETTING,
)  # fmt: skip
"""Three batches of noise, with clipping and without, for two optimizers, and the same runs with clean batches."""
