"""Events, conditions and barriers.

They depend on no event loop. Waiters are served in the order in which they came.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Hashable
from operator import index
from threading import get_ident
from types import CoroutineType
from typing import Any, ClassVar, Literal, TypeVar

from .._deferrous import (
    CancelledError,
    Deferred,
    DeferredLock,
    _acquired_for,
    _break,
    _cancel_waiting,
    _Fifo,
    _happen,
    _never_refused,
    _not_acquired_for,
    _notify,
    _number_all,
    _release_and_wait,
    _running_task,
    _stop_waiting,
    _Task,
    _wait_in,
    fail,
    succeed,
)
from .._reasons import takes_reason
from ..failure import Failure
from . import _several
from ._base import (
    BrokenBarrierError,
    Delayed,
    Lockable,
    check_depth,
    is_done,
)
from ._several import if_several

__all__ = ["Barrier", "Condition", "Event"]

_K = TypeVar("_K", bound=Hashable)
_R = TypeVar("_R")


@if_several(_several.events)
class Event:
    """Something that either has happened or has not. `wait` waits until it has.

    This works like `asyncio.Event`, but `set` runs the waiting code at once.

    ```python
    from deferrous import concurrency

    event = concurrency.Event()
    event.wait().addCallback(print)
    event.set()
    ```

    This prints True.
    """

    __slots__ = ("__weakref__", "_is_set", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: _Fifo[Deferred[Literal[True]]] = _Fifo()

    def __repr__(self) -> str:
        return f"<Event {'set' if self._is_set else 'not set'}, {len(self._waiting)} waiting>"

    def is_set(self) -> bool:
        """Return whether the event has happened."""
        return self._is_set

    def set(self) -> None:
        """Set the event, and wake all waiters, whatever they do when they run."""
        if self._waiting:
            check_depth()
            _happen(self, self._waiting)
        else:
            self._is_set = True

    def clear(self) -> None:
        """Reset the event: it has not happened yet."""
        self._is_set = False

    def wait(self) -> Deferred[Literal[True]]:
        """Return a Deferred that fires with True when the event has happened."""
        return succeed(True) if self._is_set else _wait_in(self._waiting, None, self)


def _coroutine_that_runs() -> Any:
    """Return the coroutine or generator that Deferreds or asyncio run now, or None."""
    task = _running_task()
    if task is None:
        return None
    return task._generator if type(task) is _Task else task.get_coro()


class _Forgone:
    """A coroutine that is closed while it does not hold the lock, so it must not release it."""

    __slots__ = ("closed_in", "coroutine", "thread")

    def __init__(self, coroutine: Any) -> None:
        #: None if it is unknown, because neither Deferreds nor asyncio run it.
        self.coroutine = coroutine
        #: What was running when it was closed. Its `finally` may run something else meanwhile.
        self.closed_in = _coroutine_that_runs()
        self.thread = get_ident()

    def is_running(self) -> bool:
        """Return whether it is still being closed, as far as this thread can tell."""
        coroutine = self.coroutine
        if coroutine is None:
            if self.thread != get_ident():
                return True
            return isinstance(sys.exc_info()[1], GeneratorExit)
        return any(getattr(coroutine, name, False) for name in ("cr_running", "gi_running"))


class _ConditionWaiter(Deferred[Any]):
    """What `Condition.wait` returns. It ends when the lock is held again, however it ends.

    If it is cancelled, its callbacks run only when the lock is held again. A cancelled asyncio task
    would continue at once, without the lock, and its `async with` would release a lock that it does
    not hold. So `__await__` keeps the task waiting until then.
    """

    #: Whether it was notified, and now waits only for the lock.
    notified = False
    #: Whether it has the lock.
    has_lock = False
    #: Whether its coroutine was closed. If it still gets the lock, the lock is released.
    abandoned = False

    #: The coroutine that waits for it, if known.
    coroutine: Any = None

    def __init__(self, condition: Condition) -> None:
        super().__init__(condition._leave)
        self.condition = condition

    def __await__(self) -> Generator[Any, Any, Any]:
        self.coroutine = _coroutine_that_runs()
        try:
            return (yield from Deferred.__await__(self))
        except GeneratorExit:
            self.abandon()
            raise
        except BaseException:
            if is_done(self):
                if self.has_lock:
                    # It was notified, but is cancelled before it has run: notify another.
                    self.condition._notify(1)
                raise
            while not is_done(self):
                try:
                    yield from Deferred.__await__(self)
                except GeneratorExit:
                    self.abandon()
                    raise
                except BaseException:
                    # It was cancelled again, or this is its own failure.
                    pass
            raise

    def abandon(self) -> None:
        """Handle that the coroutine is closed: its block ends now, and will release the lock.

        So it gets the lock if that is free, as with asyncio. If somebody else holds the lock, the
        block must not release it.
        """
        if not _stop_waiting(self):
            self.condition._forgone.append(_Forgone(self.coroutine))


class _WaitingFor(Delayed[Any]):
    """The result of `Condition.wait_for`. It ends when the lock is held again, as with `wait`."""

    _coroutine: CoroutineType[Any, Any, Any]
    _condition: Condition

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting = _coroutine_that_runs()
        try:
            return (yield from super().__await__())
        except GeneratorExit:
            # The coroutine of `_wait_for` is closed as well. Then this coroutine's block releases
            # the lock.
            if not self._coroutine.cr_running:
                self._coroutine.close()
                # This coroutine will call `release`, not that of `_wait_for`.
                for each in self._condition._forgone:
                    if each.coroutine is self._coroutine:
                        each.coroutine = waiting
            raise


@if_several(_several.conditions)
class Condition(Lockable):
    """Waits for a change to something that a lock protects.

    This works like `asyncio.Condition`. `lock` is a `DeferredLock`; by default, a new one is made.
    A waiter holds the lock again when it continues, even if it was cancelled. If a waiter is
    notified, and is cancelled before it runs, it passes the notification on.

    ```python
    from deferrous import concurrency, ensureDeferred

    async def wait():
        async with condition:
            await condition.wait_for(lambda: ready)
            print("ready")

    async def prepare():
        async with condition:
            ready.append(1)
            condition.notify_all()

    ready, condition = [], concurrency.Condition()
    ensureDeferred(wait())
    ensureDeferred(prepare())
    ```

    This prints ready.
    """

    __slots__ = ("__weakref__", "_forgone", "_lock", "_waiting")

    def __init__(self, lock: DeferredLock | None = None) -> None:
        self._lock = DeferredLock() if lock is None else lock
        #: Coroutines that are being closed without the lock, and may call `release` nevertheless.
        self._forgone: list[_Forgone] = []
        self._waiting: _Fifo[Deferred[Any]] = _Fifo()

    def __repr__(self) -> str:
        state = "locked" if self.locked() else "unlocked"
        return f"<Condition {state}, {len(self._waiting)} waiting>"

    def locked(self) -> bool:
        """Return whether the lock is held."""
        return self._lock.locked

    def acquire(self) -> Deferred[Any]:
        """Return a Deferred that fires when the lock has been acquired."""
        return self._lock.acquire()

    def release(self) -> None:
        """Release the lock. Raises AssertionError if it is not held."""
        if self._forgone and self._is_forgone():
            return
        self._lock.release()

    def _is_forgone(self) -> bool:
        """Return whether the caller is being closed, and does not hold the lock."""
        running, thread = _coroutine_that_runs(), get_ident()
        for each in reversed(self._forgone[:]):
            is_running = each.is_running()
            if is_running and (each.thread != thread or each.closed_in is not running):
                continue
            try:
                self._forgone.remove(each)
            except ValueError:
                # Another thread was first.
                continue
            if is_running:
                return True
        return False

    def _how_to_release(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        ours = type(self).release is Condition.release
        return (self._lock.release if ours else self.release), ()

    def __aenter__(self) -> Deferred[Any]:
        return self._lock.acquire()

    def wait(self) -> Deferred[Literal[True]]:
        """Release the lock, wait to be notified, and acquire it again.

        Returns a Deferred that then fires with True.

        Errors:

        - RuntimeError: the lock is not held.
        """
        if not self._lock.locked:
            raise RuntimeError("cannot wait on un-acquired lock")
        return _release_and_wait(self._lock, self._waiting, _ConditionWaiter(self))

    def wait_for(self, predicate: Callable[[], _R]) -> Deferred[_R]:
        """Wait until a function without arguments returns a true value.

        Returns a Deferred that fires with that value. The function is called at once, and after
        each notification. If it raises an exception, the Deferred fails with it.
        """
        coroutine = self._wait_for(predicate)
        waiting: Deferred[_R] = Deferred.fromCoroutine(coroutine)
        if not waiting.called:
            waiting.__class__ = _WaitingFor
            vars(waiting)["_coroutine"] = coroutine
            vars(waiting)["_condition"] = self
        return waiting

    async def _wait_for(self, predicate: Callable[[], _R]) -> _R:
        result = predicate()
        while not result:
            await self.wait()
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake at most `n` waiters. Each continues when it gets the lock.

        Errors:

        - RuntimeError: the lock is not held.
        """
        if not self._lock.locked:
            raise RuntimeError("cannot notify on un-acquired lock")
        self._notify(n)

    def notify_all(self) -> None:
        """Wake all waiters. Raises RuntimeError if the lock is not held."""
        self.notify(len(self._waiting))

    def _notify(self, n: int) -> None:
        if self._waiting:
            check_depth()
            _notify(self, self._waiting, n)

    #: The callbacks of the lock.
    _acquired_for: ClassVar[Callable[[Any, Any, Any], None]] = staticmethod(
        _never_refused(_acquired_for)
    )
    _not_acquired_for: ClassVar[Callable[[Any, Any], None]] = staticmethod(
        _never_refused(_not_acquired_for)
    )

    @takes_reason
    @_never_refused
    def _leave(self, waiter: Any, reason: object = None) -> None:
        """The canceller: it fails now, but its callbacks run only when it has the lock."""
        check_depth()
        error = CancelledError() if reason is None else CancelledError(reason)
        _cancel_waiting(waiter, self, Failure(error))


