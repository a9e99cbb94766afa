"""inlineCallbacks, coroutines, await: how Deferreds drive suspended functions."""

import asyncio
import contextvars
import gc
import inspect
import sys
import types
import warnings
import weakref

import pytest
from helpers import Recorder, caught, outcome, raiser, shown, user_frames


@pytest.fixture(params=["inlineCallbacks", "coroutine", "mixed"])
def waits_for(defer, request):
    """A function that starts something which waits for a Deferred and returns it.

    In each style, so that what holds for one is tried on all.
    """

    @defer.inlineCallbacks
    def generator(d):
        result = yield d
        return result

    async def coroutine(d):
        return await d

    @defer.inlineCallbacks
    def mixed(d):
        result = yield coroutine(d)
        return result

    return {
        "inlineCallbacks": generator,
        "coroutine": lambda d: defer.ensureDeferred(coroutine(d)),
        "mixed": mixed,
    }[request.param]


# --- the decorator ---------------------------------------------------------


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


# --- results ---------------------------------------------------------------


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


# --- nesting ---------------------------------------------------------------


def test_yielding_generators_and_coroutines_directly(defer):
    def generator(d):
        result = yield d
        return ("generator", result)

    async def coroutine(d):
        return ("coroutine", await d)

    @defer.inlineCallbacks
    def function(a, b):
        first = yield generator(a)
        second = yield coroutine(b)
        return first, second

    a, b = defer.Deferred(), defer.Deferred()
    d = function(a, b)
    a.callback(1)
    assert not d.called
    b.callback(2)
    assert d.result == (("generator", 1), ("coroutine", 2))


def test_yield_from(defer):
    def helper(d):
        result = yield from d
        return result + 1

    @defer.inlineCallbacks
    def function(d):
        result = yield from helper(d)
        return result + 1

    d = defer.Deferred()
    result = function(d)
    d.callback(1)
    assert result.result == 3
    assert function(defer.succeed(2)).result == 4


def test_nested_calls(defer, waits_for):
    d = defer.Deferred()
    result = waits_for(waits_for(waits_for(d)))
    d.callback("value")
    assert result.result == "value"


def test_deep_coroutines(defer):
    async def level(n, d):
        return await d if n == 0 else await level(n - 1, d) + 1

    d = defer.Deferred()
    result = defer.ensureDeferred(level(50, d))
    d.callback(0)
    assert result.result == 50


def test_async_with_and_for(defer):
    class Context:
        async def __aenter__(self):
            return await defer.succeed("entered")

        async def __aexit__(self, *_):
            await pending
            log.append("left")

    async def produce():
        for n in range(3):
            yield await defer.succeed(n)

    async def coroutine():
        async with Context() as entered:
            log.append(entered)
            async for n in produce():
                log.append(n)

    log = []
    pending = defer.Deferred()
    d = defer.ensureDeferred(coroutine())
    assert log == ["entered", 0, 1, 2]
    pending.callback(None)
    assert log[-1] == "left"
    assert d.result is None


# --- exceptions ------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_raising(defer, failure, error):
    """Nothing escapes to whoever called, or fired."""

    @defer.inlineCallbacks
    def function(d):
        yield d
        raise error("x")

    d = defer.Deferred()
    for result in (function(None), function(d)):
        if not result.called:
            d.callback(None)
        [f] = outcome(result)
        assert f.type is error
        assert type(f) is failure.Failure
        assert user_frames(f, __file__) == ["function"]


def test_generator_exit_raised(defer):
    @defer.inlineCallbacks
    def function():
        yield
        raise GeneratorExit

    [f] = outcome(function())
    assert f.type is GeneratorExit


def test_stop_iteration_raised_is_an_error(defer):
    @defer.inlineCallbacks
    def function():
        yield
        raise StopIteration("value")

    [f] = outcome(function())
    assert f.check(RuntimeError)


def test_exception_arrives_at_the_yield(defer, failure):
    error = ValueError()

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except ValueError as e:
            assert e is error
            assert sys.exc_info()[1] is e
            return "handled"

    d = defer.Deferred()
    result = function(d)
    d.errback(error)
    assert result.result == "handled"
    assert function(defer.fail(error)).result == "handled"


