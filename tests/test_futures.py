"""`asFuture`, and `fromFuture` of asyncio's futures."""

import asyncio
import traceback

import pytest
from future_helpers import loop, marker, turn
from helpers import Recorder, outcome


def test_as_future(defer, loop):
    d = defer.Deferred()
    future = d.asFuture(loop)
    assert isinstance(future, asyncio.Future)
    assert future.get_loop() is loop
    assert not future.done()
    d.callback(7)
    assert future.result() == 7
    assert outcome(d) == [None]
    assert loop.run_until_complete(future) == 7


def test_as_future_by_name(defer, loop):
    assert defer.succeed(1).asFuture(loop=loop).result() == 1


def test_as_future_of_a_fired_deferred(defer, loop):
    assert defer.succeed(7).asFuture(loop).result() == 7


def test_as_future_of_a_failure(defer, loop, reports):
    d = defer.Deferred()
    future = d.asFuture(loop)
    error = ValueError("no")
    d.errback(error)
    assert future.exception() is error
    assert outcome(d) == [None]
    del d
    assert reports.failures() == []


def test_as_future_keeps_the_traceback(defer, loop):
    def culprit(_):
        raise ValueError("no")

    future = defer.succeed(None).addCallback(culprit).asFuture(loop)
    with pytest.raises(ValueError) as caught:
        loop.run_until_complete(future)
    assert "culprit" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_as_future_in_a_chain(defer, loop):
    inner = defer.Deferred()
    d = defer.succeed(None).addCallback(lambda _: inner)
    future = d.asFuture(loop)
    assert not future.done()
    inner.callback("late")
    assert future.result() == "late"


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
@pytest.mark.parametrize("fired", ["before", "after"])
@pytest.mark.parametrize("cls", [StopIteration, type("Sub", (StopIteration,), {})])
def test_as_future_of_a_stop_iteration(defer, loop, fired, cls):
    """A future cannot be set to that. It gets a RuntimeError which that has caused."""
    d, error = defer.Deferred(), cls(3)
    if fired == "before":
        d.errback(error)
        future = d.asFuture(loop)
    else:
        future = d.asFuture(loop)
        d.errback(error)
    with pytest.raises(RuntimeError) as raised:
        loop.run_until_complete(future)
    assert raised.value.__cause__ is error
    assert outcome(d) == [None]


def test_as_future_cancelled(defer, loop):
    cancelled = Recorder()
    d = defer.Deferred(cancelled)
    future = d.asFuture(loop)
    assert future.cancel()
    assert cancelled.calls == []
    turn(loop)
    assert cancelled.calls == [d]
    assert outcome(d) == [None]


def test_as_future_cancelled_and_fired(defer, loop):
    """The result that comes between the two is dropped, and there is nothing left to cancel."""
    cancelled = Recorder()
    for fire in (lambda d: d.callback(1), lambda d: d.errback(ValueError())):
        d = defer.Deferred(cancelled)
        future = d.asFuture(loop)
        future.cancel()
        fire(d)
        turn(loop)
        assert cancelled.calls == []
        assert outcome(d) == [None]
        assert future.cancelled()


def test_as_future_deferred_cancelled(defer, loop):
    d = defer.Deferred()
    future = d.asFuture(loop)
    d.cancel()
    assert isinstance(future.exception(), defer.CancelledError)


def test_as_future_awaited_in_a_task(defer, loop):
    d = defer.Deferred()

    async def main():
        loop.call_soon(d.callback, "result")
        return await d.asFuture(loop)

    assert loop.run_until_complete(main()) == "result"


def test_as_future_set_by_somebody_else(defer, loop):
    d = defer.Deferred()
    d.asFuture(loop).set_result("other")
    d.callback("ours")
    assert outcome(d)[0].check(asyncio.InvalidStateError)


def test_as_future_order(defer, loop):
    """The Deferred's callbacks come before the future's, which wait for the loop."""
    order = []
    d = defer.Deferred()
    future = d.asFuture(loop)
    future.add_done_callback(lambda f: order.append(f.result()))
    d.addCallback(order.append)
    d.callback(1)
    assert order == [None]
    turn(loop)
    assert order == [None, 1]


def test_as_future_through_an_override(defer, loop):
    class Loud(defer.Deferred):
        added = 0

        def addCallbacks(self, *args, **kwargs):
            self.added += 1
            return super().addCallbacks(*args, **kwargs)

    d = Loud()
    d.asFuture(loop)
    assert d.added == 1


def test_from_future(defer, loop):
    future = loop.create_future()
    d = defer.Deferred.fromFuture(future)
    assert type(d) is defer.Deferred
    results = outcome(d)
    future.set_result(7)
    assert results == []
    turn(loop)
    assert results == [7]


def test_from_future_by_name(defer, loop):
    assert not defer.Deferred.fromFuture(future=loop.create_future()).called


