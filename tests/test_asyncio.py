"""Deferreds that asyncio waits for, and asyncio's futures that Deferreds wait for."""

from __future__ import annotations

import asyncio
import builtins
import gc
import sys

import deferrous as defer
import pytest
from deferrous import Deferred, DeferredLock, ensureDeferred, inlineCallbacks
from helpers import run_script

pytestmark = pytest.mark.deferrous_only

needs_timeout = pytest.mark.skipif(sys.version_info < (3, 11), reason="no asyncio.timeout")


def run(main):
    """Run a coroutine function under asyncio, and return what it returns."""
    return asyncio.run(main())


async def wait_for(deferred):
    return await deferred


def test_a_cancelled_future_leaves_no_cycle():
    """The reason of the cancellation is dropped at once."""

    def errors():
        return sum(type(it) is asyncio.CancelledError for it in gc.get_objects())

    async def main():
        before = errors()
        future = Deferred().addErrback(lambda _: None).asFuture(asyncio.get_running_loop())
        future.cancel("why")
        del future
        await asyncio.sleep(0)
        assert errors() == before

    gc.collect()
    gc.disable()
    try:
        run(main)
    finally:
        gc.enable()


def test_pending_deferred_in_a_task():
    async def main():
        d = Deferred()
        asyncio.get_running_loop().call_soon(d.callback, 5)
        assert await d == 5
        # As with any driver, who awaits takes the result.
        assert d.result is None

    run(main)


@pytest.mark.skipif(
    sys.version_info < (3, 11) or sys.version_info >= (3, 13),
    reason="an object's attributes are in a dict before, and stay where they are after",
)
def test_a_loop_has_no_dict_made_for_it():
    """Once CPython has made one, all the loop's attributes are slower to get, for good."""
    run_script(
        "deferrous",
        """
        import asyncio
        import gc
        from deferrous import Deferred, concurrency, ensureDeferred

        async def wait_for(awaitable):
            return await awaitable

        async def main():
            loop = asyncio.get_running_loop()
            d = Deferred()
            loop.call_soon(d.callback, 5)
            assert await d == 5
            assert await ensureDeferred(wait_for(asyncio.sleep(0, 6))) == 6
            assert await concurrency.wait_for(concurrency.sleep(0, 7), 8) == 7
            async with concurrency.timeout(8), concurrency.TaskGroup() as group:
                group.create_task(concurrency.sleep(0))
            dicts = [each for each in gc.get_referents(loop) if type(each) is dict]
            assert not [each for each in dicts if "_ready" in each]

        asyncio.run(main())
        """,
    )


def test_a_loop_makes_the_future():
    """What a task waits for is made by the loop, or by what a program has put there."""
    made = []

    class Loop(asyncio.SelectorEventLoop):
        def create_future(self):
            made.append("by the class")
            return super().create_future()

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(2):
            d = Deferred()
            loop.call_soon(d.callback, 5)
            assert await d == 5
            create_future = loop.create_future

            def by_the_object(create_future=create_future):
                made.append("by the object")
                return create_future()

            loop.create_future = by_the_object

    loop = Loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert made == ["by the class", "by the object", "by the class"]


def test_fired_deferred_in_a_task():
    async def main():
        assert await defer.succeed(3) == 3
        with pytest.raises(KeyError):
            await defer.fail(KeyError(1))

    run(main)


def test_failure_in_a_task():
    async def main():
        d = Deferred()
        asyncio.get_running_loop().call_soon(d.errback, ValueError("x"))
        with pytest.raises(ValueError, match="x"):
            await d

    run(main)


def test_paused_and_chained_deferreds_in_a_task():
    async def main():
        loop = asyncio.get_running_loop()
        inner, outer = Deferred(), Deferred()
        outer.addCallback(lambda _: inner)
        outer.callback(None)
        loop.call_soon(inner.callback, "inner")
        assert await outer == "inner"
        paused = defer.succeed("paused")
        paused.pause()
        loop.call_soon(paused.unpause)
        assert await paused == "paused"

    run(main)


def test_callbacks_added_later_get_none():
    """The chain goes on behind the one that waits, as it does behind a generator."""

    async def main():
        d, seen = Deferred(), []
        task = asyncio.ensure_future(wait_for(d))
        await asyncio.sleep(0)
        d.addCallback(seen.append)
        d.callback("result")
        assert seen == [None]
        assert await task == "result"

    run(main)


def test_gather_and_wait_for():
    async def main():
        loop = asyncio.get_running_loop()
        first, second = Deferred(), Deferred()
        loop.call_soon(second.callback, 2)
        loop.call_soon(first.callback, 1)
        assert await asyncio.gather(wait_for(first), wait_for(second)) == [1, 2]
        assert await asyncio.wait_for(defer.succeed(9), 10) == 9
        assert not asyncio.isfuture(first)

    run(main)


def test_cancelled_task_cancels_the_deferred(reports):
    cancelled = []

    async def main():
        d = Deferred(cancelled.append)
        task = asyncio.ensure_future(wait_for(d))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cancelled == [d]
        # Its CancelledError has been seen to: the task was told.
        assert d.result is None

    run(main)
    assert reports.failures() == []


def test_cancel_that_the_canceller_answers():
    async def main():
        d = Deferred(lambda d: d.callback("too late"))
        task = asyncio.ensure_future(wait_for(d))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert d.result == "too late"

    run(main)


async def within_a_timeout(deferred):
    loop = asyncio.get_running_loop()
    async with asyncio.timeout_at(loop.time()):
        await deferred


async def by_wait_for(deferred):
    await asyncio.wait_for(deferred, 0.001)


