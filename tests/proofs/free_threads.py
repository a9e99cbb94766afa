"""Threads that all work on the same Deferreds, without the GIL.

    PYTHON_GIL=0 DEFERROUS_WITHOUT_GIL=unsupported python -m tests.proofs.free_threads [SECONDS]

On an interpreter that has the GIL it runs, too, and finds less. Each program makes objects, has
some threads work on them, and then looks whether what has to hold does. It says how often each has
run.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from typing import Any

from deferrous import (
    AlreadyCalledError,
    CancelledError,
    Deferred,
    DeferredList,
    DeferredLock,
    DeferredQueue,
    DeferredSemaphore,
    _deferrous,
    ensureDeferred,
    gatherResults,
    inlineCallbacks,
)

THREADS = 4


def at_once(*work: Callable[[], None]) -> None:
    """Run each in a thread of its own; all begin at the same time."""
    barrier = threading.Barrier(len(work))
    errors: list[BaseException] = []

    def run(one: Callable[[], None]) -> None:
        barrier.wait()
        try:
            one()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def make_list(line: Any) -> None:
    """Use a line as a list, which it is from then on."""
    line.append(None)
    line[0] = None
    del line[:]


class Watched:
    """A Deferred whose callbacks say whether they are called once, in order, one at a time."""

    def __init__(self) -> None:
        self.deferred: Deferred[Any] = Deferred()
        self.calls: list[tuple[int, int]] = []
        self.within = 0

    def add(self, thread: int, number: int) -> None:
        def callback(result: Any) -> Any:
            assert self.within == 0, "two at a time"
            self.within = 1
            self.calls.append((thread, number))
            self.within = 0
            return result

        self.deferred.addBoth(callback)

    def check(self, per_thread: int) -> None:
        assert len(self.calls) == len(set(self.calls)) == THREADS * per_thread, len(self.calls)
        for thread in range(THREADS):
            own = [number for of, number in self.calls if of == thread]
            assert own == sorted(own), own


def fire_and_add(rng: random.Random) -> None:
    """One of those that fire wins; callbacks are called once, in order, one at a time."""
    all_watched = [Watched() for _ in range(20)]
    won: list[tuple[int, int]] = []

    def work(thread: int) -> None:
        for index, watched in enumerate(all_watched):
            for number in range(6):
                if number == 3:
                    try:
                        watched.deferred.callback(thread)
                    except AlreadyCalledError:
                        pass
                    else:
                        won.append((index, thread))
                watched.add(thread, number)

    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    assert sorted(index for index, _ in won) == list(range(20)), won
    for index, thread in won:
        assert all_watched[index].deferred.result == thread
        all_watched[index].check(6)


def pause(rng: random.Random) -> None:
    """The same, where some pause and unpause."""
    all_watched = [Watched() for _ in range(20)]

    def work(thread: int) -> None:
        for watched in all_watched:
            watched.add(thread, 0)
            watched.deferred.pause()
            watched.add(thread, 1)
            try:
                watched.deferred.callback(thread)
            except AlreadyCalledError:
                pass
            watched.add(thread, 2)
            watched.deferred.unpause()
            watched.add(thread, 3)

    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    for watched in all_watched:
        assert watched.deferred.paused == 0
        watched.check(4)


def cancel(rng: random.Random) -> None:
    """Some cancel while others fire: there is one outcome, and a later one is discarded."""
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(40)]
    outcomes: list[list[Any]] = [[] for _ in deferreds]
    refused = [0] * THREADS
    for deferred, outcome in zip(deferreds, outcomes, strict=True):
        deferred.addBoth(outcome.append)

    def work(thread: int) -> None:
        for deferred in deferreds:
            if thread % 2:
                deferred.cancel()
            else:
                try:
                    deferred.callback(thread)
                except AlreadyCalledError:
                    refused[thread] += 1

    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    for outcome in outcomes:
        assert len(outcome) == 1, outcome
        assert outcome[0] in (0, 2) or outcome[0].check(CancelledError), outcome


def chain(rng: random.Random) -> None:
    """Callbacks return Deferreds that other threads fire."""
    outer: list[Deferred[Any]] = [Deferred() for _ in range(40)]
    inner: list[Deferred[Any]] = [Deferred() for _ in range(40)]
    seen: list[list[Any]] = [[] for _ in outer]
    for index, deferred in enumerate(outer):
        deferred.addCallback(lambda _, index=index: inner[index])
        deferred.addCallback(seen[index].append)

    def fire(all_of_them: list[Deferred[Any]], result: str) -> None:
        for deferred in all_of_them:
            deferred.callback(result)

    def add(all_of_them: list[Deferred[Any]]) -> None:
        for deferred in all_of_them:
            deferred.addCallback(lambda result: result)

    at_once(
        lambda: fire(outer, "outer"),
        lambda: fire(inner, "inner"),
        lambda: add(outer),
        lambda: add(inner),
    )
    assert seen == [["inner"]] * 40, seen


def gather(rng: random.Random) -> None:
    """What is gathered is fired by several threads."""
    parts: list[Deferred[Any]] = [Deferred() for _ in range(80)]
    results: list[Any] = []
    whole = gatherResults(parts)
    whole.addCallback(results.append)
    some = DeferredList(parts, fireOnOneCallback=True)
    first: list[Any] = []
    some.addCallback(first.append)

    def work(thread: int) -> None:
        for number in range(thread, len(parts), THREADS):
            parts[number].callback(number)

    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    assert results == [list(range(80))], results
    assert len(first) == 1, first


def generators(rng: random.Random) -> None:
    """Generators wait for Deferreds that other threads fire."""
    waited: list[list[Deferred[int]]] = [[Deferred() for _ in range(5)] for _ in range(20)]
    done: list[list[Any]] = [[] for _ in waited]

    @inlineCallbacks
    def total(deferreds: list[Deferred[int]]) -> Any:
        so_far = 0
        for deferred in deferreds:
            so_far += yield deferred
        return so_far

    def start() -> None:
        for deferreds, result in zip(waited, done, strict=True):
            total(deferreds).addBoth(result.append)

    def fire(places: range) -> None:
        for deferreds in waited:
            for place in places:
                deferreds[place].callback(place)

    at_once(start, lambda: fire(range(2)), lambda: fire(range(2, 4)), lambda: fire(range(4, 5)))
    assert done == [[10]] * 20, done


def ends(rng: random.Random) -> None:
    """Generators end in one thread, while others cancel their Deferreds: each has one outcome."""
    waited: list[Deferred[Any]] = [Deferred(lambda _: None) for _ in range(30)]
    outcomes: list[list[Any]] = [[] for _ in waited]
    caught = (CancelledError,)

    @inlineCallbacks
    def wait(deferred: Deferred[Any]) -> Any:
        try:
            return (yield deferred)
        except caught:
            return "cancelled"

    results = [wait(deferred) for deferred in waited]

    def fire() -> None:
        for deferred in waited:
            try:
                deferred.callback("fired")
            except AlreadyCalledError:
                pass

    def cancel() -> None:
        for result in results:
            result.cancel()

    def add() -> None:
        for result, outcome in zip(results, outcomes, strict=True):
            result.addBoth(outcome.append)

    at_once(fire, cancel, cancel, add)
    assert all(it in (["fired"], ["cancelled"]) for it in outcomes), outcomes


def lock(rng: random.Random) -> None:
    """A lock has one holder at a time, and everybody gets it in the end."""
    the_lock = DeferredLock()
    if rng.random() < 0.5:
        make_list(the_lock.waiting)
    holders: list[int] = []
    got = [0] * THREADS
    gave_up = [0] * THREADS

    def work(thread: int) -> None:
        def acquired(held: DeferredLock) -> None:
            holders.append(thread)
            assert len(holders) == 1, holders
            got[thread] += 1
            holders.pop()
            held.release()

        def give_up(reason: Any) -> None:
            reason.trap(CancelledError)
            gave_up[thread] += 1

        for number in range(30):
            acquiring = the_lock.acquire().addCallbacks(acquired, give_up)
            if number % 3 == 0:
                acquiring.cancel()

    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    assert [sum(both) for both in zip(got, gave_up, strict=True)] == [30] * THREADS, (got, gave_up)
    assert not the_lock.waiting
    assert not the_lock.locked


def semaphore(rng: random.Random) -> None:
    """A semaphore has no more holders than tokens, and everybody gets one in the end."""
    # CPython makes ints above 256 anew each time.
    tokens = rng.choice((2, 300))
    the_semaphore = DeferredSemaphore(tokens)
    held_all_the_time = tokens - 2
    for _ in range(held_all_the_time):
        the_semaphore.acquire()
    if rng.random() < 0.5:
        make_list(the_semaphore.waiting)
    within: list[int] = []
    got: list[int] = []

    def work(thread: int) -> None:
        def acquired(held: DeferredSemaphore) -> None:
            within.append(thread)
            assert len(within) <= 2, within
            got.append(thread)
            within.pop()
            held.release()

        for _ in range(30):
            the_semaphore.acquire().addCallback(acquired)

    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    assert sorted(got) == sorted([*range(THREADS)] * 30), got
    assert the_semaphore.tokens == 2


def queue(rng: random.Random) -> None:
    """Every item is got once."""
    the_queue: DeferredQueue[int] = DeferredQueue()
    for line in (the_queue.waiting, the_queue.pending):
        if rng.random() < 0.5:
            make_list(line)
    got: list[list[int]] = [[] for _ in range(THREADS)]

    def put(begin: int) -> None:
        for number in range(begin, begin + 50):
            the_queue.put(number)

    def get(into: list[int]) -> None:
        for _ in range(50):
            the_queue.get().addCallback(into.append)

    at_once(lambda: put(0), lambda: get(got[0]), lambda: put(50), lambda: get(got[1]))
    assert sorted(got[0] + got[1]) == list(range(100)), got
    assert len(the_queue.pending) == 0 and len(the_queue.waiting) == 0


def take_back(rng: random.Random) -> None:
    """What coroutines were given that are cancelled goes to others: every item is got once."""
    the_queue: DeferredQueue[int] = DeferredQueue()
    got: list[int] = []
    results: list[Deferred[Any]] = []

    async def get() -> None:
        item = await the_queue.get()
        got.append(item)

    def start() -> None:
        for _ in range(60):
            results.append(ensureDeferred(get()).addErrback(lambda reason: None))

    def put() -> None:
        for number in range(30):
            the_queue.put(number)

    def cancel() -> None:
        for result in results[::2]:
            result.cancel()

    start()
    at_once(put, cancel, put)
    while the_queue.pending:
        the_queue.get().addCallback(got.append)
    assert sorted(got) == sorted([*range(30)] * 2), sorted(got)


def tasks(rng: random.Random) -> None:
    """What cancelled tasks of asyncio were given goes to others: every item is got once."""
    the_queue: DeferredQueue[int] = DeferredQueue()
    got: list[int] = []

    async def get() -> None:
        got.append(await the_queue.get())

    async def all_of_them() -> None:
        running = [asyncio.ensure_future(get()) for _ in range(30)]
        await asyncio.sleep(0)
        started.set()
        for task in running[::2]:
            task.cancel()
            await asyncio.sleep(0)
        for number in range(30, 60):
            the_queue.put(number)
        await asyncio.gather(*running, return_exceptions=True)

    def put() -> None:
        started.wait()
        for number in range(30):
            the_queue.put(number)

    started = threading.Event()
    at_once(lambda: asyncio.run(all_of_them()), put)
    while the_queue.pending:
        the_queue.get().addCallback(got.append)
    assert sorted(got) == [*range(60)], sorted(got)


def watch(rng: random.Random) -> None:
    """What is alive is listed, while others make it and let it go."""

    def work() -> None:
        for number in range(100):
            deferred: Deferred[int] = Deferred()
            deferred.callback(number)

    def look() -> None:
        for _ in range(30):
            _, _, known = _deferrous._tracked()
            assert all(isinstance(one[0], Deferred) for one in known)

    _deferrous._track(True, "")
    try:
        at_once(work, work, look)
    finally:
        _deferrous._track(False, "")


def drop(rng: random.Random) -> None:
    """Deferreds that hold others are freed by any thread, while another collects."""

    def work(thread: int) -> None:
        for _ in range(20):
            deferred: Deferred[Any] = Deferred()
            for _ in range(50):
                holder: Deferred[Any] = Deferred()
                holder.addCallback(lambda _, held=deferred: held)
                holder.ring = holder  # type: ignore[attr-defined]
                deferred = holder
            deferred.callback(None)

    at_once(
        *(lambda thread=thread: work(thread) for thread in range(THREADS - 1)),
        lambda: [gc.collect() for _ in range(3)] and None,
    )


PROGRAMS = (
    fire_and_add,
    pause,
    cancel,
    chain,
    gather,
    generators,
    ends,
    lock,
    semaphore,
    queue,
    take_back,
    tasks,
    watch,
    drop,
)


def main(seconds: float, names: list[str]) -> None:
    programs = [program for program in PROGRAMS if not names or program.__name__ in names]
    counts = dict.fromkeys((program.__name__ for program in programs), 0)
    failed: dict[str, str] = {}
    rng = random.Random(0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for program in programs:
            try:
                program(rng)
            except Exception as error:
                text = f"{type(error).__name__}: {str(error)[:200]}"
                failed.setdefault(program.__name__, text)
            counts[program.__name__] += 1
    free = sysconfig.get_config_var("Py_GIL_DISABLED") and not sys._is_gil_enabled()
    print("without the GIL" if free else "with the GIL", counts)
    for name, text in failed.items():
        print(f"{name}: {text}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2:])
