# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: training, minutes: 3, prerequisites: [03b_variants], device: CPU}
# ---

# %% [markdown]
# # 04 · Hyperparameters (超参数)
#
# **3 minutes to run on 2 cores · prerequisites: 03b, and a4 for Lion · device: CPU**
#
# A model is a few numbers of shape and a few numbers of training. Which of them matter? You will build the engine that
# trains every model from here on, `cs336lite.training`, and then turn one knob after the other. Each comparison has
# its learning rate tuned for each arm over the same grid, and then three new seeds.
#
# ## By the end you will have shown
#
# 1. **A run that crashed goes on bit for bit**, and two processes have the losses of one, up to rounding.
# 2. **The rate should fall at the end, and in a short run only there**: WSD beats a constant rate, and a constant rate
#    beats a cosine.
# 3. **Lion's best learning rate is three times smaller than AdamW's.** A rate three times off costs more than any shape
#    of the feed-forward network below, T5-11B's included.
# 4. **Weight decay has no gap to close when text is seen once.** That it lowers the loss at the end, as in large runs, does
#    *not* show at our scale: here it raises it.
# 5. **Early dropout gains nothing here**, though it costs less than dropout that stays.
# 6. **The `d_ff` ratio has a wide basin, and T5-11B's 64 lies outside it**, by a quarter of a nat. Of the basin of the
#    aspect ratio we see one side only.
# 7. **The gradient's noise scale grows while a model trains**, and there is a critical batch: below it, four times the
#    batch takes nearly four times fewer steps, above it less than half as many are saved.
#
# Every claim is followed by a cell that measures it and stops with an error if it is false. Before a measurement there
# is a **Predict**: write your number in place of `None` before you run the cell. What takes too long for you to wait is
# recorded in `notebooks/results`, and each figure prints the command that computes it again.

# %% [markdown]
# ## 1 · The engine
#
# Training is a loop of five lines: batch, loss, gradient, clip, update. What makes it long is what a loop of five lines
# forgets: to go on after a crash, to be the same on one process and on two, to say what happened.

# %%
#| export
"""Train a language model: token data, batches, optimizers, schedules, checkpoints, and many runs in one call.

Every random number of a run comes from seeds made of (seed, step), so a run that was stopped goes on exactly as if it
had not been, and the same run on several processes sees the same batches. One process, or several under torchrun:

    torchrun --nproc_per_node 2 -m cs336lite.training run.json        # see `main`

Shapes: ``batch`` sequences of ``seq`` tokens.

Built in notebooks/04_hyperparameters.ipynb.
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

# %%
#| export
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

# %%
#| export
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

Row = dict[str, int | float | None]  # what is recorded of a step; None: not finite
Observer = Callable[[int, nn.Module], dict[str, int | float]]  # (step, model) -> what to record with this step
Score = Callable[[nn.Module, Tensor, Tensor], Tensor]  # (model, inputs, targets) -> validation loss

# %% [markdown]
# One idea keeps it short: **no random state is carried along.** The batch of step 7 and its dropout are drawn from
# seeds made of (seed, 7). So there is no generator to save, a run that was stopped goes on exactly, and each of several
# processes knows the whole batch and takes its share.


# %%
#| export
def generator(seed: int, step: int, purpose: int = 0) -> torch.Generator:
    """Random numbers for one purpose of one step: the same for the same three numbers, unrelated for others."""
    return torch.Generator().manual_seed(seed_of(seed, step, purpose))


def seed_of(*numbers: int) -> int:
    """A seed of 63 bits made of some numbers, each at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


# %% [markdown]
# ### Data
#
# A training set does not fit into memory, and need not. Token ids lie in a file; the operating system maps it into
# memory (*memory mapping*, 内存映射) and reads the pages that are touched. Two bytes a token are enough for a vocabulary
# up to 65,536. A file is written beside its place and then renamed (`written`), so that there is never half of one.


# %%
#| export
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
#| export
class _Ids:
    """One row of token ids, from an array, or from a file that is mapped into memory and not read."""

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


# %%
#| export
class Tokens(_Ids):
    """Token ids to train on: ``Tokens("train.npy")``, mapped into memory, or ``Tokens(ids)``.

    A file that holds ids and nothing else, as nanoGPT's do, needs their type: ``Tokens("train.bin", dtype=np.uint16)``.

    >>> inputs, targets = Tokens(range(100)).batch(2, 3, torch.Generator().manual_seed(0))
    >>> (targets - inputs).tolist()
    [[1, 1, 1], [1, 1, 1]]
    """

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


# %% [markdown]
# ### Learning rate over time
#
# *Warmup* (预热) climbs from almost 0, because the first gradients are large, all point the same way, and Adam's second
# moment has seen too few of them. Then comes a schedule:
#
# | name | after warmup | used by |
# |---|---|---|
# | linear | a straight line to zero | BERT; *D2Z* (arXiv 2502.15938) |
# | cosine | half a cosine, often to 10 % | GPT-3, Llama, Chinchilla |
# | WSD | flat, then a short fall (warmup, stable, decay) | MiniCPM (2404.06395): the length need not be known |

# %%
#| export
SCHEDULES: dict[str, Callable[[float, "TrainingConfig"], float]] = {  # t: from 0 after warmup to 1 at the end
    "constant": lambda t, c: 1.0,
    "linear": lambda t, c: 1 - (1 - c.final_lr) * t,
    "cosine": lambda t, c: c.final_lr + (1 - c.final_lr) * (1 + math.cos(math.pi * t)) / 2,
    "wsd": lambda t, c: 1 - (1 - c.final_lr) * max(0.0, 1 - (1 - t) / c.decay),
}


# %%
#| export
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
# ### Optimizers
#
# AdamW (1711.05101) divides a mean gradient by its size; Lion (2302.06675, your assignment a4) takes the sign of a
# mean. Both shrink weights by `lr * weight_decay` in each step, apart from the gradient (*decoupled*, 解耦). Only
# matrices decay: a norm's gain that is drawn to zero would switch a channel off.


# %%
#| export
def adamw(groups: list[dict[str, Any]], config: "TrainingConfig") -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas or (0.9, 0.95), fused=True)


def lion(groups: list[dict[str, Any]], config: "TrainingConfig") -> torch.optim.Optimizer:
    from cs336lite.lion import Lion  # assignment a4; whoever trains with AdamW does not need it

    return Lion(groups, lr=config.lr, betas=config.betas or (0.9, 0.99))


def sgd(groups: list[dict[str, Any]], config: "TrainingConfig") -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=config.lr, momentum=(config.betas or (0.9, 0))[0])


OPTIMIZERS = {"adamw": adamw, "lion": lion, "sgd": sgd}


