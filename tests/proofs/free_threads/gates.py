"""No Python code runs behind a gate.

    PYTHON_GIL=0 python -m tests.proofs.free_threads.gates [SECONDS [TEST ...]]

Needs a build with debug assertions, which knows whether a thread is behind a gate. That is checked
whenever a Python function begins or continues, in any thread. It runs the programs of this folder,
and then the tests.
"""

from __future__ import annotations

import random
import sys
import time
from types import CodeType

import pytest
from deferrous import _deferrous

from .__main__ import PROGRAMS

found: list[str] = []
looked = [0]


def watch() -> None:
    monitoring = sys.monitoring
    events = monitoring.events
    is_behind = _deferrous._is_behind_gate

    def look(code: CodeType, _: int) -> None:
        looked[0] += 1
        if is_behind():
            found.append(f"{code.co_qualname} in {code.co_filename}:{code.co_firstlineno}")

    monitoring.use_tool_id(monitoring.PROFILER_ID, "gates")
    for event in (events.PY_START, events.PY_RESUME):
        monitoring.register_callback(monitoring.PROFILER_ID, event, look)
    monitoring.set_events(monitoring.PROFILER_ID, events.PY_START | events.PY_RESUME)


def main(seconds: float, tests: list[str]) -> int:
    watch()
    rng = random.Random(0)
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        for program in PROGRAMS:
            program(rng)
        rounds += 1
    failed = pytest.main(["-q", "-p", "no:cacheprovider", *tests]) if tests else 0
    print(f"{rounds} rounds, {looked[0]} calls, {len(found)} behind a gate")
    for each in sorted(set(found)):
        print(each)
    return int(bool(found or failed))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2:]))
