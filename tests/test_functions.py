"""The functions beside Deferred, and the exceptions."""

import collections.abc
import gc
import inspect
import typing
import warnings

import pytest
from helpers import Recorder, outcome, qual, raiser, shown, user_frames
from twisted.logger import LogLevel, globalLogPublisher

PUBLIC = [
    "AlreadyCalledError",
    "CancelledError",
    "DebugInfo",
    "Deferred",
    "NotACoroutineError",
    "TimeoutError",
    "ensureDeferred",
    "execute",
    "fail",
    "getDebugging",
    "inlineCallbacks",
    "logError",
    "maybeDeferred",
    "passthru",
    "returnValue",
    "setDebugging",
    "succeed",
    "timeout",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name(defer, name):
    value = getattr(defer, name)
    assert value.__name__ == name
    assert value.__doc__ or name in ("timeout", "passthru")


@pytest.mark.parametrize(
    "name, parameters",
    [
        ("succeed", ["result"]),
        ("fail", ["result"]),
        ("execute", ["callable", "args", "kwargs"]),
        ("maybeDeferred", ["f", "args", "kwargs"]),
        ("passthru", ["arg"]),
        ("logError", ["err"]),
        ("timeout", ["deferred"]),
        ("setDebugging", ["on"]),
        ("getDebugging", []),
        ("ensureDeferred", ["coro"]),
        ("inlineCallbacks", ["f"]),
        ("returnValue", ["val"]),
    ],
)
def test_signature(defer, name, parameters):
    assert list(inspect.signature(getattr(defer, name)).parameters) == parameters


def test_types_of_callbacks(defer):
    """Programs write them into annotations."""
    for alias in (defer.DeferredCallback, defer.DeferredErrback):
        assert typing.get_origin(alias) is collections.abc.Callable
        assert typing.get_args(alias) == (..., object)


# Succeed and fail.


@pytest.mark.parametrize("value", [None, 0, "text", object()], ids=shown)
def test_succeed(defer, value):
    d = defer.succeed(value)
    assert type(d) is defer.Deferred
    assert (d.called, d.paused, d.result, d._chainedTo) == (True, 0, value, None)
    with pytest.raises(defer.AlreadyCalledError):
        d.callback(1)
    with pytest.raises(TypeError):
        defer.succeed()


def test_succeed_with_a_failure(defer, failure):
    """It is no error until a callback is added: the errback gets it."""
    f = failure.Failure(ValueError())
    assert outcome(defer.succeed(f).addCallback(raiser(KeyError()))) == [f]


def test_succeed_with_a_deferred(defer):
    value = defer.Deferred()
    recorder = Recorder(None)
    d = defer.succeed(value)
    assert (d.result, d.paused) == (value, 0)
    d.addCallback(recorder)
    assert recorder.calls == [value]


def test_fail_forms(defer, failure):
    error = ValueError()
    f = failure.Failure(error)
    assert outcome(defer.fail(f)) == [f]
    [made] = outcome(defer.fail(error))
    assert (made.value, made.tb) == (error, None)
    try:
        raise error
    except ValueError:
        implicit, explicit = defer.fail(), defer.fail(None)
    for d in (implicit, explicit):
        assert d.called
        [made] = outcome(d)
        assert made.value is error
        assert user_frames(made, __file__) == ["test_fail_forms"]
    with pytest.raises(failure.NoCurrentExceptionError):
        defer.fail()


# Execute and maybeDeferred.


@pytest.mark.parametrize("name", ["execute", "maybeDeferred"])
def test_called_with_keywords(defer, name):
    """The result or the exception of the call is the outcome of the Deferred."""

    def fails(*args, **kwargs):
        raise ValueError(args, kwargs)

    call = getattr(defer, name)
    assert outcome(call(lambda *args, **kwargs: (args, kwargs), 1, two=2)) == [((1,), {"two": 2})]
    [failure] = outcome(call(fails, 1, two=2))
    assert failure.type is ValueError
    assert failure.value.args == ((1,), {"two": 2})


@pytest.mark.parametrize("name", ["execute", "maybeDeferred"])
def test_calls_with_arguments(defer, name):
    d = getattr(defer, name)(lambda *args, **kwargs: (args, kwargs), 1, 2, key="word")
    assert d.result == ((1, 2), {"key": "word"})


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["execute", "maybeDeferred"])
def test_call_that_raises(defer, failure, name, error):
    d = getattr(defer, name)(raiser(error("x")))
    [f] = outcome(d)
    assert f.type is error
    assert f.frames[-1][0] == "fail"


