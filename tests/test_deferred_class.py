"""Deferreds as objects: iteration, subclasses, references."""

import pickle
import weakref

import pytest
from helpers import caught, ignore, outcome
from twisted.internet.task import Clock


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


def test_an_add_both_that_takes_one_function(defer):
    """No more is given to that of a subclass by `addTimeout`."""
    added = []

    class Sub(defer.Deferred):
        def addBoth(self, callback):
            added.append(callback)
            return super().addBoth(callback)

    clock = Clock()
    d = Sub().addTimeout(1, clock)
    assert len(added) == 2
    clock.advance(1)
    [failed] = outcome(d)
    assert failed.type.__name__ == "TimeoutError"


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


@pytest.mark.parametrize("value", [False, 0, None])
@pytest.mark.parametrize("mixin", [False, True])
@pytest.mark.parametrize("base", ["Deferred", "DeferredList"])
def test_defaults_that_a_subclass_declares(defer, value, mixin, base):
    """As in programs that were written when these were attributes of the class."""
    declared = {"called": value, "paused": value or 0}
    if mixin:
        bases = (type("Mixin", (), declared), getattr(defer, base))
        cls = type("Sub", bases, {})
    else:
        cls = type("Sub", (getattr(defer, base),), declared)
    sub = type("SubSub", (cls,), {})
    for each in cls, sub:
        d = each([defer.Deferred()]) if base == "DeferredList" else each()
        assert not d.called
        assert not d.paused
        d.pause()
        assert d.paused == 1
        d.callback(1)
        assert d.called is True
        d.unpause()
        assert d.paused == 0
        assert d.called is True
        with pytest.raises(defer.AlreadyCalledError):
            d.callback(2)
