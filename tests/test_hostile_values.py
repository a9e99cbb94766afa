"""Values whose classes, comparisons and finalizers misbehave."""

import gc
import sys
import weakref

import pytest
from deferrous import Deferred
from helpers import Recorder, ignore, raiser


class Hostile:
    """Answers every question that should not be asked with an error."""

    def _refuse(self, *_):
        raise AssertionError("looked at")

    __eq__ = __ne__ = __bool__ = __len__ = __hash__ = __call__ = _refuse
    __getattr__ = __iter__ = __str__ = __repr__ = _refuse


def test_values_are_not_looked_at(defer):
    value = Hostile()
    recorder = []
    d = defer.Deferred()
    d.addCallback(lambda r: recorder.append(r) or r)
    d.addErrback(raiser(AssertionError()))
    d.callback(value)
    assert recorder[0] is value
    assert d.result is value
    outer = defer.succeed(None).addCallback(lambda _: d)
    assert outer.result is value

    @defer.inlineCallbacks
    def function():
        result = yield outer
        return result

    assert function().result is value
    assert defer.maybeDeferred(lambda: value).result is value
    with pytest.raises(AssertionError):
        repr(defer.succeed(value))


def test_class_that_lies_about_being_a_failure(defer, failure):
    """`isinstance` believes it, and so does a Deferred."""

    class Liar:
        __class__ = failure.Failure

        def throwExceptionIntoGenerator(self, g):
            return g.throw(ValueError("thrown"))

    liar = Liar()
    recorder = Recorder("handled")
    d = defer.Deferred().addCallbacks(raiser(AssertionError()), recorder)
    d.callback(liar)
    assert recorder.calls == [liar]

    @defer.inlineCallbacks
    def function(d):
        try:
            yield d
        except ValueError as e:
            return str(e)

    assert function(defer.succeed(liar)).result == "thrown"


def test_class_that_lies_about_being_a_deferred(defer):
    """What is waited for is told by its true type."""

    class Liar:
        __class__ = defer.Deferred

    liar = Liar()
    assert defer.succeed(None).addCallback(lambda _: liar).result is liar


def test_class_lookup_that_raises(defer):
    """The question "is it a failure?" has an error for an answer."""

    class Broken:
        @property
        def __class__(self):
            raise ValueError("no class")

    d = defer.Deferred()
    with pytest.raises(ValueError, match="no class"):
        d.callback(Broken())
    assert d.called


def test_class_lookup_that_reenters(defer):
    """In which order they then run is nobody's promise, but each runs once."""

    class Reentrant:
        asked = False

        @property
        def __class__(self):
            if not self.asked:
                self.asked = True
                d.addCallback(added)
            return object

    first, added = Recorder(), Recorder()
    d = defer.Deferred().addCallback(first)
    d.callback(Reentrant())
    assert len(first.calls) == len(added.calls) == 1


@pytest.mark.parametrize("where", ["result", "argument", "callback", "canceller"])
def test_destructor_that_reenters(defer, where):
    """Things are dropped only when the Deferred is in order again."""

    class Reenters:
        def __call__(self, *_):
            return "called"

        def __del__(self):
            log.append((d.called, hasattr(d, "result")))
            try:
                d.addCallback(lambda r: log.append("added") or r)
            except AttributeError:
                # Twisted drops the canceller just before it sets the result.
                pass
            d.pause()
            repr(d)

    log = []
    d = defer.Deferred(Reenters() if where == "canceller" else None)
    if where == "argument":
        d.addCallback(lambda r, _: r, Reenters())
    elif where == "callback":
        d.addCallback(Reenters())
    d.addCallback(lambda r: None)
    d.callback(Reenters() if where == "result" else 1)
    gc.collect()
    # What is added while the Deferred is between two steps may wait for the
    # next one, and so may what its pause kept.
    d.unpause()
    d.addErrback(ignore)
    assert log[0][0] is True
    assert log.count("added") == 1


def test_destructor_that_fires_another(defer):
    class Fires:
        def __del__(self):
            other.callback("from a destructor")

    other = defer.Deferred()
    recorder = Recorder()
    other.addCallback(recorder)
    d = defer.Deferred().addCallback(lambda _: None)
    d.callback(Fires())
    gc.collect()
    assert recorder.calls == ["from a destructor"]
    assert d.result is None


def test_destructor_that_raises(defer):
    class Raises:
        def __del__(self):
            raise ValueError("ignored by the interpreter")

    seen = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda u: seen.append(u.exc_type)
    try:
        d = defer.Deferred().addCallback(lambda _: 1)
        d.callback(Raises())
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert d.result == 1
    assert seen == [ValueError]


def test_type_comparison_that_raises(defer):
    """A metaclass that cannot be compared does not get in the way for long."""

    class Meta(type):
        def __eq__(cls, other):
            raise ValueError("not comparable")

        __hash__ = type.__hash__

    class Odd(metaclass=Meta):
        pass

    value = Odd()
    d = defer.Deferred()
    try:
        d.addCallback(lambda _: value)
        d.callback(None)
    except ValueError:
        pass
    assert d.called


def test_failure_subclass_that_breaks_init(defer, failure):
    class Broken(failure.Failure):
        def __init__(self):
            """Leaves everything out."""

    recorder = Recorder(None)
    broken = Broken()
    defer.succeed(None).addCallback(lambda _: broken).addErrback(recorder)
    assert recorder.calls == [broken]


class TakesTheDictAway:
    """A key of an instance's dict that replaces the dict when another key is looked for."""

    def __init__(self, name, owner):
        self.name, self.owner = name, owner
        self.is_kept = []

    def __hash__(self):
        return hash(self.name)

    def __eq__(self, other):
        self.owner.__dict__ = {}
        self.is_kept.append(self.value() is not None)
        return False


@pytest.mark.deferrous_only
@pytest.mark.parametrize("name", ["debug", "callback", "_debugInfo"])
@pytest.mark.parametrize("use", ["callback", "errback", "cancel"])
@pytest.mark.parametrize("subclassed", [False, True])
def test_key_that_takes_the_dict_away_while_it_is_looked_at(subclassed, use, name):
    """Who looks for a key keeps the dict meanwhile: the look-up goes on in it."""

    class Sub(Deferred):
        pass

    d = Sub() if subclassed else Deferred()
    key, value = TakesTheDictAway(name, d), Recorder()
    key.value = weakref.ref(value)
    d.__dict__[key] = value
    del value
    args = {"callback": [None], "errback": [ValueError()], "cancel": []}[use]
    getattr(d, use)(*args)
    d.addErrback(ignore)
    assert all(key.is_kept)
    assert key.is_kept or name != "debug"
