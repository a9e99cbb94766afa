"""Rows about several that wait, and about giving up."""

from __future__ import annotations

from itertools import pairwise, repeat
from typing import Any

from ..rows import give, ignore, same
from .table import Clock, group

row = group("waiting and giving up")


@row("DeferredList of ten, one fails, errors consumed, per item", 5, 10)
def list_ten(defer: Any, n: int, size: int) -> None:
    Deferred, DeferredList, error = defer.Deferred, defer.DeferredList, ValueError()
    for _ in repeat(None, n):
        deferreds = [Deferred() for _ in repeat(None, size)]
        DeferredList(deferreds, consumeErrors=True)
        deferreds[0].errback(error)
        for d in deferreds[1:]:
            d.callback(1)


@row("DeferredList of three, fireOnOneCallback", 5)
def list_first(defer: Any, n: int) -> None:
    Deferred, DeferredList = defer.Deferred, defer.DeferredList
    for _ in repeat(None, n):
        deferreds = [Deferred(), Deferred(), Deferred()]
        DeferredList(deferreds, fireOnOneCallback=True).addCallback(same)
        for d in deferreds:
            d.callback(1)


@row("gatherResults of two of two", 5)
def gathered_nested(defer: Any, n: int) -> None:
    Deferred, gatherResults = defer.Deferred, defer.gatherResults
    for _ in repeat(None, n):
        deferreds = [Deferred() for _ in repeat(None, 4)]
        gatherResults([gatherResults(deferreds[:2]), gatherResults(deferreds[2:])])
        for d in deferreds:
            d.callback(1)


@row("gatherResults of ten, cancelled", 5)
def gathered_cancelled(defer: Any, n: int) -> None:
    Deferred, gatherResults = defer.Deferred, defer.gatherResults
    for _ in repeat(None, n):
        d = gatherResults([Deferred() for _ in repeat(None, 10)], consumeErrors=True)
        d.addErrback(ignore)
        d.cancel()


@row("race of two, cancelled", 5)
def race_cancelled(defer: Any, n: int) -> None:
    Deferred, race = defer.Deferred, defer.race
    for _ in repeat(None, n):
        d = race([Deferred(), Deferred()])
        d.addErrback(ignore)
        d.cancel()


@row("a new lock, three that acquire it with a callback, per one", 5, 3)
def lock_three(defer: Any, n: int, size: int) -> None:
    DeferredLock = defer.DeferredLock
    for _ in repeat(None, n):
        lock = DeferredLock()
        for _ in repeat(None, size):
            lock.acquire().addCallback(same)
        for _ in repeat(None, size):
            lock.release()


@row("DeferredLock.acquire, cancelled", 5)
def lock_cancelled(defer: Any, n: int) -> None:
    lock = defer.DeferredLock()
    lock.acquire()
    for _ in repeat(None, n):
        d = lock.acquire()
        d.addErrback(ignore)
        d.cancel()


@row("DeferredSemaphore.run of what waits", 5)
def semaphore_pending(defer: Any, n: int) -> None:
    Deferred, semaphore = defer.Deferred, defer.DeferredSemaphore(2)
    for _ in repeat(None, n):
        d = Deferred()
        semaphore.run(same, d)
        d.callback(1)


@row("a lock of a subclass with an `__init__`: made, acquired, released", 2)
def lock_of_subclass(defer: Any, n: int) -> None:
    class Lock(defer.DeferredLock):
        def __init__(self):
            super().__init__()
            self.name = None

    for _ in repeat(None, n):
        lock = Lock()
        lock.acquire()
        lock.release()


@row("addTimeout, a failure in time", 4)
def failed_in_time(defer: Any, n: int) -> None:
    Deferred, clock, error = defer.Deferred, Clock(), ValueError()
    for _ in repeat(None, n):
        d = Deferred()
        d.addTimeout(timeout=1, clock=clock)
        d.addErrback(ignore)
        d.errback(error)


@row("addTimeout, timed out, its canceller fires it", 4)
def timed_out_fired(defer: Any, n: int) -> None:
    def canceller(d):
        d.callback(None)

    Deferred, clock = defer.Deferred, Clock()
    for _ in repeat(None, n):
        d = Deferred(canceller)
        d.addTimeout(1, clock)
        clock.call.run()


@row("inlineCallbacks that yields what has a timeout, in time", 5)
def yielded_in_time(defer: Any, n: int) -> None:
    Deferred, clock = defer.Deferred, Clock()

    @defer.inlineCallbacks
    def generator(d):
        yield d.addTimeout(1, clock)

    for _ in repeat(None, n):
        d = Deferred()
        generator(d)
        d.callback(1)


@row("cancel, and the canceller fails it", 5)
def canceller_fails(defer: Any, n: int) -> None:
    Deferred, error = defer.Deferred, ValueError()

    def canceller(d):
        d.errback(error)

    for _ in repeat(None, n):
        d = Deferred(canceller)
        d.addErrback(ignore)
        d.cancel()


@row("cancel of one that waits for 20 others, per one", 5, 20)
def cancel_chain(defer: Any, n: int, size: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        deferreds = [Deferred() for _ in repeat(None, size)]
        for outer, inner in pairwise(deferreds):
            outer.addCallback(give, inner)
            outer.callback(1)
        deferreds[0].addErrback(ignore)
        deferreds[0].cancel()


@row("cancelled, then fired in vain", 5)
def fired_in_vain(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addErrback(ignore)
        d.cancel()
        d.callback(1)


@row("addTimeout of gatherResults of two, in time", 5)
def gathered_in_time(defer: Any, n: int) -> None:
    Deferred, clock = defer.Deferred, Clock()
    for _ in repeat(None, n):
        deferreds = [Deferred(), Deferred()]
        defer.gatherResults(deferreds).addTimeout(1, clock)
        for d in deferreds:
            d.callback(1)


@row("one callback that fires ten Deferreds, per one", 5, 10)
def fires_ten(defer: Any, n: int, size: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        waiting = [Deferred().addCallback(same) for _ in range(size)]

        def fire_all(value, waiting=waiting):
            for d in waiting:
                d.callback(value)

        d = Deferred()
        d.addCallback(fire_all)
        d.callback(1)


@row("gatherResults, one fails, and an errback looks at `subFailure`", 5)
def sub_failure(defer: Any, n: int) -> None:
    succeed, fail, error = defer.succeed, defer.fail, ValueError()

    def look(failure):
        failure.trap(defer.FirstError)
        return failure.value.subFailure.value

    for _ in repeat(None, n):
        defer.gatherResults([succeed(1), fail(error)], consumeErrors=True).addErrback(look)
