"""How an attention wants to be asked, and what is lent to it when it does not work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from cs336lite.course.answers import ORDINARY, anything, list_of
from cs336lite.course.answers import ask as ask_for
from cs336lite.course.spec import Fail, StudentError, expect

from .asking import ask, expect_shape, only, weights_for_each
from .drivers import drive_attention, drive_lend, drive_softmax
from .inputs import normal

NO_NUMBER = "the result is not a number: a softmax that is not stable, or a mask of finite numbers?"

NOT_THERE = ("Missing", "Unsolved", "LibraryCall")  # what a submission does not have, or may not use
LOST = ("TimeLimit", "MemoryLimit", "OutputLimit", "Died")  # nothing more can be found out in this check


@dataclass
class Manner:
    """How a solution's attention is asked where several ways are right or cost their points elsewhere.

    ``front`` dimensions of size 1 stand before each matrix, and where ``masked``, "no mask" is a mask of True alone.
    ``lent`` are the parts that it lacks, and why: "softmax", the "library"'s, which is refused, or its own "attention".
    """

    front: int = 1
    masked: bool = False
    lent: dict[str, StudentError] = field(default_factory=dict)

    def asks(self, job: tuple) -> tuple:
        Q, K, V, mask = job
        if mask is None and self.masked:
            mask = torch.ones(Q.shape[-2], K.shape[-2], dtype=torch.bool)
        front = (1,) * (self.front if Q.ndim == 2 else 0)
        return *(z.reshape(*front, *z.shape) for z in (Q, K, V)), None if mask is None else self.covers(mask, front)

    @staticmethod
    def covers(mask: Tensor, front: tuple[int, ...]) -> Tensor:
        return mask.reshape(*front, *mask.shape)

    def hears(self, answer: Any, job: tuple) -> Any:
        """The answer without the dimensions that were put in front."""
        front = self.front if job[0].ndim == 2 else 0
        fits = isinstance(answer, Tensor) and answer.ndim == front + 2 and answer.shape[:front] == (1,) * front
        return answer.reshape(answer.shape[front:]) if fits else answer


MANNERS: WeakKeyDictionary[Any, Manner] = WeakKeyDictionary()


def manner_of(student) -> Manner:
    """How this solution is asked: found out once. What it lacks is lent, since its own checks are over."""
    if student not in MANNERS:
        MANNERS[student] = find_manner(student)
    manner = MANNERS[student]
    lend(student, manner)
    return manner


def lend(student, manner: Manner) -> None:
    if manner.lent:
        ask(student, bool, drive_lend, list(manner.lent))


def find_manner(student) -> Manner:
    rng, manner = Random(2), Manner()  # no secret: only whether there is an answer counts
    x = normal(rng, 3, 4).float()
    error = problem_of(lambda: weights_for_each(student, (x, -1)))
    if error is not None and error.kind in NOT_THERE:
        manner.lent["softmax"] = error
        lend(student, manner)
    job = (x, normal(rng, 3, 4).float(), normal(rng, 3, 2).float(), None)
    problems = []
    for front in (1, 2, 0):
        for masked in (False, True):
            manner.front, manner.masked = front, masked
            error = problem_of(lambda: expect_shape(only(asked(student, manner, job)), (3, 2), ""))
            if error is not None and error.kind == "LibraryCall" and "library" not in manner.lent:
                manner.lent["library"] = error
                lend(student, manner)
                error = problem_of(lambda: expect_shape(only(asked(student, manner, job)), (3, 2), ""))
            if error is None:
                return manner
            problems.append(error)
    if problems[0].kind in NOT_THERE:
        manner.lent["attention"] = problems[0]
    manner.front, manner.masked = 1, False
    return manner


def problem_of(question: Callable[[], Any]) -> StudentError | None:
    """What a question raises; errors of the check's own, such as a wrong shape, as a `StudentError` too."""
    try:
        question()
    except StudentError as error:
        if error.kind in LOST:
            raise
        return error
    except Fail as error:
        return StudentError("Fail", str(error))
    return None


def asked(student, manner: Manner, *jobs: tuple, problems: dict[str, str] | None = None) -> list[Any]:
    form = list_of([anything, anything], len(jobs))
    given = [manner.asks(job) for job in jobs]
    try:
        answers = [answer for answer, _ in ask(student, form, drive_attention, given, problems=problems)]
    except Fail as problem:  # of what the attention does, if its softmax takes scores of any shape
        if isinstance(problem.__cause__, StudentError) and softmax_raises(student):
            raise problem.__cause__ from None
        raise
    expect(all(isinstance(answer, Tensor) for answer in answers), "scaled_dot_product_attention must return a tensor")
    return [manner.hears(answer, job) for answer, job in zip(answers, jobs, strict=True)]


def softmax_raises(student) -> bool:
    """Does the submission's softmax fail for scores of two or three dimensions, of which no two are equal?"""
    for shape in ((3, 5), (2, 3, 5)):
        try:
            ask_for(student, list_of([anything, anything], 1), drive_softmax, [(torch.ones(shape), -1)])
        except StudentError as error:
            return error.is_a(*ORDINARY)
    return False
