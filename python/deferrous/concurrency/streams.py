"""`stream`: iterates over the results of a function for many items."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, Literal, TypeVar, overload

from .._deferrous import Deferred, _do, _hand_out, _owed, _take_returned, fail
from ..failure import Failure
from . import _one_by_one
from ._base import Eventual, is_failure
from ._several import if_several
from .mapping import _Feed
from .queues import _Getters

__all__ = ["Stream", "stream"]

_T = TypeVar("_T")
_R = TypeVar("_R")


@overload
def stream(
    function: Callable[[_T], Eventual[_R]],
    items: Iterable[_T] | AsyncIterable[_T],
    *,
    limit: int,
    return_exceptions: Literal[False] = False,
) -> Stream[_R]: ...


@overload
def stream(
    function: Callable[[_T], _R],
    items: Iterable[_T] | AsyncIterable[_T],
    *,
    limit: int,
    return_exceptions: Literal[False] = False,
) -> Stream[_R]: ...


@overload
def stream(
    function: Callable[[_T], Eventual[_R]],
    items: Iterable[_T] | AsyncIterable[_T],
    *,
    limit: int,
    return_exceptions: bool,
) -> Stream[_R | BaseException]: ...


@overload
def stream(
    function: Callable[[_T], _R],
    items: Iterable[_T] | AsyncIterable[_T],
    *,
    limit: int,
    return_exceptions: bool,
) -> Stream[_R | BaseException]: ...


def stream(
    function: Callable[[_T], Any],
    items: Iterable[_T] | AsyncIterable[_T],
    *,
    limit: int,
    return_exceptions: bool = False,
) -> Stream[Any]:
    """Call a function for each item, and iterate over the results with `async for`.

    This works like `map`, but it gives you the results one by one, in the order of the items. The
    items may be endless. There are never more than `limit` running calls and waiting results
    together. No call starts before you ask for the first result. If a call fails, its exception is
    raised in the place of its result, the running calls are cancelled, and the stream ends. To stop
    earlier, call `close()`.

    ```python
    import itertools

    from deferrous import concurrency, ensureDeferred, succeed

    async def show():
        async for square in concurrency.stream(lambda n: n**2, itertools.count(), limit=3):
            if square > 5:
                break
            print(square)

    ensureDeferred(show())
    ```

    This prints 0, 1 and 4.
    """
    return Stream(function, items, limit, return_exceptions)


class _Call:
    """A call of a stream. Its failure is reported if nobody takes it."""

    __slots__ = ("cause", "is_done", "result")

    def __init__(self) -> None:
        #: The error of the iterator, if this stands for that error instead of a call.
        self.cause: Failure | None = None
        self.is_done = False
        self.result: Any = None

    def finish(self, result: Any) -> None:
        if not is_failure(result):
            self.result = result
        elif self.result is None:
            self.result = fail(result)
        self.is_done = True


@if_several(_one_by_one.streams)
class Stream(_Feed[Any, _R], _Getters[_R]):
    """The asynchronous iterator that `stream` returns. From callbacks, call `__anext__`.

    ```python
    from deferrous import concurrency, ensureDeferred


    async def main():
        async for length in concurrency.stream(len, ["a", "bb"], limit=2):
            print(length)


    ensureDeferred(main())
    ```

    This prints 1 and 2.
    """

    _new_place = _Call

    def __init__(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any] | AsyncIterable[Any],
        limit: int,
        return_exceptions: bool,
    ) -> None:
        _Feed.__init__(self, function, items, limit, return_exceptions)
        _Getters.__init__(self)
        #: The calls whose results have not been taken yet, in order.
        self._calls: deque[_Call] = deque()
        self._places = self._calls

    def __aiter__(self) -> AsyncIterator[_R]:
        return self

    def __anext__(self) -> Deferred[_R]:
        _do(self._feed)
        returned: Deferred[_R] | None = _take_returned(self)
        if returned is not None:
            return returned
        flush = self._flush
        deferred = self._wait(True)
        try:
            _do(flush)
        except MemoryError:
            # That is done again. An item for one that nobody has would be lost.
            pass
        return deferred

    def close(self) -> None:
        """Take no more items, cancel the running calls, and end the iteration of waiters."""
        _do(self._close_all)

    @_owed
    def _close_all(self) -> None:
        self._calls.clear()
        self._returned.clear()
        self._stop()
        self._flush()

    def _has_room(self) -> bool:
        return len(self._calls) + len(self._returned) < self._limit

    def _ended(self, call: Any, result: Any) -> None:
        if self._stopped:
            # Nobody will ask for the result.
            return
        if is_failure(result) and self._return_exceptions:
            result = result.value
        call.finish(result)

    def _failed(self, failure: Failure) -> None:
        if self._calls and self._calls[-1].cause is failure:
            return
        call = _Call()
        call.cause = failure
        call.finish(failure)
        self._calls.append(call)

    def _fed(self) -> None:
        self._flush()

    @_owed
    def _flush(self) -> None:
        """Hand results over to the waiters, in order."""
        while (self._hungry and not self._feeding) or _hand_out(self):
            self._feed()
        if not self._calls and not self._is_busy():
            self._end()
