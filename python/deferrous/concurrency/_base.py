"""Shared by the other modules: exceptions, conversion to Deferreds, places in a line."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from typing import Any, ParamSpec, TypeAlias, TypeGuard, TypeVar, overload

from .. import _deferrous
from .._deferrous import (
    Deferred,
    _acquire_for,
    _check_depth,
    _knows_depth,
    _leave,
    _never_refused,
    _running_task,
    _Task,
    ensureDeferred,
)
from .._reasons import is_done
from .._waiting import deferred_types
from ..failure import Failure

__all__ = [
    "BrokenBarrierError",
    "ChannelClosed",
    "Delayed",
    "Eventual",
    "Lockable",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
    "TimeoutError",
    "as_deferred",
    "check_count",
    "check_depth",
    "discard",
    "is_a",
    "is_cancellation",
    "is_done",
    "is_failure",
    "keep_until_done",
    "mark_handled",
    "not_a_number",
    "was_cancelled",
]

_T = TypeVar("_T")
_P = ParamSpec("_P")

#: What can be waited for: a Deferred, a coroutine, a generator that yields Deferreds, a future.
Eventual: TypeAlias = Awaitable[_T] | Coroutine[Any, Any, _T] | Generator[Any, Any, _T]


class TimeoutError(_deferrous.TimeoutError, builtins.TimeoutError):
    """The time is up. This is both a `deferrous.TimeoutError` and a built-in `TimeoutError`."""


class QueueEmpty(Exception):
    """`get_nowait` was called on an empty queue."""


class QueueFull(Exception):
    """`put_nowait` was called on a full queue."""


class QueueShutDown(Exception):
    """The queue is shut down: it accepts no more items, or has no items left."""


class ChannelClosed(Exception):
    """The channel is closed: it accepts no more items, or has no items left."""


class BrokenBarrierError(RuntimeError):
    """The barrier is broken, because `abort` or `reset` was called."""


def not_a_number(what: str) -> ValueError:
    """Return the error for a NaN."""
    return ValueError(f"Invalid {what}: NaN (not a number)")


def cancelled_errors() -> tuple[type[BaseException], ...]:
    """Return the exception classes that mean that something was cancelled."""
    theirs = getattr(sys.modules.get("asyncio.exceptions"), "CancelledError", None)
    if theirs is None:
        return (_deferrous.CancelledError,)
    return (_deferrous.CancelledError, theirs)


def is_a(result: object, classes: type[Any] | tuple[type[Any], ...]) -> bool:
    """Return whether a result is an instance of a class. False if its `__class__` raises.

    An error here would lose the result.
    """
    try:
        return isinstance(result, classes)
    except Exception:
        return False


def is_failure(result: object) -> TypeGuard[Failure]:
    """Return whether a result is a failure."""
    return is_a(result, Failure)


def is_cancellation(error: object) -> bool:
    """Return whether an exception says that something was cancelled: ours, or asyncio's."""
    return type(error) is _deferrous.CancelledError or is_a(error, cancelled_errors())


def was_cancelled(result: object) -> bool:
    """Return whether a result is the failure of something that was cancelled."""
    return is_failure(result) and is_cancellation(result.value)


def check_count(name: str, value: Any, least: float) -> None:
    """Raise an error if something is not a number, or too small."""
    if not isinstance(value, float) and not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if value != value:
        raise ValueError(f"{name} must be a number, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be >= {least}, not {value!r}")


def as_deferred(eventual: Any) -> Deferred[Any]:
    """Return a Deferred for something that can be waited for: itself, if it is one.

    Raises TypeError for anything else.
    """
    if isinstance(eventual, Deferred):
        return eventual
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio.isfuture(eventual):
        return Deferred.fromFuture(eventual)
    kinds: tuple[type[Any], ...] = (Coroutine, Generator, *deferred_types())
    if isinstance(eventual, kinds):
        return ensureDeferred(eventual)
    if hasattr(type(eventual), "__await__"):
        return ensureDeferred(_await(eventual))
    raise TypeError(f"a Deferred, a coroutine or a future is needed, not {eventual!r}")


def discard(eventual: Any) -> None:
    """Cancel or close something that nobody will wait for."""
    if isinstance(eventual, (Coroutine, Generator)):
        eventual.close()
    elif hasattr(eventual, "cancel"):
        eventual.cancel()
        if isinstance(eventual, Deferred):
            mark_handled(eventual)


