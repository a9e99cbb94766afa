"""Cancelling a Deferred for a reason, which arrives in the CancelledError."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from . import _deferrous
from ._deferrous import CancelledError, Deferred
from ._waiting import several_of
from .failure import Failure

__all__ = ["cancel_as", "cancel_by", "is_done", "reason_of", "takes_reason"]

#: Reads an attribute of a Deferred, even if a subclass overrides it.
_CALLED: Any = Deferred.__dict__["called"]
_CANCELLER: Any = Deferred.__dict__["_canceller"]


def is_done(deferred: Deferred[Any]) -> bool:
    """Return whether a Deferred has fired and is neither paused nor waiting for another."""
    return deferred.called and not deferred.paused and deferred._chainedTo is None


def cancel_as(deferred: Any, error: object) -> None:
    """Cancel a Deferred because its waiter was cancelled. asyncio's exception has the reason."""
    asyncio: Any = sys.modules.get("asyncio.exceptions")
    reason = None
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        reason = reason_of(error)
    cancel_by(deferred, reason, lambda it: it.cancel())


def reason_of(error: BaseException) -> object:
    """Return the reason in a CancelledError, or None."""
    return error.args[0] if error.args else None


def takes_reason(canceller: Any) -> Any:
    """Mark a canceller that accepts the reason of `concurrency.cancel` as a second argument."""
    canceller.takes_reason = True
    return canceller


def cancel_by(deferred: Deferred[Any], reason: object, how: Callable[[Any], None]) -> None:
    """Cancel a Deferred by calling a function, and pass on the reason, unless that is None."""
    if reason is None:
        how(deferred)
        return
    changed = []
    for each in _to_fail(deferred, reason):
        canceller = _CANCELLER.__get__(each)
        with_reason = _WithReason(canceller, reason)
        _CANCELLER.__set__(each, with_reason)
        changed.append((each, canceller, with_reason))
    try:
        how(deferred)
    finally:
        for each, canceller, with_reason in changed:
            if _CANCELLER.__get__(each) is with_reason:
                _CANCELLER.__set__(each, canceller)


def _to_fail(deferred: Any, reason: object) -> list[Any]:
    """List the Deferreds whose cancellers will be called if this is cancelled, as far as is known.

    A gathering, which fails by itself if it is cancelled, is told the reason here.
    """
    rest, seen, found = [deferred], set(), []
    while rest:
        each = rest.pop()
        if not isinstance(each, Deferred) or id(each) in seen:
            continue
        seen.add(id(each))
        if _CALLED.__get__(each):
            rest.append(getattr(each, "result", None))
            continue
        canceller = _CANCELLER.__get__(each)
        if type(canceller) is _deferrous._Task:
            rest.append(canceller._waiting_on)
            continue
        several = several_of(each)
        if several is None:
            found.append(each)
        else:
            tell = getattr(each, "_cancelled_for", None)
            if callable(tell):
                tell(reason)
            rest += [one for one in several if not is_done(one)]
    return found


class _WithReason:
    """A canceller that fails a Deferred with a reason, if the original one does not fire it."""

    __slots__ = ("canceller", "reason")

    def __init__(self, canceller: Any, reason: object) -> None:
        self.canceller = canceller
        self.reason = reason

    @property
    def what(self) -> Any:
        """The `what` of the place in a line that this replaces."""
        return self.canceller.what

    def __call__(self, deferred: Any) -> None:
        canceller = self.canceller
        if callable(canceller):
            if getattr(canceller, "takes_reason", None) is True:
                # It cancels a future or another Deferred, through which the reason arrives.
                _deferrous._do(canceller, deferred, self.reason)
            elif canceller:
                # From native code, so that a step of ours is repeated after a signal.
                _deferrous._do(canceller, deferred)
        elif isinstance(canceller, _deferrous._ConcurrencyPrimitive):
            canceller._cancelAcquire(deferred)
        elif isinstance(canceller, _deferrous.DeferredQueue):
            canceller._cancelGet(deferred)
        else:
            # There was no canceller, so a late result is ignored.
            deferred._suppressAlreadyCalled = True
        if not _CALLED.__get__(deferred):
            deferred.errback(Failure(CancelledError(self.reason)))
