"""What a function says and what it names: its exact text, and the globals, module attributes and imports it reads.

`cs336lite.keys` tells functions apart by this. Written by hand: no lecture builds it.
"""

import __future__

import ast
import dis
import linecache
import warnings
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import NamedTuple

__all__ = ["Read", "nested", "reads", "text_of"]

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
FUTURES = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
SHAPE = ("name", "flags", "argcount", "posonlyargcount", "kwonlyargcount", "names", "varnames", "freevars", "cellvars")


class Read(NamedTuple):
    """A global with the attributes that follow it, ``helpers.loss``; or an import inside a function."""

    names: tuple[str, ...]  # of an import: the names after ``from module import``; empty for ``import module``
    module: str | None = None
    level: int = 0  # the dots of a relative import


def text_of(code: CodeType) -> str | None:
    """The text of the function or lambda that ``code`` was compiled from, without its decorators.

    None where there is none (``exec``, a prompt), or where it is no longer what runs because the file was edited.
    """
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename))
    for compiled, node in _functions(text, code.co_flags & FUTURES).get((code.co_qualname, code.co_firstlineno), ()):
        if _content(compiled) == _content(code):
            return ast.get_source_segment(text, node)
    return None


@lru_cache(maxsize=64)
def _functions(text: str, flags: int) -> dict[tuple[str, int], list[tuple[CodeType, ast.AST]]]:
    """What a text compiles to: the code and the syntax of each function, by its qualified name and first line."""
    try:
        tree = ast.parse(text)
        with warnings.catch_warnings(action="ignore"):
            module = compile(tree, "", "exec", flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError):
        return {}
    nodes = {_key(node): node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)}
    found: dict[tuple[str, int], list[tuple[CodeType, ast.AST]]] = {}
    for outer in nested(module):
        lambdas = any(isinstance(x, CodeType) and x.co_name == "<lambda>" for x in outer.co_consts)
        made = [(step.argval, step.positions.col_offset) for step in dis.get_instructions(outer)] if lambdas else []
        made += [(x, None) for x in outer.co_consts if not lambdas or getattr(x, "co_name", "<lambda>") != "<lambda>"]
        for code, column in made:
            node = nodes.get((code.co_name, code.co_firstlineno, column)) if isinstance(code, CodeType) else None
            if node is not None:
                found.setdefault((code.co_qualname, code.co_firstlineno), []).append((code, node))
    return found


def _key(node: ast.AST) -> tuple[str, int, int | None]:
    """The name and first line of a function; of a lambda the column too, since there may be several on a line."""
    if isinstance(node, ast.Lambda):
        return "<lambda>", node.lineno, node.col_offset
    return node.name, min(x.lineno for x in [node, *node.decorator_list]), None


def nested(code: CodeType) -> Iterator[CodeType]:
    """A code object and all those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


def _content(code: CodeType) -> list:
    """All of a code object but line numbers."""
    told = [getattr(code, f"co_{name}") for name in SHAPE]
    return [*told, code.co_code, code.co_exceptiontable, [_constant(constant) for constant in code.co_consts]]


def _constant(value: object) -> object:
    if isinstance(value, CodeType):
        return _content(value)
    if isinstance(value, tuple):
        return [_constant(x) for x in value]
    return type(value), sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


@lru_cache(maxsize=4096)
def reads(code: CodeType) -> list[Read]:
    """The globals and imports of a function, and of the functions and classes inside it, each once and sorted."""
    return sorted({read for inner in nested(code) for read in _reads(inner)}, key=str)


def _reads(code: CodeType) -> Iterator[Read]:
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for i, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":  # after the level and the names, which lie on the stack
            yield Read(steps[i - 1].argval or (), step.argval, steps[i - 2].argval)
        elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            stop = i + 1
            while steps[stop].opname in ("LOAD_ATTR", "LOAD_METHOD"):
                stop += 1
            yield Read(tuple(x.argval for x in steps[i:stop]))
