"""References: each program, run again and again, leaves as many as there were before.

    make proof-references                  builds for a debug build of CPython, and runs this

A debug build (Debian: `apt install python3.11-dbg`, then `python3.11d`) counts all references
there are, `sys.gettotalrefcount()`. What leaks one, or gives up one too many, moves that number.
"""

from __future__ import annotations

import argparse
import gc
import sys

from .memory import logging_off
from .programs import LOOP, PROGRAMS, load, loop, turns

#: How often a program is run between two looks.
RUNS = 20
#: These have classes listed as Deferreds for good, as with Twisted.
KEEPS = ("subclasses",)


def total() -> int:
    gc.collect()
    return sys.gettotalrefcount()


def growth(names, program, runs: int) -> list[int]:
    """Return by how much the number grows in each of some rounds, after others to settle."""
    for _ in range(10):
        program(names, lambda d: d)
    grown = []
    for _ in range(5):
        before = total()
        for _ in range(runs):
            program(names, lambda d: d)
        grown.append(total() - before)
    return grown


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--program", action="append", choices=sorted(PROGRAMS))
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--twisted", action="store_true", help="on Twisted instead")
    options = parser.parse_args()
    if not hasattr(sys, "gettotalrefcount"):
        print("this needs a debug build of CPython, such as python3.11d")
        return 2
    logging_off()
    names = load("twisted" if options.twisted else "deferrous")
    bad = 0
    chosen = options.program or list(PROGRAMS)
    for name in chosen:
        if LOOP:
            turns(loop())
        grown = growth(names, PROGRAMS[name], options.runs)
        # The looks themselves keep two or three numbers. What leaks does so in each run.
        if name not in KEEPS and min(map(abs, grown)) >= options.runs:
            bad += 1
            print(f"{name}: {grown}")
    print(f"{len(chosen)} programs, {bad} bad")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
