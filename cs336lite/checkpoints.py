# Built from notebooks/text/appendix/04x_engine.py by `cs336lite build`: edit that file, not this one.
"""Stopping and going on: all that changes in a run, in one file that says of which run it is.

Built in notebooks/appendix/04x_engine.ipynb.
"""

from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cs336lite.batches import Tokens
from cs336lite.keys import describe
from cs336lite.model import TransformerConfig
from cs336lite.processes import together
from cs336lite.recipe import Groups, TrainingConfig, parameter_groups
from cs336lite.runs import CheckpointError, differences, layers, load_whole, plain_names, save_whole
from cs336lite.updates import State

FORMAT = "cs336lite checkpoint 1"


def save_checkpoint(path: str | Path, state: State, run: dict[str, Any]) -> None:
    """Write all that is needed to go on; ``run`` says of which run it is. The old file stays until the new is whole.

    Raises CheckpointError when it cannot be written.
    """
    content = {"format": FORMAT, "run": run, "step": state.step, "metrics": state.metrics}
    content |= {"model": plain_names(state.model.state_dict()), "optimizer": state.optimizer.state_dict()}
    with together(state.here):
        if state.here.rank == 0:
            save_whole(path, content)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, loaded as plain values and tensors only, on the CPU.

    Raises CheckpointError for a file that cannot be read, is cut short or damaged, or no checkpoint of this kind.
    """
    content = load_whole(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} holds something else than a {FORMAT!r}: give another path")
    return content


def load_checkpoint(path: str | Path, state: State, run: dict[str, Any]) -> None:
    """Make ``state`` what it was when the checkpoint was written.

    Raises CheckpointError, also when the checkpoint is of another run than ``run``, with what is different.
    """
    content = read_checkpoint(path)
    if told := differences(content["run"], run):
        raise CheckpointError(f"{path} is of another run: {told}")
    names = state.model.state_dict()
    here = dict(zip(plain_names(names), names))
    try:
        state.model.load_state_dict({here.get(name, name): x for name, x in plain_names(content["model"]).items()})
        state.optimizer.load_state_dict(content["optimizer"])
    except (RuntimeError, ValueError) as problem:
        raise CheckpointError(f"{path} holds other parameters than this model's: {problem}") from None
    state.step, state.metrics = content["step"], content["metrics"]


def identity(
    model: TransformerConfig | nn.Module, config: TrainingConfig, data: Tokens, groups: Groups = parameter_groups
) -> dict[str, Any]:
    """What makes a run the run it is, as a flat dict: a checkpoint belongs to no other.

    A module that is given is told by its configuration, if that is a dataclass, by its layers, and by their shapes.
    """
    flat = {"data": data.fingerprint} | (layers(model) if isinstance(model, nn.Module) else {})
    for prefix, said in (("model", getattr(model, "config", model)), ("training", config)):
        changed = next(iter(describe(said, code=True).values())) if is_dataclass(said) else {}
        flat |= {f"{prefix}.{name}": x for name, x in changed.items()}
    return flat if groups is parameter_groups else flat | {"groups": describe(groups, code=True)}


def resume(path: str | Path | None, state: State, run: dict[str, Any]) -> None:
    """`load_checkpoint` where there is one. CheckpointError when the processes do not see the same."""
    with together(state.here), suppress(FileNotFoundError):
        if path:
            load_checkpoint(path, state, run)
    if state.here.mean(torch.tensor(float(state.step), device=state.here.device)) != state.step:
        raise CheckpointError(f"not every process sees the same {path}: it must lie on a disk that all of them share")
