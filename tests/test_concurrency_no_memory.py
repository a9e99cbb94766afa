"""All allocations fail for a while, in the midst of what waits, ends, cancels or releases.

What is said to be done is done, or raises a MemoryError. When there is memory again, nobody waits
for ever, and nothing is lost.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.deferrous_only,
    pytest.mark.skipif(
        importlib.util.find_spec("_testcapi") is None, reason="this Python has no _testcapi"
    ),
    pytest.mark.skipif(
        sys.version_info[:2] != (3, 11),
        reason="swept on 3.11: other CPythons crash by themselves (docs/proofs.md)",
    ),
]

NAMES = (
    "map",
    "stream",
    "group",
    "several",
    "wait in time",
    "as_completed",
    "timeout",
    "protected",
    "lock",
    "event",
    "observable",
    "once",
    "queue",
    "broadcast",
    "condition",
    "barrier",
    "channel",
    "native",
    "native queue",
)


@pytest.mark.parametrize("name", NAMES)
def test_no_memory_for_a_while(name):
    program = Path(__file__).with_name("no_memory_cases.py")
    done = subprocess.run(
        [sys.executable, str(program), name], capture_output=True, text=True, timeout=900
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr[-2000:]
