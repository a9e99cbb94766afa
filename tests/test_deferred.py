"""Deferreds: making and firing them, callbacks and errbacks."""

import collections.abc
import copy
import inspect
import pickle

import pytest
from helpers import Recorder, ignore, outcome, raiser
from twisted.internet.task import Clock


def test_fresh(defer):
    d = defer.Deferred()
    assert d.called is False
    assert d.paused == 0
    assert d.debug is False
    assert d._chainedTo is None
    assert d._canceller is None
    assert bool(d)
    with pytest.raises(AttributeError, match="result"):
        _ = d.result
    assert not hasattr(d, "result")
    assert getattr(d, "result", "none yet") == "none yet"


def test_class_attributes(defer):
    """Programs read debug mode off the class."""
    assert defer.Deferred.debug is False


def test_constructor_arguments(defer):
    assert defer.Deferred(ignore)._canceller is ignore
    assert defer.Deferred(canceller=ignore)._canceller is ignore
    assert defer.Deferred(None)._canceller is None
    for args, kwargs in [((1, 2), {}), ((), {"cancel": ignore})]:
        with pytest.raises(TypeError):
            defer.Deferred(*args, **kwargs)


def test_equality_is_identity(defer):
    a, b = defer.Deferred(), defer.Deferred()
    assert a == a and a != b
    assert len({a, b, a}) == 2


def test_module_and_names(defer):
    cls = defer.Deferred
    assert cls.__name__ == cls.__qualname__ == "Deferred"
    assert pickle.loads(pickle.dumps(cls)) is cls
    assert copy.copy(cls) is cls
    assert issubclass(cls, collections.abc.Awaitable)


@pytest.mark.parametrize(
    "method, parameters",
    [
        (
            "addCallbacks",
            [
                "self",
                "callback",
                "errback",
                "callbackArgs",
                "callbackKeywords",
                "errbackArgs",
                "errbackKeywords",
            ],
        ),
        ("addTimeout", ["self", "timeout", "clock", "onTimeoutCancel"]),
        ("chainDeferred", ["self", "d"]),
        ("callback", ["self", "result"]),
        ("errback", ["self", "fail"]),
        ("pause", ["self"]),
        ("unpause", ["self"]),
        ("cancel", ["self"]),
    ],
)
def test_signature(defer, method, parameters):
    """Documentation tools and programs that wrap methods inspect these."""
    signature = inspect.signature(getattr(defer.Deferred, method))
    assert list(signature.parameters) == parameters


def test_signature_of_class(defer):
    assert str(inspect.signature(defer.Deferred)).startswith("(canceller")


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_callback_of_a_fired_deferred_finds_it_running(defer, count):
    d = defer.succeed("first")
    args = tuple(range(count))
    seen = []

    def callback(result, *given):
        seen.append((result, given, d.result))
        d.addCallback(lambda result: seen.append(("then", result)) or "last")
        d.pause()
        return "second"

    assert d.addCallback(callback, *args) is d
    # The pause does not stop the run that it is part of.
    assert seen == [("first", args, "first"), ("then", "second")]
    d.addCallback(lambda result: seen.append(result))
    assert seen.pop() == ("then", "second")
    d.unpause()
    assert seen.pop() == "last"


@pytest.mark.parametrize("method", ["addCallback", "addErrback", "addBoth"])
def test_signature_of_variadic(defer, method):
    parameters = inspect.signature(getattr(defer.Deferred, method)).parameters
    kinds = [p.kind for p in parameters.values()]
    assert kinds[2:] == [
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    ]


def test_keyword_names(defer, failure):
    d = defer.Deferred()
    d.addCallback(callback=lambda r: r)
    d.addErrback(errback=lambda f: f)
    d.addBoth(callback=lambda r: r)
    d.addCallbacks(callback=lambda r: r, errback=lambda f: f)
    d.callback(result=1)
    assert outcome(d) == [1]
    d = defer.Deferred()
    d.errback(fail=ValueError())
    assert d.result.check(ValueError)
    d.addErrback(ignore)
    d.chainDeferred(d=defer.Deferred())


def test_callbacks_run_in_order(defer):
    seen = []
    d = defer.Deferred()
    for n in range(10):
        d.addCallback(lambda r, n=n: seen.append((r, n)) or n)
    d.callback("start")
    expected = ["start", *range(9)]
    assert seen == list(zip(expected, range(10), strict=True))
    assert d.result == 9


