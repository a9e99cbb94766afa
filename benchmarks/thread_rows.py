"""The rows of `python -m benchmarks threads`: functions of an implementation and a number.

Each thread that is measured executes this file anew, so that all functions are its own, as are the
Deferreds. (What threads share, such as the reference count of a function, they take turns at.)
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

#: What one operation is, and how many of them one piece of work is.
ROWS: dict[str, tuple[Callable[[Any, int], None], int]] = {}

TEN = range(10)


def row(title: str, items: int = 1) -> Callable[[Any], Any]:
    """Add a function to the table."""

    def add(function: Any) -> Any:
        ROWS[title] = (function, items)
        return function

    return add


def same(value: Any) -> Any:
    return value


def give(value: Any, other: Any) -> Any:
    return other


def ignore(failure: Any) -> None:
    return None


@row("Make, add a callback, fire")
def one_callback(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(same)
        d.callback(1)


@row("The same with five callbacks")
def five_callbacks(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(same)
        d.addCallback(same)
        d.addCallback(same)
        d.addCallback(same)
        d.addCallback(same)
        d.callback(1)


@row("Fail, with an errback")
def failed(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addErrback(ignore)
        d.errback(ValueError())


@row("Wait for an inner Deferred")
def chained(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        inner = Deferred()
        outer = Deferred()
        outer.addCallback(give, inner)
        outer.callback(1)
        inner.callback(1)


@row("Await a result that is there", 10)
def await_fired(defer: Any, n: int) -> None:
    succeed = defer.succeed

    async def coroutine() -> None:
        for _ in TEN:
            await succeed(1)

    for _ in repeat(None, n):
        defer.ensureDeferred(coroutine())


@row("Await one that is not")
def await_pending(defer: Any, n: int) -> None:
    Deferred = defer.Deferred

    async def coroutine(d: Any) -> None:
        await d

    for _ in repeat(None, n):
        d = Deferred()
        defer.ensureDeferred(coroutine(d))
        d.callback(1)


@row("Yield a result that is there", 10)
def yield_fired(defer: Any, n: int) -> None:
    succeed = defer.succeed

    @defer.inlineCallbacks
    def generator() -> Any:
        for _ in TEN:
            yield succeed(1)

    for _ in repeat(None, n):
        generator()


@row("Yield one that is not")
def yield_pending(defer: Any, n: int) -> None:
    Deferred = defer.Deferred

    @defer.inlineCallbacks
    def generator(d: Any) -> Any:
        yield d

    for _ in repeat(None, n):
        d = Deferred()
        generator(d)
        d.callback(1)


@row("Gather, for each of ten", 10)
def gather(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        deferreds = [Deferred() for _ in TEN]
        defer.gatherResults(deferreds)
        for d in deferreds:
            d.callback(1)


@row("Acquire and release a lock")
def lock(defer: Any, n: int) -> None:
    lock = defer.DeferredLock()
    for _ in repeat(None, n):
        lock.acquire()
        lock.release()


@row("Acquire and release a semaphore")
def semaphore(defer: Any, n: int) -> None:
    semaphore = defer.DeferredSemaphore(1)
    for _ in repeat(None, n):
        semaphore.acquire()
        semaphore.release()


@row("Wait for a lock, for each of ten", 10)
def lock_waiting(defer: Any, n: int) -> None:
    lock = defer.DeferredLock()
    for _ in repeat(None, n):
        lock.acquire()
        for _ in TEN:
            lock.acquire()
        for _ in TEN:
            lock.release()
        lock.release()


@row("Put into a queue, and get")
def queue(defer: Any, n: int) -> None:
    queue = defer.DeferredQueue()
    for _ in repeat(None, n):
        queue.put(1)
        queue.get()


@row("Make an object and call a method, without a Deferred")
def plain(defer: Any, n: int) -> None:
    class Plain:
        __slots__ = ("value",)

        def set(self, value: Any) -> None:
            self.value = value

    for _ in repeat(None, n):
        it = Plain()
        it.set(same(1))
