# Built from notebooks/text/04_hyperparameters.py by `cs336lite build`: edit that file, not this one.
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

Row = dict[str, int | float | None]  # what is recorded of a step; None: not finite
Observer = Callable[[int, nn.Module], dict[str, int | float]]  # (step, model) -> what to record with this step
Score = Callable[[nn.Module, Tensor, Tensor], Tensor]  # (model, inputs, targets) -> validation loss


def generator(seed: int, step: int, purpose: int = 0) -> torch.Generator:
    """Random numbers for one purpose of one step: the same for the same three numbers, unrelated for others."""
    return torch.Generator().manual_seed(seed_of(seed, step, purpose))


def seed_of(*numbers: int) -> int:
    """A seed of 63 bits made of some numbers, each at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


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


WHOLE = {"steps": 1, "batch_size": 1, "seq": 1, "warmup": 0, "accumulation": 1}  # the least of each
WHOLE |= {"eval_every": 0, "eval_batches": 1, "seed": 0}
MOST = {"lr": math.inf, "weight_decay": math.inf, "clip": math.inf}  # the most of each; the least is 0
MOST |= {"decay": 1, "final_lr": 1, "early_dropout": 1}
PRECISIONS = ("float32", "bfloat16", "auto")


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
    step: int = 0  # updates done
    metrics: list[Row] = field(default_factory=list)

    def autocast(self) -> Any:
        device, precision = self.here.device, self.config.precision
        low = precision == "bfloat16" or (precision == "auto" and bfloat16_is_faster(str(device)))
        return torch.autocast(device.type, torch.bfloat16, enabled=low)


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
    for module in state.model.modules():
        if isinstance(module, ActsAfterStep):
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


@dataclass(frozen=True)
class Run(_Recorded):
    """What training gave: ``metrics`` has a dict of numbers for each step."""

    name: str
    metrics: list[Row]
    seconds: float  # on the clock, since it was last started
    model: nn.Module | None = field(default=None, repr=False, compare=False)  # None in a sweep


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


_ALONE = threading.Lock()  # dropout draws from random numbers that all threads of a process share


def run_experiment(experiment: Experiment, data: Tokens, validation: Tokens | None, device: str | None) -> Run:
    """Train one experiment of a sweep, here or in another process; the model stays there."""
    with _ALONE:
        watch = {"observe": experiment.observe, "score": experiment.score, "device": device}
        run = train(experiment.model, experiment.training, data, validation=validation, **watch)
    return replace(run, name=experiment.name, model=None)


def start_worker() -> None:
    """What a process of a sweep does first: take one thread, and see to it that it does not outlive the sweep."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


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
