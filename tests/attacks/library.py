"""A search through torch for functions that do an exercise: ``python library.py refuse|leave softmax|optimizer [PART]``.

Every callable that can be reached from torch's modules, their classes, its operations and its functions of Python is
called with small arguments, in a process prepared as the grader prepares its own. One JSON line tells what gave the
answer, or moved a parameter. A call may crash, hang or end its process: whoever calls next goes on after it.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import os
import random
import resource
import signal
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CALLS = 25  # in one process: what some of them change (a default device, a mode) would hide what comes after


def callables(prefix: str) -> dict[str, Callable]:
    """What can be called, once each, by a name under which it is found."""
    import torch

    found: dict[int, tuple[str, Callable]] = {}

    def add(name: str, thing: Any) -> None:
        if callable(thing) and id(thing) not in found:
            found[id(thing)] = name, thing

    for module_name, module in sorted(sys.modules.items()):
        if not module_name.startswith(prefix) or not isinstance(module, types.ModuleType):
            continue
        for name, thing in sorted(vars(module).items()):
            add(f"{module_name}.{name}", thing)
    owners = [torch._C, *(v for v in vars(torch._C).values() if isinstance(v, (types.ModuleType, type)))]
    owners += [torch.Tensor, torch._C.TensorBase, torch._C._VariableFunctions, torch.nn.functional, torch.special]
    for owner in owners:
        for name in dir(owner):
            with contextlib.suppress(Exception):
                add(f"{getattr(owner, '__name__', owner)}.{name}", getattr(owner, name))
    for full in sorted(torch._C._dispatch_get_all_op_names()):
        with contextlib.suppress(Exception):
            space, _, operation = full.partition("::")
            packet = getattr(getattr(torch.ops, space), operation.partition(".")[0])
            add(f"torch.ops.{full}", getattr(packet, operation.partition(".")[2] or "default"))
    gc.unfreeze()  # a worker freezes what it has imported; a submission can undo that
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType) and (thing.__module__ or "").startswith(prefix):
            add(f"{thing.__module__}.{thing.__qualname__}", thing)
    return dict(found.values())


# -- softmax and attention ----------------------------------------------------------------------------------------------


def softmax_forms() -> Iterator[tuple[tuple, dict]]:
    import torch

    x = torch.linspace(-1.0, 2.0, 12).reshape(3, 4)
    out = torch.empty(3, 4)
    for more in ((-1,), (-1, None), (-1, False), (-1, torch.float32), (-1, 3), (None, -1), (torch.zeros(3, 4) < 0, -1)):
        yield (x.clone(), *more), {}
    yield (x.clone(), torch.zeros(3, 4) < 0, -1, 0), {}
    yield (x.clone(),), {"dim": -1}
    yield (x.clone(), -1), {"dtype": None}
    yield (x.clone(), -1, False), {"out": out}
    yield (x.clone(), -1), {"out": out}
    yield (x.clone(),), {}
    q, k, v = (f(torch.arange(24.0)).reshape(1, 2, 3, 4) for f in (torch.sin, torch.cos, torch.sqrt))
    yield (q, k, v), {}
    yield (q, k, v, None, 0.0, False), {}
    yield (q, k, v, 0.0, False), {}
    yield (q, k, v, lambda score, *_: score), {}


def softmax_answers() -> list[Any]:
    import torch

    (x, *_), _ = next(softmax_forms())
    weights = (x.exp() / x.exp().sum(-1, keepdim=True)).double()
    q, k, v = (f(torch.arange(24.0)).reshape(1, 2, 3, 4) for f in (torch.sin, torch.cos, torch.sqrt))
    scores = (q @ k.mT / 2).exp()
    return [weights, weights.log(), (scores / scores.sum(-1, keepdim=True) @ v).double()]


def tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value[:8]:
            yield from tensors(one)


def gives_softmax(function: Callable) -> bool:
    import torch

    known = softmax_answers()
    for args, kwargs in softmax_forms():
        try:
            answer = function(*args, **kwargs)
        except Exception:
            continue
        for one in (*tensors(answer), *tensors(list(kwargs.values()))):
            with contextlib.suppress(Exception):
                if any(one.shape == k.shape and torch.allclose(one.double(), k, atol=1e-5) for k in known):
                    return True
    return False


# -- optimizers -------------------------------------------------------------------------------------------------------


def names_of(function: Callable) -> list[str]:
    schema = getattr(function, "_schema", None)
    if schema is not None:
        return [argument.name for argument in schema.arguments]
    try:
        kinds = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return []
    return [p.name for p in kinds if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def moves_parameters(function: Callable) -> bool:
    """Whether it changes a parameter when it gets, by the names of its arguments, what an optimizer's function gets."""
    import torch

    numbers = {"lr": 0.1, "eps": 1e-8, "dampening": 0.0, "rho": 0.9, "alpha": 0.9, "lambd": 1e-4, "t0": 1e6}
    flags = ("amsgrad", "maximize", "foreach", "nesterov", "capturable", "differentiable", "fused", "has_complex", "centered",
             "has_sparse_grad", "is_first_step", "decoupled_weight_decay", "has_momentum_buffer", "is_sparse")  # fmt: skip
    if isinstance(function, type) and issubclass(function, torch.optim.Optimizer):
        p = torch.nn.Parameter(torch.ones(2, 2))
        p.grad = torch.full((2, 2), 0.5)
        optimizer = function([p], lr=0.1)
        optimizer.step(*([lambda: torch.tensor(1.0)] if function.__name__ == "LBFGS" else []))
        return not torch.equal(p.data, torch.ones(2, 2))
    names = names_of(function)
    if not {"params", "self"} & set(names) or not {"grads", "d_p_list"} & set(names):
        return False
    given: dict[str, Any] = {}
    params = [torch.ones(2, 2)]
    for name in names:
        if name in ("params", "self"):
            given[name] = params
        elif name in flags:
            given[name] = False
        elif name in ("grad_scale", "found_inf"):
            given[name] = None
        elif (
            name in ("max_exp_avg_sqs", "momentum_buffer_list", "grad_avgs", "momentum_buffers") and "amsgrad" in names
        ):
            given[name] = []
        elif (name == "etas" and "step_sizes" not in names) or name in ("mus", "ax", "mu_products", "state_steps"):
            given[name] = [torch.tensor(1.0)]
        elif name in ("etas", "etaminus", "etaplus"):
            given[name] = 0.5
        elif name == "step_size_min":
            given[name] = 1e-6
        elif name in numbers or name.startswith(("beta", "weight", "momentum_decay", "lr", "step_size_max")):
            given[name] = numbers.get(name, 0.5)
        elif name == "momentum":
            given[name] = 0.9
        else:
            given[name] = [torch.ones(2, 2)]
    with contextlib.suppress(Exception):
        function(**given)
    return not torch.equal(params[0], torch.ones(2, 2))


