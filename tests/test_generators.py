"""`inlineCallbacks`: the decorator, and the results of generators."""

import gc
import inspect
import sys
import types
import warnings

import pytest
from generator_helpers import waits_for
from helpers import Recorder, outcome, raiser


def test_keeps_the_functions_face(defer):
    def original(a: int, /, b=2, *, c: str = "x"):
        """What it does."""
        yield

    original.note = "free"
    wrapped = defer.inlineCallbacks(original)
    assert isinstance(wrapped, types.FunctionType)
    assert wrapped.__wrapped__ is original
    for name in ("__name__", "__qualname__", "__doc__", "__module__", "note"):
        assert getattr(wrapped, name) == getattr(original, name)
    assert inspect.signature(wrapped) == inspect.signature(original)
    assert wrapped.__annotations__ == original.__annotations__


def test_arguments_arrive(defer):
    @defer.inlineCallbacks
    def function(a, *args, b, **kwargs):
        yield
        return a, args, b, kwargs

    assert function(1, 2, 3, b=4, c=5).result == (1, (2, 3), 4, {"c": 5})
    with pytest.raises(TypeError):
        function()


def test_on_methods(defer):
    class Thing:
        @defer.inlineCallbacks
        def method(self, a):
            yield
            return self, a

        @classmethod
        @defer.inlineCallbacks
        def of_class(cls, a):
            yield
            return cls, a

        @staticmethod
        @defer.inlineCallbacks
        def static(a):
            yield
            return a

    thing = Thing()
    assert thing.method(1).result == (thing, 1)
    assert Thing.method(thing, 1).result == (thing, 1)
    assert thing.of_class(2).result == Thing.of_class(2).result == (Thing, 2)
    assert thing.static(3).result == Thing.static(3).result == 3


@pytest.mark.parametrize("value", [None, 1, [], "text"], ids=repr)
def test_function_that_makes_no_generator(defer, value):
    def plain():
        return value

    with pytest.raises(TypeError) as raised:
        defer.inlineCallbacks(plain)()
    assert str(raised.value) == (
        f"inlineCallbacks requires {plain!r} to produce a generator; instead got {value!r}"
    )


def test_coroutine_function_is_refused(defer):
    async def coroutine():
        """Nothing to wait for."""

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TypeError, match="to produce a generator; instead got"):
            defer.inlineCallbacks(coroutine)()
        gc.collect()


def test_function_that_raises_before_its_generator(defer):
    """That error is the caller's: there is no Deferred yet."""
    with pytest.raises(ValueError):
        defer.inlineCallbacks(raiser(ValueError()))()


def test_plain_function_that_returns_a_generator(defer):
    def generator():
        yield
        return 1

    assert defer.inlineCallbacks(lambda: generator())().result == 1


def test_starts_at_once_and_returns(defer):
    log = []

    @defer.inlineCallbacks
    def function():
        log.append("started")
        yield
        return "value"

    d = function()
    assert log == ["started"]
    assert type(d) is defer.Deferred
    assert (d.called, d.paused, d.result) == (True, 0, "value")


def test_falling_off_the_end(defer):
    @defer.inlineCallbacks
    def function():
        yield

    assert function().result is None


def test_generator_that_never_yields(defer):
    @defer.inlineCallbacks
    def function():
        return "value"
        yield

    assert function().result == "value"


@pytest.mark.parametrize("value", [None, 0, "text", [1], (1,), object], ids=repr)
def test_yielding_anything_else_gives_it_back(defer, value):
    @defer.inlineCallbacks
    def function():
        result = yield value
        return result

    assert function().result is value


def test_objects_with_odd_answers_to_any_name_are_values(defer):
    asked = []

    class Odd:
        def __getattr__(self, name):
            asked.append(name)
            raise KeyError(name)

    odd = Odd()

    @defer.inlineCallbacks
    def generator():
        assert (yield odd) is odd
        assert (yield defer.succeed(odd)) is odd
        assert (yield defer.maybeDeferred(lambda: odd)) is odd
        assert (yield defer.gatherResults([defer.succeed(odd)])) == [odd]
        return odd

    d = generator().addCallback(lambda each: each)
    assert outcome(d) == [odd]
    d = defer.fail(ValueError()).addErrback(lambda _: odd)
    assert outcome(d) == [odd]
    assert asked == []


def test_yielding_a_failure_raises_it(defer, failure):
    @defer.inlineCallbacks
    def function():
        try:
            yield failure.Failure(ValueError("x"))
        except ValueError as e:
            return str(e)

    assert function().result == "x"


def test_returning_a_failure(defer, failure):
    f = failure.Failure(ValueError())

    @defer.inlineCallbacks
    def function():
        yield
        return f

    assert outcome(function()) == [f]


