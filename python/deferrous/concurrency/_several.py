"""Methods of `deferrous.concurrency` for several threads, on interpreters without the GIL.

There, methods that read something and change it are replaced by native functions, each of which is
one atomic step (`src/binding/face/several`). With the GIL, the classes stay as they are written.

Queues whose subclass overrides `_put`, `_get` and the like stay as they are, too: such a program
has to take care of threads itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from operator import attrgetter, index
from typing import Any, TypeVar

from .. import _deferrous
from .._deferrous import Deferred, _Fifo, _happen, _never_refused
from ..failure import Failure
from ._base import (
    BrokenBarrierError,
    ChannelClosed,
    QueueEmpty,
    QueueFull,
    QueueShutDown,
    check_depth,
    is_a,
)

__all__ = [
    "WITHOUT_GIL",
    "barriers",
    "bounded",
    "broadcasts",
    "channels",
    "conditions",
    "events",
    "getters",
    "if_several",
    "keyed",
    "locks",
    "queues",
    "read_write",
    "replace",
    "semaphores",
    "subscriptions",
]

_K = TypeVar("_K", bound=type[Any])

#: Whether several threads can run Python code at the same time.
WITHOUT_GIL = "_share_gate" in vars(_deferrous)

_native: Any = _deferrous

#: Types that cannot be items.
_NO_ITEMS = (Deferred, Failure)


def if_several(change: Callable[[Any], None]) -> Callable[[_K], _K]:
    """Return a class decorator that calls a function with the class if there is no GIL."""

    def decorator(kind: _K) -> _K:
        if WITHOUT_GIL:
            change(kind)
        return kind

    return decorator


def replace(kind: Any, **methods: Callable[..., Any]) -> None:
    """Replace methods. Each gets the method that it replaces, the object, and the arguments."""
    for name, method in methods.items():
        setattr(kind, name, _after(vars(kind)[name], method))


def _after(before: Any, method: Callable[..., Any]) -> Any:
    function = before.__func__ if isinstance(before, staticmethod) else before

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(before, self, *args, **kwargs)

    # Tracebacks, and the search for lock holders, use the name in the code object.
    code: Any = call.__code__
    call.__code__ = code.replace(co_name=function.__name__, co_qualname=function.__qualname__)
    return wraps(function)(call)


def _put_native(kind: Any, **methods: str) -> None:
    """Replace methods by native functions that take the object and the arguments."""
    for name, native in methods.items():
        function = getattr(_native, native)
        replace(kind, **{name: lambda _, *args, _to=function, **kwargs: _to(*args, **kwargs)})


def _put_static(kind: Any, **functions: str) -> None:
    """Replace functions that native code calls without the object, in the middle of its work."""
    for name, native in functions.items():
        setattr(kind, name, staticmethod(_never_refused(getattr(_native, native))))


def _begin(kind: Any, *lines: str, numbers: tuple[str, ...] = (), new: bool = False) -> None:
    """Let the lines of an object share a gate from the beginning.

    The attributes `numbers` are converted to int or float, so that using them runs no code of a
    program. With `new`, the first line only serves as the gate, and is made here.
    """
    initialise = vars(kind)["__init__"]
    lines_of = [attrgetter(line) for line in lines]

    @wraps(initialise)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if new:
            setattr(self, lines[0], _Fifo())
        initialise(self, *args, **kwargs)
        _native._share_gate(*(line(self) for line in lines_of))
        for name in numbers:
            number = getattr(self, name)
            if type(number) not in (int, float):
                setattr(self, name, index(number) if _is_index(number) else float(number))

    kind.__init__ = init


def _is_index(number: Any) -> bool:
    return hasattr(type(number), "__index__")


def events(kind: Any) -> None:
    def set_(_: Any, self: Any) -> None:
        if self._waiting:
            check_depth()
        # A waiter may join meanwhile.
        _happen(self, self._waiting)

    _begin(kind, "_waiting")
    _put_native(kind, wait="_event_wait")
    replace(kind, set=set_)


def conditions(kind: Any) -> None:
    _begin(kind, "_waiting")


def barriers(kind: Any) -> None:
    def wait(_: Any, self: Any) -> Any:
        return _native._barrier_wait(self, BrokenBarrierError, "Barrier aborted")

    _begin(kind, "_waiting")
    replace(kind, wait=wait)


def locks(kind: Any) -> None:
    def natively(before: Any, self: Any, number: int) -> Any:
        found = before(self, number)
        if found is None:
            return None
        most, error = found[1][3] if len(found[1]) > 3 else (None, None)
        reads = error is not None and error.func is RuntimeError and number == 1
        return _native._locks_give_back, (self, number, most, error, reads)

    _begin(kind, "_waiting", numbers=("_value", "_size"))
    _put_native(kind, _take="_locks_take")
    replace(kind, _natively=natively)
    _put_static(kind, _left="_locks_left")


def semaphores(kind: Any) -> None:
    def release(before: Any, self: Any, weight: Any = 1) -> None:
        if weight >= 1:
            _native._locks_give_back(self, weight)
        else:
            # This raises the error.
            before(self, weight)

    _put_native(kind, locked="_semaphore_locked")
    replace(kind, release=release)


def bounded(kind: Any) -> None:
    error = partial(ValueError, "BoundedSemaphore released too many times")

    def release(before: Any, self: Any, weight: Any = 1) -> None:
        if weight >= 1:
            _native._locks_give_back(self, weight, self._size, error)
        else:
            before(self, weight)

    replace(kind, release=release)


#: The amount that a writer takes of a `ReadWriteLock`, which is all of it.
_ALL = 1 << 60


def read_write(kind: Any) -> None:
    def release(_: Any, self: Any, number: int) -> None:
        reads = number == 1
        error = partial(RuntimeError, "nobody reads" if reads else "nobody writes")
        _native._locks_give_back(self, number, _ALL, error, reads)

    replace(kind, _release=release)


def keyed(kind: Any) -> None:
    def part(before: Any, self: Any, key: Any) -> Any:
        it = before(self, key)
        if it._native is not None:
            it._native = (_native._keyed_release, (self, key))
        return it

    _begin(kind, "_turn", new=True)
    replace(kind, __call__=part)
    _put_native(kind, _acquire="_keyed_acquire", _release="_keyed_release")


def getters(kind: Any) -> None:
    def not_taken(before: Any, self: Any, place: Any, item: Any, number: int) -> None:
        if getattr(self, "_asks", False):
            before.__get__(self, type(self))(place, item, number)
        else:
            _native._come_back(self, item, number)

    replace(kind, _not_taken=not_taken)
    kind._not_taken = _never_refused(kind._not_taken)


def queues(kind: Any) -> None:
    def put(before: Any, self: Any, item: Any) -> Any:
        if self._asks or is_a(item, _NO_ITEMS):
            return before(self, item)
        return _native._queue_put(self, item, True, QueueFull, QueueShutDown)

    def put_nowait(before: Any, self: Any, item: Any) -> None:
        if self._asks or is_a(item, _NO_ITEMS):
            before(self, item)
        else:
            _native._queue_put(self, item, False, QueueFull, QueueShutDown)

    def get(waits: bool | None) -> Callable[..., Any]:
        def get(before: Any, self: Any) -> Any:
            if self._asks:
                return before(self)
            return _native._queue_get(self, waits, QueueEmpty, QueueShutDown)

        return get

    def task_done(_: Any, self: Any) -> None:
        if not _native._queue_task_done(self):
            raise ValueError("task_done() called too many times")

    def shutdown(before: Any, self: Any, immediate: bool = False) -> None:
        if self._asks:
            before(self, immediate)
        else:
            _native._queue_shut_down(self, bool(immediate), QueueShutDown)

    _begin(kind, "_getting", "_putting", "_joining", numbers=("_maxsize",))
    replace(kind, put=put, put_nowait=put_nowait, task_done=task_done, shutdown=shutdown)
    replace(kind, get=get(False), get_nowait=get(None), __anext__=get(True))
    _put_native(kind, join="_queue_join")


def channels(kind: Any) -> None:
    def send(before: Any, self: Any, item: Any) -> Any:
        if is_a(item, _NO_ITEMS):
            return before(self, item)
        return _native._channel_send(self, item, ChannelClosed)

    _begin(kind, "_getting", "_putting", numbers=("_capacity",))
    replace(
        kind,
        send=send,
        receive=lambda _, self: _native._channel_receive(self, False),
        __anext__=lambda _, self: _native._channel_receive(self, True),
    )


def broadcasts(kind: Any) -> None:
    def subscribe(before: Any, self: Any) -> Any:
        reader = before(self)
        if not _native._broadcast_subscribe(self, reader):
            # The broadcast was closed meanwhile.
            raise ChannelClosed
        return reader

    def send(before: Any, self: Any, item: Any) -> Any:
        if is_a(item, _NO_ITEMS):
            return before(self, item)
        return _native._broadcast_send(self, item, ChannelClosed)

    _begin(kind, "_sending", numbers=("_maxsize",))
    replace(
        kind,
        subscribe=subscribe,
        send=send,
        close=lambda _, self: _native._broadcast_close(self, ChannelClosed),
    )


def subscriptions(kind: Any) -> None:
    _begin(kind, "_broadcast._sending", "_getting", numbers=("_maxsize",))
    replace(kind, close=lambda _, self: _native._subscription_close(self, ChannelClosed))
    _put_native(kind, _next="_subscription_next")
