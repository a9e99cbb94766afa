"""Random programs of tasks, locks and queues, with asyncio's own and with ours: nothing is lost."""

from __future__ import annotations

import asyncio
import random

import pytest
from deferrous import DeferredLock, DeferredQueue, DeferredSemaphore

pytestmark = pytest.mark.deferrous_only


def run(main):
    return asyncio.run(asyncio.wait_for(main(), 60))


class Theirs:
    lock, semaphore, queue = asyncio.Lock, asyncio.Semaphore, asyncio.Queue
    put = staticmethod(lambda queue, item: queue.put_nowait(item))
    items = staticmethod(lambda queue: list(queue._queue))


class Ours:
    lock, semaphore, queue = DeferredLock, DeferredSemaphore, DeferredQueue
    put = staticmethod(lambda queue, item: queue.put(item))
    items = staticmethod(lambda queue: list(queue.pending))


async def program(kind, rng):
    """Run one. In the end there are as many tokens and items as there were before."""
    lock = kind.lock()
    semaphore = kind.semaphore(2)
    queue = kind.queue()
    acquired, items, tasks, released = [], [], [], []

    async def with_lock(name, primitive, gate):
        async with primitive:
            acquired.append(name)
            try:
                await gate
            finally:
                released.append(name)

    async def with_item(name):
        items.append((name, await queue.get()))

    gates, put = [], 0
    for name in range(rng.randrange(3, 25)):
        act = rng.randrange(9)
        if act < 3:
            gate = asyncio.get_running_loop().create_future()
            gates.append(gate)
            primitive = rng.choice([lock, semaphore])
            tasks.append(asyncio.ensure_future(with_lock(name, primitive, gate)))
        elif act < 5:
            tasks.append(asyncio.ensure_future(with_item(name)))
        elif act == 5:
            kind.put(queue, put)
            put += 1
        elif act == 6 and gates:
            gate = rng.choice(gates)
            if not gate.done():
                gate.set_result(None)
        elif tasks:
            rng.choice(tasks).cancel()
        if rng.random() < 0.4:
            for _ in range(rng.randrange(1, 4)):
                await asyncio.sleep(0)
    order = rng.random() < 0.5
    for gate in gates if order else reversed(gates):
        if not gate.done():
            gate.set_result(None)
        if rng.random() < 0.3:
            rng.choice(tasks).cancel()
    for _ in range(60):
        await asyncio.sleep(0)
    # All that was put is there, once, and in order where nobody has it.
    left = kind.items(queue)
    assert left == sorted(left)
    assert sorted([item for _, item in items] + left) == list(range(put))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert_all_free(kind, lock, semaphore, queue)
    # Nobody has been passed over for good.
    assert set(released) == set(acquired)


def assert_all_free(kind, lock, semaphore, queue):
    if kind is Ours:
        assert not lock.waiting
        assert not lock.locked
        assert not semaphore.waiting
        assert semaphore.tokens == 2
        assert not queue.waiting
    else:
        assert not lock.locked()
        assert semaphore._value == 2


@pytest.mark.parametrize("seed", range(20))
def test_random_programs(seed):
    async def main():
        for number in range(seed * 50, seed * 50 + 50):
            await program(Theirs, random.Random(number))
            await program(Ours, random.Random(number))

    run(main)
