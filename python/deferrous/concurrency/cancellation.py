"""Cancelling: with a reason, not at all, and later."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from .._deferrous import CancelledError, Deferred, _hand_over, _never_refused
from .._reasons import cancel_by
from .._timeout import _cancel as _cancel_reporting
from ..failure import Failure
from ._base import Eventual, as_deferred, is_done, is_failure

__all__ = ["cancel", "delay_cancellation", "shield"]

_T = TypeVar("_T")


def cancel(deferred: Deferred[Any], reason: object = None) -> None:
    """Cancel a Deferred with a reason, which becomes the argument of the CancelledError.

    Without a reason, this does the same as `deferred.cancel()`. As always, a canceller may fire its
    Deferred with another failure, and then the reason is not used.

    ```python
    from deferrous import Deferred, concurrency, ensureDeferred

    async def work():
        await Deferred()

    d = ensureDeferred(work())
    concurrency.cancel(d, "the server stops")
    d.addErrback(lambda failure: print(failure.value))
    ```

    This prints the server stops.
    """
    cancel_by(deferred, reason, lambda it: it.cancel())


#: So many cancellations are nested. Each takes ten calls of Python or so.
_DEEPEST = 10


class _Cancelling:
    """The cancellations that are nested on one stack."""

    __slots__ = ("depth", "later")

    def __init__(self) -> None:
        self.depth = 0
        #: What is left to the outermost.
        self.later: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def do_later(self, raised: BaseException | None) -> None:
        """Do what is left to the outermost: that which was nested in the last comes next.

        Raises what the first has raised, or the first of these, when all are done.
        """
        rest: list[tuple[Callable[..., object], tuple[Any, ...]]] = self.later[::-1]
        self.later = []
        while rest:
            work, args = rest.pop()
            try:
                work(*args)
            except BaseException as error:
                if raised is None:
                    raised = error
            if self.later:
                rest += reversed(self.later)
                self.later = []
        try:
            if raised is not None:
                raise raised
        finally:
            # Its traceback refers to this frame.
            raised = None


class _OfThread(threading.local):
    def __init__(self) -> None:
        #: By the address of the greenlet; 0 without greenlets.
        self.cancelling: dict[int, _Cancelling] = {}


_of_thread = _OfThread()


def in_turn(work: Callable[..., object], *args: Any) -> None:
    """Do something that cancels others, which may do so in turn, and so on.

    Thousands of groups in groups would nest more calls than the interpreter allows. So what is
    nested deep is done a little later, by the outermost of those on the same stack.
    """
    greenlet = 0
    if "greenlet" in sys.modules:
        current = getattr(sys.modules["greenlet"], "getcurrent", None)
        greenlet = 0 if current is None else id(current())
    all_here = _of_thread.cancelling
    it = all_here.get(greenlet)
    if it is None:
        it = all_here[greenlet] = _Cancelling()
        raised: BaseException | None = None
        try:
            try:
                work(*args)
            except BaseException as error:
                if not it.later:
                    raise
                raised = error
            if it.later:
                it.do_later(raised)
        finally:
            # Its traceback refers to this frame.
            raised = None
            del all_here[greenlet]
    elif it.depth < _DEEPEST:
        it.depth += 1
        try:
            work(*args)
        finally:
            it.depth -= 1
    else:
        it.later.append((work, args))


def end_all(deferreds: Iterable[Deferred[Any]], reason: object = None) -> None:
    """Cancel Deferreds that have to end. What a canceller raises is reported, and keeps none.

    What is no Exception, as KeyboardInterrupt, is raised when all are cancelled.
    """
    raised: BaseException | None = None
    for deferred in list(deferreds):
        try:
            in_turn(end, deferred, reason)
        except BaseException as error:
            raised = error
    try:
        if raised is not None:
            raise raised
    finally:
        raised = None


def end(deferred: Deferred[Any], reason: object) -> None:
    """Cancel a Deferred that has to end. What a canceller raises is reported."""
    if type(deferred) is Deferred and not deferred.called and not deferred._canceller:
        # There is nobody who could raise anything.
        cancel(deferred, reason)
    else:
        cancel_by(deferred, reason, _cancel_reporting)


def shield(eventual: Eventual[_T]) -> Deferred[_T]:
    """Return a Deferred for something that continues if the Deferred is cancelled.

    This works like `asyncio.shield`. If the returned Deferred is cancelled, it fails at once, and
    the work continues. If the work fails later, and that failure is not handled, it is reported.

    ```python
    from deferrous import Deferred, concurrency

    work = Deferred()
    waiting = concurrency.shield(work)
    waiting.addErrback(lambda failure: print(failure.type.__name__))
    waiting.cancel()
    work.addCallback(print)
    work.callback("goes on")
    ```

    This prints CancelledError, and goes on.
    """
    inner = as_deferred(eventual)
    outer: Deferred[_T] = Deferred()
    # For the graph of what waits for what.
    vars(outer)["_part_of"] = inner
    inner.addBoth(_pass_on, outer)
    return outer


@_never_refused
def _pass_on(result: Any, outer: Deferred[Any]) -> Any:
    """Fire another Deferred with a result, too. A failure is that one's then."""
    vars(outer).pop("_part_of", None)
    if outer.called:
        return result
    _hand_over(outer, result)
    return None if is_failure(result) else result


def delay_cancellation(eventual: Eventual[_T]) -> Deferred[_T]:
    """Return a Deferred that, when it is cancelled, first waits for the work to end.

    The work itself is not cancelled. When it has ended, the Deferred fails with a CancelledError.
    So the caller does not go on, or release a lock, while the work is still running.

    ```python
    from deferrous import Deferred, concurrency

    work = Deferred()
    waiting = concurrency.delay_cancellation(work)
    waiting.addErrback(lambda failure: print(failure.type.__name__))
    waiting.cancel()
    print("waits")
    work.callback(None)
    ```

    This prints waits, and CancelledError.
    """
    inner = as_deferred(eventual)
    outer: _Delayed[_T] = _Delayed(_delay)
    vars(outer)["_part_of"] = inner
    inner.addBoth(_end_delayed, outer)
    return outer


@_never_refused
def _delay(outer: Deferred[Any]) -> None:
    # It fails here and now, but nobody sees that yet.
    outer.pause()
    outer.errback(Failure(CancelledError()))


@_never_refused
def _end_delayed(result: Any, outer: _Delayed[Any]) -> Any:
    vars(outer).pop("_part_of", None)
    if outer.paused:
        in_turn(outer.unpause)
    elif not outer.called:
        _hand_over(outer, result)
        return None if is_failure(result) else result
    return result


class _Delayed(Deferred[_T]):
    """One that ends later than it is cancelled.

    A task of asyncio that is cancelled would go on at once. It is kept until then.
    """

    def __await__(self) -> Generator[Any, Any, _T]:
        try:
            return (yield from Deferred.__await__(self))
        except GeneratorExit:
            raise
        except BaseException:
            while not is_done(self):
                try:
                    yield from Deferred.__await__(self)
                except GeneratorExit:
                    raise
                except BaseException:
                    # It is cancelled once more, or this is how it has ended.
                    pass
            raise
