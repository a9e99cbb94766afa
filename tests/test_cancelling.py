"""Timeouts whose cancellers raise; cancelling a fired Deferred that waits for another."""

import asyncio
import concurrent.futures

import pytest
from helpers import ignore, outcome, raiser
from twisted.internet.task import Clock

CANCELLER_TEXT = "Exception raised from user supplied canceller"


class Broken(Exception):
    """What cancellers raise here."""


def forms(defer):
    """Deferreds of every kind that are waiting for one whose canceller raises, and that one."""
    inner = defer.Deferred(raiser(Broken()))

    @defer.inlineCallbacks
    def generator():
        return (yield inner)

    async def coroutine():
        return await inner

    class Sub(defer.Deferred):
        pass

    class CancelRaises(defer.Deferred):
        def cancel(self):
            raise Broken

    yield "the Deferred itself", inner
    inner = defer.Deferred(raiser(Broken()))
    yield "returned by a callback", defer.succeed(None).addCallback(lambda _: inner)
    inner = defer.Deferred(raiser(Broken()))
    yield "a generator", generator()
    inner = defer.Deferred(raiser(Broken()))
    yield "a coroutine", defer.ensureDeferred(coroutine())
    inner = defer.Deferred(raiser(Broken()))
    yield "a generator in a coroutine", defer.ensureDeferred(defer_of(generator()))
    inner = defer.Deferred(raiser(Broken()))
    yield "a subclass", Sub(raiser(Broken()))
    yield "a cancel that raises", CancelRaises()
    yield (
        "a cancel that raises, returned by a callback",
        defer.succeed(None).addCallback(lambda _: CancelRaises()),
    )


async def defer_of(deferred):
    return await deferred


KINDS = [
    "the Deferred itself",
    "returned by a callback",
    "a generator",
    "a coroutine",
    "a generator in a coroutine",
    "a subclass",
    "a cancel that raises",
    "a cancel that raises, returned by a callback",
]


@pytest.fixture
def ours(implementation):
    return implementation == "deferrous"


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_timeout_of_a_raising_canceller(defer, kind, reports):
    """The time is over all the same, and the error is reported once."""
    deferred = next(it for name, it in forms(defer) if name == kind)
    clock = Clock()
    results = outcome(deferred.addTimeout(5, clock))
    clock.advance(5)
    assert [failure.type for failure in results] == [defer.TimeoutError]
    assert results[0].value.args == (5, "Deferred")
    assert len(reports.values()) == 1
    assert isinstance(reports.values()[0], Broken)
    assert CANCELLER_TEXT in [event.get("log_format") for event in reports.events]


def gathered(defer):
    """Ways to make one of several Deferreds."""
    yield "list", lambda one: defer.DeferredList([one, defer.succeed(1)], consumeErrors=True)
    yield "results", lambda one: defer.gatherResults([defer.Deferred(), one], consumeErrors=True)
    yield "race", lambda one: defer.race([one])
    yield (
        "nested",
        lambda one: defer.gatherResults([defer.DeferredList([one], consumeErrors=True)]),
    )
    yield "in a generator", lambda one: generator_of(defer, defer.DeferredList([one]))


def generator_of(defer, deferred):
    @defer.inlineCallbacks
    def generator():
        return (yield deferred)

    return generator()


class _Task:
    """A program's canceller whose class has the same name as one of ours."""

    def __call__(self, deferred):
        raise Broken


class _Race(_Task):
    pass


@pytest.mark.parametrize("way", ["list", "results", "race", "nested", "in a generator"])
@pytest.mark.parametrize("what", ["cancel", "own cancel", "interrupted", _Task, _Race])
@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
def test_timeout_of_several(defer, way, what, reports):
    """Whatever is wrong with one of them, there is an end to it."""
    interrupted = what == "interrupted"

    class Sub(defer.Deferred):
        def cancel(self):
            raise KeyboardInterrupt if interrupted else Broken

    if isinstance(what, type):
        one = defer.Deferred(what())
    elif what == "own cancel":
        one = defer.Deferred()
        one.cancel = raiser(Broken())
    else:
        one = Sub()
    make = dict(gathered(defer))[way]
    clock = Clock()
    results = outcome(make(one).addTimeout(1, clock))
    one.addErrback(ignore)
    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            clock.advance(1)
    else:
        clock.advance(1)
    assert len(results) == 1
    assert one.called or way == "race"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("way", ["plain", "generator", "chained", "a cancel", "results"])
