"""More of `deferrous.concurrency`: what waits is cancelled, closed, aborted and shut down."""

from __future__ import annotations

import random
import threading
from typing import Any

from deferrous import (
    AlreadyCalledError,
    CancelledError,
    Deferred,
    DeferredLock,
    DeferredSemaphore,
    ensureDeferred,
)
from deferrous import concurrency as c
from deferrous.failure import Failure

from .parts import THREADS, at_once


def full_queue(rng: random.Random) -> None:
    """Several take out of a full queue, and others wait to put: no getter waits beside an item."""
    kind: Any = rng.choice((c.Queue, c.PriorityQueue, c.LifoQueue))
    queues: list[Any] = [kind(1) for _ in range(60)]
    putting = [[queue.put(number) for number in range(5)] for queue in queues]
    getting: list[list[Deferred[int]]] = [[] for _ in queues]

    def get() -> None:
        for queue, each in zip(queues, getting, strict=True):
            each.append(queue.get())
            each.append(queue.get())

    at_once(get, get, get)
    for queue, puts, gets in zip(queues, putting, getting, strict=True):
        assert all(each.called for each in puts), puts
        got = [each.result for each in gets if each.called]
        assert sorted(got) == [*range(5)], (got, queue)
        waiting = [each for each in gets if not each.called]
        assert len(waiting) == 1 and queue.empty(), (waiting, queue)
        queue.put(5)
        assert waiting[0].called


def all_of_queues(rng: random.Random) -> None:
    """Items are put, got, given up and taken back in all ways: each is got once, and joined."""
    kind: Any = rng.choice((c.Queue, c.PriorityQueue, c.LifoQueue))
    queue = kind(rng.choice((0, 1, 2)))
    got: list[int] = []
    put: list[int] = []
    asked: list[Deferred[int]] = []
    cancelled = (CancelledError,)

    def send(thread: int) -> None:
        for number in range(thread * 1000, thread * 1000 + 40):
            if number % 4 == 0:
                try:
                    queue.put_nowait(number)
                except c.QueueFull:
                    continue
                put.append(number)
            else:
                queue.put(number).addCallbacks(
                    lambda _, number=number: put.append(number), lambda it: it.trap(cancelled[0])
                )

    def receive() -> None:
        async def wait() -> None:
            try:
                got.append(await queue.get())
            except cancelled:
                pass

        for number in range(40):
            if number % 3 == 0:
                ensureDeferred(wait()).cancel()
            elif number % 3 == 1:
                asked.append(queue.get().addCallbacks(got.append, lambda it: it.trap(cancelled[0])))
            else:
                try:
                    got.append(queue.get_nowait())
                except c.QueueEmpty:
                    pass

    def give_up() -> None:
        for _ in range(40):
            for each in asked[-5:]:
                each.cancel()

    at_once(lambda: send(1), lambda: send(2), receive, receive, give_up)
    for each in asked:
        each.cancel()
    while queue.qsize():
        got.append(queue.get_nowait())
    assert sorted(got) == sorted(put), (sorted(got), sorted(put))
    ended: list[Any] = []
    queue.join().addCallback(ended.append)
    for _ in got:
        assert not ended
        queue.task_done()
    assert ended == [None]


def shut_at_once(rng: random.Random) -> None:
    """Queues and channels end as others use them: who waited is told, what was got is got once."""
    kind: Any = rng.choice((c.Queue, c.PriorityQueue, c.LifoQueue))
    queue = kind(2)
    outcomes: list[list[list[Any]]] = [[] for _ in range(THREADS)]
    joined: list[list[Any]] = []

    def work(thread: int) -> None:
        for number in range(40):
            outcome: list[Any] = []
            outcomes[thread].append(outcome)
            using: Any = queue.put(number) if thread % 2 else queue.get()
            using.addBoth(outcome.append)
            if number % 7 == 0:
                joins: list[Any] = []
                joined.append(joins)
                queue.join().addBoth(joins.append)

    at_once(
        *(lambda thread=thread: work(thread) for thread in range(THREADS)),
        lambda: queue.shutdown(immediate=True),
        queue.shutdown,
    )
    assert all(len(outcome) == 1 for each in outcomes for outcome in each)
    got = [it[0] for each in outcomes[::2] for it in each if not isinstance(it[0], Failure)]
    for _ in got:
        try:
            queue.task_done()
        except ValueError:
            break
    assert all(len(each) == 1 for each in joined), joined


def channels_closed(rng: random.Random) -> None:
    """A channel is closed as others send and receive: what was sent is received, or refused."""
    channel: c.Channel[int] = c.Channel(rng.choice((0, 1, 3)))
    sent: list[int] = []
    got: list[int] = []
    ended: list[int] = []

    def send(thread: int) -> None:
        for number in range(thread * 100, thread * 100 + 50):
            channel.send(number).addCallbacks(
                lambda _, number=number: sent.append(number), lambda it: ended.append(1)
            )

    def receive() -> None:
        for _ in range(50):
            channel.receive().addCallbacks(got.append, lambda it: ended.append(1))

    async def iterate() -> None:
        async for item in channel:
            got.append(item)

    iterated: list[Any] = []
    at_once(
        lambda: send(0),
        lambda: send(1),
        receive,
        lambda: ensureDeferred(iterate()).addBoth(iterated.append) and None,
        channel.close,
    )
    while True:
        last = channel.receive()
        last.addCallbacks(got.append, lambda _: None)
        if last.result is None and not got[-1:] == [last.result]:
            if channel.closed and not _has_items(channel):
                break
    assert iterated == [None], iterated
    assert sorted(got) == sorted(sent), (sorted(got), sorted(sent))