def test_exception_raised_while_handling_has_context(defer):
    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except ValueError:
            raise KeyError("second")  # noqa: B904 - the implicit context is the point

    first = ValueError()
    [f] = outcome(function(defer.fail(first)))
    assert f.check(KeyError)
    assert f.value.__context__ is first


def test_handled_exception_is_not_context_later(defer):
    @defer.inlineCallbacks
    def function():
        try:
            yield defer.fail(ValueError())
        except ValueError:
            pass
        assert sys.exc_info() == (None, None, None)
        raise KeyError

    [f] = outcome(function())
    assert f.value.__context__ is None


def test_frames_lead_from_outside_in(defer):
    def helper():
        raise ValueError

    @defer.inlineCallbacks
    def inner(d):
        yield d
        helper()

    @defer.inlineCallbacks
    def outer(d):
        yield inner(d)

    async def outermost(d):
        await outer(d)

    d = defer.Deferred()
    result = defer.ensureDeferred(outermost(d))
    d.callback(None)
    [f] = outcome(result)
    assert user_frames(f, __file__) == ["outermost", "outer", "inner", "helper"]


def test_finally_runs(defer):
    log = []

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        finally:
            yield defer.succeed(None)
            log.append("finally")

    d = defer.Deferred()
    result = function(d)
    d.errback(ValueError())
    assert log == ["finally"]
    assert outcome(result)[0].check(ValueError)


def test_dropped_while_waiting(defer):
    """When nobody can fire what it waits for, the generator is closed."""
    log = []

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except GeneratorExit:
            log.append("closed")
            raise

    d = defer.Deferred()
    result = function(d)
    del d, result
    gc.collect()
    assert log == ["closed"]


def test_unhandled_error_is_reported_once(defer, reports):
    @defer.inlineCallbacks
    def inner():
        yield
        raise ValueError("once")

    @defer.inlineCallbacks
    def outer():
        yield inner()

    outer()
    assert [str(value) for value in reports.values()] == ["once"]


# --- returnValue -----------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*returnValue was deprecated:DeprecationWarning")
def test_return_value(defer):
    log = []

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
            defer.returnValue("returned")
        except Exception:
            log.append("never: it is no Exception")
        finally:
            log.append("finally")

    assert function(None).result == "returned"
    d = defer.Deferred()
    result = function(d)
    d.callback(None)
    assert result.result == "returned"
    assert log == ["finally", "finally"]


def test_return_value_is_deprecated(defer):
    @defer.inlineCallbacks
    def function():
        yield
        defer.returnValue(1)

    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        assert function().result == 1
    [warning] = caught_warnings
    assert warning.category is DeprecationWarning
    assert warning.filename == __file__
    assert str(warning.message) == (
        f"{defer.returnValue.__module__}.returnValue was deprecated in "
        "Twisted 24.7.0; please use standard return statement instead"
    )


@pytest.mark.filterwarnings("ignore:.*returnValue was deprecated:DeprecationWarning")
def test_return_value_after_an_exception(defer):
    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except ValueError:
            defer.returnValue("recovered")

    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        assert function(defer.fail(ValueError())).result == "recovered"
    assert len(caught_warnings) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_return_value_by_an_exception_of_a_class_derived_from_its_own(defer):
    """As an `except` has it: a subclass is one, too."""

    class Derived(defer._DefGen_Return):
        pass

    def end():
        raise Derived("value")

    def leave():
        end()

    @defer.inlineCallbacks
    def function():
        yield 1
        leave()

    assert outcome(function()) == ["value"]


@pytest.mark.parametrize("thrown", [False, True])
def test_return_value_from_elsewhere_warns(defer, thrown):
    """It also leaves a generator that it was not written in."""

    def mistaken():
        defer.returnValue("early")

    def between():
        mistaken()

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except ValueError:
            pass
        between()
        return "never reached"

    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        d = function(defer.fail(ValueError()) if thrown else None)
    assert d.result == "early"
    misuse = [w for w in caught_warnings if "only be invoked" in str(w.message)]
    [warning] = misuse
    assert str(warning.message) == (
        "returnValue() in 'mistaken' causing 'function' to exit: returnValue "
        "should only be invoked by functions decorated with inlineCallbacks"
    )
    assert warning.category is DeprecationWarning
    assert warning.filename == __file__
    assert warning.lineno == mistaken.__code__.co_firstlineno + 1


