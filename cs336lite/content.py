"""All that makes a function, a class or an object what it is, as nested lists that `cs336lite.keys` hashes.

Written by hand: no lecture builds it.
"""

import builtins
import copyreg
import functools
import hashlib
import importlib.util
import json
import sys
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import fields
from enum import Enum
from functools import cached_property, lru_cache, partial, singledispatchmethod
from pathlib import PurePath
from types import (
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np
import torch

from cs336lite.installed import installed, is_library, library_name, own_fingerprint
from cs336lite.sources import Read, reads, text_of

PLAIN = (type(None), bool, int, float, str)


def digest(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def short(value: Any) -> str:
    text = object.__repr__(value) if isinstance(value, torch.Tensor | np.ndarray) else repr(value)
    return text if len(text) < 100 else f"{text[:97]}..."


def atom_of(value: Any) -> tuple[str, str] | None:
    """The kind and the text of a value that its text tells."""
    if isinstance(value, torch.dtype | torch.device | np.dtype):
        return ("numpy.dtype" if isinstance(value, np.dtype) else type(value).__name__), str(value)
    if value is ... or value is NotImplemented:
        return "constant", str(value)
    return ("Path", value.as_posix()) if isinstance(value, PurePath) else None


def held_by(value: Any) -> dict[str, Any]:
    """The attributes of an object, without those that are worked out when they are first read."""
    state = object.__getstate__(value)
    parts = state if isinstance(state, tuple) else (state,)
    held = {name: x for part in parts if part for name, x in part.items()}
    return {name: x for name, x in held.items() if not isinstance(getattr(type(value), name, None), cached_property)}


DERIVED = frozenset(
    """__module__ __qualname__ __doc__ __dict__ __weakref__ __annotations__ __annotate__ __annotate_func__
    __annotations_cache__ __firstlineno__ __static_attributes__ __match_args__ __replace__ __parameters__
    __orig_bases__ __abstractmethods__ _abc_impl __dataclass_fields__ __dataclass_params__ _backward_cls""".split()
)
"""Attributes of a class that say nothing more than the rest of it."""
OF_MODULE = frozenset("__name__ __file__ __doc__ __spec__ __package__ __loader__ __builtins__ __cached__".split())
UNTELLABLE = frozenset("eval exec globals __import__".split())
BY_TEXT = {("importlib", "import_module"), ("import_module",), ("sys", "modules")}
"""Reads that lead to modules which only a running program knows."""
FIELD = ("name", "default", "default_factory", "init", "kw_only")
PARAMS = ("init", "eq", "order", "unsafe_hash", "frozen")


class Content:
    """All that makes a function, class or object what it is, as nested lists.

    Plain values stand for themselves, all else for a list that begins with its kind. What is met again is named by its
    number, so that circles end.
    """

    def __init__(self, arrays: dict[int, tuple[Any, list]], seen: dict | None = None, path: Iterable[str] = ()) -> None:
        self.arrays, self.seen, self.path = arrays, dict(seen or {}), list(path)

    def tell(self, value: Any, where: str = "") -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if type(value) in PLAIN:
            return value
        self.path.append(where)
        told = self.content(value)
        self.path.pop()
        return told

    def content(self, value: Any) -> list:
        if type(value) is tuple:
            return ["tuple", *(self.tell(x) for x in value)]
        if name := library_name(value):
            return ["library", name]
        if atom := atom_of(value):
            return ["atom", *atom]
        if type(value) in (bytes, bytearray):
            return ["bytes", value.hex()]
        if id(value) in self.seen:
            return ["again", self.seen[id(value)][0]]
        self.seen[id(value)] = len(self.seen), value
        tellers = (tell for kinds, tell in _KINDS.items() if isinstance(value, kinds))
        return _EXACT.get(type(value), next(tellers, Content.instance))(self, value)

    def refuse(self, value: Any, why: str = "has no name by which a configuration could be told") -> TypeError:
        where = " of ".join(dict.fromkeys(filter(None, reversed(self.path))))
        return TypeError(
            f"{short(value)}{where and f' ({where})'} {why}: use a frozen dataclass, or functools.partial of a function "
            "and plain values"
        )

    # containers and arrays

    def sequence(self, value: list) -> list:
        return ["list", *(self.tell(x) for x in value)]

    def mapping(self, value: dict) -> list:
        names = {self.apart(name): name for name in value}
        return ["dict", *([told, self.tell(value[names[told]], f"{names[told]!r}")] for told in sorted(names))]

    def elements(self, value: set | frozenset) -> list:
        return ["set", *sorted(self.apart(x) for x in value)]

    def apart(self, value: Any) -> str:
        """The text of a key or an element, which come in no order: it does not depend on what was told before."""
        plain = type(value) in PLAIN
        return json.dumps(value if plain else Content(self.arrays, self.seen, self.path).tell(value))

    def array(self, value: torch.Tensor | np.ndarray) -> list:
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            return ["objects", self.tell(value.tolist())]
        if id(value) not in self.arrays:
            try:
                self.arrays[id(value)] = value, _array(value)
            except (RuntimeError, NotImplementedError, TypeError) as problem:
                raise self.refuse(value, "holds numbers that cannot be read") from problem
        attributes = vars(value) if isinstance(value, torch.Tensor) else {}
        trained = isinstance(value, torch.Tensor) and value.requires_grad
        return [*self.arrays[id(value)][1], trained, self.tell(type(value)), self.tell(attributes)]

    # code

    def function(self, value: FunctionType) -> list:
        if _generated(value):
            return ["generated"]
        if "_torchdynamo_orig_callable" in vars(value):  # torch.compile keeps much beside it, and computes the same
            return ["compiled", self.tell(value._torchdynamo_orig_callable)]
        if value.__globals__ is vars(functools) and "registry" in vars(value):  # what else it keeps says no more
            return ["singledispatch", self.tell(value.registry)]
        code, name = value.__code__, value.__qualname__
        if code.co_filename.startswith("<@beartype(") and "__wrapped__" in vars(value):  # checks, with names by address
            return ["checked", self.tell(value.__wrapped__)]
        told = [self.tell(x, f"a default of {name}") for x in (value.__defaults__, value.__kwdefaults__)]
        for variable, cell in zip(code.co_freevars, value.__closure__ or ()):
            try:
                told.append([variable, self.tell(cell.cell_contents, f"{variable} around {name}")])
            except ValueError:  # not assigned yet
                told.append([variable])
        told.append(self.tell(vars(value), f"an attribute of {name}"))
        if is_library(value.__globals__):  # what a decorator of a package has made, for example
            return ["library function", value.__globals__["__name__"], code.co_qualname, *told]
        return ["function", self.text(code), *told, *self.globals(value)]

    def text(self, code: CodeType) -> list:
        """What a function says: its text, and where there is none, its bytecode, which only this Python has."""
        if (text := text_of(code)) is not None:
            return ["text", text]
        numbers = [getattr(code, f"co_{name}argcount") for name in ("", "posonly", "kwonly")]
        names = [*code.co_names, "", *code.co_varnames, "", *code.co_freevars, "", *code.co_cellvars]
        body = [code.co_code.hex(), code.co_exceptiontable.hex(), code.co_flags, *numbers, *names]
        constants = [self.text(x) if isinstance(x, CodeType) else self.tell(x) for x in code.co_consts]
        return ["bytecode", sys.implementation.cache_tag, *body, *constants]

    def globals(self, function: FunctionType) -> list:
        """What a function reads by name, where the name does not say it all."""
        told = {}
        for read in reads(function.__code__):
            value, name = self.imported(read, function) if read.module is not None else self.named(read, function)
            told[name] = self.tell(value, f"{name} in {function.__qualname__}")
        return [[name, told[name]] for name in sorted(told)]

    def named(self, read: Read, function: FunctionType) -> tuple[Any, str]:
        name, *attributes = read.names
        if (name in UNTELLABLE and name not in function.__globals__) or BY_TEXT & {read.names[:1], read.names[:2]}:
            shown = ".".join(read.names[:2])
            raise self.refuse(function, f"runs code or reads names that cannot be known before ({shown})")
        if name not in function.__globals__:
            return None if hasattr(builtins, name) else ..., name
        if name in OF_MODULE:
            return None, name
        value = function.__globals__[name]
        for attribute in attributes:
            if not isinstance(value, ModuleType) or is_library(vars(value)):
                break
            value, name = getattr(value, attribute, ...), f"{name}.{attribute}"
        return value, name

    def imported(self, read: Read, function: FunctionType) -> tuple[Any, str]:
        name = "." * read.level + read.module
        try:
            name = importlib.util.resolve_name(name, function.__globals__.get("__package__") or "")
            top = sys.modules.get(name.partition(".")[0]) or importlib.util.find_spec(name.partition(".")[0])
            origin = getattr(top, "origin", None)
            if is_library(vars(top)) if isinstance(top, ModuleType) else origin and installed(origin):
                return None, name  # it is not imported for this
            module = importlib.import_module(name)
            for part in read.names:
                if not hasattr(module, part):
                    importlib.import_module(f"{name}.{part}")
        except ImportError:
            return ..., name
        return ([getattr(module, part) for part in read.names] or module), f"{name} {' '.join(read.names)}"

    def class_(self, cls: type) -> list:
        told = [cls.__qualname__, self.tell(type(cls)), self.tell(cls.__bases__)]
        attributes = {name: x for name, x in vars(cls).items() if name not in DERIVED and not _generated(x)}
        if issubclass(cls, Enum):
            made = (FunctionType, property, classmethod, staticmethod)
            own = {name: x for name, x in attributes.items() if not library_name(getattr(x, "__func__", x))}
            attributes = {name: x for name, x in own.items() if isinstance(x, made)}
            attributes |= {f"{name} =": member.value for name, member in cls.__members__.items()}
        if "__dataclass_fields__" in vars(cls):
            params = [getattr(cls.__dataclass_params__, name) for name in PARAMS]
            told.append([params, [self.tell([getattr(f, name) for name in FIELD]) for f in fields(cls)]])
        for name in sorted(attributes):
            if not isinstance(attributes[name], GetSetDescriptorType | MemberDescriptorType):
                told.append([name, self.tell(attributes[name], f"{name} of {cls.__qualname__}")])
        return ["class", *told]

    def module(self, module: ModuleType) -> list:
        if is_library(vars(module)):
            return ["module", module.__name__]
        own = {name: x for name, x in vars(module).items() if name not in OF_MODULE}
        return ["module", *([name, self.tell(own[name], f"{name} of {module.__name__}")] for name in sorted(own))]

    def wrapper(self, value: Any) -> list:
        """What holds functions: a bound method, a property, a cache."""
        held = [getattr(value, name) for name in _WRAPPERS[type(value)]]
        return [type(value).__name__, *(self.tell(x) for x in held)]

    def reference(self, value: weakref.ref) -> list:
        return ["reference", self.tell(value())]

    # all else

    def member(self, value: Enum) -> list:
        return ["member", self.tell(type(value)), value.name, self.tell(value.value)]

    def instance(self, value: Any) -> list:
        """An object by its class and by what it is pickled as; one of the user's by all of its attributes as well."""
        cls, own = type(value), not library_name(type(value))
        if (fingerprint := own_fingerprint(value)) is not None:
            return ["fingerprint", fingerprint]
        compiled = isinstance(value, torch.nn.Module) and hasattr(value, "_orig_mod")
        kernel = hasattr(value, "__globals__") and hasattr(value, "fn")  # of Triton
        if not own and (compiled or kernel):
            return ["compiled", self.tell(cls), self.tell(value._orig_mod if compiled else value.fn)]
        try:
            made = copyreg.dispatch_table[cls](value) if cls in copyreg.dispatch_table else value.__reduce_ex__(4)
            held = held_by(value) if own else {}
        except Exception as problem:
            raise self.refuse(value) from problem
        if isinstance(made, str):  # a constant of its module
            if own:
                raise self.refuse(value)
            return ["constant", self.tell(cls), made]
        make, arguments, state, items, pairs = (*made, None, None, None)[:5]
        parts = [make, arguments, None if own else state, list(items or ()), dict(pairs or ())]
        return ["object", self.tell(cls), *(self.tell(x) for x in parts), self.attributes(held, cls)]

    def attributes(self, held: dict[str, Any], cls: type) -> list:
        return [[name, self.tell(held[name], f"{name} of {cls.__qualname__}")] for name in sorted(held)]


_WRAPPERS = {
    MethodType: ("__func__", "__self__"),
    partial: ("func", "args", "keywords", "__dict__"),
    property: ("fget", "fset", "fdel"),
    classmethod: ("__func__", "__dict__"),
    staticmethod: ("__func__", "__dict__"),
    cached_property: ("func",),
    type(lru_cache(len)): ("__wrapped__", "__dict__"),
    singledispatchmethod: ("dispatcher", "func"),
}
_EXACT = {
    list: Content.sequence, dict: Content.mapping, OrderedDict: Content.mapping, MappingProxyType: Content.mapping,
    weakref.ref: Content.reference, set: Content.elements, frozenset: Content.elements, np.memmap: Content.array, np.ndarray: Content.array,
} | dict.fromkeys(_WRAPPERS, Content.wrapper)  # fmt: skip
_KINDS = {
    FunctionType: Content.function, type: Content.class_, ModuleType: Content.module, Enum: Content.member,
    torch.Tensor: Content.array,
}  # fmt: skip


def _generated(value: Any) -> bool:
    """Whether a dataclass or a named tuple has written this function, from fields that are told themselves."""
    if not isinstance(value, FunctionType):
        return False
    home, code = str(value.__globals__.get("__name__")), value.__code__
    if home in ("dataclasses", "reprlib"):  # around a __repr__
        return hasattr(value, "__wrapped__") and _generated(value.__wrapped__)
    marks = code.co_qualname.startswith("__create_fn__.") or (
        home.startswith("namedtuple_") and value.__name__ == "__new__"
    )
    return marks and code.co_filename == "<string>"


def _array(value: torch.Tensor | np.ndarray) -> list:
    """The kind, the shape and a hash of the numbers of an array."""
    kind = "array"
    if isinstance(value, torch.Tensor):
        kind, dtype, value = "tensor", value.dtype, value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        shape, value = list(value.shape), value.reshape(-1).view(torch.uint8).numpy()
    else:
        dtype, shape, value = value.dtype.descr, list(value.shape), np.ascontiguousarray(value).reshape(-1)
    return [kind, str(dtype), shape, hashlib.sha256(value.view(np.uint8)).hexdigest()]
