"""What is measured: the main rows, each a function of an implementation.

`other_rows/` has those for all else that the package offers.

A row's function takes what looks like `twisted.internet.defer` (with `Failure`), and how many
times it is to do its work. One of `size` items also takes their number, and its work is that on
all of them. Everything it does is timed: creating what it works on, and letting go of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

Run = Callable[..., Any]


@dataclass(frozen=True)
class Row:
    #: Names the row in files and on the command line: the name of its function, and its size.
    key: str
    #: Says in a table what one operation is.
    title: str
    #: The least factor by which this must be faster than Twisted.
    target: float
    function: Run
    #: Of how many items the work is: the time is per item. None if there are none.
    size: int | None = None
    #: Which of Twisted's public names this is about, such as `Deferred.callback`.
    of: tuple[str, ...] = ()
    #: The part of the table that it is in.
    group: str = "main"

    @property
    def items(self) -> int:
        """How many operations one piece of work is."""
        return self.size or 1

    def run(self, implementation: Any, n: int) -> None:
        """Do the work `n` times."""
        if self.size is None:
            self.function(implementation, n)
        else:
            self.function(implementation, n, self.size)


ROWS: dict[str, Row] = {}


def row(title: str, target: float, size: int | None = None, of: str = "") -> Callable[[Run], Run]:
    """Add a function to the table, once for each size. `of` is names, with spaces between."""

    def add(function: Run) -> Run:
        key = function.__name__ if size is None else f"{function.__name__}_{size}"
        ROWS[key] = Row(key, title, target, function, size, tuple(of.split()))
        return function

    return add


# What is called: the same plain functions for all.


def add(value: int, number: int) -> int:
    return value + number


def same(value: Any) -> Any:
    return value


def ignore(failure: Any) -> None:
    return None


def give(value: Any, other: Any) -> Any:
    return other


def fails(value: Any = None) -> None:
    raise ValueError


def trap_and_fail(failure: Any) -> None:
    failure.trap(ValueError)
    raise KeyError


def coroutines(depth: int) -> Run:
    """A coroutine function that awaits another, and so on; the innermost awaits its argument."""

    async def innermost(awaitable):
        return await awaitable

    def outer(function):
        async def coroutine(awaitable):
            return await function(awaitable)

        return coroutine

    function = innermost
    for _ in repeat(None, depth - 1):
        function = outer(function)
    return function


# One Deferred.


@row("create", 2.2)
def create(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        Deferred()


@row("create, fire", 5, of="Deferred.callback")
def create_fire(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        Deferred().callback(1)


@row("create, one callback with an argument, fire", 5, of="Deferred.addCallback")
def one_callback(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(add, 1)
        d.callback(1)


@row("four callbacks with an argument, then fire", 6)
def four_then_fire(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(add, 1)
        d.addCallback(add, 2)
        d.addCallback(add, 3)
        d.addCallback(add, 4)
        d.callback(1)


@row("fire, then four callbacks with an argument", 8)
def fire_then_four(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.callback(1)
        d.addCallback(add, 1)
        d.addCallback(add, 2)
        d.addCallback(add, 3)
        d.addCallback(add, 4)


@row("100,000 callbacks, per callback", 50, 100_000)
@row("1,000 callbacks, per callback", 7, 1_000)
def callbacks(defer: Any, n: int, size: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        for _ in repeat(None, size):
            d.addCallback(same)
        d.callback(1)


@row("errbacks: raise, trap, raise, swallow", 7, of="succeed Deferred.addErrback Deferred.addBoth")
def errbacks(defer: Any, n: int) -> None:
    succeed = defer.succeed
    for _ in repeat(None, n):
        d = succeed(1)
        d.addCallback(fails)
        d.addErrback(trap_and_fail)
        d.addBoth(ignore)


@row("chained, already fired", 8)
def chained_fired(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        inner = Deferred()
        inner.callback(1)
        outer = Deferred()
        outer.addCallback(give, inner)
        outer.addCallback(same)
        outer.callback(1)


@row("chained, not fired", 8)
def chained_pending(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        inner = Deferred()
        outer = Deferred()
        outer.addCallback(give, inner)
        outer.addCallback(same)
        outer.callback(1)
        inner.callback(1)


# Generators.


@row("generator: one fired yield", 10, of="inlineCallbacks")
def yield_once(defer: Any, n: int) -> None:
    succeed = defer.succeed

    @defer.inlineCallbacks
    def generator():
        yield succeed(1)

    for _ in repeat(None, n):
        generator()


@row("generator: 1,000 fired, per yield", 15, 1_000)
def yield_fired(defer: Any, n: int, size: int) -> None:
    succeed = defer.succeed

    @defer.inlineCallbacks
    def generator():
        for _ in repeat(None, size):
            yield succeed(1)

    for _ in repeat(None, n):
        generator()


@row("generator: 1,000 pending, per yield", 9, 1_000)
def yield_pending(defer: Any, n: int, size: int) -> None:
    Deferred = defer.Deferred

    @defer.inlineCallbacks
    def generator(deferreds):
        for d in deferreds:  # noqa: UP028  (a list's iterator cannot be sent to)
            yield d

    for _ in repeat(None, n):
        deferreds = [Deferred() for _ in repeat(None, size)]
        generator(deferreds)
        for d in deferreds:
            d.callback(1)


@row("inlineCallbacks nested 100 deep, per level", 13, 100)
@row("inlineCallbacks nested 10 deep, per level", 11, 10)
def nested(defer: Any, n: int, size: int) -> None:
    Deferred = defer.Deferred

    def outer(function):
        @defer.inlineCallbacks
        def generator(d):
            return (yield function(d))

        return generator

    function = same
    for _ in repeat(None, size):
        function = outer(function)
    for _ in repeat(None, n):
        d = Deferred()
        function(d)
        d.callback(1)


# Coroutines.


@row("`await` of a fired Deferred", 3.5, 1_000, of="ensureDeferred Deferred.__await__")
def await_fired(defer: Any, n: int, size: int) -> None:
    succeed = defer.succeed

    async def coroutine():
        for _ in repeat(None, size):
            await succeed(1)

    for _ in repeat(None, n):
        defer.ensureDeferred(coroutine())


@row("`await` of a pending Deferred", 8, 1_000)
def await_pending(defer: Any, n: int, size: int) -> None:
    Deferred = defer.Deferred

    async def coroutine(deferreds):
        for d in deferreds:
            await d

    for _ in repeat(None, n):
        deferreds = [Deferred() for _ in repeat(None, size)]
        defer.ensureDeferred(coroutine(deferreds))
        for d in deferreds:
            d.callback(1)


@row("coroutines 10 deep that await a pending Deferred", 5)
def coroutine_10(defer: Any, n: int) -> None:
    Deferred, ensureDeferred = defer.Deferred, defer.ensureDeferred
    function = coroutines(10)
    for _ in repeat(None, n):
        d = Deferred()
        ensureDeferred(function(d))
        d.callback(1)


# Many.


@row("gatherResults of 1,000, per item", 10, 1_000, of="gatherResults")
def gather_results(defer: Any, n: int, size: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        deferreds = [Deferred() for _ in repeat(None, size)]
        defer.gatherResults(deferreds)
        for d in deferreds:
            d.callback(1)


@row("DeferredList of 1,000, per item", 10, 1_000)
def deferred_list(defer: Any, n: int, size: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        deferreds = [Deferred() for _ in repeat(None, size)]
        defer.DeferredList(deferreds)
        for d in deferreds:
            d.callback(1)


@row("lock, uncontended", 6, of="DeferredLock.acquire DeferredLock.release")
def lock(defer: Any, n: int) -> None:
    lock = defer.DeferredLock()
    for _ in repeat(None, n):
        lock.acquire()
        lock.release()


@row("semaphore, uncontended", 6, of="DeferredSemaphore.acquire DeferredSemaphore.release")
def semaphore(defer: Any, n: int) -> None:
    semaphore = defer.DeferredSemaphore(1)
    for _ in repeat(None, n):
        semaphore.acquire()
        semaphore.release()


@row("queue, put and get", 6, of="DeferredQueue.put DeferredQueue.get")
def queue(defer: Any, n: int) -> None:
    queue = defer.DeferredQueue()
    for _ in repeat(None, n):
        queue.put(1)
        queue.get()


@row("lock, 10,000 waiting, per waiter", 8, 10_000)
def lock_waiting(defer: Any, n: int, size: int) -> None:
    lock = defer.DeferredLock()
    for _ in repeat(None, n):
        lock.acquire()
        for _ in repeat(None, size):
            lock.acquire()
        for _ in repeat(None, size):
            lock.release()
        lock.release()


@row("semaphore, 10,000 waiting, per waiter", 8, 10_000)
def semaphore_waiting(defer: Any, n: int, size: int) -> None:
    semaphore = defer.DeferredSemaphore(1)
    for _ in repeat(None, n):
        semaphore.acquire()
        for _ in repeat(None, size):
            semaphore.acquire()
        for _ in repeat(None, size):
            semaphore.release()
        semaphore.release()


@row("queue, 10,000 waiting, per waiter", 8, 10_000)
def queue_waiting(defer: Any, n: int, size: int) -> None:
    queue = defer.DeferredQueue()
    for _ in repeat(None, n):
        for _ in repeat(None, size):
            queue.get()
        for _ in repeat(None, size):
            queue.put(1)


# Failures.


@row("cancel a pending Deferred", 8, of="Deferred.cancel")
def cancel(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addErrback(ignore)
        d.cancel()


@row("maybeDeferred, a value", 5, of="maybeDeferred")
def maybe_value(defer: Any, n: int) -> None:
    maybeDeferred = defer.maybeDeferred
    for _ in repeat(None, n):
        maybeDeferred(same, 1)


@row("maybeDeferred, an exception", 6)
def maybe_raise(defer: Any, n: int) -> None:
    maybeDeferred = defer.maybeDeferred
    for _ in repeat(None, n):
        maybeDeferred(fails).addErrback(ignore)


@row("Failure() in an except clause", 3.5)
def failure(defer: Any, n: int) -> None:
    Failure = defer.Failure
    try:
        fails()
    except ValueError:
        for _ in repeat(None, n):
            Failure()


@row("Failure.check, a hit", 5, of="Failure.check")
def check(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check(ValueError)


@row("Failure.trap, a hit", 5, of="Failure.trap")
def trap(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.trap(ValueError)


@row("generator: a failed yield, caught", 7, 1_000, of="fail")
def yield_failed(defer: Any, n: int, size: int) -> None:
    fail = defer.fail

    @defer.inlineCallbacks
    def generator():
        for _ in repeat(None, size):
            try:
                yield fail(ValueError())
            except ValueError:
                pass

    for _ in repeat(None, n):
        generator()
