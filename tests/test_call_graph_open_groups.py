"""The call graph of groups of tasks that were opened, and that nobody has joined so far."""

import asyncio
import contextlib
import sys

import deferrous as defer
import pytest
from call_graph_helpers import awaited_by, graph, last, waits_for
from deferrous import concurrency

pytestmark = pytest.mark.deferrous_only


async def child(gate):
    await gate


class Holder:
    """It has a group that no generator has in a variable."""

    def __init__(self):
        self.tasks = []

    def open(self, gate):
        self.group = concurrency.TaskGroup().open()
        self.tasks += [self.group.create_task(child(gate)) for _ in range(2)]


@defer.inlineCallbacks
def in_a_generator(holder, gate, other):
    holder.open(gate)
    yield other
    yield holder.group.join()


@defer.inlineCallbacks
def in_a_variable(holder, gate, other):
    group = concurrency.TaskGroup().open()
    holder.group = group
    holder.tasks += [group.create_task(child(gate)) for _ in range(2)]
    yield other
    yield group.join()


async def in_a_coroutine(holder, gate, other):
    holder.open(gate)
    await other
    await holder.group.join()


async def in_an_inner_coroutine(holder, gate, other):
    await in_a_coroutine(holder, gate, other)


async def in_a_list(holder, gate, other):
    groups = [concurrency.TaskGroup().open()]
    holder.group = groups[0]
    holder.tasks += [groups[0].create_task(child(gate)) for _ in range(2)]
    await other
    await groups[0].join()


async def on_an_exit_stack(holder, gate, other):
    async with contextlib.AsyncExitStack() as stack:
        holder.group = await stack.enter_async_context(concurrency.TaskGroup())
        holder.tasks += [holder.group.create_task(child(gate)) for _ in range(2)]
        await other


WAYS = [
    in_a_generator,
    in_a_variable,
    in_a_coroutine,
    in_an_inner_coroutine,
    in_a_list,
    on_an_exit_stack,
]


def is_seen_both_ways(d, holder, other):
    found = graph(d)
    assert waits_for(found) == [other, *holder.tasks]
    assert [each["how"] for each in found.to_dict()["nodes"][0]["waits_for"]][1:] == ["task"] * 2
    for task in holder.tasks:
        assert d in awaited_by(graph(task))
    assert found.cycles == ()
    assert not any(d in circle for circle in defer.deadlocks())


@pytest.mark.parametrize("way", WAYS)
def test_in_one_that_deferreds_drive(way):
    holder, gate, other = Holder(), defer.Deferred(), defer.Deferred()
    d = way(holder, gate, other)
    if way.__code__.co_flags & 0x80:
        d = defer.ensureDeferred(d)
    is_seen_both_ways(d, holder, other)
    other.callback(None)
    assert all(each.future in holder.tasks for each in graph(d).waits_for[0].waits_for)
    gate.callback(None)
    assert d.result is None


@pytest.mark.parametrize("way", [each for each in WAYS if each.__code__.co_flags & 0x80])
def test_in_a_task_of_asyncio(way):
    async def main():
        holder, gate, other = Holder(), defer.Deferred(), defer.Deferred()
        task = asyncio.ensure_future(way(holder, gate, other))
        await asyncio.sleep(0)
        is_seen_both_ways(task, holder, other)
        other.callback(None)
        gate.callback(None)
        await task

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has no groups before 3.11")
def test_a_group_of_asyncio_on_an_exit_stack():
    async def main():
        gate, tasks = asyncio.get_running_loop().create_future(), []

        async def work():
            async with contextlib.AsyncExitStack() as stack:
                group = await stack.enter_async_context(asyncio.TaskGroup())
                tasks.append(group.create_task(child(gate)))
                await gate

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert waits_for(graph(task)) == [gate, *tasks]
        gate.set_result(None)
        await task

    asyncio.run(main())


def test_a_child_is_not_the_one_who_opened_it():
    """The children, and theirs, may know the group as well."""
    gate = defer.Deferred()

    async def grandchild(group):
        await gate

    async def knows(group):
        await defer.ensureDeferred(grandchild(group))

    async def main():
        group = concurrency.TaskGroup().open()
        tasks.append(group.create_task(knows(group)))
        await gate
        await group.join()

    tasks = []
    d = defer.ensureDeferred(main())
    found = graph(d)
    assert found.cycles == ()
    assert waits_for(found) == [gate, *tasks]
    assert last(graph(tasks[0]))[-1] is gate
    gate.callback(None)
    assert d.called


def test_one_that_nobody_runs_has_opened():
    gate = defer.Deferred()
    group = concurrency.TaskGroup().open()
    task = group.create_task(child(gate))
    found = graph(task)
    assert awaited_by(found) == []
    assert any("TaskGroup._task_ended" in each.name for each in found.callbacks)
    gate.callback(None)
    assert group.join().called


def test_who_opened_it_and_has_ended_waits_for_nothing():
    gate = defer.Deferred()

    @defer.inlineCallbacks
    def start():
        yield defer.succeed(None)
        group = concurrency.TaskGroup().open()
        group.create_task(child(gate))
        return group

    d = start()
    (task,) = d.result._tasks
    assert awaited_by(graph(task)) == []
    gate.callback(None)
    assert d.result.join().called


def test_nobody_is_kept_who_has_joined_it():
    async def main():
        group = concurrency.TaskGroup().open()
        groups.append(group)
        await group.join()

    groups = []
    assert defer.ensureDeferred(main()).called
    assert groups[0]._opened_by is None
