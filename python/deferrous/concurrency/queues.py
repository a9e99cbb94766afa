"""Queues whose `put` may wait, channels, and broadcasts.

They are made of no loop, and may be used under any. Who comes first is served first, and what is
handed over to a task of asyncio that does not come for it stands in front again.
"""

from __future__ import annotations

import heapq
from bisect import bisect, insort
from collections import deque
from typing import Any, Generic, TypeVar

from .._deferrous import (
    Deferred,
    _Fifo,
    _fire_all,
    _first_waiting,
    _give_first,
    _hand_over,
    _Place,
    _wait_in,
    fail,
    succeed,
)
from ..failure import Failure
from ._base import (
    ChannelClosed,
    QueueEmpty,
    QueueFull,
    QueueShutDown,
    fail_all,
)

__all__ = [
    "Broadcast",
    "Channel",
    "LifoQueue",
    "PriorityQueue",
    "Queue",
    "Subscription",
]

_T = TypeVar("_T")


#: What cannot be the result of a Deferred, and so not be handed over.
_NO_ITEMS = (Deferred, Failure)


def _no_item(item: object) -> TypeError:
    return TypeError(f"a {type(item).__name__} cannot be an item: put it into a tuple")


def _number_of(returned: tuple[int, Any]) -> int:
    return returned[0]


class _Getters(Generic[_T]):
    """Those that wait for an item, and those that were given one and did not come for it."""

    #: What is raised when there will never be anything.
    _over: type[Exception] = ChannelClosed

    def __init__(self) -> None:
        self._getting: _Fifo[Deferred[_T]] = _Fifo()
        #: With the numbers of the times at which they were given.
        self._returned: list[tuple[int, _T]] = []

    def _wait(self, iterating: bool) -> Deferred[_T]:
        return _wait_in(self._getting, self, iterating)

    def _end(self) -> None:
        """Tell those that wait that nothing will come."""
        getting, self._getting = self._getting, _Fifo()
        while (getter := _first_waiting(getting)) is not None:
            place: Any = getter._canceller
            _hand_over(getter, Failure(self._error(place.what)))

    def _error(self, iterating: bool) -> Exception:
        return StopAsyncIteration() if iterating else self._over()

    def _not_taken(self, _place: _Place, item: Any, number: int) -> None:
        if not _give_first(self._getting, item):
            self._put_back(number, item)

    def _put_back(self, number: int, item: _T) -> None:
        insort(self._returned, (number, item), key=_number_of)


