"""Meeting others halfway: asyncio, and a Twisted that runs on its own Deferreds.

What our generators yield and await, and who drives a coroutine that awaits one of our Deferreds,
may be either's. Both are looked up when they are needed: that they are imported does not mean that
they are in use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from inspect import isgenerator
from types import FrameType
from typing import TYPE_CHECKING, Any

from ._deferrous import Deferred
from .failure import Failure

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = [
    "COROUTINE",
    "FUTURE",
    "TWISTED",
    "VALUE",
    "adopt",
    "adopt_failure",
    "kind_of",
    "stand_in",
    "wait_for_future",
]

#: What a generator may yield that is no Deferred of ours, as `kind_of` has it.
VALUE, COROUTINE, FUTURE, TWISTED = range(4)


def _twisted_defer() -> Any:
    """Return Twisted's module of Deferreds, if it is imported and is not ours."""
    module = sys.modules.get("twisted.internet.defer")
    return None if getattr(module, "Deferred", Deferred) is Deferred else module


def kind_of(yielded: object) -> int:
    """Tell what to do with what a generator or coroutine has yielded: one of the above."""
    if isinstance(yielded, Coroutine) or isgenerator(yielded):
        return COROUTINE
    # A future that is awaited says so; one that is merely yielded is a value like any other. Its
    # class is asked first, as asyncio does: an object may have odd answers to any name.
    blocking = "_asyncio_future_blocking"
    if hasattr(type(yielded), blocking) and getattr(yielded, blocking) is True:
        return FUTURE
    twisted = _twisted_defer()
    if twisted is not None and isinstance(yielded, twisted.Deferred):
        return TWISTED
    return VALUE


def adopt(theirs: Any) -> Deferred[Any]:
    """Return a Deferred of ours that gets what one of Twisted's comes to.

    Twisted's then has None for its result. Cancelling ours cancels it.
    """
    ours: Deferred[Any] = Deferred(lambda _: theirs.cancel())

    def hand_over(result: Any) -> None:
        if not ours.called:
            ours.callback(result)

    theirs.addBoth(hand_over)
    return ours


def adopt_failure(theirs: Any) -> Failure:
    """Return a Failure of ours with the exception and the traceback of one of Twisted's."""
    return Failure(theirs.value, theirs.type, theirs.tb, theirs.captureVars)


def _frame_of(generator: Any) -> FrameType | None:
    for name in ("cr_frame", "gi_frame"):
        frame: FrameType | None = getattr(generator, name, None)
        if frame is not None:
            return frame
    return None


def stand_in(ours: Any, deferred: Deferred[Any]) -> tuple[Any, Callable[[], object]] | None:
    """Return what the driver of a coroutine that awaits a Deferred now can wait for, if not that.

    `ours` is the generator that we drive, if we drive one. The driver is whichever stands next:
    we (the answer is None), an asyncio task, or Twisted's own `inlineCallbacks`. With the object
    to yield comes a function that wakes the driver.
    """
    # Whoever runs a loop has imported asyncio. Others may be half-way through that.
    asyncio: Any = sys.modules.get("asyncio")
    running = getattr(asyncio, "_get_running_loop", None)
    loop = None if running is None else running()
    task = None if loop is None else asyncio.current_task(loop)
    twisted = _twisted_defer()
    # All three drive by calling, so they, or what they drive, stand on the stack.
    ours_at = _frame_of(ours)
    theirs_at = None if task is None else _frame_of(task.get_coro())
    twisted_code = None if twisted is None else twisted._inlineCallbacks.__code__
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame is ours_at:
            return None
        if frame is theirs_at:
            assert loop is not None
            return _future_in(loop)
        if frame.f_code is twisted_code:
            return _deferred_of(twisted, deferred)
        frame = frame.f_back
    return None


def _future_in(loop: AbstractEventLoop) -> tuple[Any, Callable[[], object]]:
    future = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    return future, wake


def _deferred_of(twisted: Any, deferred: Deferred[Any]) -> tuple[Any, Callable[[], object]]:
    theirs = twisted.Deferred(lambda _: deferred.cancel())

    def wake() -> None:
        if not theirs.called:
            theirs.callback(None)

    return theirs, wake


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
