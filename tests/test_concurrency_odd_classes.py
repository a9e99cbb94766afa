"""`deferrous.concurrency` with subclasses written for asyncio, and with unusual results."""

from __future__ import annotations

import asyncio
import sys
import sysconfig

import pytest
from deferrous import Deferred, Failure, ensureDeferred
from deferrous import concurrency as c
from deferrous.testing import Clock

pytestmark = pytest.mark.deferrous_only


# Subclasses as they are written for asyncio's classes.


class ReleasesOne(c.Semaphore):
    def release(self):
        super().release()


class BoundToOne(c.BoundedSemaphore):
    def acquire(self):
        return super().acquire()

    def release(self):
        super().release()


class SetQueue(c.Queue):
    def _init(self, maxsize):
        self._queue = set()

    def _put(self, item):
        self._queue.add(item)

    def _get(self):
        return self._queue.pop()


class Sorted(c.Queue):
    def _init(self, maxsize):
        self._queue = []

    def _put(self, item):
        self._queue.append(item)
        self._queue.sort()

    def _get(self):
        return self._queue.pop(0)


class Counting(c.Queue):
    puts = 0

    def _put(self, item):
        self.puts += 1
        super()._put(item)


async def cancelled_when_it_was_given(acquire, give):
    """Have a task be given something, and cancelled before it runs."""

    async def take():
        return await acquire()

    task = asyncio.ensure_future(take())
    await asyncio.sleep(0)
    give()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("make", [ReleasesOne, BoundToOne])
def test_semaphores_that_know_of_no_weights(make):
    async def main():
        semaphore = make(1)
        semaphore.acquire()
        await cancelled_when_it_was_given(semaphore.acquire, semaphore.release)
        assert semaphore.value == 1

    asyncio.run(main())


@pytest.mark.parametrize("make", [SetQueue, Sorted, Counting])
def test_queues_that_keep_their_items_elsewhere(make):
    async def main():
        queue = make()
        await cancelled_when_it_was_given(queue.get, lambda: queue.put(2))
        queue.put(3)
        assert sorted(queue.get_nowait() for _ in range(queue.qsize())) == [2, 3]

    asyncio.run(main())


# Results that cannot be asked what they are.


class Unasked:
    @property
    def __class__(self):
        raise KeyError("do not ask")


async def block_with(task):
    async with c.TaskGroup() as group:
        group.create_task(task)


def joined(task):
    group = c.TaskGroup().open()
    group.create_task(task)
    return group.join()


@pytest.mark.parametrize(
    "begin",
    [
        lambda d: [c.wait([d])],
        lambda d: [c.wait([d], return_when=c.FIRST_COMPLETED), c.wait([d])],
        lambda d: [c.wait([d], return_when=c.FIRST_EXCEPTION)],
        lambda d: [next(c.as_completed([d]))],
        lambda d: [c.gather(d)],
        lambda d: [c.gather(d, return_exceptions=True)],
        lambda d: [c.gather(d, cancel_losers=True)],
        lambda d: [c.shield(d)],
        lambda d: [c.delay_cancellation(d)],
        lambda d: [each.observe() for each in [c.Observable(d)] for _ in range(3)],
        lambda d: [each() for each in [c.once(lambda: d)] for _ in range(3)],
        lambda d: [ensureDeferred(block_with(d))],
        lambda d: [joined(d)],
        lambda d: [c.map(lambda _: d, [1], limit=1)],
        lambda d: [c.stream(lambda _: d, [1], limit=1).__anext__()],
        lambda d: [c.wait_for(d, 9, clock=Clock())],
        lambda d: [c.Semaphore().run(lambda: d)],
    ],
    ids="wait first exception as_completed gather exceptions losers shield delay observe once "
    "block join map stream wait_for run".split(),
)
def test_result_that_cannot_be_asked_what_it_is(begin):
    d = Deferred()
    all_that_wait = begin(d)
    with pytest.raises(KeyError, match="do not ask"):
        d.callback(Unasked())
    assert all(each.called and not each.paused for each in all_that_wait)
    results = []
    for each in all_that_wait:
        each.addBoth(results.append)
    assert Failure not in map(type, results)


