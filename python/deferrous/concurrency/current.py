"""The current task, of a coroutine or generator: ours or asyncio's."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from .._deferrous import (
    CancelledError,
    Deferred,
    _driven,
    _end_one,
    _once,
    _owed,
    _running_loop,
    _running_task,
    _Task,
    _task_for,
)
from .._interop import _frame_of
from .cancellation import end, end_all, in_turn

__all__ = [
    "Block",
    "cancel_task",
    "checkpoint",
    "current_deferred",
    "current_task_name",
    "find",
    "give_name",
]

#: The names that a group has given to coroutines and generators.
_NAMED: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def find() -> Any:
    """Return the task that runs now: one of ours, one of asyncio's, or None.

    If both are on the stack, this is the innermost one.
    """
    alone = _running_task()
    if alone is not None:
        return alone
    loop = _running_loop()
    theirs = None if loop is None else sys.modules["asyncio"].current_task(loop)
    generators = _driven()
    if not generators:
        return theirs
    frame: FrameType | None
    if theirs is None:
        generator = generators[-1]
        last_at = _frame_of(generator)
        frame = sys._getframe(1)
        while frame is not None:
            if frame is last_at:
                return _ours(generator)
            frame = frame.f_back
    frame = sys._getframe(1)
    theirs_at = None if theirs is None else _frame_of(theirs.get_coro())
    ours_at = {_frame_of(each): each for each in generators}
    while frame is not None:
        if frame is theirs_at:
            return theirs
        if frame in ours_at:
            return _ours(ours_at[frame])
        frame = frame.f_back
    return theirs


def _ours(generator: Any) -> Any:
    found = _task_for(generator)
    return None if found is None else found[0]


def current_deferred() -> Deferred[Any] | None:
    """Return the Deferred of the current coroutine or generator, or None.

    This is the Deferred that `ensureDeferred` or the `inlineCallbacks` function returned. If
    coroutines await each other, it is the Deferred of the outermost one. It is None outside of
    these, and in an asyncio task.

    ```python
    from deferrous import concurrency, ensureDeferred

    async def work():
        return concurrency.current_deferred()

    d = ensureDeferred(work())
    d.addCallback(lambda current: print(current is d))
    ```

    This prints True.
    """
    task = find()
    if type(task) is not _Task:
        return None
    found = _task_for(task._generator)
    return None if found is None else found[1]


def current_task_name() -> str | None:
    """Return the name of the task that is running, or None if there is none.

    This is the name given to `TaskGroup.create_task`, the name of asyncio's task, or the
    qualified name of the coroutine or generator function.

    ```python
    from deferrous import concurrency, ensureDeferred


    async def main():
        print(concurrency.current_task_name())


    ensureDeferred(main())
    ```

    This prints `main`.
    """
    task = find()
    if task is None:
        return None
    if type(task) is not _Task:
        given: str = task.get_name()
        return given
    generator = task._generator
    named = _NAMED.get(generator)
    if named is not None:
        return named
    qualified: str = getattr(generator, "__qualname__", None) or repr(generator)
    return qualified


def cancel_task(task: Any, reason: object = None) -> None:
    """Cancel what a task waits for, or, if it runs now, what it waits for next.

    If a canceller raises, that is reported.
    """
    if type(task) is not _Task:
        task.cancel() if reason is None else task.cancel(reason)
    elif task._running:
        task._cancel_next(True)
    elif task._waiting_on is not None:
        end_all((task._waiting_on,), reason)


def give_name(generator: Any, name: str) -> None:
    """Set what `current_task_name` returns in a coroutine or generator."""
    _NAMED[generator] = name


#: Whether asyncio's tasks count how often they were cancelled.
TASKS_COUNT = sys.version_info >= (3, 11)


class Block:
    """A block in a task that may cancel the task, and undoes that at its end."""

    _task: Any = None
    #: Whether it has cancelled its task.
    _has_cancelled = False
    #: Whether the cancellation has reached what the task waited for, or the asyncio task itself.
    _has_told = False
    _cancelling = 0

    def _enter(self, task: Any) -> None:
        self._task = task
        if TASKS_COUNT and type(task) is not _Task:
            self._cancelling = task.cancelling()

    def _say_so(self) -> None:
        """Record that the block has cancelled its task."""
        self._has_cancelled = True
        task = self._task
        if type(task) is _Task:
            blocks = task._cancelled_by
            if not blocks:
                task._cancelled_by = (self,)
            elif all(each is not self for each in blocks):
                task._cancelled_by = (*blocks, self)

    def _cancel_task(self, reason: object = None) -> None:
        self._say_so()
        task = self._task
        if task is None:
            # This step is being repeated, and the task has left the block meanwhile.
            return
        if type(task) is not _Task:
            _once(self, "_has_told", task.cancel, *(() if reason is None else (reason,)))
        elif task._running:
            task._cancel_next(True)
        else:
            in_turn(self._cancel_waiting, task, reason)

    @_owed
    def _cancel_waiting(self, task: Any, reason: object) -> None:
        # The task may have left the block meanwhile.
        if self._task is not task:
            return
        waiting_on = task._waiting_on
        if task._running:
            task._cancel_next(True)
        elif waiting_on is not None:
            _once(self, "_has_told", _end_one, waiting_on, reason, end)

    def _leave(self) -> bool:
        """Undo cancelling the task. Return whether nothing else has cancelled it."""
        task, self._task = self._task, None
        if not self._has_cancelled:
            return False
        if type(task) is not _Task:
            return not TASKS_COUNT or task.uncancel() <= self._cancelling
        blocks = task._cancelled_by
        if blocks and (len(blocks) > 1 or blocks[0] is not self):
            task._cancelled_by = tuple(each for each in blocks if each is not self)
            return False
        task._cancelled_by = None
        task._cancel_next(False)
        return True


def checkpoint() -> None:
    """Raise CancelledError if the current coroutine or generator has been cancelled.

    A coroutine or generator normally notices a cancellation when it waits. A long computation that
    does not wait can call this from time to time, because a timeout or a task group may have
    cancelled it. In an asyncio task, await `sleep(0)` instead.

    ```python
    from deferrous import concurrency, ensureDeferred, testing

    async def work(clock):
        async with concurrency.timeout(5, clock=clock):
            clock.advance(9)
            concurrency.checkpoint()

    d = ensureDeferred(work(testing.Clock()))
    d.addErrback(lambda failure: print(failure.type.__name__))
    ```

    This prints TimeoutError.
    """
    task = find()
    if type(task) is _Task and task._cancel_next(False):
        raise CancelledError
