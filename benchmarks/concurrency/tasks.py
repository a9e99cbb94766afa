"""Rows that run in asyncio tasks."""

from __future__ import annotations

import asyncio

from deferrous import concurrency as c

from .rows import row
from .waiting import _coroutines, _get, _hold, theirs_begin


@row("in tasks: Event with 1,000 that wait, per task", 20_000)
class _:
    async def ours(n):
        await _coroutines(c.Event, theirs_begin, n)

    async def theirs(n):
        await _coroutines(asyncio.Event, theirs_begin, n)


@row("in tasks: Semaphore with 1,000 that wait, per task", 20_000)
class _:
    async def ours(n):
        await _hold(c.Semaphore, theirs_begin, n)

    async def theirs(n):
        await _hold(asyncio.Semaphore, theirs_begin, n)


@row("in tasks: Queue, 1,000 that get, per task", 20_000)
class _:
    async def ours(n):
        await _get(c.Queue, theirs_begin, n)

    async def theirs(n):
        await _get(asyncio.Queue, theirs_begin, n)


@row("in tasks: timeout, in time", 20_000)
class _:
    async def ours(n):
        for _ in range(n):
            async with c.timeout(1000):
                pass

    async def theirs(n):
        for _ in range(n):
            async with asyncio.timeout(1000):
                pass
