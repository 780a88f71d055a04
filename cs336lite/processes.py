# Built from notebooks/text/appendix/04x_engine.py by `cs336lite build`: edit that file, not this one.
"""The processes that train together, and what is shared among them.

Built in notebooks/appendix/04x_engine.ipynb.
"""

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from cs336lite.runs import usable_device


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
