"""What an exercise asks for is refused in the library, whatever name the library gives it.

An entry is a dotted name ("torch.nn.functional.softmax"; that of a module stands for its functions) or, with a ``*``, a
pattern for the bare names of all that does the same ("*softmax*"). A pattern reaches

    operations   of torch's dispatcher, at which every door to them ends: ``torch.ops``, ``torch._C``, methods, TorchScript
    functions    written in Python, by their code: so also behind decorators, in tables, in closures
    files        of a library that are run later or once more: by import, by ``importlib.reload``, by a loader

The worker loads this beside itself, without the package, and calls `refuse` before it forks.
"""

from __future__ import annotations

import ctypes
import fnmatch
import gc
import importlib
import importlib.machinery
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any


class LibraryCall(Exception):
    """Raised in place of a library function that does what the exercise asks for; ``entry`` is what refuses it."""

    entry = ""

    def __str__(self) -> str:
        return self.entry


def refuse(entries: list[str], folders: list[str]) -> None:
    """Let library functions raise `LibraryCall`; patterns reach the Python files below ``folders``.

    Raises for a name that leads to nothing: it is a mistake in the spec.
    """
    codes: dict[tuple[str, str], str] = {}  # of functions that are given by their names
    operations: dict[str, str] = {}
    patterns = [entry for entry in entries if "*" in entry]
    for entry in entries:
        if entry not in patterns:
            refuse_name(entry, codes, operations)
    rule = Rule(patterns, codes, tuple(folders))
    if patterns or operations:
        refuse_operations(rule, operations)
    refuse_functions(rule)
    watch_loaders(rule)


def refused(entry: str) -> type[LibraryCall]:
    """The exception that names an entry; a class, so that each time it is raised it is a new one."""
    return type(LibraryCall.__name__, (LibraryCall,), {"entry": entry})


def raiser(entry: str) -> Callable[..., None]:
    error = refused(entry)

    def refuse_call(*args: object, **kwargs: object) -> None:
        raise error

    return refuse_call


# -- names ----------------------------------------------------------------------------------------------------------


def refuse_name(name: str, codes: dict[tuple[str, str], str], operations: dict[str, str]) -> None:
    """Refuse what a dotted name leads to. Code and operations are noted, with the name, in the two dictionaries."""
    path, _, last = name.rpartition(".")
    owner = importlib.import_module(path.split(".")[0])
    for part in path.split(".")[1:]:
        owner = getattr(owner, part)
    thing = sys.modules.get(name)  # some packages do not keep their modules as attributes
    thing = getattr(owner, last) if thing is None else thing  # a name that does not exist is a mistake in the spec
    functions = [f for f in functions_of(thing) if place(f.__code__) not in codes]  # the first name is the one told
    for function in functions:
        if function.__code__.co_qualname == function.__qualname__:  # not a decorator's, which others have too
            codes[place(function.__code__)] = name
        function.__code__ = raising(function.__code__, name)
    if hasattr(thing, "_qualified_op_name"):  # a packet of operations: autograd needs the packet itself
        operations[thing._qualified_op_name] = name
    elif not any(functions_of(thing)):  # not written in Python
        setattr(owner, last, raiser(name))


def functions_of(thing: Any) -> Iterator[types.FunctionType]:
    """The Python functions to refuse for a function, a class or a module, with those behind decorators."""
    if isinstance(thing, types.ModuleType):
        for value in vars(thing).values():
            if isinstance(value, types.FunctionType) and value.__module__ == thing.__name__:
                yield from functions_of(value)
    elif isinstance(thing, type):
        yield from functions_of(thing.__init__)
    elif isinstance(thing, types.FunctionType):
        yield thing
        inner = {"thing": getattr(thing, "__wrapped__", None), **inspect.getclosurevars(thing).nonlocals}
        names = {value for value in inner.values() if getattr(value, "__qualname__", "") == thing.__qualname__}
        for function in names - {thing}:
            yield from functions_of(function)


# -- operations -----------------------------------------------------------------------------------------------------


