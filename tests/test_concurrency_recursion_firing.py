"""Firing a Deferred that others wait for, and timeouts, at the recursion limit.

Callbacks of ours are not refused there, so nobody waits for ever.
"""

from __future__ import annotations

import textwrap

import pytest
from concurrency_helpers import held, wrong_near_the_limit
from deferrous import (
    Deferred,
    DeferredLock,
    DeferredQueue,
    DeferredSemaphore,
    Failure,
    ensureDeferred,
)
from deferrous import concurrency as c
from deferrous._deferrous import _never_refused
from deferrous.testing import Clock
from helpers import run_script

pytestmark = pytest.mark.deferrous_only


def firing(wait, result=1):
    """Fire one of two Deferreds. Whoever waits for what these are made into is told."""

    def operation():
        one, other = Deferred(), Deferred()
        waits = wait(one, other)
        return lambda: one.callback(result), lambda: (one.called, waits.called)

    return operation


async def in_a_group(deferred):
    async with c.TaskGroup() as group:
        group.create_task(deferred)


async def in_a_failing_group(deferred):
    async with c.TaskGroup() as group:
        group.create_task(deferred)
        await Deferred()


def joined(*deferreds):
    group = c.TaskGroup().open()
    for deferred in deferreds:
        group.create_task(deferred)
    return group.join()


def delayed(one, _):
    waits = c.delay_cancellation(one)
    waits.cancel()
    return Paused(waits)


class Paused:
    """A Deferred that has failed, but does not go on yet."""

    def __init__(self, deferred):
        self.deferred = deferred.addErrback(id)

    @property
    def called(self):
        return not self.deferred.paused


def shielded_often(one, _):
    for _ in range(300):
        one = c.shield(one)
    return one


FAILURE = Failure(KeyError("wrong"))

FIRING = {
    "shield": firing(lambda one, _: c.shield(one)),
    "shield of shields": firing(shielded_often),
    "delay_cancellation": firing(lambda one, _: c.delay_cancellation(one)),
    "delay_cancellation, cancelled": firing(delayed),
    "Observable": firing(lambda one, _: c.Observable(one).observe()),
    "once": firing(lambda one, _: c.once(lambda: one)()),
    "wait": firing(lambda *both: c.wait(both, return_when=c.FIRST_COMPLETED)),
    "as_completed": firing(lambda *both: next(c.as_completed(both))),
    "gather": firing(lambda one, _: c.gather(one)),
    "gather that cancels": firing(
        lambda *both: c.gather(*both, cancel_losers=True).addErrback(id), FAILURE
    ),
    "map": firing(lambda one, _: c.map(lambda it: it, [one], limit=1)),
    "map that fails": firing(
        lambda *both: c.map(lambda it: it, both, limit=2).addErrback(id), FAILURE
    ),
    "stream": firing(lambda one, _: c.stream(lambda it: it, [one], limit=1).__anext__()),
    "TaskGroup": firing(lambda one, _: ensureDeferred(in_a_group(one))),
    "TaskGroup, joined": firing(lambda one, _: joined(one)),
    "TaskGroup that fails": firing(lambda *both: joined(*both).addErrback(id), FAILURE),
    "failing block": firing(
        lambda one, _: ensureDeferred(in_a_failing_group(one)).addErrback(id), FAILURE
    ),
    "Lockable.run": firing(lambda one, _: c.Semaphore(1).run(lambda: one)),
}


def within_a_callback(make):
    """The same, done by a callback of another Deferred."""

    def operation():
        operate, state = make()

        def by_a_callback():
            raised = []

            def call(_):
                try:
                    operate()
                except RecursionError as error:
                    raised.append(error)

            deferred = Deferred().addCallback(call)
            deferred.callback(None)
            if raised or isinstance(deferred.result, Failure):
                # `call` was refused, or what it called.
                deferred.addErrback(id)
                raise RecursionError

        return by_a_callback, state

    return operation


# A native lock, and a waiter for one.


def waking_one_that_was_notified():
    it = c.Condition()
    held(it)
    waits = it.wait()
    held(it)
    it.notify()
    return it.release, lambda: (waits.called, it.locked(), len(it._lock.waiting))


def leaving(make):
    def operation():
        it = make()
        [waits] = held(it, it)
        waits.addErrback(id)
        return waits.cancel, lambda: (waits.called, len(it.waiting))

    return operation


def leaving_an_empty_queue():
    it = DeferredQueue()
    waits = it.get().addErrback(id)
    return waits.cancel, lambda: (waits.called, len(it.waiting))


