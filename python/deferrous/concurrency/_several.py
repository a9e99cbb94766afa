"""What several threads may use at the same time, where the interpreter does without the GIL.

There, methods that look at something and change it are one native step each, which no other thread
comes into (`src/binding/face/several`). With the GIL nothing of this is used: the classes are as
they are written.

Queues with methods of a program's own, as `_put` and `_get`, are as they are written, too. What
these do is the program's, which has to see to threads itself.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from functools import wraps
from operator import attrgetter, index
from threading import Lock, get_ident
from typing import Any, TypeVar

from .. import _deferrous
from .._deferrous import AlreadyCalledError, Deferred, _Fifo, _never_refused
from .._reasons import takes_reason
from ..failure import Failure
from ._base import (
    BrokenBarrierError,
    ChannelClosed,
    QueueEmpty,
    QueueFull,
    QueueShutDown,
    is_a,
)

__all__ = [
    "barriers",
    "bounded",
    "broadcasts",
    "channels",
    "conditions",
    "events",
    "feeds",
    "getters",
    "groups",
    "keyed",
    "locks",
    "maps",
    "observables",
    "queues",
    "read_write",
    "semaphores",
    "streams",
    "subscriptions",
    "woken",
]

_K = TypeVar("_K", bound=type[Any])

#: Whether several threads can run Python code at the same time.
_WITHOUT_GIL = "_share_gate" in vars(_deferrous)

_native: Any = _deferrous

#: What cannot be an item.
_NO_ITEMS = (Deferred, Failure)


def _if_several(decorate: Callable[[Any], None]) -> Callable[[_K], _K]:
    def decorator(kind: _K) -> _K:
        if _WITHOUT_GIL:
            decorate(kind)
        return kind

    return decorator


def _put(kind: Any, **methods: Callable[..., Any]) -> None:
    """Replace methods. Each is given what was there before the object and the arguments."""
    for name, method in methods.items():
        setattr(kind, name, _after(vars(kind)[name], method))


def _after(before: Any, method: Callable[..., Any]) -> Any:
    function = before.__func__ if isinstance(before, staticmethod) else before

    @wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(before, self, *args, **kwargs)

    return call


def _put_native(kind: Any, **methods: str) -> None:
    """Replace methods by native functions, which are given the object and the arguments."""
    for name, native in methods.items():
        function = getattr(_native, native)
        _put(kind, **{name: lambda _, *args, _to=function, **kwargs: _to(*args, **kwargs)})


def _put_static(kind: Any, **functions: str) -> None:
    """Replace what is called without the object, in the midst of native work."""
    for name, native in functions.items():
        setattr(kind, name, staticmethod(_never_refused(getattr(_native, native))))


def _begin(kind: Any, *lines: str, numbers: tuple[str, ...] = (), new: bool = False) -> None:
    """Have the lines of an object share a gate from the beginning.

    Of its attributes, the `numbers` are made ones of Python's own, which run no code of a program.
    `new` says that the first line is for nothing else, and has to be made.
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


@_if_several
def events(kind: Any) -> None:
    _begin(kind, "_waiting")
    _put_native(kind, wait="_event_wait", set="_event_set")


@_if_several
def woken(kind: Any) -> None:
    _put_native(kind, _give_up="_woken_give_up")


@_if_several
def conditions(kind: Any) -> None:
    _begin(kind, "_waiting")
    _put_native(kind, _notify="_condition_wake", _leave="_condition_leave")
    kind._leave = takes_reason(_never_refused(kind._leave))
    _put_static(kind, _acquired_for="_condition_acquired_for")


@_if_several
def barriers(kind: Any) -> None:
    def wait(_: Any, self: Any) -> Any:
        return _native._barrier_wait(self, BrokenBarrierError, "Barrier aborted")

    def break_(_: Any, self: Any, for_good: bool) -> Any:
        done = _native.succeed(None)
        text = "Abort or reset of barrier"
        _native._barrier_break(self, for_good, BrokenBarrierError, text)
        return done

    _begin(kind, "_waiting")
    _put(kind, wait=wait, _break=break_)


@_if_several
def locks(kind: Any) -> None:
    _begin(kind, "_waiting", numbers=("_value", "_size"))
    _put_native(kind, _take="_locks_take")
    _put(kind, _natively=lambda *_: None)
    _put_static(kind, _left="_locks_left")


