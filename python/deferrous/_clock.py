"""Clocks: what calls a function some time from now.

A clock is a reactor of Twisted, or anything else with its `callLater`, or an asyncio loop. Nothing
is imported for that: a loop that is not in `sys.modules` cannot be running.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

__all__ = ["AnyClock", "Clock", "DelayedCall", "Loop", "now", "resolve", "start"]


class DelayedCall(Protocol):
    """What `callLater` returns."""

    @property
    def active(self) -> Callable[..., Any]:
        """Return whether the call is still to come."""
        ...

    @property
    def cancel(self) -> Callable[..., Any]:
        """See to it that the call does not come."""
        ...


class Clock(Protocol):
    """A reactor, or something in its place: `deferrous.testing.Clock`, for instance.

    Nothing is asked of the signature, because interfaces of zope.interface have no `self` in
    theirs. `callLater(seconds, function)` returns a `DelayedCall`. What needs to know the time
    asks for `seconds()`, too.
    """

    @property
    def callLater(self) -> Callable[..., Any]:
        """Call a function after so many seconds; return a `DelayedCall`."""
        ...


class Loop(Protocol):
    """An asyncio loop, as a clock."""

    @property
    def call_later(self) -> Callable[..., Any]:
        """Call a function after so many seconds."""
        ...


#: What is taken where a clock is needed.
AnyClock: TypeAlias = Clock | Loop


def resolve(clock: AnyClock | None = None) -> Any:
    """Return the clock that is meant: by default the asyncio loop that runs, else the reactor.

    Raises RuntimeError if none is given and there is no default, and AttributeError if what is
    given is none.
    """
    if clock is not None:
        if hasattr(clock, "callLater") or hasattr(clock, "call_later"):
            return clock
        raise AttributeError(
            f"{clock!r} is no clock: it has neither callLater, as reactors have, nor call_later, "
            "as asyncio loops have"
        )
    asyncio = sys.modules.get("asyncio")
    running = getattr(asyncio, "_get_running_loop", None)
    default: Any = None if running is None else running()
    if default is None:
        default = sys.modules.get("twisted.internet.reactor")
    if default is None:
        raise RuntimeError(
            "there is no clock: no asyncio loop runs in this thread, and no Twisted reactor is "
            "installed. Say which is meant with clock=, which takes a reactor, an asyncio loop, or "
            "anything else with callLater, such as deferrous.testing.Clock."
        )
    return default


def start(clock: Any, seconds: float, function: Callable[[], object]) -> Callable[[], object]:
    """Have a clock that `resolve` returned call a function.

    Returns what has to be called if that is not to happen after all. It may be called late.
    """
    call_later = getattr(clock, "callLater", None) or clock.call_later
    call = call_later(seconds, function)
    if hasattr(call, "active"):
        return partial(_stop, call)
    stop: Callable[[], object] = call.cancel
    return stop


def _stop(call: Any) -> None:
    if call.active():
        call.cancel()


def now(clock: Any) -> float:
    """Return the time of a clock that `resolve` returned.

    Raises AttributeError if it does not know.
    """
    time: float
    if hasattr(clock, "callLater"):
        time = clock.seconds()
    else:
        time = clock.time()
    return time
