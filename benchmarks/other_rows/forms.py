"""Rows about what programs give as callbacks and errbacks, and what these do."""

from __future__ import annotations

from functools import partial, wraps
from itertools import pairwise, repeat
from typing import Any

from ..rows import fails, give, ignore, same
from .table import Mistake, add_named, group, swallow

row = group("callbacks")


@row("a callback that is a lambda, made each time", 5)
def made(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(lambda value: value)
        d.callback(1)


@row("a callback that is a partial", 4)
def partial_function(defer: Any, n: int) -> None:
    Deferred, function = defer.Deferred, partial(add_named, number=1)
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(function)
        d.callback(1)


@row("a callback that is an object with `__call__`", 4)
def callable_object(defer: Any, n: int) -> None:
    class Object:
        def __call__(self, value):
            return value

    Deferred, function = defer.Deferred, Object()
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(function)
        d.callback(1)


@row("a callback that is a class", 3)
def class_called(defer: Any, n: int) -> None:
    class Object:
        def __init__(self, value):
            self.value = value

    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(Object)
        d.callback(1)


@row("a callback that is decorated", 4)
def decorated(defer: Any, n: int) -> None:
    def decorator(function):
        @wraps(function)
        def decorated(*args, **kwargs):
            return function(*args, **kwargs)

        return decorated

    Deferred, function = defer.Deferred, decorator(same)
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(function)
        d.callback(1)


@row("a callback that adds another to its own Deferred", 4)
def added_within(defer: Any, n: int) -> None:
    def function(value, d):
        d.addCallback(same)
        return value

    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(function, d)
        d.callback(1)


@row("three callbacks that each return a Deferred with a callback", 5)
def returned_thrice(defer: Any, n: int) -> None:
    succeed = defer.succeed

    def function(value):
        return succeed(value).addCallback(same)

    for _ in repeat(None, n):
        succeed(1).addCallback(function).addCallback(function).addCallback(function)


@row("a callback that returns a Failure", 5)
def failure_returned(defer: Any, n: int) -> None:
    succeed, Failure, error = defer.succeed, defer.Failure, ValueError()

    def function(value):
        return Failure(error)

    for _ in repeat(None, n):
        succeed(1).addCallback(function).addErrback(ignore)


@row("a failure that passes four callbacks", 5)
def passes(defer: Any, n: int) -> None:
    fail, error = defer.fail, ValueError()
    for _ in repeat(None, n):
        d = fail(error).addCallback(same).addCallback(same)
        d.addCallback(same).addCallback(same).addErrback(ignore)


@row("four errbacks that return the Failure", 5)
def returned_on(defer: Any, n: int) -> None:
    fail, error = defer.fail, ValueError()
    for _ in repeat(None, n):
        d = fail(error).addErrback(same).addErrback(same)
        d.addErrback(same).addErrback(same).addErrback(ignore)


@row("an errback that raises the exception again", 4)
def raised_again(defer: Any, n: int) -> None:
    fail, error = defer.fail, ValueError()

    def errback(failure):
        raise failure.value

    for _ in repeat(None, n):
        fail(error).addErrback(errback).addErrback(ignore)
        error.__traceback__ = None


@row("an errback that raises another `from` it", 4)
def raised_from(defer: Any, n: int) -> None:
    fail, error = defer.fail, ValueError()

    def errback(failure):
        raise Mistake from failure.value

    for _ in repeat(None, n):
        fail(error).addErrback(errback).addErrback(ignore)


@row("an errback with arguments, one by keyword", 5)
def errback_arguments(defer: Any, n: int) -> None:
    def errback(failure, one, two=None):
        return one

    fail, error = defer.fail, ValueError()
    for _ in repeat(None, n):
        fail(error).addErrback(errback, 1, two=2)


@row("addCallbacks with lists of arguments", 4)
def both_lists(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallbacks(add_named, swallow, callbackArgs=[1], errbackArgs=[1])
        d.callback(1)


@row("ten links of all kinds", 5)
def ten_links(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        d = Deferred()
        d.addCallback(same).addErrback(ignore).addBoth(same).addCallbacks(same, ignore)
        d.addErrback(ignore).addCallback(add_named, 1).addErrback(swallow, 1)
        d.addBoth(same).addCallbacks(same, ignore).addErrback(ignore)
        d.callback(1)


@row("five Deferreds, each the result of the one before", 5)
def five_deep(defer: Any, n: int) -> None:
    Deferred = defer.Deferred
    for _ in repeat(None, n):
        deferreds = [Deferred() for _ in repeat(None, 5)]
        for outer, inner in pairwise(deferreds):
            outer.addCallback(give, inner)
        for d in deferreds:
            d.callback(1)


@row("a failure in a callback that nobody handles", 3)
def lost(defer: Any, n: int) -> None:
    succeed = defer.succeed
    for _ in repeat(None, n):
        succeed(1).addCallback(fails)
