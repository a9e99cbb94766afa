"""The decorator that registers a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Coroutine = Callable[[int], Any]


class Row:
    """Something that is done `n` times by each."""

    def __init__(self, title: str, n: int, ours: Coroutine, theirs: Coroutine | None) -> None:
        self.title = title
        self.n = n
        self.ours = ours
        self.theirs = theirs


ROWS: list[Row] = []


def row(title: str, n: int) -> Callable[[type], type]:
    """Add a class with coroutine functions `ours` and `theirs` to the table."""

    def add(functions: type) -> type:
        ROWS.append(Row(title, n, functions.ours, getattr(functions, "theirs", None)))
        return functions

    return add


async def nothing():
    pass