def each_of(eventuals: Iterable[Any]) -> list[Deferred[Any]]:
    """Return Deferreds for all of these.

    Raises TypeError, and starts none, if one cannot be awaited.
    """
    all_of_them = list(eventuals)
    for each in all_of_them:
        if not hasattr(each, "__await__") and not hasattr(each, "send"):
            for other in all_of_them:
                if not isinstance(other, Deferred) and hasattr(other, "close"):
                    discard(other)
            raise TypeError(f"a Deferred, a coroutine or a future is needed, not {each!r}")
    return [as_deferred(each) for each in all_of_them]


async def _await(awaitable: Awaitable[_T]) -> _T:
    return await awaitable


class Delayed(Deferred[_T]):
    """A Deferred that may end some time after it was cancelled.

    A cancelled asyncio task would continue at once, so `__await__` keeps it waiting until the
    end. If this Deferred fails, the task gets its failure, as with asyncio's `gather` and
    `wait_for`.
    """

    def __await__(self) -> Generator[Any, Any, _T]:
        try:
            return (yield from Deferred.__await__(self))
        except GeneratorExit:
            raise
        except BaseException as error:
            if not is_cancellation(error):
                raise
            last, is_over = error, False
            while not is_over:
                # If it is done already, its result still matters.
                is_over = is_done(self)
                try:
                    yield from Deferred.__await__(self)
                except GeneratorExit:
                    raise
                except BaseException as another:
                    # It was cancelled again, or this is its own failure.
                    last = another
                is_over = is_over or is_done(self)
            try:
                if is_cancellation(last):
                    raise
                raise last
            finally:
                # The traceback refers to this frame.
                del last


def keep_until_done(deferred: Deferred[Any]) -> None:
    """Keep an asyncio task waiting until a Deferred has ended, even if the task is cancelled."""
    task = _running_task()
    if task is not None and type(task) is not _Task and type(deferred) is Deferred:
        if not is_done(deferred):
            deferred.__class__ = Delayed


class _Quiet:
    """Stands in for the DebugInfo of a Deferred whose failure is not to be reported."""

    failResult = property(lambda _: None, lambda _self, _failure: None)

    def _getDebugTracebacks(self) -> str:
        return ""


_QUIET: Any = _Quiet()


def mark_handled(deferred: Deferred[Any]) -> None:
    """Never report the failure of a Deferred. The failure stays its result."""
    deferred._debugInfo = _QUIET
    result = deferred.result if is_done(deferred) else None
    if is_failure(result):
        error, traceback = result.value, result.value.__traceback__
        try:
            deferred.__await__().send(None)
        except BaseException:
            # This frame does not belong in the traceback.
            error.__traceback__ = traceback


def _nested(calls: int) -> Callable[[], None]:
    """Return a function that does nothing, in this many nested calls."""

    def call() -> None:
        inner()

    inner: Callable[[], None] = _nested(calls - 1) if calls > 1 else _nothing
    return call


def _nothing() -> None:
    pass


#: Callbacks, which are one native step each.
_run_locked = _never_refused(_deferrous._run_locked)
_release_after = _never_refused(_deferrous._release_after)

#: Raises RecursionError if a few nested calls would, before anything is changed. Functions that
#: hand over call Python functions in the middle of their work. If one of those calls were refused,
#: some waiters would have been told, and others would wait forever. Callbacks that native code
#: calls in the middle of its work are allowed a few more calls instead: they are marked with
#: `_never_refused`.
check_depth: Callable[[], None] = _check_depth if _knows_depth() else _nested(12)


class Lockable:
    """Something that can be acquired and released. `async with` and `run` do both."""

    __slots__ = ()

    def acquire(self) -> Deferred[bool]:
        """Return a Deferred that fires with True when this has been acquired.

        Cancelling the Deferred gives up the place in line.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Release this."""
        raise NotImplementedError

    @overload
    def run(
        self, f: Callable[_P, Eventual[_T]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Deferred[_T]: ...
    @overload
    def run(self, f: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Deferred[_T]: ...
    def run(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Acquire this, call a function with the other arguments, and release it.

        If the function returns a Deferred or a coroutine, this is released when that is done.
        Returns a Deferred for the function's result.
        """
        how, release = self._how_to_release(), self.release
        result: Deferred[Any] = _acquire_for(
            self, release, _run_locked, f, args, kwargs, _release_after, how, release
        )
        keep_until_done(result)
        return result

    def _how_to_release(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        """Return the function that releases this after `run`, and its arguments.

        It is one native step, unless a subclass overrides `release`.
        """
        return self.release, ()

    def __aenter__(self) -> Deferred[Any]:
        return self.acquire()

    def __aexit__(
        self, _type: object = None, _error: object = None, _traceback: object = None
    ) -> Deferred[None]:
        return _leave(self)
