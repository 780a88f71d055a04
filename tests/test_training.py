"""The training engine of lecture 04: data, schedules, optimizers, exact resume, sweeps, several processes."""

import copy
import doctest
import json
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import run as run_command
from torch import nn

from cs336lite import batches, checkpoints, experiments, loop, processes, recipe, training, updates
from cs336lite.model import Transformer, TransformerConfig
from cs336lite.slots import ActsAfterStep
from cs336lite.training import (
    CheckpointError,
    Experiment,
    Tokens,
    TrainingConfig,
    World,
    backward,
    begin,
    describe,
    evaluate,
    generator,
    lr_factor,
    noise_scale,
    parameter_groups,
    read_checkpoint,
    set_step,
    sweep,
    train,
    write_tokens,
)

TINY = TransformerConfig(vocab_size=50, context_length=16, d_model=16, num_layers=1, num_heads=2, d_ff=24)
DROPPING = TINY.replace(dropout=0.2)
SHORT = TrainingConfig(steps=6, batch_size=4, lr=1e-2, warmup=2, eval_batches=2)
HERE = World(0, 1, torch.device("cpu"))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data() -> Tokens:
    drawn = np.random.default_rng(0).zipf(1.5, 4_000) % 50
    return Tokens(drawn.astype(np.uint16))


@pytest.fixture(scope="module")
def heldout() -> Tokens:
    return Tokens((np.random.default_rng(1).zipf(1.5, 2_000) % 50).astype(np.uint16))


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Crash(Exception):
    pass


def crash_at(step: int, at: int, model: nn.Module) -> dict:
    if at == step:
        raise Crash
    return {}


# data


def test_the_examples_in_the_module_run():
    parts = [doctest.testmod(part) for part in (batches, recipe, processes, updates, checkpoints, loop, experiments)]
    assert sum(part.attempted for part in parts) >= 5 and not sum(part.failed for part in parts)


def test_everything_has_one_name_in_training():
    assert sorted(training.__all__) == sorted({*training.__all__}) and all(
        hasattr(training, n) for n in training.__all__
    )
    for part in (batches, recipe, processes, updates, checkpoints, loop, experiments, training):
        own = {name for name, x in vars(part).items() if getattr(x, "__module__", None) == part.__name__}
        assert {name for name in own if not name.startswith("_")} <= {*training.__all__}, part.__name__


def test_tokens_are_written_as_they_come_and_mapped_not_read(tmp_path):
    ids = np.random.default_rng(0).integers(0, 50_000, 2**20 + 5)
    assert write_tokens(tmp_path / "a.npy", (int(i) for i in ids), vocab_size=50_257) == len(ids)
    tokens = Tokens(tmp_path / "a.npy")
    assert isinstance(tokens.ids, np.memmap) and tokens.ids.dtype == np.uint16
    assert np.array_equal(tokens.ids, ids) and np.array_equal(np.load(tmp_path / "a.npy"), ids)
    assert tokens.fingerprint == Tokens(ids).fingerprint != Tokens(ids[1:]).fingerprint
    assert write_tokens(tmp_path / "b.npy", [70_000], vocab_size=100_000) == 1
    assert Tokens(tmp_path / "b.npy").ids.dtype == np.uint32
    assert os.listdir(tmp_path) and not list(tmp_path.glob(".*"))


def test_a_mapped_file_travels_to_another_process_as_its_path(tmp_path):
    write_tokens(tmp_path / "a.npy", range(10_000), vocab_size=10_000)
    sent = pickle.dumps(Tokens(tmp_path / "a.npy"))
    assert len(sent) < 500 and isinstance(pickle.loads(sent).ids, np.memmap)
    assert np.array_equal(pickle.loads(pickle.dumps(Tokens([1, 2, 3]))).ids, [1, 2, 3])


@pytest.mark.parametrize("bad", [[3, -1], [3, 50], [50]])
def test_an_id_outside_the_vocabulary_leaves_no_file(tmp_path, bad):
    with pytest.raises(ValueError, match="vocab_size is 50"):
        write_tokens(tmp_path / "a.npy", bad, vocab_size=50)
    assert not list(tmp_path.iterdir())


def test_batches_are_windows_and_the_tokens_after_them():
    tokens = Tokens(np.arange(20))
    inputs, targets = tokens.batch(500, 5, generator(0, 0))
    assert inputs.shape == targets.shape == (500, 5) and inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(inputs + 1, targets) and torch.equal(inputs[:, 1:], targets[:, :-1])
    assert set(inputs[:, 0].tolist()) == set(range(15))  # every place where a window fits, the first and the last too
    again, _ = tokens.batch(500, 5, generator(0, 0))
    other, _ = tokens.batch(500, 5, generator(0, 1))
    assert torch.equal(inputs, again) and not torch.equal(inputs, other)


def test_data_that_cannot_be_tokens_is_refused():
    with pytest.raises(ValueError, match="6 tokens, and there are 5"):
        Tokens(np.arange(5)).batch(1, 5, generator(0, 0))
    for wrong in (np.zeros(4), np.zeros((2, 2), int)):
        with pytest.raises(ValueError, match="one row of integers"):
            Tokens(wrong)


