"""Notes on exceptions: which callback raised them, if no Python frame shows it.

A callback that takes other arguments, or is not callable, fails before any of its lines has run,
and native functions have no lines: then the traceback is empty. A note changes neither the
exception's message and arguments nor what it is equal to.
"""

from __future__ import annotations

from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from . import _deferrous
from ._graph_entries import callback_entry
from ._graph_objects import (
    attribute,
    dict_of,
    is_a,
    is_deferred,
    one_of,
    text_of,
)
from ._tracking import origin_of

__all__ = ["age_of", "made_at", "name_callback", "notes_of", "passed_on"]

#: The most notes of ours on one exception: some are raised repeatedly.
_MOST = 5
_DICT_OF_ERROR: Any = BaseException.__dict__["__dict__"].__get__
#: Types that are certainly not Deferreds.
_USUAL: tuple[type, ...] = (FunctionType, BuiltinFunctionType, MethodType, type)


def name_callback(error: BaseException, callback: Any, deferred: Any) -> None:
    """Add a note to an exception: which callback raised it, and where its Deferred was made.

    If the callback is a Deferred, that stands for its method `callback`: another was chained to it.
    `deferred` is False if the function was not called as a callback.
    """
    what = "the function" if deferred is False else "the callback"
    # Most callbacks are of these types, and programs often fail on purpose, so this must be quick.
    kind = type(callback)
    fired = callback if not one_of(kind, _USUAL) and is_deferred(callback) else None
    if fired is not None:
        text = f"raised by {what} {text_of(fired)}.callback"
    else:
        entry = callback_entry("", callback)
        text = f"raised by {what} {entry.name.removeprefix('class ')}"
        if entry.file is not None:
            text += f', file "{entry.file}", line {entry.line}'
        if kind is BuiltinFunctionType and is_deferred(callback.__self__):
            fired = callback.__self__
    if fired is not None and (made := made_at(fired)):
        text += f"\nwhich was made at {made}"
    if made := made_at(deferred):
        text += f"\nin a Deferred that was made at {made}"
    _add(error, text)


def passed_on(failure: Any, to: Any) -> None:
    """Add a note to the exception of a failure: to which Deferred it is passed on."""
    made = made_at(to)
    if made and is_a(failure, _deferrous.FailureBase):
        error = attribute(failure, _deferrous.FailureBase, "value")
        if is_a(error, BaseException):
            _add(error, f"passed on to a Deferred that was made at {made}")


def _add(error: BaseException, text: str) -> None:
    # Not by `add_note`: Python 3.10 has none, and a class may override it.
    attributes = _DICT_OF_ERROR(error)
    notes = attributes.get("__notes__")
    if notes is None:
        attributes["__notes__"] = [text]
    elif type(notes) is list and len(notes) < _MOST and text not in notes_of(error):
        notes.append(text)


def notes_of(error: object) -> list[str]:
    """Return the notes of an exception, without running its code."""
    notes = dict_of(error).get("__notes__")
    return [each for each in notes if type(each) is str] if type(notes) is list else []


def made_at(deferred: Any) -> str:
    """Return where a Deferred was made, if `track` or debug mode has recorded it."""
    if type(deferred) is _deferrous.Deferred and deferred._debugInfo is None:
        if not _deferrous._tracking():
            return ""
    elif deferred is None:
        return ""
    if is_deferred(deferred):
        origin = origin_of(deferred)
        if origin is not None and origin.made is not None:
            return str(origin.made)
    creator = dict_of(dict_of(deferred).get("_debugInfo")).get("creator")
    if type(creator) is list and creator and type(creator[-1]) is str:
        place: str = creator[-1].strip().partition("\n")[0]
        return place
    return ""


def age_of(deferred: Any) -> float | None:
    """Return a Deferred's age in seconds, if it is known."""
    origin = origin_of(deferred)
    return None if origin is None else origin.age
