# Built from notebooks/text/appendix/04x_engine.py by `cs336lite build`: edit that file, not this one.
"""Train a language model: token data, batches, optimizers, schedules, checkpoints, and many runs in one call.

Every random number of a run comes from seeds made of (seed, step), so a run that was stopped goes on exactly as if it
had not been, and the same run on several processes sees the same batches. One process, or several under torchrun:

    torchrun --nproc_per_node 2 -m cs336lite.training run.json        # see `main`

Shapes: ``batch`` sequences of ``seq`` tokens.

Built in notebooks/appendix/04x_engine.ipynb, from `batches` up to `experiments`.
"""

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from cs336lite.batches import Tokens, generator, seed_of, write_tokens
from cs336lite.checkpoints import FORMAT, identity, load_checkpoint, read_checkpoint, resume, save_checkpoint
from cs336lite.experiments import Experiment, executor, read_run, results, run_experiment, start_worker, sweep
from cs336lite.keys import describe, fingerprint
from cs336lite.loop import Run, follow, json_lines, steps, train
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.processes import World, together, world
from cs336lite.recipe import (
    MOST,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULES,
    WHOLE,
    Groups,
    TrainingConfig,
    adamw,
    checked_groups,
    lion,
    lr_factor,
    parameter_groups,
    sgd,
)
from cs336lite.runs import CheckpointError
from cs336lite.updates import (
    Observer,
    Row,
    Score,
    State,
    backward,
    begin,
    bfloat16_is_faster,
    broken,
    cross_entropy,
    evaluate,
    finite,
    set_step,
    train_step,
    update,
)

# fmt: off
__all__ = [
    "FORMAT", "MOST", "OPTIMIZERS", "PRECISIONS", "SCHEDULES", "WHOLE",
    "CheckpointError", "Experiment", "Groups", "NoiseScale", "Observer", "Row", "Run", "Score", "State", "Tokens",
    "TrainingConfig", "Transformer", "TransformerConfig", "World",
    "adamw", "backward", "begin", "bfloat16_is_faster", "broken", "checked_groups", "cross_entropy", "describe", "evaluate",
    "executor", "fingerprint", "finite", "follow", "generator", "identity", "json_lines", "lion", "load_checkpoint",
    "lr_factor", "main", "noise_scale", "parameter_groups", "read_checkpoint", "read_run", "results", "resume",
    "run_experiment", "save_checkpoint", "seed_of", "set_step", "sgd", "start_worker", "steps", "sweep", "together", "train",
    "train_step", "update", "world", "write_tokens",
]
# fmt: on


@dataclass(frozen=True)
class NoiseScale:
    """How a gradient divides into signal and noise (McCandlish et al. 2018, arXiv 1812.06162, section 2)."""

    signal: float  # squared length of the gradient of the whole distribution
    noise: float  # trace of the covariance of the gradient of one sequence
    seq: int  # tokens in a sequence

    @property
    def sequences(self) -> float:
        """B_simple, the batch at which noise and signal are equal: noise / signal, infinite where no signal is seen."""
        return self.noise / self.signal if self.signal > 0 else math.inf

    @property
    def tokens(self) -> float:
        return self.sequences * self.seq


def noise_scale(
    model: nn.Module, data: Tokens, *, seq: int, small: int = 1, batches: int = 64, seed: int = 0
) -> NoiseScale:
    """Signal and noise without bias, from gradients of ``batches`` batches of ``small`` sequences and of their union.

    A mean of B sequences has E|g|^2 = signal + noise / B: two sizes of B give two equations. (1812.06162, appendix A.1)
    The model's gradients are not kept.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    device, mean, length = parameters[0].device, [torch.zeros_like(p) for p in parameters], 0.0
    for number in range(batches):
        inputs, targets = data.batch(small, seq, generator(seed, number, purpose=4))
        gradients = torch.autograd.grad(model.loss(inputs.to(device), targets.to(device)), parameters)
        length += sum(g.square().sum().item() for g in gradients) / batches
        torch._foreach_add_(mean, gradients, alpha=1 / batches)
    whole, large = sum(g.square().sum().item() for g in mean), small * batches
    signal = (large * whole - small * length) / (large - small)
    return NoiseScale(signal, (length - whole) / (1 / small - 1 / large), seq)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what a JSON file says; alone, or one of the processes of torchrun.

    {"model": {"vocab_size": 256, …}, "training": {"steps": 100, …}, "data": "train.npy", "validation": "valid.npy",
     "checkpoint": "run.pt", "checkpoint_every": 50, "log": "run.jsonl"}; the last four may be missing. "dtype": "uint16"
    is for data without a header.
    """
    parser = argparse.ArgumentParser(prog="python -m cs336lite.training", description="Train a model.")
    parser.add_argument("file", type=Path, help="JSON: model, training, data, and the arguments of train()")
    said = json.loads(parser.parse_args(arguments).file.read_text())
    model, training = TransformerConfig(**said.pop("model")), TrainingConfig(**said.pop("training"))
    read = partial(Tokens, dtype=said.pop("dtype", None))
    data, validation = read(said.pop("data")), said.pop("validation", None)
    run = train(model, training, data, validation=validation and read(validation), progress=True, **said)
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"step {run.metrics[-1]['step']}, loss {run.metrics[-1]['loss']}", f"in {run.seconds:.0f} s")


if __name__ == "__main__" and __spec__ is not None:  # started by python -m; a notebook is __main__ too
    main()
