# Built from notebooks/text/04_hyperparameters.py by `cs336lite build`: edit that file, not this one.
"""A training loop of thirty lines with every knob of lecture 04, and the comparisons that turn one knob at a time.

A *run* is plain JSON, {arm, lr, seed, config, training}; `train_run` trains it. Text is the bytes of the default corpus, as in
`cs336lite.trials`; losses are nats a byte.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cs336lite.accounting import parameters
from cs336lite.bpe import Tokenizer, train_bpe
from cs336lite.course.tuning import Crossed, Tuned
from cs336lite.lion import Lion
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.trials import texts

MODEL = {
    "vocab_size": 256, "context_length": 64, "d_model": 48, "num_layers": 2, "num_heads": 2, "d_ff": 128,
    "init_std": 0.144, "attend": "sdpa",
}  # fmt: skip
"""Two blocks of width 48: 80,112 parameters."""

TRAINING = {
    "steps": 1_000, "batch": 8, "seq": 64, "warmup": 50, "schedule": "linear", "optimizer": "adamw", "weight_decay": 0.1,
    "dropout_for": 1.0, "evaluations": 1, "bytes": None,
}  # fmt: skip
"""Steps of 512 bytes. ``dropout_for``: the share of the steps over which dropout falls to 0, 1 for a dropout that stays;
``bytes``: how much of the text is learned from, None for all of it."""


@torch.no_grad()
def mean_loss(model: Transformer, ids: Tensor, seq: int, pieces: int = 400) -> float:
    """Nats a token on so many evenly spaced pieces of a text."""
    starts = torch.linspace(0, len(ids) - seq - 1, min(pieces, len(ids) - seq)).long()[:, None]
    batches = ids[starts + torch.arange(seq + 1)].split(50)
    losses = [F.cross_entropy(model(b[:, :-1]).flatten(0, 1), b[:, 1:].flatten(), reduction="sum") for b in batches]
    return sum(loss.item() for loss in losses) / (len(starts) * seq)


def lr_share(schedule: str, step: int, steps: int, warmup: int) -> float:
    """The learning rate of a step (from 0) as a share of the highest.

    >>> [round(lr_share("linear", step, 100, 10), 2) for step in (0, 9, 50, 99)]
    [0.1, 0.91, 0.5, 0.01]
    """
    left = 1 - step / steps  # from 1 to nearly 0
    shapes = {
        "constant": 1.0,
        "linear": left,
        "cosine": (1 + math.cos(math.pi * (1 - left))) / 2,
        "cosine to 10 %": 0.1 + 0.9 * (1 + math.cos(math.pi * (1 - left))) / 2,
        "WSD": min(1.0, left / 0.25),  # warmup, stable, decay: the fall is the last quarter
    }
    return shapes[schedule] * min(1.0, (step + 1) / warmup)


def optimizer_of(model: nn.Module, name: str, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW or Lion; matrices decay, the gains of norms do not."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return Lion(groups) if name == "lion" else torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)


def fit(
    model: Transformer, learned: Tensor, held: Tensor, lr: float, t: Mapping[str, Any], draw: torch.Generator
) -> dict:
    """Train ``model`` on ``learned``: {final: held-out loss, fitted: loss on the text learned from, curve, heldout}.

    ``curve`` is the mean training loss of every twentieth of the run, ``heldout`` the held-out loss at each of the
    ``evaluations``; ``final`` is None where a loss was not finite.
    """
    optimizer, losses, heldout = optimizer_of(model, t["optimizer"], t["weight_decay"]), [], []
    dropouts = [(module, module.p) for module in model.modules() if isinstance(module, nn.Dropout)]
    for step in range(t["steps"]):
        for group in optimizer.param_groups:
            group["lr"] = lr * lr_share(t["schedule"], step, t["steps"], t["warmup"])
        for module, p in dropouts:
            module.p = p if t["dropout_for"] == 1 else p * max(0.0, 1 - step / (t["dropout_for"] * t["steps"]))
        starts = torch.randint(len(learned) - t["seq"], (t["batch"], 1), generator=draw)
        batch = learned[starts + torch.arange(t["seq"] + 1)]
        loss = model.loss(batch[:, :-1], batch[:, 1:])
        if not loss.isfinite():
            return {"final": None, "fitted": None, "curve": [], "heldout": []}
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % (t["steps"] // t["evaluations"]) == 0:
            last = step + 1 == t["steps"]
            heldout.append(round(mean_loss(model.eval(), held, t["seq"], 400 if last else 100), 4))
            model.train()
    curve = [round(float(np.mean(part)), 3) for part in np.array_split(losses, min(20, len(losses)))]
    fitted = round(mean_loss(model.eval(), learned, t["seq"]), 4)
    return {
        "final": heldout[-1] if math.isfinite(heldout[-1]) else None,
        "fitted": fitted,
        "curve": curve,
        "heldout": heldout,
    }


@cache
def tokens(vocab_size: int) -> tuple[Tensor, Tensor, float]:
    """Text to learn from and held-out text in tokens of a BPE vocabulary, and the bytes of a held-out token.

    The vocabulary is trained on the first 600,000 bytes to learn from; one of 256 is the bytes themselves.
    """
    learned, held = texts()
    if vocab_size == 256:
        return learned, held, 1.0
    text, further = (bytes(part.tolist()).decode(errors="replace") for part in (learned, held))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_text(text[:600_000], encoding="utf-8")
        encode = Tokenizer(*train_bpe(path, vocab_size, [])).encode
    others = encode(further)
    return torch.tensor(encode(text)), torch.tensor(others), len(further.encode()) / len(others)


def train_run(run: Mapping[str, Any]) -> dict[str, Any]:
    """Train a run, {arm, lr, seed, config, training}, and tell what `fit` tells, the held-out loss in nats a byte."""
    config, training = TransformerConfig(**run["config"]), run["training"]
    draw, (learned, held, size) = torch.Generator().manual_seed(run["seed"]), tokens(config.vocab_size)
    torch.manual_seed(run["seed"])  # dropout's masks
    told = fit(Transformer(config, draw), learned[: training["bytes"]], held, run["lr"], training, draw)
    return told if told["final"] is None else {**told, "final": round(told["final"] / size, 4)}


def run_of(arm: str, changes: Mapping[str, Any], lr: float, seed: int) -> dict[str, Any]:
    """The arguments of one training: what does not belong to the configuration belongs to the training."""
    own = {name: value for name, value in changes.items() if name in TRAINING}
    config = MODEL | {name: value for name, value in changes.items() if name not in TRAINING}
    return {"arm": arm, "lr": lr, "seed": seed, "config": config, "training": {**TRAINING, **own}}


def of_equal_size(make: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    """The changes that ``make(width)`` gives for the width, a multiple of 4, whose model is nearest to `MODEL` in size."""
    target = parameters(TransformerConfig(**MODEL).shape)
    options = [make(width) for width in range(12, 120, 4)]
    return min(options, key=lambda c: abs(parameters(TransformerConfig(**MODEL | c).shape) - target))


def of_depth(layers: int) -> dict[str, Any]:
    """So many blocks, and the width that keeps the number of parameters."""
    return of_equal_size(lambda d: {"num_layers": layers, "d_model": d, "d_ff": round(8 * d / 3)})


def of_ratio(activation: str, ratio: int | float) -> dict[str, Any]:
    """A feed-forward network so many times as wide as the model, at the same number of parameters."""
    return of_equal_size(lambda d: {"activation": activation, "d_model": d, "d_ff": round(ratio * d)})


SETTING = {"model": MODEL, "training": TRAINING}
COLUMNS = ("arm", "lr", "seed", "final", "curve")
GRID = (6.8e-3, 1e-2, 1.5e-2)
SHORT = {"steps": 100, "warmup": 10}


def tuned(
    name: str, arms: Mapping[str, Mapping[str, Any]], grid: Any = GRID, columns: tuple[str, ...] = COLUMNS
) -> Tuned:
    """A comparison whose arms are each tuned with seed 101 and reported with seeds 1 to 5."""
    return Tuned(name, arms, run_of, train_run, grid=grid, columns=columns, setting=SETTING)


SCHEDULES = {name: {"schedule": name} for name in ("linear", "constant", "cosine", "cosine to 10 %", "WSD")}
SCHEDULE_SHORT = tuned("04_schedule_short", {name: {**arm, **SHORT} for name, arm in SCHEDULES.items()})
"""The schedules in runs of 100 steps."""


HABITS = tuned(
    "04_habits",
    SCHEDULES
    | {f"linear, decay {wd:g}": {"weight_decay": wd} for wd in (0.0, 0.3, 1.0)}
    | {
        f"{schedule}, decay {wd:g}": {"schedule": schedule, "weight_decay": wd}
        for schedule in ("constant", "cosine")
        for wd in (0.0, 1.0)
    }
    | {"dropout 0.1": {"dropout": 0.1}, "early dropout 0.1": {"dropout": 0.1, "dropout_for": 0.2}}
    | {"no warmup": {"warmup": 1}, "warmup 200": {"warmup": 200}},
)
"""How a model is trained: schedule, weight decay, dropout, warmup. The base, ``linear``, has a decay of 0.1."""


LION_DECAYS = (0.4, 0.6, 0.8)
RATES = Crossed(
    "04_rates",
    {"AdamW": {}, "Lion": {"optimizer": "lion"}}
    | {f"Lion, decay {wd}": {"optimizer": "lion", "weight_decay": wd} for wd in LION_DECAYS},
    run_of,
    train_run,
    setting=SETTING,
    columns=("arm", "lr", "seed", "final"),
    grid={
        "AdamW": (3e-3, 4.5e-3, 6.8e-3, 1e-2, 1.5e-2, 2.3e-2),
        "Lion": (9e-4, 1.3e-3, 2e-3, 3e-3, 4.5e-3, 6.8e-3),
    }
    | {f"Lion, decay {wd}": (1.3e-3, 2e-3, 3e-3, 4.5e-3, 6.8e-3)[wd > 0.4 :] for wd in LION_DECAYS},
)
"""The loss of AdamW and of Lion over their learning rates."""


DEPTHS = {f"{layers} × {of_depth(layers)['d_model']}": of_depth(layers) for layers in (2, 1, 4, 8)}
RATIOS = {f"GELU {ratio}": of_ratio("gelu", ratio) for ratio in (4, 1, 16, 64)}
RATIOS |= {f"SwiGLU {name}": of_ratio("swiglu", ratio) for name, ratio in (("2/3", 2 / 3), ("32/3", 32 / 3))}
HEADS = {f"{heads} head{'s' * (heads > 1)} of {48 // heads}": {"num_heads": heads} for heads in (1, 4, 8)}
SHAPE = tuned("04_shape", DEPTHS | RATIOS | HEADS)
"""The shape of a model at one number of parameters. The base is ``2 × 48``, with SwiGLU 8/3 and 2 heads of 24."""

SHAPE_SHORT = tuned("04_shape_short", {name: {**arm, **SHORT} for name, arm in DEPTHS.items()})
"""The depths in runs of 100 steps."""


WIDTHS = {f"width {d}": {"d_model": d, "d_ff": round(8 * d / 3), "num_heads": d // 24} for d in (24, 96)}
VOCABULARIES = {
    f"vocabulary {size}": {"vocab_size": size, "seq": seq} for size, seq in ((512, 33), (1024, 25), (2048, 20))
}
SIZE = tuned("04_size", {"width 48, bytes": {}} | WIDTHS | VOCABULARIES)
"""More parameters: wider blocks, or a larger vocabulary at equal bytes, since ``seq`` tokens are 64 bytes of text."""


BATCH_STEPS = {2: 2_000, 8: 1_000, 32: 400, 128: 150}
BATCH = tuned(
    "04_batch",
    {
        f"{size}": {
            "batch": size, "steps": steps, "warmup": 20, "schedule": "constant", "weight_decay": 0.0, "evaluations": 50,
        }
        for size, steps in BATCH_STEPS.items()
    },
    grid={"2": (2e-3, 3e-3, 4.5e-3), "8": (4.5e-3, 6.8e-3, 1e-2), "32": (6.8e-3, 1e-2, 1.5e-2), "128": (1e-2, 1.5e-2, 2.3e-2)},
    columns=("arm", "lr", "seed", "final", "heldout"),
)  # fmt: skip
"""Batches of 2 to 128 sequences, with the held-out loss at 50 places of a run."""
