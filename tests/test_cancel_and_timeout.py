"""`cancel` and `addTimeout` of one Deferred. For several together, see test_cancelling.py."""

import asyncio
import weakref

import pytest
from helpers import Recorder, ignore, outcome, raiser
from twisted.internet.task import Clock


def test_cancel_without_canceller(defer):
    d = defer.Deferred()
    d.cancel()
    assert d.called
    f = d.result
    assert f.type is defer.CancelledError
    assert f.value.args == ()
    d.addErrback(ignore)


@pytest.mark.parametrize("late", ["callback", "errback"])
def test_cancel_swallows_the_next_fire_only(defer, late):
    """Whoever made the Deferred does not know yet; one late fire is forgiven."""
    d = defer.Deferred().addErrback(lambda f: "cancelled")
    d.cancel()
    getattr(d, late)(ValueError())
    assert d.result == "cancelled"
    with pytest.raises(defer.AlreadyCalledError):
        getattr(d, late)(ValueError())


@pytest.mark.parametrize("falsy", [None, False, 0, ""], ids=repr)
def test_falsy_canceller_is_no_canceller(defer, falsy):
    d = defer.Deferred(falsy)
    d.cancel()
    d.callback("late")
    [f] = outcome(d)
    assert f.check(defer.CancelledError)


def test_canceller_gets_the_deferred(defer):
    recorder = Recorder()
    d = defer.Deferred(recorder)
    d.cancel()
    assert recorder.calls == [d]
    assert d._canceller is None
    d.addErrback(ignore)
    # With a canceller nothing late is swallowed.
    with pytest.raises(defer.AlreadyCalledError):
        d.callback(None)


@pytest.mark.parametrize("method", ["callback", "errback"])
def test_canceller_may_fire(defer, method):
    value = ValueError()
    d = defer.Deferred(lambda d: getattr(d, method)(value))
    d.cancel()
    [result] = outcome(d)
    assert (result if method == "callback" else result.value) is value
    with pytest.raises(defer.AlreadyCalledError):
        d.callback(None)


def test_canceller_that_raises(defer):
    """The caller of cancel() gets it; the Deferred is as it was."""
    error = ValueError()
    d = defer.Deferred(raiser(error))
    for _ in range(2):
        with pytest.raises(ValueError) as raised:
            d.cancel()
        assert raised.value is error
        assert not d.called
    d.callback(1)
    assert d.result == 1


def test_canceller_that_fires_and_raises(defer):
    def canceller(d):
        d.callback("fired")
        raise ValueError

    d = defer.Deferred(canceller)
    with pytest.raises(ValueError):
        d.cancel()
    assert d.result == "fired"


def test_canceller_is_released_on_firing(defer):
    class Canceller:
        def __call__(self, d):
            raise AssertionError

    canceller = Canceller()
    reference = weakref.ref(canceller)
    d = defer.Deferred(canceller)
    del canceller
    d.callback(None)
    assert reference() is None
    assert d._canceller is None
    d.cancel()


def test_canceller_can_be_replaced(defer):
    recorder = Recorder()
    d = defer.Deferred(raiser(AssertionError))
    d._canceller = recorder
    d.cancel()
    assert recorder.calls == [d]
    d.addErrback(ignore)


def test_cancel_after_firing_does_nothing(defer):
    d = defer.succeed(1)
    d.cancel()
    assert d.result == 1
    failed = defer.fail(ValueError())
    failed.cancel()
    [f] = outcome(failed)
    assert f.check(ValueError)


def test_cancel_goes_to_the_one_waited_on(defer):
    recorder = Recorder()
    bottom = defer.Deferred(recorder)
    middle = defer.succeed(None).addCallback(lambda _: bottom)
    top = defer.succeed(None).addCallback(lambda _: middle)
    top.cancel()
    assert recorder.calls == [bottom]
    [f] = outcome(top)
    assert f.check(defer.CancelledError)
    assert (bottom.result, middle.result) == (None, None)


