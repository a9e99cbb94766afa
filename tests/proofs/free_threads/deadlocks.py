"""A program's code that runs in the middle of our work, and waits for a thread that needs us.

If we held a lock meanwhile, that thread would wait for it, and neither would ever go on.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

from deferrous import (
    Deferred,
    DeferredLock,
    DeferredQueue,
    DeferredSemaphore,
    QueueUnderflow,
    concurrency,
    gatherResults,
)

from .parts import PATIENCE, at_once


def elsewhere(work: Callable[[], object]) -> None:
    """Have another thread do something, and wait until it has."""
    at_once(work)


def _ignore(_: object) -> None:
    pass


def _quietly(waiting: Any) -> None:
    """Wait for something no more."""
    waiting.addErrback(_ignore)
    waiting.cancel()


def _deferred() -> Callable[[], None]:
    chained: list[Deferred[Any]] = [Deferred()]

    def use() -> None:
        before, after = chained[0], Deferred[Any]()
        chained[0] = after
        before.addCallback(lambda _: after)
        if not before.called:
            before.callback(None)
        both = gatherResults([before, Deferred()], consumeErrors=True)
        both.addErrback(_ignore).cancel()

    return use


def _lock(lock: Any) -> Callable[[], None]:
    def use() -> None:
        lock.acquire().addCallback(lambda _: lock.release())
        _quietly(lock.acquire().addCallback(lambda _: lock.release()))

    return use


def _old_queue() -> Callable[[], None]:
    queue: DeferredQueue[int] = DeferredQueue()

    def use() -> None:
        queue.put(1)
        queue.get()
        _quietly(queue.get())

    return use


def _queue(queue: Any) -> Callable[[], None]:
    def use() -> None:
        _quietly(queue.put(1))
        _quietly(queue.get())
        queue.put(1)
        _quietly(queue.get())
        queue.join()

    return use


def _channel() -> Callable[[], None]:
    channel: concurrency.Channel[int] = concurrency.Channel(1)

    def use() -> None:
        _quietly(channel.send(1))
        _quietly(channel.receive())

    return use


def _broadcast() -> Callable[[], None]:
    broadcast: concurrency.Broadcast[int] = concurrency.Broadcast(2)

    def use() -> None:
        subscription = broadcast.subscribe()
        _quietly(broadcast.send(1))
        _quietly(subscription.get())
        _quietly(subscription.get())
        subscription.close()

    return use


def _event() -> Callable[[], None]:
    event = concurrency.Event()

    def use() -> None:
        event.wait()
        _quietly(event.wait())
        event.set()
        event.clear()

    return use


def _barrier() -> Callable[[], None]:
    barrier = concurrency.Barrier(2)

    def use() -> None:
        barrier.wait().addErrback(_ignore)
        _quietly(barrier.wait())
        barrier.reset()

    return use


def _condition() -> Callable[[], None]:
    condition = concurrency.Condition()

    def use() -> None:
        def acquired(_: object) -> None:
            waiting = condition.wait()
            waiting.addCallback(lambda _: condition.release())
            condition.acquire().addCallback(notify)

        def notify(_: object) -> None:
            condition.notify_all()
            condition.release()

        condition.acquire().addCallback(acquired)

    return use


#: How each kind of object is used, by any thread.
USES: dict[str, Callable[[], Callable[[], None]]] = {
    "Deferred": _deferred,
    "DeferredLock": lambda: _lock(DeferredLock()),
    "DeferredSemaphore": lambda: _lock(DeferredSemaphore(1)),
    "DeferredQueue": _old_queue,
    "Event": _event,
    "Barrier": _barrier,
    "Condition": _condition,
    "Semaphore": lambda: _lock(concurrency.Semaphore()),
    "ReadWriteLock.reading": lambda: _lock(concurrency.ReadWriteLock().reading),
    "ReadWriteLock.writing": lambda: _lock(concurrency.ReadWriteLock().writing),
    "KeyedLock": lambda: _lock(concurrency.KeyedLock[str]()("key")),
    "Queue": lambda: _queue(concurrency.Queue[int](1)),
    "PriorityQueue": lambda: _queue(concurrency.PriorityQueue[int](1)),
    "LifoQueue": lambda: _queue(concurrency.LifoQueue[int](1)),
    "Channel": _channel,
    "Broadcast": _broadcast,
}


class Finalized:
    """A circle whose finalizer does something in another thread, and waits for that."""

    left = 0

    def __init__(self, use: Callable[[], None]) -> None:
        self.use = use
        self.circle = self

    def __del__(self) -> None:
        if Finalized.left > 0:
            Finalized.left -= 1
            elsewhere(self.use)


def collected(rng: random.Random) -> None:
    """A collection comes at any time, and a finalizer waits for a thread that uses the object."""
    name = rng.choice([*USES])
    use = USES[name]()
    Finalized.left = 20
    threshold = gc.get_threshold()
    gc.set_threshold(1, 0, 0)
    try:
        for _ in range(60):
            Finalized(use)
            use()
    finally:
        gc.set_threshold(*threshold)
        Finalized.left = 0


def signalled(rng: random.Random) -> None:
    """A trace function runs at any call, and waits for a thread that uses the object."""
    use = USES[rng.choice([*USES])]()
    left = [rng.randrange(40)]

    def trace(frame: Any, event: str, _: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            elsewhere(use)
        return trace if "deferrous" in frame.f_code.co_filename else None

    sys.settrace(trace)
    try:
        for _ in range(5):
            use()
    finally:
        sys.settrace(None)


def called_back(rng: random.Random) -> None:
    """Callbacks wait for a thread that uses the object."""
    for make in USES.values():
        use = make()
        event, done = concurrency.Event(), []
        event.wait().addCallback(lambda _, use=use, done=done: done.append(elsewhere(use)))
        event.set()
        assert done == [None]
    lock = DeferredLock()
    lock.acquire()
    lock.acquire().addCallback(lambda _: elsewhere(lambda: lock.acquire() and None))
    lock.release()
    queue: concurrency.Queue[int] = concurrency.Queue()
    queue.get().addCallback(lambda _: elsewhere(lambda: queue.put(2)))
    queue.put(1)
    assert queue.get_nowait() == 2


class Compared:
    """An item whose comparisons wait for another thread that uses the queue."""

    work: Callable[[], None] | None = None

    def __init__(self, number: int) -> None:
        self.number = number

    def __lt__(self, other: Compared) -> bool:
        work, Compared.work = Compared.work, None
        if work is not None:
            elsewhere(work)
        return self.number < other.number


def compared(rng: random.Random) -> None:
    """Items that are compared wait for a thread that puts and gets."""
    queue: concurrency.PriorityQueue[Compared] = concurrency.PriorityQueue(5)
    got: list[int] = []
    for number in rng.sample(range(100), 5):
        queue.put(Compared(number))

    def use() -> None:
        got.append(queue.get_nowait().number)
        queue.put_nowait(Compared(rng.randrange(100)))

    for _ in range(5):
        Compared.work = use
        got.append(queue.get_nowait().number)
        Compared.work = use
        queue.put(Compared(rng.randrange(100))).addErrback(_ignore)
    Compared.work = None
    while queue.qsize():
        got.append(queue.get_nowait().number)
    assert len(got) >= 20, got


class Key:
    """A key whose comparisons wait for another thread that uses the lock."""

    work: Callable[[], object] | None = None

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        work, Key.work = Key.work, None
        if work is not None:
            elsewhere(work)
        return isinstance(other, Key)


def keyed(rng: random.Random) -> None:
    """Keys that are compared wait for a thread that uses the lock of an equal one."""
    lock: concurrency.KeyedLock[Key] = concurrency.KeyedLock()
    held: list[int] = []

    def hold(_: object) -> None:
        held.append(1)
        assert len(held) == 1, "two hold it"
        held.pop()
        lock(Key()).release()

    def use() -> None:
        lock(Key()).acquire().addCallback(hold)

    for _ in range(20):
        for step in (lambda: lock(Key()).acquire(), lambda: lock(Key()).release()):
            left = [rng.randrange(3)]

            def work(left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] >= 0:
                    Key.work = work
                use()

            Key.work = work
            step()
    Key.work = None
    assert len(lock) == 0, lock


class Dropped:
    """An item that waits, as it dies, for a thread that uses what it was in."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work

    def __del__(self) -> None:
        elsewhere(self.work)


