"""Programs that cancel, gather and race."""

from __future__ import annotations

from .base import Oops, kind, nothing, oops, program


@program
def cancelled(defer, keep):
    asked, seen = [], []
    d = keep(defer.Deferred(asked.append))
    d.addErrback(lambda f: seen.append(f.check(defer.CancelledError) is not None))
    d.cancel()
    e = keep(defer.Deferred())
    e.addErrback(lambda f: seen.append(kind(f)))
    e.cancel()
    e.callback(1)
    return len(asked), seen


@program
def cancelled_through_chain(defer, keep):
    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []
    a.addCallback(lambda _: b)
    a.addErrback(lambda f: seen.append(kind(f)))
    a.callback(1)
    a.cancel()
    return seen


@program
def canceller_raises(defer, keep):
    d = keep(defer.Deferred(oops))
    try:
        d.cancel()
    except Oops:
        pass
    d.addErrback(nothing)
    return d.called


@program
def deferred_list(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(4)], []
    keep(defer.DeferredList(ds, consumeErrors=True)).addCallback(
        lambda r: seen.extend(success for success, _ in r)
    )
    for i, d in enumerate(ds):
        d.callback(i) if i != 2 else d.errback(Oops())
    return seen


@program
def deferred_list_of_one(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    keep(defer.DeferredList(ds, fireOnOneCallback=True)).addCallback(seen.append)
    ds[1].callback("x")
    ds[0].callback("y")
    return seen


@program
def gathered(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    keep(defer.gatherResults(ds, consumeErrors=True)).addCallback(seen.append)
    for i, d in enumerate(ds):
        d.callback(i)
    return seen


@program
def gathered_failure(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    g = keep(defer.gatherResults(ds, consumeErrors=True))
    g.addErrback(lambda f: seen.append((kind(f), f.value.index, repr(f.value))))
    ds[1].errback(Oops("o"))
    return seen


@program
def gathered_cancelled(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    for d in ds:
        d.addErrback(lambda f: seen.append(kind(f)))
    g = keep(defer.gatherResults(ds))
    g.addErrback(nothing)
    g.cancel()
    return seen


@program
def raced(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(4)], []
    keep(defer.race(ds)).addCallback(seen.append)
    ds[2].callback("won")
    return seen


@program
def many_gathered(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(12)], []
    keep(defer.gatherResults(ds, consumeErrors=True)).addCallback(lambda r: seen.append(len(r)))
    fs = [keep(defer.Deferred()) for _ in range(12)]
    keep(defer.race(fs)).addErrback(lambda f: seen.append(len(f.value.failures)))
    for d, f in zip(ds, fs, strict=True):
        d.callback(None)
        f.errback(Oops())
    return seen


@program
def raced_failures(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    keep(defer.race(ds)).addErrback(lambda f: seen.append((kind(f), len(f.value.failures))))
    for d in ds:
        d.errback(Oops())
    return seen


@program
def raced_cancelled(defer, keep):
    ds, seen = [keep(defer.Deferred()) for _ in range(3)], []
    for d in ds:
        d.addErrback(lambda f: seen.append(kind(f)))
    r = keep(defer.race(ds))
    r.addErrback(nothing)
    r.cancel()
    return seen
