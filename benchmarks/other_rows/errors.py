"""Rows about errors: errbacks, reports, debug mode, cancelling and timeouts."""

# Attributes are read here for what it costs.
# ruff: noqa: B018

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from typing import Any

from ..rows import fails, give, ignore
from .table import Clock, failure_of, group, raised, reads

row = group("errors")


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
