"""Callbacks that do nothing, and how a callback is called with arguments of odd kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from .failure import Failure

__all__ = ["passthru", "spread", "waiting"]

_T = TypeVar("_T")


def passthru(arg: _T) -> _T:
    """Return what is given: a callback that lets results pass."""
    return arg


def _failthru(arg: Failure) -> Failure:
    """Return the Failure that is given: an errback that lets failures pass."""
    return arg


def spread(
    callback: Callable[..., _T],
    result: object,
    args: Any,
    kwargs: Mapping[str, object],
) -> _T:
    """Call a callback with arguments that are no plain tuple and dict."""
    return callback(result, *args, **kwargs)


def waiting(result: object, waiter: object) -> NoReturn:
    """Stand in `Deferred.callbacks` for what waits there without being a callback."""
    raise TypeError("not a callback")
