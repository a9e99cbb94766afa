"""Threads that look at all that waits, or switch checks on and off, while others use it."""

from __future__ import annotations

import contextlib
import gc
import random
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import deferrous
from deferrous import (
    AlreadyCalledError,
    CancelledError,
    Deferred,
    DeferredLock,
    DeferredQueue,
    ensureDeferred,
    gatherResults,
    getDebugging,
    inlineCallbacks,
    setDebugging,
    testing,
)
from deferrous import concurrency as c

from .parts import THREADS, at_once


def _work(thread: int, rounds: int, check: Callable[[], object] = lambda: None) -> None:
    """Use all kinds of things of this thread's own, and look whether they do what they should."""
    lock, queue = DeferredLock(), DeferredQueue[int]()
    semaphore, other_queue = c.Semaphore(2), c.Queue[int](1)

    async def coroutine(waited: Deferred[int]) -> int:
        async with lock:
            async with c.TaskGroup() as group:
                group.create_task(other())
                return await waited

    async def other() -> None:
        async with semaphore:
            await other_queue.put(1)
            await other_queue.get()

    @inlineCallbacks
    def generator(waited: Deferred[int]) -> Any:
        got = yield waited
        return got + (yield queue.get())

    for number in range(rounds):
        check()
        waited: Deferred[int] = Deferred()
        results = [ensureDeferred(coroutine(waited)), ensureDeferred(coroutine(waited))]
        both: list[Any] = []
        gatherResults(results, consumeErrors=True).addBoth(both.append)
        ended: list[Any] = []
        again: Deferred[int] = Deferred()
        generator(again).addBoth(ended.append)
        again.callback(number)
        waited.callback(number)
        queue.put(1)
        assert both == [[number, number]], both
        assert ended == [number + 1], ended
        gone: Deferred[int] = Deferred()
        gone.addErrback(lambda reason: reason.trap(CancelledError))
        gone.cancel()
        gone.addBoth(lambda _: None)


def _working(threads: int, rounds: int) -> tuple[list[Callable[[], None]], threading.Event]:
    """Return functions for threads that work, and an event that is set when all have ended."""
    ends = threading.Event()
    ended: list[int] = []

    def work(thread: int) -> None:
        try:
            _work(thread, rounds)
        finally:
            ended.append(thread)
            if len(ended) == threads:
                ends.set()

    return [partial(work, thread) for thread in range(threads)], ends


def inspected(rng: random.Random) -> None:
    """Threads list what waits, draw graphs and look for deadlocks, while others work."""
    works, ends = _working(threads=2, rounds=15)
    shared: list[Any] = [Deferred() for _ in range(20)]
    for number, each in enumerate(shared[1:]):
        each.addCallback(lambda _, number=number: shared[number])

    def look() -> None:
        while not ends.is_set():
            str(deferrous.pending())
            deferrous.deadlocks()
            for each in shared[::5]:
                graph = deferrous.capture_call_graph(each)
                if graph is not None:
                    str(graph), graph.to_dict(), graph.to_mermaid()

    def fire() -> None:
        for each in shared[::-1]:
            each.callback(None)

    at_once(*works, look, look, fire)


def tracked(rng: random.Random) -> None:
    """Tracking and tracing begin and end in one thread, while others work."""
    works, ends = _working(threads=3, rounds=25)

    def look() -> None:
        while not ends.is_set():
            with deferrous.track():
                for each in deferrous.pending().deferreds:
                    str(each)
            with deferrous.trace(capacity=500) as whole:
                gc.collect(0)
            for event in whole.events:
                str(event)
            whole.timeline()

    at_once(*works, look)


def checked(rng: random.Random) -> None:
    """The check of threads is switched on and off, while others use their own Deferreds."""
    methods = dict(vars(Deferred))
    works, ends = _working(threads=2, rounds=25)

    def switch() -> None:
        while not ends.is_set():
            testing.checkThreads()
            testing.checkThreads("warn")
            testing.checkThreads(None)

    unraisable: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        at_once(*works, switch, switch)
    finally:
        sys.unraisablehook = hook
        testing.checkThreads(None)
    assert not unraisable, [each.exc_value for each in unraisable]
    for name, method in methods.items():
        assert vars(Deferred)[name] is method or name.startswith("__"), name
    assert vars(Deferred)["__init__"] is methods["__init__"]


