"""Waiting for several Deferreds: `wait` and `as_completed`."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, Literal, TypeVar

from .._clock import AnyClock, resolve, start
from .._deferrous import (
    Deferred,
    _end_waiting,
    _Fifo,
    _fire_all,
    _give_done,
    _hand_over,
    _move_key,
    _never_refused,
    _owed,
    _Place,
    _wait_in,
    _whole,
    succeed,
)
from ..failure import Failure
from . import _one_by_one
from ._base import (
    Eventual,
    TimeoutError,
    each_of,
    is_done,
    is_failure,
    not_a_number,
    was_cancelled,
)
from ._several import if_several
from .cancellation import _pass_on
from .watching import unwatch, watch

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "AsCompleted",
    "as_completed",
    "wait",
]

_T = TypeVar("_T")

#: For `wait`: until the first has a result, or all.
FIRST_COMPLETED: Literal["FIRST_COMPLETED"] = "FIRST_COMPLETED"
#: For `wait`: until the first has failed, or all have a result.
FIRST_EXCEPTION: Literal["FIRST_EXCEPTION"] = "FIRST_EXCEPTION"
#: For `wait`: until all have a result.
ALL_COMPLETED: Literal["ALL_COMPLETED"] = "ALL_COMPLETED"


def _several(eventuals: Iterable[Any]) -> list[Deferred[Any]]:
    """Return Deferreds for all of these, each once.

    Raises TypeError, and starts none, if one cannot be awaited.
    """
    if isinstance(eventuals, Deferred) or not isinstance(eventuals, Iterable):
        raise TypeError(f"expect an iterable of Deferreds, not {type(eventuals).__name__}")
    return list(dict.fromkeys(each_of(eventuals)))


def _clock_for(timeout: float, clock: AnyClock | None) -> Any:
    """Return the clock for a timeout. Raises ValueError if the timeout is NaN."""
    if timeout != timeout:
        raise not_a_number("timeout")
    return resolve(clock)


def wait(
    eventuals: Iterable[Eventual[_T]],
    *,
    timeout: float | None = None,
    return_when: str = ALL_COMPLETED,
    clock: AnyClock | None = None,
) -> Deferred[tuple[set[Deferred[_T]], set[Deferred[_T]]]]:
    """Wait for several Deferreds: for all of them, or for the first.

    This works like `asyncio.wait`. It returns a Deferred that fires with two sets: the Deferreds
    that are done, and the others. They keep their results. The Deferred does not fail if one of
    them fails, or if the time is up, and none of them is cancelled. `return_when` is
    `FIRST_COMPLETED`, `FIRST_EXCEPTION` or `ALL_COMPLETED`.

    Errors:

    - TypeError: something in `eventuals` cannot be awaited. In that case, nothing is started.
    - ValueError: there is nothing to wait for, or `return_when` or `timeout` is invalid.

    ```python
    from deferrous import Deferred, concurrency, succeed

    one, other = succeed(1), Deferred()
    d = concurrency.wait([one, other], return_when=concurrency.FIRST_COMPLETED)
    d.addCallback(lambda sets: print([len(each) for each in sets]))
    ```

    This prints [1, 1].
    """
    if return_when not in (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED):
        raise ValueError(f"Invalid return_when value: {return_when}")
    clock = None if timeout is None else _clock_for(timeout, clock)
    deferreds = _several(eventuals)
    if not deferreds:
        raise ValueError("Set of Deferreds is empty")
    return _Wait(deferreds, return_when).begin(timeout, clock)


@if_several(_one_by_one.waits)
class _Wait:
    __slots__ = ("_steps", "deferred", "deferreds", "done", "return_when", "stop")

    def __init__(self, deferreds: list[Deferred[Any]], return_when: str) -> None:
        self.deferreds = dict.fromkeys(deferreds)
        self.done: set[Deferred[Any]] = set()
        self.return_when = return_when
        self.stop: Callable[[], object] | None = None
        self.deferred: Deferred[Any] | None = None

    def begin(self, timeout: float | None, clock: Any) -> Deferred[Any]:
        enough = False
        for each in self.deferreds:
            if is_done(each):
                enough = self.is_enough(each, each.result) or enough
        if (
            enough
            or len(self.done) == len(self.deferreds)
            or (timeout is not None and timeout <= 0)
        ):
            return succeed(self.result())
        deferred: Deferred[Any] = Deferred(self.cancel)
        self.deferred = deferred
        for each in self.deferreds:
            if each not in self.done:
                watch(each, self.see)
        if timeout is not None:
            self.stop = start(clock, timeout, self.time_out)
        return deferred

    def is_enough(self, deferred: Deferred[Any], result: Any) -> bool:
        self.done.add(deferred)
        if self.return_when == FIRST_COMPLETED:
            return True
        return self.return_when == FIRST_EXCEPTION and is_error(result)

    def result(self) -> tuple[set[Deferred[Any]], set[Deferred[Any]]]:
        return self.done, {each for each in self.deferreds if each not in self.done}

    @_owed
    def see(self, deferred: Deferred[Any], result: Any) -> None:
        if self.deferred is not None:
            if self.is_enough(deferred, result) or len(self.done) == len(self.deferreds):
                self.finish()

    def let_go(self) -> None:
        for each in self.deferreds:
            if each not in self.done:
                unwatch(each, self.see)
        stop, self.stop = self.stop, None
        if stop is not None:
            stop()

    @_owed
    def time_out(self) -> None:
        # The delayed call has been made, and not every clock accepts its cancellation then.
        self.stop = None
        self.finish()

    @_whole
    def finish(self) -> None:
        deferred = self.deferred
        if deferred is None:
            return
        if not deferred.called:
            self.let_go()
            _hand_over(deferred, self.result())
        self.deferred = None

    @_owed
    def cancel(self, _: Any) -> None:
        self.deferred = None
        self.let_go()


def is_error(result: object) -> bool:
    """Return whether a result is a failure, and not that of something cancelled."""
    return is_failure(result) and not was_cancelled(result)


def as_completed(
    eventuals: Iterable[Eventual[_T]],
    *,
    timeout: float | None = None,
    clock: AnyClock | None = None,
) -> AsCompleted[_T]:
    """Iterate over Deferreds in the order in which they are done.

    This works like `asyncio.as_completed`. `async for` gives you the original Deferreds. `for`
    gives you new Deferreds: each one fires with the outcome of the next Deferred that is done. If
    the time is up, `async for` raises `TimeoutError`, and the remaining Deferreds of `for` fail
    with it. None of the original Deferreds is cancelled.

    ```python
    from deferrous import Deferred, concurrency, inlineCallbacks

    @inlineCallbacks
    def show(ds):
        for d in concurrency.as_completed(ds):
            print((yield d))

    one, other = Deferred(), Deferred()
    show([one, other])
    other.callback("other")
    one.callback("one")
    ```

    This prints other, and one.
    """
    clock = None if timeout is None else _clock_for(timeout, clock)
    return AsCompleted(_several(eventuals), timeout, clock)


def _out_of_time() -> Failure:
    return Failure(TimeoutError())


@if_several(_one_by_one.as_completed)
class AsCompleted(Generic[_T]):
    """The iterator that `as_completed` returns.

    ```python
    from deferrous import Deferred, concurrency

    slow, fast = Deferred(), Deferred()
    for earliest in concurrency.as_completed([slow, fast]):
        earliest.addCallback(print)
    fast.callback("fast")
    slow.callback("slow")
    ```

    This prints `fast` and `slow`.
    """

    def __init__(
        self, deferreds: list[Deferred[_T]], timeout: float | None, clock: AnyClock | None
    ) -> None:
        self._done: deque[Deferred[_T]] = deque()
        self._missing: dict[Deferred[_T], None] = {}
        #: How many Deferreds `for` still has to return.
        self._to_give = len(deferreds)
        self._waiting: Any = _Fifo()
        self._timed_out = False
        self._stop: Callable[[], object] | None = None
        for deferred in deferreds:
            if is_done(deferred):
                self._done.append(deferred)
            else:
                self._missing[deferred] = None
        for deferred in list(self._missing):
            watch(deferred, self._see)
        if timeout is not None and self._missing:
            self._stop = start(clock, max(timeout, 0), self._time_out)

    def __iter__(self) -> Iterator[Deferred[_T]]:
        return self

    def __next__(self) -> Deferred[_T]:
        if not self._to_give:
            raise StopIteration
        # Counted first, because a signal's exception may come in between: a waiter that is in line
        # and not counted would take the result of another.
        self._to_give -= 1
        try:
            given: Deferred[_T] = _wait_in(self._waiting, self, False)
        except (MemoryError, RecursionError):
            self._to_give += 1
            raise
        if self._done:
            _give_done(self._done, self._waiting, _pass_on)
        elif self._timed_out:
            self._waiting.remove(given)
            given.errback(TimeoutError())
        return given

    def __aiter__(self) -> AsyncIterator[Deferred[_T]]:
        return self

    async def __anext__(self) -> Deferred[_T]:
        while not self._done:
            if self._timed_out and self._missing:
                raise TimeoutError
            if not self._missing:
                raise StopAsyncIteration
            await _wait_in(self._waiting, self, True)
        self._to_give -= 1
        return self._done.popleft()

    @_owed
    def _see(self, deferred: Deferred[_T], _: Any) -> None:
        _move_key(self._missing, deferred, self._done)
        if not self._missing:
            stop, self._stop = self._stop, None
            if stop is not None:
                stop()
        self._wake()

    def _wake(self) -> None:
        _give_done(self._done, self._waiting, _pass_on)
        if not self._missing:
            # Nothing more will come, and the remaining waiters have to be told.
            _fire_all(self._waiting, None)

    @_owed
    def _time_out(self) -> None:
        self._stop = None
        self._timed_out = True
        for deferred in self._missing:
            unwatch(deferred, self._see)
        _end_waiting(self._waiting, _out_of_time)

    @_never_refused
    def _left(self, place: _Place, _deferred: Deferred[Any]) -> None:
        if not place.what:
            self._to_give += 1

    @_never_refused
    def _not_taken(self, place: _Place, result: Any, _number: int) -> None:
        if not place.what:
            self._done.appendleft(succeed(result))
            self._to_give += 1
        self._wake()
