"""Many runs in one call: what is kept, what is run again, where."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from functools import partial

import pytest
from small_runs import DROPPING, GRID, SHORT, TINY, Crash
from small_runs import counted as counted
from small_runs import data as data
from small_runs import heldout as heldout

from cs336lite import training
from cs336lite.training import describe, sweep, train

pytestmark = pytest.mark.usefixtures("one_thread")


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
    assert describe(one_thread_free).startswith("test_experiments.one_thread_free#")
    hash_of = describe(one_thread_free).split("#")[1]
    assert len(hash_of) == 8 and describe(test_processes_give_the_results_of_one).split("#")[1] != hash_of
    with pytest.raises(TypeError, match="no name"):
        describe(threading.Lock())


def one_thread_free(x):
    return x


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
