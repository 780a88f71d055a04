"""Which experiment is this? A configuration as plain JSON, and the key under which its results are kept.

Results under one key are taken for one another, so a key covers what a configuration brings along: the text of its
functions and classes, default arguments, closures, decorators, the objects of bound methods, and the helpers, globals
and class attributes that this code names, as far as they are the user's own. What is installed (Python, PyTorch, this
package) counts by its name. What cannot be told is refused. Files, environment variables and the clock do not count.

Written by hand: no lecture builds it.
"""

from collections import OrderedDict
from dataclasses import MISSING, InitVar, fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import torch

from cs336lite.content import PLAIN, Content, atom_of, digest, held_by, short
from cs336lite.installed import library_name, own_fingerprint

__all__ = ["describe", "fingerprint"]


def describe(value: Any, *, code: bool = False) -> Any:
    """A configuration as plain JSON; functions and objects by their name and a hash of all that a key covers.

    A dataclass is told by its name and its fields without those that have their default value, so that a new field
    changes nothing. With ``code``, a class of the user's is told by a hash of its code too, and so is what an object of
    it holds besides its fields.

    >>> describe([partial(round, ndigits=2), np.float64(0.5), torch.bfloat16])
    [{'partial': ['builtins.round', [], {'ndigits': 2}]}, 0.5, {'dtype': 'torch.bfloat16'}]

    Raises TypeError for what cannot be told from others like it: a lock, a generator, a file, a call of ``eval``.
    """
    try:
        return _Description(code).tell(value)
    except RecursionError:
        raise TypeError(f"{short(value)} goes round in a circle or is too deep to be described") from None


def fingerprint(*parts: Any) -> str:
    """A hash of what ``describe(parts, code=True)`` says: 16 hex digits, the same in every process."""
    return digest(describe(parts, code=True))[:16]


class _Description:
    """A configuration as a reader sees it."""

    def __init__(self, code: bool) -> None:
        self.code = code
        self.arrays: dict[int, tuple[Any, list]] = {}  # so that each is hashed once

    def tell(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if type(value) in PLAIN:
            return value
        if type(value) in (list, tuple, torch.Size):
            return [self.tell(x) for x in value]
        if type(value) in (dict, OrderedDict) and (not self.code or all(type(name) is str for name in value)):
            return self.mapping(value)
        if type(value) is partial and not vars(value):
            return {"partial": [self.tell(x) for x in (value.func, value.args, value.keywords)]}
        if is_dataclass(value) and not isinstance(value, type):
            return self.dataclass(value)
        if isinstance(value, Enum):
            return {self.class_name(type(value)): value.name or self.tell(value.value)}
        if atom := atom_of(value):
            return dict([atom])
        if (own := own_fingerprint(value)) is not None:
            return own
        return self.named(value)

    def mapping(self, value: dict) -> dict[str, Any]:
        told = {name if isinstance(name, str) else str(self.tell(name)): self.tell(x) for name, x in value.items()}
        if len(told) < len(value):
            raise TypeError(f"two keys of {short(value)} are one name: give them names that differ as text")
        return told

    def dataclass(self, value: Any) -> dict[str, Any]:
        _refuse_init_only(value)
        changed = {}
        for field in fields(value):
            x, default = getattr(value, field.name), field.default
            told = self.tell(x)
            if default is MISSING or told != self.tell(default) or isinstance(x, list) != isinstance(default, list):
                changed[field.name] = told
        if self.code and not library_name(type(value)):
            held = held_by(value)
            changed |= {name: self.tell(x) for name, x in held.items() if name not in value.__dataclass_fields__}
        return {self.class_name(type(value)): changed}

    def class_name(self, cls: type) -> str:
        if not self.code or (library_name(cls) and cls.__module__.startswith("cs336lite.")):
            return cls.__qualname__
        return self.named(cls)

    def named(self, value: Any) -> str:
        if name := library_name(value):
            return name
        told = digest(Content(self.arrays).tell(value))
        who = (
            value
            if all(isinstance(getattr(value, x, None), str) for x in ("__module__", "__qualname__"))
            else type(value)
        )
        return f"{who.__module__}.{who.__qualname__}#{told[:8]}"


def _refuse_init_only(value: Any) -> None:
    kept = {field.name for field in fields(value)}
    for name, field in type(value).__dataclass_fields__.items():
        if name not in kept and (isinstance(field.type, InitVar) or "InitVar" in str(field.type)):
            raise TypeError(f"{short(value)} does not keep what it is given as {name}: make it a field, not an InitVar")
