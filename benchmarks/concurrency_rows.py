"""The rows of `concurrency/` in the form of the others: to count instructions, and to train builds.

Their code is imported when the first one runs, because it imports asyncio: from then on `await`
looks for a running loop, which would change the other rows.
"""

from __future__ import annotations

import re
from typing import Any

from .rows import Row

#: Of how many parts a piece of work is, for those where it is of several.
_SIZES = {
    "TaskGroup of 100 tasks that do not wait, per task": 100,
    "Event with 1,000 waiters, per waiter": 1_000,
    "Event with 1,000 coroutines that wait, per coroutine": 1_000,
    "Event: 1,000 waiters cancelled, the last first, per waiter": 1_000,
    "Semaphore with 1,000 that wait, per one": 1_000,
    "Queue: 1,000 that get, per one": 1_000,
    "Barrier of 10, per party": 10,
    "Condition: 100 notified, per one": 100,
    "TaskGroup of 100 tasks that wait once, per task": 100,
    "gather of 1,000, per one": 1_000,
    "wait for all of 1,000, per one": 1_000,
    "as_completed of 1,000, per one": 1_000,
}

#: What is done in a loop of asyncio's, which does not take the same each time.
IN_TASKS = {
    "in tasks: Event with 1,000 that wait, per task": 1_000,
    "in tasks: Semaphore with 1,000 that wait, per task": 1_000,
    "in tasks: Queue, 1,000 that get, per task": 1_000,
    "in tasks: timeout, in time": None,
}

_OTHERS = (
    "Event.wait, set before",
    "async with Semaphore, free",
    "async with Condition, notify",
    "Queue: put, get",
    "PriorityQueue of 100: put, get",
    "timeout, in time",
    "Queue of one: producer and consumer, per item",
    "timeout that expires",
    "wait_for, in time",
    "sleep(0)",
    "map(limit=100), of coroutines that wait once, per item",
    "shield",
)


def _row(title: str, size: int | None) -> Row:
    def run(_: Any, n: int, size: int = 1) -> None:
        from . import concurrency

        [row] = [each for each in concurrency.ROWS if each.title == title]
        concurrency.run_ours(concurrency.Row(title, n * size, row.ours, None))

    key = "_".join(["concurrency", *re.findall(r"[a-z0-9]+", title.lower())])
    return Row(key, title, 1, run, size, group="concurrency")


def _all(sizes: dict[str, int | None]) -> dict[str, Row]:
    rows = [_row(title, size) for title, size in sizes.items()]
    return {row.key: row for row in rows}


#: What is counted.
CONCURRENCY_ROWS = _all({**dict.fromkeys(_OTHERS), **_SIZES})
#: What a build is trained by.
TRAINING_ROWS = {**CONCURRENCY_ROWS, **_all(IN_TASKS)}