def test_add_methods_return_self(defer):
    d = defer.Deferred()
    assert d.addCallback(ignore) is d
    assert d.addErrback(ignore) is d
    assert d.addBoth(ignore) is d
    assert d.addCallbacks(ignore, ignore) is d
    assert d.chainDeferred(defer.Deferred()) is d
    assert d.addTimeout(1, Clock()) is d
    assert d.callback(None) is None
    assert d.addCallback(ignore) is d
    assert d.pause() is None
    assert d.unpause() is None
    assert d.cancel() is None


@pytest.mark.parametrize("fired_first", [False, True])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("method", ["addCallback", "addErrback", "addBoth"])
def test_extra_arguments(defer, method, fails, fired_first):
    """A callback is called with the result, then its own arguments."""
    recorder = Recorder(None)
    d = defer.Deferred()
    value = ValueError() if fails else "value"

    def add():
        getattr(d, method)(recorder, 1, 2, key="word")

    def fire():
        d.errback(value) if fails else d.callback(value)

    for step in (fire, add) if fired_first else (add, fire):
        step()
    if method != ("addCallback" if fails else "addErrback"):
        [(result, args, kwargs)] = recorder.calls
        assert (result.value if fails else result) is value
        assert (args, kwargs) == ((1, 2), {"key": "word"})
        assert d.result is None
    else:
        assert recorder.calls == []
        assert (d.result.value if fails else d.result) is value
    d.addErrback(ignore)


def test_arguments_named_like_parameters(defer):
    """Only `callback` itself cannot be passed on by keyword."""
    recorder = Recorder()
    d = defer.succeed(0).addCallback(recorder, args=1, kwargs=2, errback=4)
    assert recorder.calls == [(0, (), {"args": 1, "kwargs": 2, "errback": 4})]
    with pytest.raises(TypeError):
        d.addCallback(recorder, callback=1)


@pytest.mark.parametrize("args", [None, (), [], (1, 2), [1, 2], "ab", range(2)])
@pytest.mark.parametrize("kwargs", [None, {}, {"a": 1}])
@pytest.mark.parametrize("fails", [False, True])
def test_add_callbacks_arguments(defer, args, kwargs, fails):
    """Any iterable and any mapping will do, None stands for nothing."""
    calls = []

    def note(which):
        def call(result, *args, **kwargs):
            calls.append((which, args, kwargs))

        return call

    d = defer.Deferred()
    chosen = "errback" if fails else "callback"
    d.addCallbacks(
        note("callback"),
        note("errback"),
        **{f"{chosen}Args": args, f"{chosen}Keywords": kwargs},
    )
    d.errback(ValueError()) if fails else d.callback(1)
    assert calls == [(chosen, tuple(args or ()), kwargs or {})]


def test_add_callbacks_arguments_by_position(defer):
    calls = []

    def note(_, *args, **kwargs):
        calls.append((args, kwargs))
        raise ValueError

    d = defer.Deferred()
    d.addCallbacks(note, None, (1,), {"a": 2}, (3,), {"b": 4})
    d.addCallbacks(note, note, (1,), {"a": 2}, (3,), {"b": 4})
    d.callback(None)
    assert calls == [((1,), {"a": 2}), ((3,), {"b": 4})]
    d.addErrback(ignore)


def test_callback_args_are_spread_when_called(defer):
    """An iterator is used up by the call, a list is read as it then is."""
    iterator = iter([1, 2])
    listed = [1]
    keywords = {}
    recorder = Recorder()
    d = defer.Deferred()
    d.addCallbacks(recorder, callbackArgs=iterator)
    d.addCallbacks(recorder, callbackArgs=listed, callbackKeywords=keywords)
    listed.append(2)
    keywords["late"] = True
    assert not recorder.calls
    d.callback(0)
    assert list(iterator) == []
    assert recorder.calls == [(0, (1, 2), {}), (0, (1, 2), {"late": True})]


def test_no_errback_means_failures_pass(defer):
    d = defer.Deferred()
    d.addCallbacks(raiser(AssertionError), None)
    d.addCallbacks(raiser(AssertionError))
    d.errback(ValueError())
    [f] = outcome(d)
    assert f.check(ValueError)


def test_callback_needs_one(defer):
    d = defer.Deferred()
    for method in ("addCallback", "addErrback", "addBoth", "addCallbacks"):
        with pytest.raises(TypeError):
            getattr(d, method)()
    with pytest.raises(TypeError):
        d.callback()
    assert not d.called


