"""deferrous.concurrency, topic by topic: what each thing does, and what it makes of bad input.

What happens when somebody is cancelled is in test_concurrency_sweep.py, the comparison with asyncio
in test_concurrency_asyncio.py.
"""

from __future__ import annotations

import asyncio
import builtins
import gc
import itertools
import sys
import weakref
from contextvars import ContextVar

import deferrous as defer
import pytest
from deferrous import Deferred, ensureDeferred, fail, inlineCallbacks, succeed
from deferrous import concurrency as c
from deferrous.testing import Clock, assertNoResult, failureResultOf, successResultOf
from helpers import run_script

pytestmark = pytest.mark.deferrous_only

GROUP = getattr(builtins, "ExceptionGroup", defer.FailureGroup)


def errors_of(failure):
    """The types of the exceptions in what a group has raised."""
    error = failure.value
    assert type(error) is GROUP
    several = error.failures if GROUP is defer.FailureGroup else error.exceptions
    return [type(getattr(each, "value", each)) for each in several]


async def awaited(waitable):
    return await waitable


# --- three ways to wait ------------------------------------------------------------------------

CLOCK = Clock()

#: Makes something that has, or will have, a result when the clock is advanced.
WAITABLE = {
    "sleep": lambda: c.sleep(1, "x", clock=CLOCK),
    "wait_for": lambda: c.wait_for(c.sleep(1, "x", clock=CLOCK), 9, clock=CLOCK),
    "Event": lambda: (lambda it: (CLOCK.callLater(1, it.set), it.wait())[1])(c.Event()),
    "Semaphore": lambda: c.Semaphore(1).acquire(),
    "ReadWriteLock": lambda: c.ReadWriteLock().writing.acquire(),
    "KeyedLock": lambda: c.KeyedLock()("key").run(c.sleep, 1, clock=CLOCK),
    "Condition": lambda: c.Condition().acquire(),
    "Barrier": lambda: (lambda it: (CLOCK.callLater(1, it.wait), it.wait())[1])(c.Barrier(2)),
    "Queue": lambda: (lambda it: (CLOCK.callLater(1, it.put, 1), it.get())[1])(c.Queue()),
    "Channel": lambda: (lambda it: (CLOCK.callLater(1, it.send, 1), it.receive())[1])(c.Channel()),
    "wait": lambda: c.wait([c.sleep(1, clock=CLOCK)]),
    "gather": lambda: c.gather(c.sleep(1, clock=CLOCK), succeed(1)),
    "map": lambda: c.map(lambda n: c.sleep(n, n, clock=CLOCK), range(3), limit=2),
    "shield": lambda: c.shield(c.sleep(1, clock=CLOCK)),
    "delay_cancellation": lambda: c.delay_cancellation(c.sleep(1, clock=CLOCK)),
    "Observable": lambda: c.Observable(c.sleep(1, clock=CLOCK)).observe(),
    "once": lambda: c.once(c.sleep)(1, clock=CLOCK),
    "stream": lambda: c.stream(lambda n: c.sleep(1, n, clock=CLOCK), [1], limit=1).__anext__(),
    "as_completed": lambda: next(c.as_completed([c.sleep(1, clock=CLOCK)])),
}


@pytest.mark.parametrize("name", WAITABLE)
def test_awaited_yielded_and_given_callbacks(name):
    @inlineCallbacks
    def generator():
        return (yield WAITABLE[name]())

    ways = [ensureDeferred(awaited(WAITABLE[name]())), generator()]
    results = []
    WAITABLE[name]().addCallback(results.append)
    CLOCK.pump([1] * 9)
    results += map(successResultOf, ways)
    assert len(results) == 3
    if name not in ("wait", "Condition"):
        assert results[0] == results[1] == results[2]


# --- time ----------------------------------------------------------------------------------------


def test_sleep():
    clock = Clock()
    d = c.sleep(0, clock=clock)
    assertNoResult(d)
    clock.advance(0)
    assert successResultOf(d) is None
    assert successResultOf((clock, c.sleep(-1, "late", clock=clock), clock.advance(0))[1]) == "late"
    d = c.sleep(1, clock=clock)
    d.cancel()
    failureResultOf(d, defer.CancelledError)
    assert clock.getDelayedCalls() == []
    with pytest.raises(ValueError, match="NaN"):
        c.sleep(float("nan"), clock=clock)


