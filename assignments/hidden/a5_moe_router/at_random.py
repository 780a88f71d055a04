"""What is drawn at random in a router: of such a one no other sentence would be true."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from cs336lite.course import spec
from cs336lite.course.answers import close, same
from cs336lite.course.spec import Fail, StudentError

from .asking import said_as_given


def check(exercise: str, **declared: Any) -> Callable:
    """As `spec.check`. Of a router that draws something at random no other sentence would be true, so it is told that."""

    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def judged(student, rng):
            try:
                function(student, rng)
            except Fail as fail:
                if exercise != "dispatch" and answers_differ(student):
                    raise Fail(AT_RANDOM) from fail
                raise

        return spec.check(exercise, **declared)(judged)

    return decorate


AT_RANDOM = (
    "asked twice, the router says different things of the same tokens: something is drawn at random in forward, such as "
    "noise or dropout"
)


def answers_differ(student) -> bool:
    """Whether the same tokens get other logits, gates or losses when they come again."""
    weight, x = torch.eye(6), torch.arange(1.0, 49.0).sin().reshape(8, 6)
    try:
        first, *others = said_as_given(student, weight, 2, [x, x, x], need=[])
    except (Fail, StudentError):
        return False
    return any(
        not (close(one, two, 1e-6, 1e-6) if one.is_floating_point() else same(one, two))
        for other in others
        for one, two in zip(first[:5], other[:5], strict=True)
        if one is not None and two is not None
    )
