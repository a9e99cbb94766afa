"""Rows about many at once: groups, `gather`, `map`."""

from __future__ import annotations

import asyncio

from deferrous import Deferred
from deferrous import concurrency as c

from .rows import row


@row("gather of 1,000, per one", 50_000)
class _:
    async def ours(n):
        for _ in range(n // 1000):
            ds = [Deferred() for _ in range(1000)]
            gathered = c.gather(*ds)
            for d in ds:
                d.callback(1)
            await gathered

    async def theirs(n):
        loop = asyncio.get_running_loop()
        for _ in range(n // 1000):
            futures = [loop.create_future() for _ in range(1000)]
            gathered = asyncio.gather(*futures)
            for future in futures:
                future.set_result(1)
            await gathered


@row("wait for all of 1,000, per one", 50_000)
class _:
    async def ours(n):
        for _ in range(n // 1000):
            ds = [Deferred() for _ in range(1000)]
            waiting = c.wait(ds)
            for d in ds:
                d.callback(1)
            await waiting

    async def theirs(n):
        loop = asyncio.get_running_loop()
        for _ in range(n // 1000):
            futures = [loop.create_future() for _ in range(1000)]
            for future in futures:
                loop.call_soon(future.set_result, 1)
            await asyncio.wait(futures)


@row("as_completed of 1,000, per one", 20_000)
class _:
    async def ours(n):
        for _ in range(n // 1000):
            ds = [Deferred() for _ in range(1000)]
            it = c.as_completed(ds)
            for d in ds:
                d.callback(1)
            for each in it:
                await each

    async def theirs(n):
        loop = asyncio.get_running_loop()
        for _ in range(n // 1000):
            futures = [loop.create_future() for _ in range(1000)]
            it = asyncio.as_completed(futures)
            for future in futures:
                loop.call_soon(future.set_result, 1)
            for each in it:
                await each


@row("map(limit=100), of coroutines that wait once, per item", 50_000)
class _:
    async def ours(n):
        waiting = []

        async def work(number):
            d = Deferred()
            waiting.append(d)
            await d

        mapped = c.map(work, range(n), limit=100)
        while waiting:
            waiting.pop().callback(None)
        await mapped

    async def theirs(n):
        # What asyncio's users write: a semaphore in each task.
        semaphore = asyncio.Semaphore(100)

        async def work(number):
            async with semaphore:
                await asyncio.sleep(0)

        for start in range(0, n, 1000):
            await asyncio.gather(*(work(number) for number in range(start, start + 1000)))


@row("shield", 20_000)
class _:
    async def ours(n):
        for _ in range(n):
            d = Deferred()
            waiting = c.shield(d)
            d.callback(1)
            await waiting

    async def theirs(n):
        loop = asyncio.get_running_loop()
        for _ in range(n):
            future = loop.create_future()
            loop.call_soon(future.set_result, 1)
            await asyncio.shield(future)