@pytest.mark.filterwarnings("ignore:.*returnValue was deprecated:DeprecationWarning")
def test_return_value_without_a_generator(defer):
    def function():
        defer.returnValue(1)

    with pytest.raises(TypeError) as raised:
        defer.inlineCallbacks(function)()
    # The missing space is Twisted's.
    assert str(raised.value) == (
        f"inlineCallbacks requires {function!r} to produce a generator; instead"
        "caught returnValue being used in a non-generator"
    )
    with pytest.raises(BaseException) as raised:
        function()
    assert not isinstance(raised.value, Exception)
    assert raised.value.value == 1


# --- coroutines ------------------------------------------------------------


def test_from_coroutine(defer):
    async def coroutine(a):
        return a

    def generator(a):
        result = yield a
        return result

    for start in (defer.Deferred.fromCoroutine, defer.ensureDeferred):
        for made in (coroutine(1), generator(1), generator(defer.succeed(1))):
            d = start(made)
            assert type(d) is defer.Deferred
            assert d.result == 1


def test_from_coroutine_on_a_subclass(defer):
    class Sub(defer.Deferred):
        pass

    async def coroutine():
        return 1

    assert type(Sub.fromCoroutine(coroutine())) is defer.Deferred


def test_ensure_deferred_returns_a_deferred(defer):
    class Sub(defer.Deferred):
        pass

    for d in (defer.Deferred(), Sub()):
        assert defer.ensureDeferred(d) is d


@pytest.mark.parametrize("value", [1, None, "text", [], object, iter([])], ids=shown)
def test_not_a_coroutine(defer, value):
    with pytest.raises(defer.NotACoroutineError) as raised:
        defer.Deferred.fromCoroutine(value)
    assert str(raised.value) == f"{value!r} is not a coroutine"
    with pytest.raises(defer.NotACoroutineError) as raised:
        defer.ensureDeferred(value)
    assert str(raised.value) == f"{value!r} is not a coroutine or a Deferred"


def test_coroutine_function_is_no_coroutine(defer):
    async def coroutine():
        """Never called."""

    with pytest.raises(defer.NotACoroutineError):
        defer.ensureDeferred(coroutine)


def test_foreign_coroutine(defer):
    """Anything with a coroutine's methods is one."""

    class Coroutine:
        step = 0

        def send(self, value):
            self.step += 1
            if self.step == 1:
                assert value is None
                return pending
            raise StopIteration(("done", value))

        def throw(self, error):
            raise error

        def close(self):
            """Required of coroutines."""

        def __await__(self):
            raise AssertionError("never awaited")

    pending = defer.Deferred()
    d = defer.ensureDeferred(Coroutine())
    pending.callback("value")
    assert d.result == ("done", "value")
    pending = defer.Deferred()
    d = defer.ensureDeferred(Coroutine())
    pending.errback(ValueError())
    assert outcome(d)[0].check(ValueError)


def test_types_coroutine(defer):
    @types.coroutine
    def generator(d):
        result = yield d
        return result

    async def coroutine(d):
        return await generator(d)

    d = defer.Deferred()
    result = defer.ensureDeferred(coroutine(d))
    d.callback("value")
    assert result.result == "value"


def test_used_up_coroutine(defer):
    async def coroutine():
        return 1

    made = coroutine()
    assert defer.ensureDeferred(made).result == 1
    [f] = outcome(defer.ensureDeferred(made))
    assert f.check(RuntimeError)


def test_coroutine_that_yields_something_else(defer):
    class Odd:
        def __await__(self):
            result = yield "odd"
            return result

    async def coroutine():
        return await Odd()

    assert defer.ensureDeferred(coroutine()).result == "odd"


