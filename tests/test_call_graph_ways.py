"""The call graph in both directions, through every kind of object in between."""

import asyncio
import contextlib

import deferrous as defer
import pytest
from call_graph_helpers import graph
from deferrous import concurrency
from deferrous.testing import Clock

pytestmark = pytest.mark.deferrous_only


async def work(gate):
    return await gate


async def numbers(gate):
    yield await gate


async def mapping(gate):
    await concurrency.map(work, [gate], limit=2)


async def mapping_asynchronous_items(gate):
    await concurrency.map(print, numbers(gate), limit=2)


async def streaming(gate):
    async for _ in concurrency.stream(work, [gate], limit=2):
        pass


async def streaming_asynchronous_items(gate):
    async for _ in concurrency.stream(print, numbers(gate), limit=2):
        pass


async def completing(gate):
    async for each in concurrency.as_completed([work(gate), defer.Deferred()]):
        await each


async def completing_by_next(gate):
    for each in concurrency.as_completed([work(gate)]):
        await each


async def waiting(gate):
    await concurrency.wait([work(gate), defer.Deferred()], return_when=concurrency.FIRST_COMPLETED)


async def limited(gate):
    await concurrency.wait_for(work(gate), 5, clock=Clock())


async def gathering(gate):
    await concurrency.gather(work(gate), return_exceptions=True)


async def gathering_and_cancelling(gate):
    await concurrency.gather(work(gate), cancel_losers=True)


async def shielding(gate):
    await concurrency.shield(work(gate))


async def delaying(gate):
    await concurrency.delay_cancellation(work(gate))


async def observing(gate):
    await concurrency.Observable(defer.ensureDeferred(work(gate))).observe()


async def calling_once(gate):
    await concurrency.once(work)(gate)


async def grouping(gate):
    async with concurrency.TaskGroup() as group:
        group.create_task(work(gate))


async def joining(gate):
    group = concurrency.TaskGroup().open()
    group.create_task(work(gate))
    await group.join()


async def in_a_timeout(gate):
    async with concurrency.timeout(5, clock=Clock()):
        await work(gate)


async def holding_a_lock(gate):
    await concurrency.KeyedLock()("key").run(work, gate)


async def iterating(gate):
    async for _ in numbers(gate):
        pass


async def managing(gate):
    async with contextlib.asynccontextmanager(numbers)(gate):
        pass


async def yielding(gate):
    @defer.inlineCallbacks
    def generator():
        yield from inner()

    def inner():
        return (yield defer.ensureDeferred(work(gate)))

    await generator()


WAYS = [
    mapping,
    mapping_asynchronous_items,
    streaming,
    streaming_asynchronous_items,
    completing,
    completing_by_next,
    waiting,
    limited,
    gathering,
    gathering_and_cancelling,
    shielding,
    delaying,
    observing,
    calling_once,
    grouping,
    joining,
    in_a_timeout,
    holding_a_lock,
    iterating,
    managing,
    yielding,
]


def reached(found, way):
    """The addresses of all that are found from one, in one way."""
    addresses, left = set(), [found]
    while left:
        for each in getattr(left.pop(), way):
            if id(each.future) not in addresses:
                addresses.add(id(each.future))
                left.append(each)
    return addresses


def check(one, gate):
    assert id(gate) in reached(graph(one), "waits_for"), defer.format_call_graph(one)
    assert id(one) in reached(graph(gate), "awaited_by"), defer.format_call_graph(gate)
    assert not graph(one).cycles
    assert not graph(gate).cycles


def run(way, check):
    """Check a task of asyncio's that runs something."""

    async def main():
        gate = defer.Deferred()
        task = asyncio.ensure_future(way(gate))
        for _ in range(5):
            await asyncio.sleep(0)
        check(task, gate)
        gate.callback(None)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.mark.parametrize("way", WAYS)
def test_both_ways(way):
    gate = defer.Deferred()
    d = defer.ensureDeferred(way(gate))
    check(d, gate)
    gate.callback(None)
    d.addErrback(lambda _: None)
    d.cancel()


