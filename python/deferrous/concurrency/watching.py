"""Watches a Deferred for many observers, with one callback in its chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

from .._deferrous import Deferred, _once, _owed, _tell


class _Watch:
    """Watches a Deferred for many observers, with one callback in its chain."""

    __slots__ = ("__weakref__", "_has_told", "_watching")

    def __init__(self) -> None:
        self._has_told = False
        self._watching: dict[Callable[[Deferred[Any], Any], object], None] = {}

    @_owed
    def fired(self, result: Any, deferred: Deferred[Any]) -> Any:
        _watches.pop(ref(deferred), None)
        _once(self, "_has_told", _tell, self._watching, deferred, result)
        return result


#: The watch of each Deferred, by weak references: the chain of the Deferred keeps the watch alive.
#: (A WeakKeyDictionary would call a Python function for each access.)
_watches: dict[ref[Deferred[Any]], ref[_Watch]] = {}


def watch(deferred: Deferred[Any], see: Callable[[Deferred[Any], Any], object]) -> None:
    """Call a function with a Deferred and its result, when the Deferred gets one.

    The result stays unchanged. `unwatch` undoes this in constant time.
    """
    it = _watch_of(deferred)
    if it is not None:
        it._watching[see] = None
        if not it._has_told or it._watching.pop(see, see) is see:
            return
        # Another thread has told all observers meanwhile.
    it = _Watch()
    it._watching[see] = None
    deferred.addBoth(it.fired, deferred)
    # Added last: an exception in between, such as a signal's, would leave an observer that is never
    # told.
    if not it._has_told:
        # The key lives as long as its entry, and calls this when the Deferred is freed.
        _watches[ref(deferred, _watches.pop)] = ref(it)


def unwatch(deferred: Deferred[Any], see: Callable[[Deferred[Any], Any], object]) -> None:
    """Undo `watch`."""
    it = _watch_of(deferred)
    if it is not None:
        it._watching.pop(see, None)


def _watch_of(deferred: Deferred[Any]) -> _Watch | None:
    found = _watches.get(ref(deferred))
    return None if found is None else found()