def dropped(rng: random.Random) -> None:
    """What is dropped as a queue is shut down waits for a thread that uses it."""
    queue: concurrency.Queue[Any] = concurrency.Queue(2)
    for _ in range(3):
        queue.put(Dropped(lambda: queue.get().addErrback(_ignore))).addErrback(_ignore)
    queue.shutdown(immediate=True)
    broadcast: concurrency.Broadcast[Any] = concurrency.Broadcast()
    subscription = broadcast.subscribe()
    broadcast.send(Dropped(lambda: broadcast.send(1)))
    subscription.close()
    old: DeferredQueue[Any] = DeferredQueue()
    old.put(Dropped(lambda: old.put(1)))
    old.pending.clear()
    deferred: Deferred[Any] = Deferred()
    deferred.callback(Dropped(lambda: deferred.addCallback(_ignore)))
    deferred.addCallback(_ignore)


class Own(concurrency.Queue[int]):
    """A queue with methods of its own, which wait for a thread that uses it."""

    work: Callable[[], object] | None = None

    def _put(self, item: int) -> None:
        self._elsewhere()
        super()._put(item)

    def _get(self) -> int:
        self._elsewhere()
        return super()._get()

    def _elsewhere(self) -> None:
        work, self.work = self.work, None
        if work is not None:
            elsewhere(work)


