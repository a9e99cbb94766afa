"""Many at once: waiting for several, and calling a function for many items."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Generic, Literal, TypeVar, overload
from weakref import WeakKeyDictionary

from .._clock import AnyClock, resolve, start
from .._deferrous import (
    CancelledError,
    Deferred,
    DeferredList,
    _Fifo,
    _fire_all,
    _first_waiting,
    _hand_over,
    _Place,
    _wait_in,
    fail,
    gatherResults,
    maybeDeferred,
    succeed,
)
from .._gathering import FirstError
from ..failure import Failure
from ._base import (
    Eventual,
    TimeoutError,
    as_deferred,
    discard,
    is_done,
    was_cancelled,
)
from .cancellation import _Delayed, _pass_on
from .queues import _Getters

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "AsCompleted",
    "Stream",
    "as_completed",
    "gather",
    "map",
    "stream",
    "wait",
]

_T = TypeVar("_T")
_R = TypeVar("_R")

#: For `wait`: until the first has a result, or all.
FIRST_COMPLETED: Literal["FIRST_COMPLETED"] = "FIRST_COMPLETED"
#: For `wait`: until the first has failed, or all have a result.
FIRST_EXCEPTION: Literal["FIRST_EXCEPTION"] = "FIRST_EXCEPTION"
#: For `wait`: until all have a result.
ALL_COMPLETED: Literal["ALL_COMPLETED"] = "ALL_COMPLETED"


# ---------------------------------------------------------------------------------------------
# Looking on


class _Watch:
    """Looks on at a Deferred on behalf of many, with one place in its chain."""

    __slots__ = ("_seen", "_watching")

    def __init__(self) -> None:
        self._watching: dict[Callable[[Deferred[Any], Any], object], None] = {}

    def __call__(self, result: Any, deferred: Deferred[Any]) -> Any:
        del _watches[deferred]
        watching, self._watching = self._watching, {}
        tell(watching, deferred, result)
        return result


def tell(
    watching: Iterable[Callable[[Deferred[Any], Any], object]], deferred: Deferred[Any], result: Any
) -> None:
    """Tell these of a Deferred's result, in a callback of its own.

    Whoever awaits it then gets its failure, and would not have handled it: it comes to rest on that
    later. So it is paused meanwhile, and who awaits it stands in line for the failure.
    """
    failed = isinstance(result, Failure)
    if failed:
        deferred.pause()
    try:
        for see in watching:
            see(deferred, result)
    finally:
        if failed:
            deferred.unpause()


_watches: WeakKeyDictionary[Deferred[Any], _Watch] = WeakKeyDictionary()


def watch(deferred: Deferred[Any], see: Callable[[Deferred[Any], Any], object]) -> None:
    """Have a function called with a Deferred that has no result yet, and its result, once it has.

    The result stays where it is. What it is called for is undone by `unwatch`, in constant time.
    """
    it = _watches.get(deferred)
    if it is None:
        it = _watches[deferred] = _Watch()
        it._watching[see] = None
        deferred.addBoth(it, deferred)
    else:
        it._watching[see] = None


def unwatch(deferred: Deferred[Any], see: Callable[[Deferred[Any], Any], object]) -> None:
    """Do not call a function any more."""
    it = _watches.get(deferred)
    if it is not None:
        it._watching.pop(see, None)


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


# ---------------------------------------------------------------------------------------------
# wait


def wait(
    eventuals: Iterable[Eventual[_T]],
    *,
    timeout: float | None = None,
    return_when: str = ALL_COMPLETED,
    clock: AnyClock | None = None,
) -> Deferred[tuple[set[Deferred[_T]], set[Deferred[_T]]]]:
    """Wait for several Deferreds, for the first, or for all.

    As `asyncio.wait`: returns a Deferred that fires with a set of those that have a result and a
    set of those that have none. These keep their results. It neither fails if they do, nor when
    time runs out, nor are they cancelled. `return_when` is `FIRST_COMPLETED`, `FIRST_EXCEPTION` or
    `ALL_COMPLETED`.

    Raises TypeError or ValueError for anything else, and ValueError if there is none to wait for.

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
    clock = None if timeout is None else resolve(clock)
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
            self.stop = start(clock, timeout, self.finish)
        return deferred

    def is_enough(self, deferred: Deferred[Any], result: Any) -> bool:
        self.done.add(deferred)
        if self.return_when == FIRST_COMPLETED:
            return True
        return self.return_when == FIRST_EXCEPTION and is_error(result)

    def result(self) -> tuple[set[Deferred[Any]], set[Deferred[Any]]]:
        return self.done, {each for each in self.deferreds if each not in self.done}

    def see(self, deferred: Deferred[Any], result: Any) -> None:
        if self.deferred is not None:
            if self.is_enough(deferred, result) or len(self.done) == len(self.deferreds):
                self.finish()

    def let_go(self) -> None:
        for each in self.deferreds:
            if each not in self.done:
                unwatch(each, self.see)
        if self.stop is not None:
            self.stop()
            self.stop = None

    def finish(self) -> None:
        deferred, self.deferred = self.deferred, None
        if deferred is None:
            return
        self.let_go()
        _hand_over(deferred, self.result())

    def cancel(self, _: Any) -> None:
        self.deferred = None
        self.let_go()


