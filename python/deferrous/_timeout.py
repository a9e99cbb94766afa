"""`Deferred.addTimeout`, and the old function `timeout`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _deferrous
from ._deprecation import deprecated
from .failure import Failure

__all__ = ["add_timeout", "timeout"]


def _cancelled_to_timed_out(result: Any, seconds: float) -> Any:
    """Replace a CancelledError by a TimeoutError. Raises any other failure again."""
    if isinstance(result, Failure):
        result.trap(_deferrous.CancelledError)
        raise _deferrous.TimeoutError(seconds, "Deferred")
    return result


def add_timeout(
    deferred: Any,
    timeout: float,
    clock: Any,
    onTimeoutCancel: Callable[[Any, float], Any] | None,
) -> Any:
    """Do what `Deferred.addTimeout` says."""
    timed_out = False

    def time_out() -> None:
        nonlocal timed_out
        timed_out = True
        deferred.cancel()

    call = clock.callLater(timeout, time_out)

    def convert(result: Any) -> Any:
        if timed_out:
            return (onTimeoutCancel or _cancelled_to_timed_out)(result, timeout)
        return result

    def stop_clock(result: Any) -> Any:
        if call.active():
            call.cancel()
        return result

    return deferred.addBoth(convert).addBoth(stop_clock)


@deprecated((17, 1, 0), lambda: f"{_deferrous.Deferred.__module__}.Deferred.addTimeout")
def timeout(deferred: Any) -> None:
    """Fail a Deferred with a TimeoutError.

    Raises AlreadyCalledError if the Deferred was fired before.
    """
    deferred.errback(Failure(_deferrous.TimeoutError("Callback timed out")))