def test_awaiting_the_same_result_again(defer):
    async def coroutine(d):
        return [await d, await d]

    assert defer.ensureDeferred(coroutine(defer.succeed(1))).result == [1, 1]


def test_awaiting_a_failed_one_again(defer, reports):
    async def coroutine(d):
        caught = []
        for _ in range(2):
            try:
                await d
            except ValueError as e:
                caught.append(e)
        return caught

    error = ValueError()
    assert defer.ensureDeferred(coroutine(defer.fail(error))).result == [error, error]
    assert reports.failures() == []


# --- cancelling ------------------------------------------------------------


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
    """Its own end is then one fire too many, for whoever fired what it awaits."""

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


# --- context variables -----------------------------------------------------

variable = contextvars.ContextVar("variable", default="default")


def in_context(value, function, *args):
    context = contextvars.copy_context()
    context.run(variable.set, value)
    return context.run(function, *args)


def test_context_is_kept_across_waiting(defer):
    @defer.inlineCallbacks
    def generator(d):
        seen = [variable.get()]
        yield d
        seen.append(variable.get())
        variable.set("own")
        yield defer.succeed(None)
        seen.append(variable.get())
        return seen

    async def coroutine(d):
        seen = [variable.get()]
        await d
        seen.append(variable.get())
        variable.set("own")
        await defer.succeed(None)
        seen.append(variable.get())
        return seen

    for start in (generator, lambda d: defer.ensureDeferred(coroutine(d))):
        d = defer.Deferred()
        result = in_context("starter's", start, d)
        in_context("firer's", d.callback, None)
        assert result.result == ["starter's", "starter's", "own"]
        assert variable.get() == "default"


def test_context_when_an_error_is_thrown_in(defer):
    @defer.inlineCallbacks
    def function(d):
        variable.set("own")
        try:
            yield d
        except ValueError:
            return variable.get()

    d = defer.Deferred()
    result = function(d)
    in_context("firer's", d.errback, ValueError())
    assert result.result == "own"


def test_context_of_a_nested_call_is_a_copy(defer):
    @defer.inlineCallbacks
    def inner():
        seen.append(variable.get())
        variable.set("inner")
        yield

    @defer.inlineCallbacks
    def outer():
        variable.set("outer")
        yield inner()
        return variable.get()

    seen = []
    assert outer().result == "outer"
    assert seen == ["outer"]
    assert variable.get() == "default"


def test_awaited_coroutine_shares_the_context(defer):
    async def inner():
        variable.set("inner")

    async def outer():
        await inner()
        return variable.get()

    assert defer.ensureDeferred(outer()).result == "inner"


def test_callbacks_run_in_the_firers_context(defer):
    """Only functions that wait have a context of their own."""
    seen = []

    @defer.inlineCallbacks
    def function(d):
        variable.set("own")
        yield d

    d = defer.Deferred()
    function(d).addCallback(lambda _: seen.append(variable.get()))
    in_context("firer's", d.callback, None)
    assert seen == ["firer's"]


def test_reset_works_across_waiting(defer):
    @defer.inlineCallbacks
    def function(d):
        token = variable.set("temporary")
        yield d
        variable.reset(token)
        return variable.get()

    d = defer.Deferred()
    result = function(d)
    d.callback(None)
    assert result.result == "default"


# --- what is kept alive ----------------------------------------------------


class Value:
    """Something that weak references can watch."""


def test_finished_call_is_no_cycle(defer, waits_for, no_collections):
    value = Value()
    d = defer.Deferred()
    result = waits_for(d)
    references = [weakref.ref(x) for x in (value, d, result)]
    d.callback(value)
    del value, d, result
    assert [r() for r in references] == [None] * 3


def test_finished_call_releases_its_generator(defer, no_collections):
    def make(d):
        local = Value()
        references.append(weakref.ref(local))
        yield d
        return local is None

    references = []
    d = defer.Deferred()
    result = defer.inlineCallbacks(make)(d)
    assert references[0]() is not None
    d.callback(None)
    assert references[0]() is None
    assert result.result is False


