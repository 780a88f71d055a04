"""The training loop of lecture 04: every knob does what it says, and a run that diverges is told as one."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from cs336lite import knobs
from cs336lite.accounting import parameters
from cs336lite.knobs import MODEL, fit, lr_share, mean_loss, of_depth, of_ratio, optimizer_of, run_of, tokens, train_run
from cs336lite.lion import Lion
from cs336lite.model import Transformer, TransformerConfig

SHORT = {"steps": 12, "warmup": 2}
TINY = {"d_model": 16, "num_layers": 1, "num_heads": 1, "d_ff": 32}


def short(lr: float = 1e-2, seed: int = 1, **changes) -> dict:
    return run_of("arm", {**SHORT, **TINY, **changes}, lr, seed)


@pytest.fixture
def text():
    return torch.randint(256, (4_000,), generator=torch.Generator().manual_seed(0))


def tiny(**changes) -> Transformer:
    return Transformer(TransformerConfig(**{**MODEL, **TINY, **changes}), torch.Generator().manual_seed(1))


def test_a_run_learns_and_belongs_to_its_seed():
    told = train_run(short())
    assert told["final"] < math.log(256) and len(told["curve"]) == 12
    assert told == train_run(short()) != train_run(short(seed=2))


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "cosine to 10 %", "WSD"])
def test_a_schedule_climbs_and_ends_where_it_says(name):
    shares = [lr_share(name, step, 1_000, 50) for step in range(1_000)]
    end = {"constant": 1.0, "cosine to 10 %": 0.1}.get(name, 0.0)
    assert shares[0] == pytest.approx(1 / 50, rel=0.01) and max(shares) <= 1
    assert shares[-1] == pytest.approx(end, abs=0.005)
    assert all(a >= b - 1e-12 for a, b in pairwise(shares[50:]))
    if name == "WSD":
        assert min(shares[50:750]) == 1 and shares[875] == pytest.approx(0.5)


def test_matrices_decay_and_gains_do_not():
    for name, kind in (("adamw", torch.optim.AdamW), ("lion", Lion)):
        model = tiny()
        optimizer = optimizer_of(model, name, 0.5)
        assert isinstance(optimizer, kind)
        matrices, gains = optimizer.param_groups
        assert matrices["weight_decay"] == 0.5 and gains["weight_decay"] == 0
        assert {p.ndim for p in matrices["params"]} == {2} and {p.ndim for p in gains["params"]} == {1}
        assert len(matrices["params"]) + len(gains["params"]) == len(list(model.parameters()))


def test_early_dropout_is_gone_after_its_share_of_the_steps(text, monkeypatch):
    model, seen = tiny(dropout=0.4), []
    real = model.loss
    parts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    monkeypatch.setattr(model, "loss", lambda *given: seen.append({part.p for part in parts}) or real(*given))
    training = {**knobs.TRAINING, "steps": 10, "warmup": 1, "dropout_for": 0.5}
    fit(model, text, text, 1e-3, training, torch.Generator().manual_seed(0))
    assert [one for (one,) in seen] == pytest.approx([0.4, 0.32, 0.24, 0.16, 0.08, 0, 0, 0, 0, 0])


def test_a_loss_that_is_not_finite_ends_a_run(text):
    model = tiny()
    nn.init.constant_(model.output.weight, math.nan)
    told = fit(model, text, text, 1e-3, {**knobs.TRAINING, **SHORT}, torch.Generator())
    assert told == {"final": None, "fitted": None, "curve": [], "heldout": []}


def test_the_held_out_loss_is_the_mean_over_all_its_pieces(text):
    model = tiny().eval()
    starts = torch.linspace(0, len(text) - 65, 7).long()
    with torch.no_grad():
        wanted = sum(model.loss(text[s : s + 64][None], text[s + 1 : s + 65][None]).item() for s in starts) / 7
    assert mean_loss(model, text, 64, pieces=7) == pytest.approx(wanted, rel=1e-5)


def test_what_does_not_belong_to_the_model_belongs_to_the_training():
    run = run_of("x", {"d_model": 24, "batch": 3}, 0.1, 5)
    assert run["config"] == {**MODEL, "d_model": 24} and run["training"] == {**knobs.TRAINING, "batch": 3}
    assert (run["arm"], run["lr"], run["seed"]) == ("x", 0.1, 5)


def test_shapes_are_as_large_as_the_base_and_as_deep_as_they_say():
    base = parameters(TransformerConfig(**MODEL).shape)
    for arm in knobs.SHAPE.arms.values():
        size = parameters(TransformerConfig(**MODEL | arm).shape)
        assert 0.85 < size / base < 1.15
    assert of_depth(8)["num_layers"] == 8 and of_ratio("gelu", 16)["d_ff"] == 16 * of_ratio("gelu", 16)["d_model"]


def test_tokens_of_a_vocabulary_are_the_text_and_losses_are_told_per_byte(monkeypatch):
    learned, held = knobs.texts()
    monkeypatch.setattr(knobs, "texts", lambda: (learned[:40_000], held[:3_000]))
    tokens.cache_clear()
    try:
        ids, others, size = tokens(300)
        assert ids.max() >= 256 and ids.max() < 300 and size == pytest.approx(3_000 / len(others)) and size > 1
        assert tokens(256)[2] == 1 and torch.equal(tokens(256)[0], learned[:40_000])
        monkeypatch.setattr(knobs, "fit", lambda *given: {"final": 3.0, "heldout": [3.0]})
        assert train_run(short(vocab_size=300))["final"] == pytest.approx(3 / size, abs=1e-4)
    finally:
        tokens.cache_clear()


def test_a_step_of_every_vocabulary_reads_the_same_text():
    for arm in knobs.VOCABULARIES.values():
        assert arm["seq"] * tokens(arm["vocab_size"])[2] == pytest.approx(64, abs=1.5)
