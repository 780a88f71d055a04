"""``claim`` and ``claims``: what a lecture shows. One call holds the sentence, its numbers and its test.

claim(
    2,                                                         # answers question 2 of the lecture
    "A Chinese character takes {chinese:.2f} bytes, an English one {english:.2f}.",
    lambda chinese, english: chinese > 2 * english,            # true of these very numbers, else the cell fails
    chinese=..., english=...,
)
claims()                                                       # at the end: every answer with this run's numbers
"""

from __future__ import annotations

import html
import inspect
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cs336lite.course.paths import CourseError

__all__ = ["Claim", "Ledger", "NotShown", "claim", "claims"]


class NotShown(CourseError, AssertionError):
    """A claim that is not true of the numbers of this run."""


@dataclass(frozen=True)
class Claim:
    """A sentence that held in this run, with the numbers that it was tested on."""

    question: int
    sentence: str

    def __repr__(self) -> str:
        return f"✓ {self.sentence}"


@dataclass
class Ledger:
    """The claims of one notebook in the order of their questions; a cell that is run again replaces its own."""

    shown: dict[tuple[int, str], Claim] = field(default_factory=dict)

    def claim(self, question: int, sentence: str, holds: Callable[..., bool], **measured: Any) -> Claim:
        """Test a sentence on measured numbers and remember it as an answer to a numbered question.

        Args:
            question: the number of the question at the top of the lecture.
            sentence: a format string; each measured value stands in it by its name, ``"{share:.0f} %"``.
            holds: takes the measured values by name, and says whether the sentence is true of them.
            measured: the values.

        Raises:
            NotShown: the sentence is not true in this run. An earlier run's claim is then forgotten.
            TypeError: a value stands in the sentence and not in the test, or in the test and not in the sentence.
        """
        named = {name.split(".")[0].split("[")[0] for _, name, _, _ in string.Formatter().parse(sentence) if name}
        tested = set(inspect.signature(holds).parameters)
        if not measured or not named == tested == set(measured):
            raise TypeError(
                f"sentence, test and values must name the same: {sorted(named)}, {sorted(tested)}, {sorted(measured)}"
            )
        told = sentence.format(**measured)
        if not holds(**measured):
            self.shown.pop((question, sentence), None)
            raise NotShown(
                f"this run does not show it: {told} (If you wrote or changed something above, "
                "look there first; if not, this is a mistake of the course's.)"
            )
        made = Claim(question, told)
        self.shown[question, sentence] = made
        return made

    def claims(self) -> Answers:
        """All claims so far, by question."""
        return Answers(tuple(sorted(self.shown.values(), key=lambda made: made.question)))


@dataclass(frozen=True)
class Answers:
    """A list of claims. Shows itself in a notebook and in a terminal."""

    made: tuple[Claim, ...]

    def __repr__(self) -> str:
        return "\n".join(f"{made.question}. {made.sentence}" for made in self.made)

    def _repr_html_(self) -> str:
        cell = 'style="text-align:left;vertical-align:top;padding:2px 12px 2px 0"'
        rows = "".join(
            f"<tr><td {cell}><b>{made.question}</b></td><td {cell}>{html.escape(made.sentence)}</td></tr>"
            for made in self.made
        )
        return f"<table>{rows}</table>"


_ledger = Ledger()
claim, claims = _ledger.claim, _ledger.claims
