"""Rows about generators and coroutines as programs have them."""

from __future__ import annotations

from itertools import repeat
from typing import Any

from ..rows import ignore, same
from .table import Mistake, group

row = group("generators and coroutines")


@row("inlineCallbacks: returns before it yields", 5)
def returns_early(defer: Any, n: int) -> None:
    @defer.inlineCallbacks
    def generator(early):
        if early:
            return 1
        yield

    for _ in repeat(None, n):
        generator(True)


@row("inlineCallbacks: raises before it yields, swallowed", 5)
def raises_early(defer: Any, n: int) -> None:
    @defer.inlineCallbacks
    def generator(early):
        if early:
            raise Mistake
        yield

    for _ in repeat(None, n):
        generator(True).addErrback(ignore)


@row("inlineCallbacks: three yields of no Deferreds", 5)
def no_deferreds(defer: Any, n: int) -> None:
    @defer.inlineCallbacks
    def generator():
        yield 1
        yield None
        yield "text"

    for _ in repeat(None, n):
        generator()


@row("inlineCallbacks: two calls of another, with a default and by keyword alone", 5)
def calls_another(defer: Any, n: int) -> None:
    succeed = defer.succeed

    @defer.inlineCallbacks
    def inner(one, two=2, *, three=3):
        result = yield succeed(one)
        return result + two + three

    @defer.inlineCallbacks
    def generator():
        result = yield inner(1)
        return (yield inner(result, three=4))

    for _ in repeat(None, n):
        generator()


@row("inlineCallbacks that calls itself ten times, per call", 5, 10)
def recursive(defer: Any, n: int, size: int) -> None:
    @defer.inlineCallbacks
    def generator(left):
        if left:
            return (yield generator(left - 1))
        return 1

    for _ in repeat(None, n):
        generator(size)


@row("inlineCallbacks: another raises, caught", 5)
def other_raises(defer: Any, n: int) -> None:
    succeed = defer.succeed

    @defer.inlineCallbacks
    def inner():
        yield succeed(1)
        raise Mistake

    @defer.inlineCallbacks
    def generator():
        try:
            yield inner()
        except Mistake:
            return None

    for _ in repeat(None, n):
        generator()


@row("inlineCallbacks: acquire, yield, release in a finally clause", 5)
def locked(defer: Any, n: int) -> None:
    succeed, lock = defer.succeed, defer.DeferredLock()

    @defer.inlineCallbacks
    def generator():
        yield lock.acquire()
        try:
            yield succeed(1)
        finally:
            lock.release()

    for _ in repeat(None, n):
        generator()


@row("inlineCallbacks: a class method", 5)
def class_method(defer: Any, n: int) -> None:
    class Class:
        @classmethod
        @defer.inlineCallbacks
        def method(cls, one):
            return (yield defer.succeed(one))

    for _ in repeat(None, n):
        Class.method(1)


@row("inlineCallbacks: cancelled, caught within", 5)
def cancelled_within(defer: Any, n: int) -> None:
    Deferred, CancelledError = defer.Deferred, defer.CancelledError

    @defer.inlineCallbacks
    def generator():
        try:
            yield Deferred()
        except CancelledError:
            return None

    for _ in repeat(None, n):
        generator().cancel()


@row("inlineCallbacks 20 deep, cancelled, per level", 4, 20)
def cancelled_deep(defer: Any, n: int, size: int) -> None:
    Deferred = defer.Deferred

    @defer.inlineCallbacks
    def generator(left):
        yield generator(left - 1) if left else Deferred()

    for _ in repeat(None, n):
        d = generator(size - 1)
        d.addErrback(ignore)
        d.cancel()


@row("a coroutine that raises, swallowed", 4)
def coroutine_raises(defer: Any, n: int) -> None:
    async def coroutine():
        raise Mistake

    ensureDeferred = defer.ensureDeferred
    for _ in repeat(None, n):
        ensureDeferred(coroutine()).addErrback(ignore)


@row("a coroutine that awaits a failure, caught", 4)
def coroutine_caught(defer: Any, n: int) -> None:
    ensureDeferred, fail, error = defer.ensureDeferred, defer.fail, Mistake()

    async def coroutine():
        try:
            await fail(error)
        except Mistake:
            return None

    for _ in repeat(None, n):
        ensureDeferred(coroutine())
        error.__traceback__ = None


@row("a coroutine with an `async with` of a program's own", 3)
def coroutine_with(defer: Any, n: int) -> None:
    ensureDeferred, succeed = defer.ensureDeferred, defer.succeed

    class Manager:
        async def __aenter__(self):
            return await succeed(1)

        async def __aexit__(self, *error):
            await succeed(1)

    async def coroutine():
        async with Manager():
            pass

    for _ in repeat(None, n):
        ensureDeferred(coroutine())


@row("a coroutine with `async for`, of five", 3)
def coroutine_for(defer: Any, n: int) -> None:
    ensureDeferred, succeed = defer.ensureDeferred, defer.succeed

    async def numbers():
        for number in range(5):
            yield await succeed(number)

    async def coroutine():
        async for _ in numbers():
            pass

    for _ in repeat(None, n):
        ensureDeferred(coroutine())


@row("a coroutine that gathers three", 5)
def coroutine_gathers(defer: Any, n: int) -> None:
    Deferred, ensureDeferred = defer.Deferred, defer.ensureDeferred
    gatherResults = defer.gatherResults

    async def one(d):
        return await d

    async def coroutine(deferreds):
        await gatherResults([ensureDeferred(one(d)) for d in deferreds])

    for _ in repeat(None, n):
        deferreds = [Deferred(), Deferred(), Deferred()]
        ensureDeferred(coroutine(deferreds))
        for d in deferreds:
            d.callback(1)


@row("a coroutine, cancelled", 4)
def coroutine_cancelled(defer: Any, n: int) -> None:
    Deferred, ensureDeferred = defer.Deferred, defer.ensureDeferred

    async def coroutine():
        await Deferred()

    for _ in repeat(None, n):
        d = ensureDeferred(coroutine())
        d.addErrback(ignore)
        d.cancel()


@row("maybeDeferred, a Failure", 3)
def maybe_failure(defer: Any, n: int) -> None:
    maybeDeferred, failure = defer.maybeDeferred, defer.Failure(Mistake())
    for _ in repeat(None, n):
        maybeDeferred(same, failure).addErrback(ignore)


@row("a failure through five generators, swallowed", 5)
def five_layers(defer: Any, n: int) -> None:
    def around(function):
        @defer.inlineCallbacks
        def generator():
            return (yield function())

        return generator

    error = Mistake()

    def function():
        return defer.fail(error)

    for _ in range(5):
        function = around(function)
    for _ in repeat(None, n):
        function().addErrback(ignore)


@row("inlineCallbacks: a failed yield, another raised `from` it, swallowed", 4)
def raises_from(defer: Any, n: int) -> None:
    fail, error = defer.fail, Mistake()

    @defer.inlineCallbacks
    def generator():
        try:
            yield fail(error)
        except Mistake as mistake:
            raise KeyError from mistake

    for _ in repeat(None, n):
        generator().addErrback(ignore)
