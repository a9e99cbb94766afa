"""Each row gives the same result with every implementation, so none of them skips a call."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from . import native, other_rows, rows, watching
from .other_rows import ALL_ROWS, OTHER_ROWS
from .rows import ROWS, Row
from .worker import load, rows_of

sys.path.append(str(Path(__file__).parents[1] / "tools"))
import name_table

# Not what takes Twisted long.
KEYS = [key for key in ALL_ROWS if key != "callbacks_100000"]
FILES = (rows.__file__, *(module.__file__ for module in (other_rows.table, *other_rows.MODULES)))


def calls(name: str, key: str) -> Counter[str]:
    """How often each Python function of the table is called, or generator of it resumed."""
    counter: Counter[str] = Counter()

    def count(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename in FILES:
            counter[frame.f_code.co_name] += 1

    implementation = load(name)
    sys.setprofile(count)
    try:
        ALL_ROWS[key].run(implementation, 2)
    finally:
        sys.setprofile(None)
    return counter


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", ["deferrous", "floor"])
def test_same_calls(name: str, key: str) -> None:
    if name == "floor" and key in OTHER_ROWS:
        pytest.skip("the floor has the main rows")
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


@cache
def public_names() -> set[str]:
    """The public functions, methods and attributes, without their modules."""
    found = {row.name for row in name_table.rows() if row.kind not in ("class", "constant")}
    for module in name_table.MODULES:
        found = {name.removeprefix(f"{module}.") for name in found}
    return found


def words(code: CodeType) -> Iterator[str]:
    """All names that a function uses, and functions in it."""
    yield from code.co_names
    yield from code.co_varnames
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from words(constant)
        elif isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple):
            yield from (each for each in constant if isinstance(each, str))


def test_each_name_has_a_row() -> None:
    assert public_names() - {name for row in ALL_ROWS.values() for name in row.of} == set()


@pytest.mark.parametrize("row", ALL_ROWS.values(), ids=lambda row: row.key)
def test_names_that_a_row_is_about(row: Row) -> None:
    assert set(row.of) <= public_names()
    used = set(words(row.function.__code__))
    for name in row.of:
        last = name.rpartition(".")[2]
        assert last.startswith("__") or last in used, name


def test_watching() -> None:
    lines = watching.table(n=10, number=1_000, rounds=1).splitlines()
    assert len([line for line in lines if " ns | " in line]) == len(watching.ROWS)


def test_rows_are_in_groups() -> None:
    assert {row.group for row in ROWS.values()} == {"main"}
    assert "main" not in {row.group for row in OTHER_ROWS.values()}
    assert not ROWS.keys() & OTHER_ROWS.keys()


def test_all_rows_of_concurrency_are_counted_or_trained_by() -> None:
    from . import concurrency
    from .concurrency_rows import CONCURRENCY_ROWS, IN_TASKS, TRAINING_ROWS

    titles = [row.title for row in concurrency.ROWS if row.theirs is not None]
    assert sorted(titles) == sorted(row.title for row in TRAINING_ROWS.values())
    assert set(IN_TASKS) == {title for title in titles if title.startswith("in tasks")}
    assert not {*CONCURRENCY_ROWS} & {*ALL_ROWS}


def test_rows_of_concurrency_do_what_they_say() -> None:
    """Each ends, and has done nothing that it leaves behind."""
    from .concurrency_rows import TRAINING_ROWS

    for row in TRAINING_ROWS.values():
        row.run(load("deferrous"), 1)
