"""Time: sleeping, and deadlines.

Each takes a `clock`: a reactor of Twisted, an asyncio loop, or anything else with `callLater`, such
as `deferrous.testing.Clock`. By default it is the asyncio loop that runs, else the reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, overload

from .._clock import (
    AnyClock,
    now,
    resolve,
    start,
    start_at,
    stop,
    with_call_later,
)
from .._deferrous import (
    AlreadyCalledError,
    Deferred,
    _never_refused,
    _owed,
    _running_loop,
    _running_task,
    _Task,
)
from .._timeout import add_timeout
from ._base import (
    Delayed,
    Eventual,
    TimeoutError,
    as_deferred,
    is_cancellation,
    is_done,
    keep_until_done,
    not_a_number,
    was_cancelled,
)
from .cancellation import end_all
from .current import TASKS_COUNT, Block, find

__all__ = ["Timeout", "sleep", "timeout", "timeout_at", "wait_for"]

_T = TypeVar("_T")
_new = object.__new__


@overload
def sleep(
    delay: float, result: None = None, *, clock: AnyClock | None = None
) -> Deferred[None]: ...
@overload
def sleep(delay: float, result: _T, *, clock: AnyClock | None = None) -> Deferred[_T]: ...
def sleep(delay: float, result: Any = None, *, clock: AnyClock | None = None) -> Deferred[Any]:
    """Return a Deferred that fires with `result` after `delay` seconds.

    With zero or less, it fires in the next iteration of the clock. Cancelling the Deferred cancels
    the call on the clock.

    Errors:

    - ValueError: the delay is NaN.
    - RuntimeError: there is no clock.

    ```python
    from deferrous import concurrency, testing

    clock = testing.Clock()
    concurrency.sleep(3, "time is up", clock=clock).addCallback(print)
    clock.advance(3)
    ```

    This prints time is up.
    """
    if delay != delay:
        raise not_a_number("delay")
    clock = resolve(clock)
    sleeping = _Sleeping(result)
    deferred = sleeping.deferred = Deferred(sleeping)
    sleeping.stop = start(clock, max(delay, 0), sleeping.wake)
    return deferred


class _Sleeping:
    """The canceller of a Deferred of `sleep`. It drops its references at the end."""

    __slots__ = ("deferred", "result", "stop")

    deferred: Deferred[Any] | None
    stop: Callable[[], object] | None

    def __init__(self, result: Any) -> None:
        self.result = result

    @_owed
    def wake(self) -> None:
        deferred = self.deferred
        if deferred is not None and not deferred.called:
            try:
                deferred.callback(self.result)
            except AlreadyCalledError:
                # Another thread has cancelled it meanwhile.
                pass
        self.deferred = self.stop = None

    @_owed
    def __call__(self, _: Deferred[Any]) -> None:
        stop, self.stop, self.deferred = self.stop, None, None
        if stop is not None:
            stop()


def wait_for(
    eventual: Eventual[_T], timeout: float | None, *, clock: AnyClock | None = None
) -> Deferred[_T]:
    """Wait for something, and cancel it if it takes longer than `timeout` seconds.

    This works like `asyncio.wait_for`. It returns a Deferred for the result. If the time is up, the
    work is cancelled, and when it has ended, the Deferred fails with TimeoutError. If `timeout` is
    None, there is no limit. If it is zero or less, the result must already be there. Cancelling the
    Deferred cancels the work.

    ```python
    from deferrous import Deferred, concurrency, testing

    clock = testing.Clock()
    d = concurrency.wait_for(Deferred(), 3, clock=clock)
    d.addErrback(lambda failure: print(failure.type.__name__))
    clock.advance(3)
    ```

    This prints TimeoutError.
    """
    if timeout != timeout:
        raise not_a_number("timeout")
    if timeout is not None and timeout > 0:
        # Without a clock, the work does not even start.
        clock = resolve(clock)
    deferred: Deferred[_T] = as_deferred(eventual)
    if is_done(deferred):
        return deferred
    if deferred is not eventual:
        # The Deferred was made here. An asyncio task that awaits it must not continue before the
        # work has ended.
        deferred.__class__ = Delayed
    else:
        keep_until_done(deferred)
    if timeout is None:
        return deferred
    if timeout <= 0:
        end_all((deferred,))
        return deferred.addBoth(_timed_out, timeout)
    limited: Deferred[_T] = add_timeout(deferred, timeout, clock, _timed_out)
    return limited


@_never_refused
def _timed_out(result: Any, _: float) -> Any:
    if was_cancelled(result):
        raise TimeoutError from result.value
    return result


class Timeout(Block):
    """The deadline of a block. `timeout` and `timeout_at` return it.

    ```python
    from deferrous import concurrency, ensureDeferred
    from deferrous.testing import Clock


    async def main():
        async with concurrency.timeout(5, clock=Clock()) as deadline:
            print(deadline.when(), deadline.expired())


    ensureDeferred(main())
    ```

    This prints `5.0 False`.
    """

    # All timeouts have the same attributes, set in the same order, so that CPython can cache where
    # they are.
    _state: str
    #: The delayed call on the clock, while it is pending.
    _call: Any = None
    #: Whether it was made in the loop that is its clock.
    _is_of_loop: bool

    def __init__(self, when: float | None, *, clock: AnyClock | None = None) -> None:
        if when != when:
            raise not_a_number("deadline")
        self._clock: Any = None if clock is None else resolve(clock)
        self._when = when
        self._is_of_loop = False
        self._state = "created"

    def __repr__(self) -> str:
        when = "" if self._state not in ("active", "created") else f" when={self._when}"
        return f"<Timeout [{self._state}]{when}>"

    def when(self) -> float | None:
        """Return the deadline, in the clock's time, or None if there is none."""
        return self._when

    def expired(self) -> bool:
        """Return whether the block was cancelled because of the deadline."""
        return self._state in ("expiring", "expired")

    def reschedule(self, when: float | None) -> None:
        """Change or remove the deadline. Raises RuntimeError outside of the block."""
        if self._state != "active":
            if self._state == "created":
                raise RuntimeError("Timeout has not been entered")
            raise RuntimeError(f"Cannot change state of {self._state} Timeout")
        if when != when:
            raise not_a_number("deadline")
        self._when = when
        call = self._call
        if call is not None:
            stop(call)
            self._call = None
        if when is not None:
            if self._clock is None:
                self._clock = resolve(None)
            self._call = start_at(self._clock, when, self._expire)

    def __enter__(self) -> Timeout:
        if self._state != "created":
            raise RuntimeError("Timeout has already been entered")
        task = _running_task()
        if task is None:
            task = find()
        if task is None:
            raise RuntimeError(
                "Timeout should be used in a coroutine or generator that runs: under "
                "ensureDeferred, inlineCallbacks, or asyncio"
            )
        self._begin(task)
        return self

    def _begin(self, task: Any) -> None:
        when = self._when
        if when is not None:
            clock = self._clock
            if clock is None:
                clock = self._clock = resolve(None)
            self._call = start_at(clock, when, self._expire)
        self._state = "active"
        self._enter(task)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        call = self._call
        if call is not None:
            self._call = None
            stop(call)
        if self._state == "active":
            # Nothing was cancelled.
            self._task = None
            self._state = "exited"
            return
        is_the_cause = self._leave()
        if self._state != "expiring":
            self._state = "exited"
            return
        self._state = "expired"
        if is_the_cause and is_cancellation(exc_val):
            raise TimeoutError from exc_val

    async def __aenter__(self) -> Timeout:
        task = _running_task()
        if task is None or self._state != "created":
            return self.__enter__()
        if not self._is_of_loop or type(task) is _Task:
            self._begin(task)
            return self
        # In an asyncio task, on its own loop: `_begin` inline, which saves a Python call.
        self._call = self._clock.call_at(self._when, self._expire)
        self._state = "active"
        self._task = task
        if TASKS_COUNT:
            self._cancelling = task.cancelling()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if self._state != "active":
            self.__exit__(exc_type, exc_val, exc_tb)
            return
        # `__exit__` inline, which saves a call.
        call = self._call
        if call is not None:
            self._call = None
            if self._is_of_loop:
                call.cancel()
            else:
                stop(call)
        self._task = None
        self._state = "exited"

    @_owed
    def _expire(self) -> None:
        if self._state in ("active", "expiring"):
            self._call = None
            self._state = "expiring"
            self._cancel_task()


