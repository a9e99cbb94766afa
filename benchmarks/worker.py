"""A fresh process that measures one implementation: `python -m benchmarks.worker twisted`.

Reads one request a line, and answers with one line: both JSON. It needs nothing but the standard
library and the implementation.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from functools import cache
from types import SimpleNamespace
from typing import Any

from .other_rows import ALL_ROWS
from .rows import ROWS, Row

PYPY = sys.implementation.name == "pypy"


def load(name: str) -> Any:
    """The implementation of that name, as the functions of rows take it."""
    if name == "deferrous":
        import logging

        import deferrous

        # What is reported goes nowhere.
        logging.getLogger().addHandler(logging.NullHandler())
        return deferrous
    if name == "floor":
        from .native import load as load_native

        return load_native("floor")
    if name == "twisted":
        from twisted.internet import defer
        from twisted.python import failure

        silence_twisted()
        return SimpleNamespace(**{**vars(defer), "Failure": failure.Failure, "failure": failure})
    if name == "asyncio":
        import asyncio

        return asyncio.new_event_loop()
    raise ValueError(f"no implementation is called {name!r}")


@cache
def silence_twisted() -> None:
    """Have what is reported go nowhere."""
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)


def rows_of(name: str) -> dict[str, Row]:
    """The rows that the implementation has."""
    if name == "floor":
        return ROWS
    if name != "asyncio":
        return ALL_ROWS
    from . import asyncio_rows

    return {
        key: Row(key, row.title, row.target, getattr(asyncio_rows, row.function.__name__), row.size)
        for key, row in ROWS.items()
        if hasattr(asyncio_rows, row.function.__name__)
    }


def seconds(row: Row, implementation: Any, n: int) -> float:
    """The CPU time of `n` pieces of the row's work.

    With CPython's collector off, for its pauses would come to some rows and not to others. That
    of PyPy is how memory comes back at all, and belongs to what things cost there.
    """
    gc.collect()
    if not PYPY:
        gc.disable()
    start = time.process_time()
    row.run(implementation, n)
    end = time.process_time()
    gc.enable()
    return end - start


def calibrate(row: Row, implementation: Any, aim: float) -> int:
    """How many pieces of work take about `aim` seconds; at least one."""
    # What happens once, such as an import, is over then.
    row.run(implementation, 1)
    n = 1
    while True:
        taken = seconds(row, implementation, n)
        if taken >= aim / 4:
            return max(1, round(n * aim / taken))
        n = n * 2 if taken < aim / 100 else max(n + 1, round(n * aim / 2 / taken))


def measure(row: Row, implementation: Any, n: int, repeats: int) -> float:
    """The least CPU time per operation, in seconds."""
    best = seconds(row, implementation, n)
    if PYPY:
        # Its compiler has to see the code run before it does anything.
        end = time.process_time() + 0.3
        while time.process_time() < end:
            best = min(best, seconds(row, implementation, n))
    # What takes long is measured once.
    for _ in range(repeats - 1 if best < 0.25 else 0):
        best = min(best, seconds(row, implementation, n))
    return best / (n * row.items)


def resident() -> int:
    """The bytes of memory that the process has."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not say how much memory a process has")


def memory(name: str, implementation: Any, count: int, callback: bool) -> float:
    """Bytes per pending Deferred, or future of asyncio."""

    def done(value: Any) -> Any:
        return value

    kept: list[Any] = [None] * count
    if name == "asyncio":
        from asyncio import Future

        def create() -> Any:
            return Future(loop=implementation)

        add = Future.add_done_callback
    else:
        create = implementation.Deferred
        add = implementation.Deferred.addCallback
    create()
    gc.collect()
    before = resident()
    for index in range(count):
        kept[index] = d = create()
        if callback:
            add(d, done)
    return (resident() - before) / count


def main(name: str) -> None:
    implementation = load(name)
    rows = rows_of(name)
    for line in sys.stdin:
        request = json.loads(line)
        what = request.pop("what")
        if what == "memory":
            answer: Any = memory(name, implementation, **request)
        elif what == "calibrate":
            answer = calibrate(rows[request.pop("row")], implementation, **request)
        else:
            answer = measure(rows[request.pop("row")], implementation, **request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
