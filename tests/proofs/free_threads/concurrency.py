"""What is in `deferrous.concurrency`, used by several threads."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from deferrous import AlreadyCalledError, CancelledError, Deferred, ensureDeferred
from deferrous import concurrency as c

from .parts import THREADS, at_once


def event(rng: random.Random) -> None:
    """Those that wait cancel, while others set it and clear it: each has one outcome."""
    it = c.Event()
    outcomes: list[list[list[Any]]] = [[] for _ in range(THREADS)]
    cancelled = (CancelledError,)

    def wait(thread: int) -> None:
        for number in range(60):
            outcome: list[Any] = []
            waiting = it.wait().addBoth(outcome.append)
            outcomes[thread].append(outcome)
            if number % 3 == 0:
                waiting.cancel()

    def wake() -> None:
        for _ in range(100):
            it.set()
            it.clear()

    waits = [lambda thread=thread: wait(thread) for thread in range(THREADS)]
    at_once(*waits, wake, wake)
    it.set()
    for each in outcomes:
        assert len(each) == 60
        for outcome in each:
            assert outcome == [True] or (len(outcome) == 1 and outcome[0].check(*cancelled)), (
                outcome
            )


def event_once(rng: random.Random) -> None:
    """It is set while others begin to wait: nobody waits for ever."""
    events = [c.Event() for _ in range(60)]
    seen: list[list[Any]] = [[] for _ in range(THREADS)]

    def wait(thread: int) -> None:
        for it in events:
            it.wait().addCallback(seen[thread].append)

    def wake() -> None:
        for it in events:
            it.set()

    at_once(*(lambda thread=thread: wait(thread) for thread in range(THREADS)), wake)
    assert seen == [[True] * 60] * THREADS, [len(each) for each in seen]


def _exclusive(lock: Any, most: int) -> Callable[[int], None]:
    """Return what acquires a lock many times, and looks how many hold it."""
    within: list[int] = []

    def work(thread: int) -> None:
        def acquired(_: Any) -> None:
            within.append(thread)
            assert len(within) <= most, within
            within.remove(thread)
            lock.release()
            got.append(thread)

        def give_up(reason: Any) -> None:
            reason.trap(CancelledError)
            got.append(thread)

        got: list[int] = []
        for number in range(40):
            acquiring = lock.acquire().addCallbacks(acquired, give_up)
            if number % 5 == 0:
                acquiring.cancel()
        counts.append(got)

    counts: list[list[int]] = []
    work.counts = counts  # type: ignore[attr-defined]
    return work


def _use(lock: Any, most: int) -> None:
    work: Any = _exclusive(lock, most)
    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    assert [len(got) for got in work.counts] == [40] * THREADS, work.counts


def by_weight(rng: random.Random) -> None:
    """A semaphore by weight has as much in the end as at first."""
    it = c.Semaphore(3)
    _use(it, 3)
    _use(it.weighing(2), 1)
    assert it.value == 3
    assert it.acquire(3).called


def readers(rng: random.Random) -> None:
    """Who writes is alone."""
    it = c.ReadWriteLock()
    within: list[int] = []
    ended: list[int] = []

    def work(side: Any, sign: int) -> None:
        def acquired(_: Any) -> None:
            within.append(sign)
            assert sign > 0 or len(within) == 1, within
            within.remove(sign)
            side.release()
            ended.append(sign)

        for _ in range(40):
            side.acquire().addCallback(acquired)

    reading, writing = it.reading, it.writing
    at_once(*[lambda: work(reading, 1)] * 3, lambda: work(writing, -1))
    assert len(ended) == 160, len(ended)
    assert not it.locked()


def by_key(rng: random.Random) -> None:
    """A lock by key has one holder, and nothing is left of it."""
    it: c.KeyedLock[str] = c.KeyedLock()
    _use(it("key"), 1)
    assert len(it) == 0


def barrier(rng: random.Random) -> None:
    """All go on together, each with a number of its own."""
    rounds = [c.Barrier(THREADS) for _ in range(40)]
    numbers: list[list[int]] = [[] for _ in rounds]

    def work() -> None:
        for it, seen in zip(rounds, numbers, strict=True):
            it.wait().addCallback(seen.append)

    at_once(*[work] * THREADS)
    assert [sorted(seen) for seen in numbers] == [[*range(THREADS)]] * 40, numbers


def condition(rng: random.Random) -> None:
    """Whoever waits holds the lock when it goes on, and all are woken that were to be."""
    it = c.Condition()
    ready: list[int] = []
    woken: list[int] = []
    within: list[int] = []
    results: list[Deferred[Any]] = []

    async def wait() -> None:
        async with it:
            await it.wait_for(lambda: ready)
            within.append(1)
            assert len(within) == 1, within
            ready.pop()
            woken.append(1)
            within.pop()

    async def prepare() -> None:
        async with it:
            ready.append(1)
            it.notify()

    def many(one: Callable[[], Any]) -> None:
        results.extend([ensureDeferred(one()) for _ in range(30)])

    at_once(lambda: many(wait), lambda: many(prepare), lambda: many(wait), lambda: many(prepare))
    assert all(result.called for result in results), [r for r in results if not r.called]
    assert len(woken) == 60, len(woken)
    assert not it.locked()


def _items(put: Callable[[int], Any], get: Callable[[], Any]) -> None:
    """Have some put and others get: every item is got once, and whoever put one is told."""
    got: list[list[int]] = [[], []]
    done: list[list[Any]] = [[], []]

    def send(thread: int) -> None:
        for number in range(thread * 60, (thread + 1) * 60):
            put(number).addCallback(done[thread].append)

    def receive(thread: int) -> None:
        for _ in range(60):
            get().addCallback(got[thread].append)

    at_once(lambda: send(0), lambda: receive(0), lambda: send(1), lambda: receive(1))
    assert sorted(got[0] + got[1]) == [*range(120)], got
    assert [len(each) for each in done] == [60, 60], done


def queues(rng: random.Random) -> None:
    """Every item of a queue is got once."""
    it: Any = rng.choice((c.Queue, c.PriorityQueue, c.LifoQueue))(rng.choice((0, 1, 3)))
    ended: list[Any] = []
    _items(it.put, it.get)
    it.join().addCallback(ended.append)
    at_once(*[lambda: [it.task_done() for _ in range(30)] and None] * 4)
    assert ended == [None]


def channel(rng: random.Random) -> None:
    """Every item of a channel is received once."""
    it: c.Channel[int] = c.Channel(rng.choice((0, 1, 3)))
    _items(it.send, it.receive)


def given_up(rng: random.Random) -> None:
    """Those that put and get give up: an item is got, or who put it knows that it is not."""
    it: Any = rng.choice((lambda: c.Queue(1), lambda: c.Channel(1)))()
    put, get = (it.put, it.get) if isinstance(it, c.Queue) else (it.send, it.receive)
    got: list[int] = []
    refused: list[int] = []
    left: list[Deferred[Any]] = []

    def send() -> None:
        for number in range(80):
            sent = put(number).addErrback(lambda _, number=number: refused.append(number))
            if number % 2:
                sent.cancel()

    def receive() -> None:
        for number in range(80):
            receiving = get().addCallbacks(got.append, lambda _: None)
            left.append(receiving)
            if number % 3 == 0:
                receiving.cancel()

    at_once(send, receive, lambda: [receiving.cancel() for receiving in left[:]] and None)
    while True:
        receiving = get().addCallbacks(got.append, lambda _: None)
        if not receiving.called:
            receiving.cancel()
            break
    assert sorted(got + refused) == [*range(80)], (sorted(got), sorted(refused))


def broadcast(rng: random.Random) -> None:
    """Each that has subscribed gets all items, in one order."""
    it: c.Broadcast[int] = c.Broadcast(rng.choice((0, 1, 3)))
    subscriptions = [it.subscribe() for _ in range(2)]
    got: list[list[int]] = [[], []]
    done: list[list[Any]] = [[], []]

    def send(thread: int) -> None:
        for number in range(thread * 50, (thread + 1) * 50):
            it.send(number).addCallback(done[thread].append)

    def receive(thread: int) -> None:
        for _ in range(100):
            subscriptions[thread].get().addCallback(got[thread].append)

    at_once(lambda: send(0), lambda: receive(0), lambda: send(1), lambda: receive(1))
    assert sorted(got[0]) == sorted(got[1]) == [*range(100)], got
    assert [len(each) for each in done] == [50, 50]


def shut_down(rng: random.Random) -> None:
    """A queue is shut down while others use it: nobody waits for ever."""
    it: c.Queue[int] = c.Queue(2)
    ended: list[list[Any]] = [[] for _ in range(THREADS)]

    def work(thread: int) -> None:
        for number in range(40):
            using: Any = it.put(number) if thread % 2 else it.get()
            using.addBoth(ended[thread].append)

    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)), it.shutdown)
    while it.qsize():
        it.get_nowait()
    assert [len(each) for each in ended] == [40] * THREADS, [len(each) for each in ended]


def by_hand(rng: random.Random) -> None:
    """Those that wait are fired by hand, too: each has one outcome."""
    it = c.Event()
    waiting = [it.wait() for _ in range(60)]
    outcomes: list[list[Any]] = [[] for _ in waiting]
    for one, outcome in zip(waiting, outcomes, strict=True):
        one.addBoth(outcome.append)

    def fire() -> None:
        for one in waiting:
            try:
                one.callback(True)
            except AlreadyCalledError:
                pass

    at_once(fire, it.set, lambda: [one.cancel() for one in waiting[::2]] and None)
    assert all(len(outcome) == 1 for outcome in outcomes), outcomes


PROGRAMS = (
    event,
    event_once,
    by_weight,
    readers,
    by_key,
    barrier,
    condition,
    queues,
    channel,
    given_up,
    broadcast,
    shut_down,
    by_hand,
)
