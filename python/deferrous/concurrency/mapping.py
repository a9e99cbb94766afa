"""`map`: calls a function for many items, a limited number at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Generic, Literal, TypeVar, overload

from .._deferrous import (
    Deferred,
    _begin_call,
    _begin_calls,
    _begin_close,
    _begin_fetch,
    _do,
    _end_all,
    _end_call,
    _hand_over,
    _once,
    _owed,
    _take_fetched,
    _whole,
    _within,
    fail,
)
from .._reasons import takes_reason
from .._waiting import deferred_types
from ..failure import Failure
from . import _one_by_one
from ._base import Delayed, Eventual, as_deferred, is_failure, was_cancelled
from ._several import if_several
from .cancellation import delay, end, in_turn

__all__ = ["map"]

_T = TypeVar("_T")
_R = TypeVar("_R")


@if_several(_one_by_one.feeds)
class _Feed(Generic[_T, _R]):
    """Calls a function for items, a limited number at a time."""

    #: Makes the key of a call, which is also its place. Without it, the key is a number and the
    #: place is None.
    _new_place: type[Any] | None = None
    #: The places of the calls, in the order of the items.
    _places: Any

    def __init__(
        self,
        function: Callable[[_T], Any],
        items: Iterable[_T] | AsyncIterable[_T],
        limit: int,
        return_exceptions: bool,
    ) -> None:
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"limit must be an int >= 1, not {limit!r}")
        if not callable(function):
            raise TypeError(f"function must be callable, not {function!r}")
        self._function = function
        self._limit = limit
        self._return_exceptions = return_exceptions
        if isinstance(items, deferred_types()):
            # Iterating over a Deferred waits for it, which only a generator or coroutine can do.
            raise TypeError(f"expect an iterable of items, not {type(items).__name__}: wait for it")
        self._is_async = hasattr(type(items), "__aiter__")
        # Raises TypeError if `items` is not iterable.
        self._iterator: Any = items.__aiter__() if self._is_async else iter(items)  # type: ignore[union-attr,arg-type]
        self._exhausted = False
        #: Whether the rest has to be cancelled, and whether that is being done.
        self._stopped = self._stopping = False
        #: The reason for that, if one was given.
        self._reason: object = None
        #: The Deferred of the end of the items, while it is waited for.
        self._closing: Deferred[Any] | None = None
        #: The Deferred of the next item, while it is waited for.
        self._fetching: Deferred[Any] | None = None
        self._feeding = False
        #: Whether there may be more room since the last check.
        self._hungry = False
        #: The item that was taken, until the function is called for it.
        self._taken: list[_T] = []
        #: The error of the iterator, until it has been handled.
        self._broken: Failure | None = None
        #: The calls that are running.
        self._running: dict[Any, Deferred[Any]] = {}

    def _has_room(self) -> bool:
        raise NotImplementedError

    def _ended(self, call: Any, result: Any) -> None:
        """Handle the result of a call."""
        raise NotImplementedError

    def _failed(self, failure: Failure) -> None:
        """Handle an error of the iterator."""
        raise NotImplementedError

    def _fed(self) -> None:
        """Finish if nothing is left to do."""

    @_whole
    def _feed(self) -> None:
        """Begin calls while there is room. This does not run again inside itself."""
        if _within(self, "_feeding", self._make_calls):
            self._fed()

    @_whole
    def _make_calls(self) -> None:
        # `_end_call` takes items, too, and this step may be a repetition.
        self._see_whether_broken()
        if self._is_async:
            in_a_row = 0
            while not self._exhausted and self._fetching is None and self._has_room():
                in_a_row += 1
                _begin_fetch(self, self._iterator, as_deferred, end, in_a_row)
                self._see_whether_broken()
        else:
            iterator = self._iterator
            while self._taken or (not self._exhausted and self._has_room()):
                _begin_calls(self, iterator, end)
                self._see_whether_broken()
                if self._taken and self._stopped:
                    # The iterator itself has stopped the feed, and could not be closed while it
                    # ran.
                    self._close_items()
                    self._taken.clear()
        self._hungry = False

    def _see_whether_broken(self) -> None:
        """Stop if the iterator has failed."""
        if self._broken is not None:
            self._failed(self._broken)
            self._broken = None

    @_owed
    def _fetched(self, result: Any, fetching: Deferred[Any]) -> None:
        if not is_failure(result):
            if not self._exhausted:
                _take_fetched(self, result, fetching)
            if self._taken:
                _begin_call(self, end)
        elif result.check(StopAsyncIteration):
            self._exhausted = True
        elif not self._exhausted:
            self._broken = result
            self._exhausted = True
        if self._fetching is fetching:
            # Otherwise the next item has been asked for already.
            self._fetching = None
        self._see_whether_broken()
        if self._stopped:
            self._close_items()
        self._feed()

    @_owed
    def _call_ended(self, result: Any, call: Any) -> None:
        self._see_to_end(result, call)

    def _see_to_end(self, result: Any, call: Any) -> None:
        self._running.pop(call, None)
        self._ended(call, result)
        if not self._feeding:
            self._feed()

    @_whole
    def _stop(self) -> None:
        """Take no more items, and cancel the running calls."""
        self._exhausted = self._stopped = True
        if not self._stopping:
            _within(self, "_stopping", self._end_rest)

    @_whole
    def _end_rest(self) -> None:
        if self._fetching is None:
            self._close_items()
        else:
            # The iterator is closed when that has ended.
            _once(vars(self), "fetching is ended", _end_all, (self._fetching,), self._reason, end)
        _once(vars(self), "rest is ended", _end_all, self._running.values(), self._reason, end)

    def _close_items(self) -> None:
        """Close the iterator: a generator runs its `finally` now."""
        iterator = self._iterator
        running = "ag_running" if self._is_async else "gi_running"
        # An iterator that is running is closed later.
        if iterator is not None and not getattr(iterator, running, False):
            self._close(iterator)
        self._iterator = None

    def _close(self, iterator: Any) -> None:
        _once(vars(self), "items are closed", _begin_close, self, iterator, as_deferred)
        self._see_whether_broken()

    @_owed
    def _items_closed(self, result: Any) -> None:
        if self._closing is not None:
            if is_failure(result) and not was_cancelled(result):
                self._broken = result
            self._closing = None
        self._see_whether_broken()
        self._fed()

    def _is_busy(self) -> bool:
        """Return whether anything is still running."""
        return bool(
            self._running
            or self._feeding
            or self._stopping
            or self._fetching is not None
            or self._closing is not None
            or not self._exhausted
        )


@overload
def map(
    function: Callable[[_T], Eventual[_R]],
    items: Iterable[_T] | AsyncIterable[_T],
    *,
    limit: int,
    return_exceptions: Literal[False] = False,
) -> Deferred[list[_R]]: ...
@overload
def map(
    function: Callable[[_T], _R],
    items: Iterable[_T] | AsyncIterable[_T],
    *,
    limit: int,
    return_exceptions: Literal[False] = False,
) -> Deferred[list[_R]]: ...
@overload
def map(
    function: Callable[[_T], Eventual[_R]],
    items: Iterable[_T] | AsyncIterable[_T],
    *,
    limit: int,
    return_exceptions: bool,
) -> Deferred[list[_R | BaseException]]: ...
@overload
def map(
    function: Callable[[_T], _R],
    items: Iterable[_T] | AsyncIterable[_T],
    *,
    limit: int,
    return_exceptions: bool,
) -> Deferred[list[_R | BaseException]]: ...
def map(
    function: Callable[[_T], Any],
    items: Iterable[_T] | AsyncIterable[_T],
    *,
    limit: int,
    return_exceptions: bool = False,
) -> Deferred[list[Any]]:
    """Call a function for each item, with at most `limit` calls running at the same time.

    Returns a Deferred for the list of the results, in the order of the items. The function may
    return a Deferred, a coroutine or a value. `items` may be an asynchronous iterable. An item is
    only taken when another call can start. For endless items, use `stream`.

    If a call fails, no more items are taken, and the running calls are cancelled. When they have
    ended, the Deferred fails with the same exception. With `return_exceptions`, the list contains
    exceptions as well as results. Cancelling the Deferred also cancels the running calls, and the
    Deferred fails when they have ended.

    Errors:

    - ValueError: `limit` is not a positive int.
    - TypeError: `function` is not callable, or `items` is not iterable.

    ```python
    from deferrous import concurrency, succeed

    d = concurrency.map(lambda number: succeed(2 * number), range(5), limit=2)
    d.addCallback(print)
    ```

    This prints [0, 2, 4, 6, 8].
    """
    return _Map(function, items, limit, return_exceptions).begin()


@if_several(_one_by_one.maps)
class _Map(_Feed[_T, _R]):
    def begin(self) -> Deferred[list[_R]]:
        self._places: list[Any] = []
        self._failure: Failure | None = None
        deferred: Deferred[list[_R]] = Delayed(self._cancel)
        self._deferred: Any = deferred
        _do(self._feed)
        return deferred

    def _has_room(self) -> bool:
        return len(self._running) < self._limit

    @_owed
    def _call_ended(self, result: Any, call: Any) -> None:
        if not _end_call(self, result, call, end):
            self._see_to_end(result, call)

    def _ended(self, call: int, result: Any) -> None:
        if self._deferred is None:
            # This step is being repeated, and everything has ended meanwhile.
            return
        if not is_failure(result):
            self._places[call] = result
        elif self._return_exceptions:
            self._places[call] = result.value
        else:
            self._failed(result)

    def _failed(self, failure: Failure) -> None:
        if self._failure is None:
            self._failure = failure
        if self._failure is failure:
            self._stop()

    @takes_reason
    @_owed
    def _cancel(self, deferred: Deferred[Any], reason: object = None) -> None:
        # It fails now, but its callbacks run only when everything has ended.
        delay(deferred, reason)
        self._reason = reason
        self._return_exceptions = True
        self._stop()
        self._fed()

    def _fed(self) -> None:
        deferred = self._deferred
        if deferred is None or self._is_busy():
            return
        marks, failure = vars(deferred), self._failure
        if "_is_delayed" in marks:
            if failure is not None:
                # Closing the iterator has failed. Nobody else would see that, so it is reported.
                _once(marks, "_is_reported", fail, failure)
            _once(marks, "_has_ended", in_turn, deferred.unpause)
        elif not deferred.called:
            _hand_over(deferred, self._places if failure is None else failure)
        self._deferred = self._failure = None
        self._places = []