class Queue(_Getters[_T]):
    """Items, first in, first out. `put` waits while it is full, `get` while it is empty.

    As `asyncio.Queue`. `maxsize` is how much it holds; zero or less is without end. An item goes
    at once to one that waits. `async for` takes items until it is shut down.

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

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__()
        self._maxsize = maxsize
        self._putting: _Fifo[Deferred[None]] = _Fifo()
        self._joining: _Fifo[Deferred[None]] = _Fifo()
        self._unfinished = 0
        self._is_shut_down = self._is_shut_at_once = False
        #: Of those in front that nobody came for: the numbers of when they were given.
        self._numbers: list[int] = []
        self._init(maxsize)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.qsize()}, {len(self._getting)} getting, "
            f"{len(self._putting)} putting>"
        )

    # What subclasses have of their own, under asyncio's names.

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
        """Put an item that nobody came for in front again, behind so many others of these."""
        self._queue.insert(place, item)

    # What all have.

    @property
    def maxsize(self) -> int:
        """How much it holds; zero or less if that is without end."""
        return self._maxsize

    def qsize(self) -> int:
        """Return how many items are in it."""
        return len(self._queue)

    def empty(self) -> bool:
        """Return whether nothing is in it."""
        return not self._queue

    def full(self) -> bool:
        """Return whether `put` would have to wait."""
        return 0 < self._maxsize <= len(self._queue)

    def put(self, item: _T) -> Deferred[None]:
        """Put an item in. Returns a Deferred that fires when there was room for it.

        Cancelling it takes the item away again, as long as it is not in. It fails with
        QueueShutDown if the queue is shut down, or is shut down meanwhile. Raises TypeError if the
        item is a Deferred or a Failure.
        """
        if self._is_shut_down:
            return fail(QueueShutDown())
        if isinstance(item, _NO_ITEMS):
            raise _no_item(item)
        if 0 < self._maxsize <= len(self._queue):
            return _wait_in(self._putting, None, item)
        self._unfinished += 1
        if not (self._getting and _give_first(self._getting, item)):
            self._put(item)
        return succeed(None)

    def put_nowait(self, item: _T) -> None:
        """Put an item in. Raises QueueFull if there is no room, QueueShutDown if it is shut down.

        Raises TypeError if the item is a Deferred or a Failure.
        """
        if self._is_shut_down:
            raise QueueShutDown
        if isinstance(item, _NO_ITEMS):
            raise _no_item(item)
        if self.full():
            raise QueueFull
        self._accept(item)

    def _accept(self, item: _T) -> None:
        self._unfinished += 1
        if not (self._getting and _give_first(self._getting, item)):
            self._put(item)

    def get(self) -> Deferred[_T]:
        """Return a Deferred that fires with the next item.

        Cancelling it gives up waiting. It fails with QueueShutDown if the queue is shut down and
        empty, or gets so.
        """
        if self._queue:
            item = self._get()
            if self._putting:
                self._admit()
            return succeed(item)
        if self._is_shut_down:
            return fail(QueueShutDown())
        return self._wait(False)

    def get_nowait(self) -> _T:
        """Return the next item. Raises QueueEmpty if there is none, QueueShutDown if never."""
        if not self._queue:
            raise QueueShutDown if self._is_shut_down else QueueEmpty
        item = self._get()
        if self._putting:
            self._admit()
        return item

    def _admit(self) -> None:
        """Take in what waits, as far as there is room."""
        while self._putting and not self.full():
            putter = _first_waiting(self._putting)
            if putter is None:
                return
            place: Any = putter._canceller
            self._accept(place.what)
            if not putter.called:
                _hand_over(putter, None)

    def task_done(self) -> None:
        """Say that an item that was got is done with.

        Raises ValueError if there have been more of these than items.
        """
        if self._unfinished <= 0:
            raise ValueError("task_done() called too many times")
        self._done(1)

    def _done(self, number: int) -> None:
        self._unfinished -= number
        if not self._unfinished and self._joining:
            joining, self._joining = self._joining, _Fifo()
            _fire_all(joining, None)

    def join(self) -> Deferred[None]:
        """Return a Deferred that fires when all items that were put in are done with."""
        if not self._unfinished:
            return succeed(None)
        return _wait_in(self._joining, None, self)

    def shutdown(self, immediate: bool = False) -> None:
        """Take nothing any more. What is in it can still be got, unless this is `immediate`.

        All that wait fail with QueueShutDown, and `async for` ends.
        """
        self._is_shut_down = True
        if immediate:
            self._is_shut_at_once = True
            number = 0
            while not self.empty():
                self._get()
                number += 1
            self._done(min(number, self._unfinished))
        self._end()
        putting, self._putting = self._putting, _Fifo()
        fail_all(putting, QueueShutDown)

    def _put_back(self, number: int, item: _T) -> None:
        if self._is_shut_at_once:
            self._done(min(1, self._unfinished))
        else:
            place = bisect(self._numbers, number)
            self._numbers.insert(place, number)
            self._insert(place, item)

    def __aiter__(self) -> Queue[_T]:
        return self

    def __anext__(self) -> Deferred[_T]:
        if self._queue:
            return succeed(self.get_nowait())
        if self._is_shut_down:
            return fail(StopAsyncIteration())
        return self._wait(True)


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

    def _init(self, maxsize: int) -> None:
        self._queue = []

    def _put(self, item: _T) -> None:
        heapq.heappush(self._queue, item)

    def _get(self) -> _T:
        item: _T = heapq.heappop(self._queue)
        return item

    def _insert(self, place: int, item: _T) -> None:
        # It has a place of its own.
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


class Channel(_Getters[_T]):
    """Hands items from those that send to those that receive, and holds few or none.

    `send` waits until the item is received, or until one of `capacity` places is free for it. So
    who sends is never far ahead of who receives. `async for` receives until the channel is closed.

    ```python
    from deferrous import concurrency

    channel = concurrency.Channel()
    channel.send("item").addCallback(lambda _: print("is received"))
    channel.receive().addCallback(print)
    ```

    This prints is received, and item.
    """

    def __init__(self, capacity: int = 0) -> None:
        if capacity < 0:
            raise ValueError(f"capacity must be >= 0, not {capacity!r}")
        super().__init__()
        self._capacity = capacity
        self._buffer: deque[_T] = deque()
        self._putting: _Fifo[Deferred[None]] = _Fifo()
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<Channel of {len(self._buffer)}, {len(self._getting)} receiving, "
            f"{len(self._putting)} sending>"
        )

    @property
    def capacity(self) -> int:
        """How many items it holds that nobody has received."""
        return self._capacity

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._closed

    def send(self, item: _T) -> Deferred[None]:
        """Return a Deferred that fires when the item is received, or held.

        Cancelling it takes the item away again, as long as it is not. It fails with ChannelClosed
        if the channel is closed, or is closed meanwhile. Raises TypeError if the item is a Deferred
        or a Failure.
        """
        if self._closed:
            return fail(ChannelClosed())
        if isinstance(item, _NO_ITEMS):
            raise _no_item(item)
        if self._getting and _give_first(self._getting, item):
            return succeed(None)
        if len(self._buffer) < self._capacity:
            self._buffer.append(item)
            return succeed(None)
        return _wait_in(self._putting, None, item)

    def receive(self) -> Deferred[_T]:
        """Return a Deferred that fires with the next item.

        Cancelling it gives up waiting. It fails with ChannelClosed if the channel is closed and has
        nothing left, or gets so.
        """
        return self._receive(False)

    def _receive(self, iterating: bool) -> Deferred[_T]:
        if self._returned:
            return succeed(self._returned.pop(0)[1])
        if self._buffer:
            item = self._buffer.popleft()
            sender = _first_waiting(self._putting)
            if sender is not None:
                place: Any = sender._canceller
                self._buffer.append(place.what)
                _hand_over(sender, None)
            return succeed(item)
        sender = _first_waiting(self._putting)
        if sender is not None:
            place = sender._canceller
            _hand_over(sender, None)
            item = place.what
            return succeed(item)
        if self._closed:
            return fail(self._error(iterating))
        return self._wait(iterating)

    def close(self) -> None:
        """Take nothing any more. What it holds can still be received.

        All that wait fail with ChannelClosed, and `async for` ends.
        """
        self._closed = True
        self._end()
        putting, self._putting = self._putting, _Fifo()
        fail_all(putting, ChannelClosed)

    def __aiter__(self) -> Channel[_T]:
        return self

    def __anext__(self) -> Deferred[_T]:
        return self._receive(True)


class Broadcast(Generic[_T]):
    """Hands each item to all that have subscribed.

    `maxsize` is how many items one may be behind before `send` waits for it; zero or less is
    without end.

    ```python
    from deferrous import concurrency

    news = concurrency.Broadcast()
    one, other = news.subscribe(), news.subscribe()
    news.send("item")
    one.get().addCallback(print)
    other.get().addCallback(print)
    ```

    This prints item twice.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self._maxsize = maxsize
        #: In the order in which they have subscribed.
        self._readers: dict[Subscription[_T], None] = {}
        #: How many are as far behind as they may be.
        self._full = 0
        #: An item is on its way to all. Another that is sent meanwhile comes after it for each.
        self._delivering = False
        self._sending: _Fifo[Deferred[None]] = _Fifo()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Broadcast to {len(self._readers)}, {len(self._sending)} sending>"

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._closed

    @property
    def maxsize(self) -> int:
        """How many items a subscription holds; zero or less if that is without end."""
        return self._maxsize

    def subscribe(self) -> Subscription[_T]:
        """Return what gets all items that are sent from now on.

        Raises ChannelClosed if it is closed.
        """
        if self._closed:
            raise ChannelClosed
        reader: Subscription[_T] = Subscription(self)
        self._readers[reader] = None
        return reader

    def send(self, item: _T) -> Deferred[None]:
        """Return a Deferred that fires when all that have subscribed hold the item.

        All get it at the same time: while one has no room for it, none does. Cancelling the
        Deferred takes it away again until then. It fails with ChannelClosed if this is closed, or
        is closed meanwhile. Raises TypeError if the item is a Deferred or a Failure.
        """
        if self._closed:
            return fail(ChannelClosed())
        if isinstance(item, _NO_ITEMS):
            raise _no_item(item)
        if self._full or self._sending or self._delivering:
            return _wait_in(self._sending, None, item)
        self._deliver(item)
        if self._sending:
            self._admit()
        return succeed(None)

    def _deliver(self, item: _T) -> None:
        self._delivering = True
        try:
            for reader in list(self._readers):
                reader._take(item)
        finally:
            self._delivering = False

    def _admit(self) -> None:
        while self._sending and not (self._full or self._delivering):
            sender = _first_waiting(self._sending)
            if sender is None:
                return
            place: Any = sender._canceller
            self._deliver(place.what)
            if not sender.called:
                _hand_over(sender, None)

    def close(self) -> None:
        """Take nothing any more. What is held can still be got.

        All that wait fail with ChannelClosed, and `async for` ends.
        """
        self._closed = True
        self._full = 0
        readers, self._readers = self._readers, {}
        for reader in readers:
            reader._no_more()
        sending, self._sending = self._sending, _Fifo()
        fail_all(sending, ChannelClosed)


