"""How the cost of an item grows with the number of items: 10 to 1,000,000.

`python -m benchmarks.growth twisted nesting 1000` prints the seconds per item of one point, in a
fresh process. A structure that does not come to the result that it should is no point.
"""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
import time
from itertools import pairwise, repeat
from typing import Any

from .measure import ROOT
from .rows import add, give, same

SIZES = tuple(10**power for power in range(1, 7))

#: The seconds that a point may take. Where one takes longer, no larger one is tried.
LIMIT = 60.0


def callbacks(defer: Any, size: int) -> bool:
    d = defer.Deferred()
    for _ in repeat(None, size):
        d.addCallback(add, 1)
    d.callback(0)
    return d.result == size


def chained(defer: Any, size: int) -> bool:
    """Each waits for the next one. The last is fired last."""
    deferreds = [defer.Deferred() for _ in repeat(None, size)]
    for d, following in pairwise(deferreds):
        d.addCallback(give, following)
    for d in deferreds:
        d.callback(size)
    # A Deferred whose result another has taken has none left.
    return deferreds[0].result == size


def gathering(defer: Any, size: int) -> bool:
    deferreds = [defer.Deferred() for _ in repeat(None, size)]
    gathered = defer.gatherResults(deferreds)
    for d in deferreds:
        d.callback(1)
    return sum(gathered.result) == size


def queue(defer: Any, size: int) -> bool:
    queue = defer.DeferredQueue()
    got: list[Any] = []
    for _ in repeat(None, size):
        queue.get().addCallback(got.append)
    for _ in repeat(None, size):
        queue.put(1)
    return sum(got) == size


def nesting(defer: Any, size: int) -> bool:
    """Each generator waits for that of the one before. The first waits for a Deferred."""

    @defer.inlineCallbacks
    def more(number):
        return same((yield number)) + 1

    first = last = defer.Deferred()
    for _ in repeat(None, size):
        last = more(last)
    first.callback(0)
    return last.result == size


SHAPES = {
    "callbacks": (callbacks, "callbacks on one Deferred"),
    "chained": (chained, "Deferreds that wait for each other"),
    "gathering": (gathering, "Deferreds in gatherResults"),
    "queue": (queue, "waiters of a queue"),
    "nesting": (nesting, "generators that wait for each other"),
}


def point(name: str, shape: str, size: int) -> float | None:
    """Seconds per item, or None if the result is not what it should be."""
    from .worker import load

    implementation = load(name)
    gc.disable()
    function = SHAPES[shape][0]
    best = float("inf")
    start = time.monotonic()
    while best == float("inf") or time.monotonic() - start < 0.2:
        n = max(1, 10_000 // size)
        begin = time.process_time()
        for _ in repeat(None, n):
            try:
                right = function(implementation, size)
            except RecursionError:
                right = False
            if not right:
                return None
        best = min(best, (time.process_time() - begin) / (n * size))
    return best


def ask(name: str, shape: str, size: int, limit: float) -> float | None:
    """Nanoseconds per item, in a fresh process; None if it fails, or takes too long."""
    command = [sys.executable, "-m", "benchmarks.growth", name, shape, str(size)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=True
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None
    seconds: float | None = json.loads(done.stdout)
    return None if seconds is None else seconds * 1e9


def measure(
    sizes: tuple[int, ...] = SIZES, rounds: int = 3, limit: float = LIMIT
) -> dict[str, Any]:
    """Nanoseconds per item, by shape, implementation and size; None where it did not work.

    The implementations take turns, and the least of the rounds counts.
    """
    results: dict[str, Any] = {}
    for shape in SHAPES:
        curves: dict[str, dict[str, float | None]] = {"twisted": {}, "deferrous": {}}
        results[shape] = curves
        for size in sizes:
            # One that has failed is left out from there on.
            names = [name for name in curves if None not in curves[name].values()]
            start = time.monotonic()
            for number in range(rounds):
                for name in names:
                    before = curves[name].get(str(size), math.inf)
                    now = None if before is None else ask(name, shape, size, limit)
                    curves[name][str(size)] = now and before and min(before, now)
                # What takes long is measured once.
                if number == 0 and time.monotonic() - start > limit / 4:
                    break
        print(shape, json.dumps(curves), file=sys.stderr, flush=True)
    return results


def table(results: dict[str, Any]) -> str:
    """Nanoseconds per item, in Markdown."""
    sizes = sorted({int(s) for curves in results.values() for c in curves.values() for s in c})
    lines = ["| ns per item | | " + " | ".join(f"{size:,}" for size in sizes) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(sizes))
    for shape, curves in results.items():
        for name, curve in curves.items():
            points = [curve.get(str(size)) for size in sizes]
            cells = [f"{point:,.0f}" if point else "-" for point in points]
            title = {"twisted": "Twisted"}.get(name, name)
            lines.append("| " + " | ".join([SHAPES[shape][1], title, *cells]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(point(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
