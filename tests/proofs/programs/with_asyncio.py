"""Programs with asyncio's tasks and futures."""

from __future__ import annotations

from .base import Oops, asyncio_too, kind, loop, nothing, ours, program, turns


@asyncio_too
def awaited_by_task(defer, keep):
    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []

    async def wait():
        seen.append(await a)
        try:
            await b
        except Oops:
            seen.append("oops")

    task = loop().create_task(wait())
    turns(loop(), 2)
    a.callback((1, 2))
    turns(loop(), 2)
    b.errback(Oops())
    turns(loop(), 3)
    if not task.done():
        task.cancel()
        turns(loop(), 3)
    return seen


@asyncio_too
def task_cancelled(defer, keep):
    d = keep(defer.Deferred())

    async def wait():
        await d

    task = loop().create_task(wait())
    turns(loop(), 2)
    task.cancel()
    turns(loop(), 3)
    d.addErrback(nothing)
    return task.cancelled() or repr(task.done() and task.exception())


@program
def futures(defer, keep):
    d, seen = keep(defer.Deferred()), []
    future = d.asFuture(loop())
    d.callback(1)
    other = loop().create_future()
    keep(defer.Deferred.fromFuture(other)).addCallback(seen.append)
    other.set_result(2)
    turns(loop(), 4)
    return future.done(), seen


@program
def futures_fail(defer, keep):
    d, seen = keep(defer.Deferred()), []
    future = d.asFuture(loop())
    d.errback(Oops())
    other = loop().create_future()
    keep(defer.Deferred.fromFuture(other)).addErrback(lambda f: seen.append(kind(f)))
    other.set_exception(Oops())
    turns(loop(), 4)
    return type(future.exception()).__name__, seen


@asyncio_too
def coroutine_awaits_future(defer, keep):
    future, seen = loop().create_future(), []

    async def wait():
        seen.append(await future)

    async def start():
        keep(defer.ensureDeferred(wait()))

    task = loop().create_task(start())
    turns(loop(), 2)
    future.set_result(1)
    turns(loop(), 4)
    return task.done(), seen


@ours
def coroutine_awaits_in_loop(defer, keep):
    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []

    async def wait(d):
        seen.append(await d)

    @defer.inlineCallbacks
    def within():
        keep(defer.ensureDeferred(wait(a)))
        a.callback(1)
        keep(defer.ensureDeferred(wait(b)))
        yield defer.succeed(None)

    async def start():
        keep(within())

    task = loop().create_task(start())
    turns(loop(), 2)
    b.callback(2)
    turns(loop(), 2)
    return task.done(), seen


@asyncio_too
def task_enters_lock(defer, keep):
    lock, seen = keep(defer.DeferredLock()), []

    async def use(i):
        async with lock:
            seen.append(i)

    tasks = [loop().create_task(use(i)) for i in range(3)]
    turns(loop(), 8)
    for task in tasks:
        # One that is done would never tell of its error.
        if not task.done():
            task.cancel()
    turns(loop(), 3)
    return seen
