# Built from notebooks/text/appendix/07x_without_a_gpu.py by `cs336lite build`: edit that file, not this one.
"""The kernels compiled for an NVIDIA GPU that need not be there: ``python -m cs336lite.compiled 90 bfloat16 first`` prints, for each
kernel and choice of tiles, the registers, the stack and the shared memory that it takes.

A process of its own, because Triton is imported either with its interpreter or with its compiler. Nothing is run.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from cs336lite.backend import triton


@dataclass(frozen=True)
class Compiled:
    """What one compiled kernel takes of a GPU. Built in notebooks/appendix/07x_without_a_gpu.ipynb."""

    kernel: str
    tile: dict[str, int]
    threads: int
    registers: int  # of each thread
    stack: int  # bytes of each thread's stack frame, in memory: where spilled registers go
    shared: int  # bytes of each program

    def programs(self, registers: int = 65_536, shared: int = 233_472, threads: int = 2_048) -> int:
        """Programs that one streaming multiprocessor holds at once; the limits are those of an H100."""
        by_registers = registers // (self.threads * -(-self.registers // 8) * 8)
        return min(by_registers, shared // (self.shared + 1_024), threads // self.threads, 32)


SHARED = {80: 163 * 1024, 86: 99 * 1024, 89: 99 * 1024, 90: 227 * 1024}
"""Bytes of shared memory that a program can have at most, by compute capability: A100, RTX 30, RTX 40, H100."""


class _Driver:
    """Stands for a GPU: it says which one is compiled for, and can do nothing else."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        return 0


def _resources(cubin: bytes) -> dict[str, int]:
    """What NVIDIA's own tool says about a compiled kernel."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        said = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    return {name: int(value) for name, value in re.findall(r"(REG|STACK):(\d+)", said.stdout)}


TILE_NAMES = ("ROWS", "BLOCK", "BLOCK_D", "M", "N", "K", "num_warps", "num_stages")


def _compiled(kernel: object, made: object, options: dict[str, object]) -> Compiled:
    used, tile = _resources(made.asm["cubin"]), {k: v for k, v in options.items() if k in TILE_NAMES}
    return Compiled(
        kernel.fn.__name__, tile, made.metadata.num_warps * 32, used["REG"], used["STACK"], made.metadata.shared
    )


@contextmanager
def compiling(capability: int, every: bool = False) -> Iterator[list[Compiled]]:
    """Inside, a launch compiles and runs nothing; the list grows by what it compiled, ``every`` choice of tiles or one.

    Only in a process of its own, without the interpreter (TRITON_INTERPRET=0). Built in notebooks/appendix/07x_without_a_gpu.ipynb.
    """
    found: list[Compiled] = []
    kernels, tuners = triton.runtime.jit.JITFunction, triton.runtime.autotuner.Autotuner
    compile_only = kernels.run

    def note(kernel, *args, warmup, **options):
        found.append(_compiled(kernel, compile_only(kernel, *args, warmup=True, **options), options))

    def choices(tuner, *args, **options):
        tuner.nargs = dict(zip(tuner.arg_names, args))
        fitting = tuner.prune_configs(options)
        for config in fitting if every else fitting[:1]:
            tuner.fn.run(*args, **options, **config.all_kwargs())

    triton.runtime.driver.set_active(_Driver(capability))
    with patch.object(kernels, "run", note), patch.object(tuners, "run", choices):
        yield found


HEADS = (64, 128, 256)


def _workload(dtype: torch.dtype) -> dict[str, Callable[[], Tensor | None]]:
    """A call of every kernel, with sizes of a small model."""
    from cs336lite import flash, kernels, tiles

    def draw(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=dtype).requires_grad_()

    angles, at, targets = torch.zeros(512, 64), torch.arange(512), torch.zeros(64, dtype=torch.int64)
    seen = torch.ones(150, 150, dtype=torch.bool)
    return {
        "add": lambda: kernels.add(draw(512, 1_024), draw(512, 1_024)),
        "softmax": lambda: kernels.softmax(draw(512, 4_096)),
        "wide softmax": lambda: kernels.softmax(draw(4, 40_000)),
        "rms_norm": lambda: kernels.rms_norm(draw(512, 4_096), draw(4_096)),
        "swiglu": lambda: kernels.swiglu(draw(512, 1_024), draw(512, 1_024)),
        "cross_entropy": lambda: kernels.cross_entropy(draw(64, 128_256), targets),
        "rope": lambda: kernels.rope(draw(2, 8, 512, 128), angles, angles, at),
        "lion_step": lambda: kernels.lion_step(*(draw(512, 1_024).detach() for _ in range(3)), lr=0.1),
        "matmul": lambda: tiles.matmul(draw(1_024, 1_024), draw(1_024, 2_048)),
        "flash, mask": lambda: flash.flash_attention(*(draw(1, 2, 150, 40) for _ in range(3)), seen, causal=False),
        **{f"flash {d}": lambda d=d: flash.flash_attention(*(draw(1, h, 1_024, d) for h in (8, 2, 2))) for d in HEADS},
    }


def main(capability: int, dtype: torch.dtype, every: bool = False, only: Collection[str] = ()) -> None:
    """Compile the kernels of all calls, or of ``only`` some, and print one line of JSON for each. Built in notebooks/appendix/07x_without_a_gpu.ipynb."""
    from cs336lite import backend, flash, kernels, tiles

    for module in (backend, kernels, tiles, flash):
        module.BACKEND = "gpu"  # tensors lie on the CPU, and nobody looks into them
    with compiling(capability, every) as found:
        for name, call in _workload(dtype).items():
            result = call() if name in only or not only else None
            if result is not None:
                result.backward(torch.ones_like(result))
    for one in found:
        print(json.dumps(asdict(one)))


def compiled_kernels(
    capability: int = 90, *, every: bool = False, dtype: str = "bfloat16", only: Collection[str] = ()
) -> list[Compiled]:
    """What each kernel takes on a GPU of this compute capability (80: A100, 90: H100), found out in a new process.

    With ``every`` choice of tiles, else the first; ``only`` the kernels of some calls, as "flash 64" or "softmax".
    Built in notebooks/appendix/07x_without_a_gpu.ipynb.
    """
    command = [sys.executable, "-m", "cs336lite.compiled", str(capability), dtype, "every" if every else "first", *only]
    environment = {**os.environ, "TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [Compiled(**json.loads(line)) for line in done.stdout.splitlines()]


if __name__ == "__main__" and "".join(sys.argv[1:2]).isdigit():  # a notebook is called __main__ too
    main(int(sys.argv[1]), getattr(torch, sys.argv[2]), sys.argv[3] == "every", sys.argv[4:])
