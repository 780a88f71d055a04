# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: training, minutes: 1, prerequisites: [03b_variants], device: CPU}
# ---

# %% [markdown]
# # 04x · The engine: training that goes on after a crash, on any machine (appendix of lecture 04)
#
# {badge} · prerequisites: [03b](../03b_variants.ipynb), a2, a3 · device: CPU
#
# Training is a loop of five lines: a batch, its loss, gradients, clipping, an update. What makes an engine long is what
# five lines leave out: to go on after a crash, to be the same on one process and on two, to say what happened, and to
# refuse what cannot work before hours have passed. [Lecture 04](../04_hyperparameters.ipynb) turns the knobs, and needs none
# of this to be read. Here are the parts, from the bottom up:
#
# | module of `cs336lite` | what is in it |
# |---|---|
# | `batches` | token ids in a file, batches drawn from seeds |
# | `recipe` | `TrainingConfig`: schedules, optimizers, groups of parameters |
# | `processes` | the processes that train together |
# | `updates` | one step: gradient, clipping, update; the validation loss |
# | `checkpoints` | stopping and going on |
# | `loop` | `train`, a whole run |
# | `experiments` | `sweep`, many runs |
# | `training` | all of it under one name, and `python -m cs336lite.training run.json` |
#
# Two more files are written by hand: `runs.py` (files that are whole, errors in words) and `keys.py` (which experiment
# is this?).

# %%
import subprocess
import sys
import tempfile
from itertools import pairwise

from cs336lite.course import whose
from cs336lite.course.data import default_corpus
from cs336lite.course.diagram import Diagram
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish

READY = whose("attention", "rope", lecture="04x_engine")
YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"

# %% [markdown]
# ## 1 · Batches
#
# **No random state is carried along.** The batch of step 7 and its dropout are drawn from seeds made of (seed, 7). So there
# is no generator to save, a run that was stopped goes on exactly, and each of several processes knows the whole batch
# and takes its share.

# %% folded=true
d = Diagram(84, 8.4)
state = [d.box(4 + 20 * i, 1.6, f"generator,\nafter step {i}", height=2, color="orange") for i in range(4)]
for left, right in pairwise(state):
    d.arrow(left.right, right.left)
d.text(4, 0.7, "state that is carried along: step 3 needs all steps before it")
for i in range(4):
    made = d.box(4 + 20 * i, 6.2, f"(seed, {i})", color="blue", width=14.2)
d.text(4, 5.3, "a seed for every step: step 3 needs two numbers")
d.show()

# %% folded=true
#| export batches
"""Token ids in a file, and batches of them that two numbers determine.

Every random number of a run comes from seeds made of (seed, step, purpose), so no state has to be kept.

Shapes: ``batch`` sequences of ``seq`` tokens.

Built in notebooks/appendix/04x_engine.ipynb.
"""

import argparse
import atexit
import concurrent.futures
import hashlib
import json
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from cs336lite.keys import describe, fingerprint
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.runs import (
    CheckpointError,
    check_ids,
    check_places,
    check_run,
    check_sweep,
    differences,
    layers,
    load_whole,
    open_ids,
    plain_names,
    real,
    save_whole,
    sequence_length,
    usable_device,
    whole,
    whole_blocks,
    written,
)
from cs336lite.slots import ActsAfterStep


# %%
#| export batches
def generator(seed: int, step: int, purpose: int = 0) -> torch.Generator:
    """Random numbers for one purpose of one step: the same for the same three numbers, unrelated for others."""
    return torch.Generator().manual_seed(seed_of(seed, step, purpose))


