"""The call graph through asyncio and Twisted, and from other threads."""

import asyncio
import contextlib
import gc
import re
import sys
import threading

import deferrous as defer
import pytest
import twisted.internet.defer
from call_graph_helpers import awaited_by, graph, last, later, named, outer, waits_for
from deferrous import concurrency
from deferrous.testing import Clock

pytestmark = pytest.mark.deferrous_only


def test_from_a_task_to_a_deferred_and_back():
    async def main():
        d = defer.Deferred()

        async def awaits(what):
            return await what

        task = asyncio.ensure_future(awaits(d))
        outer_task = asyncio.ensure_future(awaits(task))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert last(graph(outer_task)) == [outer_task, task, d]
        assert last(graph(d), awaited_by) == [d, task, outer_task]
        assert [each.function.rpartition(".")[2] for each in graph(task).call_stack] == ["awaits"]
        d.callback(3)
        assert await outer_task == 3
        assert graph(outer_task).detail == "was fired with 3"

    asyncio.run(main())


def test_from_a_deferred_to_a_future_and_back():
    async def main():
        future = asyncio.get_running_loop().create_future()

        async def ours():
            return await future

        async def theirs(d):
            return await d

        d = defer.ensureDeferred(ours())
        task = asyncio.ensure_future(theirs(d))
        await asyncio.sleep(0)
        assert last(graph(task)) == [task, d, future]
        steps = last(graph(future), awaited_by)
        assert steps[0] is future
        assert steps[-2:] == [d, task]
        future.set_result(1)
        await task

    asyncio.run(main())


def test_as_future_and_from_future():
    async def main():
        loop = asyncio.get_running_loop()
        d = defer.Deferred()
        future = d.asFuture(loop)
        assert awaited_by(graph(d)) == [future]
        other = loop.create_future()
        ours = defer.Deferred.fromFuture(other)
        assert awaited_by(graph(other)) == [ours]
        assert waits_for(graph(ours)) == [other]
        d.callback(1)
        other.set_result(2)
        assert await future == 1
        assert await ours == 2

    asyncio.run(main())


def test_gathered_futures():
    async def main():
        futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
        futures[0].set_result(1)
        gathered = asyncio.gather(*futures)
        assert waits_for(graph(gathered)) == futures[1:]
        # Newer versions name the task that has called `gather`, too.
        assert gathered in awaited_by(graph(futures[1]))
        gathered.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gathered
        assert graph(gathered).state == "cancelled"
        assert graph(futures[2]).state == "cancelled"

    asyncio.run(main())


def test_the_current_task():
    async def main():
        found = defer.capture_call_graph()
        assert found is not None
        assert found.future is asyncio.current_task()
        assert found.call_stack[0].function.rpartition(".")[2] == "main"
        seen = []

        async def ours():
            seen.append(defer.capture_call_graph())

        d = defer.ensureDeferred(ours())
        assert seen[0].future is d

    asyncio.run(main())


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="asyncio.current_task() does not know such tasks"
)
def test_tasks_written_in_python():
    async def main():
        loop = asyncio.get_running_loop()
        d = defer.Deferred()

        async def awaits(what):
            return await what

        task = asyncio.tasks._PyTask(awaits(d), loop=loop, name="mine")
        outer_task = asyncio.tasks._PyTask(awaits(task), loop=loop)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert last(graph(outer_task)) == [outer_task, task, d]
        assert last(graph(d), awaited_by)[:2] == [d, task]
        assert "_PyTask mine" in str(graph(task)) or "Task mine" in str(graph(task))
        d.callback(None)
        await outer_task

    asyncio.run(main())


@pytest.mark.parametrize(
    ("whose", "runs_as"),
    [
        pytest.param(
            "asyncio",
            "a task",
            marks=pytest.mark.skipif(
                sys.version_info < (3, 11), reason="asyncio has no groups before 3.11"
            ),
        ),
        ("ours", "a task"),
        ("ours", "a Deferred"),
    ],
)
def test_groups_of_tasks(whose, runs_as):
    async def main():
        gate = asyncio.get_running_loop().create_future()
        make = asyncio.TaskGroup if whose == "asyncio" else concurrency.TaskGroup
        run = asyncio.ensure_future if runs_as == "a task" else defer.ensureDeferred
        tasks = []

        async def child():
            await gate

        async def at_the_end():
            async with make() as group:
                tasks.extend(group.create_task(child()) for _ in range(2))

        async def in_the_block():
            async with make() as group:
                tasks.append(group.create_task(child()))
                await gate

        async def without_a_name():
            async with make() as group:
                tasks.append(group.create_task(child()))
                del group
                await gate

        ended = run(at_the_end())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        found = graph(ended)
        if whose == "ours":
            (found,) = found.waits_for
        assert {id(each) for each in waits_for(found)} == {id(each) for each in tasks}
        assert all(last(graph(each), awaited_by)[-1] is ended for each in tasks)
        for work in (in_the_block, without_a_name):
            tasks.clear()
            parent = run(work())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            found = graph(parent)
            assert found.cycles == ()
            assert waits_for(found)[1:] == tasks
            assert str(found).count("task: <") == 1
            assert parent in last(graph(tasks[0]), awaited_by)
        assert defer.deadlocks() == []
        gate.set_result(None)
        await ended
        await asyncio.sleep(0)
        assert "task: <" not in str(graph(ended))

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has no groups before 3.11")
def test_a_group_whose_tasks_wait_for_it():
    async def main():
        async def child():
            await asyncio.wait([parent])

        async def work():
            async with asyncio.TaskGroup() as group:
                group.create_task(child())

        parent = asyncio.ensure_future(work())
        await asyncio.sleep(0.01)
        assert len(graph(parent).waits_for) == 1
        parent.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await parent

    asyncio.run(main())


