# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: backend, minutes: 1, prerequisites: [03b_variants], device: CPU or GPU}
# ---

# %% [markdown]
# # 07x · Where kernels run (appendix of lecture 07)
#
# {badge} · prerequisites: [07 · GPU kernels](../07_kernels.ipynb) · device: CPU, by Triton's interpreter; a GPU is used if there is one
#
# The kernels of this course run on an NVIDIA GPU, in Triton's interpreter, or not at all. `cs336lite.backend` finds out
# which, and is the first module of the production kernels.

# %%
#| export
"""Where Triton's kernels run, what they are given, and how they are launched.

`BACKEND` says where: "gpu", "interpreter" (Triton's, on the CPU) or "pytorch" (no Triton). Importing this module makes no
CUDA context and leaves the environment as it was: TRITON_INTERPRET, which Triton reads while it is imported, is set for
that moment only. Set by you, it decides: 1 asks for the interpreter, 0 rules it out.

Built in notebooks/appendix/07x_backend.ipynb.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import torch
from torch import Tensor

# %% [markdown]
# ## Which of three places?
#
# **What decides where a kernel runs?** With an NVIDIA GPU it is compiled for it. Without one, Triton has an interpreter that runs
# the same source in NumPy. Without Triton (macOS, Windows) no kernel runs, and every function of the course falls back to its
# twin in plain PyTorch. So each function gives the same numbers everywhere, and only its speed differs.
#
# Triton decides between compiler and interpreter while it is *imported*, by an environment variable. This module sets the
# variable for that moment alone. It asks the driver whether there is a GPU, and makes no CUDA context: data loaders that fork
# would fail with one.


# %%
#| export
def _import(name: str) -> ModuleType | None:
    """The module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


HAS_GPU = torch.version.hip is None and torch.cuda.device_count() > 0  # asks the driver's library: no context is made


def _import_triton() -> ModuleType | None:
    """Triton, with its interpreter where there is no GPU and nobody has decided otherwise."""
    if HAS_GPU or "TRITON_INTERPRET" in os.environ:
        return _import("triton")
    for name in [n for n, m in sys.modules.items() if m and n.partition(".")[0] == "triton" and "._C" not in n]:
        del sys.modules[name]  # torch may have imported it, without its interpreter
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        _import("triton.experimental.gluon")  # a launch imports it, and it must find what it expects
        return _import("triton")
    finally:
        del os.environ["TRITON_INTERPRET"]


triton = _import_triton()
tl = _import("triton.language") or SimpleNamespace(constexpr=lambda value: value)  # annotations below need the name


# %%
#| export
def _reason() -> tuple[str, str]:
    """Where kernels run, and why."""
    if triton is None:
        return "pytorch", "Triton is not installed: every function is its twin in plain PyTorch"
    if not isinstance(tl.sum, triton.runtime.jit.JITFunction):  # what Triton's own functions became at its import
        return "interpreter", "no GPU: Triton's interpreter runs the kernels on the CPU"
    if HAS_GPU:
        return "gpu", "a GPU: kernels are compiled for it when they are first used"
    return "pytorch", "no GPU, and TRITON_INTERPRET says that Triton's interpreter is not wanted"


BACKEND = _reason()[0]
REASON = _reason()[1]
DEVICE = "cuda" if BACKEND == "gpu" else "cpu"
INTERPRETED = tl.constexpr(BACKEND == "interpreter")


# %% [markdown]
# ## Launching
#
# **What goes between a function and its kernel?** `jit` makes a kernel of Python source, and `launch` starts a grid of programs on
# the device where the first tensor lies. A GPU can be too small for a program, or too old for Triton. `launch` says so in words,
# with what to call instead.


# %%
#| export
def jit(kernel: Callable) -> object:
    """`triton.jit`, or nothing where there is no Triton. Built in notebooks/appendix/07x_backend.ipynb."""
    kernel = inspect.unwrap(kernel)  # Triton reads the source: without what a type checker has put around it
    if triton is None:
        return kernel
    if BACKEND == "interpreter":
        return importlib.import_module("triton.runtime.interpreter").InterpretedFunction(kernel)
    return triton.jit(kernel)


# %%
#| export
errors = _import("triton.runtime.errors") or SimpleNamespace(OutOfResources=MemoryError)


def launch(
    kernel: object, grid: tuple[int, ...] | Callable[[dict], tuple[int, ...]], *args: object, **options: object
) -> None:
    """Run one program of the kernel for each point of the grid, on the device of the first argument.

    Raises RuntimeError, with what helps, for a GPU that is too old for Triton, or too small for a program of this kernel.
    Built in notebooks/appendix/07x_backend.ipynb.
    """
    if args[0].is_cuda and torch.cuda.get_device_capability(args[0].device) < (8, 0):  # V100, T4
        raise RuntimeError(
            "Triton needs a GPU of compute capability 8.0 or later (A100, RTX 30 and what followed). On this one call the "
            "functions named plain_..., tiled_attention, or F.scaled_dot_product_attention"
        )
    try:
        with torch.cuda.device(args[0].device) if args[0].is_cuda else nullcontext():
            kernel[grid](*args, **options)
    except errors.OutOfResources as problem:
        raise RuntimeError(
            f"a program of this kernel takes {problem.required:,} of {problem.name}, and this GPU has {problem.limit:,}: give "
            "smaller rows, as heads of 128, or 16 bits a number; or call the functions named plain_..., or tiled_attention"
        ) from problem


# %% [markdown]
# ## What is refused
#
# **What would a kernel do with a wrong tensor?** It would read other memory, since it only gets addresses. So every public function
# checks dtype, device and shape before it launches anything, and names the argument that is wrong. `autocast` gives matrix
# products the dtype that PyTorch's own would get, so that training in bfloat16 works with fused parts.

# %%
#| export
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def check(*, same_shape: bool = False, here: bool = True, **tensors: Tensor) -> None:
    """Raise what is wrong with the arguments of a kernel, by name, before anything is launched.

    Raises TypeError for a dtype that no kernel takes or dtypes that differ, ValueError for different devices, a device
    on which the kernels do not run (unless not ``here``), or (``same_shape``) different shapes. Built in notebooks/appendix/07x_backend.ipynb.
    """
    first, *others = tensors
    x = tensors[first]
    for name, tensor in tensors.items():
        if here and tensor.dtype not in DTYPES:
            raise TypeError(f"{name} is {tensor.dtype}: the kernels take float32, bfloat16 and float16")
        if here and BACKEND != "pytorch" and tensor.device.type != DEVICE:
            raise ValueError(f"{name} is on {tensor.device}, but the kernels run on {DEVICE} here ({REASON})")
    for name in others:
        if tensors[name].dtype != x.dtype:
            raise TypeError(f"{name} is {tensors[name].dtype} and {first} is {x.dtype}: give both the same dtype")
        if tensors[name].device != x.device:
            raise ValueError(f"{name} is on {tensors[name].device} and {first} on {x.device}")
        if same_shape and tensors[name].shape != x.shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)} and {first} {tuple(x.shape)}")


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the dtype that `torch.autocast` asks for, as its matrix products get them; else as they are.

    Built in notebooks/appendix/07x_backend.ipynb.
    """
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(t.to(torch.get_autocast_dtype(device)) if t.is_floating_point() else t for t in tensors)


# %%
print(f"BACKEND is {BACKEND!r}: {REASON}")
assert BACKEND in ("gpu", "interpreter", "pytorch") and (BACKEND == "interpreter") == bool(INTERPRETED)
