"""Cancellers, callbacks and generators that act on the object that is calling them."""

import functools
import gc
import sys
import warnings

import pytest
from helpers import Recorder, outcome, raiser, run_script


def test_canceller_that_cancels_again(implementation):
    """Endless recursion in the user's code is Python's error."""
    script = """
        def canceller(d):
            d.cancel()
        d = defer.Deferred(canceller)
        try:
            d.cancel()
        except RecursionError:
            print("RecursionError")
        print(d.called)
    """
    assert run_script(implementation, script).stdout.split() == [
        "RecursionError",
        "False",
    ]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_cancel_of_a_ring(implementation, length):
    """A ring of Deferreds that wait for each other has no one to cancel."""
    script = f"""
        import warnings
        warnings.simplefilter("ignore")
        ring = [defer.Deferred() for _ in range({length})]
        for n, d in enumerate(ring):
            d.addCallback(lambda _, n=n: ring[n - 1])
        for d in ring:
            d.callback(None)
        assert all(d.paused == 1 for d in ring)
        try:
            ring[0].cancel()
        except RecursionError:
            pass
        assert "waiting on Deferred" in repr(ring[0])
        del d, ring
        import gc
        gc.collect()
        print("survived")
    """
    assert run_script(implementation, script).stdout == "survived\n"


def test_canceller_that_raises_base_exception(defer):
    d = defer.Deferred(raiser(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        d.cancel()
    assert not d.called


def test_canceller_whose_truth_raises(defer):
    class Odd:
        def __bool__(self):
            raise ValueError("neither")

    d = defer.Deferred(Odd())
    with pytest.raises(ValueError, match="neither"):
        d.cancel()
    assert not d.called


def test_falsy_callable_is_no_canceller(defer):
    class Falsy:
        def __bool__(self):
            return False

        def __call__(self, d):
            raise AssertionError

    d = defer.Deferred(Falsy())
    d.cancel()
    d.callback("swallowed")
    assert outcome(d)[0].check(defer.CancelledError)


def test_canceller_that_pauses(defer):
    recorder = Recorder(None)
    d = defer.Deferred(lambda d: d.pause()).addErrback(recorder)
    d.cancel()
    assert (d.called, d.paused, recorder.calls) == (True, 1, [])
    d.unpause()
    assert recorder.calls[0].check(defer.CancelledError)


def test_canceller_that_adds_callbacks(defer):
    recorder = Recorder(None)
    d = defer.Deferred(lambda d: d.addErrback(recorder))
    d.cancel()
    assert recorder.calls[0].check(defer.CancelledError)


def test_firing_inside_a_callback_of_the_one_waited_on(defer):
    outer, inner = defer.Deferred(), defer.Deferred()
    order = []
    outer.addCallback(lambda _: inner).addCallback(order.append)
    inner.addCallback(lambda r: outer.callback(None) or order.append("in") or r)
    inner.callback("value")
    # What a running callback was given counts as the result, and is taken.
    assert order == ["value", "in"]
    assert (inner.result, outer.result) == ("value", None)


def test_callback_that_unpauses_the_one_above(defer):
    outer, inner = defer.Deferred(), defer.Deferred()
    outer.addCallback(lambda _: inner)
    outer.callback(None)
    inner.addCallback(lambda r: outer.unpause())
    inner.callback("value")
    assert outer.paused in (0, -1)


def test_generator_that_fires_what_it_yields_next(defer):
    """Nothing resumes a generator that is running."""

    @defer.inlineCallbacks
    def function(a, b):
        yield a
        b.callback("already")
        yield b
        return "done"

    a, b = defer.Deferred(), defer.Deferred()
    result = function(a, b)
    a.callback(None)
    assert result.result == "done"


def test_one_generator_driven_twice(defer):
    def generator(d):
        yield d

    d = defer.Deferred()
    made = generator(d)
    first = defer.ensureDeferred(made)
    second = defer.ensureDeferred(made)
    assert second.called
    d.callback(None)
    assert first.called


def test_generator_closed_from_outside(defer):
    def generator(d):
        result = yield d
        return result

    d = defer.Deferred()
    made = generator(d)
    result = defer.ensureDeferred(made)
    made.close()
    d.callback("value")
    assert result.result is None


def test_generator_that_refuses_to_close(defer):
    @defer.inlineCallbacks
    def function(d):
        while True:
            try:
                yield d
            except GeneratorExit:
                yield d
                return

    seen = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda u: seen.append(u.exc_type)
    try:
        result = function(defer.Deferred())
        assert not result.called
        del result
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert seen == [RuntimeError]


def test_callback_that_removes_the_recursion_limits_headroom(implementation):
    """Running into the limit inside a callback is a failure like any other."""
    script = """
        def deep(_):
            return deep(_)
        d = defer.succeed(None).addCallback(deep)
        f = d.result
        assert f.check(RecursionError)
        d.addErrback(lambda f: None)
        print(defer.succeed(1).addCallback(lambda r: r + 1).result)
    """
    assert run_script(implementation, script).stdout == "2\n"


def test_self_return_by_things_that_are_no_functions(defer):
    """The warning about it is then itself the error."""
    d = defer.Deferred()
    d.addCallback(functools.partial(lambda d, _: d, d))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        d.callback(None)
    [f] = outcome(d)
    assert f.check(AttributeError)

    def nowhere(_):
        return d

    nowhere.__module__ = "no.such.module"
    d = defer.Deferred()
    d.addCallback(nowhere)
    d.callback(None)
    assert outcome(d)[0].check(KeyError)


def test_deleted_result(defer):
    """It is treated as missing, and reading it raises."""
    d = defer.succeed(1)
    del d.result
    assert not hasattr(d, "result")
    assert d.called
    with pytest.raises(AttributeError):
        _ = d.result
