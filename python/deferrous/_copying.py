"""What `copy` and `pickle` take of the native classes, and make their instances of again."""

from __future__ import annotations

import copyreg
from types import BuiltinMethodType, MethodType
from typing import Any

from ._deferrous import (
    Deferred,
    DeferredList,
    DeferredLock,
    DeferredQueue,
    DeferredSemaphore,
    _ConcurrencyPrimitive,
    _Fifo,
)

__all__ = ["get_state", "reduce", "set_state"]

#: The native attributes of each class, in the order in which they are set again.
_ATTRIBUTES: tuple[tuple[type, tuple[str, ...]], ...] = (
    (
        Deferred,
        (
            "_callbacks",
            "_canceller",
            "_chainedTo",
            "_suppressAlreadyCalled",
            "called",
            "paused",
            "result",
        ),
    ),
    (
        DeferredList,
        (
            "_deferredList",
            "resultList",
            "finishedCount",
            "fireOnOneCallback",
            "fireOnOneErrback",
            "consumeErrors",
        ),
    ),
    (_ConcurrencyPrimitive, ("waiting",)),
    (DeferredLock, ("locked",)),
    (DeferredSemaphore, ("tokens", "limit")),
    (DeferredQueue, ("waiting", "pending", "size", "backlog")),
)

#: Those whose attributes have no defaults in the class.
_WITHOUT_DEFAULTS = (_ConcurrencyPrimitive, DeferredSemaphore, DeferredQueue)

#: Those that are lists of ours. In a state they are plain lists, as Twisted's are.
_LINES = frozenset({"waiting", "pending"})


def get_state(obj: Any) -> dict[str, Any]:
    """Return the instance dict, and the native attributes under the names that Twisted has."""
    state: dict[str, Any] = vars(obj).copy()
    for cls, names in _ATTRIBUTES:
        if isinstance(obj, cls):
            state.update((name, getattr(obj, name)) for name in names if hasattr(obj, name))
    for name, value in state.items():
        if isinstance(value, _Fifo):
            state[name] = list(value)
    if "_callbacks" in state:
        state["_callbacks"] = [
            tuple((_method(function), args, kwargs) for function, args, kwargs in pair)
            for pair in state["_callbacks"]
        ]
    return state


def set_state(obj: Any, state: dict[str, Any]) -> None:
    """Make an object what `get_state` was told of."""
    for name, value in state.items():
        if name in _LINES and type(value) is list and not isinstance(obj, Deferred):
            value = _Fifo(value)
        setattr(obj, name, value)
    for cls, names in _ATTRIBUTES:
        if cls in _WITHOUT_DEFAULTS and isinstance(obj, cls):
            for name in names:
                if name not in state and hasattr(obj, name):
                    # The one that was copied had lost it.
                    delattr(obj, name)


def reduce(obj: Any) -> tuple[Any, ...]:
    """Return what `object.__reduce_ex__` does of objects that are not native."""
    return copyreg.__newobj__, (type(obj),), obj.__getstate__()  # type: ignore[attr-defined]


def _method(function: Any) -> Any:
    # To `copy.deepcopy`, a native method is bound for ever to what it is bound to.
    if isinstance(function, BuiltinMethodType) and isinstance(function.__self__, Deferred):
        return MethodType(getattr(type(function.__self__), function.__name__), function.__self__)
    return function
