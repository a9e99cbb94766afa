"""Clocks: what `addTimeout` and other functions accept as one; the clock for tests."""

from __future__ import annotations

import asyncio
import sys

import deferrous as defer
import pytest
from deferrous import Deferred, concurrency
from deferrous.testing import Clock, assertNoResult, failureResultOf, successResultOf
from twisted.internet import task

pytestmark = pytest.mark.deferrous_only


class Adapter:
    """A clock whose calls do not say whether they are active."""

    def __init__(self):
        self.clock = Clock()
        self.cancelled = 0

    def callLater(self, delay, function):
        call = self.clock.callLater(delay, function)

        class Call:
            def cancel(_):
                self.cancelled += 1
                call.cancel()

        return Call()

    def seconds(self):
        return self.clock.seconds()


@pytest.mark.parametrize("make", [Clock, task.Clock])
def test_add_timeout_on_a_clock(make):
    clock = make()
    d = Deferred().addTimeout(3, clock)
    clock.advance(2)
    assertNoResult(d)
    clock.advance(1)
    failureResultOf(d, defer.TimeoutError)
    d = Deferred().addTimeout(3, clock)
    d.callback("in time")
    assert successResultOf(d) == "in time"
    assert clock.getDelayedCalls() == []


def test_add_timeout_on_an_adapter_without_active():
    clock = Adapter()
    d = Deferred().addTimeout(1, clock)
    clock.clock.advance(1)
    failureResultOf(d, defer.TimeoutError)
    d = Deferred().addTimeout(1, clock)
    d.callback(2)
    assert successResultOf(d) == 2
    assert clock.cancelled == 1


async def in_a_block(clock, deadline):
    async with deadline(clock):
        await Deferred()


async def each_completed(clock):
    async for _ in concurrency.as_completed([Deferred()], timeout=1, clock=clock):
        raise AssertionError


#: Each ends after a second of a clock.
END_BY_A_CLOCK = {
    "addTimeout": lambda clock: Deferred().addTimeout(1, clock),
    "sleep": lambda clock: concurrency.sleep(1, clock=clock),
    "timeout": lambda clock: in_a_block(clock, lambda c: concurrency.timeout(1, clock=c)),
    "timeout_at": lambda clock: in_a_block(
        clock, lambda c: concurrency.timeout_at(c.seconds() + 1, clock=c)
    ),
    "wait_for": lambda clock: concurrency.wait_for(Deferred(), 1, clock=clock),
    "wait": lambda clock: concurrency.wait([Deferred()], timeout=1, clock=clock),
    "as_completed": each_completed,
}


@pytest.mark.parametrize("form", END_BY_A_CLOCK)
def test_what_ends_by_an_adapters_call_does_not_cancel_it(form):
    """Its call raises if it is cancelled after it has come, and cannot be asked."""
    clock, ends = Adapter(), []
    d = END_BY_A_CLOCK[form](clock)
    d = d if isinstance(d, Deferred) else defer.ensureDeferred(d)
    d.addBoth(ends.append)
    clock.clock.advance(1)
    [end] = ends
    if form == "sleep":
        assert end is None
    elif form == "wait":
        assert [len(each) for each in end] == [0, 1]
    else:
        assert end.check(defer.TimeoutError)
    assert clock.cancelled == 0


@pytest.mark.parametrize("given", ["loop", "by default"])
def test_add_timeout_on_a_loop(given):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(defer.TimeoutError):
            await (Deferred().addTimeout(0, loop) if given == "loop" else Deferred().addTimeout(0))
        d = Deferred().addTimeout(1000, loop)
        loop.call_soon(d.callback, 1)
        assert await d == 1

    asyncio.run(main())


def test_the_reactor_by_default(monkeypatch):
    clock = Clock()
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", clock)
    d = Deferred().addTimeout(1)
    slept = concurrency.sleep(1)
    clock.advance(1)
    failureResultOf(d, defer.TimeoutError)
    assert successResultOf(slept) is None


TAKE_A_CLOCK = [
    lambda clock: Deferred().addTimeout(1, clock),
    lambda clock: concurrency.sleep(1, clock=clock),
    lambda clock: concurrency.timeout(1, clock=clock),
    lambda clock: concurrency.wait_for(Deferred(), 1, clock=clock),
    lambda clock: concurrency.wait([Deferred()], timeout=1, clock=clock),
    lambda clock: concurrency.as_completed([Deferred()], timeout=1, clock=clock),
]


@pytest.mark.parametrize("take", TAKE_A_CLOCK)
def test_no_clock(take, monkeypatch):
    monkeypatch.delitem(sys.modules, "twisted.internet.reactor", raising=False)
    with pytest.raises(RuntimeError, match="there is no clock"):
        take(None)
    with pytest.raises(AttributeError, match="is no clock"):
        take(object())


# locks of files, which call theirs a scheduler