def _has_items(channel: Any) -> bool:
    return bool(channel._buffer or channel._returned or len(channel._putting))


def subscribed(rng: random.Random) -> None:
    """Some subscribe and close as others send: each gets each item once."""
    broadcast: c.Broadcast[int] = c.Broadcast(rng.choice((0, 2)))
    ends = threading.Event()
    rows: list[list[int]] = []
    cancelled = (CancelledError,)

    def send() -> None:
        number = 0
        sending: list[Any] = []
        while number < 150:
            sending.append(broadcast.send(number))
            number += 1
        ends.set()

    def read() -> None:
        while not ends.is_set():
            row: list[int] = []
            rows.append(row)
            subscription = broadcast.subscribe()
            for number in range(8):
                asked = subscription.get()
                if number % 3 == 2:
                    asked.addCallbacks(row.append, lambda it: it.trap(*cancelled)).cancel()
                else:
                    asked.addCallbacks(row.append, lambda _: None)
            subscription.close()

    stays = broadcast.subscribe()
    all_of_them: list[int] = []

    def stay() -> None:
        for _ in range(150):
            stays.get().addCallback(all_of_them.append)

    at_once(send, read, read, stay)
    assert all_of_them == [*range(150)] or sorted(all_of_them) == [*range(150)], all_of_them
    for row in rows:
        assert len(set(row)) == len(row), row


def barriers_broken(rng: random.Random) -> None:
    """A barrier is reset and aborted as others come to it: each has one outcome."""
    barrier = c.Barrier(3)
    outcomes: list[list[list[Any]]] = [[] for _ in range(THREADS)]

    def come(thread: int) -> None:
        for number in range(60):
            outcome: list[Any] = []
            outcomes[thread].append(outcome)
            waiting = barrier.wait().addBoth(outcome.append)
            if number % 11 == 0:
                waiting.cancel()

    def break_() -> None:
        for _ in range(30):
            barrier.reset()

    at_once(*(lambda thread=thread: come(thread) for thread in range(THREADS)), break_)
    barrier.abort()
    passed = [0, 0, 0]
    for outcome in [outcome for each in outcomes for outcome in each]:
        assert len(outcome) == 1, outcome
        if isinstance(outcome[0], int):
            passed[outcome[0]] += 1
        else:
            assert outcome[0].check(c.BrokenBarrierError, CancelledError), outcome
    # Who is cancelled when all have come does not go on.
    assert passed[2] >= passed[0] >= passed[1], passed


def conditions(rng: random.Random) -> None:
    """Who waits for a condition is cancelled as others notify: no wakening is lost."""
    condition = c.Condition(DeferredLock() if rng.random() < 0.5 else None)
    within: list[int] = []
    items: list[int] = []
    took: list[int] = []
    results: list[Deferred[Any]] = []
    ended: list[list[Any]] = []

    def alone() -> None:
        within.append(1)
        assert len(within) == 1, within
        within.pop()

    async def take() -> None:
        async with condition:
            alone()
            while not items:
                await condition.wait()
                alone()
            took.append(items.pop())

    async def put(number: int) -> None:
        async with condition:
            alone()
            items.append(number)
            condition.notify()

    def takers() -> None:
        for _ in range(40):
            end: list[Any] = []
            ended.append(end)
            results.append(ensureDeferred(take()).addBoth(end.append))

    def putters(first: int) -> None:
        for number in range(first, first + 30):
            ensureDeferred(put(number))

    def cancel() -> None:
        for _ in range(30):
            for each in results[-6::2]:
                each.cancel()

    at_once(takers, lambda: putters(0), cancel, lambda: putters(30))
    # Who waits still, waits for an item.
    waits = [end for end in ended if not end]
    assert not (waits and items), (len(waits), items)
    assert not condition.locked(), condition
    assert sorted(took + items) == [*range(60)], (sorted(took), items)
    for each in results:
        each.cancel()
    assert all(len(end) == 1 for end in ended), ended
    assert not condition.locked(), condition


async def _wait(waited: Deferred[Any]) -> None:
    await waited


