"""Calling a function for many items, so many at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Generic, Literal, TypeVar, overload

from .._deferrous import (
    CancelledError,
    Deferred,
    _hand_over,
    _never_refused,
    fail,
    maybeDeferred,
)
from ..failure import Failure
from ._base import Eventual, as_deferred, is_failure, was_cancelled
from .cancellation import _Delayed, end_all, in_turn

__all__ = ["map"]

_T = TypeVar("_T")
_R = TypeVar("_R")


class _Feed(Generic[_T, _R]):
    """Calls a function for items, so many at a time."""

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
        self._is_async = hasattr(type(items), "__aiter__")
        # Raises TypeError for what are no items.
        self._iterator: Any = items.__aiter__() if self._is_async else iter(items)  # type: ignore[union-attr,arg-type]
        self._exhausted = False
        #: Whether the rest is to be cancelled, and whether that is being done.
        self._stopped = self._stopping = False
        #: The Deferred of the end of the items, while it is waited for.
        self._closing: Deferred[Any] | None = None
        #: The Deferred of the next item, while it is waited for.
        self._fetching: Deferred[Any] | None = None
        self._feeding = False
        #: What is under way.
        self._running: dict[Any, Deferred[Any]] = {}

    def _has_room(self) -> bool:
        raise NotImplementedError

    def _new_call(self) -> Any:
        """Make a note of a call that is about to be made."""
        raise NotImplementedError

    def _ended(self, call: Any, result: Any) -> None:
        """Do what is to be done with the result of a call."""
        raise NotImplementedError

    def _failed(self, failure: Failure) -> None:
        """The items have failed."""
        raise NotImplementedError

    def _fed(self) -> None:
        """See whether that was all."""

    def _feed(self) -> None:
        """Make calls as far as there is room. What they do at once does not get in here again."""
        if self._feeding:
            return
        self._feeding = True
        try:
            if self._is_async:
                while not self._exhausted and self._fetching is None and self._has_room():
                    self._fetch()
            else:
                iterator = self._iterator
                while not self._exhausted and self._has_room():
                    try:
                        item = next(iterator)
                    except StopIteration:
                        self._exhausted = True
                    except BaseException:
                        self._exhausted = True
                        self._failed(Failure())
                    else:
                        if self._stopped:
                            # It has been stopped by its own items, which could not be closed then.
                            self._close(iterator)
                        else:
                            self._call(item)
        finally:
            self._feeding = False
            self._fed()

    def _fetch(self) -> None:
        iterator = self._iterator
        try:
            fetching = as_deferred(iterator.__anext__())
        except BaseException:
            self._exhausted = True
            self._failed(Failure())
            return
        self._fetching = fetching
        if self._stopped:
            # As for those that are not asynchronous.
            self._iterator = iterator
            end_all((fetching,))
        fetching.addBoth(self._fetched)

    @_never_refused
    def _fetched(self, result: Any) -> None:
        self._fetching = None
        if not is_failure(result):
            if not self._exhausted:
                self._call(result)
        elif result.check(StopAsyncIteration):
            self._exhausted = True
        elif not self._exhausted:
            self._exhausted = True
            self._failed(result)
        if self._stopped:
            self._close_items()
        self._feed()

    def _call(self, item: _T) -> None:
        call = self._new_call()
        deferred = maybeDeferred(self._function, item)
        self._running[call] = deferred
        if self._stopped:
            # The function has done that, or what it has called.
            end_all((deferred,))
        deferred.addBoth(self._call_ended, call)

    @_never_refused
    def _call_ended(self, result: Any, call: Any) -> None:
        del self._running[call]
        try:
            self._ended(call, result)
        finally:
            if not self._feeding:
                self._feed()

    def _stop(self) -> None:
        """Take no more items, and cancel what is under way."""
        self._exhausted = self._stopped = True
        was_stopping, self._stopping = self._stopping, True
        try:
            if self._fetching is None:
                self._close_items()
            else:
                # The items are closed when that has ended.
                end_all((self._fetching,))
            end_all(self._running.values())
        finally:
            self._stopping = was_stopping

    def _close_items(self) -> None:
        """Let go of the items: a generator's `finally` runs now."""
        iterator, self._iterator = self._iterator, None
        running = "ag_running" if self._is_async else "gi_running"
        # One that runs is closed when it is through.
        if iterator is not None and not getattr(iterator, running, False):
            self._close(iterator)

    def _close(self, iterator: Any) -> None:
        close = getattr(iterator, "aclose" if self._is_async else "close", None)
        if close is None:
            return
        try:
            closing = as_deferred(close()) if self._is_async else close()
        except BaseException:
            self._failed(Failure())
            return
        if self._is_async:
            self._closing = closing
            closing.addBoth(self._items_closed)

    @_never_refused
    def _items_closed(self, result: Any) -> None:
        self._closing = None
        if is_failure(result) and not was_cancelled(result):
            self._failed(result)
        self._fed()

    def _is_busy(self) -> bool:
        """Return whether anything is still to end."""
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

    Raises ValueError if the limit is not positive, and TypeError if `function` is not callable or
    `items` is not iterable.

    ```python
    from deferrous import concurrency, succeed

    d = concurrency.map(lambda number: succeed(2 * number), range(5), limit=2)
    d.addCallback(print)
    ```

    This prints [0, 2, 4, 6, 8].
    """
    return _Map(function, items, limit, return_exceptions).begin()


class _Map(_Feed[_T, _R]):
    def begin(self) -> Deferred[list[_R]]:
        self._results: list[Any] = []
        self._failure: Failure | None = None
        deferred: Deferred[list[_R]] = _Delayed(self._cancel)
        self._deferred: Any = deferred
        self._feed()
        return deferred

    def _has_room(self) -> bool:
        return len(self._running) < self._limit

    def _new_call(self) -> int:
        self._results.append(None)
        return len(self._results) - 1

    def _ended(self, call: int, result: Any) -> None:
        if not is_failure(result):
            self._results[call] = result
        elif self._return_exceptions:
            self._results[call] = result.value
        else:
            self._failed(result)

    def _failed(self, failure: Failure) -> None:
        if self._failure is None:
            self._failure = failure
            self._stop()

    @_never_refused
    def _cancel(self, deferred: Deferred[Any]) -> None:
        # It has failed here and now, but nobody sees that before all has ended.
        deferred.pause()
        deferred.errback(Failure(CancelledError()))
        self._return_exceptions = True
        try:
            self._stop()
        finally:
            self._fed()

    def _fed(self) -> None:
        deferred = self._deferred
        if deferred is None or self._is_busy():
            return
        self._deferred = None
        results, self._results = self._results, []
        failure, self._failure = self._failure, None
        if not deferred.called:
            _hand_over(deferred, results if failure is None else failure)
            return
        if failure is not None:
            # The items have failed while they were closed, and nobody asks: it is reported.
            fail(failure)
        if deferred.paused:
            in_turn(deferred.unpause)
