"""What somebody does to `deferrous.concurrency` who means harm: nothing hangs, nothing is lost."""

from __future__ import annotations

import asyncio
import math
import sys

import pytest
from deferrous import CancelledError, Deferred, Failure, ensureDeferred, fail
from deferrous import concurrency as c
from deferrous.testing import Clock

pytestmark = pytest.mark.deferrous_only


def result_of(deferred):
    """What a Deferred has come to; of a failure, the exception. None if nothing has."""
    found = []
    deferred.addBoth(found.append)
    [result] = found or [None]
    return result.value if isinstance(result, Failure) else result


# Numbers that are none.

NAN = math.nan


@pytest.mark.parametrize(
    "make",
    [
        c.Semaphore,
        c.BoundedSemaphore,
        c.KeyedLock,
        c.Queue,
        c.PriorityQueue,
        c.LifoQueue,
        c.Channel,
        c.Broadcast,
    ],
)
@pytest.mark.parametrize("number", ["2", None, (), NAN])
def test_what_is_no_number(make, number):
    with pytest.raises((TypeError, ValueError), match="must be a number, not"):
        make(number)


@pytest.mark.parametrize("number", ["2", None, 1.5, NAN])
def test_parties_that_would_never_come(number):
    with pytest.raises(TypeError):
        c.Barrier(number)


@pytest.mark.parametrize(
    "call",
    [
        lambda: c.Semaphore(2).acquire(NAN),
        lambda: c.Semaphore(2).release(NAN),
        lambda: c.Semaphore(2).weighing(NAN),
        lambda: c.BoundedSemaphore(2).acquire(NAN),
        lambda: c.BoundedSemaphore(2).release(NAN),
        lambda: c.map(print, [], limit=NAN),
        lambda: c.stream(print, [], limit=NAN),
        lambda: c.sleep(NAN, clock=Clock()),
        lambda: c.timeout(NAN, clock=Clock()),
        lambda: c.timeout_at(NAN, clock=Clock()),
        lambda: c.wait_for(Deferred(), NAN, clock=Clock()),
        lambda: c.wait([Deferred()], timeout=NAN, clock=Clock()),
        lambda: c.as_completed([Deferred()], timeout=NAN, clock=Clock()),
    ],
)
def test_not_a_number(call):
    with pytest.raises(ValueError):
        call()


def test_rescheduled_to_what_is_not_a_number():
    async def main():
        async with c.timeout(1, clock=Clock()) as deadline:
            with pytest.raises(ValueError, match="NaN"):
                deadline.reschedule(NAN)
            return deadline.when()

    assert result_of(ensureDeferred(main())) == 1


def test_endless_queues():
    """Trio's way to say that there is no limit."""
    for make in (c.Queue, c.Channel, c.Broadcast):
        put = make(math.inf)
        for number in range(100):
            assert getattr(put, "put", getattr(put, "send", None))(number).called


# Cancellers that raise.


def raising(_):
    raise KeyError("canceller")


def ends(deferreds):
    """Whether all have ended, and nobody's failure is left."""
    return [isinstance(result_of(each), CancelledError) for each in deferreds]


CANCELLER = "Exception raised from user supplied canceller"


@pytest.mark.parametrize(
    "begin",
    [
        lambda ds, trigger: c.gather(trigger, *ds, cancel_losers=True),
        lambda ds, trigger: c.map(lambda d: d, [*ds, trigger], limit=9),
    ],
    ids=["gather", "map"],
)
def test_canceller_that_raises_keeps_nobody(begin, reports):
    trigger = Deferred()
    ds = [Deferred(raising), Deferred(), Deferred(raising), Deferred()]
    done = begin(ds, trigger)
    trigger.errback(ValueError())
    assert isinstance(result_of(done), ValueError)
    assert all(d.called for d in ds)
    assert [str(each) for each in reports.values()] == ["'canceller'"] * 2


def test_canceller_that_raises_in_a_group(reports):
    ds = [Deferred(raising), Deferred()]

    async def main():
        async with c.TaskGroup() as group:
            for d in ds:
                group.create_task(d)
            group.create_task(fail(ValueError("the first")))

    error = result_of(ensureDeferred(main()))
    errors = getattr(error, "exceptions", None) or [f.value for f in error.failures]
    assert [type(each) for each in errors] == [ValueError]
    assert all(d.called for d in ds)
    assert [str(each) for each in reports.values()] == ["'canceller'"]


def test_canceller_that_raises_in_a_group_that_is_cancelled(reports):
    group = c.TaskGroup().open()
    ds = [group.create_task(d) for d in (Deferred(raising), Deferred(), Deferred(raising))]
    ended = group.join()
    group.cancel("reason")
    assert result_of(ended) is None and ended.called
    assert [str(result_of(d)) for d in ds] == ["reason"] * 3 or all(d.called for d in ds)
    assert len(reports.values()) == 2