def test_ids_without_a_header_are_read_with_their_dtype(tmp_path, job):
    ids = np.arange(3_000, dtype=np.uint16) % 50
    ids.tofile(tmp_path / "nano.bin")
    tokens = Tokens(tmp_path / "nano.bin", dtype=np.uint16)
    assert isinstance(tokens.ids, np.memmap) and np.array_equal(tokens.ids, ids)
    assert tokens.fingerprint == Tokens(ids).fingerprint == pickle.loads(pickle.dumps(tokens)).fingerprint
    training.main([job("bin", data=str(tmp_path / "nano.bin"), validation=str(tmp_path / "nano.bin"), dtype="uint16")])
    assert len(read_log(tmp_path, "bin")) == 6


def test_what_is_no_whole_number_is_no_id(tmp_path):
    with pytest.raises(ValueError, match="token ids are whole numbers"):
        write_tokens(tmp_path / "a.npy", (n / 4 for n in (4, 8, 9)), vocab_size=50)
    assert not list(tmp_path.iterdir())


def test_a_large_vocabulary_has_large_ids(tmp_path):
    write_tokens(tmp_path / "a.npy", [2**32 + 5], vocab_size=2**33)
    assert Tokens(tmp_path / "a.npy").ids.tolist() == [2**32 + 5]


# before the first step


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": Tokens(range(100))}, "data: id 50 at position 50, and the vocabulary is 0 to 49"),
        ({"data": Tokens([1, 2, -1] * 20)}, "data: id -1 at position 2"),
        ({"validation": Tokens(range(100))}, "validation: id 50 at position 50"),
        ({"data": Tokens(range(16))}, "data: a window takes 17 tokens, and there are 16"),
        ({"validation": Tokens(range(5))}, "validation: a window takes 17 tokens, and there are 5"),
        ({"config": replace(SHORT, seq=17)}, "seq is 17, and the model's context_length is 16"),
        ({"checkpoint": "folder"}, "folder is no file"),
        ({"checkpoint": "file/run.pt"}, "file is no folder"),
        ({"log": "folder"}, "folder is no file"),
        ({"log": "file/log.jsonl"}, "file is no folder"),
        ({"checkpoint": "same", "log": "same"}, "the same file"),
        ({"checkpoint_every": 2}, "there is no path"),
        ({"checkpoint": "run.pt", "checkpoint_every": -2}, "checkpoint_every is -2"),
        ({"device": "gpu"}, "device 'gpu' cannot be used here; there is 'cpu'"),
        ({"device": "meta"}, "device 'meta' cannot be used here"),
    ],
)
def test_what_can_be_known_is_told_before_the_first_step(changes, message, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    given = {"config": SHORT, "data": data, "observe": lambda step, model: pytest.fail("trained")} | changes
    with pytest.raises((ValueError, OSError), match=message):
        train(TINY, given.pop("config"), given.pop("data"), **given)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"] and (tmp_path / "file").read_text() == "mine"


def test_positions_without_a_limit_may_be_longer_than_the_context(data):
    longer = train(TINY.replace(positions="alibi"), replace(SHORT, steps=2, seq=24), data)
    assert math.isfinite(longer.values()[0])


def test_a_module_that_names_no_length_needs_one(data):
    with pytest.raises(ValueError, match=r"TrainingConfig\(seq=...\)"):
        train(OneBadGradient(bad=0), SHORT, data)


def test_a_sweep_looks_at_all_its_experiments_first(counted, data, tmp_path):
    wrong = replace(GRID[0], model=TINY.replace(vocab_size=20))
    with pytest.raises(ValueError, match="the vocabulary is 0 to 19"):
        sweep([*GRID, wrong], data, progress=False)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="is no folder"):
        sweep(GRID, data, cache=tmp_path / "file", progress=False)
    assert counted.count == 0


def test_the_experiments_of_a_sweep_may_come_one_by_one(counted, data):
    assert [run.name for run in sweep(iter(GRID[:2]), data, progress=False)] == ["0.001", "0.001"]


# schedules and optimizers


def factors(**changes) -> list[float]:
    config = replace(SHORT, **{"steps": 20, "warmup": 4, **changes})
    return [lr_factor(config, step) for step in range(config.steps)]


@pytest.mark.parametrize(("name", "peer"), [("linear", "linear"), ("cosine", "cosine")])
def test_schedules_equal_those_of_transformers_after_warmup(name, peer):
    transformers = pytest.importorskip("transformers")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = transformers.get_scheduler(peer, optimizer, num_warmup_steps=4, num_training_steps=20)
    theirs = []
    for _ in range(20):
        theirs.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert factors(schedule=name)[4:] == pytest.approx(theirs[4:], abs=1e-12)


