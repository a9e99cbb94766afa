"""`deferrous.concurrency`: groups of tasks, and behaviour that several parts share.

What it does when it is cancelled at each step is in test_concurrency_sweep.py.
"""

from __future__ import annotations

import asyncio
import builtins
import sys

import deferrous as defer
import pytest
from concurrency_helpers import GROUP, awaited, errors_of
from deferrous import Deferred, ensureDeferred, inlineCallbacks, succeed
from deferrous import concurrency as c
from deferrous.testing import Clock, assertNoResult, failureResultOf, successResultOf

pytestmark = pytest.mark.deferrous_only

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


def test_exceptions_are_what_they_say():
    assert issubclass(c.TimeoutError, builtins.TimeoutError)
    assert issubclass(c.TimeoutError, defer.TimeoutError)
    assert issubclass(c.BrokenBarrierError, RuntimeError)
    if sys.version_info >= (3, 11):
        assert issubclass(c.TimeoutError, asyncio.TimeoutError)


def test_observed_failure_is_for_the_observers(reports):
    d = Deferred()
    observer = c.Observable(d).observe()
    d.errback(KeyError("observed"))
    failureResultOf(observer, KeyError)
    del d, observer
    assert reports.values() == []
