"""What `deferrous.concurrency` costs, beside asyncio's equivalent.

`python -m benchmarks concurrency` prints a table, and keeps it for the page. Each row does the same
with both, in coroutines: ours are driven by Deferreds, on no loop, and, where it says so, in tasks
of asyncio. Times are of the processor, in nanoseconds per operation, the least of several rounds in
which the two take turns. asyncio's include the turns of its loop, as it does nothing without them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Callable
from typing import Any

from deferrous import Deferred, DeferredQueue, DeferredSemaphore, ensureDeferred, succeed
from deferrous import concurrency as c
from deferrous.testing import Clock

Coroutine = Callable[[int], Any]


class Row:
    """Something that is done `n` times by each."""

    def __init__(self, title: str, n: int, ours: Coroutine, theirs: Coroutine | None) -> None:
        self.title = title
        self.n = n
        self.ours = ours
        self.theirs = theirs


ROWS: list[Row] = []


def row(title: str, n: int) -> Callable[[type], type]:
    """Add a class with coroutine functions `ours` and `theirs` to the table."""

    def add(functions: type) -> type:
        ROWS.append(Row(title, n, functions.ours, getattr(functions, "theirs", None)))
        return functions

    return add


# Where nobody has to wait.


@row("Event.wait, set before", 100_000)
class _:
    async def ours(n):
        event = c.Event()
        event.set()
        for _ in range(n):
            await event.wait()

    async def theirs(n):
        event = asyncio.Event()
        event.set()
        for _ in range(n):
            await event.wait()


@row("async with Semaphore, free", 100_000)
class _:
    async def ours(n):
        semaphore = c.Semaphore(2)
        for _ in range(n):
            async with semaphore:
                pass

    async def theirs(n):
        semaphore = asyncio.Semaphore(2)
        for _ in range(n):
            async with semaphore:
                pass


@row("async with Condition, notify", 50_000)
class _:
    async def ours(n):
        condition = c.Condition()
        for _ in range(n):
            async with condition:
                condition.notify()

    async def theirs(n):
        condition = asyncio.Condition()
        for _ in range(n):
            async with condition:
                condition.notify()


@row("Queue: put, get", 100_000)
class _:
    async def ours(n):
        queue = c.Queue()
        for number in range(n):
            await queue.put(number)
            await queue.get()

    async def theirs(n):
        queue = asyncio.Queue()
        for number in range(n):
            await queue.put(number)
            await queue.get()


@row("PriorityQueue of 100: put, get", 50_000)
class _:
    async def ours(n):
        await _through(c.PriorityQueue(), n)

    async def theirs(n):
        await _through(asyncio.PriorityQueue(), n)


async def _through(queue, n):
    for number in range(100):
        await queue.put(number * 7919 % 100)
    for number in range(n):
        await queue.put(number * 7919 % 100)
        await queue.get()


@row("timeout, in time", 30_000)
class _:
    async def ours(n):
        clock = Clock()
        for _ in range(n):
            async with c.timeout(1000, clock=clock):
                pass

    async def theirs(n):
        for _ in range(n):
            async with asyncio.timeout(1000):
                pass


@row("TaskGroup of 100 tasks that do not wait, per task", 30_000)
class _:
    async def ours(n):
        for _ in range(n // 100):
            async with c.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(nothing())

    async def theirs(n):
        for _ in range(n // 100):
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(nothing())


async def nothing():
    pass


# Where one waits for another.


@row("Event with 1,000 waiters, per waiter", 50_000)
class _:
    async def ours(n):
        await _wait_for_event(c.Event, ours_begin, n)

    async def theirs(n):
        await _wait_for_event(asyncio.Event, theirs_begin, n)


async def _wait_for_event(kind, begin, n):
    for _ in range(n // 1000):
        event = kind()
        waiting = [begin(event.wait()) for _ in range(1000)]
        await switch(begin)
        event.set()
        await all_of(waiting)


def ours_begin(waitable):
    return waitable if isinstance(waitable, Deferred) else ensureDeferred(waitable)


def theirs_begin(coroutine):
    return asyncio.get_running_loop().create_task(coroutine)


async def switch(begin):
    if begin is theirs_begin:
        await asyncio.sleep(0)


async def all_of(waiting):
    for each in waiting:
        await each


@row("Event with 1,000 coroutines that wait, per coroutine", 50_000)
class _:
    async def ours(n):
        await _coroutines(c.Event, ours_begin, n)

    async def theirs(n):
        await _coroutines(asyncio.Event, theirs_begin, n)


async def _coroutines(kind, begin, n):
    async def wait(event):
        await event.wait()

    for _ in range(n // 1000):
        event = kind()
        waiting = [begin(wait(event)) for _ in range(1000)]
        await switch(begin)
        event.set()
        await all_of(waiting)


@row("Event: 1,000 waiters cancelled, the last first, per waiter", 50_000)
class _:
    async def ours(n):
        for _ in range(n // 1000):
            event = c.Event()
            waiting = [ensureDeferred(ignoring(event.wait())) for _ in range(1000)]
            for each in reversed(waiting):
                each.cancel()

    async def theirs(n):
        for _ in range(n // 1000):
            event = asyncio.Event()
            waiting = [theirs_begin(ignoring(event.wait())) for _ in range(1000)]
            await asyncio.sleep(0)
            for each in reversed(waiting):
                each.cancel()
            await all_of(waiting)


async def ignoring(waitable):
    try:
        await waitable
    except BaseException:
        pass


@row("Semaphore with 1,000 that wait, per one", 50_000)
class _:
    async def ours(n):
        await _hold(c.Semaphore, ours_begin, n)

    async def theirs(n):
        await _hold(asyncio.Semaphore, theirs_begin, n)


async def _hold(kind, begin, n):
    async def hold(semaphore):
        async with semaphore:
            pass

    for _ in range(n // 1000):
        semaphore = kind(1)
        await semaphore.acquire()
        waiting = [begin(hold(semaphore)) for _ in range(1000)]
        await switch(begin)
        semaphore.release()
        await all_of(waiting)


@row("Queue: 1,000 that get, per one", 50_000)
class _:
    async def ours(n):
        await _get(c.Queue, ours_begin, n)

    async def theirs(n):
        await _get(asyncio.Queue, theirs_begin, n)


async def _get(kind, begin, n):
    async def get(queue):
        await queue.get()

    for _ in range(n // 1000):
        queue = kind()
        waiting = [begin(get(queue)) for _ in range(1000)]
        await switch(begin)
        for number in range(1000):
            queue.put_nowait(number)
        await all_of(waiting)


@row("Queue of one: producer and consumer, per item", 50_000)
class _:
    async def ours(n):
        await _produce(c.Queue(1), ours_begin, n)

    async def theirs(n):
        await _produce(asyncio.Queue(1), theirs_begin, n)


async def _produce(queue, begin, n):
    async def produce():
        for number in range(n):
            await queue.put(number)

    async def consume():
        for _ in range(n):
            await queue.get()
            queue.task_done()

    waiting = [begin(produce()), begin(consume())]
    await all_of(waiting)
    await queue.join()


@row("Barrier of 10, per party", 30_000)
class _:
    async def ours(n):
        await _barrier(c.Barrier, ours_begin, n)

    async def theirs(n):
        await _barrier(asyncio.Barrier, theirs_begin, n)


async def _barrier(kind, begin, n):
    barrier = kind(10)

    async def wait():
        await barrier.wait()

    for _ in range(n // 10):
        await all_of([begin(wait()) for _ in range(10)])


@row("Condition: 100 notified, per one", 20_000)
class _:
    async def ours(n):
        await _notify(c.Condition, ours_begin, n)

    async def theirs(n):
        await _notify(asyncio.Condition, theirs_begin, n)


async def _notify(kind, begin, n):
    condition = kind()

    async def wait():
        async with condition:
            await condition.wait()

    for _ in range(n // 100):
        waiting = [begin(wait()) for _ in range(100)]
        await switch(begin)
        async with condition:
            condition.notify_all()
        await all_of(waiting)


@row("TaskGroup of 100 tasks that wait once, per task", 20_000)
class _:
    async def ours(n):
        for _ in range(n // 100):
            event = c.Event()
            async with c.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(awaiting(event.wait()))
                event.set()

    async def theirs(n):
        for _ in range(n // 100):
            event = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(awaiting(event.wait()))
                await asyncio.sleep(0)
                event.set()


async def awaiting(waitable):
    await waitable


@row("timeout that expires", 10_000)
class _:
    async def ours(n):
        clock = Clock()

        async def limited():
            try:
                async with c.timeout(0, clock=clock):
                    await Deferred()
            except TimeoutError:
                pass

        for _ in range(n):
            d = ensureDeferred(limited())
            clock.advance(0)
            await d

    async def theirs(n):
        for _ in range(n):
            try:
                async with asyncio.timeout(0):
                    await asyncio.get_running_loop().create_future()
            except TimeoutError:
                pass


@row("wait_for, in time", 20_000)
class _:
    async def ours(n):
        clock = Clock()
        for _ in range(n):
            d = Deferred()
            waiting = c.wait_for(d, 1000, clock=clock)
            d.callback(1)
            await waiting

    async def theirs(n):
        loop = asyncio.get_running_loop()
        for _ in range(n):
            future = loop.create_future()
            loop.call_soon(future.set_result, 1)
            await asyncio.wait_for(future, 1000)


@row("sleep(0)", 20_000)
class _:
    async def ours(n):
        clock = Clock()
        for _ in range(n):
            d = c.sleep(0, clock=clock)
            clock.advance(0)
            await d

    async def theirs(n):
        for _ in range(n):
            await asyncio.sleep(0)


# Many at once.


@row("gather of 1,000, per one", 50_000)
class _:
    async def ours(n):
        for _ in range(n // 1000):
            ds = [Deferred() for _ in range(1000)]
            gathered = c.gather(*ds)
            for d in ds:
                d.callback(1)
            await gathered

    async def theirs(n):
        loop = asyncio.get_running_loop()
        for _ in range(n // 1000):
            futures = [loop.create_future() for _ in range(1000)]
            gathered = asyncio.gather(*futures)
            for future in futures:
                future.set_result(1)
            await gathered


@row("wait for all of 1,000, per one", 50_000)
class _:
    async def ours(n):
        for _ in range(n // 1000):
            ds = [Deferred() for _ in range(1000)]
            waiting = c.wait(ds)
            for d in ds:
                d.callback(1)
            await waiting

    async def theirs(n):
        loop = asyncio.get_running_loop()
        for _ in range(n // 1000):
            futures = [loop.create_future() for _ in range(1000)]
            for future in futures:
                loop.call_soon(future.set_result, 1)
            await asyncio.wait(futures)


@row("as_completed of 1,000, per one", 20_000)
class _:
    async def ours(n):
        for _ in range(n // 1000):
            ds = [Deferred() for _ in range(1000)]
            it = c.as_completed(ds)
            for d in ds:
                d.callback(1)
            for each in it:
                await each

    async def theirs(n):
        loop = asyncio.get_running_loop()
        for _ in range(n // 1000):
            futures = [loop.create_future() for _ in range(1000)]
            it = asyncio.as_completed(futures)
            for future in futures:
                loop.call_soon(future.set_result, 1)
            for each in it:
                await each


@row("map(limit=100), of coroutines that wait once, per item", 50_000)
class _:
    async def ours(n):
        waiting = []

        async def work(number):
            d = Deferred()
            waiting.append(d)
            await d

        mapped = c.map(work, range(n), limit=100)
        while waiting:
            waiting.pop().callback(None)
        await mapped

    async def theirs(n):
        # What asyncio's users write: a semaphore in each task.
        semaphore = asyncio.Semaphore(100)

        async def work(number):
            async with semaphore:
                await asyncio.sleep(0)

        for start in range(0, n, 1000):
            await asyncio.gather(*(work(number) for number in range(start, start + 1000)))


@row("shield", 20_000)
class _:
    async def ours(n):
        for _ in range(n):
            d = Deferred()
            waiting = c.shield(d)
            d.callback(1)
            await waiting

    async def theirs(n):
        loop = asyncio.get_running_loop()
        for _ in range(n):
            future = loop.create_future()
            loop.call_soon(future.set_result, 1)
            await asyncio.shield(future)


# Ours in tasks of asyncio.


@row("in tasks: Event with 1,000 that wait, per task", 20_000)
class _:
    async def ours(n):
        await _coroutines(c.Event, theirs_begin, n)

    async def theirs(n):
        await _coroutines(asyncio.Event, theirs_begin, n)


@row("in tasks: Semaphore with 1,000 that wait, per task", 20_000)
class _:
    async def ours(n):
        await _hold(c.Semaphore, theirs_begin, n)

    async def theirs(n):
        await _hold(asyncio.Semaphore, theirs_begin, n)


@row("in tasks: Queue, 1,000 that get, per task", 20_000)
class _:
    async def ours(n):
        await _get(c.Queue, theirs_begin, n)

    async def theirs(n):
        await _get(asyncio.Queue, theirs_begin, n)


@row("in tasks: timeout, in time", 20_000)
class _:
    async def ours(n):
        for _ in range(n):
            async with c.timeout(1000):
                pass

    async def theirs(n):
        for _ in range(n):
            async with asyncio.timeout(1000):
                pass


# What Twisted has.


@row("(DeferredSemaphore, free, for comparison)", 100_000)
class _:
    async def ours(n):
        semaphore = DeferredSemaphore(2)
        for _ in range(n):
            async with semaphore:
                pass


@row("(DeferredQueue: put, get, for comparison)", 100_000)
class _:
    async def ours(n):
        queue = DeferredQueue()
        for number in range(n):
            queue.put(number)
            await queue.get()


def run_ours(row: Row) -> None:
    if row.title.startswith("in tasks"):
        asyncio.run(row.ours(row.n))
    else:
        done = ensureDeferred(row.ours(row.n))
        assert done.called and done.result is None, (row.title, done)


def run_theirs(row: Row) -> None:
    asyncio.run(row.theirs(row.n))


def measure(run: Callable[[Row], None], row: Row) -> float:
    gc.collect()
    gc.disable()
    try:
        before = time.process_time_ns()
        run(row)
        return (time.process_time_ns() - before) / row.n
    finally:
        gc.enable()


def million(count: int = 1_000_000) -> tuple[float, int]:
    """`map(limit=100)` over a million items: nanoseconds for each, and the most live objects."""
    most = 0

    def work(number):
        nonlocal most
        if not number % (count // 10):
            most = max(most, len(gc.get_objects()))
        return succeed(None)

    gc.collect()
    before = len(gc.get_objects())
    start = time.process_time_ns()
    c.map(work, iter(range(count)), limit=100)
    return (time.process_time_ns() - start) / count, most - before


def hundred_thousand() -> list[float]:
    """An Event with so many waiters: nanoseconds for each."""
    found = []
    for count in (1_000, 10_000, 100_000):
        event = c.Event()
        for _ in range(count):
            event.wait()
        start = time.process_time_ns()
        event.set()
        found.append((time.process_time_ns() - start) / count)
    return found


def measure_all(rounds: int, scale: float = 1, only: str = "") -> dict[str, Any]:
    """Measure the rows with this in their title, and print each as it is done."""
    results: dict[str, Any] = {}
    print("\n".join(HEAD))
    for each in ROWS:
        if only not in each.title:
            continue
        if sys.version_info < (3, 11) and any(
            word in each.title for word in ("timeout", "TaskGroup", "Barrier")
        ):
            each.theirs = None
        each.n = max(int(each.n * scale) // 1000, 1) * 1000
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(measure(run_ours, each))
            if each.theirs is not None:
                theirs.append(measure(run_theirs, each))
        results[each.title] = [min(ours), min(theirs, default=None)]
        print(line(each.title, *results[each.title]), flush=True)
    return results


HEAD = [
    "| operation | deferrous | asyncio | asyncio / deferrous |",
    "| --- | ---: | ---: | ---: |",
]


def line(title: str, ours: float, theirs: float | None) -> str:
    """A row of the table, in nanoseconds per operation."""
    cells = [title, f"{ours:,.0f}", "", ""]
    if theirs is not None:
        ratio = f"{theirs / ours:.2f}"
        cells[2:] = [f"{theirs:,.0f}", ratio if theirs >= ours else f"**{ratio}**"]
    return f"| {' | '.join(cells)} |"


def table(results: dict[str, Any]) -> str:
    """What was measured, in Markdown."""
    lines = [*HEAD, *(line(title, *times) for title, times in results["nanoseconds"].items())]
    found = ", ".join(f"{each:,.0f}" for each in results["event"])
    each, objects = results["million"]
    return "\n".join(
        [
            *lines,
            "",
            f"- `map(limit=100)` over a million items: {each:,.0f} ns each, never more than "
            f"{objects} objects more than before.",
            f"- `Event.set` with 1,000, 10,000 and 100,000 waiters: {found} ns each.",
        ]
    )


def run(rounds: int = 5, scale: float = 1) -> dict[str, Any]:
    """Measure all, and print a table."""
    results = {
        "nanoseconds": measure_all(rounds, scale),
        "million": million(int(1_000_000 * scale)),
        "event": hundred_thousand(),
    }
    print("\n".join(table(results).splitlines()[len(HEAD) + len(ROWS) :]))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1, help="how many operations, times ours")
    parser.add_argument("--only", default="", help="rows with this in their title")
    options = parser.parse_args()
    if options.only:
        measure_all(options.rounds, options.scale, options.only)
    else:
        run(options.rounds, options.scale)


if __name__ == "__main__":
    main()