@pytest.mark.parametrize("name", training.SCHEDULES)
def test_every_schedule_climbs_to_1_and_never_wastes_a_step(name):
    found = factors(schedule=name)
    assert found[:4] == [0.25, 0.5, 0.75, 1.0] and found[4] == 1
    assert found[4:] == sorted(found[4:], reverse=True) and found[-1] > 0
    left = factors(schedule=name, final_lr=0.5)
    assert min(left) >= 0.25 and (name == "constant" or 0.5 < left[-1] < 0.7)


def test_wsd_is_flat_and_then_a_line_to_zero():
    found = factors(schedule="wsd", warmup=0, decay=0.25)
    assert found[:16] == [1.0] * 16 and found[15:] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


def test_only_matrices_decay():
    model = Transformer(TINY.replace(norm="layernorm", bias=True))
    decayed, others = parameter_groups(model, 0.3)
    assert decayed["weight_decay"] == 0.3 and all(p.ndim >= 2 for p in decayed["params"])
    assert others["weight_decay"] == 0 and all(p.ndim == 1 for p in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(list(model.parameters()))


def test_weight_decay_shrinks_matrices_by_the_learning_rate_times_the_decay(data):
    model = Transformer(TINY, generator=generator(0, 0))
    for p in model.parameters():
        p.requires_grad_(p.ndim == 1 or p is model.output.weight)
    still, before = model.output.weight.detach().clone(), [p.detach().clone() for p in model.parameters()]
    config = replace(SHORT, steps=1, warmup=0, lr=1e-2, weight_decay=10.0)
    decayed = train(copy.deepcopy(model), config, data).model
    plain = train(copy.deepcopy(model), replace(config, weight_decay=0.0), data).model
    assert torch.allclose(plain.output.weight - decayed.output.weight, 0.1 * still, atol=1e-6)
    for name, p in decayed.named_parameters():
        if p.ndim == 1:
            assert torch.equal(p, dict(plain.named_parameters())[name])
    assert same(before, list(model.parameters()))


@pytest.mark.parametrize("name", training.OPTIMIZERS)
def test_every_optimizer_learns(name, data, heldout):
    lr = {"adamw": 1e-2, "lion": 3e-3, "sgd": 1.0}[name]
    run = train(TINY, replace(SHORT, steps=30, optimizer=name, lr=lr), data, validation=heldout)
    assert run.final < run.values()[0] - 0.3 and run.values("lr").max() == lr


def test_betas_go_to_the_optimizer():
    for name, usual in (("adamw", (0.9, 0.95)), ("lion", (0.9, 0.99))):
        model = Transformer(TINY)
        assert begin(model, replace(SHORT, optimizer=name), HERE).optimizer.defaults["betas"] == usual
        chosen = replace(SHORT, optimizer=name, betas=(0.5, 0.6))
        assert begin(model, chosen, HERE).optimizer.defaults["betas"] == (0.5, 0.6)


def test_without_assignment_a4_adamw_works_and_lion_says_what_is_missing(monkeypatch, data):
    stub = type(sys)("cs336lite.lion")
    exec("def Lion(*_, **__):\n    raise NotImplementedError('Not solved yet: a4_lion')", stub.__dict__)
    monkeypatch.setitem(sys.modules, "cs336lite.lion", stub)
    assert train(TINY, SHORT, data).values().size == 6
    with pytest.raises(NotImplementedError, match="a4_lion"):
        train(TINY, replace(SHORT, optimizer="lion"), data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adam"}, "optimizer is 'adam', not one of adamw"),
        ({"schedule": "triangle"}, "schedule is 'triangle'"),
        ({"precision": "float16"}, "precision is 'float16'"),
        ({"steps": 0}, "steps is 0"),
        ({"warmup": 7}, "warmup takes 7 of 6 steps"),
        ({"accumulation": 3}, "4 sequences do not divide into 3"),
        ({"decay": 0.0}, "shares"),
        ({"final_lr": 1.5}, "shares"),
        ({"early_dropout": math.nan}, "early_dropout is nan"),
        ({"steps": True}, "steps is True"),
        ({"seq": 0}, "seq is 0, but must be at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"eval_every": -1}, "eval_every is -1"),
        ({"eval_batches": 0}, "eval_batches is 0"),
        ({"lr": -1.0}, "lr is -1.0, but must be at least 0"),
        ({"lr": math.nan}, "lr is nan, but must be a finite number"),
        ({"lr": math.inf}, "lr is inf"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"clip": 0.0}, "clip is 0.0"),
        ({"clip": -1.0}, "clip is -1.0"),
        ({"betas": (0.9, 1.0)}, "two shares below 1"),
        ({"betas": (-0.1, 0.9)}, "a beta is -0.1"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SHORT, **changes)


def test_every_number_of_a_configuration_is_looked_at():
    numbers = {f.name for f in fields(TrainingConfig)} - {"optimizer", "schedule", "precision", "betas"}
    assert numbers == {*training.WHOLE, *training.MOST}
    config = replace(SHORT, lr=np.float64(0.5), clip=None)
    assert config == replace(SHORT, lr=0.5, clip=None) and replace(SHORT, lr=0.0).lr == 0


# a learning rate for each group


def scaled(model: nn.Module, weight_decay: float, *, part: str = "output", lr_scale: float = 0.25) -> list[dict]:
    """Two groups, by what a parameter is called."""
    named = list(model.named_parameters())
    first = [p for name, p in named if name.startswith(part)]
    rest = (p for name, p in named if not name.startswith(part))  # PyTorch takes what can be gone through
    return [{"params": first, "lr_scale": lr_scale}, {"params": rest, "weight_decay": 0.0}]


def test_a_group_has_its_share_of_the_learning_rate_at_every_step():
    state = begin(TINY, SHORT, HERE, scaled)
    for step in range(SHORT.steps):
        state.step = step
        rate = set_step(state)
        assert rate == SHORT.lr * lr_factor(SHORT, step)
        assert [group["lr"] for group in state.optimizer.param_groups] == [rate * 0.25, rate]
    assert [group["weight_decay"] for group in state.optimizer.param_groups] == [
        1e-2,
        0.0,
    ]  # PyTorch's, and the group's


@pytest.mark.parametrize("optimizer", training.OPTIMIZERS)
def test_a_group_moves_by_its_share_of_the_learning_rate(optimizer, data):
    config = replace(SHORT, steps=1, warmup=0, clip=None, weight_decay=0.0, optimizer=optimizer)
    start = Transformer(TINY, generator=generator(0, 0))
    moved = {}
    for scale in (1.0, 0.5, 0.0):
        groups = partial(scaled, part="decoder", lr_scale=scale)
        with_none = lambda m, wd, groups=groups: [{"weight_decay": 0.0, **g} for g in groups(m, wd)]  # noqa: E731
        after = train(copy.deepcopy(start), config, data, groups=with_none).model
        moved[scale] = {n: (p - q).detach() for (n, p), q in zip(after.named_parameters(), start.parameters())}
    for name in moved[1.0]:
        inside = name.startswith("decoder")
        for scale in (0.5, 0.0):
            share = scale if inside else 1
            torch.testing.assert_close(moved[scale][name], moved[1.0][name] * share, atol=1e-6, rtol=1e-3)
    assert max(x.abs().max().item() for x in moved[1.0].values()) > 1e-3


def test_the_default_groups_are_as_if_none_were_given(data):
    twice = [train(TINY, SHORT, data, **given).metrics for given in ({}, {"groups": parameter_groups})]
    ones = partial(parameter_groups)
    assert twice[0] == twice[1] == train(TINY, SHORT, data, groups=ones).metrics


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            lambda m, wd: [{"params": m.parameters(), "lr": 0.1}],
            "a group has lr, which the schedule sets: give lr_scale",
        ),
        (lambda m, wd: [{"params": m.parameters(), "lr_scale": -1}], "lr_scale is -1, but must be at least 0"),
        (lambda m, wd: [{"params": m.parameters(), "lr_scale": math.nan}], "lr_scale is nan"),
        (lambda m, wd: [{"params": [m.output.weight]}], "no group has embedding.weight, decoder.+: give it one"),
        (lambda m, wd: [{"params": list(m.parameters())}] * 2, "more than one parameter group"),
        (lambda m, wd: [{"lr_scale": 1.0}], "a group has no params"),
    ],
)
def test_groups_that_make_no_sense_are_refused_before_the_first_step(groups, message, data):
    with pytest.raises(ValueError, match=message):
        train(TINY, SHORT, data, groups=groups, observe=lambda step, model: pytest.fail("trained"))


