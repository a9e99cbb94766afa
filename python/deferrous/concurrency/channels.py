"""Channels and broadcasts: for passing items on to one receiver, or to all.

They depend on no event loop. Waiters are served in the order in which they came. If an asyncio task
is cancelled after it was given an item and before it runs, the item goes back to the front.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Generic, TypeVar

from .._deferrous import (
    Deferred,
    _close_broadcast,
    _close_channel,
    _close_subscription,
    _Fifo,
    _give_first,
    _never_refused,
    _not_read,
    _Place,
    _read,
    _receive,
    _send_to_all,
    _wait_in,
    fail,
    succeed,
)
from . import _several
from ._base import ChannelClosed, check_count, check_depth, is_a
from ._several import if_several
from .queues import _NO_ITEMS, _Getters, _no_item

__all__ = ["Broadcast", "Channel", "Subscription"]

_T = TypeVar("_T")


@if_several(_several.channels)
class Channel(_Getters[_T]):
    """Passes items from senders to receivers, and holds few items or none.

    `send` waits until the item is received, or until one of `capacity` places is free. So senders
    are never far ahead of receivers. `async for` receives items until the channel is closed.

    ```python
    from deferrous import concurrency

    channel = concurrency.Channel()
    channel.send("item").addCallback(lambda _: print("is received"))
    channel.receive().addCallback(print)
    ```

    This prints is received, and item.
    """

    def __init__(self, capacity: int = 0) -> None:
        check_count("capacity", capacity, 0)
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
        """The number of items that the channel can hold."""
        return self._capacity

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._closed

    def send(self, item: _T) -> Deferred[None]:
        """Return a Deferred that fires when the item is received, or held by the channel.

        Cancelling the Deferred before that removes the item. The Deferred fails with ChannelClosed
        if the channel is closed before or while it waits.

        Errors:

        - TypeError: the item is a Deferred or a Failure.
        """
        if self._closed:
            return fail(ChannelClosed())
        if is_a(item, _NO_ITEMS):
            raise _no_item(item)
        if self._getting and _give_first(self._getting, item):
            return succeed(None)
        if len(self._buffer) < self._capacity:
            self._buffer.append(item)
            return succeed(None)
        return _wait_in(self._putting, None, item)

    def receive(self) -> Deferred[_T]:
        """Return a Deferred that fires with the next item.

        Cancelling the Deferred gives up the place in line. It fails with ChannelClosed when the
        channel is closed and has no items left.
        """
        return _receive(self, False)

    def close(self) -> None:
        """Accept no more items. Items that the channel holds can still be received.

        All waiting senders and receivers fail with ChannelClosed, and `async for` ends.
        """
        check_depth()
        _close_channel(self, ChannelClosed)

    def __aiter__(self) -> Channel[_T]:
        return self

    def __anext__(self) -> Deferred[_T]:
        return _receive(self, True)


@if_several(_several.broadcasts)
class Broadcast(Generic[_T]):
    """Sends each item to all subscribers.

    `maxsize` is the number of items that a subscription can hold before `send` waits for it. Zero
    or less means that there is no limit.

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
        check_count("maxsize", maxsize, -inf)
        self._maxsize = maxsize
        #: The subscriptions, oldest first.
        self._readers: dict[Subscription[_T], None] = {}
        #: How many subscriptions are full.
        self._full = 0
        #: Whether an item is being given to all. Items that are sent meanwhile come after it.
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
        """The number of items that a subscription can hold. Zero or less means no limit."""
        return self._maxsize

    def subscribe(self) -> Subscription[_T]:
        """Return a subscription that receives all items sent from now on.

        Errors:

        - ChannelClosed: the broadcast is closed.
        """
        if self._closed:
            raise ChannelClosed
        reader: Subscription[_T] = Subscription(self)
        self._readers[reader] = None
        return reader

    def send(self, item: _T) -> Deferred[None]:
        """Return a Deferred that fires when all subscriptions hold the item.

        All subscriptions get the item at the same time, when each of them has room for it.
        Cancelling the Deferred before that removes the item. The Deferred fails with ChannelClosed
        if the broadcast is closed before or while it waits.

        Errors:

        - TypeError: the item is a Deferred or a Failure.
        """
        if self._closed:
            return fail(ChannelClosed())
        if is_a(item, _NO_ITEMS):
            raise _no_item(item)
        if self._full or self._sending or self._delivering:
            return _wait_in(self._sending, None, item)
        check_depth()
        _send_to_all(self, item)
        return succeed(None)

    def close(self) -> None:
        """Accept no more items. Items that subscriptions hold can still be received.

        All waiting senders and receivers fail with ChannelClosed, and `async for` ends.
        """
        check_depth()
        _close_broadcast(self, ChannelClosed)


@if_several(_several.subscriptions)
class Subscription(_Getters[_T]):
    """A subscription to a `Broadcast`. `async for` gets items until either of them is closed.

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
        """Return the number of items that this subscription holds."""
        return len(self._items) + len(self._returned)

    def get(self) -> Deferred[_T]:
        """Return a Deferred that fires with the next item.

        Cancelling the Deferred gives up the place in line. It fails with ChannelClosed if this is
        closed, or if the broadcast is closed and there are no items left.
        """
        return self._next(False)

    def _next(self, iterating: bool) -> Deferred[_T]:
        if self._maxsize > 0:
            # There may be room for another item.
            check_depth()
        return _read(self, iterating)

    #: Takes back an item. The subscription may be full after that.
    _not_taken: Callable[[_Place, Any, int], None] = staticmethod(_never_refused(_not_read))

    def close(self) -> None:
        """Receive no more items, and drop those that this holds. `send` no longer waits for it."""
        check_depth()
        _close_subscription(self, ChannelClosed)

    def __aiter__(self) -> Subscription[_T]:
        return self

    def __anext__(self) -> Deferred[_T]:
        return self._next(True)
