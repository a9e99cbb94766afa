"""Looking on at a Deferred on behalf of many, with one place in its chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from .._deferrous import Deferred, _never_refused
from ._base import is_failure


class _Watch:
    """Looks on at a Deferred on behalf of many, with one place in its chain."""

    __slots__ = ("_seen", "_watching")

    def __init__(self) -> None:
        self._watching: dict[Callable[[Deferred[Any], Any], object], None] = {}

    @_never_refused
    def fired(self, result: Any, deferred: Deferred[Any]) -> Any:
        del _watches[deferred]
        watching, self._watching = self._watching, {}
        tell(watching, deferred, result)
        return result


def tell(
    watching: Iterable[Callable[[Deferred[Any], Any], object]], deferred: Deferred[Any], result: Any
) -> None:
    """Tell these of a Deferred's result, in a callback of its own.

    Whoever awaits it then gets its failure, and would not have handled it: it comes to rest on that
    later. So it is paused meanwhile, and who awaits it stands in line for the failure.
    """
    failed = is_failure(result)
    if failed:
        deferred.pause()
    try:
        for see in watching:
            see(deferred, result)
    finally:
        if failed:
            deferred.unpause()


_watches: WeakKeyDictionary[Deferred[Any], _Watch] = WeakKeyDictionary()


def watch(deferred: Deferred[Any], see: Callable[[Deferred[Any], Any], object]) -> None:
    """Have a function called with a Deferred that has no result yet, and its result, once it has.

    The result stays where it is. What it is called for is undone by `unwatch`, in constant time.
    """
    it = _watches.get(deferred)
    if it is None:
        it = _watches[deferred] = _Watch()
        it._watching[see] = None
        deferred.addBoth(it.fired, deferred)
    else:
        it._watching[see] = None


def unwatch(deferred: Deferred[Any], see: Callable[[Deferred[Any], Any], object]) -> None:
    """Do not call a function any more."""
    it = _watches.get(deferred)
    if it is not None:
        it._watching.pop(see, None)
