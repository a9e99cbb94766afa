"""Task groups, timeouts, limits, shields, events, queues and streams, for Deferreds.

If asyncio has the same thing, it has the same name and meaning here. docs/concurrency.md has the
rules. Nothing here depends on an event loop, so it works under Twisted's reactor, under asyncio and
with a test's clock. Everything that waits returns a Deferred: await it, yield it in an
`inlineCallbacks` function, or add callbacks to it. On a free-threaded Python, any thread may use
these objects: docs/free-threading.md says what is guaranteed.
"""

from .._clock import AnyClock, Clock, DelayedCall
from ._base import (
    BrokenBarrierError,
    ChannelClosed,
    Eventual,
    Lockable,
    QueueEmpty,
    QueueFull,
    QueueShutDown,
    TimeoutError,
)
from .cancellation import cancel, delay_cancellation, shield
from .channels import Broadcast, Channel, Subscription
from .context import ContextDeferred, in_context
from .current import checkpoint, current_deferred, current_task_name
from .events import Barrier, Condition, Event
from .gathering import gather
from .groups import TaskGroup
from .locks import BoundedSemaphore, KeyedLock, ReadWriteLock, Semaphore
from .many import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    AsCompleted,
    as_completed,
    wait,
)
from .mapping import map
from .queues import LifoQueue, PriorityQueue, Queue
from .sharing import Observable, once
from .streams import Stream, stream
from .time import Timeout, sleep, timeout, timeout_at, wait_for

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "AnyClock",
    "AsCompleted",
    "Barrier",
    "BoundedSemaphore",
    "Broadcast",
    "BrokenBarrierError",
    "Channel",
    "ChannelClosed",
    "Clock",
    "Condition",
    "ContextDeferred",
    "DelayedCall",
    "Event",
    "Eventual",
    "KeyedLock",
    "LifoQueue",
    "Lockable",
    "Observable",
    "PriorityQueue",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
    "ReadWriteLock",
    "Semaphore",
    "Stream",
    "Subscription",
    "TaskGroup",
    "Timeout",
    "TimeoutError",
    "as_completed",
    "cancel",
    "checkpoint",
    "current_deferred",
    "current_task_name",
    "delay_cancellation",
    "gather",
    "in_context",
    "map",
    "once",
    "shield",
    "sleep",
    "stream",
    "timeout",
    "timeout_at",
    "wait",
    "wait_for",
]
