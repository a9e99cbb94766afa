"""Groups, maps, streams and observables for several threads, on interpreters without the GIL.

One thread at a time carries out the requests to such an object: see `_Steps` (in
`src/binding/face/several/one_by_one.rs`).
"""

from __future__ import annotations

from functools import wraps
from types import FunctionType
from typing import Any

from .. import _deferrous
from .._deferrous import AlreadyCalledError
from .._reasons import takes_reason
from ..failure import Failure
from ._base import TimeoutError, discard
from ._several import replace
from .cancellation import delay

__all__ = ["as_completed", "feeds", "groups", "maps", "observables", "streams", "waits"]

_native: Any = _deferrous


def _have_steps(kind: Any) -> None:
    initialise = vars(kind)["__init__"]

    @wraps(initialise)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self._steps = _native._Steps()
        initialise(self, *args, **kwargs)

    kind.__init__ = init


def _in_order(kind: Any, *names: str, passes_on: bool = False) -> None:
    """Turn methods into requests. They return None, or with `passes_on` their first argument."""

    def step(before: Any, self: Any, *args: Any) -> Any:
        self._steps.do(before, self, *args)
        return args[0] if passes_on else None

    for name in names:
        setattr(kind, name, _not_owed(vars(kind)[name]))
        replace(kind, **{name: step})
        setattr(kind, name, _deferrous._owed(vars(kind)[name]))


def _not_owed(method: Any) -> Any:
    """Return a copy of a method that is not done again, out of order, when there is memory."""
    code, globals_, name = method.__code__, method.__globals__, method.__name__
    copy: Any = FunctionType(code, globals_, name, method.__defaults__, method.__closure__)
    copy.__kwdefaults__, copy.__qualname__ = method.__kwdefaults__, method.__qualname__
    return _deferrous._whole(copy)


def _cancel_in_order(kind: Any, name: str) -> None:
    """Turn a canceller that delays the end of its Deferred into a request.

    The Deferred fails at once. Another thread may do the rest.
    """

    def cancel(before: Any, self: Any, deferred: Any, reason: object = None) -> None:
        delay(deferred, reason)
        self._steps.do(cancel_rest, before, self, deferred, reason)

    @_deferrous._whole
    def cancel_rest(before: Any, self: Any, deferred: Any, reason: object) -> None:
        before(self, deferred, reason)
        if "_was_delayed" in vars(deferred) and self._is_over():
            # Everything had ended before anybody could see that the Deferred is delayed.
            _native._once(vars(deferred), "_has_ended", _native._in_turn, deferred.unpause)

    replace(kind, **{name: cancel})
    setattr(kind, name, takes_reason(_deferrous._whole(vars(kind)[name])))


def _end_once(kind: Any, name: str) -> None:
    """Adapt a method that fires a Deferred: another thread may cancel the Deferred meanwhile."""

    def end(before: Any, self: Any) -> None:
        try:
            before(self)
        except AlreadyCalledError:
            # It was cancelled. The second call ends the delay.
            before(self)

    replace(kind, **{name: end})


