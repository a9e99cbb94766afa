"""`Deferred.addTimeout`, and the old function `timeout`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import BuiltinMethodType
from typing import Any

from . import _deferrous
from ._clock import asks_first, resolve, start
from ._deprecation import deprecated
from ._report import log_failure
from ._waiting import several_of, task_of
from .failure import Failure

__all__ = ["add_timeout", "timeout"]


@_deferrous._never_refused
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
    """List the CancelledErrors of the futures of asyncio and of threads, if these are in use."""
    modules = map(sys.modules.get, ("asyncio.exceptions", "concurrent.futures._base"))
    classes = (getattr(module, "CancelledError", None) for module in modules)
    return tuple(cls for cls in classes if cls is not None)


#: Read `called` and the canceller of a Deferred, even if a subclass overrides them.
_CALLED: Any = _deferrous.Deferred.__dict__["called"]
_CANCELLER: Any = _deferrous.Deferred.__dict__["_canceller"]

#: For each timeout that is cancelling: the Deferreds in lists whose `cancel` has raised, with the
#: errors.
_under_way: dict[int, list[tuple[Any, BaseException]]] = {}


@_deferrous._never_refused
def canceller_raised(failure: Any, deferred: Any) -> None:
    """Report that the `cancel` of a Deferred in a list has raised."""
    _report_canceller(failure)
    for raised in list(_under_way.values()):
        raised.append((deferred, failure.value))


@_deferrous._never_refused
def _cancel(deferred: Any, begun: dict[str, Any] | None = None) -> None:
    """Cancel a Deferred whose time is up. The Deferred ends even if a canceller raises.

    The canceller's error is reported, and the Deferred fails as if it had no canceller: a late
    result is ignored. An error that is not an `Exception` is raised again at the end.

    `begun` records the progress. If a signal's exception interrupts this, call it again with the
    same dict, until the dict contains "is_over".
    """
    is_repeated = begun is not None
    begun = {} if begun is None else begun
    try:
        if "is_begun" not in begun:
            _begin_to_cancel(deferred, begun)
        raised = begun["raised"]
        if "has_returned" not in begun:
            # A signal has interrupted the step before.
            raised.append((_last_of_those(deferred), _deferrous.CancelledError()))
            begun["has_returned"] = True
        for each, _ in raised:
            if isinstance(each, _deferrous.Deferred) and not _CALLED.__get__(each):
                _fail(each)
        if is_repeated:
            _deferrous._do(_remove_guards, begun)
    finally:
        # If this is interrupted and called again, it still needs them.
        if not is_repeated or "is_begun" not in begun:
            _deferrous._do(_remove_guards, begun)
    begun["is_over"] = True
    for _, error in raised:
        if not isinstance(error, Exception):
            raise error
    if "error" in begun:
        raise begun["error"]


def _begin_to_cancel(deferred: Any, begun: dict[str, Any]) -> None:
    """Cancel a Deferred, and note those whose `cancel` raises."""
    asked, plain = _to_be_asked(deferred)
    raised: list[tuple[Any, BaseException]] = []
    guarded: list[tuple[Any, Any, Any]] = []
    begun["raised"], begun["guarded"] = raised, guarded
    for each in asked:
        canceller = _CANCELLER.__get__(each)
        guard = _guard(canceller, raised)
        guarded.append((each, canceller, guard))
        _CANCELLER.__set__(each, guard)
    _under_way[id(raised)] = raised
    try:
        _deferrous._once(begun, "is_begun", deferred.cancel)
    except BaseException as error:
        if "is_begun" not in begun:
            raise
        last = _last_of_those(deferred)
        if plain and _CALLED.__get__(last):
            # This error does not come from a canceller, but from a later step.
            begun["error"] = error
        else:
            raised.append((last, error))
            if isinstance(error, Exception):
                _report_canceller(Failure())
    begun["has_returned"] = True


@_deferrous._never_refused
def _end(raised: list[tuple[Any, BaseException]]) -> None:
    """Fail the Deferreds whose `cancel` has raised. Raises an error that is not an `Exception`."""
    for each, _ in raised:
        if isinstance(each, _deferrous.Deferred) and not _CALLED.__get__(each):
            _fail(each)
    for _, error in raised:
        if not isinstance(error, Exception):
            raise error


@_deferrous._whole
def _remove_guards(begun: dict[str, Any]) -> None:
    """Restore the original cancellers of the Deferreds."""
    for each, canceller, guard in begun.get("guarded", ()):
        if _CANCELLER.__get__(each) is guard:
            _CANCELLER.__set__(each, canceller)
    if "raised" in begun:
        _under_way.pop(id(begun["raised"]), None)


def _fail(deferred: Any) -> None:
    """Fail a Deferred as if it had been cancelled, and ignore what it is fired with later."""
    deferred._suppressAlreadyCalled = True
    deferred.errback(Failure(_deferrous.CancelledError()))


def _report_canceller(failure: Any) -> None:
    log_failure(failure, "Exception raised from user supplied canceller")


class _Asking:
    """Whether a canceller is being asked now."""

    __slots__ = ("is_asked",)

    def __init__(self) -> None:
        self.is_asked = False


def _guard(canceller: Any, raised: list[tuple[Any, BaseException]]) -> Callable[[Any], None]:
    """Wrap a canceller so that it raises nothing."""

    marks: dict[str, bool] = {}
    asking = _Asking()

    @_deferrous._whole
    def cancel(deferred: Any) -> None:
        if asking.is_asked:
            # The canceller cancels its own Deferred, so it is called again.
            _guard(canceller, raised)(deferred)
            return
        try:
            if not marks and canceller:
                # From native code, so that a step of ours is repeated after a signal. It is called
                # only once.
                ask = partial(_deferrous._do, canceller, deferred)
                _deferrous._once(marks, "is_asked", _deferrous._within, asking, "is_asked", ask)
                marks["has_returned"] = True
        except BaseException as error:
            if not marks and not isinstance(error, Exception):
                # The exception of a signal: this step will be repeated.
                raise
            raised.append((None, error))
            if isinstance(error, Exception):
                _report_canceller(Failure())
        if not ("has_returned" in marks or _CALLED.__get__(deferred)):
            deferred._suppressAlreadyCalled = True

    return cancel


def _to_be_asked(deferred: Any) -> tuple[list[Any], bool]:
    """List the Deferreds whose cancellers would run if this were cancelled, as far as is known.

    The cancellers of generators, races, locks and queues are ours, and are left out. Also returns
    whether no `cancel` method is overridden.
    """
    ours = (_deferrous._ConcurrencyPrimitive, _deferrous.DeferredQueue)
    plain = (_deferrous.Deferred.cancel, _deferrous.DeferredList.cancel)
    rest, seen, found = [deferred], set(), []
    all_plain = True
    while rest:
        each = rest.pop()
        if not isinstance(each, _deferrous.Deferred) or id(each) in seen:
            continue
        seen.add(id(each))
        if type(each).cancel not in plain or "cancel" in vars(each):
            all_plain = False
        if _CALLED.__get__(each):
            rest.append(getattr(each, "result", None))
            continue
        _, waits_for = task_of(each)
        rest += [waits_for, *(several_of(each) or ())]
        canceller = _CANCELLER.__get__(each)
        if canceller is None or isinstance(canceller, ours):
            continue
        if type(canceller) not in (_deferrous._Task, _deferrous._Race):
            found.append(each)
    return found, all_plain


def _last_of_those(deferred: Any) -> Any:
    """Follow Deferreds that wait for each other, and return the last one."""
    seen: set[int] = set()
    while _CALLED.__get__(deferred) and id(deferred) not in seen:
        seen.add(id(deferred))
        result = getattr(deferred, "result", None)
        if not isinstance(result, _deferrous.Deferred):
            break
        deferred = result
    return deferred


class _Limit:
    """The state of a timeout, shared by its callbacks and the delayed call."""

    __slots__ = ("deferred", "on_cancel", "seconds", "timed_out")

    def __init__(
        self, deferred: Any, seconds: float, on_cancel: Callable[[Any, float], Any] | None
    ) -> None:
        self.deferred = deferred
        self.seconds = seconds
        self.on_cancel = on_cancel
        self.timed_out = False

    @_deferrous._never_refused
    def timeItOut(self) -> None:
        """What the clock calls."""
        self.timed_out = True
        _cancel(self.deferred)

    # A clock shows its delayed calls by this name: that of Twisted's function.
    timeItOut.__qualname__ = "Deferred.addTimeout.<locals>.timeItOut"


@_deferrous._never_refused
def _convert(result: Any, limit: _Limit) -> Any:
    if limit.timed_out:
        return (limit.on_cancel or _cancelled_to_timed_out)(result, limit.seconds)
    return result


@_deferrous._never_refused
def _stop_clock(result: Any, limit: _Limit, stop: Callable[[], object]) -> Any:
    # As in Twisted, the call is asked whether it is active, even if it is over.
    if not limit.timed_out or asks_first(stop):
        stop()
    return result


def add_timeout(
    deferred: Any,
    timeout: float,
    clock: Any,
    onTimeoutCancel: Callable[[Any, float], Any] | None,
) -> Any:
    """Do what `Deferred.addTimeout` says."""
    limit = _Limit(deferred, timeout, onTimeoutCancel)
    stop = start(resolve(clock), timeout, limit.timeItOut)
    try:
        return _add_callbacks(deferred, limit, stop)
    except BaseException:
        # Nothing else would stop the clock when the Deferred fires.
        stop()
        raise


def _add_callbacks(deferred: Any, limit: _Limit, stop: Callable[[], object]) -> Any:
    add = deferred.addBoth
    if type(add) is BuiltinMethodType:
        return add(_convert, limit).addBoth(_stop_clock, limit, stop)
    # The method of a subclass may accept only one argument: Twisted passes no more.
    converted = add(lambda result: _convert(result, limit))
    return converted.addBoth(lambda result: _stop_clock(result, limit, stop))


@deprecated((17, 1, 0), lambda: f"{_deferrous.Deferred.__module__}.Deferred.addTimeout")
def timeout(deferred: Any) -> None:
    """Fail a Deferred with a TimeoutError. Use `Deferred.addTimeout` instead.

    Arguments:

    - `deferred`: the Deferred to fail.

    Errors:

    - AlreadyCalledError: the Deferred has been fired already.
    """
    deferred.errback(Failure(_deferrous.TimeoutError("Callback timed out")))
