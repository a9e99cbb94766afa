"""Helpers for the tests of handing over."""

from __future__ import annotations

import asyncio


def run(main):
    return asyncio.run(asyncio.wait_for(main(), 60))


async def settle():
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def start(*coroutines):
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    await settle()
    return tasks


class Held:
    """Tasks that hold a lock until they are told to let go."""

    def __init__(self, lock, how="with"):
        self.lock, self.how, self.log = lock, how, []

    async def hold(self, name):
        if self.how == "with":
            async with self.lock:
                self.log.append(name)
        elif self.how == "await":
            await self.lock.acquire()
            self.log.append(name)
            self.lock.release()
        else:
            await self.lock.run(self.log.append, name)


async def take(q):
    return await q.get()
