"""`deferrous.concurrency`: queues, channels, and shared results."""

from __future__ import annotations

import asyncio

import deferrous as defer
import pytest
from concurrency_helpers import awaited
from deferrous import Deferred, ensureDeferred, fail
from deferrous import concurrency as c
from deferrous.testing import assertNoResult, failureResultOf, successResultOf

pytestmark = pytest.mark.deferrous_only


@pytest.mark.parametrize("kind", [c.Queue, c.LifoQueue, c.PriorityQueue])
def test_queue(kind):
    queue = kind(2)
    queue.put_nowait(1)
    queue.put_nowait(2)
    with pytest.raises(c.QueueFull):
        queue.put_nowait(3)
    waiting = queue.put(3)
    assertNoResult(waiting)
    first = queue.get_nowait()
    assert first == (2 if kind is c.LifoQueue else 1)
    assert successResultOf(waiting) is None
    rest = [queue.get_nowait(), queue.get_nowait()]
    assert rest == ([3, 1] if kind is c.LifoQueue else [2, 3])
    with pytest.raises(c.QueueEmpty):
        queue.get_nowait()
    joined = queue.join()
    for _ in range(3):
        assertNoResult(joined)
        queue.task_done()
    assert successResultOf(joined) is None
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


@pytest.mark.parametrize(
    "item", [Deferred(), defer.Failure(KeyError())], ids=["Deferred", "Failure"]
)
def test_what_cannot_be_an_item(item):
    for put in (c.Queue().put, c.Queue().put_nowait, c.Channel().send, c.Broadcast().send):
        with pytest.raises(TypeError, match="cannot be an item"):
            put(item)


def test_queue_shut_down():
    queue = c.Queue(1)
    queue.put(1)
    waiting = queue.put(2)
    queue.shutdown()
    failureResultOf(waiting, c.QueueShutDown)
    failureResultOf(queue.put(3), c.QueueShutDown)
    with pytest.raises(c.QueueShutDown):
        queue.put_nowait(3)
    assert successResultOf(queue.get()) == 1
    failureResultOf(queue.get(), c.QueueShutDown)
    with pytest.raises(c.QueueShutDown):
        queue.get_nowait()
    queue = c.Queue()
    getting, joining = queue.get(), queue.join()
    successResultOf(joining)
    queue.shutdown(immediate=True)
    failureResultOf(getting, c.QueueShutDown)


def test_async_for_ends_with_the_queue():
    async def all_of(it):
        return [each async for each in it]

    queue, channel, broadcast = c.Queue(), c.Channel(), c.Broadcast()
    reader = broadcast.subscribe()
    ds = [ensureDeferred(all_of(each)) for each in (queue, channel, reader)]
    for number in range(3):
        queue.put(number)
        channel.send(number)
        broadcast.send(number)
    queue.shutdown()
    channel.close()
    broadcast.close()
    assert [successResultOf(d) for d in ds] == [[0, 1, 2]] * 3


def test_async_for_in_a_task():
    async def main():
        queue = c.Queue()

        async def all_of():
            return [each async for each in queue]

        task = asyncio.ensure_future(all_of())
        for number in range(3):
            await queue.put(number)
            await asyncio.sleep(0)
        queue.shutdown()
        assert await task == [0, 1, 2]

    asyncio.run(main())


def test_channel():
    channel = c.Channel()
    sending = channel.send(1)
    assertNoResult(sending)
    assert successResultOf(channel.receive()) == 1
    assert successResultOf(sending) is None
    cancelled = channel.send(2)
    cancelled.cancel()
    failureResultOf(cancelled, defer.CancelledError)
    waiting = channel.receive()
    assertNoResult(waiting)
    channel.send(3)
    assert successResultOf(waiting) == 3
    sending = channel.send(4)
    channel.close()
    failureResultOf(sending, c.ChannelClosed)
    failureResultOf(channel.receive(), c.ChannelClosed)
    failureResultOf(channel.send(5), c.ChannelClosed)
    with pytest.raises(ValueError, match="capacity"):
        c.Channel(-1)


def test_broadcast_keeps_the_order_for_all():
    """Also where one that gets an item sends another at once."""
    broadcast = c.Broadcast()
    one, other = broadcast.subscribe(), broadcast.subscribe()
    one.get().addCallback(lambda item: broadcast.send(item + 1) and None)
    broadcast.send(1)
    assert successResultOf(other.get()) == 1
    assert successResultOf(other.get()) == 2
    assert successResultOf(one.get()) == 2


