"""`inlineCallbacks` and `returnValue`: the thin part that is Python."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator
from functools import wraps
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, TypeVar

from ._deferrous import Deferred, _runInlineCallbacks, _runNatively
from ._deprecation import deprecated

__all__ = ["inlineCallbacks", "returnValue"]

#: Whether a function can run without the interpreter, and still be one.
_NATIVE = sys.version_info >= (3, 12)

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: What annotations of programs call a callback, and an errback.
DeferredCallback = Callable[..., object]
DeferredErrback = Callable[..., object]


class _DefGen_Return(BaseException):
    """How `returnValue` leaves a generator."""

    def __init__(self, value: object) -> None:
        self.value = value


def inlineCallbacks(
    f: Callable[_P, Generator[object, Any, _T]],
) -> Callable[_P, Deferred[_T]]:
    """Decorate a generator function, so that it waits for each Deferred that it yields.

    Arguments:

    - `f`: a generator function. `yield` gives it the Deferred's result, or raises the exception
      of its Failure. A coroutine or generator that it yields is run in the same way; any other
      value comes straight back.

    Returns a function that starts the generator and returns a Deferred for what the generator
    returns or raises. The generator runs in a copy of the caller's context. A Deferred that it
    returns is not waited for; yield it first.

    Errors, of the function that it returns:

    - TypeError: `f` does not return a generator.

    Cancelling the Deferred cancels the Deferred that the generator waits for. Unless that fires
    otherwise, CancelledError is raised at the `yield`.

    Differs from Twisted: generators may wait for each other to any depth.

    ```python
    from deferrous import Deferred, inlineCallbacks


    @inlineCallbacks
    def add(one, other):
        return (yield one) + (yield other)


    late = Deferred()
    add(late, 2).addCallback(print)
    late.callback(40)
    ```

    This prints 42.
    """

    @wraps(f)
    def unwindGenerator(*args: _P.args, **kwargs: _P.kwargs) -> Deferred[_T]:
        return _runInlineCallbacks(f, args, kwargs)

    if _NATIVE:
        _runNatively(unwindGenerator)
    return unwindGenerator


@deprecated((24, 7, 0), "standard return statement")
def returnValue(val: object) -> NoReturn:
    """End the generator of an `inlineCallbacks` function with a value. Use `return` instead.

    Arguments:

    - `val`: the result of the generator's Deferred.

    It raises a BaseException. If a function that the generator calls calls this, there is a
    warning.
    """
    raise _DefGen_Return(val)


_RETURN_VALUE_CODES = (returnValue.__code__, returnValue.__wrapped__.__code__)  # type: ignore[attr-defined]


def warn_return_value_misuse(traceback: TracebackType | None) -> None:
    """Warn if `returnValue` ended a generator from within a function that it called.

    Takes the traceback of the exception that `returnValue` raised, from the generator on.
    """
    frames = []
    while traceback is not None:
        if traceback.tb_frame.f_code not in _RETURN_VALUE_CODES:
            frames.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    if len(frames) < 2:
        return
    (generator, _), (culprit, line) = frames[0], frames[-1]
    warnings.warn_explicit(
        f"returnValue() in {culprit.f_code.co_name!r} causing "
        f"{generator.f_code.co_name!r} to exit: returnValue should only be invoked by "
        "functions decorated with inlineCallbacks",
        DeprecationWarning,
        culprit.f_code.co_filename,
        line,
    )