def test_timeout_states():
    clock = Clock()
    it = c.timeout(1, clock=clock)
    assert it.when() == 1
    assert "created" in repr(it)
    with pytest.raises(RuntimeError, match="not been entered"):
        it.reschedule(2)
    with pytest.raises(RuntimeError, match="coroutine or generator that runs"):
        it.__enter__()

    async def main():
        async with it:
            assert "active" in repr(it)
            with pytest.raises(RuntimeError, match="already been entered"):
                it.__enter__()
        with pytest.raises(RuntimeError, match="exited"):
            it.reschedule(2)

    successResultOf(main())
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("at", [0, -5])
def test_timeout_in_the_past(at):
    clock = Clock()

    async def main():
        async with c.timeout(at, clock=clock):
            await Deferred()

    d = ensureDeferred(main())
    assertNoResult(d)
    clock.advance(0)
    error = failureResultOf(d).value
    assert isinstance(error, builtins.TimeoutError)
    assert isinstance(error, defer.TimeoutError)


def test_timeout_at_and_reschedule():
    clock = Clock(100)

    async def main():
        async with c.timeout_at(103, clock=clock) as it:
            it.reschedule(105)
            await Deferred()

    d = ensureDeferred(main())
    clock.advance(4)
    assertNoResult(d)
    clock.advance(1)
    failureResultOf(d, TimeoutError)


def test_timeout_lets_other_errors_and_cancelling_pass():
    clock = Clock()

    async def raises():
        async with c.timeout(1, clock=clock):
            raise KeyError

    failureResultOf(raises(), KeyError)

    async def waits():
        async with c.timeout(1, clock=clock):
            await Deferred()

    d = ensureDeferred(waits())
    d.cancel()
    failureResultOf(d, defer.CancelledError)
    assert clock.getDelayedCalls() == []


def test_timeout_in_a_generator():
    clock, never = Clock(), []

    @inlineCallbacks
    def work():
        with c.timeout(2, clock=clock) as it:
            yield succeed(1)
            never.append(Deferred(never.append))
            yield never[0]
        assert not it

    d = work()
    clock.advance(2)
    failureResultOf(d, TimeoutError)
    assert never[1] is never[0]


def test_timeout_of_one_that_runs():
    """What it waits for next is cancelled, and nothing else."""
    clock, first, second = Clock(), Deferred(), Deferred()

    async def work():
        try:
            async with c.timeout(1, clock=clock):
                await first
                clock.advance(1)
                await succeed("there already")
                await second
        except TimeoutError:
            return await Deferred()

    d = ensureDeferred(work())
    first.callback(None)
    # It was cancelled, and the task has seen to that.
    assert (second.called, second.result) == (True, None)
    assertNoResult(d)


def test_timeout_that_comes_too_late_leaves_nothing_behind():
    clock = Clock()

    async def work():
        async with c.timeout(1, clock=clock) as it:
            clock.advance(1)
        assert it.expired()
        return await c.sleep(1, "unharmed", clock=clock)

    d = ensureDeferred(work())
    clock.advance(1)
    assert successResultOf(d) == "unharmed"


def test_checkpoint():
    clock = Clock()

    async def work():
        async with c.timeout(1, clock=clock):
            c.checkpoint()
            clock.advance(1)
            c.checkpoint()

    failureResultOf(work(), TimeoutError)
    assert c.checkpoint() is None


def test_wait_for():
    clock = Clock()
    d = c.wait_for(Deferred(), 1, clock=clock)
    clock.advance(1)
    failureResultOf(d, TimeoutError)
    assert successResultOf(c.wait_for(succeed(1), 0)) == 1
    failureResultOf(c.wait_for(Deferred(), 0), TimeoutError)
    failureResultOf(c.wait_for(Deferred(), -1), TimeoutError)
    d = c.wait_for(Deferred(), None)
    d.cancel()
    failureResultOf(d, defer.CancelledError)
    # What it comes to after all.
    d = c.wait_for(Deferred(lambda d: d.callback("after all")), 1, clock=clock)
    clock.advance(1)
    assert successResultOf(d) == "after all"


# --- groups --------------------------------------------------------------------------------------


def test_group_in_generators():
    clock = Clock()

    @inlineCallbacks
    def work():
        group = c.TaskGroup().open()
        one = group.create_task(c.sleep(1, "one", clock=clock))
        other = group.create_task(c.sleep(2, "other", clock=clock))
        yield group.join()
        return [(yield one), (yield other)]

    d = work()
    clock.advance(2)
    assert successResultOf(d) == ["one", "other"]


def test_group_fails(reports):
    first = Deferred()

    async def fails():
        await first
        raise KeyError

    async def also_fails():
        try:
            await Deferred()
        finally:
            raise ValueError

    cancelled = Deferred()

    async def main():
        async with c.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(also_fails())
            group.create_task(cancelled)
            await Deferred()

    d = ensureDeferred(main())
    first.callback(None)
    assert errors_of(failureResultOf(d)) == [KeyError, ValueError]
    assert cancelled.called
    d = first = None
    assert reports.values() == []