def test_returning_a_deferred_is_no_chaining(defer):
    """The Deferred is delivered as a value; only yield waits."""
    value = defer.Deferred()

    @defer.inlineCallbacks
    def function():
        yield
        return value

    d = function()
    assert (d.result, d.paused) == (value, 0)
    recorder = Recorder(None)
    d.addCallback(recorder)
    assert recorder.calls == [value]


def test_waiting(defer, waits_for):
    d = defer.Deferred()
    result = waits_for(d)
    assert (result.called, result.paused) == (False, 0)
    assert not hasattr(result, "result")
    d.callback("value")
    assert (result.called, result.result) == (True, "value")


def test_waiting_for_a_fired_one(defer, waits_for):
    assert waits_for(defer.succeed("value")).result == "value"


@pytest.mark.parametrize("fired", [False, True])
def test_waiting_for_a_failure(defer, waits_for, reports, fired):
    error = ValueError()
    d = defer.fail(error) if fired else defer.Deferred()
    result = waits_for(d)
    if not fired:
        d.errback(error)
    [f] = outcome(result)
    assert f.value is error
    del d, f, result
    assert reports.failures() == []


def test_waiting_for_a_paused_one(defer, waits_for):
    d = defer.succeed("value")
    d.pause()
    result = waits_for(d)
    assert not result.called
    d.unpause()
    assert result.result == "value"


def test_waiting_for_a_chained_one(defer, waits_for):
    inner = defer.Deferred()
    result = waits_for(defer.succeed(None).addCallback(lambda _: inner))
    assert not result.called
    inner.callback("value")
    assert result.result == "value"


def test_callbacks_run_before_it_resumes(defer, waits_for):
    d = defer.Deferred().addCallback(lambda r: r + 1)
    result = waits_for(d)
    d.addCallback(lambda r: ("after", r))
    d.callback(1)
    assert result.result == 2


def test_yield_takes_the_result(defer):
    """As any callback that returns None would."""

    @defer.inlineCallbacks
    def function(d):
        yield d

    fired, pending = defer.succeed(1), defer.Deferred()
    function(fired)
    function(pending)
    pending.callback(2)
    assert (fired.result, pending.result) == (None, None)


def test_await_takes_only_a_result_it_waited_for(defer):
    async def coroutine(d):
        return await d

    fired, pending = defer.succeed(1), defer.Deferred()
    assert defer.ensureDeferred(coroutine(fired)).result == 1
    result = defer.ensureDeferred(coroutine(pending))
    pending.callback(2)
    assert result.result == 2
    assert (fired.result, pending.result) == (1, None)


def test_yield_of_one_that_is_running_waits(defer):
    """Inside a callback of d, `yield d` comes after it, `await d` does not wait."""

    @defer.inlineCallbacks
    def yields():
        result = yield d
        return result

    async def awaits():
        result = await d
        return result

    started = []

    def start(_):
        started.append(yields())
        started.append(defer.ensureDeferred(awaits()))
        assert not started[0].called
        assert started[1].result == "input"
        return "output"

    d = defer.Deferred().addCallback(start)
    d.callback("input")
    assert started[0].result == "output"


def test_fired_results_are_taken_in_a_loop(defer):
    """However many are there already, none costs stack."""

    @defer.inlineCallbacks
    def function():
        total = 0
        for n in range(5 * sys.getrecursionlimit()):
            total += yield defer.succeed(n)
        return total

    assert function().result == sum(range(5 * sys.getrecursionlimit()))


def test_resumes_inside_the_fire(defer, waits_for):
    order = []
    d = defer.Deferred()
    waits_for(d).addCallback(lambda _: order.append("resumed"))
    d.callback(None)
    order.append("fired")
    assert order == ["resumed", "fired"]


def test_several_wait_for_the_same(defer, waits_for):
    d = defer.Deferred()
    first, second = waits_for(d), waits_for(d)
    d.callback("value")
    assert (first.result, second.result) == ("value", None)


def test_yield_uses_overridden_add_both(defer):
    class Sub(defer.Deferred):
        def addBoth(self, callback, *args, **kwargs):
            used.append(self)
            return super().addBoth(callback, *args, **kwargs)

    used = []

    @defer.inlineCallbacks
    def function(d):
        result = yield d
        return result

    for d in (Sub(), Sub()):
        result = function(d)
        assert used.pop() is d
        d.callback("value")
        assert result.result == "value"


def test_yield_of_what_is_no_registered_deferred(defer):
    class Hidden(defer.Deferred):
        """Taken off the list, it is a value like any other."""

    defer._DEFERRED_SUBCLASSES.remove(Hidden)
    value = Hidden()

    @defer.inlineCallbacks
    def function():
        result = yield value
        return result

    assert function().result is value
