# Built from notebooks/text/appendix/10x_real_tools.py by `cs336lite build`: edit that file, not this one.
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


def save(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write weights and moments, each rank its shards. Built in notebooks/appendix/10x_real_tools.ipynb."""
    weights, moments = get_state_dict(model, optimizer)
    dcp.save({"weights": weights, "moments": moments}, checkpoint_id=folder)


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Read a checkpoint of any number of ranks. Built in notebooks/appendix/10x_real_tools.ipynb."""
    weights, moments = get_state_dict(model, optimizer)
    dcp.load({"weights": weights, "moments": moments}, checkpoint_id=folder)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)


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
