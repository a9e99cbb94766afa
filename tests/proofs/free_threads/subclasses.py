"""Classes of a program's own, whose methods are called, and which change meanwhile."""

from __future__ import annotations

import random
from typing import Any

from deferrous import (
    AlreadyCalledError,
    CancelledError,
    Deferred,
    DeferredLock,
    DeferredQueue,
    inlineCallbacks,
)

from .parts import THREADS, at_once


class Adding(Deferred[Any]):
    """Its `addBoth` is a program's: a generator that waits for it is added by that."""

    def addBoth(self, callback: Any, *args: Any, **kwargs: Any) -> Any:
        return super().addBoth(callback, *args, **kwargs)


def added_by_a_subclass(rng: random.Random) -> None:
    """A generator waits for these one after the other, while others fire them and cancel it."""
    rows: list[list[Adding]] = [[Adding() for _ in range(4)] for _ in range(30)]
    outcomes: list[list[Any]] = [[] for _ in rows]
    started: list[list[Deferred[Any]]] = [[] for _ in rows]

    @inlineCallbacks
    def total(deferreds: list[Adding]) -> Any:
        so_far = 0
        for deferred in deferreds:
            so_far += yield deferred
        return so_far

    def start() -> None:
        for deferreds, result, outcome in zip(rows, started, outcomes, strict=True):
            result.append(total(deferreds))
            result[0].addBoth(outcome.append)

    def fire() -> None:
        for deferreds in rows:
            for deferred in deferreds:
                try:
                    deferred.callback(1)
                except AlreadyCalledError:
                    pass

    def cancel() -> None:
        for number, result in enumerate(started):
            while not result:
                pass
            if number % 2:
                result[0].cancel()

    at_once(start, fire, cancel)
    for number, outcome in enumerate(outcomes):
        assert len(outcome) == 1, outcome
        may_fail = number % 2 and getattr(outcome[0], "check", lambda _: None)(CancelledError)
        assert outcome[0] == 4 or may_fail, outcome


def changing_classes(rng: random.Random) -> None:
    """The classes of Deferreds change that are put into lines by hand, and cancelled."""
    lines: list[Any] = [DeferredLock().waiting, DeferredQueue().waiting]
    kinds = [type(f"Changing{number}", (Deferred,), {}) for number in range(8)]
    for line in lines:
        for kind in kinds:
            line.append(kind())
    failed = [0] * (THREADS - 1)
    ended = []

    def change() -> None:
        number = 0
        while len(ended) < THREADS - 1:
            number += 1
            for kind in kinds:
                setattr(kind, f"attribute{number % 7}", number)
                # The interpreter stops all threads for this.
                kind.__repr__ = object.__repr__  # type: ignore[method-assign]

    def wait(thread: int) -> None:
        def note(_: Any) -> None:
            failed[thread] += 1

        try:
            for line in lines * 5:
                waiting = [kinds[thread](line.remove).addErrback(note) for _ in range(5)]
                for one in waiting:
                    line.append(one)
                for one in waiting:
                    one.cancel()
        finally:
            ended.append(thread)

    at_once(change, *(lambda thread=thread: wait(thread) for thread in range(THREADS - 1)))
    assert failed == [50] * (THREADS - 1), failed
    assert [len(line) for line in lines] == [8, 8]


PROGRAMS = (added_by_a_subclass, changing_classes)
