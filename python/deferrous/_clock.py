"""Clocks: objects that call a function after some time.

A clock is a Twisted reactor or any other object with `callLater`, or an asyncio loop. Nothing is
imported for that: a loop whose module is not in `sys.modules` cannot be running.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

from ._deferrous import _running_loop

__all__ = [
    "AnyClock",
    "Clock",
    "DelayedCall",
    "Loop",
    "asks_first",
    "default",
    "later",
    "now",
    "resolve",
    "start",
    "start_at",
    "stop",
    "with_call_later",
]


class DelayedCall(Protocol):
    """What `callLater` returns."""

    @property
    def active(self) -> Callable[..., Any]:
        """Return whether the call is still pending."""
        ...

    @property
    def cancel(self) -> Callable[..., Any]:
        """Cancel the call."""
        ...


class Clock(Protocol):
    """A reactor, or something in its place: `deferrous.testing.Clock`, for instance.

    The signature is not declared, because the methods of zope.interface's interfaces have no
    `self`. `callLater(seconds, function)` returns a `DelayedCall`. Functions that need the time
    also call `seconds()`.
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


#: Accepted wherever a clock is needed.
AnyClock: TypeAlias = Clock | Loop


def resolve(clock: AnyClock | None = None) -> Any:
    """Return the clock to use: by default the running asyncio loop, or else the reactor.

    Raises RuntimeError if no clock is given and there is no default, and AttributeError if the
    object is not a clock.
    """
    if clock is not None:
        if _calls_later(clock) or hasattr(clock, "call_later"):
            return clock
        raise AttributeError(
            f"{clock!r} is no clock: it has neither callLater, as reactors have, nor call_later, "
            "as asyncio loops have"
        )
    found = default()
    if found is None:
        raise RuntimeError(
            "there is no clock: no asyncio loop runs in this thread, and no Twisted reactor is "
            "installed. Say which is meant with clock=, which takes a reactor, an asyncio loop, or "
            "anything else with callLater, such as deferrous.testing.Clock."
        )
    return found


def default() -> Any:
    """Return the asyncio loop that runs in this thread, or else the reactor, or None."""
    found = _running_loop()
    return sys.modules.get("twisted.internet.reactor") if found is None else found


#: Caches: whether a class of clocks has `callLater`, and whether a class of calls has `active`.
with_call_later: dict[type, bool] = {}
_with_active: dict[type, bool] = {}


def _has(obj: Any, name: str, known: dict[type, bool]) -> bool:
    """Return whether an object has an attribute. The answer is cached for its class, if that
    decides it.
    """
    has = hasattr(obj, name)
    if has == hasattr(type(obj), name) and len(known) < 100:
        known[type(obj)] = has
    return has


def _calls_later(clock: Any) -> bool:
    has = with_call_later.get(type(clock))
    return _has(clock, "callLater", with_call_later) if has is None else has


def start(clock: Any, seconds: float, function: Callable[[], object]) -> Callable[[], object]:
    """Let a clock that `resolve` returned call a function later.

    Returns a function that cancels the call. If `asks_first` is true of that function, it may also
    be called when the call has been made.
    """
    return _stopper(later(clock, seconds, function))


def later(clock: Any, seconds: float, function: Callable[[], object]) -> Any:
    """Let a clock call a function later. Returns the clock's own result, which `stop` accepts."""
    if _calls_later(clock):
        return clock.callLater(seconds, function)
    return clock.call_later(seconds, function)


def start_at(clock: Any, when: float, function: Callable[[], object]) -> Any:
    """Let a clock call a function at a certain time of the clock, or now if the time has passed.

    Returns the delayed call, for `stop`.
    """
    has = with_call_later.get(type(clock))
    if has or (has is None and _calls_later(clock)):
        left = when - clock.seconds()
        return clock.callLater(left if left > 0 else 0, function)
    return clock.call_at(when, function)


def stop(call: Any) -> None:
    """Cancel a call of `later` or `start_at`, if it is still pending."""
    has = _with_active.get(type(call))
    if has or (has is None and _has(call, "active", _with_active)):
        if not call.active():
            return
    call.cancel()


def _stopper(call: Any) -> Callable[[], object]:
    has = _with_active.get(type(call))
    if has or (has is None and _has(call, "active", _with_active)):
        return partial(stop, call)
    cancel: Callable[[], object] = call.cancel
    return cancel


def asks_first(stop: Callable[[], object]) -> bool:
    """Return whether the function that `start` returned checks if the call is still pending."""
    return isinstance(stop, partial)


def now(clock: Any) -> float:
    """Return the time of a clock that `resolve` returned.

    Raises AttributeError if the clock does not tell the time.
    """
    has = with_call_later.get(type(clock))
    if has or (has is None and _calls_later(clock)):
        seconds: float = clock.seconds()
        return seconds
    time: float = clock.time()
    return time
