"""A whole run of the training engine, alone and on several processes."""

import doctest
import json
import math
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import run as run_command
from small_runs import DROPPING, HERE, SHORT, TINY, OneBadGradient, read_log, same, weights
from small_runs import data as data
from small_runs import heldout as heldout
from small_runs import job as job
from torch import nn

from cs336lite import batches, checkpoints, experiments, loop, processes, recipe, training, updates
from cs336lite.training import Tokens, World, begin, evaluate, generator, train

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_ids_without_a_header_are_read_with_their_dtype(tmp_path, job):
    ids = np.arange(3_000, dtype=np.uint16) % 50
    ids.tofile(tmp_path / "nano.bin")
    tokens = Tokens(tmp_path / "nano.bin", dtype=np.uint16)
    assert isinstance(tokens.ids, np.memmap) and np.array_equal(tokens.ids, ids)
    assert tokens.fingerprint == Tokens(ids).fingerprint == pickle.loads(pickle.dumps(tokens)).fingerprint
    training.main([job("bin", data=str(tmp_path / "nano.bin"), validation=str(tmp_path / "nano.bin"), dtype="uint16")])
    assert len(read_log(tmp_path, "bin")) == 6


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


# several processes


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
os.write(1, b"of %d is done\\n" % dist.get_world_size())  # at once: the others write into the same pipe
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
