"""Cancelling: with a reason; and protecting work from it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, TypeVar

from .. import _deferrous
from .._deferrous import Deferred, _delay, _end_all, _in_turn, _owed
from .._reasons import cancel_by, takes_reason
from .._timeout import _cancel as _cancel_reporting
from ._base import Delayed, Eventual, as_deferred
from ._several import WITHOUT_GIL

__all__ = ["cancel", "delay_cancellation", "shield"]

_T = TypeVar("_T")

#: Calls a function that cancels Deferreds, which may cancel others in turn.
in_turn = _in_turn
#: Callbacks, each of which is one native step.
_pass_on = _owed(_deferrous._pass_on)
_end_delayed = _owed(_deferrous._end_delayed)


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


def end_all(deferreds: Iterable[Deferred[Any]], reason: object = None) -> None:
    """Cancel several Deferreds. If a canceller raises, that is reported, and the rest go on.

    An error that is not an `Exception`, such as KeyboardInterrupt, is raised at the end.
    """
    _end_all(deferreds, reason, end)


def end(deferred: Deferred[Any], reason: object, begun: dict[str, Any]) -> None:
    """Cancel a Deferred. If a canceller raises, that is reported.

    An error that is not an `Exception` is raised. If "is_over" is not in `begun` then, call this
    again.
    """
    cancel_by(deferred, reason, partial(_cancel_reporting, begun=begun))


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
    outer: Delayed[_T] = Delayed(delay)
    vars(outer)["_part_of"] = inner
    inner.addBoth(_end_delayed, outer)
    return outer


@takes_reason
@_owed
def delay(outer: Deferred[Any], reason: object = None) -> None:
    """A canceller: the Deferred fails now, but its callbacks do not run yet."""
    if WITHOUT_GIL:
        # Whichever thread comes first, it fails once.
        vars(outer)["_is_delayed"] = True
        _delay(outer, reason)
    else:
        _delay(outer, reason)
