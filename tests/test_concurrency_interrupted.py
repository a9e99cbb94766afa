"""A signal's exception, as KeyboardInterrupt, on any line of ours.

What is one step is done, or not: nobody waits for what has happened, and nothing is lost.
"""

from __future__ import annotations

import pytest
from concurrency_helpers import result_of
from deferrous import Deferred
from deferrous import concurrency as c
from interrupted_helpers import check_on_any_line

pytestmark = pytest.mark.deferrous_only


def setting():
    event = c.Event()
    waits = event.wait()
    return event.set, lambda: event.is_set() == waits.called


def coming():
    barrier, got = c.Barrier(2), []
    waits = barrier.wait()
    return lambda: got.append(barrier.wait()), lambda: bool(got) == waits.called


def getting(method, make=c.Queue):
    """With another who waits to put one."""

    def operation():
        queue, got = make(1), []
        queue.put_nowait("one")
        waits = queue.put("other")
        get = getattr(queue, method)

        def whole():
            left = queue.qsize()
            taken = queue.get_nowait() if left else None
            return (left, taken) == (1, "other" if got else "one") and waits.called

        return lambda: got.append(get()), whole

    return operation


def taking(method, make=c.Queue):
    """With nobody else there."""

    def operation():
        queue, got = make(), []
        for item in (1, 2, 3):
            queue.put_nowait(item)
        get = getattr(queue, method)

        def items_of(given):
            given = [result_of(each) if isinstance(each, Deferred) else each for each in given]
            return given + [queue.get_nowait() for _ in range(queue.qsize())]

        def whole():
            found = items_of(got)
            for _ in found:
                queue.task_done()
            return sorted(found) == [1, 2, 3] and queue.join().called

        return lambda: got.append(get()), whole

    return operation


def putting(method, make=c.Queue, waiting=False):
    def operation():
        queue, put = make(), []
        if not waiting:
            queue.put_nowait(2)
        gets = queue.get() if waiting else None

        def whole():
            items = [queue.get_nowait() for _ in range(queue.qsize())]
            items += [result_of(gets)] if gets is not None and gets.called else []
            for _ in items:
                queue.task_done()
            # What is put in is counted, and what is not is not.
            return queue.join().called and len(items) - (not waiting) >= len(put)

        return lambda: put.append(getattr(queue, method)(1)), whole

    return operation


def done_with():
    queue = c.Queue()
    queue.put_nowait(1)
    queue.get_nowait()
    waits = queue.join()
    return queue.task_done, lambda: waits.called == queue.join().called


def shutting(make, immediate=False, capacity=1):
    """With some who wait to put, to get, or for all to be done."""

    def operation():
        full, empty = make(capacity), make(capacity)
        for item in range(capacity):
            full.put_nowait(item)
        joins = full.join()
        puts = [full.put(item) for item in (1, 2)]
        gets, iterates = empty.get(), empty.__anext__()

        def operate():
            empty.shutdown(immediate)
            full.shutdown(immediate)

        def whole():
            of_empty = {empty._is_shut_down, gets.called, iterates.called}
            of_full = {full._is_shut_down, *(each.called for each in puts)}
            left = capacity * (not (immediate and full._is_shut_down))
            joined = joins.called == (left == 0)
            results = map(result_of, [gets, iterates, *puts])
            classes = (type(None), c.QueueShutDown, StopAsyncIteration)
            ended = all(isinstance(each, classes) for each in results)
            return len(of_empty) == len(of_full) == 1 and full.qsize() == left and joined and ended

        return operate, whole

    return operation


def breaking(method):
    def operation():
        barrier, done = c.Barrier(3), []
        waiting = [barrier.wait(), barrier.wait()]

        def whole():
            told = {each.called for each in waiting}
            broken = barrier.broken == (method == "abort" and True in told)
            left = barrier.n_waiting == (0 if True in told else 2)
            errors = [result_of(each) for each in waiting]
            kinds = {type(each) for each in errors}
            return len(told) == len(kinds) == 1 and broken and left

        return lambda: done.append(getattr(barrier, method)()), whole

    return operation


def receiving(capacity, sent):
    def operation():
        channel, got = c.Channel(capacity), []
        sends = [channel.send(number) for number in range(sent)]

        def whole():
            items = [result_of(each) for each in got]
            rest = iter(channel.receive, None)
            for _ in range(sent):
                if any(not each.called for each in sends):
                    items.append(result_of(next(rest)))
            items += [result_of(next(rest)) for _ in range(len(channel._buffer))]
            return items == list(range(sent))

        return lambda: got.append(channel.receive()), whole

    return operation


def closing_a_channel():
    full, empty = c.Channel(), c.Channel()
    sends, gets = [full.send(1), full.send(2)], [empty.receive(), empty.__anext__()]

    def operate():
        full.close()
        empty.close()

    def whole():
        of_full = {full.closed, *(each.called for each in sends)}
        of_empty = {empty.closed, *(each.called for each in gets)}
        kinds = [type(result_of(each)) for each in (*sends, *gets)]
        told = [c.ChannelClosed] * 3 + [StopAsyncIteration]
        pairs = zip(kinds, told, strict=True)
        as_told = all(kind in (wanted, type(None)) for kind, wanted in pairs)
        return len(of_full) == len(of_empty) == 1 and as_told

    return operate, whole


