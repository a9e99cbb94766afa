"""Workload for profile-guided builds: `python -m benchmarks.training`.

maturin runs it with an extension that counts (`pgo-command` in pyproject.toml). It does what
programs do: all rows, and, less often, shapes that no row has. So the compiler sees that these
are rare, but not that they never happen. It needs only the standard library and deferrous.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import logging
import pickle
import sys
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise, repeat
from typing import Any

import deferrous as defer
from deferrous import Deferred, Failure, inlineCallbacks

from .concurrency_rows import TRAINING_ROWS
from .rows import ROWS, add, fails, give, ignore, same, trap_and_fail

#: How many operations each row does, at least.
OPERATIONS = 10_000
#: How often each of the shapes is gone through.
TIMES = 300

SHAPES: list[Callable[[], object]] = []


def shape(function: Callable[[], object]) -> Callable[[], object]:
    """Add a function to those that are gone through."""
    SHAPES.append(function)
    return function


def outcomes(*deferreds: Deferred[Any]) -> list[Any]:
    """Take what each has come to; of a failure, the exception."""
    found: list[Any] = []
    for deferred in deferreds:
        deferred.addBoth(lambda r: found.append(r.value if isinstance(r, Failure) else r))
    assert len(found) == len(deferreds)
    return found


def pending(count: int) -> list[Deferred[int]]:
    return [Deferred() for _ in repeat(None, count)]


def fire(deferreds: list[Deferred[int]]) -> None:
    """Fire each with its number; every third fails."""
    for number, deferred in enumerate(deferreds):
        if number % 3 == 2:
            deferred.errback(KeyError(number))
        else:
            deferred.callback(number)


class Call:
    """A delayed call of a clock."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function: Callable[[], None] | None = function

    def active(self) -> bool:
        return self.function is not None

    def cancel(self) -> None:
        self.function = None


class Clock:
    """Time passes when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def callLater(self, seconds: float, function: Callable[[], None]) -> Call:
        self.calls.append(Call(function))
        return self.calls[-1]

    def advance(self) -> None:
        for call in self.calls:
            if call.function:
                function, call.function = call.function, None
                function()


# Chains.


@shape
def long_chain() -> None:
    """As a client of a protocol has it: parse, check, translate errors, clean up."""
    for number in range(4):
        d: Deferred[Any] = Deferred()
        d.addCallback(add, number).addCallback(same)
        d.addCallbacks(fails if number == 3 else same, ignore)
        d.addErrback(trap_and_fail)
        d.addCallbacks(add, ignore, callbackArgs=(1,))
        d.addBoth(same)
        d.addCallbacks(add, give, (1,), None, None, {"other": 0})
        d.addCallback(lambda value, *, more: value if value is None else value + more, more=1)
        d.addErrback(ignore)
        d.callback(number)
        outcomes(d)


@shape
def failing_chain() -> None:
    d: Deferred[Any] = Deferred()
    for _ in repeat(None, 6):
        d.addCallback(same)
    d.addErrback(lambda failure: failure.check(KeyError, ValueError) and failure)
    d.addErrback(lambda failure: failure.trap(KeyError))
    d.addErrback(lambda failure: str(failure.getErrorMessage()))
    d.errback(ValueError("a message"))
    assert outcomes(d) == ["a message"]


@shape
def chained() -> None:
    first, second, third, last = pending(4)
    second.addCallback(give, first)
    third.addCallback(give, second)
    third.chainDeferred(last)
    third.callback(0)
    second.callback(0)
    repr(third)
    first.callback(7)
    assert outcomes(last) == [7]


@shape
def chained_long() -> None:
    deferreds = pending(20)
    for d, following in pairwise(deferreds):
        d.addCallback(give, following).addCallback(same)
    for d in deferreds:
        d.callback(1)
    assert outcomes(deferreds[0]) == [1]


@shape
def reentrant() -> None:
    d: Deferred[Any] = Deferred()

    def add_more(value: Any) -> Any:
        d.addCallback(add, 1)
        return value

    d.addCallback(add_more)
    d.pause()
    d.callback(1)
    d.unpause()
    try:
        d.callback(2)
    except defer.AlreadyCalledError:
        pass
    assert (d.called, d.paused, d.result) == (True, 0, 2)


@shape
def cancelled() -> None:
    canceller, chain, inner = Deferred(lambda d: d.callback(1)), Deferred(), Deferred(ignore)
    canceller.cancel()
    assert outcomes(canceller) == [1]
    chain.addCallback(give, inner)
    chain.callback(None)
    chain.cancel()
    chain.cancel()
    (error,) = outcomes(chain)
    assert isinstance(error, defer.CancelledError)
    late: Deferred[Any] = Deferred()
    late.addErrback(ignore).cancel()
    late.callback("what comes after the cancelling is dropped")


@shape
def timed() -> None:
    clock = Clock()
    slow, quick, told = pending(3)
    slow.addTimeout(1, clock)
    quick.addTimeout(1, clock)
    told.addTimeout(1, clock, lambda result, seconds: seconds)
    quick.callback(1)
    clock.advance()
    error, one, seconds = outcomes(slow, quick, told)
    assert isinstance(error, defer.TimeoutError) and (one, seconds) == (1, 1)


class Named(Deferred[Any]):
    """A subclass, with a method of Deferred's and an attribute."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def callback(self, result: Any) -> None:
        super().callback((self.name, result))


