"""Deferred: firing, callbacks, chaining, pausing, cancelling, what can be seen."""

import collections.abc
import copy
import gc
import inspect
import pickle
import sys
import warnings
import weakref
from unittest import mock

import pytest
from helpers import Recorder, caught, ignore, normalise, outcome, qual, raiser, run_script
from twisted.internet.task import Clock

# --- before a result -------------------------------------------------------


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


# --- callbacks -------------------------------------------------------------


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


# --- errors ----------------------------------------------------------------


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


# --- firing twice ----------------------------------------------------------


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


# --- what can be seen, when ------------------------------------------------


def snapshot(d):
    return d.called, d.paused, getattr(d, "result", "absent")


def chained(defer):
    inner = defer.Deferred()
    return defer.succeed(None).addCallback(lambda _: inner)


def paused(defer):
    d = defer.succeed(1)
    d.pause()
    return d


def cancelled(defer):
    d = defer.Deferred()
    d.cancel()
    return d.addErrback(lambda _: "handled")


#: Deferreds in every state, and whether they have been fired.
STATES = {
    "pending": (lambda defer: defer.Deferred(), False),
    "with a canceller": (lambda defer: defer.Deferred(print), False),
    "fired": (lambda defer: defer.succeed(1), True),
    "chained": (chained, True),
    "paused": (paused, True),
    "cancelled": (cancelled, True),
    "taken": (lambda defer: defer.succeed(1).chainDeferred(defer.Deferred()), True),
    "a list": (lambda defer: defer.DeferredList([]), True),
    "a pending list": (lambda defer: defer.DeferredList([defer.Deferred()]), False),
    "a copy": (lambda defer: copy.copy(defer.succeed(1)), True),
    "unpickled": (lambda defer: pickle.loads(pickle.dumps(defer.succeed(1))), True),
}


@pytest.mark.parametrize("state", STATES)
def test_called(defer, state):
    make, fired = STATES[state]
    for _ in range(100):  # So that the interpreter knows where it is.
        d = make(defer)
        assert d.called is getattr(d, "called", None) is fired


@pytest.mark.parametrize("called", [False, 0, 0.0, "", (), [], {}, None])
def test_called_set_to_false(defer, called):
    """Then it can be fired again."""
    d = defer.succeed(1)
    d.called = called
    assert d.called is called
    assert d.addCallback(lambda _: 2).result == 1
    d.callback(3)
    assert (d.called, d.result) == (True, 2)


@pytest.mark.parametrize("called", [True, 1, 0.5, "yes", (0,), [0], {0: 0}, object()])
@pytest.mark.parametrize("directly", [True, False])
def test_called_set_to_true(defer, called, directly):
    d = defer.Deferred()
    if directly:
        object.__setattr__(d, "called", called)
    else:
        d.called = called
    assert d.called is called
    with pytest.raises(defer.AlreadyCalledError):
        d.callback(1)


def test_called_in_a_subclass(defer):
    class Own(defer.Deferred):
        called = "always"

        def __setattr__(self, name, value):
            object.__setattr__(self, name, value)

    class Computed(defer.Deferred):
        @property
        def called(self):
            return "computed"

        @called.setter
        def called(self, value):
            set_to.append(value)

    set_to = []
    d = Computed()
    d.called = 1
    assert (d.called, set_to) == ("computed", [1])
    d = type("Plain", (defer.Deferred,), {})()
    assert d.called is False
    d.callback(1)
    assert d.called is True
    d = Own()
    assert d.called == "always"


def test_called_is_patched(defer):
    d = defer.succeed(1)
    with mock.patch.object(d, "called", "patched"):
        assert d.called == "patched"
    assert d.called is True
    with mock.patch.object(defer.Deferred, "called", "for all", create=True):
        assert defer.Deferred().called == "for all"
    assert defer.Deferred().called is False


def test_what_called_is_set_to_is_let_go_of(defer):
    class Thing:
        pass

    def with_thing():
        d, thing = defer.Deferred(), Thing()
        d.called = thing
        return d, weakref.ref(thing)

    d, thing = with_thing()
    del d
    assert thing() is None
    d, thing = with_thing()
    d.called = False
    assert thing() is None
    d, thing = with_thing()
    thing().deferred = d
    del d
    gc.collect()
    assert thing() is None
    d = defer.Deferred()
    d.called = falsy = []
    references = sys.getrefcount(falsy)
    d.callback(1)
    assert sys.getrefcount(falsy) == references - 1


