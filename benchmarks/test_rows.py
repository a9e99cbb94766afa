"""Each row does the same with every implementation: the floor leaves out no call that they make."""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType
from typing import Any

import pytest

from . import native, rows
from .rows import ROWS
from .worker import load, rows_of

# Not what takes Twisted long.
KEYS = [key for key in ROWS if key != "callbacks_100000"]


def calls(name: str, key: str) -> Counter[str]:
    """How often each Python function of the table is called, or generator of it resumed."""
    counter: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename == rows.__file__:
            counter[frame.f_code.co_name] += 1

    implementation = load(name)
    sys.setprofile(count)
    try:
        ROWS[key].run(implementation, 2)
    finally:
        sys.setprofile(None)
    return counter


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", ["deferrous", "floor"])
def test_same_calls(name: str, key: str) -> None:
    if name == "floor" and not native.available("floor"):
        pytest.skip("the floor cannot be built here")
    assert calls(name, key) == calls("twisted", key)


def test_asyncio_has_rows() -> None:
    loop = load("asyncio")
    errors: list[object] = []
    loop.set_exception_handler(lambda loop, context: errors.append(context))
    for row in rows_of("asyncio").values():
        row.run(loop, 2)
    assert not errors
