"""Programs about generators and coroutines."""

from __future__ import annotations

from .base import Oops, kind, program, sort


@program
def generators(defer, keep):
    @defer.inlineCallbacks
    def add(one, other):
        first = yield one
        second = yield other
        return first + second

    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []
    keep(add(a, b)).addCallback(seen.append)
    a.callback(1)
    b.callback(2)
    return seen


@program
def generator_that_ends(defer, keep):
    @defer.inlineCallbacks
    def now():
        got = yield defer.succeed(1)
        plain = yield 2
        return [got, plain]

    seen = []
    keep(now()).addCallback(seen.append)
    return seen


@program
def generator_that_fails(defer, keep):
    @defer.inlineCallbacks
    def bad(d):
        try:
            yield d
        except Oops:
            pass
        yield defer.fail(KeyError("k"))

    d, seen = keep(defer.Deferred()), []
    keep(bad(d)).addErrback(lambda f: seen.append(f.type))
    d.errback(Oops())
    return seen


@program
def generators_nested(defer, keep):
    @defer.inlineCallbacks
    def nest(depth, d):
        if depth:
            return (yield nest(depth - 1, d)) + 1
        return (yield d)

    d, seen = keep(defer.Deferred()), []
    keep(nest(7, d)).addCallback(seen.append)
    d.callback(0)
    return seen


@program
def generators_deep(defer, keep):
    @defer.inlineCallbacks
    def nest(depth, d):
        if depth:
            yield nest(depth - 1, d)
        else:
            yield d

    d, seen = keep(defer.Deferred()), []
    keep(nest(20, d)).addCallback(seen.append)
    d.callback(0)
    e = keep(defer.Deferred())
    outer = keep(nest(20, e))
    outer.addErrback(lambda f: seen.append(kind(f)))
    outer.cancel()
    return seen


@program
def generator_cancelled(defer, keep):
    @defer.inlineCallbacks
    def wait(d):
        yield d

    d, seen = keep(defer.Deferred()), []
    outer = keep(wait(d))
    outer.addErrback(lambda f: seen.append(kind(f)))
    outer.cancel()
    return seen


@program
def return_value(defer, keep):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        @defer.inlineCallbacks
        def old():
            yield 1
            defer.returnValue(5)

        seen = []
        keep(old()).addCallback(seen.append)
    return seen


@program
def no_generator(defer, keep):
    @defer.inlineCallbacks
    def none():
        return 1

    try:
        none()
    except TypeError as error:
        return str(error)[:30]
    return None


@program
def coroutines(defer, keep):
    async def add(one, other):
        return await one + await other

    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []
    keep(defer.ensureDeferred(add(a, b))).addCallback(seen.append)
    a.callback(1)
    b.callback(2)
    return seen


@program
def coroutine_that_fails(defer, keep):
    async def bad(d):
        try:
            await d
        except Oops:
            raise KeyError("k") from None

    d, seen = keep(defer.Deferred()), []
    keep(defer.Deferred.fromCoroutine(bad(d))).addErrback(lambda f: seen.append(f.type))
    d.errback(Oops())
    return seen


@program
def coroutines_nested(defer, keep):
    async def nest(depth, d):
        if depth:
            return await defer.ensureDeferred(nest(depth - 1, d)) + 1
        return await d

    d, seen = keep(defer.Deferred()), []
    keep(defer.ensureDeferred(nest(5, d))).addCallback(seen.append)
    d.callback(0)
    return seen


@program
def no_coroutine(defer, keep):
    try:
        defer.ensureDeferred(1)
    except defer.NotACoroutineError as error:
        return str(error)
    return None


@program
def awaited_results(defer, keep):
    out = []

    async def one(d):
        out.append(sort(await d))

    for result in (1, (1, 2), ValueError("v"), None):
        d = defer.Deferred()
        keep(defer.ensureDeferred(one(d)))
        d.callback(result)
    return out


@program
def stepped_by_hand(defer, keep):
    d = keep(defer.Deferred())
    it = d.__await__()
    same = next(it) is d
    d.callback((1, 2))
    try:
        next(it)
    except StopIteration as stop:
        return same, stop.value
    return None