def test_true_and_false_are_never_used_up(defer):
    for _ in range(100_000):
        d = defer.Deferred()
        d.called = True
        d.called = False


@pytest.mark.deferrous_only
@pytest.mark.skipif(sys.version_info < (3, 11), reason="nothing is specialised there")
def test_called_is_a_slot():
    """The interpreter reads it where it is.

    In an interpreter of its own: CPython 3.13 specialises nothing any more for a class that has
    been changed a thousand times, as other tests do.
    """
    run_script(
        "deferrous",
        """
import dis, types

assert type(defer.Deferred.called) is types.MemberDescriptorType
assert "has been fired" in defer.Deferred.called.__doc__

class Subclass(defer.Deferred):
    pass

for make in (defer.Deferred, Subclass):
    read = eval("lambda d: d.called")
    d = make()
    for _ in range(1000):
        assert read(d) is False
    names = [it.opname for it in dis.get_instructions(read, adaptive=True)]
    assert "LOAD_ATTR_SLOT" in names, names
    d.callback(None)
    assert read(d) is True
""",
    )


def test_state_inside_callbacks(defer):
    """A running callback sees its own input as the result."""
    seen = []
    d = defer.Deferred()
    d.addCallback(lambda r: seen.append((r, snapshot(d))) or "second")
    d.addCallback(lambda r: seen.append((r, snapshot(d))) or "third")
    assert snapshot(d) == (False, 0, "absent")
    d.callback("first")
    assert seen == [
        ("first", (True, 0, "first")),
        ("second", (True, 0, "second")),
    ]
    assert snapshot(d) == (True, 0, "third")


def test_state_while_chained(defer):
    inner, outer = defer.Deferred(), defer.Deferred()
    seen = []
    outer.addCallback(lambda _: inner)
    outer.addCallback(lambda r: seen.append((r, snapshot(outer), snapshot(inner))))
    outer.callback(None)
    assert snapshot(outer) == (True, 1, inner)
    assert outer._chainedTo is inner
    assert snapshot(inner) == (False, 0, "absent")
    inner.callback("value")
    assert seen == [("value", (True, 0, "value"), (True, 0, None))]
    assert outer._chainedTo is None
    assert snapshot(inner) == (True, 0, None)
    assert snapshot(outer) == (True, 0, None)


def test_state_when_result_was_there(defer):
    inner = defer.succeed("value")
    outer = defer.succeed(None).addCallback(lambda _: inner)
    assert snapshot(outer) == (True, 0, "value")
    assert snapshot(inner) == (True, 0, None)
    assert outer._chainedTo is None


def test_callback_added_inside_callback_runs_last(defer):
    order = []
    d = defer.Deferred()

    def adds(_):
        order.append("adds")
        d.addCallback(lambda _: order.append("added"))
        order.append("after adding")

    d.addCallback(adds)
    d.addCallback(lambda _: order.append("was there"))
    d.callback(None)
    assert order == ["adds", "after adding", "was there", "added"]


def test_firing_another_inside_callback_is_immediate(defer):
    order = []
    other = defer.Deferred().addCallback(lambda _: order.append("other"))
    d = defer.Deferred()
    d.addCallback(lambda _: (order.append("in"), other.callback(1), order.append("out")))
    d.callback(None)
    assert order == ["in", "other", "out"]


def test_result_can_be_assigned(defer):
    d = defer.succeed(1)
    d.result = 2
    assert d.result == 2
    assert outcome(d) == [2]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_callbacks_that_nobody_added(defer):
    d, other = defer.Deferred(), defer.Deferred()
    d.chainDeferred(other)
    gathered = defer.DeferredList([other, d])
    first, second = d.callbacks
    assert first == ((other.callback, (), {}), (other.errback, (), {}))
    assert second == tuple((gathered._cbDeferred, (1, success), {}) for success in (True, False))