@pytest.mark.parametrize("made", ["in the loop", "before", "with the loop"])
@pytest.mark.parametrize("ends", ["locked", "timed out", "cancelled"])
def test_a_lock_of_a_file_waits_on_a_loop(made, ends, tmp_path):
    name = str(tmp_path / "lock")
    made_before = defer.DeferredFilesystemLock(name)

    async def main():
        loop = asyncio.get_running_loop()
        holder = defer.DeferredFilesystemLock(name)
        assert holder.lock()
        lock = made_before
        if made != "before":
            lock = defer.DeferredFilesystemLock(name, loop if made == "with the loop" else None)
        lock._interval = 0 if ends == "locked" else 1000
        d = lock.deferUntilLocked(0 if ends == "timed out" else 1000)
        if ends == "locked":
            loop.call_soon(holder.unlock)
            assert await d is None
            assert lock.locked
        elif ends == "timed out":
            with pytest.raises(defer.TimeoutError, match="Timed out acquiring lock"):
                await d
        else:
            d.cancel()
            with pytest.raises(defer.CancelledError):
                await d
        assert lock._tryLockCall is lock._timeoutCall is None

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("ends", ["locked", "timed out", "cancelled"])
def test_a_lock_of_a_file_waits_on_an_adapter_without_active(ends, tmp_path):
    name, clock = str(tmp_path / "lock"), Adapter()
    holder = defer.DeferredFilesystemLock(name, clock)
    assert holder.lock()
    lock = defer.DeferredFilesystemLock(name, clock)
    d = lock.deferUntilLocked(5)
    if ends == "locked":
        holder.unlock()
        clock.clock.advance(1)
        assert successResultOf(d) is None
    elif ends == "timed out":
        clock.clock.pump([1] * 5)
        failureResultOf(d, defer.TimeoutError)
    else:
        d.cancel()
        failureResultOf(d, defer.CancelledError)
    assert clock.clock.getDelayedCalls() == []
    # What has come is not cancelled: an adapter's call may not like that.
    assert clock.cancelled == (2 if ends == "cancelled" else 1)


def test_a_lock_of_a_file_on_what_is_no_clock(tmp_path):
    name = str(tmp_path / "lock")
    assert defer.DeferredFilesystemLock(name).lock()
    with pytest.raises(AttributeError, match="is no clock"):
        defer.DeferredFilesystemLock(name, object()).deferUntilLocked()


def test_deadline_on_a_clock_that_does_not_know_the_time():
    class Timeless:
        def callLater(self, delay, function):
            raise AssertionError

    with pytest.raises(AttributeError):
        concurrency.timeout(1, clock=Timeless())


def test_calls_come_in_the_order_of_their_times():
    clock, seen = Clock(), []
    for delay in (2, 1, 3, 1):
        clock.callLater(delay, lambda delay: seen.append((delay, clock.seconds())), delay)
    clock.callLater(0, seen.append, "now")
    assert seen == []
    clock.advance(0)
    assert seen == ["now"]
    assert [call.getTime() for call in clock.getDelayedCalls()] == [1, 1, 2, 3]
    clock.advance(2)
    # All the time has passed when the first is called, as with Twisted's.
    assert seen == ["now", (1, 2), (1, 2), (2, 2)]
    clock.pump([0.5, 0.5])
    assert seen[-1] == (3, 3)


def test_calls_that_ask_for_calls():
    clock, seen = Clock(), []

    def again(number):
        seen.append(number)
        if number:
            clock.callLater(1, again, number - 1)

    clock.callLater(1, again, 3)
    clock.advance(1)
    assert seen == [3]
    clock.callLater(0, lambda: clock.callLater(0, seen.append, "at once"))
    clock.pump([0, 1, 1, 1])
    assert seen == [3, "at once", 2, 1, 0]


def test_calls_are_cancelled_once():
    clock, seen = Clock(), []
    call = clock.callLater(1, seen.append, 1)
    assert call.active()
    call.cancel()
    assert not call.active()
    assert clock.getDelayedCalls() == []
    with pytest.raises(ValueError, match="come already"):
        call.cancel()
    called = clock.callLater(1, seen.append, 2)
    clock.advance(1)
    assert seen == [2]
    with pytest.raises(ValueError, match="come already"):
        called.cancel()


def test_a_call_that_raises():
    clock, seen = Clock(), []
    clock.callLater(1, lambda: 1 / 0)
    clock.callLater(1, seen.append, "other")
    with pytest.raises(ZeroDivisionError):
        clock.advance(1)
    assert seen == []
    clock.advance(0)
    assert seen == ["other"]


@pytest.mark.parametrize("delay", [-1, float("nan")])
def test_calls_in_the_past(delay):
    with pytest.raises(ValueError, match="zero or more"):
        Clock().callLater(delay, print)


def test_cancelled_calls_do_not_pile_up():
    clock = Clock()
    for _ in range(1000):
        Deferred().addTimeout(3600, clock).callback(None)
    assert len(clock._calls) < 200
