"""Cancelling generators."""

import pytest
from generator_helpers import waits_for
from helpers import Recorder, outcome, raiser


def test_cancel(defer, waits_for, reports):
    recorder = Recorder()
    d = defer.Deferred(recorder)
    result = waits_for(d)
    result.cancel()
    assert recorder.calls == [d]
    [f] = outcome(result)
    assert f.type is defer.CancelledError
    assert d.result is None
    del d, f, result
    assert reports.failures() == []


def test_cancel_reaches_the_innermost(defer, waits_for):
    recorder = Recorder()
    innermost = defer.Deferred(recorder)
    result = waits_for(waits_for(innermost))
    result.cancel()
    assert recorder.calls == [innermost]
    assert outcome(result)[0].check(defer.CancelledError)


def test_cancel_raises_at_the_yield(defer):
    log = []

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except defer.CancelledError:
            log.append("except")
            raise
        finally:
            log.append("finally")

    result = function(defer.Deferred())
    result.cancel()
    assert log == ["except", "finally"]
    assert outcome(result)[0].check(defer.CancelledError)


def test_cancelled_function_may_go_on(defer):
    """The result then waits for what the function does instead."""
    plan_b = defer.Deferred()

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except defer.CancelledError:
            result = yield plan_b
            return ("instead", result)

    result = function(defer.Deferred())
    recorder = Recorder()
    result.addBoth(recorder)
    result.cancel()
    assert (result.called, result.paused, recorder.calls) == (True, 1, [])
    assert isinstance(result.result, defer.Deferred)
    plan_b.callback("b")
    assert recorder.calls == [("instead", "b")]
    assert result.paused == 0


def test_cancelled_twice(defer):
    """A second cancel goes to what the function waits for by then."""
    second = defer.Deferred()
    log = []

    @defer.inlineCallbacks
    def function():
        for d in (defer.Deferred(), second):
            try:
                yield d
            except defer.CancelledError:
                log.append(d is second)
        return "survived"

    result = function()
    result.cancel()
    assert log == [False]
    result.cancel()
    assert log == [False, True]
    assert result.result == "survived"


def test_cancelled_function_may_raise_otherwise(defer):
    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except defer.CancelledError as e:
            raise ValueError from e

    result = function(defer.Deferred())
    result.cancel()
    assert outcome(result)[0].check(ValueError)


def test_canceller_decides_the_outcome(defer, waits_for):
    result = waits_for(defer.Deferred(lambda d: d.callback("partial")))
    result.cancel()
    assert result.result == "partial"


def test_cancel_when_done_does_nothing(defer, waits_for):
    result = waits_for(defer.succeed("value"))
    result.cancel()
    assert result.result == "value"


def test_no_late_fire_of_a_cancelled_call(defer, waits_for):
    result = waits_for(defer.Deferred())
    result.cancel()
    with pytest.raises(defer.AlreadyCalledError):
        result.callback("late")
    assert outcome(result)[0].check(defer.CancelledError)


def test_what_was_cancelled_may_fire_late(defer, waits_for):
    d = defer.Deferred()
    result = waits_for(d)
    result.cancel()
    d.callback("late")
    assert outcome(result)[0].check(defer.CancelledError)


def test_firing_the_call_oneself_does_not_stop_it(defer):
    """When it ends after that, the Deferred that it awaited gets an AlreadyCalledError."""

    @defer.inlineCallbacks
    def function(d):
        yield d
        return "own"

    d = defer.Deferred()
    result = function(d)
    result.callback("from outside")
    assert result.result == "from outside"
    d.callback(None)
    assert outcome(d)[0].check(defer.AlreadyCalledError)
    assert result.result == "from outside"


def test_cancelling_oneself(defer):
    """A running function that cancels its own call has nothing to cancel."""

    @defer.inlineCallbacks
    def function(d):
        yield d
        holder[0].cancel()
        result = yield defer.succeed("went on")
        return result

    d = defer.Deferred()
    holder = [function(d)]
    d.callback(None)
    assert holder[0].result == "went on"


def test_cancelled_call_keeps_its_callbacks(defer):
    order = []

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except defer.CancelledError:
            return "value"

    result = function(defer.Deferred())
    result.addCallback(lambda r: order.append(("before", r)) or r)
    result.addErrback(raiser(AssertionError()))
    result.cancel()
    result.addCallback(lambda r: order.append(("after", r)) or r)
    assert order == [("before", "value"), ("after", "value")]


def test_failing_canceller(defer, waits_for):
    """What a canceller raises is the outcome of the cancelled call."""
    d = defer.Deferred(raiser(ValueError()))
    result = waits_for(d)
    result.cancel()
    assert outcome(result)[0].check(ValueError)
    assert not d.called


def test_cancelled_while_paused_and_ended_meanwhile(defer):
    """The cancelling comes to its turn when the generator has ended: it cancels what that waited
    for last, and waits for what nobody will fire."""
    waited = defer.Deferred()

    @defer.inlineCallbacks
    def generator():
        yield waited

    d = generator()
    results = []
    d.addBoth(results.append)
    d.pause()
    d.cancel()
    waited.callback(None)
    [too_late] = outcome(waited)
    assert too_late.check(defer.AlreadyCalledError)
    d.unpause()
    assert (results, d.paused) == ([], 1)
    assert isinstance(d.result, defer.Deferred)
    assert not d.result.called


@pytest.mark.parametrize("end", ["value", "error"])
def test_cancelled_while_paused_and_fired_again_by_hand(defer, end):
    waited = defer.Deferred()

    @defer.inlineCallbacks
    def generator():
        yield waited
        if end == "error":
            raise KeyError(1)
        return 2

    d = generator()
    results = []
    d.addBoth(results.append)
    d.pause()
    d.cancel()
    d.called = False
    waited.callback(None)
    d.unpause()
    if end == "value":
        assert results == [2]
    else:
        [reason] = results
        assert reason.check(KeyError)


@pytest.mark.parametrize("through", ["", "a generator"])
@pytest.mark.parametrize("change", ["pause", "unpause"])
def test_yields_again_what_it_has_paused(defer, change, through):
    awaited = defer.Deferred()
    results = []

    def waits():
        results.append((yield awaited))
        getattr(awaited, change)()
        results.append((yield awaited))

    @defer.inlineCallbacks
    def run():
        yield from waits()

    d = run() if through else defer.inlineCallbacks(waits)()
    awaited.callback(5)
    assert results == [5, None]
    assert awaited.paused == (1 if change == "pause" else -1)
    assert d.called
