"""`gather`: the results of several Deferreds as one list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

from .._deferrous import (
    CancelledError,
    Deferred,
    DeferredList,
    _end_all,
    _never_refused,
    _once,
    _owed,
    _whole,
    _within,
    gatherResults,
)
from .._gathering import FirstError
from ..failure import Failure
from ._base import Delayed, Eventual, each_of
from .cancellation import end, in_turn

__all__ = ["gather"]

_T = TypeVar("_T")


@overload
def gather(
    *eventuals: Eventual[_T],
    return_exceptions: Literal[False] = False,
    cancel_losers: bool = False,
) -> Deferred[list[_T]]: ...
@overload
def gather(
    *eventuals: Eventual[_T], return_exceptions: bool, cancel_losers: bool = False
) -> Deferred[list[_T | BaseException]]: ...
def gather(
    *eventuals: Any, return_exceptions: bool = False, cancel_losers: bool = False
) -> Deferred[list[Any]]:
    """Return a Deferred that fires with the list of all results, in the order of the arguments.

    This works like `asyncio.gather`. If one of them fails, the Deferred fails at once with the same
    exception. The others continue, and their failures are dropped. With `return_exceptions`, the
    list contains exceptions as well as results. With `cancel_losers`, a failure cancels the others,
    and the Deferred fails when they have ended. Cancelling the Deferred cancels all of them.

    Errors:

    - TypeError: an argument cannot be awaited. In that case, nothing is started.

    ```python
    from deferrous import concurrency, fail, succeed

    d = concurrency.gather(succeed(1), fail(KeyError("no")), return_exceptions=True)
    d.addCallback(print)
    ```

    This prints [1, KeyError('no')].
    """
    deferreds = each_of(eventuals)
    if return_exceptions:
        gathered = _Gathered(deferreds, consumeErrors=True)
        return gathered.addCallback(gathered.results)
    if cancel_losers:
        return _Losers().begin(deferreds)
    first: Any = gatherResults(deferreds, consumeErrors=True)
    if first.called:
        return first.addErrback(_without_place)  # type: ignore[no-any-return]
    first.__class__ = _Gathering
    return first.addCallbacks(first.unless_cancelled, _without_place)  # type: ignore[no-any-return]


@_never_refused
def _without_place(failure: Failure) -> Failure:
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure


class _Gathering(Delayed[Any], DeferredList[Any]):
    """A DeferredList that fails if it was cancelled itself, when all its Deferreds have ended.

    A cancelled asyncio task that awaits it is kept waiting until then.
    """

    is_cancelled = False
    reason: object = None

    def _cancelled_for(self, reason: object) -> None:
        self.reason = reason

    def cancel(self) -> None:
        self.is_cancelled = not self.called or self.is_cancelled
        in_turn(super().cancel)

    @_never_refused
    def unless_cancelled(self, results: Any) -> Any:
        if self.is_cancelled:
            raise CancelledError if self.reason is None else CancelledError(self.reason)
        return results


class _Gathered(_Gathering):
    """A gathering whose results may be exceptions."""

    @_never_refused
    def results(self, pairs: list[tuple[bool, Any]]) -> list[Any]:
        self.unless_cancelled(pairs)
        return [value if success else value.value for success, value in pairs]


class _WithLosers(_Gathering):
    """A gathering that tells its `_Losers` when it is cancelled itself."""

    losers: _Losers

    def cancel(self) -> None:
        self.is_cancelled = not self.called or self.is_cancelled
        in_turn(self.losers.cancel, super(_Gathering, self).cancel)


class _Losers:
    """Gathers Deferreds; when one fails, the others are cancelled."""

    failure: Failure | None = None
    deferreds: list[Deferred[Any]] | None
    #: Whether all have been cancelled because one has failed.
    are_cancelled = False
    #: Whether all are being cancelled. Then a failure need not cancel the others.
    cancels_all = False

    def begin(self, deferreds: list[Deferred[Any]]) -> Deferred[list[Any]]:
        self.deferreds = deferreds
        for deferred in dict.fromkeys(deferreds):
            deferred.addErrback(self.lost)
        gathered = _WithLosers(deferreds, consumeErrors=True)
        gathered.losers = self
        # The first failure takes precedence, as with asyncio.
        gathered.addCallback(self.results).addCallback(gathered.unless_cancelled)
        return gathered.addBoth(self.let_go)

    def cancel(self, how: Callable[[], None]) -> None:
        # Set before, so that the first one that ends does not cancel the others again.
        self.are_cancelled = True
        if self.cancels_all:
            how()
        else:
            _within(self, "cancels_all", how)

    @_owed
    def lost(self, failure: Failure) -> Failure:
        if self.failure is None:
            self.failure = failure
        if not self.cancels_all:
            _once(self, "are_cancelled", _end_all, self.deferreds or (), None, end)
        return failure

    @_whole
    def results(self, pairs: list[tuple[bool, Any]]) -> Any:
        failure = self.failure
        return [value for _, value in pairs] if failure is None else failure

    @_owed
    def let_go(self, result: Any) -> Any:
        self.deferreds = self.failure = None
        return result
