"""Callbacks that run in the context in which they were added."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from .._deferrous import Deferred

__all__ = ["ContextDeferred", "in_context"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


def in_context(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a function that runs in the current context, wherever it is called from.

    It runs in a copy of the context, so other code does not see the variables that it sets.

    ```python
    from contextvars import ContextVar

    from deferrous import Deferred, concurrency

    request = ContextVar("request", default="none")
    d = Deferred()
    request.set("one")
    d.addCallback(concurrency.in_context(lambda _: print(request.get())))
    request.set("other")
    d.callback(None)
    ```

    This prints one.
    """
    context = copy_context()

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return context.copy().run(function, *args, **kwargs)

    return run


class ContextDeferred(Deferred[_T]):
    """A Deferred that runs each callback in the context in which it was added.

    Coroutines and generators do not need this, because they always run in their own context.

    ```python
    from contextvars import ContextVar

    from deferrous import concurrency

    request = ContextVar("request", default="none")
    d = concurrency.ContextDeferred()
    request.set("one")
    d.addCallback(lambda _: print(request.get()))
    request.set("other")
    d.callback(None)
    ```

    This prints one.
    """

    def addCallback(self, callback: Any, *args: Any, **kwargs: Any) -> Any:
        """As `Deferred.addCallback`."""
        return super().addCallback(in_context(callback), *args, **kwargs)

    def addErrback(self, errback: Any, *args: Any, **kwargs: Any) -> Any:
        """As `Deferred.addErrback`."""
        return super().addErrback(in_context(errback), *args, **kwargs)

    def addBoth(self, callback: Any, *args: Any, **kwargs: Any) -> Any:
        """As `Deferred.addBoth`."""
        return super().addBoth(in_context(callback), *args, **kwargs)

    def addCallbacks(self, callback: Any, errback: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As `Deferred.addCallbacks`."""
        if errback is not None:
            errback = in_context(errback)
        return super().addCallbacks(in_context(callback), errback, *args, **kwargs)