def test_canceller_that_raises_in_wait_for(reports):
    limited = c.wait_for(Deferred(raising), 0, clock=Clock())
    assert isinstance(result_of(limited), TimeoutError)
    assert len(reports.values()) == 1


def test_canceller_that_raises_in_a_map_that_is_cancelled(reports):
    ds = [Deferred(raising), Deferred()]
    mapped = c.map(lambda d: d, ds, limit=2)
    mapped.cancel()
    assert isinstance(result_of(mapped), CancelledError)
    assert len(reports.values()) == 1


def test_canceller_that_raises_in_a_stream(reports):
    ds = [Deferred(raising), Deferred()]
    stream = c.stream(lambda d: d, ds, limit=2)
    first = stream.__anext__()
    stream.close()
    assert isinstance(result_of(first), StopAsyncIteration)
    assert all(d.called for d in ds)
    assert len(reports.values()) == 1


# Items that do what they should not.


def counting(log):
    def function(item):
        log.append(item)
        return Deferred()

    return function


def test_items_that_cancel_what_takes_them():
    mapped, begun, closed = [], [], []

    def items():
        try:
            yield 1
            mapped[0].cancel()
            yield 2
            yield 3
        finally:
            closed.append(True)

    mapped.append(c.map(counting(begun), items(), limit=1))
    assert begun == [1]

    def again():
        # The first is cancelled with the rest; here the items do it while they are asked.
        running = []
        it = items()

        def function(item):
            begun.append(item)
            running.append(Deferred())
            return running[-1]

        mapped[:] = [c.map(function, it, limit=1)]
        running[0].callback(None)
        return mapped[0]

    mapped[0].cancel()
    assert isinstance(result_of(mapped[0]), CancelledError)
    assert isinstance(result_of(again()), CancelledError)
    assert begun == [1, 1]
    assert closed == [True, True]


def test_asynchronous_items_that_cancel_what_takes_them():
    mapped, begun, closed = [], [], []

    async def items():
        try:
            yield 1
            mapped[0].cancel()
            yield 2
        finally:
            closed.append(True)

    running = Deferred()

    def function(item):
        begun.append(item)
        return running

    mapped.append(c.map(function, items(), limit=1))
    running.callback(None)
    assert isinstance(result_of(mapped[0]), CancelledError)
    assert (begun, closed) == ([1], [True])


@pytest.mark.parametrize("when", [0, 1])
def test_function_that_cancels_what_calls_it(when):
    mapped, running = [], []

    def function(item):
        running.append(Deferred())
        if item == when + 1:
            mapped[0].cancel()
        return running[-1]

    async def items():
        for number in range(9):
            await c.sleep(1, clock=clock)
            yield number

    clock = Clock()
    mapped.append(c.map(function, items(), limit=4))
    clock.pump([1] * 4)
    assert isinstance(result_of(mapped[0]), CancelledError)
    assert all(d.called for d in running)
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("error", [KeyError, SystemExit, KeyboardInterrupt])
def test_items_that_raise(error, reports):
    def items():
        yield 1
        raise error("items")

    async def asynchronous():
        for item in items():
            yield item

    for each in (items(), asynchronous()):
        ds = []

        def function(_, ds=ds):
            ds.append(Deferred())
            return ds[-1]

        mapped = c.map(function, each, limit=5)
        raised = result_of(mapped)
        assert type(raised) is error
        assert all(d.called for d in ds)


def stubborn():
    try:
        while True:
            yield 1
    finally:
        raise KeyError("closed")


async def stubborn_asynchronous():
    try:
        while True:
            yield 1
    finally:
        raise KeyError("closed")


@pytest.mark.parametrize("items", [stubborn, stubborn_asynchronous])
def test_items_that_cannot_be_closed(items, reports):
    ds = []

    def function(_):
        ds.append(Deferred())
        return ds[-1]

    mapped = c.map(function, items(), limit=3)
    ds[1].errback(ValueError())
    assert isinstance(result_of(mapped), ValueError)
    assert all(d.called for d in ds)
    del ds[:]
    mapped = c.map(function, items(), limit=3)
    mapped.cancel()
    assert isinstance(result_of(mapped), CancelledError)
    assert all(d.called for d in ds)
    assert [str(each) for each in reports.values()] == ["'closed'"]
    stream = c.stream(function, items(), limit=3)
    first = stream.__anext__()
    stream.close()
    assert str(result_of(first)) == "'closed'"


# Cancelled for a reason, several at a time.


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


# Cancelled while they are woken.


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


# In constant time.


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


# Tasks of asyncio.


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


# Groups.


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
