"""`deferrous.concurrency`: sleeping, timeouts, deadlines."""

from __future__ import annotations

import asyncio
import builtins

import deferrous as defer
import pytest
from deferrous import Deferred, ensureDeferred, inlineCallbacks, succeed
from deferrous import concurrency as c
from deferrous.testing import Clock, assertNoResult, failureResultOf, successResultOf

pytestmark = pytest.mark.deferrous_only


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
    # Its late result.
    d = c.wait_for(Deferred(lambda d: d.callback("after all")), 1, clock=clock)
    clock.advance(1)
    assert successResultOf(d) == "after all"


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


@pytest.mark.parametrize("seconds", [None, 100])
def test_wait_for_in_a_task_that_is_cancelled(seconds):
    """It ends when the work has, which may take a while, as with asyncio."""

    async def main():
        log, gate = [], asyncio.Event()

        async def work():
            try:
                await Deferred()
            finally:
                await gate.wait()
                log.append("tidied up")

        async def wait():
            try:
                await c.wait_for(work(), seconds)
            finally:
                log.append("goes on")

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert log == []
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["tidied up", "goes on"]

    asyncio.run(main())
