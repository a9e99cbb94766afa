"""Cancelled work ends, with the reason, before an asyncio task that waits for it goes on."""

from __future__ import annotations

import asyncio
import sys

import pytest
from concurrency_helpers import GROUP, result_of
from deferrous import CancelledError, Deferred, DeferredFilesystemLock, ensureDeferred, succeed
from deferrous import concurrency as c
from deferrous.testing import Clock

pytestmark = pytest.mark.deferrous_only


# A task of asyncio that is cancelled does not go on before what it has cancelled has ended


async def work(log, number=0, ending=None):
    """What takes some time to end, and more if its number is higher."""
    try:
        await c.sleep(60)
    except CancelledError:
        for _ in range(3 + 3 * number):
            await c.sleep(0)
        log.append(f"work {number} has ended")
        if ending is not None:
            raise ending from None
        raise


async def stubborn(log, number=0):
    try:
        await work(log, number)
    except CancelledError:
        return "goes on"


def two(log, **how):
    return work(log, **how), work(log, 1, **how)


async def group(log, **how):
    async with c.TaskGroup() as tasks:
        for each in two(log, **how):
            tasks.create_task(each)


def joined(log, **how):
    tasks = c.TaskGroup().open()
    for each in two(log, **how):
        tasks.create_task(each)
    return tasks.join()


async def within_timeout(log, **how):
    async with c.timeout(60):
        await c.gather(*two(log, **how), cancel_losers=True)


async def waited_before_it_runs(log, **how):
    semaphore = c.Semaphore(1)
    semaphore.acquire()
    waiting = semaphore.run(work, log, **how)
    semaphore.release()
    await waiting


#: What waits for both, and what for one, or for the first.
FOR_ALL = {
    "gather with exceptions": lambda log: c.gather(*two(log), return_exceptions=True),
    "gather, and the losers": lambda log: c.gather(*two(log), cancel_losers=True),
    "gather of Deferreds": lambda log: c.gather(*map(ensureDeferred, two(log)), cancel_losers=True),
    "gather in gather": lambda log: c.gather(
        c.gather(*two(log), cancel_losers=True), cancel_losers=True
    ),
    "map": lambda log: c.map(lambda number: work(log, number), [0, 1], limit=2),
    "map of map": lambda log: c.map(
        lambda _: c.map(lambda number: work(log, number), [0, 1], limit=2), [0], limit=1
    ),
    "group": group,
    "join": joined,
    "wait_for join": lambda log: c.wait_for(joined(log), 60),
    "wait_for gather": lambda log: c.wait_for(c.gather(*two(log), cancel_losers=True), 60),
    "timeout": within_timeout,
}
FOR_ONE = {
    "gather": lambda log, **how: c.gather(*two(log, **how)),
    "wait_for": lambda log, **how: c.wait_for(work(log, **how), 60),
    "wait_for, without a limit": lambda log, **how: c.wait_for(work(log, **how), None),
    "wait_for a Deferred": lambda log, **how: c.wait_for(ensureDeferred(work(log, **how)), 60),
    "wait_for gather": lambda log, **how: c.wait_for(c.gather(work(log, **how)), 60),
    "Semaphore.run": lambda log, **how: c.Semaphore(1).run(work, log, **how),
    "Semaphore.run, which waits": waited_before_it_runs,
    "weighing(2).run": lambda log, **how: c.Semaphore(2).weighing(2).run(work, log, **how),
    "reading.run": lambda log, **how: c.ReadWriteLock().reading.run(work, log, **how),
    "writing.run": lambda log, **how: c.ReadWriteLock().writing.run(work, log, **how),
    "KeyedLock.run": lambda log, **how: c.KeyedLock()("key").run(work, log, **how),
    "Condition.run": lambda log, **how: c.Condition().run(work, log, **how),
}


async def cancelled_once(make, log, times=1):
    """Cancel a task that waits for something. Returns what it has come to."""

    async def main():
        try:
            return await make(log)
        finally:
            log.append("the task goes on")

    task = asyncio.ensure_future(main())
    for _ in range(3):
        await asyncio.sleep(0)
    for _ in range(times):
        task.cancel("why")
        await asyncio.sleep(0)
    await asyncio.wait([task])
    return task


def cancelled(make, times=1):
    log = []

    async def main():
        task = await cancelled_once(make, log, times)
        try:
            return await task
        except BaseException as error:
            return error

    return asyncio.run(main()), log


@pytest.mark.parametrize("name", FOR_ALL)
def test_all_have_ended(name):
    result, log = cancelled(FOR_ALL[name])
    assert isinstance(result, asyncio.CancelledError)
    assert log == ["work 0 has ended", "work 1 has ended", "the task goes on"]


@pytest.mark.parametrize("name", FOR_ONE)
def test_one_has_ended(name):
    result, log = cancelled(FOR_ONE[name])
    assert isinstance(result, asyncio.CancelledError)
    assert log[:2] == ["work 0 has ended", "the task goes on"]


