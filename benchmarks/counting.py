"""What an operation costs in instructions and in allocations: counts, which do not drift.

Both are the difference between doing a row's work few times and many times, in one process, so
that what happens once is left out. Instructions are counted by valgrind's callgrind: it writes
down what it has counted when a function is called that nothing else calls. Allocations are
counted in the place of malloc, to which Python's own allocator is made to pass everything on.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import native
from .concurrency_rows import CONCURRENCY_ROWS
from .measure import ROOT, build, write
from .other_rows import ALL_ROWS
from .rows import Row
from .worker import load, rows_of

#: The record of instructions, which is part of the repository.
RECORD = Path(__file__).with_name("instructions.json")

#: How much more than what is recorded an operation may take.
TOLERANCE = 0.03

#: How often an operation is counted again that takes more.
AGAIN = 4

#: Rows of many items have no more than this: counts do not get better with more.
SIZE = 1_000

#: What does not take the same each time, by the files and the clock that it looks at, or by what it
#: leaves.
UNSTEADY = {
    "callbacks_100000",
    "file_lock",
    "file_lock_deferred",
    "lost",
    "subclass_defined",
    "unhandled",
}


def counted(name: str, only: Collection[str] = ()) -> dict[str, Row]:
    """The rows of an implementation that are counted: all, or only these."""
    rows = rows_of(name)
    if name == "deferrous":
        # The last, as they import asyncio.
        rows = {**rows, **CONCURRENCY_ROWS}
    return {
        key: replace(row, size=row.size and min(row.size, SIZE))
        for key, row in rows.items()
        if key not in UNSTEADY and (not only or key in only)
    }


#: What tells callgrind that a part ends, and what Python calls it by.
MARK, mark = "getppid", os.getppid


def few_and_many(row: Row) -> tuple[int, int]:
    """How many pieces of work: enough for pieces that are seldom, such as a list's growth."""
    few = max(1, 50 // row.items)
    return few, few + max(1, 500 // row.items)


def work(name: str, count: Callable[[], int], only: Collection[str] = ()) -> list[list[int]]:
    """In a process of its own: what is counted before, between and after, for each row."""
    implementation = load(name)
    counts = []
    gc.disable()
    for row in counted(name, only).values():
        few, many = few_and_many(row)
        # What Python keeps to use again is there from here on.
        row.run(implementation, many)
        start = count()
        row.run(implementation, few)
        middle = count()
        row.run(implementation, many)
        counts.append([start, middle, count()])
    return counts


def per_operation(
    name: str, parts: list[tuple[int, int]], only: Collection[str] = ()
) -> dict[str, float]:
    """Of what was counted for few and for many, what one operation takes."""
    costs = {}
    for (key, row), (little, much) in zip(counted(name, only).items(), parts, strict=True):
        few, many = few_and_many(row)
        costs[key] = round((much - little) / ((many - few) * row.items), 2)
    return costs


def run(
    name: str, how: str, command: list[str], only: Collection[str] = (), **environment: str
) -> str:
    """What the process prints that does the work."""
    command = [*command, sys.executable, "-m", "benchmarks.counting", name, how, *only]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0", **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def allocations(name: str) -> dict[str, float]:
    """Of each row, how many allocations an operation makes."""
    library = str(native.build("allocations"))
    counts = json.loads(run(name, "allocations", [], LD_PRELOAD=library, PYTHONMALLOC="malloc"))
    return per_operation(name, [(middle - start, end - middle) for start, middle, end in counts])


def instructions(name: str, only: Collection[str] = (), **environment: str) -> dict[str, float]:
    """Of each row, how many instructions an operation takes."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--quiet", "--tool=callgrind", f"--dump-before={MARK}"]
        command += [f"--callgrind-out-file={folder}/out"]
        run(name, "instructions", command, only, **environment)
        totals = []
        for number in range(1, 3 * len(counted(name, only)) + 1):
            text = Path(folder, f"out.{number}").read_text()
            found = re.search(r"^summary: (\d+)", text, re.MULTILINE)
            assert found, text[:1000]
            totals.append(int(found[1]))
    # Of three, the first is what led to the row.
    return per_operation(name, list(zip(totals[1::3], totals[2::3], strict=True)), only)


def at_best(costs: dict[str, float], limits: dict[str, float]) -> dict[str, float]:
    """The costs, those above their limits counted again.

    Sets and dicts that hash by address take some steps more or fewer by where objects happen to
    be, which the size of the environment changes.
    """
    costs = dict(costs)
    for again in range(1, 1 + AGAIN):
        over = [key for key, limit in limits.items() if costs[key] > limit]
        if not over:
            break
        for key, cost in instructions("deferrous", over, PADDING="x" * 64 * again).items():
            costs[key] = min(costs[key], cost)
    return costs


def title_of(key: str) -> str:
    """What a row is called in tables."""
    return {**ALL_ROWS, **CONCURRENCY_ROWS}[key].title


def all_costs(cost: Callable[[str], dict[str, float]]) -> dict[str, dict[str, float]]:
    """Of each row, what an operation takes with each implementation."""
    names = ["deferrous", "twisted", *(["floor"] if native.available("floor") else [])]
    costs = {name: cost(name) for name in names}
    return {
        key: {name: costs[name][key] for name in names if key in costs[name]}
        for key in counted("deferrous")
    }


def identity() -> dict[str, str]:
    """What must be the same for the same instructions.

    An interpreter that a distribution has built anew counts as the same: from one of Debian's
    updates to the next, the rows of Twisted and of the floor changed by 1.2 % at most.
    """
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    return {
        "build": build(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": platform.python_compiler(),
        "configured": sysconfig.get_config_var("CONFIG_ARGS") or "",
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
        "rustc": rustc.stdout.strip(),
    }


def check_instructions(record: bool) -> int:
    """Compare with what is recorded, or record; returns the exit status."""
    if not shutil.which("valgrind") or not shutil.which("rustc"):
        print("instructions: skipped, for valgrind or rustc is not on this machine")
        return 0
    now = identity()
    if record:
        write(RECORD, {"identity": now, "instructions": all_costs(instructions)})
        print(f"recorded in {RECORD.relative_to(ROOT)}")
        return 0
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    for what, value in recorded["identity"].items():
        if now[what] != value:
            print(f"instructions: skipped, for they were recorded with {value}, not {now[what]}")
            return 0
    before = {
        key: costs["deferrous"]
        for key, costs in recorded["instructions"].items()
        if "deferrous" in costs
    }
    costs = instructions("deferrous")
    limits = {key: cost * (1 + TOLERANCE) for key, cost in before.items() if key in costs}
    costs = at_best(costs, limits)
    more, fewer = [], []
    print(f"{'instructions per operation':48} {'recorded':>9} {'now':>9}")
    for key, cost in costs.items():
        if key not in before:
            line = f"{title_of(key):48} {'none':>9} {cost:9,.0f}  new: to be recorded"
            more.append(line)
        else:
            change = cost / before[key] - 1
            remark = f"  {change:+.1%}" if abs(change) > TOLERANCE else ""
            line = f"{title_of(key):48} {before[key]:9,.0f} {cost:9,.0f}{remark}"
            if change > TOLERANCE:
                more.append(line)
            elif change < -TOLERANCE:
                fewer.append(line)
        print(line)
    if fewer:
        print(f"{len(fewer)} take fewer: record that, with `make instructions RECORD=1`")
    if more:
        print(f"FAILED: {len(more)} take over {TOLERANCE:.0%} more than what is recorded")
        print(*more, sep="\n")
    return 1 if more else 0


def count_allocations() -> dict[str, dict[str, float]]:
    """Count and print the allocations of each row."""
    rows = all_costs(allocations)
    print(table(rows))
    return rows


def table(rows: dict[str, dict[str, float]]) -> str:
    """Counts per operation, in Markdown."""
    lines = ["| per operation | Twisted | deferrous | floor |", "| --- | ---: | ---: | ---: |"]
    for key, costs in rows.items():
        names = ("twisted", "deferrous", "floor")
        numbers = [f"{costs[name]:,.1f}" if name in costs else "" for name in names]
        lines.append(f"| {' | '.join([title_of(key), *numbers])} |")
    return "\n".join(lines)


def main(name: str, how: str, *only: str) -> None:
    if how == "allocations":
        counter: Any = ctypes.CDLL(None).allocations
        counter.restype = ctypes.c_ulong
        print(json.dumps(work(name, counter, only)))
    else:
        work(name, mark, only)
        # The end of the process is not counted; what is left need not be tidied up.
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
