"""Random programs behave the same with asyncio's own primitives and with ours.

Each program is of a few tasks that act at times of their own, on a loop whose time passes when
there is nothing else to do. It runs three times: on asyncio's primitives, on ours in tasks of
asyncio, and on ours in coroutines that Deferreds drive, on a clock that stands still. The first two
have to log the same, in the same order; the third the same at each time, as what is woken there
runs at once.
"""

from __future__ import annotations

import asyncio
import sys

import pytest
from asyncio_comparison import TIMEOUTS, actors, at_once, compare, name_of
from deferrous import CancelledError

pytestmark = pytest.mark.deferrous_only

PROGRAMS = 100

new_in_3_11 = pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has none")
new_in_3_13 = pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio has none")


def events(world, rng, log):
    events = [world.kit.Event() for _ in range(2)]

    def pick(rng):
        event = rng.choice(events)
        return rng.choice(
            [
                ("wait", event.wait),
                ("wait", event.wait),
                ("set", at_once(event.set)),
                ("clear", at_once(event.clear)),
                ("is_set", at_once(event.is_set)),
            ]
        )

    return actors(world, rng, log, pick)


def semaphores(world, rng, log):
    semaphore = world.kit.Semaphore(rng.randrange(3))

    async def use():
        async with semaphore:
            await world.sleep(1.3)
            return "used"

    def pick(rng):
        return rng.choice(
            [
                ("use", use),
                ("acquire", semaphore.acquire),
                ("release", at_once(semaphore.release)),
                ("locked", at_once(semaphore.locked)),
            ]
        )

    return actors(world, rng, log, pick)


def conditions(world, rng, log):
    condition = world.kit.Condition()
    state = []

    async def wait():
        async with condition:
            return await condition.wait()

    async def wait_for():
        async with condition:
            return await condition.wait_for(lambda: len(state) > 2)

    async def wait_and_hold():
        async with condition:
            await condition.wait()
            await world.sleep(0.7)
            return condition.locked()

    def notifier(n, hold):
        async def notify():
            async with condition:
                state.append(1)
                condition.notify_all() if n is None else condition.notify(n)
                if hold:
                    await world.sleep(hold)
                return len(state)

        return notify

    async def hold():
        async with condition:
            await world.sleep(0.9)

    def pick(rng):
        n, held = rng.choice([None, 1, 1, 2]), rng.choice([0, 0.6])
        return rng.choice(
            [
                ("wait", wait),
                ("wait", wait),
                ("wait_for", wait_for),
                ("wait_and_hold", wait_and_hold),
                ("notify", notifier(n, held)),
                ("notify", notifier(n, held)),
                ("hold", hold),
                ("locked", at_once(condition.locked)),
            ]
        )

    # asyncio's loses a notification with the one that is cancelled; from 3.13 on, it wakes
    # another in any case.
    return actors(world, rng, log, pick, cancel=False)


def barriers(world, rng, log):
    barrier = world.kit.Barrier(rng.randrange(1, 4))
    # asyncio's gives the number of one that was cancelled to another that has it already.
    cancel = rng.random() < 0.5

    def told(number):
        return "a number" if cancel and number is not None else number

    async def wait():
        return told(await barrier.wait())

    async def block():
        async with barrier as number:
            return told(number)

    def pick(rng):
        return rng.choice(
            [
                ("wait", wait),
                ("wait", wait),
                ("block", block),
                ("abort", barrier.abort),
                ("reset", barrier.reset),
                ("reset", barrier.reset),
                ("broken", at_once(lambda: barrier.broken)),
                ("n_waiting", at_once(lambda: barrier.n_waiting)),
            ]
        )

    return actors(world, rng, log, pick, cancel=cancel)


def queues_of(kind, shutdown=False):
    def queues(world, rng, log):
        queue = getattr(world.kit, kind)(rng.randrange(3))
        counter = iter(range(1000))

        async def put():
            number = next(counter) * 7 % 11
            await queue.put(number)
            return number

        def pick(rng):
            acts = [
                ("put", put),
                ("put", put),
                ("get", queue.get),
                ("get", queue.get),
                ("put_nowait", at_once(lambda: queue.put_nowait(next(counter) * 7 % 11))),
                ("get_nowait", at_once(queue.get_nowait)),
                ("task_done", at_once(queue.task_done)),
                ("join", queue.join),
                ("qsize", at_once(lambda: (queue.qsize(), queue.empty(), queue.full()))),
            ]
            if shutdown and rng.random() < 0.1:
                immediate = rng.random() < 0.5
                return "shutdown", at_once(lambda: queue.shutdown(immediate))
            return rng.choice(acts)

        return actors(world, rng, log, pick)

    queues.__name__ = kind
    return queues


def timeouts(world, rng, log):
    def limited(plan):
        async def act(plan=plan):
            limit, inside, after, moved = plan
            seen = []
            try:
                async with world.kit.timeout(limit, **world.clock) as it:
                    if moved is not None:
                        it.reschedule(world.now() + moved)
                    if isinstance(inside, tuple):
                        try:
                            seen.append(await act(inside))
                        except TIMEOUTS:
                            seen.append("inner")
                    else:
                        await world.sleep(inside)
                        seen.append("slept")
            except TIMEOUTS:
                seen.append("timed out")
            seen.append(it.expired())
            await world.sleep(after)
            return seen

        return act

    def plan(rng, depth):
        inside = rng.uniform(0.1, 2)
        if depth and rng.random() < 0.6:
            inside = plan(rng, depth - 1)
        moved = rng.choice([None, None, rng.uniform(0.1, 2)])
        return (rng.choice([None, rng.uniform(0.1, 2)]), inside, rng.uniform(0.1, 1), moved)

    def pick(rng):
        return "timeout", limited(plan(rng, 3))

    return actors(world, rng, log, pick)