@pytest.mark.parametrize("name", FOR_ONE)
def test_what_it_ends_by_is_not_lost(name):
    """As with asyncio's `gather` and `wait_for`: an error comes before the cancellation."""
    result, log = cancelled(lambda log: FOR_ONE[name](log, ending=KeyError("ending")))
    assert isinstance(result, KeyError)
    assert log[:2] == ["work 0 has ended", "the task goes on"]


def test_what_losers_and_joined_groups_end_by_is_not_lost():
    def losers(log):
        return c.gather(*two(log, ending=KeyError("ending")), cancel_losers=True)

    result, _ = cancelled(losers)
    assert isinstance(result, KeyError)
    result, _ = cancelled(lambda log: joined(log, ending=KeyError("ending")))
    assert type(result) is GROUP


@pytest.mark.parametrize("how", [{}, {"return_exceptions": True}, {"cancel_losers": True}], ids=str)
def test_gather_of_those_that_go_on_is_cancelled_all_the_same(how):
    result, log = cancelled(lambda log: c.gather(stubborn(log), stubborn(log, 1), **how))
    assert isinstance(result, asyncio.CancelledError)
    assert log == ["work 0 has ended", "work 1 has ended", "the task goes on"]
    log = []
    first, second = Deferred(lambda d: d.callback(1)), Deferred(lambda d: d.callback(2))
    gathered = c.gather(first, second, **how)
    c.cancel(gathered, "why")
    assert result_of(gathered).args == ("why",)


def test_losers_are_not_cancelled_once_more_when_the_first_has_ended():
    seen = []

    async def each(number, gate):
        try:
            await Deferred()
        except CancelledError:
            seen.append(number)
            await gate
            raise

    gates = [Deferred(), Deferred()]
    gathered = c.gather(*map(each, range(2), gates), cancel_losers=True)
    gathered.cancel()
    assert seen == [0, 1]
    gates[0].callback(None)
    assert not gathered.called
    assert not gates[1].called
    gates[1].callback(None)
    assert isinstance(result_of(gathered), CancelledError)


def test_one_that_is_cancelled_again_still_waits():
    for name in ("gather, and the losers", "join", "map", "group"):
        _, log = cancelled(FOR_ALL[name], times=2)
        assert log[-1] == "the task goes on", name


# The reason arrives at all that is cancelled


class Leaf:
    """Something that is waited for, and what it is cancelled with."""

    def __init__(self):
        self.seen = []

    async def wait(self, _=None):
        try:
            await Deferred()
        except CancelledError as error:
            self.seen.append(error.args)
            raise

    async def items(self):
        yield 1
        await self.wait()


async def block(leaf):
    async with c.TaskGroup() as tasks:
        tasks.create_task(leaf.wait())
        tasks.create_task(leaf.wait())


async def block_that_waits(leaf):
    async with c.TaskGroup() as tasks:
        tasks.create_task(leaf.wait())
        await leaf.wait()


def opened(*tasks):
    group = c.TaskGroup().open()
    for task in tasks:
        group.create_task(task)
    return group.join()


def nested(times, inside, around):
    for _ in range(times):
        inside = around(inside)
    return inside


def observed(it):
    return c.Observable(it, cancel_unobserved=True).observe()


def mapped(it):
    return c.map(lambda _: it, [None], limit=1)


def kept(it):
    return c.gather(it, return_exceptions=True)


def condition(wait):
    it = c.Condition()
    it.acquire()
    return wait(it)


def locked(tmp_path):
    one, other = (DeferredFilesystemLock(str(tmp_path / "lock"), Clock()) for _ in range(2))
    assert one.lock()
    return other.deferUntilLocked()


REASONS = {
    "Observable": lambda leaf: observed(leaf.wait()),
    "once": lambda leaf: c.once(leaf.wait)(),
    "join": lambda leaf: opened(leaf.wait(), leaf.wait()),
    "block": lambda leaf: ensureDeferred(block(leaf)),
    "block that waits": lambda leaf: ensureDeferred(block_that_waits(leaf)),
    "shield": lambda leaf: c.shield(Deferred()),
    "map": lambda leaf: c.map(leaf.wait, [1, 2], limit=2),
    "map of what is asynchronous": lambda leaf: c.map(leaf.wait, leaf.items(), limit=3),
    "map, an item": lambda leaf: c.map(lambda _: None, leaf.items(), limit=3),
    "stream": lambda leaf: c.stream(leaf.wait, leaf.items(), limit=3).__anext__(),
    "gather": lambda leaf: c.gather(leaf.wait(), leaf.wait()),
    "gather with exceptions": lambda leaf: kept(leaf.wait()),
    "gather, and the losers": lambda leaf: c.gather(leaf.wait(), leaf.wait(), cancel_losers=True),
    "wait": lambda leaf: c.wait([Deferred()]),
    "as_completed": lambda leaf: next(c.as_completed([Deferred()])),
    "wait_for": lambda leaf: c.wait_for(leaf.wait(), 3, clock=Clock()),
    "Condition.wait": lambda leaf: condition(lambda it: it.wait()),
    "Condition.wait_for": lambda leaf: condition(lambda it: it.wait_for(lambda: False)),
    "run": lambda leaf: c.Semaphore(1).run(leaf.wait),
    "chained": lambda leaf: succeed(None).addCallback(lambda _: opened(leaf.wait())),
    "groups in groups": lambda leaf: nested(30, leaf.wait(), opened),
    "gathered in gathered": lambda leaf: nested(30, leaf.wait(), kept),
    "maps in maps": lambda leaf: nested(30, leaf.wait(), mapped),
    "observed in observed": lambda leaf: nested(30, leaf.wait(), observed),
    "mixed": lambda leaf: opened(mapped(observed(kept(opened(leaf.wait()))))),
}


