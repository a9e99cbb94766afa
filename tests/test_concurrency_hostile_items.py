"""Items and functions of `deferrous.concurrency` that raise, cancel or compare at odd moments."""

from __future__ import annotations

import math
import random
import sysconfig
from contextlib import nullcontext

import pytest
from concurrency_helpers import result_of
from deferrous import CancelledError, Deferred
from deferrous import concurrency as c
from deferrous.testing import Clock

pytestmark = pytest.mark.deferrous_only

WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def counting(log):
    def function(item):
        log.append(item)
        return Deferred()

    return function


def test_items_that_cancel_what_takes_them():
    mapped, begun, closed = [], [], []

    def items():
        try:
            yield 1
            mapped[0].cancel()
            yield 2
            yield 3
        finally:
            closed.append(True)

    mapped.append(c.map(counting(begun), items(), limit=1))
    assert begun == [1]

    def again():
        # The first is cancelled with the rest; here the items do it while they are asked.
        running = []
        it = items()

        def function(item):
            begun.append(item)
            running.append(Deferred())
            return running[-1]

        mapped[:] = [c.map(function, it, limit=1)]
        running[0].callback(None)
        return mapped[0]

    mapped[0].cancel()
    assert isinstance(result_of(mapped[0]), CancelledError)
    assert isinstance(result_of(again()), CancelledError)
    assert begun == [1, 1]
    assert closed == [True, True]


def test_asynchronous_items_that_cancel_what_takes_them():
    mapped, begun, closed = [], [], []

    async def items():
        try:
            yield 1
            mapped[0].cancel()
            yield 2
        finally:
            closed.append(True)

    running = Deferred()

    def function(item):
        begun.append(item)
        return running

    mapped.append(c.map(function, items(), limit=1))
    running.callback(None)
    assert isinstance(result_of(mapped[0]), CancelledError)
    assert (begun, closed) == ([1], [True])


@pytest.mark.parametrize("when", [0, 1])
def test_function_that_cancels_what_calls_it(when):
    mapped, running = [], []

    def function(item):
        running.append(Deferred())
        if item == when + 1:
            mapped[0].cancel()
        return running[-1]

    async def items():
        for number in range(9):
            await c.sleep(1, clock=clock)
            yield number

    clock = Clock()
    mapped.append(c.map(function, items(), limit=4))
    clock.pump([1] * 4)
    assert isinstance(result_of(mapped[0]), CancelledError)
    assert all(d.called for d in running)
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("error", [KeyError, SystemExit, KeyboardInterrupt])
def test_items_that_raise(error, reports):
    def items():
        yield 1
        raise error("items")

    async def asynchronous():
        for item in items():
            yield item

    for each in (items(), asynchronous()):
        ds = []

        def function(_, ds=ds):
            ds.append(Deferred())
            return ds[-1]

        mapped = c.map(function, each, limit=5)
        raised = result_of(mapped)
        assert type(raised) is error
        assert all(d.called for d in ds)


@pytest.mark.parametrize("return_exceptions", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_items_that_raise_when_a_call_has_ended(error, limit, return_exceptions):
    ds = []

    def items():
        yield from range(limit)
        raise error("items")

    def function(_):
        ds.append(Deferred())
        return ds[-1]

    mapped = c.map(function, items(), limit=limit, return_exceptions=return_exceptions)
    ds[0].callback("done")
    assert type(result_of(mapped)) is error
    # The other calls were cancelled.
    assert len(ds) == limit
    assert all(d.called for d in ds)


@pytest.mark.parametrize("running", [0, 1])
def test_items_that_cancel_when_a_call_has_ended_are_closed_with_the_map(running):
    mapped, closed, ds = [], [], []

    def items():
        try:
            yield from range(1 + running)
            mapped[0].cancel()
            yield "next"
        finally:
            closed.append(True)

    def function(_):
        ds.append(Deferred())
        return ds[-1]

    # The test keeps them, so that they are not closed because they are garbage.
    kept = items()
    mapped.append(c.map(function, kept, limit=1 + running))
    mapped[0].addBoth(lambda _: closed.append("ended"))
    ds[0].callback("done")
    assert closed == [True, "ended"]
    assert all(d.called for d in ds)
    assert list(kept) == []


def stubborn():
    try:
        while True:
            yield 1
    finally:
        raise KeyError("closed")


async def stubborn_asynchronous():
    try:
        while True:
            yield 1
    finally:
        raise KeyError("closed")


@pytest.mark.parametrize("items", [stubborn, stubborn_asynchronous])
def test_items_that_cannot_be_closed(items, reports):
    ds = []

    def function(_):
        ds.append(Deferred())
        return ds[-1]

    mapped = c.map(function, items(), limit=3)
    ds[1].errback(ValueError())
    assert isinstance(result_of(mapped), ValueError)
    assert all(d.called for d in ds)
    del ds[:]
    mapped = c.map(function, items(), limit=3)
    mapped.cancel()
    assert isinstance(result_of(mapped), CancelledError)
    assert all(d.called for d in ds)
    assert [str(each) for each in reports.values()] == ["'closed'"]
    stream = c.stream(function, items(), limit=3)
    first = stream.__anext__()
    stream.close()
    assert str(result_of(first)) == "'closed'"


class Number:
    """One that can be compared so many times."""

    left = math.inf

    def __init__(self, number):
        self.number = number

    def __lt__(self, other):
        Number.left -= 1
        if Number.left < 0:
            raise KeyError("compared too often")
        return self.number < other.number


@pytest.mark.parametrize("method", ["get_nowait", "get", "put", "put_nowait"])
def test_comparison_that_raises_changes_nothing(method, monkeypatch):
    chance, refused = random.Random(1), 0
    for _ in range(2000):
        queue = c.PriorityQueue()
        monkeypatch.setattr(Number, "left", math.inf)
        for _ in range(chance.randrange(1, 12)):
            queue.put_nowait(Number(chance.randrange(9)))
        before = list(queue._queue)
        monkeypatch.setattr(Number, "left", chance.randrange(6))
        item = [Number(chance.randrange(9))] if "put" in method else []
        try:
            getattr(queue, method)(*item)
        except KeyError:
            refused += 1
            assert list(map(id, queue._queue)) == list(map(id, before))
            assert queue._unfinished == len(before)
    assert refused > 100


def test_comparison_that_takes_an_item(monkeypatch):
    got = []

    def compare(self, other):
        if not got:
            got.append(None)
            got.append(queue.get_nowait())
        return self.number < other.number

    queue = c.PriorityQueue()
    items = [Number(number) for number in range(5)]
    for item in items:
        queue.put_nowait(item)
    monkeypatch.setattr(Number, "__lt__", compare)
    # `heapq` notices that. Where other threads may do so, the place is looked for anew.
    with nullcontext() if WITHOUT_GIL else pytest.raises(RuntimeError):
        got.append(queue.get_nowait())
    assert {*queue._queue, *got[1:]} == set(items)


def test_item_that_cannot_be_taken_in_when_there_is_room():
    queue = c.PriorityQueue(2)
    queue.put(1)
    queue.put(2)
    waits, last = queue.put("text"), queue.put(3)
    assert result_of(queue.get()) == 1
    assert isinstance(result_of(waits), TypeError)
    assert last.called and queue.qsize() == 2
    for _ in range(3):
        queue.task_done()
    assert queue.join().called