def is_error(result: object) -> bool:
    """Return whether a result is a failure, and not that of something cancelled."""
    return isinstance(result, Failure) and not was_cancelled(result)


# ---------------------------------------------------------------------------------------------
# as_completed


def as_completed(
    eventuals: Iterable[Eventual[_T]],
    *,
    timeout: float | None = None,
    clock: AnyClock | None = None,
) -> AsCompleted[_T]:
    """Go through Deferreds in the order in which they come to a result.

    As `asyncio.as_completed`. With `async for`, each is the Deferred itself: await it. With `for`,
    each is another Deferred, for the result of the next that comes to one. If time runs out, all
    that have not come to a result by then are a `TimeoutError`. None is cancelled.

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
    clock = None if timeout is None else resolve(clock)
    return AsCompleted(_several(eventuals), timeout, clock)


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
        self._to_give -= 1
        given: Deferred[_T] = _wait_in(self._waiting, self, False)
        if self._done:
            self._waiting.remove(given)
            self._done.popleft().addBoth(_pass_on, given)
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

    def _see(self, deferred: Deferred[_T], _: Any) -> None:
        self._missing.pop(deferred, None)
        if not self._missing and self._stop is not None:
            self._stop()
            self._stop = None
        self._done.append(deferred)
        self._wake()

    def _wake(self) -> None:
        while self._done:
            first = _first_waiting(self._waiting)
            if first is None:
                return
            place: Any = first._canceller
            if place.what:
                # It comes for one itself.
                _hand_over(first, None)
                if not self._missing:
                    self._wake_rest()
                return
            self._done.popleft().addBoth(_pass_on, first)
        if not self._missing:
            self._wake_rest()

    def _wake_rest(self) -> None:
        """Nothing more will come: have those that come for one see that."""
        waiting, self._waiting = self._waiting, _Fifo()
        _fire_all(waiting, None)

    def _time_out(self) -> None:
        self._stop = None
        self._timed_out = True
        for deferred in self._missing:
            unwatch(deferred, self._see)
        waiting, self._waiting = self._waiting, _Fifo()
        while (each := _first_waiting(waiting)) is not None:
            place: Any = each._canceller
            _hand_over(each, None if place.what else Failure(TimeoutError()))

    def _left(self, place: _Place, _deferred: Deferred[Any]) -> None:
        if not place.what:
            self._to_give += 1

    def _not_taken(self, place: _Place, result: Any, _number: int) -> None:
        if not place.what:
            self._done.appendleft(succeed(result))
            self._to_give += 1
        self._wake()


# ---------------------------------------------------------------------------------------------
# gather


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
    """Return a Deferred for the list of the results of all of these, in their order.

    As `asyncio.gather`. It fails as soon as one of them does, with the same exception; the others
    go on, and what they fail with is dropped. With `return_exceptions`, exceptions are results like
    any other. With `cancel_losers` the others are cancelled when one fails, and the Deferred fails
    when they have ended. Cancelling the Deferred cancels all.

    Raises TypeError for what cannot be waited for; then none is begun.

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
    return gatherResults(deferreds, consumeErrors=True).addErrback(_without_place)


def _without_place(failure: Failure) -> Failure:
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure


class _Gathered(DeferredList[Any]):
    """A DeferredList that, if it was cancelled itself, fails."""

    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = not self.called or self.is_cancelled
        super().cancel()

    def results(self, pairs: list[tuple[bool, Any]]) -> list[Any]:
        if self.is_cancelled:
            raise CancelledError
        return [value if success else value.value for success, value in pairs]


class _Losers:
    """Gathers Deferreds; when one fails, the others are cancelled."""

    failure: Failure | None = None
    deferreds: list[Deferred[Any]] | None

    def begin(self, deferreds: list[Deferred[Any]]) -> Deferred[list[Any]]:
        self.deferreds = deferreds
        for deferred in dict.fromkeys(deferreds):
            deferred.addErrback(self.lost)
        gathered: Deferred[Any] = DeferredList(deferreds, consumeErrors=True)
        return gathered.addCallback(self.results)

    def lost(self, failure: Failure) -> Failure:
        if self.failure is None:
            self.failure = failure
            for deferred in self.deferreds or ():
                deferred.cancel()
        return failure

    def results(self, pairs: list[tuple[bool, Any]]) -> Any:
        self.deferreds = None
        failure, self.failure = self.failure, None
        return [value for _, value in pairs] if failure is None else failure


