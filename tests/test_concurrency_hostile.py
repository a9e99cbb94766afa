"""What somebody does to `deferrous.concurrency` who means harm: nothing hangs, nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import math
import random
import sys
import threading
import weakref

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


# At the recursion limit. Each operation is done as a whole, or refused as a whole: then it can be
# done again.


def held(lock, *waiting):
    """An acquired lock, and those that wait for it."""
    lock.acquire()
    return [each.acquire() for each in waiting]


def releasing_a_semaphore():
    it = c.Semaphore(1)
    [waits] = held(it, it)
    return it.release, lambda: (waits.called, it.value, len(it._waiting))


def releasing_a_bounded_semaphore():
    it = c.BoundedSemaphore(2)
    both = held(it.weighing(2), it, it, it)
    return lambda: it.release(2), lambda: ([d.called for d in both], it.value, len(it._waiting))


def releasing_a_weight():
    it = c.Semaphore(3)
    [waits] = held(it.weighing(2), it.weighing(2))
    return it.weighing(2).release, lambda: (waits.called, it.value, len(it._waiting))


def leaving_a_semaphore():
    it = c.Semaphore(2)
    heavy, light = held(it, it.weighing(2), it)
    heavy.addErrback(id)
    return heavy.cancel, lambda: (light.called, it.value, len(it._waiting))


def acquiring_a_semaphore():
    it, got = c.Semaphore(1), []
    return lambda: got.extend([it.acquire()]), lambda: (len(got), it.value)


def releasing_what_is_written():
    it = c.ReadWriteLock()
    both = held(it.writing, it.reading, it.reading)
    return it.writing.release, lambda: ([d.called for d in both], it.readers, it.locked())


def releasing_what_is_read():
    it = c.ReadWriteLock()
    [waits] = held(it.reading, it.writing)
    return it.reading.release, lambda: (waits.called, it.readers, it.locked())


def leaving_a_line_of_readers():
    it = c.ReadWriteLock()
    writer, reader = held(it.reading, it.writing, it.reading)
    writer.addErrback(id)
    return writer.cancel, lambda: (reader.called, it.readers, len(it._waiting))


def releasing_a_key():
    it = c.KeyedLock()
    [waits] = held(it("key"), it("key"))
    return it("key").release, lambda: (waits.called, it.locked("key"), it.waiting("key"))


class Key:
    """One whose hash is a function of Python."""

    def __hash__(self):
        return 1

    def __eq__(self, other):
        return isinstance(other, Key)


def releasing_the_last_key():
    it = c.KeyedLock()
    held(it(Key()))
    return it(Key()).release, lambda: (len(it), it.locked(Key()))


def setting_an_event():
    it = c.Event()
    both = [it.wait(), it.wait()]
    return it.set, lambda: ([d.called for d in both], it.is_set(), len(it._waiting))


def notifying():
    it = c.Condition()
    held(it)
    both = [it.wait()]
    held(it)
    both.append(it.wait())
    held(it)
    return it.notify_all, lambda: (len(it._waiting), len(it._lock.waiting))


def waiting_to_be_notified():
    it, waiting = c.Condition(), []
    [others] = held(it, it)
    wait = it.wait
    return lambda: waiting.extend([wait()]), lambda: (
        len(waiting),
        others.called,
        len(it._waiting),
    )


def leaving_a_condition():
    it = c.Condition()
    held(it)
    waits = it.wait().addErrback(id)
    held(it)
    return waits.cancel, lambda: (waits.called, bool(waits.paused), len(it._waiting))


def coming_to_a_barrier():
    it, got = c.Barrier(3), []
    both = [it.wait(), it.wait()]
    return lambda: got.extend([it.wait()]), lambda: (
        [d.called for d in both],
        len(got),
        it.n_waiting,
    )


def aborting_a_barrier():
    it = c.Barrier(3)
    both = [it.wait(), it.wait()]
    return it.abort, lambda: ([d.called for d in both], it.broken, it.n_waiting)


def resetting_a_barrier():
    it = c.Barrier(3)
    both = [it.wait(), it.wait()]
    return it.reset, lambda: ([d.called for d in both], it.broken, it.n_waiting)


def putting(make):
    def operation():
        it = make()
        return lambda: it.put(1), lambda: (it.qsize(), it._unfinished)

    return operation


def putting_for_one_that_waits():
    it = c.Queue()
    waits = it.get()
    return lambda: it.put(1), lambda: (waits.called, it.qsize(), it._unfinished)


def getting(make, method):
    def operation():
        it, got = make(1), []
        it.put(1)
        waits = it.put(2)
        get = getattr(it, method)
        return lambda: got.extend([get()]), lambda: (
            len(got),
            waits.called,
            it.qsize(),
            it._unfinished,
        )

    return operation


def finishing():
    it = c.Queue()
    it.put(1)
    it.get()
    waits = it.join()
    return it.task_done, lambda: (waits.called, it._unfinished)


def shutting(immediate):
    def operation():
        it, other = c.Queue(1), c.Queue(1)
        other.put(1)
        all_that_wait = [it.get(), it.__anext__(), it.get(), other.put(1), other.put(2)]
        one = it if immediate is None else other
        mine = all_that_wait[:3] if one is it else [*all_that_wait[3:], other.join()]
        return lambda: one.shutdown(bool(immediate)), lambda: (
            [d.called for d in mine[:3] if immediate or d in all_that_wait],
            one._is_shut_down,
        )

    return operation


def sending():
    it = c.Channel()
    waits = it.receive()
    return lambda: it.send(1), lambda: (waits.called, len(it._getting))


def receiving(capacity):
    def operation():
        it, got = c.Channel(capacity), []
        all_that_wait = [it.send(number) for number in range(capacity + 1)]
        receive = it.receive
        return lambda: got.extend([receive()]), lambda: (
            len(got),
            [d.called for d in all_that_wait],
            len(it._buffer),
        )

    return operation


def closing_a_channel():
    it, other = c.Channel(), c.Channel()
    both = [it.receive(), it.__anext__()]
    return it.close, lambda: ([d.called for d in both], it.closed, len(other._getting))


def closing_a_channel_with_senders():
    it = c.Channel()
    both = [it.send(1), it.send(2)]
    return it.close, lambda: ([d.called for d in both], it.closed)


def sending_to_all():
    it = c.Broadcast()
    one, other = it.subscribe(), it.subscribe()
    waits = one.get()
    return lambda: it.send(1), lambda: (waits.called, one.qsize(), other.qsize())


def getting_what_was_sent_to_all():
    it, got = c.Broadcast(1), []
    reader = it.subscribe()
    it.send(1)
    waits, get = it.send(2), reader.get
    return lambda: got.extend([get()]), lambda: (len(got), waits.called, reader.qsize(), it._full)


def closing_a_subscription():
    it = c.Broadcast(1)
    slow, fast = it.subscribe(), it.subscribe()
    it.send(1)
    fast.get()
    waits = it.send(2)
    return slow.close, lambda: (waits.called, slow.qsize(), fast.qsize(), it._full)


def closing_a_broadcast():
    it = c.Broadcast(1)
    reader = it.subscribe()
    both = [reader.get(), reader.__anext__()]
    return it.close, lambda: ([d.called for d in both], it.closed)


OPERATIONS = {
    operation.__name__.replace("_", " "): operation
    for operation in (
        releasing_a_semaphore,
        releasing_a_bounded_semaphore,
        releasing_a_weight,
        leaving_a_semaphore,
        acquiring_a_semaphore,
        releasing_what_is_written,
        releasing_what_is_read,
        leaving_a_line_of_readers,
        releasing_a_key,
        releasing_the_last_key,
        setting_an_event,
        notifying,
        waiting_to_be_notified,
        leaving_a_condition,
        coming_to_a_barrier,
        aborting_a_barrier,
        resetting_a_barrier,
        putting_for_one_that_waits,
        finishing,
        sending,
        closing_a_channel,
        closing_a_channel_with_senders,
        sending_to_all,
        getting_what_was_sent_to_all,
        closing_a_subscription,
        closing_a_broadcast,
    )
} | {
    "putting": putting(c.Queue),
    "putting by priority": putting(c.PriorityQueue),
    "getting": getting(c.Queue, "get"),
    "getting the last": getting(c.LifoQueue, "get"),
    "getting by priority": getting(c.PriorityQueue, "get"),
    "getting without waiting": getting(c.Queue, "get_nowait"),
    "iterating": getting(c.Queue, "__anext__"),
    "shutting": shutting(None),
    "shutting with putters": shutting(False),
    "shutting at once": shutting(True),
    "receiving": receiving(0),
    "receiving what is held": receiving(1),
}

LIMIT = 200


def below(calls, function):
    """Call a function within so many calls."""
    return below(calls - 1, function) if calls else function()


def near_the_limit(make):
    """What has gone wrong with an operation at any distance from the recursion limit."""
    operate, state = make()
    before = state()
    operate()
    after, wrong = state(), []
    for calls in range(LIMIT - 60, LIMIT):
        operate, state = make()
        limit, raised = sys.getrecursionlimit(), None
        sys.setrecursionlimit(LIMIT)
        try:
            below(calls, operate)
        except RecursionError:
            raised = True
        finally:
            sys.setrecursionlimit(limit)
        if raised and state() == before:
            operate()
        if state() != after:
            wrong.append((calls, raised, state()))
    return wrong


@pytest.mark.parametrize("make", OPERATIONS.values(), ids=list(OPERATIONS))
def test_near_the_recursion_limit(make, reports):
    found = []
    # On a thread, it is known how many calls there are already: none.
    thread = threading.Thread(target=lambda: found.append(near_the_limit(make)))
    thread.start()
    thread.join()
    assert found == [[]]


# Items that cannot be compared.


class Number:
    """One that can be compared so many times."""

    left = math.inf

    def __init__(self, number):
        self.number = number

    def __lt__(self, other):
        Number.left -= 1
        if Number.left < 0:
            raise KeyError("compared too often")
        return self.number < other.number


@pytest.mark.parametrize("method", ["get_nowait", "get", "put", "put_nowait"])
def test_comparison_that_raises_changes_nothing(method, monkeypatch):
    chance, refused = random.Random(1), 0
    for _ in range(2000):
        queue = c.PriorityQueue()
        monkeypatch.setattr(Number, "left", math.inf)
        for _ in range(chance.randrange(1, 12)):
            queue.put_nowait(Number(chance.randrange(9)))
        before = list(queue._queue)
        monkeypatch.setattr(Number, "left", chance.randrange(6))
        item = [Number(chance.randrange(9))] if "put" in method else []
        try:
            getattr(queue, method)(*item)
        except KeyError:
            refused += 1
            assert list(map(id, queue._queue)) == list(map(id, before))
            assert queue._unfinished == len(before)
    assert refused > 100


def test_comparison_that_takes_an_item(monkeypatch):
    got = []

    def compare(self, other):
        if not got:
            got.append(None)
            got.append(queue.get_nowait())
        return self.number < other.number

    queue = c.PriorityQueue()
    items = [Number(number) for number in range(5)]
    for item in items:
        queue.put_nowait(item)
    monkeypatch.setattr(Number, "__lt__", compare)
    with pytest.raises(RuntimeError):
        queue.get_nowait()
    assert {*queue._queue, *got[1:]} == set(items)


def test_item_that_cannot_be_taken_in_when_there_is_room():
    queue = c.PriorityQueue(2)
    queue.put(1)
    queue.put(2)
    waits, last = queue.put("text"), queue.put(3)
    assert result_of(queue.get()) == 1
    assert isinstance(result_of(waits), TypeError)
    assert last.called and queue.qsize() == 2
    for _ in range(3):
        queue.task_done()
    assert queue.join().called


# As deep as memory allows.


def test_groups_in_groups():
    innermost = last = Deferred()
    for _ in range(3000):
        group = c.TaskGroup().open()
        group.create_task(last)
        last = group.join()
    innermost.callback(None)
    assert last.called and result_of(last) is None


def test_coroutines_with_groups_in_groups():
    async def one_more(deferred):
        async with c.TaskGroup() as group:
            inner = group.create_task(deferred)
        return 1 + await inner

    innermost = last = Deferred()
    for _ in range(3000):
        last = ensureDeferred(one_more(last))
    innermost.callback(0)
    assert result_of(last) == 3000


# Let go of at once, and so reported at once.


@pytest.mark.parametrize("how", ["join", "join later", "block", "block later", "block in a block"])
def test_failed_groups_are_let_go_of_at_once(how, reports):
    async def fails():
        raise KeyError("lost")

    async def block(task):
        async with c.TaskGroup() as group:
            group.create_task(task)

    def failed():
        later = Deferred()
        task = later if "later" in how else fails()
        if "join" in how:
            group = c.TaskGroup().open()
            group.create_task(task)
            done = group.join()
        elif how == "block in a block":
            done = ensureDeferred(block(block(task)))
        else:
            done = ensureDeferred(block(task))
        if task is later:
            # Whoever fires it is in the traceback, with what it has.
            done, kept = None, weakref.ref(done)
            later.errback(KeyError("lost"))
            return kept
        return weakref.ref(done)

    gc.disable()
    try:
        assert failed()() is None
        assert len(reports.values()) == 1
    finally:
        gc.enable()


# Two loops, each in a thread of its own.

ACROSS = {
    "Event": (c.Event, lambda it: it.wait(), lambda it: it.set(), True),
    "Queue": (c.Queue, lambda it: it.get(), lambda it: it.put_nowait("item"), "item"),
    "Channel": (c.Channel, lambda it: it.receive(), lambda it: it.send("item"), "item"),
    "Semaphore": (lambda: c.Semaphore(0), lambda it: it.acquire(), lambda it: it.release(), True),
    "Barrier": (lambda: c.Barrier(2), lambda it: it.wait(), lambda it: it.wait(), 0),
    "Deferred": (Deferred, lambda it: it, lambda it: it.callback("item"), "item"),
    "Deferred that fails": (Deferred, lambda it: it, lambda it: it.errback(KeyError(1)), None),
}


@pytest.mark.parametrize("how", ACROSS.values(), ids=list(ACROSS))
@pytest.mark.parametrize("with_loop", [True, False])
def test_woken_from_another_thread(how, with_loop):
    """A loop that sleeps wakes up: its task goes on, and nothing has to come by for that."""
    make, wait, fire, expected = how
    it, begun, got = make(), threading.Event(), []

    async def waiting():
        loop = asyncio.get_running_loop()
        # What comes next is that the loop sleeps.
        loop.call_soon(begun.set)
        try:
            got.append(await wait(it))
        except KeyError as error:
            got.append(error.args)

    thread = threading.Thread(target=lambda: asyncio.run(waiting()), daemon=True)
    thread.start()
    begun.wait(60)
    if with_loop:

        async def firing():
            fire(it)

        asyncio.run(firing())
    else:
        fire(it)
    thread.join(60)
    assert not thread.is_alive()
    assert got == [(1,) if expected is None else expected]


def test_cancelled_before_it_is_woken_from_another_thread():
    """What was handed over to it goes to the next."""
    queue, begun, go_on, got = c.Queue(), threading.Event(), threading.Event(), []

    async def waiting():
        task = asyncio.ensure_future(one())
        await asyncio.sleep(0)
        begun.set()
        # The loop's thread stands still while another puts an item in.
        go_on.wait(60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def one():
        got.append(await queue.get())

    thread = threading.Thread(target=lambda: asyncio.run(waiting()), daemon=True)
    thread.start()
    begun.wait(60)
    queue.put_nowait("item")
    go_on.set()
    thread.join(60)
    assert not thread.is_alive()
    assert (got, queue.get_nowait()) == ([], "item")


def test_left_by_a_loop_that_is_closed():
    """A task whose loop is closed never comes for what it is given: that goes to the next."""
    queue = c.Queue()
    loop = asyncio.new_event_loop()

    async def one():
        return await queue.get()

    task = loop.create_task(one())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    put = []
    thread = threading.Thread(target=lambda: put.append(queue.put_nowait("item")))
    thread.start()
    thread.join()
    assert put == [None] or queue.qsize() == 1
    task._log_destroy_pending = False
    del task
    gc.collect()
    assert queue.get_nowait() == "item"
