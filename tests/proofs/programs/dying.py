"""Programs about subclasses, debug mode, and Deferreds that are freed."""

from __future__ import annotations

from typing import Any

from .base import Oops, nothing, oops, pass_on, program


@program
def subclasses(defer, keep):
    class Mine(defer.Deferred):
        def addCallbacks(self, *args, **kwargs):
            return defer.Deferred.addCallbacks(self, *args, **kwargs)

        def callback(self, result):
            return defer.Deferred.callback(self, result)

        def pause(self):
            return defer.Deferred.pause(self)

        def addBoth(self, *args, **kwargs):
            return defer.Deferred.addBoth(self, *args, **kwargs)

    @defer.inlineCallbacks
    def wait(d):
        return (yield d)

    a, b, seen = keep(Mine()), keep(Mine()), []
    keep(wait(a)).addCallback(seen.append)
    keep(defer.gatherResults([b])).addCallback(seen.append)
    a.chainDeferred(b)
    a.callback(1)
    defer.Deferred.__subclasses__()
    return len(seen)


@program
def debug_mode(defer, keep):
    defer.setDebugging(True)
    try:
        d = keep(defer.Deferred())
        d.callback(1)
        try:
            d.callback(2)
        except defer.AlreadyCalledError as error:
            text = str(error)

        @defer.inlineCallbacks
        def one():
            yield defer.succeed(1)
            raise Oops

        keep(one()).addErrback(nothing)
        return "created" in text
    finally:
        defer.setDebugging(False)


@program
def unhandled(defer, keep):
    defer.fail(Oops("lost"))
    d = defer.Deferred()
    d.addCallback(oops)
    d.callback(1)
    return None


@program
def unhandled_in_cycle(defer, keep):
    import gc

    d = defer.Deferred()
    d.me = d
    d.addCallback(oops)
    d.callback(1)
    del d
    gc.collect()
    return None


@program
def dies_deep(defer, keep):
    d = defer.Deferred()
    for _ in range(60):
        outer = defer.Deferred()
        outer.addCallback(pass_on, d)
        d = outer
    return None


@program
def dies_in_finalizer(defer, keep):
    class Last:
        def __init__(self):
            self.d = defer.Deferred()
            self.d.addBoth(seen.append)

        def __del__(self):
            self.d.callback("last")
            defer.fail(Oops())

    seen: list[Any] = []
    d = defer.Deferred()
    d.addCallback(pass_on, Last())
    del d
    return None


@program
def dies_waiting(defer, keep):
    @defer.inlineCallbacks
    def wait(d):
        yield d

    async def awaits(d):
        await d

    wait(defer.Deferred())
    defer.ensureDeferred(awaits(defer.Deferred()))
    defer.gatherResults([defer.Deferred(), defer.Deferred()])
    defer.race([defer.Deferred(), defer.Deferred()])
    queue = defer.DeferredQueue()
    queue.get()
    return None
