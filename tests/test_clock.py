"""What is taken for a clock, by `addTimeout` and all else that takes one; the clock of tests."""

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
