"""Rows about several at once: lists, races, locks, semaphores, queues."""

# Attributes are read here for what it costs.
# ruff: noqa: B018

from __future__ import annotations

import os
import tempfile
from itertools import repeat
from typing import Any

from ..rows import ignore, same
from .table import Clock, add_named, failure_of, group

row = group("many")


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