def test_what_is_not_trained_needs_no_group(data):
    model = Transformer(TINY, generator=generator(0, 0))
    model.embedding.requires_grad_(False)
    before = model.embedding.weight.clone()
    only = lambda m, wd: [{"params": [p for p in m.parameters() if p.requires_grad]}]  # noqa: E731
    assert torch.equal(train(model, SHORT, data, groups=only).model.embedding.weight, before)


def test_a_run_with_groups_goes_on_bit_for_bit_and_other_groups_are_another_run(data, tmp_path):
    place = {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 2}
    with pytest.raises(Crash):
        train(TINY, SHORT, data, groups=scaled, observe=partial(crash_at, 4), **place)
    assert train(TINY, SHORT, data, groups=scaled, **place).metrics == train(TINY, SHORT, data, groups=scaled).metrics
    with pytest.raises(CheckpointError, match=r"groups was .*scaled.* and is .*0\.5"):
        train(TINY, SHORT, data, groups=partial(scaled, lr_scale=0.5), **place)
    with pytest.raises(CheckpointError, match=r"groups was .*scaled.* and is the default"):
        train(TINY, SHORT, data, **place)


def test_an_experiment_may_have_groups(data):
    plain, other = (Experiment(TINY, SHORT, groups=groups) for groups in (parameter_groups, scaled))
    assert plain.key(data, None) == Experiment(TINY, SHORT).key(data, None) != other.key(data, None)
    (run,) = sweep([other], data, progress=False)
    assert run.metrics == train(TINY, SHORT, data, groups=scaled).metrics


# a step


