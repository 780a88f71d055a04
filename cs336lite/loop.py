# Built from notebooks/text/appendix/04x_engine.py by `cs336lite build`: edit that file, not this one.
"""A whole run: `train`, and the `Run` that it gives.

Built in notebooks/appendix/04x_engine.ipynb.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from cs336lite.batches import Tokens, generator
from cs336lite.checkpoints import identity, resume, save_checkpoint
from cs336lite.model import TransformerConfig
from cs336lite.processes import together, world
from cs336lite.recipe import Groups, TrainingConfig, parameter_groups
from cs336lite.runs import check_places, check_run, sequence_length, written
from cs336lite.updates import Observer, Row, Score, State, begin, broken, cross_entropy, evaluate, finite, train_step


@dataclass(frozen=True)
class Run:
    """What training gave: ``metrics`` has a dict of numbers for each step."""

    name: str
    metrics: list[Row]
    seconds: float  # on the clock, since it was last started
    model: nn.Module | None = field(default=None, repr=False, compare=False)  # None in a sweep

    def values(self, name: str = "loss") -> np.ndarray:
        """What was recorded under a name, in order; NaN where it was not finite."""
        found = [row[name] for row in self.metrics if name in row]
        return np.array([math.nan if x is None else x for x in found])

    @property
    def diverged(self) -> bool:
        """Whether it stopped because the loss, the gradient or the validation loss was not finite."""
        return any(map(broken, self.metrics))

    @property
    def final(self) -> float:
        """The last validation loss; infinite when the run diverged. ValueError when nothing was validated."""
        if self.diverged:
            return math.inf
        if "validation" not in self.metrics[-1]:
            raise ValueError(f"the run {self.name!r} has no validation loss: give train or sweep validation data")
        return float(self.values("validation")[-1])


@contextmanager
def json_lines(path: str | Path | None, rows: list[Row]) -> Iterator[Callable[[Row], None]]:
    """A function that appends a row to a file, which begins with ``rows``. Without a path it does nothing."""
    if path is None:
        yield lambda row: None
        return
    with written(path) as beside:
        beside.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with open(path, "a", buffering=1) as file:
        yield lambda row: file.write(json.dumps(row) + "\n")


def steps(
    state: State, data: Tokens, seq: int, validation: Tokens | None, observe: Observer | None, score: Score
) -> Iterator[Row]:
    """Train step by step until the end, or until a step is `broken`; each step's row of numbers."""
    config = state.config
    while state.step < config.steps and not (state.metrics and broken(state.metrics[-1])):
        batch = data.batch(config.batch_size, seq, generator(config.seed, state.step))
        row = train_step(state, *batch, observe)
        due = state.step == config.steps or (config.eval_every and state.step % config.eval_every == 0)
        if validation is not None and due and not broken(row):
            row["validation"] = finite(evaluate(state, validation, seq, score))
        state.metrics.append(row)
        yield row


def follow(
    state: State, rows: Iterator[Row], run: dict[str, Any], bar: tqdm, checkpoint: Any, every: int, log: Any
) -> None:
    """Go through the steps of a run, show how far it is, and write what is to be written."""
    with json_lines(log if state.here.rank == 0 else None, state.metrics) as write, bar:
        for row in rows:
            write(row)
            bar.update()
            if checkpoint and (state.step == state.config.steps or (every and state.step % every == 0)):
                save_checkpoint(checkpoint, state, run)


def train(
    model: TransformerConfig | nn.Module, config: TrainingConfig, data: Tokens, *, validation: Tokens | None = None,
    observe: Observer | None = None, score: Score = cross_entropy, checkpoint: str | Path | None = None,
    checkpoint_every: int = 0, log: str | Path | None = None, device: str | None = None, progress: bool = False,
    groups: Groups = parameter_groups,
) -> Run:  # fmt: skip
    """Train a model: one made from its configuration, or one given, with ``loss(tokens, targets)`` and a forward pass.

    ``validation`` is scored by ``score(model, inputs, targets)``, and ``observe(step, model)`` gives more numbers to
    record, with the gradients in place. A run goes on from the file ``checkpoint`` if there is one; it is written every
    ``checkpoint_every`` steps and at the end. ``log`` gets the metrics as JSON lines. Under torchrun all processes train
    together. ``groups(model, weight_decay)`` gives the optimizer's parameter groups, with a learning rate of its own for
    each (``lr_scale``). A loss or gradient that is not finite ends the run. Unfit data and paths raise before the first
    step.
    """
    start = time.perf_counter()
    with world(device) as here, torch.random.fork_rng([here.device] if here.device.type == "cuda" else []):
        with together(here):
            check_run(model, config, data, validation)
            if here.rank == 0:
                check_places(checkpoint, checkpoint_every, log)
        state = begin(model, config, here, groups)
        run = identity(model, config, data, groups) if checkpoint else {}
        resume(checkpoint, state, run)
        rows = steps(state, data, sequence_length(model, config), validation, observe, score)
        bar = tqdm(total=config.steps, initial=state.step, disable=not progress or here.rank > 0, unit="step")
        follow(state, rows, run, bar, checkpoint, checkpoint_every, log)
    return Run("", state.metrics, time.perf_counter() - start, state.model)