def groups(kind: Any) -> None:
    def create_task(before: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        task = before(self, *args, **kwargs)
        if task.called:
            return task
        if self._state == "over":
            # The group has ended meanwhile, without this task.
            discard(task)
            raise RuntimeError(f"{self!r} is finished")
        if self._aborting:
            # The group was cancelled meanwhile.
            self._steps.do(_native._end_all, (task,), None, end_task)
        return task

    def end_task(task: Any, *_: Any) -> None:
        task.cancel()

    def is_over(self: Any) -> bool:
        # A thread that adds a task checks the state afterwards. So one of the two sees the other.
        if not self._tasks and self._state == "exiting":
            self._state = "over"
            if self._tasks:
                self._state = "exiting"
        return not self._tasks

    def end(before: Any, self: Any) -> None:
        # A task may have been added since the last one ended.
        if self._ended is not None and self._is_over():
            before(self)

    _have_steps(kind)
    kind._is_over = is_over
    _end_once(kind, "_end")
    replace(kind, create_task=create_task, _end=end)
    _in_order(kind, "_task_ended", passes_on=True)
    _in_order(kind, "_cancel", "_abort", "_end")
    _cancel_in_order(kind, "_cancel_join")


def feeds(kind: Any) -> None:
    _have_steps(kind)
    _in_order(kind, "_feed", "_fetched", "_call_ended", "_stop", "_items_closed")


def maps(kind: Any) -> None:
    def is_over(self: Any) -> bool:
        return self._deferred is None

    kind._is_over = is_over
    _end_once(kind, "_fed")
    _in_order(kind, "_call_ended")
    _cancel_in_order(kind, "_cancel")


def streams(kind: Any) -> None:
    def next_(_: Any, self: Any) -> Any:
        waiting = self._wait(True)
        self._steps.do(hand_out, self)
        return waiting

    @_deferrous._whole
    def hand_out(self: Any) -> None:
        self._feed()
        _native._give_returned(self)
        self._flush()

    replace(kind, __anext__=next_)
    _in_order(kind, "_close_all", "_flush")


def waits(kind: Any) -> None:
    _have_steps(kind)
    _end_once(kind, "finish")
    _in_order(kind, "see", "time_out", "cancel")


def _wake_all(_: Any, self: Any) -> None:
    _native._give_done(self._done, self._waiting, self._hand_on)
    if self._missing:
        return
    # Nothing more will come. Only the waiters that were not counted have to be told.
    for waiting in list(self._waiting):
        if getattr(waiting._canceller, "what", False):
            try:
                _native._hand_over(waiting, None)
            except AlreadyCalledError:
                pass


@_deferrous._whole
def _wake(self: Any) -> None:
    """Serve the waiters that have joined meanwhile."""
    self._wake()
    if self._timed_out:
        _native._end_waiting(self._waiting, lambda: Failure(TimeoutError()))


@_deferrous._never_refused
def _come_back(self: Any, result: Any) -> None:
    """Take back a result whose waiter has given up."""
    self._done.appendleft(result)
    _native._count(self, self._waiting, "_to_give", 1)
    self._steps.do(_wake, self)


def _left(_: Any, self: Any, place: Any, _deferred: Any) -> None:
    if not place.what:
        _native._count(self, self._waiting, "_to_give", 1)


def _not_taken(_: Any, self: Any, place: Any, result: Any, _number: int) -> None:
    if not place.what:
        self._done.appendleft(_native.succeed(result))
        _native._count(self, self._waiting, "_to_give", 1)
    self._steps.do(_wake, self)


def as_completed(kind: Any) -> None:
    def next_(_: Any, self: Any) -> Any:
        if not _native._count(self, self._waiting, "_to_give", -1):
            raise StopIteration
        try:
            given = _native._wait_in(self._waiting, self, False)
        except (MemoryError, RecursionError):
            _native._count(self, self._waiting, "_to_give", 1)
            raise
        self._steps.do(_wake, self)
        return given

    async def anext_(_: Any, self: Any) -> Any:
        while True:
            if (deferred := take(self)) is not None:
                return deferred
            if self._timed_out and self._missing:
                raise TimeoutError
            if not self._missing:
                # The last one may just have arrived.
                if (deferred := take(self)) is not None:
                    return deferred
                if self._done:
                    # It is for waiters that were counted before this one.
                    self._steps.do(_wake, self)
                raise StopAsyncIteration
            waiting = _native._wait_in(self._waiting, self, True)
            self._steps.do(_wake, self)
            await waiting

    def take(self: Any) -> Any:
        # Counted first, as in `for`: what is there may be for others, which are in line.
        if not _native._count(self, self._waiting, "_to_give", -1):
            return None
        try:
            return self._done.popleft()
        except IndexError:
            _native._count(self, self._waiting, "_to_give", 1)
            return None

    _have_steps(kind)
    _in_order(kind, "_see", "_time_out")
    replace(kind, __next__=next_, __anext__=anext_, _left=_left, _not_taken=_not_taken)
    kind._hand_on = staticmethod(_deferrous._never_refused(_native._hand_on))
    kind._come_back = _come_back
    replace(kind, _wake=_wake_all)
    for name in ("_left", "_not_taken"):
        setattr(kind, name, _deferrous._never_refused(vars(kind)[name]))


def observables(kind: Any) -> None:
    def observe(before: Any, self: Any) -> Any:
        observer = before(self)
        if self._has_result and not observer.called:
            # The result has arrived meanwhile. The first thread to hand it over wins.
            try:
                _native._hand_over(observer, self._result)
            except AlreadyCalledError:
                pass
            if isinstance(self._result, Failure):
                self._take_failure()
        return observer

    replace(kind, observe=observe)
