"""Which classes of Deferreds there are, and what a Deferred consists of."""

from __future__ import annotations

import sys
from typing import Any

from . import _deferrous
from ._reflect import safe_repr

__all__ = ["deferred_types", "name_of", "several_of", "task_of"]


def deferred_types() -> tuple[type[Any], ...]:
    """Return the Deferred classes in use: ours, and Twisted's own if it has been imported."""
    theirs = getattr(sys.modules.get("twisted.internet.defer"), "Deferred", None)
    if isinstance(theirs, type) and theirs is not _deferrous.Deferred:
        return (_deferrous.Deferred, theirs)
    return (_deferrous.Deferred,)


def name_of(obj: object) -> str:
    """Return a short text that identifies an object."""
    if isinstance(obj, deferred_types()):
        return f"<{type(obj).__name__} at {id(obj):#x}>"
    return safe_repr(obj)


def several_of(deferred: Any) -> list[Any] | None:
    """Return the Deferreds that a list or race waits for, or None. For a race, only the missing
    ones.
    """
    gathered = getattr(deferred, "_deferredList", None)
    if gathered is not None:
        return [each for each in gathered if isinstance(each, deferred_types())]
    canceller = deferred._canceller
    if type(canceller) is not _deferrous._Race:
        return None
    members = _deferrous._members_of(canceller, sys.maxsize)
    return None if members is None else members[0]


def task_of(deferred: Any) -> tuple[Any, Any]:
    """Return the generator or coroutine that will fire a Deferred, and the Deferred that it waits
    for.

    Either may be None.
    """
    parts = _deferrous._parts_of(deferred._canceller)
    return (parts[1], parts[3]) if parts is not None and parts[0] == "task" else (None, None)
