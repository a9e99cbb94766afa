"""Groups, `map`, `stream` and observables, whose work several threads end."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from deferrous import AlreadyCalledError, CancelledError, Deferred, ensureDeferred
from deferrous import concurrency as c
from deferrous.failure import Failure

from .parts import THREADS, at_once


def _fire(deferreds: list[Deferred[Any]], results: Callable[[int], Any]) -> None:
    """Have several threads fire these, each some of them."""

    def work(thread: int) -> None:
        for number in range(thread, len(deferreds), THREADS):
            result = results(number)
            if isinstance(result, Exception):
                deferreds[number].errback(result)
            else:
                deferreds[number].callback(result)

    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)))


def group(rng: random.Random) -> None:
    """A group ends once, when all of its tasks have, whoever ends them."""
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(40)]
    done: list[Any] = []

    async def task(deferred: Deferred[Any]) -> Any:
        return await deferred

    async def block() -> list[Any]:
        async with c.TaskGroup() as tasks:
            made = [tasks.create_task(task(deferred)) for deferred in deferreds]
        return [await each for each in made]

    ensureDeferred(block()).addBoth(done.append)
    _fire(deferreds, lambda number: number)
    assert done == [[*range(40)]], done


def group_that_ends_as_it_waits(rng: random.Random) -> None:
    """The last task ends while its group begins to wait for it."""
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(40)]
    done: list[Any] = []

    async def task(deferred: Deferred[Any]) -> Any:
        return await deferred

    async def block(deferred: Deferred[Any]) -> None:
        async with c.TaskGroup() as tasks:
            tasks.create_task(task(deferred))

    def begin() -> None:
        for deferred in deferreds:
            ensureDeferred(block(deferred)).addBoth(done.append)

    at_once(begin, lambda: [deferred.callback(None) for deferred in deferreds] and None)
    assert done == [None] * 40, done


def failing_group(rng: random.Random) -> None:
    """Tasks fail in several threads: the group ends once, and all others are cancelled."""
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(20)]
    done: list[Any] = []
    group = c.TaskGroup().open()
    for deferred in deferreds:
        group.create_task(deferred)
    group.join().addBoth(done.append)

    def fail(numbers: range) -> None:
        for number in numbers:
            if not deferreds[number].called:
                try:
                    deferreds[number].errback(ValueError(number))
                except Exception:
                    pass

    at_once(lambda: fail(range(10)), lambda: fail(range(10, 20)))
    (failure,) = done
    assert isinstance(failure.value, BaseException), failure
    assert all(deferred.called for deferred in deferreds)


def mapped(rng: random.Random) -> None:
    """Calls of `map` end in several threads: each item is taken once, and all results arrive."""
    waiting: list[Deferred[Any]] = []
    taken: list[int] = []
    most = [0, 0]
    done: list[Any] = []

    def call(item: int) -> Deferred[int]:
        taken.append(item)
        most[0] += 1
        most[1] = max(most)
        deferred: Deferred[int] = Deferred()
        deferred.addBoth(ended)
        waiting.append(deferred)
        return deferred

    def ended(result: Any) -> Any:
        most[0] -= 1
        return result

    def work() -> None:
        while len(done) == 0:
            try:
                deferred = waiting.pop()
            except IndexError:
                continue
            deferred.callback(len(taken))

    c.map(call, range(60), limit=5).addBoth(done.append)
    at_once(*[work] * 3)
    assert taken == [*range(60)], taken
    assert len(done[0]) == 60, done


def cancelled_map(rng: random.Random) -> None:
    """A map is cancelled while its calls end: it ends once, and nothing is left running."""
    waiting: list[Deferred[Any]] = []
    done: list[Any] = []

    def call(_: int) -> Deferred[None]:
        deferred: Deferred[None] = Deferred()
        waiting.append(deferred)
        return deferred

    running = c.map(call, range(30), limit=10)
    running.addBoth(done.append)

    def work() -> None:
        for deferred in waiting[:]:
            try:
                deferred.callback(None)
            except Exception:
                pass

    at_once(running.cancel, work, work)
    while not done:
        work()
    (result,) = done
    assert isinstance(result, list) or result.check(CancelledError), result


def streamed(rng: random.Random) -> None:
    """Several threads ask a stream for results: each result is given once."""
    stream = c.stream(lambda item: item, range(100), limit=4)
    got: list[list[Any]] = [[] for _ in range(THREADS)]

    def work(thread: int) -> None:
        for _ in range(25):
            stream.__anext__().addBoth(got[thread].append)

    at_once(*(lambda thread=thread: work(thread) for thread in range(THREADS)))
    assert sorted(item for each in got for item in each) == [*range(100)], got


def stream_given_up(rng: random.Random) -> None:
    """Those that wait for a stream's results give up: each result is given to one that does not."""
    waiting: list[Deferred[Any]] = []

    def call(item: int) -> Deferred[int]:
        deferred: Deferred[int] = Deferred()
        deferred.addCallback(lambda _: item)
        waiting.append(deferred)
        return deferred

    stream = c.stream(call, range(60), limit=6)
    got: list[int] = []
    asking = [True]

    def keep(result: Any) -> None:
        if not isinstance(result, Failure):
            got.append(result)

    def ask() -> None:
        for _ in range(100):
            asked = stream.__anext__()
            asked.addBoth(keep)
            asked.cancel()
        asking[0] = False

    def fire() -> None:
        while asking[0] or waiting:
            try:
                deferred = waiting.pop()
            except IndexError:
                continue
            deferred.callback(None)

    at_once(ask, fire, fire)
    while len(got) < 60:
        before = len(got)
        stream.__anext__().addBoth(keep)
        fire()
        assert len(got) > before or waiting, got
    assert sorted(got) == [*range(60)], got


