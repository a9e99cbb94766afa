"""Watches a Deferred for many observers, with one callback in its chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from .._deferrous import Deferred, _once, _tell, _whole


class _Watch:
    """Watches a Deferred for many observers, with one callback in its chain."""

    __slots__ = ("_has_told", "_watching")

    def __init__(self) -> None:
        self._has_told = False
        self._watching: dict[Callable[[Deferred[Any], Any], object], None] = {}

    @_whole
    def fired(self, result: Any, deferred: Deferred[Any]) -> Any:
        _watches.pop(deferred, None)
        _once(self, "_has_told", _tell, self._watching, deferred, result)
        return result


_watches: WeakKeyDictionary[Deferred[Any], _Watch] = WeakKeyDictionary()


def watch(deferred: Deferred[Any], see: Callable[[Deferred[Any], Any], object]) -> None:
    """Call a function with a Deferred and its result, when the Deferred gets one.

    The result stays unchanged. `unwatch` undoes this in constant time.
    """
    it = _watches.get(deferred)
    if it is None:
        it = _Watch()
        it._watching[see] = None
        deferred.addBoth(it.fired, deferred)
        # Not before that: an exception in between, as a signal's, would leave what is never told.
        if not it._has_told:
            _watches[deferred] = it
    else:
        it._watching[see] = None


def unwatch(deferred: Deferred[Any], see: Callable[[Deferred[Any], Any], object]) -> None:
    """Undo `watch`."""
    it = _watches.get(deferred)
    if it is not None:
        it._watching.pop(see, None)