def seed_of(*numbers: int) -> int:
    """A seed of 63 bits made of some numbers, each at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


# %% [markdown]
# A training set does not fit into memory, and need not. Token ids lie in a file; the operating system maps it into memory
# (*memory mapping*, 内存映射) and reads the pages that are touched. A file is written beside its place and then renamed
# (`written`), so that there is never half of one.


# %%
#| export batches
def write_tokens(path: str | Path, ids: Iterable[int], vocab_size: int) -> int:
    """Write ids as they come to an .npy file, as uint16 where the vocabulary allows; returns how many there were.

    Raises ValueError for what is no whole number, and for an id outside 0 <= id < vocab_size; no file is written then.
    """
    dtype, count = np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32 if vocab_size <= 2**32 else np.uint64), 0

    def header() -> None:  # numpy pads it, so that a larger count takes no more room
        shape = {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(file, shape)

    with written(path) as beside, open(beside, "wb") as file:
        header()
        for block in whole_blocks(ids):
            if block.min() < 0 or block.max() >= vocab_size:
                raise ValueError(f"ids from {block.min()} to {block.max()}, but vocab_size is {vocab_size}")
            file.write(block.astype(dtype).tobytes())
            count += block.size
        file.seek(0)
        header()
    return count


# %%
#| export batches
class Tokens:
    """Token ids to train on: ``Tokens("train.npy")``, mapped into memory, or ``Tokens(ids)``.

    A file that holds ids and nothing else, as nanoGPT's do, needs their type: ``Tokens("train.bin", dtype=np.uint16)``.

    >>> inputs, targets = Tokens(range(100)).batch(2, 3, torch.Generator().manual_seed(0))
    >>> (targets - inputs).tolist()
    [[1, 1, 1], [1, 1, 1]]
    """

    def __init__(self, source: str | Path | Sequence[int] | np.ndarray, dtype: Any = None) -> None:
        self.path = Path(source).resolve() if isinstance(source, str | Path) else None
        self.dtype = dtype  # of the numbers in a file without a header
        self.ids = open_ids(self.path or source, dtype)

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type, tuple]:  # another process maps the same file
        return type(self), (self.ids,) if self.path is None else (self.path, self.dtype)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the ids, whatever holds them."""
        digest = hashlib.sha256()
        for start in range(0, len(self.ids), 2**20):
            digest.update(self.ids[start : start + 2**20].astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    def batch(
        self, batch_size: int, seq: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """Windows that begin anywhere, each position as likely as any other, and their next tokens, as int64.

        Raises ValueError when there are not more than ``seq`` tokens.
        """
        check_ids(self.ids, seq)
        starts = torch.randint(len(self) - seq, (batch_size, 1), generator=generator).numpy()
        windows = torch.from_numpy(self.ids[starts + np.arange(seq + 1)].astype(np.int64))
        return windows[:, :-1], windows[:, 1:]


# %%
with tempfile.TemporaryDirectory() as folder:
    ids = np.random.default_rng(0).integers(0, 50_257, 1_000_000)
    count = write_tokens(Path(folder) / "train.npy", ids.tolist(), vocab_size=50_257)
    size, train_ids = (Path(folder) / "train.npy").stat().st_size, Tokens(Path(folder) / "train.npy")
    print(f"{count:,} ids in {size:,} bytes, {type(train_ids.ids).__name__} of {train_ids.ids.dtype}")
    again = [train_ids.batch(2, 4, generator(seed=0, step=7))[0] for _ in range(2)]
    assert torch.equal(*again) and Tokens(ids).fingerprint == train_ids.fingerprint
    print("the batch of step 7, whenever it is asked for:", again[0].tolist())

# %% [markdown]
# Two bytes are enough for an id below 65,536, and a header of 128 bytes says what the file holds. A window begins anywhere,
# so no position in a text is special.
#
# ## 2 · The recipe
#
# *Warmup* (预热) climbs to the highest rate, and then comes a schedule:
#
# | name | after warmup | used by |
# |---|---|---|
# | linear | a straight line to zero | BERT; *D2Z* (arXiv 2502.15938) |
# | cosine | half a cosine, often to 10 % | GPT-3, Llama, Chinchilla |
# | WSD | flat, then a short fall (warmup, stable, decay) | MiniCPM (2404.06395): the length need not be known |
#
# By hand, for six steps with a warmup of two and a straight line: ½ and 1 while it climbs, then 1, ¾, ½, ¼. Zero would
# come one step later, because a step whose rate is 0 would be wasted.

# %%
#| export recipe
"""What a run is told: `TrainingConfig`, with schedules, optimizers and groups of parameters.

Built in notebooks/appendix/04x_engine.ipynb.
"""

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


# %% [markdown]
# AdamW (1711.05101) divides a mean gradient by its size; Lion (2302.06675, assignment a4) takes the sign of a mean. Both
# shrink weights by `lr * weight_decay` in each step, apart from the gradient (*decoupled*, 解耦).
#
# **Groups.** PyTorch's optimizers take a list of *parameter groups*: dicts with `params` and with whatever differs from the
# rest. Ours has one more entry, `lr_scale`, the name that the library timm gave it: the group's share of the learning
# rate. The schedule then moves all groups together. By default there are two groups, because only matrices decay: a
# norm's gain that is drawn to zero would switch a channel off. Another function in place of `parameter_groups` freezes a
# part (`lr_scale` 0), gives early layers smaller rates for fine-tuning, or makes µP (lecture 08).

# %%
#| export recipe
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


# %%
#| export recipe
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


# %%
plan, grid = TrainingConfig(steps=100, batch_size=8, warmup=10), np.arange(100)
assert [lr_factor(replace(plan, steps=6, warmup=2, schedule="linear"), i) for i in range(6)] == [
    0.5,
    1,
    1,
    0.75,
    0.5,
    0.25,
]
fig, ax = axes(xlabel="step", ylabel="learning rate (share of the highest)", size=(6.4, 2.8))
for (name, line), color in zip({"constant": ":", "linear": "-", "cosine": "--", "wsd": "-."}.items(), COLORS.values()):
    factors = [lr_factor(replace(plan, schedule=name), step) for step in grid]
    ax.plot(grid, factors, line, color=color, linewidth=2, label=name)
ax.set_title("Ten steps of warmup, then four ways to go")
finish(fig)

# %% [markdown]
# ## 3 · Processes that train together
#
# `torchrun` starts one script several times. Each process takes its rows of every batch, and PyTorch's
# *DistributedDataParallel* (DDP, 数据并行) averages the gradients. What fails on one process must fail on all, or the others
# wait for it for ever: `together` sees to that.

# %%
#| export processes
"""The processes that train together, and what is shared among them.

Built in notebooks/appendix/04x_engine.ipynb.
"""


@dataclass(frozen=True)
class World:
    """The processes that train together: the number of this one, how many there are, and where this one computes."""

    rank: int
    size: int
    device: torch.device

    def share(self, rows: Tensor, parts: int) -> Sequence[Tensor]:
        """This process's rows of a batch, in equal parts, on its device."""
        if len(rows) % (self.size * parts):
            raise ValueError(f"{len(rows)} sequences do not divide into {self.size} processes x {parts} parts")
        return rows.chunk(self.size)[self.rank].to(self.device).chunk(parts)

    def mean(self, value: Tensor) -> float:
        """The mean over all processes."""
        return self.sum(value).item() / self.size

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, which each of them gets."""
        if self.size > 1:
            dist.all_reduce(value := value.clone())
        return value


@contextmanager
def together(here: World) -> Iterator[None]:
    """A block that fails on every process when it fails on one, so that none waits for another for ever."""
    problem = None
    try:
        yield
    except Exception as raised:
        problem = raised
    if here.sum(torch.tensor(float(problem is not None), device=here.device)) > 0:
        raise problem or RuntimeError("another process of this run failed, and says why")


@contextmanager
def world(device: str | torch.device | None = None) -> Iterator[World]:
    """The processes that torchrun started, or that are a process group already; else this process alone.

    They are joined once and stay joined, since a group cannot be made a second time. ValueError: no such device here.
    """
    joined = dist.is_available() and dist.is_initialized()
    if not joined and "TORCHELASTIC_RUN_ID" not in os.environ:  # which torchrun sets
        yield World(0, 1, usable_device(device))
        return
    gpu = torch.cuda.is_available() if device is None else torch.device(device).type == "cuda"
    own = f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else "cuda"
    where = usable_device(own if gpu else device or "cpu")
    if not joined:
        dist.init_process_group(device_id=where if gpu else None)  # gloo for CPUs, NCCL for GPUs
        atexit.register(lambda: dist.is_initialized() and dist.destroy_process_group())
    yield World(dist.get_rank(), dist.get_world_size(), where)


# %% [markdown]
# ## 4 · One step
#
# bfloat16 is faster where there are instructions for it, and far slower where not (lecture 02): `"auto"` measures it. A
# batch that does not fit into memory is divided into parts whose gradients add up (*gradient accumulation*, 梯度累积).

# %%
#| export updates
"""One step of training: the gradient of a batch, clipping, an update, and what there is to record; the validation loss.

Shapes: ``batch`` sequences of ``seq`` tokens.

Built in notebooks/appendix/04x_engine.ipynb.
"""

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


# %%
#| export updates
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


# %%
#| export updates
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


# %%
#| export updates
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


# %% [markdown]
# A gradient that is not finite ends a run. Most optimizers would show it in the next loss, but Lion takes signs, and NaN
# has none: its averages would be NaN for ever, its weights would never move again, and its losses would look well.


# %%
#| export updates
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


# %% folded=true
BASE = TransformerConfig(
    vocab_size=256, context_length=64, d_model=48, num_layers=2, num_heads=2, d_ff=128, attend="sdpa", init_std=48**-0.5
)
PLAN = TrainingConfig(steps=40, batch_size=8, warmup=10, lr=6e-3)
bytes_ = np.frombuffer(default_corpus().read_bytes(), np.uint8)
DATA, HELDOUT = Tokens(bytes_[:-100_000]), Tokens(bytes_[-100_000:])
torch.set_num_threads(1)  # the model is so small that several threads would only wait for each other


def slower_below(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The first block learns at a tenth of the rate, and the embedding not at all."""
    scales = {"embedding": 0.0, "decoder.blocks.0": 0.1}
    by_scale: dict[float, list] = {}
    for name, p in model.named_parameters():
        scale = next((scale for part, scale in scales.items() if name.startswith(part)), 1.0)
        by_scale.setdefault(scale, []).append(p)
    return [{"params": p, "lr_scale": scale, "weight_decay": weight_decay} for scale, p in by_scale.items()]


if READY.or_show("one step"):
    here = World(0, 1, torch.device("cpu"))
    whole_batch, parts = (begin(BASE, replace(PLAN, accumulation=n), here) for n in (1, 4))
    batch = DATA.batch(8, 64, generator(0, 0))
    losses = backward(whole_batch, *batch), backward(parts, *batch)
    pairs = list(zip(whole_batch.model.parameters(), parts.model.parameters()))
    apart = max(((p.grad - q.grad).abs().max() / p.grad.abs().max()).item() for p, q in pairs)
    print(
        f"loss of the batch {losses[0]:.4f}, of its four parts {losses[1]:.4f}; gradients agree to one in {1 / apart:,.0f}"
    )
    state = begin(BASE, PLAN, here, slower_below)
    before = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    train_step(state, *batch)
    moved = {name: (p - before[name]).abs().max().item() for name, p in state.model.named_parameters()}
    for name in (
        "embedding.weight",
        "decoder.blocks.0.feed_forward.up.weight",
        "decoder.blocks.1.feed_forward.up.weight",
    ):
        print(f"{name:<40} moved by at most {moved[name]:.1e}")
    assert apart < 1e-3 and moved["embedding.weight"] == 0, YOURS

# %% [markdown]
# AdamW's first update of each number is the rate of its group, plus what decay takes: a tenth of it in the first block,
# nothing in the embedding.
#
# ## 5 · Checkpoints
#
# A result belongs to a configuration. `describe` writes one as plain JSON, without the fields that have their default
# value, and `fingerprint` makes it a key that names the result in a sweep. A key covers the code, too: two lambdas are two
# keys, and so are one function before and after you change a helper that it calls.
#
# A checkpoint (检查点) is all that changes: parameters, optimizer state, step, metrics. One of another configuration is
# refused by name. It is loaded with `weights_only=True`, since a pickle can run any code
# ([CVE-2025-32434](https://nvd.nist.gov/vuln/detail/CVE-2025-32434): even this needs PyTorch 2.6 or later).

# %%
#| export checkpoints
"""Stopping and going on: all that changes in a run, in one file that says of which run it is.

Built in notebooks/appendix/04x_engine.ipynb.
"""

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


# %%
#| export checkpoints
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


# %% [markdown]
# ## 6 · A run
#
# `train` looks at everything that can be known before the first step, begins or goes on, and writes each step's numbers as
# a line of JSON.

# %%
#| export loop
"""A whole run: `train`, and the `Run` that it gives.

Built in notebooks/appendix/04x_engine.ipynb.
"""


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


# %%
#| export loop
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


# %%
#| export loop
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


# %% [markdown]
# **Predict.** A run with dropout crashes at step 25 and goes on from its checkpoint of step 20. By how much do the final
# weights differ from those of a run that never stopped?

# %%
guess = None  # the largest difference of a weight


def crash(step: int, model: nn.Module) -> dict:
    """An observer that fails at step 25, as a machine might."""
    if step == 25:
        raise KeyboardInterrupt
    return {}


# %%
if READY.or_show("checkpoint"):
    dropping, slowing = BASE.replace(dropout=0.1), replace(PLAN, early_dropout=0.9)
    never_stopped = train(dropping, slowing, DATA, validation=HELDOUT)
    with tempfile.TemporaryDirectory() as folder:
        place = {"checkpoint": Path(folder) / "run.pt", "checkpoint_every": 20}
        try:
            train(dropping, slowing, DATA, observe=crash, **place)
        except KeyboardInterrupt:
            print("crashed; going on from the checkpoint of step", read_checkpoint(place["checkpoint"])["step"])
        rest = train(dropping, slowing, DATA, validation=HELDOUT, **place)
        try:
            train(dropping, replace(slowing, lr=1e-2), DATA, **place)
        except CheckpointError as problem:
            print("another run is refused:", str(problem).partition(" is ")[2])
    pairs = zip(never_stopped.model.parameters(), rest.model.parameters())
    largest = max((a - b).abs().max().item() for a, b in pairs)
    assert rest.metrics == never_stopped.metrics, YOURS  # every loss of every step, and the validation loss

# %% folded=true
# run this cell to compare your guess
if READY.or_show("checkpoint, compared"):
    because = {"too large": "dropout's masks come from (seed, step), so step 21 has the same ones in both runs"}
    reveal("largest difference", largest, guess, because=because)

# %% [markdown]
# ## 7 · Many runs
#
# An experiment is a configuration and nothing else, so a sweep (扫描) is a list of them. Each result is kept under the hash of
# what it depends on. Stop the sweep, add an arm, start again: only what is new is trained.

# %%
#| export experiments
"""Many runs in one call: in this process, in several, or on the workers of dask, each kept as soon as it is done.

Built in notebooks/appendix/04x_engine.ipynb.
"""


@dataclass(frozen=True)
class Experiment:
    """One run of a sweep; the name is only a label."""

    model: TransformerConfig
    training: TrainingConfig
    name: str = ""
    observe: Observer | None = None
    score: Score = cross_entropy
    groups: Groups = parameter_groups

    def key(self, data: Tokens, validation: Tokens | None) -> str:
        """Names the result: whatever changes it changes the key, except the code of the package and its versions."""
        return fingerprint(replace(self, name=""), data, validation)


_ALONE = threading.Lock()  # dropout draws from random numbers that all threads of a process share


def run_experiment(experiment: Experiment, data: Tokens, validation: Tokens | None, device: str | None) -> Run:
    """Train one experiment of a sweep, here or in another process; the model stays there."""
    with _ALONE:
        watch = {"observe": experiment.observe, "score": experiment.score, "groups": experiment.groups}
        run = train(experiment.model, experiment.training, data, validation=validation, device=device, **watch)
    return replace(run, name=experiment.name, model=None)


def start_worker() -> None:
    """What a process of a sweep does first: take one thread, and see to it that it does not outlive the sweep."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


# %%
#| export experiments
@contextmanager
def executor(jobs: int, dask: Any) -> Iterator[concurrent.futures.Executor | None]:
    """Where a sweep runs: None for this process, several processes with one thread each, or the workers of dask."""
    if "TORCHELASTIC_RUN_ID" in os.environ and (dask is not None or jobs > 1):
        raise ValueError("under torchrun all processes train each run together: jobs and dask are for one process")
    if dask is not None:
        from distributed import Client  # the package has no need of dask otherwise

        client = Client(dask, set_as_default=False) if isinstance(dask, str) else dask
        try:
            yield client.get_executor()
        finally:
            if client is not dask:
                client.close()
    elif jobs > 1:
        spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
        pool = concurrent.futures.ProcessPoolExecutor(jobs, spawn, start_worker)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
    else:
        yield None


def results(waiting: dict[str, Experiment], pool: concurrent.futures.Executor | None, *where: Any) -> Iterator[tuple]:
    """(key, run) of each experiment, as they are done."""
    if pool is None:
        for key, experiment in waiting.items():
            yield key, run_experiment(experiment, *where)
        return
    futures = {pool.submit(run_experiment, experiment, *where): key for key, experiment in waiting.items()}
    for future in concurrent.futures.as_completed(futures):
        yield futures[future], future.result()


def read_run(path: Path) -> Run | None:
    """A run that a sweep has kept, or None."""
    try:
        kept = json.loads(path.read_text())
        return Run(kept["name"], kept["metrics"], kept["seconds"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


# %%
#| export experiments
def sweep(
    experiments: Iterable[Experiment], data: Tokens, *, validation: Tokens | None = None,
    cache: str | Path | None = None, jobs: int = 1, dask: Any = None, device: str | None = None, progress: bool = True,
) -> list[Run]:  # fmt: skip
    """Train every experiment, in this process, in ``jobs`` processes, or on dask (a scheduler's address, or a Client).

    Results are kept in the folder ``cache`` as they come, by what they depend on: the same call goes on where it was
    stopped and runs only what is new. They do not depend on ``jobs``, where each process has one thread. With several
    processes, ``observe`` and ``score`` must be functions of a module, not of a notebook.
    """
    experiments = list(experiments)
    check_sweep(experiments, data, validation, cache)
    keys = [experiment.key(data, validation) for experiment in experiments]
    found = {key: cache and read_run(Path(cache) / f"{key}.json") for key in keys}
    waiting = {key: experiment for key, experiment in zip(keys, experiments) if found[key] is None}
    with executor(jobs, dask) as pool, tqdm(total=len(waiting), disable=not (progress and waiting), unit="run") as bar:
        for key, run in results(waiting, pool, data, validation, device):
            found[key] = run
            if cache:
                with written(Path(cache) / f"{key}.json") as beside:
                    beside.write_text(json.dumps({"name": run.name, "metrics": run.metrics, "seconds": run.seconds}))
            bar.update()
    return [replace(found[key], name=experiment.name) for key, experiment in zip(keys, experiments)]


# %% [markdown]
# ## 8 · One name for all of it
#
# `cs336lite.training` hands on what the other modules define, measures the noise of gradients (lecture 04 says what for), and
# is a command. With two batch sizes, $\mathbb{E}|g_B|^2 = |G|^2 + \operatorname{tr}(\Sigma)/B$ is two equations. By hand:
# if a single sequence has a squared gradient of 5 on average, and the mean of four has 2, then $\operatorname{tr}(\Sigma)
# (1 - \tfrac14) = 3$, so $\operatorname{tr}(\Sigma) = 4$ and $|G|^2 = 1$: noise and signal are equal at 4 sequences.

# %%
#| export training
"""Train a language model: token data, batches, optimizers, schedules, checkpoints, and many runs in one call.

Every random number of a run comes from seeds made of (seed, step), so a run that was stopped goes on exactly as if it
had not been, and the same run on several processes sees the same batches. One process, or several under torchrun:

    torchrun --nproc_per_node 2 -m cs336lite.training run.json        # see `main`

Shapes: ``batch`` sequences of ``seq`` tokens.

Built in notebooks/appendix/04x_engine.ipynb, from `batches` up to `experiments`.
"""

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


# %%
#| export training
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


# %%
#| export training
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

# %% [markdown]
# From here on we use the modules that the cells above have built, as every later lecture does: other processes can import
# them, and they could not import a notebook.
#
# **Predict.** `torchrun` trains on one process and on two, the same batches. To how many digits do the losses agree?

# %% tags=["timing"]
from cs336lite.training import Experiment, Tokens, TrainingConfig, sweep  # noqa: F811


def losses_of(folder: Path, processes: int) -> np.ndarray:
    """The losses of eight steps, trained by this many processes."""
    write_tokens(folder / "data.npy", DATA.ids[:50_000].tolist(), 256)
    log = folder / f"{processes}.jsonl"
    said = {"model": describe(BASE)["TransformerConfig"], "training": {"steps": 8, "batch_size": 8, "lr": 1e-2}}
    (folder / "run.json").write_text(json.dumps(said | {"data": str(folder / "data.npy"), "log": str(log)}))
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *torchrun, "-m", "cs336lite.training", str(folder / "run.json")]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    return np.array([json.loads(line)["loss"] for line in log.read_text().splitlines()])


guess = None  # digits behind the point
if READY.or_show("two processes"):
    with tempfile.TemporaryDirectory() as folder:
        one, two = (losses_of(Path(folder), processes) for processes in (1, 2))
    assert np.abs(one - two).max() < 1e-3 < one[0] - one[-1], YOURS

# %% folded=true tags=["timing"]
# run this cell to compare your guess
if READY.or_show("two processes, compared"):
    print("one process:  ", one.round(4), "\ntwo processes:", two.round(4))
    digits = int(-np.log10(max(np.abs(one - two).max(), 1e-9)))
    because = {"too large": "not bit for bit: a sum of floating-point numbers depends on its order (lecture 02)"}
    reveal("digits behind the point", digits, guess, because=because)

# %% [markdown]
# A sweep that is stopped and started again: the first call trains two arms, the second has four and trains the two that
# are new, in two processes. `dask="tcp://scheduler:8786"` in place of `jobs=2` sends the same runs to a cluster
# ([dask.distributed](https://distributed.dask.org)).

# %% tags=["timing"]
if READY.or_show("a sweep"):
    plan = TrainingConfig(steps=40, batch_size=8, warmup=10)  # the package's: other processes cannot import a notebook
    arms = [Experiment(BASE, replace(plan, lr=lr), f"{lr:g}") for lr in (1e-3, 3e-3, 1e-2, 3e-2)]
    with tempfile.TemporaryDirectory() as folder:
        data, heldout = Tokens(DATA.ids), Tokens(HELDOUT.ids)
        first = sweep(arms[:2], data, validation=heldout, cache=folder, progress=False)
        kept = {path.name: path.stat().st_mtime_ns for path in Path(folder).iterdir()}
        runs = sweep(arms, data, validation=heldout, cache=folder, jobs=2, progress=False)
        still = [name for name, when in kept.items() if (Path(folder) / name).stat().st_mtime_ns == when]
    for run in runs:
        print(f"learning rate {run.name:>5}: validation loss {run.final:.3f} nats a byte")
    print(f"{len(runs)} runs, of which {len(still)} had been kept")
    assert len(still) == 2 and [run.metrics for run in first] == [run.metrics for run in runs[:2]], YOURS

# %% [markdown]
# ## Limits
#
# - Exact resume holds for the same versions, machine type and number of threads, on a CPU; GPUs have kernels whose sums
#   come in any order.
# - Data parallelism alone: every process holds the whole model. Lecture 06 divides experts.
# - Windows begin anywhere and cross from one text into the next; a large run would pack documents and mask.
# - A key covers code that is yours. What is installed, this package too, counts by its name: after a change in it, begin
#   with an empty cache.
#
# ## Sources
#
# AdamW: Loshchilov and Hutter (arXiv 1711.05101) · Lion: Chen et al. (2302.06675) · WSD, MiniCPM: Hu et al. (2404.06395) ·
# linear to zero: Bergsma et al. (2502.15938) · noise scale: McCandlish et al. (1812.06162) · PyTorch's data parallelism: Li
# et al. (2006.15704) · `lr_scale`: [timm](https://github.com/huggingface/pytorch-image-models).