def test_from_future_of_a_done_one(defer, loop):
    """Fires when the loop gets to it, like any callback of an asyncio future."""
    future = loop.create_future()
    future.set_result(7)
    results = outcome(defer.Deferred.fromFuture(future))
    assert results == []
    turn(loop)
    assert results == [7]


def test_from_future_of_an_error(defer, failure, loop):
    async def culprit():
        raise ValueError("no")

    results = outcome(defer.Deferred.fromFuture(loop.create_task(culprit())))
    turn(loop)
    [result] = results
    assert isinstance(result, failure.Failure)
    assert result.check(ValueError)
    assert "culprit" in result.getTraceback()


def test_from_future_unhandled(defer, loop, reports):
    future = loop.create_future()
    defer.Deferred.fromFuture(future)
    future.set_exception(ValueError("no"))
    turn(loop)
    del future
    # The error's traceback may have hold of the Deferred: it must not be held here.
    assert [type(value) for value in reports.values()] == [ValueError]


def test_from_future_cancelled(defer, loop):
    future = loop.create_future()
    d = defer.Deferred.fromFuture(future)
    d.cancel()
    assert future.cancelled()
    assert d.called
    results = outcome(d)
    assert results == []
    turn(loop)
    assert results[0].check(asyncio.CancelledError)


def test_from_future_cancelled_by_its_owner(defer, loop):
    future = loop.create_future()
    results = outcome(defer.Deferred.fromFuture(future))
    future.cancel()
    turn(loop)
    assert results[0].check(asyncio.CancelledError)


@pytest.mark.parametrize("ending", ["result", "error"])
def test_from_future_of_a_task_that_cleans_up(defer, loop, ending):
    """A cancelled Deferred waits for what the task makes of it."""
    gate = loop.create_future()

    async def work():
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            await gate
            if ending == "error":
                raise ValueError("in cleaning up") from None
            return "cleaned up"

    d = defer.Deferred.fromFuture(loop.create_task(work()))
    results = outcome(d)
    turn(loop)
    d.cancel()
    turn(loop)
    assert results == []
    gate.set_result(None)
    turn(loop)
    if ending == "error":
        assert results[0].check(ValueError)
    else:
        assert results == ["cleaned up"]


def test_from_future_cancelled_when_done(defer, loop):
    """The future has its result, the Deferred does not know it yet."""
    future = loop.create_future()
    d = defer.Deferred.fromFuture(future)
    results = outcome(d)
    future.set_result(7)
    d.cancel()
    turn(loop)
    assert results == [7]


def test_from_future_cancelled_twice(defer, loop):
    future = loop.create_future()
    d = defer.Deferred.fromFuture(future)
    results = outcome(d)
    d.cancel()
    d.cancel()
    turn(loop)
    # The second cancels what the first has made it wait for.
    assert results[0].check(defer.CancelledError)


def test_from_future_of_a_subclass(defer, loop):
    class Mine(defer.Deferred):
        def __init__(self, canceller=None):
            super().__init__(canceller)
            made.append(self)

    made = []
    future = loop.create_future()
    d = Mine.fromFuture(future)
    assert type(d) is Mine
    d.cancel()
    turn(loop)
    assert made == [d]
    assert outcome(d)[0].check(asyncio.CancelledError)


def test_from_future_in_inline_callbacks(defer, loop):
    async def double(x):
        return 2 * x

    @defer.inlineCallbacks
    def main():
        one = yield defer.Deferred.fromFuture(loop.create_task(double(1)))
        two = yield defer.Deferred.fromFuture(loop.create_task(double(one)))
        return one, two

    assert loop.run_until_complete(main().asFuture(loop)) == (2, 4)


def test_from_future_order(defer, loop):
    order = []
    future = loop.create_future()
    future.add_done_callback(lambda _: order.append("before"))
    defer.Deferred.fromFuture(future).addCallback(order.append)
    future.add_done_callback(lambda _: order.append("after"))
    future.set_result("deferred")
    turn(loop)
    assert order == ["before", "deferred", "after"]


def test_from_future_context(defer, loop):
    future = loop.create_future()
    seen = []
    token = marker.set("here")
    defer.Deferred.fromFuture(future).addCallback(lambda _: seen.append(marker.get()))
    marker.reset(token)
    future.set_result(None)
    turn(loop)
    assert seen == ["here"]


def test_there_and_back(defer, loop):
    d = defer.Deferred()
    back = defer.Deferred.fromFuture(d.asFuture(loop))
    results = outcome(back)
    d.callback(7)
    turn(loop)
    assert results == [7]


def test_there_and_back_cancelled(defer, loop):
    cancelled = Recorder()
    d = defer.Deferred(cancelled)
    back = defer.Deferred.fromFuture(d.asFuture(loop))
    back.cancel()
    results = outcome(back)
    turn(loop)
    assert cancelled.calls == [d]
    assert results[0].check(asyncio.CancelledError)


@pytest.mark.parametrize("nothing", [None, 7, "future"])
def test_from_what_is_no_future(defer, nothing):
    with pytest.raises(AttributeError):
        defer.Deferred.fromFuture(nothing)