def observed(rng: random.Random) -> None:
    """Several threads observe what another fires: all see the result once."""
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(40)]
    observables = [c.Observable(deferred) for deferred in deferreds]
    seen: list[list[Any]] = [[] for _ in range(3)]

    def observe(thread: int) -> None:
        for observable in observables:
            observable.observe().addCallback(seen[thread].append)

    def fire() -> None:
        for number, deferred in enumerate(deferreds):
            deferred.callback(number)

    at_once(*(lambda thread=thread: observe(thread) for thread in range(3)), fire)
    for each in seen:
        assert sorted(each) == [*range(40)], each


def waited(rng: random.Random) -> None:
    """Several threads wait for the same Deferreds while others fire them: each sees all."""
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(20)]
    seen: list[list[Any]] = [[] for _ in range(2)]

    def wait(thread: int) -> None:
        for number in range(len(deferreds) - 1):
            c.wait(deferreds[number : number + 2]).addBoth(seen[thread].append)

    at_once(
        lambda: wait(0),
        lambda: wait(1),
        lambda: [deferred.callback(None) for deferred in deferreds[::2]] and None,
        lambda: [deferred.callback(None) for deferred in deferreds[1::2]] and None,
    )
    for each in seen:
        assert [len(done) for done, _ in each] == [2] * 19, each


def given_up_waiting(rng: random.Random) -> None:
    """What waits for several is cancelled while they are fired: it ends once."""
    for _ in range(10):
        deferreds: list[Deferred[Any]] = [Deferred() for _ in range(4)]
        done: list[Any] = []
        waiting = c.wait(deferreds)
        waiting.addBoth(done.append)
        gathered = c.gather(*deferreds, return_exceptions=True)
        gathered.addBoth(done.append)
        at_once(
            waiting.cancel,
            lambda deferreds=deferreds: [it.callback(None) for it in deferreds[:2]] and None,
            lambda deferreds=deferreds: [it.callback(None) for it in deferreds[2:]] and None,
        )
        assert len(done) == 2, done


def completed(rng: random.Random) -> None:
    """Two threads ask for what is done next, and two fire: each is given once."""
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(40)]
    given: list[list[Any]] = [[] for _ in range(2)]
    iterator = c.as_completed(deferreds)

    def ask(thread: int) -> None:
        for each in iterator:
            each.addBoth(given[thread].append)

    at_once(
        lambda: ask(0),
        lambda: ask(1),
        lambda: [deferreds[number].callback(number) for number in range(20)] and None,
        lambda: [deferreds[number].callback(number) for number in range(20, 40)] and None,
    )
    assert sorted(given[0] + given[1]) == [*range(40)], given


