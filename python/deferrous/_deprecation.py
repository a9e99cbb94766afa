"""Deprecations, with Twisted's wording and stack levels.

What is deprecated in Twisted is deprecated here, since the same version of Twisted. The names in
the messages are looked up when they are needed: if our module replaces Twisted's, they are
Twisted's.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from dis import findlinestarts
from types import BuiltinMethodType
from typing import Any, ParamSpec, TypeVar

from . import _deferrous
from ._callbacks import passthru
from ._deferrous import Deferred, _ConcurrencyPrimitive

__all__ = ["deprecated", "warn_about_function"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

Version = tuple[int, int, int]


#: The texts already made, by the parts of a name.
_texts: dict[tuple[str, ...], str] = {}


def _since(name: str, version: Version) -> str:
    return f"{name} was deprecated in Twisted {'.'.join(map(str, version))}"


def deprecated(
    version: Version, replacement: str | Callable[[], str]
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return a decorator for a function that Twisted has deprecated since a version.

    `replacement` is what to use instead: a text, or a function. A call warns at the caller's line.
    """

    def instead() -> str:
        return replacement if isinstance(replacement, str) else replacement()

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            said = instead()
            key = wrapper.__module__, wrapper.__qualname__, said
            text = _texts.get(key)
            if text is None:
                text = _since(".".join(key[:2]), version)
                text = _texts[key] = f"{text}; please use {said} instead"
            warnings.warn(text, DeprecationWarning, 2)
            return function(*args, **kwargs)

        number = ".".join(map(str, version))
        wrapper.__doc__ = (
            f"{inspect.cleandoc(function.__doc__ or '')}\n\n"
            f"Deprecated in Twisted {number}; please use {instead()} instead."
        )
        return wrapper

    return decorate


def warn_about_function(offender: Any, message: str) -> None:
    """Warn about a function, at the function's own last line.

    Raises the same as Twisted for callables without code: AttributeError, or KeyError if the module
    that they claim to be from does not exist.
    """
    owner = getattr(offender, "__self__", None)
    if owner is _deferrous or isinstance(owner, (Deferred, _ConcurrencyPrimitive)):
        if isinstance(offender, BuiltinMethodType):
            # This function stands for a native one, where Twisted's has code.
            offender = passthru
    module = sys.modules[offender.__module__]
    lines = [line for _, line in findlinestarts(offender.__code__) if line is not None]
    warnings.warn_explicit(
        message,
        category=DeprecationWarning,
        filename=inspect.getabsfile(module),
        lineno=max(lines),
        module=module.__name__,
        registry=offender.__globals__.setdefault("__warningregistry__", {}),
        module_globals=None,
    )