@_if_several
def semaphores(kind: Any) -> None:
    def release(before: Any, self: Any, weight: Any = 1) -> None:
        if weight >= 1:
            _native._locks_give_back(self, weight)
        else:
            # It raises an error.
            before(self, weight)

    _put_native(kind, locked="_semaphore_locked")
    _put(kind, release=release)


@_if_several
def bounded(kind: Any) -> None:
    def release(before: Any, self: Any, weight: Any = 1) -> None:
        if not weight >= 1:
            before(self, weight)
        elif not _native._locks_give_back(self, weight, self._size):
            raise ValueError("BoundedSemaphore released too many times")

    _put(kind, release=release)


@_if_several
def read_write(kind: Any) -> None:
    def release(_: Any, self: Any, number: int) -> None:
        reads = number == 1
        if not _native._locks_give_back(self, number, 1 << 60, reads):
            raise RuntimeError("nobody reads" if reads else "nobody writes")

    _put(kind, _release=release)


@_if_several
def keyed(kind: Any) -> None:
    def part(before: Any, self: Any, key: Any) -> Any:
        it = before(self, key)
        it._native = None
        return it

    _begin(kind, "_turn", new=True)
    _put(kind, __call__=part)
    _put_native(kind, _acquire="_keyed_acquire", _release="_keyed_release")


@_if_several
def getters(kind: Any) -> None:
    def not_taken(before: Any, self: Any, place: Any, item: Any, number: int) -> None:
        if getattr(self, "_asks", False):
            before.__get__(self, type(self))(place, item, number)
        else:
            _native._come_back(self, item, number)

    _put(kind, _not_taken=not_taken)
    kind._not_taken = _never_refused(kind._not_taken)


@_if_several
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
    _put(kind, put=put, put_nowait=put_nowait, task_done=task_done, shutdown=shutdown)
    _put(kind, get=get(False), get_nowait=get(None), __anext__=get(True))
    _put_native(kind, join="_queue_join")


@_if_several
def channels(kind: Any) -> None:
    def send(before: Any, self: Any, item: Any) -> Any:
        if is_a(item, _NO_ITEMS):
            return before(self, item)
        return _native._channel_send(self, item, ChannelClosed)

    _begin(kind, "_getting", "_putting", numbers=("_capacity",))
    _put(
        kind,
        send=send,
        receive=lambda _, self: _native._channel_receive(self, False),
        close=lambda _, self: _native._channel_close(self, ChannelClosed),
        __anext__=lambda _, self: _native._channel_receive(self, True),
    )


@_if_several
def broadcasts(kind: Any) -> None:
    def subscribe(before: Any, self: Any) -> Any:
        reader = before(self)
        if not _native._broadcast_subscribe(self, reader):
            # It was closed meanwhile.
            raise ChannelClosed
        return reader

    def send(before: Any, self: Any, item: Any) -> Any:
        if is_a(item, _NO_ITEMS):
            return before(self, item)
        return _native._broadcast_send(self, item, ChannelClosed)

    _begin(kind, "_sending", numbers=("_maxsize",))
    _put(
        kind,
        subscribe=subscribe,
        send=send,
        close=lambda _, self: _native._broadcast_close(self, ChannelClosed),
    )


@_if_several
def subscriptions(kind: Any) -> None:
    _begin(kind, "_broadcast._sending", "_getting", numbers=("_maxsize",))
    _put(kind, close=lambda _, self: _native._subscription_close(self, ChannelClosed))
    _put_native(kind, _next="_subscription_next")