async def in_a_group(deferred):
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for(deferred))
            await asyncio.sleep(0)
            raise KeyError("first")
    except builtins.BaseExceptionGroup as error:
        assert list(map(type, error.exceptions)) == [KeyError]
        raise error.exceptions[0] from None


class CancelRaises(Deferred):
    def cancel(self):
        raise ZeroDivisionError("canceller")


def raising_canceller():
    def cancel(_):
        raise ZeroDivisionError("canceller")

    return Deferred(cancel)


@pytest.mark.parametrize("make", [raising_canceller, CancelRaises])
@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (wait_for, asyncio.CancelledError),
        pytest.param(within_a_timeout, TimeoutError, marks=needs_timeout),
        (by_wait_for, asyncio.TimeoutError),
        pytest.param(in_a_group, KeyError, marks=needs_timeout),
    ],
)
def test_a_canceller_that_raises_does_not_stop_the_cancelling(wait, expected, make, reports):
    async def main():
        task = asyncio.ensure_future(wait(make()))
        await asyncio.sleep(0)
        if wait is wait_for:
            task.cancel()
        with pytest.raises(expected):
            await task
        assert task.cancelled() == (wait is wait_for)

    run(main)
    assert [str(value) for value in reports.values()] == ["canceller"]


@pytest.mark.parametrize("end", ["throw", "close"])
def test_a_canceller_that_raises_where_a_driver_stops(end, reports):
    async def main():
        lock = DeferredLock()
        await lock.acquire()

        class Waits(DeferredLock):
            def _cancelAcquire(self, d):
                raise ZeroDivisionError("canceller")

        lock = Waits()
        await lock.acquire()
        waits = lock.acquire().__await__()
        waits.send(None)
        if end == "close":
            waits.close()
        else:
            with pytest.raises(KeyError):
                waits.throw(KeyError("thrown"))

    run(main)
    assert [str(value) for value in reports.values()] == ["canceller"]


def test_a_canceller_that_is_interrupted():
    def cancel(_):
        raise KeyboardInterrupt

    async def main():
        task = asyncio.ensure_future(wait_for(Deferred(cancel)))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_failure_that_nobody_fetches_is_reported(reports):
    """The task dies between the Deferred's failure and its own next step."""

    async def main():
        d = Deferred()
        task = asyncio.ensure_future(wait_for(d))
        await asyncio.sleep(0)
        d.errback(ValueError("lost"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert [str(value) for value in reports.values()] == ["lost"]


def test_two_tasks_await_one_deferred():
    async def main():
        d = Deferred()
        tasks = [asyncio.ensure_future(wait_for(d)) for _ in range(2)]
        await asyncio.sleep(0)
        d.callback("once")
        # The first takes it.
        assert await asyncio.gather(*tasks) == ["once", None]

    run(main)


def test_subclass_with_its_own_add_both():
    class Counting(Deferred):
        added = 0

        def addBoth(self, *args, **kwargs):
            self.added += 1
            return super().addBoth(*args, **kwargs)

    async def main():
        d = Counting()
        asyncio.get_running_loop().call_soon(d.callback, 1)
        assert await d == 1
        assert d.added == 1

    run(main)


def test_coroutine_of_ours_awaits_asyncio():
    async def ours():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        future = loop.create_future()
        loop.call_soon(future.set_result, 8)
        task = asyncio.ensure_future(wait_for(defer.succeed(4)))
        failing = loop.create_future()
        loop.call_soon(failing.set_exception, KeyError("k"))
        with pytest.raises(KeyError):
            await failing
        return await future, await task

    async def main():
        assert await ensureDeferred(ours()) == (8, 4)

    run(main)


def test_generator_of_ours_runs_a_coroutine_that_awaits_asyncio():
    @inlineCallbacks
    def ours():
        result = yield asyncio.sleep(0, "slept")
        return result

    async def main():
        assert await ours() == "slept"

    run(main)


def test_yielded_future_is_a_value():
    """`yield` is not `await`: other objects than Deferreds are returned at once."""

    @inlineCallbacks
    def ours(future):
        got = yield future
        return got is future

    async def main():
        assert await ours(asyncio.get_running_loop().create_future())

    run(main)


def test_cancel_of_ours_cancels_the_future():
    async def main():
        future = asyncio.get_running_loop().create_future()
        d = ensureDeferred(wait_for(future))
        d.cancel()
        assert future.cancelled()
        with pytest.raises(defer.CancelledError):
            await d

    run(main)


def test_future_without_a_running_loop():
    loop = asyncio.new_event_loop()
    try:
        d = ensureDeferred(wait_for(loop.create_future()))
        errors = []
        d.addErrback(lambda failure: errors.append(failure.value))
        assert [type(error) for error in errors] == [RuntimeError]
        assert "event loop is not running" in str(errors[0])
        assert "asyncio.run" in str(errors[0])
    finally:
        loop.close()


def test_the_inner_driver_counts():
    """The nearest driver on the stack awaits a Deferred, not the outermost one."""

    async def inner():
        d = Deferred()
        asyncio.get_running_loop().call_soon(d.callback, "inner")
        return await d

    async def ours_in_theirs():
        return await ensureDeferred(inner())

    assert run(ours_in_theirs) == "inner"

    @inlineCallbacks
    def theirs_in_ours():
        yield None
        return asyncio.run(inner())

    assert theirs_in_ours().result == "inner"


def test_import_does_not_import_asyncio():
    run_script(
        "deferrous",
        """
        import sys
        async def f(): return await defer.Deferred()
        defer.ensureDeferred(f())
        assert "asyncio" not in sys.modules
        """,
    )
