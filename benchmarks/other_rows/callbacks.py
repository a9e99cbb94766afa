"""Rows about callbacks: their forms, their arguments, and chained Deferreds."""

from __future__ import annotations

from itertools import repeat
from typing import Any

from ..rows import add, ignore, same
from .table import add_named, group, swallow

row = group("callbacks")


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