def test_exception_goes_to_errback_with_traceback(defer, failure):
    error = ValueError("no")
    d = defer.succeed(None).addCallback(raiser(error))
    f = d.result
    assert type(f) is failure.Failure
    assert (f.value, f.type) == (error, ValueError)
    assert f.tb is not None
    assert f.frames[-1][0] == "fail"
    recorder = Recorder("handled")
    assert d.addErrback(recorder).result == "handled"
    assert recorder.calls == [f]


def test_errback_is_skipped_on_value_and_callback_on_failure(defer):
    seen = []
    d = defer.Deferred()
    d.addErrback(lambda _: seen.append("errback 1"))
    d.addCallback(raiser(ValueError()))
    d.addCallback(lambda _: seen.append("callback 2"))
    d.addErrback(lambda _: seen.append("errback 2"))
    d.addErrback(lambda _: seen.append("errback 3"))
    d.addCallback(lambda _: seen.append("callback 3"))
    d.callback(None)
    assert seen == ["errback 2", "callback 3"]


def test_pair_does_not_catch_its_own_errors(defer):
    d = defer.Deferred()
    d.addCallbacks(raiser(ValueError()), ignore)
    d.callback(None)
    [f] = outcome(d)
    assert f.check(ValueError)


def test_failure_as_value_is_a_failure(defer, failure):
    """Given to callback, or returned by one, a Failure takes the errback's way."""
    f = failure.Failure(ValueError())
    assert outcome(defer.succeed(None).addCallback(lambda _: f)) == [f]
    d = defer.Deferred()
    recorder = Recorder(None)
    d.addErrback(recorder)
    d.callback(f)
    assert recorder.calls == [f]


def test_failure_subclass_passes_unchanged(defer, failure):
    class Special(failure.Failure):
        pass

    f = Special(ValueError())
    d = defer.Deferred()
    d.errback(f)
    assert outcome(d)[0] is f


def test_errback_with_exception_has_no_traceback(defer, failure):
    error = ValueError()
    d = defer.Deferred()
    d.errback(error)
    assert d.result.value is error
    assert d.result.tb is None
    d.addErrback(ignore)


@pytest.mark.parametrize("how", ["nothing", "None"])
def test_errback_takes_current_exception(defer, how):
    error = ValueError()
    d = defer.Deferred()
    try:
        raise error
    except ValueError:
        d.errback() if how == "nothing" else d.errback(None)
    assert d.result.value is error
    assert d.result.tb is error.__traceback__
    d.addErrback(ignore)


def test_errback_without_current_exception(defer, failure):
    d = defer.Deferred()
    with pytest.raises(failure.NoCurrentExceptionError):
        d.errback()
    assert not d.called
    d.callback(1)
    with pytest.raises(failure.NoCurrentExceptionError):
        d.errback()


@pytest.mark.parametrize("value", ["text", 0, ValueError], ids=repr)
def test_errback_with_anything(defer, value):
    """What is no exception is wrapped all the same."""
    d = defer.Deferred()
    d.errback(value)
    [f] = outcome(d)
    assert f.value is value
    assert f.type is type(value)


def test_exceptions_in_callbacks_have_no_stale_context(defer):
    """Callbacks run outside of any handler, so nothing is chained to new errors."""
    d = defer.Deferred()
    d.addCallback(raiser(ValueError()))
    d.addErrback(raiser(KeyError()))
    d.callback(None)
    [f] = outcome(d)
    assert f.check(KeyError)
    assert f.value.__context__ is None


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_base_exceptions_become_failures(defer, error):
    d = defer.succeed(None).addCallback(raiser(error("x")))
    [f] = outcome(d)
    assert f.type is error
    assert f.check(error) is error


@pytest.mark.parametrize("second", ["callback", "errback"])
@pytest.mark.parametrize("first", ["callback", "errback"])
def test_firing_twice(defer, first, second):
    d = defer.Deferred()
    d.addErrback(lambda f: f.value)
    value = ValueError()
    getattr(d, first)(value)
    with pytest.raises(defer.AlreadyCalledError) as raised:
        getattr(d, second)(KeyError())
    assert str(raised.value) == ""
    assert d.result is value


def test_firing_itself_from_a_callback(defer):
    d = defer.Deferred()
    d.addCallback(lambda _: d.callback(2))
    d.callback(1)
    [f] = outcome(d)
    assert f.check(defer.AlreadyCalledError)