# ---------------------------------------------------------------------------------------------
# map


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
                    except Exception:
                        self._exhausted = True
                        self._failed(Failure())
                    else:
                        self._call(item)
        finally:
            self._feeding = False
        self._fed()

    def _fetch(self) -> None:
        try:
            self._fetching = as_deferred(self._iterator.__anext__())
        except Exception:
            self._exhausted = True
            self._failed(Failure())
        else:
            self._fetching.addBoth(self._fetched)

    def _fetched(self, result: Any) -> None:
        self._fetching = None
        if not isinstance(result, Failure):
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
        deferred.addBoth(self._call_ended, call)

    def _call_ended(self, result: Any, call: Any) -> None:
        del self._running[call]
        self._ended(call, result)
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
                self._fetching.cancel()
            for deferred in list(self._running.values()):
                deferred.cancel()
        finally:
            self._stopping = was_stopping

    def _close_items(self) -> None:
        """Let go of the items: a generator's `finally` runs now."""
        iterator, self._iterator = self._iterator, None
        close = getattr(iterator, "aclose" if self._is_async else "close", None)
        if close is None or getattr(iterator, "gi_running", False):
            return
        if not self._is_async:
            close()
            return
        self._closing = as_deferred(close())
        self._closing.addBoth(self._items_closed)

    def _items_closed(self, result: Any) -> None:
        self._closing = None
        if isinstance(result, Failure) and not was_cancelled(result):
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
    """Call a function for each item, with no more than `limit` under way at a time.

    Returns a Deferred for the list of what it comes to, in the order of the items. The function may
    return a Deferred, a coroutine or a value. `items` may be asynchronous; they are taken as the
    limit allows, never ahead. For endless ones there is `stream`.

    When a call fails, no more items are taken, the calls under way are cancelled, and when they
    have ended, the Deferred fails with the same exception. With `return_exceptions`, exceptions are
    results like any other. Cancelling the Deferred does the same, and it ends when all has.

    Raises ValueError if the limit is not positive, TypeError for what is no function or no items.

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
        if not isinstance(result, Failure):
            self._results[call] = result
        elif self._return_exceptions:
            self._results[call] = result.value
        else:
            self._failed(result)

    def _failed(self, failure: Failure) -> None:
        if self._failure is None:
            self._failure = failure
            self._stop()

    def _cancel(self, deferred: Deferred[Any]) -> None:
        # It has failed here and now, but nobody sees that before all has ended.
        deferred.pause()
        deferred.errback(Failure(CancelledError()))
        self._return_exceptions = True
        self._stop()
        self._fed()

    def _fed(self) -> None:
        deferred = self._deferred
        if deferred is None or self._is_busy():
            return
        self._deferred = None
        results, self._results = self._results, []
        if deferred.paused:
            deferred.unpause()
        elif not deferred.called:
            _hand_over(deferred, results if self._failure is None else self._failure)


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
    """Call a function for each item, and go through what it comes to with `async for`.

    As `map`, but the results come one by one, in the order of the items, and there may be no end to
    these. Calls that are under way, and results that nobody has asked for, are no more than `limit`
    together; nothing is called before the first is asked for. When a call fails, its exception is
    raised where its result would be; the calls under way are cancelled, and that is the end. To
    leave off before, say `close()`.

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

    def __init__(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any] | AsyncIterable[Any],
        limit: int,
        return_exceptions: bool,
    ) -> None:
        _Feed.__init__(self, function, items, limit, return_exceptions)
        _Getters.__init__(self)
        #: The calls whose results are to come, in order.
        self._calls: deque[_Call] = deque()

    def __aiter__(self) -> AsyncIterator[_R]:
        return self

    def __anext__(self) -> Deferred[_R]:
        self._feed()
        if self._returned:
            return succeed(self._returned.pop(0)[1])
        deferred = self._wait(True)
        self._flush()
        return deferred

    def close(self) -> None:
        """Take no more items, and cancel what is under way. Who waits is told that it is over."""
        self._calls.clear()
        self._returned.clear()
        self._stop()
        self._flush()

    def _has_room(self) -> bool:
        return len(self._calls) + len(self._returned) < self._limit

    def _new_call(self) -> Any:
        call = _Call()
        self._calls.append(call)
        return call

    def _ended(self, call: Any, result: Any) -> None:
        if self._stopped:
            # Nobody will ask for it.
            return
        if isinstance(result, Failure) and self._return_exceptions:
            result = result.value
        call.finish(result)

    def _failed(self, failure: Failure) -> None:
        call = _Call()
        call.finish(failure)
        self._calls.append(call)

    def _fed(self) -> None:
        self._flush()

    def _flush(self) -> None:
        """Hand over what is there, in order, to those that wait for it."""
        while self._getting and self._calls and self._calls[0].is_done:
            getter = _first_waiting(self._getting)
            if getter is None:
                return
            result = self._calls.popleft().take()
            if isinstance(result, Failure):
                self._calls.clear()
                self._stop()
            _hand_over(getter, result)
            self._feed()
        if not self._calls and not self._is_busy():
            self._end()


class _Call:
    """A call of a stream. What it fails with is reported if nobody takes it."""

    __slots__ = ("is_done", "result")

    def __init__(self) -> None:
        self.is_done = False
        self.result: Any = None

    def finish(self, result: Any) -> None:
        self.is_done = True
        self.result = fail(result) if isinstance(result, Failure) else result

    def take(self) -> Any:
        result, self.result = self.result, None
        if isinstance(result, Deferred):
            taken: list[Any] = []
            result.addErrback(taken.append)
            return taken[0]
        return result
