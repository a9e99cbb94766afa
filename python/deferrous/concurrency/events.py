"""Events, conditions, barriers, and locks of other kinds than `DeferredLock`.

They are made of no loop, and may be used under any. Who comes first is served first.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable
from typing import Any, Generic, Literal, TypeVar

from .._deferrous import (
    CancelledError,
    Deferred,
    DeferredLock,
    _Fifo,
    _fire_all,
    _first_waiting,
    _give_first,
    _hand_over,
    _next_in,
    _Place,
    _wait_in,
    fail,
    succeed,
)
from ..failure import Failure
from ._base import (
    BrokenBarrierError,
    Lockable,
    fail_all,
    is_done,
)

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "KeyedLock",
    "ReadWriteLock",
    "Semaphore",
]

_K = TypeVar("_K", bound=Hashable)
_R = TypeVar("_R")


class Event:
    """Something that has happened, or not yet. `wait` waits until it has.

    As `asyncio.Event`; those that wait are woken by `set` there and then.

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
        """Return whether it has happened."""
        return self._is_set

    def set(self) -> None:
        """Say that it has happened. All that wait now are woken, whatever they do then."""
        if self._is_set:
            return
        self._is_set = True
        if self._waiting:
            waiting, self._waiting = self._waiting, _Fifo()
            _fire_all(waiting, True)

    def clear(self) -> None:
        """Say that it has not happened."""
        self._is_set = False

    def wait(self) -> Deferred[Literal[True]]:
        """Return a Deferred that fires with True when it has happened."""
        return succeed(True) if self._is_set else _wait_in(self._waiting, None, self)


class _Woken(Deferred[Any]):
    """What `Condition.wait` returns. It ends when the lock is held again, however it ends.

    To Deferreds it is one of theirs, whose end is late when it is cancelled. A task of asyncio
    that is cancelled would go on at once, without the lock, and its `async with` would release what
    it does not hold. So it is kept until then.
    """

    #: Whether it waits for the lock only.
    notified = False
    #: Whether it has got that.
    woken = False
    #: Nobody will come: the lock is to be released as soon as it is there.
    abandoned = False

    def __init__(self, condition: Condition) -> None:
        super().__init__(condition._leave)
        self.condition = condition

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            return (yield from Deferred.__await__(self))
        except GeneratorExit:
            self.abandon()
            raise
        except BaseException:
            if is_done(self):
                if self.woken:
                    # It was woken, and is cancelled before it has run: another has to be told.
                    self.condition._notify(1)
                raise
            while not is_done(self):
                try:
                    yield from Deferred.__await__(self)
                except GeneratorExit:
                    self.abandon()
                    raise
                except BaseException:
                    # It is cancelled once more, or this is how it has ended.
                    pass
            raise

    def abandon(self) -> None:
        """The driver is gone for good."""
        self.abandoned = True
        if not self.called:
            self.cancel()
        elif is_done(self):
            self.condition.release()


