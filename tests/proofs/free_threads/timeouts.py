"""Timeouts that expire in one thread, while others fire and cancel; and debug mode."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from deferrous import CancelledError, Deferred, TimeoutError, getDebugging, setDebugging

from . import concurrency, deferreds, handing_over
from .parts import at_once


class _Call:
    """A delayed call, which is made by hand."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.function: Callable[..., Any] | None = function
        self.args = args

    def active(self) -> bool:
        return self.function is not None

    def cancel(self) -> None:
        self.function = None

    def expire(self) -> None:
        function, self.function = self.function, None
        if function is not None:
            function(*self.args)


class _Clock:
    def __init__(self) -> None:
        self.calls: list[_Call] = []

    def callLater(self, _: float, function: Callable[..., Any], *args: Any) -> _Call:
        self.calls.append(_Call(function, args))
        return self.calls[-1]


def timeouts(rng: random.Random) -> None:
    """Each has one outcome: its result, that it was cancelled, or that its time has run out."""
    clock = _Clock()
    deferreds: list[Deferred[Any]] = [Deferred() for _ in range(60)]
    outcomes: list[list[Any]] = [[] for _ in deferreds]
    for deferred, outcome in zip(deferreds, outcomes, strict=True):
        deferred.addTimeout(1, clock)
        deferred.addBoth(outcome.append)

    def fire() -> None:
        for deferred in deferreds:
            if not deferred.called:
                try:
                    deferred.callback(1)
                except Exception:
                    pass

    def expire() -> None:
        for call in clock.calls:
            call.expire()

    at_once(fire, expire, lambda: [each.cancel() for each in deferreds[::3]] and None)
    for (outcome,) in outcomes:
        assert outcome == 1 or outcome.check(TimeoutError, CancelledError), outcome


def debugged(rng: random.Random) -> None:
    """The same as without debug mode."""
    programs = (*deferreds.PROGRAMS, *handing_over.PROGRAMS, *concurrency.PROGRAMS)
    before = getDebugging()
    setDebugging(True)
    try:
        rng.choice(programs)(rng)
    finally:
        setDebugging(before)


PROGRAMS = (timeouts, debugged)
