"""Rows for all that the package offers beside the main rows: every public name, in its usual forms.

They are in groups, and `--all` measures them. `test_rows.py` sees to it that no name lacks one.
"""

# What is imported within a row is so for that row: with asyncio, `await` looks for its loop.
# Attributes are read here for what it costs.
# ruff: noqa: B018

from __future__ import annotations

import copy
import logging
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from itertools import repeat
from typing import Any

from .rows import ROWS, Row, Run, add, fails, give, ignore, same, trap_and_fail

OTHER_ROWS: dict[str, Row] = {}

_group = ""


def row(
    title: str, target: float = 1, size: int | None = None, of: str = ""
) -> Callable[[Run], Run]:
    """Add a function to the group that was begun last, as `rows.row` does to the main rows."""

    def add(function: Run) -> Run:
        key = function.__name__
        OTHER_ROWS[key] = Row(key, title, target, function, size, tuple(of.split()), _group)
        return function

    return add


# What is called, and what is waited for.


def add_named(value: int, number: int = 0) -> int:
    return value + number


def swallow(failure: Any, number: int = 0) -> None:
    return None


def reads(value: Any) -> Any:
    return None


class Mistake(ValueError):
    """A program's own exception, two classes below Exception."""


class OtherMistake(Exception):
    """Another one."""


def raised(depth: int = 0, error: type[Exception] = ValueError) -> None:
    """Raise an exception, so many frames deep."""
    if depth:
        raised(depth - 1, error)
    raise error("wrong")


def failure_of(defer: Any, depth: int = 0, error: type[Exception] = ValueError) -> Any:
    """A failure of an exception that was raised."""
    try:
        raised(depth, error)
    except Exception:
        return defer.Failure()


class Call:
    """What a clock gives for a call to come."""

    __slots__ = ("function", "pending")

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.pending = True

    def active(self) -> bool:
        return self.pending

    def cancel(self) -> None:
        self.pending = False

    def run(self) -> None:
        self.pending = False
        self.function()


class Clock:
    """A clock that remembers the last call."""

    __slots__ = ("call",)

    def callLater(self, seconds: float, function: Callable[[], object]) -> Call:
        self.call = Call(function)
        return self.call


_group = "Failure"


@row("Failure.check, a base class", 5, of="Failure.check")
def check_base(defer: Any, n: int) -> None:
    failure = defer.Failure(Mistake())
    for _ in repeat(None, n):
        failure.check(ValueError)


@row("Failure.check, Exception", 5, of="Failure.check")
def check_exception(defer: Any, n: int) -> None:
    failure = defer.Failure(Mistake())
    for _ in repeat(None, n):
        failure.check(Exception)


@row("Failure.check, a miss", 5, of="Failure.check")
def check_miss(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyError)


@row("Failure.check, a miss of a program's own", 5, of="Failure.check")
def check_own_miss(defer: Any, n: int) -> None:
    failure = defer.Failure(Mistake())
    for _ in repeat(None, n):
        failure.check(OtherMistake)


@row("Failure.check, five misses", 5, of="Failure.check")
def check_five(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyError, OSError, TypeError, IndexError, OtherMistake)


@row("Failure.check, the second of two", 5, of="Failure.check")
def check_second(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyError, ValueError)


@row("Failure.check, a miss, then a hit", 5, of="Failure.check")
def check_twice(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyError)
        failure.check(ValueError)


@row("Failure.check, a class that is no Exception", 5, of="Failure.check")
def check_no_exception(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyboardInterrupt)


