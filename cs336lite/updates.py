# Built from notebooks/text/appendix/04x_engine.py by `cs336lite build`: edit that file, not this one.
"""One step of training: the gradient of a batch, clipping, an update, and what there is to record; the validation loss.

Shapes: ``batch`` sequences of ``seq`` tokens.

Built in notebooks/appendix/04x_engine.ipynb.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cs336lite.batches import Tokens, generator, seed_of
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.processes import World
from cs336lite.recipe import OPTIMIZERS, Groups, TrainingConfig, checked_groups, lr_factor, parameter_groups
from cs336lite.slots import ActsAfterStep

Row = dict[str, int | float | None]  # what is recorded of a step; None: not finite
Observer = Callable[[int, nn.Module], dict[str, int | float]]  # (step, model) -> what to record with this step
Score = Callable[[nn.Module, Tensor, Tensor], Tensor]  # (model, inputs, targets) -> validation loss


@lru_cache
def bfloat16_is_faster(device: str = "cpu") -> bool:
    """Whether a product of bfloat16 matrices takes less time here than one of float32: measured, not assumed."""
    pairs = [torch.randn(2, 512, 512, device=device).to(dtype) for dtype in (torch.float32, torch.bfloat16)]
    times: list[list[float]] = [[], []]
    for _ in range(5):
        for pair, taken in zip(pairs, times):
            start = time.perf_counter()
            (pair[0] @ pair[1]).sum().item()  # .item() waits for a GPU
            taken.append(time.perf_counter() - start)
    return min(times[1]) < min(times[0])


class _Loss(nn.Module):
    """``model.loss`` as a forward pass, which is what DistributedDataParallel watches."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss(inputs, targets)


def cross_entropy(
    model: nn.Module, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]
) -> Float[Tensor, ""]:
    """Mean negative log-probability of the targets in nats, of the model's logits alone: no auxiliary losses."""
    return F.cross_entropy(model(inputs).flatten(0, 1).float(), targets.flatten())


@dataclass
class State:
    """A run under way: what a checkpoint holds (model, optimizer, step, metrics), and what it computes with."""

    model: nn.Module
    loss: nn.Module  # the model's loss, shared between processes where there are several
    optimizer: torch.optim.Optimizer
    config: TrainingConfig
    here: World
    dropouts: list[tuple[nn.Module, float]]  # with the probability that each began with
    acting: list[ActsAfterStep]  # found once: 2 % of a step of a small model
    step: int = 0  # updates done
    metrics: list[Row] = field(default_factory=list)

    def autocast(self) -> Any:
        device, precision = self.here.device, self.config.precision
        low = precision == "bfloat16" or (precision == "auto" and bfloat16_is_faster(str(device)))
        return torch.autocast(device.type, torch.bfloat16, enabled=low)


def begin(
    model: TransformerConfig | nn.Module, config: TrainingConfig, here: World, groups: Groups = parameter_groups
) -> State:
    """The state before the first step. A model that is made from its configuration is drawn with the run's seed.

    Raises ValueError for an early dropout of a model that has no `nn.Dropout` above 0.
    """
    if not isinstance(model, nn.Module):
        model = Transformer(model, generator=generator(config.seed, 0, purpose=1))
    model = model.to(here.device)
    dropouts = [(module, module.p) for module in model.modules() if isinstance(module, nn.Dropout) and module.p > 0]
    if config.early_dropout and not dropouts:
        raise ValueError("early_dropout asks for dropout, and the model has none")
    loss = _Loss(model)
    if here.size > 1:
        loss = DistributedDataParallel(loss)
    optimizer = OPTIMIZERS[config.optimizer](checked_groups(model, config, groups), config)
    acting = [module for module in model.modules() if isinstance(module, ActsAfterStep)]
    return State(model, loss, optimizer, config, here, dropouts, acting)


def set_step(state: State) -> float:
    """Learning rate, dropout and random numbers as this step has them; returns the rate of a group with ``lr_scale`` 1."""
    config, step = state.config, state.step
    # torch.manual_seed asks every kind of device, which a small model on a CPU would wait for in each step
    draws = torch.default_generator if state.here.device.type == "cpu" else torch
    draws.manual_seed(seed_of(config.seed, step, 2, state.here.rank))  # dropout: other masks on each process
    lr = config.lr * lr_factor(config, step)
    for group in state.optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
    if config.early_dropout:
        left = max(0.0, 1 - step / (config.early_dropout * config.steps))
        for module, p in state.dropouts:
            module.p = p * left
    return lr


def backward(state: State, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]) -> float:
    """Gradients of the mean loss of a batch, which is divided among the processes and then into parts; the loss."""
    state.optimizer.zero_grad(set_to_none=True)
    parts = state.config.accumulation
    total = torch.zeros((), device=state.here.device)
    pairs = list(zip(state.here.share(inputs, parts), state.here.share(targets, parts)))
    for number, pair in enumerate(pairs, start=1):
        wait = state.here.size > 1 and number < parts  # processes exchange gradients once, after the last part
        with state.loss.no_sync() if wait else nullcontext():
            with state.autocast():
                loss = state.loss(*pair) / parts
            loss.backward()
        total += loss.detach()
    return state.here.mean(total)


def update(state: State) -> None:
    """Change the parameters. Each module that is an `ActsAfterStep` then acts, once for all parts of a batch."""
    state.optimizer.step()
    for module in state.acting:
        module.after_step(state.here.sum)


def train_step(
    state: State, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"], observe: Observer | None = None
) -> Row:
    """One update; what there is to record of it. ``observe`` sees the model with its gradients, before the update.

    Nothing is changed when the loss or the norm of the gradient is not finite.
    """
    lr = set_step(state)
    loss = backward(state, inputs, targets)
    most = math.inf if state.config.clip is None else state.config.clip
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), most).item()
    row = {"step": state.step + 1, "loss": loss, "lr": lr, "grad_norm": norm}
    row |= {} if observe is None else observe(state.step + 1, state.model)
    if math.isfinite(loss) and math.isfinite(norm):
        update(state)
    state.step += 1
    return {name: finite(x) for name, x in row.items()} | {"step": state.step}


def finite(x: int | float) -> float | None:
    """The number, or None for one that JSON cannot write."""
    return float(x) if math.isfinite(x) else None


def broken(row: Row) -> bool:
    """Whether the run ended with this step: its loss, gradient or validation loss is not finite."""
    return any(row.get(name, 0) is None for name in ("loss", "grad_norm", "validation"))


@torch.no_grad()
def evaluate(state: State, data: Tokens, seq: int, score: Score = cross_entropy) -> float:
    """The mean of ``score`` over ``eval_batches`` batches, which are the same at every step and for every seed."""
    state.model.eval()
    total, batches = torch.zeros((), device=state.here.device), state.config.eval_batches
    for number in range(batches):
        inputs, targets = data.batch(state.config.batch_size, seq, generator(0, number, purpose=3))
        for pair in zip(*(state.here.share(rows, state.config.accumulation) for rows in (inputs, targets))):
            with state.autocast():
                total += score(state.model, *pair) / (batches * state.config.accumulation)
    state.model.train()
    return state.here.mean(total)
