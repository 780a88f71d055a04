"""What processes that are none (see `pretend_processes`) talk by: queues, pipes, locks, managers."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from pretend_turns import Shared, breathe, copied, stepping_aside, wait_for

# -- queues and pipes --------------------------------------------------------------------------------------------------


class Queue(Shared, queue.Queue):
    """Stands for all four kinds: a bounded one waits, and whoever likes tells that a task is done."""

    def __init__(self, maxsize: int = 0, *, ctx: Any = None) -> None:
        super().__init__(maxsize)

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        item = copied(obj)
        try:
            super().put(item, False)
        except queue.Full:
            if not block:
                raise
            if wait_for(lambda seconds: self.attempt(super(Queue, self).put, item, True, seconds), timeout) is None:
                raise

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return super().get(False)
        except queue.Empty:
            if not block:
                breathe()
                raise
            found = wait_for(lambda seconds: self.attempt(super(Queue, self).get, True, seconds), timeout)
            if found is None:
                raise
            return found[0]

    @staticmethod
    def attempt(method: Callable, *args: Any) -> tuple | None:
        try:
            return (method(*args),)
        except (queue.Empty, queue.Full):
            return None

    def join(self) -> None:
        with stepping_aside():
            super().join()

    def empty(self) -> bool:
        breathe()
        return super().empty()

    def full(self) -> bool:
        breathe()
        return super().full()

    def qsize(self) -> int:
        breathe()
        return super().qsize()

    def close(self) -> None:
        pass

    join_thread = cancel_join_thread = close


JoinableQueue = SimpleQueue = Queue


class Handed(Shared):
    """Something that is passed on as it is."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Channel:
    """One direction of a pipe: what was sent, and how many may still send."""

    def __init__(self) -> None:
        self.items: queue.Queue = queue.Queue()
        self.senders = 0


class Connection:
    """One end of a pipe. A process that gets it gets an end of its own, which closes when it ends."""

    def __init__(self, inbox: Channel | None, outbox: Channel | None) -> None:
        self._inbox, self._outbox, self.closed = inbox, outbox, False
        self.readable, self.writable = inbox is not None, outbox is not None
        if outbox is not None:
            outbox.senders += 1

    def __reduce__(self) -> tuple:
        return reopened, (Handed((self._inbox, self._outbox)),)

    def send(self, obj: Any) -> None:
        if self.closed or not self.writable:
            raise OSError("handle is closed" if self.closed else "connection is read-only")
        self._outbox.items.put(copied(obj))

    def poll(self, timeout: float | None = 0.0) -> bool:
        inbox = self._inbox
        if inbox.items.empty() and inbox.senders and timeout != 0:

            def attempt(seconds: float) -> bool | None:
                if inbox.items.empty() and inbox.senders:
                    time.sleep(min(seconds, 0.001))
                return True if not inbox.items.empty() or not inbox.senders else None

            wait_for(attempt, timeout)
        breathe()
        return not inbox.items.empty() or not inbox.senders

    def recv(self) -> Any:
        if self.closed or not self.readable:
            raise OSError("handle is closed" if self.closed else "connection is write-only")
        if self._inbox.items.empty():
            self.poll(None)
        try:
            return self._inbox.items.get(False)
        except queue.Empty:
            raise EOFError from None

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        self.send(bytes(memoryview(buf)[offset : None if size is None else offset + size]))

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        return self.recv()

    def close(self) -> None:
        if not self.closed and self._outbox is not None:
            self._outbox.senders -= 1
        self.closed = True

    __del__ = close

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def reopened(ends: Handed) -> Connection:
    return Connection(*ends.value)


def pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    one, other = Channel(), Channel()
    return (
        (Connection(one, other), Connection(other, one)) if duplex else (Connection(one, None), Connection(None, one))
    )


# -- locks --------------------------------------------------------------------------------------------------------------


class Lock(Shared):
    make: Callable = threading.Lock

    def __init__(self, *args: Any, ctx: Any = None) -> None:
        self._lock = type(self).make(*args)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        if self._lock.acquire(False):
            return True
        if not block:
            breathe()
            return False
        return wait_for(lambda seconds: self._lock.acquire(True, timeout=seconds) or None, timeout) is not None

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __getattr__(self, name: str) -> Any:  # what a Condition asks a lock that can be taken twice
        return getattr(self.__dict__["_lock"], name)


class RLock(Lock):
    make = threading.RLock


class Semaphore(Lock):
    make = threading.Semaphore

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        super().__init__(value)

    def get_value(self) -> int:
        return self._lock._value


class BoundedSemaphore(Semaphore):
    make = threading.BoundedSemaphore


class Condition(Shared, threading.Condition):
    def __init__(self, lock: Any = None, *, ctx: Any = None) -> None:
        super().__init__(RLock() if lock is None else lock)

    def wait(self, timeout: float | None = None) -> bool:
        with stepping_aside():
            return super().wait(timeout)


class Event(Shared, threading.Event):
    def __init__(self, *, ctx: Any = None) -> None:
        super().__init__()

    def is_set(self) -> bool:
        breathe()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        with stepping_aside():
            return super().wait(timeout)


class Barrier(Shared, threading.Barrier):
    def __init__(self, parties: int, action: Any = None, timeout: float | None = None, *, ctx: Any = None) -> None:
        super().__init__(parties, action, timeout)

    def wait(self, timeout: float | None = None) -> int:
        with stepping_aside():
            return super().wait(timeout)


# -- managers -----------------------------------------------------------------------------------------------------------


class SharedDict(Shared, dict):
    def _getvalue(self) -> dict:
        return dict(self)


class SharedList(Shared, list):
    def _getvalue(self) -> list:
        return list(self)


class Namespace(Shared):
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Value(Shared):
    def __init__(self, typecode: Any, value: Any, lock: bool = True) -> None:
        self.typecode, self.value = typecode, value

    def get(self) -> Any:
        return self.value

    def set(self, value: Any) -> None:
        self.value = value


class BaseManager:
    """A manager without a process of its own: what it gives is shared as it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    @classmethod
    def register(cls, typeid: str, callable: Any = None, *args: Any, **kwargs: Any) -> None:
        def make(self: BaseManager, *args: Any, **kwargs: Any) -> Any:
            return (type(typeid, (Shared, callable), {}) if isinstance(callable, type) else callable)(*args, **kwargs)

        setattr(cls, typeid, make)

    def start(self, *args: Any, **kwargs: Any) -> None:
        pass

    shutdown = connect = join = start

    def __enter__(self) -> BaseManager:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class SyncManager(BaseManager):
    """What ``multiprocessing.Manager()`` gives."""

    dict, list, Namespace, Value = SharedDict, SharedList, Namespace, Value
    Queue = JoinableQueue = Queue
    Lock, RLock, Semaphore, BoundedSemaphore = Lock, RLock, Semaphore, BoundedSemaphore
    Condition, Event, Barrier = Condition, Event, Barrier

    @staticmethod
    def Array(typecode: Any, sequence: Iterable[Any], lock: bool = True) -> SharedList:
        return SharedList(sequence)
