"""Rows about functions: fired Deferreds, `maybeDeferred`, generators, coroutines, futures."""

from __future__ import annotations

from itertools import repeat
from typing import Any

from ..rows import fails, ignore, same
from .table import add_named, group

row = group("functions")


@row("succeed", 3, of="succeed")
def succeed(defer: Any, n: int) -> None:
    succeed = defer.succeed
    for _ in repeat(None, n):
        succeed(1)


@row("succeed, by keyword", of="succeed")
def succeed_named(defer: Any, n: int) -> None:
    succeed = defer.succeed
    for _ in repeat(None, n):
        succeed(result=1)


@row("fail with an exception, swallowed", 5, of="fail")
def fail(defer: Any, n: int) -> None:
    fail, error = defer.fail, ValueError()
    for _ in repeat(None, n):
        fail(error).addErrback(ignore)


@row("maybeDeferred, by keyword", of="maybeDeferred")
def maybe_named(defer: Any, n: int) -> None:
    maybeDeferred = defer.maybeDeferred
    for _ in repeat(None, n):
        maybeDeferred(add_named, 1, number=2)


@row("maybeDeferred, a Deferred", of="maybeDeferred")
def maybe_deferred(defer: Any, n: int) -> None:
    maybeDeferred, d = defer.maybeDeferred, defer.succeed(1)
    for _ in repeat(None, n):
        maybeDeferred(same, d)


@row("maybeDeferred, a coroutine", 2, of="maybeDeferred")
def maybe_coroutine(defer: Any, n: int) -> None:
    async def coroutine():
        return 1

    maybeDeferred = defer.maybeDeferred
    for _ in repeat(None, n):
        maybeDeferred(coroutine)


@row("execute", 2, of="execute")
def execute(defer: Any, n: int) -> None:
    execute = defer.execute
    for _ in repeat(None, n):
        execute(same, 1)


@row("execute, by keyword", 2, of="execute")
def execute_named(defer: Any, n: int) -> None:
    execute = defer.execute
    for _ in repeat(None, n):
        execute(add_named, 1, number=2)


@row("execute, an exception", 3, of="execute")
def execute_raise(defer: Any, n: int) -> None:
    execute = defer.execute
    for _ in repeat(None, n):
        execute(fails).addErrback(ignore)


@row("passthru", of="passthru")
def passthru(defer: Any, n: int) -> None:
    passthru = defer.passthru
    for _ in repeat(None, n):
        passthru(1)


@row("Deferred.fromCoroutine", 3, of="Deferred.fromCoroutine")
def from_coroutine(defer: Any, n: int) -> None:
    async def coroutine():
        return 1

    Deferred = defer.Deferred
    for _ in repeat(None, n):
        Deferred.fromCoroutine(coroutine())


@row("ensureDeferred of a Deferred", of="ensureDeferred")
def ensure_deferred(defer: Any, n: int) -> None:
    ensureDeferred, d = defer.ensureDeferred, defer.succeed(1)
    for _ in repeat(None, n):
        ensureDeferred(d)


@row("yield from a fired Deferred", 2, of="Deferred.__iter__")
def yield_from(defer: Any, n: int) -> None:
    succeed = defer.succeed

    @defer.inlineCallbacks
    def generator():
        for _ in repeat(None, n):
            yield from succeed(1)

    generator()


@row("inlineCallbacks, called with arguments", 5, of="inlineCallbacks")
def inline_arguments(defer: Any, n: int) -> None:
    succeed = defer.succeed

    @defer.inlineCallbacks
    def generator(one, two, three=None):
        yield succeed(1)
        return one

    for _ in repeat(None, n):
        generator(1, 2, three=3)


@row("inlineCallbacks, a method", 5, of="inlineCallbacks")
def inline_method(defer: Any, n: int) -> None:
    succeed = defer.succeed

    class Object:
        @defer.inlineCallbacks
        def method(self):
            yield succeed(1)

    method = Object().method
    for _ in repeat(None, n):
        method()


@row("inlineCallbacks, decorating", of="inlineCallbacks")
def inline_decorating(defer: Any, n: int) -> None:
    inlineCallbacks = defer.inlineCallbacks

    def generator():
        yield

    for _ in repeat(None, n):
        inlineCallbacks(generator)


@row("inlineCallbacks that raises, swallowed", 5, of="inlineCallbacks")
def inline_raises(defer: Any, n: int) -> None:
    @defer.inlineCallbacks
    def generator():
        yield 1
        raise ValueError

    for _ in repeat(None, n):
        generator().addErrback(ignore)


@row("inlineCallbacks, cancelled", 5, of="inlineCallbacks Deferred.cancel")
def inline_cancelled(defer: Any, n: int) -> None:
    Deferred = defer.Deferred

    @defer.inlineCallbacks
    def generator():
        yield Deferred()

    for _ in repeat(None, n):
        d = generator()
        d.addErrback(ignore)
        d.cancel()


@row("returnValue", of="returnValue")
def return_value(defer: Any, n: int) -> None:
    import warnings

    returnValue = defer.returnValue

    @defer.inlineCallbacks
    def generator():
        yield 1
        returnValue(1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in repeat(None, n):
            generator()


@row("fromFuture of an asyncio future", 2, of="Deferred.fromFuture")
def from_future(defer: Any, n: int) -> None:
    import asyncio

    Deferred, loop = defer.Deferred, asyncio.new_event_loop()

    def work():
        for _ in repeat(None, n):
            future = loop.create_future()
            Deferred.fromFuture(future).addCallback(same)
            future.set_result(1)
        loop.stop()

    loop.call_soon(work)
    loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@row("asFuture", 2, of="Deferred.asFuture")
def as_future(defer: Any, n: int) -> None:
    import asyncio

    Deferred, loop = defer.Deferred, asyncio.new_event_loop()

    def work():
        for _ in repeat(None, n):
            d = Deferred()
            d.asFuture(loop)
            d.callback(1)
        loop.stop()

    loop.call_soon(work)
    loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@row("asFuture of a failure", 2, of="Deferred.asFuture")
def as_future_failed(defer: Any, n: int) -> None:
    import asyncio

    fail, loop, error = defer.fail, asyncio.new_event_loop(), ValueError()

    def work():
        for _ in repeat(None, n):
            fail(error).asFuture(loop).exception()
        loop.stop()

    loop.call_soon(work)
    loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@row("fromFuture of an asyncio future that fails", 2, of="Deferred.fromFuture")
def from_future_failed(defer: Any, n: int) -> None:
    import asyncio

    Deferred, loop, error = defer.Deferred, asyncio.new_event_loop(), ValueError()

    def work():
        for _ in repeat(None, n):
            future = loop.create_future()
            Deferred.fromFuture(future).addErrback(ignore)
            future.set_exception(error)
        loop.stop()

    loop.call_soon(work)
    loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
