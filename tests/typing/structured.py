"""deferrous.concurrency."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any, Literal

from deferrous import Deferred, DeferredFilesystemLock, concurrency, inlineCallbacks, testing
from typing_extensions import assert_type


def plain(x: int) -> str: ...  # type: ignore[empty-body]
def deferred(x: int) -> Deferred[str]: ...  # type: ignore[empty-body]
async def coroutine(x: int) -> str: ...  # type: ignore[empty-body]
async def endless() -> AsyncIterator[int]:
    yield 1


@inlineCallbacks
def generator(x: int) -> Generator[Deferred[Any], Any, str]:
    yield concurrency.sleep(x)
    with concurrency.timeout(3) as limit:
        assert_type(limit, concurrency.Timeout)
        yield concurrency.Event().wait()
    return "text"


def clocks(clock: testing.Clock, loop: asyncio.AbstractEventLoop, d: Deferred[int]) -> None:
    assert_type(DeferredFilesystemLock("name", clock).deferUntilLocked(3), Deferred[None])
    assert_type(DeferredFilesystemLock("name", loop).deferUntilLocked(3), Deferred[None])
    assert_type(concurrency.sleep(1, clock=clock), Deferred[None])
    assert_type(concurrency.sleep(1, "result", clock=loop), Deferred[str])
    assert_type(concurrency.wait_for(d, 3, clock=clock), Deferred[int])
    assert_type(concurrency.wait_for(coroutine(1), None), Deferred[str])
    assert_type(d.addTimeout(3), Deferred[int])
    assert_type(d.addTimeout(3, loop), Deferred[int])
    assert_type(clock.seconds(), float)
    call = clock.callLater(3, plain, 1)
    assert_type(call.active(), bool)


async def times(d: Deferred[int]) -> int:
    async with concurrency.timeout(3) as limit:
        limit.reschedule(limit.when())
        assert_type(limit.expired(), bool)
    async with concurrency.timeout_at(None):
        return await d
    return 0


async def groups(d: Deferred[int]) -> None:
    async with concurrency.TaskGroup() as group:
        assert_type(group, concurrency.TaskGroup)
        assert_type(group.create_task(d), Deferred[int])
        assert_type(group.create_task(coroutine(1), name="name"), Deferred[str])
        assert_type(group.create_task(generator(1)), Deferred[str])
    opened = concurrency.TaskGroup().open()
    assert_type(opened.join(), Deferred[None])
    assert_type(concurrency.current_deferred(), Deferred[Any] | None)
    assert_type(concurrency.current_task_name(), str | None)


async def many(one: Deferred[int], other: Deferred[int]) -> None:
    assert_type(concurrency.gather(one, other), Deferred[list[int]])
    assert_type(
        concurrency.gather(one, other, return_exceptions=True),
        Deferred[list[int | BaseException]],
    )
    assert_type(concurrency.gather(one, other, cancel_losers=True), Deferred[list[int]])
    done, pending = await concurrency.wait([one], return_when=concurrency.FIRST_COMPLETED)
    assert_type(done, set[Deferred[int]])
    assert_type(pending, set[Deferred[int]])
    async for each in concurrency.as_completed([one, other], timeout=3):
        assert_type(each, Deferred[int])
    for each in concurrency.as_completed([one, other]):
        assert_type(await each, int)
    assert_type(concurrency.map(deferred, [1], limit=2), Deferred[list[str]])
    assert_type(concurrency.map(coroutine, endless(), limit=2), Deferred[list[str]])
    assert_type(concurrency.map(plain, [1], limit=2), Deferred[list[str]])
    async for text in concurrency.stream(deferred, endless(), limit=3):
        assert_type(text, str)
    async for text in concurrency.stream(plain, [1], limit=3):
        assert_type(text, str)


def cancelling(d: Deferred[int]) -> None:
    assert_type(concurrency.shield(d), Deferred[int])
    assert_type(concurrency.delay_cancellation(coroutine(1)), Deferred[str])
    concurrency.cancel(d, "reason")


async def events(lock: concurrency.ReadWriteLock, keyed: concurrency.KeyedLock[str]) -> int:
    event = concurrency.Event()
    assert_type(await event.wait(), Literal[True])
    condition = concurrency.Condition()
    async with condition:
        assert_type(await condition.wait_for(lambda: [1]), list[int])
    async with concurrency.Barrier(3) as number:
        assert_type(number, int)
    async with lock.reading, lock.writing, keyed("key"), concurrency.Semaphore(3).weighing(2):
        pass
    assert_type(lock.writing.run(plain, 1), Deferred[str])
    assert_type(keyed("key").run(coroutine, 1), Deferred[str])
    assert_type(concurrency.Semaphore(3).acquire(2), Deferred[bool])
    async with condition:
        # The block is known not to swallow exceptions.
        return 1


async def queues(queue: concurrency.Queue[int], channel: concurrency.Channel[str]) -> None:
    assert_type(queue.put(1), Deferred[None])
    assert_type(queue.get(), Deferred[int])
    assert_type(queue.get_nowait(), int)
    assert_type(queue.join(), Deferred[None])
    async for item in queue:
        assert_type(item, int)
    async for text in channel:
        assert_type(text, str)
    assert_type(channel.receive(), Deferred[str])
    prioritised: concurrency.Queue[tuple[int, str]] = concurrency.PriorityQueue(3)
    assert_type(await prioritised.get(), tuple[int, str])
    broadcast = concurrency.Broadcast[bytes](maxsize=3)
    subscription = broadcast.subscribe()
    assert_type(subscription, concurrency.Subscription[bytes])
    async for data in subscription:
        assert_type(data, bytes)


def sharing(d: Deferred[int]) -> None:
    shared = concurrency.Observable(d)
    assert_type(shared.observe(), Deferred[int])
    assert_type(concurrency.once(deferred)(1), Deferred[str])
    assert_type(concurrency.once(coroutine)(1), Deferred[str])
    concurrency.once(deferred)("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def contexts(function: Callable[[int], str], d: concurrency.ContextDeferred[int]) -> None:
    assert_type(concurrency.in_context(function), Callable[[int], str])
    d.addCallback(plain)


def rejected(
    queue: concurrency.Queue[int], work: Coroutine[Any, Any, int], d: Deferred[int]
) -> None:
    queue.put("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    concurrency.sleep(1, clock=object())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    concurrency.map(plain, [1])  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    concurrency.map(plain, ["text"], limit=1)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    concurrency.shield(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
