"""`deferrous.concurrency`: events, semaphores, locks, conditions."""

from __future__ import annotations

import asyncio

import deferrous as defer
import pytest
from concurrency_helpers import awaited
from deferrous import Deferred, ensureDeferred, succeed
from deferrous import concurrency as c
from deferrous.testing import assertNoResult, failureResultOf, successResultOf

pytestmark = pytest.mark.deferrous_only


def test_event_wakes_all_that_wait_now():
    event, seen = c.Event(), []
    event.wait().addCallback(lambda _: (seen.append("first"), event.clear()))
    event.wait().addCallback(lambda _: seen.append("second"))
    event.set()
    assert seen == ["first", "second"]
    assert not event.is_set()
    waiting = event.wait()
    assertNoResult(waiting)


def test_event_whose_waiters_cancel_each_other():
    event, seen = c.Event(), []
    first = event.wait()
    second = event.wait()
    first.addCallback(lambda _: second.cancel())
    second.addErrback(lambda failure: seen.append(failure.type))
    third = event.wait()
    event.set()
    assert seen == [defer.CancelledError]
    assert successResultOf(third) is True


def test_semaphore_by_weight_is_fair():
    semaphore = c.Semaphore(3)
    successResultOf(semaphore.acquire(2))
    heavy, light = semaphore.acquire(3), semaphore.acquire(1)
    assertNoResult(light)
    heavy.cancel()
    failureResultOf(heavy, defer.CancelledError)
    # The one that was in the way is gone.
    assert successResultOf(light) is True
    semaphore.release(3)
    assert semaphore.value == 3


@pytest.mark.parametrize("weight", [0, -1])
def test_semaphore_bad_input(weight):
    semaphore = c.Semaphore(1)
    for method in (semaphore.acquire, semaphore.release, semaphore.weighing):
        with pytest.raises(ValueError, match="weight must be >= 1"):
            method(weight)
    with pytest.raises(ValueError, match=">= 0"):
        c.Semaphore(-1)
    bounded = c.BoundedSemaphore(2)
    with pytest.raises(ValueError, match="<= 2"):
        bounded.acquire(3)
    with pytest.raises(ValueError, match="too many times"):
        bounded.release()
    assert semaphore.value == 1


def test_locks_that_are_not_held():
    lock = c.ReadWriteLock()
    for side in (lock.reading, lock.writing):
        with pytest.raises(RuntimeError, match="nobody"):
            side.release()
    with pytest.raises(RuntimeError, match="nobody holds 'a'"):
        c.KeyedLock()("a").release()
    condition = c.Condition()
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.wait()
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.notify()
    with pytest.raises(ValueError, match="parties"):
        c.Barrier(0)


def test_read_write_lock_is_fair():
    lock, order = c.ReadWriteLock(), []
    lock.reading.acquire()
    for name, side in [("w1", lock.writing), ("r1", lock.reading), ("r2", lock.reading)]:
        side.acquire().addCallback(lambda _, name=name: order.append(name))
    late = lock.writing.acquire()
    assert order == []
    lock.reading.release()
    assert order == ["w1"]
    lock.writing.release()
    assert order == ["w1", "r1", "r2"]
    assert lock.readers == 2
    lock.reading.release()
    lock.reading.release()
    assert successResultOf(late) is True


def test_keyed_lock():
    lock = c.KeyedLock()
    successResultOf(lock("a").acquire())
    successResultOf(lock("b").acquire())
    waiting = lock("a").acquire()
    assert (len(lock), lock.locked("a"), lock.waiting("a"), lock.locked("c")) == (2, True, 1, False)
    waiting.cancel()
    failureResultOf(waiting, defer.CancelledError)
    lock("a").release()
    lock("b").release()
    assert len(lock) == 0


