"""Names and texts of objects, even of objects that raise when asked."""

from __future__ import annotations

import inspect
import linecache
import sys
import traceback
import weakref
from types import FrameType
from typing import Any

__all__ = ["format_stack", "qual", "safe_repr", "safe_str"]


def qual(cls: Any) -> str:
    """Return the name of a class with its module."""
    return f"{cls.__module__}.{cls.__name__}"


def names_of(cls: Any) -> list[Any]:
    """Return the names of an exception class and of its bases, or a list of the object itself."""
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

    Bytes are decoded as UTF-8 if possible.
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
    """Return an existing weak reference to an object, or None: the value of `__weakref__`."""
    return next(iter(weakref.getweakrefs(obj)), None)


#: The formatted text of each place in the source, with the file's entry in `linecache`. Code
#: without a file is identified by its address, and kept as long as the text.
_places: dict[tuple[object, int, str], tuple[object, str, object]] = {}
#: The size of the cache.
_MOST_PLACES = 10_000


def format_stack() -> list[str]:
    """Return what `traceback.format_stack()` would return to the caller.

    Like that, it checks each time whether the files have changed. Unchanged parts are not formatted
    again.
    """
    start = sys._getframe(1)
    if "tracebacklimit" in sys.__dict__:
        return traceback.format_stack(start)
    frames: list[FrameType] = []
    files: set[str] = set()
    current: FrameType | None = start
    while current is not None:
        frames.append(current)
        file = current.f_code.co_filename
        if file not in files:
            files.add(file)
            linecache.lazycache(file, current.f_globals)
        current = current.f_back
    for file in files:
        linecache.checkcache(file)
    read = linecache.cache
    texts: list[str] = []
    before = repeated = None
    for frame in reversed(frames):
        code, line = frame.f_code, frame.f_lineno
        file = code.co_filename
        key = (id(code) if file[:1] == "<" else file, line, code.co_name)
        found = _places.get(key)
        if found is not None and found[0] is read.get(file):
            text = found[1]
        else:
            text = traceback.format_stack(frame, 1)[0]
            if len(_places) >= _MOST_PLACES:
                _places.clear()
            # The file has been read by now.
            _places[key] = read.get(file), text, code
        if text == before == repeated:
            # Of repeated frames, only some are shown.
            return traceback.format_stack(start)
        before, repeated = text, before
        texts.append(text)
    return texts