@pytest.mark.parametrize("way", WAYS)
def test_both_ways_in_tasks(way):
    run(way, check)


async def waiting_by_asyncio(gate):
    await asyncio.wait([asyncio.ensure_future(work(gate))])


async def limited_by_asyncio(gate):
    await asyncio.wait_for(work(gate), 100)


async def shielded_by_asyncio(gate):
    await asyncio.shield(work(gate))


async def gathering_by_asyncio(gate):
    await asyncio.gather(work(gate), asyncio.sleep(100))


async def completing_by_asyncio(gate):
    for each in asyncio.as_completed([work(gate)]):
        await each


async def as_a_future(gate):
    await gate.asFuture(asyncio.get_running_loop())


@pytest.mark.parametrize(
    "way",
    [
        waiting_by_asyncio,
        limited_by_asyncio,
        shielded_by_asyncio,
        gathering_by_asyncio,
        completing_by_asyncio,
        as_a_future,
    ],
)
def test_both_ways_through_asyncio(way):
    run(way, check)


def test_a_deferred_and_its_future_do_not_wait_for_each_other():
    async def main():
        d = defer.Deferred()
        future = d.asFuture(asyncio.get_running_loop())
        assert not graph(d).cycles
        assert not graph(future).cycles
        d.callback(None)
        await future

    asyncio.run(main())


def test_lines_of_asyncio():
    async def main():
        lock, queue, event = asyncio.Lock(), asyncio.Queue(), asyncio.Event()
        await lock.acquire()
        for line, wait in ((lock, lock.acquire), (queue, queue.get), (event, event.wait)):
            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            where = f"in line at <{type(line).__name__} at {id(line):#x}>: <Future at "
            assert where in str(graph(task))
            task.cancel()

    asyncio.run(main())


def test_a_class_that_adds_callbacks_in_its_own_way():
    d = concurrency.ContextDeferred()
    waiting = defer.ensureDeferred(work(d))
    assert id(waiting) in reached(graph(d), "awaited_by")
    d.callback(None)


def later(_):
    pass


def test_callbacks_in_a_context():
    d = concurrency.ContextDeferred()
    d.addCallback(later)
    (callback,) = graph(d).callbacks
    assert callback.name == "later"
    assert callback.line == later.__code__.co_firstlineno


def test_the_lock_of_a_file(tmp_path, monkeypatch):
    # Long texts are cut, and so would be the path of this folder.
    monkeypatch.chdir(tmp_path)
    clock = Clock()
    held, other = (defer.DeferredFilesystemLock("lock", clock) for _ in range(2))
    held.lock()
    waiting = other.deferUntilLocked()
    assert graph(waiting).detail == "waits for the lock file 'lock'"
    held.unlock()
    clock.advance(1)
    assert waiting.called
    other.unlock()


def test_a_future_of_a_thread():
    from concurrent.futures import Future

    future = Future()
    d = defer.Deferred.fromFuture(future, scheduler=lambda function: function())
    assert graph(d).detail == f"waits for <Future at {id(future):#x}>"
    future.set_result(1)


def test_one_of_several_may_be_enough():
    """A way out of a circle is found also where `wait` and `as_completed` are in it."""
    for way in (
        lambda d: concurrency.wait([d, NEVER], return_when=concurrency.FIRST_COMPLETED),
        lambda d: next(concurrency.as_completed([d, NEVER])),
        lambda d: concurrency.map(lambda each: each, [d, NEVER], limit=2),
    ):
        boxes, go = [], defer.Deferred()

        async def wait(go=go, boxes=boxes):
            await go
            await boxes[0]

        d = defer.ensureDeferred(wait())
        boxes.append(way(d))
        go.callback(None)
        found = graph(d)
        assert len(found.cycles) == 1
        assert "unless something else comes first" in str(found)
        d.addErrback(lambda _: None)
        d.cancel()


NEVER = defer.Deferred()
