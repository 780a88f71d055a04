"""``reveal``: a measured value beside the reader's guess, how far off the guess was, and why people guess so.

    guess = None                                             # the reader writes a number here
    reveal("bytes of 中", 3, guess, because={1: "ASCII takes one byte, other characters two to four"})

A guess may be a number, a choice, an ordering (a list of names) or several values (a tuple or a dict).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

__all__ = ["reveal"]


def reveal(
    what: str,
    value: Any,
    guess: Any = None,
    *,
    within: float = 1.25,
    margin: float = 0,
    because: Mapping[Any, str] | None = None,
    shown: str | None = None,
) -> None:
    """Print a measured value, and what there is to say about the reader's guess when there is one.

    Args:
        what: names the value, with its unit.
        value: a number; a choice (a string); an ordering (a list of strings); several values (a tuple, or a dict).
        guess: the reader's; None when they made none.
        within: a number within this factor of the value is close enough; 1 where a whole number is to be found.
        margin: a number no further than this from the value is close enough as well, for values near 0.
        because: for common wrong guesses, what led to them. A key is compared as a guess is; ``"too large"`` and
            ``"too small"`` stand for all other wrong numbers.
        shown: how the value is printed, when not as it is.

    >>> reveal("sides of a square", 4, guess=5, because={"too large": "a pentagon has five"})
    sides of a square: 4
      your guess, 5: 1.25 times too large
      a pentagon has five
    """
    value, guess = plain(value), in_its_form(plain(guess), plain(value))
    print(f"{what}: {shown or written(value)}")
    if guess is None or guess in ((), [], {}):
        return
    if isinstance(value, str) and as_number(value) is None and not (isinstance(guess, str) and is_choice(value)):
        print(f"  your guess, {written(guess)}")  # a sentence: its reader compares
        return
    verdict, right = compared(value, guess, within, margin)
    print(f"  your guess, {written(guess)}: {verdict}")
    if not right and (reason := explanation(value, guess, because or {}, within)):
        print(f"  {reason}")


def in_its_form(guess: Any, value: Any) -> Any:
    """A guess as its question asks for it: ``"a, b"`` as a list, ``("l", "ow")`` as the text ``"l ow"``."""
    if isinstance(guess, str) and isinstance(value, (list, tuple, Mapping)) and len(value) > 1:
        return [part.strip() for part in re.split(r"[,;<>]" if re.search(r"[,;<>]", guess) else r"\s", guess) if part]
    if isinstance(guess, (list, tuple)) and isinstance(value, str):
        return " ".join(map(str, guess))
    return guess


def compared(value: Any, guess: Any, within: float, margin: float = 0) -> tuple[str, bool]:
    """(what to say, is the guess good enough)."""
    number, guessed = as_number(value), as_number(guess)
    if number is not None:
        return of_number(number, guessed, within, margin) if guessed is not None else ("a number was asked for", False)
    if isinstance(value, str):
        right = folded(value) == folded(guess)
        return ("right" if right else "no"), right
    if isinstance(value, Mapping):
        guess = guess if isinstance(guess, Mapping) else dict(zip(value, listed(guess)))
        return of_each([(f"{key} ", value[key], guess.get(key)) for key in value], within, margin)
    if isinstance(value, Sequence):
        guess = listed(guess)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return of_order(value, guess)
        guess += [None] * (len(value) - len(guess))
        return of_each([("", part, guessed) for part, guessed in zip(value, guess)], within, margin)
    return ("right" if value == guess else "no"), value == guess


def of_number(value: float, guess: float, within: float, margin: float) -> tuple[str, bool]:
    if guess == value:
        return "right", True
    off = f"{abs(guess - value):.3g}"
    if abs(guess - value) <= margin:
        return f"close, off by {off}", True
    if value == 0 or guess == 0 or (value > 0) != (guess > 0):
        return f"off by {off}", False
    if within <= 1:
        return f"too {'large' if guess > value else 'small'} by {off}", False
    factor = max(guess / value, value / guess)
    if factor < within:
        percent = f"{100 * abs(guess / value - 1):.0f}"
        return ("right" if percent == "0" else f"close, {'above' if guess > value else 'below'} by {percent} %"), True
    return f"{factor:.3g} times too {'large' if abs(guess) > abs(value) else 'small'}", False


def of_order(value: list[str], guess: list[Any]) -> tuple[str, bool]:
    found, wanted = list(map(folded, guess)), list(map(folded, value))
    if found == wanted:
        return "right", True
    if sorted(found) != sorted(wanted):
        return f"name each of {', '.join(sorted(value))} once", False
    right = sum(a == b for a, b in zip(found, wanted))
    return f"{right} of {len(wanted)} in their place", False


def of_each(parts: list[tuple[str, Any, Any]], within: float, margin: float) -> tuple[str, bool]:
    told = [
        (name, *(("no guess", False) if guess is None else compared(value, guess, within, margin)))
        for name, value, guess in parts
    ]
    return "; ".join(f"{name}{verdict}" for name, verdict, _ in told), all(right for *_, right in told)


def explanation(value: Any, guess: Any, because: Mapping[Any, str], within: float) -> str:
    """What is said of a wrong guess: the first key that it equals, else whether it is too large or too small."""
    for key, reason in because.items():
        if key not in ("too large", "too small") and compared(plain(key), guess, min(within, 1.05))[1]:
            return reason
    number, guessed = as_number(value), as_number(guess)
    if number is None or guessed is None:
        return ""
    return because.get("too large" if guessed > number else "too small", "")


def plain(value: Any) -> Any:
    """numpy's and torch's numbers and arrays as Python's."""
    convert: Callable | None = getattr(value, "tolist", None)
    return convert() if convert else value


def as_number(value: Any) -> float | None:
    """The number that a value is, or that a string writes (``"31.0"``, ``"1,024"``, ``"31 %"``); None for nan and inf."""
    if isinstance(value, str):
        value = value.replace(",", "").replace("%", "")
    elif not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def is_choice(value: str) -> bool:
    return len(value.split()) <= 3 and not any(character in value for character in ",;:/")


def folded(value: Any) -> str:
    """A choice without capitals, white space around it and the point behind it."""
    return " ".join(str(value).casefold().split()).strip(" .!?'\"`") or str(value)


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def written(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if 1_000 <= abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {written(part)}" for key, part in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(written, value))
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    return str(value)
