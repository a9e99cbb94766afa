"""Sharing: one result for several observers, one call for several callers."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar, overload

from .._deferrous import (
    AlreadyCalledError,
    Deferred,
    _end_all,
    _hand_over,
    _never_refused,
    _once,
    _owed,
    _owed_once,
    maybeDeferred,
    succeed,
)
from .._reasons import takes_reason
from . import _one_by_one
from ._base import Eventual, as_deferred, is_failure, was_cancelled
from ._several import if_several
from .cancellation import cancel, end

__all__ = ["Observable", "once"]

_T = TypeVar("_T")
_P = ParamSpec("_P")


@if_several(_one_by_one.observables)
class Observable(Generic[_T]):
    """Shares one result with any number of observers.

    Each observer is a Deferred with its own chain. Its callbacks, and cancelling it, do not affect
    the others. The observed Deferred keeps its result for later observers. When a failure has been
    observed, it counts as handled in the observed Deferred. Each observer must handle it instead.

    With `cancel_unobserved`, the observed Deferred is cancelled when all its observers have been
    cancelled.

    ```python
    from deferrous import Deferred, concurrency

    d = Deferred()
    shared = concurrency.Observable(d)
    shared.observe().addCallback(lambda result: print("one", result))
    shared.observe().addCallback(lambda result: print("other", result))
    d.callback(3)
    shared.observe().addCallback(lambda result: print("late", result))
    ```

    This prints one 3, other 3 and late 3.
    """

    def __init__(self, eventual: Eventual[_T], *, cancel_unobserved: bool = False) -> None:
        self._observers: dict[Deferred[_T], None] = {}
        self._cancel_unobserved = cancel_unobserved
        self._result: Any = None
        self._has_result = self._is_abandoned = self._was_observed = False
        self._deferred: Deferred[_T] | None = as_deferred(eventual)
        self._deferred.addBoth(self._fired)

    def __repr__(self) -> str:
        state = f"result {self._result!r}" if self._has_result else "no result"
        return f"<Observable with {state}, {self.observers()} observing>"

    def observe(self) -> Deferred[_T]:
        """Return a Deferred for the result. Cancelling it cancels nothing else."""
        if self._has_result:
            observer: Deferred[_T] = succeed(None)  # type: ignore[arg-type]
            if is_failure(self._result):
                observer = Deferred()
                observer.errback(self._result)
                self._take_failure()
                return observer
            return succeed(self._result)
        observer = Deferred(self._leave)
        self._observers[observer] = None
        return observer

    def has_result(self) -> bool:
        """Return whether there is a result, or a failure."""
        return self._has_result

    def observers(self) -> int:
        """Return the number of observers that wait for the result."""
        return 0 if self._has_result else len(self._observers)

    def cancel(self, reason: object = None) -> None:
        """Cancel the observed Deferred, for a reason if there is one."""
        if self._deferred is not None:
            cancel(self._deferred, reason)

    @takes_reason
    @_owed
    def _leave(self, observer: Deferred[_T], reason: object = None) -> None:
        self._observers.pop(observer, None)
        deferred = self._deferred
        if self._cancel_unobserved and not self._observers and not self._has_result:
            self._is_abandoned = True
            if deferred is not None:
                # The mark is in the observer: each observer that leaves counts once.
                _once(vars(observer), "_has_left", _end_all, (deferred,), reason, end)

    @_owed
    def _fired(self, result: Any) -> Any:
        self._result = result
        self._has_result = True
        observers = list(self._observers)
        self._was_observed = self._was_observed or bool(observers)
        for observer in observers:
            if not observer.called:
                try:
                    _hand_over(observer, result)
                except AlreadyCalledError:
                    # Another thread has cancelled it meanwhile.
                    pass
        self._observers = {}
        is_read = self._was_observed or (self._is_abandoned and was_cancelled(result))
        if is_failure(result) and is_read:
            self._deferred = None
            return None
        return result

    def _take_failure(self) -> None:
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            deferred.addErrback(_ignore)


@_never_refused
def _ignore(_: object) -> None:
    pass


@overload
def once(function: Callable[_P, Eventual[_T]]) -> Callable[_P, Deferred[_T]]: ...
@overload
def once(function: Callable[_P, _T]) -> Callable[_P, Deferred[_T]]: ...
def once(function: Callable[_P, Any]) -> Callable[_P, Deferred[Any]]:
    """Let callers that call a function at the same time share one call.

    Returns a function that returns a Deferred. While a call is running, further calls with equal
    arguments do not call the function again, but get a Deferred for the same result. When the call
    has ended, the next call starts a new one. Cancelling one of the Deferreds does not affect the
    others. When all of them have been cancelled, the call is cancelled.

    The arguments must be hashable.

    ```python
    from deferrous import Deferred, concurrency

    calls = []

    @concurrency.once
    def fetch(page):
        print("fetches", page)
        calls.append(Deferred())
        return calls[-1]

    fetch("index").addCallback(print)
    fetch("index").addCallback(print)
    calls[0].callback("text")
    ```

    This prints fetches index, and text twice.
    """
    under_way: dict[Any, Observable[Any]] = {}

    @wraps(function)
    def shared(*args: _P.args, **kwargs: _P.kwargs) -> Deferred[Any]:
        key = (args, tuple(sorted(kwargs.items()))) if kwargs else args
        observable = under_way.get(key)
        if observable is not None and not observable.has_result():
            return observable.observe()
        deferred: Deferred[Any] = maybeDeferred(function, *args, **kwargs)
        if deferred.called and not deferred.paused:
            return deferred

        @_owed_once
        def forget(result: Any) -> Any:
            if under_way.get(key) is observable:
                del under_way[key]
            return result

        observable = Observable(deferred, cancel_unobserved=True)
        # This comes last: if comparing arguments raises, that must not become a result.
        deferred.addBoth(forget)
        under_way[key] = observable
        return observable.observe()

    return shared