@if_several(_several.barriers)
class Barrier:
    """Lets a number of callers wait for each other. When the last one arrives, all continue.

    This works like `asyncio.Barrier`, but all waiters are woken at once, so it never drains.

    ```python
    from deferrous import concurrency

    barrier = concurrency.Barrier(2)
    barrier.wait().addCallback(print)
    print(barrier.n_waiting)
    barrier.wait().addCallback(print)
    ```

    This prints 1, 0 and 1: how many wait, and the numbers of both.
    """

    __slots__ = ("__weakref__", "_broken", "_parties", "_waiting")

    def __init__(self, parties: int) -> None:
        parties = index(parties)
        if parties < 1:
            raise ValueError("parties must be >= 1")
        self._parties = parties
        self._broken = False
        self._waiting: _Fifo[Deferred[int]] = _Fifo()

    def __repr__(self) -> str:
        state = "broken" if self._broken else f"{len(self._waiting)} of {self._parties} waiting"
        return f"<Barrier {state}>"

    @property
    def parties(self) -> int:
        """The number of callers that have to arrive."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """The number of callers that are waiting."""
        return len(self._waiting)

    @property
    def broken(self) -> bool:
        """Whether the barrier was aborted, and has not been reset since."""
        return self._broken

    def wait(self) -> Deferred[int]:
        """Return a Deferred that fires when all callers have arrived.

        Each caller gets a different number, and the last one the highest. The Deferred fails with
        BrokenBarrierError if the barrier is broken, or is aborted or reset in the meantime. If it
        is cancelled, the caller no longer counts as arrived.
        """
        if self._broken:
            return fail(BrokenBarrierError("Barrier aborted"))
        place = len(self._waiting)
        if place + 1 == self._parties:
            return _number_all(self._waiting)
        return _wait_in(self._waiting, None, self)

    def __aenter__(self) -> Deferred[int]:
        return self.wait()

    def __aexit__(self, *_: object) -> Deferred[None]:
        return succeed(None)

    def reset(self) -> Deferred[None]:
        """Let all waiters fail with BrokenBarrierError, and start again."""
        check_depth()
        return self._break(False)

    def abort(self) -> Deferred[None]:
        """Break the barrier: all waiters and later callers fail with BrokenBarrierError."""
        check_depth()
        return self._break(True)

    def _break(self, for_good: bool) -> Deferred[None]:
        done = succeed(None)
        _break(self, for_good, BrokenBarrierError, "Abort or reset of barrier")
        return done
