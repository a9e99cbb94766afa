"""Measures every row for every implementation, interleaved, in rounds of fresh processes."""

from __future__ import annotations

import json
import math
import os
import platform
import random
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from . import native
from .native import OUTPUT
from .other_rows import ALL_ROWS
from .rows import ROWS
from .worker import rows_of

ROOT = Path(__file__).parents[1]
#: Whose times are taken. PyPy runs Twisted.
IMPLEMENTATIONS = ("twisted", "deferrous", "asyncio", "pypy", "floor")

#: Bytes that a pending Deferred may take: bare, and with one callback.
MEMORY_TARGETS = {"bare": 120, "with one callback": 200}


def build() -> str:
    """How the extension was made: "plain", "profile-guided", or "quick" for tests."""
    # No worker for another implementation is to have it loaded.
    from deferrous import _deferrous

    return _deferrous._build


def folder(kind: str | None = None) -> Path:
    """Where the results of this Python are, of this build or one of that kind: a set of them."""
    version = "{}.{}".format(*sys.version_info)
    return OUTPUT / f"python{version}{sys.abiflags}-{kind or build()}"


class Worker:
    """A fresh process for one implementation."""

    def __init__(self, name: str, python: str) -> None:
        module = "twisted" if name == "pypy" else name
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", module],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str, **request: Any) -> Any:
        """Send a request; raises `RuntimeError` where the process ends instead of answering."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"what": what, **request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended: {request}")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def find_pypy() -> str | None:
    """A PyPy that has Twisted: the one that `pypy.sh` makes, or one on the path."""
    for candidate in (str(OUTPUT / "pypy" / "bin" / "pypy3"), shutil.which("pypy3")):
        if candidate and os.path.exists(candidate):
            command = [candidate, "-c", "import twisted.internet.defer"]
            if subprocess.run(command, capture_output=True).returncode == 0:
                return candidate
    return None


def environment(pypy: str | None) -> dict[str, str]:
    """What the numbers depend on: said beside every table."""
    cpu = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cflags, core = map(sysconfig.get_config_var, ("PY_CFLAGS", "PY_CORE_CFLAGS"))
    found = {
        "build": build(),
        "interpreter": f"{platform.python_implementation()} {sys.version}".replace("\n", " "),
        "executable": os.path.realpath(sys.executable),
        "configured with": " ".join(str(sysconfig.get_config_var("CONFIG_ARGS")).split()),
        "compiled with": " ".join(f"{cflags} {core}".split()),
        "CPU": f"{cpu} ({os.cpu_count()} logical)",
        "system": platform.platform(),
    }
    import twisted

    found["Twisted"] = twisted.__version__
    found["deferrous"] = revision()
    if pypy:
        version = subprocess.run(
            [
                pypy,
                "-c",
                "import sys, twisted as t; print(sys.version, '/ Twisted', t.__version__)",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        found["PyPy"] = version.stdout.replace("\n", " ").strip()
    return found


def revision() -> str:
    import deferrous

    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    return f"{deferrous.__version__} ({git.stdout.strip() or 'no repository'})"


def measure(
    pypy: str | None, keys: list[str], rounds: int, aim: float, repeats: int, count: int
) -> dict[str, Any]:
    """Measure the rows, and return what the JSON file has.

    Each round starts a process for each implementation. They all live at once and take turns,
    row by row and in an order that changes, so that what disturbs the machine disturbs all.
    `aim` is how long one measurement is to take, in seconds; `count` is of how many Deferreds
    the memory is measured.
    """
    found = environment(pypy)
    pythons = {name: sys.executable for name in IMPLEMENTATIONS if name != "pypy"}
    if pypy:
        pythons["pypy"] = pypy
    if not native.available("floor"):
        del pythons["floor"]

    has = {name: rows_of(name) for name in pythons}
    sizes: dict[tuple[str, str], int] = {}
    best: dict[str, dict[str, float]] = {key: {} for key in keys}
    shuffled = random.Random(0)
    start = time.monotonic()
    for number in range(rounds):
        workers = {name: Worker(name, python) for name, python in pythons.items()}
        try:
            # The main ones first: what others import changes what some do.
            in_order = sorted(shuffled.sample(keys, len(keys)), key=lambda key: key not in ROWS)
            for key in in_order:
                for name in shuffled.sample(list(workers), len(workers)):
                    if key not in has[name]:
                        continue
                    worker = workers[name]
                    if (name, key) not in sizes:
                        sizes[name, key] = worker.ask("calibrate", row=key, aim=aim)
                    taken = worker.ask("measure", row=key, n=sizes[name, key], repeats=repeats)
                    best[key][name] = min(taken * 1e9, best[key].get(name, math.inf))
        finally:
            for worker in workers.values():
                worker.__exit__()
        passed = time.monotonic() - start
        print(f"round {number + 1} of {rounds}, {passed:.0f} s", file=sys.stderr)

    memory: dict[str, dict[str, float]] = {}
    for title in MEMORY_TARGETS:
        memory[title] = {}
        for name, python in pythons.items():
            if name != "pypy":
                with Worker(name, python) as worker:
                    memory[title][name] = worker.ask(
                        "memory", count=count, callback=title != "bare"
                    )
    return {
        "environment": found,
        "rounds": rounds,
        "nanoseconds": {key: best[key] for key in ALL_ROWS if key in best},
        "bytes": memory,
    }


def least(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Two measurements of the same in one: the least of all their rounds.

    The rounds are those that every row has had. Raises ValueError if it is not the same.
    """
    if before["environment"] != now["environment"]:
        raise ValueError(f"{now['environment']} is not {before['environment']}")
    all_rows = before["nanoseconds"].keys() == now["nanoseconds"].keys()
    merged = {**before, "rounds": before["rounds"] + (now["rounds"] if all_rows else 0)}
    for what in ("nanoseconds", "bytes"):
        merged[what] = {
            key: {name: min(value, now[what].get(key, {}).get(name, value)) for name, value in had}
            for key, had in ((key, values.items()) for key, values in before[what].items())
        }
    return merged


def write(path: Path, results: Any) -> None:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