def test_cancelled_call_is_no_cycle(defer, waits_for, no_collections):
    """Of the Deferreds only: an exception holds the frames it went through."""
    d = defer.Deferred(lambda d: d.callback(None))
    result = waits_for(d)
    references = [weakref.ref(d), weakref.ref(result)]
    result.cancel()
    del d, result
    assert [r() for r in references] == [None, None]


def test_abandoned_call_is_collected(defer, waits_for):
    """What waits for something that nobody holds any longer is a plain cycle."""
    value = Value()
    d = defer.Deferred()
    d.addCallback(lambda _, v: v, value)
    result = waits_for(d)
    references = [weakref.ref(x) for x in (value, d, result)]
    del value, d, result
    gc.collect()
    assert [r() for r in references] == [None] * 3


@pytest.fixture
def no_collections():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_errback_on_a_failed_call(defer, failure):
    """The failure that arrives is the one that was made, not another."""
    f = caught(failure, ValueError("x"))

    @defer.inlineCallbacks
    def function():
        yield defer.fail(f)

    recorder = Recorder(None)
    function().addErrback(recorder)
    assert recorder.calls[0].value is f.value


def test_errbacks_of_a_generator_that_raised_see_its_exception(defer):
    """It is being handled while it is handed on, and no longer."""
    seen = []

    @defer.inlineCallbacks
    def generator(d):
        yield d
        raise ValueError("raised")

    d = defer.Deferred()
    result = generator(d)

    def errback(reason):
        seen.append(sys.exc_info()[1])
        raise KeyError("errback")

    result.addErrback(errback)
    result.addErrback(lambda reason: seen.append(reason.value.__context__))
    d.callback(None)
    assert [str(error) for error in seen] == ["raised", "raised"]
    assert sys.exc_info() == (None, None, None)


def test_handled_exception_is_put_back(defer):
    """Also where the one who fires is a generator of its own, in an `except` of its caller."""

    @defer.inlineCallbacks
    def raising(d):
        yield d
        raise ValueError("inner")

    def firing():
        d = defer.Deferred()
        raising(d).addErrback(lambda reason: None)
        d.callback(None)
        yield sys.exc_info()[1]
        yield sys.exc_info()[1]

    generator = firing()
    try:
        raise KeyError("outer")
    except KeyError as outer:
        assert next(generator) is outer
    assert next(generator) is None


def test_await_raises_in_the_context_of_what_is_handled(defer):
    async def coroutine():
        try:
            raise KeyError("first")
        except KeyError:
            await defer.fail(ValueError("second"))

    [reason] = outcome(defer.ensureDeferred(coroutine()))
    assert isinstance(reason.value.__context__, KeyError)


def test_stop_iteration_as_a_failure(defer):
    """It must not look like the end of the coroutine."""

    async def coroutine():
        await defer.fail(StopIteration("not the end"))

    [reason] = outcome(defer.ensureDeferred(coroutine()))
    assert reason.type is RuntimeError
    with pytest.raises(RuntimeError, match="generator raised StopIteration"):
        next(iter(defer.fail(StopIteration())))


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


# --- what is thrown in ----------------------------------------------------------------------


class Odd(ValueError):
    """Cannot be made."""

    def __init__(self, *args):
        raise OSError("no")