def test_putters_behind_one_that_cannot_be_told(monkeypatch):
    class Debug:
        def __bool__(self):
            raise LookupError("debug")

    class Picky(c.Queue):
        def _put(self, item):
            if item == "refused":
                # No failure can be made now.
                monkeypatch.setattr(Deferred, "debug", Debug())
                raise ValueError(item)
            monkeypatch.setattr(Deferred, "debug", False)
            self._queue.append(item)

    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    queue = Picky(1)
    queue.put_nowait("first")
    refused, put = queue.put("refused"), queue.put("second")
    assert queue.get_nowait() == "first"
    assert [it.exc_type for it in unraisable] == [LookupError]
    assert (refused.called, put.called) == (False, True)
    assert queue.get_nowait() == "second"


# Subclasses that use the object whenever one of its attributes is read or set. Without the GIL,
# that must not happen in the middle of a step, where the object would wait for itself.


def in_turn(*names):
    """Call these methods one after the other, whatever comes of it."""

    def call_all(it):
        for name in names:
            result = getattr(it, name)()
            if isinstance(result, Deferred):
                result.addErrback(lambda failure: None)

    return call_all


def read_and_write(lock):
    for _ in range(2):
        for way in lock.reading, lock.writing, lock.reading:
            way.acquire()
        for way in lock.reading, lock.writing, lock.reading:
            way.release()


def by_key(lock):
    first, second = lock("key"), lock("key")
    first.acquire()
    second.acquire()
    first.release()
    second.release()


USES = {
    "Semaphore": ([1], c.Semaphore.locked, in_turn("acquire", "acquire", "release", "release")),
    "ReadWriteLock": ([], lambda it: it.readers, read_and_write),
    "KeyedLock": ([], lambda it: it.locked("key"), by_key),
    "Event": ([], c.Event.wait, in_turn("wait", "set", "clear", "wait", "set")),
    "Condition": (
        [],
        c.Condition.locked,
        in_turn("acquire", "wait", "acquire", "notify", "release"),
    ),
    "Barrier": ([2], lambda it: it.n_waiting, in_turn("wait", "abort", "reset", "wait", "wait")),
    "Queue": ([], c.Queue.full, in_turn("get", "get", "join", "shutdown")),
    "PriorityQueue": ([], c.Queue.qsize, in_turn("get", "get", "join", "shutdown")),
    "LifoQueue": ([], c.Queue.empty, in_turn("get", "get", "join", "shutdown")),
    "Channel": ([1], lambda it: it.closed, in_turn("receive", "receive", "close")),
    "Broadcast": ([], lambda it: it.closed, in_turn("subscribe", "subscribe", "close")),
}


@pytest.mark.parametrize("kind", USES)
def test_a_subclass_that_looks_at_each_attribute(kind):
    arguments, look, use = USES[kind]
    looks = []
    is_looking = True

    def look_again(it):
        nonlocal is_looking
        if not is_looking:
            is_looking = True
            looks.append(look(it))
            is_looking = False

    class Looking(getattr(c, kind)):
        def __getattribute__(self, name):
            look_again(self)
            return super().__getattribute__(name)

        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            look_again(self)

    it = Looking(*arguments)
    is_looking = False
    use(it)
    assert looks


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="methods of the program's own would run in the middle of a step",
)
@pytest.mark.parametrize("kind", USES)
def test_a_subclass_that_keeps_its_attributes_elsewhere(kind):
    arguments, _, use = USES[kind]
    kept = {}

    class Elsewhere(getattr(c, kind)):
        def __getattribute__(self, name):
            if name in kept:
                return kept[name]
            return super().__getattribute__(name)

        def __setattr__(self, name, value):
            kept[name] = value

    use(Elsewhere(*arguments))
    assert kept
