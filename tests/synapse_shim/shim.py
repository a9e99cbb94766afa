"""Synapse's `synapse.util.async_helpers` on `deferrous.concurrency`.

The names, and what they promise, are Synapse's; its own tests run on this: see run.py. What is left
of Synapse's is its rule for logging contexts: what is awaited restores the caller's.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Generic, TypeVar

from deferrous import concurrency
from synapse.logging.context import (
    PreserveLoggingContext,
    make_deferred_yieldable,
    run_coroutine_in_background,
    run_in_background,
)
from twisted.internet import defer

_T = TypeVar("_T")


def _ignore(_):
    pass


class ObservableDeferred(Generic[_T]):
    def __init__(self, deferred, consumeErrors=False):
        self._deferred = deferred
        self._observable = concurrency.Observable(deferred)
        if consumeErrors:
            deferred.addErrback(_ignore)

    def observe(self):
        return self._observable.observe()

    def observers(self):
        return list(self._observable._observers)

    def has_observers(self):
        return self._observable.observers() > 0

    def has_called(self):
        return self._observable.has_result()

    def has_succeeded(self):
        return self.has_called() and not isinstance(self.get_result(), defer.Failure)

    def get_result(self):
        if not self.has_called():
            raise ValueError(f"{self!r} has no result yet")
        return self._observable._result

    def __getattr__(self, name):
        return getattr(self._deferred, name)


async def concurrently_execute(func, args, limit, delay_cancellation=False):
    done = concurrency.map(lambda value: run_in_background(func, value), args, limit=limit)
    await make_deferred_yieldable(
        concurrency.delay_cancellation(done) if delay_cancellation else done
    )


async def yieldable_gather_results(func, iter, *args, **kwargs):
    begun = [run_in_background(func, item, *args, **kwargs) for item in iter]
    return await make_deferred_yieldable(concurrency.gather(*begun))


async def yieldable_gather_results_delaying_cancellation(func, iter, *args, **kwargs):
    begun = [run_in_background(func, item, *args, **kwargs) for item in iter]
    return await make_deferred_yieldable(delay_cancellation(concurrency.gather(*begun)))


async def gather_optional_coroutines(*coroutines):
    begun = [run_coroutine_in_background(each) for each in coroutines if each is not None]
    results = iter(await make_deferred_yieldable(concurrency.gather(*begun)))
    return tuple(None if each is None else next(results) for each in coroutines)


class Linearizer:
    def __init__(self, *, name, clock, max_count=1):
        self._clock = clock
        self._lock = concurrency.KeyedLock(max_count)

    def is_queued(self, key):
        return self._lock.waiting(key) > 0

    @asynccontextmanager
    async def queue(self, key):
        lock, waits = self._lock(key), self._lock.locked(key)
        await make_deferred_yieldable(lock.acquire())
        try:
            if waits:
                # Synapse has the next one go on when the reactor comes round.
                await self._clock.sleep(0)
            yield
        finally:
            with PreserveLoggingContext():
                lock.release()


class ReadWriteLock:
    def __init__(self):
        self._locks = {}

    @asynccontextmanager
    async def read(self, key):
        await make_deferred_yieldable(self._lock(key).reading.acquire())
        try:
            yield
        finally:
            self._release(key, "reading")

    @asynccontextmanager
    async def write(self, key):
        # One that is cancelled waits for its turn all the same, so the lock is held in any case.
        try:
            await make_deferred_yieldable(delay_cancellation(self._lock(key).writing.acquire()))
            yield
        finally:
            self._release(key, "writing")

    def _lock(self, key):
        return self._locks.setdefault(key, concurrency.ReadWriteLock())

    def _release(self, key, side):
        lock = self._locks[key]
        with PreserveLoggingContext():
            getattr(lock, side).release()
        if not lock.locked():
            self._locks.pop(key, None)


def timeout_deferred(*, deferred, timeout, cancel_on_shutdown=True, clock):
    def time_out(failure):
        failure.trap(concurrency.TimeoutError)
        try:
            deferred.cancel()
        except Exception:
            logging.getLogger(__name__).exception("Canceller failed during timeout")
        raise defer.TimeoutError(f"Timed out after {timeout:g}s")

    waiting = concurrency.wait_for(stop_cancellation(deferred), timeout, clock=clock)
    return waiting.addErrback(time_out)


def stop_cancellation(deferred):
    wrapper = concurrency.shield(deferred)
    deferred.addErrback(_ignore)
    return wrapper


def delay_cancellation(awaitable):
    if not isawaitable(awaitable):
        return awaitable
    deferred = defer.ensureDeferred(awaitable)
    wrapper = concurrency.delay_cancellation(deferred)
    deferred.addErrback(_ignore)
    return wrapper


class AwakenableSleeper:
    def __init__(self, clock):
        self._clock = clock
        self._events = {}

    def wake(self, name):
        with PreserveLoggingContext():
            self._events.pop(name, concurrency.Event()).set()

    async def sleep(self, name, delay_ms):
        event = self._events.setdefault(name, concurrency.Event())
        waits = [event.wait()]
        await make_deferred_yieldable(
            concurrency.wait(waits, timeout=delay_ms / 1000, clock=self._clock)
        )
        waits[0].addErrback(_ignore).cancel()
        if not event._waiting and self._events.get(name) is event:
            del self._events[name]


class DeferredEvent:
    def __init__(self, clock):
        self._clock, self._event = clock, concurrency.Event()
        self.set, self.clear, self.is_set = self._event.set, self._event.clear, self._event.is_set

    async def wait(self, timeout_seconds):
        wait = concurrency.wait_for(self._event.wait(), timeout_seconds, clock=self._clock)
        await make_deferred_yieldable(wait.addErrback(lambda failure: failure.trap(TimeoutError)))
        return self.is_set()
