"""`TaskGroup.cancel` in each world, compared with asyncio where asyncio has it."""

from __future__ import annotations

import asyncio
import sys

import deferrous as defer
import pytest
from concurrency_worlds import SteppingLoop
from deferrous import Deferred, ensureDeferred
from deferrous import concurrency as c
from deferrous.testing import Clock, failureResultOf

pytestmark = pytest.mark.deferrous_only

CANCELLED = (defer.CancelledError, asyncio.CancelledError)

#: Each is given a group, a function that sleeps, and a list for what happens.
SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


async def work(sleep, seen, seconds=9, error=None):
    try:
        await sleep(seconds)
    except CANCELLED:
        seen.append("task cancelled")
        if error is not None:
            raise error from None
        raise


async def cancel_later(group, sleep, seconds=1):
    await sleep(seconds)
    group.cancel()


@scenario
async def while_the_block_waits(group, sleep, seen):
    async with group:
        group.create_task(work(sleep, seen))
        group.create_task(cancel_later(group, sleep))
        try:
            await sleep(5)
        except CANCELLED:
            seen.append("block cancelled")
            raise
        seen.append("not reached")


@scenario
async def before_the_block_waits(group, sleep, seen):
    async with group:
        group.create_task(work(sleep, seen))
        await sleep(0)
        group.cancel()
        seen.append("goes on")
        await sleep(5)
        seen.append("not reached")


@scenario
async def at_the_end_of_the_block(group, sleep, seen):
    async with group:
        group.create_task(work(sleep, seen))
        await sleep(0)
        group.cancel()


@scenario
async def while_it_ends(group, sleep, seen):
    async with group:
        group.create_task(work(sleep, seen))
        group.create_task(cancel_later(group, sleep))


@scenario
async def while_the_block_waits_for_a_task(group, sleep, seen):
    async with group:
        task = group.create_task(work(sleep, seen))
        group.create_task(cancel_later(group, sleep))
        await task
        seen.append("not reached")


@scenario
async def before_it_begins(group, sleep, seen):
    group.cancel()
    async with group:
        seen.append("begins")
        await sleep(1)
        seen.append("not reached")


@scenario
async def twice_and_afterwards(group, sleep, seen):
    async with group:
        group.create_task(work(sleep, seen))
        await sleep(0)
        group.cancel()
        group.cancel()
    group.cancel()


@scenario
async def a_block_that_catches_it(group, sleep, seen):
    async with group:
        group.create_task(cancel_later(group, sleep))
        try:
            await sleep(5)
        except CANCELLED:
            seen.append("block cancelled")
        await sleep(1)
        seen.append("waits again")


@scenario
async def a_task_that_fails_because_of_that(group, sleep, seen):
    async with group:
        group.create_task(work(sleep, seen, error=KeyError()))
        group.create_task(cancel_later(group, sleep))
        await sleep(5)
        seen.append("not reached")


@scenario
async def a_block_that_fails_because_of_that(group, sleep, seen):
    async with group:
        group.create_task(cancel_later(group, sleep))
        try:
            await sleep(5)
        except CANCELLED:
            raise KeyError from None


@scenario
async def no_more_tasks(group, sleep, seen):
    async with group:
        group.cancel()
        with pytest.raises(RuntimeError):
            group.create_task(work(sleep, seen))


@scenario
async def an_inner_group(group, sleep, seen):
    async with type(group)() as outer:
        outer.create_task(work(sleep, seen, 3))
        async with group:
            outer.create_task(cancel_later(group, sleep))
            await sleep(5)
            seen.append("not reached")
        await sleep(0)
        seen.append("the outer one goes on")


@scenario
async def an_outer_group(outer, sleep, seen):
    async with outer:
        outer.create_task(cancel_later(outer, sleep))
        async with type(outer)() as group:
            group.create_task(work(sleep, seen))
            await sleep(5)
            seen.append("not reached")
        seen.append("not reached")


async def run(scenario, group, sleep, seen):
    try:
        await scenario(group, sleep, seen)
    except BaseException as error:
        seen.append(type(error).__name__)
    # What was taken back does not come later.
    await sleep(0)
    await sleep(1)
    seen.append("ended")


