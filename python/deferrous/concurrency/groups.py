"""Groups of tasks that end together."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, TypeVar

from .._deferrous import Deferred, _add_task, _do, _end_all, _hand_over, _once, _owed, _whole
from .._gathering import FailureGroup
from .._reasons import reason_of, takes_reason
from ..failure import Failure
from . import _one_by_one
from ._base import (
    Delayed,
    Eventual,
    as_deferred,
    discard,
    is_cancellation,
    is_failure,
    mark_handled,
    was_cancelled,
)
from ._several import WITHOUT_GIL, if_several
from .cancellation import delay, end, in_turn
from .current import Block, cancel_task, find, give_name

__all__ = ["TaskGroup"]

_T = TypeVar("_T")

_MESSAGE = "unhandled errors in a TaskGroup"


@if_several(_one_by_one.groups)
class TaskGroup(Block):
    """A group of tasks that end together: no task outlives the group.

    This works like `asyncio.TaskGroup`. The block ends when all its tasks have ended. If a task or
    the block itself fails, the other tasks and the block are cancelled. When they have ended, the
    block raises all failures together: as an `ExceptionGroup`, or on Python 3.10 as a
    `FailureGroup`. Cancelled tasks do not count as failures.

    ```python
    from deferrous import concurrency, ensureDeferred, succeed

    async def double(number):
        return 2 * await succeed(number)

    async def main():
        async with concurrency.TaskGroup() as group:
            one = group.create_task(double(1))
            other = group.create_task(double(2))
        print(await one, await other)

    ensureDeferred(main())
    ```

    This prints 2 4.

    In generators and callbacks, use the group without a block: call `open`, create tasks, and wait
    for the Deferred that `join` returns.
    """

    #: The task that opened it without a block, and has to join it: for the call graph.
    _opened_by: Any = None
    #: Returns whether all tasks have ended; then no more are accepted. Exists only without the GIL.
    _is_over: Callable[[], bool]

    def __init__(self) -> None:
        self._tasks: dict[Deferred[Any], None] = {}
        #: The key is the task that has failed, or None for the block itself.
        self._errors: dict[Deferred[Any] | None, Failure] = {}
        self._failed: dict[Deferred[Any], None] = {}
        self._base_error: BaseException | None = None
        self._state = "new"
        self._aborting = False
        #: The task whose failure has caused that.
        self._cause: Deferred[Any] | None = None
        self._ended: Deferred[None] | None = None

    def __repr__(self) -> str:
        state = " cancelling" if self._aborting else ""
        return f"<TaskGroup {self._state}, {len(self._tasks)} tasks{state}>"

    def create_task(
        self, task: Eventual[_T], *, name: str | None = None, context: Any = None
    ) -> Deferred[_T]:
        """Run a coroutine or generator as a task of this group. Returns its Deferred.

        The task runs at once, up to its first wait. You can also pass a Deferred or a future. If
        the task fails, the failure counts as handled, because the group raises it. `name` is the
        task's name for `current_task_name`. `context` is the context in which the task runs; by
        default, it is a copy of the current one.

        Errors:

        - RuntimeError: the group has not begun, has ended, or is ending because of a failure. In
          that case, a coroutine is closed, and a Deferred is cancelled.
        """
        if self._aborting or self._state in ("new", "over"):
            discard(task)
            if self._aborting:
                raise RuntimeError(f"{self!r} is shutting down")
            has = "has not been entered" if self._state == "new" else "is finished"
            raise RuntimeError(f"{self!r} {has}")
        if name is not None and isinstance(task, (Coroutine, Generator)):
            give_name(task, name)
        return _add_task(self._tasks, self._task_ended, task, as_deferred, context)

    @_owed
    def _task_ended(self, result: Any, deferred: Deferred[Any]) -> Any:
        self._tasks.pop(deferred, None)
        if is_failure(result):
            self._failed[deferred] = None
            if not was_cancelled(result):
                self._add_error(result, deferred)
        if not self._tasks:
            self._end()
        return result

    def _add_error(self, failure: Failure, deferred: Deferred[Any]) -> None:
        self._errors[deferred] = failure
        error = failure.value
        if isinstance(error, (SystemExit, KeyboardInterrupt)) and self._base_error is None:
            self._base_error = error
        if not self._aborting:
            self._cause = deferred
        if self._cause is deferred:
            self._abort()
            if self._state == "entered":
                self._cancel_task()

    def cancel(self, reason: object = None) -> None:
        """Cancel all tasks and the block. After that, no more tasks can be created.

        This works like `asyncio.TaskGroup.cancel`: the block ends without an error. If you call it
        before the block begins, the block is cancelled at its first wait. It has no effect if the
        group has ended, or is ending because of a failure.
        """
        if self._aborting or self._state == "over":
            return
        _do(self._cancel, reason)

    @_owed
    def _cancel(self, reason: object) -> None:
        if self._state == "entered":
            # The block may be waiting for one of the tasks.
            self._say_so()
        self._abort(reason)
        if self._state == "entered":
            self._cancel_task(reason)

    def _abort(self, reason: object = None) -> None:
        _once(self, "_aborting", _end_all, self._tasks, reason, end)

    async def __aenter__(self) -> TaskGroup:
        if self._state != "new":
            raise RuntimeError(f"{self!r} has already been entered")
        task = find()
        if task is None:
            raise RuntimeError(
                f"{self!r} cannot be entered: no coroutine that Deferreds or asyncio run is "
                "current. Without one, use open and join"
            )
        self._enter(task)
        self._state = "entered"
        if self._aborting:
            self._cancel_task()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        self._state = "exiting"
        task = self._task
        is_the_cause = self._leave()
        cancelled: BaseException | None = None
        if exc_val is not None:
            if isinstance(exc_val, (SystemExit, KeyboardInterrupt)) and self._base_error is None:
                self._base_error = exc_val
            if is_cancellation(exc_val) and not is_the_cause:
                cancelled = exc_val
            self._abort(None if cancelled is None else reason_of(cancelled))
            if exc_type is GeneratorExit:
                # The coroutine is closed, and cannot wait.
                self._close()
                return None
        if is_the_cause:
            await _forget_cancellation(task)
        ended: Deferred[None] | None = None
        while self._tasks or (WITHOUT_GIL and not self._is_over()):
            try:
                ended = self._ended = Deferred()
                # For the graph of what waits for what.
                vars(ended)["_part_of"] = self
                if not self._tasks:
                    # The last task has ended in another thread meanwhile.
                    self._end()
                await ended
            except BaseException as error:
                is_closed = not is_cancellation(error)
                if is_closed:
                    # The coroutine is being closed, and must not be resumed.
                    self._ended = None
                self._abort(None if is_closed else reason_of(error))
                if is_closed:
                    self._close()
                    raise
                cancelled = error
            self._ended = None
        try:
            if self._base_error is not None:
                raise self._base_error
            if exc_val is not None and not is_cancellation(exc_val):
                self._errors[None] = Failure(exc_val)
            if cancelled is not None and not self._errors:
                raise cancelled
            if self._errors:
                _cancel_again(task, cancelled)
                raise self._group() from None
            # Only the group itself has cancelled the block.
            return True
        finally:
            self._close()
            # Break a cycle: the traceback refers to this frame, which refers to the failure.
            task = cancelled = exc_val = ended = None

    def open(self) -> TaskGroup:
        """Begin without a block. Raises RuntimeError if the group has already begun."""
        if self._state != "new":
            raise RuntimeError(f"{self!r} has already been entered")
        self._state = "open"
        self._opened_by = find()
        return self

    def join(self) -> Deferred[None]:
        """Accept no more tasks, and return a Deferred that fires when all tasks have ended.

        It fails with the same errors as a block. Cancelling it cancels all tasks.

        Errors:

        - RuntimeError: the group is used as a block, or was not opened.
        """
        if self._state != "open":
            raise RuntimeError(f"{self!r} is not open")
        ended: Deferred[None] = Delayed(self._cancel_join)
        ended.addBoth(self._joined).addBoth(self._let_go)
        # Set after a step that may be refused: in that case the group is still open.
        self._state = "exiting"
        self._opened_by = None
        self._ended = ended
        if not self._tasks:
            self._end()
        return ended

    @takes_reason
    @_owed
    def _cancel_join(self, ended: Deferred[Any], reason: object = None) -> None:
        # It fails now, but its callbacks run only when all tasks have ended.
        delay(ended, reason)
        self._abort(reason)

    def _end(self) -> None:
        ended = self._ended
        if ended is None:
            return
        if "_is_delayed" in vars(ended):
            _once(vars(ended), "_has_ended", in_turn, ended.unpause)
        elif not ended.called:
            _hand_over(ended, None)
        if self._ended is ended:
            self._ended = None

    @_whole
    def _joined(self, result: Any) -> Any:
        # Not raised, because the traceback would refer to the Deferred that fails.
        if self._base_error is not None:
            return Failure(self._base_error)
        if self._errors:
            return Failure(self._group())
        return result

    @_owed
    def _let_go(self, result: Any) -> Any:
        self._close()
        return result

    def _close(self) -> None:
        self._state = "over"
        self._errors = {}
        self._base_error = self._cause = None
        for deferred in self._failed:
            mark_handled(deferred)
        self._failed = {}

    def _group(self) -> BaseException:
        if sys.version_info >= (3, 11):
            errors = [failure.value for failure in self._errors.values()]
            return builtins.BaseExceptionGroup(_MESSAGE, errors)
        return FailureGroup(list(self._errors.values()))


async def _forget_cancellation(task: Any) -> None:
    """Undo the cancellation of an asyncio task that was cancelled while it ran.

    Up to Python 3.12, `uncancel` is not enough: the next wait of the task would still be cancelled.
    So the task waits here, and the cancellation ends this wait.
    """
    if getattr(task, "_must_cancel", False):
        asyncio: Any = sys.modules["asyncio"]
        cancelling = getattr(task, "cancelling", int)
        before = cancelling()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if cancelling() > before:
                # Something else has cancelled it meanwhile.
                task.uncancel()
                task.cancel()


def _cancel_again(task: Any, cancelled: BaseException | None) -> None:
    """Cancel the next wait of a task that was cancelled, if its block raises another error.

    asyncio's groups do the same from Python 3.13 on. Otherwise, whoever cancelled the task might
    wait for its end in vain.
    """
    if hasattr(task, "uncancel"):
        # This is an asyncio task that counts its cancellations. The count has to stay the same.
        if task.cancelling():
            task.uncancel()
            task.cancel()
    elif cancelled is not None:
        cancel_task(task)
