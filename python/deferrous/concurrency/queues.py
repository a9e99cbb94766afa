"""Queues whose `put` may wait.

They depend on no event loop. Waiters are served in the order in which they came. If an asyncio task
is cancelled after it was given an item and before it runs, the item goes back to the front.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, ClassVar, Generic, TypeVar

from .._deferrous import (
    Deferred,
    _end_getting,
    _Fifo,
    _finish,
    _never_refused,
    _not_taken,
    _Place,
    _put_in,
    _shut_down,
    _take,
    _wait_in,
    fail,
    succeed,
)
from ..failure import Failure
from . import _several
from ._base import (
    ChannelClosed,
    QueueEmpty,
    QueueFull,
    QueueShutDown,
    check_count,
    check_depth,
    is_a,
)
from ._several import if_several

__all__ = [
    "LifoQueue",
    "PriorityQueue",
    "Queue",
]

_T = TypeVar("_T")


#: Types that cannot be the result of a Deferred, and so cannot be items.
_NO_ITEMS = (Deferred, Failure)


def _no_item(item: object) -> TypeError:
    return TypeError(f"a {type(item).__name__} cannot be an item: put it into a tuple")


@if_several(_several.getters)
class _Getters(Generic[_T]):
    """The waiters for items, and the items that cancelled waiters have given back."""

    #: The class of the error that is raised when there will be no more items.
    _over: type[Exception] = ChannelClosed

    def __init__(self) -> None:
        self._getting: _Fifo[Deferred[_T]] = _Fifo()
        #: Each with the number of its hand-over.
        self._returned: list[tuple[int, _T]] = []

    def _wait(self, iterating: bool) -> Deferred[_T]:
        return _wait_in(self._getting, self, iterating)

    def _end(self) -> None:
        """Fail all waiters: there will be no more items."""
        _end_getting(self, self._over)

    #: Takes back an item whose receiver was cancelled before it got the item.
    _not_taken: Callable[[_Place, Any, int], None] = staticmethod(_never_refused(_not_taken))


@if_several(_several.queues)
class Queue(_Getters[_T]):
    """A first-in, first-out queue. `put` waits while it is full, `get` while it is empty.

    This works like `asyncio.Queue`. `maxsize` is the number of items that it can hold. Zero or less
    means that there is no limit. If a `get` is waiting, it receives a new item at once. `async for`
    takes items until the queue is shut down.

    ```python
    from deferrous import concurrency

    queue = concurrency.Queue(maxsize=1)
    queue.put("one")
    queue.put("other").addCallback(lambda _: print("there is room"))
    queue.get().addCallback(print)
    ```

    This prints there is room, and one.
    """

    _over = QueueShutDown
    #: The method of the container that takes out the next item. Empty for a heap; None if a
    #: subclass has its own `_get` or `_put`.
    _way: str | None = "popleft"
    #: Whether a subclass has methods of its own that asyncio's `put` and `get` call.
    _asks = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "_way" not in vars(cls):
            cls._way = next((kind._way for kind in _OURS if _is_as(cls, kind)), None)
        cls._asks = cls._way is None

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__()
        check_count("maxsize", maxsize, -inf)
        self._maxsize = maxsize
        # In the instance, because attributes of the class are found more slowly.
        self._asks = type(self)._asks
        self._putting: _Fifo[Deferred[None]] = _Fifo()
        self._joining: _Fifo[Deferred[None]] = _Fifo()
        self._unfinished = 0
        self._is_shut_down = self._is_shut_at_once = False
        #: For the items at the front that were given back: the numbers of their hand-overs.
        self._numbers: list[int] = []
        self._init(maxsize)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.qsize()}, {len(self._getting)} getting, "
            f"{len(self._putting)} putting>"
        )

    # Methods that subclasses may override, with asyncio's names.

    def _init(self, maxsize: int) -> None:
        self._queue: Any = deque()

    def _get(self) -> _T:
        if self._numbers:
            del self._numbers[0]
        item: _T = self._queue.popleft()
        return item

    def _put(self, item: _T) -> None:
        self._queue.append(item)

    def _insert(self, place: int, item: _T) -> None:
        """Put an item back at the front, behind `place` others that were given back.

        A subclass that stores its items in another way has no such place.
        """
        if type(self)._init is Queue._init:
            self._queue.insert(place, item)
        else:
            self._numbers.clear()
            self._put(item)

    # Methods of all queues.

    @property
    def maxsize(self) -> int:
        """The number of items that the queue can hold. Zero or less means no limit."""
        return self._maxsize

    def qsize(self) -> int:
        """Return the number of items in the queue."""
        return len(self._queue)

    def empty(self) -> bool:
        """Return whether the queue is empty."""
        return not self._queue

    def full(self) -> bool:
        """Return whether `put` would have to wait."""
        return 0 < self._maxsize <= self.qsize()

    def put(self, item: _T) -> Deferred[None]:
        """Add an item. Returns a Deferred that fires when there is room for the item.

        Cancelling the Deferred before that removes the item. The Deferred fails with QueueShutDown
        if the queue is shut down before or while it waits.

        Errors:

        - TypeError: the item is a Deferred or a Failure.
        """
        done = succeed(None)
        if self._is_shut_down:
            return fail(QueueShutDown())
        if self.full() if self._asks else 0 < self._maxsize <= len(self._queue):
            if is_a(item, _NO_ITEMS):
                raise _no_item(item)
            return _wait_in(self._putting, None, item)
        if not _put_in(self, self._queue, self._getting, item):
            raise _no_item(item)
        return done

    def put_nowait(self, item: _T) -> None:
        """Add an item, without waiting.

        Errors:

        - QueueFull: there is no room.
        - QueueShutDown: the queue is shut down.
        - TypeError: the item is a Deferred or a Failure.
        """
        if self._is_shut_down:
            raise QueueShutDown
        if is_a(item, _NO_ITEMS):
            raise _no_item(item)
        if self.full():
            raise QueueFull
        _put_in(self, self._queue, self._getting, item)

    def get(self) -> Deferred[_T]:
        """Return a Deferred that fires with the next item.

        Cancelling the Deferred gives up the place in line. It fails with QueueShutDown when the
        queue is shut down and empty.
        """
        if not self.empty() if self._asks else self._queue:
            if self._putting:
                check_depth()
            return _take(self, self._queue, self._putting, True)
        if self._is_shut_down:
            return fail(QueueShutDown())
        return self._wait(False)

    def get_nowait(self) -> _T:
        """Return the next item, without waiting.

        Errors:

        - QueueEmpty: there is no item.
        - QueueShutDown: the queue is shut down and empty.
        """
        if self.empty() if self._asks else not self._queue:
            raise QueueShutDown if self._is_shut_down else QueueEmpty
        if self._putting:
            check_depth()
        # One native step, which a signal's exception cannot interrupt.
        return _take(self, self._queue, self._putting, False)  # type: ignore[no-any-return]

    def task_done(self) -> None:
        """Say that the work on an item is done. `join` waits for that.

        Errors:

        - ValueError: this is called more often than items were added.
        """
        if self._unfinished <= 0:
            raise ValueError("task_done() called too many times")
        if self._joining:
            check_depth()
        _finish(self, 1)

    def join(self) -> Deferred[None]:
        """Return a Deferred that fires when the work on all items is done."""
        if not self._unfinished:
            return succeed(None)
        return _wait_in(self._joining, None, self)

    def shutdown(self, immediate: bool = False) -> None:
        """Accept no more items. Unless this is `immediate`, remaining items can still be taken.

        All waiting callers fail with QueueShutDown, and `async for` ends.
        """
        check_depth()
        _shut_down(self, bool(immediate), QueueShutDown)

    def __aiter__(self) -> Queue[_T]:
        return self

    def __anext__(self) -> Deferred[_T]:
        if not self.empty() if self._asks else self._queue:
            if self._putting:
                check_depth()
            return _take(self, self._queue, self._putting, True)
        if self._is_shut_down:
            return fail(StopAsyncIteration())
        return self._wait(True)


#: Our own classes of queues, for which the native steps are exact.
_OURS: list[type[Queue[Any]]] = [Queue]


def _is_as(kind: type[Queue[Any]], ours: type[Queue[Any]]) -> bool:
    """Return whether a class stores its items as one of ours does, and overrides nothing else."""
    names = ("_init", "_get", "_put", "full", "empty", "qsize")
    return all(getattr(kind, name) is getattr(ours, name) for name in names)


def _place_of(heap: list[Any], item: object) -> int | None:
    return next((at for at, each in enumerate(heap) if each is item), None)


def _undo_push(heap: list[Any], item: object, count: int) -> None:
    """Remove an item from a heap after a comparison raised while the item was being added.

    The item has moved up from the last place, and others down. They are moved back, without
    comparing. If a comparison changed the heap, the order is lost, but no item.
    """
    way, at = [], count
    while at and len(heap) == count + 1 and heap[at] is not item:
        way.append(at)
        at = (at - 1) >> 1
    if len(heap) == count + 1 and heap[at] is item:
        for below in reversed(way):
            heap[at] = heap[below]
            at = below
        heap.pop()
    elif (place := _place_of(heap, item)) is not None:
        del heap[place]


def _undo_pop(heap: list[Any], first: object, last: object, count: int) -> None:
    """Restore a heap after a comparison raised while its first item was being removed.

    The last item was put into the first place, and has moved down, and others up.
    """
    at = _place_of(heap, last) if len(heap) == count - 1 else None
    if at is None:
        if _place_of(heap, first) is None:
            heap.append(first)
        return
    while at:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[0] = first
    heap.append(last)


class PriorityQueue(Queue[_T]):
    """A queue that returns the smallest item first. Items are often tuples `(priority, data)`.

    ```python
    from deferrous import concurrency

    queue = concurrency.PriorityQueue()
    queue.put((2, "later"))
    queue.put((1, "first"))
    print(queue.get_nowait())
    ```

    This prints `(1, 'first')`.
    """

    _way = ""

    def _init(self, maxsize: int) -> None:
        self._queue = []

    #: Called if a comparison raises while an item is added: removes the item.
    _push: ClassVar[Callable[[list[Any], Any], None]] = staticmethod(heapq.heappush)
    _undo_push: ClassVar[Callable[[list[Any], object, int], None]] = staticmethod(_undo_push)
    #: Called if a comparison raises while an item is removed: puts the item back.
    _pop: ClassVar[Callable[[list[Any]], Any]] = staticmethod(heapq.heappop)
    _undo_pop: ClassVar[Callable[[list[Any], object, object, int], None]] = staticmethod(_undo_pop)

    def _put(self, item: _T) -> None:
        heap = self._queue
        count = len(heap)
        try:
            heapq.heappush(heap, item)
        except BaseException:
            _undo_push(heap, item, count)
            raise

    def _get(self) -> _T:
        heap = self._queue
        count, first, last = len(heap), heap[0], heap[-1]
        try:
            return heapq.heappop(heap)  # type: ignore[no-any-return]
        except BaseException:
            # Then the item stays in the queue.
            _undo_pop(heap, first, last, count)
            raise

    def _insert(self, place: int, item: _T) -> None:
        # The order of its items determines the place.
        self._numbers.clear()
        self._put(item)


class LifoQueue(Queue[_T]):
    """A queue that returns the last item first.

    ```python
    from deferrous import concurrency

    queue = concurrency.LifoQueue()
    queue.put("one")
    queue.put("two")
    print(queue.get_nowait())
    ```

    This prints `two`.
    """

    _way = "pop"

    def _init(self, maxsize: int) -> None:
        self._queue = []

    def _put(self, item: _T) -> None:
        self._queue.append(item)

    def _get(self) -> _T:
        if self._numbers:
            del self._numbers[0]
        item: _T = self._queue.pop()
        return item

    def _insert(self, place: int, item: _T) -> None:
        self._queue.insert(len(self._queue) - place, item)


_OURS += [PriorityQueue, LifoQueue]