def groups(world, rng, log):
    def grouped(plan):
        async def child(number, delay, how, name):
            try:
                await world.sleep(delay)
                if isinstance(how, tuple):
                    return await act(how, name)
                if how == "fails":
                    raise KeyError(name)
                return name
            except (CancelledError, asyncio.CancelledError):
                log.append((world.now(), name, "child", "cancelled"))
                if how == "stubborn":
                    await world.sleep(0.37)
                raise

        async def act(plan=plan, name="x"):
            children, inside, fails = plan
            async with world.kit.TaskGroup() as group:
                made = [
                    group.create_task(child(number, delay, how, f"{name}{number}"))
                    for number, (delay, how) in enumerate(children)
                ]
                await world.sleep(inside)
                if fails:
                    raise ValueError(name)
            return [await each for each in made]

        return act

    def plan(rng, depth):
        children = []
        for _ in range(rng.randrange(4)):
            how = rng.choice(["returns", "returns", "returns", "fails", "stubborn"])
            if depth and rng.random() < 0.4:
                how = plan(rng, depth - 1)
            children.append((rng.uniform(0.1, 3), how))
        # asyncio begins a task when its loop comes round: not at all, if it is cancelled before.
        return children, rng.uniform(0.1, 2), rng.random() < 0.15

    def pick(rng):
        return "group", grouped(plan(rng, 2))

    return actors(world, rng, log, pick, most=3)


def works(world, rng):
    """What is waited for: some return, some fail."""

    def one(number, delay, fails):
        async def work():
            await world.sleep(delay)
            if fails:
                raise KeyError(number)
            return number

        return work

    count = rng.randrange(1, 6)
    return [one(n, rng.uniform(0.1, 2), rng.random() < 0.3) for n in range(count)]


async def outcome_of(waited):
    try:
        return await waited
    except (KeyError, *TIMEOUTS) as error:
        return name_of(error)


def waits(world, rng, log):
    def pick(rng):
        made = works(world, rng)
        how = rng.choice(["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])
        timeout = rng.choice([None, rng.uniform(0.1, 2)])

        async def act():
            tasks = [world.spawn(work()) for work in made]
            done, pending = await world.kit.wait(
                tasks,
                return_when=getattr(world.kit, how),
                timeout=timeout,
                **(world.clock if timeout else {}),
            )
            first = sorted(tasks.index(each) for each in done)
            assert {*done, *pending} == set(tasks)
            again, _ = await world.kit.wait(tasks)
            assert again == set(tasks)
            return first, [await outcome_of(each) for each in tasks]

        return how, act

    return actors(world, rng, log, pick, most=3)


def completions(asynchronous):
    def completed(world, rng, log):
        def pick(rng):
            made = works(world, rng)
            timeout = rng.choice([None, rng.uniform(0.5, 2)])

            async def act():
                tasks = [world.spawn(work()) for work in made]
                clock = world.clock if timeout else {}
                it = world.kit.as_completed(tasks, timeout=timeout, **clock)
                seen = []
                if asynchronous:
                    try:
                        async for each in it:
                            seen.append((tasks.index(each), await outcome_of(each)))
                    except TIMEOUTS:
                        seen.append("TimeoutError")
                else:
                    for each in it:
                        seen.append(await outcome_of(each))
                for task in tasks:
                    await outcome_of(task)
                return seen

            return "as_completed", act

        return actors(world, rng, log, pick, most=3)

    return completed


def gathers(world, rng, log):
    def pick(rng):
        made = works(world, rng)
        return_exceptions = rng.random() < 0.5

        async def act():
            result = await world.kit.gather(
                *(work() for work in made), return_exceptions=return_exceptions
            )
            return [name_of(each) if isinstance(each, Exception) else each for each in result]

        return "gather", act

    return actors(world, rng, log, pick, most=3)


def limited_waits(world, rng, log):
    def pick(rng):
        [work, *_] = works(world, rng)
        limit = rng.choice([None, 0, -1, rng.uniform(0.1, 2), rng.uniform(0.1, 2)])

        async def act():
            return await world.kit.wait_for(
                work(), limit, **(world.clock if limit is not None else {})
            )

        return "wait_for", act

    return actors(world, rng, log, pick, most=3)


def shields(world, rng, log):
    def pick(rng):
        [work, *_] = works(world, rng)

        async def watched():
            try:
                return await work()
            finally:
                log.append((world.now(), "work", "ends"))

        async def act():
            return await world.kit.shield(world.spawn(watched()))

        return "shield", act

    return actors(world, rng, log, pick, most=3)


@pytest.mark.parametrize(
    "program",
    [
        events,
        semaphores,
        conditions,
        pytest.param(barriers, marks=new_in_3_11),
        queues_of("Queue"),
        queues_of("PriorityQueue"),
        queues_of("LifoQueue"),
        pytest.param(queues_of("Queue", True), marks=new_in_3_13),
        pytest.param(queues_of("PriorityQueue", True), marks=new_in_3_13),
        pytest.param(queues_of("LifoQueue", True), marks=new_in_3_13),
        pytest.param(timeouts, marks=new_in_3_11),
        pytest.param(groups, marks=new_in_3_11),
        waits,
        pytest.param(completions(False), id="as_completed"),
        pytest.param(completions(True), id="as_completed_asynchronous", marks=new_in_3_13),
        gathers,
        limited_waits,
        shields,
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_as_asyncio(program):
    compare(program, range(PROGRAMS))
