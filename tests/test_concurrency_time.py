"""`deferrous.concurrency`: sleeping, timeouts, deadlines."""

from __future__ import annotations

import asyncio
import builtins
import gc
import threading
import weakref

import deferrous as defer
import pytest
from deferrous import CancelledError, Deferred, ensureDeferred, inlineCallbacks, succeed
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


@pytest.mark.parametrize("kinds", ["timeouts", "a group in a timeout", "a timeout in a group"])
def test_two_blocks_cancel_their_task_while_it_runs(kinds):
    clock = Clock()
    seen = []

    async def inner(block):
        async with block:
            if kinds == "a timeout in a group":
                outer.cancel()
            clock.advance(9)
            if kinds == "a group in a timeout":
                block.cancel()
            await Deferred()

    async def work():
        try:
            async with outer:
                try:
                    await inner(within)
                except BaseException as error:
                    seen.append(type(error))
                    raise
        except TimeoutError:
            seen.append("timed out")
        # Neither has cancelled what comes after.
        await succeed(None)
        await waiting
        seen.append("over")

    outer = c.TaskGroup() if kinds == "a timeout in a group" else c.timeout(3, clock=clock)
    within = c.TaskGroup() if kinds == "a group in a timeout" else c.timeout(2, clock=clock)
    waiting = Deferred()
    d = ensureDeferred(work())
    assert not d.called
    waiting.callback(None)
    assert successResultOf(d) is None
    # The inner one is not the only one, and lets the cancellation pass.
    timed_out = [] if kinds == "a timeout in a group" else ["timed out"]
    assert seen == [CancelledError, *timed_out, "over"]


@pytest.mark.parametrize("expired", [False, True])
def test_a_block_that_nobody_leaves_goes_with_its_task(expired):
    clock = Clock()

    class Clinging:
        """Goes on waiting when it is cancelled."""

        def __await__(self):
            while True:
                try:
                    yield Deferred()
                except CancelledError:
                    pass

    async def work():
        async with c.timeout(3, clock=clock) as block:
            seen.append(weakref.ref(block))
            await Clinging()

    seen = []
    d = ensureDeferred(work())
    if expired:
        clock.advance(3)
        assert not d.called and seen[0]().expired()
    del d
    clock = None
    gc.collect()
    assert seen[0]() is None


def test_blocks_in_threads_that_run_at_once():
    clock = Clock()
    found, started = [], []

    async def work(then):
        async with c.timeout(3, clock=clock) as block:
            then()
            found.append((block._task._generator, c.current_deferred()))
            await Deferred()

    def nested():
        other = threading.Thread(target=lambda: started.append(start(lambda: None)))
        other.start()
        other.join()

    def start(then):
        coroutine = work(then)
        return coroutine, ensureDeferred(coroutine)

    outer = start(nested)
    # The first is that of the thread, which has waited while the other ran.
    assert found == [started[0], outer]
    clock.advance(3)
    for _, d in (started[0], outer):
        assert failureResultOf(d).check(TimeoutError)


def test_block_that_has_ended_keeps_no_call():
    """A program may keep the object of a block, as in an attribute."""

    class Call:
        def cancel(self):
            pass

    class OwnClock:
        def callLater(self, seconds, function):
            call = Call()
            calls.append(weakref.ref(call))
            return call

        def seconds(self):
            return 0.0

    async def in_a_coroutine():
        async with c.timeout(5, clock=OwnClock()) as deadline:
            pass
        return deadline

    @inlineCallbacks
    def in_a_generator():
        with c.timeout(5, clock=OwnClock()) as deadline:
            yield None
        return deadline

    calls = []
    kept = [successResultOf(ensureDeferred(in_a_coroutine())), successResultOf(in_a_generator())]
    gc.collect()
    assert [call() for call in calls] == [None, None]
    assert not any(each.expired() for each in kept)


def test_deadline_that_was_moved_is_told():
    clock = Clock()

    async def main():
        async with c.timeout(5, clock=clock) as deadline:
            deadline.reschedule(clock.seconds() + 9)
            return deadline.when()

    assert successResultOf(ensureDeferred(main())) == clock.seconds() + 9
