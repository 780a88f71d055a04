"""What lecture 07 uses to look at Triton kernels: start Triton, watch what a kernel reads, compile for a GPU that is not here.

KERNELS = Kernels("07_kernels")          # true where kernels can run, in Triton's interpreter or on a GPU
if KERNELS.or_show("error of softmax"):  # elsewhere the cell shows what the course's own run has shown
    ...
seen = watch(lambda: kernel[grid](...))  # every load and store, program by program (interpreter only)
asked(seen), fetched(seen)               # bytes that programs ask for; bytes of the sectors that they touch
compiled(kernel, arguments, {"BLOCK": 1024})    # registers, shared memory
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import nbformat
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cs336lite import backend
from cs336lite.course.paths import CourseError, find_root, read_json, step_notebook
from cs336lite.course.ready import kept_outputs, outputs_file, show
from cs336lite.course.reset import first_version

__all__ = ["Access", "Compiled", "Kernels", "asked", "compiled", "fetched", "operation_bytes", "start", "watch"]


def start() -> tuple[ModuleType, ModuleType, Callable, str]:
    """(triton, triton.language, jit, device): on "cuda", or on "cpu" with Triton's interpreter.

    Raises CourseError where kernels cannot run: Triton is not installed, as on macOS and Windows, or not wanted.
    """
    if backend.BACKEND == "pytorch":
        raise CourseError(
            f"{backend.REASON}. This needs Triton, which runs on Linux, and on Windows inside WSL; a GPU is not needed."
        )
    return backend.triton, backend.tl, backend.jit, backend.DEVICE


@dataclass(frozen=True)
class Kernels:
    """True where kernels can run: on a GPU or in Triton's interpreter. ``lecture`` is the one whose cells ask."""

    lecture: str

    def __bool__(self) -> bool:
        return backend.BACKEND != "pytorch"

    def or_show(self, name: str) -> bool:
        """True when a cell can run; where it cannot, say why and show what the course's own run has shown.

        Args:
            name: of the cell, as no other cell of the lecture has it.
        """
        if self:
            return True
        outputs = shown_by_the_course(self.lecture).get(name, [])
        told = " The course's own run shows:" if outputs else ""
        print(f"Not run: {backend.REASON}.{told}")
        show(outputs)
        return False


def shown_by_the_course(lecture: str) -> dict[str, list[dict]]:
    """Outputs of cells by their names: an edition keeps them in a file, a clone in the notebook that git holds."""
    root = find_root()
    kept = read_json(outputs_file(root, lecture), None)
    if kept is None:
        try:
            original = first_version(root, step_notebook(root, lecture))
        except CourseError:  # neither: the cell says what it needs, and nothing more
            return {}
        kept = kept_outputs(nbformat.reads(original.decode(), as_version=4))
    return kept


@dataclass(frozen=True)
class Access:
    """One load or store of one program: addresses in bytes of the elements that its mask lets through."""

    kind: str  # "load" or "store"
    program: tuple[int, int, int]
    addresses: np.ndarray
    itemsize: int


def watch(function: Callable[[], object]) -> list[Access]:
    """All loads and stores of the kernels that ``function`` launches. Raises CourseError without the interpreter."""
    if backend.BACKEND != "interpreter":
        raise CourseError(f"loads and stores can be watched in Triton's interpreter only ({backend.REASON})")
    from triton.runtime.interpreter import interpreter_builder as builder

    seen: list[Access] = []

    def noted(method: Callable, kind: str) -> Callable:
        def access(pointers, *rest, **options):
            mask = next((r.data for r in rest if getattr(r, "data", None) is not None and r.data.dtype == bool), True)
            kept = pointers.data[np.broadcast_to(mask, pointers.data.shape)].astype(np.int64)
            itemsize = pointers.get_element_ty().primitive_bitwidth // 8
            seen.append(Access(kind, tuple(builder.grid_idx), kept, itemsize))
            return method(pointers, *rest, **options)

        return access

    names = {"create_masked_load": "load", "create_masked_store": "store"}
    with patch.multiple(builder, **{name: noted(getattr(builder, name), kind) for name, kind in names.items()}):
        function()
    return seen


