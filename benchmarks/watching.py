"""What `track` and `trace` cost while they are on: each row without, with one, with the other.

They take turns, and the least time of each counts. `LIMITS` says what each may take at most.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import repeat
from typing import Any

import deferrous
from deferrous import Deferred, inlineCallbacks, trace, track

from .measure import ROOT
from .rows import add

#: So many times as long as without, at most; so many bytes for each Deferred.
LIMITS = {"track": 2.0, "trace": 3.0, "bytes": 64}

#: So often each row is measured in each way. A round is short, so that on a busy machine some are
#: not interrupted.
ROUNDS = 300


def create_fire(n: int) -> None:
    for _ in repeat(None, n):
        Deferred().callback(1)


def new() -> Deferred[Any]:
    return Deferred()


def create_fire_called(n: int) -> None:
    for _ in repeat(None, n):
        new().callback(1)


def create_fire_in_task(n: int) -> float:
    async def main() -> float:
        return seconds(create_fire_called, n)

    return asyncio.run(main())


def succeeded(n: int) -> None:
    for _ in repeat(None, n):
        deferrous.succeed(1)


def three_callbacks(n: int) -> None:
    for _ in repeat(None, n):
        d: Deferred[Any] = Deferred()
        d.addCallback(add, 1)
        d.addCallback(add, 1)
        d.addCallback(add, 1)
        d.callback(1)


def generators(n: int) -> None:
    @inlineCallbacks
    def wait(d: Deferred[Any]) -> Any:
        yield d

    for _ in repeat(None, n):
        d: Deferred[Any] = Deferred()
        wait(d)
        d.callback(1)


def coroutines(n: int) -> None:
    async def wait(d: Deferred[Any]) -> Any:
        await d

    for _ in repeat(None, n):
        d: Deferred[Any] = Deferred()
        deferrous.ensureDeferred(wait(d))
        d.callback(1)


ROWS: dict[str, Callable[[int], float | None]] = {
    "make a Deferred and fire it": create_fire,
    "the same, made by a function": create_fire_called,
    "the same, in a task of asyncio's": create_fire_in_task,
    "make one that has a result": succeeded,
    "make one, add three callbacks, fire it": three_callbacks,
    "a generator that waits for one": generators,
    "a coroutine that waits for one": coroutines,
}


def seconds(run: Callable[[int], float | None], n: int) -> float:
    """Seconds for so many, as the row itself says, or else from its begin to its end."""
    begin = time.perf_counter()
    taken = run(n)
    return time.perf_counter() - begin if taken is None else taken


def times(run: Callable[[int], float | None], n: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Nanoseconds for each, without and with."""
    least = dict.fromkeys(("off", "track", "trace"), float("inf"))
    gc.collect()
    gc.disable()
    try:
        for _ in repeat(None, rounds):
            least["off"] = min(least["off"], seconds(run, n))
            with track():
                least["track"] = min(least["track"], seconds(run, n))
            with trace():
                least["trace"] = min(least["trace"], seconds(run, n))
    finally:
        gc.enable()
    return {name: least[name] / n * 1e9 for name in least}


#: Prints the bytes that a Deferred takes that waits.
MEMORY = """
import gc, sys
from deferrous import Deferred, track
def size():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))
track(sys.argv[1] == "on")
gc.disable()
number = int(sys.argv[2])
kept = [None] * number
before = size()
for place in range(number):
    kept[place] = Deferred()
print((size() - before) / number)
"""


def memory(number: int) -> float:
    """Bytes that each takes more where `track` is on."""

    def measure(on: str) -> float:
        command = [sys.executable, "-c", MEMORY, on, str(number)]
        return float(subprocess.check_output(command, cwd=ROOT, text=True))

    return measure("on") - measure("off")


def table(n: int = 1_000, number: int = 650_000, rounds: int = ROUNDS) -> str:
    """Measure all rows. The table has just grown at that number of Deferreds."""
    lines = [
        "| | off | `track` | | `trace` | |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, run in ROWS.items():
        found = times(run, n, rounds)
        off = found["off"]
        shown = [f"{found[kind]:.0f} ns | {found[kind] / off:.2f}" for kind in ("track", "trace")]
        lines.append(f"| {name} | {off:.0f} ns | {' | '.join(shown)} |")
    if sys.platform == "linux":
        lines.append(f"\n`track` takes {memory(number):.0f} bytes for each Deferred that is alive.")
    return "\n".join(lines)
