"""A signal's exception on any line of what cancels, ends and passes on: it is done, or not.

Maps, groups, shields, streams, timeouts, and what is waited for by several.
"""

from __future__ import annotations

import functools

import pytest
from concurrency_helpers import result_of
from deferrous import Deferred, ensureDeferred
from deferrous import concurrency as c
from interrupted_helpers import check_on_any_line

pytestmark = pytest.mark.deferrous_only


def results_of(deferreds):
    return [result_of(each) for each in deferreds]


def shielding(protect, cancelled=False):
    """What is waited for ends: who waits has its result."""

    def operation():
        inner = Deferred()
        outer = protect(inner)
        if cancelled:
            outer.cancel()
        return (lambda: inner.callback("done")), lambda: outer.called and not outer.paused

    return operation


def delaying():
    """It is cancelled, and ends when what it waits for does."""
    inner = Deferred()
    outer = c.delay_cancellation(inner)

    def whole():
        before = outer.called
        assert not before or outer.paused
        inner.callback("done")
        return outer.called and not outer.paused

    return outer.cancel, whole


def observing():
    observed = Deferred()
    shared = c.Observable(observed)
    observers = [shared.observe() for _ in range(3)]

    def whole():
        return results_of([*observers, shared.observe()]) == ["seen"] * 4

    return lambda: observed.callback("seen"), whole


def leaving():
    observed = Deferred()
    shared = c.Observable(observed, cancel_unobserved=True)
    observers = [shared.observe() for _ in range(2)]
    for each in observers:
        each.addErrback(lambda _: None)
    observers[0].cancel()

    def whole():
        if observed.called:
            return observers[1].called
        observers[1].cancel()
        return observed.called

    return observers[1].cancel, whole


def watching(return_when, fired):
    def operation():
        waiting = [Deferred() for _ in range(3)]
        for each in waiting[1:fired]:
            each.callback(1)
        d = c.wait(waiting, return_when=return_when)

        def whole():
            return waiting[0].called == d.called

        return lambda: waiting[0].callback("first"), whole

    return operation


def completing(by_for):
    def operation():
        waiting = [Deferred() for _ in range(2)]
        iterator = c.as_completed(waiting)
        if by_for:
            nexts = list(iterator)
        else:

            async def take():
                return [await d async for d in iterator]

            nexts = [ensureDeferred(take())]
        waiting[1].callback("one")

        def whole():
            if not by_for:
                # It comes into what the program's coroutine does with the iterator, or does not.
                (taken,) = results_of(nexts)
                return isinstance(taken, KeyboardInterrupt) or taken == ["one", "other"]
            return results_of(nexts) == ["one", "other"]

        return lambda: waiting[0].callback("other"), whole

    return operation


def running(make):
    """`run` releases, and hands over."""

    def operation():
        lock = make()
        gate, got = Deferred(), []
        first = lock.run(lambda: gate)
        second = lock.run(got.append, "second")

        def whole():
            lock.run(got.append, "third")
            return first.called and second.called and got == ["second", "third"]

        return lambda: gate.callback(None), whole

    return operation


def gated():
    """Work that waits for a gate of its own with each item; its items, and the gates."""
    started, gates = [], []

    def work(item):
        started.append(item)
        gates.append(Deferred())
        return gates[-1]

    return work, started, gates


def acting(act, gates, stop):
    """An operation that stops it all, or ends the first call of `gated`."""

    def operate():
        if act in ("cancel", "close"):
            stop()
        elif act == "fail":
            gates[0].errback(KeyError())
        else:
            gates[0].callback("done")

    return operate


def fire_the_rest(gates):
    # More may come while they are fired.
    for gate in gates:
        if not gate.called:
            gate.callback("done")


def mapping(act, depth=0):
    """A result, a failure or a cancellation comes into a map, or into one in a map."""

    def operation():
        work, started, gates = gated()
        got = []
        d = c.map(work, range(4), limit=2)
        for _ in range(depth):
            d = c.map(lambda it: it, [d], limit=1)
        d.addBoth(got.append)

        def whole():
            fire_the_rest(gates)
            # None is left out, or done twice, and it ends.
            return started == list(range(len(started))) and len(got) == 1

        return acting(act, gates, d.cancel), whole

    return operation


def breaking(kind, is_async):
    """The items of a map or a stream raise when a call has ended: that is its end."""

    def operation():
        work, _, gates = gated()
        got = []

        def items():
            yield from range(2)
            raise LookupError("items")

        async def asynchronous():
            for item in items():
                yield item

        taken = asynchronous() if is_async else items()
        if kind == "map":
            c.map(work, taken, limit=2).addBoth(got.append)
        else:
            results = c.stream(work, taken, limit=2)
            for _ in range(3):
                results.__anext__().addBoth(got.append)

        def whole():
            fire_the_rest(gates)
            # One that comes while the next item is asked for is taken for an error of the items.
            errors = (LookupError, KeyboardInterrupt) if is_async else LookupError
            return isinstance(got[-1].value, errors) and len(gates) == 2

        return lambda: gates[0].callback("done"), whole

    return operation


def streaming(act):
    def operation():
        work, started, gates = gated()
        results = c.stream(work, range(4), limit=2)
        gets = [results.__anext__() for _ in range(3)]

        def whole():
            fire_the_rest(gates)
            results_of(gets)
            return started == list(range(len(started))) and all(each.called for each in gets)

        return acting(act, gates, results.close), whole

    return operation


