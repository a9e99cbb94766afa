"""Programs about callbacks and errbacks, chains, pauses, and state that is set directly."""

from __future__ import annotations

import itertools

from .base import Oops, nothing, oops, program, sort


@program
def callbacks(defer, keep):
    d = keep(defer.Deferred())
    seen = []
    d.addCallback(lambda r: r + 1)
    d.addBoth(lambda r, *a, **k: (r, a, tuple(k)), 1, 2, key=3)
    d.addCallbacks(seen.append, oops)
    d.callback(1)
    return seen


@program
def called_at_once(defer, keep):
    d = keep(defer.succeed(1))
    seen = []
    d.addCallback(lambda r: [r, r])
    d.addBoth(seen.append)
    d.addErrback(seen.append)
    return seen, d.called, d.paused


@program
def many_callbacks(defer, keep):
    d = keep(defer.Deferred())
    seen = []
    for i in range(20):
        d.addCallback(lambda r, i: seen.append(i), i)
    d.callback(None)
    return seen


@program
def arguments_of_all_kinds(defer, keep):
    d = keep(defer.Deferred())
    seen = []

    def note(*args, **kwargs):
        seen.append((len(args), sorted(kwargs)))

    d.addCallbacks(note, note, (1, 2), {"a": 1}, (3,), {"b": 2})
    d.addCallbacks(note, note, [1], None, [2], None)
    d.addCallback(note, 1, a=2)
    d.addErrback(note, 1, a=2)
    d.addBoth(note, 1, 2, 3, 4, 5, 6, 7, 8, a=2)
    d.callback(1)
    return seen


@program
def errbacks(defer, keep):
    d = keep(defer.Deferred())
    seen = []
    d.addCallback(oops)
    d.addErrback(lambda f: seen.append((f.check(Oops, KeyError), f.getErrorMessage())))
    d.addCallback(oops)
    d.addErrback(lambda f: seen.append(f.trap(KeyError, Oops)))
    d.callback(1)
    return seen


@program
def fails_to_trap(defer, keep):
    d = keep(defer.fail(Oops()))
    d.addErrback(lambda f: f.trap(KeyError))
    d.addErrback(lambda f: f.check("tests.Nothing", Oops))
    return d.result


@program
def errback_of_current(defer, keep):
    d, seen = keep(defer.Deferred()), []
    try:
        raise Oops("current")
    except Oops:
        d.errback()
    d.addErrback(lambda f: seen.append(f.value.args))
    return seen


@program
def called_twice(defer, keep):
    d = keep(defer.Deferred())
    d.callback(1)
    try:
        d.callback(2)
    except defer.AlreadyCalledError as error:
        return type(error).__name__
    return None


@program
def no_current_exception(defer, keep):
    try:
        keep(defer.Deferred()).errback()
    except defer.NoCurrentExceptionError:
        return "none"
    return None


@program
def no_result(defer, keep):
    try:
        return keep(defer.Deferred()).result
    except AttributeError as error:
        return str(error)


@program
def chained(defer, keep):
    first, second = keep(defer.Deferred()), keep(defer.Deferred())
    seen = []
    first.addCallback(lambda _: second)
    first.addCallback(seen.append)
    first.callback(1)
    state = first.paused, second.called
    second.callback("two")
    return seen, state


@program
def chained_to_fired(defer, keep):
    seen = []
    for inner in (defer.succeed(1), defer.fail(Oops())):
        d = keep(defer.Deferred())
        d.addCallback(lambda _, inner=inner: inner)
        d.addBoth(lambda r: seen.append(sort(r)))
        d.callback(None)
    return seen


@program
def chain_deferred(defer, keep):
    a, b = keep(defer.Deferred()), keep(defer.Deferred())
    seen = []
    a.chainDeferred(b)
    b.addCallback(seen.append)
    a.callback(3)
    return seen, a.result


@program
def deep_chain(defer, keep):
    ends = [keep(defer.Deferred()) for _ in range(12)]
    seen = []
    for d, following in itertools.pairwise(ends):
        d.addCallback(lambda _, following=following: following)
    ends[0].addCallback(seen.append)
    for d in ends:
        d.callback(None)
    return seen


@program
def paused(defer, keep):
    d, seen = keep(defer.Deferred()), []
    d.addCallback(seen.append)
    d.pause()
    d.callback(1)
    before = len(seen)
    d.unpause()
    return before, seen


@program
def returns_itself(defer, keep):
    import warnings

    d = keep(defer.Deferred())
    d.addCallback(lambda _: d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        d.callback(1)
    return d.called


@program
def fires_from_callback(defer, keep):
    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []
    a.addCallback(lambda r: b.callback(r))
    b.addCallback(seen.append)
    a.callback(1)
    return seen


@program
def deferred_as_callback(defer, keep):
    a, b, seen = keep(defer.Deferred()), keep(defer.Deferred()), []
    a.addCallbacks(b.callback, b.errback)
    b.addBoth(seen.append)
    a.callback(1)
    return seen


def calls_that_fail(calls):
    """How many of these calls raise an exception."""
    failed = 0
    for function, args, kwargs in calls:
        try:
            function(*args, **kwargs)
        except MemoryError:
            raise
        except Exception:
            failed += 1
    return failed


@program
def shown(defer, keep):
    d, f = keep(defer.Deferred()), keep(defer.fail(Oops("x")))
    repr(d), str(d), repr(f), repr(keep(defer.succeed(1)))
    failure = f.result
    f.addErrback(nothing)
    return repr(failure)[:30], str(failure)[:20], len(d.callbacks)


@program
def hand_made_state(defer, keep):
    d = keep(defer.Deferred())
    d.result, d.called, d.paused = 5, True, 0
    seen = []
    d.addCallback(seen.append)
    # A failure, which would be lost with the attribute, is shown.
    result = d.result
    del d.result
    return seen, result