@shape
def subclasses() -> None:
    named = Named("a name")
    named.addCallback(same)
    outer: Deferred[Any] = Deferred()
    outer.addCallback(give, named)
    outer.callback(None)
    named.callback(1)
    assert outcomes(outer) == [("a name", 1)]
    plain: Deferred[Any] = Deferred()
    plain.note = weakref.ref(plain)  # type: ignore[attr-defined]
    assert plain.note() is plain  # type: ignore[attr-defined]


# Generators and coroutines.


@inlineCallbacks
def steps(deferreds: list[Any], *, otherwise: Any = None) -> Iterator[Any]:
    """What functions of programs do between yields, with plain values and failures among them."""
    total = 0
    for d in deferreds:
        try:
            total += yield d
        except KeyError:
            total += yield 1
        finally:
            total += 0
    return total if otherwise is None else otherwise


@inlineCallbacks
def raising(d: Any) -> Iterator[Any]:
    yield d
    defer.returnValue((yield fails()))


@inlineCallbacks
def delegating(deferreds: list[Any]) -> Iterator[Any]:
    first = yield steps(deferreds[:2])
    second = yield steps(deferreds[2:])
    third = yield from steps([1, 2])
    return first + second + third


@shape
def generators() -> None:
    for deferreds in (pending(5), [defer.succeed(1), 2, Deferred()]):
        d = steps(deferreds)
        fire([each for each in deferreds if isinstance(each, Deferred) and not each.called])
        outcomes(d)
    deferreds = pending(6)
    d = delegating(deferreds)
    fire(deferreds)
    error, number = outcomes(raising(defer.succeed(1)), d)
    assert isinstance(error, ValueError) and number > 0
    assert outcomes(steps([], otherwise="none")) == ["none"]


@shape
def generator_cancelled() -> None:
    d = delegating(pending(4))
    d.addErrback(lambda failure: failure.type)
    d.cancel()
    assert outcomes(d) == [defer.CancelledError]

    @inlineCallbacks
    def stubborn() -> Iterator[Any]:
        try:
            yield Deferred()
        except defer.CancelledError:
            return "none the less"

    d = stubborn()
    d.cancel()
    assert outcomes(d) == ["none the less"]


@shape
def coroutines() -> None:
    async def inner(d: Any) -> Any:
        try:
            return await d
        except KeyError:
            return 1

    async def outer(deferreds: list[Any]) -> Any:
        return [await inner(d) for d in deferreds]

    deferreds = pending(6)
    d = Deferred.fromCoroutine(outer(deferreds))
    fire(deferreds)
    given_up = defer.ensureDeferred(outer(pending(1)))
    given_up.cancel()
    numbers, error = outcomes(d, given_up)
    assert len(numbers) == 6 and isinstance(error, defer.CancelledError)


variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)


@shape
def context_variables() -> None:
    @inlineCallbacks
    def counting(d: Deferred[int]) -> Iterator[Any]:
        variable.set(variable.get() + 1)
        yield d
        return variable.get()

    deferreds = pending(2)
    contexts = [contextvars.copy_context() for _ in deferreds]
    started = [c.run(counting, d) for c, d in zip(contexts, deferreds, strict=True)]
    for d in deferreds:
        d.callback(1)
    assert outcomes(*started) == [1, 1]


# Many.


