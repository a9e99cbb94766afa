"""Meeting asyncio halfway: its tasks in front of our Deferreds, its futures in front of our drivers.

Everything here is looked up when it is needed: that asyncio is there does not mean that it is in
use.
"""

from __future__ import annotations

import sys
from asyncio import AbstractEventLoop, current_task, events, iscoroutine
from collections.abc import Generator
from inspect import isgenerator
from types import FrameType
from typing import Any

from ._deferrous import Deferred

__all__ = ["VALUE", "COROUTINE", "FUTURE", "kind_of", "loop_to_wake", "wait_for_future"]

#: What a generator may yield that is no Deferred, as `kind_of` has it.
VALUE, COROUTINE, FUTURE = range(3)


def kind_of(yielded: object) -> int:
    """Tell what to do with what a generator or coroutine has yielded: one of the above."""
    if iscoroutine(yielded) or isgenerator(yielded):
        return COROUTINE
    # A future that is awaited says so; one that is merely yielded is a value like any other.
    if getattr(yielded, "_asyncio_future_blocking", None) is True:
        return FUTURE
    return VALUE


def _frame_of(generator: Any) -> FrameType | None:
    for name in ("cr_frame", "gi_frame"):
        frame: FrameType | None = getattr(generator, name, None)
        if frame is not None:
            return frame
    return None


def loop_to_wake(ours: Generator[Any, Any, Any] | None) -> AbstractEventLoop | None:
    """Return the event loop whose task awaits a Deferred now, if it is a task that does.

    `ours` is the generator that is being driven by us, if one is.
    """
    loop = events._get_running_loop()
    if loop is None:
        return None
    task = current_task(loop)
    if task is None:
        return None
    if ours is None:
        return loop
    # One of the two drives the other. What is being awaited stands between here and its driver.
    ours_at, theirs_at = _frame_of(ours), _frame_of(task.get_coro())
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame is ours_at:
            return None
        if frame is theirs_at:
            return loop
        frame = frame.f_back
    return None


def _is_served(loop: AbstractEventLoop) -> bool:
    """Return whether anything will run the callbacks of a loop."""
    if loop.is_running():
        return True
    reactor = sys.modules.get("twisted.internet.reactor")
    return getattr(reactor, "_asyncioEventloop", None) is loop and not loop.is_closed()


def wait_for_future(future: Any) -> Deferred[None]:
    """Return a Deferred that fires when a future that a coroutine awaits is done.

    What the future came to, the coroutine then asks of the future. If nothing runs the future's
    loop, the Deferred fails with RuntimeError.
    """
    future._asyncio_future_blocking = False
    done: Deferred[None] = Deferred(lambda _: future.cancel())
    if not _is_served(future.get_loop()):
        done.errback(
            RuntimeError(
                f"{future!r} was awaited in a coroutine that Deferreds drive, but its asyncio "
                "event loop is not running. Await it under a running loop (asyncio.run, or "
                "Twisted's asyncioreactor), or await Deferreds only."
            )
        )
        return done

    def fire(_: object) -> None:
        if not done.called:
            done.callback(None)

    future.add_done_callback(fire)
    return done
