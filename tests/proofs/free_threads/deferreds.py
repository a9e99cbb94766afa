"""Deferreds and generators that several threads fire, cancel, add to and drop."""

from __future__ import annotations

import gc
import random
from typing import Any

from deferrous import (
    AlreadyCalledError,
    CancelledError,
    Deferred,
    DeferredList,
    _deferrous,
    ensureDeferred,
    gatherResults,
    inlineCallbacks,
)

from .parts import THREADS, Watched, at_once


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


class _Adding(Deferred[Any]):
    def addBoth(self, callback: Any, *args: Any, **kwargs: Any) -> Any:
        return super().addBoth(callback, *args, **kwargs)


def awaited(rng: random.Random) -> None:
    """What is awaited is fired as the coroutine begins to wait: it gets the result."""
    kind = rng.choice((Deferred, _Adding))
    deferreds: list[Deferred[int]] = [kind() for _ in range(200)]
    got: list[int] = []
    within: list[int] = []

    async def wait(deferred: Deferred[int]) -> None:
        got.append(await deferred)

    @inlineCallbacks
    def wait_within(deferred: Deferred[int]) -> Any:
        within.append((yield from deferred))

    def begin() -> None:
        for number, deferred in enumerate(deferreds):
            if number % 2:
                wait_within(deferred)
            else:
                ensureDeferred(wait(deferred))

    def fire() -> None:
        for deferred in deferreds:
            deferred.callback(1)

    at_once(begin, fire)
    assert got == within == [1] * 100, (got.count(1), within.count(1))


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


PROGRAMS = (fire_and_add, pause, cancel, chain, gather, generators, ends, awaited, watch, drop)
