"""Programs with `deferrous.concurrency`, and such as track where Deferreds were made."""

from __future__ import annotations

from deferrous import concurrency as c
from deferrous import pending, track
from deferrous.testing import Clock

from .base import Oops, kind, nothing, ours


def said(result):
    """What a program makes of a result: of the errors of a group, what the first one is."""
    if not hasattr(result, "trap"):
        return result
    errors = getattr(result.value, "exceptions", None)
    return repr(errors[0]) if errors else kind(result)


@ours
def group_of_tasks(defer, keep):
    gates, seen = [keep(defer.Deferred()) for _ in range(3)], []

    async def wait_for(gate):
        return await gate

    async def main():
        async with c.TaskGroup() as group:
            for gate in gates:
                group.create_task(wait_for(gate))
        return "ended"

    keep(defer.ensureDeferred(main())).addBoth(lambda it: seen.append(said(it)))
    for gate in gates:
        gate.callback(None)
    return seen


@ours
def group_that_fails(defer, keep):
    gates, seen = [keep(defer.Deferred()) for _ in range(3)], []
    group = c.TaskGroup().open()
    for gate in gates:
        group.create_task(gate)
    keep(group.join()).addBoth(lambda it: seen.append(said(it)))
    gates[1].errback(Oops())
    return seen


@ours
def mapped(defer, keep):
    seen = []
    keep(c.map(lambda it: defer.succeed(2 * it), range(4), limit=2)).addBoth(seen.append)
    return seen


@ours
def map_cancelled(defer, keep):
    seen = []
    d = keep(c.map(lambda _: defer.Deferred(), range(4), limit=2))
    d.addBoth(lambda it: seen.append(said(it)))
    d.cancel()
    return seen


@ours
def streamed(defer, keep):
    stream, seen = c.stream(defer.succeed, range(3), limit=2), []
    for _ in range(3):
        keep(stream.__anext__()).addBoth(seen.append)
    return seen


@ours
def shielded(defer, keep):
    inner, seen = keep(defer.Deferred()), []
    outer = keep(c.shield(inner))
    outer.addErrback(lambda it: seen.append(said(it)))
    outer.cancel()
    inner.callback(1)
    return seen


@ours
def slept(defer, keep):
    clock, seen = Clock(), []
    keep(c.sleep(1, "slept", clock=clock)).addBoth(seen.append)
    clock.advance(1)
    return seen


@ours
def timed_out(defer, keep):
    clock, seen = Clock(), []

    async def wait():
        async with c.timeout(1, clock=clock):
            await defer.Deferred()

    keep(defer.ensureDeferred(wait())).addBoth(lambda it: seen.append(said(it)))
    clock.advance(1)
    return seen


@ours
def queue_and_channel(defer, keep):
    queue, channel, seen = c.Queue(1), c.Channel(), []
    keep(queue.put(1))
    keep(queue.put(2))
    keep(queue.get()).addBoth(seen.append)
    keep(channel.send(3))
    keep(channel.receive()).addBoth(seen.append)
    return seen


@ours
def event_and_barrier(defer, keep):
    event, barrier, seen = c.Event(), c.Barrier(2), []
    keep(event.wait()).addBoth(seen.append)
    event.set()
    keep(barrier.wait()).addBoth(seen.append)
    keep(barrier.wait()).addBoth(seen.append)
    return seen


@ours
def condition_notified(defer, keep):
    condition, seen = c.Condition(), []
    condition.acquire()
    keep(condition.wait()).addBoth(seen.append)
    condition.acquire()
    condition.notify()
    condition.release()
    return seen


@ours
def weights_and_keys(defer, keep):
    semaphore, keys, seen = c.Semaphore(2), c.KeyedLock(), []
    keep(semaphore.weighing(2).run(seen.append, 1))
    keep(keys("key").run(seen.append, 2))
    return seen, semaphore.value, len(keys)


@ours
def observed(defer, keep):
    d, seen = keep(defer.Deferred()), []
    shared = c.Observable(d)
    keep(shared.observe()).addBoth(seen.append)
    d.callback(1)
    return seen


@ours
def tracked(defer, keep):
    with track():
        d = keep(defer.Deferred())
        pending()
        d.addErrback(nothing)
        d.callback(1)
    # What there is no memory to note is not tracked: nobody fails because somebody looks.
    return d.result
