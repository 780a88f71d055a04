# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: distributed, minutes: 1, prerequisites: [10_parallelism], device: CPU}
# ---

# %% [markdown]
# # 10x · The same with PyTorch's own tools (appendix of lecture 10)
#
# {badge} · prerequisites: [10 · parallelism](../10_parallelism.ipynb) · device: CPU
#
# Lecture 10 wrote everything by hand, to see every byte. Nobody trains like that. Here the same ideas are calls of
# PyTorch, on real processes that `torchrun` starts: replicas (DDP), shards of everything (FSDP2), layers that are cut
# (DTensor), and checkpoints that each rank writes a part of. The results are recorded, since starting so many
# processes takes a minute or two; the command that makes them again stands below them.

# %%
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.course.results import recorded, source
from cs336lite.scratch import Scratch

# %% folded=true
#| export
"""One small model under torchrun: replicas (DDP), shards (FSDP2), cut layers (DTensor), and checkpoints in shards.

`launch` starts ranks as torchrun does, and each of them runs `main`. Shapes: x is (batch, 16), logits are (batch, 10).

Built in notebooks/appendix/10x_real_tools.ipynb.
"""

import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

# %% [markdown]
# ## 1 · One model, four ways
#
# The model is plain PyTorch and knows nothing of ranks. That is the point of these tools: one function, `spread`,
# changes how it is trained.


# %%
#| export
class Block(nn.Module):
    """x + W2 relu(W1 x)², for x (batch, 32).

    Built in notebooks/appendix/10x_real_tools.ipynb.
    """

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(32, 128), nn.Linear(128, 32)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(x).relu().square())


class Network(nn.Module):
    """A linear layer, two blocks, a linear layer: (batch, 16) to logits (batch, 10).

    Built in notebooks/appendix/10x_real_tools.ipynb.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 32), nn.Linear(32, 10)
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


# %% [markdown]
# - **DDP** (DistributedDataParallel) is section 2 of the lecture: hooks, buckets of 25 MB, all-reduces during the
#   backward pass.
# - **FSDP2** (`fully_shard`) is ZeRO 3 of section 3. What is sharded together is gathered together: here each block
#   by itself, and the rest with the whole model. Beside its shards a rank holds the rest whole and one block at a
#   time (on GPUs also the next one, which is fetched ahead).
# - **DTensor** (分布式张量) is a tensor that knows how it is cut over a *mesh* (设备网格) of ranks. `ColwiseParallel` and
#   `RowwiseParallel` are section 4: columns first, then rows, and one all-reduce behind them in each direction.


# %%
#| export
WAYS = ("one", "ddp", "fsdp2", "tensor")


def spread(way: str, model: Network) -> nn.Module:
    """The model as all ranks train it: "ddp" replicas, "fsdp2" shards, "tensor" cut blocks, "one" as it is.

    Raises ValueError for another way. Built in notebooks/appendix/10x_real_tools.ipynb.
    """
    if way not in WAYS:
        raise ValueError(f"there is no way {way!r}: {', '.join(WAYS)}")
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    if way == "ddp":
        return DistributedDataParallel(model)
    for block in model.blocks:
        if way == "fsdp2":
            fully_shard(block, mesh=mesh)
        if way == "tensor":
            parallelize_module(block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
    return fully_shard(model, mesh=mesh) if way == "fsdp2" else model


# %% [markdown]
# A checkpoint of shards is a folder: each rank writes what it holds, and a small file says what lies where. Who loads
# it may have another number of ranks. `get_state_dict` gives names and shapes as *this* run needs them, `dcp.load`
# fills them from whatever files hold the pieces.


# %%
#| export
def save(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write weights and moments, each rank its shards. Built in notebooks/appendix/10x_real_tools.ipynb."""
    weights, moments = get_state_dict(model, optimizer)
    dcp.save({"weights": weights, "moments": moments}, checkpoint_id=folder)


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Read a checkpoint of any number of ranks. Built in notebooks/appendix/10x_real_tools.ipynb."""
    weights, moments = get_state_dict(model, optimizer)
    dcp.load({"weights": weights, "moments": moments}, checkpoint_id=folder)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)


# %% [markdown]
# The loop is the usual one. `CommDebugMode` counts the collectives that a step asks for.


# %%
#| export
def example(step: int) -> tuple[Tensor, Tensor]:
    """The whole batch of a step: x (32, 16) and classes (32,). Built in notebooks/appendix/10x_real_tools.ipynb."""
    made = torch.Generator().manual_seed(step)
    return torch.randn(32, 16, generator=made), torch.randint(10, (32,), generator=made)


def train(way: str, start: int, stop: int, folder: Path) -> dict:
    """Steps from start to stop on this rank, on from ``folder/checkpoint`` when start is not 0; then written there.

    Rank 0 writes all weights to ``folder/weights.pt``. What comes back: losses of the rank's rows, how often the last step
    asked for which collective, and how many numbers of weights and moments the rank holds.

    Built in notebooks/appendix/10x_real_tools.ipynb.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    model, losses = Network(), []
    parallel = spread(way, model)
    optimizer = torch.optim.AdamW(parallel.parameters(), lr=0.01)
    if start:
        load(folder / "checkpoint", model, optimizer)
    for step in range(start, stop):
        x, y = example(step)
        if way in ("ddp", "fsdp2"):
            x, y = x.chunk(size)[rank], y.chunk(size)[rank]
        optimizer.zero_grad()
        with CommDebugMode() as asked:
            loss = F.cross_entropy(parallel(x), y)
            loss.backward()
        optimizer.step()
        losses.append(loss.item())
    save(folder / "checkpoint", model, optimizer)
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank == 0:
        torch.save(whole, folder / "weights.pt")
    counts = {str(call).split(".")[-1].strip("_"): n for call, n in asked.get_comm_counts().items()}
    moments = [x for state in optimizer.state.values() for x in state.values() if x.ndim]
    return {"losses": losses, "collectives": counts, "weights": held(model.parameters()), "moments": held(moments)}