def own_softmax(x: Any, dim: int, *more: Any) -> Any:
    return x.exp() / x.exp().sum(dim, keepdim=True)


def own_step(params: list, grads: list, lr: float) -> None:
    for p, g in zip(params, grads):
        p.sub_(g, alpha=lr)


# where to look, what for, and what is found as long as a process is in order
SEARCHES = {"softmax": ("torch", gives_softmax, own_softmax), "optimizer": ("torch", moves_parameters, own_step)}
WARM = {
    "softmax": ("torch", "einops", "jaxtyping", "torch.fx.experimental.symbolic_shapes", "torch.masked", "torch.func"),
    "optimizer": ("torch", "torch.distributed.optim", "torch._dynamo"),  # the last is imported by a first step
}


# -- the search -------------------------------------------------------------------------------------------------------


def search(names: list[str], things: dict[str, Callable], test: Callable, own: Callable) -> dict[str, Any]:
    """How many are called, and the names of what passes the test, as ``own`` does.

    Calls are made in forks: one that does not come back is left out.
    """
    found, start = [], 0
    while start < len(names):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for number in range(start, min(start + CALLS, len(names))):
                if not test(own):
                    break  # the last call broke something: on in a fresh process
                signal.setitimer(signal.ITIMER_REAL, 5)  # its signal ends the process
                os.write(writing, b"?%d\n" % number)
                with contextlib.suppress(Exception, SystemExit, KeyboardInterrupt):
                    if test(things[names[number]]):
                        os.write(writing, b"!%d\n" % number)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read().split()
        os.waitpid(child, 0)
        found += [names[int(line[1:])] for line in told if line[:1] == b"!"]
        start = 1 + max(
            int(line[1:]) for line in told if line[:1] == b"?"
        )  # raises where a fresh process is not in order
    return {"called": start, "found": found}


def main() -> None:
    how, what, *part = sys.argv[1:]
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import importlib

    prefix, test, own = SEARCHES[what]
    for module in WARM[what]:
        importlib.import_module(module)
    if how == "refuse":
        from cs336lite.course.paths import hidden_checks
        from cs336lite.course.spec import load_spec
        from cs336lite.grading import refusal, surroundings

        spec = {"softmax": "a2_attention", "optimizer": "a4_lion"}[what]
        entries = load_spec(hidden_checks(Path(__file__).parents[2] / "assignments", spec)).module.REFUSED
        refusal.refuse(list(entries), surroundings.site_folders())
    things = callables(prefix)
    names = sorted(things)
    if part:  # what is called after the exercise, and so many others
        telling = ("softmax", "attention", "sdp", "optim", "fused")
        likely = [name for name in names if any(word in name.lower() for word in telling)]
        names = sorted({*likely, *random.Random(0).sample(names, int(part[0]))})
    print(json.dumps({"all": len(names), **search(names, things, test, own)}))


if __name__ == "__main__":
    main()
