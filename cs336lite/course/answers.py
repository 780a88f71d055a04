"""The form that an answer must have before a check computes with it.

What comes back from a driver may be anything: a list of another length, a tensor that broadcasting would blow up, an
infinity that agrees with every tolerance. So a check says with each question what it asks for, and gets a value of
exactly that form or fails there:

    y = ask(student, like(x), call_softmax, x, -1)                # shape and dtype of x, all finite
    first, rest = ask(student, [int, list_of(bytes, 3)], call)    # a pair: an integer, and three byte strings

A form is one of
    a type          ``int``, ``float`` (finite), ``bool``, ``str``, ``bytes``, ``type(None)``: exactly this type
    a list, a tuple a list or tuple with as many parts, each of the form that stands there
    a dict          a dict with these keys, each value of its form
    `like`, `tensor_of`, `some_tensor`, `list_of`, `dict_of`, `either`, `anything`

Nothing of the answer's value is repeated in a message: only which part was asked for, and the kind of what came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from cs336lite.course.spec import Fail, LocalStudent, StudentError

__all__ = [
    "anything",
    "ask",
    "blame",
    "close",
    "dict_of",
    "either",
    "fits",
    "like",
    "list_of",
    "same",
    "some_tensor",
    "tensor_of",
]

LONGEST = 1_000_000  # parts of a list, letters of a text: more is asked for by no check


def ask(student: Any, form: Any, driver: Callable, *args: Any, what: str = "the answer") -> Any:
    """The answer of a driver, which has the ``form`` asked for. Raises Fail when it has not, and `StudentError`."""
    if isinstance(student, LocalStudent):  # as across the wall: what a solution does to its arguments is its own affair
        args = deepcopy(args)
    return fits(student.run(driver, *args), form, what)


def fits(value: Any, form: Any, what: str = "the answer") -> Any:
    """``value``, when it has the ``form``. Raises Fail, in which ``what`` says whose answer it is."""
    problem = mismatch(value, form)
    if problem:
        raise Fail(f"{what} does not have the form that is asked for: {problem}")
    return value


ORDINARY = (
    *("ArithmeticError", "AssertionError", "AttributeError", "BufferError", "LookupError", "RuntimeError"),
    *("TypeError", "ValueError"),
)
"""Exceptions that a mistake in a computation raises; what is missing, refused or out of its limits is none of these."""


@contextmanager
def blame(problem: str | dict[str, str], plain: Callable[[], Any]) -> Iterator[None]:
    """Say ``problem`` of an exception of the student's, but only if the plain call works.

        with blame("step does not accept a closure", lambda: ask(student, form, drive_steps, start)):
            seen = ask(student, form, drive_closure, start)

    ``plain`` asks the same without what is special about it. When that fails as well, its failure is the one to tell: code
    that always raises hears so, and nothing else. ``problem`` may map names of exceptions (and with them their
    subclasses) to sentences; a sentence alone is for those in `ORDINARY`.
    """
    said = dict.fromkeys(ORDINARY, problem) if isinstance(problem, str) else problem
    try:
        yield
    except StudentError as error:
        sentence = next((said[name] for name in (error.kind, *error.kinds) if name in said), None)
        if sentence is None:
            raise
        plain()
        raise Fail(sentence) from error


# -- forms ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TensorOf:
    shape: tuple[int | None, ...] | None
    dtypes: tuple[Any, ...]
    finite: bool


@dataclass(frozen=True)
class SomeTensor:
    most: int


@dataclass(frozen=True)
class ListOf:
    form: Any
    least: int
    most: int


@dataclass(frozen=True)
class DictOf:
    key: Any
    value: Any
    least: int
    most: int


@dataclass(frozen=True)
class Either:
    forms: tuple[Any, ...]


class Anything:
    def __repr__(self) -> str:
        return "anything"


anything = Anything()
"""Whatever comes: for a check that looks at the type itself, and does not compute with the value before."""


def tensor_of(*shape: int | None, dtype: Any = None, finite: bool = True) -> TensorOf:
    """A tensor of this shape (None: any size there) and dtype (or one of several; None: any floating one)."""
    return TensorOf(shape, dtypes_of(dtype), finite)


def like(tensor: Any, *, dtype: Any = ..., finite: bool = True) -> TensorOf:
    """A tensor of the shape and, unless another is given, the dtype of ``tensor``."""
    return TensorOf(tuple(tensor.shape), dtypes_of(tensor.dtype if dtype is ... else dtype), finite)


def some_tensor(most: int) -> SomeTensor:
    """A tensor of any shape and dtype, of at most so many numbers: for a check that names the mistake in a shape."""
    return SomeTensor(most)


def list_of(form: Any, count: int | None = None, *, least: int = 1, most: int = LONGEST) -> ListOf:
    """A list or tuple of ``count`` parts, or of ``least`` to ``most``, all of one form."""
    return ListOf(form, least if count is None else count, most if count is None else count)


def dict_of(key: Any, value: Any, count: int | None = None, *, least: int = 1, most: int = LONGEST) -> DictOf:
    """A dict of ``count`` entries, or of ``least`` to ``most``, with keys and values of these forms."""
    return DictOf(key, value, least if count is None else count, most if count is None else count)


def either(*forms: Any) -> Either:
    """One of several forms."""
    return Either(forms)


def dtypes_of(dtype: Any) -> tuple[Any, ...]:
    return () if dtype is None else tuple(dtype) if isinstance(dtype, (tuple, list, set)) else (dtype,)


# -- does it fit ----------------------------------------------------------------------------------------------------


def mismatch(value: Any, form: Any, part: str = "") -> str:
    """What is wrong with the form of a value; empty when it fits."""
    at = f" at {part}" if part else ""
    if form is anything:
        return ""
    if isinstance(form, Either):
        problems = [mismatch(value, one, part) for one in form.forms]
        return "" if "" in problems else problems[0]
    if isinstance(form, type):
        if type(value) is not form:
            return f"{kind(form)} is asked for{at}, and {kind(type(value))} came"
        if form is float and not math.isfinite(value):  # type: ignore[arg-type]
            return f"a finite number is asked for{at}, and nan or infinity came"
        if form in (str, bytes) and len(value) > 64 * LONGEST:  # type: ignore[arg-type]
            return f"{kind(form)} of at most {64 * LONGEST} letters is asked for{at}"
        return ""
    if isinstance(form, TensorOf):
        return tensor_mismatch(value, form, at)
    if isinstance(form, SomeTensor):
        return some_tensor_mismatch(value, form, at)
    if isinstance(form, (list, tuple)):
        if problem := count_mismatch(value, (list, tuple), len(form), len(form), at):
            return problem
        found = (mismatch(v, f, f"{part}[{i}]") for i, (v, f) in enumerate(zip(value, form, strict=True)))
        return next(filter(None, found), "")
    if isinstance(form, ListOf):
        if problem := count_mismatch(value, (list, tuple), form.least, form.most, at):
            return problem
        if all_of_types(value, form.form):
            return ""
        return next(filter(None, (mismatch(v, form.form, f"{part}[{i}]") for i, v in enumerate(value))), "")
    if isinstance(form, dict):
        if problem := count_mismatch(value, (dict,), len(form), len(form), at):
            return problem
        if value.keys() != form.keys():
            return f"a dict with other keys came{at}"
        found = (mismatch(value[k], f, f"{part}[{i}]") for i, (k, f) in enumerate(form.items()))
        return next(filter(None, found), "")
    if isinstance(form, DictOf):
        if problem := count_mismatch(value, (dict,), form.least, form.most, at):
            return problem
        if all_of_types(value, form.key) and all_of_types(value.values(), form.value):
            return ""
        found = (
            mismatch(k, form.key, f"key {i} of {part or 'it'}")
            or mismatch(v, form.value, f"value {i} of {part or 'it'}")
            for i, (k, v) in enumerate(value.items())
        )
        return next(filter(None, found), "")
    raise TypeError(f"{form!r} is no form of an answer")


def all_of_types(values: Collection[Any], form: Any) -> bool:
    """Whether the types of these values say that all of them fit: the short way through long lists."""
    if form is anything:
        return True
    types, found = form.forms if isinstance(form, Either) else (form,), {*map(type, values)}
    if float in found or not all(one in types for one in found):
        return False
    return not found & {str, bytes} or all(len(v) <= 64 * LONGEST for v in values if type(v) in (str, bytes))


def count_mismatch(value: Any, types: tuple[type, ...], least: int, most: int, at: str) -> str:
    if type(value) not in types:
        return f"{kind(types[0])} is asked for{at}, and {kind(type(value))} came"
    if not least <= len(value) <= most:
        asked = f"{least}" if least == most else f"at least {least}" if len(value) < least else f"at most {most}"
        return f"{asked} parts are asked for{at}, and there are {'fewer' if len(value) < least else 'more'}"
    return ""


def tensor_mismatch(value: Any, form: TensorOf, at: str) -> str:
    import torch

    if not isinstance(value, torch.Tensor):
        return f"a tensor is asked for{at}, and {kind(type(value))} came"
    shape = form.shape
    if shape is not None and len(value.shape) != len(shape):
        return f"a tensor of {len(shape)} dimensions is asked for{at}, and one of {min(len(value.shape), 16)} came"
    if shape is not None and any(asked not in (None, came) for asked, came in zip(shape, value.shape, strict=True)):
        return f"a tensor of another shape is asked for{at}"
    if form.dtypes and value.dtype not in form.dtypes:
        return f"{' or '.join(map(name_of, form.dtypes))} is asked for{at}, and {name_of(value.dtype)} came"
    if not form.dtypes and not value.dtype.is_floating_point:
        return f"a floating dtype is asked for{at}, and {name_of(value.dtype)} came"
    if form.finite and value.dtype.is_floating_point and not bool(value.isfinite().all()):
        return f"finite numbers are asked for{at}, and nan or infinity came"
    return ""


def some_tensor_mismatch(value: Any, form: SomeTensor, at: str) -> str:
    import torch

    if not isinstance(value, torch.Tensor):
        return f"a tensor is asked for{at}, and {kind(type(value))} came"
    if value.numel() > form.most:
        return f"a tensor of fewer numbers is asked for{at}"
    return ""


KINDS = {
    int: "an integer",
    float: "a number",
    bool: "a bool",
    str: "a text",
    bytes: "a byte string",
    list: "a list",
    tuple: "a tuple",
    dict: "a dict",
    set: "a set",
    type(None): "None",
}


def kind(type_: type) -> str:
    """A type, in words of ours."""
    return KINDS.get(type_, "a tensor" if type_.__name__ in ("Tensor", "Parameter") else "something else")


def name_of(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


# -- comparing ------------------------------------------------------------------------------------------------------


def close(got: Any, expected: Any, tolerance: float = 1e-5, relative: float = 0.0) -> bool:
    """Whether a tensor has the shape of another and nearly its numbers, in float64; nan and infinity agree with nothing.

    ``|got - expected| <= tolerance + relative * |expected|``, in every place.
    """
    import torch

    if not isinstance(got, torch.Tensor) or got.shape != expected.shape:
        return False
    got, expected = got.double(), expected.double()
    if not bool(got.isfinite().all()) or not bool(expected.isfinite().all()):
        return False
    return bool(((got - expected).abs() <= tolerance + relative * expected.abs()).all())


def same(got: Any, expected: Any) -> bool:
    """Whether a tensor has the shape, the dtype and exactly the numbers of another; nan is nan, and 0 is -0."""
    import torch

    if not isinstance(got, torch.Tensor) or got.shape != expected.shape or got.dtype != expected.dtype:
        return False
    both_nan = (
        got.isnan() & expected.isnan() if got.dtype.is_floating_point else torch.zeros_like(got, dtype=torch.bool)
    )
    return bool(((got == expected) | both_nan).all())
