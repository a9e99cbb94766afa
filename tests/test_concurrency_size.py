"""`deferrous.concurrency` with very many objects, and what it leaves behind."""

from __future__ import annotations

import gc

import pytest
from concurrency_helpers import awaited
from deferrous import Deferred, ensureDeferred, succeed
from deferrous import concurrency as c
from deferrous.testing import Clock, successResultOf
from helpers import run_script

pytestmark = pytest.mark.deferrous_only


def test_a_hundred_thousand_wait_for_an_event():
    event, seen = c.Event(), []
    waiting = [event.wait() for _ in range(100_000)]
    for each in waiting[1::2]:
        each.addErrback(lambda _: None)
        each.cancel()
    for each in waiting[::2]:
        each.addCallback(seen.append)
    event.set()
    assert len(seen) == 50_000


@pytest.mark.parametrize("kind", ["Event", "Semaphore", "Queue", "KeyedLock", "Condition"])
def test_no_recursion(kind):
    """Each that is woken wakes the next: a hundred thousand deep."""
    done = run_script(
        "deferrous",
        f"""
        from deferrous import concurrency as c, ensureDeferred
        count, kind = 100_000, {kind!r}
        woken = []
        if kind == "Event":
            events = [c.Event() for _ in range(count + 1)]
            async def work(number):
                await events[number].wait()
                woken.append(1)
                events[number + 1].set()
            first = events[0].set
        elif kind == "Queue":
            queues = [c.Queue() for _ in range(count + 1)]
            async def work(number):
                await queues[number].get()
                woken.append(1)
                queues[number + 1].put_nowait(1)
            first = lambda: queues[0].put_nowait(1)
        elif kind == "Condition":
            lock = c.Condition()
            lock.acquire()
            first = lock.release
            async def work(number):
                async with lock:
                    woken.append(1)
        else:
            semaphore = c.Semaphore(1) if kind == "Semaphore" else c.KeyedLock()("key")
            semaphore.acquire()
            first = semaphore.release
            async def work(number):
                async with semaphore:
                    woken.append(1)
        ds = [ensureDeferred(work(number)) for number in range(count)]
        first()
        print(len(woken), all(d.called for d in ds))
        """,
    )
    assert done.stdout == "100000 True\n"


def test_a_million_items():
    done = run_script(
        "deferrous",
        """
        import gc
        from deferrous import concurrency as c, ensureDeferred, succeed
        most = 0
        def work(number):
            global most
            if not number % 100_000:
                most = max(most, len(gc.get_objects()))
            return succeed(None)
        gc.collect()
        gc.freeze()
        d = c.map(work, iter(range(1_000_000)), limit=100)
        print(len(d.result), most < 2000)
        async def main():
            count = 0
            async for _ in c.stream(work, iter(range(300_000)), limit=100):
                count += 1
            return count
        print(ensureDeferred(main()).result, most < 2000)
        """,
    )
    assert done.stdout == "1000000 True\n300000 True\n"


def leaves_nothing(make):
    """Whether the objects that a function makes and drops are freed without the collector."""
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(50):
            make()
        assert len(gc.get_objects()) < before + 40
        assert gc.collect() < 40
    finally:
        gc.enable()


def use_time():
    clock = Clock()

    async def main():
        async with c.timeout(5, clock=clock):
            await c.sleep(1, clock=clock)
        try:
            async with c.timeout(1, clock=clock):
                await Deferred()
        except TimeoutError:
            pass
        return await c.wait_for(c.sleep(1, clock=clock), 2, clock=clock)

    d = ensureDeferred(main())
    clock.pump([1] * 5)
    successResultOf(d)


def use_groups():
    async def main():
        async with c.TaskGroup() as group:
            group.create_task(awaited(succeed(1)))
            d = Deferred()
            group.create_task(awaited(d))
            d.callback(1)

    successResultOf(main())


def use_events():
    event, semaphore, lock, keyed = c.Event(), c.Semaphore(1), c.ReadWriteLock(), c.KeyedLock()
    barrier, condition = c.Barrier(2), c.Condition()
    event.wait(), event.wait().addErrback(lambda _: None).cancel(), event.set()
    semaphore.acquire(), semaphore.acquire(), semaphore.release(), semaphore.release()
    lock.reading.acquire(), lock.writing.acquire(), lock.reading.release(), lock.writing.release()
    keyed(1).acquire(), keyed(1).acquire(), keyed(1).release(), keyed(1).release()
    barrier.wait(), barrier.wait()
    condition.acquire(), condition.wait(), condition.acquire(), condition.notify()
    condition.release(), condition.release()


def use_queues():
    queue, channel, broadcast = c.Queue(1), c.Channel(), c.Broadcast(1)
    queue.put(1), queue.put(2), queue.get(), queue.get(), queue.shutdown()
    queue.join(), queue.task_done(), queue.task_done()
    channel.send(1), channel.receive(), channel.receive(), channel.send(2)
    reader = broadcast.subscribe()
    broadcast.send(1), broadcast.send(2), reader.get(), reader.get(), reader.close()


def use_many():
    d, other = Deferred(), Deferred()
    waiting = [c.wait([d]), c.wait([d, other], return_when=c.FIRST_COMPLETED)]
    waiting += [c.gather(d, other), *c.as_completed([d, other])]
    waiting.append(c.map(lambda each: each, [d, other], limit=2))
    stream = c.stream(lambda each: each, [d, other], limit=2)
    waiting += [stream.__anext__(), c.shield(d), c.delay_cancellation(other)]
    shared = c.Observable(d)
    waiting.append(shared.observe())
    d.callback(1)
    other.callback(2)
    stream.close()
    assert all(each.called for each in waiting)


@pytest.mark.parametrize("use", [use_time, use_groups, use_events, use_queues, use_many])
def test_no_cycles(use):
    use()
    leaves_nothing(use)


def test_imports_neither_asyncio_nor_twisted():
    done = run_script(
        "deferrous",
        """
        import sys
        from deferrous import concurrency
        print([name for name in ("asyncio", "twisted") if name in sys.modules])
        """,
    )
    assert done.stdout == "[]\n"
