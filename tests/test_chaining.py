"""Deferreds that wait for others, that return themselves, that are paused."""

import warnings

import pytest
from deferred_helpers import snapshot
from helpers import Recorder, ignore, outcome


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("fired_first", [False, True])
def test_returned_deferred_gives_its_result(defer, fails, fired_first):
    inner, outer = defer.Deferred(), defer.Deferred()
    recorder = Recorder(None)
    outer.addCallback(lambda _: inner).addBoth(recorder)
    error = ValueError()

    def fire_inner():
        inner.errback(error) if fails else inner.callback("value")

    if fired_first:
        fire_inner()
        outer.callback(None)
    else:
        outer.callback(None)
        assert recorder.calls == []
        fire_inner()
    [result] = recorder.calls
    assert (result.value is error) if fails else (result == "value")
    assert inner.result is None


def test_errback_may_return_a_deferred(defer):
    inner = defer.Deferred()
    d = defer.fail(ValueError()).addErrback(lambda _: inner)
    inner.callback("recovered")
    assert outcome(d) == ["recovered"]


def test_inner_callbacks_added_later_see_none(defer):
    """Order: the waiting one first, with all that waits on it; then the rest."""
    order = []
    inner, outer = defer.Deferred(), defer.Deferred()
    outer.addCallback(lambda _: inner)
    inner.addCallback(lambda r: order.append(("before", r)) or r)
    outer.callback(None)
    inner.addCallback(lambda r: order.append(("after", r)))
    outer.addCallback(lambda r: order.append(("outer", r)))
    inner.callback("value")
    assert order == [("before", "value"), ("outer", "value"), ("after", None)]


def test_two_wait_on_the_same(defer):
    """The first takes the result, the second gets what that left."""
    inner = defer.Deferred()
    first = defer.succeed(None).addCallback(lambda _: inner)
    second = defer.succeed(None).addCallback(lambda _: inner)
    inner.callback("value")
    assert (first.result, second.result, inner.result) == ("value", None, None)


def test_waiting_on_one_that_waits(defer):
    a = defer.Deferred()
    b = defer.succeed(None).addCallback(lambda _: a)
    c = defer.succeed(None).addCallback(lambda _: b)
    assert c._chainedTo is b and b._chainedTo is a
    assert snapshot(c) == (True, 1, b)
    a.callback("value")
    assert (a.result, b.result, c.result) == (None, None, "value")


def test_waits_for_a_paused_one(defer):
    """A result that is there is not taken while its Deferred is paused."""
    inner = defer.succeed("value")
    inner.pause()
    outer = defer.succeed(None).addCallback(lambda _: inner)
    assert snapshot(outer) == (True, 1, inner)
    inner.unpause()
    assert outer.result == "value"


def test_chainee_left_paused_abandons_the_run(defer):
    """The run stops there; what the inner one still had waits for the next run."""
    inner, outer = defer.Deferred(), defer.Deferred()
    rest = Recorder()
    outer.addCallback(lambda _: inner)
    outer.callback(None)
    outer.pause()
    inner.addCallback(rest)
    assert outer.paused == 2
    inner.callback("value")
    assert snapshot(outer) == (True, 1, "value")
    assert snapshot(inner) == (True, 0, None)
    assert rest.calls == []
    outer.unpause()
    assert rest.calls == []
    inner.addCallback(ignore)
    assert rest.calls == [None]


def test_chainee_left_paused_stops_all_further_up(defer):
    bottom = defer.Deferred()
    middle = defer.succeed(None).addCallback(lambda _: bottom)
    top = defer.succeed(None).addCallback(lambda _: middle)
    middle.pause()
    bottom.callback("value")
    assert snapshot(middle) == (True, 1, "value")
    assert snapshot(top) == (True, 1, middle)
    middle.unpause()
    assert snapshot(top) == (True, 0, "value")
    assert middle.result is None


def test_chain_deferred(defer):
    source, target = defer.Deferred(), defer.Deferred()
    source.chainDeferred(target)
    source.addCallback(lambda r: ("left", r))
    assert target._chainedTo is source
    assert repr(target) == (
        f"<Deferred at 0x{id(target):x} waiting on Deferred at 0x{id(source):x}>"
    )
    assert target.paused == 0
    source.callback("value")
    assert target.result == "value"
    assert target._chainedTo is None
    assert source.result == ("left", None)


def test_chain_deferred_failure(defer):
    source, target = defer.Deferred(), defer.Deferred()
    source.chainDeferred(target)
    source.errback(ValueError())
    assert source.result is None
    [f] = outcome(target)
    assert f.check(ValueError)


def test_chain_deferred_to_a_fired_one(defer):
    """Firing the target fails, and that failure is the source's."""
    target = defer.succeed(1)
    source = defer.succeed(2).chainDeferred(target)
    [f] = outcome(source)
    assert f.check(defer.AlreadyCalledError)
    assert target.result == 1


def test_firing_with_a_deferred_is_no_chaining(defer):
    """callback() takes a Deferred as it takes any other value."""
    value = defer.Deferred()
    recorder = Recorder("next")
    d = defer.Deferred().addCallback(recorder)
    d.callback(value)
    assert recorder.calls == [value]
    assert (d.paused, d.result) == (0, "next")


def test_deferred_holding_a_deferred_is_waited_on(defer):
    """One whose result is a Deferred counts as one without result."""
    value = defer.Deferred()
    holder = defer.succeed(value)
    d = defer.succeed(None).addCallback(lambda _: holder)
    assert snapshot(d) == (True, 1, holder)
    holder.addCallback(lambda r: "now")
    assert snapshot(d) == (True, 0, value)
    assert holder.result == "now"


