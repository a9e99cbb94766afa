"""If an asyncio task does not take what it was given, the next one gets it."""

from __future__ import annotations

import asyncio
import gc
import sys

import deferrous
import pytest
from deferrous import Deferred, DeferredLock, DeferredQueue, DeferredSemaphore
from hand_over_helpers import Held, run, settle, start, take

pytestmark = pytest.mark.deferrous_only

needs_timeout = pytest.mark.skipif(sys.version_info < (3, 11), reason="no asyncio.timeout")


@pytest.mark.parametrize("how", ["with", "await", "run"])
@pytest.mark.parametrize("make", [DeferredLock, lambda: DeferredSemaphore(1)])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("order", ["release", "cancel"])
def test_lock(make, how, times, order):
    async def main():
        lock = make()
        held = Held(lock, how)
        await lock.acquire()
        first, second, third = await start(*(held.hold(name) for name in "abc"))
        if order == "release":
            lock.release()
        for _ in range(times):
            first.cancel()
        if order == "cancel":
            lock.release()
        await settle()
        # `run` hands over to the function, whoever waits for what it returns.
        assert held.log == (["a", "b", "c"] if how == "run" else ["b", "c"])
        assert first.cancelled()
        assert second.done()
        assert third.done()
        assert lock.acquire().called

    run(main)


@pytest.mark.parametrize("order", ["put", "cancel"])
def test_queue(order):
    async def main():
        q = DeferredQueue()
        first, second = await start(take(q), take(q))
        if order == "put":
            q.put("item")
        first.cancel()
        if order == "cancel":
            q.put("item")
        await settle()
        assert first.cancelled()
        assert second.result() == "item"
        # With nobody waiting it is the next that somebody gets.
        (third,) = await start(take(q))
        q.put("next")
        third.cancel()
        q.put("last")
        await settle()
        assert list(q.pending) == ["next", "last"]

    run(main)


def test_items_stand_in_their_order_again():
    async def main():
        q = DeferredQueue()
        tasks = await start(*(take(q) for _ in range(4)))
        for item in range(4):
            q.put(item)
        # Not in the order in which they were put.
        for task in (tasks[2], tasks[0], tasks[3], tasks[1]):
            task.cancel()
        q.put(4)
        await settle()
        assert list(q.pending) == [0, 1, 2, 3, 4]

    run(main)


def test_items_are_taken_in_between():
    """What is in front has been taken back before, but is gone, or has been moved."""

    async def main():
        q = DeferredQueue()
        tasks = await start(*(take(q) for _ in range(4)))
        for item in "abcd":
            q.put(item)
        tasks[1].cancel()
        tasks[3].cancel()
        await settle()
        assert list(q.pending) == ["b", "d"]
        assert await q.get() == "b"
        q.put("e")
        (fifth,) = await start(take(q))
        assert fifth.result() == "d"
        assert list(q.pending) == ["e"]

    run(main)


def test_a_coroutine_that_is_closed():
    async def main():
        for hand_over in (False, True):
            lock = DeferredLock()
            await lock.acquire()
            future = await driven_by_hand(lock.acquire())
            if hand_over:
                lock.release()
            future.close()
            assert len(lock.waiting) == 0
            if not hand_over:
                lock.release()
            assert not lock.locked

    run(main)


async def driven_by_hand(deferred):
    """What awaits a Deferred in this task, but is resumed by nobody."""
    iterator = deferred.__await__()
    await asyncio.sleep(0)
    assert asyncio.isfuture(next(iterator))
    return iterator


def test_a_driver_that_throws_something_else():
    async def main():
        q = DeferredQueue()
        iterator = await driven_by_hand(q.get())
        with pytest.raises(KeyError):
            iterator.throw(KeyError())
        assert not q.waiting
        iterator = await driven_by_hand(q.get())
        q.put("item")
        with pytest.raises(KeyError):
            iterator.throw(KeyError())
        assert list(q.pending) == ["item"]

    run(main)


def test_a_driver_that_dies():
    async def main():
        q = DeferredQueue()
        iterator = await driven_by_hand(q.get())
        q.put("item")
        del iterator
        gc.collect()
        assert list(q.pending) == ["item"]

    run(main)