def asked(seen: Sequence[Access]) -> int:
    """Bytes that programs load and store."""
    return sum(one.itemsize * one.addresses.size for one in seen)


def fetched(seen: Sequence[Access], *, warp: int = 32, sector: int = 32) -> int:
    """Bytes of all sectors that warps touch, when each thread of a warp takes the next element of a tile."""
    total = 0
    for one in seen:
        for first in range(0, one.addresses.size, warp):
            total += sector * np.unique(one.addresses[first : first + warp] // sector).size
    return total


class _Traffic(TorchDispatchMode):
    total = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in op._schema.returns)
        if not is_view and "empty" not in str(op):
            tensors = [t for t in (*args, *(out if isinstance(out, tuple | list) else [out])) if torch.is_tensor(t)]
            self.total += sum(min(t.nbytes, t.untyped_storage().nbytes()) for t in tensors)
        return out


def operation_bytes(function: Callable[[], object]) -> int:
    """Bytes that PyTorch's operations read and write: each its inputs and its outputs once; views are free."""
    with _Traffic() as traffic:
        function()
    return traffic.total


@dataclass(frozen=True)
class Compiled:
    """What one program of a compiled kernel takes."""

    threads: int
    registers: int  # of a thread
    stack: int  # bytes of a thread in local memory; spilled registers are there
    shared: int  # bytes


def compiled(
    kernel: Callable, arguments: Mapping[str, str], constants: Mapping[str, object], *, capability: int = 90,
    warps: int = 4, stages: int = 3,
) -> Compiled:  # fmt: skip
    """Compile a kernel for an NVIDIA GPU of this compute capability (80: A100, 90: H100), which need not be there.

    ``arguments`` gives Triton's type of each argument (``"*bf16"`` a pointer, ``"i32"``), ``constants`` the constexprs. Pointers
    and integers count as multiples of 16, as PyTorch's usually are. In a process of its own, without the interpreter.
    Raises CourseError with the compiler's last words.
    """
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(getattr(kernel, "fn", kernel))))
    source = source[source.index("def ") :]
    job = {"name": kernel.__name__, "arguments": dict(arguments), "constants": dict(constants), "capability": capability,
           "warps": warps, "stages": stages}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.py"
        file.write_text(f"{HEAD}\n\n@triton.jit\n{source}\n\n{TAIL}", encoding="utf-8")
        environment = {**os.environ, "TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": "", "TRITON_CACHE_DIR": folder}
        done = subprocess.run(
            [sys.executable, str(file), json.dumps(job)], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise CourseError(f"{kernel.__name__} does not compile: {done.stderr.strip()[-600:]}")
    told = json.loads(done.stdout)
    used = {name: int(value) for name, value in re.findall(r"(REG|STACK):(\d+)", told["resources"])}
    return Compiled(told["threads"], used["REG"], used["STACK"], told["shared"])


HEAD = """import json, pathlib, subprocess, sys
import triton, triton.language as tl"""
TAIL = """from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

job = json.loads(sys.argv[1])
kernel = globals()[job["name"]]
types = {**job["arguments"], **dict.fromkeys(job["constants"], "constexpr")}
even = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if name in job["arguments"] and types[name] != "fp32"}
source = ASTSource(kernel, {name: types[name] for name in kernel.arg_names}, job["constants"], even)
options = {"num_warps": job["warps"], "num_stages": job["stages"]}
made = triton.compile(source, target=GPUTarget("cuda", job["capability"], 32), options=options)
cubin = pathlib.Path(sys.argv[0]).with_suffix(".cubin")
cubin.write_bytes(made.asm["cubin"])
tool = pathlib.Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
said = subprocess.run([tool, "--dump-resource-usage", cubin], capture_output=True, text=True, check=True).stdout
print(json.dumps({"resources": said, "shared": made.metadata.shared, "threads": 32 * made.metadata.num_warps}))
"""