def test_cancel_goes_to_a_deferred_held_as_value(defer):
    value = defer.Deferred()
    d = defer.succeed(value)
    d.cancel()
    [f] = outcome(value)
    assert f.check(defer.CancelledError)
    assert d.result is value


def test_cancel_of_a_chain_deferred_target(defer):
    """chainDeferred leads results one way only, and cancellation not at all."""
    source, target = defer.Deferred(), defer.Deferred()
    source.chainDeferred(target)
    target.cancel()
    assert not source.called
    source.callback("swallowed by the target")
    assert source.result is None
    [f] = outcome(target)
    assert f.check(defer.CancelledError)


def test_cancel_inside_callback(defer):
    d = defer.Deferred().addCallback(lambda r: d.cancel() or r)
    d.callback("value")
    assert outcome(d) == ["value"]


def test_cancel_while_paused(defer):
    d = defer.Deferred()
    d.pause()
    d.cancel()
    recorder = Recorder(None)
    d.addErrback(recorder)
    assert recorder.calls == []
    d.unpause()
    assert recorder.calls[0].check(defer.CancelledError)


def test_errback_may_suppress_cancellation(defer):
    inner = defer.Deferred().addErrback(lambda f: f.trap(defer.CancelledError) and 7)
    outer = defer.succeed(None).addCallback(lambda _: inner)
    outer.cancel()
    assert outer.result == 7


def test_timeout_elapses(defer):
    clock = Clock()
    d = defer.Deferred()
    d.addTimeout(10, clock)
    clock.advance(9)
    assert not d.called
    clock.advance(1)
    f = d.result
    assert f.type is defer.TimeoutError
    assert f.value.args == (10, "Deferred")
    d.addErrback(ignore)
    # There was no canceller: the late result is swallowed.
    d.callback("late")


@pytest.mark.parametrize("form", ["plain", "of a subclass"])
def test_a_timeout_is_shown_by_its_clock(defer, form):
    """As in a reactor's debug output: by the name of Twisted's function."""

    class Own(defer.Deferred):
        def addBoth(self, callback, *args, **kwargs):
            return super().addBoth(callback, *args, **kwargs)

    clock = Clock()
    d = Own() if form == "of a subclass" else defer.Deferred()
    d.addTimeout(10, clock)
    [call] = clock.getDelayedCalls()
    assert str(call).endswith(
        " [10.0s] called=0 cancelled=0 Deferred.addTimeout.<locals>.timeItOut()>"
    )
    assert call.func.__name__ == "timeItOut"


def test_a_timeout_is_shown_by_asyncio(defer, implementation):
    """Twisted's take a reactor only."""
    if implementation == "twisted":
        return
    loop = asyncio.new_event_loop()
    try:
        d = defer.Deferred().addTimeout(10, loop)
        [call] = loop._scheduled
        assert "Deferred.addTimeout.<locals>.timeItOut()" in repr(call)
        d.callback(None)
    finally:
        loop.close()


@pytest.mark.parametrize("fails", [False, True])
def test_timeout_not_needed(defer, fails):
    clock = Clock()
    d = defer.Deferred()
    d.addTimeout(10, clock)
    error = ValueError()
    d.errback(error) if fails else d.callback("value")
    assert clock.getDelayedCalls() == []
    [result] = outcome(d)
    assert (result.value is error) if fails else (result == "value")


def test_timeout_on_a_fired_deferred(defer):
    clock = Clock()
    assert defer.succeed(1).addTimeout(10, clock).result == 1
    assert clock.getDelayedCalls() == []


def test_cancelled_before_the_timeout(defer):
    clock = Clock()
    d = defer.Deferred()
    d.addTimeout(10, clock)
    d.cancel()
    [f] = outcome(d)
    assert f.type is defer.CancelledError
    assert clock.getDelayedCalls() == []


def test_timeout_covers_callbacks_added_before(defer):
    clock = Clock()
    inner = defer.Deferred()
    d = defer.succeed(None).addCallback(lambda _: inner).addTimeout(1, clock)
    clock.advance(1)
    [f] = outcome(d)
    assert f.check(defer.TimeoutError)


