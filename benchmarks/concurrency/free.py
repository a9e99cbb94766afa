"""Rows in which nobody has to wait."""

from __future__ import annotations

import asyncio

from deferrous import concurrency as c
from deferrous.testing import Clock

from .rows import nothing, row


@row("Event.wait, set before", 100_000)
class _:
    async def ours(n):
        event = c.Event()
        event.set()
        for _ in range(n):
            await event.wait()

    async def theirs(n):
        event = asyncio.Event()
        event.set()
        for _ in range(n):
            await event.wait()


@row("async with Semaphore, free", 100_000)
class _:
    async def ours(n):
        semaphore = c.Semaphore(2)
        for _ in range(n):
            async with semaphore:
                pass

    async def theirs(n):
        semaphore = asyncio.Semaphore(2)
        for _ in range(n):
            async with semaphore:
                pass


@row("async with Condition, notify", 50_000)
class _:
    async def ours(n):
        condition = c.Condition()
        for _ in range(n):
            async with condition:
                condition.notify()

    async def theirs(n):
        condition = asyncio.Condition()
        for _ in range(n):
            async with condition:
                condition.notify()


@row("Queue: put, get", 100_000)
class _:
    async def ours(n):
        queue = c.Queue()
        for number in range(n):
            await queue.put(number)
            await queue.get()

    async def theirs(n):
        queue = asyncio.Queue()
        for number in range(n):
            await queue.put(number)
            await queue.get()


@row("PriorityQueue of 100: put, get", 50_000)
class _:
    async def ours(n):
        await _through(c.PriorityQueue(), n)

    async def theirs(n):
        await _through(asyncio.PriorityQueue(), n)


async def _through(queue, n):
    for number in range(100):
        await queue.put(number * 7919 % 100)
    for number in range(n):
        await queue.put(number * 7919 % 100)
        await queue.get()


@row("timeout, in time", 30_000)
class _:
    async def ours(n):
        clock = Clock()
        for _ in range(n):
            async with c.timeout(1000, clock=clock):
                pass

    async def theirs(n):
        for _ in range(n):
            async with asyncio.timeout(1000):
                pass


@row("TaskGroup of 100 tasks that do not wait, per task", 30_000)
class _:
    async def ours(n):
        for _ in range(n // 100):
            async with c.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(nothing())

    async def theirs(n):
        for _ in range(n // 100):
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(nothing())