def test_group_whose_first_task_fails_at_once(reports):
    async def fails():
        raise KeyError

    async def main():
        async with c.TaskGroup() as group:
            group.create_task(fails())
            await Deferred()

    assert errors_of(failureResultOf(main())) == [KeyError]
    assert reports.values() == []


def test_group_keeps_results_and_failures_of_tasks():
    async def fails():
        raise KeyError("kept")

    async def main():
        group = c.TaskGroup()
        try:
            async with group:
                task = group.create_task(fails())
        except Exception:
            with pytest.raises(KeyError, match="kept"):
                await task
            return "seen"

    assert successResultOf(main()) == "seen"


def test_group_left_by_an_exception():
    async def main():
        async with c.TaskGroup() as group:
            group.create_task(Deferred())
            raise ValueError("body")

    assert errors_of(failureResultOf(main())) == [ValueError]


def test_group_with_keyboard_interrupt():
    async def interrupted():
        raise KeyboardInterrupt

    async def main():
        async with c.TaskGroup() as group:
            group.create_task(interrupted())

    failureResultOf(main(), KeyboardInterrupt)


def test_group_closed_half_way():
    task = Deferred()

    async def main():
        async with c.TaskGroup() as group:
            group.create_task(task)
            await Deferred()

    coroutine = main()
    d = ensureDeferred(coroutine)
    coroutine.close()
    assert task.called
    failureResultOf(task, defer.CancelledError)
    assertNoResult(d)


def test_group_at_the_wrong_time(reports):
    async def never():
        raise AssertionError

    group = c.TaskGroup()
    for state in ("has not been entered", "is finished"):
        unused = never()
        with pytest.raises(RuntimeError, match=state):
            group.create_task(unused)
        with pytest.raises(RuntimeError, match="is not open"):
            group.join() if state == "has not been entered" else c.TaskGroup().join()
        d = Deferred()
        with pytest.raises(RuntimeError, match=state):
            group.create_task(d)
        assert d.called
        if state == "has not been entered":
            successResultOf(group.open().join())
    with pytest.raises(RuntimeError, match="already been entered"):
        group.open()

    async def outside():
        return c.TaskGroup()

    unentered = successResultOf(outside())
    with pytest.raises(RuntimeError, match="no coroutine"):
        unentered.__aenter__().send(None)
    with pytest.raises(TypeError, match="is needed"):
        c.TaskGroup().open().create_task(5)
    assert reports.values() == []


def test_group_cancelled_with_a_reason():
    group = c.TaskGroup().open()
    task = group.create_task(awaited(Deferred()))
    group.cancel("enough")
    assert failureResultOf(task).value.args == ("enough",)
    successResultOf(group.join())


def test_group_in_a_task():
    async def main():
        with pytest.raises(GROUP):
            async with c.TaskGroup() as group:

                async def fails():
                    await c.sleep(0)
                    raise KeyError

                group.create_task(fails())
                await asyncio.sleep(1000)
        return await asyncio.sleep(0, "goes on")

    assert asyncio.run(main()) == "goes on"


# --- what runs now -------------------------------------------------------------------------------


def test_current_deferred():
    seen = []

    async def inner():
        seen.append(c.current_deferred())
        await succeed(None)
        seen.append(c.current_deferred())

    async def outer(first):
        seen.append(c.current_deferred())
        await inner()
        await first
        seen.append(c.current_deferred())
        return "result"

    first = Deferred()
    d = ensureDeferred(outer(first))
    first.callback(None)
    assert seen == [d] * 4
    assert successResultOf(d) == "result"
    assert c.current_deferred() is None


@pytest.mark.parametrize("how", ["returns", "raises", "returns a Deferred"])
def test_current_deferred_of_one_that_never_waits(how, reports):
    seen = []

    @inlineCallbacks
    def generator():
        seen.append(c.current_deferred())
        if how == "raises":
            raise KeyError
        return how
        yield

    async def coroutine():
        seen.append(c.current_deferred())
        if how == "raises":
            raise KeyError
        return how

    for start in (generator, lambda: ensureDeferred(coroutine())):
        d = start()
        assert seen.pop() is d
        if how == "raises":
            failureResultOf(d, KeyError)
        else:
            assert successResultOf(d) == how
    del d
    assert reports.values() == []


def test_current_deferred_leaves_no_cycle():
    class Result:
        pass

    async def work(d):
        c.current_deferred()
        await d
        return Result()

    gc.collect()
    gc.disable()
    try:
        for first in (succeed(None), Deferred()):
            d = ensureDeferred(work(first))
            if not first.called:
                first.callback(None)
            died = weakref.ref(successResultOf(d))
            assert died() is None
            here = weakref.ref(d)
            del d, first
            assert here() is None
    finally:
        gc.enable()