def completed_for_coroutines(rng: random.Random) -> None:
    """The same with `async for`."""
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(40)]
    given: list[list[Any]] = [[] for _ in range(2)]
    ended: list[Any] = []
    iterator = c.as_completed(deferreds)

    async def ask(thread: int) -> None:
        async for each in iterator:
            given[thread].append(await each)

    at_once(
        lambda: ensureDeferred(ask(0)).addBoth(ended.append) and None,
        lambda: ensureDeferred(ask(1)).addBoth(ended.append) and None,
        lambda: [deferreds[number].callback(number) for number in range(20)] and None,
        lambda: [deferreds[number].callback(number) for number in range(20, 40)] and None,
    )
    assert ended == [None, None], ended
    assert sorted(given[0] + given[1]) == [*range(40)], given


def completed_for_both(rng: random.Random) -> None:
    """The same, where one thread asks with `for`, and others with `async for`."""
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(40)]
    given: list[list[Any]] = [[] for _ in range(3)]
    ended: list[Any] = []
    iterator = c.as_completed(deferreds)

    def ask() -> None:
        for each in iterator:
            each.addBoth(given[0].append)

    async def ask_for_coroutine(thread: int) -> None:
        async for each in iterator:
            given[thread].append(await each)

    at_once(
        ask,
        lambda: ensureDeferred(ask_for_coroutine(1)).addBoth(ended.append) and None,
        lambda: ensureDeferred(ask_for_coroutine(2)).addBoth(ended.append) and None,
        lambda: [deferred.callback(number) for number, deferred in enumerate(deferreds)] and None,
    )
    assert ended == [None, None], ended
    assert sorted(given[0] + given[1] + given[2]) == [*range(40)], given


def completed_and_given_up(rng: random.Random) -> None:
    """What was given is cancelled as it gets its result: that is given to another."""
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(60)]
    given: list[list[Any]] = [[] for _ in range(2)]
    iterator = c.as_completed(deferreds)

    def ask(thread: int) -> None:
        for number, each in enumerate(iterator):
            each.addCallbacks(given[thread].append, lambda reason: reason.trap(CancelledError))
            if number % 3 == 0:
                each.cancel()

    at_once(
        lambda: ask(0),
        lambda: ask(1),
        lambda: [deferreds[number].callback(number) for number in range(30)] and None,
        lambda: [deferreds[number].callback(number) for number in range(30, 60)] and None,
    )
    assert sorted(given[0] + given[1]) == [*range(60)], given


def delayed(rng: random.Random) -> None:
    """What is delayed until work has ended is cancelled as that ends: it ends once, and then."""
    for _ in range(20):
        work: Deferred[Any] = Deferred()
        done: list[Any] = []
        waiting = c.delay_cancellation(work)
        waiting.addBoth(done.append)
        at_once(waiting.cancel, lambda work=work: work.callback(1), waiting.cancel)
        assert waiting.called and not waiting.paused
        assert len(done) == 1, done


def joined(rng: random.Random) -> None:
    """A group that is waited for is cancelled as its last tasks end: it ends once."""
    for _ in range(20):
        deferreds: list[Deferred[Any]] = [Deferred() for _ in range(2)]
        done: list[Any] = []
        group = c.TaskGroup().open()
        for deferred in deferreds:
            group.create_task(deferred)
        ended = group.join()
        ended.addBoth(done.append)
        at_once(
            ended.cancel,
            lambda deferreds=deferreds: fire_quietly(deferreds[0]),
            lambda deferreds=deferreds: fire_quietly(deferreds[1]),
        )
        assert len(done) == 1, done


def fire_quietly(deferred: Deferred[Any]) -> None:
    try:
        deferred.callback(None)
    except AlreadyCalledError:
        pass


PROGRAMS = (
    group,
    group_that_ends_as_it_waits,
    failing_group,
    mapped,
    cancelled_map,
    streamed,
    stream_given_up,
    observed,
    waited,
    given_up_waiting,
    completed,
    completed_for_coroutines,
    completed_for_both,
    completed_and_given_up,
    delayed,
    joined,
)