@shape
def lists() -> None:
    for number in range(8):
        deferreds = pending(9)
        flags = {
            "fireOnOneCallback": bool(number & 1),
            "fireOnOneErrback": bool(number & 2),
            "consumeErrors": bool(number & 4),
        }
        gathered = defer.DeferredList(deferreds, **flags)
        fire(deferreds)
        for d in deferreds:
            d.addErrback(ignore)
        outcomes(gathered)
    fired = [defer.succeed(number) for number in range(5)]
    assert outcomes(defer.gatherResults(fired), defer.DeferredList([])) == [[0, 1, 2, 3, 4], []]
    given_up = defer.gatherResults(pending(3), consumeErrors=True)
    given_up.cancel()
    (error,) = outcomes(given_up)
    assert isinstance(error, defer.FirstError)


@shape
def racing() -> None:
    winners, losers = pending(3), pending(3)
    won, lost = defer.race(winners), defer.race(losers)
    winners[1].callback("first")
    for d in losers:
        d.errback(ValueError())
    winner, error = outcomes(won, lost)
    assert winner == (1, "first") and isinstance(error, defer.FailureGroup)


@shape
def waiting() -> None:
    for primitive in (defer.DeferredLock(), defer.DeferredSemaphore(2)):
        work = pending(6)
        runs = [primitive.run(give, None, d) for d in work]
        given_up = primitive.acquire()
        given_up.addErrback(ignore).cancel()
        fire(work)
        outcomes(*runs)

        async def use(held: Any = primitive) -> None:
            async with held:
                await defer.succeed(1)

        outcomes(defer.ensureDeferred(use()))
    queue: Any = defer.DeferredQueue(size=2, backlog=2)
    got = [queue.get(), queue.get()]
    for refused, error in ((queue.get, defer.QueueUnderflow), (queue.put, defer.QueueOverflow)):
        try:
            for _ in repeat(None, 5):
                refused(*[1] * (error is defer.QueueOverflow))
        except error:
            pass
    assert outcomes(*got) == [1, 1]
    queue = defer.DeferredQueue()
    queue.get().addErrback(ignore).cancel()


# Failures, and what else there is.


@shape
def maybe() -> None:
    async def coroutine() -> int:
        return 1

    deferreds = [defer.maybeDeferred(f) for f in (coroutine, Deferred, fails, int)]
    deferreds[1].callback(2)
    one, two, error, zero = outcomes(*deferreds)
    assert (one, two, zero) == (1, 2, 0) and isinstance(error, ValueError)


@shape
def failures() -> None:
    try:
        fails()
    except ValueError as error:
        failure = Failure()
        assert failure.value is error and Failure(KeyError()).check(ValueError) is None
    failure.getTraceback()
    for other in (pickle.loads(pickle.dumps(failure)), copy.copy(failure)):
        assert other.type is ValueError
        try:
            other.raiseException()
        except ValueError:
            Failure(captureVars=True).cleanFailure()


@shape
def debugging() -> None:
    defer.setDebugging(True)
    try:
        d: Deferred[Any] = Deferred()
        d.addCallback(fails).addErrback(ignore)
        d.callback(1)
        d.callback(1)
    except defer.AlreadyCalledError:
        pass
    finally:
        defer.setDebugging(False)


@shape
def unhandled() -> None:
    """Reported when each is dropped, or found by the collector."""
    defer.fail(ValueError())
    cycle: list[Any] = [Deferred(), steps([Deferred()])]
    cycle[0].addCallback(cycle.append)
    cycle[0].errback(KeyError())
    cycle.append(cycle)


@shape
def futures() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        d: Deferred[int] = Deferred()
        loop.call_soon(d.callback, 1)
        assert await d.asFuture(loop) == 1
        future = loop.create_future()
        d = Deferred.fromFuture(future)
        loop.call_soon(future.set_result, 2)
        assert await d.asFuture(loop) == 2
        given_up = Deferred[int]().asFuture(loop)
        given_up.cancel()

    asyncio.run(main())


def main() -> None:
    # What is reported goes nowhere.
    logging.basicConfig(handlers=[logging.NullHandler()])
    for row in ROWS.values():
        row.run(defer, max(1, OPERATIONS // row.items))
    for row in TRAINING_ROWS.values():
        row.run(defer, max(1, OPERATIONS // row.items))
    for each in SHAPES:
        for _ in repeat(None, TIMES):
            each()
        gc.collect()
    count = len(ROWS) + len(TRAINING_ROWS)
    print(f"{count} rows and {len(SHAPES)} shapes, with {sys.version}")


if __name__ == "__main__":
    main()
