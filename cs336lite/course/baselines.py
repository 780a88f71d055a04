"""What a table of counts gets on a text: the losses that a language model must beat before anything is concluded from it.

A unigram table knows how often each token occurs; a bigram table also knows the token before. Both are counted on the
training text and judged on held-out text, in nats a token, on the same targets as a language model: every token but the
first. Counts are smoothed, because a held-out pair that was never seen would cost infinitely much:

    unigram  p(w)     = (count(w) + 1) / (tokens + vocab_size)                            add-one, Laplace (拉普拉斯平滑)
    bigram   p(w | v) = (count(v, w) + strength · p(w)) / (count(v) + strength)           Dirichlet prior (MacKay, Peto 1995)

The strength is the one of 0.1, 0.3, 1, 3, …, 3000 that predicts the last tenth of the training text best from the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cs336lite.course.paths import CourseError

__all__ = ["Baselines", "baselines"]

STRENGTHS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)


class Baselines(NamedTuple):
    """Held-out losses of a unigram and of a bigram table in nats a token, and the smoothing of the bigram table."""

    unigram: float
    bigram: float
    strength: float

    def __str__(self) -> str:
        return (
            f"unigram {self.unigram:.3f}, bigram {self.bigram:.3f} nats a token, held out "
            f"(add-one; Dirichlet prior of strength {self.strength:g})"
        )


def baselines(
    train: Sequence[int] | np.ndarray,
    heldout: Sequence[int] | np.ndarray,
    vocab_size: int,
    *,
    strength: float | None = None,
) -> Baselines:
    """The losses of both tables, counted on ``train`` and judged on ``heldout``.

    Memory grows with the number of tokens and not with the square of the vocabulary.

    Args:
        train, heldout: token ids, (tokens,), each below ``vocab_size``; a CPU tensor will do.
        vocab_size: how many tokens there are.
        strength: of the bigram table's prior, in tokens; chosen on the training text when it is None.

    Raises:
        CourseError: fewer than 20 training tokens or 2 held-out ones, ids that are not whole numbers from 0 to
            ``vocab_size`` − 1, or a strength that is not above 0.
    """
    train, heldout = _ids(train, vocab_size, "training", 20), _ids(heldout, vocab_size, "held-out", 2)
    if strength is None:
        cut = len(train) - len(train) // 10
        tried = _Counted(train[:cut], train[cut - 1 :], vocab_size)
        strength = min(STRENGTHS, key=tried.bigram)
    if not 0 < strength < np.inf:
        raise CourseError(f"the strength of the prior is {strength}: it is a number of tokens above 0, such as 100")
    counted = _Counted(train, heldout, vocab_size)
    return Baselines(counted.unigram(), counted.bigram(strength), float(strength))


class _Counted:
    """What the training text says of each held-out token from the second on."""

    def __init__(self, train: np.ndarray, heldout: np.ndarray, vocab_size: int):
        before, after = heldout[:-1], heldout[1:]
        self.share = (np.bincount(train, minlength=vocab_size)[after] + 1) / (len(train) + vocab_size)
        self.followed = np.bincount(train[:-1], minlength=vocab_size)[before]  # how often anything followed
        pairs, counts = np.unique(train[:-1] * vocab_size + train[1:], return_counts=True)
        wanted = before * vocab_size + after
        place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
        self.pairs = np.where(pairs[place] == wanted, counts[place], 0)  # how often this token did

    def unigram(self) -> float:
        return float(-np.log(self.share).mean())

    def bigram(self, strength: float) -> float:
        return float(-np.log((self.pairs + strength * self.share) / (self.followed + strength)).mean())


def _ids(tokens: Any, vocab_size: int, what: str, least: int) -> np.ndarray:
    ids = np.asarray(tokens)
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or len(ids) < least:
        raise CourseError(
            f"the {what} text is {ids.dtype} of shape {ids.shape}: give token ids, whole numbers in one row, at least {least}"
        )
    if (low := int(ids.min())) < 0 or (high := int(ids.max())) >= vocab_size:
        raise CourseError(
            f"the {what} text has the token id {low if low < 0 else high}: with a vocabulary of {vocab_size:,} ids are "
            f"0 to {vocab_size - 1}"
        )
    return ids.astype(np.int64)
