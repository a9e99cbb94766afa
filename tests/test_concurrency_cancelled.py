"""`deferrous.concurrency`: cancelling many at once, in asyncio tasks and in groups."""

from __future__ import annotations

import asyncio
import sys

import pytest
from concurrency_helpers import result_of
from deferrous import CancelledError, Deferred, ensureDeferred
from deferrous import concurrency as c
from deferrous.testing import Clock

pytestmark = pytest.mark.deferrous_only


def test_reason_for_several_in_one_line():
    semaphore = c.Semaphore(2)
    semaphore.acquire()
    lock = c.ReadWriteLock()
    lock.reading.acquire()
    for waiting in (
        [semaphore.acquire(2), semaphore.acquire(2), semaphore.acquire(2)],
        [lock.writing.acquire(), lock.writing.acquire()],
    ):
        gathered = c.gather(*waiting)
        c.cancel(gathered, "why")
        assert str(result_of(gathered)) == "why"
        assert all(each.called for each in waiting)
    assert (semaphore.value, lock.readers) == (1, 1)
    assert semaphore.acquire().called


def test_waiters_that_cancel_each_other_while_they_are_woken():
    def shut(queue):
        return [queue.get() for _ in range(5)], queue.shutdown

    def closed(channel):
        return [channel.receive() for _ in range(5)], channel.close

    def broken(barrier):
        return [barrier.wait() for _ in range(5)], barrier.abort

    def joined(queue):
        queue.put(1)
        return [queue.join() for _ in range(5)], queue.task_done

    for waiting, wake in (
        shut(c.Queue()),
        closed(c.Channel()),
        broken(c.Barrier(9)),
        joined(c.Queue()),
    ):
        waiting[0].addBoth(lambda _, rest=waiting: [each.cancel() for each in rest[1:4]])
        wake()
        found = [result_of(each) for each in waiting]
        assert all(isinstance(each, CancelledError) for each in found[1:4]), found
        assert not isinstance(found[4], CancelledError)
        assert waiting[4].called


def waiters_of(kind):
    """So many that wait, one after the other, in one line."""
    many = 50_000
    if kind == "Event":
        it = c.Event()
        return it, [it.wait() for _ in range(many)]
    if kind == "Condition":
        it = c.Condition()
        waiting = []
        for _ in range(many):
            it.acquire()
            waiting.append(it.wait())
        return it, waiting
    if kind == "Barrier":
        it = c.Barrier(many + 1)
        return it, [it.wait() for _ in range(many)]
    if kind == "Semaphore":
        it = c.Semaphore(0)
        return it, [it.acquire() for _ in range(many)]
    if kind == "ReadWriteLock":
        it = c.ReadWriteLock()
        it.writing.acquire()
        return it, [(it.reading if n % 2 else it.writing).acquire() for n in range(many)]
    if kind == "KeyedLock":
        it = c.KeyedLock()
        it("key").acquire()
        return it, [it("key").acquire() for _ in range(many)]
    if kind == "get":
        it = c.Queue()
        return it, [it.get() for _ in range(many)]
    if kind == "put":
        it = c.Queue(1)
        return it, [it.put(n) for n in range(many)][1:]
    if kind == "join":
        it = c.Queue()
        it.put(1)
        return it, [it.join() for _ in range(many)]
    if kind == "send":
        it = c.Channel()
        return it, [it.send(n) for n in range(many)]
    if kind == "receive":
        it = c.Channel()
        return it, [it.receive() for _ in range(many)]
    if kind == "broadcast":
        it = c.Broadcast(1)
        it.subscribe()
        return it, [it.send(n) for n in range(many)][1:]
    it = c.Observable(Deferred())
    return it, [it.observe() for _ in range(many)]


@pytest.mark.parametrize(
    "kind",
    [
        "Event",
        "Condition",
        "Barrier",
        "Semaphore",
        "ReadWriteLock",
        "KeyedLock",
        "get",
        "put",
        "join",
        "send",
        "receive",
        "broadcast",
        "observe",
    ],
)
def test_cancelled_in_constant_time(kind):
    """In linear time each, this would take minutes: the last first, and from the middle."""
    it, waiting = waiters_of(kind)
    middle = len(waiting) // 2
    for each in [*reversed(waiting[middle:]), *waiting[1:middle], waiting[0]]:
        each.addErrback(lambda failure: failure.trap(CancelledError))
        each.cancel()
    if kind == "Condition":
        # Each has to have the lock once more.
        it.acquire()
        for _ in waiting:
            it.release()
    assert all(each.called for each in waiting)
    assert not getattr(it, "_waiting", ())


def test_reason_reaches_the_coroutine_in_a_task():
    found = []

    async def wait(event):
        try:
            await event.wait()
        except asyncio.CancelledError as error:
            found.append(error.args)
            raise

    async def main():
        event = c.Event()
        task = asyncio.ensure_future(wait(event))
        await asyncio.sleep(0)
        task.cancel("why")
        await asyncio.wait([task])
        assert not event._waiting

    asyncio.run(main())
    assert found == [("why",)]


async def until_cancelled(found, waitable):
    try:
        await waitable
    except asyncio.CancelledError as error:
        found.append(error.args)
        raise