# %%
#| export
def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer: matrices decay, vectors (biases and the gains of norms) do not.

    >>> [len(group["params"]) for group in parameter_groups(nn.Linear(3, 4), 0.1)]
    [1, 1]
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim >= 2], [p for p in trained if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


# %%
#| export
class _Checked:
    """Whether the numbers of a TrainingConfig make sense; those of numpy become Python's."""

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
#| export
WHOLE = {"steps": 1, "batch_size": 1, "seq": 1, "warmup": 0, "accumulation": 1}  # the least of each
WHOLE |= {"eval_every": 0, "eval_batches": 1, "seed": 0}
MOST = {"lr": math.inf, "weight_decay": math.inf, "clip": math.inf}  # the most of each; the least is 0
MOST |= {"decay": 1, "final_lr": 1, "early_dropout": 1}
PRECISIONS = ("float32", "bfloat16", "auto")


# %%
#| export
@dataclass(frozen=True, kw_only=True)
class TrainingConfig(_Checked):
    """How to train, whatever the model."""

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


# %% [markdown]
# ### One step
#
# bfloat16 is faster where there are instructions for it, and far slower where not (lecture 02): measure it.


# %%
#| export
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
#| export
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


# %%
#| export
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


# %%
#| export
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


# %%
#| export
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


# %%
#| export
@dataclass
class State:
    """A run under way: what a checkpoint holds (model, optimizer, step, metrics), and what it computes with."""

    model: nn.Module
    loss: nn.Module  # the model's loss, shared between processes where there are several
    optimizer: torch.optim.Optimizer
    config: TrainingConfig
    here: World
    dropouts: list[tuple[nn.Module, float]]  # with the probability that each began with
    step: int = 0  # updates done
    metrics: list[Row] = field(default_factory=list)

    def autocast(self) -> Any:
        device, precision = self.here.device, self.config.precision
        low = precision == "bfloat16" or (precision == "auto" and bfloat16_is_faster(str(device)))
        return torch.autocast(device.type, torch.bfloat16, enabled=low)


# %%
#| export
def begin(model: TransformerConfig | nn.Module, config: TrainingConfig, here: World) -> State:
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
    optimizer = OPTIMIZERS[config.optimizer](parameter_groups(model, config.weight_decay), config)
    return State(model, loss, optimizer, config, here, dropouts)


# %%
#| export
def set_step(state: State) -> float:
    """Learning rate, dropout and random numbers as this step has them; returns the learning rate."""
    config, step = state.config, state.step
    torch.manual_seed(seed_of(config.seed, step, 2, state.here.rank))  # dropout: other masks on each process
    lr = config.lr * lr_factor(config, step)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    if config.early_dropout:
        left = max(0.0, 1 - step / (config.early_dropout * config.steps))
        for module, p in state.dropouts:
            module.p = p * left
    return lr


# %%
#| export
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


# %%
#| export
def update(state: State) -> None:
    """Change the parameters. A module with a method ``after_step(total)`` may then act, once for all parts of a batch.

    ``total(tensor)`` is the sum of a tensor over all processes.
    """
    state.optimizer.step()
    for module in state.model.modules():
        if hasattr(type(module), "after_step"):
            module.after_step(state.here.sum)


# %% [markdown]
# A gradient that is not finite ends a run. Most optimizers would show it in the next loss, but Lion takes signs, and NaN
# has none: its averages would be NaN for ever, its weights would never move again, and its losses would look well.


# %%
#| export
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


# %%
#| export
def finite(x: int | float) -> float | None:
    """The number, or None for one that JSON cannot write."""
    return float(x) if math.isfinite(x) else None


def broken(row: Row) -> bool:
    """Whether the run ended with this step: its loss, gradient or validation loss is not finite."""
    return any(row.get(name, 0) is None for name in ("loss", "grad_norm", "validation"))


# %%
#| export
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


# %% [markdown]
# ### Which run is this?
#
# A result belongs to a configuration. `describe` writes one as plain JSON, without the fields that have their default
# value, and `fingerprint` makes it a key that names the result in a sweep. A key covers the code too: two lambdas are
# two keys, and so are one function before and after you change a helper that it calls. A checkpoint of another
# configuration is refused by name. (Both functions are in `cs336lite/keys.py`, which no notebook builds.)

# %% [markdown]
# ### Checkpoints
#
# A checkpoint (检查点) is all that changes: parameters, optimizer state, step, metrics. It is loaded with
# `weights_only=True`, since a pickle can run any code (CVE-2025-32434 shows that even this needs a recent PyTorch).


# %%
#| export
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


# %%
#| export
def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, loaded as plain values and tensors only, on the CPU.

    Raises CheckpointError for a file that cannot be read, is cut short or damaged, or no checkpoint of this kind.
    """
    content = load_whole(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} holds something else than a {FORMAT!r}: give another path")
    return content


# %%
#| export
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


# %% [markdown]
# ### A run


# %%
#| export
class _Recorded:
    """What is read from the metrics of a run."""

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
#| export
@dataclass(frozen=True)
class Run(_Recorded):
    """What training gave: ``metrics`` has a dict of numbers for each step."""

    name: str
    metrics: list[Row]
    seconds: float  # on the clock, since it was last started
    model: nn.Module | None = field(default=None, repr=False, compare=False)  # None in a sweep


# %%
#| export
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


# %%
#| export
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


# %%
#| export
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
#| export
def identity(model: TransformerConfig | nn.Module, config: TrainingConfig, data: Tokens) -> dict[str, Any]:
    """What makes a run the run it is, as a flat dict: a checkpoint belongs to no other.

    A module that is given is told by its configuration, if that is a dataclass, by its layers, and by their shapes.
    """
    flat = {"data": data.fingerprint} | (layers(model) if isinstance(model, nn.Module) else {})
    for prefix, said in (("model", getattr(model, "config", model)), ("training", config)):
        changed = next(iter(describe(said, code=True).values())) if is_dataclass(said) else {}
        flat |= {f"{prefix}.{name}": x for name, x in changed.items()}
    return flat


def resume(path: str | Path | None, state: State, run: dict[str, Any]) -> None:
    """`load_checkpoint` where there is one. CheckpointError when the processes do not see the same."""
    with together(state.here), suppress(FileNotFoundError):
        if path:
            load_checkpoint(path, state, run)
    if state.here.mean(torch.tensor(float(state.step), device=state.here.device)) != state.step:
        raise CheckpointError(f"not every process sees the same {path}: it must lie on a disk that all of them share")


# %%
#| export
def train(
    model: TransformerConfig | nn.Module, config: TrainingConfig, data: Tokens, *, validation: Tokens | None = None,
    observe: Observer | None = None, score: Score = cross_entropy, checkpoint: str | Path | None = None,
    checkpoint_every: int = 0, log: str | Path | None = None, device: str | None = None, progress: bool = False,
) -> "Run":  # fmt: skip
    """Train a model: one made from its configuration, or one given, with ``loss(tokens, targets)`` and a forward pass.

    ``validation`` is scored by ``score(model, inputs, targets)``, and ``observe(step, model)`` gives more numbers to
    record, with the gradients in place. A run goes on from the file ``checkpoint`` if there is one; it is written every
    ``checkpoint_every`` steps and at the end. ``log`` gets the metrics as JSON lines. Under torchrun all processes train
    together. A loss or gradient that is not finite ends the run. Unfit data and paths raise before the first step.
    """
    start = time.perf_counter()
    with world(device) as here, torch.random.fork_rng([here.device] if here.device.type == "cuda" else []):
        with together(here):
            check_run(model, config, data, validation)
            if here.rank == 0:
                check_places(checkpoint, checkpoint_every, log)
        state, run = begin(model, config, here), identity(model, config, data) if checkpoint else {}
        resume(checkpoint, state, run)
        rows = steps(state, data, sequence_length(model, config), validation, observe, score)
        bar = tqdm(total=config.steps, initial=state.step, disable=not progress or here.rank > 0, unit="step")
        follow(state, rows, run, bar, checkpoint, checkpoint_every, log)
    return Run("", state.metrics, time.perf_counter() - start, state.model)


# %% [markdown]
# ### Many runs
#
# An experiment is a configuration and nothing else, so a sweep (扫描) is a list of them. Each result is kept under the
# hash of what it depends on. Stop the sweep, add an arm, start again: only what is new is trained.


# %%
#| export
@dataclass(frozen=True)
class Experiment:
    """One run of a sweep; the name is only a label."""

    model: TransformerConfig
    training: TrainingConfig
    name: str = ""
    observe: Observer | None = None
    score: Score = cross_entropy

    def key(self, data: Tokens, validation: Tokens | None) -> str:
        """Names the result: whatever changes it changes the key, except the code of the package and its versions."""
        return fingerprint(replace(self, name=""), data, validation)


# %%
#| export
_ALONE = threading.Lock()  # dropout draws from random numbers that all threads of a process share


def run_experiment(experiment: Experiment, data: Tokens, validation: Tokens | None, device: str | None) -> Run:
    """Train one experiment of a sweep, here or in another process; the model stays there."""
    with _ALONE:
        watch = {"observe": experiment.observe, "score": experiment.score, "device": device}
        run = train(experiment.model, experiment.training, data, validation=validation, **watch)
    return replace(run, name=experiment.name, model=None)


# %%
#| export
def start_worker() -> None:
    """What a process of a sweep does first: take one thread, and see to it that it does not outlive the sweep."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


# %%
#| export
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


# %%
#| export
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
#| export
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


# %%
#| export
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


# %%
#| export
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
#| export
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
# ## 2 · Does it work?
#
# Text without a network: stories written by a grammar, in tokens of a BPE vocabulary of 512 (your a1). The model has
# two layers and 167,000 parameters, small enough for hundreds of runs.


# %%
import subprocess
import sys
import tempfile

from scipy import stats
from scipy.optimize import curve_fit

from cs336lite.accounting import parameters
from cs336lite.bpe import Tokenizer, train_bpe
from cs336lite.course import finished, whose
from cs336lite.course.data import data_folder, stories
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.course.results import recorded, source

torch.set_num_threads(1)  # the models are so small that several threads would only wait for each other
# until you have them, cells show recorded results and what our own run has shown, and nothing is trained
HAVE_MODEL, HAVE_BPE, HAVE_LION = (
    whose(*modules, lecture="04_hyperparameters") for modules in (("attention", "rope"), ("bpe",), ("lion",))
)

YOURS = (
    "this runs on your attention and RoPE, and on your tokenizer and Lion where they are there: "
    "do check('a1_bpe'), check('a2_attention'), check('a3_rope') and check('a4_lion') pass?"
)


# %% [markdown]
# From here on we use the module that the cells above have built, as every later lecture does: other processes can
# import it, and they could not import a notebook.

# %%
from cs336lite.training import Experiment, Tokens, TrainingConfig, describe, noise_scale, sweep, train  # noqa: F811

TEXT = {"train": "\n\n".join(stories(2_000, seed=1)), "heldout": "\n\n".join(stories(300, seed=2))}


def tokenise(vocab_size: int) -> dict[str, Tokens]:
    """Both texts as tokens of a BPE vocabulary that is trained on the first; as bytes for 256, or without a1."""
    if vocab_size == 256 or not HAVE_BPE:
        return {name: Tokens(np.frombuffer(text.encode(), np.uint8)) for name, text in TEXT.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_text(TEXT["train"][:400_000])
        encode = Tokenizer(*train_bpe(path, vocab_size, [])).encode
        for name, text in TEXT.items():
            write_tokens(Path(folder) / f"{name}.npy", encode(text), vocab_size)
        return {name: Tokens(np.load(Path(folder) / f"{name}.npy")) for name in TEXT}  # small enough to hold


DATA = tokenise(512)
print({name: f"{len(tokens):,} tokens" for name, tokens in DATA.items()})

# %%
BASE = TransformerConfig(
    vocab_size=512, context_length=64, d_model=64, num_layers=2, num_heads=2, d_ff=172, attend="sdpa"
)
PLAN = TrainingConfig(steps=100, batch_size=8, warmup=10)
Arms = dict[str, tuple[TransformerConfig, dict]]  # name -> model, changes to PLAN
print(f"{parameters(BASE.shape):,} parameters, {PLAN.steps * PLAN.batch_size * BASE.context_length:,} tokens in a run")

# %% [markdown]
# ### A crash
#
# **Predict.** A run with dropout crashes at step 25 and goes on from its checkpoint of step 20. By how much do the
# final weights differ from those of a run that never stopped?


# %%
def crash(step: int, model: nn.Module) -> dict:
    """An observer that fails at step 25, as a machine might."""
    if step == 25:
        raise KeyboardInterrupt
    return {}


guess = None
if HAVE_MODEL.or_show("checkpoint"):
    dropping, plan = BASE.replace(dropout=0.1), replace(PLAN, steps=40, early_dropout=0.2)
    whole = train(dropping, plan, DATA["train"], validation=DATA["heldout"])
    with tempfile.TemporaryDirectory() as folder:
        place = {"checkpoint": Path(folder) / "run.pt", "checkpoint_every": 20}
        try:
            train(dropping, plan, DATA["train"], observe=crash, **place)
        except KeyboardInterrupt:
            print("crashed; going on from the checkpoint")
        rest = train(dropping, plan, DATA["train"], validation=DATA["heldout"], **place)
    pairs = zip(whole.model.parameters(), rest.model.parameters())
    reveal("largest difference", max((a - b).abs().max().item() for a, b in pairs), guess)
    assert rest.metrics == whole.metrics, YOURS  # every loss of every step, and the validation loss


# %% [markdown]
# ### Two processes
#
# `python -m cs336lite.training run.json` trains what a file says. `torchrun` starts the same script several times;
# each process takes its part of every batch, and PyTorch's DDP averages the gradients.
#
# **Predict.** To how many digits do the losses of one process and of two agree?


# %%
def losses_of(folder: Path, processes: int) -> np.ndarray:
    """The losses of eight steps, trained by this many processes."""
    write_tokens(folder / "data.npy", DATA["train"].ids[:50_000].tolist(), 512)
    log = folder / f"{processes}.jsonl"
    said = {"model": describe(BASE)["TransformerConfig"], "training": {"steps": 8, "batch_size": 8, "lr": 1e-2}}
    (folder / "run.json").write_text(json.dumps(said | {"data": str(folder / "data.npy"), "log": str(log)}))
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *torchrun, "-m", "cs336lite.training", str(folder / "run.json")]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    return np.array([json.loads(line)["loss"] for line in log.read_text().splitlines()])


# %% tags=["timing"]
guess = None  # digits
if HAVE_MODEL.or_show("two processes"):
    with tempfile.TemporaryDirectory() as folder:
        one, two = (losses_of(Path(folder), processes) for processes in (1, 2))
    print("one process:  ", one.round(4), "\ntwo processes:", two.round(4))
    reveal("largest difference", f"{np.abs(one - two).max():.1e}", guess)
    assert np.abs(one - two).max() < 1e-3 < one[0] - one[-1], YOURS

# %% [markdown]
# Not bit for bit: a sum of floating-point numbers depends on the order (lecture 02).
#
# ### How we compare
#
# The learning rate that is best for one arm is not best for another, so each arm is *tuned* (调参) over the same grid,
# with seed 0. Then the arm is measured at its best rate with seeds 1, 2 and 3, which the choice has not seen. All arms
# of a comparison have the same number of steps and of tokens. Bars are 95 % intervals (置信区间) of the mean by Student's
# *t*: with three runs, 2.5 times their standard deviation, so they are wide.


# %%
def crossed(arms: Arms, lrs: Sequence[float], seeds: Sequence[int]) -> list[Experiment]:
    """Every arm at every learning rate with every seed: the same number of steps and of tokens for all."""
    return [
        Experiment(model, replace(PLAN, lr=lr, seed=seed, **changes), f"{arm} @ {lr:g}")
        for arm, (model, changes) in arms.items()
        for lr in lrs
        for seed in seeds
    ]


def row(run: Run) -> dict:
    """What is kept of a run: its name, its last validation loss, the mean loss of its last 20 steps, in nats."""
    end = None if run.diverged else round(float(run.values()[-20:].mean()), 4)
    curve = [round(float(x), 4) for x in run.values("validation")] if run.metrics[-1].get("validation") else []
    return {"name": run.name, "final": None if run.diverged else round(run.final, 4), "train": end, "curve": curve}


# %%
def swept(experiments: list[Experiment], data: dict[str, Tokens], cache: Path | None = None) -> list[dict]:
    """The rows of a sweep in two processes, which with ``cache`` goes on where it was stopped."""
    runs = sweep(experiments, data["train"], validation=data["heldout"], jobs=2, cache=cache)
    return [row(run) for run in runs]


def tuned(arms: Arms, lrs: Sequence[float], data: dict[str, Tokens], cache: Path | None = None) -> list[dict]:
    """For each arm the learning rate that is best with seed 0, and runs at this rate with seeds 1, 2 and 3."""
    first = iter(swept(crossed(arms, lrs, (0,)), data, cache))
    rows = []
    for name in arms:
        tried = [(lr, next(first)["final"]) for lr in lrs]
        best = min(tried, key=lambda pair: math.inf if pair[1] is None else pair[1])[0]
        rows.append({"arm": name, "tried": tried, "lr": best})
    again = [e for found, arm in zip(rows, arms) for e in crossed({arm: arms[arm]}, (found["lr"],), (1, 2, 3))]
    measured = iter(swept(again, data, cache))
    return [found | {"runs": [next(measured) for _ in range(3)]} for found in rows]


# %%
RUNS = data_folder() / "runs"  # where long sweeps go on when they were stopped


def long(name: str, arms: Arms, lrs: Sequence[float], data: dict[str, Tokens] | None = None) -> list[dict]:
    """What `tuned` gives, which takes longer than this lecture may: recorded, and computed again when asked."""
    return recorded(name, lambda: tuned(arms, lrs, data or DATA, RUNS), describe([PLAN, arms, lrs]))


def interval(values: Iterable[float]) -> tuple[float, float]:
    """The mean and the half width of its 95 % interval."""
    x = np.array([math.inf if value is None else value for value in values])
    return x.mean(), stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5


def table(rows: list[dict], what: str = "final") -> dict[str, float]:
    """Print each arm's best rate and loss with its interval; the means."""
    means = {}
    for found in rows:
        mean, half = interval(run[what] for run in found["runs"])
        print(f"{found['arm']:>14}  lr {found['lr']:<7g} {mean:.3f} ± {half:.3f} nats")
        means[found["arm"]] = mean
    return means


# %% [markdown]
# ### Schedules, here and now
#
# **Predict.** Order the four schedules by final loss.

# %%
grid = np.arange(100)
fig, ax = axes(xlabel="step", ylabel="learning rate (share of the highest)", size=(6.4, 2.8))
for (name, line), color in zip({"constant": ":", "linear": "-", "cosine": "--", "wsd": "-."}.items(), COLORS.values()):
    plan = replace(PLAN, schedule=name)
    ax.plot(grid, [lr_factor(plan, step) for step in grid], line, color=color, linewidth=2, label=name)
ax.set_title("Ten steps of warmup, then four ways to go")
finish(fig)

# %% tags=["timing"]
guess = None  # best to worst
if HAVE_MODEL.or_show("schedules"):
    found = tuned({name: (BASE, {"schedule": name}) for name in SCHEDULES}, (6e-3, 1.2e-2), DATA)
    means = table(found)
    reveal("best to worst", sorted(means, key=means.get), guess)
    assert means["wsd"] < min(means["constant"], means["linear"]) and means["constant"] < means["cosine"], YOURS

# %% [markdown]
# In so short a run the distance travelled counts: a schedule that falls early, cosine above all, loses to a rate that
# does not fall at all. The short fall of WSD at the end still gains over the constant rate. In longer runs the constant
# rate falls behind; large runs end at or near zero (*D2Z* argues for a straight line), and WSD has the advantage that the
# length need not be known in advance.

# %% [markdown]
# ## 3 · AdamW and Lion: two basins
#
# Chen et al. (2302.06675) advise for Lion, against AdamW, a learning rate 3 to 10 times smaller and a weight decay 3 to
# 10 times larger, so that their product stays: a sign is an update of size 1 in every entry, while Adam's is mostly
# smaller. Here is each optimizer's loss over its learning rate, for three weight decays, three seeds a point, all with
# the same batches. (A basin, 盆地, is the range of a knob where the loss is nearly the best.)
#
# **Predict.** How many times smaller is Lion's best learning rate here? What does a weight decay of 10 cost each of them?

# %%
guess = None  # (times smaller, nats for AdamW, nats for Lion)

RATES = {"adamw": (1e-3, 3e-3, 1e-2, 3e-2), "lion": (3e-4, 1e-3, 3e-3, 1e-2)}
BASINS = [
    experiment
    for name, lrs in RATES.items()
    for wd in (0.0, 1.0, 10.0)
    for experiment in crossed({f"{name} {wd:g}": (BASE, {"optimizer": name, "weight_decay": wd})}, lrs, (0, 1, 2))
]
basins = recorded("04_basins.json", lambda: swept(BASINS, DATA, RUNS), describe(BASINS))
print(source("04_basins.json"))

points: dict[str, dict[float, tuple[float, float]]] = {}  # arm -> rate -> loss with its interval
for n in range(0, len(basins), 3):
    arm, lr = basins[n]["name"].split(" @ ")
    points.setdefault(arm, {})[float(lr)] = interval(run["final"] for run in basins[n : n + 3])

# %%
fig, both = axes(1, 2, xlabel="learning rate", ylabel="validation loss (nats)", size=(8.2, 3.4), sharey=True)
for ax, name in zip(both, RATES):
    for wd, color, line in zip((0, 1, 10), COLORS.values(), ("-", "--", "-.")):
        lrs, losses = zip(*points[f"{name} {wd}"].items())
        mean, half = zip(*losses)
        ax.errorbar(lrs, mean, half, fmt=f"o{line}", color=color, capsize=3, label=f"weight decay {wd}")
    ax.set(xscale="log", title={"adamw": "AdamW", "lion": "Lion"}[name])
finish(fig)

# %%
best = {name: min(RATES[name], key=lambda lr: points[f"{name} 0"][lr][0]) for name in RATES}
lowest = {name: points[f"{name} 0"][best[name]] for name in RATES}
cost = {name: points[f"{name} 10"][best[name]][0] - lowest[name][0] for name in RATES}
for name in RATES:
    mean, half = lowest[name]
    print(f"{name}: best rate {best[name]:g}, loss {mean:.2f} ± {half:.2f}; a weight decay of 10 adds {cost[name]:.2f}")
reveal(
    "times smaller, cost of decay", (f"{best['adamw'] / best['lion']:.1f}", *map("{:.2f}".format, cost.values())), guess
)
assert 3 <= best["adamw"] / best["lion"] <= 34 and min(cost.values()) > 0.2
for name in RATES:  # each basin has two walls in our grid, and a rate three times off is outside
    walls = [loss[0] - lowest[name][0] for lr, loss in points[f"{name} 0"].items() if lr != best[name]]
    assert min(walls) > 0.2 and min(RATES[name]) < best[name] < max(RATES[name])

# %% tags=["timing"]
if (HAVE_MODEL & HAVE_LION & HAVE_BPE).or_show("two points again"):  # of the record, trained here and now
    names = [f"{name} 0 @ {best[name]:g}" for name in RATES]
    chosen = [e for e in BASINS if e.name in names and e.training.seed == 0]
    for e, now in zip(chosen, swept(chosen, DATA)):
        kept = basins[BASINS.index(e)]["final"]
        print(f"{e.name}: recorded {kept:.3f}, now {now['final']:.3f}")
        assert abs(now["final"] - kept) < 0.3, YOURS

# %% [markdown]
# The basins look alike, Lion's further left, as advised. At its best rate Lion is not behind AdamW here. Of weight decay
# we see one wall only: 0 and 1 are not told apart, 10 is too much for both. That Lion's should be larger, so that the
# product with the rate stays, needs runs that last 1 / (lr · weight decay) steps; ours are too short for it.
#
# $\beta = (0.9, 0.99)$ is Lion's default in the paper, and ours. Where training is unstable, it suggests (0.95, 0.98).

# %% [markdown]
# ## 4 · What weight decay does
#
# Textbooks call weight decay a *regulariser* (正则化): it keeps a model from fitting its training set too well. A
# language model that sees each token once has nothing to fit too well. D'Angelo et al. (2310.04415) found that weight
# decay lowers the *training* loss there, and that one sees it at the end: small weights move by a larger share of
# their size in each step, a higher effective learning rate, which pays when the rate falls.
#
# A step shrinks a weight by the share `lr * weight_decay`, so decay acts over 1 / (lr · weight decay) steps: with
# the usual 0.1 and a rate of 6e-3 over 1,700 steps. Ours have 320. So we try larger ones too.
#
# **Predict.** Four weight decays, text seen once, WSD: flat for three quarters of the steps, then down to zero. Which
# is lowest before the fall, which at the end? How large is the gap between held-out and training loss?

# %%
guess = None  # (lowest before the fall, lowest at the end, gap in nats)

LRS = (3e-3, 6e-3, 1.2e-2)
WSD = {"schedule": "wsd", "decay": 0.25, "steps": 320, "eval_every": 80}
DECAYS = {f"{wd:g}": (BASE, {"weight_decay": wd, **WSD}) for wd in (0.0, 0.3, 1.0, 3.0)}
ends = long("04_weight_decay.json", DECAYS, (6e-3, 1.2e-2))
print(source("04_weight_decay.json"))
final = table(ends)
before = {found["arm"]: np.mean([run["curve"][2] for run in found["runs"]]) for found in ends}
gap = {found["arm"]: interval(run["final"] - run["train"] for run in found["runs"]) for found in ends}
print("before the fall:", {arm: round(float(x), 3) for arm, x in before.items()})
reveal("gap", {arm: f"{mean:+.3f} ± {half:.3f}" for arm, (mean, half) in gap.items()}, guess)

# %%
fig, ax = axes(xlabel="step", ylabel="validation loss (nats)", size=(6.4, 3.2))
for found, color, line in zip(ends, COLORS.values(), ("-", "--", "-.", ":")):
    curves = np.array([run["curve"] for run in found["runs"]])
    mean, half = zip(*(interval(column) for column in curves.T))
    label = f"weight decay {found['arm']}, lr {found['lr']:g}"
    ax.errorbar([80, 160, 240, 320], mean, half, fmt=f"o{line}", color=color, capsize=3, label=label)
ax.axvspan(240, 320, color="#EEEEEE")
ax.set_title("The grey part is where the learning rate falls")
assert all(abs(mean) < 0.15 for mean, _ in gap.values())  # no gap, with or without
assert final["0"] < final["1"] < final["3"] and before["0"] < before["1"] < before["3"]
finish(fig)

# %% [markdown]
# Half of the paper's finding is here: **there is no gap to close**, with or without weight decay (a mean over the last
# 20 steps lags a little, so the gap is even below zero). It moves the training and the held-out loss together.
#
# The other half is not: in our few hundred steps weight decay *raises* the loss, before the fall and at the end, and the
# more the larger it is; 0.3 and 0 are not told apart. Our runs end before weights have grown enough to need shrinking.
# That weight decay pays in the end is a finding of runs that are a hundred times longer; do not conclude from a short
# run that it can go.

# %% [markdown]
# ### And when the text is seen again and again?
#
# With 10,000 tokens instead of 859,000, our steps are twelve epochs (轮). Now there is a gap.
#
# **Predict.** How large is it with nothing against it? What lowers the held-out loss: dropout of 0.1, a weight decay of
# 1, both, neither?

# %%
guess = None  # (gap in nats, dropout, weight decay, both or neither)

FEW = {"train": Tokens(DATA["train"].ids[:10_000]), "heldout": DATA["heldout"]}
AGAIN = {"nothing": BASE, "dropout 0.1": BASE.replace(dropout=0.1), "weight decay 1": BASE}
AGAIN = {n: (m, {"steps": 240, "weight_decay": 1.0 if "decay" in n else 0.0}) for n, m in AGAIN.items()}
again = long("04_epochs.json", AGAIN, (3e-3, 6e-3), FEW)
print(source("04_epochs.json"))
print("held out:")
held = table(again)
print("on the training text, the last 20 steps:")
fitted = table(again, "train")
reveal("gaps", {arm: f"{held[arm] - fitted[arm]:.2f}" for arm in held}, guess)
assert held["nothing"] - fitted["nothing"] > 1 and fitted["weight decay 1"] > fitted["nothing"] + 0.1
assert abs(held["weight decay 1"] - held["nothing"]) < 0.1

# %% [markdown]
# Now there is a gap, of more than a nat. Weight decay narrows it, and so does dropout, but look at which end: they fit the
# training text less well, and the held-out loss is not better, for dropout even worse. **A smaller gap is not a better
# model.** (With many more epochs the held-out loss of the first arm would rise, and both would help; 240 steps are too few.)

# %% [markdown]
# ## 5 · Dropout, early and always
#
# *Dropout* (随机失活) zeroes a random part of the activations. Models that see each token once do without it; PaLM
# trained without and was fine-tuned with 0.1 (2204.02311). Liu et al. (2303.01500) drop only early, in networks that
# *underfit*, and win; their evidence is from vision. In our engine dropout falls to zero over the first fifth.
#
# **Predict.** Text seen once: no dropout, 0.1 always, 0.1 early. Which order, how far apart?

# %%
guess = None  # order

DROPPED = {"none": (BASE, {}), "constant": (BASE.replace(dropout=0.1), {})}
DROPPED["early"] = (BASE.replace(dropout=0.1), {"early_dropout": 0.2})
once = long("04_dropout.json", DROPPED, LRS)
print(source("04_dropout.json"))
dropped = table(once)
reveal("best to worst", sorted(dropped, key=dropped.get), guess)
assert dropped["none"] < dropped["constant"] and dropped["none"] < dropped["early"] + 0.05

# %% [markdown]
# Dropout that stays costs; early dropout costs less and gains nothing: its interval covers that of none. What Liu et al.
# saw in vision does not show here, where a run is 100 steps and the first fifth of them is mostly warmup.

# %% [markdown]
# ## 6 · The shape of a model
#
# Three ratios give a Transformer its shape:
#
# | ratio | usual | far from it |
# |---|---|---|
# | `d_ff / d_model` | 4; with a GLU, which has three matrices, 8/3 | T5-11B 64 (65,536 / 1,024); T5 v1.1 2.5 |
# | `num_heads * d_head / d_model` | 1 (GPT-3, Llama) | T5-11B 16 (128 heads of 128) |
# | `d_model / num_layers`, *aspect ratio* (宽深比) | GPT-3, Llama 2 7B 128, BLOOM 205 | GPT-2 XL 33, T5-11B 43 |
#
# Kaplan et al. (2001.08361, figure 5) changed each at a fixed number of parameters and found wide basins. We do the
# same: for each ratio, the width that makes the model as large as ours.
#
# **Predict.** By how many nats is T5-11B's ratio of 64 worse than 4? Is any aspect ratio outside the basin?


# %%
def equal_size(make: Callable[[int], TransformerConfig]) -> TransformerConfig:
    """Of the models that ``make(width)`` gives, the one whose number of parameters is nearest to that of BASE."""
    target = parameters(BASE.shape)
    return min((make(width) for width in range(8, 200, 4)), key=lambda c: abs(parameters(c.shape) - target))


def of_ratio(activation: str, ratio: float) -> TransformerConfig:
    return equal_size(lambda d: BASE.replace(d_model=d, d_ff=round(ratio * d), activation=activation))


def of_depth(layers: int) -> TransformerConfig:
    return equal_size(lambda d: BASE.replace(d_model=d, d_ff=round(8 / 3 * d), num_layers=layers))


RATIOS = {"gelu": (1, 4, 16, 64), "swiglu": (2 / 3, 8 / 3, 32 / 3, 128 / 3)}
WIDE = {f"{a} {r:.3g}": (of_ratio(a, r), {}) for a, ratios in RATIOS.items() for r in ratios}
DEEP = {f"{n}": (of_depth(n), {}) for n in (1, 2, 4, 8)}
sizes = [parameters(model.shape) / parameters(BASE.shape) for model, _ in [*WIDE.values(), *DEEP.values()]]
print(f"parameters, as a share of those of BASE: {min(sizes):.3f} to {max(sizes):.3f}")
assert 0.94 < min(sizes) <= max(sizes) < 1.08

# %%
guess = None  # nats

wide = long("04_d_ff.json", WIDE, (*LRS, 2.4e-2))
print(source("04_d_ff.json"))
of_wide = table(wide)
reveal("ratio 64 against 4, nats", f"{of_wide['gelu 64'] - of_wide['gelu 4']:+.3f}", guess)
deep = long("04_aspect.json", DEEP, LRS)
print(source("04_aspect.json"))
of_deep = table(deep)

# %%
fig, (left, right) = axes(1, 2, ylabel="validation loss (nats)", size=(8.2, 3.4), sharey=True)
for (name, ratios), color, line in zip(RATIOS.items(), COLORS.values(), ("-", "--")):
    mean, half = zip(*(interval(run["final"] for run in found["runs"]) for found in wide if name in found["arm"]))
    left.errorbar(
        ratios, mean, half, fmt=f"o{line}", color=color, capsize=3, label={"gelu": "GELU", "swiglu": "SwiGLU"}[name]
    )
left.axvline(64, color="#888888", linestyle=":")
left.set(xscale="log", xlabel="d_ff / d_model (64: T5-11B)", title="Feed-forward ratio")
aspects = [model.d_model / model.num_layers for model, _ in DEEP.values()]
mean, half = zip(*(interval(run["final"] for run in found["runs"]) for found in deep))
right.errorbar(aspects, mean, half, fmt="o-", color=COLORS["green"], capsize=3)
for x, y, (model, _) in zip(aspects, mean, DEEP.values()):
    right.annotate(
        f"{model.num_layers} × {model.d_model}", (x, y), xytext=(4, 8), textcoords="offset points", fontsize=9
    )
right.set(xscale="log", xlim=(3.5, 120), xlabel="d_model / num_layers", title="Aspect ratio")
right.set_xticks((5, 10, 20, 40, 80), labels=("5", "10", "20", "40", "80"))
right.minorticks_off()
assert of_wide["gelu 64"] > of_wide["gelu 4"] + 0.15 and of_wide["swiglu 42.7"] > of_wide["swiglu 2.67"]
assert max(of_wide["gelu 1"], of_wide["gelu 4"], of_wide["gelu 16"]) < of_wide["gelu 1"] + 0.25
assert of_deep["1"] < of_deep["2"] < of_deep["4"] < of_deep["8"]
finish(fig)

# %% [markdown]
# **The feed-forward basin is wide**: from 1 to 16 for GELU, from 2/3 to 32/3 for SwiGLU, losses differ by less than 0.2
# nats, and intervals overlap. T5-11B's ratio of 64 costs a quarter of a nat: at our size it leaves a width of 24 instead
# of 64, and everything must pass through it. The GLU with 128/3 loses 0.1. The narrow models want higher rates, the
# highest of our grid, and a still higher one may do better: on a grid that ends at 1.2e-2 the effect looks half as large again.
#
# **Of the aspect basin we see one side only.** At this size the usual 100 to 200 would need less than one layer: our
# models have 80, 32, 12 and 4.5, and within a hundred steps each halving of the depth pays. Kaplan et al. trained large
# models for long, and found 6 layers of 4,288 (715) within 3 % of 48 layers of 1,600 (33). Our runs do not contradict
# that, and do not confirm it.

# %% [markdown]
# ### Heads
#
# **Predict.** Two heads of 32, eight of 8, and two of 64: twice as much attention as `d_model`. Which differ?

# %%
guess = None

HEADS = {f"{h} x {d}": (BASE.replace(num_heads=h, d_head=d), {}) for h, d in ((2, 32), (8, 8), (2, 64))}
heads = long("04_heads.json", HEADS, LRS)
print(source("04_heads.json"))
of_heads = table(heads)
reveal("against 2 x 32, nats", {arm: f"{x - of_heads['2 x 32']:+.2f}" for arm, x in of_heads.items()}, guess)
assert abs(of_heads["8 x 8"] - of_heads["2 x 32"]) < 0.1 < of_heads["2 x 64"] - of_heads["2 x 32"]

# %% [markdown]
# Cut into two heads or eight, the same width is the same. Twice the width of attention is worse here by more than half a
# nat, though the model is larger; but its best rate lies at the low end of our grid, so part of that is the grid's. It is
# one shape in a hundred steps: no argument against T5.

# %% [markdown]
# ### Vocabulary size
#
# Recent and multilingual vocabularies are 100,000 to 250,000 (GPT-4 about 100,000, Llama 3 128,256, mT5 250,000); GPT-2
# had 50,257 and Llama 2 32,000. A larger vocabulary packs more text into a token and costs a larger output layer.
# Losses in nats a token cannot be compared across vocabularies; *bits per byte* (每字节比特数) can:
#
# $$\text{bits per byte} = \frac{\text{nats per token}}{\ln 2} \cdot \frac{\text{tokens}}{\text{bytes}}$$
#
# **Predict.** At the same number of tokens, so of steps, which vocabulary is best for our tiny model?


# %%
def vocabularies() -> list[dict]:
    """The arms of `tuned`, each with data of its own, and how many bits a byte a nat is."""
    found = []
    for vocab_size in (256, 512, 2_048):
        data = tokenise(vocab_size)
        (arm,) = tuned({f"{vocab_size}": (BASE.replace(vocab_size=vocab_size), {})}, LRS, data, RUNS)
        tokens_per_byte = len(data["heldout"]) / len(TEXT["heldout"].encode())
        found.append(arm | {"bits": tokens_per_byte / math.log(2)})  # times nats a token
    return found


guess = None  # vocabulary
vocabulary = recorded("04_vocabulary.json", vocabularies, describe([BASE, PLAN, LRS]))
print(source("04_vocabulary.json"))
bits = {found["arm"]: interval(run["final"] * found["bits"] for run in found["runs"]) for found in vocabulary}
for (vocab_size, (mean, half)), found in zip(bits.items(), vocabulary):
    size = parameters(BASE.replace(vocab_size=int(vocab_size)).shape)
    nats = np.mean([run["final"] for run in found["runs"]])
    print(f"{vocab_size:>5}: {nats:.3f} nats a token, {mean:.3f} ± {half:.3f} bits a byte, {size:,} parameters")
reveal("best", min(bits, key=bits.get), guess)
assert bits["2048"][0] < bits["512"][0] < bits["256"][0]

# %% [markdown]
# The order of nats a token is the opposite of the order that counts. At the same number of tokens the larger vocabulary
# wins by far here, for three reasons that are not the model's merit: its tokens cover more text, so it has read more; its
# window of 64 tokens reaches further back; and stories from a grammar have few words, so 2,048 tokens hold nearly all of
# them. It also has twice the parameters. What a vocabulary costs, and when it stops paying, was lecture 01.

# %% [markdown]
# ## 7 · The critical batch
#
# A gradient over $B$ sequences is the true gradient $G$ plus noise, whose mean square is $\operatorname{tr}(\Sigma)/B$.
# While noise is the larger part, twice the batch is a twice as good step; once the signal is, a larger batch is a
# waste. McCandlish et al. (1812.06162) call the batch where the two are equal the *simple noise scale* (噪声尺度),
#
# $$B_\text{simple} = \frac{\operatorname{tr}(\Sigma)}{|G|^2},$$
#
# and predict the steps $S$ that a batch $B$ needs to reach a given loss: $S = S_\min\,(1 + B_\text{crit}/B)$. Two
# batch sizes are enough to measure it, because $\mathbb{E}|G_B|^2 = |G|^2 + \operatorname{tr}(\Sigma)/B$.
#
# **Predict.** Does the noise scale grow or fall while a model trains?

# %% tags=["timing"]
guess = None  # grow or fall

SMALL = BASE.replace(d_model=48, d_ff=128, num_layers=1)
STEPS = (1, 20, 60, 150)


def watch_noise(step: int, model: nn.Module) -> dict:
    """The noise scale in tokens, at a few steps."""
    if step not in STEPS:
        return {}
    return {"noise": noise_scale(model, DATA["train"], seq=64, batches=128, seed=step).tokens}


if HAVE_MODEL.or_show("noise scale"):
    noise = train(SMALL, replace(PLAN, steps=150, lr=6e-3), DATA["train"], observe=watch_noise)
    scales = dict(zip(STEPS, noise.values("noise")))
    for step, scale in scales.items():
        print(f"step {step:>3}, loss {noise.values()[step - 1]:.2f}: {scale:>8,.0f} tokens")
    reveal("from the first step to the last", f"{scales[150] / scales[1]:.0f} times", guess)
    assert scales[150] > 3 * scales[1], YOURS

# %% [markdown]
# So the best batch grows with training, which is why large runs raise it on the way; Llama 2 kept 4 million tokens
# throughout (2307.09288), GPT-3 reached 3.2 million.
#
# Now the direct way: train with batches of 2 to 128 sequences, each with its own best learning rate, and count steps
# and tokens until the held-out loss is below a target.
#
# **Predict.** From 2 to 128 sequences, 64 times the batch: how many times fewer steps, how many times more tokens?

# %%
guess = None  # (fewer steps, more tokens)

BATCHES = {2: 1_000, 8: 400, 32: 150, 128: 60}  # sequences -> steps
FLAT = {"schedule": "constant", "weight_decay": 0.0}
SIZES = {
    f"{b}": (SMALL, FLAT | {"batch_size": b, "steps": steps, "eval_every": steps // 50, "eval_batches": 128 // b})
    for b, steps in BATCHES.items()
}
batches = long("04_batch.json", SIZES, LRS)
print(source("04_batch.json"))
target = max(min(run["curve"]) for found in batches for run in found["runs"]) + 0.02  # what every run reaches
needed = {}
for found, (b, steps_in_all) in zip(batches, BATCHES.items()):
    reached = [next(i for i, x in enumerate(run["curve"], 1) if x <= target) for run in found["runs"]]
    needed[b] = interval(i * (steps_in_all // 50) for i in reached)
    mean, half = needed[b]
    print(f"batch {b:>3}, lr {found['lr']:g}: {mean:5.0f} ± {half:3.0f} steps, {mean * b * 64:>7,.0f} tokens")
few, many = needed[2][0] / needed[128][0], 64 * needed[128][0] / needed[2][0]
reveal("fewer steps, more tokens", f"{few:.0f} times, {many:.1f} times", guess)

# %%
sizes, steps_needed = np.array(list(needed)), np.array([mean for mean, _ in needed.values()])


def log_steps(b: np.ndarray, log_least: float, log_critical: float) -> np.ndarray:
    return log_least + np.log1p(np.exp(log_critical) / b)


(log_least, log_critical), _ = curve_fit(log_steps, sizes, np.log(steps_needed), p0=(3, 3))
critical = np.exp(log_critical) * 64
print(f"to reach {target:.2f} nats: at least {np.exp(log_least):.0f} steps, critical batch {critical:,.0f} tokens")

# %%
fig, ax = axes(xlabel="batch (tokens)", ylabel=f"steps to {target:.2f} nats", size=(6.4, 3.2))
curve = np.geomspace(1, 256, 100)
ax.plot(
    curve * 64, np.exp(log_steps(curve, log_least, log_critical)), color=COLORS["black"], label="S_min (1 + B_crit / B)"
)
ax.errorbar(
    sizes * 64,
    steps_needed,
    [half for _, half in needed.values()],
    fmt="o",
    color=COLORS["vermillion"],
    capsize=3,
    label="measured",
)
ax.axvline(critical, color="#888888", linestyle=":", label="critical batch")
ax.set(xscale="log", yscale="log", title="A larger batch saves steps, up to the critical one")
assert needed[2][0] > 3 * needed[8][0] and needed[32][0] < 2.2 * needed[128][0] and 1_000 < critical < 10_000
finish(fig)

# %% [markdown]
# From 2 to 8 sequences, steps fall by nearly the whole factor of 4: the same tokens, a quarter of the steps. From 32 to
# 128 they fall by less than 2, and the tokens double. The best rate rises with the batch, from 3e-3 to 1.2e-2, which
# are the ends of our grid: at 2 and at 128 sequences a still better rate may lie outside.
#
# The noise scale above and the critical batch here are two measurements of the same idea, and they agree in kind, not in
# digits: one looks at a gradient at one moment, with plain gradient descent in mind, the other at a whole run of AdamW.
# Critical batches of large models are larger, because their losses, and so the signals, are smaller.

# %% [markdown]
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | T5 uses `d_ff` = 64 `d_model` | Only the 11B: 65,536 / 1,024 (1910.10683). Its 3B has 16, the smaller ones 4, version 1.1 about 2.5. |
# | The aspect ratio is parameters per layer | `d_model / num_layers`, about 100 to 200; GPT-3 and Llama 2 7B have 128. |
# | Vocabularies are 100,000 to 200,000 | Recent and multilingual ones; GPT-2 50,257, Llama 2 32,000. |
# | Lion: β = (0.95, 0.98), rate 5e-5, weight decay 0.8 | The paper's default is β = (0.9, 0.99), with a rate 3 to 10 times smaller and a weight decay 3 to 10 times larger than AdamW's; it suggests (0.95, 0.98) where training is unstable. The rest is one run. |
# | Early dropout helps pre-training | The evidence is from vision models that underfit (2303.01500). Ours is above. |
# | Weight decay prevents overfitting | Where text is seen once there is nothing to prevent (2310.04415); where it is repeated, see above. |
# | Pre-norm needs no warmup | It tolerates its absence; warmup is used all the same. Lecture 05. |
# | Larger batches are better | Below the critical batch they save steps, above it they waste tokens. |

# %% [markdown]
# ## What you built
#
# `cs336lite.training`: `Tokens`, `write_tokens`; `TrainingConfig`, `SCHEDULES`, `OPTIMIZERS`, `parameter_groups`;
# `train` with checkpoints that go on bit for bit, metrics in JSON lines, observers, `torchrun`; `Experiment`, `sweep` on
# processes or a dask cluster; `noise_scale`; `python -m cs336lite.training run.json`.
#
# ## Limits
#
# - All of it at 167,000 parameters, some 50,000 to 160,000 tokens a run, on text from a grammar. A basin may move with
#   size: for learning rates, it does (lecture 08). Where our scale shows no effect, that is all it shows.
# - Three seeds give wide intervals; effects below a few hundredths of a nat are beyond them.
# - A grid of two or three rates finds an arm's best rate to a factor of about two.
# - Windows begin anywhere and cross from one story into the next; a large run would pack documents and mask.
# - Exact resume holds for the same versions, machine type and number of threads, on a CPU; GPUs have kernels whose
#   sums come in any order.
#
# ## Sources
#
# Kaplan et al. 2020 (arXiv 2001.08361) · T5 (1910.10683) · GPT-3 (2005.14165) · Llama 2 (2307.09288) · PaLM (2204.02311)
# · BLOOM (2211.05100) · Loshchilov and Hutter, AdamW (1711.05101) · Chen et al., Lion (2302.06675) · D'Angelo et al.,
# weight decay (2310.04415) · McCandlish et al., the noise scale (1812.06162) · Liu et al., early dropout (2303.01500) ·
# Bergsma et al., linear to zero (2502.15938) · Hu et al., MiniCPM and WSD (2404.06395) · Shazeer, GLU variants
# (2002.05202).
#
# ## Next
#
# Lecture **05 · stability**: what breaks when the learning rate is too high, and the tricks that hold it together.

# %%
finished("04_hyperparameters")
