"""Pools of processes that are none (see `pretend_processes`): one does all the work."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Iterable
from typing import Any

from pretend_turns import as_process, breathe, copied, mine, stepping_aside

MOST_THREADS = 8  # of a pool: its tasks run in turn, so more are of use only to those that wait for each other


class Result:
    """What ``Pool.apply_async`` and ``Pool.map_async`` give."""

    def __init__(self, future: concurrent.futures.Future) -> None:
        self._future = future

    def get(self, timeout: float | None = None) -> Any:
        try:
            with stepping_aside():
                return self._future.result(timeout)
        except TimeoutError:
            if self._future.done():
                raise
            raise multiprocessing.TimeoutError from None

    def wait(self, timeout: float | None = None) -> None:
        with stepping_aside():
            concurrent.futures.wait([self._future], timeout)

    def ready(self) -> bool:
        breathe()
        return self._future.done()

    def successful(self) -> bool:
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._future.exception() is None


class Results:
    """What ``Pool.imap`` gives: each answer is computed when it is asked for, or at the latest when the pool is joined."""

    def __init__(self, pool: Pool, function: Callable, items: Iterable[Any]) -> None:
        self._pool, self._function, self._items = pool, function, iter(items)
        self._early: list[concurrent.futures.Future] = []

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> Any:
        return self._early.pop(0).result() if self._early else self._compute()

    def next(self, timeout: float | None = None) -> Any:
        return next(self)

    def _compute(self) -> Any:
        return self._pool.work(self._function, (next(self._items),), {})

    def finish(self) -> None:
        while True:
            future: concurrent.futures.Future = concurrent.futures.Future()
            try:
                future.set_result(self._compute())
            except StopIteration:
                return
            except Exception as error:
                future.set_exception(error)
            self._early.append(future)


class Pool:
    """`multiprocessing.Pool`; one process does all the work."""

    copies = True

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
    ) -> None:
        self._processes = processes if processes is not None else os.cpu_count() or 1
        if self._processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._running, self._unfinished = True, []
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None
        self._worker = multiprocessing.Process(daemon=True)
        if initializer is not None:
            self.work(initializer, tuple(initargs), {})

    def work(self, function: Callable, args: tuple, kwargs: dict, in_turn: bool = False) -> Any:
        with as_process(self._worker, in_turn):
            if not self.copies:
                return function(*args, **kwargs)
            return copied(function(*copied(tuple(args)), **copied(dict(kwargs))))

    def check_running(self) -> None:
        if not self._running:
            raise ValueError("Pool not running")

    def apply(self, func: Callable, args: tuple = (), kwds: dict | None = None) -> Any:
        self.check_running()
        return self.work(func, args, kwds or {})

    def map(self, func: Callable, iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        self.check_running()
        return [self.work(func, (item,), {}) for item in iterable]

    def starmap(self, func: Callable, iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        self.check_running()
        return [self.work(func, tuple(items), {}) for items in iterable]

    def imap(self, func: Callable, iterable: Iterable[Any], chunksize: int = 1) -> Results:
        self.check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        self._unfinished.append(Results(self, func, iterable))
        return self._unfinished[-1]

    imap_unordered = imap

    def apply_async(
        self,
        func: Callable,
        args: tuple = (),
        kwds: dict | None = None,
        callback: Callable | None = None,
        error_callback: Callable | None = None,
    ) -> Result:
        return self._later(lambda: self.work(func, args, kwds or {}, in_turn=True), callback, error_callback)

    def map_async(
        self,
        func: Callable,
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable | None = None,
        error_callback: Callable | None = None,
    ) -> Result:
        return self.starmap_async(func, [(item,) for item in iterable], chunksize, callback, error_callback)

    def starmap_async(
        self,
        func: Callable,
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable | None = None,
        error_callback: Callable | None = None,
    ) -> Result:
        items = list(iterable)
        return self._later(lambda: [self.work(func, i, {}, in_turn=True) for i in items], callback, error_callback)

    def _later(self, task: Callable, callback: Callable | None, error_callback: Callable | None) -> Result:
        self.check_running()

        def run() -> Any:
            try:
                answer = task()
            except Exception as error:
                if error_callback is not None:
                    error_callback(error)
                raise
            if callback is not None:
                callback(answer)
            return answer

        if mine():  # a process that waits for its own pool
            return Result(done(run))
        if self._executor is None:
            self._executor = concurrent.futures.ThreadPoolExecutor(min(self._processes, MOST_THREADS))
        return Result(self._executor.submit(run))

    def close(self) -> None:
        self._running = False

    def terminate(self) -> None:
        self._running = False
        self._unfinished.clear()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        if self._running:
            raise ValueError("Pool is still running")
        for results in self._unfinished:
            results.finish()
        self._unfinished.clear()
        if self._executor is not None:
            with stepping_aside():
                self._executor.shutdown()

    def __enter__(self) -> Pool:
        self.check_running()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()


class ThreadPool(Pool):
    """`multiprocessing.pool.ThreadPool`, whose own needs a semaphore of the system's; nothing is copied."""

    copies = False

    def __init__(
        self, processes: int | None = None, initializer: Callable | None = None, initargs: Iterable[Any] = ()
    ) -> None:
        super().__init__(processes, initializer, initargs)


def done(function: Callable) -> concurrent.futures.Future:
    """A future in which the work is done already."""
    future: concurrent.futures.Future = concurrent.futures.Future()
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)
    return future


class ProcessPoolExecutor(concurrent.futures.ThreadPoolExecutor):
    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        super().__init__(min(max_workers or os.cpu_count() or 1, MOST_THREADS))
        self._pool = Pool(1, initializer, initargs)

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> concurrent.futures.Future:
        if mine():  # a process that waits for its own pool
            return done(lambda: self._pool.work(fn, args, kwargs))
        return super().submit(self._pool.work, fn, args, kwargs, in_turn=True)

    def map(
        self, fn: Callable, *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1, **more: Any
    ) -> Any:
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        return super().map(fn, *iterables, timeout=timeout)
