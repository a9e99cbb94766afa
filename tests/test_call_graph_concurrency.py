"""The call graph of objects in `deferrous.concurrency`."""

import re

import deferrous as defer
import pytest
from call_graph_helpers import graph, inner
from deferrous import concurrency
from deferrous.testing import Clock

pytestmark = pytest.mark.deferrous_only


async def group_of_two(gate):
    async with concurrency.TaskGroup() as group:
        group.create_task(inner(gate))
        group.create_task(inner(gate))


async def putting(_):
    queue = concurrency.Queue(1)
    queue.put_nowait(1)
    await queue.put(2)


async def joining(_):
    queue = concurrency.Queue(1)
    queue.put_nowait(1)
    await queue.join()


async def sending(_):
    channel = concurrency.Channel()
    await channel.send(1)


async def receiving(_):
    await concurrency.Channel().receive()


async def sleeping(_):
    await concurrency.sleep(1, clock=Clock())


async def shielding(gate):
    await concurrency.shield(gate)


async def delaying(gate):
    await concurrency.delay_cancellation(gate)


async def waiting_for_several(gate):
    await concurrency.wait([gate, defer.succeed(1)])


async def meeting(_):
    await concurrency.Barrier(2).wait()


async def condition(_):
    condition = concurrency.Condition()
    await condition.acquire()
    await condition.wait()


async def completing(gate):
    for each in concurrency.as_completed([gate]):
        await each


async def observing(gate):
    await concurrency.Observable(gate).observe()


@pytest.mark.parametrize(
    ("work", "text", "finds_gate"),
    [
        (group_of_two, "waits for 2 tasks of <TaskGroup at 0x?>", True),
        (putting, "stands in line at <Queue at 0x?>, place 1 of 1", False),
        (joining, "stands in line at <Queue at 0x?>, place 1 of 1", False),
        (sending, "stands in line at <Channel at 0x?>, place 1 of 1", False),
        (receiving, "stands in line at <Channel at 0x?>, place 1 of 1", False),
        (sleeping, "sleeps, until a clock wakes it", False),
        (shielding, "waits for another, but is not cancelled with it", True),
        (delaying, "waits for another, but is not cancelled with it", True),
        (waiting_for_several, "waits for 1 that are missing of 2", True),
        (meeting, "stands in line at <Barrier at 0x?>, place 1 of 1", False),
        (condition, "stands in line at <Condition at 0x?>, place 1 of 1", False),
        (completing, "stands in line at <AsCompleted at 0x?>, place 1 of 1", True),
        (observing, "observes <Observable at 0x?>", True),
    ],
)
def test_those_of_concurrency(work, text, finds_gate):
    gate = defer.Deferred()
    d = defer.ensureDeferred(work(gate))
    found = graph(d)
    details = [re.sub("0x[0-9a-f]+", "0x?", each["detail"]) for each in found.to_dict()["nodes"]]
    assert text in details
    assert any(each.obj is gate for each in found._graph.nodes) == finds_gate
    d.addErrback(lambda _: None)
    gate.callback(None)


def test_a_group_and_a_wait_are_found_from_their_members():
    for work in (group_of_two, waiting_for_several):
        gate = defer.Deferred()
        d = defer.ensureDeferred(work(gate))
        assert any(each.obj is d for each in graph(gate)._graph.nodes)
        gate.callback(None)


def test_what_is_passed_on_is_not_kept():
    gate = defer.Deferred()
    shielded = concurrency.shield(gate)
    gate.callback(1)
    assert vars(shielded).get("_part_of") is None