def test_current_deferred_is_of_the_nearest():
    async def inner():
        return c.current_deferred()

    async def outer():
        d = ensureDeferred(inner())
        results = []
        d.addCallback(results.append)
        assert results == [d]
        assert c.current_deferred() is not d
        return "ok"

    assert successResultOf(outer()) == "ok"


def test_current_in_a_task():
    async def main():
        assert c.current_deferred() is None
        assert c.current_task_name() == asyncio.current_task().get_name()

        async def ours():
            return c.current_deferred() is not None, c.current_task_name()

        assert await ensureDeferred(ours()) == (True, ours.__qualname__)

    asyncio.run(main())


def test_current_task_name():
    async def work():
        return c.current_task_name()

    @inlineCallbacks
    def generator():
        yield None
        return c.current_task_name()

    assert successResultOf(work()) == work.__qualname__
    assert successResultOf(generator()) == generator.__qualname__
    assert c.current_task_name() is None
    group = c.TaskGroup().open()
    assert successResultOf(group.create_task(work(), name="mine")) == "mine"


# --- cancelling ----------------------------------------------------------------------------------


def test_reason():
    lock = defer.DeferredLock()
    lock.acquire()
    queue = defer.DeferredQueue()
    waits = {
        "Deferred": Deferred(),
        "with a canceller": Deferred(lambda _: None),
        "coroutine": ensureDeferred(awaited(Deferred())),
        "coroutines": ensureDeferred(awaited(awaited(ensureDeferred(awaited(Deferred()))))),
        "chained": succeed(None).addCallback(lambda _: Deferred()),
        "lock": lock.acquire(),
        "queue": queue.get(),
        "Event": c.Event().wait(),
        "Queue": c.Queue().get(),
        "sleep": c.sleep(1, clock=Clock()),
        "shield": c.shield(Deferred()),
    }
    for name, d in waits.items():
        c.cancel(d, "reason")
        assert failureResultOf(d, defer.CancelledError).value.args == ("reason",), name
    assert len(lock.waiting) == len(queue.waiting) == 0
    d = defer.DeferredList([Deferred(), Deferred()], consumeErrors=True)
    c.cancel(d, "reason")
    assert [each.value.args for _, each in successResultOf(d)] == [("reason",)] * 2
    d = Deferred()
    c.cancel(d)
    assert failureResultOf(d).value.args == ()
    # As ever, what comes late is of no interest.
    waits["Deferred"].callback("late")


def test_reason_and_a_canceller_of_another_mind():
    d = Deferred(lambda d: d.errback(KeyError("mine")))
    c.cancel(d, "reason")
    assert failureResultOf(d, KeyError)
    d = Deferred(lambda d: d.callback("result"))
    c.cancel(d, "reason")
    assert successResultOf(d) == "result"


def test_reason_in_a_coroutine():
    async def work():
        try:
            await Deferred()
        except defer.CancelledError as error:
            return str(error)

    d = ensureDeferred(work())
    c.cancel(d, "the server stops")
    assert successResultOf(d) == "the server stops"


def test_shield(reports):
    inner = Deferred()
    outer = c.shield(inner)
    outer.cancel()
    failureResultOf(outer, defer.CancelledError)
    assert not inner.called
    inner.errback(KeyError("reported"))
    del inner, outer
    assert [type(each) for each in reports.values()] == [KeyError]


def test_shield_passes_on(reports):
    inner = Deferred()
    outer = c.shield(inner)
    inner.callback("result")
    assert successResultOf(outer) == "result"
    assert successResultOf(inner) == "result"
    failing = Deferred()
    outer = c.shield(failing)
    failing.errback(KeyError())
    failureResultOf(outer, KeyError)
    del failing
    assert reports.values() == []


def test_delay_cancellation():
    inner = Deferred()
    outer = c.delay_cancellation(inner)
    outer.cancel()
    outer.cancel()
    assertNoResult(outer)
    inner.callback("ends")
    failureResultOf(outer, defer.CancelledError)
    assert successResultOf(inner) == "ends"
    assert successResultOf(c.delay_cancellation(succeed(1))) == 1
    failureResultOf(c.delay_cancellation(fail(KeyError())), KeyError)


def test_delay_cancellation_in_a_task():
    async def main():
        inner, seen = Deferred(), []

        async def wait():
            try:
                await c.delay_cancellation(inner)
            finally:
                seen.append(inner.called)

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert seen == []
        inner.callback(None)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == [True]

    asyncio.run(main())


# --- many ----------------------------------------------------------------------------------------


