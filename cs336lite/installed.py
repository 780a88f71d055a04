"""What is installed (Python, PyTorch, this package) counts by its name in a key: see `cs336lite.keys`.

Written by hand: no lecture builds it.
"""

import functools
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import BuiltinFunctionType, ModuleType
from typing import Any


@lru_cache(maxsize=1024)
def installed(file: str) -> bool:
    """Whether a file of code is that of Python, of an installed package, or of this one."""
    path, ours = Path(file), Path(__file__).parent
    if {"site-packages", "dist-packages"} & set(path.parts) or path.resolve().is_relative_to(ours.resolve()):
        return True
    return any(path.is_relative_to(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))


def is_library(namespace: dict[str, Any]) -> bool:
    """Whether the globals of a module are those of Python, of an installed package, or of this one."""
    name = str(namespace.get("__name__", ""))
    top = sys.modules.get(name.partition(".")[0])
    for module in (namespace, vars(top) if top else {}):  # a part of a module in C has no file of its own
        file = module.get("__file__") or next(iter(module.get("__path__", ())), None)
        if file is not None:
            return installed(str(file))
        if getattr(module.get("__spec__"), "origin", None) in ("built-in", "frozen"):
            return True
    return False


def library_name(value: Any) -> str | None:
    """The name under which an installed package has a function or a class; None for the user's own."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType | None):
        return f"{module}.{name}"
    top = sys.modules.get(module) if isinstance(module, str) and isinstance(name, str) else None
    if top is None or not is_library(vars(top)):
        return None
    found = functools.reduce(lambda inside, part: getattr(inside, part, None), name.split("."), top)
    return f"{module}.{name}" if found is value else None


def own_fingerprint(value: Any) -> str | None:
    """Of an object of this package that knows its own, such as `Tokens`."""
    if hasattr(type(value), "fingerprint") and library_name(type(value)):
        return value.fingerprint if isinstance(value.fingerprint, str) else None
    return None
