"""Waiting for asyncio's futures and Twisted's own Deferreds, and the other way round.

Our generators may yield and await either of them, and either library may drive a coroutine that
awaits our Deferreds. Both are looked up when they are needed: an imported library need not be in
use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType, GeneratorType
from typing import TYPE_CHECKING, Any

from ._deferrous import Deferred, _never_refused, _running_loop
from ._reasons import takes_reason
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
    "enter_task",
    "kind_of",
    "leave_task",
    "stand_in",
    "wait_for_future",
]

#: What a generator may yield besides our Deferreds: the results of `kind_of`.
VALUE, COROUTINE, FUTURE, TWISTED = range(4)


def _twisted_defer() -> Any:
    """Return Twisted's Deferred module, if it has been imported and is not ours.

    While it is being imported, it has no driver yet.
    """
    module = sys.modules.get("twisted.internet.defer")
    if getattr(module, "Deferred", Deferred) is Deferred or not hasattr(module, "_inlineCallbacks"):
        return None
    return module


def kind_of(yielded: object, claimed: type | None = None) -> int:
    """Classify what a generator or coroutine has yielded, as one of the above.

    `claimed` is its `__class__`, if that may differ from its type. It is not looked up again.
    """
    classes = (type(yielded),) if claimed is None else (type(yielded), claimed)
    if any(issubclass(each, (Coroutine, GeneratorType)) for each in classes):
        return COROUTINE
    # An awaited future is marked as such; one that is merely yielded is a value like any other. Its
    # class is looked up first, as in asyncio: an object may answer to any attribute.
    blocking = "_asyncio_future_blocking"
    if hasattr(type(yielded), blocking) and getattr(yielded, blocking) is True:
        return FUTURE
    twisted = _twisted_defer()
    if twisted is not None and any(issubclass(each, twisted.Deferred) for each in classes):
        return TWISTED
    return VALUE


def adopt(theirs: Any) -> Deferred[Any]:
    """Return a Deferred of ours for the outcome of one of Twisted's.

    The result of Twisted's Deferred is None afterwards. Cancelling ours cancels it.
    """
    ours: Deferred[Any] = Deferred(lambda _: theirs.cancel())

    @_never_refused
    def hand_over(result: Any) -> None:
        if not ours.called:
            ours.callback(result)

    theirs.addBoth(hand_over)
    return ours


def adopt_failure(theirs: Any) -> Failure:
    """Convert one of Twisted's Failures into ours, with its exception and traceback."""
    return Failure(theirs.value, theirs.type, theirs.tb, theirs.captureVars)


def _frame_of(generator: Any) -> FrameType | None:
    frame: FrameType | None = getattr(generator, "cr_frame", None)
    return getattr(generator, "gi_frame", None) if frame is None else frame


def _running() -> tuple[AbstractEventLoop | None, Any]:
    """Return the asyncio loop that runs in this thread, and its current task."""
    loop = _running_loop()
    return loop, None if loop is None else sys.modules["asyncio"].current_task(loop)


def _frames() -> Iterator[FrameType]:
    """Yield the frames of the caller and of its callers, on the stack of the current greenlet.

    A greenlet's stack ends where the greenlet started.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def leave_task() -> tuple[AbstractEventLoop, Any] | None:
    """Hide asyncio's current task, as it is not what is going to run.

    Return the argument for `enter_task`, or None if there is no current task. A task whose step is
    on the stack of another greenlet stays current: if that continues first, asyncio expects to find
    it there.
    """
    loop, task = _running()
    if loop is None or task is None:
        return None
    if "greenlet" in sys.modules:
        theirs_at = _frame_of(task.get_coro())
        if all(frame is not theirs_at for frame in _frames()):
            return None
    sys.modules["asyncio"].tasks._leave_task(loop, task)
    return loop, task


def enter_task(loop: AbstractEventLoop, task: Any) -> None:
    """Make a hidden task current again, unless there is another one by now."""
    if _running() == (loop, None):
        sys.modules["asyncio"].tasks._enter_task(loop, task)


def stand_in(
    driven: list[Any], deferred: Deferred[Any]
) -> tuple[Any, Callable[[], bool] | None] | None:
    """Return what the driver of a coroutine can wait for, if it cannot wait for the awaited
    Deferred.

    `driven` are the generators that we drive, on the stacks of all threads and greenlets. The
    driver is the nearest on this stack: ours (then the result is None), an asyncio task, or
    Twisted's own `inlineCallbacks`. The result is the object to yield, with a function that wakes
    the driver, and returns False if it no longer waits. The function is None for a future, which
    wakes its driver itself.

    This is not called if nobody but asyncio can be the driver.
    """
    loop, task = _running()
    twisted = _twisted_defer()
    # All three drive by calling, so they, or what they drive, are on the stack.
    theirs_at = None if task is None else _frame_of(task.get_coro())
    twisted_code = None if twisted is None else twisted._inlineCallbacks.__code__
    # The one that we resumed last is the nearest, unless it is on another stack.
    last_at = _frame_of(driven[-1]) if driven else None
    ours_at: set[FrameType | None] | None = None
    for frame in _frames():
        if frame is last_at:
            return None
        if frame is theirs_at or frame.f_code is twisted_code:
            break
    else:
        if task is None and twisted is None:
            return None
    ours_at = {_frame_of(generator) for generator in driven}
    for frame in _frames():
        if frame in ours_at:
            return None
        if frame is theirs_at:
            assert loop is not None
            return loop.create_future(), None
        if frame.f_code is twisted_code:
            return _deferred_of(twisted, deferred)
    return None


def _deferred_of(twisted: Any, deferred: Deferred[Any]) -> tuple[Any, Callable[[], bool]]:
    theirs = twisted.Deferred(lambda _: deferred.cancel())

    def wake() -> bool:
        if theirs.called:
            return False
        theirs.callback(None)
        return True

    return theirs, wake


def _is_served(loop: AbstractEventLoop) -> bool:
    """Return whether anything will run a loop's callbacks."""
    if loop.is_running():
        return True
    reactor = sys.modules.get("twisted.internet.reactor")
    return getattr(reactor, "_asyncioEventloop", None) is loop and not loop.is_closed()


def wait_for_future(future: Any) -> Deferred[None]:
    """Return a Deferred that fires when a future that a coroutine awaits is done.

    The coroutine then gets the outcome from the future itself. If nothing runs the future's loop,
    the Deferred fails with RuntimeError.
    """
    future._asyncio_future_blocking = False

    @takes_reason
    def cancel(_: object, *reason: Any) -> None:
        future.cancel(*reason)

    done: Deferred[None] = Deferred(cancel)
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