def timing(begin):
    def operation():
        clock = Clock()
        waits = begin(clock).addErrback(id)
        return lambda: clock.advance(1), lambda: (waits.called, len(clock.getDelayedCalls()))

    return operation


async def with_a_timeout(clock):
    async with c.timeout(1, clock=clock):
        await Deferred()


OPERATIONS = dict(FIRING)
OPERATIONS |= {f"{name}, in a callback": within_a_callback(it) for name, it in FIRING.items()}
OPERATIONS |= {
    "waking one that was notified": waking_one_that_was_notified,
    "leaving a DeferredLock": leaving(DeferredLock),
    "leaving a DeferredSemaphore": leaving(lambda: DeferredSemaphore(1)),
    "leaving an empty DeferredQueue": leaving_an_empty_queue,
    "sleep": timing(lambda clock: c.sleep(1, clock=clock)),
    "wait_for": timing(lambda clock: c.wait_for(Deferred(), 1, clock=clock)),
    "timeout": timing(lambda clock: ensureDeferred(with_a_timeout(clock))),
    "addTimeout": timing(lambda clock: Deferred().addTimeout(1, clock)),
    "wait with a timeout": timing(lambda clock: c.wait([Deferred()], timeout=1, clock=clock)),
    "as_completed with a timeout": timing(
        lambda clock: next(c.as_completed([Deferred()], timeout=1, clock=clock))
    ),
}


@pytest.mark.parametrize("make", OPERATIONS.values(), ids=list(OPERATIONS))
def test_fired_near_the_recursion_limit(make, reports):
    assert wrong_near_the_limit(make) == []


def test_callbacks_of_programs_are_refused_as_ever():
    """Also where they come after ours: they are called within the limit."""
    run_script(
        "deferrous",
        """
        import sys
        from deferrous import concurrency as c

        def below(calls, function):
            return below(calls - 1, function) if calls else function()

        called = []

        def call_some(_):
            below(20, lambda: called.append(True))

        results = set()
        for calls in range(100, 199):
            d = defer.Deferred()
            waits = c.shield(d).addCallback(call_some)
            before = len(called)
            sys.setrecursionlimit(200)
            try:
                below(calls, lambda: d.callback(1))
            except RecursionError:
                assert not d.called
                break
            finally:
                sys.setrecursionlimit(1000)
            failed = isinstance(waits.result, failure.Failure)
            assert failed == (len(called) == before)
            results.add((failed, failed and waits.result.type))
            waits.addErrback(id)
        assert results == {(False, False), (True, RecursionError)}, results
        """,
    )


#: Each begins again within a callback of ours, or what that calls.
ENDLESS = {
    "shields": """
        d = defer.Deferred()
        c.shield(d).addCallback(again)
        d.callback(1)
    """,
    "functions of map": """
        ds = [defer.Deferred(), defer.Deferred()]
        c.map(lambda d: d if d is ds[0] else again(), ds, limit=1).addErrback(id)
        ds[0].callback(0)
    """,
    "cancellers": """
        group = c.TaskGroup().open()
        wrong = defer.Deferred()
        group.create_task(defer.Deferred(again))
        group.create_task(wrong)
        group.join().addErrback(id)
        wrong.errback(KeyError())
    """,
    "timers": """
        clock = Clock()
        c.wait_for(defer.Deferred(again), 1, clock=clock).addErrback(id)
        for call in clock.getDelayedCalls():
            call._call()
    """,
}


@pytest.mark.parametrize("size", [256, 512, 8192])
@pytest.mark.parametrize("how", ENDLESS)
def test_what_has_no_end(how, size):
    """It ends, with no more than some calls beyond the limit, and as many are allowed then."""
    run_script(
        "deferrous",
        f"""
        import logging
        import sys
        import threading
        from deferrous import concurrency as c
        from deferrous.testing import Clock

        logging.disable()

        def depth(calls=0):
            try:
                return depth(calls + 1)
            except RecursionError:
                return calls

        entered = 0

        def again(*_):
            global entered
            entered += 1
            if entered < 20_000:
                begin()

        def begin():
            {textwrap.indent(textwrap.dedent(ENDLESS[how]), " " * 12).strip()}

        def check():
            sys.setrecursionlimit(300)
            before = depth()
            sys.setrecursionlimit(limit)
            try:
                again()
            except RecursionError:
                pass
            sys.setrecursionlimit(300)
            after.append(before == depth())

        threading.stack_size({size} << 10)
        after = []
        for limit in 1000, 100_000:
            entered = 0
            thread = threading.Thread(target=check)
            thread.start()
            thread.join()
        assert after == [True, True]
        """,
    )


def test_what_is_no_function():
    with pytest.raises(TypeError):
        _never_refused(print)