@pytest.mark.parametrize("how", ["fromFuture", "awaited", "scheduler", "gathered"])
def test_reason_reaches_a_future(how):
    """A future of asyncio's that a Deferred stands for."""
    found = []

    async def awaiting(task):
        return await task

    async def main():
        task = asyncio.ensure_future(until_cancelled(found, asyncio.sleep(1000)))
        await asyncio.sleep(0)
        if how == "fromFuture":
            d = Deferred.fromFuture(task)
        elif how == "awaited":
            d = ensureDeferred(awaiting(task))
        elif how == "scheduler":
            d = Deferred.fromFuture(task, scheduler=asyncio.get_running_loop())
        else:
            d = c.gather(Deferred.fromFuture(task), Deferred())
        c.cancel(d, "why")
        await asyncio.wait([task])
        await asyncio.sleep(0)
        return str(result_of(d))

    reason = asyncio.run(main())
    assert found == [("why",)]
    # Up to 3.10, a task does not say for which reason it was cancelled.
    assert reason == "why" or (sys.version_info < (3, 11) and how == "fromFuture")


def test_no_reason_where_there_is_none():
    found = []

    async def main():
        task = asyncio.ensure_future(until_cancelled(found, asyncio.sleep(1000)))
        await asyncio.sleep(0)
        d = Deferred.fromFuture(task)
        d.cancel()
        await asyncio.wait([task])
        return type(result_of(d))

    assert asyncio.run(main()) is asyncio.CancelledError
    assert found == [()]


class Future(asyncio.Future):
    pass


def on_the_class(made):
    class Loop(asyncio.SelectorEventLoop):
        def create_future(self):
            made.append(Future(loop=self))
            return made[-1]

    return Loop()


def on_the_object(made):
    loop = asyncio.SelectorEventLoop()

    def create_future():
        made.append(Future(loop=loop))
        return made[-1]

    loop.create_future = create_future
    return loop


@pytest.mark.parametrize("make", [on_the_class, on_the_object])
def test_loop_with_futures_of_its_own(make):
    made = []
    loop = make(made)

    async def main():
        event = c.Event()
        task = asyncio.ensure_future(until_cancelled([], event.wait()))
        await asyncio.sleep(0)
        event.set()
        return await task

    loop.run_until_complete(main())
    loop.close()
    assert [type(each) for each in made] == [Future]


def test_driver_that_asks_again():
    """Whoever drives the coroutine of a task may send to it whenever it wants."""

    async def main():
        d = Deferred()
        iterator = d.__await__()
        future = iterator.send(None)
        assert future._asyncio_future_blocking
        assert iterator.send(None) is future
        future.set_result(None)
        assert iterator.send(None) is future
        d.callback(3)
        with pytest.raises(StopIteration) as stopped:
            iterator.send(None)
        return stopped.value.value

    async def cancelled():
        iterator = Deferred().__await__()
        future = iterator.send(None)
        future.cancel()
        assert iterator.send(None) is future

    assert asyncio.run(main()) == 3
    asyncio.run(cancelled())


def fails_late(clock):
    """Has failed as soon as it is cancelled, and takes its time to end."""

    async def stubborn():
        try:
            await Deferred()
        finally:
            await c.sleep(2, clock=clock)

    return stubborn()


async def group_that_fails(clock, found):
    try:
        async with c.TaskGroup() as group:
            group.create_task(fails_late(clock))
            await c.sleep(1, clock=clock)
            raise ValueError
    except BaseException as error:
        found.append(type(error).__name__)
    # Who cancelled it waits for that.
    await c.sleep(100, clock=clock)
    found.append("is not over")


def test_cancelled_while_a_group_ends_with_errors():
    """As asyncio's from Python 3.13 on: the error is raised, and the next wait is cancelled."""
    clock, found = Clock(), []
    d = ensureDeferred(group_that_fails(clock, found))
    clock.advance(1)
    d.cancel()
    clock.advance(3)
    assert isinstance(result_of(d), CancelledError)
    assert len(found) == 1 and found[0].endswith("Group"), found
    assert clock.getDelayedCalls() == []


def test_cancelled_task_while_a_group_ends_with_errors():
    async def main():
        clock, found = Clock(), []
        task = asyncio.ensure_future(group_that_fails(clock, found))
        await asyncio.sleep(0)
        clock.advance(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.advance(3)
        await asyncio.wait([task], timeout=10)
        assert task.cancelled(), found
        assert clock.getDelayedCalls() == []

    asyncio.run(main())


def test_group_that_is_cancelled_from_outside_after_it_was_from_inside():
    clock = Clock()

    async def main():
        async with c.TaskGroup() as group:
            group.create_task(fails_late(clock))
            group.cancel()
        return "goes on"

    d = ensureDeferred(main())
    d.cancel()
    clock.advance(2)
    assert isinstance(result_of(d), CancelledError)


def test_group_whose_coroutine_is_closed_while_it_ends(reports):
    tasks = [Deferred(), Deferred()]

    async def main():
        async with c.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)

    coroutine = main()
    ensureDeferred(coroutine)
    coroutine.close()
    assert all(task.called for task in tasks)
    assert reports.values() == []
