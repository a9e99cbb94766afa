"""The Python part of `inlineCallbacks` and `returnValue`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator
from functools import WRAPPER_ASSIGNMENTS, update_wrapper
from types import FunctionType, TracebackType
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

from ._deferrous import Deferred, _runInlineCallbacks, _runNatively
from ._deprecation import deprecated

__all__ = ["inlineCallbacks", "returnValue"]

#: Whether Python functions can run natively.
_NATIVE = sys.version_info >= (3, 12)

#: The other attributes of functions, which depend on the version of Python.
_OTHERS: Final = tuple(
    name
    for name in WRAPPER_ASSIGNMENTS
    if name not in ("__module__", "__name__", "__qualname__", "__doc__")
)

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: For annotations: the types of a callback and an errback.
DeferredCallback = Callable[..., object]
DeferredErrback = Callable[..., object]


class _DefGen_Return(BaseException):
    """Raised by `returnValue` to leave a generator."""

    def __init__(self, value: object) -> None:
        self.value = value


def _dress(wrapper: Any, f: Any) -> None:
    """Like `functools.wraps`, but faster for the attributes that every function has."""
    if type(f) is not FunctionType:
        update_wrapper(wrapper, f)
        return
    wrapper.__module__ = f.__module__
    wrapper.__name__ = f.__name__
    wrapper.__qualname__ = f.__qualname__
    wrapper.__doc__ = f.__doc__
    for name in _OTHERS:
        setattr(wrapper, name, getattr(f, name))
    if f.__dict__:
        wrapper.__dict__.update(f.__dict__)
    wrapper.__wrapped__ = f


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

    def unwindGenerator(*args: _P.args, **kwargs: _P.kwargs) -> Deferred[_T]:
        return _runInlineCallbacks(f, args, kwargs)

    _dress(unwindGenerator, f)
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
