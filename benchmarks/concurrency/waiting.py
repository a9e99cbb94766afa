"""Rows about waiting: events, locks, queues, barriers, conditions, timeouts."""

from __future__ import annotations

import asyncio

from deferrous import Deferred, ensureDeferred
from deferrous import concurrency as c
from deferrous.testing import Clock

from .rows import row


@row("Event with 1,000 waiters, per waiter", 50_000)
class _:
    async def ours(n):
        await _wait_for_event(c.Event, ours_begin, n)

    async def theirs(n):
        await _wait_for_event(asyncio.Event, theirs_begin, n)


async def _wait_for_event(kind, begin, n):
    for _ in range(n // 1000):
        event = kind()
        waiting = [begin(event.wait()) for _ in range(1000)]
        await switch(begin)
        event.set()
        await all_of(waiting)


def ours_begin(waitable):
    return waitable if isinstance(waitable, Deferred) else ensureDeferred(waitable)


def theirs_begin(coroutine):
    return asyncio.get_running_loop().create_task(coroutine)


async def switch(begin):
    if begin is theirs_begin:
        await asyncio.sleep(0)


async def all_of(waiting):
    for each in waiting:
        await each


@row("Event with 1,000 coroutines that wait, per coroutine", 50_000)
class _:
    async def ours(n):
        await _coroutines(c.Event, ours_begin, n)

    async def theirs(n):
        await _coroutines(asyncio.Event, theirs_begin, n)


async def _coroutines(kind, begin, n):
    async def wait(event):
        await event.wait()

    for _ in range(n // 1000):
        event = kind()
        waiting = [begin(wait(event)) for _ in range(1000)]
        await switch(begin)
        event.set()
        await all_of(waiting)


@row("Event: 1,000 waiters cancelled, the last first, per waiter", 50_000)
class _:
    async def ours(n):
        for _ in range(n // 1000):
            event = c.Event()
            waiting = [ensureDeferred(ignoring(event.wait())) for _ in range(1000)]
            for each in reversed(waiting):
                each.cancel()

    async def theirs(n):
        for _ in range(n // 1000):
            event = asyncio.Event()
            waiting = [theirs_begin(ignoring(event.wait())) for _ in range(1000)]
            await asyncio.sleep(0)
            for each in reversed(waiting):
                each.cancel()
            await all_of(waiting)


async def ignoring(waitable):
    try:
        await waitable
    except BaseException:
        pass


@row("Semaphore with 1,000 that wait, per one", 50_000)
class _:
    async def ours(n):
        await _hold(c.Semaphore, ours_begin, n)

    async def theirs(n):
        await _hold(asyncio.Semaphore, theirs_begin, n)


async def _hold(kind, begin, n):
    async def hold(semaphore):
        async with semaphore:
            pass

    for _ in range(n // 1000):
        semaphore = kind(1)
        await semaphore.acquire()
        waiting = [begin(hold(semaphore)) for _ in range(1000)]
        await switch(begin)
        semaphore.release()
        await all_of(waiting)


@row("Queue: 1,000 that get, per one", 50_000)
class _:
    async def ours(n):
        await _get(c.Queue, ours_begin, n)

    async def theirs(n):
        await _get(asyncio.Queue, theirs_begin, n)


async def _get(kind, begin, n):
    async def get(queue):
        await queue.get()

    for _ in range(n // 1000):
        queue = kind()
        waiting = [begin(get(queue)) for _ in range(1000)]
        await switch(begin)
        for number in range(1000):
            queue.put_nowait(number)
        await all_of(waiting)


@row("Queue of one: producer and consumer, per item", 50_000)
class _:
    async def ours(n):
        await _produce(c.Queue(1), ours_begin, n)

    async def theirs(n):
        await _produce(asyncio.Queue(1), theirs_begin, n)


async def _produce(queue, begin, n):
    async def produce():
        for number in range(n):
            await queue.put(number)

    async def consume():
        for _ in range(n):
            await queue.get()
            queue.task_done()

    waiting = [begin(produce()), begin(consume())]
    await all_of(waiting)
    await queue.join()


@row("Barrier of 10, per party", 30_000)
class _:
    async def ours(n):
        await _barrier(c.Barrier, ours_begin, n)

    async def theirs(n):
        await _barrier(asyncio.Barrier, theirs_begin, n)


async def _barrier(kind, begin, n):
    barrier = kind(10)

    async def wait():
        await barrier.wait()

    for _ in range(n // 10):
        await all_of([begin(wait()) for _ in range(10)])


@row("Condition: 100 notified, per one", 20_000)
class _:
    async def ours(n):
        await _notify(c.Condition, ours_begin, n)

    async def theirs(n):
        await _notify(asyncio.Condition, theirs_begin, n)


async def _notify(kind, begin, n):
    condition = kind()

    async def wait():
        async with condition:
            await condition.wait()

    for _ in range(n // 100):
        waiting = [begin(wait()) for _ in range(100)]
        await switch(begin)
        async with condition:
            condition.notify_all()
        await all_of(waiting)


@row("TaskGroup of 100 tasks that wait once, per task", 20_000)
class _:
    async def ours(n):
        for _ in range(n // 100):
            event = c.Event()
            async with c.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(awaiting(event.wait()))
                event.set()

    async def theirs(n):
        for _ in range(n // 100):
            event = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(awaiting(event.wait()))
                await asyncio.sleep(0)
                event.set()


async def awaiting(waitable):
    await waitable


@row("timeout that expires", 10_000)
class _:
    async def ours(n):
        clock = Clock()

        async def limited():
            try:
                async with c.timeout(0, clock=clock):
                    await Deferred()
            except TimeoutError:
                pass

        for _ in range(n):
            d = ensureDeferred(limited())
            clock.advance(0)
            await d

    async def theirs(n):
        for _ in range(n):
            try:
                async with asyncio.timeout(0):
                    await asyncio.get_running_loop().create_future()
            except TimeoutError:
                pass


@row("wait_for, in time", 20_000)
class _:
    async def ours(n):
        clock = Clock()
        for _ in range(n):
            d = Deferred()
            waiting = c.wait_for(d, 1000, clock=clock)
            d.callback(1)
            await waiting

    async def theirs(n):
        loop = asyncio.get_running_loop()
        for _ in range(n):
            future = loop.create_future()
            loop.call_soon(future.set_result, 1)
            await asyncio.wait_for(future, 1000)


@row("sleep(0)", 20_000)
class _:
    async def ours(n):
        clock = Clock()
        for _ in range(n):
            d = c.sleep(0, clock=clock)
            clock.advance(0)
            await d

    async def theirs(n):
        for _ in range(n):
            await asyncio.sleep(0)
