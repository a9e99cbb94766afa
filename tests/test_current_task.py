"""While we run a generator, asyncio has no current task."""

from __future__ import annotations

import asyncio
import sys

import deferrous
import pytest
from deferrous import Deferred, ensureDeferred, inlineCallbacks, maybeDeferred
from helpers import run_script

pytestmark = pytest.mark.deferrous_only

needs_timeout = pytest.mark.skipif(sys.version_info < (3, 11), reason="no asyncio.timeout")


def run(main):
    return asyncio.run(asyncio.wait_for(main(), 60))


async def current():
    return asyncio.current_task()


@inlineCallbacks
def current_in_generator():
    yield None
    return asyncio.current_task()


@pytest.mark.parametrize(
    "start",
    [
        lambda: ensureDeferred(current()),
        lambda: Deferred.fromCoroutine(current()),
        lambda: maybeDeferred(current),
        lambda: deferrous.DeferredLock().run(current),
        current_in_generator,
    ],
)
def test_started_from_a_task(start):
    async def main():
        task = asyncio.current_task()
        assert await start() is None
        assert asyncio.current_task() is task

    run(main)


def test_resumed_from_a_task_and_from_the_loop():
    async def ours(d):
        seen.append(asyncio.current_task())
        await d
        seen.append(asyncio.current_task())
        raise KeyError

    seen = []

    async def main():
        task = asyncio.current_task()
        for how in ("task", "loop"):
            d = Deferred()
            done = ensureDeferred(ours(d))
            if how == "task":
                d.callback(None)
            else:
                asyncio.get_running_loop().call_soon(d.callback, None)
            with pytest.raises(KeyError):
                await done
            assert asyncio.current_task() is task
        assert seen == [None] * 4

    run(main)


def test_what_is_called_by_a_task_is_part_of_it():
    """A callback is a function that the task has called."""

    async def main():
        task, seen = asyncio.current_task(), []
        d = Deferred().addCallback(lambda _: seen.append(asyncio.current_task()))
        d.callback(None)
        assert seen == [task]

    run(main)


def test_nested():
    async def inner(d):
        await d
        return asyncio.current_task()

    async def outer(d):
        first = asyncio.current_task()
        result = await ensureDeferred(inner(d))
        return first, result, asyncio.current_task()

    async def main():
        task, d = asyncio.current_task(), Deferred()
        done = ensureDeferred(outer(d))
        assert asyncio.current_task() is task
        d.callback(None)
        assert asyncio.current_task() is task
        assert await done == (None, None, None)

    run(main)


@needs_timeout
def test_timeout_says_so():
    async def ours():
        with pytest.raises(RuntimeError, match="inside a task"):
            async with asyncio.timeout(0):
                pass
        with pytest.raises(RuntimeError, match="parent task"):
            async with asyncio.TaskGroup():
                pass

    async def main():
        await ensureDeferred(ours())

    run(main)


@needs_timeout
def test_a_task_of_its_own_is_the_way():
    async def work():
        async with asyncio.timeout(None), asyncio.TaskGroup() as group:
            task = group.create_task(current())
        return await task, asyncio.current_task()

    async def ours():
        return await asyncio.ensure_future(work())

    async def main():
        inner, outer = await ensureDeferred(ours())
        assert inner is not None
        assert outer is not None
        assert len({inner, outer, asyncio.current_task()}) == 3

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks")
def test_eager_tasks():
    """A task that runs at once, within ours, within a task."""

    async def eager(d):
        task = asyncio.current_task()
        await d
        return task is asyncio.current_task()

    async def ours(d):
        task = asyncio.ensure_future(eager(d))
        assert asyncio.current_task() is None
        return await task

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        d = Deferred()
        done = ensureDeferred(ours(d))
        d.callback(None)
        assert await done

    run(main)


def test_asyncio_is_imported_late():
    run_script(
        "deferrous",
        """
        seen = []
        async def ours(d):
            await d
            import asyncio
            seen.append(asyncio.current_task())
        d = defer.Deferred()
        done = defer.ensureDeferred(ours(d))
        import asyncio
        async def main():
            task = asyncio.current_task()
            d.callback(None)
            assert asyncio.current_task() is task
        asyncio.run(main())
        assert seen == [None], seen
        """,
    )


def test_tasks_written_in_python():
    run_script(
        "deferrous",
        """
        import asyncio, sys
        async def current():
            return asyncio.current_task()
        async def main():
            task = asyncio.current_task()
            # From 3.14 on asyncio does not tell of tasks that are not written in C.
            assert type(task) is asyncio.tasks._PyTask or sys.version_info >= (3, 14)
            assert await defer.ensureDeferred(current()) is None
            assert asyncio.current_task() is task
        loop = asyncio.new_event_loop()
        loop.set_task_factory(lambda loop, coro, **kwargs: asyncio.tasks._PyTask(coro, loop=loop))
        loop.run_until_complete(main())
        """,
    )
