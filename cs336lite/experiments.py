# Built from notebooks/text/appendix/04x_engine.py by `cs336lite build`: edit that file, not this one.
"""Many runs in one call: in this process, in several, or on the workers of dask, each kept as soon as it is done.

Built in notebooks/appendix/04x_engine.ipynb.
"""

import concurrent.futures
import json
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from cs336lite.batches import Tokens
from cs336lite.keys import fingerprint
from cs336lite.loop import Run, train
from cs336lite.model import TransformerConfig
from cs336lite.recipe import Groups, TrainingConfig, parameter_groups
from cs336lite.runs import check_sweep, written
from cs336lite.updates import Observer, Score, cross_entropy


@dataclass(frozen=True)
class Experiment:
    """One run of a sweep; the name is only a label."""

    model: TransformerConfig
    training: TrainingConfig
    name: str = ""
    observe: Observer | None = None
    score: Score = cross_entropy
    groups: Groups = parameter_groups

    def key(self, data: Tokens, validation: Tokens | None) -> str:
        """Names the result: whatever changes it changes the key, except the code of the package and its versions."""
        return fingerprint(replace(self, name=""), data, validation)


_ALONE = threading.Lock()  # dropout draws from random numbers that all threads of a process share


def run_experiment(experiment: Experiment, data: Tokens, validation: Tokens | None, device: str | None) -> Run:
    """Train one experiment of a sweep, here or in another process; the model stays there."""
    with _ALONE:
        watch = {"observe": experiment.observe, "score": experiment.score, "groups": experiment.groups}
        run = train(experiment.model, experiment.training, data, validation=validation, device=device, **watch)
    return replace(run, name=experiment.name, model=None)


def start_worker() -> None:
    """What a process of a sweep does first: take one thread, and see to it that it does not outlive the sweep."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


@contextmanager
def executor(jobs: int, dask: Any) -> Iterator[concurrent.futures.Executor | None]:
    """Where a sweep runs: None for this process, several processes with one thread each, or the workers of dask."""
    if "TORCHELASTIC_RUN_ID" in os.environ and (dask is not None or jobs > 1):
        raise ValueError("under torchrun all processes train each run together: jobs and dask are for one process")
    if dask is not None:
        from distributed import Client  # the package has no need of dask otherwise

        client = Client(dask, set_as_default=False) if isinstance(dask, str) else dask
        try:
            yield client.get_executor()
        finally:
            if client is not dask:
                client.close()
    elif jobs > 1:
        spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
        pool = concurrent.futures.ProcessPoolExecutor(jobs, spawn, start_worker)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
    else:
        yield None


def results(waiting: dict[str, Experiment], pool: concurrent.futures.Executor | None, *where: Any) -> Iterator[tuple]:
    """(key, run) of each experiment, as they are done."""
    if pool is None:
        for key, experiment in waiting.items():
            yield key, run_experiment(experiment, *where)
        return
    futures = {pool.submit(run_experiment, experiment, *where): key for key, experiment in waiting.items()}
    for future in concurrent.futures.as_completed(futures):
        yield futures[future], future.result()


def read_run(path: Path) -> Run | None:
    """A run that a sweep has kept, or None."""
    try:
        kept = json.loads(path.read_text())
        return Run(kept["name"], kept["metrics"], kept["seconds"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def sweep(
    experiments: Iterable[Experiment], data: Tokens, *, validation: Tokens | None = None,
    cache: str | Path | None = None, jobs: int = 1, dask: Any = None, device: str | None = None, progress: bool = True,
) -> list[Run]:  # fmt: skip
    """Train every experiment, in this process, in ``jobs`` processes, or on dask (a scheduler's address, or a Client).

    Results are kept in the folder ``cache`` as they come, by what they depend on: the same call goes on where it was
    stopped and runs only what is new. They do not depend on ``jobs``, where each process has one thread. With several
    processes, ``observe`` and ``score`` must be functions of a module, not of a notebook.
    """
    experiments = list(experiments)
    check_sweep(experiments, data, validation, cache)
    keys = [experiment.key(data, validation) for experiment in experiments]
    found = {key: cache and read_run(Path(cache) / f"{key}.json") for key in keys}
    waiting = {key: experiment for key, experiment in zip(keys, experiments) if found[key] is None}
    with executor(jobs, dask) as pool, tqdm(total=len(waiting), disable=not (progress and waiting), unit="run") as bar:
        for key, run in results(waiting, pool, data, validation, device):
            found[key] = run
            if cache:
                with written(Path(cache) / f"{key}.json") as beside:
                    beside.write_text(json.dumps({"name": run.name, "metrics": run.metrics, "seconds": run.seconds}))
            bar.update()
    return [replace(found[key], name=experiment.name) for key, experiment in zip(keys, experiments)]
