"""Coroutines that are closed while they wait for a condition or in a line."""

import gc

import pytest
from deferrous import (
    CancelledError,
    Deferred,
    DeferredLock,
    DeferredQueue,
    DeferredSemaphore,
    ensureDeferred,
)
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

    async def wait_for():
        asked = []
        async with condition:
            await condition.wait_for(lambda: asked.append(1) or len(asked) > 1)

    coroutine = {"wait": wait, "by hand": by_hand, "wait_for": wait_for}[way]()
    return coroutine, ensureDeferred(coroutine)


WAYS = pytest.mark.parametrize("way", ["wait", "by hand", "wait_for"])


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


def test_closed_by_what_it_waits_for(reports):
    """The lock is held then, and its block releases it."""
    condition = c.Condition()
    asked = []

    def close():
        if asked:
            coroutine.close()
        asked.append(condition.locked())
        return False

    async def wait_for():
        async with condition:
            await condition.wait_for(close)

    coroutine = wait_for()
    d = ensureDeferred(coroutine)
    # What is closed cannot be resumed.
    d.addErrback(lambda failure: failure.trap(RuntimeError))
    condition.acquire()
    condition.notify()
    condition.release()
    assert asked == [True, False]
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


def locked(make):
    lock = make()
    return lock.acquire, lock.release


def filled(make, put, get):
    queue = make()
    getattr(queue, put)("first")
    return getattr(queue, get), lambda: getattr(queue, put)("next")


LINES = {
    "lock": lambda: locked(DeferredLock),
    "semaphore": lambda: locked(lambda: DeferredSemaphore(1)),
    "queue": lambda: filled(DeferredQueue, "put", "get"),
    "weights": lambda: locked(c.Semaphore),
    "bounded": lambda: locked(c.BoundedSemaphore),
    "readers and writers": lambda: locked(lambda: c.ReadWriteLock().writing),
    "key": lambda: locked(lambda: c.KeyedLock()("key")),
    "queue of concurrency": lambda: filled(c.Queue, "put_nowait", "get"),
    "channel": lambda: filled(lambda: c.Channel(5), "send", "receive"),
}
LINE = pytest.mark.parametrize("line", LINES.values(), ids=LINES)


def in_line(take):
    async def inner():
        await take()

    async def outer():
        await inner()

    coroutine = outer()
    return coroutine, ensureDeferred(coroutine)


@LINE
def test_its_place_is_given_up(line, reports):
    take, give = line()
    assert take().called
    coroutine, d = in_line(take)
    behind = take()
    coroutine.close()
    assert not d.called
    give()
    assert behind.called
    # Nobody else is there, and it is for the next.
    give()
    assert take().called
    assert reports.values() == []


@LINE
def test_cancelled_when_it_is_closed(line, reports):
    take, give = line()
    take()
    coroutine, d = in_line(take)
    coroutine.close()
    d.cancel()
    failures = []
    d.addErrback(failures.append)
    assert failures[0].check(CancelledError)
    give()
    assert take().called
    assert reports.values() == []


@LINE
def test_somebody_else_waits_with_it(line):
    take, give = line()
    take()
    place = take()

    async def wait():
        await place

    coroutine = wait()
    ensureDeferred(coroutine).addErrback(lambda _: None)
    results = []
    place.addCallback(results.append)
    coroutine.close()
    give()
    assert len(results) == 1


def test_another_deferred_is_left_alone(reports):
    gate = Deferred()

    async def wait():
        await gate

    coroutine = wait()
    d = ensureDeferred(coroutine)
    coroutine.close()
    assert not gate.called
    gate.callback(None)
    d.addErrback(lambda failure: failure.trap(RuntimeError))
    assert reports.values() == []


def test_an_iterator_of_its_own_is_closed():
    """Who goes through `__await__` by hand, and closes that, does not close who waits as well."""
    lock = DeferredLock()
    lock.acquire()
    place = lock.acquire()
    results = []

    async def wait():
        await place
        results.append(True)

    ensureDeferred(wait())
    iterator = place.__await__()
    next(iterator)
    iterator.close()
    lock.release()
    assert results == [True]


# Whose release it is that has no lock, as it is being closed


def held_by_another(wait):
    """A condition, a coroutine that waits for it, and another that holds its lock."""
    condition, gate = c.Condition(), Deferred()

    async def hold():
        async with condition:
            await gate

    waiting, holder = wait(condition), hold()
    ensureDeferred(waiting).addErrback(lambda _: None)
    ensureDeferred(holder).addErrback(lambda _: None)
    assert condition.locked()
    return condition, waiting, holder, gate


async def careless(condition):
    await condition.acquire()
    await condition.wait()
    condition.release()


async def afterwards(condition):
    await condition.acquire()
    try:
        await condition.wait()
    except GeneratorExit:
        pass
    condition.release()


async def in_another_handler(condition):
    await condition.acquire()
    try:
        await condition.wait()
    finally:
        try:
            raise KeyError
        except KeyError:
            condition.release()


async def in_a_helper(condition):
    async def helper():
        await condition.wait()

    async with condition:
        await helper()


async def for_a_predicate(condition):
    await condition.acquire()
    try:
        await condition.wait_for(lambda: False)
    except GeneratorExit:
        pass
    condition.release()


@pytest.mark.parametrize("times", [1, 3])
def test_one_that_does_not_release_is_closed_before_the_holder(times):
    condition = c.Condition()
    all_of_them = [careless(condition) for _ in range(times)]
    for each in all_of_them:
        ensureDeferred(each).addErrback(lambda _: None)

    async def hold():
        async with condition:
            await Deferred()

    holder = hold()
    ensureDeferred(holder).addErrback(lambda _: None)
    for each in all_of_them:
        each.close()
    holder.close()
    assert not condition.locked()


@pytest.mark.parametrize(
    "wait", [afterwards, in_another_handler, in_a_helper, for_a_predicate], ids=lambda f: f.__name__
)
def test_what_it_releases_in_whatever_way_is_not_the_holders(wait):
    condition, waiting, _, gate = held_by_another(wait)
    waiting.close()
    assert condition.locked()
    gate.callback(None)
    assert not condition.locked()


def test_the_holder_releases_while_another_is_being_closed():
    async def wait(condition):
        async with condition:
            try:
                await condition.wait()
            finally:
                gate.callback(None)

    condition, waiting, _, gate = held_by_another(wait)
    waiting.close()
    assert not condition.locked()
    assert condition.acquire().called


def test_one_that_is_run_by_hand_is_closed():
    condition, waiting, _, gate = c.Condition(), None, None, Deferred()

    async def wait():
        async with condition:
            await condition.wait()

    async def hold():
        async with condition:
            await gate

    waiting = wait()
    waiting.send(None)
    ensureDeferred(hold())
    waiting.close()
    assert condition.locked()
    gate.callback(None)
    assert not condition.locked()