class Condition(Lockable):
    """Waits for a change of what a lock guards.

    As `asyncio.Condition`. `lock` is a `DeferredLock`; by default it has one of its own. Whoever
    waits holds the lock again when it goes on, also when it was cancelled. One that is notified and
    cancelled before it runs passes the notification on.

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

    __slots__ = ("__weakref__", "_lock", "_waiting")

    def __init__(self, lock: DeferredLock | None = None) -> None:
        self._lock = DeferredLock() if lock is None else lock
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
        self._lock.release()

    def __aenter__(self) -> Deferred[Any]:
        return self._lock.acquire()

    def wait(self) -> Deferred[Literal[True]]:
        """Release the lock, wait to be notified, and acquire it again.

        Returns a Deferred that fires with True then. Raises RuntimeError if the lock is not held.
        """
        if not self._lock.locked:
            raise RuntimeError("cannot wait on un-acquired lock")
        woken = _Woken(self)
        self._waiting.append(woken)
        self._lock.release()
        return woken

    def wait_for(self, predicate: Callable[[], _R]) -> Deferred[_R]:
        """Wait until a function without arguments returns something true.

        Returns a Deferred that fires with that. It is asked at once, and whenever this is notified.
        The Deferred fails with what the function raises.
        """
        return _ensure(self._wait_for(predicate))

    async def _wait_for(self, predicate: Callable[[], _R]) -> _R:
        result = predicate()
        while not result:
            await self.wait()
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake up to `n` of those that wait: each goes on when it gets the lock.

        Raises RuntimeError if the lock is not held.
        """
        if not self._lock.locked:
            raise RuntimeError("cannot notify on un-acquired lock")
        self._notify(n)

    def notify_all(self) -> None:
        """Wake all that wait. Raises RuntimeError if the lock is not held."""
        self.notify(len(self._waiting))

    def _notify(self, n: int) -> None:
        for _ in range(n):
            woken: Any = _first_waiting(self._waiting)
            if woken is None:
                return
            woken.notified = True
            self._reacquire(woken)

    def _reacquire(self, woken: _Woken) -> None:
        self._lock.acquire().addCallback(self._acquired_for, woken)

    def _acquired_for(self, _: Any, woken: _Woken) -> None:
        if woken.paused:
            # It was cancelled meanwhile.
            if woken.notified:
                self._notify(1)
            woken.unpause()
        elif not woken.called:
            woken.woken = True
            _hand_over(woken, True)
        else:
            # Somebody has fired it by hand.
            self._lock.release()
            return
        if woken.abandoned:
            self._lock.release()

    def _leave(self, woken: Any) -> None:
        """The canceller: it fails at once, but nobody sees that before it has the lock."""
        woken.pause()
        woken.errback(Failure(CancelledError()))
        if not woken.notified:
            self._waiting.remove(woken)
            self._reacquire(woken)