def test_parts_of_a_batch_add_up_to_the_whole(data):
    whole, parts = (begin(TINY, replace(SHORT, accumulation=n), HERE) for n in (1, 4))
    batch = data.batch(4, 16, generator(0, 0))
    assert backward(whole, *batch) == pytest.approx(backward(parts, *batch), abs=1e-6)
    for p, q in zip(whole.model.parameters(), parts.model.parameters()):
        assert torch.allclose(p.grad, q.grad, atol=1e-6) and p.grad.abs().sum() > 0


def test_gradients_are_clipped_and_their_norm_is_recorded(data):
    seen = []

    def norm(step, model):
        seen.append(sum(p.grad.square().sum().item() for p in model.parameters()) ** 0.5)
        return {"seen": seen[-1]}

    free = train(TINY, replace(SHORT, clip=None), data, observe=norm)
    assert free.values("grad_norm") == pytest.approx(free.values("seen"), rel=1e-5)
    clipped = train(TINY, replace(SHORT, clip=0.05), data, observe=norm)
    assert clipped.values("grad_norm")[0] == pytest.approx(free.values("grad_norm")[0])
    assert clipped.values("seen") == pytest.approx(0.05, rel=1e-3)


class Counting(ActsAfterStep):
    """Counts its forward passes and, in `seen`, how many there were before each update."""

    def __init__(self):
        super().__init__()
        self.model, self.passes, self.seen = Transformer(TINY, generator=generator(0, 0)), 0, []

    def loss(self, tokens, targets):
        self.passes += 1
        return self.model.loss(tokens, targets)

    def after_step(self, total):
        self.seen.append(total(torch.tensor([self.passes])).tolist())
        self.passes = 0


@pytest.mark.parametrize("parts", [1, 4])
def test_a_module_may_act_once_after_each_update(data, parts):
    counting = Counting()
    train(counting, replace(SHORT, steps=3, seq=16, accumulation=parts), data)
    assert counting.seen == [[parts]] * 3


def test_dropout_falls_to_zero_over_the_first_fifth():
    state = begin(DROPPING, replace(SHORT, steps=20, early_dropout=0.2), HERE)
    found = []
    for step in range(20):
        state.step = step
        set_step(state)
        (p,) = {module.p for module in state.model.modules() if isinstance(module, nn.Dropout)}
        found.append(p)
    assert found == pytest.approx([0.2, 0.15, 0.1, 0.05] + [0] * 16)
    with pytest.raises(ValueError, match="the model has none"):
        begin(TINY, replace(SHORT, early_dropout=0.2), HERE)


def test_dropout_stays_when_nothing_else_is_asked(data):
    model = train(DROPPING, SHORT, data).model
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.2}


def test_bfloat16_is_used_where_it_is_asked_for_or_measured_to_be_faster(data, monkeypatch):
    def dtype_of_products(precision: str) -> torch.dtype:
        state, seen = begin(TINY, replace(SHORT, precision=precision), HERE), []
        state.model.decoder.blocks[0].attention.q_proj.register_forward_hook(lambda *said: seen.append(said[2].dtype))
        assert math.isfinite(backward(state, *data.batch(4, 16, generator(0, 0))))
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in state.model.parameters())
        return seen[0]

    assert dtype_of_products("float32") == torch.float32 and dtype_of_products("bfloat16") == torch.bfloat16
    for faster, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(updates, "bfloat16_is_faster", lambda device, faster=faster: faster)
        assert dtype_of_products("auto") == dtype


def test_whether_bfloat16_is_faster_is_measured():
    assert training.bfloat16_is_faster("cpu") in (True, False)


# a run


def test_a_run_depends_on_its_seed_and_on_nothing_else(data, heldout):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = train(DROPPING, SHORT, data, validation=heldout)
    assert torch.equal(torch.get_rng_state(), before)  # the caller's random numbers are not touched
    torch.manual_seed(6)
    again = train(
        DROPPING, replace(SHORT, eval_every=1), data, validation=heldout, observe=lambda step, model: {"x": step}
    )
    assert again.values().tolist() == first.values().tolist() and same(weights(first.model), weights(again.model))
    assert again.final == first.final and len(again.values("validation")) == 6 and len(first.values("validation")) == 1
    assert again.values("x").tolist() == [1, 2, 3, 4, 5, 6]
    other = train(DROPPING, replace(SHORT, seed=1), data)
    assert not set(other.values()) & set(first.values())


def test_validation_is_the_models_cross_entropy_on_the_same_batches_always(heldout):
    state = begin(DROPPING, SHORT, HERE)
    found = evaluate(state, heldout, 16)
    batches = [heldout.batch(4, 16, generator(0, n, purpose=3)) for n in range(2)]
    state.model.eval()
    with torch.no_grad():
        expected = sum(state.model.loss(*batch).item() for batch in batches) / 2
    assert found == pytest.approx(expected, abs=1e-6)
    state.model.train()
    assert evaluate(begin(state.model, replace(SHORT, seed=9), HERE), heldout, 16) == found and state.model.training


