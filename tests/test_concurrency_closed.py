"""Coroutines that are closed while they wait for a condition."""

import gc

import pytest
from deferrous import Deferred, ensureDeferred
from deferrous import concurrency as c

pytestmark = pytest.mark.deferrous_only


def waiter(condition, way):
    async def wait():
        async with condition:
            await condition.wait()

    async def by_hand():
        await condition.acquire()
        try:
            await condition.wait()
        finally:
            condition.release()

    coroutine = {"wait": wait, "by hand": by_hand}[way]()
    return coroutine, ensureDeferred(coroutine)


WAYS = pytest.mark.parametrize("way", ["wait", "by hand"])


def works(condition):
    """Whether nothing of a condition is lost: its lock is free, and who waits is notified."""
    woken = []

    async def wait():
        async with condition:
            await condition.wait()
            woken.append(True)

    ensureDeferred(wait())
    assert not condition.locked()
    condition.acquire()
    condition.notify_all()
    condition.release()
    assert woken == [True]
    return not condition.locked()


@WAYS
def test_the_lock_is_free(way, reports):
    condition = c.Condition()
    coroutine, d = waiter(condition, way)
    coroutine.close()
    assert not d.called
    assert works(condition)
    assert reports.values() == []


@WAYS
def test_another_holds_the_lock(way, reports):
    """What is closed does not release what another holds."""
    condition = c.Condition()
    coroutine, _ = waiter(condition, way)
    held = condition.acquire()
    assert held.called
    coroutine.close()
    assert condition.locked()
    waiting = condition.acquire()
    assert not waiting.called
    condition.release()
    assert waiting.called
    condition.release()
    assert works(condition)
    assert reports.values() == []


@WAYS
def test_it_was_notified(way, reports):
    """The notification goes to another."""
    condition = c.Condition()
    coroutine, _ = waiter(condition, way)
    other, d = waiter(condition, "wait")
    condition.acquire()
    condition.notify()
    coroutine.close()
    assert condition.locked()
    assert not d.called
    condition.release()
    assert d.called
    assert works(condition)
    del other
    assert reports.values() == []


@WAYS
def test_several_are_closed(way, reports):
    condition = c.Condition()
    waiters = [waiter(condition, way) for _ in range(5)]
    condition.acquire()
    for coroutine, _ in waiters:
        coroutine.close()
    assert condition.locked()
    condition.release()
    assert works(condition)
    assert reports.values() == []


def test_one_that_does_not_release(reports):
    """What it would have released is not taken from the next."""
    condition = c.Condition()

    async def careless():
        await condition.acquire()
        await condition.wait()

    coroutine = careless()
    ensureDeferred(coroutine)
    condition.acquire()
    coroutine.close()
    condition.release()
    assert works(condition)

    async def holds():
        async with condition:
            await Deferred()

    coroutine = holds()
    ensureDeferred(coroutine)
    coroutine.close()
    assert works(condition)
    assert reports.values() == []


@WAYS
def test_all_of_it_is_garbage(way, reports, capsys):
    condition = c.Condition()
    waiter(condition, way)
    del condition
    gc.collect()
    assert reports.values() == []
    assert capsys.readouterr().err == ""