def _ensure(coroutine: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(coroutine)


class Barrier:
    """Has so many wait for each other: when the last one comes, all go on.

    As `asyncio.Barrier`. All are woken at once, so there is no time in which it drains.

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
        """How many have to come."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def broken(self) -> bool:
        """Whether it was aborted, and not reset since."""
        return self._broken

    def wait(self) -> Deferred[int]:
        """Return a Deferred that fires when all have come, for each with a number of its own.

        The last one to come gets the highest. It fails with BrokenBarrierError if the barrier is
        broken, or aborted or reset meanwhile. Cancelling it takes it out of those that have come.
        """
        if self._broken:
            return fail(BrokenBarrierError("Barrier aborted"))
        index = len(self._waiting)
        if index + 1 == self._parties:
            waiting, self._waiting = self._waiting, _Fifo()
            number = 0
            while (first := _first_waiting(waiting)) is not None:
                _hand_over(first, number)
                number += 1
            return succeed(index)
        return _wait_in(self._waiting, None, self)

    def __aenter__(self) -> Deferred[int]:
        return self.wait()

    def __aexit__(self, *_: object) -> Deferred[None]:
        return succeed(None)

    def reset(self) -> Deferred[None]:
        """Have all that wait fail with BrokenBarrierError, and begin anew."""
        self._broken = False
        self._break()
        return succeed(None)

    def abort(self) -> Deferred[None]:
        """Have all that wait, and all that come, fail with BrokenBarrierError."""
        self._broken = True
        self._break()
        return succeed(None)

    def _break(self) -> None:
        waiting, self._waiting = self._waiting, _Fifo()
        fail_all(waiting, lambda: BrokenBarrierError("Abort or reset of barrier"))


class _Part(Lockable):
    """What is acquired and released with something more: a weight, a side, a key."""

    __slots__ = ("_acquire", "_release", "_what")

    def __init__(
        self, acquire: Callable[[Any], Deferred[bool]], release: Callable[[Any], None], what: Any
    ) -> None:
        self._acquire = acquire
        self._release = release
        self._what = what

    def acquire(self) -> Deferred[bool]:
        return self._acquire(self._what)

    def release(self) -> None:
        self._release(self._what)


class _InTurn:
    """What has a line, where the first keeps the others waiting, and each asks for something."""

    __slots__ = ()

    _waiting: _Fifo[Deferred[bool]]

    def _is_free(self, what: Any) -> bool:
        raise NotImplementedError

    def _take(self, what: Any) -> None:
        raise NotImplementedError

    def _wake(self) -> None:
        waiting = self._waiting
        while (what := _next_in(waiting)) is not None and self._is_free(what):
            self._take(what)
            _give_first(waiting, True)

    def _left(self, _place: _Place, _deferred: Deferred[Any]) -> None:
        # It may have kept others waiting.
        self._wake()


class Semaphore(_InTurn, Lockable):
    """So many at a time, where one may count for several.

    As `asyncio.Semaphore`, with weights. Who comes first is served first: a heavy one that waits
    keeps the light ones behind it waiting.

    ```python
    from deferrous import concurrency

    semaphore = concurrency.Semaphore(3)
    semaphore.acquire(2)
    semaphore.acquire(2).addCallback(print)
    semaphore.release(2)
    ```

    This prints True.
    """

    __slots__ = ("__weakref__", "_value", "_waiting")

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError("Semaphore initial value must be >= 0")
        self._value = value
        self._waiting = _Fifo()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._value}, {len(self._waiting)} waiting>"

    @property
    def value(self) -> int:
        """How much is free."""
        return self._value

    def locked(self) -> bool:
        """Return whether `acquire()` would have to wait."""
        return self._value == 0 or len(self._waiting) > 0

    def acquire(self, weight: int = 1) -> Deferred[bool]:
        """Return a Deferred that fires with True when so much has been acquired.

        Raises ValueError if the weight is not positive.
        """
        if weight < 1:
            raise ValueError(f"weight must be >= 1, not {weight!r}")
        if self._value >= weight and not self._waiting:
            self._value -= weight
            return succeed(True)
        return _wait_in(self._waiting, self, weight)

    def release(self, weight: int = 1) -> None:
        """Give so much back. Raises ValueError if the weight is not positive."""
        if weight < 1:
            raise ValueError(f"weight must be >= 1, not {weight!r}")
        self._value += weight
        if self._waiting:
            self._wake()

    def weighing(self, weight: int) -> Lockable:
        """Return something to `run`, or for `async with`, that counts for so many."""
        if weight < 1:
            raise ValueError(f"weight must be >= 1, not {weight!r}")
        return _Part(self.acquire, self.release, weight)

    def _is_free(self, weight: int) -> bool:
        return weight <= self._value

    def _take(self, weight: int) -> None:
        self._value -= weight

    def _not_taken(self, place: _Place, _result: Any, _number: int) -> None:
        self.release(place.what)


class BoundedSemaphore(Semaphore):
    """A semaphore that raises an error if it is released more often than acquired.

    Errors:

    - ValueError: `release` would exceed the initial number of tokens, or `acquire` asks for
      more than that.

    ```python
    from deferrous import concurrency

    semaphore = concurrency.BoundedSemaphore(1)
    try:
        semaphore.release()
    except ValueError:
        print("released too often")
    ```

    This prints `released too often`.
    """

    __slots__ = ("_bound",)

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._bound = value

    def acquire(self, weight: int = 1) -> Deferred[bool]:
        """As `Semaphore.acquire`. Raises ValueError if there will never be so much."""
        if weight > self._bound:
            raise ValueError(f"weight must be <= {self._bound}, not {weight!r}")
        return super().acquire(weight)

    def release(self, weight: int = 1) -> None:
        """As `Semaphore.release`. Raises ValueError if so much was not acquired."""
        if self._value + weight > self._bound:
            raise ValueError("BoundedSemaphore released too many times")
        super().release(weight)


