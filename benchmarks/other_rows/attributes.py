"""Rows about reading and setting attributes of Deferreds, lists, locks and queues."""

# Attributes are read here for what it costs.
# ruff: noqa: B018

from __future__ import annotations

from itertools import repeat
from typing import Any

from ..rows import same
from .table import group

row = group("attributes")


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


@row("Deferred.result, set", of="Deferred.result")
def result_set(defer: Any, n: int) -> None:
    d = defer.succeed(1)
    for _ in repeat(None, n):
        d.result = 2


@row("Deferreds put into a WeakSet, fired", 2)
def weak_set(defer: Any, n: int) -> None:
    from weakref import WeakSet

    Deferred, pending = defer.Deferred, WeakSet()
    for _ in repeat(None, n):
        d = Deferred()
        pending.add(d)
        d.callback(1)
