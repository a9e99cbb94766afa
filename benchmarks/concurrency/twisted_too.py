"""Rows that Twisted can run, too, for comparison."""

from __future__ import annotations

from deferrous import DeferredQueue, DeferredSemaphore

from .rows import row


@row("(DeferredSemaphore, free, for comparison)", 100_000)
class _:
    async def ours(n):
        semaphore = DeferredSemaphore(2)
        for _ in range(n):
            async with semaphore:
                pass


@row("(DeferredQueue: put, get, for comparison)", 100_000)
class _:
    async def ours(n):
        queue = DeferredQueue()
        for number in range(n):
            queue.put(number)
            await queue.get()
