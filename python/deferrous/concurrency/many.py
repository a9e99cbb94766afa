"""Many at once: waiting for several."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, Literal, TypeVar, overload

from .._clock import AnyClock, resolve, start
from .._deferrous import (
    CancelledError,
    Deferred,
    DeferredList,
    _end_all,
    _end_waiting,
    _Fifo,
    _fire_all,
    _give_done,
    _hand_over,
    _move_key,
    _never_refused,
    _once,
    _Place,
    _wait_in,
    _whole,
    _within,
    gatherResults,
    succeed,
)
from .._gathering import FirstError
from ..failure import Failure
from ._base import (
    Delayed,
    Eventual,
    TimeoutError,
    as_deferred,
    discard,
    is_done,
    is_failure,
    not_a_number,
    was_cancelled,
)
from .cancellation import _pass_on, end, in_turn
from .watching import unwatch, watch

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "AsCompleted",
    "as_completed",
    "gather",
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

    Raises TypeError, and begins none, if one cannot be waited for.
    """
    if isinstance(eventuals, Deferred) or not isinstance(eventuals, Iterable):
        raise TypeError(f"expect an iterable of Deferreds, not {type(eventuals).__name__}")
    return list(dict.fromkeys(_each(eventuals)))


def _each(eventuals: Iterable[Any]) -> list[Deferred[Any]]:
    """Return Deferreds for all of these. If one is of no such kind, none of them is begun."""
    all_of_them = list(eventuals)
    for each in all_of_them:
        if not hasattr(each, "__await__") and not hasattr(each, "send"):
            for other in all_of_them:
                if not isinstance(other, Deferred) and hasattr(other, "close"):
                    discard(other)
            raise TypeError(f"a Deferred, a coroutine or a future is needed, not {each!r}")
    return [as_deferred(each) for each in all_of_them]


def _clock_for(timeout: float, clock: AnyClock | None) -> Any:
    """Return the clock of a timeout. Raises ValueError for one that is no number."""
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

    Raises TypeError or ValueError for wrong arguments, and ValueError if there is nothing to wait
    for.

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


class _Wait:
    __slots__ = ("deferred", "deferreds", "done", "return_when", "stop")

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

    @_whole
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

    @_whole
    def time_out(self) -> None:
        # The call has come: not every clock has it cancelled after that.
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

    @_whole
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
        #: How many `for` has still to give.
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
        # First, as a signal's exception may come in between: what is in line and not counted would
        # take the result of another.
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

    @_whole
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
            # Nothing more will come: those that come for one are to see that.
            _fire_all(self._waiting, None)

    @_whole
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


@overload
def gather(
    *eventuals: Eventual[_T],
    return_exceptions: Literal[False] = False,
    cancel_losers: bool = False,
) -> Deferred[list[_T]]: ...
@overload
def gather(
    *eventuals: Eventual[_T], return_exceptions: bool, cancel_losers: bool = False
) -> Deferred[list[_T | BaseException]]: ...
def gather(
    *eventuals: Any, return_exceptions: bool = False, cancel_losers: bool = False
) -> Deferred[list[Any]]:
    """Return a Deferred that fires with the list of all results, in the order of the arguments.

    This works like `asyncio.gather`. If one of them fails, the Deferred fails at once with the same
    exception. The others continue, and their failures are dropped. With `return_exceptions`, the
    list contains exceptions as well as results. With `cancel_losers`, a failure cancels the others,
    and the Deferred fails when they have ended. Cancelling the Deferred cancels all of them.

    Raises TypeError if an argument cannot be awaited. In that case, nothing is started.

    ```python
    from deferrous import concurrency, fail, succeed

    d = concurrency.gather(succeed(1), fail(KeyError("no")), return_exceptions=True)
    d.addCallback(print)
    ```

    This prints [1, KeyError('no')].
    """
    deferreds = _each(eventuals)
    if return_exceptions:
        gathered = _Gathered(deferreds, consumeErrors=True)
        return gathered.addCallback(gathered.results)
    if cancel_losers:
        return _Losers().begin(deferreds)
    first: Any = gatherResults(deferreds, consumeErrors=True)
    if first.called:
        return first.addErrback(_without_place)  # type: ignore[no-any-return]
    first.__class__ = _Gathering
    return first.addCallbacks(first.unless_cancelled, _without_place)  # type: ignore[no-any-return]


@_never_refused
def _without_place(failure: Failure) -> Failure:
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure


class _Gathering(Delayed[Any], DeferredList[Any]):
    """A DeferredList that, if it was cancelled itself, fails, when all of them have ended.

    A task of asyncio that awaits it, and is cancelled, is kept until then.
    """

    is_cancelled = False
    reason: object = None

    def _cancelled_for(self, reason: object) -> None:
        self.reason = reason

    def cancel(self) -> None:
        self.is_cancelled = not self.called or self.is_cancelled
        in_turn(super().cancel)

    @_never_refused
    def unless_cancelled(self, results: Any) -> Any:
        if self.is_cancelled:
            raise CancelledError if self.reason is None else CancelledError(self.reason)
        return results


class _Gathered(_Gathering):
    """One that has exceptions among the results."""

    @_never_refused
    def results(self, pairs: list[tuple[bool, Any]]) -> list[Any]:
        self.unless_cancelled(pairs)
        return [value if success else value.value for success, value in pairs]


class _WithLosers(_Gathering):
    """A DeferredList that says when it is cancelled itself."""

    losers: _Losers

    def cancel(self) -> None:
        self.is_cancelled = not self.called or self.is_cancelled
        in_turn(self.losers.cancel, super(_Gathering, self).cancel)


class _Losers:
    """Gathers Deferreds; when one fails, the others are cancelled."""

    failure: Failure | None = None
    deferreds: list[Deferred[Any]] | None
    #: Whether all have been cancelled, because of one.
    are_cancelled = False
    #: All of them are being cancelled, so that none needs to be because another is.
    cancels_all = False

    def begin(self, deferreds: list[Deferred[Any]]) -> Deferred[list[Any]]:
        self.deferreds = deferreds
        for deferred in dict.fromkeys(deferreds):
            deferred.addErrback(self.lost)
        gathered = _WithLosers(deferreds, consumeErrors=True)
        gathered.losers = self
        # What one has failed with comes first, as with asyncio.
        gathered.addCallback(self.results).addCallback(gathered.unless_cancelled)
        return gathered.addBoth(self.let_go)

    def cancel(self, how: Callable[[], None]) -> None:
        # So those that have still to end are not cancelled once more when the first has.
        self.are_cancelled = True
        if self.cancels_all:
            how()
        else:
            _within(self, "cancels_all", how)

    @_whole
    def lost(self, failure: Failure) -> Failure:
        if self.failure is None:
            self.failure = failure
        if not self.cancels_all:
            _once(self, "are_cancelled", _end_all, self.deferreds or (), None, end)
        return failure

    @_whole
    def results(self, pairs: list[tuple[bool, Any]]) -> Any:
        failure = self.failure
        return [value for _, value in pairs] if failure is None else failure

    @_whole
    def let_go(self, result: Any) -> Any:
        self.deferreds = self.failure = None
        return result
