"""The call graph of Deferreds that callbacks of others will fire: either leads to the other."""

import asyncio
import functools
import itertools

import deferrous as defer
import pytest
import twisted.internet.defer
from call_graph_helpers import awaited_by, graph, waits_for
from deferrous import concurrency

pytestmark = pytest.mark.deferrous_only


class Derived(defer.Deferred):
    pass


class WithItsOwnCallback(defer.Deferred):
    def callback(self, result):
        super().callback(result)


class WithItsOwnChain(defer.Deferred):
    def chainDeferred(self, d):
        return self.addCallbacks(d.callback, d.errback)


async def never():
    await defer.Deferred()


def of_a_lock():
    lock = defer.DeferredLock()
    lock.acquire()
    return lock.acquire()


def of_one_that_waits():
    d = defer.succeed(1)
    d.addCallback(lambda _: defer.Deferred())
    return d


def paused():
    d = defer.Deferred()
    d.pause()
    d.callback(1)
    return d


FIRST = {
    "a Deferred": defer.Deferred,
    "a subclass": Derived,
    "a list": lambda: defer.gatherResults([defer.Deferred()]),
    "a race": lambda: defer.race([defer.Deferred(), defer.Deferred()]),
    "a coroutine": lambda: defer.ensureDeferred(never()),
    "a place in line": of_a_lock,
    "one that waits": of_one_that_waits,
    "a paused one": paused,
    "a class with a chainDeferred of its own": WithItsOwnChain,
    "one of Twisted's own": twisted.internet.defer.Deferred,
}

SECOND = {
    "a Deferred": defer.Deferred,
    "a subclass": Derived,
    "a class with a callback of its own": WithItsOwnCallback,
    "one of Twisted's own": twisted.internet.defer.Deferred,
}

WAYS = {
    "chainDeferred": lambda a, b: a.chainDeferred(b),
    "callback": lambda a, b: a.addCallback(b.callback),
    "errback": lambda a, b: a.addErrback(b.errback),
    "both": lambda a, b: a.addBoth(b.callback),
    "two callbacks": lambda a, b: a.addCallbacks(b.callback, b.errback),
    "after others": lambda a, b: a.addCallback(str).addErrback(print).addCallback(b.callback),
    "a partial object": lambda a, b: a.addCallback(functools.partial(b.callback)),
    "a partial of the function": lambda a, b: a.addBoth(functools.partial(type(b).callback, b)),
    "in a context": lambda a, b: a.addCallback(concurrency.in_context(b.callback)),
}


@pytest.mark.parametrize(
    ("first", "second"),
    [(first, "a Deferred") for first in FIRST] + [("a Deferred", second) for second in SECOND],
)
@pytest.mark.parametrize("way", WAYS)
def test_both_ways(way, first, second):
    one, other = FIRST[first](), SECOND[second]()
    if way == "chainDeferred" and "Twisted" in first + second:
        pytest.skip("each takes only its own")
    WAYS[way](one, other)
    assert any(each is other for each in awaited_by(graph(one)))
    assert waits_for(graph(other)) == [one]
    assert graph(other).waits_for[0].awaited_by == ()
    assert graph(other).cycles == ()


def test_futures():
    async def main():
        loop = asyncio.get_running_loop()
        future, d = loop.create_future(), defer.Deferred()
        future.add_done_callback(d.callback)
        assert awaited_by(graph(future)) == [d]
        assert waits_for(graph(d)) == [future]
        other = loop.create_future()
        d.addCallback(other.set_result)
        assert awaited_by(graph(d)) == [other]
        assert waits_for(graph(other)) == [d]

    asyncio.run(main())


def test_a_row_of_them():
    row = [defer.Deferred() for _ in range(6)]
    for one, other in itertools.pairwise(row):
        one.addBoth(other.callback)
    found = graph(row[-1])
    for each in reversed(row[:-1]):
        (found,) = found.waits_for
        assert found.future is each


def test_many_that_may_fire_one():
    first, d = [defer.Deferred() for _ in range(40)], defer.Deferred()
    for each in first:
        each.addCallback(d.callback)
    found = graph(d)
    assert 0 < len(found.waits_for) < 10
    assert len(found.waits_for) + found._node.waits_for_more == 40


def test_what_a_coroutine_waits_for_is_fired_by_another():
    answer, asked = defer.Deferred(), defer.Deferred()
    asked.addCallback(answer.callback)

    async def main():
        await answer

    d = defer.ensureDeferred(main())
    text = str(graph(d))
    assert f"a callback of: <Deferred at {id(asked):#x}> has not been fired" in text
    asked.callback(None)
    assert d.called


def test_two_that_fire_each_other_are_not_stuck():
    """Whoever has hold of one of them may fire it."""
    one, other = defer.Deferred(), defer.Deferred()
    one.addCallback(other.callback)
    other.addErrback(one.errback)
    text = str(graph(one))
    assert "wait for each other, unless something else comes first" in text
    assert defer.deadlocks() == []
    one.callback(1)
    assert other.called


def test_one_that_was_not_called_has_returned_nothing():
    one, other = defer.Deferred(), defer.Deferred()
    one.chainDeferred(other)
    assert graph(other).detail == "waits for a Deferred that will fire it"
    waits = [each.waits for each in defer.pending().deferreds] or list(defer.pending()._counts)
    assert "Deferred: waits for a Deferred that will fire it" in waits
    one.callback(1)
    assert other.called


def test_that_changes_nothing():
    one, other = defer.Deferred(), defer.Deferred()
    one.addCallback(other.callback)
    before = repr(one), repr(other)
    graph(other)
    assert (repr(one), repr(other)) == before
    one.callback(5)
    assert other.result == 5
