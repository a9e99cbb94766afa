"""Arguments of wrong types, and objects whose `__init__` has not run."""

import types

import pytest
from helpers import Recorder, ignore, outcome, shown
from twisted.internet.task import Clock

NOT_CALLABLE = [None, 1, "text", [], object()]


@pytest.mark.parametrize("value", NOT_CALLABLE, ids=shown)
@pytest.mark.parametrize("method", ["addCallback", "addBoth", "addCallbacks"])
def test_callback_that_cannot_be_called(defer, method, value):
    """It is found out when its turn comes, and is then an error like any other."""
    d = defer.Deferred()
    getattr(d, method)(value)
    d.callback(1)
    [f] = outcome(d)
    assert f.check(TypeError)
    assert "not callable" in f.getErrorMessage()


@pytest.mark.parametrize("value", NOT_CALLABLE, ids=shown)
def test_errback_that_cannot_be_called(defer, value):
    assert defer.succeed(1).addErrback(value).result == 1
    [f] = outcome(defer.fail(ValueError()).addErrback(value))
    assert f.check(TypeError)


@pytest.mark.parametrize(
    "options",
    [
        {"callbackArgs": 1},
        {"callbackArgs": ignore},
        {"callbackKeywords": 1},
        {"callbackKeywords": [1]},
        {"callbackKeywords": {1: 2}},
        {"callbackKeywords": {"_": "given twice"}},
        {"callbackArgs": ("one too many",)},
        {"callbackKeywords": {"unknown": 1}},
    ],
    ids=shown,
)
def test_arguments_that_do_not_fit(defer, options):
    d = defer.Deferred()
    d.addCallbacks(ignore, **options)
    d.callback(None)
    [f] = outcome(d)
    assert f.check(TypeError)


def test_iterator_of_arguments_that_raises(defer):
    def arguments():
        yield 1
        raise ValueError("from the iterator")

    d = defer.succeed(None).addCallbacks(Recorder(), callbackArgs=arguments())
    [f] = outcome(d)
    assert f.getErrorMessage() == "from the iterator"


def test_mapping_of_keywords_that_raises(defer):
    class Mapping:
        def keys(self):
            return ["key"]

        def __getitem__(self, key):
            raise ValueError("from the mapping")

    d = defer.succeed(None).addCallbacks(Recorder(), callbackKeywords=Mapping())
    [f] = outcome(d)
    assert f.getErrorMessage() == "from the mapping"


@pytest.mark.parametrize("value", [1, "text", object()], ids=shown)
def test_canceller_that_cannot_be_called(defer, value):
    d = defer.Deferred(value)
    with pytest.raises(TypeError):
        d.cancel()
    assert not d.called


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.callback(1, 2),
        lambda d: d.errback(1, 2),
        lambda d: d.pause(1),
        lambda d: d.cancel(1),
        lambda d: d.callback(value=1),
        lambda d: d.addTimeout(),
        lambda d: d.chainDeferred(),
        lambda d: d.addCallbacks(ignore, callbackArgz=()),
    ],
)
def test_wrong_number_or_names_of_arguments(defer, call):
    d = defer.Deferred()
    with pytest.raises(TypeError):
        call(d)
    assert (d.called, d.paused) == (False, 0)


@pytest.mark.parametrize("target", [None, 1, object()], ids=shown)
def test_chain_deferred_to_no_deferred(defer, target):
    with pytest.raises(AttributeError):
        defer.Deferred().chainDeferred(target)


def test_chain_deferred_to_something_like_one(defer):
    target = types.SimpleNamespace(callback=Recorder(), errback=Recorder())
    source = defer.Deferred()
    source.chainDeferred(target)
    assert target._chainedTo is source
    source.callback("value")
    assert target.callback.calls == ["value"]


def test_clock_without_call_later(defer):
    d = defer.Deferred()
    with pytest.raises(AttributeError):
        d.addTimeout(1, object())
    d.callback("unharmed")
    assert d.result == "unharmed"


@pytest.mark.parametrize("fires", ["before", "at"])
def test_on_timeout_cancel_that_cannot_be_called(defer, fires):
    clock = Clock()
    d = defer.Deferred().addTimeout(1, clock, "not callable")
    d.callback(1) if fires == "before" else clock.advance(1)
    [result] = outcome(d)
    assert result == 1 if fires == "before" else result.check(TypeError)


def test_methods_on_something_else(defer):
    for method in ("addCallback", "callback", "cancel", "pause", "__iter__"):
        with pytest.raises((TypeError, AttributeError)):
            result = getattr(defer.Deferred, method)(object(), ignore)
            next(result)


@pytest.mark.parametrize("value", [None, 1, "text", object()], ids=shown)
@pytest.mark.parametrize("name", ["inlineCallbacks", "timeout"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_functions_given_no_function_or_deferred(defer, name, value):
    with pytest.raises((TypeError, AttributeError)):
        getattr(defer, name)(value)()


@pytest.mark.parametrize(
    "use",
    [
        lambda d: d.callback(1),
        lambda d: d.errback(ValueError()),
        lambda d: d.addCallback(ignore),
        lambda d: d.addCallbacks(ignore, ignore),
        lambda d: d.cancel(),
        lambda d: (d.pause(), d.unpause()),
        lambda d: (repr(d), str(d)),
        lambda d: next(iter(d)),
        lambda d: d.chainDeferred(d),
        lambda d: d.addTimeout(1, Clock()),
        lambda d: d._canceller,
        lambda d: d.result,
    ],
)
def test_without_init(defer, use):
    """It may work or say that something is missing."""
    for d in (defer.Deferred.__new__(defer.Deferred), new_without_init(defer)):
        assert (d.called, d.paused) == (False, 0)
        try:
            use(d)
        except AttributeError:
            pass
        if d.called:
            try:
                d.addErrback(ignore)
            except AttributeError:
                pass


def new_without_init(defer):
    class Forgetful(defer.Deferred):
        def __init__(self, *args, **kwargs):
            """Does not call the base's."""

    return Forgetful(1, key=2)


def test_without_init_as_a_result(defer):
    half = defer.Deferred.__new__(defer.Deferred)
    d = defer.succeed(None)
    try:
        d.addCallback(lambda _: half)
    except AttributeError:
        return
    assert d.called


def test_failure_without_init(failure):
    for use in (
        str,
        repr,
        lambda f: f.check(ValueError),
        lambda f: f.trap(ValueError),
        lambda f: f.raiseException(),
        lambda f: f.getTraceback(),
        lambda f: f.cleanFailure(),
        lambda f: f.frames,
        lambda f: f.__reduce__(),
    ):
        with pytest.raises(AttributeError):
            use(failure.Failure.__new__(failure.Failure))


def test_failure_without_init_as_a_result(defer, failure, reports):
    f = failure.Failure.__new__(failure.Failure)
    recorder = Recorder(None)
    d = defer.Deferred()
    d.errback(f)
    d.addErrback(recorder)
    assert recorder.calls == [f]


def test_init_again_forgets_callbacks(defer):
    recorder = Recorder()
    d = defer.Deferred().addCallback(recorder)
    d.__init__()
    d.callback("value")
    assert recorder.calls == []
    assert d.result == "value"