def test_broadcast_lets_nothing_in_while_it_is_closed():
    """Also not where somebody who is told closes another subscription."""
    broadcast = c.Broadcast(1)
    first, full, other = broadcast.subscribe(), broadcast.subscribe(), broadcast.subscribe()
    successResultOf(broadcast.send(1))
    for reader in (first, other):
        successResultOf(reader.get())
    waiting = broadcast.send(2)
    first.get().addErrback(lambda _: other.close())
    broadcast.close()
    failureResultOf(waiting, c.ChannelClosed)
    assert successResultOf(full.get()) == 1
    failureResultOf(full.get(), c.ChannelClosed)


def test_broadcast_waits_for_the_slowest():
    broadcast = c.Broadcast(1)
    quick, slow = broadcast.subscribe(), broadcast.subscribe()
    successResultOf(broadcast.send(1))
    waiting = broadcast.send(2)
    assert successResultOf(quick.get()) == 1
    assertNoResult(waiting)
    slow.close()
    assert successResultOf(waiting) is None
    assert successResultOf(quick.get()) == 2
    broadcast.close()
    with pytest.raises(c.ChannelClosed):
        broadcast.subscribe()
    failureResultOf(quick.get(), c.ChannelClosed)


def test_used_from_two_loops():
    """None knows a loop: what is left behind by one can be used from another."""
    event, queue, lock = c.Event(), c.Queue(), c.ReadWriteLock()

    async def first():
        waiting = (event.wait(), queue.get(), lock.writing.acquire())
        tasks = [asyncio.ensure_future(awaited(each)) for each in waiting]
        await asyncio.sleep(0)
        assert not tasks[0].done()

    async def second():
        event.set()
        await event.wait()
        queue.put_nowait("item")
        assert await asyncio.wait_for(queue.get(), 60) == "item"
        lock.writing.release()
        async with lock.reading:
            pass

    asyncio.run(first())
    asyncio.run(second())
    assert not event._waiting
    assert not queue._getting


def test_observable(reports):
    d = Deferred()
    shared = c.Observable(d)
    one, other, gone = shared.observe(), shared.observe(), shared.observe()
    one.addCallback(lambda result: result + 1)
    gone.cancel()
    failureResultOf(gone, defer.CancelledError)
    assert (shared.observers(), shared.has_result()) == (2, False)
    d.callback(1)
    assert successResultOf(one) == 2
    assert successResultOf(other) == 1
    assert successResultOf(shared.observe()) == 1
    assert successResultOf(d) == 1
    failing = c.Observable(Deferred())
    one, other = failing.observe(), failing.observe()
    failing.cancel()
    failureResultOf(one, defer.CancelledError)
    failureResultOf(other, defer.CancelledError)
    late = c.Observable(fail(KeyError()))
    failureResultOf(late.observe(), KeyError)
    failureResultOf(late.observe(), KeyError)
    del failing, late, one, other
    assert reports.values() == []
    unobserved = c.Observable(fail(KeyError("nobody")))
    del unobserved
    assert len(reports.values()) == 1


def test_observable_cancelled_when_unobserved():
    d = Deferred()
    shared = c.Observable(d, cancel_unobserved=True)
    one, other = shared.observe(), shared.observe()
    one.cancel()
    assert not d.called
    other.cancel()
    assert d.called
    for each in (one, other):
        failureResultOf(each, defer.CancelledError)


def test_once():
    ds = []

    @c.once
    def fetch(name, *, fresh=False):
        ds.append(Deferred())
        return ds[-1]

    one, other, third = fetch("a"), fetch("a"), fetch("b", fresh=True)
    assert len(ds) == 2
    ds[0].callback("A")
    assert [successResultOf(one), successResultOf(other)] == ["A", "A"]
    assertNoResult(third)
    again = fetch("a")
    assert len(ds) == 3
    again.cancel()
    assert ds[2].called
    failureResultOf(again, defer.CancelledError)
    assert fetch.__name__ == "fetch"
    assert successResultOf(c.once(lambda: "plain")()) == "plain"
    with pytest.raises(TypeError, match="unhashable"):
        fetch([])


def test_broadcast_that_is_closed_takes_no_item():
    broadcast = c.Broadcast()
    broadcast.close()
    failureResultOf(broadcast.send("late"), c.ChannelClosed)
    with pytest.raises(c.ChannelClosed):
        broadcast.subscribe()