def test_run_releases_whatever_happens():
    for lock in (c.Semaphore(1), c.ReadWriteLock().writing, c.KeyedLock()("x"), c.Condition()):
        assert successResultOf(lock.run(lambda: "result")) == "result"
        failureResultOf(lock.run(lambda: 1 / 0), ZeroDivisionError)
        assert successResultOf(lock.run(awaited, succeed(1))) == 1
        inner = Deferred()
        d = lock.run(lambda inner=inner: inner)
        waiting = lock.acquire()
        assertNoResult(waiting)
        d.cancel()
        failureResultOf(d, defer.CancelledError)
        successResultOf(waiting)


def test_readers_go_when_a_writer_gives_up():
    lock = c.ReadWriteLock()
    successResultOf(lock.reading.acquire())
    writer, reader = lock.writing.acquire(), lock.reading.acquire()
    assertNoResult(reader)
    writer.cancel()
    failureResultOf(writer, defer.CancelledError)
    assert successResultOf(reader) is True


def test_condition_notification_goes_on_from_one_that_waits_for_the_lock():
    condition = c.Condition()
    successResultOf(condition.acquire())
    first = condition.wait()
    successResultOf(condition.acquire())
    second = condition.wait()
    successResultOf(condition.acquire())
    condition.notify()
    first.cancel()
    # It ends when it has the lock, and not before.
    assertNoResult(first)
    condition.release()
    failureResultOf(first, defer.CancelledError)
    assert condition.locked()
    assertNoResult(second)
    condition.release()
    assert successResultOf(second) is True


@pytest.mark.parametrize("way", ["wait", "wait_for"])
def test_condition_whose_lock_another_task_holds(way):
    """One that is cancelled does not go on, and releases nothing, while another holds the lock."""

    async def main():
        condition, log = c.Condition(), []
        may_end = asyncio.Event()

        async def wait():
            async with condition:
                try:
                    await (condition.wait() if way == "wait" else condition.wait_for(bool))
                finally:
                    log.append("goes on")

        async def hold():
            async with condition:
                await may_end.wait()
                log.append("lets go")

        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        holding = asyncio.ensure_future(hold())
        await asyncio.sleep(0)
        for _ in range(3):
            waiting.cancel()
            await asyncio.sleep(0)
        third = condition.acquire()
        assert not third.called
        assert log == []
        may_end.set()
        await holding
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await third
        assert log == ["lets go", "goes on"]
        condition.release()
        assert not condition.locked()

    asyncio.run(main())


def test_condition_in_tasks():
    """One that is cancelled goes on when it has the lock; a notification goes to the next."""

    async def main():
        condition, log = c.Condition(), []

        async def wait(name):
            async with condition:
                try:
                    await condition.wait()
                    log.append((name, "woken"))
                finally:
                    log.append((name, condition.locked()))
                    await asyncio.sleep(0)

        tasks = [asyncio.ensure_future(wait(name)) for name in "abc"]
        await asyncio.sleep(0)
        async with condition:
            # This one waits for the lock, for as long as we have it.
            tasks[0].cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert log == []
        for _ in range(5):
            await asyncio.sleep(0)
        assert log == [("a", True)]
        async with condition:
            condition.notify()
        # It has the lock by now, and is cancelled before it runs.
        tasks[1].cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert log[1:] == [("b", True), ("c", "woken"), ("c", True)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in results] == [asyncio.CancelledError] * 2 + [type(None)]
        assert not condition.locked()

    asyncio.run(main())


@pytest.mark.parametrize(
    "part",
    [
        lambda: c.Semaphore(2).weighing(2),
        lambda: c.ReadWriteLock().reading,
        lambda: c.ReadWriteLock().writing,
        lambda: c.KeyedLock()("key"),
    ],
)
def test_part_of_a_lock_in_a_block(part):
    lock = part()

    async def hold():
        async with lock:
            await gate
        return "held"

    gate = Deferred()
    held = [ensureDeferred(hold()), ensureDeferred(hold())]
    gate.callback(None)
    assert [successResultOf(each) for each in held] == ["held", "held"]
