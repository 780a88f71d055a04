"""What to say of an exception that a driver met, where the student's answer is the likely cause."""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from cs336lite.course.answers import KINDS


def unused(error: str, gave: Any, source: str, names: list[str]) -> str:
    """What to say of an exception that arose in no line of the submission: what the driver could not use, as the child
    tells it, in words that this side knows."""
    if error not in UNUSED:
        return ""
    said = f"what your code gave could not be used ({error})"
    if not isinstance(gave, list) or len(gave) != 2 or not all(isinstance(part, str) for part in gave):
        return said
    name, kind = gave
    known = name in names or name in WORDS.findall(source) or name in ("forward", "__init__")
    called = f"`{name}`" if known else "a function of yours"
    if kind == "arguments":
        return f"{called} does not take the arguments that the interface names"
    if kind not in RETURNED:
        return said
    return f"{called} returned {RETURNED[kind]}"


WORDS = re.compile(r"\w+")


UNUSED = ("AttributeError", "IndexError", "KeyError", "RuntimeError", "TypeError", "ValueError")


RETURNED = {
    "NoneType": "None: is a `return` missing?",
    **{type_.__name__: f"{words}, and that cannot be used here" for type_, words in KINDS.items() if words != "None"},
    "Tensor": "a tensor, and that cannot be used here",
}


def names_asked_for(driver: Callable, args: tuple) -> list[str]:
    """The names that a driver takes from the submission: ``student.NAME``, ``getattr(student, "NAME")``, and
    ``getattr(student, argument)`` with what it was given for that argument."""
    student, *others = driver.__code__.co_varnames[: driver.__code__.co_argcount]
    source, given = source_of(driver), dict(zip(others, args))
    found = re.findall(rf"\b{student}\.(\w+)|\bgetattr\({student}, *[\"'](\w+)", source)
    asked = [given.get(name) for name in re.findall(rf"\bgetattr\({student}, *(\w+)", source)]
    return [name for pair in found for name in pair if name] + [name for name in asked if isinstance(name, str)]


@functools.cache
def kinds_defined_in(driver: Callable) -> frozenset[str]:
    """The exceptions that a driver defines itself."""
    return frozenset(re.findall(r"^ *class (\w+)\(", source_of(driver), re.MULTILINE))


@functools.cache
@functools.lru_cache(maxsize=512)  # a class asks with the same ones again and again
def source_of(driver: Callable) -> str:
    return textwrap.dedent(inspect.getsource(driver))