def grouping(act, block):
    """A task of a group ends, fails, or the group is cancelled: it ends when all tasks have."""

    def operation():
        gates, groups = [Deferred() for _ in range(3)], []

        async def wait_for(gate):
            await gate

        async def main():
            async with c.TaskGroup() as group:
                groups.append(group)
                for gate in gates:
                    group.create_task(wait_for(gate))
                await Deferred() if act in ("cancel", "fail") else None

        if block:
            d = ensureDeferred(main())
        else:
            groups.append(c.TaskGroup().open())
            for gate in gates:
                groups[0].create_task(wait_for(gate))
            d = groups[0].join()
        if act == "end":
            gates[1].callback(None)
            gates[2].callback(None)
        ended = []
        d.addBoth(ended.append)

        def operate():
            if act == "cancel":
                groups[0].cancel()
            elif act == "fail":
                gates[0].errback(KeyError())
            else:
                gates[0].callback(None)

        def whole():
            if not (groups[0]._aborting or gates[0].called):
                groups[0].cancel()
            return len(ended) == 1 and all(gate.called for gate in gates)

        return operate, whole

    return operation


class Calls:
    """A clock that notes what it is to call."""

    def __init__(self):
        self.calls = []

    def seconds(self):
        return 0.0

    def callLater(self, delay, function, *args):
        # Called natively, as reactors and loops do.
        self.calls.append(functools.partial(function, *args))
        return self

    def cancel(self):
        pass


def sleeping(cancelled=False):
    def operation():
        clock = Calls()
        d = c.sleep(1, clock=clock)
        d.addErrback(id)
        return (d.cancel if cancelled else clock.calls[0]), lambda: d.called

    return operation


def timing_out():
    clock = Calls()

    async def wait():
        async with c.timeout(1, clock=clock):
            await Deferred()

    d = ensureDeferred(wait())
    ended = []
    d.addBoth(ended.append)
    return clock.calls[0], lambda: len(ended) == 1


def not_taking(make, count):
    """Tasks of asyncio that are given an item and are cancelled: it is there for the next."""

    def operation():
        queue = make()
        gets = [queue.get() if hasattr(queue, "get") else queue.receive() for _ in range(count)]
        places = [each._canceller for each in gets]
        for each in gets:
            each.addErrback(id)
            each.cancel()

        def operate():
            places[0].owner._not_taken(places[0], "item", 7)

        def whole():
            left = queue.get() if hasattr(queue, "get") else queue.receive()
            if not left.called:
                # It was not begun.
                operate()
            return result_of(left) == "item"

        return operate, whole

    return operation


def not_reading():
    """The same of a subscription: it may have no room then, and whoever sends waits."""
    news = c.Broadcast(1)
    reader = news.subscribe()
    gets = reader.get()
    place = gets._canceller
    gets.addErrback(id)
    gets.cancel()

    def operate():
        reader._not_taken(place, "item", 7)

    def whole():
        if not reader.qsize():
            operate()
        sent = news.send("next")
        waits = not sent.called
        return [result_of(reader.get()), waits, result_of(reader.get())] == ["item", True, "next"]

    return operate, whole


LOCKS = {
    "Condition": c.Condition,
    "Semaphore": c.Semaphore,
    "BoundedSemaphore": c.BoundedSemaphore,
    "weighing": lambda: c.Semaphore(2).weighing(2),
    "reading": lambda: c.ReadWriteLock().writing,
    "KeyedLock": lambda: c.KeyedLock()("key"),
}
CASES = {
    "shield": shielding(c.shield),
    "delay_cancellation": shielding(c.delay_cancellation),
    "delay_cancellation, cancelled": shielding(c.delay_cancellation, cancelled=True),
    "delay_cancellation.cancel": delaying,
    "Observable": observing,
    "Observable, the last leaves": leaving,
    "wait for the first": watching(c.FIRST_COMPLETED, 0),
    "wait for all": watching(c.ALL_COMPLETED, 3),
    "as_completed": completing(True),
    "as_completed, asynchronous": completing(False),
    "sleep": sleeping(),
    "sleep, cancelled": sleeping(cancelled=True),
    "timeout": timing_out,
    "Queue, not taken": not_taking(c.Queue, 1),
    "LifoQueue, not taken": not_taking(c.LifoQueue, 1),
    "PriorityQueue, not taken": not_taking(c.PriorityQueue, 1),
    "Channel, not taken": not_taking(c.Channel, 1),
    "Subscription, not taken": not_reading,
}
for name, make in LOCKS.items():
    CASES[f"{name}.run"] = running(make)
for act in ("end", "fail", "cancel"):
    CASES[f"map: {act}"] = mapping(act)
    CASES[f"map in a map: {act}"] = mapping(act, depth=2)
    CASES[f"group: {act}"] = grouping(act, block=True)
    CASES[f"group without a block: {act}"] = grouping(act, block=False)
for act in ("end", "fail", "close"):
    CASES[f"stream: {act}"] = streaming(act)
for kind in ("map", "stream"):
    CASES[f"{kind}: items raise"] = breaking(kind, is_async=False)
    CASES[f"{kind}: asynchronous items raise"] = breaking(kind, is_async=True)


@pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
def test_interrupted_on_any_line(make):
    check_on_any_line(make)