@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
def test_timeout_that_is_interrupted(defer, error, way, reports):
    """The time is over, and what is no Exception comes out of the clock."""

    class CancelRaises(defer.Deferred):
        def cancel(self):
            raise error

    deferred = defer.Deferred(raiser(error()))
    if way == "generator":
        deferred = generator_of(defer, deferred)
    elif way == "chained":
        inner = deferred
        deferred = defer.succeed(None).addCallback(lambda _: inner)
    elif way == "a cancel":
        deferred = CancelRaises()
    elif way == "results":
        deferred = defer.gatherResults([deferred, defer.Deferred()], consumeErrors=True)
    clock = Clock()
    results = outcome(deferred.addTimeout(5, clock))
    with pytest.raises(error):
        clock.advance(5)
    (result,) = results
    assert result.check(defer.TimeoutError, defer.FirstError)
    assert reports.values() == []


def test_a_cancel_that_does_nothing(defer):
    """It is meant so: there is no timeout then, as with Twisted."""

    class Shielded(defer.Deferred):
        def cancel(self):
            pass

    for make in [lambda one: one, lambda one: defer.gatherResults([one])]:
        clock, one = Clock(), Shielded()
        results = outcome(make(one).addTimeout(1, clock))
        clock.advance(1)
        assert results == []
        one.callback(1)
        assert results in ([1], [[1]])


def test_making_the_timeout_error_fails(defer, failure, monkeypatch):
    """The error comes out of the clock, and the chain can go on."""
    made = []
    initialize = failure.Failure.__init__

    def init(self, *args, **kwargs):
        made.append(self)
        if len(made) == 2:
            raise MemoryError("no room")
        initialize(self, *args, **kwargs)

    monkeypatch.setattr(failure.Failure, "__init__", init)
    clock = Clock()
    deferred = defer.Deferred().addTimeout(1, clock)
    results = outcome(deferred)
    with pytest.raises(MemoryError, match="no room"):
        clock.advance(1)
    assert results == []
    assert deferred.called
    deferred.addBoth(lambda result: result)
    assert [each.type for each in results] == [defer.CancelledError]


def test_with_twisted_it_never_fires(defer, ours, reports):
    clock = Clock()
    results = outcome(defer.Deferred(raiser(Broken())).addTimeout(5, clock))
    if ours:
        clock.advance(5)
        assert results[0].check(defer.TimeoutError)
    else:
        with pytest.raises(Broken):
            clock.advance(5)
        assert results == []


def test_cancel_itself_still_raises(defer):
    deferred = defer.Deferred(raiser(Broken()))
    results = outcome(deferred)
    with pytest.raises(Broken):
        deferred.cancel()
    assert results == []


