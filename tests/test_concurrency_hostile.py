"""`deferrous.concurrency` with invalid numbers, cancellers that raise, and other threads."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import weakref

import pytest
from concurrency_helpers import raising, result_of
from deferrous import CancelledError, Deferred, ensureDeferred, fail
from deferrous import concurrency as c
from deferrous.testing import Clock

pytestmark = pytest.mark.deferrous_only


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
        lambda: c.wait_for(Deferred(), NAN, clock=Clock()),
        lambda: c.wait([Deferred()], timeout=NAN, clock=Clock()),
        lambda: c.as_completed([Deferred()], timeout=NAN, clock=Clock()),
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


def keeps_callers():
    """Whether the frame of a coroutine that has failed keeps those that have called it.

    It does with CPython 3.12 and 3.13. So a traceback keeps what these have, which a collection
    frees.
    """

    async def fails():
        raise KeyError

    try:
        fails().send(None)
    except KeyError as error:
        return error.__traceback__.tb_next.tb_frame.f_back is not None


@pytest.mark.skipif(keeps_callers(), reason="a traceback keeps more than is seen in it")
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
