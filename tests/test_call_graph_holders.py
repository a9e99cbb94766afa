"""Who holds the locks of `deferrous.concurrency`: by `run`, `async with`, sides and keys."""

import asyncio
import contextlib
import re

import deferrous as defer
import pytest
from call_graph_helpers import graph, waits_for
from deferrous import concurrency

pytestmark = pytest.mark.deferrous_only


def two_of(make):
    """Something to lock, twice."""

    def both():
        lock = make()
        return lock, lock

    return both


def two_sides():
    lock = concurrency.ReadWriteLock()
    return lock.reading, lock.writing


def two_writers():
    lock = concurrency.ReadWriteLock()
    return lock.writing, lock.writing


def one_key(key=lambda: "key"):
    lock = concurrency.KeyedLock()
    lock("another").acquire()
    return lock(key()), lock(key())


def one_pair():
    return one_key(lambda: ("room", "".join(["us", "er"])))


def weighty():
    semaphore = concurrency.Semaphore(3)
    return semaphore.weighing(2), semaphore.weighing(2)


LOCKS = [
    two_of(defer.DeferredLock),
    two_of(lambda: defer.DeferredSemaphore(1)),
    two_of(concurrency.Semaphore),
    two_of(concurrency.BoundedSemaphore),
    two_of(concurrency.Condition),
    two_sides,
    two_writers,
    one_key,
    one_pair,
    weighty,
]
NAMES = (
    "DeferredLock DeferredSemaphore Semaphore BoundedSemaphore Condition sides writers key pair "
    "weights"
).split()


async def within(lock, inner):
    async with lock:
        return await inner()


async def by_a_helper(lock, inner):
    async def helper():
        return await within(lock, inner)

    return await helper()


async def by_a_manager(lock, inner):
    @contextlib.asynccontextmanager
    async def manager():
        async with lock:
            yield

    async with manager():
        return await inner()


async def by_a_generator(lock, inner):
    async def items():
        async with lock:
            yield await inner()

    async for each in items():
        return each


async def by_run(lock, inner):
    return await lock.run(inner)


async def pass_on(d):
    return await d


HOLDERS = [within, by_a_helper, by_a_manager, by_a_generator, by_run]


def end(d):
    d.addErrback(lambda _: None)
    d.cancel()


@pytest.mark.parametrize("hold", HOLDERS)
@pytest.mark.parametrize("locks", LOCKS, ids=NAMES)
def test_who_holds_it(locks, hold):
    one, other = locks()
    work = defer.Deferred()
    holder = defer.ensureDeferred(hold(one, lambda: pass_on(work)))
    waiting = other.acquire()
    text = str(graph(waiting))
    assert len(waits_for(graph(waiting))) == 1
    assert "  * held by: " in text
    assert f"at {id(work):#x}> has not been fired" in text
    if hold is not by_run:
        assert waits_for(graph(waiting)) == [holder]
    assert not graph(waiting).cycles
    work.callback(None)
    assert waiting.called


@pytest.mark.parametrize("hold", HOLDERS)
@pytest.mark.parametrize("locks", LOCKS, ids=NAMES)
def test_who_holds_it_in_tasks(locks, hold):
    async def main():
        one, other = locks()
        work = defer.Deferred()
        holder = asyncio.ensure_future(hold(one, lambda: pass_on(work)))
        waiting = asyncio.ensure_future(hold(other, lambda: pass_on(work)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert "  * held by: " in str(graph(waiting))
        if hold is not by_run:
            assert f"  * held by: <Task {holder.get_name()} at" in str(graph(waiting))
        assert not graph(waiting).cycles
        work.callback(None)
        await asyncio.gather(holder, waiting)

    asyncio.run(main())


@pytest.mark.parametrize("hold", HOLDERS)
@pytest.mark.parametrize("locks", LOCKS, ids=NAMES)
def test_one_that_waits_for_what_it_holds(locks, hold):
    """The usual mistake: who holds a lock calls something that wants it, too."""
    one, other = locks()
    d = defer.ensureDeferred(hold(one, lambda: hold(other, lambda: pass_on(defer.succeed(1)))))
    assert "ever fire." in str(graph(d))
    circles = defer.deadlocks()
    assert len(circles) == 1
    text = str(graph(circles[0][0]))
    assert re.search(r"held by|waits for itself", text)
    end(d)
    assert defer.deadlocks() == []


@pytest.mark.parametrize("locks", LOCKS, ids=NAMES)
def test_locks_in_another_order(locks):
    (one, _), (other, _) = locks(), locks()
    go = defer.Deferred()

    async def both(first, second):
        async with first:
            await go
            async with second:
                pass

    works = [defer.ensureDeferred(both(one, other)), defer.ensureDeferred(both(other, one))]
    assert defer.deadlocks() == []
    go.callback(None)
    if locks is two_sides:
        # Two that read do not keep each other waiting.
        assert all(each.called for each in works)
        return
    (circle,) = defer.deadlocks()
    assert set(works) <= set(circle)
    assert "none of them can ever fire." in str(graph(works[0]))
    for each in works:
        end(each)


def test_a_reader_that_wants_to_write():
    lock = concurrency.ReadWriteLock()

    async def upgrade():
        async with lock.reading:
            async with lock.writing:
                pass

    d = defer.ensureDeferred(upgrade())
    assert "none of them can ever fire." in str(graph(d))
    end(d)
    # With another that reads, and will end, it is the same: its own reading keeps it waiting.
    other = defer.Deferred()
    reading = lock.reading.run(lambda: other)
    d = defer.ensureDeferred(upgrade())
    assert len(graph(d).cycles) == 1
    other.callback(None)
    assert reading.called
    assert len(defer.deadlocks()) == 1
    end(d)


@pytest.mark.parametrize(
    "semaphore",
    [
        lambda: defer.DeferredSemaphore(2),
        lambda: concurrency.Semaphore(2),
        lambda: concurrency.KeyedLock(2)("key"),
    ],
)
def test_another_token_that_may_come_back(semaphore):
    semaphore = semaphore()
    semaphore.acquire()
    d = defer.ensureDeferred(within(semaphore, lambda: within(semaphore, defer.Deferred)))
    assert "unless something else comes first." in str(graph(d))
    assert defer.deadlocks() == []
    end(d)


def test_another_key():
    lock, go = concurrency.KeyedLock(), defer.Deferred()

    async def holds():
        async with lock("one"):
            await go

    holder = defer.ensureDeferred(holds())
    lock("other").acquire()
    waiting = lock("other").acquire()
    assert waits_for(graph(waiting)) == []
    go.callback(None)
    assert holder.called


def test_keys_are_not_asked():
    class Key:
        def __eq__(self, other):
            raise AssertionError("asked whether it is equal")

        def __hash__(self):
            return 1

        def __repr__(self):
            raise AssertionError("asked for its text")

    key = Key()
    lock, work = concurrency.KeyedLock(), defer.Deferred()
    held = lock(key).run(lambda: work)
    waiting = lock(key).acquire()
    assert waits_for(graph(waiting)) == [work]
    assert graph(waiting).detail.endswith(f"(for the key <Key at {id(key):#x}>)")
    work.callback(None)
    assert held.called
