"""The sweep of lecture 03b: fair arms, rates that are widened until the best lies inside, and the same seeds for all."""

import math

import pytest
import torch

from cs336lite import trials
from cs336lite.accounting import parameters
from cs336lite.model import Transformer

SHORT = trials.TRAINING | {"steps": 2, "warmup": 1}
OWN = {
    "biases",
    "learned positions",
    "post-norm",
    "post-norm, no warmup",
    "double norm",
    "norm in the branch, QK-norm",
    "parallel",
}  # a percent or less


def config(arm):
    return trials.config_of(trials.run_of(arm, 0.01, 1, trials.ARMS[arm], trials.TRAINING))


@pytest.mark.parametrize("arm", trials.ARMS)
def test_an_arm_has_the_parameters_of_the_base(arm):
    base, own = (parameters(config(name).shape) for name in ("base", arm))
    assert own == base if arm not in OWN else 0 < abs(own - base) < 0.04 * base


def test_what_is_no_field_of_the_model_belongs_to_the_training():
    run = trials.run_of("post-norm, no warmup", 0.01, 1, trials.ARMS["post-norm, no warmup"], trials.TRAINING)
    assert (
        run["training"]["warmup"] == 1 and run["config"]["norm_placement"] == "post" and "warmup" not in run["config"]
    )


def test_the_sweep_of_the_lecture_is_declared_in_its_module():
    assert trials.VARIANTS.arms is trials.ARMS and not set(trials.TUNING) & set(trials.REPORTING)
    assert trials.VARIANTS.runs("ReLU", [0.01], [1]) == [
        trials.run_of("ReLU", 0.01, 1, trials.ARMS["ReLU"], trials.TRAINING)
    ]


def test_the_same_run_gives_the_same_loss_and_another_seed_another():
    run = trials.run_of("base", 0.01, 1, {}, SHORT)
    first, again, other = (trials.train_variant(r)["final"] for r in (run, run, run | {"seed": 2}))
    assert first == again != other and 4 < first < 7


def test_a_run_that_diverges_has_no_loss():
    run = trials.run_of("base", 1e38, 1, {}, SHORT | {"steps": 3})
    assert trials.train_variant(run)["final"] is None


def test_reading_further_is_refused_to_learned_positions_and_slowed_rope_keeps_its_weights(monkeypatch):
    monkeypatch.setattr(trials, "BINS", ((0, 64), (64, 130)))
    learned = trials.run_of("learned positions", 0.01, 1, trials.ARMS["learned positions"], SHORT)
    assert trials.read_further(learned) == {"bins": None, "ntk": None}
    rope = trials.read_further(trials.run_of("base", 0.01, 1, {}, SHORT))
    assert len(rope["bins"]) == len(rope["ntk"]) == 2 and rope["bins"] != rope["ntk"]
    assert rope["bins"] == pytest.approx(rope["ntk"], abs=0.1)  # two steps: positions hardly count yet


def test_losses_by_position_are_those_of_the_positions(monkeypatch):
    held = trials.texts()[1]
    windows = held.unfold(0, 128, 1)

    def knows_from_64_on(ids):
        """Is sure of the byte that comes next, from position 64 on."""
        logits = torch.zeros(*ids.shape, 256)
        for row, text in zip(logits, ids):
            start = int((windows == text).all(1).nonzero()[0, 0])
            row[64:].scatter_(-1, held[start + 65 : start + 129, None], 20.0)
        return logits

    model = Transformer(config("base"))
    model.forward = knows_from_64_on
    monkeypatch.setattr(trials, "BINS", ((0, 64), (64, 128)))
    before, after = trials.losses_by_position(model, pieces=3)
    assert before == pytest.approx(math.log(256), abs=1e-4) and after < 1e-3
