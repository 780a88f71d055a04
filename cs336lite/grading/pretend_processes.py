"""Processes that are none: `multiprocessing` and process pools, as far as honest work goes, inside one process.

A submission cannot start a process. What it gives to one is done here instead: by the caller, where that waits for it
anyway (``Pool.map``), else in a thread. Only one such thread computes at a time, as if each were alone: another goes on
when it waits for a queue, a lock, an event. Arguments and answers are copied as pickling would copy them; queues, locks
and what a manager gives are the same for all. Global variables are shared, which those of real processes are not.

The worker loads this beside itself, without the package, and calls `install` before it imports any library.
"""

from __future__ import annotations

import concurrent.futures.process
import contextlib
import ctypes
import errno
import itertools
import multiprocessing.connection
import multiprocessing.context
import multiprocessing.managers
import multiprocessing.pool
import multiprocessing.process
import multiprocessing.queues
import multiprocessing.sharedctypes
import multiprocessing.synchronize
import os
import subprocess
import threading
import time
from collections.abc import Iterable
from typing import Any

import pretend_queues
from pretend_pools import Pool, ProcessPoolExecutor, ThreadPool
from pretend_turns import as_process, breathe, copied, failed, run_for, this_process, wait_for

# -- Process -----------------------------------------------------------------------------------------------------------

OF_THE_START = {"_identity", "_config", "_parent_pid", "_parent_name", "_popen", "_closed", "_target", "_name"}


class Running:
    """What `multiprocessing` keeps of a process that was started; its own sentinel."""

    pids = itertools.count(os.getpid() + 1)

    def __init__(self, process: Any) -> None:
        self.pid, self.returncode, self.terminated = next(self.pids), None, False
        self.sentinel = self
        self.ended = threading.Event()
        child = object.__new__(type(process))
        for name, value in vars(process).items():
            child.__dict__[name] = value if name in OF_THE_START else copied(value)
        child._popen = None
        self.thread = threading.Thread(target=self.run, args=(child,), name=process.name, daemon=True)
        self.thread.start()

    def run(self, child: Any) -> None:
        run_for(self)
        code = 1
        with as_process(child, in_turn=True), contextlib.suppress(BaseException):
            try:
                child.run()
                code = 0
            except SystemExit as error:
                code = 0 if error.code is None else error.code if isinstance(error.code, int) else 1
            except BaseException as error:
                failed(error)
        if not self.ended.is_set():
            self.returncode = code
        self.ended.set()

    def poll(self) -> int | None:
        if not self.ended.is_set():
            breathe()
        return self.returncode if self.ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int | None:
        wait_for(lambda seconds: self.ended.wait(seconds) or None, timeout)
        return self.poll()

    def terminate(self, signal: int = 15) -> None:
        if not self.ended.is_set():
            self.returncode, self.terminated = -signal, True
            self.ended.set()
            kind = ctypes.py_object(SystemExit)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread.ident), kind)

    def kill(self) -> None:
        self.terminate(9)

    def close(self) -> None:
        pass


def wait_for_any(objects: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """`multiprocessing.connection.wait`."""
    objects = list(objects)

    def ready() -> list[Any]:
        return [o for o in objects if (o.ended.is_set() if isinstance(o, Running) else o.poll())]

    def attempt(seconds: float) -> list[Any] | None:
        if not ready():
            time.sleep(min(seconds, 0.001))
        return ready() or None

    return wait_for(attempt, timeout) or []


# -- in place of the real ones ------------------------------------------------------------------------------------------

PROGRAMS = ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "popen", "execv", "execve")  # in `os`


def refuse_program(*args: object, **kwargs: object) -> None:
    error = PermissionError(errno.EPERM, "a process cannot be started when work is graded")
    error.graded_without = "processes"  # the worker tells it
    raise error


def new_value(type_: type) -> Any:
    """The memory of a ``Value`` or an ``Array``: of this process, as there is no other."""
    value = type_()
    value._shared_value = True
    return value


def install() -> None:
    """Let `multiprocessing`, `concurrent.futures` and `subprocess` do without processes."""
    context, process = multiprocessing.context, multiprocessing.process
    for kind in ("Process", "ForkProcess", "SpawnProcess", "ForkServerProcess"):
        getattr(context, kind)._Popen = staticmethod(Running)
    real = process.current_process
    process.current_process = multiprocessing.current_process = lambda: this_process() or real()
    context.BaseContext.current_process = staticmethod(process.current_process)
    set_start_method = context.DefaultContext.set_start_method
    context.DefaultContext.set_start_method = lambda self, method, force=False: set_start_method(self, method, True)
    multiprocessing.set_start_method = context._default_context.set_start_method
    for module, names in (
        (multiprocessing.queues, ("Queue", "JoinableQueue", "SimpleQueue")),
        (
            multiprocessing.synchronize,
            ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event", "Barrier"),
        ),
        (multiprocessing.managers, ("BaseManager", "SyncManager")),
    ):
        for name in names:
            setattr(module, name, getattr(pretend_queues, name))
    multiprocessing.connection.Pipe, multiprocessing.connection.wait = pretend_queues.pipe, wait_for_any
    multiprocessing.sharedctypes._new_value = new_value
    multiprocessing.sharedctypes.SynchronizedBase._shared_value = True
    multiprocessing.pool.Pool, multiprocessing.pool.ThreadPool = Pool, ThreadPool
    concurrent.futures.ProcessPoolExecutor = concurrent.futures.process.ProcessPoolExecutor = ProcessPoolExecutor
    for name in PROGRAMS:
        setattr(os, name, refuse_program)
    subprocess.Popen.__init__ = refuse_program
