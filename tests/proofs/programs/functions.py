"""Programs about the functions, and about failures."""

from __future__ import annotations

import copy

from .base import Oops, kind, oops, pass_on, program, sort


@program
def functions(defer, keep):
    seen = []
    for d in (
        defer.succeed(1),
        defer.fail(Oops()),
        defer.execute(len, "abc"),
        defer.execute(oops),
        defer.maybeDeferred(len, "abc"),
        defer.maybeDeferred(sorted, "ba", reverse=True),
        defer.maybeDeferred(oops, 1),
        defer.maybeDeferred(defer.succeed, 1),
        defer.maybeDeferred(pass_on, 1, key=2),
    ):
        keep(d).addBoth(lambda r: seen.append(sort(r)))
    return seen


@program
def maybe_with_failure(defer, keep):
    seen = []
    d = keep(defer.maybeDeferred(lambda: defer.Failure(Oops())))
    d.addErrback(lambda f: seen.append(kind(f)))
    return seen


@program
def failures(defer, keep):
    try:
        raise Oops("x")
    except Oops:
        f = defer.Failure()
    g = defer.Failure(KeyError("k"))
    h = defer.Failure(f)
    out = [f.check(Oops), f.check(KeyError), g.type, h.value is f.value, f.parents[:1]]
    try:
        f.raiseException()
    except Oops as error:
        out.append(error.args)
    try:
        g.trap(Oops)
    except KeyError:
        out.append("trap")
    return out


@program
def failure_texts(defer, keep):
    try:
        raise Oops("x") from KeyError("y")
    except Oops:
        f = defer.Failure()
    f.getTraceback(), f.getBriefTraceback(), f.getErrorMessage(), f.getTracebackObject()
    f.cleanFailure()
    return len(f.frames), repr(f)[:10], f.type.__name__


@program
def failure_attributes(defer, keep):
    f = defer.Failure(Oops())
    f.value, f.extra = Oops("other"), 1
    state = sorted(vars(f))
    f.tb = None
    return state, f.value.args, f.captureVars


@program
def failure_copied(defer, keep):
    f = defer.Failure(Oops("x"))
    g = copy.copy(f)
    return g.value.args, g.type


@program
def failure_thrown(defer, keep):
    def generator():
        try:
            yield 1
        except Oops:
            yield 2

    g = generator()
    next(g)
    return defer.Failure(Oops()).throwExceptionIntoGenerator(g)


@program
def copied(defer, keep):
    d = keep(defer.Deferred())
    d.addCallback(pass_on, 1, a=2)
    d.addCallbacks(pass_on, pass_on)
    e = keep(copy.copy(d))
    e.callback(4)
    return e.result