def debugging_switched(rng: random.Random) -> None:
    """Debug mode is switched on and off, while others make Deferreds: new ones know of it."""
    before = getDebugging()
    ends = threading.Event()

    def switch() -> None:
        try:
            for _ in range(300):
                setDebugging(True)
                one: Any = Deferred()
                assert one._debugInfo is not None
                setDebugging(False)
                one = Deferred()
                assert one._debugInfo is None, "made without debug mode"
        finally:
            ends.set()

    def make() -> None:
        while not ends.is_set():
            for _ in range(50):
                Deferred()

    try:
        at_once(switch, *[make] * (THREADS - 1))
    finally:
        setDebugging(before)


def reported(rng: random.Random) -> None:
    """What fails in one thread is handled by another: that is not reported."""
    reports: list[Any] = []

    class Info:
        failResult = None

        def __init__(self) -> None:
            for _ in range(rng.randrange(400)):
                pass

        def __del__(self) -> None:
            if self.failResult is not None:
                reports.append(self.failResult)

        def _getDebugTracebacks(self) -> str:
            return ""

    before, deferrous.DebugInfo = deferrous.DebugInfo, Info  # type: ignore[assignment,misc]
    try:
        deferreds: list[Deferred[Any]] = [Deferred() for _ in range(100)]

        def fail() -> None:
            for each in deferreds:
                each.errback(ValueError())

        def handle() -> None:
            for each in deferreds:
                while not each.called:
                    pass
                each.addErrback(lambda _: None)

        at_once(fail, handle)
        deferreds.clear()
        gc.collect()
        assert not reports, len(reports)
    finally:
        deferrous.DebugInfo = before  # type: ignore[misc]


def handled_later(rng: random.Random) -> None:
    """Each failure that nobody handles is reported once, whichever thread drops it."""
    import logging

    reports: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = reports.append  # type: ignore[method-assign]
    logger = logging.getLogger("deferrous")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        deferreds: list[Any] = [Deferred() for _ in range(80)]

        def fail(thread: int) -> None:
            for each in deferreds[thread::2]:
                if each is not None:
                    each.errback(ValueError())

        def drop(thread: int) -> None:
            for number in range(thread, 80, 2):
                deferreds[number] = None

        at_once(lambda: fail(0), lambda: fail(1))
        at_once(lambda: drop(0), lambda: drop(1), gc.collect)
        gc.collect()
        assert len(reports) == 80, len(reports)
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def objects_listed(rng: random.Random) -> None:
    """A thread lists all objects there are, and uses them, while others make and drop them."""
    works, ends = _working(threads=2, rounds=15)

    def look() -> None:
        while not ends.is_set():
            for each in gc.get_objects():
                if type(each).__module__.startswith("deferrous"):
                    # One written in Python may have been made, and have no attributes yet.
                    with contextlib.suppress(AttributeError):
                        repr(each)
                    if isinstance(each, Deferred):
                        each.called, each.paused, getattr(each, "result", None)
            gc.get_referrers(Deferred)

    at_once(*works, look)


def fired_by_each(rng: random.Random) -> None:
    """`called` and `result` are read as others fire: who sees the one sees the other."""
    deferreds: list[Any] = [Deferred() for _ in range(300)]

    def fire() -> None:
        for number, each in enumerate(deferreds):
            try:
                each.callback(number)
            except AlreadyCalledError:
                pass

    def look() -> None:
        for number, each in enumerate(deferreds):
            while not each.called:
                pass
            assert each.result == number, each

    at_once(fire, look, look, fire)


PROGRAMS = (
    inspected,
    tracked,
    checked,
    debugging_switched,
    reported,
    handled_later,
    objects_listed,
    fired_by_each,
)
