"""A run that was stopped goes on as if it had not been, and no other run goes on from its file."""

import os
import pickle
from dataclasses import replace
from functools import partial

import pytest
import torch
from small_runs import DROPPING, HERE, SHORT, TINY, Crash, crash_at, same, weights
from small_runs import data as data
from small_runs import heldout as heldout
from torch import nn

from cs336lite import training
from cs336lite.model import Transformer
from cs336lite.training import CheckpointError, Tokens, begin, generator, read_checkpoint, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(optimizer, data, heldout, tmp_path):
    config = replace(SHORT, steps=8, optimizer=optimizer, early_dropout=0.9, eval_every=2)
    whole = train(DROPPING, config, data, validation=heldout, log=tmp_path / "whole.jsonl")
    place = {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 2, "log": tmp_path / "run.jsonl"}
    with pytest.raises(Crash):
        train(DROPPING, config, data, validation=heldout, observe=partial(crash_at, 6), **place)
    assert read_checkpoint(tmp_path / "run.pt")["step"] == 4
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 5  # one more than the checkpoint knows
    rest = train(DROPPING, config, data, validation=heldout, **place)
    assert rest.metrics == whole.metrics and same(weights(whole.model), weights(rest.model))
    assert (tmp_path / "run.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()
    done = train(
        DROPPING, config, data, validation=heldout, observe=partial(crash_at, 8), **place
    )  # nothing is left to do
    assert done.metrics == whole.metrics and same(weights(whole.model), weights(done.model))


def test_a_checkpoint_that_is_cut_short_or_no_checkpoint_is_told(data, tmp_path):
    path = tmp_path / "run.pt"
    train(TINY, SHORT, data, checkpoint=path)
    whole = path.read_bytes()
    torch.save({"format": "something else"}, tmp_path / "other")
    foreign = [
        (tmp_path / "other").read_bytes(),
        b"hello",
        pickle.dumps(print),
        pickle.dumps({"format": 1}),
        b"PK\x03\x04",
    ]
    for content in [*(whole[: len(whole) * n // 7] for n in range(7)), whole[:-1], *foreign]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"run\.pt (is cut short|holds something else)"):
            train(TINY, SHORT, data, checkpoint=path)
        assert path.read_bytes() == content
    path.write_bytes(whole)
    assert train(TINY, SHORT, data, checkpoint=path).values().size == 6


def test_a_checkpoint_cannot_run_code(data, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was here"),)

    torch.save({"format": training.FORMAT, "run": Evil()}, tmp_path / "run.pt")
    with pytest.raises(CheckpointError):
        train(TINY, SHORT, data, checkpoint=tmp_path / "run.pt")
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, c, d: (m.replace(d_ff=28), c, d), r"model\.d_ff was 24 and is 28"),
        (lambda m, c, d: (m, replace(c, lr=2e-2), d), r"training\.lr was 0\.01 and is 0\.02"),
        (lambda m, c, d: (m, replace(c, clip=None), d), r"training\.clip was the default and is None"),
        (lambda m, c, d: (m, c, Tokens(d.ids[1:])), "data was"),
    ],
)
def test_a_checkpoint_of_another_run_is_told(change, message, data, tmp_path):
    train(TINY, SHORT, data, checkpoint=tmp_path / "run.pt")
    model, config, other = change(TINY, SHORT, data)
    with pytest.raises(CheckpointError, match=message):
        train(model, config, other, checkpoint=tmp_path / "run.pt")


def given_module(**changes) -> Transformer:
    return Transformer(TINY.replace(**changes), generator=generator(0, 0))


class Plain(nn.Module):
    """A module without a configuration: told by its layers."""

    def __init__(self, activation: nn.Module):
        super().__init__()
        self.table, self.activation, self.output = nn.Embedding(50, 8), activation, nn.Linear(8, 50)

    def loss(self, tokens, targets):
        logits = self.output(self.activation(self.table(tokens)))
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


@pytest.mark.parametrize(
    ("make", "other", "message"),
    [
        (given_module, partial(given_module, positions="alibi"), "positions was the default and is alibi"),
        (given_module, partial(given_module, norm="layernorm"), "norm was the default and is layernorm"),
        (given_module, partial(given_module, d_model=24), "d_model was 16 and is 24"),
        (partial(Plain, nn.ReLU()), partial(Plain, nn.GELU()), r"module.activation was ReLU\(\) and is GELU"),
        (partial(Plain, nn.Dropout(0.1)), partial(Plain, nn.Dropout(0.2)), "p=0.1.* and is .*p=0.2"),
        (partial(Plain, nn.Identity()), given_module, "; and [0-9]+ more$"),
    ],
)
def test_a_module_that_is_given_is_told_by_what_it_is(make, other, message, data, tmp_path):
    config = replace(SHORT, seq=8)
    whole = train(make(), config, data, checkpoint=tmp_path / "run.pt")
    assert train(make(), config, data, checkpoint=tmp_path / "run.pt").metrics == whole.metrics
    with pytest.raises(CheckpointError, match=message) as told:
        train(other(), config, data, checkpoint=tmp_path / "run.pt")
    assert len(str(told.value)) < 1_000


@pytest.mark.parametrize("first", [True, False])
def test_a_run_of_torch_compile_goes_on_without_it_and_the_other_way_round(first, data, tmp_path):
    def module(compiled: bool) -> nn.Module:
        return torch.compile(given_module(), backend="eager") if compiled else given_module()

    place = {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 2}
    with pytest.raises(Crash):
        train(module(first), SHORT, data, observe=partial(crash_at, 4), **place)
    assert not any("_orig_mod" in name for name in read_checkpoint(tmp_path / "run.pt")["model"])
    rest = train(module(not first), SHORT, data, **place)
    assert rest.metrics == train(given_module(), SHORT, data).metrics


def test_a_checkpoint_that_cannot_be_saved_says_why_and_leaves_the_old_one(data, tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    train(TINY, SHORT, data, checkpoint=path)
    before = path.read_bytes()

    def full(content, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    state = begin(TINY, SHORT, HERE)
    with pytest.raises(CheckpointError, match=r"run\.pt could not be saved, and is as it was: No space left on device"):
        training.save_checkpoint(path, state, {})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["run.pt"]


def test_a_crash_while_a_checkpoint_is_written_leaves_the_old_one(data, tmp_path, monkeypatch):
    place = {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 2}
    real, calls = torch.save, []

    def save(content, file):
        calls.append(file)
        real(content, file)
        if len(calls) == 2:
            file.truncate(100)
            raise Crash

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(Crash):
        train(TINY, SHORT, data, **place)
    assert read_checkpoint(tmp_path / "run.pt")["step"] == 2 and os.listdir(tmp_path) == ["run.pt"]
    monkeypatch.undo()
    assert train(TINY, SHORT, data, **place).metrics == train(TINY, SHORT, data).metrics
