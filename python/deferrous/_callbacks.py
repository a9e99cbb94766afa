"""Callbacks that do nothing, and calls of callbacks with unusual arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from types import FrameType

    from .failure import Failure

__all__ = ["count_frames", "passthru", "spread", "waiting"]

_T = TypeVar("_T")


def passthru(arg: _T) -> _T:
    """Return the argument: a callback that changes nothing.

    ```python
    from deferrous import passthru, succeed

    succeed(42).addCallback(passthru).addCallback(print)
    ```

    This prints 42.
    """
    return arg


def _failthru(arg: Failure) -> Failure:
    """Return the Failure that is given: an errback that passes failures on."""
    return arg


def spread(
    callback: Callable[..., _T],
    result: object,
    args: Any,
    kwargs: Mapping[str, object],
) -> _T:
    """Call a callback whose arguments are not a plain tuple and dict."""
    return callback(result, *args, **kwargs)


def waiting(result: object, waiter: object) -> NoReturn:
    """Stand in `Deferred.callbacks` for a waiter that is not a callback."""
    raise TypeError("not a callback")


def count_frames() -> tuple[int, int]:
    """Return the number of Python frames on this stack, and the recursion limit."""
    count = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        count += 1
        frame = frame.f_back
    return count, sys.getrecursionlimit()
