"""The state that a Deferred shows, and when."""

import copy
import gc
import pickle
import sys
import sysconfig
import weakref
from unittest import mock

import pytest
from deferred_helpers import snapshot
from helpers import ignore, normalise, outcome, qual, run_script


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
@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="without the GIL, the interpreter would read it during a transition",
)
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


@pytest.mark.parametrize("length", [1, 150, 255, 300, 5000])
@pytest.mark.parametrize("letter", ["a", "ä", "日", "\U0001f40d", "\udc80"], ids=ascii)
def test_str_of_any_letters(defer, letter, length):
    class Shown:
        def __repr__(self):
            return letter * length

    name = "D" if letter == "\udc80" else f"D{letter}" if letter.isidentifier() else "D"
    d = type(name, (defer.Deferred,), {})()
    d.callback(Shown())
    assert str(d) == f"<{name} at 0x{id(d):x} current result: {letter * length}>"


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