@pytest.mark.parametrize("name", REASONS)
def test_reason(name):
    leaf = Leaf()
    d = REASONS[name](leaf)
    c.cancel(d, "why")
    expected = [] if name == "stream" else ["why"]
    assert [args for (args,) in leaf.seen[:1]] == expected[: len(leaf.seen[:1])]
    assert set(leaf.seen) <= {("why",)}
    error = result_of(d)
    assert isinstance(error, CancelledError)
    assert error.args == ("why",)


@pytest.mark.parametrize("name", REASONS)
def test_reason_of_a_task_of_asyncio(name):
    leaf = Leaf()

    async def main():
        async def wait():
            await REASONS[name](leaf)

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel("why")
        await asyncio.wait([task])
        return task

    task = asyncio.run(main())
    assert task.cancelled()
    assert set(leaf.seen) <= {("why",)}


@pytest.mark.parametrize("name", REASONS)
def test_without_a_reason(name):
    leaf = Leaf()
    d = REASONS[name](leaf)
    d.cancel()
    assert set(leaf.seen) <= {()}
    assert result_of(d).args == ()


def test_reason_that_is_delayed():
    for make in (lambda leaf: c.delay_cancellation(leaf),):
        inner = Deferred()
        d = make(inner)
        c.cancel(d, "why")
        assert not inner.called
        inner.callback(None)
        assert result_of(d).args == ("why",)


def test_reason_of_those_who_observe():
    leaf = Leaf()
    shared = c.Observable(leaf.wait(), cancel_unobserved=True)
    first, second = shared.observe(), shared.observe()
    c.cancel(first, "not yet")
    assert leaf.seen == []
    c.cancel(second, "now")
    assert leaf.seen == [("now",)]
    assert [result_of(each).args for each in (first, second)] == [("not yet",), ("now",)]
    leaf = Leaf()
    shared = c.Observable(leaf.wait())
    d = shared.observe()
    shared.cancel("by hand")
    assert leaf.seen == [("by hand",)]
    assert result_of(d).args == ("by hand",)


def test_reason_of_a_file_lock(tmp_path):
    d = locked(tmp_path)
    c.cancel(d, "why")
    assert result_of(d).args == ("why",)


@pytest.mark.parametrize("error", [KeyError("ending"), None], ids=["an error", "cancelled"])
def test_what_an_awaited_deferred_ends_by_after_its_task_is_cancelled(error, reports):
    """Nobody waits for it any more: an error is reported. That it was cancelled is no news."""
    log = []

    async def main():
        await cancelled_once(lambda log: ensureDeferred(work(log, ending=error)), log)
        while len(log) < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert log == ["the task goes on", "work 0 has ended"]
    assert [type(each.value) for each in reports.failures()] == ([KeyError] if error else [])


def test_what_it_ends_by_as_its_task_is_cancelled_is_not_lost(reports):
    """It has ended, and the task has not run since: the error is the task's, or is reported."""

    async def fails(gate):
        await gate
        raise KeyError("ending")

    async def main(make, first):
        gate, seen = Deferred(), []

        async def wait():
            try:
                await make(fails(gate))
            except BaseException as error:
                seen.append(error)
                raise

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        for step in (task.cancel, lambda: gate.callback(None))[:: 1 if first else -1]:
            step()
        await asyncio.wait([task])
        return seen

    for make in (
        ensureDeferred,
        c.gather,
        lambda it: c.gather(it, cancel_losers=True),
        lambda it: c.wait_for(it, 60),
    ):
        for first in (True, False):
            (seen,) = asyncio.run(main(make, first))
            count = len(reports.failures())
            reports.events.clear()
            assert isinstance(seen, KeyError) != (count == 1), (make, first, seen, count)


def test_why_a_task_cannot_be_woken_for_a_failure_is_not_lost(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda it: told.append(it.exc_type))
    loop = asyncio.new_event_loop()
    d, results = Deferred(), []

    async def wait():
        await d

    task = loop.create_task(wait())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    d.addErrback(lambda it: results.append(it.type))
    d.errback(KeyError("ending"))
    assert (results, told) == ([KeyError], [RuntimeError])
    task._log_destroy_pending = False