class _Steps:
    """What is asked of an object, and calls functions of a program: one thread at a time does it.

    A thread that comes meanwhile waits for nobody. It leaves what it asks for to the first, which
    does that next.
    """

    __slots__ = ("_busy", "_by", "_process", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        #: Only ever tried, never waited for.
        self._busy = Lock()
        self._by: int | None = None
        self._process = os.getpid()

    def do(self, work: Callable[..., Any], *args: Any) -> None:
        if self._by == get_ident():
            # In the midst of another step.
            work(*args)
            return
        self._waiting.append((work, args))
        while self._waiting:
            if self._busy.acquire(False):
                self._by = get_ident()
                try:
                    self._do_all()
                finally:
                    self._by = None
                    self._busy.release()
            elif self._process == os.getpid():
                return
            else:
                # The thread that is busy was left behind by a fork.
                self._process = os.getpid()
                self._busy = Lock()

    def _do_all(self) -> None:
        raised: BaseException | None = None
        while self._waiting:
            work, args = self._waiting.popleft()
            try:
                work(*args)
            except BaseException as error:
                raised = raised or error
        if raised is not None:
            raise raised


def _have_steps(kind: Any) -> None:
    initialise = vars(kind)["__init__"]

    @wraps(initialise)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self._steps = _Steps()
        initialise(self, *args, **kwargs)

    kind.__init__ = init


def _in_order(kind: Any, *names: str, passes_on: bool = False) -> None:
    """Have methods be such steps. They return nothing, or what they are given, to `pass on`."""

    def step(before: Any, self: Any, *args: Any) -> Any:
        self._steps.do(before, self, *args)
        return args[0] if passes_on else None

    for name in names:
        _put(kind, **{name: step})
        setattr(kind, name, _deferrous._whole(vars(kind)[name]))


def _cancel_in_order(kind: Any, name: str) -> None:
    """Have a canceller be such a step that delays the end of its Deferred.

    The Deferred fails here and now, whoever does the rest.
    """

    def cancel(before: Any, self: Any, deferred: Any, reason: object = None) -> None:
        vars(deferred)["_is_delayed"] = True
        is_delayed = _native._delay(deferred, reason)
        self._steps.do(cancel_rest, before, self, deferred, reason, is_delayed)

    def cancel_rest(
        before: Any, self: Any, deferred: Any, reason: object, is_delayed: bool
    ) -> None:
        before(self, deferred, reason)
        if is_delayed and self._is_over():
            # It was, before anybody could see that it is delayed.
            _native._once(vars(deferred), "_has_ended", _native._in_turn, deferred.unpause)

    _put(kind, **{name: cancel})
    setattr(kind, name, takes_reason(_deferrous._whole(vars(kind)[name])))


def _end_once(kind: Any, name: str) -> None:
    """Have a method fire a Deferred that another thread may cancel meanwhile."""

    def end(before: Any, self: Any) -> None:
        try:
            before(self)
        except AlreadyCalledError:
            # It has been: the end is delayed until now.
            before(self)

    _put(kind, **{name: end})


@_if_several
def groups(kind: Any) -> None:
    def create_task(before: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        task = before(self, *args, **kwargs)
        if self._aborting and not task.called:
            # It was cancelled meanwhile, or was over.
            self._steps.do(_native._end_all, (task,), None, end_task)
        return task

    def end_task(task: Any, *_: Any) -> None:
        task.cancel()

    def is_over(self: Any) -> bool:
        return not self._tasks

    _have_steps(kind)
    kind._is_over = is_over
    _end_once(kind, "_end")
    _put(kind, create_task=create_task)
    _in_order(kind, "_task_ended", passes_on=True)
    _in_order(kind, "_cancel", "_abort", "_end")
    _cancel_in_order(kind, "_cancel_join")


@_if_several
def feeds(kind: Any) -> None:
    _have_steps(kind)
    _in_order(kind, "_feed", "_fetched", "_call_ended", "_stop", "_items_closed")


@_if_several
def maps(kind: Any) -> None:
    def is_over(self: Any) -> bool:
        return self._deferred is None

    kind._is_over = is_over
    _end_once(kind, "_fed")
    _cancel_in_order(kind, "_cancel")


@_if_several
def streams(kind: Any) -> None:
    def next_(_: Any, self: Any) -> Any:
        waiting = self._wait(True)
        self._steps.do(hand_out, self)
        return waiting

    def hand_out(self: Any) -> None:
        self._feed()
        while self._returned and self._getting:
            number, item = self._returned.pop(0)
            if not _native._give_first(self._getting, item):
                self._returned.insert(0, (number, item))
        self._flush()

    _put(kind, __anext__=next_)
    _in_order(kind, "_close_all", "_flush")


@_if_several
def observables(kind: Any) -> None:
    def observe(before: Any, self: Any) -> Any:
        observer = before(self)
        if self._has_result and not observer.called:
            # It has come meanwhile. Whoever hands it over first does.
            try:
                _native._hand_over(observer, self._result)
            except AlreadyCalledError:
                pass
            if isinstance(self._result, Failure):
                self._take_failure()
        return observer

    _put(kind, observe=observe)
