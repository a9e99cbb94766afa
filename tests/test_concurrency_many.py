"""`deferrous.concurrency`: `gather`, `wait`, `as_completed`, `map`, `stream`."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import weakref

import deferrous as defer
import pytest
from concurrency_helpers import awaited
from deferrous import Deferred, ensureDeferred, fail, succeed
from deferrous import concurrency as c
from deferrous.concurrency.watching import _watch_of, _watches
from deferrous.testing import Clock, assertNoResult, failureResultOf, successResultOf
from interrupted_helpers import check_on_any_line

pytestmark = pytest.mark.deferrous_only


def test_gather(reports):
    assert successResultOf(c.gather()) == []
    assert successResultOf(c.gather(succeed(1), awaited(succeed(2)))) == [1, 2]
    other = Deferred()
    d = c.gather(fail(KeyError("first")), other)
    failureResultOf(d, KeyError)
    assert not other.called
    d = c.gather(fail(KeyError()), succeed(2), return_exceptions=True)
    assert [type(each) for each in successResultOf(d)] == [KeyError, int]
    one = succeed(1)
    assert successResultOf(c.gather(one, one)) == [1, 1]
    assert reports.values() == []


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_gather_cancelled(return_exceptions, reports):
    ds = [Deferred(), Deferred()]
    d = c.gather(*ds, return_exceptions=return_exceptions)
    d.cancel()
    failureResultOf(d, defer.CancelledError)
    assert all(each.called for each in ds)
    del ds, d
    assert reports.values() == []


def test_gather_cancels_the_losers(reports):
    slow_end = Deferred()

    async def slow_to_end():
        try:
            await Deferred()
        finally:
            await slow_end

    d = c.gather(first := Deferred(), slow_to_end(), cancel_losers=True)
    first.errback(KeyError("first"))
    assertNoResult(d)
    slow_end.callback(None)
    failureResultOf(d, KeyError)
    assert successResultOf(c.gather(succeed(1), succeed(2), cancel_losers=True)) == [1, 2]
    d = c.gather(Deferred(), Deferred(), cancel_losers=True)
    d.cancel()
    failureResultOf(d, defer.CancelledError)
    assert reports.values() == []


@pytest.mark.parametrize("bad", [5, None, itertools.count(), [1], "text"])
def test_what_cannot_be_waited_for(bad):
    async def coroutine():
        raise AssertionError

    begun = [coroutine(), coroutine()]
    with pytest.raises(TypeError, match=r"is needed|expect"):
        c.gather(begun[0], bad)
    with pytest.raises(TypeError, match=r"is needed|expect"):
        c.wait([begun[1], bad])
    for take in (c.shield, c.delay_cancellation, c.Observable):
        with pytest.raises(TypeError, match="is needed"):
            take(bad)
    with pytest.raises(TypeError, match="is needed"):
        c.wait_for(bad, 1, clock=Clock())


def test_wait_bad_input():
    for none in ([], ()):
        with pytest.raises(ValueError, match="empty"):
            c.wait(none)
    with pytest.raises(ValueError, match="Invalid return_when"):
        c.wait([Deferred()], return_when="SOME")
    for no_list in (Deferred(), 5):
        with pytest.raises(TypeError, match="expect an iterable"):
            c.wait(no_list)
        with pytest.raises(TypeError, match="expect an iterable"):
            c.as_completed(no_list)


def test_wait_leaves_failures_to_their_readers(reports):
    """Also when one is awaited there and then, in the midst of its own callbacks."""
    ds = [Deferred(), Deferred()]

    async def main():
        seen = []
        pending = set(ds)
        while pending:
            done, pending = await c.wait(pending, return_when=c.FIRST_COMPLETED)
            for each in done:
                try:
                    await each
                except KeyError as error:
                    seen.append(error.args[0])
        return seen

    d = ensureDeferred(main())
    for number, each in enumerate(ds):
        each.errback(KeyError(number))
    assert successResultOf(d) == [0, 1]
    ds = each = None
    assert reports.values() == []
    ignored = Deferred()
    waiting = c.wait([ignored])
    ignored.errback(KeyError("nobody"))
    successResultOf(waiting)
    del ignored, waiting
    assert [each.args for each in reports.values()] == [("nobody",)]


def test_wait_again_and_again_on_one():
    """Each wait leaves nothing behind in the chain."""
    d = Deferred()
    for _ in range(1000):
        c.wait([d, succeed(1)], return_when=c.FIRST_COMPLETED)
        waiting = c.wait([d])
        waiting.cancel()
        failureResultOf(waiting, defer.CancelledError)
    with pytest.warns(DeprecationWarning):
        assert len(d.callbacks) == 1
    waiting = c.wait([d])
    d.callback(1)
    done, pending = successResultOf(waiting)
    assert (done, pending) == ({d}, set())
    assert successResultOf(d) == 1


def test_as_completed_plain_iterator():
    ds = [Deferred() for _ in range(3)]
    waiting = list(c.as_completed(ds))
    assert len(waiting) == 3
    ds[2].callback("two")
    ds[0].errback(KeyError())
    assert successResultOf(waiting[0]) == "two"
    failureResultOf(waiting[1], KeyError)
    waiting[2].cancel()
    ds[1].callback("one")
    failureResultOf(waiting[2], defer.CancelledError)


def test_as_completed_timeout():
    clock = Clock()
    ds = [c.sleep(1, "early", clock=clock), c.sleep(9, "late", clock=clock)]
    one, other = c.as_completed(ds, timeout=2, clock=clock)
    clock.advance(2)
    assert successResultOf(one) == "early"
    failureResultOf(other, TimeoutError)
    clock.advance(9)
    assert successResultOf(ds[1]) == "late"


def test_map():
    assert successResultOf(c.map(lambda n: 2 * n, range(4), limit=3)) == [0, 2, 4, 6]
    assert successResultOf(c.map(lambda n: n, [], limit=1)) == []
    ds, under_way = {}, []

    def work(number):
        ds[number] = Deferred()
        return ds[number]

    d = c.map(work, "abcd", limit=2)
    assert list(ds) == ["a", "b"]
    ds["b"].callback("B")
    assert list(ds) == ["a", "b", "c"]
    ds["a"].callback("A")
    ds["c"].callback("C")
    ds["d"].callback("D")
    assert successResultOf(d) == ["A", "B", "C", "D"]
    assert under_way == []


@pytest.mark.parametrize("limit", [0, -1, None, 1.5, "2"])
def test_map_bad_limit(limit):
    for function in (c.map, c.stream):
        with pytest.raises(ValueError, match="limit must be"):
            function(print, [1], limit=limit)
    with pytest.raises(ValueError, match="limit must be"):
        c.KeyedLock(limit=-1)


def test_map_bad_input():
    for function in (c.map, c.stream):
        with pytest.raises(TypeError, match="function must be callable"):
            function(5, [1], limit=1)
        with pytest.raises(TypeError):
            function(print, 5, limit=1)
        # It could be iterated over, as an `await` does: for ever, or once for each wait.
        with pytest.raises(TypeError, match="an iterable of items, not Deferred: wait for it"):
            function(print, Deferred(), limit=1)
        with pytest.raises(TypeError):
            function(print, [1])


def test_map_fails(reports):
    closed = []

    def items():
        try:
            yield from range(9)
        finally:
            closed.append(1)

    ds = []

    def work(number):
        if number == 2:
            raise KeyError(number)
        ds.append(Deferred())
        return ds[-1]

    d = c.map(work, items(), limit=3)
    failureResultOf(d, KeyError)
    assert all(each.called for each in ds)
    assert closed == [1]
    results = successResultOf(c.map(work, [2, 2], limit=1, return_exceptions=True))
    assert [type(each) for each in results] == [KeyError] * 2
    ds = None
    assert reports.values() == []


def test_map_of_items_that_fail():
    def items():
        yield 1
        raise LookupError("items")

    async def later_items():
        yield 1
        raise LookupError("items")

    for made in (items(), later_items()):
        failureResultOf(c.map(lambda n: n, made, limit=2), LookupError)

    async def main(made):
        return [each async for each in c.stream(lambda n: n, made, limit=2)]

    for made in (items(), later_items()):
        failureResultOf(main(made), LookupError)


def test_stream_never_runs_ahead():
    begun = []

    def work(number):
        begun.append(number)
        return number

    it = c.stream(work, itertools.count(), limit=3)
    assert begun == []
    for number in range(5):
        assert successResultOf(it.__anext__()) == number
        assert max(begun) <= number + 3
    it.close()
    failureResultOf(it.__anext__(), StopAsyncIteration)


def test_stream_fails_in_order(reports):
    def work(number):
        if number == 2:
            raise KeyError(number)
        return number

    async def main():
        seen = []
        with pytest.raises(KeyError):
            async for each in c.stream(work, itertools.count(), limit=2):
                seen.append(each)
        return seen

    assert successResultOf(main()) == [0, 1]
    assert reports.values() == []
    it = c.stream(work, [2, 2], limit=2, return_exceptions=True)
    assert isinstance(successResultOf(it.__anext__()), KeyError)
    # One that nobody asks for is reported.
    it = c.stream(work, [1, 2], limit=2)
    assert successResultOf(it.__anext__()) == 1
    del it
    assert [type(each) for each in reports.values()] == [KeyError]


@pytest.mark.parametrize("kind", [c.Queue, c.LifoQueue])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_all_items_come_back_in_order(kind, order):
    async def main():
        queue = kind()
        tasks = [asyncio.ensure_future(awaited(queue.get())) for _ in range(3)]
        await asyncio.sleep(0)
        for number in range(3):
            queue.put_nowait(number)
        for number in order:
            tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [queue.get_nowait() for _ in range(3)] == [0, 1, 2]

    asyncio.run(main())


class Refuses(Deferred):
    """One that takes no callback, as where there is no memory for it."""

    def addBoth(self, *args, **kwargs):
        raise MemoryError


class Items:
    """An asynchronous iterator whose items, and whose end, are these Deferreds."""

    def __init__(self, *items, end=None):
        self.items = iter(items)
        self.end = end

    def __aiter__(self):
        return self

    def __anext__(self):
        return next(self.items)

    def aclose(self):
        return self.end


def second_of(stream):
    stream.__anext__()
    return stream.__anext__()


@pytest.mark.parametrize(
    "begin",
    [
        lambda first, last: c.map(lambda d: d, [first, last], limit=1),
        lambda first, last: c.map(str, Items(first, last), limit=1),
        lambda first, last: c.map(fail, Items(first, end=last), limit=1),
        lambda first, last: second_of(c.stream(lambda d: d, [first, last], limit=1)),
    ],
    ids=["call", "item", "end of the items", "call of a stream"],
)
def test_what_takes_no_callback_keeps_nobody_waiting(begin):
    first, last = Deferred(), Refuses()
    d = begin(first, last)
    assertNoResult(d)
    first.callback(KeyError())
    failureResultOf(d).trap(MemoryError, KeyError)
    assert last.called
    last.addErrback(lambda _: None)


def test_what_was_watched_leaves_nothing():
    gc.collect()
    before = len(_watches)
    never, fired = Deferred(), Deferred()
    waiting = [c.wait([never]), c.wait([fired]), c.wait([never, fired])]
    assert len(_watches) == before + 2
    fired.callback(1)
    assert len(_watches) == before + 1
    del waiting, never
    gc.collect()
    assert len(_watches) == before


def test_a_place_of_for_that_is_interrupted_takes_no_other_one():
    """A signal's exception comes on each line. All places after that get results."""

    def make():
        deferreds = [Deferred(), Deferred()]
        places = c.as_completed(deferreds)

        def is_whole():
            given = list(places)
            for number, deferred in enumerate(deferreds):
                deferred.callback(number)
            return all(successResultOf(place) in (0, 1) for place in given)

        return lambda: next(places), is_whole

    check_on_any_line(make)