def own_methods(rng: random.Random) -> None:
    """A queue's own methods wait for a thread that uses it."""
    queue = Own()
    queue.work = lambda: queue.put(1)
    queue.put(2)
    queue.work = lambda: queue.get_nowait()
    queue.put(3)
    queue.get_nowait()


class Asked:
    """Something that waits for another thread as it is asked for its class."""

    work: Callable[[], object] | None = None

    @property
    def __class__(self) -> Any:
        work, Asked.work = Asked.work, None
        if work is not None:
            elsewhere(work)
        return Asked


def asked(rng: random.Random) -> None:
    """What is handed over is asked for its class, and waits for a thread that uses the object."""
    queue: concurrency.Queue[Any] = concurrency.Queue()
    waiting = queue.get()
    Asked.work = lambda: queue.get()
    queue.put(Asked())
    assert waiting.called
    Asked.work = lambda: queue.put(1)
    queue.get()
    queue.put(Asked())
    old: DeferredQueue[Any] = DeferredQueue()
    old.get()
    Asked.work = lambda: old.get()
    old.put(Asked())
    deferred: Deferred[Any] = Deferred()
    Asked.work = lambda: deferred.addCallback(_ignore)
    deferred.callback(Asked())
    Asked.work = None
    try:
        DeferredQueue(0, 0).get()
    except QueueUnderflow:
        pass


def forked(rng: random.Random) -> None:
    """A process is forked while other threads use an object: in the child it can be used."""
    use = USES[rng.choice([*USES])]()
    ends = threading.Event()

    def work() -> None:
        while not ends.is_set():
            use()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            # What another thread was about to change may be half changed.
            signal.alarm(PATIENCE)
            for _ in range(20):
                try:
                    use()
                except Exception:
                    pass
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
    ends.set()
    for thread in threads:
        thread.join()


PROGRAMS = (collected, signalled, called_back, compared, keyed, dropped, own_methods, asked, forked)