def test_callbacks_is_deprecated(defer):
    d = defer.Deferred().addCallback(ignore, 1, key=2)
    d.addBoth(len)
    with pytest.warns(DeprecationWarning) as caught_warnings:
        callbacks = d.callbacks
    [warning] = caught_warnings
    assert str(warning.message) == (
        f"{qual(defer.Deferred)}.callbacks was deprecated in Twisted 25.5.0"
    )
    assert warning.filename == __file__
    assert len(callbacks) == 2
    assert callbacks[0][0] == (ignore, (1,), {"key": 2})
    assert callbacks[1] == ((len, (), {}), (len, (), {}))
    d.callback("abc")
    with pytest.warns(DeprecationWarning):
        assert not d.callbacks
    d.addErrback(ignore)


def test_str_and_repr(defer):
    class Named(defer.Deferred):
        pass

    for cls in (defer.Deferred, Named):
        name = cls.__name__
        d = cls()
        assert str(d) == repr(d) == f"<{name} at 0x{id(d):x}>"
        d.callback({"a": 1})
        assert str(d) == repr(d) == f"<{name} at 0x{id(d):x} current result: {{'a': 1}}>"


def test_repr_while_chained(defer):
    inner = defer.Deferred()
    outer = defer.succeed(None).addCallback(lambda _: inner)
    waiting = f"<Deferred at 0x{id(outer):x} waiting on Deferred at 0x{id(inner):x}>"
    assert repr(outer) == waiting
    inner.callback(1)
    assert normalise(repr(outer)) == "<Deferred at 0x? current result: 1>"
    assert normalise(repr(inner)) == "<Deferred at 0x? current result: None>"


def test_repr_of_failure_result(defer, failure):
    d = defer.fail(ValueError("why"))
    shown = f"<{qual(failure.Failure)} builtins.ValueError: why>"
    assert normalise(repr(d)) == f"<Deferred at 0x? current result: {shown}>"
    d.addErrback(ignore)


# --- chaining --------------------------------------------------------------


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


# --- returning oneself -----------------------------------------------------

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


# --- pausing ---------------------------------------------------------------


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


# --- cancelling ------------------------------------------------------------


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


# --- timeouts --------------------------------------------------------------


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


# --- iteration and await's protocol ----------------------------------------


def test_iteration_yields_itself_until_there_is_a_result(defer):
    d = defer.Deferred()
    for iterator in (iter(d), d.__await__()):
        assert next(iterator) is d
        assert next(iterator) is d
    iterator = iter(d)
    next(iterator)
    d.callback("value")
    with pytest.raises(StopIteration) as stopped:
        next(iterator)
    assert stopped.value.value == "value"
    assert d.result == "value"
    with pytest.raises(StopIteration):
        next(iterator)


def test_iteration_waits_while_paused(defer):
    d = defer.succeed(1)
    d.pause()
    iterator = iter(d)
    assert next(iterator) is d
    d.unpause()
    with pytest.raises(StopIteration):
        next(iterator)


def test_iteration_raises_a_failure(defer, failure, reports):
    error = ValueError()
    d = defer.fail(caught(failure, error))
    with pytest.raises(ValueError) as raised:
        next(iter(d))
    assert raised.value is error
    assert d.result.value is error
    del d, raised
    assert reports.failures() == []


def test_iterator_speaks_the_generator_protocol(defer):
    """`yield from` and `await` pass send, throw and close down to it."""
    d = defer.Deferred()
    iterator = iter(d)
    assert iter(iterator) is iterator
    assert iterator.send(None) is d
    assert iterator.send("ignored") is d
    with pytest.raises(KeyError):
        iterator.throw(KeyError("thrown in"))
    with pytest.raises(StopIteration):
        next(iterator)
    other = d.__await__()
    next(other)
    other.close()
    with pytest.raises(StopIteration):
        next(other)
    d.callback(1)
    assert d.result == 1


def test_await_sees_the_current_result_inside_a_callback(defer):
    d = defer.Deferred()
    seen = []

    def peek(r):
        with pytest.raises(StopIteration) as stopped:
            next(d.__await__())
        seen.append(stopped.value.value)
        return r + 1

    d.addCallback(peek).addCallback(peek)
    d.callback(1)
    assert seen == [1, 2]