class ReadWriteLock(_InTurn):
    """Many that read at a time, or one that writes.

    `reading` and `writing` are its two sides: acquire and release them, `run` with them, or say
    `async with`. It is fair: who comes first is served first, so those that read and come after one
    that waits to write wait for it.

    ```python
    from deferrous import concurrency

    lock = concurrency.ReadWriteLock()
    lock.reading.acquire()
    lock.writing.acquire().addCallback(lambda _: print("writes"))
    lock.reading.acquire().addCallback(lambda _: print("reads"))
    lock.reading.release()
    lock.writing.release()
    ```

    This prints writes and reads.
    """

    __slots__ = ("__weakref__", "_readers", "_waiting", "_writing")

    def __init__(self) -> None:
        self._readers = 0
        self._writing = False
        self._waiting: _Fifo[Deferred[bool]] = _Fifo()

    def __repr__(self) -> str:
        state = "written" if self._writing else f"read by {self._readers}"
        return f"<ReadWriteLock {state}, {len(self._waiting)} waiting>"

    @property
    def reading(self) -> Lockable:
        """What those acquire that read."""
        return _Part(self._acquire, self._release, False)

    @property
    def writing(self) -> Lockable:
        """What those acquire that write."""
        return _Part(self._acquire, self._release, True)

    @property
    def readers(self) -> int:
        """How many read."""
        return self._readers

    def locked(self) -> bool:
        """Return whether anybody reads or writes."""
        return self._writing or self._readers > 0

    def _is_free(self, write: bool) -> bool:
        return not (self._writing or (write and self._readers))

    def _take(self, write: bool) -> None:
        if write:
            self._writing = True
        else:
            self._readers += 1

    def _acquire(self, write: bool) -> Deferred[bool]:
        if not self._waiting and self._is_free(write):
            self._take(write)
            return succeed(True)
        return _wait_in(self._waiting, self, write)

    def _release(self, write: bool) -> None:
        if write and self._writing:
            self._writing = False
        elif not write and self._readers:
            self._readers -= 1
        else:
            raise RuntimeError(f"nobody {'writes' if write else 'reads'}")
        self._wake()

    def _not_taken(self, place: _Place, _result: Any, _number: int) -> None:
        self._release(place.what)


class KeyedLock(Generic[_K]):
    """A lock for each key, or a semaphore. What nobody uses takes no room.

    ```python
    from deferrous import concurrency

    lock = concurrency.KeyedLock()
    lock("one").acquire()
    lock("other").acquire().addCallback(lambda _: print("not in the way"))
    print(len(lock))
    ```

    This prints not in the way, and 2.
    """

    __slots__ = ("__weakref__", "_keys", "_limit")

    def __init__(self, limit: int = 1) -> None:
        if limit < 1:
            raise ValueError(f"limit must be >= 1, not {limit!r}")
        self._limit = limit
        #: How many hold each, and who waits.
        self._keys: dict[_K, tuple[list[int], _Fifo[Deferred[bool]]]] = {}

    def __repr__(self) -> str:
        return f"<KeyedLock of {len(self._keys)} keys>"

    def __len__(self) -> int:
        """Return how many keys are in use."""
        return len(self._keys)

    def __call__(self, key: _K) -> Lockable:
        """Return the lock of a key: to be acquired and released, to `run`, or for `async with`."""
        return _Part(self._acquire, self._release, key)

    def locked(self, key: _K) -> bool:
        """Return whether one that came now would have to wait."""
        state = self._keys.get(key)
        return state is not None and state[0][0] >= self._limit

    def waiting(self, key: _K) -> int:
        """Return how many wait for a key."""
        state = self._keys.get(key)
        return 0 if state is None else len(state[1])

    def _acquire(self, key: _K) -> Deferred[bool]:
        state = self._keys.get(key)
        if state is None:
            self._keys[key] = ([1], _Fifo())
            return succeed(True)
        held, waiting = state
        if held[0] < self._limit:
            held[0] += 1
            return succeed(True)
        return _wait_in(waiting, self, key)

    def _release(self, key: _K) -> None:
        if key not in self._keys:
            raise RuntimeError(f"nobody holds {key!r}")
        held, waiting = self._keys[key]
        if waiting and _give_first(waiting, True):
            return
        held[0] -= 1
        if not held[0]:
            del self._keys[key]

    def _not_taken(self, place: _Place, _result: Any, _number: int) -> None:
        self._release(place.what)
