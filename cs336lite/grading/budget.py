"""What a submission may use, what a worker needs, and how a worker fails: the words that both sides of a budget share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Budget:
    """What a submission may use, beside the processor time that each check allows it.

    Limits are processor time, so that a busy machine changes no verdict; time in which the submission neither computes
    nor waits for a processor is counted by itself.
    """

    load_seconds: float = 20.0  # to run its cells
    submission_seconds: float = 180.0  # all its checks together
    idle_seconds: float = 20.0  # asleep, all its checks together
    memory_bytes: int = 2 << 30
    answer_bytes: int = 64 << 20  # one answer
    submission_answer_bytes: int = 512 << 20  # all its answers together
    threads: int = 128


@dataclass(frozen=True)
class Needs:
    """What an assignment asks of a worker: modules to import once, library functions that must raise (see `refusal`),
    and modules of the course that may be imported. ``named`` are to be imported once a submission names them."""

    warm: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    def of(self, cells: Iterable[tuple[str, str]]) -> Needs:
        """What is needed when these cells are to run, too."""
        new = [module for module in self.named if any(module in source for _, source in cells)]
        return (
            replace(self, warm=(*self.warm, *new), named=tuple(m for m in self.named if m not in new)) if new else self
        )


class WorkerFailure(BaseException):
    """The worker itself cannot be started or does not answer: nothing to do with the submission.

    It derives from BaseException so that a check, which takes an exception for a wrong answer, lets it pass.
    """


class NoRoom(WorkerFailure):
    """The temporary folder takes no more: no submission can be judged."""
