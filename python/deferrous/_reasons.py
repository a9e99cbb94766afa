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

#: What an attribute of a Deferred is, whatever a subclass says.
_CALLED: Any = Deferred.__dict__["called"]
_CANCELLER: Any = Deferred.__dict__["_canceller"]


def is_done(deferred: Deferred[Any]) -> bool:
    """Return whether a Deferred has fired and is neither paused nor waiting for another."""
    return deferred.called and not deferred.paused and deferred._chainedTo is None


def cancel_as(deferred: Any, error: object) -> None:
    """Cancel a Deferred because who waits for it was. asyncio's exception has the reason."""
    asyncio: Any = sys.modules.get("asyncio.exceptions")
    reason = None
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        reason = reason_of(error)
    cancel_by(deferred, reason, lambda it: it.cancel())


def reason_of(error: BaseException) -> object:
    """Return the reason that a CancelledError has arrived with, or None."""
    return error.args[0] if error.args else None


def takes_reason(canceller: Any) -> Any:
    """Mark a canceller that is called with the reason, too, if `concurrency.cancel` has one."""
    canceller.takes_reason = True
    return canceller


def cancel_by(deferred: Deferred[Any], reason: object, how: Callable[[Any], None]) -> None:
    """Cancel a Deferred by a function, and have a reason arrive that is not None."""
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
    """List the Deferreds whose cancellers are asked if this is cancelled, as far as can be seen.

    What is made of several, and fails by itself if it is cancelled, is told the reason.
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
    """A canceller that gives a reason if another one, or none, leaves it at that."""

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
                # It stands for a future, or for what it cancels in turn, which has it from there.
                _deferrous._do(canceller, deferred, self.reason)
            elif canceller:
                # Natively, so that one of ours is whole.
                _deferrous._do(canceller, deferred)
        elif isinstance(canceller, _deferrous._ConcurrencyPrimitive):
            canceller._cancelAcquire(deferred)
        elif isinstance(canceller, _deferrous.DeferredQueue):
            canceller._cancelGet(deferred)
        else:
            # There was nobody to be asked, so a late result is of no interest.
            deferred._suppressAlreadyCalled = True
        if not _CALLED.__get__(deferred):
            deferred.errback(Failure(CancelledError(self.reason)))
