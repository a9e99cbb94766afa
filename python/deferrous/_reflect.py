"""Names and texts of objects, whatever the objects make of being asked."""

from __future__ import annotations

import inspect
import traceback
import weakref
from typing import Any

__all__ = ["qual", "safe_repr", "safe_str"]


def qual(cls: Any) -> str:
    """Return the name of a class with its module."""
    return f"{cls.__module__}.{cls.__name__}"


def names_of(cls: Any) -> list[Any]:
    """Return the names of a class of Exceptions and of its bases; of anything else, itself."""
    if inspect.isclass(cls) and issubclass(cls, Exception):
        return [qual(base) for base in inspect.getmro(cls)]
    return [cls]


def _class_name(obj: object) -> str:
    try:
        cls: type[Any] = obj.__class__
    except BaseException:
        cls = type(obj)
    try:
        return cls.__name__
    except BaseException:
        pass
    try:
        return str(cls)
    except BaseException:
        return f"<BROKEN CLASS AT 0x{id(cls):x}>"


def _describe_broken(obj: object, formatter: str) -> str:
    """Describe an object whose `str` or `repr` has just raised."""
    return (
        f"<{_class_name(obj)} instance at 0x{id(obj):x} with {formatter} error:\n"
        f" {traceback.format_exc()}>"
    )


def safe_repr(obj: object) -> str:
    """Return `repr(obj)`, or a text that says what went wrong. Raises nothing."""
    try:
        return repr(obj)
    except BaseException:
        return _describe_broken(obj, "repr")


def safe_str(obj: object) -> str:
    """Return `str(obj)`, or a text that says what went wrong. Raises nothing.

    Bytes are decoded as UTF-8 where they can be.
    """
    if isinstance(obj, bytes):
        try:
            return obj.decode("utf-8")
        except UnicodeDecodeError:
            pass
    try:
        return str(obj)
    except BaseException:
        return _describe_broken(obj, "str")


def first_weak_reference(obj: object) -> object:
    """Return a weak reference to an object that there is, or None: what `__weakref__` gives."""
    return next(iter(weakref.getweakrefs(obj)), None)