def test_timeouts_of_coroutines_and_generators():
    clock = Clock()

    async def inner(d):
        async with concurrency.timeout(5, clock=clock):
            await d

    async def work(d):
        async with concurrency.timeout(30, clock=clock), concurrency.timeout(None, clock=clock):
            await inner(d)

    @defer.inlineCallbacks
    def generator(d):
        with concurrency.timeout_at(7, clock=clock) as limit:
            yield d
            limit.reschedule(9)
            yield defer.Deferred()

    d = defer.Deferred()
    found = graph(defer.ensureDeferred(work(d)))
    assert found.detail.split(", ")[1:] == [
        "in a timeout until 30.0 of its clock",
        "in a timeout without an end",
        "in a timeout until 5.0 of its clock",
    ]
    first = generator(d)
    assert graph(first).detail.endswith("in a timeout until 7.0 of its clock")
    d.callback(None)
    assert graph(first).detail.endswith("in a timeout until 9.0 of its clock")
    assert "in a timeout" not in graph(found.future).detail
    clock.advance(20)
    assert "in a timeout" not in graph(first).detail
    first.addErrback(lambda _: None)


def test_timeouts_that_others_are_in():
    """One that a coroutine only knows is not its own."""
    clock = Clock()
    limit = concurrency.timeout(5, clock=clock)

    async def other():
        async with limit:
            await defer.Deferred()

    async def work(limit):
        await defer.Deferred()
        return limit

    kept = [defer.ensureDeferred(other())]
    assert "in a timeout" in graph(kept[0]).detail
    assert "in a timeout" not in graph(defer.ensureDeferred(work(limit))).detail


def test_timeouts_of_tasks():
    async def main():
        loop = asyncio.get_running_loop()
        gate = loop.create_future()

        async def work(timeout):
            async with timeout:
                await gate

        async def ours():
            await work(concurrency.timeout(1000))

        makes = [lambda: concurrency.timeout(1000)]
        if sys.version_info >= (3, 11):
            makes.append(lambda: asyncio.timeout(1000))
        tasks = [asyncio.ensure_future(work(make())) for make in makes]
        tasks.append(defer.ensureDeferred(ours()))
        await asyncio.sleep(0)
        for each in tasks:
            assert re.search(r", in a timeout with (1000|9\d\d)\.\d s left$", graph(each).detail)
        gate.set_result(None)
        for each in tasks:
            await each

    asyncio.run(main())


def test_deferreds_of_twisted():
    theirs = twisted.internet.defer.Deferred()
    waiting = defer.ensureDeferred(outer(theirs))
    assert last(graph(waiting))[-1] is theirs
    assert last(graph(theirs), awaited_by)[-1] is waiting
    assert "<Deferred> of Twisted's own has not been fired" in named(str(graph(theirs)))
    theirs.callback(1)
    assert graph(waiting).detail == "was fired with 1"
    assert graph(theirs).state == "fired"


def test_while_another_thread_changes_it():
    d, stop = defer.Deferred(), threading.Event()
    lists = []

    def change():
        while not stop.is_set():
            lists.append(defer.DeferredList([d, defer.Deferred()]))
            d.addCallback(later)
            lists.pop().cancel() if len(lists) > 10 else None

    d.addErrback(lambda _: None)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            graph(d)
    finally:
        stop.set()
        thread.join()


def test_within_a_canceller_and_a_collection():
    seen = []
    d = defer.Deferred(lambda d: seen.append(graph(d)))
    waiting = defer.ensureDeferred(outer(d))
    waiting.addErrback(lambda _: None)
    waiting.cancel()
    assert seen[0].future is d

    class Dying:
        def __init__(self):
            self.d = defer.Deferred().addCallback(self.method)

        def method(self, result):
            pass

        def __del__(self):
            seen.append(graph(self.d))

    Dying()
    gc.collect()
    assert len(seen) == 2
