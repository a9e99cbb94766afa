"""Fuzzing of the Python API: random programs, run on Twisted and on deferrous.

    make fuzz-python MINUTES=10

The fuzzer (atheris) turns bytes into programs of the differential test, and watches which branches
of Twisted's own code they reach: what is new there is kept and varied. Each program is run on
Twisted and on deferrous, and must come to the same. The fuzzer's own options may follow, such as a
folder for what it finds worth keeping; `-runs` and `-max_total_time` end it.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["twisted.internet.defer", "twisted.python.failure"]):
    import twisted.internet.defer
    import twisted.python.failure  # noqa: F401

from tests.differential.machine import load
from tests.differential.program import generate
from tests.differential.search import DEFAULT_FEATURES, Pair


class ByteSource:
    """Decisions that the fuzzer makes."""

    def __init__(self, data: bytes) -> None:
        self._provider = atheris.FuzzedDataProvider(data)

    def below(self, n: int) -> int:
        return self._provider.ConsumeIntInRange(0, max(n - 1, 0))


def main() -> None:
    both = Pair(load("twisted.internet.defer"), load("deferrous"), DEFAULT_FEATURES)
    pair = both.without_missing()

    def one(data: bytes) -> None:
        pair.check(generate(ByteSource(data), pair.features, 40))

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