def group_grows(rng: random.Random) -> None:
    """Tasks are created as others join: the group ends when all have that it took."""
    groups: list[Any] = [c.TaskGroup() for _ in range(60)]
    taken: list[list[Deferred[Any]]] = [[] for _ in groups]
    waiting: list[Deferred[Any]] = []
    ended: list[list[Any]] = [[] for _ in groups]
    opens = rng.random() < 0.5

    async def block(group: Any) -> None:
        async with group:
            pass

    def create() -> None:
        for number in range(4 * len(groups)):
            waited: Deferred[Any] = Deferred()
            if number % 3 == 0:
                waited.callback(None)
            coroutine = _wait(waited)
            try:
                made = groups[number // 4].create_task(coroutine)
            except RuntimeError:
                coroutine.close()
                continue
            taken[number // 4].append(made)
            waiting.append(waited)

    def join() -> None:
        for group, own, end in zip(groups, taken, ended, strict=True):

            def look(_: Any, own: Any = own, end: Any = end) -> None:
                end.append([each for each in own if not each.called])

            if opens:
                group.open().join().addBoth(look)
            else:
                ensureDeferred(block(group)).addBoth(look)

    def fire() -> None:
        for _ in range(3):
            for each in waiting[:]:
                try:
                    each.callback(None)
                except AlreadyCalledError:
                    pass

    at_once(create, create, join, fire)
    fire()
    assert all(each.called for own in taken for each in own)
    assert ended == [[[]]] * len(groups), ended


def group_fails(rng: random.Random) -> None:
    """Tasks are created as others fail: each task ends, and the group once."""
    groups: list[Any] = [c.TaskGroup().open() for _ in range(30)]
    taken: list[list[Deferred[Any]]] = [[] for _ in groups]
    ended: list[list[Any]] = [[] for _ in groups]

    def create() -> None:
        for group, own in zip(groups, taken, strict=True):
            for _ in range(4):
                coroutine = _wait(Deferred())
                try:
                    own.append(group.create_task(coroutine))
                except RuntimeError:
                    coroutine.close()

    def fail() -> None:
        for group in groups:
            waited: Deferred[Any] = Deferred()
            coroutine = _wait(waited)
            try:
                group.create_task(coroutine)
                waited.errback(ValueError())
            except (RuntimeError, AlreadyCalledError):
                coroutine.close()

    def cancel() -> None:
        for group in groups[::2]:
            group.cancel()

    at_once(create, create, fail, cancel)
    for group, end in zip(groups, ended, strict=True):
        group.join().addBoth(end.append)
    assert all(each.called for own in taken for each in own)
    assert [len(end) for end in ended] == [1] * len(groups), ended


def called_once(rng: random.Random) -> None:
    """Callers of `observe` leave as the result comes: it comes once to each that stays."""
    deferreds: list[Deferred[int]] = [Deferred() for _ in range(40)]
    all_shared = [c.Observable(deferred, cancel_unobserved=True) for deferred in deferreds]
    seen: list[list[Any]] = [[] for _ in deferreds]

    def observe() -> None:
        for shared, each in zip(all_shared, seen, strict=True):
            for number in range(6):
                observer = shared.observe()
                observer.addBoth(each.append)
                if number % 2:
                    observer.cancel()

    def fire() -> None:
        for deferred in deferreds:
            try:
                deferred.callback(1)
            except AlreadyCalledError:
                pass

    at_once(observe, observe, fire)
    for each in seen:
        assert len(each) == 12, each
        for result in each:
            assert result == 1 or result.check(CancelledError), each


def semaphores_changed(rng: random.Random) -> None:
    """Tokens are taken and given by coroutines that are cancelled: as many are there in the end."""
    make, most = rng.choice(
        (
            (lambda: DeferredSemaphore(2), 2),
            (DeferredLock, 1),
            (lambda: c.Semaphore(2), 2),
            (lambda: c.BoundedSemaphore(2), 2),
            (lambda: c.ReadWriteLock().writing, 1),
            (lambda: c.ReadWriteLock().reading, 1000),
            (lambda: c.KeyedLock[str](2)("key"), 2),
        )
    )
    lock: Any = make()
    within: list[int] = []
    results: list[Deferred[Any]] = []
    ended: list[list[Any]] = []

    async def use(waited: Deferred[None]) -> None:
        async with lock:
            within.append(1)
            assert len(within) <= most, within
            try:
                await waited
            finally:
                within.pop()

    def run(_: Any, waited: Deferred[None]) -> Any:
        return waited

    def begin(thread: int) -> None:
        for number in range(40):
            waited: Deferred[None] = Deferred()
            end: list[Any] = []
            ended.append(end)
            if number % 4 == 3 and hasattr(lock, "run"):
                result = lock.run(run, None, waited)
            else:
                result = ensureDeferred(use(waited))
            result.addBoth(end.append)
            results.append(result)
            if number % 2:
                try:
                    waited.callback(None)
                except AlreadyCalledError:
                    pass

    def cancel() -> None:
        for _ in range(50):
            for each in results[-8:]:
                each.cancel()

    at_once(lambda: begin(0), lambda: begin(1), cancel, cancel)
    for each in results:
        each.cancel()
    assert all(len(end) == 1 for end in ended), [end for end in ended if len(end) != 1]
    assert not within, within
    acquired = [lock.acquire() for _ in range(most)]
    assert all(each.called for each in acquired), (lock, acquired)


PROGRAMS = (
    full_queue,
    all_of_queues,
    shut_at_once,
    channels_closed,
    subscribed,
    barriers_broken,
    conditions,
    group_grows,
    group_fails,
    called_once,
    semaphores_changed,
)
