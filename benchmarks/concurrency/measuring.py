"""Measures the rows and makes the table.

Times are of the processor, in nanoseconds per operation, the least of several rounds in which the
two take turns. asyncio's include the turns of its loop, as it does nothing without them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from typing import Any

from deferrous import concurrency as c
from deferrous import ensureDeferred, succeed

from .rows import ROWS, Row


def run_ours(row: Row) -> None:
    if row.title.startswith("in tasks"):
        asyncio.run(row.ours(row.n))
    else:
        done = ensureDeferred(row.ours(row.n))
        assert done.called and done.result is None, (row.title, done)


def run_theirs(row: Row) -> None:
    asyncio.run(row.theirs(row.n))


def measure(run: Callable[[Row], None], row: Row) -> float:
    gc.collect()
    gc.disable()
    try:
        before = time.process_time_ns()
        run(row)
        return (time.process_time_ns() - before) / row.n
    finally:
        gc.enable()


def million(count: int = 1_000_000) -> tuple[float, int]:
    """`map(limit=100)` over a million items: nanoseconds for each, and the most live objects."""
    most = 0

    def work(number):
        nonlocal most
        if not number % (count // 10):
            most = max(most, len(gc.get_objects()))
        return succeed(None)

    gc.collect()
    before = len(gc.get_objects())
    start = time.process_time_ns()
    c.map(work, iter(range(count)), limit=100)
    return (time.process_time_ns() - start) / count, most - before


def hundred_thousand() -> list[float]:
    """An Event with so many waiters: nanoseconds for each."""
    found = []
    for count in (1_000, 10_000, 100_000):
        event = c.Event()
        for _ in range(count):
            event.wait()
        start = time.process_time_ns()
        event.set()
        found.append((time.process_time_ns() - start) / count)
    return found


def measure_all(rounds: int, scale: float = 1, only: str = "") -> dict[str, Any]:
    """Measure the rows with this in their title, and print each as it is done."""
    results: dict[str, Any] = {}
    print("\n".join(HEAD))
    for each in ROWS:
        if only not in each.title:
            continue
        if sys.version_info < (3, 11) and any(
            word in each.title for word in ("timeout", "TaskGroup", "Barrier")
        ):
            each.theirs = None
        each.n = max(int(each.n * scale) // 1000, 1) * 1000
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(measure(run_ours, each))
            if each.theirs is not None:
                theirs.append(measure(run_theirs, each))
        results[each.title] = [min(ours), min(theirs, default=None)]
        print(line(each.title, *results[each.title]), flush=True)
    return results


HEAD = [
    "| operation | deferrous | asyncio | asyncio / deferrous |",
    "| --- | ---: | ---: | ---: |",
]


def line(title: str, ours: float, theirs: float | None) -> str:
    """A row of the table, in nanoseconds per operation."""
    cells = [title, f"{ours:,.0f}", "", ""]
    if theirs is not None:
        ratio = f"{theirs / ours:.2f}"
        cells[2:] = [f"{theirs:,.0f}", ratio if theirs >= ours else f"**{ratio}**"]
    return f"| {' | '.join(cells)} |"


def table(results: dict[str, Any]) -> str:
    """What was measured, in Markdown."""
    lines = [*HEAD, *(line(title, *times) for title, times in results["nanoseconds"].items())]
    found = ", ".join(f"{each:,.0f}" for each in results["event"])
    each, objects = results["million"]
    return "\n".join(
        [
            *lines,
            "",
            f"- `map(limit=100)` over a million items: {each:,.0f} ns each, never more than "
            f"{objects} objects more than before.",
            f"- `Event.set` with 1,000, 10,000 and 100,000 waiters: {found} ns each.",
        ]
    )


def run(rounds: int = 5, scale: float = 1) -> dict[str, Any]:
    """Measure all, and print a table."""
    results = {
        "nanoseconds": measure_all(rounds, scale),
        "million": million(int(1_000_000 * scale)),
        "event": hundred_thousand(),
    }
    print("\n".join(table(results).splitlines()[len(HEAD) + len(ROWS) :]))
    return results
