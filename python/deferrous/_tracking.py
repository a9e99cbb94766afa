"""When and where Deferreds were made."""

from __future__ import annotations

import os
from types import CodeType
from typing import Any

from . import _deferrous

__all__ = [
    "PACKAGE",
    "MadeAt",
    "Origin",
    "age_of",
    "made_at",
    "made_by",
    "name_of_place",
    "origin_of",
    "place_of",
    "turn",
]

#: The common prefix of this package's file names.
PACKAGE = os.path.dirname(__file__) + os.sep

#: The flag of coroutines' code objects.
_COROUTINE = 0x80


class MadeAt:
    """A line in a program, or a function."""

    __slots__ = ("file", "function", "line")

    def __init__(self, file: str, line: int, function: str) -> None:
        self.file = file
        self.line = line
        self.function = function

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.file}:{self.line} in {self.function}>"

    def __str__(self) -> str:
        return f'File "{self.file}", line {self.line}, in {self.function}'

    def __eq__(self, other: object) -> bool:
        return type(other) is MadeAt and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, int, str]:
        return self.file, self.line, self.function

    def to_dict(self) -> dict[str, Any]:
        """Return the same as a dict."""
        return {"file": self.file, "line": self.line, "function": self.function}


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def place_of(number: int) -> tuple[CodeType, int] | None:
    """Return the code object and the line of a place."""
    found = _deferrous._place(number)
    if found is None or type(found[0]) is not CodeType:
        return None
    return found[0], found[1]


def name_of_place(number: int) -> str:
    """Return the name of the function at a place, or ""."""
    found = _deferrous._place(number)
    if found is None:
        return ""
    code = found[0]
    if type(code) is CodeType:
        # CPython 3.10 has no qualified names.
        return _on_one_line(str.__str__(getattr(code, "co_qualname", code.co_name)))
    return _on_one_line(str(code))


def made_at(number: int) -> MadeAt | None:
    """Describe a place. Runs no code of the program: code objects have built-in types."""
    found = place_of(number)
    if found is None:
        return None
    code, line = found
    return _in_words(code, line or code.co_firstlineno, number)


def _in_words(code: CodeType, line: int, number: int) -> MadeAt:
    return MadeAt(_on_one_line(str.__str__(code.co_filename)), line, name_of_place(number))


def made_by(place: int, code: int) -> MadeAt | None:
    """Return what ran when something was made at a place: the code of a generator or coroutine that
    Deferreds drive, or else the coroutine that made it itself.
    """
    if code:
        return made_at(code)
    found = place_of(place)
    if found is None or not found[0].co_flags & _COROUTINE:
        return None
    return _in_words(found[0], found[0].co_firstlineno, place)


class Origin:
    """When and where one Deferred was made, if known."""

    __slots__ = ("age", "made", "made_by")

    def __init__(self, age: float | None, made: MadeAt | None, made_by: MadeAt | None) -> None:
        #: Its age in seconds. None if it existed before tracking.
        self.age = age
        #: The line at which it was made.
        self.made = made
        #: The generator or coroutine that was running.
        self.made_by = made_by


def origin_of(deferred: _deferrous.Deferred[Any]) -> Origin | None:
    """Return when and where a Deferred was made, or None if that is not tracked."""
    known = _deferrous._tracked_one(deferred)
    if known is None:
        return None
    now, (_, _, made, place, _, code) = known
    return Origin(age_of(now, made), made_at(place), made_by(place, code))


def age_of(now: int, made: int) -> float | None:
    """Return an age in seconds, from two times in nanoseconds. None if the second is unknown."""
    return (now - made) / 1e9 if made else None


def turn(on: bool) -> None:
    """Turn tracking on or off."""
    _deferrous._track(on, PACKAGE)
