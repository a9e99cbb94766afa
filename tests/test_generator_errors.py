"""Exceptions in generators: raised, thrown in, handled."""

import asyncio
import gc
import sys

import pytest
from helpers import Recorder, caught, outcome, shown, user_frames


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_raising(defer, failure, error):
    """No exception reaches the caller, or the code that fires."""

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
