"""Locks of other kinds than `DeferredLock`: by weight, for reading and writing, by key.

They are made of no loop, and may be used under any. Who comes first is served first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from .._deferrous import Deferred, _Fifo, _give_first, _next_in, _Place, _wait_in, succeed
from ._base import Lockable, check_count

__all__ = [
    "BoundedSemaphore",
    "KeyedLock",
    "ReadWriteLock",
    "Semaphore",
]

_K = TypeVar("_K", bound=Hashable)


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

    def _take(self, what: Any) -> bool:
        """Take it, if it is free."""
        raise NotImplementedError

    def _wake(self) -> None:
        waiting = self._waiting
        while (what := _next_in(waiting)) is not None and self._take(what):
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
        check_count("Semaphore initial value", value, 0)
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
        if not weight >= 1:
            raise ValueError(f"weight must be >= 1, not {weight!r}")
        if self._value >= weight and not self._waiting:
            self._value -= weight
            return succeed(True)
        return _wait_in(self._waiting, self, weight)

    def release(self, weight: int = 1) -> None:
        """Give so much back. Raises ValueError if the weight is not positive."""
        if not weight >= 1:
            raise ValueError(f"weight must be >= 1, not {weight!r}")
        self._value += weight
        if self._waiting:
            self._wake()

    def weighing(self, weight: int) -> Lockable:
        """Return something to `run`, or for `async with`, that counts for so many."""
        if not weight >= 1:
            raise ValueError(f"weight must be >= 1, not {weight!r}")
        return _Part(self.acquire, self.release, weight)

    def _take(self, weight: int) -> bool:
        if weight > self._value:
            return False
        self._value -= weight
        return True

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
        if not self._value + weight <= self._bound:
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

    def _take(self, write: bool) -> bool:
        if self._writing or (write and self._readers):
            return False
        if write:
            self._writing = True
        else:
            self._readers += 1
        return True

    def _acquire(self, write: bool) -> Deferred[bool]:
        if not self._waiting and self._take(write):
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
        check_count("limit", limit, 1)
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