def test_subclasses_list_is_live(defer):
    """What counts as a Deferred, when returned, is what that list holds."""

    class Sub(defer.Deferred):
        pass

    assert defer._DEFERRED_SUBCLASSES[0] is defer.Deferred
    assert defer._DEFERRED_SUBCLASSES[-1] is Sub
    assert defer.succeed(None).addCallback(lambda _: Sub()).paused == 1
    defer._DEFERRED_SUBCLASSES.remove(Sub)
    value = Sub()
    d = defer.succeed(None).addCallback(lambda _: value)
    assert snapshot(d) == (True, 0, value)


def test_unregistered_subclass_is_a_plain_value(defer):
    class Hidden(defer.Deferred):
        def __init_subclass__(cls):
            """Keeps its subclasses to itself."""

    class Plain(Hidden):
        pass

    value = Plain()
    assert defer.succeed(None).addCallback(lambda _: value).result is value
    assert defer.succeed(None).addCallback(lambda _: Hidden()).paused == 1


SELF_RETURN = (
    "Callback returned the Deferred it was attached to; this breaks the "
    "callback chain and will raise an exception in the future."
)


def test_self_return_warns(defer):
    d = defer.Deferred()

    def returns_it(_):
        return d

    d.addCallback(returns_it)
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        d.callback(None)
    [warning] = caught_warnings
    assert warning.category is DeprecationWarning
    assert str(warning.message) == SELF_RETURN
    assert warning.filename == __file__
    first = returns_it.__code__.co_firstlineno
    assert warning.lineno == first + 1
    # It now waits for itself, for ever.
    assert snapshot(d) == (True, 1, d)
    assert d._chainedTo is d


def test_self_return_as_error(defer):
    """Where warnings are errors, the warning is the callback's failure."""
    d = defer.Deferred().addCallback(lambda _: d)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        d.callback(None)
    [f] = outcome(d)
    assert f.check(DeprecationWarning)
    assert f.getErrorMessage() == SELF_RETURN


def test_self_return_of_a_method_warns(defer):
    class Holder:
        def give(self, _):
            return self.d

    holder = Holder()
    holder.d = defer.Deferred().addCallback(holder.give)
    with pytest.warns(DeprecationWarning, match="Callback returned the Deferred"):
        holder.d.callback(None)


def test_self_return_of_a_callable_object(defer):
    """The warning wants a function; with anything else the callback fails."""

    class Callable:
        def __call__(self, _):
            return d

    d = defer.Deferred().addCallback(Callable())
    d.callback(None)
    [f] = outcome(d)
    assert f.check(AttributeError)


def test_ring_of_two_never_fires(defer):
    a, b = defer.Deferred(), defer.Deferred()
    a.addCallback(lambda _: b)
    b.addCallback(lambda _: a)
    a.callback(1)
    b.callback(2)
    assert snapshot(a) == (True, 1, b)
    assert snapshot(b) == (True, 1, a)


def test_fired_while_paused(defer):
    recorder = Recorder()
    d = defer.Deferred().addCallback(recorder)
    d.pause()
    d.callback("value")
    assert snapshot(d) == (True, 1, "value")
    d.addCallback(recorder)
    assert recorder.calls == []
    d.unpause()
    assert recorder.calls == ["value", "value"]
    assert d.paused == 0


def test_pauses_nest(defer):
    recorder = Recorder()
    d = defer.succeed(1)
    d.pause()
    d.pause()
    d.addCallback(recorder)
    d.unpause()
    assert (d.paused, recorder.calls) == (1, [])
    d.unpause()
    assert (d.paused, recorder.calls) == (0, [1])


def test_unbalanced_unpause_goes_negative(defer):
    """A count below zero pauses too, and reaching zero by pause() runs nothing."""
    recorder = Recorder()
    d = defer.Deferred().addCallback(recorder)
    d.unpause()
    assert d.paused == -1
    d.callback(1)
    assert snapshot(d) == (True, -1, 1)
    d.pause()
    assert (d.paused, recorder.calls) == (0, [])
    d.addCallback(recorder)
    assert recorder.calls == [1, 1]


def test_unpause_of_a_waiting_one(defer):
    """Taking away the pause that chaining set lets it run on the Deferred itself."""
    inner = defer.Deferred()
    recorder = Recorder("next")
    outer = defer.succeed(None).addCallback(lambda _: inner).addCallback(recorder)
    outer.unpause()
    assert recorder.calls == [inner]
    assert outer.result == "next"
    assert outer._chainedTo is None
    inner.callback("value")
    assert (inner.result, outer.paused) == (None, -1)


def test_pause_inside_callback_does_not_stop_the_run(defer):
    recorder = Recorder()
    d = defer.Deferred()
    d.addCallback(lambda r: d.pause() or r).addCallback(recorder)
    d.callback("value")
    assert (d.paused, recorder.calls) == (1, ["value"])
    d.addCallback(recorder)
    assert recorder.calls == ["value"]
    d.unpause()
    assert recorder.calls == ["value", "value"]


def test_pause_and_unpause_inside_callback(defer):
    """Unpausing inside a callback starts no second run."""
    order = []
    d = defer.Deferred()

    def first(_):
        d.pause()
        d.unpause()
        order.append("first")

    d.addCallback(first).addCallback(lambda _: order.append("second"))
    d.callback(None)
    assert order == ["first", "second"]


def test_pause_inside_callback_that_chains(defer):
    inner = defer.Deferred()
    d = defer.Deferred().addCallback(lambda _: d.pause() or inner)
    d.callback(None)
    assert snapshot(d) == (True, 2, inner)
    inner.callback("value")
    assert snapshot(d) == (True, 1, "value")