def test_two_wait_for_one_deferred():
    """The one that stays gets it."""

    async def main():
        q = DeferredQueue()
        d = q.get()
        first = await driven_by_hand(d)
        second = await start(wait(d))
        first.close()
        q.put("item")
        await settle()
        assert second[0].result() == "item"
        d = q.get()
        first, second = await driven_by_hand(d), await driven_by_hand(d)
        first.close()
        second.close()
        q.put("item")
        assert list(q.pending) == ["item"]

    run(main)


async def wait(deferred):
    return await deferred


def test_a_loop_that_is_closed():
    lock = DeferredLock()
    q = DeferredQueue()
    loop = asyncio.new_event_loop()

    async def main():
        await lock.acquire()
        return await start(Held(lock).hold("a"), take(q))

    tasks = loop.run_until_complete(main())
    # As a program that ends without its tasks.
    loop.close()
    got = q.get()
    for hand_over in (lambda: q.put("item"), lock.release):
        hand_over()
    assert got.result == "item"
    assert not lock.locked
    for task in tasks:
        task._log_destroy_pending = False
    del tasks
    gc.collect()


def test_a_loop_that_is_closed_after_the_hand_over():
    lock = DeferredLock()
    q = DeferredQueue()
    loop = asyncio.new_event_loop()

    async def main():
        await lock.acquire()
        tasks = await start(Held(lock).hold("a"), take(q))
        lock.release()
        q.put("item")
        for task in tasks:
            task._log_destroy_pending = False
        # In the same iteration.
        loop.stop()
        del tasks, task
        await asyncio.sleep(60)

    task = loop.create_task(main())
    loop.run_forever()
    task._log_destroy_pending = False
    loop.close()
    del task
    gc.collect()
    assert not lock.locked
    assert list(q.pending) == ["item"]


@needs_timeout
def test_timeout_and_task_group():
    async def main():
        q = DeferredQueue()
        lock = DeferredLock()
        await lock.acquire()

        async def timed():
            async with asyncio.timeout(None) as timeout:
                timeouts.append(timeout)
                await q.get()

        async def grouped():
            async with asyncio.TaskGroup() as group:
                group.create_task(Held(lock).hold("a"))
                await deferred

        timeouts, deferred = [], Deferred()
        tasks = await start(timed(), grouped())
        q.put("item")
        timeouts[0].reschedule(asyncio.get_running_loop().time() - 1)
        await asyncio.sleep(0)
        deferred.errback(KeyError())
        await asyncio.sleep(0)
        lock.release()
        await asyncio.gather(*tasks, return_exceptions=True)
        got = list(q.pending)
        # Whichever came first, it is there once.
        assert got == ([] if tasks[0].exception() is None else ["item"])
        assert not lock.locked

    run(main)


def test_wait_for():
    async def main():
        q = DeferredQueue()
        (task,) = await start(asyncio.wait_for(q.get(), 60))
        q.put("item")
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        kept = [] if isinstance(results[0], BaseException) else results
        assert kept + list(q.pending) == ["item"]

    run(main)


def test_the_one_that_waits_is_a_generator_of_ours():
    async def main():
        lock = DeferredLock()
        await lock.acquire()
        (task,) = await start(Held(lock).hold("a"))
        log = []

        @deferrous.inlineCallbacks
        def ours():
            yield lock.acquire()
            log.append("ours")
            lock.release()

        done = ours()
        lock.release()
        task.cancel()
        await settle()
        assert log == ["ours"]
        assert done.called
        assert not lock.locked

    run(main)


def test_the_next_has_been_fired_by_hand():
    async def main():
        q = DeferredQueue()
        (task,) = await start(take(q))
        by_hand, after = q.get(), q.get()
        by_hand.callback("by hand")
        q.put("item")
        task.cancel()
        await settle()
        assert after.result == "item"

    run(main)


def test_through_chained_deferreds():
    async def main():
        q = DeferredQueue()
        outer = Deferred().addCallback(lambda _: q.get())
        outer.callback(None)
        outer.addErrback(lambda failure: failure)
        (task,) = await start(wait(outer))
        q.put("item")
        task.cancel()
        await settle()
        assert list(q.pending) == ["item"]

    run(main)


def test_a_callback_between_makes_it_the_programs_own():
    async def main():
        q = DeferredQueue()
        seen = []
        (task,) = await start(wait(q.get().addCallback(seen.append)))
        q.put("item")
        task.cancel()
        await settle()
        assert seen == ["item"]
        assert not q.pending

    run(main)
