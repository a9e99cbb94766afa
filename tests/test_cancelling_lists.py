"""Cancelling lists of Deferreds, even lists that wait for themselves."""

import pytest
from helpers import ignore, outcome

MAKERS = {
    "DeferredList": lambda defer: defer.DeferredList([defer.succeed(1)]),
    "empty DeferredList": lambda defer: defer.DeferredList([]),
    "gatherResults": lambda defer: defer.gatherResults([defer.succeed(1)]),
    "race": lambda defer: defer.race([defer.succeed(1)]),
    "inlineCallbacks": lambda defer: defer.inlineCallbacks(
        lambda: (value for value in [defer.succeed(1)])
    )(),
    "maybeDeferred": lambda defer: defer.maybeDeferred(ignore, 1),
    "lock": lambda defer: defer.DeferredLock().acquire(),
    "queue": lambda defer: defer.DeferredQueue().get(),
    "run": lambda defer: defer.DeferredLock().run(ignore, 1),
}


@pytest.fixture
def ours(implementation):
    return implementation == "deferrous"


@pytest.mark.parametrize("maker", MAKERS)
def test_cancelling_what_a_callback_of_it_returned(defer, ours, maker):
    """With Twisted, a list ignores that."""
    cancelled = []
    inner = defer.Deferred(cancelled.append)
    deferred = MAKERS[maker](defer).addCallback(lambda _: inner)
    if not deferred.called:
        deferred.callback(1)
    results = outcome(deferred)
    deferred.cancel()
    if ours or maker not in ("DeferredList", "empty DeferredList", "gatherResults"):
        assert cancelled == [inner]
        assert [failure.type for failure in results] == [defer.CancelledError]
    else:
        assert (cancelled, results) == ([], [])
    deferred.cancel()


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
def test_lists_in_the_way(defer):
    """A list that waits for a list that waits for a Deferred."""
    cancelled = []
    inner = defer.Deferred(cancelled.append)
    last = inner
    for _ in range(10_000):
        last = defer.DeferredList([]).addCallback(lambda _, last=last: last)
    results = outcome(last)
    last.cancel()
    assert cancelled == [inner]
    assert [failure.type for failure in results] == [defer.CancelledError]


@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
def test_list_that_waits_for_itself(defer):
    deferred = defer.Deferred().addCallback(lambda _: everything)
    everything = defer.DeferredList([]).addCallback(lambda _: deferred)
    deferred.callback(None)
    for each in (everything, deferred):
        with pytest.raises(RecursionError):
            each.cancel()


def test_list_that_waits_for_a_list_that_has_not_fired(defer, ours):
    inner = [defer.Deferred(), defer.Deferred()]
    waits_for = defer.DeferredList(inner, consumeErrors=True)
    everything = defer.DeferredList([]).addCallback(lambda _: waits_for)
    everything.cancel()
    assert [each.called for each in inner] == [ours, ours]


def test_subclass_of_a_list(defer):
    """One with a `cancel` of its own is asked by that."""
    asked = []

    class Sub(defer.DeferredList):
        def cancel(self):
            asked.append(self)
            super().cancel()

    inner = defer.Deferred()
    fired = Sub([]).addCallback(lambda _: inner)
    outer = defer.succeed(None).addCallback(lambda _: fired)
    outer.cancel()
    assert asked == [fired]


@pytest.mark.parametrize("named", [{"errbackArgs": (1,)}, {"errbackKeywords": {"a": 1}}])
def test_arguments_for_an_errback_that_is_not_there(defer, named):
    """The pass-through is called with them, as it is with results."""
    fired = defer.Deferred()
    fired.addCallbacks(lambda result: result, **named)
    results = outcome(fired)
    fired.errback(ValueError())
    assert results[0].type is TypeError
    assert isinstance(results[0].value.__context__, (ValueError, type(None)))
    assert "_failthru" in str(results[0].value)
    fired = defer.Deferred().addCallbacks(lambda result: result, **named)
    results = outcome(fired)
    fired.callback(1)
    assert results == [1]


@pytest.mark.parametrize("named", [{"errbackArgs": ()}, {"errbackKeywords": {}}])
def test_no_arguments_for_an_errback_that_is_not_there(defer, named):
    deferred = defer.fail(ValueError()).addCallbacks(ignore, **named)
    assert outcome(deferred)[0].type is ValueError
    assert outcome(defer.fail(KeyError()).addCallbacks(ignore, None, None, None, None))


def ring(defer, lists, width, make):
    """Lists whose Deferreds all wait for the next list; those of the last, for the first."""
    made = []
    for i in range(lists):
        waiting = [defer.Deferred() for _ in range(width)]
        for each in waiting:
            each.addCallback(lambda _, i=i: made[(i + 1) % lists])
        made.append(make(waiting))
        yield waiting, made[-1]


@pytest.mark.parametrize("lists", [1, 2, 3, 10])
@pytest.mark.parametrize("width", [1, 2, 7])
@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("implementation", ["deferrous"], indirect=True)
def test_lists_that_wait_for_each_other(defer, lists, width, others, reports):
    """Cancelling one ends, and is told of not without end. With Twisted, it does not end."""
    cancelled = []

    def make(waiting):
        more = [defer.Deferred(cancelled.append) for _ in range(others)]
        return defer.DeferredList([*waiting, *more], consumeErrors=True)

    parts = list(ring(defer, lists, width, make))
    for waiting, _ in parts:
        for each in waiting:
            each.callback(None)
    parts[0][1].cancel()
    assert 1 <= len(reports.failures()) <= 100 * lists * width
    assert {type(value) for value in reports.values()} == {RecursionError}
    # What is not part of the ring is cancelled all the same.
    assert len(cancelled) == others * lists
    if not others:
        # It can be tried again, with the same end.
        del reports.events[:]
        parts[-1][1].cancel()
        assert 1 <= len(reports.failures()) <= 100 * lists * width
