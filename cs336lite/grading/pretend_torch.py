"""torch without its compiler, which takes seconds to import and cannot run in the jail: what is compiled is left as it is.

`install` puts a small module in the place of ``torch._dynamo``, before anything imports the real one, and lets
``torch.compile`` and ``torch.compiler`` give back what they get. Loaders of data do without processes, and ``torch.save``
writes through Python's ``open``, for which see `pretend_files`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import types
from collections.abc import Callable
from typing import Any


def same(thing: Any = None, *args: Any, **kwargs: Any) -> Any:
    """A decorator, plain or with arguments, that changes nothing."""
    return thing if callable(thing) else lambda function: function


def nothing(*args: Any, **kwargs: Any) -> None:
    return None


def no(*args: Any, **kwargs: Any) -> bool:
    return False


class Context(contextlib.nullcontext):
    """A context, and a decorator, that does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __call__(self, function: Callable) -> Callable:
        return function


class Config:
    """Settings of the compiler: all may be set, and those that nobody has set are off, with all below them."""

    patch = Context

    def __getattr__(self, name: str) -> Config:
        if name.startswith("__"):
            raise AttributeError(name)
        return Config()

    def __bool__(self) -> bool:
        return False


class Compiler(types.ModuleType):
    """In place of ``torch._dynamo``, and of ``torch._inductor``."""

    disable = allow_in_graph = nonstrict_trace = run = staticmethod(same)
    assume_constant_result = disallow_in_graph = forbid_in_graph = substitute_in_graph = staticmethod(same)
    is_compiling = is_dynamo_supported = is_inductor_supported = staticmethod(no)
    list_backends = staticmethod(lambda *args, **kwargs: [])
    set_stance = error_on_graph_break = Context
    compiled_autograd = types.SimpleNamespace(_disable=Context)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.config = Config()

    @staticmethod
    def optimize(*args: Any, **kwargs: Any) -> Callable:
        return same

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("__"):
            raise AttributeError(name)
        return nothing


def without_processes(init: Callable) -> Callable:
    """The constructor of a `DataLoader` that loads where it is."""

    @functools.wraps(init)
    def construct(self: Any, dataset: Any, *args: Any, **more: Any) -> None:
        workers = ("num_workers", "prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout")
        for name in (*workers, "worker_init_fn", "pin_memory"):
            more.pop(name, None)
        init(self, dataset, *args[:4], **more)  # batch_size, shuffle, sampler, batch_sampler; next is num_workers
        if len(args) > 5:
            self.collate_fn = args[5]

    return construct


def through_open(save: Callable) -> Callable:
    """``torch.save``, which would open a path in C++."""

    @functools.wraps(save)
    def write(obj: object, f: Any, *args: Any, **more: Any) -> None:
        if not isinstance(f, (str, os.PathLike)):
            return save(obj, f, *args, **more)
        with open(f, "wb") as file:
            save(obj, file, *args, **more)

    return write


def install(torch: Any) -> None:
    if "torch._dynamo" in sys.modules:
        return
    for name in ("_dynamo", "_inductor"):
        module = sys.modules[f"torch.{name}"] = Compiler(f"torch.{name}")
        sys.modules[f"torch.{name}.config"] = module.config
        setattr(torch, name, module)
    torch.compile = torch.compiler.compile = same
    for name in ("disable", "allow_in_graph", "assume_constant_result", "substitute_in_graph", "nested_compile_region"):
        setattr(torch.compiler, name, same)
    for name in ("reset", "cudagraph_mark_step_begin"):
        setattr(torch.compiler, name, nothing)
    torch.compiler.set_stance = Context
    torch.compiler.list_backends = Compiler.list_backends
    sys.modules["torch.multiprocessing.spawn"]._prctl_pr_set_pdeathsig = nothing  # no process is there to be ended
    loader = torch.utils.data.DataLoader
    loader.__init__ = without_processes(loader.__init__)
    torch.save = torch.serialization.save = through_open(torch.save)
