# Built from notebooks/text/08_scaling.py by `cs336lite build`: edit that file, not this one.
"""The runs of lecture 08, declared: IsoFLOP profiles, a larger run that they predict, learning rates of two widths.

The learning rate is `RULE` / width unless an arm says otherwise. ``cs336lite results 08`` trains them all.

Built in notebooks/08_scaling.ipynb.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from cs336lite.accounting import active_parameters
from cs336lite.course.data import default_corpus
from cs336lite.course.tuning import Crossed
from cs336lite.scaling import isoflop_model, isoflop_run, train_mup
from cs336lite.training import Tokens, TrainingConfig, train

RULE = 0.24
SEEDS = (0, 1, 2)

GRID = {
    1e10: (4, 8, 12, 16, 20, 24),
    3e10: (8, 12, 16, 20, 28),
    9e10: (12, 16, 20, 28, 36),
    2.7e11: (20, 28, 36, 48),
}
"""FLOPs: widths, on both sides of the best one."""

LARGER = 8.1e11
"""FLOPs of the run that the others predict."""


@cache
def bytes_of_text() -> tuple[Tokens, Tokens]:
    """The bytes of the default corpus to learn from, nine tenths, and those held out."""
    ids = np.frombuffer(default_corpus().read_bytes(), dtype=np.uint8)
    return Tokens(ids[: len(ids) * 9 // 10]), Tokens(ids[len(ids) * 9 // 10 :])


def run_of(arm: str, changes: Mapping[str, Any], lr: float, seed: int) -> dict[str, Any]:
    """The arguments of one training as plain JSON."""
    return {"arm": arm, "lr": lr, "seed": seed, **changes}


def finite(loss: float) -> float | None:
    return round(loss, 6) if math.isfinite(loss) else None


def train_budget(run: Mapping[str, Any]) -> dict[str, Any]:
    """Train ``run``, {arm, flops, width, lr, seed}: sizes in weights, tokens, and the held-out loss in nats a byte.

    ``final`` is None for a run that diverged.
    """
    planned = isoflop_run(run["width"], run["flops"], run["seed"])
    model, training = planned.model, replace(planned.training, lr=run["lr"])
    data, held = bytes_of_text()
    tokens = training.steps * training.batch_size * model.context_length
    told = {"size": active_parameters(model.shape), "embedding": model.vocab_size * run["width"], "tokens": tokens}
    return {**told, "final": finite(train(model, training, data, validation=held).final)}


COLUMNS = ("arm", "flops", "width", "lr", "seed", "size", "embedding", "tokens", "final")


def _arms(cells: list[tuple[str, float, int]]) -> dict[str, dict[str, Any]]:
    return {name: {"flops": flops, "width": width} for name, flops, width in cells}


CELLS = [(f"{flops:.1e} FLOPs, width {width}", flops, width) for flops, widths in GRID.items() for width in widths]

ISOFLOP = Crossed(
    "08_isoflop", _arms(CELLS), run_of, train_budget,
    grid={name: (RULE / width,) for name, _, width in CELLS}, seeds=SEEDS, columns=COLUMNS,
)  # fmt: skip
"""Loss against size at four budgets."""

FORECAST = Crossed(
    "08_larger", _arms([("larger", LARGER, 40)]), run_of, train_budget,
    grid=(RULE / 40, 1.5 * RULE / 40, RULE / 60), seeds=(0, 1), columns=COLUMNS,
)  # fmt: skip
"""The run that the profiles predict, at the rate of the rule and at rates 1.5 times larger and smaller."""

CHECKED = Crossed(
    "08_rates", _arms([(f"3e10 FLOPs, width {width}", 3e10, width) for width in (12, 28)]), run_of, train_budget,
    grid={f"3e10 FLOPs, width {width}": (RULE / 1.5 / width, 1.5 * RULE / width) for width in (12, 28)},
    seeds=SEEDS, columns=COLUMNS,
)  # fmt: skip
"""Is the rule fair to small and to large models? Rates 1.5 times smaller and larger than it says."""


BASE = 16
"""The width at which µP is the usual parametrisation."""


def train_transfer(run: Mapping[str, Any]) -> dict[str, Any]:
    """Train ``run``, {arm, width, base, lr, seed, steps, batch}: the held-out loss in nats a byte, None where it diverged.

    Heads keep their size, 16, so a wider model has more of them.
    """
    model = isoflop_model(run["width"]).replace(num_heads=run["width"] // 16)
    training = TrainingConfig(
        steps=run["steps"], batch_size=run["batch"], lr=run["lr"], warmup=run["steps"] // 10, weight_decay=0.0, eval_batches=32,
        seed=run["seed"],
    )  # fmt: skip
    return {"final": finite(train_mup(model, training, *bytes_of_text(), run["base"]))}


NARROW = (7.5e-3, 1.1e-2, 1.65e-2, 2.5e-2, 3.8e-2, 5.6e-2)
WIDE = (2.2e-3, 3.3e-3, 5e-3, 7.5e-3, 1.1e-2, 1.65e-2)

TRANSFER = Crossed(
    "08_mup",
    {
        "width 16": {"width": 16, "base": 16, "steps": 160, "batch": 16}, "usual, width 64": {"width": 64, "base": 64, "steps": 160, "batch": 16},
        "µP, width 64": {"width": 64, "base": BASE, "steps": 160, "batch": 16},
    },
    run_of, train_transfer, grid={"width 16": NARROW, "usual, width 64": WIDE, "µP, width 64": NARROW},
    columns=("arm", "width", "base", "lr", "seed", "final"),
)  # fmt: skip
"""Loss against learning rate, narrow and wide, in the usual parametrisation and in µP."""