# --- classes ---------------------------------------------------------------


def test_subscription(defer):
    assert isinstance(defer.Deferred[int](), defer.Deferred)

    class Sub(defer.Deferred["list[int]"]):
        pass

    assert issubclass(Sub, defer.Deferred)
    assert Sub in defer._DEFERRED_SUBCLASSES
    assert defer.succeed(None).addCallback(lambda _: Sub()).paused == 1


def test_instance_attributes_and_weak_references(defer):
    d = defer.Deferred()
    d.note = "mine"
    assert d.__dict__["note"] == "mine"
    died = []
    reference = weakref.ref(d, died.append)
    assert reference() is d
    del d
    assert reference() is None
    assert died == [reference]


def test_class_is_open(defer, monkeypatch):
    """Test suites patch methods of the class."""
    monkeypatch.setattr(defer.Deferred, "extra", lambda self: "patched", raising=False)
    assert defer.Deferred().extra() == "patched"
    monkeypatch.setattr(defer.Deferred, "__await__", lambda self: iter(()))

    async def waits():
        return await defer.Deferred()

    assert defer.ensureDeferred(waits()).result is None


@pytest.mark.parametrize("order", ["Deferred first", "Deferred last"])
def test_second_base(defer, order):
    class Other:
        tag = "other"

        def __init__(self, *args):
            self.seen = args

    bases = (defer.Deferred, Other) if order == "Deferred first" else None
    bases = bases or (Other, defer.Deferred[object])

    class Both(*bases):
        def __init__(self, a, b):
            defer.Deferred.__init__(self)
            Other.__init__(self, a, b)

    d = Both(1, b=2)
    assert (d.seen, d.tag, d.called) == ((1, 2), "other", False)
    assert outcome(defer.succeed(None).addCallback(lambda _: d)) == []
    d.callback("value")
    assert d.result is None


def test_subclass_overrides(defer):
    """A subclass's method is what the other methods, and others, call."""
    log = []

    class Loud(defer.Deferred):
        def callback(self, result):
            log.append("callback")
            super().callback(result)

        def errback(self, fail=None):
            log.append("errback")
            super().errback(fail)

        def cancel(self):
            log.append("cancel")
            super().cancel()

        def pause(self):
            log.append("pause")
            super().pause()

        def addBoth(self, callback, *args, **kwargs):
            log.append("addBoth")
            return super().addBoth(callback, *args, **kwargs)

        def addCallbacks(self, *args, **kwargs):
            log.append("addCallbacks")
            return super().addCallbacks(*args, **kwargs)

    def logged():
        entries = log[:]
        log.clear()
        return entries

    Loud().chainDeferred(defer.Deferred())
    assert logged() == ["addCallbacks"]
    d = Loud()
    defer.succeed(1).chainDeferred(d)
    assert (logged(), d.result) == (["callback"], 1)
    d = Loud()
    defer.fail(ValueError()).chainDeferred(d)
    assert logged() == ["errback"]
    d.addErrback(ignore)
    d = Loud()
    d.addErrback(ignore)
    d.cancel()
    assert logged() == ["cancel", "errback"]
    clock = Clock()
    d = Loud().addTimeout(1, clock)
    clock.advance(1)
    assert logged() == ["addBoth", "addBoth", "cancel", "errback"]
    d.addErrback(ignore)
    inner = Loud()
    d = Loud().addCallback(lambda _: inner)
    d.callback(None)
    assert logged() == ["callback", "pause"]
    d.cancel()
    assert logged() == ["cancel", "cancel", "errback"]
    d.addErrback(ignore)


def test_subclass_init_may_differ(defer):
    class Strict(defer.Deferred):
        def __init__(self, a, *, b):
            super().__init__(lambda d: d.callback((a, b)))

    d = Strict(1, b=2)
    d.cancel()
    assert d.result == (1, 2)


def test_exceptions_pickle(defer):
    for name in ("AlreadyCalledError", "CancelledError", "TimeoutError"):
        cls = getattr(defer, name)
        assert pickle.loads(pickle.dumps(cls)) is cls
        assert pickle.loads(pickle.dumps(cls("a", 1))).args == ("a", 1)
