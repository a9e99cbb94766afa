"""Locks, semaphores and queues."""

from typing import Any

from deferrous import (
    Deferred,
    DeferredFilesystemLock,
    DeferredLock,
    DeferredQueue,
    DeferredSemaphore,
)
from typing_extensions import assert_type


def plain(x: int) -> str: ...  # type: ignore[empty-body]
def deferred(x: int, y: bytes = b"") -> Deferred[str]: ...  # type: ignore[empty-body]
async def coroutine(x: int) -> str: ...  # type: ignore[empty-body]


def locks(lock: DeferredLock, semaphore: DeferredSemaphore) -> None:
    assert_type(lock.acquire(), Deferred[DeferredLock])
    assert_type(lock.release(), None)
    assert_type(lock.locked, bool)
    assert_type(lock.run(plain, 1), Deferred[str])
    assert_type(lock.run(deferred, 1, y=b"y"), Deferred[str])
    assert_type(lock.run(coroutine, 1), Deferred[str])
    assert_type(lock.run(lambda: 1), Deferred[int])
    assert_type(lock.waiting[0], Deferred[DeferredLock])
    assert_type(len(lock.waiting), int)

    assert_type(semaphore.acquire(), Deferred[DeferredSemaphore])
    assert_type(semaphore.release(), None)
    assert_type(semaphore.tokens, int)
    assert_type(semaphore.limit, int)
    assert_type(semaphore.run(deferred, 1), Deferred[str])
    assert_type(DeferredSemaphore(tokens=2).waiting[0], Deferred[DeferredSemaphore])
    semaphore.waiting = []
    for waiter in semaphore.waiting:
        assert_type(waiter, Deferred[DeferredSemaphore])


async def held(lock: DeferredLock, semaphore: DeferredSemaphore) -> int:
    async with lock as it:
        assert_type(it, DeferredLock)
    async with semaphore:
        # The block is known not to swallow exceptions.
        return 1


class Gate(DeferredLock):
    open: bool = False


def subclass(gate: Gate) -> None:
    assert_type(gate.acquire().addCallback(lambda x: x.open), Deferred[bool])


def queues(queue: DeferredQueue[int]) -> None:
    assert_type(DeferredQueue[str](size=3, backlog=None), DeferredQueue[str])
    assert_type(queue.get(), Deferred[int])
    assert_type(queue.put(1), None)
    assert_type(queue.size, int | None)
    assert_type(queue.backlog, int | None)
    assert_type(queue.waiting[0], Deferred[int])
    assert_type(queue.pending[0], int)
    assert_type(queue.pending[1:], list[int])
    assert_type(queue.pending.pop(), int)
    assert_type(queue.pending + queue.pending, list[int])
    assert_type(sum(queue.pending), int)
    queue.pending = [1, 2]
    queue.waiting[0] = Deferred()
    queue.size = None
    queue.backlog = 3


async def consumed(queue: DeferredQueue[tuple[str, Any]]) -> None:
    name, _ = await queue.get()
    assert_type(name, str)


def files(lock: DeferredFilesystemLock) -> None:
    assert_type(lock.deferUntilLocked(timeout=3), Deferred[None])
    assert_type(lock.lock(), bool)
    assert_type(lock.unlock(), None)
    assert_type(lock.name, str)
    assert_type(lock.locked, bool)
    assert_type(lock.clean, bool | None)
