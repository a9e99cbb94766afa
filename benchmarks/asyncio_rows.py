"""The nearest equivalents in asyncio, where there are any: futures and tasks.

Each function has the name of its row, and takes an event loop instead of an implementation. Some
operations of asyncio end only in the next turn of the loop. They are measured in batches of a
thousand, so that each has only a small share of that turn. The equivalent of an inlineCallbacks
function is a task, as both start at once and several can wait for them; that of a coroutine is a
coroutine.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import repeat
from typing import Any

from .rows import add, coroutines, same

#: How many operations there are to one turn of the loop.
BATCH = 1_000

Loop = asyncio.AbstractEventLoop


def turn(loop: Loop, times: int = 1) -> None:
    """Have the loop come round, and do what it has to do."""

    async def wait():
        for _ in repeat(None, times):
            await asyncio.sleep(0)

    loop.run_until_complete(wait())


def batches(n: int) -> list[int]:
    return [BATCH] * (n // BATCH) + [n % BATCH] * (n % BATCH > 0)


def result_and(number: int, future: Any) -> int:
    return add(future.result(), number)


def result_of(future: Any) -> Any:
    return same(future.result())


def ignore(future: Any) -> None:
    return None


def create(loop: Loop, n: int) -> None:
    Future = asyncio.Future
    for _ in repeat(None, n):
        Future(loop=loop)


def create_fire(loop: Loop, n: int) -> None:
    Future = asyncio.Future
    for _ in repeat(None, n):
        Future(loop=loop).set_result(1)


def one_callback(loop: Loop, n: int) -> None:
    Future = asyncio.Future
    for batch in batches(n):
        for _ in repeat(None, batch):
            f = Future(loop=loop)
            f.add_done_callback(partial(result_and, 1))
            f.set_result(1)
        turn(loop)


def four_then_fire(loop: Loop, n: int) -> None:
    Future = asyncio.Future
    for batch in batches(n):
        for _ in repeat(None, batch):
            f = Future(loop=loop)
            f.add_done_callback(partial(result_and, 1))
            f.add_done_callback(partial(result_and, 2))
            f.add_done_callback(partial(result_and, 3))
            f.add_done_callback(partial(result_and, 4))
            f.set_result(1)
        turn(loop)


def fire_then_four(loop: Loop, n: int) -> None:
    Future = asyncio.Future
    for batch in batches(n):
        for _ in repeat(None, batch):
            f = Future(loop=loop)
            f.set_result(1)
            f.add_done_callback(partial(result_and, 1))
            f.add_done_callback(partial(result_and, 2))
            f.add_done_callback(partial(result_and, 3))
            f.add_done_callback(partial(result_and, 4))
        turn(loop)


def callbacks(loop: Loop, n: int, size: int) -> None:
    for _ in repeat(None, n):
        f: Any = asyncio.Future(loop=loop)
        for _ in repeat(None, size):
            f.add_done_callback(result_of)
        f.set_result(1)
        turn(loop)


def yield_once(loop: Loop, n: int) -> None:
    async def task():
        f = asyncio.Future(loop=loop)
        f.set_result(1)
        await f

    for batch in batches(n):
        for _ in repeat(None, batch):
            loop.create_task(task())
        turn(loop)


def yield_fired(loop: Loop, n: int, size: int) -> None:
    async def task():
        for _ in repeat(None, size):
            f = asyncio.Future(loop=loop)
            f.set_result(1)
            await f

    for _ in repeat(None, n):
        loop.run_until_complete(task())


#: How many tasks wait at a time.
TASKS = 100


def yield_pending(loop: Loop, n: int, size: int) -> None:
    Future = asyncio.Future

    async def wait(futures):
        for f in futures:
            await f

    for _ in repeat(None, n):
        waits = [[Future(loop=loop) for _ in range(size // TASKS)] for _ in range(TASKS)]
        for futures in waits:
            loop.create_task(wait(futures))
        turn(loop)
        for futures in zip(*waits, strict=True):
            for f in futures:
                f.set_result(1)
            turn(loop)


def nested(loop: Loop, n: int, size: int) -> None:
    """Tasks. A task starts in the next turn of the loop, and ends one before what waits for it."""
    Future = asyncio.Future

    async def innermost(future):
        return await future

    def outer(function):
        async def coroutine(future):
            return await loop.create_task(function(future))

        return coroutine

    function = innermost
    for _ in repeat(None, size - 1):
        function = outer(function)
    for batch in batches(n):
        futures = [Future(loop=loop) for _ in repeat(None, batch)]
        for f in futures:
            loop.create_task(function(f))
        turn(loop, size)
        for f in futures:
            f.set_result(1)
        turn(loop, size)


await_fired = yield_fired
await_pending = yield_pending


def coroutine_10(loop: Loop, n: int) -> None:
    Future = asyncio.Future
    function = coroutines(10)
    for batch in batches(n):
        futures = [Future(loop=loop) for _ in repeat(None, batch)]
        for f in futures:
            loop.create_task(function(f))
        turn(loop)
        for f in futures:
            f.set_result(1)
        turn(loop)


def gather_results(loop: Loop, n: int, size: int, return_exceptions: bool = False) -> None:
    Future = asyncio.Future
    for _ in repeat(None, n):
        futures: list[Any] = [Future(loop=loop) for _ in repeat(None, size)]
        asyncio.gather(*futures, return_exceptions=return_exceptions)
        for f in futures:
            f.set_result(1)
        turn(loop)


def deferred_list(loop: Loop, n: int, size: int) -> None:
    gather_results(loop, n, size, return_exceptions=True)


def _uncontended(loop: Loop, n: int, lock: Any) -> None:
    async def task():
        for _ in repeat(None, n):
            await lock.acquire()
            lock.release()

    loop.run_until_complete(task())


def lock(loop: Loop, n: int) -> None:
    _uncontended(loop, n, asyncio.Lock())


def semaphore(loop: Loop, n: int) -> None:
    _uncontended(loop, n, asyncio.Semaphore(1))


def queue(loop: Loop, n: int) -> None:
    async def task():
        queue: asyncio.Queue = asyncio.Queue()
        for _ in repeat(None, n):
            queue.put_nowait(1)
            await queue.get()

    loop.run_until_complete(task())


def _waiting(loop: Loop, n: int, size: int, lock: Any) -> None:
    async def waiter():
        await lock.acquire()
        lock.release()

    async def task():
        await lock.acquire()
        waiters = [loop.create_task(waiter()) for _ in repeat(None, size)]
        await asyncio.sleep(0)
        lock.release()
        await waiters[-1]

    for _ in repeat(None, n):
        loop.run_until_complete(task())


def lock_waiting(loop: Loop, n: int, size: int) -> None:
    _waiting(loop, n, size, asyncio.Lock())


def semaphore_waiting(loop: Loop, n: int, size: int) -> None:
    _waiting(loop, n, size, asyncio.Semaphore(1))


def queue_waiting(loop: Loop, n: int, size: int) -> None:
    async def task():
        queue: asyncio.Queue = asyncio.Queue()
        waiters = [loop.create_task(queue.get()) for _ in repeat(None, size)]
        await asyncio.sleep(0)
        for _ in repeat(None, size):
            queue.put_nowait(1)
        await waiters[-1]

    for _ in repeat(None, n):
        loop.run_until_complete(task())


def cancel(loop: Loop, n: int) -> None:
    Future = asyncio.Future
    for batch in batches(n):
        for _ in repeat(None, batch):
            f = Future(loop=loop)
            f.add_done_callback(ignore)
            f.cancel()
        turn(loop)


def yield_failed(loop: Loop, n: int, size: int) -> None:
    async def task():
        for _ in repeat(None, size):
            f = asyncio.Future(loop=loop)
            f.set_exception(ValueError())
            try:
                await f
            except ValueError:
                pass

    for _ in repeat(None, n):
        loop.run_until_complete(task())
