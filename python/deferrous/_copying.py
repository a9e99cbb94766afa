"""The state that `copy` and `pickle` take from native classes, and how it is restored."""

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
    _line_of,
    _list_of,
)

__all__ = ["get_state", "reduce", "set_state"]

#: The native attributes of each class, in the order in which they are restored.
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

#: The classes whose attributes have no class-level defaults.
_WITHOUT_DEFAULTS = (_ConcurrencyPrimitive, DeferredSemaphore, DeferredQueue)

#: The attributes that are lists of ours. In a state they are plain lists, as Twisted's are.
_LINES = frozenset({"waiting", "pending"})


def get_state(obj: Any) -> dict[str, Any]:
    """Return the instance dict, with the native attributes under Twisted's names."""
    state: dict[str, Any] = vars(obj).copy()
    for cls, names in _ATTRIBUTES:
        if isinstance(obj, cls):
            state.update((name, getattr(obj, name)) for name in names if hasattr(obj, name))
    if not isinstance(obj, Deferred):
        for name in _LINES & state.keys():
            if type(state[name]) is _Fifo:
                # The list itself: a shallow copy shares it, so that nobody is handed over twice.
                state[name] = _list_of(state[name])
    if "_callbacks" in state:
        state["_callbacks"] = [
            tuple((_method(function), args, kwargs) for function, args, kwargs in pair)
            for pair in state["_callbacks"]
        ]
    return state


def set_state(obj: Any, state: dict[str, Any]) -> None:
    """Restore the state that `get_state` returned."""
    for name, value in state.items():
        if name in _LINES and type(value) is list and not isinstance(obj, Deferred):
            value = _line_of(value)
        setattr(obj, name, value)
    for cls, names in _ATTRIBUTES:
        if cls in _WITHOUT_DEFAULTS and isinstance(obj, cls):
            for name in names:
                if name not in state and hasattr(obj, name):
                    # The original had lost it.
                    delattr(obj, name)


def reduce(obj: Any) -> tuple[Any, ...]:
    """Return what `object.__reduce_ex__` returns for objects that are not native."""
    return copyreg.__newobj__, (type(obj),), obj.__getstate__()  # type: ignore[attr-defined]


def _method(function: Any) -> Any:
    # `copy.deepcopy` would keep a native method bound to the original.
    if isinstance(function, BuiltinMethodType) and isinstance(function.__self__, Deferred):
        return MethodType(getattr(type(function.__self__), function.__name__), function.__self__)
    return function
