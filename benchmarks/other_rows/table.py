"""The decorator that registers a row, and helpers for several groups of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..rows import Row, Run

OTHER_ROWS: dict[str, Row] = {}


def group(name: str) -> Callable[..., Callable[[Run], Run]]:
    """What adds a function to a group, as `rows.row` does to the main rows."""

    def row(
        title: str, target: float = 1, size: int | None = None, of: str = ""
    ) -> Callable[[Run], Run]:
        def add(function: Run) -> Run:
            key = function.__name__
            OTHER_ROWS[key] = Row(key, title, target, function, size, tuple(of.split()), name)
            return function

        return add

    return row


def add_named(value: int, number: int = 0) -> int:
    return value + number


def swallow(failure: Any, number: int = 0) -> None:
    return None


def reads(value: Any) -> Any:
    return None


class Mistake(ValueError):
    """A program's own exception, two classes below Exception."""


class OtherMistake(Exception):
    """Another one."""


def raised(depth: int = 0, error: type[Exception] = ValueError) -> None:
    """Raise an exception, so many frames deep."""
    if depth:
        raised(depth - 1, error)
    raise error("wrong")


def failure_of(defer: Any, depth: int = 0, error: type[Exception] = ValueError) -> Any:
    """A failure of an exception that was raised."""
    try:
        raised(depth, error)
    except Exception:
        return defer.Failure()


class Call:
    """What a clock gives for a call to come."""

    __slots__ = ("function", "pending")

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.pending = True

    def active(self) -> bool:
        return self.pending

    def cancel(self) -> None:
        self.pending = False

    def run(self) -> None:
        self.pending = False
        self.function()


class Clock:
    """A clock that remembers the last call."""

    __slots__ = ("call",)

    def callLater(self, seconds: float, function: Callable[[], object]) -> Call:
        self.call = Call(function)
        return self.call