def test_the_score_may_be_another(data, heldout):
    def wrong(model, inputs, targets):
        return (model(inputs).argmax(-1) != targets).float().mean()

    assert 0 < train(TINY, SHORT, data, validation=heldout, score=wrong).final < 1


def test_metrics_are_json_lines(data, heldout, tmp_path):
    run = train(TINY, replace(SHORT, eval_every=3), data, validation=heldout, log=tmp_path / "a" / "log.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert rows == run.metrics and [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if "validation" in row] == [3, 6]
    assert rows[0].keys() == {"step", "loss", "lr", "grad_norm"} and rows[0]["lr"] == 0.5e-2


def test_a_loss_that_is_not_finite_ends_the_run(data, heldout, tmp_path):
    run = train(TINY, replace(SHORT, optimizer="sgd", lr=1e30, clip=None), data, validation=heldout, log=tmp_path / "l")
    assert run.diverged and run.final == math.inf and len(run.metrics) < 6
    assert json.loads((tmp_path / "l").read_text().splitlines()[-1])["grad_norm"] is None
    with pytest.raises(ValueError, match="no validation loss"):
        train(TINY, SHORT, data).final  # noqa: B018


class OneBadGradient(nn.Module):
    """Its loss is always finite. The gradient of step ``bad`` is not: the root of 0 has none."""

    def __init__(self, bad: int, loss: float = 1.0):
        super().__init__()
        self.weight, self.bad, self.passes = nn.Parameter(torch.full((4, 2), loss)), bad, 0

    def loss(self, tokens, targets):
        self.passes += 1
        root = (self.weight * (0 if self.passes == self.bad else 1)).abs().sqrt()
        return torch.where(self.weight > 1e9, root, self.weight.square()).mean()

    def forward(self, tokens):
        return torch.zeros(*tokens.shape, 50)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("clip", [1.0, None])
@pytest.mark.parametrize("optimizer", training.OPTIMIZERS)
def test_a_gradient_that_is_not_finite_ends_the_run_with_any_optimizer(optimizer, clip, precision, data, tmp_path):
    config = replace(SHORT, seq=4, optimizer=optimizer, clip=clip, precision=precision)
    place = {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 1, "validation": data}
    run = train(OneBadGradient(bad=3), config, data, **place)
    assert run.diverged and run.final == math.inf and [row["grad_norm"] is None for row in run.metrics] == [0, 0, 1]
    assert np.isfinite(run.values()).all() and all(torch.isfinite(p).all() for p in run.model.parameters())
    again = train(OneBadGradient(bad=0), config, data, **place)  # the checkpoint knows
    assert again.metrics == run.metrics and again.diverged and same(weights(again.model), weights(run.model))
    assert not train(OneBadGradient(bad=0), config, data, validation=data).diverged


def test_a_validation_loss_that_is_not_finite_ends_the_run(data):
    run = train(TINY, replace(SHORT, eval_every=2), data, validation=data, score=lambda *_: torch.tensor(math.nan))
    assert run.diverged and run.final == math.inf and len(run.metrics) == 2


def test_any_module_with_a_loss_can_be_trained(data):
    class Unigram(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(50))

        def loss(self, tokens, targets):
            return nn.functional.cross_entropy(self.logits.expand(targets.numel(), 50), targets.flatten())

    run = train(Unigram(), replace(SHORT, seq=8, steps=50, lr=0.3, schedule="constant"), data)
    shares = torch.bincount(torch.from_numpy(data.ids.astype(np.int64)), minlength=50) / len(data)
    entropy = -(shares * shares.clamp(min=1e-9).log()).sum().item()
    assert run.values()[-10:].mean() == pytest.approx(entropy, abs=0.4) and run.values()[0] == pytest.approx(
        math.log(50)
    )


# checkpoints


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


# many runs

GRID = [Experiment(TINY, replace(SHORT, lr=lr, seed=seed), f"{lr}") for lr in (1e-3, 1e-2) for seed in (0, 1)]


@pytest.fixture
def counted(monkeypatch):
    """How often something was trained; at ``counted.stop`` the machine fails."""
    real = experiments.train

    def train(*args, **kwargs):
        if train.count == train.stop:
            raise Crash
        train.count += 1
        return real(*args, **kwargs)

    train.count, train.stop = 0, None
    monkeypatch.setattr(experiments, "train", train)
    return train


def test_a_sweep_runs_only_what_is_new(counted, data, heldout, tmp_path):
    counted.stop = 2
    with pytest.raises(Crash):
        sweep(GRID, data, validation=heldout, cache=tmp_path, progress=False)
    counted.stop = None
    runs = sweep(GRID, data, validation=heldout, cache=tmp_path, progress=False)
    assert counted.count == 4 and [run.name for run in runs] == ["0.001", "0.001", "0.01", "0.01"]
    assert [r.metrics for r in runs] == [
        train(e.model, e.training, data, validation=heldout).metrics for e in GRID
    ]  # as if each had been run by itself
    renamed = [replace(e, name="x") for e in reversed(GRID)]
    again = sweep(renamed, data, validation=heldout, cache=tmp_path, progress=False)
    assert counted.count == 4 and [r.metrics for r in again] == [r.metrics for r in reversed(runs)]
    assert {run.name for run in again} == {"x"} and again[0].final == runs[-1].final
    sweep(
        [*GRID, replace(GRID[0], training=replace(SHORT, seed=7))],
        data,
        validation=heldout,
        cache=tmp_path,
        progress=False,
    )
    assert counted.count == 5


def test_the_key_of_a_result_is_all_that_it_depends_on(data, heldout):
    first = GRID[0]

    def observe(step, model):
        return {"x": 1.0}

    others = [
        replace(first, model=TINY.replace(norm_eps=1e-6)),
        replace(first, training=replace(first.training, lr=2e-3)),
        replace(first, observe=observe),
        replace(first, score=partial(training.cross_entropy)),
    ]
    keys = [e.key(data, heldout) for e in [first, *others]]
    keys += [first.key(heldout, heldout), first.key(data, data), first.key(data, None)]
    assert len(set(keys)) == 8 and replace(first, name="x").key(data, heldout) == keys[0]


def test_a_kept_result_that_cannot_be_read_is_made_again(counted, data, tmp_path):
    (run,) = sweep(GRID[:1], data, cache=tmp_path, progress=False)
    (kept,) = tmp_path.iterdir()
    for damage in ("", "{", "[]", "{}"):
        kept.write_text(damage)
        assert sweep(GRID[:1], data, cache=tmp_path, progress=False)[0].metrics == run.metrics
    assert counted.count == 5


def test_the_same_experiment_twice_is_run_once(counted, data):
    a, b = sweep([GRID[0], replace(GRID[0], name="again")], data, progress=False)
    assert counted.count == 1 and a.metrics == b.metrics and b.name == "again"


def test_processes_give_the_results_of_one(data, heldout, tmp_path):
    grid = [replace(e, model=DROPPING) for e in GRID[:3]]
    alone = sweep(grid, data, validation=heldout, progress=False)
    together = sweep(grid, data, validation=heldout, jobs=2, cache=tmp_path, progress=False)
    assert [r.metrics for r in together] == [r.metrics for r in alone] and len(list(tmp_path.iterdir())) == 3


def test_the_workers_of_dask_give_the_results_of_one(data, heldout, tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask's distributed is not installed")
    grid = [replace(e, model=DROPPING) for e in GRID]
    alone = sweep(grid, data, validation=heldout, progress=False)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, local_directory=str(tmp_path)
    ) as cluster:  # two threads of one process, which share the random numbers of dropout
        runs = sweep(grid, data, validation=heldout, dask=cluster.scheduler_address, progress=False)
        assert [r.metrics for r in runs] == [r.metrics for r in alone]
        with distributed.Client(cluster, set_as_default=False) as client:
            assert sweep(grid[:1], data, validation=heldout, dask=client, progress=False)[0].metrics == runs[0].metrics
            assert client.status == "running"


@dataclass(frozen=True)
class Scaled:
    factor: float = 1.0

    def __call__(self, x):
        return x * self.factor


def test_a_configuration_is_told_by_what_was_changed():
    assert describe(SHORT)["TrainingConfig"] == {
        "steps": 6,
        "batch_size": 4,
        "lr": 1e-2,
        "warmup": 2,
        "eval_batches": 2,
    }
    assert describe(TINY.replace(qk_norm=Scaled(2.0)))["TransformerConfig"]["qk_norm"] == {"Scaled": {"factor": 2.0}}
    assert describe([1, (2, None)]) == [1, [2, None]] and describe(len).startswith("builtins.len")
    assert describe(one_thread_free).startswith("test_training.one_thread_free#")
    hash_of = describe(one_thread_free).split("#")[1]
    assert len(hash_of) == 8 and describe(test_processes_give_the_results_of_one).split("#")[1] != hash_of
    with pytest.raises(TypeError, match="no name"):
        describe(threading.Lock())


def one_thread_free(x):
    return x


# the noise of gradients


def test_the_noise_scale_of_a_known_distribution():
    class Table(nn.Module):
        """Its gradient for a sequence of one token is that token's row."""

        def __init__(self):
            super().__init__()
            drawn = torch.randn(40, 6, generator=generator(0, 0))
            self.register_buffer("rows", drawn + torch.tensor([2.0, 0, 0, 0, 0, 0]))
            self.weight = nn.Parameter(torch.zeros(6))

        def loss(self, tokens, targets):
            return (self.rows[tokens[:, 0]] @ self.weight).mean()

    model = Table()
    signal, noise = model.rows.mean(0).square().sum().item(), model.rows.var(0, correction=0).sum().item()
    for small in (1, 4):
        found = noise_scale(model, Tokens(np.arange(4_000) % 40), seq=1, small=small, batches=2_000)
        assert found.signal == pytest.approx(signal, rel=0.05) and found.noise == pytest.approx(noise, rel=0.1)
        assert found.sequences == found.tokens == pytest.approx(noise / signal, rel=0.12)
    assert model.weight.grad is None


def test_the_noise_scale_counts_tokens_and_survives_no_signal():
    found = training.NoiseScale(signal=2.0, noise=6.0, seq=16)
    assert found.sequences == 3 and found.tokens == 48
    assert training.NoiseScale(signal=-0.1, noise=6.0, seq=16).tokens == math.inf


# several processes


@pytest.fixture
def job(tmp_path, data):
    """A file for `training.main`, and where its metrics are."""

    def write(name: str, **changes) -> tuple[str, list[dict]]:
        write_tokens(tmp_path / "data.npy", data.ids.tolist(), 50)
        path = tmp_path / f"{name}.json"
        said = {
            "model": {k: v for k, v in describe(TINY)["TransformerConfig"].items()},
            "training": {"steps": 6, "batch_size": 8, "lr": 1e-2, "accumulation": 2, "eval_batches": 2},
            "data": str(tmp_path / "data.npy"),
            "validation": str(tmp_path / "data.npy"),
            "log": str(tmp_path / f"{name}.jsonl"),
        }
        path.write_text(json.dumps(said | changes))
        return str(path)

    return write


def read_log(tmp_path, name: str) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]