@row("Failure.check, by name", 5, of="Failure.check")
def check_name(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check("builtins.ValueError")


@row("Failure.check, by name, a miss", 5, of="Failure.check")
def check_name_miss(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.check("builtins.KeyError")


@row("Failure.check, each time of a new Failure", 5, of="Failure.check")
def check_new(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = ValueError()
    for _ in repeat(None, n):
        Failure(error).check(KeyError, OSError)


@row("Failure.check, a subclass of Failure", 5, of="Failure.check")
def check_subclass(defer: Any, n: int) -> None:
    class Subclass(defer.Failure):
        pass

    failure = Subclass(ValueError())
    for _ in repeat(None, n):
        failure.check(KeyError, ValueError)


@row("Failure.check, with its names kept", 2, of="Failure.check")
def check_kept(defer: Any, n: int) -> None:
    failure = pickle.loads(pickle.dumps(defer.Failure(ValueError())))
    for _ in repeat(None, n):
        failure.check(KeyError, ValueError)


@row("Failure.trap, a base class", 5, of="Failure.trap")
def trap_base(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.trap(Exception)


@row("Failure.trap, the second of two", 5, of="Failure.trap")
def trap_second(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.trap(KeyError, ValueError)


@row("Failure.trap, by name", 5, of="Failure.trap")
def trap_name(defer: Any, n: int) -> None:
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        failure.trap("builtins.ValueError")


@row("Failure.trap, a miss: raised again, caught", 3, of="Failure.trap")
def trap_miss(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        try:
            failure.trap(KeyError)
        except ValueError:
            pass


@row("an errback that traps what it does not expect", 5)
def errback_miss(defer: Any, n: int) -> None:
    fail = defer.fail
    error = KeyError()
    for _ in repeat(None, n):
        fail(error).addErrback(trap_and_fail).addErrback(ignore)


@row("Failure() in an except clause, by keyword", 1, of="Failure.captureVars")
def failure_named(defer: Any, n: int) -> None:
    Failure = defer.Failure
    try:
        fails()
    except ValueError:
        for _ in repeat(None, n):
            Failure(captureVars=False)


@row("Failure of an exception", 2)
def failure_of_exception(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = ValueError()
    for _ in repeat(None, n):
        Failure(error)


@row("Failure of three arguments")
def failure_of_three(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = ValueError()
    for _ in repeat(None, n):
        Failure(error, ValueError, None)


@row("Failure of a Failure")
def failure_of_failure(defer: Any, n: int) -> None:
    Failure = defer.Failure
    failure = Failure(ValueError())
    for _ in repeat(None, n):
        Failure(failure)


@row("a subclass of Failure, made")
def failure_subclass(defer: Any, n: int) -> None:
    class Subclass(defer.Failure):
        pass

    error = ValueError()
    for _ in repeat(None, n):
        Subclass(error)


@row("Failure.value, type and tb", of="Failure.value Failure.type Failure.tb")
def failure_value(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.value
        failure.type
        failure.tb


@row(
    "Failure.count, captureVars and pickled", of="Failure.count Failure.captureVars Failure.pickled"
)
def failure_count(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.count
        failure.captureVars
        failure.pickled


@row("Failure.value, set")
def failure_set(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    error = ValueError()
    for _ in repeat(None, n):
        failure.value = error


@row("an attribute of a Failure, set and read")
def failure_attribute(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.request = None
        failure.request


@row("Failure.__dict__", of="Failure.__dict__")
def failure_dict(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.__dict__


@row("Failure.__dict__ of a new Failure", of="Failure.__dict__")
def failure_new_dict(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = ValueError()
    for _ in repeat(None, n):
        Failure(error).__dict__


@row("Failure.parents, each time of a new Failure", of="Failure.parents")
def failure_new_parents(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = Mistake()
    for _ in repeat(None, n):
        Failure(error).parents


@row("Failure.parents, again", of="Failure.parents")
def failure_parents(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.parents


@row("Failure.frames, three, each time of a new Failure", of="Failure.frames")
def failure_new_frames(defer: Any, n: int) -> None:
    Failure = defer.Failure
    try:
        raised(2)
    except ValueError:
        for _ in repeat(None, n):
            Failure().frames


@row("Failure.frames, again", of="Failure.frames")
def failure_frames(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.frames


@row("Failure.frames with variables, of a new Failure", of="Failure.frames")
def failure_variables(defer: Any, n: int) -> None:
    Failure = defer.Failure
    try:
        raised(2)
    except ValueError:
        for _ in repeat(None, n):
            Failure(captureVars=True).frames


@row("Failure.stack", of="Failure.stack")
def failure_stack(defer: Any, n: int) -> None:
    import warnings

    failure = failure_of(defer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in repeat(None, n):
            failure.stack


@row("Failure.raiseException, caught", of="Failure.raiseException")
def failure_raise(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        try:
            failure.raiseException()
        except ValueError:
            pass
        # Or the traceback grows with each.
        failure.value.__traceback__ = None


@row("Failure.throwExceptionIntoGenerator", of="Failure.throwExceptionIntoGenerator")
def failure_throw(defer: Any, n: int) -> None:
    def generator():
        while True:
            try:
                yield
            except ValueError:
                pass

    failure = defer.Failure(ValueError())
    suspended = generator()
    next(suspended)
    for _ in repeat(None, n):
        failure.throwExceptionIntoGenerator(suspended)
        failure.value.__traceback__ = None


@row("Failure.getErrorMessage", of="Failure.getErrorMessage")
def failure_message(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.getErrorMessage()


@row("repr of a Failure", of="Failure.__repr__")
def failure_repr(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        repr(failure)


@row("str of a Failure", of="Failure.__str__")
def failure_str(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        str(failure)


@row("Failure.getBriefTraceback", of="Failure.getBriefTraceback")
def failure_brief(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.getBriefTraceback()


@row("Failure.getTraceback", of="Failure.getTraceback")
def failure_traceback(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.getTraceback()


@row("Failure.getTraceback, verbose", of="Failure.getTraceback")
def failure_verbose(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.getTraceback(detail="verbose")


@row("Failure.getTraceback, ten frames", of="Failure.getTraceback")
def failure_traceback_10(defer: Any, n: int) -> None:
    failure = failure_of(defer, 9)
    for _ in repeat(None, n):
        failure.getTraceback()


@row("Failure.printTraceback", of="Failure.printTraceback")
def failure_print(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.printTraceback(StringIO())


@row("Failure.printBriefTraceback", of="Failure.printBriefTraceback")
def failure_print_brief(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.printBriefTraceback(StringIO())


@row("Failure.printDetailedTraceback", of="Failure.printDetailedTraceback")
def failure_print_detailed(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.printDetailedTraceback(StringIO())


@row("format_frames, of three", of="format_frames")
def frames_formatted(defer: Any, n: int) -> None:
    format_frames = defer.failure.format_frames
    frames = failure_of(defer, 2).frames
    for _ in repeat(None, n):
        format_frames(frames, reads)


@row("Failure.getTracebackObject", of="Failure.getTracebackObject")
def failure_object(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        failure.getTracebackObject()


@row("Failure.getTracebackObject of a cleaned one", of="Failure.getTracebackObject")
def failure_stand_in(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    failure.cleanFailure()
    for _ in repeat(None, n):
        failure.getTracebackObject()


@row("Failure.cleanFailure of a new Failure", of="Failure.cleanFailure")
def failure_clean(defer: Any, n: int) -> None:
    Failure = defer.Failure
    error = ValueError()
    for _ in repeat(None, n):
        Failure(error).cleanFailure()


@row("copy.copy of a Failure", of="Failure.__reduce__ Failure.__getstate__ Failure.__setstate__")
def failure_copy(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        copy.copy(failure)


@row(
    "pickle a Failure, and back", of="Failure.__reduce__ Failure.__getstate__ Failure.__setstate__"
)
def failure_pickle(defer: Any, n: int) -> None:
    failure = failure_of(defer)
    for _ in repeat(None, n):
        pickle.loads(pickle.dumps(failure))


@row("startDebugMode", of="startDebugMode")
def debug_mode_of_failures(defer: Any, n: int) -> None:
    Failure, start = defer.Failure, defer.failure.startDebugMode
    before = vars(Failure).get("__init__")
    for _ in repeat(None, n):
        start()
    if before is None:
        del Failure.__init__
    else:
        Failure.__init__ = before


_group = "attributes"


@row("Deferred.called", of="Deferred.called")
def read_called(defer: Any, n: int) -> None:
    d = defer.succeed(1)
    for _ in repeat(None, n):
        d.called


@row("Deferred.called, before it is fired", of="Deferred.called")
def read_not_called(defer: Any, n: int) -> None:
    d = defer.Deferred()
    for _ in repeat(None, n):
        d.called


@row("Deferred.result", of="Deferred.result")
def read_result(defer: Any, n: int) -> None:
    d = defer.succeed(1)
    for _ in repeat(None, n):
        d.result


@row("Deferred.result, before it is fired", of="Deferred.result")
def read_no_result(defer: Any, n: int) -> None:
    d = defer.Deferred()
    for _ in repeat(None, n):
        getattr(d, "result", None)


@row("Deferred.paused", of="Deferred.paused")
def read_paused(defer: Any, n: int) -> None:
    d = defer.succeed(1)
    for _ in repeat(None, n):
        d.paused


@row("Deferred.called, result and paused, of a new one")
def read_all(defer: Any, n: int) -> None:
    succeed = defer.succeed
    for _ in repeat(None, n):
        d = succeed(1)
        if d.called and not d.paused:
            d.result


@row("Deferred.debug", of="Deferred.debug")
def read_debug(defer: Any, n: int) -> None:
    d = defer.Deferred()
    for _ in repeat(None, n):
        d.debug


@row("Deferred.callbacks", of="Deferred.callbacks")
def read_callbacks(defer: Any, n: int) -> None:
    import warnings

    d = defer.Deferred()
    d.addCallback(same)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in repeat(None, n):
            d.callbacks


@row("an attribute of a Deferred, set and read")
def attribute(defer: Any, n: int) -> None:
    d = defer.Deferred()
    for _ in repeat(None, n):
        d.name = None
        d.name


@row("create, set an attribute, fire", 2)
def create_attribute(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.name = None
        d.callback(1)


@row("str of a Deferred", 2, of="Deferred.__str__")
def deferred_str(defer: Any, n: int) -> None:
    d = defer.succeed(1)
    for _ in repeat(None, n):
        str(d)


@row("repr of a Deferred that has not fired", 2, of="Deferred.__repr__")
def deferred_repr(defer: Any, n: int) -> None:
    d = defer.Deferred()
    for _ in repeat(None, n):
        repr(d)


@row(
    "DeferredList's attributes",
    of="DeferredList.fireOnOneCallback DeferredList.fireOnOneErrback "
    "DeferredList.consumeErrors DeferredList.finishedCount DeferredList.resultList",
)
def list_attributes(defer: Any, n: int) -> None:
    deferreds = defer.DeferredList([defer.Deferred()])
    for _ in repeat(None, n):
        deferreds.fireOnOneCallback
        deferreds.fireOnOneErrback
        deferreds.consumeErrors
        deferreds.finishedCount
        deferreds.resultList


@row("DeferredLock.locked and waiting", of="DeferredLock.locked DeferredLock.waiting")
def lock_attributes(defer: Any, n: int) -> None:
    lock = defer.DeferredLock()
    for _ in repeat(None, n):
        lock.locked
        lock.waiting


@row(
    "DeferredSemaphore.tokens, limit and waiting",
    of="DeferredSemaphore.tokens DeferredSemaphore.limit DeferredSemaphore.waiting",
)
def semaphore_attributes(defer: Any, n: int) -> None:
    semaphore = defer.DeferredSemaphore(2)
    for _ in repeat(None, n):
        semaphore.tokens
        semaphore.limit
        semaphore.waiting


@row(
    "DeferredQueue.size, backlog, waiting and pending",
    of="DeferredQueue.size DeferredQueue.backlog DeferredQueue.waiting DeferredQueue.pending",
)
def queue_attributes(defer: Any, n: int) -> None:
    queue = defer.DeferredQueue(1, 1)
    for _ in repeat(None, n):
        queue.size
        queue.backlog
        queue.waiting
        queue.pending


_group = "callbacks"


@row("an argument by keyword", 5, of="Deferred.addCallback")
def keyword(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(add_named, number=1)
        d.callback(1)


@row("an argument by keyword, already fired", 5, of="Deferred.addCallback")
def keyword_fired(defer: Any, n: int) -> None:
    succeed = defer.succeed
    for _ in repeat(None, n):
        succeed(1).addCallback(add_named, number=1)


@row("addBoth and addErrback, by keyword", 5, of="Deferred.addErrback Deferred.addBoth")
def keyword_both(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addErrback(swallow, number=1)
        d.addBoth(add_named, number=1)
        d.callback(1)


@row("the callback itself by keyword", 2, of="Deferred.addCallback")
def callback_named(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(callback=same)
        d.callback(1)


@row("three arguments", 5, of="Deferred.addCallback")
def three_arguments(defer: Any, n: int) -> None:
    def function(value, one, two, three):
        return value

    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(function, 1, 2, 3)
        d.callback(1)


@row("addCallbacks", 5, of="Deferred.addCallbacks")
def both(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallbacks(same, ignore)
        d.callback(1)


@row("addCallbacks, errback by keyword", 5, of="Deferred.addCallbacks")
def both_named(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallbacks(same, errback=ignore)
        d.callback(1)


@row("addCallbacks with callbackArgs", 5, of="Deferred.addCallbacks")
def both_args(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallbacks(add, ignore, callbackArgs=(1,))
        d.callback(1)


@row("addCallbacks with all four", 5, of="Deferred.addCallbacks")
def both_all(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallbacks(add_named, swallow, (1,), {}, (), {"number": 1})
        d.callback(1)


@row("addCallbacks with all four, by keyword", 5, of="Deferred.addCallbacks")
def both_all_named(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallbacks(
            add_named,
            swallow,
            callbackArgs=(),
            callbackKeywords={"number": 1},
            errbackArgs=(1,),
            errbackKeywords={},
        )
        d.callback(1)


@row("addCallbacks, failed", 5, of="Deferred.addCallbacks")
def both_failed(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    error = ValueError()
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallbacks(same, swallow, errbackKeywords={"number": 1})
        d.errback(error)


@row("chainDeferred", 5, of="Deferred.chainDeferred")
def chain(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        inner, outer = Deferred(), Deferred()
        inner.chainDeferred(outer)
        inner.callback(1)


@row("a callback that is a bound method", 5, of="Deferred.addCallback")
def bound(defer: Any, n: int) -> None:
    class Object:
        def method(self, value):
            return value

    Deferred, method = defer.Deferred, Object().method
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(method)
        d.callback(1)


@row("a callback that is written in C", 4, of="Deferred.addCallback")
def of_c(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(str)
        d.callback(1)


@row("another Deferred's callback as a callback", 4, of="Deferred.addCallback Deferred.callback")
def of_deferred(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        other, d = Deferred(), Deferred()
        d.addCallback(other.callback)
        d.callback(1)


@row("pause, fire, unpause", 5, of="Deferred.pause Deferred.unpause")
def pause(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(same)
        d.pause()
        d.callback(1)
        d.unpause()


_group = "errors"


@row("errback with an exception, swallowed", 5, of="Deferred.errback")
def errback(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    error = ValueError()
    for _ in repeat(None, n):
        d = Deferred()
        d.addErrback(ignore)
        d.errback(error)


@row("errback with a Failure, swallowed", 5, of="Deferred.errback")
def errback_failure(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    failure = defer.Failure(ValueError())
    for _ in repeat(None, n):
        d = Deferred()
        d.addErrback(ignore)
        d.errback(failure)


@row("errback() in an except clause, swallowed", 5, of="Deferred.errback")
def errback_handled(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    try:
        fails()
    except ValueError:
        for _ in repeat(None, n):
            d = Deferred()
            d.addErrback(ignore)
            d.errback()


@row("raise and errback() in an except clause, swallowed", 5, of="Deferred.errback")
def errback_raised(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addErrback(ignore)
        try:
            fails()
        except ValueError:
            d.errback()


@row("fail() in an except clause, swallowed", 5, of="fail")
def fail_handled(defer: Any, n: int) -> None:
    fail = defer.fail
    try:
        fails()
    except ValueError:
        for _ in repeat(None, n):
            fail().addErrback(ignore)


@row("an exception from ten frames deep, swallowed", 2)
def deep(defer: Any, n: int) -> None:
    succeed = defer.succeed

    def function(value):
        raised(9)

    for _ in repeat(None, n):
        succeed(1).addCallback(function).addErrback(ignore)


@row("fired twice, caught", 2)
def twice(defer: Any, n: int) -> None:
    Deferred, AlreadyCalledError = defer.Deferred, defer.AlreadyCalledError
    for _ in repeat(None, n):
        d = Deferred()
        d.callback(1)
        try:
            d.callback(1)
        except AlreadyCalledError:
            pass


@row("debug mode: create, fire", of="setDebugging")
def debug(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    defer.setDebugging(True)
    try:
        for _ in repeat(None, n):
            Deferred().callback(1)
    finally:
        defer.setDebugging(False)


@row("getDebugging", of="getDebugging")
def get_debugging(defer: Any, n: int) -> None:
    getDebugging = defer.getDebugging
    for _ in repeat(None, n):
        getDebugging()


@row("setDebugging", of="setDebugging")
def set_debugging(defer: Any, n: int) -> None:
    setDebugging = defer.setDebugging
    for _ in repeat(None, n):
        setDebugging(False)


@row("logError", of="logError")
def log_error(defer: Any, n: int) -> None:
    logError, failure = defer.logError, failure_of(defer)
    for _ in repeat(None, n):
        logError(failure)


@row("a failure that nobody handles", of="DebugInfo.__del__")
def unhandled(defer: Any, n: int) -> None:
    fail, error = defer.fail, ValueError()
    for _ in repeat(None, n):
        fail(error)


class Taker(logging.Handler):
    """Takes each record, and does nothing with it."""

    def handle(self, record: logging.LogRecord) -> bool:
        return True


@contextmanager
def taken() -> Iterator[None]:
    """Have what is reported taken by something: one call for each report."""
    module, handler = sys.modules.get("twisted.logger"), Taker()
    if module is not None:
        module.globalLogPublisher.addObserver(reads)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        if module is not None:
            module.globalLogPublisher.removeObserver(reads)


@row("logError, and something takes it", of="logError")
def log_error_taken(defer: Any, n: int) -> None:
    logError, failure = defer.logError, failure_of(defer)
    with taken():
        for _ in repeat(None, n):
            logError(failure)


@row("a failure that nobody handles, and something takes the report", of="DebugInfo.__del__")
def unhandled_taken(defer: Any, n: int) -> None:
    fail, error = defer.fail, ValueError()
    with taken():
        for _ in repeat(None, n):
            fail(error)


@row("DebugInfo's attributes", of="DebugInfo.failResult DebugInfo.creator DebugInfo.invoker")
def debug_info(defer: Any, n: int) -> None:
    info = defer.DebugInfo()
    info.creator = info.invoker = []
    for _ in repeat(None, n):
        info.failResult
        info.creator
        info.invoker


@row("cancel with a canceller", 5, of="Deferred.cancel")
def cancel_canceller(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred(reads)
        d.addErrback(ignore)
        d.cancel()


@row("cancel what has fired", 2, of="Deferred.cancel")
def cancel_fired(defer: Any, n: int) -> None:
    d = defer.succeed(1)
    for _ in repeat(None, n):
        d.cancel()


@row("timeout", of="timeout")
def old_timeout(defer: Any, n: int) -> None:
    import warnings

    Deferred, timeout = defer.Deferred, defer.timeout
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in repeat(None, n):
            d = Deferred()
            d.addErrback(ignore)
            timeout(d)


@row("addTimeout, fired in time", 5, of="Deferred.addTimeout")
def in_time(defer: Any, n: int) -> None:
    Deferred, clock = defer.Deferred, Clock()
    for _ in repeat(None, n):
        d = Deferred()
        d.addTimeout(1, clock)
        d.callback(1)


@row("addTimeout, timed out", 5, of="Deferred.addTimeout")
def timed_out(defer: Any, n: int) -> None:
    Deferred, clock = defer.Deferred, Clock()
    for _ in repeat(None, n):
        d = Deferred()
        d.addTimeout(1, clock)
        d.addErrback(ignore)
        clock.call.run()


@row("addTimeout with onTimeoutCancel, timed out", 5, of="Deferred.addTimeout")
def timed_out_own(defer: Any, n: int) -> None:
    Deferred, clock = defer.Deferred, Clock()
    for _ in repeat(None, n):
        d = Deferred()
        d.addTimeout(1, clock, onTimeoutCancel=give)
        clock.call.run()


_group = "functions"


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


_group = "subclasses"


@row("a plain subclass: create, callback, fire", 5)
def subclass(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        pass

    for _ in repeat(None, n):
        d = Subclass()
        d.addCallback(same)
        d.callback(1)


@row("a subclass with an attribute set in `__init__`", 5)
def subclass_init(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def __init__(self):
            super().__init__()
            self.name = None

    for _ in repeat(None, n):
        d = Subclass()
        d.addCallback(same)
        d.callback(1)


@row("the same, that calls `Deferred.__init__`", 5)
def subclass_init_by_name(defer: Any, n: int) -> None:
    Deferred = defer.Deferred

    class Subclass(Deferred):
        def __init__(self, name):
            Deferred.__init__(self)
            self.name = name

    for _ in repeat(None, n):
        d = Subclass(None)
        d.addCallback(same)
        d.callback(1)


@row("a subclass that overrides `callback`", 5)
def subclass_callback(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def callback(self, result):
            super().callback(result)

    for _ in repeat(None, n):
        d = Subclass()
        d.addCallback(same)
        d.callback(1)


@row("a subclass that overrides `addCallbacks`", 4)
def subclass_add(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        def addCallbacks(self, *args, **kwargs):
            return super().addCallbacks(*args, **kwargs)

    for _ in repeat(None, n):
        d = Subclass()
        d.addCallbacks(same, ignore)
        d.callback(1)


@row("a plain subclass, chained", 4)
def subclass_chained(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        pass

    for _ in repeat(None, n):
        inner, outer = Subclass(), Subclass()
        outer.addCallback(give, inner)
        outer.callback(1)
        inner.callback(1)


@row("a plain subclass, yielded", 5)
def subclass_yielded(defer: Any, n: int) -> None:
    class Subclass(defer.Deferred):
        pass

    @defer.inlineCallbacks
    def generator(d):
        yield d

    for _ in repeat(None, n):
        d = Subclass()
        generator(d)
        d.callback(1)


@row("defining a subclass")
def subclass_defined(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        type("Subclass", (Deferred,), {})
    # They are in a list, for good.
    del defer._DEFERRED_SUBCLASSES[-n:]


_group = "many"


@row("gatherResults of two", 3, of="gatherResults")
def gather_two(defer: Any, n: int) -> None:
    succeed, gatherResults = defer.succeed, defer.gatherResults
    for _ in repeat(None, n):
        gatherResults([succeed(1), succeed(2)])


@row("gatherResults of two, by keyword, one fails", 3, of="gatherResults")
def gather_fails(defer: Any, n: int) -> None:
    succeed, fail, gatherResults = defer.succeed, defer.fail, defer.gatherResults
    error = ValueError()
    for _ in repeat(None, n):
        gatherResults([succeed(1), fail(error)], consumeErrors=True).addErrback(ignore)


@row("DeferredList of two", 3)
def list_two(defer: Any, n: int) -> None:
    succeed, DeferredList = defer.succeed, defer.DeferredList
    for _ in repeat(None, n):
        DeferredList([succeed(1), succeed(2)])


@row("DeferredList of two, by keyword", 3)
def list_named(defer: Any, n: int) -> None:
    succeed, DeferredList = defer.succeed, defer.DeferredList
    for _ in repeat(None, n):
        DeferredList([succeed(1), succeed(2)], fireOnOneErrback=True, consumeErrors=True)


@row("DeferredList of none", 3)
def list_none(defer: Any, n: int) -> None:
    DeferredList = defer.DeferredList
    for _ in repeat(None, n):
        DeferredList([])


@row("DeferredList.cancel, of two", 3, of="DeferredList.cancel")
def list_cancel(defer: Any, n: int) -> None:
    Deferred, DeferredList = defer.Deferred, defer.DeferredList
    for _ in repeat(None, n):
        DeferredList([Deferred(), Deferred()], consumeErrors=True).cancel()


@row("race of two", 3, of="race")
def race(defer: Any, n: int) -> None:
    Deferred, race = defer.Deferred, defer.race
    for _ in repeat(None, n):
        one, other = Deferred(), Deferred()
        race([one, other])
        one.callback(1)


@row("race of two that fail", 3, of="race")
def race_fails(defer: Any, n: int) -> None:
    fail, race, error = defer.fail, defer.race, ValueError()
    for _ in repeat(None, n):
        race([fail(error), fail(error)]).addErrback(ignore)


@row("FirstError", of="FirstError.index FirstError.subFailure")
def first_error(defer: Any, n: int) -> None:
    FirstError, failure = defer.FirstError, failure_of(defer)
    for _ in repeat(None, n):
        error = FirstError(failure, 0)
        error.index
        error.subFailure


@row("FirstError, str and repr", of="FirstError.__str__ FirstError.__repr__ FirstError.__cmp__")
def first_error_text(defer: Any, n: int) -> None:
    error = defer.FirstError(failure_of(defer), 0)
    for _ in repeat(None, n):
        str(error)
        repr(error)
        error.__cmp__(error)


@row("FailureGroup", of="FailureGroup.failures")
def failure_group(defer: Any, n: int) -> None:
    FailureGroup, failures = defer.FailureGroup, [failure_of(defer)]
    for _ in repeat(None, n):
        FailureGroup(failures).failures


@row("DeferredLock.run", 3, of="DeferredLock.run")
def lock_run(defer: Any, n: int) -> None:
    lock = defer.DeferredLock()
    for _ in repeat(None, n):
        lock.run(same, 1)


@row("DeferredLock.run, by keyword", 3, of="DeferredLock.run")
def lock_run_named(defer: Any, n: int) -> None:
    lock = defer.DeferredLock()
    for _ in repeat(None, n):
        lock.run(add_named, 1, number=2)


@row("DeferredLock, async with", 3, of="DeferredLock.__aenter__ DeferredLock.__aexit__")
def lock_with(defer: Any, n: int) -> None:
    lock = defer.DeferredLock()

    async def coroutine():
        for _ in repeat(None, n):
            async with lock:
                pass

    defer.ensureDeferred(coroutine())


@row("DeferredSemaphore.run", 3, of="DeferredSemaphore.run")
def semaphore_run(defer: Any, n: int) -> None:
    semaphore = defer.DeferredSemaphore(2)
    for _ in repeat(None, n):
        semaphore.run(same, 1)


@row(
    "DeferredSemaphore, async with",
    3,
    of="DeferredSemaphore.__aenter__ DeferredSemaphore.__aexit__",
)
def semaphore_with(defer: Any, n: int) -> None:
    semaphore = defer.DeferredSemaphore(2)

    async def coroutine():
        for _ in repeat(None, n):
            async with semaphore:
                pass

    defer.ensureDeferred(coroutine())


@row("DeferredLock, a new one", 2)
def lock_new(defer: Any, n: int) -> None:
    DeferredLock = defer.DeferredLock
    for _ in repeat(None, n):
        DeferredLock()


@row("DeferredSemaphore, a new one", 2)
def semaphore_new(defer: Any, n: int) -> None:
    DeferredSemaphore = defer.DeferredSemaphore
    for _ in repeat(None, n):
        DeferredSemaphore(2)


@row("DeferredQueue, a new one", 2)
def queue_new(defer: Any, n: int) -> None:
    DeferredQueue = defer.DeferredQueue
    for _ in repeat(None, n):
        DeferredQueue()


@row("DeferredQueue that is full", 2, of="DeferredQueue.put")
def queue_full(defer: Any, n: int) -> None:
    queue, QueueOverflow = defer.DeferredQueue(0), defer.QueueOverflow
    for _ in repeat(None, n):
        try:
            queue.put(1)
        except QueueOverflow:
            pass


@row("DeferredQueue that has no more room for those that wait", 2, of="DeferredQueue.get")
def queue_empty(defer: Any, n: int) -> None:
    queue, QueueUnderflow = defer.DeferredQueue(backlog=0), defer.QueueUnderflow
    for _ in repeat(None, n):
        try:
            queue.get()
        except QueueUnderflow:
            pass


@row("DeferredQueue.get, cancelled", 3, of="DeferredQueue.get")
def queue_cancel(defer: Any, n: int) -> None:
    queue = defer.DeferredQueue()
    for _ in repeat(None, n):
        d = queue.get()
        d.addErrback(ignore)
        d.cancel()


@row(
    "DeferredFilesystemLock: lock, unlock",
    of="DeferredFilesystemLock.lock "
    "DeferredFilesystemLock.unlock DeferredFilesystemLock.clean DeferredFilesystemLock.locked "
    "DeferredFilesystemLock.name",
)
def file_lock(defer: Any, n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lock = defer.DeferredFilesystemLock(os.path.join(folder, "lock"), scheduler=Clock())
        for _ in repeat(None, n):
            lock.lock()
            lock.name, lock.locked, lock.clean
            lock.unlock()


@row("DeferredFilesystemLock.deferUntilLocked", of="DeferredFilesystemLock.deferUntilLocked")
def file_lock_deferred(defer: Any, n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lock = defer.DeferredFilesystemLock(os.path.join(folder, "lock"), scheduler=Clock())
        for _ in repeat(None, n):
            lock.deferUntilLocked()
            lock.unlock()


ALL_ROWS = {**ROWS, **OTHER_ROWS}
