"""Twisted's own Deferreds and ours in one program, without `install()`."""

from __future__ import annotations

import traceback

import deferrous as ours
import pytest
from deferrous.failure import Failure as OurFailure
from helpers import outcome
from twisted.internet import defer as theirs
from twisted.python.failure import Failure as TheirFailure

pytestmark = pytest.mark.deferrous_only


class Custom(Exception):
    pass


def boom():
    raise Custom("boom")


@ours.inlineCallbacks
def our_generator(deferred):
    return (yield deferred)


async def coroutine(deferred):
    return await deferred


def our_coroutine(deferred):
    return ours.ensureDeferred(coroutine(deferred))


def our_callback(deferred):
    return ours.succeed(None).addCallback(lambda _: deferred)


def our_function(deferred):
    return ours.maybeDeferred(lambda: deferred)


WAYS = [our_generator, our_coroutine, our_callback, our_function]


@pytest.mark.parametrize("way", WAYS)
def test_their_result(way):
    assert outcome(way(theirs.succeed(1))) == [1]
    d = theirs.Deferred()
    results = outcome(way(d))
    assert results == []
    d.callback(2)
    assert results == [2]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fired", [True, False])
def test_their_failure(way, fired, reports):
    """Value, type and traceback are kept when it is converted into our Failure."""
    source = theirs.execute(boom) if fired else theirs.Deferred()
    results = outcome(way(source))
    if not fired:
        try:
            boom()
        except Custom:
            source.errback()
    [failure] = results
    assert type(failure) is OurFailure
    assert failure.type is Custom
    assert failure.check(Custom) is Custom
    assert str(failure.value) == "boom"
    assert "boom" in [frame.name for frame in traceback.extract_tb(failure.tb)]
    del results, failure, source
    assert reports.failures() == []


@pytest.mark.parametrize("way", WAYS)
def test_cancel_reaches_theirs(way):
    cancelled = []
    d = theirs.Deferred(cancelled.append)
    waiting = way(d)
    results = outcome(waiting)
    waiting.cancel()
    assert cancelled == [d]
    assert results[0].type is theirs.CancelledError


def test_their_failure_as_ours():
    for give in (
        lambda failure: ours.succeed(None).addCallback(lambda _: failure),
        ours.fail,
        lambda failure: ours.execute(lambda: failure),
        lambda failure: ours.maybeDeferred(lambda: failure),
    ):
        [failure] = outcome(give(TheirFailure(Custom("x"))))
        assert type(failure) is OurFailure
        assert failure.type is Custom
    d = ours.Deferred()
    results = outcome(d)
    d.errback(TheirFailure(Custom("x")))
    assert type(results[0]) is OurFailure


def test_gathered():
    assert outcome(ours.gatherResults([theirs.succeed(1), ours.succeed(2)])) == [[1, 2]]
    gathered = ours.DeferredList([theirs.fail(Custom(1)), ours.succeed(2)], consumeErrors=True)
    (failed, failure), succeeded = gathered.result
    assert (failed, succeeded) == (False, (True, 2))
    assert type(failure) is OurFailure
    d = theirs.Deferred()
    assert outcome(ours.race([d, ours.succeed("ours")])) == [(1, "ours")]
    assert d.called


def test_callback_with_theirs_is_a_value():
    """As one of our own, it is only waited for where it is returned."""
    d = theirs.Deferred()
    assert ours.succeed(d).result is d


def test_subclass_of_theirs():
    class Sub(theirs.Deferred):
        pass

    d = Sub()
    results = outcome(our_generator(d))
    d.callback("sub")
    assert results == ["sub"]


def test_ours_awaited_in_theirs():
    d = ours.Deferred()
    waiting = theirs.ensureDeferred(coroutine(d))
    assert not waiting.called
    d.callback("ours")
    assert waiting.result == "ours"


def test_our_failure_in_theirs(reports):
    d = ours.Deferred()
    results = []
    theirs.ensureDeferred(coroutine(d)).addErrback(results.append)
    try:
        boom()
    except Custom:
        d.errback()
    [failure] = results
    assert type(failure) is TheirFailure
    assert failure.type is Custom
    assert "boom" in [frame.name for frame in traceback.extract_tb(failure.tb)]
    del d, results, failure
    assert reports.failures() == []


def test_cancel_of_theirs_reaches_ours():
    cancelled = []
    d = ours.Deferred(cancelled.append)
    waiting = theirs.ensureDeferred(coroutine(d))
    waiting.addErrback(lambda failure: failure.type)
    waiting.cancel()
    assert cancelled == [d]
    assert waiting.result is ours.CancelledError


def test_ours_in_theirs_in_ours():
    async def middle(d):
        return await theirs.ensureDeferred(coroutine(d))

    d = ours.Deferred()
    results = outcome(ours.ensureDeferred(middle(d)))
    d.callback("deep")
    assert results == ["deep"]


def test_ours_in_ours_in_theirs():
    async def middle(d):
        return await ours.ensureDeferred(coroutine(d))

    d = ours.Deferred()
    waiting = theirs.ensureDeferred(middle(d))
    d.callback("deep")
    assert waiting.result == "deep"