def test_gather(reports):
    assert successResultOf(c.gather()) == []
    assert successResultOf(c.gather(succeed(1), awaited(succeed(2)))) == [1, 2]
    other = Deferred()
    d = c.gather(fail(KeyError("first")), other)
    failureResultOf(d, KeyError)
    assert not other.called
    d = c.gather(fail(KeyError()), succeed(2), return_exceptions=True)
    assert [type(each) for each in successResultOf(d)] == [KeyError, int]
    one = succeed(1)
    assert successResultOf(c.gather(one, one)) == [1, 1]
    assert reports.values() == []


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_gather_cancelled(return_exceptions, reports):
    ds = [Deferred(), Deferred()]
    d = c.gather(*ds, return_exceptions=return_exceptions)
    d.cancel()
    failureResultOf(d, defer.CancelledError)
    assert all(each.called for each in ds)
    del ds, d
    assert reports.values() == []


def test_gather_cancels_the_losers(reports):
    slow_end = Deferred()

    async def slow_to_end():
        try:
            await Deferred()
        finally:
            await slow_end

    d = c.gather(first := Deferred(), slow_to_end(), cancel_losers=True)
    first.errback(KeyError("first"))
    assertNoResult(d)
    slow_end.callback(None)
    failureResultOf(d, KeyError)
    assert successResultOf(c.gather(succeed(1), succeed(2), cancel_losers=True)) == [1, 2]
    d = c.gather(Deferred(), Deferred(), cancel_losers=True)
    d.cancel()
    failureResultOf(d, defer.CancelledError)
    assert reports.values() == []


@pytest.mark.parametrize("bad", [5, None, itertools.count(), [1], "text"])
def test_what_cannot_be_waited_for(bad):
    async def coroutine():
        raise AssertionError

    begun = [coroutine(), coroutine()]
    with pytest.raises(TypeError, match=r"is needed|expect"):
        c.gather(begun[0], bad)
    with pytest.raises(TypeError, match=r"is needed|expect"):
        c.wait([begun[1], bad])
    for take in (c.shield, c.delay_cancellation, c.Observable):
        with pytest.raises(TypeError, match="is needed"):
            take(bad)
    with pytest.raises(TypeError, match="is needed"):
        c.wait_for(bad, 1, clock=Clock())


def test_wait_bad_input():
    for none in ([], ()):
        with pytest.raises(ValueError, match="empty"):
            c.wait(none)
    with pytest.raises(ValueError, match="Invalid return_when"):
        c.wait([Deferred()], return_when="SOME")
    for no_list in (Deferred(), 5):
        with pytest.raises(TypeError, match="expect an iterable"):
            c.wait(no_list)
        with pytest.raises(TypeError, match="expect an iterable"):
            c.as_completed(no_list)


def test_wait_leaves_failures_to_their_readers(reports):
    """Also when one is awaited there and then, in the midst of its own callbacks."""
    ds = [Deferred(), Deferred()]

    async def main():
        seen = []
        pending = set(ds)
        while pending:
            done, pending = await c.wait(pending, return_when=c.FIRST_COMPLETED)
            for each in done:
                try:
                    await each
                except KeyError as error:
                    seen.append(error.args[0])
        return seen

    d = ensureDeferred(main())
    for number, each in enumerate(ds):
        each.errback(KeyError(number))
    assert successResultOf(d) == [0, 1]
    ds = each = None
    assert reports.values() == []
    ignored = Deferred()
    waiting = c.wait([ignored])
    ignored.errback(KeyError("nobody"))
    successResultOf(waiting)
    del ignored, waiting
    assert [each.args for each in reports.values()] == [("nobody",)]


def test_wait_again_and_again_on_one():
    """Each wait leaves nothing behind in the chain."""
    d = Deferred()
    for _ in range(1000):
        c.wait([d, succeed(1)], return_when=c.FIRST_COMPLETED)
        waiting = c.wait([d])
        waiting.cancel()
        failureResultOf(waiting, defer.CancelledError)
    with pytest.warns(DeprecationWarning):
        assert len(d.callbacks) == 1
    waiting = c.wait([d])
    d.callback(1)
    done, pending = successResultOf(waiting)
    assert (done, pending) == ({d}, set())
    assert successResultOf(d) == 1


def test_as_completed_plain_iterator():
    ds = [Deferred() for _ in range(3)]
    waiting = list(c.as_completed(ds))
    assert len(waiting) == 3
    ds[2].callback("two")
    ds[0].errback(KeyError())
    assert successResultOf(waiting[0]) == "two"
    failureResultOf(waiting[1], KeyError)
    waiting[2].cancel()
    ds[1].callback("one")
    failureResultOf(waiting[2], defer.CancelledError)