@pytest.mark.parametrize("name", ["execute", "maybeDeferred"])
def test_call_of_nothing_callable(defer, name):
    [f] = outcome(getattr(defer, name)(None))
    assert f.check(TypeError)
    with pytest.raises(TypeError):
        getattr(defer, name)()


def test_maybe_deferred_leaves_deferreds_alone(defer):
    class Sub(defer.Deferred):
        pass

    for d in (defer.Deferred(), Sub()):
        assert defer.maybeDeferred(lambda d=d: d) is d


def test_maybe_deferred_with_a_failure(defer, failure):
    f = failure.Failure(ValueError())
    assert outcome(defer.maybeDeferred(lambda: f)) == [f]


def test_maybe_deferred_runs_coroutines(defer):
    async def coroutine(d):
        return await d

    d = defer.Deferred()
    result = defer.maybeDeferred(coroutine, d)
    assert not result.called
    d.callback("value")
    assert result.result == "value"


def test_maybe_deferred_leaves_generators_alone(defer):
    def generator():
        yield

    made = generator()
    assert defer.maybeDeferred(lambda: made).result is made


def test_execute_wraps_whatever_comes(defer, failure):
    """Unlike maybeDeferred: also a Deferred is just the result."""
    value = defer.Deferred()
    d = defer.execute(lambda: value)
    assert d is not value
    assert (d.result, d.paused) == (value, 0)


# Small ones.


def test_passthru(defer):
    value = object()
    assert defer.passthru(value) is value
    assert defer.succeed(value).addCallback(defer.passthru).result is value


def test_log_error(defer, failure, reports):
    f = failure.Failure(ValueError())
    assert defer.logError(f) is f
    assert reports.failures() == [f]
    assert reports.headings() == 0


def test_log_error_as_errback(defer, reports):
    error = ValueError()
    d = defer.fail(error).addErrback(defer.logError)
    assert reports.values() == [error]
    # It handles nothing: the same failure is reported again at the end.
    del d
    assert reports.values() == [error, error]
    assert reports.headings() == 1


def test_timeout_function(defer):
    d = defer.Deferred()
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        assert defer.timeout(d) is None
    [f] = outcome(d)
    assert f.type is defer.TimeoutError
    assert f.getErrorMessage() == "Callback timed out"
    [warning] = caught_warnings
    assert warning.category is DeprecationWarning
    assert warning.filename == __file__
    module = defer.timeout.__module__
    assert str(warning.message) == (
        f"{module}.timeout was deprecated in Twisted 17.1.0; please use "
        f"{qual(defer.Deferred)}.addTimeout instead"
    )


# Exceptions.


@pytest.mark.parametrize(
    "name, base",
    [
        ("AlreadyCalledError", Exception),
        ("CancelledError", Exception),
        ("TimeoutError", Exception),
        ("NotACoroutineError", TypeError),
    ],
)
def test_exceptions(defer, name, base):
    cls = getattr(defer, name)
    assert cls.__bases__ == (base,)
    assert cls.__module__ == defer.Deferred.__module__
    assert str(cls()) == ""
    assert repr(cls("why")) == f"{name}('why')"
    with pytest.raises(base):
        raise cls


def test_same_failure_class_everywhere(defer, failure):
    [f] = outcome(defer.fail(ValueError()))
    assert type(f) is failure.Failure


class Held(Exception):
    """An exception that can be watched."""


def lose(defer, kind):
    """Lose a Deferred with an error in a cycle."""
    error = Held()

    def raises():
        raise error

    @defer.inlineCallbacks
    def generator():
        yield defer.succeed(None)
        raise error

    async def coroutine():
        await defer.fail(error)

    make = {
        "fail": lambda: defer.fail(error),
        "maybeDeferred": lambda: defer.maybeDeferred(raises),
        "callback": lambda: defer.succeed(None).addCallback(lambda _: raises()),
        "generator": generator,
        "coroutine": lambda: defer.ensureDeferred(coroutine()),
    }
    d = make[kind]()
    d.itself = d


def living():
    # A weak reference would not do: up to 3.14 the collector clears those to what a finalizer
    # is about to bring back to life.
    return [each for each in gc.get_objects() if type(each) is Held]


@pytest.mark.parametrize("kind", ["fail", "maybeDeferred", "callback", "generator", "coroutine"])
def test_errors_in_cycles_are_collected_at_once(defer, reports, kind):
    gc.disable()
    try:
        lose(defer, kind)
        gc.collect()
        assert len(reports.events) == 2
        assert len(living()) == 1
        reports.events.clear()
        # Twisted keeps the last 200 events for whoever begins to log.
        for _ in range(200):
            globalLogPublisher({"log_level": LogLevel.debug})
        reports.events.clear()
        gc.collect()
        assert living() == []
    finally:
        gc.enable()