class Subscription(_Getters[_T]):
    """One subscriber of a `Broadcast`. `async for` gets items until either is closed.

    ```python
    from deferrous import concurrency

    news = concurrency.Broadcast()
    subscription = news.subscribe()
    news.send("item")
    subscription.get().addCallback(print)
    ```

    This prints `item`.
    """

    def __init__(self, broadcast: Broadcast[_T]) -> None:
        super().__init__()
        self._broadcast: Broadcast[_T] | None = broadcast
        self._maxsize = broadcast.maxsize
        self._items: deque[_T] = deque()

    def __repr__(self) -> str:
        return f"<Subscription of {self.qsize()}, {len(self._getting)} getting>"

    def qsize(self) -> int:
        """Return how many items it holds."""
        return len(self._items) + len(self._returned)

    def get(self) -> Deferred[_T]:
        """Return a Deferred that fires with the next item.

        Cancelling it gives up waiting. It fails with ChannelClosed if this is closed, or if the
        broadcast is closed and there is nothing left.
        """
        return self._next(False)

    def _next(self, iterating: bool) -> Deferred[_T]:
        if self._returned:
            item = self._returned.pop(0)[1]
        elif self._items:
            item = self._items.popleft()
        elif self._broadcast is None:
            return fail(self._error(iterating))
        else:
            return self._wait(iterating)
        if self._broadcast is not None and self.qsize() == self._maxsize - 1:
            self._broadcast._full -= 1
            self._broadcast._admit()
        return succeed(item)

    def _take(self, item: _T) -> None:
        if self._broadcast is None or (self._getting and _give_first(self._getting, item)):
            return
        self._items.append(item)
        if self.qsize() == self._maxsize:
            self._broadcast._full += 1

    def _put_back(self, number: int, item: _T) -> None:
        super()._put_back(number, item)
        if self._broadcast is not None and self.qsize() == self._maxsize:
            self._broadcast._full += 1

    def _no_more(self) -> None:
        self._broadcast = None
        self._end()

    def close(self) -> None:
        """Get nothing any more. What this holds is dropped, and nobody waits for it."""
        broadcast = self._broadcast
        if broadcast is not None:
            broadcast._readers.pop(self, None)
            if 0 < self._maxsize <= self.qsize():
                broadcast._full -= 1
        self._items.clear()
        self._returned.clear()
        self._no_more()
        if broadcast is not None:
            broadcast._admit()

    def __aiter__(self) -> Subscription[_T]:
        return self

    def __anext__(self) -> Deferred[_T]:
        return self._next(True)