def test_as_completed_timeout():
    clock = Clock()
    ds = [c.sleep(1, "early", clock=clock), c.sleep(9, "late", clock=clock)]
    one, other = c.as_completed(ds, timeout=2, clock=clock)
    clock.advance(2)
    assert successResultOf(one) == "early"
    failureResultOf(other, TimeoutError)
    clock.advance(9)
    assert successResultOf(ds[1]) == "late"


def test_map():
    assert successResultOf(c.map(lambda n: 2 * n, range(4), limit=3)) == [0, 2, 4, 6]
    assert successResultOf(c.map(lambda n: n, [], limit=1)) == []
    ds, under_way = {}, []

    def work(number):
        ds[number] = Deferred()
        return ds[number]

    d = c.map(work, "abcd", limit=2)
    assert list(ds) == ["a", "b"]
    ds["b"].callback("B")
    assert list(ds) == ["a", "b", "c"]
    ds["a"].callback("A")
    ds["c"].callback("C")
    ds["d"].callback("D")
    assert successResultOf(d) == ["A", "B", "C", "D"]
    assert under_way == []


@pytest.mark.parametrize("limit", [0, -1, None, 1.5, "2"])
def test_map_bad_limit(limit):
    for function in (c.map, c.stream):
        with pytest.raises(ValueError, match="limit must be"):
            function(print, [1], limit=limit)
    with pytest.raises(ValueError, match="limit must be"):
        c.KeyedLock(limit=-1)


def test_map_bad_input():
    for function in (c.map, c.stream):
        with pytest.raises(TypeError, match="function must be callable"):
            function(5, [1], limit=1)
        with pytest.raises(TypeError):
            function(print, 5, limit=1)
        with pytest.raises(TypeError):
            function(print, [1])


def test_map_fails(reports):
    closed = []

    def items():
        try:
            yield from range(9)
        finally:
            closed.append(1)

    ds = []

    def work(number):
        if number == 2:
            raise KeyError(number)
        ds.append(Deferred())
        return ds[-1]

    d = c.map(work, items(), limit=3)
    failureResultOf(d, KeyError)
    assert all(each.called for each in ds)
    assert closed == [1]
    results = successResultOf(c.map(work, [2, 2], limit=1, return_exceptions=True))
    assert [type(each) for each in results] == [KeyError] * 2
    ds = None
    assert reports.values() == []


def test_map_of_items_that_fail():
    def items():
        yield 1
        raise LookupError("items")

    async def later_items():
        yield 1
        raise LookupError("items")

    for made in (items(), later_items()):
        failureResultOf(c.map(lambda n: n, made, limit=2), LookupError)

    async def main(made):
        return [each async for each in c.stream(lambda n: n, made, limit=2)]

    for made in (items(), later_items()):
        failureResultOf(main(made), LookupError)


def test_stream_never_runs_ahead():
    begun = []

    def work(number):
        begun.append(number)
        return number

    it = c.stream(work, itertools.count(), limit=3)
    assert begun == []
    for number in range(5):
        assert successResultOf(it.__anext__()) == number
        assert max(begun) <= number + 3
    it.close()
    failureResultOf(it.__anext__(), StopAsyncIteration)


def test_stream_fails_in_order(reports):
    def work(number):
        if number == 2:
            raise KeyError(number)
        return number

    async def main():
        seen = []
        with pytest.raises(KeyError):
            async for each in c.stream(work, itertools.count(), limit=2):
                seen.append(each)
        return seen

    assert successResultOf(main()) == [0, 1]
    assert reports.values() == []
    it = c.stream(work, [2, 2], limit=2, return_exceptions=True)
    assert isinstance(successResultOf(it.__anext__()), KeyError)
    # One that nobody asks for is reported.
    it = c.stream(work, [1, 2], limit=2)
    assert successResultOf(it.__anext__()) == 1
    del it
    assert [type(each) for each in reports.values()] == [KeyError]


# --- events, locks, queues -----------------------------------------------------------------------


def test_event_wakes_all_that_wait_now():
    event, seen = c.Event(), []
    event.wait().addCallback(lambda _: (seen.append("first"), event.clear()))
    event.wait().addCallback(lambda _: seen.append("second"))
    event.set()
    assert seen == ["first", "second"]
    assert not event.is_set()
    waiting = event.wait()
    assertNoResult(waiting)


def test_event_whose_waiters_cancel_each_other():
    event, seen = c.Event(), []
    first = event.wait()
    second = event.wait()
    first.addCallback(lambda _: second.cancel())
    second.addErrback(lambda failure: seen.append(failure.type))
    third = event.wait()
    event.set()
    assert seen == [defer.CancelledError]
    assert successResultOf(third) is True


