"""Coroutines: `ensureDeferred`, `await`, and nested generators."""

import sys
import sysconfig
import types
from collections.abc import Iterator

import deferrous
import pytest
from generator_helpers import waits_for
from helpers import outcome, shown


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


RESULTS = [None, 0, "text", (), (1, 2), StopIteration(3), KeyError("key"), [], StopIteration]


@pytest.mark.parametrize("watched", ["", "traced", "profiled"])
@pytest.mark.parametrize("result", RESULTS, ids=repr)
def test_awaiting_what_has_a_result(defer, result, watched):
    class Subclass(defer.Deferred):
        pass

    class Own(defer.Deferred):
        def __await__(self):
            return "its own"
            yield

    async def waits(d):
        return await d

    def watch(frame, event, argument):
        frame.f_trace_opcodes = True
        return watch

    def made(cls):
        d = cls()
        d.callback(result)
        return d

    paused = made(defer.Deferred)
    paused.pause()
    several = defer.DeferredList([defer.succeed(result)])
    deferreds = [made(defer.Deferred), made(Subclass), made(Own), several, paused]
    before = sys.gettrace(), sys.getprofile()
    if watched == "traced":
        sys.settrace(watch)
    elif watched == "profiled":
        sys.setprofile(lambda *_: None)
    try:
        # They are awaited twice: their results stay.
        ended = [defer.ensureDeferred(waits(d)) for d in deferreds + deferreds[:-1]]
        paused.unpause()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    expected = [result, result, "its own", [(True, result)], result]
    assert [d.result for d in ended] == expected + expected[:-1]
    assert [d.result for d in deferreds[:-1]] == [result, result, result, [(True, result)]]


def test_awaiting_by_a_replaced_method(defer, monkeypatch):
    async def waits(d):
        return await d

    def awaited(self):
        return "replaced"
        yield

    d = defer.succeed(1)
    assert defer.ensureDeferred(waits(d)).result == 1
    with monkeypatch.context() as patched:
        patched.setattr(defer.Deferred, "__await__", awaited)
        assert defer.ensureDeferred(waits(d)).result == "replaced"
    assert defer.ensureDeferred(waits(d)).result == 1


@pytest.mark.parametrize("fired", [True, False])
def test_a_deferred_is_no_iterator(defer, fired):
    d = defer.succeed(1) if fired else defer.Deferred()
    assert not isinstance(d, Iterator)
    assert not hasattr(d, "__next__") and not hasattr(d, "send")
    assert iter(d) is not d and d.__await__() is not d
    if fired and defer.__name__ == "deferrous":
        # `await` asks it for its result in this way.
        with pytest.raises(StopIteration) as stopped:
            next(d)
        assert stopped.value.value == 1
    else:
        with pytest.raises(TypeError, match=r"^'Deferred' object is not an iterator$"):
            next(d)


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


class FiredAsItIsYielded:
    """What another thread may do: a Deferred is fired after its `await` has looked at it."""

    def __init__(self, deferred):
        self.deferred = deferred

    def __await__(self):
        waiting = self.deferred.__await__()
        yielded = next(waiting)
        self.deferred.callback("fired")
        yield yielded
        return (yield from waiting)


class Subclass(deferrous.Deferred):
    pass


class Adding(deferrous.Deferred):
    def addBoth(self, callback, *args, **kwargs):
        return super().addBoth(callback, *args, **kwargs)


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="only another thread does this"
)
@pytest.mark.parametrize("kind", [deferrous.Deferred, Subclass, Adding])
def test_a_deferred_that_is_fired_as_its_await_yields_it_has_its_result(kind):
    async def coroutine(d):
        return await FiredAsItIsYielded(d)

    @deferrous.inlineCallbacks
    def generator(d):
        return (yield from FiredAsItIsYielded(d).__await__())

    for function in (lambda d: deferrous.ensureDeferred(coroutine(d)), generator):
        deferred = kind()
        assert outcome(function(deferred)) == outcome(deferrous.succeed("fired"))
        assert deferred.result is None