THROWN = [
    (ValueError,),
    (ValueError, 1),
    (ValueError, None),
    (ValueError, ()),
    (ValueError, (4, 5)),
    (ValueError, ValueError(2)),
    (KeyError, ValueError(3)),
    (ValueError("instance"),),
    (ValueError("instance"), None, None),
    (ValueError("instance"), "a value"),
    (ValueError("instance"), ValueError("another")),
    (ValueError, 1, "no traceback"),
    (ValueError("instance"), None, 2),
    (StopIteration, 7),
    (Odd, 1),
    (1,),
    (int,),
    (object(), 1),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("args", THROWN, ids=shown)
@pytest.mark.parametrize("through_a_coroutine", [False, True])
def test_throw_takes_what_that_of_a_generator_takes(defer, args, through_a_coroutine):
    d = defer.Deferred()

    async def wait():
        try:
            return await d
        except ValueError as error:
            raise KeyError(type(error), error.args) from None

    def generator():
        yield

    def error_of(thing):
        try:
            thing.throw(*args)
        except BaseException as error:
            return type(error), str(error)

    plain = generator()
    next(plain)
    waiting = wait() if through_a_coroutine else d.__await__()
    assert (waiting.send(None) if through_a_coroutine else next(waiting)) is d
    cls, text = error_of(waiting)
    expected_cls, expected_text = error_of(plain)
    if through_a_coroutine and expected_cls is ValueError:
        made = args[0] if isinstance(args[0], ValueError) else None
        value = args[1] if len(args) > 1 else None
        if made is None:
            made = value if isinstance(value, ValueError) else None
        if made is None:
            value = value if isinstance(value, tuple) else () if value is None else (value,)
            made = ValueError(*value)
        assert (cls, text) == (KeyError, str(KeyError(ValueError, made.args)))
    else:
        assert (cls, text) == (expected_cls, expected_text)


def test_what_cannot_be_thrown_is_refused_before_anything_is_cancelled():
    """A TypeError is the caller's: what waits goes on waiting."""
    import deferrous

    cancelled = Recorder()
    d = deferrous.Deferred(cancelled)

    async def main():
        loop = asyncio.get_running_loop()
        task = loop.create_task(wait())
        await asyncio.sleep(0)
        for args in ((1,), (ValueError, 1, 2), (ValueError(), 3)):
            with pytest.raises(TypeError):
                waiting[0].throw(*args)
        assert cancelled.calls == []
        loop.call_soon(d.callback, "result")
        return await task

    class Wait:
        def __await__(self):
            waiting.append(d.__await__())
            return (yield from waiting[0])

    async def wait():
        return await Wait()

    waiting = []
    assert asyncio.run(main()) == "result"


# --- failures that are awaited more than once, or are of another process ----------------------


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
@pytest.mark.parametrize("fired", ["before", "after"])
@pytest.mark.parametrize("awaits", ["await", "yield", "yield from"])
def test_a_failure_of_another_process_that_is_awaited(defer, failure, fired, awaits):
    """As Perspective Broker's `CopiedFailure`: it says itself what is raised."""

    class RemoteError(Exception):
        pass

    class Copied(failure.Failure):
        def throwExceptionIntoGenerator(self, g):
            return g.throw(RemoteError(self.value.args[0]))

    async def coroutine():
        return await d

    @defer.inlineCallbacks
    def generator():
        return (yield d)

    @defer.inlineCallbacks
    def delegates():
        return (yield from d)

    d = defer.Deferred()
    start = {
        "await": lambda: defer.ensureDeferred(coroutine()),
        "yield": generator,
        "yield from": delegates,
    }[awaits]
    if fired == "before":
        d.errback(Copied(ValueError("far away")))
        waits = start()
    else:
        waits = start()
        d.errback(Copied(ValueError("far away")))
    (result,) = outcome(waits)
    assert result.check(RemoteError), result
    assert result.value.args == ("far away",)


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
@pytest.mark.parametrize("times", [2, 3])
def test_a_failed_deferred_is_awaited_again(defer, failure, times):
    """Each time that it is asked for its failure, it raises that."""
    results = []

    async def wait(d):
        try:
            await d
        except KeyError as error:
            return error.args

    def again(reason):
        for _ in range(times):
            results.extend(outcome(defer.ensureDeferred(wait(d))))
        return reason

    # In its own callbacks.
    d = defer.Deferred()
    d.addErrback(again)
    d.errback(KeyError("lost"))
    d.addErrback(lambda _: None)
    assert results == [("lost",)] * times
    # By the failure that another has: of each that was made of it.
    results.clear()
    reason = failure.Failure(KeyError("lost"))
    for _ in range(times):
        results.extend(outcome(defer.ensureDeferred(wait(defer.fail(reason)))))
    assert results == [("lost",)] * times
    # By an iterator that is asked again.
    iterator = defer.fail(reason).__await__()
    for _ in range(times):
        with pytest.raises((KeyError, StopIteration)):
            next(iterator)


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