def sending_to_all(maxsize, one_waits):
    def operation():
        news, sent = c.Broadcast(maxsize), []
        readers = [news.subscribe() for _ in range(3)]
        gets = readers[1].get() if one_waits else None

        def whole():
            held = [each.qsize() for each in readers]
            if gets is not None:
                held[1] += gets.called
            full = sum(0 < maxsize <= each.qsize() for each in readers)
            return len(set(held)) == 1 and news._full == full and held[0] >= len(sent)

        return lambda: sent.append(news.send(1)), whole

    return operation


def reading(method="get"):
    """The last that makes room: what waits to be sent is."""

    def operation():
        news, got = c.Broadcast(1), []
        readers = [news.subscribe(), news.subscribe()]
        sends = [news.send(number) for number in range(3)]
        readers[0].get()

        def operate():
            if method == "get":
                got.append(readers[1].get())
            else:
                getattr(readers[1], method)()

        def whole():
            first, second = (each.qsize() for each in readers)
            full = sum(each.qsize() >= 1 for each in news._readers)
            if method == "close" and readers[1] not in news._readers:
                return [first, second, news._full] == [1, 0, 1] and sends[1].called
            if got or sends[1].called:
                return [first, second, news._full] == [1, 1, 2] and sends[1].called
            return [first, second, news._full] == [0, 1, full]

        return operate, whole

    return operation


def closing_a_broadcast():
    news = c.Broadcast(1)
    full, empty = news.subscribe(), news.subscribe()
    news.send(1)
    gets, waits = [], news.send(2)
    empty.get()
    gets = [empty.get(), empty.__anext__()]

    def whole():
        told = {news.closed, waits.called, *(each.called for each in gets)}
        return len(told) == 1 and full.qsize() == 1

    return news.close, whole


def notifying(number, way="notify"):
    def operation():
        condition = c.Condition()
        waiting = []
        for _ in range(3):
            condition.acquire()
            waiting.append(condition.wait())
        condition.acquire()
        before = list(waiting)

        def operate():
            condition.notify(number)

        def whole():
            told = 3 - len(condition._waiting)
            condition.release()
            woken = 0
            while any(each.called for each in before):
                woken += 1
                before[:] = [each for each in before if not each.called]
                condition.release()
            return told == woken and not condition.locked() and told in (0, number)

        return operate, whole

    return operation


def waking(cancelled=False):
    """The lock is released: one that was notified, or is cancelled, goes on with it."""

    def operation():
        condition = c.Condition()
        condition.acquire()
        waits = condition.wait()
        waits.addErrback(id)
        condition.acquire()
        if cancelled:
            waits.cancel()
        else:
            condition.notify()

        def whole():
            gone_on = waits.called and not waits.paused
            # It holds the lock, or does not have it yet: then whoever released it does.
            if not gone_on:
                condition.release()
            return waits.called and not waits.paused and condition.locked()

        return condition.release, whole

    return operation


def waiting_again():
    condition, got = c.Condition(), []
    condition.acquire()

    def whole():
        # Who waits has released the lock, and who does not holds it.
        return condition.locked() == (len(condition._waiting) == 0)

    return lambda: got.append(condition.wait()), whole


KINDS = {"Queue": c.Queue, "LifoQueue": c.LifoQueue, "PriorityQueue": c.PriorityQueue}

CASES = {
    "Event.set": setting,
    "Barrier.wait": coming,
    "Barrier.abort": breaking("abort"),
    "Barrier.reset": breaking("reset"),
    "Queue.task_done": done_with,
    "Channel.receive, held": receiving(2, 2),
    "Channel.receive, held and sending": receiving(1, 3),
    "Channel.receive, sending": receiving(0, 2),
    "Channel.close": closing_a_channel,
    "Broadcast.send": sending_to_all(0, False),
    "Broadcast.send, one waits": sending_to_all(0, True),
    "Broadcast.send, full": sending_to_all(1, True),
    "Broadcast.close": closing_a_broadcast,
    "Subscription.get": reading(),
    "Subscription.close": reading("close"),
    "Condition.notify": notifying(1),
    "Condition.notify of several": notifying(2),
    "Condition.wait": waiting_again,
    "Condition: a lock is released": waking(),
    "Condition: cancelled, a lock is released": waking(cancelled=True),
}
for name, make in KINDS.items():
    for method in ("get", "get_nowait", "__anext__"):
        CASES[f"{name}.{method}"] = getting(method, make)
        CASES[f"{name}.{method}, nobody puts"] = taking(method, make)
    for method in ("put", "put_nowait"):
        CASES[f"{name}.{method}"] = putting(method, make)
        CASES[f"{name}.{method}, one gets"] = putting(method, make, waiting=True)
    CASES[f"{name}.shutdown"] = shutting(make)
    CASES[f"{name}.shutdown at once"] = shutting(make, immediate=True)


@pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
def test_interrupted_on_any_line(make):
    check_on_any_line(make)


def test_room_for_several():
    """Each is let in at once, in order, and what its callbacks do counts."""
    queue = c.Queue(2)
    puts = [queue.put(number) for number in range(5)]
    got = []
    puts[2].addCallback(lambda _: got.append(queue.get_nowait()))
    assert result_of(queue.get()) == 0
    assert got == [1]
    assert [d.called for d in puts] == [True] * 4 + [False]
    assert [result_of(queue.get()) for _ in range(3)] == [2, 3, 4]
    assert puts[4].called and queue.empty()
    for _ in range(5):
        queue.task_done()
    assert queue.join().called
