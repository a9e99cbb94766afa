"""`deadlocks`: Deferreds that can never fire because they wait for each other."""

import asyncio
import gc

import deferrous as defer
import pytest

pytestmark = pytest.mark.deferrous_only


@pytest.fixture(autouse=True)
def clean():
    gc.collect()
    assert defer.deadlocks() == []
    yield
    gc.collect()


async def wait_for(d):
    return await d


@defer.inlineCallbacks
def yields(box):
    yield box[0]


def found():
    return [set(circle) for circle in defer.deadlocks()]


def chained(d):
    outer = defer.Deferred()
    outer.addCallback(lambda _: d)
    outer.callback(None)
    return outer


def circle(*wraps):
    """Deferreds of which each waits for the next, and the last for the first."""
    first = defer.Deferred()
    all_of_them = [first]
    first.addCallback(lambda _: all_of_them[-1])
    for wrap in wraps:
        all_of_them.append(wrap(all_of_them[-1]))
    first.callback(None)
    return all_of_them


@pytest.mark.parametrize(
    "wraps",
    [
        [chained],
        [chained, chained, chained],
        [lambda d: defer.ensureDeferred(wait_for(d))],
        [lambda d: yields([d])],
        [lambda d: defer.DeferredList([d, defer.succeed(1)])],
        [lambda d: defer.DeferredList([d, defer.Deferred()])],
        [lambda d: defer.gatherResults([d])],
        [lambda d: defer.race([d])],
        [chained, lambda d: yields([d]), lambda d: defer.gatherResults([d]), chained],
    ],
    ids=[
        "one",
        "three",
        "coroutine",
        "generator",
        "list",
        "list of two",
        "gather",
        "race",
        "mixed",
    ],
)
def test_circles(wraps):
    members = circle(*wraps)
    behind = chained(members[0])
    (each,) = found()
    assert each == set(members)
    assert behind not in each


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: defer.race([d, NEVER]),
        lambda d: defer.gatherResults([d, NEVER]),
        lambda d: defer.DeferredList([d, NEVER], fireOnOneCallback=True),
    ],
    ids=["race", "gather", "first"],
)
def test_a_way_out(wrap):
    members = circle(wrap)
    assert found() == []
    del members


NEVER = defer.Deferred()


def test_none():
    kept = [defer.Deferred(), defer.DeferredQueue().get(), defer.ensureDeferred(wait_for(NEVER))]
    kept.append(defer.gatherResults(kept))
    paused = defer.succeed(1)
    paused.pause()
    kept.append(chained(paused))
    assert found() == []


async def both(first, second, gate):
    async with first:
        await gate
        async with second:
            pass


def test_locks_in_another_order():
    one, two, gate = defer.DeferredLock(), defer.DeferredLock(), defer.Deferred()
    works = [defer.ensureDeferred(both(one, two, gate)), defer.ensureDeferred(both(two, one, gate))]
    assert found() == []
    gate.callback(None)
    (each,) = found()
    assert set(works) <= each
    assert len(each) == 4
    works[0].cancel()
    works[0].addErrback(lambda failure: None)
    assert found() == []


def test_run():
    one, two, gate = defer.DeferredLock(), defer.DeferredLock(), defer.Deferred()
    works = [
        one.run(lambda: chained(gate).addCallback(lambda _: two.run(lambda: None))),
        two.run(lambda: chained(gate).addCallback(lambda _: one.run(lambda: None))),
    ]
    gate.callback(None)
    assert len(found()) == 1
    del works


def test_a_lock_twice():
    lock = defer.DeferredLock()

    async def work():
        async with lock:
            async with lock:
                pass

    d = defer.ensureDeferred(work())
    (each,) = found()
    assert d in each
    d.cancel()
    d.addErrback(lambda failure: None)


def test_a_lock_that_somebody_holds():
    lock = defer.DeferredLock()
    lock.acquire()
    kept = [defer.ensureDeferred(both(lock, lock, NEVER)) for _ in range(3)]
    assert found() == []
    del kept


@pytest.mark.parametrize("tokens", [1, 2])
def test_semaphores(tokens):
    semaphore, gate = defer.DeferredSemaphore(tokens), defer.Deferred()
    works = [defer.ensureDeferred(both(semaphore, semaphore, gate)) for _ in range(tokens)]
    assert found() == []
    gate.callback(None)
    assert len(found()) == 1
    assert set(works) <= found()[0]
    for work in works:
        work.addErrback(lambda failure: None)
        work.cancel()


def test_a_semaphore_with_a_token_that_comes_back():
    semaphore, gate = defer.DeferredSemaphore(2), defer.Deferred()
    kept = [
        defer.ensureDeferred(both(semaphore, semaphore, gate)),
        defer.ensureDeferred(both(semaphore, defer.DeferredLock(), NEVER)),
    ]
    gate.callback(None)
    assert found() == []
    del kept


def test_many_locks():
    gate = defer.Deferred()
    kept = []
    for _ in range(100):
        one, two = defer.DeferredLock(), defer.DeferredLock()
        kept += [
            defer.ensureDeferred(both(one, two, gate)),
            defer.ensureDeferred(both(two, one, gate)),
        ]
    gate.callback(None)
    assert len(found()) == 100
    assert {len(each) for each in found()} == {4}


def test_a_long_circle():
    members = circle(*[chained] * 20_000)
    (each,) = found()
    assert each == set(members)


def test_many_that_wait():
    kept = [defer.ensureDeferred(wait_for(NEVER)) for _ in range(20_000)]
    assert found() == []
    del kept


def test_asyncio_tasks():
    async def main():
        one, two, gate = defer.DeferredLock(), defer.DeferredLock(), defer.Deferred()
        tasks = [
            asyncio.ensure_future(both(one, two, gate)),
            asyncio.ensure_future(both(two, one, gate)),
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        gate.callback(None)
        for _ in range(5):
            await asyncio.sleep(0)
        (each,) = found()
        assert set(tasks) <= each
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert found() == []

    asyncio.run(main())


def test_from_inside():
    """What runs at this moment can do anything."""
    seen = []
    box = []

    @defer.inlineCallbacks
    def work(gate):
        yield gate
        seen.append(found())
        yield box[0]

    gate = defer.Deferred()
    d = work(gate)
    box.append(defer.ensureDeferred(wait_for(d)))
    gate.callback(None)
    assert seen == [[]]
    assert len(found()) == 1
