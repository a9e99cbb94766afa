"""Locks of other kinds than `DeferredLock`: by weight, for reading and writing, by key.

They depend on no event loop. Waiters are served in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

from .._deferrous import (
    Deferred,
    _Fifo,
    _give_back,
    _never_refused,
    _Place,
    _release_key,
    _serve_rest,
    _wait_in,
    succeed,
)
from . import _several
from ._base import Lockable, check_count
from ._several import if_several

__all__ = [
    "BoundedSemaphore",
    "KeyedLock",
    "ReadWriteLock",
    "Semaphore",
]

_K = TypeVar("_K", bound=Hashable)


class _Part(Lockable):
    """Something to acquire and release with an argument: a weight, a side or a key."""

    __slots__ = ("_acquire", "_native", "_release", "_what")

    def __init__(
        self,
        acquire: Callable[[Any], Deferred[bool]],
        release: Callable[[Any], None],
        what: Any,
        native: tuple[Callable[..., object], tuple[Any, ...]] | None = None,
    ) -> None:
        self._acquire = acquire
        self._release = release
        self._what = what
        #: How that is released in one native step, if it can be.
        self._native = native

    def _how_to_release(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        return self._native or (self.release, ())

    def acquire(self) -> Deferred[bool]:
        return self._acquire(self._what)

    def release(self) -> None:
        self._release(self._what)


_too_often = partial(ValueError, "BoundedSemaphore released too many times")
_nobody_writes = partial(RuntimeError, "nobody writes")
_nobody_reads = partial(RuntimeError, "nobody reads")


@if_several(_several.locks)
class _InTurn(Lockable):
    """A free amount, and a line of waiters that each ask for a part of it, strictly in order.

    The amount and the line change together, in one native step. An exception in between, for
    instance at the recursion limit, could leave a waiter without the amount, and nobody would have
    it.
    """

    __slots__ = ("__weakref__", "_size", "_value", "_waiting")

    def __init__(self, value: int) -> None:
        #: The initial amount, and the free amount.
        self._size = self._value = value
        self._waiting: _Fifo[Deferred[bool]] = _Fifo()

    def _take(self, number: int) -> Deferred[bool]:
        if self._value < number or self._waiting:
            return _wait_in(self._waiting, self, number)
        self._value -= number
        try:
            return succeed(True)
        except BaseException:
            self._value += number
            raise

    def _natively(self, number: int) -> tuple[Callable[..., object], tuple[Any, ...]] | None:
        """Return a native step that releases this much, or None if a subclass overrides that."""
        if type(self) is Semaphore:
            return _give_back, (self, self._waiting, number)
        if type(self) is BoundedSemaphore:
            return _give_back, (self, self._waiting, number, (self._size, _too_often))
        if type(self) is ReadWriteLock:
            error = _nobody_writes if number == _ALL else _nobody_reads
            return _give_back, (self, self._waiting, number, (_ALL, error))
        return None

    #: A waiter that leaves the line may have kept others waiting.
    _left: Callable[[_Place, Deferred[Any]], None] = staticmethod(_serve_rest)


@if_several(_several.semaphores)
class Semaphore(_InTurn):
    """Limits how many callers run at the same time. A caller can take several tokens.

    This works like `asyncio.Semaphore`, and `acquire` also takes a weight: a number of tokens.
    First come, first served: a caller that waits for many tokens holds up those behind it.

    ```python
    from deferrous import concurrency

    semaphore = concurrency.Semaphore(3)
    semaphore.acquire(2)
    semaphore.acquire(2).addCallback(print)
    semaphore.release(2)
    ```

    This prints True.
    """

    __slots__ = ()

    def __init__(self, value: int = 1) -> None:
        check_count("Semaphore initial value", value, 0)
        super().__init__(value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._value}, {len(self._waiting)} waiting>"

    @property
    def value(self) -> int:
        """The number of free tokens."""
        return self._value

    def locked(self) -> bool:
        """Return whether `acquire()` would have to wait."""
        return self._value == 0 or len(self._waiting) > 0

    def __aenter__(self) -> Deferred[Any]:
        # The same as `acquire()`, with two calls less.
        return self._take(1) if type(self) is Semaphore else self.acquire()

    def acquire(self, weight: int = 1) -> Deferred[bool]:
        """Return a Deferred that fires with True when `weight` tokens have been acquired.

        Errors:

        - ValueError: the weight is not positive.
        """
        if not weight >= 1:
            raise ValueError(f"weight must be >= 1, not {weight!r}")
        return self._take(weight)

    def release(self, weight: int = 1) -> None:
        """Release `weight` tokens. Raises ValueError if the weight is not positive."""
        if not weight >= 1:
            raise ValueError(f"weight must be >= 1, not {weight!r}")
        if self._waiting:
            _give_back(self, self._waiting, weight)
        else:
            self._value += weight

    def weighing(self, weight: int) -> Lockable:
        """Return an object with `run`, and for `async with`, that takes `weight` tokens."""
        if not weight >= 1:
            raise ValueError(f"weight must be >= 1, not {weight!r}")
        return _Part(self.acquire, self.release, weight, self._natively(weight))

    def _how_to_release(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        return self._natively(1) or (self.release, ())

    @_never_refused
    def _not_taken(self, place: _Place, _result: Any, _number: int) -> None:
        if place.what == 1:
            # The `release` of a subclass may accept no weight, like asyncio's.
            self.release()
        else:
            self.release(place.what)


@if_several(_several.bounded)
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

    __slots__ = ()

    def acquire(self, weight: int = 1) -> Deferred[bool]:
        """As `Semaphore.acquire`. Raises ValueError if there will never be so many tokens."""
        if weight > self._size:
            raise ValueError(f"weight must be <= {self._size}, not {weight!r}")
        return super().acquire(weight)

    def release(self, weight: int = 1) -> None:
        """As `Semaphore.release`. Raises ValueError if so many tokens were not acquired."""
        if not self._value + weight <= self._size:
            raise _too_often()
        super().release(weight)


#: The amount that a writer takes. A reader takes one.
_ALL = 1 << 60


@if_several(_several.read_write)
class ReadWriteLock(_InTurn):
    """Lets many callers read at the same time, or one caller write.

    It has two sides, `reading` and `writing`. Acquire and release a side, use its `run`, or use it
    with `async with`. It is fair: first come, first served. A reader that arrives after a waiting
    writer waits for that writer.

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

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_ALL)

    def __repr__(self) -> str:
        state = "written" if self._value == 0 else f"read by {self.readers}"
        return f"<ReadWriteLock {state}, {len(self._waiting)} waiting>"

    @property
    def reading(self) -> Lockable:
        """The side that readers acquire."""
        return _Part(self._take, self._release, 1, self._natively(1))

    @property
    def writing(self) -> Lockable:
        """The side that writers acquire."""
        return _Part(self._take, self._release, _ALL, self._natively(_ALL))

    @property
    def readers(self) -> int:
        """The number of readers."""
        return _ALL - self._value if self._value else 0

    def locked(self) -> bool:
        """Return whether there is a reader or a writer."""
        return self._value < _ALL

    def _release(self, number: int) -> None:
        if number == _ALL and self._value:
            raise _nobody_writes()
        # This makes no new int, because there may be no memory.
        if number == 1 and self._value in (0, _ALL):
            raise _nobody_reads()
        _give_back(self, self._waiting, number)

    @_never_refused
    def _not_taken(self, place: _Place, _result: Any, _number: int) -> None:
        self._release(place.what)


