"""What a Python without the GIL costs in one thread, and what a second thread brings.

The same rows are measured on two Pythons, such as 3.14t and 3.14, and for two implementations:
deferrous and, if it is there, Twisted, whose factor is the interpreter's own. All take turns in
fresh processes, and the least time of each counts. The second table is of this Python alone:
how many operations two threads do in the time in which one thread does one, each thread with
Deferreds and functions of its own. Without another Python, there is only that table.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .measure import ROOT

#: How long one measurement is to take, in seconds. It is short, so that on a busy machine some are
#: not interrupted.
AIM = 0.002


def rows_of_its_own() -> Any:
    """The rows, with functions that no other thread uses."""
    path = Path(__file__).with_name("thread_rows.py")
    spec = importlib.util.spec_from_file_location("thread_rows", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ROWS


def size_of(function: Any, implementation: Any) -> int:
    """How many pieces of work take about as long as one measurement is to take."""
    # What happens once, such as an import, is over then.
    function(implementation, 1)
    n = 1
    while True:
        begin = time.perf_counter()
        function(implementation, n)
        taken = time.perf_counter() - begin
        if taken >= AIM / 2:
            return max(1, round(n * AIM / taken))
        n *= 2


def alone(implementation: Any, title: str, rounds: int) -> float:
    """The least nanoseconds of an operation, in one thread."""
    function, items = rows_of_its_own()[title]
    n = size_of(function, implementation)
    best = math.inf
    for _ in range(rounds):
        begin = time.perf_counter()
        function(implementation, n)
        best = min(best, time.perf_counter() - begin)
    return best / (n * items) * 1e9


class Second:
    """A second thread. It does what the first one does, at the same time."""

    def __init__(self, implementation: Any, title: str) -> None:
        self.implementation = implementation
        self.title = title
        self.n = 0
        self.begin = self.end = 0.0
        self.asked = threading.Semaphore(0)
        self.done = threading.Semaphore(0)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        function, _ = rows_of_its_own()[self.title]
        while self.asked.acquire() and self.n:
            while time.perf_counter() < self.begin:
                pass
            function(self.implementation, self.n)
            self.end = time.perf_counter()
            self.done.release()

    def together(self, function: Any, n: int) -> float:
        """The seconds until both threads have done it so often."""
        self.n = n
        begin = self.begin = time.perf_counter() + AIM / 20
        self.asked.release()
        while time.perf_counter() < begin:
            pass
        function(self.implementation, n)
        end = time.perf_counter()
        self.done.acquire()
        return max(end, self.end) - begin

    def stop(self) -> None:
        self.n = 0
        self.asked.release()


def two(implementation: Any, title: str, rounds: int) -> list[float]:
    """The least nanoseconds in which one thread, and each of two, does an operation."""
    function, items = rows_of_its_own()[title]
    second = Second(implementation, title)
    n = size_of(function, implementation)
    one_thread = both = math.inf
    for _ in range(rounds):
        begin = time.perf_counter()
        function(implementation, n)
        one_thread = min(one_thread, time.perf_counter() - begin)
        both = min(both, second.together(function, n))
    second.stop()
    return [seconds / (n * items) * 1e9 for seconds in (one_thread, both)]


def answer(name: str, what: str, rounds: int) -> dict[str, Any]:
    """What a fresh process measures, for each row."""
    from .worker import load

    implementation = load(name)
    measure: Any = two if what == "two" else alone
    gc.disable()
    found = {}
    for title in rows_of_its_own():
        gc.collect()
        found[title] = measure(implementation, title, rounds)
    return found


def ask(python: str, *request: str) -> dict[str, Any]:
    command = [python, "-m", "benchmarks.threads", *request]
    # What else is imported, such as Twisted, may turn it on otherwise.
    env = {**os.environ, "PYTHON_GIL": "0"} if python == sys.executable else None
    return json.loads(subprocess.check_output(command, cwd=ROOT, text=True, env=env))


def has(python: str, name: str) -> bool:
    return subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode == 0


def least(before: Any, now: Any) -> Any:
    if before is None:
        return now
    return {
        title: list(map(min, before[title], taken))
        if isinstance(taken, list)
        else min(before[title], taken)
        for title, taken in now.items()
    }


def measure(than: str | None, rounds: int, times: int) -> dict[str, Any]:
    """The least of all processes, for each Python, implementation and number of threads."""
    this = sys.executable
    alone = ((this, "one"), (than, "one")) if than else ()
    kinds = [
        (python, name, what)
        for name in ("deferrous", "twisted")
        for python, what in (*alone, (this, "two"))
        if has(this, name) and (not than or has(than, name))
    ]
    found: dict[Any, Any] = {}
    for number in range(rounds):
        for kind in kinds:
            found[kind] = least(found.get(kind), ask(*kind, str(times)))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    names = {this: "this", than: "than"}
    return {f"{name} {names[python]} {what}": rows for (python, name, what), rows in found.items()}


def costs(found: dict[str, Any]) -> list[str]:
    """What an operation costs in one thread, as a table in Markdown."""
    ours, theirs = found["deferrous this one"], found["deferrous than one"]

    def times(title: str, name: str) -> str:
        if f"{name} this one" not in found:
            return ""
        return f"{found[f'{name} this one'][title] / found[f'{name} than one'][title]:.2f}"

    return [
        "| Operation | With the GIL | Without | Times | Twisted's |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {title} | {theirs[title]:.0f} | {taken:.0f} | {times(title, 'deferrous')} "
            f"| {times(title, 'twisted')} |"
            for title, taken in ours.items()
        ),
        "",
    ]


def growths(found: dict[str, Any]) -> list[str]:
    """What a second thread brings, as a table in Markdown."""

    def grows(title: str, name: str) -> str:
        if f"{name} this two" not in found:
            return ""
        one, both = found[f"{name} this two"][title]
        return f"{2 * one / both:.2f}"

    return [
        "| Operation | Two threads | Twisted's |",
        "| --- | --- | --- |",
        *(
            f"| {title} | {grows(title, 'deferrous')} | {grows(title, 'twisted')} |"
            for title in found["deferrous this two"]
        ),
    ]


def table(found: dict[str, Any]) -> str:
    """The tables, as Markdown."""
    lines = costs(found) if "deferrous than one" in found else []
    return "\n".join([*lines, *growths(found)])


if __name__ == "__main__":
    print(json.dumps(answer(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