def test_timeouts_of_a_generator_clean_up(defer, ours, reports):
    """The generator is told, too, if only here."""
    seen = []

    @defer.inlineCallbacks
    def waits():
        try:
            yield defer.Deferred(raiser(Broken()))
        except defer.CancelledError:
            seen.append("cancelled")
            raise

    clock = Clock()
    results = outcome(waits().addTimeout(1, clock))
    clock.advance(1)
    assert results[0].type is (defer.TimeoutError if ours else Broken)
    assert seen == (["cancelled"] if ours else [])


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
def test_timeout_of_a_list(defer, reports):
    """Also of a list in a list, whose `cancel` does not raise at all."""
    cancelled = []
    plain = defer.Deferred(cancelled.append)
    inner = [defer.Deferred(raiser(Broken())), plain]
    last = defer.Deferred(raiser(Broken()))
    both = defer.DeferredList([defer.DeferredList(inner, consumeErrors=True), last])
    clock = Clock()
    results = outcome(both.addTimeout(1, clock))
    last.addErrback(ignore)
    clock.advance(1)
    ((first, second),) = results
    assert [failure.type for _, failure in first[1]] == [defer.CancelledError] * 2
    assert second[1].type is defer.CancelledError
    assert cancelled == [plain]
    assert [type(value) for value in reports.values()] == [Broken, Broken]


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
@pytest.mark.parametrize("raises", [False, True])
def test_timeout_of_a_race(defer, reports, raises):
    """It is cancelled as a race is whose cancellers do not raise."""
    cancelled = []
    canceller = raiser(Broken()) if raises else None
    one, two = defer.Deferred(canceller), defer.Deferred(cancelled.append)
    clock = Clock()
    results = outcome(defer.race([one, two]).addTimeout(1, clock))
    clock.advance(1)
    assert [failure.type for failure in results] == [defer.FailureGroup]
    assert [each.type for each in results[0].value.failures] == [defer.CancelledError] * 2
    assert cancelled == [two]
    assert [type(value) for value in reports.values()] == [Broken] * raises


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
def test_late_result_after_a_raising_canceller(defer, reports):
    """It is ignored, once, as after cancelling what has no canceller."""
    deferred = defer.Deferred(raiser(Broken()))
    clock = Clock()
    results = outcome(deferred.addTimeout(1, clock))
    clock.advance(1)
    deferred.callback("late")
    with pytest.raises(defer.AlreadyCalledError):
        deferred.callback("later")
    assert len(results) == 1


def test_canceller_that_fires_and_raises(defer, ours, reports):
    def cancel(deferred):
        deferred.callback("fired")
        raise Broken

    clock = Clock()
    results = outcome(defer.Deferred(cancel).addTimeout(1, clock))
    if ours:
        clock.advance(1)
        assert [type(value) for value in reports.values()] == [Broken]
    else:
        with pytest.raises(Broken):
            clock.advance(1)
    assert results == ["fired"]


def test_on_timeout_cancel_gets_the_cancelled_error(defer, ours, reports):
    calls = []
    clock = Clock()
    deferred = defer.Deferred(raiser(Broken()))
    deferred.addTimeout(1, clock, lambda result, seconds: calls.append((result.type, seconds)))
    if ours:
        clock.advance(1)
        assert calls == [(defer.CancelledError, 1)]


def test_canceller_is_put_back(defer):
    """After a timeout that did not fire the Deferred, here for a `cancel` that does nothing."""

    class Stubborn(defer.Deferred):
        def cancel(self):
            pass

    deferred, clock = Stubborn(ignore), Clock()
    deferred.addTimeout(1, clock)
    clock.advance(1)
    assert (deferred.called, deferred._canceller) == (False, ignore)


@pytest.mark.parametrize("kind", ["asyncio", "task", "concurrent"])
def test_timeout_of_a_future(defer, ours, kind):
    """The future's CancelledError becomes a TimeoutError, too; with Twisted, it stays."""

    async def main():
        loop = asyncio.get_running_loop()
        if kind == "task":
            future = loop.create_task(asyncio.sleep(1000))
        elif kind == "asyncio":
            future = loop.create_future()
        else:
            future = concurrent.futures.Future()
            future.set_running_or_notify_cancel()
            future.set_exception(concurrent.futures.CancelledError())
            deferred, clock = defer.Deferred(), Clock()
            deferred.addBoth(lambda _: defer.Deferred.fromFuture(future))
        if kind != "concurrent":
            deferred, clock = defer.Deferred.fromFuture(future), Clock()
        results = outcome(deferred.addTimeout(1, clock))
        clock.advance(1)
        for _ in range(5):
            await asyncio.sleep(0)
        return results

    results = asyncio.run(main())
    assert [failure.type for failure in results] == (
        [defer.TimeoutError]
        if ours
        else [concurrent.futures.CancelledError if kind == "concurrent" else asyncio.CancelledError]
    )


def test_cancelled_before_the_time_is_up(defer):
    """That is no timeout."""

    async def main():
        deferred = defer.Deferred.fromFuture(asyncio.get_running_loop().create_future())
        results = outcome(deferred.addTimeout(1, Clock()))
        deferred.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return results

    assert asyncio.run(main())[0].type is asyncio.CancelledError