@if_several(_several.keyed)
class KeyedLock(Generic[_K]):
    """A lock or a semaphore for each key. Keys that are not in use need no memory.

    ```python
    from deferrous import concurrency

    lock = concurrency.KeyedLock()
    lock("one").acquire()
    lock("other").acquire().addCallback(lambda _: print("not in the way"))
    print(len(lock))
    ```

    This prints not in the way, and 2.
    """

    __slots__ = ("__weakref__", "_keys", "_limit", "_turn")

    def __init__(self, limit: int = 1) -> None:
        check_count("limit", limit, 1)
        self._limit = limit
        #: For each key, how many hold it, and its waiters.
        self._keys: dict[_K, tuple[list[int], _Fifo[Deferred[bool]]]] = {}

    def __repr__(self) -> str:
        return f"<KeyedLock of {len(self._keys)} keys>"

    def __len__(self) -> int:
        """Return how many keys are in use."""
        return len(self._keys)

    def __call__(self, key: _K) -> Lockable:
        """Return the lock of a key: to be acquired and released, to `run`, or for `async with`."""
        ours = type(self)._release is KeyedLock._release
        native = (_release_key, (self._keys, key)) if ours else None
        return _Part(self._acquire, self._release, key, native)

    def locked(self, key: _K) -> bool:
        """Return whether acquiring a key's lock would have to wait."""
        state = self._keys.get(key)
        return state is not None and state[0][0] >= self._limit

    def waiting(self, key: _K) -> int:
        """Return the number of callers that wait for a key."""
        state = self._keys.get(key)
        return 0 if state is None else len(state[1])

    def _acquire(self, key: _K) -> Deferred[bool]:
        # This comes first, as it may fail.
        acquired = succeed(True)
        state = self._keys.get(key)
        if state is None:
            self._keys[key] = ([1], _Fifo())
            return acquired
        held, waiting = state
        if held[0] < self._limit:
            held[0] += 1
            return acquired
        return _wait_in(waiting, self, key)

    def _release(self, key: _K) -> None:
        _release_key(self._keys, key)

    @_never_refused
    def _not_taken(self, place: _Place, _result: Any, _number: int) -> None:
        self._release(place.what)