def held(tensors) -> int:
    """The numbers that lie on this rank."""
    return sum((x.to_local() if hasattr(x, "to_local") else x).numel() for x in tensors)


# %% [markdown]
# `torchrun --standalone --nproc-per-node 2 train.py` starts two processes and tells each its rank and where the
# others are, in environment variables, which `init_process_group` reads. When one fails it ends the others.


# %%
#| export
def main() -> None:
    """A rank: ``train.py WAY START STOP FOLDER``. Writes ``FOLDER/rank-N.json``."""
    way, start, stop, folder = sys.argv[1:]
    dist.init_process_group("gloo", timeout=timedelta(seconds=120))
    said = train(way, int(start), int(stop), Path(folder))
    (Path(folder) / f"rank-{dist.get_rank()}.json").write_text(json.dumps(said))
    dist.destroy_process_group()


def launch(ranks: int, way: str, start: int, stop: int, folder: Path, timeout: float = 300) -> list[dict]:
    """What `train` gives on each of so many ranks that torchrun starts.

    Raises RuntimeError with what went wrong when a rank fails, or after ``timeout`` seconds; no process is left then.

    Built in notebooks/appendix/10x_real_tools.ipynb.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "train.py"
    script.write_text("from cs336lite.distributed import main\n\nmain()\n")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    paths = os.pathsep.join(dict.fromkeys(path or os.getcwd() for path in sys.path))
    environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
    command = [*torchrun, str(script), way, str(start), str(stop), str(folder)]
    with (folder / "errors").open("w+") as errors:
        process = subprocess.Popen(command, env=environment, stdout=errors, stderr=errors)
        try:
            code, late = process.wait(timeout), False
        except subprocess.TimeoutExpired:
            code, late = 1, True
        finally:
            process.terminate()  # torchrun ends its ranks first
            process.wait()
        errors.seek(0)
        told = re.findall(r"(?m)^(\[rank\d+\]: \w*(?:Error|Exception|Interrupt)\b.*)", errors.read())
    if code:
        raise RuntimeError(f"not done after {timeout:g} seconds" if late else "; ".join(told) or f"exit status {code}")
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(ranks)]


# %% [markdown]
# ## 2 · One recorded run of each
#
# Twelve steps of AdamW on the same batches: in one process, and on two ranks in each of the three ways. And once more with
# FSDP2, stopped after six steps: its checkpoint goes on with two ranks, and with one.

# %%
STEPS = 12


def all_runs():
    with Scratch("course") as folder:
        ranks = {"one": 1, "ddp": 2, "fsdp2": 2, "tensor": 2}
        said = {way: launch(n, way, 0, STEPS, folder / way) for way, n in ranks.items()}
        for n in (2, 1):
            launch(2, "fsdp2", 0, STEPS // 2, folder / f"on {n}")
            said[f"resumed on {n}"] = launch(n, "fsdp2", STEPS // 2, STEPS, folder / f"on {n}")
        kept = {way: torch.load(folder / name / "weights.pt") for way, name in
                zip(said, (*ranks, "on 2", "on 1"), strict=True)}  # fmt: skip
    far = {w: max((kept[w][k] - x).abs().max().item() for k, x in kept["one"].items()) for w in kept}
    return {way: {"ranks": said[way], "difference": far[way]} for way in said}


found = recorded("10x_torchrun.json", all_runs, {"steps": STEPS, "ranks": 2})
print(source("10x_torchrun.json"))

# %% [markdown]
# **Predict.** The network has 12 tensors of parameters. How many all-reduces does DDP ask for in a step? And how many
# all-gathers does FSDP2, with two blocks and the rest?

# %%
guess_ddp = guess_fsdp = None

calls = {way: found[way]["ranks"][0]["collectives"] for way in ("ddp", "fsdp2", "tensor")}

# %% folded=true
# run this cell to compare your guesses
because = {12: "that would be one for each tensor: they share a bucket of 25 MB"}
reveal("all-reduces of DDP", calls["ddp"]["allreduce"], guess_ddp, because=because)
because = {3: "those of the forward pass: the blocks are freed after it, and gathered again", 6: "nearly: the root is needed again as soon as the backward pass begins, so it keeps its weights"}  # fmt: skip
reveal("all-gathers of FSDP2", calls["fsdp2"]["allgather_base"], guess_fsdp, because=because)
for way, counts in calls.items():
    print(f"{way:>7}: " + ", ".join(f"{n} × {call}" for call, n in counts.items()))
assert calls["fsdp2"]["reduce_scatter_base"] == 3 and calls["tensor"]["all_reduce"] == 4

# %% [markdown]
# FSDP2 gathers the two blocks and the rest, and the blocks once more in the backward pass; it reduce-scatters each of
# the three once. Tensor parallel has one all-reduce for each block and direction.

# %% folded=true
fig, (left, right) = axes(1, 2, size=(10, 3.2))
names = ["one", "ddp", "fsdp2", "tensor"]
for shift, (what, color) in zip((-0.2, 0.2), (("weights", "blue"), ("moments", "orange"))):
    numbers = [found[way]["ranks"][-1][what] / 1e3 for way in names]
    left.bar([i + shift for i in range(4)], numbers, 0.38, color=COLORS[color], label=what)
left.set(xticks=range(4), xticklabels=names, xlabel="way", ylabel="thousand numbers on the last rank", title="What a rank holds", ylim=(0, 48))  # fmt: skip
left.legend(loc="upper right")
others = [way for way in found if way != "one"]
right.plot([found[way]["difference"] for way in others], range(5), "o", color=COLORS["blue"], label="measured")
right.axvline(1e-4, color=COLORS["vermillion"], linestyle="--", label="bound, tested below")
right.set(yticks=range(5), yticklabels=others, xscale="log", xlim=(1e-7, 1e-3), ylim=(6.2, -0.6), xlabel="largest difference of a weight (logarithmic)", ylabel="way", title=f"Against one process, after {STEPS} steps")  # fmt: skip
right.legend(loc="lower center", ncols=2)
finish(fig)

# %%
whole, shares = found["one"]["ranks"][0], {way: found[way]["ranks"] for way in found}
assert all(row["weights"] == whole["weights"] for row in shares["ddp"])
assert sum(row["weights"] for row in shares["fsdp2"]) == whole["weights"]
assert sum(row["moments"] for row in shares["fsdp2"]) == whole["moments"]
assert whole["weights"] / 2 < shares["tensor"][0]["weights"] < 0.6 * whole["weights"]
assert max(one["difference"] for one in found.values()) < 1e-4
for n in (2, 1):
    resumed = [sum(x) / n for x in zip(*(row["losses"] for row in shares[f"resumed on {n}"]))]
    gap = max(abs(a - b) for a, b in zip(resumed, whole["losses"][STEPS // 2 :], strict=True))
    print(f"resumed on {n}: losses of steps {STEPS // 2 + 1} to {STEPS} differ by at most {gap:.0e}")
    assert len(resumed) == STEPS // 2 and gap < 1e-4

# %% [markdown]
# All of them are one process to rounding: sums are added in another order. DDP holds everything twice. FSDP2 holds
# half of all; tensor parallel half of the blocks, and the two linear layers whole. And a checkpoint that two ranks
# wrote goes on with two or with one.
#
# **Try it**: give `spread` a way of your own, with `fully_shard` for the whole model alone. How many all-gathers are
# left, and what is lost?
#
# ## Limits
#
# - Two processes on one machine, through gloo. On GPUs the backend is NCCL, and `mesh` has a dimension for each
#   kind of parallelism.
# - The model is tiny: it shows that the ways agree, and nothing about speed.
#
# ## Sources
#
# Li et al. 2020, PyTorch DDP (arXiv 2006.15704) · Zhao et al. 2023, FSDP (2304.11277) · Liang et al. 2024, TorchTitan
# (2410.06511), where these tools train Llama 3 · PyTorch's documentation of
# [torchrun](https://docs.pytorch.org/docs/stable/elastic/run.html),
# [fully_shard](https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html) and
# [DTensor](https://docs.pytorch.org/docs/stable/distributed.tensor.parallel.html).