def test_two_processes_have_the_losses_of_one(job, tmp_path):
    training.main([job("one")])
    place = {"checkpoint": str(tmp_path / "two.pt"), "checkpoint_every": 2}
    torchrun = ["python", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = run_command(*torchrun, "-m", "cs336lite.training", job("two", **place), cwd=tmp_path, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 6, loss") == 1  # only one of them speaks
    one, two = read_log(tmp_path, "one"), read_log(tmp_path, "two")
    assert len(one) == len(two) == 6
    for a, b in zip(one, two):
        assert a == pytest.approx(b, abs=2e-5)
    training.main([job("two", **place)])  # and their checkpoint is as good for one process
    assert read_log(tmp_path, "two") == two


TOGETHER = """
import os, sys, torch
import torch.distributed as dist
from dataclasses import replace
from torch import nn
from cs336lite.model import TransformerConfig
from cs336lite.slots import ActsAfterStep
from cs336lite.training import *

folder, own = sys.argv[1], sys.argv[2] == "own"
if own:  # a group that the user made, as without torchrun
    dist.init_process_group("gloo")
    del os.environ["TORCHELASTIC_RUN_ID"]
rank = dist.get_rank() if own else int(os.environ["RANK"])
torch.set_num_threads(1)

class Counting(ActsAfterStep):
    def __init__(self):
        super().__init__()
        self.model = Transformer(model, generator=generator(0, 0, 1))
    def loss(self, tokens, targets):
        self.rows = len(tokens)
        return self.model.loss(tokens, targets)
    def after_step(self, total):
        self.seen = total(torch.tensor([self.rows])).item()

model = TransformerConfig(vocab_size=50, context_length=16, d_model=16, num_layers=1, num_heads=2, d_ff=24)
config = TrainingConfig(steps=3, batch_size=4, seq=16)
data = Tokens([i * 7 % 50 for i in range(4000)])
for seed in (0, 1):
    train(model, replace(config, seed=seed), data, device="cpu")
counting = Counting()
train(counting, config, data, device="cpu")
assert counting.seen == 4, counting.seen
try:
    train(model, config, data, device="cpu", checkpoint=os.devnull)
except (CheckpointError, RuntimeError) as problem:
    assert rank or "no file" in str(problem), problem
else:
    raise AssertionError("only one process was told")
if not own:
    try:
        sweep([Experiment(model, config)], data, jobs=2, device="cpu")
    except ValueError as problem:
        assert "under torchrun" in str(problem)
runs = sweep([Experiment(model, config)], data, device="cpu", cache=folder, progress=False)
place = {"checkpoint": folder + "/run.pt", "checkpoint_every": 1}
last = train(model, config, data, device="cpu", **place)
again = train(model, config, data, device="cpu", **place)
assert again.metrics == last.metrics == runs[0].metrics
print("rank", rank, "of", dist.get_world_size(), "is done", flush=True)
"""


@pytest.mark.parametrize("group", ["torchrun", pytest.param("own", marks=pytest.mark.slow)])
def test_processes_train_together_as_often_as_they_like(group, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TOGETHER)
    torchrun = ["python", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = run_command(*torchrun, str(script), str(tmp_path), group, cwd=tmp_path, OMP_NUM_THREADS="1", timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("of 2 is done") == 2 and not list(tmp_path.glob("*.part"))


def test_a_batch_that_cannot_be_shared_is_told(data):
    with pytest.raises(ValueError, match="4 sequences do not divide into 3 processes x 1 parts"):
        World(0, 3, torch.device("cpu")).share(data.batch(4, 16, generator(0, 0))[0], 1)


def running(pid: int) -> bool:
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc to look for processes")
def test_the_processes_of_a_sweep_do_not_outlive_it(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\nfrom cs336lite.training import executor\n"
        "if __name__ == '__main__':\n    with executor(2, None) as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True)\n        time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert running(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(600):
        if not running(worker):
            break
        time.sleep(0.1)
    assert not running(worker)
