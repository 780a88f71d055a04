# Built from notebooks/text/appendix/04x_engine.py by `cs336lite build`: edit that file, not this one.
"""What a run is told: `TrainingConfig`, with schedules, optimizers and groups of parameters.

Built in notebooks/appendix/04x_engine.ipynb.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cs336lite.runs import real, whole

SCHEDULES: dict[str, Callable[[float, "TrainingConfig"], float]] = {  # t: from 0 after warmup to 1 at the end
    "constant": lambda t, c: 1.0,
    "linear": lambda t, c: 1 - (1 - c.final_lr) * t,
    "cosine": lambda t, c: c.final_lr + (1 - c.final_lr) * (1 + math.cos(math.pi * t)) / 2,
    "wsd": lambda t, c: 1 - (1 - c.final_lr) * max(0.0, 1 - (1 - t) / c.decay),
}


def lr_factor(config: "TrainingConfig", step: int) -> float:
    """The learning rate of step 0, 1, …, steps - 1 as a share of ``config.lr``.

    It climbs to 1 over ``warmup`` steps. The schedule then reaches ``final_lr`` one step after the last, because a step
    whose rate is 0 would be wasted.

    >>> config = TrainingConfig(steps=6, batch_size=1, schedule="linear", warmup=2)
    >>> [lr_factor(config, step) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < config.warmup:
        return (step + 1) / config.warmup
    return SCHEDULES[config.schedule]((step - config.warmup) / (config.steps - config.warmup), config)


Groups = Callable[[nn.Module, float], list[dict[str, Any]]]  # (model, weight decay) -> PyTorch's parameter groups


def adamw(groups: list[dict[str, Any]], config: "TrainingConfig") -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas or (0.9, 0.95), fused=True)


def lion(groups: list[dict[str, Any]], config: "TrainingConfig") -> torch.optim.Optimizer:
    from cs336lite.lion import Lion  # assignment a4; whoever trains with AdamW does not need it

    return Lion(groups, lr=config.lr, betas=config.betas or (0.9, 0.99))


def sgd(groups: list[dict[str, Any]], config: "TrainingConfig") -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=config.lr, momentum=(config.betas or (0.9, 0))[0])


OPTIMIZERS = {"adamw": adamw, "lion": lion, "sgd": sgd}


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer: matrices decay, vectors (biases and the gains of norms) do not.

    >>> [len(group["params"]) for group in parameter_groups(nn.Linear(3, 4), 0.1)]
    [1, 1]
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def checked_groups(model: nn.Module, config: "TrainingConfig", groups: Groups) -> list[dict[str, Any]]:
    """What ``groups`` gives, each with an ``lr_scale``. ValueError for a trainable parameter that is in no group.

    A group may say anything that the optimizer knows (weight_decay, betas), except ``lr``, which the schedule sets.
    """
    found = [{"lr_scale": 1.0, **group} for group in groups(model, config.weight_decay)]
    for group in found:
        if "params" not in group:
            raise ValueError(f"a group has no params, only {', '.join(group)}: give PyTorch's parameter groups")
        group["params"] = list(group["params"])
        if "lr" in group:
            raise ValueError("a group has lr, which the schedule sets: give lr_scale, its share of the run's lr")
        group["lr_scale"] = real("lr_scale", group["lr_scale"])
    given = {id(p) for group in found for p in group["params"]}
    left = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in given]
    if left:
        raise ValueError(f"no group has {', '.join(left[:3])}: give it one, with lr_scale 0 if it is to stay as it is")
    return found


WHOLE = {"steps": 1, "batch_size": 1, "seq": 1, "warmup": 0, "accumulation": 1}  # the least of each
WHOLE |= {"eval_every": 0, "eval_batches": 1, "seed": 0}
MOST = {"lr": math.inf, "weight_decay": math.inf, "clip": math.inf}  # the most of each; the least is 0
MOST |= {"decay": 1, "final_lr": 1, "early_dropout": 1}
PRECISIONS = ("float32", "bfloat16", "auto")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train, whatever the model. ValueError for numbers that make no sense; those of numpy become Python's."""

    steps: int  # updates of the parameters
    batch_size: int  # sequences in an update, over all processes and all parts
    seq: int | None = None  # tokens in a sequence; None: the model's context_length
    optimizer: str = "adamw"  # a name in OPTIMIZERS
    lr: float = 3e-3  # the highest learning rate
    betas: tuple[float, float] | None = None  # None: (0.9, 0.95) for AdamW, (0.9, 0.99) for Lion
    weight_decay: float = 0.1  # of matrices; a step shrinks them by lr * weight_decay
    schedule: str = "cosine"  # a name in SCHEDULES
    warmup: int = 0  # steps
    final_lr: float = 0.0  # where linear, cosine and wsd end, as a share of lr
    decay: float = 0.2  # share of the steps in which wsd falls
    clip: float | None = 1.0  # the largest norm of a gradient
    accumulation: int = 1  # parts into which a batch is divided, one after another
    early_dropout: float = 0.0  # share of the steps over which the model's dropout falls to 0; 0: it stays
    precision: str = "float32"  # "bfloat16": autocast; "auto": what is faster here
    eval_every: int = 0  # steps; 0: at the end only
    eval_batches: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in list(known):
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(known)}")
        for name, least in WHOLE.items():
            if (value := getattr(self, name)) is not None or name != "seq":
                object.__setattr__(self, name, whole(name, value, least))
        for name, most in MOST.items():
            if (value := getattr(self, name)) is not None or name != "clip":
                object.__setattr__(self, name, real(name, value, most))
        if self.betas is not None:
            object.__setattr__(self, "betas", tuple(real("a beta", beta, 1) for beta in self.betas))
            if len(self.betas) != 2 or max(self.betas) == 1:
                raise ValueError(f"betas are {self.betas}, but must be two shares below 1")
        if self.clip == 0 or self.decay == 0:
            raise ValueError(f"clip is {self.clip} and decay {self.decay}, but such norms and shares are above 0")
        if self.warmup > self.steps:
            raise ValueError(f"warmup takes {self.warmup} of {self.steps} steps")
        if self.batch_size % self.accumulation:
            raise ValueError(f"{self.batch_size} sequences do not divide into {self.accumulation} equal parts")