def test_what_is_put_back_is_put_back_without_code_of_pythons(monkeypatch):
    """Another exception could come into that, and was lost."""

    def make():
        asked = []
        call = Deferred()
        mapped = c.map(lambda _: call, [1], limit=1)

        def operate():
            with monkeypatch.context() as patched:
                patched.setattr(threading, "main_thread", lambda: asked.append(1))
                call.callback(1)

        return operate, lambda: mapped.called and not asked

    check_on_any_line(make)


def test_wait_leaves_nothing_on_what_is_pending():
    pending = Deferred()
    for _ in range(3):
        first = Deferred()
        d = c.wait([pending, first], return_when=c.FIRST_COMPLETED)
        first.callback(None)
        assert [len(each) for each in successResultOf(d)] == [1, 1]
    assert _watch_of(pending)._watching == {}


def test_as_completed_gives_timeouts_after_the_time_is_up():
    clock = Clock()
    each = c.as_completed([Deferred(), Deferred()], timeout=1, clock=clock)
    early = next(each)
    clock.advance(1)
    failureResultOf(early, TimeoutError)
    failureResultOf(next(each), TimeoutError)
    assert list(each) == []


def test_as_completed_gives_the_place_of_a_cancelled_one_again():
    slow, fast = Deferred(), Deferred()
    each = c.as_completed([slow, fast])
    gone, earliest = next(each), next(each)
    assert list(each) == []
    gone.cancel()
    failureResultOf(gone, defer.CancelledError)
    latest = next(each)
    assert list(each) == []
    fast.callback("fast")
    slow.callback("slow")
    assert [successResultOf(earliest), successResultOf(latest)] == ["fast", "slow"]


def test_map_that_its_iterator_cancels():
    calls, closed = [], []

    def items():
        try:
            yield 1
            d.cancel()
            yield 2
        finally:
            closed.append(True)

    def call(item):
        calls.append(item)
        return first

    first, iterator = Deferred(), items()
    d = c.map(call, iterator, limit=1)
    first.callback(None)
    failureResultOf(d, defer.CancelledError)
    assert (calls, closed) == ([1], [True])


def test_as_completed_ends_for_those_who_wait():
    """Two coroutines that go through the same Deferreds: the second finds none left."""
    only = Deferred()
    each = c.as_completed([only])

    async def go_through():
        return [await d async for d in each]

    both = [ensureDeferred(go_through()), ensureDeferred(go_through())]
    only.callback("only")
    assert [successResultOf(d) for d in both] == [["only"], []]


def test_once_forgets_what_has_ended():
    class Page:
        pass

    calls = []
    fetch = c.once(lambda page: calls.append(Deferred()) or calls[-1])
    page = Page()
    gone = weakref.ref(page)
    d = fetch(page)
    calls.pop().callback("text")
    assert successResultOf(d) == "text"
    del page
    gc.collect()
    assert gone() is None