def timeout(delay: float | None, *, clock: AnyClock | None = None) -> Timeout:
    """Limit the time of a block: `async with` in a coroutine, `with` in a generator.

    This works like `asyncio.timeout`. After `delay` seconds, the block is cancelled, and raises
    TimeoutError. With None, there is no limit until `reschedule` sets one.

    ```python
    from deferrous import Deferred, concurrency, inlineCallbacks, testing

    @inlineCallbacks
    def work(clock):
        try:
            with concurrency.timeout(3, clock=clock):
                yield Deferred()
        except TimeoutError:
            print("too late")

    clock = testing.Clock()
    work(clock)
    clock.advance(3)
    ```

    This prints too late.
    """
    if delay is None:
        return Timeout(None, clock=clock)
    if delay != delay:
        raise not_a_number("delay")
    found: Any = _running_loop() if clock is None else clock
    # Without `__init__`, whose checks have been made above.
    it = _new(Timeout)
    it._clock = found
    # Like `resolve` and `now`, for known kinds of clocks.
    if type(found) is _last_loops and clock is None:
        it._when = found.time() + delay
        it._is_of_loop = True
    elif with_call_later.get(type(found)):
        it._when = found.seconds() + delay
        it._is_of_loop = False
    else:
        it._clock = found = resolve(clock)
        it._when = now(found) + delay
        it._is_of_loop = clock is None and _is_loop(found)
    it._state = "created"
    return it


#: The class of loops that was found last. Looking it up in a dict would take longer than the rest.
_last_loops: Any = None


def _is_loop(clock: Any) -> bool:
    """Return whether a clock is an asyncio loop. The answer is the same for its whole class."""
    global _last_loops
    if with_call_later.get(type(clock)) is not False:
        return False
    _last_loops = type(clock)
    return True


def timeout_at(when: float | None, *, clock: AnyClock | None = None) -> Timeout:
    """Limit the time of a block, like `timeout`, by the time at which the block has to end.

    Arguments:

    - `when`: the time of the clock: `loop.time()` or `reactor.seconds()`. None for no limit.
    - `clock`: the clock. By default, as for `timeout`.

    ```python
    from deferrous import Deferred, concurrency, ensureDeferred
    from deferrous.testing import Clock

    clock = Clock()


    async def main():
        try:
            async with concurrency.timeout_at(clock.seconds() + 5, clock=clock):
                await Deferred()
        except TimeoutError:
            print("too late")


    ensureDeferred(main())
    clock.advance(5)
    ```

    This prints `too late`.
    """
    return Timeout(when, clock=clock)