def test_semaphore_by_weight_is_fair():
    semaphore = c.Semaphore(3)
    successResultOf(semaphore.acquire(2))
    heavy, light = semaphore.acquire(3), semaphore.acquire(1)
    assertNoResult(light)
    heavy.cancel()
    failureResultOf(heavy, defer.CancelledError)
    # The one that was in the way is gone.
    assert successResultOf(light) is True
    semaphore.release(3)
    assert semaphore.value == 3


@pytest.mark.parametrize("weight", [0, -1])
def test_semaphore_bad_input(weight):
    semaphore = c.Semaphore(1)
    for method in (semaphore.acquire, semaphore.release, semaphore.weighing):
        with pytest.raises(ValueError, match="weight must be >= 1"):
            method(weight)
    with pytest.raises(ValueError, match=">= 0"):
        c.Semaphore(-1)
    bounded = c.BoundedSemaphore(2)
    with pytest.raises(ValueError, match="<= 2"):
        bounded.acquire(3)
    with pytest.raises(ValueError, match="too many times"):
        bounded.release()
    assert semaphore.value == 1


def test_locks_that_are_not_held():
    lock = c.ReadWriteLock()
    for side in (lock.reading, lock.writing):
        with pytest.raises(RuntimeError, match="nobody"):
            side.release()
    with pytest.raises(RuntimeError, match="nobody holds 'a'"):
        c.KeyedLock()("a").release()
    condition = c.Condition()
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.wait()
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.notify()
    with pytest.raises(ValueError, match="parties"):
        c.Barrier(0)


def test_read_write_lock_is_fair():
    lock, order = c.ReadWriteLock(), []
    lock.reading.acquire()
    for name, side in [("w1", lock.writing), ("r1", lock.reading), ("r2", lock.reading)]:
        side.acquire().addCallback(lambda _, name=name: order.append(name))
    late = lock.writing.acquire()
    assert order == []
    lock.reading.release()
    assert order == ["w1"]
    lock.writing.release()
    assert order == ["w1", "r1", "r2"]
    assert lock.readers == 2
    lock.reading.release()
    lock.reading.release()
    assert successResultOf(late) is True


def test_keyed_lock():
    lock = c.KeyedLock()
    successResultOf(lock("a").acquire())
    successResultOf(lock("b").acquire())
    waiting = lock("a").acquire()
    assert (len(lock), lock.locked("a"), lock.waiting("a"), lock.locked("c")) == (2, True, 1, False)
    waiting.cancel()
    failureResultOf(waiting, defer.CancelledError)
    lock("a").release()
    lock("b").release()
    assert len(lock) == 0


def test_run_releases_whatever_happens():
    for lock in (c.Semaphore(1), c.ReadWriteLock().writing, c.KeyedLock()("x"), c.Condition()):
        assert successResultOf(lock.run(lambda: "result")) == "result"
        failureResultOf(lock.run(lambda: 1 / 0), ZeroDivisionError)
        assert successResultOf(lock.run(awaited, succeed(1))) == 1
        inner = Deferred()
        d = lock.run(lambda inner=inner: inner)
        waiting = lock.acquire()
        assertNoResult(waiting)
        d.cancel()
        failureResultOf(d, defer.CancelledError)
        successResultOf(waiting)


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


# --- sharing -------------------------------------------------------------------------------------


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


# --- context -------------------------------------------------------------------------------------

request = ContextVar("request", default="none")


def in_request(name, function, *args):
    def run():
        request.set(name)
        return function(*args)

    import contextvars

    return contextvars.copy_context().run(run)


def test_in_context():
    d, seen = Deferred(), []
    in_request("one", lambda: d.addCallback(c.in_context(lambda _: seen.append(request.get()))))
    in_request("other", d.callback, None)
    assert seen == ["one"]
    # What one call sets, the next does not see.
    wrapped = in_request("one", c.in_context, lambda: (request.get(), request.set("changed"))[0])
    assert [wrapped(), wrapped()] == ["one", "one"]


def test_context_deferred():
    seen = []

    def see(result):
        seen.append(request.get())
        return result

    d = c.ContextDeferred()
    in_request("callback", d.addCallback, see)
    in_request("both", d.addBoth, see)
    in_request("callbacks", lambda: d.addCallbacks(see, see))
    in_request("only", lambda: d.addCallbacks(see))
    in_request("errback", d.addErrback, see)
    in_request("fires", d.callback, None)
    assert seen == ["callback", "both", "callbacks", "only"]