def by_deferreds(scenario):
    clock, seen = Clock(), []
    d = ensureDeferred(
        run(scenario, c.TaskGroup(), lambda seconds: c.sleep(seconds, clock=clock), seen)
    )
    clock.pump([0] + [1] * 12)
    assert d.called
    return seen


def in_a_task(scenario, kind=c.TaskGroup, sleep=c.sleep):
    loop, seen = SteppingLoop(), []
    counts = []

    async def main():
        await run(scenario, kind(), sleep, seen)
        task = asyncio.current_task()
        counts.append(task.cancelling() if hasattr(task, "cancelling") else 0)

    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert counts == [0]
    return seen


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_cancelled_group(scenario, reports):
    seen = by_deferreds(scenario)
    assert seen[-1] == "ended"
    assert "not reached" not in seen
    failed = {
        "a_task_that_fails_because_of_that": 1,
        "a_block_that_fails_because_of_that": 1,
    }.get(scenario.__name__, 0)
    assert len([each for each in seen if each.endswith(("Group", "Error"))]) == failed
    assert in_a_task(scenario) == seen
    assert in_a_task(scenario, sleep=asyncio.sleep) == seen
    if sys.version_info >= (3, 15):
        # asyncio's tasks are cancelled when the loop comes round, ours at once.
        theirs = in_a_task(scenario, asyncio.TaskGroup, asyncio.sleep)
        assert sorted(theirs) == sorted(seen)
    assert reports.values() == []


def test_cancelled_from_outside_as_well():
    """A cancellation by another is not taken back with the group's own."""

    async def main(group, sleep, seen):
        async with group:
            group.create_task(work(sleep, seen))
            await sleep(5)

    clock, seen, group = Clock(), [], c.TaskGroup()
    d = ensureDeferred(main(group, lambda seconds: c.sleep(seconds, clock=clock), seen))
    d.cancel()
    group.cancel()
    assert seen == ["task cancelled"]
    failures = []
    d.addErrback(failures.append)
    assert [failure.type for failure in failures] == [defer.CancelledError]

    async def in_task():
        group, seen = c.TaskGroup(), []
        task = asyncio.ensure_future(main(group, asyncio.sleep, seen))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        group.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["task cancelled"]

    # Before, asyncio does not count who has cancelled a task.
    if sys.version_info >= (3, 11):
        asyncio.run(in_task())


def test_cancelled_without_a_block():
    clock, seen = Clock(), []
    group = c.TaskGroup().open()
    group.create_task(work(lambda seconds: c.sleep(seconds, clock=clock), seen))
    group.cancel("reason")
    ended = []
    group.join().addCallback(ended.append)
    assert (seen, ended) == (["task cancelled"], [None])


def test_a_task_that_nobody_can_be_told_of_keeps_no_group_waiting():
    """As where there is no memory for the callback that is to tell the group."""

    class Refuses(defer.Deferred):
        def addBoth(self, *args, **kwargs):
            raise MemoryError

    tasks = []

    async def main():
        async with c.TaskGroup() as group:
            tasks.append(Refuses())
            group.create_task(tasks[0])

    ended = ensureDeferred(main())
    results = []
    ended.addBoth(results.append)
    assert [type(each) for each in results] == [defer.failure.Failure]
    assert tasks[0].called
    tasks[0].addErrback(lambda _: None)


def test_cancelled_as_its_group_fails(reports):
    """The block raises what its tasks have failed with, and the next wait is cancelled."""
    seen = []

    async def fails_at_the_end():
        try:
            await Deferred()
        except defer.CancelledError:
            raise KeyError("at the end") from None

    async def main():
        try:
            async with c.TaskGroup() as group:
                group.create_task(fails_at_the_end())
        except defer.CancelledError:
            seen.append("cancelled")
        except Exception:
            seen.append("failed")
        await Deferred()

    d = ensureDeferred(main())
    d.cancel()
    failureResultOf(d, defer.CancelledError)
    assert seen == ["failed"]
    assert reports.values() == []
