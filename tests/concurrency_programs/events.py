"""Programs of events, semaphores, locks, conditions and barriers."""

from __future__ import annotations

from deferrous import concurrency as c
from deferrous import ensureDeferred

from .base import Program, Use, program


@program
def event(clock):
    it, woken = c.Event(), []

    async def wait():
        assert await it.wait() is True
        woken.append(1)

    async def set_late():
        try:
            await c.sleep(1, clock=clock)
            await c.sleep(0, clock=clock)
        finally:
            it.set()

    def check(victim, ended):
        assert it.is_set()
        assert not it._waiting
        assert len(woken) >= 2 + (victim in (None, 3))

    return Program([wait, wait, wait, set_late], check)


@program
def semaphore(clock):
    it, use = c.Semaphore(3), Use(3)

    def worker(weight, rounds):
        async def work():
            for _ in range(rounds):
                async with it.weighing(weight):
                    use.enter(weight)
                    try:
                        await c.sleep(1, clock=clock)
                    finally:
                        use.leave(weight)

        return work

    def check(victim, ended):
        assert (it.value, len(it._waiting), use.now) == (3, 0, 0)

    return Program([worker(1, 2), worker(3, 1), worker(2, 2), worker(1, 1)], check)


@program
def semaphore_by_hand(clock):
    it, use = c.BoundedSemaphore(2), Use(2)

    async def work():
        await it.acquire()
        use.enter()
        try:
            await c.sleep(1, clock=clock)
        finally:
            use.leave()
            it.release()

    async def run():
        await it.run(c.sleep, 1, clock=clock)

    def check(victim, ended):
        assert (it.value, len(it._waiting), use.now) == (2, 0, 0)

    return Program([work, work, run, work], check)


@program
def read_write_lock(clock):
    it, reads, writes = c.ReadWriteLock(), Use(9), Use(1)

    async def read():
        async with it.reading:
            reads.enter()
            assert not writes.now
            try:
                await c.sleep(1, clock=clock)
            finally:
                reads.leave()

    async def write():
        async with it.writing:
            writes.enter()
            assert not reads.now
            try:
                await c.sleep(1, clock=clock)
            finally:
                writes.leave()

    async def write_and_read():
        await write()
        await read()

    def check(victim, ended):
        assert not it.locked()
        assert not it._waiting
        assert (reads.now, writes.now) == (0, 0)

    return Program([read, write, read, write_and_read, read, write], check)


@program
def keyed_lock(clock):
    it, uses = c.KeyedLock(limit=2), {"a": Use(2), "b": Use(2)}

    def worker(key):
        async def work():
            async with it(key):
                uses[key].enter()
                try:
                    await c.sleep(1, clock=clock)
                finally:
                    uses[key].leave()

        return work

    def check(victim, ended):
        assert len(it) == 0
        assert not any(use.now for use in uses.values())

    return Program([worker(key) for key in "aabaab"], check)


@program
def condition(clock):
    it, items, got, use, finished = c.Condition(), [], [], Use(1), []

    async def take():
        async with it:
            use.enter()
            try:
                while not items and not finished:
                    use.leave()
                    try:
                        await it.wait()
                    finally:
                        # Whatever has happened, the lock is held.
                        assert it.locked()
                        use.enter()
                if items:
                    got.append(items.pop())
            finally:
                use.leave()

    async def put():
        put_in = 0
        try:
            for _ in range(3):
                async with it:
                    use.enter()
                    items.append(put_in)
                    put_in += 1
                    it.notify()
                    use.leave()
                await c.sleep(1, clock=clock)
        finally:
            finished.append(put_in)
            ensureDeferred(tell_all())

    async def tell_all():
        async with it:
            it.notify_all()

    def check(victim, ended):
        assert not it.locked()
        assert not it._waiting
        assert not it._lock.waiting
        assert use.now == 0
        assert len(got) + len(items) == finished[0] if finished else victim == 3
        if victim is None:
            assert len(got) == 3

    return Program([take, take, take, put], check)


@program
def condition_wait_for(clock):
    it, state = c.Condition(), []

    async def wait():
        async with it:
            assert await it.wait_for(lambda: len(state) >= 2)
            assert it.locked()

    async def change():
        try:
            await c.sleep(1, clock=clock)
        finally:
            state.append(1)
            ensureDeferred(tell())

    async def tell():
        async with it:
            it.notify_all()

    async def rescue():
        try:
            await c.sleep(5, clock=clock)
        finally:
            state.extend([1, 1])
            ensureDeferred(tell())

    def check(victim, ended):
        assert not it.locked()
        assert not it._waiting
        assert not it._lock.waiting

    return Program([wait, change, wait, change, rescue], check)


@program
def barrier(clock):
    it, through, broken, left = c.Barrier(3), [], [], [3]

    async def come():
        try:
            try:
                through.append(await it.wait())
            except c.BrokenBarrierError:
                broken.append(1)
        finally:
            left[0] -= 1

    async def abort():
        try:
            for _ in range(3):
                await c.sleep(1, clock=clock)
        finally:
            if left[0]:
                await it.abort()

    def check(victim, ended):
        assert it.n_waiting == 0
        assert sorted(through) in ([], [0, 1, 2], [0, 1], [0, 2], [1, 2])
        if victim is None:
            assert sorted(through) == [0, 1, 2]

    return Program([come, come, come, abort], check)