def test_what_is_waited_for_restores_the_callers_context():
    """Synapse's rule: after `await`, the context is what it was before, whoever fired."""

    async def work(d):
        request.set("mine")
        await d
        return request.get()

    @inlineCallbacks
    def generator(d):
        request.set("mine")
        yield d
        return request.get()

    for start in (lambda d: ensureDeferred(work(d)), generator):
        d = Deferred()
        result = start(d)
        # Calling it has not changed the context of the caller.
        assert request.get() == "none"
        in_request("another's", d.callback, None)
        assert successResultOf(result) == "mine"
    for make in (
        lambda: (lambda it: (it.wait(), it.set))(c.Event()),
        lambda: (lambda it: (it.get(), lambda: it.put(1)))(c.Queue()),
        lambda: (lambda d: (c.shield(d), lambda: d.callback(1)))(Deferred()),
        lambda: (lambda d: (c.Observable(d).observe(), lambda: d.callback(1)))(Deferred()),
        lambda: (lambda d: (c.gather(d), lambda: d.callback(1)))(Deferred()),
        lambda: (lambda d: (c.map(lambda d: d, [d], limit=1), lambda: d.callback(1)))(Deferred()),
    ):
        waiting, fire = make()
        result = ensureDeferred(work(waiting))
        in_request("another's", fire)
        assert successResultOf(result) == "mine"


# --- size ----------------------------------------------------------------------------------------


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
    """Whether what a function makes and lets go of dies without the collector."""
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


def test_exceptions_are_what_they_say():
    assert issubclass(c.TimeoutError, builtins.TimeoutError)
    assert issubclass(c.TimeoutError, defer.TimeoutError)
    assert issubclass(c.BrokenBarrierError, RuntimeError)
    if sys.version_info >= (3, 11):
        assert issubclass(c.TimeoutError, asyncio.TimeoutError)


# --- what was handed over to one that does not come for it ---------------------------------------


def test_readers_go_when_a_writer_gives_up():
    lock = c.ReadWriteLock()
    successResultOf(lock.reading.acquire())
    writer, reader = lock.writing.acquire(), lock.reading.acquire()
    assertNoResult(reader)
    writer.cancel()
    failureResultOf(writer, defer.CancelledError)
    assert successResultOf(reader) is True


def test_condition_notification_goes_on_from_one_that_waits_for_the_lock():
    condition = c.Condition()
    successResultOf(condition.acquire())
    first = condition.wait()
    successResultOf(condition.acquire())
    second = condition.wait()
    successResultOf(condition.acquire())
    condition.notify()
    first.cancel()
    # It ends when it has the lock, and not before.
    assertNoResult(first)
    condition.release()
    failureResultOf(first, defer.CancelledError)
    assert condition.locked()
    assertNoResult(second)
    condition.release()
    assert successResultOf(second) is True


def test_condition_in_tasks():
    """One that is cancelled goes on when it has the lock; a notification goes to the next."""

    async def main():
        condition, log = c.Condition(), []

        async def wait(name):
            async with condition:
                try:
                    await condition.wait()
                    log.append((name, "woken"))
                finally:
                    log.append((name, condition.locked()))
                    await asyncio.sleep(0)

        tasks = [asyncio.ensure_future(wait(name)) for name in "abc"]
        await asyncio.sleep(0)
        async with condition:
            # This one waits for the lock, for as long as we have it.
            tasks[0].cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert log == []
        for _ in range(5):
            await asyncio.sleep(0)
        assert log == [("a", True)]
        async with condition:
            condition.notify()
        # It has the lock by now, and is cancelled before it runs.
        tasks[1].cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert log[1:] == [("b", True), ("c", "woken"), ("c", True)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in results] == [asyncio.CancelledError] * 2 + [type(None)]
        assert not condition.locked()

    asyncio.run(main())


def test_outer_timeout_while_the_inner_one_ends():
    """What ends the block is the outer one then, as with asyncio."""
    clock, seen = Clock(), []

    async def work():
        try:
            async with c.timeout(2, clock=clock):
                try:
                    async with c.timeout(1, clock=clock):
                        try:
                            await Deferred()
                        finally:
                            seen.append("tidies up")
                            await Deferred()
                except TimeoutError:
                    seen.append("inner")
        except TimeoutError:
            seen.append("outer")

    d = ensureDeferred(work())
    clock.advance(1)
    assert seen == ["tidies up"]
    clock.advance(1)
    successResultOf(d)
    assert seen == ["tidies up", "outer"]


@pytest.mark.parametrize("kind", [c.Queue, c.LifoQueue])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_all_items_come_back_in_order(kind, order):
    async def main():
        queue = kind()
        tasks = [asyncio.ensure_future(awaited(queue.get())) for _ in range(3)]
        await asyncio.sleep(0)
        for number in range(3):
            queue.put_nowait(number)
        for number in order:
            tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [queue.get_nowait() for _ in range(3)] == [0, 1, 2]

    asyncio.run(main())
