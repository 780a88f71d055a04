"""Many runs, each kept as soon as it is done: a sweep of an hour can be stopped at any time and goes on where it was.

    rows = kept("03b_variants", runs, train_variant, jobs=2)

A *run* is a dict of plain JSON, the arguments of one training; ``compute(run)`` gives a dict of results. Runs are kept as
lines of JSON in ``runs/<name>.jsonl`` of the data folder (``CS336LITE_DATA``), and found again by their arguments: who
changes a number of one arm computes that arm anew and nothing else. What a lecture shows is not this file, but the
record that `results.recorded` makes of it.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from cs336lite.course.paths import CourseError, make_folder

__all__ = ["kept"]

Run = Mapping[str, Any]


def kept(
    name: str,
    runs: Iterable[Run],
    compute: Callable[[dict[str, Any]], Mapping[str, Any]],
    *,
    jobs: int = 1,
    folder: Path | None = None,
    progress: bool = True,
    bar: tqdm | None = None,
) -> list[dict[str, Any]]:
    """A row for each run, in their order: its arguments and its results.

    Args:
        name: of the file; one sweep at a time writes into it.
        runs: arguments, plain JSON.
        compute: gives the results, plain JSON; with several jobs a function of an importable module.
        jobs: how many processes compute, each with one thread.
        folder: where the file lies, by default ``runs`` in the data folder.
        progress: show a bar.
        bar: of several sweeps together, instead of one of its own; its total counted these runs, and loses those kept before.

    Raises:
        CourseError: a run is not plain JSON, or two runs are the same, or jobs is below 1; the file cannot be made.
    """
    path = (make_folder(None) / "runs" if folder is None else folder) / f"{name}.jsonl"
    wanted = {}
    for run in runs:
        if (key := key_of(run)) in wanted:
            raise CourseError(f"a run stands twice in the sweep {name}: {key}")
        wanted[key] = dict(run)
    if jobs < 1:
        raise CourseError(f"jobs is {jobs}: at least one process computes")
    done = dict(read(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = {key: run for key, run in wanted.items() if key not in done}
    own = nullcontext(bar) if bar is not None else tqdm(total=len(waiting), disable=not progress, unit="run")
    if bar is not None:
        bar.total -= len(wanted) - len(waiting)
        bar.refresh()
    with path.open("a", encoding="utf-8") as file, own as bar:
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            file.write("\n")  # a run that was being written when something ended the sweep
        for key, result in computed(waiting, compute, jobs):
            line = json.dumps({"run": wanted[key], "result": dict(result)}, allow_nan=False, ensure_ascii=False)
            file.write(f"{line}\n")
            file.flush()
            done[key] = json.loads(line)["result"]
            bar.update()
    return [run | done[key] for key, run in wanted.items()]


def key_of(run: Run) -> str:
    """The arguments of a run as one string, whatever their order."""
    try:
        return json.dumps(dict(run), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CourseError(f"the arguments of a run are plain JSON, and these are not ({error}): {run}") from error


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(arguments, results) of each whole line of a file."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            told = json.loads(line)
            yield key_of(told["run"]), told["result"]
        except (ValueError, KeyError, TypeError):
            continue  # half a line: the run is computed again


def computed(
    waiting: Mapping[str, dict[str, Any]], compute: Callable, jobs: int
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(arguments, results) of each run as soon as it is done."""
    if jobs == 1 or len(waiting) < 2:
        for key, run in waiting.items():
            yield key, compute(run)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    with ProcessPoolExecutor(jobs, spawn, one_thread) as pool:
        futures = {pool.submit(compute, run): key for key, run in waiting.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def one_thread() -> None:
    import torch

    torch.set_num_threads(1)
