"""Losses of unigram and bigram tables: by hand, by a slow way, and against what no table can beat."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from cs336lite.course.baselines import STRENGTHS, Baselines, baselines
from cs336lite.course.paths import CourseError

SHORT = [0, 1] * 10  # 20 tokens


def test_by_hand():
    """p(0) = p(1) = 11/23, p(2) = 1/23. After 0, which begins 10 pairs, comes 1 always; 2 was never seen."""
    found = baselines(SHORT, [0, 1, 2, 1], 3, strength=2)
    one, two = 11 / 23, 1 / 23
    assert found.unigram == pytest.approx(-(2 * math.log(one) + math.log(two)) / 3)
    after_0 = (10 + 2 * one) / (10 + 2)
    after_1 = 2 * two / (9 + 2)  # the last token begins no pair
    after_2 = one
    assert found.bigram == pytest.approx(-(math.log(after_0) + math.log(after_1) + math.log(after_2)) / 3)
    assert found.strength == 2


def slowly(train, heldout, vocab_size, strength):
    ones, twos, starts = Counter(train), Counter(pairwise(train)), Counter(train[:-1])

    def share(w):
        return (ones[w] + 1) / (len(train) + vocab_size)

    pairs = list(pairwise(heldout))
    bigram = [(twos[v, w] + strength * share(w)) / (starts[v] + strength) for v, w in pairs]
    return -np.mean([math.log(share(w)) for _, w in pairs]), -np.mean(np.log(bigram))


def test_as_the_slow_way_whatever_holds_the_ids():
    random = np.random.default_rng(0)
    train, heldout = random.integers(0, 40, 3_000) // 3, random.integers(0, 50, 500) // 3
    found = baselines(train, torch.from_numpy(heldout), 20)
    assert found.strength in STRENGTHS
    assert found[:2] == pytest.approx(slowly(train.tolist(), heldout.tolist(), 20, found.strength))
    assert baselines(train.tolist(), heldout.astype(np.uint8), 20) == found
    wide = baselines(train * 5_000, heldout * 5_000, 100_000, strength=3)  # pairs of ids do not overflow
    assert wide[:2] == pytest.approx(slowly((train * 5_000).tolist(), (heldout * 5_000).tolist(), 100_000, 3))


def chain(steps: int, seed: int) -> tuple[np.ndarray, float, float]:
    """A text in which each token depends on the one before; the entropies of a token alone and after the one before."""
    p = np.random.default_rng(7).dirichlet(np.full(8, 0.3), size=8)
    random, ids = np.random.default_rng(seed), [0]
    for u in random.random(steps - 1):
        ids.append(min(int(np.searchsorted(p[ids[-1]].cumsum(), u)), 7))
    stationary = np.linalg.matrix_power(p, 500)[0]
    rate = -(stationary[:, None] * p * np.log(np.maximum(p, 1e-300))).sum()
    return np.array(ids), float(-(stationary * np.log(stationary)).sum()), float(rate)


def test_a_bigram_table_comes_to_the_entropy_of_a_text_of_pairs_and_a_unigram_table_does_not():
    train, alone, after = chain(60_000, 1)
    found = baselines(train, chain(20_000, 2)[0], 8)
    assert found.unigram == pytest.approx(alone, abs=0.03) and found.bigram == pytest.approx(after, abs=0.03)
    assert after < alone - 0.3
    shuffled = np.random.default_rng(3).permutation(train)
    mixed = baselines(shuffled[:40_000], shuffled[40_000:], 8)
    assert mixed.bigram == pytest.approx(mixed.unigram, abs=0.01)  # nothing to learn from the token before


def test_the_smoothing_is_chosen_on_the_training_text_and_stated():
    """Pairs that do not count ask for a strong prior, pairs that always come for a weak one; held-out text has no say."""
    random = np.random.default_rng(4)
    noise, fixed = random.integers(0, 30, 2_000), np.tile(np.arange(30), 60)
    assert baselines(noise, fixed, 30).strength == max(STRENGTHS)
    found = baselines(fixed, noise, 30)
    assert found.strength == min(STRENGTHS) and "Dirichlet prior of strength 0.1" in str(found)
    assert isinstance(found, Baselines) and "nats a token, held out (add-one;" in str(found)


@pytest.mark.parametrize(
    ("train", "heldout", "told"),
    [
        ([0] * 19, [0, 1], "training text is int64 of shape .19,.: give token ids"),
        (SHORT, [0], "held-out text is int64"),
        (SHORT, [0.0, 1.0], "held-out text is float64"),
        ([SHORT], [0, 1], "training text is int64 of shape .1, 20."),
        (SHORT, [0, 3], "held-out text has the token id 3: with a vocabulary of 3 ids are 0 to 2"),
        ([*SHORT, -1], [0, 1], "training text has the token id -1"),
    ],
)
def test_what_is_no_text_is_refused(train, heldout, told):
    with pytest.raises(CourseError, match=told):
        baselines(train, heldout, 3)


def test_a_prior_without_strength_is_refused():
    for strength in (0, -1, math.nan, math.inf):
        with pytest.raises(CourseError, match="strength of the prior"):
            baselines(SHORT, [0, 1], 3, strength=strength)
