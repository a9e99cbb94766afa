"""Runs a program with asyncio's classes and with ours, and compares the results."""

from __future__ import annotations

import asyncio
import builtins
import random

from concurrency_worlds import SteppingLoop
from deferrous import CancelledError, ensureDeferred
from deferrous import concurrency as c
from deferrous.testing import Clock

#: Until 3.10, asyncio's is another than Python's own.
TIMEOUTS = (builtins.TimeoutError, asyncio.TimeoutError)


class Theirs:
    """asyncio's own."""

    def __init__(self, loop):
        self.now = loop.time
        self.sleep = asyncio.sleep
        self.clock = {}
        self.spawn = loop.create_task
        self.kit = asyncio
        self.index_of = {}

    cancel = staticmethod(lambda task: task.cancel())


class Ours:
    """Ours, in tasks of asyncio."""

    def __init__(self, loop):
        self.now = loop.time
        self.sleep = c.sleep
        self.clock = {"clock": loop}
        self.spawn = ensureDeferred
        self.kit = c

    cancel = staticmethod(lambda task: task.cancel())


def in_loop(kind, program, seed):
    loop = SteppingLoop()
    log = []
    try:

        async def main():
            world = kind(loop)
            tasks = program(world, random.Random(seed), log)
            running = []
            for number, task in enumerate(tasks):
                running.append(loop.create_task(kept(number, task, running, log, loop.time)))
            await asyncio.sleep(1000)
            left = [number for number, task in enumerate(running) if not task.done()]
            log.append(("left", left))
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return log[: next(n for n, entry in enumerate(log) if entry[0] == "left") + 1]


def on_a_clock(program, seed):
    clock = Clock()
    log = []
    world = Ours.__new__(Ours)
    world.now = clock.seconds
    world.sleep = lambda delay: c.sleep(delay, clock=clock)
    world.clock = {"clock": clock}
    world.spawn = ensureDeferred
    world.kit = c
    running = []
    for number, task in enumerate(program(world, random.Random(seed), log)):
        running.append(ensureDeferred(kept(number, task, running, log, clock.seconds)))
        running[-1].addErrback(lambda _: None)
    while calls := clock.getDelayedCalls():
        clock.advance(calls[0].getTime() - clock.seconds())
    return log


async def kept(number, task, running, log, now):
    try:
        result = await task(running)
    except (CancelledError, asyncio.CancelledError):
        log.append((now(), number, "ends", "cancelled"))
        raise
    except BaseException as error:
        log.append((now(), number, "ends", name_of(error)))
    else:
        log.append((now(), number, "ends", result))


def name_of(error):
    if isinstance(error, TIMEOUTS):
        return "TimeoutError"
    if hasattr(error, "exceptions"):
        return [name_of(each) for each in error.exceptions]
    return type(error).__name__


def rounded(log):
    return [(round(entry[0], 6), *entry[1:]) for entry in log if entry[0] != "left"]


def at_each_time(log):
    """The same, with what happens at one time in some order that does not matter."""
    return sorted(rounded(log), key=lambda entry: (entry[0], repr(entry[1:])))


def compare(program, seeds):
    # Before 3.12, asyncio's groups are sets, and cancel their tasks in any order.
    in_order = at_each_time if program.__name__ == "groups" else rounded
    interesting = 0
    for seed in seeds:
        theirs = in_loop(Theirs, program, seed)
        ours = in_loop(Ours, program, seed)
        assert in_order(ours) == in_order(theirs), seed
        assert ours[-1] == theirs[-1], seed
        assert at_each_time(on_a_clock(program, seed)) == at_each_time(theirs), seed
        interesting += len(theirs)
    assert interesting > 5 * len(seeds)


def actor(world, rng, log, number, acts, pick):
    """A task: one act after the other, each after a while of its own."""
    chosen = [(pick(rng), rng.uniform(0.1, 3)) for _ in range(acts)]

    async def task(running):
        for (name, act), delay in chosen:
            await world.sleep(delay)
            log.append((world.now(), number, name, "begins"))
            try:
                result = await act()
            except (CancelledError, asyncio.CancelledError):
                log.append((world.now(), number, name, "cancelled"))
                raise
            except Exception as error:
                result = name_of(error)
            log.append((world.now(), number, name, result))
        return "done"

    return task


def canceller(world, rng, log, number, others):
    chosen = [(rng.randrange(others), rng.uniform(0.5, 4)) for _ in range(rng.randrange(3))]

    async def task(running):
        for victim, delay in chosen:
            await world.sleep(delay)
            log.append((world.now(), number, "cancels", victim))
            world.cancel(running[victim])
        return "done"

    return task


def at_once(function):
    async def act():
        return function()

    return act


def actors(world, rng, log, pick, most=5, cancel=True):
    count = rng.randrange(2, most + 1)
    tasks = [actor(world, rng, log, n, rng.randrange(1, 6), pick) for n in range(count)]
    return [*tasks, canceller(world, rng, log, count, count)] if cancel else tasks