def test_timeout_does_not_cover_callbacks_added_after(defer):
    clock = Clock()
    inner = defer.Deferred()
    d = defer.succeed(None).addTimeout(1, clock).addCallback(lambda _: inner)
    clock.advance(1)
    assert not inner.called and d.paused == 1


@pytest.mark.parametrize("fire", ["callback", "errback"])
def test_timeout_with_a_canceller_of_its_own_mind(defer, fire):
    """Only a cancellation becomes a timeout; what the canceller gives stays."""
    clock = Clock()
    value = ValueError()
    d = defer.Deferred(lambda d: getattr(d, fire)(value)).addTimeout(1, clock)
    clock.advance(1)
    [result] = outcome(d)
    assert (result if fire == "callback" else result.value) is value


@pytest.mark.parametrize("times", [1, 3])
def test_timeout_with_a_canceller_that_cancels(defer, times):
    """A canceller that cancels its own Deferred is asked for that as well."""
    asked = []

    def canceller(deferred):
        asked.append(deferred)
        if len(asked) <= times:
            deferred.cancel()

    clock = Clock()
    d = defer.Deferred(canceller).addTimeout(1, clock)
    clock.advance(1)
    assert asked == [d] * (times + 1)
    [f] = outcome(d)
    assert f.check(defer.TimeoutError)


def test_on_timeout_cancel(defer):
    clock = Clock()
    recorder = Recorder("instead")
    d = defer.Deferred().addTimeout(2.5, clock, onTimeoutCancel=recorder)
    clock.advance(3)
    [(f, args, kwargs)] = recorder.calls
    assert f.check(defer.CancelledError)
    assert (args, kwargs) == ((2.5,), {})
    assert d.result == "instead"


def test_on_timeout_cancel_only_on_timeout(defer):
    for finish in (lambda d: d.callback(1), lambda d: d.cancel()):
        d = defer.Deferred().addTimeout(1, Clock(), raiser(AssertionError()))
        finish(d)
        assert not getattr(d.result, "check", lambda _: None)(AssertionError)
        d.addErrback(ignore)


def test_timeouts_nest(defer):
    clock = Clock()
    d = defer.Deferred().addTimeout(5, clock)
    d.addErrback(lambda f: f.trap(defer.TimeoutError) and "first")
    d.addTimeout(9, clock)
    clock.advance(5)
    assert d.result == "first"
    assert clock.getDelayedCalls() == []


def test_timeout_takes_any_clock(defer):
    class Call:
        def active(self):
            return True

        def cancel(self):
            log.append("cancelled")

    class Minimal:
        def callLater(self, delay, function):
            log.append(delay)
            return Call()

    log = []
    defer.Deferred().addTimeout(3, Minimal()).callback(None)
    assert log == [3, "cancelled"]


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_timeout_asks_a_call_that_is_over(defer, plain, active):
    class Call:
        def active(self):
            log.append("active")
            return active

        def cancel(self):
            log.append("cancel")

    class Minimal:
        def callLater(self, delay, function):
            log.append(function)
            return Call()

    class Overrides(defer.Deferred):
        def addBoth(self, *args, **kwargs):
            return super().addBoth(*args, **kwargs)

    log = []
    d = defer.Deferred() if plain else Overrides()
    d.addTimeout(3, Minimal())
    log.pop()()
    assert log == ["active", "cancel"][: 1 + active]
    [f] = outcome(d)
    assert f.type is defer.TimeoutError


@pytest.mark.deferrous_only
def test_interrupted_after_the_canceller_was_asked(monkeypatch):
    """A signal's exception then leaves no canceller replaced, and nothing under way."""
    from deferrous import Deferred, _timeout

    class Refuses(Deferred):
        def cancel(self):
            raise ValueError

    def interrupted(deferred):
        raise KeyboardInterrupt

    def canceller(deferred):
        pass

    monkeypatch.setattr(_timeout, "_fail", interrupted)
    clock = Clock()
    d = Refuses(canceller)
    d.addTimeout(1, clock)
    with pytest.raises(KeyboardInterrupt):
        clock.advance(1)
    assert d._canceller is canceller
    assert _timeout._under_way == {}
