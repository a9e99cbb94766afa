"""The service of service.py with Deferreds alone. It shows what `deferrous.concurrency` saves."""

import asyncio
from collections import deque

import deferrous as defer
from service import main


# Begin of the service.
class ReadWriteLock:
    def __init__(self):
        self.readers = 0
        self.writing = False
        self.waiting = deque()

    def acquire(self, write):
        d = defer.Deferred(self.give_up)
        self.waiting.append((d, write))
        self.wake()
        return d

    def give_up(self, d):
        self.waiting = deque(each for each in self.waiting if each[0] is not d)
        self.wake()

    def wake(self):
        while self.waiting:
            d, write = self.waiting[0]
            if self.writing or (write and self.readers):
                return
            self.waiting.popleft()
            if write:
                self.writing = True
            else:
                self.readers += 1
            d.callback(None)

    def release(self, write):
        if write:
            self.writing = False
        else:
            self.readers -= 1
        self.wake()


class Documents:
    def __init__(self, store):
        self.store = store
        self.locks = {}
        self.rendering = {}

    def lock_of(self, name):
        return self.locks.setdefault(name, ReadWriteLock())

    async def read(self, name):
        lock = self.lock_of(name)
        await lock.acquire(False)
        try:
            return await self.store.load(name)
        finally:
            lock.release(False)

    async def write(self, name, text):
        lock = self.lock_of(name)
        await lock.acquire(True)
        try:
            await self.store.save(name, text)
        finally:
            lock.release(True)

    def render(self, name):
        waiting = self.rendering.get(name)
        if waiting is None:
            waiting = self.rendering[name] = []
            d = defer.ensureDeferred(self._render(name))
            d.addBoth(self.rendered, name)
        mine = defer.Deferred()
        waiting.append(mine)
        return mine

    def rendered(self, result, name):
        for mine in self.rendering.pop(name):
            if not mine.called:
                mine.callback(result)

    async def _render(self, name):
        return (await self.store.typeset(await self.read(name))).upper()


# End of the service.

if __name__ == "__main__":
    asyncio.run(main(Documents))