def refuse_operations(rule: Rule, names: dict[str, str]) -> None:
    """Refuse operations of torch's dispatcher, by patterns and by names.

    Each kernel of theirs is replaced, for every kind of tensor, so that no choice of keys leads to one that computes.
    """
    core = importlib.import_module("torch")._C
    keys = [key for key in core.DispatchKey.__members__ if is_key(core, key)]
    libraries: dict[tuple[str, str], Any] = {}
    for full in core._dispatch_get_all_op_names():
        space, _, operation = full.partition("::")
        bare = operation.partition(".")[0]
        entry = names.get(f"{space}::{bare}") or rule.entry(bare)
        for key in keys if entry else ():
            if core._dispatch_has_kernel_for_dispatch_key(full, key):
                if (space, key) not in libraries:
                    libraries[space, key] = core._dispatch_library("IMPL", space, key, __file__, 0)
                libraries[space, key].impl(operation, key, raiser(entry), False)
    for library in libraries.values():  # for ever: where nobody can find it to take it back
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))


def is_key(core: Any, name: str) -> bool:
    """Whether kernels can be registered under a name; some only mark where a range begins or ends."""
    try:
        core._dispatch_has_kernel_for_dispatch_key("aten::add.Tensor", name)
    except RuntimeError:
        return False
    return True


# -- code -----------------------------------------------------------------------------------------------------------


def place(code: types.CodeType) -> tuple[str, str]:
    return code.co_filename, code.co_qualname


def _raise() -> None:
    raise "an exception"  # noqa: B016, the constant is exchanged for one


TEMPLATE = _raise.__code__
HAS_DOCSTRING = 0x4000000
NO_FLAGS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | HAS_DOCSTRING


def raising(code: types.CodeType, entry: str) -> types.CodeType:
    """Code with the same signature that raises `LibraryCall`."""
    return code.replace(
        co_code=TEMPLATE.co_code,
        co_consts=tuple(refused(entry) if c == "an exception" else c for c in TEMPLATE.co_consts),
        co_exceptiontable=TEMPLATE.co_exceptiontable,
        co_linetable=TEMPLATE.co_linetable,
        co_stacksize=TEMPLATE.co_stacksize,
        co_flags=code.co_flags & ~NO_FLAGS,
        co_names=(),
    )


class Rule:
    """Which code of the libraries is refused."""

    def __init__(self, patterns: list[str], codes: dict[tuple[str, str], str], folders: tuple[str, ...]) -> None:
        self.patterns, self.codes, self.folders = patterns, codes, folders
        self.wanted = re.compile("|".join(map(fnmatch.translate, patterns)) or "(?!)")

    def entry(self, name: str) -> str | None:
        """The pattern that a bare name answers to."""
        if self.wanted.match(name.lower()) is None:
            return None
        return next(pattern for pattern in self.patterns if fnmatch.fnmatchcase(name.lower(), pattern))

    def without(self, code: types.CodeType) -> types.CodeType:
        """The code itself where nothing in it is refused; else with what is refused exchanged for what raises."""
        entry = self.codes.get(place(code)) or self.entry(code.co_name)
        if entry:
            return raising(code, entry)
        inner = [self.without(c) if type(c) is types.CodeType else c for c in code.co_consts]
        same = all(a is b for a, b in zip(inner, code.co_consts))
        return code if same else code.replace(co_consts=tuple(inner))


def refuse_functions(rule: Rule) -> None:
    """Exchange the code of every function of the libraries that is refused, wherever it is kept."""
    for thing in gc.get_objects():
        if type(thing) is types.FunctionType and thing.__code__.co_filename.startswith(rule.folders):
            code = rule.without(thing.__code__)
            if code is not thing.__code__:
                thing.__code__ = code


def watch_loaders(rule: Rule) -> None:
    """Refuse the same in files of the libraries that are run after this, for the first time or again."""
    for loader in (importlib.machinery.SourceFileLoader, importlib.machinery.SourcelessFileLoader):
        loader.get_code = watched(loader.get_code, rule)


def watched(get_code: Callable, rule: Rule) -> Callable:
    def get_code_without(self: object, name: str) -> types.CodeType | None:
        code = get_code(self, name)
        return rule.without(code) if code is not None and code.co_filename.startswith(rule.folders) else code

    return get_code_without
