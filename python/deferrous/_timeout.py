"""`Deferred.addTimeout`, and the old function `timeout`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from . import _deferrous
from ._deprecation import deprecated
from ._report import log_failure
from ._waiting import several_of, task_of
from .failure import Failure

__all__ = ["add_timeout", "timeout"]


def _cancelled_to_timed_out(result: Any, seconds: float) -> Any:
    """Replace a CancelledError by a TimeoutError. Raises any other failure again.

    Unlike with Twisted, the CancelledError of a future is one as well.
    """
    if isinstance(result, Failure):
        if not isinstance(result.value, _futures_cancelled()):
            result.trap(_deferrous.CancelledError)
        raise _deferrous.TimeoutError(seconds, "Deferred")
    return result


def _futures_cancelled() -> tuple[type[BaseException], ...]:
    """List what futures of asyncio and of threads are cancelled with, where they are in use."""
    modules = map(sys.modules.get, ("asyncio.exceptions", "concurrent.futures._base"))
    classes = (getattr(module, "CancelledError", None) for module in modules)
    return tuple(cls for cls in classes if cls is not None)


def _cancel(deferred: Any) -> None:
    """Cancel a Deferred whose time has run out. Whatever a canceller raises, there is an end to it.

    What it raises is reported, and the Deferred fails as if it had no canceller: what the
    operation comes to after all is ignored.
    """
    guarded = []
    for each in _to_be_asked(deferred):
        canceller = each._canceller
        each._canceller = guard = _guard(canceller)
        guarded.append((each, canceller, guard))
    try:
        deferred.cancel()
    except BaseException:
        # By a `cancel` of a subclass, say.
        _report_canceller()
        last = _last_of_those(deferred)
        if not last.called:
            last._suppressAlreadyCalled = True
            last.errback(Failure(_deferrous.CancelledError()))
    for each, canceller, guard in guarded:
        if each._canceller is guard:
            each._canceller = canceller


def _report_canceller() -> None:
    log_failure(Failure(), "Exception raised from user supplied canceller")


def _guard(canceller: Any) -> Callable[[Any], None]:
    """Make a canceller that raises nothing of one that may."""

    def cancel(deferred: Any) -> None:
        try:
            asked = bool(canceller)
            if asked:
                canceller(deferred)
        except BaseException:
            asked = False
            _report_canceller()
        if not (asked or deferred.called):
            deferred._suppressAlreadyCalled = True

    return cancel


def _to_be_asked(deferred: Any) -> list[Any]:
    """List the Deferreds whose cancellers are asked, as far as can be seen, if this is cancelled.

    Those of generators, races, locks and queues are ours, and are left out.
    """
    ours = (_deferrous._ConcurrencyPrimitive, _deferrous.DeferredQueue)
    rest, seen, found = [deferred], set(), []
    while rest:
        each = rest.pop()
        if not isinstance(each, _deferrous.Deferred) or id(each) in seen:
            continue
        seen.add(id(each))
        if each.called:
            rest.append(getattr(each, "result", None))
            continue
        _, waits_for = task_of(each)
        rest += [waits_for, *(several_of(each) or ())]
        canceller = each._canceller
        if canceller is None or isinstance(canceller, ours):
            continue
        if type(canceller).__name__ not in ("_Task", "_Race"):
            found.append(each)
    return found


def _last_of_those(deferred: Any) -> Any:
    """Return what a Deferred waits for, if it waits, and that one waits for, and so on."""
    seen: set[int] = set()
    while deferred.called and id(deferred) not in seen:
        seen.add(id(deferred))
        result = getattr(deferred, "result", None)
        if not isinstance(result, _deferrous.Deferred):
            break
        deferred = result
    return deferred


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
        _cancel(deferred)

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
