"""Locks, semaphores and queues that several threads use, and what is traced of them."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

from deferrous import (
    CancelledError,
    Deferred,
    DeferredLock,
    DeferredQueue,
    DeferredSemaphore,
    ensureDeferred,
    trace,
)

from .parts import THREADS, at_once, make_list


def lock(rng: random.Random) -> None:
    """A lock has one holder at a time, and everybody gets it in the end."""
    the_lock = DeferredLock()
    if rng.random() < 0.5:
        make_list(the_lock.waiting)
    holders: list[int] = []
    got = [0] * THREADS
    gave_up = [0] * THREADS

    def work(thread: int) -> None:
        def acquired(held: DeferredLock) -> None:
            holders.append(thread)
            assert len(holders) == 1, holders
            got[thread] += 1
            holders.pop()
            held.release()

        def give_up(reason: Any) -> None:
            reason.trap(CancelledError)
            gave_up[thread] += 1

        for number in range(30):
            acquiring = the_lock.acquire().addCallbacks(acquired, give_up)
            if number % 3 == 0:
                acquiring.cancel()

    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    assert [sum(both) for both in zip(got, gave_up, strict=True)] == [30] * THREADS, (got, gave_up)
    assert not the_lock.waiting
    assert not the_lock.locked


def semaphore(rng: random.Random) -> None:
    """A semaphore has no more holders than tokens, and everybody gets one in the end."""
    # CPython makes ints above 256 anew each time.
    tokens = rng.choice((2, 300))
    the_semaphore = DeferredSemaphore(tokens)
    held_all_the_time = tokens - 2
    for _ in range(held_all_the_time):
        the_semaphore.acquire()
    if rng.random() < 0.5:
        make_list(the_semaphore.waiting)
    within: list[int] = []
    got: list[int] = []

    def work(thread: int) -> None:
        def acquired(held: DeferredSemaphore) -> None:
            within.append(thread)
            assert len(within) <= 2, within
            got.append(thread)
            within.pop()
            held.release()

        for _ in range(30):
            the_semaphore.acquire().addCallback(acquired)

    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    assert sorted(got) == sorted([*range(THREADS)] * 30), got
    assert the_semaphore.tokens == 2


def queue(rng: random.Random) -> None:
    """Every item is got once."""
    the_queue: DeferredQueue[int] = DeferredQueue()
    for line in (the_queue.waiting, the_queue.pending):
        if rng.random() < 0.5:
            make_list(line)
    got: list[list[int]] = [[] for _ in range(THREADS)]

    def put(begin: int) -> None:
        for number in range(begin, begin + 50):
            the_queue.put(number)

    def get(into: list[int]) -> None:
        for _ in range(50):
            the_queue.get().addCallback(into.append)

    at_once(lambda: put(0), lambda: get(got[0]), lambda: put(50), lambda: get(got[1]))
    assert sorted(got[0] + got[1]) == list(range(100)), got
    assert len(the_queue.pending) == 0 and len(the_queue.waiting) == 0


def line_as_list(rng: random.Random) -> None:
    """A program takes items out of the line itself, and puts others in: each is got once."""
    the_queue: DeferredQueue[Any] = DeferredQueue()
    got: list[Any] = []
    taken: list[list[Any]] = [[], []]

    def put() -> None:
        for number in range(60):
            the_queue.put(number)

    def get() -> None:
        for _ in range(60):
            the_queue.get().addCallback(got.append)

    def change(thread: int) -> None:
        for number in range(30):
            try:
                taken[thread].append(the_queue.pending.pop())
            except IndexError:
                pass
            the_queue.pending.append((thread, number))

    at_once(put, get, lambda: change(0), lambda: change(1))
    items = [*got, *taken[0], *taken[1], *the_queue.pending]
    assert len(items) == len(set(items)) == 120, (len(items), len(set(items)))


def take_back(rng: random.Random) -> None:
    """What coroutines were given that are cancelled goes to others: every item is got once."""
    the_queue: DeferredQueue[int] = DeferredQueue()
    got: list[int] = []
    results: list[Deferred[Any]] = []

    async def get() -> None:
        item = await the_queue.get()
        got.append(item)

    def start() -> None:
        for _ in range(60):
            results.append(ensureDeferred(get()).addErrback(lambda reason: None))

    def put() -> None:
        for number in range(30):
            the_queue.put(number)

    def cancel() -> None:
        for result in results[::2]:
            result.cancel()

    start()
    at_once(put, cancel, put)
    while the_queue.pending:
        the_queue.get().addCallback(got.append)
    assert sorted(got) == sorted([*range(30)] * 2), sorted(got)


def tasks(rng: random.Random) -> None:
    """What cancelled tasks of asyncio were given goes to others: every item is got once."""
    the_queue: DeferredQueue[int] = DeferredQueue()
    got: list[int] = []

    async def get() -> None:
        got.append(await the_queue.get())

    async def all_of_them() -> None:
        running = [asyncio.ensure_future(get()) for _ in range(30)]
        await asyncio.sleep(0)
        started.set()
        for task in running[::2]:
            task.cancel()
            await asyncio.sleep(0)
        for number in range(30, 60):
            the_queue.put(number)
        await asyncio.gather(*running, return_exceptions=True)

    def put() -> None:
        started.wait()
        for number in range(30):
            the_queue.put(number)

    started = threading.Event()
    at_once(lambda: asyncio.run(all_of_them()), put)
    while the_queue.pending:
        the_queue.get().addCallback(got.append)
    assert sorted(got) == [*range(60)], sorted(got)


def traced(rng: random.Random) -> None:
    """Each that waits in a line, and is handed something by some thread, is traced to be fired."""
    the_queue: DeferredQueue[int] = DeferredQueue()
    the_lock, the_semaphore = DeferredLock(), DeferredSemaphore(1)
    for held in (the_lock, the_semaphore):
        held.acquire()

    def put() -> None:
        for number in range(40):
            the_queue.put(number)

    with trace(capacity=100_000) as whole:
        kept: list[Any] = [the_queue.get() for _ in range(80)]
        for held in (the_lock, the_semaphore):
            waiting = [held.acquire() for _ in range(40)]
            kept += [one.addCallback(lambda it: it.release()) for one in waiting]
        at_once(put, put, the_lock.release, the_semaphore.release)
    fired = [event.subject for event in whole.events if event.kind == "fired"]
    assert whole.lost == 0
    assert len(fired) == len(set(fired)) == len(kept) == 160, (len(fired), len(set(fired)))


def lines_replaced(rng: random.Random) -> None:
    """The lines of locks and queues are shown and compared, while others use them."""
    queue: DeferredQueue[Any] = DeferredQueue()
    lock = DeferredLock()
    ends = threading.Event()
    held: list[int] = []

    def use_queue() -> None:
        for number in range(80):
            queue.put(number)
            queue.get().addErrback(lambda _: None).cancel()

    def use_lock() -> None:
        def acquired(_: Any) -> None:
            held.append(1)
            assert len(held) == 1, held
            held.pop()
            lock.release()

        for _ in range(80):
            lock.acquire().addCallback(acquired)

    def look() -> None:
        for _ in range(20):
            list(queue.pending), list(queue.waiting), list(lock.waiting)
            repr(queue.pending), len(lock.waiting)
            assert [1, 1] not in (queue.pending, queue.waiting)
            assert all(it.called in (True, False) for it in lock.waiting)
        ends.set()

    at_once(use_queue, use_queue, use_lock, use_lock, look)
    assert not held and not lock.locked and not lock.waiting


PROGRAMS = (lock, semaphore, queue, line_as_list, take_back, tasks, traced, lines_replaced)
